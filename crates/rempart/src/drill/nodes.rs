//! The drill of several nodes side by side (D5): a bad change is published at each in turn, and meets a
//! share of the first one's visitors alone.
//!
//! Read next: [`crate::in_turn`], and [`super::poison`] for one node.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};

use super::Run;
use super::load::{End, Load, Target};
use super::node::{Node, NodeText, answering};
use super::report::Outcome;

/// Nodes.
const NODES: usize = 4;

/// Requests a second over all of them.
const RATE: u64 = 160;

/// A share of the visitors tries a change before it is live, and a minute watches it afterwards.
const STAGES: &str = "[publish]\ncompare_ms = 0\ncanary_percent = 50\ncanary_ms = 1500\nrequests_min = 20\n\
                      soak_ms = 600000\n";

/// Publishes at all nodes in turn; whether all took it, and what was said.
fn publish(nodes: &[Node]) -> Result<(bool, String)> {
    let sockets: Vec<String> =
        nodes.iter().map(|node| node.folder().at("data/rempart.sock").display().to_string()).collect();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("publish").stdin(Stdio::null());
    for socket in &sockets {
        command.args(["--in-turn", socket]);
    }
    let said = command.output()?;
    let text = [said.stdout, said.stderr].concat();
    Ok((said.status.success(), String::from_utf8_lossy(&text).trim_end().to_owned()))
}

fn bodies(nodes: &[Node]) -> Result<Vec<String>> {
    nodes.iter().map(|node| Ok(node.target("a.example")?.ask("/", "")?.1)).collect()
}

fn lay(node: &Node, text: &str, is_bad: bool) -> Result<()> {
    let zone = answering("a", text);
    let bad = zone.replace("\"a.example\"", "\"a.example\", \"serve-500.fault.invalid\"");
    node.folder().zone("a", if is_bad { &bad } else { &zone })
}

/// D5.
pub(super) fn many_nodes(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let mut nodes = Vec::new();
    for number in 0..NODES {
        let text = NodeText { more: STAGES.to_owned(), node: "spare = false\n", ..NodeText::default() };
        let folder = run.folder(&format!("node-{number}"), &text)?;
        folder.zone("a", &answering("a", "one"))?;
        nodes.push(folder.start()?);
    }
    let failed: Arc<[AtomicUsize]> = (0..NODES).map(|_| AtomicUsize::new(0)).collect();
    let targets: Vec<Target> = nodes.iter().map(|node| node.target("a.example")).collect::<Result<_>>()?;
    let counted = Arc::clone(&failed);
    let load = Load::asking(RATE, move |number| {
        let at = (number % NODES as u64) as usize;
        let Some((target, failed)) = targets.get(at).zip(counted.get(at)) else { return End::Answered(200) };
        let end = match target.ask_from(number / NODES as u64 % 64, "/", "") {
            Ok((status, _)) => End::Answered(status),
            Err(error) => End::Broken(format!("{error:#}")),
        };
        if !matches!(end, End::Answered(200)) {
            failed.fetch_add(1, Ordering::Relaxed);
        }
        end
    })?;
    load.wait_for(RATE / 2);
    nodes.iter().try_for_each(|node| lay(node, "bad", true))?;
    let (is_taken, said) = publish(&nodes)?;
    let stays = bodies(&nodes)?.iter().all(|body| body == "one");
    outcome.check(
        "bad everywhere: stopped at the first node",
        !is_taken && said.contains("node 1 of 4"),
        &said,
    );
    outcome.check("bad everywhere: all serve what they served", stays, stays);
    let asked = nodes.iter().skip(1).filter(|node| !node.told(0, "withdrawn").is_empty()).count();
    outcome.check("bad everywhere: no other node was asked", asked == 0, asked);
    // One of the later ones has it wrong: those before it have the change already.
    for (number, node) in nodes.iter().enumerate() {
        lay(node, "two", number == 2)?;
    }
    let (is_taken, said) = publish(&nodes)?;
    let stays = bodies(&nodes)?.iter().all(|body| body == "one");
    let is_told = !is_taken && said.contains("node 3 of 4") && said.matches("back").count() >= 2;
    outcome.check("bad at the third: stopped there, and the two before take it back", is_told, &said);
    outcome.check("bad at the third: all serve what they served", stays, stays);
    nodes.iter().try_for_each(|node| lay(node, "three", false))?;
    let (is_taken, said) = publish(&nodes)?;
    let all = bodies(&nodes)?.iter().all(|body| body == "three");
    outcome.check("a good change is taken by all, in turn", is_taken && all, &said);
    load.wait_for(RATE / 2);
    let visits = load.end();
    let sent = visits.len();
    let (refused, _) = outcome.add(visits);
    let failed: Vec<usize> = failed.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    outcome.figure("failed_by_node", failed.clone());
    ensure!(failed.len() == NODES, "each node is counted");
    outcome.check("no connection is refused", refused == 0, refused);
    // The first and the third have each tried a bad change on half of their visitors.
    let others = [failed.get(1), failed.get(3)].into_iter().flatten().sum::<usize>();
    outcome.check("nodes that had no bad change lose nothing", others == 0, others);
    let hit = failed.iter().sum::<usize>();
    outcome.check(
        "at most a quarter of all visitors are hit",
        hit * NODES <= sent,
        format!("{hit} of {sent}"),
    );
    Ok(())
}
