//! The grammar and the type check as a whole: good and bad expressions, what printing and reading keep, and hostile
//! input. The expected texts are those of Prometheus 3.5, or of a later one for what 3.5 does not have.

use std::fmt::Write;

use model::MatchOp;
use proptest::prelude::*;

use super::*;
use crate::ast::{AtModifier, Cardinality, DurationExpr, Modifiers, Node, Selector, ValueType};
use crate::span::Span;
use crate::{FUNCTIONS, pretty};

fn parsed(text: &str) -> Expr {
    parse(text, &EngineOptions::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> QueryError {
    match parse(text, &EngineOptions::default()) {
        Ok(expr) => panic!("{text} was read as {expr}"),
        Err(error) => error,
    }
}

/// Expressions and their canonical form.
const GOOD: &[(&str, &str)] = &[
    ("1_000.5", "1000.5"),
    ("0x1F", "31"),
    ("010", "8"),
    ("Inf", "+Inf"),
    ("-iNF", "-Inf"),
    ("- - 1", "1"),
    ("+1", "1"),
    ("1h30m + 1", "1h30m + 1"),
    ("-1h", "-1h"),
    ("1y2d", "367d"),
    ("1e22", "10000000000000000000000"),
    ("'a\"b\\x41\\u00e9'", "\"a\\\"bAé\""),
    ("`a\\n`", "\"a\\\\n\""),
    ("foo # a comment\n + # another\n bar", "foo + bar"),
    ("-1 ^ 2", "-1 ^ 2"),
    ("2^-1", "2 ^ -1"),
    ("-a^b", "-a ^ b"),
    ("- - a", "--a"),
    ("a AND b oR c UNLESS d", "a and b or c unless d"),
    ("1 % 2 / 3 * 4 atan2 5", "1 % 2 / 3 * 4 atan2 5"),
    ("1 > bool 2", "1 > bool 2"),
    ("a + ignoring() b", "a + b"),
    ("a + on() b", "a + on () b"),
    ("a == bool on(x, \"y z\",) group_left b", "a == bool on (x, \"y z\") group_left () b"),
    ("a / ignoring(x) group_right(x) (b)", "a / ignoring (x) group_right (x) (b)"),
    ("a + on(x) group_left (b) (c)", "a + on (x) group_left (b) (c)"),
    ("a + fill(0) b", "a + fill (0) b"),
    ("a + fill_left(-1e30) b", "a + fill_left (-1e+30) b"),
    ("a + on(x) fill_right(1h) fill_left(Inf) b", "a + on (x) fill_left (+Inf) fill_right (3600) b"),
    ("fill + fill_left / fill_right{a=\"b\"}", "fill + fill_left / fill_right{a=\"b\"}"),
    ("SUM(a) BY (b, sum, by, on, \"c d\", \"inf\")", "sum by (b, sum, by, on, \"c d\", \"inf\") (a)"),
    ("sum by () (a)", "sum(a)"),
    ("sum without () (a)", "sum without () (a)"),
    ("topk(5, a) without (b,)", "topk without (b) (5, a)"),
    ("count_values(\"x\", b)", "count_values(\"x\", b)"),
    ("limit_ratio(-0.5, a)", "limit_ratio(-0.5, a)"),
    ("sum", "sum"),
    ("by", "by"),
    ("offset offset 5m", "offset offset 5m"),
    ("end + step{a='b'} - a:b:c", "end + step{a=\"b\"} - a:b:c"),
    ("foo{a!='1',b=~\"2\",c!~`3`,}", "foo{a!=\"1\",b=~\"2\",c!~\"3\"}"),
    ("foo {by=\"x\",inf=\"y\"}", "foo{by=\"x\",inf=\"y\"}"),
    ("{\"my.metric\", \"label.name\"=\"x\"}", "{\"label.name\"=\"x\",__name__=\"my.metric\"}"),
    ("{__name__=\"foo\"}", "{__name__=\"foo\"}"),
    ("foo @ -1.5 offset -1w", "foo @ -1.500 offset -1w"),
    ("foo offset 5 @ 1h", "foo @ 3600.000 offset 5s"),
    ("foo offset 0 offset 5m", "foo offset 5m"),
    ("foo[5m] @ end() offset 1h", "foo[5m] @ end() offset 1h"),
    ("foo @ start() [5m]", "foo[5m] @ start()"),
    ("foo[1e3]", "foo[16m40s]"),
    ("foo[0.5]", "foo[500ms]"),
    ("foo[ 1w1d ]", "foo[8d]"),
    ("rate(a[5m])[1h:] offset 5m @ 3", "rate(a[5m])[1h:] @ 3.000 offset 5m"),
    ("rate(a[5m])[1h:1m]", "rate(a[5m])[1h:1m]"),
    ("a[5m+1]", "a[5m + 1]"),
    ("a[(2+3)*4:1m+1s]", "a[(2 + 3) * 4:1m + 1s]"),
    ("a[-2^2 + 2^3^2]", "a[-2 ^ 2 + 2 ^ 3 ^ 2]"),
    ("a[STEP()+Range():max(1m,min_of(2m,step()))]", "a[step() + range():max_of(1m, min_of(2m, step()))]"),
    ("a offset 2*3", "a offset 2s * 3"),
    ("a offset -(2*-step())", "a offset -(2 * -step())"),
    ("a offset -min(step(), 1s)^2", "a offset -min_of(step(), 1s) ^ 2"),
    ("start() + end() + step() + range()", "start() + end() + step() + range()"),
    ("info(a, {b=~\".*\"})", "info(a, {b=~\".*\"})"),
    ("info(a, {})", "info(a, {})"),
    ("label_join(a, \"b\", \",\")", "label_join(a, \"b\", \",\")"),
    ("hour()", "hour()"),
];

#[test]
fn good_expressions_have_a_canonical_form() {
    for (text, canonical) in GOOD {
        assert_eq!(parsed(text).to_string(), *canonical, "{text}");
    }
}

/// Expressions and what is wrong with them, with its place.
const BAD: &[(&str, &str)] = &[
    (" ", "1:1: parse error: no expression found in input"),
    ("# nothing", "1:1: parse error: no expression found in input"),
    ("a b", "1:3: parse error: unexpected identifier \"b\""),
    ("a\n + b c", "2:6: parse error: unexpected identifier \"c\""),
    ("'é' + $", "1:8: parse error: unexpected character: '$'"),
    ("héé", "1:2: parse error: unexpected character: 'é'"),
    ("a \"bbbbbbbbbbbbbbbbbbbb\"", "1:3: parse error: unexpected string \"\\\"bbbbbbbbb\"..."),
    ("1 +", "1:4: parse error: unexpected end of input"),
    ("a == == b", "1:6: parse error: unexpected <op:==>"),
    ("a = b", "1:3: parse error: unexpected \"=\""),
    ("a =~ b", "1:3: parse error: unexpected character after '=': '~'"),
    ("a ! b", "1:3: parse error: unexpected character after '!': ' '"),
    ("(1", "1:3: parse error: unclosed left parenthesis"),
    ("1)", "1:3: parse error: unexpected right parenthesis ')'"),
    ("a}", "1:2: parse error: unexpected character: '}'"),
    ("a]", "1:2: parse error: unexpected right bracket ']'"),
    ("on", "1:1: parse error: unexpected <on>"),
    ("bool", "1:1: parse error: unexpected <bool>"),
    ("by (x)", "1:4: parse error: unexpected \"(\""),
    ("a:b(c)", "1:4: parse error: unexpected \"(\""),
    ("1x", "1:1: parse error: bad number or duration syntax: \"1\""),
    ("1.2.3", "1:1: parse error: bad number or duration syntax: \"1.2.\""),
    ("5mx", "1:1: parse error: bad number or duration syntax: \"5mx\""),
    ("1_ ", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1_\": invalid syntax"),
    ("1e400", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e400\": value out of range"),
    ("1hs", "1:1: parse error: unknown unit \"hs\" in duration \"1hs\""),
    ("5m5m", "1:1: parse error: not a valid duration string: \"5m5m\""),
    ("300y", "1:1: parse error: duration out of range"),
    ("\"a", "1:1: parse error: unterminated quoted string"),
    ("'a\\q'", "1:1: parse error: unknown escape sequence U+0071 'q'"),
    ("\"\\xff\"", "1:1: parse error: error unquoting string \"\\\"\\\\xff\\\"\": invalid UTF-8"),
    ("foo{", "1:5: parse error: unexpected end of input inside braces"),
    ("foo{,}", "1:5: parse error: unexpected \",\" in label matching, expected identifier or \"}\""),
    ("foo{a}", "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator"),
    ("foo{a=b}", "1:7: parse error: unexpected identifier \"b\" in label matching, expected string"),
    (
        "foo{\"a\" \"b\"}",
        "1:9: parse error: unexpected string \"\\\"b\\\"\" in label matching, expected \",\" or \"}\"",
    ),
    ("foo{a=\"b\",,}", "1:11: parse error: unexpected \",\" in label matching, expected identifier or \"}\""),
    ("foo{a!b}", "1:6: parse error: unexpected character after '!' inside braces: 'b'"),
    ("foo{1}", "1:5: parse error: unexpected character inside braces: '1'"),
    ("foo{{", "1:5: parse error: unexpected left brace '{'"),
    ("foo{a=~\"(\"}", "1:5: parse error: error parsing regexp: missing closing ): `(`"),
    ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    ("{a=~\".*\",b!=\"c\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    ("x{__name__=\"y\"}", "1:1: parse error: metric name must not be set twice: \"x\" or \"y\""),
    ("x{\"y\"}", "1:1: parse error: metric name must not be set twice: \"x\" or \"y\""),
    ("sum x", "1:5: parse error: unexpected identifier \"x\""),
    ("sum(a b)", "1:7: parse error: unexpected identifier \"b\" in aggregation"),
    ("sum(foo(a b))", "1:11: parse error: unexpected identifier \"b\" in aggregation"),
    ("sum by (x) y", "1:12: parse error: unexpected identifier \"y\" in aggregation"),
    ("sum by x (y)", "1:8: parse error: unexpected identifier \"x\" in grouping opts, expected \"(\""),
    ("sum by (1) (x)", "1:9: parse error: unexpected number \"1\" in grouping opts, expected label"),
    ("sum by (a b) (y)", "1:11: parse error: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\""),
    ("sum by (,) (y)", "1:9: parse error: unexpected \",\" in grouping opts, expected label"),
    ("sum(a) by (x) by (y)", "1:15: parse error: unexpected <by>"),
    ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
    ("sum(a,b)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2"),
    ("topk(a)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1"),
    ("topk(\"x\",a)", "1:6: parse error: expected type scalar in aggregation parameter, got string"),
    ("count_values(1,a)", "1:14: parse error: expected type string in aggregation parameter, got scalar"),
    ("sum(a[5m])", "1:5: parse error: expected type instant vector in aggregation expression, got range vector"),
    ("nosuch(a)", "1:1: parse error: unknown function with name \"nosuch\""),
    ("RATE(a[5m])", "1:1: parse error: unknown function with name \"RATE\""),
    ("nosuch(a b)", "1:10: parse error: unexpected identifier \"b\""),
    ("rate(a[5m],)", "1:11: parse error: trailing commas not allowed in function call args"),
    ("f(a, ^ b)", "1:4: parse error: trailing commas not allowed in function call args"),
    ("rate()", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 0"),
    ("round(a,1,2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"),
    ("label_join(a)", "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 1"),
    ("rate(a)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
    (
        "sort_by_label(a, \"b\", 1)",
        "1:23: parse error: expected type string in call to function \"sort_by_label\", got scalar",
    ),
    ("info(a, b)", "1:9: parse error: expected label selectors only, got vector selector instead"),
    ("info(a, 1)", "1:9: parse error: expected label selectors only"),
    ("1 == 2", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
    ("a   + bool b", "1:5: parse error: bool modifier can only be used on comparison operators"),
    ("a and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
    ("a + on(x) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
    ("a + fill(1) 1", "1:1: parse error: filling in missing series only allowed between instant vectors"),
    ("a or fill(1) b", "1:1: parse error: filling in missing series not allowed for set operators"),
    ("a + fill(1) fill_left(2) b", "1:13: parse error: unexpected <fill_left>"),
    ("a and on(x) group_left b", "1:1: parse error: no grouping allowed for \"and\" operation"),
    ("a + on(x) group_left(x) b", "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once"),
    ("a + group_left b", "1:5: parse error: unexpected <group_left>"),
    ("\"a\" + b", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
    ("b + a[5m]", "1:5: parse error: binary expression must contain only scalar and instant vector types"),
    (
        "-\"x\"",
        "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
    ),
    ("a offset b", "1:10: parse error: unexpected identifier \"b\" in offset, expected number or duration"),
    ("a offset NaN", "1:10: parse error: duration out of range"),
    ("a offset 5m offset 5m", "1:1: parse error: offset may not be set multiple times"),
    (
        "(a) offset 5m",
        "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    ),
    ("a @ b", "1:5: parse error: unexpected identifier \"b\" in @, expected timestamp"),
    ("a @ start x", "1:11: parse error: unexpected identifier \"x\" in @, expected timestamp"),
    ("a @ inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
    ("a @ 9223372036854775807", "1:1: parse error: timestamp out of bounds for @ modifier: 9223372036854775808.000000"),
    ("a @ 5 @ 6", "1:1: parse error: @ <timestamp> may not be set multiple times"),
    ("a[5m", "1:5: parse error: unclosed left bracket"),
    ("a[", "1:3: parse error: unexpected end of input in duration expression"),
    ("a[x]", "1:3: parse error: unexpected character in duration expression: 'x'"),
    ("a[5m x]", "1:6: parse error: unexpected character: 'x', expected ':'"),
    ("a[:5m]", "1:4: parse error: unexpected colon before duration in duration expression"),
    ("a[5m:1m:1m]", "1:8: parse error: unexpected colon ':'"),
    ("a[5m 6m]", "1:6: parse error: unexpected duration \"6m\" in subquery or range, expected \":\" or \"]\""),
    ("a[(5m]", "1:6: parse error: unexpected \"]\" in subquery selector, expected number or duration"),
    ("a[5m:+]", "1:7: parse error: unexpected \"]\" in subquery selector, expected number or duration or \"]\""),
    ("a[5m:1m 2m]", "1:9: parse error: unexpected duration \"2m\" in subquery selector, expected \"]\""),
    ("a[0]", "1:3: parse error: duration must be greater than 0"),
    ("a[5m:-1]", "1:6: parse error: duration must be greater than 0"),
    ("a[5m/0]", "1:5: parse error: division by zero"),
    ("a[5m%0s]", "1:5: parse error: modulo by zero"),
    ("a[1e10]", "1:3: parse error: duration out of range"),
    ("(a)[5m]", "1:4: parse error: ranges only allowed for vector selectors"),
    ("a offset 5m [5m]", "1:13: parse error: no offset modifiers allowed before range"),
    ("a @ 3 [5m]", "1:7: parse error: no @ modifiers allowed before range"),
    ("a[5m][5m:]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"),
    ("a[5m] anchored", "1:1: parse error: anchored modifier is experimental and not enabled"),
    ("rate(a[5m] SMOOTHED)", "1:6: parse error: smoothed modifier is experimental and not enabled"),
];

#[test]
fn bad_expressions_are_refused_with_place_and_reason() {
    for (text, message) in BAD {
        let error = refused(text);
        assert_eq!((error.message.as_str(), error.kind), (*message, ErrorKind::Parse), "{text}");
    }
    assert_eq!(refused("").message, "unknown position: parse error: no expression found in input");
}

#[test]
fn trees_are_what_precedence_says() {
    let explicit = |expr: &Expr| {
        fn write(out: &mut String, expr: &Expr) {
            match &expr.node {
                Node::Binary(binary) => {
                    out.push('(');
                    write(out, &binary.left);
                    let _ = write!(out, " {} ", binary.op.as_str());
                    write(out, &binary.right);
                    out.push(')');
                }
                Node::Unary { expr, .. } => {
                    out.push_str("(-");
                    write(out, expr);
                    out.push(')');
                }
                _ => {
                    let _ = write!(out, "{expr}");
                }
            }
        }
        let mut out = String::new();
        write(&mut out, expr);
        out
    };
    let all = [
        ("a or b and c == d + e * f ^ g", "(a or (b and (c == (d + (e * (f ^ g))))))"),
        ("a ^ b ^ c", "(a ^ (b ^ c))"),
        ("a - b - c", "((a - b) - c)"),
        ("a * b atan2 c % d", "(((a * b) atan2 c) % d)"),
        ("a and b unless c and d", "(((a and b) unless c) and d)"),
        ("a > b < c", "((a > b) < c)"),
        ("-a ^ b * c", "((-(a ^ b)) * c)"),
        ("a ^ -b ^ c * d", "((a ^ (-(b ^ c))) * d)"),
        ("-a + -b offset 5m", "((-a) + (-b offset 5m))"),
        ("a + b ^ c * d or e", "((a + ((b ^ c) * d)) or e)"),
    ];
    for (text, tree) in all {
        assert_eq!(explicit(&parsed(text)), tree, "{text}");
    }
}

#[test]
fn selectors_carry_all_they_say() {
    let expr = parsed("foo{a!~\"x\"}[5m] @ 1.5 offset -1h");
    let Node::MatrixSelector { selector, range } = &expr.node else { panic!("{expr:?}") };
    assert_eq!(selector.name.as_deref(), Some("foo"));
    let matchers: Vec<_> = selector.matchers.iter().map(|m| (m.name(), m.op(), m.value())).collect();
    assert_eq!(matchers, [("a", MatchOp::NotRegex, "x"), ("__name__", MatchOp::Equal, "foo")]);
    assert_eq!(selector.modifiers.at, Some(AtModifier::Time(1500)));
    assert!(matches!(selector.modifiers.offset, Some(DurationExpr::Literal { ms: -3_600_000, .. })));
    assert!(matches!(range, DurationExpr::Literal { ms: 300_000, seconds: 300.0, is_number: false, .. }));
    assert_eq!(expr.span, Span { start: 0, end: 32 });
}

#[test]
fn set_operators_with_matching_are_many_to_many() {
    let matching = |text: &str| match parsed(text).node {
        Node::Binary(binary) => binary.matching.map(|matching| matching.cardinality),
        other => panic!("{other:?}"),
    };
    assert_eq!(matching("a and on(x) b"), Some(Cardinality::ManyToMany));
    assert_eq!(matching("a and b"), None);
    assert_eq!(matching("a * ignoring(x) b"), Some(Cardinality::OneToOne));
    assert_eq!(matching("a * on() 1"), None);
}

#[test]
fn selectors_are_listed_from_left_to_right() {
    let expr = parsed("topk(scalar(a), rate(b[5m]) / on() (-sum_over_time(c[1h:])))");
    let names: Vec<_> = expr.selectors().iter().map(|s| s.name.as_deref().unwrap_or_default()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn match_parameters_are_selectors_that_select() {
    let options = EngineOptions::default();
    let matchers = parse_matchers(" up{job=~\"a|b\"} ", &options).unwrap();
    assert_eq!(matchers.iter().map(Matcher::name).collect::<Vec<_>>(), ["job", "__name__"]);
    let all = [
        ("{a=~\".*\"}", "match[] must contain at least one non-empty matcher"),
        ("{}", "match[] must contain at least one non-empty matcher"),
        ("", "unknown position: parse error: unexpected end of input"),
        ("up offset 5m", "1:4: parse error: unexpected <offset>"),
        ("up[5m]", "1:3: parse error: unexpected \"[\""),
        ("rate(up)", "1:5: parse error: unexpected \"(\""),
        ("1", "1:1: parse error: unexpected number \"1\""),
    ];
    for (text, message) in all {
        assert_eq!(parse_matchers(text, &options).unwrap_err().message, message, "{text}");
    }
}

#[test]
fn every_function_can_be_called_with_its_types() {
    for function in FUNCTIONS {
        let args: Vec<&str> = function
            .args
            .iter()
            .enumerate()
            .map(|(i, wanted)| match wanted {
                ValueType::Scalar => "1",
                ValueType::String => "\"x\"",
                ValueType::Vector if function.name == "info" && i == 1 => "{a=\"b\"}",
                ValueType::Vector => "v",
                ValueType::Matrix => "v[5m]",
            })
            .collect();
        for count in function.args_min..=args.len() {
            let text = format!("{}({})", function.name, args[..count].join(", "));
            assert_eq!(parsed(&text).value_type(), function.returns, "{text}");
        }
        let too_many = format!("{}({})", function.name, vec!["v"; args.len() + 20].join(", "));
        let expected = if function.args_max.is_some() { "argument(s) in call" } else { "expected type" };
        assert!(refused(&too_many).message.contains(expected), "{too_many}");
    }
}

/// Puts a tree into the form in which two readings of the same expression are equal: without places, matchers in
/// order, lone numbers of seconds as durations.
fn normalize(expr: &mut Expr) {
    expr.span = Span::default();
    match &mut expr.node {
        Node::Number { .. } | Node::String(_) => {}
        Node::VectorSelector(selector) => normalize_selector(selector),
        Node::MatrixSelector { selector, range } => {
            normalize_selector(selector);
            normalize_length(range);
        }
        Node::Subquery { expr, range, step, modifiers } => {
            normalize(expr);
            normalize_length(range);
            step.as_mut().map(normalize_length);
            normalize_modifiers(modifiers);
        }
        Node::Unary { expr, .. } | Node::Paren(expr) => normalize(expr),
        Node::Binary(binary) => {
            normalize(&mut binary.left);
            normalize(&mut binary.right);
        }
        Node::Aggregation(aggregation) => {
            aggregation.param.as_mut().map(normalize);
            normalize(&mut aggregation.expr);
        }
        Node::Call { args, .. } => args.iter_mut().for_each(normalize),
    }
}

fn normalize_selector(selector: &mut Selector) {
    selector.matchers.sort_by(|a, b| (a.name(), a.op(), a.value()).cmp(&(b.name(), b.op(), b.value())));
    normalize_modifiers(&mut selector.modifiers);
}

fn normalize_modifiers(modifiers: &mut Modifiers) {
    modifiers.offset.as_mut().map(normalize_length);
}

fn normalize_length(length: &mut DurationExpr) {
    normalize_duration(length);
    if let DurationExpr::Literal { is_number, .. } = length {
        *is_number = false;
    }
}

fn normalize_duration(duration: &mut DurationExpr) {
    match duration {
        DurationExpr::Literal { span, .. } => *span = Span::default(),
        DurationExpr::Unary { expr, span, .. } | DurationExpr::Paren { expr, span } => {
            *span = Span::default();
            normalize_duration(expr);
        }
        DurationExpr::Binary { left, right, span, .. } => {
            *span = Span::default();
            normalize_duration(left);
            normalize_duration(right);
        }
        DurationExpr::Call { args, span, .. } => {
            *span = Span::default();
            args.iter_mut().for_each(normalize_duration);
        }
    }
}

/// The tree as text, so that NaN equals itself.
fn shape(mut expr: Expr) -> String {
    normalize(&mut expr);
    format!("{expr:?}")
}

fn words(all: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    proptest::sample::select(all).prop_map(str::to_owned)
}

fn number_text() -> impl Strategy<Value = String> + Clone {
    words(&["1", "0.5", "1e3", "0x1F", "Inf", "NaN", "1h", "5m30s", "017", "1_000", "0", "1e-7"])
}

fn string_text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        words(&["\"x\"", "'y\\''", "`raw\\.`", "\"a|b\"", "\".*\"", "\"\\n\\u00e9\""]),
        any::<String>().prop_map(|s| { crate::quote::Quoted(&s.replace('\u{fffd}', "")).to_string() })
    ]
}

fn duration_text() -> impl Strategy<Value = String> + Clone {
    let leaf = words(&["5m", "1h30m", "300", "90d", "1w", "0.5", "1500ms", "step()", "RANGE()"]);
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), words(&["+", "-", "*", "/", "%", "^"]), inner.clone())
                .prop_map(|(a, op, b)| format!("{a}{op}{b}")),
            (words(&["-", "+"]), inner.clone()).prop_map(|(sign, a)| format!("{sign}{a}")),
            inner.clone().prop_map(|a| format!("({a})")),
            (words(&["min", "max_of"]), inner.clone(), inner).prop_map(|(f, a, b)| format!("{f}({a},{b})")),
        ]
    })
}

fn selector_text() -> impl Strategy<Value = String> + Clone {
    let name = words(&["a", "foo_total", "job:x:rate5m", "sum", "by", "end", "and", "fill"]);
    let label = words(&["job", "x", "\"é t\"", "le", "inf"]);
    let matcher = (label, words(&["=", "!="]), string_text()).prop_map(|(l, op, v)| format!("{l}{op}{v}"));
    (name, proptest::collection::vec(matcher, 0..3))
        .prop_map(|(name, matchers)| format!("{name}{{{}}}", matchers.join(",")))
}

fn modifiers_text() -> impl Strategy<Value = String> + Clone {
    let at = words(&["", "@ start()", "@ end()", "@ -1.5", "@1609746000", "@ 1h"]);
    let offset = prop_oneof![
        Just(String::new()),
        words(&["5m", "-1h", "0", "step()", "-(1h+5)"]).prop_map(|d| format!(" OFFSET {d}"))
    ];
    (at, offset, any::<bool>())
        .prop_map(|(at, offset, swap)| if swap { format!(" {offset} {at}") } else { format!(" {at} {offset}") })
}

fn labels_text() -> impl Strategy<Value = String> + Clone {
    proptest::collection::vec(words(&["job", "by", "\"x y\"", "\"nan\"", "a:b", "without"]), 0..3)
        .prop_map(|l| format!("({})", l.join(",")))
}

/// Texts that mostly are well-formed; types are left to chance.
fn expression_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        selector_text(),
        (selector_text(), modifiers_text()).prop_map(|(s, m)| s + &m),
        (selector_text(), duration_text(), modifiers_text()).prop_map(|(s, d, m)| format!("{s}[{d}]{m}")),
        number_text(),
        string_text(),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let ops = words(&["+", "-", "*", "/", "%", "^", "==", "!=", "<", ">=", "and", "OR", "unless", "atan2"]);
        let grouping = prop_oneof![
            Just(String::new()),
            (words(&["by", "WITHOUT"]), labels_text()).prop_map(|(k, l)| format!(" {k} {l} "))
        ];
        let matching = prop_oneof![
            words(&["", " bool"]),
            (
                words(&["on", "ignoring"]),
                labels_text(),
                words(&["", "group_left", "group_right(z)", "fill(1)", "fill_left(-2)"])
            )
                .prop_map(|(k, l, g)| format!(" {k} {l} {g}")),
        ];
        prop_oneof![
            (inner.clone(), ops, matching, inner.clone()).prop_map(|(a, op, m, b)| format!("{a} {op}{m} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            (words(&["-", "+"]), inner.clone()).prop_map(|(sign, a)| format!("{sign}{a}")),
            (words(&["sum", "COUNT", "group"]), grouping.clone(), inner.clone())
                .prop_map(|(op, g, a)| format!("{op}{g}({a})")),
            (words(&["topk", "quantile"]), inner.clone(), inner.clone(), grouping)
                .prop_map(|(op, k, a, g)| format!("{op}({k}, {a}){g}")),
            (words(&["abs", "rate", "round", "clamp_max", "nosuch"]), proptest::collection::vec(inner.clone(), 0..3))
                .prop_map(|(f, args)| format!("{f}({})", args.join(", "))),
            (inner, duration_text(), modifiers_text()).prop_map(|(a, d, m)| format!("({a})[{d}:]{m}")),
        ]
    })
}

#[test]
fn an_infinite_base_is_printed_without_its_sign() {
    let expr = parse_unchecked("Inf ^ a", &EngineOptions::default()).unwrap();
    assert_eq!(expr.to_string(), "Inf ^ a", "`+Inf ^ a` is the power with a sign");
    assert_eq!(parse_unchecked("1 ^ Inf", &EngineOptions::default()).unwrap().to_string(), "1 ^ +Inf");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Both printed forms read back as the same tree.
    #[test]
    fn printing_and_reading_keep_the_tree(text in expression_text()) {
        if let Ok(expr) = parse_unchecked(&text, &EngineOptions::default()) {
            for printed in [expr.to_string(), pretty(&expr)] {
                let again = parse_unchecked(&printed, &EngineOptions::default());
                prop_assert_eq!(again.map(shape), Ok(shape(expr.clone())), "{}", printed);
            }
        }
    }

    /// What a span covers reads as the part it belongs to.
    #[test]
    fn spans_cover_what_they_say(text in expression_text()) {
        if let Ok(expr) = parse_unchecked(&text, &EngineOptions::default()) {
            let mut open = vec![&expr];
            while let Some(part) = open.pop() {
                let covered = &text[part.span.start..part.span.end];
                let again = parse_unchecked(covered, &EngineOptions::default());
                prop_assert_eq!(again.map(shape), Ok(shape(part.clone())), "{}", covered);
                open.extend(part.children());
            }
        }
    }

    /// Whatever comes, there is an answer, and an error's place lies in the text.
    #[test]
    fn no_text_is_too_strange(text in "[-a-z0-9(){}\\[\\],:=!~<>+*/%^@#\"'`\\\\. \n\té]{0,40}|\\PC{0,40}") {
        if let Err(error) = parse(&text, &EngineOptions::default()) {
            prop_assert!(error.span.is_none_or(|span| span.start <= span.end && span.start <= text.len()), "{error:?}");
        }
        let _ = parse_matchers(&text, &EngineOptions::default());
    }
}

/// Runs on a stack as threads have it by default, in a build without optimisation.
fn on_default_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn depth_is_limited_to_the_level() {
    let options = EngineOptions { depth_max: 20, ..EngineOptions::default() };
    let nested = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    // Each makes a tree as high as its number says.
    let forms: [(&str, &dyn Fn(usize) -> String); 9] = [
        ("parentheses", &|n| nested("(", ")", n - 1)),
        ("calls", &|n| nested("vector(scalar(", "))", (n - 2) / 2).replace('1', "vector(1)")),
        ("signs", &|n| "-".repeat(n - 1) + "a"),
        ("left-associative chain", &|n| vec!["1"; n].join("+")),
        ("right-associative chain", &|n| vec!["1"; n].join("^")),
        ("aggregations", &|n| nested("sum(", ")", n - 1).replace('1', "a")),
        ("lengths in parentheses", &|n| format!("a[{}]", nested("(", ")", n - 2))),
        ("chain of lengths", &|n| format!("a[{}]", vec!["1"; n - 1].join("*"))),
        ("chain of powers of lengths", &|n| format!("a[{}]", vec!["1"; n - 1].join("^"))),
    ];
    for (form, make) in forms {
        let (fits, too_deep) = (make(20), make(22));
        assert!(parse(&fits, &options).is_ok(), "{form}: {:?}", parse(&fits, &options));
        let error = parse(&too_deep, &options).unwrap_err();
        assert_eq!(error.message, "limit query.max_depth = 20 reached", "{form}");
        assert_eq!(error.kind, ErrorKind::Limit);
    }
    for form in ["(", "-", "1+"] {
        let make = |n: usize| form.repeat(n) + "a" + if form == "(" { ")" } else { "" }.repeat(n).as_str();
        assert!(parse(&make(19), &options).is_ok(), "{form}");
        assert!(parse(&make(20), &options).is_err(), "{form}");
    }
}

#[test]
fn hostile_nesting_does_not_overflow_the_stack() {
    const PIECES: [&str; 24] = [
        "(",
        "-",
        "+",
        "- ",
        "1+",
        "1^",
        "a or ",
        "a^-",
        "(-",
        "sum(",
        "abs(",
        "a[",
        "a[(",
        "a[-",
        "a[1+",
        "a[1^",
        "a[min(",
        "a offset -",
        "a offset (",
        "a[5m:",
        "sum by (a,",
        "{a=\"\",",
        "topk(1,",
        "-1^",
    ];
    on_default_stack(|| {
        for piece in PIECES {
            let repeated = piece.repeat((64 << 10) / piece.len());
            assert!(parse(&repeated, &EngineOptions::default()).is_err(), "{piece}");
            let (head, tail) = piece.split_at(piece.find(['[', '(']).map_or(0, |i| i + 1));
            let inner = format!("{head}{}", tail.repeat(30_000));
            let _ = parse(&inner, &EngineOptions::default());
        }
        for tail in ["[5m:]", "+1", "^1", " offset 1", "@1", " or a"] {
            assert!(parse(&format!("a{}", tail.repeat(20_000)), &EngineOptions::default()).is_err(), "{tail}");
        }
    });
}

/// The deepest trees that are allowed can be read, printed, checked and dropped on a default stack.
#[test]
fn the_deepest_tree_fits_a_default_stack() {
    on_default_stack(|| {
        let n = EngineOptions::default().depth_max - 1;
        let mixed: String = "(a^-b*c+d==e and f or ".repeat((n - 1) / 8) + "g" + &")".repeat((n - 1) / 8);
        for text in [
            "(".repeat(n) + "a" + &")".repeat(n),
            "a+".repeat(n) + "a",
            "-".repeat(n) + "a",
            "2^".repeat(n) + "2",
            mixed,
        ] {
            let expr = parsed(&text);
            assert!(pretty(&expr).len() >= n);
            assert_eq!(parsed(&expr.to_string()).to_string(), expr.to_string());
        }
    });
}

#[test]
fn long_expressions_are_read_up_to_the_limit() {
    let mut names = String::new();
    for i in 0..40_000 {
        let _ = write!(
            names,
            "{}instance_of_a_metric_with_a_rather_long_and_tedious_name_for_the_purpose_of_this_test_{i:06}",
            if i > 0 { "|" } else { "" }
        );
    }
    let text = format!("sum({{__name__=~\"{names}\"}})");
    let options = EngineOptions { expression_bytes_max: text.len(), ..EngineOptions::default() };
    let expr = parse(&text, &options).unwrap();
    assert_eq!(expr.selectors()[0].matchers[0].literal_values().map(|v| v.len()), Some(40_000));
    let too_long = text + " ";
    let error = parse(&too_long, &options).unwrap_err();
    assert_eq!(error.message, format!("limit query.max_expression_bytes = {} reached", options.expression_bytes_max));
    assert_eq!(error.kind, ErrorKind::Limit);
    assert_eq!(parse_matchers(&too_long, &options).unwrap_err().kind, ErrorKind::Limit);
}
