//! D18: lists that somebody's job makes anew each day, and does not any more.
//!
//! Compressed: a horizon of seconds, and lists that say they were made some of them ago. Read next:
//! `edge`'s `feeds.rs`, which judges them, and [`crate::configuration`] for what `check` and a publish say.

use std::fs::{self, File};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use telemetry::time::TimeText;

use super::load::{Load, Target};
use super::node::{CLOCK, Node, NodeFolder, NodeText, command, passing};
use super::origin::Origin;
use super::report::Outcome;
use super::{HAS_FAULT_POINTS, Run};
use crate::clock;

/// Requests a second beside it.
const RATE: u64 = 100;

/// How old the lists may become, in seconds; a quarter of it is the time for an alarm.
const HORIZON_S: u64 = 20;

/// How old they are at the start: some seconds before the alarm is due.
const OLD_S: u64 = 10;

/// Each list, whether it says when it was made, and what becomes of it.
const LISTS: [(&str, bool, &str); 3] =
    [("kept", true, "keep"), ("emptied", true, "empty"), ("undated", false, "empty")];

/// What is answered for a path that is in each list: while lists hold, and past their horizon.
const HELD: [u16; 3] = [403, 403, 403];
const PAST: [u16; 3] = [403, 200, 200];

/// D18: an alarm before the horizon, and what was declared after it.
pub(super) fn frozen(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    let folder = run.folder("node", &NodeText::default())?;
    folder.zone("a", &zone(&origin, HORIZON_S))?;
    write_lists(&folder, OLD_S)?;
    let node = folder.start()?;
    let target = node.target("a.example")?;
    is_answered(&target, "while they are fresh, they hold", HELD, outcome)?;
    let load = Load::begin(&target, RATE)?;
    grow_old(&node, &target, outcome)?;
    told(&folder, outcome)?;
    outcome.add_unharmed("all the while: no request fails", load.end());
    ensure!(node.stop()?, "the node does not end cleanly");
    let node = started_again(&folder, outcome)?;
    let target = node.target("a.example")?;
    let load = Load::begin(&target, RATE)?;
    made_anew(&node, &target, &origin, &load, outcome)?;
    outcome.add_unharmed("all the while: no request fails", load.end());
    ensure!(node.stop()?, "the node does not end cleanly");
    Ok(())
}

fn zone(origin: &Origin, horizon_s: u64) -> String {
    let lists = LISTS.iter().map(|(name, _, after)| {
        format!(
            "[[list]]\nname = \"{name}\"\nkind = \"string\"\nfile = \"../{name}.txt\"\nhorizon_s = \
             {horizon_s}\nafter_horizon = \"{after}\"\n[[rule]]\nname = \"{name}\"\nexpression = \
             \"http.request.uri.path in ${name}\"\naction = \"block\"\n"
        )
    });
    passing("a", &["a.example"], origin.address()) + &lists.collect::<String>()
}

/// Writes the lists as they are when they were made so many seconds ago.
fn write_lists(folder: &NodeFolder, ago_s: u64) -> Result<()> {
    let made_s = (clock::unix_us() / 1_000_000).saturating_sub(ago_s);
    let mut time = TimeText::new();
    let time = String::from_utf8_lossy(time.text(made_s * 1_000_000)).into_owned();
    for (name, is_dated, _) in LISTS {
        let head = if is_dated { format!("# made: {time}\n") } else { String::new() };
        let file = format!("{name}.txt");
        folder.write(&file, format!("{head}/{name}\n").as_bytes())?;
        if !is_dated {
            let changed = UNIX_EPOCH + Duration::from_secs(made_s);
            File::options().write(true).open(folder.at(&file))?.set_modified(changed)?;
        }
    }
    Ok(())
}

/// Asks for the path that is in each list.
fn is_answered(target: &Target, what: &str, statuses: [u16; 3], outcome: &mut Outcome) -> Result<()> {
    let mut found = [0; 3];
    for ((name, _, _), status) in LISTS.iter().zip(&mut found) {
        *status = target.ask(&format!("/{name}"), "")?.0;
    }
    outcome.check(what, found == statuses, format!("{found:?} for {:?}", LISTS.map(|(name, ..)| name)));
    Ok(())
}

/// Counts lists in a stage, by the metric and by `rempart status`.
fn in_stage(node: &Node, stage: &str) -> Result<[u64; 2]> {
    let metric = node.metric(&format!("rempart_feeds{{stage=\"{stage}\"}}"))?;
    let status = node.status()?;
    let feeds = status["feeds"].as_array().context("no feeds in status")?;
    Ok([metric, feeds.iter().filter(|feed| feed["state"] == stage).count() as u64])
}

fn grow_old(node: &Node, target: &Target, outcome: &mut Outcome) -> Result<()> {
    let all = LISTS.len();
    let warned = node.wait_for_count(0, "list_getting_old", all)?;
    let counted = in_stage(node, "getting_old")?;
    is_answered(target, "at three quarters of the horizon they are warned of, and hold", HELD, outcome)?;
    let was_before = node.told(0, "list_getting_old").iter().all(|told| {
        let member = |name: &str| told.event[name].as_u64().unwrap_or(u64::MAX);
        member("age_s") < HORIZON_S && member("age_s") * 4 >= HORIZON_S * 3 && told.event["file"].is_string()
    });
    outcome.check("the alarm names each file, before it is too old", was_before, &warned.event);
    outcome.check("metrics and `status` count them", counted == [3, 3], format!("{counted:?}"));
    let past = node.wait_for_count(0, "list_past_horizon", all)?;
    let before = past.at.saturating_duration_since(warned.at);
    outcome.figure("warned_before_ms", u64::try_from(before.as_millis()).unwrap_or(0));
    is_answered(target, "past it each is as declared: kept, or matching nothing", PAST, outcome)?;
    let counted = in_stage(node, "past_horizon")?;
    outcome.check("metrics and `status` count them then", counted == [3, 3], format!("{counted:?}"));
    Ok(())
}

/// `check` and a publish of lists that are too old.
fn told(folder: &NodeFolder, outcome: &mut Outcome) -> Result<()> {
    for (words, what) in
        [("check", "`check` warns of each"), ("publish", "a publish takes them and tells of each")]
    {
        let said = command(folder, &[words])?;
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        let warned = text.lines().filter(|line| line.contains("past its horizon")).count();
        outcome.check(what, said.status.success() && warned == LISTS.len(), format!("{warned} warnings"));
    }
    Ok(())
}

/// Two starts: from the files, and from what the node keeps alone.
fn started_again(folder: &NodeFolder, outcome: &mut Outcome) -> Result<Node> {
    let node = folder.start()?;
    let is_told = node.wait_for_count(0, "list_past_horizon", LISTS.len()).is_ok();
    outcome.check("a start tells of them again", is_told, is_told);
    is_answered(&node.target("a.example")?, "after a start they are as declared", PAST, outcome)?;
    let made = |node: &Node| -> Result<Vec<String>> {
        let status = node.status()?;
        let feeds = status["feeds"].as_array().context("no feeds in status")?.iter();
        let mut made: Vec<String> = feeds.map(|feed| format!("{} {}", feed["list"], feed["made"])).collect();
        made.sort_unstable();
        Ok(made)
    };
    let before = made(&node)?;
    ensure!(node.stop()?, "the node does not end cleanly");
    fs::rename(folder.at("zones"), folder.at("zones-away"))?;
    for (name, ..) in LISTS {
        fs::remove_file(folder.at(&format!("{name}.txt")))?;
    }
    let node = folder.start()?;
    is_answered(&node.target("a.example")?, "and from a kept generation, without any file", PAST, outcome)?;
    let after = made(&node)?;
    outcome.check("which knows when each was made", after == before, after.join(", "));
    // What is told of must have begun before its end can be told.
    node.wait_for_count(0, "list_past_horizon", LISTS.len())?;
    fs::rename(folder.at("zones-away"), folder.at("zones"))?;
    Ok(node)
}

/// Somebody mends the job; then the clock is set.
fn made_anew(
    node: &Node,
    target: &Target,
    origin: &Origin,
    load: &Load,
    outcome: &mut Outcome,
) -> Result<()> {
    let folder = node.folder();
    // Longer than anything here takes: what follows is not about time.
    folder.zone("a", &zone(origin, 600))?;
    write_lists(folder, 0)?;
    let mark = node.mark();
    let (is_taken, said) = node.publish(&[])?;
    let is_quiet = !said.contains("horizon");
    outcome.check("made anew, they are taken without a warning", is_taken && is_quiet, said);
    is_answered(target, "and hold again at once", HELD, outcome)?;
    let fresh = node.wait_for_count(mark, "list_fresh_again", LISTS.len()).is_ok();
    outcome.check("the alarm ends", fresh && in_stage(node, "fresh")? == [3, 3], fresh);
    if HAS_FAULT_POINTS {
        folder.write(CLOCK, b"+3600000000")?;
        load.wait_for(2 * RATE);
        let counted = in_stage(node, "fresh")?;
        outcome.check(
            "a clock that is set an hour ahead makes none of them old",
            counted == [3, 3],
            format!("{counted:?}"),
        );
        is_answered(target, "and they hold", HELD, outcome)?;
        fs::remove_file(folder.at(CLOCK))?;
    } else {
        outcome.note("the clock is not set: that needs fault points");
    }
    Ok(())
}
