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
/// The form is the first of HTML and JSON that `accept` names; without either it is plain text.
pub fn write_page(page: &Page<'_>, accept: &[u8], out: &mut Vec<u8>) -> &'static str {
    let html = asks_for(accept, b"text/html");
    let json = asks_for(accept, b"json");
    let id = page.id.to_string();
    let status = page.status.to_string();
    let cause = page.cause.as_str();
    match (html, json) {
        (Some(h), j) if j.is_none_or(|j| h < j) => {
            let filled = HTML
                .replace("{status}", &status)
                .replace("{word}", page.word)
                .replace("{message}", page.message)
                .replace("{cause}", cause)
                .replace("{request_id}", &id);
            out.extend_from_slice(filled.as_bytes());
            "text/html; charset=utf-8"
        }
        (_, Some(_)) => {
            // Words, messages and causes are constants of this crate without a character to escape.
            let text = format!(
                "{{\"status\":{status},\"error\":\"{}\",\"message\":\"{}\",\"cause\":\"{cause}\",\
                 \"request_id\":\"{id}\"}}\n",
                page.word, page.message
            );
            out.extend_from_slice(text.as_bytes());
            "application/json"
        }
        _ => {
            let text =
                format!("{status} {}\n{}\ncause: {cause}\nrequest id: {id}\n", page.word, page.message);
            out.extend_from_slice(text.as_bytes());
            "text/plain; charset=utf-8"
        }
    }
}

const HTML: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>{status} {word}</title>\
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em;color:#222}\
h1{font-size:1.4em}dl{color:#666;font-size:.9em}dt{float:left;clear:left;width:7em}\
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}}</style>\
<h1>{message}</h1><dl><dt>Status</dt><dd>{status} {word}</dd><dt>Cause</dt><dd>{cause}</dd>\
<dt>Request id</dt><dd>{request_id}</dd></dl></html>\n";

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
}
