//! Expressions over several lines: what is longer than a line is split at its operators and brackets, one step of
//! indentation for each level, as Prometheus's `format_query` does.

use std::fmt::{self, Write};

use super::{Operation, infinite_base, write_aggregation_head, write_subquery_suffix};
use crate::ast::{Aggregation, Binary, Expr, Node};

/// Bytes of a part that is not split.
const LINE_MAX_BYTES: usize = 100;

const INDENT: &str = "  ";

/// The expression, split over lines where it is longer than 100 characters.
pub fn pretty(expr: &Expr) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_pretty(&mut out, expr, 0);
    out
}

fn write_pretty(out: &mut String, expr: &Expr, level: usize) -> fmt::Result {
    if let Node::Unary { negative, expr } = &expr.node {
        let mut inner = String::new();
        write_pretty(&mut inner, expr, level)?;
        indent(out, level);
        return write!(out, "{}{}", super::sign(*negative), inner.trim());
    }
    if !is_long(expr) {
        // A short subquery is not indented, as in Prometheus.
        if !matches!(expr.node, Node::Subquery { .. }) {
            indent(out, level);
        }
        return write!(out, "{expr}");
    }
    match &expr.node {
        Node::Aggregation(aggregation) => write_aggregation(out, aggregation, level),
        Node::Binary(binary) => write_binary(out, binary, level),
        Node::Call { function, args } => {
            indent(out, level);
            writeln!(out, "{function}(")?;
            for (i, arg) in args.iter().enumerate() {
                if i > 0 {
                    out.push_str(",\n");
                }
                write_pretty(out, arg, level + 1)?;
            }
            close(out, level);
            Ok(())
        }
        Node::Paren(inner) => {
            indent(out, level);
            out.push_str("(\n");
            write_pretty(out, inner, level + 1)?;
            close(out, level);
            Ok(())
        }
        Node::Subquery { expr: inner, .. } => {
            write_pretty(out, inner, level)?;
            write!(out, "{}", Suffix(&expr.node))
        }
        _ => {
            indent(out, level);
            write!(out, "{expr}")
        }
    }
}

fn write_aggregation(out: &mut String, aggregation: &Aggregation, level: usize) -> fmt::Result {
    indent(out, level);
    writeln!(out, "{}(", Head(aggregation))?;
    if let Some(param) = &aggregation.param {
        write_pretty(out, param, level + 1)?;
        out.push_str(",\n");
    }
    write_pretty(out, &aggregation.expr, level + 1)?;
    close(out, level);
    Ok(())
}

fn write_binary(out: &mut String, binary: &Binary, level: usize) -> fmt::Result {
    match infinite_base(binary) {
        Some(base) => {
            indent(out, level + 1);
            out.push_str(base);
        }
        None => write_pretty(out, &binary.left, level + 1)?,
    }
    out.push('\n');
    indent(out, level);
    writeln!(out, "{}", Operation(binary))?;
    write_pretty(out, &binary.right, level + 1)
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n(INDENT, level));
}

fn close(out: &mut String, level: usize) {
    out.push('\n');
    indent(out, level);
    out.push(')');
}

struct Head<'a>(&'a Aggregation);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_aggregation_head(f, self.0)
    }
}

struct Suffix<'a>(&'a Node);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_subquery_suffix(f, self.0)
    }
}

/// True if the canonical form is longer than a line. Stops writing as soon as that is known.
fn is_long(expr: &Expr) -> bool {
    write!(Ruler(LINE_MAX_BYTES), "{expr}").is_err()
}

/// Takes that many bytes and no more.
struct Ruler(usize);

impl Write for Ruler {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}
