//! Private keys are named by path and never kept: not in a bundle, a generation, a candidate's copy, or
//! anything else that the node writes or hands from process to process.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use testkit::authority::{Authority, Leaf};
use testkit::node::{Node, NodeSpec};

use super::hand_over::{pid_of, signal};
use super::start;

/// A key as it could be found again: the bytes that nobody else may have, and the lines that stand for them.
struct Traces {
    secret: Vec<u8>,
    lines: Vec<String>,
}

impl Traces {
    fn of(leaf: &Leaf) -> Result<Self> {
        let der = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).context("a key")?;
        // PKCS #8 of a P-256 key has the 32 bytes of the secret behind 36 of what every such key has (RFC
        // 5958, RFC 5915).
        let secret = der.secret_der().get(36..68).context("a key of P-256")?.to_vec();
        let lines: Vec<String> =
            leaf.key_pem.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned).collect();
        ensure!(lines.len() >= 2, "a key of several lines");
        Ok(Self { secret, lines })
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        let hex: String = self.secret.iter().map(|byte| format!("{byte:02x}")).collect();
        // The first line is alike for all such keys.
        has(&self.secret) || has(hex.as_bytes()) || self.lines.iter().skip(1).any(|line| has(line.as_bytes()))
    }
}

/// The content of every file below a folder, with its path.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let Ok(kind) = fs::symlink_metadata(&path).map(|metadata| metadata.file_type()) else { continue };
            if kind.is_dir() {
                folders.push(path);
            } else if !kind.is_socket()
                && let Ok(bytes) = fs::read(&path)
            {
                found.push((path.display().to_string(), bytes));
            }
        }
    }
    Ok(())
}

/// The content of every file without a name that the node's processes hand each other.
fn memory_files(node: &Node, found: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let pid = node.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    for pid in children.split_whitespace().chain([pid.to_string().as_str()]) {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let path = descriptor.path();
            let is_memory = fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:"));
            if is_memory && let Ok(bytes) = fs::read(&path) {
                found.push((path.display().to_string(), bytes));
            }
        }
    }
    Ok(())
}

/// Looks everywhere; the certificate must be found among it, or the search would prove nothing.
fn search(node: &Node, when: &str, keys: &[Traces], certificate_line: &str) -> Result<()> {
    let mut found = Vec::new();
    files(&node.folder().path().join("data"), &mut found)?;
    memory_files(node, &mut found)?;
    for line in node.stderr_lines() {
        found.push(("an event".to_owned(), line.into_bytes()));
    }
    let shows =
        |bytes: &[u8]| bytes.windows(certificate_line.len()).any(|it| it == certificate_line.as_bytes());
    let generations = found.iter().filter(|(path, bytes)| path.contains("/generations/") && shows(bytes));
    ensure!(generations.count() > 0, "{when}: no generation has the certificate");
    for (place, bytes) in &found {
        ensure!(!keys.iter().any(|key| key.is_in(bytes)), "{when}: {place} has a private key");
    }
    Ok(())
}

fn zone(name: &str, key: &str, text: &str) -> String {
    format!(
        "name = {name:?}\nhostnames = [\"{name}.example\"]\n[tls]\ncertificate = \"../certs/{name}.pem\"\n\
         private_key = \"../certs/{key}\"\n[[route]]\nanswer = {{ status = 200, body = {text:?} }}\n"
    )
}

#[test]
fn no_private_key_is_in_anything_that_the_node_keeps_or_hands_on() -> Result<()> {
    let authority = Authority::new()?;
    let (first, second) = (authority.leaf(&["a.example"])?, authority.leaf(&["b.example"])?);
    let keys = [Traces::of(&first)?, Traces::of(&second)?];
    let line = first.certificate_pem.lines().nth(3).context("a certificate of several lines")?.to_owned();
    // One file may hold chain and key: the file is named as a certificate then, and read into the bundle.
    let both = format!("{}{}", second.certificate_pem, second.key_pem);
    let spec = NodeSpec::new()
        .node_section("threads = 2\nspare = true")
        .listener("https")
        .file("certs/a.pem", first.certificate_pem.as_bytes())
        .file("certs/a.key", first.key_pem.as_bytes())
        .file("certs/b.pem", both.as_bytes())
        .zone("a", zone("a", "a.key", "one"))
        .zone("b", zone("b", "b.pem", "one"));
    let node = start(&spec)?;
    node.wait_for_event(|event| event["event"] == "spare_ready")?;
    ensure!(keys[1].is_in(both.as_bytes()) && !keys[0].is_in(both.as_bytes()), "a key is found where it is");
    search(&node, "after the start", &keys, &line)?;

    node.write_zone("a", &zone("a", "a.key", "two"))?;
    ensure!(node.publish()?.status.success(), "the change is in order");
    search(&node, "after a publish", &keys, &line)?;

    signal(pid_of(&node, "edge_pid"), Signal::ABORT);
    node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == 1)?;
    node.wait_for_events("spare_ready", 2)?;
    search(&node, "after a death", &keys, &line)?;

    node.signal(Signal::USR2)?;
    node.wait_for_events("resumed", 1)?;
    search(&node, "after an upgrade", &keys, &line)
}
