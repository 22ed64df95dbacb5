//! What the frame of containment costs a request, for `valgrind --tool=callgrind`: instructions, since a
//! shared machine's clock tells little.
//!
//! `frame_cost serve N` answers N requests over one connection by the whole data plane, with the visitor
//! and the origin in processes of their own; `frame_cost serve-rules N` does so for a zone with ten rules.
//! `frame_cost frame N` does N times what the frame does for one of them: black box, beat, fingerprint and
//! door (`box N` alone), and the budgets (`budgets N` alone): the charge of bytes on connection, zone and
//! node, and a tank of fuel. `frame-rules N` charges that fuel as ten rules do, if each of their
//! comparisons were charged by itself. The slopes between two N are instructions a request, without what
//! starting costs. The target is at most 3 % of a request's; figures stand in `bench/results/`. The
//! kernel's instructions are in none.
//!
//! `frame_cost unwatched N` is `serve` without the zone's watch for floods: what noting a request costs is
//! what lies between them. `frame_cost fixed N` gives a fixed answer to 64 visitors at once, and
//! `frame_cost shed N` is the same on a node that may be late by a millisecond: under callgrind 64 are more
//! than that, so that it sends nearly all away, and the visitor says how many.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;

use blackbox::{Slot, Work, Writer};
use edge::{Door, Fingerprints, ListenerSetup, Node, NodeSetup, RULE_STEPS, run};
use exchange::{Account, Charge, Connection, Request};
use fuel::Fuel;
use telemetry::events::Events;
use telemetry::sink::{AccessLog, Target};
use zone::{Bundle, Source};

/// What a browser sends.
const REQUEST: &[u8] = b"GET /articles/a-title-of-usual-length?page=2 HTTP/1.1\r\nHost: www.example.org\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nanswer";

/// Polls of one exchange that goes to an origin: the request, and the answer.
const POLLS: usize = 2;

/// What waits of the bodies of one exchange, each time that its charge is told.
const HELD_BYTES: [u64; 7] = [0, 0, 0, 6, 6, 0, 0];

/// Rules of a zone that has some.
const RULES: usize = 10;

/// Charges of fuel: three comparisons of each rule, and what their phases cost.
const RULES_CHARGES: u64 = 36;

/// What is done for each request.
#[derive(Clone, Copy, Debug)]
struct Parts {
    has_box: bool,
    has_budgets: bool,
    charges: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, "serve", requests] => serve(requests, "", "", "1"),
        [_, "serve-rules", requests] => serve(requests, "", &(0..RULES).map(rule).collect::<String>(), "1"),
        [_, "unwatched", requests] => serve(requests, "", "[flood]\nmode = \"off\"\n", "1"),
        [_, "fixed", requests] => serve(requests, "[overload]\ndelay_ms = 0\n", FIXED, "64"),
        [_, "shed", requests] => serve(requests, "[overload]\ndelay_ms = 1\n", FIXED, "64"),
        [_, what @ ("frame" | "frame-rules" | "box" | "budgets"), requests] => {
            let charges = if *what == "frame-rules" { RULES_CHARGES } else { 0 };
            let parts = Parts { has_box: *what != "budgets", has_budgets: *what != "box", charges };
            frame(requests.parse().expect("a number"), parts);
        }
        [_, "visit", address, requests, at_once] => {
            visit(address, requests.parse().expect("a number"), at_once.parse().expect("a number"));
        }
        [_, "answer"] => answer(),
        _ => {
            eprintln!("frame_cost serve | serve-rules | unwatched | fixed | shed N");
            eprintln!("frame_cost frame | frame-rules | box | budgets N");
        }
    }
}

fn own(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(arguments);
    command
}

/// A zone that answers by itself.
const FIXED: &str = "[[route]]\npath_prefix = \"/\"\nanswer = { status = 200, body = \"answer\" }\n";

/// A data plane of one thread with these settings more, and its visitors as a child.
fn serve(requests: &str, of_node: &str, of_zone: &str, at_once: &str) {
    let mut origin = own(&["answer"]).stdout(Stdio::piped()).spawn().expect("a process");
    let mut at = String::new();
    BufReader::new(origin.stdout.take().expect("piped")).read_line(&mut at).expect("an address");
    let zone = format!(
        "name = \"a\"\nhostnames = [\"www.example.org\"]\n[[pool]]\nname = \"app\"\n\
         origins = [{{ url = \"http://{}\" }}]\n{of_zone}",
        at.trim()
    );
    let source = |name: &str, text: &str| Source { name: name.to_owned(), bytes: text.into() };
    let node = format!("[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\n{of_node}");
    let settings = zone::compile_node(&source("rempart.toml", &node)).expect("a node file");
    let bundle = Bundle::new(vec![source("a.toml", &zone)], None, BTreeMap::new());
    let snapshot = zone::compile(&bundle, 1, &|_| None).expect("a zone file");
    let listener = settings.listeners[0].clone();
    let setup = NodeSetup {
        threads: 1,
        settings,
        access_log: AccessLog::off(),
        events: Events::start(Target::Stderr, || 0).expect("standard error"),
        seed: [1, 2],
        sticky_key: [0; 16],
        quic_keys: ([0; 64], [0; 32]),
        black_box: None,
        fingerprint_key: [3, 4],
        flood_seed: 5,
        on_stuck: None,
        on_changed: None,
        connections_max: 1_000,
        cache: None,
    };
    let node = Node::new(setup, snapshot);
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let local: SocketAddr = socket.local_addr().expect("bound");
    let (tcp, udp, udp_slots, candidate) = (vec![socket], Vec::new(), (0, 1), None);
    let listener =
        ListenerSetup { settings: listener, local, tcp, udp, udp_slots, candidate, foreign: Vec::new() };
    let running = run(&node, vec![listener], None).expect("a thread");
    let visited = own(&["visit", &local.to_string(), requests, at_once]).status().expect("a process");
    assert!(visited.success(), "the visitor was not served");
    node.drain();
    assert!(running.join());
    let _ended_by_us = origin.kill();
    let _reaped = origin.wait();
}

/// A rule that no request matches, and none is known not to before its last comparison.
fn rule(number: usize) -> String {
    format!(
        "[[rule]]\nexpression = 'http.host eq \"www.example.org\" and http.request.method eq \"GET\" and \
         http.request.uri.path contains \"/absent-{number}\"'\naction = \"block\"\n"
    )
}

/// Asks so often, on so many connections at once; says how many were sent away.
fn visit(address: &str, requests: usize, at_once: usize) {
    let connect = |_| TcpStream::connect(address).expect("a listener");
    let mut streams: Vec<TcpStream> = (0..at_once).map(connect).collect();
    let mut buffer = [0; 4_096];
    let mut sent_away = 0;
    for _ in 0..requests / at_once {
        for stream in &mut streams {
            stream.write_all(REQUEST).expect("sent");
        }
        for stream in &mut streams {
            let mut seen = Vec::new();
            while !seen.ends_with(b"answer") && !seen.ends_with(b"</html>\n") {
                let read = stream.read(&mut buffer).expect("an answer");
                assert!(read > 0, "the connection was closed");
                seen.extend_from_slice(&buffer[..read]);
            }
            sent_away += usize::from(seen.starts_with(b"HTTP/1.1 503"));
        }
    }
    if sent_away > 0 {
        eprintln!("{sent_away} of {requests} were sent away");
    }
}

fn answer() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", socket.local_addr().expect("bound"));
    for stream in socket.incoming() {
        let mut stream = stream.expect("a connection");
        let mut seen = Vec::new();
        let mut buffer = [0; 4_096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            seen.extend_from_slice(&buffer[..read]);
            if seen.ends_with(b"\r\n\r\n") {
                seen.clear();
                stream.write_all(ANSWER).expect("sent");
            }
        }
    }
}

/// What the pipeline does for one request beside serving it, so many times.
fn frame(requests: usize, parts: Parts) {
    let writer = Writer::private(1);
    let slot = writer.claim(0).expect("a slot");
    let (fingerprints, door) = (Fingerprints::new([3, 4]), Door::default());
    let request = request();
    let (node, zone) = (Account::new(1 << 30), Account::new(1 << 30));
    let address: SocketAddr = ([127, 0, 0, 1], 80).into();
    let connection = Rc::new(Connection {
        id: 1,
        visitor: address,
        local: address,
        tls: None,
        http3_port: None,
        held: exchange::Tally::default(),
        waiting: exchange::Waiting::default(),
    });
    for _ in 0..requests {
        let request = black_box(&request);
        if parts.has_box {
            write_down(request, &slot, &fingerprints, &door);
        }
        if parts.has_budgets {
            keep_within(request, &connection, [&node, &zone], parts.charges);
        }
    }
    assert_eq!((node.held(), zone.held()), (0, 0));
}

fn request() -> Request {
    let mut request = Request::default();
    request.set_method(b"GET");
    request.set_authority(b"www.example.org");
    request.set_target(b"/articles/a-title-of-usual-length?page=2");
    let head = std::str::from_utf8(REQUEST).expect("ASCII");
    for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        request.fields.push(name.as_bytes(), value.as_bytes());
    }
    request
}

/// Black box, beat, fingerprint and door, as the pipeline uses them for one request.
fn write_down(request: &Request, slot: &Slot, fingerprints: &Fingerprints, door: &Door) {
    let mut work = Work { fingerprint: fingerprints.of(request), ..Work::default() };
    for poll in 0..POLLS {
        slot.beat(); // the connection's
        slot.beat(); // the exchange's
        slot.enter(black_box(&work));
        if poll == 0 {
            slot.zone([0; 8], 1);
            black_box(door.refuses(work.fingerprint, || 0));
            slot.zone(*b"zonezone", 1);
            slot.phase(1);
            slot.phase(2);
        } else {
            slot.phase(3);
            slot.phase(4);
        }
        work = slot.leave();
    }
    work.phase = 5;
    slot.enter(black_box(&work));
    slot.leave();
}

/// The charge of bytes and the fuel, as pipeline, wire and rules use them for one request.
fn keep_within(
    request: &Request,
    connection: &Rc<Connection>,
    [node, zone]: [&Arc<Account>; 2],
    charges: u64,
) {
    let head = request.fields.memory_bytes() + request.target().len() + request.authority().len();
    let mut charge = Charge::begin(node, connection, head as u64).expect("room");
    charge.join(zone).expect("room");
    let mut fuel = black_box(Fuel::new(RULE_STEPS));
    for price in 0..charges {
        fuel.spend(black_box(price)).expect("enough");
    }
    black_box(fuel.used());
    for held in HELD_BYTES {
        charge.hold(black_box(held)).expect("room");
    }
    drop(black_box(charge));
}
