//! The engine, request by request: purges and invalidation, whose answer is whose, and what a waiter whose
//! turn has come must know.
//!
//! Many at once are in `simulation/herd.rs`.

use std::sync::Arc;
use std::task::{Poll, Waker};

use cache::engine::{Engine, Fetch, Now, Outcome, Place, Step, Visit, Visited};
use cache::policy::{FetchTimes, KeySettings, QueryKey, SetCookie, Settings, Spelling, VisitorFacts};
use cache::store::{MemorySettings, Purge, Seed, Store, Strength, Ticket, Waited};
use exchange::{Fields, Request, Response};

use crate::desk::{answer, controlled, request};

const ZONE: u128 = 1;
const OTHER: u128 = 2;
const AUTHORIZED: [(&str, &str); 1] = [("Authorization", "Basic eDp5")];

struct Bench {
    engine: Engine,
    settings: Arc<Settings>,
    snapshot: u64,
    now: Now,
}

/// A request on its way.
struct Way {
    visit: Visit,
    request: Request,
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        // A small table of purges, so that a few thousand of them fill it.
        let memory = MemorySettings { shards: 4, purge_slots: 1 << 10, ..MemorySettings::of(64 << 20) };
        Self {
            engine: Engine::new(Store::new(memory, Seed([9; 16]))),
            settings: Arc::new(settings),
            snapshot: 1,
            now: Now { unix_ms: 1_764_000_000_000, mono_ms: 5_000, seed: 3 },
        }
    }

    fn place(&self, zone: u128) -> Place<'_> {
        Place {
            zone,
            snapshot: self.snapshot,
            settings: &self.settings,
            facts: VisitorFacts::default(),
            is_peer_trusted: false,
        }
    }

    fn wait_s(&mut self, seconds: u64) {
        self.now.unix_ms += seconds * 1000;
        self.now.mono_ms += seconds * 1000;
    }

    fn arrive_at(&self, zone: u128, method: &str, target: &str, fields: &[(&str, &str)]) -> (Way, Step) {
        let mut request = request(method, target, fields);
        // What is stored under other settings is another's, as the edge has it.
        let scope = self.settings.key.spelling.tag().unwrap_or_default();
        let visited = self.engine.visit_within(&mut request, &self.place(zone), &scope);
        let Visited::Visit(mut visit) = visited else { panic!("it may be answered from here") };
        let step = visit.look(&request, self.now);
        (Way { visit: *visit, request }, step)
    }

    fn arrive(&self, fields: &[(&str, &str)]) -> (Way, Step) {
        self.arrive_at(ZONE, "GET", "/", fields)
    }

    fn lead(&self, fields: &[(&str, &str)]) -> (Way, Fetch) {
        let (way, step) = self.arrive(fields);
        let Step::Fetch(fetch) = step else { panic!("{step:?}") };
        (way, *fetch)
    }

    fn queue(&self, count: usize, fields: &[(&str, &str)]) -> Vec<(Way, Ticket)> {
        let wait = |_| match self.arrive(fields) {
            (way, Step::Wait(ticket)) => (way, ticket),
            (_, other) => panic!("{other:?}"),
        };
        (0..count).map(wait).collect()
    }

    fn answered(&self, way: &Way, mut fetch: Fetch, answer: &Response) -> Outcome {
        let mut fields = way.request.fields.clone();
        fetch.prepare(&mut fields);
        let times = FetchTimes {
            asked_ms: self.now.unix_ms,
            answered_ms: self.now.unix_ms,
            received_ms: self.now.unix_ms,
        };
        way.visit.answered(fetch, answer, &times, self.now)
    }

    /// Fetches and stores, whatever is there already.
    fn store_at(&self, zone: u128, target: &str, fields: &[(&str, &str)], answer: &Response) {
        let (way, step) = self.arrive_at(zone, "GET", target, fields);
        let Step::Fetch(fetch) = step else { panic!("{step:?}") };
        filled(self.answered(&way, *fetch, answer));
    }

    fn store(&self, answer: &Response) {
        self.store_at(ZONE, "/", &[], answer);
    }

    fn is_hit_at(&self, zone: u128, target: &str, fields: &[(&str, &str)]) -> bool {
        matches!(self.arrive_at(zone, "GET", target, fields).1, Step::Serve(_))
    }

    fn post(&self, zone: u128, target: &str) {
        let plain = [Spelling::default()];
        self.engine.invalidate(&request("POST", target, &[]), &answer(200, &[]), zone, &plain);
    }

    fn purge(&self, what: &Purge<'_>, strength: Strength) {
        self.engine.store().purge(what, strength, 1, |_| ());
    }
}

/// Names and values that are asked of an answer, if it has them.
fn said<'a>(answer: &'a Response, names: &[&str]) -> Vec<Option<&'a str>> {
    let value =
        |name: &&str| answer.fields.value(name.as_bytes()).and_then(|it| std::str::from_utf8(it).ok());
    names.iter().map(value).collect()
}

fn filled(outcome: Outcome) {
    let Outcome::Fill(mut filling) = outcome else { panic!("{outcome:?}") };
    filling.fill.push(b"0123456789");
    filling.fill.finish();
}

fn polled(ticket: &mut Ticket, now: Now) -> Option<Waited> {
    match ticket.poll(Waker::noop(), now.mono_ms) {
        Poll::Ready(waited) => Some(waited),
        Poll::Pending => None,
    }
}

/// Polls all who wait once, in order; gives the steps of those whose wait is over.
fn turn(waiting: &mut [(Way, Ticket)], now: Now) -> Vec<(&Way, Step)> {
    let turned = waiting.iter_mut().filter_map(|(way, ticket)| {
        let waited = polled(ticket, now)?;
        let step = way.visit.waited(&way.request, waited, now);
        Some((&*way, step))
    });
    turned.collect()
}

fn tagged() -> Response {
    answer(200, &[("Cache-Control", "max-age=3600"), ("ETag", "\"1\"")])
}

fn not_modified(fields: &[(&str, &str)]) -> Response {
    answer(304, &[&[("ETag", "\"1\"")], fields].concat())
}

#[test]
fn requests_that_change_things_take_out_nothing_but_what_they_changed() {
    let bench = Bench::new();
    let varied = answer(200, &[("Cache-Control", "max-age=3600"), ("Vary", "Foo")]);
    for number in 0..200 {
        for zone in [ZONE, OTHER] {
            bench.store_at(zone, &format!("/{number}"), &[], &controlled("max-age=3600"));
        }
    }
    for foo in ["1", "2"] {
        bench.store_at(ZONE, "/changed", &[("Foo", foo)], &varied);
        bench.store_at(OTHER, "/changed", &[("Foo", foo)], &varied);
    }
    for number in 0..5_000 {
        bench.post(ZONE, &format!("/none?{number}"));
    }
    bench.post(ZONE, "/changed");
    let hits = |zone| (0..200).filter(|number| bench.is_hit_at(zone, &format!("/{number}"), &[])).count();
    assert_eq!((hits(ZONE), hits(OTHER)), (200, 200));
    for foo in ["1", "2"] {
        assert!(!bench.is_hit_at(ZONE, "/changed", &[("Foo", foo)]), "all variants went");
        assert!(bench.is_hit_at(OTHER, "/changed", &[("Foo", foo)]));
    }
}

#[test]
fn what_others_change_costs_no_waiter_its_validators() {
    let mut bench = Bench::new();
    bench.store(&answer(200, &[("Cache-Control", "max-age=1"), ("ETag", "\"1\"")]));
    bench.wait_s(2);
    let (leader, fetch) = bench.lead(&[]);
    let mut waiting = bench.queue(1, &[]);
    bench.post(OTHER, "/");
    drop((leader, fetch));
    let steps = turn(&mut waiting, bench.now);
    let [(_, Step::Fetch(fetch))] = &steps[..] else { panic!("its turn") };
    assert!(fetch.has_lease() && fetch.stored_head().is_some());
    drop(steps);
    bench.post(ZONE, "/");
    let (_, fetch) = bench.lead(&[]);
    assert!(fetch.stored_head().is_none(), "what changed is asked for anew");
}

#[test]
fn what_others_change_keeps_no_answer_out_that_had_no_lease() {
    let bench = Bench::new();
    bench.store(&answer(200, &[("Cache-Control", "no-cache"), ("ETag", "\"1\"")]));
    let (way, fetch) = bench.lead(&[]);
    assert!(!fetch.has_lease(), "each validates by itself");
    bench.post(OTHER, "/");
    filled(bench.answered(&way, fetch, &controlled("max-age=60")));
    assert!(bench.is_hit_at(ZONE, "/", &[]));
}

#[test]
fn an_answer_without_a_lease_that_was_asked_for_before_a_change_is_kept_out() {
    let bench = Bench::new();
    bench.store(&answer(200, &[("Cache-Control", "no-cache"), ("ETag", "\"1\"")]));
    let (way, fetch) = bench.lead(&[]);
    assert!(!fetch.has_lease());
    bench.post(ZONE, "/");
    if let Outcome::Fill(mut filling) = bench.answered(&way, fetch, &controlled("max-age=60")) {
        filling.fill.push(b"0123456789");
        filling.fill.finish();
    }
    assert!(!bench.is_hit_at(ZONE, "/", &[]));
}

#[test]
fn a_soft_purge_outlives_the_failures_that_are_bridged_after_it() {
    let mut bench = Bench::new();
    bench.store(&tagged());
    bench.purge(&Purge::Zone { zone: ZONE }, Strength::Soft);
    bench.wait_s(1);
    let (way, fetch) = bench.lead(&[]);
    let outcome = bench.answered(&way, fetch, &answer(503, &[]));
    assert!(matches!(outcome, Outcome::Serve(_)), "{outcome:?}");
    assert!(bench.is_hit_at(ZONE, "/", &[]), "the origin is left alone for a moment");
    bench.wait_s(60);
    let (way, fetch) = bench.lead(&[]);
    assert!(fetch.has_lease());
    let outcome = bench.answered(&way, fetch, &not_modified(&[("Cache-Control", "max-age=3600")]));
    assert!(matches!(outcome, Outcome::Serve(_)), "{outcome:?}");
    assert!(bench.is_hit_at(ZONE, "/", &[]), "the origin has said that it holds");
}

#[test]
fn a_soft_purge_holds_for_what_a_fetch_of_before_renews() {
    let mut bench = Bench::new();
    bench.store(&answer(200, &[("Cache-Control", "max-age=1"), ("ETag", "\"1\"")]));
    bench.wait_s(2);
    let (way, fetch) = bench.lead(&[]);
    bench.purge(&Purge::Zone { zone: ZONE }, Strength::Soft);
    bench.answered(&way, fetch, &not_modified(&[("Cache-Control", "max-age=3600")]));
    assert!(!bench.is_hit_at(ZONE, "/", &[]), "it was asked before the purge");
}

#[test]
fn a_bridged_answer_stays_one_of_the_snapshot_it_was_fetched_under() {
    let mut bench = Bench::new();
    bench.store(&tagged());
    bench.purge(&Purge::Zone { zone: ZONE }, Strength::Soft);
    bench.snapshot = 2;
    let (way, fetch) = bench.lead(&[]);
    assert!(matches!(bench.answered(&way, fetch, &answer(503, &[])), Outcome::Serve(_)));
    bench.engine.store().withdraw(1, 2, |_| ());
    let (_, fetch) = bench.lead(&[]);
    assert!(fetch.stored_head().is_none());
}

#[test]
fn an_answer_for_its_asker_alone_ends_nobody_elses_wait() {
    let bench = Bench::new();
    let (way, fetch) = bench.lead(&AUTHORIZED);
    let mut waiting = bench.queue(100, &[]);
    assert!(matches!(bench.answered(&way, fetch, &controlled("max-age=60")), Outcome::Pass(_)));
    let mut steps = turn(&mut waiting, bench.now);
    assert_eq!(steps.len(), 1, "one fetches for the rest");
    let Some((next, Step::Fetch(fetch))) = steps.pop() else { panic!("its turn") };
    filled(bench.answered(next, *fetch, &controlled("max-age=60")));
    let steps = turn(&mut waiting[1..], bench.now);
    assert_eq!(steps.iter().filter(|(_, step)| matches!(step, Step::Serve(_))).count(), 99);
}

#[test]
fn a_304_for_its_asker_alone_ends_nobody_elses_wait() {
    let mut bench = Bench::new();
    bench.store(&answer(200, &[("Cache-Control", "max-age=1"), ("ETag", "\"1\"")]));
    bench.wait_s(2);
    let (way, fetch) = bench.lead(&AUTHORIZED);
    let mut waiting = bench.queue(100, &[]);
    let renewed = not_modified(&[("Cache-Control", "max-age=60")]);
    assert!(matches!(bench.answered(&way, fetch, &renewed), Outcome::Serve(_)), "it may have what is stored");
    let mut steps = turn(&mut waiting, bench.now);
    assert_eq!(steps.len(), 1, "one asks for the rest");
    let Some((next, Step::Fetch(fetch))) = steps.pop() else { panic!("its turn") };
    assert!(fetch.has_lease() && fetch.stored_head().is_some());
    assert!(matches!(bench.answered(next, *fetch, &renewed), Outcome::Serve(_)));
    let steps = turn(&mut waiting[1..], bench.now);
    assert_eq!(steps.iter().filter(|(_, step)| matches!(step, Step::Serve(_))).count(), 99);
}

#[test]
fn those_whose_answers_are_each_ones_own_do_not_go_one_after_the_other() {
    let bench = Bench::new();
    let (way, fetch) = bench.lead(&AUTHORIZED);
    let mut waiting = bench.queue(100, &AUTHORIZED);
    waiting.extend(bench.queue(1, &[]));
    assert!(matches!(bench.answered(&way, fetch, &controlled("max-age=60")), Outcome::Pass(_)));
    let steps = turn(&mut waiting, bench.now);
    let leases = steps.iter().map(|(_, step)| matches!(step, Step::Fetch(fetch) if fetch.has_lease()));
    let expected = (0..101).map(|number| number == 100);
    assert!(leases.eq(expected), "each goes at once, and who may share fetches for those who come");
}

/// A zone that respects what requests say.
fn respecting() -> Bench {
    Bench::with(Settings { respects_request: true, ..Settings::default() })
}

const NO_STORE: [(&str, &str); 1] = [("Cache-Control", "no-store")];

#[test]
fn a_waiter_whose_answer_serves_nobody_leaves_the_turn_to_the_next() {
    for (method, fields) in [("GET", &NO_STORE[..]), ("HEAD", &[])] {
        let bench = respecting();
        let (leader, fetch) = bench.lead(&[]);
        let (mut one, step) = bench.arrive_at(ZONE, method, "/", fields);
        let Step::Wait(mut ticket) = step else { panic!("{step:?}") };
        let mut rest = bench.queue(100, &[]);
        drop((leader, fetch));
        let waited = polled(&mut ticket, bench.now).expect("its turn");
        let step = one.visit.waited(&one.request, waited, bench.now);
        let Step::Fetch(fetch) = step else { panic!("{step:?}") };
        assert!(!fetch.has_lease(), "{method}");
        bench.answered(&one, *fetch, &controlled("max-age=60"));
        let steps = turn(&mut rest, bench.now);
        assert_eq!(steps.len(), 1, "{method}: one fetches for the rest");
        assert!(matches!(&steps[0].1, Step::Fetch(fetch) if fetch.has_lease()), "{method}");
    }
}

#[test]
fn a_request_that_may_not_be_stored_asks_about_what_is_stale_by_itself() {
    let mut bench = respecting();
    bench.store(&answer(200, &[("Cache-Control", "max-age=1"), ("ETag", "\"1\"")]));
    bench.wait_s(2);
    let (_way, fetch) = bench.lead(&NO_STORE);
    assert!(!fetch.has_lease());
}

#[test]
fn waiters_for_a_variant_that_turned_out_to_be_none_look_again() {
    let mut bench = Bench::new();
    bench.store_at(
        ZONE,
        "/",
        &[("Foo", "1")],
        &answer(200, &[("Cache-Control", "max-age=3600"), ("Vary", "Foo")]),
    );
    bench.wait_s(1);
    let two = [("Foo", "2")];
    let (way, fetch) = bench.lead(&two);
    let mut waiting = bench.queue(100, &two);
    filled(bench.answered(&way, fetch, &controlled("max-age=3600")));
    let steps = turn(&mut waiting, bench.now);
    assert_eq!(steps.len(), 100);
    assert_eq!(steps.iter().filter(|(_, step)| matches!(step, Step::Serve(_))).count(), 100);
}

#[test]
fn a_waiter_whose_turn_comes_after_a_purge_asks_for_the_whole() {
    let mut bench = Bench::new();
    bench.store(&answer(200, &[("Cache-Control", "max-age=1"), ("ETag", "\"1\"")]));
    bench.wait_s(2);
    let (leader, fetch) = bench.lead(&[]);
    let mut waiting = bench.queue(2, &[]);
    bench.purge(&Purge::Zone { zone: ZONE }, Strength::Hard);
    drop((leader, fetch));
    let mut steps = turn(&mut waiting, bench.now);
    let Some((next, Step::Fetch(fetch))) = steps.pop() else { panic!("its turn") };
    assert!(fetch.has_lease() && fetch.stored_head().is_none());
    let mut fields = Fields::new();
    let mut fetch = *fetch;
    fetch.prepare(&mut fields);
    assert!(fields.value(b"if-none-match").is_none());
    filled(bench.answered(next, fetch, &tagged()));
    assert!(bench.is_hit_at(ZONE, "/", &[]), "it was asked after the purge");
}

const COOKIE: (&str, &str) = ("Set-Cookie", "session=1");
const TOKEN: (&str, &str) = ("X-Tok", "1");

#[test]
fn what_is_not_stored_of_an_answer_is_its_fetchers_and_nobody_elses() {
    let stripping = Settings { set_cookie: SetCookie::Stripped, ..Settings::default() };
    for (settings, control) in [
        (Settings::default(), "max-age=600, private=\"Set-Cookie, X-Tok\""),
        (Settings::default(), "max-age=600, no-cache=\"Set-Cookie, X-Tok\""),
        (stripping, "max-age=600, no-cache=\"X-Tok, Cache-Tag\""),
    ] {
        let bench = Bench::with(settings);
        let names = ["Set-Cookie", "X-Tok", "X-All", "Cache-Tag"];
        let (way, fetch) = bench.lead(&[]);
        let mut waiting = bench.queue(1, &[]);
        let brought = answer(
            200,
            &[
                ("Cache-Control", control),
                COOKIE,
                ("Set-Cookie", "b=2"),
                TOKEN,
                ("X-All", "2"),
                ("Cache-Tag", "c"),
            ],
        );
        let outcome = bench.answered(&way, fetch, &brought);
        let Outcome::Fill(filling) = &outcome else { panic!("{outcome:?}") };
        let given = &filling.serving.answer;
        assert_eq!(said(given, &names), [Some("session=1"), Some("1"), Some("2"), None], "{control}");
        assert_eq!(given.fields.all_known(exchange::Known::SetCookie).count(), 2);
        filled(outcome);
        for (_, step) in turn(&mut waiting, bench.now).into_iter().chain([(&way, bench.arrive(&[]).1)]) {
            let Step::Serve(serving) = step else { panic!("{step:?}") };
            assert_eq!(said(&serving.answer, &names), [None, None, Some("2"), None], "{control}");
        }
    }
}

#[test]
fn what_a_304_says_to_its_asker_is_told_to_nobody_else() {
    for (control, is_kept) in [("max-age=60, no-cache=\"X-Tok\"", true), ("no-store", false)] {
        let mut bench = Bench::new();
        bench.store(&answer(
            200,
            &[("Cache-Control", "max-age=1, no-cache=\"X-Tok\""), ("ETag", "\"1\""), TOKEN],
        ));
        bench.wait_s(2);
        let (way, fetch) = bench.lead(&[]);
        let mut waiting = bench.queue(1, &[]);
        let outcome =
            bench.answered(&way, fetch, &not_modified(&[("Cache-Control", control), COOKIE, TOKEN]));
        let Outcome::Serve(serving) = outcome else { panic!("{outcome:?}") };
        assert_eq!(said(&serving.answer, &[COOKIE.0, TOKEN.0]), [Some(COOKIE.1), Some(TOKEN.1)], "{control}");
        let steps = turn(&mut waiting, bench.now);
        match &steps[..] {
            [(_, Step::Serve(serving))] if is_kept => {
                assert_eq!(said(&serving.answer, &[COOKIE.0, TOKEN.0]), [None, None]);
            }
            [(_, Step::Fetch(_))] if !is_kept => {}
            _ => panic!("{control}"),
        }
    }
}

#[test]
fn an_age_of_nothing_is_told_to_those_alone_for_whom_it_was_not_fetched() {
    let mut bench = Bench::new();
    let mut ages = Vec::new();
    let brought = |age: &[(&str, &str)]| {
        answer(200, &[&[("Cache-Control", "max-age=9"), ("ETag", "\"1\"")], age].concat())
    };
    for (answer, age) in [
        (brought(&[]), None),
        (brought(&[("Age", "3")]), Some("3")),
        (not_modified(&[]), None),
        (not_modified(&[("Age", "4")]), Some("4")),
    ] {
        let (way, fetch) = bench.lead(&[]);
        let mut waiting = bench.queue(1, &[]);
        let serving = match bench.answered(&way, fetch, &answer) {
            Outcome::Fill(mut filling) => {
                filling.fill.push(b"0123456789");
                filling.fill.finish();
                filling.serving
            }
            Outcome::Serve(serving) => *serving,
            other => panic!("{other:?}"),
        };
        assert_eq!(said(&serving.answer, &["Age"]), [age]);
        let steps = turn(&mut waiting, bench.now);
        let [(_, Step::Serve(serving))] = &steps[..] else { panic!("one is answered") };
        ages.extend(said(&serving.answer, &["Age"]).into_iter().flatten().map(str::to_owned));
        bench.wait_s(20);
    }
    assert_eq!(ages, ["0", "3", "0", "4"]);
}

const MINE: [(&str, &str); 2] =
    [("If-None-Match", "\"mine\""), ("If-Modified-Since", "Sun, 06 Nov 1994 07:00:00 GMT")];

/// What the origin is asked with.
fn conditions(way: &Way, fetch: &mut Fetch) -> [bool; 2] {
    let mut fields = way.request.fields.clone();
    fetch.prepare(&mut fields);
    MINE.map(|(name, value)| fields.value(name.as_bytes()) == Some(value.as_bytes()))
}

#[test]
fn who_fetches_for_itself_alone_has_its_own_conditions_judged_by_the_origin() {
    let bench = Bench::new();
    let (way, mut fetch) = bench.lead(&MINE);
    assert_eq!(conditions(&way, &mut fetch), [false; 2], "the whole is to be stored");
    let mut waiting = bench.queue(1, &MINE);
    assert!(matches!(bench.answered(&way, fetch, &controlled("private")), Outcome::Pass(_)));
    let mut steps = turn(&mut waiting, bench.now);
    let Some((_, Step::Fetch(mut fetch))) = steps.pop() else { panic!("it goes by itself") };
    assert_eq!(conditions(&way, &mut fetch), [true; 2], "it waited for what is not to be shared");
    let (way, mut fetch) = bench.lead(&MINE);
    assert_eq!(conditions(&way, &mut fetch), [true; 2]);
    assert!(
        matches!(bench.answered(&way, fetch, &answer(304, &[])), Outcome::Pass(_)),
        "it is the visitor's"
    );
    let (other, mut fetch) = bench.lead(&[]);
    assert_eq!(conditions(&other, &mut fetch), [false; 2]);
    let (head, step) = bench.arrive_at(ZONE, "HEAD", "/other", &MINE);
    let Step::Fetch(mut fetch) = step else { panic!("{step:?}") };
    assert_eq!(conditions(&head, &mut fetch), [true; 2]);
    // What it brings may be stored by now.
    let (way, fetch) = bench.lead(&MINE);
    filled(bench.answered(&way, fetch, &tagged()));
    assert!(bench.is_hit_at(ZONE, "/", &[]));
}

#[test]
fn who_lost_patience_asks_for_what_serves_those_who_still_wait() {
    let mut bench = Bench::new();
    let (_leader, _fetch) = bench.lead(&[]);
    let (mut way, ticket) = bench.queue(1, &MINE).remove(0);
    bench.wait_s(60);
    let Some(Step::Fetch(mut fetch)) = way.visit.impatient(&way.request, &ticket, bench.now) else {
        panic!("it is its turn")
    };
    assert_eq!(conditions(&way, &mut fetch), [false; 2]);
}

#[test]
fn a_304_to_no_condition_is_not_asked_for_for_ever() {
    let mut bench = Bench::new();
    bench.store(&answer(200, &[("Cache-Control", "max-age=1"), ("ETag", "\"1\"")]));
    bench.wait_s(2);
    let (way, fetch) = bench.lead(&[]);
    let other = answer(304, &[("ETag", "\"2\"")]);
    let outcome = bench.answered(&way, fetch, &other);
    let Outcome::Again(again) = outcome else { panic!("{outcome:?}") };
    assert!(matches!(bench.answered(&way, *again, &other), Outcome::Pass(_)));
}

/// Settings under which URLs are spelt so.
fn spelt(query: QueryKey, sorts_query: bool) -> Settings {
    let spelling = Spelling { query, sorts_query };
    Settings { key: KeySettings { spelling, ..KeySettings::default() }, ..Settings::default() }
}

/// A store in which one URL lies under each of several spellings, as rules choose them, and another beside.
fn spelt_in_many_ways() -> (Bench, Vec<Spelling>) {
    let mut bench = Bench::new();
    let name = |name: &str| vec![name.as_bytes().into()];
    let all = [
        Settings::default(),
        spelt(QueryKey::Nothing, false),
        spelt(QueryKey::Only(name("page")), false),
        spelt(QueryKey::AllBut(name("utm*")), true),
    ];
    for settings in &all {
        bench.settings = Arc::new(settings.clone());
        bench.store_at(ZONE, "/a?page=1&b=2&utm=3", &[], &controlled("max-age=60"));
        bench.store_at(ZONE, "/other?page=1", &[], &controlled("max-age=60"));
    }
    (bench, all.into_iter().map(|settings| settings.key.spelling).collect())
}

fn hits_by_spelling(bench: &mut Bench, spellings: &[Spelling], target: &str) -> Vec<bool> {
    let hit = |spelling: &Spelling| {
        bench.settings = Arc::new(spelt(spelling.query.clone(), spelling.sorts_query));
        bench.is_hit_at(ZONE, target, &[])
    };
    spellings.iter().map(hit).collect()
}

#[test]
fn a_purge_of_a_url_reaches_it_under_every_spelling() {
    let (mut bench, spellings) = spelt_in_many_ways();
    // Spelt as nobody stored it: another campaign, another order.
    let (asked, all) = ("/a?b=2&page=1&utm=4", [true; 4]);
    assert_eq!(
        hits_by_spelling(&mut bench, &spellings, asked),
        [false, true, true, true],
        "as sent it is another"
    );
    let url = (ZONE, &b"example.org"[..], &b"/a?page=1&b=2&utm=3"[..]);
    bench.engine.purge_url(url, &spellings, (Strength::Hard, 1), |_| ());
    assert_eq!(hits_by_spelling(&mut bench, &spellings, asked), [false; 4]);
    assert_eq!(hits_by_spelling(&mut bench, &spellings, "/a?page=1&b=2&utm=3"), [false; 4]);
    assert_eq!(hits_by_spelling(&mut bench, &spellings, "/other?page=1"), all);
}

#[test]
fn an_unsafe_request_reaches_every_spelling_of_what_it_changes() {
    let (mut bench, spellings) = spelt_in_many_ways();
    let mut created = answer(201, &[("Location", "/a?page=1&b=2&utm=3")]);
    created.fields.push(b"Content-Location", b"/a?page=1&b=2&utm=3");
    let told = bench.engine.invalidate(&request("POST", "/form", &[]), &created, ZONE, &spellings);
    assert_eq!(told.len(), 5, "its own, and four for what it made");
    assert_eq!(hits_by_spelling(&mut bench, &spellings, "/a?page=1&b=2&utm=3"), [false; 4]);
    assert_eq!(hits_by_spelling(&mut bench, &spellings, "/other?page=1"), [true; 4]);
}

#[test]
fn the_tag_of_a_spelling_takes_what_is_stored_under_it_and_nothing_else() {
    let (mut bench, spellings) = spelt_in_many_ways();
    let tag = spellings[2].tag().expect("it is not plain");
    bench.purge(&Purge::Tag { zone: ZONE, tag: &tag }, Strength::Hard);
    for target in ["/a?page=1&b=2&utm=3", "/other?page=1"] {
        assert_eq!(hits_by_spelling(&mut bench, &spellings, target), [true, true, false, true], "{target}");
    }
}
