//! Retention rules: how long the series that pass some matchers are kept.

use std::path::Path;
use std::sync::Arc;

use model::{MatchOp, Matcher};
use rusqlite::{Connection, OptionalExtension};
use storage::RetentionRule;

use super::error::CatalogError;
use super::{Catalog, FILE_NAME, hold, schema};

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

    /// Hands all rules to whoever applies them, unless retention is held. No rule is set meanwhile, so that an older list
    /// never comes after a newer.
    pub fn apply_rules(&self, apply: impl FnOnce(&[RetentionRule])) {
        let mirror = self.mirror.read();
        if mirror.held.is_none() {
            apply(&mirror.rules);
        }
    }

    /// Why rules may be missing, so that nothing may be dropped for its age.
    pub fn retention_hold(&self) -> Option<String> {
        self.mirror.read().held.clone()
    }

    /// Says that the rules are all there, and ends the hold; those that cannot be read are removed.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn confirm_rules(&self) -> Result<(), CatalogError> {
        let unreadable = self.mirror.read().unreadable_rules.clone();
        let change = move |connection: &Connection| -> Result<(), CatalogError> {
            for text in &unreadable {
                connection.execute("DELETE FROM retention_rule WHERE matchers = ?1", (text,))?;
            }
            Ok(())
        };
        self.writer.write(change, |()| ())?;
        self.path.parent().map_or(Ok(()), hold::end)?;
        let mut mirror = self.mirror.write();
        mirror.unreadable_rules.clear();
        mirror.held = None;
        Ok(())
    }

    /// Holds retention if there is no catalog in a data directory that has samples: then it was lost.
    ///
    /// # Errors
    /// I/O errors.
    pub fn hold_if_missing(data_dir: &Path) -> Result<(), CatalogError> {
        if data_dir.join(FILE_NAME).exists() {
            return Ok(());
        }
        hold::begin(data_dir, &format!("{FILE_NAME} was missing, and with it all retention rules"))
    }
}

/// The retention rules of a data directory that no server has open; nothing is changed there.
///
/// # Errors
/// Why they may not be all, in words: then nothing may be left out for its age.
pub fn rules_of(data_dir: &Path) -> Result<Vec<RetentionRule>, String> {
    if let Some(held) = hold::reason(data_dir).map_err(|e| e.to_string())? {
        return Err(held);
    }
    let path = data_dir.join(FILE_NAME);
    let loaded = schema::read_only(&path).and_then(|connection| load(&connection));
    let loaded = loaded.map_err(|e| format!("{}: {e}", path.display()))?;
    match loaded.unreadable.first() {
        Some(text) => Err(unreadable_reason(text)),
        None => Ok(loaded.rules),
    }
}

/// What is said of a rule that cannot be read.
pub(super) fn unreadable_reason(text: &str) -> String {
    format!("a retention rule cannot be read: {text}")
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

/// The rules in the file.
pub(super) struct LoadedRules {
    pub(super) rules: Vec<RetentionRule>,
    /// The matchers of those that cannot be read.
    pub(super) unreadable: Vec<String>,
}

/// All rules in the file.
pub(super) fn load(connection: &Connection) -> Result<LoadedRules, CatalogError> {
    // Who only reads may find a file of an older version.
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let at_least = if version < 2 { "0" } else { "at_least" };
    let query = format!("SELECT matchers, keep_ms, {at_least} FROM retention_rule ORDER BY updated_ms, rule_id");
    let mut statement = connection.prepare(&query)?;
    let rows = statement.query_map((), |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?;
    let mut loaded = LoadedRules { rules: Vec::new(), unreadable: Vec::new() };
    for row in rows {
        let (text, keep_ms, at_least) = row?;
        match decode(&text) {
            Some(matchers) => loaded.rules.push(RetentionRule { matchers, keep_ms, at_least }),
            None => loaded.unreadable.push(text),
        }
    }
    Ok(loaded)
}
