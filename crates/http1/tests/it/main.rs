//! Differential tests: what this crate makes of messages, against what hyper and nginx make of them.
//!
//! Every request is followed by another on the same connection, so a difference in framing shows as a
//! difference in what was served. Each known difference stands beside its case with its explanation, and a
//! difference that is no longer there fails the test as well. Read next: `requests.rs`.

mod memory;
mod nginx;
mod requests;
mod responses;

/// What a server made of a connection: target and content length of each request it took as whole.
pub(crate) type Served = Vec<(String, usize)>;

/// One message and where others read it differently, with the reason; `None`: they agree.
pub(crate) struct Case {
    pub(crate) message: &'static str,
    pub(crate) hyper: Option<&'static str>,
    pub(crate) nginx: Option<&'static str>,
}

/// A case that all read alike.
pub(crate) const fn alike(message: &'static str) -> Case {
    Case { message, hyper: None, nginx: None }
}

/// A case that hyper alone reads differently.
pub(crate) const fn hyper_differs(message: &'static str, why: &'static str) -> Case {
    Case { message, hyper: Some(why), nginx: None }
}

/// A case that nginx alone reads differently.
pub(crate) const fn nginx_differs(message: &'static str, why: &'static str) -> Case {
    Case { message, hyper: None, nginx: Some(why) }
}

/// A case that both read differently.
pub(crate) const fn both_differ(message: &'static str, why: &'static str) -> Case {
    Case { message, hyper: Some(why), nginx: Some(why) }
}

/// Adds a line to `surprises` when a difference is there and not explained, or explained and not there.
pub(crate) fn compare<T: PartialEq + std::fmt::Debug>(
    surprises: &mut Vec<String>,
    message: &str,
    ours: &T,
    theirs: &T,
    explained: Option<&str>,
) {
    match (ours == theirs, explained) {
        (true, None) | (false, Some(_)) => {}
        (true, Some(why)) => surprises.push(format!("agree after all ({why}): {message:?}: {ours:?}")),
        (false, None) => surprises.push(format!("{message:?}\n    ours   {ours:?}\n    theirs {theirs:?}")),
    }
}
