//! Lists of addresses in the DNS (RFC 5782), as `@rbl` names them: what to ask, and what an answer says.
//!
//! Nobody is asked here: a caller asks and gives the answer ([`crate::Transaction::answer`]). Read next:
//! [`Blocklist::question`].

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::problem::Wrong;

/// Characters of a name in the DNS (RFC 1035 §2.3.4), as people write it.
const NAME_BYTES_MAX: usize = 253;
/// Characters of one label (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;
/// The service whose questions begin with a key, and whose answers have a form of their own.
const HTTP_BL: &str = "httpbl.org";

/// A list, by the name that its questions end in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocklist {
    /// In lower case, without a dot at its end.
    pub(crate) service: Box<str>,
    /// Whether questions begin with the key of `SecHttpBlKey`.
    pub(crate) wants_key: bool,
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= NAME_BYTES_MAX && text.split('.').all(is_label)
}

impl Blocklist {
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        let service = text.trim_end_matches('.').to_ascii_lowercase();
        if !is_name(&service) || !service.contains('.') {
            let what = format!("`@rbl {text}` names no list");
            return Err(Wrong::with(what, "write the name of its zone, as in @rbl zen.spamhaus.org"));
        }
        let wants_key = service.ends_with(HTTP_BL);
        Ok(Self { service: service.into(), wants_key })
    }

    /// The name to ask for about a value: an address turned round (RFC 5782 §2.1 and §2.4), or a name as it
    /// is; nothing where there is no such name.
    pub(crate) fn question(&self, value: &[u8], key: Option<&str>) -> Option<String> {
        let value = std::str::from_utf8(value).ok()?.trim().trim_end_matches('.');
        let mut name = String::new();
        if self.wants_key {
            let _infallible = write!(name, "{}.", key?);
        }
        match value.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(IpAddr::V4(v4)) => {
                let [a, b, c, d] = v4.octets();
                let _infallible = write!(name, "{d}.{c}.{b}.{a}.");
            }
            // That service knows no other addresses.
            Ok(IpAddr::V6(_)) | Err(_) if self.wants_key => return None,
            Ok(IpAddr::V6(v6)) => {
                for byte in v6.octets().iter().rev() {
                    let _infallible = write!(name, "{:x}.{:x}.", byte & 15, byte >> 4);
                }
            }
            Err(_) => {
                let _infallible = write!(name, "{}.", value.to_ascii_lowercase());
            }
        }
        name.push_str(&self.service);
        is_name(&name).then_some(name)
    }

    /// What an answer says: listed or not; nothing where it is none. Answers are in 127.0.0.0/8 (RFC 5782
    /// §2.1): others come from resolvers that give every name an address. 127.0.0.1 and 127.255.255.0/24 say
    /// that the asker is not answered (RFC 6471 §3.4 has lists answer nothing of the kind; those in use do).
    pub(crate) fn verdict(&self, addresses: &[Ipv4Addr]) -> Option<bool> {
        let is_answer = |address: &Ipv4Addr| {
            let octets = address.octets();
            let is_refusal = octets == [127, 0, 0, 1] || octets.starts_with(&[127, 255, 255]);
            octets[0] == 127 && (self.wants_key || !is_refusal)
        };
        if addresses.is_empty() {
            return Some(false);
        }
        addresses.iter().any(is_answer).then_some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(service: &str) -> Blocklist {
        Blocklist::parse(service).expect("a list")
    }

    #[test]
    fn addresses_are_turned_round_and_names_are_not() {
        let zen = list("Zen.Spamhaus.org.");
        for (value, expected) in [
            ("192.0.2.99", Some("99.2.0.192.zen.spamhaus.org")),
            ("::ffff:192.0.2.99", Some("99.2.0.192.zen.spamhaus.org")),
            (
                "2001:db8:1:2:3:4:567:89ab",
                Some("b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.zen.spamhaus.org"),
            ),
            ("Shop.Example.", Some("shop.example.zen.spamhaus.org")),
            ("a b", None),
            ("", None),
            ("a..b", None),
            ("a/b", None),
        ] {
            assert_eq!(zen.question(value.as_bytes(), None).as_deref(), expected, "{value}");
        }
        assert_eq!(zen.question("a".repeat(64).as_bytes(), None), None);
        assert_eq!(zen.question(["a"; 130].join(".").as_bytes(), None), None);
        assert_eq!(zen.question(b"\xff", None), None);
    }

    #[test]
    fn one_service_wants_a_key_and_knows_old_addresses_alone() {
        let http = list("dnsbl.httpbl.org");
        let expected = Some("abcdefghijkl.1.2.0.192.dnsbl.httpbl.org");
        assert_eq!(http.question(b"192.0.2.1", Some("abcdefghijkl")).as_deref(), expected);
        assert_eq!(http.question(b"192.0.2.1", None), None);
        assert_eq!(http.question(b"2001:db8::1", Some("k")), None);
        assert_eq!(http.verdict(&[Ipv4Addr::new(127, 255, 255, 4)]), Some(true));
    }

    #[test]
    fn only_what_a_list_answers_is_an_answer() {
        let zen = list("zen.example.org");
        assert_eq!(zen.verdict(&[]), Some(false));
        for (octets, expected) in [
            ([127, 0, 0, 2], Some(true)),
            ([127, 0, 0, 10], Some(true)),
            ([127, 0, 0, 1], None),
            ([127, 255, 255, 254], None),
            ([192, 0, 2, 80], None),
        ] {
            assert_eq!(zen.verdict(&[Ipv4Addr::from(octets)]), expected, "{octets:?}");
        }
        assert!(["", "x", "a b.c", ".", "a..b"].iter().all(|text| Blocklist::parse(text).is_err()));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_asked_is_a_name(
            value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        ) {
            if let Some(name) = list("a.example").question(&value, None) {
                proptest::prop_assert!(is_name(&name));
            }
        }
    }
}
