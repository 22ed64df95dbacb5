//! What the tests here share: nodes with one zone, zones with certificates, small assertions.
//!
//! It decides nothing about what must be so. Called by every module beside it; read next: [`super::http1`].

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use testkit::authority::{Authority, Greeting, Leaf};
use testkit::fields::Fields;
use testkit::folder::Folder;
use testkit::node::{Node, NodeSpec, zone_toml};
use testkit::origin::{Answer, OriginSpec, Request, ScriptedOrigin};
use testkit::visitor::{Http2Visitor, Response, Visitor};

/// The host name of the zone that most tests have.
pub(crate) const HOST: &str = "a.example";

/// Starts a node of the binary under test.
pub(crate) fn start(spec: &NodeSpec) -> Result<Node> {
    Node::start(env!("CARGO_BIN_EXE_rempart"), spec)
}

/// A node with one cleartext listener, taking HTTP/2 by prior knowledge too, and one zone before an origin.
pub(crate) fn before(origin: &ScriptedOrigin) -> Result<Node> {
    with_zone(&zone(origin, ""))
}

/// As [`before`], with the zone's file given whole.
pub(crate) fn with_zone(toml: &str) -> Result<Node> {
    start(&cleartext().zone("a", toml))
}

/// A cleartext listener that takes HTTP/2 by prior knowledge too.
pub(crate) fn cleartext() -> NodeSpec {
    NodeSpec::new().listener_at("http", "127.0.0.1:0", "h2c = true")
}

/// The file of the zone [`HOST`] before one origin, with more lines for its pool and after it.
pub(crate) fn zone(origin: &ScriptedOrigin, lines: &str) -> String {
    format!("{}{lines}\n", zone_toml("a", &[HOST], &[&origin.url()]))
}

/// A zone whose first lines are these, before one pool of these origins with more lines.
pub(crate) fn zone_with(first: &str, origins: &[&str], lines: &str) -> String {
    let toml = zone_toml("a", &[HOST], origins);
    let (head, pool) = toml.split_once("[[pool]]").unwrap_or((&toml, ""));
    format!("{head}{first}\n[[pool]]{pool}{lines}\n")
}

/// An origin that answers everything with 200 and this body.
pub(crate) fn saying(body: &'static str) -> Result<ScriptedOrigin> {
    OriginSpec::new().answering(move |_| Answer::ok(body))
}

/// A visitor of the node's cleartext listener.
pub(crate) fn visitor(node: &Node) -> Result<Visitor> {
    Visitor::tcp(node.address("http")?)
}

/// An HTTP/2 visitor of the node's cleartext listener.
pub(crate) fn http2_visitor(node: &Node) -> Result<Http2Visitor> {
    Http2Visitor::cleartext(node.address("http")?)
}

/// One GET on a connection of its own.
pub(crate) fn fetch(node: &Node, host: &str, target: &str) -> Result<Response> {
    visitor(node)?.fetch(host, target)
}

/// The one request that an origin saw.
pub(crate) fn only_request(origin: &ScriptedOrigin) -> Result<Request> {
    let mut requests = origin.requests();
    ensure!(requests.len() == 1, "the origin saw {} requests", requests.len());
    requests.pop().context("a request")
}

/// The word of an outcome that the node's own page names, from its text form: `502 word`.
pub(crate) fn word(response: &Response) -> String {
    response.text().lines().next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned()
}

/// Resident memory of the edge process in bytes, as its metrics say.
pub(crate) fn resident_bytes(node: &Node) -> Result<f64> {
    node.metric("rempart_process_resident_memory_bytes")?.context("the metric of resident memory")
}

/// Field pairs as [`Fields`].
pub(crate) fn fields(pairs: &[(&str, &str)]) -> Fields {
    Fields::of(pairs)
}

/// Files and lines for zones with certificates of one authority.
pub(crate) struct Certificates {
    /// The authority that signed them all.
    pub(crate) authority: Authority,
}

impl Certificates {
    /// With a new authority.
    pub(crate) fn new() -> Result<Certificates> {
        Ok(Certificates { authority: Authority::new()? })
    }

    /// Adds a zone `name` for one host name, its certificate in `certs/NAME.pem`, before an origin; `tls` are
    /// more lines of its `[tls]`.
    pub(crate) fn zone(
        &self,
        spec: NodeSpec,
        name: &str,
        host: &str,
        tls: &str,
        origin: &ScriptedOrigin,
    ) -> Result<NodeSpec> {
        let leaf = self.authority.leaf(&[host])?;
        Ok(with_leaf(spec, name, &leaf).zone(name, tls_zone(name, host, tls, &origin.url())))
    }

    /// A visitor's TLS settings that trust the authority; `alpn` as `h2` or `http/1.1`.
    pub(crate) fn trusting(&self, alpn: &[&'static str]) -> Result<Arc<ClientConfig>> {
        self.authority.client_config(Greeting { alpn, ..Greeting::default() })
    }
}

/// Adds a certificate and its key as `certs/NAME.pem` and `certs/NAME.key`.
pub(crate) fn with_leaf(spec: NodeSpec, name: &str, leaf: &Leaf) -> NodeSpec {
    spec.file(format!("certs/{name}.pem"), leaf.certificate_pem.as_bytes())
        .file(format!("certs/{name}.key"), leaf.key_pem.as_bytes())
}

/// The file of a zone with a certificate.
pub(crate) fn tls_zone(name: &str, host: &str, tls: &str, origin: &str) -> String {
    format!(
        "name = {name:?}\nhostnames = [{host:?}]\n\n[tls]\ncertificate = \"../certs/{name}.pem\"\n\
         private_key = \"../certs/{name}.key\"\n{tls}\n\n[[pool]]\nname = \"app\"\n\
         origins = [{{ url = {origin:?} }}]\n"
    )
}

/// A node file for [`Served`]: one cleartext listener with these lines, the log with those.
pub(crate) fn node_file(listener: &str, log: &str) -> String {
    format!(
        "[node]\ndata_dir = \"data\"\nthreads = 1\nspare = false\n\n[publish]\nsoak_ms = 0\n\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\n{listener}\n\
         [log]\naccess = \"stdout\"\n{log}"
    )
}

/// A node over a folder that outlives it, for tests that start one again. Killed on drop.
pub(crate) struct Served {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// Standard error until it was ready.
    told: String,
    folder: std::path::PathBuf,
}

impl Served {
    /// Starts a node with the `rempart.toml` of the folder and waits until it is ready.
    pub(crate) fn start(folder: &Folder) -> Result<Served> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rempart"))
            .args(["serve", "--config"])
            .arg(folder.path().join("rempart.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let stderr = BufReader::new(child.stderr.take().context("stderr is piped")?);
        let folder = folder.path().to_owned();
        let mut served = Served { child, stdout, stderr, told: String::new(), folder };
        while !served.said("ready") || !served.folder.join("data/addresses.json").exists() {
            let read = served.stderr.read_line(&mut served.told)?;
            ensure!(read > 0, "the node ended before it was ready:\n{}", served.told);
        }
        Ok(served)
    }

    /// Whether an event of this name came before it was ready.
    pub(crate) fn said(&self, event: &str) -> bool {
        self.told.contains(&format!("\"event\":\"{event}\""))
    }

    /// A visitor of its listener.
    pub(crate) fn visitor(&self) -> Result<Visitor> {
        let text = std::fs::read_to_string(self.folder.join("data/addresses.json"))?;
        let addresses: serde_json::Value = serde_json::from_str(&text)?;
        Visitor::tcp(addresses["listeners"][0]["address"].as_str().context("an address")?.parse()?)
    }

    /// The next line of its standard output, which is its access log.
    pub(crate) fn next_output(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line)
    }

    /// Ends it and checks that it ended well.
    pub(crate) fn finish(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("a process id")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the node ended with {status}");
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Ended already where a test came to its end. By SIGTERM, since an edge outlives its supervisor.
        if let Ok(None) = self.child.try_wait()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
