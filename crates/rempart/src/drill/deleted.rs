//! Drills in which what publishes is gone (D9), and in which orders say nothing or too much (D26).
//!
//! A node needs its data folder, and nothing else. Read next: [`crate::recovering`], which makes zone files
//! of what it keeps.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Run;
use super::load::{Load, in_words};
use super::node::{Node, NodeFolder, NodeText, answering, command, passing};
use super::origin::Origin;
use super::report::Outcome;

/// Requests a second beside it.
const RATE: u64 = 100;

/// How long a restore may take.
const RESTORE: Duration = Duration::from_secs(60);

/// D9: the zones folder and everything that wrote it are gone.
pub(super) fn control_gone(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    let folder = run.folder("node", &NodeText::default())?;
    let list = "\n[[list]]\nname = \"blocked\"\nkind = \"ip\"\nfile = \"../blocked.txt\"\n\
                [[rule]]\nname = \"blocked\"\nexpression = \"ip.src in $blocked\"\naction = \"block\"\n";
    folder.write("blocked.txt", b"192.0.2.1\n")?;
    folder.zone("a", &(passing("a", &["a.example"], origin.address()) + list))?;
    folder.zone("b", &answering("b", "two"))?;
    let whole = contents(&folder)?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let load = Load::begin(&target, RATE)?;
    load.wait_for(RATE);
    let descriptors = || Node::descriptors(edge, usize::MAX);
    let before = descriptors()?;
    lose(&folder)?;
    for what in ["publish", "check"] {
        let said = command(&folder, &[what])?;
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        let is_told = !said.status.success() && !text.is_empty();
        outcome.check(
            &format!("`{what}` says that there is nothing"),
            is_told,
            text.lines().next().unwrap_or(""),
        );
    }
    load.wait_for(run.lasting.as_secs().min(20) * RATE / 2);
    outcome.add_unharmed("without them: no request fails", load.end());
    let after = descriptors()?;
    // Connections of the load that the edge has not closed yet.
    let is_flat = after <= before + 16;
    outcome.check("without them: descriptors stay", is_flat, format!("{before}, then {after}"));
    outcome.check("without them: no process ended", node.edge()? == edge, edge);
    ensure!(node.stop()?, "the node does not end cleanly");
    for (how, empty) in [("are gone", false), ("are emptied", true)] {
        if empty {
            fs::create_dir_all(folder.at("zones"))?;
        }
        let node = folder.start().with_context(|| format!("a start when zones {how}"))?;
        let answers = [node.target("a.example")?.ask("/", ""), node.target("b.example")?.ask("/", "")];
        let serves = answers.iter().all(|answer| answer.as_ref().is_ok_and(|(status, _)| *status == 200));
        let found = answers.iter().map(in_words).collect::<Vec<_>>().join("; ");
        outcome.check(&format!("a start when zones {how} serves what was served"), serves, found);
        ensure!(node.stop()?, "the node does not end cleanly");
    }
    rebuilt(&folder, &whole, outcome)
}

/// Zone files are made of what the node keeps; then all is as before.
fn rebuilt(folder: &NodeFolder, whole: &[(String, Vec<u8>)], outcome: &mut Outcome) -> Result<()> {
    let into = folder.at("recovered").display().to_string();
    let data = folder.at("data").display().to_string();
    let said = std::process::Command::new(std::env::current_exe()?)
        .args(["recover", "--data-dir", &data, "--into", &into])
        .output()?;
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    outcome.check(
        "`recover` makes files of the last good generation",
        said.status.success(),
        text.trim_end(),
    );
    let again = command(folder, &["recover", "--into", &into])?;
    let refused = !again.status.success() && String::from_utf8_lossy(&again.stderr).contains("is not empty");
    outcome.check("`recover` touches nothing that is there", refused, refused);
    fs::remove_dir_all(folder.at("zones"))?;
    fs::rename(folder.at("recovered/zones"), folder.at("zones"))?;
    fs::rename(folder.at("recovered/blocked.txt"), folder.at("blocked.txt"))?;
    let is_same = contents(folder)? == whole;
    outcome.check("they are what was lost, byte by byte", is_same, is_same);
    let node = folder.start()?;
    let (is_taken, said) = node.publish(&["--dry-run"])?;
    let first = said.lines().next().unwrap_or_default();
    outcome.check("and change nothing", is_taken && first.contains("nothing"), first);
    folder.zone("b", &answering("b", "three"))?;
    let (is_taken, said) = node.publish(&[])?;
    let (_, body) = node.target("b.example")?.ask("/", "")?;
    outcome.check("the next change goes on from there", is_taken && body == "three", said);
    Ok(())
}

/// Zone files and what they name, by name.
fn contents(folder: &NodeFolder) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = vec![("blocked.txt".to_owned(), fs::read(folder.at("blocked.txt"))?)];
    for entry in fs::read_dir(folder.at("zones"))? {
        let entry = entry?;
        found.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    found.sort_unstable();
    Ok(found)
}

fn lose(folder: &NodeFolder) -> Result<()> {
    fs::remove_dir_all(folder.at("zones"))?;
    Ok(fs::remove_file(folder.at("blocked.txt"))?)
}

/// Orders that a person or a script gives by mistake: a word is missing, empty or unknown.
const MISTAKES: &[&[&str]] = &[
    &["purge"],
    &["purge", "--zone", ""],
    &["purge", "--host", ""],
    &["purge", "--url", ""],
    &["purge", "--prefix", ""],
    &["purge", "--prefix", "https://"],
    &["purge", "--tag", ""],
    &["purge", "--zone", "none"],
    &["purge", "--all"],
    &["purge", "--zone", "a", "--everything"],
    &["purge", "--zone", "a", "--zone", "b"],
    &["purge", "https://a.example/"],
    &["block", ""],
    &["block", "0.0.0.0/0", "--for", "0"],
    &["unblock", ""],
    &["publish", "--force"],
    &["publish", "--confirm-within", ""],
    &["recover", "--into", ""],
    &["withdraw", "everything"],
];

/// D26: removal by what was not said, and one command that brings back.
pub(super) fn by_mistake(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    let publish = "[publish]\ncompare_ms = 0\ncanary_percent = 0\nsoak_ms = 600000\n";
    let folder = run.folder("node", &NodeText { more: publish.to_owned(), ..NodeText::default() })?;
    let cache = "[cache]\nenabled = true\n[[cache.lifetime]]\nstatus = 200\nseconds = 600\n";
    folder.zone("a", &(passing("a", &["a.example"], origin.address()) + cache))?;
    for name in ["b", "c", "d"] {
        folder.zone(name, &answering(name, name))?;
    }
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let target = node.target("a.example")?;
    let is_stored = super::load::wait_until(super::node::PATIENCE, || {
        target.ask("/", "").is_ok() && target.fetch(0, "/").is_ok_and(|came| came.is_hit())
    });
    ensure!(is_stored, "the page is not stored");
    let (asked, before) = (origin.asked(), node.status()?);
    let load = Load::begin(&target, RATE)?;
    let (mut refused, mut told) = (0, 0);
    for words in MISTAKES {
        let said = node.command(words)?;
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        refused += usize::from(!said.status.success());
        told += usize::from(!text.trim().is_empty());
        if said.status.success() || text.trim().is_empty() {
            outcome.check(&format!("`{}` is refused with words", words.join(" ")), false, text);
        }
    }
    let all = MISTAKES.len();
    outcome.figure("mistakes", all);
    outcome.check("orders that say nothing are refused, with words", refused == all && told == all, refused);
    load.wait_for(RATE / 2);
    let status = node.status()?;
    let stays = origin.asked() == asked && Node::zones_in(&status) == Node::zones_in(&before);
    outcome.check("nothing was purged, nothing removed", stays, origin.asked() - asked);
    removed_in_bulk(&node, &folder, outcome)?;
    outcome.add_unharmed("all the while: no request of the zone that stays fails", load.end());
    Ok(())
}

/// Most zones go: only by an explicit word, and one command brings them back.
fn removed_in_bulk(node: &Node, folder: &NodeFolder, outcome: &mut Outcome) -> Result<()> {
    ["b", "c", "d"].iter().try_for_each(|name| folder.remove_zone(name))?;
    let (is_taken, said) = node.publish(&[])?;
    let is_told = !is_taken && said.contains("--allow-removals");
    outcome.check("most zones go: stopped, and it is said how to mean it", is_told, said);
    let (is_taken, said) = node.publish(&["--allow-removals"])?;
    let gone = node.target("b.example")?.ask("/", "").map_or(0, |(status, _)| status);
    outcome.check("with the word they go", is_taken && gone == 421, said);
    let begun = crate::clock::now();
    let back = node.command(&["withdraw"])?;
    let answer = node.target("b.example")?.ask("/", "");
    let took = crate::clock::now().saturating_duration_since(begun);
    let is_back = back.status.success() && answer.as_ref().is_ok_and(|(status, _)| *status == 200);
    outcome.check("`withdraw` brings them back", is_back, in_words(&answer));
    outcome.check_time("as one command", took, RESTORE);
    let into = folder.at("recovered");
    let made = node.command(&["recover", "--into", &into.display().to_string()])?;
    let count = fs::read_dir(into.join("zones")).map(Iterator::count).unwrap_or(0);
    let text = String::from_utf8_lossy(&[made.stdout, made.stderr].concat()).into_owned();
    outcome.check(
        "and `recover` the files of all of them",
        count == 4 && Path::new(&into).is_dir(),
        text.trim_end(),
    );
    Ok(())
}
