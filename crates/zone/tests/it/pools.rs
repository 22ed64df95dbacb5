//! Pools and origins: defaults, urls, and what is refused.

use zone::{Balance, HashKey, HostHeader, Origin, OriginProtocol, OriginScheme, Probe};

use crate::{one, problems_of};

fn zone_with(pools: &str) -> String {
    format!("name = \"z\"\nhostnames = [\"a.example\"]\n{pools}\n")
}

fn pool_with(rest: &str) -> String {
    zone_with(&format!("[[pool]]\nname = \"app\"\norigins = [{{ url = \"http://h:1\" }}]\n{rest}\n"))
}

fn origin(url: &str) -> Origin {
    let snapshot = one(&zone_with(&format!("[[pool]]\nname = \"app\"\norigins = [{{ url = \"{url}\" }}]\n")));
    snapshot.zones()[0].pools[0].origins[0].clone()
}

#[test]
fn takes_the_defaults_of_the_reference() {
    let snapshot = one(&pool_with(""));
    let pool = &snapshot.zones()[0].pools[0];
    assert_eq!(pool.balance, Balance::RoundRobin);
    assert_eq!(pool.health, None);
    assert_eq!(
        (pool.ejection.consecutive_failures, pool.ejection.base_ms, pool.ejection.max_percent),
        (5, 10_000, 50)
    );
    assert_eq!((pool.timeouts.connect_ms, pool.timeouts.tls_ms), (5_000, 5_000));
    assert_eq!((pool.timeouts.first_byte_ms, pool.timeouts.idle_ms), (60_000, 60_000));
    assert_eq!((pool.timeouts.min_rate_bytes_per_s, pool.slow_start_ms, pool.max_connections), (0, 0, None));
    assert_eq!((pool.retries.max, pool.retries.budget_percent), (1, 20));
    assert_eq!(
        (pool.protocol, &pool.host, pool.tls.verify),
        (OriginProtocol::Http1, &HostHeader::Keep, true)
    );
    let origin = &pool.origins[0];
    assert_eq!((origin.weight, origin.is_draining, origin.is_backup), (1, false, false));
}

#[test]
fn parses_every_form_of_url() {
    let parts = |url: &str| {
        let origin = origin(url);
        (origin.scheme, origin.host, origin.port, origin.authority, origin.protocol)
    };
    let (http1, http2) = (OriginProtocol::Http1, OriginProtocol::Http2);
    let tell = |scheme, host: &str, port, authority: &str, protocol| {
        (scheme, host.to_owned(), port, authority.to_owned(), protocol)
    };
    assert_eq!(parts("http://h:8080"), tell(OriginScheme::Http, "h", 8080, "h:8080", http1));
    assert_eq!(parts("http://H.Example"), tell(OriginScheme::Http, "h.example", 80, "h.example", http1));
    assert_eq!(parts("https://h/"), tell(OriginScheme::Https, "h", 443, "h", http1));
    assert_eq!(parts("https://h:80"), tell(OriginScheme::Https, "h", 80, "h:80", http1));
    assert_eq!(parts("h2c://h:50051"), tell(OriginScheme::Http, "h", 50051, "h:50051", http2));
    assert_eq!(
        parts("http://[2001:db8::1]:8"),
        tell(OriginScheme::Http, "2001:db8::1", 8, "[2001:db8::1]:8", http1)
    );
    assert_eq!(parts("unix:/run/app.sock"), tell(OriginScheme::Unix, "/run/app.sock", 0, "localhost", http1));
    assert_eq!(
        parts("unix:///run/app.sock"),
        tell(OriginScheme::Unix, "/run/app.sock", 0, "localhost", http1)
    );
}

#[test]
fn refuses_urls_that_are_no_origins() {
    for (url, why) in [
        ("h:1", "the scheme is missing"),
        ("ftp://h", "the scheme is none of"),
        ("http://", "is neither hostname nor address"),
        ("http://h/app", "an origin has no path"),
        ("http://u:p@h", "an origin has no user name"),
        ("http://h:0", "a port is 1 to 65535"),
        ("http://h:70000", "a port is 1 to 65535"),
        ("http://h:", "a port is 1 to 65535"),
        ("http://::1:80", "IPv6 addresses stand in brackets"),
        ("http://[::1", "the bracket is not closed"),
        ("http://[h]:1", "only IPv6 addresses stand in brackets"),
        ("http://h h:1", "is neither hostname nor address"),
        ("unix:run/x", "a socket's path begins with a slash"),
    ] {
        let told = problems_of(&zone_with(&format!(
            "[[pool]]\nname = \"app\"\norigins = [{{ url = \"{url}\" }}]\n"
        )));
        assert!(told.contains(why), "{url}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn compiles_every_setting() {
    let snapshot = one(&zone_with(
        "[[pool]]\nname = \"app\"\nbalance = \"hash\"\nhash_key = \"cookie:sid\"\nbackup = \"spare\"\n\
         host = \"app.internal:81\"\nproxy_protocol = \"v2\"\nprotocol = \"auto\"\nmax_connections = 9\n\
         origins = [{ url = \"https://h:1\", weight = 0, drain = true },\n\
         { url = \"http://h:2\", backup = true }]\n\
         health = { path = \"/up?x\", expected = [204, \"3xx\"], interval_ms = 2000 }\n\
         sticky = { cookie = \"s\", ttl_s = 60 }\ntls = { sni = \"App.Internal\" }\n\
         [[pool]]\nname = \"spare\"\norigins = [{ url = \"unix:/x\" }]\nhealth = { tcp = true }\n\
         host = \"origin\"\n",
    ));
    let [app, spare] = snapshot.zones()[0].pools.as_slice() else { panic!() };
    assert_eq!(app.balance, Balance::Hash { key: HashKey::Cookie("sid".to_owned()) });
    assert_eq!((app.backup, spare.backup), (Some(1), None));
    assert_eq!(app.host, HostHeader::Set("app.internal:81".to_owned()));
    assert_eq!(app.max_connections, Some(9));
    assert_eq!(app.tls.sni.as_deref(), Some("app.internal"));
    assert_eq!(
        (app.origins[0].weight, app.origins[0].is_draining, app.origins[1].is_backup),
        (0, true, true)
    );
    let probe = &app.health.as_ref().expect("it has health").probe;
    assert!(probe.expects(204) && probe.expects(301) && !probe.expects(200));
    assert_eq!(spare.health.as_ref().map(|health| &health.probe), Some(&Probe::Tcp));
    assert_eq!(app.sticky.as_ref().and_then(|sticky| sticky.ttl_s), Some(60));
}

#[test]
fn keeps_ids_when_tunable_values_change() {
    let before = one(&pool_with(""));
    let after = one(&pool_with("balance = \"random\"\nkeepalive_ms = 5\n"));
    let (before, after) = (&before.zones()[0], &after.zones()[0]);
    assert_eq!(before.id, after.id);
    assert_eq!(before.pools[0].id, after.pools[0].id);
    assert_eq!(before.pools[0].origins[0].id, after.pools[0].origins[0].id);
    assert_ne!(before.fingerprint, after.fingerprint);
    assert_eq!(before.id.to_string().len(), 32);
    assert_eq!(before.id.to_string().parse(), Ok(before.id));
}

#[test]
fn tells_what_is_wrong_with_a_pool() {
    for (rest, wanted) in [
        ("backup = \"app\"", "following `backup` leads back to this pool"),
        ("backup = \"ap\"", "did you mean \"app\"?"),
        ("hash_key = \"path\"", "hash_key is for balance"),
        ("balance = \"hash\"\nhash_key = \"cookie:\"", "cannot be hashed"),
        ("health = {}", "health does not say what to ask"),
        ("health = { path = \"/\", tcp = true }", "either path or tcp"),
        ("health = { path = \"x\" }", "a path begins with a slash"),
        ("health = { path = \"/\", expected = \"6xx\" }", "`6xx` is not a status"),
        ("health = { tcp = true, timeout_ms = 9000 }", "timeout_ms is longer than interval_ms"),
        ("health = { tcp = true, interval_ms = 1 }", "an integer from 100 to 86400000"),
        ("sticky = { cookie = \"a;b\" }", "is no cookie name"),
        ("sticky = {}", "sticky needs `cookie`"),
        ("host = \"a b\"", "is no host"),
        ("tls = { sni = \"a:1\" }", "is no hostname"),
        ("tls = { ca = \"missing.pem\" }", "the file `zones/missing.pem` could not be read"),
        ("retries = { budget_percent = 101 }", "an integer from 0 to 100"),
        ("timeouts = { connect = 5 }", "did you mean `connect_ms`?"),
        ("[[pool]]\nname = \"app\"\norigins = [{ url = \"http://h:3\" }]", "another pool is named `app`"),
        ("[[pool]]\nname = \"b\"\norigins = [{ url = \"http://h:3\", weight = 0 }]", "has weight 0"),
        ("[[pool]]\nname = \"b\"\norigins = [{ url = \"http://h\" }, { url = \"http://h\" }]", "twice"),
        ("[[pool]]\nname = \"b\"", "[[pool]] needs `origins`"),
    ] {
        let told = problems_of(&pool_with(rest));
        assert!(told.contains(wanted), "{rest}: {told}");
        assert_eq!(told.lines().count(), 1, "{rest}: {told}");
    }
}

#[test]
fn finds_a_cycle_of_backups() {
    let pool = |name: &str, backup: &str| {
        format!("[[pool]]\nname = \"{name}\"\nbackup = \"{backup}\"\norigins = [{{ url = \"http://h\" }}]\n")
    };
    let told = problems_of(&zone_with(&format!("{}{}{}", pool("a", "b"), pool("b", "c"), pool("c", "b"))));
    assert_eq!(told.matches("leads back to this pool").count(), 2, "{told}");
}

#[test]
fn warns_of_origins_whose_certificate_is_not_checked() {
    let snapshot = one(&pool_with("tls = { verify = false }"));
    assert!(!snapshot.zones()[0].pools[0].tls.verify);
    assert!(snapshot.warnings[0].message.contains("is not checked"));
}

#[test]
fn keeps_all_ids_of_a_zone_renamed_under_its_id() {
    let id = "id = \"00112233445566778899aabbccddeeff\"\n";
    let before = one(&format!("{id}{}", pool_with("")));
    let after = one(&format!("{id}{}", pool_with("").replace("\"z\"", "\"renamed\"")));
    let (before, after) = (&before.zones()[0], &after.zones()[0]);
    assert_eq!((before.id, after.name.as_str()), (after.id, "renamed"));
    assert_eq!(before.pools[0].id, after.pools[0].id);
    assert_eq!(before.pools[0].origins[0].id, after.pools[0].origins[0].id);
}
