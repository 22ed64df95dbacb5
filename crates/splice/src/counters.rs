//! What was done, in numbers: written by the loop's thread, read by whoever likes, at any time.
//!
//! `Display` writes them as one line of JSON for the program's event file; there is no other log. Numbers
//! only grow, but for `open`, `draining` and `entries`. Read next: [`Counters`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::table::BadTable;

/// Why a visitor was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It came as one too many from its address; closed without an answer.
    AddressLimit,
    /// It left before its hello or head was whole.
    Left,
    /// Its hello or head was not whole in time; closed without an answer.
    Slow,
    /// No TLS on a listener of TLS, or no PROXY header where one is due; `decode_error`.
    NotTls,
    /// The hello is larger than 16 KiB; `decode_error`.
    TooLarge,
    /// The hello is malformed; `decode_error`.
    Malformed,
    /// The hello names no host; `unrecognized_name`.
    NoName,
    /// No entry for the name: unknown, or its owner did not agree; `unrecognized_name`.
    UnknownName,
    /// No origin of the entry answered; `internal_error`.
    NoOrigin,
    /// Cleartext HTTP; the plain 503.
    Cleartext,
    /// Cleartext HTTP for a name whose entry wants no answer; closed.
    CleartextClosed,
}

impl Refusal {
    /// All, in the order of their counters.
    pub const ALL: [Self; 11] = [
        Self::AddressLimit,
        Self::Left,
        Self::Slow,
        Self::NotTls,
        Self::TooLarge,
        Self::Malformed,
        Self::NoName,
        Self::UnknownName,
        Self::NoOrigin,
        Self::Cleartext,
        Self::CleartextClosed,
    ];

    /// The word in the line of JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::AddressLimit => "address_limit",
            Self::Left => "left",
            Self::Slow => "slow",
            Self::NotTls => "not_tls",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::NoName => "no_name",
            Self::UnknownName => "unknown_name",
            Self::NoOrigin => "no_origin",
            Self::Cleartext => "cleartext",
            Self::CleartextClosed => "cleartext_closed",
        }
    }
}

/// The counters of one [`crate::serve()`]. Give a fresh one to each.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open now, in whatever state.
    pub open: AtomicU64,
    /// 1 once the order to stop is taken; then nothing is accepted any more.
    pub draining: AtomicU64,
    /// Connections of which an origin took the bytes.
    pub spliced: AtomicU64,
    /// Bytes from visitors to origins, PROXY headers included.
    pub bytes_up: AtomicU64,
    /// Bytes from origins to visitors.
    pub bytes_down: AtomicU64,
    /// Forwarded connections closed for want of bytes either way.
    pub idle: AtomicU64,
    /// Forwarded connections that either end reset.
    pub broken: AtomicU64,
    /// Tries to reach an origin's address that failed.
    pub connect_failures: AtomicU64,
    /// Times that nothing was accepted because the limit on connections was reached.
    pub full: AtomicU64,
    /// Times that the kernel could not give a connection (descriptors, memory); accepting paused for a tick.
    pub accept_failures: AtomicU64,
    /// Tables read and taken.
    pub tables_taken: AtomicU64,
    /// Tables that were broken; the one before stayed.
    pub tables_broken: AtomicU64,
    /// Names in the table in use.
    pub entries: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    /// 0, or 1 and the place in [`BadTable::ALL`] of what was wrong with the last table.
    broken_table: AtomicU64,
}

impl Counters {
    /// How many were refused for a reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused.get(why as usize).map_or(0, read)
    }

    /// What was wrong with the table when it was last read; `None` if it was taken.
    pub fn broken_table(&self) -> Option<BadTable> {
        let place = usize::try_from(read(&self.broken_table)).ok()?.checked_sub(1)?;
        BadTable::ALL.get(place).copied()
    }

    pub(crate) fn refuse(&self, why: Refusal) {
        if let Some(counter) = self.refused.get(why as usize) {
            add(counter, 1);
        }
    }

    pub(crate) fn take_table(&self, entries: usize) {
        add(&self.tables_taken, 1);
        self.entries.store(entries as u64, Ordering::Relaxed);
        self.broken_table.store(0, Ordering::Relaxed);
    }

    pub(crate) fn break_table(&self, why: BadTable) {
        add(&self.tables_broken, 1);
        self.broken_table.store(1 + why as u64, Ordering::Relaxed);
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = [
            ("accepted", &self.accepted),
            ("open", &self.open),
            ("draining", &self.draining),
            ("spliced", &self.spliced),
            ("bytes_up", &self.bytes_up),
            ("bytes_down", &self.bytes_down),
            ("idle", &self.idle),
            ("broken", &self.broken),
            ("connect_failures", &self.connect_failures),
            ("full", &self.full),
            ("accept_failures", &self.accept_failures),
            ("tables_taken", &self.tables_taken),
            ("tables_broken", &self.tables_broken),
            ("entries", &self.entries),
        ];
        f.write_str("{")?;
        for (name, counter) in numbers {
            write!(f, "\"{name}\":{},", read(counter))?;
        }
        let table = self.broken_table().map_or("ok", BadTable::name);
        write!(f, "\"table\":\"{table}\",\"refused\":{{")?;
        for (place, why) in Refusal::ALL.into_iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}\"{}\":{}", why.name(), self.refused(why))?;
        }
        f.write_str("}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_one_line_of_json() {
        let counters = Counters::default();
        add(&counters.bytes_down, 7);
        counters.refuse(Refusal::NoOrigin);
        counters.break_table(BadTable::Checksum);
        let line = counters.to_string();
        let expected = "{\"accepted\":0,\"open\":0,\"draining\":0,\"spliced\":0,\"bytes_up\":0,\
             \"bytes_down\":7,\"idle\":0,\"broken\":0,\"connect_failures\":0,\"full\":0,\
             \"accept_failures\":0,\"tables_taken\":0,\"tables_broken\":1,\"entries\":0,\
             \"table\":\"checksum\",\"refused\":{\"address_limit\":0,\"left\":0,\"slow\":0,\
             \"not_tls\":0,\"too_large\":0,\"malformed\":0,\"no_name\":0,\"unknown_name\":0,\
             \"no_origin\":1,\"cleartext\":0,\"cleartext_closed\":0}}";
        assert_eq!(line, expected);
        counters.take_table(3);
        assert_eq!(counters.broken_table(), None);
        assert!(counters.to_string().contains("\"entries\":3,\"table\":\"ok\""));
    }

    #[test]
    fn each_reason_has_its_own_counter_and_word() {
        for (place, why) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
        }
        for (place, why) in BadTable::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
        }
    }
}
