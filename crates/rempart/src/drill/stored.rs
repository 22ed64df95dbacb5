//! The drill of a site whose every origin is gone (D20): what is stored is served on, and the rest is told as
//! what it is.
//!
//! Before that, purges in a row under load, which take everything that is stored and fail nobody. Read next:
//! [`super::deaths`].

use anyhow::Result;

use super::Run;
use super::load::{Load, in_words};
use super::node::{NodeText, passing};
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
    Ok(())
}

fn is_page(answer: &Result<(u16, String)>) -> bool {
    answer.as_ref().is_ok_and(|(status, body)| *status == 200 && body == "from the origin")
}
