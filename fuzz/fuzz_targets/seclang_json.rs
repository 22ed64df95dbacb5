//! Fuzzes bodies of the format Json: no panic, ceilings hold, the same values however it is cut.
//! The first two bytes say where. Read next: `crates/seclang/src/body/json.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seclang::body::{Body, Collection, Kind, Limits, Outcome};

type Taken = Vec<(Collection, Vec<u8>, Vec<u8>)>;

fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>, limits: &Limits) -> (Taken, Outcome) {
    let mut taken = Taken::new();
    let mut sink = |collection, name: &[u8], value: &[u8]| {
        taken.push((collection, name.to_vec(), value.to_vec()));
    };
    let mut body = Body::new(Kind::Json, b"", limits);
    chunks.for_each(|chunk| body.feed(chunk, &mut sink));
    let outcome = body.finish(&mut sink);
    (taken, outcome)
}

fuzz_target!(|bytes: &[u8]| {
    let [first, second, body @ ..] = bytes else { return };
    let limits = Limits { value_bytes_max: 5000, total_bytes_max: 9000, depth_max: 20, ..Limits::default() };
    let whole = read(std::iter::once(body), &limits);
    assert!(whole.0.len() <= body.len() + 10);
    let held: usize = whole.0.iter().map(|(_, name, value)| name.len() + value.len()).sum();
    assert!(held <= limits.total_bytes_max);
    let (size, ahead) = (usize::from(*first).max(1), usize::from(*second).min(body.len()));
    let (start, rest) = body.split_at(ahead);
    assert_eq!(read(std::iter::once(start).chain(rest.chunks(size)), &limits), whole);
});
