//! Hostnames, and the index that finds a zone by host.
//!
//! A lookup lower-cases the host on the stack and asks a hash map: first for the exact name, then for
//! wildcards from the longest down, then for the catch-all. It allocates nothing. It does not parse `Host`
//! fields or ports: the caller has done so. Called through [`crate::snapshot::Snapshot::zone_for`].

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use foldhash::quality::FixedState;
use hashbrown::HashMap;

use crate::limits::{HOSTNAME_BYTES_MAX, LABEL_BYTES_MAX};

/// A name that a zone serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hostname {
    /// One name, or an IP address (IPv6 in brackets); in lower case, without a trailing dot.
    Exact(String),
    /// Every name below this one, at any depth, but not the name itself: for `*.example.org` this holds
    /// `example.org`.
    Wildcard(String),
    /// Every name that no other zone has, the missing one included.
    Any,
}

impl fmt::Display for Hostname {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => out.write_str(name),
            Self::Wildcard(name) => write!(out, "*.{name}"),
            Self::Any => out.write_str("*"),
        }
    }
}

/// Why a text is no hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAHostname {
    /// It is empty.
    Empty,
    /// It has characters above ASCII.
    NotAscii,
    /// It has a port.
    Port,
    /// It has a scheme or a path.
    Url,
    /// It has a `*` elsewhere than alone or as the whole first label.
    Star,
    /// It has a character that no hostname has.
    Character(char),
    /// A label is empty, longer than 63 bytes, or begins or ends with a hyphen.
    Label,
    /// It is longer than 253 bytes.
    Long,
}

impl fmt::Display for NotAHostname {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => out.write_str("it is empty"),
            Self::NotAscii => out.write_str("international names are written in punycode (xn--…)"),
            Self::Port => out.write_str("a hostname has no port; ports belong to [[listener]]"),
            Self::Url => out.write_str("only the name is wanted, without scheme and path"),
            Self::Star => out.write_str("a wildcard is `*` alone or `*.` before a name"),
            Self::Character(char) => write!(out, "{char:?} is not allowed in it"),
            Self::Label => {
                out.write_str("each part has 1 to 63 characters and no hyphen at its ends (RFC 1035 §2.3.1)")
            }
            Self::Long => write!(out, "it is longer than {HOSTNAME_BYTES_MAX} characters (RFC 1035 §2.3.4)"),
        }
    }
}

impl Hostname {
    /// Parses a hostname as a person writes it: any case, a trailing dot allowed.
    ///
    /// Underscores are allowed, since browsers resolve such names.
    ///
    /// # Errors
    /// If it is none, with the reason.
    pub fn parse(text: &str) -> Result<Self, NotAHostname> {
        if text.is_empty() {
            return Err(NotAHostname::Empty);
        }
        if !text.is_ascii() {
            return Err(NotAHostname::NotAscii);
        }
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr = inner.parse().map_err(|_| NotAHostname::Character('['))?;
            return Ok(Self::Exact(format!("[{address}]")));
        }
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self::Exact(format!("[{address}]")));
        }
        if text.contains('/') {
            return Err(NotAHostname::Url);
        }
        if text.contains(':') {
            return Err(NotAHostname::Port);
        }
        match text.strip_prefix("*.") {
            Some(base) => name(base).map(Self::Wildcard),
            None => name(text).map(Self::Exact),
        }
    }
}

fn name(text: &str) -> Result<String, NotAHostname> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.contains('*') {
        return Err(NotAHostname::Star);
    }
    let is_allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    if let Some(char) = text.chars().find(|char| !is_allowed(*char)) {
        return Err(NotAHostname::Character(char));
    }
    if text.len() > HOSTNAME_BYTES_MAX {
        return Err(NotAHostname::Long);
    }
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if !text.split('.').all(is_label) {
        return Err(NotAHostname::Label);
    }
    Ok(text.to_ascii_lowercase())
}

/// Says whether a text can be the host of a url: a name, an IPv4 address, or an IPv6 address without
/// brackets.
#[must_use]
pub fn is_host(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok() || text.parse::<Ipv4Addr>().is_ok() || name(text).is_ok()
}

/// Finds the number of a zone by host.
#[derive(Debug, Clone)]
pub struct HostIndex {
    exact: HashMap<Box<[u8]>, u32, FixedState>,
    /// Keyed by the part behind `*.`.
    wildcards: HashMap<Box<[u8]>, u32, FixedState>,
    /// Bit `n` is set if a wildcard has `n` labels behind `*.`: only such suffixes are looked up, so that a
    /// host of 126 labels costs no more than a usual one.
    wildcard_labels: u128,
    any: Option<u32>,
}

impl HostIndex {
    /// Builds an empty index. `seed` keys its hashes, so that nobody who knows only the program can choose
    /// names that collide.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = FixedState::with_seed(seed);
        Self {
            exact: HashMap::with_hasher(state.clone()),
            wildcards: HashMap::with_hasher(state),
            wildcard_labels: 0,
            any: None,
        }
    }

    /// Gives a hostname to a zone; answers the zone that has it already, if any, which keeps it.
    pub fn insert(&mut self, hostname: &Hostname, zone: u32) -> Option<u32> {
        let (map, name) = match hostname {
            Hostname::Any => {
                let taken = self.any;
                self.any.get_or_insert(zone);
                return taken;
            }
            Hostname::Exact(name) => (&mut self.exact, name),
            Hostname::Wildcard(name) => {
                self.wildcard_labels |= 1 << labels(name.as_bytes()).min(127);
                (&mut self.wildcards, name)
            }
        };
        match map.get(name.as_bytes()) {
            Some(taken) => Some(*taken),
            None => {
                map.insert(name.as_bytes().into(), zone);
                None
            }
        }
    }

    /// Finds the zone of a host: the exact name, else the longest wildcard (at any depth), else the
    /// catch-all. Any case; one trailing dot is tolerated; without port. An empty or overlong host only
    /// finds the catch-all.
    #[must_use]
    pub fn find(&self, host: &[u8]) -> Option<u32> {
        let host = host.strip_suffix(b".").unwrap_or(host);
        let mut buffer = [0_u8; HOSTNAME_BYTES_MAX];
        let Some(lower) = buffer.get_mut(..host.len()).filter(|lower| !lower.is_empty()) else {
            return self.any;
        };
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        let host: &[u8] = lower;
        if let Some(zone) = self.exact.get(host) {
            return Some(*zone);
        }
        if self.wildcard_labels != 0 {
            let mut left = labels(host);
            let mut rest = host;
            while let Some(dot) = memchr::memchr(b'.', rest) {
                // Something must stand before the dot: `.example.org` is below nothing.
                rest = rest.get(dot + 1..).unwrap_or(b"");
                left = left.saturating_sub(1);
                let is_worth_it = self.wildcard_labels & (1 << left.min(127)) != 0;
                let has_label = dot > 0 || rest.len() + 1 < host.len();
                if is_worth_it
                    && has_label
                    && let Some(zone) = self.wildcards.get(rest)
                {
                    return Some(*zone);
                }
            }
        }
        self.any
    }
}

fn labels(name: &[u8]) -> usize {
    memchr::memchr_iter(b'.', name).count() + 1
}
