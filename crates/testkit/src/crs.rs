//! The regression cases of OWASP CRS: read from their YAML and made into requests, and what their origin
//! answers.
//!
//! Found by the environment variable `REMPART_CRS`; no test of the product fails for want of them. Whether a
//! verdict is right is the tests' own. Called by the tests of `seclang` and of the program. Read next:
//! [`read`].

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use saphyr::{LoadableYamlNode, Scalar, Yaml};

/// The folder of CRS (`rules/`, `crs-setup.conf.example`, `tests/`), or none with a line that says what did
/// not run.
pub fn folder() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the data of CRS is found through the environment")]
    let folder = std::env::var("REMPART_CRS").ok().map(PathBuf::from);
    if folder.is_none() {
        eprintln!("REMPART_CRS is unset: the cases of OWASP CRS did not run");
    }
    folder
}

/// A request as it goes over the wire, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The first word of its first line.
    pub method: Vec<u8>,
    /// The second.
    pub target: Vec<u8>,
    /// The third; `HTTP/0.9` where there is none.
    pub version: Vec<u8>,
    /// Names and values, in order.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// What a server reads of its body, chunks decoded.
    pub body: Vec<u8>,
}

impl Request {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.as_slice())
    }
}

/// The answer of the cases' origin.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// `920100-4`.
    pub id: String,
    /// Its requests, in order.
    pub stages: Vec<Stage>,
}

/// A request with what its log must show.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The request, as a server reads it.
    pub request: Request,
    /// The request's bytes.
    pub bytes: Vec<u8>,
    /// Rules that must be in the log.
    pub expect_ids: Vec<u64>,
    /// Rules that must not.
    pub no_expect_ids: Vec<u64>,
    /// What the log must show.
    pub match_regex: Option<String>,
    /// What it must not.
    pub no_match_regex: Option<String>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Whether there is no answer at all.
    pub expect_error: bool,
}

/// Reads every case below a folder of CRS, in the order of their files.
///
/// # Errors
/// When a file of cases cannot be read, or is none.
pub fn read(crs: &Path) -> Result<Vec<Case>> {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(crs.join("tests/regression/tests"))? {
        for file in std::fs::read_dir(folder?.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let documents = Yaml::load_from_str(&text).with_context(|| file.display().to_string())?;
        for document in &documents {
            let rule = field(document, "rule_id").map(text_of).unwrap_or_default();
            for test in list(field(document, "tests")) {
                let number = field(test, "test_id").map(text_of).unwrap_or_default();
                let id = format!("{rule}-{number}");
                let stages: Result<_> = list(field(test, "stages")).map(stage).collect();
                cases.push(Case { stages: stages.with_context(|| id.clone())?, id });
            }
        }
    }
    Ok(cases)
}

fn stage(node: &Yaml<'_>) -> Result<Stage> {
    let input = field(node, "input").context("a stage has an input")?;
    let output = field(node, "output").context("a stage has an output")?;
    let log = field(output, "log");
    let ids = |name: &str| -> Result<Vec<u64>> {
        let ids = list(log.and_then(|log| field(log, name)));
        ids.map(|id| text_of(id).parse().context("an id")).collect()
    };
    let regex = |name: &str| log.and_then(|log| field(log, name)).map(text_of);
    let (request, bytes) = request(input);
    let status = field(output, "status").map(|status| text_of(status).parse().context("a status"));
    Ok(Stage {
        request,
        bytes,
        expect_ids: ids("expect_ids")?,
        no_expect_ids: ids("no_expect_ids")?,
        match_regex: regex("match_regex"),
        no_match_regex: regex("no_match_regex"),
        status: status.transpose()?,
        expect_error: field(output, "expect_error").map(text_of).as_deref() == Some("true"),
    })
}

fn request(input: &Yaml<'_>) -> (Request, Vec<u8>) {
    if let Some(encoded) = field(input, "encoded_request") {
        let bytes = base64(text_of(encoded).as_bytes());
        return (taken_apart(&bytes), bytes);
    }
    let text = |name: &str, default: &str| {
        let own = field(input, name).filter(|node| !is_null(node)).map(text_of);
        filled(&own.unwrap_or_else(|| default.to_owned())).into_bytes()
    };
    let mut headers: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    match field(input, "headers") {
        Some(Yaml::Mapping(map)) => {
            for (name, value) in map {
                headers.push((filled(&text_of(name)).into_bytes(), filled(&text_of(value)).into_bytes()));
            }
        }
        Some(Yaml::Sequence(entries)) => {
            for entry in entries {
                let part =
                    |name: &str| filled(&field(entry, name).map(text_of).unwrap_or_default()).into_bytes();
                headers.push((part("name"), part("value")));
            }
        }
        _ => {}
    }
    let body = text("data", "");
    let mut request = Request {
        method: text("method", "GET"),
        target: text("uri", "/"),
        version: text("version", "HTTP/1.1"),
        headers,
        body,
    };
    if field(input, "autocomplete_headers").map(text_of).as_deref() != Some("false") {
        let mut added: Vec<(&str, String)> = vec![("Connection", "close".into())];
        if !request.body.is_empty() {
            added.push(("Content-Type", "application/x-www-form-urlencoded".into()));
        }
        if !request.body.is_empty() || request.method == b"POST" {
            added.push(("Content-Length", request.body.len().to_string()));
        }
        for (name, value) in added {
            if request.header(name).is_none() {
                request.headers.push((name.into(), value.into()));
            }
        }
    }
    let bytes = written(&request);
    (framed(request), bytes)
}

/// A request's bytes, its body as it is.
fn written(request: &Request) -> Vec<u8> {
    let mut out = request.method.clone();
    for part in [&request.target, &request.version].into_iter().filter(|part| !part.is_empty()) {
        out.push(b' ');
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
    for (name, value) in &request.headers {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&request.body);
    out
}

/// Leaves of the body what a server reads, and of the head what it hands on (RFC 9112 §6): chunks decoded and
/// then no `Content-Length`, no body without either field.
fn framed(mut request: Request) -> Request {
    if request.version.is_empty() {
        // A request line of two words is HTTP/0.9 (RFC 1945 §4.1).
        request.version = b"HTTP/0.9".to_vec();
    }
    if request.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
        request.body = unchunked(&request.body);
        request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(b"content-length"));
    } else {
        let length = request
            .header("content-length")
            .and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
        request.body.truncate(length.unwrap_or(0));
    }
    request
}

/// Takes raw bytes apart at their lines.
fn taken_apart(raw: &[u8]) -> Request {
    let (head, body) = match raw.windows(4).position(|four| four == b"\r\n\r\n") {
        Some(at) => (&raw[..at], &raw[at + 4..]),
        None => match raw.windows(2).position(|two| two == b"\n\n") {
            Some(at) => (&raw[..at], &raw[at + 2..]),
            None => (raw, &[][..]),
        },
    };
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    let mut parts = first.splitn(3, |byte| *byte == b' ');
    let mut part = || parts.next().unwrap_or_default().to_vec();
    let (method, target, version) = (part(), part(), part());
    let headers: Vec<(Vec<u8>, Vec<u8>)> = lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            (line[..colon].to_vec(), line.get(colon + 1..).unwrap_or_default().trim_ascii().to_vec())
        })
        .collect();
    framed(Request { method, target, version, headers, body: body.to_vec() })
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let digits = String::from_utf8_lossy(&rest[..end]);
        let Ok(length) = usize::from_str_radix(digits.split(';').next().unwrap_or_default().trim(), 16)
        else {
            break;
        };
        if length == 0 {
            break;
        }
        let start = end + 2;
        out.extend_from_slice(rest.get(start..(start + length).min(rest.len())).unwrap_or_default());
        rest = rest.get(start + length + 2..).unwrap_or_default();
    }
    out
}

/// Fills templates of the one kind that cases have: `{{ "text" | repeat 34 }}`.
fn filled(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        let Some(end) = rest[at..].find("}}") else { break };
        let inside = rest[at + 2..at + end].trim();
        let repeated = inside.strip_prefix('"').and_then(|inside| {
            let (word, tail) = inside.split_once('"')?;
            let times: usize =
                tail.trim().strip_prefix('|')?.trim().strip_prefix("repeat")?.trim().parse().ok()?;
            Some(word.repeat(times))
        });
        out.push_str(&rest[..at]);
        match repeated {
            Some(repeated) => out.push_str(&repeated),
            None => out.push_str(&rest[at..at + end + 2]),
        }
        rest = &rest[at + end + 2..];
    }
    out.push_str(rest);
    out
}

/// What CRS's test origin answers: `/reflect` is told what in the request's body, all else is empty.
pub fn reply(request: &Request) -> Reply {
    let path = request.target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let told = if path == b"/reflect" {
        serde_json::from_slice::<serde_json::Value>(&request.body).ok()
    } else {
        None
    };
    let Some(told) = told else {
        return Reply { status: 200, headers: vec![("Content-Length".into(), "0".into())], body: Vec::new() };
    };
    let status =
        told.get("status").and_then(serde_json::Value::as_u64).and_then(|status| u16::try_from(status).ok());
    let mut headers: Vec<(String, String)> = Vec::new();
    if let Some(map) = told.get("headers").and_then(serde_json::Value::as_object) {
        for (name, value) in map {
            headers.push((name.clone(), value.as_str().unwrap_or_default().to_owned()));
        }
    }
    let body = match (told.get("body"), told.get("encodedBody")) {
        (Some(body), _) => body.as_str().unwrap_or_default().as_bytes().to_vec(),
        (None, Some(encoded)) => base64(encoded.as_str().unwrap_or_default().as_bytes()),
        (None, None) => Vec::new(),
    };
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) && !body.is_empty() {
        // Its HTTP library guesses the type.
        let begin =
            String::from_utf8_lossy(body.get(..64).unwrap_or(&body)).trim_start().to_ascii_lowercase();
        let is_html = [
            "<!doctype html",
            "<html",
            "<head",
            "<script",
            "<body",
            "<h1",
            "<div",
            "<table",
            "<title",
            "<p>",
            "<b>",
            "<br",
        ]
        .iter()
        .any(|tag| begin.starts_with(tag));
        let kind = if is_html { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
        headers.push(("Content-Type".into(), kind.into()));
    }
    headers.push(("Content-Length".into(), body.len().to_string()));
    Reply { status: status.unwrap_or(200), headers, body }
}

fn field<'a, 'b>(node: &'a Yaml<'b>, name: &str) -> Option<&'a Yaml<'b>> {
    match node {
        Yaml::Mapping(map) => map.iter().find(|(key, _)| text_of(key) == name).map(|(_, value)| value),
        Yaml::Tagged(_, inside) => field(inside, name),
        _ => None,
    }
}

fn list<'a, 'b>(node: Option<&'a Yaml<'b>>) -> impl Iterator<Item = &'a Yaml<'b>> {
    match node {
        Some(Yaml::Sequence(entries)) => entries.iter(),
        _ => [].iter(),
    }
}

fn is_null(node: &Yaml<'_>) -> bool {
    matches!(node, Yaml::Value(Scalar::Null) | Yaml::BadValue)
}

fn text_of(node: &Yaml<'_>) -> String {
    match node {
        Yaml::Representation(text, ..) => text.clone().into_owned(),
        Yaml::Value(Scalar::String(text)) => text.clone().into_owned(),
        Yaml::Value(Scalar::Integer(number)) => number.to_string(),
        Yaml::Value(Scalar::Boolean(flag)) => flag.to_string(),
        Yaml::Value(Scalar::FloatingPoint(number)) => format!("{number:?}"),
        Yaml::Tagged(_, inside) => text_of(inside),
        _ => String::new(),
    }
}

/// Decodes base64, whatever stands between its letters.
fn base64(text: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text {
        let Some(value) = LETTERS.iter().position(|letter| letter == byte) else { continue };
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    out
}
