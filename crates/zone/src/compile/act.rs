//! Compiles what rules choose of origins, settings, pages and the log. Called by `compile/rule.rs`; what the
//! words mean for a request is `edge`'s.

use std::sync::Arc;

use rules::{ConfigSpec, LogSpec, PageSpec, RouteSpec, RouteTo, Setting, ValueSpec};

use super::Compiler;
use super::rule::Written;
use crate::hosts::is_host;
use crate::id::Id;
use crate::limits::CHANGED_POOLS_MAX;
use crate::pool::{Origin, OriginScheme, Pool};
use crate::read::Placed;
use crate::read::values::{Text, quoted};
use crate::rule::{ChangedPool, RuleRouteSpec, RuleWafWord};
use crate::spec::{RuleSpec, ZoneSpec};
use crate::waf::Waf;

/// Names of the settings that `set_config` changes, as `edge` asks for them.
pub mod setting {
    /// Whether the firewall is left out.
    pub const WAF_OFF: &str = "waf_off";
    /// Whether the firewall only logs.
    pub const WAF_LOG: &str = "waf_log";
    /// Whether cleartext requests are sent to HTTPS.
    pub const REDIRECT_HTTPS: &str = "redirect_https";
    /// Whether visitors are told times.
    pub const SERVER_TIMING: &str = "server_timing";
    /// Whether there is a line of the access log.
    pub const ACCESS_LOG: &str = "access_log";
    /// Whether visitors are told to come over TLS alone.
    pub const HSTS: &str = "hsts";
    /// Whether visitors are told early of what a stale answer named.
    pub const EARLY_HINTS: &str = "early_hints";
    /// How long an origin may take to begin its answer, in milliseconds.
    pub const FIRST_BYTE_MS: &str = "first_byte_ms";
    /// The score from which the firewall's rules refuse a request.
    pub const INBOUND_THRESHOLD: &str = "inbound_threshold";
}

/// Whether a rule has the firewall log alone.
pub(super) fn has_firewall_log(spec: &ZoneSpec) -> bool {
    let configs =
        spec.rule.0.iter().filter(|rule| rule.enabled.value).filter_map(|rule| rule.config.as_ref());
    configs.filter_map(|config| config.waf.as_ref()).any(|word| word.value == RuleWafWord::Log)
}

/// A firewall that does what another does, and refuses nothing.
pub(super) fn logging_only(waf: &Arc<Waf>) -> Arc<Waf> {
    let Waf { rules, shadow, exceptions, body_window_bytes, response_window_bytes, .. } = &**waf;
    Arc::new(Waf {
        is_blocking: false,
        rules: rules.clone(),
        shadow: shadow.clone(),
        exceptions: exceptions.clone(),
        body_window_bytes: *body_window_bytes,
        refuses_uninspected: false,
        response_window_bytes: *response_window_bytes,
    })
}

impl Compiler<'_> {
    /// The ruleset that `execute` names.
    pub(super) fn executed(&mut self, spec: &ZoneSpec, rule: &RuleSpec) -> Option<String> {
        let named = rule.execute.as_ref()?.ruleset.as_ref()?;
        self.is_ruleset(spec, rule, named).then(|| named.0.clone())
    }

    /// Says whether the rule's phase has rules of a ruleset; reports an unknown one.
    pub(super) fn is_ruleset(
        &mut self,
        spec: &ZoneSpec,
        rule: &RuleSpec,
        named: &Placed<crate::read::values::Name>,
    ) -> bool {
        let of_phase = spec.rule.0.iter().filter(|other| other.phase.0 == rule.phase.0);
        let known: Vec<&str> =
            of_phase.filter_map(|other| other.ruleset.as_ref()).map(|name| name.0.as_str()).collect();
        if known.contains(&named.0.as_str()) {
            return true;
        }
        let message =
            format!("no rule of {} belongs to a ruleset {}", quoted(&rule.phase.0), quoted(&named.0));
        let suggestion = match crate::read::nearest(&named.0, &known) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write ruleset = {} in rules of that phase", quoted(&named.0)),
        };
        self.report.error_with(named.place, message, suggestion);
        false
    }

    /// What `route` says; nothing after a problem.
    pub(super) fn route_choice(&mut self, spec: &ZoneSpec, rule: &RuleSpec) -> Option<RouteSpec> {
        let written = rule.route.as_ref()?;
        let mut is_right = true;
        if let Some(pool) = &written.pool {
            is_right = self.pool_index(spec, pool).is_some();
        }
        for host in [&written.origin_host, &written.sni].into_iter().flatten() {
            if !is_host(&host.0) {
                self.report.error(host.place, format!("{} is no hostname", quoted(&host.0)));
                is_right = false;
            }
        }
        let host = Written {
            text: written.host.as_ref(),
            expression: written.host_expression.as_ref(),
            key: "host",
        };
        let host = self.value(host)?;
        if let (Some(ValueSpec::Static(host)), Some(place)) =
            (&host, written.host.as_ref().map(|host| host.place))
            && !super::pool::is_authority(host)
        {
            self.report.error_with(place, format!("{} is no host", quoted(host)), "write a hostname");
            return None;
        }
        let lower = |text: &Option<Placed<Text>>| text.as_ref().map(|text| text.0.to_ascii_lowercase());
        let choice = RouteSpec {
            pool: written.pool.as_ref().map(|pool| pool.0.clone()),
            host_header: host,
            sni: lower(&written.sni),
            origin_host: lower(&written.origin_host),
            port: written.port.as_ref().and_then(|port| u16::try_from(port.0).ok()),
        };
        if choice == RouteSpec::default() {
            let remedy = "write pool, host, origin_host, port or sni";
            self.report.error_with(written.place, "this changes nothing", remedy);
            return None;
        }
        is_right.then_some(choice)
    }

    /// Makes the pools that rules change origins of, behind the pools as written.
    pub(super) fn changed_pools(
        &mut self,
        spec: &ZoneSpec,
        zone: &str,
        pools: &mut Vec<Arc<Pool>>,
    ) -> Vec<ChangedPool> {
        let mut changed_pools: Vec<ChangedPool> = Vec::new();
        let written_pools = pools.len();
        for rule in spec.rule.0.iter().filter(|rule| rule.enabled.value) {
            let Some(written) = &rule.route else { continue };
            let to = destination(written);
            if to == RouteTo::default() {
                continue;
            }
            let named = written.pool.as_ref();
            for base in 0..written_pools {
                let Some(pool) = pools.get(base).cloned() else { continue };
                let is_meant = named.is_none_or(|name| name.0 == pool.name);
                if !is_meant || changed_pools.iter().any(|known| known.base == base && known.to == to) {
                    continue;
                }
                if changed_pools.len() == CHANGED_POOLS_MAX {
                    let message =
                        format!("rules change origins of pools in more than {CHANGED_POOLS_MAX} ways");
                    let remedy = "write a pool for each, and name it by `pool`";
                    self.report.error_with(written.place, message, remedy);
                    return changed_pools;
                }
                pools.push(Arc::new(changed(&pool, &to, zone)));
                changed_pools.push(ChangedPool { to: to.clone(), base, pool: pools.len() - 1 });
            }
        }
        changed_pools
    }

    /// What `set_config` says; nothing after a problem.
    pub(super) fn config_choice(&mut self, spec: &ZoneSpec, rule: &RuleSpec) -> Option<ConfigSpec> {
        let written = rule.config.as_ref()?;
        let mut settings: Vec<(&str, Setting)> = Vec::new();
        if let Some(word) = &written.waf {
            if spec.waf.mode.value == crate::waf::WafWord::Off {
                let remedy = "write [waf] with a mode and rules, or leave this out";
                self.report.warning(
                    word.place,
                    "the zone has no firewall, so that this changes nothing",
                    remedy,
                );
            }
            settings.push((setting::WAF_OFF, Setting::Bool(word.value == RuleWafWord::Off)));
            settings.push((setting::WAF_LOG, Setting::Bool(word.value == RuleWafWord::Log)));
        }
        for (name, written) in [
            (setting::REDIRECT_HTTPS, &written.redirect_https),
            (setting::SERVER_TIMING, &written.server_timing),
            (setting::ACCESS_LOG, &written.access_log),
            (setting::HSTS, &written.hsts),
            (setting::EARLY_HINTS, &written.early_hints),
        ] {
            settings.extend(written.as_ref().map(|written| (name, Setting::Bool(written.value))));
        }
        let numbers = [
            (setting::FIRST_BYTE_MS, written.first_byte_ms.as_ref().map(|written| written.0)),
            (setting::INBOUND_THRESHOLD, written.inbound_threshold.as_ref().map(|written| written.0)),
        ];
        for (name, number) in numbers {
            let number = number.and_then(|number| i64::try_from(number).ok());
            settings.extend(number.map(|number| (name, Setting::Int(number))));
        }
        if settings.is_empty() {
            let remedy = "write one of its settings, as waf or redirect_https";
            self.report.error_with(written.place, "this changes nothing", remedy);
            return None;
        }
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value));
        Some(ConfigSpec { settings: settings.collect() })
    }

    /// What `serve_error` shows; nothing after a problem.
    pub(super) fn page_choice(&mut self, rule: &RuleSpec) -> Option<PageSpec> {
        let written = rule.page.as_ref()?;
        self.header_value(&written.content_type);
        let content = match (&written.body, &written.file) {
            (Some(body), None) => body.0.clone(),
            (None, Some(path)) => {
                let text = self.file(path).map(|bytes| String::from_utf8(bytes.to_vec()));
                match text? {
                    Ok(text) => text,
                    Err(_) => {
                        self.report.error(path.place, format!("the page {} is not UTF-8", quoted(&path.0)));
                        return None;
                    }
                }
            }
            (Some(_), Some(path)) => {
                self.report.error_with(path.place, "a page has either body or file", "leave one out");
                return None;
            }
            (None, None) => {
                let suggestion = "write body = \"…\" or file = \"page.html\"".to_owned();
                self.report.missing(written.place, "the page has neither body nor file", suggestion);
                return None;
            }
        };
        Some(PageSpec {
            status: written.status.as_ref().and_then(|status| u16::try_from(status.0).ok()),
            content_type: written.content_type.0.clone(),
            content,
        })
    }

    /// What `log_custom_field` adds; nothing after a problem.
    pub(super) fn fields_choice(&mut self, rule: &RuleSpec) -> Option<LogSpec> {
        let written = rule.fields.as_ref()?;
        let fields = |list: &Placed<crate::read::values::List<crate::read::values::FieldName>>| {
            list.0.iter().map(|name| name.0.clone()).collect()
        };
        let mut names: Vec<&str> = Vec::new();
        let mut expressions = Vec::new();
        for field in &written.values.0 {
            let (Some(name), Some(expression)) = (&field.name, &field.expression) else { continue };
            if names.contains(&name.0.as_str()) {
                self.report.error(name.place, format!("another field is named {} too", quoted(&name.0)));
            }
            names.push(&name.0);
            self.warn_unfilled(&expression.0, expression.place);
            expressions.push((name.0.clone(), expression.0.clone()));
        }
        let choice = LogSpec {
            request_headers: fields(&written.request_headers),
            response_headers: fields(&written.response_headers),
            cookies: written.cookies.0.iter().map(|name| name.0.clone()).collect(),
            expressions,
        };
        if choice == LogSpec::default() {
            let remedy = "write request_headers, response_headers, cookies or values";
            self.report.error_with(written.place, "this adds nothing", remedy);
            return None;
        }
        Some(choice)
    }
}

/// What a rule says of where origins are; nothing of the pool and of `Host`.
fn destination(written: &RuleRouteSpec) -> RouteTo {
    let lower = |text: &Option<Placed<Text>>| {
        text.as_ref().map(|text| Arc::from(text.0.to_ascii_lowercase().as_str()))
    };
    RouteTo {
        pool: None,
        host_header: None,
        sni: lower(&written.sni),
        origin_host: lower(&written.origin_host),
        port: written.port.as_ref().and_then(|port| u16::try_from(port.0).ok()),
    }
}

/// A pool with other origins, or another name in handshakes. Its health is not asked for: what the pool's
/// checks ask is meant for the origins as written.
fn changed(pool: &Pool, to: &RouteTo, zone: &str) -> Pool {
    let words = [
        to.origin_host.as_deref().map(|host| format!("host {host}")),
        to.port.map(|port| format!("port {port}")),
        to.sni.as_deref().map(|sni| format!("name {sni}")),
    ];
    let name = format!("{} ({})", pool.name, words.into_iter().flatten().collect::<Vec<_>>().join(", "));
    let mut changed = pool.clone();
    changed.id = Id::derived("pool", zone, &format!("\0{name}"));
    changed.health = None;
    if let Some(sni) = &to.sni {
        changed.tls.sni = Some(sni.to_string());
    }
    let mut origins: Vec<Origin> = Vec::new();
    for origin in &pool.origins {
        let mut origin = origin.clone();
        if origin.scheme != OriginScheme::Unix {
            if let Some(host) = &to.origin_host {
                origin.host = host.to_string();
            }
            origin.port = to.port.unwrap_or(origin.port);
            origin.authority = super::pool::authority_of(origin.scheme, &origin.host, origin.port);
            origin.url = format!("{}://{}", origin.scheme, origin.authority);
        }
        origin.id = Id::derived("origin", zone, &format!("\0{name}\0{}", origin.url));
        // Several may have become one.
        if !origins.iter().any(|known| known.id == origin.id) {
            origins.push(origin);
        }
    }
    if origins.iter().all(|origin| origin.weight == 0)
        && let Some(first) = origins.first_mut()
    {
        first.weight = 1; // others, which had weight, have become this one
    }
    changed.origins = origins;
    changed.name = name;
    changed
}
