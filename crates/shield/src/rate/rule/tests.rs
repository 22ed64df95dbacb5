//! Rate limits over requests, from expressions to decisions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use rules::{Field, Side};
use zone::{Bundle, Source};

use super::*;
use crate::concurrency::Gates;

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

/// The limits of a zone that has these.
fn limits(toml: &str) -> Arc<RateLimits> {
    let zone = format!(
        "name = 'z'\nhostnames = ['z.example']\n[[pool]]\nname = 'app'\n\
         origins = [{{ url = 'http://127.0.0.1:1' }}]\n{toml}"
    );
    let source = Source { name: "z.toml".to_owned(), bytes: zone.into_bytes() };
    let bundle = Bundle::new(vec![source], None, BTreeMap::new());
    let snapshot = zone::compile(&bundle, 1, &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"));
    snapshot.zones()[0].rate_limits.clone().expect("the zone has limits")
}

/// Two logins in 10 s, unless other lines say otherwise.
fn login(name: &str, lines: &str) -> String {
    let requests = if lines.contains("requests") { "" } else { "requests = 2\n" };
    format!(
        "[[rate_limit]]\nname = '{name}'\nexpression = 'http.request.uri.path eq \"/login\"'\n\
         {requests}period_s = 10\n{lines}\n"
    )
}

struct Node {
    limits: Arc<RateLimits>,
    counters: Counters,
    gates: Gates,
}

impl Node {
    fn new(toml: &str) -> Self {
        let limits = limits(toml);
        let counters = counters(&limits, &Counters::default());
        let gates = Gates::default().carry(&limits.gates);
        Self { limits, counters, gates }
    }

    fn measured(&self, request: &Request) -> Measured {
        let (mut scratch, mut fuel) = (Scratch::new(), Fuel::new(1_000_000));
        measure(&self.limits, request, &mut scratch, &mut fuel, 7, &|_, _| ()).unwrap()
    }

    fn before(&self, request: &Request, now_ms: u64) -> Rated {
        self.measured(request).count(&self.limits, &self.counters, now_ms)
    }

    fn after(&self, rated: &Rated, request: &Request, now_ms: u64) {
        let (mut scratch, mut fuel) = (Scratch::new(), Fuel::new(1_000_000));
        let with = (&self.counters, now_ms);
        after(&self.limits, &rated.pending, request, &mut scratch, &mut fuel, with).unwrap();
    }

    /// How many of so many equal requests are refused.
    fn refused(&self, request: &Request, times: usize) -> usize {
        (0..times).filter(|_| self.before(request, 1000).is_refused).count()
    }

    fn names(&self, rated: &Rated) -> Vec<&str> {
        rated.met.iter().map(|met| &*self.limits.rates[met.limit].name).collect()
    }
}

#[test]
fn addresses_are_counted_apart_and_networks_together() {
    let node = Node::new(&login("login", ""));
    assert_eq!(node.refused(&from("192.0.2.1"), 5), 3);
    assert_eq!(node.refused(&from("192.0.2.2"), 2), 0);
    assert_eq!(node.refused(&from("2001:db8::1"), 2), 0);
    assert_eq!(node.refused(&from("2001:db8::ffff"), 1), 1, "one network of 64 bits is one visitor");
    assert_eq!(node.refused(&from("2001:db8:0:1::1"), 1), 0);
    let elsewhere = Request { uri: "/other", ..from("192.0.2.1") };
    assert_eq!(node.refused(&elsewhere, 5), 0, "the limit is not about that path");
    assert!(node.measured(&elsewhere).is_empty());
}

#[test]
fn prefixes_are_as_the_limit_says() {
    let node = Node::new(&login("login", "ipv4_prefix = 24\nipv6_prefix = 48"));
    assert_eq!(node.refused(&from("192.0.2.1"), 2), 0);
    assert_eq!(node.refused(&from("192.0.2.200"), 1), 1);
    assert_eq!(node.refused(&from("192.0.3.1"), 1), 0);
    assert_eq!(node.refused(&from("2001:db8:1:2::1"), 2), 0);
    assert_eq!(node.refused(&from("2001:db8:1:3::1"), 1), 1);
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
        ("address", Request { ip: from("192.0.2.9").ip, ..base.clone() }),
        ("ip.src", Request { ip: from("192.0.2.9").ip, ..base.clone() }),
        ("header:x-KEY", with("X-Key", "b")),
        ("http.request.headers[\"x-key\"]", with("X-Key", "b")),
        ("cookie:s", with("Cookie", "s=2")),
        ("argument:user", Request { uri: "/login?user=b", ..base.clone() }),
        ("host", with("Host", "two.example")),
        ("len(http.request.uri.query)", Request { uri: "/login?user=abc", ..base.clone() }),
    ] {
        let node = Node::new(&login("login", &format!("characteristics = ['{characteristic}']")));
        assert_eq!(node.refused(&base, 3), 1, "{characteristic}");
        assert_eq!(node.refused(&other, 2), 0, "{characteristic}");
    }
    let together = Node::new(&login("login", "characteristics = []"));
    assert_eq!(together.refused(&base, 2), 0);
    assert_eq!(together.refused(&from("198.51.100.1"), 1), 1);
    let paths =
        Node::new("[[rate_limit]]\nname = 'p'\ncharacteristics = ['path']\nrequests = 1\nperiod_s = 9\n");
    assert_eq!(paths.refused(&base, 2), 1);
    assert_eq!(paths.refused(&Request { uri: "/other", ..base.clone() }, 1), 0);
}

#[test]
fn responses_count_when_the_limit_asks_about_them() {
    for counting in ["count_statuses = [401, 403]", "counting_expression = 'http.response.code in {401 403}'"]
    {
        let node = Node::new(&login("login", &format!("{counting}\nmitigation_s = 60")));
        let request = |status| Request { status, ..from("192.0.2.1") };
        for _ in 0..10 {
            let rated = node.before(&request(0), 1000);
            assert!(!rated.pending.is_empty() && !rated.is_refused);
            node.after(&rated, &request(200), 1000);
        }
        for _ in 0..2 {
            let rated = node.before(&request(0), 1000);
            assert!(!rated.is_refused);
            node.after(&rated, &request(401), 1000);
        }
        let rated = node.before(&request(0), 1500);
        assert!(rated.is_refused && rated.pending.is_empty());
        assert_eq!(rated.met[0].decision, Decision::Over { retry_ms: 59_500 });
        assert!(!node.before(&request(0), 61_000).is_refused, "the mitigation is over");
    }
}

#[test]
fn a_counting_expression_may_be_about_other_requests_and_statuses_narrow_it() {
    let counting = "counting_expression = 'http.request.uri.path eq \"/hint\"'";
    let node = Node::new(&login("login", counting));
    let hint = Request { uri: "/hint", ..from("192.0.2.1") };
    assert_eq!(node.refused(&from("192.0.2.1"), 5), 0, "logins do not count");
    assert_eq!(node.refused(&hint, 5), 0, "hints are not refused");
    assert_eq!(node.refused(&from("192.0.2.1"), 1), 1, "and count");
    let node = Node::new(&login("login", &format!("{counting}\ncount_statuses = '4xx'")));
    for status in [200, 404, 200, 404] {
        let rated = node.before(&hint, 1000);
        assert!(rated.met.is_empty());
        assert!(!node.before(&from("192.0.2.1"), 1000).is_refused);
        node.after(&rated, &Request { status, ..hint.clone() }, 1000);
    }
    assert!(node.before(&from("192.0.2.1"), 1000).is_refused);
    let same = Node::new(&login("login", "count_statuses = 404"));
    assert!(same.before(&hint, 1000).pending.is_empty(), "statuses alone are about the same requests");
}

#[test]
fn measuring_counts_nothing() {
    let node = Node::new(&login("login", ""));
    for _ in 0..10 {
        assert!(!node.measured(&from("192.0.2.1")).is_empty());
    }
    assert_eq!(node.refused(&from("192.0.2.1"), 3), 1);
}

#[test]
fn log_refuses_nobody_and_a_refusal_ends_counting() {
    let toml = [login("log", "action = 'log'"), login("login", ""), login("wide", "requests = 100")].concat();
    let node = Node::new(&toml);
    for _ in 0..5 {
        let _ = node.before(&from("192.0.2.1"), 1000);
    }
    let rated = node.before(&from("192.0.2.1"), 1000);
    assert_eq!(node.names(&rated), ["log", "login"]);
    let tightest = rated.tightest(&node.limits).expect("a limit that tells");
    assert!(rated.is_refused && tightest.is_over() && tightest.limit == 1);
    let wide = &node.limits.rates[2];
    let numbers = Limit::of(wide).unwrap();
    let counter = node.counters.of(&wide.id, &numbers).unwrap();
    let key = Key::of(7, [Some(&b"192.0.2.1"[..])]);
    let Decision::Within { remaining, .. } = counter.look(&numbers, key, 1000) else { panic!() };
    assert_eq!(remaining, 98, "only what passed was counted");
}

#[test]
fn limits_that_are_silent_are_never_the_tightest() {
    let node = Node::new(&[login("silent", "headers = false"), login("wide", "requests = 100")].concat());
    let rated = node.before(&from("192.0.2.1"), 1000);
    assert_eq!(rated.tightest(&node.limits).map(|met| met.limit), Some(1));
}

#[test]
fn limits_without_counters_are_passed_over() {
    let node = Node { counters: Counters::default(), ..Node::new(&login("login", "")) };
    assert_eq!(node.refused(&from("192.0.2.1"), 10), 0);
}

#[test]
fn places_at_gates_are_given_back_and_kept_over_a_publish() {
    let toml = |most: u32| {
        format!(
            "[[concurrency_limit]]\nname = 'one'\nrequests = {most}\n\
             [[concurrency_limit]]\nname = 'all'\nrequests = 3\ncharacteristics = []\n"
        )
    };
    let mut node = Node::new(&toml(2));
    let enter = |node: &Node, ip: &str| node.measured(&from(ip)).enter(&node.limits, &node.gates);
    let held = [enter(&node, "192.0.2.1"), enter(&node, "192.0.2.1")];
    assert!(held.iter().all(|one| !one.is_refused && one.places.len() == 2));
    let full = enter(&node, "192.0.2.1");
    assert!(full.is_refused && full.places.is_empty());
    assert_eq!(full.full, [0]);
    let other = enter(&node, "192.0.2.2");
    assert!(!other.is_refused);
    assert_eq!(enter(&node, "192.0.2.3").full, [1], "the zone is full");
    node.limits = limits(&toml(3));
    node.gates = node.gates.carry(&node.limits.gates);
    drop(other);
    let third = enter(&node, "192.0.2.1");
    assert!(!third.is_refused, "the new limit, with what was held before");
    assert!(enter(&node, "192.0.2.1").is_refused);
    drop((held, third));
    assert!(!enter(&node, "192.0.2.1").is_refused);
}

#[test]
fn a_spent_tank_is_told() {
    let node = Node::new(&login("login", ""));
    let mut fuel = Fuel::new(3);
    let at = std::cell::Cell::new((false, 0));
    let ended =
        measure(&node.limits, &from("192.0.2.1"), &mut Scratch::new(), &mut fuel, 7, &|is_rate, place| {
            at.set((is_rate, place));
        });
    assert_eq!((ended, at.get()), (Err(Spent), (true, 1)));
}
