//! Tests of the resolver against name servers written here, on loopback; the clock is the tests' own.

use std::future::{Future, poll_fn};
use std::task::Poll;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::message::{DnsName, Family, write_question};
use super::system::Settings;
use super::*;

const HOST: &str = "shop.example";
const NXDOMAIN: u16 = 0x8183;
const SERVFAIL: u16 = 0x8182;
const TRUNCATED: u16 = 0x8380;

/// What a server says: flags, TTL, and the last byte of each address in 192.0.2.0/24. None for silence.
type Says = Option<(u16, u32, Vec<u8>)>;

fn says(ttl_s: u32, addresses: &[u8]) -> Says {
    Some((0x8180, ttl_s, addresses.to_vec()))
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// Answers a question; for IPv6 there is never an address.
fn answer_to(question: &[u8], flags: u16, ttl_s: u32, addresses: &[u8]) -> Vec<u8> {
    let mut out = question.to_vec();
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    if is_v4(question) {
        out[7] = addresses.len() as u8;
        for last in addresses {
            out.extend_from_slice(b"\xc0\x0c\0\x01\0\x01");
            out.extend_from_slice(&ttl_s.to_be_bytes());
            out.extend_from_slice(&[0, 4, 192, 0, 2, *last]);
        }
    }
    out
}

fn is_v4(question: &[u8]) -> bool {
    question[question.len() - 3] == 1
}

/// A name server: what it is asked and how it answers, by the number of times it was asked for IPv4 before.
struct Server {
    address: SocketAddr,
    questions: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Server {
    async fn saying(says: impl Fn(usize) -> Says + 'static) -> Self {
        Self::on(UdpSocket::bind("127.0.0.1:0").await.expect("a socket"), says)
    }

    fn on(socket: UdpSocket, says: impl Fn(usize) -> Says + 'static) -> Self {
        let address = socket.local_addr().expect("an address");
        let questions = Rc::<RefCell<Vec<Vec<u8>>>>::default();
        let seen = Rc::clone(&questions);
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.expect("a question");
                let question = &buffer[..length];
                let before = seen.borrow().iter().filter(|question| is_v4(question)).count();
                seen.borrow_mut().push(question.to_vec());
                if let Some((flags, ttl_s, addresses)) = says(before) {
                    // A forged answer first: it must make no difference.
                    let mut forged = answer_to(question, 0x8180, 60, &[66]);
                    forged[0] ^= 1;
                    socket.send_to(&forged, from).await.expect("sends");
                    let answer = answer_to(question, flags, ttl_s, &addresses);
                    socket.send_to(&answer, from).await.expect("sends");
                }
            }
        });
        Self { address, questions }
    }

    /// How often it was asked for IPv4.
    fn asked(&self) -> usize {
        self.questions.borrow().iter().filter(|question| is_v4(question)).count()
    }

    fn was_asked_for(&self, name: &str) -> bool {
        let name = DnsName::of(name).expect("a name");
        let tail = write_question(0, &name, Family::V4).split_off(12);
        self.questions.borrow().iter().any(|question| question.ends_with(&tail))
    }
}

/// A resolver that asks these servers.
fn resolver(servers: &[&Server], settings: Settings) -> (Rc<Resolver>, Rc<Deadlines>) {
    let servers = servers.iter().map(|server| server.address).collect();
    let deadlines = Deadlines::new();
    let hosts = "192.0.2.200 listed.example\n";
    let system = System::fixed(hosts, Settings { servers, ..settings });
    (Resolver::asking(Rc::clone(&deadlines), system), deadlines)
}

async fn found(resolver: &Rc<Resolver>, now_ms: u64) -> Result<Vec<u8>, Fault> {
    let addresses = resolver.resolve(HOST, 80, now_ms).await?;
    Ok(addresses.iter().map(last_byte).collect())
}

fn last_byte(address: &SocketAddr) -> u8 {
    assert_eq!(address.port(), 80);
    match address.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => panic!("nobody said {ip}"),
    }
}

/// Lets other tasks run until nothing is being asked for.
async fn settled(resolver: &Resolver) {
    while resolver.known.borrow().values().any(|one| one.asked.is_some()) {
        tokio::task::yield_now().await;
    }
}

/// Lets time fly until `work` is done.
async fn in_flight<T>(deadlines: &Deadlines, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        deadlines.sweep();
        cx.waker().wake_by_ref();
        work.as_mut().poll(cx)
    })
    .await
}

#[test]
fn an_answer_holds_as_long_as_its_ttl_and_is_fetched_anew_beside_the_exchange() {
    run(async {
        let server = Server::saying(|before| says(30, &[before as u8])).await;
        let (resolver, _) = resolver(&[&server], Settings::default());
        assert_eq!(found(&resolver, 5000).await, Ok(vec![0]));
        assert_eq!(found(&resolver, 34_999).await, Ok(vec![0]));
        assert_eq!(server.asked(), 1, "the answer is still fresh");
        for _ in 0..3 {
            assert_eq!(found(&resolver, 35_000).await, Ok(vec![0]), "nobody waits for the new answer");
        }
        settled(&resolver).await;
        assert_eq!((found(&resolver, 35_000).await, server.asked()), (Ok(vec![1]), 2));
    });
}

#[test]
fn ttls_are_held_within_bounds() {
    for (ttl_s, fresh_ms) in [(0, FRESH_MS_MIN), (60, 60_000), (u32::MAX / 2, FRESH_MS_MAX)] {
        run(async {
            let server = Server::saying(move |_| says(ttl_s, &[1])).await;
            let (resolver, _) = resolver(&[&server], Settings::default());
            for (now_ms, asked) in [(0, 1), (fresh_ms - 1, 1), (fresh_ms, 2)] {
                assert_eq!(found(&resolver, now_ms).await, Ok(vec![1]));
                settled(&resolver).await;
                assert_eq!(server.asked(), asked, "{ttl_s} s at {now_ms}");
            }
        });
    }
}

#[test]
fn old_addresses_serve_for_a_day_while_no_new_ones_can_be_had() {
    for failure in [SERVFAIL, NXDOMAIN] {
        run(async {
            let server = Server::saying(move |before| match before {
                0 => says(30, &[1, 2]),
                _ => Some((failure, 0, Vec::new())),
            });
            let server = server.await;
            let (resolver, _) = resolver(&[&server], Settings { rounds: 1, ..Settings::default() });
            assert_eq!(found(&resolver, 0).await, Ok(vec![1, 2]));
            for (now_ms, asked) in [(30_000, 2), (30_000 + RETRY_MS - 1, 2), (30_000 + RETRY_MS, 3)] {
                assert_eq!(found(&resolver, now_ms).await, Ok(vec![1, 2]));
                settled(&resolver).await;
                assert_eq!(server.asked(), asked, "at {now_ms}");
            }
            assert_eq!(found(&resolver, STALE_MS_MAX - 1).await, Ok(vec![1, 2]));
            settled(&resolver).await;
            let next = STALE_MS_MAX + RETRY_MS;
            assert_eq!(found(&resolver, next).await, Err(Fault::DnsError), "after a day");
        });
    }
}

#[test]
fn those_who_ask_at_once_cause_one_question() {
    run(async {
        let server = Server::saying(|_| says(30, &[1])).await;
        let (resolver, _) = resolver(&[&server], Settings::default());
        let asking: Vec<_> = (0..50)
            .map(|_| {
                let resolver = Rc::clone(&resolver);
                tokio::task::spawn_local(async move { found(&resolver, 0).await })
            })
            .collect();
        for one in asking {
            assert_eq!(one.await.expect("it ends"), Ok(vec![1]));
        }
        assert_eq!(server.questions.borrow().len(), 2, "one for each family");
    });
}

#[test]
fn who_gives_up_takes_the_look_up_from_nobody() {
    run(async {
        let server = Server::saying(|_| says(30, &[1])).await;
        let (resolver, _) = resolver(&[&server], Settings::default());
        {
            let mut first = std::pin::pin!(found(&resolver, 0));
            poll_fn(|cx| {
                assert!(first.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        assert_eq!(found(&resolver, 0).await, Ok(vec![1]));
        assert_eq!(server.asked(), 1);
    });
}

#[test]
fn silence_ends_in_a_time_out_that_is_told_at_once_for_a_while() {
    run(async {
        let server = Server::saying(|_| None).await;
        let (resolver, deadlines) = resolver(&[&server], Settings::default());
        assert_eq!(in_flight(&deadlines, found(&resolver, 0)).await, Err(Fault::DnsTimeout));
        let asked = resolver.known.borrow()[HOST].ask_again_ms;
        assert_eq!(asked, FAILED_MS);
        assert_eq!(found(&resolver, FAILED_MS - 1).await, Err(Fault::DnsTimeout), "without waiting");
        assert_eq!(in_flight(&deadlines, found(&resolver, FAILED_MS)).await, Err(Fault::DnsTimeout));
        assert_eq!(resolver.known.borrow()[HOST].ask_again_ms, 2 * FAILED_MS, "asked again");
    });
}

#[test]
fn silence_while_old_addresses_serve_is_not_noticed() {
    run(async {
        let server = Server::saying(|before| if before == 0 { says(30, &[1]) } else { None }).await;
        let (resolver, deadlines) = resolver(&[&server], Settings::default());
        assert_eq!(found(&resolver, 0).await, Ok(vec![1]));
        assert_eq!(found(&resolver, 30_000).await, Ok(vec![1]));
        in_flight(&deadlines, settled(&resolver)).await;
        assert_eq!(found(&resolver, 31_000).await, Ok(vec![1]));
    });
}

#[test]
fn a_name_without_addresses_is_searched_and_then_an_error() {
    run(async {
        let server = Server::saying(|_| Some((NXDOMAIN, 0, Vec::new()))).await;
        let search = vec!["inside.test".to_owned()];
        let (resolver, _) = resolver(&[&server], Settings { search, ..Settings::default() });
        assert_eq!(found(&resolver, 0).await, Err(Fault::DnsError));
        assert!(server.was_asked_for(HOST) && server.was_asked_for("shop.example.inside.test"));
        assert_eq!(found(&resolver, FAILED_MS - 1).await, Err(Fault::DnsError));
        assert_eq!(server.asked(), 2);
    });
}

#[test]
fn another_server_is_asked_where_one_fails_and_first_the_next_time() {
    run(async {
        let broken = Server::saying(|_| Some((SERVFAIL, 0, Vec::new()))).await;
        let good = Server::saying(|_| says(30, &[1])).await;
        let (resolver, _) = resolver(&[&broken, &good], Settings::default());
        assert_eq!(found(&resolver, 0).await, Ok(vec![1]));
        found(&resolver, 30_000).await.expect("addresses");
        settled(&resolver).await;
        assert_eq!((broken.asked(), good.asked()), (1, 2));
    });
}

#[test]
fn another_server_is_asked_where_one_is_silent() {
    run(async {
        let silent = Server::saying(|_| None).await;
        let good = Server::saying(|_| says(30, &[1])).await;
        let (resolver, deadlines) = resolver(&[&silent, &good], Settings::default());
        // Only while the silent one is waited for: afterwards the good one has all the time it needs.
        let sweeping = async {
            while silent.asked() == 0 || silent.questions.borrow().len() < 2 {
                tokio::task::yield_now().await;
            }
            while good.questions.borrow().len() < 2 {
                deadlines.sweep();
                tokio::task::yield_now().await;
            }
        };
        let (answer, ()) = tokio::join!(found(&resolver, 0), sweeping);
        assert_eq!(answer, Ok(vec![1]));
    });
}

/// A port of both kinds.
async fn both_sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().expect("an address")).await {
            return (socket, listener);
        }
    }
    panic!("no port is free for both");
}

#[test]
fn what_does_not_fit_a_datagram_is_asked_for_over_tcp() {
    run(async {
        let (socket, listener) = both_sockets().await;
        let server = Server::on(socket, |_| Some((TRUNCATED, 30, vec![1])));
        let (resolver, _) = resolver(&[&server], Settings::default());
        let works = Rc::new(Cell::new(false));
        let state = Rc::clone(&works);
        tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                if !state.get() {
                    continue;
                }
                let mut question = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
                stream.read_exact(&mut question).await.expect("a question");
                let answer = answer_to(&question, 0x8180, 30, &[1, 2, 3]);
                stream.write_u16(answer.len() as u16).await.expect("writes");
                stream.write_all(&answer).await.expect("writes");
            }
        });
        assert_eq!(found(&resolver, 0).await, Ok(vec![1]), "without TCP some are better than none");
        works.set(true);
        found(&resolver, 30_000).await.expect("addresses");
        settled(&resolver).await;
        assert_eq!(found(&resolver, 30_000).await, Ok(vec![1, 2, 3]));
    });
}

#[test]
fn the_hosts_file_comes_before_any_server() {
    run(async {
        let server = Server::saying(|_| says(30, &[1])).await;
        let (resolver, _) = resolver(&[&server], Settings::default());
        let listed = resolver.resolve("Listed.Example", 80, 0).await.expect("addresses");
        assert_eq!(*listed, [SocketAddr::from(([192, 0, 2, 200], 80))]);
        assert_eq!(server.questions.borrow().len(), 0);
    });
}

#[test]
fn nobody_is_asked_for_addresses_this_machine_and_what_cannot_exist() {
    run(async {
        let server = Server::saying(|_| says(30, &[1])).await;
        let (resolver, _) = resolver(&[&server], Settings::default());
        let here = [SocketAddr::from(([127, 0, 0, 1], 80)), (Ipv6Addr::LOCALHOST, 80).into()];
        for name in ["localhost", "LOCALHOST.", "app.localhost"] {
            assert_eq!(*resolver.resolve(name, 80, 0).await.expect("addresses"), here, "{name}");
        }
        let literal = resolver.resolve("2001:db8::1", 80, 0).await.expect("an address");
        assert_eq!(*literal, ["[2001:db8::1]:80".parse().expect("an address")]);
        assert_eq!(resolver.resolve("gone.invalid", 80, 0).await, Err(Fault::DnsError));
        assert!(resolver.known.borrow().is_empty());
        assert_eq!(server.questions.borrow().len(), 0);
    });
}

mod lists {
    use super::super::lists::{Lists, Said};
    use super::*;

    const SERVICE: &str = "list.example";

    fn question(name: &str) -> Vec<(Box<str>, Box<str>)> {
        vec![(SERVICE.into(), format!("{name}.{SERVICE}").into())]
    }

    fn last(said: &[Said]) -> Vec<Option<Vec<u8>>> {
        said.iter()
            .map(|(_, said)| said.as_ref().map(|all| all.iter().map(|ip| ip.octets()[3]).collect()))
            .collect()
    }

    #[test]
    fn what_is_listed_and_what_is_not_are_both_kept() {
        run(async {
            let server = Server::saying(|before| match before {
                0 => says(5, &[2]),
                1 => Some((NXDOMAIN, 0, Vec::new())),
                _ => says(86_400, &[9]),
            })
            .await;
            let lists = Lists::new(Deadlines::new(), &[server.address]);
            assert_eq!(last(&lists.ask(question("a"), 60_000, 0).await), [Some(vec![2])]);
            assert_eq!(last(&lists.ask(question("b"), 60_000, 0).await), [Some(vec![])]);
            // The least time, whatever the TTL; and that of what is not there.
            assert_eq!(last(&lists.ask(question("a"), 60_000, 59_999).await), [Some(vec![2])]);
            assert_eq!(last(&lists.ask(question("b"), 60_000, 299_999).await), [Some(vec![])]);
            assert_eq!(server.asked(), 2);
            assert_eq!(last(&lists.ask(question("a"), 60_000, 300_000).await), [Some(vec![9])]);
            assert_eq!(last(&lists.ask(question("a"), 60_000, 3_899_999).await), [Some(vec![9])]);
            assert_eq!(server.asked(), 3);
            assert_eq!(last(&lists.ask(question("a"), 60_000, 3_900_000).await), [Some(vec![9])]);
            assert_eq!(server.asked(), 4, "an hour at most");
            assert!(server.was_asked_for("a.list.example"));
        });
    }

    #[test]
    fn names_of_one_question_are_asked_for_at_once_and_once() {
        run(async {
            let server = Server::saying(|_| says(60, &[2])).await;
            let lists = Lists::new(Deadlines::new(), &[server.address]);
            let three: Vec<_> = ["a", "b", "a"].into_iter().flat_map(question).collect();
            let two = question("b");
            let (three, two) = tokio::join!(lists.ask(three, 60_000, 0), lists.ask(two, 60_000, 0));
            assert_eq!(last(&three), vec![Some(vec![2]); 3]);
            assert_eq!(last(&two), [Some(vec![2])]);
            assert_eq!(server.asked(), 2);
        });
    }

    #[test]
    fn a_list_that_does_not_answer_is_left_alone_and_tried_again() {
        run(async {
            let server = Server::saying(|before| match before {
                ..6 => Some((SERVFAIL, 0, Vec::new())),
                _ => says(60, &[2]),
            })
            .await;
            let lists = Lists::new(Deadlines::new(), &[server.address]);
            for name in ["a", "b", "c"] {
                assert_eq!(last(&lists.ask(question(name), 60_000, 0).await), [None]);
            }
            let asked = server.asked(); // each in two rounds
            assert_eq!(last(&lists.ask(question("d"), 60_000, 29_999).await), [None]);
            assert_eq!((asked, server.asked()), (6, 6), "left alone");
            assert_eq!(last(&lists.ask(question("d"), 60_000, 30_000).await), [Some(vec![2])]);
            assert_eq!(last(&lists.ask(question("a"), 60_000, 30_000).await), [Some(vec![2])]);
        });
    }

    #[test]
    fn nobody_waits_longer_than_said_and_the_answer_serves_the_next() {
        run(async {
            let deadlines = Deadlines::new();
            let (send, held) = tokio::sync::oneshot::channel::<()>();
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
            let address = socket.local_addr().expect("an address");
            tokio::task::spawn_local(async move {
                let mut buffer = [0; 512];
                let (length, from) = socket.recv_from(&mut buffer).await.expect("a question");
                held.await.expect("let go");
                let answer = answer_to(&buffer[..length], 0x8180, 60, &[2]);
                socket.send_to(&answer, from).await.expect("sends");
            });
            let lists = Lists::new(Rc::clone(&deadlines), &[address]);
            let mut first = std::pin::pin!(lists.ask(question("a"), 1_000, 0));
            poll_fn(|cx| {
                assert!(first.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            for _ in 0..12 {
                deadlines.sweep();
            }
            assert_eq!(last(&first.await), [None]);
            send.send(()).expect("still held");
            assert_eq!(last(&lists.ask(question("a"), 60_000, 0).await), [Some(vec![2])]);
        });
    }
}
