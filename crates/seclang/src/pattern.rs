//! Regular expressions: from the dialect of PCRE that rules are written in to the one of the crate `regex`.
//!
//! Patterns are searched in bytes, without Unicode, with `.` matching every byte and `$` only the very end
//! (`DOLLAR_ENDONLY`), in linear time. What differs in the two dialects is rewritten: `\x{HH}`, `\v`, `\h`,
//! `\Z`, `\<`, `[` and `--` within classes, braces that are no repetition. What linear time cannot do
//! (look-around, back references, possessive and atomic groups) is an error. Called by [`crate::parse`] for
//! operators and selectors. Read next: [`compile`].

use regex::bytes::{Regex, RegexBuilder};
use regex_automata::meta;

use crate::limits::{MADE_PATTERN_BYTES_MAX, MADE_PROGRAM_BYTES_MAX, PATTERN_BYTES_MAX, PATTERN_DEPTH_MAX};
use crate::problem::Wrong;
use crate::tally;

/// Compiles a pattern.
///
/// # Errors
///
/// What the pattern cannot be, with what to write instead.
pub(crate) fn compile(pattern: &str) -> Result<Regex, Wrong> {
    let rewritten = rewrite(pattern.as_bytes())?;
    RegexBuilder::new(&rewritten)
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(PATTERN_BYTES_MAX)
        .nest_limit(PATTERN_DEPTH_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(bytes) => Wrong::with(
                format!("the pattern is too large: it compiles to more than {bytes} bytes"),
                "lower its counted repetitions",
            ),
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                let what = format!("the pattern is not one that can be searched: {last}");
                if last.contains("look-around") || last.contains("backreference") {
                    Wrong::with(what, "write it without; such patterns have no bound on their time")
                } else {
                    Wrong::new(what)
                }
            }
        })
}

/// Compiles a pattern that macros made: smaller ones alone, since it is done while a visitor waits and what
/// is made is kept. Nothing where it is no pattern, or too large a one.
///
/// Without what makes long searches faster at the cost of compiling: literals are not looked for, which takes
/// 24 ms for 8 KiB of `a?`, and only lazy automata are made.
pub(crate) fn compile_made(pattern: &[u8]) -> Option<meta::Regex> {
    let is_short = |length: usize| length <= MADE_PATTERN_BYTES_MAX;
    let rewritten = is_short(pattern.len()).then(|| rewrite(pattern).ok()).flatten()?;
    let config = meta::Config::new()
        .auto_prefilter(false)
        .onepass(false)
        .dfa(false)
        .utf8_empty(false)
        .nfa_size_limit(Some(MADE_PROGRAM_BYTES_MAX))
        .hybrid_cache_capacity(MADE_PROGRAM_BYTES_MAX);
    let dialect = regex_automata::util::syntax::Config::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .nest_limit(PATTERN_DEPTH_MAX);
    let build = || meta::Regex::builder().configure(config).syntax(dialect).build(&rewritten).ok();
    is_short(rewritten.len()).then(build).flatten()
}

/// Parses a pattern as [`compile`] reads it, for the extraction of its literals.
pub(crate) fn syntax(pattern: &str) -> Option<regex_syntax::hir::Hir> {
    regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .nest_limit(PATTERN_DEPTH_MAX)
        .build()
        .parse(&rewrite(pattern.as_bytes()).ok()?)
        .ok()
}

/// Rewrites a pattern from PCRE's dialect.
fn rewrite(bytes: &[u8]) -> Result<String, Wrong> {
    let mut out = String::with_capacity(bytes.len() + 16);
    let mut i = 0;
    let mut in_class = false;
    let mut range = Range::No;
    let mut after_repetition = false;
    // Where the repetition that was begun last ends.
    let mut closing = None;
    while let Some(byte) = bytes.get(i).copied() {
        let next = bytes.get(i + 1).copied();
        if in_class {
            let (taken, now) = class_part(bytes, i, range, &mut out)?;
            in_class = !(byte == b']' && taken == 1 && now == Range::No);
            (i, range) = (i + taken, now);
            after_repetition = false;
            continue;
        }
        let repeats = after_repetition;
        after_repetition = false;
        match byte {
            b'\\' => {
                i += escape(bytes, i, false, &mut out)?;
                continue;
            }
            b'[' => {
                in_class = true;
                range = Range::No;
                out.push('[');
                if next == Some(b'^') {
                    out.push('^');
                    i += 1;
                }
                if bytes.get(i + 1) == Some(&b']') {
                    out.push_str("\\]");
                    range = Range::Begun;
                    i += 1;
                }
            }
            b'+' if repeats => {
                return Err(Wrong::with(
                    "the pattern has a possessive repetition, which linear time cannot do",
                    "leave out the second +",
                ));
            }
            b'*' | b'+' | b'?' => {
                after_repetition = !(byte == b'?' && i > 0 && bytes.get(i - 1) == Some(&b'('));
                out.push(char::from(byte));
            }
            b'{' => {
                let end = repetition_end(bytes, i);
                out.push_str(if end.is_some() { "{" } else { "\\{" });
                closing = end.or(closing);
            }
            b'}' => {
                // A brace that closes no repetition is a literal to both dialects.
                after_repetition = closing == Some(i);
                out.push('}');
            }
            0x80.. => out.push_str(&format!("\\x{byte:02x}")),
            _ => out.push(char::from(byte)),
        }
        i += 1;
    }
    Ok(out)
}

/// Where we are in a range of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// Nothing that a range could begin with.
    No,
    /// A byte that could begin a range.
    Begun,
    /// A byte and a dash: the next byte ends the range.
    Open,
}

/// Writes the part of a class at `start`; tells how many bytes it took and where the range is then.
fn class_part(bytes: &[u8], start: usize, range: Range, out: &mut String) -> Result<(usize, Range), Wrong> {
    let byte = bytes.get(start).copied().unwrap_or_default();
    let next = bytes.get(start + 1).copied();
    let after = if range == Range::Open { Range::No } else { Range::Begun };
    match byte {
        b']' => {
            out.push(']');
            return Ok((1, Range::No));
        }
        b'\\' => {
            let is_set = next.is_some_and(|next| b"dDsSwWvVhH".contains(&next));
            let taken = escape(bytes, start, true, out)?;
            return Ok((taken, if is_set { Range::No } else { after }));
        }
        b'[' => {
            if let Some(end) = posix_class(bytes, start) {
                let class = bytes.get(start..end).unwrap_or_default();
                out.push_str(std::str::from_utf8(class).unwrap_or_default()); // letters, which are ASCII
                return Ok((end - start, Range::No));
            }
            out.push_str("\\[");
        }
        b'-' if range == Range::Begun && next.is_some_and(|next| next != b']') => {
            out.push('-');
            return Ok((1, Range::Open));
        }
        b'-' | b'&' | b'~' | b'^' => {
            out.push('\\');
            out.push(char::from(byte));
        }
        0x80.. => out.push_str(&format!("\\x{byte:02x}")),
        _ => out.push(char::from(byte)),
    }
    Ok((1, after))
}

/// The end of `[:name:]` that begins at `start`.
fn posix_class(bytes: &[u8], start: usize) -> Option<usize> {
    let rest = bytes.get(start + 2..)?;
    let length = rest.iter().position(|byte| !byte.is_ascii_alphabetic() && *byte != b'^')?;
    (rest.get(length..length + 2)? == b":]").then_some(start + 2 + length + 2)
}

/// Where the `}` of `{n}`, `{n,}` or `{n,m}` stands whose `{` is at `start`; nothing when it is none of them.
/// It looks no further than digits and one comma reach, since a pattern may be all braces.
fn repetition_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut commas = 0_usize;
    let mut is_inside = |byte: &u8| {
        tally::count(1);
        commas += usize::from(*byte == b',');
        byte.is_ascii_digit() || *byte == b',' && commas == 1
    };
    let inner = bytes.iter().skip(start + 1).take_while(|byte| is_inside(byte)).count();
    let end = start + 1 + inner;
    let begins = bytes.get(start + 1).is_some_and(u8::is_ascii_digit);
    (begins && bytes.get(end) == Some(&b'}')).then_some(end)
}

/// Writes the escape at `start` and tells how many bytes of the pattern it took.
fn escape(bytes: &[u8], start: usize, in_class: bool, out: &mut String) -> Result<usize, Wrong> {
    let Some(next) = bytes.get(start + 1).copied() else {
        return Err(Wrong::new("the pattern ends in a lone backslash"));
    };
    let rest = bytes.get(start + 2..).unwrap_or_default();
    let class = |out: &mut String, inner: &str| {
        if in_class {
            out.push_str(inner);
        } else {
            out.push('[');
            out.push_str(inner);
            out.push(']');
        }
    };
    match next {
        b'x' if rest.first() == Some(&b'{') => {
            let end = rest.iter().position(|byte| *byte == b'}').unwrap_or(0);
            let digits = std::str::from_utf8(rest.get(1..end).unwrap_or_default()).unwrap_or_default();
            let value =
                u32::from_str_radix(digits, 16).ok().filter(|value| *value <= 0xff).ok_or_else(|| {
                    Wrong::with(
                        format!("`\\x{{{digits}}}` is no byte"),
                        "patterns match bytes: write each as \\xHH",
                    )
                })?;
            out.push_str(&format!("\\x{value:02x}"));
            return Ok(2 + end + 1);
        }
        b'x' => {
            let digits = rest.iter().take(2).take_while(|byte| byte.is_ascii_hexdigit()).count();
            let text = std::str::from_utf8(rest.get(..digits).unwrap_or_default()).unwrap_or_default();
            out.push_str(&format!("\\x{:02x}", u8::from_str_radix(text, 16).unwrap_or(0)));
            return Ok(2 + digits);
        }
        b'0' => {
            let digits = rest.iter().take(2).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
            let value =
                rest.iter().take(digits).fold(0_u32, |value, byte| value * 8 + u32::from(byte - b'0'));
            out.push_str(&format!("\\x{:02x}", value & 0xff));
            return Ok(2 + digits);
        }
        b'1'..=b'9' if in_class => {
            let digits =
                bytes.iter().skip(start + 1).take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
            if digits == 0 {
                out.push(char::from(next));
                return Ok(2);
            }
            let octal = bytes.iter().skip(start + 1).take(digits);
            let value = octal.fold(0_u32, |value, byte| value * 8 + u32::from(byte - b'0'));
            out.push_str(&format!("\\x{:02x}", value & 0xff));
            return Ok(1 + digits);
        }
        b'e' => out.push_str("\\x1b"),
        b'v' => class(out, "\\n\\x0b\\x0c\\r\\x85"),
        b'h' => class(out, "\\t \\xa0"),
        b'H' if !in_class => out.push_str("[^\\t \\xa0]"),
        b'V' if !in_class => out.push_str("[^\\n\\x0b\\x0c\\r\\x85]"),
        b'N' if !in_class => out.push_str("[^\\n]"),
        b'R' if !in_class => out.push_str("(?:\\r\\n|[\\n\\x0b\\x0c\\r\\x85])"),
        b'Z' if !in_class => out.push_str("\\n?\\z"),
        b'b' if in_class => out.push_str("\\x08"),
        b'Q' => {
            let end = rest.windows(2).position(|pair| pair == b"\\E").unwrap_or(rest.len());
            for byte in rest.iter().take(end) {
                out.push_str(&format!("\\x{byte:02x}"));
            }
            return Ok((2 + end + 2).min(bytes.len() - start));
        }
        b'E' => {}
        // In the crate's dialect these two are edges of words.
        b'<' | b'>' => out.push(char::from(next)),
        0x80.. => out.push_str(&format!("\\x{next:02x}")),
        b'c' if rest.first().is_some_and(u8::is_ascii) => {
            let control = rest.first().map_or(0, |byte| byte.to_ascii_uppercase() ^ 0x40);
            out.push_str(&format!("\\x{control:02x}"));
            return Ok(3);
        }
        // Letters that mean nothing stand for themselves in PCRE.
        b'i' | b'j' | b'l' | b'm' | b'o' | b'q' | b'y' | b'_' => out.push(char::from(next)),
        b' '..=b'/' | b':'..=b'@' | b'['..=b'`' | b'{'..=b'~' => {
            out.push('\\');
            out.push(char::from(next));
        }
        _ if next.is_ascii_control() => out.push_str(&format!("\\x{next:02x}")),
        _ => {
            out.push('\\');
            out.push(char::from(next));
        }
    }
    Ok(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, value: &[u8]) -> bool {
        compile(pattern).unwrap_or_else(|wrong| panic!("{pattern}: {}", wrong.what)).is_match(value)
    }

    #[test]
    fn reads_bytes_above_127_as_bytes() {
        assert!(matches("\\x{bc}", b"\xbc"));
        assert!(matches("[^\\x{be}]\\xbe", b"a\xbe"));
        assert!(matches("(?i)\u{e9}", "\u{e9}".as_bytes()));
    }

    #[test]
    fn keeps_what_the_dialects_read_differently() {
        assert!(matches("\\<a\\>", b"x<a>"));
        assert!(matches("[[a]", b"["));
        assert!(matches("^[a&&b]+$", b"&&"));
        assert!(matches("^[]a]+$", b"a]"));
        assert!(matches("a{b", b"a{b"));
        assert!(matches("^[+--]$", b","));
        assert!(matches("^[-a]$", b"-"));
        assert!(matches("^a\\v$", b"a\r"));
        assert!(matches("^[[:alpha:]_]+$", b"a_b"));
        assert!(matches("a.b", b"a\nb"));
        assert!(!matches("b$", b"b\n"));
        assert!(matches("b\\Z", b"b\n"));
        assert!(matches("\\Qa.b\\E.", b"a.bc"));
        assert!(!matches("\\Qa.b\\E", b"axb"));
    }

    #[test]
    fn refuses_what_has_no_linear_time() {
        for pattern in ["a(?=b)", "(?<!a)b", "(a)\\1", "(?>a)b", "a++b\\"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn braces_are_looked_at_once() {
        for part in ["{", "}", "{1", "{1,", "{}", "a{1,2}", "{12345678", "\\{", "{1}}"] {
            let pattern = part.repeat(20_000);
            let work = tally::of(|| rewrite(pattern.as_bytes()).is_ok());
            assert!(work <= 2 * pattern.len(), "{part}: {work} for {} bytes", pattern.len());
        }
        assert!(tally::of(|| rewrite(b"a{1,2}").is_ok()) > 0);
    }

    #[test]
    fn a_repetition_of_a_literal_brace_is_not_possessive() {
        assert!(matches("^\\{5}+$", b"{5}}"));
        assert!(matches("^a{,5}+$", b"a{,5}}"));
        assert!(compile("a{5}+").is_err_and(|wrong| wrong.what.contains("possessive")));
        assert!(matches("^a{2}?$", b"aa"));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(pattern in "\\PC{0,60}|[\\\\\\[\\]{}(),:^\\-xvQE0-9a&]{0,40}") {
            let _ = compile(&pattern);
        }
    }
}
