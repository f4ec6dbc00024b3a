//! Relabelling, with the meaning it has in Prometheus (`model/relabel/relabel.go`, 3.5).

use md5::{Digest, Md5};
use model::LabelsBuilder;
use regex::Regex;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Sets the target label to the replacement if the source matches.
    Replace,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Drops what differs from the target label.
    KeepEqual,
    /// Drops what equals the target label.
    DropEqual,
    /// Sets the target label to the hash of the source modulo a number.
    HashMod,
    /// Copies labels whose names match to the name that the replacement gives.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
    Uppercase,
}

/// The actions by their names in files.
const ACTIONS: [(&str, Action); 11] = [
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

impl Action {
    /// Reads a name, in any case.
    pub fn parse(name: &str) -> Option<Action> {
        ACTIONS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, action)| *action)
    }

    fn name(self) -> &'static str {
        ACTIONS.iter().find(|(_, action)| *action == self).map_or("", |(name, _)| name)
    }
}

/// A rule as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSpec {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// Stands between them.
    pub separator: String,
    /// The label that is set or compared.
    pub target_label: String,
    /// Fully anchored; `.` matches newlines.
    pub regex: String,
    /// For [`Action::HashMod`].
    pub modulus: u64,
    /// What the target label is set to, with `$1` and `${name}`.
    pub replacement: String,
    /// What is done.
    pub action: Action,
}

const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REPLACEMENT: &str = "$1";

impl Default for RuleSpec {
    fn default() -> Self {
        RuleSpec {
            source_labels: Vec::new(),
            separator: DEFAULT_SEPARATOR.to_owned(),
            target_label: String::new(),
            regex: DEFAULT_REGEX.to_owned(),
            modulus: 0,
            replacement: DEFAULT_REPLACEMENT.to_owned(),
            action: Action::Replace,
        }
    }
}

impl RuleSpec {
    fn check(&self) -> Result<(), String> {
        use Action::*;
        let name = self.action.name();
        let target_is_needed = !matches!(self.action, Keep | Drop | LabelMap | LabelDrop | LabelKeep);
        if self.action == HashMod && self.modulus == 0 {
            return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
        }
        if target_is_needed && self.target_label.is_empty() {
            return Err(format!("relabel configuration for {name} action requires 'target_label' value"));
        }
        let replacement_is_default = self.replacement == DEFAULT_REPLACEMENT;
        if matches!(self.action, Lowercase | Uppercase | KeepEqual | DropEqual) && !replacement_is_default {
            return Err(format!("'replacement' can not be set for {name} action"));
        }
        if self.action == LabelMap && self.replacement.is_empty() {
            return Err("\"\" is invalid 'replacement' for labelmap action".to_owned());
        }
        let common_is_default =
            self.modulus == 0 && self.separator == DEFAULT_SEPARATOR && (replacement_is_default || target_is_needed);
        if matches!(self.action, KeepEqual | DropEqual) && !(common_is_default && self.regex == DEFAULT_REGEX) {
            return Err(format!("{name} action requires only 'source_labels' and 'target_label', and no other fields"));
        }
        let only_regex = self.source_labels.is_empty() && self.target_label.is_empty() && common_is_default;
        if matches!(self.action, LabelDrop | LabelKeep) && !only_regex {
            return Err(format!("{name} action requires only 'regex', and no other fields"));
        }
        if self.source_labels.iter().any(String::is_empty) {
            return Err("\"\" is not a valid label name".to_owned());
        }
        Ok(())
    }
}

/// A rule that is ready to run. Two rules are equal if they are written alike.
#[derive(Debug, Clone)]
pub struct Rule {
    spec: RuleSpec,
    regex: Regex,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Rule {
    /// Compiles a rule.
    ///
    /// # Errors
    /// What is wrong with it, as Prometheus says it.
    pub fn new(spec: RuleSpec) -> Result<Rule, String> {
        spec.check()?;
        // Compiled alone first: a stray `)` must not close our own group.
        Regex::new(&spec.regex).map_err(|e| format!("error parsing regexp {:?}: {e}", spec.regex))?;
        let regex = Regex::new(&format!("^(?s:{})$", spec.regex)).map_err(|e| format!("error parsing regexp: {e}"))?;
        Ok(Rule { spec, regex })
    }

    /// Applies the rule; false if what has these labels is dropped.
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let spec = &self.spec;
        let source = || {
            let values: Vec<&str> = spec.source_labels.iter().map(|name| labels.get(name).unwrap_or("")).collect();
            values.join(&spec.separator)
        };
        match spec.action {
            Action::Keep => return self.regex.is_match(&source()),
            Action::Drop => return !self.regex.is_match(&source()),
            Action::KeepEqual => return labels.get(&spec.target_label).unwrap_or("") == source(),
            Action::DropEqual => return labels.get(&spec.target_label).unwrap_or("") != source(),
            Action::Replace => self.replace(&source(), labels),
            Action::HashMod => {
                let value = hash_mod(&source(), spec.modulus).to_string();
                labels.set(&spec.target_label, &value);
            }
            Action::Lowercase => {
                let value = source().to_lowercase();
                labels.set(&spec.target_label, &value);
            }
            Action::Uppercase => {
                let value = source().to_uppercase();
                labels.set(&spec.target_label, &value);
            }
            Action::LabelMap => self.map_names(labels),
            Action::LabelDrop => self.remove_names(labels, true),
            Action::LabelKeep => self.remove_names(labels, false),
        }
        true
    }

    fn replace(&self, source: &str, labels: &mut LabelsBuilder) {
        let Some(captures) = self.regex.captures(source) else { return };
        let mut target = String::new();
        captures.expand(&self.spec.target_label, &mut target);
        if target.is_empty() {
            return;
        }
        let mut value = String::new();
        captures.expand(&self.spec.replacement, &mut value);
        labels.set(&target, &value);
    }

    fn map_names(&self, labels: &mut LabelsBuilder) {
        let mapped: Vec<(String, String)> = labels
            .iter()
            .filter(|(name, _)| self.regex.is_match(name))
            .map(|(name, value)| (self.regex.replace_all(name, &self.spec.replacement).into_owned(), value.to_owned()))
            .collect();
        for (name, value) in mapped {
            if !name.is_empty() {
                labels.set(&name, &value);
            }
        }
    }

    fn remove_names(&self, labels: &mut LabelsBuilder, matching: bool) {
        let gone: Vec<String> =
            labels.iter().map(|(n, _)| n).filter(|n| self.regex.is_match(n) == matching).map(str::to_owned).collect();
        for name in gone {
            labels.remove(&name);
        }
    }
}

/// The last eight bytes of the MD5 of a text, modulo a number: how Prometheus shares targets out.
fn hash_mod(text: &str, modulus: u64) -> u64 {
    let hash = Md5::digest(text.as_bytes());
    let mut last = [0; 8];
    last.copy_from_slice(&hash[8..]);
    u64::from_be_bytes(last).checked_rem(modulus).unwrap_or_default()
}

/// Applies rules in their order; false if what has these labels is dropped.
pub fn relabel(rules: &[Rule], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(action: &str) -> RuleSpec {
        RuleSpec { action: Action::parse(action).unwrap(), ..RuleSpec::default() }
    }

    fn sources(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    /// Labels written as `a=foo b=bar`; the answer `-` stands for "dropped".
    fn run(specs: Vec<RuleSpec>, labels: &str) -> String {
        let mut builder = LabelsBuilder::default();
        for (name, value) in labels.split(' ').filter_map(|pair| pair.split_once('=')) {
            builder.set(name, value);
        }
        let rules: Vec<Rule> = specs.into_iter().map(|s| Rule::new(s).unwrap()).collect();
        if !relabel(&rules, &mut builder) {
            return "-".to_owned();
        }
        builder.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ")
    }

    /// The cases of Prometheus's `model/relabel/relabel_test.go` that say something of their own.
    #[test]
    fn replace() {
        let rule = |sources_: &[&str], regex: &str, target: &str, replacement: &str| RuleSpec {
            source_labels: sources(sources_),
            regex: regex.to_owned(),
            target_label: target.to_owned(),
            replacement: replacement.to_owned(),
            ..RuleSpec::default()
        };
        let table = [
            (rule(&["a"], "f(.*)", "d", "ch${1}-ch${1}"), "a=foo b=bar c=baz", "a=foo b=bar c=baz d=choo-choo"),
            (rule(&["a", "b"], "f(.*);(.*)r", "a", "b${1}${2}m"), "a=foo b=bar", "a=boobam b=bar"),
            (rule(&["a"], "no_match", "d", "x"), "a=foo", "a=foo"),
            (rule(&["a"], "oo", "d", "x"), "a=foo", "a=foo"),
            (rule(&["a"], "(.*)", "d", "$1"), "a=foo", "a=foo d=foo"),
            (rule(&["a"], "f|foo", "d", "x"), "a=foo", "a=foo d=x"),
            (rule(&["a"], "(f).*", "a", "$2"), "a=foo b=1", "b=1"),
            (rule(&["missing"], "(.*)", "a", "$1"), "a=foo b=1", "b=1"),
            (rule(&[], "(.*)", "d", "static"), "a=foo", "a=foo d=static"),
            (rule(&["a"], "some-([^-]+)-([^,]+)", "${1}", "${2}"), "a=some-name-value", "a=some-name-value name=value"),
            (rule(&["a"], "some-([^-]+)-([^,]+)", "${3}", "${2}"), "a=some-name-value", "a=some-name-value"),
            (rule(&["a"], "(.*)", "d", "$1x"), "a=foo", "a=foo"),
            (rule(&["a"], "(?P<n>f)(.*)", "d", "${n}-$n-$$1"), "a=foo", "a=foo d=f-f-$1"),
            (rule(&["__name__"], "(.*)_total", "__name__", "$1"), "__name__=x_total", "__name__=x"),
            (rule(&["a"], "(.+)\n(.+)", "d", "$2"), "a=1\n2", "a=1\n2 d=2"),
            (rule(&["a"], ".+", "d", "x"), "a=1\n2", "a=1\n2 d=x"),
        ];
        for (spec, labels, want) in table {
            assert_eq!(run(vec![spec.clone()], labels), want, "{spec:?}");
        }
    }

    #[test]
    fn keep_drop_and_their_equals() {
        let table = [
            ("keep", "a", "f.*", "", "a=foo"),
            ("keep", "a", "f", "", "-"),
            ("keep", "missing", "", "", "a=foo"),
            ("drop", "a", "f.*", "", "-"),
            ("drop", "a", "f", "", "a=foo"),
            ("drop", "missing", ".*", "", "-"),
            ("keepequal", "a", "(.*)", "b", "-"),
            ("keepequal", "a", "(.*)", "a", "a=foo"),
            ("dropequal", "a", "(.*)", "b", "a=foo"),
            ("dropequal", "a", "(.*)", "a", "-"),
            ("dropequal", "c", "(.*)", "b", "-"),
        ];
        for (action, source, regex, target, want) in table {
            let spec = RuleSpec {
                source_labels: sources(&[source]),
                regex: regex.to_owned(),
                target_label: target.to_owned(),
                ..spec(action)
            };
            assert_eq!(run(vec![spec], "a=foo"), want, "{action} {source} {regex} {target}");
        }
    }

    #[test]
    fn names_and_cases() {
        let named = |action: &str, regex: &str, replacement: &str| RuleSpec {
            regex: regex.to_owned(),
            replacement: replacement.to_owned(),
            ..spec(action)
        };
        assert_eq!(
            run(vec![named("labelmap", "(b.*)", "bar_${1}")], "a=foo b1=bar b2=baz"),
            "a=foo b1=bar b2=baz bar_b1=bar bar_b2=baz"
        );
        assert_eq!(
            run(vec![named("labelmap", "__meta_(my.*)", "${1}")], "__meta_my_bar=aaa my=x"),
            "__meta_my_bar=aaa my=x my_bar=aaa"
        );
        assert_eq!(run(vec![named("labeldrop", "(b.*)", "$1")], "a=foo b1=bar b2=baz"), "a=foo");
        assert_eq!(run(vec![named("labelkeep", "(b.*)", "$1")], "a=foo b1=bar b2=baz"), "b1=bar b2=baz");
        let case = |action: &str| RuleSpec { source_labels: sources(&["a"]), target_label: "a".into(), ..spec(action) };
        assert_eq!(run(vec![case("lowercase")], "a=FoÖ"), "a=foö");
        assert_eq!(run(vec![case("UPPERCASE")], "a=foö"), "a=FOÖ");
    }

    #[test]
    fn hashmod_is_prometheuss() {
        // From relabel_test.go.
        let spec = |source: &str| RuleSpec {
            source_labels: sources(&[source]),
            target_label: "d".into(),
            modulus: 1000,
            ..spec("hashmod")
        };
        assert_eq!(run(vec![spec("c")], "a=foo b=bar c=baz"), "a=foo b=bar c=baz d=976");
        assert_eq!(run(vec![spec("a")], "a=foo\nbar"), "a=foo\nbar d=734");
    }

    #[test]
    fn the_first_rule_that_drops_ends_it() {
        let drop = RuleSpec { source_labels: sources(&["a"]), regex: "foo".into(), ..spec("drop") };
        let set = RuleSpec { target_label: "a".into(), replacement: "bar".into(), ..RuleSpec::default() };
        assert_eq!(run(vec![set.clone(), drop.clone()], "a=foo"), "a=bar");
        assert_eq!(run(vec![drop, set], "a=foo"), "-");
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let bad = [
            (RuleSpec { target_label: "x".into(), ..spec("hashmod") }, "non-zero modulus"),
            (spec("replace"), "requires 'target_label'"),
            (spec("lowercase"), "requires 'target_label'"),
            (RuleSpec { target_label: "x".into(), replacement: "y".into(), ..spec("uppercase") }, "can not be set"),
            (RuleSpec { target_label: "x".into(), regex: "y".into(), ..spec("keepequal") }, "no other fields"),
            (RuleSpec { target_label: "x".into(), ..spec("labeldrop") }, "only 'regex'"),
            (RuleSpec { replacement: "x".into(), ..spec("labelkeep") }, "only 'regex'"),
            (RuleSpec { replacement: String::new(), ..spec("labelmap") }, "invalid 'replacement'"),
            (RuleSpec { regex: "a)(b".into(), target_label: "x".into(), ..spec("replace") }, "error parsing regexp"),
        ];
        for (spec, want) in bad {
            let error = Rule::new(spec.clone()).unwrap_err();
            assert!(error.contains(want), "{spec:?}: {error}");
        }
        assert_eq!(Action::parse("rename"), None);
    }
}
