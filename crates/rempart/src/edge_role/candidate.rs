//! A candidate: tries a change out for the edge that serves, under limits.
//!
//! It compiles in the moment in which a bad file does what it does: loops, eats memory, overflows the stack,
//! crashes. All of that ends this process and nothing else. What it is asked stands in
//! [`crate::publishing::trial`]; what follows from its answers is the asking edge's. Called by [`super`].

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use telemetry::sink::AccessLog;
use zone::Snapshot;

use super::holding::{HOLDS_EVERY, Holding};
use super::{Ground, LOG_CLOSE, Sockets, open_access_log, wait_until_served, when_drained};
use crate::changed::ChangedUrls;
use crate::clock;
use crate::command_log::CommandLog;
use crate::control::{Channel, PassedOver, Setup, ToEdge, beside};
use crate::publishing::trial::{self, Copied, FromCandidate, ToCandidate};
use crate::publishing::{COMPILE_STACK_BYTES, Figures};
use crate::purging;

/// How often its own memory is looked at. A process that takes memory as fast as it can gets some 20 MB per
/// look.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Bytes of the pages that the kernel counts a process's memory in. On a machine with larger ones the bound
/// is that much larger.
const PAGE_BYTES: u64 = 4096;

/// Bytes read of a page that is probed: whoever fails says so with less.
const PROBED_BYTES_MAX: usize = 64 * 1024;

/// How long a probe may take for one page.
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// Answers until it is told to end, or the asking edge is gone.
pub(super) fn run(ground: &Ground<'_>, setup: &Setup, mut sockets: Sockets) -> Result<ExitCode> {
    let asks = sockets.tried_by.take().context("a candidate comes with a channel to who tries it")?;
    let stages = ground.settings.stages;
    let bounds = Bounds::watch(stages.compile_memory_bytes, asks.duplicate()?)?;
    let black_box = sockets.black_box.try_clone().context("descriptors are used up")?;
    let mut candidate = Candidate {
        ground,
        setup,
        asks,
        black_box,
        bounds,
        sockets: Some(sockets),
        stage: Stage::Empty,
        is_draining: false,
        holding: Holding::default(),
    };
    let (mut is_supervised, mut is_asked) = (true, true);
    let mut passed_over = PassedOver::default();
    loop {
        if candidate.has_ended() {
            return Ok(candidate.end());
        }
        let drained = candidate.drained();
        let mut watched = vec![PollFd::new(ground.signals, PollFlags::IN)];
        let mut places = [None; 3];
        let both = [(is_supervised, ground.channel.as_fd()), (is_asked, candidate.asks.as_fd())];
        let third = drained.as_ref().map(|drained| (true, drained.as_fd()));
        for (place, (_, descriptor)) in
            places.iter_mut().zip(both.into_iter().chain(third)).filter(|(_, (is_watched, _))| *is_watched)
        {
            *place = Some(watched.len());
            watched.push(PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
        }
        let look = Timespec { tv_sec: HOLDS_EVERY.as_secs().try_into().unwrap_or(1), tv_nsec: 0 };
        if poll(&mut watched, candidate.is_draining.then_some(&look)).is_err() {
            continue;
        }
        let is_ready = |place: Option<usize>| {
            place.and_then(|place| watched.get(place)).is_some_and(|watched| !watched.revents().is_empty())
        };
        let [from_supervisor, from_asker, has_drained] = places.map(is_ready);
        drop(watched);
        candidate.tell_what_is_left();
        // Signals are the supervisor's; what it wants it says.
        while ground.signals.next().is_some() {}
        if from_supervisor {
            match ground.channel.receive::<ToEdge>() {
                Ok(Some((ToEdge::Drain { within_ms }, _))) => candidate.drain(within_ms),
                Ok(Some((ToEdge::Changed { changed }, _))) => candidate.note_changed(&changed),
                Ok(Some(_)) => {}
                Err(error) => passed_over.pass_over(error, ground.events)?,
                Ok(None) => {
                    is_supervised = false;
                    candidate.drain(None);
                }
            }
        }
        if from_asker {
            match candidate.asks.receive::<ToCandidate>() {
                Ok(Some((question, descriptors))) => candidate.answer(question, descriptors),
                Err(error) => {
                    // Whoever asks waits for an answer.
                    let why = format!("{error:#}: restart the node, whose processes are of two versions");
                    passed_over.pass_over(error, ground.events)?;
                    candidate.say_failed(why);
                }
                // Whoever tried it is done with it, or gone.
                Ok(None) => {
                    is_asked = false;
                    candidate.drain(Some(ground.settings.linger_ms));
                }
            }
        }
        if has_drained {
            candidate.note_drained();
        }
    }
}

struct Candidate<'a> {
    ground: &'a Ground<'a>,
    setup: &'a Setup,
    asks: Channel,
    black_box: OwnedFd,
    bounds: Arc<Bounds>,
    /// Until it serves.
    sockets: Option<Sockets>,
    stage: Stage,
    is_draining: bool,
    holding: Holding,
}

/// How far it has come.
enum Stage {
    Empty,
    Compiled(Box<Compiled>),
}

struct Compiled {
    node: Arc<edge::Node>,
    access_log: AccessLog,
    /// Readable when every serving thread has ended; none before it serves.
    drained: Option<UnixStream>,
    /// Where it answers probes.
    probed_at: Option<SocketAddr>,
}

impl Candidate<'_> {
    fn answer(&mut self, question: ToCandidate, descriptors: Vec<OwnedFd>) {
        let done = match question {
            ToCandidate::Try { live, removals_percent_max } => self.try_out(live, removals_percent_max),
            ToCandidate::Decide => self.decide(descriptors),
            ToCandidate::Serve => self.serve(),
            ToCandidate::Probe { zones_max } => self.probe(zones_max),
            ToCandidate::Figures => self.figures(),
        };
        if let Err(error) = done {
            self.say_failed(format!("{error:#}"));
        }
    }

    /// Says that it cannot. Whoever does not take that either knows enough, as when these files were
    /// withdrawn before, and has closed the channel: the next look at it finds that.
    fn say_failed(&self, why: String) {
        let _nobody_asks_any_more = self.asks.send(&FromCandidate::Failed { why }, &[], true);
    }

    /// What tells that every serving thread has ended; none while it does not serve.
    fn drained(&self) -> Option<UnixStream> {
        match &self.stage {
            Stage::Compiled(compiled) => {
                compiled.drained.as_ref().and_then(|drained| drained.try_clone().ok())
            }
            Stage::Empty => None,
        }
    }

    /// What it has stored of these was changed by visitors of the edge that tries it.
    fn note_changed(&self, changed: &ChangedUrls) {
        if let Stage::Compiled(compiled) = &self.stage {
            changed.carry_out(&compiled.node);
        }
    }

    fn note_drained(&mut self) {
        if let Stage::Compiled(compiled) = &mut self.stage {
            compiled.drained = None;
        }
    }

    fn compiled(&mut self) -> Result<&mut Compiled> {
        match &mut self.stage {
            Stage::Compiled(compiled) => Ok(compiled),
            Stage::Empty => anyhow::bail!("nothing was compiled"),
        }
    }

    fn try_out(&mut self, live: u64, removals_percent_max: u8) -> Result<()> {
        let (ground, setup, asks) = (self.ground, self.setup, &self.asks);
        self.bounds.bound_cpu(Some(ground.settings.stages.compile_cpu_s));
        let tried = thread::scope(|scope| {
            let compile = || {
                trial::try_out(
                    &setup.config,
                    &ground.settings,
                    &ground.generations,
                    live,
                    removals_percent_max,
                    clock::unix_us() / 1_000_000,
                    &mut |hash| asks.send(&FromCandidate::Gathered { hash }, &[], true),
                )
            };
            let thread = thread::Builder::new()
                .name("compile".into())
                .stack_size(COMPILE_STACK_BYTES)
                .spawn_scoped(scope, compile);
            thread.context("no thread for compiling").and_then(|thread| {
                // A panic speaks against the change as a crash does, and is told in the same way.
                thread.join().unwrap_or_else(|_| std::process::abort())
            })
        });
        let (trial, snapshot) = tried?;
        self.bounds.bound_cpu(None);
        match snapshot {
            Some((snapshot, bundle)) => {
                self.take(snapshot)?;
                self.asks.send_with_bytes(&FromCandidate::Tried, &trial, &bundle)
            }
            None => self.asks.send_with(&FromCandidate::Tried, &trial),
        }
    }

    fn take(&mut self, snapshot: Snapshot) -> Result<()> {
        let access_log = open_access_log(&self.ground.settings.access_log, self.ground.events);
        let black_box = &self.black_box;
        let node = self.ground.node(self.setup, 1, &access_log, black_box, snapshot)?;
        let now = clock::Moment::now();
        node.block(&CommandLog::open(&self.ground.data_dir, now).ranges(now));
        purging::follow(&node, &self.ground.data_dir, || true);
        self.stage = Stage::Compiled(Box::new(Compiled { node, access_log, drained: None, probed_at: None }));
        Ok(())
    }

    fn decide(&mut self, descriptors: Vec<OwnedFd>) -> Result<()> {
        let copied: Vec<Copied> = beside(descriptors)?;
        let node = Arc::clone(&self.compiled()?.node);
        let decisions: Vec<String> = copied.iter().map(|facts| node.decide(&facts.into())).collect();
        self.asks.send_with(&FromCandidate::Decided, &decisions)
    }

    fn serve(&mut self) -> Result<()> {
        let mut sockets = self.sockets.take().context("it serves already")?;
        let mut listeners = sockets.take_candidates(self.setup.threads, self.setup.has_udp);
        // A door of its own for probes: the node's are steered by the kernel, to whichever edge.
        let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no door for probes")?;
        let local = door.local_addr()?;
        let settings = zone::Listener {
            address: local,
            protocol: zone::ListenerProtocol::Http,
            proxy_protocol: false,
            trusted: Vec::new(),
            h2c: false,
            http3: false,
        };
        let (udp, udp_slots, candidate) = (Vec::new(), (0, 1), None);
        listeners.push(edge::ListenerSetup {
            settings,
            local,
            tcp: vec![door],
            udp,
            udp_slots,
            candidate,
            foreign: Vec::new(),
        });
        let compiled = self.compiled()?;
        let running = edge::run(&compiled.node, listeners, None).context("its thread cannot be started")?;
        compiled.drained = Some(when_drained(running, Arc::new(AtomicBool::new(false)))?);
        compiled.probed_at = Some(local);
        wait_until_served(&compiled.node, 1)?;
        self.asks.send(&FromCandidate::Serving, &[], true)
    }

    fn figures(&mut self) -> Result<()> {
        let figures = self.compiled()?.node.figures();
        let figures = Figures {
            requests: figures.requests,
            server_errors: figures.server_errors,
            edge_faults: figures.edge_faults,
            origin_faults: figures.origin_faults,
            refusals: figures.refusals,
            panics: figures.panics,
            durations: figures.durations,
        };
        self.asks.send(&FromCandidate::Figures(figures), &[], true)
    }

    /// Asks for the first page of zones, over its own door. What comes of it stands in the figures.
    fn probe(&mut self, zones_max: usize) -> Result<()> {
        let compiled = self.compiled()?;
        let door = compiled.probed_at.context("it does not serve yet")?;
        let live = compiled.node.live();
        let names: Vec<String> =
            live.snapshot.zones().iter().filter_map(|zone| probed_name(zone)).take(zones_max).collect();
        let requests = names.len();
        // One that fails is counted by the node it fails at.
        names.iter().for_each(|name| drop(ask_for_page(door, name)));
        self.asks.send(&FromCandidate::Probed { requests }, &[], true)
    }

    /// While it drains: tells what is open yet.
    fn tell_what_is_left(&mut self) {
        if let Stage::Compiled(compiled) = &self.stage
            && self.is_draining
        {
            self.holding.tell(&compiled.node, self.ground.channel);
        }
    }

    /// Begins to drain, if it serves. A second order may change the time.
    fn drain(&mut self, within_ms: Option<u64>) {
        self.is_draining = true;
        if let Stage::Compiled(compiled) = &self.stage {
            compiled.node.drain_within(within_ms.unwrap_or(self.ground.settings.drain_ms));
        }
    }

    /// Whether it is to end and has drained.
    fn has_ended(&self) -> bool {
        let serves = matches!(&self.stage, Stage::Compiled(compiled) if compiled.drained.is_some());
        self.is_draining && !serves
    }

    fn end(self) -> ExitCode {
        if let Stage::Compiled(compiled) = self.stage {
            compiled.access_log.close(LOG_CLOSE);
        }
        ExitCode::SUCCESS
    }
}

/// A name that the zone serves: an exact one if it has any.
fn probed_name(zone: &zone::Zone) -> Option<String> {
    let names: Vec<String> = zone.hostnames.iter().map(ToString::to_string).collect();
    let exact = names.iter().find(|name| !name.starts_with('*')).cloned();
    exact.or_else(|| match names.first()?.strip_prefix("*.") {
        Some(domain) => Some(format!("www.{domain}")),
        None => Some("localhost".to_owned()),
    })
}

/// Asks for `/` of a hostname and reads until the connection ends: then what came of it is counted. Of a long
/// page only the beginning is read.
fn ask_for_page(door: SocketAddr, hostname: &str) -> Result<()> {
    let mut connection = TcpStream::connect_timeout(&door, PROBE_WAIT)?;
    connection.set_read_timeout(Some(PROBE_WAIT))?;
    connection.set_write_timeout(Some(PROBE_WAIT))?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {hostname}\r\nUser-Agent: rempart-probe\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes())?;
    let until = clock::now() + PROBE_WAIT;
    let (mut some, mut read) = ([0; 4096], 0);
    while read < PROBED_BYTES_MAX && clock::now() < until {
        match connection.read(&mut some)? {
            0 => break,
            count => read += count,
        }
    }
    Ok(())
}

/// What this process may take: looked at by a thread of its own, since no limit of the kernel's fits.
struct Bounds {
    /// Processor time at which the process ends itself, in milliseconds since it began.
    cpu_ms: AtomicU64,
}

impl Bounds {
    /// Watches from now on, and tells `asks` what it ends the process for; processor time is not bounded yet.
    ///
    /// Limits of memory (RLIMIT_AS, RLIMIT_DATA) count what the allocator merely reserves, and a service
    /// manager's sandbox may forbid to set any limit.
    fn watch(memory_bytes_max: u64, asks: Channel) -> Result<Arc<Self>> {
        let bounds = Arc::new(Self { cpu_ms: AtomicU64::new(u64::MAX) });
        let watched = Arc::clone(&bounds);
        let look = move || loop {
            if resident_bytes() > memory_bytes_max {
                give_up(
                    &asks,
                    format!("more than the {memory_bytes_max} bytes of [publish] compile_memory_bytes"),
                );
            }
            if used_ms() > watched.cpu_ms.load(Ordering::Acquire) {
                give_up(&asks, "more processor time than [publish] compile_cpu_s".to_owned());
            }
            thread::sleep(LOOK_EVERY);
        };
        thread::Builder::new()
            .name("bounds".into())
            .spawn(look)
            .context("no thread that watches the limits")?;
        Ok(bounds)
    }

    /// Bounds the processor time to so many seconds from now on, or no more.
    fn bound_cpu(&self, seconds: Option<u64>) {
        let until =
            seconds.map_or(u64::MAX, |seconds| used_ms().saturating_add(seconds.saturating_mul(1000)));
        self.cpu_ms.store(until, Ordering::Release);
    }
}

/// Ends the process, and so the change. Whoever asks hears why at once; without that it hears of the end
/// alone.
fn give_up(asks: &Channel, what: String) -> ! {
    crate::commands::tell(&format!("the candidate took {what} and is ended"));
    let _ = asks.send(&FromCandidate::TookTooMuch { what }, &[], false);
    std::process::abort()
}

/// The second word of proc(5)'s `statm`: pages resident.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(PAGE_BYTES)
}

/// Processor time of this process, in milliseconds.
fn used_ms() -> u64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let millis = |value: i64, per: i64| u64::try_from(value / per).unwrap_or(0);
    millis(used.tv_sec.saturating_mul(1000), 1).saturating_add(millis(used.tv_nsec, 1_000_000))
}
