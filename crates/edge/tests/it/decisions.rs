//! What a request is decided by: the target as it came, the visitor behind trusted proxies.

use std::sync::mpsc::sync_channel;

use testkit::fields::Fields;
use testkit::gate::PATIENCE;
use testkit::visitor::Response;

use super::rig::{CERTIFIED, HOST, Rig};

const TRUSTING: &str = "[node]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";

/// A zone that answers by itself, and is called by these names too.
fn zone(names: &[&str], more: &str) -> String {
    let names: Vec<&str> = [HOST].iter().chain(names).copied().collect();
    format!(
        "name = \"a\"\nhostnames = {names:?}\n{more}\n[[route]]\npath_prefix = \"/\"\n\
         answer = {{ status = 200, body = \"answer\" }}\n"
    )
}

fn ask(rig: &Rig, target: &str, fields: &[(&str, &str)]) -> Response {
    rig.visitor().ask("GET", target, HOST, &Fields::of(fields), b"").unwrap()
}

#[test]
fn a_redirect_to_https_names_what_the_visitor_asked_for_and_not_what_rules_made_of_it() {
    let rewrite = "[[rule]]\nphase = \"http_request_transform\"\nexpression = \"true\"\n\
                   action = \"rewrite\"\nrewrite = { path = \"/inner\", query = \"key=secret\" }\n";
    let rig = Rig::of("", &zone(&[], &format!("{CERTIFIED}redirect_https = true\n{rewrite}")));
    let redirect = ask(&rig, "/shown?a=1", &[]);
    assert_eq!(redirect.fields.first("location"), Some("https://a.example/shown?a=1"));
    rig.finish();
}

#[test]
fn a_candidate_is_compared_by_the_visitor_and_the_scheme_behind_trusted_proxies() {
    let rule = "[[rule]]\nexpression = \"ip.src eq 203.0.113.7\"\naction = \"block\"\n";
    let rig = Rig::of(TRUSTING, &zone(&[], &format!("{CERTIFIED}redirect_https = true\n{rule}")));
    let (to, facts) = sync_channel(10);
    rig.node.copy_facts(Some(to));
    for (visitor, scheme, status, decision) in [
        ("203.0.113.7", "https", 403, "a: refused by a rule, 403"),
        ("192.0.2.1", "https", 200, "a: answer 200, 6 bytes"),
        ("192.0.2.1", "http", 308, "a: redirect to https, 308"),
    ] {
        let sent = [("X-Forwarded-For", visitor), ("X-Forwarded-Proto", scheme)];
        assert_eq!(ask(&rig, "/", &sent).status, status, "{visitor} over {scheme}");
        let facts = facts.recv_timeout(PATIENCE).unwrap();
        assert_eq!(rig.node.decide(&facts), decision, "{visitor} over {scheme}: as it was served");
        assert_eq!(facts.visitor.ip().to_string(), visitor);
    }
    rig.finish();
}
