//! What is usual for the zones, kept in `<data_dir>/usual` for the process that comes after this one.
//!
//! Without it every restart and upgrade would have to watch each zone for minutes again before it could tell
//! a flood. It is written when the first zones are known, every few minutes, when a successor begins to serve
//! beside this process, and when this one drains; it is read before a process serves, and by a successor once
//! more when the older one has written it. A file that cannot be used is told and passed over: then the zones
//! are watched anew. What is in it is `edge`'s. Called by [`crate::edge_role`].

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use telemetry::events::{Events, Value};

use crate::files::{read_bounded, write_whole};

/// How often it is written as long as nothing happens: it changes slowly, and a crash may cost so much of it.
const EVERY: Duration = Duration::from_secs(300);

/// How often is looked whether more zones are known than were written.
const LOOK: Duration = Duration::from_secs(5);

/// How long a successor looks whether the older process has written it: that does so when it is told that
/// this one serves.
const FOLLOWS: Duration = Duration::from_secs(10);

/// What was written or read last.
#[derive(Debug, Default)]
struct Last {
    zones: usize,
    /// The file's time, after it was read.
    read: Option<SystemTime>,
    has_failed: bool,
    /// Nothing is written any more: another process does.
    is_over: bool,
}

/// The file of one node's data folder.
pub(crate) struct Usual {
    node: Arc<edge::Node>,
    path: PathBuf,
    events: Events,
    last: Mutex<Last>,
}

impl Usual {
    /// Takes over what is there.
    pub(crate) fn begin(node: &Arc<edge::Node>, data_dir: &Path, events: &Events) -> Arc<Self> {
        let usual = Self {
            node: Arc::clone(node),
            path: data_dir.join("usual"),
            events: events.clone(),
            last: Mutex::default(),
        };
        usual.adopt();
        Arc::new(usual)
    }

    /// Writes it from time to time for as long as the process lives. With `follows` it is read once more if
    /// it is written soon.
    pub(crate) fn keep_up(self: &Arc<Self>, follows: bool) {
        let usual = Arc::clone(self);
        let work = move || {
            let mut looks = if follows { (FOLLOWS.as_millis() / 200) as u32 } else { 0 };
            while looks > 0 {
                thread::sleep(Duration::from_millis(200));
                looks = if usual.adopt() { 0 } else { looks - 1 };
            }
            let mut since = Duration::ZERO;
            loop {
                thread::sleep(LOOK);
                since += LOOK;
                if usual.write(since >= EVERY) {
                    since = Duration::ZERO;
                }
            }
        };
        // Without a thread it is written at the end alone.
        let _no_thread = thread::Builder::new().name("usual".into()).spawn(work);
    }

    /// Writes it now, on a thread of its own: another process is about to read it.
    pub(crate) fn write_soon(self: &Arc<Self>) {
        let usual = Arc::clone(self);
        let _no_thread = thread::Builder::new().name("usual".into()).spawn(move || usual.write(true));
    }

    /// Writes it a last time.
    pub(crate) fn end(&self) {
        self.write(true);
        self.last().is_over = true;
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads it, if it is another one than was read last; whether it was.
    fn adopt(&self) -> bool {
        let mut last = self.last();
        let Ok(time) = fs::metadata(&self.path).and_then(|file| file.modified()) else { return false };
        if last.read == Some(time) {
            return false;
        }
        let is_first = last.read.replace(time).is_none();
        let bytes = match read_bounded(&self.path, edge::USUAL_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return false,
            Err(error) => {
                self.tell_unusable(&error.to_string());
                return false;
            }
        };
        match self.node.adopt_usual(&bytes) {
            Some(adopted) => {
                if let Some(why) = adopted.why {
                    let zones: Value<'_> = (adopted.passed_over as u64).into();
                    self.events.info("flood_baselines_passed_over", &[("zones", zones), ("why", why.into())]);
                }
                last.zones = last.zones.max(adopted.zones);
                if adopted.zones > 0 {
                    self.events.info("flood_baselines_kept", &[("zones", (adopted.zones as u64).into())]);
                }
                !is_first
            }
            None => {
                self.tell_unusable("it is damaged, or none of Rempart's");
                false
            }
        }
    }

    fn tell_unusable(&self, cause: &str) {
        let path = self.path.display().to_string();
        let remedy = "nothing is to be done: zones are watched anew, and the file is written again";
        let fields: [(&'static str, Value<'_>); 3] =
            [("file", (&path).into()), ("cause", cause.into()), ("remedy", remedy.into())];
        self.events.warn("flood_baselines_unusable", &fields);
    }

    /// Writes it, if more zones are known than were written or with `anyway`; whether it did.
    fn write(&self, anyway: bool) -> bool {
        let mut last = self.last();
        if last.is_over {
            return false;
        }
        let (bytes, zones) = self.node.keep_usual();
        if bytes.is_empty() || !anyway && zones <= last.zones {
            return false;
        }
        let written = write_whole(&self.path, &bytes, 0o600);
        if let (Err(error), false) = (&written, last.has_failed) {
            let cause = error.to_string();
            let remedy = "make room in data_dir and let its user write there; until then what is usual for \
                          the zones is learned anew after a restart";
            let fields: [(&'static str, Value<'_>); 2] =
                [("cause", (&cause).into()), ("remedy", remedy.into())];
            self.events.warn("flood_baselines_not_written", &fields);
        }
        last.has_failed = written.is_err();
        last.zones = zones;
        true
    }
}
