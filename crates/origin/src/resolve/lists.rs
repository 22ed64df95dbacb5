//! Names below lists of addresses (RFC 5782), for the firewall's `@rbl`: what is known, and for how long.
//!
//! Beside the resolver of origins and apart from it, so that neither is in the other's way: no hosts file, no
//! search, A records alone, and most answers are that there is no such name, which is kept too. A list that
//! does not answer is left alone for a while, so that one that is down holds visitors up a few times and not
//! each of them. What an answer means is the caller's. Read next: [`Lists::ask`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use exchange::{Deadlines, Fault};
use tokio::sync::Notify;

use super::lookup::Asker;
use super::message::DnsName;
use super::system::System;
use crate::connect::within;

/// Shortest and longest time an answer is believed, in milliseconds, whatever its TTL: lists change by the
/// minute, and have TTLs from one minute to a day.
const LISTED_MS: std::ops::RangeInclusive<u64> = 60_000..=3_600_000;

/// How long it is believed that a name is not there, in milliseconds. What RFC 2308 §5 takes from the zone is
/// mostly between one minute and fifteen.
const ABSENT_MS: u64 = 300_000;

/// How long a name is not asked for again when nobody said, in milliseconds.
const FAILED_MS: u64 = 30_000;

/// Look-ups in a row that a list may leave without answer before it is left alone, and for how long, in
/// milliseconds.
const FAILURES_MAX: u32 = 3;
const PAUSE_MS: u64 = 30_000;

/// Names kept per thread, some 150 bytes each: as many visitors as a busy thread sees in some minutes. When
/// it is full, those whose time is over are dropped, and if there are none, all but those under way.
const NAMES_MAX: usize = 8_192;

/// Lists kept account of: rules name a handful.
const SERVICES_MAX: usize = 256;

type Addresses = Rc<[Ipv4Addr]>;

/// What is known of a name.
#[derive(Default)]
struct Known {
    /// Its addresses, none if there is no such name; nothing where nobody said.
    said: Option<Addresses>,
    until_ms: u64,
    /// Tells when the look-up under way has ended; none while none is.
    asked: Option<Rc<Notify>>,
}

/// A list that does not answer.
#[derive(Default)]
struct Silence {
    failures: u32,
    until_ms: u64,
}

/// The lists a thread asks.
pub struct Lists {
    asker: Asker,
    deadlines: Rc<Deadlines>,
    // By names that strangers make: the standard hash, which they cannot make collide.
    known: RefCell<HashMap<Box<str>, Known>>,
    silent: RefCell<HashMap<Box<str>, Silence>>,
    now_ms: Cell<u64>,
}

impl std::fmt::Debug for Lists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lists").field("names", &self.known.borrow().len()).finish_non_exhaustive()
    }
}

/// A question: the list's own name, and the name to ask for.
pub type Question = (Box<str>, Box<str>);

/// What was said of a name: its addresses, none if there is no such name; nothing where nobody said in time.
pub type Said = (Box<str>, Option<Addresses>);

/// A look-up under way. However its task ends, the name is not left as one that is being asked for.
struct Lookup {
    lists: Rc<Lists>,
    question: Question,
    asked: Rc<Notify>,
    result: Result<(Addresses, u64), Fault>,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Err(Fault::DnsError));
        self.lists.settle(&self.question, result);
        self.asked.notify_waiters();
    }
}

impl Lists {
    /// Asks these servers, or without any those of this machine. `deadlines` are the thread's.
    #[must_use]
    pub fn new(deadlines: Rc<Deadlines>, servers: &[SocketAddr]) -> Rc<Self> {
        let system = if servers.is_empty() { System::new() } else { System::asking(servers) };
        let asker = Asker::new(Rc::clone(&deadlines), system);
        let (known, silent) = (RefCell::default(), RefCell::default());
        Rc::new(Self { asker, deadlines, known, silent, now_ms: Cell::new(0) })
    }

    /// Asks for names, all at once, and waits for the last of them or so many milliseconds. What comes later
    /// serves who asks next.
    pub fn ask(
        self: &Rc<Self>,
        questions: Vec<Question>,
        wait_ms: u64,
        now_ms: u64,
    ) -> impl Future<Output = Vec<Said>> + use<> {
        let lists = Rc::clone(self);
        async move {
            let now_ms = now_ms.max(lists.now_ms.get());
            lists.now_ms.set(now_ms);
            for question in &questions {
                lists.begin(question, now_ms);
            }
            let all = async {
                for (_, name) in &questions {
                    // Between this look and the wait nothing else runs, so the end cannot be missed.
                    while let Some(asked) = lists.asked(name) {
                        asked.notified().await;
                    }
                }
                Ok(())
            };
            let _late = within(&lists.deadlines.slot(), wait_ms, Fault::DnsTimeout, all).await;
            questions.into_iter().map(|(_, name)| (name.clone(), lists.said(&name))).collect()
        }
    }

    fn asked(&self, name: &str) -> Option<Rc<Notify>> {
        self.known.borrow().get(name).and_then(|known| known.asked.clone())
    }

    fn said(&self, name: &str) -> Option<Addresses> {
        let known = self.known.borrow();
        known.get(name).filter(|known| self.now_ms.get() < known.until_ms)?.said.clone()
    }

    /// Begins a look-up if one is due.
    fn begin(self: &Rc<Self>, question: &Question, now_ms: u64) {
        let (service, name) = question;
        let mut all = self.known.borrow_mut();
        if all.get(name).is_some_and(|known| known.asked.is_some() || now_ms < known.until_ms) {
            return;
        }
        if self.silent.borrow().get(service).is_some_and(|silence| now_ms < silence.until_ms) {
            return;
        }
        if all.len() >= NAMES_MAX {
            all.retain(|_, known| known.asked.is_some() || now_ms < known.until_ms);
        }
        if all.len() >= NAMES_MAX {
            all.retain(|_, known| known.asked.is_some());
        }
        if all.len() >= NAMES_MAX {
            return;
        }
        let asked = Rc::<Notify>::default();
        all.entry(name.clone()).or_default().asked = Some(Rc::clone(&asked));
        let (lists, question) = (Rc::clone(self), question.clone());
        let mut lookup = Lookup { lists, question, asked, result: Err(Fault::DnsError) };
        // On a task of its own, so that no exchange that gives up takes it away from others.
        tokio::task::spawn_local(async move {
            lookup.result = lookup.lists.find(&lookup.question.1).await;
            drop(lookup);
        });
    }

    /// The addresses of a name, none if there is no such name, and how long that is believed.
    async fn find(&self, name: &str) -> Result<(Addresses, u64), Fault> {
        let name = DnsName::of(name).ok_or(Fault::DnsError)?;
        let answer = self.asker.records(&name).await?;
        let v4 = |address: &IpAddr| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        };
        let addresses: Addresses = answer.addresses.iter().filter_map(v4).collect();
        let kept_ms = match addresses.is_empty() {
            true => ABSENT_MS,
            false => (u64::from(answer.ttl_s) * 1000).clamp(*LISTED_MS.start(), *LISTED_MS.end()),
        };
        Ok((addresses, kept_ms))
    }

    /// Keeps what a look-up found, and whether the list answers.
    fn settle(&self, (service, name): &Question, result: Result<(Addresses, u64), Fault>) {
        let now_ms = self.now_ms.get();
        let mut silent = self.silent.borrow_mut();
        match &result {
            Ok(_) => drop(silent.remove(service)),
            Err(_) => {
                if silent.len() >= SERVICES_MAX {
                    silent.clear();
                }
                let silence = silent.entry(service.clone()).or_default();
                silence.failures = silence.failures.saturating_add(1);
                if silence.failures >= FAILURES_MAX {
                    silence.until_ms = now_ms + PAUSE_MS;
                }
            }
        }
        let mut all = self.known.borrow_mut();
        let Some(known) = all.get_mut(name) else { return };
        known.asked = None;
        (known.said, known.until_ms) = match result {
            Ok((addresses, kept_ms)) => (Some(addresses), now_ms + kept_ms),
            Err(_) => (None, now_ms + FAILED_MS),
        };
    }
}
