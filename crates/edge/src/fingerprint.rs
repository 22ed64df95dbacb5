//! A request's fingerprint, and the door that refuses those whose like has killed.
//!
//! The fingerprint is a keyed 64-bit hash of what the same request would say again: method, host, target,
//! size of the body, and the fields a program sends unchanged. It names a request to the black box, and at
//! the door after a death. What it approximates: "the same request". Cookies, credentials, addresses and
//! validators are left out, since they change while the deadly part stays; so an innocent request that
//! differs in nothing else is refused too while a deadly one's fingerprint stands, and a deadly one that
//! changes its own `User-Agent` is another to it. The zone is then set back to an earlier spec, which is not
//! done here.
//!
//! Callers: `pipeline.rs` for each exchange; the binary, which learns of deaths. Read next: [`Door`].

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use exchange::{BodySize, Known, Request};
use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

/// Most fingerprints refused at once. A request refused here has killed a process twice; hundreds of them
/// are an attack on a bug that a restart does not mend. 16 KiB.
pub const FINGERPRINTS_MAX: usize = 1_024;

/// Makes fingerprints under one key: whoever does not know it cannot make two requests share one.
#[derive(Clone, Debug)]
pub struct Fingerprints {
    seed: u64,
    shared: SharedSeed,
}

impl Fingerprints {
    /// Under this key, the same over restarts.
    pub fn new(key: [u64; 2]) -> Self {
        Self { seed: key[0], shared: SharedSeed::from_u64(key[1]) }
    }

    /// The request's fingerprint.
    pub fn of(&self, request: &Request) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(request.method_token());
        hasher.write(request.host());
        hasher.write(request.sent_target());
        hasher.write_u64(match request.body {
            BodySize::None => 0,
            BodySize::Unknown => u64::MAX,
            BodySize::Length(length) => length,
        });
        for field in request.fields.iter() {
            if matches!(
                field.known,
                Known::UserAgent | Known::Accept | Known::AcceptEncoding | Known::ContentType | Known::Expect
            ) {
                hasher.write(field.value);
            }
        }
        hasher.finish()
    }
}

/// Refuses requests by fingerprint. Free while nothing is refused: one look at a flag.
#[derive(Debug, Default)]
pub struct Door {
    is_shut: AtomicBool,
    /// Fingerprints with the second of the node's clock until which each is refused.
    refused: ArcSwap<HashMap<u64, u64>>,
}

impl Door {
    /// Refuses exactly these from now on, each until its second of the node's clock. Beyond
    /// [`FINGERPRINTS_MAX`] those that would be refused longest are kept.
    pub fn refuse(&self, mut fingerprints: Vec<(u64, u64)>) {
        fingerprints.sort_by_key(|(_, until_s)| std::cmp::Reverse(*until_s));
        fingerprints.truncate(FINGERPRINTS_MAX);
        let is_shut = !fingerprints.is_empty();
        self.refused.store(Arc::new(fingerprints.into_iter().collect()));
        self.is_shut.store(is_shut, Ordering::Release);
    }

    /// For how many seconds the request does not come in yet, if it does not; `now_s` is asked for only when
    /// something is refused.
    #[inline]
    pub fn refuses(&self, fingerprint: u64, now_s: impl FnOnce() -> u64) -> Option<u64> {
        if !self.is_shut.load(Ordering::Acquire) {
            return None;
        }
        self.refused_for_s(fingerprint, now_s())
    }

    #[cold]
    fn refused_for_s(&self, fingerprint: u64, now_s: u64) -> Option<u64> {
        let until_s = *self.refused.load().get(&fingerprint)?;
        until_s.checked_sub(now_s).filter(|left_s| *left_s > 0)
    }

    /// Forgets what has expired, so that the door is free again; now and then.
    pub fn sweep(&self, now_s: u64) {
        if !self.is_shut.load(Ordering::Acquire) {
            return;
        }
        let refused = self.refused.load_full();
        if refused.values().any(|until_s| *until_s <= now_s) {
            let left = refused.iter().filter(|(_, until_s)| now_s < **until_s);
            self.refuse(left.map(|(fingerprint, until_s)| (*fingerprint, *until_s)).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &[u8]) -> Request {
        let mut request = Request::default();
        request.set_method(b"GET");
        request.set_authority(b"example.org");
        request.set_target(target);
        request.fields.push(b"User-Agent", b"curl/8");
        request
    }

    #[test]
    fn the_same_request_has_the_same_fingerprint_whatever_changes_between_visits() {
        let fingerprints = Fingerprints::new([1, 2]);
        let mut again = request(b"/a?b");
        again.fields.push(b"Cookie", b"session=1");
        again.fields.push(b"X-Forwarded-For", b"192.0.2.1");
        assert_eq!(fingerprints.of(&request(b"/a?b")), fingerprints.of(&again));
    }

    #[test]
    fn another_request_or_another_key_has_another_fingerprint() {
        let fingerprints = Fingerprints::new([1, 2]);
        let first = fingerprints.of(&request(b"/a"));
        let mut other = request(b"/a");
        other.fields.push(b"Accept", b"*/*");
        let mut posted = request(b"/a");
        posted.body = BodySize::Length(3);
        for different in [&request(b"/b"), &other, &posted] {
            assert_ne!(fingerprints.of(different), first);
        }
        assert_ne!(Fingerprints::new([1, 3]).of(&request(b"/a")), first);
        assert_ne!(Fingerprints::new([2, 2]).of(&request(b"/a")), first);
    }

    #[test]
    fn an_empty_door_never_asks_for_the_time() {
        assert_eq!(Door::default().refuses(1, || unreachable!("nothing is refused")), None);
    }

    #[test]
    fn a_refused_fingerprint_comes_in_again_at_its_time() {
        let door = Door::default();
        door.refuse(vec![(1, 100), (2, 200)]);
        let refused = [(1, 98), (1, 99), (1, 100), (3, 0)].map(|(of, now_s)| door.refuses(of, || now_s));
        assert_eq!(refused, [Some(2), Some(1), None, None]);
        door.sweep(150);
        assert_eq!(door.refuses(1, || 0), None, "what has expired is forgotten");
        assert_eq!(door.refuses(2, || 150), Some(50));
        door.sweep(200);
        assert_eq!(door.refuses(2, || unreachable!("the door is free again")), None);
    }

    #[test]
    fn beyond_the_limit_the_longest_refused_stay() {
        let door = Door::default();
        door.refuse((0..FINGERPRINTS_MAX as u64 + 10).map(|number| (number, 1_000 + number)).collect());
        assert_eq!((door.refuses(9, || 0), door.refuses(10, || 0)), (None, Some(1_010)));
        assert_eq!(door.refused.load().len(), FINGERPRINTS_MAX);
    }
}
