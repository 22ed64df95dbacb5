//! The static table of QPACK (RFC 9204, Appendix A) and the search for an entry of it.
//!
//! It does not encode or decode anything: [`super::decode`] reads entries by index, [`super::encode`] looks
//! for the best entry for a field. The search is a small chained hash table built at compile time.
#![allow(clippy::indexing_slicing, reason = "built at compile time, and indices come from the table itself")]

/// Number of entries of the static table.
pub(crate) const ENTRIES: usize = 99;

/// Name and value of each entry, at its index (RFC 9204, Appendix A).
#[rustfmt::skip]
pub(crate) const TABLE: [(&str, &str); ENTRIES] = [
    (":authority", ""),
    (":path", "/"),
    ("age", "0"),
    ("content-disposition", ""),
    ("content-length", "0"),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("referer", ""),
    ("set-cookie", ""),
    (":method", "CONNECT"),
    (":method", "DELETE"),
    (":method", "GET"),
    (":method", "HEAD"),
    (":method", "OPTIONS"),
    (":method", "POST"),
    (":method", "PUT"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "103"),
    (":status", "200"),
    (":status", "304"),
    (":status", "404"),
    (":status", "503"),
    ("accept", "*/*"),
    ("accept", "application/dns-message"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-ranges", "bytes"),
    ("access-control-allow-headers", "cache-control"),
    ("access-control-allow-headers", "content-type"),
    ("access-control-allow-origin", "*"),
    ("cache-control", "max-age=0"),
    ("cache-control", "max-age=2592000"),
    ("cache-control", "max-age=604800"),
    ("cache-control", "no-cache"),
    ("cache-control", "no-store"),
    ("cache-control", "public, max-age=31536000"),
    ("content-encoding", "br"),
    ("content-encoding", "gzip"),
    ("content-type", "application/dns-message"),
    ("content-type", "application/javascript"),
    ("content-type", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
    ("content-type", "image/gif"),
    ("content-type", "image/jpeg"),
    ("content-type", "image/png"),
    ("content-type", "text/css"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-type", "text/plain"),
    ("content-type", "text/plain;charset=utf-8"),
    ("range", "bytes=0-"),
    ("strict-transport-security", "max-age=31536000"),
    ("strict-transport-security", "max-age=31536000; includesubdomains"),
    ("strict-transport-security", "max-age=31536000; includesubdomains; preload"),
    ("vary", "accept-encoding"),
    ("vary", "origin"),
    ("x-content-type-options", "nosniff"),
    ("x-xss-protection", "1; mode=block"),
    (":status", "100"),
    (":status", "204"),
    (":status", "206"),
    (":status", "302"),
    (":status", "400"),
    (":status", "403"),
    (":status", "421"),
    (":status", "425"),
    (":status", "500"),
    ("accept-language", ""),
    ("access-control-allow-credentials", "FALSE"),
    ("access-control-allow-credentials", "TRUE"),
    ("access-control-allow-headers", "*"),
    ("access-control-allow-methods", "get"),
    ("access-control-allow-methods", "get, post, options"),
    ("access-control-allow-methods", "options"),
    ("access-control-expose-headers", "content-length"),
    ("access-control-request-headers", "content-type"),
    ("access-control-request-method", "get"),
    ("access-control-request-method", "post"),
    ("alt-svc", "clear"),
    ("authorization", ""),
    ("content-security-policy", "script-src 'none'; object-src 'none'; base-uri 'none'"),
    ("early-data", "1"),
    ("expect-ct", ""),
    ("forwarded", ""),
    ("if-range", ""),
    ("origin", ""),
    ("purpose", "prefetch"),
    ("server", ""),
    ("timing-allow-origin", "*"),
    ("upgrade-insecure-requests", "1"),
    ("user-agent", ""),
    ("x-forwarded-for", ""),
    ("x-frame-options", "deny"),
    ("x-frame-options", "sameorigin"),
];

/// Number of chains; a power of two, about twice the number of distinct names.
const CHAINS: usize = 128;

/// Marks the end of a chain: no entry has this index.
const NONE: u8 = 255;

/// Chain of a name: its length, first and last octet spread the 52 names well enough (longest chain of
/// distinct names is short; a test holds it). Letters are taken in lower case.
const fn chain_of(name: &[u8]) -> usize {
    match name {
        [] => 0,
        [first, .., last] => {
            let first = first.to_ascii_lowercase() as usize;
            let last = last.to_ascii_lowercase() as usize;
            (name.len() * 7 + first * 3 + last * 29) % CHAINS
        }
        [only] => (7 + only.to_ascii_lowercase() as usize * 32) % CHAINS,
    }
}

/// First entry of each chain, and for each entry the next one of its chain, both in ascending order.
const fn chains() -> ([u8; CHAINS], [u8; ENTRIES]) {
    let mut first = [NONE; CHAINS];
    let mut next = [NONE; ENTRIES];
    let mut index = ENTRIES;
    while index > 0 {
        index -= 1;
        let chain = chain_of(TABLE[index].0.as_bytes());
        next[index] = first[chain];
        first[chain] = index as u8;
    }
    (first, next)
}

const CHAINED: ([u8; CHAINS], [u8; ENTRIES]) = chains();
static FIRST: [u8; CHAINS] = CHAINED.0;
static NEXT: [u8; ENTRIES] = CHAINED.1;

/// What the static table has for a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An entry with this name and this value.
    Line(u8),
    /// An entry with this name only.
    Name(u8),
    /// Nothing.
    Nothing,
}

/// Looks for `name` (any case) and `value` (exact).
pub(crate) fn find(name: &[u8], value: &[u8]) -> Found {
    let mut found = Found::Nothing;
    let mut index = FIRST[chain_of(name)];
    while let Some((entry_name, entry_value)) = TABLE.get(usize::from(index)) {
        if entry_name.as_bytes().eq_ignore_ascii_case(name) {
            if entry_value.as_bytes() == value {
                return Found::Line(index);
            }
            if found == Found::Nothing {
                found = Found::Name(index);
            }
        }
        index = NEXT[usize::from(index)];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_entry_at_its_own_index() {
        for (index, (name, value)) in TABLE.iter().enumerate() {
            assert_eq!(find(name.as_bytes(), value.as_bytes()), Found::Line(index as u8), "{name}: {value}");
        }
    }

    #[test]
    fn finds_a_name_whatever_its_case_and_says_nothing_of_unknown_ones() {
        assert_eq!(find(b"Content-Type", b"text/x-unheard-of"), Found::Name(44));
        assert_eq!(find(b"Server", b""), Found::Line(92));
        for name in [&b""[..], b"x", b"x-cache", b"contenttype", b"serves"] {
            assert_eq!(find(name, b""), Found::Nothing, "{name:?}");
        }
    }

    #[test]
    fn chains_hold_few_distinct_names() {
        for first in FIRST {
            let mut names = std::collections::BTreeSet::new();
            let mut index = first;
            while index != NONE {
                names.insert(TABLE[usize::from(index)].0);
                index = NEXT[usize::from(index)];
            }
            assert!(names.len() <= 4, "{names:?}");
        }
    }
}
