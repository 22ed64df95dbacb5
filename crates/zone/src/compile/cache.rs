//! Compiles `[cache]` of a zone. Called by `compile.rs`.

use std::sync::Arc;

use super::Compiler;
use crate::cache::{
    BrowserLifetime, Cache, CacheKey, CacheKeySpec, CacheLifetime, CacheLifetimeSpec, CacheQuery, CacheSpec,
    LifetimeWord, QueryWord,
};
use crate::limits::{CACHE_KEY_PARTS_MAX, CACHE_LIFETIMES_MAX, CACHE_NAMES_MAX, CACHE_SLICE_BYTES};
use crate::read::Placed;
use crate::read::values::{FieldName, List, Text};

/// Header fields that the key must not hold: they are each visitor's own, or the cache reads them itself.
const UNKEYED: [&str; 8] = [
    "cookie",
    "authorization",
    "range",
    "if-range",
    "if-none-match",
    "if-modified-since",
    "cache-control",
    "host",
];

fn seconds(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl Compiler<'_> {
    /// The cache of a zone; none where it is off and no rule may turn it on. What is written is judged all
    /// the same.
    pub(super) fn cache(&mut self, spec: &Placed<CacheSpec>, is_turned_on: bool) -> Option<Arc<Cache>> {
        let key = self.cache_key(&spec.key);
        let (lifetimes, browser) = self.cache_lifetimes(&spec.lifetime);
        let slice_bytes = spec.slice_bytes.0;
        if slice_bytes != 0 && !CACHE_SLICE_BYTES.contains(&slice_bytes) {
            self.report.error(spec.slice_bytes.place, "this must be 0, or from 64KiB to 16MiB");
        }
        let mut control = Vec::new();
        for field in &spec.control.0 {
            if control.contains(&field.value) {
                self.report.error(field.place, "this field is named twice");
            }
            control.push(field.value);
        }
        let bypass_cookies = self.names(&spec.bypass_cookies);
        let cache = Cache {
            is_on: spec.enabled.value,
            control,
            key,
            respects_request: spec.respect_request.value,
            lifetimes,
            browser_s: spec.browser_s.as_ref().map(|browser| seconds(browser.0)),
            browser,
            heuristic: spec.heuristic.as_ref().map(|heuristic| {
                (u8::try_from(heuristic.percent.0).unwrap_or(100), seconds(heuristic.max_s.0))
            }),
            stale_while_revalidate_s: seconds(spec.stale_while_revalidate_s.0),
            stale_if_error_s: seconds(spec.stale_if_error_s.0),
            always_online: spec.always_online.value,
            set_cookie: spec.set_cookie.value,
            errors: spec.errors.value,
            bypass_cookies,
            object_bytes_max: spec.max_object_bytes.0,
            slice_bytes: (slice_bytes != 0).then_some(slice_bytes),
            guards_extensions: spec.guard_extensions.value,
            early_hints: spec.early_hints.value,
            variants_max: u16::try_from(spec.max_variants.0).unwrap_or(u16::MAX),
            wait_ms: seconds(spec.wait_ms.0),
            wait_interval_ms: seconds(spec.wait_interval_ms.0),
            weight: u32::try_from(spec.weight.0).unwrap_or(1),
        };
        (spec.enabled.value || is_turned_on).then(|| Arc::new(cache))
    }

    fn cache_key(&mut self, spec: &Placed<CacheKeySpec>) -> CacheKey {
        let only = self.names(&spec.query_only);
        let except = self.names(&spec.query_except);
        if !only.is_empty() && !except.is_empty() {
            self.report.error_with(
                spec.query_except.place,
                "query_only and query_except exclude each other",
                "write the one that is shorter",
            );
        }
        if spec.query.value == QueryWord::Nothing && !(only.is_empty() && except.is_empty()) {
            self.report.error_with(
                spec.query.place,
                "query = \"none\" leaves nothing for query_only and query_except to choose from",
                "leave query out",
            );
        }
        let query = match spec.query.value {
            QueryWord::Nothing => CacheQuery::Nothing,
            QueryWord::All if !only.is_empty() => CacheQuery::Only(only),
            QueryWord::All if !except.is_empty() => CacheQuery::AllBut(except),
            QueryWord::All => CacheQuery::All,
        };
        let cookies = self.names(&spec.cookies);
        let headers = self.keyed_headers(&spec.headers);
        let (sorts_query, device, country) = (spec.sort_query.value, spec.device.value, spec.country.value);
        CacheKey { query, sorts_query, headers, cookies, device, country }
    }

    pub(super) fn keyed_headers(&mut self, headers: &Placed<List<FieldName>>) -> Vec<String> {
        if headers.0.len() > CACHE_KEY_PARTS_MAX {
            self.report.error(headers.place, format!("more than {CACHE_KEY_PARTS_MAX} header fields"));
        }
        for header in &headers.0 {
            if UNKEYED.contains(&header.0.as_str()) {
                let remedy = match header.0.as_str() {
                    "cookie" => "name single cookies in `cookies`",
                    _ => "the cache looks at it by itself",
                };
                self.report.error_with(header.place, format!("`{}` cannot be keyed", header.0), remedy);
            }
        }
        headers.0.iter().take(CACHE_KEY_PARTS_MAX).map(|header| header.0.clone()).collect()
    }

    /// Names of parameters or cookies.
    pub(super) fn names(&mut self, list: &Placed<List<Text>>) -> Vec<String> {
        if list.0.len() > CACHE_NAMES_MAX {
            self.report.error(list.place, format!("more than {CACHE_NAMES_MAX} names"));
        }
        for name in &list.0 {
            if name.0 == "*" {
                self.report.error(name.place, "`*` alone would stand for every name");
            }
        }
        list.0.iter().take(CACHE_NAMES_MAX).map(|name| name.0.clone()).collect()
    }

    /// What `[[cache.lifetime]]` says of answers here, and of browsers.
    fn cache_lifetimes(
        &mut self,
        list: &Placed<List<CacheLifetimeSpec>>,
    ) -> (Vec<CacheLifetime>, Vec<BrowserLifetime>) {
        if list.0.len() > CACHE_LIFETIMES_MAX {
            self.report.error(list.place, format!("more than {CACHE_LIFETIMES_MAX} lifetimes"));
        }
        let (mut lifetimes, mut browser) = (Vec::new(), Vec::new());
        for spec in list.0.iter().take(CACHE_LIFETIMES_MAX) {
            let Some(status) = &spec.status else { continue };
            if status.0.is_empty() {
                self.report.error(status.place, "this must not be empty");
            }
            let lasts = spec.seconds.as_ref().map(|lasts| seconds(lasts.0));
            if let Some(written) = spec.seconds.as_ref().filter(|lasts| lasts.0 != 0)
                && spec.mode.value == LifetimeWord::Never
            {
                self.report.error_with(
                    written.place,
                    "what is never stored has no lifetime",
                    "leave seconds out",
                );
            }
            let says_nothing_here = lasts.is_none() && spec.mode.value == LifetimeWord::Default;
            if says_nothing_here && spec.browser_s.is_none() {
                let remedy = "write seconds, browser_s, or mode = \"never\"";
                self.report.error_with(status.place, "this says nothing of such answers", remedy);
            }
            for range in &status.0 {
                let (first, last) = (range.first, range.last);
                if !says_nothing_here {
                    let (seconds, mode) = (lasts.unwrap_or(0), spec.mode.value);
                    lifetimes.push(CacheLifetime { first, last, seconds, mode });
                }
                if let Some(told) = &spec.browser_s {
                    browser.push(BrowserLifetime { first, last, seconds: seconds(told.0) });
                }
            }
        }
        (lifetimes, browser)
    }
}
