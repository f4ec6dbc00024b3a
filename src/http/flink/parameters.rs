//! Parameters of the query, and the parts of paths that are ids or numbers.

use ::http::Uri;

use super::answer::Failure;

/// The parameters of a request. Unknown ones do not count.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(uri: &Uri) -> Result<Parameters, Failure> {
        let pairs = crate::http::prometheus::parse_form(uri.query().unwrap_or_default().as_bytes());
        pairs.map(Parameters).map_err(Failure::bad_request)
    }

    /// The elements of a list: by commas, and also when the name comes several times.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let values = self.0.iter().filter(|(found, _)| found == name);
        values.flat_map(|(_, value)| value.split(',')).filter(|value| !value.is_empty()).collect()
    }

    /// The first value of a name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A number that is not negative.
    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, Failure> {
        let parse = |text: &str| text.parse().map_err(|_| Failure::unresolved("query", name, text));
        self.text(name).map(parse).transpose()
    }

    /// The moment that is asked for, in milliseconds; none is now.
    pub(super) fn at(&self) -> Result<Option<i64>, Failure> {
        self.time("at")
    }

    /// A moment in milliseconds.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, Failure> {
        let parse = |text: &str| {
            let moment = text.parse().ok().or_else(|| crate::report::timestamp::parse(text, 0).ok());
            moment.ok_or_else(|| Failure::unresolved("query", name, text))
        };
        self.text(name).map(parse).transpose()
    }
}

/// An id of 32 hexadecimal digits, in lower case; `name` is that of the part of the path.
pub(super) fn hex_id(name: &str, text: &str) -> Result<String, Failure> {
    if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Failure::unresolved("path", name, text))
    }
}

/// A number that is not negative.
pub(super) fn number(name: &str, text: &str) -> Result<i64, Failure> {
    let number = text.parse().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| Failure::unresolved("path", name, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_32_digits_and_come_back_in_lower_case() {
        let id = "0D890D9D32CCFA02B7EAB50FA0435103";
        assert_eq!(hex_id("jobid", id).unwrap(), id.to_lowercase());
        for bad in ["", "nothex", &"g".repeat(32), &"0".repeat(31), &"0".repeat(33)] {
            assert_eq!(hex_id("jobid", bad), Err(Failure::unresolved("path", "jobid", bad)));
        }
        assert_eq!(number("subtaskindex", "7"), Ok(7));
        for bad in ["-1", "x", "", "99999999999999999999"] {
            assert!(number("subtaskindex", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_are_split_and_moments_are_milliseconds_or_rfc_3339() {
        let parameters = Parameters::of(&"/x?get=a,b&get=c,,&at=1795220231254".parse().unwrap()).unwrap();
        assert_eq!(parameters.list("get"), ["a", "b", "c"]);
        assert_eq!(parameters.at(), Ok(Some(1_795_220_231_254)));
        let parameters = Parameters::of(&"/x?at=2024-01-01T12:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(parameters.at(), Ok(Some(1_704_110_400_000)));
        assert!(Parameters::of(&"/x?at=noon".parse().unwrap()).unwrap().at().is_err());
    }
}
