//! Which processes the node has, as the supervisor told it: what `rempart status` shows of them.
//!
//! Told to the edge that serves, or while none does to the splice. Called by [`crate::edge_role`] and
//! [`crate::splice_role`]; who tells is [`crate::supervisor`]'s `telling.rs`. The members are an interface:
//! add, never rename.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use telemetry::time::TimeText;

use crate::control::{Holds, Process};

/// How long whoever asks an edge that has just begun to serve waits for the supervisor's first word: it is
/// said in the moment in which the edge may serve, and the edge takes commands some milliseconds before it
/// listens to that.
const FIRST_WORD_WAIT: Duration = Duration::from_secs(2);

/// The processes of the node, as the supervisor told them.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    all: Vec<Process>,
    told_unix_us: u64,
}

impl Processes {
    /// As they were told at that time.
    pub(crate) fn told(all: Vec<Process>, told_unix_us: u64) -> Self {
        Self { all, told_unix_us }
    }

    /// Describes each. `own` is this process, and what it has open, if that is to be shown. What is not
    /// known is left out.
    pub(crate) fn describe(&self, own: Option<(u32, Holds)>) -> Value {
        let one = |process: &Process| {
            let mut one = json!({"pid": process.pid, "does": process.does, "why": process.why});
            let mut add = |name: &str, value: Value| one[name] = value;
            if !process.version.is_empty() {
                add("version", json!(process.version));
            }
            if process.snapshot > 0 {
                add("snapshot", json!(process.snapshot));
            }
            if let Some(for_ms) = process.for_ms {
                let since = self.told_unix_us.saturating_sub(for_ms.saturating_mul(1_000));
                add("since", json!(time(since)));
                add("since_unix_us", json!(since));
            }
            if let Some(left_ms) = process.left_ms {
                let until = self.told_unix_us.saturating_add(left_ms.saturating_mul(1_000));
                add("until", json!(time(until)));
                add("until_unix_us", json!(until));
            }
            let is_own = own.filter(|(pid, _)| process.pid == *pid);
            if let Some(holds) = is_own.map(|(_, open)| open).or(process.holds) {
                add("connections", json!(holds.connections));
                add("exchanges", json!(holds.exchanges));
                add("reads_quic", json!(holds.quic));
            }
            one
        };
        self.all.iter().map(one).collect()
    }
}

/// The processes as they were told last, for those who ask on threads of their own.
#[derive(Debug, Default)]
pub(crate) struct LastTold {
    last: Mutex<Option<Processes>>,
    came: Condvar,
}

impl LastTold {
    /// Notes what was told.
    pub(crate) fn note(&self, processes: Processes) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(processes);
        self.came.notify_all();
    }

    /// Describes what was told last, as [`Processes::describe`] does. Whoever asks before anything was told
    /// waits for it, two seconds at most; then the list is empty.
    pub(crate) fn describe(&self, own: Option<(u32, Holds)>) -> Value {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, _) = self
            .came
            .wait_timeout_while(last, FIRST_WORD_WAIT, |last| last.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map_or_else(|| json!([]), |processes| processes.describe(own))
    }
}

/// Writes a time as RFC 3339 in UTC.
pub(crate) fn time(unix_us: u64) -> String {
    String::from_utf8_lossy(TimeText::new().text(unix_us)).into_owned()
}

/// Three that are told of: one that drains, one that serves, one that is known by its process id alone.
#[cfg(test)]
pub(crate) fn one_that_drains() -> Processes {
    let holds = Holds { connections: 2, exchanges: 1, quic: false };
    let drains = Process {
        pid: 8,
        does: "draining".into(),
        version: "1.2.3".into(),
        snapshot: 6,
        for_ms: Some(2),
        why: "an upgrade has taken its place".into(),
        left_ms: Some(3),
        holds: Some(holds),
    };
    let serves = Process { pid: 9, does: "serving".into(), left_ms: None, holds: None, ..drains.clone() };
    let elder = Process { for_ms: None, version: String::new(), snapshot: 0, pid: 10, ..serves.clone() };
    Processes::told(vec![drains, serves, elder], 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_before_anything_was_told_waits_for_it() {
        let last = LastTold::default();
        let described = std::thread::scope(|scope| {
            let asks = scope.spawn(|| last.describe(None));
            last.note(one_that_drains());
            asks.join().unwrap()
        });
        assert_eq!(described, one_that_drains().describe(None));
    }

    #[test]
    fn a_process_is_there_with_what_is_known_of_it() {
        let described =
            one_that_drains().describe(Some((9, Holds { connections: 5, exchanges: 4, quic: true })));
        let [drains, serves, elder] = [0, 1, 2].map(|place| described[place].clone());
        assert_eq!((&drains["since_unix_us"], &drains["until_unix_us"]), (&json!(8_000), &json!(13_000)));
        assert_eq!(drains["until"], "1970-01-01T00:00:00.013000Z");
        assert_eq!((&drains["connections"], &drains["reads_quic"]), (&json!(2), &json!(false)));
        assert_eq!((&serves["connections"], &serves["reads_quic"]), (&json!(5), &json!(true)));
        assert!(serves["until"].is_null(), "{serves}");
        for unknown in ["since", "version", "snapshot", "connections"] {
            assert!(elder[unknown].is_null(), "{elder}");
        }
        assert_eq!(elder["why"], drains["why"]);
    }
}
