//! Cuts the text of an expression into tokens, literals decoded.
//!
//! One pass without recursion. What is not a token is reported and becomes [`Token::Wrong`], so that the
//! parser can go on. A quoted string right of `matches` is read by other rules than elsewhere, as in the
//! language this one is compatible with: backslashes stay, and a quote inside `[…]` does not end it. Called
//! by `syntax.rs`.

use std::net::IpAddr;

use crate::address::parse_network;
use crate::problem::{Problems, Span};

/// One token with its decoded value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A field, function or operator in words.
    Word,
    /// A string, quoted or raw.
    Text(Vec<u8>),
    /// A quoted or raw string right of `matches`.
    Pattern(String),
    Int(i64),
    IntRange(i64, i64),
    Address(IpAddr),
    /// A CIDR prefix: any address in it, and its length.
    Network(IpAddr, u8),
    AddressRange(IpAddr, IpAddr),
    /// `$name`, without the dollar sign.
    List,
    /// One of `( ) [ ] { } , *` and the operators in signs.
    Sign(&'static str),
    /// Something that was reported.
    Wrong,
    End,
}

/// Signs, the longer ones first.
const SIGNS: &[&str] =
    &["==", "!=", "<=", ">=", "&&", "||", "^^", "<", ">", "~", "!", "(", ")", "[", "]", "{", "}", ",", "*"];

/// Signs of other languages, with what to write here.
const FOREIGN: &[(&str, &str)] = &[("=", "=="), ("&", "&&"), ("|", "||"), ("^", "^^")];

/// Cuts `text` into tokens; the last is [`Token::End`].
pub(crate) fn tokens(text: &str, problems: &mut Problems<'_>) -> Vec<(Token, Span)> {
    let mut lexer = Lexer { text, at: 0, problems };
    let mut list: Vec<(Token, Span)> = Vec::new();
    loop {
        let follows_matches = list.last().is_some_and(|(token, span)| match token {
            Token::Word => text.get(span.start..span.end) == Some("matches"),
            Token::Sign(sign) => *sign == "~",
            _ => false,
        });
        let (token, span) = lexer.next(follows_matches);
        let is_end = token == Token::End;
        list.push((token, span));
        if is_end {
            return list;
        }
    }
}

struct Lexer<'t, 'p, 'a> {
    text: &'t str,
    at: usize,
    problems: &'p mut Problems<'a>,
}

impl<'t> Lexer<'t, '_, '_> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self, follows_matches: bool) -> (Token, Span) {
        let blank = |character: char| matches!(character, ' ' | '\t' | '\r' | '\n');
        self.at = self.text.len() - self.rest().trim_start_matches(blank).len();
        let start = self.at;
        let rest = self.rest();
        let token = match rest.bytes().next() {
            None => Token::End,
            Some(b'"') if follows_matches => self.quoted_pattern(),
            Some(b'"') => self.quoted_text(),
            Some(b'r') if rest.starts_with("r\"") || rest.starts_with("r#") => self.raw(follows_matches),
            Some(b'$') => self.list(),
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.') => {
                self.word()
            }
            Some(_) => self.sign(),
        };
        (token, Span::new(start, self.at))
    }

    fn wrong(&mut self, start: usize, what: impl Into<String>, expected: &str) -> Token {
        self.problems.add(Span::new(start, self.at.max(start + 1)), what, expected);
        Token::Wrong
    }

    fn sign(&mut self) -> Token {
        let start = self.at;
        let rest = self.rest();
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            return Token::Sign(sign);
        }
        if let Some((foreign, ours)) = FOREIGN.iter().find(|(foreign, _)| rest.starts_with(foreign)) {
            self.at += foreign.len();
            let at = Span::new(start, self.at);
            self.problems.add_with(at, format!("`{foreign}` is not an operator"), "", Some(ours));
            // The parser goes on as if the right sign stood there.
            return Token::Sign(ours);
        }
        let character = rest.chars().next().unwrap_or_default();
        self.at += character.len_utf8();
        if character == '\'' {
            return self.wrong(start, "strings are not written in single quotes", "write \"…\"");
        }
        self.wrong(start, format!("`{character}` has no meaning here"), "")
    }

    fn list(&mut self) -> Token {
        let start = self.at;
        let name = self.rest().get(1..).unwrap_or_default();
        let part =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
        let length = name.bytes().take_while(|byte| part(*byte)).count();
        self.at += 1 + length;
        if length == 0 {
            let expected = "a list is named `$` with small letters, digits, `_` and `.`";
            return self.wrong(start, "the name of a list is missing", expected);
        }
        Token::List
    }

    /// A word, number, address or range: whatever runs on without a blank.
    fn word(&mut self) -> Token {
        let start = self.at;
        let rest = self.rest();
        let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.' | b'/');
        let mut length = 0;
        let mut before = b'.';
        for byte in rest.bytes() {
            // A minus sign begins a number: first, or after the dots of a range.
            let begins_number = byte == b'-' && before == b'.';
            if !part(byte) && !begins_number {
                break;
            }
            before = byte;
            length += 1;
        }
        let word = rest.get(..length).unwrap_or_default();
        self.at += length;
        if let Some((low, high)) = word.split_once("..") {
            return self.range(start, word, low, high);
        }
        let looks_numeric = word.starts_with(|first: char| first.is_ascii_digit() || first == '-');
        if word.contains(':') || looks_numeric && (word.contains('.') || word.contains('/')) {
            return self.address(start, word);
        }
        if looks_numeric {
            return match int(word) {
                Ok(value) => Token::Int(value),
                Err(why) => self.wrong(start, format!("`{word}` is not an integer"), why),
            };
        }
        Token::Word
    }

    fn address(&mut self, start: usize, word: &str) -> Token {
        if let Ok(address) = word.parse() {
            return Token::Address(address);
        }
        match parse_network(word) {
            Ok((address, length)) => Token::Network(address, length),
            Err(why) => self.wrong(start, format!("`{word}` is not an address"), why),
        }
    }

    fn range(&mut self, start: usize, word: &str, low: &str, high: &str) -> Token {
        if let (Ok(low), Ok(high)) = (low.parse::<IpAddr>(), high.parse::<IpAddr>()) {
            if low.is_ipv4() != high.is_ipv4() {
                return self.wrong(start, format!("`{word}` mixes IPv4 and IPv6"), "");
            }
            if low > high {
                return self.wrong(start, format!("`{word}` ends before it begins"), "");
            }
            return Token::AddressRange(low, high);
        }
        match (int(low), int(high)) {
            (Ok(low), Ok(high)) if low <= high => Token::IntRange(low, high),
            (Ok(_), Ok(_)) => self.wrong(start, format!("`{word}` ends before it begins"), ""),
            _ => {
                let expected = "a range is two integers or two addresses, such as 1..9";
                self.wrong(start, format!("`{word}` is not a range"), expected)
            }
        }
    }

    fn quoted_text(&mut self) -> Token {
        let start = self.at;
        let mut value = Vec::new();
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        let mut is_wrong = false;
        loop {
            match bytes.get(at) {
                None => return self.unended(start),
                Some(b'"') => break,
                Some(b'\\') => {
                    let (byte, taken) = match bytes.get(at + 1) {
                        Some(plain @ (b'"' | b'\\')) => (Some(*plain), 2),
                        Some(b'x') => (digits(bytes, at + 2, 2, 16), 4),
                        Some(b'0'..=b'7') => (digits(bytes, at + 1, 3, 8), 4),
                        _ => (None, 2),
                    };
                    match byte {
                        Some(byte) => {
                            value.push(byte);
                            at += taken;
                        }
                        None => {
                            is_wrong = true;
                            let place = Span::new(at, (at + 2).min(bytes.len()));
                            let expected =
                                "escapes are \\\" \\\\ \\xHH and three octal digits; r\"…\" has none";
                            self.problems.add(place, "this is not an escape", expected);
                            at += if bytes.get(at + 1) == Some(&b'"') { 1 } else { 2 };
                        }
                    }
                }
                Some(byte) => {
                    value.push(*byte);
                    at += 1;
                }
            }
        }
        self.at = at + 1;
        if is_wrong { Token::Wrong } else { Token::Text(value) }
    }

    fn unended(&mut self, start: usize) -> Token {
        self.at = self.text.len();
        self.problems.add(Span::new(start, self.at), "the string does not end", "close it with a quote");
        Token::Wrong
    }

    fn quoted_pattern(&mut self) -> Token {
        let start = self.at;
        let mut value = String::new();
        let mut in_class = false;
        let mut characters = self.text.get(start + 1..).unwrap_or_default().char_indices();
        while let Some((place, character)) = characters.next() {
            match character {
                '\\' => {
                    if let Some((_, escaped)) = characters.next() {
                        if in_class || escaped != '"' {
                            value.push('\\');
                        }
                        value.push(escaped);
                    }
                }
                '"' if !in_class => {
                    self.at = start + 1 + place + 1;
                    return Token::Pattern(value);
                }
                other => {
                    in_class = if in_class { other != ']' } else { other == '[' };
                    value.push(other);
                }
            }
        }
        self.unended(start)
    }

    fn raw(&mut self, follows_matches: bool) -> Token {
        let start = self.at;
        let after = self.rest().get(1..).unwrap_or_default();
        let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
        let Some(body) = after.get(hashes..).and_then(|rest| rest.strip_prefix('"')) else {
            self.at = start + 1 + hashes;
            return self.wrong(start, "a raw string begins with r\" or r#\"", "");
        };
        if hashes > 255 {
            self.at = start + 1 + hashes;
            return self.wrong(start, "a raw string has at most 255 `#`", "");
        }
        let body_start = self.text.len() - body.len();
        let mut from = 0;
        while let Some(found) = body.get(from..).and_then(|rest| rest.find('"')) {
            let quote = from + found;
            let closing = body.bytes().skip(quote + 1).take_while(|byte| *byte == b'#').take(hashes).count();
            if closing == hashes {
                self.at = body_start + quote + 1 + hashes;
                let value = body.get(..quote).unwrap_or_default();
                return if follows_matches {
                    Token::Pattern(value.to_owned())
                } else {
                    Token::Text(value.as_bytes().to_vec())
                };
            }
            from = quote + 1;
        }
        self.unended(start)
    }
}

/// A byte from `count` digits; nothing when they are not all there or exceed a byte.
fn digits(bytes: &[u8], from: usize, count: usize, radix: u32) -> Option<u8> {
    let text = bytes.get(from..from + count).and_then(|digits| std::str::from_utf8(digits).ok())?;
    let all = text.bytes().all(|byte| char::from(byte).is_digit(radix));
    if all { u8::from_str_radix(text, radix).ok() } else { None }
}

/// Reads decimal, hexadecimal (`0x…`) and, with a leading zero, octal digits.
fn int(text: &str) -> Result<i64, &'static str> {
    const EXPECTED: &str = "integers are decimal, `0x…` or, with a leading zero, octal, within 64 bits";
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x', ..] => (text.get(2..), 16),
        [b'0', _, ..] => (text.get(1..), 8),
        _ => (Some(text), 10),
    };
    let digits = digits.unwrap_or_default();
    if radix != 10 && digits.starts_with('-') {
        return Err(EXPECTED);
    }
    i64::from_str_radix(digits, radix).map_err(|_| EXPECTED)
}
