//! Drills of a cache under many: a thousand visitors on one expired page (C6), purges by the thousand under
//! load (C7).
//!
//! Read next: [`super::pages`], [`super::disk`].

use std::io::{self, BufRead as _, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Run;
use super::load::{End, Kept, Load, Target, wait_until};
use super::node::{AT_ONCE, Node, NodeFolder, NodeText, PATIENCE, passing};
use super::origin::Origin;
use super::pages::Pages;
use super::report::Outcome;
use crate::clock;
use crate::messages::{Answer, Purge, Request};

/// Visitors who come at once.
const HERD: usize = 1_000;

/// A page that is stale after a second, and a long wait for it: the herd waits for as long as the drill needs
/// to gather it.
const EXPIRING: &str = "\n[cache]\nenabled = true\nwait_ms = 60000\n\
                        [[cache.lifetime]]\nstatus = 200\nseconds = 1\n";

/// An origin that answers when it is told to.
#[derive(Debug, Default)]
struct Slow {
    is_open: Mutex<bool>,
    changed: Condvar,
    fetches: AtomicU64,
    fails: AtomicBool,
}

impl Slow {
    fn set_open(&self, is_open: bool) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = is_open;
        self.changed.notify_all();
    }

    fn reply(&self, to: &mut dyn Write) -> io::Result<()> {
        let number = self.fetches.fetch_add(1, SeqCst);
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        // Who waits for a drill that broke off must end too.
        let waited = self.changed.wait_timeout_while(is_open, PATIENCE, |is_open| !*is_open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        if self.fails.load(SeqCst) {
            return to.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        }
        let body = format!("version {number}");
        write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }
}

/// What became of a herd.
struct Gathered {
    /// Bodies that came with 200.
    bodies: Vec<String>,
    /// What else came, the first of it.
    other: Option<String>,
    /// How often the origin was asked.
    fetches: u64,
    /// From the first request to the last answer.
    took: Duration,
}

/// Lets the page expire, has a thousand visitors ask for it while the origin does not answer, then lets it
/// answer or fail.
fn gather(node: &Node, target: &Target, slow: &Slow, fails: bool) -> Result<Gathered> {
    slow.set_open(true);
    let before = target.fetch(0, "/")?;
    ensure!(before.status == 200, "the page should be there");
    slow.set_open(false);
    slow.fails.store(fails, SeqCst);
    // It is kept for one second.
    thread::sleep(Duration::from_millis(1_100));
    let fetches = slow.fetches.load(SeqCst);
    let herd =
        (0..HERD as u64).map(|network| Kept::connect(target, network % 64)).collect::<Result<Vec<_>>>()?;
    let open = || node.metric("rempart_connections_open{protocol=\"http1\"}").unwrap_or(0);
    ensure!(wait_until(PATIENCE, || open() >= HERD as u64), "not all visitors are taken in");
    let begun = clock::now();
    herd.iter().try_for_each(|kept| kept.send("/"))?;
    let is_asked = wait_until(PATIENCE, || slow.fetches.load(SeqCst) > fetches);
    ensure!(is_asked, "nobody asks the origin");
    // The threads read what has come before they answer what comes later.
    (0..32).try_for_each(|network| target.fetch(network, "/passes").map(drop))?;
    slow.set_open(true);
    let (mut bodies, mut other) = (Vec::new(), None);
    for kept in &herd {
        match kept.answer() {
            Ok((200, body)) => bodies.push(body),
            Ok((status, _)) => other = other.or(Some(status.to_string())),
            Err(error) => other = other.or(Some(format!("{error:#}"))),
        }
    }
    let took = clock::now().saturating_duration_since(begun);
    Ok(Gathered { bodies, other, fetches: slow.fetches.load(SeqCst) - fetches, took })
}

/// How many of a herd got this.
fn with(bodies: &[String], body: &str) -> usize {
    bodies.iter().filter(|came| *came == body).count()
}

/// C6: a thousand visitors on one expired page.
pub(super) fn herd(run: &Run, outcome: &mut Outcome) -> Result<()> {
    crate::sockets::make_room_for_descriptors(crate::sockets::raise_descriptor_limit());
    let slow = Arc::new(Slow::default());
    let answering = Arc::clone(&slow);
    let origin = Origin::replying(move |path, to| match path {
        "/" => answering.reply(to),
        _ => to.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    })?;
    let folder = run.folder("node", &NodeText::default())?;
    folder.zone("a", &format!("{}{EXPIRING}", passing("a", &["a.example"], origin.address())))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);

    let Gathered { bodies, other, fetches, took } = gather(&node, &target, &slow, false)?;
    outcome.figure("visitors", HERD);
    outcome.figure("fetches", fetches);
    outcome.figure("answered_in_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    outcome.check("one fetch", fetches == 1, fetches);
    let found = other.unwrap_or_else(|| format!("{} of {HERD}", bodies.len()));
    outcome.check("all are answered", bodies.len() == HERD, found);
    let new = with(&bodies, &format!("version {}", slow.fetches.load(SeqCst) - 1));
    outcome.check("with what was fetched", new == HERD, new);
    let waited = || node.metric("rempart_cache_requests_total{result=\"collapsed\"}").unwrap_or(0);
    let have_waited = wait_until(PATIENCE, || waited() >= HERD as u64 / 2);
    outcome.check("most of them waited for that one", have_waited, waited());

    let Gathered { bodies, other, fetches, took } = gather(&node, &target, &slow, true)?;
    outcome.figure("fetches_of_a_failing_origin", fetches);
    // From its failure on it is left alone for a second each time.
    let most = took.as_secs() + 1;
    let found = format!("{fetches} of at most {most}");
    outcome.check("a failing origin is asked once, and once a second then", fetches <= most, found);
    let found = other.unwrap_or_else(|| format!("{} of {HERD}", bodies.len()));
    outcome.check("all are answered", bodies.len() == HERD, found);
    let same = with(&bodies, bodies.first().map_or("", String::as_str));
    outcome.check("with the stored page", same == HERD, same);
    outcome.check("no process ended", node.edge()? == edge, edge);
    outcome.check("the node ends cleanly", node.stop()?, "");
    Ok(())
}

/// Who purge at the same time; a node takes sixteen commands at once.
const PURGERS: usize = 12;

/// Pages that are purged, and pages that are not.
const PURGED: usize = 48;
const LEFT_ALONE: usize = 48;

/// Requests a second meanwhile.
const RATE: u64 = 200;

/// Purges that take place however short the drill is.
const PURGES_MIN: u64 = 500;

/// A connection to the command socket.
struct Orders(BufReader<UnixStream>);

impl Orders {
    fn connect(folder: &NodeFolder) -> Result<Self> {
        let connection = UnixStream::connect(folder.at("data/rempart.sock")).context("the command socket")?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(connection)))
    }

    /// Purges a page, and waits until it is done.
    fn purge(&mut self, page: usize) -> Result<()> {
        let what = Purge::Url(format!("https://a.example{}", Pages::path(page)));
        let mut line = serde_json::to_vec(&Request::Purge { what, is_soft: false })?;
        line.push(b'\n');
        self.0.get_mut().write_all(&line)?;
        line.clear();
        self.0.read_until(b'\n', &mut line)?;
        let answer: Answer = serde_json::from_slice(&line).context("the answer to a purge")?;
        ensure!(answer.ok, "a purge is refused: {}", answer.error.unwrap_or_default());
        ensure!(answer.warning.is_none(), "a purge is not kept: {}", answer.warning.unwrap_or_default());
        Ok(())
    }
}

/// Purges by the thousand, each by one of some connections; gives how many.
fn storm(run: &Run, folder: &NodeFolder, pages: &Pages) -> Result<u64> {
    let until = clock::now() + run.lasting;
    let purged = AtomicU64::new(0);
    thread::scope(|scope| {
        let purgers: Vec<_> = (0..PURGERS)
            .map(|first| {
                let purged = &purged;
                scope.spawn(move || -> Result<()> {
                    let mut orders = Orders::connect(folder)?;
                    for page in (first..PURGED).step_by(PURGERS).cycle() {
                        if clock::now() >= until && purged.load(SeqCst) >= PURGES_MIN {
                            break;
                        }
                        pages.change(page);
                        orders.purge(page)?;
                        pages.confirm(page);
                        purged.fetch_add(1, SeqCst);
                    }
                    Ok(())
                })
            })
            .collect();
        purgers.into_iter().try_for_each(|purger| {
            purger.join().map_err(|_| anyhow::anyhow!("a thread that purges broke"))?
        })
    })?;
    Ok(purged.load(SeqCst))
}

/// C7: purges by the thousand under load.
pub(super) fn purge_storm(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let pages = Pages::new(PURGED + LEFT_ALONE);
    let origin = pages.origin()?;
    let more = format!("{AT_ONCE}\n[cache]\ndisk_bytes = \"64MiB\"\n");
    let folder = run.folder("node", &NodeText { more, ..NodeText::default() })?;
    let cache = "\n[cache]\nenabled = true\n";
    folder.zone("a", &format!("{}{cache}", passing("a", &["a.example"], origin.address())))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    node.wait_for_disk()?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    pages.look(&target, pages.all(), 3)?;
    let fetched = |pages: &Pages| (PURGED..pages.count()).map(|page| pages.fetches(page)).sum::<u64>();
    let before = fetched(&pages);
    let (visitors_pages, visitors_target) = (pages.clone(), target.clone());
    let visitors = Load::asking(RATE, move |number| {
        let page = number.wrapping_mul(0x9e37_79b9) as usize % visitors_pages.count();
        visitors_pages.visit(&visitors_target, number, page)
    })?;
    visitors.wait_for(RATE / 4);
    let begun = clock::now();
    let purges = storm(run, &folder, &pages)?;
    let took = clock::now().saturating_duration_since(begun);
    let a_second = (purges as f64 / took.as_secs_f64()).round();
    outcome.figure("purges", purges);
    outcome.figure("purges_a_second", a_second);
    let a_thousand = took.mul_f64(1_000.0 / (purges.max(1) as f64));
    outcome.check_time("a thousand purges take", a_thousand, Duration::from_millis(500));
    visitors.wait_for(RATE / 4);
    let visits = visitors.end();
    let wrong = visits.iter().filter(|visit| matches!(visit.end, End::Wrong(_))).count();
    outcome.check("nobody sees a purged byte", wrong == 0, wrong);
    outcome.add_unharmed("purge storm: no request fails", visits);
    // The table of purges may take one page for another; it errs towards a fetch.
    let again = fetched(&pages) - before;
    outcome.check("what is not purged is hit on", again <= 2, format!("{again} fetched again"));
    outcome.check("no process ended", node.edge()? == edge, edge);
    outcome.check("the node ends cleanly", node.stop()?, "");
    let node = folder.start()?;
    node.wait_for_disk()?;
    let looked = pages.look(&node.target("a.example")?, pages.all(), 1)?;
    outcome.figure("hits_after_a_restart", looked.hits);
    let all = looked.right == pages.count();
    outcome.check("nothing purged is back after a restart", all, looked.right);
    Ok(())
}
