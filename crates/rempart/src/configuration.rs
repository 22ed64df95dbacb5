//! From files to a snapshot: reads the node file, the zone files and every file these name.
//!
//! All reading of configuration happens here; what it means is judged by the `zone` crate, which gets
//! bytes. Every file is bounded, and one that cannot be read is a problem with its place, never a stop.
//! Called by [`crate::supervisor`] (node file only), [`crate::publishing`] and [`crate::commands`]. Read
//! next: [`gather`].

mod doubts;
mod feeds;
mod kept;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use zone::feed::made_by_its_word;
use zone::limits::{FILE_BYTES_MAX, SPEC_BYTES_MAX};
use zone::{Bundle, FileKind, NamedFile, Node, Problem, Severity, Snapshot, Source};

pub(crate) use self::doubts::doubts;
pub(crate) use self::feeds::outdated;
pub(crate) use self::kept::{Keyring, Lost, compile_kept};
use crate::commands::{counted, tell, tell_lines};
use crate::files::read_bounded;

/// Every problem of one reading; at least one is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// Counts the errors among them.
    pub(crate) fn errors(&self) -> usize {
        self.0.iter().filter(|problem| problem.is_error()).count()
    }

    /// Writes one line each: `file:line:column: message (suggestion)`.
    pub(crate) fn lines(&self) -> String {
        let mut text = String::new();
        for problem in &self.0 {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{problem}");
        }
        text
    }

    /// Prints them to standard error with their number and what follows from them, and gives the exit code
    /// of a refusal.
    pub(crate) fn print_and_refuse(&self, outcome: &str) -> ExitCode {
        tell_lines(&self.lines());
        tell(&format!("{}; {outcome}", counted(self.errors(), "error")));
        ExitCode::FAILURE
    }
}

/// A node file that was read and is in order.
#[derive(Debug, Clone)]
pub(crate) struct NodeFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its bytes.
    pub(crate) source: Source,
    /// What it says.
    pub(crate) node: Node,
}

/// Reads the node file.
///
/// # Errors
/// Every problem in it; or that it cannot be read.
pub(crate) fn read_node_file(path: &Path) -> Result<NodeFile, Problems> {
    let name = path.to_string_lossy().into_owned();
    let bytes = read_bounded(path, SPEC_BYTES_MAX).map_err(|error| {
        let suggestion = match error.kind() {
            io::ErrorKind::NotFound => "name the node file with --config; `rempart demo` needs none",
            io::ErrorKind::PermissionDenied => "let the user that runs Rempart read it",
            _ => "it must be a file of at most 1 MiB",
        };
        let message = format!("the node file cannot be read: {error}");
        Problems(vec![unplaced(&name, &message, suggestion)])
    })?;
    node_file(path, bytes)
}

/// Takes bytes as the node file of that path.
///
/// # Errors
/// Every problem in them.
pub(crate) fn node_file(path: &Path, bytes: Vec<u8>) -> Result<NodeFile, Problems> {
    let source = Source { name: path.to_string_lossy().into_owned(), bytes };
    let node = zone::compile_node(&source).map_err(Problems)?;
    Ok(NodeFile { path: path.to_owned(), source, node })
}

/// A node file in order but for what it says, beside the zones of one that is not: for a look at these zones
/// alone. None if the file cannot be read.
pub(crate) fn zones_beside(path: &Path) -> Option<NodeFile> {
    const IN_ORDER: &[u8] = b"[[listener]]\naddress = \"127.0.0.1:80\"\nprotocol = \"http\"\n";
    let mut file = node_file(path, IN_ORDER.to_vec()).ok()?;
    file.source.bytes = read_bounded(path, SPEC_BYTES_MAX).ok()?;
    file.node.zones = zone::zones_folder_of(&file.source);
    Some(file)
}

/// Gives the node's data folder, without the dots that a relative path leaves in it.
pub(crate) fn data_dir(node: &Node) -> PathBuf {
    Path::new(&node.data_dir).components().collect()
}

/// What tells whether a file was changed: modification time, size, and which file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Stamp {
    seconds: i64,
    nanoseconds: i64,
    size: u64,
    inode: u64,
}

impl Stamp {
    /// Looks at a file; the default stamp, which no file has, when it cannot be looked at.
    pub(crate) fn of(path: &str) -> Self {
        fs::metadata(path).map_or_else(
            |_| Self::default(),
            |found| Self {
                seconds: found.mtime(),
                nanoseconds: found.mtime_nsec(),
                size: found.size(),
                inode: found.ino(),
            },
        )
    }
}

/// All files of one publish, in memory.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// The zone files, the defaults, and what they name, private keys excepted.
    pub(crate) bundle: Bundle,
    /// Stamps of all named files, taken before each was read, by resolved path.
    pub(crate) stamps: BTreeMap<String, Stamp>,
    secrets: BTreeMap<String, Vec<u8>>,
    unread: Vec<Problem>,
}

/// Reads everything that the zones of a node are compiled from.
///
/// The zones are the files `*.toml` right in the zones folder, hidden ones excepted.
pub(crate) fn gather(file: &NodeFile) -> Gathered {
    let mut unread = Vec::new();
    let specs = read_zone_files(file, &mut unread);
    let defaults = zone::defaults_of(&file.source);
    let named = zone::files_named(&specs, defaults.as_ref());
    let mut files = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    let mut stamps = BTreeMap::new();
    let mut failed: BTreeMap<String, io::Error> = BTreeMap::new();
    let mut changed = BTreeMap::new();
    for named in &named {
        if !stamps.contains_key(&named.path) {
            stamps.insert(named.path.clone(), Stamp::of(&named.path));
            let read = match named.kind {
                FileKind::Rules => rules::read(&named.path, &mut files).map(|()| None),
                _ => read_bounded(Path::new(&named.path), FILE_BYTES_MAX).map(Some),
            };
            match read {
                Ok(None) => {}
                Ok(Some(bytes)) if named.kind == FileKind::PrivateKey => {
                    secrets.insert(named.path.clone(), bytes);
                }
                Ok(Some(bytes)) => {
                    files.insert(named.path.clone(), bytes);
                }
                Err(error) => {
                    failed.insert(named.path.clone(), error);
                }
            }
        }
        let Some(error) = failed.get(&named.path) else {
            share_between_kinds(named, &mut files, &mut secrets);
            changed.extend(when_changed(named, &files, &stamps));
            continue;
        };
        unread.push(Problem {
            file: named.file.clone(),
            line: named.line,
            column: named.column,
            message: format!("the file {} cannot be read: {error}", named.path),
            suggestion: Some(remedy_for(error, named.kind)),
            severity: Severity::Error,
        });
    }
    Gathered { bundle: Bundle::new(specs, defaults, files).with_changed(changed), stamps, secrets, unread }
}

/// When a list was changed that has a horizon and does not say itself when it was made.
fn when_changed(
    named: &NamedFile,
    files: &BTreeMap<String, Vec<u8>>,
    stamps: &BTreeMap<String, Stamp>,
) -> Option<(String, u64)> {
    let bytes = files.get(&named.path).filter(|_| named.kind == FileKind::Feed)?;
    // A word that is no time is told when compiling.
    let is_said = made_by_its_word(bytes) != Ok(None);
    let seconds = stamps.get(&named.path).map(|stamp| stamp.seconds).filter(|_| !is_said)?;
    Some((named.path.clone(), u64::try_from(seconds).unwrap_or(0)))
}

/// Names those of a bundle's files that these zones are made from.
pub(crate) fn files_of(
    specs: &[Source],
    defaults: Option<&Source>,
    files: &BTreeMap<String, Vec<u8>>,
) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for named in zone::files_named(specs, defaults) {
        match named.kind {
            FileKind::Rules => all.extend(rules::of(&named.path, files)),
            FileKind::PrivateKey => {}
            _ => {
                all.insert(named.path);
            }
        }
    }
    all.retain(|path| files.contains_key(path));
    all
}

/// A file may hold a chain and its key at once, named twice: then each side needs the bytes.
fn share_between_kinds(
    named: &NamedFile,
    files: &mut BTreeMap<String, Vec<u8>>,
    secrets: &mut BTreeMap<String, Vec<u8>>,
) {
    let is_key = named.kind == FileKind::PrivateKey;
    let (from, to) = if is_key { (files, secrets) } else { (secrets, files) };
    if !to.contains_key(&named.path)
        && let Some(bytes) = from.get(&named.path)
    {
        to.insert(named.path.clone(), bytes.clone());
    }
}

fn remedy_for(error: &io::Error, kind: FileKind) -> String {
    const MIB_MAX: usize = FILE_BYTES_MAX / (1024 * 1024);
    let remedy = match (error.kind(), kind) {
        (io::ErrorKind::PermissionDenied, FileKind::PrivateKey) => {
            "let the user that runs Rempart, and nobody else, read the key"
        }
        (io::ErrorKind::PermissionDenied, _) => "let the user that runs Rempart read it",
        (io::ErrorKind::NotFound, _) => "paths are relative to the file that names them",
        _ => return format!("it must be a regular file of at most {MIB_MAX} MiB"),
    };
    remedy.to_owned()
}

fn read_zone_files(file: &NodeFile, unread: &mut Vec<Problem>) -> Vec<Source> {
    let folder = Path::new(&file.node.zones);
    let mut specs = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let message = format!("the zones folder {} cannot be read: {error}", folder.display());
            let suggestion = "make the folder, or set zones of [node] to where the zone files are";
            unread.push(unplaced(&file.source.name, &message, suggestion));
            return specs;
        }
    };
    for entry in entries {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(error) => {
                let message = format!("the zones folder {} cannot be read whole: {error}", folder.display());
                unread.push(unplaced(&file.source.name, &message, "check the disk"));
                continue;
            }
        };
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_hidden || path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = path.to_string_lossy().into_owned();
        match read_bounded(&path, SPEC_BYTES_MAX) {
            Ok(bytes) => specs.push(Source { name, bytes }),
            Err(error) => {
                let message = format!("the zone file cannot be read: {error}");
                let suggestion = "a zone file is a regular file of at most 1 MiB; move others away";
                unread.push(unplaced(&name, &message, suggestion));
            }
        }
    }
    specs.sort_unstable();
    specs
}

/// A problem of a whole file.
fn unplaced(file: &str, message: &str, suggestion: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        line: 1,
        column: 1,
        message: message.to_owned(),
        suggestion: Some(suggestion.to_owned()),
        severity: Severity::Error,
    }
}

impl Gathered {
    /// Compiles what was gathered; zones that did not change are shared with `previous`.
    ///
    /// # Errors
    /// Every problem there is, those of reading included, in the order of files and places.
    pub(crate) fn compile(&self, number: u64, previous: Option<&Snapshot>) -> Result<Snapshot, Problems> {
        let mut problems = match self.compile_other(&self.bundle, number, previous, Lost::Told) {
            Ok(snapshot) if self.unread.is_empty() => return Ok(snapshot),
            Ok(snapshot) => snapshot.warnings,
            Err(problems) => problems.0,
        };
        // A file that could not be read is told once: by whoever knows why.
        let place = |problem: &Problem| (problem.file.clone(), problem.line, problem.column);
        let known: BTreeSet<_> = self.unread.iter().map(place).collect();
        problems.retain(|problem| {
            !(problem.message.ends_with("could not be read") && known.contains(&place(problem)))
        });
        problems.extend(self.unread.iter().cloned());
        problems.sort_by_key(place);
        Err(Problems(problems))
    }

    /// Compiles another bundle with the keys that were gathered; those it has none of are read from where
    /// they are.
    ///
    /// # Errors
    /// Every problem there is.
    pub(crate) fn compile_other(
        &self,
        bundle: &Bundle,
        number: u64,
        previous: Option<&Snapshot>,
        lost: Lost,
    ) -> Result<Snapshot, Problems> {
        let secrets = |path: &str| self.secrets.get(path).cloned().or_else(|| kept::bytes_of(path));
        lost.compile(bundle, number, &secrets, previous)
    }

    /// Notes the keys, once it compiles with them.
    pub(crate) fn note_keys(&self, keyring: &Keyring) {
        keyring.remember(&[], self.secrets.clone());
    }
}

/// Names the settings of the node file that differ from the running ones and wait for the next start.
pub(crate) fn waits_for_start(running: &Node, read: &Node) -> Vec<&'static str> {
    let differs = [
        ("data_dir", running.data_dir != read.data_dir),
        ("threads", running.threads != read.threads),
        ("user", running.user != read.user),
        ("drain_ms", running.drain_ms != read.drain_ms),
        ("linger_ms", running.linger_ms != read.linger_ms),
        ("spare", running.spare != read.spare),
        ("memory_budget_bytes", running.memory_budget_bytes != read.memory_budget_bytes),
        ("name", running.name != read.name),
        ("trusted_proxies", running.trusted_proxies != read.trusted_proxies),
        ("list_servers", running.list_servers != read.list_servers),
        ("[[listener]]", running.listeners != read.listeners),
        ("[admin]", running.admin != read.admin),
        (
            "[cache]",
            (running.cache_memory_bytes, running.cache_disk_bytes, &running.cache_disk_folder)
                != (read.cache_memory_bytes, read.cache_disk_bytes, &read.cache_disk_folder),
        ),
        ("[log]", running.access_log != read.access_log),
        (
            "privacy of [log]",
            (running.redact_query, running.truncate_addresses)
                != (read.redact_query, read.truncate_addresses),
        ),
        ("[overload]", running.overload != read.overload),
        ("[publish]", running.stages != read.stages),
    ];
    differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

#[cfg(test)]
mod tests;
