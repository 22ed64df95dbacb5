//! §7: security considerations: poisoning, sensitive information.

use cache::policy::Bypass;

use crate::desk::{Desk, Origin, controlled, request};

#[test]
fn strangers_do_not_tell_the_origin_another_host_or_path() {
    let mut desk = Desk::new();
    let hostile = [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Scheme", "http"),
        ("X-Original-URL", "/admin"),
        ("X-Rewrite-URL", "/admin"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("Forwarded", "host=evil.example"),
        ("X_Forwarded_Host", "evil.example"),
    ];
    let seen = desk.get(&hostile, controlled("max-age=60"));
    for (name, _) in hostile {
        assert_eq!(seen.asked(name), None, "{name}");
    }
}

#[test]
fn a_get_with_a_body_neither_uses_nor_fills_the_cache() {
    let mut desk = Desk::new();
    let mut fat = request("GET", "/", &[]);
    fat.body = exchange::BodySize::Length(5);
    let seen = desk.send(fat, Origin::Answers(controlled("max-age=60")));
    assert_eq!(seen.bypass, Some(Bypass::Body));
    assert!(!desk.again(&[]).is_hit());
}

#[test]
fn requests_with_the_zones_cookie_bypass() {
    let mut desk = Desk::new();
    desk.settings.bypass_cookies = vec![b"session"[..].into()];
    desk.get(&[], controlled("max-age=60"));
    let seen = desk.get(&[("Cookie", "a=1; session=2")], controlled("max-age=60"));
    assert_eq!(seen.bypass, Some(Bypass::Cookie));
    assert!(desk.again(&[("Cookie", "a=1")]).is_hit());
}
