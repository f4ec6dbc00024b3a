//! Retention rules: how long the series that pass some matchers are kept.

use std::sync::Arc;

use model::{MatchOp, Matcher};
use rusqlite::{Connection, OptionalExtension};
use storage::RetentionRule;

use super::Catalog;
use super::error::CatalogError;

impl Catalog {
    /// Sets the rule of these matchers, and replaces one that was there for the same matchers; one that says how long at
    /// least does not shorten that. Gives the rule as it holds now.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn set_rule(&self, rule: RetentionRule, now_ms: i64) -> Result<RetentionRule, CatalogError> {
        let mirror = Arc::clone(&self.mirror);
        let rules_max = self.options.rules_max;
        let change = move |connection: &Connection| {
            let matchers = encode(&rule.matchers);
            let known = "SELECT keep_ms FROM retention_rule WHERE matchers = ?1";
            let known = connection.query_row(known, (&matchers,), |row| row.get::<_, i64>(0)).optional()?;
            if known.is_none() {
                let count: u32 = connection.query_row("SELECT count(*) FROM retention_rule", (), |row| row.get(0))?;
                if count as usize >= rules_max {
                    return Err(CatalogError::TooManyRules { limit: rules_max });
                }
            }
            let keep_ms = known.filter(|_| rule.at_least).unwrap_or(rule.keep_ms).max(rule.keep_ms);
            connection.execute(
                "INSERT INTO retention_rule (matchers, keep_ms, at_least, created_ms, updated_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT (matchers) \
                 DO UPDATE SET keep_ms = ?2, at_least = ?3, updated_ms = ?4",
                (&matchers, keep_ms, rule.at_least, now_ms),
            )?;
            Ok(RetentionRule { keep_ms, ..rule })
        };
        self.writer.write(change, move |rule: &RetentionRule| {
            let mut mirror = mirror.write();
            mirror.rules.retain(|there| there.matchers != rule.matchers);
            mirror.rules.push(rule.clone());
        })
    }

    /// All rules, the one that was set last at the end.
    pub fn rules(&self) -> Vec<RetentionRule> {
        self.mirror.read().rules.clone()
    }

    /// Hands all rules to whoever applies them. No rule is set meanwhile, so that an older list never comes after a newer.
    pub fn apply_rules(&self, apply: impl FnOnce(&[RetentionRule])) {
        apply(&self.mirror.read().rules);
    }
}

/// A JSON list of `[label, operator, value]`.
fn encode(matchers: &[Matcher]) -> String {
    let list: Vec<[&str; 3]> = matchers.iter().map(|m| [m.name(), m.op().as_str(), m.value()]).collect();
    serde_json::json!(list).to_string()
}

fn decode(text: &str) -> Option<Vec<Matcher>> {
    let list: Vec<[String; 3]> = serde_json::from_str(text).ok()?;
    let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
    list.into_iter()
        .map(|[name, op, value]| Matcher::new(name, *ops.iter().find(|o| o.as_str() == op)?, value).ok())
        .collect()
}

/// All rules in the file. A rule that cannot be read is left out with an error in the log: samples are kept then.
pub(super) fn load(connection: &Connection) -> Result<Vec<RetentionRule>, CatalogError> {
    let mut statement =
        connection.prepare("SELECT matchers, keep_ms, at_least FROM retention_rule ORDER BY updated_ms, rule_id")?;
    let rows = statement.query_map((), |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?;
    let mut rules = Vec::new();
    for row in rows {
        let (text, keep_ms, at_least) = row?;
        match decode(&text) {
            Some(matchers) => rules.push(RetentionRule { matchers, keep_ms, at_least }),
            None => tracing::error!(matchers = text, "a retention rule cannot be read and is left out"),
        }
    }
    Ok(rules)
}
