//! Compiles what rules choose of the cache and of compression. Called by `compile/rule.rs`, and for what a
//! zone must have ready because a rule may choose it.

use rules::{CacheSpec, CompressSpec, Compression, KeyPart, Ttl};

use super::Compiler;
use crate::cache::{QueryWord, RuleCacheKeySpec};
use crate::compression::RuleAlgorithm;
use crate::limits::CACHE_LIFETIMES_MAX;
use crate::read::Placed;
use crate::read::values::{List, Text};
use crate::spec::{RuleSpec, ZoneSpec};

fn seconds(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Whether a rule may switch a zone's cache on.
pub(super) fn turns_cache_on(spec: &ZoneSpec) -> bool {
    spec.rule.0.iter().filter(|rule| rule.enabled.value).any(|rule| {
        let cache = rule.cache.as_ref();
        cache.and_then(|cache| cache.enabled.as_ref()).is_some_and(|enabled| enabled.value)
    })
}

/// Whether a rule may switch a zone's compression on.
pub(super) fn turns_compression_on(spec: &ZoneSpec) -> bool {
    spec.rule.0.iter().any(|rule| rule.enabled.value && rule.compress.is_some())
}

impl Compiler<'_> {
    /// Tells of rules that choose settings of a cache that nothing switches on.
    pub(super) fn idle_choices(&mut self, spec: &ZoneSpec) {
        if spec.cache.enabled.value || turns_cache_on(spec) {
            return;
        }
        let choosing = spec.rule.0.iter().filter(|rule| rule.enabled.value);
        for cache in choosing.filter_map(|rule| rule.cache.as_ref()) {
            self.report.warning(
                cache.place,
                "the zone's cache is off, so that this chooses nothing",
                "write enabled = true here, or [cache] enabled = true",
            );
        }
    }

    /// Tells of tables of the zone's own file that do nothing, since they do not say whether they are wanted;
    /// those of the node file may wait for a zone that does.
    pub(super) fn idle_tables(&mut self, spec: &ZoneSpec) {
        const ENABLED: &str = "write enabled = true; with enabled = false it waits, and nothing is told";
        const MODE: &str = "write mode = \"log\" or \"block\"; with \"off\" it waits, and nothing is told";
        let (waf, cache, compression) = (&spec.waf, &spec.cache, &spec.compression);
        for (table, switch, is_on, name, remedy) in [
            (waf.place, waf.mode.place, false, "[waf]", MODE),
            (cache.place, cache.enabled.place, turns_cache_on(spec), "[cache]", ENABLED),
            (
                compression.place,
                compression.enabled.place,
                turns_compression_on(spec),
                "[compression]",
                ENABLED,
            ),
        ] {
            let is_own = table.file == spec.place.file && table != spec.place;
            // What nobody wrote has the place of its table.
            if is_own && switch == table && !is_on && !self.report.has_error_from(table) {
                let message = format!("nothing switches {name} on, so that it does nothing");
                self.report.warning(table, message, remedy);
            }
        }
    }

    /// What `set_cache_settings` chooses; nothing after a problem.
    pub(super) fn cache_choice(&mut self, rule: &RuleSpec) -> Option<CacheSpec> {
        let written = rule.cache.as_ref()?;
        if written.lifetime.0.len() > CACHE_LIFETIMES_MAX {
            let what = format!("more than {CACHE_LIFETIMES_MAX} lifetimes");
            self.report.error(written.lifetime.place, what);
            return None;
        }
        let mut choice = CacheSpec {
            cache: written.enabled.as_ref().map(|enabled| enabled.value),
            edge_ttl: written.edge_s.as_ref().map(|edge| Ttl::Override(seconds(edge.0))),
            browser_ttl: written.browser_s.as_ref().map(|browser| Ttl::Override(seconds(browser.0))),
            respects_request: written.respect_request.as_ref().map(|respects| respects.value),
            object_bytes_max: written.max_object_bytes.as_ref().map(|bytes| bytes.0),
            ..CacheSpec::default()
        };
        for lifetime in &written.lifetime.0 {
            let Some(status) = &lifetime.status else { continue };
            if lifetime.seconds.is_none() && lifetime.browser_s.is_none() {
                let what = "this says nothing of such answers";
                self.report.error_with(status.place, what, "write seconds or browser_s");
            }
            for range in &status.0 {
                let of = |lasts: u64| (range.first, range.last, seconds(lasts));
                choice.edge_ttl_by_status.extend(lifetime.seconds.iter().map(|lasts| of(lasts.0)));
                choice.browser_ttl_by_status.extend(lifetime.browser_s.iter().map(|lasts| of(lasts.0)));
            }
        }
        if let Some(key) = &written.key {
            self.key_choice(key, &mut choice);
        }
        if choice == CacheSpec::default() {
            let remedy =
                "write enabled, edge_s, lifetime, browser_s, respect_request, max_object_bytes or key";
            self.report.error_with(written.place, "this chooses nothing", remedy);
            return None;
        }
        Some(choice)
    }

    fn key_choice(&mut self, written: &Placed<RuleCacheKeySpec>, choice: &mut CacheSpec) {
        let mut listed = |list: &Option<Placed<List<Text>>>| list.as_ref().map(|list| self.names(list));
        let (only, except) = (listed(&written.query_only), listed(&written.query_except));
        let cookies = listed(&written.cookies);
        let chosen = [written.query.is_some(), only.is_some(), except.is_some()];
        if chosen.into_iter().filter(|is_written| *is_written).count() > 1 {
            let what = "query, query_only and query_except exclude each other";
            self.report.error_with(written.place, what, "write the one that is meant");
        }
        let query = written.query.as_ref().map(|query| match query.value {
            QueryWord::All => KeyPart::All,
            QueryWord::Nothing => KeyPart::None,
        });
        choice.key_query = query.or(only.map(KeyPart::Include)).or(except.map(KeyPart::Exclude));
        choice.key_cookies = cookies.map(KeyPart::Include);
        choice.key_headers =
            written.headers.as_ref().map(|headers| KeyPart::Include(self.keyed_headers(headers)));
        choice.key_ignores_query_order = written.sort_query.as_ref().map(|sorts| sorts.value);
        choice.key_device = written.device.as_ref().map(|device| device.value);
        choice.key_country = written.country.as_ref().map(|country| country.value);
    }

    /// What `compress_response` chooses; nothing after a problem.
    pub(super) fn compress_choice(&mut self, rule: &RuleSpec) -> Option<CompressSpec> {
        let written = rule.compress.as_ref()?;
        let listed = written.algorithms.as_ref()?;
        let mut algorithms = Vec::new();
        for algorithm in &listed.0 {
            let named = match algorithm.value {
                RuleAlgorithm::Zstd => Compression::Zstd,
                RuleAlgorithm::Brotli => Compression::Brotli,
                RuleAlgorithm::Gzip => Compression::Gzip,
                RuleAlgorithm::Auto => Compression::Auto,
                RuleAlgorithm::Default => Compression::Default,
                RuleAlgorithm::Nothing => Compression::None,
            };
            if algorithms.contains(&named) {
                self.report.error(algorithm.place, "this algorithm is named twice");
            }
            algorithms.push(named);
        }
        if algorithms.len() > 1 && algorithms.contains(&Compression::None) {
            self.report.error(listed.place, "\"none\" stands alone");
        }
        if algorithms.is_empty() {
            let remedy = "write algorithms = [\"none\"] to compress nothing";
            self.report.error_with(listed.place, "no algorithm is named", remedy);
            return None;
        }
        Some(CompressSpec { algorithms })
    }
}
