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

/// Length of the longest name.
const NAME_LONGEST: usize = 32;

/// Number of chains; a power of two, about twice the number of distinct names.
const CHAINS: usize = 128;

/// Marks the end of a chain: no entry has this index.
const NONE: u8 = 255;

/// Chain of a name in lower case: its length, first and last octet spread the names well enough (a test holds
/// how many share one).
const fn chain_of(name: &[u8]) -> usize {
    match name {
        [] => 0,
        [only] => (7 + *only as usize * 32) % CHAINS,
        [first, .., last] => (name.len() * 7 + *first as usize * 3 + *last as usize * 29) % CHAINS,
    }
}

/// The search's tables.
struct Chains {
    /// For each chain the first entry of its first name.
    first: [u8; CHAINS],
    /// For the first entry of a name, the first entry of the next name of the chain.
    next_name: [u8; ENTRIES],
    /// For each entry, the next entry with the same name.
    same_name: [u8; ENTRIES],
}

const fn chains() -> Chains {
    let mut chains = Chains { first: [NONE; CHAINS], next_name: [NONE; ENTRIES], same_name: [NONE; ENTRIES] };
    let mut index = 0;
    while index < ENTRIES {
        let name = TABLE[index].0.as_bytes();
        let chain = chain_of(name);
        let mut at = chains.first[chain];
        while at != NONE && !is_same(TABLE[at as usize].0.as_bytes(), name) {
            at = chains.next_name[at as usize];
        }
        if at == NONE {
            chains.next_name[index] = chains.first[chain];
            chains.first[chain] = index as u8;
        } else {
            while chains.same_name[at as usize] != NONE {
                at = chains.same_name[at as usize];
            }
            chains.same_name[at as usize] = index as u8;
        }
        index += 1;
    }
    chains
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

static SEARCH: Chains = chains();

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

/// Looks for `name`, in any case, and `value`, exactly.
pub(crate) fn find(name: &[u8], value: &[u8]) -> Found {
    let mut lower = [0; NAME_LONGEST];
    let Some(lower) = lower.get_mut(..name.len()) else { return Found::Nothing };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let mut index = SEARCH.first[chain_of(lower)];
    while let Some((entry_name, _)) = TABLE.get(usize::from(index)) {
        if entry_name.as_bytes() == lower {
            return find_value(index, value);
        }
        index = SEARCH.next_name[usize::from(index)];
    }
    Found::Nothing
}

/// Looks for `value` among the entries with the name of `first`, the first of them.
fn find_value(first: u8, value: &[u8]) -> Found {
    let mut index = first;
    while let Some((_, entry_value)) = TABLE.get(usize::from(index)) {
        if entry_value.as_bytes() == value {
            return Found::Line(index);
        }
        index = SEARCH.same_name[usize::from(index)];
    }
    Found::Name(first)
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
    fn chains_hold_few_names() {
        for mut index in SEARCH.first {
            let mut names = 0;
            while index != NONE {
                index = SEARCH.next_name[usize::from(index)];
                names += 1;
            }
            assert!(names <= 3, "{names}");
        }
    }

    #[test]
    fn has_room_for_the_longest_name() {
        assert_eq!(TABLE.iter().map(|(name, _)| name.len()).max(), Some(NAME_LONGEST));
        assert_eq!(find(&[b'a'; NAME_LONGEST + 1], b""), Found::Nothing);
    }
}
