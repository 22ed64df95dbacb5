//! The reference of all metrics, in Markdown: each with its labels, and what the values of labels mean.
//!
//! Made from the tables that the pages are written by. Called by `xtask`. Read next: [`reference()`], then
//! [`MEANT`].

use super::families::{self, Family};
use super::labels::{
    CacheOutcome, CodedSource, Coding, Direction, FeedStage, FloodStage, HandshakeOutcome, LimitAction,
    LimitKind, NotInspected, OriginConnection, OriginOutcome, OriginWait, Outcome, OverLevel, Protocol,
    RuleWork, StatusClass, Tier, TlsVersion, Trouble, Unanswered, WafOutcome, Worth,
};

/// Values of labels that other crates have, with what each means.
#[derive(Debug, Clone, Copy)]
pub struct Elsewhere<'a> {
    /// Kinds of abuse.
    pub abuses: &'a [(String, String)],
    /// What happens to stored answers.
    pub cache_events: &'a [(String, String)],
    /// Phases of a request.
    pub phases: &'a [(String, String)],
}

/// What a label's values are.
#[derive(Debug)]
pub(super) enum Values {
    /// These, with what they mean.
    Are(&'static [(&'static str, &'static str)]),
    /// What the caller says.
    Told(for<'a> fn(&Elsewhere<'a>) -> &'a [(String, String)]),
    /// As many as there may be: in words.
    Open(&'static str),
}
use Values::{Are, Open, Told};

/// What the values of each label mean, of these metrics; of labels that are not here, of all metrics.
static MEANT: &[(&str, &[&Family], Values)] = &[
    ("protocol", &[], Are(Protocol::MEANINGS)),
    ("class", &[], Are(StatusClass::MEANINGS)),
    ("le", &[], Open("Upper bounds in seconds, `+Inf` last, as Prometheus has them")),
    ("version", &[], Are(TlsVersion::MEANINGS)),
    ("result", &[&families::TLS_HANDSHAKES], Are(HandshakeOutcome::MEANINGS)),
    ("refusal", &[], Open("The words of [refusals](outcomes.md#refusals)")),
    ("fault", &[], Open("The words of [faults](outcomes.md#faults)")),
    ("kind", &[&families::ABUSE], Told(|elsewhere| elsewhere.abuses)),
    ("limit", &[], Are(LimitKind::MEANINGS)),
    ("action", &[], Are(LimitAction::MEANINGS)),
    ("stage", &[&families::FLOOD_LIMITS], Are(FloodStage::MEANINGS)),
    ("stage", &[&families::FEEDS], Are(FeedStage::MEANINGS)),
    ("worth", &[], Are(Worth::MEANINGS)),
    ("direction", &[&families::VISITOR_BYTES], Are(Direction::MEANINGS)),
    ("result", &[&families::ORIGIN_REQUESTS], Are(OriginOutcome::MEANINGS)),
    ("result", &[&families::ORIGIN_CONNECTIONS], Are(OriginConnection::MEANINGS)),
    ("result", &[&families::ORIGIN_WAITS], Are(OriginWait::MEANINGS)),
    ("result", &[&families::CACHE], Are(CacheOutcome::MEANINGS)),
    ("tier", &[], Are(Tier::MEANINGS)),
    ("event", &[], Told(|elsewhere| elsewhere.cache_events)),
    ("coding", &[], Are(Coding::MEANINGS)),
    ("source", &[], Are(CodedSource::MEANINGS)),
    ("direction", &[&families::CODING_BYTES], Are(CODED)),
    (
        "result",
        &[&families::HEALTH_CHECKS, &families::RELOADS, &families::CERTIFICATE_RELOADS],
        Are(Outcome::MEANINGS),
    ),
    ("outcome", &[], Are(WafOutcome::MEANINGS)),
    ("why", &[], Are(NotInspected::MEANINGS)),
    ("operator", &[], Are(Unanswered::MEANINGS)),
    ("of", &[], Are(RuleWork::MEANINGS)),
    ("level", &[], Are(OverLevel::MEANINGS)),
    ("phase", &[], Told(|elsewhere| elsewhere.phases)),
    ("kind", &[&families::CONTAINED], Are(Trouble::MEANINGS)),
    ("zone", &[], Open("Names of zones; `(other)` for all beyond 20,000, empty for files of the node")),
    ("list", &[], Open("Names of lists with a horizon; `[geo] country` and `[geo] asn`")),
];

/// What the directions are of bytes that are compressed.
const CODED: &[(&str, &str)] = &[("in", "Uncompressed, to the encoder."), ("out", "Compressed, from it.")];

/// The labels of a metric.
pub(super) fn labels(family: &Family) -> impl Iterator<Item = &'static str> {
    family.labels.split(", ").filter(|label| !label.is_empty())
}

/// The place in [`MEANT`] of what the values of a metric's label mean.
fn place_of(family: &Family, label: &str) -> Option<usize> {
    let is_meant =
        |families: &[&Family]| families.is_empty() || families.iter().any(|one| one.name == family.name);
    MEANT.iter().position(|(name, of, _)| *name == label && is_meant(of))
}

/// What the values of a metric's label are.
#[cfg(test)]
pub(super) fn values(family: &Family, label: &str) -> Option<&'static Values> {
    MEANT.get(place_of(family, label)?).map(|(_, _, values)| values)
}

/// Gives the reference page of all metrics, in Markdown; written to `docs/reference/` by
/// `cargo xtask references`.
#[must_use]
pub fn reference(elsewhere: &Elsewhere<'_>) -> String {
    let mut page = String::from(
        "# Metrics\n\nPrometheus text format 0.0.4 on the admin address. On `/metrics` every combination of \
         labels is always there, with 0 where nothing was counted. On `/metrics/zones` so is every zone; of \
         lists and files of `[geo]` those that have a horizon. What the values of labels mean stands \
         [below](#values-of-labels).\n\n## `/metrics`\n",
    );
    table(&mut page, families::NODE);
    page.push_str("\n## `/metrics/zones`\n");
    table(&mut page, families::ZONES);
    page.push_str("\n## Values of labels\n");
    for (place, (label, _, values)) in MEANT.iter().enumerate() {
        let all = families::NODE.iter().chain(families::ZONES);
        let is_of = |family: &&&Family| labels(family).any(|name| place_of(family, name) == Some(place));
        let names: Vec<String> = all.filter(is_of).map(|family| format!("`{}`", family.name)).collect();
        let of = if names.len() > 4 { "all metrics that have it".to_owned() } else { names.join(", ") };
        page.push_str(&format!("\n### `{label}` of {of}\n\n"));
        write_values(&mut page, values, elsewhere);
    }
    page
}

fn table(page: &mut String, families: &[&Family]) {
    page.push_str("\n| name | kind | labels | meaning |\n| --- | --- | --- | --- |\n");
    for Family { name, kind, labels, help } in families {
        page.push_str(&format!("| `{name}` | {} | {labels} | {help} |\n", kind.label()));
    }
}

fn write_values(page: &mut String, values: &Values, elsewhere: &Elsewhere<'_>) {
    let owned = |(value, meaning): &(&str, &str)| ((*value).to_owned(), (*meaning).to_owned());
    let known = match values {
        Open(words) => return page.push_str(&format!("{words}.\n")),
        Are(known) => known.iter().map(owned).collect(),
        Told(known) => known(elsewhere).to_vec(),
    };
    page.push_str("| value | means |\n| --- | --- |\n");
    for (value, meaning) in known {
        page.push_str(&format!("| `{value}` | {} |\n", meaning.trim()));
    }
}
