//! The small page a visitor gets for a refusal or a fault: HTML, JSON or text by `Accept`.
//!
//! It names the outcome, the request id and whose doing it is, and nothing of the inside.

use crate::{Cause, RequestId};

/// What a page says.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Status of the answer.
    pub status: u16,
    /// The outcome's one word.
    pub word: &'a str,
    /// The outcome's public message.
    pub message: &'a str,
    /// Whose doing it is.
    pub cause: Cause,
    /// The exchange it belongs to.
    pub id: RequestId,
}

fn asks_for(accept: &[u8], kind: &[u8]) -> Option<usize> {
    memchr::memmem::find(accept, kind)
}

/// Writes the page into `out` and returns its media type.
///
/// The form is the first of HTML and JSON that `accept` names; without either it is plain text. It is written
/// in one go: a node that sends most of its visitors away does little else.
pub fn write_page(page: &Page<'_>, accept: &[u8], out: &mut Vec<u8>) -> &'static str {
    let html = asks_for(accept, b"text/html");
    let json = asks_for(accept, b"json");
    let id = page.id.hex();
    let mut status = itoa::Buffer::new();
    let status = status.format(page.status).as_bytes();
    let (word, message) = (page.word.as_bytes(), page.message.as_bytes());
    let cause = page.cause.as_str().as_bytes();
    let mut write = |parts: &[&[u8]]| {
        out.reserve(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| out.extend_from_slice(part));
    };
    match (html, json) {
        (Some(h), j) if j.is_none_or(|j| h < j) => {
            write(&[
                HTML_HEAD,
                status,
                b" ",
                word,
                HTML_STYLE,
                message,
                b"</h1><dl><dt>Status</dt><dd>",
                status,
                b" ",
                word,
                b"</dd><dt>Cause</dt><dd>",
                cause,
                b"</dd><dt>Request id</dt><dd>",
                &id,
                b"</dd></dl></html>\n",
            ]);
            "text/html; charset=utf-8"
        }
        (_, Some(_)) => {
            // Words, messages and causes are constants of this crate without a character to escape.
            write(&[
                b"{\"status\":",
                status,
                b",\"error\":\"",
                word,
                b"\",\"message\":\"",
                message,
                b"\",\"cause\":\"",
                cause,
                b"\",\"request_id\":\"",
                &id,
                b"\"}\n",
            ]);
            "application/json"
        }
        _ => {
            write(&[status, b" ", word, b"\n", message, b"\ncause: ", cause, b"\nrequest id: ", &id, b"\n"]);
            "text/plain; charset=utf-8"
        }
    }
}

/// Up to the title.
const HTML_HEAD: &[u8] = b"<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>";

/// From the end of the title to the message.
const HTML_STYLE: &[u8] = b"</title>\
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em;color:#222}\
h1{font-size:1.4em}dl{color:#666;font-size:.9em}dt{float:left;clear:left;width:7em}\
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}}</style>\
<h1>";

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page<'static> {
        let id = RequestId::from_bytes([7; 16]);
        Page { status: 502, word: "dns_error", message: "Not found.", cause: Cause::Origin, id }
    }

    #[test]
    fn the_form_follows_accept() {
        for (accept, kind) in [
            ("text/html,application/xhtml+xml", "text/html; charset=utf-8"),
            ("application/json, text/html", "application/json"),
            ("application/problem+json", "application/json"),
            ("*/*", "text/plain; charset=utf-8"),
            ("", "text/plain; charset=utf-8"),
        ] {
            let mut out = Vec::new();
            assert_eq!(write_page(&page(), accept.as_bytes(), &mut out), kind, "{accept}");
            let text = String::from_utf8(out).expect("pages are UTF-8");
            assert!(text.contains("dns_error") && text.contains("origin") && text.contains(&"07".repeat(16)));
        }
    }

    #[test]
    fn each_form_is_whole() {
        let id = "07".repeat(16);
        for (accept, begins, ends) in [
            ("text/html", "<!doctype html>\n<html lang=\"en\">", "</dl></html>\n".to_owned()),
            (
                "application/json",
                "{\"status\":502,\"error\":\"dns_error\",\"message\":\"Not found.\",\"cause\":\"origin\",",
                format!("\"request_id\":\"{id}\"}}\n"),
            ),
            ("", "502 dns_error\nNot found.\ncause: origin\n", format!("request id: {id}\n")),
        ] {
            let mut out = b"before".to_vec();
            write_page(&page(), accept.as_bytes(), &mut out);
            let text = String::from_utf8(out).expect("pages are UTF-8");
            let text = text.strip_prefix("before").expect("what was there stays");
            assert!(text.starts_with(begins) && text.ends_with(&ends), "{accept}: {text}");
        }
        let mut out = Vec::new();
        write_page(&page(), b"text/html", &mut out);
        let text = String::from_utf8(out).expect("pages are UTF-8");
        for part in [
            "<title>502 dns_error</title>",
            "<h1>Not found.</h1><dl><dt>Status</dt><dd>502 dns_error</dd>",
            "<dt>Cause</dt><dd>origin</dd><dt>Request id</dt><dd>0707",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
