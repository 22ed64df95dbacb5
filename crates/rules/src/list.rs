//! Lists: `$name` in expressions, built from text with every mistake and its line.
//!
//! One entry a line; `#` begins a comment; blank lines do not count. A list of addresses takes single
//! addresses, prefixes and ranges; one of hostnames takes `*.example.org`, which means every name below it.
//! Lists are shared by reference between programs and never change, but that one may be silenced
//! ([`List::silence`]). Made by whoever reads configuration; read next: [`List::parse`].

use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};

use crate::address::{AddressRanges, AddressSet, network_range, parse_network};
use crate::kind::Scalar;
use crate::limits::Limits;

/// What a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// Addresses, prefixes and ranges of addresses; for `ip.src in $list`.
    Addresses,
    /// Numbers of networks, with or without `AS` before them; for `ip.src.asnum in $list`.
    Asns,
    /// Hostnames in any case, `*.` before one for all names below it; for `http.host in $list`.
    Hostnames,
    /// Any strings, compared byte by byte.
    Strings,
    /// Integers and ranges of them.
    Integers,
}

impl ListKind {
    /// Every kind with its word.
    pub const ALL: &'static [(ListKind, &'static str)] = &[
        (ListKind::Addresses, "ip"),
        (ListKind::Asns, "asn"),
        (ListKind::Hostnames, "hostname"),
        (ListKind::Strings, "string"),
        (ListKind::Integers, "integer"),
    ];

    /// The type of what may be looked up in it.
    #[must_use]
    pub const fn scalar(self) -> Scalar {
        match self {
            ListKind::Addresses => Scalar::Ip,
            ListKind::Asns | ListKind::Integers => Scalar::Int,
            ListKind::Hostnames | ListKind::Strings => Scalar::Bytes,
        }
    }
}

/// One mistake in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListProblem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what was expected.
    pub what: String,
}

impl fmt::Display for ListProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// A list by which values are looked up.
#[derive(Debug)]
pub struct List {
    kind: ListKind,
    entries: usize,
    content: Content,
    is_silent: AtomicBool,
}

#[derive(Debug)]
enum Content {
    Addresses(AddressSet),
    Integers(IntSet),
    Texts(Texts),
}

impl List {
    /// Builds a list from text.
    ///
    /// # Errors
    ///
    /// Every problem with its line, at most [`Limits::list_problems_max`] of them; a list with a problem is
    /// not made, since half a list may let in or shut out whom it should not. Of a list with more than
    /// [`Limits::list_entries_max`] entries that alone is told.
    pub fn parse(kind: ListKind, text: &str, limits: &Limits) -> Result<List, Vec<ListProblem>> {
        let lines = memchr::memchr_iter(b'\n', text.as_bytes()).count() + 1;
        // Counting is cheap, and a list over the limit is refused whatever its entries say: so nothing of it
        // is read as an address or a name.
        if lines > limits.list_entries_max
            && let Some(line) = line_of_entry(text, limits.list_entries_max)
        {
            let what = format!("the list has more than {} entries", limits.list_entries_max);
            return Err(vec![ListProblem { line, what }]);
        }
        let mut problems = Vec::new();
        let mut entries = 0;
        // Nothing is copied for want of room.
        let room = if kind == ListKind::Addresses { lines.min(limits.list_entries_max) } else { 0 };
        let mut addresses = AddressRanges::with_capacity(room);
        let mut integers = Vec::new();
        let mut texts = Texts::default();
        for (place, line) in text.lines().enumerate() {
            let entry = without_comment(line);
            if entry.is_empty() {
                continue;
            }
            let taken = if entry.len() > limits.list_entry_bytes_max {
                Err(format!("the entry is longer than {} bytes", limits.list_entry_bytes_max))
            } else {
                match kind {
                    ListKind::Addresses => address_range(entry).map(|range| addresses.push(range)),
                    ListKind::Asns => asn(entry).map(|number| integers.push((number, number))),
                    ListKind::Integers => integer_range(entry).map(|range| integers.push(range)),
                    ListKind::Hostnames => hostname(entry).map(|name| texts.insert(name.as_bytes())),
                    ListKind::Strings => {
                        texts.insert(entry.as_bytes());
                        Ok(())
                    }
                }
            };
            match taken {
                Ok(()) => entries += 1,
                Err(what) => {
                    problems.push(ListProblem { line: place + 1, what });
                    if problems.len() >= limits.list_problems_max {
                        break;
                    }
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let content = match kind {
            ListKind::Addresses => Content::Addresses(addresses.into_set()),
            ListKind::Asns | ListKind::Integers => Content::Integers(IntSet::new(integers)),
            ListKind::Hostnames | ListKind::Strings => Content::Texts(texts),
        };
        Ok(List { kind, entries, content, is_silent: AtomicBool::new(false) })
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> ListKind {
        self.kind
    }

    /// Lines it was made from, those without an entry not counted.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes of memory it takes, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match &self.content {
            Content::Addresses(set) => set.memory_bytes(),
            Content::Integers(set) => set.ranges.capacity() * 16,
            Content::Texts(texts) => texts.bytes.capacity() + texts.table.capacity() * 9,
        }
    }

    /// Has it hold nothing, or again what it has: for every program that names it, from the next lookup on.
    pub fn silence(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }

    fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// Whether it holds an address; false for a list of something else.
    #[must_use]
    pub fn holds_address(&self, address: IpAddr) -> bool {
        !self.is_silent() && matches!(&self.content, Content::Addresses(set) if set.holds(address))
    }

    /// Whether it holds an integer; false for a list of something else.
    #[must_use]
    pub fn holds_int(&self, value: i64) -> bool {
        !self.is_silent() && matches!(&self.content, Content::Integers(set) if set.holds(value))
    }

    /// Whether it holds a string or hostname; false for a list of something else.
    #[must_use]
    pub fn holds_bytes(&self, value: &[u8]) -> bool {
        let Content::Texts(texts) = &self.content else { return false };
        if self.is_silent() {
            return false;
        }
        if self.kind == ListKind::Strings {
            return texts.holds(value);
        }
        // A name has at most 253 bytes (RFC 1035 §2.3.4); what is longer is in no list of names.
        let mut folded = [0; 256];
        let Some(name) = folded.get_mut(..value.len()) else { return false };
        name.copy_from_slice(value);
        name.make_ascii_lowercase();
        let name = name.strip_suffix(b".").unwrap_or(name);
        let mut below = name;
        let mut held = texts.holds(name);
        // The names above it, each with the dot before it: `*.example.org` is kept as `.example.org`.
        while let (false, Some(dot)) = (held, memchr::memchr(b'.', below)) {
            held = texts.holds(below.get(dot..).unwrap_or_default());
            below = below.get(dot + 1..).unwrap_or_default();
        }
        held
    }

    /// Steps of one lookup.
    pub(crate) fn price(&self, bytes: usize) -> u64 {
        match &self.content {
            Content::Addresses(set) => 8 + 4 * set.depth(),
            Content::Integers(set) => 4 + 2 * u64::from(usize::BITS - set.ranges.len().leading_zeros()),
            Content::Texts(_) if self.kind == ListKind::Hostnames => 64 + 8 * bytes.min(256) as u64,
            Content::Texts(_) => 16 + bytes as u64 / 4,
        }
    }
}

/// The line, from 1, of the entry behind the first so many; none when there are no more.
fn line_of_entry(text: &str, behind: usize) -> Option<usize> {
    let is_entry = |(_, line): &(usize, &str)| !without_comment(line).is_empty();
    text.lines().enumerate().filter(is_entry).nth(behind).map(|(place, _)| place + 1)
}

/// The entry of a line: a `#` begins a comment at the line's start or after a blank.
fn without_comment(line: &str) -> &str {
    // Most lines have neither a comment nor blanks.
    let is_plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    let bytes = line.as_bytes();
    if is_plain(bytes.first()) && is_plain(bytes.last()) && memchr::memchr(b'#', bytes).is_none() {
        return line;
    }
    let mut end = line.len();
    for (place, _) in line.match_indices('#') {
        let before = line.get(..place).unwrap_or_default();
        if before.is_empty() || before.ends_with([' ', '\t']) {
            end = place;
            break;
        }
    }
    line.get(..end).unwrap_or_default().trim()
}

fn address_range(entry: &str) -> Result<(IpAddr, IpAddr), String> {
    // What most lines are is read first, and once.
    if memchr::memchr(b'/', entry.as_bytes()).is_some() {
        if let Ok((address, length)) = parse_network(entry) {
            return Ok(network_range(address, length));
        }
    } else if let Ok(address) = entry.parse() {
        return Ok((address, address));
    }
    if let Some((low, high)) = entry.split_once("..") {
        return match (low.trim().parse::<IpAddr>(), high.trim().parse::<IpAddr>()) {
            (Ok(low), Ok(high)) if low.is_ipv4() == high.is_ipv4() && low <= high => Ok((low, high)),
            _ => Err(format!("`{entry}` is not a range of addresses")),
        };
    }
    parse_network(entry)
        .map(|(address, length)| network_range(address, length))
        .map_err(|expected| format!("`{entry}` is not an address; {expected}"))
}

fn asn(entry: &str) -> Result<i64, String> {
    let digits = entry.strip_prefix("AS").or_else(|| entry.strip_prefix("as")).unwrap_or(entry);
    let number: Result<u32, _> = digits.parse();
    match number {
        Ok(number) if !digits.starts_with('+') => Ok(i64::from(number)),
        _ => Err(format!("`{entry}` is not the number of a network; write 64500 or AS64500")),
    }
}

fn integer_range(entry: &str) -> Result<(i64, i64), String> {
    let (low, high) = entry.split_once("..").unwrap_or((entry, entry));
    match (low.trim().parse(), high.trim().parse()) {
        (Ok(low), Ok(high)) if low <= high => Ok((low, high)),
        _ => Err(format!("`{entry}` is not an integer or a range such as 1..9")),
    }
}

fn hostname(entry: &str) -> Result<String, String> {
    let name = entry.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let below = name.strip_prefix('*');
    let plain = below.map_or(Some(name), |rest| rest.strip_prefix('.')).unwrap_or_default();
    let is_label = |label: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(letter)
    };
    if plain.len() > 253 || !plain.split('.').all(is_label) {
        return Err(format!("`{entry}` is not a hostname; write example.org or *.example.org"));
    }
    Ok(below.unwrap_or(name).to_owned())
}

/// A set of integers as disjoint sorted ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IntSet {
    pub(crate) ranges: Vec<(i64, i64)>,
}

impl IntSet {
    pub(crate) fn new(mut ranges: Vec<(i64, i64)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some((_, end)) if end.checked_add(1).is_none_or(|after| low <= after) => {
                    *end = (*end).max(high)
                }
                _ => merged.push((low, high)),
            }
        }
        Self { ranges: merged }
    }

    pub(crate) fn holds(&self, value: i64) -> bool {
        let after = self.ranges.partition_point(|(low, _)| *low <= value);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).is_some_and(|(_, high)| value <= *high)
    }
}

/// Strings in one buffer, found by hash.
///
/// The hash has a fixed seed: lists come from the site's owner, and a lookup compares at most the strings of
/// one hash. Entries are offsets of a length and the bytes after it.
#[derive(Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    table: HashTable<u32>,
}

/// The seed of every table whose content is configuration.
pub(crate) const HASHER: FixedState = FixedState::with_seed(0x0052_6d70_7275_6c65);

fn text_at(bytes: &[u8], at: u32) -> &[u8] {
    let at = at as usize;
    let Some((length, rest)) = bytes.get(at..).and_then(|rest| rest.split_first_chunk::<2>()) else {
        return &[];
    };
    rest.get(..usize::from(u16::from_le_bytes(*length))).unwrap_or_default()
}

impl Texts {
    /// Adds a string of at most 64 KiB (entries are shorter by [`Limits::list_entry_bytes_max`]).
    fn insert(&mut self, text: &[u8]) {
        let Ok(length) = u16::try_from(text.len()) else { return };
        let hash = HASHER.hash_one(text);
        let Self { bytes, table } = self;
        let Ok(at) = u32::try_from(bytes.len()) else { return };
        if table.find(hash, |at| text_at(bytes, *at) == text).is_none() {
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(text);
            table.insert_unique(hash, at, |at| HASHER.hash_one(text_at(bytes, *at)));
        }
    }

    fn holds(&self, text: &[u8]) -> bool {
        self.table.find(HASHER.hash_one(text), |at| text_at(&self.bytes, *at) == text).is_some()
    }
}

/// The lists that expressions may name.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    by_name: HashMap<String, Arc<List>, FixedState>,
}

impl Lists {
    /// No lists.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a list under a name, without the dollar sign; one of the same name is replaced.
    pub fn insert(&mut self, name: impl Into<String>, list: Arc<List>) {
        self.by_name.insert(name.into(), list);
    }

    /// The list of a name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<List>> {
        self.by_name.get(name)
    }

    /// Each with its name, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<List>)> {
        self.by_name.iter().map(|(name, list)| (name.as_str(), list))
    }

    /// Names in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kind: ListKind, text: &str) -> List {
        List::parse(kind, text, &Limits::default()).unwrap()
    }

    #[test]
    fn addresses_prefixes_and_ranges() {
        let office = list(
            ListKind::Addresses,
            "# office\n192.0.2.1\n\n198.51.100.0/24 # guests\n10.0.0.5..10.0.0.9\n2001:db8::/32\r\n",
        );
        assert_eq!(office.entries(), 4);
        for inside in ["192.0.2.1", "198.51.100.255", "10.0.0.5", "10.0.0.9", "2001:db8::77"] {
            assert!(office.holds_address(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["192.0.2.2", "10.0.0.10", "2001:db9::1"] {
            assert!(!office.holds_address(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn hostnames_fold_case_and_know_stars() {
        let names = list(ListKind::Hostnames, "Example.org\n*.Example.com\n");
        for inside in ["example.ORG", "example.org.", "a.example.com", "b.a.EXAMPLE.com"] {
            assert!(names.holds_bytes(inside.as_bytes()), "{inside}");
        }
        for outside in ["example.com", "a.example.org", "", ".", "xexample.org", &"a.".repeat(400)] {
            assert!(!names.holds_bytes(outside.as_bytes()), "{outside}");
        }
    }

    #[test]
    fn asns_and_integers_and_strings() {
        let asns = list(ListKind::Asns, "AS64500\n64501\n");
        assert!(asns.holds_int(64500) && asns.holds_int(64501) && !asns.holds_int(64502));
        let integers = list(ListKind::Integers, "-5\n10..20\n21\n");
        assert!(integers.holds_int(-5) && integers.holds_int(21) && !integers.holds_int(22));
        let strings = list(ListKind::Strings, "a#b\nC d # comment\n#x\n");
        assert!(strings.holds_bytes(b"a#b") && strings.holds_bytes(b"C d") && !strings.holds_bytes(b"c d"));
        assert_eq!(strings.entries(), 2);
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let problems =
            List::parse(ListKind::Addresses, "10.0.0.0/33\n# fine\n::1\nhello\n", &Limits::default());
        let problems = problems.unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [1, 4]);
        assert!(problems[0].to_string().contains("at most 32"), "{}", problems[0]);
        for (kind, wrong) in [
            (ListKind::Asns, "AS-1"),
            (ListKind::Asns, "4294967296"),
            (ListKind::Integers, "9..1"),
            (ListKind::Hostnames, "exa mple.org"),
            (ListKind::Hostnames, "*example.org"),
            (ListKind::Hostnames, "a..b"),
        ] {
            assert!(List::parse(kind, wrong, &Limits::default()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_are_told_once() {
        let limits = Limits { list_entries_max: 2, ..Limits::default() };
        let problems = List::parse(ListKind::Strings, "a\nb\nc\nd\n", &limits).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].line, 3);
        assert!(List::parse(ListKind::Strings, "a\n\n# b\nb\n# c\n\n", &limits).is_ok());
    }

    #[test]
    fn of_a_list_over_its_limit_nothing_else_is_told() {
        let limits = Limits { list_entries_max: 2, ..Limits::default() };
        let text = "# who\n\nno address\n192.0.2.1\n# more\n192.0.2.2\nneither\n";
        let problems = List::parse(ListKind::Addresses, text, &limits).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].line, problems[0].what.as_str()), (6, "the list has more than 2 entries"));
    }

    #[test]
    fn a_million_prefixes_take_a_few_megabytes() {
        let text: String = (0..1_000_000_u32)
            .map(|number| {
                let address = std::net::Ipv4Addr::from(number.wrapping_mul(0x9E37_79B1) & !0xF);
                format!("{address}/29\n")
            })
            .collect();
        let list = list(ListKind::Addresses, &text);
        assert_eq!(list.entries(), 1_000_000);
        assert!(list.memory_bytes() < 9_000_000, "{}", list.memory_bytes());
        assert!(list.price(0) <= 100, "{}", list.price(0));
        assert!(list.holds_address("0.0.0.7".parse().unwrap()));
    }
}
