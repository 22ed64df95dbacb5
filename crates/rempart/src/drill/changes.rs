//! Drills about changes that are whole and wrong: that would empty (D15), that lock out (D30), that do
//! something
//! else than shown (D19).
//!
//! Read next: [`super::poison`] for changes that are broken.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use anyhow::{Context as _, Result, ensure};

use super::Run;
use super::load::{Load, Target};
use super::node::{Node, NodeText, answering, passing, publish};
use super::numbers::Numbers;
use super::origin::Origin;
use super::report::Outcome;

/// Requests a second beside it.
const RATE: u64 = 100;

/// D15: changes that would empty something, and one that comes late.
pub(super) fn emptied(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    let folder = run.folder("node", &NodeText::default())?;
    let whole = passing("a", &["a.example"], origin.address());
    let list = "\n[[list]]\nname = \"blocked\"\nkind = \"ip\"\nfile = \"../blocked.txt\"\n\
                [[rule]]\nname = \"blocked\"\nexpression = \"ip.src in $blocked\"\naction = \"block\"\n";
    let whole = whole + list;
    let lay = || -> Result<()> {
        folder.write("blocked.txt", b"192.0.2.1\n198.51.100.0/24\n")?;
        folder.zone("a", &whole)?;
        folder.zone("b", &answering("b", "two"))?;
        folder.zone("c", &answering("c", "three"))
    };
    lay()?;
    let node = folder.start()?;
    let load = Load::begin(&node.target("a.example")?, RATE)?;
    let before = node.status()?;
    let mut refuse = |what: &str| -> Result<()> {
        let (is_taken, said) = node.publish(&[])?;
        let zones = Node::zones_in(&node.status()?) == Node::zones_in(&before);
        let first = said.lines().next().unwrap_or_default();
        outcome.check(&format!("{what}: refused, and all zones stay"), !is_taken && zones, first);
        lay()
    };
    ["a", "b", "c"].iter().try_for_each(|name| folder.remove_zone(name))?;
    refuse("no zone is left")?;
    ["b", "c"].iter().try_for_each(|name| folder.remove_zone(name))?;
    refuse("two of three zones go")?;
    folder
        .zone("a", "name = \"a\"\nhostnames = [\"a.example\"]\n[[pool]]\nname = \"app\"\norigins = []\n")?;
    refuse("a pool is empty")?;
    folder.zone("a", &whole.replace("[\"a.example\"]", "[]"))?;
    refuse("a zone has no host name")?;
    folder.write("blocked.txt", b"# nobody\n")?;
    refuse("a list is emptied")?;
    std::fs::rename(folder.at("zones"), folder.at("elsewhere"))?;
    let (is_taken, said) = node.publish(&[])?;
    std::fs::rename(folder.at("elsewhere"), folder.at("zones"))?;
    outcome.check("the folder of zones is gone: refused", !is_taken, said.lines().next().unwrap_or_default());
    late_writer(&node, outcome)?;
    lay()?;
    ["b", "c"].iter().try_for_each(|name| folder.remove_zone(name))?;
    let (is_taken, said) = node.publish(&["--allow-removals"])?;
    outcome.check("with an explicit word it is done", is_taken, said);
    let left = node.status()?["zones"].as_array().map_or(0, Vec::len);
    outcome.check("one zone is left", left == 1, left);
    outcome.add_unharmed("no request fails", load.end());
    Ok(())
}

/// Two who publish at once, one of them with an older state of the files: what serves is what the files say
/// in
/// the end.
fn late_writer(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let folder = node.folder().clone();
    let mut numbers = vec![node.status()?["snapshot"].as_u64().unwrap_or(0)];
    for round in 0..5 {
        folder.zone("b", &answering("b", &format!("early {round}")))?;
        let early = {
            let folder = folder.clone();
            thread::spawn(move || publish(&folder, &[]))
        };
        folder.zone("b", &answering("b", &format!("late {round}")))?;
        node.publish(&[])?;
        early.join().map_err(|_| anyhow::anyhow!("a publish broke off"))??;
        let (_, body) = node.target("b.example")?.ask("/", "")?;
        outcome.check(
            "two who publish at once: never older than the files",
            body == format!("late {round}"),
            body,
        );
        numbers.push(node.status()?["snapshot"].as_u64().unwrap_or(0));
    }
    outcome.check("numbers only grow", numbers.is_sorted(), format!("{numbers:?}"));
    Ok(())
}

/// D30: a change that answers nobody.
pub(super) fn locked_out(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("node", &NodeText::default())?;
    folder.zone("a", &answering("a", "one"))?;
    let node = folder.start()?;
    let target = node.target("a.example")?;
    let body = || target.ask("/", "").map(|(status, body)| format!("{status} {body}"));
    let load = Load::begin(&target, RATE)?;
    folder.zone("a", &answering("a", "nobody").replace("status = 200", "status = 403"))?;
    let mark = node.mark();
    let (is_taken, said) = node.publish(&["--confirm-within", "2"])?;
    ensure!(is_taken, "the change should pass: {said}");
    let during = body()?;
    outcome.check("the change is live", during == "403 nobody", during);
    node.wait_for(mark, "withdrawn")?;
    let after = body()?;
    outcome.check("it is taken back at the deadline", after == "200 one", after);
    let (is_taken, said) = node.publish(&["--confirm-within", "600"])?;
    outcome.check("it was not bad, and may come again", is_taken, said);
    let confirmed = node.command(&["confirm"])?.status.success();
    outcome.check("confirmed, it stays", confirmed && body()? == "403 nobody", confirmed);
    let again = node.command(&["confirm"])?.status.success();
    outcome.check("nothing waits any more", !again, again);
    outcome.add_unharmed("no request fails", load.end());
    Ok(())
}

/// Zones of D19, and the host names that belong to each.
const ZONES: u64 = 6;
const HOSTS_EACH: u64 = 3;

/// A zone as D19 writes it: its host names and its text.
#[derive(Clone, Default)]
struct Sketch {
    hosts: BTreeSet<u64>,
    text: u64,
}

impl Sketch {
    fn toml(&self, zone: u64) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|host| hostname(zone, *host)).collect();
        let text = self.text;
        format!(
            "name = \"z{zone}\"\nhostnames = {hosts:?}\n[[route]]\nanswer = {{ status = 200, body = \
            \"z{zone} \
             {text}\" }}\n"
        )
    }
}

fn hostname(zone: u64, host: u64) -> String {
    format!("h{host}.z{zone}.example")
}

/// What visitors meet: the answer for each host name that is served.
fn met(node: &Node) -> Result<BTreeMap<String, String>> {
    let mut met = BTreeMap::new();
    for (zone, host) in (0..ZONES).flat_map(|zone| (0..HOSTS_EACH).map(move |host| (zone, host))) {
        let name = hostname(zone, host);
        let target = Target::plain(node.address("http")?, &name);
        let (status, body) = target.ask("/", "")?;
        if status == 200 {
            met.insert(name, body);
        }
    }
    Ok(met)
}

/// Changes one or two zones.
fn edit(zones: &mut BTreeMap<u64, Sketch>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(2) {
        let zone = numbers.below(ZONES);
        match (zones.contains_key(&zone), numbers.below(4)) {
            (false, _) => {
                let hosts = (0..=numbers.below(HOSTS_EACH)).filter(|host| *host < HOSTS_EACH).collect();
                zones.insert(zone, Sketch { hosts, text: numbers.below(1_000) });
            }
            (true, 0) if zones.len() > 1 => {
                zones.remove(&zone);
            }
            (true, 1) => {
                let host = numbers.below(HOSTS_EACH);
                let sketch = zones.entry(zone).or_default();
                if !sketch.hosts.remove(&host) || sketch.hosts.is_empty() {
                    sketch.hosts.insert(host);
                }
            }
            (true, _) => zones.entry(zone).or_default().text = numbers.below(1_000),
        }
    }
}

/// D19: what --dry-run showed is what happened.
pub(super) fn as_shown(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("node", &NodeText { node: "spare = false\n", ..NodeText::default() })?;
    let mut zones = BTreeMap::from([(0, Sketch { hosts: BTreeSet::from([0]), text: 0 })]);
    let mut numbers = Numbers::new(19);
    let lay = |zones: &BTreeMap<u64, Sketch>| -> Result<()> {
        for zone in 0..ZONES {
            match zones.get(&zone) {
                Some(sketch) => folder.zone(&format!("z{zone}"), &sketch.toml(zone))?,
                // It may not have been there.
                None => drop(folder.remove_zone(&format!("z{zone}"))),
            }
        }
        Ok(())
    };
    lay(&zones)?;
    let node = folder.start()?;
    let (mut as_shown, mut with_change) = (0_u32, 0_u32);
    let mut before = met(&node)?;
    for number in 0..run.edits {
        edit(&mut zones, &mut numbers);
        lay(&zones)?;
        let shown = node.command(&["publish", "--dry-run"])?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let untouched = met(&node)? == before;
        let (is_taken, said) = node.publish(&["--allow-removals"])?;
        ensure!(is_taken, "edit {number} should pass: {said}");
        let after = met(&node).with_context(|| format!("edit {number}"))?;
        let found = compare(&shown, &before, &after);
        with_change += u32::from(before != after);
        if untouched && found.is_none() {
            as_shown += 1;
        } else {
            let why = found.unwrap_or_else(|| "the dry run changed something".to_owned());
            outcome.check(&format!("edit {number}"), false, format!("{why}; shown: {shown}"));
        }
        before = after;
    }
    outcome.figure("edits", run.edits);
    outcome.figure("edits_that_visitors_meet", with_change);
    outcome.check(
        "what was shown is what happened",
        as_shown == run.edits,
        format!("{as_shown} of {}", run.edits),
    );
    Ok(())
}

/// Compares what was shown with what visitors met; what differs, if anything does.
fn compare(
    shown: &str,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Option<String> {
    let named = |sign: &str| -> BTreeSet<String> {
        let lines = shown.lines().filter_map(|line| line.strip_prefix(sign)?.strip_prefix(" hostname "));
        lines.filter_map(|line| line.rsplit(' ').next()).map(str::to_owned).collect()
    };
    let only_in = |one: &BTreeMap<String, String>, other: &BTreeMap<String, String>| -> BTreeSet<String> {
        one.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
    };
    let (gained, lost) = (only_in(after, before), only_in(before, after));
    if named("+") != gained {
        return Some(format!("gained {gained:?}"));
    }
    if named("-") != lost {
        return Some(format!("lost {lost:?}"));
    }
    let changed = before.iter().filter(|(name, body)| after.get(*name).is_some_and(|now| now != *body));
    for (name, body) in changed {
        let zone = body.split(' ').next().unwrap_or_default();
        if !shown.lines().any(|line| line == format!("~ zone {zone}")) {
            return Some(format!("{name} changed"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, body)| ((*name).to_owned(), (*body).to_owned())).collect()
    }

    #[test]
    fn a_difference_that_was_not_shown_is_found() {
        let (before, after) = (of(&[("a", "z0 1"), ("b", "z1 1")]), of(&[("a", "z0 2"), ("c", "z2 1")]));
        let shown = "+ zone z2\n+ hostname z2: c\n- zone z1\n- hostname z1: b\n~ zone z0\n";
        assert_eq!(compare(shown, &before, &after), None);
        for left in ["+ hostname z2: c\n", "- hostname z1: b\n", "~ zone z0\n"] {
            assert!(compare(&shown.replace(left, ""), &before, &after).is_some(), "{left}");
        }
    }

    #[test]
    fn edits_never_leave_a_node_or_a_zone_empty() {
        let (mut zones, mut numbers) = (BTreeMap::from([(0, Sketch::default())]), Numbers::new(1));
        zones.entry(0).or_default().hosts.insert(0);
        for _ in 0..1_000 {
            edit(&mut zones, &mut numbers);
            assert!(!zones.is_empty() && zones.values().all(|sketch| !sketch.hosts.is_empty()));
        }
    }
}
