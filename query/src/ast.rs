//! The expression tree. Every node knows where it stands in the text.

use model::Matcher;

use crate::span::Span;

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A number.
    Scalar,
    /// A text.
    String,
    /// An instant vector.
    Vector,
    /// A range vector.
    Matrix,
}

impl ValueType {
    /// The name in messages and documents: `instant vector`.
    pub fn as_str(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::String => "string",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
        }
    }

    /// The name in answers of the Prometheus API: `vector`.
    pub fn result_type(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::String => "string",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
        }
    }
}

/// An expression with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `42`, `1h30m`, `0x1F`, `Inf`; `is_duration` keeps the way it was written for printing.
    Number {
        /// The value; durations in seconds.
        value: f64,
        /// Written as a duration.
        is_duration: bool,
    },
    /// `"text"`, unquoted.
    String(String),
    /// `name{label="value"} offset 5m @ 3`.
    VectorSelector(Selector),
    /// `selector[5m]`.
    MatrixSelector {
        /// The selector with its modifiers.
        selector: Selector,
        /// Length of the range.
        range: DurationExpr,
    },
    /// `expr[30m:1m] offset 5m`.
    Subquery {
        /// What is evaluated at each step.
        expr: Box<Expr>,
        /// Length of the range.
        range: DurationExpr,
        /// The step; none for the default.
        step: Option<DurationExpr>,
        /// Modifiers behind the bracket.
        modifiers: Modifiers,
    },
    /// `-x` or `+x`.
    Unary {
        /// True for `-`.
        negative: bool,
        /// The operand.
        expr: Box<Expr>,
    },
    /// `(x)`.
    Paren(Box<Expr>),
    /// `a + b`.
    Binary(Box<Binary>),
    /// `sum by (job) (x)`.
    Aggregation(Box<Aggregation>),
    /// `rate(x[5m])`.
    Call {
        /// The function's name as in [`crate::FUNCTIONS`].
        function: &'static str,
        /// The arguments as written, without defaults.
        args: Vec<Expr>,
    },
}

/// Which series, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// The metric's name if it stands before the braces; it is in `matchers` too.
    pub name: Option<String>,
    /// All conditions, the name's included.
    pub matchers: Vec<Matcher>,
    /// Offset and `@`.
    pub modifiers: Modifiers,
}

impl Expr {
    /// The type of a checked expression.
    pub fn value_type(&self) -> ValueType {
        match &self.node {
            Node::Number { .. } => ValueType::Scalar,
            Node::String(_) => ValueType::String,
            Node::VectorSelector(_) | Node::Aggregation(_) => ValueType::Vector,
            Node::MatrixSelector { .. } | Node::Subquery { .. } => ValueType::Matrix,
            Node::Unary { expr, .. } | Node::Paren(expr) => expr.value_type(),
            Node::Binary(binary) => {
                let is_scalar = |side: &Expr| side.value_type() == ValueType::Scalar;
                if is_scalar(&binary.left) && is_scalar(&binary.right) { ValueType::Scalar } else { ValueType::Vector }
            }
            Node::Call { function, .. } => {
                crate::functions::function(function).map_or(ValueType::Vector, |f| f.returns)
            }
        }
    }

    /// The expressions directly inside this one, from left to right.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.node {
            Node::Number { .. } | Node::String(_) | Node::VectorSelector(_) | Node::MatrixSelector { .. } => Vec::new(),
            Node::Subquery { expr, .. } | Node::Unary { expr, .. } | Node::Paren(expr) => vec![expr],
            Node::Binary(binary) => vec![&binary.left, &binary.right],
            Node::Aggregation(aggregation) => aggregation.param.iter().chain([&aggregation.expr]).collect(),
            Node::Call { args, .. } => args.iter().collect(),
        }
    }

    /// All selectors, from left to right.
    pub fn selectors(&self) -> Vec<&Selector> {
        let (mut found, mut open) = (Vec::new(), vec![self]);
        while let Some(expr) = open.pop() {
            match &expr.node {
                Node::VectorSelector(selector) | Node::MatrixSelector { selector, .. } => found.push(selector),
                _ => open.extend(expr.children().into_iter().rev()),
            }
        }
        found
    }
}

/// `offset` and `@`, in either order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Modifiers {
    /// `offset`, may be negative.
    pub offset: Option<DurationExpr>,
    /// `@`.
    pub at: Option<AtModifier>,
}

/// Where `@` pins the evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AtModifier {
    /// `@ 1609746000`, in milliseconds.
    Time(i64),
    /// `@ start()`.
    Start,
    /// `@ end()`.
    End,
}

/// A length of time: a literal, or arithmetic over literals and the query's own times (`promql-duration-expr`).
#[derive(Debug, Clone, PartialEq)]
pub enum DurationExpr {
    /// Milliseconds.
    Literal {
        /// The length, rounded to milliseconds.
        ms: i64,
        /// The length in seconds as written, for arithmetic.
        seconds: f64,
        /// Written as a plain number of seconds.
        is_number: bool,
        /// Where it stands.
        span: Span,
    },
    /// `-d` or `+d`.
    Unary {
        /// True for `-`.
        negative: bool,
        /// The operand.
        expr: Box<DurationExpr>,
        /// Where it stands.
        span: Span,
    },
    /// `a + b` and the like.
    Binary {
        /// One of `+ - * / % ^`.
        op: BinaryOp,
        /// Left side.
        left: Box<DurationExpr>,
        /// Right side.
        right: Box<DurationExpr>,
        /// Where it stands.
        span: Span,
    },
    /// `step()`, `range()`, `min(a, b)`, `max(a, b)`.
    Call {
        /// The name.
        function: DurationFunction,
        /// The arguments.
        args: Vec<DurationExpr>,
        /// Where it stands.
        span: Span,
    },
    /// `(d)`.
    Paren {
        /// What stands between.
        expr: Box<DurationExpr>,
        /// Where it stands.
        span: Span,
    },
}

/// Functions inside duration expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationFunction {
    /// The query's step.
    Step,
    /// The query's range.
    Range,
    /// The smaller.
    Min,
    /// The larger.
    Max,
}

/// Binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the operators")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    TrimUpper,
    TrimLower,
    And,
    Or,
    Unless,
}

impl DurationExpr {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            DurationExpr::Literal { span, .. }
            | DurationExpr::Unary { span, .. }
            | DurationExpr::Binary { span, .. }
            | DurationExpr::Call { span, .. }
            | DurationExpr::Paren { span, .. } => *span,
        }
    }
}

impl BinaryOp {
    /// The operators that are words.
    pub(crate) const WORDS: [BinaryOp; 4] = [BinaryOp::And, BinaryOp::Or, BinaryOp::Unless, BinaryOp::Atan2];

    /// The operator as PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::Less => "<",
            BinaryOp::LessEqual => "<=",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// True for `==`, `!=`, `>`, `>=`, `<`, `<=`.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
        matches!(self, Equal | NotEqual | Greater | GreaterEqual | Less | LessEqual)
    }

    /// True for `</`, `>/`.
    pub fn is_trim(self) -> bool {
        matches!(self, BinaryOp::TrimUpper | BinaryOp::TrimLower)
    }

    /// True for `and`, `or`, `unless`.
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }

    /// How tightly it binds; more is tighter.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            BinaryOp::Or => 1,
            BinaryOp::And | BinaryOp::Unless => 2,
            op if op.is_comparison() || op.is_trim() => 3,
            BinaryOp::Add | BinaryOp::Sub => 4,
            BinaryOp::Pow => BinaryOp::PRECEDENCE_MAX,
            _ => 5,
        }
    }

    /// The precedence of `^`, the only operator that binds tighter than a sign and that is right-associative.
    pub(crate) const PRECEDENCE_MAX: u8 = 6;
}

/// A binary operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// `bool` stands behind a comparison.
    pub returns_bool: bool,
    /// How elements of two vectors find each other; none where not both sides are vectors or nothing was written
    /// (set operators are then many-to-many, all others one-to-one, on all labels).
    pub matching: Option<VectorMatching>,
    /// Left side.
    pub left: Expr,
    /// Right side.
    pub right: Expr,
}

/// How many elements may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    /// One to one.
    OneToOne,
    /// `group_left`.
    ManyToOne,
    /// `group_right`.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// `on (…)`, `ignoring (…)`, `group_left (…)`, `fill (…)`.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorMatching {
    /// How many may meet.
    pub cardinality: Cardinality,
    /// True for `on`, false for `ignoring` or nothing.
    pub on: bool,
    /// The labels of `on` or `ignoring`, as written.
    pub labels: Vec<String>,
    /// The labels of `group_left` or `group_right`.
    pub include: Vec<String>,
    /// `fill_left`: the value for a missing left element.
    pub fill_left: Option<f64>,
    /// `fill_right`: the value for a missing right element.
    pub fill_right: Option<f64>,
}

/// Aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the operators")]
pub enum AggregationOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
    LimitK,
    LimitRatio,
}

impl AggregationOp {
    /// All operators.
    pub(crate) const ALL: [AggregationOp; 14] = [
        AggregationOp::Sum,
        AggregationOp::Avg,
        AggregationOp::Count,
        AggregationOp::Min,
        AggregationOp::Max,
        AggregationOp::Group,
        AggregationOp::Stddev,
        AggregationOp::Stdvar,
        AggregationOp::TopK,
        AggregationOp::BottomK,
        AggregationOp::CountValues,
        AggregationOp::Quantile,
        AggregationOp::LimitK,
        AggregationOp::LimitRatio,
    ];

    /// The operator as PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            AggregationOp::Sum => "sum",
            AggregationOp::Avg => "avg",
            AggregationOp::Count => "count",
            AggregationOp::Min => "min",
            AggregationOp::Max => "max",
            AggregationOp::Group => "group",
            AggregationOp::Stddev => "stddev",
            AggregationOp::Stdvar => "stdvar",
            AggregationOp::TopK => "topk",
            AggregationOp::BottomK => "bottomk",
            AggregationOp::CountValues => "count_values",
            AggregationOp::Quantile => "quantile",
            AggregationOp::LimitK => "limitk",
            AggregationOp::LimitRatio => "limit_ratio",
        }
    }

    /// Type of the parameter; none for operators without one.
    pub fn param_type(self) -> Option<ValueType> {
        use AggregationOp::{BottomK, CountValues, LimitK, LimitRatio, Quantile, TopK};
        match self {
            TopK | BottomK | Quantile | LimitK | LimitRatio => Some(ValueType::Scalar),
            CountValues => Some(ValueType::String),
            _ => None,
        }
    }
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregation {
    /// The operator.
    pub op: AggregationOp,
    /// How elements are grouped; none for one group.
    pub grouping: Option<Grouping>,
    /// `k`, `φ`, the label of `count_values`, the ratio.
    pub param: Option<Expr>,
    /// What is aggregated.
    pub expr: Expr,
}

/// `by (…)` or `without (…)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    /// True for `without`.
    pub without: bool,
    /// The labels as written.
    pub labels: Vec<String>,
}
