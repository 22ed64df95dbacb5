//! D13: a thousand nodes come back at once to what gives them orders, and some of them behave badly.
//!
//! There is one node and its local socket: who would ask a control plane asks there, for what runs, for the
//! blocks of the command log, for what a change would do. Some say nothing, leave in the middle of a word, or
//! never read an answer. Read next: [`crate::command_socket`], which sheds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::Run;
use super::load::{Load, wait_until};
use super::node::{AT_ONCE, Node, NodeText, PATIENCE, answering, passing};
use super::origin::Origin;
use super::report::Outcome;
use crate::clock;
use crate::messages::Answer;

/// How many come at once.
const NODES: u64 = 1_000;

/// Requests of visitors a second beside it.
const RATE: u64 = 100;

/// Rounds of orders in the middle of it.
const ROUNDS: u64 = 3;

/// How long an order may take in the middle of it, from its first try on.
const ORDER: Duration = Duration::from_secs(5);

/// What the edge may grow by; there are at most 32 threads of some hundred KiB.
const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Threads that may be there for commands.
const THREADS_MAX: usize = 34;

/// How long one that got no answer stays away, in milliseconds, and as long again by chance.
const PAUSE_MS: u64 = 200;

/// What one of them does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Asks this until it has an answer, and then for the status again and again.
    Asks(&'static str),
    /// Says nothing.
    Silent,
    /// Leaves in the middle of a word.
    Leaves,
    /// Asks very much, and reads nothing.
    Deaf,
}

const STATUS: &str = "{\"command\":\"status\"}\n";

fn manner(number: u64) -> Manner {
    match number % 40 {
        0 => Manner::Asks("{\"command\":\"publish\",\"dry_run\":true}\n"),
        1..=11 => Manner::Asks("{\"command\":\"blocks\"}\n"),
        12..=25 => Manner::Asks(STATUS),
        26..=33 => Manner::Silent,
        34..=37 => Manner::Leaves,
        _ => Manner::Deaf,
    }
}

/// What became of them.
#[derive(Debug, Default)]
struct Tally {
    ends: AtomicBool,
    /// Of those that ask: how many have their first answer.
    answered: AtomicU64,
    /// Answers that told to come back.
    busy: AtomicU64,
    /// Connections that ended without a word, or did not come about.
    ended: AtomicU64,
}

/// All of them, on one thread.
struct Storm {
    tally: Arc<Tally>,
    thread: JoinHandle<Result<()>>,
}

impl Storm {
    fn begin(socket: PathBuf) -> Result<Self> {
        let tally = Arc::new(Tally::default());
        let shared = Arc::clone(&tally);
        let thread = thread::Builder::new().name("nodes".to_owned()).spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
            let socket: Arc<Path> = socket.into();
            runtime.block_on(async {
                let nodes = (0..NODES).map(|number| {
                    let (tally, socket) = (Arc::clone(&shared), Arc::clone(&socket));
                    tokio::task::spawn_local(one(number, socket, tally))
                });
                for node in nodes.collect::<Vec<_>>() {
                    let _broken = node.await;
                }
            });
            Ok(())
        })?;
        Ok(Self { tally, thread })
    }

    fn end(self) -> Result<()> {
        self.tally.ends.store(true, Relaxed);
        self.thread.join().ok().context("a thread of the drill broke")?
    }
}

/// How many of them ask.
fn askers() -> u64 {
    (0..NODES).filter(|number| matches!(manner(*number), Manner::Asks(_))).count() as u64
}

/// One of them, for as long as it goes on.
async fn one(number: u64, socket: Arc<Path>, tally: Arc<Tally>) {
    let (mut has_answer, mut round) = (false, 0_u64);
    while !tally.ends.load(Relaxed) {
        let met = tokio::time::timeout(PATIENCE, meet(manner(number), has_answer, &socket, &tally)).await;
        match met {
            Ok(Ok(Some(answer))) if answer.is_busy => _ = tally.busy.fetch_add(1, Relaxed),
            Ok(Ok(Some(_))) if !has_answer => {
                has_answer = true;
                tally.answered.fetch_add(1, Relaxed);
            }
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => _ = tally.ended.fetch_add(1, Relaxed),
        }
        round += 1;
        // Spread without a source of chance.
        let chance_ms = (number.wrapping_mul(7_919) ^ round.wrapping_mul(104_729)) % PAUSE_MS;
        tokio::time::sleep(Duration::from_millis(PAUSE_MS + chance_ms)).await;
    }
}

/// One connection: the answer to what was asked; none of one that asks nothing.
async fn meet(manner: Manner, has_answer: bool, socket: &Path, tally: &Tally) -> Result<Option<Answer>> {
    let mut connection = UnixStream::connect(socket).await?;
    match manner {
        Manner::Asks(words) => {
            let words = if has_answer { STATUS } else { words };
            // What is busy may answer before it has read.
            let written = connection.write_all(words.as_bytes()).await;
            let mut reader = BufReader::new(&mut connection);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).await?;
                if line.is_empty() {
                    written?;
                    anyhow::bail!("no answer");
                }
                let answer: Answer = serde_json::from_str(&line)?;
                if answer.progress.is_none() {
                    return Ok(Some(answer));
                }
            }
        }
        Manner::Silent => {
            let mut word = [0; 256];
            while !tally.ends.load(Relaxed) {
                let read = connection.read(&mut word);
                // Looks now and then whether it is over.
                match tokio::time::timeout(Duration::from_millis(100), read).await {
                    Ok(Ok(0)) | Ok(Err(_)) => break,
                    Ok(Ok(_)) | Err(_) => {}
                }
            }
            Ok(None)
        }
        Manner::Leaves => {
            connection.write_all(STATUS.split_at(9).0.as_bytes()).await?;
            Ok(None)
        }
        Manner::Deaf => {
            let words = STATUS.repeat(1_000);
            while !tally.ends.load(Relaxed) {
                let write = connection.write_all(words.as_bytes());
                if let Ok(Err(_)) = tokio::time::timeout(Duration::from_millis(100), write).await {
                    break;
                }
            }
            Ok(None)
        }
    }
}

/// D13: all at once, with visitors and orders in the middle of it.
pub(super) fn reconnect(run: &Run, outcome: &mut Outcome) -> Result<()> {
    crate::sockets::make_room_for_descriptors(crate::sockets::raise_descriptor_limit());
    let origin = Origin::start("from the origin", None)?;
    let more = format!("{AT_ONCE}\n[cache]\nmemory_bytes = \"16MiB\"\n");
    let folder = run.folder("node", &NodeText { more, ..NodeText::default() })?;
    let cache = "\n[cache]\nenabled = true\n";
    folder.zone("a", &(passing("a", &["a.example"], origin.address()) + cache))?;
    folder.zone("b", &answering("b", "at first"))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let edge = node.edge()?;
    let load = Load::begin(&node.target("a.example")?, RATE)?;
    load.wait_for(RATE);
    let memory = || node.metric("rempart_process_resident_memory_bytes");
    let (memory_before, threads_before) = (memory()?, threads(edge)?);

    let storm = Storm::begin(folder.at("data/rempart.sock"))?;
    let tally = Arc::clone(&storm.tally);
    ensure!(wait_until(PATIENCE, || tally.busy.load(Relaxed) > 0), "nobody is sent away: it is no storm");
    let threads_most = orders(&node, outcome)?;
    let all = askers();
    let answered = || tally.answered.load(Relaxed);
    let until = clock::now() + run.lasting.min(Duration::from_secs(10));
    // A machine that has much else to do takes long for all of them; what stands still does not go on.
    let mut last = (answered(), clock::now());
    wait_until(20 * PATIENCE, || {
        let now = clock::now();
        if answered() != last.0 {
            last = (answered(), now);
        }
        (answered() == all && now >= until) || now.saturating_duration_since(last.1) > PATIENCE
    });
    outcome.check("each that asks has its answer", answered() == all, format!("{} of {all}", answered()));
    let grown = memory()?.saturating_sub(memory_before);
    outcome.figure("memory_grown_mib", grown >> 20);
    outcome.check("memory stays", grown < MEMORY_BYTES_MAX, format!("{} MiB", grown >> 20));
    let grown = threads_most.max(threads(edge)?).saturating_sub(threads_before);
    outcome.check("threads are bounded", grown <= THREADS_MAX, format!("{grown} more"));
    storm.end()?;
    outcome.figure("told_to_come_back", tally.busy.load(Relaxed));
    outcome.figure("ended_without_an_answer", tally.ended.load(Relaxed));

    let begun = clock::now();
    let status = node.status();
    outcome.check("afterwards commands are answered", status.is_ok(), status.is_ok());
    let took = clock::now().saturating_duration_since(begun);
    outcome.check_time("at once", took, Duration::from_secs(1));
    let told = node.wait_for(0, "commands_busy").map(|told| told.event.to_string());
    outcome.check("it is told", told.is_ok(), told.unwrap_or_default());
    let is_same = node.edge()? == edge;
    outcome.check("no process ended", is_same, edge);
    outcome.add_unharmed("all the while: no visitor's request fails", load.end());
    in_order(&folder.at("data/commands"), outcome)?;
    outcome.check("the node ends cleanly", node.stop()?, "");
    Ok(())
}

/// Threads of a process.
fn threads(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task")).context("its threads cannot be seen")?.count())
}

/// Orders by the commands that a person runs; gives the most threads seen meanwhile.
fn orders(node: &Node, outcome: &mut Outcome) -> Result<usize> {
    let (mut slowest, mut most) = (Duration::ZERO, 0);
    for round in 0..ROUNDS {
        node.folder().zone("b", &answering("b", &format!("round {round}")))?;
        let (range, url) = (format!("192.0.2.{round}/32"), format!("https://a.example/{round}"));
        let orders: [&[&str]; 5] = [
            &["status"],
            &["block", &range, "--for", "600"],
            &["purge", "--url", &url],
            &["publish"],
            &["publish", "--dry-run"],
        ];
        for words in orders {
            let begun = clock::now();
            let said = node.command(words)?;
            slowest = slowest.max(clock::now().saturating_duration_since(begun));
            most = most.max(threads(node.edge()?)?);
            if !said.status.success() {
                let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
                outcome.check(&format!("`{}` gets through", words.join(" ")), false, text);
            }
        }
        let (_, body) = node.target("b.example")?.ask("/", "")?;
        outcome.check("what was published is served", body == format!("round {round}"), body);
    }
    outcome.figure("slowest_order_ms", u64::try_from(slowest.as_millis()).unwrap_or(0));
    outcome.check_time("every order gets through", slowest, ORDER);
    let blocked = node.command(&["blocks"])?;
    let blocked = String::from_utf8_lossy(&blocked.stdout).lines().count() as u64;
    outcome.check("and is in force", blocked == ROUNDS, format!("{blocked} of {ROUNDS} ranges blocked"));
    Ok(most)
}

/// The command log has every order once, in the order of their numbers.
fn in_order(log: &Path, outcome: &mut Outcome) -> Result<()> {
    let text = fs::read_to_string(log)?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line["number"].as_u64()).collect();
    let ordered: Vec<u64> = numbers.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let is_whole = numbers == ordered && numbers.len() as u64 == 2 * ROUNDS && lines.len() == numbers.len();
    outcome.check("the command log has each order once, in order", is_whole, format!("{numbers:?}"));
    Ok(())
}
