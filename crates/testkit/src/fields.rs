//! Header and trailer fields in the order, case and number they were sent in.
//!
//! Names and values are bytes on the wire; here each byte is one `char` (ISO 8859-1), so nothing is lost and
//! nothing needs escaping in an assertion. It does not check syntax: [`crate::message`] does. Called by both
//! sides. Read next: [`crate::message`].

use std::fmt;

/// A list of fields. Lookups ignore the case of names (RFC 9110 section 5.1); the list keeps it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    list: Vec<(String, String)>,
}

impl Fields {
    /// No fields.
    pub fn new() -> Fields {
        Fields::default()
    }

    /// The fields of `pairs`, in their order.
    pub fn of(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Appends a field.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.list.push((name.into(), value.into()));
    }

    /// The value of the first field with this name.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The values of all fields with this name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// Whether a field with this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// Whether a comma-separated field holds `token`, in any case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The field lines as HTTP/1.1 writes them, each with its CRLF, without the empty line.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in self.iter() {
            bytes.extend(latin1_bytes(name));
            bytes.extend(b": ");
            bytes.extend(latin1_bytes(value));
            bytes.extend(b"\r\n");
        }
        bytes
    }

    /// The fields as the `http` crate holds them: names in lower case, order kept within one name only.
    ///
    /// # Errors
    /// When a name or value is not allowed in HTTP.
    pub fn to_header_map(&self) -> anyhow::Result<http::HeaderMap> {
        let mut map = http::HeaderMap::new();
        for (name, value) in self.iter() {
            let name = http::HeaderName::from_bytes(&latin1_bytes(name))?;
            map.append(name, http::HeaderValue::from_bytes(&latin1_bytes(value))?);
        }
        Ok(map)
    }

    /// The reverse of [`Fields::to_header_map`].
    pub fn from_header_map(map: &http::HeaderMap) -> Fields {
        map.iter().map(|(name, value)| (name.as_str().to_owned(), latin1(value.as_bytes()))).collect()
    }
}

impl FromIterator<(String, String)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Fields {
        Fields { list: pairs.into_iter().collect() }
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_list().entries(self.list.iter().map(|(name, value)| format!("{name}: {value}"))).finish()
    }
}

/// Each byte as the `char` of the same number.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The reverse of [`latin1`]; a `char` above 255 becomes `?`.
pub fn latin1_bytes(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_case_and_finds_in_any_case() {
        let fields = Fields::of(&[("X-B", "1"), ("x-a", "2"), ("X-b", "3, close")]);
        assert_eq!(fields.all("x-b"), ["1", "3, close"]);
        assert!(fields.has_token("X-B", "CLOSE"));
        assert_eq!(fields.to_bytes(), b"X-B: 1\r\nx-a: 2\r\nX-b: 3, close\r\n");
    }

    #[test]
    fn any_byte_survives_the_way_through_text() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(latin1_bytes(&latin1(&bytes)), bytes);
    }
}
