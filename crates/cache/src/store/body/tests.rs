//! Tests of bodies: readers at any pace see the same bytes, whatever the pieces.

use proptest::prelude::*;

use super::*;
use crate::store::tests::{Woken, answer, body_of, drain, hit, key, lease, store_of};
use crate::store::{Finished, Pushed};

fn bytes_of(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

proptest! {
    #[test]
    fn readers_at_any_pace_and_offset_see_the_same_bytes(
        pieces in prop::collection::vec(prop_oneof![4 => 1_usize..3_000, 1 => 1_usize..40_000], 0..80),
        offsets in prop::collection::vec(0_u64..100_000, 1..5),
        paces in prop::collection::vec(0_usize..4, 1..5),
    ) {
        let store = store_of(64 << 20);
        let whole = bytes_of(pieces.iter().sum());
        let mut fill = lease(&store, &key("/")).begin(answer(1)).expect("kept");
        let mut readers: Vec<(Reader, u64, usize, Vec<u8>)> = offsets
            .iter()
            .zip(paces.iter().cycle())
            .map(|(offset, pace)| {
                let reader = fill.object().reader(*offset).expect("a reader");
                (reader, *offset, *pace, Vec::new())
            })
            .collect();
        let mut from = 0;
        for piece in &pieces {
            prop_assert_eq!(fill.push(&whole[from..from + piece]), Pushed::Kept);
            from += piece;
            for (reader, _, pace, read) in &mut readers {
                for _ in 0..*pace {
                    if let Poll::Ready(Piece::Bytes(bytes)) = reader.poll_piece(Waker::noop()) {
                        read.extend_from_slice(&bytes);
                    }
                }
            }
        }
        prop_assert_eq!(fill.finish(), Finished::Kept);
        for (mut reader, offset, _, mut read) in readers {
            let (rest, end) = drain(&mut reader, Waker::noop());
            read.extend(rest);
            prop_assert_eq!(end, Some(Piece::End));
            prop_assert_eq!(read, &whole[whole.len().min(offset as usize)..]);
        }
        let object = hit(&store, &key("/"));
        prop_assert_eq!(&body_of(&object), &whole);
        let chunks = object.chunks().expect("whole");
        prop_assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= 2 * CHUNK_BYTES));
        prop_assert!(chunks.len() < 2 || whole.len() / chunks.len() >= 8_000);
    }
}

#[test]
fn small_pieces_are_joined_as_they_come() {
    let store = store_of(64 << 20);
    let mut fill = lease(&store, &key("/")).begin(answer(1)).expect("kept");
    let whole = bytes_of(200_000);
    whole.chunks(1_000).for_each(|piece| {
        fill.push(piece);
    });
    fill.finish();
    let object = hit(&store, &key("/"));
    let lengths: Vec<usize> = object.chunks().expect("whole").iter().map(Bytes::len).collect();
    assert_eq!(lengths, [66_000, 66_000, 66_000, 2_000]);
    assert_eq!(body_of(&object), whole);
}

#[test]
fn a_stored_body_keeps_no_buffer_of_the_network_alive() {
    let store = store_of(64 << 20);
    let buffer = Bytes::from(vec![1; 64 << 10]);
    let mut fill = lease(&store, &key("/")).begin(answer(1)).expect("kept");
    fill.push(&buffer.slice(..10));
    fill.finish();
    assert!(buffer.is_unique());
}

#[test]
fn pieces_are_gathered_for_one_write() {
    let store = store_of(64 << 20);
    let mut fill = lease(&store, &key("/")).begin(answer(1)).expect("kept");
    let mut reader = fill.reader().expect("a reader");
    let (woken, waker) = Woken::new();
    let mut pieces = Vec::new();
    assert!(reader.poll_pieces(&waker, &mut pieces, 8, 1 << 20).is_pending());
    for _ in 0..5 {
        fill.push(&[1; 100]);
    }
    assert_eq!(woken.times(), 1, "woken once, however much came");
    assert_eq!(reader.poll_pieces(&waker, &mut pieces, 3, 1 << 20), Poll::Ready(None));
    assert_eq!(pieces.len(), 3);
    assert_eq!(reader.poll_pieces(&waker, &mut pieces, 8, 1), Poll::Ready(None));
    assert_eq!(pieces.len(), 4, "no more once there are enough bytes");
    fill.finish();
    assert_eq!(reader.poll_pieces(&waker, &mut pieces, 8, 1 << 20), Poll::Ready(None));
    assert_eq!((pieces.len(), reader.offset()), (5, 500));
    assert_eq!(reader.poll_pieces(&waker, &mut pieces, 8, 1 << 20), Poll::Ready(Some(Piece::End)));
}

#[test]
fn readers_share_the_bytes_they_read() {
    let store = store_of(64 << 20);
    let mut fill = lease(&store, &key("/")).begin(answer(1)).expect("kept");
    fill.push(&[1; 100]);
    fill.finish();
    let object = hit(&store, &key("/"));
    let read = || match object.reader(0).expect("a reader").poll_piece(Waker::noop()) {
        Poll::Ready(Piece::Bytes(bytes)) => bytes.as_ptr(),
        other => panic!("expected bytes, got {other:?}"),
    };
    assert_eq!(read(), read());
}

#[test]
fn a_place_given_up_is_taken_again() {
    let store = store_of(64 << 20);
    let fill = lease(&store, &key("/")).begin(answer(1)).expect("kept");
    for _ in 0..10 {
        let readers: Vec<Reader> = (0..10).filter_map(|_| fill.reader()).collect();
        assert_eq!(fill.object().body.readers(), 10);
        drop(readers);
    }
    assert_eq!(fill.object().body.lock().readers.len(), 10);
}
