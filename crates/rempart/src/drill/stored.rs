//! The drill of sites whose every origin is gone (D20): what is stored is served on, the rest is told as
//! what it is, and origins are tried for as long as they are gone.
//!
//! Before that, purges in a row under load, which take everything that is stored and fail nobody. Read next:
//! [`super::deaths`].

use anyhow::{Result, ensure};

use super::Run;
use super::load::{Load, in_words, wait_until};
use super::node::{NodeText, PATIENCE, answering, passing};
use super::origin::Origin;
use super::report::Outcome;

/// Requests a second for the stored page.
const RATE: u64 = 100;

/// Purges in a row.
const PURGES: u64 = 20;

/// A cache that finds everything stale after a second. No connection to the origin outlives its answer: one
/// that does would be answered by an origin that is gone.
const CACHE: &str = "keepalive_ms = 0\n\n[cache]\nenabled = true\nalways_online = true\n\
                     [[cache.lifetime]]\nstatus = 200\nseconds = 1\n";

/// D20: the origins of a zone go, and come to nothing for as long as the drill lasts.
pub(super) fn origins_gone(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    let folder = run.folder("node", &NodeText::default())?;
    folder.zone("a", &format!("{}{CACHE}", passing("a", &["a.example"], origin.address())))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let load = Load::begin(&target, RATE)?;
    load.wait_for(RATE);
    let mut purged = 0;
    for _ in 0..PURGES {
        purged += u64::from(node.command(&["purge", "--zone", "a"])?.status.success());
    }
    outcome.figure("purges", purged);
    outcome.check("every purge is carried out", purged == PURGES, format!("{purged} of {PURGES}"));
    load.wait_for(RATE / 2);
    outcome.add_unharmed("purges in a row: no request fails", load.end());
    let stored = target.ask("/", "");
    outcome.check("the page is stored", is_page(&stored), in_words(&stored));
    drop(origin);
    let load = Load::begin(&target, RATE)?;
    // Three seconds: the page is stale after the first.
    load.wait_for(3 * RATE);
    outcome.add_unharmed("without any origin: no request for what is stored fails", load.end());
    let stale = target.ask("/", "");
    outcome.check("it is the page", is_page(&stale), in_words(&stale));
    let never = target.ask("/never", "");
    let is_told = never.as_ref().is_ok_and(|(status, _)| matches!(status, 502..=504));
    outcome.check("what is not stored is told as a fault", is_told, in_words(&never));
    let same = node.edge()? == edge;
    outcome.check("no process ended", same, edge);
    drop(node);
    without_a_cache(run, outcome)
}

/// Requests for a zone whose origins are gone: more than it takes to leave one out.
const TRIES: u64 = 30;

/// Both origins of a zone that stores nothing go, and one comes back.
fn without_a_cache(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origins = [Origin::start("from the origin", None)?, Origin::start("from the origin", None)?];
    let [one, other] = [origins[0].address(), origins[1].address()];
    let folder = run.folder("no-cache", &NodeText::default())?;
    let zone = format!(
        "name = \"a\"\nhostnames = [\"a.example\"]\n[[pool]]\nname = \"app\"\norigins = [{{ url = \
         \"http://{one}\" }}, {{ url = \"http://{other}\" }}]\nkeepalive_ms = 0\n"
    );
    folder.zone("a", &zone)?;
    folder.zone("b", &answering("b", "two"))?;
    let node = folder.start()?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    ensure!(is_page(&target.ask("/", "")), "the page should come");
    let neighbour = Load::begin(&node.target("b.example")?, RATE)?;
    drop(origins);
    let answers: Vec<_> = (0..TRIES).map(|network| target.ask_from(network, "/", "")).collect();
    let told =
        answers.iter().filter(|answer| answer.as_ref().is_ok_and(|it| matches!(it.0, 502..=504))).count();
    let all = told as u64 == TRIES;
    outcome.check(
        "without a cache: every request is told as a fault",
        all,
        answers.last().map_or_else(String::new, in_words),
    );
    let again = Origin::start_at(one, "from the origin")?;
    let first = target.ask("/", "");
    let is_back = wait_until(PATIENCE, || is_page(&target.ask("/", "")));
    let found = format!("at first {}, then asked {} times", in_words(&first), again.asked());
    outcome.check(
        "without a cache: an origin that comes back is found, as it is still tried",
        is_back,
        found,
    );
    outcome.add_unharmed("without a cache: no request of the neighbour fails", neighbour.end());
    outcome.check("without a cache: no process ended", node.edge()? == edge, edge);
    Ok(())
}

fn is_page(answer: &Result<(u16, String)>) -> bool {
    answer.as_ref().is_ok_and(|(status, body)| *status == 200 && body == "from the origin")
}
