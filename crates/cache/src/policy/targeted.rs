//! Cache directives meant for certain caches: `CDN-Cache-Control` (RFC 9213) and `Surrogate-Control`.
//!
//! A zone says which of them it heeds and in which order; the first that is there and can be read takes the
//! place of `Cache-Control` and `Expires` together. Called by `storing.rs`. Read next: [`effective_control`].

use exchange::Fields;

use super::control::ResponseControl;
use super::words::lines;
use crate::limits::{CONTROL_MEMBERS_MAX, TARGETED_BYTES_MAX};

/// A field whose directives go before `Cache-Control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targeted {
    /// `CDN-Cache-Control`, a dictionary of structured fields (RFC 9213 §3.1).
    CdnCacheControl,
    /// `Surrogate-Control` (Edge Architecture 1.0), for us alone: it is not passed on.
    SurrogateControl,
}

impl Targeted {
    /// The field's name.
    pub fn name(self) -> &'static [u8] {
        match self {
            Self::CdnCacheControl => b"CDN-Cache-Control",
            Self::SurrogateControl => b"Surrogate-Control",
        }
    }

    /// Reads the field; none if it is absent, empty, or no valid dictionary (RFC 9213 §2.1), and for
    /// `Surrogate-Control` if it says nothing of storing.
    pub fn read(self, fields: &Fields) -> Option<ResponseControl> {
        let mut control = ResponseControl::default();
        match self {
            Self::CdnCacheControl => {
                let mut text = Vec::new();
                for line in lines(fields, self.name()) {
                    // Lines are joined before they are parsed (RFC 9651 §4.2).
                    if !text.is_empty() {
                        text.push(b',');
                    }
                    text.extend_from_slice(line);
                    if text.len() > TARGETED_BYTES_MAX {
                        return None;
                    }
                }
                read_dictionary(&text, &mut control)?;
            }
            Self::SurrogateControl => {
                for line in lines(fields, self.name()) {
                    control.read_surrogate_line(line);
                }
            }
        }
        control.is_present.then_some(control)
    }
}

/// The directives that hold for this cache, and the targeted field they came from.
///
/// With a targeted field, `Cache-Control` and `Expires` say nothing here (RFC 9213 §2.2).
pub fn effective_control(fields: &Fields, order: &[Targeted]) -> (ResponseControl, Option<Targeted>) {
    for targeted in order {
        if let Some(control) = targeted.read(fields) {
            return (control, Some(*targeted));
        }
    }
    (ResponseControl::read(fields), None)
}

/// Reads a dictionary (RFC 9651 §4.2.2) and hands each directive on as `Cache-Control` would spell it.
fn read_dictionary(text: &[u8], control: &mut ResponseControl) -> Option<()> {
    let mut cursor = Cursor { text, at: 0 };
    cursor.skip(b" ");
    let mut members: Vec<(&[u8], Value<'_>)> = Vec::new();
    while !cursor.is_at_end() {
        let key = cursor.key()?;
        let value = match cursor.take(b'=') {
            true if cursor.peek() == Some(b'(') => {
                cursor.inner_list()?;
                Value::Other
            }
            true => cursor.bare_item()?,
            false => Value::Boolean(true),
        };
        cursor.parameters()?;
        // The last of equal keys counts (RFC 9651 §4.2.2).
        members.retain(|(known, _)| *known != key);
        if members.len() >= CONTROL_MEMBERS_MAX {
            return None;
        }
        members.push((key, value));
        cursor.skip(b" \t");
        if cursor.is_at_end() {
            break;
        }
        if !cursor.take(b',') {
            return None;
        }
        cursor.skip(b" \t");
        if cursor.is_at_end() {
            return None;
        }
    }
    for (key, value) in members {
        let mut line = key.to_vec();
        match value {
            Value::Boolean(true) => {}
            Value::Boolean(false) => continue,
            Value::Integer(digits) => {
                line.push(b'=');
                line.extend_from_slice(digits);
            }
            Value::Text(quoted) if key == b"private" || key == b"no-cache" => {
                line.push(b'=');
                line.extend_from_slice(quoted);
            }
            // A type that the directive does not have: lifetimes become unreadable, restrictions stay.
            Value::Text(_) | Value::Other => line.extend_from_slice(b"=?"),
        }
        control.read_line(&line);
    }
    Some(())
}

/// The value of a member, as far as cache directives go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Integer(&'a [u8]),
    Boolean(bool),
    /// A string with its quotes: it may hold field names; a number in it is of the wrong type.
    Text(&'a [u8]),
    Other,
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn skip(&mut self, bytes: &[u8]) {
        while self.peek().is_some_and(|byte| bytes.contains(&byte)) {
            self.at += 1;
        }
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let start = self.at;
        while self.peek().is_some_and(&belongs) {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let first = self.peek()?;
        if !first.is_ascii_lowercase() && first != b'*' {
            return None;
        }
        Some(self.run(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b)))
    }

    fn bare_item(&mut self) -> Option<Value<'a>> {
        match self.peek()? {
            b'?' => {
                self.at += 1;
                let said = self.peek()?;
                self.at += 1;
                matches!(said, b'0' | b'1').then_some(Value::Boolean(said == b'1'))
            }
            b'"' => self.string().map(Value::Text),
            b':' => {
                self.at += 1;
                self.run(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
                self.take(b':').then_some(Value::Other)
            }
            b'-' | b'0'..=b'9' => self.number(),
            b'@' => {
                self.at += 1;
                matches!(self.number()?, Value::Integer(_)).then_some(Value::Other)
            }
            b'%' => {
                self.at += 1;
                self.string().map(|_| Value::Other)
            }
            first if first.is_ascii_alphabetic() || first == b'*' => {
                self.run(|b| super::words::is_token_byte(b) || b == b':' || b == b'/');
                Some(Value::Other)
            }
            _ => None,
        }
    }

    /// An integer of at most 15 digits or a decimal of at most 12 and 3 (RFC 9651 §4.2.4).
    fn number(&mut self) -> Option<Value<'a>> {
        let start = self.at;
        let is_negative = self.take(b'-');
        let whole = self.run(|b| b.is_ascii_digit()).len();
        if whole == 0 || whole > 15 {
            return None;
        }
        if self.take(b'.') {
            let part = self.run(|b| b.is_ascii_digit()).len();
            return (whole <= 12 && (1..=3).contains(&part)).then_some(Value::Other);
        }
        let digits = self.text.get(start..self.at)?;
        Some(if is_negative { Value::Other } else { Value::Integer(digits) })
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        if !self.take(b'"') {
            return None;
        }
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return self.text.get(start..self.at),
                b'\\' => {
                    if !matches!(self.peek()?, b'"' | b'\\') {
                        return None;
                    }
                    self.at += 1;
                }
                0x20..=0x7e => {}
                _ => return None,
            }
        }
    }

    /// Parameters are read past (RFC 9213 §2.1).
    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// An inner list is read past: no directive has one.
    fn inner_list(&mut self) -> Option<()> {
        if !self.take(b'(') {
            return None;
        }
        loop {
            self.skip(b" ");
            if self.take(b')') {
                return Some(());
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.peek()?, b' ' | b')') {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::control::Seconds;
    use super::*;

    fn cdn(value: &str) -> Option<ResponseControl> {
        let mut fields = Fields::new();
        fields.push(b"cdn-cache-control", value.as_bytes());
        Targeted::CdnCacheControl.read(&fields)
    }

    #[test]
    fn reads_dictionaries_of_several_lines() {
        let mut fields = Fields::new();
        fields.push(b"CDN-Cache-Control", b"max-age=60;foo=bar");
        fields.push(b"CDN-Cache-Control", b"no-transform, x=(1 \"a\";b), y=:aGk=:, max-age=70");
        let control = Targeted::CdnCacheControl.read(&fields).expect("it is valid");
        assert_eq!(control.max_age, Seconds::Of(70));
        assert!(control.no_transform);
    }

    #[test]
    fn what_is_empty_or_no_dictionary_is_as_if_absent() {
        for value in [
            "",
            "   ",
            "max-age=60,",
            "max-age=60,,no-store",
            "MAX-AGE=60",
            "max-age =60",
            "max-age=",
            "max-age=60 no-store",
            "max-age=\"60",
            "max-age=60;",
            "max-age=1234567890123456",
            "max-age=&",
        ] {
            assert_eq!(cdn(value), None, "{value}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_makes_stale_or_restricts() {
        assert_eq!(cdn("max-age=60.5").map(|c| c.max_age), Some(Seconds::Invalid));
        assert_eq!(cdn("max-age=-60").map(|c| c.max_age), Some(Seconds::Invalid));
        assert_eq!(cdn("max-age=\"60\"").map(|c| c.max_age), Some(Seconds::Invalid));
        assert_eq!(cdn("max-age").map(|c| c.max_age), Some(Seconds::Invalid));
        assert_eq!(cdn("no-store=(a)").map(|c| c.no_store), Some(true));
        assert_eq!(cdn("no-store=?0, max-age=1").map(|c| c.no_store), Some(false));
        assert_eq!(cdn("private=\"set-cookie\"").map(|c| c.private.names(b"Set-Cookie")), Some(true));
    }

    #[test]
    fn the_first_readable_field_in_the_zones_order_counts() {
        let mut fields = Fields::new();
        fields.push(b"Cache-Control", b"max-age=1");
        fields.push(b"Surrogate-Control", b"max-age=2");
        fields.push(b"CDN-Cache-Control", b"max-age=3");
        let both = [Targeted::CdnCacheControl, Targeted::SurrogateControl];
        assert_eq!(effective_control(&fields, &both).0.max_age, Seconds::Of(3));
        assert_eq!(effective_control(&fields, &both[1..]).0.max_age, Seconds::Of(2));
        assert_eq!(effective_control(&fields, &[]).0.max_age, Seconds::Of(1));
        fields.set(b"CDN-Cache-Control", b"max-age=3,");
        let (control, by) = effective_control(&fields, &both);
        assert_eq!((control.max_age, by), (Seconds::Of(2), Some(Targeted::SurrogateControl)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut fields = Fields::new();
            fields.push(b"CDN-Cache-Control", &bytes);
            let _ = Targeted::CdnCacheControl.read(&fields);
        }

        #[test]
        fn lists_of_plausible_bytes_are_read(text in "[a-z=;,\"()?01 .:@%-]{0,60}") {
            let _ = cdn(&text);
        }
    }
}
