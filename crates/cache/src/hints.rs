//! What pages that are not stored told browsers to fetch, so that the next visitor hears of it early.
//!
//! It is the slow pages that hints help most, and those are seldom stored: a shop's page is made for one
//! visitor and `private`, and its style sheets are everybody's. So their links are told on, if two visitors
//! of different networks were given the same ones, one after the other: what is one visitor's never is. Only
//! links to the site itself are learned: what is not keyed may be written by a stranger's request, and must
//! not send others elsewhere. Called by the edge for zones that want it. Read next: `policy/hints.rs`.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use exchange::{Fields, Request, Response};

use crate::limits::HINTED_PAGES_MAX;
use crate::policy::own_links;

/// A page: a zone's host and target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageId(u64);

/// What a page told whom.
#[derive(Debug)]
struct Told {
    /// As many as a 103 has, each as the origin wrote it.
    links: Vec<Box<[u8]>>,
    /// Hash of the network that was given them first.
    network: u64,
    /// Whether another was given the same.
    is_everybodys: bool,
}

/// Links of pages, for all threads. At most [`HINTED_PAGES_MAX`] pages, of which the longest unheard of go
/// first.
#[derive(Debug, Default)]
pub struct Hints {
    seed: RandomState,
    pages: Mutex<Pages>,
}

/// Two generations: when the young one has grown to half of what may be, it becomes the old one.
#[derive(Debug, Default)]
struct Pages {
    young: HashMap<PageId, Told>,
    old: HashMap<PageId, Told>,
}

impl Pages {
    fn take(&mut self, page: PageId) -> Option<Told> {
        self.young.remove(&page).or_else(|| self.old.remove(&page))
    }

    fn put(&mut self, page: PageId, told: Told) {
        if self.young.len() >= HINTED_PAGES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(page, told);
    }
}

impl Hints {
    /// The page that a request asks for; none where its answers say nothing of the next one's.
    pub fn page(&self, zone: u128, request: &Request) -> Option<PageId> {
        let is_page = request.method == exchange::Method::Get;
        is_page.then(|| PageId(self.seed.hash_one((zone, request.authority(), request.target()))))
    }

    /// Notes what an answer that is not stored told a visitor.
    pub fn learn(&self, page: PageId, visitor: IpAddr, answer: &Response) {
        let links = own_links(answer);
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let known = pages.take(page);
        if links.is_empty() {
            return; // and what it told before is no more
        }
        let network = self.network(visitor);
        let told = match known {
            Some(mut told) if told.links.iter().map(|link| &link[..]).eq(links.iter().copied()) => {
                told.is_everybodys |= told.network != network;
                told
            }
            _ => {
                let links = links.iter().map(|link| Box::from(*link)).collect();
                Told { links, network, is_everybodys: false }
            }
        };
        pages.put(page, told);
    }

    /// The fields of a 103 for a visitor; none where nothing may be told.
    pub fn of(&self, page: PageId, visitor: IpAddr) -> Option<Fields> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let told = pages.young.get(&page).or_else(|| pages.old.get(&page))?;
        if !told.is_everybodys && told.network != self.network(visitor) {
            return None;
        }
        let mut fields = Fields::new();
        told.links.iter().for_each(|link| fields.push(b"Link", link));
        Some(fields)
    }

    /// Forgets everything: what pages tell may have changed.
    pub fn forget(&self) {
        *self.pages.lock().unwrap_or_else(PoisonError::into_inner) = Pages::default();
    }

    /// An address of IPv4, and of IPv6 what one household has (64 bits).
    fn network(&self, visitor: IpAddr) -> u64 {
        match visitor.to_canonical() {
            IpAddr::V4(address) => self.seed.hash_one(address),
            IpAddr::V6(address) => self.seed.hash_one(address.to_bits() >> 64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn answer(link: &str) -> Response {
        let mut answer = Response { status: 200, ..Response::default() };
        answer.fields.push(b"Link", link.as_bytes());
        answer
    }

    fn request(method: &[u8], target: &str) -> Request {
        let mut request = Request::default();
        request.set_method(method);
        request.set_authority(b"a.example");
        request.set_target(target.as_bytes());
        request
    }

    fn told(hints: &Hints, page: PageId, visitor: IpAddr) -> Vec<Vec<u8>> {
        hints.of(page, visitor).iter().flat_map(Fields::iter).map(|field| field.value.to_vec()).collect()
    }

    #[test]
    fn what_one_visitor_was_given_is_told_to_that_one_alone() {
        let hints = Hints::default();
        let page = hints.page(1, &request(b"GET", "/")).unwrap();
        hints.learn(page, ONE, &answer("</me.css?token=1>; rel=preload"));
        hints.learn(page, ONE, &answer("</me.css?token=1>; rel=preload"));
        assert_eq!(told(&hints, page, ONE), [b"</me.css?token=1>; rel=preload"]);
        assert!(hints.of(page, OTHER).is_none());
        hints.learn(page, OTHER, &answer("</me.css?token=2>; rel=preload"));
        assert!(hints.of(page, ONE).is_none());
        assert_eq!(told(&hints, page, OTHER), [b"</me.css?token=2>; rel=preload"]);
    }

    #[test]
    fn what_two_were_given_is_everybodys_until_it_changes() {
        let hints = Hints::default();
        let page = hints.page(1, &request(b"GET", "/")).unwrap();
        let third: IpAddr = "2001:db8::3".parse().unwrap();
        for visitor in [ONE, OTHER] {
            hints.learn(page, visitor, &answer("</a.css>; rel=preload"));
        }
        assert_eq!(told(&hints, page, third), [b"</a.css>; rel=preload"]);
        hints.learn(page, third, &answer("</b.css>; rel=preload"));
        assert!(hints.of(page, ONE).is_none());
        // One household of IPv6 is one visitor.
        hints.learn(page, "2001:db8::4".parse().unwrap(), &answer("</b.css>; rel=preload"));
        assert!(hints.of(page, ONE).is_none());
        hints.learn(page, ONE, &answer("</b.css>; rel=preload"));
        assert_eq!(told(&hints, page, OTHER), [b"</b.css>; rel=preload"]);
        hints.learn(page, ONE, &Response { status: 200, ..Response::default() });
        assert!(hints.of(page, OTHER).is_none());
    }

    #[test]
    fn pages_are_kept_apart_and_only_read_ones_are_pages() {
        let hints = Hints::default();
        let pages = [
            hints.page(1, &request(b"GET", "/")),
            hints.page(2, &request(b"GET", "/")),
            hints.page(1, &request(b"GET", "/?a")),
        ];
        assert!(pages[0] != pages[1] && pages[0] != pages[2]);
        assert!(hints.page(1, &request(b"POST", "/")).is_none());
    }

    #[test]
    fn the_longest_unheard_of_go_first_and_all_at_a_word() {
        let hints = Hints::default();
        let page = |number: usize| hints.page(1, &request(b"GET", &format!("/{number}"))).unwrap();
        for number in 0..3 * HINTED_PAGES_MAX {
            hints.learn(page(number), ONE, &answer("</a.css>; rel=preload"));
            hints.learn(page(0), ONE, &answer("</a.css>; rel=preload"));
        }
        let pages = hints.pages.lock().unwrap();
        assert!(pages.young.len() + pages.old.len() <= HINTED_PAGES_MAX);
        drop(pages);
        assert!(hints.of(page(0), ONE).is_some());
        assert!(hints.of(page(1), ONE).is_none());
        hints.forget();
        assert!(hints.of(page(0), ONE).is_none());
    }
}
