//! `metadata`: type, unit and help of metric families.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use model::{Budget, METRIC_NAME, MatchOp, Matcher, Metadata, Scope, SeriesSource, SourceError, TimeRange};
use storage::Db;

use super::JSON;
use super::error::ApiError;
use super::parameters::Parameters;
use super::stream::{self, Pieces};
use crate::app::App;
use crate::auth::Caller;
use crate::families::Families;
use crate::json::push_text;

/// `GET /api/v1/metadata`. One entry per family is kept, so `limit_per_metric` has nothing to cut.
pub(super) async fn metadata(
    State(app): State<Arc<App>>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let number = |name: &str| {
        let text = parameters.get(name);
        text.map(str::parse::<i64>).transpose().map_err(|_| ApiError::bad_data(format!("{name} must be a number")))
    };
    number("limit_per_metric")?;
    // As in Prometheus a negative limit is none, and zero gives nothing.
    let limit = number("limit")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let metric = parameters.get("metric").map(str::to_owned);
    let (db, scope) = (Arc::clone(&app.db), caller.scope());
    let families = app.workers.query(None, move |budget| {
        let mut families: Vec<_> = match &metric {
            Some(name) => db.metadata_of(name).map(|m| (name.clone(), m)).into_iter().collect(),
            None => db.metadata().into_iter().collect(),
        };
        if let Some(visible) = visible(&db, &scope, metric.as_deref(), budget)? {
            families.retain(|(name, _)| visible.contains(name));
        }
        families.truncate(limit);
        Ok::<_, ApiError>(families)
    });
    let families = families.await??.into_iter();
    Ok(stream::respond(FamilyPieces { opening: b"{\"status\":\"success\",\"data\":{", families }, JSON))
}

/// The families that series in the scope belong to; none if all may be seen. Of one family only its own names are looked
/// for: they are it, or begin with it and an underscore.
fn visible(
    db: &Db,
    scope: &Scope,
    family: Option<&str>,
    budget: &Budget,
) -> Result<Option<HashSet<String>>, SourceError> {
    if scope.forced().is_none() {
        return Ok(None);
    }
    let names_of = |family| Matcher::new(METRIC_NAME, MatchOp::Regex, format!("{}(_.*)?", regex::escape(family)));
    let matchers = family.map(names_of).transpose().map_err(|e| SourceError::Storage(e.to_string()))?;
    let matchers: Vec<Matcher> = matchers.into_iter().collect();
    let names = db.snapshot().label_values(scope, METRIC_NAME, &matchers, TimeRange::ALL, budget)?;
    let mut families = Families::new(db);
    Ok(Some(names.iter().map(|name| families.named(name).0.to_owned()).collect()))
}

struct FamilyPieces {
    opening: &'static [u8],
    families: std::vec::IntoIter<(String, Metadata)>,
}

impl Pieces for FamilyPieces {
    fn push_next(&mut self, out: &mut Vec<u8>) -> bool {
        let is_first = !self.opening.is_empty();
        out.extend_from_slice(std::mem::take(&mut self.opening));
        let Some((name, metadata)) = self.families.next() else {
            out.extend_from_slice(b"}}");
            return false;
        };
        if !is_first {
            out.push(b',');
        }
        push_text(out, &name);
        for (key, value) in [
            (":[{\"type\":", metadata.metric_type.as_str()),
            (",\"unit\":", metadata.unit.as_str()),
            (",\"help\":", metadata.help.as_str()),
        ] {
            out.extend_from_slice(key.as_bytes());
            push_text(out, value);
        }
        out.extend_from_slice(b"}]");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::MetricType;

    #[test]
    fn families_as_json() {
        let text = |families: Vec<(String, Metadata)>| {
            let mut pieces = FamilyPieces { opening: b"{\"data\":{", families: families.into_iter() };
            let mut out = Vec::new();
            while pieces.push_next(&mut out) {}
            String::from_utf8(out).unwrap()
        };
        let family = |name: &str, metric_type| {
            (name.to_owned(), Metadata { metric_type, help: "a \"b\"".to_owned(), unit: "s".to_owned() })
        };
        assert_eq!(text(vec![]), r#"{"data":{}}"#);
        assert_eq!(
            text(vec![family("a", MetricType::Counter), family("b", MetricType::Unknown)]),
            concat!(
                r#"{"data":{"a":[{"type":"counter","unit":"s","help":"a \"b\""}],"#,
                r#""b":[{"type":"unknown","unit":"s","help":"a \"b\""}]}}"#
            )
        );
    }
}
