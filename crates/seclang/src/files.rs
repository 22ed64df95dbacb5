//! Where rules and their data come from: bytes by path, given by the caller, since this crate does no I/O.
//!
//! Used by [`crate::load`]. Paths are text with `/`; a relative path is relative to the file that names it.

use std::collections::BTreeMap;

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
    fn fits_names_to_wildcards() {
        assert!(fits("*.conf", "a.conf"));
        assert!(fits("REQUEST-9*-*.conf", "REQUEST-901-X.conf"));
        assert!(!fits("*.conf", "a.conf.example"));
        assert!(fits("a?c*", "abc"));
        assert!(!fits("a?c", "ac"));
    }
}
