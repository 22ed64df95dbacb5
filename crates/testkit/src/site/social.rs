//! A social timeline: hot JSON, many images, ranges, conditional requests, early hints.
//!
//! | path | answer |
//! | --- | --- |
//! | `GET /` | HTML after 103 with `Link` |
//! | `GET /api/timeline?page=N` | JSON of some 4 KiB, weak ETag, `Vary`, two `Set-Cookie` |
//! | `GET /img/N.jpg` | a made-up image of N KiB: strong ETag, Last-Modified, ranges, conditions |
//! | `POST /api/like` | 204 |
//!
//! Called by end-to-end tests. Read next: [`super`].

use anyhow::Result;

use super::{Call, DATE, Gates, Range, Site, range_of};
use crate::digest::sha256_hex;
use crate::origin::{Answer, OriginSpec, Request};

const MODIFIED: &str = "Tue, 13 Oct 2026 08:30:00 GMT";
const LARGEST_KIB: u64 = 4096;

/// Starts the site `social.example`.
///
/// # Errors
/// When no socket can be had.
pub fn start() -> Result<Site> {
    let origin = OriginSpec::new().answering(answer)?;
    Ok(Site { hostname: "social.example", origin, calls: calls(), gates: Gates::default() })
}

fn answer(request: &Request) -> Answer {
    let answer = match (request.method.as_str(), request.path()) {
        ("GET" | "HEAD", "/") => Answer::ok("<!doctype html><title>Timeline</title>")
            .informational(
                103,
                &[("Link", "</app.css>; rel=preload; as=style"), ("Link", "</app.js>; rel=preload")],
            )
            .field("Content-Type", "text/html; charset=utf-8"),
        ("GET" | "HEAD", "/api/timeline") => timeline(request),
        ("POST", "/api/like") => Answer::new(204).field("X-Likes", "1"),
        ("GET" | "HEAD", path) => match path.strip_prefix("/img/").and_then(|name| name.strip_suffix(".jpg"))
        {
            Some(name) => image(request, name.parse::<u64>().unwrap_or(1).min(LARGEST_KIB)),
            None => Answer::new(404).part("{}").field("Content-Type", "application/json"),
        },
        _ => Answer::new(405).field("Allow", "GET, HEAD"),
    };
    answer.field("Date", DATE)
}

fn timeline(request: &Request) -> Answer {
    let page = request.parameter("page").unwrap_or("1");
    let posts: Vec<String> = (0..40)
        .map(|post| {
            format!(r#"{{"id":"{page}-{post}","text":"Überraschung {post}","img":"/img/{post}.jpg"}}"#)
        })
        .collect();
    let body = format!("{{\"posts\":[{}]}}", posts.join(","));
    let tag = format!("W/\"{}\"", sha256_hex(body.as_bytes()).get(..16).unwrap_or_default());
    let fields = |answer: Answer| {
        answer
            .field("ETag", tag.clone())
            .field("Vary", "Accept-Language, Cookie")
            .field("Cache-Control", "private, max-age=0, must-revalidate")
    };
    if matches_tag(request, &tag) {
        return fields(Answer::new(304));
    }
    fields(Answer::ok(body))
        .field("Content-Type", "application/json")
        .field("Set-Cookie", "seen=1; Path=/; Secure")
        .field("Set-Cookie", "theme=dark; Path=/; Max-Age=3600")
}

fn image(request: &Request, kib: u64) -> Answer {
    let length = kib * 1024;
    let tag = format!("\"img-{kib}\"");
    let fields = |answer: Answer| {
        answer
            .field("ETag", tag.clone())
            .field("Last-Modified", MODIFIED)
            .field("Accept-Ranges", "bytes")
            .field("Cache-Control", "public, max-age=31536000, immutable")
    };
    let unchanged = match request.fields.has("if-none-match") {
        true => matches_tag(request, &tag),
        false => request.fields.first("if-modified-since") == Some(MODIFIED),
    };
    if unchanged {
        return fields(Answer::new(304));
    }
    if request.fields.first("if-match").is_some_and(|wanted| wanted != tag && wanted != "*") {
        return fields(Answer::new(412));
    }
    // If-Range: the range counts for this very version only (RFC 9110 section 13.1.5).
    let range = match request.fields.first("if-range") {
        Some(version) if version != tag && version != MODIFIED => Range::Whole,
        _ => range_of(request.fields.first("range"), length),
    };
    match range {
        Range::Whole => fields(Answer::new(200).pattern(kib, 0, length)).field("Content-Type", "image/jpeg"),
        Range::Part(first, last) => fields(Answer::new(206).pattern(kib, first, last - first + 1))
            .field("Content-Type", "image/jpeg")
            .field("Content-Range", format!("bytes {first}-{last}/{length}")),
        Range::Unsatisfiable => {
            fields(Answer::new(416).part("")).field("Content-Range", format!("bytes */{length}"))
        }
    }
}

/// Weak comparison of If-None-Match (RFC 9110 section 13.1.2).
fn matches_tag(request: &Request, tag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let wanted = request.fields.all("if-none-match");
    wanted.iter().flat_map(|list| list.split(',')).any(|one| one.trim() == "*" || bare(one) == bare(tag))
}

fn calls() -> Vec<Call> {
    let image = |name: &str| Call::get(name, "/img/300.jpg");
    let mut calls = vec![
        Call::get("the page with early hints", "/").field("Accept", "text/html"),
        Call::new("the page's head alone", "HEAD", "/"),
        Call::get("the timeline", "/api/timeline?page=1")
            .field("Accept-Language", "de-DE,de;q=0.9")
            .field("Cookie", "session=abc; theme=dark; seen=1"),
        Call::get("a cookie and a query with odd letters", "/api/timeline?page=%C3%BC&&x=[1]&q='a'|b")
            .field("Cookie", "a=\"b c\"; d="),
        Call::get("the timeline again, changed", "/api/timeline?page=2").field("If-None-Match", "\"other\""),
        Call::get("any version will do", "/api/timeline?page=2").field("If-None-Match", "*").expecting(304),
        Call::new("a like", "POST", "/api/like").body("post=1").expecting(204),
        Call::new("a like in the wrong way", "PUT", "/api/like").body("post=1").expecting(405),
        Call::get("nothing there", "/favicon.ico").expecting(404),
        image("an image"),
        Call::new("an image's head alone", "HEAD", "/img/300.jpg"),
        image("an image not modified, by tag").field("If-None-Match", "\"x\", \"img-300\"").expecting(304),
        image("an image not modified, by date").field("If-Modified-Since", MODIFIED).expecting(304),
        image("an image of another version").field("If-Match", "\"old\"").expecting(412),
        image("the first bytes").field("Range", "bytes=0-99").expecting(206),
        image("bytes in the middle").field("Range", "bytes=100000-200000").expecting(206),
        image("the last bytes").field("Range", "bytes=-1000").expecting(206),
        image("all bytes from a place on").field("Range", "bytes=307000-").expecting(206),
        image("bytes beyond the end").field("Range", "bytes=307200-").expecting(416),
        image("a range of this version")
            .field("Range", "bytes=0-9")
            .field("If-Range", "\"img-300\"")
            .expecting(206),
        image("a range of another version").field("Range", "bytes=0-9").field("If-Range", "\"old\""),
    ];
    calls.extend(
        (1..=40).map(|kib| Call::get(&format!("image {kib} of the page"), format!("/img/{kib}.jpg"))),
    );
    calls
}
