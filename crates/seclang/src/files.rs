//! Where rules and their data come from: bytes by path, given by the caller, since this crate does no I/O.
//!
//! Used by [`crate::load`]. Paths are text with `/`; a relative path is relative to the file that names it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::problem::Report;
use crate::source::split;

/// Yields the bytes of files by path.
pub trait Files {
    /// Yields the file's bytes.
    ///
    /// # Errors
    ///
    /// A sentence saying why they cannot be had; it becomes part of a problem at the line that named the
    /// file.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;

    /// Yields the paths of all files in a folder (not below it), in any order; none when there is no such
    /// folder.
    fn list(&self, folder: &str) -> Vec<String>;
}

/// Files held in memory: what a bundle is.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    files: BTreeMap<String, Vec<u8>>,
}

impl MemoryFiles {
    /// Adds or replaces a file.
    pub fn insert(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), bytes.into());
    }
}

impl Files for MemoryFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.files.get(path).cloned().ok_or_else(|| "there is no such file".to_owned())
    }

    fn list(&self, folder: &str) -> Vec<String> {
        self.files.keys().filter(|path| folder_of(path) == folder).cloned().collect()
    }
}

/// A file, or all files that fit wildcards, that a file of rules names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Its path, resolved against the file that names it.
    pub path: String,
    /// Whether the last part of the path has wildcards.
    pub is_pattern: bool,
    /// Whether it holds rules or a schema, and so may name files itself.
    pub has_rules: bool,
}

impl Named {
    /// Says whether a path is meant.
    #[must_use]
    pub fn fits(&self, path: &str) -> bool {
        if self.is_pattern { fits(&self.path, path) } else { self.path == path }
    }

    /// The folder that its files lie in.
    #[must_use]
    pub fn folder(&self) -> &str {
        folder_of(&self.path)
    }
}

/// Lists the files that a file of rules names: what it includes, lists of words and addresses, code pages,
/// document types and schemas; or those that a schema names.
///
/// Light: lines are split into words and nothing is compiled, so that whoever gathers files need not trust
/// them. What cannot be read is left out; loading says why.
#[must_use]
pub fn named_by(path: &str, bytes: &[u8]) -> Vec<Named> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Vec::new() };
    if text.trim_start_matches('\u{feff}').trim_start().starts_with('<') {
        return grammars_of(path, text);
    }
    let mut named = Vec::new();
    let mut add = |written: &str, has_rules: bool| {
        let path = resolve(path, written.trim());
        let is_pattern = has_rules && path.contains(['*', '?']);
        named.push(Named { path, is_pattern, has_rules });
    };
    let is_any = |word: &str, known: &[&str]| known.iter().any(|one| word.eq_ignore_ascii_case(one));
    for statement in split(&Arc::from(path), text, &mut Report::default()) {
        match statement.words.as_slice() {
            [path] if is_any(&statement.name, &["Include", "IncludeOptional"]) => add(path, true),
            [file] if is_any(&statement.name, &["SecUnicodeMapFile"]) => add(file, false),
            [file @ .., _number] if is_any(&statement.name, &["SecUnicodeMapFile"]) => {
                add(&file.join(" "), false);
            }
            [_, operator, ..] if is_any(&statement.name, &["SecRule"]) => {
                let operator = operator.trim_start_matches(['!', ' ']);
                let (name, argument) = operator.split_once([' ', '\t']).unwrap_or((operator, ""));
                if is_any(name, &["@pmFromFile", "@pmf"]) {
                    argument.split_ascii_whitespace().for_each(|file| add(file, false));
                } else if is_any(name, &["@validateDTD", "@validateSchema"]) {
                    add(argument, true);
                } else if is_any(name, &["@ipMatchFromFile", "@ipMatchF"]) {
                    add(argument, false);
                } else if is_any(name, &["@fuzzyHash"])
                    && let Some((file, _threshold)) = argument.trim().rsplit_once([' ', '\t'])
                {
                    add(file, false);
                }
            }
            _ => {}
        }
    }
    named
}

/// The files beside it that a schema includes and imports, or that parameter entities of a document type
/// name.
fn grammars_of(path: &str, text: &str) -> Vec<Named> {
    let mut named = Vec::new();
    let mut add = |written: Option<&str>| {
        if let Some(written) = written.filter(|written| !written.contains("://")) {
            let path = resolve(path, written.trim());
            named.push(Named { path, is_pattern: false, has_rules: true });
        }
    };
    for piece in text.split("schemaLocation").skip(1) {
        add(piece.trim_start().strip_prefix('=').and_then(|rest| quoted(rest).map(|(text, _)| text)));
    }
    for piece in text.split("<!ENTITY").skip(1) {
        let Some(piece) = piece.trim_start().strip_prefix('%').map(str::trim_start) else { continue };
        let (_, rest) = piece.split_once([' ', '\t', '\n', '\r']).unwrap_or((piece, ""));
        let rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix("SYSTEM") {
            add(quoted(rest).map(|(text, _)| text));
        } else if let Some((_, rest)) = rest.strip_prefix("PUBLIC").and_then(quoted) {
            add(quoted(rest).map(|(text, _)| text));
        }
    }
    named
}

/// What stands in quotes next, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    text.get(1..)?.split_once(quote)
}

/// A path as `Include` would make it: without `.`, `..` and a slash at its end. Purely by text.
#[must_use]
pub fn normal(path: &str) -> String {
    resolve("", path)
}

/// The folder of a path: what stands before its last `/`, or nothing.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rfind('/').map_or("", |at| path.get(..at).unwrap_or_default())
}

/// The path that `named` means in a file at `from`, without `.` and `..`.
pub(crate) fn resolve(from: &str, named: &str) -> String {
    let joined = if named.starts_with('/') || folder_of(from).is_empty() && !from.starts_with('/') {
        named.to_owned()
    } else {
        format!("{}/{named}", folder_of(from))
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "." => {}
            "" if !parts.is_empty() => {}
            ".." if parts.last().is_some_and(|last| !matches!(*last, ".." | "")) => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Says whether a name fits a pattern of `*`, `?` and other characters. Time: length × length at most.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, eaten)) => {
                    star = Some((at, eaten + 1));
                    p = at + 1;
                    n = eaten + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_against_the_naming_file() {
        assert_eq!(resolve("a/b/c.conf", "d.data"), "a/b/d.data");
        assert_eq!(resolve("a/b/c.conf", "../d.data"), "a/d.data");
        assert_eq!(resolve("a/b/c.conf", "/d.data"), "/d.data");
        assert_eq!(resolve("c.conf", "./d/../e"), "e");
        assert_eq!(resolve("/c.conf", "e"), "/e");
    }

    #[test]
    fn lists_what_a_file_of_rules_names_and_nothing_else() {
        let text = "Include more/*.conf\nIncludeOptional /etc/x.conf\n# Include no.conf\n\
                    SecRule ARGS \"@pmFromFile words.data\" \\\n  \"id:1,phase:2,pass,msg:'Include y'\"\n\
                    SecRule REMOTE_ADDR \"!@ipMatchFromFile ../a.txt\" \"id:2\"\n\
                    SecRule FILES_TMP_CONTENT \"@fuzzyHash known.txt 60\" \"id:4\"\n\
                    SecUnicodeMapFile pages.map 20127\nSecUnicodeMapFile \"../b c.map\"\n\
                    SecRule ARGS \"@rx @pmFromFile\" \"id:3\"\n";
        let found = named_by("/w/rules/a.conf", text.as_bytes());
        let shown: Vec<(&str, bool, bool)> =
            found.iter().map(|one| (one.path.as_str(), one.is_pattern, one.has_rules)).collect();
        assert_eq!(
            shown,
            [
                ("/w/rules/more/*.conf", true, true),
                ("/etc/x.conf", false, true),
                ("/w/rules/words.data", false, false),
                ("/w/a.txt", false, false),
                ("/w/rules/known.txt", false, false),
                ("/w/rules/pages.map", false, false),
                ("/w/b c.map", false, false),
            ]
        );
        assert!(found[0].fits("/w/rules/more/b.conf") && !found[0].fits("/w/rules/b.conf"));
    }

    #[test]
    fn lists_what_grammars_name_beside_them() {
        let paths = |path: &str, text: &str| -> Vec<String> {
            named_by(path, text.as_bytes()).into_iter().map(|one| one.path).collect()
        };
        let schema = "<s><include schemaLocation = 'b.xsd'/><import schemaLocation=\"http://x/c.xsd\"/></s>";
        assert_eq!(paths("w/a.xsd", schema), ["w/b.xsd"]);
        let dtd = "<!ENTITY % b SYSTEM 'm/b.mod'><!ENTITY % c PUBLIC \"-//C\" \"c.ent\">\
                   <!ENTITY d SYSTEM 'd'><!ENTITY % e 'text'><!ENTITY % f SYSTEM 'http://x/f'>";
        assert_eq!(paths("w/a.dtd", dtd), ["w/m/b.mod", "w/c.ent"]);
    }

    #[test]
    fn fits_names_to_wildcards() {
        assert!(fits("*.conf", "a.conf"));
        assert!(fits("REQUEST-9*-*.conf", "REQUEST-901-X.conf"));
        assert!(!fits("*.conf", "a.conf.example"));
        assert!(fits("a?c*", "abc"));
        assert!(!fits("a?c", "ac"));
    }
}
