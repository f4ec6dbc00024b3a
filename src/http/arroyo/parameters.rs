//! When the metrics are asked for: now, at a time, or over a history.

use ::http::Uri;
use model::TimeRange;

use crate::arroyo::rate::INTERVAL_MS;
use crate::config::{Duration, OptionValue};
use crate::http::error::Fault;
use crate::http::prometheus::parse_form;

/// How long back the console shows points.
const CONSOLE_MS: i64 = 300_000;

/// The parameters of a request, all of them our own. Unknown ones do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    at_ms: Option<i64>,
    start_ms: Option<i64>,
    end_ms: Option<i64>,
    step_ms: i64,
    now_ms: i64,
}

impl Asked {
    /// Reads `at`, `start`, `end` (milliseconds since 1970, or RFC 3339) and `step` (milliseconds, or such as `10s`).
    ///
    /// # Errors
    /// 400.
    pub(super) fn of(uri: &Uri, now_ms: i64) -> Result<Asked, Fault> {
        let pairs = parse_form(uri.query().unwrap_or_default().as_bytes()).map_err(Fault::bad_request)?;
        let text = |name: &str| pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let moment = |name: &str| text(name).map(|text| time(name, text)).transpose();
        let asked = Asked {
            at_ms: moment("at")?,
            start_ms: moment("start")?,
            end_ms: moment("end")?,
            step_ms: text("step").map_or(Ok(INTERVAL_MS), step)?,
            now_ms,
        };
        if asked.start_ms.zip(asked.end_ms).is_some_and(|(start_ms, end_ms)| start_ms > end_ms) {
            return Err(Fault::bad_request("start is after end"));
        }
        Ok(asked)
    }

    /// The present of the job, for its console at most once per two seconds.
    pub(super) fn now(now_ms: i64) -> Asked {
        Asked { at_ms: None, start_ms: None, end_ms: None, step_ms: INTERVAL_MS, now_ms }
    }

    /// True if it is about what runs now.
    pub(super) fn is_now(&self) -> bool {
        self.at_ms.is_none() && !self.is_history()
    }

    /// True if it is about a time that is named, whether the job ran or not.
    pub(super) fn is_history(&self) -> bool {
        self.start_ms.is_some() || self.end_ms.is_some()
    }

    /// The time as of which documents are read.
    pub(super) fn at_ms(&self) -> i64 {
        self.at_ms.unwrap_or(i64::MAX)
    }

    /// When the points lie, of a job that began at a time.
    pub(super) fn range(&self, started_ms: i64) -> TimeRange {
        let end_ms = self.end_ms.or(self.at_ms).unwrap_or(self.now_ms);
        let start_ms = match (self.start_ms, self.end_ms) {
            (Some(start_ms), _) => start_ms,
            // A history that names only its end is all of it.
            (None, Some(_)) => started_ms.min(end_ms),
            (None, None) => end_ms.saturating_sub(CONSOLE_MS),
        };
        TimeRange { start_ms, end_ms }
    }

    /// Distance of two points.
    pub(super) fn step_ms(&self) -> i64 {
        self.step_ms
    }
}

fn time(name: &str, text: &str) -> Result<i64, Fault> {
    let time = text.parse().ok().or_else(|| crate::report::timestamp::parse(text, 0).ok());
    time.ok_or_else(|| Fault::bad_request(format!("{name}={text:?} is neither milliseconds nor RFC 3339")))
}

fn step(text: &str) -> Result<i64, Fault> {
    let number = text.parse().ok().or_else(|| Duration::parse(text).ok().map(|duration| duration.ms()));
    let wrong = || Fault::bad_request(format!("step={text:?} is neither milliseconds above 0 nor such as 10s"));
    number.filter(|step_ms| *step_ms > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_796_000_000_000;

    fn asked(query: &str) -> Result<Asked, Fault> {
        Asked::of(&format!("/x?{query}").parse().unwrap(), NOW_MS)
    }

    fn range(query: &str) -> (i64, i64) {
        let range = asked(query).unwrap().range(NOW_MS - 3_600_000);
        (range.start_ms - NOW_MS, range.end_ms - NOW_MS)
    }

    #[test]
    fn the_console_sees_five_minutes_and_a_history_what_it_names() {
        assert_eq!(range(""), (-300_000, 0));
        assert_eq!(range("at=1795999999000"), (-301_000, -1000));
        assert_eq!(range("start=1795999000000"), (-1_000_000, 0));
        assert_eq!(range("end=1795999999000"), (-3_600_000, -1000), "from its beginning");
        assert_eq!(range("start=1&end=2"), (1 - NOW_MS, 2 - NOW_MS));
        assert_eq!(range("end=1"), (1 - NOW_MS, 1 - NOW_MS), "before it began");
        assert!(asked("").unwrap().is_now() && asked("bogus=1").unwrap() == Asked::now(NOW_MS));
        assert!(!asked("at=5").unwrap().is_now() && !asked("at=5").unwrap().is_history());
        assert!(asked("end=5").unwrap().is_history());
        assert_eq!(asked("start=2026-11-30T00:00:00Z").unwrap().start_ms, Some(1_795_996_800_000));
    }

    #[test]
    fn steps_are_milliseconds_or_durations() {
        let step = |query: &str| asked(query).map(|asked| asked.step_ms());
        assert_eq!([step(""), step("step=500"), step("step=1m")], [Ok(2000), Ok(500), Ok(60_000)]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (query, wrong) in [
            ("at=noon", "at=\"noon\""),
            ("start=x", "start=\"x\""),
            ("end=", "end=\"\""),
            ("start=2&end=1", "start is after end"),
            ("step=0", "step=\"0\""),
            ("step=-1", "step=\"-1\""),
            ("step=soon", "step=\"soon\""),
            ("at=%ZZ", "%ZZ"),
        ] {
            let fault = asked(query).unwrap_err();
            assert!(fault.status == 400 && fault.message.contains(wrong), "{query}: {}", fault.message);
        }
    }
}
