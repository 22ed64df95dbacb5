//! Pass-through: what visitors get while no edge can start, of any generation.
//!
//! The splice takes the TCP sockets; an edge is tried again meanwhile, and takes over as soon as it serves.
//! Both hold the same sockets, so nobody is refused in between. Read next: [`crate::splice_role`],
//! [`super::walk`].

use std::time::{Duration, Instant};

use super::{DRAIN_GRACE, Supervisor};
use crate::control::{Begin, Role, ToEdge};
use crate::splice_role::table_path;

impl Supervisor {
    /// No edge can start: connections are passed through from now on.
    pub(super) fn begin_pass_through(&mut self, now: Instant) {
        if self.with_role(Role::Splice).is_some() || self.splice_at.is_some() {
            return;
        }
        if !self.was_ready && !table_path(&self.data_dir).exists() {
            // Nobody has served from this folder before: a person is there and should see the start fail.
            return;
        }
        let remedy = "no generation can be served: mend the files and send SIGHUP; meanwhile zones with \
                      pass_through reach their origins, and others get an alert or a 503";
        self.events.error("pass_through_begins", &[("remedy", remedy.into())]);
        crate::notify::status("no edge can start: connections are passed through");
        self.splice_at = Some(now);
    }

    /// Starts the splice.
    pub(super) fn start_splice(&mut self, now: Instant) {
        if let Err(error) = self.start_child(Role::Splice, Begin::Newest, 0, None, "no edge can start") {
            self.events.error("splice_not_started", &[("cause", (&format!("{error:#}")).into())]);
            self.splice_at = Some(now + super::SPLICE_PAUSE);
        }
    }

    /// An edge serves again: the splice takes nobody new, and ends with its last connection.
    pub(super) fn end_pass_through(&mut self) {
        self.splice_at = None;
        let now = crate::clock::now();
        let kill_at = now + Duration::from_millis(self.file.node.drain_ms) + DRAIN_GRACE;
        if let Some(splice) = self.with_role(Role::Splice) {
            splice.leave("an edge serves again", now, kill_at);
            if splice.tell(&ToEdge::Drain { within_ms: None }, &[]).is_err() {
                splice.kill();
            }
            self.walk.forgive();
            self.events.info("pass_through_ends", &[]);
        }
    }
}
