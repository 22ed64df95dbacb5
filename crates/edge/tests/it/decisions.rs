//! What a request is decided by: the target as it came, the visitor behind trusted proxies, the zone before.

use std::sync::mpsc::sync_channel;

use testkit::fields::Fields;
use testkit::gate::PATIENCE;
use testkit::visitor::Response;

use super::rig::{CERTIFIED, HOST, Rig, snapshot};

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

#[test]
fn what_a_request_spends_on_the_zone_before_opens_no_phase() {
    for (mode, phase) in [("open", "shield"), ("closed", "shield"), ("open", "route"), ("closed", "route")] {
        let modes = format!("[fail_modes]\n{phase} = \"{mode}\"\n");
        let before = format!("{phase}-fuel.fault.invalid");
        let rig = Rig::of("", &zone(&[&before], &modes));
        assert_eq!(ask(&rig, "/", &[]).status, 403, "a spent budget is the request's own doing");
        // The zone in force breaks by what was published, and the one before by what the request asks of it.
        rig.node.swap(snapshot(2, &zone(&[&format!("{phase}-error.fault.invalid")], &modes)));
        let refused = ask(&rig, "/", &[]);
        assert_eq!(refused.status, 403, "{phase}, {mode}");
        assert!(refused.text().contains("too_costly"), "{phase}, {mode}: {}", refused.text());
        rig.finish();
    }
}

const QUARANTINES: &str = "rempart_quarantines_total{phase=\"route\"}";

#[test]
fn a_closed_phase_that_requests_break_from_many_networks_refuses_them_and_nobody_else() {
    let rig = Rig::of(TRUSTING, &zone(&[], ""));
    let breaking = |network: u32| {
        let address = format!("192.0.{network}.1");
        ask(&rig, "/", &[("X-Forwarded-For", &address), ("Rempart-Fault", "route=error")]).status
    };
    for network in 1..=8 {
        assert_eq!(breaking(network), 500);
    }
    for network in 1..=20 {
        let address = format!("198.51.{network}.1");
        let status = ask(&rig, "/", &[("X-Forwarded-For", &address)]).status;
        assert_eq!(status, 200, "eight visitors have closed the zone for {address}");
        assert_eq!(breaking(network), 500);
    }
    rig.wait_for_metric("rempart_contained_total{phase=\"route\",kind=\"data\"}", 28);
    assert_eq!(rig.metric(QUARANTINES), 1, "told once in its time");
    let told = rig.event("phase_quarantined");
    assert!(told.contains("\"mode\":\"closed\"") && told.contains("\"left_out\":false"), "{told}");
    rig.finish();
}

#[test]
fn a_phase_that_breaks_for_many_networks_is_left_to_the_zone_before_while_that_can_answer() {
    let rig = Rig::of(TRUSTING, &zone(&[], ""));
    rig.node.swap(snapshot(2, &zone(&["route-panic.fault.invalid"], "")));
    for network in 1..=20 {
        assert_eq!(ask(&rig, "/", &[("X-Forwarded-For", &format!("192.0.{network}.1"))]).status, 200);
    }
    let panics = "rempart_contained_total{phase=\"route\",kind=\"panic\"}";
    rig.wait_for_metric(panics, 8);
    // What the zone before cannot answer is asked of the zone in force, and is refused alone.
    let sent = [("X-Forwarded-For", "192.0.2.1"), ("Rempart-Fault", "route=error")];
    assert_eq!(ask(&rig, "/", &sent).status, 500);
    rig.wait_for_metric(&panics.replace("panic", "data"), 1);
    assert_eq!(rig.metric(panics), 8, "the zone in force is left out");
    assert_eq!(ask(&rig, "/", &[]).status, 200);
    rig.finish();
}

#[test]
fn what_the_zone_before_cannot_answer_is_asked_of_the_zone_in_force() {
    let rig = Rig::of(TRUSTING, &zone(&["route-error.fault.invalid"], ""));
    rig.node.swap(snapshot(2, &zone(&[], "")));
    for network in 1..=8 {
        let sent = [("X-Forwarded-For", &*format!("192.0.{network}.1")), ("Rempart-Fault", "route=error")];
        assert_eq!(ask(&rig, "/", &sent).status, 500);
    }
    rig.wait_for_metric(QUARANTINES, 1);
    assert_eq!(ask(&rig, "/", &[]).status, 200, "only the zone before is broken");
    rig.finish();
}
