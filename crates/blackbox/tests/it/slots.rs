//! What is written is read, and what is no black box is refused.

use std::io::Write as _;

use blackbox::{SLOT_BYTES, SLOTS_MAX, SlotState, Work, Writer, create, read};

const WORK: Work = Work { fingerprint: 0xfeed, zone: *b"zonezone", snapshot: 7, phase: 0, rule: 0 };

#[test]
fn a_reader_sees_what_the_writer_wrote() {
    let memory = create(3).unwrap();
    let writer = Writer::map(&memory).unwrap();
    assert_eq!(writer.len(), 3);
    let slot = writer.claim(1).unwrap();
    slot.beat();
    slot.beat();
    slot.enter(&WORK);
    slot.phase(2);
    slot.rule(9);
    let seen = read(&memory).unwrap();
    assert_eq!(
        [seen[0].state, seen[1].state, seen[2].state],
        [SlotState::Free, SlotState::Busy, SlotState::Free]
    );
    let busy = seen[1];
    assert_eq!((busy.fingerprint, busy.zone, busy.snapshot), (0xfeed, *b"zonezone", 7));
    assert_eq!((busy.phase, busy.rule, busy.beat, busy.death), (2, 9, 2, None));
    assert_ne!(busy.thread, 0);
    assert_eq!(writer.slot(1).unwrap().view(), busy);
}

#[test]
fn work_goes_on_where_it_was_left() {
    let slot = Writer::private(1).claim(0).unwrap();
    slot.enter(&WORK);
    slot.zone(*b"another!", 8);
    slot.phase(3);
    slot.rule(4);
    let left = slot.leave();
    assert_eq!(left, Work { zone: *b"another!", snapshot: 8, phase: 3, rule: 4, ..WORK });
    assert_eq!(slot.view().state, SlotState::Idle);
    slot.enter(&left);
    assert_eq!((slot.view().phase, slot.view().rule), (3, 4));
    slot.phase(4);
    assert_eq!(slot.view().rule, 0, "a new phase has no rule yet");
}

#[test]
fn the_first_mark_of_a_death_stays() {
    let slot = Writer::private(1).slot(0).unwrap();
    slot.mark_death(11);
    slot.mark_death(6);
    assert_eq!(slot.view().death, Some(11));
}

#[test]
fn a_thread_cannot_claim_a_slot_that_is_not_there() {
    assert!(Writer::private(2).claim(2).is_err());
}

#[test]
fn sizes_out_of_range_are_refused() {
    assert!(create(0).is_err());
    assert!(create(SLOTS_MAX + 1).is_err());
    assert_eq!(read(&create(SLOTS_MAX).unwrap()).unwrap().len(), SLOTS_MAX);
}

#[test]
fn the_memory_can_neither_shrink_nor_grow() {
    let memory = std::fs::File::from(create(2).unwrap());
    assert!(memory.set_len(0).is_err());
    assert!(memory.set_len(1 << 20).is_err());
    assert_eq!(memory.metadata().unwrap().len(), 3 * SLOT_BYTES as u64);
}

#[test]
fn what_is_no_black_box_is_refused() {
    let (other, _writing) = std::io::pipe().unwrap();
    assert!(read(&other).is_err());
    let memory = std::fs::File::from(create(2).unwrap());
    (&memory).write_all(b"something else").unwrap();
    assert!(read(&memory).is_err());
    assert!(Writer::map(&memory).is_err());
}
