//! One process after the other over one folder, with the disk's own threads.

use cache::store::DiskState;
use cache::store::disk::DiskCursor;

use super::*;

#[test]
fn objects_and_purges_survive_a_restart() {
    let folder = folder_of("restart");
    let (store, workers) = open(&folder);
    let running = workers.start().expect("threads");
    settle(&store, 1, 0); // open by now
    for number in 0..300 {
        put_twice(&store, &format!("/{number}"));
        if number % 100 == 99 {
            settle(&store, 2, number + 1); // before more is queued than may be
        }
    }
    assert_eq!(store.counts().disk_writes, 300);
    let (sender, told) = sync_channel(1);
    let purge = Purge::Prefix { zone: 1, host: b"a.example", target: b"/1" };
    store.purge(&purge, Strength::Hard, 7, move |recorded| sender.send(recorded).expect("waited for"));
    assert_eq!(told.recv(), Ok(Recorded::OnDisk));
    running.release();
    running.join();
    assert_eq!(store.disk().map(|disk| disk.state()), Some(DiskState::Released));

    let (store, workers) = open(&folder);
    let running = workers.start().expect("threads");
    settle(&store, 8, 0);
    let disk = store.disk().expect("attached");
    assert_eq!((disk.state(), disk.objects(), disk.purges_applied_to()), (DiskState::Ready, 300, 8));
    let mut found = 0;
    for number in 0..300 {
        let target = format!("/{number}");
        match store.lookup(&key(&target), 0) {
            Lookup::Wait(ticket) => {
                let Waited::Hit(object) = wait(ticket) else { panic!("{target} is on disk") };
                assert_eq!(object.chunks().expect("whole").concat(), body(&target));
                assert!(!target.starts_with("/1"), "{target} was purged");
                found += 1;
            }
            Lookup::Lease(_) => assert!(target.starts_with("/1"), "{target} is missing"),
            other => panic!("{target}: {other:?}"),
        }
    }
    assert_eq!(found, 300 - 111);
    let (listed, next) = disk.list(DiskCursor::default(), 1_000).expect("readable");
    assert_eq!((listed.len(), next), (300 - 111, None), "what was found purged is forgotten");
    running.release();
    running.join();
    std::fs::remove_dir_all(&folder).expect("it is there");
}

#[test]
fn two_processes_have_the_folder_one_after_the_other() {
    let folder = folder_of("handover");
    let (first, workers) = open(&folder);
    let draining = workers.start().expect("threads");
    settle(&first, 1, 0);
    put_twice(&first, "/");
    settle(&first, 2, 1);
    let (second, mut workers) = open(&folder);
    turn(&mut workers);
    let state = |store: &Store| store.disk().expect("attached").state();
    assert_eq!(state(&second), DiskState::WaitingForFolder);
    assert!(matches!(second.lookup(&key("/"), 0), Lookup::Lease(_)), "it serves without it");
    draining.release();
    draining.join();
    turn(&mut workers);
    assert_eq!(state(&second), DiskState::Ready);
    let Lookup::Wait(ticket) = second.lookup(&key("/"), 0) else { panic!("on disk") };
    turn(&mut workers);
    assert!(matches!(wait(ticket), Waited::Hit(_)));
    std::fs::remove_dir_all(&folder).expect("it is there");
}
