//! Drills about changes that are whole and wrong: that would empty (D15), that lock out (D30), that do
//! something else than shown (D19).
//!
//! Read next: [`super::poison`] for changes that are broken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread;

use anyhow::{Context as _, Result, ensure};

use super::Run;
use super::load::{End, Load, Target, wait_until};
use super::node::{Node, NodeText, PATIENCE, answering, passing, publish};
use super::numbers::Numbers;
use super::origin::Origin;
use super::report::Outcome;

/// Requests a second beside it.
const RATE: u64 = 100;

/// A change is compared for so long after its files were read: time for another to come in between.
const COMPARED: &str = "[publish]\ncompare_ms = 300\ncanary_percent = 0\nsoak_ms = 0\n";

/// D15: changes that would empty something, and one that comes late.
pub(super) fn emptied(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    let folder = run.folder("node", &NodeText { more: COMPARED.to_owned(), ..NodeText::default() })?;
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
    let load = Load::expecting(&node.target("a.example")?, RATE, &[(200, "from the origin")])?;
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

/// Rounds of two who publish at once. In every second one the files change when the first has read them for
/// sure; in the others as soon as it was told to.
const ROUNDS: usize = 6;

/// Two who publish at once, one of them with an older state of the files: what serves is what the files say
/// in the end.
fn late_writer(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let folder = node.folder().clone();
    let mut numbers = vec![node.status()?["snapshot"].as_u64().unwrap_or(0)];
    let (mut raced, mut forced) = (0, 0);
    for round in 0..ROUNDS {
        folder.zone("b", &answering("b", &format!("early {round}")))?;
        let early = {
            let folder = folder.clone();
            thread::spawn(move || publish(&folder, &[]))
        };
        if round.is_multiple_of(2) {
            let has_read = || node.status().is_ok_and(|status| status["publishing"]["stage"] == "comparing");
            forced += usize::from(wait_until(PATIENCE, || early.is_finished() || has_read()));
        }
        folder.zone("b", &answering("b", &format!("late {round}")))?;
        let (late_taken, late_said) = node.publish(&[])?;
        let (early_taken, early_said) =
            early.join().map_err(|_| anyhow::anyhow!("a publish broke off"))??;
        // Each made a snapshot of its own: the first of what the files said before.
        raced += usize::from(late_taken && early_taken && went_live(&early_said) < went_live(&late_said));
        let (_, body) = node.target("b.example")?.ask("/", "")?;
        outcome.check(
            "two who publish at once: both are told the truth",
            late_taken && early_taken,
            format!("{early_said}; {late_said}"),
        );
        outcome.check(
            "two who publish at once: never older than the files",
            body == format!("late {round}"),
            body,
        );
        numbers.push(node.status()?["snapshot"].as_u64().unwrap_or(0));
    }
    outcome.figure("rounds_in_which_the_early_one_was_overtaken", raced);
    let found = format!("{raced} of {ROUNDS}, {forced} of them waited for");
    outcome.check("two who publish at once: some read the older state", raced > 0, found);
    outcome.check("numbers only grow", numbers.is_sorted(), format!("{numbers:?}"));
    Ok(())
}

/// The number of the snapshot that a publish made; none where the files said what was live already.
fn went_live(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains(" is live: "))?;
    line.strip_prefix("snapshot ")?.split(' ').next()?.parse().ok()
}

/// D30: a change that answers nobody.
pub(super) fn locked_out(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("node", &NodeText::default())?;
    folder.zone("a", &answering("a", "one"))?;
    let node = folder.start()?;
    let target = node.target("a.example")?;
    let body = || target.ask("/", "").map(|(status, body)| format!("{status} {body}"));
    let load = Load::expecting(&target, RATE, &[(200, "one"), (403, "nobody")])?;
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
    let is_remembered = !is_taken && said.contains("withdrawn before: it was not confirmed in time");
    outcome.check("it does not come again by itself", is_remembered, said);
    let (is_taken, said) = node.publish(&["--again", "--confirm-within", "600"])?;
    outcome.check("it may come again where that is said", is_taken, said);
    let confirmed = node.command(&["confirm"])?.status.success();
    outcome.check("confirmed, it stays", confirmed && body()? == "403 nobody", confirmed);
    let again = node.command(&["confirm"])?.status.success();
    outcome.check("nothing waits any more", !again, again);
    let visits = load.end();
    let meant = visits.iter().filter(|visit| visit.end == End::Meant(403)).count();
    outcome.figure("answered_as_the_change_says", meant);
    outcome.add_unharmed("nobody gets anything else than the one or the other says", visits);
    Ok(())
}

/// Zones of D19, the host names that belong to each, and origins.
const ZONES: u64 = 6;
const HOSTS_EACH: u64 = 3;
const ORIGINS: usize = 3;

/// What a zone gives for its first page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// A text of its own.
    Text(u64),
    /// What one of the origins says, by its place.
    Origin(usize),
}

/// A zone as D19 writes it. Whatever is in it, its visitors meet.
#[derive(Clone)]
struct Sketch {
    hosts: BTreeSet<u64>,
    first: First,
    /// The text of a route of its own for [`BESIDE`].
    beside: Option<u64>,
    /// Whether a rule blocks [`BLOCKED`].
    has_rule: bool,
}

/// Paths that a route and a rule are for.
const BESIDE: &str = "/beside";
const BLOCKED: &str = "/blocked";

/// The id of that rule: `publish` shows it.
const RULE: &str = "0123456789abcdef0123456789abcdef";

impl Sketch {
    fn new(hosts: BTreeSet<u64>, text: u64) -> Self {
        Self { hosts, first: First::Text(text), beside: None, has_rule: false }
    }

    fn toml(&self, zone: u64, origins: &[SocketAddr]) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|host| hostname(zone, *host)).collect();
        let mut toml = format!("name = \"z{zone}\"\nhostnames = {hosts:?}\n");
        if let First::Origin(at) = self.first
            && let Some(address) = origins.get(at)
        {
            toml += &format!("[[pool]]\nname = \"app\"\norigins = [{{ url = \"http://{address}\" }}]\n");
        }
        if let Some(text) = self.beside {
            toml += &format!(
                "[[route]]\nname = \"beside\"\npath = \"{BESIDE}\"\nanswer = {{ status = 200, body = \
                 \"beside {text}\" }}\n"
            );
        }
        if let First::Text(text) = self.first {
            toml +=
                &format!("[[route]]\nname = \"text\"\nanswer = {{ status = 200, body = \"text {text}\" }}\n");
        }
        if self.has_rule {
            toml += &format!(
                "[[rule]]\nid = \"{RULE}\"\nexpression = 'http.request.uri.path eq \"{BLOCKED}\"'\naction = \
                 \"block\"\n"
            );
        }
        toml
    }
}

fn hostname(zone: u64, host: u64) -> String {
    format!("h{host}.z{zone}.example")
}

/// What visitors meet: for each zone that is served, what each of its host names answers to each path.
type Met = BTreeMap<String, BTreeMap<String, Vec<String>>>;

fn met(node: &Node) -> Result<Met> {
    let mut met = Met::new();
    for (zone, host) in (0..ZONES).flat_map(|zone| (0..HOSTS_EACH).map(move |host| (zone, host))) {
        let name = hostname(zone, host);
        let target = Target::plain(node.address("http")?, &name);
        let mut answers = Vec::new();
        for path in ["/", BESIDE, BLOCKED] {
            let (status, body) = target.ask(path, "")?;
            // What is refused is told by its status: the page has the request's id.
            answers.push(if status == 200 { body } else { status.to_string() });
        }
        // Nobody's: misdirected (RFC 9110 section 15.5.20).
        if answers.iter().any(|answer| answer != "421") {
            met.entry(format!("z{zone}")).or_default().insert(name, answers);
        }
    }
    Ok(met)
}

/// What there must be for visitors to meet this, as `publish --dry-run` names it.
fn things(met: &Met, origins: &[SocketAddr]) -> BTreeSet<String> {
    let mut things = BTreeSet::new();
    for (zone, hosts) in met {
        things.insert(format!("zone {zone}"));
        for (name, answers) in hosts {
            things.insert(format!("hostname {zone}: {name}"));
            let mut answers = answers.iter().map(String::as_str);
            let mut next = || answers.next().unwrap_or_default();
            let (first, beside, blocked) = (next(), next(), next());
            if first.starts_with("text ") {
                things.insert(format!("route {zone}: text"));
            }
            let at = first.strip_prefix("origin ").and_then(|at| at.parse::<usize>().ok());
            if let Some(address) = at.and_then(|at| origins.get(at)) {
                things.insert(format!("pool {zone}: app"));
                things.insert(format!("origin {zone}: app http://{address}"));
            }
            if beside.starts_with("beside ") {
                things.insert(format!("route {zone}: beside"));
            }
            if blocked == "403" {
                things.insert(format!("rule {zone}: {RULE}"));
            }
        }
    }
    things
}

/// Changes one or two zones.
fn edit(zones: &mut BTreeMap<u64, Sketch>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(2) {
        let zone = numbers.below(ZONES);
        let what = numbers.below(8);
        let is_last = zones.len() == 1;
        let Some(sketch) = zones.get_mut(&zone) else {
            let hosts = (0..=numbers.below(HOSTS_EACH)).filter(|host| *host < HOSTS_EACH).collect();
            zones.insert(zone, Sketch::new(hosts, numbers.below(1_000)));
            continue;
        };
        match what {
            0 | 1 if !is_last => {
                zones.remove(&zone);
            }
            0..=2 => {
                let host = numbers.below(HOSTS_EACH);
                if !sketch.hosts.remove(&host) || sketch.hosts.is_empty() {
                    sketch.hosts.insert(host);
                }
            }
            3 => sketch.first = First::Text(numbers.below(1_000)),
            4 | 5 => sketch.first = First::Origin(numbers.below(ORIGINS as u64) as usize),
            6 => sketch.beside = sketch.beside.xor(Some(numbers.below(1_000))),
            _ => sketch.has_rule = !sketch.has_rule,
        }
    }
}

/// D19: what --dry-run showed is what happened.
pub(super) fn as_shown(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("node", &NodeText { node: "spare = false\n", ..NodeText::default() })?;
    let running =
        (0..ORIGINS).map(|at| Origin::start(&format!("origin {at}"), None)).collect::<Result<Vec<_>>>()?;
    let origins: Vec<SocketAddr> = running.iter().map(Origin::address).collect();
    let mut zones = BTreeMap::from([(0, Sketch::new(BTreeSet::from([0]), 0))]);
    let mut numbers = Numbers::new(19);
    let lay = |zones: &BTreeMap<u64, Sketch>| -> Result<()> {
        for zone in 0..ZONES {
            match zones.get(&zone) {
                Some(sketch) => folder.zone(&format!("z{zone}"), &sketch.toml(zone, &origins))?,
                // It may not have been there.
                None => drop(folder.remove_zone(&format!("z{zone}"))),
            }
        }
        Ok(())
    };
    lay(&zones)?;
    let node = folder.start()?;
    let (mut as_shown, mut with_change) = (0_u32, 0_u32);
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
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
        let found = compare(&shown, &before, &after, &origins);
        with_change += u32::from(before != after);
        for line in shown.lines() {
            let kind: Vec<&str> = line.split(' ').take(2).collect();
            *kinds.entry(kind.join(" ")).or_default() += 1;
        }
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
    outcome.figure("shown", serde_json::json!(kinds));
    outcome.check(
        "what was shown is what happened",
        as_shown == run.edits,
        format!("{as_shown} of {}", run.edits),
    );
    Ok(())
}

/// Compares what was shown with what visitors met; what differs, if anything does. Each line must stand for
/// something that visitors met, and all that they met must have its line.
fn compare(shown: &str, before: &Met, after: &Met, origins: &[SocketAddr]) -> Option<String> {
    let named = |sign: &str| -> BTreeSet<String> {
        shown.lines().filter_map(|line| line.strip_prefix(sign)).map(str::to_owned).collect()
    };
    let (had, has) = (things(before, origins), things(after, origins));
    let changed = before.iter().filter(|(zone, was)| after.get(*zone).is_some_and(|is| is != *was));
    let changed: BTreeSet<String> = changed.map(|(zone, _)| format!("zone {zone}")).collect();
    let gained: BTreeSet<String> = has.difference(&had).cloned().collect();
    let lost: BTreeSet<String> = had.difference(&has).cloned().collect();
    for (what, sign, met) in [("gained", "+ ", gained), ("lost", "- ", lost), ("changed", "~ ", changed)] {
        let shown = named(sign);
        if shown != met {
            let unseen: Vec<_> = met.difference(&shown).collect();
            let untrue: Vec<_> = shown.difference(&met).collect();
            return Some(format!("{what}, and not shown: {unseen:?}; shown, and not {what}: {untrue:?}"));
        }
    }
    let is_shown = |line: &str| {
        ["+ ", "- ", "~ "].iter().any(|sign| line.starts_with(sign)) || line == "nothing would change"
    };
    shown.lines().find(|line| !is_shown(line)).map(|line| format!("a line of no known kind: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(zones: &[(&str, &str, [&str; 3])]) -> Met {
        let mut met = Met::new();
        for (zone, host, answers) in zones {
            let answers = answers.iter().map(|answer| (*answer).to_owned()).collect();
            met.entry((*zone).to_owned()).or_default().insert((*host).to_owned(), answers);
        }
        met
    }

    #[test]
    fn a_line_that_is_missing_or_that_nobody_meets_is_found() {
        let origins = ["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
        let before = of(&[
            ("z0", "a", ["text 1", "text 1", "text 1"]),
            ("z1", "b", ["text 1", "beside 4", "403"]),
            ("z3", "d", ["origin 0", "origin 0", "origin 0"]),
        ]);
        let after = of(&[
            ("z0", "a", ["text 2", "text 2", "text 2"]),
            ("z2", "c", ["text 1", "beside 4", "403"]),
            ("z3", "d", ["origin 1", "origin 1", "origin 1"]),
        ]);
        let shown = format!(
            "+ zone z2\n+ hostname z2: c\n+ origin z3: app http://127.0.0.1:2\n+ route z2: beside\n\
             + route z2: text\n+ rule z2: {RULE}\n- zone z1\n- hostname z1: b\n\
             - origin z3: app http://127.0.0.1:1\n- route z1: beside\n- route z1: text\n\
             - rule z1: {RULE}\n~ zone z0\n~ zone z3\n"
        );
        assert_eq!(compare(&shown, &before, &after, &origins), None);
        for left in shown.lines() {
            let without = shown.replace(&format!("{left}\n"), "");
            assert!(compare(&without, &before, &after, &origins).is_some(), "{left}");
        }
        for more in ["~ zone z2", "~ zone z4", "+ zone z0", "- zone z4", "+ pool z0: app", "more"] {
            let with = format!("{shown}{more}\n");
            assert!(compare(&with, &before, &after, &origins).is_some(), "{more}");
        }
        assert_eq!(compare("nothing would change\n", &before, &before, &origins), None);
    }

    #[test]
    fn edits_never_leave_a_node_or_a_zone_empty() {
        let mut zones = BTreeMap::from([(0, Sketch::new(BTreeSet::from([0]), 0))]);
        let mut numbers = Numbers::new(1);
        for _ in 0..1_000 {
            edit(&mut zones, &mut numbers);
            assert!(!zones.is_empty() && zones.values().all(|sketch| !sketch.hosts.is_empty()));
        }
    }

    #[test]
    fn the_number_that_went_live_is_read() {
        assert_eq!(went_live("compiled: 1 zone\nsnapshot 12 is live: 3 zones"), Some(12));
        assert_eq!(went_live("snapshot 12 stays: the files say the same (3 zones)"), None);
    }
}
