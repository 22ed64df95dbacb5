//! What each function gives.

use rules::{Field, Function, Value};

use crate::request::Request;
use crate::{holds, problems, shown, value};

fn request() -> Request {
    Request::get("WWW.Example.org", "/foo/a/path?order=asc&country=GB&category=Foo&category=Bar")
        .header("client_id", "MTIzYWJj")
        .header("x-categories", "groceries,,diy,auto")
        .header("Timestamp", "1700000000")
        .bytes(Field::BodyRaw, r#"{"company":"cloudflare","ids":[123,{"id":-456}],"f":42.0}"#)
        .bytes(Field::RandomSeed, "0123456789")
        .int(Field::TimestampSec, 1_484_063_800)
}

#[test]
fn every_function_is_tried_here() {
    let here = include_str!("functions.rs");
    for row in Function::ALL {
        assert!(here.contains(&format!("{}(", row.name)), "{}", row.name);
    }
}

#[test]
fn case_and_length() {
    assert_eq!(shown("lower(http.host)", &request()), "www.example.org");
    assert_eq!(shown("upper(http.host)", &request()), "WWW.EXAMPLE.ORG");
    assert_eq!(value("len(http.host)", &request()), Some(Value::Int(15)));
    assert_eq!(value("len(http.request.headers.names)", &request()), Some(Value::Int(3)));
    assert_eq!(
        shown("lower(http.request.headers.names[*])", &request()),
        r#"["client_id", "x-categories", "timestamp"]"#
    );
}

#[test]
fn starts_and_ends() {
    assert!(holds(r#"starts_with(http.request.uri.path, "/foo")"#, &request()));
    assert!(!holds(r#"starts_with(http.request.uri.path, "/bar")"#, &request()));
    assert!(holds(
        r#"ends_with(http.request.uri.path, "path") and not ends_with(http.host, "x")"#,
        &request()
    ));
    // The second argument may be a value too.
    assert!(holds(r#"starts_with(http.request.uri, http.request.uri.path)"#, &request()));
    assert!(holds(r#"any(ends_with(http.request.headers.names[*], "stamp"))"#, &request()));
}

#[test]
fn any_of_and_all_of_answers() {
    assert!(holds(r#"any(http.request.uri.args["category"][*] == "Bar")"#, &request()));
    assert!(!holds(r#"all(http.request.uri.args["category"][*] == "Bar")"#, &request()));
}

#[test]
fn networks_of_addresses() {
    let v4 = Request::get("h", "/").ip("113.10.0.2");
    let v6 = Request::get("h", "/").ip("2001:0:130F::9C0:876A:130B");
    assert_eq!(shown("cidr(ip.src, 24, 24)", &v4), "113.10.0.0");
    assert_eq!(shown("cidr(ip.src, 24, 24)", &v6), "2001::");
    assert_eq!(shown("cidr6(ip.src, 24)", &v4), "113.10.0.2");
    assert_eq!(shown("cidr6(ip.src, 48)", &v6), "2001:0:130f::");
    assert!(holds("cidr(ip.src, 8, 8) == 113.0.0.0", &v4));
}

#[test]
fn concat_joins_strings_numbers_and_arrays() {
    assert_eq!(shown(r#"concat("String1", " ", "String", 2)"#, &request()), "String1 String2");
    assert_eq!(shown(r#"concat("a", http.request.headers["none"][0], "b")"#, &request()), "ab");
    assert_eq!(
        shown(r#"concat(http.request.headers["none"][0], http.request.headers["no"][0])"#, &request()),
        "(missing)"
    );
    let arrays = r#"concat(http.request.uri.args["category"], http.request.uri.args["order"])"#;
    assert_eq!(shown(arrays, &request()), r#"["Foo", "Bar", "asc"]"#);
}

#[test]
fn join_and_split_undo_each_other() {
    let split = |limit: u32| {
        shown(&format!(r#"split(http.request.headers["x-categories"][0], ",", {limit})"#), &request())
    };
    assert_eq!(split(64), r#"["groceries", "", "diy", "auto"]"#);
    assert_eq!(split(3), r#"["groceries", "", "diy,auto"]"#);
    assert_eq!(split(1), r#"["groceries,,diy,auto"]"#);
    let joined = r#"join(split(http.request.headers["x-categories"][0], ",", 128), "+")"#;
    assert_eq!(shown(joined, &request()), "groceries++diy+auto");
    assert_eq!(
        shown(r#"join(http.request.headers.names, ",")"#, &request()),
        "client_id,x-categories,Timestamp"
    );
}

#[test]
fn base64_both_ways() {
    assert!(holds(r#"any(decode_base64(http.request.headers["client_id"][*])[*] eq "123abc")"#, &request()));
    assert_eq!(shown(r#"decode_base64(http.host)"#, &request()), "(missing)");
    assert_eq!(shown(r#"encode_base64("hello world")"#, &request()), "aGVsbG8gd29ybGQ");
    assert_eq!(shown(r#"encode_base64("hello world", "p")"#, &request()), "aGVsbG8gd29ybGQ=");
    assert_eq!(shown(r#"encode_base64("\xfb\xff", "up")"#, &request()), "-_8=");
}

#[test]
fn digests() {
    // FIPS 180-2, appendix B.1.
    let text = r#"encode_base64(sha256("abc"))"#;
    assert_eq!(shown(text, &request()), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0");
    let id = shown("uuidv4(cf.random_seed)", &request());
    assert_eq!((id.len(), &id[14..15]), (36, "4"));
}

#[test]
fn keys_and_values_of_collections() {
    for (text, expected) in [
        (r#"has_key(http.request.headers, "client_id")"#, true),
        (r#"has_key(http.request.headers, "none")"#, false),
        (r#"has_key(http.request.headers, lower("TIMESTAMP"))"#, true),
        (r#"has_key(http.request.uri.args, http.request.uri.args.names[0])"#, true),
        (r#"has_key(http.request.headers, http.request.uri.args["none"][0])"#, false),
        (r#"has_value(http.request.uri.args.values, "GB")"#, true),
        (r#"has_value(http.request.headers["client_id"], "x")"#, false),
        (r#"has_value(http.request.headers["none"], "x")"#, false),
        (r#"has_value(cf.bot_management.detection_ids, 7)"#, false),
    ] {
        assert_eq!(holds(text, &request()), expected, "{text}");
    }
    let mut with_ids = request();
    with_ids.lists.insert(Field::DetectionIds, vec![3, 7]);
    assert!(holds("has_value(cf.bot_management.detection_ids, 7)", &with_ids));
    assert!(holds("any(cf.bot_management.detection_ids[*] eq 3)", &with_ids));
}

#[test]
fn json_by_paths() {
    for (text, expected) in [
        (r#"lookup_json_string(http.request.body.raw, "company")"#, "cloudflare"),
        (r#"lookup_json_integer(http.request.body.raw, "ids", 0)"#, "123"),
        (r#"lookup_json_integer(http.request.body.raw, "ids", 1, "id")"#, "-456"),
        (r#"lookup_json_integer(http.request.body.raw, "f")"#, "(missing)"),
        (r#"lookup_json_string(http.request.body.raw, "ids", 0)"#, "(missing)"),
        (r#"lookup_json_string(http.request.uri.path, "a")"#, "(missing)"),
    ] {
        assert_eq!(shown(text, &request()), expected, "{text}");
    }
}

#[test]
fn parts_of_strings() {
    let request = request().bytes(Field::BodyRaw, "asdfghjk");
    for (arguments, expected) in [
        ("2, 5", "dfg"),
        ("2", "dfghjk"),
        ("-2", "jk"),
        ("0, -2", "asdfgh"),
        ("5, 2", ""),
        ("100", ""),
        ("-100, 3", "asd"),
        ("-9223372036854775808, 9223372036854775807", "asdfghjk"),
    ] {
        assert_eq!(
            shown(&format!("substring(http.request.body.raw, {arguments})"), &request),
            expected,
            "{arguments}"
        );
    }
}

#[test]
fn url_decoding_with_options() {
    for (text, expected) in [
        (r#"url_decode("John%20Doe")"#, "John Doe"),
        (r#"url_decode("John+Doe")"#, "John Doe"),
        (r#"url_decode("%2520")"#, "%20"),
        (r#"url_decode("%2520", "r")"#, " "),
        (r#"url_decode("%u2601", "u")"#, "\u{2601}"),
        (r#"url_decode("plain")"#, "plain"),
    ] {
        assert_eq!(shown(text, &request()), expected, "{text}");
    }
    let hangul = Request::get("h", "/%ED%95%9C");
    assert!(holds(r#"url_decode(http.request.uri.path) matches "(?u)\p{Hangul}+""#, &hangul));
}

#[test]
fn bytes_and_arguments_removed() {
    assert_eq!(shown(r#"remove_bytes(http.host, "\x2e\x57")"#, &request()), "Exampleorg");
    assert_eq!(
        shown(r#"remove_query_args(http.request.uri.query, "category", "order")"#, &request()),
        "country=GB"
    );
    assert_eq!(
        shown(r#"remove_query_args(raw.http.request.uri.query, "none")"#, &request()),
        "order=asc&country=GB&category=Foo&category=Bar"
    );
}

#[test]
fn replacing_by_pattern() {
    for (text, expected) in [
        (r#"regex_replace(http.request.uri.path, "/path$", "/baz")"#, "/foo/a/baz"),
        (r#"regex_replace(http.request.uri.path, "^/y$", "/mumble")"#, "/foo/a/path"),
        (r#"regex_replace(http.request.uri.path, "^/foo/([^/]*)/(.*)$", "/bar/${2}/${1}")"#, "/bar/path/a"),
        (r#"regex_replace("\\", "\\\\", "a")"#, "a"),
    ] {
        assert_eq!(shown(text, &request()), expected, "{text}");
    }
}

#[test]
fn replacing_by_wildcard() {
    let of = |uri: &str, text: &str| shown(text, &Request::get("apps.example.com", uri));
    let full = r#"wildcard_replace(http.request.full_uri, "https://*.example.com/*/*", "https://example.com/${1}/${2}/${3}")"#;
    assert_eq!(
        of("/calendar/admin?expand=true", full),
        "https://example.com/apps/calendar/admin?expand=true"
    );
    assert_eq!(
        of("/calendar", r#"wildcard_replace(http.request.uri.path, "/*", "/apps/${1}")"#),
        "/apps/calendar"
    );
    let folding = r#"wildcard_replace(http.request.uri.path, "/apps/*", "/${1}")"#;
    assert_eq!(of("/Apps/Calendar", folding), "/Calendar");
    let strict = r#"wildcard_replace(http.request.uri.path, "/apps/*", "/${1}", "s")"#;
    assert_eq!(of("/Apps/calendar", strict), "/Apps/calendar");
    let middle = r#"wildcard_replace(http.request.uri.path, "/apps/*/login", "/${1}/login")"#;
    assert_eq!(of("/apps/calendar/login", middle), "/calendar/login");
}

#[test]
fn values_as_text() {
    assert_eq!(shown("to_string(http.request.timestamp.sec)", &request()), "1484063800");
    assert_eq!(shown("to_string(ssl)", &request()), "true");
    assert_eq!(shown("to_string(ip.src)", &request()), "192.0.2.1");
    assert_eq!(shown("to_string(cf.edge.server_ip)", &request()), "(missing)");
}

#[test]
fn tokens_with_a_code() {
    // HMAC-SHA256 of "/download/cat.jpg1484063787" under "mysecretkey", Base64, URL-encoded where it must be.
    let valid = "/download/cat.jpg?verify=1484063787-JcOQEFurDwNF66OcDJLopQxjsg3cB1KVO5%2BBFS9zZZ0%3D";
    let text = |ttl: u32| {
        format!(
            r#"is_timed_hmac_valid_v0("mysecretkey", http.request.uri, {ttl}, http.request.timestamp.sec, 8)"#
        )
    };
    let at = |uri: &str, now: i64| Request::get("h", uri).int(Field::TimestampSec, now);
    assert!(holds(&text(100), &at(valid, 1_484_063_787 + 100)));
    assert!(!holds(&text(100), &at(valid, 1_484_063_787 + 101)), "it has expired");
    let forged = valid.replace("cat", "dog");
    assert!(!holds(&text(100), &at(&forged, 1_484_063_787)));
    let safe = "/download/cat.jpg?verify=1484063787-JcOQEFurDwNF66OcDJLopQxjsg3cB1KVO5-BFS9zZZ0";
    let flagged =
        r#"is_timed_hmac_valid_v0("mysecretkey", http.request.uri, 100, http.request.timestamp.sec, 8, "s")"#;
    assert!(holds(flagged, &at(safe, 1_484_063_787)));
    for hostile in ["", "/", "-", "1484063787-", &"1".repeat(100), &format!("1484063787-{}", "A".repeat(43))]
    {
        assert!(!holds(&text(100), &at(hostile, 1_484_063_787)), "{hostile}");
    }
}

#[test]
fn rewriting_functions_stay_out_of_conditions() {
    for name in ["regex_replace", "wildcard_replace", "remove_query_args", "to_string", "uuidv4"] {
        let found = problems(&format!(r#"{name}(http.host, "a", "b") == "x""#));
        assert!(found[0].contains("may not be used in a condition"), "{found:?}");
    }
}

#[test]
fn arguments_are_checked() {
    for (text, part) in [
        ("lower() == \"x\"", "is given 0 arguments"),
        ("lower(http.host, \"a\") == \"x\"", "is given 2 arguments"),
        ("lower(ip.src) == \"x\"", "does not take `ip.src` of type Ip as argument 1"),
        ("any(ssl)", "it takes Array(Bool)"),
        ("len(http.request.headers) > 1", "does not take"),
        ("cidr(ip.src, 33, 64) == 10.0.0.0", "expected 1 to 32"),
        ("cidr6(ip.src, cf.threat_score) == ::1", "a literal is wanted"),
        ("any(concat(http.host, http.request.headers.names[*])[*] == \"x\")", "not the first"),
        ("any(concat(http.request.headers.names[*], 1, ip.src)[*] == \"x\")", "does not take Ip"),
        ("url_decode(http.host, \"x\") == \"x\"", "`x` is not a flag"),
        ("any(split(http.host, \"\", 3)[*] == \"x\")", "the separator is empty"),
        ("any(split(http.host, \",\", 129)[*] == \"x\")", "expected 1 to 128"),
        ("has_value(http.request.headers, \"x\")", "has_value"),
        ("has_value(http.request.headers.names, 1)", "has_value"),
        ("http.host(1)", "is a field and takes no arguments"),
        ("lower(http.request.headers.names) == \"x\"", "does not take"),
    ] {
        let found = problems(text);
        assert!(found.iter().any(|problem| problem.contains(part)), "{text}: {found:?}");
    }
}
