//! Starts a child with all it needs: the node file's bytes, the sockets, what was found deadly; and lets one
//! that stands serve. Called by the loop of `supervisor.rs`.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use rustix::process::Pid;
use zone::ListenerProtocol;

use super::child::{Child, State};
use super::telling::VERSION;
use super::{COMMAND_SOCKET, START_WAIT, Supervisor};
use crate::addresses::{Addresses, ListenerAddress, protocol_name};
use crate::clock;
use crate::control::{Begin, ListenerPlan, Role, Setup, ToEdge, memory_file};
use crate::sockets::ListenerSockets;
use crate::splice_role::table_path;

impl Supervisor {
    /// Starts a child and hands it everything it needs. `tried_by` is for a candidate: its end of the channel
    /// to the edge that tries it.
    pub(super) fn start_child(
        &mut self,
        role: Role,
        begin: Begin,
        udp_generation: usize,
        tried_by: Option<OwnedFd>,
        why: &str,
    ) -> Result<Pid> {
        let now = clock::now();
        // An upgrade starts what is on disk by now; everything else starts what runs, even if its file is
        // gone.
        let binary =
            if role == Role::Successor { self.binary.as_path() } else { Path::new("/proc/self/exe") };
        let mut child = Child::start(binary, role, udp_generation, self.threads, now)?;
        child.why = why.to_owned();
        if role != Role::Successor {
            child.version = VERSION.to_owned();
        }
        if matches!(role, Role::Serving | Role::Spare) {
            child.kill_at = Some(now + START_WAIT);
        }
        let setup = Setup {
            config: self.file.path.clone(),
            role,
            begin,
            threads: self.threads,
            listeners: self.plans(),
            admin: self.admin.as_ref().map(|(address, _)| *address),
            supervisor: std::process::id(),
            restarts: self.restarts,
            udp_generation,
            deadly: self.deadly(),
            serves_on: self.can_upgrade,
            splice_table: Some(table_path(&self.data_dir)),
            unusable: self.unusable.iter().copied().collect(),
            has_udp: self.steering.candidate_has_udp,
            is_quic_taken: role == Role::Serving && self.may_be_taken(udp_generation, None),
        };
        let node_file = memory_file(&self.file.source.bytes)?;
        let mut descriptors = vec![node_file.as_fd(), self.command_socket.as_fd()];
        descriptors.extend(child.black_box.as_ref().map(OwnedFd::as_fd));
        descriptors.extend(tried_by.as_ref().map(OwnedFd::as_fd));
        descriptors.extend(self.admin.as_ref().map(|(_, socket)| socket.as_fd()));
        for listener in &self.listeners {
            descriptors.extend(listener.tcp.iter().chain(&listener.udp).map(OwnedFd::as_fd));
        }
        if let Err(error) = child.channel.send_setup(setup, &descriptors) {
            // It died before it listened; its exit status, read below, tells more.
            self.events.error("edge_not_set_up", &[("cause", (&format!("{error:#}")).into())]);
        }
        let pid = child.pid;
        self.children.push(child);
        Ok(pid)
    }

    pub(super) fn plans(&self) -> Vec<ListenerPlan> {
        let plan = |(index, listener): (usize, &ListenerSockets)| ListenerPlan {
            index,
            address: listener.address,
            is_https: self.listener(index).is_some_and(|it| it.protocol == ListenerProtocol::Https),
            is_proxied: self.listener(index).is_some_and(|it| it.proxy_protocol),
            tcp: listener.tcp.len(),
            udp: listener.udp.len(),
        };
        self.listeners.iter().enumerate().map(plan).collect()
    }

    fn listener(&self, index: usize) -> Option<&zone::Listener> {
        self.file.node.listeners.get(index)
    }

    pub(super) fn addresses(&self) -> Addresses {
        let both = self.file.node.listeners.iter().zip(&self.listeners);
        let listeners = both.map(|(wanted, bound)| ListenerAddress {
            protocol: protocol_name(wanted.protocol),
            address: bound.address,
        });
        Addresses {
            pid: std::process::id(),
            listeners: listeners.collect(),
            admin: self.admin.as_ref().map(|(address, _)| *address),
            socket: self.data_dir.join(COMMAND_SOCKET),
        }
    }

    /// Lets a spare that stands serve.
    pub(super) fn promote(&mut self, pid: Pid, begin: Begin, now: Instant) {
        let (restarts, deadly, why) = (self.restarts, self.deadly(), self.start_why.clone());
        let udp_generation = self.generation_to_serve();
        let is_quic_taken = self.may_be_taken(udp_generation, Some(pid));
        let Some(child) = self.child(pid) else { return };
        (child.role, child.state, child.since) = (Role::Serving, State::Serving, now);
        child.why = why;
        child.udp_generation = udp_generation;
        let serve = ToEdge::Serve { begin, restarts, udp_generation, deadly, is_quic_taken };
        let told = child.tell(&serve, &[]);
        if let Err(error) = told {
            self.events.error("spare_not_told", &[("cause", (&error.to_string()).into())]);
            // It is of no use; its death starts another edge.
            if let Some(child) = self.child(pid) {
                child.kill();
            }
        }
    }
}
