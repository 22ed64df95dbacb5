//! Patterns of schemas (XML Schema part 2, appendix F) as patterns of the engine's own library.
//!
//! Their language is another: always anchored, `^` and `$` are themselves, `-` within a class may subtract
//! another class, `\i` and `\c` are characters of names. Each piece is written anew; what has no counterpart
//! is refused by name. Matching is linear in the text. Called by [`super::simple`].

use regex::Regex;

/// Bytes of one compiled pattern.
const PATTERN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Nesting of groups in one pattern.
const PATTERN_DEPTH_MAX: u32 = 100;

const NAME_START: &str = "_:A-Za-z\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{2ff}\u{370}-\u{37d}\u{37f}-\u{1fff}\
    \u{200c}-\u{200d}\u{2070}-\u{218f}\u{2c00}-\u{2fef}\u{3001}-\u{d7ff}\u{f900}-\u{fdcf}\u{fdf0}-\u{fffd}";

/// Compiles a pattern.
pub(super) fn compile(text: &str) -> Result<Regex, String> {
    let translated = translated(text)?;
    regex::RegexBuilder::new(&format!("^(?:{translated})$"))
        .size_limit(PATTERN_BYTES_MAX)
        .nest_limit(PATTERN_DEPTH_MAX)
        .build()
        .map_err(|error| {
            let error = error.to_string();
            let last = error.lines().last().unwrap_or_default();
            format!("the pattern `{text}` cannot be searched: {last}")
        })
}

fn translated(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut is_first = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let in_class = depth > 0;
        let was_first = std::mem::replace(&mut is_first, false);
        match c {
            '\\' => {
                let Some(escaped) = chars.next() else {
                    return Err(format!("the pattern `{text}` ends in `\\`"));
                };
                escape(escaped, in_class, &mut chars, &mut out, text)?;
            }
            '[' => {
                depth += 1;
                out.push('[');
                is_first = true;
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' if in_class => {
                depth -= 1;
                out.push(']');
            }
            '-' if in_class && chars.peek() == Some(&'[') => {
                out.push_str("--");
            }
            '-' if in_class => {
                out.push_str(if was_first || chars.peek() == Some(&']') { "\\-" } else { "-" })
            }
            '.' if !in_class => out.push_str("[^\\n\\r]"),
            '^' | '$' if !in_class => {
                out.push('\\');
                out.push(c);
            }
            '&' | '~' | '^' | '$' | '#' | '.' | '(' | ')' | '*' | '+' | '?' | '{' | '}' | '|' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '?' | '*' | '+' | '}' if !in_class && matches!(chars.peek(), Some('?' | '*' | '+' | '{')) => {
                return Err(format!("the pattern `{text}` repeats a repetition"));
            }
            '(' if chars.peek() == Some(&'?') => return Err(format!("the pattern `{text}` has `(?`")),
            _ => out.push(c),
        }
    }
    if depth > 0 { Err(format!("the pattern `{text}` has a class that is not closed")) } else { Ok(out) }
}

fn escape(
    c: char,
    in_class: bool,
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    out: &mut String,
    text: &str,
) -> Result<(), String> {
    let mut class = |inside: &str, is_not: bool| {
        out.push_str(if is_not { "[^" } else { "[" });
        out.push_str(inside);
        out.push(']');
    };
    let name = || format!("{NAME_START}\\-.0-9\u{b7}\u{300}-\u{36f}\u{203f}-\u{2040}");
    match c {
        'd' => class("\\p{Nd}", false),
        'D' => class("\\p{Nd}", true),
        's' => class(" \\t\\n\\r", false),
        'S' => class(" \\t\\n\\r", true),
        'w' => class("\\p{P}\\p{Z}\\p{C}", true),
        'W' => class("\\p{P}\\p{Z}\\p{C}", false),
        'i' => class(NAME_START, false),
        'I' => class(NAME_START, true),
        'c' => class(&name(), false),
        'C' => class(&name(), true),
        'n' | 'r' | 't' => {
            out.push('\\');
            out.push(c);
        }
        'p' | 'P' => {
            let mut property = String::new();
            if chars.next() != Some('{') {
                return Err(format!("the pattern `{text}` has `\\{c}` without its property"));
            }
            for c in chars.by_ref() {
                if c == '}' {
                    break;
                }
                property.push(c);
            }
            let block = match property.as_str() {
                "IsBasicLatin" => Some("\\x00-\\x7f"),
                "IsLatin-1Supplement" => Some("\u{80}-\u{ff}"),
                "IsLatinExtended-A" => Some("\u{100}-\u{17f}"),
                "IsLatinExtended-B" => Some("\u{180}-\u{24f}"),
                "IsGreek" | "IsGreekandCoptic" => Some("\u{370}-\u{3ff}"),
                "IsCyrillic" => Some("\u{400}-\u{4ff}"),
                _ => None,
            };
            match block {
                Some(block) => class(block, c == 'P'),
                None if property.starts_with("Is") || property.len() > 2 => {
                    return Err(format!(
                        "the pattern `{text}` names the block `{property}`, which is not known"
                    ));
                }
                None => class(&format!("\\p{{{property}}}"), c == 'P'),
            }
        }
        '\\' | '|' | '.' | '?' | '*' | '+' | '(' | ')' | '{' | '}' | '-' | '[' | ']' | '^' | '$' => {
            out.push('\\');
            out.push(c);
        }
        _ => return Err(format!("the pattern `{text}` has the escape `\\{c}`, which there is not")),
    }
    let _ = in_class;
    Ok(())
}
