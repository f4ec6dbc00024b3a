//! Uneven subtasks: which have more to do than the others, and why.

use super::evidence::{Evidence, Measure, Together};
use super::finding::{Finding, FindingKind, Item, Place, Severity};
use super::thresholds::{BUSY, EVEN_RECORDS, IDLE, ITEMS, SATURATED, UNEVEN_GAP, UNEVEN_RECORDS};
use super::words;

/// Some subtasks of an operator have more to do than the others.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Skew {
    /// They.
    pub(super) hot: Vec<u64>,
    /// Number of the others.
    rest: usize,
    /// By what it was seen.
    by: Measure,
    /// The mean over the hot ones, over the others, and over all.
    means: [f64; 3],
    cause: Cause,
}

#[derive(Debug, Clone, PartialEq)]
enum Cause {
    /// They get so many times as many records.
    Records(f64),
    /// They run on a task manager of their own.
    Machine(String),
    /// They get as many records as the others.
    Costly,
    /// Nobody counted their records, or these say nothing clear.
    Open,
}

/// Finds it by busy time or, where nobody measured that, by records.
pub(super) fn find(evidence: &Evidence, operator: usize) -> Option<Skew> {
    let own = evidence.operators.get(operator)?;
    let mut busy: Vec<(u64, f64)> = own.values(Measure::Busy).collect();
    if busy.is_empty() {
        return by_records(evidence, operator);
    }
    descending(&mut busy);
    let hot = busy.windows(2).enumerate().max_by(|(_, a), (_, b)| gap(a).total_cmp(&gap(b)));
    let (count, _) = hot.filter(|(_, pair)| gap(pair) >= UNEVEN_GAP).map(|(i, pair)| (i + 1, pair))?;
    if count > busy.len() / 2 || busy[0].1 < BUSY {
        return None;
    }
    let mut skew = split(&busy, count, Measure::Busy);
    skew.cause = cause(evidence, operator, &skew.hot);
    Some(skew)
}

fn gap(pair: &[(u64, f64)]) -> f64 {
    pair[0].1 - pair[1].1
}

fn descending(values: &mut [(u64, f64)]) {
    values.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
}

fn split(values: &[(u64, f64)], count: usize, by: Measure) -> Skew {
    let mean = |values: &[(u64, f64)]| values.iter().map(|(_, value)| value).sum::<f64>() / values.len().max(1) as f64;
    let (hot, rest) = values.split_at(count);
    let mut indexes: Vec<u64> = hot.iter().map(|(index, _)| *index).collect();
    indexes.sort_unstable();
    Skew { hot: indexes, rest: rest.len(), by, means: [mean(hot), mean(rest), mean(values)], cause: Cause::Open }
}

/// What a subtask is given: a source has no input of ours, and what it sends stands for what it reads.
fn given(evidence: &Evidence, operator: usize) -> Measure {
    if evidence.facts.operators[operator].is_fed { Measure::RecordsIn } else { Measure::RecordsOut }
}

fn by_records(evidence: &Evidence, operator: usize) -> Option<Skew> {
    let measure = given(evidence, operator);
    let mut records: Vec<(u64, f64)> = evidence.operators[operator].values(measure).collect();
    descending(&mut records);
    let times = |count: usize| records[count - 1].1 / records[count].1.max(f64::MIN_POSITIVE);
    let count = (1..=records.len() / 2).max_by(|a, b| times(*a).total_cmp(&times(*b)))?;
    if records[0].1 <= 0.0 || times(count) < UNEVEN_RECORDS {
        return None;
    }
    let mut skew = split(&records, count, measure);
    skew.cause = Cause::Records(skew.means[0] / skew.means[1]);
    Some(skew)
}

fn cause(evidence: &Evidence, operator: usize, hot: &[u64]) -> Cause {
    let own = &evidence.operators[operator];
    let records: Vec<(u64, f64)> = own.values(given(evidence, operator)).collect();
    let mean = |is_hot: bool| {
        let values: Vec<f64> =
            records.iter().filter(|(i, _)| hot.contains(i) == is_hot).map(|(_, value)| *value).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let (Some(of_hot), Some(of_rest)) = (mean(true), mean(false)) else { return Cause::Open };
    if of_hot > 0.0 && of_hot >= UNEVEN_RECORDS * of_rest {
        return Cause::Records(of_hot / of_rest);
    }
    if of_hot >= EVEN_RECORDS * of_rest {
        return Cause::Open;
    }
    let on = |is_hot: bool| own.subtasks.iter().filter(move |one| hot.contains(&one.index) == is_hot);
    match on(true).next().and_then(|one| one.task_manager.as_deref()) {
        Some(machine)
            if on(true).all(|one| one.task_manager.as_deref() == Some(machine))
                && on(false).all(|one| one.task_manager.is_some() && one.task_manager.as_deref() != Some(machine)) =>
        {
            Cause::Machine(machine.to_owned())
        }
        _ => Cause::Costly,
    }
}

impl Skew {
    /// `its subtask 0 is busy 99.6 % of the time, the other 10.9 %`
    pub(super) fn described(&self) -> String {
        let (hot, is) = (words::subtasks(&self.hot), if self.hot.len() == 1 { "is" } else { "are" });
        let others = if self.rest == 1 { "the other" } else { "the others" };
        let [of_hot, of_rest, _] = self.means;
        match self.by {
            Measure::Busy => {
                let mean = if self.rest == 1 { "" } else { " on average" };
                let (of_hot, of_rest) = (words::percent(of_hot), words::percent(of_rest));
                format!("its {hot} {is} busy {of_hot} of the time, {others} {of_rest}{mean}")
            }
            _ => {
                let (of_hot, of_rest) = (words::number(of_hot), words::number(of_rest));
                let each = if self.hot.len() == 1 { "has" } else { "have" };
                format!("its {hot} {each} {of_hot} records/s to handle, {others} {of_rest}")
            }
        }
    }

    /// Why it is so and what to do.
    pub(super) fn advice(&self, is_source: bool) -> String {
        let hot = words::sentence(&words::subtasks(&self.hot));
        let verb = if self.hot.len() == 1 { "gets" } else { "get" };
        let others = if self.rest == 1 { "the other" } else { "the others" };
        match &self.cause {
            Cause::Records(times) => {
                let times = if times.is_finite() {
                    format!("{} times as many records as {others}", words::number(*times))
                } else {
                    format!("all records and {others} none")
                };
                let what = if is_source {
                    "the partitions that it reads are uneven. Spread the data over partitions, or give each subtask its \
                     share of them"
                } else {
                    "keys are spread unevenly. Spread the heavy ones (a salt in the key, a pre-aggregation before the \
                     exchange): more subtasks alone would not help"
                };
                format!("{hot} {verb} {times}: {what}.{}", self.evenly())
            }
            Cause::Machine(machine) => format!(
                "{hot} {verb} as many records as {others}, but run on task manager `{machine}`, where {others} do not: look at \
                 that machine (CPU, throttling, disk, neighbours)."
            ),
            Cause::Costly => format!(
                "{hot} {verb} as many records as {others}: a record costs more there (large state or large records of some \
                 keys), or the machine is slower. Profile that subtask."
            ),
            Cause::Open => format!(
                "Compare what {} {verb} with what {others} get: uneven keys want to be spread, a slow machine to be looked \
                 at; more subtasks alone may not help.",
                words::subtasks(&self.hot)
            ),
        }
    }

    /// What an even spread would bring.
    fn evenly(&self) -> String {
        let all = self.means[2];
        match self.by {
            Measure::Busy if all < SATURATED => {
                format!(
                    " Spread evenly, the same load would keep each subtask busy {} of the time.",
                    words::percent(all)
                )
            }
            _ => String::new(),
        }
    }

    /// The numbers behind it.
    pub(super) fn items(&self, evidence: &Evidence, operator: usize) -> Vec<Item> {
        let mut items = evidence.items(self.by, operator);
        let given = given(evidence, operator);
        if self.by != given {
            items.extend(evidence.items(given, operator));
        }
        items
    }
}

/// Findings of all operators that matter: those that work hard.
pub(super) fn findings(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for operator in evidence.live() {
        let is_source = evidence.is_source(operator);
        let busy = evidence.operators[operator].value(Measure::Busy);
        if let Some(skew) = find(evidence, operator).filter(|_| busy.is_some()) {
            let sentence = format!(
                "The load of {} is uneven: {}. {}",
                evidence.named(operator),
                skew.described(),
                skew.advice(is_source)
            );
            findings.push(Finding {
                kind: FindingKind::Skew,
                severity: Severity::Warning,
                operator: Some(operator),
                subtasks: skew.hot.clone(),
                sentence,
                evidence: skew.items(evidence, operator),
            });
        }
        findings.extend(idle(evidence, operator));
    }
    findings
}

/// A few subtasks do nothing while most work hard: something does not reach them.
fn idle(evidence: &Evidence, operator: usize) -> Option<Finding> {
    let busy: Vec<(u64, f64)> = evidence.operators[operator].values(Measure::Busy).collect();
    let idle: Vec<u64> = busy.iter().filter(|(_, share)| *share < IDLE).map(|(index, _)| *index).collect();
    let hard = busy.iter().filter(|(_, share)| *share >= BUSY).count();
    if idle.is_empty() || idle.len() * 2 >= busy.len() || hard * 2 <= busy.len() {
        return None;
    }
    let what = if evidence.is_source(operator) { "partitions" } else { "keys or partitions" };
    let sentence = format!(
        "{} of the {} subtasks of {} have next to nothing to do while most work hard: there are too few {what} to reach \
         them. A parallelism that divides them evenly costs less and does as much.",
        idle.len(),
        busy.len(),
        evidence.named(operator)
    );
    Some(Finding {
        kind: FindingKind::IdleSubtasks,
        severity: Severity::Info,
        operator: Some(operator),
        subtasks: idle,
        sentence,
        evidence: evidence.items(Measure::Busy, operator),
    })
}

impl Evidence {
    /// Operators that have not ended.
    pub(super) fn live(&self) -> Vec<usize> {
        (0..self.operators.len()).filter(|operator| self.facts.operators[*operator].is_live()).collect()
    }

    /// True if nothing feeds it, as far as the graph says.
    pub(super) fn is_source(&self, operator: usize) -> bool {
        self.facts.has_graph && !self.facts.operators[operator].is_fed
    }

    /// What was read of a measure of an operator: those that tell most, at most [`ITEMS`].
    pub(super) fn items(&self, measure: Measure, operator: usize) -> Vec<Item> {
        let item = |subtask: &super::evidence::Subtask| {
            let reading = subtask.readings.get(&measure).filter(|reading| !reading.value.is_nan())?;
            Some(Item {
                what: measure.as_str(),
                operator: Some(operator),
                subtask: Some(subtask.index),
                value: reading.value,
                unit: measure.unit(),
                place: Place::Series(reading.expression.clone()),
            })
        };
        let mut items: Vec<Item> = self.operators[operator].subtasks.iter().filter_map(item).collect();
        items.sort_by(|a, b| b.value.total_cmp(&a.value).then(a.subtask.cmp(&b.subtask)));
        if measure.together() == Together::Min {
            items.reverse();
        }
        // The least of the others shows how far apart they are.
        if items.len() > ITEMS {
            items.drain(ITEMS - 1..items.len() - 1);
        }
        items
    }
}
