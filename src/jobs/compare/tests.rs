//! What is said of two runs, as a table, and what must hold for any two.

use proptest::prelude::*;

use super::*;
use crate::jobs::CheckpointState;
use crate::jobs::diagnosis::{Facts, OperatorFacts};

fn side(operators: &[(&str, &str)]) -> Side {
    let facts = |(place, (id, name)): (usize, &(&str, &str))| OperatorFacts {
        id: (*id).to_owned(),
        name: (*name).to_owned(),
        parallelism: Some(2),
        inputs: place.checked_sub(1).into_iter().collect(),
        is_fed: place > 0,
        ..OperatorFacts::default()
    };
    Side {
        length_ms: 600_000,
        facts: Facts {
            operators: operators.iter().enumerate().map(facts).collect(),
            has_graph: true,
            ..Facts::default()
        },
        ..Side::default()
    }
}

fn two() -> Side {
    side(&[("1", "orders"), ("2", "score")])
}

/// A course of an operator of both runs at the same place, of these values.
fn course(measure: Measure, place: usize, a: &[f64], b: &[f64]) -> Course {
    let track = |values: &[f64]| values.iter().map(|value| Some(*value).filter(|value| !value.is_nan())).collect();
    Course { measure, pair: Pair { a: Some(place), b: Some(place) }, a: track(a), b: track(b) }
}

fn number<'c>(found: &'c Comparison, of: Compared, name: Option<&str>) -> &'c Number {
    found.numbers.iter().find(|one| one.of == of && one.name.as_deref() == name).unwrap()
}

#[test]
fn operators_are_found_again_by_id_and_then_by_name() {
    let (a, b) = (side(&[("1", "x"), ("2", "y"), ("3", "gone")]), side(&[("9", "x"), ("2", "renamed"), ("8", "new")]));
    let pair = |a, b| Pair { a, b };
    let expected = [pair(Some(0), Some(0)), pair(Some(1), Some(1)), pair(Some(2), None), pair(None, Some(2))];
    assert_eq!(pairs(&a, &b), expected);
}

#[test]
fn operators_of_one_name_are_paired_in_their_order() {
    let (a, b) = (side(&[("1", "x"), ("2", "x"), ("3", "x")]), side(&[("8", "x"), ("2", "y"), ("9", "x"), ("7", "x")]));
    let pair = |a, b| Pair { a, b };
    let found = pairs(&a, &b);
    assert_eq!(found, [pair(Some(0), Some(0)), pair(Some(1), Some(1)), pair(Some(2), Some(2)), pair(None, Some(3))]);
}

/// As many as the series of a job can imply. Looking through all of one run for each of the other would take minutes here.
#[test]
fn many_operators_are_paired_at_once() {
    let ids: Vec<String> = (0..4000).map(|i| format!("operator {i}")).collect();
    let operators: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "same")).collect();
    let found = pairs(&side(&operators), &side(&operators));
    assert!(found.iter().enumerate().all(|(i, pair)| (pair.a, pair.b) == (Some(i), Some(i))) && found.len() == 4000);
}

#[test]
fn a_slower_run_is_described_by_what_matters() {
    let courses = [
        course(Measure::RecordsOut, 0, &[800.0, 770.0], &[540.0, 540.0]),
        course(Measure::Busy, 1, &[0.61, 0.61], &[0.99, 0.99]),
        course(Measure::Backpressured, 0, &[0.0, 0.0], &[0.95, 0.97]),
        course(Measure::WatermarkLag, 1, &[400.0, 420.0], &[450.0, 450.0]),
    ];
    let found = compare(&two(), &two(), &courses, 600_000);
    let throughput = number(&found, Compared::Throughput, None);
    assert_eq!((throughput.a, throughput.b, throughput.change), (Some(785.0), Some(540.0), Change::Worse));
    assert_eq!(number(&found, Compared::Of(Measure::Busy), Some("score")).change, Change::Other);
    assert_eq!(number(&found, Compared::Of(Measure::WatermarkLag), Some("score")).change, Change::Same);
    assert_eq!(number(&found, Compared::Restarts, None).change, Change::Same);
    assert_eq!(number(&found, Compared::CheckpointDuration, None).change, Change::Unknown);
    let expected = "In the first 10 min of the second run, against the first: records sent by the sources 540/s instead of \
                    785/s (worse); waiting for room to send of `orders` 96 % instead of 0 % (worse); records out of `orders` \
                    540/s instead of 785/s (worse); busy of `score` 99 % instead of 61 %.";
    assert_eq!(found.sentence, expected);
    let same = compare(&two(), &two(), &[], 600_000);
    assert!(same.sentence.ends_with("no number of the second run differs from the first in a way that matters."));
}

#[test]
fn differences_count_from_their_limit_on() {
    let change = |of: Compared, a: f64, b: f64| of.change(Some(a), Some(b));
    let busy = Compared::Of(Measure::Busy);
    assert_eq!([change(busy, 0.4, 0.5), change(busy, 0.4, 0.499)], [Change::Other, Change::Same]);
    let rate = Compared::Throughput;
    assert_eq!([change(rate, 100.0, 90.0), change(rate, 100.0, 90.1)], [Change::Worse, Change::Same]);
    assert_eq!(
        [change(rate, 2.0, 3.0), change(rate, 2.0, 2.9)],
        [Change::Better, Change::Same],
        "less than one a second is noise"
    );
    let time = Compared::CheckpointDuration;
    assert_eq!([change(time, 1000.0, 2000.0), change(time, 1000.0, 1999.0)], [Change::Worse, Change::Same]);
    assert_eq!(change(time, 100_000.0, 109_000.0), Change::Same);
    assert_eq!(
        [change(Compared::Restarts, 20.0, 21.0), change(Compared::Restarts, 1.0, 0.0)],
        [Change::Worse, Change::Better]
    );
    assert_eq!(Compared::Restarts.change(None, Some(1.0)), Change::Unknown);
}

#[test]
fn means_are_of_the_steps_that_both_have() {
    let gap = f64::NAN;
    let courses = [course(Measure::Busy, 1, &[0.2, 0.4, gap], &[gap, 0.6, 0.8])];
    let found = compare(&two(), &two(), &courses, 600_000);
    let busy = number(&found, Compared::Of(Measure::Busy), Some("score"));
    assert_eq!((busy.a, busy.b), (Some(0.4), Some(0.6)));
    let alone = [course(Measure::Busy, 1, &[0.2, 0.4], &[])];
    let found = compare(&two(), &two(), &alone, 600_000);
    let busy = number(&found, Compared::Of(Measure::Busy), Some("score"));
    assert_eq!((busy.b, busy.change), (None, Change::Unknown));
    assert!((busy.a.unwrap() - 0.3).abs() < 1e-9);
}

#[test]
fn only_what_lies_in_the_common_time_counts() {
    let point =
        |id, at_ms, state, duration_ms, state_bytes| CheckpointPoint { id, at_ms, state, duration_ms, state_bytes };
    let done = CheckpointState::Completed;
    let mut a = two();
    a.checkpoints =
        vec![point(1, 1000, done, 2000, 10), point(2, 5000, done, 4000, 20), point(3, 9000, done, 90_000, 900)];
    a.restarts_ms = vec![4000, 8000];
    let mut b = two();
    b.checkpoints = vec![point(1, 1000, CheckpointState::Failed, 0, 0), point(2, 5000, done, 9000, 20)];
    let found = compare(&a, &b, &[], 6000);
    let of = |of| {
        let one = number(&found, of, None);
        (one.a, one.b, one.change)
    };
    assert_eq!(of(Compared::CheckpointDuration), (Some(3000.0), Some(9000.0), Change::Worse));
    assert_eq!(of(Compared::CheckpointFailures), (Some(0.0), Some(1.0), Change::Worse));
    assert_eq!(of(Compared::StateBytes), (Some(20.0), Some(20.0), Change::Same));
    assert_eq!(of(Compared::Restarts), (Some(1.0), Some(0.0), Change::Better));
    assert_eq!(of(Compared::Runtime), (None, None, Change::Unknown), "they have not ended");
    (a.is_over, b.is_over, b.length_ms) = (true, true, 300_000);
    let found = compare(&a, &b, &[], 6000);
    assert_eq!(number(&found, Compared::Runtime, None).change, Change::Better);
}

#[test]
fn settings_that_differ_are_named() {
    let settings = |parallelism, user: &[(&str, &str)]| Settings {
        parallelism,
        user: user.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Settings::default()
    };
    let (mut a, mut b) = (two(), two());
    a.settings = Some(settings(2, &[("rate", "4000"), ("old", "1")]));
    b.settings = Some(settings(4, &[("rate", "4000"), ("new", "1")]));
    let found = compare(&a, &b, &[], 1000);
    let names: Vec<&str> = found.settings.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["parallelism", "user.new", "user.old"]);
    assert_eq!((found.settings[0].a.as_deref(), found.settings[0].b.as_deref()), (Some("2"), Some("4")));
    assert!(found.sentence.ends_with("3 settings are different, `parallelism` among them."), "{}", found.sentence);
}

fn any_course() -> impl Strategy<Value = Course> {
    let value = || proptest::collection::vec(proptest::option::weighted(0.9, 0.0..1000.0_f64), 0..6);
    (proptest::sample::select(&MEASURES[..]), 0..2_usize, value(), value()).prop_map(|(measure, place, a, b)| Course {
        measure,
        pair: Pair { a: Some(place), b: Some(place) },
        a,
        b,
    })
}

proptest! {
    #[test]
    fn nothing_matters_between_a_run_and_itself(courses in proptest::collection::vec(any_course(), 0..8)) {
        let same: Vec<Course> = courses.into_iter().map(|one| Course { b: one.a.clone(), ..one }).collect();
        let found = compare(&two(), &two(), &same, 1000);
        prop_assert!(found.numbers.iter().all(|one| !one.change.is_notable()), "{:?}", found.numbers);
    }

    #[test]
    fn the_other_way_round_good_is_bad(courses in proptest::collection::vec(any_course(), 0..8)) {
        let turned: Vec<Course> = courses.iter().map(|one| Course { a: one.b.clone(), b: one.a.clone(), ..one.clone() }).collect();
        let (there, back) = (compare(&two(), &two(), &courses, 1000), compare(&two(), &two(), &turned, 1000));
        for (one, other) in there.numbers.iter().zip(&back.numbers) {
            prop_assert_eq!((one.a, one.b), (other.b, other.a));
            let expected = match one.change {
                Change::Worse => Change::Better,
                Change::Better => Change::Worse,
                same => same,
            };
            prop_assert_eq!(other.change, expected);
        }
    }
}
