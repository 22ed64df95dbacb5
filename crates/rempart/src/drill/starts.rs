//! Drills about starting: alone with what is on disk (D8), and when no edge can start at all (D34).
//!
//! Read next: [`super::poison`] for each way in which a generation can be broken.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use rustls::AlertDescription;

use super::Run;
use super::authority::Authority;
use super::dying::{Watched, settle};
use super::load::{Load, Target, alert, in_words, wait_until};
use super::node::{NodeText, PATIENCE, answering, signal};
use super::origin::Origin;
use super::report::Outcome;

/// Requests a second over TLS.
const RATE: u64 = 50;

/// D8: a start with nothing but the disk, of which the newest part is broken.
pub(super) fn alone(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("node", &NodeText::default())?;
    folder.zone("a", &answering("a", "one"))?;
    let node = folder.start()?;
    folder.zone("a", &answering("a", "two"))?;
    let (is_taken, said) = node.publish(&[])?;
    ensure!(is_taken, "the second change should pass: {said}");
    outcome.check("the node ends cleanly", node.stop()?, "");
    fs::write(folder.newest_generation()?, "damaged")?;
    folder.zone("a", "name = ")?;
    folder.write("rempart.toml", &{
        let mut file = fs::read(folder.at("rempart.toml"))?;
        file.extend_from_slice(b"\n# A comment, so that the node file is another one.\n");
        file
    })?;
    let node = folder.start()?;
    let answer = node.target("a.example")?.ask("/", "");
    let serves = answer.as_ref().is_ok_and(|(status, body)| *status == 200 && body == "one");
    outcome.check("it serves the last state that is whole", serves, in_words(&answer));
    let took = node.started_in;
    outcome.figure("started_in_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    outcome.check_time("serving from disk", took, Duration::from_secs(2));
    // It has read the same generations.
    node.wait_for(0, "spare_ready")?;
    for event in ["kept_generation_unusable", "started_from_kept_generation"] {
        node.wait_for(0, event)?;
        let told = node.told(0, event).len();
        outcome.check(&format!("the event {event} tells it once"), told == 1, told);
    }
    let status = node.status()?;
    outcome.check("status tells it", status["started_from_kept_generation"] == true, &status["snapshot"]);
    let load = Load::expecting(&node.target("a.example")?, 4 * RATE, &[(200, "one")])?;
    load.wait_for(2 * RATE);
    outcome.add_unharmed("then no request fails", load.end());
    // Mended files are taken.
    folder.zone("a", &answering("a", "three"))?;
    let (is_taken, said) = node.publish(&[])?;
    outcome.check("mended files are taken", is_taken, said);
    Ok(())
}

/// D34: no edge can start.
pub(super) fn no_edge(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let authority = Authority::make()?;
    let leaf = authority.leaf(&["a.example", "b.example"])?;
    let origin = Origin::start("from the origin", Some(leaf.server()?))?;
    let text = NodeText { node: "spare = false\ndrain_ms = 500\n", has_tls: true, ..NodeText::default() };
    let folder = run.folder("node", &text)?;
    folder.write("certs/leaf.pem", leaf.certificate.as_bytes())?;
    folder.write("certs/leaf.key", leaf.key.as_bytes())?;
    folder.write("certs/ca.pem", authority.pem.as_bytes())?;
    for (name, passes) in [("a", true), ("b", false)] {
        folder.zone(
            name,
            &format!(
                "name = {name:?}\nhostnames = [\"{name}.example\"]\npass_through = \
                {passes}\n[tls]\ncertificate = \
                 \"../certs/leaf.pem\"\nprivate_key = \"../certs/leaf.key\"\n[[pool]]\nname = \
                 \"app\"\norigins = \
                 [{{ url = \"https://{}\" }}]\n[pool.tls]\nca = \"../certs/ca.pem\"\nsni = \"a.example\"\n",
                origin.address()
            ),
        )?;
    }
    let node = folder.start()?;
    let table = folder.at("data/splice.table");
    let is_there = wait_until(PATIENCE, || table.exists());
    ensure!(is_there, "the table for the last resort is not written");
    let client = authority.client()?;
    let target =
        |host: &str| -> Result<Target> { Ok(Target::secured(node.address("https")?, host, &client)) };
    let agreed = target("a.example")?;
    let load = Load::expecting(&agreed, RATE, &[(200, "from the origin")])?;
    load.wait_for(RATE);
    let newest = folder.newest_generation()?;
    let whole = fs::read(&newest)?;
    fs::write(&newest, "damaged")?;
    let (mark, edge) = (node.mark(), Watched::open(node.edge()?)?);
    let death = edge.kill()?;
    let begins = node.wait_for(mark, "pass_through_begins")?;
    let took = begins.at.saturating_duration_since(death.from);
    outcome.figure("passed_through_after_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    let through = agreed.ask("/", "");
    let reaches = through.as_ref().is_ok_and(|(_, body)| body == "from the origin");
    outcome.check("a zone that agreed reaches its origin", reaches, in_words(&through));
    let other = target("b.example")?.ask("/", "");
    let told = other.as_ref().err().and_then(alert);
    let is_told = told == Some(AlertDescription::UnrecognisedName);
    outcome.check("a zone that did not agree is refused by an alert of TLS", is_told, in_words(&other));
    let plain = node.target("a.example")?.ask("/", "");
    let is_told = plain.as_ref().is_ok_and(|(status, _)| *status == 503);
    outcome.check("without TLS the answer is a plain 503", is_told, in_words(&plain));
    load.wait_for(RATE);
    fs::write(&newest, whole)?;
    signal(node.pid(), Signal::HUP)?;
    node.wait_for(mark, "pass_through_ends").context("the edge takes over again")?;
    // Connections that the last resort has taken are its own until they end.
    let other = target("b.example")?;
    let is_back = wait_until(PATIENCE, || other.ask("/", "").is_ok_and(|(status, _)| status == 200));
    outcome.check("once an edge starts it serves all zones", is_back, is_back);
    load.wait_for(RATE);
    settle(outcome, "visitors of the zone that agreed", load, &[death]);
    Ok(())
}
