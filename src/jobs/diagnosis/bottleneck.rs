//! The rule: a bottleneck is a busy operator whose inputs wait for room to send.
//!
//! Who waits is read from what is known best: the time that an operator waits, else how full the queues behind it are, else
//! how full those before its receivers are. Among the operators that others wait for the busiest counts: on a path of the
//! same records it is the one with the least capacity. Where nobody measured busy time the place in the graph decides: who
//! is waited for and does not wait itself.

use std::collections::BTreeSet;

use super::evidence::{Evidence, Measure};
use super::finding::Item;
use super::thresholds::{BUSY, HELD_UP, HELD_UP_BADLY, QUEUE_FULL};
use super::words;

/// How much an operator waits for room to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Held {
    /// A share of time, or how full queues are.
    share: f64,
    measure: Measure,
    /// The operator that it was read of.
    at: usize,
}

impl Held {
    /// Whether that is enough to say that it is held up.
    pub(super) fn is_held(self) -> bool {
        self.share >= if self.measure == Measure::Backpressured { HELD_UP } else { QUEUE_FULL }
    }

    /// Whether that is much.
    pub(super) fn is_badly_held(self) -> bool {
        self.share >= if self.measure == Measure::Backpressured { HELD_UP_BADLY } else { QUEUE_FULL }
    }
}

/// An operator that others wait for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    pub(super) operator: usize,
    /// Its inputs that wait.
    pub(super) waiting: Vec<usize>,
    /// Its busy share, if known.
    busy: Option<f64>,
    /// How much its inputs wait, at most.
    pressure: f64,
    /// True if its load was measured, or nobody else can be waited for.
    pub(super) is_certain: bool,
}

/// What the graph and the readings say together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Found {
    /// Operators that hold others up, each of them others; the worst first.
    pub(super) bottlenecks: Vec<Candidate>,
    /// Others that may be meant as well as the worst: nobody measured which.
    pub(super) or: Vec<usize>,
    /// Operators that wait although nobody behind them is busy.
    pub(super) unexplained: Vec<usize>,
}

impl Evidence {
    /// The busy share of an operator: that of its busiest subtask.
    pub(super) fn busy(&self, operator: usize) -> Option<f64> {
        self.operators[operator].value(Measure::Busy)
    }

    /// How much an operator waits for room to send.
    pub(super) fn held(&self, operator: usize) -> Option<Held> {
        let read = |measure, at: usize| self.operators[at].value(measure).map(|share| Held { share, measure, at });
        let behind = || {
            let queues = self.outputs(operator).into_iter().filter_map(|output| read(Measure::InputQueue, output));
            queues.max_by(|a, b| a.share.total_cmp(&b.share))
        };
        read(Measure::Backpressured, operator).or_else(|| read(Measure::OutputQueue, operator)).or_else(behind)
    }

    /// The operators that an operator sends to and that have not ended.
    pub(super) fn outputs(&self, operator: usize) -> Vec<usize> {
        let is_fed = |other: &usize| self.facts.operators[*other].inputs.contains(&operator);
        self.live().into_iter().filter(is_fed).collect()
    }

    /// All operators from which an operator's records come.
    fn ancestors(&self, operator: usize) -> BTreeSet<usize> {
        let (mut all, mut open) = (BTreeSet::from([operator]), vec![operator]);
        while let Some(one) = open.pop() {
            open.extend(self.facts.operators[one].inputs.iter().copied().filter(|input| all.insert(*input)));
        }
        all.remove(&operator);
        all
    }

    /// How many steps it is from a source, at most; a loop is not gone round.
    fn depth(&self, operator: usize) -> usize {
        self.ancestors(operator).len()
    }

    /// How it is said that operators wait; `who` stands behind each name.
    pub(super) fn waiting(&self, operators: &[usize], who: &str) -> String {
        let said = |operator: &usize| {
            let held = self.held(*operator)?;
            let (name, share) = (self.named(*operator) + who, words::percent(held.share));
            Some(match held.measure {
                Measure::Backpressured => format!("{name} waits {share} of its time for room to send"),
                Measure::OutputQueue => format!("the queues behind {name} are {share} full"),
                _ => format!("the queue between {name} and {} is {share} full", self.named(held.at)),
            })
        };
        words::list(&operators.iter().filter_map(said).collect::<Vec<_>>())
    }

    /// The numbers behind that.
    pub(super) fn waiting_items(&self, operators: &[usize]) -> Vec<Item> {
        let held = operators.iter().filter_map(|operator| self.held(*operator));
        held.flat_map(|held| self.items(held.measure, held.at)).collect()
    }
}

/// Looks for them.
pub(super) fn find(evidence: &Evidence) -> Found {
    let mut candidates: Vec<Candidate> =
        evidence.live().into_iter().filter_map(|operator| candidate(evidence, operator)).collect();
    // The busiest, then those of unknown load by how much is waited for them; of equal ones the last on the way.
    let key = |one: &Candidate| (one.busy.unwrap_or(-1.0), one.pressure);
    candidates.sort_by(|a, b| {
        let ((a_busy, a_pressure), (b_busy, b_pressure)) = (key(a), key(b));
        let by_load = b_busy.total_cmp(&a_busy).then(b_pressure.total_cmp(&a_pressure));
        by_load.then_with(|| evidence.depth(b.operator).cmp(&evidence.depth(a.operator)))
    });
    let mut found = Found::default();
    let mut explained = BTreeSet::new();
    for one in candidates {
        let is_new = one.waiting.iter().any(|input| !explained.contains(input));
        let is_alike = found.bottlenecks.first().is_some_and(|worst| {
            worst.busy.is_none() && one.busy.is_none() && one.waiting.iter().any(|input| worst.waiting.contains(input))
        });
        if is_alike {
            found.or.push(one.operator);
        } else if is_new {
            explained.extend(evidence.ancestors(one.operator));
            found.bottlenecks.push(one);
        }
    }
    let is_open = |operator: &usize| {
        let is_held = evidence.held(*operator).is_some_and(Held::is_badly_held);
        is_held && !explained.contains(operator) && !evidence.outputs(*operator).is_empty()
    };
    found.unexplained = evidence.live().into_iter().filter(is_open).collect();
    found
}

/// An operator that its inputs wait for, unless it cannot be the reason.
fn candidate(evidence: &Evidence, operator: usize) -> Option<Candidate> {
    let facts = &evidence.facts.operators[operator];
    let held = |input: &usize| evidence.held(*input).filter(|held| held.is_held());
    let waiting: Vec<usize> = facts.inputs.iter().copied().filter(|input| held(input).is_some()).collect();
    let pressure = waiting.iter().filter_map(held).map(|held| held.share).reduce(f64::max)?;
    let busy = evidence.busy(operator);
    let passes_on = evidence.held(operator).is_some_and(Held::is_held);
    let is_reason = match busy {
        // Who waits itself has reserve: someone behind it of whom nothing is known is the likelier reason.
        Some(share) => {
            share >= BUSY
                && !(passes_on && evidence.outputs(operator).iter().any(|output| evidence.busy(*output).is_none()))
        }
        None => {
            let queue = evidence.operators[operator].value(Measure::InputQueue);
            !passes_on && queue.is_none_or(|full| full >= QUEUE_FULL)
        }
    };
    let is_only = |input: &usize| evidence.outputs(*input).len() == 1;
    let is_certain = busy.is_some() || waiting.iter().any(is_only);
    is_reason.then_some(Candidate { operator, waiting, busy, pressure, is_certain })
}
