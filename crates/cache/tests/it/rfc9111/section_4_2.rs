//! §4.2: freshness, and dates as caches must read them.

use crate::desk::{Desk, answer, controlled};

#[test]
fn fresh_while_the_lifetime_is_longer_than_the_age() {
    let mut desk = Desk::new();
    desk.get(&[], controlled("max-age=60"));
    desk.wait_s(59);
    assert!(desk.again(&[]).is_hit());
    desk.wait_s(1);
    assert!(!desk.get(&[], controlled("max-age=60")).is_hit());
}

fn expires(text: &str) -> bool {
    let mut desk = Desk::new();
    let date = desk.date(0);
    desk.is_reused(answer(200, &[("Date", &date), ("Expires", text)]))
}

#[test]
fn dates_are_read_in_any_case() {
    for text in [
        "Thu, 18 Aug 2050 02:01:18 GMT",
        "thu, 18 aug 2050 02:01:18 gmt",
        "Thursday, 18-Aug-44 02:01:18 GMT",
        "Thu Aug 18 02:01:18 2050",
    ] {
        assert!(expires(text), "{text}");
    }
}

#[test]
fn a_date_that_cannot_be_read_is_in_the_past() {
    for text in [
        "0",
        "-1",
        "",
        "Thu, 18 Aug 2050 02:01:18",
        "Thu, 18 Aug 2050 02:01:18 AEST",
        "Thu, 18 Aug 2050 02:01:18 UTC",
        "Thu, 18 Aug 2050 2:01:18 GMT",
        "Thu, 18 Aug 50 02:01:18 GMT",
        "Thu 18 Aug 2050 02:01:18 GMT",
        "Thu, 18-Aug-2050 02:01:18 GMT",
        "Thu, 18  Aug  2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02.01.18 GMT",
    ] {
        assert!(!expires(text), "{text}");
    }
}
