"""The visitors of `faults.py`: what each asks, and a record of each failure with the connection it came over.

A failure is one of: `refused` (no connection came about), `broken` (it ended before the whole answer), `late` (nothing
for PATIENCE seconds), `shed` (503 with `Retry-After`), `status` (another that was not expected), `wrong` (other bytes
than the origin's); or `slow`: the whole answer, later than SLOW_S after it was asked for or the origin sent it. Read
next: faults_kinds.py for who allows which.
"""

import asyncio
import collections
import dataclasses
import hashlib
import os
import random
import re
import ssl
import time

import h2.config
import h2.connection
import h2.events

import soak
from faults_node import OWN, SITES, host
from soak_origin import CONTENT, accept_key, frame, parse_event, read_body, read_events, read_frame, read_head

# The library closes its side at a GOAWAY; by RFC 9113 §6.8 what is under way goes on, and the node counts on that.
h2.connection.H2ConnectionStateMachine._transitions[
    (h2.connection.ConnectionState.CLIENT_OPEN, h2.connection.ConnectionInputs.RECV_GOAWAY)
] = (None, h2.connection.ConnectionState.CLIENT_OPEN)

PATIENCE = 8
SLOW_S = 0.5  # seconds, of which this process was not itself late; outside of faults that is a failure
HOT = 20  # pages of the forum that are always stored


@dataclasses.dataclass
class Failure:
    what: str
    visitor: str
    site: str
    opened: float  # when its connection was begun
    begun: float
    ended: float
    text: str
    stored: bool  # whether the page is one that the cache must have
    start: float
    near: str = ""

    def __str__(self):
        return (f"{self.begun - self.start:7.1f} to {self.ended - self.start:.1f} s  {self.what}: {self.visitor} of "
                f"{self.site}, connection of {self.opened - self.start:.1f} s: {self.text[:160]}")


class Ended(Exception):
    """What came of a request that failed."""

    def __init__(self, what, text):
        super().__init__(text)
        self.what = what


class Visitors:
    def __init__(self, node, rate):
        self.node, self.rate, self.start_at = node, rate, time.monotonic()
        self.over = asyncio.Event()
        self.good, self.failed, self.failures = collections.Counter(), collections.Counter(), []
        self.times = collections.defaultdict(list)
        self.slow, self.lags = [], []
        self.trust = ssl.create_default_context(cafile=str(node.folder / "ca.pem"))
        self.trust_h2 = ssl.create_default_context(cafile=str(node.folder / "ca.pem"))
        self.trust_h2.set_alpn_protocols(["h2"])

    def at(self):
        return time.monotonic() - self.start_at

    def well(self, visitor, site, opened, begun):
        self.good[visitor] += 1
        now = time.monotonic()
        if len(self.times[visitor]) < 2_000_000:
            self.times[visitor].append(now - begun)
        if now - begun > SLOW_S and len(self.slow) < 200_000:
            text = f"{now - begun:.3f} s"
            self.slow.append(Failure("slow", visitor, site, opened, begun, now, text, False, self.start_at))

    async def watch_itself(self):
        """Notes when this process itself is late by over 20 ms: until when, and how long."""
        while not self.over.is_set():
            begun = time.monotonic()
            await asyncio.sleep(0.02)
            now = time.monotonic()
            if now - begun > 0.04 and len(self.lags) < 200_000:
                self.lags.append((now, now - begun - 0.02))

    def slow_by_others(self):
        """Slow answers without those that are slow only because this process was late to look."""
        for slow in self.slow:
            own = sum(late for until, late in self.lags if until > slow.begun and until - late < slow.ended)
            slow.text += f", of which this process {own:.3f}"
            if slow.ended - slow.begun - own > SLOW_S:
                yield slow

    def fail(self, visitor, site, opened, begun, why, stored=False):
        what = why.what if isinstance(why, Ended) else {
            TimeoutError: "late", asyncio.TimeoutError: "late", ConnectionRefusedError: "refused",
        }.get(type(why), "broken" if isinstance(why, (OSError, asyncio.IncompleteReadError)) else "wrong")
        text = f"{type(why).__name__} {why}"
        self.failed[visitor] += 1
        failure = Failure(what, visitor, site, opened, begun, time.monotonic(), text, stored, self.start_at)
        if len(self.failures) < 200_000:
            self.failures.append(failure)

    async def pause(self, seconds):
        if seconds > 0:
            try:
                await asyncio.wait_for(self.over.wait(), seconds)
            except asyncio.TimeoutError:
                pass

    async def open(self, site, over_tls, context=None):
        port = self.node.tls if over_tls else self.node.plain
        # A share of visitors by prefix is a share of these.
        local = (f"127.1.{random.randrange(64)}.1", 0)
        more = {"ssl": context or self.trust, "server_hostname": host(site)} if over_tls else {}
        opening = asyncio.open_connection("127.0.0.1", port, local_addr=local, **more)
        return await asyncio.wait_for(opening, PATIENCE)

    async def ask(self, stream, site, path, expected, body=None, close=False):
        reader, writer = stream
        lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", f"Host: {host(site)}", "User-Agent: faults"]
        lines += ["Connection: close"] if close else []
        lines += [f"Content-Length: {len(body)}"] if body is not None else []
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b""))
        await writer.drain()
        head = await read_head(reader)
        if head is None:
            raise Ended("broken", "closed without an answer")
        first, fields = head
        got = b"".join([piece async for piece in read_body(reader, fields)])
        if b" 200 " not in first:
            shed = b" 503 " in first and b"retry-after" in fields
            raise Ended("shed" if shed else "status", f"{first.decode()}: {fields.get(b'proxy-status', b'').decode()}")
        if not (expected(got) if callable(expected) else got == expected):
            raise Ended("wrong", f"{path}: {len(got)} bytes: {got[:60]!r}")
        return b"close" not in fields.get(b"connection", b"").lower()

    async def keep_asking(self, visitor, site, over_tls, rate, question):
        """One question after the other on a connection that is kept, and opened anew when it ended."""
        stream = opened = None
        await self.pause(random.random() / rate)
        while not self.over.is_set():
            begun = time.monotonic()
            path, body, expected, stored = question()
            try:
                if stream is None:
                    opened = begun
                    stream = await self.open(site, over_tls)
                if not await asyncio.wait_for(self.ask(stream, site, path, expected, body), PATIENCE):
                    stream[1].close()
                    stream = None
                self.well(visitor, site, opened, begun)
            except Exception as why:
                self.fail(visitor, site, opened, begun, why, stored)
                if stream:
                    stream[1].close()
                stream = None
            await self.pause(1 / rate - (time.monotonic() - begun))
        if stream:
            stream[1].close()

    async def newcomers(self, rate):
        number = 0
        while not self.over.is_set():
            begun, number, stream = time.monotonic(), number + 1, None
            try:
                stream = await self.open(OWN, number % 2 == 0)
                said = self.ask(stream, OWN, "/", lambda got: got.startswith(b"own "), close=True)
                await asyncio.wait_for(said, PATIENCE)
                self.well("newcomer", OWN, begun, begun)
            except Exception as why:
                self.fail("newcomer", OWN, begun, begun, why)
            if stream:
                stream[1].close()
            await self.pause(1 / rate - (time.monotonic() - begun))

    def a_page(self):
        page = random.randrange(HOT)
        return f"/bytes/{1000 + page}?page={page}", None, CONTENT[:1000 + page], True

    def an_upload(self, most):
        length = random.randrange(most)
        begin = random.randrange(len(CONTENT) - length)
        body = CONTENT[begin:begin + length]
        return "/digest", body, f"{length} {hashlib.sha256(body).hexdigest()}".encode(), False

    def a_post_or_page(self):
        return self.an_upload(3000) if random.random() < 0.2 else self.a_page()

    def an_object(self):
        if random.random() < 0.3:
            return self.an_upload(300_000)
        length = random.choice((1000, 50_000, 1 << 20))
        return f"/bytes/{length}", None, CONTENT[:length], False

    async def websocket(self, number):
        visitor, site = "WebSocket message", "chat"
        await self.pause(random.random() * 3)
        while not self.over.is_set():
            opened = begun = time.monotonic()
            writer = None
            try:
                reader, writer = await self.open(site, number % 2 == 1)
                key = b"c29hayBzb2FrIHNvYWsgcw=="
                writer.write(f"GET /chat HTTP/1.1\r\nHost: {host(site)}\r\nUpgrade: websocket\r\n"
                             f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                             f"Sec-WebSocket-Key: {key.decode()}\r\n\r\n".encode())
                head = await asyncio.wait_for(read_head(reader), PATIENCE)
                if head is None:
                    raise Ended("broken", "closed without an answer")
                first, fields = head
                if b" 101 " not in first or fields.get(b"sec-websocket-accept") != accept_key(key):
                    shed = b" 503 " in first and b"retry-after" in fields
                    raise Ended("shed" if shed else "status", first.decode())
                turn = 0
                while not self.over.is_set():
                    begun, turn = time.monotonic(), turn + 1
                    text = (f"{number} {turn} " + "x" * (2000 if turn % 10 == 0 else 20)).encode()
                    writer.write(frame(0x81, text, os.urandom(4)))
                    opcode, got = await asyncio.wait_for(read_frame(reader), PATIENCE)
                    if (opcode, got) != (0x81, text):
                        raise Ended("broken" if opcode == 0x88 else "wrong", f"echo was {opcode:#x} {got[:30]}")
                    self.well(visitor, site, opened, begun)
                    await self.pause(1 + 2 * random.random())
            except Exception as why:
                self.fail(visitor, site, opened, begun, why)
                await self.pause(1)
            if writer:
                writer.close()

    async def events(self, number):
        visitor, site = "server-sent event", "chat"
        await self.pause(random.random() * 2)
        while not self.over.is_set():
            begun, writer, count = time.monotonic(), None, random.choice((2, 3, 4))
            try:
                reader, writer = await self.open(site, number % 2 == 1)
                writer.write(f"GET /events/{count} HTTP/1.1\r\nHost: {host(site)}\r\n\r\n".encode())
                head = await asyncio.wait_for(read_head(reader), PATIENCE)
                if head is None or b" 200 " not in head[0]:
                    shed = head and b" 503 " in head[0] and b"retry-after" in head[1]
                    raise Ended("shed" if shed else "status" if head else "broken", str(head and head[0]))
                events, got = read_events(reader, head[1]), 0
                while got < count:
                    try:
                        event = await asyncio.wait_for(anext(events), PATIENCE)
                    except (StopAsyncIteration, ValueError):
                        raise Ended("broken", f"the stream ended after {got} of {count} events") from None
                    number, sent = parse_event(event)
                    if number != got:
                        raise Ended("wrong", f"event {got} was {event!r}")
                    got += 1
                    self.well(visitor, site, begun, sent)
            except Exception as why:
                self.fail(visitor, site, begun, begun, why)
                await self.pause(1)
            if writer:
                writer.close()

    async def http2(self, rate):
        """Four streams at a time on one connection, again and again for as long as it lasts."""
        visitor, site = "HTTP/2 stream", "timeline"
        while not self.over.is_set():
            opened, writer = time.monotonic(), None
            begun = opened
            try:
                reader, writer = await self.open(site, True, self.trust_h2)
                config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
                connection = h2.connection.H2Connection(config=config)
                connection.initiate_connection()
                connection.increment_flow_control_window(1 << 20)
                is_going = False
                while not self.over.is_set() and not is_going:
                    begun = time.monotonic()
                    asked = self.four(connection, reader, writer, site, visitor, opened)
                    is_going = await asyncio.wait_for(asked, PATIENCE)
                    await self.pause(4 / rate - (time.monotonic() - begun))
            except Exception as why:
                self.fail(visitor, site, opened, begun, why)
                await self.pause(0.5)
            if writer:
                writer.close()

    async def four(self, connection, reader, writer, site, visitor, opened):
        """Asks four times at once; whether the node said that it goes away."""
        begun, waiting, is_going, failed = time.monotonic(), {}, False, None
        for length in (200, 1024, 4000, 20_000):
            number = connection.get_next_available_stream_id()
            connection.send_headers(number, [
                (":method", "GET"), (":scheme", "https"), (":authority", host(site)),
                (":path", f"/bytes/{length}"), ("user-agent", "faults")], end_stream=True)
            waiting[number] = [length, bytearray(), None, False]
        writer.write(connection.data_to_send())
        while waiting:
            received = await reader.read(65536)
            if not received:
                raise Ended("broken", f"the connection ended with {len(waiting)} streams open")
            for event in connection.receive_data(received):
                number = getattr(event, "stream_id", None)
                if isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, number)
                if isinstance(event, h2.events.ConnectionTerminated):
                    is_going = True
                    if event.error_code:
                        raise Ended("broken", f"GOAWAY {event.error_code}")
                    # What came after the last it takes was not begun, and may be asked again (RFC 9113 §6.8).
                    for late in [n for n in waiting if n > event.last_stream_id]:
                        del waiting[late]
                stream = waiting.get(number)
                if stream is None:
                    continue
                if isinstance(event, h2.events.ResponseReceived):
                    fields = dict(event.headers)
                    stream[2], stream[3] = fields[":status"], "retry-after" in fields
                elif isinstance(event, h2.events.DataReceived):
                    stream[1] += event.data
                elif isinstance(event, h2.events.StreamReset):
                    failed = Ended("broken", f"reset with {event.error_code}")
                    del waiting[number]
                elif isinstance(event, h2.events.StreamEnded):
                    if stream[2] != "200":
                        shed = stream[2] == "503" and stream[3]
                        failed = Ended("shed" if shed else "status", str(stream[2]))
                    elif stream[1] != CONTENT[:stream[0]]:
                        failed = Ended("wrong", f"{len(stream[1])} of {stream[0]} bytes")
                    else:
                        self.well(visitor, site, opened, begun)
                    del waiting[number]
            writer.write(connection.data_to_send())
        if failed:
            raise failed
        return is_going

    async def http3(self, rate):
        """Rounds of some seconds by h3-load, on connections that are new in each."""
        visitor, site = "HTTP/3 request", "timeline"
        while not self.over.is_set():
            begun = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                str(soak.BINARIES / "h3-load"), f"https://{host(site)}:{self.node.tls}/bytes/1024", "--connect",
                f"127.0.0.1:{self.node.tls}", "--ca", str(self.node.folder / "ca.pem"), "--connections", "3",
                "--streams", "2", "--seconds", "4", "--rate", str(int(rate)),
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
            out = (await process.communicate())[0].decode()
            done = re.search(r"requests (\d+) 2xx (\d+) failed (\d+) bytes (\d+)", out)
            requests, good, failed, received = map(int, done.groups()) if done else (1, 0, 1, 0)
            self.good[visitor] += good
            if received != good * 1024 and not failed:
                failed = 1
            for _ in range(max(failed, requests - good)):
                self.fail(visitor, site, begun, begun, Ended("broken", out[-200:].replace("\n", " ")))
            await self.pause(0.2)

    async def every_site(self):
        """Asks every site once on a new connection; what is amiss, if something is."""
        for site, path in [(OWN, "/"), *((site, "/bytes/10") for site in SITES)]:
            try:
                stream = await self.open(site, True)
                expected = CONTENT[:10] if site != OWN else lambda got: got.startswith(b"own ")
                await asyncio.wait_for(self.ask(stream, site, path, expected, close=True), PATIENCE)
                stream[1].close()
            except Exception as why:
                return f"{site} does not answer: {why}"
        return ""

    def start(self):
        rate = self.rate
        works = [self.keep_asking("forum page or post", "forum", n % 2 == 1, 4 * rate, self.a_post_or_page)
                 for n in range(8)]
        works += [self.keep_asking("object", "store", n % 2 == 1, 2 * rate, self.an_object) for n in range(4)]
        works += [self.websocket(n) for n in range(30)] + [self.events(n) for n in range(6)]
        works += [self.watch_itself()]
        works += [self.http2(8 * rate) for _ in range(3)] + [self.http3(20 * rate), self.newcomers(10 * rate)]
        return [asyncio.create_task(work) for work in works]

    async def stop(self, tasks):
        self.over.set()
        _, late = await asyncio.wait(tasks, timeout=PATIENCE + 15)
        for task in late:
            task.cancel()
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception():
                raise task.exception()
