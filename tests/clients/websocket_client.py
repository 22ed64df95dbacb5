"""websockets (PyPI) through the node over HTTP/1.1, TLS and cleartext, to a server of the same library: text, binary,
fragments, 1 MB, ping and pong, close codes both ways, subprotocols, permessage-deflate, many at once."""

import json
import os
import socket
import ssl
import threading

from stage import FACTS, HOST, check, connect, equal, finish, tls_context
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as open_websocket

LARGE = 1 << 20

# The library reads in one thread while it writes in another, and Python's ssl lets both into OpenSSL at once: with
# TLS 1.3 a write that meets a session ticket being read can wait for ever, before any server. TLS 1.2 sends nothing
# after the handshake. WebSocket over TLS 1.3 is shown by `a_websocket_passes_over_tls_1_3_at_once` in tests/it/tls.rs.
CONTEXT = tls_context(["http/1.1"])
CONTEXT.maximum_version = ssl.TLSVersion.TLSv1_2


def visit(protocol="https", path="/chat?a=b", **more):
    scheme = "wss" if protocol == "https" else "ws"
    sock = connect("http") if protocol == "http" else None
    if sock is None:
        sock = socket.create_connection(("127.0.0.1", FACTS["https"]), timeout=20)
        more |= {"ssl": CONTEXT, "server_hostname": HOST}
    sock.settimeout(None)
    more.setdefault("subprotocols", ["chat.v1"])
    return open_websocket(f"{scheme}://{HOST}:{FACTS[protocol]}{path}", sock=sock, max_size=None, open_timeout=20,
                          close_timeout=20, **more)


def closed_by(visitor):
    try:
        visitor.recv(timeout=20)
        return None
    except ConnectionClosed as closed:
        return closed


for protocol in ("http", "https"):
    for compression in (None, "deflate"):
        name = f"{protocol}, compression {compression}"
        with visit(protocol, compression=compression, subprotocols=["chat.v0", "chat.v1", "chat.v2"], origin="https://x.example",
                   additional_headers={"Cookie": "a=1"}) as visitor:
            visitor.send("facts")
            facts = json.loads(visitor.recv(timeout=20))
            equal((facts["path"], facts["origin"], facts["cookie"], facts["for"]),
                  ("/chat?a=b", "https://x.example", "a=1", "127.0.0.1"), f"{name}: what the origin sees")
            equal((facts["subprotocol"], visitor.subprotocol), ("chat.v2", "chat.v2"), f"{name}: the subprotocol")
            offered = "permessage-deflate" in (facts["extensions"] or "")
            agreed = [extension.name for extension in visitor.protocol.extensions]
            equal((offered, agreed), ((True, ["permessage-deflate"]) if compression else (False, [])), f"{name}: the extension")
            for message in ("hello", "", "ünïcode ☃", b"", bytes(range(256)), "x" * LARGE, os.urandom(LARGE)):
                visitor.send(message)
                check(visitor.recv(timeout=20) == message, f"{name}: echo of {message[:20]!r}")
            visitor.send(iter(["a", "b" * 1000, "", "c"]))
            equal(visitor.recv(timeout=20), "a" + "b" * 1000 + "c", f"{name}: a message sent in fragments")
            visitor.send(iter([b"1", b"2"]))
            equal(visitor.recv(timeout=20), b"12", f"{name}: a binary one")
            visitor.send("pieces")
            equal(list(visitor.recv_streaming()), ["pi", "ec", "es", ""], f"{name}: fragments arrive as they were sent")
            check(visitor.ping("p" * 125).wait(20), f"{name}: a ping is answered")
            visitor.send("ping")
            equal(visitor.recv(timeout=20), "ponged", f"{name}: a ping of the origin is answered")
            for index in range(200):
                visitor.send(str(index))
            equal([visitor.recv(timeout=20) for _ in range(200)], [str(index) for index in range(200)], f"{name}: 200 in a row")
        equal((visitor.close_code, visitor.close_reason), (1000, ""), f"{name}: closed by us")

for code, reason in [(1000, "bye"), (1001, ""), (1008, "ünïcode"), (3000, "r" * 100), (4999, "own")]:
    with visit() as visitor:
        visitor.send(f"close {code} {reason}")
        closed = closed_by(visitor)
        equal((closed.rcvd.code, closed.rcvd.reason), (code, reason), f"closed by the origin with {code}")
    visitor = visit()
    visitor.close(code, reason)
    equal(visitor.close_code, code, f"closed by the visitor with {code}")

with visit() as visitor:
    visitor.send("vanish")
    closed = closed_by(visitor)
    check(closed is not None and closed.rcvd is None, "an origin that vanishes ends the connection without a close frame", closed)

# Many at once, each with its own words.
failed = []


def converse(index):
    try:
        with visit("https" if index % 2 else "http") as visitor:
            for turn in range(20):
                visitor.send(f"{index} {turn}")
                if visitor.recv(timeout=20) != f"{index} {turn}":
                    failed.append((index, turn))
    except Exception as error:  # whatever it was, the check names it
        failed.append((index, repr(error)))


threads = [threading.Thread(target=converse, args=(index,)) for index in range(40)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
equal(failed, [], "40 at once")

# An upgrade that the origin refuses comes back as its answer.
try:
    with connect("http") as raw:
        raw.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    f"Sec-WebSocket-Version: 13\r\n\r\n".encode())
        status = raw.recv(4096).split(b" ")[1]
    equal(status, b"400", "an upgrade without a key is refused by the origin")
except InvalidStatus as error:
    check(False, "an upgrade without a key", error)
finish(at_least=70)
