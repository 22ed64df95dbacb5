//! A spare or a successor: compiled and idle, until it is told to serve or to end.
//!
//! It holds the sockets and registers none of them. A spare stands ready with two things, since which is
//! right is known only when the serving edge dies: what serves, for a kill from outside, and the last good
//! generation, for a crash. Unchanged zones are shared between them. Called by [`super`]; who tells it is
//! [`crate::supervisor`].

use std::process::ExitCode;

use anyhow::Result;
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, poll};
use telemetry::events::Value;

use super::Ground;
use crate::configuration::Problems;
use crate::control::{Begin, FromEdge, PassedOver, Role, Setup, ToEdge};
use crate::generations::Generation;
use crate::keys;
use crate::publishing::{self, Start};
use crate::supervisor::VERSION;

/// How the wait ended.
pub(super) enum Standing {
    /// It is to serve this.
    Serves(Box<Start>),
    /// It is not needed any more.
    Ends(ExitCode),
}

/// What stands ready.
struct Ready {
    /// The generation that it was asked for; it may come from another one, if that is unusable.
    wanted: Option<Generation>,
    start: Start,
}

/// Compiles, says so, and waits. What [`ToEdge::Serve`] decides is noted in `setup`.
///
/// # Errors
/// When the supervisor's messages cannot be understood.
pub(super) fn wait(ground: &Ground<'_>, setup: &mut Setup) -> Result<Standing> {
    let mut ready = match compile(ground, setup) {
        Ok(ready) => ready,
        Err(code) => return Ok(Standing::Ends(code)),
    };
    keys::begin_randomness();
    say_standing(ground, &ready)?;
    let mut passed_over = PassedOver::default();
    loop {
        let mut watched =
            [PollFd::new(ground.signals, PollFlags::IN), PollFd::new(&**ground.channel, PollFlags::IN)];
        if poll(&mut watched, None).is_err() {
            // Interrupted: nothing was taken.
            continue;
        }
        let has_message = watched.get(1).is_some_and(|watched| !watched.revents().is_empty());
        while let Some(signal) = ground.signals.next() {
            if signal == Signal::SIGTERM {
                return Ok(Standing::Ends(ExitCode::SUCCESS));
            }
        }
        if !has_message {
            continue;
        }
        let message = match ground.channel.receive::<ToEdge>() {
            Ok(message) => message,
            Err(error) => {
                passed_over.pass_over(error, ground.events)?;
                continue;
            }
        };
        match message {
            Some((ToEdge::Serve { begin, restarts, udp_generation, deadly, is_quic_taken }, _)) => {
                setup.is_quic_taken = is_quic_taken;
                (setup.restarts, setup.udp_generation, setup.deadly) = (restarts, udp_generation, deadly);
                setup.begin = begin;
                return Ok(match choose(ground, setup, ready, begin) {
                    Ok(started) => Standing::Serves(Box::new(started)),
                    Err(code) => Standing::Ends(code),
                });
            }
            Some((ToEdge::Refresh, _)) => {
                match compile(ground, setup) {
                    Ok(compiled) => ready = compiled,
                    Err(code) => return Ok(Standing::Ends(code)),
                }
                say_standing(ground, &ready)?;
            }
            // With no supervisor nobody would ever tell it to serve.
            Some((ToEdge::Drain { .. }, _)) | None => return Ok(Standing::Ends(ExitCode::SUCCESS)),
            Some(_) => {}
        }
    }
}

/// Compiles what may be asked for: for a successor what serves, for a spare the last good generation too.
fn compile(ground: &Ground<'_>, setup: &Setup) -> Result<Vec<Ready>, ExitCode> {
    let begins: &[Begin] = match setup.role {
        Role::Spare => &[Begin::Newest, Begin::Kept { skip: 0 }],
        _ => std::slice::from_ref(&setup.begin),
    };
    if setup.role == Role::Successor {
        let wanted = publishing::generation_for(setup.begin, &ground.generations);
        return successor(ground, setup.begin).map(|start| vec![Ready { wanted, start }]);
    }
    let mut ready: Vec<Ready> = Vec::new();
    for begin in begins {
        let wanted = publishing::generation_for(*begin, &ground.generations);
        if ready.iter().any(|ready| ready.wanted == wanted) {
            continue;
        }
        let previous = ready.first().map(|ready| &ready.start.snapshot);
        match publishing::start_kept(*begin, &ground.generations, previous, &ground.keyring, ground.events) {
            Ok(start) => ready.push(Ready { wanted, start }),
            Err(_) if !ready.is_empty() => {}
            Err(problems) => return Err(ground.is_unusable(&problems).unwrap_or(ExitCode::FAILURE)),
        }
    }
    Ok(ready)
}

/// Compiles what serves. The edge that it would take over from has every pair in memory, and goes on if one
/// is lost here: whether it lacks that one too is not known.
fn successor(ground: &Ground<'_>, begin: Begin) -> Result<Start, ExitCode> {
    let refuse = |problems: &Problems| ground.is_unusable(problems).unwrap_or(ExitCode::FAILURE);
    let start = publishing::start_kept(begin, &ground.generations, None, &ground.keyring, ground.events)
        .map_err(|problems| refuse(&problems))?;
    if !start.lacks_pairs {
        return Ok(start);
    }
    let problems = Problems(start.snapshot.warnings);
    let cause = problems.lines();
    let remedy =
        format!("{}, then upgrade: the running edge may have the pair in memory", publishing::MEND_PAIR);
    let fields: [(&'static str, Value<'_>); 3] = [
        ("generation", start.snapshot.number.into()),
        ("cause", cause.trim_end().into()),
        ("remedy", (&remedy).into()),
    ];
    ground.events.error("kept_generation_unusable", &fields);
    Err(refuse(&problems))
}

fn say_standing(ground: &Ground<'_>, ready: &[Ready]) -> Result<()> {
    let number = ready.first().map_or(0, |ready| ready.start.snapshot.number);
    let (unusable, version) = (ground.generations.told(), VERSION.to_owned());
    ground.channel.send(&FromEdge::Standing { number, unusable, version }, &[], false)
}

/// Takes what stands ready for this beginning, or compiles it.
fn choose(ground: &Ground<'_>, setup: &Setup, ready: Vec<Ready>, begin: Begin) -> Result<Start, ExitCode> {
    let wanted = publishing::generation_for(begin, &ground.generations);
    if let Some(Ready { start, .. }) = ready.into_iter().find(|ready| ready.wanted == wanted) {
        start.tell_lost(ground.events);
        return Ok(start);
    }
    ground
        .start(&setup.config, begin)
        .map_err(|problems| ground.is_unusable(&problems).unwrap_or(ExitCode::FAILURE))
}
