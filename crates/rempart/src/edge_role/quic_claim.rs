//! Who may read a generation of UDP sockets: who has the lock on its file in the data folder.
//!
//! The supervisor says who is to let go and who is to read. When the one has let go, the other learns from
//! the kernel (flock(2)): also of an edge that belongs to a supervisor which is dead, and of one that dies
//! meanwhile. It decides nothing else, and TCP is served whoever has it. Called by [`super`]; read next:
//! [`super::super::supervisor`]'s `strays.rs`, and `edge`'s `letting_go.rs`.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use telemetry::events::Events;

use crate::clock;

/// How long an edge that serves waits for another to let go: that one closes what is open at once, which
/// takes some 200 ms, and then answers over TCP alone.
const WAIT: Duration = Duration::from_secs(2);

/// How often it looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One process's claim to a generation.
#[derive(Debug)]
pub(super) struct QuicClaim {
    path: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
enum Held {
    /// It is to be had.
    Awaited,
    /// It is this process's for as long as this is open.
    Ours(#[expect(dead_code, reason = "the descriptor has the lock")] File),
    /// It was given away.
    Over,
}

impl QuicClaim {
    /// That of a generation.
    pub(super) fn of(data_dir: &Path, generation: usize) -> Arc<Self> {
        let path = data_dir.join(format!("quic-{generation}.lock"));
        Arc::new(Self { path, held: Mutex::new(Held::Awaited) })
    }

    /// Takes it on a thread of its own. `begin` is called when the sockets may be read, once or more often:
    /// at once unless another `has` them, else as soon as that has let go, which is told of if it takes
    /// longer than [`WAIT`]. Without a thread or a file they are read at once: visitors go before order.
    pub(super) fn take(self: &Arc<Self>, has: bool, events: &Events, begin: Arc<dyn Fn() + Send + Sync>) {
        if !has {
            begin();
        }
        let (claim, events, begins) = (Arc::clone(self), events.clone(), Arc::clone(&begin));
        let wait = move || {
            let Ok(file) = claim.open() else { return begins() };
            if has && !claim.wait_for(&file) {
                let remedy = "an edge that drains keeps its UDP sockets: visitors over QUIC may have to \
                              connect again";
                events.warn("quic_not_let_go", &[("remedy", remedy.into())]);
            }
            if has && !claim.is_over() {
                begins();
            }
            // Held from now on, so that whoever reads next can wait for this process in turn.
            if file.lock().is_ok() {
                claim.hold(file);
            }
        };
        if thread::Builder::new().name("quic-claim".into()).spawn(wait).is_err() {
            begin();
        }
    }

    /// Gives it away: the sockets are not read any more.
    pub(super) fn give(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Held::Over;
    }

    fn open(&self) -> io::Result<File> {
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        options.custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(&self.path)
    }

    /// Waits until the lock is free, and has it then; false when that takes too long.
    fn wait_for(&self, file: &File) -> bool {
        let until = clock::now() + WAIT;
        while !self.is_over() {
            match file.try_lock() {
                // A file system without locks tells nothing.
                Ok(()) | Err(TryLockError::Error(_)) => break,
                Err(TryLockError::WouldBlock) if clock::now() >= until => return false,
                Err(TryLockError::WouldBlock) => thread::sleep(LOOK_EVERY),
            }
        }
        true
    }

    fn is_over(&self) -> bool {
        matches!(*self.held.lock().unwrap_or_else(PoisonError::into_inner), Held::Over)
    }

    fn hold(&self, file: File) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*held, Held::Awaited) {
            *held = Held::Ours(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use telemetry::sink::Target;
    use testkit::folder::Folder;

    use super::*;

    /// Bounds a hang alone.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn events(folder: &Folder) -> Events {
        Events::start(Target::File(folder.path().join("events")), || 0).unwrap()
    }

    /// Takes a claim, and waits until the lock is held.
    fn held(claim: &Arc<QuicClaim>, events: &Events) {
        claim.take(false, events, Arc::new(|| ()));
        let until = clock::now() + PATIENCE;
        while !matches!(*claim.held.lock().unwrap(), Held::Ours(_)) {
            assert!(clock::now() < until, "the lock was never taken");
            thread::yield_now();
        }
    }

    #[test]
    fn who_comes_next_reads_when_the_one_before_has_let_go_and_not_sooner() {
        let folder = Folder::new().unwrap();
        let events = events(&folder);
        let before = QuicClaim::of(folder.path(), 1);
        held(&before, &events);
        let next = QuicClaim::of(folder.path(), 1);
        let (begin, has_begun) = sync_channel(1);
        let is_given = Arc::new(Mutex::new(false));
        let seen = Arc::clone(&is_given);
        next.take(true, &events, Arc::new(move || begin.send(*seen.lock().unwrap()).unwrap()));
        {
            let mut is_given = is_given.lock().unwrap();
            *is_given = true;
            before.give();
        }
        assert!(has_begun.recv_timeout(PATIENCE).unwrap(), "it was read while another had it");
    }

    #[test]
    fn the_other_generation_is_another_claim() {
        let folder = Folder::new().unwrap();
        let events = events(&folder);
        let before = QuicClaim::of(folder.path(), 1);
        held(&before, &events);
        let other = QuicClaim::of(folder.path(), 0);
        held(&other, &events);
    }

    #[test]
    fn one_that_never_lets_go_is_told_of_and_not_waited_for() {
        let folder = Folder::new().unwrap();
        let events = events(&folder);
        let before = QuicClaim::of(folder.path(), 0);
        held(&before, &events);
        let (begin, has_begun) = sync_channel(1);
        QuicClaim::of(folder.path(), 0).take(true, &events, Arc::new(move || begin.send(()).unwrap()));
        has_begun.recv_timeout(PATIENCE).unwrap();
        assert!(events.close(PATIENCE));
        let told = std::fs::read_to_string(folder.path().join("events")).unwrap();
        assert!(told.contains("quic_not_let_go"), "{told}");
    }

    #[test]
    fn who_was_told_to_let_go_while_it_waited_never_begins() {
        let folder = Folder::new().unwrap();
        let events = events(&folder);
        let before = QuicClaim::of(folder.path(), 0);
        held(&before, &events);
        let next = QuicClaim::of(folder.path(), 0);
        let (begin, has_begun) = sync_channel::<()>(1);
        next.take(true, &events, Arc::new(move || begin.send(()).unwrap()));
        next.give();
        before.give();
        // Its end is dropped by the thread unused.
        assert!(has_begun.recv_timeout(PATIENCE).is_err());
        assert!(matches!(*next.held.lock().unwrap(), Held::Over));
    }

    #[test]
    fn without_a_file_the_sockets_are_read_at_once() {
        let folder = Folder::new().unwrap();
        let (begin, has_begun) = sync_channel(1);
        let claim = QuicClaim::of(&folder.path().join("none"), 0);
        claim.take(true, &events(&folder), Arc::new(move || begin.send(()).unwrap()));
        has_begun.recv_timeout(PATIENCE).unwrap();
    }
}
