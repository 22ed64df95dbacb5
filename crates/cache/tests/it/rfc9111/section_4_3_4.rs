//! §4.3.4: freshening stored responses with a 304.

use cache::policy::{
    Answered, Asked, FetchTimes, Metadata, Revalidated, Settings, StoredHead, Traits, answered,
};

use crate::desk::answer;

fn with_304(stored: &[(&str, &str)], renewed: &[(&str, &str)]) -> Answered {
    let mut kept = answer(200, stored);
    kept.fields.push(b"Cache-Control", b"max-age=60");
    let head = StoredHead::pack(&kept, |_| true).expect("it is small");
    let meta = Metadata {
        status: 200,
        traits: Traits::SLICED,
        body_bytes: Some(10),
        body_id: 7,
        ..Metadata::default()
    };
    let asked = Asked { may_store: true, ..Asked::default() };
    let stored = Revalidated { meta: &meta, head: &head, was_asked: true, is_purged_softly: false };
    answered(&asked, b"/", Some(stored), &answer(304, renewed), &Settings::default(), &FetchTimes::default())
}

fn is_renewed(stored: &[(&str, &str)], renewed: &[(&str, &str)]) -> bool {
    match with_304(stored, renewed) {
        Answered::Renewed(_) => true,
        Answered::AskAgain => false,
        other => panic!("{other:?}"),
    }
}

const OLD: (&str, &str) = ("Last-Modified", "Sun, 06 Nov 1994 07:00:00 GMT");
const NEW: (&str, &str) = ("Last-Modified", "Sun, 06 Nov 1994 08:00:00 GMT");

#[test]
fn a_304_about_another_version_renews_nothing() {
    assert!(is_renewed(&[("ETag", "\"a\"")], &[("ETag", "\"a\"")]));
    assert!(is_renewed(&[("ETag", "W/\"a\"")], &[("ETag", "W/\"a\"")]));
    assert!(!is_renewed(&[("ETag", "\"a\"")], &[("ETag", "\"b\"")]));
    assert!(is_renewed(&[OLD], &[OLD]));
    assert!(!is_renewed(&[OLD], &[NEW]));
}

#[test]
fn a_304_gives_what_is_stored_no_validator_that_was_not_its_own() {
    const STRONG: (&str, &str) = ("ETag", "\"a\"");
    const WEAK: (&str, &str) = ("ETag", "W/\"a\"");
    for (stored, said, tag, modified) in [
        (&[WEAK][..], &[STRONG][..], Some(WEAK.1), None),
        (&[STRONG], &[WEAK], Some(STRONG.1), None),
        (&[OLD], &[OLD, ("ETag", "\"new\"")], None, Some(OLD.1)),
        (&[WEAK, OLD], &[WEAK, NEW], Some(WEAK.1), Some(OLD.1)),
        (&[STRONG, OLD], &[NEW], Some(STRONG.1), Some(OLD.1)),
        // The same version by its strong tag: what else is said of it holds.
        (&[STRONG, OLD], &[STRONG, NEW], Some(STRONG.1), Some(NEW.1)),
    ] {
        let Answered::Renewed(renewed) = with_304(stored, said) else { panic!("{stored:?} {said:?}") };
        let found = renewed.head.validators();
        let expected = (tag.map(str::as_bytes), modified.map(str::as_bytes));
        assert_eq!((found.etag, found.last_modified), expected, "{stored:?} {said:?}");
    }
    assert!(!is_renewed(&[OLD], &[NEW, ("ETag", "\"new\"")]), "of another date");
}

#[test]
fn a_304_without_validators_is_about_what_was_asked() {
    assert!(is_renewed(&[("ETag", "\"a\"")], &[]));
    assert!(is_renewed(&[OLD], &[]));
}

#[test]
fn what_is_about_the_stored_body_stays() {
    let Answered::Renewed(renewed) = with_304(&[("ETag", "\"a\"")], &[("Age", "5")]) else {
        panic!("it is about the same version")
    };
    assert!(renewed.meta.traits.has(Traits::SLICED));
    assert_eq!((renewed.meta.body_bytes, renewed.meta.body_id), (Some(10), 7));
    assert_eq!(renewed.meta.initial_age_s, 5);
}

#[test]
fn a_304_that_nobody_asked_for_is_asked_again() {
    let asked = Asked { may_store: true, ..Asked::default() };
    let times = FetchTimes::default();
    let answered = answered(&asked, b"/", None, &answer(304, &[]), &Settings::default(), &times);
    assert_eq!(answered, Answered::AskAgain);
}
