//! Whose the UDP sockets are: of the edge that serves, of one that drains, of a candidate, or of nobody.
//!
//! A QUIC connection's packets come to the socket that its ids name. What is read by two is lost by both, so
//! a generation's sockets change hands only when nobody has them any more; what is read by nobody leaves
//! visitors waiting, so the edge that serves is told which those are, and answers there that the connection
//! is gone. Read next: [`super::upgrade`], [`super::candidates`], and `edge`'s `strays.rs`.

use rustix::process::Pid;

use super::Supervisor;
use super::child::{Child, State};
use crate::control::{Role, ToEdge};

/// Sockets that nobody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ownerless {
    generation: bool,
    candidate: bool,
}

/// Whether a child has the UDP sockets of a generation; a spare holds them and reads none.
fn has_generation(child: &Child, generation: usize) -> bool {
    let serves = matches!(child.role, Role::Serving | Role::Successor);
    serves && child.udp_generation == generation
}

impl Supervisor {
    /// Tells the edge that serves which sockets are nobody's, when that has changed.
    pub(super) fn tell_strays(&mut self) {
        if self.is_stopping {
            return;
        }
        let Some((pid, generation)) = self.serving().map(|child| (child.pid, child.udp_generation)) else {
            return;
        };
        let other = 1 - generation.min(1);
        let ownerless = Ownerless {
            generation: self.knows_all && !self.children.iter().any(|child| has_generation(child, other)),
            candidate: self.knows_all && !self.children.iter().any(|child| child.role == Role::Candidate),
        };
        if self.strays == Some((pid, ownerless)) || !self.is_set_up(pid) {
            return;
        }
        self.strays = Some((pid, ownerless));
        let Ownerless { generation, candidate } = ownerless;
        self.tell_serving(&ToEdge::Strays { generation, candidate }, &[]);
    }

    /// Whether an edge serves already: one that starts would not expect the message.
    fn is_set_up(&mut self, pid: Pid) -> bool {
        self.child(pid).is_some_and(|child| child.state == State::Serving)
    }
}
