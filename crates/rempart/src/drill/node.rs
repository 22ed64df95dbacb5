//! A node of a drill: files in a folder of its own, this same binary started on free loopback ports, its
//! events with the time at which each came.
//!
//! A node belongs to its folder: whatever works in that folder is ended with it. Called by the drills; read
//! next: [`super::load`].

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::load::{Target, wait_until};
use crate::clock;

/// How long anything may take before the drill gives up on it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Lines of events kept; a drill has some hundred.
const EVENTS_MAX: usize = 100_000;

/// The file in a node's folder that its calendar is read past, in a build with fault points.
pub(super) const CLOCK: &str = "clock";

/// The access log's file, unless a drill says otherwise.
pub(super) const ACCESS: &str = "access.log";

/// Publishes at once: no stages.
pub(super) const AT_ONCE: &str = "[publish]\ncompare_ms = 0\ncanary_percent = 0\nsoak_ms = 0\n";

/// What the node file says beside its folders.
#[derive(Debug, Clone)]
pub(super) struct NodeText {
    /// Further lines of `[node]`.
    pub(super) node: &'static str,
    /// Further lines of the listener without TLS.
    pub(super) listener: &'static str,
    /// Whether there is a listener for TLS.
    pub(super) has_tls: bool,
    /// Whether there is an admin listener.
    pub(super) has_admin: bool,
    /// Where the access log goes.
    pub(super) access: &'static str,
    /// Further sections.
    pub(super) more: String,
}

impl Default for NodeText {
    fn default() -> Self {
        let node = "spare = true\n";
        Self { node, listener: "", has_tls: false, has_admin: true, access: ACCESS, more: AT_ONCE.to_owned() }
    }
}

/// The folder of one node.
#[derive(Debug, Clone)]
pub(super) struct NodeFolder {
    path: PathBuf,
}

impl NodeFolder {
    /// Makes an empty one with its node file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn make(path: PathBuf, text: &NodeText) -> Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("{} cannot be emptied", path.display()))?;
        }
        fs::create_dir_all(path.join("zones"))
            .with_context(|| format!("{} cannot be made", path.display()))?;
        let folder = Self { path };
        let threads = if text.node.contains("threads") { "" } else { "threads = 2\n" };
        let mut file = format!(
            "[node]\ndata_dir = \"data\"\nzones = \"zones\"\n{threads}{}\n[[listener]]\naddress = \
             \"127.0.0.1:0\"\nprotocol = \"http\"\n{}\n",
            text.node, text.listener
        );
        if text.has_tls {
            file.push_str("[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"https\"\n\n");
        }
        if text.has_admin {
            file.push_str("[admin]\naddress = \"127.0.0.1:0\"\n\n");
        }
        file.push_str(&format!("[log]\naccess = {:?}\n\n", text.access));
        file.push_str(&text.more);
        folder.write("rempart.toml", file.as_bytes())?;
        Ok(folder)
    }

    /// Where a file of it is.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.at(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        crate::files::write_whole(&path, bytes, 0o600)
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Writes a zone file.
    ///
    /// # Errors
    /// As [`NodeFolder::write`].
    pub(super) fn zone(&self, name: &str, text: &str) -> Result<()> {
        self.write(&format!("zones/{name}.toml"), text.as_bytes())
    }

    /// Removes a zone file.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) fn remove_zone(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.at(&format!("zones/{name}.toml")))?)
    }

    /// The newest generation's file.
    ///
    /// # Errors
    /// When none is kept.
    pub(super) fn newest_generation(&self) -> Result<PathBuf> {
        let kept =
            fs::read_dir(self.at("data/generations"))?.filter_map(Result::ok).map(|entry| entry.path());
        kept.filter(|path| path.extension().is_some_and(|end| end == "bundle"))
            .max()
            .context("no generation is kept")
    }

    /// Starts the node and waits until it serves.
    ///
    /// # Errors
    /// When it ends before.
    pub(super) fn start(&self) -> Result<Node> {
        Node::start(self.clone(), None)
    }

    /// Starts it with so many file descriptors for each process.
    ///
    /// # Errors
    /// As [`NodeFolder::start`].
    pub(super) fn start_with_descriptors(&self, count: usize) -> Result<Node> {
        Node::start(self.clone(), Some(&format!("-n {count}")))
    }

    /// Starts it with so many KiB of address space for each process.
    ///
    /// # Errors
    /// As [`NodeFolder::start`].
    pub(super) fn start_with_memory(&self, kib: u64) -> Result<Node> {
        Node::start(self.clone(), Some(&format!("-v {kib}")))
    }
}

/// An event and when it came.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) at: Instant,
    pub(super) event: Value,
}

/// A node that runs.
pub(super) struct Node {
    child: Child,
    folder: NodeFolder,
    told: Arc<Mutex<Vec<Told>>>,
    /// Whether nobody reads what it tells.
    is_deaf: Arc<AtomicBool>,
    addresses: Value,
    /// From the start of the process to its addresses.
    pub(super) started_in: Duration,
}

impl Node {
    /// `limit` is what `ulimit` of the shell takes.
    fn start(folder: NodeFolder, limit: Option<&str>) -> Result<Self> {
        let binary = std::env::current_exe().context("the path of this program cannot be told")?;
        let mut command = match limit {
            None => Command::new(&binary),
            Some(limit) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(format!("ulimit {limit}; exec \"$0\" \"$@\"")).arg(&binary);
                shell
            }
        };
        let begun = clock::now();
        let mut child = command
            .args(["serve", "--config"])
            .arg(folder.at("rempart.toml"))
            .current_dir(&folder.path)
            .env("REMPART_FAULT_CLOCK", folder.at(CLOCK))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        let told = Arc::new(Mutex::new(Vec::new()));
        let (to, stderr) = (Arc::clone(&told), child.stderr.take().context("its errors are piped")?);
        let is_deaf = Arc::new(AtomicBool::new(false));
        let deaf = Arc::clone(&is_deaf);
        thread::Builder::new().name("events".to_owned()).spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                while deaf.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(5));
                }
                let event = serde_json::from_slice(&line)
                    .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&line).into_owned()));
                let mut told = to.lock().unwrap_or_else(PoisonError::into_inner);
                if told.len() < EVENTS_MAX {
                    told.push(Told { at: clock::now(), event });
                }
            }
        })?;
        let mut node =
            Self { child, folder, told, is_deaf, addresses: Value::Null, started_in: Duration::ZERO };
        let mut ended = None;
        let pid = node.child.id();
        let file = node.folder.at("data/addresses.json");
        let mut addresses = Value::Null;
        let is_there = wait_until(PATIENCE, || {
            ended = node.child.try_wait().ok().flatten();
            let found = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
            addresses = found.unwrap_or(Value::Null);
            ended.is_some() || addresses["pid"] == pid
        });
        if let Some(status) = ended {
            bail!("the node ended with {status} before it served: {}", node.last_words());
        }
        anyhow::ensure!(is_there, "the node does not serve: {}", node.last_words());
        node.addresses = addresses;
        node.started_in = clock::now().saturating_duration_since(begun);
        Ok(node)
    }

    fn last_words(&self) -> String {
        let lines = self.since(0).into_iter().rev().take(5).map(|told| told.event.to_string());
        lines.collect::<Vec<_>>().join("; ")
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &NodeFolder {
        &self.folder
    }

    /// The supervisor.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where a listener is: `http` or `https`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn address(&self, protocol: &str) -> Result<SocketAddr> {
        let listeners = self.addresses["listeners"].as_array().context("no listeners")?;
        let found = listeners.iter().find(|listener| listener["protocol"] == protocol);
        let address = found.and_then(|listener| listener["address"].as_str()).context("no such listener")?;
        Ok(address.parse()?)
    }

    /// Where its admin listener is.
    ///
    /// # Errors
    /// When it has none.
    pub(super) fn admin(&self) -> Result<SocketAddr> {
        Ok(self.addresses["admin"].as_str().context("no admin listener")?.parse()?)
    }

    /// Stops reading what it tells, or begins again.
    pub(super) fn be_deaf(&self, is_deaf: bool) {
        self.is_deaf.store(is_deaf, Ordering::Relaxed);
    }

    /// The page of its metrics.
    ///
    /// # Errors
    /// When it has no admin listener, or that does not answer.
    pub(super) fn metrics(&self) -> Result<String> {
        let address = self.admin()?;
        let (status, page) = Target::plain(address, "localhost").ask("/metrics", "")?;
        anyhow::ensure!(status == 200, "the admin listener answers {status}");
        Ok(page)
    }

    /// Where visitors without TLS go for a host.
    ///
    /// # Errors
    /// As [`Node::address`].
    pub(super) fn target(&self, host: &str) -> Result<Target> {
        Ok(Target::plain(self.address("http")?, host))
    }

    /// Runs a command against it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn command(&self, arguments: &[&str]) -> Result<Output> {
        command(self.folder(), arguments)
    }

    /// Publishes; whether it was taken, and what was said.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub(super) fn publish(&self, flags: &[&str]) -> Result<(bool, String)> {
        publish(self.folder(), flags)
    }

    /// What runs.
    ///
    /// # Errors
    /// When nobody answers.
    pub(super) fn status(&self) -> Result<Value> {
        let output = self.command(&["status", "--json"])?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The zones of a status, without how their load stands: that changes by itself.
    pub(super) fn zones_in(status: &Value) -> Vec<Value> {
        let mut zones = status["zones"].as_array().cloned().unwrap_or_default();
        for zone in zones.iter_mut().filter_map(Value::as_object_mut) {
            zone.remove("flood");
        }
        zones
    }

    /// What became of the cache's disk by now, as `rempart status` says it.
    ///
    /// # Errors
    /// As [`Node::status`].
    pub(super) fn disk(&self) -> Result<Value> {
        Ok(self.status()?["cache"]["disk"].clone())
    }

    /// Waits until the cache's disk is in use.
    ///
    /// # Errors
    /// When it does not come to be.
    pub(super) fn wait_for_disk(&self) -> Result<()> {
        let is_ready = wait_until(PATIENCE, || self.disk().is_ok_and(|disk| disk["state"] == "ready"));
        anyhow::ensure!(is_ready, "the cache's disk does not come into use: {}", self.disk()?);
        Ok(())
    }

    /// How often something happened to stored answers, by the word of the metric's label.
    ///
    /// # Errors
    /// As [`Node::metric`].
    pub(super) fn cache_events(&self, event: &str) -> Result<u64> {
        self.metric(&format!("rempart_cache_events_total{{event=\"{event}\"}}"))
    }

    /// A whole number among the metrics, by its series.
    ///
    /// # Errors
    /// When there is no admin listener, or no such series.
    pub(super) fn metric(&self, series: &str) -> Result<u64> {
        let text = self.metrics()?;
        let values = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = values.filter_map(|value| value.trim().parse().ok()).next();
        value.with_context(|| format!("no metric {series}"))
    }

    /// The process that serves.
    ///
    /// # Errors
    /// As [`Node::status`].
    pub(super) fn edge(&self) -> Result<u32> {
        let pid = self.status()?["edge_pid"].as_u64().context("no edge")?;
        Ok(u32::try_from(pid)?)
    }

    /// Processes that the supervisor started, but for the one that serves.
    ///
    /// # Errors
    /// As [`Node::status`].
    pub(super) fn others(&self) -> Result<Vec<u32>> {
        let (edge, pid) = (self.edge()?, self.pid());
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .context("this system does not tell a process's children")?;
        let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        Ok(pids.filter(|pid| *pid != edge).collect())
    }

    /// How many descriptors the process that serves has open below a limit. Those above were there before
    /// the limit was.
    ///
    /// # Errors
    /// When it is gone, or this user may not look.
    pub(super) fn descriptors(edge: u32, limit: usize) -> Result<usize> {
        let all = fs::read_dir(format!("/proc/{edge}/fd")).context("its descriptors cannot be seen")?;
        let numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<usize>().ok());
        Ok(numbers.filter(|number| *number < limit).count())
    }

    /// How many events there are.
    pub(super) fn mark(&self) -> usize {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Events after a mark.
    pub(super) fn since(&self, mark: usize) -> Vec<Told> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(mark..).unwrap_or_default().to_vec()
    }

    /// Events of a name after a mark.
    pub(super) fn told(&self, mark: usize, name: &str) -> Vec<Told> {
        self.since(mark).into_iter().filter(|told| told.event["event"] == name).collect()
    }

    /// Waits for an event of a name after a mark.
    ///
    /// # Errors
    /// When it does not come.
    pub(super) fn wait_for(&self, mark: usize, name: &str) -> Result<Told> {
        self.wait_for_count(mark, name, 1)
    }

    /// Waits until so many of a name came after a mark; gives the last.
    ///
    /// # Errors
    /// When they do not come.
    pub(super) fn wait_for_count(&self, mark: usize, name: &str, count: usize) -> Result<Told> {
        wait_until(PATIENCE, || self.told(mark, name).len() >= count);
        let found = self.told(mark, name).into_iter().nth(count.saturating_sub(1));
        found.with_context(|| format!("the event {name} does not come; last: {}", self.last_words()))
    }

    /// Lets it drain and end; whether it did so cleanly.
    ///
    /// # Errors
    /// When it does not end.
    pub(super) fn stop(mut self) -> Result<bool> {
        signal(self.pid(), Signal::TERM)?;
        let mut ended = None;
        wait_until(PATIENCE, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some()
        });
        Ok(ended.context("the node does not end")?.success())
    }

    /// Leaves what the supervisor started to whoever comes next; the supervisor itself must be dead.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn abandon(mut self) -> Result<()> {
        wait_until(PATIENCE, || matches!(self.child.try_wait(), Ok(Some(_))));
        anyhow::ensure!(matches!(self.child.try_wait(), Ok(Some(_))), "the supervisor is not dead");
        // What is left works in the folder, which another node takes over now.
        self.folder.path = PathBuf::new();
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.be_deaf(false);
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = signal(self.pid(), Signal::TERM);
            let child = &mut self.child;
            wait_until(Duration::from_secs(2), || matches!(child.try_wait(), Ok(Some(_)) | Err(_)));
        }
        end_all_in(&self.folder.path);
        let _ = self.child.wait();
    }
}

/// Kills every process whose working folder this is.
pub(super) fn end_all_in(folder: &Path) {
    let Ok(folder) = folder.canonicalize() else { return };
    if folder.as_os_str().is_empty() {
        return;
    }
    let own = std::process::id();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid.filter(|pid| *pid != own) else { continue };
        if fs::read_link(entry.path().join("cwd")).is_ok_and(|works_in| works_in == folder) {
            let _ = signal(pid, Signal::KILL);
        }
    }
}

/// Runs a command of this binary against the node of a folder.
///
/// # Errors
/// When it cannot be started.
pub(super) fn command(folder: &NodeFolder, arguments: &[&str]) -> Result<Output> {
    let binary = std::env::current_exe().context("the path of this program cannot be told")?;
    let mut command = Command::new(binary);
    command.args(arguments).arg("--config").arg(folder.at("rempart.toml"));
    Ok(command.stdin(Stdio::null()).output()?)
}

/// Publishes the files of a folder; whether they were taken, and what was said.
///
/// # Errors
/// When the command cannot be started.
pub(super) fn publish(folder: &NodeFolder, flags: &[&str]) -> Result<(bool, String)> {
    let arguments: Vec<&str> = std::iter::once("publish").chain(flags.iter().copied()).collect();
    let output = command(folder, &arguments)?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).trim_end().to_owned()))
}

/// Sends a signal to a process of a drill.
///
/// # Errors
/// When it is gone.
pub(super) fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("it has a process id")?;
    Ok(kill_process(pid, signal)?)
}

/// A zone that answers its one host with a text.
pub(super) fn answering(name: &str, text: &str) -> String {
    format!(
        "name = \"{name}\"\nhostnames = [\"{name}.example\"]\n[[route]]\nanswer = {{ status = 200, body = \
         \"{text}\" }}\n"
    )
}

/// A zone that passes everything to one origin.
pub(super) fn passing(name: &str, hostnames: &[&str], origin: SocketAddr) -> String {
    format!(
        "name = \"{name}\"\nhostnames = {hostnames:?}\n[[pool]]\nname = \"app\"\norigins = [{{ url = \
         \"http://{origin}\" }}]\n"
    )
}
