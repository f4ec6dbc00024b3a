//! Fields of a small JSON body: registrations and heartbeats. All problems are collected before the request is refused.

use ::http::HeaderMap;
use axum::body::Body;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::answer::Failure;
use crate::app::App;
use crate::http::body::{self, BodyLimits};
use crate::report::Problem;

/// A JSON object and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: Map<String, Value>,
    problems: Vec<Problem>,
}

impl Fields {
    /// Reads a body; an empty one is an empty object.
    pub(super) async fn read(app: &App, headers: &HeaderMap, body: Body) -> Result<Fields, Failure> {
        Ok(Fields::read_with_body(app, headers, body).await?.0)
    }

    /// As [`Fields::read`], with the bytes of the body.
    pub(super) async fn read_with_body(app: &App, headers: &HeaderMap, body: Body) -> Result<(Fields, Bytes), Failure> {
        let limit = ("report.max_registration_bytes", app.config.report_max_registration_bytes.usize());
        let limits = BodyLimits::new(app, limit);
        let sent = body::read(headers, body, &limits).await?;
        if sent.is_empty() {
            return Ok((Fields::default(), sent));
        }
        body::require_json(headers)?;
        let decoded = body::decode(headers, sent, &limits)?;
        Ok((Fields::parse(&decoded)?, decoded))
    }

    fn parse(json: &[u8]) -> Result<Fields, Failure> {
        match serde_json::from_slice(json) {
            Ok(Value::Object(values)) => Ok(Fields::of(values)),
            Ok(_) => Err(Problem::of_body("model_attributes_type", "Input should be an object").into()),
            Err(error) => Err(Problem::of_body("json_invalid", format!("JSON decode error: {error}")).into()),
        }
    }

    /// The fields of an object.
    pub(super) fn of(values: Map<String, Value>) -> Fields {
        Fields { values, problems: Vec::new() }
    }

    /// Takes a value out; none if it is missing or `null`. Earlier names win over aliases that follow.
    fn take(&mut self, names: &[&'static str]) -> Option<(&'static str, Value)> {
        let found = names.iter().find(|name| self.values.get(**name).is_some_and(|value| !value.is_null()))?;
        self.values.remove(*found).map(|value| (*found, value))
    }

    /// A string under one of these names, without space around it.
    pub(super) fn text(&mut self, names: &[&'static str]) -> Option<String> {
        match self.take(names)? {
            (_, Value::String(text)) => Some(text.trim().to_owned()),
            (name, _) => self.problem(name, "string_type", "Input should be a valid string"),
        }
    }

    /// A string that has to be there and is not empty.
    pub(super) fn required(&mut self, name: &'static str) -> String {
        let problems = self.problems.len();
        match self.text(&[name]) {
            Some(text) if !text.is_empty() => return text,
            Some(_) => self.problem::<()>(name, "string_too_short", "String should have at least 1 character"),
            None if self.problems.len() == problems => self.problem(name, "missing", "Field required"),
            None => None,
        };
        String::new()
    }

    /// A whole number.
    pub(super) fn whole(&mut self, name: &'static str) -> Option<i64> {
        let (_, value) = self.take(&[name])?;
        value.as_i64().or_else(|| self.problem(name, "int_type", "Input should be a valid integer"))
    }

    /// A whole number that is not negative.
    pub(super) fn count(&mut self, name: &'static str) -> Option<i64> {
        let number = self.whole(name)?;
        if number >= 0 {
            return Some(number);
        }
        self.problem(name, "greater_than_equal", "Input should be greater than or equal to 0")
    }

    /// An object, or a list of strings as workers make of `NOETL_WORKER_LABELS`.
    pub(super) fn labels(&mut self, name: &'static str) -> Option<Value> {
        match self.take(&[name])? {
            (_, labels @ Value::Object(_)) => Some(labels),
            (_, Value::Array(list)) if list.iter().all(Value::is_string) => Some(Value::Array(list)),
            _ => self.problem(name, "dict_type", "Input should be a valid dictionary, or a list of strings"),
        }
    }

    /// An object.
    pub(super) fn object(&mut self, name: &'static str) -> Option<Map<String, Value>> {
        match self.take(&[name])? {
            (_, Value::Object(object)) => Some(object),
            _ => self.problem(name, "dict_type", "Input should be a valid dictionary"),
        }
    }

    /// True if the field is there and not `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| !value.is_null())
    }

    /// Fails if a field was wrong.
    pub(super) fn finish(self) -> Result<(), Failure> {
        if self.problems.is_empty() { Ok(()) } else { Err(Failure::Problems(self.problems)) }
    }

    fn problem<T>(&mut self, name: &'static str, kind: &'static str, message: &str) -> Option<T> {
        self.problems.push(Problem::of_field(name, kind, message));
        None
    }
}
