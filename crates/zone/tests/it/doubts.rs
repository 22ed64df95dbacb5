//! What is in order by itself and cannot be meant: told as a warning, with what to do.

use crate::{listed, one, problems_of, zone_text};

/// The warnings of a zone with one pool and whatever is given.
fn warned(rest: &str) -> String {
    listed(&one(&zone_text("z", "[\"a.example\"]", rest)).warnings)
}

fn route(conditions: &str) -> String {
    format!("[[route]]\n{conditions}\nanswer = {{ body = \"x\" }}\n")
}

#[test]
fn a_route_behind_one_that_takes_all_its_requests_is_told() {
    for (first, second) in [
        ("path_prefix = \"/\"", "path = \"/a\""),
        ("path_prefix = \"/a\"", "path_prefix = \"/a/b\""),
        ("path_prefix = \"/a\"", "path_prefix = \"/a/\""),
        ("path_prefix = \"/a/\"", "path = \"/a/b\"\nmethod = \"GET\""),
        ("method = [\"GET\", \"HEAD\"]", "path = \"/a\"\nmethod = \"HEAD\""),
        ("header = { name = \"X-A\" }", "header = [{ name = \"x-a\", equals = \"1\" }, { name = \"x-b\" }]"),
        ("path = \"/a\"", "path = \"/a\""),
    ] {
        let told = warned(&(route(first) + &route(second)));
        assert!(
            told.contains(":1: warning: no request comes to this route: the route `#1`"),
            "{second}: {told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    for (first, second) in [
        ("path = \"/a\"", "path_prefix = \"/a\""),
        ("path_prefix = \"/a/\"", "path_prefix = \"/a\""),
        ("path_prefix = \"/a\"", "path_prefix = \"/ab\""),
        ("path_prefix = \"/a\"\nmethod = \"POST\"", "path_prefix = \"/a\""),
        ("path_prefix = \"/a\"\nheader = { name = \"x-a\" }", "path = \"/a/b\""),
        ("header = { name = \"x-a\", equals = \"1\" }", "header = { name = \"x-a\" }"),
    ] {
        assert_eq!(warned(&(route(first) + &route(second))), "", "{second}");
    }
}

#[test]
fn what_would_do_nothing_or_too_much_is_told() {
    for (rest, wanted) in [
        ("[http]\nmax_body_bytes = 0\n", "0 refuses every request with a body"),
        (
            "[[pool]]\nname = \"b\"\norigins = [{ url = \"http://h\" }]\ntls = { sni = \"h.example\" }\n",
            "no origin of the pool is reached over TLS",
        ),
        (
            "[[rule]]\nname = \"r\"\nexpression = 'not ip.src.country in {\"AT\"}'\naction = \"block\"\n",
            "the node does not know `ip.src.country`",
        ),
        (
            "[[rate_limit]]\nname = \"r\"\nrequests = 1\nperiod_s = 10\ncharacteristics = [\"asn\"]\n",
            "the node does not know `ip.src.asnum`",
        ),
        (
            "[[rate_limit]]\nname = \"r\"\nrequests = 1\nperiod_s = 10\n\
             expression = 'ip.src.continent eq \"EU\"'\n",
            "the node does not know `ip.src.continent`",
        ),
    ] {
        let told = warned(rest);
        assert!(told.contains("warning: ") && told.contains(wanted), "{rest}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let over_tls =
        "[[pool]]\nname = \"b\"\norigins = [{ url = \"https://h\" }]\ntls = { sni = \"h.example\" }\n";
    assert_eq!(warned(over_tls), "");
}

#[test]
fn a_header_named_in_capitals_is_refused_since_no_request_has_it() {
    let told = problems_of(&zone_text(
        "z",
        "[\"a.example\"]",
        "[[rule]]\nname = \"r\"\nexpression = 'http.request.headers[\"X-Key\"][0] eq \"x\"'\n\
         action = \"block\"\n",
    ));
    assert!(told.contains("5:15: names of headers are in lower case here"), "{told}");
    assert!(told.contains("[\"x-key\"]"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}
