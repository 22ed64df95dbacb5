//! The reference tells every setting there is, and its examples and defaults hold.

use std::collections::BTreeSet;

use zone::read::Row;
use zone::reference::{node_rows, zone_rows};
use zone::spec::{OriginSpec, PoolSpec, TlsSpec, ZoneSpec};

use crate::{one, zone_text};

#[test]
fn tells_every_setting_with_type_default_and_meaning() {
    let text = zone::reference();
    for row in node_rows().iter().chain(&zone_rows()) {
        assert!(text.contains(&format!("| `{}` | ", row.path)), "{}", row.path);
        assert!(!row.kind.is_empty() && !row.default.is_empty() && row.meaning.ends_with('.'), "{row:?}");
    }
    let paths: BTreeSet<String> = zone_rows().into_iter().map(|row| row.path).collect();
    for (prefix, keys) in [
        ("", ZoneSpec::KEYS),
        ("tls.", TlsSpec::KEYS),
        ("pool[].", PoolSpec::KEYS),
        ("pool[].origins[].", OriginSpec::KEYS),
    ] {
        for key in keys {
            assert!(paths.contains(&format!("{prefix}{key}")), "{prefix}{key}");
        }
    }
    assert!(paths.contains("pool[].health.interval_ms") && paths.contains("route[].redirect.location"));
}

#[test]
fn writes_every_default_of_the_zone_as_the_reader_takes_it() {
    // A default of the reference, written out, must be accepted and change nothing.
    let is_top = |row: &&Row| row.path.starts_with("http.") && row.default != "none";
    let rows = zone_rows();
    let written: String = rows
        .iter()
        .filter(is_top)
        .map(|row| format!("{} = {}\n", row.path.trim_start_matches("http."), row.default))
        .collect();
    assert_eq!(written.lines().count(), 8, "{written}");
    let plain = one(&zone_text("z", "[\"a.example\"]", ""));
    let explicit = one(&zone_text("z", "[\"a.example\"]", &format!("[http]\n{written}")));
    assert_eq!(plain.zones()[0].http, explicit.zones()[0].http);
}
