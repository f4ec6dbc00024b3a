//! Binary operators: the arithmetic itself, and operations with a scalar. Two vectors meet in `matching` and `sets`.

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

/// Applies an operator; set operators have no outcome on floats and count as a comparison that never holds.
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
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => Outcome::Holds(false),
    }
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
                _ => self.match_vectors(binary, grid, sink),
            },
            (ValueType::Vector, ValueType::Scalar) | (ValueType::Scalar, ValueType::Vector) => {
                self.with_scalar(binary, grid, sink)
            }
            _ => Err(QueryError { span: Some(span), ..self.broken("operands of a binary operation") }),
        }
    }

    /// A vector and a scalar: element by element, so series just flow through.
    fn with_scalar(&self, binary: &Binary, grid: Grid, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        let scalar_left = type_of(&binary.left) == ValueType::Scalar;
        let (vector, scalar) = if scalar_left { (&binary.right, &binary.left) } else { (&binary.left, &binary.right) };
        let scalars = self.scalar(scalar, grid)?;
        self.stream(vector, grid, &mut |mut series| {
            series.column.filter_map(|i, value| {
                let (left, right) = if scalar_left { (scalars.get(i), value) } else { (value, scalars.get(i)) };
                match apply(binary.op, left, right) {
                    Outcome::Value(value) => Some(value),
                    Outcome::Holds(holds) if binary.returns_bool => Some(truth(holds)),
                    Outcome::Holds(holds) => holds.then_some(value),
                }
            });
            if is_arithmetic(binary.op) || binary.returns_bool {
                self.drop_name(&mut series);
            }
            sink(series)
        })
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
