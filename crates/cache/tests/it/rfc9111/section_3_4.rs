//! §3.4: parts are combined only when a strong validator shows that they are of one version.

use cache::policy::{FirstAnswer, SliceAnswer, Sliced, first_request, parse_range, read_first};
use exchange::Fields;

use crate::desk::answer;

fn sliced(validator: (&str, &str)) -> Option<Sliced> {
    let asked = parse_range(b"bytes=0-1").expect("it is a range");
    let (_, range) = first_request(&asked, 100).expect("it begins somewhere");
    let fields = [("Content-Range", "bytes 0-99/1000"), ("Date", "Sun, 06 Nov 1994 09:49:37 GMT"), validator];
    match read_first(range, 100, &answer(206, &fields), 0) {
        FirstAnswer::Sliced(sliced) => Some(sliced),
        FirstAnswer::Whole(_) | FirstAnswer::NotSliced | FirstAnswer::Other => None,
    }
}

#[test]
fn weak_validators_combine_nothing() {
    assert!(sliced(("ETag", "\"a\"")).is_some());
    assert!(sliced(("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")).is_some());
    assert!(sliced(("ETag", "W/\"a\"")).is_none());
    assert!(sliced(("ETag", "unquoted")).is_none());
    assert!(sliced(("Last-Modified", "Sun, 06 Nov 1994 09:49:30 GMT")).is_none());
}

#[test]
fn each_further_part_is_asked_for_on_condition_and_compared() {
    let sliced = sliced(("ETag", "\"a\"")).expect("it is strong");
    let mut fields = Fields::new();
    sliced.prepare(3, &mut fields);
    assert_eq!(fields.value(b"If-Match"), Some(&b"\"a\""[..]));
    let part = |tag| answer(206, &[("Content-Range", "bytes 300-399/1000"), ("ETag", tag)]);
    assert_eq!(sliced.read(3, &part("\"a\""), 0), SliceAnswer::Slice);
    assert_eq!(sliced.read(3, &part("\"b\""), 0), SliceAnswer::OtherVersion);
    assert_eq!(sliced.read(3, &answer(412, &[]), 0), SliceAnswer::OtherVersion);
}
