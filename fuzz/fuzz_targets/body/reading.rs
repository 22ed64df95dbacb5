//! What the targets of bodies share: one body read whole and in pieces. Called by `seclang_json.rs` and its
//! like; the formats are in `crates/seclang/src/body/`.

use seclang::body::{Body, Collection, Kind, Limits, Outcome};

type Taken = Vec<(Collection, Vec<u8>, Vec<u8>)>;

/// Reads a body of this format: no panic, ceilings hold, the same values however it is cut. The first two of
/// the bytes say where.
pub fn check(kind: Kind, content_type: &[u8], bytes: &[u8]) {
    let [first, second, body @ ..] = bytes else { return };
    let limits = Limits { value_bytes_max: 5000, total_bytes_max: 9000, depth_max: 20, ..Limits::default() };
    let read = |chunks: &mut dyn Iterator<Item = &[u8]>| read(kind, content_type, chunks, &limits);
    let whole = read(&mut std::iter::once(body));
    assert!(whole.0.len() <= body.len() + 10);
    let held: usize = whole.0.iter().map(|(_, name, value)| name.len() + value.len()).sum();
    assert!(held <= limits.total_bytes_max);
    let (size, ahead) = (usize::from(*first).max(1), usize::from(*second).min(body.len()));
    let (start, rest) = body.split_at(ahead);
    assert_eq!(read(&mut std::iter::once(start).chain(rest.chunks(size))), whole);
}

fn read(
    kind: Kind,
    content_type: &[u8],
    chunks: &mut dyn Iterator<Item = &[u8]>,
    limits: &Limits,
) -> (Taken, Outcome) {
    let mut taken = Taken::new();
    let mut sink = |collection, name: &[u8], value: &[u8]| {
        taken.push((collection, name.to_vec(), value.to_vec()));
    };
    let mut body = Body::new(kind, content_type, limits);
    chunks.for_each(|chunk| body.feed(chunk, &mut sink));
    let outcome = body.finish(&mut sink);
    (taken, outcome)
}
