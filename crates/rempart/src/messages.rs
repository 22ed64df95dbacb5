//! What a command says to a running node and what it answers: one JSON object a line, over the command
//! socket.
//!
//! The shapes are an interface: add, never rename. Local only: who can open the socket (mode 0600, in a
//! folder of mode 0700) may command. Called by [`crate::commands`] (asks) and [`crate::command_socket`]
//! (answers).

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use zone::{Problem, Severity};

use crate::command_log::Block;
use crate::control::{Begin, Beside, ListenerPlan};

/// Bytes of a request with its newline: the longest is `purge` with a URL of 8 KiB, some of it escaped.
pub(crate) const REQUEST_BYTES_MAX: usize = 32 * 1024;

/// Bytes of an answer with its newline: a thousand problems of a few kilobytes, or the status of 10,000
/// zones.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Take the files as they are now.
    Publish {
        /// Answer when the change is the last good one or withdrawn, and say meanwhile how far it has come.
        #[serde(default)]
        wait: bool,
        /// Only say what would change.
        #[serde(default)]
        dry_run: bool,
        /// Publish a change that was withdrawn before.
        #[serde(default)]
        again: bool,
        /// Let more be removed than the node's guard allows.
        #[serde(default)]
        allow_removals: bool,
        /// Take the change back after so many seconds unless it is confirmed.
        #[serde(default)]
        confirm_within_s: Option<u64>,
    },
    /// Refuse visitors of a range for a time, at once.
    Block {
        /// An address, or a range in CIDR notation.
        range: String,
        /// For how long, in seconds.
        for_s: u64,
        /// Why, for whoever reads the list.
        #[serde(default)]
        reason: String,
    },
    /// Serve them again.
    Unblock {
        /// As it was blocked.
        range: String,
    },
    /// Say who is blocked.
    Blocks {},
    /// Make stored answers unusable, at once.
    Purge {
        /// Which.
        what: Purge,
        /// They may still bridge a failure of the origin, and be served while they are fetched anew.
        #[serde(default)]
        is_soft: bool,
    },
    /// Keep the change that waits for this word.
    Confirm {},
    /// Go back to what served before the newest change.
    Withdraw {},
    /// Say what runs.
    Status {},
    /// Start the binary that is on disk now in the place of the one that runs.
    Upgrade {},
    /// To an edge whose supervisor died: hand the sockets over. They follow the answer as descriptors.
    HandOver {},
    /// Say what each phase decided for one request.
    Trace {
        /// 32 hex digits.
        request_id: String,
    },
}

impl Request {
    /// Whether the answer may take its time: that of stages, or of a disk.
    pub(crate) fn may_take_long(&self) -> bool {
        matches!(self, Self::Publish { .. } | Self::Purge { .. })
    }
}

/// What of the cache is to be purged, in a person's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Purge {
    /// One URL with all its variants, of either scheme: `https://example.org/a?b`.
    Url(String),
    /// Everything whose URL begins so, within one host.
    Prefix(String),
    /// Everything of a host.
    Host(String),
    /// Everything of a zone, by its name.
    Zone(String),
    /// Everything of a zone that the origin gave this tag.
    Tag {
        /// The tag, as in `Cache-Tag` or `Surrogate-Key`.
        tag: String,
        /// The zone's name; not needed where only one has a cache.
        zone: Option<String>,
    },
}

/// What an edge hands over to a new supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandOver {
    /// The edge's process id: it drains on SIGTERM.
    pub(crate) pid: u32,
    /// Its serving threads, by which the slots are counted.
    pub(crate) threads: usize,
    /// What the descriptors behind the admin listener's are.
    pub(crate) listeners: Vec<ListenerPlan>,
    /// Address of the admin listener, whose descriptor comes first.
    pub(crate) admin: Option<SocketAddr>,
    /// Which generation of UDP sockets it serves.
    pub(crate) udp_generation: usize,
    /// How often an edge was started before it.
    pub(crate) restarts: u64,
    /// Edges beside it that have UDP sockets yet; none of an edge that was never told.
    #[serde(default)]
    pub(crate) beside: Option<Vec<Beside>>,
    /// How to begin with what it serves, where that is an older generation than the last good one because
    /// edges before it died.
    #[serde(default)]
    pub(crate) walked_back: Option<Begin>,
}

/// The answer. `ok` says whether the command was carried out; which other members are there depends on the
/// command.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Whether it was carried out.
    pub(crate) ok: bool,
    /// Of `publish`: the number of the snapshot that runs now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) number: Option<u64>,
    /// Of `publish`: how many zones it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zones: Option<usize>,
    /// Of `publish`: whether anything differs from what ran before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) changed: Option<bool>,
    /// While `publish` goes on: how far it has come, for a person. Only the last line of an answer has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<String>,
    /// Of `publish`: what the change adds and takes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) difference: Option<DifferenceText>,
    /// Of `publish`: decisions on copies of real requests that differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decisions: Option<Decisions>,
    /// Of `publish`: files of zones with problems, which stay as they serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) put_back: Vec<String>,
    /// Of a refused `publish`: everything that is wrong. Of one carried out: warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<ProblemText>,
    /// Of `blocks`: who is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) blocks: Vec<Block>,
    /// Of `status`: what runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<serde_json::Value>,
    /// Of `trace`: the trail, for a person to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trail: Option<String>,
    /// Of `hand_over`: what the descriptors are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hand_over: Option<HandOver>,
    /// Descriptors that follow the line.
    #[serde(skip)]
    pub(crate) descriptors: Vec<OwnedFd>,
    /// What is to be known of an order that was carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warning: Option<String>,
    /// Whether it was not carried out since too many commands came at once: the same is to be asked again.
    #[serde(default, rename = "busy", skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_busy: bool,
    /// Why it was not carried out, when there is no list of problems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Answer {
    /// A copy for another asker; descriptors go to one alone.
    pub(crate) fn copy(&self) -> Self {
        Self {
            ok: self.ok,
            number: self.number,
            zones: self.zones,
            changed: self.changed,
            progress: self.progress.clone(),
            difference: self.difference.clone(),
            decisions: self.decisions.clone(),
            put_back: self.put_back.clone(),
            problems: self.problems.clone(),
            blocks: self.blocks.clone(),
            status: self.status.clone(),
            trail: self.trail.clone(),
            hand_over: self.hand_over.clone(),
            descriptors: Vec::new(),
            warning: self.warning.clone(),
            is_busy: self.is_busy,
            error: self.error.clone(),
        }
    }

    /// Refuses, with a reason and a remedy in one sentence.
    pub(crate) fn refused(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }
}

/// What a change adds and takes away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DifferenceText {
    /// What is there now and was not before: `hostname example.org: www.example.org`.
    pub(crate) gained: Vec<String>,
    /// What was there and would not be any more.
    pub(crate) lost: Vec<String>,
    /// Names of zones that differ in any way.
    pub(crate) changed: Vec<String>,
}

impl From<&zone::Difference> for DifferenceText {
    fn from(difference: &zone::Difference) -> Self {
        let texts = |things: &[zone::Thing]| things.iter().map(ToString::to_string).collect();
        Self {
            gained: texts(&difference.gained),
            lost: texts(&difference.lost),
            changed: difference.changed.clone(),
        }
    }
}

/// Decisions of a candidate on copies of real requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decisions {
    /// Requests decided on.
    pub(crate) compared: u64,
    /// Of these, decided otherwise.
    pub(crate) differing: u64,
    /// Some that differ: request, decision now, decision then.
    pub(crate) examples: Vec<String>,
}

/// A problem in a shape that travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProblemText {
    /// The file.
    pub(crate) file: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column in characters, from 1.
    pub(crate) column: usize,
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suggestion: Option<String>,
    /// `error` or `warning`.
    pub(crate) severity: String,
}

impl From<&Problem> for ProblemText {
    fn from(problem: &Problem) -> Self {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        Self {
            file: problem.file.clone(),
            line: problem.line,
            column: problem.column,
            message: problem.message.clone(),
            suggestion: problem.suggestion.clone(),
            severity: severity.to_owned(),
        }
    }
}

impl From<ProblemText> for Problem {
    fn from(text: ProblemText) -> Self {
        let severity = if text.severity == "warning" { Severity::Warning } else { Severity::Error };
        Self {
            file: text.file,
            line: text.line,
            column: text.column,
            message: text.message,
            suggestion: text.suggestion,
            severity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_shape_that_scripts_write() {
        let read = |text: &str| serde_json::from_str::<Request>(text);
        let plain = Request::Publish {
            wait: false,
            dry_run: false,
            again: false,
            allow_removals: false,
            confirm_within_s: None,
        };
        assert_eq!(read(r#"{"command":"publish"}"#).unwrap(), plain);
        assert!(read(r#"{"command":"publish","wait":true,"confirm_within_s":60}"#).is_ok());
        assert_eq!(read(r#"{"command":"status"}"#).unwrap(), Request::Status {});
        let trace = Request::Trace { request_id: "ab".into() };
        assert_eq!(read(r#"{"command":"trace","request_id":"ab"}"#).unwrap(), trace);
        assert!(read(r#"{"command":"shutdown"}"#).is_err());
        assert!(read(r#"{"command":"publish","soon":true}"#).is_err(), "an unknown wish is not passed over");
    }

    #[test]
    fn answers_have_the_shape_that_scripts_read() {
        let done = Answer { ok: true, number: Some(4), zones: Some(2), ..Answer::default() };
        assert_eq!(serde_json::to_string(&done).unwrap(), r#"{"ok":true,"number":4,"zones":2}"#);
        let refused = Answer::refused("no");
        assert_eq!(serde_json::to_string(&refused).unwrap(), r#"{"ok":false,"error":"no"}"#);
    }

    #[test]
    fn a_problem_survives_the_way_there_and_back() {
        let problem = Problem {
            file: "zones/a.toml".into(),
            line: 3,
            column: 7,
            message: "wrong".into(),
            suggestion: Some("right".into()),
            severity: Severity::Warning,
        };
        assert_eq!(Problem::from(ProblemText::from(&problem)), problem);
    }
}
