//! What can be said of an expression before data is read: lengths of time, pinned times, which parts have the same
//! value at every step, and whether the order of the result means something.

use model::Steps;

use crate::ast::{
    AggregationOp, AtModifier, Binary, BinaryOp, DurationExpr, DurationFunction, Expr, Modifiers, Node, ValueType,
};
use crate::error::{ErrorKind, QueryError};
use crate::functions;

/// The query's own evaluation times; subqueries have others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryTimes {
    /// The evaluation times.
    pub(crate) steps: Steps,
    /// False for instant queries.
    pub(crate) is_range: bool,
}

impl QueryTimes {
    /// The step in milliseconds, 0 for instant queries.
    pub(crate) fn step_ms(&self) -> i64 {
        if self.is_range { self.steps.step_ms } else { 0 }
    }

    /// From the first to the last time in milliseconds.
    pub(crate) fn range_ms(&self) -> i64 {
        self.steps.end_ms.saturating_sub(self.steps.start_ms)
    }

    /// The time that `@` names, if there is an `@`.
    pub(crate) fn pinned_ms(&self, modifiers: &Modifiers) -> Option<i64> {
        modifiers.at.map(|at| match at {
            AtModifier::Time(time_ms) => time_ms,
            AtModifier::Start => self.steps.start_ms,
            AtModifier::End => self.steps.end_ms,
        })
    }

    /// The offset in milliseconds, 0 for none.
    pub(crate) fn offset_ms(&self, modifiers: &Modifiers) -> Result<i64, QueryError> {
        modifiers.offset.as_ref().map_or(Ok(0), |offset| self.duration_ms(offset))
    }

    /// A range or a step in milliseconds, which must be positive.
    pub(crate) fn positive_ms(&self, duration: &DurationExpr) -> Result<i64, QueryError> {
        let ms = self.duration_ms(duration)?;
        if ms <= 0 { Err(invalid("duration must be greater than 0")) } else { Ok(ms) }
    }

    fn duration_ms(&self, duration: &DurationExpr) -> Result<i64, QueryError> {
        if let DurationExpr::Literal { ms, .. } = duration {
            return Ok(*ms);
        }
        let ms = self.seconds(duration)? * 1000.0;
        // Beyond this the sums of times would no longer be exact, and no data is that old.
        if !ms.is_finite() || ms.abs() >= (1_u64 << 53) as f64 {
            return Err(invalid("duration is out of range"));
        }
        Ok(ms as i64)
    }

    fn seconds(&self, duration: &DurationExpr) -> Result<f64, QueryError> {
        Ok(match duration {
            DurationExpr::Literal { seconds, .. } => *seconds,
            DurationExpr::Paren { expr, .. } => self.seconds(expr)?,
            DurationExpr::Unary { negative, expr, .. } => {
                let value = self.seconds(expr)?;
                if *negative { -value } else { value }
            }
            DurationExpr::Binary { op, left, right, .. } => {
                let (left, right) = (self.seconds(left)?, self.seconds(right)?);
                match op {
                    BinaryOp::Div if right == 0.0 => return Err(invalid("division by zero")),
                    BinaryOp::Mod if right == 0.0 => return Err(invalid("modulo by zero")),
                    BinaryOp::Add => left + right,
                    BinaryOp::Sub => left - right,
                    BinaryOp::Mul => left * right,
                    BinaryOp::Div => left / right,
                    BinaryOp::Mod => left % right,
                    BinaryOp::Pow => left.powf(right),
                    _ => return Err(invalid("unexpected duration expression operator")),
                }
            }
            DurationExpr::Call { function, args, .. } => {
                let mut args = args.iter().map(|arg| self.seconds(arg));
                match function {
                    DurationFunction::Step => self.step_ms() as f64 / 1000.0,
                    DurationFunction::Range => self.range_ms() as f64 / 1000.0,
                    DurationFunction::Min => args.try_fold(f64::INFINITY, |a, b| b.map(|b| a.min(b)))?,
                    DurationFunction::Max => args.try_fold(f64::NEG_INFINITY, |a, b| b.map(|b| a.max(b)))?,
                }
            }
        })
    }
}

fn invalid(message: &str) -> QueryError {
    QueryError { kind: ErrorKind::Parse, message: message.to_owned(), span: None }
}

/// The expression without parentheses around it.
pub(crate) fn strip(expr: &Expr) -> &Expr {
    match &expr.node {
        Node::Paren(inner) => strip(inner),
        _ => expr,
    }
}

/// The type of a checked expression.
pub(crate) fn type_of(expr: &Expr) -> ValueType {
    match &expr.node {
        Node::Number { .. } => ValueType::Scalar,
        Node::String(_) => ValueType::String,
        Node::VectorSelector(_) | Node::Aggregation(_) => ValueType::Vector,
        Node::MatrixSelector { .. } | Node::Subquery { .. } => ValueType::Matrix,
        Node::Unary { expr, .. } | Node::Paren(expr) => type_of(expr),
        Node::Binary(binary) => {
            let scalars = [&binary.left, &binary.right].into_iter().all(|side| type_of(side) == ValueType::Scalar);
            if scalars { ValueType::Scalar } else { ValueType::Vector }
        }
        Node::Call { function, .. } => functions::function(function).map_or(ValueType::Vector, |f| f.returns),
    }
}

/// True if the expression has the same value at every step, whatever the data: everything in it that looks at data is
/// pinned by `@`, and nothing in it depends on the evaluation time.
pub(crate) fn is_step_invariant(expr: &Expr) -> bool {
    match &expr.node {
        Node::Number { .. } | Node::String(_) => true,
        Node::VectorSelector(selector) | Node::MatrixSelector { selector, .. } => selector.modifiers.at.is_some(),
        Node::Subquery { modifiers, .. } => modifiers.at.is_some(),
        Node::Unary { expr, .. } | Node::Paren(expr) => is_step_invariant(expr),
        Node::Binary(binary) => is_step_invariant(&binary.left) && is_step_invariant(&binary.right),
        Node::Aggregation(aggregation) => {
            is_step_invariant(&aggregation.expr) && aggregation.param.as_ref().is_none_or(is_step_invariant)
        }
        Node::Call { function, args } => {
            let args = if *function == "info" { args.get(..1).unwrap_or_default() } else { args };
            let sees_time = match *function {
                "time" | "timestamp" | "predict_linear" => true,
                "days_in_month" | "day_of_month" | "day_of_week" | "day_of_year" | "hour" | "minute" | "month"
                | "year" => args.is_empty(),
                _ => false,
            };
            !sees_time && args.iter().all(is_step_invariant)
        }
    }
}

/// True if the elements of an instant vector stand in an order that the expression asks for.
pub(crate) fn is_ordered(expr: &Expr) -> bool {
    match &expr.node {
        Node::Unary { expr, .. } | Node::Paren(expr) => is_ordered(expr),
        Node::Binary(binary) => match ordered_side(binary) {
            Some(side) => is_ordered(side),
            None => false,
        },
        Node::Aggregation(aggregation) => matches!(aggregation.op, AggregationOp::TopK | AggregationOp::BottomK),
        Node::Call { function, args } => match *function {
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => true,
            "histogram_quantile" | "histogram_fraction" | "histogram_quantiles" | "absent" | "scalar" | "vector" => {
                false
            }
            _ => args.iter().any(is_ordered),
        },
        _ => false,
    }
}

/// The operand whose order a binary operation keeps.
fn ordered_side(binary: &Binary) -> Option<&Expr> {
    let is_vector = |side: &Expr| type_of(side) == ValueType::Vector;
    match (is_vector(&binary.left), is_vector(&binary.right)) {
        (true, _) => Some(&binary.left),
        (false, true) => Some(&binary.right),
        (false, false) => None,
    }
}
