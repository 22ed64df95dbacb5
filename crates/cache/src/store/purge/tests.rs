//! Tests of purges by their epochs: bounds, folding, and what a log gives back.

use super::*;

use crate::store::tests::SEED;

const HOST: &[u8] = b"a.example";

fn purges() -> Purges {
    Purges::new(1 << 14)
}

fn judge(purges: &Purges, zone: u128, target: &str, tags: &[&str], born: u64) -> Judgement {
    let key = KeyRef { zone, host: HOST, target: target.as_bytes(), rest: b"" };
    let tags: Vec<u64> = tags.iter().map(|tag| SEED.tag(zone, tag.as_bytes())).collect();
    let (url, host) = (SEED.url(zone, HOST, target.as_bytes()), SEED.host(zone, HOST));
    purges.judge(&Facets { key, url, host, tags: &tags, born, snapshot: Some(1) })
}

fn prefix(purges: &Purges, zone: u128, target: &str, strength: Strength) {
    let purge = Purge::Prefix { zone, host: HOST, target: target.as_bytes() };
    purges.purge(&SEED, &purge, strength, |_| ());
}

fn prefixes_of(purges: &Purges, zone: u128) -> usize {
    let table = purges.table.read().expect("no test panics with it");
    table.zones.get(&zone).map_or(0, |zone| zone.prefixes.len())
}

fn check_prefix_bytes(purges: &Purges) {
    let table = purges.table.read().expect("no test panics with it");
    let prefixes = table.zones.values().flat_map(|zone| &zone.prefixes);
    assert_eq!(prefixes.map(|prefix| prefix.start.len()).sum::<usize>(), table.prefixes_bytes);
}

#[test]
fn only_purges_after_the_fetch_began_are_against_an_object() {
    let purges = purges();
    for purge in [
        Purge::Url { zone: 1, host: HOST, target: b"/a" },
        Purge::Prefix { zone: 1, host: HOST, target: b"/" },
        Purge::Host { zone: 1, host: HOST },
        Purge::Tag { zone: 1, tag: b"t" },
        Purge::Zone { zone: 1 },
        Purge::Everything,
    ] {
        for (strength, expected) in [(Strength::Soft, Judgement::Soft), (Strength::Hard, Judgement::Gone)] {
            let before = purges.epoch();
            purges.purge(&SEED, &purge, strength, |_| ());
            assert_eq!(judge(&purges, 1, "/a", &["t"], before), expected, "{purge:?}");
            assert_eq!(judge(&purges, 1, "/a", &["t"], purges.epoch()), Judgement::Usable, "{purge:?}");
        }
    }
}

#[test]
fn too_many_prefixes_fold_the_oldest_into_their_zone() {
    let purges = purges();
    let first = purges.epoch();
    for number in 0..=PREFIXES_MAX {
        prefix(&purges, 1, &format!("/{number:03}/"), Strength::Hard);
    }
    let folded = PREFIXES_MAX as u64 / 2;
    assert_eq!(prefixes_of(&purges, 1), PREFIXES_MAX / 2 + 1);
    assert_eq!(judge(&purges, 1, "/000/x", &[], first), Judgement::Gone, "still purged");
    assert_eq!(judge(&purges, 1, "/other", &[], first), Judgement::Gone, "more than was asked for");
    assert_eq!(
        judge(&purges, 1, "/other", &[], first + folded),
        Judgement::Usable,
        "newer than what was folded"
    );
    assert_eq!(judge(&purges, 1, "/040/x", &[], first + folded), Judgement::Gone);
    assert_eq!(judge(&purges, 2, "/000/x", &[], first), Judgement::Usable, "another zone");
    check_prefix_bytes(&purges);
}

#[test]
fn a_wider_purge_takes_the_places_of_narrower_ones() {
    let purges = purges();
    let born = purges.epoch();
    for target in ["/a/1", "/a/2", "/b", "/a/1"] {
        prefix(&purges, 1, target, Strength::Hard);
    }
    assert_eq!(prefixes_of(&purges, 1), 3);
    prefix(&purges, 1, "/a/", Strength::Soft);
    assert_eq!(prefixes_of(&purges, 1), 4, "a soft one says less than the hard ones");
    prefix(&purges, 1, "/a/", Strength::Hard);
    assert_eq!(prefixes_of(&purges, 1), 2);
    assert_eq!(judge(&purges, 1, "/a/1", &[], born), Judgement::Gone);
    purges.purge(&SEED, &Purge::Zone { zone: 1 }, Strength::Soft, |_| ());
    assert_eq!(prefixes_of(&purges, 1), 2);
    assert_eq!(judge(&purges, 1, "/a/1", &[], born), Judgement::Gone);
    assert_eq!(judge(&purges, 1, "/c", &[], born), Judgement::Soft);
    purges.purge(&SEED, &Purge::Zone { zone: 1 }, Strength::Hard, |_| ());
    assert_eq!(prefixes_of(&purges, 1), 0);
    check_prefix_bytes(&purges);
}

#[test]
fn a_prefix_too_long_for_the_record_purges_its_zone() {
    let purges = purges();
    let born = purges.epoch();
    prefix(&purges, 1, &"x".repeat(PREFIX_BYTES_MAX), Strength::Hard);
    assert_eq!(judge(&purges, 1, "/a", &[], born), Judgement::Gone);
    assert_eq!(judge(&purges, 2, "/a", &[], born), Judgement::Usable);
}

#[test]
fn more_zones_than_are_on_record_purge_everything() {
    let purges = purges();
    let born = purges.epoch();
    for zone in 0..PURGED_ZONES_MAX as u128 {
        purges.purge(&SEED, &Purge::Zone { zone }, Strength::Hard, |_| ());
    }
    assert_eq!(judge(&purges, u128::MAX, "/a", &[], born), Judgement::Usable);
    purges.purge(&SEED, &Purge::Zone { zone: u128::MAX - 1 }, Strength::Hard, |_| ());
    assert_eq!(judge(&purges, u128::MAX, "/a", &[], born), Judgement::Gone);
    assert_eq!(judge(&purges, u128::MAX, "/a", &[], purges.epoch()), Judgement::Usable);
}

#[test]
fn more_withdrawn_numbers_than_are_on_record_withdraw_all_below() {
    let purges = purges();
    for number in 0..=WITHDRAWN_MAX as u64 {
        purges.withdraw(100 + 2 * number, |_| ());
    }
    let key = KeyRef { zone: 1, host: HOST, target: b"/", rest: b"" };
    let judge = |snapshot| {
        purges.judge(&Facets { key, url: 1, host: 2, tags: &[], born: u64::MAX, snapshot: Some(snapshot) })
    };
    let last = 100 + 2 * WITHDRAWN_MAX as u64;
    let withdrawn = [1, 100, 101, 102, 103, last, last + 1].map(|number| judge(number) == Judgement::Gone);
    assert_eq!(withdrawn, [true, true, false, true, false, true, false]);
}

#[test]
fn a_purge_is_on_record_before_its_epoch_is_seen() {
    let purges = purges();
    let before = purges.epoch();
    purges.purge(&SEED, &Purge::Everything, Strength::Hard, |entry| {
        assert_eq!((purges.epoch(), entry.epoch), (before, before + 1));
    });
    assert_eq!(purges.epoch(), before + 1);
}

#[test]
fn what_is_on_record_can_be_given_to_another() {
    let purges = purges();
    let born = purges.epoch();
    let all = [
        Purge::Url { zone: 1, host: HOST, target: b"/url" },
        Purge::Tag { zone: 1, tag: b"t" },
        Purge::Prefix { zone: 1, host: HOST, target: b"/p/" },
        Purge::Zone { zone: 3 },
    ];
    for purge in &all {
        purges.purge(&SEED, purge, Strength::Hard, |_| ());
    }
    purges.purge(&SEED, &Purge::Host { zone: 4, host: HOST }, Strength::Soft, |_| ());
    purges.withdraw(9, |_| ());
    // A table of another size takes it too.
    let other = Purges::new(1 << 10);
    for entry in purges.entries() {
        other.apply(&entry);
    }
    for (zone, target, tags) in [
        (1, "/url", &[][..]),
        (1, "/x", &["t"]),
        (1, "/p/x", &[]),
        (1, "/y", &[]),
        (3, "/", &[]),
        (4, "/", &[]),
    ] {
        assert_eq!(judge(&other, zone, target, tags, born), judge(&purges, zone, target, tags, born));
    }
    assert_eq!(judge(&other, 1, "/y", &[], born), Judgement::Usable);
    let key = KeyRef { zone: 7, host: HOST, target: b"/", rest: b"" };
    let facets = Facets { key, url: 1, host: 2, tags: &[], born: u64::MAX, snapshot: Some(9) };
    assert_eq!(other.judge(&facets), Judgement::Gone);
}

fn change(purges: &Purges, zone: u128, target: &str) {
    purges.change(zone, SEED.url(zone, HOST, target.as_bytes()), |_| ());
}

fn changed_of(purges: &Purges, zone: u128) -> usize {
    let table = purges.table.read().expect("no test panics with it");
    let lengths: usize = table.zones.values().map(|zone| zone.changed.len()).sum();
    assert_eq!(lengths, table.changed_urls);
    table.zones.get(&zone).map_or(0, |zone| zone.changed.len())
}

#[test]
fn a_changed_url_is_gone_and_nothing_else_however_many_were_changed() {
    let purges = purges();
    let before = purges.epoch();
    for number in 0..CHANGED_URLS_MAX {
        change(&purges, 1, &format!("/{number}"));
    }
    assert_eq!(changed_of(&purges, 1), CHANGED_URLS_MAX);
    for number in (0..CHANGED_URLS_MAX).step_by(7) {
        assert_eq!(judge(&purges, 1, &format!("/{number}"), &[], before), Judgement::Gone);
        assert_eq!(judge(&purges, 1, &format!("/other/{number}"), &[], before), Judgement::Usable);
        assert_eq!(judge(&purges, 2, &format!("/{number}"), &[], before), Judgement::Usable);
    }
    assert_eq!(judge(&purges, 1, "/7", &[], purges.epoch()), Judgement::Usable, "fetched since");
}

#[test]
fn too_many_changed_urls_fold_the_older_half_into_their_own_zone() {
    let purges = purges();
    let mut half = 0;
    for number in 0..=CHANGED_URLS_MAX {
        change(&purges, 1, &format!("/{number}"));
        if number == CHANGED_URLS_MAX / 2 {
            half = purges.epoch();
        }
    }
    assert_eq!(changed_of(&purges, 1), CHANGED_URLS_MAX / 2);
    assert_eq!(judge(&purges, 1, "/unchanged", &[], half - 1), Judgement::Gone, "older than the half folded");
    assert_eq!(judge(&purges, 1, "/unchanged", &[], half), Judgement::Usable);
    assert_eq!(judge(&purges, 1, &format!("/{CHANGED_URLS_MAX}"), &[], half), Judgement::Gone);
    assert_eq!(judge(&purges, 2, "/unchanged", &[], RUN_START), Judgement::Usable, "another zone");
}

#[test]
fn the_zone_with_the_most_changed_urls_pays_for_all() {
    let purges = purges();
    for zone in 1..=8 {
        for number in 0..CHANGED_URLS_MAX - usize::from(zone > 1) {
            change(&purges, zone, &format!("/{number}"));
        }
    }
    let full = CHANGED_URLS_ALL_MAX - 7;
    let born = purges.epoch();
    for number in 0..8 {
        change(&purges, 9, &format!("/{number}"));
    }
    assert_eq!(full + 8 - CHANGED_URLS_MAX / 2, (1..=9).map(|zone| changed_of(&purges, zone)).sum::<usize>());
    assert_eq!((changed_of(&purges, 1), changed_of(&purges, 9)), (CHANGED_URLS_MAX / 2, 8));
    assert_eq!(judge(&purges, 9, "/unchanged", &[], RUN_START), Judgement::Usable);
    assert_eq!(judge(&purges, 9, "/7", &[], born), Judgement::Gone);
}

#[test]
fn a_purge_of_the_zone_forgets_what_was_changed_before() {
    let purges = purges();
    let before = purges.epoch();
    change(&purges, 1, "/a");
    purges.purge(&SEED, &Purge::Zone { zone: 1 }, Strength::Hard, |_| ());
    assert_eq!(changed_of(&purges, 1), 0);
    change(&purges, 1, "/b");
    purges.purge(&SEED, &Purge::Zone { zone: 1 }, Strength::Soft, |_| ());
    assert_eq!(changed_of(&purges, 1), 1, "a soft one says less");
    assert_eq!(judge(&purges, 1, "/a", &[], before), Judgement::Gone);
}

/// How many of these URLs have to be judged again since their versions were taken.
fn moved(purges: &Purges, before: &[u64]) -> usize {
    before.iter().enumerate().filter(|(number, version)| purges.version(url_of(*number)) != **version).count()
}

fn url_of(number: usize) -> u64 {
    SEED.url(1, HOST, format!("/{number}").as_bytes())
}

#[test]
fn a_url_that_visitors_change_makes_few_others_be_judged_again() {
    const URLS: usize = 20_000;
    let purges = purges();
    let versions = || (0..URLS).map(|number| purges.version(url_of(number))).collect::<Vec<u64>>();
    let before = versions();
    change(&purges, 1, "/0");
    assert_ne!(purges.version(url_of(0)), before[0], "it is judged again itself");
    let others = moved(&purges, &before);
    assert!(others <= 60, "{others} of {URLS}, expected one in {LANES}");
    // Whatever may be against others too, everybody looks.
    let before = versions();
    purges.purge(&SEED, &Purge::Tag { zone: 2, tag: b"t" }, Strength::Soft, |_| ());
    assert_eq!(moved(&purges, &before), URLS);
    let before = versions();
    for number in 0..CHANGED_URLS_MAX {
        change(&purges, 1, &format!("/folds/{number}"));
    }
    assert_eq!(moved(&purges, &before), URLS, "older ones were folded into a purge of their zone");
}

#[test]
fn a_change_without_a_place_of_its_own_makes_all_be_judged_again() {
    let purges = purges();
    for zone in 0..PURGED_ZONES_MAX as u128 {
        purges.purge(&SEED, &Purge::Zone { zone }, Strength::Soft, |_| ());
    }
    let before = [purges.version(url_of(0))];
    change(&purges, u128::MAX, "/0");
    assert_eq!(moved(&purges, &before), 1);
}
