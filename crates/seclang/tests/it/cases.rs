//! Judges what the engine made of the regression cases of CRS.

use testkit::crs::{Request, Stage};

use crate::rig::Verdict;

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
