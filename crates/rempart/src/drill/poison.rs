//! Drills with bytes that are broken: zone files, certificates, kept generations (D1); good and bad in turn
//! (D2).
//!
//! Each way to break a file is one of [`Poison`]; what is judged is that the node serves on as before and
//! names
//! the file. Read next: [`super::starts`].

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Run;
use super::authority::Authority;
use super::load::{Load, in_words};
use super::node::{Node, NodeText, answering, passing};
use super::origin::Origin;
use super::report::Outcome;
use crate::clock;

/// Requests a second beside it.
const RATE: u64 = 100;

/// How soon an event must name what is broken.
const SOON: Duration = Duration::from_secs(1);

/// Between two files: a node tells of one event name at most ten times a second.
const PACE: Duration = Duration::from_millis(125);

/// Levels of what is nested without end.
const LEVELS: usize = 100_000;

/// Broken bytes and how they are broken.
struct Poison {
    how: &'static str,
    bytes: Vec<u8>,
}

fn poison(how: &'static str, bytes: impl Into<Vec<u8>>) -> Poison {
    Poison { how, bytes: bytes.into() }
}

fn cut(whole: &[u8]) -> Vec<u8> {
    // Two thirds, so that it ends within something.
    whole.get(..whole.len() * 2 / 3).unwrap_or_default().to_vec()
}

/// Flips a bit in the byte at a place.
fn flipped(whole: &[u8], place: usize, bit: u8) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= bit;
    }
    bytes
}

fn zone_files(whole: &str) -> Vec<Poison> {
    let names = whole.find("hostnames").unwrap_or(0);
    let many: Vec<String> =
        (0..=zone::limits::HOSTNAMES_MAX).map(|number| format!("\"h{number}.example\"")).collect();
    let oversized = format!("{whole}\n#{}", "x".repeat(zone::limits::SPEC_BYTES_MAX));
    vec![
        poison("cut", cut(whole.as_bytes())),
        poison("empty", ""),
        poison("zeros", vec![0; 4096]),
        poison("one bit flipped", flipped(whole.as_bytes(), names, 1)),
        poison("nested without end", format!("x = {}", "[".repeat(LEVELS))),
        poison("nested in its names", format!("{} = 1\n", vec!["a"; LEVELS].join("."))),
        poison("twice", whole.repeat(2)),
        poison("ten times", whole.repeat(10)),
        poison("of an unknown version", format!("version = 99\n{whole}")),
        poison("a byte over its limit", oversized),
        poison("a name over its limit", format!("name = \"a\"\nhostnames = [{}]\n", many.join(", "))),
        poison("no text", vec![0xff; 512]),
    ]
}

fn certificates(whole: &str, other_key: &str) -> Vec<Poison> {
    vec![
        poison("cut", cut(whole.as_bytes())),
        poison("empty", ""),
        poison("one bit flipped", flipped(whole.as_bytes(), whole.len() / 2, 0x80)),
        poison("nested without end", "-----BEGIN CERTIFICATE-----\n".repeat(10_000)),
        poison("of an unknown kind", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        poison("a certificate over its limit", whole.repeat(zone::limits::CERTIFICATES_MAX + 1)),
        poison("a byte over its limit", vec![b'\n'; zone::limits::FILE_BYTES_MAX + 1]),
        poison("a key in its place", other_key),
    ]
}

fn bundles(whole: &[u8]) -> Vec<Poison> {
    vec![
        poison("cut", cut(whole)),
        poison("empty", ""),
        poison("zeros", vec![0; whole.len()]),
        poison("one bit flipped", flipped(whole, whole.len() / 2, 1)),
        poison("one bit of its hash flipped", flipped(whole, 30, 1)),
        poison("twice", whole.repeat(2)),
        poison("ten times", whole.repeat(10)),
        poison("of an unknown version", flipped(whole, 11, 0x40)),
    ]
}

/// D1.
pub(super) fn poisoned(run: &Run, outcome: &mut Outcome) -> Result<()> {
    published(run, outcome)?;
    kept(run, outcome)
}

/// Zone files and certificates, under load.
fn published(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let authority = Authority::make()?;
    let (leaf, other) = (authority.leaf(&["a.example"])?, authority.leaf(&["b.example"])?);
    let folder = run.folder("node", &NodeText { has_tls: true, ..NodeText::default() })?;
    let zone = answering("a", "one").replace(
        "[[route]]",
        "[tls]\ncertificate = \"../certs/a.pem\"\nprivate_key = \"../certs/a.key\"\n[[route]]",
    );
    folder.write("certs/a.pem", leaf.certificate.as_bytes())?;
    folder.write("certs/a.key", leaf.key.as_bytes())?;
    folder.zone("a", &zone)?;
    folder.zone("b", &answering("b", "two"))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (edge, serves) = (node.edge()?, node.status()?["snapshot"].clone());
    let mut slowest = Duration::ZERO;
    let load = Load::begin(&node.target("a.example")?, RATE)?;
    let files = [
        ("zones/a.toml", "a.toml", zone.as_bytes().to_vec(), zone_files(&zone)),
        (
            "certs/a.pem",
            "a.pem",
            leaf.certificate.clone().into_bytes(),
            certificates(&leaf.certificate, &other.key),
        ),
    ];
    let mut done = 0;
    for (path, name, whole, poisons) in files {
        for poison in poisons {
            folder.write(path, &poison.bytes)?;
            slowest = slowest.max(refused(&node, name, poison.how, outcome)?);
            done += 1;
        }
        folder.write(path, &whole)?;
    }
    // The same zone in a second file.
    folder.zone("c", &zone)?;
    slowest = slowest.max(refused(&node, "c.toml", "a duplicate", outcome)?);
    folder.remove_zone("c")?;
    let (is_taken, said) = node.publish(&[])?;
    outcome.check("whole files are taken again", is_taken, said);
    outcome.figure("files_poisoned", done + 1);
    outcome.figure("slowest_event_ms", u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX));
    outcome.check_time("each event comes soon", slowest, SOON);
    outcome.add_unharmed("poisoned files: no request fails", load.end());
    let status = node.status()?;
    let stays = status["edge_pid"] == edge && status["snapshot"] == serves;
    outcome.check("no process ended, and the version before is live", stays, &status["snapshot"]);
    outcome.check("the node ends cleanly", node.stop()?, "");
    Ok(())
}

/// Publishes files of which one is broken; gives how long its event took.
fn refused(node: &Node, file: &str, how: &str, outcome: &mut Outcome) -> Result<Duration> {
    thread::sleep(PACE);
    let (mark, begun) = (node.mark(), clock::now());
    let (is_taken, said) = node.publish(&[])?;
    let is_named = |text: &str| text.contains(file);
    outcome.check(
        &format!("{file} {how}: refused, and the command names it"),
        !is_taken && is_named(&said),
        {
            let first = said.lines().next().unwrap_or_default();
            first.chars().take(160).collect::<String>()
        },
    );
    let mut naming = Vec::new();
    super::load::wait_until(SOON * 2, || {
        naming = node.since(mark).into_iter().filter(|told| is_named(&told.event.to_string())).collect();
        !naming.is_empty()
    });
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for told in &naming {
        *counts.entry(told.event["event"].to_string()).or_default() += 1;
    }
    let is_one = !counts.is_empty() && counts.values().all(|count| *count == 1);
    outcome.check(&format!("{file} {how}: one event names it"), is_one, format!("{counts:?}"));
    Ok(naming.first().map_or(SOON * 2, |told| told.at.saturating_duration_since(begun)))
}

/// Kept generations, at starts.
fn kept(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let text = NodeText { node: "spare = false\n", ..NodeText::default() };
    let folder = run.folder("kept", &text)?;
    folder.zone("a", &answering("a", "one"))?;
    let node = folder.start()?;
    folder.zone("a", &answering("a", "two"))?;
    let (is_taken, said) = node.publish(&[])?;
    anyhow::ensure!(is_taken, "the second change should pass: {said}");
    node.stop()?;
    folder.zone("a", "broken")?;
    let newest = folder.newest_generation()?;
    let whole = fs::read(&newest)?;
    for poison in bundles(&whole) {
        fs::write(&newest, &poison.bytes)?;
        let node = folder.start().with_context(|| format!("generation {}", poison.how))?;
        let answer = node.target("a.example")?.ask("/", "");
        let serves = answer.as_ref().is_ok_and(|(status, body)| *status == 200 && body == "one");
        let what = format!("generation {}: the one before serves", poison.how);
        outcome.check(&what, serves, in_words(&answer));
        node.wait_for(0, "kept_generation_unusable")?;
        let told = node.told(0, "kept_generation_unusable");
        let name = newest.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_named = told.len() == 1 && told.iter().all(|told| told.event.to_string().contains(&name));
        let found = told.iter().map(|told| told.event["cause"].to_string()).collect::<Vec<_>>().join(", ");
        outcome.check(&format!("generation {}: one event names it", poison.how), is_named, found);
        node.stop()?;
    }
    fs::write(&newest, &whole)?;
    Ok(())
}

/// D2: good and bad in turn.
pub(super) fn alternating(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    let publish =
        "[publish]\ncompare_ms = 0\ncanary_percent = 50\ncanary_ms = 500\nsoak_ms = 0\nrequests_min = 10\n";
    let folder = run.folder("node", &NodeText { more: publish.to_owned(), ..NodeText::default() })?;
    let good = passing("a", &["a.example"], origin.address());
    folder.zone("a", &good)?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    // A port of the system's own where nothing listens: every answer would be a 502.
    let bad = passing("a", &["a.example"], ([127, 0, 0, 1], 1).into());
    let edge = node.edge()?;
    let load = Load::begin(&node.target("a.example")?, RATE)?;
    load.wait_for(RATE);
    let until = clock::now() + run.lasting;
    let (mut publishes, mut bad_taken, mut numbers) = (0_u64, 0_u64, Vec::new());
    while clock::now() < until {
        let next = clock::now() + Duration::from_secs(1);
        let is_bad = publishes.is_multiple_of(2);
        folder.zone("a", if is_bad { &bad } else { &good })?;
        let (is_taken, _) = node.publish(&[])?;
        bad_taken += u64::from(is_bad && is_taken);
        publishes += 1;
        numbers.push(node.status()?["snapshot"].as_u64().unwrap_or(0));
        thread::sleep(next.saturating_duration_since(clock::now()));
    }
    numbers.insert(0, 1);
    let changes = numbers.windows(2).filter(|pair| pair.first() != pair.last()).count();
    outcome.figure("publishes", publishes);
    outcome.figure("live_version_changes", changes);
    outcome.check("the live version changes at most once", changes <= 1, changes);
    outcome.check("the bad one is never taken", bad_taken == 0, bad_taken);
    let status = node.status()?;
    let rejected = status["rejected"].as_array().map_or(0, Vec::len);
    outcome.check("the bad one is remembered, once", rejected == 1, rejected);
    outcome.check("no process ended", status["edge_pid"] == edge, edge);
    let (refused, failed) = outcome.add(load.end());
    outcome.figure("failed_at_the_candidate", failed);
    outcome.check("no connection is refused", refused == 0, refused);
    // Half of the visitors for the half second that the candidate served, with room for a busy machine.
    let found = format!("{failed} of at most {RATE}");
    outcome.check("only the candidate's share saw it, and once", failed as u64 <= RATE, found);
    Ok(())
}
