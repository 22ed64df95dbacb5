"""Known HTTP/2 floods: rapid reset (CVE-2023-44487), resets provoked from the server (CVE-2025-8671), CONTINUATION
without end (CVE-2024-27316), floods of SETTINGS, PING, PRIORITY, empty DATA and window updates, an HPACK bomb, a
peer that asks for much and reads nothing. The node must end each abuser but the last, by the code and under the name
that is its own, stay within bounds, and serve another connection all the while. What lawful peers do in
hundreds is done as well, and ends nobody."""

import struct
import threading
import time

import hpack
from http2 import CONTINUATION, DATA, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST, SETTINGS, WINDOW, frame
from stage import HOST, abuse_counted, abuses, check, connect, equal, finish, resident_bytes

MEMORY_BYTES_MAX = 64 << 20


def block(path, method="GET", *more):
    return hpack.Encoder().encode([(":method", method), (":scheme", "http"), (":authority", HOST), (":path", path), *more])


class Flood:
    """Sends parts again and again until the node ends the connection, or the parts are used up."""

    def __init__(self, name, parts, settings=b"", reads=True, must_end=False):
        self.name, self.ended, self.sent, self.received = name, False, 0, bytearray()
        self.socket = connect("http", timeout=10)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(SETTINGS, 1))
        reader = threading.Thread(target=self.read, daemon=True)
        if reads:
            reader.start()
        self.socket.settimeout(10)
        try:
            for part in parts:
                self.socket.sendall(part)
                self.sent += len(part)
                if self.ended:
                    break
        except TimeoutError:
            pass
        except OSError:
            self.ended = True
        if reads and must_end:
            reader.join(10)

    def read(self):
        try:
            while more := self.socket.recv(65536):
                if len(self.received) < 1 << 20:
                    self.received += more
        except TimeoutError:
            return
        except OSError:
            pass
        self.ended = True

    def goaway(self):
        """The code of a GOAWAY among what came."""
        at = 0
        while at + 9 <= len(self.received):
            length, kind = int.from_bytes(self.received[at : at + 3], "big"), self.received[at + 3]
            if kind == GOAWAY:
                return int.from_bytes(self.received[at + 13 : at + 17], "big")
            at += 9 + length
        return None


class Witness:
    """Another visitor, on an HTTP/1.1 connection of its own, who must be served during every flood."""

    def __init__(self):
        self.count, self.worst, self.error, self.is_over = 0, 0.0, None, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            with connect("http", timeout=20) as connection:
                while not self.is_over:
                    begun = time.monotonic()
                    connection.sendall(f"GET /hello HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                    answer = b""
                    while not answer.endswith(b"hello\n"):
                        more = connection.recv(4096)
                        if not more:
                            raise EOFError(f"closed after {answer!r}")
                        answer += more
                    assert answer.startswith(b"HTTP/1.1 200"), answer
                    self.count += 1
                    self.worst = max(self.worst, time.monotonic() - begun)
                    time.sleep(0.002)
        except Exception as error:  # whatever it was, the check names it
            self.error = repr(error)


def stream_numbers(count):
    return range(1, 2 * count, 2)


def rapid_resets():
    head = block("/bytes/1000")
    for stream in stream_numbers(20000):
        yield frame(HEADERS, 5, stream, head) + frame(RST, 0, stream, b"\0\0\0\x08")


def provoked_resets():
    # A window over its largest makes the server reset the stream; a second HEADERS would end the connection.
    head = block("/stream/100000")
    for stream in stream_numbers(20000):
        yield frame(HEADERS, 5, stream, head) + frame(WINDOW, 0, stream, b"\x7f\xff\xff\xff")


def windows_of_nothing():
    head = block("/stream/100000")
    for stream in stream_numbers(20000):
        yield frame(HEADERS, 5, stream, head) + frame(WINDOW, 0, stream, bytes(4))


def endless_continuation():
    yield frame(HEADERS, 0, 1, block("/hello"))
    piece = hpack.Encoder().encode([("x-a", "x" * 15000)], huffman=False)
    for _ in range(20000):
        yield frame(CONTINUATION, 0, 1, piece)


def empty_continuations():
    yield frame(HEADERS, 0, 1, block("/hello"))
    for _ in range(300):
        yield frame(CONTINUATION, 0, 1, b"") * 1000


def again(part, times):
    for _ in range(times):
        yield part


def empty_data():
    yield frame(HEADERS, 4, 1, block("/echo", "POST"))
    yield from again(frame(DATA, 0, 1, b"") * 1000, 300)


def hpack_bomb():
    # A 4,000 byte entry in the dynamic table, then thousands of references to it in a few bytes each.
    head = block("/hello") + b"\x40\x03x-a" + b"\x7f\xa1\x1e" + b"x" * 4000
    for stream in stream_numbers(2000):
        yield frame(HEADERS, 5, stream, (head if stream == 1 else b"\x82\x87") + b"\xbe" * 8000)


def heads_too_large():
    # Each is a little over the limit and refused; none is so large that it is an attack by itself.
    first = block("/hello") + b"\x40\x03x-a" + b"\x7f\xa1\x1e" + b"x" * 4000
    others = b"\x82\x86\x84\x01" + bytes([len(HOST)]) + HOST.encode()
    for stream in stream_numbers(2000):
        yield frame(HEADERS, 5, stream, (first if stream == 1 else others) + b"\xbe" * 20)


def padding_alone():
    yield frame(HEADERS, 4, 1, block("/echo", "POST"))
    yield from again(frame(DATA, 8, 1, b"\x03\0\0\0") * 500, 300)


def greedy():
    head = block("/bytes/50000000")
    for stream in stream_numbers(100):
        yield frame(HEADERS, 5, stream, head)


CALM, GONE = 11, None

FLOODS = [
    # name, parts, settings, reads, the codes of the GOAWAY that ends it, the word it is counted under
    ("rapid reset", rapid_resets(), b"", True, {CALM}, "resets"),
    ("provoked resets", provoked_resets(), b"", True, {CALM}, "provoked_resets"),
    ("windows opened by nothing", windows_of_nothing(), b"", True, {1, CALM}, None),
    ("CONTINUATION without end", endless_continuation(), b"", True, {CALM, 9}, None),
    ("empty CONTINUATION frames", empty_continuations(), b"", True, {CALM}, "continuation_flood"),
    ("SETTINGS, answers unread", again(frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64") * 1000, 300), b"", False, None, "settings_flood"),
    ("SETTINGS, answers read", again(frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64") * 1000, 50), b"", True, {CALM}, "settings_flood"),
    ("acknowledgements of SETTINGS", again(frame(SETTINGS, 1, 0, b"") * 1000, 50), b"", True, {1, CALM}, None),
    ("PING, answers unread", again(frame(PING, 0, 0, b"12345678") * 1000, 300), b"", False, None, "ping_flood"),
    ("PING, answers read", again(frame(PING, 0, 0, b"12345678") * 1000, 50), b"", True, {CALM}, "ping_flood"),
    ("PRIORITY", again(frame(PRIORITY, 0, 1, b"\0\0\0\0\x10") * 1000, 100), b"", True, {CALM}, "priority_flood"),
    ("priority updates", again(frame(0x10, 0, 0, b"\0\0\0\x01u=1") * 1000, 100), b"", True, {CALM}, "priority_flood"),
    ("empty DATA", empty_data(), b"", True, {CALM}, "empty_data_flood"),
    ("DATA of padding alone", padding_alone(), b"", True, {CALM}, "empty_data_flood"),
    ("window updates", again(frame(WINDOW, 0, 0, b"\0\0\0\x01") * 1000, 100), b"", True, {CALM}, "window_flood"),
    ("unknown frames", again(frame(0x42, 0, 0, b"x" * 100) * 100, 300), b"", True, {CALM}, "frame_flood"),
    ("an HPACK bomb", hpack_bomb(), b"", True, {CALM}, "head_flood"),
    # Each is answered with 431 and its stream reset: errors that make us reset, and heads that cannot be served. How many
    # come at once decides which bound is passed first.
    ("heads that are too large", heads_too_large(), b"", True, {CALM}, ("provoked_resets", "head_flood")),
    ("much asked for and nothing read", greedy(), struct.pack(">HI", 4, 0x7FFFFFFF), False, None, None),
]


def lawful():
    """Hundreds of each frame, as conformance suites and busy pages send them, then a request that is answered."""
    for name, part in [
        ("SETTINGS", frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64")), ("PING", frame(PING, 0, 0, b"12345678")),
        ("PRIORITY", frame(PRIORITY, 0, 1, b"\0\0\0\0\x10")), ("windows", frame(WINDOW, 0, 0, b"\0\0\0\x01")),
        ("unknown frames", frame(0x42, 0, 0, b"x")),
    ]:
        with connect("http", timeout=20) as peer:
            peer.sendall(PREFACE + frame(SETTINGS, 0) + frame(SETTINGS, 1) + part * 400)
            peer.sendall(frame(HEADERS, 5, 1, block("/hello")))
            got = b""
            while b"hello\n" not in got and (more := peer.recv(65536)):
                got += more
            check(b"hello\n" in got, f"400 {name} are fine", got[-40:])


witness = Witness()
before = resident_bytes()
keep = []
for name, parts, settings, reads, codes, word in FLOODS:
    begun, counted = time.monotonic(), abuses()
    flood = Flood(name, parts, settings, reads, codes is not None)
    keep.append(flood)
    after = resident_bytes()
    print(f"{name}: {flood.sent} bytes in {time.monotonic() - begun:.1f} s, ended {flood.ended}, GOAWAY {flood.goaway()}, "
          f"resident {after / 1e6:.0f} MB")
    if codes is not None:
        check(flood.ended, f"{name}: the connection is ended", flood.sent)
        # The rest of a flood may destroy the last frames on their way (RFC 9113 section 5.4.1).
        check(flood.goaway() in codes | {GONE}, f"{name}: by the right code", flood.goaway())
    if word is not None:
        check(abuse_counted(word, counted), f"{name}: it is counted as {word!r}", (counted, abuses()))
    check(after - before < MEMORY_BYTES_MAX, f"{name}: memory stays", (before, after))
    check(witness.error is None, f"{name}: another visitor is served", witness.error)
    if reads:
        flood.socket.close()
counted = abuses()
lawful()
equal(abuses(), counted, "and nobody is blamed for them")
deadline = time.monotonic() + 10
last = witness.count
while witness.count < last + 10 and witness.error is None and time.monotonic() < deadline:
    time.sleep(0.01)
check(witness.count >= last + 10, "another visitor is served after all", (witness.count, witness.error))
print(f"the other visitor had {witness.count} answers, the slowest in {witness.worst:.3f} s")
witness.is_over = True
for flood in keep:
    flood.socket.close()
finish(at_least=80)
