//! Compiles a zone's `[[pool]]` entries and their origins.
//!
//! What the values mean is [`crate::pool`]'s. Called by [`super::compile`].

use std::collections::HashSet;
use std::sync::Arc;

use super::{Compiler, Pairs};
use crate::hosts::is_host;
use crate::id::Id;
use crate::limits::{HEALTH_TIMEOUT_MS, ORIGINS_MAX, POOLS_MAX};
use crate::pool::{
    Balance, Ejection, HashKey, Health, HostHeader, Origin, OriginProtocol, OriginScheme, OriginTls, Pool,
    Probe, Queue, Retries, Sticky, Timeouts,
};
use crate::read::Placed;
use crate::read::values::{Text, is_token, quoted};
use crate::spec::{BalanceWord, HealthSpec, PoolSpec, ProtocolWord, ZoneSpec};
use crate::tls::authorities;
use crate::zone::Zone;

impl Compiler<'_> {
    /// Compiles all pools. If there is any problem the indexes may be off, but then nothing is published.
    pub(super) fn pools(&mut self, spec: &ZoneSpec, zone: &str, same: Option<&Zone>) -> Vec<Arc<Pool>> {
        if spec.pool.0.len() > POOLS_MAX {
            self.report.error(spec.pool.place, format!("more than {POOLS_MAX} pools in one zone"));
        }
        let mut pools = Vec::new();
        let mut names = HashSet::new();
        let mut ids = HashSet::new();
        for (index, pool) in spec.pool.0.iter().enumerate().take(POOLS_MAX) {
            let name = pool.name.as_ref().map_or("", |name| name.0.as_str());
            if let Some(written) = &pool.name
                && !names.insert(name)
            {
                self.report.error(written.place, format!("another pool is named {} too", quoted(name)));
            }
            let id = pool.id.as_ref().map_or_else(|| Id::derived("pool", zone, name), |id| id.value);
            if !ids.insert(id)
                && let Some(written) = &pool.id
            {
                self.report.error(written.place, "another pool has this id too");
            }
            let same = same.and_then(|zone| zone.pools.get(index)).map(Arc::as_ref);
            pools.push(Arc::new(self.pool(spec, pool, id, zone, same)));
        }
        self.backup_cycles(spec, &pools);
        pools
    }

    fn backup_cycles(&mut self, spec: &ZoneSpec, pools: &[Arc<Pool>]) {
        for (start, pool) in spec.pool.0.iter().enumerate() {
            let mut next = pools.get(start).and_then(|pool| pool.backup);
            for _ in 0..pools.len() {
                if next == Some(start) {
                    if let Some(backup) = &pool.backup {
                        let message = "following `backup` leads back to this pool";
                        self.report.error(backup.place, message);
                    }
                    break;
                }
                next = next.and_then(|index| pools.get(index)).and_then(|pool| pool.backup);
            }
        }
    }

    fn pool(
        &mut self,
        spec: &ZoneSpec,
        pool: &Placed<PoolSpec>,
        id: Id,
        zone: &str,
        same: Option<&Pool>,
    ) -> Pool {
        let protocol = match pool.protocol.value {
            ProtocolWord::Http1 => OriginProtocol::Http1,
            ProtocolWord::Http2 => OriginProtocol::Http2,
            ProtocolWord::Auto => OriginProtocol::Auto,
        };
        Pool {
            id,
            name: pool.name.as_ref().map_or_else(String::new, |name| name.0.clone()),
            origins: self.origins(pool, protocol, zone),
            balance: self.balance(pool),
            health: pool.health.as_ref().and_then(|health| self.health(health)),
            ejection: Ejection {
                consecutive_failures: small(pool.ejection.consecutive_failures.0),
                base_ms: pool.ejection.base_ms.0,
                max_percent: u8::try_from(pool.ejection.max_percent.0).unwrap_or(100),
                circuit_percent: u8::try_from(pool.ejection.circuit_percent.0).unwrap_or(100),
            },
            slow_start_ms: pool.slow_start_ms.0,
            sticky: pool.sticky.as_ref().and_then(|sticky| {
                let cookie = sticky.cookie.as_ref()?;
                if !cookie.0.bytes().all(is_token) {
                    let message = format!("{} is no cookie name (RFC 6265 §4.1.1)", quoted(&cookie.0));
                    self.report.error(cookie.place, message);
                }
                let ttl_s = Some(sticky.ttl_s.0).filter(|ttl| *ttl > 0);
                Some(Sticky { cookie: cookie.0.clone(), ttl_s })
            }),
            backup: pool.backup.as_ref().and_then(|name| self.pool_index(spec, name)),
            timeouts: Timeouts {
                connect_ms: pool.timeouts.connect_ms.0,
                tls_ms: pool.timeouts.tls_ms.0,
                first_byte_ms: pool.timeouts.first_byte_ms.0,
                idle_ms: pool.timeouts.idle_ms.0,
                min_rate_bytes_per_s: pool.timeouts.min_rate_bytes_per_s.0,
            },
            retries: Retries {
                max: small(pool.retries.max.0),
                budget_percent: small(pool.retries.budget_percent.0),
            },
            max_requests: u32::try_from(pool.max_requests.0).ok().filter(|most| *most > 0),
            is_adaptive: pool.adaptive.value,
            queue: Queue { places: small(pool.queue.0), wait_ms: pool.queue_ms.0 },
            max_connections: usize::try_from(pool.max_connections.0).ok().filter(|most| *most > 0),
            keepalive_ms: pool.keepalive_ms.0,
            protocol,
            proxy_protocol: pool.proxy_protocol.as_ref().map(|version| version.value),
            host: self.host(&pool.host),
            tls: self.origin_tls(pool, same),
        }
    }

    fn origins(&mut self, pool: &Placed<PoolSpec>, protocol: OriginProtocol, zone: &str) -> Vec<Origin> {
        let Some(written) = &pool.origins else { return Vec::new() };
        let key = match (&pool.id, &pool.name) {
            (Some(id), _) => id.to_string(),
            (None, name) => name.as_ref().map_or_else(String::new, |name| name.0.clone()),
        };
        // Of one that could not be read its own problem is told.
        if written.0.is_empty() && !self.report.has_error_from(written.place) {
            let suggestion = "write origins = [{ url = \"http://10.0.0.1:8080\" }]";
            self.report.error_with(written.place, "the pool has no origins", suggestion);
        }
        if written.0.len() > ORIGINS_MAX {
            self.report.error(written.place, format!("more than {ORIGINS_MAX} origins in one pool"));
        }
        let mut origins = Vec::new();
        let mut ids = HashSet::new();
        for origin in written.0.iter().take(ORIGINS_MAX) {
            let Some(url) = &origin.url else { continue };
            let place = match Reached::parse(&url.0) {
                Ok(place) => place,
                Err((why, suggestion)) => {
                    let message = format!("{} is no origin: {why}", quoted(&url.0));
                    match suggestion {
                        Some(suggestion) => self.report.error_with(url.place, message, suggestion),
                        None => self.report.error(url.place, message),
                    }
                    continue;
                }
            };
            let derived = || Id::derived("origin", zone, &format!("{key}\0{}", url.0));
            let id = origin.id.as_ref().map_or_else(derived, |id| id.value);
            if !ids.insert(id) {
                let message = format!("the pool has {} twice", quoted(&url.0));
                self.report.error_with(url.place, message, "give it a weight instead, or an id of its own");
            }
            origins.push(Origin {
                id,
                url: url.0.clone(),
                authority: place.authority(),
                scheme: place.scheme,
                host: place.host,
                port: place.port,
                weight: small(origin.weight.0),
                is_draining: origin.drain.value,
                is_backup: origin.backup.value,
                protocol: if place.is_h2c { OriginProtocol::Http2 } else { protocol },
            });
        }
        if !origins.is_empty() && origins.iter().all(|origin| origin.weight == 0) {
            self.report.error(written.place, "every origin of the pool has weight 0");
        }
        if origins.len() > 1 && origins.iter().all(|origin| origin.is_draining) {
            let message = "every origin of the pool drains";
            self.report.warning(written.place, message, "new visitors will be sent to them all the same");
        }
        origins
    }

    fn balance(&mut self, pool: &Placed<PoolSpec>) -> Balance {
        if let Some(key) = &pool.hash_key
            && pool.balance.value != BalanceWord::Hash
        {
            let message = "hash_key is for balance = \"hash\"";
            self.report.error_with(key.place, message, "write balance = \"hash\", or leave it out");
        }
        match pool.balance.value {
            BalanceWord::RoundRobin => Balance::RoundRobin,
            BalanceWord::LeastConnections => Balance::LeastConnections,
            BalanceWord::Random => Balance::Random,
            BalanceWord::Hash => Balance::Hash { key: self.hash_key(pool.hash_key.as_ref()) },
        }
    }

    fn hash_key(&mut self, text: Option<&Placed<Text>>) -> HashKey {
        let Some(text) = text else { return HashKey::Address };
        match text.0.as_str() {
            "address" => return HashKey::Address,
            "path" => return HashKey::Path,
            "uri" => return HashKey::Uri,
            _ => {}
        }
        let is_name = |name: &&str| !name.is_empty() && name.bytes().all(is_token);
        if let Some(name) = text.0.strip_prefix("header:").filter(is_name) {
            return HashKey::Header(name.to_ascii_lowercase());
        }
        if let Some(name) = text.0.strip_prefix("cookie:").filter(is_name) {
            return HashKey::Cookie(name.to_owned());
        }
        let message = format!("{} cannot be hashed", quoted(&text.0));
        let suggestion = "known are address, path, uri, header:NAME, cookie:NAME";
        self.report.error_with(text.place, message, suggestion);
        HashKey::Address
    }

    fn health(&mut self, health: &Placed<HealthSpec>) -> Option<Health> {
        self.method(&health.method);
        if health.expected.0.is_empty() {
            self.report.error(health.expected.place, "this must not be empty");
        }
        if let Some(host) = &health.host
            && !is_authority(&host.0)
        {
            self.report.error(host.place, format!("{} is no host", quoted(&host.0)));
        }
        // The default gives way to a shorter interval; what somebody wrote does not.
        let is_default = health.timeout_ms.0 == HEALTH_TIMEOUT_MS;
        if health.timeout_ms.0 > health.interval_ms.0 && !is_default {
            let message = "timeout_ms is longer than interval_ms";
            self.report.error_with(health.timeout_ms.place, message, "one question must end before the next");
        }
        let probe = match (&health.path, health.tcp.value) {
            (Some(path), false) => {
                if !path.0.starts_with('/') || !path.0.bytes().all(|byte| byte.is_ascii_graphic()) {
                    let message = "a path begins with a slash and has neither spaces nor letters above ASCII";
                    self.report.error(path.place, message);
                }
                Probe::Http {
                    path: path.0.clone(),
                    method: health.method.0.clone(),
                    host: health.host.as_ref().map(|host| host.0.clone()),
                    expected: health.expected.0.iter().map(|range| range.value).collect(),
                }
            }
            (None, true) => Probe::Tcp,
            (Some(_), true) => {
                self.report.error(health.place, "health has either path or tcp = true");
                return None;
            }
            (None, false) => {
                let suggestion = "write path = \"/healthz\", or tcp = true".to_owned();
                self.report.missing(health.place, "health does not say what to ask", suggestion);
                return None;
            }
        };
        Some(Health {
            probe,
            interval_ms: health.interval_ms.0,
            timeout_ms: health.timeout_ms.0.min(health.interval_ms.0),
            healthy_after: small(health.healthy_after.0),
            unhealthy_after: small(health.unhealthy_after.0),
        })
    }

    /// Warns of settings for TLS where no origin is reached by it.
    fn warn_cleartext(&mut self, pool: &Placed<PoolSpec>) {
        let is_said = pool.tls.ca.is_some() || pool.tls.certificate.is_some() || pool.tls.sni.is_some();
        let mut urls =
            pool.origins.iter().flat_map(|origins| origins.0.iter()).filter_map(|it| it.url.as_ref());
        let is_right = !self.report.has_error_from(pool.tls.place);
        if is_said && is_right && !urls.any(|url| url.0.starts_with("https:")) {
            let message = "no origin of the pool is reached over TLS: these settings do nothing";
            self.report.warning(pool.tls.place, message, "write https:// in the url of its origins");
        }
    }

    fn host(&mut self, text: &Placed<Text>) -> HostHeader {
        match text.0.as_str() {
            "keep" => HostHeader::Keep,
            "origin" => HostHeader::Origin,
            name if is_authority(name) => HostHeader::Set(name.to_owned()),
            other => {
                let message = format!("{} is no host", quoted(other));
                self.report.error_with(text.place, message, "\"keep\", \"origin\", or a hostname");
                HostHeader::Keep
            }
        }
    }

    fn origin_tls(&mut self, pool: &Placed<PoolSpec>, same: Option<&Pool>) -> OriginTls {
        let spec = &pool.tls;
        if !spec.verify.value {
            let message = "the origin's certificate is not checked";
            let suggestion = "name its authority by ca = \"…\" instead; anybody on the way could read along";
            self.report.warning(spec.verify.place, message, suggestion);
        }
        let mut ca = None;
        if let Some(path) = &spec.ca
            && let Some(pem) = self.file(path)
        {
            match authorities(pem) {
                Ok(roots) => ca = Some(roots),
                Err(why) => self.report.error(path.place, format!("{}: {why}", quoted(&path.0))),
            }
        }
        if let Some(sni) = &spec.sni
            && !is_host(&sni.0)
        {
            self.report.error(sni.place, format!("{} is no hostname", quoted(&sni.0)));
        }
        self.warn_cleartext(pool);
        let same = same.and_then(|pool| pool.tls.certificate.clone());
        let certificate = self.key_pair(spec.certificate.as_ref(), spec.private_key.as_ref(), same);
        if self.pairs == Pairs::MayBeLost
            && certificate.is_none()
            && let Some(path) = &spec.certificate
        {
            let message = "the pool's origins are shown no certificate";
            let suggestion = "publish when it is mended: pairs of pools are not watched";
            self.report.warning(path.place, message, suggestion);
        }
        OriginTls {
            verify: spec.verify.value,
            ca,
            certificate,
            sni: spec.sni.as_ref().map(|sni| sni.0.to_ascii_lowercase()),
        }
    }
}

/// The settings' own limits keep every such number far below 4 billion.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Says whether a text can stand in a `Host` field: a host, IPv6 in brackets, and perhaps a port.
pub(super) fn is_authority(text: &str) -> bool {
    split_port(text).is_ok_and(|(host, _)| is_host(host))
}

/// Splits host and port; takes the brackets off IPv6.
fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("only IPv6 addresses stand in brackets");
            }
            match rest {
                "" => (host, None),
                rest => (host, Some(rest.strip_prefix(':').ok_or("only a port may follow the bracket")?)),
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("IPv6 addresses stand in brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => None,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0).ok_or("a port is 1 to 65535")?)
        }
        Some(_) => return Err("a port is 1 to 65535"),
    };
    Ok((host, port))
}

/// The `Host` that is an origin's own.
pub(super) fn authority_of(scheme: OriginScheme, host: &str, port: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match (scheme, port) {
        (OriginScheme::Unix, _) => "localhost".to_owned(),
        (OriginScheme::Http, 80) | (OriginScheme::Https, 443) => host,
        (_, port) => format!("{host}:{port}"),
    }
}

/// How an origin is reached, from its url.
struct Reached {
    scheme: OriginScheme,
    host: String,
    port: u16,
    is_h2c: bool,
}

impl Reached {
    /// Parses `http://`, `https://`, `h2c://` and `unix:`; answers why not, and what to write instead.
    fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if let Some(path) = path.strip_suffix(':') {
                let why = "a socket's path has no colon at its end".to_owned();
                return Err((why, Some(format!("did you mean \"unix:{path}\"?"))));
            }
            if !path.starts_with('/') {
                return Err(("a socket's path begins with a slash".to_owned(), None));
            }
            return Ok(Self { scheme: OriginScheme::Unix, host: path.to_owned(), port: 0, is_h2c: false });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let why = "the scheme is missing".to_owned();
            // `http//host` and `http:host` lack only a character or two.
            let scheme = if text.starts_with("https") { "https" } else { "http" };
            let rest = text.strip_prefix(scheme).filter(|rest| rest.starts_with([':', '/'])).unwrap_or(text);
            let rest = rest.trim_start_matches([':', '/']);
            let scheme = if rest == text { "http" } else { scheme };
            return Err((why, Some(format!("did you mean \"{scheme}://{rest}\"?"))));
        };
        let (scheme, own_port, is_h2c) = match scheme {
            "http" => (OriginScheme::Http, 80, false),
            "https" => (OriginScheme::Https, 443, false),
            "h2c" => (OriginScheme::Http, 80, true),
            _ => {
                let why = "the scheme is none of http, https, h2c, unix".to_owned();
                let near = crate::read::nearest(scheme, &["http", "https", "h2c"]);
                return Err((why, near.map(|near| format!("did you mean \"{near}://{rest}\"?"))));
            }
        };
        if let Some(path) = rest.strip_prefix("unix:") {
            let path = path.trim_end_matches(':');
            return Err((
                "a socket has no scheme".to_owned(),
                Some(format!("did you mean \"unix:{path}\"?")),
            ));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            let suggestion = "to change paths, use a [[route]] with strip_prefix".to_owned();
            return Err(("an origin has no path".to_owned(), Some(suggestion)));
        }
        if rest.contains('@') {
            return Err(("an origin has no user name".to_owned(), None));
        }
        let (host, port) = split_port(rest).map_err(|why| (why.to_owned(), None))?;
        if !is_host(host) {
            return Err((format!("{} is neither hostname nor address", quoted(host)), None));
        }
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port: port.unwrap_or(own_port), is_h2c })
    }

    fn authority(&self) -> String {
        authority_of(self.scheme, &self.host, self.port)
    }
}
