//! Every example of a node file or a zone in `docs/`, `deploy/` and the README compiles.
//!
//! A test only: it takes the files under `deploy/` and the blocks marked `toml` in pages, adds what a
//! fragment leaves out, gives made-up certificates for the files they name, and asks the `zone` crate. Read
//! next: [`problems`].

use std::collections::BTreeMap;

use zone::bundle::{Bundle, Source};
use zone::compile::{FileKind, compile, files_named};

use crate::tree::Tree;

/// What a fragment of a zone leaves out.
const ZONE_START: &str = "name = \"example.org\"\nhostnames = [\"example.org\"]\n";

/// What stands in files of a firewall's rules.
const RULE: &str = "SecAction \"id:1,phase:1,pass,nolog\"\n";

/// What stands in a list that is made anew.
const FEED: &str = "# made: 2026-11-26T12:00:00Z\n";

/// What a fragment about rules, the cache, compression, floods or the firewall leaves out.
const ZONE_END: &str = "\n[[pool]]\nname = \"app\"\norigins = [{ url = \"http://127.0.0.1:3000\" }]\n";

/// What a fragment of a node file leaves out.
const NODE_END: &str = "\n[[listener]]\naddress = \"0.0.0.0:80\"\nprotocol = \"http\"\n";

/// Blocks of TOML, each with the place it stands at.
fn blocks(tree: &Tree) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    for file in &tree.files {
        if file.path.starts_with("deploy/") && file.path.ends_with(".toml") {
            blocks.push((file.path.clone(), file.text.clone()));
        }
        let is_page = file.path.starts_with("docs/") || !file.path.contains('/');
        if !is_page || !file.path.ends_with(".md") {
            continue;
        }
        let mut block: Option<(String, String)> = None;
        for (place, line) in file.text.lines().enumerate() {
            match &mut block {
                None if line.trim() == "```toml" => {
                    block = Some((format!("{}:{}", file.path, place + 1), String::new()));
                }
                Some(_) if line.trim() == "```" => blocks.extend(block.take()),
                Some((_, text)) => {
                    text.push_str(line);
                    text.push('\n');
                }
                None => {}
            }
        }
    }
    blocks
}

/// What the `zone` crate says against one example.
fn problems(place: &str, text: &str) -> Vec<String> {
    let source = |text: String| Source { name: place.to_owned(), bytes: text.into_bytes() };
    let found = if ["[node]", "[[listener]]", "[admin]", "[log]"].iter().any(|table| text.contains(table)) {
        let end = if text.contains("[[listener]]") { "" } else { NODE_END };
        zone::node::compile_node(&source(format!("{text}{end}"))).err()
    } else {
        let start = if text.contains("hostnames") { "" } else { ZONE_START };
        let is_about = |table| text.contains(table) && !text.contains("[[pool]]");
        let parts = [
            "[[rule]]",
            "_limit]]",
            "[cache]",
            "[compression]",
            "[flood]",
            "[waf]",
            "[waf.shadow]",
            "[[waf.exception]]",
        ];
        let is_part = parts.into_iter().any(is_about);
        let end = if is_part { ZONE_END } else { "" };
        let specs = vec![source(format!("{start}{text}{end}"))];
        let signed = rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
        let (certificate, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
        let mut files = BTreeMap::new();
        for named in files_named(&specs, None) {
            match named.kind {
                FileKind::PrivateKey => continue,
                FileKind::Rules => files.insert(named.path, RULE.as_bytes().to_vec()),
                FileKind::Feed => files.insert(named.path, FEED.as_bytes().to_vec()),
                _ => files.insert(named.path, certificate.clone().into_bytes()),
            };
        }
        compile(&Bundle::new(specs, None, files), 1, &|_| Some(key.clone().into_bytes())).err()
    };
    found.unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn every_example_compiles() {
    let tree = Tree::read().unwrap();
    let blocks = blocks(&tree);
    assert!(blocks.len() >= 5, "only {} examples were found", blocks.len());
    let found: Vec<String> = blocks.iter().flat_map(|(place, text)| problems(place, text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_wrong_example_is_found() {
    assert_ne!(problems("x", "hostname = [\"a\"]\n"), Vec::<String>::new());
    assert_ne!(problems("x", "[node]\nthread = 1\n"), Vec::<String>::new());
}
