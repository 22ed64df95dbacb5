//! Drills with bytes that are broken: zone files, rules, lists, error pages, certificates, kept generations
//! (D1); good and bad in turn (D2).
//!
//! Each way to break a file is one of [`Poison`], with what must be said of it; what is judged is that the
//! node serves on as before and names file and reason once. Bytes that are another file in good order are no
//! poison: an error page of any bytes, a list that ends a line early. Read next: [`super::starts`].

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Run;
use super::authority::Authority;
use super::load::{Load, in_words, wait_until};
use super::node::{Node, NodeText, PATIENCE, Told, answering};
use super::origin::Origin;
use super::report::Outcome;
use crate::clock;

/// Requests a second beside it.
const RATE: u64 = 100;

/// How soon an event must name what is broken.
const SOON: Duration = Duration::from_secs(1);

/// Between two files: a node tells of one event name at most ten times a second, and holds back the others.
const PACE: Duration = Duration::from_millis(125);

/// Levels of what is nested without end.
const LEVELS: usize = 100_000;

/// Entries of a list over its limit: what `rules` takes, and one.
const ENTRIES: usize = 1_000_001;

/// A file that is broken, how, and what must be said of it.
struct Poison {
    how: &'static str,
    /// None: the file is not there.
    bytes: Option<Vec<u8>>,
    reason: &'static str,
}

fn poison(how: &'static str, bytes: impl Into<Vec<u8>>, reason: &'static str) -> Poison {
    Poison { how, bytes: Some(bytes.into()), reason }
}

fn gone() -> Poison {
    Poison { how: "not there", bytes: None, reason: "No such file" }
}

fn cut(whole: &[u8]) -> Vec<u8> {
    // Two thirds, so that it ends within something.
    whole.get(..whole.len() * 2 / 3).unwrap_or_default().to_vec()
}

/// Flips a bit in the byte at a place.
fn flipped(whole: &[u8], place: usize, bit: u8) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= bit;
    }
    bytes
}

/// What the zone that is poisoned names: a file of each kind.
const TABLES: &str = r#"[tls]
certificate = "../certs/a.pem"
private_key = "../certs/a.key"
[[list]]
name = "blocked"
kind = "ip"
file = "../lists/blocked.txt"
[[rule]]
expression = 'ip.src in $blocked'
action = "block"
[[error_page]]
status = 403
file = "../pages/403.html"
[[route]]"#;

fn naming_all() -> String {
    answering("a", "one").replace("[[route]]", TABLES)
}

const LIST: &str = "192.0.2.0/24\n198.51.100.0/24\n203.0.113.0/24\n";

fn zone_files(whole: &str) -> Vec<Poison> {
    let names = whole.find("hostnames").unwrap_or(0);
    let many: Vec<String> =
        (0..=zone::limits::HOSTNAMES_MAX).map(|number| format!("\"h{number}.example\"")).collect();
    let many = whole.replace("[\"a.example\"]", &format!("[{}]", many.join(", ")));
    let oversized = format!("{whole}\n#{}", "x".repeat(zone::limits::SPEC_BYTES_MAX));
    vec![
        poison("cut", cut(whole.as_bytes()), "string values must be quoted"),
        poison("empty", "", "the zone needs `hostnames`"),
        poison("zeros", vec![0; 4096], "invalid unquoted key"),
        poison("one bit flipped", flipped(whole.as_bytes(), names, 1), "the zone needs `hostnames`"),
        poison("nested without end", format!("x = {}", "[".repeat(LEVELS)), "max recursion depth met"),
        poison("nested in its names", format!("{} = 1\n", vec!["a"; LEVELS].join(".")), "recursion limit"),
        poison("twice", whole.repeat(2), "unknown setting `hostnames`"),
        poison("ten times", whole.repeat(10), "unknown setting `hostnames`"),
        poison("of an unknown version", format!("version = 99\n{whole}"), "unknown setting `version`"),
        poison("a byte over its limit", oversized, "it has over 1048576 bytes"),
        poison("a name over its limit", many, "more than 1000 hostnames"),
        poison("no text", vec![0xff; 512], "not UTF-8"),
    ]
}

/// The zone file with something wrong in its rule alone.
fn rules(whole: &str) -> Vec<Poison> {
    let with = |expression: &str| whole.replace("ip.src in $blocked", expression);
    let one = "[[rule]]\nexpression = 'true'\naction = \"log\"\n";
    let many = whole.replace("[[route]]", &format!("{}[[route]]", one.repeat(zone::limits::RULES_MAX)));
    let deep = |levels: usize| with(&format!("{}true{}", "(".repeat(levels), ")".repeat(levels)));
    vec![
        poison("rule cut", with("ip.src in"), "the end follows `in`"),
        poison("rule empty", with(""), "the end stands where a condition should"),
        poison("rule with one bit flipped", with("ip.srb in $blocked"), "there is no field `ip.srb`"),
        poison("rule nested too deep", deep(1_000), "nested deeper than 64"),
        poison("rule nested without end", deep(LEVELS), "at most 4096 are allowed"),
        poison("rule with an unknown action", whole.replace("\"block\"", "\"blok\""), "no action `blok`"),
        poison("rule with a list that is not there", with("ip.src in $other"), "there is no list `$other`"),
        poison(
            "rule with an expression that grows",
            with("http.request.uri.path matches \"(a{1000}){1000}\""),
            "the regular expression is too large",
        ),
        poison("a rule over their limit", many, "more than 20000 rules"),
    ]
}

fn lists(whole: &str) -> Vec<Poison> {
    let entry = |number: usize| format!("10.{}.{}.{}\n", number >> 16, number >> 8 & 255, number & 255);
    vec![
        gone(),
        poison("cut within a line", whole.replace("113.0/24\n", ""), "line 3: `203.0.` is not an address"),
        poison("zeros", vec![0; 4096], "the entry is longer than 1024 bytes"),
        poison(
            "one bit flipped",
            flipped(whole.as_bytes(), 0, 1),
            "line 1: `092.0.2.0/24` is not an address",
        ),
        poison("of another kind", "a.example\n", "line 1: `a.example` is not an address"),
        poison("a line without end", "1".repeat(LEVELS), "the entry is longer than 1024 bytes"),
        poison("an entry over its limit", (0..ENTRIES).map(entry).collect::<String>(), "more than 1000000"),
        poison("a byte over its limit", vec![b'#'; zone::limits::FILE_BYTES_MAX + 1], "at most 32 MiB"),
    ]
}

fn pages() -> Vec<Poison> {
    let limit = zone::limits::FILE_BYTES_MAX;
    vec![gone(), poison("a byte over the limit of files", vec![b' '; limit + 1], "at most 32 MiB")]
}

fn certificates(whole: &str, other_key: &str) -> Vec<Poison> {
    let many = whole.repeat(zone::limits::CERTIFICATES_MAX + 1);
    let unknown = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    vec![
        gone(),
        poison("cut", cut(whole.as_bytes()), "missing section end marker"),
        poison("empty", "", "there is no certificate in it"),
        poison("one bit flipped", flipped(whole.as_bytes(), whole.len() / 2, 0x80), "base64 decode error"),
        poison(
            "nested without end",
            "-----BEGIN CERTIFICATE-----\n".repeat(10_000),
            "missing section end marker",
        ),
        poison("of an unknown kind", unknown, "a certificate in it cannot be used"),
        poison("a certificate over its limit", many, "more than 2000 certificates"),
        poison("a byte over its limit", vec![b'\n'; zone::limits::FILE_BYTES_MAX + 1], "at most 32 MiB"),
        poison("a key in its place", other_key, "there is no certificate in it"),
    ]
}

fn bundles(whole: &[u8]) -> Vec<Poison> {
    vec![
        poison("cut", cut(whole), "is cut off"),
        poison("empty", "", "this is no bundle"),
        poison("zeros", vec![0; whole.len()], "this is no bundle"),
        poison("one bit flipped", flipped(whole, whole.len() / 2, 1), "its hash does not match"),
        poison("one bit of its hash flipped", flipped(whole, 30, 1), "its hash does not match"),
        poison("twice", whole.repeat(2), "something follows it"),
        poison("ten times", whole.repeat(10), "something follows it"),
        poison("of an unknown version", flipped(whole, 11, 0x40), "schema 65"),
    ]
}

/// D1.
pub(super) fn poisoned(run: &Run, outcome: &mut Outcome) -> Result<()> {
    published(run, outcome)?;
    kept(run, outcome)
}

/// What was published broken, and the events that came from then until the next was.
struct Attempt {
    /// The file that must be named.
    file: &'static str,
    how: &'static str,
    reason: &'static str,
    from: usize,
    took: Duration,
}

/// Zone files and what they name, under load.
fn published(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let authority = Authority::make()?;
    let (leaf, other) = (authority.leaf(&["a.example"])?, authority.leaf(&["b.example"])?);
    let folder = run.folder("node", &NodeText { has_tls: true, ..NodeText::default() })?;
    let zone = naming_all();
    let certificate = leaf.certificate.as_bytes();
    folder.write("certs/a.pem", certificate)?;
    folder.write("certs/a.key", leaf.key.as_bytes())?;
    folder.write("lists/blocked.txt", LIST.as_bytes())?;
    folder.write("pages/403.html", b"<p>no")?;
    folder.zone("a", &zone)?;
    folder.zone("b", &answering("b", "two"))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (edge, serves) = (node.edge()?, node.status()?["snapshot"].clone());
    let load = Load::begin(&node.target("a.example")?, RATE)?;
    let page = vec![b' '; zone::limits::ANSWER_BYTES_MAX + 1];
    let page = poison("a page over its limit", page, "the page is larger than 262144 bytes");
    let text = poison("a list that is no text", vec![0xff; 512], "the list `");
    let files = [
        ("zones/a.toml", "a.toml", zone.as_bytes(), zone_files(&zone)),
        ("zones/a.toml", "a.toml", zone.as_bytes(), rules(&zone)),
        ("lists/blocked.txt", "blocked.txt", LIST.as_bytes(), lists(LIST)),
        ("pages/403.html", "403.html", b"<p>no", pages()),
        // Of these two the place is told where the zone names the file.
        ("pages/403.html", "a.toml", b"<p>no", vec![page]),
        ("lists/blocked.txt", "a.toml", LIST.as_bytes(), vec![text]),
        ("certs/a.pem", "a.pem", certificate, certificates(&leaf.certificate, &other.key)),
    ];
    let mut attempts = Vec::new();
    for (path, file, whole, poisons) in files {
        for poison in poisons {
            match &poison.bytes {
                Some(bytes) => folder.write(path, bytes)?,
                None => fs::remove_file(folder.at(path))?,
            }
            attempts.push(refused(&node, file, poison.how, poison.reason, outcome)?);
        }
        folder.write(path, whole)?;
    }
    folder.zone("c", &zone)?;
    attempts.push(refused(
        &node,
        "c.toml",
        "the same zone in a second file",
        "another zone is named",
        outcome,
    )?);
    folder.remove_zone("c")?;
    let whole = node.mark();
    let (is_taken, said) = node.publish(&[])?;
    outcome.check("whole files are taken again", is_taken, said);
    // Events come in their order: once this one is there, so are all before it.
    node.wait_for(whole, "published")?;
    let ends = attempts.iter().skip(1).map(|attempt| attempt.from).chain([whole]);
    let told = node.since(0);
    for (attempt, end) in attempts.iter().zip(ends) {
        judge(attempt, told.get(attempt.from..end).unwrap_or_default(), outcome);
    }
    let slowest = attempts.iter().map(|attempt| attempt.took).max().unwrap_or_default();
    outcome.figure("files_poisoned", attempts.len());
    outcome.figure("slowest_event_ms", u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX));
    outcome.check_time("each event comes soon", slowest, SOON);
    outcome.add_unharmed("poisoned files: no request fails", load.end());
    let status = node.status()?;
    let stays = status["edge_pid"] == edge && status["snapshot"] == serves;
    outcome.check("no process ended, and the version before is live", stays, &status["snapshot"]);
    outcome.check("the node ends cleanly", node.stop()?, "");
    Ok(())
}

/// Publishes files of which one is broken, and waits for the event.
fn refused(
    node: &Node,
    file: &'static str,
    how: &'static str,
    reason: &'static str,
    outcome: &mut Outcome,
) -> Result<Attempt> {
    thread::sleep(PACE);
    let (from, begun) = (node.mark(), clock::now());
    let (is_taken, said) = node.publish(&[])?;
    let is_told = said.contains(file) && said.contains(reason);
    let first: String = said.lines().next().unwrap_or_default().chars().take(160).collect();
    let what = format!("{file} {how}: refused, and the command names file and reason");
    outcome.check(&what, !is_taken && is_told, first);
    let mut first = None;
    wait_until(PATIENCE, || {
        first = node.since(from).into_iter().find(names(file));
        first.is_some()
    });
    let took = first.map_or(PATIENCE, |told| told.at.saturating_duration_since(begun));
    Ok(Attempt { file, how, reason, from, took })
}

fn names(file: &str) -> impl Fn(&Told) -> bool {
    move |told| told.event.to_string().contains(file)
}

/// Exactly one event tells of it, and it names file and reason.
fn judge(attempt: &Attempt, told: &[Told], outcome: &mut Outcome) {
    let Attempt { file, how, reason, .. } = attempt;
    let bad: Vec<&Told> =
        told.iter().filter(|told| names(file)(told) || told.event["level"] != "info").collect();
    let is_named =
        bad.iter().all(|told| names(file)(told) && told.event["problems"].to_string().contains(reason));
    let found = bad.iter().map(|told| told.event["event"].to_string()).collect::<Vec<_>>().join(", ");
    let what = format!("{file} {how}: one event names file and reason");
    outcome.check(&what, bad.len() == 1 && is_named, found);
}

/// Kept generations, at starts.
fn kept(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let text = NodeText { node: "spare = false\n", ..NodeText::default() };
    let folder = run.folder("kept", &text)?;
    folder.zone("a", &answering("a", "one"))?;
    let node = folder.start()?;
    folder.zone("a", &answering("a", "two"))?;
    let (is_taken, said) = node.publish(&[])?;
    ensure!(is_taken, "the second change should pass: {said}");
    node.stop()?;
    folder.zone("a", "broken")?;
    let newest = folder.newest_generation()?;
    let name = newest.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let whole = fs::read(&newest)?;
    for Poison { how, bytes, reason } in bundles(&whole) {
        fs::write(&newest, bytes.unwrap_or_default())?;
        let node = folder.start().with_context(|| format!("generation {how}"))?;
        let answer = node.target("a.example")?.ask("/", "");
        let serves = answer.as_ref().is_ok_and(|(status, body)| *status == 200 && body == "one");
        outcome.check(&format!("generation {how}: the one before serves"), serves, in_words(&answer));
        let (is_taken, said) = node.publish(&[])?;
        ensure!(!is_taken, "the files are broken: {said}");
        // Once this one is there, so are all before it.
        node.wait_for(0, "publish_refused")?;
        let told = node.told(0, "kept_generation_unusable");
        let causes: Vec<String> = told.iter().map(|told| told.event["cause"].to_string()).collect();
        let is_named = causes.iter().all(|cause| cause.contains(&name) && cause.contains(reason));
        let what = format!("generation {how}: one event names it and the reason");
        outcome.check(&what, causes.len() == 1 && is_named, causes.join(", "));
        node.stop()?;
    }
    fs::write(&newest, &whole)?;
    Ok(())
}

/// Good and bad changes of D2, each.
const PAIRS: u32 = 2;

/// A zone of D2, with a text of its own; all else is passed to the origin.
fn version(text: &str, origin: std::net::SocketAddr) -> String {
    format!(
        "name = \"a\"\nhostnames = [\"a.example\"]\n[[pool]]\nname = \"app\"\norigins = [{{ url = \
         \"http://{origin}\" }}]\n[[route]]\npath = \"/version\"\nanswer = {{ status = 200, body = \"{text}\" }}\n\
         [[route]]\npool = \"app\"\n"
    )
}

/// What became of the changes of D2.
#[derive(Default)]
struct Published {
    all: u64,
    bad: u64,
    bad_taken: u64,
    /// Bad ones refused as withdrawn before.
    withdrawn_before: u64,
    /// The number that was live after each.
    numbers: Vec<u64>,
}

/// D2: good and bad in turn, of each two.
pub(super) fn alternating(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    let publish =
        "[publish]\ncompare_ms = 0\ncanary_percent = 50\ncanary_ms = 500\nsoak_ms = 0\nrequests_min = 10\n";
    let folder = run.folder("node", &NodeText { more: publish.to_owned(), ..NodeText::default() })?;
    folder.zone("a", &version("good 0", origin.address()))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (edge, target) = (node.edge()?, node.target("a.example")?);
    let load = Load::begin(&target, RATE)?;
    load.wait_for(RATE);
    let (mut published, mut as_good) = (Published { numbers: vec![1], ..Published::default() }, 0_u64);
    for pair in 1..=PAIRS {
        // A port of the system's own where nothing listens: every answer would be a 502.
        let bad = version(&format!("bad {pair}"), ([127, 0, 0, 1], 1).into());
        let text = format!("good {pair}");
        let good = version(&text, origin.address());
        let (until, first) = (clock::now() + run.lasting / PAIRS, published.all);
        // Each of them twice at least: the second time is what the drill is about.
        while clock::now() < until || published.all < first + 4 {
            let next = clock::now() + Duration::from_secs(1).min(run.lasting / 8);
            let is_bad = published.all.is_multiple_of(2);
            folder.zone("a", if is_bad { &bad } else { &good })?;
            let (is_taken, said) = node.publish(&[])?;
            published.all += 1;
            if is_bad {
                published.bad += 1;
                published.bad_taken += u64::from(is_taken);
                published.withdrawn_before += u64::from(said.contains("withdrawn before"));
            } else {
                if !is_taken {
                    outcome.check("a good change is taken", false, said);
                }
                as_good += u64::from(target.ask("/version", "").is_ok_and(|(_, body)| body == text));
            }
            published.numbers.push(node.status()?["snapshot"].as_u64().unwrap_or(0));
            thread::sleep(next.saturating_duration_since(clock::now()));
        }
    }
    let Published { all, bad, bad_taken, withdrawn_before, numbers } = published;
    let changes = numbers.windows(2).filter(|pair| pair.first() != pair.last()).count();
    outcome.figure("publishes", all);
    outcome.figure("live_version_changes", changes);
    let pairs = usize::try_from(PAIRS)?;
    outcome.check("the live version changes once for each good change", changes == pairs, changes);
    outcome.check("and visitors get it", as_good == all - bad, format!("{as_good} of {}", all - bad));
    outcome.check("a bad one is never taken", bad_taken == 0, bad_taken);
    let withdrawn = node.told(0, "withdrawn").len();
    outcome.check("each bad one is withdrawn, once", withdrawn == pairs, withdrawn);
    let again = bad - u64::from(PAIRS);
    let found = format!("{withdrawn_before} of {again}");
    outcome.check("from then on it is refused as withdrawn before", withdrawn_before == again, found);
    let status = node.status()?;
    let rejected = status["rejected"].as_array().map_or(0, Vec::len);
    outcome.check("each bad one is remembered, once", rejected == pairs, rejected);
    outcome.check("no process ended", status["edge_pid"] == edge, edge);
    let (refused, failed) = outcome.add(load.end());
    outcome.figure("failed_at_the_candidate", failed);
    outcome.check("no connection is refused", refused == 0, refused);
    // Half of the visitors for the half second that each candidate served, with room for a busy machine.
    let most = RATE * u64::from(PAIRS);
    let found = format!("{failed} of at most {most}");
    outcome.check("only the candidates' shares saw them, and once", failed as u64 <= most, found);
    Ok(())
}
