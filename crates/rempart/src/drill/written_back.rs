//! D25: all that a node has is read, and written back: there, and to a node that never had it.
//!
//! What can be read of a node is what its generations keep (`rempart recover`) and its blocks
//! (`rempart blocks`). Private keys are in neither, on purpose: whoever writes back puts them there. Read
//! next: [`crate::recovering`].

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::ClientConfig;
use telemetry::time::TimeText;

use super::Run;
use super::authority::Authority;
use super::load::{Load, Target};
use super::node::{AT_ONCE, Node, NodeFolder, NodeText, answering, command, passing};
use super::origin::Origin;
use super::report::Outcome;

/// Requests a second beside it.
const RATE: u64 = 100;

/// What the node file has that zones are compiled with.
const TABLES: &str = "[zone_defaults]\nserver_timing = false\n[geo]\ncountry = \"geo/country.mmdb\"\n";

/// A key that the zone file itself has, for its origin.
const SECRET: &str = "key-of-the-origin-0b5d";

/// Blocks of the command log: with what a person may write.
const BLOCKS: [(&str, &str); 3] =
    [("192.0.2.0/24", "two  words, \"quoted\" | and \\"), ("2001:db8::/32", "é, ☂"), ("198.51.100.7/32", "")];

/// What visitors ask for: each shows a file or a rule.
const ASKED: [(&str, &str); 9] = [
    ("a.example", "/"),
    ("a.example", "/listed"),
    ("a.example", "/dated"),
    ("a.example", "/here"),
    ("a.example", "/?q=evil"),
    ("a.example", "/?q=word-of-the-file"),
    ("b.example", "/"),
    ("b.example", "/gone"),
    ("c.example", "/"),
];

/// Every file, by path below the node's folder; one that is elsewhere by its whole path.
struct Files {
    all: BTreeMap<PathBuf, Vec<u8>>,
    elsewhere: PathBuf,
    client: Arc<ClientConfig>,
    /// The origin, which lives as long.
    origin: Origin,
}

/// Files of private keys, and what a generation has of them.
const KEY: &str = "certs/a.key";
const CHAIN_AND_KEY: &str = "certs/both.pem";

/// How a private key begins (RFC 7468 §10).
const BEGINS_KEY: &[u8] = b"-----BEGIN PRIVATE KEY";

/// D25: read, and written back.
pub(super) fn written_back(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let files = Files::make(run)?;
    let folder = run.folder("node", &text())?;
    files.write(&folder)?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    for (range, reason) in BLOCKS {
        let said = node.command(&["block", range, "--for", "3600", "--reason", reason])?;
        ensure!(said.status.success(), "{range} is not blocked");
    }
    let load = Load::begin(&node.target("c.example")?, RATE)?;
    let (before, hash) = (answers(&node, &files)?, node.status()?["hash"].clone());
    let refused = before.iter().filter(|answer| answer.starts_with("403")).count();
    outcome.check("each file is of use to a visitor", refused == 6, before.join("; "));
    read(&folder, &files, outcome)?;
    no_key_in(&folder.at("data"), &files, outcome)?;
    put_back(&folder, &files)?;
    let (is_taken, said) = node.publish(&["--dry-run"])?;
    let first = said.lines().next().unwrap_or_default();
    outcome.check(
        "written back, nothing would change",
        is_taken && first == "nothing would change",
        said.clone(),
    );
    let (is_taken, said) = node.publish(&[])?;
    let is_same = is_taken && said.contains("the files say the same") && node.status()?["hash"] == hash;
    outcome.check("published, it is the same generation", is_same, said);
    outcome.add_unharmed("all the while: no request fails", load.end());
    let after = answers(&node, &files)?;
    outcome.check("every answer is as before", after == before, after.join("; "));
    elsewhere(run, &node, &files, &before, outcome)
}

fn text() -> NodeText {
    NodeText { has_tls: true, more: format!("{AT_ONCE}{TABLES}"), ..NodeText::default() }
}

impl Files {
    fn make(run: &Run) -> Result<Self> {
        let authority = Authority::make()?;
        let (own, both) = (authority.leaf(&["a.example"])?, authority.leaf(&["b.example"])?);
        let of_origin = authority.leaf(&["origin.example"])?;
        let origin = Origin::start("from the origin", Some(of_origin.server()?))?;
        let elsewhere = run.path("elsewhere").join("gone, but kept.html");
        let pass = passing("a", &["a.example"], origin.address()).replace("http://", "https://");
        let a =
            format!("{pass}tls = {{ ca = \"../certs/ca.pem\", sni = \"origin.example\" }}\n{}", a_tables());
        let b = answering("b", "two") + &b_tables(&elsewhere);
        let mut time = TimeText::new();
        let made = String::from_utf8_lossy(time.text(crate::clock::unix_us())).into_owned();
        let undated = "# a list that does not say when it was made\n/dated\n";
        let all: [(&str, Vec<u8>); 14] = [
            ("zones/a.toml", a.into()),
            ("zones/b.toml", b.into()),
            ("zones/c.toml", answering("c", "three").into()),
            ("certs/ca.pem", authority.pem.clone().into()),
            ("certs/a.pem", own.certificate.into()),
            (KEY, own.key.into()),
            (CHAIN_AND_KEY, (both.certificate + &both.key).into()),
            ("lists/listed.txt", format!("# made: {made}\r\n/listed\r\n").into()),
            ("lists/dated list.txt", undated.into()),
            ("pages/403.html", b"<p>no\xff\x00 {{</p>".to_vec()),
            ("geo/country.mmdb", mmdb()),
            ("waf/10-own.conf", WAF.into()),
            ("waf/words.data", b"word-of-the-file\n".to_vec()),
            ("waf/20-empty.conf", Vec::new()),
        ];
        let mut all: BTreeMap<PathBuf, Vec<u8>> =
            all.into_iter().map(|(path, bytes)| (PathBuf::from(path), bytes)).collect();
        all.insert(elsewhere.clone(), b"<p>gone</p>".to_vec());
        Ok(Self { all, elsewhere, client: authority.client()?, origin })
    }

    /// Writes all of them; the absolute one goes where it belongs.
    fn write(&self, folder: &NodeFolder) -> Result<()> {
        ensure!(self.origin.asked() == 0, "nobody has asked yet");
        self.all.iter().try_for_each(|(path, bytes)| {
            // What is absolute stays so.
            folder.write(&path.display().to_string(), bytes)
        })
    }

    /// The first line of the private key in a file: of what tells it from any other.
    fn line_of_key(&self, path: &str) -> Result<&[u8]> {
        let bytes = self.all.get(Path::new(path)).with_context(|| format!("no file {path}"))?;
        let begins = place_of(bytes, BEGINS_KEY).with_context(|| format!("no key in {path}"))?;
        let line = bytes.get(begins..).and_then(|key| key.split(|byte| *byte == b'\n').nth(1));
        line.with_context(|| format!("no line of the key in {path}"))
    }

    /// What a generation has of a file; none of a private key.
    fn kept(&self, path: &Path) -> Option<Vec<u8>> {
        let bytes = self.all.get(path)?;
        if path == Path::new(KEY) {
            return None;
        }
        let key = place_of(bytes, BEGINS_KEY).filter(|_| path == Path::new(CHAIN_AND_KEY));
        Some(bytes.get(..key.unwrap_or(bytes.len())).unwrap_or_default().to_vec())
    }
}

/// Where a word is in some bytes.
fn place_of(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window == word)
}

/// Rules in the language of ModSecurity, with a file of their own.
const WAF: &str = "SecRule ARGS \"@contains evil\" \"id:1,phase:1,deny,status:403\"\n\
                   SecRule ARGS \"@pmFromFile words.data\" \"id:2,phase:1,deny,status:403\"\n";

fn a_tables() -> String {
    let rule = |name: &str, expression: &str| {
        format!("[[rule]]\nname = \"{name}\"\nexpression = '{expression}'\naction = \"block\"\n")
    };
    let list = |name: &str, file: &str, more: &str| {
        format!("[[list]]\nname = \"{name}\"\nkind = \"string\"\nfile = \"../lists/{file}\"\n{more}")
    };
    [
        "[tls]\ncertificate = \"../certs/a.pem\"\nprivate_key = \"../certs/a.key\"\n".to_owned(),
        "[[error_page]]\nstatus = 403\nfile = \"../pages/403.html\"\n".to_owned(),
        "[waf]\nmode = \"block\"\nrules = [\"../waf\"]\n".to_owned(),
        list("listed", "listed.txt", "horizon_s = 31536000\n"),
        list("dated", "dated list.txt", "horizon_s = 31536000\nafter_horizon = \"empty\"\n"),
        rule("listed", "http.request.uri.path in $listed"),
        rule("dated", "http.request.uri.path in $dated"),
        rule("here", "http.request.uri.path eq \"/here\" and ip.src.country eq \"GB\""),
        format!(
            "[[rule]]\nname = \"key\"\nphase = \"http_request_late_transform\"\nexpression = 'true'\n\
             action = \"rewrite\"\n\
             rewrite = {{ headers = [{{ name = \"X-Api-Key\", set = \"{SECRET}\" }}] }}\n"
        ),
    ]
    .concat()
}

fn b_tables(elsewhere: &Path) -> String {
    format!(
        "[tls]\ncertificate = \"../certs/both.pem\"\nprivate_key = \"../certs/both.pem\"\n\
         [[error_page]]\nstatus = 403\nfile = {elsewhere:?}\n\
         [[rule]]\nname = \"gone\"\nexpression = 'http.request.uri.path eq \"/gone\"'\naction = \"block\"\n"
    )
}

/// A file of address data in which half of all IPv4 addresses, those of this machine among them, are in one
/// country (MaxMind DB format 2.0).
fn mmdb() -> Vec<u8> {
    let small = |number: u8| vec![0xa1, number];
    // One node: its left record leads to the data behind 16 bytes of separator, its right one to nothing.
    let tree = [0, 0, 17, 0, 0, 1];
    let data = [&[0xe1][..], string("country_code").as_slice(), &string("GB")].concat();
    let epoch = [&[0x08, 0x02][..], &1_795_694_400_u64.to_be_bytes()].concat();
    let members: [(&str, Vec<u8>); 9] = [
        ("node_count", vec![0xc1, 1]),
        ("record_size", small(24)),
        ("ip_version", small(4)),
        ("database_type", string("Drill")),
        ("languages", vec![0x00, 0x04]),
        ("binary_format_major_version", small(2)),
        ("binary_format_minor_version", vec![0xa0]),
        ("build_epoch", epoch),
        ("description", vec![0xe0]),
    ];
    let members: Vec<u8> =
        members.into_iter().flat_map(|(name, value)| [string(name), value].concat()).collect();
    [&tree[..], &[0; 16], &data, b"\xab\xcd\xefMaxMind.com", &[0xe9], &members].concat()
}

/// A name of up to 28 bytes.
fn string(name: &str) -> Vec<u8> {
    [&[0x40 | name.len() as u8], name.as_bytes()].concat()
}

/// What visitors get, in the clear and over TLS.
fn answers(node: &Node, files: &Files) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for (host, path) in ASKED {
        let (status, body) = node.target(host)?.ask(path, "")?;
        all.push(format!("{status} {body:?}"));
        if host != "c.example" {
            let secure = Target::secured(node.address("https")?, host, &files.client);
            let over_tls = secure.ask(path, "").with_context(|| format!("{host}{path} over TLS"))?;
            ensure!(over_tls == (status, body), "{host}{path} differs over TLS: {over_tls:?}");
        }
    }
    Ok(all)
}

/// Every file below a folder, by path.
fn below(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let (mut all, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => open.push(entry.path()),
                kind if kind.is_file() => {
                    let path = entry.path();
                    all.insert(path.strip_prefix(folder)?.to_owned(), fs::read(&path)?);
                }
                _ => {}
            }
        }
    }
    Ok(all)
}

/// `recover` writes all there is, byte by byte, and says what it has not.
fn read(folder: &NodeFolder, files: &Files, outcome: &mut Outcome) -> Result<()> {
    for name in ["recovered", "recovered-again"] {
        let into = folder.at(name);
        let said = command(folder, &["recover", "--into", &into.display().to_string()])?;
        let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        let is_told =
            text.contains("certs/a.key is a private key") && text.contains("certs/both.pem is a private key");
        let is_told = is_told && text.contains("was elsewhere") && text.contains("node-file-tables.toml has");
        outcome.check(
            "`recover` says what it has and has not",
            said.status.success() && is_told,
            text.trim_end(),
        );
        let found = below(&into)?;
        let mut wanted: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
        for path in files.all.keys() {
            let place = match path.strip_prefix("/") {
                Ok(rest) => Path::new("elsewhere").join(rest),
                Err(_) => path.clone(),
            };
            wanted.extend(files.kept(path).map(|bytes| (place, bytes)));
        }
        wanted.insert("node-file-tables.toml".into(), TABLES.as_bytes().to_vec());
        let differing: Vec<_> = wanted
            .keys()
            .chain(found.keys())
            .filter(|path| wanted.get(*path) != found.get(*path))
            .map(|path| path.display().to_string())
            .collect();
        outcome.check(
            "they are all files, byte by byte, but for private keys",
            differing.is_empty(),
            differing.join(", "),
        );
    }
    Ok(())
}

/// No private key is anywhere that the node writes, and nobody else may read what it writes.
fn no_key_in(data: &Path, files: &Files, outcome: &mut Outcome) -> Result<()> {
    let found = below(data)?;
    for path in [KEY, CHAIN_AND_KEY] {
        let line = files.line_of_key(path)?;
        let with_key: Vec<_> = found
            .iter()
            .filter(|(_, bytes)| place_of(bytes, line).is_some())
            .map(|(path, _)| path.display().to_string())
            .collect();
        let what = format!("the private key of {path} is not in the data folder");
        outcome.check(&what, with_key.is_empty(), format!("{} files; {}", found.len(), with_key.join(", ")));
    }
    let with_secret: Vec<_> =
        found.iter().filter(|(_, bytes)| place_of(bytes, SECRET.as_bytes()).is_some()).collect();
    let is_hidden = |path: &Path| {
        fs::metadata(data.join(path)).is_ok_and(|found| found.permissions().mode() & 0o077 == 0)
    };
    let is_safe = !with_secret.is_empty() && with_secret.iter().all(|(path, _)| is_hidden(path));
    let is_closed = fs::metadata(data)?.permissions().mode() & 0o077 == 0;
    let found = format!("{} files with it, for their user alone", with_secret.len());
    outcome.check(
        "what zone files have of secrets is for the node's user alone",
        is_safe || is_closed,
        found,
    );
    Ok(())
}

/// Everything is moved away, and what was recovered takes its place; keys come from elsewhere.
fn put_back(folder: &NodeFolder, files: &Files) -> Result<()> {
    for name in ["zones", "certs", "lists", "pages", "geo", "waf"] {
        fs::rename(folder.at(name), folder.at(&format!("was-{name}")))?;
        fs::rename(folder.at("recovered").join(name), folder.at(name))?;
    }
    let page = &files.elsewhere;
    fs::remove_file(page)?;
    fs::copy(folder.at("recovered/elsewhere").join(page.strip_prefix("/")?), page)?;
    put_keys(folder, files)
}

fn put_keys(folder: &NodeFolder, files: &Files) -> Result<()> {
    [KEY, CHAIN_AND_KEY].iter().try_for_each(|path| {
        let bytes = files.all.get(Path::new(path)).context("a key of its own")?;
        folder.write(path, bytes)
    })
}

/// A node that never had any of it.
fn elsewhere(run: &Run, node: &Node, files: &Files, before: &[String], outcome: &mut Outcome) -> Result<()> {
    let recovered = node.folder().at("recovered-again");
    let tables = fs::read_to_string(recovered.join("node-file-tables.toml"))?;
    let other = run.folder("other", &NodeText { more: format!("{AT_ONCE}{tables}"), ..text() })?;
    for (path, bytes) in below(&recovered)? {
        other.write(&path.display().to_string(), &bytes)?;
        let changed = fs::metadata(recovered.join(&path))?.modified()?;
        fs::File::options().write(true).open(other.at(&path.display().to_string()))?.set_modified(changed)?;
    }
    put_keys(&other, files)?;
    let said = command(&other, &["check"])?;
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    outcome.check(
        "another node takes them",
        said.status.success() && text.contains(" 0 warnings"),
        text.trim_end(),
    );
    let other = other.start()?;
    let answered = answers(&other, files)?;
    outcome.check("and answers every visitor as this one", answered == before, answered.join("; "));
    let listed = blocks(node)?;
    for (range, left_s, reason) in &listed {
        let said = other.command(&["block", range, "--for", left_s, "--reason", reason])?;
        outcome.check("a block is written back", said.status.success(), range);
    }
    let again = blocks(&other)?;
    let same = |one: &(String, String, String), two: &(String, String, String)| {
        let seconds = |text: &str| text.parse::<u64>().unwrap_or(0);
        let late_s = seconds(&one.1).saturating_sub(seconds(&two.1));
        (&one.0, &one.2) == (&two.0, &two.2) && late_s < 60 && seconds(&two.1) > 0
    };
    let is_same = listed.len() == BLOCKS.len()
        && again.len() == listed.len()
        && listed.iter().zip(&again).all(|(one, two)| same(one, two))
        && listed
            .iter()
            .zip(BLOCKS)
            .all(|(one, (range, reason))| (one.0.as_str(), one.2.as_str()) == (range, reason));
    outcome.check("blocks are the same, with their reasons", is_same, format!("{again:?}"));
    outcome.check("the other node ends cleanly", other.stop()?, "");
    Ok(())
}

/// What `rempart blocks` shows: range, seconds left, reason.
fn blocks(node: &Node) -> Result<Vec<(String, String, String)>> {
    let said = node.command(&["blocks"])?;
    let text = String::from_utf8(said.stdout)?;
    let line = |line: &str| {
        let (range, rest) = line.split_once("  ")?;
        let (left, reason) = rest.split_once(" s  ")?;
        Some((range.to_owned(), left.to_owned(), reason.to_owned()))
    };
    text.lines().map(|text| line(text).with_context(|| format!("{text:?} is no block"))).collect()
}
