//! A real node in the test: writes its files, starts the binary, waits until it serves, ends it with all its
//! children.
//!
//! The caller names the binary (`env!("CARGO_BIN_EXE_rempart")`); nothing of the product is linked here.
//! Ports are 0 everywhere, so nodes run side by side. A node is ready when `<data_dir>/addresses.json` is
//! there. Called by end-to-end tests. Read next: [`crate::compare`].

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::fields::Fields;
use crate::folder::Folder;
use crate::gate::PATIENCE;
use crate::visitor::{Response, Visitor};

/// How often a wait for a file or a process looks again. The system has no event for either that needs no
/// further package.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a node is started with. By default: one cleartext listener, no zones.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    listeners: Vec<(String, String, String)>,
    zones: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    node_section: String,
    more: String,
    environment: BTreeMap<String, String>,
    descriptors: Option<u32>,
    before: String,
}

impl Default for NodeSpec {
    fn default() -> NodeSpec {
        NodeSpec {
            listeners: Vec::new(),
            zones: BTreeMap::new(),
            files: BTreeMap::new(),
            node_section: "threads = 2".to_owned(),
            more: String::new(),
            environment: BTreeMap::new(),
            descriptors: None,
            before: String::new(),
        }
    }
}

impl NodeSpec {
    /// The default.
    pub fn new() -> NodeSpec {
        NodeSpec::default()
    }

    /// Adds a listener of this protocol (`http`, `https`) on `127.0.0.1:0`.
    #[must_use]
    pub fn listener(self, protocol: &str) -> NodeSpec {
        self.listener_at(protocol, "127.0.0.1:0", "")
    }

    /// Adds a listener on an address (its port should be 0), with more lines for its section.
    #[must_use]
    pub fn listener_at(mut self, protocol: &str, address: &str, lines: &str) -> NodeSpec {
        self.listeners.push((protocol.to_owned(), address.to_owned(), lines.to_owned()));
        self
    }

    /// Adds the zone file `zones/NAME.toml`.
    #[must_use]
    pub fn zone(mut self, name: &str, toml: impl Into<String>) -> NodeSpec {
        self.zones.insert(name.to_owned(), toml.into());
        self
    }

    /// Adds a zone for `hostnames` that passes everything to one origin, or several.
    #[must_use]
    pub fn site(self, name: &str, hostnames: &[&str], origins: &[&str]) -> NodeSpec {
        let toml = zone_toml(name, hostnames, origins);
        self.zone(name, toml)
    }

    /// Adds another file, its path relative to the folder of `rempart.toml`.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> NodeSpec {
        self.files.insert(path.into(), bytes.into());
        self
    }

    /// Replaces the lines of `[node]` beside `data_dir` and `zones`; `threads = 2` otherwise. There is no
    /// spare unless they say so, and changes are live at once unless [`NodeSpec::more`] has a `[publish]`.
    #[must_use]
    pub fn node_section(mut self, lines: &str) -> NodeSpec {
        self.node_section = lines.to_owned();
        self
    }

    /// Appends sections to `rempart.toml`, as `[zone_defaults]`.
    #[must_use]
    pub fn more(mut self, toml: &str) -> NodeSpec {
        self.more.push_str(toml);
        self.more.push('\n');
        self
    }

    /// Sets an environment variable for the node.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> NodeSpec {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Lets each process of the node have so many descriptors and no more. The node warns of few
    /// (`few_descriptors`).
    #[must_use]
    pub fn descriptors(mut self, count: u32) -> NodeSpec {
        self.descriptors = Some(count);
        self
    }

    /// Lets a shell do this in the node's folder before it becomes the node.
    #[must_use]
    pub fn shell_first(mut self, commands: &str) -> NodeSpec {
        commands.clone_into(&mut self.before);
        self
    }

    /// The command that becomes the binary.
    fn command(&self, binary: &Path) -> Command {
        if self.descriptors.is_none() && self.before.is_empty() {
            return Command::new(binary);
        }
        let limit = self.descriptors.map_or_else(String::new, |count| format!("ulimit -n {count}\n"));
        let mut shell = Command::new("bash");
        shell.arg("-ec").arg(format!("{limit}{}\nexec \"$0\" \"$@\"", self.before)).arg(binary);
        shell
    }

    fn toml(&self, folder: &Path) -> String {
        let path = |name: &str| folder.join(name).display().to_string();
        let mut toml = format!(
            "[node]\ndata_dir = {:?}\nzones = {:?}\n{}\n",
            path("data"),
            path("zones"),
            self.node_section
        );
        if !self.node_section.contains("spare") {
            // A second process for each of hundreds of nodes would only slow the tests that are not about it.
            toml.push_str("spare = false\n");
        }
        if !self.more.contains("[publish]") {
            toml.push_str("\n[publish]\ncompare_ms = 0\ncanary_percent = 0\nsoak_ms = 0\n");
        }
        toml.push('\n');
        let default = [("http".to_owned(), "127.0.0.1:0".to_owned(), String::new())];
        let listeners = if self.listeners.is_empty() { &default[..] } else { &self.listeners };
        for (protocol, address, lines) in listeners {
            toml.push_str(&format!(
                "[[listener]]\naddress = {address:?}\nprotocol = {protocol:?}\n{lines}\n\n"
            ));
        }
        toml.push_str("[admin]\naddress = \"127.0.0.1:0\"\n\n");
        toml.push_str(&format!("[log]\naccess = {:?}\n\n{}", path("access.log"), self.more));
        toml
    }
}

/// A zone file that passes everything to these origins (URLs), in one pool named `app`.
pub fn zone_toml(name: &str, hostnames: &[&str], origins: &[&str]) -> String {
    let origins: Vec<String> = origins.iter().map(|url| format!("{{ url = {url:?} }}")).collect();
    format!(
        "name = {name:?}\nhostnames = {hostnames:?}\n\n[[pool]]\nname = \"app\"\norigins = [{}]\n",
        origins.join(", ")
    )
}

/// Where a node can be reached, as `addresses.json` says.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// Protocol and address of each listener, in the order of the node file.
    pub listeners: Vec<(String, SocketAddr)>,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
    /// The command socket.
    pub socket: Option<PathBuf>,
    /// The supervisor's process.
    pub pid: u64,
}

#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    added: Condvar,
}

impl Lines {
    fn read(from: impl Read + Send + 'static) -> Result<(Arc<Lines>, JoinHandle<()>)> {
        let lines = Arc::new(Lines::default());
        let to = Arc::clone(&lines);
        let reading = move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                to.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                to.added.notify_all();
            }
        };
        let thread = thread::Builder::new().name("node-output".to_owned()).spawn(reading)?;
        Ok((lines, thread))
    }

    fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A running node. Dropping it ends it and every process it started.
pub struct Node {
    child: Child,
    group: Pid,
    folder: Folder,
    binary: PathBuf,
    addresses: Addresses,
    stderr: Arc<Lines>,
    stdout: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

impl Node {
    /// Writes the files, starts `BINARY serve --config FILE` and waits until it is ready.
    ///
    /// # Errors
    /// When it exits first, or is not ready after [`PATIENCE`]; the error holds its output.
    pub fn start(binary: impl Into<PathBuf>, spec: &NodeSpec) -> Result<Node> {
        let folder = Folder::new()?;
        fs::create_dir_all(folder.path().join("zones"))?;
        for (name, toml) in &spec.zones {
            folder.write(format!("zones/{name}.toml"), toml)?;
        }
        for (path, bytes) in &spec.files {
            folder.write(path, bytes)?;
        }
        let config = folder.write("rempart.toml", spec.toml(folder.path()))?;
        let binary = binary.into();
        let mut child = spec
            .command(&binary)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .envs(&spec.environment)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let group = Pid::from_raw(i32::try_from(child.id())?).context("a process id")?;
        let (stdout, first) = Lines::read(child.stdout.take().context("stdout is piped")?)?;
        let (stderr, second) = Lines::read(child.stderr.take().context("stderr is piped")?)?;
        let mut node = Node {
            child,
            group,
            folder,
            binary,
            addresses: Addresses::default(),
            stderr,
            stdout,
            readers: vec![first, second],
            status: None,
        };
        node.become_ready()?;
        Ok(node)
    }

    fn become_ready(&mut self) -> Result<()> {
        let file = self.folder.path().join("data/addresses.json");
        let found = look_until(|| {
            if let Some(status) = self.child.try_wait()? {
                self.status = Some(status);
                self.join_readers();
                bail!("the node ended with {status} before it was ready\n{}", self.output());
            }
            match fs::read(&file) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(_) => Ok(None),
            }
        })?;
        let bytes = found.with_context(|| format!("the node was never ready\n{}", self.output()))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.addresses = parse_addresses(&text).with_context(|| format!("addresses.json: {text}"))?;
        Ok(())
    }

    /// Where it can be reached.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The address of the first listener with this protocol.
    ///
    /// # Errors
    /// When there is none.
    pub fn address(&self, protocol: &str) -> Result<SocketAddr> {
        let found = self.addresses.listeners.iter().find(|(have, _)| have == protocol);
        found
            .map(|(_, address)| *address)
            .with_context(|| format!("no {protocol} listener in {:?}", self.addresses))
    }

    /// The supervisor's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder with `rempart.toml`, `zones/`, `data/` and `access.log`.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Writes or replaces a zone file; nothing happens before [`Node::reload`] or [`Node::publish`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_zone(&self, name: &str, toml: &str) -> Result<()> {
        self.folder.write(format!("zones/{name}.toml"), toml)?;
        Ok(())
    }

    /// Sends SIGHUP: apply the files. It does not wait; [`Node::publish`] does.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn reload(&self) -> Result<()> {
        self.signal(Signal::HUP)
    }

    /// Sends SIGUSR1: open the access log anew.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn reopen_log(&self) -> Result<()> {
        self.signal(Signal::USR1)
    }

    /// Sends SIGTERM: drain and exit. It does not wait; [`Node::wait`] does.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends a signal to the supervisor.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        ensure!(self.status.is_none(), "the node ended already");
        Ok(kill_process(self.group, signal)?)
    }

    /// Runs `BINARY publish --config FILE` and returns its output and status.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub fn publish(&self) -> Result<Output> {
        self.command(&["publish"])
    }

    /// Runs another command of the binary against this node, `--config FILE` appended.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--config").arg(self.folder.path().join("rempart.toml"));
        Ok(command.current_dir(self.folder.path()).stdin(Stdio::null()).output()?)
    }

    /// The access log so far, one JSON object a line.
    ///
    /// # Errors
    /// When a line is not JSON. A file that is not there yet has no lines; a last line without its end is
    /// left out.
    pub fn log_lines(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
        whole
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("log line {line}")))
            .collect()
    }

    /// Waits until the access log has a line of which this is so, and returns it.
    ///
    /// # Errors
    /// When none comes within [`PATIENCE`].
    pub fn wait_for_log(&self, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let found = look_until(|| Ok(self.log_lines()?.into_iter().find(|line| is_it(line))))?;
        found.with_context(|| format!("no such line in the access log: {:?}", self.log_lines()))
    }

    /// What it wrote to standard error so far.
    pub fn stderr_lines(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// What it wrote to standard output so far.
    pub fn stdout_lines(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// Waits until an event (a JSON line on standard error) comes of which this is so, past ones included.
    ///
    /// # Errors
    /// When none comes within [`PATIENCE`].
    pub fn wait_for_event(&self, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let find = |lines: &[String]| {
            lines.iter().filter_map(|line| serde_json::from_str(line).ok()).find(|event| is_it(event))
        };
        let lines = self.stderr.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, _) = self
            .stderr
            .added
            .wait_timeout_while(lines, PATIENCE, |lines| find(lines).is_none())
            .unwrap_or_else(PoisonError::into_inner);
        find(&lines).with_context(|| format!("no such event in:\n{}", lines.join("\n")))
    }

    /// Waits until this event has come so many times.
    ///
    /// # Errors
    /// When it does not within [`PATIENCE`].
    pub fn wait_for_events(&self, event: &str, count: usize) -> Result<()> {
        let named = format!("\"event\":\"{event}\"");
        let has = || self.stderr_lines().iter().filter(|line| line.contains(&named)).count() >= count;
        self.wait_until(&format!("{count} times {event}"), has)
    }

    /// Waits until something outside is so.
    ///
    /// # Errors
    /// When it is not within [`PATIENCE`]; the error says what was waited for.
    pub fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) -> Result<()> {
        let found = look_until(|| Ok(is_so().then_some(())))?;
        found.with_context(|| format!("waited in vain for {what}\n{}", self.output()))
    }

    /// Asks the admin listener.
    ///
    /// # Errors
    /// When there is none or it does not answer.
    pub fn admin(&self, target: &str) -> Result<Response> {
        let address = self.addresses.admin.context("the node has no admin listener")?;
        let close = Fields::of(&[("Connection", "close")]);
        Visitor::tcp(address)?.ask("GET", target, &address.to_string(), &close, b"")
    }

    /// All metrics in the text format.
    ///
    /// # Errors
    /// When the admin listener does not answer 200.
    pub fn metrics(&self) -> Result<String> {
        let response = self.admin("/metrics")?;
        ensure!(response.status == 200, "/metrics answers {}: {}", response.status, response.text());
        Ok(response.text())
    }

    /// The value of one metric. `series` is the name with its labels as printed, or the name alone, which
    /// sums all its series. None when there is no such series.
    ///
    /// # Errors
    /// As [`Node::metrics`].
    pub fn metric(&self, series: &str) -> Result<Option<f64>> {
        Ok(metric_in(&self.metrics()?, series))
    }

    /// Waits until a metric says this: what ends an exchange is counted a moment after the visitor has its
    /// answer. `series` as [`Node::metric`] takes it.
    ///
    /// # Errors
    /// When it does not within [`PATIENCE`]; the error says what it says instead.
    pub fn wait_for_metric(&self, series: &str, value: f64) -> Result<()> {
        let waited = self.wait_until(series, || self.metric(series).is_ok_and(|is| is == Some(value)));
        waited.with_context(|| format!("{series} is {:?}, not {value}", self.metric(series).ok().flatten()))
    }

    /// Waits until the node ended by itself.
    ///
    /// # Errors
    /// When it does not within [`PATIENCE`].
    pub fn wait(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let status = look_until(|| Ok(self.child.try_wait()?))?;
        let status = status.with_context(|| format!("the node does not end\n{}", self.output()))?;
        self.status = Some(status);
        self.end_group();
        self.join_readers();
        Ok(status)
    }

    /// Terminates the node and checks that it was healthy to the end: exit code 0, no event of level WARN or
    /// ERROR, no panic, no process left behind.
    ///
    /// # Errors
    /// When it was not; the error says what and holds the output.
    pub fn finish_healthy(self) -> Result<()> {
        self.finish_healthy_but_for(&[])
    }

    /// The same, when these events are what the test is about.
    ///
    /// # Errors
    /// As [`Node::finish_healthy`].
    pub fn finish_healthy_but_for(mut self, events: &[&str]) -> Result<()> {
        self.terminate()?;
        let status = look_until(|| Ok(self.child.try_wait()?))?;
        let status =
            status.with_context(|| format!("the node does not end on SIGTERM\n{}", self.output()))?;
        self.status = Some(status);
        let left = self.end_group();
        self.join_readers();
        let mut alarms = alarms(&self.stderr_lines());
        alarms.retain(|line| !events.iter().any(|event| line.contains(&format!("\"event\":\"{event}\""))));
        ensure!(alarms.is_empty(), "a healthy run wrote:\n{}", alarms.join("\n"));
        ensure!(status.success(), "the node ended with {status}\n{}", self.output());
        ensure!(!left, "the supervisor ended and left processes behind");
        Ok(())
    }

    /// Keeps the node's folder after the test, to look into.
    pub fn keep_folder(&mut self) {
        self.folder.keep();
    }

    fn output(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", self.stdout_lines().join("\n"), self.stderr_lines().join("\n"))
    }

    /// Kills what is left of the process group; whether there was something.
    fn end_group(&self) -> bool {
        let is_left = is_alive(self.group);
        // Nothing left to kill is what a good end looks like.
        let _ = kill_process_group(self.group, Signal::KILL);
        is_left
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader that panicked read what it could.
            let _ = reader.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = kill_process(self.group, Signal::TERM);
            let ended = look_for(Duration::from_secs(5), || Ok(self.child.try_wait()?));
            if !matches!(ended, Ok(Some(_))) {
                let _ = self.child.kill();
            }
            self.end_group();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("the node's output:\n{}", self.output());
        }
    }
}

/// Waits until a process that is nobody's child here is gone.
///
/// # Errors
/// When it is not within [`PATIENCE`].
pub fn wait_for_end(pid: u32) -> Result<()> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let found = look_until(|| Ok((!process.exists()).then_some(())))?;
    found.with_context(|| format!("process {pid} does not end"))
}

/// The lines that do not belong on a healthy node's standard error.
pub fn alarms(stderr: &[String]) -> Vec<String> {
    let is_alarm = |line: &&String| match serde_json::from_str::<Value>(line) {
        Ok(event) => {
            let level = event.get("level").and_then(Value::as_str).unwrap_or_default();
            level.eq_ignore_ascii_case("warn") || level.eq_ignore_ascii_case("error")
        }
        Err(_) => line.contains("panicked at"),
    };
    stderr.iter().filter(is_alarm).cloned().collect()
}

/// Whether a process of the group runs. Those that ended and wait for their parent do not count.
fn is_alive(group: Pid) -> bool {
    let stats =
        fs::read_dir("/proc").into_iter().flatten().flatten().map(|process| process.path().join("stat"));
    stats.filter_map(|stat| fs::read_to_string(stat).ok()).any(|stat| {
        // After the name in parentheses: state, parent, group (proc(5)).
        let mut words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, of) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        of == group.as_raw_nonzero().to_string() && !matches!(state, "Z" | "X")
    })
}

fn parse_addresses(text: &str) -> Result<Addresses> {
    let json: Value = serde_json::from_str(text)?;
    let address =
        |value: &Value| -> Result<SocketAddr> { Ok(value.as_str().context("an address")?.parse()?) };
    let mut addresses = Addresses {
        admin: json.get("admin").filter(|admin| !admin.is_null()).map(address).transpose()?,
        socket: json.get("socket").and_then(Value::as_str).map(PathBuf::from),
        pid: json.get("pid").and_then(Value::as_u64).context("pid")?,
        ..Addresses::default()
    };
    for listener in json.get("listeners").and_then(Value::as_array).context("listeners")? {
        let protocol = listener.get("protocol").and_then(Value::as_str).context("protocol")?;
        addresses
            .listeners
            .push((protocol.to_owned(), address(listener.get("address").context("address")?)?));
    }
    Ok(addresses)
}

fn metric_in(text: &str, series: &str) -> Option<f64> {
    let mut sum = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        if name == series || name.split('{').next() == Some(series) {
            sum = Some(sum.unwrap_or(0.0) + value.parse::<f64>().ok()?);
        }
    }
    sum
}

/// What `look` finds, asked again and again. None when it finds nothing within [`PATIENCE`].
///
/// # Errors
/// Those of `look`.
pub fn look_until<T>(look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    look_for(PATIENCE, look)
}

#[expect(
    clippy::disallowed_methods,
    reason = "bounds a wait for another process, which no argument can tell"
)]
fn look_for<T>(patience: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if begun.elapsed() > patience {
            return Ok(None);
        }
        thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests;
