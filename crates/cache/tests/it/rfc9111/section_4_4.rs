//! §4.4: invalidating stored responses.

use cache::policy::invalidated;

use crate::desk::{Desk, Origin, answer, controlled, request};

fn survives(method: &str, answered: exchange::Response) -> bool {
    let mut desk = Desk::new();
    desk.get(&[], controlled("max-age=60"));
    desk.send(request(method, "/", &[]), Origin::Answers(answered));
    desk.again(&[]).is_hit()
}

#[test]
fn unsafe_methods_that_succeed_invalidate() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
        for status in [200, 201, 204, 303] {
            assert!(!survives(method, answer(status, &[])), "{method} {status}");
        }
        for status in [400, 404, 500] {
            assert!(survives(method, answer(status, &[])), "{method} {status}");
        }
    }
    for method in ["OPTIONS", "TRACE"] {
        assert!(survives(method, answer(200, &[])), "{method}");
    }
}

fn targets(field: (&str, &str)) -> Vec<String> {
    invalidated(&request("POST", "/a/b?c", &[]), &answer(201, &[field]))
        .iter()
        .map(|target| String::from_utf8_lossy(target).into_owned())
        .collect()
}

#[test]
fn locations_on_the_same_origin_are_invalidated_too() {
    for (reference, expected) in [
        ("/x?y", "/x?y"),
        ("http://example.org/x", "/x"),
        ("HTTP://EXAMPLE.org:80/x#f", "/x"),
        ("//example.org/x", "/x"),
        ("x", "/a/x"),
        ("http://example.org", "/"),
    ] {
        for name in ["Location", "Content-Location"] {
            assert_eq!(targets((name, reference)), ["/a/b?c", expected], "{name}: {reference}");
        }
    }
}

#[test]
fn locations_elsewhere_are_not() {
    for reference in [
        "http://example.com/x",
        "https://example.org/x",
        "http://example.org:8080/x",
        "http://user@example.org/x",
        "//example.com/x",
        "../x",
        "",
        "mailto:x",
    ] {
        assert_eq!(targets(("Location", reference)), ["/a/b?c"], "{reference}");
    }
}

#[test]
fn all_variants_are_invalidated() {
    let mut desk = Desk::new();
    let varied = || answer(200, &[("Cache-Control", "max-age=60"), ("Vary", "Foo")]);
    desk.get(&[("Foo", "1")], varied());
    desk.get(&[("Foo", "2")], varied());
    desk.send(request("POST", "/", &[("Foo", "1")]), Origin::Answers(answer(200, &[])));
    for value in ["1", "2"] {
        assert!(!desk.again(&[("Foo", value)]).is_hit(), "{value}");
    }
}
