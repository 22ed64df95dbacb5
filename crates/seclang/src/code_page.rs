//! Code pages: which byte a site takes for a character, for `%uHHHH` in `t:urlDecodeUni`.
//!
//! Servers that know `%uHHHH` make a byte of it by the code page they run with, and take the character that
//! looks most alike where it has none of its own (U+2032 becomes `'`). `SecUnicodeMapFile` names a file of
//! such pages and one of them. A page begins with a line whose first word is its number, or a name; pairs
//! `HHHH:HH` follow: code point and byte. Read by [`crate::load`], asked by [`crate::transform`]. Read
//! next: [`CodePage::read`].

use std::sync::Arc;

use crate::problem::{Place, Report, Wrong};

/// What every page says of full stops, unless it says otherwise: they divide labels of names (RFC 3490 §3.1).
const FULL_STOPS: [u16; 4] = [0x002e, 0x3002, 0xff0e, 0xff61];

/// Code pages named where the one that is wanted is not there.
const SHOWN: usize = 40;

/// The bytes of one code page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CodePage {
    /// By code point, each once.
    bytes: Vec<(u16, u8)>,
}

impl CodePage {
    /// Reads the page of a number out of a file of them; every line that is neither pairs nor the beginning
    /// of a page is a problem, and so is a file without the page: at `place`, which asked for it.
    pub(crate) fn read(
        file: &Arc<str>,
        text: &[u8],
        number: u32,
        place: &Place,
        report: &mut Report,
    ) -> Option<Self> {
        let mut pairs: Vec<(u16, u8)> = FULL_STOPS.iter().map(|stop| (*stop, b'.')).collect();
        let mut known: Vec<u32> = Vec::new();
        let (mut is_wanted, mut is_found, mut is_whole) = (false, false, true);
        for (line, bytes) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            let Some(first) = words.clone().next() else { continue };
            let begins = !first.contains(&b':');
            if begins {
                let page = std::str::from_utf8(first).ok().and_then(|word| word.parse().ok());
                // Of two pages of one number the first counts.
                is_wanted = page == Some(number) && !is_found;
                is_found |= is_wanted;
                known.extend(page);
            } else if let Some(broken) = words.clone().find(|word| pair(word).is_none()) {
                let shown: String = String::from_utf8_lossy(broken).chars().take(20).collect();
                let what = format!("`{shown}` is no pair of a code point and a byte");
                let place = Place { file: Arc::clone(file), line };
                report.add(&place, Wrong::with(what, "write HHHH:HH, four digits and two"));
                is_whole = false;
            }
            if is_wanted {
                // Behind the number may stand a name, and pairs too.
                pairs.extend(words.filter_map(pair));
            }
        }
        if !is_found {
            let shown: Vec<String> = known.iter().take(SHOWN).map(u32::to_string).collect();
            let what = format!("`{file}` has no code page {number}");
            let remedy = match shown.as_slice() {
                [] => "a page begins with a line of its number".to_owned(),
                shown => format!("it has {}", shown.join(", ")),
            };
            report.add(place, Wrong::with(what, remedy));
            return None;
        }
        // The last of several for one code point counts.
        pairs.reverse();
        pairs.sort_by_key(|(point, _)| *point);
        pairs.dedup_by_key(|(point, _)| *point);
        is_whole.then_some(Self { bytes: pairs })
    }

    /// The byte of a code point, where the page has one.
    pub(crate) fn byte_of(&self, point: u16) -> Option<u8> {
        let at = self.bytes.binary_search_by_key(&point, |(known, _)| *known).ok()?;
        self.bytes.get(at).map(|(_, byte)| *byte)
    }
}

/// Reads `HHHH:HH`.
fn pair(word: &[u8]) -> Option<(u16, u8)> {
    let digits = |part: &[u8], count: usize| {
        let is_hex = part.len() == count && part.iter().all(u8::is_ascii_hexdigit);
        let text = is_hex.then(|| std::str::from_utf8(part).ok()).flatten()?;
        u16::from_str_radix(text, 16).ok()
    };
    let (point, byte) = (word.get(..4)?, word.get(5..)?);
    if word.get(4) != Some(&b':') {
        return None;
    }
    Some((digits(point, 4)?, u8::try_from(digits(byte, 2)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, number: u32) -> Result<CodePage, Vec<String>> {
        let mut report = Report::default();
        let place = Place { file: Arc::from("r.conf"), line: 7 };
        let page = CodePage::read(&Arc::from("u.map"), text.as_bytes(), number, &place, &mut report);
        let problems: Vec<String> = report.into_problems().iter().map(ToString::to_string).collect();
        match page {
            Some(page) if problems.is_empty() => Ok(page),
            _ => Err(problems),
        }
    }

    const MAP: &str = "(MAC - Roman)\r\n\r\n37  (EBCDIC)\n0027:7d\n\n20127 (US-ASCII)\n2032:27 ff1c:3C\n\
                       2033:22 2032:60\n1250:3f\n\n20127 (again)\n2032:41\n(UTF-8)\n2034:42";

    #[test]
    fn reads_the_page_that_is_asked_for_and_no_other() {
        let ascii = read(MAP, 20_127).expect("a page");
        let points = [0x2032, 0xff1c, 0x2033, 0x1250, 0x27, 0x2034, 0x3002, 0x2e, 0x2f];
        let bytes = points.map(|point| ascii.byte_of(point).map(char::from));
        let expected = [Some('`'), Some('<'), Some('"'), Some('?'), None, None, Some('.'), Some('.'), None];
        assert_eq!(bytes, expected);
        let other = read(MAP, 37).expect("a page");
        assert_eq!((other.byte_of(0x27), other.byte_of(0x2032)), (Some(0x7d), None));
        let one_line = read("2 0041:42\n1 (a name) 0042:43\n0041:45", 1).expect("a page");
        assert_eq!((one_line.byte_of(0x42), one_line.byte_of(0x41)), (Some(0x43), Some(0x45)));
        assert_eq!(read("1\n002e:40", 1).expect("a page").byte_of(0x2e), Some(b'@'), "a file goes before");
    }

    #[test]
    fn says_which_line_is_broken_and_which_pages_there_are() {
        let error = read(MAP, 1252).expect_err("no such page");
        assert_eq!(error, ["r.conf:7: `u.map` has no code page 1252 (it has 37, 20127, 20127)"]);
        let error = read("", 1252).expect_err("no page");
        assert_eq!(
            error,
            ["r.conf:7: `u.map` has no code page 1252 (a page begins with a line of its number)"]
        );
        for broken in ["2032:270", "2032:2", "032:27", "2032:", ":27", "2032:g7", "02032:27", "é:27"] {
            let error = read(&format!("1 (one)\n0041:42\n{broken} 0042:43\n2\n"), 2).expect_err(broken);
            assert_eq!(error.len(), 1, "{broken}");
            assert!(error[0].starts_with("u.map:3: `"), "{error:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[0-9a-f: \n()é]{0,200}", point: u16) {
            if let Ok(page) = read(&text, 1) {
                let _ = page.byte_of(point);
            }
        }
    }
}
