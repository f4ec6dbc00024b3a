//! Accumulators that were told of: numbers of what runs are left out, the others stay until something else is said.

use crate::jobs::model::accumulator::{Accumulator, Accumulators};

/// Numbers of what runs are samples, not part of the document.
pub(super) fn without_numbers(told: &Accumulators) -> Accumulators {
    let mut told = told.clone();
    for one in &mut told.accumulators {
        let is_number = |value: &String| value.parse::<f64>().is_ok_and(f64::is_finite);
        one.value = one.value.take().filter(|value| !is_number(value));
    }
    told
}

/// Accumulators that are told of, through the moments at which the document changed.
pub(super) struct Telling<'t> {
    told: &'t Accumulators,
    /// What was known of each before; none any more where something else was said since.
    before: Vec<Option<Option<Accumulator>>>,
}

impl Telling<'_> {
    pub(super) fn new(told: &Accumulators) -> Telling<'_> {
        Telling { told, before: vec![None; told.accumulators.len()] }
    }

    /// What is told takes the place of what was known, until something else was said; those that are not told of stay.
    pub(super) fn merge(&mut self, known: Option<&Accumulators>, is_late: bool) -> Accumulators {
        let (vertex, subtask) = (self.told.vertex.clone(), self.told.subtask);
        let empty = || Accumulators { vertex, subtask, accumulators: Vec::new() };
        let mut merged = known.cloned().unwrap_or_else(empty);
        for (told, before) in self.told.accumulators.iter().zip(&mut self.before) {
            let place = merged.accumulators.iter().position(|one| one.name == told.name);
            let found = place.and_then(|place| merged.accumulators.get(place)).cloned();
            if !is_late {
                *before = Some(found);
            } else if before.as_ref() != Some(&found) {
                *before = None;
                continue;
            }
            match place.and_then(|place| merged.accumulators.get_mut(place)) {
                Some(one) => one.clone_from(told),
                None => merged.accumulators.push(told.clone()),
            }
        }
        merged
    }
}
