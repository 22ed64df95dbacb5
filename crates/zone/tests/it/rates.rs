//! `[[rate_limit]]` and `[[concurrency_limit]]`: what compiles, and where every mistake is said to be.

use ::rules::ActionKind;
use zone::{Counting, Kind, Snapshot, difference};

use super::{one, problems_of, zone_text};

fn with(rest: &str) -> String {
    zone_text("z", "[\"a.example\"]", rest)
}

fn limit(name: &str, lines: &str) -> String {
    format!("[[rate_limit]]\nname = '{name}'\nrequests = 10\nperiod_s = 60\n{lines}\n")
}

fn limits(snapshot: &Snapshot) -> &zone::RateLimits {
    snapshot.zones()[0].rate_limits.as_deref().expect("the zone has limits")
}

#[test]
fn a_limit_says_what_is_written_and_what_is_usual() {
    let compiled =
        one(&with(&[limit("usual", ""), limit("own", "mitigation_s = 600\naction = 'log'")].concat()));
    let [usual, own] = &limits(&compiled).rates[..] else { panic!("two limits") };
    assert_eq!((&*usual.name, usual.place, usual.id.len()), ("usual", 1, 32));
    assert_eq!((usual.requests, usual.period_ms, usual.mitigation_ms), (10, 60_000, 0));
    assert_eq!((usual.counting, usual.by.len(), usual.about), (Counting::Same, 1, None));
    assert_eq!(usual.over.action, ActionKind::Block);
    assert!(usual.has_headers && usual.over.answer.is_none());
    assert_eq!((own.place, own.mitigation_ms, own.over.action), (2, 600_000, ActionKind::Log));
    assert!(!own.has_headers, "a trial is not told");
}

#[test]
fn limits_that_are_all_off_are_none() {
    assert!(one(&with("")).zones()[0].rate_limits.is_none());
    assert!(one(&with(&limit("off", "enabled = false"))).zones()[0].rate_limits.is_none());
    let wrong = problems_of(&with(&limit("off", "enabled = false\nexpression = 'htp.host eq \"a\"'")));
    assert!(wrong.contains("did you mean `http.host`?"), "{wrong}");
}

#[test]
fn every_characteristic_there_is_compiles() {
    for characteristic in [
        "address",
        "ip.src",
        "asn",
        "country",
        "host",
        "ja4",
        "path",
        "argument:user",
        "cookie:a\"b",
        "header:X-Api-Key",
        "len(http.request.uri.query)",
        "http.request.headers[\"x\"]",
        "ssl",
    ] {
        let lines = format!("characteristics = ['address', '{characteristic}']");
        assert_eq!(limits(&one(&with(&limit("l", &lines)))).rates[0].by.len(), 2, "{characteristic}");
    }
    assert!(limits(&one(&with(&limit("l", "characteristics = []")))).rates[0].by.is_empty());
}

#[test]
fn what_counts_is_known_from_the_expression() {
    let counting = |lines: &str| limits(&one(&with(&limit("l", lines)))).rates[0].counting;
    assert!(matches!(counting("counting_expression = 'ssl'"), Counting::Request(_)));
    assert!(matches!(counting("counting_expression = 'http.response.code eq 404'"), Counting::Response(_)));
    assert!(matches!(counting("count_statuses = '4xx'"), Counting::SameByResponse(_)));
    let both = "count_statuses = [401, '500-502']\ncounting_expression = 'ssl'";
    assert!(matches!(counting(both), Counting::Response(_)));
}

#[test]
fn ids_follow_the_name_and_kinds_do_not_share_them() {
    let gate = "[[concurrency_limit]]\nname = 'l'\nrequests = 5\n";
    let first = one(&with(&[limit("l", ""), gate.to_owned()].concat()));
    let moved = one(&with(&[limit("other", ""), limit("l", "")].concat()));
    assert_eq!(limits(&first).rates[0].id, limits(&moved).rates[1].id);
    assert_ne!(limits(&first).rates[0].id, limits(&first).gates[0].id);
}

#[test]
fn every_mistake_of_every_limit_has_its_place_in_the_file() {
    let told = problems_of(&with(
        "[[rate_limit]]\nname = 'a'\nexpression = 'ssl and\thttp.hots eq \"x\"'\nrequests = 1000001\n\
         period_s = 0\nmitigation_s = 86401\n\
         characteristics = ['adress', 'header:', 'htp.host', 'heder:x', 'header:X Y']\n\
         counting_expression = 'http.respons.code eq 1'\ncount_statuses = [999]\naction = 'redirect'\n\
         [[rate_limit]]\nname = 'a'\nthreshold = 4\n\
         [[rate_limit]]\nrequests = 4\nperiod_s = 1\nwhen = 'ssl'\naction = 'log'\nblock = { body = 'no' }\n\
         [[rate_limit]]\nname = 'b'\nrequests = 4\nperiod_s = 1\ncount_statuses = []\nipv4_prefix = 33\n\
         [[concurrency_limit]]\nname = 'c'\nrequests = 65536\n\
         [[concurrency_limit]]\nname = 'c'\nrequests = 0\n",
    ));
    for line in [
        "zones/a.toml:5:23: there is no field `http.hots` (did you mean `http.host`?)",
        "zones/a.toml:6:12: this must be an integer from 1 to 1000000",
        "zones/a.toml:7:12: this must be an integer from 1 to 86400",
        "zones/a.toml:8:16: this must be an integer from 0 to 86400",
        "zones/a.toml:9:20: `adress` tells no requests apart (did you mean \"address\"?)",
        "zones/a.toml:9:30: `header:` names nothing (write header:NAME)",
        "zones/a.toml:9:42: there is no field `htp.host` (did you mean `http.host`?)",
        "zones/a.toml:9:53: `heder:x` tells no requests apart",
        "zones/a.toml:9:64: `X Y` is no header name (RFC 9110 §5.1) (write it as in header:X-Api-Key)",
        "zones/a.toml:10:24: there is no field `http.respons.code` (did you mean `http.response.code`?)",
        "zones/a.toml:11:19: `999` is not a status",
        "zones/a.toml:12:10: `redirect` is not an action of limits",
        "zones/a.toml:14:8: another limit is named `a` too",
        "zones/a.toml:15:1: unknown setting `threshold` in [[rate_limit]] (did you mean `requests`?)",
        "zones/a.toml:16:1: [[rate_limit]] needs `name`",
        "zones/a.toml:19:1: unknown setting `when` in [[rate_limit]] (did you mean `expression`?)",
        "zones/a.toml:21:9: `block` has no meaning for the action `log`",
        "zones/a.toml:26:18: this must name 1 to 64 statuses or ranges",
        "zones/a.toml:27:15: this must be an integer from 1 to 32",
        "zones/a.toml:30:12: at most 65535 where requests are told apart",
        "zones/a.toml:32:8: another limit is named `c` too",
        "zones/a.toml:33:12: this must be an integer from 1 to 1000000",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

#[test]
fn there_are_so_many_limits_and_characteristics_and_no_more() {
    let many: String = (0..101).map(|number| limit(&format!("l{number}"), "")).collect();
    let told = problems_of(&with(&many));
    assert!(told.contains("more than 100 rate limits in one zone"), "{told}");
    let gates: String =
        (0..17).map(|n| format!("[[concurrency_limit]]\nname = 'c{n}'\nrequests = 5\n")).collect();
    let told = problems_of(&with(&gates));
    assert!(told.contains("more than 16 concurrency limits in one zone"), "{told}");
    let nine = format!("characteristics = [{}]", "'path',".repeat(9));
    let told = problems_of(&with(&limit("l", &nine)));
    assert!(told.contains("more than 8 characteristics"), "{told}");
}

#[test]
fn a_long_counting_expression_may_be_narrowed_by_statuses() {
    let condition = "http.request.uri.path eq \"/a\" or ".repeat(122) + "ssl";
    assert!((4_000..4_096).contains(&condition.len()), "{}", condition.len());
    let lines = format!("counting_expression = '{condition}'\ncount_statuses = [401, 403]");
    assert!(matches!(limits(&one(&with(&limit("l", &lines)))).rates[0].counting, Counting::Response(_)));
}

#[test]
fn a_difference_names_limits_by_what_they_allow() {
    let before = one(&with(&[limit("same", ""), limit("login", "")].concat()));
    let gate = "[[concurrency_limit]]\nname = 'tabs'\nrequests = 5\n";
    let after = one(&with(&[limit("login", "action = 'log'"), limit("same", ""), gate.to_owned()].concat()));
    let found = difference(&before, &after);
    let texts = |things: &[zone::Thing]| things.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&found.lost), ["rate limit z: login (10 in 60 s, block)"]);
    assert_eq!(
        texts(&found.gained),
        ["rate limit z: login (10 in 60 s, log)", "concurrency limit z: tabs (5 at once, block)"]
    );
    assert_eq!((found.counts(Kind::RateLimit), found.counts(Kind::ConcurrencyLimit)), ((2, 2), (0, 1)));
}
