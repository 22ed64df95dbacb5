//! Counts what a thousand custom rules cost of which none matches (P8 of the performance goals).
//!
//! `cargo run --release -p rules --example thousand_rules [RULES [REPEATS]]` prints microseconds per
//! evaluation for several mixes of rules, the fuel used, and the ratio to evaluating each rule by itself in
//! the same run. Under `valgrind --tool=callgrind` give few repeats: instructions per evaluation are what
//! changes with the repeats.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock; the crate does not")]

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use fuel::Fuel;
use rules::{
    Action, Builder, Expression, Field, Limits, Lists, Phase, RuleSpec, RulesetSpec, Rulesets, Scope,
    Scratch, Side, Skipped, View,
};

/// A request as a browser sends it: 15 header fields, a query of four arguments, two cookies.
struct Browser {
    headers: Vec<(&'static str, String)>,
}

impl View for Browser {
    fn bytes(&self, field: Field) -> Option<&[u8]> {
        match field {
            Field::Method => Some(b"GET"),
            Field::Version => Some(b"HTTP/2"),
            Field::HttpHost => Some(b"www.example.org"),
            Field::Uri => Some(b"/products/category/shoes?color=red&size=42&sort=price&page=3"),
            Field::Country => Some(b"DE"),
            Field::ZoneName => Some(b"example.org"),
            _ => None,
        }
    }

    fn int(&self, field: Field) -> Option<i64> {
        match field {
            Field::Asnum => Some(64_999),
            Field::ServerPort => Some(443),
            _ => None,
        }
    }

    fn bool(&self, field: Field) -> Option<bool> {
        (field == Field::Ssl).then_some(true)
    }

    fn ip(&self, field: Field) -> Option<IpAddr> {
        (field == Field::Ip).then_some(IpAddr::from([203, 0, 113, 77]))
    }

    fn header(&self, side: Side, place: usize) -> Option<(&[u8], &[u8])> {
        if side != Side::Request {
            return None;
        }
        self.headers.get(place).map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    }
}

fn browser() -> Browser {
    let headers = [
        ("host", "www.example.org"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 \
             Safari/537.36",
        ),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
        ("accept-language", "de-DE,de;q=0.9,en;q=0.8"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("referer", "https://www.example.org/products/category"),
        ("cookie", "session=0a1b2c3d4e5f60718293a4b5c6d7e8f9; theme=dark"),
        ("upgrade-insecure-requests", "1"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-user", "?1"),
        ("sec-ch-ua", "\"Chromium\";v=\"142\", \"Not A Brand\";v=\"99\""),
        ("sec-ch-ua-mobile", "?0"),
        ("sec-ch-ua-platform", "\"Linux\""),
    ];
    Browser { headers: headers.into_iter().map(|(name, value)| (name, value.to_owned())).collect() }
}

/// One rule of a mix.
fn expression(mix: &str, number: usize) -> String {
    let kind = match mix {
        "paths" => 0,
        "addresses" => 1,
        "agents" => 2,
        "headers" => 3,
        "patterns" => 4,
        "negated" => 5,
        _ => number % 5,
    };
    match kind {
        0 => {
            format!("http.host eq \"www.example.org\" and http.request.uri.path contains \"/admin{number}/\"")
        }
        1 => format!(
            "ip.src in {{10.{}.{}.0/24 198.51.{}.0/24}} and not cf.client.bot",
            number / 256,
            number % 256,
            number % 256
        ),
        2 => format!(
            "lower(http.user_agent) contains \"badbot{number}\" or http.user_agent eq \"scanner {number}\""
        ),
        3 => format!(
            "any(http.request.headers[\"x-key-{}\"][*] eq \"{number}\") \
             or http.request.uri.args[\"k\"][0] eq \"{number}\"",
            number % 40
        ),
        4 => format!("http.request.uri.path matches \"^/old/{number}/[a-z]+$\" and ip.src.country ne \"FR\""),
        // Nothing wakes these: each is evaluated for every request.
        _ => format!("not ip.src.asnum in {{64999 {number}}} and http.host eq \"www.example.org\""),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: usize| {
        arguments.get(place).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (count, repeats) = (number(0, 1000), number(1, 2000));
    let only = arguments.get(2).map(String::as_str);
    let request = browser();
    let (lists, limits) = (Lists::new(), Limits::default());
    println!("{count} rules, none matching; microseconds per evaluation");
    println!("mix        values  atoms groups always   fuel   together   one by one    ratio   compile ms");
    for mix in ["paths", "addresses", "agents", "headers", "patterns", "mixed", "negated"] {
        if only.is_some_and(|only| only != mix) {
            continue;
        }
        let texts: Vec<String> = (0..count).map(|number| expression(mix, number)).collect();
        let rules: Vec<RuleSpec> = texts
            .iter()
            .enumerate()
            .map(|(number, text)| RuleSpec {
                id: format!("r{number}"),
                description: String::new(),
                enabled: true,
                expression: text.clone(),
                action: Action::Block(None),
            })
            .collect();
        let begun = Instant::now();
        let entry = RulesetSpec { id: "entry".into(), enabled: true, rules };
        let (rulesets, problems) = Rulesets::compile(Phase::FirewallCustom, &entry, &[], &lists, &limits);
        let compile_ms = begun.elapsed().as_secs_f64() * 1e3;
        assert!(problems.is_empty(), "{problems:?}");
        let mut scratch = Scratch::new();
        let mut used = 0;
        let mut evaluate = || {
            scratch.begin();
            let mut fuel = Fuel::new(u64::MAX);
            let outcome =
                rulesets.evaluate(black_box(&request), &mut scratch, &mut fuel, &mut Skipped::default());
            assert!(outcome.is_ok_and(|outcome| outcome.matched.is_empty()));
            used = fuel.used();
        };
        evaluate();
        let together = time(repeats, &mut evaluate);
        // Each rule as a program of its own, over one scratch: what it costs without compiling together.
        let scope = Scope { lists: &lists, limits: &limits, has_response: false };
        let programs: Vec<_> = texts
            .iter()
            .filter_map(|text| Expression::condition(text, &scope).ok())
            .map(|expression| {
                let mut builder = Builder::new();
                let id = builder.condition(&expression);
                (builder.build(), id)
            })
            .collect();
        let mut scratch = Scratch::new();
        let mut alone = || {
            scratch.begin();
            let mut fuel = Fuel::new(u64::MAX);
            for (program, id) in &programs {
                let holds = program.run(black_box(&request), &mut scratch, &mut fuel).is_true(*id);
                assert_eq!(holds, Ok(false));
            }
        };
        alone();
        let one_by_one = time((repeats / 50).max(1), &mut alone);
        let [values, atoms, groups, always] = rulesets.program().counts();
        println!(
            "{mix:<10} {values:>6} {atoms:>6} {groups:>6} {always:>6} {used:>6} \
             {together:>10.2} {one_by_one:>12.2} \
             {:>8.1} {compile_ms:>12.1}",
            one_by_one / together
        );
    }
}

/// The fastest of five rounds, in microseconds for each call.
fn time(repeats: usize, work: &mut impl FnMut()) -> f64 {
    let round = |work: &mut dyn FnMut()| {
        let begun = Instant::now();
        (0..repeats).for_each(|_| work());
        begun.elapsed().as_secs_f64() * 1e6 / repeats as f64
    };
    (0..5).map(|_| round(work)).fold(f64::MAX, f64::min)
}
