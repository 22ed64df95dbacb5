//! §3: storing responses in caches.

use cache::policy::{Bypass, EdgeLifetime, ErrorAnswers, Lifetime, NotStored, Settings};

use crate::desk::{Desk, Origin, answer, controlled, request};

fn refused(first: exchange::Response) -> Option<NotStored> {
    Desk::new().get(&[], first).not_stored
}

#[test]
fn the_method_must_be_understood() {
    let mut desk = Desk::new();
    for method in ["POST", "PUT", "M-SEARCH", "OPTIONS"] {
        let seen = desk.send(request(method, "/", &[]), Origin::Answers(controlled("max-age=60")));
        assert_eq!(seen.bypass, Some(Bypass::Method), "{method}");
    }
    assert!(!desk.again(&[]).is_hit());
}

#[test]
fn an_answer_to_head_is_not_stored() {
    let mut desk = Desk::new();
    let seen = desk.send(request("HEAD", "/", &[]), Origin::Answers(controlled("max-age=60")));
    assert_eq!(seen.not_stored, Some(NotStored::Method));
    assert!(!desk.again(&[]).is_hit());
}

#[test]
fn the_status_must_be_final_and_whole() {
    for status in [103, 206] {
        let seen = Desk::new().get(&[], answer(status, &[("Cache-Control", "max-age=60")]));
        assert_eq!(seen.not_stored, Some(NotStored::Partial), "{status}");
    }
}

#[test]
fn any_final_status_with_a_lifetime_is_reused() {
    for status in [200, 201, 203, 204, 299, 300, 301, 302, 303, 307, 308, 404, 410, 414, 499, 500, 503, 599] {
        let first = answer(status, &[("Cache-Control", "max-age=60")]);
        assert!(Desk::new().is_reused(first), "{status}");
    }
}

#[test]
fn an_error_nobody_told_to_keep_is_not_stored() {
    for status in [404, 405, 410, 500, 503] {
        assert_eq!(refused(answer(status, &[("Last-Modified", "x")])), Some(NotStored::Error), "{status}");
    }
}

#[test]
fn an_error_that_a_stranger_can_provoke_is_stored_only_where_the_zone_says() {
    for status in [400, 403, 405, 413, 415, 416, 429, 431] {
        let first = || answer(status, &[("Cache-Control", "max-age=60")]);
        assert_eq!(refused(first()), Some(NotStored::Error), "{status}");
        let edge = vec![EdgeLifetime { statuses: status..=status, lifetime: Lifetime::Default(5) }];
        let settings = Settings { errors: ErrorAnswers::AsOriginSays, ..Settings::default() };
        assert!(Desk::with(settings).is_reused(first()), "{status}");
        let told = Settings { edge, ..Settings::default() };
        assert!(Desk::with(told).is_reused(answer(status, &[])), "{status}");
    }
}

#[test]
fn an_answer_that_names_no_lifetime_is_not_stored() {
    assert_eq!(refused(answer(200, &[])), Some(NotStored::NoLifetime));
    assert_eq!(refused(answer(200, &[("ETag", "\"a\"")])), Some(NotStored::NoLifetime));
    assert_eq!(refused(controlled("public")), Some(NotStored::NoLifetime));
}

#[test]
fn no_store_and_private_are_not_stored() {
    assert_eq!(refused(controlled("no-store, max-age=60")), Some(NotStored::NoStore));
    assert_eq!(refused(controlled("private, max-age=60")), Some(NotStored::Private));
    assert_eq!(refused(controlled("max-age=60, NO-STORE")), Some(NotStored::NoStore));
}

#[test]
fn the_zone_may_say_how_long_by_status() {
    let edge = vec![
        EdgeLifetime { statuses: 200..=299, lifetime: Lifetime::Always(60) },
        EdgeLifetime { statuses: 301..=301, lifetime: Lifetime::NotStored },
        EdgeLifetime { statuses: 404..=404, lifetime: Lifetime::Default(60) },
    ];
    let desk = || Desk::with(Settings { edge: edge.clone(), ..Settings::default() });
    assert!(desk().is_reused(answer(200, &[])));
    assert!(desk().is_reused(controlled("max-age=0")));
    assert!(desk().is_reused(controlled("no-cache")));
    assert!(!desk().is_reused(controlled("no-store")));
    assert!(!desk().is_reused(controlled("private")));
    assert!(desk().is_reused(answer(404, &[])));
    assert!(!desk().is_reused(answer(404, &[("Cache-Control", "max-age=0")])));
    let moved = answer(301, &[("Cache-Control", "max-age=60")]);
    assert_eq!(desk().get(&[], moved).not_stored, Some(NotStored::Zone));
}

#[test]
fn a_body_longer_than_the_zone_allows_is_not_stored() {
    let mut desk = Desk::with(Settings { object_bytes_max: 9, ..Settings::default() });
    assert_eq!(desk.get(&[], controlled("max-age=60")).not_stored, Some(NotStored::TooLarge));
}

#[test]
fn a_page_under_the_name_of_a_stylesheet_is_not_stored() {
    let page = answer(200, &[("Cache-Control", "max-age=60"), ("Content-Type", "text/html")]);
    let mut desk = Desk::new();
    let seen = desk.send(request("GET", "/account/x.css", &[]), Origin::Answers(page.clone()));
    assert_eq!(seen.not_stored, Some(NotStored::Deception));
    desk.settings.guards_extensions = false;
    let seen = desk.send(request("GET", "/account/x.css", &[]), Origin::Answers(page));
    assert_eq!(seen.not_stored, None);
}
