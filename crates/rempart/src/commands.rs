//! The commands a person runs beside a node: `check`, `publish` and what belongs to it, `status`, `trace`.
//!
//! `check` reads files and touches nothing; the others ask the running node over its command socket and
//! print what it answers. What they print to standard output is meant to be read or piped; problems go to
//! standard error. Called by `main`; read next: [`crate::messages`].

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use zone::Problem;

use crate::clock;
use crate::configuration::{Problems, data_dir, doubts, gather, outdated, read_node_file, zones_beside};
use crate::flags::{BlockRange, NodeFile, Publish, Purge, Running, Status, Trace, UnblockRange};
use crate::messages::{self, ANSWER_BYTES_MAX, Answer, Decisions, DifferenceText, Request};

/// How long a node may take to answer. A publish of 10,000 zones with fresh certificates takes seconds on a
/// small machine; what takes longer than this is stuck.
const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// Reads all files, and prints every problem or a summary.
///
/// # Errors
/// When no node file is named, or standard output is closed.
pub(crate) fn check(named: &NodeFile) -> Result<ExitCode> {
    let path = named.find()?;
    let file = match read_node_file(&path) {
        Ok(file) => file,
        Err(mut problems) => {
            problems.0.extend(problems_of_zones(&path));
            let mut told = BTreeSet::new();
            problems.0.retain(|problem| told.insert(problem.to_string()));
            return Ok(problems.print_and_refuse("a node would not take these files"));
        }
    };
    let gathered = gather(&file);
    match gathered.compile(0, None) {
        Ok(snapshot) => {
            let doubts = doubts(&file, &snapshot);
            let old = outdated(&snapshot, &gathered.bundle, clock::unix_us() / 1_000_000);
            let warnings: Vec<&Problem> =
                file.node.warnings.iter().chain(&snapshot.warnings).chain(&doubts).chain(&old).collect();
            warnings.iter().for_each(|warning| tell_lines(&format!("{warning}\n")));
            let hostnames: usize = snapshot.zones().iter().map(|zone| zone.hostnames.len()).sum();
            writeln!(
                io::stdout(),
                "{} is in order: {}, {}, {}, {}",
                path.display(),
                counted(file.node.listeners.len(), "listener"),
                counted(snapshot.zones().len(), "zone"),
                counted(hostnames, "hostname"),
                counted(warnings.len(), "warning"),
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Err(Problems(problems)) => {
            let mut all = file.node.warnings;
            all.extend(problems);
            Ok(Problems(all).print_and_refuse("a node would not take these files"))
        }
    }
}

/// What is wrong with the zones of a node file that is itself wrong; nothing if it cannot be read at all.
fn problems_of_zones(path: &Path) -> Vec<Problem> {
    zones_beside(path).map_or_else(Vec::new, |file| match gather(&file).compile(0, None) {
        Ok(snapshot) => snapshot.warnings.clone(),
        Err(Problems(problems)) => problems,
    })
}

/// Makes the running node take its files. Exit code 1 when nothing was published, or not all of it.
///
/// # Errors
/// When no node answers.
pub(crate) fn publish(wanted: &Publish) -> Result<ExitCode> {
    let request = Request::Publish {
        wait: wanted.wait,
        dry_run: wanted.dry_run,
        again: wanted.again,
        allow_removals: wanted.allow_removals,
        confirm_within_s: wanted.confirm_within,
    };
    let mut out = io::stdout();
    let answer = ask_and_follow(&socket(&wanted.running)?, &request, &mut |progress| {
        if wanted.wait {
            // A closed standard output is no reason to give up waiting.
            let _ = writeln!(out, "{progress}");
        }
    })?;
    let problems: Vec<Problem> = answer.problems.into_iter().map(Problem::from).collect();
    if !answer.ok {
        if problems.is_empty() {
            bail!("the node did not publish: {}", answer.error.unwrap_or_default());
        }
        return Ok(Problems(problems).print_and_refuse("the node serves on as before"));
    }
    problems.iter().for_each(|problem| tell_lines(&format!("{problem}\n")));
    let mut out = io::stdout();
    if wanted.dry_run {
        let difference = answer.difference.unwrap_or_default();
        write_difference(&mut out, &difference, answer.decisions.as_ref())?;
        let has_none = answer.decisions.is_some_and(|decisions| decisions.compared == 0);
        if has_none && difference != DifferenceText::default() {
            tell("no request came meanwhile on which the decisions could be compared");
        }
        answer.error.iter().for_each(|error| tell(error));
        for file in &answer.put_back {
            tell(&format!(
                "{file} has problems: its zone would be served as before, or not at all if it is new"
            ));
        }
        let is_whole = answer.error.is_none() && answer.put_back.is_empty();
        return Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let number = answer.number.unwrap_or(0);
    match (answer.changed, answer.zones) {
        (Some(false), zones) => {
            let zones = counted(zones.unwrap_or(0), "zone");
            writeln!(out, "snapshot {number} stays: the files say the same ({zones})")?;
        }
        (Some(true), zones) => {
            writeln!(out, "snapshot {number} is live: {}", counted(zones.unwrap_or(0), "zone"))?;
        }
        (None, _) => writeln!(out, "snapshot {number} is the last good one")?,
    }
    if let Some(seconds) = wanted.confirm_within {
        writeln!(out, "it is taken back in {seconds} s unless you run `rempart confirm`")?;
    }
    if answer.put_back.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for file in &answer.put_back {
        tell(&format!("{file} has problems: its zone is served as before, or not at all if it is new"));
    }
    Ok(ExitCode::FAILURE)
}

/// Writes what a change would do.
fn write_difference(
    out: &mut impl Write,
    difference: &DifferenceText,
    decisions: Option<&Decisions>,
) -> io::Result<()> {
    difference.gained.iter().try_for_each(|thing| writeln!(out, "+ {thing}"))?;
    difference.lost.iter().try_for_each(|thing| writeln!(out, "- {thing}"))?;
    difference.changed.iter().try_for_each(|zone| writeln!(out, "~ zone {zone}"))?;
    if difference == &DifferenceText::default() {
        writeln!(out, "nothing would change")?;
    }
    if let Some(decisions) = decisions.filter(|decisions| decisions.compared > 0) {
        writeln!(
            out,
            "{} of {} requests would be decided otherwise",
            decisions.differing, decisions.compared
        )?;
        decisions.examples.iter().try_for_each(|example| writeln!(out, "  {example}"))?;
    }
    Ok(())
}

/// Keeps a change that waits for this word.
///
/// # Errors
/// When no node answers, or nothing waits.
pub(crate) fn confirm(running: &Running) -> Result<ExitCode> {
    let answer = ask(&socket(running)?, &Request::Confirm {})?;
    if !answer.ok {
        bail!("{}", answer.error.unwrap_or_default());
    }
    writeln!(io::stdout(), "snapshot {} is confirmed", answer.number.unwrap_or(0))?;
    Ok(ExitCode::SUCCESS)
}

/// Takes back the change that is being watched.
///
/// # Errors
/// When no node answers, or nothing is being watched.
pub(crate) fn withdraw(running: &Running) -> Result<ExitCode> {
    let answer = ask(&socket(running)?, &Request::Withdraw {})?;
    if !answer.ok {
        bail!("{}", answer.error.unwrap_or_default());
    }
    writeln!(io::stdout(), "withdrawn; snapshot {} is live", answer.number.unwrap_or(0))?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses visitors of a range for a time.
///
/// # Errors
/// When no node answers, or the order is refused.
pub(crate) fn block(wanted: &BlockRange) -> Result<ExitCode> {
    let (range, reason) = (wanted.range.clone(), wanted.reason.clone());
    let request = Request::Block { range, for_s: wanted.for_s, reason };
    let answer = ask(&socket(&wanted.running)?, &request)?;
    if !answer.ok {
        bail!("{}", answer.error.unwrap_or_default());
    }
    writeln!(io::stdout(), "{} is blocked for {} s", wanted.range, wanted.for_s)?;
    Ok(ExitCode::SUCCESS)
}

/// Serves a blocked range again.
///
/// # Errors
/// When no node answers, or the range is not blocked.
pub(crate) fn unblock(wanted: &UnblockRange) -> Result<ExitCode> {
    let request = Request::Unblock { range: wanted.range.clone() };
    let answer = ask(&socket(&wanted.running)?, &request)?;
    if !answer.ok {
        bail!("{}", answer.error.unwrap_or_default());
    }
    writeln!(io::stdout(), "{} is served again", wanted.range)?;
    Ok(ExitCode::SUCCESS)
}

/// Shows who is blocked: range, seconds left, reason.
///
/// # Errors
/// When no node answers.
pub(crate) fn blocks(running: &Running) -> Result<ExitCode> {
    let answer = ask(&socket(running)?, &Request::Blocks {})?;
    let now_s = clock::unix_us() / 1_000_000;
    let mut out = io::stdout();
    for block in &answer.blocks {
        let left_s = block.until_unix_s.saturating_sub(now_s);
        writeln!(out, "{}  {left_s} s  {}", block.range, block.reason)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes stored answers unusable: one order each. Exit code 1 when one of them is refused; the others are
/// carried out.
///
/// # Errors
/// When no node answers.
pub(crate) fn purge(wanted: &Purge) -> Result<ExitCode> {
    use messages::Purge as Of;
    let socket = socket(&wanted.running)?;
    let whole = wanted.zone.clone().filter(|_| wanted.tag.is_empty()).map(Of::Zone);
    let tag = |tag: &String| Of::Tag { tag: tag.clone(), zone: wanted.zone.clone() };
    let all = (wanted.url.iter().cloned().map(Of::Url))
        .chain(wanted.prefix.iter().cloned().map(Of::Prefix))
        .chain(wanted.host.iter().cloned().map(Of::Host))
        .chain(wanted.tag.iter().map(tag))
        .chain(whole);
    let (mut out, mut code) = (io::stdout(), ExitCode::SUCCESS);
    for what in all {
        let text = match &what {
            Of::Url(text) | Of::Prefix(text) | Of::Host(text) | Of::Zone(text) => text.clone(),
            Of::Tag { tag, .. } => format!("tag {tag}"),
        };
        let answer = ask(&socket, &Request::Purge { what, is_soft: wanted.soft })?;
        match answer.ok {
            true => writeln!(out, "{text} is purged")?,
            false => {
                let error = answer.error.unwrap_or_default();
                tell(&if text.is_empty() { error } else { format!("{text}: {error}") });
                code = ExitCode::FAILURE;
            }
        }
        answer.warning.iter().for_each(|warning| tell(warning));
    }
    Ok(code)
}

/// How long an upgrade may take: the new binary compiles every zone and proves itself.
const UPGRADE_WAIT: Duration = Duration::from_secs(90);

/// Starts the binary that is on disk in the place of the one that runs, and waits until it serves.
///
/// # Errors
/// When no node answers, or the upgrade fails; what ran serves on then.
pub(crate) fn upgrade(running: &Running) -> Result<ExitCode> {
    let socket = socket(running)?;
    let pid = |answer: Answer| {
        let member = |name: &str| answer.status.as_ref().and_then(|status| status[name].as_u64());
        (member("edge_pid"), member("upgrades_failed"))
    };
    let before = pid(ask(&socket, &Request::Status {})?);
    let answer = ask(&socket, &Request::Upgrade {})?;
    if !answer.ok {
        bail!("{}", answer.error.unwrap_or_default());
    }
    let until = clock::now() + UPGRADE_WAIT;
    while clock::now() < until {
        std::thread::sleep(Duration::from_millis(100));
        // Between the two edges nobody may answer for a moment.
        let Ok(answer) = ask(&socket, &Request::Status {}) else { continue };
        let now = pid(answer);
        if now.0 != before.0 {
            writeln!(io::stdout(), "upgraded: process {} serves", now.0.unwrap_or(0))?;
            return Ok(ExitCode::SUCCESS);
        }
        if now.1 != before.1 {
            bail!("the new binary does not serve: see the node's log; what ran serves on");
        }
    }
    bail!("the new binary does not serve after {} s: see the node's log", UPGRADE_WAIT.as_secs())
}

/// Shows what the running node serves.
///
/// # Errors
/// When no node answers.
pub(crate) fn status(asked: &Status) -> Result<ExitCode> {
    let answer = ask(&socket(&asked.running)?, &Request::Status {})?;
    let Some(status) = answer.status.filter(|_| answer.ok) else {
        bail!("the node gave no status: {}", answer.error.unwrap_or_default());
    };
    let mut out = io::stdout();
    if asked.json {
        writeln!(out, "{status}")?;
    } else {
        write_status(&mut out, &status)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the trail of one request.
///
/// # Errors
/// When no node answers.
pub(crate) fn trace(asked: &Trace) -> Result<ExitCode> {
    let request = Request::Trace { request_id: asked.request_id.clone() };
    let answer = ask(&socket(&asked.running)?, &request)?;
    let Some(trail) = answer.trail.filter(|_| answer.ok) else {
        bail!("no trail: {}", answer.error.unwrap_or_default());
    };
    writeln!(io::stdout(), "{}", trail.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a status as lines for a person: plain members first, then one line per element of each list.
fn write_status(out: &mut impl Write, status: &Value) -> io::Result<()> {
    let Some(members) = status.as_object() else { return writeln!(out, "{status}") };
    let width = members.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in members {
        match value {
            Value::Array(elements) => {
                let line = if name == "processes" { process_line } else { one_line };
                for element in elements {
                    writeln!(out, "{name:width$}  {}", line(element))?;
                }
            }
            plain => writeln!(out, "{name:width$}  {}", one_line(plain))?,
        }
    }
    Ok(())
}

/// What a process does first, then since when and why, then what it has open.
fn process_line(process: &Value) -> String {
    let has = |name: &&str| !process[*name].is_null();
    let words =
        ["does", "pid", "version", "snapshot", "since", "until", "connections", "exchanges", "reads_quic"];
    let parts: Vec<String> = words
        .iter()
        .filter(|name| has(name))
        .map(|name| match *name {
            "does" => format!("{:10}", one_line(&process["does"])),
            name => format!("{name}={}", one_line(&process[name])),
        })
        .collect();
    format!("{}: {}", parts.join(" "), one_line(&process["why"]))
}

fn one_line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            let parts: Vec<String> =
                members.iter().map(|(name, value)| format!("{name}={}", one_line(value))).collect();
            parts.join(" ")
        }
        other => other.to_string(),
    }
}

/// Writes a number with its noun.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Tells a person something on standard error, as a line that names the program. A standard error that is
/// gone is no reason to fail, as it would be for `eprintln!`.
pub(crate) fn tell(text: &str) {
    tell_lines(&format!("rempart: {text}\n"));
}

/// Writes whole lines to standard error as they are.
pub(crate) fn tell_lines(lines: &str) {
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// Finds the command socket: the flag, else below the data folder that the node file names.
fn socket(running: &Running) -> Result<PathBuf> {
    if let Some(socket) = &running.socket {
        return Ok(socket.clone());
    }
    let path = running.node.find()?;
    match read_node_file(&path) {
        Ok(file) => Ok(data_dir(&file.node).join("rempart.sock")),
        Err(problems) => {
            tell_lines(&problems.lines());
            bail!("the node file does not say where the node is: mend it, or name the socket with --socket")
        }
    }
}

/// Asks the node one thing.
///
/// # Errors
/// When no node answers, or what it answers is not understood.
pub(crate) fn ask(socket: &Path, request: &Request) -> Result<Answer> {
    ask_and_follow(socket, request, &mut |_| ())
}

/// How long a command comes back for to a node that has too many at once.
const BUSY_WAIT: Duration = Duration::from_secs(15);

/// How long it stays away in between, and as long again by chance. It does not stay away for longer each
/// time: in a storm a place is free for moments, and whoever comes seldom would wait longest of all. A try
/// that is sent away costs the node some microseconds.
const BUSY_PAUSE_MS: u64 = 20;

/// Asks the node one thing that takes its time; each line of progress is passed on. A node that is busy with
/// others is asked again for some seconds, each time a random while later.
fn ask_and_follow(socket: &Path, request: &Request, progress: &mut dyn FnMut(&str)) -> Result<Answer> {
    let until = clock::now() + BUSY_WAIT;
    loop {
        let answer = ask_once(socket, request, progress)?;
        if !answer.is_busy || clock::now() >= until {
            return Ok(answer);
        }
        let chance = u64::from_ne_bytes(crate::keys::random().unwrap_or_default());
        std::thread::sleep(Duration::from_millis(BUSY_PAUSE_MS + chance % BUSY_PAUSE_MS));
    }
}

fn ask_once(socket: &Path, request: &Request, progress: &mut dyn FnMut(&str)) -> Result<Answer> {
    let connection = UnixStream::connect(socket).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                "no node runs with this data folder: start `rempart serve`, or name another with --config"
            }
            ErrorKind::PermissionDenied => "run this as the user that the node runs as, or as root",
            _ => "see the cause",
        };
        let what = format!("the node's command socket {} cannot be reached: {remedy}", socket.display());
        anyhow::Error::new(error).context(what)
    })?;
    let wait = match request {
        // As long as the stages take, which the node file sets. A node that dies ends the connection.
        Request::Publish { .. } => None,
        _ => Some(ANSWER_WAIT),
    };
    connection.set_read_timeout(wait)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    // A node that is busy may have answered, and closed, before it read anything.
    let written = (&connection).write_all(&line);
    let mut reader = BufReader::new(&connection);
    loop {
        let mut line = Vec::new();
        (&mut reader)
            .take(ANSWER_BYTES_MAX as u64)
            .read_until(b'\n', &mut line)
            .context("the node gave no answer in time: `rempart status` or its log may tell why")?;
        if line.is_empty() {
            written.context("the node does not read the command")?;
            bail!("the node ended the connection without an answer: it may be starting anew; try again");
        }
        let answer: Answer = serde_json::from_slice(&line)
            .context("the node's answer is not understood: is it of another version?")?;
        match answer.progress {
            Some(text) => progress(&text),
            None => return Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use testkit::folder::Folder;

    use super::*;
    use crate::command_socket;

    #[test]
    fn a_command_and_its_answer_pass_over_the_socket() {
        let folder = Folder::new().unwrap();
        let path = folder.path().join("rempart.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let carry = |request, _: &dyn Fn(&Answer)| Answer {
            ok: request == Request::Confirm {},
            number: Some(9),
            ..Answer::default()
        };
        let _accepting = command_socket::serve(listener, Arc::new(carry), |_| ()).unwrap();
        let answer = ask(&path, &Request::Confirm {}).unwrap();
        assert_eq!((answer.ok, answer.number), (true, Some(9)));
        assert!(!ask(&path, &Request::Status {}).unwrap().ok);
    }

    #[test]
    fn a_node_that_is_busy_is_asked_again() {
        let folder = Folder::new().unwrap();
        let path = folder.path().join("rempart.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = AtomicUsize::new(0);
        let carry = move |_, _: &dyn Fn(&Answer)| match asked.fetch_add(1, Ordering::Relaxed) {
            0..3 => Answer { is_busy: true, ..Answer::refused("busy") },
            asked => Answer { ok: true, number: Some(asked as u64), ..Answer::default() },
        };
        let _accepting = command_socket::serve(listener, Arc::new(carry), |_| ()).unwrap();
        assert_eq!(ask(&path, &Request::Confirm {}).unwrap().number, Some(3));
    }

    #[test]
    fn without_a_node_the_error_says_how_to_start_one() {
        let folder = Folder::new().unwrap();
        let error = ask(&folder.path().join("rempart.sock"), &Request::Status {}).unwrap_err().to_string();
        assert!(error.contains("rempart serve"), "{error}");
    }

    #[test]
    fn a_status_is_lines_that_a_person_can_read() {
        let status = serde_json::json!({"snapshot": 3, "node": "a", "zones": [{"name": "x", "requests": 2}]});
        let mut out = Vec::new();
        write_status(&mut out, &status).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("snapshot  3\n") && text.contains("zones     name=x requests=2\n"), "{text}");
    }

    #[test]
    fn a_process_is_one_line_without_what_is_not_known() {
        let process = serde_json::json!({
            "pid": 7, "does": "draining", "why": "an upgrade has taken its place", "since_unix_us": 1,
            "since": "1970-01-01T00:00:00.000001Z", "connections": 2, "reads_quic": false,
        });
        let line = process_line(&process);
        let expected = "draining   pid=7 since=1970-01-01T00:00:00.000001Z connections=2 reads_quic=false: \
                        an upgrade has taken its place";
        assert_eq!(line, expected);
    }

    #[test]
    fn counts_have_their_plural() {
        assert_eq!((counted(1, "zone"), counted(0, "zone")), ("1 zone".to_owned(), "0 zones".to_owned()));
    }
}
