//! Time-outs of a transfer, with a whole serving thread whose deadlines a test sweeps by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use exchange::{Deadlines, TICK_MS};
use telemetry::events::Events;
use telemetry::sink::{AccessLog, Target};
use testkit::fields::Fields;
use testkit::origin::{Answer, OriginSpec, ScriptedOrigin};
use testkit::visitor::Http2Visitor;
use tokio::sync::{mpsc, oneshot};
use wire::{TcpListenerSettings, Thread, accept_tcp};
use zone::{Bundle, Source};

use crate::node::{Node, NodeSetup};
use crate::pipeline::Edge;

/// A node file needs a listener; the test brings its own socket.
const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\n";

/// A serving thread of its own; time passes in it when it is told.
struct Serving {
    address: SocketAddr,
    passes: Option<mpsc::Sender<(u32, oneshot::Sender<()>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    fn before(origin: &ScriptedOrigin, lines: &str) -> Result<Serving> {
        let zone = format!(
            "name = \"a\"\nhostnames = [\"a.example\"]\n[http]\n{lines}\n[[pool]]\nname = \"app\"\n\
             origins = [{{ url = \"{}\" }}]\n[[route]]\npath = \"/own\"\nanswer = {{ body = \"own\" }}\n",
            origin.url()
        );
        let source = |name: &str, text: &str| Source { name: name.to_owned(), bytes: text.into() };
        let bundle = Bundle::new(vec![source("zones/a.toml", &zone)], None, BTreeMap::new());
        let snapshot = zone::compile(&bundle, 1, &|_| None).expect("a zone");
        let setup = NodeSetup {
            threads: 1,
            settings: zone::compile_node(&source("rempart.toml", LISTENER)).expect("a node file"),
            access_log: AccessLog::off(),
            events: Events::start(Target::Stderr, || 0)?,
            seed: [1, 2],
            sticky_key: [0; 16],
            quic_keys: ([0; 64], [0; 32]),
            black_box: None,
            fingerprint_key: [1, 2],
            flood_seed: 5,
            on_stuck: None,
            on_changed: None,
            connections_max: 100,
            cache: None,
        };
        let node = Node::new(setup, snapshot);
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let (passes, told) = mpsc::channel(1);
        let thread = std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build_local(Default::default()).expect("a runtime");
            runtime.block_on(serve(&node, listener, told));
        });
        Ok(Serving { address, passes: Some(passes), thread: Some(thread) })
    }

    /// Lets so many milliseconds pass at once.
    fn pass_ms(&self, ms: u32) -> Result<()> {
        let (done, passed) = oneshot::channel();
        self.passes.as_ref().context("it serves")?.blocking_send((ms, done))?;
        Ok(passed.blocking_recv()?)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.passes.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it has failed the test already.
            let _ = thread.join();
        }
    }
}

async fn serve(
    node: &std::sync::Arc<Node>,
    listener: std::net::TcpListener,
    mut told: mpsc::Receiver<(u32, oneshot::Sender<()>)>,
) {
    let deadlines = Deadlines::new();
    let edge = Edge::new(node, 0, &deadlines, node.black_box().slot(0).expect("a slot a thread"));
    let thread = Thread::new(edge, Rc::clone(&deadlines), 0, 100);
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let settings =
        TcpListenerSettings { is_tls: false, allows_h2c: true, trusts_proxy: None, http3_port: None };
    tokio::task::spawn_local(accept_tcp(thread, listener, settings));
    while let Some((ms, done)) = told.recv().await {
        for _ in 0..ms / TICK_MS {
            deadlines.sweep();
        }
        done.send(()).expect("somebody waits");
    }
}

/// Bytes a visitor takes at a time.
const WINDOW_BYTES: u32 = 16 * 1024;

/// Reads a body of some pieces, 16 KiB a time, with a pause after each; the bytes that came.
fn read_with_pauses(serving: &Serving, pause_ms: u32) -> Result<usize> {
    let visitor = Http2Visitor::cleartext_within(serving.address, WINDOW_BYTES)?;
    let mut stream = visitor.open("GET", "/pieces", "a.example", &Fields::default(), true)?;
    assert_eq!(stream.read_head()?.status, 200);
    let (mut read, mut since) = (0, 0);
    while let Some(part) = stream.body_part()? {
        read += part.len();
        since += part.len();
        // What is left of the window has come already: a pause between its parts would be one in which
        // nothing need move.
        if since < WINDOW_BYTES as usize {
            continue;
        }
        since = 0;
        // Its answer comes when the window that was opened is known, and used.
        assert_eq!(visitor.fetch("a.example", "/own")?.text(), "own");
        serving.pass_ms(pause_ms)?;
    }
    Ok(read)
}

fn pieces() -> Result<ScriptedOrigin> {
    OriginSpec::new().answering(|_| Answer::new(200).pattern(1, 0, 400_000))
}

#[test]
fn a_visitor_that_takes_a_piece_in_many_steps_is_not_standing_still() -> Result<()> {
    let origin = pieces()?;
    let serving = Serving::before(&origin, "body_idle_ms = 60000")?;
    // Four steps to a piece of 64 KiB.
    assert_eq!(read_with_pauses(&serving, 40_000)?, 400_000);
    Ok(())
}

#[test]
fn a_visitor_that_takes_nothing_for_the_zones_time_is_given_up() -> Result<()> {
    let origin = pieces()?;
    let serving = Serving::before(&origin, "body_idle_ms = 30000")?;
    let error = read_with_pauses(&serving, 40_000).expect_err("the pool's 60 s are not the visitor's");
    assert!(format!("{error:#}").contains("internal error"), "reset, as broken answers are: {error:#}");
    Ok(())
}
