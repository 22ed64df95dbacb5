//! §4.2.4: serving stale responses.

use cache::policy::Settings;

use crate::desk::{Desk, Origin, answer, request};

fn stale(control: &str, settings: Settings) -> Desk {
    let mut desk = Desk::with(settings);
    desk.get(&[], answer(200, &[("Cache-Control", control), ("ETag", "\"a\"")]));
    desk.wait_s(120);
    desk
}

fn served_when_down(control: &str, settings: Settings) -> bool {
    let seen = stale(control, settings).send(request("GET", "/", &[]), Origin::Down);
    seen.answer.status == 200
}

#[test]
fn nothing_stale_is_served_while_the_origin_answers() {
    for control in ["max-age=60", "s-maxage=60", "max-age=60, must-revalidate"] {
        let mut desk = stale(control, Settings::default());
        assert!(!desk.get(&[], answer(200, &[("Cache-Control", control)])).is_hit(), "{control}");
    }
}

#[test]
fn a_dead_origin_may_be_bridged_but_not_against_the_answers_word() {
    assert!(served_when_down("max-age=60", Settings::default()));
    for control in
        ["max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60", "max-age=60, no-cache"]
    {
        assert!(!served_when_down(control, Settings::default()), "{control}");
    }
    let none = Settings { stale_if_error_s: 0, ..Settings::default() };
    assert!(!served_when_down("max-age=60", none));
}

#[test]
fn always_online_bridges_for_as_long_as_it_is_kept_with_a_true_age() {
    let online = || Settings { always_online: true, stale_if_error_s: 0, ..Settings::default() };
    let mut desk = stale("s-maxage=60", online());
    desk.wait_s(1_000_000);
    let seen = desk.send(request("GET", "/", &[]), Origin::Down);
    assert_eq!((seen.answer.status, seen.value("Age")), (200, Some("1000120")));
    assert_eq!(seen.cache_status, "desk; fwd=stale; ttl=-1000060");
    assert!(!served_when_down("max-age=60, must-revalidate", online()));
}
