//! Targets: `ARGS|!ARGS:password|&REQUEST_HEADERS:Host|REQUEST_COOKIES:/^id/|XML:/*`.
//!
//! Called by [`crate::load`] for rules and for updates of their targets, and by [`super::actions`] for `ctl`.

use crate::model::{Selector, Target};
use crate::pattern;
use crate::problem::Wrong;
use crate::template::{TxNames, persistent};
use crate::variable::{Kind, VARIABLES, Variable};

/// Parses a list of targets, parted by `|` or by commas.
pub(crate) fn parse(text: &str, names: &mut TxNames) -> Result<Vec<Target>, Wrong> {
    let mut targets = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (target, after) = one(rest, names)?;
        targets.push(target);
        rest = match after.chars().next() {
            None => "",
            Some('|' | ',') => after.get(1..).unwrap_or_default(),
            Some(_) => return Err(Wrong::new(format!("text follows a target: `{after}`"))),
        };
    }
    if targets.is_empty() {
        return Err(Wrong::with("the rule has no target", "name a variable, such as ARGS"));
    }
    Ok(targets)
}

/// Parses one target and yields what follows it.
pub(crate) fn one<'a>(text: &'a str, names: &mut TxNames) -> Result<(Target, &'a str), Wrong> {
    let (mut rest, mut is_count, mut is_excluded) = (text, false, false);
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('!') {
            is_excluded = true;
            rest = after;
        } else if let Some(after) = rest.strip_prefix('&') {
            is_count = true;
            rest = after;
        } else {
            break;
        }
    }
    if is_count && is_excluded {
        return Err(Wrong::new("a target can be counted or excluded, not both"));
    }
    let end = rest.find([':', '.', '|', ',']).unwrap_or(rest.len());
    let (name, mut rest) = rest.split_at(end);
    let name = name.trim();
    let Some(variable) = Variable::from_name(name) else {
        return Err(Wrong::unknown("variable", name, VARIABLES.iter().map(|(_, name, _)| *name)));
    };
    if variable.kind() == Kind::Persistent {
        return Err(persistent(variable.name()));
    }
    let mut variable = variable;
    let mut selector = Selector::All;
    if let Some(after) = rest.strip_prefix([':', '.']) {
        let quoted = after.starts_with('\'');
        let after = after.strip_prefix('\'').unwrap_or(after);
        if variable == Variable::Xml {
            let (path, tail) = after.split_at(path_end(after, quoted));
            let path = path.trim();
            variable = match path {
                "/*" => Variable::XmlText,
                "//@*" => Variable::XmlAttributes,
                _ if path.starts_with('/') => Variable::XmlPath,
                _ => {
                    return Err(Wrong::with(
                        format!("`XML:{path}` is no XPath from the document on"),
                        "begin it with /",
                    ));
                }
            };
            if variable == Variable::XmlPath {
                // As written: the loader compiles it with the namespaces of the rule.
                selector = Selector::Name(path.as_bytes().into());
            }
            rest = tail;
        } else if let Some(inside) = after.strip_prefix('/') {
            let end = closing_slash(inside)
                .ok_or_else(|| Wrong::new(format!("the selector `/{inside}` has no closing slash")))?;
            let (pattern_text, tail) = inside.split_at(end);
            let pattern_text = pattern_text.replace("\\/", "/");
            let regex = pattern::compile(&format!("(?i){pattern_text}"))?;
            selector = Selector::Pattern { regex, text: pattern_text.into() };
            rest = tail.get(1..).unwrap_or_default();
        } else {
            let end = after.find(['|', ',', '\'']).unwrap_or(after.len());
            let (key, tail) = after.split_at(end);
            let key = key.trim();
            if key.is_empty() {
                return Err(Wrong::new(format!("`{name}:` lacks the name after the colon")));
            }
            selector = if variable == Variable::Tx {
                Selector::Tx(names.intern(key.as_bytes()))
            } else {
                Selector::Name(key.to_ascii_lowercase().into_bytes().into())
            };
            rest = tail;
        }
        if quoted {
            rest = rest.strip_prefix('\'').ok_or_else(|| Wrong::new("a selector's quote is not closed"))?;
        }
        let takes_name = variable.is_collection();
        if !takes_name && !matches!(selector, Selector::All) {
            return Err(Wrong::with(
                format!("`{}` has one value and takes no name", variable.name()),
                "leave out the colon and what follows",
            ));
        }
    }
    Ok((Target { variable, selector, is_count, is_excluded }, rest.trim_start()))
}

/// Where a path ends: at what divides targets, but not within its own brackets and quotes.
fn path_end(text: &str, is_quoted: bool) -> usize {
    let mut depth = 0_usize;
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') if depth > 0 => quote = Some(byte),
            (None, b'\'') if is_quoted => return at,
            (None, b'[') => depth += 1,
            (None, b']') => depth = depth.saturating_sub(1),
            (None, b'|' | b',') if depth == 0 && !is_quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// Says what `XML` alone means as a target of a rule: the document, for an operator that judges one.
pub(crate) fn documents(targets: &mut [Target], judges_document: bool) -> Result<(), Wrong> {
    for target in targets.iter_mut().filter(|target| !target.is_excluded) {
        match (target.variable == Variable::Xml, judges_document) {
            (true, true) => target.variable = Variable::XmlDocument,
            (true, false) => {
                return Err(Wrong::with(
                    "`XML` alone is the document, which only @validateDTD and @validateSchema judge",
                    "write XML:/* or another XPath",
                ));
            }
            (false, true) => {
                return Err(Wrong::with(
                    format!("the operator judges a document, and `{target}` is none"),
                    "write XML as the rule's target",
                ));
            }
            (false, false) => {}
        }
    }
    Ok(())
}

/// The place of the slash that ends a pattern: not escaped, and followed by the end of the target.
fn closing_slash(inside: &str) -> Option<usize> {
    let bytes = inside.as_bytes();
    let mut escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'/' if matches!(bytes.get(at + 1), None | Some(b'|' | b',' | b'\'')) => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Vec<String> {
        let targets = parse(text, &mut TxNames::default()).unwrap_or_else(|wrong| panic!("{}", wrong.what));
        targets.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn parses_every_form() {
        let text = "ARGS|!ARGS:pass|&REQUEST_HEADERS:Host|REQUEST_COOKIES:/^a|b\\/$/|XML:/*|XML://@*|TX:0";
        assert_eq!(
            shape(text),
            [
                "ARGS",
                "!ARGS:pass",
                "&REQUEST_HEADERS:host",
                "REQUEST_COOKIES:/^a|b/$/",
                "XML:/*",
                "XML://@*",
                "TX:0"
            ]
        );
        assert_eq!(
            shape("XML:/a[b='|']/c|XML:'//a|//b[@c=\"'\"]'|!XML:/A|!XML"),
            ["XML:/a[b='|']/c", "XML://a|//b[@c=\"'\"]", "!XML:/A", "!XML"]
        );
        assert_eq!(shape("ARGS:'/x y/'|ARGS_NAMES"), ["ARGS:/x y/", "ARGS_NAMES"]);
    }

    #[test]
    fn refuses_what_has_no_meaning() {
        for text in ["", "ARGZ", "REQUEST_URI:x", "XML:a/b", "IP:counter", "ARGS:", "ARGS:/x", "!&ARGS"] {
            assert!(parse(text, &mut TxNames::default()).is_err(), "{text}");
        }
    }
}
