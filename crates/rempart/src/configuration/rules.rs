//! Reads the files that a firewall's rules are made of: a folder as it comes, and what its files name.
//!
//! Nothing is judged here: lines are only split, to find what they name. What is missing comes out when the
//! rules are loaded, with file and line. Called by [`super::gather`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use zone::limits::FILE_BYTES_MAX;
use zone::{RULE_FOLDERS, belongs_to_rules};

use crate::files::read_bounded;

/// Files read for one path: as many as one load of rules takes.
const FILES_MAX: usize = seclang::limits::FILES_MAX;

/// Reads the file or folder at `path` (one of [`zone::NamedFile`]), and what its rules name, into `files` by
/// path.
///
/// # Errors
/// When the path itself, or a file of the folder, cannot be read.
pub(super) fn read(path: &str, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    let mut open = BTreeSet::new();
    if fs::metadata(path)?.is_dir() {
        for file in std::iter::once(path.to_owned()).chain(RULE_FOLDERS.map(|name| format!("{path}/{name}")))
        {
            open.extend(list(&file).into_iter().filter(|path| belongs_to_rules(last(path))));
        }
    } else {
        open.insert(path.to_owned());
    }
    let mut seen = BTreeSet::new();
    for file in &open {
        take(file, files)?;
    }
    while let Some(file) = open.pop_first() {
        if seen.len() >= FILES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it names over {FILES_MAX} files"),
            ));
        }
        if !seen.insert(file.clone()) {
            continue;
        }
        let Some(bytes) = files.get(&file).filter(|_| !file.ends_with(".data")) else { continue };
        for named in seclang::named_by(&file, bytes) {
            let found = match named.is_pattern {
                true => list(named.folder()).into_iter().filter(|path| named.fits(path)).collect(),
                false => vec![named.path],
            };
            for found in found {
                if take(&found, files).is_ok() && named.has_rules {
                    open.insert(found);
                }
            }
        }
    }
    Ok(())
}

/// Names those of a bundle's files that a path of rules stands for: what [`read`] would have read.
pub(super) fn of(path: &str, files: &BTreeMap<String, Vec<u8>>) -> BTreeSet<String> {
    let mut open = BTreeSet::new();
    if files.contains_key(path) {
        open.insert(path.to_owned());
    } else {
        let folders =
            std::iter::once(path.to_owned()).chain(RULE_FOLDERS.map(|name| format!("{path}/{name}")));
        let inside = folders.flat_map(|folder| inside(&folder, files));
        open.extend(inside.filter(|path| belongs_to_rules(last(path))));
    }
    let mut all = open.clone();
    let mut seen = BTreeSet::new();
    while let Some(file) = open.pop_first() {
        if !seen.insert(file.clone()) {
            continue;
        }
        let Some(bytes) = files.get(&file).filter(|_| !file.ends_with(".data")) else { continue };
        for named in seclang::named_by(&file, bytes) {
            let found = match named.is_pattern {
                true => {
                    let inside = inside(named.folder(), files).into_iter();
                    inside.filter(|path| named.fits(path)).collect()
                }
                false => vec![named.path],
            };
            for found in found.into_iter().filter(|found| files.contains_key(found)) {
                all.insert(found.clone());
                if named.has_rules {
                    open.insert(found);
                }
            }
        }
    }
    all
}

/// Paths of a bundle's files right in a folder.
fn inside(folder: &str, files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let is_inside = |path: &&String| path.strip_prefix(&start).is_some_and(|rest| !rest.contains('/'));
    files.keys().filter(is_inside).cloned().collect()
}

fn take(path: &str, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    if !files.contains_key(path) {
        let bytes = read_bounded(Path::new(path), FILE_BYTES_MAX)
            .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
        files.insert(path.to_owned(), bytes);
    }
    Ok(())
}

/// Paths of the files in a folder; none where there is no such folder.
fn list(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(if folder.is_empty() { "." } else { folder });
    let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
    let is_file = |entry: &fs::DirEntry| fs::metadata(entry.path()).is_ok_and(|found| found.is_file());
    let names = entries.into_iter().flatten().flatten().filter(is_file).filter_map(name);
    names.map(|name| if folder.is_empty() { name } else { format!("{folder}/{name}") }).collect()
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use testkit::folder::Folder;

    use super::*;

    fn names(folder: &Folder, files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
        let start = format!("{}/", folder.path().display());
        files.keys().map(|path| path.strip_prefix(&start).unwrap_or(path).to_owned()).collect()
    }

    #[test]
    fn a_folder_s_rules_and_lists_are_read_and_what_they_name_elsewhere() {
        let folder = Folder::new().unwrap();
        for (path, text) in [
            ("crs/crs-setup.conf.example", ""),
            ("crs/README.md", ""),
            (
                "crs/rules/A.conf",
                "SecRule ARGS \"@pmFromFile words.data\" \"id:1\"\nInclude ../../own/*.conf\n",
            ),
            ("crs/rules/B.conf.example", ""),
            ("crs/rules/words.data", "x"),
            ("crs/plugins/p-config.conf", ""),
            ("crs/tests/t.conf", ""),
            ("own/o.conf", "SecRule ARGS \"@pmFromFile lists/l.txt\" \"id:2\"\nInclude missing.conf\n"),
            ("own/lists/l.txt", "y"),
            ("own/other.txt", "z"),
        ] {
            folder.write(path, text).unwrap();
        }
        let mut files = BTreeMap::new();
        read(&format!("{}/crs", folder.path().display()), &mut files).unwrap();
        assert_eq!(
            names(&folder, &files),
            [
                "crs/crs-setup.conf.example",
                "crs/plugins/p-config.conf",
                "crs/rules/A.conf",
                "crs/rules/words.data",
                "own/lists/l.txt",
                "own/o.conf",
            ]
        );
        // Of a bundle that has more, it is the same files.
        let read: BTreeSet<String> = files.keys().cloned().collect();
        files.insert(format!("{}/own/other.conf.d/x.conf", folder.path().display()), Vec::new());
        files.insert(format!("{}/certs/a.pem", folder.path().display()), Vec::new());
        assert_eq!(of(&format!("{}/crs", folder.path().display()), &files), read);
    }

    #[test]
    fn files_that_include_each_other_are_read_once() {
        let folder = Folder::new().unwrap();
        folder.write("a.conf", "Include b.conf\n").unwrap();
        folder.write("b.conf", "Include a.conf\n").unwrap();
        let mut files = BTreeMap::new();
        read(&format!("{}/a.conf", folder.path().display()), &mut files).unwrap();
        assert_eq!(names(&folder, &files), ["a.conf", "b.conf"]);
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error() {
        let folder = Folder::new().unwrap();
        assert!(read(&format!("{}/none", folder.path().display()), &mut BTreeMap::new()).is_err());
    }
}
