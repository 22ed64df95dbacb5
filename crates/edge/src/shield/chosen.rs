//! What rules choose for one request beside refusing and rewriting it: where it goes, settings of the zone,
//! the cache. Found by `shield.rs`, and kept in the course; each choice is read where it is of use.

use std::sync::Arc;

use rules::{ConfigSpec, Effect, RouteTo, Setting};
use zone::{Pool, Zone, setting};

/// What rules choose of the cache for one request, in order.
pub(crate) type CacheChoices = Vec<Arc<rules::CacheSpec>>;

/// Everything that rules choose for one request.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    pub(crate) cache: CacheChoices,
    /// The pool, or where its origins are; the later rule's as a whole.
    pub(crate) route: Option<RouteTo>,
    /// The `Host` that the origin gets.
    pub(crate) host: Option<Vec<u8>>,
    pub(crate) config: Config,
    /// The connection ends behind the answer.
    pub(crate) closes: bool,
}

/// Settings of the zone that are others for one request; none stays as the zone has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) waf_off: Option<bool>,
    pub(crate) waf_log: Option<bool>,
    pub(crate) redirect_https: Option<bool>,
    pub(crate) server_timing: Option<bool>,
    pub(crate) access_log: Option<bool>,
    pub(crate) hsts: Option<bool>,
    pub(crate) early_hints: Option<bool>,
    pub(crate) first_byte_ms: Option<u64>,
    pub(crate) inbound_threshold: Option<u64>,
}

impl Config {
    fn take(&mut self, spec: &ConfigSpec) {
        for (name, value) in &spec.settings {
            match value {
                Setting::Bool(value) => {
                    let place = match name.as_str() {
                        setting::WAF_OFF => &mut self.waf_off,
                        setting::WAF_LOG => &mut self.waf_log,
                        setting::REDIRECT_HTTPS => &mut self.redirect_https,
                        setting::SERVER_TIMING => &mut self.server_timing,
                        setting::ACCESS_LOG => &mut self.access_log,
                        setting::HSTS => &mut self.hsts,
                        setting::EARLY_HINTS => &mut self.early_hints,
                        _ => continue,
                    };
                    *place = Some(*value);
                }
                Setting::Int(value) => {
                    let place = match name.as_str() {
                        setting::FIRST_BYTE_MS => &mut self.first_byte_ms,
                        setting::INBOUND_THRESHOLD => &mut self.inbound_threshold,
                        _ => continue,
                    };
                    *place = u64::try_from(*value).ok();
                }
                Setting::Text(_) => {}
            }
        }
    }
}

impl Choices {
    /// Takes a choice; what is none changes nothing.
    pub(crate) fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Cache(choice) => self.cache.push(choice),
            Effect::Config(spec) => self.config.take(&spec),
            Effect::CloseConnection => self.closes = true,
            Effect::Route(mut to) => {
                if let Some(host) = to.host_header.take() {
                    self.host = Some(host);
                }
                if to != RouteTo::default() {
                    self.route = Some(to);
                }
            }
            _ => {}
        }
    }
}

/// The pool that rules have chosen in place of the route's.
pub(crate) fn steered<'a>(zone: &'a Zone, pool: &'a Arc<Pool>, choices: Option<&Choices>) -> &'a Arc<Pool> {
    let Some(to) = choices.and_then(|choices| choices.route.as_ref()) else { return pool };
    let Some(base) = zone.pools.iter().position(|known| Arc::ptr_eq(known, pool)) else { return pool };
    zone.pools.get(zone.routed_pool(base, to)).unwrap_or(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_routes_counts_as_a_whole_and_host_goes_by_itself() {
        let mut choices = Choices::default();
        let first = RouteTo { pool: Some("a".into()), port: Some(1), ..RouteTo::default() };
        choices.take(Effect::Route(RouteTo { host_header: Some(b"h".to_vec()), ..first }));
        let second = RouteTo { port: Some(2), ..RouteTo::default() };
        choices.take(Effect::Route(second.clone()));
        assert_eq!((choices.route.as_ref(), choices.host.as_deref()), (Some(&second), Some(&b"h"[..])));
        choices.take(Effect::Route(RouteTo { host_header: Some(b"i".to_vec()), ..RouteTo::default() }));
        assert_eq!((choices.route, choices.host.as_deref()), (Some(second), Some(&b"i"[..])));
    }

    #[test]
    fn settings_that_a_rule_does_not_name_stay_and_names_of_none_change_nothing() {
        let mut config = Config::default();
        let of = |name: &str, value| (name.to_owned(), value);
        config.take(&ConfigSpec {
            settings: vec![
                of(setting::WAF_LOG, Setting::Bool(true)),
                of("nothing", Setting::Bool(true)),
                of(setting::ACCESS_LOG, Setting::Int(1)),
                of(setting::FIRST_BYTE_MS, Setting::Int(250)),
            ],
        });
        config.take(&ConfigSpec { settings: vec![of(setting::SERVER_TIMING, Setting::Bool(false))] });
        let (waf_log, first_byte_ms) = (Some(true), Some(250));
        let expected = Config { waf_log, first_byte_ms, server_timing: Some(false), ..Config::default() };
        assert_eq!(config, expected);
    }
}
