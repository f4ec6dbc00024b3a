//! Filters on series as the dialect has them: by component and metric, exact names first, else names that contain.

use model::{Budget, METRIC_NAME, MatchOp, Matcher, Scope, SeriesSource, SourceError, TimeRange};

use super::answer::Failure;
use super::parameters::Parameters;
use crate::app::App;
use crate::auth::Caller;
use crate::catalog::Component;
use crate::ingest::ORG;
use crate::report::{COMPONENT, COMPONENT_TYPE, Problem};

/// What series are asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    /// What the caller sees.
    pub(super) scope: Scope,
    pub(super) runtime_id: Option<i64>,
    pub(super) component_name: Option<String>,
    pub(super) metric_name: Option<String>,
    /// Names are never matched by a part of them.
    pub(super) exact: bool,
}

impl Selection {
    pub(super) fn of(caller: &Caller, parameters: &Parameters) -> Result<Selection, Failure> {
        let exact = match parameters.text("match") {
            None => false,
            Some("exact") => true,
            Some(_) => return Err(Problem::of_parameter("match", "literal_error", "Input should be 'exact'").into()),
        };
        Ok(Selection {
            scope: caller.scope(),
            runtime_id: parameters.whole("runtime_id")?,
            component_name: parameters.text("component_name").map(str::to_owned),
            metric_name: parameters.text("metric_name").map(str::to_owned),
            exact,
        })
    }

    /// The matchers that select the series; none if there can be no such series.
    pub(super) fn matchers(
        &self,
        app: &App,
        source: &dyn SeriesSource,
        budget: &Budget,
    ) -> Result<Option<Vec<Matcher>>, SourceError> {
        let mut matchers = Vec::new();
        if let Some(id) = self.runtime_id {
            let seen = app.catalog.component(id).filter(|component| is_seen(&self.scope, component));
            let Some(component) = seen else { return Ok(None) };
            // Of a component of no organization, series may be of any that their sender named.
            if !component.org.is_empty() || app.catalog.has_namesake(&component) {
                matchers.push(Matcher::equal(ORG, component.org.as_str()));
            }
            matchers.push(Matcher::equal(COMPONENT, component.name.as_str()));
            let kind = component.kind.as_str();
            let also_without = !kind.is_empty() && app.catalog.has_series_without_kind(&component);
            matchers.push(if also_without {
                any_of(COMPONENT_TYPE, ["", kind])?
            } else {
                Matcher::equal(COMPONENT_TYPE, kind)
            });
        }
        for (label, asked) in [(COMPONENT, &self.component_name), (METRIC_NAME, &self.metric_name)] {
            let Some(asked) = asked else { continue };
            match self.name_matcher(label, asked, source, budget)? {
                Some(matcher) => matchers.push(matcher),
                None => return Ok(None),
            }
        }
        Ok(Some(matchers))
    }

    fn name_matcher(
        &self,
        label: &str,
        asked: &str,
        source: &dyn SeriesSource,
        budget: &Budget,
    ) -> Result<Option<Matcher>, SourceError> {
        let exact = Matcher::equal(label, asked);
        let known = |matchers: &[Matcher]| source.label_values(&self.scope, label, matchers, TimeRange::ALL, budget);
        if self.exact || !known(std::slice::from_ref(&exact))?.is_empty() {
            return Ok(Some(exact));
        }
        let names = known(&[])?;
        let mut containing = names.iter().map(String::as_str).filter(|name| name.contains(asked)).peekable();
        if containing.peek().is_none() {
            return Ok(None);
        }
        any_of(label, containing).map(Some)
    }
}

/// True if a component is there for who sees this.
pub(super) fn is_seen(scope: &Scope, component: &Component) -> bool {
    scope.forced().is_none_or(|forced| forced.matches(&component.org))
}

/// Series that have one of these values; an empty one stands for those without the label.
fn any_of<'v>(label: &str, values: impl IntoIterator<Item = &'v str>) -> Result<Matcher, SourceError> {
    let escaped: Vec<String> = values.into_iter().map(regex::escape).collect();
    Matcher::new(label, MatchOp::Regex, escaped.join("|")).map_err(|error| SourceError::Storage(error.to_string()))
}

/// What a failed read is answered with.
pub(super) fn failed(error: &SourceError) -> Failure {
    use ::http::StatusCode;

    use crate::http::error::Fault;
    let status = match error {
        SourceError::Budget(model::BudgetError::Cancelled) => StatusCode::SERVICE_UNAVAILABLE,
        SourceError::Budget(_) => StatusCode::UNPROCESSABLE_ENTITY,
        SourceError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Fault::new(status, error.to_string()).into()
}
