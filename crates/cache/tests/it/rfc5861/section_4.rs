//! §4: stale-if-error.

use cache::policy::Settings;

use crate::desk::{Desk, Origin, answer, request};

fn stale(control: &str, respects_request: bool) -> Desk {
    let settings = Settings { stale_if_error_s: 0, respects_request, ..Settings::default() };
    let mut desk = Desk::with(settings);
    desk.get(&[], answer(200, &[("Cache-Control", control), ("X-Answer", "old")]));
    desk.wait_s(15);
    desk
}

#[test]
fn a_failing_origin_is_bridged_within_the_time() {
    for status in [500, 502, 503, 504] {
        let seen = stale("max-age=10, stale-if-error=6", false).get(&[], answer(status, &[]));
        assert_eq!((seen.answer.status, seen.value("X-Answer")), (200, Some("old")), "{status}");
        let seen = stale("max-age=10, stale-if-error=5", false).get(&[], answer(status, &[]));
        assert_eq!(seen.answer.status, status);
    }
    let down = |control| stale(control, false).send(request("GET", "/", &[]), Origin::Down).answer.status;
    assert_eq!(down("max-age=10, stale-if-error=6"), 200);
    assert_eq!(down("max-age=10, stale-if-error=5"), 502);
}

#[test]
fn other_errors_are_passed() {
    for status in [400, 404, 501, 505] {
        let seen = stale("max-age=10, stale-if-error=60", false).get(&[], answer(status, &[]));
        assert_eq!(seen.answer.status, status);
    }
}

#[test]
fn a_request_may_ask_for_it_where_the_zone_respects_requests() {
    let fields = [("Cache-Control", "stale-if-error=60")];
    assert_eq!(stale("max-age=10", true).get(&fields, answer(503, &[])).answer.status, 200);
    assert_eq!(stale("max-age=10", false).get(&fields, answer(503, &[])).answer.status, 503);
    assert_eq!(stale("s-maxage=10", true).get(&fields, answer(503, &[])).answer.status, 503);
}

#[test]
fn an_answer_stale_from_the_start_is_kept_for_it() {
    let seen = stale("max-age=0, stale-if-error=60", false).get(&[], answer(503, &[]));
    assert_eq!(seen.answer.status, 200);
}
