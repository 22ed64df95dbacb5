//! Attacks, and crowds that look like some.

use crate::world::{BROWSERS, Draw, Wanted, World, whereabouts};

/// A mix: its name, how many requests a second, whether those who ask are good, and what they ask.
pub(crate) struct Mix {
    pub(crate) name: &'static str,
    pub(crate) per_s: u64,
    pub(crate) make: fn(&mut Draw) -> Wanted,
}

pub(crate) const TOOL: &str = "t13d190900_9dc949149365_97f8aa674fd9";

/// A browser's request by one of so many machines, spread over residential networks as good visitors are.
pub(crate) fn by_machine(draw: &mut Draw, machines: u64) -> Wanted {
    let address = 0x5000_0000 + (draw.below(machines) as u32).wrapping_mul(40_503) % 0x0800_0000;
    Wanted { is_good: false, ..Wanted::by(address, BROWSERS[draw.below(5) as usize], "/") }
}

/// The same from machines that are hired, in networks where no visitor lives.
pub(crate) fn by_hired(draw: &mut Draw, machines: u64) -> Wanted {
    let wanted = by_machine(draw, machines);
    Wanted {
        address: wanted.address | 0x8000_0000,
        network: 60_000 + wanted.address % 3,
        country: *b"SG",
        ..wanted
    }
}

pub(crate) fn page(draw: &mut Draw) -> String {
    format!("/page/{}", draw.popular(400))
}

pub(crate) const ATTACKS: [Mix; 11] = [
    Mix {
        name: "random paths, 2,000 machines, a program's TLS, browsers' names",
        per_s: 1_500,
        make: |draw| Wanted { path: format!("/{:x}", draw.next()), ja4: TOOL, ..by_machine(draw, 2_000) },
    },
    Mix {
        name: "random paths, 1,000 machines, browsers in every way",
        per_s: 1_500,
        make: |draw| Wanted { path: format!("/{:x}", draw.next()), ..by_machine(draw, 1_000) },
    },
    Mix {
        name: "one page, 1,000 prefixes, browsers in every way, 2 a second each",
        per_s: 2_000,
        make: |draw| by_machine(draw, 1_000),
    },
    Mix {
        name: "random queries on one page, 1,000 machines, browsers in every way",
        per_s: 1_500,
        make: |draw| Wanted { query: Some(format!("x={:x}", draw.next())), ..by_machine(draw, 1_000) },
    },
    Mix {
        name: "five large sources, known pages, browsers in every way",
        per_s: 1_500,
        make: |draw| Wanted { path: page(draw), ..by_hired(draw, 5) },
    },
    Mix {
        name: "logins tried out, 1,500 machines, twice a minute each, a program's TLS",
        per_s: 50,
        make: |draw| Wanted {
            path: "/login".to_owned(),
            is_safe: false,
            ja4: TOOL,
            ..by_machine(draw, 1_500)
        },
    },
    Mix {
        name: "known pages, 3,000 hired machines, browsers in every way, one in 2 s each",
        per_s: 1_500,
        make: |draw| Wanted { path: page(draw), ..by_hired(draw, 3_000) },
    },
    Mix {
        name: "one page, 5,000 machines, browsers in every way, one in 3 s each",
        per_s: 1_500,
        make: |draw| by_machine(draw, 5_000),
    },
    Mix {
        name: "known pages, 3,000 machines at home, browsers in every way, one in 2 s each",
        per_s: 1_500,
        make: |draw| Wanted { path: page(draw), ..by_machine(draw, 3_000) },
    },
    Mix {
        name: "one page, 1,000 machines that were served a minute before, 4 a second each",
        per_s: 4_000,
        make: |draw| {
            let machine = draw.below(1_000) as u32;
            let address = 0x5000_0000 + machine.wrapping_mul(7_919);
            let (network, country) = whereabouts(address);
            Wanted { address, network, country, ..by_machine(draw, 1) }
        },
    },
    Mix {
        name: "logins tried out, 1,500 machines, twice a minute each, browsers in every way",
        per_s: 50,
        make: |draw| Wanted { path: "/login".to_owned(), is_safe: false, ..by_machine(draw, 1_500) },
    },
];

/// What crowds of good visitors do, each for a second at so many page views.
pub(crate) type Crowd = fn(&mut World, u64);

pub(crate) fn newcomer(world: &mut World) -> (u32, (&'static str, &'static str)) {
    (0x5000_0000 + world.draw.below(0x0200_0000) as u32, BROWSERS[world.draw.below(5) as usize])
}

pub(crate) const CROWDS: [(&str, u64, Crowd); 6] = [
    ("a newsletter: ten times the visitors, one new page", 100, |world, views| {
        for _ in 0..views {
            let (address, browser) = newcomer(world);
            world.view(address, browser, ("/offer".to_owned(), None));
        }
    }),
    ("the same, a link of their own each", 100, |world, views| {
        for _ in 0..views {
            let (address, browser) = newcomer(world);
            let query = format!("to={:x}", world.draw.next());
            world.view(address, browser, ("/offer".to_owned(), Some(query)));
        }
    }),
    ("the same, half in an app's own browser", 100, |world, views| {
        for view in 0..views {
            let (address, browser) = newcomer(world);
            let browser = if view % 2 == 0 { ("InApp/3 iPhone", browser.1) } else { browser };
            world.view(address, browser, ("/offer".to_owned(), None));
        }
    }),
    ("the same, half in an app's own browser, and more than the origin can bear", 700, |world, views| {
        for view in 0..views {
            let (address, browser) = newcomer(world);
            let browser = if view % 2 == 0 { ("InApp/3 iPhone", browser.1) } else { browser };
            world.view(address, browser, ("/offer".to_owned(), None));
        }
    }),
    ("a newsletter to one new page that has nothing else, which the origin can bear", 400, alone),
    ("the same, and more than the origin can bear", 1_000, alone),
];

/// Page views without what belongs to them, which another host has.
fn alone(world: &mut World, views: u64) {
    for _ in 0..views {
        let (address, browser) = newcomer(world);
        world.soon(Wanted::by(address, browser, "/offer"));
    }
}
