//! `Cache-Control` of answers and requests (RFC 9111 §5.2, RFC 5861), read leniently and towards caution.
//!
//! What restricts holds however badly it is written; what permits must be written well; a lifetime that
//! cannot be read is no lifetime (RFC 9111 §4.2.1). Called by `storing.rs`, `freshness.rs`, `lookup.rs`.
//! Read next: [`ResponseControl::read`], then `targeted.rs` for the same directives in other fields.

use exchange::Fields;

use super::words::{Members, is_token, lines, members, number, seconds, trim, unquoted};
use crate::limits::{CONTROL_FIELD_NAMES_MAX, CONTROL_MEMBERS_MAX};

/// A directive whose argument is a number of seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seconds {
    /// The directive is not there.
    #[default]
    Absent,
    /// It is there and cannot be read: what depends on it counts as stale.
    Invalid,
    /// Its argument, at most 2^31.
    Of(u32),
}

impl Seconds {
    /// The number, if there is a readable one.
    pub fn known(self) -> Option<u32> {
        match self {
            Self::Of(seconds) => Some(seconds),
            Self::Absent | Self::Invalid => None,
        }
    }

    /// Takes a further occurrence: the first one counts (RFC 9111 §4.2.1).
    fn take(&mut self, argument: Option<&[u8]>) {
        if *self == Self::Absent {
            let bare = argument.map(|argument| unquoted(argument).unwrap_or(argument));
            *self = bare.and_then(seconds).map_or(Self::Invalid, Self::Of);
        }
    }
}

/// A restriction that may be narrowed to some fields: `no-cache` and `private` (RFC 9111 §5.2.2.4, §5.2.2.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Restriction {
    /// The directive is not there.
    #[default]
    No,
    /// It holds for the answer as a whole.
    Whole,
    /// It holds for these fields only; names as written.
    Fields(Vec<Box<[u8]>>),
}

impl Restriction {
    /// It holds for the answer as a whole.
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// Whether it holds for the field `name`.
    pub fn names(&self, name: &[u8]) -> bool {
        matches!(self, Self::Fields(names) if names.iter().any(|listed| listed.eq_ignore_ascii_case(name)))
    }

    fn take(&mut self, argument: Option<&[u8]>) {
        let listed = argument.map(|argument| unquoted(argument).unwrap_or(argument));
        let names: Vec<&[u8]> = listed.map(|listed| members(listed).collect()).unwrap_or_default();
        // A list that cannot be read, or a long one, restricts everything.
        let can_be_read = !names.is_empty() && names.iter().all(|name| is_token(name));
        *self = match std::mem::take(self) {
            Self::Whole => Self::Whole,
            _ if !can_be_read => Self::Whole,
            Self::No if names.len() <= CONTROL_FIELD_NAMES_MAX => {
                Self::Fields(names.into_iter().map(Box::from).collect())
            }
            Self::Fields(mut listed) if listed.len() + names.len() <= CONTROL_FIELD_NAMES_MAX => {
                listed.extend(names.into_iter().map(Box::from));
                Self::Fields(listed)
            }
            Self::No | Self::Fields(_) => Self::Whole,
        };
    }
}

/// What an answer says about its being stored (RFC 9111 §5.2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the directive of that name")]
pub struct ResponseControl {
    pub max_age: Seconds,
    pub s_maxage: Seconds,
    /// RFC 5861 §3.
    pub stale_while_revalidate: Seconds,
    /// RFC 5861 §4.
    pub stale_if_error: Seconds,
    pub no_cache: Restriction,
    pub private: Restriction,
    pub no_store: bool,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub no_transform: bool,
    /// RFC 8246.
    pub immutable: bool,
    /// The field is there, whatever it says (of `Surrogate-Control`: and says something of storing).
    pub is_present: bool,
    /// A quote does not end: no lifetime of this field is believed.
    pub is_broken: bool,
}

impl ResponseControl {
    /// Reads all `Cache-Control` lines of an answer as one list.
    pub fn read(fields: &Fields) -> Self {
        let mut control = Self::default();
        for line in lines(fields, b"cache-control") {
            control.read_line(line);
        }
        control
    }

    /// Reads one line more.
    pub fn read_line(&mut self, line: &[u8]) {
        self.is_present = true;
        let mut members = Members::of(line);
        for _ in 0..CONTROL_MEMBERS_MAX {
            let Some(member) = members.next() else { break };
            let (name, argument) = split(member);
            self.take(name, argument);
        }
        // Beyond the limit nobody knows what is said.
        if members.next().is_some() {
            self.no_store = true;
        }
        self.is_broken |= members.is_broken();
    }

    fn take(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
        match name.len() {
            6 if is(b"public") => self.public |= argument.is_none(),
            7 if is(b"max-age") => self.max_age.take(argument),
            7 if is(b"private") => self.private.take(argument),
            8 if is(b"s-maxage") => self.s_maxage.take(argument),
            8 if is(b"no-cache") => self.no_cache.take(argument),
            8 if is(b"no-store") => self.no_store = true,
            9 if is(b"immutable") => self.immutable |= argument.is_none(),
            12 if is(b"no-transform") => self.no_transform = true,
            14 if is(b"stale-if-error") => self.stale_if_error.take(argument),
            15 if is(b"must-revalidate") => self.must_revalidate = true,
            15 if is(b"must-understand") => self.must_understand = true,
            16 if is(b"proxy-revalidate") => self.proxy_revalidate = true,
            22 if is(b"stale-while-revalidate") => self.stale_while_revalidate.take(argument),
            _ => {}
        }
    }

    /// Whether the field itself names a lifetime for a shared cache, readable or not.
    pub fn has_lifetime(&self) -> bool {
        self.s_maxage != Seconds::Absent || self.max_age != Seconds::Absent
    }

    /// The lifetime for a shared cache: `s-maxage`, else `max-age` (RFC 9111 §4.2.1). `Some(0)` for one that
    /// cannot be read.
    pub fn lifetime_s(&self) -> Option<u32> {
        let said = if self.s_maxage == Seconds::Absent { self.max_age } else { self.s_maxage };
        match said {
            Seconds::Absent => None,
            Seconds::Invalid => Some(0),
            Seconds::Of(_) if self.is_broken => Some(0),
            Seconds::Of(seconds) => Some(seconds),
        }
    }

    /// Reads `Surrogate-Control` (Edge Architecture 1.0): the same grammar, `max-age=FRESH+STALE`, and no
    /// directives beyond `no-store`, `no-store-remote` and `max-age` that bear on a cache. The field counts
    /// as there only with one of these, or with a restriction: `content="ESI/1.0"` alone says nothing of
    /// storing, and must not hide a `private`.
    pub(crate) fn read_surrogate_line(&mut self, line: &[u8]) {
        let mut members = Members::of(line);
        for _ in 0..CONTROL_MEMBERS_MAX {
            let Some(member) = members.next() else { break };
            let (name, argument) = split(member);
            // Parameters after `;` name the surrogate meant; an unnamed one is for all.
            let argument = argument.map(|argument| until(argument, b';'));
            let name = until(name, b';');
            let bearing: [&[u8]; 5] = [b"max-age", b"no-store", b"no-store-remote", b"private", b"no-cache"];
            self.is_present |= bearing.iter().any(|word| name.eq_ignore_ascii_case(word));
            if name.eq_ignore_ascii_case(b"max-age") {
                let argument = argument.unwrap_or_default();
                let fresh = until(argument, b'+');
                self.max_age.take(Some(fresh));
                if let Some(stale) = argument.get(fresh.len() + 1..) {
                    self.stale_while_revalidate.take(Some(stale));
                    self.stale_if_error.take(Some(stale));
                }
            } else if name.eq_ignore_ascii_case(b"no-store-remote") {
                self.no_store = true;
            } else {
                self.take(name, argument);
            }
        }
        if members.next().is_some() {
            (self.no_store, self.is_present) = (true, true);
        }
        self.is_broken |= members.is_broken();
    }
}

fn until(text: &[u8], mark: u8) -> &[u8] {
    trim(text.get(..memchr::memchr(mark, text).unwrap_or(text.len())).unwrap_or_default())
}

/// `max-stale` of a request (RFC 9111 §5.2.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxStale {
    /// Not there, or not readable.
    #[default]
    No,
    /// Stale by at most this much.
    Seconds(u32),
    /// However stale.
    Any,
}

/// What a request says (RFC 9111 §5.2.1), and `Pragma` where there is no `Cache-Control` (§5.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the directive of that name")]
pub struct RequestControl {
    /// An argument that cannot be read is 0.
    pub max_age: Option<u32>,
    /// An argument that cannot be read is left out: it would only ask for more.
    pub min_fresh: Option<u32>,
    pub max_stale: MaxStale,
    /// RFC 5861 §4.
    pub stale_if_error: Option<u32>,
    pub no_cache: bool,
    pub no_store: bool,
    pub no_transform: bool,
    pub only_if_cached: bool,
}

impl RequestControl {
    /// Reads all `Cache-Control` lines of a request; `Pragma: no-cache` only where there is none.
    pub fn read(fields: &Fields) -> Self {
        let mut control = Self::default();
        let mut is_present = false;
        for line in lines(fields, b"cache-control") {
            is_present = true;
            for member in Members::of(line).take(CONTROL_MEMBERS_MAX) {
                let (name, argument) = split(member);
                control.take(name, argument.map(|argument| unquoted(argument).unwrap_or(argument)));
            }
        }
        if !is_present {
            control.no_cache = lines(fields, b"pragma")
                .flat_map(Members::of)
                .take(CONTROL_MEMBERS_MAX)
                .any(|member| member.eq_ignore_ascii_case(b"no-cache"));
        }
        control
    }

    fn take(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
        let of = argument.and_then(seconds);
        if is(b"max-age") {
            self.max_age = self.max_age.or(Some(of.unwrap_or(0)));
        } else if is(b"min-fresh") {
            self.min_fresh = self.min_fresh.or(of);
        } else if is(b"max-stale") {
            if self.max_stale == MaxStale::No {
                self.max_stale = match (argument, of) {
                    (None, _) => MaxStale::Any,
                    (_, Some(seconds)) => MaxStale::Seconds(seconds),
                    (Some(_), None) => MaxStale::No,
                };
            }
        } else if is(b"stale-if-error") {
            self.stale_if_error = self.stale_if_error.or(of);
        } else if is(b"no-cache") {
            self.no_cache = true;
        } else if is(b"no-store") {
            self.no_store = true;
        } else if is(b"no-transform") {
            self.no_transform = true;
        } else if is(b"only-if-cached") {
            self.only_if_cached = true;
        }
    }
}

/// A member's name, and its argument if there is an `=`.
///
/// `no-store foo` and `no-store =` have a name before the space: a restriction with rubbish behind it still
/// restricts, and the rubbish stands for an argument that nobody can read.
fn split(member: &[u8]) -> (&[u8], Option<&[u8]>) {
    let end = member.iter().position(|byte| matches!(byte, b'=' | b' ' | b'\t')).unwrap_or(member.len());
    let name = member.get(..end).unwrap_or_default();
    match member.get(end) {
        None => (name, None),
        Some(b'=') => (name, Some(member.get(end + 1..).unwrap_or_default())),
        Some(_) => (name, Some(b"?")),
    }
}

/// `Age` (RFC 9111 §5.1): the first member of the first line; what is no number of seconds is ignored.
pub fn parse_age(fields: &Fields) -> u32 {
    let first = fields.known(exchange::Known::Age).unwrap_or_default();
    let member = trim(first.split(|byte| *byte == b',').next().unwrap_or_default());
    number(member).map_or(0, |age| age.min(u64::from(super::words::SECONDS_MAX)) as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(line: &str) -> ResponseControl {
        let mut control = ResponseControl::default();
        control.read_line(line.as_bytes());
        control
    }

    fn request(line: &str) -> RequestControl {
        let mut fields = Fields::new();
        fields.push(b"Cache-Control", line.as_bytes());
        RequestControl::read(&fields)
    }

    #[test]
    fn reads_names_in_any_case_and_quoted_arguments() {
        assert_eq!(response("MaX-aGe=\"60\"").max_age, Seconds::Of(60));
        assert_eq!(response("foo, max-age=1800, s-maxage=5").lifetime_s(), Some(5));
    }

    #[test]
    fn an_unreadable_lifetime_is_none() {
        for line in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=60.0",
            "max-age=a60",
            "max-age=60a",
            "max-age='60'",
            "max-age =60",
            "max-age= 60",
            "max-age=60 70",
            "max-age=60;x",
            "s-maxage=x, max-age=60",
        ] {
            assert_eq!(response(line).lifetime_s(), Some(0), "{line}");
        }
    }

    #[test]
    fn an_argument_of_another_directive_is_no_directive() {
        assert_eq!(response("x=\"max-age=60\"").lifetime_s(), None);
        assert_eq!(response("x=\"a, max-age=60, no-store\"").lifetime_s(), None);
        assert!(!response("x=\"a, no-store\"").no_store);
        assert_eq!(response("max-age-x=60, xmax-age=60").lifetime_s(), None);
    }

    #[test]
    fn the_first_of_several_lifetimes_counts() {
        assert_eq!(response("max-age=10, max-age=20").lifetime_s(), Some(10));
        assert_eq!(response("max-age=x, max-age=20").lifetime_s(), Some(0));
    }

    #[test]
    fn restrictions_hold_however_badly_written() {
        assert!(response("no-store=x").no_store);
        assert!(response("no-store x").no_store);
        assert!(response("x=\"y, no-store").no_store);
        assert!(response("private=").private.is_whole());
        assert!(response("private x").private.is_whole());
        assert!(response("no-cache=\"\"").no_cache.is_whole());
        assert!(response("no-cache=\"a b\"").no_cache.is_whole());
        assert!(!response("public=yes").public);
        assert_eq!(response("max-age=60, x=\"y").lifetime_s(), Some(0));
    }

    #[test]
    fn restrictions_may_be_narrowed_to_fields() {
        let control = response("private=\"Set-Cookie, X-A\", private=x-b");
        assert!(control.private.names(b"set-cookie") && control.private.names(b"X-B"));
        assert!(!control.private.is_whole());
        assert!(response("private=\"a\", private").private.is_whole());
        assert!(response("private, private=\"a\"").private.is_whole());
    }

    #[test]
    fn more_members_than_anybody_writes_are_not_trusted() {
        let line = "a,".repeat(CONTROL_MEMBERS_MAX) + "max-age=60";
        assert!(response(&line).no_store);
        let names = vec!["x-a"; CONTROL_FIELD_NAMES_MAX + 1].join(",");
        assert!(response(&format!("private=\"{names}\"")).private.is_whole());
    }

    #[test]
    fn requests_ask_for_what_they_can_say() {
        assert_eq!(request("max-stale").max_stale, MaxStale::Any);
        assert_eq!(request("max-stale=5").max_stale, MaxStale::Seconds(5));
        assert_eq!(request("max-stale=x").max_stale, MaxStale::No);
        assert_eq!(request("max-age=x").max_age, Some(0));
        assert_eq!(request("min-fresh=x").min_fresh, None);
        assert!(request("only-if-cached, no-store").only_if_cached);
    }

    #[test]
    fn pragma_speaks_only_where_cache_control_does_not() {
        let mut fields = Fields::new();
        fields.push(b"Pragma", b"foo, No-Cache");
        assert!(RequestControl::read(&fields).no_cache);
        fields.push(b"Cache-Control", b"max-age=9");
        assert!(!RequestControl::read(&fields).no_cache);
    }

    #[test]
    fn surrogates_may_be_told_a_stale_time() {
        let mut control = ResponseControl::default();
        control.read_surrogate_line(b"content=\"ESI/1.0\", max-age=3600+600;varnish");
        assert_eq!(control.lifetime_s(), Some(3600));
        assert_eq!(control.stale_while_revalidate, Seconds::Of(600));
        let mut control = ResponseControl::default();
        control.read_surrogate_line(b"no-store-remote");
        assert!(control.no_store);
    }

    #[test]
    fn age_is_its_first_member_if_that_is_a_number() {
        for (value, age) in [
            ("30", 30),
            ("30, 40", 30),
            ("x, 40", 0),
            ("-1", 0),
            ("1.5", 0),
            ("30s", 0),
            ("99999999999999", 1 << 31),
            ("", 0),
        ] {
            let mut fields = Fields::new();
            fields.push(b"Age", value.as_bytes());
            fields.push(b"Age", b"77");
            assert_eq!(parse_age(&fields), age, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut control = ResponseControl::default();
            control.read_line(&line);
            control.read_surrogate_line(&line);
            let mut fields = Fields::new();
            fields.push(b"Cache-Control", &line);
            RequestControl::read(&fields);
        }

        #[test]
        fn no_store_is_found_wherever_it_stands(
            before in proptest::collection::vec("[a-z]{1,6}(=([0-9]{1,3}|\"[a-z ,]{0,8}\"))?", 0..6),
            after in proptest::collection::vec("[a-z]{1,6}", 0..6),
        ) {
            let mut words = before;
            words.push("No-Store".into());
            words.extend(after);
            prop_assert!(response(&words.join(" , ")).no_store);
        }
    }
}
