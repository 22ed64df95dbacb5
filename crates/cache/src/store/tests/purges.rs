//! Purges and withdrawals as a visitor sees them.

use super::*;

fn purge(store: &Store, purge: Purge<'_>, strength: Strength) {
    store.purge(&purge, strength, 1, |recorded| assert_eq!(recorded, Recorded::InMemory));
}

fn hard(store: &Store, what: Purge<'_>) {
    purge(store, what, Strength::Hard);
}

const HOST: &[u8] = b"a.example";

fn tagged<'a>(tags: &'a [&'a [u8]]) -> Answer<'a> {
    Answer { tags, head: answer(1).head, body_bytes: None }
}

#[test]
fn each_kind_of_purge_takes_what_it_is_about_and_nothing_else() {
    let purges: [(Purge<'_>, &[&str]); 7] = [
        (Purge::Url { zone: 1, host: HOST, target: b"/a/1" }, &["/a/1", "/a/1 gzip"]),
        (Purge::Prefix { zone: 1, host: HOST, target: b"/a/" }, &["/a/1", "/a/1 gzip", "/a/2"]),
        (Purge::Host { zone: 1, host: HOST }, &["/a/1", "/a/1 gzip", "/a/2", "/b"]),
        (Purge::Tag { zone: 1, tag: b"news" }, &["/a/2", "/other host"]),
        (Purge::Zone { zone: 1 }, &["/a/1", "/a/1 gzip", "/a/2", "/b", "/other host"]),
        (Purge::Everything, &["/a/1", "/a/1 gzip", "/a/2", "/b", "/other host", "/other zone"]),
        (Purge::Prefix { zone: 1, host: b"a.exampl", target: b"e" }, &[]),
    ];
    for (what, gone) in purges {
        let store = store_of(1 << 20);
        let variant = KeyRef { rest: b"gzip", ..key("/a/1") };
        let other_host = KeyRef { host: b"b.example", ..key("/a/1") };
        let other_zone = KeyRef { zone: 2, ..key("/a/1") };
        let objects: [(&str, KeyRef<'_>, &[&[u8]]); 6] = [
            ("/a/1", key("/a/1"), &[]),
            ("/a/1 gzip", variant, &[]),
            ("/a/2", key("/a/2"), &[b"sports", b"news"]),
            ("/b", key("/b"), &[]),
            ("/other host", other_host, &[b"news"]),
            ("/other zone", other_zone, &[b"news"]),
        ];
        for (_, key, tags) in &objects {
            put_answer(&store, key, tagged(tags), b"x");
            assert!(is_hit(&store, key));
        }
        hard(&store, what);
        let missing: Vec<&str> =
            objects.iter().filter(|(_, key, _)| !is_hit(&store, key)).map(|(name, _, _)| *name).collect();
        assert_eq!(missing, gone, "{what:?}");
        store.check_invariants();
    }
}

#[test]
fn what_is_fetched_after_a_purge_is_kept() {
    let store = store_of(1 << 20);
    put(&store, &key("/"), b"old");
    hard(&store, Purge::Zone { zone: 1 });
    assert_eq!(put(&store, &key("/"), b"new"), Finished::Kept);
    assert_eq!(body_of(&hit(&store, &key("/"))), b"new");
    assert_eq!(store.counts().purged_found, 1);
}

#[test]
fn a_soft_purge_makes_stale_and_a_hard_one_after_it_unusable() {
    let store = store_of(1 << 20);
    put(&store, &key("/"), b"x");
    assert!(!hit(&store, &key("/")).is_purged_softly());
    purge(&store, Purge::Url { zone: 1, host: HOST, target: b"/" }, Strength::Soft);
    let stale = hit(&store, &key("/"));
    assert!(stale.is_purged_softly());
    let Lookup::Lease(lease) = store.lookup_beyond(&stale, 0) else { panic!("a lease") };
    lease.refresh(&stale, answer(1)).expect("kept");
    assert!(!hit(&store, &key("/")).is_purged_softly(), "revalidated since");
    hard(&store, Purge::Url { zone: 1, host: HOST, target: b"/" });
    assert!(!is_hit(&store, &key("/")));
}

#[test]
fn a_fill_in_flight_is_unusable_after_a_purge_but_for_those_who_read_it() {
    let store = store_of(1 << 20);
    let mut fill = lease(&store, &key("/")).begin(answer(1)).expect("kept");
    let mut reader = fill.reader().expect("a reader");
    fill.push(b"ab");
    assert!(is_hit(&store, &key("/")));
    hard(&store, Purge::Url { zone: 1, host: HOST, target: b"/" });
    let second = lease(&store, &key("/"));
    fill.push(b"c");
    fill.finish();
    assert_eq!(drain(&mut reader, Waker::noop()), (b"abc".to_vec(), Some(Piece::End)));
    assert!(!is_hit(&store, &key("/")));
    let mut fill = second.begin(answer(1)).expect("kept");
    fill.push(b"new");
    assert_eq!(fill.finish(), Finished::Kept);
    assert_eq!(body_of(&hit(&store, &key("/"))), b"new");
    store.check_invariants();
}

#[test]
fn nobody_joins_a_fetch_that_began_before_a_purge() {
    let store = store_of(1 << 20);
    let old = lease(&store, &key("/"));
    let mut before = ticket(&store, &key("/"));
    hard(&store, Purge::Zone { zone: 1 });
    let new = lease(&store, &key("/"));
    let mut after = ticket(&store, &key("/"));
    let mut fill = old.begin(answer(1)).expect("begun");
    fill.push(b"old");
    assert_eq!(fill.finish(), Finished::NotKept);
    assert!(polled(&mut after, 0).is_none());
    assert!(matches!(polled(&mut before, 0), Some(Waited::Again)), "there is a fetch to join");
    let mut fill = new.begin(answer(1)).expect("kept");
    fill.push(b"new");
    assert_eq!(fill.finish(), Finished::Kept);
    let Some(Waited::Hit(object)) = polled(&mut after, 0) else { panic!("the new one") };
    assert_eq!(body_of(&object), b"new");
    drop(before);
    assert_eq!(store.usage().fetches, 0);
    store.check_invariants();
}

#[test]
fn those_who_joined_before_a_purge_by_tag_was_known_to_concern_it_fetch_again_once() {
    let store = store_of(1 << 20);
    let first = lease(&store, &key("/"));
    let mut tickets: Vec<Ticket> = (0..10).map(|_| ticket(&store, &key("/"))).collect();
    hard(&store, Purge::Tag { zone: 1, tag: b"news" });
    tickets.push(ticket(&store, &key("/")));
    let fill = first.begin(tagged(&[b"news"])).expect("begun");
    assert!(!fill.is_kept());
    let leases: Vec<Waited> = tickets.iter_mut().filter_map(|ticket| polled(ticket, 0)).collect();
    assert_eq!(leases.len(), 1, "one fetches for all");
    let Some(Waited::Lease(second)) = leases.into_iter().next() else { panic!("a lease") };
    let mut fill = second.begin(tagged(&[b"news"])).expect("kept");
    assert!(fill.is_kept(), "its fetch began after the purge");
    fill.push(b"x");
    fill.finish();
    let served = tickets[1..].iter_mut().filter_map(|ticket| polled(ticket, 0));
    assert_eq!(served.filter(|waited| matches!(waited, Waited::Hit(_))).count(), 10);
}

#[test]
fn objects_of_a_withdrawn_snapshot_are_unusable_now_and_later() {
    let store = store_of(1 << 20);
    for snapshot in [4, 5, 6] {
        put_answer(&store, &key(&format!("/{snapshot}")), answer(snapshot), b"x");
    }
    let filling = lease(&store, &key("/late"));
    store.withdraw(5, 1, |_| ());
    let found: Vec<bool> = [4, 5, 6].map(|snapshot| is_hit(&store, &key(&format!("/{snapshot}")))).into();
    assert_eq!(found, [true, false, true]);
    let fill = filling.begin(answer(5)).expect("begun");
    assert!(!fill.is_kept(), "a request that still runs under it stores nothing");
}

#[test]
fn a_purge_costs_the_same_however_many_objects_there_are() {
    let store = store_of(64 << 20);
    for number in 0..20_000 {
        put(&store, &key(&format!("/{number}")), b"x");
    }
    let before = store.usage();
    hard(&store, Purge::Zone { zone: 1 });
    assert_eq!(store.usage(), before, "nothing is touched until it is asked for");
    assert!((0..20_000).all(|number| !is_hit(&store, &key(&format!("/{number}")))));
    store.check_invariants();
}
