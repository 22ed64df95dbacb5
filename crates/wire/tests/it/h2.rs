//! HTTP/2 towards visitors, where time matters: the h2 crate's client against `accept_tcp`. Time is moved by
//! hand, never waited for; what the protocol demands is shown by `tests/clients/http2_violations.py`.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use exchange::{BodySize, Chunk, Deadlines, Response, TICK_MS};
use tokio::net::{TcpListener, TcpStream};
use wire::{Exchange, Hello, Service, TcpListenerSettings, Thread, TlsChoice, WireEvent, accept_tcp};

/// Bytes of the one answer, given in one piece.
const BODY_BYTES: usize = 64 * 1024;

struct OnePiece;

impl Service for OnePiece {
    async fn serve(&self, exchange: &mut Exchange) {
        let response =
            Response { status: 200, body: BodySize::of_length(BODY_BYTES as u64), ..Response::default() };
        poll_fn(|cx| {
            exchange.respond(cx, &response);
            exchange.send(cx, Chunk::Shared(Bytes::from(vec![7; BODY_BYTES])), true);
            Poll::Ready(())
        })
        .await;
    }

    fn tls(&self, _hello: &Hello) -> Option<TlsChoice> {
        None
    }

    fn count(&self, _event: WireEvent) {}
}

/// A GET with windows of 16 KiB: what came by now, then whether more comes after `pauses` of 40 seconds with
/// one window read after each, if the visitor reads.
async fn read_with_pauses(pauses: usize, reads: bool) -> Result<usize, h2::Error> {
    let deadlines = Deadlines::new();
    let thread = Thread::new(Rc::new(OnePiece), Rc::clone(&deadlines), 0, 10);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings =
        TcpListenerSettings { is_tls: false, allows_h2c: true, trusts_proxy: None, http3_port: None };
    tokio::task::spawn_local(accept_tcp(thread, listener, settings));
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(16 * 1024);
    let tcp = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = builder.handshake::<_, Bytes>(tcp).await.unwrap();
    tokio::task::spawn_local(async move {
        let _ended = connection.await;
    });
    let mut sender = sender.ready().await.unwrap();
    let request = http::Request::get("http://a.example/").body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let mut read = 0;
    let mut unreleased = 0;
    for pause in 0.. {
        while unreleased < 16 * 1024 && read < BODY_BYTES {
            let bytes = body.data().await.expect("more of the body")?;
            (read, unreleased) = (read + bytes.len(), unreleased + bytes.len());
        }
        if read == BODY_BYTES {
            return body.data().await.map_or(Ok(read), |more| more.map(|bytes| read + bytes.len()));
        }
        if pause < pauses {
            for _ in 0..40_000 / TICK_MS {
                deadlines.sweep();
            }
        }
        if reads || pause >= pauses {
            body.flow_control().release_capacity(unreleased).unwrap();
            unreleased = 0;
        }
    }
    unreachable!("the body ends");
}

fn run<T>(scenario: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async {
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, scenario).await.expect("the scenario hangs")
    })
}

#[test]
fn the_rest_of_an_answer_may_take_long_if_it_moves() {
    assert_eq!(run(read_with_pauses(3, true)).unwrap(), BODY_BYTES);
}

#[test]
fn a_visitor_that_never_opens_its_window_is_given_up() {
    let reset = run(read_with_pauses(3, false)).unwrap_err();
    assert_eq!((reset.is_reset(), reset.reason()), (true, Some(h2::Reason::INTERNAL_ERROR)));
}
