//! A simulated zone: its visitors, its origin, and the watch over it, second by second.
//!
//! Good visitors load pages with what belongs to them. A third have been there before, one in ten sits in one
//! of three offices behind an address each, and a crawler walks through all pages. An origin that gets more
//! than it can fails the rest; what is static never reaches it.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use flood::note::Secret;
use flood::{Asked, Change, Keys, Limits, Sample, Second, Settings, Size, Watch};

/// Even numbers from a seed (SplitMix64).
pub(crate) struct Draw(pub u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn part(&mut self) -> f64 {
        self.next() as f64 / u64::MAX as f64
    }

    /// A number whose mean is `mean`, as arrivals are (Knuth's method).
    pub(crate) fn arrivals(&mut self, mean: f64) -> u64 {
        let (least, mut product, mut count) = ((-mean.min(500.0)).exp(), self.part(), 0);
        while product > least {
            product *= self.part();
            count += 1;
        }
        count
    }

    /// Small numbers more often than large ones.
    pub(crate) fn popular(&mut self, count: u64) -> u64 {
        let part = self.part();
        ((count as f64).powf(part) as u64 - 1).min(count - 1)
    }
}

/// Browsers, each with its user agent and JA4.
pub(crate) const BROWSERS: [(&str, &str); 5] = [
    ("Chrome/138 Windows", "t13d1516h2_8daaf6152771_02713d6af862"),
    ("Chrome/138 Android", "t13d1516h2_8daaf6152771_b0da82dd1658"),
    ("Safari/18 iPhone", "t13d2014h2_a09f3c656075_14788d8d241b"),
    ("Safari/18 Mac", "t13d2014h2_a09f3c656075_e42f34c56612"),
    ("Firefox/141", "t13d1715h2_5b57614c22b0_7121afd63204"),
];

/// A request to be.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) address: u32,
    pub(crate) network: u32,
    pub(crate) country: [u8; 2],
    pub(crate) ja4: &'static str,
    pub(crate) agent: &'static str,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) is_safe: bool,
    pub(crate) is_good: bool,
}

impl Wanted {
    /// A good visitor's at this address, by a program of this user agent and JA4: it reads what is at a path.
    pub(crate) fn by(
        address: u32,
        (agent, ja4): (&'static str, &'static str),
        path: impl Into<String>,
    ) -> Self {
        let (network, country) = whereabouts(address);
        let (path, query) = (path.into(), None);
        Self { address, network, country, ja4, agent, path, query, is_safe: true, is_good: true }
    }
}

/// A good visitor's network and country by its address, the same each time.
pub(crate) fn whereabouts(address: u32) -> (u32, [u8; 2]) {
    let network = 3_000 + (address >> 16) % 40;
    let country = [*b"DE", *b"DE", *b"DE", *b"FR", *b"AT", *b"US"][(network % 6) as usize];
    (network, country)
}

/// What came of one kind of requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) asked: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
}

pub(crate) struct World {
    pub(crate) draw: Draw,
    pub(crate) watch: Watch,
    secret: Secret,
    limits: Arc<Limits>,
    samples: [Sample; 2],
    pub(crate) now_s: u64,
    pub(crate) changes: Vec<Change>,
    /// Requests a second that the origin can serve.
    pub(crate) capacity: u64,
    /// Page views a second.
    pub(crate) views: f64,
    later: Vec<Vec<Wanted>>,
    pub(crate) good: Sums,
    pub(crate) bad: Sums,
    pub(crate) met: HashSet<u32>,
    pub(crate) harmed: HashSet<u32>,
    /// Whether limits are obeyed.
    pub(crate) is_on: bool,
}

pub(crate) const SETTINGS: Settings =
    Settings { refuses: true, from_per_s: 20, limits_max: 8, expires_s: 300, warm_up_s: 600 };

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            draw: Draw(seed),
            watch: Watch::new(SETTINGS, Size::Large, seed),
            secret: Secret::new(seed ^ 0x5eed),
            limits: Arc::default(),
            samples: [Sample::new(seed), Sample::new(seed + 1)],
            now_s: 100_000,
            changes: Vec::new(),
            capacity: 600,
            views: 10.0,
            later: vec![Vec::new(); 3],
            good: Sums::default(),
            bad: Sums::default(),
            met: HashSet::new(),
            harmed: HashSet::new(),
            is_on: true,
        }
    }

    /// One that has seen usual traffic for so long that it knows it.
    pub(crate) fn settled(seed: u64) -> Self {
        let mut world = Self::new(seed);
        (0..1_200).for_each(|_| world.second(Vec::new()));
        world.begin();
        world
    }

    /// Forgets what came of requests so far.
    pub(crate) fn begin(&mut self) {
        (self.good, self.bad) = Default::default();
        self.met.clear();
        self.harmed.clear();
        self.changes.clear();
    }

    /// A good visitor's address.
    fn visitor(&mut self) -> u32 {
        match self.draw.below(100) {
            // Three offices.
            0..10 => 0x2f00_0001 + (self.draw.below(3) << 16) as u32,
            // Somebody who was there before.
            10..40 => 0x5000_0000 + (self.draw.below(3_000) as u32).wrapping_mul(7_919),
            _ => 0x5000_0000 + self.draw.below(0x0200_0000) as u32,
        }
    }

    /// A page with what belongs to it, over three seconds.
    pub(crate) fn view(
        &mut self,
        address: u32,
        browser: (&'static str, &'static str),
        (path, query): (String, Option<String>),
    ) {
        let wanted = Wanted { query, ..Wanted::by(address, browser, path) };
        for _ in 0..6 {
            let path = format!("/static/{}.css", self.draw.below(30));
            let at = self.draw.below(3) as usize;
            self.later[at].push(Wanted { path, query: None, ..wanted.clone() });
        }
        self.later[0].push(wanted);
    }

    /// A request of this second.
    pub(crate) fn soon(&mut self, wanted: Wanted) {
        self.later[0].push(wanted);
    }

    fn usual(&mut self) {
        for _ in 0..self.draw.arrivals(self.views) {
            let address = self.visitor();
            let browser = BROWSERS[(address as usize / 3 + self.draw.below(2) as usize * 2) % 5];
            let page = match self.draw.below(20) {
                0 => ("/search".to_owned(), Some(format!("q={}", self.draw.below(100_000)))),
                1..6 => ("/".to_owned(), None),
                _ => (format!("/page/{}", self.draw.popular(400)), None),
            };
            self.view(address, browser, page);
            if self.draw.below(40) == 0 {
                self.later[1].push(Wanted { is_safe: false, ..Wanted::by(address, browser, "/login") });
            }
        }
        for _ in 0..self.draw.arrivals(4.0) {
            self.later[0].push(Wanted {
                address: 0x4249_0001 + self.draw.below(20) as u32,
                network: 15_169,
                country: *b"US",
                ja4: "t13d181100_e8a523a41297_02c8e53ee398",
                agent: "Examplebot/2.1",
                path: format!("/page/{}", self.draw.below(4_000)),
                query: None,
                is_safe: true,
                is_good: true,
            });
        }
    }

    /// One second of usual traffic and of these.
    pub(crate) fn second(&mut self, others: Vec<Wanted>) {
        self.usual();
        let mut due = std::mem::take(&mut self.later[0]);
        self.later.rotate_left(1);
        due.extend(others);
        let count = due.len() as u64;
        let (mut at_origin, mut ends) = (0, Vec::new());
        for place in 0..due.len() {
            let other = place + self.draw.below((due.len() - place) as u64) as usize;
            due.swap(place, other);
            let at_ms = place as u64 * 1_000 / count;
            ends.push(self.ask(&due[place], at_ms, &mut at_origin));
        }
        let mut second = Second::default();
        let fails = at_origin.max(1).saturating_sub(self.capacity) as f64 / at_origin.max(1) as f64;
        for (place, (wanted, (let_in, is_at_origin))) in due.iter().zip(ends).enumerate() {
            let is_failed = let_in && is_at_origin && self.draw.part() < fails;
            let sums = if wanted.is_good { &mut self.good } else { &mut self.bad };
            sums.failed += u64::from(is_failed);
            if let_in {
                let origin_us = is_at_origin.then_some(if fails > 0.0 { 900_000 } else { 30_000 });
                self.samples[place % 2].ended(is_failed, origin_us);
            }
        }
        self.samples.iter_mut().for_each(|sample| second.merge(sample));
        self.now_s += 1;
        let outcome = self.watch.second(second, self.now_s);
        if let Some(limits) = outcome.limits {
            self.limits = limits;
        }
        self.changes.extend(outcome.changes);
    }

    /// Whether it is let in, and goes to the origin.
    fn ask(&mut self, wanted: &Wanted, at_ms: u64, at_origin: &mut u64) -> (bool, bool) {
        let asked = Asked {
            address: IpAddr::V4(Ipv4Addr::from(wanted.address)),
            network: Some(wanted.network),
            country: Some(wanted.country),
            ja4: Some(wanted.ja4.as_bytes()),
            path: wanted.path.as_bytes(),
            query: wanted.query.as_deref().map(str::as_bytes),
            agent: wanted.agent.as_bytes(),
            is_safe: wanted.is_safe,
        };
        let keys = Keys::of(&asked, &self.secret);
        let thread = (wanted.address % 2) as usize;
        self.samples[thread].note(&keys, self.watch.wants_texts().then_some(&asked));
        let now_ms = self.now_s * 1_000 + at_ms;
        let is_refused = self.is_on && self.limits.ask(&keys, self.watch.memory(), now_ms).is_some();
        let sums = if wanted.is_good { &mut self.good } else { &mut self.bad };
        sums.asked += 1;
        sums.refused += u64::from(is_refused);
        if wanted.is_good {
            self.met.insert(wanted.address);
            if is_refused {
                self.harmed.insert(wanted.address);
            }
        }
        if is_refused {
            return (false, false);
        }
        self.watch.memory().served(keys.visitor(), self.now_s);
        let is_at_origin = !wanted.path.starts_with("/static/");
        *at_origin += u64::from(is_at_origin);
        (true, is_at_origin)
    }
}
