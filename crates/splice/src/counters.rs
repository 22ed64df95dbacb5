//! What was done, in numbers: written by the loop's thread, read by whoever likes, at any time.
//!
//! `Display` writes them as one line of JSON for the program's event file; there is no other log. Numbers
//! only grow, but for `open` and `draining`. Read next: [`Counters`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Declares reasons, each with its word, all of them in order.
macro_rules! reasons {
    ($(#[$of_all:meta])* $name:ident { $($(#[$of_one:meta])* $reason:ident = $word:literal,)+ }) => {
        $(#[$of_all])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$of_one])* $reason,)+
        }

        impl $name {
            /// All, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$reason,)+];

            /// The word in the line of JSON.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $word,)+
                }
            }
        }
    };
}
pub(crate) use reasons;

reasons! {
    /// Why a visitor was not forwarded.
    Refusal {
        /// It came as one too many from its address; closed without an answer.
        AddressLimit = "address_limit",
        /// It left before its hello or head was whole.
        Left = "left",
        /// Its hello or head was not whole in time; closed without an answer.
        Slow = "slow",
        /// No TLS on a listener of TLS, or no PROXY header where one is due; `decode_error`.
        NotTls = "not_tls",
        /// The hello is larger than 16 KiB; `decode_error`.
        TooLarge = "too_large",
        /// The hello is malformed; `decode_error`.
        Malformed = "malformed",
        /// The hello names no host; `unrecognized_name`.
        NoName = "no_name",
        /// No entry for the name: unknown, or its owner did not agree; `unrecognized_name`.
        UnknownName = "unknown_name",
        /// No origin of the entry answered; `internal_error`.
        NoOrigin = "no_origin",
        /// Cleartext HTTP; the plain 503.
        Cleartext = "cleartext",
    }
}

/// Declares the counters that have a name of their own.
macro_rules! counters {
    ($($(#[$of_one:meta])* $name:ident,)+) => {
        /// The counters of one [`crate::serve()`]. Give a fresh one to each.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$of_one])* pub $name: AtomicU64,)+
            refused: [AtomicU64; Refusal::ALL.len()],
        }

        impl Counters {
            fn named(&self) -> impl Iterator<Item = (&'static str, &AtomicU64)> {
                [$((stringify!($name), &self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Connections accepted.
    accepted,
    /// Connections open now, in whatever state.
    open,
    /// 1 once the order to stop is taken; then nothing is accepted any more.
    draining,
    /// Connections of which an origin took the bytes.
    spliced,
    /// Bytes from visitors to origins, PROXY headers included.
    bytes_up,
    /// Bytes from origins to visitors.
    bytes_down,
    /// Forwarded connections closed for want of bytes either way.
    idle,
    /// Forwarded connections that either end reset.
    broken,
    /// Tries to reach an origin's address that failed.
    connect_failures,
    /// Times that nothing was accepted because the limit on connections was reached.
    full,
    /// Times that the kernel could not give a connection (descriptors, memory); accepting paused for a tick.
    accept_failures,
    /// Names in the table.
    entries,
}

impl Counters {
    /// How many were refused for a reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused.get(why as usize).map_or(0, read)
    }

    pub(crate) fn refuse(&self, why: Refusal) {
        if let Some(counter) = self.refused.get(why as usize) {
            add(counter, 1);
        }
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
        f.write_str("{")?;
        for (name, counter) in self.named() {
            write!(f, "\"{name}\":{},", read(counter))?;
        }
        f.write_str("\"refused\":{")?;
        for (place, why) in Refusal::ALL.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}\"{}\":{}", why.name(), self.refused(*why))?;
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
        let expected = "{\"accepted\":0,\"open\":0,\"draining\":0,\"spliced\":0,\"bytes_up\":0,\
             \"bytes_down\":7,\"idle\":0,\"broken\":0,\"connect_failures\":0,\"full\":0,\
             \"accept_failures\":0,\"entries\":0,\"refused\":{\"address_limit\":0,\"left\":0,\"slow\":0,\
             \"not_tls\":0,\"too_large\":0,\"malformed\":0,\"no_name\":0,\"unknown_name\":0,\
             \"no_origin\":1,\"cleartext\":0}}";
        assert_eq!(counters.to_string(), expected);
    }

    #[test]
    fn each_reason_has_its_own_counter() {
        for (place, why) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*why as usize, place);
        }
    }
}
