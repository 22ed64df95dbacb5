//! Writes the table. It runs in the edge that publishes, not in the last resort, which only reads.
//!
//! Called by the program's publishing thread for [`Table::write`] and [`Entry::check`].

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{
    ALWAYS, Entry, HEADER_BYTES, Key, MAGIC, PROXY_V1, PROXY_V2, Proxy, Table, VERSION, WILDCARD, is_clean,
};
use crate::checksum::checksum;
use crate::limits::{ENTRIES_MAX, ORIGINS_MAX};

impl Entry {
    /// Checks whether a table can hold it, so that one that does not fit can be left out.
    ///
    /// # Errors
    /// [`BadEntry`] when the name or the origins do not fit. What depends on the other entries, a name that
    /// is there twice and too many, is found by [`Table::to_bytes`] alone.
    pub fn check(&self) -> Result<(), BadEntry> {
        let key = parse_hostname(&self.hostname);
        let key = key.ok_or_else(|| BadEntry::Hostname(self.hostname.clone()))?;
        put_entry(&mut Vec::new(), key, self).ok_or_else(|| BadEntry::Origins(self.hostname.clone()))
    }
}

/// Why a table cannot be made of some entries. It names the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadEntry {
    /// More than 100,000.
    TooMany(usize),
    /// Not a host name in lower case, nor `*.` before one, nor `*`.
    Hostname(String),
    /// The name is there twice.
    Twice(String),
    /// None, more than 8, or one with port 0 or a scope.
    Origins(String),
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany(count) => write!(f, "{count} entries, {ENTRIES_MAX} allowed: leave some out"),
            Self::Hostname(name) => write!(f, "`{name}` is no host name in lower case or wildcard of one"),
            Self::Twice(name) => write!(f, "`{name}` is there twice: leave one out"),
            Self::Origins(name) => {
                write!(f, "`{name}` needs 1 to {ORIGINS_MAX} origins with a port and without a scope")
            }
        }
    }
}

impl Error for BadEntry {}

/// Why a table was not written. The one before is still there.
#[derive(Debug)]
pub enum NotWritten {
    /// An entry does not fit.
    Entry(BadEntry),
    /// A file could not be made, written or renamed.
    Io(io::Error),
}

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(_) => f.write_str("the splice table cannot be made of these entries"),
            Self::Io(_) => {
                f.write_str("the splice table cannot be written: check the data folder and its disk")
            }
        }
    }
}

impl Error for NotWritten {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Entry(cause) => Some(cause),
            Self::Io(cause) => Some(cause),
        }
    }
}

impl Table {
    /// Makes the file's bytes of entries in any order.
    ///
    /// # Errors
    /// [`BadEntry`] for the first that does not fit.
    pub fn to_bytes(entries: &[Entry]) -> Result<Vec<u8>, BadEntry> {
        if entries.len() > ENTRIES_MAX {
            return Err(BadEntry::TooMany(entries.len()));
        }
        let mut keyed = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = parse_hostname(&entry.hostname);
            keyed.push((key.ok_or_else(|| BadEntry::Hostname(entry.hostname.clone()))?, entry));
        }
        keyed.sort_unstable_by_key(|(key, _)| *key);
        if let Some([_, (_, twice)]) = keyed.array_windows().find(|[one, next]| one.0 == next.0) {
            return Err(BadEntry::Twice(twice.hostname.clone()));
        }
        let mut body = Vec::with_capacity(entries.len() * 40);
        for (key, entry) in keyed {
            put_entry(&mut body, key, entry).ok_or_else(|| BadEntry::Origins(entry.hostname.clone()))?;
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend((entries.len() as u32).to_be_bytes());
        bytes.extend((body.len() as u64).to_be_bytes());
        bytes.extend(checksum(&[&bytes, &body]).to_be_bytes());
        bytes.extend(body);
        Ok(bytes)
    }

    /// Writes a table in the place of the one at `path`: a reader finds the old or the new one, never a part,
    /// also after a loss of power. The new one is first written beside it as `path` with `.new`, mode 0600.
    ///
    /// One writer at a time; two would be noticed by the checksum.
    ///
    /// # Errors
    /// [`NotWritten`]; the old table is then still there.
    pub fn write(path: &Path, entries: &[Entry]) -> Result<(), NotWritten> {
        let bytes = Self::to_bytes(entries).map_err(NotWritten::Entry)?;
        replace(path, &bytes).map_err(NotWritten::Io)
    }
}

fn parse_hostname(hostname: &str) -> Option<Key<'_>> {
    let (name, is_wildcard) = match hostname.strip_prefix('*') {
        None => (hostname, false),
        Some("") => return Some((b"", true)),
        Some(rest) => (rest.strip_prefix('.')?, true),
    };
    is_clean(name.as_bytes()).then_some((name.as_bytes(), is_wildcard))
}

fn put_entry(body: &mut Vec<u8>, (name, is_wildcard): Key<'_>, entry: &Entry) -> Option<()> {
    let proxy = match entry.proxy {
        Proxy::None => 0,
        Proxy::V1 => PROXY_V1,
        Proxy::V2 => PROXY_V2,
    };
    let wildcard = if is_wildcard { WILDCARD } else { 0 };
    body.push(wildcard | proxy | ALWAYS);
    body.push(name.len().try_into().ok()?);
    body.extend(name);
    if entry.origins.is_empty() || entry.origins.len() > ORIGINS_MAX {
        return None;
    }
    body.push(entry.origins.len().try_into().ok()?);
    for origin in &entry.origins {
        match origin {
            SocketAddr::V4(origin) => {
                body.push(4);
                body.extend(origin.ip().octets());
            }
            SocketAddr::V6(origin) if origin.scope_id() == 0 && origin.flowinfo() == 0 => {
                body.push(6);
                body.extend(origin.ip().octets());
            }
            SocketAddr::V6(_) => return None,
        }
        body.extend(origin.port().to_be_bytes());
        if origin.port() == 0 {
            return None;
        }
    }
    Some(())
}

/// Puts bytes in the place of a file, durably. At an upgrade two processes may do so at once: each has a
/// temporary file of its own, and the last one to be renamed stays.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = OsString::from(path);
    beside.push(format!(".new-{}", std::process::id()));
    let replaced = replace_by(&beside, path, bytes);
    if replaced.is_err() {
        // What is left of it would only take room; the error is what is to be told.
        let _ = fs::remove_file(&beside);
    }
    replaced
}

fn replace_by(beside: &OsString, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
