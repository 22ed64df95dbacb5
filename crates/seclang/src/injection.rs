//! `detectSQLi` and `detectXSS`: tells text that smuggles SQL or HTML from text that mentions it.
//!
//! Both are the method of libinjection: read the value as each context would that it may end up in, and look
//! at what it turns into there. SQL becomes a fingerprint of at most five tokens, which is compared with
//! those of known attacks; HTML becomes tags and attributes, which are compared with those that run scripts.
//! Verdicts and fingerprints are libinjection's, by its own published tests; the code is Rempart's, and the
//! tables are its data in another form.
//!
//! Time is linear in the value: each pass reads it once, and there are at most five. Nothing is allocated.
//! Called by the engine for each target of the two operators. Read next: [`sqli`], [`xss`].

pub mod sqli;
pub mod xss;

#[cfg(test)]
mod published;

pub use sqli::Fingerprint;
