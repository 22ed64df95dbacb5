//! A zone's cache settings in the policy's words, made once when the zone's site is built.
//!
//! Holds no answers: those are in `tier.rs`. Called by `node.rs` and the phase.

use std::sync::Arc;

use cache::policy::{
    BrowserLifetime, EdgeLifetime, ErrorAnswers, Heuristic, KeySettings, Lifetime, QueryKey, SetCookie,
    Settings, Targeted,
};
use exchange::{Known, Request};
use zone::{CacheQuery, ControlField, ErrorsWord, LifetimeWord, Pool, SetCookieWord, Waf, WafRules, Zone};

use crate::course::Course;

/// The cache of one site.
#[derive(Debug)]
pub(crate) struct SiteCache {
    /// The policy's settings.
    pub(crate) settings: Arc<Settings>,
    /// How long a visitor waits for another's fetch, in milliseconds.
    pub(crate) wait_ms: u32,
    /// Tells the settings that decide what is stored, and as what, from others: part of every key, so that a
    /// change of them leaves nothing behind that they would not have stored.
    version: u64,
}

fn boxed(names: &[String]) -> Vec<Box<[u8]>> {
    names.iter().map(|name| name.as_bytes().into()).collect()
}

/// FNV-1a: the same on every node and in every process, since answers on disk are found by it.
fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What a firewall lets into the store: everything that may decide about an answer. A change of it leaves
/// what is stored behind unseen, since nobody knows what the new rules would have said of it; to judge it at
/// each hit would cost every visitor what one fetch costs now.
fn judged_by(waf: &Waf) -> String {
    let exceptions: Vec<&str> = waf.exceptions.iter().map(|one| &*one.shown).collect();
    let WafRules { key, presets, .. } = &waf.rules;
    format!("{:?}", (waf.is_blocking, key, presets, waf.response_window_bytes, exceptions))
}

impl SiteCache {
    /// The cache of a zone as compiled.
    pub(crate) fn of(zone: &zone::Cache, waf: Option<&Waf>) -> Self {
        let query = match &zone.key.query {
            CacheQuery::All => QueryKey::All,
            CacheQuery::Nothing => QueryKey::Nothing,
            CacheQuery::Only(names) => QueryKey::Only(boxed(names)),
            CacheQuery::AllBut(names) => QueryKey::AllBut(boxed(names)),
        };
        let key = KeySettings {
            query,
            sorts_query: zone.key.sorts_query,
            headers: boxed(&zone.key.headers),
            cookies: boxed(&zone.key.cookies),
            device: zone.key.device,
            country: zone.key.country,
        };
        let targeted = zone.control.iter().map(|field| match field {
            ControlField::CdnCacheControl => Targeted::CdnCacheControl,
            ControlField::SurrogateControl => Targeted::SurrogateControl,
        });
        let edge = zone.lifetimes.iter().map(|lifetime| EdgeLifetime {
            statuses: lifetime.first..=lifetime.last,
            lifetime: match lifetime.mode {
                LifetimeWord::Default => Lifetime::Default(lifetime.seconds),
                LifetimeWord::Always => Lifetime::Always(lifetime.seconds),
                LifetimeWord::Never => Lifetime::NotStored,
            },
        });
        let settings = Settings {
            is_on: true,
            targeted: targeted.collect(),
            key,
            respects_request: zone.respects_request,
            heuristic: zone.heuristic.map(|(percent, seconds_max)| Heuristic { percent, seconds_max }),
            edge: edge.collect(),
            browser: zone.browser_s.map_or(BrowserLifetime::AsOrigin, BrowserLifetime::Seconds),
            stale_while_revalidate_s: zone.stale_while_revalidate_s,
            stale_if_error_s: zone.stale_if_error_s,
            always_online: zone.always_online,
            set_cookie: match zone.set_cookie {
                SetCookieWord::NotStored => SetCookie::NotStored,
                SetCookieWord::Stripped => SetCookie::Stripped,
                SetCookieWord::Stored => SetCookie::Stored,
            },
            errors: match zone.errors {
                ErrorsWord::Never => ErrorAnswers::Never,
                ErrorsWord::WhereTold => ErrorAnswers::WhereTold,
                ErrorsWord::AsOriginSays => ErrorAnswers::AsOriginSays,
            },
            bypass_cookies: boxed(&zone.bypass_cookies),
            object_bytes_max: zone.object_bytes_max,
            slice_bytes: zone.slice_bytes,
            guards_extensions: zone.guards_extensions,
            early_hints: zone.early_hints,
            variants_max: zone.variants_max,
        };
        // Of the zone's own types, whose text is stable.
        let storing = (
            (&zone.control, &zone.key, &zone.lifetimes, &zone.heuristic),
            (zone.set_cookie, zone.errors, zone.guards_extensions, zone.slice_bytes),
        );
        let version = fnv(&format!("{storing:?}{}", waf.map(judged_by).unwrap_or_default()));
        Self { settings: Arc::new(settings), wait_ms: zone.wait_ms, version }
    }

    /// What an answer depends on beside the request's own key: the settings and the firewall it is stored
    /// under, the pool that is asked, since routes may choose it by a header field, and the host that a
    /// trusted proxy names.
    pub(crate) fn scope(&self, zone: &Zone, pool: &Pool, course: &Course, request: &Request) -> Vec<u8> {
        let mut scope = Vec::with_capacity(32);
        scope.extend_from_slice(&self.version.to_be_bytes());
        // Who is left out of the firewall shares what was fetched with others who are, and with nobody else.
        if let Some(waf) = zone.waf.as_ref().filter(|waf| waf.is_blocking)
            && !course.judge().is_some_and(|own| Arc::ptr_eq(own, waf))
        {
            scope.extend_from_slice(b"unjudged,");
        }
        scope.extend_from_slice(&pool.id.0);
        if course.is_peer_trusted {
            for host in request.fields.all_known(Known::XForwardedHost) {
                scope.extend_from_slice(host);
                scope.push(b',');
            }
        }
        scope
    }
}
