//! `Cache-Status` (RFC 9211): what the cache did, on every answer, in the words of the enums.
//!
//! Called by the edge last, so that it says what was done and not what was planned.

use exchange::Fields;

use super::lookup::Forward;
use super::request::Bypass;
use super::storing::NotStored;
use crate::limits::STATUS_KEY_BYTES_MAX;

/// What is said of one exchange. The default says a hit without a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus<'a> {
    /// Answered from what is stored, without the origin (§2.1). Not together with `forward`.
    pub is_hit: bool,
    /// Why the origin was asked (§2.2).
    pub forward: Option<&'static str>,
    /// What the origin answered, if it differs from what the visitor gets (§2.3).
    pub forward_status: Option<u16>,
    /// Seconds of freshness left; negative for stale (§2.4).
    pub ttl_s: Option<i64>,
    /// The answer was stored (§2.5).
    pub is_stored: bool,
    /// The request waited for another's fetch (§2.6): whether what that brought was of use, or a fetch of its
    /// own had to be made. Only together with `forward`.
    pub is_collapsed: Option<bool>,
    /// The key in words, where the zone shows it (§2.7); cut at [`STATUS_KEY_BYTES_MAX`].
    pub key: Option<&'a [u8]>,
    /// A word more (§2.8).
    pub detail: Option<&'static str>,
}

impl CacheStatus<'_> {
    /// A request that went past the cache.
    pub fn bypass(bypass: Bypass) -> Self {
        Self { forward: Some(bypass.forward()), detail: Some(bypass.as_str()), ..Self::default() }
    }

    /// An answer that was passed and not stored.
    pub fn passed(forward: Forward, reason: NotStored) -> Self {
        Self { forward: Some(forward.as_str()), detail: Some(reason.as_str()), ..Self::default() }
    }

    /// Writes the list member of the cache `name`.
    ///
    /// Everything but the key is a token or a number by construction; a key is a string of visible ASCII,
    /// other bytes in it are written as `?`.
    pub fn write(&self, name: &str, out: &mut Vec<u8>) {
        let is_name_token = super::words::is_token(name.as_bytes())
            && name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
        if is_name_token {
            out.extend_from_slice(name.as_bytes());
        } else {
            push_string(out, name.as_bytes());
        }
        if self.is_hit {
            out.extend_from_slice(b"; hit");
        }
        if let Some(forward) = self.forward {
            out.extend_from_slice(b"; fwd=");
            out.extend_from_slice(forward.as_bytes());
        }
        if let Some(status) = self.forward_status {
            out.extend_from_slice(b"; fwd-status=");
            super::range::push_number(out, u64::from(status));
        }
        if let Some(ttl_s) = self.ttl_s {
            out.extend_from_slice(b"; ttl=");
            if ttl_s < 0 {
                out.push(b'-');
            }
            super::range::push_number(out, ttl_s.unsigned_abs());
        }
        if self.is_stored {
            out.extend_from_slice(b"; stored");
        }
        match self.is_collapsed {
            Some(true) => out.extend_from_slice(b"; collapsed"),
            Some(false) => out.extend_from_slice(b"; collapsed=?0"),
            None => {}
        }
        if let Some(key) = self.key {
            out.extend_from_slice(b"; key=");
            push_string(out, key.get(..STATUS_KEY_BYTES_MAX).unwrap_or(key));
        }
        if let Some(detail) = self.detail {
            out.extend_from_slice(b"; detail=");
            out.extend_from_slice(detail.as_bytes());
        }
    }

    /// Adds the member behind those of caches nearer the origin (§2).
    pub fn push_to(&self, name: &str, fields: &mut Fields) {
        let mut value = Vec::with_capacity(64);
        self.write(name, &mut value);
        fields.push(b"Cache-Status", &value);
    }
}

/// A string of structured fields (RFC 9651 §3.3.3).
fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0x20..=0x7e => out.push(*byte),
            _ => out.push(b'?'),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(status: &CacheStatus<'_>, name: &str) -> String {
        let mut out = Vec::new();
        status.write(name, &mut out);
        String::from_utf8(out).expect("it is ASCII")
    }

    #[test]
    fn says_hits_misses_and_what_was_not_stored() {
        let hit = CacheStatus { is_hit: true, ttl_s: Some(376), ..CacheStatus::default() };
        assert_eq!(written(&hit, "rempart"), "rempart; hit; ttl=376");
        let stale = CacheStatus { ttl_s: Some(-12), ..hit };
        assert_eq!(written(&stale, "rempart"), "rempart; hit; ttl=-12");
        let miss = CacheStatus {
            forward: Some(Forward::UriMiss.as_str()),
            forward_status: Some(304),
            is_stored: true,
            is_collapsed: Some(true),
            ..CacheStatus::default()
        };
        assert_eq!(written(&miss, "rempart"), "rempart; fwd=uri-miss; fwd-status=304; stored; collapsed");
        let alone = CacheStatus { is_collapsed: Some(false), is_stored: false, ..miss };
        assert_eq!(written(&alone, "rempart"), "rempart; fwd=uri-miss; fwd-status=304; collapsed=?0");
        let passed = CacheStatus::passed(Forward::Stale, NotStored::SetCookie);
        assert_eq!(written(&passed, "rempart"), "rempart; fwd=stale; detail=set_cookie");
        assert_eq!(written(&CacheStatus::bypass(Bypass::Method), "a"), "a; fwd=method; detail=method");
        assert_eq!(written(&CacheStatus::bypass(Bypass::Cookie), "a"), "a; fwd=bypass; detail=cookie");
    }

    #[test]
    fn names_and_keys_that_are_no_tokens_are_strings() {
        let key = "/\"\u{e9}\\".as_bytes();
        let status = CacheStatus { is_hit: true, key: Some(key), ..CacheStatus::default() };
        assert_eq!(written(&status, "my node"), "\"my node\"; hit; key=\"/\\\"??\\\\\"");
        let long = [b'a'; STATUS_KEY_BYTES_MAX + 1];
        let status = CacheStatus { key: Some(&long), ..CacheStatus::default() };
        assert_eq!(written(&status, "a").len(), "a; key=\"\"".len() + STATUS_KEY_BYTES_MAX);
    }

    #[test]
    fn comes_behind_caches_nearer_the_origin() {
        let mut fields = Fields::new();
        fields.push(b"Cache-Status", b"inner; hit");
        CacheStatus { is_hit: true, ..CacheStatus::default() }.push_to("outer", &mut fields);
        let all: Vec<_> = fields.iter().map(|f| f.value.to_vec()).collect();
        assert_eq!(all, [&b"inner; hit"[..], b"outer; hit"]);
    }
}
