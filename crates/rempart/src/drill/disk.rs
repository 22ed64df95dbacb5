//! Drills of the cache's disk: it is full (C1), it stalls (C2), its bits flip (C3), the edge dies in the
//! middle of storing (C4), its folder is another's or garbled (C5).
//!
//! In all of them no request may fail and no visitor may get a wrong byte: every answer is compared with what
//! the origin made ([`super::pages`]). Read next: [`super::herd`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::dying::{Watched, settle};
use super::load::{End, Kept, Load, Visit, wait_until};
use super::node::{AT_ONCE, Node, NodeFolder, NodeText, PATIENCE, passing};
use super::origin::Origin;
use super::pages::Pages;
use super::report::Outcome;
use super::scarce::Small;
use super::{HAS_FAULT_POINTS, Run};

/// Requests a second beside it.
const RATE: u64 = 100;

/// What the zone's file says after its pool.
const CACHE: &str = "\n[cache]\nenabled = true\n";

/// The longest a visitor may wait for a disk that does not answer, before the origin is asked: a tenth of a
/// second is the store's own bound, the rest is the machine's.
const BYPASS: Duration = Duration::from_millis(400);

/// A node with a cache of these sizes in MiB, its disk in a folder, before an origin.
fn node_folder(run: &Run, name: &str, origin: &Origin, memory: u32, disk: &Path) -> Result<NodeFolder> {
    let more = format!(
        "{AT_ONCE}\n[cache]\nmemory_bytes = \"{memory}MiB\"\ndisk_bytes = \"64MiB\"\ndisk_folder = {:?}\n",
        disk.display().to_string()
    );
    let folder = run.folder(name, &NodeText { more, ..NodeText::default() })?;
    folder.zone("a", &format!("{}{CACHE}", passing("a", &["a.example"], origin.address())))?;
    Ok(folder)
}

/// Where a node of this name keeps stored answers, unless they are elsewhere.
fn disk_of(run: &Run, name: &str) -> PathBuf {
    run.path(name).join("stored")
}

/// Visitors at random pages, each of whom compares what comes.
fn load(node: &Node, pages: &Pages) -> Result<Load> {
    let (target, pages) = (node.target("a.example")?, pages.clone());
    Load::asking(RATE, move |number| {
        // Multiplying by an odd number goes through all of them, in no order that matters.
        let page = number.wrapping_mul(0x9e37_79b9) as usize % pages.count();
        pages.visit(&target, number, page)
    })
}

/// How many of the visits got a wrong byte, or one that was purged.
fn wrong(visits: &[Visit]) -> usize {
    visits.iter().filter(|visit| matches!(visit.end, End::Wrong(_))).count()
}

/// Ends a load that nothing may have harmed.
fn unharmed(what: &str, load: Load, outcome: &mut Outcome) {
    let visits = load.end();
    let (wrong, all) = (wrong(&visits), visits.len());
    outcome.check(&format!("{what}: never a wrong byte"), wrong == 0, format!("{wrong} of {all}"));
    outcome.add_unharmed(&format!("{what}: no request fails"), visits);
}

/// Asks for every page twice, so that it is worth a place on disk, until so many are there.
fn store(node: &Node, pages: &Pages, least: usize) -> Result<()> {
    let target = node.target("a.example")?;
    let mut failed = None;
    let is_stored = wait_until(PATIENCE, || {
        failed = pages.look(&target, pages.all(), 2).err();
        let objects = node.disk().ok().and_then(|disk| disk["objects"].as_u64());
        failed.is_some() || objects >= Some(least as u64)
    });
    failed.map_or(Ok(()), Err)?;
    ensure!(is_stored, "pages do not get to the disk: {}", node.disk()?);
    Ok(())
}

/// Waits for the event that something ails the disk; checks that it is this, and that status says it too.
fn is_told(node: &Node, mark: usize, trouble: &str, outcome: &mut Outcome) -> Result<()> {
    let told = node.wait_for(mark, "cache_disk_trouble")?.event;
    let is_it = told["trouble"] == trouble && told["remedy"].as_str().is_some_and(|text| !text.is_empty());
    outcome.check("an event tells it with what to do", is_it, &told["cause"]);
    let disk = node.disk()?;
    outcome.check("`status` tells it", disk["trouble"] == trouble, &disk["trouble"]);
    Ok(())
}

/// What goes wrong with a disk by its fault point, for as long as this is there.
struct Fault(PathBuf);

impl Fault {
    fn begin(disk: &Path, word: &str) -> Result<Self> {
        let path = disk.join("fault");
        crate::files::write_whole(&path, word.as_bytes(), 0o600)?;
        Ok(Self(path))
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // Gone with the folder where that is gone.
        let _ = fs::remove_file(&self.0);
    }
}

/// How a disk is made full.
enum Filled {
    /// It is a small one.
    Small(Small),
    /// By the fault point.
    Fault(Option<Fault>),
}

/// C1: the disk is full, then has room again.
pub(super) fn full(run: &Run, outcome: &mut Outcome) -> Result<()> {
    // Twice of what fits on the small disk, and all of it in memory.
    let pages = Pages::new(1_200);
    let origin = pages.origin()?;
    let (mut way, disk) = match Small::mount(run.path("small"), 4) {
        Ok(small) => {
            let disk = small.path().join("stored");
            (Filled::Small(small), disk)
        }
        Err(_) if HAS_FAULT_POINTS => {
            outcome.note("no small file system can be made: the disk is full by its fault point");
            (Filled::Fault(None), disk_of(run, "node"))
        }
        Err(error) => {
            outcome
                .leave_out(&format!("only root, or a build with fault points, can fill a disk: {error:#}"));
            return Ok(());
        }
    };
    let folder = node_folder(run, "node", &origin, 64, &disk)?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    node.wait_for_disk()?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let visitors = load(&node, &pages)?;
    visitors.wait_for(RATE / 2);
    if let Filled::Fault(fault) = &mut way {
        *fault = Some(Fault::begin(&disk, "full")?);
    }
    pages.look(&target, pages.all(), 2)?;
    is_told(&node, 0, "full", outcome)?;
    let errors = node.cache_events("disk_write_errors")?;
    outcome.figure("write_errors", errors);
    outcome.check("it is counted", errors > 0, errors);
    let hits = pages.look(&target, pages.all(), 1)?.hits;
    outcome.check(
        "what is in memory is hit on",
        hits == pages.count(),
        format!("{hits} of {}", pages.count()),
    );
    purge_holds(&node, &pages, 0, outcome)?;
    match &mut way {
        Filled::Small(small) => small.grow(64)?,
        Filled::Fault(fault) => drop(fault.take()),
    }
    let mut failed = None;
    let is_well = wait_until(PATIENCE, || {
        failed = pages.look(&target, pages.all(), 1).err();
        failed.is_some() || !node.told(0, "cache_disk_recovered").is_empty()
    });
    failed.map_or(Ok(()), Err)?;
    outcome.check("with room again an event tells that it is over", is_well, is_well);
    unharmed("full disk", visitors, outcome);
    outcome.check("no process ended", node.edge()? == edge, edge);
    store(&node, &pages, pages.count() / 2)?;
    outcome.check("the node ends cleanly", node.stop()?, "");
    let node = folder.start()?;
    node.wait_for_disk()?;
    let hits = pages.look(&node.target("a.example")?, pages.all(), 1)?.hits;
    outcome.figure("hits_after_a_restart", hits);
    outcome.check("what was stored then survives a restart", hits > 0, hits);
    Ok(())
}

/// Changes a page at the origin, purges it, and asks: the new one must come.
fn purge_holds(node: &Node, pages: &Pages, page: usize, outcome: &mut Outcome) -> Result<()> {
    pages.change(page);
    let url = format!("https://a.example{}", Pages::path(page));
    let purged = node.command(&["purge", "--url", &url])?.status.success();
    pages.confirm(page);
    let end = pages.visit(&node.target("a.example")?, 0, page);
    let is_new = purged && end == End::Answered(200);
    outcome.check("a purge holds for the next request", is_new, format!("{end:?}"));
    Ok(())
}

/// C2: nothing that is asked of the disk comes back.
pub(super) fn stalled(run: &Run, outcome: &mut Outcome) -> Result<()> {
    // Half again of what memory holds, so that the disk is needed.
    let pages = Pages::new(1_500);
    let (origin, disk) = (pages.origin()?, disk_of(run, "node"));
    let folder = node_folder(run, "node", &origin, 8, &disk)?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    node.wait_for_disk()?;
    store(&node, &pages, pages.count() / 2)?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let (late, passed) = (node.cache_events("disk_reads_late")?, node.cache_events("disk_reads_bypassed")?);
    let visitors = load(&node, &pages)?;
    visitors.wait_for(RATE / 2);
    let quiet = visitors.asked();
    let fault = Fault::begin(&disk, "stall")?;
    is_told(&node, 0, "stalled", outcome)?;
    visitors.wait_for(RATE);
    let through = visitors.asked() - quiet;
    outcome.figure("requests_while_it_stalls", through);
    let late = node.cache_events("disk_reads_late")? - late;
    let passed = node.cache_events("disk_reads_bypassed")? - passed;
    outcome.figure("reads_late", late);
    outcome.figure("reads_not_asked_for", passed);
    outcome.check("the bypass is counted", late + passed > 0, late + passed);
    purge_holds(&node, &pages, 0, outcome)?;
    drop(fault);
    node.wait_for(0, "cache_disk_recovered")?;
    let before = node.cache_events("disk_hits")?;
    let reads_again = wait_until(PATIENCE, || {
        let _ = pages.look(&target, pages.all(), 1);
        node.cache_events("disk_hits").is_ok_and(|hits| hits > before)
    });
    outcome.check("once it answers again it is read from", reads_again, reads_again);
    let visits = visitors.end();
    let from = visits.len().min(usize::try_from(quiet).unwrap_or(usize::MAX));
    let to = visits.len().min(from.saturating_add(usize::try_from(through).unwrap_or(usize::MAX)));
    tell_times("before", visits.get(..from).unwrap_or_default(), outcome);
    tell_times("while_it_stalls", visits.get(from..to).unwrap_or_default(), outcome);
    let slowest = visits.iter().map(|visit| visit.took).max().unwrap_or_default();
    outcome.check_time("nobody waits for it longer than its bound", slowest, BYPASS);
    let wrong = wrong(&visits);
    outcome.check("never a wrong byte", wrong == 0, wrong);
    outcome.add_unharmed("stalled disk: no request fails", visits);
    outcome.check("no process ended", node.edge()? == edge, edge);
    let _stalled_again = Fault::begin(&disk, "stall")?;
    outcome.check("the node ends cleanly while it stalls", node.stop()?, "");
    Ok(())
}

/// Tells how long visits took: half of them at most, 99 of 100 at most, and the slowest, in microseconds.
fn tell_times(when: &str, visits: &[Visit], outcome: &mut Outcome) {
    let micros = |visit: &Visit| u64::try_from(visit.took.as_micros()).unwrap_or(u64::MAX);
    let mut took: Vec<u64> = visits.iter().map(micros).collect();
    took.sort_unstable();
    for (name, percent) in [("p50", 50), ("p99", 99), ("slowest", 100)] {
        let place = (took.len() * percent).div_ceil(100).saturating_sub(1);
        if let Some(us) = took.get(place) {
            outcome.figure(&format!("{name}_us_{when}"), *us);
        }
    }
}

/// The files of a disk whose names end so.
fn files_of(disk: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let all = fs::read_dir(disk).with_context(|| format!("{} cannot be read", disk.display()))?;
    let paths = all.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.filter(|path| path.extension().is_some_and(|found| found == ending)).collect())
}

/// Flips one bit in every so many bytes of the files that end so, where they are; gives how many.
fn flip(disk: &Path, ending: &str, every: usize) -> Result<usize> {
    use std::os::unix::fs::FileExt as _;
    let mut flipped = 0;
    for path in files_of(disk, ending)? {
        let bytes = fs::read(&path)?;
        let file = fs::OpenOptions::new().write(true).open(&path)?;
        for at in (every / 2..bytes.len()).step_by(every) {
            let bit = 1 << (at % 8);
            let byte = bytes.get(at).map(|byte| byte ^ bit).unwrap_or_default();
            file.write_all_at(&[byte], at as u64)?;
            flipped += 1;
        }
    }
    Ok(flipped)
}

/// C3: bits flip in what is stored, and in the index, while the node is down and while it runs.
pub(super) fn flipped(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let pages = Pages::new(400);
    let (origin, disk) = (pages.origin()?, disk_of(run, "node"));
    let folder = node_folder(run, "node", &origin, 64, &disk)?;
    let node = folder.start()?;
    node.wait_for_disk()?;
    store(&node, &pages, pages.count())?;
    outcome.check("the node ends cleanly", node.stop()?, "");
    // A page's record has some 7 KiB, its entry 64 bytes: one in four of each.
    let before = flip(&disk, "index", 4 * 64)?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    node.wait_for_disk()?;
    let edge = node.edge()?;
    let while_it_runs = flip(&disk, "data", 32 * 1024)?;
    outcome.figure("bits_flipped", before + while_it_runs);
    let entries = node.cache_events("disk_entries_damaged")?;
    outcome.check("damaged entries are counted", entries > 0, entries);
    let visitors = load(&node, &pages)?;
    let looked = pages.look(&node.target("a.example")?, pages.all(), 1)?;
    outcome.figure("hits", looked.hits);
    let found = format!("{} of {}", looked.right, pages.count());
    outcome.check("every page comes as the origin made it", looked.right == pages.count(), found);
    outcome.check("what is whole is hit on", looked.hits > 0, looked.hits);
    let records = node.cache_events("disk_records_damaged")?;
    outcome.figure("records_damaged", records);
    outcome.check("damaged records are counted", records > 0, records);
    let told = node.wait_for(0, "cache_disk_damaged")?.event;
    outcome.check("an event tells it", told["count"].as_u64() > Some(0), &told["count"]);
    visitors.wait_for(RATE);
    unharmed("flipped bits", visitors, outcome);
    outcome.check("no process ended", node.edge()? == edge, edge);
    Ok(())
}

/// An origin whose one slow page stops halfway until it is let go.
#[derive(Debug, Default)]
struct Gate {
    is_open: Mutex<bool>,
    changed: Condvar,
    has_begun: AtomicBool,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        self.has_begun.store(true, Ordering::SeqCst);
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        // Who waits for a drill that broke off must end too.
        let waited = self.changed.wait_timeout_while(is_open, PATIENCE, |is_open| !*is_open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// How often the edge is killed in C4.
const KILLS: usize = 3;

/// The page of C4 whose fill is cut.
const SLOW: &str = "/slow";

/// C4: the edge is killed while it stores.
pub(super) fn killed(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let pages = Pages::new(900);
    let gate = Arc::new(Gate::default());
    let (shelf, held) = (pages.clone(), Arc::clone(&gate));
    let origin = Origin::replying(move |path, to| {
        if path != SLOW {
            return shelf.reply(path, to);
        }
        let half = "half ".repeat(2_000);
        let length = 2 * half.len();
        write!(
            to,
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: {length}\r\n\r\n{half}"
        )?;
        to.flush()?;
        held.wait();
        to.write_all(half.as_bytes())
    })?;
    let disk = disk_of(run, "node");
    let folder = node_folder(run, "node", &origin, 64, &disk)?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    node.wait_for_disk()?;
    let target = node.target("a.example")?;
    let visitors = load(&node, &pages)?;
    let (mut kept_all, mut found, mut deaths) = (true, Vec::new(), Vec::new());
    for kill in 0..KILLS {
        // New pages each time, so that there is something on its way when it dies.
        let part = pages.count() / KILLS;
        pages.look(&target, part * kill..part * (kill + 1), 2)?;
        let half = Kept::connect(&target, 1)?;
        half.send(SLOW)?;
        let begun = wait_until(PATIENCE, || gate.has_begun.load(Ordering::SeqCst));
        ensure!(begun, "the origin is not asked for what is to be cut");
        let objects = || node.disk().ok().and_then(|disk| disk["objects"].as_u64()).unwrap_or(0);
        ensure!(wait_until(PATIENCE, || objects() > 0), "nothing gets to the disk: {}", node.disk()?);
        let (committed, fetched) = (objects(), pages.fetched());
        let (mark, edge) = (node.mark(), Watched::open(node.edge()?)?);
        deaths.push(edge.kill()?);
        node.wait_for(mark, "ready")?;
        node.wait_for_disk()?;
        // What was fetched anew before the disk was read is on its way there again.
        let (there, anew) = (objects(), pages.fetched() - fetched);
        kept_all &= there + anew >= committed;
        found.push(format!("{there} and {anew} on their way, of {committed}"));
        gate.has_begun.store(false, Ordering::SeqCst);
        node.wait_for(mark, "spare_ready")?;
    }
    outcome.figure("kills", KILLS);
    outcome.check("what was committed is there after each death", kept_all, found.join(", "));
    gate.open();
    let whole = "half ".repeat(4_000);
    let slow = target.fetch(1, SLOW)?;
    let is_whole = slow.body == whole && !slow.is_hit();
    outcome.check("half an answer is nothing: it is fetched anew, whole", is_whole, slow.body.len());
    let again = target.fetch(1, SLOW)?;
    outcome.check("and stored then", again.body == whole && again.is_hit(), again.body.len());
    let looked = pages.look(&target, pages.all(), 1)?;
    let found = format!("{} of {}", looked.right, pages.count());
    outcome.check("every page comes as the origin made it", looked.right == pages.count(), found);
    outcome.figure("hits_of_what_was_stored_before", looked.hits);
    outcome.check("what was stored before is hit on", looked.hits > 0, looked.hits);
    let damaged = node.cache_events("disk_records_damaged")?;
    outcome.check("a death damages nothing", damaged == 0, damaged);
    let wrong = wrong(&settle(outcome, "the edge is killed", visitors, &deaths));
    outcome.check("never a wrong byte", wrong == 0, wrong);
    Ok(())
}

/// A head of a folder of version 2, whole and sealed as any version has it.
const OTHER_VERSION: &[u8] = &{
    let mut bytes = [0; 64];
    let (magic, seal) = (*b"REMPCACH", [222, 55, 152, 57, 202, 183, 250, 26]);
    let mut at = 0;
    while at < 8 {
        bytes[at] = magic[at];
        bytes[56 + at] = seal[at];
        at += 1;
    }
    bytes[8] = 2; // the version
    bytes[14] = 0x80; // 8 MiB a segment
    bytes
};

/// What is done to a folder, and what must come of it.
struct Spoiled {
    how: &'static str,
    /// Changes the folder.
    spoil: fn(&Path) -> Result<()>,
    /// What the event says that tells of it; none where the folder is used all the same.
    refused: Option<&'static str>,
    /// Whether answers in it may still be used.
    may_hit: bool,
}

fn overwrite(path: PathBuf, bytes: &[u8]) -> Result<()> {
    fs::write(&path, bytes).with_context(|| format!("{} cannot be written", path.display()))
}

const SPOILED: &[Spoiled] = &[
    Spoiled {
        how: "head garbled",
        spoil: |disk| overwrite(disk.join("format"), &[0x5a; 8_192]),
        refused: Some("damaged"),
        may_hit: false,
    },
    Spoiled {
        how: "head emptied",
        spoil: |disk| overwrite(disk.join("format"), b""),
        refused: Some("damaged"),
        may_hit: false,
    },
    Spoiled {
        how: "head missing",
        spoil: |disk| Ok(fs::remove_file(disk.join("format"))?),
        refused: Some("missing"),
        may_hit: false,
    },
    Spoiled {
        how: "of another version",
        spoil: |disk| overwrite(disk.join("format"), OTHER_VERSION),
        refused: Some("version 2"),
        may_hit: false,
    },
    Spoiled {
        how: "one copy of the head garbled",
        spoil: |disk| {
            use std::os::unix::fs::FileExt as _;
            let file = fs::OpenOptions::new().write(true).open(disk.join("format"))?;
            Ok(file.write_all_at(&[0x5a; 64], 0)?)
        },
        refused: None,
        may_hit: true,
    },
    Spoiled {
        how: "log of purges garbled",
        spoil: |disk| overwrite(disk.join("purges"), &[0x5a; 4_096]),
        refused: None,
        may_hit: false,
    },
    Spoiled {
        how: "log of purges missing",
        spoil: |disk| Ok(fs::remove_file(disk.join("purges"))?),
        refused: None,
        may_hit: false,
    },
    Spoiled {
        how: "index garbled",
        spoil: |disk| {
            files_of(disk, "index")?.into_iter().try_for_each(|path| overwrite(path, &[0x5a; 6_400]))
        },
        refused: None,
        may_hit: false,
    },
    Spoiled {
        how: "segments cut in the middle",
        spoil: |disk| {
            for path in files_of(disk, "data")? {
                let file = fs::OpenOptions::new().write(true).open(&path)?;
                file.set_len(file.metadata()?.len() / 2)?;
            }
            Ok(())
        },
        refused: None,
        may_hit: true,
    },
];

/// Names and bytes of all files of a folder, but for the lock.
fn contents(disk: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut contents = Vec::new();
    for entry in fs::read_dir(disk)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "lock" {
            contents.push((name, fs::read(entry.path())?));
        }
    }
    contents.sort_unstable();
    Ok(contents)
}

/// C5: the folder is of another version, or garbled.
pub(super) fn poisoned(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let pages = Pages::new(60);
    let (origin, disk) = (pages.origin()?, disk_of(run, "node"));
    let folder = node_folder(run, "node", &origin, 64, &disk)?;
    for Spoiled { how, spoil, refused, may_hit } in SPOILED {
        if disk.exists() {
            fs::remove_dir_all(&disk)?;
        }
        let node = folder.start().with_context(|| format!("before the folder is {how}"))?;
        node.wait_for_disk()?;
        store(&node, &pages, pages.count())?;
        ensure!(node.stop()?, "the node does not end cleanly before the folder is {how}");
        fs::write(disk.join("theirs"), "a file of somebody else's")?;
        spoil(&disk)?;
        let before = contents(&disk)?;
        let node = folder.start().with_context(|| format!("folder {how}"))?;
        let target = node.target("a.example")?;
        match refused {
            Some(reason) => {
                let told = node.wait_for(0, "cache_disk_trouble")?.event;
                let is_told = told["trouble"] == "refused"
                    && told["cause"].as_str().is_some_and(|cause| cause.contains(reason))
                    && told["folder"].as_str().is_some_and(|folder| Path::new(folder).ends_with("stored"));
                outcome.check(&format!("{how}: an event names folder and reason"), is_told, &told["cause"]);
            }
            None => node.wait_for_disk()?,
        }
        let looked = pages.look(&target, pages.all(), 1)?;
        let visitors = load(&node, &pages)?;
        outcome.check(
            &format!("{how}: every page comes as the origin made it"),
            looked.right == pages.count(),
            looked.right,
        );
        if *may_hit {
            outcome.check(&format!("{how}: what is whole is used"), looked.hits > 0, looked.hits);
        } else {
            outcome.check(&format!("{how}: nothing of it is used"), looked.hits == 0, looked.hits);
        }
        let hits = pages.look(&target, pages.all(), 1)?.hits;
        outcome.check(&format!("{how}: the cache works"), hits == pages.count(), hits);
        visitors.wait_for(RATE / 5);
        unharmed(how, visitors, outcome);
        ensure!(node.stop()?, "the node does not end cleanly after the folder was {how}");
        if refused.is_some() {
            let is_same = contents(&disk)? == before;
            outcome.check(&format!("{how}: the folder is left as it was"), is_same, "");
        }
        let theirs = fs::read(disk.join("theirs")).unwrap_or_default();
        let is_there = theirs == b"a file of somebody else's";
        outcome.check(&format!("{how}: what is not ours is not touched"), is_there, theirs.len());
    }
    outcome.figure("folders_spoiled", SPOILED.len());
    Ok(())
}
