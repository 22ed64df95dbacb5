//! Pages whose every byte is known: an origin that makes them from their path and version, and visitors who
//! compare what they get.
//!
//! A page is changed at the origin by raising its version, and from when on nobody may see an older one is
//! said by [`Pages::confirm`]. Called by the drills of the cache; read next: [`super::disk`].

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use anyhow::Result;

use super::load::{End, Fetched, Kept, Target};
use super::origin::Origin;

/// Lines of a page: some 7 KiB, which is neither one read nor one write of a socket's.
const LINES: u32 = 256;

/// Requests on one connection: fewer than a node lets one have.
const REQUESTS_A_CONNECTION: usize = 250;

/// One page.
#[derive(Debug, Default)]
struct Page {
    /// What is true at the origin.
    version: AtomicU64,
    /// What a visitor may get at the least.
    least: AtomicU64,
    /// How often the origin was asked.
    fetches: AtomicU64,
}

/// The pages of a site. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Pages(Arc<[Page]>);

/// What came of looking at every page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Looked {
    /// Answers that were whole and right.
    pub(super) right: usize,
    /// Of these, out of the cache.
    pub(super) hits: usize,
}

fn body(path: &str, version: u64) -> String {
    let mut body = String::new();
    for line in 0..LINES {
        // Writing to a string does not fail.
        let _ = writeln!(body, "{path} {version} {line:06}");
    }
    body
}

/// The version of a page as it came; `None` when a byte of it is wrong.
fn version(path: &str, came: &str) -> Option<u64> {
    let version = came.split(' ').nth(1)?.parse().ok()?;
    (came == body(path, version)).then_some(version)
}

impl Pages {
    /// So many of them, each in its first version.
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Page::default()).collect())
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Where one is.
    pub(super) fn path(number: usize) -> String {
        format!("/page/{number}")
    }

    /// An origin that has them, and nothing else.
    ///
    /// # Errors
    /// As [`Origin::start`].
    pub(super) fn origin(&self) -> Result<Origin> {
        let pages = self.clone();
        Origin::replying(move |path, to| pages.reply(path, to))
    }

    /// Writes the answer to a path.
    ///
    /// # Errors
    /// Of the connection.
    pub(super) fn reply(&self, path: &str, to: &mut dyn Write) -> io::Result<()> {
        let number = path.strip_prefix("/page/").and_then(|number| number.parse::<usize>().ok());
        let Some(page) = number.and_then(|number| self.0.get(number)) else {
            return to.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        };
        page.fetches.fetch_add(1, SeqCst);
        let body = body(path, page.version.load(SeqCst));
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: max-age=3600\r\nContent-Length: \
             {}\r\n\r\n",
            body.len()
        );
        to.write_all(&[head.as_bytes(), body.as_bytes()].concat())
    }

    /// Changes one at the origin.
    pub(super) fn change(&self, number: usize) {
        if let Some(page) = self.0.get(number) {
            page.version.fetch_add(1, SeqCst);
        }
    }

    /// From now on nobody may get one that is older than what is true at the origin.
    pub(super) fn confirm(&self, number: usize) {
        if let Some(page) = self.0.get(number) {
            page.least.store(page.version.load(SeqCst), SeqCst);
        }
    }

    /// How often the origin was asked for one.
    pub(super) fn fetches(&self, number: usize) -> u64 {
        self.0.get(number).map_or(0, |page| page.fetches.load(SeqCst))
    }

    /// How often the origin was asked for any.
    pub(super) fn fetched(&self) -> u64 {
        self.0.iter().map(|page| page.fetches.load(SeqCst)).sum()
    }

    /// The least that may be seen of one, to be asked before the page is.
    fn least(&self, number: usize) -> u64 {
        self.0.get(number).map_or(0, |page| page.least.load(SeqCst))
    }

    /// How an answer ends that was asked for when `least` was the least.
    fn judge(number: usize, least: u64, fetched: &Fetched) -> End {
        if fetched.status != 200 {
            return End::Answered(fetched.status);
        }
        match version(&Self::path(number), &fetched.body) {
            None => End::Wrong(format!("page {number} has a wrong byte")),
            Some(version) if version < least => {
                End::Wrong(format!("page {number} is of version {version}, which was purged for {least}"))
            }
            Some(_) => End::Answered(200),
        }
    }

    /// Asks for one from a network, and judges it.
    pub(super) fn visit(&self, target: &Target, network: u64, number: usize) -> End {
        let least = self.least(number);
        match target.fetch(network, &Self::path(number)) {
            Ok(fetched) => Self::judge(number, least, &fetched),
            Err(error) => End::Broken(format!("{error:#}")),
        }
    }

    /// Asks for some, each as often as said, one after the other on connections that stay.
    ///
    /// # Errors
    /// When one is not answered as it must be.
    pub(super) fn look(
        &self,
        target: &Target,
        numbers: impl Iterator<Item = usize>,
        times: usize,
    ) -> Result<Looked> {
        let mut looked = Looked::default();
        let (mut kept, mut asked) = (Kept::connect(target, 0)?, 0);
        for number in numbers.flat_map(|number| std::iter::repeat_n(number, times)) {
            if asked == REQUESTS_A_CONNECTION {
                (kept, asked) = (Kept::connect(target, 0)?, 0);
            }
            asked += 1;
            let least = self.least(number);
            let fetched = kept.fetch(&Self::path(number))?;
            match Self::judge(number, least, &fetched) {
                End::Answered(200) => looked.right += 1,
                other => anyhow::bail!("page {number}: {other:?}"),
            }
            looked.hits += usize::from(fetched.is_hit());
        }
        Ok(looked)
    }

    /// Every number, for [`Pages::look`].
    pub(super) fn all(&self) -> std::ops::Range<usize> {
        0..self.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_bit_or_a_page_of_another_path_is_wrong() {
        let page = body("/page/3", 7);
        assert_eq!(version("/page/3", &page), Some(7));
        assert_eq!(version("/page/4", &page), None);
        assert_eq!(version("/page/3", &page[1..]), None);
        assert_eq!(version("/page/3", ""), None);
        for at in [0, 8, page.len() / 2, page.len() - 1] {
            let mut bytes = page.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(version("/page/3", &String::from_utf8_lossy(&bytes)), None, "{at}");
        }
    }

    #[test]
    fn what_was_changed_is_true_at_once_and_binding_once_it_is_confirmed() {
        let pages = Pages::new(2);
        let ask = |number: usize| {
            let mut answer = Vec::new();
            pages.reply(&Pages::path(number), &mut answer).unwrap();
            let text = String::from_utf8(answer).unwrap();
            let (_, body) = text.split_once("\r\n\r\n").unwrap();
            version(&Pages::path(number), body)
        };
        assert_eq!((ask(0), ask(1)), (Some(0), Some(0)));
        pages.change(1);
        assert_eq!((ask(0), ask(1), pages.least(1)), (Some(0), Some(1), 0));
        pages.confirm(1);
        assert_eq!((pages.least(1), pages.fetches(1), pages.fetches(0)), (1, 2, 2));
    }
}
