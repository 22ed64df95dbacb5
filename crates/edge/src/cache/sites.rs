//! A zone's cache settings in the policy's words, made once when the zone's site is built.
//!
//! Holds no answers: those are in `tier.rs`. Called by `node.rs` and the phase.

use std::collections::BTreeSet;
use std::sync::Arc;

use cache::policy::{
    BrowserLifetime, EdgeLifetime, ErrorAnswers, Heuristic, KeySettings, Lifetime, QueryKey, SetCookie,
    Settings, Spelling, Targeted,
};
use exchange::{Known, Request};
use rules::{KeyPart, Ttl};
use zone::{
    CacheLifetime, CacheQuery, ControlField, ErrorsWord, LifetimeWord, Pool, SetCookieWord, Waf, WafRules,
    Zone,
};

use crate::course::Course;
use crate::pipeline::Edge;
use crate::shield::CacheChoices;

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

fn query_key(query: &CacheQuery) -> QueryKey {
    match query {
        CacheQuery::All => QueryKey::All,
        CacheQuery::Nothing => QueryKey::Nothing,
        CacheQuery::Only(names) => QueryKey::Only(boxed(names)),
        CacheQuery::AllBut(names) => QueryKey::AllBut(boxed(names)),
    }
}

/// The query of a rule's choice, in the zone's words.
fn chosen_query(part: &KeyPart) -> CacheQuery {
    match part {
        KeyPart::All => CacheQuery::All,
        KeyPart::None => CacheQuery::Nothing,
        KeyPart::Include(names) => CacheQuery::Only(names.clone()),
        KeyPart::Exclude(names) => CacheQuery::AllBut(names.clone()),
    }
}

/// All spellings that a zone's URLs may be stored under: as sent, as the zone says, and as its rules choose,
/// each of whose two parts another rule may choose.
pub(crate) fn spellings_of(zone: &Zone) -> Vec<Spelling> {
    let mut spellings = vec![Spelling::default()];
    let Some(cache) = &zone.cache else { return spellings };
    let phases = zone.rules.iter().flat_map(|rules| &rules.request);
    let choices: Vec<_> = phases.flat_map(|phase| phase.rulesets.cache_choices()).collect();
    let queries = choices.iter().filter_map(|choice| choice.key_query.as_ref().map(chosen_query));
    let sorts = choices.iter().filter_map(|choice| choice.key_ignores_query_order);
    let sorts: BTreeSet<bool> = sorts.chain([cache.key.sorts_query]).collect();
    for query in queries.chain([cache.key.query.clone()]) {
        for sorts_query in sorts.iter().copied() {
            let spelling = Spelling { query: query_key(&query), sorts_query };
            if !spellings.contains(&spelling) {
                spellings.push(spelling);
            }
        }
    }
    spellings
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
        let key = KeySettings {
            spelling: Spelling { query: query_key(&zone.key.query), sorts_query: zone.key.sorts_query },
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
            is_on: zone.is_on,
            targeted: targeted.collect(),
            key,
            respects_request: zone.respects_request,
            heuristic: zone.heuristic.map(|(percent, seconds_max)| Heuristic { percent, seconds_max }),
            edge: edge.collect(),
            browser: zone.browser_s.map_or(BrowserLifetime::AsOrigin, BrowserLifetime::Seconds),
            browser_by_status: zone
                .browser
                .iter()
                .map(|told| (told.first..=told.last, told.seconds))
                .collect(),
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
            alone_interval_ms: zone.wait_interval_ms,
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
    /// under, the pool that is asked, since routes may choose it by a header field, the `Host` that a rule
    /// gives it, and the host that a trusted proxy names.
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
        if let Some(host) = course.rules.choices.as_ref().and_then(|choices| choices.host.as_deref()) {
            scope.extend_from_slice(b"host,");
            scope.extend_from_slice(host);
            scope.push(b',');
        }
        if course.is_peer_trusted {
            for host in request.fields.all_known(Known::XForwardedHost) {
                scope.extend_from_slice(host);
                scope.push(b',');
            }
        }
        scope
    }
}

/// Combinations of choices that a thread keeps: zones have few rules that choose, and of one request few fit.
const CHOSEN_MAX: usize = 64;

/// Caches as rules have chosen them: what makes one costs more than a request should, and is the same for all
/// that the same rules fit. A thread's own.
#[derive(Debug, Default)]
pub(crate) struct ChosenCaches(Vec<Chosen>);

#[derive(Debug)]
struct Chosen {
    /// The zone as published, which a change makes another.
    fingerprint: [u8; 32],
    choices: CacheChoices,
    cache: Arc<SiteCache>,
}

impl ChosenCaches {
    /// The cache of a zone with these choices of its rules, in order; of two for one thing the later counts.
    fn chosen(&mut self, zone: &Zone, base: &zone::Cache, choices: CacheChoices) -> Arc<SiteCache> {
        let is_same = |known: &Chosen| {
            known.fingerprint == zone.fingerprint
                && known.choices.len() == choices.len()
                && known.choices.iter().zip(&choices).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        if let Some(at) = self.0.iter().position(is_same) {
            // The latest stands first, and the last goes.
            if let Some(front) = self.0.get_mut(..=at) {
                front.rotate_right(1);
            }
        } else {
            let cache = Arc::new(SiteCache::of(&with_choices(base, &choices), zone.waf.as_deref()));
            self.0.insert(0, Chosen { fingerprint: zone.fingerprint, choices, cache });
            self.0.truncate(CHOSEN_MAX);
        }
        self.0.first().map_or_else(
            || Arc::new(SiteCache::of(base, zone.waf.as_deref())),
            |first| Arc::clone(&first.cache),
        )
    }
}

/// A cache as compiled, with what rules choose in place of what the zone says.
fn with_choices(base: &zone::Cache, choices: &[Arc<rules::CacheSpec>]) -> zone::Cache {
    let mut cache = base.clone();
    for choice in choices {
        cache.is_on = choice.cache.unwrap_or(cache.is_on);
        if let Some(Ttl::Override(seconds)) = choice.browser_ttl {
            (cache.browser_s, cache.browser) = (Some(seconds), Vec::new());
        }
        let told = choice.browser_ttl_by_status.iter().copied();
        let told = told.map(|(first, last, seconds)| zone::BrowserLifetime { first, last, seconds });
        cache.browser = told.chain(std::mem::take(&mut cache.browser)).collect();
        cache.respects_request = choice.respects_request.unwrap_or(cache.respects_request);
        cache.object_bytes_max = choice.object_bytes_max.unwrap_or(cache.object_bytes_max);
        let by_status = choice.edge_ttl_by_status.iter().copied();
        let usual = match choice.edge_ttl {
            Some(Ttl::Override(seconds)) => Some((200, 399, seconds)),
            _ => None,
        };
        let lifetimes = by_status.chain(usual).map(|(first, last, seconds)| CacheLifetime {
            first,
            last,
            seconds,
            mode: if seconds == 0 { LifetimeWord::Never } else { LifetimeWord::Always },
        });
        // The first that fits counts.
        cache.lifetimes = lifetimes.chain(std::mem::take(&mut cache.lifetimes)).collect();
        if let Some(part) = &choice.key_query {
            cache.key.query = chosen_query(part);
        }
        if let Some(KeyPart::Include(names)) = &choice.key_headers {
            cache.key.headers.clone_from(names);
        }
        if let Some(KeyPart::Include(names)) = &choice.key_cookies {
            cache.key.cookies.clone_from(names);
        }
        cache.key.sorts_query = choice.key_ignores_query_order.unwrap_or(cache.key.sorts_query);
        cache.key.device = choice.key_device.unwrap_or(cache.key.device);
        cache.key.country = choice.key_country.unwrap_or(cache.key.country);
    }
    cache
}

impl Edge {
    /// The cache of the course's zone as rules chose it; none for a zone that has none to choose of.
    pub(crate) fn chosen_cache(&self, course: &Course, choices: CacheChoices) -> Option<Arc<SiteCache>> {
        let zone = &course.site.as_ref()?.zone;
        Some(self.chosen_caches.borrow_mut().chosen(zone, zone.cache.as_deref()?, choices))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> zone::Cache {
        let text = "name = \"z\"\nhostnames = [\"a.example\"]\n[cache]\nenabled = true\nbrowser_s = 5\n\
                    key = { query_except = [\"utm_*\"] }\n[[cache.lifetime]]\nstatus = 200\nseconds = 1\n\
                    browser_s = 6\n\
                    [[pool]]\nname = \"app\"\norigins = [{ url = \"http://10.0.0.1\" }]\n";
        let source = zone::Source { name: "z.toml".to_owned(), bytes: text.as_bytes().to_vec() };
        let bundle = zone::Bundle::new(vec![source], None, std::collections::BTreeMap::new());
        let snapshot = zone::compile(&bundle, 1, &|_| None).expect("it compiles");
        zone::Cache::clone(snapshot.zones()[0].cache.as_deref().expect("it is on"))
    }

    fn choice(change: impl FnOnce(&mut rules::CacheSpec)) -> Arc<rules::CacheSpec> {
        let mut choice = rules::CacheSpec::default();
        change(&mut choice);
        Arc::new(choice)
    }

    #[test]
    fn what_a_rule_does_not_name_stays_as_the_zone_has_it() {
        let base = base();
        assert_eq!(with_choices(&base, &[choice(|_| {})]), base);
        let off = with_choices(&base, &[choice(|choice| choice.cache = Some(false))]);
        assert_eq!(off, zone::Cache { is_on: false, ..base });
    }

    #[test]
    fn of_two_choices_for_one_thing_the_later_counts() {
        let first = choice(|choice| {
            choice.edge_ttl = Some(Ttl::Override(60));
            choice.browser_ttl = Some(Ttl::Override(7));
            choice.key_query = Some(KeyPart::None);
        });
        let second = choice(|choice| {
            choice.edge_ttl_by_status = vec![(404, 404, 0)];
            choice.edge_ttl = Some(Ttl::Override(600));
            choice.key_headers = Some(KeyPart::Include(vec!["x-tenant".to_owned()]));
            choice.browser_ttl_by_status = vec![(404, 404, 9)];
            (choice.respects_request, choice.object_bytes_max) = (Some(true), Some(1_000));
            (choice.key_device, choice.key_country) = (Some(true), Some(true));
        });
        let both = with_choices(&base(), &[first, second]);
        assert_eq!((both.browser_s, both.key.query.clone()), (Some(7), CacheQuery::Nothing));
        assert_eq!(both.key.headers, ["x-tenant"]);
        let told = |first, last, seconds| zone::BrowserLifetime { first, last, seconds };
        assert_eq!(both.browser, [told(404, 404, 9)], "what the zone says of a status gives way to a rule");
        assert!(both.respects_request && both.key.device && both.key.country);
        assert_eq!(both.object_bytes_max, 1_000);
        let lifetime = |first, last, seconds, mode| CacheLifetime { first, last, seconds, mode };
        assert_eq!(
            both.lifetimes,
            [
                lifetime(404, 404, 0, LifetimeWord::Never),
                lifetime(200, 399, 600, LifetimeWord::Always),
                lifetime(200, 399, 60, LifetimeWord::Always),
                lifetime(200, 200, 1, LifetimeWord::Default),
            ]
        );
    }
}
