//! Keys: what is one, what is two, and what can be read back.

use proptest::prelude::*;

use super::*;
use crate::compress::Coding;

fn request(scheme: Scheme, authority: &str, target: &str) -> Request {
    let mut request = Request::default();
    request.scheme = scheme;
    request.set_method(b"GET");
    request.set_authority(authority.as_bytes());
    request.set_target(target.as_bytes());
    request
}

fn key_of(request: &Request, settings: &KeySettings, facts: &VisitorFacts) -> Key {
    Key::of(request, 1, settings, facts).expect("it is short")
}

fn key(target: &str, settings: &KeySettings) -> Key {
    key_of(&request(Scheme::Https, "example.org", target), settings, &VisitorFacts::default())
}

fn names(names: &[&str]) -> Vec<Box<[u8]>> {
    names.iter().map(|name| name.as_bytes().into()).collect()
}

#[test]
fn host_case_and_the_schemes_own_port_do_not_matter() {
    let plain = key("/", &KeySettings::default());
    let facts = VisitorFacts::default();
    for authority in ["EXAMPLE.org", "example.org:443"] {
        let r = request(Scheme::Https, authority, "/");
        assert_eq!(key_of(&r, &KeySettings::default(), &facts), plain, "{authority}");
    }
    for (scheme, authority) in
        [(Scheme::Https, "example.org:80"), (Scheme::Http, "example.org"), (Scheme::Https, "example.com")]
    {
        let r = request(scheme, authority, "/");
        assert_ne!(key_of(&r, &KeySettings::default(), &facts), plain, "{authority}");
    }
}

#[test]
fn path_and_query_count_as_sent() {
    let all = KeySettings::default();
    for (a, b) in
        [("/a", "/A"), ("/%61", "/a"), ("/a", "/a?"), ("/a?b&c", "/a?c&b"), ("/a/", "/a"), ("/a//", "/a/")]
    {
        assert_ne!(key(a, &all), key(b, &all), "{a} {b}");
    }
}

#[test]
fn zones_do_not_share() {
    let r = request(Scheme::Https, "example.org", "/");
    let other = Key::of(&r, 2, &KeySettings::default(), &VisitorFacts::default());
    assert_ne!(other, Some(key("/", &KeySettings::default())));
}

#[test]
fn queries_may_be_left_out_listed_or_sorted() {
    let spelt =
        |query| KeySettings { spelling: Spelling { query, sorts_query: false }, ..KeySettings::default() };
    let nothing = spelt(QueryKey::Nothing);
    assert_eq!(key("/a?b", &nothing), key("/a", &nothing));
    let only = spelt(QueryKey::Only(names(&["id"])));
    assert_eq!(key("/a?x=1&id=2", &only), key("/a?id=2&y", &only));
    assert_ne!(key("/a?id=2", &only), key("/a?id=3", &only));
    let but = spelt(QueryKey::AllBut(names(&["utm_*"])));
    assert_eq!(key("/a?utm_source=x&id=2", &but), key("/a?id=2", &but));
    assert_ne!(key("/a?utm=x", &but), key("/a", &but));
    let sorted = Spelling { sorts_query: true, ..Spelling::default() };
    let sorted = KeySettings { spelling: sorted, ..KeySettings::default() };
    assert_eq!(key("/a?b=1&a=2", &sorted), key("/a?a=2&b=1", &sorted));
    assert_ne!(key("/a?a=1&a=2", &sorted), key("/a?a=2&a=1", &sorted));
}

#[test]
fn headers_cookies_device_and_country_count_where_told() {
    let settings = KeySettings {
        headers: names(&["X-Tenant"]),
        cookies: names(&["plan"]),
        device: true,
        country: true,
        ..KeySettings::default()
    };
    let of = |header: &str, cookie: &str, device, country| {
        let mut r = request(Scheme::Https, "example.org", "/");
        r.fields.push(b"x-tenant", header.as_bytes());
        r.fields.push(b"Cookie", cookie.as_bytes());
        key_of(&r, &settings, &VisitorFacts { device, country })
    };
    let base = of("a", "x=1; plan=free", Some(Device::Mobile), Some(*b"DE"));
    assert_eq!(base, of("a", "plan=free; x=2", Some(Device::Mobile), Some(*b"DE")));
    assert_ne!(base, of("b", "plan=free", Some(Device::Mobile), Some(*b"DE")));
    assert_ne!(base, of("a", "plan=paid", Some(Device::Mobile), Some(*b"DE")));
    assert_ne!(base, of("a", "plan=free", Some(Device::Desktop), Some(*b"DE")));
    assert_ne!(base, of("a", "plan=free", Some(Device::Mobile), None));
}

#[test]
fn purges_find_host_and_target() {
    let spelling = Spelling { query: QueryKey::AllBut(names(&["utm"])), sorts_query: false };
    let settings = KeySettings { spelling, ..KeySettings::default() };
    let r = request(Scheme::Https, "Example.org:8443", "/A/b?c&utm=1");
    let key = key_of(&r, &settings, &VisitorFacts::default());
    assert_eq!((key.zone(), key.host(), key.target()), (1, &b"example.org"[..], &b"/A/b?c"[..]));
}

#[test]
fn variants_and_slices_share_host_and_target_only() {
    let base = key("/a", &KeySettings::default());
    let variant = base.with_variant(b"foo:1\n");
    let all = [
        base.clone(),
        variant.clone(),
        base.with_variant(b"foo:2\n"),
        base.with_slice(b"\"v1\"", 0),
        base.with_slice(b"\"v1\"", 1),
        base.with_slice(b"\"v2\"", 0),
        variant.with_slice(b"\"v1\"", 0),
        base.with_coding(Coding::Gzip, 1),
        base.with_coding(Coding::Gzip, 2),
        base.with_coding(Coding::Zstd, 1),
    ];
    for (place, one) in all.iter().enumerate() {
        assert_eq!((one.host(), one.target()), (base.host(), base.target()));
        assert!(all.iter().skip(place + 1).all(|other| other.rest() != one.rest()));
    }
    assert_eq!(variant.with_variant(b"foo:2\n"), base.with_variant(b"foo:2\n"));
}

#[test]
fn a_spelling_writes_a_url_as_keys_have_it() {
    let all = [
        Spelling::default(),
        Spelling { query: QueryKey::Nothing, sorts_query: false },
        Spelling { query: QueryKey::Only(names(&["b", "c*"])), sorts_query: true },
        Spelling { query: QueryKey::AllBut(names(&["b", "c*"])), sorts_query: true },
        Spelling { query: QueryKey::All, sorts_query: true },
        Spelling { query: QueryKey::All, sorts_query: false },
    ];
    for spelling in &all {
        let settings = KeySettings { spelling: spelling.clone(), ..KeySettings::default() };
        for target in ["/a", "/a?", "/a?b=1&a=2&cc=3", "/a?a&&b"] {
            assert_eq!(spelling.target(target.as_bytes()), key(target, &settings).target(), "{target}");
        }
    }
    let tags: std::collections::BTreeSet<_> = all.iter().map(Spelling::tag).collect();
    assert_eq!((tags.len(), all[0].tag(), all[5].tag()), (5, None, None));
}

#[test]
fn a_key_too_long_is_none() {
    let r = request(Scheme::Https, "example.org", &format!("/{}", "a".repeat(KEY_BYTES_MAX)));
    let made = Key::of(&r, 1, &KeySettings::default(), &VisitorFacts::default());
    assert_eq!(made, None);
}

#[test]
fn every_listed_field_is_looked_at() {
    for name in UNKEYED {
        assert!(is_unkeyed_forwarding(name, &KeySettings::default()), "{}", String::from_utf8_lossy(name));
    }
}

#[test]
fn strangers_name_no_other_host_path_or_method() {
    let none = KeySettings::default();
    for name in [
        "X-Forwarded-Host",
        "x_forwarded_prefix",
        "X-Original-URL",
        "X-Rewrite-Url",
        "Forwarded",
        "X_HTTP_Method_Override",
    ] {
        assert!(is_unkeyed_forwarding(name.as_bytes(), &none), "{name}");
    }
    for name in ["Accept", "X-Forwarded", "Host", "X-Requested-With"] {
        assert!(!is_unkeyed_forwarding(name.as_bytes(), &none), "{name}");
    }
    let keyed = KeySettings { headers: names(&["X-Forwarded-Host"]), ..KeySettings::default() };
    assert!(!is_unkeyed_forwarding(b"x-forwarded-host", &keyed));
}

proptest! {
    #[test]
    fn different_requests_have_different_keys(
        a in ("[ab.]{0,4}", "/[ab/%]{0,4}", "[ab&=]{0,4}"),
        b in ("[ab.]{0,4}", "/[ab/%]{0,4}", "[ab&=]{0,4}"),
    ) {
        let build = |(host, path, query): &(String, String, String)| {
            key_of(
                &request(Scheme::Https, host, &format!("{path}?{query}")),
                &KeySettings::default(),
                &VisitorFacts::default(),
            )
        };
        prop_assert_eq!(build(&a) == build(&b), a == b);
    }
}

#[test]
fn scopes_tell_keys_apart_and_keep_what_purges_find() {
    let base = key("/a", &KeySettings::default());
    let one = base.clone().scoped(b"pool-1").expect("it is short");
    let two = base.clone().scoped(b"pool-2").expect("it is short");
    assert!(one != two && one != base && one.with_variant(b"v") != two.with_variant(b"v"));
    assert_eq!((one.host(), one.target()), (base.host(), base.target()));
    assert_eq!(
        one.with_variant(b"v").with_variant(b"w"),
        one.with_variant(b"w"),
        "a variant is put behind it"
    );
    assert!(base.scoped(&[b'a'; KEY_BYTES_MAX]).is_none());
}
