//! What an inspection found: matches, what is to become of the request, scores, and the exclusion that would
//! allow it.
//!
//! Data for the caller's log and answer; nothing here decides. Made by [`crate::engine`]. Read next:
//! [`Match`].

use std::sync::Arc;

/// One rule that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Match {
    /// The rule's id.
    pub id: u64,
    /// The phase it matched in, from 1 to 5.
    pub phase: u8,
    /// The file it stands in, and the line.
    pub file: Arc<str>,
    /// Line of the rule's beginning, from 1.
    pub line: u32,
    /// Its `msg`, macros expanded; empty when it has none.
    pub msg: String,
    /// Its `logdata`, macros expanded, secrets masked, at most
    /// [`MATCH_DATA_BYTES_MAX`](crate::limits::MATCH_DATA_BYTES_MAX) bytes.
    pub data: String,
    /// Its tags, macros expanded.
    pub tags: Vec<String>,
    /// Its severity from 0 (emergency) to 7 (debug), where it says one.
    pub severity: Option<u8>,
    /// Its `ver`.
    pub version: String,
    /// The variables it matched, those of its chain included, in order.
    pub variables: Vec<MatchedVariable>,
    /// Whether the rule wants to be logged (`log`); gates and counters do not.
    pub is_logged: bool,
    /// Whether the rule wants to be in an audit log (`auditlog`).
    pub is_audited: bool,
    /// Whether the rule would refuse (deny, drop, redirect), whatever the mode.
    pub is_refusal: bool,
}

/// A variable that a rule matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedVariable {
    /// Its name as an exclusion would write it: `ARGS:user`, `REQUEST_URI`.
    pub name: String,
    /// Its value after transformations, at most [`MATCH_DATA_BYTES_MAX`](crate::limits::MATCH_DATA_BYTES_MAX)
    /// bytes, bytes that are not printable escaped; `*` where it may be a secret.
    pub value: String,
}

/// How a rule ends a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer with the status.
    Deny,
    /// Close the connection.
    Drop,
    /// Answer with the status and this location.
    Redirect(String),
}

/// The end of a transaction that a rule wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interruption {
    /// The rule.
    pub rule: u64,
    /// The phase, from 1 to 5.
    pub phase: u8,
    /// The status of the answer; 403 where the rule says none, 302 for a redirect.
    pub status: u16,
    /// What to do.
    pub action: Action,
}

/// The sums that CRS keeps, as they stand; 0 where rules keep none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scores {
    /// `tx.blocking_inbound_anomaly_score`.
    pub inbound: i64,
    /// `tx.detection_inbound_anomaly_score`.
    pub inbound_detection: i64,
    /// `tx.blocking_outbound_anomaly_score`.
    pub outbound: i64,
    /// `tx.detection_outbound_anomaly_score`.
    pub outbound_detection: i64,
}

/// What was not inspected, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Uninspected {
    /// Bytes of the request's body beyond the ceiling, file parts not counted.
    pub request_body_bytes: u64,
    /// Bytes of the response's body beyond the ceiling, or of a type that is not inspected.
    pub response_body_bytes: u64,
    /// Names or values were left out because there are too many or too long ones, or a value was looked at in
    /// part because a transformation made it longer than [`crate::limits::BUFFER_BYTES_MAX`].
    pub values: bool,
}

impl Uninspected {
    /// Says whether everything was inspected.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.request_body_bytes == 0 && self.response_body_bytes == 0 && !self.values
    }
}

/// Writes bytes as text: printable ASCII and valid UTF-8 as they are, the rest as `\xHH`; cut at `bytes_max`.
pub(crate) fn printable(bytes: &[u8], bytes_max: usize) -> String {
    let mut out = String::new();
    let cut = bytes.get(..bytes_max).unwrap_or(bytes);
    for chunk in cut.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if cut.len() < bytes.len() {
        out.push('…');
    }
    out
}
