//! Fuzzes ranges: no panic, whatever is planned lies within the whole and overlaps nothing, a multipart
//! body is as long as it says, slices cover exactly what is asked. Read next:
//! `crates/cache/src/policy/range.rs`.
#![no_main]

use cache::policy::{
    ByteRange, FirstAnswer, Multipart, RangePlan, first_request, parse_content_range, parse_range,
    plan_range, read_first,
};
use exchange::Response;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, u32, &[u8])| {
    let (whole, slice_bytes, bytes) = input;
    if let Some((range, Some(all))) = parse_content_range(bytes) {
        assert!(range.first <= range.last && range.last < all);
    }
    let Some(asked) = parse_range(bytes) else { return };
    let check = |range: &ByteRange| assert!(range.first <= range.last && range.last < whole);
    match plan_range(&asked, whole) {
        RangePlan::Multiple(ranges) => {
            ranges.iter().for_each(check);
            let mut sorted = ranges.clone();
            sorted.sort_by_key(|range| range.first);
            assert!(sorted.windows(2).all(|pair| pair[0].last < pair[1].first));
            let multipart = Multipart::of(&ranges, whole, Some(b"text/plain"), u128::from(whole));
            let texts: usize = multipart.parts.iter().map(|(text, _)| text.len()).sum();
            let inside: u64 = ranges.iter().map(ByteRange::bytes_len).sum();
            assert_eq!(multipart.bytes_len(), (texts + multipart.end.len()) as u64 + inside);
        }
        RangePlan::Single(range) => check(&range),
        RangePlan::Whole | RangePlan::Unsatisfiable => {}
    }
    let slice_bytes = u64::from(slice_bytes).max(1);
    let Some((number, range)) = first_request(&asked, slice_bytes) else { return };
    assert_eq!((range.first, range.bytes_len()), (number * slice_bytes, slice_bytes));
    let mut answer = Response { status: 206, ..Response::default() };
    if range.first >= whole {
        return;
    }
    let sent = ByteRange { last: range.last.min(whole - 1), ..range };
    answer.fields.push(b"Content-Range", &sent.content_range(Some(whole)));
    answer.fields.push(b"ETag", b"\"a\"");
    let sliced = match read_first(range, slice_bytes, &answer, 0) {
        FirstAnswer::Sliced(sliced) => sliced,
        FirstAnswer::Whole(bytes) => return assert_eq!(bytes, whole),
        FirstAnswer::NotSliced | FirstAnswer::Other => panic!("it can be sliced"),
    };
    assert_eq!(sliced.range_of(number), Some(sent));
    let mut at = sent.first;
    for (number, within) in sliced.needed(sent) {
        let slice = sliced.range_of(number).expect("it lies within");
        assert_eq!(slice.first + within.first, at);
        at = slice.first + within.last + 1;
    }
    assert_eq!(at, sent.last + 1);
});
