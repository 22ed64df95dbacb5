//! Early hints (RFC 8297): what an earlier answer's `Link` fields let a browser fetch while the origin
//! thinks.
//!
//! Only links that are safe to follow early are told: `preload`, `modulepreload`, `preconnect`,
//! `dns-prefetch`. Called by the edge on a miss or a revalidation, with the head of the object that is
//! stale; `storing.rs` notes whether there are any. What pages told that are
//! not stored is in `crate::hints`.

use exchange::{Fields, Response};

use super::stored::StoredHead;
use super::words::{Members, trim, unquoted};
use crate::limits::{HINT_BYTES_MAX, HINTS_MAX};

/// Whether an answer has links that may be told early: a page, with a 200, that says so.
pub fn may_hint(answer: &Response) -> bool {
    let links = |fields: &Fields| {
        fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(b"link"))
            .any(|field| Members::of(field.value).any(is_early))
    };
    answer.status == 200 && links(&answer.fields)
}

/// The fields of a 103 (Early Hints): one `Link` each. Empty where there is nothing to tell.
pub fn hints_of(head: &StoredHead) -> Fields {
    let mut hints = Fields::new();
    for link in head.values(b"link").flat_map(Members::of).filter(|link| is_early(link)) {
        if hints.len() == HINTS_MAX {
            break;
        }
        hints.push(b"Link", link);
    }
    hints
}

/// Those links of an answer that may be told early and are the site's own, as many as a 103 has.
pub(crate) fn own_links(answer: &Response) -> Vec<&[u8]> {
    let fields = answer.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(b"link"));
    let links =
        fields.flat_map(|field| Members::of(field.value)).filter(|link| is_own(link) && is_early(link));
    if answer.status == 200 { links.take(HINTS_MAX).collect() } else { Vec::new() }
}

/// Whether a link's target is a path. Browsers read `\` as `/`, and pass tabs by, so that what has one of
/// these may name another site.
fn is_own(link: &[u8]) -> bool {
    let target = link.split(|byte| *byte == b'>').next().unwrap_or_default();
    let is_odd = |byte: &u8| *byte <= b' ' || *byte == b'\\' || *byte == 0x7f;
    target.starts_with(b"</") && !target.starts_with(b"<//") && !target.iter().any(is_odd)
}

/// Whether a link may be followed before the answer is there.
fn is_early(link: &[u8]) -> bool {
    if link.len() > HINT_BYTES_MAX || !link.starts_with(b"<") {
        return false;
    }
    let Some(end) = memchr::memchr(b'>', link) else { return false };
    let parameters = link.get(end + 1..).unwrap_or_default();
    let relation = parameters.split(|byte| *byte == b';').map(trim).find_map(|parameter| {
        let equals = memchr::memchr(b'=', parameter)?;
        let (name, value) = (trim(parameter.get(..equals)?), trim(parameter.get(equals + 1..)?));
        name.eq_ignore_ascii_case(b"rel").then(|| unquoted(value).unwrap_or(value))
    });
    relation.unwrap_or_default().split(|byte| *byte == b' ').any(|word| {
        let early: [&[u8]; 4] = [b"preload", b"modulepreload", b"preconnect", b"dns-prefetch"];
        early.iter().any(|known| word.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(link: &str) -> Response {
        let mut answer = Response { status: 200, ..Response::default() };
        answer.fields.push(b"Link", link.as_bytes());
        answer
    }

    #[test]
    fn tells_what_may_be_fetched_early() {
        let answer = answer(
            "</a.css>; rel=preload; as=style, </b>; rel=\"next\", <https://c.example>;rel=\"preconnect\", x",
        );
        assert!(may_hint(&answer));
        let head = StoredHead::pack(&answer, |_| true).expect("it is small");
        let hints: Vec<_> = hints_of(&head).iter().map(|f| f.value.to_vec()).collect();
        assert_eq!(
            hints,
            [&b"</a.css>; rel=preload; as=style"[..], b"<https://c.example>;rel=\"preconnect\""]
        );
    }

    #[test]
    fn links_to_others_are_not_the_sites_own() {
        let answer = answer(
            "</a.css>; rel=preload, <//b.example/c>; rel=preload, <https://b.example>; rel=preconnect, \
             </\\b.example/c>; rel=preload, </\t/b.example/c>; rel=preload, </d>; rel=next",
        );
        assert_eq!(own_links(&answer), [b"</a.css>; rel=preload"]);
        assert!(own_links(&Response { status: 302, ..answer }).is_empty());
    }

    #[test]
    fn tells_nothing_of_errors_or_other_relations() {
        assert!(!may_hint(&answer("</b>; rel=next")));
        assert!(!may_hint(&answer("/a.css; rel=preload")));
        assert!(!may_hint(&Response { status: 404, ..answer("</a>; rel=preload") }));
    }
}
