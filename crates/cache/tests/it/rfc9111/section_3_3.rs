//! §3.3: incomplete responses are not stored as whole ones; parts are stored as slices only.

use cache::policy::{Asked, FetchTimes, NotStored, Settings};
use cache::policy::{
    ByteRange, FirstAnswer, Sliced, Storing, Traits, first_request, judge, parse_range, read_first,
    whole_head,
};

use crate::desk::{Desk, answer};

fn first_slice() -> (exchange::Response, ByteRange) {
    let asked = parse_range(b"bytes=2500-2600").expect("it is a range");
    let (number, range) = first_request(&asked, 1000).expect("it begins somewhere");
    assert_eq!((number, range), (2, ByteRange { first: 2000, last: 2999 }));
    let fields = [
        ("Content-Range", "bytes 2000-2999/10000000000"),
        ("ETag", "\"v1\""),
        ("Cache-Control", "max-age=60"),
    ];
    (answer(206, &fields), range)
}

#[test]
fn a_part_is_not_stored_as_a_whole() {
    let mut desk = Desk::new();
    let seen = desk.get(&[], first_slice().0);
    assert_eq!(seen.not_stored, Some(NotStored::Partial));
}

#[test]
fn a_range_of_a_large_object_stores_a_head_and_a_slice() {
    let (answer, range) = first_slice();
    let FirstAnswer::Sliced(sliced) = read_first(range, 1000, &answer, 0) else { panic!("it can be sliced") };
    assert_eq!(sliced.whole, 10_000_000_000);
    let head = whole_head(&answer, sliced.whole);
    assert_eq!((head.status, head.fields.value(b"content-range")), (200, None));
    let settings = Settings { object_bytes_max: u64::MAX, ..Settings::default() };
    let asked = Asked { may_store: true, ..Asked::default() };
    let Storing::Store(stored) = judge(&asked, b"/", &head, &settings, &FetchTimes::default()) else {
        panic!("it is storable")
    };
    assert_eq!(stored.meta.body_bytes, Some(10_000_000_000));
    assert!(!stored.meta.traits.has(Traits::SLICED), "whoever stores it says so");
    needs_two(&sliced);
}

fn needs_two(sliced: &Sliced) {
    let needed: Vec<_> = sliced.needed(ByteRange { first: 2500, last: 3100 }).collect();
    assert_eq!(needed, [(2, ByteRange { first: 500, last: 999 }), (3, ByteRange { first: 0, last: 100 })]);
}
