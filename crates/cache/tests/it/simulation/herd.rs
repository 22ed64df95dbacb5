//! Many visitors for one object: how many fetches, who streams, who is let alone.

use std::sync::Arc;
use std::task::{Poll, Waker};

use cache::engine::{Engine, Fetch, Now, Outcome, Step, Visit, Visited};
use cache::policy::{CacheStatus, FetchTimes, NotStored, OriginTrouble, Settings, Spelling};
use cache::store::{Piece, Ticket};
use exchange::{BodySize, Request, Response};

use super::{engine, place};

const HERD: usize = 1_000;

/// One who waits for the first.
type Waiting = (Visit, Request, Ticket);

struct Herd {
    engine: Engine,
    settings: Arc<Settings>,
    now: Now,
}

impl Herd {
    fn new() -> Self {
        let settings = Arc::new(Settings::default());
        Self { engine: engine(), settings, now: Now { unix_ms: 1_764_000_000_000, mono_ms: 5_000, seed: 3 } }
    }

    fn arrive(&self, fields: &[(&str, &str)]) -> (Visit, Request, Step) {
        let mut request = Request::default();
        request.set_method(b"GET");
        request.set_authority(b"example.org");
        request.set_target(b"/");
        for (name, value) in fields {
            request.fields.push(name.as_bytes(), value.as_bytes());
        }
        let place = place(&self.settings, 1);
        let Visited::Visit(mut visit) = self.engine.visit(&mut request, &place) else { panic!("eligible") };
        let step = visit.look(&request, self.now);
        (*visit, request, step)
    }

    fn wait_ms(&mut self, ms: u64) {
        self.now.unix_ms += ms;
        self.now.mono_ms += ms;
    }

    fn answer(&self, visit: &Visit, fetch: Fetch, answer: &Response) -> Outcome {
        let times = FetchTimes {
            asked_ms: self.now.unix_ms,
            answered_ms: self.now.unix_ms,
            received_ms: self.now.unix_ms,
        };
        visit.answered(fetch, answer, &times, self.now)
    }

    /// The first leads and the rest wait.
    fn gather(&self) -> ((Visit, Fetch), Vec<Waiting>) {
        let (leader, _, step) = self.arrive(&[]);
        let Step::Fetch(fetch) = step else { panic!("{step:?}") };
        let waiting = (1..HERD).map(|_| {
            let (visit, request, step) = self.arrive(&[]);
            let Step::Wait(ticket) = step else { panic!("{step:?}") };
            (visit, request, ticket)
        });
        ((leader, *fetch), waiting.collect())
    }

    fn store(&self, control: &str) {
        let (visit, _, step) = self.arrive(&[]);
        let Step::Fetch(fetch) = step else { panic!("{step:?}") };
        let Outcome::Fill(mut filling) = self.answer(&visit, *fetch, &answered(control)) else {
            panic!("it is stored")
        };
        filling.fill.push(b"0123456789");
        filling.fill.finish();
    }
}

fn answered(control: &str) -> Response {
    let mut answer = Response { status: 200, body: BodySize::Length(10), ..Response::default() };
    answer.fields.push(b"Cache-Control", control.as_bytes());
    answer.fields.push(b"ETag", b"\"a\"");
    answer
}

fn said(status: &CacheStatus<'_>) -> String {
    let mut out = Vec::new();
    status.write("herd", &mut out);
    String::from_utf8(out).expect("it is ASCII")
}

fn ready(ticket: &mut Ticket, now: Now) -> cache::store::Waited {
    match ticket.poll(Waker::noop(), now.mono_ms) {
        Poll::Ready(waited) => waited,
        Poll::Pending => panic!("it still waits"),
    }
}

#[test]
fn a_thousand_misses_are_one_fetch_and_all_stream_while_it_fills() {
    let herd = Herd::new();
    let ((leader, fetch), waiting) = herd.gather();
    let Outcome::Fill(mut filling) = herd.answer(&leader, fetch, &answered("max-age=60")) else {
        panic!("it is stored")
    };
    filling.fill.push(b"01234");
    let mut readers = Vec::new();
    for (mut visit, request, mut ticket) in waiting {
        let Step::Serve(serving) = visit.waited(&request, ready(&mut ticket, herd.now), herd.now) else {
            panic!("it is served")
        };
        assert_eq!(said(&serving.status), "herd; fwd=uri-miss; ttl=60; collapsed");
        let mut reader = serving.object.reader(0).expect("there is room");
        assert_eq!(reader.poll_piece(Waker::noop()), Poll::Ready(Piece::Bytes(b"01234"[..].into())));
        assert_eq!(reader.poll_piece(Waker::noop()), Poll::Pending);
        readers.push(reader);
    }
    filling.fill.push(b"56789");
    filling.fill.finish();
    assert_eq!(readers.len(), HERD - 1);
    for reader in &mut readers {
        assert_eq!(reader.poll_piece(Waker::noop()), Poll::Ready(Piece::Bytes(b"56789"[..].into())));
        assert_eq!(reader.poll_piece(Waker::noop()), Poll::Ready(Piece::End));
    }
}

#[test]
fn a_thousand_visitors_on_one_expired_object_are_one_fetch() {
    let mut herd = Herd::new();
    herd.store("max-age=1");
    herd.wait_ms(2_000);
    let ((leader, mut fetch), waiting) = herd.gather();
    let mut fields = exchange::Fields::new();
    fetch.prepare(&mut fields);
    assert_eq!(fields.value(b"if-none-match"), Some(&b"\"a\""[..]));
    let mut renewed = answered("max-age=60");
    renewed.status = 304;
    assert!(matches!(herd.answer(&leader, fetch, &renewed), Outcome::Serve(_)));
    for (mut visit, request, mut ticket) in waiting {
        let step = visit.waited(&request, ready(&mut ticket, herd.now), herd.now);
        let Step::Serve(serving) = step else { panic!("{step:?}") };
        assert_eq!(said(&serving.status), "herd; fwd=stale; ttl=60; collapsed");
    }
}

#[test]
fn a_dead_origin_is_asked_once_for_a_herd_with_something_stale() {
    let mut herd = Herd::new();
    herd.store("max-age=1");
    herd.wait_ms(2_000);
    let ((leader, mut fetch), waiting) = herd.gather();
    fetch.prepare(&mut exchange::Fields::new());
    assert!(leader.failed(fetch, OriginTrouble::Unreachable, herd.now).is_some());
    for (mut visit, request, mut ticket) in waiting {
        let step = visit.waited(&request, ready(&mut ticket, herd.now), herd.now);
        assert!(matches!(step, Step::Serve(_)), "{step:?}");
    }
    assert!(matches!(herd.arrive(&[]).2, Step::Serve(_)), "and those who come now");
    herd.wait_ms(1_000);
    assert!(matches!(herd.arrive(&[]).2, Step::Fetch(_)), "a second later it is asked again");
}

/// The node has more to do than it can: who is sent away gets what is stored, and the others its renewal.
#[test]
fn who_is_served_unasked_leaves_the_asking_to_the_next() {
    let mut herd = Herd::new();
    herd.store("max-age=1");
    herd.wait_ms(2_000);
    let ((leader, fetch), mut waiting) = herd.gather();
    let serving = leader.unasked(fetch, herd.now).expect("what is stored");
    assert_eq!(said(&serving.status), "herd; fwd=stale; ttl=-1");
    let led = waiting.iter_mut().filter_map(|(visit, request, ticket)| {
        let Poll::Ready(waited) = ticket.poll(Waker::noop(), herd.now.mono_ms) else { return None };
        match visit.waited(request, waited, herd.now) {
            Step::Fetch(fetch) => Some(fetch),
            step => panic!("{step:?}"),
        }
    });
    assert_eq!(led.collect::<Vec<_>>().len(), 1, "one of those who waited asks");
    drop(waiting);
    assert!(matches!(herd.arrive(&[]).2, Step::Fetch(_)), "nothing says that the origin failed");
}

#[test]
fn a_failed_fetch_hands_the_lease_to_one_who_waits() {
    let herd = Herd::new();
    let ((leader, fetch), mut waiting) = herd.gather();
    assert!(leader.failed(fetch, OriginTrouble::Unreachable, herd.now).is_none());
    let mut leads = 0;
    let mut fetches = Vec::new();
    for (visit, request, ticket) in &mut waiting {
        if let Poll::Ready(waited) = ticket.poll(Waker::noop(), herd.now.mono_ms) {
            leads += 1;
            let Step::Fetch(fetch) = visit.waited(request, waited, herd.now) else { panic!("it leads") };
            fetches.push(fetch);
        }
    }
    assert_eq!(leads, 1);
}

#[test]
fn answers_that_cannot_be_stored_are_waited_for_once() {
    let mut herd = Herd::new();
    let ((leader, fetch), waiting) = herd.gather();
    let outcome = herd.answer(&leader, fetch, &answered("no-store"));
    assert!(matches!(outcome, Outcome::Pass(passing) if passing.reason == NotStored::NoStore));
    for (mut visit, request, mut ticket) in waiting {
        let step = visit.waited(&request, ready(&mut ticket, herd.now), herd.now);
        assert!(matches!(&step, Step::Fetch(fetch) if !fetch.has_lease()), "{step:?}");
    }
    let (first, second) = (herd.arrive(&[]).2, herd.arrive(&[]).2);
    for step in [first, second] {
        assert!(matches!(&step, Step::Fetch(fetch) if !fetch.has_lease()), "{step:?}");
    }
    herd.wait_ms(60_000);
    assert!(matches!(herd.arrive(&[]).2, Step::Fetch(fetch) if fetch.has_lease()), "and forgotten in time");
}

#[test]
fn a_key_that_was_not_to_be_stored_is_stored_as_soon_as_an_answer_may_be() {
    let herd = Herd::new();
    for fields in [&[][..], &[("Vary", "Foo")]] {
        let (visit, _, step) = herd.arrive(&[]);
        let Step::Fetch(fetch) = step else { panic!("{step:?}") };
        assert!(matches!(herd.answer(&visit, *fetch, &answered("no-store")), Outcome::Pass(_)));
        // Two at once, neither of whom waits for the other; both may be stored.
        let both: Vec<_> = (0..2).map(|_| herd.arrive(&[])).collect();
        for (visit, _, step) in both {
            let Step::Fetch(fetch) = step else { panic!("{step:?}") };
            assert!(!fetch.has_lease());
            let mut answer = answered("max-age=60");
            fields.iter().for_each(|(name, value)| answer.fields.push(name.as_bytes(), value.as_bytes()));
            let Outcome::Fill(mut filling) = herd.answer(&visit, *fetch, &answer) else {
                panic!("{fields:?}")
            };
            assert!(filling.serving.status.is_stored, "{fields:?}");
            filling.fill.push(b"0123456789");
            filling.fill.finish();
        }
        assert!(matches!(herd.arrive(&[]).2, Step::Serve(_)), "{fields:?}");
        let purge = cache::store::Purge::Zone { zone: super::ZONE };
        herd.engine.store().purge(&purge, cache::store::Strength::Hard, 0, |_| {});
    }
}

#[test]
fn the_impatient_go_by_themselves_one_a_second() {
    let mut herd = Herd::new();
    let (_leader, mut waiting) = herd.gather();
    let mut went = 0;
    for _ in 0..3 {
        for (visit, request, ticket) in &mut waiting {
            went += u64::from(visit.impatient(request, ticket, herd.now).is_some());
        }
        herd.wait_ms(1_000);
    }
    assert_eq!(went, 3);
    herd.settings = Arc::new(Settings { alone_interval_ms: 100, ..Settings::default() });
    let other = |herd: &Herd| herd.arrive(&[("Foo", "1")]);
    let (mut visit, request, step) = other(&herd);
    let Step::Wait(ticket) = step else { panic!("{step:?}") };
    assert!(visit.impatient(&request, &ticket, herd.now).is_some());
    assert!(visit.impatient(&request, &ticket, herd.now).is_none());
    herd.wait_ms(100);
    assert!(visit.impatient(&request, &ticket, herd.now).is_some());
}

/// The first of those who lose patience, in the step it is sent on with.
fn first_impatient(herd: &Herd, waiting: &mut Vec<Waiting>) -> (Visit, Fetch) {
    let (mut visit, request, ticket) = waiting.pop().expect("many wait");
    let Some(Step::Fetch(fetch)) = visit.impatient(&request, &ticket, herd.now) else { panic!("its turn") };
    assert!(!fetch.has_lease());
    (visit, *fetch)
}

#[test]
fn the_answer_of_the_first_who_lost_patience_is_everybodys() {
    for vary in [None, Some("Foo")] {
        let herd = Herd::new();
        let ((hanging, stuck), mut waiting) = herd.gather();
        let (visit, fetch) = first_impatient(&herd, &mut waiting);
        let mut answer = answered("max-age=60");
        vary.into_iter().for_each(|name| answer.fields.push(b"Vary", name.as_bytes()));
        let Outcome::Fill(mut filling) = herd.answer(&visit, fetch, &answer) else { panic!("it is stored") };
        let status = "herd; fwd=uri-miss; fwd-status=200; ttl=60; stored; collapsed=?0";
        assert_eq!(said(&filling.serving.status), status);
        filling.fill.push(b"9876543210");
        filling.fill.finish();
        for (mut visit, request, mut ticket) in waiting {
            let step = visit.waited(&request, ready(&mut ticket, herd.now), herd.now);
            let Step::Serve(serving) = step else { panic!("{vary:?} {step:?}") };
            assert_eq!(serving.object.chunks().map(<[_]>::concat).as_deref(), Some(&b"9876543210"[..]));
        }
        // The one that hung has its answer for itself, and takes nothing out.
        let late = herd.answer(&hanging, stuck, &answer);
        assert!(matches!(late, Outcome::Pass(passing) if passing.reason == NotStored::Busy), "{vary:?}");
        let Step::Serve(serving) = herd.arrive(&[]).2 else { panic!("it is stored") };
        assert_eq!(serving.object.chunks().map(<[_]>::concat).as_deref(), Some(&b"9876543210"[..]));
        assert_eq!(herd.engine.store().usage().fetches, 0);
    }
}

#[test]
fn what_was_purged_while_one_without_patience_fetched_is_nobody_elses() {
    let herd = Herd::new();
    let ((_hanging, _stuck), mut waiting) = herd.gather();
    let (visit, fetch) = first_impatient(&herd, &mut waiting);
    let purge = cache::store::Purge::Url { zone: super::ZONE, host: b"example.org", target: b"/" };
    herd.engine.store().purge(&purge, cache::store::Strength::Hard, 0, |_| {});
    let outcome = herd.answer(&visit, fetch, &answered("max-age=60"));
    if let Outcome::Fill(mut filling) = outcome {
        assert!(!filling.serving.status.is_stored);
        filling.fill.push(b"0123456789");
        filling.fill.finish();
    }
    assert!(!matches!(herd.arrive(&[]).2, Step::Serve(_)), "who comes after a purge gets nothing older");
}

#[test]
fn an_answer_for_one_without_patience_alone_leaves_the_others_in_line() {
    let herd = Herd::new();
    let ((leader, fetch), mut waiting) = herd.gather();
    let (visit, alone) = first_impatient(&herd, &mut waiting);
    assert!(matches!(herd.answer(&visit, alone, &answered("no-store")), Outcome::Pass(_)));
    for (_, _, ticket) in &mut waiting {
        assert!(ticket.poll(Waker::noop(), herd.now.mono_ms).is_pending());
    }
    assert!(matches!(herd.answer(&leader, fetch, &answered("max-age=60")), Outcome::Fill(_)));
}

#[test]
fn what_a_soft_purge_made_stale_has_no_time_left() {
    let herd = Herd::new();
    herd.store("max-age=60, stale-while-revalidate=60");
    let purge = cache::store::Purge::Zone { zone: super::ZONE };
    herd.engine.store().purge(&purge, cache::store::Strength::Soft, 0, |_| {});
    let Step::ServeAndRevalidate(serving, _) = herd.arrive(&[]).2 else { panic!("it is served stale") };
    assert_eq!(said(&serving.status), "herd; hit; ttl=0");
}

#[test]
fn variants_are_fetched_beside_each_other_and_each_once() {
    let herd = Herd::new();
    let (one, _, step) = herd.arrive(&[("Foo", "1")]);
    let Step::Fetch(fetch) = step else { panic!("{step:?}") };
    let (mut two, request, step) = herd.arrive(&[("Foo", "2")]);
    let Step::Wait(mut ticket) = step else { panic!("{step:?}") };
    let mut varied = answered("max-age=60");
    varied.fields.push(b"Vary", b"Foo");
    let Outcome::Fill(mut first) = herd.answer(&one, *fetch, &varied) else { panic!("it is stored") };
    // The second learns of the variants at once and fetches its own.
    let step = two.waited(&request, ready(&mut ticket, herd.now), herd.now);
    let Step::Fetch(fetch) = step else { panic!("{step:?}") };
    assert!(fetch.has_lease());
    let Outcome::Fill(mut second) = herd.answer(&two, *fetch, &varied) else { panic!("it is stored") };
    first.fill.push(b"1111111111");
    second.fill.push(b"2222222222");
    first.fill.finish();
    second.fill.finish();
    for (foo, expected) in [("1", b"1111111111"), ("2", b"2222222222")] {
        let Step::Serve(serving) = herd.arrive(&[("Foo", foo)]).2 else { panic!("it is stored") };
        assert_eq!(serving.object.chunks().map(<[_]>::concat).as_deref(), Some(&expected[..]));
    }
    assert!(matches!(herd.arrive(&[]).2, Step::Fetch(_)));
}

#[test]
fn a_key_keeps_so_many_variants_and_no_more() {
    let mut herd = Herd::new();
    herd.settings = Arc::new(Settings { variants_max: 3, ..Settings::default() });
    let mut varied = answered("max-age=60");
    varied.fields.push(b"Vary", b"Foo");
    let mut stored = 0;
    for value in ["1", "2", "3", "4", "5"] {
        let (visit, _, step) = herd.arrive(&[("Foo", value)]);
        let Step::Fetch(fetch) = step else { panic!("{step:?}") };
        match herd.answer(&visit, *fetch, &varied) {
            Outcome::Fill(mut filling) => {
                stored += 1;
                filling.fill.push(b"0123456789");
                filling.fill.finish();
            }
            Outcome::Pass(passing) => assert_eq!(passing.reason, NotStored::Variants),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stored, 3);
    assert!(matches!(herd.arrive(&[("Foo", "1")]).2, Step::Serve(_)), "those there are stay");
}

#[test]
fn what_must_be_validated_each_time_makes_nobody_wait() {
    let herd = Herd::new();
    herd.store("no-cache");
    let (_first, _, step) = herd.arrive(&[]);
    assert!(matches!(step, Step::Fetch(_)), "{step:?}");
    let (_second, _, step) = herd.arrive(&[]);
    assert!(matches!(step, Step::Fetch(_)), "{step:?}");
}

#[test]
fn a_purge_reaches_a_fill_in_flight() {
    let herd = Herd::new();
    let (leader, _, step) = herd.arrive(&[]);
    let Step::Fetch(fetch) = step else { panic!("{step:?}") };
    let purge = cache::store::Purge::Url { zone: super::ZONE, host: b"example.org", target: b"/" };
    herd.engine.store().purge(&purge, cache::store::Strength::Hard, 0, |_| {});
    let Outcome::Fill(mut filling) = herd.answer(&leader, *fetch, &answered("max-age=60")) else {
        panic!("who asked before the purge may have it")
    };
    assert!(!filling.serving.status.is_stored);
    filling.fill.push(b"0123456789");
    filling.fill.finish();
    assert!(matches!(herd.arrive(&[]).2, Step::Fetch(_)), "nobody else gets it");
}

#[test]
fn an_unsafe_request_takes_out_what_it_changed() {
    let herd = Herd::new();
    herd.store("max-age=60");
    assert!(matches!(herd.arrive(&[]).2, Step::Serve(_)));
    let mut request = Request::default();
    request.set_method(b"POST");
    request.set_authority(b"example.org");
    request.set_target(b"/form");
    let place = place(&herd.settings, 1);
    assert!(matches!(herd.engine.visit(&mut request, &place), Visited::Bypass(_)));
    let mut created = Response { status: 201, ..Response::default() };
    created.fields.push(b"Location", b"/");
    assert_eq!(herd.engine.invalidate(&request, &created, super::ZONE, &[Spelling::default()]).len(), 2);
    assert!(matches!(herd.arrive(&[]).2, Step::Fetch(_)));
}

#[test]
fn a_request_that_wants_only_what_is_stored_asks_nobody() {
    let mut herd = Herd::new();
    herd.settings = Arc::new(Settings { respects_request: true, ..Settings::default() });
    let only = [("Cache-Control", "only-if-cached")];
    assert!(matches!(herd.arrive(&only).2, Step::OnlyIfCached));
    herd.store("max-age=1");
    assert!(matches!(herd.arrive(&only).2, Step::Serve(_)));
    herd.wait_ms(2_000);
    assert!(matches!(herd.arrive(&only).2, Step::OnlyIfCached));
    assert!(matches!(herd.arrive(&[]).2, Step::Fetch(fetch) if fetch.has_lease()), "and holds no lease");
}

#[test]
fn stale_while_revalidating_is_one_fetch_behind_the_visitors_back() {
    let mut herd = Herd::new();
    herd.store("max-age=1, stale-while-revalidate=60");
    herd.wait_ms(2_000);
    let (visit, _, step) = herd.arrive(&[]);
    let Step::ServeAndRevalidate(serving, fetch) = step else { panic!("{step:?}") };
    assert_eq!(serving.status.ttl_s, Some(-1));
    for _ in 1..HERD {
        assert!(matches!(herd.arrive(&[]).2, Step::Serve(_)));
    }
    let mut fetch = *fetch;
    fetch.prepare(&mut exchange::Fields::new());
    let renewed = Response { status: 304, ..answered("max-age=60") };
    assert!(matches!(herd.answer(&visit, fetch, &renewed), Outcome::Serve(_)));
    let Step::Serve(serving) = herd.arrive(&[]).2 else { panic!("it is fresh again") };
    assert_eq!(serving.status.ttl_s, Some(60));
}

#[test]
fn an_answer_that_ends_the_stored_one_does_so_without_a_lease_too() {
    let herd = Herd::new();
    herd.store("no-cache");
    let (visit, _, step) = herd.arrive(&[]);
    let Step::Fetch(fetch) = step else { panic!("{step:?}") };
    assert!(!fetch.has_lease() && fetch.stored_head().is_some());
    assert!(matches!(herd.answer(&visit, *fetch, &answered("no-store")), Outcome::Pass(_)));
    let Step::Fetch(fetch) = herd.arrive(&[]).2 else { panic!("nothing is stored any more") };
    assert!(fetch.stored_head().is_none());
}
