//! The splice's process: takes the TCP sockets from the supervisor and forwards connections by server name.
//!
//! The work is the `splice` crate's, which shares no code with the edge. Here its orders are translated: told
//! to drain, or left by the supervisor, it stops. It reads no node file, no zone and no generation, since one
//! of these may be why no edge starts. Called by `main` for the hidden role; who starts it is
//! [`crate::supervisor`].

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, Result};
use splice::{Counters, Listener, ORDER_RELOAD, ORDER_STOP, Protocol, Settings};

use crate::clock;
use crate::control::{Channel, Setup, ToEdge, Unknown};
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
    let _ = rustix::thread::set_no_new_privs(true);
    let held = descriptors.len() as u64;
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
    thread::Builder::new()
        .name("orders".into())
        .spawn(move || pass_orders_on(&channel, ours))
        .context("no thread for orders")?;
    // Each visitor comes with a connection to an origin.
    let room = raise_descriptor_limit().unwrap_or(u64::MAX).saturating_sub(held + DESCRIPTORS_KEPT) / 2;
    let mut settings = Settings::default();
    let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
    settings.connections_max = settings.connections_max.min(room);
    let counters = Counters::default();
    let table = setup.splice_table.context("the setup names no table")?;
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

/// Translates the supervisor's messages; a supervisor that is gone ends the splice too.
fn pass_orders_on(channel: &Channel, mut to: UnixStream) {
    loop {
        let order = match channel.receive::<ToEdge>() {
            Ok(Some((ToEdge::Refresh, _))) => ORDER_RELOAD,
            Ok(Some((ToEdge::Drain { .. }, _))) => ORDER_STOP,
            Ok(Some(_)) => continue,
            // Of a newer version, and none of these two.
            Err(error) if error.is::<Unknown>() => continue,
            Ok(None) | Err(_) => ORDER_STOP,
        };
        if to.write_all(&[order]).is_err() || order == ORDER_STOP {
            return;
        }
    }
}
