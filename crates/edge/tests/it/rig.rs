//! A data plane of two threads with one zone that answers by itself, and what it tells.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use edge::{ListenerSetup, Node, NodeSetup, Running, StuckReport, run};
use socket2::{Domain, Socket, Type};
use telemetry::events::Events;
use telemetry::sink::{AccessLog, Target};
use testkit::authority::Authority;
use testkit::fields::Fields;
use testkit::gate::PATIENCE;
use testkit::node::look_until;
use testkit::visitor::{Response, Visitor};
use zone::{Bundle, Snapshot, Source};

pub(crate) const HOST: &str = "a.example";
pub(crate) const THREADS: usize = 2;

const ZONE: &str = "name = \"a\"\nhostnames = [\"a.example\"]\n\n[[route]]\npath_prefix = \"/\"\n\
                    answer = { status = 200, body = \"answer\" }\n";
const NODE: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\n";

/// A running data plane. Dropped, it goes on until the process ends, since a stuck thread never would.
pub(crate) struct Rig {
    pub(crate) node: Arc<Node>,
    pub(crate) black_box: OwnedFd,
    pub(crate) stuck: Receiver<StuckReport>,
    events: Receiver<String>,
    address: SocketAddr,
    pub(crate) admin: SocketAddr,
    running: Running,
}

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), bytes: text.into() }
}

/// The `[tls]` of a zone with a certificate.
pub(crate) const CERTIFIED: &str = "[tls]\ncertificate = \"/a.pem\"\nprivate_key = \"/a.key\"\n";

/// A snapshot of this one zone.
pub(crate) fn snapshot(number: u64, zone: &str) -> Snapshot {
    let leaf = Authority::new().unwrap().leaf(&[HOST]).unwrap();
    let files = BTreeMap::from([("/a.pem".to_owned(), leaf.certificate_pem.into_bytes())]);
    let bundle = Bundle::new(vec![source("a.toml", zone)], None, files);
    zone::compile(&bundle, number, &|_| Some(leaf.key_pem.clone().into_bytes())).unwrap()
}

impl Rig {
    pub(crate) fn start() -> Rig {
        Rig::of("", ZONE)
    }

    /// With these lines in the node file, before this zone.
    pub(crate) fn of(node: &str, zone: &str) -> Rig {
        let settings = zone::compile_node(&source("rempart.toml", &format!("{node}{NODE}"))).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let events = Events::start(Target::Descriptor(writer.into()), || 0).unwrap();
        let (tell, told) = sync_channel(1_000);
        std::thread::spawn(move || {
            BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        let black_box = blackbox::create(THREADS).unwrap();
        let (report, stuck) = sync_channel(10);
        let listener = settings.listeners[0].clone();
        let node = Node::new(
            NodeSetup {
                threads: THREADS,
                settings,
                access_log: AccessLog::off(),
                events,
                seed: [1, 2],
                sticky_key: [0; 16],
                quic_keys: ([0; 64], [0; 32]),
                black_box: Some(blackbox::Writer::map(&black_box).unwrap()),
                fingerprint_key: [3, 4],
                flood_seed: 5,
                on_changed: None,
                on_stuck: Some(Box::new(move |stuck| report.send(stuck).unwrap())),
                connections_max: 1_000,
                cache: None,
            },
            snapshot(1, zone),
        );
        let first = bound("127.0.0.1:0".parse().unwrap());
        let address = first.local_addr().unwrap();
        let tcp = vec![first, bound(address)];
        let listener = ListenerSetup {
            settings: listener,
            local: address,
            tcp,
            udp: Vec::new(),
            udp_slots: (0, 1),
            candidate: None,
            foreign: Vec::new(),
        };
        let admin = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin_address = admin.local_addr().unwrap();
        let running = run(&node, vec![listener], Some(admin)).unwrap();
        Rig { node, black_box, stuck, events: told, address, admin: admin_address, running }
    }

    /// The next event of this name, as written.
    pub(crate) fn event(&self, name: &str) -> String {
        let name = format!("\"event\":\"{name}\"");
        loop {
            let line = self.events.recv_timeout(PATIENCE).expect("the event does not come");
            if line.contains(&name) {
                return line;
            }
        }
    }

    /// A new connection, which the kernel gives to either thread.
    pub(crate) fn visitor(&self) -> Visitor {
        Visitor::tcp(self.address).unwrap()
    }

    pub(crate) fn get(&self, target: &str) -> Response {
        self.visitor().fetch(HOST, target).unwrap()
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let page = self.node.metrics();
        let line = page.lines().find_map(|line| line.strip_prefix(series)).unwrap();
        line.trim().parse().unwrap()
    }

    /// Waits until a metric says this: an exchange is counted a moment after its visitor has the answer.
    pub(crate) fn wait_for_metric(&self, series: &str, value: u64) {
        let found = look_until(|| Ok((self.metric(series) == value).then_some(()))).unwrap();
        assert!(found.is_some(), "{series} is {}, not {value}", self.metric(series));
    }

    /// Drains, and waits for the end.
    pub(crate) fn finish(self) {
        self.node.drain();
        assert!(self.running.join(), "a thread did not end by draining");
    }
}

/// A request for a fault.
pub(crate) fn asking(fault: &str) -> Fields {
    Fields::of(&[("Rempart-Fault", fault)])
}

fn bound(address: SocketAddr) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(1_024).unwrap();
    socket.into()
}
