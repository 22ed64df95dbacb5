//! What is stored, what is not, and what a visitor gets of it.

use super::*;

#[test]
fn the_second_visitor_is_answered_from_what_the_first_one_fetched() -> Result<()> {
    let origin = fresh()?;
    let node = before(&origin, "")?;
    let (first, second) = (get(&node, "/a")?, get(&node, "/a")?);
    assert_eq!((first.text().as_str(), second.text().as_str()), ("answer 0", "answer 0"));
    assert_eq!(said(&first), "rempart; fwd=uri-miss; fwd-status=200; ttl=60; stored");
    assert!(said(&second).starts_with("rempart; hit; ttl="), "{}", said(&second));
    assert_eq!(second.fields.first("content-length"), Some("8"));
    assert!(second.fields.first("age").is_some_and(|age| age.parse::<u32>().is_ok()));
    assert_ne!(second.fields.first("x-request-id"), first.fields.first("x-request-id"));
    assert_eq!(origin.counters().requests, 1);
    let line = node.wait_for_log(|line| line["cache"] == "hit")?;
    assert_eq!((&line["path"], line["origin"].is_null()), (&"/a".into(), true));
    assert!(line["cache_age"].is_u64());
    node.wait_for_log(|line| line["cache"] == "uri-miss" && line["origin"] == origin.url())?;
    node.wait_for_metric("rempart_cache_requests_total{result=\"hit\"}", 1.0)?;
    node.wait_for_metric("rempart_cache_requests_total{result=\"miss\"}", 1.0)?;
    node.finish_healthy()
}

#[test]
fn a_zone_without_a_cache_keeps_nothing_and_says_nothing() -> Result<()> {
    let origin = fresh()?;
    let node = start(&cleartext().zone("a", super::super::rig::zone(&origin, "")))?;
    let (first, second) = (get(&node, "/a")?, get(&node, "/a")?);
    assert_eq!((first.text().as_str(), second.text().as_str()), ("answer 0", "answer 1"));
    assert_eq!(said(&second), "nothing");
    assert!(node.wait_for_log(|line| line["path"] == "/a")?["cache"].is_null());
    node.finish_healthy()
}

#[test]
fn hits_are_the_same_over_http2() -> Result<()> {
    let body = "x".repeat(300_000);
    let origin = OriginSpec::new()
        .answering(move |_| Answer::ok(body.clone()).field("Cache-Control", "max-age=60"))?;
    let node = before(&origin, "")?;
    assert_eq!(get(&node, "/a")?.body.len(), 300_000);
    let visitor = super::super::rig::http2_visitor(&node)?;
    let second = visitor.fetch(HOST, "/a")?;
    assert!(is_hit(&second) && second.body == vec![b'x'; 300_000]);
    assert_eq!(origin.counters().requests, 1);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn what_the_origin_keeps_to_itself_is_not_stored() -> Result<()> {
    let origin = counting(|request, answer| match request.path() {
        "/no-store" => answer.field("Cache-Control", "no-store, max-age=60"),
        "/private" => answer.field("Cache-Control", "private, max-age=60"),
        "/cookie" => answer.field("Cache-Control", "max-age=60").field("Set-Cookie", "a=1"),
        "/error" => answer.status(400).field("Cache-Control", "max-age=60"),
        "/page.css" => answer.field("Cache-Control", "max-age=60").field("Content-Type", "text/html"),
        "/surrogate" => answer.field("Cache-Control", "max-age=60").field("Surrogate-Control", "no-store"),
        "/star" => answer.field("Cache-Control", "max-age=60").field("Vary", "*"),
        _ => answer,
    })?;
    let node = before(&origin, "")?;
    for (target, detail) in [
        ("/no-store", "no_store"),
        ("/private", "private"),
        ("/cookie", "set_cookie"),
        ("/error", "error"),
        ("/page.css", "deception"),
        ("/surrogate", "no_store"),
        ("/star", "vary"),
        ("/nothing-said", "no_lifetime"),
    ] {
        let (first, second) = (get(&node, target)?, get(&node, target)?);
        assert_ne!(first.text(), second.text(), "{target}");
        assert_eq!(said(&first), format!("rempart; fwd=uri-miss; detail={detail}"), "{target}");
        assert!(!first.fields.has("surrogate-control"), "that is for the cache alone");
    }
    assert_eq!(get(&node, "/cookie")?.fields.all("set-cookie"), ["a=1"]);
    node.finish_healthy()
}

#[test]
fn a_request_with_credentials_fetches_for_itself_unless_the_answer_is_public() -> Result<()> {
    let origin = counting(|request, answer| match request.path() {
        "/public" => answer.field("Cache-Control", "public, max-age=60"),
        _ => answer.field("Cache-Control", "max-age=60"),
    })?;
    let node = before(&origin, "")?;
    let signed = [("Authorization", "Basic YTpi")];
    assert_eq!(with(&node, "/own", &signed)?.text(), "answer 0");
    assert_eq!(with(&node, "/own", &signed)?.text(), "answer 1");
    assert_eq!(with(&node, "/public", &signed)?.text(), "answer 2");
    assert_eq!(get(&node, "/public")?.text(), "answer 2");
    node.finish_healthy()
}

#[test]
fn variants_are_stored_side_by_side() -> Result<()> {
    let origin = counting(|request, answer| {
        let language = request.fields.first("accept-language").unwrap_or("none").to_owned();
        answer.field("Cache-Control", "max-age=60").field("Vary", "Accept-Language").part(language)
    })?;
    let node = before(&origin, "")?;
    let ask = |language| with(&node, "/a", &[("Accept-Language", language)]);
    assert_eq!((ask("de")?.text(), ask("fr")?.text()), ("answer 0de".into(), "answer 1fr".into()));
    let (de, fr) = (ask("de")?, ask("fr")?);
    assert_eq!((de.text(), fr.text()), ("answer 0de".into(), "answer 1fr".into()));
    assert!(is_hit(&de) && is_hit(&fr), "{} {}", said(&de), said(&fr));
    assert_eq!(origin.counters().requests, 2);
    node.finish_healthy()
}

#[test]
fn ranges_are_cut_out_of_what_is_stored() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| {
        Answer::ok("0123456789").field("Cache-Control", "max-age=60").field("ETag", "\"a\"")
    })?;
    let node = before(&origin, "")?;
    get(&node, "/a")?;
    let part = with(&node, "/a", &[("Range", "bytes=2-4")])?;
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(part.fields.first("content-range"), Some("bytes 2-4/10"));
    let parts = with(&node, "/a", &[("Range", "bytes=0-0,-2")])?;
    let kind = parts.fields.first("content-type").context("a type")?.to_owned();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").context("several parts")?;
    let part = |range: &str, text: &str| {
        format!("--{boundary}\r\nContent-Range: bytes {range}/10\r\n\r\n{text}\r\n")
    };
    assert_eq!(parts.text(), format!("{}{}--{boundary}--\r\n", part("0-0", "0"), part("8-9", "89")));
    let outside = with(&node, "/a", &[("Range", "bytes=10-")])?;
    assert_eq!((outside.status, outside.fields.first("content-range")), (416, Some("bytes */10")));
    let other = with(&node, "/a", &[("Range", "bytes=2-4"), ("If-Range", "\"b\"")])?;
    assert_eq!((other.status, other.text().as_str()), (200, "0123456789"));
    assert_eq!(origin.counters().requests, 1);
    node.finish_healthy()
}

#[test]
fn a_range_of_a_large_file_fetches_the_slice_that_holds_it() -> Result<()> {
    const WHOLE: u64 = 1 << 30;
    let origin = OriginSpec::new().answering(|request| {
        let range = request.fields.first("range").and_then(|range| range.strip_prefix("bytes="));
        let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
            return Answer::new(500);
        };
        let (first, last): (u64, u64) = (first.parse().unwrap_or(0), last.parse().unwrap_or(0));
        Answer::new(206)
            .pattern(7, first, last - first + 1)
            .field("Content-Range", format!("bytes {first}-{last}/{WHOLE}"))
            .field("Cache-Control", "max-age=60")
            .field("ETag", "\"film\"")
    })?;
    let node = before(&origin, "")?;
    let slice = 1_u64 << 20;
    // Within one slice; over the border of two; the first again.
    for (first, last, fetched) in [
        (500 * slice + 5, 500 * slice + 9, 1),
        (501 * slice - 3, 501 * slice + 2, 2),
        (500 * slice + 1, 500 * slice + 3, 2),
    ] {
        let answer = with(&node, "/film", &[("Range", &format!("bytes={first}-{last}"))])?;
        let mut expected = vec![0; (last - first + 1) as usize];
        testkit::digest::pattern(7, first, &mut expected);
        assert_eq!((answer.status, answer.body == expected), (206, true), "{first} to {last}");
        assert_eq!(answer.fields.first("content-range"), Some(&*format!("bytes {first}-{last}/{WHOLE}")));
        assert_eq!(origin.counters().requests, fetched);
    }
    // Several parts, of which one lies in a slice that is not there yet; and whole slices are still hits.
    let parts = [(502 * slice, 502 * slice + 1), (500 * slice, 500 * slice + 4)];
    let ranges = parts.map(|(first, last)| format!("{first}-{last}")).join(", ");
    for word in ["rempart; fwd=partial; fwd-status=206; ttl=", "rempart; hit; ttl="] {
        let answer = with(&node, "/film", &[("Range", &format!("bytes={ranges}"))])?;
        assert!(said(&answer).starts_with(word), "{}", said(&answer));
        let kind = answer.fields.first("content-type").context("a type")?.to_owned();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").context("several parts")?;
        let mut expected = Vec::new();
        for (place, (first, last)) in parts.into_iter().enumerate() {
            let before = if place == 0 { "" } else { "\r\n" };
            let head = format!("{before}--{boundary}\r\nContent-Range: bytes {first}-{last}/{WHOLE}\r\n\r\n");
            expected.extend_from_slice(head.as_bytes());
            let start = expected.len();
            expected.resize(start + (last - first + 1) as usize, 0);
            testkit::digest::pattern(7, first, &mut expected[start..]);
        }
        expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        assert!(answer.status == 206 && answer.body == expected, "{:?}", answer.text());
    }
    let asked: Vec<String> =
        origin.requests().iter().filter_map(|it| Some(it.fields.first("range")?.to_owned())).collect();
    let of = |number: u64| format!("bytes={}-{}", number * slice, (number + 1) * slice - 1);
    assert_eq!(asked, [of(500), of(501), of(502)]);
    node.finish_healthy()
}

#[test]
fn conditions_are_answered_by_what_is_stored() -> Result<()> {
    let origin = OriginSpec::new()
        .answering(|_| Answer::ok("a").field("Cache-Control", "max-age=60").field("ETag", "\"a\""))?;
    let node = before(&origin, "")?;
    get(&node, "/a")?;
    let same = with(&node, "/a", &[("If-None-Match", "\"a\"")])?;
    assert_eq!((same.status, same.body.len(), is_hit(&same)), (304, 0, true));
    assert_eq!(with(&node, "/a", &[("If-None-Match", "\"b\"")])?.status, 200);
    let head = visitor(&node)?.ask("HEAD", "/a", HOST, &Fields::new(), b"")?;
    assert_eq!((head.status, head.fields.first("content-length"), head.body.len()), (200, Some("1"), 0));
    assert!(is_hit(&head));
    assert_eq!(origin.counters().requests, 1);
    node.finish_healthy()
}

#[test]
fn what_is_not_stored_of_an_answer_is_the_first_visitors() -> Result<()> {
    let origin = counting(|request, answer| {
        let control = match request.path() {
            "/private" => "max-age=60, private=\"Set-Cookie, X-Tok\"",
            _ => "max-age=60, no-cache=\"X-Tok\"",
        };
        answer.field("Cache-Control", control).field("Set-Cookie", "a=1").field("X-Tok", "1")
    })?;
    let node = before(&origin, "set_cookie = \"stripped\"")?;
    for target in ["/private", "/stripped"] {
        let (first, second) = (get(&node, target)?, get(&node, target)?);
        assert_eq!((first.fields.first("set-cookie"), first.fields.first("x-tok")), (Some("a=1"), Some("1")));
        assert!(
            is_hit(&second) && !second.fields.has("set-cookie") && !second.fields.has("x-tok"),
            "{target}"
        );
    }
    node.finish_healthy()
}

#[test]
fn a_page_that_is_not_stored_is_not_modified_for_who_has_it() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| {
        let answer = match request.fields.first("if-none-match") {
            Some("\"a\"") => Answer::new(304),
            _ => Answer::ok("page"),
        };
        answer.field("ETag", "\"a\"").field("Cache-Control", "private")
    })?;
    let node = before(&origin, "")?;
    get(&node, "/a")?;
    let same = with(&node, "/a", &[("If-None-Match", "\"a\"")])?;
    assert_eq!((same.status, same.body.len(), same.fields.first("etag")), (304, 0, Some("\"a\"")));
    assert_eq!(said(&same), "rempart; fwd=uri-miss; detail=partial");
    for sent in [&[("If-None-Match", "\"b\"")][..], &[]] {
        let other = with(&node, "/a", sent)?;
        assert_eq!((other.status, other.text().as_str()), (200, "page"));
    }
    node.finish_healthy()
}

#[test]
fn a_304_of_the_origin_renews_what_is_stored() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| {
        let answer = match request.fields.first("if-none-match") {
            Some("\"a\"") => Answer::new(304).field("X-Turn", "two").field("Cache-Control", "max-age=60"),
            _ => Answer::ok("body")
                .field("X-Turn", "one")
                .field("Cache-Control", "max-age=1")
                .field("Age", "9"),
        };
        answer.field("ETag", "\"a\"")
    })?;
    let node = before(&origin, "")?;
    assert_eq!(get(&node, "/a")?.fields.first("x-turn"), Some("one"));
    let renewed = get(&node, "/a")?;
    assert_eq!((renewed.status, renewed.text().as_str()), (200, "body"));
    assert_eq!(renewed.fields.first("x-turn"), Some("two"));
    assert_eq!(said(&renewed), "rempart; fwd=stale; fwd-status=304; ttl=60; stored");
    let hit = get(&node, "/a")?;
    assert!(is_hit(&hit) && hit.fields.first("x-turn") == Some("two"), "{}", said(&hit));
    assert_eq!(origin.counters().requests, 2);
    node.finish_healthy()
}

#[test]
fn an_unsafe_request_takes_away_what_it_has_changed() -> Result<()> {
    let origin = counting(|request, answer| match (request.method.as_str(), request.path()) {
        ("POST", "/fails") => answer.status(500),
        ("POST", _) => answer.field("Location", "/list"),
        _ => answer.field("Cache-Control", "max-age=60"),
    })?;
    let node = before(&origin, "")?;
    for target in ["/item", "/list", "/other"] {
        get(&node, target)?;
    }
    visitor(&node)?.ask("POST", "/fails", HOST, &Fields::new(), b"x")?;
    assert!(is_hit(&get(&node, "/item")?), "a failed request has changed nothing");
    let posted = visitor(&node)?.ask("POST", "/item", HOST, &Fields::new(), b"x")?;
    assert_eq!(said(&posted), "rempart; fwd=method; detail=method");
    assert!(
        !is_hit(&get(&node, "/item")?) && !is_hit(&get(&node, "/list")?) && is_hit(&get(&node, "/other")?)
    );
    node.finish_healthy()
}

#[test]
fn only_if_cached_asks_no_origin() -> Result<()> {
    let origin = fresh()?;
    let node = before(&origin, "respect_request = true")?;
    let only = [("Cache-Control", "only-if-cached")];
    let nothing = with(&node, "/a", &only)?;
    assert_eq!((nothing.status, super::super::rig::word(&nothing).as_str()), (504, "only_if_cached"));
    get(&node, "/a")?;
    assert!(is_hit(&with(&node, "/a", &only)?));
    assert_eq!(origin.counters().requests, 1);
    node.finish_healthy()
}

#[test]
fn the_zone_chooses_lifetimes_here_and_for_browsers() -> Result<()> {
    let origin = counting(|request, answer| match request.path() {
        "/missing" => answer.status(404),
        _ => answer.field("Cache-Control", "max-age=1, no-cache").field("Expires", "0"),
    })?;
    let lines = "browser_s = 30\n[[cache.lifetime]]\nstatus = 404\nseconds = 20\n\
                 [[cache.lifetime]]\nstatus = \"2xx\"\nseconds = 600\nmode = \"always\"\n";
    let node = before(&origin, lines)?;
    get(&node, "/a")?;
    let hit = get(&node, "/a")?;
    assert!(said(&hit).starts_with("rempart; hit; ttl=") && hit.text() == "answer 0", "{}", said(&hit));
    get(&node, "/missing")?;
    let missing = get(&node, "/missing")?;
    assert_eq!((missing.status, is_hit(&missing)), (404, true));
    assert_eq!(origin.counters().requests, 2);
    node.finish_healthy()
}

#[test]
fn browsers_are_told_by_status() -> Result<()> {
    let origin = counting(|request, answer| match request.path() {
        "/missing" => answer.status(404).field("Cache-Control", "max-age=20"),
        "/moved" => answer.status(301).field("Location", "/b").field("Cache-Control", "max-age=20"),
        "/passed" => answer.status(302).field("Location", "/b"),
        _ => answer.field("Cache-Control", "max-age=20"),
    })?;
    let lines = "browser_s = 30\n[[cache.lifetime]]\nstatus = [404, \"5xx\"]\nbrowser_s = 1\n\
                 [[cache.lifetime]]\nstatus = \"3xx\"\nbrowser_s = 7\n";
    let node = before(&origin, lines)?;
    for (target, told) in [("/a", 30), ("/missing", 1), ("/moved", 7), ("/passed", 7)] {
        for _ in 0..2 {
            let answer = get(&node, target)?;
            // From now on: a stored answer's age comes on top.
            let age: u64 = answer.fields.first("age").map_or(Ok(0), str::parse)?;
            let expected = format!("max-age={}", told + age);
            assert_eq!(answer.fields.first("cache-control"), Some(expected.as_str()), "{target}");
        }
    }
    assert_eq!(origin.counters().requests, 5, "no lifetime here was named: {:?}", origin.counters());
    node.finish_healthy()
}
