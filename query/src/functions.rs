//! The one table of functions: names, argument types, arity and result types.
//!
//! The parser, the type check and the evaluator read it; what a function computes is in the modules below.

pub(crate) mod histograms;
pub(crate) mod label;
pub(crate) mod math;
pub(crate) mod over_time;
pub(crate) mod partial;
pub(crate) mod rate;
pub(crate) mod rollup;
pub(crate) mod sort;
pub(crate) mod time;
pub(crate) mod trend;

use crate::ast::ValueType::{self, Matrix, Scalar, String as Text, Vector};

/// A function of the expression language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// The name, in lower case; calls are case-sensitive.
    pub name: &'static str,
    /// Types of the arguments; further ones have the last one's type.
    pub args: &'static [ValueType],
    /// Fewest arguments.
    pub args_min: usize,
    /// Most arguments; none for no limit.
    pub args_max: Option<usize>,
    /// Type of the result.
    pub returns: ValueType,
    /// Prometheus has it behind `promql-experimental-functions`; here it is always there.
    pub experimental: bool,
}

/// All functions, sorted by name.
#[rustfmt::skip]
pub const FUNCTIONS: &[Function] = &[
    Function { name: "abs", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "absent", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "absent_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "acos", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "acosh", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "asin", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "asinh", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "atan", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "atanh", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "avg_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "ceil", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "changes", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "clamp", args: &[Vector, Scalar, Scalar], args_min: 3, args_max: Some(3), returns: Vector, experimental: false },
    Function { name: "clamp_max", args: &[Vector, Scalar], args_min: 2, args_max: Some(2), returns: Vector, experimental: false },
    Function { name: "clamp_min", args: &[Vector, Scalar], args_min: 2, args_max: Some(2), returns: Vector, experimental: false },
    Function { name: "cos", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "cosh", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "count_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "day_of_month", args: &[Vector], args_min: 0, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "day_of_week", args: &[Vector], args_min: 0, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "day_of_year", args: &[Vector], args_min: 0, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "days_in_month", args: &[Vector], args_min: 0, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "deg", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "delta", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "deriv", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "double_exponential_smoothing", args: &[Matrix, Scalar, Scalar], args_min: 3, args_max: Some(3), returns: Vector, experimental: true },
    Function { name: "end", args: &[], args_min: 0, args_max: Some(0), returns: Scalar, experimental: true },
    Function { name: "exp", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "first_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: true },
    Function { name: "floor", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "histogram_avg", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "histogram_count", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "histogram_fraction", args: &[Scalar, Scalar, Vector], args_min: 3, args_max: Some(3), returns: Vector, experimental: false },
    Function { name: "histogram_quantile", args: &[Scalar, Vector], args_min: 2, args_max: Some(2), returns: Vector, experimental: false },
    Function { name: "histogram_quantiles", args: &[Vector, Text, Scalar, Scalar], args_min: 3, args_max: Some(12), returns: Vector, experimental: true },
    Function { name: "histogram_stddev", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "histogram_stdvar", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "histogram_sum", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "hour", args: &[Vector], args_min: 0, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "idelta", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "increase", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "info", args: &[Vector, Vector], args_min: 1, args_max: Some(2), returns: Vector, experimental: true },
    Function { name: "irate", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "label_join", args: &[Vector, Text, Text, Text], args_min: 3, args_max: None, returns: Vector, experimental: false },
    Function { name: "label_replace", args: &[Vector, Text, Text, Text, Text], args_min: 5, args_max: Some(5), returns: Vector, experimental: false },
    Function { name: "last_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "ln", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "log10", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "log2", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "mad_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: true },
    Function { name: "max_of", args: &[Scalar, Scalar], args_min: 2, args_max: Some(2), returns: Scalar, experimental: true },
    Function { name: "max_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "min_of", args: &[Scalar, Scalar], args_min: 2, args_max: Some(2), returns: Scalar, experimental: true },
    Function { name: "min_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "minute", args: &[Vector], args_min: 0, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "month", args: &[Vector], args_min: 0, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "pi", args: &[], args_min: 0, args_max: Some(0), returns: Scalar, experimental: false },
    Function { name: "predict_linear", args: &[Matrix, Scalar], args_min: 2, args_max: Some(2), returns: Vector, experimental: false },
    Function { name: "present_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "quantile_over_time", args: &[Scalar, Matrix], args_min: 2, args_max: Some(2), returns: Vector, experimental: false },
    Function { name: "rad", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "range", args: &[], args_min: 0, args_max: Some(0), returns: Scalar, experimental: true },
    Function { name: "rate", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "resets", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "round", args: &[Vector, Scalar], args_min: 1, args_max: Some(2), returns: Vector, experimental: false },
    Function { name: "scalar", args: &[Vector], args_min: 1, args_max: Some(1), returns: Scalar, experimental: false },
    Function { name: "sgn", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "sin", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "sinh", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "sort", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "sort_by_label", args: &[Vector, Text], args_min: 1, args_max: None, returns: Vector, experimental: true },
    Function { name: "sort_by_label_desc", args: &[Vector, Text], args_min: 1, args_max: None, returns: Vector, experimental: true },
    Function { name: "sort_desc", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "sqrt", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "start", args: &[], args_min: 0, args_max: Some(0), returns: Scalar, experimental: true },
    Function { name: "stddev_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "stdvar_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "step", args: &[], args_min: 0, args_max: Some(0), returns: Scalar, experimental: true },
    Function { name: "sum_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "tan", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "tanh", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "time", args: &[], args_min: 0, args_max: Some(0), returns: Scalar, experimental: false },
    Function { name: "timestamp", args: &[Vector], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "ts_of_first_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: true },
    Function { name: "ts_of_last_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: true },
    Function { name: "ts_of_max_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: true },
    Function { name: "ts_of_min_over_time", args: &[Matrix], args_min: 1, args_max: Some(1), returns: Vector, experimental: true },
    Function { name: "vector", args: &[Scalar], args_min: 1, args_max: Some(1), returns: Vector, experimental: false },
    Function { name: "year", args: &[Vector], args_min: 0, args_max: Some(1), returns: Vector, experimental: false },
];

/// The function of that name.
pub fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|f| f.name.cmp(name)).ok().and_then(|i| FUNCTIONS.get(i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_arities_agree() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        for f in FUNCTIONS {
            assert!(f.args_min <= f.args.len(), "{}", f.name);
            assert!(f.args_max.is_none_or(|max| max >= f.args.len()), "{}", f.name);
            assert_eq!(function(f.name), Some(f));
        }
        assert_eq!(function("no_such_function"), None);
        assert_eq!(function("RATE"), None);
    }
}
