//! What is wrong with the shape of a request: where, what, and which kind, as FastAPI's list of 422 has it.

/// A step on the way to the wrong value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `body`, `query`, or a field of an object.
    Name(&'static str),
    /// An item of a list.
    Index(usize),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The way to the value, from `body` or `query` on.
    pub location: Vec<Step>,
    /// For people.
    pub message: String,
    /// A word for programs, such as `missing`.
    pub kind: &'static str,
}

impl Problem {
    /// A problem with the body itself.
    pub fn of_body(kind: &'static str, message: impl Into<String>) -> Problem {
        Problem { location: vec![Step::Name("body")], message: message.into(), kind }
    }

    /// A problem with a field of the body.
    pub fn of_field(field: &'static str, kind: &'static str, message: impl Into<String>) -> Problem {
        Problem { location: vec![Step::Name("body"), Step::Name(field)], message: message.into(), kind }
    }

    /// A problem with a parameter of the query.
    pub fn of_parameter(name: &'static str, kind: &'static str, message: impl Into<String>) -> Problem {
        Problem { location: vec![Step::Name("query"), Step::Name(name)], message: message.into(), kind }
    }
}
