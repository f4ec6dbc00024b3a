//! Binary operators: the arithmetic itself, and operations with a scalar. Two vectors meet in `matching` and `sets`.

use std::sync::Arc;

use model::{Histogram, ResetHint};

use crate::ast::{Binary, BinaryOp, ValueType};
use crate::error::QueryError;
use crate::eval::column::{Column, Scalars};
use crate::eval::{Evaluator, Grid, STEPS_PER_CHECK, Sink};
use crate::plan::type_of;
use crate::span::Span;

/// What an operator makes of two floats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    /// A number.
    Value(f64),
    /// A comparison that holds or not.
    Holds(bool),
}

/// Applies an operator; set operators and cuts have no outcome on floats and count as a comparison that never holds.
pub(crate) fn apply(op: BinaryOp, left: f64, right: f64) -> Outcome {
    match op {
        BinaryOp::Add => Outcome::Value(left + right),
        BinaryOp::Sub => Outcome::Value(left - right),
        BinaryOp::Mul => Outcome::Value(left * right),
        BinaryOp::Div => Outcome::Value(left / right),
        BinaryOp::Mod => Outcome::Value(left % right),
        BinaryOp::Pow => Outcome::Value(left.powf(right)),
        BinaryOp::Atan2 => Outcome::Value(left.atan2(right)),
        BinaryOp::Equal => Outcome::Holds(left == right),
        BinaryOp::NotEqual => Outcome::Holds(left != right),
        BinaryOp::Greater => Outcome::Holds(left > right),
        BinaryOp::GreaterEqual => Outcome::Holds(left >= right),
        BinaryOp::Less => Outcome::Holds(left < right),
        BinaryOp::LessEqual => Outcome::Holds(left <= right),
        BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
            Outcome::Holds(false)
        }
    }
}

/// One side of an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operand<'o> {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(&'o Arc<Histogram>),
}

impl<'o> Operand<'o> {
    /// The value of a column at place `i`.
    pub(crate) fn at(column: &'o Column<'_>, i: usize) -> Option<Self> {
        column.get(i).map(Operand::Float).or_else(|| column.histogram(i).map(Operand::Histogram))
    }

    /// True for a histogram.
    pub(crate) fn is_histogram(self) -> bool {
        matches!(self, Operand::Histogram(_))
    }

    fn kind(self) -> &'static str {
        if self.is_histogram() { "histogram" } else { "float" }
    }
}

/// What an operator makes of two operands one of which is a histogram at least.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum HistogramOutcome {
    /// A histogram.
    Value(Histogram),
    /// A comparison that holds or not.
    Holds(bool),
}

/// 1 for true, 0 for false.
pub(crate) fn truth(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

/// True for operators whose result is another kind of value than their operands.
pub(crate) fn is_arithmetic(op: BinaryOp) -> bool {
    use BinaryOp::{Add, Atan2, Div, Mod, Mul, Pow, Sub};
    matches!(op, Add | Sub | Mul | Div | Mod | Pow | Atan2)
}

impl<'q> Evaluator<'q> {
    /// Evaluates an operation that has a vector on one side at least.
    pub(crate) fn stream_binary(
        &self,
        binary: &Binary,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        match (type_of(&binary.left), type_of(&binary.right)) {
            (ValueType::Vector, ValueType::Vector) => match binary.op {
                BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => self.set_operation(binary, grid, sink),
                _ => self.match_vectors(binary, span, grid, sink),
            },
            (ValueType::Vector, ValueType::Scalar) | (ValueType::Scalar, ValueType::Vector) => {
                self.with_scalar(binary, span, grid, sink)
            }
            _ => Err(QueryError { span: Some(span), ..self.broken("operands of a binary operation") }),
        }
    }

    /// A vector and a scalar: element by element, so series just flow through.
    fn with_scalar(&self, binary: &Binary, span: Span, grid: Grid, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        let scalar_left = type_of(&binary.left) == ValueType::Scalar;
        let (vector, scalar) = if scalar_left { (&binary.right, &binary.left) } else { (&binary.left, &binary.right) };
        let scalars = self.scalar(scalar, grid)?;
        self.stream(vector, grid, &mut |mut series| {
            if binary.op.is_trim() && !series.column.has_no_floats() {
                self.notes.incompatible_types(span, "float", binary.op.as_str(), "float");
            }
            series.column.filter_map(|i, value| {
                let (left, right) = if scalar_left { (scalars.get(i), value) } else { (value, scalars.get(i)) };
                match apply(binary.op, left, right) {
                    Outcome::Value(value) => Some(value),
                    Outcome::Holds(holds) if binary.returns_bool => Some(truth(holds)),
                    Outcome::Holds(holds) => holds.then_some(value),
                }
            });
            series.column.filter_map_histograms(|i, histogram| {
                let (scalar, own) = (Operand::Float(scalars.get(i)), Operand::Histogram(&histogram));
                let (left, right) = if scalar_left { (scalar, own) } else { (own, scalar) };
                match self.apply_to_histograms(binary.op, left, right, span) {
                    Some(HistogramOutcome::Value(value)) => Some(Arc::new(value)),
                    // Scalars and histograms are never compared.
                    Some(HistogramOutcome::Holds(_)) | None => None,
                }
            });
            if is_arithmetic(binary.op) || binary.returns_bool {
                self.drop_name(&mut series);
            }
            sink(series)
        })
    }

    /// Applies an operator to operands one of which is a histogram at least; none if that has no meaning, which is then
    /// noted.
    pub(crate) fn apply_to_histograms(
        &self,
        op: BinaryOp,
        left: Operand<'_>,
        right: Operand<'_>,
        span: Span,
    ) -> Option<HistogramOutcome> {
        let mut value = match (op, left, right) {
            (BinaryOp::TrimUpper, Operand::Histogram(histogram), Operand::Float(bound)) => histogram.below(bound),
            (BinaryOp::TrimLower, Operand::Histogram(histogram), Operand::Float(bound)) => histogram.above(bound),
            (BinaryOp::Mul, Operand::Histogram(histogram), Operand::Float(factor))
            | (BinaryOp::Mul, Operand::Float(factor), Operand::Histogram(histogram)) => {
                let mut product = Histogram::clone(histogram);
                product.multiply(factor);
                product
            }
            (BinaryOp::Div, Operand::Histogram(histogram), Operand::Float(divisor)) => {
                let mut quotient = Histogram::clone(histogram);
                quotient.divide(divisor);
                quotient
            }
            (BinaryOp::Add | BinaryOp::Sub, Operand::Histogram(left), Operand::Histogram(right)) => {
                return self.add_histograms(op, left, right, span);
            }
            (BinaryOp::Equal, Operand::Histogram(left), Operand::Histogram(right)) => {
                return Some(HistogramOutcome::Holds(left.same_as(right)));
            }
            (BinaryOp::NotEqual, Operand::Histogram(left), Operand::Histogram(right)) => {
                return Some(HistogramOutcome::Holds(!left.same_as(right)));
            }
            _ => {
                self.notes.incompatible_types(span, left.kind(), op.as_str(), right.kind());
                return None;
            }
        };
        value.compact();
        Some(HistogramOutcome::Value(value))
    }

    fn add_histograms(
        &self,
        op: BinaryOp,
        left: &Histogram,
        right: &Histogram,
        span: Span,
    ) -> Option<HistogramOutcome> {
        let is_sum = op == BinaryOp::Add;
        let combined = if is_sum { left.plus(right) } else { left.minus(right) };
        let Ok((mut value, joined)) = combined else {
            self.notes.incompatible_buckets(span, op.as_str());
            return None;
        };
        let work = if is_sum { "addition" } else { "subtraction" };
        if joined.resets_collide {
            self.notes.resets_collide(span, work);
        }
        if joined.bounds_reconciled {
            self.notes.bounds_reconciled(span, work);
        }
        if !is_sum {
            value.reset_hint = ResetHint::Gauge;
        }
        Some(HistogramOutcome::Value(value))
    }

    /// Two scalars.
    pub(crate) fn scalar_binary(&self, binary: &Binary, grid: Grid) -> Result<Scalars<'q>, QueryError> {
        let (left, right) = (self.scalar(&binary.left, grid)?, self.scalar(&binary.right, grid)?);
        self.combine(&left, &right, grid, |left, right| match apply(binary.op, left, right) {
            Outcome::Value(value) => value,
            Outcome::Holds(holds) => truth(holds),
        })
    }

    /// Two scalars joined at each step.
    pub(crate) fn combine(
        &self,
        left: &Scalars<'q>,
        right: &Scalars<'q>,
        grid: Grid,
        join: impl Fn(f64, f64) -> f64,
    ) -> Result<Scalars<'q>, QueryError> {
        if let (Scalars::Constant(left), Scalars::Constant(right)) = (left, right) {
            return Ok(Scalars::Constant(join(*left, *right)));
        }
        let mut column = Column::absent(grid.len, self.budget)?;
        for i in 0..grid.len {
            if i % STEPS_PER_CHECK == 0 {
                self.budget.check()?;
            }
            column.set(i, join(left.get(i), right.get(i)));
        }
        Ok(Scalars::Column(column))
    }
}
