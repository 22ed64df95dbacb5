//! The splice's process: takes the TCP sockets from the supervisor and forwards connections by server name.
//!
//! The work is the `splice` crate's, which shares no code with the edge. Here its orders are translated: told
//! to drain, or left by the supervisor, it stops. It reads no node file, no zone and no generation, since one
//! of these may be why no edge starts. At the command socket it says what runs, on threads of their own, and
//! refuses everything else. Called by `main` for the hidden role; who starts it is
//! [`crate::supervisor`].

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use serde_json::json;
use splice::{Counters, Listener, Protocol, Settings, Table};

use crate::clock;
use crate::command_socket::{self, Accepting};
use crate::confining::confine;
use crate::control::{Channel, Process, Setup, ToEdge, Unknown};
use crate::messages::{Answer, Request};
use crate::processes::Processes;
use crate::signals::Signals;
use crate::sockets::raise_descriptor_limit;

/// Descriptors that are no visitors'; those that came with the setup are counted apart.
const DESCRIPTORS_KEPT: u64 = 64;

/// Where the table of whom to pass through is, below a data folder.
pub(crate) fn table_path(data_dir: &Path) -> PathBuf {
    data_dir.join("splice.table")
}

/// Forwards until told to stop.
///
/// # Errors
/// When the setup is not what the supervisor sends, or the system gives no epoll.
pub(crate) fn run_role() -> Result<ExitCode> {
    // Blocked here, so that a signal to the process group leaves the end to the supervisor.
    let _signals = Signals::take()?;
    let channel = Channel::from_stdin()?;
    let (setup, descriptors) = channel.receive_setup()?;
    let _ = rustix::thread::set_name(c"rempart-splice");
    confine(setup.role);
    let held = descriptors.len() as u64;
    let command = descriptors.get(1).context("the setup has no command socket")?;
    let command = UnixListener::from(command.try_clone().context("descriptors are used up")?);
    let sockets = tcp_sockets(&setup, descriptors)?;
    let listeners: Vec<Listener<'_>> = sockets
        .iter()
        .map(|(socket, is_https, is_proxied)| Listener {
            socket: socket.as_fd(),
            protocol: if *is_https { Protocol::Https } else { Protocol::Http },
            is_proxied: *is_proxied,
        })
        .collect();
    let (ours, orders) = UnixStream::pair().context("no socket pair for orders")?;
    let answers = Answers { command: Some(command), supervisor: setup.supervisor, ..Answers::default() };
    thread::Builder::new()
        .name("orders".into())
        .spawn(move || take_orders(&channel, ours, answers))
        .context("no thread for orders")?;
    // Each visitor comes with a connection to an origin.
    let room = raise_descriptor_limit().unwrap_or(u64::MAX).saturating_sub(held + DESCRIPTORS_KEPT) / 2;
    let mut settings = Settings::default();
    let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
    settings.connections_max = settings.connections_max.min(room);
    let counters = Counters::default();
    let path = setup.splice_table.context("the setup names no table")?;
    // Without a table everybody is refused: nobody may be sent to the wrong place.
    let table = Table::load(&path).unwrap_or_else(|why| {
        let why = why.name();
        crate::commands::tell(&format!("the splice table cannot be used ({why}): nobody is passed through"));
        Table::default()
    });
    let ended = splice::serve(&listeners, &table, orders.as_fd(), &settings, &clock::now, &counters)
        .context("connections cannot be passed through")?;
    crate::commands::tell_lines(&format!("{counters}\n"));
    Ok(if ended.cut == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes the TCP listeners out of the descriptors of a setup, each with what it speaks.
fn tcp_sockets(setup: &Setup, descriptors: Vec<OwnedFd>) -> Result<Vec<(OwnedFd, bool, bool)>> {
    let listeners: usize = setup.listeners.iter().map(|plan| plan.tcp + plan.udp).sum();
    let before =
        descriptors.len().checked_sub(listeners).context("the setup has fewer sockets than it says")?;
    let mut descriptors = descriptors.into_iter().skip(before);
    let mut sockets = Vec::new();
    for plan in &setup.listeners {
        for _ in 0..plan.tcp {
            let socket = descriptors.next().context("the setup has fewer sockets than it says")?;
            sockets.push((socket, plan.is_https, plan.is_proxied));
        }
        // QUIC is not passed through: visitors fall back to TCP.
        descriptors.by_ref().take(plan.udp).for_each(drop);
    }
    Ok(sockets)
}

/// What is answered at the command socket while no edge does.
#[derive(Default)]
struct Answers {
    supervisor: u32,
    processes: Arc<Mutex<Processes>>,
    /// The socket, until something is known to answer with.
    command: Option<UnixListener>,
    accepting: Option<Accepting>,
}

impl Answers {
    /// Notes which processes there are, and answers from now on.
    fn note(&mut self, told: Vec<Process>) {
        let noted = Processes::told(told, clock::unix_us());
        *self.processes.lock().unwrap_or_else(PoisonError::into_inner) = noted;
        if let Some(command) = self.command.take() {
            // Without a thread nobody is told anything, and visitors are passed through.
            // It writes no events: who got no place is told so, and nobody else.
            self.accepting = command_socket::serve(command, self.carry(), |_shed| ()).ok();
        }
    }

    fn carry(&self) -> Arc<command_socket::Carry> {
        let (supervisor, processes) = (self.supervisor, Arc::clone(&self.processes));
        Arc::new(move |request, _: &dyn Fn(&Answer)| {
            let remedy = format!(
                "no edge can start, and connections are passed through: see the events before \
                 `pass_through_begins`, mend the files, and send SIGHUP to process {supervisor}"
            );
            match request {
                Request::Status {} => {
                    let processes = processes.lock().unwrap_or_else(PoisonError::into_inner).describe(None);
                    let status = json!({
                        "supervisor_pid": supervisor,
                        "passes_through": true,
                        "remedy": remedy,
                        "processes": processes,
                    });
                    Answer { ok: true, status: Some(status), ..Answer::default() }
                }
                _ => Answer::refused(remedy),
            }
        })
    }
}

/// Takes the supervisor's messages until it orders the end or is gone; dropping the other end of `orders`
/// then tells the splice.
fn take_orders(channel: &Channel, orders: UnixStream, mut answers: Answers) {
    loop {
        match channel.receive::<ToEdge>() {
            Ok(Some((ToEdge::Processes { processes }, _))) => answers.note(processes),
            Ok(Some((ToEdge::Drain { .. }, _)) | None) => break,
            Ok(Some(_)) => {}
            // Of a newer version, and neither of these.
            Err(error) if error.is::<Unknown>() => {}
            Err(_) => break,
        }
    }
    drop(orders);
}
