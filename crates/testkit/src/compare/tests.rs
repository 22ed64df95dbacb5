//! The driver against the sites themselves, and against a site that answers otherwise.

use super::*;
use crate::origin::{Answer, OriginSpec};
use crate::site::{Gates, chat, forum, objects, social, start_all};

#[test]
fn every_site_answers_the_same_over_both_protocols() {
    for site in start_all().unwrap() {
        let ways = [Way::Http1(site.address()), Way::Http2(site.address())];
        let found = differences(&site, &ways).unwrap();
        assert_eq!(found, [], "{}", site.hostname);
        assert_eq!(site.origin.faults(), Vec::<String>::new());
    }
}

#[test]
fn every_kind_of_site_has_the_calls_it_stands_for() {
    for (site, name) in [
        (chat::start().unwrap(), "a token stream with gaps"),
        (social::start().unwrap(), "bytes beyond the end"),
        (forum::start().unwrap(), "an upload of 3 MiB"),
        (objects::start().unwrap(), "an upload of 32 MiB"),
    ] {
        let outcome = perform(&site, site.call(name).unwrap(), &Way::Http1(site.address())).unwrap();
        assert_eq!(outcome.request.unwrap().authority, site.hostname);
    }
}

/// A site whose answer through "the node" (recognised by its port) is not the one it gives directly.
fn differing(direct: Answer, through: Answer) -> Vec<String> {
    let node = OriginSpec::new().answering(move |_| through.clone()).unwrap();
    let site = Site {
        hostname: "a.example",
        origin: OriginSpec::new().answering(move |_| direct.clone()).unwrap(),
        calls: vec![Call::get("a page", "/")],
        gates: Gates::default(),
    };
    let found = differences(&site, &[Way::Http1(node.address())]).unwrap();
    found.into_iter().map(|one| one.what).collect()
}

#[test]
fn a_changed_field_body_trailer_or_order_is_found() {
    let page = || Answer::ok("x").field("ETag", "\"1\"").field("X-B", "2");
    assert_eq!(differing(page(), page()), [""; 0]);
    assert_eq!(differing(page(), page().field("X-C", "3")), ["response field x-c"]);
    assert_eq!(differing(page(), page().part("y")), ["body length", "body", "response field content-length"]);
    let swapped = Answer::ok("x").field("X-B", "2").field("ETag", "\"1\"");
    assert_eq!(differing(page(), swapped), ["response fields' order or case"]);
    let lower = Answer::ok("x").field("etag", "\"1\"").field("X-B", "2");
    assert_eq!(differing(page(), lower), ["response fields' order or case"]);
    assert_eq!(differing(page().trailer("X-T", "1"), page().chunked()), ["trailer field x-t"]);
    assert_eq!(differing(page().informational(103, &[("Link", "a")]), page()), ["informational answers"]);
}

#[test]
fn what_a_node_may_add_is_no_difference_but_may_not_replace() {
    let page = || Answer::ok("x").field("Date", "then");
    assert_eq!(differing(page(), page().field("Via", "1.1 x").field("X-Request-Id", "1")), [""; 0]);
    assert_eq!(differing(page(), Answer::ok("x").field("Date", "now")), ["response field date"]);
    assert_eq!(differing(page(), Answer::ok("x")), ["response field date"]);
}

#[test]
fn a_request_that_arrives_changed_is_found() {
    let request = |fields: &[(&str, &str)]| {
        let site = OriginSpec::new().answering(|_| Answer::ok("")).unwrap();
        let mut visitor = crate::visitor::Visitor::tcp(site.address()).unwrap();
        visitor.ask("GET", "/", "a", &Fields::of(fields), b"").unwrap();
        site.last_request().unwrap()
    };
    let what = |direct: &[(&str, &str)], through: &[(&str, &str)]| -> Vec<String> {
        compared_requests(&request(direct), &request(through), true).into_iter().map(|one| one.0).collect()
    };
    assert_eq!(what(&[("Accept", "a")], &[("Accept", "a"), ("X-Forwarded-For", "::1")]), [""; 0]);
    assert_eq!(what(&[("Accept", "a")], &[]), ["request field accept"]);
    assert_eq!(
        what(&[("X-A", "1"), ("X-B", "2")], &[("X-B", "2"), ("X-A", "1")]),
        ["request fields' order or case"]
    );
}

#[test]
fn a_status_the_call_must_not_have_is_the_sites_fault() {
    let site = social::start().unwrap();
    let call = Call::get("an image", "/img/1.jpg").expecting(206);
    assert!(differences_of(&site, &call, &[]).is_err());
}

#[test]
fn a_node_that_breaks_the_exchange_is_a_difference() {
    let found = differing(Answer::ok("abc"), Answer::ok("abc").chunked().broken_here());
    assert_eq!(found, ["the exchange"]);
}
