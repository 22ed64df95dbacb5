//! Exchanges over HTTP/1.1: framing, interim answers, upgrades, and what goes wrong.

use std::future::poll_fn;

use exchange::{BodySize, Chunk, Fault, Incoming, Known, Request, Upgrade};

use crate::rig::{Node, Peer, answering, exchange, listen, origin, plain, request, run, settle, upload};

#[test]
fn a_connection_serves_one_exchange_after_the_other() {
    run(async {
        let address = answering(|number, _| {
            format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX-Number: {number}\r\n\r\nx").into()
        })
        .await;
        let node = Node::new(plain(address));
        for number in 0..10 {
            let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
            assert_eq!(answer.head.fields.value(b"x-number"), Some(number.to_string().as_bytes()));
            assert_eq!((answer.body.as_slice(), answer.was_reused), (&b"x"[..], number > 0));
            assert_eq!(answer.pieces, 1, "a small body's end is known with its bytes");
        }
        let report = node.report();
        assert_eq!((report.opened, report.reused, report.connections, report.in_flight), (1, 9, 1, 0));
    });
}

#[test]
fn a_request_is_one_write_and_its_fields_are_the_visitors() {
    run(async {
        let (listener, address) = listen().await;
        let node = Node::new(plain(address));
        let mut asked = upload(BodySize::Length(5));
        asked.fields.push(b"Connection", b"close");
        asked.fields.push(b"X-One", b"1");
        let served = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut peer = Peer::new(stream);
            let head = peer.head().await;
            let expected =
                "POST /upload HTTP/1.1\r\nHost: example.org\r\nX-One: 1\r\nContent-Length: 5\r\n\r\n";
            assert_eq!(head, expected);
            assert_eq!(peer.held, b"hello", "the body came with the head");
            peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
        };
        let (answer, ()) = tokio::join!(node.fetch(&asked, b"hello"), served);
        assert_eq!(answer.expect("an answer").head.status, 204);
    });
}

#[test]
fn a_closed_idle_connection_is_noticed_or_retried_without_loss() {
    run(async {
        // Each connection answers twice and is closed, at once after the second answer: sometimes the close
        // is seen before the next request, sometimes after.
        let address = origin(|mut peer, _| async move {
            for _ in 0..2 {
                if peer.head().await.is_empty() {
                    return;
                }
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        })
        .await;
        let node = Node::new(plain(address));
        for round in 0..60 {
            if round % 3 == 0 {
                settle().await;
            }
            let answer = node.fetch(&request("GET", "/"), b"").await.expect("no request is lost");
            assert_eq!(answer.body, b"ok");
        }
    });
}

#[test]
fn a_close_that_crosses_the_request_may_be_retried() {
    run(async {
        let address = origin(|mut peer, number| async move {
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            // Closed without an answer, but only after the second request came.
            if !peer.head().await.is_empty() && number > 0 {
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        })
        .await;
        let node = Node::new(plain(address));
        node.fetch(&request("GET", "/"), b"").await.expect("the first connection's answer");
        let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer after a retry");
        assert_eq!((answer.retried, answer.was_reused), (1, false));
        assert_eq!(node.report().opened, 2);
    });
}

#[test]
fn a_new_connection_closed_without_an_answer_is_a_fault() {
    run(async {
        let address = origin(|mut peer, _| async move {
            peer.head().await;
        })
        .await;
        let node = Node::new(plain(address));
        let mut link = node.open(&node.choose()).await.expect("a connection");
        let result = exchange(&mut link, &request("GET", "/"), b"", 1024).await;
        assert_eq!(result.err(), Some(Fault::ConnectionTerminated));
        assert!(!link.may_retry() && !link.was_not_worked_on());
    });
}

#[test]
fn interim_answers_pass_as_they_come() {
    run(async {
        let address = answering(|_, _| {
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
              HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                .to_vec()
        })
        .await;
        let node = Node::new(plain(address));
        for _ in 0..2 {
            let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
            assert_eq!((answer.interim.as_slice(), answer.head.status), (&[100, 103][..], 200));
        }
        assert_eq!(node.report().opened, 1);
        let endless = origin(|mut peer, _| async move {
            peer.head().await;
            for _ in 0..100 {
                peer.write("HTTP/1.1 102 Processing\r\n\r\n").await;
            }
        })
        .await;
        let node = Node::new(plain(endless));
        assert_eq!(node.fetch(&request("GET", "/"), b"").await.err(), Some(Fault::HttpProtocolError));
    });
}

#[test]
fn chunks_and_trailers_pass_both_ways() {
    run(async {
        let address = origin(|mut peer, _| async move {
            loop {
                if peer.head().await.is_empty() {
                    return;
                }
                let body = peer.until(b"0\r\n\r\n").await;
                assert_eq!(
                    body,
                    b"4000\r\n"
                        .iter()
                        .chain(&[b'a'; 16384])
                        .chain(b"\r\n5\r\naaaaa\r\n0\r\n\r\n")
                        .copied()
                        .collect::<Vec<_>>()
                );
                for part in [
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                    "6\r\n world\r\n0\r\nX-Sum: 1\r",
                    "\n\r\n",
                ] {
                    peer.write(part).await;
                    settle().await;
                }
            }
        })
        .await;
        let node = Node::new(plain(address));
        for _ in 0..2 {
            let answer = node.fetch(&upload(BodySize::Unknown), &[b'a'; 16389]).await.expect("an answer");
            assert_eq!(answer.body, b"hello world");
            assert_eq!(answer.trailers, [("X-Sum".to_owned(), "1".to_owned())]);
            assert_eq!(answer.head.body, BodySize::Unknown);
        }
        assert_eq!(node.report().opened, 1, "the connection is clean after trailers");
    });
}

#[test]
fn a_body_until_close_ends_with_the_connection() {
    run(async {
        let address = origin(|mut peer, _| async move {
            peer.head().await;
            peer.write("HTTP/1.0 200 OK\r\n\r\nuntil").await;
            settle().await;
            peer.write(" close").await;
        })
        .await;
        let node = Node::new(plain(address));
        let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        assert_eq!(answer.body, b"until close");
        assert_eq!(node.report().connections, 0, "nothing is kept of it");
    });
}

#[test]
fn broken_answers_have_their_faults() {
    let cases: [(&[u8], Fault); 9] = [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Fault::HttpProtocolError,
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Fault::HttpResponseTransferCoding),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", Fault::HttpProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", Fault::HttpResponseIncomplete),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", Fault::HttpResponseIncomplete),
        (b"HTTP/1.1 200 OK\r\nContent-Le", Fault::HttpResponseIncomplete),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            Fault::HttpProtocolError,
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Fault::HttpProtocolError),
        (b"", Fault::ConnectionTerminated),
    ];
    run(async move {
        for (bytes, fault) in cases {
            let address = origin(move |mut peer, _| async move {
                peer.head().await;
                peer.write(bytes).await;
            })
            .await;
            let node = Node::new(plain(address));
            let result = node.fetch(&request("GET", "/"), b"").await;
            assert_eq!(result.err(), Some(fault), "{}", String::from_utf8_lossy(bytes));
            assert_eq!(node.report().connections, 0);
        }
        let address = answering(|_, _| {
            let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
            head.extend((0..70_000).map(|at| {
                if at == 0 {
                    b'a'
                } else if at == 1 {
                    b':'
                } else {
                    b'x'
                }
            }));
            head
        })
        .await;
        let node = Node::new(plain(address));
        let result = node.fetch(&request("GET", "/"), b"").await;
        assert_eq!(result.err(), Some(Fault::HttpResponseHeaderSectionSize));
    });
}

#[test]
fn bytes_after_an_answer_make_its_connection_unusable() {
    run(async {
        let address =
            answering(|_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n".to_vec())
                .await;
        let node = Node::new(plain(address));
        for _ in 0..3 {
            let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
            assert!(!answer.was_reused);
            assert_eq!(answer.body, b"ok");
        }
        assert_eq!(node.report().connections, 0);
    });
}

#[test]
fn an_answer_to_head_has_no_body_and_keeps_its_length() {
    run(async {
        let address = answering(|_, head| {
            assert!(head.starts_with("HEAD "));
            b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec()
        })
        .await;
        let node = Node::new(plain(address));
        for _ in 0..2 {
            let answer = node.fetch(&request("HEAD", "/"), b"").await.expect("an answer");
            assert_eq!((answer.head.body, answer.head.declared_length), (BodySize::None, Some(1234)));
        }
        assert_eq!(node.report().opened, 1);
    });
}

#[test]
fn an_early_answer_is_read_though_the_upload_is_refused() {
    run(async {
        let address = origin(|mut peer, _| async move {
            peer.head().await;
            peer.write("HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbig!").await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut peer.stream).await;
            // What is still on its way is read, so that no reset overtakes the answer.
            while !peer.exactly(65536).await.is_empty() {}
        })
        .await;
        let node = Node::new(plain(address));
        let body = vec![b'x'; 4 * 1024 * 1024];
        let answer =
            node.fetch(&upload(BodySize::Length(body.len() as u64)), &body).await.expect("an answer");
        assert_eq!((answer.head.status, answer.body.as_slice()), (413, &b"big!"[..]));
        assert_eq!(node.report().connections, 0);
    });
}

#[test]
fn ten_megabytes_pass_both_ways_with_small_buffers() {
    const SIZE: usize = 10 * 1024 * 1024;
    run(async {
        let (listener, address) = listen().await;
        socket2::SockRef::from(&listener).set_recv_buffer_size(4096).expect("a small buffer");
        let node = Node::new(plain(address));
        let body: Vec<u8> = (0..SIZE).map(|at| ((at * 31) >> 7) as u8).collect();
        let served = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            socket2::SockRef::from(&stream).set_send_buffer_size(4096).expect("a small buffer");
            let mut peer = Peer::new(stream);
            peer.head().await;
            peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n")).await;
            let mut passed = 0;
            while passed < SIZE {
                let piece = peer.exactly(8192.min(SIZE - passed)).await;
                assert!(!piece.is_empty());
                passed += piece.len();
                peer.write(piece).await;
            }
        };
        let sent = async {
            let mut link = node.open(&node.choose()).await?;
            let answer = exchange(&mut link, &upload(BodySize::Length(SIZE as u64)), &body, 4096).await;
            assert!(link.bytes_sent() >= SIZE as u64 && link.bytes_received() >= SIZE as u64);
            link.finish();
            answer
        };
        let (answer, ()) = tokio::join!(sent, served);
        assert!(answer.expect("an echo").body == body);
        assert_eq!(node.report().connections, 1);
    });
}

#[test]
fn nothing_is_taken_while_the_origin_does_not_read() {
    run(async {
        let (_listener, address) = listen().await; // never accepted: the kernel takes a little and no more
        let node = Node::new(plain(address));
        let mut link = node.open(&node.choose()).await.expect("a connection");
        link.begin(&upload(BodySize::Unknown), b"example.org").expect("it can be written");
        let piece = vec![b'x'; 64 * 1024];
        let mut taken = 0_usize;
        loop {
            let is_ready = poll_fn(|cx| std::task::Poll::Ready(link.poll_ready(cx).is_ready())).await;
            if !is_ready {
                settle().await;
                if !poll_fn(|cx| std::task::Poll::Ready(link.poll_ready(cx).is_ready())).await {
                    break;
                }
            }
            poll_fn(|cx| std::task::Poll::Ready(link.send(cx, Chunk::Borrowed(&piece), false)))
                .await
                .expect("taken");
            taken += piece.len();
            assert!(taken < 64 * 1024 * 1024, "back-pressure never came");
        }
        assert!(taken > 0);
    });
}

#[test]
fn a_body_that_differs_from_its_length_is_not_sent() {
    run(async {
        let (_listener, address) = listen().await;
        let node = Node::new(plain(address));
        for (piece, is_last) in [(&b"toolong"[..], false), (b"abc", true)] {
            let mut link = node.open(&node.choose()).await.expect("a connection");
            link.begin(&upload(BodySize::Length(5)), b"example.org").expect("it can be written");
            let sent =
                poll_fn(|cx| std::task::Poll::Ready(link.send(cx, Chunk::Borrowed(piece), is_last))).await;
            assert_eq!(sent, Err(Fault::ProxyInternalError));
        }
    });
}

async fn echo_upgraded(mut peer: Peer) {
    let head = peer.head().await;
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = origin::request_head::websocket_accept(key.unwrap_or_default().as_bytes());
    let accept = String::from_utf8(accept).expect("base64");
    peer.write(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\nhi"
    ))
    .await;
    loop {
        let bytes = peer.exactly(1).await;
        if bytes.is_empty() {
            peer.write("bye").await;
            return;
        }
        peer.write(bytes).await;
    }
}

/// Sends `ping` and the end through a tunnel, and gives everything that came back.
async fn through_tunnel(node: &Node, asked: &Request) -> (u16, Option<Vec<u8>>, Vec<u8>) {
    let mut link = node.open(&node.choose()).await.expect("a connection");
    let mut head = exchange::Response::default();
    link.begin(asked, b"example.org").expect("it can be written");
    poll_fn(|cx| link.poll_head(cx, &mut head)).await.expect("a head");
    link.into_tunnel();
    poll_fn(|cx| link.poll_ready(cx)).await.expect("an open tunnel");
    poll_fn(|cx| std::task::Poll::Ready(link.send(cx, Chunk::Borrowed(b"ping"), true))).await.expect("sent");
    let (mut came, mut scratch) = (Vec::new(), [0; 3]);
    loop {
        let is_end = poll_fn(|cx| {
            link.poll_body(cx, &mut scratch).map(|incoming| {
                match incoming.expect("an open tunnel") {
                    Incoming::Data(chunk) => came.extend_from_slice(chunk.as_slice()),
                    Incoming::End => return true,
                    other => panic!("{other:?} in a tunnel"),
                }
                false
            })
        })
        .await;
        if is_end {
            break;
        }
    }
    link.finish();
    (head.status, head.fields.value(b"sec-websocket-accept").map(<[u8]>::to_vec), came)
}

#[test]
fn an_upgrade_becomes_a_tunnel_with_half_close() {
    run(async {
        let node = Node::new(plain(origin(|peer, _| echo_upgraded(peer)).await));
        let mut asked = request("GET", "/ws");
        asked.upgrade = Upgrade::Http1;
        asked.set_protocol(b"websocket");
        asked.fields.push(b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==");
        let (status, accept, came) = through_tunnel(&node, &asked).await;
        assert_eq!((status, came.as_slice()), (101, &b"hipingbye"[..]));
        assert_eq!(accept.as_deref(), Some(&b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="[..]));
        assert_eq!(node.report().connections, 0, "a tunnel is never given back");
    });
}

#[test]
fn an_extended_connect_is_translated_and_back() {
    run(async {
        let node = Node::new(plain(origin(|peer, _| echo_upgraded(peer)).await));
        let mut asked = request("CONNECT", "/ws");
        asked.upgrade = Upgrade::Extended;
        asked.set_protocol(b"websocket");
        asked.body = BodySize::Unknown;
        let (status, accept, came) = through_tunnel(&node, &asked).await;
        assert_eq!((status, accept, came.as_slice()), (200, None, &b"hipingbye"[..]));
        // An origin that does not know the key is no WebSocket server.
        let address = answering(|_, _| {
            b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n"
                .to_vec()
        })
        .await;
        let node = Node::new(plain(address));
        assert_eq!(node.fetch(&asked, b"").await.err(), Some(Fault::HttpUpgradeFailed));
        // And a plain 200 must not look like an open tunnel.
        let node = Node::new(plain(
            answering(|_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()).await,
        ));
        assert_eq!(node.fetch(&asked, b"").await.err(), Some(Fault::HttpUpgradeFailed));
    });
}

#[test]
fn the_heads_of_answers_keep_order_and_case() {
    run(async {
        let address = answering(|_, _| {
            b"HTTP/1.1 200 Very Well\r\nSET-COOKIE: a\r\nset-cookie: b\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
              Content-Length: 0\r\n\r\n"
                .to_vec()
        })
        .await;
        let node = Node::new(plain(address));
        let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        let names: Vec<_> = answer.head.fields.end_to_end().map(|field| field.name.to_vec()).collect();
        assert_eq!(names, [&b"SET-COOKIE"[..], b"set-cookie", b"Content-Length"]);
        assert_eq!(answer.head.reason, b"Very Well");
        assert_eq!(answer.head.fields.all_known(Known::SetCookie).count(), 2);
    });
}

const WHOLE: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\n\
    Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";

#[test]
fn an_answer_is_the_same_however_it_is_cut() {
    run(async {
        let cut = std::rc::Rc::new(std::cell::Cell::new(1));
        let at = std::rc::Rc::clone(&cut);
        let address = origin(move |mut peer, _| {
            let at = std::rc::Rc::clone(&at);
            async move {
                peer.stream.set_nodelay(true).expect("a TCP socket");
                while !peer.head().await.is_empty() {
                    let (first, rest) = WHOLE.as_bytes().split_at(at.get());
                    peer.write(first).await;
                    settle().await;
                    peer.write(rest).await;
                }
            }
        })
        .await;
        let node = Node::new(plain(address));
        for at in 1..WHOLE.len() {
            cut.set(at);
            let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
            assert_eq!(
                (answer.interim.as_slice(), answer.body.as_slice()),
                (&[103][..], &b"hello world"[..])
            );
            assert_eq!(answer.trailers.len(), 1, "cut at {at}");
        }
        assert_eq!(node.report().opened, 1);
    });
}

#[test]
fn mutilated_answers_end_in_an_answer_or_a_fault() {
    run(async {
        let address = origin(|mut peer, number| async move {
            let mut random = origin::balance::Cursor::new(number as u64);
            peer.head().await;
            let mut bytes = WHOLE.as_bytes().to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(3) {
                    0 => bytes[at] = random.below(256) as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, b"\r\n\0: 9;f"[random.below(9) as usize]),
                }
            }
            peer.write(bytes).await;
        })
        .await;
        let node = Node::new(plain(address));
        let (mut answers, mut faults) = (0, 0);
        for _ in 0..500 {
            match node.fetch(&request("GET", "/"), b"").await {
                Ok(_) => answers += 1,
                Err(fault) => {
                    assert_eq!(fault.cause(), exchange::Cause::Origin, "{fault:?}");
                    faults += 1;
                }
            }
        }
        assert!(answers > 0 && faults > 0, "{answers} answers, {faults} faults");
        settle().await;
        node.tick(1000);
        assert_eq!((node.report().in_flight, node.report().connections), (0, 0));
    });
}
