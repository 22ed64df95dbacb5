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
//! flags    1: a wildcard, the name without `*.`   2: always   4, 8: PROXY header 1, 2
//! ```
//!
//! Entries ascend by name, exact before wildcard: one content has one form, none is there twice, and a search
//! by halves finds it. It knows neither zones nor who agreed; the caller chose the entries. Read next:
//! [`Table::find`].

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::checksum::checksum;
use crate::counters::reasons;
use crate::hello::is_name;
use crate::input::Input;
use crate::limits::{ENTRIES_MAX, ORIGINS_MAX, TABLE_BYTES_MAX};

mod writing;

pub use writing::{BadEntry, NotWritten};

const MAGIC: [u8; 8] = *b"RMPSPLIC";
const VERSION: u32 = 1;
/// Magic, version, entries, length; then the checksum.
const SUMMED_HEADER_BYTES: usize = 24;
pub(crate) const HEADER_BYTES: usize = SUMMED_HEADER_BYTES + 8;

const WILDCARD: u8 = 1;
/// Of versions in which an entry could want no 503 for cleartext HTTP.
const ALWAYS: u8 = 2;
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
}

reasons! {
    /// Why bytes are no table. Whichever it is, the remedy is the next publish, which writes the table anew.
    BadTable {
        /// There is no file, or it cannot be read.
        Unreadable = "unreadable",
        /// The file is larger than any table.
        TooLarge = "too_large",
        /// It does not begin as a table does.
        NotTable = "not_table",
        /// It was written by another version of the program.
        Version = "version",
        /// It is longer or shorter than it says.
        Length = "length",
        /// A bit flipped: a failing disk, or two writers.
        Checksum = "checksum",
        /// The checksum is right but an entry is not: the writer is faulty.
        Malformed = "malformed",
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

/// Whether a name can be asked for: valid, and in lower case.
fn is_clean(name: &[u8]) -> bool {
    is_name(name) && !name.iter().any(u8::is_ascii_uppercase)
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
        Entry { hostname, origins, proxy }
    }
}

/// Takes one entry off the front; `None` if it is not as they are written.
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
    let is_known = flags <= WILDCARD | ALWAYS | PROXY_V2 && flags & ALWAYS != 0;
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

#[cfg(test)]
mod tests;
