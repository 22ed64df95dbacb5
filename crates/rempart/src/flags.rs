//! The command line and the environment: what a person may say when starting Rempart.
//!
//! Reads flags, the environment variable `REMPART_CONFIG` and that of a service manager, and finds the node
//! file. It opens no other file and starts nothing. Called by `main`; read next: [`crate::supervisor`] for
//! `serve`, [`crate::commands`] for the commands that talk to a running node.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// The environment variable that names the node file when `--config` does not.
pub(crate) const CONFIG_VARIABLE: &str = "REMPART_CONFIG";

/// Names the socket of a service manager that wants to be told, if there is one (sd_notify(3)).
pub(crate) fn notify_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// How many descriptors the service manager keeps for the node, if it says (systemd 254 and later).
pub(crate) fn descriptor_store_places() -> Option<usize> {
    std::env::var_os("FDSTORE")?.to_str()?.parse().ok()
}

/// The names of the descriptors that a service manager gave, in their order (sd_listen_fds_with_names(3)).
pub(crate) fn given_names() -> Vec<String> {
    let names = std::env::var_os("LISTEN_FDNAMES").unwrap_or_default();
    names.to_string_lossy().split(':').map(str::to_owned).collect()
}

/// What a service manager tells the supervisor alone: children are born without it.
pub(crate) const OF_SERVICE_MANAGER: [&str; 5] =
    ["NOTIFY_SOCKET", "FDSTORE", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Where the node file is looked for when nobody names it, in this order.
const CONFIG_PATHS: [&str; 2] = ["./rempart.toml", "/etc/rempart/rempart.toml"];

const EXIT_CODES: &str = "Exit codes:
  0  done: the node drained and ended, the files are in order, the command was carried out
  1  refused: the files have problems, a port is taken, the node said no, or something broke; stderr says what
  2  the command line is wrong

Signals to `rempart serve` and `rempart demo`:
  SIGTERM, SIGINT, SIGQUIT  drain: accept nothing new, finish what is under way, then end with 0
                            (a second SIGINT or SIGQUIT ends at once)
  SIGHUP                    publish the files anew, as `rempart publish` does
  SIGUSR1                   reopen the access log's file, after it was moved away
  SIGUSR2                   start the binary that is on disk now in the place of the one that runs";

/// Rempart stands between visitors and websites: it shields them, speeds them up and keeps the link up.
#[derive(Debug, Parser)]
#[command(
    name = "rempart",
    version,
    about = "Stands between visitors and your websites: HTTP/1.1, 2 and 3, TLS, balancing",
    after_help = EXIT_CODES,
    disable_help_subcommand = true
)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node until it is told to stop
    Serve(NodeFile),
    /// Read all files and print every problem with its place; exit code 1 when there is one
    Check(NodeFile),
    /// Run a node with a built-in site: nothing to write, nothing to install
    Demo(Demo),
    /// Make the running node take over its files as they are now; prints every problem if it refuses
    Publish(Publish),
    /// Keep a change that was published with --confirm-within
    Confirm(Running),
    /// Take back the change that is being watched, and serve what was served before it
    Withdraw(Running),
    /// Start the binary that is on disk now in the place of the one that runs; no connection is lost
    Upgrade(Running),
    /// Refuse visitors of an address or range for a time, at once: for emergencies
    Block(BlockRange),
    /// Serve a blocked address or range again
    Unblock(UnblockRange),
    /// Show which addresses are blocked, until when and why
    Blocks(Running),
    /// Make stored answers unusable, at once
    Purge(Purge),
    /// Write the zone files of a kept generation into a folder: for whoever has lost their own
    Recover(Recover),
    /// Show what the running node serves
    Status(Status),
    /// Show what each phase decided for one request
    Trace(Trace),
    /// Do to a node of its own what took real networks down; exit code 1 when a drill failed
    Drill(Drill),
    /// The data plane; started by the supervisor, never by hand
    #[command(hide = true)]
    EdgeRole,
    /// The last resort; started by the supervisor, never by hand
    #[command(hide = true)]
    SpliceRole,
    /// The supervisor after an upgrade; started by the older one, never by hand
    #[command(hide = true)]
    SupervisorRole,
    /// The built-in site; started by `demo`, never by hand
    #[command(hide = true)]
    DemoSiteRole,
}

/// Names the node file.
#[derive(Debug, Args)]
pub(crate) struct NodeFile {
    /// The node file [default: $REMPART_CONFIG, else ./rempart.toml, else /etc/rempart/rempart.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl NodeFile {
    /// Finds the node file: the flag, the environment, the usual places.
    ///
    /// # Errors
    /// When none is named and none is at the usual places, or when the current folder cannot be told.
    pub(crate) fn find(&self) -> Result<PathBuf> {
        let found = choose(self.config.as_deref(), std::env::var_os(CONFIG_VARIABLE), Path::exists)?;
        std::path::absolute(&found)
            .with_context(|| format!("the path of the node file {} cannot be made absolute", found.display()))
    }
}

/// How to reach a node that runs.
#[derive(Debug, Args)]
pub(crate) struct Running {
    #[command(flatten)]
    pub(crate) node: NodeFile,
    /// The node's command socket, instead of the one below the node file's data folder
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

/// Reads a time in whole seconds, or with a unit.
fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit_s = match text.strip_prefix(digits) {
        Some("" | "s") => Some(1),
        Some("m") => Some(60),
        Some("h") => Some(3_600),
        Some("d") => Some(86_400),
        _ => None,
    };
    let seconds =
        digits.parse::<u64>().ok().zip(unit_s).and_then(|(count, unit_s)| count.checked_mul(unit_s));
    seconds.ok_or_else(|| "write whole seconds, or a number with s, m, h or d, as 600 or 10m".to_owned())
}

/// The same, from a second to a day.
fn within_a_day(text: &str) -> Result<u64, String> {
    let said = seconds(text)?;
    if (1..=86_400).contains(&said) { Ok(said) } else { Err("write a time from 1s to 1d".to_owned()) }
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) running: Running,
    /// Print each stage with its figures, and return when the change is the last good one or withdrawn
    #[arg(long)]
    pub(crate) wait: bool,
    /// Change nothing: print what would be gained, lost and decided otherwise
    #[arg(long, conflicts_with_all = ["wait", "again", "confirm_within"])]
    pub(crate) dry_run: bool,
    /// Publish files that were withdrawn before
    #[arg(long)]
    pub(crate) again: bool,
    /// Let more be removed than `removals_percent_max` of `[publish]` allows
    #[arg(long)]
    pub(crate) allow_removals: bool,
    /// Take the change back after so long, at most a day, unless `rempart confirm` comes before: seconds, or
    /// with a unit, as 300 or 5m
    #[arg(long, value_name = "TIME", value_parser = within_a_day)]
    pub(crate) confirm_within: Option<u64>,
    /// Publish at the node with this command socket, then at the next, each with its own files; the first
    /// that does not take it stops that, and those that did take it back
    #[arg(
        long,
        value_name = "SOCKET",
        conflicts_with_all = ["wait", "dry_run", "confirm_within", "socket", "config"]
    )]
    pub(crate) in_turn: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BlockRange {
    #[command(flatten)]
    pub(crate) running: Running,
    /// An address, or a range such as 198.51.100.0/24
    #[arg(value_name = "RANGE")]
    pub(crate) range: String,
    /// For how long: seconds, or with a unit, as 600, 10m, 12h or 7d
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = seconds)]
    pub(crate) for_s: u64,
    /// Why, for whoever reads the list
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct UnblockRange {
    #[command(flatten)]
    pub(crate) running: Running,
    /// As it was blocked
    #[arg(value_name = "RANGE")]
    pub(crate) range: String,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
pub(crate) struct Purge {
    #[command(flatten)]
    pub(crate) running: Running,
    /// A URL, with all its variants, over http and https
    #[arg(long, value_name = "URL", group = "what", conflicts_with = "zone")]
    pub(crate) url: Vec<String>,
    /// Everything whose URL begins so
    #[arg(long, value_name = "URL", group = "what", conflicts_with = "zone")]
    pub(crate) prefix: Vec<String>,
    /// Everything of a host
    #[arg(long, value_name = "HOST", group = "what", conflicts_with = "zone")]
    pub(crate) host: Vec<String>,
    /// Everything with a tag that the origin gave (Cache-Tag, Surrogate-Key)
    #[arg(long, value_name = "TAG", group = "what")]
    pub(crate) tag: Vec<String>,
    /// Everything of a zone; with --tag: the tag's zone, needed where several have a cache
    #[arg(long, value_name = "NAME", group = "what")]
    pub(crate) zone: Option<String>,
    /// Only make them stale: they may be served while they are fetched anew, and when the origin fails
    #[arg(long)]
    pub(crate) soft: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Recover {
    #[command(flatten)]
    pub(crate) node: NodeFile,
    /// The node's data folder, instead of the one that the node file names: needed when that is lost too
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A folder that is empty, or not there yet
    #[arg(long, value_name = "DIR")]
    pub(crate) into: PathBuf,
    /// Which, by its number; without it the one that a node would start from
    #[arg(long, value_name = "NUMBER")]
    pub(crate) generation: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) running: Running,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    pub(crate) running: Running,
    /// The request's id: 32 hex digits, as in `X-Request-Id`, the access log and Rempart's error pages
    #[arg(value_name = "REQUEST-ID")]
    pub(crate) request_id: String,
}

/// A proxy that drills can be done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    Nginx,
    Haproxy,
    Caddy,
}

#[derive(Debug, Args)]
pub(crate) struct Drill {
    /// Which: ids or names as --list shows them
    #[arg(value_name = "DRILL", conflicts_with_all = ["all", "list", "against"])]
    pub(crate) drills: Vec<String>,
    /// All that this build can run
    #[arg(long, conflicts_with_all = ["list", "against"])]
    pub(crate) all: bool,
    /// Print which there are
    #[arg(long)]
    pub(crate) list: bool,
    /// Drill an installed peer instead, as far as it can be
    #[arg(long, value_name = "PEER", conflicts_with = "list")]
    pub(crate) against: Option<Peer>,
    /// Print a JSON list of objects: id, name, verdict (pass or fail) and the figures
    #[arg(long)]
    pub(crate) json: bool,
    /// Print a Markdown table
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    /// At full length: drills without an end of their own take a minute, and D2 five, instead of 20 seconds
    #[arg(long)]
    pub(crate) full: bool,
    /// How long drills without an end of their own take
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: Option<u64>,
    /// Random edits of D19
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) edits: u32,
    /// The folder of OWASP CRS, for D10: without it a few rules of its own
    #[arg(long, value_name = "FOLDER")]
    pub(crate) rules: Option<PathBuf>,
    /// Show times and judge counts and states alone: for a machine that is busy with something else
    #[arg(long)]
    pub(crate) untimed: bool,
    /// Folder for the nodes' files; by default a temporary one that is removed afterwards
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Folder for the demo's certificates, zone and state
    #[arg(long, value_name = "FOLDER", default_value = "./rempart-data")]
    pub(crate) data_dir: PathBuf,
    /// Port for HTTP; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) http_port: u16,
    /// Port for HTTPS, over TCP and UDP; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    pub(crate) https_port: u16,
    /// Port for health and metrics; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 9901)]
    pub(crate) admin_port: u16,
    /// Threads that serve; 0 takes one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
}

/// Chooses the node file out of flag, environment and usual places.
fn choose(
    flag: Option<&Path>,
    variable: Option<OsString>,
    exists: impl Fn(&Path) -> bool,
) -> Result<PathBuf> {
    if let Some(named) = flag {
        return Ok(named.to_owned());
    }
    if let Some(named) = variable.filter(|text| !text.is_empty()) {
        return Ok(named.into());
    }
    if let Some(found) = CONFIG_PATHS.iter().map(Path::new).find(|path| exists(path)) {
        return Ok(found.to_owned());
    }
    bail!(
        "no node file: neither --config nor {CONFIG_VARIABLE} names one, and there is none at {}; write one, \
         or start with `rempart demo`, which needs none",
        CONFIG_PATHS.join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Flags::command().debug_assert();
    }

    #[test]
    fn a_time_is_in_seconds_or_has_a_unit() {
        let read = |text| seconds(text).ok();
        assert_eq!(
            ["0", "600", "10s", "10m", "2h", "7d"].map(seconds),
            [0, 600, 10, 600, 7_200, 604_800].map(Ok)
        );
        for text in ["", "m", "10 m", "1.5h", "-1", "10M", "1h30m", "é", "18446744073709551615d"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(
            ["0", "1", "1d", "86401"].map(|text| within_a_day(text).ok()),
            [None, Some(1), Some(86_400), None]
        );
    }

    #[test]
    fn the_flag_goes_before_the_environment_and_both_before_the_usual_places() {
        let all = |_: &Path| true;
        let chosen = |flag: Option<&str>, variable: Option<&str>| {
            choose(flag.map(Path::new), variable.map(OsString::from), all).unwrap()
        };
        assert_eq!(chosen(Some("a"), Some("b")), Path::new("a"));
        assert_eq!(chosen(None, Some("b")), Path::new("b"));
        assert_eq!(chosen(None, Some("")), Path::new("./rempart.toml"));
        assert_eq!(chosen(None, None), Path::new("./rempart.toml"));
    }

    #[test]
    fn the_system_wide_file_is_taken_when_the_folder_has_none() {
        let only = |path: &Path| path == Path::new("/etc/rempart/rempart.toml");
        assert_eq!(choose(None, None, only).unwrap(), Path::new("/etc/rempart/rempart.toml"));
    }

    #[test]
    fn without_any_node_file_the_error_names_every_place_and_the_demo() {
        let error = choose(None, None, |_| false).unwrap_err().to_string();
        for part in ["--config", CONFIG_VARIABLE, "./rempart.toml", "/etc/rempart/rempart.toml", "demo"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn commands_that_do_not_work_yet_are_not_offered() {
        let help = Flags::command().render_help().to_string();
        for absent in ["edge-role", "demo-site-role", "supervisor-role", "splice-role"] {
            assert!(!help.contains(absent), "{absent} is offered");
        }
    }
}
