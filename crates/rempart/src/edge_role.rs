//! The edge's process: takes sockets from the supervisor, loads what it is told to, and runs the data plane.
//!
//! The serving threads are the `edge` crate's. What is here waits: for the supervisor's messages, for
//! signals, for the end of a drain. A serving edge outlives its supervisor: it serves on, and hands its
//! sockets to the next one. Called by `main` for the hidden role; read next: [`standing`] (spare and
//! successor), [`candidate`], [`crate::publishing`].

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use telemetry::events::{Events, Value};
use telemetry::sink::{AccessLog, Limits, Target};
use zone::Snapshot;

use crate::certificates::Watch;
use crate::changed::Teller;
use crate::clock;
use crate::command_log::CommandLog;
use crate::command_socket;
use crate::commands::{counted, tell, tell_lines};
use crate::configuration::{Keyring, Problems, data_dir};
use crate::confining::confine;
use crate::control::{Begin, Channel, FromEdge, PassedOver, Role, Setup, ToEdge};
use crate::files::remedy_for;
use crate::generations::Generations;
use crate::keys::{self, Keys};
use crate::messages::Answer;
use crate::processes::LastTold;
use crate::publishing::{self, PublisherSetup, Publishing, Rejected, Start};
use crate::purging;
use crate::signals::Signals;
use crate::sockets::{make_room_for_descriptors, raise_descriptor_limit};
use crate::supervisor::VERSION;
use crate::usual::Usual;

mod candidate;
mod holding;
mod orders;
mod quic_claim;
mod sockets;
mod standing;
mod status;

use self::holding::{HOLDS_EVERY, Holding};
use self::orders::Commands;
use self::quic_claim::QuicClaim;
use self::sockets::Sockets;
pub(crate) use self::sockets::read_memory_file;
use self::standing::Standing;

/// How much longer than `drain_ms` a drain may take before the process ends all the same. Longer than the
/// supervisor waits: this is for an edge whose supervisor is dead.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Descriptors kept for files, commands, the admin listener's visitors, and the runtime's own.
const DESCRIPTORS_KEPT: usize = 256;

/// Connections allowed however low the limit on open files: below it nothing useful can be served.
const CONNECTIONS_LEAST: usize = 64;

/// How much longer than it was given the end of QUIC connections may take: two ticks of each thread.
const QUIC_GRACE: Duration = Duration::from_secs(5);

/// How long the threads may take to start: some milliseconds, but for a machine that is badly overloaded.
const THREADS_START: Duration = Duration::from_secs(30);

/// How long to wait for the last log lines to be written.
const LOG_CLOSE: Duration = Duration::from_secs(2);

/// Serves until told to drain, and gives the exit code: 0 when all was served to its end.
///
/// # Errors
/// When the setup is not what the supervisor sends, or the data plane cannot start.
pub(crate) fn run_role() -> Result<ExitCode> {
    let signals = Signals::take()?;
    let channel = Channel::from_stdin()?;
    let (setup, descriptors) = channel.receive_setup()?;
    // The name that `ps` and `top` show; without it they show that of the binary.
    let _ = rustix::thread::set_name(match setup.role {
        Role::Serving => c"rempart-edge",
        Role::Spare => c"rempart-spare",
        Role::Successor => c"rempart-next",
        Role::Candidate => c"rempart-try",
        Role::Splice => c"rempart-splice",
    });
    // Before there is a second thread: then it costs nothing.
    make_room_for_descriptors(raise_descriptor_limit());
    confine(setup.role);
    let events = Events::start(Target::Stderr, clock::unix_us).context("standard error cannot be used")?;
    tell_panics(&events);
    let outcome = run(&signals, &Arc::new(channel), setup, descriptors, &events);
    if let Err(error) = &outcome {
        events.error("edge_failed", &[("cause", (&format!("{error:#}")).into())]);
    }
    events.close(LOG_CLOSE);
    // What broke is told; a second telling on the way out would only repeat it.
    Ok(outcome.unwrap_or(ExitCode::FAILURE))
}

/// Makes every panic an event, caught or not: with thread, place and message, and no backtrace of its own.
fn tell_panics(events: &Events) {
    let events = events.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = thread::current();
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("(not a text)");
        let fields: [(&'static str, Value<'_>); 3] = [
            ("thread", thread.name().unwrap_or("(unnamed)").into()),
            ("place", (&place).into()),
            ("message", message.into()),
        ];
        events.error("panic", &fields);
    }));
}

/// What every role has: the socket to the supervisor, and where to tell.
struct Ground<'a> {
    signals: &'a Signals,
    channel: &'a Arc<Channel>,
    events: &'a Events,
    generations: Generations,
    /// The keys of zones, as this process had them last.
    keyring: Keyring,
    settings: zone::Node,
    data_dir: PathBuf,
}

fn run(
    signals: &Signals,
    channel: &Arc<Channel>,
    mut setup: Setup,
    descriptors: Vec<OwnedFd>,
    events: &Events,
) -> Result<ExitCode> {
    let sockets = Sockets::sort(&setup, descriptors)?;
    let settings = sockets.node_file.node.clone();
    let data_dir = data_dir(&settings);
    let generations = Generations::open(&data_dir)?;
    generations.were_told(&setup.unusable);
    let keyring = Keyring::default();
    let ground = Ground { signals, channel, events, generations, keyring, settings, data_dir };
    let started = match setup.role {
        Role::Serving => match ground.start(&setup.config, setup.begin) {
            Ok(started) => started,
            Err(problems) => return ground.is_unusable(&problems),
        },
        Role::Spare | Role::Successor => match standing::wait(&ground, &mut setup)? {
            Standing::Serves(started) => *started,
            Standing::Ends(code) => return Ok(code),
        },
        Role::Candidate => return candidate::run(&ground, &setup, sockets),
        Role::Splice => anyhow::bail!("the splice is another role of the binary"),
    };
    serve(&ground, setup, sockets, started)
}

impl Ground<'_> {
    /// Reads and compiles what to begin with.
    fn start(&self, config: &Path, begin: Begin) -> Result<Start, Problems> {
        let rejected = Rejected::open(&self.data_dir);
        publishing::start(config, begin, &self.generations, &rejected, &self.keyring, self.events)
    }

    /// Says that there is nothing to serve.
    fn is_unusable(&self, problems: &Problems) -> Result<ExitCode> {
        let errors = counted(problems.errors(), "error");
        tell_lines(&problems.lines());
        tell(&format!("{errors} in the files, and no kept generation can be used"));
        self.channel.send(&FromEdge::Unusable, &[], false)?;
        Ok(ExitCode::FAILURE)
    }

    /// Makes the data plane's node for a snapshot.
    fn node(
        &self,
        setup: &Setup,
        threads: usize,
        access_log: &AccessLog,
        black_box: &OwnedFd,
        snapshot: Snapshot,
    ) -> Result<Arc<edge::Node>> {
        let keys = load_keys(&self.data_dir, self.events)?;
        // Without it nothing is explained after a death, and everything is served.
        let black_box = blackbox::Writer::map(black_box).ok();
        let (supervisor, changed) = (Arc::clone(self.channel), Teller::start(self.channel));
        let (setup_role, restarts) = (setup.role, setup.restarts);
        let deadly = setup.deadly.iter().map(|it| (it.fingerprint, it.left_s)).collect();
        let setup = edge::NodeSetup {
            threads,
            settings: self.settings.clone(),
            access_log: access_log.clone(),
            events: self.events.clone(),
            seed: seed()?,
            sticky_key: keys.sticky(),
            quic_keys: keys.quic(),
            black_box,
            fingerprint_key: keys.fingerprint(),
            flood_seed: keys.flood(),
            on_stuck: Some(Box::new(move |stuck| {
                let message = FromEdge::Stuck { fingerprint: stuck.fingerprint, zone: stuck.zone };
                // With no supervisor nobody can replace this process; the event before this tells of the
                // thread.
                let _ = supervisor.send(&message, &[], false);
            })),
            on_changed: Some(Box::new(move |zone, url| changed.add(zone, url))),
            connections_max: connections_max(raise_descriptor_limit(), setup.descriptors()),
            cache: self.cache(setup_role, &keys),
        };
        let node = edge::Node::new(setup, snapshot);
        node.refuse_fingerprints(deadly);
        node.note_restarts(restarts);
        Ok(node)
    }
}

impl Ground<'_> {
    /// What zones' caches may hold. A candidate keeps its answers in memory alone: the disk's folder has one
    /// writer, and its own answers go with it.
    fn cache(&self, role: Role, keys: &Keys) -> Option<edge::CacheSetup> {
        let settings = &self.settings;
        let disk = (role != Role::Candidate && settings.cache_disk_bytes > 0).then(|| edge::DiskSetup {
            folder: PathBuf::from(&settings.cache_disk_folder),
            bytes: settings.cache_disk_bytes,
        });
        let memory_bytes = settings.cache_memory_bytes;
        (memory_bytes > 0).then(|| edge::CacheSetup { memory_bytes, seed: keys.cache(), disk })
    }
}

/// Serves until told to drain.
fn serve(ground: &Ground<'_>, setup: Setup, mut sockets: Sockets, started: Start) -> Result<ExitCode> {
    let (events, channel) = (ground.events, ground.channel);
    let watch = Watch::new(&started.snapshot, &started.stamps);
    let (number, zones) = (started.snapshot.number, started.snapshot.zones().len());
    let access_log = open_access_log(&ground.settings.access_log, events);
    // A spare and a successor always begin with what is kept, and nothing is wrong with the files.
    let kept = setup.begin == Begin::Files && started.kept.is_some();
    let node = ground.node(&setup, setup.threads, &access_log, &sockets.black_box, started.snapshot)?;
    let moment = clock::Moment::now();
    let mut log = CommandLog::open(&ground.data_dir, moment).telling(events);
    node.block(&log.ranges(moment));
    let usual = Usual::begin(&node, &ground.data_dir, events);
    let handed = sockets.duplicates()?;
    let listeners = sockets.take_serving(setup.threads, setup.udp_generation);
    if setup.is_quic_taken {
        node.hold_quic();
    }
    let running = edge::run(&node, listeners, sockets.admin.take())
        .context("the data plane cannot start its threads")?;
    let quic_claim = QuicClaim::of(&ground.data_dir, setup.udp_generation);
    if setup.listeners.iter().any(|plan| plan.udp > 0) {
        let node = Arc::clone(&node);
        quic_claim.take(setup.is_quic_taken, events, Arc::new(move || node.read_quic()));
    }
    if matches!(setup.begin, Begin::Kept { .. }) {
        // An edge before this one crashed: a change that it was watching goes with it.
        let withdrawn = publishing::settle_after_death(&ground.data_dir, number, &ground.generations, events);
        withdrawn.into_iter().for_each(|number| node.forget_stored_under(number));
    }
    purging::keep_up(&node, log.purges());
    node.tell_of_feeds();
    let publishing = Publishing::start(PublisherSetup {
        node: Arc::clone(&node),
        config: setup.config.clone(),
        data_dir: ground.data_dir.clone(),
        running: ground.settings.clone(),
        generations: ground.generations.clone(),
        keyring: ground.keyring.clone(),
        events: events.clone(),
        watch,
        supervisor: Arc::clone(channel),
        begin: setup.begin,
    })?;
    let serves_on = setup.serves_on;
    let commands = Arc::new(Commands {
        node: Arc::clone(&node),
        publishing: publishing.clone(),
        log: Mutex::new(log),
        purges: Mutex::default(),
        events: events.clone(),
        channel: Arc::clone(channel),
        setup: setup.clone(),
        handed: Mutex::new(handed),
        kept,
        data_dir: ground.data_dir.clone(),
        yields: AtomicBool::new(false),
        beside: Mutex::new(None),
        processes: LastTold::default(),
    });
    let carry = {
        let commands = Arc::clone(&commands);
        Arc::new(move |request, progress: &dyn Fn(&Answer)| commands.carry(request, progress))
    };
    let accepting =
        command_socket::serve(sockets.command, carry, tell_busy(events)).context("no thread for commands")?;
    let has_failed = Arc::new(AtomicBool::new(false));
    let drained = when_drained(running, Arc::clone(&has_failed))?;
    wait_until_served(&node, setup.threads)?;
    usual.keep_up(setup.role == Role::Successor);
    let (unusable, version) = (ground.generations.told(), VERSION.to_owned());
    channel.send(&FromEdge::Ready { number, zones, unusable, version }, &[], false)?;
    let mut control = Control {
        node: &node,
        access_log: &access_log,
        publishing: &publishing,
        events,
        usual,
        drain: Duration::from_millis(ground.settings.drain_ms),
        cut_at: None,
        drain_began: None,
        serves_on,
        accepting: Some(accepting),
        commands,
        quic_claim,
        holding: Holding::default(),
        passed_over: PassedOver::default(),
    };
    let whole = control.run(ground.signals, channel, &drained);
    access_log.close(LOG_CLOSE);
    let is_well = whole && !has_failed.load(Ordering::Acquire);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tells that more commands came than there is room for.
fn tell_busy(events: &Events) -> impl Fn(command_socket::Shed) + Send + 'static {
    let events = events.clone();
    move |shed| {
        let remedy = "find who asks so much; commands of this program come back by themselves";
        let fields: [(&'static str, Value<'_>); 3] =
            [("sent_away", shed.sent_away.into()), ("let_go", shed.let_go.into()), ("remedy", remedy.into())];
        events.warn("commands_busy", &fields);
    }
}

/// Opens the access log. A log that cannot be opened must not keep the sites down: it is told, and nothing
/// is logged.
fn open_access_log(wanted: &zone::AccessLog, events: &Events) -> AccessLog {
    let target = match wanted {
        zone::AccessLog::Off => return AccessLog::off(),
        zone::AccessLog::Stdout => Target::Stdout,
        zone::AccessLog::File(path) => Target::File(PathBuf::from(path)),
    };
    let file = match &target {
        Target::File(path) => path.display().to_string(),
        _ => "standard output".to_owned(),
    };
    AccessLog::open(target, Limits::default(), Some(events.clone())).unwrap_or_else(|error| {
        let cause = error.to_string();
        let remedy = "make its folder, let the user that runs Rempart write there, and restart the node";
        let fields: [(&'static str, Value<'_>); 3] =
            [("file", (&file).into()), ("cause", (&cause).into()), ("remedy", remedy.into())];
        events.error("access_log_off", &fields);
        AccessLog::off()
    })
}

/// Draws the seed of request ids and of all else that needs chance.
fn seed() -> Result<[u64; 2]> {
    let whole = u128::from_ne_bytes(keys::random()?);
    Ok([whole as u64, (whole >> 64) as u64])
}

/// Loads the keys that outlive this process. Without the file it goes on with keys of its own: visitors may
/// change their origin once, which is better than no site.
fn load_keys(data_dir: &Path, events: &Events) -> Result<Keys> {
    Keys::load(data_dir).or_else(|error| {
        let what = remedy_for(&error);
        let remedy = format!("{what}: sticky visitors may change their origin at each restart until then");
        let cause = format!("{error:#}");
        let fields: [(&'static str, Value<'_>); 2] =
            [("cause", (&cause).into()), ("remedy", (&remedy).into())];
        events.error("keys_not_kept", &fields);
        Keys::random()
    })
}

/// How many visitors' connections fit the limit on open files: each may come with one to an origin. What
/// the node itself holds, and room for logs, commands and certificates, is left out.
fn connections_max(limit: Option<u64>, sockets_held: usize) -> usize {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    (limit.saturating_sub(sockets_held).saturating_sub(DESCRIPTORS_KEPT) / 2).max(CONNECTIONS_LEAST)
}

/// Waits until every thread accepts, so that "ready" is not said before it is true.
fn wait_until_served(node: &edge::Node, threads: usize) -> Result<()> {
    let until = clock::now() + THREADS_START;
    // A node without zones is never ready, and serves all the same: it says 421.
    while !node.is_ready() && node.status().threads < threads {
        anyhow::ensure!(
            clock::now() < until,
            "a serving thread did not start: see the events before this one"
        );
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Gives a stream that ends, after one byte, when every serving thread has ended.
fn when_drained(running: edge::Running, has_failed: Arc<AtomicBool>) -> Result<UnixStream> {
    let (ours, mut theirs) = UnixStream::pair().context("no socket pair for the end of the drain")?;
    let wait = move || {
        has_failed.store(!running.join(), Ordering::Release);
        // The other end is there for as long as the process.
        let _ = theirs.write_all(b"d");
    };
    thread::Builder::new()
        .name("drained".into())
        .spawn(wait)
        .context("no thread for the end of the drain")?;
    Ok(ours)
}

/// What the waiting thread acts on.
struct Control<'a> {
    node: &'a edge::Node,
    access_log: &'a AccessLog,
    publishing: &'a Publishing,
    events: &'a Events,
    usual: Arc<Usual>,
    drain: Duration,
    /// When the drain cuts what is still open.
    cut_at: Option<Instant>,
    drain_began: Option<Instant>,
    serves_on: bool,
    /// While this edge takes commands.
    accepting: Option<command_socket::Accepting>,
    commands: Arc<Commands>,
    quic_claim: Arc<QuicClaim>,
    holding: Holding,
    passed_over: PassedOver,
}

impl Control<'_> {
    /// Waits and acts until the drain ended (true) or took too long (false).
    fn run(&mut self, signals: &Signals, channel: &Channel, drained: &UnixStream) -> bool {
        let mut supervised = true;
        loop {
            let left = self.cut_at.map(|cut| (cut + DRAIN_GRACE).saturating_duration_since(clock::now()));
            if left.is_some_and(|left| left.is_zero()) {
                self.events.error("drain_stuck", &[]);
                return false;
            }
            self.look_at_what_is_left(channel);
            let timeout = left.map(|left| left.min(HOLDS_EVERY)).map(|left| Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
            let mut watched = vec![PollFd::new(signals, PollFlags::IN), PollFd::new(drained, PollFlags::IN)];
            if supervised {
                watched.push(PollFd::new(channel, PollFlags::IN));
            }
            if poll(&mut watched, timeout.as_ref()).is_err() {
                // Interrupted; any other cause would come again at once, and the pause keeps that cheap.
                thread::sleep(Duration::from_millis(10));
                continue;
            }
            let ready: Vec<bool> = watched.iter().map(|watched| !watched.revents().is_empty()).collect();
            if ready.get(1) == Some(&true) {
                // Idle connections are held until then for one last answer; closing them cuts nothing.
                let exchanges = self.node.exchanges_cut();
                if exchanges > 0 {
                    let remedy = "raise [node] drain_ms if visitors should have had longer";
                    self.events.warn(
                        "drain_cut_short",
                        &[("exchanges", (exchanges as u64).into()), ("remedy", remedy.into())],
                    );
                }
                return true;
            }
            while let Some(signal) = signals.next() {
                // The supervisor handles what is meant for the node. A service manager that signals every
                // process wants the end.
                match signal {
                    Signal::SIGTERM => self.drain(None),
                    // Of a supervisor that it is no child of: another edge is to have the UDP sockets.
                    Signal::SIGUSR2 if self.cut_at.is_some() => self.let_go_of_quic(0),
                    _ => {}
                }
            }
            if ready.get(2) == Some(&true) {
                supervised = self.take_message(channel);
            }
        }
    }

    /// Acts on one message; false when the supervisor is gone.
    fn take_message(&mut self, channel: &Channel) -> bool {
        match channel.receive::<ToEdge>() {
            Ok(Some((ToEdge::Reload, _))) => self.publishing.publish_later(),
            Ok(Some((ToEdge::ReopenLogs, _))) => self.access_log.reopen(),
            Ok(Some((ToEdge::Drain { within_ms }, _))) => self.drain(within_ms),
            Ok(Some((ToEdge::Strays { generation, candidate, others }, _))) => {
                self.commands.note_beside(others);
                let are =
                    [(generation, edge::Ownerless::Generation), (candidate, edge::Ownerless::Candidate)];
                let ownerless: Vec<_> = are.into_iter().filter(|(are, _)| *are).map(|(_, of)| of).collect();
                self.node.answer_strays(&ownerless);
            }
            Ok(Some((ToEdge::Processes { processes }, _))) => self.commands.note_processes(processes),
            Ok(Some((ToEdge::LetGoOfQuic { within_ms }, _))) => self.let_go_of_quic(within_ms),
            Ok(Some((ToEdge::Candidate { .. }, descriptors))) => {
                let channel = descriptors.into_iter().next().map(Channel::of);
                self.publishing.candidate_started(channel);
            }
            Ok(Some((ToEdge::CandidateEnded { how, culprit }, _))) => {
                self.publishing.candidate_ended(how, culprit);
            }
            Ok(Some((ToEdge::UpgradeProves, _))) => {
                self.commands.yield_orders();
                self.usual.write_soon();
            }
            Ok(Some((ToEdge::Changed { changed }, _))) => changed.carry_out(self.node),
            Ok(Some((ToEdge::UpgradeFailed { .. }, _))) => {
                self.publishing.upgrade_failed();
                self.commands.take_orders_again();
            }
            Ok(Some((ToEdge::Refuse { deadly }, _))) => {
                let deadly = deadly.iter().map(|it| (it.fingerprint, it.left_s)).collect();
                self.node.refuse_fingerprints(deadly);
            }
            Ok(Some((ToEdge::Killed { killed }, _))) => self.publishing.killed(killed),
            Ok(Some((
                other @ (ToEdge::Setup(_) | ToEdge::Descriptors | ToEdge::Serve { .. } | ToEdge::Refresh),
                _,
            ))) => {
                let what = format!("{other:?}");
                self.events.error("message_out_of_place", &[("message", (&what).into())]);
            }
            Ok(None) if !self.serves_on => {
                self.drain(None);
                return false;
            }
            Ok(None) => {
                // Visitors notice nothing: the sockets are here too, and the next supervisor takes them over.
                let remedy = "start `rempart serve` again; sites are served on meanwhile, but \
                              nothing replaces this process if it dies";
                self.events.error("supervisor_gone", &[("remedy", remedy.into())]);
                self.commands.note_alone();
                return false;
            }
            Err(error) => {
                if let Err(error) = self.passed_over.pass_over(error, self.events) {
                    let cause = format!("{error:#}");
                    self.events.error("message_not_understood", &[("cause", (&cause).into())]);
                }
            }
        }
        true
    }

    /// While it drains: tells what is open yet, and gives up its claim when it reads no UDP socket any more.
    fn look_at_what_is_left(&mut self, channel: &Channel) {
        if self.cut_at.is_some()
            && let Some(holds) = self.holding.tell(self.node, channel)
            && !holds.quic
        {
            self.quic_claim.give();
        }
    }

    /// Lets another edge have the UDP sockets, and says so once it may.
    fn let_go_of_quic(&self, within_ms: u64) {
        self.node.let_go_of_quic(within_ms);
        let (node, channel) = (Arc::clone(&self.commands.node), Arc::clone(&self.commands.channel));
        let quic_claim = Arc::clone(&self.quic_claim);
        let until = clock::now() + Duration::from_millis(within_ms) + QUIC_GRACE;
        let wait = move || {
            while node.reads_quic() && clock::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
            if !node.reads_quic() {
                quic_claim.give();
                // With no supervisor there is nobody who waits for this word.
                let _ = channel.send(&FromEdge::QuicLetGo, &[], true);
            }
        };
        // Without a thread it is not told, and whoever waits goes on after a while.
        let _no_thread = thread::Builder::new().name("quic".into()).spawn(wait);
    }

    /// Begins to drain. A second order may only shorten the time: the node itself is to end.
    fn drain(&mut self, within_ms: Option<u64>) {
        let within = within_ms.map_or(self.drain, Duration::from_millis);
        let cut_at = clock::now() + within;
        if self.cut_at.is_some_and(|before| before <= cut_at) {
            return;
        }
        if self.drain_began.is_none() {
            self.usual.end();
        }
        let began = self.drain_began.get_or_insert_with(clock::now);
        let from_begin = cut_at.saturating_duration_since(*began);
        self.cut_at = Some(cut_at);
        self.accepting = None;
        // With a copy left open, newcomers would wait for nobody.
        self.commands.handed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if within_ms.is_none() {
            self.node.is_to_be_last();
        }
        // Another edge publishes from now on, and watches what is published.
        self.publishing.end();
        self.node.drain_within(u64::try_from(from_begin.as_millis()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_half_of_the_descriptors_that_are_left() {
        assert_eq!(connections_max(Some(1_048_576), 20), (1_048_576 - 20 - DESCRIPTORS_KEPT) / 2);
        assert_eq!(connections_max(Some(100), 20), CONNECTIONS_LEAST);
        assert_eq!(connections_max(None, 20), (usize::MAX - 20 - DESCRIPTORS_KEPT) / 2);
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(seed().unwrap(), seed().unwrap());
    }
}
