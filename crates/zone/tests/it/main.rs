//! Tests of the zone crate through its public API: files as written in, snapshots and problems out.
//!
//! The helpers here build bundles from text; each module is one subject.

mod bundles;
mod caches;
mod compressions;
mod defaults;
mod difference;
mod doubts;
mod hosts;
mod nodes;
mod pools;
mod problems;
mod properties;
mod rates;
mod references;
mod routes;
mod rules;
mod tls;
mod waf;

use std::collections::BTreeMap;

use zone::{Bundle, Problem, Snapshot, Source};

/// A source from text.
fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), bytes: text.as_bytes().to_vec() }
}

/// A bundle of zone files and no others.
fn bundle(specs: &[(&str, &str)]) -> Bundle {
    Bundle::new(specs.iter().map(|(name, text)| source(name, text)).collect(), None, BTreeMap::new())
}

/// A bundle of zone files behind a node file.
fn bundle_with_defaults(specs: &[(&str, &str)], node: &str) -> Bundle {
    let specs = specs.iter().map(|(name, text)| source(name, text)).collect();
    Bundle::new(specs, zone::defaults_of(&source("rempart.toml", node)), BTreeMap::new())
}

fn no_keys(_path: &str) -> Option<Vec<u8>> {
    None
}

/// Compiles what must compile.
fn snapshot(bundle: &Bundle) -> Snapshot {
    match zone::compile(bundle, 1, &no_keys) {
        Ok(snapshot) => snapshot,
        Err(problems) => panic!("{}", listed(&problems)),
    }
}

/// One zone file named `a.toml` that must compile.
fn one(text: &str) -> Snapshot {
    snapshot(&bundle(&[("zones/a.toml", text)]))
}

/// The problems of what must not compile.
fn problems(bundle: &Bundle) -> Vec<Problem> {
    zone::compile(bundle, 1, &no_keys).expect_err("this bundle has problems")
}

/// The problems of one zone file named `zones/a.toml`, one a line.
fn problems_of(text: &str) -> String {
    listed(&problems(&bundle(&[("zones/a.toml", text)])))
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// A zone with one pool, and whatever is given.
fn zone_text(name: &str, hostnames: &str, rest: &str) -> String {
    format!(
        "name = \"{name}\"\nhostnames = {hostnames}\n{rest}\n[[pool]]\nname = \"app\"\n\
         origins = [{{ url = \"http://10.0.0.1:8080\" }}]\n"
    )
}
