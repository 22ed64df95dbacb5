//! `[compression]` of zones, and what rules choose of it and of the cache.

use zone::{Algorithm, CompressionLevels};

use super::{one, problems_of, zone_text};

fn zone(text: &str) -> std::sync::Arc<zone::Zone> {
    let snapshot = one(&zone_text("z", "[\"a.example\"]", text));
    assert_eq!(snapshot.warnings.len(), 0, "{:?}", snapshot.warnings);
    std::sync::Arc::clone(&snapshot.zones()[0])
}

fn told(text: &str) -> String {
    problems_of(&zone_text("z", "[\"a.example\"]", text))
}

/// A rule that chooses.
fn rule(phase: &str, action: &str, lines: &str) -> String {
    format!("[[rule]]\nphase = \"{phase}\"\nexpression = 'ssl'\naction = \"{action}\"\n{lines}\n")
}

fn cache_rule(lines: &str) -> String {
    rule("http_request_cache_settings", "set_cache_settings", lines)
}

fn compress_rule(lines: &str) -> String {
    rule("http_response_compression", "compress_response", lines)
}

#[test]
fn is_off_until_the_zone_says_so() {
    assert!(zone("").compression.is_none());
    assert!(zone("[compression]\nenabled = false\nmin_bytes = 1\n").compression.is_none());
    let plain = zone("[compression]\nenabled = true\n").compression.clone().expect("it is on");
    assert_eq!(plain.algorithms, [Algorithm::Zstd, Algorithm::Brotli, Algorithm::Gzip]);
    assert_eq!((plain.types.clone(), plain.more_types.len(), plain.body_bytes_min), (None, 0, 256));
    assert_eq!(plain.levels, CompressionLevels { zstd: 3, brotli: 2, gzip: 3 });
    assert_eq!(plain.stored_levels, CompressionLevels { zstd: 9, brotli: 5, gzip: 6 });
    assert!(plain.is_on);
}

#[test]
fn every_choice_of_the_zone_is_run() {
    let chosen = zone(
        "[compression]\nenabled = true\nalgorithms = [\"gzip\"]\ntypes = [\"Text/\", \"+json\"]\n\
         more_types = [\"text/event-stream\"]\nmin_bytes = \"1KiB\"\nlevels = { gzip = 6 }\n\
         stored_levels = { brotli = 11 }\n",
    );
    let chosen = chosen.compression.clone().expect("it is on");
    assert_eq!(chosen.algorithms, [Algorithm::Gzip]);
    assert_eq!(chosen.types, Some(vec!["text/".to_owned(), "+json".to_owned()]));
    assert_eq!((chosen.more_types.len(), chosen.body_bytes_min), (1, 1024));
    assert_eq!((chosen.levels.gzip, chosen.stored_levels.brotli), (6, 11));
}

#[test]
fn what_makes_no_sense_is_told_also_while_it_is_off() {
    for (text, problem) in [
        ("enabld = true", "did you mean `enabled`?"),
        ("algorithms = [\"brotil\"]", "did you mean \"brotli\"?"),
        ("algorithms = [\"gzip\", \"gzip\"]", "named twice"),
        ("algorithms = []", "no algorithm is named"),
        ("types = [\"html\"]", "is no type"),
        ("types = [\"a b/c\"]", "is no type"),
        ("more_types = [\"image/png\"]", "is never compressed"),
        ("more_types = [\"application/grpc+proto\"]", "is never compressed"),
        ("more_types = [\"video/\"]", "is never compressed"),
        ("levels = { brotli = 11 }", "an integer from 0 to 4"),
        ("stored_levels = { gzip = 10 }", "an integer from 1 to 9"),
    ] {
        let found = told(&format!("[compression]\n{text}\n"));
        assert!(found.contains(problem), "{text}: {found}");
    }
}

#[test]
fn a_rule_makes_ready_what_it_may_switch_on() {
    let off = zone(&cache_rule("cache = { enabled = true, edge_s = 60 }"));
    assert_eq!(off.cache.as_ref().map(|cache| cache.is_on), Some(false));
    assert!(off.compression.is_none());
    let off = zone(&compress_rule("compress = { algorithms = [\"gzip\"] }"));
    assert_eq!(off.compression.as_ref().map(|compression| compression.is_on), Some(false));
    assert!(off.cache.is_none());
    let without = zone(&compress_rule("enabled = false\ncompress = { algorithms = [\"gzip\"] }"));
    assert!(without.compression.is_none());
}

#[test]
fn mistakes_of_rules_that_choose_have_their_places() {
    for (rule, problem) in [
        (cache_rule(""), "the action `set_cache_settings` needs the table `cache`"),
        (cache_rule("cache = {}"), "this chooses nothing"),
        (cache_rule("cache = { edge = 5 }"), "did you mean `edge_s`?"),
        (cache_rule("cache = { key = { headers = [\"Cookie\"] } }"), "name single cookies"),
        (cache_rule("cache = { key = { query = \"none\", query_only = [\"a\"] } }"), "exclude each other"),
        (cache_rule("cache = { lifetime = [{ status = 200 }] }"), "seconds"),
        (compress_rule(""), "the action `compress_response` needs the table `compress`"),
        (compress_rule("compress = { algorithms = [] }"), "no algorithm is named"),
        (compress_rule("compress = { algorithms = [\"none\", \"gzip\"] }"), "stands alone"),
        (compress_rule("compress = { algorithms = [\"gzip\", \"gzip\"] }"), "named twice"),
        (compress_rule("cache = { enabled = true }"), "write action = \"set_cache_settings\""),
        (
            rule(
                "http_request_late_transform",
                "compress_response",
                "compress = { algorithms = [\"gzip\"] }",
            ),
            "may not stand in `http_request_late_transform`",
        ),
    ] {
        let found = told(&rule);
        assert!(found.contains(problem), "{rule}: {found}");
        assert!(found.contains("zones/a.toml:"), "{found}");
    }
    let idle = one(&zone_text("z", "[\"a.example\"]", &cache_rule("cache = { browser_s = 1 }")));
    assert!(idle.warnings.iter().any(|warning| warning.message.contains("the zone's cache is off")));
}
