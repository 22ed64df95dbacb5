//! What a command says to a running node and what it answers: one JSON object a line, over the command
//! socket.
//!
//! The shapes are an interface: add, never rename. Local only: who can open the socket (mode 0600, in a
//! folder of mode 0700) may command. Called by [`crate::commands`] (asks) and [`crate::command_socket`]
//! (answers).

use serde::{Deserialize, Serialize};
use zone::{Problem, Severity};

/// Bytes of a request with its newline: the longest is `trace` with its 32 digits.
pub(crate) const REQUEST_BYTES_MAX: usize = 4 * 1024;

/// Bytes of an answer with its newline: a thousand problems of a few kilobytes, or the status of 10,000
/// zones.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Take the files as they are now.
    Publish {},
    /// Say what runs.
    Status {},
    /// Say what each phase decided for one request.
    Trace {
        /// 32 hex digits.
        request_id: String,
    },
}

/// The answer. `ok` says whether the command was carried out; which other members are there depends on the
/// command.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// Of a refused `publish`: everything that is wrong. Of one carried out: warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<ProblemText>,
    /// Of `status`: what runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<serde_json::Value>,
    /// Of `trace`: the trail, for a person to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trail: Option<String>,
    /// Why it was not carried out, when there is no list of problems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Answer {
    /// Refuses, with a reason and a remedy in one sentence.
    pub(crate) fn refused(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }
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
        assert_eq!(read(r#"{"command":"publish"}"#).unwrap(), Request::Publish {});
        assert_eq!(read(r#"{"command":"status"}"#).unwrap(), Request::Status {});
        let trace = Request::Trace { request_id: "ab".into() };
        assert_eq!(read(r#"{"command":"trace","request_id":"ab"}"#).unwrap(), trace);
        assert!(read(r#"{"command":"shutdown"}"#).is_err());
        assert!(read(r#"{"command":"publish","wait":true}"#).is_err(), "an unknown wish is not passed over");
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
