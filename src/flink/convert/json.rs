//! Reading JSON objects field by field: what must be there, what may be, and times that Flink writes as -1 or 0 if there
//! are none.

use serde_json::{Map, Value};

/// A field is missing or of another type than any release writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer has no {wanted} {field:?}")]
pub struct WrongShape {
    /// The field.
    pub field: String,
    /// What it should be.
    pub wanted: &'static str,
}

/// An object that is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value) -> Result<Fields<'a>, WrongShape> {
        value.as_object().map(Fields).ok_or_else(|| wrong("", "object"))
    }

    /// A field, unless it is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<String, WrongShape> {
        self.text_if(name).ok_or_else(|| wrong(name, "text"))
    }

    pub(super) fn text_if(&self, name: &str) -> Option<String> {
        self.get(name)?.as_str().map(str::to_owned)
    }

    pub(super) fn whole(&self, name: &str) -> Result<i64, WrongShape> {
        self.whole_if(name).ok_or_else(|| wrong(name, "whole number"))
    }

    pub(super) fn whole_if(&self, name: &str) -> Option<i64> {
        self.get(name)?.as_i64()
    }

    /// A number that is not negative.
    pub(super) fn count(&self, name: &str) -> Result<u64, WrongShape> {
        self.get(name).and_then(Value::as_u64).ok_or_else(|| wrong(name, "number"))
    }

    pub(super) fn number_if(&self, name: &str) -> Option<f64> {
        self.get(name)?.as_f64()
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.is_if(name).unwrap_or(false)
    }

    pub(super) fn is_if(&self, name: &str) -> Option<bool> {
        self.get(name)?.as_bool()
    }

    /// A time; -1 and 0 are none.
    pub(super) fn time(&self, name: &str) -> Option<i64> {
        self.whole_if(name).filter(|time| *time > 0)
    }

    pub(super) fn object(&self, name: &str) -> Result<Fields<'a>, WrongShape> {
        self.object_if(name).ok_or_else(|| wrong(name, "object"))
    }

    pub(super) fn object_if(&self, name: &str) -> Option<Fields<'a>> {
        self.get(name)?.as_object().map(Fields)
    }

    pub(super) fn list(&self, name: &str) -> Result<&'a [Value], WrongShape> {
        self.list_if(name).ok_or_else(|| wrong(name, "list"))
    }

    pub(super) fn list_if(&self, name: &str) -> Option<&'a [Value]> {
        self.get(name)?.as_array().map(Vec::as_slice)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.0.iter()
    }

    /// All fields but these.
    pub(super) fn without(&self, names: &[&str]) -> Map<String, Value> {
        let rest = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        rest.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

pub(super) fn wrong(field: &str, wanted: &'static str) -> WrongShape {
    WrongShape { field: field.to_owned(), wanted }
}
