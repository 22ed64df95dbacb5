//! Large objects in slices, through the engine and the store: what is fetched, what is shared, what is
//! never mixed.

use std::sync::Arc;
use std::task::{Poll, Waker};

use cache::engine::{
    Engine, Now, Outcome, Place, Serving, SliceOutcome, SliceStep, Slices, Step, Visit, Visited,
};
use cache::policy::{ByteRange, FetchTimes, Sending, Settings, VisitorFacts};
use cache::store::{MemorySettings, Object, Piece, Seed, Store};
use exchange::{BodySize, Fields, Request, Response};

const SLICE: u64 = 1_000;

/// An origin with one file that knows ranges.
struct Origin {
    version: u8,
    bytes: u64,
    tag: &'static str,
    /// The `Range` of each request that came; empty for none.
    asked: Vec<String>,
}

impl Origin {
    /// Byte `at` of a version.
    fn byte(version: u8, at: u64) -> u8 {
        (at % 251) as u8 ^ version.wrapping_mul(97)
    }

    fn body(&self, range: ByteRange) -> Vec<u8> {
        (range.first..=range.last).map(|at| Self::byte(self.version, at)).collect()
    }

    fn answer(&mut self, fields: &Fields) -> (Response, Vec<u8>) {
        let text = |name: &str| {
            fields.value(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let range = text("range").unwrap_or_default();
        self.asked.push(range.clone());
        let tag = format!("{}\"v{}\"", self.tag, self.version);
        let mut answer = Response { status: 200, ..Response::default() };
        let mut say = |name: &str, value: &str| answer.fields.push(name.as_bytes(), value.as_bytes());
        say("ETag", &tag);
        say("Cache-Control", "max-age=10");
        if text("if-match").is_some_and(|wanted| wanted != tag) {
            answer.status = 412;
            return (answer, Vec::new());
        }
        if text("if-none-match") == Some(tag) {
            answer.status = 304;
            return (answer, Vec::new());
        }
        let mut part = ByteRange { first: 0, last: self.bytes - 1 };
        if let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) {
            part.first = first.parse().expect("the engine writes numbers");
            part.last = last.parse::<u64>().expect("the engine writes numbers").min(part.last);
            answer.status = 206;
            let value = part.content_range(Some(self.bytes));
            answer.fields.push(b"Content-Range", &value);
        }
        answer.body = BodySize::of_length(part.bytes_len());
        (answer, self.body(part))
    }
}

struct Bench {
    engine: Engine,
    settings: Arc<Settings>,
    origin: Origin,
    now: Now,
}

/// What a visitor got.
#[derive(Debug)]
struct Got {
    status: u16,
    body: Vec<u8>,
    cache_status: String,
}

impl Bench {
    fn new(bytes: u64) -> Self {
        let settings =
            Settings { slice_bytes: Some(SLICE), object_bytes_max: 1 << 20, ..Settings::default() };
        Self {
            engine: Engine::new(Store::new(MemorySettings::of(1 << 26), Seed([1; 16]))),
            settings: Arc::new(settings),
            origin: Origin { version: 1, bytes, tag: "", asked: Vec::new() },
            now: Now { unix_ms: 1_764_000_000_000, mono_ms: 5_000, seed: 9 },
        }
    }

    fn wait_s(&mut self, seconds: u64) {
        self.now.unix_ms += seconds * 1000;
        self.now.mono_ms += seconds * 1000;
    }

    fn arrive(&self, range: &str) -> (Visit, Request) {
        let mut request = Request::default();
        request.set_method(b"GET");
        request.set_authority(b"example.org");
        request.set_target(b"/film");
        if !range.is_empty() {
            request.fields.push(b"Range", range.as_bytes());
        }
        let place = Place {
            zone: 1,
            snapshot: 1,
            settings: &self.settings,
            facts: VisitorFacts::default(),
            is_peer_trusted: false,
        };
        let Visited::Visit(visit) = self.engine.visit(&mut request, &place) else { panic!("eligible") };
        (*visit, request)
    }

    /// One visitor, alone, from beginning to end.
    fn get(&mut self, range: &str) -> Got {
        let (mut visit, request) = self.arrive(range);
        let mut step = visit.look(&request, self.now);
        loop {
            let fetch = match step {
                Step::Serve(serving) => return self.read(*serving),
                Step::Fetch(fetch) => fetch,
                other => panic!("{other:?}"),
            };
            let mut fetch = *fetch;
            let mut fields = request.fields.clone();
            fetch.prepare(&mut fields);
            let (answer, body) = self.origin.answer(&fields);
            let times = FetchTimes {
                asked_ms: self.now.unix_ms,
                answered_ms: self.now.unix_ms,
                received_ms: self.now.unix_ms,
            };
            match visit.answered(fetch, &answer, &times, self.now) {
                Outcome::Serve(serving) => return self.read(*serving),
                Outcome::Fill(mut filling) => {
                    filling.fill.push(&body);
                    filling.fill.finish();
                    return self.read(filling.serving);
                }
                Outcome::Pass(passing) => {
                    let mut cache_status = Vec::new();
                    passing.status.write("bench", &mut cache_status);
                    let cache_status = String::from_utf8(cache_status).expect("it is ASCII");
                    return Got { status: answer.status, body, cache_status };
                }
                Outcome::Again(again) => step = Step::Fetch(again),
            }
        }
    }

    fn read(&mut self, serving: Serving) -> Got {
        let mut cache_status = Vec::new();
        serving.status.write("bench", &mut cache_status);
        let mut got = Got {
            status: serving.answer.status,
            body: Vec::new(),
            cache_status: String::from_utf8(cache_status).expect("it is ASCII"),
        };
        match &serving.sending {
            Sending::Nothing => {}
            Sending::Range(range) => got.body = self.part(&serving, *range),
            Sending::Whole => {
                let whole =
                    serving.slices.as_ref().map(|slices| slices.whole()).or(serving.object.body_bytes());
                got.body = self.part(&serving, ByteRange { first: 0, last: whole.expect("it is whole") - 1 });
            }
            Sending::Parts(multipart) => {
                for (text, range) in &multipart.parts {
                    got.body.extend_from_slice(text);
                    got.body.extend(self.part(&serving, *range));
                }
                got.body.extend_from_slice(&multipart.end);
                assert_eq!(got.body.len() as u64, multipart.bytes_len());
            }
        }
        got
    }

    /// Bytes of a whole, or of its slices.
    fn part(&mut self, serving: &Serving, range: ByteRange) -> Vec<u8> {
        let Some(slices) = &serving.slices else { return bytes_of(&serving.object, range) };
        let needed: Vec<_> = slices.needed(range).collect();
        let parts =
            needed.into_iter().flat_map(|(number, within)| bytes_of(&self.slice(slices, number), within));
        parts.collect()
    }

    fn slice(&mut self, slices: &Slices, number: u64) -> Arc<Object> {
        match slices.look(number, self.now) {
            SliceStep::Read(object) => object,
            SliceStep::Wait(_) => panic!("nobody else is here"),
            SliceStep::Fetch(fetch) => {
                let mut fields = Fields::new();
                slices.prepare(&fetch, &mut fields);
                let (answer, body) = self.origin.answer(&fields);
                let SliceOutcome::Fill(mut fill) = slices.answered(fetch, &answer, self.now) else {
                    panic!("the version is the same")
                };
                let object = Arc::clone(fill.object());
                fill.push(&body);
                fill.finish();
                object
            }
        }
    }

    fn expected(&self, first: u64, last: u64) -> Vec<u8> {
        self.origin.body(ByteRange { first, last })
    }
}

fn bytes_of(object: &Arc<Object>, range: ByteRange) -> Vec<u8> {
    let mut reader = object.reader(range.first).expect("few read at once");
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < range.bytes_len() {
        match reader.poll_piece(Waker::noop()) {
            Poll::Ready(Piece::Bytes(piece)) => bytes.extend_from_slice(&piece),
            other => panic!("{other:?}"),
        }
    }
    bytes.truncate(range.bytes_len() as usize);
    bytes
}

#[test]
fn a_range_of_a_large_file_fetches_its_slices_and_no_more() {
    let mut bench = Bench::new(10_000_000_000);
    let got = bench.get("bytes=5000000500-5000001500");
    assert_eq!((got.status, got.body), (206, bench.expected(5_000_000_500, 5_000_001_500)));
    assert_eq!(bench.origin.asked, ["bytes=5000000000-5000000999", "bytes=5000001000-5000001999"]);
    let got = bench.get("bytes=5000000900-5000001100");
    assert_eq!((got.status, got.body), (206, bench.expected(5_000_000_900, 5_000_001_100)));
    assert_eq!(bench.origin.asked.len(), 2, "both slices are stored");
    assert_eq!(got.cache_status, "bench; hit; ttl=10");
}

#[test]
fn the_end_of_a_large_file_is_found_without_the_rest() {
    let mut bench = Bench::new(10_500);
    let got = bench.get("bytes=-100");
    assert_eq!((got.status, got.body), (206, bench.expected(10_400, 10_499)));
    assert!(got.cache_status.starts_with("bench; fwd=uri-miss; fwd-status=206"), "{}", got.cache_status);
    assert_eq!(bench.origin.asked, ["bytes=0-999", "bytes=10000-10499"]);
}

#[test]
fn the_whole_is_put_together_from_slices() {
    let mut bench = Bench::new(3_500);
    bench.get("bytes=0-1");
    let got = bench.get("");
    assert_eq!((got.status, got.body), (200, bench.expected(0, 3_499)));
    assert_eq!(bench.origin.asked.len(), 4);
}

#[test]
fn a_file_of_one_slice_is_stored_as_a_whole() {
    let mut bench = Bench::new(700);
    let got = bench.get("bytes=100-199");
    assert_eq!((got.status, got.body), (206, bench.expected(100, 199)));
    let got = bench.get("");
    assert_eq!((got.status, got.body), (200, bench.expected(0, 699)));
    assert_eq!(bench.origin.asked, ["bytes=0-999"]);
}

#[test]
fn a_file_without_a_strong_validator_is_not_sliced() {
    let mut bench = Bench::new(5_000);
    bench.origin.tag = "W/";
    let got = bench.get("bytes=1500-1600");
    assert_eq!((got.status, got.body), (206, bench.expected(1_500, 1_600)));
    assert_eq!(bench.origin.asked, ["bytes=1000-1999", "bytes=1500-1600"]);
    let got = bench.get("bytes=2500-2600");
    assert_eq!((got.status, got.body), (206, bench.expected(2_500, 2_600)));
    assert_eq!(bench.origin.asked.len(), 3, "it is known not to be");
    assert!(got.cache_status.ends_with("detail=partial"), "{}", got.cache_status);
}

#[test]
fn a_stale_file_is_asked_about_once_and_keeps_its_slices() {
    let mut bench = Bench::new(5_000);
    bench.get("bytes=0-2999");
    bench.wait_s(11);
    let got = bench.get("bytes=1500-2500");
    assert_eq!((got.status, got.body), (206, bench.expected(1_500, 2_500)));
    assert_eq!(bench.origin.asked.len(), 4, "three slices and one 304: {:?}", bench.origin.asked);
}

#[test]
fn a_changed_file_is_never_mixed_with_the_old_one() {
    let mut bench = Bench::new(5_000);
    bench.get("bytes=0-999");
    // Between a visitor's head and its slice the file changes.
    let (mut visit, request) = bench.arrive("bytes=500-2500");
    let Step::Serve(serving) = visit.look(&request, bench.now) else { panic!("the head is stored") };
    bench.origin.version = 2;
    let slices = serving.slices.expect("it is sliced");
    assert!(matches!(slices.look(0, bench.now), SliceStep::Read(_)));
    let SliceStep::Fetch(fetch) = slices.look(1, bench.now) else { panic!("it is not stored") };
    let mut fields = Fields::new();
    slices.prepare(&fetch, &mut fields);
    let (answer, _) = bench.origin.answer(&fields);
    assert!(matches!(slices.answered(fetch, &answer, bench.now), SliceOutcome::OtherVersion));
    // Who comes now gets the new one, all of it.
    let got = bench.get("bytes=500-2500");
    assert_eq!((got.status, got.body), (206, bench.expected(500, 2_500)));
}

#[test]
fn a_stale_file_that_changed_is_new_from_its_first_slice_on() {
    let mut bench = Bench::new(5_000);
    bench.get("bytes=0-2999");
    bench.origin.version = 2;
    bench.wait_s(11);
    let got = bench.get("bytes=1500-2500");
    assert_eq!((got.status, got.body), (206, bench.expected(1_500, 2_500)));
    let got = bench.get("");
    assert_eq!((got.status, got.body), (200, bench.expected(0, 4_999)));
}

#[test]
fn two_visitors_of_one_slice_are_one_fetch() {
    let mut bench = Bench::new(5_000);
    bench.get("bytes=0-1");
    let slices = |bench: &Bench| {
        let (mut visit, request) = bench.arrive("bytes=1000-1001");
        let Step::Serve(serving) = visit.look(&request, bench.now) else { panic!("the head is stored") };
        serving.slices.expect("it is sliced")
    };
    let (one, two) = (slices(&bench), slices(&bench));
    let SliceStep::Fetch(fetch) = one.look(1, bench.now) else { panic!("it is not stored") };
    let SliceStep::Wait(mut ticket) = two.look(1, bench.now) else { panic!("it is fetched") };
    let mut fields = Fields::new();
    one.prepare(&fetch, &mut fields);
    let (answer, body) = bench.origin.answer(&fields);
    let SliceOutcome::Fill(mut fill) = one.answered(fetch, &answer, bench.now) else { panic!("it fits") };
    fill.push(&body);
    fill.finish();
    let Poll::Ready(waited) = ticket.poll(Waker::noop(), bench.now.mono_ms) else { panic!("it is there") };
    let SliceStep::Read(object) = two.waited(1, waited, bench.now) else { panic!("it is there") };
    assert_eq!(bytes_of(&object, ByteRange { first: 0, last: 1 }), bench.expected(1_000, 1_001));
}

/// The slices of what lies stored, for one who asks for a range.
fn slices_of(bench: &Bench, range: &str) -> Slices {
    let (mut visit, request) = bench.arrive(range);
    let Step::Serve(serving) = visit.look(&request, bench.now) else { panic!("the head is stored") };
    *serving.slices.expect("it is sliced")
}

#[test]
fn who_waits_too_long_for_a_slice_goes_in_turns_and_what_comes_is_everybodys() {
    let mut bench = Bench::new(5_000);
    bench.get("bytes=0-1");
    let slices = slices_of(&bench, "bytes=1000-1001");
    let SliceStep::Fetch(stuck) = slices.look(1, bench.now) else { panic!("it is not stored") };
    let mut tickets: Vec<_> = (0..20)
        .map(|_| match slices.look(1, bench.now) {
            SliceStep::Wait(ticket) => ticket,
            other => panic!("{other:?}"),
        })
        .collect();
    let went: Vec<_> = tickets.iter().filter_map(|ticket| slices.impatient(1, ticket, bench.now)).collect();
    let [alone] = <[_; 1]>::try_from(went).expect("one a second");
    let mut fields = Fields::new();
    slices.prepare(&alone, &mut fields);
    let (answer, body) = bench.origin.answer(&fields);
    let SliceOutcome::Fill(mut fill) = slices.answered(alone, &answer, bench.now) else { panic!("it fits") };
    fill.push(&body);
    fill.finish();
    for ticket in &mut tickets {
        let Poll::Ready(waited) = ticket.poll(Waker::noop(), bench.now.mono_ms) else {
            panic!("it is there")
        };
        let SliceStep::Read(object) = slices.waited(1, waited, bench.now) else { panic!("it is there") };
        assert_eq!(bytes_of(&object, ByteRange { first: 0, last: 1 }), bench.expected(1_000, 1_001));
    }
    assert!(matches!(slices.answered(stuck, &answer, bench.now), SliceOutcome::Fill(_)), "for itself");
}

#[test]
fn several_ranges_of_a_large_file_come_from_the_slices_that_hold_them() {
    let mut bench = Bench::new(10_000_000_000);
    let got = bench.get("bytes=0-9, 5000000995-5000001004, -10");
    assert_eq!(got.status, 206);
    let asked = ["0-999", "5000000000-5000000999", "5000001000-5000001999", "9999999000-9999999999"];
    assert_eq!(bench.origin.asked, asked.map(|range| format!("bytes={range}")));
    for (first, last) in [(0, 9), (5_000_000_995, 5_000_001_004), (9_999_999_990, 9_999_999_999)] {
        let mut part = format!("Content-Range: bytes {first}-{last}/10000000000\r\n\r\n").into_bytes();
        part.extend(bench.expected(first, last));
        part.extend_from_slice(b"\r\n--");
        assert!(got.body.windows(part.len()).any(|window| window == part), "{first} to {last}");
    }
    let got = bench.get("bytes=0-9, 5000000995-5000001004, -10");
    assert_eq!((got.cache_status.as_str(), bench.origin.asked.len()), ("bench; hit; ttl=10", 4));
}

#[test]
fn what_is_stored_in_part_is_no_hit() {
    let mut bench = Bench::new(200_000);
    bench.get("bytes=0-999");
    for (range, expected) in [
        ("bytes=500-600", "bench; hit; ttl=10"),
        ("bytes=500-1600", "bench; fwd=partial; fwd-status=206; ttl=10"),
        ("bytes=500-1600", "bench; hit; ttl=10"),
        ("bytes=0-1, 5000-5001", "bench; fwd=partial; fwd-status=206; ttl=10"),
        ("", "bench; fwd=partial; fwd-status=206; ttl=10"),
        ("", "bench; hit; ttl=10"),
        ("bytes=-1", "bench; hit; ttl=10"),
    ] {
        assert_eq!(bench.get(range).cache_status, expected, "{range}");
    }
    assert_eq!(bench.origin.asked.len(), 200);
}

#[test]
fn a_range_behind_the_end_is_refused_with_the_length() {
    let mut bench = Bench::new(5_000);
    bench.get("bytes=0-1");
    let got = bench.get("bytes=9000-9001");
    assert_eq!((got.status, got.body.len()), (416, 0));
    assert_eq!(bench.origin.asked.len(), 1);
}

#[test]
fn a_purge_takes_head_and_slices() {
    let mut bench = Bench::new(5_000);
    bench.get("bytes=0-1999");
    let purge = cache::store::Purge::Url { zone: 1, host: b"example.org", target: b"/film" };
    bench.engine.store().purge(&purge, cache::store::Strength::Hard, 0, |_| {});
    bench.get("bytes=0-1999");
    assert_eq!(bench.origin.asked.len(), 4);
}
