//! The table: which host names are forwarded where when nothing else serves.
//!
//! One flat file, written whole at each publish and checked whole when read: a table that is broken in one
//! bit is no table, and then nobody is forwarded rather than somebody to the wrong place. A read table keeps
//! the file's bytes and four more for each entry; reading allocates nothing else, whatever the bytes say.
//!
//! Layout, numbers big-endian:
//!
//! ```text
//! header   "RMPSPLIC"  version u32 = 1  entries u32  bytes of the body u64  CRC-64/XZ of all else u64
//! entry    flags u8  length u8  name  addresses u8 (1 to 8), each: 4 | 6 as u8, the address, port u16
//! flags    1: a wildcard, the name without `*.`   2: cleartext HTTP gets a 503   4, 8: PROXY header 1, 2
//! ```
//!
//! Entries ascend by name, exact before wildcard: one content has one form, none is there twice, and a search
//! by halves finds it. It knows neither zones nor who agreed; the caller chose the entries. Read next:
//! [`Table::find`].

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::checksum::checksum;
use crate::hello::is_name;
use crate::input::Input;
use crate::limits::{ENTRIES_MAX, ORIGINS_MAX, TABLE_BYTES_MAX};

const MAGIC: [u8; 8] = *b"RMPSPLIC";
const VERSION: u32 = 1;
/// Magic, version, entries, length; then the checksum.
const SUMMED_HEADER_BYTES: usize = 24;
pub(crate) const HEADER_BYTES: usize = SUMMED_HEADER_BYTES + 8;

const WILDCARD: u8 = 1;
const ANSWERS_HTTP: u8 = 2;
const PROXY_V1: u8 = 4;
const PROXY_V2: u8 = 8;

/// Which PROXY protocol header an origin expects before the visitor's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// None: the origin sees the node's own address.
    #[default]
    None,
    /// Version 1, a line of text.
    V1,
    /// Version 2, binary.
    V2,
}

/// One host name whose zone's owner agreed to be forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `example.org`; `*.example.org` for any depth below it but not itself; `*` for every name. Lower case,
    /// at most 253 bytes.
    pub hostname: String,
    /// Where TLS is spoken with a certificate of that name, in the order of trial: 1 to 8, without scope.
    pub origins: Vec<SocketAddr>,
    /// The PROXY header that those expect.
    pub proxy: Proxy,
    /// Whether cleartext HTTP for this name gets a 503 with `Retry-After`; else such a connection is closed
    /// without an answer.
    pub answers_http: bool,
}

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

/// Why bytes are no table. Whichever it is, the remedy is the next publish, which writes the table anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTable {
    /// There is no file, or it cannot be read.
    Unreadable,
    /// The file is larger than any table.
    TooLarge,
    /// It does not begin as a table does.
    NotTable,
    /// It was written by another version of the program.
    Version,
    /// It is longer or shorter than it says.
    Length,
    /// A bit flipped: a failing disk, or two writers.
    Checksum,
    /// The checksum is right but an entry is not: the writer is faulty.
    Malformed,
}

impl BadTable {
    /// All, in the order of their codes in [`crate::Counters`].
    pub(crate) const ALL: [Self; 7] = [
        Self::Unreadable,
        Self::TooLarge,
        Self::NotTable,
        Self::Version,
        Self::Length,
        Self::Checksum,
        Self::Malformed,
    ];

    /// One word for counters and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::NotTable => "not_table",
            Self::Version => "version",
            Self::Length => "length",
            Self::Checksum => "checksum",
            Self::Malformed => "malformed",
        }
    }
}

impl fmt::Display for BadTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the splice table is broken ({}): publish again", self.name())
    }
}

impl Error for BadTable {}

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

/// A table as read: correct throughout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    bytes: Box<[u8]>,
    /// Where each entry begins in `bytes`.
    starts: Box<[u32]>,
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

    /// Reads a table and checks all of it.
    ///
    /// # Errors
    /// [`BadTable`] when it differs in one bit from what was written.
    pub fn read(bytes: Vec<u8>) -> Result<Self, BadTable> {
        if bytes.len() > TABLE_BYTES_MAX {
            return Err(BadTable::TooLarge);
        }
        let mut input = Input(&bytes);
        if input.array() != Some(MAGIC) {
            return Err(BadTable::NotTable);
        }
        if input.u32().ok_or(BadTable::Length)? != VERSION {
            return Err(BadTable::Version);
        }
        let count = input.u32().ok_or(BadTable::Length)? as usize;
        let length = input.u64().ok_or(BadTable::Length)?;
        let sum = input.u64().ok_or(BadTable::Length)?;
        let body = input.0;
        if u64::try_from(body.len()) != Ok(length) {
            return Err(BadTable::Length);
        }
        let header = bytes.get(..SUMMED_HEADER_BYTES).ok_or(BadTable::Length)?;
        if checksum(&[header, body]) != sum {
            return Err(BadTable::Checksum);
        }
        if count > ENTRIES_MAX {
            return Err(BadTable::Malformed);
        }
        let starts = find_entries(body, count).ok_or(BadTable::Malformed)?;
        Ok(Self { bytes: bytes.into(), starts })
    }

    /// Reads the table in a file, of which no more is read than a table may have.
    ///
    /// # Errors
    /// As [`Table::read`], and [`BadTable::Unreadable`].
    pub fn load(path: &Path) -> Result<Self, BadTable> {
        let file = File::open(path).map_err(|_| BadTable::Unreadable)?;
        let length = file.metadata().map_err(|_| BadTable::Unreadable)?.len();
        if length > TABLE_BYTES_MAX as u64 {
            return Err(BadTable::TooLarge);
        }
        let mut bytes = Vec::with_capacity(length as usize);
        // One more byte than was there shows a file that is being written to.
        file.take(length + 1).read_to_end(&mut bytes).map_err(|_| BadTable::Unreadable)?;
        Self::read(bytes)
    }

    /// How many names it has.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Finds the entry for a host: the exact name, else the longest wildcard, at any depth.
    ///
    /// `name` is in lower case and without a trailing dot; a name that is too long or odd is not found. At
    /// most 128 searches by halves, one for each label.
    pub fn find(&self, name: &str) -> Option<Entry> {
        let name = name.as_bytes();
        if !is_name(name) {
            return None;
        }
        if let Some(entry) = self.find_key((name, false)) {
            return Some(entry);
        }
        let mut rest = name;
        while let Some(dot) = rest.iter().position(|byte| *byte == b'.') {
            rest = rest.get(dot + 1..)?;
            if let Some(entry) = self.find_key((rest, true)) {
                return Some(entry);
            }
        }
        self.find_key((b"", true))
    }

    /// All entries, ascending by name.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.starts.iter().filter_map(|start| self.entry_at(*start)).map(|raw| raw.to_entry())
    }

    fn find_key(&self, key: Key<'_>) -> Option<Entry> {
        // Every entry was read once before; one that could not be would sort first and not be found.
        let order = |start: &u32| self.entry_at(*start).map(|raw| raw.key).cmp(&Some(key));
        let found = self.starts.binary_search_by(order).ok()?;
        self.entry_at(*self.starts.get(found)?).map(|raw| raw.to_entry())
    }

    fn entry_at(&self, start: u32) -> Option<Raw<'_>> {
        take_entry(&mut Input(self.bytes.get(start as usize..)?))
    }
}

/// What entries are ordered by: the name without `*.`, and whether it is a wildcard.
type Key<'a> = (&'a [u8], bool);

fn parse_hostname(hostname: &str) -> Option<Key<'_>> {
    let (name, is_wildcard) = match hostname.strip_prefix('*') {
        None => (hostname, false),
        Some("") => return Some((b"", true)),
        Some(rest) => (rest.strip_prefix('.')?, true),
    };
    is_clean(name.as_bytes()).then_some((name.as_bytes(), is_wildcard))
}

/// Whether a name can be asked for: valid, and in lower case.
fn is_clean(name: &[u8]) -> bool {
    is_name(name) && !name.iter().any(u8::is_ascii_uppercase)
}

fn put_entry(body: &mut Vec<u8>, (name, is_wildcard): Key<'_>, entry: &Entry) -> Option<()> {
    let proxy = match entry.proxy {
        Proxy::None => 0,
        Proxy::V1 => PROXY_V1,
        Proxy::V2 => PROXY_V2,
    };
    let wildcard = if is_wildcard { WILDCARD } else { 0 };
    body.push(wildcard | proxy | if entry.answers_http { ANSWERS_HTTP } else { 0 });
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

/// An entry where it lies in the file.
struct Raw<'a> {
    key: Key<'a>,
    flags: u8,
    count: u8,
    /// From its addresses on.
    origins: Input<'a>,
}

impl Raw<'_> {
    fn to_entry(&self) -> Entry {
        let name = String::from_utf8_lossy(self.key.0);
        let hostname = match self.key {
            (_, false) => name.into_owned(),
            (b"", true) => "*".to_owned(),
            (_, true) => format!("*.{name}"),
        };
        let mut input = self.origins;
        let origins = (0..self.count).filter_map(|_| take_origin(&mut input)).collect();
        let proxy = match self.flags & (PROXY_V1 | PROXY_V2) {
            PROXY_V1 => Proxy::V1,
            PROXY_V2 => Proxy::V2,
            _ => Proxy::None,
        };
        Entry { hostname, origins, proxy, answers_http: self.flags & ANSWERS_HTTP != 0 }
    }
}

/// Takes one entry off the front; `None` if it is not as [`put_entry`] writes them.
fn take_entry<'a>(input: &mut Input<'a>) -> Option<Raw<'a>> {
    let flags = input.u8()?;
    let name = input.list8()?.0;
    let count = input.u8()?;
    let origins = *input;
    for _ in 0..count {
        take_origin(input)?;
    }
    let key = (name, flags & WILDCARD != 0);
    // Also leaves out both PROXY headers at once.
    let is_known = flags <= WILDCARD | ANSWERS_HTTP | PROXY_V2;
    let is_named = is_clean(name) || key == (b"", true);
    let has_origins = (1..=ORIGINS_MAX).contains(&usize::from(count));
    (is_known && is_named && has_origins).then_some(Raw { key, flags, count, origins })
}

fn take_origin(input: &mut Input<'_>) -> Option<SocketAddr> {
    let address: IpAddr = match input.u8()? {
        4 => Ipv4Addr::from(input.array()?).into(),
        6 => Ipv6Addr::from(input.array::<16>()?).into(),
        _ => return None,
    };
    let port = input.u16()?;
    (port != 0).then_some(SocketAddr::new(address, port))
}

/// Goes through all entries; `None` if one is wrong, out of order, missing, or too many.
fn find_entries(body: &[u8], count: usize) -> Option<Box<[u32]>> {
    let mut input = Input(body);
    let mut starts = Vec::with_capacity(count);
    let mut before: Option<Key<'_>> = None;
    for _ in 0..count {
        // A file has at most 41 MB: fits.
        starts.push((HEADER_BYTES + body.len() - input.0.len()) as u32);
        let key = take_entry(&mut input)?.key;
        if before.is_some_and(|before| before >= key) {
            return None;
        }
        before = Some(key);
    }
    input.is_empty().then(|| starts.into())
}

/// Puts bytes in the place of a file, durably.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = OsString::from(path);
    beside.push(".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
