//! Rate limits over requests, from expressions to decisions.

use std::net::IpAddr;

use rules::{Field, Side};

use super::*;

#[derive(Clone, Default)]
struct Request {
    ip: Option<IpAddr>,
    uri: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    status: i64,
}

impl View for Request {
    fn bytes(&self, field: Field) -> Option<&[u8]> {
        (field == Field::Uri).then_some(self.uri.as_bytes())
    }

    fn int(&self, field: Field) -> Option<i64> {
        (field == Field::ResponseCode).then_some(self.status)
    }

    fn ip(&self, field: Field) -> Option<IpAddr> {
        self.ip.filter(|_| field == Field::Ip)
    }

    fn header(&self, side: Side, place: usize) -> Option<(&[u8], &[u8])> {
        let (name, value) = self.headers.get(place).filter(|_| side == Side::Request)?;
        Some((name.as_bytes(), value.as_bytes()))
    }
}

fn from(ip: &str) -> Request {
    Request { ip: Some(ip.parse().unwrap()), uri: "/login?user=a", ..Request::default() }
}

fn spec(id: &str, characteristics: Vec<Characteristic>) -> RateRuleSpec {
    RateRuleSpec {
        id: id.to_owned(),
        enabled: true,
        expression: r#"http.request.uri.path == "/login""#.to_owned(),
        counting_expression: None,
        characteristics,
        limit: Limit::new(2, 10_000, 0).unwrap(),
        action: ActionKind::Block,
    }
}

fn address() -> Characteristic {
    Characteristic::Address { v4_bits: 32, v6_bits: 64 }
}

struct Node {
    rules: RateRules,
    counters: Counters,
}

impl Node {
    fn new(specs: &[RateRuleSpec]) -> Self {
        let (rules, problems) = RateRules::compile(specs, &Lists::new(), &Limits::default());
        assert_eq!(problems, []);
        let counters = rules.counters(&Counters::default());
        Self { rules, counters }
    }

    fn before(&self, request: &Request, now_ms: u64) -> Rated {
        let (mut scratch, mut fuel) = (Scratch::new(), Fuel::new(1_000_000));
        self.rules.before(request, &mut scratch, &mut fuel, &self.counters, (7, now_ms)).unwrap()
    }

    fn after(&self, rated: &Rated, request: &Request, now_ms: u64) {
        let (mut scratch, mut fuel) = (Scratch::new(), Fuel::new(1_000_000));
        self.rules.after(rated, request, &mut scratch, &mut fuel, (&self.counters, now_ms)).unwrap();
    }

    /// How many of so many equal requests are refused.
    fn refused(&self, request: &Request, times: usize) -> usize {
        (0..times).filter(|_| self.before(request, 1000).is_refused).count()
    }
}

#[test]
fn addresses_are_counted_apart_and_networks_together() {
    let node = Node::new(&[spec("login", vec![address()])]);
    assert_eq!(node.refused(&from("192.0.2.1"), 5), 3);
    assert_eq!(node.refused(&from("192.0.2.2"), 2), 0);
    assert_eq!(node.refused(&from("2001:db8::1"), 2), 0);
    assert_eq!(node.refused(&from("2001:db8::ffff"), 1), 1, "one network of 64 bits is one visitor");
    assert_eq!(node.refused(&from("2001:db8:0:1::1"), 1), 0);
    let elsewhere = Request { uri: "/other", ..from("192.0.2.1") };
    assert_eq!(node.refused(&elsewhere, 5), 0, "the rule is not about that path");
}

#[test]
fn every_characteristic_tells_requests_apart() {
    let base = Request {
        headers: vec![("X-Key", "a"), ("Cookie", "s=1"), ("Host", "one.example")],
        ..from("192.0.2.1")
    };
    let with = |name: &'static str, value| {
        let mut other = base.clone();
        other.headers.retain(|(known, _)| *known != name);
        other.headers.push((name, value));
        other
    };
    for (characteristic, other) in [
        (address(), Request { ip: from("192.0.2.9").ip, ..base.clone() }),
        (Characteristic::Header("x-KEY".into()), with("X-Key", "b")),
        (Characteristic::Cookie("s".into()), with("Cookie", "s=2")),
        (Characteristic::Argument("user".into()), Request { uri: "/login?user=b", ..base.clone() }),
        (Characteristic::Host, with("Host", "two.example")),
        (
            Characteristic::Expression("len(http.request.uri.query)".into()),
            Request { uri: "/login?user=abc", ..base.clone() },
        ),
    ] {
        let node = Node::new(&[spec("login", vec![characteristic.clone()])]);
        assert_eq!(node.refused(&base, 3), 1, "{characteristic:?}");
        assert_eq!(node.refused(&other, 2), 0, "{characteristic:?}");
    }
    let together = Node::new(&[spec("login", vec![])]);
    assert_eq!(together.refused(&base, 2), 0);
    assert_eq!(together.refused(&from("198.51.100.1"), 1), 1);
}

#[test]
fn responses_count_when_the_rule_asks_about_them() {
    let mut rule = spec("login", vec![address()]);
    rule.counting_expression = Some("http.response.code in {401 403}".into());
    rule.limit = Limit::new(2, 10_000, 60_000).unwrap();
    let node = Node::new(&[rule]);
    let request = |status| Request { status, ..from("192.0.2.1") };
    for _ in 0..10 {
        let rated = node.before(&request(0), 1000);
        assert!(rated.awaits_response() && !rated.is_refused);
        node.after(&rated, &request(200), 1000);
    }
    for _ in 0..2 {
        let rated = node.before(&request(0), 1000);
        assert!(!rated.is_refused);
        node.after(&rated, &request(401), 1000);
    }
    let rated = node.before(&request(0), 1500);
    assert!(rated.is_refused);
    assert_eq!(rated.met[0].decision, Decision::Over { retry_ms: 59_500 });
    assert!(!node.before(&request(0), 61_000).is_refused, "the mitigation is over");
}

#[test]
fn log_refuses_nobody_and_a_refusal_ends_counting() {
    let mut log = spec("log", vec![address()]);
    log.action = ActionKind::Log;
    let mut wide = spec("wide", vec![address()]);
    wide.limit = Limit::new(100, 10_000, 0).unwrap();
    let node = Node::new(&[log, spec("login", vec![address()]), wide]);
    for _ in 0..5 {
        let _ = node.before(&from("192.0.2.1"), 1000);
    }
    let rated = node.before(&from("192.0.2.1"), 1000);
    let met: Vec<&str> = rated.met.iter().map(|met| &*met.rule).collect();
    assert_eq!(met, ["log", "login"]);
    assert!(
        rated.is_refused && matches!(rated.tightest(), Some(Met { decision: Decision::Over { .. }, .. }))
    );
    let Decision::Within { remaining, .. } = node
        .counters
        .of("wide", &Limit::new(100, 10_000, 0).unwrap())
        .unwrap()
        .look(&Limit::new(100, 10_000, 0).unwrap(), Key::of(7, [Some(&b"192.0.2.1"[..])]), 1000)
    else {
        panic!()
    };
    assert_eq!(remaining, 98, "only what passed was counted");
}

#[test]
fn disabled_wrong_and_unknown_rules_do_nothing() {
    let mut off = spec("off", vec![address()]);
    off.enabled = false;
    let mut wrong = spec("wrong", vec![Characteristic::Expression("http.hots".into())]);
    wrong.expression = "http.request.uri.pth == \"/\"".into();
    wrong.action = ActionKind::Redirect;
    let (rules, problems) = RateRules::compile(&[off, wrong], &Lists::new(), &Limits::default());
    let told: Vec<String> = problems.iter().map(RateProblem::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().any(|problem| problem.contains("did you mean `http.request.uri.path`?")), "{told:?}");
    assert!(told.iter().any(|problem| problem.contains("`redirect` is not an action of rate limits")));
    assert_eq!(rules.rules(), 0);
    // Rules whose counters somebody forgot to carry over are passed over.
    let node = Node { counters: Counters::default(), ..Node::new(&[spec("login", vec![])]) };
    assert_eq!(node.refused(&from("192.0.2.1"), 10), 0);
}

#[test]
fn a_spent_tank_is_told() {
    let node = Node::new(&[spec("login", vec![address()])]);
    let mut fuel = Fuel::new(3);
    let ended = node.rules.before(&from("192.0.2.1"), &mut Scratch::new(), &mut fuel, &node.counters, (7, 0));
    assert_eq!(ended, Err(Spent));
}
