//! What a person is told of lists, files of `[geo]` and certificates that are too old when they are read.
//!
//! Warnings alone: nothing is refused, since what is old may be all there is at a restart. What becomes of
//! them while they are served is `edge`'s. Called by whoever compiles files: `check`, a publish, a start.

use telemetry::time::TimeText;
use zone::{AfterHorizon, Bundle, FeedStage, Problem, Severity, Snapshot};

/// Lists told one by one; as many as there are warnings of other kinds.
const TOLD_MAX: usize = zone::limits::WARNINGS_MAX;

/// How far ahead of this machine's clock the one that made a file may be, in seconds.
const AHEAD_S: u64 = 3_600;

/// How long before its end a certificate is warned of, in seconds: a week, since what renews them does so a
/// month before.
const ENDS_SOON_S: u64 = 7 * 86_400;

/// Warns of what is past its horizon, or was made in the future, and of certificates that do not hold now or
/// not for long, each at the place that names it.
pub(crate) fn outdated(snapshot: &Snapshot, bundle: &Bundle, now_unix_s: u64) -> Vec<Problem> {
    let told: Vec<_> =
        snapshot.feeds().filter_map(|(_, feed)| told(feed, now_unix_s)).take(TOLD_MAX).collect();
    let mut ended: Vec<_> = snapshot.zones().iter().filter_map(|zone| ended(&zone.tls, now_unix_s)).collect();
    ended.sort();
    ended.dedup();
    ended.truncate(TOLD_MAX);
    if told.is_empty() && ended.is_empty() {
        return Vec::new();
    }
    let named = zone::files_named(bundle.specs(), bundle.defaults());
    let problem = |remedy: &str, (path, message): (String, String)| {
        let place = named.iter().find(|named| named.path == path);
        Problem {
            file: place.map_or(path, |place| place.file.clone()),
            line: place.map_or(1, |place| place.line),
            column: place.map_or(1, |place| place.column),
            message,
            suggestion: Some(remedy.to_owned()),
            severity: Severity::Warning,
        }
    };
    let lists = told.into_iter().map(|told| problem("have it made anew, and publish", told));
    let renew = "renew it; a changed file is read without a publish";
    lists.chain(ended.into_iter().map(|ended| problem(renew, ended))).collect()
}

/// The file of a certificate that does not hold now, or not for long, and what is to be said of it.
fn ended(tls: &zone::Tls, now_unix_s: u64) -> Option<(String, String)> {
    let path = tls.certificate_path.clone()?;
    let validity = zone::Validity::of(tls.certificate.as_ref()?.cert.first()?)?;
    let (from, until) = (validity.from_unix_s, validity.until_unix_s);
    let message = if until < now_unix_s {
        format!("the certificate ended at {}: browsers refuse it", made(until))
    } else if from > now_unix_s {
        format!("the certificate holds from {} on, which is not yet: browsers refuse it", made(from))
    } else if until - now_unix_s < ENDS_SOON_S {
        format!("the certificate ends at {}: in {} hours", made(until), (until - now_unix_s) / 3_600)
    } else {
        return None;
    };
    Some((path, message))
}

/// The file, and what is to be said of it.
fn told(feed: &zone::Feed, now_unix_s: u64) -> Option<(String, String)> {
    let (name, made) = (&feed.name, made(feed.made_unix_s));
    let message = if feed.stage(now_unix_s) == FeedStage::PastHorizon {
        let (age_s, horizon_s) = (feed.age_s(now_unix_s), feed.horizon_s);
        let what = match feed.after {
            AfterHorizon::Keep => "it is used as it is",
            AfterHorizon::Empty => "it matches nothing",
        };
        format!("{name} was made at {made}: {age_s} s old, past its horizon of {horizon_s} s; {what}")
    } else if feed.made_unix_s > now_unix_s.saturating_add(AHEAD_S) {
        format!("{name} says that it was made at {made}, which is not yet: it counts as new until then")
    } else {
        return None;
    };
    Some((feed.path.clone(), message))
}

/// Writes a time as RFC 3339 in UTC, in whole seconds.
fn made(unix_s: u64) -> String {
    let mut time = TimeText::new();
    let text = time.text(unix_s.saturating_mul(1_000_000));
    let seconds = text.get(..19).unwrap_or_default();
    format!("{}Z", String::from_utf8_lossy(seconds))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use zone::Source;

    use super::*;

    #[test]
    fn lists_past_their_horizon_are_warned_of_at_their_place_and_nothing_else_is() {
        let text = "name = \"a\"\nhostnames = [\"a.example\"]\n[[route]]\nanswer = { status = 200 }\n\
                    [[list]]\nname = \"old\"\nkind = \"ip\"\nfile = \"old.txt\"\nhorizon_s = 60\n\
                    after_horizon = \"empty\"\n\
                    [[list]]\nname = \"ahead\"\nkind = \"ip\"\nfile = \"ahead.txt\"\nhorizon_s = 60\n\
                    [[list]]\nname = \"new\"\nkind = \"ip\"\nfile = \"new.txt\"\nhorizon_s = 60\n";
        let specs = vec![Source { name: "/z/a.toml".into(), bytes: text.as_bytes().to_vec() }];
        let made = [("old", 1_700_000_000), ("ahead", 1_700_010_000), ("new", 1_700_000_070)];
        let path = |name: &str| format!("/z/{name}.txt");
        let files = made.iter().map(|(name, _)| (path(name), b"192.0.2.1\n".to_vec())).collect();
        let changed = made.iter().map(|(name, unix_s)| (path(name), *unix_s)).collect();
        let bundle = Bundle::new(specs, None, files).with_changed(changed);
        let snapshot = zone::compile(&bundle, 1, &|_| None).unwrap();
        let told: Vec<String> =
            outdated(&snapshot, &bundle, 1_700_000_100).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        let old = "/z/a.toml:8:8: warning: old was made at 2023-11-14T22:13:20Z: 100 s old, past its horizon \
                   of 60 s; it matches nothing";
        assert!(told[0].starts_with(old), "{told:?}");
        assert!(told[1].starts_with("/z/a.toml:14:8: warning: ahead says that it was made"), "{told:?}");
        assert!(
            outdated(&snapshot, &Bundle::new(Vec::new(), None, BTreeMap::new()), 1_700_000_000).len() < 2
        );
    }
    #[test]
    fn certificates_that_do_not_hold_or_not_for_long_are_warned_of_at_their_place() {
        let mut parts = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        (parts.not_before, parts.not_after) =
            (rcgen::date_time_ymd(2026, 1, 2), rcgen::date_time_ymd(2026, 4, 2));
        let key = rcgen::KeyPair::generate().unwrap();
        let chain = parts.self_signed(&key).unwrap().pem().into_bytes();
        let text = "name = \"a\"\nhostnames = [\"a.example\"]\n[[route]]\nanswer = { status = 200 }\n\
                    [tls]\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"\n";
        let specs = vec![Source { name: "/z/a.toml".into(), bytes: text.as_bytes().to_vec() }];
        let bundle = Bundle::new(specs, None, BTreeMap::from([("/z/a.pem".to_owned(), chain)]));
        let key = key.serialize_pem().into_bytes();
        let snapshot = zone::compile(&bundle, 1, &|_| Some(key.clone())).unwrap();
        let told = |now_unix_s: u64| -> String {
            outdated(&snapshot, &bundle, now_unix_s).iter().map(ToString::to_string).collect()
        };
        let until = 1_775_088_000;
        assert_eq!(told(until - ENDS_SOON_S), "");
        let soon = "/z/a.toml:6:15: warning: the certificate ends at 2026-04-02T00:00:00Z: in 1 hours";
        assert!(told(until - 3_600).starts_with(soon), "{}", told(until - 3_600));
        let ended = "/z/a.toml:6:15: warning: the certificate ended at 2026-04-02T00:00:00Z";
        assert!(told(until + 1).starts_with(ended), "{}", told(until + 1));
        assert!(told(1_700_000_000).contains("holds from 2026-01-02T00:00:00Z on, which is not yet"));
    }
}
