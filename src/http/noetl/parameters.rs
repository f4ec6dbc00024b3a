//! Parameters of a query string, read as FastAPI does: each problem is named by its place.

use ::http::Uri;
use axum::extract::Query;

use crate::config::Zone;
use crate::http::error::Fault;
use crate::report::{Problem, timestamp};

/// The parameters of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the query string.
    pub(super) fn of(uri: &Uri) -> Result<Parameters, Fault> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
        pairs.map(|Query(pairs)| Parameters(pairs)).map_err(|error| Fault::bad_request(error.to_string()))
    }

    /// True if the name stands in the query string, with or without a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// All names and values, in their order.
    pub(super) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    /// A text; none if it is missing or empty. Of two of one name the last one counts.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A text that has to be there.
    pub(super) fn required(&self, name: &'static str) -> Result<&str, Problem> {
        self.text(name).ok_or_else(|| Problem::of_parameter(name, "missing", "Field required"))
    }

    /// A whole number.
    pub(super) fn whole(&self, name: &'static str) -> Result<Option<i64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let problem = || {
            let message = "Input should be a valid integer, unable to parse string as an integer";
            Problem::of_parameter(name, "int_parsing", message)
        };
        text.trim().parse().map(Some).map_err(|_| problem())
    }

    /// A whole number between bounds, both included.
    pub(super) fn bounded(&self, name: &'static str, default: i64, least: i64, most: i64) -> Result<i64, Problem> {
        let number = self.whole(name)?.unwrap_or(default);
        if number < least {
            let message = format!("Input should be greater than or equal to {least}");
            return Err(Problem::of_parameter(name, "greater_than_equal", message));
        }
        if number > most {
            let message = format!("Input should be less than or equal to {most}");
            return Err(Problem::of_parameter(name, "less_than_equal", message));
        }
        Ok(number)
    }

    /// A time in milliseconds since 1970, written as RFC 3339 or as seconds since 1970.
    pub(super) fn time(&self, name: &'static str, zone: Zone) -> Result<Option<i64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let seconds = text.parse::<f64>().ok().map(|s| s * 1000.0).filter(|ms| ms.abs() < 1e18);
        if let Some(ms) = seconds {
            return Ok(Some(ms.round() as i64));
        }
        timestamp::parse(&with_plus(text), zone.offset_s)
            .map(Some)
            .map_err(|error| Problem::of_parameter(name, "datetime_parsing", error.to_string()))
    }
}

/// A `+` that was not escaped in the query string has become a space: `2024-01-01T12:00:00 02:00`.
fn with_plus(text: &str) -> String {
    match text.rsplit_once(' ') {
        Some((time, zone)) if time.len() >= 19 && zone.len() == 5 => format!("{time}+{zone}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::of(&format!("/x?{query}").parse().unwrap()).unwrap()
    }

    #[test]
    fn values_are_read_or_refused_by_kind() {
        let p = parameters("a=1&a=2&b=&c=x%20y&n=-3&t=5.5&bad=1.5");
        assert_eq!((p.text("a"), p.text("b"), p.text("c")), (Some("2"), None, Some("x y")));
        assert_eq!(p.whole("n"), Ok(Some(-3)));
        assert_eq!(p.whole("bad").unwrap_err().kind, "int_parsing");
        assert_eq!(p.required("b").unwrap_err().kind, "missing");
        assert_eq!(p.bounded("a", 0, 2, 2), Ok(2));
        assert_eq!(p.bounded("a", 0, 3, 9).unwrap_err().kind, "greater_than_equal");
        assert_eq!(p.bounded("a", 0, 0, 1).unwrap_err().kind, "less_than_equal");
        assert_eq!(p.bounded("none", 7, 0, 9), Ok(7));
    }

    #[test]
    fn times_in_every_spelling() {
        let utc = Zone { offset_s: 0 };
        for (text, expected) in [
            ("1704110400", 1_704_110_400_000),
            ("1704110400.5", 1_704_110_400_500),
            ("2024-01-01T12:00:00Z", 1_704_110_400_000),
            ("2024-01-01T14:00:00%2B02:00", 1_704_110_400_000),
            ("2024-01-01T14:00:00+02:00", 1_704_110_400_000),
            ("2024-01-01+12:00:00", 1_704_110_400_000),
        ] {
            assert_eq!(parameters(&format!("t={text}")).time("t", utc), Ok(Some(expected)), "{text}");
        }
        for bad in ["soon", "nan", "1e300"] {
            assert_eq!(parameters(&format!("t={bad}")).time("t", utc).unwrap_err().kind, "datetime_parsing", "{bad}");
        }
    }
}
