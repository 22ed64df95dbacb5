//! `--against`: does to an installed peer what can be done to it from outside, in a folder of its own on a
//! free loopback port.
//!
//! The peer's configuration is the plainest one that passes everything to one origin, with a cache where that
//! is what is drilled. Its losses and ours stand in the same table; drills that need what a peer does not
//! have are marked as not done. Called by [`super`].

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::dying::{Watched, settle};
use super::floods::tcp::{ATTACKS, Fared};
use super::floods::{Begun, all_at_once, hold, victim};
use super::load::{End, Load, Target, wait_until};
use super::node::{PATIENCE, end_all_in, signal};
use super::origin::Origin;
use super::report::{Outcome, Title};
use super::{DRILLS, Telling};
use crate::clock;
use crate::flags::{self, Peer};

/// Requests a second.
const RATE: u64 = 200;

/// Requests before and after a fault.
const CALM: u64 = 60;

/// How long a peer may be away before the drill starts it again, as a service manager would.
const AWAY: Duration = Duration::from_secs(1);

impl Peer {
    fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Caddy => "caddy",
        }
    }

    /// Whether it can serve what it stored when there is no origin any more. HAProxy's cache has no such
    /// word, and Caddy has no cache but by somebody else's module.
    fn serves_stale(self) -> bool {
        matches!(self, Self::Nginx)
    }

    /// A configuration that passes everything on; with `stores`, what it serves when there is no origin is
    /// kept, where it can.
    fn configuration(
        self,
        folder: &Path,
        [at, http2]: [SocketAddr; 2],
        origin: SocketAddr,
        stores: bool,
    ) -> String {
        let folder = folder.display();
        // Its workers give root up, and the drill's folder is its user's alone.
        let user = if stores && rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
        let (kept, serving) = match stores {
            true => (
                format!("proxy_cache_path {folder}/c keys_zone=stored:1m;\n"),
                "proxy_cache stored; proxy_cache_valid 200 1s; proxy_cache_use_stale error timeout updating \
                 http_502 http_503 http_504; ",
            ),
            false => (String::new(), ""),
        };
        match self {
            Self::Nginx => format!(
                "{user}worker_processes 2;\ndaemon off;\npid {folder}/nginx.pid;\nerror_log \
                {folder}/error.log;\nevents \
                 {{ worker_connections 256; }}\nhttp {{\naccess_log off;\nclient_header_timeout 2s;\n\
                 client_body_timeout 2s;\nsend_timeout 2s;\nclient_body_temp_path \
                 {folder}/b;\nproxy_temp_path {folder}/p;\nfastcgi_temp_path {folder}/f;\nuwsgi_temp_path \
                 {folder}/u;\nscgi_temp_path {folder}/s;\n{kept}upstream o {{ server {origin}; keepalive 16; \
                 }}\nserver {{ \
                 listen {at}; listen {http2} http2; \
                 location / {{ {serving}proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                 proxy_pass \
                 http://o; }} }}\n}}\n"
            ),
            Self::Haproxy => format!(
                "global\n  nbthread 2\n  stats socket {folder}/haproxy.sock mode 600 level admin expose-fd \
                 listeners\n  maxconn 250\ndefaults\n  mode http\n  timeout connect 2s\n  timeout \
                 http-request 2s\n  timeout client 2s\n  timeout server 30s\nfrontend f\n  bind \
                 {at}\n  bind {http2}\n  default_backend b\nbackend b\n  server o {origin}\n"
            ),
            Self::Caddy => format!(
                "{{\n  admin unix/{folder}/caddy.sock\n  auto_https off\n  servers {{\n    protocols h1 h2 \
                 h2c\n    timeouts {{\n      read_header 2s\n      read_body 2s\n      write 2s\n    }}\n  \
                 }}\n}}\nhttp://{at}, http://{http2} {{\n  reverse_proxy \
                 {origin}\n}}\n"
            ),
        }
    }

    fn start(self, folder: &Path) -> Result<Child> {
        let file = folder.join("peer.conf");
        let mut command = Command::new(self.program());
        match self {
            Self::Nginx => command.arg("-p").arg(folder).arg("-c").arg(&file),
            // Master and worker, as its package's unit starts it.
            Self::Haproxy => command.arg("-W").arg("-f").arg(&file).arg("-p").arg(folder.join("haproxy.pid")),
            Self::Caddy => command.arg("run").arg("--adapter").arg("caddyfile").arg("--config").arg(&file),
        };
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().with_context(|| {
            format!("{} is not installed, or not in PATH: install it to drill it", self.program())
        })
    }

    /// Tells it to take its file anew.
    fn reload(self, folder: &Path, main: u32) -> Result<()> {
        match self {
            Self::Nginx => signal(main, Signal::HUP),
            Self::Haproxy => signal(main, Signal::USR2),
            Self::Caddy => {
                let file = folder.join("peer.conf");
                let socket = format!("unix/{}", folder.join("caddy.sock").display());
                let mut command = Command::new(self.program());
                command
                    .args(["reload", "--adapter", "caddyfile", "--address", &socket, "--config"])
                    .arg(file);
                // Whether it was taken is seen by its visitors.
                command.stdin(Stdio::null()).output().context("caddy cannot be run")?;
                Ok(())
            }
        }
    }
}

/// A running peer.
struct Running {
    peer: Peer,
    folder: PathBuf,
    at: [SocketAddr; 2],
    child: Child,
}

impl Running {
    fn start(peer: Peer, folder: PathBuf, origin: SocketAddr, stores: bool) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        // Free a moment ago; whoever takes it in between makes the drill fail, not pass.
        let free = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let [first, second] = free;
        let at = [first?.local_addr()?, second?.local_addr()?];
        fs::write(folder.join("peer.conf"), peer.configuration(&folder, at, origin, stores))?;
        let child = peer.start(&folder)?;
        let running = Self { peer, folder, at, child };
        let target = running.target();
        let serves = wait_until(PATIENCE, || target.ask("/", "").is_ok());
        ensure!(serves, "{} does not serve with the drill's configuration", peer.program());
        Ok(running)
    }

    fn target(&self) -> Target {
        let [http1, _] = self.at;
        Target::plain(http1, "a.example")
    }

    fn main(&self) -> u32 {
        self.child.id()
    }

    fn workers(&self) -> Vec<u32> {
        let pid = self.main();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Starts it again until it serves, as a service manager would.
    fn again(&mut self) -> Result<()> {
        let _ = self.child.wait();
        let target = self.target();
        let until = clock::now() + PATIENCE;
        while clock::now() < until {
            self.child = self.peer.start(&self.folder)?;
            let mut ended = false;
            wait_until(AWAY, || {
                ended = matches!(self.child.try_wait(), Ok(Some(_)));
                ended
            });
            if !ended && target.ask("/", "").is_ok() {
                return Ok(());
            }
        }
        bail!("it does not start again")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = signal(self.main(), Signal::TERM);
        let child = &mut self.child;
        wait_until(Duration::from_secs(2), || matches!(child.try_wait(), Ok(Some(_)) | Err(_)));
        end_all_in(&self.folder);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One drill that a peer can be put through.
struct PeerDrill {
    title: Title<'static>,
    run: fn(&mut Running, &mut Option<Origin>, &mut Outcome) -> Result<()>,
}

const PEER_DRILLS: [PeerDrill; 6] = [
    PeerDrill {
        title: Title {
            id: "D36w",
            name: "worker-killed",
            outage: "any crash of a process that serves",
            done: "kill -9 of one worker under load; the process itself where there is none",
        },
        run: worker_killed,
    },
    PeerDrill {
        title: Title {
            id: "D36m",
            name: "master-killed",
            outage: "any crash of a process that supervises",
            done: "kill -9 of the main process under load; it is started again after a second",
        },
        run: main_killed,
    },
    PeerDrill {
        title: Title {
            id: "D1",
            name: "poisoned",
            outage: "Cloudflare 2025-11-18, bunny.net 2021",
            done: "its file cut, emptied, nested without end, repeated; a reload each, under load",
        },
        run: poisoned,
    },
    PeerDrill {
        title: Title {
            id: "D0r",
            name: "reloaded",
            outage: "any change or upgrade under load",
            done: "ten reloads under load",
        },
        run: reloaded,
    },
    PeerDrill {
        title: Title {
            id: "D20",
            name: "origin-down",
            outage: "every origin is down for two seconds",
            done: "the origin and its connections end, and it comes back; what is stored is served",
        },
        run: origin_down,
    },
    PeerDrill {
        title: Title {
            id: "D12",
            name: "floods",
            outage: "HTTP/2 rapid reset 2023, CONTINUATION 2024, MadeYouReset 2025",
            done: "slow heads, bodies and reads, floods of HTTP/2 frames, then connections of one network",
        },
        run: flooded,
    },
];

/// Drills a peer and prints the table. Whether all passed.
///
/// # Errors
/// When it is not installed, or does not serve.
pub(super) fn against(peer: Peer, folder: &Path, wanted: &flags::Drill) -> Result<bool> {
    let mut told = Telling::new(wanted);
    // Seen before the first line of a table.
    let version = match peer {
        Peer::Nginx => "-v",
        Peer::Haproxy => "-v",
        Peer::Caddy => "version",
    };
    Command::new(peer.program())
        .arg(version)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} is not installed: install it to drill it", peer.program()))?;
    told.head(peer.program())?;
    for drill in &PEER_DRILLS {
        let begun = clock::now();
        let mut outcome = Outcome::new(!wanted.untimed);
        let mut origin = Some(super::floods::origin()?);
        let address = origin.as_ref().map(Origin::address).context("an origin")?;
        let place = folder.join(format!("{}-{}", peer.program(), drill.title.id));
        let ran = Running::start(peer, place, address, drill.title.id == "D20")
            .and_then(|mut running| (drill.run)(&mut running, &mut origin, &mut outcome));
        if let Err(error) = ran {
            outcome.broke_off(&error);
        }
        told.tell(drill.title, &outcome, clock::now().saturating_duration_since(begun))?;
    }
    for drill in DRILLS.iter().filter(|drill| !["D36", "D1", "D12"].contains(&drill.id)) {
        let mut outcome = Outcome::new(false);
        outcome.leave_out("cannot be done to it from outside: it has no such part, or no fault points");
        told.tell(drill.title(), &outcome, Duration::ZERO)?;
    }
    told.end()
}

fn worker_killed(running: &mut Running, _: &mut Option<Origin>, outcome: &mut Outcome) -> Result<()> {
    let load = Load::begin(&running.target(), RATE)?;
    load.wait_for(CALM);
    let one = running.workers().first().copied().unwrap_or_else(|| running.main());
    let death = Watched::open(one)?.kill()?;
    std::thread::sleep(AWAY);
    if running.child.try_wait()?.is_some() {
        outcome.note("the whole program ended, and was started again by the drill");
        running.again()?;
    }
    load.wait_for(CALM);
    settle(outcome, "it is killed", load, &[death]);
    Ok(())
}

fn main_killed(running: &mut Running, _: &mut Option<Origin>, outcome: &mut Outcome) -> Result<()> {
    let load = Load::begin(&running.target(), RATE)?;
    load.wait_for(CALM);
    let workers = running.workers();
    let death = Watched::open(running.main())?.kill()?;
    std::thread::sleep(AWAY);
    let left = workers.iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).count();
    outcome.figure("workers_left", left);
    let begun = clock::now();
    if let Err(error) = running.again() {
        outcome.check("another one takes over", false, format!("{error:#}"));
    } else {
        let took = clock::now().saturating_duration_since(begun);
        outcome.figure("started_again_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }
    load.wait_for(CALM);
    settle(outcome, "it is killed", load, &[death]);
    Ok(())
}

fn poisoned(running: &mut Running, _: &mut Option<Origin>, outcome: &mut Outcome) -> Result<()> {
    let file = running.folder.join("peer.conf");
    let whole = fs::read(&file)?;
    let load = Load::begin(&running.target(), RATE)?;
    let cut = whole.get(..whole.len() * 2 / 3).unwrap_or_default().to_vec();
    for bytes in [cut, Vec::new(), b"a { ".repeat(10_000), whole.repeat(2), whole.repeat(10)] {
        fs::write(&file, bytes)?;
        // A program that is gone is what the drill is about.
        let _ = running.peer.reload(&running.folder, running.main());
        load.wait_for(CALM);
    }
    fs::write(&file, &whole)?;
    let ended = running.child.try_wait()?.is_some();
    outcome.check("no exit", !ended, ended);
    let visits = load.end();
    outcome.add_unharmed("no request fails", visits);
    outcome.note("whether an event names file and reason is not judged");
    Ok(())
}

fn reloaded(running: &mut Running, _: &mut Option<Origin>, outcome: &mut Outcome) -> Result<()> {
    let load = Load::begin(&running.target(), RATE)?;
    for _ in 0..10 {
        load.wait_for(CALM);
        running.peer.reload(&running.folder, running.main())?;
    }
    load.wait_for(CALM);
    outcome.add_unharmed("no request fails", load.end());
    Ok(())
}

/// How long after the origin is back a visitor may still be told that it is not.
const BACK: Duration = Duration::from_secs(1);

/// Who can serve what is stored must; of the others each visitor must be told by a status that nobody is
/// there. All must find the origin again by themselves.
fn origin_down(running: &mut Running, origin: &mut Option<Origin>, outcome: &mut Outcome) -> Result<()> {
    let address = origin.as_ref().map(Origin::address).context("an origin")?;
    let load = Load::expecting(&running.target(), RATE, &[(200, "ok")])?;
    load.wait_for(CALM);
    let gone_at = load.after(clock::now());
    drop(origin.take());
    std::thread::sleep(2 * AWAY);
    *origin = Some(Origin::start_at(address, "ok")?);
    let back_at = clock::now();
    let (target, well) = (running.target(), load.after(back_at + BACK));
    let is_well = wait_until(PATIENCE, || target.ask("/", "").is_ok_and(|(status, _)| status == 200));
    let took = clock::now().saturating_duration_since(back_at);
    outcome.figure("back_after_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    outcome.check("it serves again once the origin is back", is_well, is_well);
    std::thread::sleep(BACK);
    load.wait_for(CALM);
    let visits = load.end();
    let meanwhile = visits.iter().filter(|visit| visit.came >= gone_at && visit.came < well);
    let untold =
        meanwhile.clone().filter(|visit| matches!(visit.end, End::Broken(_) | End::Refused(_))).count();
    let unserved = meanwhile.clone().filter(|visit| visit.has_failed()).count();
    let others = visits.iter().filter(|visit| visit.has_failed()).count() - unserved;
    outcome.figure("failed_while_it_is_gone", unserved);
    outcome.check("while it is gone nobody is left without an answer", untold == 0, untold);
    if running.peer.serves_stale() {
        outcome.check("while it is gone what is stored is served", unserved == 0, unserved);
    } else {
        outcome.note("it has no way to serve what is stored without an origin: not judged");
    }
    outcome.check("before, and from a second after it is back, no request fails", others == 0, others);
    let (refused, _) = outcome.add(visits);
    outcome.check("no connection is refused", refused == 0, refused);
    Ok(())
}

fn flooded(running: &mut Running, _: &mut Option<Origin>, outcome: &mut Outcome) -> Result<()> {
    let [http1, http2] = running.at;
    let load = Load::begin(&running.target(), RATE)?;
    load.wait_for(CALM);
    let attacks: Vec<_> = ATTACKS.iter().collect();
    for (name, fared) in all_at_once(&attacks, &victim(http1, http2))?.into_iter().map(Begun::end) {
        let fared = fared.with_context(|| name)?;
        outcome.check(&format!("{name}: the attacker is ended"), fared == Fared::Ended, format!("{fared:?}"));
    }
    outcome.add_unharmed("no honest visitor fails", load.end());
    let load = Load::begin(&running.target(), RATE)?;
    let held = hold(&running.target(), 600)?;
    load.wait_for(CALM);
    drop(held);
    outcome.add_unharmed("a flood of connections: no honest visitor fails", load.end());
    outcome.note("times of two seconds and room for some 250 connections are set, as the node's are");
    Ok(())
}
