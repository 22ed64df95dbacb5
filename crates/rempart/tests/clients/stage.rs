//! What every script finds: a node with cleartext and TLS listeners in both address families, one zone, and
//! an origin behind it.
//!
//! The scripted origin answers by path, see [`answer`]; where a script needs a real server as origin (gRPC,
//! WebSocket), that is a second script. Called by [`super`]. Read next: [`testkit::node`].

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use testkit::authority::Authority;
use testkit::clients::{checkout, python};
use testkit::digest::sha256_hex;
use testkit::node::{Node, NodeSpec};
use testkit::origin::{Answer, OriginSpec, Request, ScriptedOrigin};

/// The zone's host name. It ends in `localhost`, which browsers and curl take to the loopback by themselves.
const HOST: &str = "clients.localhost";

/// The longest a script may run. It bounds a hang only: each script ends by itself in a fraction of it.
const SCRIPT_TIME: Duration = Duration::from_secs(150);

/// A node, what is before and behind it, and the Python that runs scripts.
pub(crate) struct Stage {
    python: PathBuf,
    scripts: PathBuf,
    node: Node,
    origin: Option<ScriptedOrigin>,
    _server: Option<Server>,
    facts: Value,
}

/// A script that serves as origin; ended on drop.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // One that ended by itself already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage {
    /// A stage with the scripted origin.
    pub(crate) fn new() -> Result<Stage> {
        let origin = OriginSpec::new().unrecorded().answering(answer)?;
        Stage::with(&origin.url(), "", None, Some(origin), Value::Null)
    }

    /// A stage with the scripted origin, and with lines of its own in the node file's `[node]`.
    pub(crate) fn draining(lines: &str) -> Result<Stage> {
        let origin = OriginSpec::new().unrecorded().answering(answer)?;
        Stage::with_node((lines, ""), &origin.url(), "", None, Some(origin), Value::Null)
    }

    /// A stage with the scripted origin, whose changes stay with a candidate that has half of the visitors.
    pub(crate) fn trying(lines: &str) -> Result<Stage> {
        let origin = OriginSpec::new().unrecorded().answering(answer)?;
        let publish = "[publish]\ncompare_ms = 0\ncanary_percent = 50\ncanary_ms = 600000\n";
        Stage::with_node((lines, publish), &origin.url(), "", None, Some(origin), Value::Null)
    }

    /// A stage with the scripted origin, in a zone that compresses and keeps answers.
    pub(crate) fn compressing() -> Result<Stage> {
        let origin = OriginSpec::new().unrecorded().answering(answer)?;
        let lines = "[compression]\nenabled = true\n[cache]\nenabled = true";
        Stage::with(&origin.url(), lines, None, Some(origin), Value::Null)
    }

    /// A stage with the scripted origin and a cache.
    pub(crate) fn storing() -> Result<Stage> {
        let origin = OriginSpec::new().unrecorded().answering(answer)?;
        Stage::with(&origin.url(), "\n[cache]\nenabled = true\n", None, Some(origin), Value::Null)
    }

    /// A stage whose origin is a script of its own: it prints one line of JSON with its `port` when it
    /// listens. `scheme` and `lines` are those of the zone's pool.
    pub(crate) fn before(script: &str, scheme: &str, lines: &str) -> Result<Stage> {
        let mut child = Command::new(python()?)
            .arg("-u")
            .arg(scripts().join(script))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {script}"))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let server = Server(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line).with_context(|| format!("{script} said {line:?}"))?;
        let port = said.get("port").and_then(Value::as_u64).context("the port of the origin")?;
        Stage::with(&format!("{scheme}://127.0.0.1:{port}"), lines, Some(server), None, said)
    }

    fn with(
        url: &str,
        pool: &str,
        server: Option<Server>,
        origin: Option<ScriptedOrigin>,
        said: Value,
    ) -> Result<Stage> {
        Stage::with_node(("", ""), url, pool, server, origin, said)
    }

    /// `lines` are those of `[node]`, `more` tables behind it.
    fn with_node(
        (lines, more): (&str, &str),
        url: &str,
        pool: &str,
        server: Option<Server>,
        origin: Option<ScriptedOrigin>,
        said: Value,
    ) -> Result<Stage> {
        let authority = Authority::new()?;
        let leaf = authority.leaf(&[HOST, "localhost", "127.0.0.1", "::1"])?;
        let zone = format!(
            "name = \"clients\"\nhostnames = [{HOST:?}, \"localhost\"]\n\n[tls]\n\
             certificate = \"../certs/a.pem\"\nprivate_key = \"../certs/a.key\"\n\n\
             [[pool]]\nname = \"app\"\norigins = [{{ url = {url:?} }}]\n{pool}\n"
        );
        let node = NodeSpec::new();
        let node = if lines.is_empty() { node } else { node.node_section(lines) };
        let spec = node
            .more(more)
            .listener_at("http", "127.0.0.1:0", "h2c = true")
            .listener("https")
            .listener_at("http", "[::1]:0", "h2c = true")
            .listener_at("https", "[::1]:0", "")
            .file("certs/a.pem", leaf.certificate_pem.clone())
            .file("certs/a.key", leaf.key_pem.clone())
            .file("ca.pem", authority.pem())
            .zone("clients", zone);
        let node = Node::start(env!("CARGO_BIN_EXE_rempart"), &spec)?;
        let ports: Vec<u16> = node.addresses().listeners.iter().map(|(_, address)| address.port()).collect();
        let [http, https, http_v6, https_v6] = ports.as_slice() else {
            bail!("four listeners, not {ports:?}")
        };
        let facts = json!({
            "host": HOST,
            "http": http,
            "https": https,
            "http_v6": http_v6,
            "https_v6": https_v6,
            "admin": node.addresses().admin.map(|admin| admin.port()),
            "pid": node.pid(),
            "ca": node.folder().path().join("ca.pem"),
            "certificate": node.folder().path().join("certs/a.pem"),
            "folder": node.folder().path(),
            "config": node.folder().path().join("rempart.toml"),
            "binary": env!("CARGO_BIN_EXE_rempart"),
            "origin": said,
        });
        Ok(Stage { python: python()?, scripts: scripts(), node, origin, _server: server, facts })
    }

    /// Runs a script and asserts that it, the node and the origin were content.
    pub(crate) fn play(self, script: &str) -> Result<()> {
        self.play_with(script, "")
    }

    /// As [`Stage::play`], with one word more for the script.
    pub(crate) fn play_with(self, script: &str, word: &str) -> Result<()> {
        self.run(script, word)?;
        self.node.finish_healthy()?;
        origin_is_content(self.origin.as_ref())
    }

    /// As [`Stage::play`], for a script that ends the node itself.
    pub(crate) fn play_to_its_end(mut self, script: &str) -> Result<()> {
        self.run(script, "")?;
        let status = self.node.wait()?;
        ensure!(status.success(), "the node ended with {status}");
        origin_is_content(self.origin.as_ref())
    }

    /// As [`Stage::play_to_its_end`], for a script that upgrades the node: none may fail, and no edge may
    /// keep sockets that another is to have. Exchanges without end are cut.
    pub(crate) fn play_upgrades(mut self, script: &str) -> Result<()> {
        self.run(script, "")?;
        let status = self.node.wait()?;
        ensure!(status.success(), "the node ended with {status}");
        let alarms = testkit::node::alarms(&self.node.stderr_lines());
        let unexpected: Vec<_> = alarms.iter().filter(|line| !line.contains("drain_cut_short")).collect();
        ensure!(unexpected.is_empty(), "{unexpected:#?}");
        Ok(())
    }

    /// As [`Stage::play`], for a script that puts a node of its own in the place of this one, and ends it.
    pub(crate) fn play_alone(self, script: &str) -> Result<()> {
        self.run(script, "")
    }

    /// As [`Stage::play`], for a script that kills processes of the node: that is told, and cuts requests.
    pub(crate) fn play_with_deaths(mut self, script: &str) -> Result<()> {
        self.run(script, "")?;
        self.node.terminate()?;
        let status = self.node.wait()?;
        ensure!(status.success(), "the node ended with {status}");
        Ok(())
    }

    fn run(&self, script: &str, word: &str) -> Result<()> {
        let mut child = Command::new(&self.python)
            .arg("-u")
            .arg(self.scripts.join(script))
            .arg(self.facts.to_string())
            .arg(word)
            .current_dir(self.node.folder().path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {script}"))?;
        let mut stdout = child.stdout.take().context("stdout is piped")?;
        let mut stderr = child.stderr.take().context("stderr is piped")?;
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            // What could be read is worth printing.
            let _ = stderr.read_to_end(&mut text);
            text
        });
        let (ended, end) = sync_channel(1);
        let output = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stdout.read_to_end(&mut text);
            // The receiver is gone when the script was given up.
            let _ = ended.send(());
            text
        });
        let is_late = end.recv_timeout(SCRIPT_TIME).is_err();
        if is_late {
            child.kill()?;
        }
        let status = child.wait()?;
        let mut said = String::new();
        for reader in [output, errors] {
            let text = reader.join().map_err(|_| anyhow::anyhow!("a reader of the script's output"))?;
            write!(said, "{}", String::from_utf8_lossy(&text))?;
        }
        println!("{said}");
        ensure!(!is_late, "{script} did not end within {SCRIPT_TIME:?}:\n{said}");
        if !status.success() {
            let events = self.node.stderr_lines().join("\n");
            bail!("{script} ended with {status}:\n{said}\nthe node's events:\n{events}");
        }
        Ok(())
    }
}

fn origin_is_content(origin: Option<&ScriptedOrigin>) -> Result<()> {
    let faults = origin.map(ScriptedOrigin::faults).unwrap_or_default();
    ensure!(faults.is_empty(), "the origin was sent: {faults:#?}");
    Ok(())
}

fn scripts() -> PathBuf {
    checkout().join("tests/clients")
}

/// What the scripted origin answers, by path.
///
/// | path | answer |
/// | --- | --- |
/// | `/bytes/N` | N bytes of pattern 1, whole or the one range asked for, with a strong validator |
/// | `/fresh/N` | as `/bytes/N`, to be kept for ten minutes |
/// | `/stale` | stale from the first, and 503 to who validates it |
/// | `/stream/N` | the same without a length |
/// | `/text/N`, `/text/chunked/N` | the same, as text, with a length or without |
/// | `/kept/N`, `/kept/chunked/N` | the same, fresh for a minute |
/// | `/echo` | JSON: method, target, fields, length and hash of the body, trailers |
/// | `/trailers` | a body with two trailer fields |
/// | `/gzip` | a body that came compressed |
/// | `/hints` | 103, then 200 |
/// | `/status/N` | that status, with a body where one may be |
/// | `/websocket` | an echo |
/// | `/page`, `/page/…` | a page with sub-resources that tells which protocols carried them |
/// | else | `hello` |
fn answer(request: &Request) -> Answer {
    let path = request.path();
    let number = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
    if let Some(length) = number("/bytes/") {
        return ranged(request, length);
    }
    if let Some(length) = number("/fresh/") {
        return ranged(request, length).field("Cache-Control", "max-age=600");
    }
    if let Some(length) = number("/stream/") {
        return Answer::new(200).pattern(1, 0, length).chunked();
    }
    for (prefix, control) in [("/text/", "no-store"), ("/kept/", "max-age=60")] {
        let text = |length| {
            let answer = Answer::new(200).pattern(1, 0, length).field("Content-Type", "text/plain");
            answer.field("Cache-Control", control)
        };
        if let Some(length) = number(prefix) {
            return text(length);
        }
        if let Some(length) = number(&format!("{prefix}chunked/")) {
            return text(length).chunked();
        }
    }
    if let Some(status) = number("/status/") {
        return Answer::ok("status\n").status(u16::try_from(status).unwrap_or(500));
    }
    match path {
        "/echo" => echo(request),
        "/stale" if request.fields.has("if-none-match") => Answer::new(503),
        "/stale" => Answer::ok("stale\n")
            .field("Cache-Control", "max-age=60, stale-if-error=600")
            .field("Age", "100")
            .field("ETag", "\"stale\""),
        "/trailers" => Answer::ok("body\n")
            .field("Trailer", "x-sum, x-count")
            .trailer("x-sum", &sha256_hex(b"body\n"))
            .trailer("x-count", "5"),
        "/gzip" => Answer::ok(GZIP_HELLO.to_vec())
            .field("Content-Encoding", "gzip")
            .field("Content-Type", "text/plain"),
        "/hints" => Answer::ok("hints\n").informational(103, &[("Link", "</a.css>; rel=preload")]),
        "/websocket" => Answer::websocket(),
        "/page" => Answer::ok(PAGE).field("Content-Type", "text/html"),
        "/page/style.css" => Answer::ok("body { color: #123456 }").field("Content-Type", "text/css"),
        "/page/script.js" => Answer::ok("window.loaded = true;").field("Content-Type", "text/javascript"),
        "/page/data.json" => Answer::ok("{\"ok\": true}").field("Content-Type", "application/json"),
        "/favicon.ico" => Answer::new(404),
        _ => Answer::ok("hello\n").field("Content-Type", "text/plain"),
    }
}

fn ranged(request: &Request, length: u64) -> Answer {
    let whole = || {
        Answer::new(200).pattern(1, 0, length).field("ETag", "\"pattern\"").field("Accept-Ranges", "bytes")
    };
    let Some(range) = request.fields.first("range").and_then(|range| range.strip_prefix("bytes=")) else {
        return whole();
    };
    let Some((first, last)) = range.split_once('-') else { return whole() };
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => (first, last.min(length.saturating_sub(1))),
        (Ok(first), Err(_)) => (first, length.saturating_sub(1)),
        (Err(_), Ok(count)) => (length.saturating_sub(count), length.saturating_sub(1)),
        (Err(_), Err(_)) => return whole(),
    };
    if first > last || first >= length {
        return Answer::new(416).field("Content-Range", format!("bytes */{length}"));
    }
    Answer::new(206)
        .pattern(1, first, last + 1 - first)
        .field("Content-Range", format!("bytes {first}-{last}/{length}"))
}

fn echo(request: &Request) -> Answer {
    let pairs = |fields: &testkit::fields::Fields| -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let said = json!({
        "method": request.method,
        "target": request.target,
        "fields": pairs(&request.fields),
        "length": request.body_length,
        "sha256": request.body_sha256,
        "trailers": pairs(&request.trailers),
    });
    Answer::ok(said.to_string()).field("Content-Type", "application/json")
}

/// `hello` and a line feed, by gzip, without a name or time.
const GZIP_HELLO: &[u8] = &[
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xe7, 2, 0, 0x20, 0x30, 0x3a, 0x36, 6,
    0, 0, 0,
];

/// A page that loads three things and then writes into itself by which protocol everything came.
const PAGE: &str = r#"<!doctype html><html><head><title>waiting</title>
<link rel="stylesheet" href="/page/style.css"><script src="/page/script.js"></script></head>
<body><pre id="told"></pre><script>
(async () => {
  const answer = await (await fetch("/page/data.json")).json();
  const upload = await (await fetch("/echo", { method: "POST", body: "x".repeat(100000) })).json();
  const entries = performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource"));
  const protocols = {};
  for (const entry of entries) protocols[new URL(entry.name).pathname] = entry.nextHopProtocol;
  const color = getComputedStyle(document.body).color;
  document.getElementById("told").textContent = "TOLD" + JSON.stringify(
    { ok: answer.ok, length: upload.length, loaded: window.loaded === true, color, protocols }) + "END";
})();
</script></body></html>"#;
