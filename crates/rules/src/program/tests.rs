//! The compiled form against a plain evaluator, over random expressions and requests.
//!
//! The plain evaluator walks the checked expression node by node, every node, with values of its own and the
//! most naive form of each operation. It shares with the product the parser, the checker and the regex
//! engine.

use std::net::IpAddr;

use fuel::Fuel;
use proptest::prelude::*;

use super::Builder;
use crate::check::{Checked, Op};
use crate::predicate::Test;
use crate::syntax::Logic;
use crate::{Comparison, Expression, Field, Function, Limits, List, ListKind, Lists, Scope, Scratch, Value};

#[path = "../../tests/it/request.rs"]
mod request;

use request::Request;

#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Missing,
    Bool(bool),
    Int(i64),
    Bytes(Vec<u8>),
    Ip(IpAddr),
    Array(Vec<Plain>),
    Map(Vec<(Vec<u8>, Vec<Plain>)>),
}

fn grouped(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Plain {
    let mut map: Vec<(Vec<u8>, Vec<Plain>)> = Vec::new();
    for (name, value) in pairs {
        match map.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(Plain::Bytes(value)),
            None => map.push((name, vec![Plain::Bytes(value)])),
        }
    }
    Plain::Map(map)
}

fn array(items: impl Iterator<Item = Vec<u8>>) -> Plain {
    Plain::Array(items.map(Plain::Bytes).collect())
}

fn uri_of(request: &Request) -> Vec<u8> {
    request.bytes.get(&Field::Uri).cloned().unwrap_or_default()
}

fn cut(text: &[u8], mark: u8) -> (Vec<u8>, Vec<u8>) {
    let mut parts = text.splitn(2, |byte| *byte == mark);
    let first = parts.next().unwrap_or_default().to_vec();
    (first, parts.next().unwrap_or_default().to_vec())
}

fn arguments(request: &Request) -> Vec<(Vec<u8>, Vec<u8>)> {
    let query = cut(&uri_of(request), b'?').1;
    query
        .split(|byte| *byte == b'&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| cut(piece, b'='))
        .collect()
}

fn field(field: Field, request: &Request) -> Plain {
    let header = |name: &[u8]| {
        let found = request.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
        Plain::Bytes(found.map(|(_, value)| value.clone()).unwrap_or_default())
    };
    let headers = || request.headers.iter();
    match field {
        Field::HttpHost | Field::Uri | Field::Country => {
            Plain::Bytes(request.bytes.get(&field).cloned().unwrap_or_default())
        }
        Field::UserAgent => header(b"user-agent"),
        Field::Path => Plain::Bytes(cut(&uri_of(request), b'?').0),
        Field::Query => Plain::Bytes(cut(&uri_of(request), b'?').1),
        Field::Args => grouped(arguments(request)),
        Field::ArgNames => array(arguments(request).into_iter().map(|(name, _)| name)),
        Field::ArgValues => array(arguments(request).into_iter().map(|(_, value)| value)),
        Field::Headers => {
            grouped(headers().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect())
        }
        Field::HeaderNames => array(headers().map(|(name, _)| name.clone())),
        Field::HeaderValues => array(headers().map(|(_, value)| value.clone())),
        Field::Ssl | Field::ClientBot => Plain::Bool(request.bools.get(&field).copied().unwrap_or_default()),
        Field::Asnum | Field::ServerPort | Field::WafScore => {
            Plain::Int(request.ints.get(&field).copied().unwrap_or(if field == Field::WafScore {
                100
            } else {
                0
            }))
        }
        Field::Ip | Field::ServerIp => request.ips.get(&field).map_or(Plain::Missing, |ip| Plain::Ip(*ip)),
        Field::DetectionIds => {
            Plain::Array(request.lists.get(&field).into_iter().flatten().map(|id| Plain::Int(*id)).collect())
        }
        other => panic!("the plain evaluator does not know {other}"),
    }
}

/// Whether a wildcard matches, by trying every place for every star.
fn glob(pattern: &[u8], value: &[u8]) -> bool {
    let mut reached = vec![false; value.len() + 1];
    reached[0] = true;
    for byte in pattern {
        let mut next = vec![false; value.len() + 1];
        for place in 0..=value.len() {
            if *byte == b'*' {
                next[place] = reached[..=place].contains(&true);
            } else if place > 0 {
                next[place] = reached[place - 1] && value[place - 1] == *byte;
            }
        }
        reached = next;
    }
    reached[value.len()]
}

fn orders(comparison: Comparison, order: Option<std::cmp::Ordering>) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    match comparison {
        Comparison::Eq => order == Some(Equal),
        Comparison::Ne => order != Some(Equal),
        Comparison::Lt => order == Some(Less),
        Comparison::Le => order == Some(Less) || order == Some(Equal),
        Comparison::Gt => order == Some(Greater),
        Comparison::Ge => order == Some(Greater) || order == Some(Equal),
        _ => unreachable!(),
    }
}

fn ask(predicate: &crate::predicate::Predicate, value: &Plain) -> bool {
    let key = &predicate.key;
    let detail = &key[key.iter().position(|byte| *byte == 0).unwrap() + 1..];
    match (&predicate.test, value) {
        (_, Plain::Missing) => false,
        (Test::Bytes(comparison, literal), Plain::Bytes(value)) => {
            orders(*comparison, Some(value.as_slice().cmp(literal)))
        }
        (Test::OneOf(set), Plain::Bytes(value)) => set.iter().any(|item| **item == **value),
        (Test::Starts(text), Plain::Bytes(value)) => value.get(..text.len()) == Some(text),
        (Test::Ends(text), Plain::Bytes(value)) => {
            value.len() >= text.len() && value[value.len() - text.len()..] == **text
        }
        (Test::Contains(text), Plain::Bytes(value)) => {
            text.is_empty() || value.windows(text.len()).any(|window| *window == **text)
        }
        (Test::Wildcard(wildcard), Plain::Bytes(value)) if wildcard.is_strict() => glob(detail, value),
        (Test::Wildcard(_), Plain::Bytes(value)) => {
            glob(&detail.to_ascii_lowercase(), &value.to_ascii_lowercase())
        }
        (Test::Matches(pattern), Plain::Bytes(value)) => pattern.is_match(value),
        (Test::Int(comparison, other), Plain::Int(value)) => orders(*comparison, Some(value.cmp(other))),
        (Test::IntIn(set), Plain::Int(value)) => {
            set.ranges.iter().any(|(low, high)| low <= value && value <= high)
        }
        (Test::Ip(comparison, other), Plain::Ip(value)) => {
            orders(*comparison, (other.is_ipv4() == value.is_ipv4()).then(|| value.cmp(other)))
        }
        (Test::IpIn(set), Plain::Ip(value)) => set.holds(*value),
        (Test::List(list), Plain::Bytes(value)) => list.holds_bytes(value),
        (Test::List(list), Plain::Int(value)) => list.holds_int(*value),
        (Test::List(list), Plain::Ip(value)) => list.holds_address(*value),
        (test, value) => panic!("{test:?} of {value:?}"),
    }
}

fn call(function: Function, arguments: &[Plain]) -> Plain {
    use Plain::{Array, Bool, Bytes, Int, Missing};
    match (function, arguments) {
        (Function::Len, [Bytes(bytes)]) => Int(bytes.len() as i64),
        (Function::Len, [Array(items)]) => Int(items.len() as i64),
        (Function::Len, [Missing]) => Int(0),
        (Function::Concat, all) => {
            let there: Vec<&Plain> = all.iter().filter(|one| **one != Missing).collect();
            match there.first() {
                None => Missing,
                Some(Array(_)) => Array(
                    there
                        .into_iter()
                        .flat_map(|one| if let Array(items) = one { items.clone() } else { vec![] })
                        .collect(),
                ),
                Some(_) => Bytes(
                    there
                        .into_iter()
                        .flat_map(|one| match one {
                            Bytes(bytes) => bytes.clone(),
                            Int(value) => value.to_string().into_bytes(),
                            _ => vec![],
                        })
                        .collect(),
                ),
            }
        }
        (_, all) if all.contains(&Missing) => Missing,
        (Function::Any, [Array(items)]) => Bool(items.contains(&Bool(true))),
        (Function::All, [Array(items)]) => Bool(items.iter().all(|item| *item == Bool(true))),
        (Function::Lower, [Bytes(bytes)]) => Bytes(bytes.to_ascii_lowercase()),
        (Function::Upper, [Bytes(bytes)]) => Bytes(bytes.to_ascii_uppercase()),
        (Function::StartsWith, [Bytes(whole), Bytes(part)]) => Bool(whole.starts_with(part)),
        (Function::HasKey, [Plain::Map(map), Bytes(key)]) => Bool(map.iter().any(|(known, _)| known == key)),
        (Function::HasValue, [Array(items), value]) => Bool(items.contains(value)),
        (Function::Substring, [Bytes(bytes), Int(from), Int(to)]) => {
            let place =
                |at: i64| (if at < 0 { at + bytes.len() as i64 } else { at }).clamp(0, bytes.len() as i64);
            let (from, to) = (place(*from) as usize, place(*to) as usize);
            Bytes(if from < to { bytes[from..to].to_vec() } else { vec![] })
        }
        (Function::Join, [Array(items), Bytes(separator)]) => {
            let parts: Vec<Vec<u8>> = items
                .iter()
                .map(|item| if let Bytes(bytes) = item { bytes.clone() } else { vec![] })
                .collect();
            Bytes(parts.join(separator.as_slice()))
        }
        (function, arguments) => panic!("{function:?} of {arguments:?}"),
    }
}

fn each(of: &Plain, with: impl Fn(&Plain) -> Plain) -> Plain {
    match of {
        Plain::Array(items) => {
            Plain::Array(items.iter().map(with).filter(|result| *result != Plain::Missing).collect())
        }
        _ => Plain::Missing,
    }
}

fn index(of: &Plain, key: Option<&[u8]>, place: usize) -> Plain {
    match (of, key) {
        (Plain::Map(map), Some(key)) => {
            let found = map.iter().find(|(known, _)| known == key);
            found.map_or(Plain::Missing, |(_, values)| Plain::Array(values.clone()))
        }
        (Plain::Array(items), None) => items.get(place).cloned().unwrap_or(Plain::Missing),
        _ => Plain::Missing,
    }
}

fn plain(checked: &Checked, request: &Request) -> Plain {
    let mut values: Vec<Plain> = Vec::new();
    for expr in &checked.exprs {
        let of = |id: usize| &values[id];
        let is_spread = |id: usize| checked.exprs[id].is_spread;
        let value = match &expr.op {
            Op::Wrong => panic!("a checked expression has no mistakes"),
            Op::Bool(value) => Plain::Bool(*value),
            Op::Int(value) => Plain::Int(*value),
            Op::Bytes(bytes) => Plain::Bytes(bytes.to_vec()),
            Op::Ip(address) => Plain::Ip(*address),
            Op::Field(name) => field(*name, request),
            Op::Key { of: id, key } if is_spread(*id) => each(of(*id), |item| index(item, Some(key), 0)),
            Op::Key { of: id, key } => index(of(*id), Some(key), 0),
            Op::At { of: id, place } if is_spread(*id) => {
                each(of(*id), |item| index(item, None, *place as usize))
            }
            Op::At { of: id, place } => index(of(*id), None, *place as usize),
            Op::Each { of: id } => match of(*id) {
                Plain::Array(items) if is_spread(*id) => Plain::Array(
                    items
                        .iter()
                        .flat_map(|item| if let Plain::Array(inner) = item { inner.clone() } else { vec![] })
                        .collect(),
                ),
                Plain::Map(map) => {
                    Plain::Array(map.iter().map(|(_, values)| Plain::Array(values.clone())).collect())
                }
                other => other.clone(),
            },
            Op::Call { function, arguments, .. } => {
                let given: Vec<Plain> = arguments.iter().map(|id| of(*id).clone()).collect();
                if arguments.first().is_some_and(|id| is_spread(*id)) {
                    each(&given[0], |item| {
                        let mut given = given.clone();
                        given[0] = item.clone();
                        call(*function, &given)
                    })
                } else {
                    call(*function, &given)
                }
            }
            Op::Test { of: id, predicate } if is_spread(*id) => match of(*id) {
                Plain::Missing => Plain::Array(vec![]),
                many => each(many, |item| Plain::Bool(ask(predicate, item))),
            },
            Op::Test { of: id, predicate } => Plain::Bool(ask(predicate, of(*id))),
            Op::Not { of: id } => match of(*id) {
                Plain::Array(items) => {
                    Plain::Array(items.iter().map(|item| Plain::Bool(*item != Plain::Bool(true))).collect())
                }
                one => Plain::Bool(*one != Plain::Bool(true)),
            },
            Op::Logic { logic, left, right } => {
                let one = |left: &Plain, right: &Plain| {
                    let (left, right) = (*left == Plain::Bool(true), *right == Plain::Bool(true));
                    Plain::Bool(match logic {
                        Logic::And => left && right,
                        Logic::Or => left || right,
                        Logic::Xor => left ^ right,
                    })
                };
                match (of(*left), of(*right)) {
                    (Plain::Array(left), Plain::Array(right)) => {
                        Plain::Array(left.iter().zip(right).map(|(left, right)| one(left, right)).collect())
                    }
                    (left, right) => one(left, right),
                }
            }
        };
        values.push(value);
    }
    values[checked.root].clone()
}

// ---- Random expressions: texts of the language, so that lexer and parser take part. ----

const WORDS: &[&str] = &["", "a", "b", "ab", "aba", "/a", "/ab/b", "A", "aB", "example.org", "ba=b", "%61"];

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(WORDS).prop_map(str::to_owned)
}

fn bytes_value() -> BoxedStrategy<String> {
    let leaf = prop::sample::select(vec![
        "http.host",
        "http.user_agent",
        "http.request.uri.path",
        "http.request.uri.query",
        "http.request.uri",
        "ip.src.country",
        r#"http.request.headers["x-a"][0]"#,
        r#"http.request.headers["x-b"][1]"#,
        r#"http.request.uri.args["a"][0]"#,
        r#"http.request.uri.args["b"][1]"#,
        "http.request.uri.args.names[0]",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|value| format!("lower({value})")),
            inner.clone().prop_map(|value| format!("upper({value})")),
            (inner.clone(), word()).prop_map(|(value, word)| format!("concat({value}, \"{word}\")")),
            (inner, -3..4_i64, -3..4_i64)
                .prop_map(|(value, from, to)| format!("substring({value}, {from}, {to})")),
            word().prop_map(|word| format!("join(http.request.uri.args.values, \"{word}\")")),
        ]
    })
    .boxed()
}

fn spread_bytes() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("http.request.headers.names[*]".to_owned()),
        Just("http.request.headers.values[*]".to_owned()),
        Just("http.request.uri.args.values[*]".to_owned()),
        Just(r#"http.request.uri.args["a"][*]"#.to_owned()),
        Just(r#"http.request.headers["x-a"][*]"#.to_owned()),
        Just("http.request.headers[*][0]".to_owned()),
        Just("http.request.uri.args[*][*]".to_owned()),
        Just("lower(http.request.headers.names[*])[*]".to_owned()),
        word().prop_map(|word| format!("concat(http.request.uri.args.values[*], \"{word}\")[*]")),
    ]
}

fn bytes_right() -> impl Strategy<Value = String> {
    let comparison = prop::sample::select(vec!["eq", "!=", "<", "ge", "contains", "==", "=="]);
    let pattern = prop::sample::select(vec![
        "^a",
        "b$",
        "a.*b",
        "(?i)AB",
        "(a|b)a",
        "[ab]{2}",
        "/a",
        "^$",
        "x",
        "(?i)a/",
        "example\\.(org|com)",
    ]);
    let wildcard = prop::sample::select(vec!["*a*", "a*", "*B", "/A*/*", "a", "*", "*example.*", "*a*b*"]);
    prop_oneof![
        4 => (comparison, word()).prop_map(|(comparison, word)| format!("{comparison} \"{word}\"")),
        2 => prop::collection::vec(word(), 1..4)
            .prop_map(|words| {
                let quoted: String = words.iter().map(|word| format!("\"{word}\" ")).collect();
                format!("in {{{quoted}}}")
            }),
        2 => pattern.prop_map(|pattern| format!("matches r\"{pattern}\"")),
        1 => wildcard.clone().prop_map(|wildcard| format!("wildcard \"{wildcard}\"")),
        1 => wildcard.prop_map(|wildcard| format!("strict wildcard \"{wildcard}\"")),
        1 => Just("in $words".to_owned()),
    ]
}

fn int_right() -> impl Strategy<Value = String> {
    prop_oneof![
        (prop::sample::select(vec!["==", "ne", "lt", "<=", ">", "ge"]), 0..6_i64)
            .prop_map(|(comparison, value)| format!("{comparison} {value}")),
        (0..3_i64, 3..6_i64).prop_map(|(low, high)| format!("in {{{low}..{high}}}")),
        (0..6_i64, 0..6_i64).prop_map(|(one, other)| format!("in {{{one} {other} 100}}")),
        Just("in $numbers".to_owned()),
    ]
}

fn leaf() -> impl Strategy<Value = String> {
    let ip = prop::sample::select(vec![
        "ip.src in {10.0.0.0/8 ::1}",
        "ip.src == 10.0.0.1",
        "ip.src != 10.0.0.1",
        "ip.src in $office",
        "ip.src in {10.0.0.1..10.0.0.3}",
        "cf.edge.server_ip == 10.0.0.1",
        "cf.edge.server_ip != 10.0.0.1",
        "cf.edge.server_ip in {0.0.0.0/0}",
        "ip.src < 10.0.0.2",
        "ip.src == ::1",
    ]);
    let int = prop::sample::select(vec![
        "ip.src.asnum",
        "cf.edge.server_port",
        "cf.waf.score",
        "len(http.host)",
        "len(http.request.uri.args.names)",
        r#"len(http.request.headers["x-a"])"#,
    ]);
    prop_oneof![
        5 => (bytes_value(), bytes_right()).prop_map(|(value, right)| format!("{value} {right}")),
        3 => (int, int_right()).prop_map(|(value, right)| format!("{value} {right}")),
        2 => ip.prop_map(str::to_owned),
        3 => (spread_bytes(), bytes_right()).prop_map(|(value, right)| format!("any({value} {right})")),
        1 => (spread_bytes(), bytes_right()).prop_map(|(value, right)| format!("all({value} {right})")),
        1 => (spread_bytes(), bytes_right(), bytes_right())
            .prop_map(|(value, one, other)| format!("any({value} {one} and not {value} {other})")),
        1 => (spread_bytes(), bytes_right(), spread_bytes(), bytes_right())
            .prop_map(|(value, one, second, other)| format!("all({value} {one} xor {second} {other})")),
        1 => (bytes_value(), word()).prop_map(|(value, word)| format!("starts_with({value}, \"{word}\")")),
        1 => (bytes_value(), word()).prop_map(|(value, word)| format!("ends_with({value}, \"{word}\")")),
        1 => (bytes_value(), bytes_value()).prop_map(|(one, other)| format!("starts_with({one}, {other})")),
        1 => word().prop_map(|word| format!("has_key(http.request.uri.args, \"{word}\")")),
        1 => bytes_value().prop_map(|value| format!("has_value(http.request.uri.args.values, {value})")),
        1 => prop::sample::select(vec!["ssl", "cf.client.bot", "true", "false"]).prop_map(str::to_owned),
        1 => (0..4_i64).prop_map(|id| format!("any(cf.bot_management.detection_ids[*] == {id})")),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    leaf().prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            2 => inner.clone().prop_map(|inner| format!("not {inner}")),
            2 => inner.clone().prop_map(|inner| format!("({inner})")),
            3 => (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("{one} and {other}")),
            3 => (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("{one} or {other}")),
            2 => (inner.clone(), inner).prop_map(|(one, other)| format!("({one}) xor ({other})")),
        ]
    })
}

fn requests() -> impl Strategy<Value = Request> {
    let header = (prop::sample::select(vec!["X-A", "x-a", "X-B", "User-Agent", "b"]), word());
    let argument = (prop::sample::select(vec!["a", "b", "ab", ""]), word());
    (
        word(),
        prop::collection::vec(argument, 0..5),
        prop::collection::vec(header, 0..5),
        prop::sample::select(vec!["10.0.0.1", "10.0.0.9", "192.0.2.3", "::1"]),
        (0..6_i64, 0..6_i64, any::<bool>(), any::<bool>(), any::<bool>()),
        prop::collection::vec(0..4_i64, 0..3),
    )
        .prop_map(|(host, arguments, headers, ip, (asnum, port, ssl, has_port, has_server), ids)| {
            let query: Vec<String> =
                arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let mut request = Request::get(&host, &format!("/{host}?{}", query.join("&")))
                .ip(ip)
                .int(Field::Asnum, asnum)
                .bool(Field::Ssl, ssl);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if has_port {
                request = request.int(Field::ServerPort, port).int(Field::WafScore, port);
            }
            if has_server {
                request.ips.insert(Field::ServerIp, "10.0.0.1".parse().unwrap());
            }
            request.lists.insert(Field::DetectionIds, ids);
            request
        })
}

fn lists() -> Lists {
    let mut lists = Lists::new();
    for (name, kind, text) in [
        ("words", ListKind::Strings, "a\nab\n/a\n"),
        ("numbers", ListKind::Integers, "1\n3..4\n"),
        ("office", ListKind::Addresses, "10.0.0.8/29\n::1\n"),
    ] {
        lists.insert(name, List::parse(kind, text, &Limits::default()).unwrap().into());
    }
    lists
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn compiled_rules_answer_like_plain_ones(
        texts in prop::collection::vec(expression(), 1..24),
        requests in prop::collection::vec(requests(), 1..6),
    ) {
        let lists = lists();
        let limits = Limits { expression_bytes_max: 65_536, ..Limits::default() };
        let scope = Scope { lists: &lists, limits: &limits, has_response: false };
        let expressions: Vec<Expression> = texts
            .iter()
            .map(|text| match Expression::condition(text, &scope) {
                Ok(expression) => expression,
                Err(problems) => panic!("{text}: {problems:?}"),
            })
            .collect();
        let mut builder = Builder::new();
        let ids: Vec<_> = expressions.iter().map(|expression| builder.condition(expression)).collect();
        let program = builder.build();
        let all = 0..ids.len() as u32;
        let groups = program.groups_of(all.clone());
        let mut scratch = Scratch::new();
        for request in &requests {
            scratch.begin();
            let expected: Vec<u32> = (0..)
                .zip(&expressions)
                .filter(|(_, expression)| plain(&expression.checked, request) == Plain::Bool(true))
                .map(|(number, _)| number)
                .collect();
            let mut fuel = Fuel::new(1_000_000_000);
            let mut run = program.run(request, &mut scratch, &mut fuel);
            // As rulesets ask: only what is awake, in order.
            run.look(&groups, 0).unwrap();
            let mut found = Vec::new();
            let mut from = 0;
            while let Some(id) = run.next(from..all.end).unwrap() {
                found.push(id.0);
                from = id.0 + 1;
            }
            prop_assert_eq!(&found, &expected, "{:?} {:?}", texts, request);
            // And each by itself, last first.
            let mut run = program.run(request, &mut scratch, &mut fuel);
            let alone = ids.iter().rev().filter(|id| run.is_true(**id).unwrap());
            let alone: Vec<u32> = alone.map(|id| id.0).collect();
            prop_assert_eq!(alone.into_iter().rev().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn compiled_values_are_the_plain_ones(text in bytes_value(), request in requests()) {
        let lists = lists();
        let scope = Scope { lists: &lists, limits: &Limits::default(), has_response: false };
        let expression = Expression::value(&text, &scope).unwrap();
        let mut builder = Builder::new();
        let id = builder.value(&expression);
        let program = builder.build();
        let mut scratch = Scratch::new();
        let mut fuel = Fuel::new(1_000_000_000);
        let value = program.run(&request, &mut scratch, &mut fuel).value(id).unwrap();
        let expected = match plain(&expression.checked, &request) {
            Plain::Bytes(bytes) => Some(Value::Bytes(bytes)),
            _ => None,
        };
        prop_assert_eq!(value, expected);
    }

    #[test]
    fn any_amount_of_fuel_ends_in_an_answer_or_spent(
        texts in prop::collection::vec(expression(), 1..8),
        request in requests(),
        steps in 0..2000_u64,
    ) {
        let lists = lists();
        let limits = Limits { expression_bytes_max: 65_536, ..Limits::default() };
        let scope = Scope { lists: &lists, limits: &limits, has_response: false };
        let mut builder = Builder::new();
        for text in &texts {
            builder.condition(&Expression::condition(text, &scope).unwrap());
        }
        let program = builder.build();
        let mut scratch = Scratch::new();
        let mut fuel = Fuel::new(steps);
        let all = 0..texts.len() as u32;
        let mut run = program.run(&request, &mut scratch, &mut fuel);
        let ended = run.look(&program.groups_of(all.clone()), 0).and_then(|()| run.next(all));
        prop_assert!(fuel.used() <= steps);
        prop_assert!(ended.is_ok() || fuel.left() == 0);
    }
}

#[test]
fn equal_parts_of_rules_are_one() {
    let lists = lists();
    let scope = Scope { lists: &lists, limits: &Limits::default(), has_response: false };
    let mut builder = Builder::new();
    for number in 0..100 {
        let text = format!(
            "lower(http.request.uri.path) contains \"/p{number}\" and http.host == \"a\" \
             and not ip.src in $office"
        );
        builder.condition(&Expression::condition(&text, &scope).unwrap());
    }
    let [values, atoms, groups, always] = builder.build().counts();
    // Path, its lower case, host, address; 100 texts, a host, a list; three groups; nothing evaluated in
    // vain.
    assert_eq!((values, atoms, groups, always), (4, 102, 3, 0));
}
