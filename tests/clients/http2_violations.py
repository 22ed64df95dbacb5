"""What RFC 9113 and RFC 7541 demand of a server, one exact violation a connection, frames written by hand.

Each case says how the connection or the stream must fail. RFC 9113 section 5.4.1 lets an endpoint close the
connection without GOAWAY, and section 5.4 lets it treat a stream error as a connection error; both count, but a
GOAWAY or RST_STREAM with an error code that the case does not name does not. One exception: PROTOCOL_ERROR followed
by the end of the connection is taken for any other code, since the h2 crate does not tell them apart. The word on the
command line chooses TLS (ALPN) or cleartext (prior knowledge).
"""

import struct
from concurrent.futures import ThreadPoolExecutor

from http2 import (ACK, CLOSED, COMPRESSION, CONTINUATION, DATA, END_STREAM, FLOW, GOAWAY, HEADERS, NAMES, PING, PREFACE, PRIORITY,
                   PROTOCOL, PROTOCOL_WORD, PUSH, REFUSED, RST, SETTINGS, SIZE, WINDOW, Peer, fields, frame, get, literal, number,
                   post)
from stage import HOST, check, finish

CASES = []


def case(name, bytes_, *codes, settings=b"", stream_only=False, statuses=(), raw=False):
    """The bytes after preface and SETTINGS must fail with one of the codes. A PING follows, so that an accepted
    violation shows as its answer. `statuses`: an answer that refuses the request is as good. `raw`: the bytes
    are all that is sent."""
    CASES.append((name, bytes_, codes, settings, statuses, raw))


def setting(key, value):
    return struct.pack(">HI", key, value)


# 3.4: the preface.
case("an invalid preface", b"INVALID CONNECTION PREFACE\r\n\r\n", PROTOCOL, raw=True, statuses=("http1",))
case("a preface of which the end differs", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX" + frame(SETTINGS), PROTOCOL, raw=True,
     statuses=("http1",))
case("no SETTINGS after the preface", PREFACE + get(), PROTOCOL, raw=True)
case("PING instead of SETTINGS", PREFACE + frame(PING, payload=b"12345678"), PROTOCOL, raw=True)
case("an acknowledgment instead of SETTINGS", PREFACE + frame(SETTINGS, ACK) + get(), PROTOCOL, raw=True)
case("WINDOW_UPDATE instead of SETTINGS", PREFACE + frame(WINDOW, 0, 0, b"\0\0\x10\0") + frame(SETTINGS) + get(), PROTOCOL, raw=True)
case("an unknown frame instead of SETTINGS", PREFACE + frame(0x16, 0, 0, b"x") + frame(SETTINGS) + get(), PROTOCOL, raw=True)

# 4.1, 4.2: frame format and size.
case("DATA longer than SETTINGS_MAX_FRAME_SIZE", post() + frame(DATA, 0, 1, b"x" * 16385), SIZE)
case("HEADERS longer than SETTINGS_MAX_FRAME_SIZE", frame(HEADERS, 5, 1, fields(("x-a", "x" * 17000))), SIZE)
case("an unknown frame longer than that", frame(0x16, 0, 0, b"x" * 16385), SIZE)

# 4.3: field blocks.
case("a block that does not decode", frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"), COMPRESSION)
case("PRIORITY within a field block", frame(HEADERS, 1, 1, fields()) + frame(PRIORITY, 0, 1, b"\0\0\0\0\x0a"), PROTOCOL)
case("HEADERS of another stream within one", frame(HEADERS, 1, 1, fields()) + get(3), PROTOCOL)
case("PING within one", frame(HEADERS, 1, 1, fields()) + frame(PING, payload=b"12345678"), PROTOCOL)
case("an unknown frame within one", frame(HEADERS, 1, 1, fields()) + frame(0x16, 0, 1, b"x"), PROTOCOL)
case("DATA within one", frame(HEADERS, 0, 1, fields()) + frame(DATA, 1, 1, b"x"), PROTOCOL)

# 5.1: stream states.
case("DATA on an idle stream", frame(DATA, 1, 1, b"test"), PROTOCOL)
case("RST_STREAM on an idle stream", frame(RST, 0, 1, b"\0\0\0\x08"), PROTOCOL)
case("WINDOW_UPDATE on an idle stream", frame(WINDOW, 0, 1, b"\0\0\0\x64"), PROTOCOL)
case("CONTINUATION on an idle stream", frame(CONTINUATION, 4, 1, fields()), PROTOCOL)
case("DATA on a half-closed stream", get(1, path="/bytes/100000") + frame(DATA, 1, 1, b"test"), CLOSED,
     settings=setting(4, 0))
case("HEADERS on a half-closed stream", get(1, path="/bytes/100000") + get(1), CLOSED, settings=setting(4, 0))
case("CONTINUATION on a half-closed stream", get(1, path="/bytes/100000") + frame(CONTINUATION, 4, 1, fields()), CLOSED,
     PROTOCOL, settings=setting(4, 0))
case("DATA after RST_STREAM", post() + frame(RST, 0, 1, b"\0\0\0\x08") + frame(DATA, 1, 1, b"test"), CLOSED)
case("HEADERS after RST_STREAM", post() + frame(RST, 0, 1, b"\0\0\0\x08") + get(1), CLOSED, PROTOCOL)
case("CONTINUATION after RST_STREAM", post() + frame(RST, 0, 1, b"\0\0\0\x08") + frame(CONTINUATION, 4, 1, fields()), CLOSED,
     PROTOCOL)

# 5.1.1: identifiers.
case("an even stream", get(2), PROTOCOL)
case("stream 0", get(0), PROTOCOL)
case("a smaller stream than before", get(5, path="/hello") + get(3), PROTOCOL, CLOSED)

# 5.3: priority on itself. RFC 9113 deprecates it, and a server may ignore it; RFC 7540 made it an error.
CASES_FREE = [
    ("PRIORITY on itself", frame(PRIORITY, 0, 1, b"\0\0\0\x01\x0a")),
    ("HEADERS with priority on itself", frame(HEADERS, 0x25, 1, b"\0\0\0\x01\x0a" + fields())),
]

# 5.5: unknown frames and flags are ignored: see below. 6.1: DATA.
case("DATA on stream 0", frame(DATA, 1, 0, b"test"), PROTOCOL)
case("DATA with too much padding", post() + frame(DATA, 9, 1, b"\x06test"), PROTOCOL)
case("DATA, padded, without a length", post() + frame(DATA, 9, 1, b""), PROTOCOL, SIZE)
case("DATA whose padding fills it beyond", post() + frame(DATA, 9, 1, b"\x05\0\0\0\0"), PROTOCOL)

# 6.2: HEADERS.
case("HEADERS with too much padding", frame(HEADERS, 0xD, 1, b"\xff" + fields()), PROTOCOL)
case("HEADERS, padded, without a length", frame(HEADERS, 0xD, 1, b""), PROTOCOL, SIZE)
case("HEADERS with a priority cut short", frame(HEADERS, 0x25, 1, b"\0\0\0"), PROTOCOL, SIZE)
case("HEADERS without any field", frame(HEADERS, 5, 1, b""), PROTOCOL)

# 6.3: PRIORITY.
case("PRIORITY on stream 0", frame(PRIORITY, 0, 0, b"\0\0\0\x01\x0a"), PROTOCOL)
case("PRIORITY of 4 bytes", frame(PRIORITY, 0, 1, b"\0\0\0\x03"), SIZE)
case("PRIORITY of 6 bytes", frame(PRIORITY, 0, 1, b"\0\0\0\x03\x0a\0"), SIZE)

# 6.4: RST_STREAM.
case("RST_STREAM on stream 0", frame(RST, 0, 0, b"\0\0\0\x08"), PROTOCOL)
case("RST_STREAM of 3 bytes", post() + frame(RST, 0, 1, b"\0\0\x08"), SIZE)
case("RST_STREAM of 5 bytes", post() + frame(RST, 0, 1, b"\0\0\0\x08\0"), SIZE)

# 6.5: SETTINGS.
case("SETTINGS acknowledgment with a payload", frame(SETTINGS, ACK, 0, setting(3, 100)), SIZE)
case("SETTINGS on a stream", frame(SETTINGS, 0, 1, setting(3, 100)), PROTOCOL)
case("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, b"\0\x03\0\0\0"), SIZE)
case("ENABLE_PUSH of 2", frame(SETTINGS, 0, 0, setting(2, 2)), PROTOCOL)
case("INITIAL_WINDOW_SIZE above the maximum", frame(SETTINGS, 0, 0, setting(4, 1 << 31)), FLOW)
case("MAX_FRAME_SIZE below 16384", frame(SETTINGS, 0, 0, setting(5, 16383)), PROTOCOL)
case("MAX_FRAME_SIZE above 16777215", frame(SETTINGS, 0, 0, setting(5, 1 << 24)), PROTOCOL)
case("ENABLE_CONNECT_PROTOCOL of 2", frame(SETTINGS, 0, 0, setting(8, 2)), PROTOCOL)

# 6.6: PUSH_PROMISE from a client.
case("PUSH_PROMISE", get(1, path="/bytes/100000") + frame(PUSH, 4, 1, b"\0\0\0\x02" + fields()), PROTOCOL, settings=setting(4, 0))

# 6.7: PING.
case("PING on a stream", frame(PING, 0, 1, b"12345678"), PROTOCOL)
case("PING of 6 bytes", frame(PING, 0, 0, b"123456"), SIZE)
case("PING of 9 bytes", frame(PING, 0, 0, b"123456789"), SIZE)

# 6.8: GOAWAY.
case("GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL)
case("GOAWAY of 4 bytes", frame(GOAWAY, 0, 0, bytes(4)), SIZE)

# 6.9: WINDOW_UPDATE.
case("an increment of 0 on the connection", frame(WINDOW, 0, 0, bytes(4)), PROTOCOL)
case("an increment of 0 on a stream", get(1, path="/bytes/100000") + frame(WINDOW, 0, 1, bytes(4)), PROTOCOL, settings=setting(4, 0))
case("WINDOW_UPDATE of 3 bytes", frame(WINDOW, 0, 0, b"\0\0\x01"), SIZE)
case("WINDOW_UPDATE of 5 bytes", frame(WINDOW, 0, 0, b"\0\0\0\x01\0"), SIZE)
case("a connection window above 2^31-1", frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff") * 2, FLOW)
case("a stream window above 2^31-1", get(1, path="/bytes/100000") + frame(WINDOW, 0, 1, b"\x7f\xff\xff\xff") * 2, FLOW,
     settings=setting(4, 1))
case("a stream window above 2^31-1 by SETTINGS", get(1, path="/bytes/100000") + frame(WINDOW, 0, 1, b"\x7f\xff\xff\xff")
     + frame(SETTINGS, 0, 0, setting(4, 0x7FFFFFFF)), FLOW, settings=setting(4, 0))

# 6.10: CONTINUATION.
case("CONTINUATION after END_HEADERS", post() + frame(CONTINUATION, 4, 1, fields()), PROTOCOL)
case("CONTINUATION after CONTINUATION with END_HEADERS", frame(HEADERS, 0, 1, fields()) + frame(CONTINUATION, 4, 1, b"") +
     frame(CONTINUATION, 4, 1, b""), PROTOCOL)
case("CONTINUATION on stream 0", frame(HEADERS, 1, 1, fields()) + frame(CONTINUATION, 4, 0, b""), PROTOCOL)
case("CONTINUATION after DATA", post() + frame(DATA, 0, 1, b"x") + frame(CONTINUATION, 4, 1, fields()), PROTOCOL)
case("CONTINUATION of another stream", frame(HEADERS, 1, 1, fields()) + frame(CONTINUATION, 4, 3, b""), PROTOCOL)

# 8.1: framing of messages.
case("trailers without END_STREAM", post() + frame(HEADERS, 4, 1, literal([("x-t", "1")])), PROTOCOL)
for form, block in [("a literal", literal([(":path", "/")])), ("one of answers", literal([(":status", "200")])),
                    ("before others", literal([(":path", "/"), ("x-t", "1")])), ("after others", literal([("x-t", "1"), (":path", "/")])),
                    ("an index", b"\x84"), ("a literal with an indexed name", b"\x44\x01/"), ("by Huffman", b"\0\x84\xb9\x58\xd3\x3f\x01/"),
                    ("behind a table size", b"\x20\x84")]:
    case(f"pseudo-header in trailers, {form}", post() + frame(DATA, 0, 1, b"x") + frame(HEADERS, 5, 1, block), PROTOCOL)
case("pseudo-header in padded trailers", post() + frame(HEADERS, 0x2D, 1, b"\x01\0\0\0\0\x01\x84\0"), PROTOCOL)

# 8.2: fields. A request may instead be refused with 400 (section 8.1.1).
BAD = ("400", "421", "501", "405")
for name in ("X-A", "x-A", "x a", "x\x00a", "x\x7fa", "x\xe9a", "", "x:a", "x\ra", "x\na", "x(a"):
    case(f"field name {name!r}", get(1, (name, "1")), PROTOCOL, statuses=BAD)
for value in ("a\x00b", "a\rb", "a\nb", "a\r\nb: c", "\x01"):
    case(f"field value {value!r}", get(1, ("x-a", value)), PROTOCOL, statuses=BAD)
for name, value in [("connection", "keep-alive"), ("connection", "close"), ("keep-alive", "x"), ("proxy-connection", "x"),
                    ("transfer-encoding", "chunked"), ("upgrade", "h2c"), ("te", "gzip"), ("te", "trailers, deflate")]:
    case(f"{name}: {value}", get(1, (name, value)), PROTOCOL, statuses=BAD)

# 8.3: pseudo-header fields.
case("an unknown pseudo-header", get(1, (":test", "x")), PROTOCOL, statuses=BAD)
case("a pseudo-header of answers", get(1, (":status", "200")), PROTOCOL, statuses=BAD)
case("a pseudo-header after a field", frame(HEADERS, 5, 1, literal([("x-a", "1"), (":method", "GET"), (":scheme", PROTOCOL_WORD),
     (":authority", HOST), (":path", "/")])), PROTOCOL, statuses=BAD)
for name in (":method", ":scheme", ":path"):
    case(f"no {name}", get(1, without=(name,)), PROTOCOL, statuses=BAD)
    case(f"{name} twice", frame(HEADERS, 5, 1, literal([(":method", "GET"), (":scheme", PROTOCOL_WORD), (":authority", HOST),
         (":path", "/hello")] + [(name, {":method": "GET", ":scheme": PROTOCOL_WORD, ":path": "/hello"}[name])])), PROTOCOL,
         statuses=BAD)
case(":authority twice", get(1, (":authority", HOST)), PROTOCOL, statuses=BAD)
case("an empty :path", get(1, path=""), PROTOCOL, statuses=BAD)
case("a :path without a slash", get(1, path="hello"), PROTOCOL, statuses=BAD)
case("a :path in absolute form", get(1, path=f"http://{HOST}/hello"), PROTOCOL, statuses=BAD)
case("a :path with a space", get(1, path="/a b"), PROTOCOL, statuses=BAD)
case("a :path with CRLF", get(1, path="/a HTTP/1.1\r\nHost: x\r\n\r\n"), PROTOCOL, statuses=BAD)
case("a :path with a fragment", get(1, path="/a#b"), PROTOCOL, statuses=BAD + ("200",))
case("a :path with NUL", get(1, path="/a\x00"), PROTOCOL, statuses=BAD)
case("an empty :method", get(1, method=""), PROTOCOL, statuses=BAD)
case("a :method with a space", get(1, method="GET /x"), PROTOCOL, statuses=BAD)
case("a :method with CRLF", get(1, method="GET\r\nX: y"), PROTOCOL, statuses=BAD)
case("an empty :authority", get(1, authority=""), PROTOCOL, statuses=BAD)
case("no :authority and no host", get(1, without=(":authority",)), PROTOCOL, statuses=BAD)
case("an :authority with userinfo", get(1, authority=f"a@{HOST}"), PROTOCOL, statuses=BAD)
case("an :authority with a slash", get(1, authority=f"{HOST}/x"), PROTOCOL, statuses=BAD)
case("an :authority with CRLF", get(1, authority=f"{HOST}\r\nX: y"), PROTOCOL, statuses=BAD)
case("a host that differs", get(1, ("host", "localhost")), PROTOCOL, statuses=BAD)
case("two host fields", get(1, ("host", HOST), ("host", "localhost")), PROTOCOL, statuses=BAD)
case("two host fields, no :authority", get(1, ("host", HOST), ("host", HOST), without=(":authority",)), PROTOCOL, statuses=BAD)
case("a :scheme with a space", get(1, scheme="ht tp"), PROTOCOL, statuses=BAD)
case("CONNECT", frame(HEADERS, 4, 1, literal([(":method", "CONNECT"), (":authority", f"{HOST}:80")])), PROTOCOL, statuses=BAD)
case(":protocol without CONNECT", get(1, (":protocol", "websocket")), PROTOCOL, statuses=BAD)

# 8.1.1: content-length.
case("a body longer than its length", post(1, ("content-length", "1")) + frame(DATA, 1, 1, b"test"), PROTOCOL, statuses=BAD)
case("a body in pieces longer than its length", post(1, ("content-length", "3")) + frame(DATA, 0, 1, b"te") +
     frame(DATA, 1, 1, b"st"), PROTOCOL, statuses=BAD)
case("a body shorter than its length", post(1, ("content-length", "9")) + frame(DATA, 1, 1, b"test"), PROTOCOL, statuses=BAD)
case("a length without a body", get(1, ("content-length", "4")), PROTOCOL, statuses=BAD)
case("a body shorter than its length, with trailers", post(1, ("content-length", "9")) + frame(DATA, 0, 1, b"test") +
     frame(HEADERS, 5, 1, literal([("x-t", "1")])), PROTOCOL, statuses=BAD)
for value in ("+4", "-4", "4,4", "0x4", "", "four", "4 ", "99999999999999999999"):
    case(f"content-length {value!r}", post(1, ("content-length", value)) + frame(DATA, 1, 1, b"test"), PROTOCOL, statuses=BAD)
case("two lengths", post(1, ("content-length", "4"), ("content-length", "5")) + frame(DATA, 1, 1, b"test"), PROTOCOL, statuses=BAD)
case("the same length twice", post(1, ("content-length", "4"), ("content-length", "4")) + frame(DATA, 1, 1, b"test"), PROTOCOL,
     statuses=BAD + ("200",))

# RFC 7541.
REQUEST = fields()
case("an index of 0", frame(HEADERS, 5, 1, REQUEST + b"\x80"), COMPRESSION)
case("an index past both tables", frame(HEADERS, 5, 1, REQUEST + b"\xff\x00"), COMPRESSION)
case("a literal's name index past both tables", frame(HEADERS, 5, 1, REQUEST + b"\x7f\x80\x01\x01a"), COMPRESSION)
case("a table size update after a field", frame(HEADERS, 5, 1, REQUEST + b"\x20"), COMPRESSION)
case("a table size above the limit", frame(HEADERS, 5, 1, number(1 << 20, 5, 0x20) + REQUEST), COMPRESSION)
case("an integer without an end", frame(HEADERS, 5, 1, REQUEST + b"\x00\x7f" + b"\xff" * 12), COMPRESSION)
case("a string cut short", frame(HEADERS, 5, 1, REQUEST + b"\x00\x05abc"), COMPRESSION)
case("Huffman padding of more than 7 bits", frame(HEADERS, 5, 1, REQUEST + b"\x00\x01a\x83\x1c\xff\xff"), COMPRESSION)
case("Huffman padding of zeros", frame(HEADERS, 5, 1, REQUEST + b"\x00\x01a\x81\x18"), COMPRESSION)
case("Huffman end of string inside", frame(HEADERS, 5, 1, REQUEST + b"\x00\x01a\x84\xff\xff\xff\xff"), COMPRESSION)


def judge(one):
    name, bytes_, codes, settings, statuses, raw = one
    peer = Peer(settings, greets=not raw)
    if not raw:
        peer.settled()
    peer.send(bytes_ + b"" if raw else bytes_ + frame(PING, payload=b"violated"))
    if "http1" in statuses and raw:
        # What follows is not HTTP/2: an answer in HTTP/1 or a closed connection is right.
        try:
            first = peer.socket.recv(65536)
        except OSError:
            first = b""
        is_right = first == b"" or first.startswith(b"HTTP/1.") or first[3:4] in (bytes([SETTINGS]), bytes([GOAWAY]))
        check(is_right, name, first[:100])
        peer.socket.close()
        return
    # A stream error may come after the PING's answer, since a request's way is longer: hear them all.
    heard = []
    while len(heard) < 3:
        failure = peer.failure()
        heard.append(failure)
        if failure[0] != "alive":
            break
    last = heard[-1]
    if last == ("GOAWAY", PROTOCOL) and PROTOCOL not in codes and peer.failure() == ("closed",):
        last = ("closed",)
    is_right = last[0] == "closed" or (last[0] in ("GOAWAY", "RST") and last[1] in codes) or (
        last[0] == "answer" and last[1] in statuses)
    told = [(item[0], NAMES[item[1]] if item[0] in ("GOAWAY", "RST") and item[1] < len(NAMES) else item[1:]) for item in heard]
    check(is_right, f"{name}: one of {[NAMES[code] for code in codes]} {statuses}",
          {"heard": told, "sent": peer.sent.hex() if len(peer.sent) < 600 else peer.sent[:300].hex() + "…"})
    peer.socket.close()


def allowed():
    """What must pass though it looks odd."""

    def passes(name, bytes_, stream=1, status="200", settings=b""):
        peer = Peer(settings).settled()
        peer.send(bytes_)
        check(peer.status(stream) == status, f"passes: {name}", {"sent": peer.sent[:400].hex(), "frames": peer.frames[-4:]})
        peer.socket.close()

    passes("an unknown frame", frame(0x16, 0xFF, 0, b"unknown") + frame(0x16, 0, 5, b"x" * 16384) + get())
    passes("an unknown frame on the stream", post() + frame(0x16, 0, 1, b"x") + frame(DATA, 1, 1, b"x"))
    passes("unknown flags", frame(HEADERS, 5 | 0x42, 1, fields()))
    passes("the reserved bit", frame(HEADERS, 5, 1 | 1 << 31, fields()))
    passes("an unknown setting", frame(SETTINGS, 0, 0, setting(0xFE, 1)) + get())
    passes("a setting twice", frame(SETTINGS, 0, 0, setting(4, 1) + setting(4, 65535)) + get())
    passes("PRIORITY on an idle stream", frame(PRIORITY, 0, 7, b"\0\0\0\0\x10") + get(9), stream=9)
    passes("HEADERS with priority", frame(HEADERS, 0x25, 1, b"\0\0\0\0\x10" + fields()))
    passes("HEADERS with padding", frame(HEADERS, 0xD, 1, b"\x04" + fields() + bytes(4)))
    passes("DATA with padding", post() + frame(DATA, 9, 1, b"\x04test" + bytes(4)))
    passes("DATA of padding alone", post() + frame(DATA, 9, 1, b"\x03" + bytes(3)))
    passes("DATA of nothing", post() + frame(DATA, 0, 1, b"") + frame(DATA, 1, 1, b""))
    passes("a block in pieces", b"".join([frame(HEADERS, 1, 1, fields()[:5]), frame(CONTINUATION, 0, 1, fields()[5:9]),
                                          frame(CONTINUATION, 0, 1, b""), frame(CONTINUATION, 4, 1, fields()[9:])]))
    passes("trailers", post() + frame(DATA, 0, 1, b"x") + frame(HEADERS, 5, 1, literal([("x-t", "1")])))
    passes("trailers without DATA", post() + frame(HEADERS, 5, 1, literal([("x-t", "1")])))
    passes("a gap between streams", get(101), stream=101)
    passes("te: trailers", get(1, ("te", "trailers")))
    passes("host alone", get(1, ("host", HOST), without=(":authority",)))
    passes("host and :authority", get(1, ("host", HOST)))
    passes("cookies in pieces", get(1, ("cookie", "a=1"), ("cookie", "b=2")))
    passes("a body of its length", post(1, ("content-length", "4")) + frame(DATA, 1, 1, b"test"))
    passes("an empty value", get(1, ("x-a", "")))
    passes("a value above 127", get(1, ("x-a", "\xe9\xff")))
    passes("a table size update", frame(HEADERS, 5, 1, b"\x20" + fields()))
    passes("two table size updates", frame(HEADERS, 5, 1, b"\x20\x3f\xe1\x1f" + fields()))
    passes("DATA of the greatest frame size", post() + frame(DATA, 1, 1, b"x" * 16384))
    passes("GOAWAY from the client, then the answer", get() + frame(GOAWAY, 0, 0, bytes(8)))
    passes("a window of 0 that opens later", get(1, path="/bytes/1000") + frame(WINDOW, 0, 1, b"\0\0\x10\0"), settings=setting(4, 0))
    passes("a window that SETTINGS make negative", get(1, path="/bytes/5000") + frame(SETTINGS, 0, 0, setting(4, 0)) +
           frame(SETTINGS, 0, 0, setting(4, 65535)), settings=setting(4, 3))
    for name, bytes_ in CASES_FREE:
        peer = Peer().settled()
        peer.send(bytes_ + get(3))
        status = peer.status(3)
        check(status == "200" or "PROTOCOL" in str(status) or status == "closed", name, status)

    # A window update, a reset or PRIORITY on a closed stream is no error (section 5.1).
    peer = Peer().settled()
    peer.send(get())
    peer.status(1)
    peer.send(frame(WINDOW, 0, 1, b"\0\0\0\x01") + frame(RST, 0, 1, b"\0\0\0\x08") + frame(PRIORITY, 0, 1, b"\0\0\0\0\x10") + get(3))
    check(peer.status(3) == "200", "frames that may still come on a closed stream", peer.frames[-3:])

    # PING is answered with its payload, SETTINGS with an acknowledgment.
    peer = Peer().settled()
    peer.send(frame(PING, payload=b"opaque!!"))
    answer = peer.until(lambda kind, flags, *_: kind == PING)
    check(answer and answer[1] == ACK and answer[3] == b"opaque!!", "PING is answered", answer)
    check(any(kind == SETTINGS and flags & ACK for kind, flags, *_ in peer.frames), "SETTINGS are acknowledged", peer.frames)
    announced = {}
    first = peer.frames[0]
    check(first[0] == SETTINGS and not first[1], "SETTINGS come first", first)
    for at in range(0, len(first[3]), 6):
        key, value = struct.unpack(">HI", first[3][at : at + 6])
        announced[key] = value
    check(announced.get(8) == 1, "extended CONNECT is announced", announced)
    streams = announced.get(3)
    check(streams is not None and 100 <= streams <= 1000, "MAX_CONCURRENT_STREAMS is announced", announced)
    check(announced.get(6) is not None, "MAX_HEADER_LIST_SIZE is announced", announced)

    # A stream more than announced is refused, alone (section 5.1.2).
    peer = Peer().settled()
    peer.send(b"".join(post(1 + 2 * index) for index in range(streams + 1)))
    refused = peer.until(lambda kind, flags, stream, payload: kind in (RST, GOAWAY))
    code = refused and int.from_bytes(refused[3][-4:], "big")
    check(refused and refused[0] == RST and refused[2] == 1 + 2 * streams and code in (REFUSED, PROTOCOL),
          "a stream more than announced is refused", refused)
    peer.send(b"".join(frame(DATA, 1, 1 + 2 * index, b"x") for index in range(streams)))
    statuses = [peer.until(lambda kind, *_: kind == HEADERS) is not None for _ in range(streams)]
    check(all(statuses), "the streams within the limit are served", statuses)

    # The server obeys windows: nothing beyond 10 bytes until told (section 6.9).
    peer = Peer(setting(4, 10)).settled()
    peer.send(get(1, path="/bytes/1000"))
    got = 0
    while got < 10:
        found = peer.until(lambda kind, *_: kind == DATA)
        got += len(found[3])
    peer.send(frame(PING, payload=b"anymore?"))
    peer.until(lambda kind, *_: kind == PING)
    beyond = sum(len(payload) for kind, _, _, payload in peer.frames if kind == DATA)
    check(beyond == 10, "no DATA beyond the stream's window", beyond)
    peer.send(frame(WINDOW, 0, 1, b"\0\0\x10\0"))
    check(peer.until(lambda kind, flags, *_: kind == DATA and flags & END_STREAM) is not None, "the rest after it opened")

    # DATA beyond the windows. The stream was ended by the client, so that nobody consumes what comes on it; what
    # comes on a stream that is reset counts against the connection's window (section 5.1).
    peer = Peer().settled()
    peer.send(post(1) + frame(RST, 0, 1, b"\0\0\0\x08"))
    for _ in range(400):
        peer.send(frame(DATA, 0, 1, b"x" * 16384))
    peer.send(frame(PING, payload=b"violated"))
    failure = peer.failure()
    check(failure[0] in ("GOAWAY", "RST", "closed"), "much DATA on a stream that was reset", failure)

    # A header list above the announced size: refused, not served (section 10.5.1).
    peer = Peer().settled()
    block = fields(("x-a", "x" * 70000))
    pieces = [block[at : at + 16384] for at in range(0, len(block), 16384)]
    peer.send(frame(HEADERS, END_STREAM, 1, pieces[0]) + b"".join(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:-1]) +
              frame(CONTINUATION, 4, 1, pieces[-1]))
    status = peer.status(1)
    check(status in ("431", "400") or "RST" in status or "GOAWAY" in status or status == "closed", "a header list too large", status)


with ThreadPoolExecutor(12) as threads:
    for done in [threads.submit(judge, one) for one in CASES]:
        done.result()
allowed()
print(f"{len(CASES)} violations")
finish(at_least=170)
