//! What a zone keeps of the disk while another floods it.

use super::*;

const BODY_BYTES: usize = 8 << 10;
/// A quarter of the disk in objects: half of what is promised, as one of two zones has it. With what is
/// stored beside each body there is room for some less.
const PAGES: usize = 28;
/// Objects of the flood that make one turn of the disk.
const TURN: usize = 128;

/// Memory for some objects only, so that what is looked for is on disk or nowhere.
fn rig(files: &FaultyFiles, promised_percent: u8) -> Rig {
    let mut rig = Rig::sized(files, DiskSettings { promised_percent, ..settings() }, 64 << 10);
    rig.turn();
    assert_eq!(rig.disk().state(), DiskState::Ready);
    rig
}

fn of_zone(zone: u128, target: &str) -> KeyRef<'_> {
    KeyRef { zone, ..key(target) }
}

fn page(number: usize) -> String {
    format!("/page/{number}")
}

impl Rig {
    /// Stores an object of a zone, and asks for it again.
    fn write_of(&mut self, zone: u128, target: &str) {
        assert_eq!(put(&self.store, &of_zone(zone, target), &body(target, 1, BODY_BYTES)), Finished::Kept);
        hit(&self.store, &of_zone(zone, target));
        self.turn();
    }

    fn write_pages(&mut self) {
        (0..PAGES).for_each(|number| self.write_of(1, &page(number)));
    }

    /// The second zone stores so many new objects; after every so many of them the first is asked for one.
    fn flood(&mut self, objects: std::ops::Range<usize>, asks_every: Option<usize>) {
        for number in objects {
            self.write_of(2, &format!("/flood/{number}"));
            if asks_every.is_some_and(|every| number.is_multiple_of(every)) {
                self.read(&of_zone(1, &page(0)));
            }
        }
    }

    /// How many of the first zone's pages are found, each whole.
    fn pages_found(&mut self) -> usize {
        let is_found = |number: &usize| {
            let target = page(*number);
            let found = self.read(&of_zone(1, &target));
            assert!(found.as_ref().is_none_or(|found| *found == body(&target, 1, BODY_BYTES)), "{target}");
            found.is_some()
        };
        (0..PAGES).filter(is_found).count()
    }
}

#[test]
fn a_flood_leaves_a_zone_that_is_asked_for_what_it_is_promised() {
    for (promised_percent, found) in [(50, PAGES..=PAGES), (0, 0..=PAGES / 2)] {
        let mut rig = rig(&FaultyFiles::default(), promised_percent);
        rig.write_pages();
        // One page of twenty-eight is asked for, so that what keeps the others is the zone's promise.
        rig.flood(0..4 * TURN, Some(TURN / 4));
        assert!(rig.disk().bytes() <= 1 << 20);
        let kept = rig.pages_found();
        assert!(found.contains(&kept), "{kept} of {PAGES} with {promised_percent} % promised");
    }
}

#[test]
fn a_start_finds_who_holds_what() {
    let files = FaultyFiles::default();
    let mut before = rig(&files, 50);
    before.write_pages();
    before.flood(0..TURN, None);
    let held = |rig: &Rig| [1, 2].map(|zone| rig.disk().index.shares().bytes_of(zone));
    let bytes = held(&before);
    assert!(bytes[0] >= (PAGES * BODY_BYTES) as u64 && bytes[1] > bytes[0], "{bytes:?}");
    before.disk().release();
    before.turn();
    let mut after = rig(&files, 50);
    assert_eq!(held(&after), bytes);
    after.flood(TURN..2 * TURN, Some(TURN / 4));
    assert_eq!(after.pages_found(), PAGES);
}

#[test]
fn a_promise_rests_once_nobody_has_asked_for_two_turns_of_the_disk() {
    let mut rig = rig(&FaultyFiles::default(), 50);
    rig.write_pages();
    rig.flood(0..5 * TURN, None);
    assert_eq!(rig.disk().index.shares().bytes_of(1), 0);
    assert!(rig.disk().index.shares().bytes_of(2) > 3 << 18, "the disk is whoever's uses it");
}

#[test]
fn promises_of_the_disk_go_by_weight() {
    let mut rig = rig(&FaultyFiles::default(), 50);
    // A ninth of half the disk: seven pages.
    rig.store.weigh(&BTreeMap::from([(1, 1), (2, 8)]));
    rig.write_pages();
    rig.flood(0..3 * TURN, Some(TURN / 4));
    let kept = rig.pages_found();
    assert!((4..=7).contains(&kept), "{kept} pages");
}

#[test]
fn what_is_given_up_and_emptied_is_taken_out_of_accounts() {
    let files = FaultyFiles::default();
    let mut rig = rig(&files, 50);
    rig.write_of(1, "/a");
    rig.write_of(1, "/b");
    let one = rig.disk().index.shares().bytes_of(1) / 2;
    assert!(one > BODY_BYTES as u64);
    let given_up = hit(&rig.store, &of_zone(1, "/a"));
    rig.store.remove(&given_up);
    assert_eq!(rig.disk().index.shares().bytes_of(1), one);
    rig.turn();
    rig.write_of(1, "/a");
    assert_eq!(rig.disk().index.shares().bytes_of(1), 2 * one);
    rig.disk().index.clear();
    assert_eq!(rig.disk().index.shares().bytes_of(1), 0);
}
