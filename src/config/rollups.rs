//! How the option `rollups` is read: `5m:90d; 1h:2y:{job="api"}`.

use query::EngineOptions;
use storage::{RollupRule, RollupRules};

use super::values::{Duration, OptionValue};

/// Which roll-ups are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rollups {
    /// The rules.
    pub rules: RollupRules,
    /// As text.
    shown: String,
}

impl OptionValue for Rollups {
    fn parse(text: &str) -> Result<Self, String> {
        let (mut rules, mut shown) = (Vec::new(), Vec::new());
        for part in split(text).map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = || format!("{part:?} is not RESOLUTION:RETENTION or RESOLUTION:RETENTION:{{MATCHERS}}");
            let mut fields = part.splitn(3, ':').map(str::trim);
            let (Some(resolution), Some(keep)) = (fields.next(), fields.next()) else { return Err(wrong()) };
            let (resolution, keep) = (Duration::parse(resolution)?, Duration::parse(keep)?);
            let (mut matchers, mut one) = (Vec::new(), format!("{}:{}", resolution.show(), keep.show()));
            if let Some(selector) = fields.next() {
                let found = query::parse_any_matchers(selector, &EngineOptions::default());
                matchers = found.map_err(|e| format!("{selector:?} selects no series: {}", e.message))?;
                if matchers.is_empty() {
                    return Err(format!("{selector:?} selects no series: leave it out if all are meant"));
                }
                one = format!("{one}:{selector}");
            }
            let keep_ms = (keep.0 > 0).then(|| keep.ms());
            rules.push(RollupRule { resolution_ms: resolution.ms(), keep_ms, matchers });
            shown.push(one);
        }
        let rules = RollupRules::new(rules).map_err(|e| e.to_string())?;
        Ok(Rollups { rules, shown: shown.join("; ") })
    }

    fn show(&self) -> String {
        self.shown.clone()
    }
}

/// The parts between semicolons that stand in no quotes.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let (mut quote, mut escaped) = (None, false);
    text.split(move |c: char| {
        let is_escaped = std::mem::take(&mut escaped);
        match quote {
            Some(_) if is_escaped => {}
            Some('"' | '\'') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
            _ => {}
        }
        quote.is_none() && c == ';'
    })
}

#[cfg(test)]
mod tests {
    use model::{MatchOp, Matcher};

    use super::*;

    #[test]
    fn rules_are_read_and_shown() {
        let rollups = Rollups::parse(r#" 1h:0:{job=~"a;b\";c"} ;5m : 90d; "#).unwrap();
        let rules = rollups.rules.rules();
        assert_eq!((rules[0].resolution_ms, rules[0].keep_ms), (300_000, Some(90 * 86_400_000)));
        assert_eq!((rules[1].resolution_ms, rules[1].keep_ms), (3_600_000, None));
        assert_eq!((rules[1].matchers[0].value(), rules[0].matchers.len()), (r#"a;b";c"#, 0));
        assert_eq!(rollups.show(), r#"1h:0:{job=~"a;b\";c"}; 5m:12w6d"#);
        assert_eq!(Rollups::parse(&rollups.show()), Ok(rollups));
        assert_eq!(Rollups::parse(""), Ok(Rollups::default()));
    }

    #[test]
    fn everything_but_some_series_is_a_choice() {
        let of = |text| Rollups::parse(text).unwrap().rules.rules()[0].matchers.clone();
        assert_eq!(of(r#"1h:0:{job!="debug"}"#), [Matcher::new("job", MatchOp::NotEqual, "debug").unwrap()]);
        assert_eq!(of(r#"1h:0:{__name__!~"debug_.*",job!="a"}"#).len(), 2);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let error = |text| Rollups::parse(text).unwrap_err();
        assert!(error("5m").contains("RESOLUTION:RETENTION"), "{}", error("5m"));
        assert!(error("5x:1d").contains("\"5x\" is not a duration"));
        assert!(error("5m:90d:{job=").contains("selects no series"));
        assert!(error("5m:90d:{}").contains("selects no series"));
        assert!(error("7h:90d").contains("does not divide a day"));
        assert!(error("4m:90d;6m:90d").contains("no multiple"));
        assert!(error("1s:90d").contains("too short"));
        assert!(error("5m:1d").contains("two days"));
    }

    #[test]
    fn there_is_a_bound_to_their_number() {
        let rules = |count: usize| (0..count).map(|i| format!("{}s:90d;", 15 << i)).collect::<String>();
        assert!(Rollups::parse(&rules(8)).is_ok());
        assert!(Rollups::parse(&rules(9)).unwrap_err().contains("at most 8"));
    }
}
