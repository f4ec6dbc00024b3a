//! The state of a job at a time, from all that was claimed of it.

use std::collections::BTreeMap;

use crate::jobs::model::state::{JobState, TaskState};

/// Someone said what the job did at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jobs) struct Claim {
    /// When it did so.
    pub(in crate::jobs) at_ms: i64,
    /// What it did.
    pub(in crate::jobs) state: JobState,
    /// True if we said so ourselves because nobody else did any more: then it may go on all the same.
    pub(in crate::jobs) is_ours: bool,
}

/// The state of a job at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it does.
    pub state: JobState,
    /// When it last came into each state.
    pub times: BTreeMap<JobState, i64>,
    /// When it ended.
    pub ended_ms: Option<i64>,
}

impl Standing {
    /// What holds at a time, by claims in the order of time.
    pub(in crate::jobs) fn at(claims: &[Claim], at_ms: i64) -> Standing {
        let mut standing = Standing { state: JobState::Created, times: BTreeMap::new(), ended_ms: None };
        let mut before = None;
        for claim in claims.iter().take_while(|claim| claim.at_ms <= at_ms) {
            if before == Some(claim.state) {
                continue;
            }
            before = Some(claim.state);
            standing.state = claim.state;
            standing.times.insert(claim.state, claim.at_ms);
            standing.ended_ms = claim.state.has_ended().then_some(claim.at_ms);
        }
        standing
    }

    /// The state of tasks that nobody speaks of.
    pub(in crate::jobs) fn of_tasks(&self) -> TaskState {
        match self.state {
            JobState::Running => TaskState::Running,
            JobState::Failing | JobState::Cancelling => TaskState::Canceling,
            JobState::Failed => TaskState::Failed,
            JobState::Canceled => TaskState::Canceled,
            JobState::Finished => TaskState::Finished,
            JobState::Initializing
            | JobState::Created
            | JobState::Restarting
            | JobState::Suspended
            | JobState::Reconciling => TaskState::Created,
        }
    }
}

/// Why a claim contradicts others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jobs) enum Contradiction {
    /// The job had ended before.
    HasEnded(Claim),
    /// The job went on after.
    WentOn(Claim),
}

/// What a new claim changes among the others, which are in the order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::jobs) struct Amended {
    /// It is to be kept.
    pub(in crate::jobs) is_kept: bool,
    /// Claims that say nothing any more, by time: of equal ones in a row the first and the last are enough.
    pub(in crate::jobs) dropped: Vec<i64>,
}

/// Looks what a new claim means. Nothing comes after an end; an end that we only supposed is no end.
pub(in crate::jobs) fn amend(claims: &[Claim], new: Claim) -> Result<Amended, Contradiction> {
    let (before, after): (Vec<Claim>, Vec<Claim>) = {
        let others = claims.iter().copied().filter(|claim| claim.at_ms != new.at_ms);
        others.partition(|claim| claim.at_ms < new.at_ms)
    };
    let is_end = |claim: &&Claim| claim.state.has_ended() && !claim.is_ours;
    if let Some(end) = before.iter().find(is_end).filter(|end| end.state != new.state) {
        return Err(Contradiction::HasEnded(*end));
    }
    if new.state.has_ended()
        && !new.is_ours
        && let Some(later) = after.iter().find(|later| !later.is_ours && later.state != new.state)
    {
        return Err(Contradiction::WentOn(*later));
    }
    if claims.iter().any(|claim| claim.at_ms == new.at_ms && claim.state == new.state) {
        return Ok(Amended::default());
    }
    let same = |claim: Option<&Claim>| claim.is_some_and(|claim| claim.state == new.state);
    let mut amended = Amended::default();
    // What stood at this time is corrected, and what we supposed for want of news is not needed after a real end.
    let is_gone = |claim: &&Claim| {
        claim.at_ms == new.at_ms || (claim.is_ours && claim.at_ms > new.at_ms && new.state.has_ended() && !new.is_ours)
    };
    amended.dropped.extend(claims.iter().filter(is_gone).map(|claim| claim.at_ms));
    if same(before.last()) && same(after.first()) {
        return Ok(amended);
    }
    amended.is_kept = true;
    let two_before = before.len().checked_sub(2).and_then(|i| before.get(i));
    if same(before.last()) && same(two_before) {
        amended.dropped.extend(before.last().map(|claim| claim.at_ms));
    }
    if same(after.first()) && same(after.get(1)) {
        amended.dropped.extend(after.first().map(|claim| claim.at_ms));
    }
    Ok(amended)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(at_ms: i64, state: JobState) -> Claim {
        Claim { at_ms, state, is_ours: false }
    }

    /// Keeps claims as the store does.
    fn keep(claims: &mut Vec<Claim>, new: Claim) -> Result<(), Contradiction> {
        let amended = amend(claims, new)?;
        claims.retain(|claim| !amended.dropped.contains(&claim.at_ms));
        if amended.is_kept {
            claims.retain(|claim| claim.at_ms != new.at_ms);
            claims.push(new);
            claims.sort_by_key(|claim| claim.at_ms);
        }
        Ok(())
    }

    #[test]
    fn a_state_lasts_from_its_first_claim_to_the_next_other_one() {
        use JobState::{Created, Finished, Restarting, Running};
        let claims = [(1, Created), (5, Running), (7, Running), (8, Restarting), (9, Running), (12, Finished)];
        let claims: Vec<Claim> = claims.into_iter().map(|(at, state)| claim(at, state)).collect();
        let standing = Standing::at(&claims, 8);
        assert_eq!((standing.state, standing.times[&Running], standing.ended_ms), (Restarting, 5, None));
        let standing = Standing::at(&claims, 11);
        assert_eq!((standing.state, standing.times[&Running]), (Running, 9));
        assert_eq!(Standing::at(&claims, 50).ended_ms, Some(12));
        assert_eq!(Standing::at(&claims, 0).times, BTreeMap::new());
    }

    #[test]
    fn a_claim_of_the_same_time_is_corrected() {
        let mut claims = vec![claim(1, JobState::Running), claim(5, JobState::Failing), claim(9, JobState::Running)];
        keep(&mut claims, claim(5, JobState::Running)).unwrap();
        assert_eq!(claims, [claim(1, JobState::Running), claim(9, JobState::Running)]);
        keep(&mut claims, claim(9, JobState::Restarting)).unwrap();
        assert_eq!(Standing::at(&claims, 9).state, JobState::Restarting);
    }

    #[test]
    fn nothing_comes_after_an_end_unless_we_only_supposed_it() {
        let mut claims = vec![claim(1, JobState::Running), claim(10, JobState::Finished)];
        let refused = |claims: &[Claim], at, state| amend(claims, claim(at, state)).unwrap_err();
        assert_eq!(refused(&claims, 11, JobState::Running), Contradiction::HasEnded(claims[1]));
        assert_eq!(refused(&claims, 11, JobState::Failed), Contradiction::HasEnded(claims[1]));
        assert_eq!(refused(&claims, 0, JobState::Failed), Contradiction::WentOn(claims[0]));
        assert!(amend(&claims, claim(5, JobState::Restarting)).is_ok(), "late, and before the end");
        assert!(amend(&claims, claim(15, JobState::Finished)).is_ok(), "said again");
        assert!(amend(&claims, claim(10, JobState::Failed)).is_ok(), "corrected");
        claims[1].is_ours = true;
        assert!(amend(&claims, claim(11, JobState::Running)).is_ok());
        let earlier = amend(&claims, claim(8, JobState::Finished)).unwrap();
        assert_eq!(earlier.dropped, [10], "it had ended before we gave it up");
    }

    /// An agent that says the same again and again costs two claims, and a late one among them is not lost.
    #[test]
    fn a_late_claim_between_repeated_ones_ends_where_the_state_was_said_again() {
        let mut claims = Vec::new();
        for at in [10, 20, 30, 40] {
            keep(&mut claims, claim(at, JobState::Running)).unwrap();
        }
        assert_eq!(claims, [claim(10, JobState::Running), claim(40, JobState::Running)]);
        keep(&mut claims, claim(25, JobState::Restarting)).unwrap();
        assert_eq!(Standing::at(&claims, 30).state, JobState::Restarting);
        assert_eq!(Standing::at(&claims, 50).state, JobState::Running);
    }

    proptest! {
        /// Whatever order claims come in, the end of the story is the same.
        #[test]
        fn the_order_of_arrival_does_not_matter_in_the_end(
            states in proptest::collection::vec(0..4_usize, 1..12),
            order in proptest::collection::vec(any::<u32>(), 12),
        ) {
            const STATES: [JobState; 4] =
                [JobState::Created, JobState::Running, JobState::Failing, JobState::Restarting];
            let told: Vec<Claim> = states.iter().zip(0..).map(|(s, at)| claim(at, STATES[*s])).collect();
            let mut shuffled: Vec<(u32, Claim)> = order.iter().copied().zip(told.iter().copied()).collect();
            shuffled.sort_by_key(|(key, claim)| (*key, claim.at_ms));
            let mut kept = Vec::new();
            for (_, claim) in shuffled {
                keep(&mut kept, claim).unwrap();
            }
            prop_assert_eq!(Standing::at(&kept, i64::MAX).state, Standing::at(&told, i64::MAX).state);
            prop_assert!(kept.windows(3).all(|run| run[0].state != run[1].state || run[1].state != run[2].state));
        }
    }
}
