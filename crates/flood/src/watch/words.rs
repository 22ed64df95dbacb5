//! What a limit is for, in words. Called by `watch.rs`.

use crate::explain::{Found, Pattern};
use crate::limit::Kind;
use crate::note::Dimension;
use crate::sample::Texts;

/// What requests have in common: `path /search and user agent curl/8.5`.
pub(super) fn pattern(pattern: &Pattern, texts: &Texts) -> String {
    let value = |(dimension, value): (Dimension, u32)| {
        let text = texts.get(&(dimension, value)).map(|text| &**text);
        match (dimension, text) {
            (Dimension::Target, _) => "paths and queries that nobody asked for before".to_owned(),
            (Dimension::Network, _) => format!("network AS{value}"),
            (_, Some(text)) => format!("{} {text}", dimension.as_str()),
            (_, None) => format!("{} #{value:08x}", dimension.as_str()),
        }
    };
    let values: Vec<String> = pattern.values().map(value).collect();
    if values.is_empty() { "every request".to_owned() } else { values.join(" and ") }
}

/// What is let through.
pub(super) fn most(kind: Kind) -> String {
    match kind {
        Kind::Visitor(most, seconds) => format!("{most} in {seconds} s for each visitor"),
        Kind::Total(per_s) => {
            format!("{per_s:.1} a second for all visitors together who were not served before")
        }
    }
}

/// Why it is there.
pub(super) fn why(found: &Found) -> String {
    let Found { rate, usual, visitor_rate, .. } = found;
    let visitors = match *visitor_rate {
        few if few < 0.1 => "by visitors who ask little each".to_owned(),
        each => format!("by visitors who ask {each:.1} a second each"),
    };
    format!("{rate:.0} requests a second where {usual:.1} are usual, {visitors}")
}
