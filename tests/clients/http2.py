"""HTTP/2 frames written by hand and a connection that sends any of them, for the scripts beside it."""

import struct

import hpack
from stage import HOST, WORD, connect

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 0x20
NO_ERROR, PROTOCOL, INTERNAL, FLOW, TIMEOUT, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION, _, CALM = range(12)
NAMES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
         "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# The listener: cleartext (prior knowledge) if the script was told so, else TLS (ALPN).
PROTOCOL_WORD = "http" if WORD == "cleartext" else "https"


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    return struct.pack(">I", len(payload) if length is None else length)[1:] + bytes([kind, flags]) + struct.pack(
        ">I", stream) + payload


def fields(*more, method="GET", path="/hello", scheme=PROTOCOL_WORD, authority=HOST, without=()):
    """Request fields encoded without the dynamic table, so that blocks can be sent in any number."""
    pairs = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    pairs = [pair for pair in pairs if pair[0] not in without] + list(more)
    return literal(pairs)


def literal(pairs):
    out = b""
    for name, value in pairs:
        name, value = (text if isinstance(text, bytes) else text.encode("latin-1") for text in (name, value))
        out += b"\x00" + number(len(name), 7) + name + number(len(value), 7) + value
    return out


def number(value, bits, first=0):
    """An HPACK integer (RFC 7541 section 5.1)."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out, value = bytearray([first | limit]), value - limit
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    out.append(value)
    return bytes(out)


def get(stream=1, *more, flags=END_STREAM | END_HEADERS, **change):
    return frame(HEADERS, flags, stream, fields(*more, **change))


def post(stream=1, *more, **change):
    return get(stream, *more, flags=END_HEADERS, method="POST", path="/echo", **change)


class Peer:
    """One connection. It reads frames until what a case waits for, and keeps all it saw."""

    def __init__(self, settings=b"", preface=PREFACE, greets=True, timeout=4):
        self.socket = connect(PROTOCOL_WORD, alpn=("h2",), timeout=timeout)
        self.buffer, self.frames, self.is_ended, self.decoder = b"", [], False, hpack.Decoder()
        self.sent = b""
        if greets:
            self.send(preface + frame(SETTINGS, payload=settings))

    def send(self, data):
        self.sent += data
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def next(self):
        """The next frame as kind, flags, stream, payload; None at the end."""
        while True:
            if len(self.buffer) >= 9:
                length = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + length:
                    kind, flags = self.buffer[3], self.buffer[4]
                    stream = int.from_bytes(self.buffer[5:9], "big") & 0x7FFFFFFF
                    payload, self.buffer = self.buffer[9 : 9 + length], self.buffer[9 + length :]
                    if kind == PING and not flags & ACK:
                        self.send(frame(PING, ACK, 0, payload))
                    self.frames.append((kind, flags, stream, payload))
                    return self.frames[-1]
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                raise
            except OSError:
                more = b""
            if not more:
                self.is_ended = True
                return None
            self.buffer += more

    def until(self, is_it):
        """The first frame, from now on, of which this is so; None at the end of the connection."""
        while found := self.next():
            if is_it(*found):
                return found
        return None

    def settled(self):
        """Exchanges settings."""
        self.until(lambda kind, flags, *_: kind == SETTINGS and not flags & ACK)
        self.send(frame(SETTINGS, ACK))
        return self

    def status(self, stream):
        """Reads the answer of a stream to its end; its status, or the error it ended by."""
        status = None
        while found := self.next():
            kind, flags, on, payload = found
            if kind == GOAWAY:
                code = int.from_bytes(payload[4:8], "big")
                if code:
                    return f"GOAWAY {NAMES[code]}"
            if on != stream:
                continue
            if kind == RST:
                return f"RST {NAMES[int.from_bytes(payload, 'big')]}"
            if kind == HEADERS:
                status = dict(self.decoder.decode(payload)).get(":status", status)
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                return status
        return "closed"

    def failure(self):
        """How connection or stream failed: ("GOAWAY" or "RST", code), ("closed",), or the answer that came."""
        try:
            while found := self.next():
                kind, flags, stream, payload = found
                if kind == GOAWAY:
                    return ("GOAWAY", int.from_bytes(payload[4:8], "big"))
                if kind == RST:
                    return ("RST", int.from_bytes(payload, "big"))
                if kind == HEADERS:
                    return ("answer", dict(self.decoder.decode(payload)).get(":status"))
                if kind == PING and flags & ACK:
                    return ("alive",)
            return ("closed",)
        except TimeoutError:
            return ("silence",)
