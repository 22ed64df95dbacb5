//! What `rempart status` shows, as JSON.
//!
//! The members are an interface: add, never rename. They are written down in `docs/reference/status.md`.
//! Called by [`super`].

use serde_json::{Value, json};

use crate::control::Setup;
use crate::processes::time;
use crate::publishing::{Progress, Rejection};

/// Describes the running node. Times are microseconds since 1970 in UTC; `kept` says whether the process
/// began with a kept generation because the files could not be used.
pub(super) fn describe(status: &edge::Status, setup: &Setup, kept: bool, progress: &Progress) -> Value {
    let zones: Vec<Value> = status
        .zones
        .iter()
        .map(|zone| {
            json!({
                "name": zone.name,
                "id": zone.id,
                "hostnames": zone.hostnames,
                "pools": zone.pools,
                "routes": zone.routes,
                "has_certificate": zone.has_certificate,
                "flood": zone.flood.as_ref().map(flood),
            })
        })
        .collect();
    let flood_limits: Vec<Value> = status.zones.iter().flat_map(flood_limits).collect();
    let listeners: Vec<Value> = setup
        .listeners
        .iter()
        .map(|plan| json!({"address": plan.address, "tcp_sockets": plan.tcp, "udp_sockets": plan.udp}))
        .collect();
    json!({
        "node": status.name,
        "config": setup.config,
        "supervisor_pid": setup.supervisor,
        "edge_pid": std::process::id(),
        "edge_restarts": setup.restarts,
        "started": time(status.started_unix_us),
        "started_unix_us": status.started_unix_us,
        "snapshot": status.snapshot,
        "hash": status.hash,
        "since": time(status.since_unix_us),
        "since_unix_us": status.since_unix_us,
        "started_from_kept_generation": kept,
        "last_good": progress.last_good,
        "publishing": {
            "stage": progress.stage,
            "since": time(progress.since_unix_us),
            "since_unix_us": progress.since_unix_us,
            "note": progress.note,
            "confirm_until": progress.confirm_until_unix_us.map(time),
            "confirm_until_unix_us": progress.confirm_until_unix_us,
        },
        "rejected": progress.rejected.iter().map(rejection).collect::<Vec<Value>>(),
        "upgrades_failed": progress.upgrades_failed,
        "cache": status.cache.as_ref().map(cache),
        "overload": {
            "shedding_threads": status.shedding_threads,
            "delay_ms": status.delay_us / 1_000,
        },
        "flood_limits": flood_limits,
        "origins": {
            "unhealthy": status.origins.unhealthy,
            "ejected": status.origins.ejected,
            "circuits_open": status.origins.open,
            "limited": status.origins.limited,
            "in_line": status.origins.in_line,
        },
        "feeds": status.feeds.iter().map(feed).collect::<Vec<Value>>(),
        "is_draining": status.is_draining,
        "threads": status.threads,
        "admin": setup.admin,
        "listeners": listeners,
        "zones": zones,
    })
}

/// A change that was withdrawn.
fn rejection(rejection: &Rejection) -> Value {
    json!({
        "hash": rejection.hash,
        "number": rejection.number,
        "time": time(rejection.unix_us),
        "unix_us": rejection.unix_us,
        "why": rejection.why,
    })
}

/// How a zone's load stands; rates are requests a second.
fn flood(standing: &edge::FloodStanding) -> Value {
    let state = match (standing.flooded_for_s, standing.has_baseline) {
        (Some(_), _) => "flood",
        (None, true) => "usual",
        (None, false) => "no baseline yet",
    };
    json!({
        "state": state,
        "seen_s": standing.seen_s,
        "flooded_for_s": standing.flooded_for_s,
        "rate": standing.rate.round(),
        "usual": standing.usual.round(),
        "most": standing.most.round(),
        "suffers": standing.suffers,
        "limits": standing.limits.len(),
    })
}

/// How old a file is against its horizon.
fn feed(standing: &edge::FeedStanding) -> Value {
    let feed = &standing.feed;
    json!({
        "zone": standing.zone,
        "list": feed.name,
        "state": standing.stage.as_str(),
        "age_s": standing.age_s,
        "horizon_s": feed.horizon_s,
        "after_horizon": feed.after.word(),
        "made": time(feed.made_unix_s.saturating_mul(1_000_000)),
        "file": feed.path,
    })
}

/// The limits that a zone's flood has made.
fn flood_limits(zone: &edge::ZoneStatus) -> Vec<Value> {
    let limits = zone.flood.iter().flat_map(|standing| &standing.limits);
    limits
        .map(|limit| {
            json!({
                "zone": zone.name,
                "limit": limit.number,
                "stage": limit.stage.as_str(),
                "what": limit.what,
                "most": limit.most,
                "why": limit.why,
                "matched": limit.done.matched,
                "refused": limit.done.refused,
                "known": limit.done.known,
                "known_refused": limit.done.known_refused,
                "expires_in_s": limit.expires_in_s,
            })
        })
        .collect()
}

/// What is stored: null while no zone has a cache.
fn cache(standing: &edge::CacheStanding) -> Value {
    let disk = standing.disk.as_ref().map(|disk| {
        json!({
            "state": disk.state,
            "objects": disk.objects,
            "bytes": disk.bytes,
            "bytes_max": disk.bytes_max,
            "trouble": disk.trouble,
        })
    });
    json!({
        "objects": standing.objects,
        "bytes": standing.bytes,
        "bytes_max": standing.bytes_max,
        "disk": disk,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Begin, Holds, ListenerPlan, Role};

    /// Every member's name, of objects in objects and in lists too.
    fn members(value: &Value, names: &mut Vec<String>) {
        let mut left = vec![value];
        while let Some(value) = left.pop() {
            match value {
                Value::Object(members) => {
                    names.extend(members.keys().cloned());
                    left.extend(members.values());
                }
                Value::Array(elements) => left.extend(elements),
                _ => {}
            }
        }
    }

    #[test]
    fn what_runs_is_there_by_name() {
        let standing = edge::FloodStanding {
            has_baseline: true,
            seen_s: 700,
            flooded_for_s: Some(5),
            rate: 900.4,
            usual: 30.0,
            most: 75.0,
            suffers: false,
            limits: Vec::new(),
        };
        let status = edge::Status {
            name: "a".into(),
            snapshot: 7,
            hash: "ab".into(),
            since_unix_us: 2,
            started_unix_us: 1,
            threads: 2,
            shedding_threads: 1,
            delay_us: 70_000,
            origins: telemetry::metrics::Origins {
                unhealthy: 4,
                ejected: 5,
                open: 1,
                limited: 2,
                in_line: 3,
            },
            feeds: Vec::new(),
            is_draining: false,
            cache: Some(edge::CacheStanding {
                objects: 3,
                bytes: 4,
                bytes_max: 5,
                disk: Some(edge::DiskStanding {
                    state: "ready".into(),
                    objects: 6,
                    bytes: 7,
                    bytes_max: 8,
                    trouble: Some("stalled"),
                }),
            }),
            zones: vec![edge::ZoneStatus {
                name: "z".into(),
                id: "0".repeat(32),
                hostnames: 1,
                pools: 1,
                routes: 0,
                has_certificate: true,
                flood: Some(standing),
            }],
        };
        let setup = Setup {
            config: "/c".into(),
            role: Role::Serving,
            begin: Begin::Files,
            udp_generation: 0,
            deadly: Vec::new(),
            serves_on: true,
            splice_table: None,
            unusable: Vec::new(),
            has_udp: true,
            is_quic_taken: false,
            threads: 2,
            listeners: vec![ListenerPlan {
                index: 0,
                address: ([127, 0, 0, 1], 80).into(),
                is_https: false,
                is_proxied: false,
                tcp: 2,
                udp: 0,
            }],
            admin: None,
            supervisor: 5,
            restarts: 1,
        };
        let rejected = Rejection { hash: "cd".into(), number: 6, unix_us: 3, why: "by hand".into() };
        let progress =
            Progress { confirm_until_unix_us: Some(4), rejected: vec![rejected], ..Progress::default() };
        let described = describe(&status, &setup, false, &progress);
        assert_eq!(described["snapshot"], 7);
        assert_eq!(described["since"], "1970-01-01T00:00:00.000002Z");
        assert_eq!(described["publishing"]["confirm_until"], "1970-01-01T00:00:00.000004Z");
        assert_eq!(described["rejected"][0]["time"], "1970-01-01T00:00:00.000003Z");
        assert_eq!(described["supervisor_pid"], 5);
        assert_eq!(described["listeners"][0]["address"], "127.0.0.1:80");
        assert_eq!(described["zones"][0]["name"], "z");
        assert_eq!(described["zones"][0]["flood"]["state"], "flood");
        assert_eq!(described["zones"][0]["flood"]["rate"], 900.0);
        assert_eq!(described["overload"]["shedding_threads"], 1);
        assert_eq!(described["overload"]["delay_ms"], 70);
        assert_eq!(described["origins"]["unhealthy"], 4);
        assert_eq!(described["origins"]["circuits_open"], 1);
        assert_eq!(described["cache"]["bytes_max"], 5);
        assert_eq!(described["cache"]["disk"]["state"], "ready");
        assert_eq!(described["cache"]["disk"]["trouble"], "stalled");
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/status.md");
        let page = std::fs::read_to_string(page).unwrap();
        let mut names = Vec::new();
        members(&described, &mut names);
        members(&crate::processes::one_that_drains().describe(Some((9, Holds::default()))), &mut names);
        for name in &names {
            assert!(page.contains(&format!("`{name}`")), "the page does not say what `{name}` is");
        }
    }
}
