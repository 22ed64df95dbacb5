//! A forum: logins, cookies, forms, redirects, uploads.
//!
//! | path | answer |
//! | --- | --- |
//! | `GET /` | HTML; greets the owner of a valid `session` cookie |
//! | `POST /login` | form `user`, `password=secret`: 302 with `Set-Cookie`; else 401 |
//! | `POST /logout` | 303, cookies expired |
//! | `POST /thread` | with a session: 303 to an absolute `Location`; else 403 |
//! | `GET /old/…` | 301 to a relative `Location` |
//! | `POST /upload` | multipart: JSON with the hash of the whole body and of each part |
//!
//! A session is the HMAC of its user's name, so the site keeps nothing. Called by end-to-end tests. Read
//! next: [`super`].

use anyhow::Result;

use super::{Call, DATE, Gates, Site};
use crate::digest::{hex, hmac_sha256, pattern, sha256_hex};
use crate::origin::record::parameter;
use crate::origin::{Answer, OriginSpec, Request};

const BOUNDARY: &str = "----testkit-7d8f3a";

/// Starts the site `forum.example`.
///
/// # Errors
/// When no socket can be had.
pub fn start() -> Result<Site> {
    let origin = OriginSpec::new().answering(answer)?;
    Ok(Site { hostname: "forum.example", origin, calls: calls(), gates: Gates::default() })
}

/// The value of the `session` cookie of a user.
pub fn session_of(user: &str) -> String {
    format!("{user}.{}", hex(&hmac_sha256(b"the forum's key", user.as_bytes())))
}

fn user_of(request: &Request) -> Option<String> {
    let cookies = request.fields.all("cookie").join("; ");
    let session =
        cookies.split("; ").filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == "session");
    let (user, _) = session?.1.split_once('.')?;
    (session?.1 == session_of(user)).then(|| user.to_owned())
}

fn answer(request: &Request) -> Answer {
    let form = String::from_utf8_lossy(&request.body).into_owned();
    let html = |status: u16, text: String| {
        Answer::new(status).part(text).field("Content-Type", "text/html; charset=utf-8")
    };
    let answer = match (request.method.as_str(), request.path()) {
        ("GET", "/") => match user_of(request) {
            Some(user) => html(200, format!("<p>Hello {user}")).field("Cache-Control", "private"),
            None => html(200, "<form action=/login method=post>".to_owned()).field("Vary", "Cookie"),
        },
        ("POST", "/login") => match (parameter(&form, "user"), parameter(&form, "password")) {
            (Some(user), Some("secret")) => html(302, String::new())
                .field("Location", "/")
                .field("Set-Cookie", format!("session={}; Path=/; HttpOnly; SameSite=Lax", session_of(user)))
                .field("Set-Cookie", "flash=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
            _ => html(401, "<p>Wrong password".to_owned()).field("WWW-Authenticate", "Form realm=\"forum\""),
        },
        ("POST", "/logout") => html(303, String::new())
            .field("Location", "/")
            .field("Set-Cookie", "session=; Path=/; Max-Age=0")
            .field("Clear-Site-Data", "\"cookies\""),
        ("POST", "/thread") => match (user_of(request), parameter(&form, "title")) {
            (Some(_), Some(title)) => {
                let number = sha256_hex(title.as_bytes()).get(..8).unwrap_or_default().to_owned();
                html(303, String::new())
                    .field("Location", format!("https://{}/thread/{number}", request.authority))
            }
            _ => html(403, "<p>Who are you?".to_owned()),
        },
        ("POST", "/upload") => upload(request),
        ("GET", path) if path.starts_with("/old/") => {
            html(301, String::new()).field("Location", path.replacen("/old/", "../thread/", 1))
        }
        _ => html(404, "<p>Nothing here".to_owned()),
    };
    answer.field("Server", "forumd/1.0").field("X-Frame-Options", "SAMEORIGIN").field("Date", DATE)
}

fn upload(request: &Request) -> Answer {
    let kind = request.fields.first("content-type").unwrap_or_default();
    let Some(boundary) = kind.strip_prefix("multipart/form-data; boundary=") else {
        return Answer::new(415).part("multipart only");
    };
    // Parts are listed as far as the recorded beginning of the body goes; the hash covers all of it.
    let delimiter = format!("--{boundary}").into_bytes();
    let mut hashes = Vec::new();
    let mut rest = request.body.as_slice();
    while let Some(at) = find(rest, &delimiter) {
        let (part, next) = rest.split_at(at);
        if !hashes.is_empty() || at > 0 {
            hashes.push(format!("\"{}\"", sha256_hex(part)));
        }
        rest = next.get(delimiter.len()..).unwrap_or_default();
    }
    Answer::new(201)
        .part(format!(
            "{{\"length\":{},\"sha256\":\"{}\",\"parts\":[{}]}}",
            request.body_length,
            request.body_sha256,
            hashes.join(",")
        ))
        .field("Content-Type", "application/json")
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn multipart(length: usize) -> Vec<u8> {
    let mut file = vec![0; length];
    pattern(11, 0, &mut file);
    let mut body = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nMein Foto\r\n--{BOUNDARY}\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"föto.jpg\"\r\n\
         Content-Type: image/jpeg\r\n\r\n"
    )
    .into_bytes();
    body.extend(file);
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").bytes());
    body
}

fn calls() -> Vec<Call> {
    let form = |name: &str, target: &str, body: &str| {
        Call::new(name, "POST", target).field("Content-Type", "application/x-www-form-urlencoded").body(body)
    };
    let cookie = format!("theme=dark; session={}; x=1", session_of("ada"));
    let upload = |name: &str, length: usize| {
        Call::new(name, "POST", "/upload")
            .field("Content-Type", format!("multipart/form-data; boundary={BOUNDARY}"))
            .body(multipart(length))
            .expecting(201)
    };
    vec![
        Call::get("the page for strangers", "/"),
        form("a login", "/login", "user=ada&password=secret").expecting(302),
        form("a wrong login", "/login", "user=ada&password=guess").expecting(401),
        Call::get("the page for its user", "/").field("Cookie", cookie.clone()),
        Call::get("the page with a forged session", "/").field("Cookie", "session=ada.00"),
        form("a new thread", "/thread", "title=Hallo+Welt&text=%26")
            .field("Cookie", cookie.clone())
            .expecting(303),
        form("a new thread by nobody", "/thread", "title=Hallo").expecting(403),
        form("a logout", "/logout", "").field("Cookie", cookie).expecting(303),
        Call::get("an old address", "/old/12?page=2").expecting(301),
        Call::get("nothing there", "/wp-login.php").expecting(404),
        upload("a small upload", 100),
        upload("an upload of 3 MiB", 3 << 20),
        upload("a chunked upload", 300_000).chunked(),
        upload("an upload that waits for 100", 200_000).field("Expect", "100-continue"),
        Call::new("an upload of the wrong kind", "POST", "/upload")
            .field("Content-Type", "text/plain")
            .body("x")
            .expecting(415),
    ]
}
