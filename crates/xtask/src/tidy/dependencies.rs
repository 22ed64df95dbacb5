//! Who may use what: the direction of dependencies of ARCHITECTURE.md, as data, over `cargo metadata`.
//!
//! The tables are closed: a crate or a package that is not in them is a problem, so that every new dependency
//! is a decision somebody wrote down here. Read next: [`CRATES`], then [`PACKAGES`].

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

use super::Problem;
use crate::tree::Tree;

/// Crates of the workspace with the workspace crates each may use; lower levels only, as ARCHITECTURE.md
/// says. In tests every crate may use `testkit` too.
const CRATES: &[(&str, &[&str])] = &[
    // The languages, and the measure of what evaluating them costs.
    ("blackbox", &[]),
    ("flood", &[]),
    ("fuel", &[]),
    ("http1", &[]),
    ("http3", &[]),
    ("overload", &[]),
    ("rules", &["fuel"]),
    ("seclang", &["fuel"]),
    // The vocabulary; its two crates do not know each other.
    ("exchange", &["http1"]),
    ("zone", &["rules", "seclang"]),
    // The parts never know each other. `wire` does not know zones.
    ("wire", &["exchange", "http1", "http3"]),
    ("origin", &["exchange", "http1", "zone"]),
    ("telemetry", &[]),
    ("shield", &["fuel", "rules", "exchange", "seclang", "zone"]),
    ("cache", &["fuel", "http1", "exchange"]),
    // The planes. `splice` shares nothing with anybody, so that no bug of theirs is one of its own.
    ("splice", &[]),
    (
        "edge",
        &[
            "blackbox",
            "cache",
            "flood",
            "fuel",
            "rules",
            "seclang",
            "exchange",
            "http1",
            "zone",
            "wire",
            "origin",
            "overload",
            "shield",
            "telemetry",
        ],
    ),
    // The only place that knows everybody.
    (
        "rempart",
        &[
            "blackbox",
            "http1",
            // The visitors of its drills.
            "http3",
            "seclang",
            "exchange",
            "zone",
            "wire",
            "origin",
            "telemetry",
            "splice",
            "edge",
        ],
    ),
    // Development.
    // Its load generator speaks HTTP/3 through the product's codec; what tests judge by does not.
    ("testkit", &["http3"]),
    ("xtask", &["exchange", "telemetry", "zone"]),
];

/// Who may use a package in the product.
enum Users {
    Everybody,
    /// These; tests of other crates may not either.
    Only(&'static [&'static str]),
    /// These in the product, and tests of every crate.
    InTests(&'static [&'static str]),
}
use Users::{Everybody, InTests, Only};

/// Every package used directly. What a level may not know, its crates may not link: no runtime below level 2,
/// no serialisation of compiled types, no client library on a request's way.
const PACKAGES: &[(&str, Users)] = &[
    // Small and without opinions.
    ("bytes", Everybody),
    ("foldhash", Everybody),
    ("hashbrown", Everybody),
    ("itoa", Everybody),
    ("memchr", Everybody),
    // Errors without a type are for the program and for tests: crates have their own small enums.
    ("anyhow", Only(&["edge", "rempart", "testkit", "xtask"])), // `edge`: in tests
    // The runtime and sockets.
    ("tokio", Only(&["wire", "origin", "edge", "rempart", "testkit"])),
    ("socket2", Only(&["wire", "origin", "edge", "rempart", "testkit"])),
    ("rustix", Only(&["blackbox", "telemetry", "wire", "origin", "edge", "splice", "rempart", "testkit"])),
    ("nix", Only(&["blackbox", "edge", "rempart"])),
    // Memory that another process holds, seen as atomics.
    ("memmap2", Only(&["blackbox"])),
    ("zerocopy", Only(&["blackbox"])),
    ("arc-swap", Only(&["edge", "rempart"])),
    // Keyed hashes of cache keys, and checksums of what the cache has on disk.
    ("siphasher", Only(&["cache"])),
    ("twox-hash", Only(&["cache"])),
    // Protocol engines.
    ("httparse", Only(&["http1"])),
    // `rempart`: the visitors of its drills.
    ("h2", Only(&["wire", "origin", "rempart", "testkit"])),
    ("http", Only(&["wire", "origin", "rempart", "testkit"])),
    ("quinn", Only(&["wire", "rempart", "testkit"])),
    ("quinn-proto", Only(&["wire"])),
    ("hyper", InTests(&[])),
    // TLS: `zone` only loads certificates into the form they are used in. In tests it judges what others read
    // of a hello.
    ("rustls", InTests(&["zone", "wire", "origin", "edge", "rempart", "testkit"])),
    ("tokio-rustls", Only(&["origin", "rempart", "testkit"])), // `rempart`: visitors of its drills
    ("rustls-native-certs", Only(&["origin", "rempart"])),
    ("aws-lc-rs", Only(&["wire", "origin", "edge", "rempart", "testkit"])),
    ("sha2", Only(&["rules", "zone"])),
    // Countries and networks of addresses, in the one format that such data come in.
    ("maxminddb", Only(&["zone"])),
    // Files people write; `zone` reads them by its own tables, so that every problem has its place.
    ("serde", Only(&["rempart"])),
    ("toml", Only(&["zone", "rempart"])),
    ("strsim", Only(&["rules", "seclang", "zone", "rempart"])),
    ("serde_json", InTests(&["rempart", "testkit"])),
    // Content codings: gzip in Rust (zlib-rs), brotli in Rust, zstd with its authors' C; aws-lc has made a C
    // compiler a need already.
    ("flate2", Only(&["cache", "testkit"])),
    ("brotli", Only(&["cache", "testkit"])),
    ("zstd", Only(&["cache", "testkit"])),
    // The program.
    // Sockets that a service manager made: the one way to them without `unsafe` of our own.
    ("listenfd", Only(&["rempart"])),
    // Keeps from children what a shell left open: descriptors by number, which the standard library does not
    // take without `unsafe`.
    ("close_fds", Only(&["rempart"])),
    ("clap", Only(&["rempart"])),
    ("mimalloc", Only(&["rempart"])),
    ("rcgen", InTests(&["rempart", "testkit"])),
    // Finding: the WAF's rules are regular expressions and lists of words.
    ("aho-corasick", Only(&["rules", "seclang"])),
    ("regex", Only(&["seclang"])),
    ("regex-automata", Only(&["rules", "seclang"])),
    ("regex-syntax", Only(&["rules", "seclang"])),
    // Digests that rules ask for by name; nothing is secured by them.
    ("md-5", Only(&["seclang"])),
    ("sha1", Only(&["seclang"])),
    // Development.
    ("saphyr", InTests(&["testkit"])),
    ("cargo_metadata", Only(&["xtask"])),
    ("proptest", InTests(&[])),
];

pub(super) fn check(tree: &Tree, problems: &mut Vec<Problem>) -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(tree.root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("`cargo metadata` did not answer")?;
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            let in_tests = dependency.kind == DependencyKind::Development;
            let ours = dependency.path.is_some();
            problems.extend(judge(&package.name, &dependency.name, ours, in_tests));
        }
    }
    Ok(())
}

/// Judges one line of a manifest.
fn judge(user: &str, used: &str, ours: bool, in_tests: bool) -> Option<Problem> {
    let path = format!("crates/{user}/Cargo.toml");
    let Some((_, allowed)) = CRATES.iter().find(|(name, _)| *name == user) else {
        let what = format!("the crate `{user}` is not in tidy's table");
        return Some(Problem::new(&path, 0, what, "add it with the crates it may use"));
    };
    if ours {
        let may = allowed.contains(&used) || in_tests && used == "testkit";
        let what = format!("`{user}` may not use `{used}`");
        let remedy = "a crate uses lower levels only: see ARCHITECTURE.md";
        return (!may).then(|| Problem::new(&path, 0, what, remedy));
    }
    let Some((_, users)) = PACKAGES.iter().find(|(name, _)| *name == used) else {
        let what = format!("the package `{used}` is not in tidy's table");
        return Some(Problem::new(&path, 0, what, "do without, or add it with who may use it"));
    };
    let may = match users {
        Everybody => true,
        Only(users) => users.contains(&user),
        InTests(users) => in_tests || users.contains(&user),
    };
    let remedy = "let the crate that may use it do it, or change tidy's table with a reason";
    (!may).then(|| Problem::new(&path, 0, format!("`{user}` may not use the package `{used}`"), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(user: &str, used: &str, ours: bool, in_tests: bool) -> bool {
        judge(user, used, ours, in_tests).is_some()
    }

    #[test]
    fn a_higher_or_equal_level_is_refused() {
        assert!(is_refused("exchange", "wire", true, false));
        assert!(is_refused("wire", "zone", true, false));
        assert!(is_refused("origin", "telemetry", true, false));
        assert!(!is_refused("edge", "origin", true, false));
    }

    #[test]
    fn testkit_is_for_tests() {
        assert!(!is_refused("edge", "testkit", true, true));
        assert!(is_refused("edge", "testkit", true, false));
    }

    #[test]
    fn packages_are_held_to_their_users() {
        assert!(is_refused("http1", "tokio", false, false));
        assert!(is_refused("edge", "hyper", false, false));
        assert!(!is_refused("http1", "hyper", false, true));
        assert!(!is_refused("wire", "quinn", false, false));
    }

    #[test]
    fn what_is_not_in_the_tables_is_refused() {
        assert!(is_refused("util", "bytes", false, false));
        assert!(is_refused("edge", "left-pad", false, false));
    }

    #[test]
    fn nobody_uses_a_crate_listed_after_it() {
        for (place, (name, uses)) in CRATES.iter().enumerate() {
            for used in *uses {
                assert!(CRATES[..place].iter().any(|(lower, _)| lower == used), "{name} uses {used}");
            }
        }
    }
}
