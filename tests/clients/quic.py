"""An HTTP/3 visitor on aioquic, for the scripts beside it."""

import asyncio
import socket
from collections import defaultdict

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived, StreamReset
from stage import FACTS, HOST

GOAWAY = 7  # the frame type


def goaway_in(control):
    """The id in the last GOAWAY of a control stream's bytes. aioquic reads GOAWAY and tells nobody."""

    def varint(at):
        size = 1 << (control[at] >> 6)
        return int.from_bytes(control[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size

    found, at = None, 1
    try:
        while at < len(control):
            kind, at = varint(at)
            length, at = varint(at)
            if kind == GOAWAY and at + length <= len(control):
                found = varint(at)[0]
            at += length
    except IndexError:
        pass  # the rest has not come yet
    return found


class Answer:
    def __init__(self):
        self.heads, self.length, self.body, self.reset = [], 0, bytearray(), None
        self.is_ended, self.changed = False, asyncio.Event()

    @property
    def status(self):
        return dict(self.heads[0])[b":status"].decode() if self.heads else None

    @property
    def final(self):
        """The last head that is no trailer section."""
        return [dict(head) for head in self.heads if b":status" in dict(head)][-1]

    @property
    def trailers(self):
        return dict(self.heads[-1]) if self.heads and b":status" not in dict(self.heads[-1]) else {}


class Visitor(QuicConnectionProtocol):
    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.http = H3Connection(self._quic)
        self.unidirectional = defaultdict(bytearray)
        self.answers = defaultdict(Answer)
        self.terminated = None
        self.goaway_came = asyncio.Event()
        self.keeps_bodies = True

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.terminated = event
            for answer in self.answers.values():
                answer.changed.set()
        if isinstance(event, StreamReset):
            answer = self.answers[event.stream_id]
            answer.reset, answer.is_ended = event.error_code, True
            answer.changed.set()
        if isinstance(event, StreamDataReceived) and event.stream_id % 4 == 3:
            self.unidirectional[event.stream_id] += event.data
            if self.goaway is not None:
                self.goaway_came.set()
        for item in self.http.handle_event(event):
            answer = self.answers[item.stream_id]
            if isinstance(item, HeadersReceived):
                answer.heads.append(item.headers)
            elif isinstance(item, DataReceived):
                answer.length += len(item.data)
                if self.keeps_bodies:
                    answer.body += item.data
            answer.is_ended = answer.is_ended or item.stream_ended
            answer.changed.set()

    @property
    def goaway(self):
        """The first id that the node will not serve, once it said so."""
        controls = [stream for stream in self.unidirectional.values() if stream[:1] == b"\0"]
        return goaway_in(controls[0]) if controls else None

    def begin(self, method, path, fields=(), is_ended=True, authority=None, protocol=None):
        stream = self._quic.get_next_available_stream_id()
        self.http.send_headers(stream, [
            (b":method", method.encode()), (b":scheme", b"https"),
            (b":authority", (authority or f"{HOST}:{FACTS['https']}").encode()), (b":path", path.encode()),
            *([(b":protocol", protocol.encode())] if protocol else []),
            *[(name.encode(), value.encode()) for name, value in fields]], end_stream=is_ended)
        self.transmit()
        return stream

    def send(self, stream, data, is_ended=False):
        self.http.send_data(stream, data, end_stream=is_ended)
        self.transmit()

    async def until(self, stream, is_so, seconds=30):
        answer = self.answers[stream]
        async with asyncio.timeout(seconds):
            while not is_so(answer):
                if self.terminated:
                    raise EOFError(f"connection closed: {self.terminated}")
                answer.changed.clear()
                await answer.changed.wait()
        return answer

    async def ended(self, stream, seconds=60):
        return await self.until(stream, lambda answer: answer.is_ended, seconds)

    async def ask(self, method, path, fields=(), body=None, seconds=60):
        stream = self.begin(method, path, fields, is_ended=body is None)
        if body is not None:
            self.send(stream, body, is_ended=True)
        return await self.ended(stream, seconds)

    async def move(self):
        """Goes on from another local port, as after a change of network, with another connection id."""
        self.change_connection_id()
        other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        other.bind(("::", 0, 0, 0))
        before = self._transport
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=other)
        before.close()


def visit(port=None, address="127.0.0.1", create=Visitor, **settings):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=HOST, idle_timeout=30,
                                      max_data=16 << 20, max_stream_data=8 << 20)
    configuration.load_verify_locations(FACTS["ca"])
    for name, value in settings.items():
        setattr(configuration, name, value)
    return connect(address, port or FACTS["https"], configuration=configuration, create_protocol=create)
