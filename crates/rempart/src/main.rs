//! Rempart's binary: flags, files, signals, supervision, wiring. The only place that knows everybody.
//!
//! `serve` and `demo` become the supervisor, which starts this binary again as the edge (`edge-role`). The
//! other commands read files or talk to a running node over its command socket. No request is served here:
//! that is the `edge` crate's. Read next: [`flags`] for what can be asked, [`supervisor`] and [`edge_role`]
//! for the two processes, [`configuration`] and [`publishing`] for a change's way.

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser as _;

#[cfg(all(feature = "fault-injection", not(debug_assertions)))]
compile_error!("fault points are for tests: build without `fault-injection`, or with the profile `drill`");

mod addresses;
mod certificates;
mod changed;
mod clock;
mod command_log;
mod command_socket;
mod commands;
mod configuration;
mod confining;
mod control;
mod demo;
mod demo_site;
mod drill;
mod edge_role;
mod fd_store;
mod files;
mod flags;
mod generations;
mod in_turn;
mod keys;
mod lock;
mod messages;
mod notify;
mod privileges;
mod processes;
mod publishing;
mod purging;
mod recovering;
mod signals;
mod sockets;
mod splice_role;
mod supervisor;
mod usual;

use flags::{Command, Flags};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // With huge pages each thread's first allocation takes 2 MiB of the machine (decision 22); children
    // inherit it. A kernel that refuses costs memory and nothing else.
    let _costs_memory_alone = nix::sys::prctl::set_thp_disable(true);
    // What the shell or service manager that starts this has open is for nobody that is started from here:
    // not for edges, and not for a newer binary. Sockets from a service manager are handed on by themselves.
    close_fds::set_fds_cloexec(3, &[]);
    let outcome = match Flags::parse().command {
        Command::Serve(node) => node.find().and_then(|config| supervisor::run(&config, None, |_| ())),
        Command::Check(node) => commands::check(&node),
        Command::Demo(wanted) => demo::run(&wanted),
        Command::Publish(wanted) if !wanted.in_turn.is_empty() => in_turn::publish(&wanted),
        Command::Publish(wanted) => commands::publish(&wanted),
        Command::Confirm(running) => commands::confirm(&running),
        Command::Withdraw(running) => commands::withdraw(&running),
        Command::Upgrade(running) => commands::upgrade(&running),
        Command::Block(wanted) => commands::block(&wanted),
        Command::Unblock(wanted) => commands::unblock(&wanted),
        Command::Blocks(running) => commands::blocks(&running),
        Command::Purge(wanted) => commands::purge(&wanted),
        Command::Recover(wanted) => recovering::run(&wanted),
        Command::Status(asked) => commands::status(&asked),
        Command::Trace(asked) => commands::trace(&asked),
        Command::Drill(wanted) => drill::run(&wanted),
        Command::SupervisorRole => supervisor::run_role(),
        Command::SpliceRole => splice_role::run_role(),
        Command::EdgeRole => edge_role::run_role(),
        Command::DemoSiteRole => demo_site::run_role(),
    };
    outcome.unwrap_or_else(|error| {
        // Whoever reads standard output has seen enough, as `head` has.
        if error.downcast_ref::<std::io::Error>().is_some_and(|it| it.kind() == ErrorKind::BrokenPipe)
            && error.chain().count() == 1
        {
            return ExitCode::FAILURE;
        }
        // The whole chain: what was tried, and beneath it why it failed.
        commands::tell(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}
