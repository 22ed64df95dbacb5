//! `rempart publish --in-turn`: several nodes of one machine, one after the other. The first to refuse or to
//! take back stops it, and those that have taken the change are told to take it back.
//!
//! Each node reads its own files and leads its own stages, so that a bad change is met by a share of the
//! first one's visitors and by nobody else. A change that a node took is watched there while the next ones
//! are asked; once it is the last good one it cannot be taken back by this. Called by [`crate::commands`].

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};

use crate::commands::{ask, tell, tell_lines};
use crate::flags::Publish;
use crate::messages::{Answer, Request};

/// A node that has taken the change.
struct Taken<'a> {
    socket: &'a Path,
    number: u64,
}

/// Publishes at each, or at none of them. Exit code 1 when one of them did not take it.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn publish(wanted: &Publish) -> Result<ExitCode> {
    let (mut taken, all): (Vec<Taken<'_>>, _) = (Vec::new(), wanted.in_turn.len());
    for (place, socket) in wanted.in_turn.iter().enumerate() {
        match turn(socket, wanted, &taken) {
            Ok(Some(number)) => {
                writeln!(
                    io::stdout(),
                    "{}: snapshot {number} is live, {} of {all}",
                    socket.display(),
                    place + 1
                )?;
                taken.push(Taken { socket, number });
            }
            Ok(None) => writeln!(io::stdout(), "{}: the files say the same", socket.display())?,
            Err(error) => {
                tell(&format!("{}: {error:#}", socket.display()));
                let left = all - place - 1;
                tell(&format!("stopped at node {} of {all}; {left} were not asked", place + 1));
                take_back(&taken);
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks one node, once those before it still serve what they took. Gives the snapshot's number, if there is
/// a new one.
fn turn(socket: &Path, wanted: &Publish, taken: &[Taken<'_>]) -> Result<Option<u64>> {
    for Taken { socket, number } in taken {
        let status =
            ask(socket, &Request::Status {})?.status.context("a node does not say what it serves")?;
        let serves = status["snapshot"].as_u64();
        ensure!(serves == Some(*number), "{} has taken it back: its events say why", socket.display());
    }
    let request = Request::Publish {
        wait: false,
        dry_run: false,
        again: wanted.again,
        allow_removals: wanted.allow_removals,
        confirm_within_s: None,
    };
    let Answer { ok, error, problems, put_back, changed, number, .. } = ask(socket, &request)?;
    let is_refused = !ok || !put_back.is_empty();
    if is_refused {
        problems.into_iter().for_each(|problem| tell_lines(&format!("{}\n", zone::Problem::from(problem))));
        bail!("{}", error.unwrap_or_else(|| "its files have problems".to_owned()));
    }
    Ok(number.filter(|_| changed == Some(true)))
}

/// Tells each to take it back, the last first; who cannot is named.
fn take_back(taken: &[Taken<'_>]) {
    for Taken { socket, number } in taken.iter().rev() {
        let said = match ask(socket, &Request::Withdraw {}) {
            Ok(answer) if answer.ok => format!("has taken snapshot {number} back"),
            Ok(answer) => format!("keeps snapshot {number}: {}", answer.error.unwrap_or_default()),
            Err(error) => format!("keeps snapshot {number}, if it runs: {error:#}"),
        };
        tell(&format!("{} {said}", socket.display()));
    }
}
