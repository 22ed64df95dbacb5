//! `rempart drill`: faults that took real networks down, done to a node that it starts itself, with a verdict
//! for each.
//!
//! Every node is this same binary in a folder of its own on free loopback ports; nothing that runs on the
//! machine is touched. Drills that break a phase from within need a build with fault points. `--against` does
//! what can be done from outside to an installed peer. Called by `main`; read next: [`DRILLS`], then [`node`]
//! and [`load`], and one of the drills, as [`deaths`].

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::commands::tell;
use crate::{flags, keys};

mod authority;
mod changes;
mod clock;
mod contained;
mod cores;
mod deaths;
mod deleted;
mod dependencies;
mod disabled;
mod disk;
mod dying;
mod flooded;
mod floods;
mod frozen;
mod greedy;
mod herd;
mod hostile;
mod load;
mod multiplexed;
mod names;
mod node;
mod nodes;
mod numbers;
mod origin;
mod pace;
mod pages;
mod peers;
mod poison;
mod raw;
mod reconnect;
mod report;
mod scarce;
mod spike;
mod stalled;
mod starts;
mod stored;
mod surge;
mod tiers;
mod written_back;

use node::{NodeFolder, NodeText};
use report::{Outcome, Title};

/// Whether this build has fault points.
const HAS_FAULT_POINTS: bool = cfg!(feature = "fault-injection");

/// One drill.
struct Drill {
    id: &'static str,
    name: &'static str,
    outage: &'static str,
    done: &'static str,
    needs_fault_points: bool,
    run: fn(&Run, &mut Outcome) -> Result<()>,
}

impl Drill {
    fn title(&self) -> Title<'_> {
        Title { id: self.id, name: self.name, outage: self.outage, done: self.done }
    }
}

/// What a drill is run with.
pub(in crate::drill) struct Run {
    folder: PathBuf,
    /// How long a drill goes on that has no end of its own.
    pub(in crate::drill) lasting: Duration,
    /// Random edits of D19.
    pub(in crate::drill) edits: u32,
    /// The folder of OWASP CRS, for D10.
    pub(in crate::drill) rules: Option<PathBuf>,
}

impl Run {
    /// Makes the folder of a node.
    fn folder(&self, name: &str, text: &NodeText) -> Result<NodeFolder> {
        NodeFolder::make(self.folder.join(name), text)
    }

    /// A path below the drill's folder that no node uses.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Every drill, in the order in which they run.
const DRILLS: &[Drill] = &[
    Drill {
        id: "D36",
        name: "killed",
        outage: "any crash of a process that serves (Facebook 2021, Azure Front Door 2025)",
        done: "kill -9 of edge, spare, candidate and supervisor, each under load; a second `serve` takes \
        over; kill -9 of an edge without a spare",
        needs_fault_points: false,
        run: deaths::killed,
    },
    Drill {
        id: "D1",
        name: "poisoned",
        outage: "Cloudflare 2025-11-18, bunny.net 2021: a broken file reached every machine",
        done: "zone files, rules, lists, error pages, certificates and kept generations are cut, emptied, \
               changed in one bit, nested without end, repeated, of an unknown version, over their limit",
        needs_fault_points: false,
        run: poison::poisoned,
    },
    Drill {
        id: "D8",
        name: "start-alone",
        outage: "Cloudflare 2023-11-02, bunny.net 2021: nodes could not start without what had broken",
        done: "start with the newest generation damaged and the zone files broken",
        needs_fault_points: false,
        run: starts::alone,
    },
    Drill {
        id: "D34",
        name: "no-edge",
        outage: "Cloudflare 2025-11-18: the sites were up, the proxy before them was not",
        done: "no edge can start; zones whose owner agreed are passed through to their origins, until one \
        can",
        needs_fault_points: false,
        run: starts::no_edge,
    },
    Drill {
        id: "D35",
        name: "query-of-death",
        outage: "Fastly 2021, Cloudflare 2025-12-05: one request, sent again and again, met a latent bug",
        done: "the same request aborts the edge twice, then comes again",
        needs_fault_points: true,
        run: deaths::query_of_death,
    },
    Drill {
        id: "D11",
        name: "endless",
        outage: "Cloudflare 2024-06-20: each request that met a loop took a worker for good",
        done: "a request never yields; then it comes again; a change never ends to be compiled",
        needs_fault_points: true,
        run: deaths::endless,
    },
    Drill {
        id: "D6",
        name: "late-crash",
        outage: "Azure Front Door 2025-10-29: the crash came after the health gates, in the last good state",
        done: "two changes in a row pass, become the last good one, then crash each edge that serves them",
        needs_fault_points: true,
        run: deaths::late_crash,
    },
    Drill {
        id: "D2",
        name: "alternating",
        outage: "Cloudflare 2025-11-18: good and bad files alternated and looked like an attack",
        done: "two good and two bad changes are published again and again in turn, one each second",
        needs_fault_points: false,
        run: poison::alternating,
    },
    Drill {
        id: "D5",
        name: "many-nodes",
        outage: "Cloudflare 2025-11-18, Google Cloud 2025-06-12: a bad change was everywhere at once",
        done: "at four nodes in turn: a bad change, then one that is bad at the third alone, then a good one",
        needs_fault_points: true,
        run: nodes::many_nodes,
    },
    Drill {
        id: "D15",
        name: "emptied",
        outage: "AWS us-east-1 2025-10-20, Cloudflare 2026-02-20: a plan removed what served",
        done: "changes that would empty the zones, remove most of them, or empty a pool or a list; a change \
               of an older state",
        needs_fault_points: false,
        run: changes::emptied,
    },
    Drill {
        id: "D30",
        name: "locked-out",
        outage: "Facebook 2021: a change locked out those who could have taken it back",
        done: "a change that answers nobody is published with --confirm-within; then a good one is confirmed",
        needs_fault_points: false,
        run: changes::locked_out,
    },
    Drill {
        id: "D9",
        name: "control-gone",
        outage: "Cloudflare 2023-11-02, 2025-06-12: what publishes was gone, and what serves needed it",
        done: "zone files and all they name are deleted under load; restarts without them; files made anew \
               of what the node keeps",
        needs_fault_points: false,
        run: deleted::control_gone,
    },
    Drill {
        id: "D26",
        name: "by-mistake",
        outage: "Cloudflare 2026-02-20: an empty parameter was read as \"all\"; restored by hand",
        done: "orders whose words are missing, empty or unknown; most zones go; one command brings them back",
        needs_fault_points: false,
        run: deleted::by_mistake,
    },
    Drill {
        id: "D25",
        name: "written-back",
        outage: "Cloudflare 2023-11-02: what had been configured could be read nowhere else",
        done: "files of every kind and blocks are read off a node, and written back: there, and to another \
               node",
        needs_fault_points: false,
        run: written_back::written_back,
    },
    Drill {
        id: "D13",
        name: "reconnect",
        outage: "Google Cloud 2025-06-12, Cloudflare 2025-09-12: all came back at once, and kept it down",
        done: "a thousand at the local socket at once, of whom some say nothing, leave in the middle, read \
               nothing, while orders are given and visitors served",
        needs_fault_points: false,
        run: reconnect::reconnect,
    },
    Drill {
        id: "D18",
        name: "frozen",
        outage: "any list that nobody makes anew: it refuses who is innocent by now, and lets in who is not",
        done: "three lists, with and without a word of when they were made, grow old and past their horizon; \
               restarts; they are made anew",
        needs_fault_points: false,
        run: frozen::frozen,
    },
    Drill {
        id: "D19",
        name: "as-shown",
        outage: "Cloudflare 2025-11-18, 2026-02-20: nobody saw what a change would really do",
        done: "random edits; what --dry-run showed is compared with what visitors meet afterwards",
        needs_fault_points: false,
        run: changes::as_shown,
    },
    Drill {
        id: "D7",
        name: "one-zone",
        outage: "Fastly 2021: one customer's configuration took all others along",
        done: "a zone's own routes panic for visitors of many networks while another zone is under load",
        needs_fault_points: true,
        run: contained::one_zone,
    },
    Drill {
        id: "D3",
        name: "phases",
        outage: "Google Cloud 2025-06-12, Cloudflare 2025-11-18: one null or limit in one phase ended the \
        process",
        done: "error, panic, spent fuel, spent memory and ten times the work in each phase",
        needs_fault_points: true,
        run: contained::phases,
    },
    Drill {
        id: "D4",
        name: "disabled",
        outage: "Cloudflare 2025-12-05: a switch met an action for the first time",
        done: "rules of every action in every phase, disabled in every way, changed under load",
        needs_fault_points: false,
        run: disabled::every_way,
    },
    Drill {
        id: "D10",
        name: "hostile",
        outage: "Cloudflare 2019-07-02: one expression of a firewall took every processor",
        done: "forms, JSON, XML, parts and queries that are made to cost, up to 1 MiB, against every rule",
        needs_fault_points: false,
        run: hostile::corpora,
    },
    Drill {
        id: "D12",
        name: "floods",
        outage: "HTTP/2 rapid reset 2023, CONTINUATION 2024, MadeYouReset 2025: little sent, much work done",
        done: "slow heads, bodies, reads and handshakes, floods of every frame, bombs, connections and first \
               packets, over HTTP/1, HTTP/2, HTTP/3 and WebSocket; honest visitors beside them over each",
        needs_fault_points: false,
        run: floods::floods,
    },
    Drill {
        id: "F1",
        name: "flood",
        outage: "Cloudflare 2025-08-21: what came for one customer filled the links of all",
        done: "a zone gets thirty times what it usually does, from three networks; its own visitors go on",
        needs_fault_points: false,
        run: flooded::flood,
    },
    Drill {
        id: "D16",
        name: "scarce",
        outage: "Akamai 2021: a limit was reached and everything stopped",
        done: "idle visitors until no file descriptor is left; a full disk; slow readers in little memory",
        needs_fault_points: false,
        run: scarce::scarce,
    },
    Drill {
        id: "D20",
        name: "origins-gone",
        outage: "AWS us-east-1 2025-10-20, Cloudflare 2025-06-12: the store behind the sites was gone",
        done: "purges in a row under load; then every origin goes, of a zone with a cache and of one without",
        needs_fault_points: false,
        run: stored::origins_gone,
    },
    Drill {
        id: "D23",
        name: "dependencies",
        outage: "Cloudflare 2025-06-12, 2023-11-02: a dependency was gone, and what needed it failed closed",
        done: "origins over HTTP/1, HTTP/2 and TLS, names, lists in the DNS, files of addresses and the log \
               refuse, hang, are slow, send garbage",
        needs_fault_points: false,
        run: dependencies::each_fails,
    },
    Drill {
        id: "D31",
        name: "tiers",
        outage: "HTTP/2 rapid reset 2023: what one tier let go overflowed into the next",
        done: "one tier and two, visitors over HTTP/1.1, HTTP/2 and HTTP/3, stores in both, a circle; a node \
               of the inner tier is killed and replaced",
        needs_fault_points: false,
        run: tiers::one_and_two,
    },
    Drill {
        id: "D32",
        name: "stalled",
        outage: "any log that is written on a request's way: its disk hangs, and so do the sites",
        done: "nobody reads log, events, metrics, traces and answers of commands, while one zone floods the \
               log",
        needs_fault_points: false,
        run: stalled::readers,
    },
    Drill {
        id: "D21",
        name: "break-glass",
        outage: "Facebook 2021, Cloudflare 2025-11-18: the tools for repair needed what was broken",
        done: "no admin listener, no names that resolve, every visitor's connection taken: the local socket",
        needs_fault_points: false,
        run: scarce::break_glass,
    },
    Drill {
        id: "D22",
        name: "clock",
        outage: "leap second 2012, Cloudflare 2017-01-01: clocks went back, and what counted on them broke",
        done: "the clock goes a second back, an hour ahead, an hour back, and stands still, under load",
        needs_fault_points: true,
        run: clock::stepped,
    },
    Drill {
        id: "C1",
        name: "cache-full",
        outage: "Akamai 2021: a limit was reached and everything stopped",
        done: "the cache's disk is full under load, then has room again",
        needs_fault_points: false,
        run: disk::full,
    },
    Drill {
        id: "C2",
        name: "cache-stalled",
        outage: "any disk that hangs: a thread that waits for it serves nobody",
        done: "every read and write of the cache's disk hangs under load, then comes back",
        needs_fault_points: true,
        run: disk::stalled,
    },
    Drill {
        id: "C3",
        name: "cache-flipped",
        outage: "any disk that lies: a broken page went out to everybody for as long as it was fresh",
        done: "bits flip in the stored answers and in their index, while the node is down and while it runs",
        needs_fault_points: false,
        run: disk::flipped,
    },
    Drill {
        id: "C4",
        name: "cache-killed",
        outage: "any crash of a process that stores (Facebook 2021, Azure Front Door 2025)",
        done: "kill -9 of the edge, three times, in the middle of storing",
        needs_fault_points: false,
        run: disk::killed,
    },
    Drill {
        id: "C5",
        name: "cache-poisoned",
        outage: "bunny.net 2021: nodes started into the same broken file again and again",
        done: "the cache's folder is of another version, garbled, cut, emptied, each before a start",
        needs_fault_points: false,
        run: disk::poisoned,
    },
    Drill {
        id: "C6",
        name: "herd",
        outage: "Google Cloud 2025-06-12: all came at once for what was gone, and kept it down",
        done: "a thousand visitors ask for one expired page, of an origin that is slow, then fails",
        needs_fault_points: false,
        run: herd::herd,
    },
    Drill {
        id: "C7",
        name: "purge-storm",
        outage: "Fastly 2021: emptied caches sent every visitor to the origins",
        done: "purges by the local socket, one after the other on twelve connections, under load",
        needs_fault_points: false,
        run: herd::purge_storm,
    },
    Drill {
        id: "D29",
        name: "spike",
        outage: "Cloudflare 2025-11-18 took its outage for one; any site on the day everybody comes",
        done: "strangers come at ten times what the node can do, fifty times as many as before, whatever \
        they are answered, while known visitors go on",
        needs_fault_points: true,
        run: spike::spike,
    },
    Drill {
        id: "D29b",
        name: "greedy",
        outage: "any host of many sites on the day one of them is attacked",
        done: "one zone wants fifty times its share of connections, bytes, stored answers and processor, \
               while another has a few visitors",
        needs_fault_points: true,
        run: greedy::greedy,
    },
];

/// Runs what was asked for. Exit code 1 when a drill failed.
///
/// # Errors
/// When a drill's name is unknown, a peer is not installed, or the folder cannot be written.
pub(crate) fn run(wanted: &flags::Drill) -> Result<ExitCode> {
    if wanted.list {
        list()?;
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = if wanted.against.is_some() { Vec::new() } else { choose(&wanted.drills, wanted.all)? };
    let (folder, is_ours) = match &wanted.data_dir {
        Some(folder) => (std::path::absolute(folder)?, false),
        None => (unguessable()?, true),
    };
    if is_ours {
        make_own(&folder)?;
    } else {
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let outcome = match wanted.against {
        Some(peer) => peers::against(peer, &folder, wanted),
        None => run_all(&chosen, &folder, wanted),
    };
    if is_ours {
        // What is left of it only takes room.
        let _ = fs::remove_dir_all(&folder);
    }
    Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A place among temporary files that nobody can foresee, and so nobody can put anything there before.
fn unguessable() -> Result<PathBuf> {
    let name = u128::from_ne_bytes(keys::random()?);
    Ok(std::env::temp_dir().join(format!("rempart-drill-{name:032x}")))
}

/// Makes a folder that is ours alone. One that is there already is somebody else's, whatever it is: keys and
/// programs' settings are written below it, and all of it is removed in the end.
fn make_own(folder: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().mode(0o700).create(folder);
    made.with_context(|| format!("{} cannot be made: name a folder with --data-dir", folder.display()))
}

/// How long a drill goes on that has no end of its own: a spike and a storm of purges for a minute at full
/// length, changes in turn for five.
fn lasting(drill: &Drill, wanted: &flags::Drill) -> Duration {
    let full_s = if drill.id == "D2" { 300 } else { 60 };
    Duration::from_secs(wanted.seconds.unwrap_or(if wanted.full { full_s } else { 20 }))
}

fn run_all(chosen: &[&Drill], folder: &Path, wanted: &flags::Drill) -> Result<bool> {
    let mut told = Telling::new(wanted);
    told.head("Rempart")?;
    let rules = wanted.rules.as_ref().map(std::path::absolute).transpose()?;
    for drill in chosen {
        let run = Run {
            folder: folder.join(drill.id),
            lasting: lasting(drill, wanted),
            edits: wanted.edits,
            rules: rules.clone(),
        };
        let begun = crate::clock::now();
        let mut outcome = Outcome::new(!wanted.untimed);
        if let Err(error) = (drill.run)(&run, &mut outcome) {
            outcome.broke_off(&error);
        }
        let took = crate::clock::now().saturating_duration_since(begun);
        told.tell(drill.title(), &outcome, took)?;
    }
    if wanted.all && !HAS_FAULT_POINTS {
        let left = DRILLS.iter().filter(|drill| drill.needs_fault_points).map(|drill| drill.id);
        let left: Vec<&str> = left.collect();
        tell(&format!(
            "not run, as this build has no fault points: {} (`make drills` builds one)",
            left.join(", ")
        ));
    }
    told.end()
}

/// Prints outcomes in the form that was asked for.
struct Telling {
    is_json: bool,
    is_markdown: bool,
    values: Vec<Value>,
    drills: usize,
    passed: usize,
}

impl Telling {
    fn new(wanted: &flags::Drill) -> Self {
        let is_markdown = wanted.markdown;
        Self { is_json: wanted.json, is_markdown, values: Vec::new(), drills: 0, passed: 0 }
    }

    fn head(&self, of: &str) -> Result<()> {
        if self.is_markdown {
            writeln!(io::stdout(), "## {of}\n\n{}", report::ROWS_HEAD)?;
        }
        Ok(())
    }

    fn tell(&mut self, title: Title<'_>, outcome: &Outcome, took: Duration) -> Result<()> {
        self.drills += usize::from(!outcome.is_left_out());
        self.passed += usize::from(outcome.is_pass());
        let mut out = io::stdout();
        if self.is_json {
            self.values.push(report::json(title, outcome, took));
        } else if self.is_markdown {
            writeln!(out, "{}", report::row(title, outcome))?;
        } else {
            write!(out, "{}", report::text(title, outcome, took))?;
        }
        Ok(out.flush()?)
    }

    /// Whether all passed.
    fn end(self) -> Result<bool> {
        if self.is_json {
            writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&self.values)?)?;
        } else if !self.is_markdown {
            writeln!(io::stdout(), "{} of {} drills passed", self.passed, self.drills)?;
        }
        Ok(self.drills > 0 && self.passed == self.drills)
    }
}

fn list() -> Result<()> {
    let mut out = io::stdout();
    for drill in DRILLS {
        let needs = match (drill.needs_fault_points, HAS_FAULT_POINTS) {
            (true, false) => " (needs a build with fault points: `make drills`)",
            _ => "",
        };
        writeln!(out, "{:4} {:15} {}{needs}", drill.id, drill.name, drill.done)?;
    }
    Ok(())
}

/// Finds the drills that were named, or all that this build can run.
fn choose(named: &[String], all: bool) -> Result<Vec<&'static Drill>> {
    if all {
        return Ok(DRILLS.iter().filter(|drill| HAS_FAULT_POINTS || !drill.needs_fault_points).collect());
    }
    if named.is_empty() {
        bail!("no drill is named: name some by id or name, or say --all; --list shows them");
    }
    let mut chosen = Vec::new();
    for name in named {
        let found = DRILLS.iter().find(|drill| drill.id.eq_ignore_ascii_case(name) || drill.name == name);
        let Some(drill) = found else { bail!("there is no drill `{name}`: --list shows them") };
        if drill.needs_fault_points && !HAS_FAULT_POINTS {
            bail!("{} needs a build with fault points: `make drills` makes one", drill.id);
        }
        chosen.push(drill);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drills_are_found_by_id_and_name_and_others_are_refused() {
        let found = choose(&["d36".to_owned(), "poisoned".to_owned()], false).unwrap();
        assert_eq!(found.iter().map(|drill| drill.id).collect::<Vec<_>>(), ["D36", "D1"]);
        assert!(choose(&["D0".to_owned()], false).is_err());
        assert!(choose(&[], false).is_err());
    }

    #[test]
    fn without_fault_points_all_leaves_out_what_needs_them() {
        let all = choose(&[], true).unwrap();
        assert_eq!(all.len() == DRILLS.len(), HAS_FAULT_POINTS);
        assert!(!all.is_empty());
    }

    #[test]
    fn a_folder_of_its_own_is_new_and_for_its_user_alone() {
        use std::os::unix::fs::{MetadataExt as _, symlink};

        let place = testkit::folder::Folder::new().unwrap();
        let (own, link) = (place.path().join("own"), place.path().join("link"));
        make_own(&own).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o700);
        assert!(make_own(&own).is_err(), "it is there already");
        symlink(place.path().join("elsewhere"), &link).unwrap();
        assert!(make_own(&link).is_err(), "a link that leads nowhere yet");
        assert!(!place.path().join("elsewhere").exists());
        assert_ne!(unguessable().unwrap(), unguessable().unwrap());
    }

    #[test]
    fn ids_and_names_are_told_apart() {
        for member in [|drill: &Drill| drill.id, |drill: &Drill| drill.name] {
            let mut all: Vec<&str> = DRILLS.iter().map(member).collect();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), DRILLS.len());
        }
    }
}
