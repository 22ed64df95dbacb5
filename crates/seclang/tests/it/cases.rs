//! The regression cases of CRS: read from their YAML, made into requests, judged.

use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml};

use crate::rig::{Request, Response, Verdict};

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// `920100-4`.
    pub(crate) id: String,
    pub(crate) stages: Vec<Stage>,
}

/// A request with what its log must show.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) request: Request,
    pub(crate) expect_ids: Vec<u64>,
    pub(crate) no_expect_ids: Vec<u64>,
    pub(crate) match_regex: Option<String>,
    pub(crate) no_match_regex: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) expect_error: bool,
}

/// Reads every case below a folder of CRS, in the order of their files.
pub(crate) fn read(crs: &Path) -> Vec<Case> {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(crs.join("tests/regression/tests")).expect("the cases").flatten() {
        for file in std::fs::read_dir(folder.path()).expect("a folder of cases").flatten() {
            if file.path().extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                files.push(file.path());
            }
        }
    }
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a file of cases");
        let documents =
            Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for document in &documents {
            let rule = field(document, "rule_id").map(text_of).unwrap_or_default();
            for test in list(field(document, "tests")) {
                let number = field(test, "test_id").map(text_of).unwrap_or_default();
                let stages = list(field(test, "stages")).map(stage).collect();
                cases.push(Case { id: format!("{rule}-{number}"), stages });
            }
        }
    }
    cases
}

fn stage(node: &Yaml<'_>) -> Stage {
    let input = field(node, "input").expect("a stage has an input");
    let output = field(node, "output").expect("a stage has an output");
    let log = field(output, "log");
    let ids = |name: &str| {
        list(log.and_then(|log| field(log, name))).map(|id| text_of(id).parse().expect("an id")).collect()
    };
    let regex = |name: &str| log.and_then(|log| field(log, name)).map(text_of);
    Stage {
        request: request(input),
        expect_ids: ids("expect_ids"),
        no_expect_ids: ids("no_expect_ids"),
        match_regex: regex("match_regex"),
        no_match_regex: regex("no_match_regex"),
        status: field(output, "status").map(|status| text_of(status).parse().expect("a status")),
        expect_error: field(output, "expect_error").map(text_of).as_deref() == Some("true"),
    }
}

fn request(input: &Yaml<'_>) -> Request {
    if let Some(encoded) = field(input, "encoded_request") {
        return taken_apart(&base64(text_of(encoded).as_bytes()));
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
    framed(request)
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
pub(crate) fn answer(request: &Request) -> Response {
    let path = request.target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let told = if path == b"/reflect" {
        serde_json::from_slice::<serde_json::Value>(&request.body).ok()
    } else {
        None
    };
    let Some(told) = told else {
        return Response {
            status: 200,
            headers: vec![("Content-Length".into(), "0".into())],
            body: Vec::new(),
        };
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
    Response { status: status.unwrap_or(200), headers, body }
}

/// Judges a stage; an empty list is success.
pub(crate) fn judge(stage: &Stage, verdict: &Verdict) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_refused = is_malformed(&stage.request);
    if is_refused && stage.status == Some(400) {
        // The answer came from the reader of HTTP; no rule saw the request.
        return wrong;
    }
    for id in &stage.expect_ids {
        if !verdict.ids.contains(id) {
            wrong.push(format!("{id} is not in the log"));
        }
    }
    for id in &stage.no_expect_ids {
        if verdict.ids.contains(id) {
            wrong.push(format!("{id} is in the log"));
        }
    }
    let found =
        |pattern: &str| regex::Regex::new(pattern).expect("a pattern of a case").is_match(&verdict.log);
    if let Some(pattern) = &stage.match_regex
        && !found(pattern)
    {
        wrong.push(format!("`{pattern}` is not in the log"));
    }
    if let Some(pattern) = &stage.no_match_regex
        && found(pattern)
    {
        wrong.push(format!("`{pattern}` is in the log"));
    }
    match stage.status {
        Some(400) if !is_refused => wrong.push("the head is not refused".into()),
        Some(200) if is_refused => wrong.push("the head is refused".into()),
        _ => {}
    }
    if stage.expect_error && !is_refused {
        wrong.push("the head is not refused".into());
    }
    wrong
}

/// Says whether a server answers 400 to a head before any rule sees it (RFC 9112 §3, RFC 9110 §7.2 and §8.6):
/// what the product's HTTP reader does in front of this crate.
fn is_malformed(request: &Request) -> bool {
    let is_token = |text: &[u8]| {
        !text.is_empty()
            && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
    };
    let is_version = matches!(request.version.as_slice(), b"HTTP/1.0" | b"HTTP/1.1");
    let target = &request.target;
    let has_port = target
        .iter()
        .rposition(|byte| *byte == b':')
        .is_some_and(|at| target.len() > at + 1 && target[at + 1..].iter().all(u8::is_ascii_digit));
    let is_target = match request.method.as_slice() {
        b"CONNECT" => has_port,
        _ => target.first() == Some(&b'/') || target == b"*" || target.starts_with(b"http"),
    };
    let is_clean = target.iter().all(|byte| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(byte));
    let is_host = request.header("host").is_some_and(|host| {
        !host.is_empty() && host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte))
    });
    let is_field = request
        .headers
        .iter()
        .all(|(name, value)| is_token(name) && !value.iter().any(|byte| b"\r\n\0".contains(byte)));
    let is_length = request
        .header("content-length")
        .is_none_or(|length| !length.is_empty() && length.iter().all(u8::is_ascii_digit));
    !(is_token(&request.method) && is_version && is_target && is_clean && is_host && is_field && is_length)
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

fn base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    seclang::transform::Transformation::Base64DecodeExt.apply(text, &mut out);
    out
}
