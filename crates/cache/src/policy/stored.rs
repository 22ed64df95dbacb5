//! What the policy keeps of a stored answer: a few numbers to decide by, and the head to answer with.
//!
//! Storage keeps both without reading them. A lookup reads the numbers only; the head is read when it is
//! sent. Made by `storing.rs` and `refresh.rs`. Read next: [`Metadata`], then [`StoredHead`].

use bytes::Bytes;
use exchange::{BodySize, Fields, Response};

use super::validator::Validators;
use crate::limits::TROUBLE_MS;

/// How many numbers a [`Metadata`] is.
pub const NUMBERS: usize = 8;

/// The numbers that decide whether a stored answer may be used.
///
/// Times are Unix times of a clock that the caller keeps from stepping. Where it was set over a restart: an
/// answer from the future counts as new as when it was stored, and when it was set ahead, answers turn stale
/// early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// 200 to 599.
    pub status: u16,
    /// When the answer's head had come, or its last revalidation: milliseconds since 1970.
    pub received_ms: u64,
    /// How old it was then: `corrected_initial_age` of RFC 9111 §4.2.3.
    pub initial_age_s: u32,
    /// For how many seconds of age it is fresh.
    pub lifetime_s: u32,
    /// Seconds beyond, while it is revalidated; none where the answer does not say (RFC 5861 §3).
    pub stale_while_revalidate_s: Option<u32>,
    /// Seconds beyond, when the origin fails; none where the answer does not say (RFC 5861 §4).
    pub stale_if_error_s: Option<u32>,
    /// Bytes of the body, or of all slices together; none while a body of unknown length fills.
    pub body_bytes: Option<u64>,
    /// What else bears on its use.
    pub traits: Traits,
    /// Which body it is: random, given by whoever stores it, kept when a 304 renews the head. Coded forms
    /// of the body are found by it, so that they never outlive it.
    pub body_id: u64,
    /// The origin failed when it was asked last: until then, milliseconds since 1970, it is not asked again
    /// where a stale answer may bridge the failure. 0 for never.
    pub troubled_until_ms: u64,
    /// Bytes of a slice, where the body is not here but in slices; 0 otherwise.
    pub slice_bytes: u64,
}

/// What bears on a stored answer's use beside its age. A set; none is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits(u16);

impl Traits {
    /// `must-revalidate`: never stale (RFC 9111 §5.2.2.2).
    pub const MUST_REVALIDATE: Self = Self(1);
    /// `proxy-revalidate` or `s-maxage`: not stale unless the same answer allows it (§5.2.2.8, §5.2.2.10).
    pub const SHARED_REVALIDATE: Self = Self(1 << 1);
    /// `no-cache`: used only after a successful validation (§5.2.2.4).
    pub const NO_CACHE: Self = Self(1 << 2);
    /// It has an `ETag` or a `Last-Modified`.
    pub const HAS_VALIDATOR: Self = Self(1 << 3);
    /// `no-transform`: its coding is left as it is (§5.2.2.6).
    pub const NO_TRANSFORM: Self = Self(1 << 4);
    /// Its body is not here but in slices.
    pub const SLICED: Self = Self(1 << 5);
    /// It is no answer but the coded form of another's body: head and freshness are that one's.
    pub const CODED_HERE: Self = Self(1 << 6);
    /// It is no answer but the index of a key's variants ([`super::VaryIndex`]).
    pub const INDEX: Self = Self(1 << 9);
    /// It has `Link` fields that may be told early.
    pub const HAS_HINTS: Self = Self(1 << 7);
    /// Its lifetime was guessed (§4.2.2).
    pub const HEURISTIC: Self = Self(1 << 8);
    /// Its head has fields for this cache alone ([`super::is_for_this_cache`]), which are taken out when it
    /// is sent.
    pub const HAS_OWN_FIELDS: Self = Self(1 << 10);

    /// Whether all of `other` are there.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These, and `other` if `is_there`.
    #[must_use]
    pub fn with_if(self, other: Self, is_there: bool) -> Self {
        if is_there { self.with(other) } else { self }
    }
}

/// `None` in the packed form of an optional number of seconds; known ones are at most 2^31.
const ABSENT: u64 = u32::MAX as u64;

impl Metadata {
    /// How old the answer is now (RFC 9111 §4.2.3).
    pub fn age_s(&self, now_ms: u64) -> u32 {
        let resident_s = now_ms.saturating_sub(self.received_ms) / 1000;
        let age = u64::from(self.initial_age_s).saturating_add(resident_s);
        age.min(u64::from(super::words::SECONDS_MAX)) as u32
    }

    /// Seconds of freshness left; negative once stale (the `ttl` of RFC 9211 §2.4).
    pub fn ttl_s(&self, now_ms: u64) -> i64 {
        i64::from(self.lifetime_s) - i64::from(self.age_s(now_ms))
    }

    /// Whether its lifetime is longer than its age (RFC 9111 §4.2).
    pub fn is_fresh(&self, now_ms: u64) -> bool {
        self.lifetime_s > self.age_s(now_ms)
    }

    /// Whether the origin failed a moment ago, and is left alone. Further ahead than such a moment lasts, the
    /// clock was set back over a restart, and nobody knows how long ago it was.
    pub fn is_troubled(&self, now_ms: u64) -> bool {
        (1..=TROUBLE_MS).contains(&self.troubled_until_ms.saturating_sub(now_ms))
    }

    /// Packs it into numbers that storage keeps as they are.
    pub fn to_numbers(&self) -> [u64; NUMBERS] {
        let pair = |low: u64, high: u64| low | high << 32;
        let optional = |seconds: Option<u32>| seconds.map_or(ABSENT, u64::from);
        [
            pair(u64::from(self.status), u64::from(self.traits.0)),
            self.received_ms,
            pair(u64::from(self.initial_age_s), u64::from(self.lifetime_s)),
            pair(optional(self.stale_while_revalidate_s), optional(self.stale_if_error_s)),
            self.body_bytes.unwrap_or(u64::MAX),
            self.body_id,
            self.troubled_until_ms,
            self.slice_bytes,
        ]
    }

    /// Reads what [`Metadata::to_numbers`] packed.
    pub fn from_numbers(numbers: &[u64; NUMBERS]) -> Self {
        let [kind, received_ms, life, stale, body, body_id, troubled_until_ms, slice_bytes] = *numbers;
        let optional = |number: u64| (number != ABSENT).then_some(number as u32);
        Self {
            status: kind as u16,
            traits: Traits((kind >> 32) as u16),
            received_ms,
            initial_age_s: life as u32,
            lifetime_s: (life >> 32) as u32,
            stale_while_revalidate_s: optional(stale & ABSENT),
            stale_if_error_s: optional(stale >> 32),
            body_bytes: (body != u64::MAX).then_some(body),
            body_id,
            troubled_until_ms,
            slice_bytes,
        }
    }
}

/// The head of a stored answer in one run of bytes: reason, then fields in order, names as sent.
///
/// Layout: a byte for its version, the status, the number of fields, the reason's length; for each field
/// the lengths of name and value; then all texts. A head that cannot be read back is as good as not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHead {
    bytes: Bytes,
}

const LAYOUT: u8 = 1;
/// Layout, status, number of fields, length of the reason.
const FIXED_BYTES: usize = 1 + 2 + 2 + 2;
/// Lengths of name and value.
const LINE_BYTES: usize = 2 + 4;

impl StoredHead {
    /// Packs status, reason and those fields of `answer` for which `keeps` is true. None if it has more than
    /// 65,535 fields, or a name or reason longer than that.
    pub fn pack(answer: &Response, keeps: impl Fn(&exchange::FieldRef<'_>) -> bool) -> Option<Self> {
        let mut lines = Vec::with_capacity(answer.fields.len() * LINE_BYTES);
        let mut texts = Vec::with_capacity(answer.fields.bytes_len());
        let mut count = 0u16;
        for field in answer.fields.iter().filter(|field| keeps(field)) {
            count = count.checked_add(1)?;
            lines.extend_from_slice(&u16::try_from(field.name.len()).ok()?.to_be_bytes());
            lines.extend_from_slice(&u32::try_from(field.value.len()).ok()?.to_be_bytes());
            texts.extend_from_slice(field.name);
            texts.extend_from_slice(field.value);
        }
        let reason = u16::try_from(answer.reason.len()).ok()?;
        let mut bytes = Vec::with_capacity(FIXED_BYTES + lines.len() + answer.reason.len() + texts.len());
        bytes.push(LAYOUT);
        bytes.extend_from_slice(&answer.status.to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(&reason.to_be_bytes());
        bytes.extend_from_slice(&lines);
        bytes.extend_from_slice(&answer.reason);
        bytes.extend_from_slice(&texts);
        Some(Self { bytes: bytes.into() })
    }

    /// The head that storage kept; none if it is not one.
    pub fn from_kept(bytes: Bytes) -> Option<Self> {
        let head = Self { bytes };
        // Every length is checked once here, so that reading cannot come short later.
        let (_, _, mut lines) = head.read()?;
        while lines.next().is_some() {}
        let is_whole = lines.lines.is_empty() && lines.texts.is_empty();
        is_whole.then_some(head)
    }

    /// What storage keeps.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn read(&self) -> Option<(u16, &[u8], Lines<'_>)> {
        let (fixed, rest) = self.bytes.split_first_chunk::<FIXED_BYTES>()?;
        let [layout, status_high, status_low, count_high, count_low, reason_high, reason_low] = *fixed;
        if layout != LAYOUT {
            return None;
        }
        let status = u16::from_be_bytes([status_high, status_low]);
        let count = usize::from(u16::from_be_bytes([count_high, count_low]));
        let (lines, rest) = rest.split_at_checked(count * LINE_BYTES)?;
        let reason = usize::from(u16::from_be_bytes([reason_high, reason_low]));
        let (reason, texts) = rest.split_at_checked(reason)?;
        Some((status, reason, Lines { lines, texts }))
    }

    fn lines(&self) -> Lines<'_> {
        self.read().map_or(Lines { lines: &[], texts: &[] }, |(_, _, lines)| lines)
    }

    /// All values of a name, whatever its case.
    pub fn values<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.lines().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Names and values, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines()
    }

    /// The validators.
    pub fn validators(&self) -> Validators<'_> {
        let mut found = Validators::default();
        for (name, value) in self.lines() {
            let place = match name.len() {
                4 if name.eq_ignore_ascii_case(b"etag") => &mut found.etag,
                4 if name.eq_ignore_ascii_case(b"date") => &mut found.date,
                13 if name.eq_ignore_ascii_case(b"last-modified") => &mut found.last_modified,
                _ => continue,
            };
            if place.is_none() && !value.is_empty() {
                *place = Some(value);
            }
        }
        found
    }

    /// Fills status, reason and fields of `answer`, whose body is left alone.
    pub fn unpack_into(&self, answer: &mut Response) {
        let Some((status, reason, lines)) = self.read() else { return };
        answer.status = status;
        answer.reason.clear();
        answer.reason.extend_from_slice(reason);
        load(&mut answer.fields, lines);
    }

    /// The head as an answer without a body.
    pub fn unpack(&self) -> Response {
        let mut answer = Response { body: BodySize::None, fields: Fields::new(), ..Response::default() };
        self.unpack_into(&mut answer);
        answer
    }
}

/// Puts a stored head's fields into `fields`: with one copy of all texts where offsets fit, as they nearly
/// always do, which costs a third of pushing field by field.
fn load(fields: &mut Fields, lines: Lines<'_>) {
    let count = lines.lines.len() / LINE_BYTES;
    let mut list = [http1::Field::default(); LOADED_MAX];
    let is_small = count <= LOADED_MAX && lines.texts.len() <= usize::from(u16::MAX);
    // Room for what an answer gets besides: Age, Cache-Status, the request's id, and the like.
    fields.clear();
    fields.reserve(count + 8, lines.texts.len() + 320);
    if !is_small {
        lines.for_each(|(name, value)| fields.push(name, value));
        return;
    }
    let mut at = 0;
    for (field, (name, value)) in list.iter_mut().zip(lines.clone()) {
        let (name_len, value_len) = (name.len() as u16, value.len() as u16);
        field.name = http1::Span { start: at, len: name_len };
        field.value = http1::Span { start: at.wrapping_add(name_len), len: value_len };
        field.known = http1::Known::of(name);
        at = at.wrapping_add(name_len).wrapping_add(value_len);
    }
    fields.load(lines.texts, list.get(..count).unwrap_or_default());
}

/// Fields of a head that are loaded at once: 768 bytes of stack. Real answers have up to thirty.
const LOADED_MAX: usize = 64;

/// Reads fields out of lengths and texts; ends early where they do not fit.
#[derive(Clone)]
struct Lines<'a> {
    lines: &'a [u8],
    texts: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (line, lines) = self.lines.split_first_chunk::<LINE_BYTES>()?;
        let [name_high, name_low, value @ ..] = *line;
        let (name, rest) =
            self.texts.split_at_checked(usize::from(u16::from_be_bytes([name_high, name_low])))?;
        let (value, texts) = rest.split_at_checked(u32::from_be_bytes(value) as usize)?;
        (self.lines, self.texts) = (lines, texts);
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(pairs: &[(&str, &str)]) -> StoredHead {
        let mut answer = Response { status: 203, reason: b"Fine".to_vec(), ..Response::default() };
        for (name, value) in pairs {
            answer.fields.push(name.as_bytes(), value.as_bytes());
        }
        StoredHead::pack(&answer, |_| true).expect("it is small")
    }

    #[test]
    fn a_head_comes_back_as_it_was() {
        let kept = head(&[("eTag", "\"a\""), ("X-Empty", ""), ("x-b", "1"), ("X-B", "2")]);
        let again = StoredHead::from_kept(kept.as_bytes().clone()).expect("it was packed here");
        let answer = again.unpack();
        assert_eq!((answer.status, &answer.reason[..]), (203, &b"Fine"[..]));
        let fields: Vec<_> = answer.fields.iter().map(|f| (f.name.to_vec(), f.value.to_vec())).collect();
        assert_eq!(fields.first(), Some(&(b"eTag".to_vec(), b"\"a\"".to_vec())));
        assert_eq!(fields.len(), 4);
        assert_eq!(again.values(b"x-B").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(again.validators().etag, Some(&b"\"a\""[..]));
    }

    #[test]
    fn a_head_of_many_fields_comes_back_too() {
        let names: Vec<String> = (0..LOADED_MAX * 2).map(|n| format!("X-{n}")).collect();
        let long = "v".repeat(1_000);
        for count in [0, 1, LOADED_MAX, LOADED_MAX + 1, names.len()] {
            let pairs: Vec<_> = names.iter().take(count).map(|name| (name.as_str(), long.as_str())).collect();
            let answer = head(&pairs).unpack();
            let again: Vec<_> = answer.fields.iter().map(|f| (f.name.to_vec(), f.value.to_vec())).collect();
            let expected: Vec<_> =
                pairs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
            assert_eq!(again, expected, "{count}");
        }
    }

    #[test]
    fn a_head_cut_or_changed_in_its_lengths_is_none() {
        let kept = head(&[("etag", "\"a\""), ("x", "y")]);
        for len in 0..kept.as_bytes().len() {
            assert_eq!(StoredHead::from_kept(kept.as_bytes().slice(..len)), None);
        }
        let mut longer = kept.as_bytes().to_vec();
        longer.push(0);
        assert_eq!(StoredHead::from_kept(longer.into()), None);
    }

    #[test]
    fn age_survives_clocks_that_step() {
        let meta = Metadata { received_ms: 100_000, initial_age_s: 5, lifetime_s: 10, ..Metadata::default() };
        assert_eq!(meta.age_s(100_999), 5);
        assert_eq!(meta.age_s(101_000), 6);
        assert_eq!(meta.age_s(0), 5);
        assert_eq!(meta.age_s(u64::MAX), 1 << 31);
        assert!(meta.is_fresh(104_999) && !meta.is_fresh(105_000));
        assert_eq!(meta.ttl_s(107_000), -2);
    }

    proptest! {
        #[test]
        fn numbers_come_back(
            status in 200u16..600, received_ms in any::<u64>(), ages in any::<(u32, u32)>(),
            stale in proptest::option::of(0u32..=1 << 31), body in proptest::option::of(0..u64::MAX),
            traits in 0u16..2048,
        ) {
            let meta = Metadata {
                status,
                received_ms,
                initial_age_s: ages.0,
                lifetime_s: ages.1,
                stale_while_revalidate_s: stale,
                stale_if_error_s: None, body_bytes: body, traits: Traits(traits), body_id: received_ms,
                troubled_until_ms: received_ms,
                slice_bytes: received_ms,
            };
            prop_assert_eq!(Metadata::from_numbers(&meta.to_numbers()), meta);
            let other = Metadata { stale_if_error_s: stale, stale_while_revalidate_s: None, ..meta };
            prop_assert_eq!(Metadata::from_numbers(&other.to_numbers()), other);
        }

        #[test]
        fn any_bytes_are_a_head_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(head) = StoredHead::from_kept(bytes.into()) {
                head.unpack();
                head.validators();
            }
        }
    }
}
