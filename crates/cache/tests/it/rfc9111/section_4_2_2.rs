//! §4.2.2: calculating heuristic freshness, where the zone turns it on.

use cache::policy::{ErrorAnswers, Heuristic, Settings};

use crate::desk::{Desk, answer};

fn guessing() -> Desk {
    Desk::with(Settings { heuristic: Some(Heuristic::default()), ..Settings::default() })
}

fn modified(desk: &Desk, status: u16, more: &[(&str, &str)]) -> exchange::Response {
    let (date, changed) = (desk.date(0), desk.date(-1000));
    let mut first = answer(status, &[("Date", &date), ("Last-Modified", &changed)]);
    for (name, value) in more {
        first.fields.push(name.as_bytes(), value.as_bytes());
    }
    first
}

#[test]
fn nothing_is_guessed_unless_the_zone_says_so() {
    let mut desk = Desk::new();
    let first = modified(&desk, 200, &[]);
    assert!(!desk.is_reused(first));
}

#[test]
fn a_tenth_of_the_time_since_the_last_change() {
    for status in [200, 203, 204, 300, 301, 308] {
        let mut desk = guessing();
        let first = modified(&desk, status, &[]);
        assert!(desk.is_reused(first), "{status}");
        assert!(desk.is_heuristic());
        desk.wait_s(99);
        assert!(desk.again(&[]).is_hit(), "{status}");
        desk.wait_s(1);
        assert!(!desk.again(&[]).is_hit(), "{status}");
    }
}

#[test]
fn other_statuses_are_not_guessed_about_unless_public() {
    for status in [201, 202, 302, 303, 307, 299] {
        let mut desk = guessing();
        let first = modified(&desk, status, &[]);
        assert!(!desk.is_reused(first), "{status}");
        let mut desk = guessing();
        let first = modified(&desk, status, &[("Cache-Control", "public")]);
        assert!(desk.is_reused(first), "{status}");
    }
}

#[test]
fn errors_are_guessed_about_only_where_the_zone_takes_the_origins_word_for_them() {
    let mut desk = guessing();
    let first = modified(&desk, 404, &[]);
    assert!(!desk.is_reused(first));
    desk.settings.errors = ErrorAnswers::AsOriginSays;
    let first = modified(&desk, 404, &[]);
    assert!(desk.is_reused(first));
}

#[test]
fn what_names_a_lifetime_is_not_guessed_about() {
    for value in ["max-age=0", "max-age=x", "no-cache", "s-maxage=0"] {
        let mut desk = guessing();
        let first = modified(&desk, 200, &[("Cache-Control", value)]);
        assert!(!desk.is_reused(first), "{value}");
    }
}
