#!/usr/bin/env python3
"""Half an hour of mixed load on a real node, with a reload each second: nothing may fail, memory stays flat.

Three zones before one origin; at a modest fixed rate (some 400 requests a second, so that it can run beside
other work) visitors of all kinds: HTTP/1.1 GETs and uploads on kept connections, HTTP/2 on connections as old
as the run (PyPI `h2`) and by h2load in rounds, HTTP/3 by h3-load in rounds and on idle connections,
WebSockets that echo every few seconds, server-sent events, new TLS handshakes. Each second SIGHUP: one zone's file has
changed, and the change must show; every tenth time it is broken, must be refused, and nothing may change.
Each minute the access log is moved away and reopened (SIGUSR1). Contents are checked, not only statuses.

It ends with a table and a verdict (exit 1 unless: 0 failed, edge never restarted, no unexpected warnings, a
log line for each request, memory flat: the last third's median at most 10 % and 2 MiB above the second's).

Usage: soak.py [--minutes 30] [--rate 1.0] [--websockets 210] [--only KIND,...] [--note TEXT]
       [--out FILE.md] [--keep]
Needs: rempart and h3-load in target/$BENCH_PROFILE (default: demo) or $SOAK_BINARIES, h2load, openssl, and
`h2` from tests/requirements.txt (.venv is used if it is there). Read next: soak_origin.py.
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv" / "bin" / "python"
if VENV.exists() and pathlib.Path(sys.prefix) != VENV.parent.parent:
    os.execv(VENV, [str(VENV), *sys.argv])

import argparse  # noqa: E402
import asyncio
import collections
import datetime
import hashlib
import json
import random
import re
import shutil
import signal
import ssl
import statistics
import subprocess
import tempfile
import time
import urllib.request

import h2.config
import h2.connection
import h2.events

from soak_origin import (
    CONTENT, accept_key, frame, parse_event, raise_descriptor_limit, read_body, read_events, read_frame, read_head
)

BINARIES = pathlib.Path(
    os.environ.get("SOAK_BINARIES", ROOT / "target" / os.environ.get("BENCH_PROFILE", "demo")))
ZONES = ("a.example", "b.example", "c.example")
CHANGING = "c.example"
PATIENCE = 30  # seconds until a request has failed: builds may run on the same cores
SAMPLE_EVERY, RELOAD_EVERY, ROTATE_EVERY, BROKEN_EVERY = 10, 1, 60, 10


class Wrong(Exception):
    """An answer that is not what it must be."""


class Tally:
    """What came of every request, by kind."""

    def __init__(self):
        self.begin = time.monotonic()
        self.good, self.failed = collections.Counter(), collections.Counter()
        self.reasons, self.latencies = [], collections.defaultdict(list)
        self.notes = collections.Counter()

    def well(self, kind, begin=None, count=1):
        self.good[kind] += count
        if begin is not None:
            self.latencies[kind].append(time.monotonic() - begin)

    def fail(self, kind, why, count=1):
        self.failed[kind] += count
        if len(self.reasons) < 100:
            at = time.monotonic() - self.begin
            name = f"{type(why).__name__} " if isinstance(why, Exception) else ""
            self.reasons.append(f"{at:7.1f} s  {kind}: {name}{why}")
            print(self.reasons[-1], flush=True)


class Node:
    """The node under load: its files, process and signals."""

    def __init__(self, folder, origin):
        self.folder, self.origin, self.expected_refusals = folder, origin, 0
        self.log_lines, self.edge = 0, None
        (folder / "zones").mkdir()
        self.make_certificates()
        for zone in ZONES:
            self.write_zone(zone, 0)
        (folder / "rempart.toml").write_text("""
[node]
data_dir = "data"
threads = 2
[[listener]]
address = "127.0.0.1:0"
protocol = "http"
[[listener]]
address = "127.0.0.1:0"
protocol = "https"
[admin]
address = "127.0.0.1:0"
[log]
access = "access.log"
[publish]
compare_ms = 0
canary_percent = 0
soak_ms = 0
""")

    def make_certificates(self):
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self.folder)

        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=S")
        openssl("req", *key, "-keyout", "zone.key", "-out", "zone.csr", "-subj", "/CN=a.example")
        (self.folder / "extensions").write_text(
            "basicConstraints=CA:FALSE\nsubjectAltName=" + ",".join(f"DNS:{zone}" for zone in ZONES))
        openssl("x509", "-req", "-in", "zone.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "30", "-extfile", "extensions", "-out", "zone.pem")

    def write_zone(self, zone, number, broken=False):
        text = f"""
name = "{zone}"
hostnames = ["{zone}"]
[tls]
certificate = "../zone.pem"
private_key = "../zone.key"
[[pool]]
name = "app"
origins = [{{ url = "http://{self.origin}" }}]
[[route]]
path = "/number"
answer = {{ body = "{number}" }}
"""
        if broken:
            text += ["[[route]\n", 'rout = "x"\n', '[[route]]\npool = "nowhere"\n'][number % 3]
        (self.folder / "zones" / f"{zone}.toml").write_text(text)

    def start(self):
        self.log = open(self.folder / "node.log", "w")
        self.process = subprocess.Popen(
            [str(BINARIES / "rempart"), "serve", "--config", str(self.folder / "rempart.toml")],
            stdout=self.log, stderr=self.log, start_new_session=True)
        addresses = self.folder / "data" / "addresses.json"
        end = time.monotonic() + 20
        while not addresses.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit("the node did not start:\n" + (self.folder / "node.log").read_text())
            time.sleep(0.05)
        where = json.loads(addresses.read_text())
        ports = {l["protocol"]: int(l["address"].rsplit(":", 1)[1]) for l in where["listeners"]}
        self.plain, self.tls, self.admin = ports["http"], ports["https"], where["admin"]
        self.edge = self.find_edge()

    def find_edge(self):
        for pid in self.tree():
            try:
                if b"edge-role" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
            except OSError:
                pass
        return None

    def tree(self):
        found = [self.process.pid]
        for pid in found:
            try:
                found += map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except OSError:
                pass
        return found

    def signal(self, number):
        self.process.send_signal(number)

    def metrics(self):
        found = {}
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=PATIENCE) as answer:
            for line in answer.read().decode().splitlines():
                if not line.startswith("#"):
                    name, _, value = line.rpartition(" ")
                    found[name] = float(value)
        return found

    def rotate(self):
        """Moves the access log away; what the one before holds is complete by then, and counted."""
        self.count_rotated()
        (self.folder / "access.log").rename(self.folder / "access.log.1")
        self.signal(signal.SIGUSR1)

    def count_rotated(self):
        path = self.folder / "access.log.1"
        if path.exists():
            with open(path, "rb") as lines:
                self.log_lines += sum(1 for _ in lines)
            path.unlink()

    def unexpected_lines(self):
        """Warnings and errors of the node, but for the files broken on purpose."""
        found = collections.Counter()
        for line in (self.folder / "node.log").read_text().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                found["not JSON: " + line[:200]] += 1
                continue
            if event.get("level") in ("warn", "error"):
                found[f"{event['level']} {event['event']}"] += 1
                if event["event"] != "publish_refused" and found[f"{event['level']} {event['event']}"] < 4:
                    print(line, flush=True)
        refused = "error publish_refused"
        if found[refused] == self.expected_refusals:
            del found[refused]
        return dict(found)


class Sample:
    """What the edge holds at one moment."""

    def __init__(self, node, at):
        self.at = at
        folder = pathlib.Path(f"/proc/{node.edge}")
        status = (folder / "status").read_text()
        self.rss = int(re.search(r"VmRSS:\s+(\d+)", status).group(1))
        self.threads = int(re.search(r"Threads:\s+(\d+)", status).group(1))
        self.pss = int(re.search(r"\nPss:\s+(\d+)", (folder / "smaps_rollup").read_text()).group(1))
        self.descriptors = len(os.listdir(folder / "fd"))
        stat = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        self.cpu = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        self.tree_pss = 0
        for pid in node.tree():
            rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            self.tree_pss += int(re.search(r"\nPss:\s+(\d+)", rollup).group(1))


class Soak:
    """The visitors, all on one loop, until `over`."""

    def __init__(self, node, arguments):
        self.node, self.arguments, self.tally = node, arguments, Tally()
        self.over = asyncio.Event()
        self.trust = {}
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context(cafile=str(node.folder / "ca.pem"))
            context.minimum_version = context.maximum_version = version
            self.trust[version] = context
        self.trust_h2 = ssl.create_default_context(cafile=str(node.folder / "ca.pem"))
        self.trust_h2.set_alpn_protocols(["h2"])
        self.samples, self.publish_times, self.number = [], [], 0

    # Connections and HTTP/1.1.

    async def open(self, zone, over_tls, context=None):
        if over_tls:
            context = context or self.trust[ssl.TLSVersion.TLSv1_3]
            opening = asyncio.open_connection("127.0.0.1", self.node.tls, ssl=context, server_hostname=zone)
        else:
            opening = asyncio.open_connection("127.0.0.1", self.node.plain)
        return await asyncio.wait_for(opening, PATIENCE)

    async def ask(self, stream, zone, path, body=None, chunked=False, close=False):
        """One exchange; its body, and whether the connection stays."""
        reader, writer = stream
        lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", f"Host: {zone}", "User-Agent: soak"]
        lines += ["Connection: close"] if close else []
        if body is not None:
            lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        if body is not None and chunked:
            for at in range(0, len(body), 10_000):
                piece = body[at:at + 10_000]
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        elif body is not None:
            writer.write(body)
        await writer.drain()
        head = await read_head(reader)
        if head is None:
            raise Wrong("the connection was closed without an answer")
        first, fields = head
        got = b"".join([piece async for piece in read_body(reader, fields)])
        if b" 200 " not in first:
            raise Wrong(f"{first.decode()}: {got[:200]}")
        return got, b"close" not in fields.get(b"connection", b"").lower()

    async def keep_asking(self, kind, zone, over_tls, rate, question):
        """Asks on one connection at this rate; `question` makes path, body, framing and expected answer."""
        stream = None
        await asyncio.sleep(random.random() / rate)
        while not self.over.is_set():
            begin = time.monotonic()
            path, body, chunked, expected = question()
            try:
                stream = stream or await self.open(zone, over_tls)
                got, stays = await asyncio.wait_for(self.ask(stream, zone, path, body, chunked), PATIENCE)
                if got != expected:
                    raise Wrong(f"{path}: {len(got)} bytes that are not the {len(expected)} expected")
                self.tally.well(kind, begin)
                if not stays:
                    self.tally.notes["kept connections that the node asked to close"] += 1
                    stream[1].close()
                    stream = None
            except Exception as why:
                self.tally.fail(kind, why)
                if stream:
                    stream[1].close()
                stream = None
            await self.pause(1 / rate - (time.monotonic() - begin))
        if stream:
            stream[1].close()

    async def pause(self, seconds):
        """Sleeps, but not past the end."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self.over.wait(), seconds)
            except asyncio.TimeoutError:
                pass

    def a_get(self):
        length = random.choices((0, 1024, 20_000, 200_000), (10, 70, 18, 2))[0]
        return f"/bytes/{length}", None, False, CONTENT[:length]

    def an_upload(self):
        length = random.choices((0, 1000, 30_000, 300_000), (5, 60, 30, 5))[0]
        begin = random.randrange(len(CONTENT) - length)
        body = CONTENT[begin:begin + length]
        return "/digest", body, random.random() < 0.5, f"{length} {hashlib.sha256(body).hexdigest()}".encode()

    async def shake_hands(self, rate):
        kind, number = "new TLS connection", 0
        while not self.over.is_set():
            begin, number = time.monotonic(), number + 1
            zone, version = ZONES[number % 3], list(self.trust)[number % 2]
            writer = None
            try:
                stream = await self.open(zone, True, self.trust[version])
                writer = stream[1]
                got, _ = await asyncio.wait_for(self.ask(stream, zone, "/bytes/1024", close=True), PATIENCE)
                if got != CONTENT[:1024]:
                    raise Wrong("not the content expected")
                self.tally.well(kind, begin)
            except Exception as why:
                self.tally.fail(kind, why)
            if writer:
                writer.close()
            await self.pause(1 / rate - (time.monotonic() - begin))

    # What stays open.

    async def websocket(self, number, opening):
        kind, zone, over_tls = "WebSocket message", ZONES[number % 3], number % 2 == 1
        writer = None
        try:
            async with opening:
                reader, writer = await self.open(zone, over_tls)
                key = b"c29hayBzb2FrIHNvYWsgcw=="
                writer.write(f"GET /chat HTTP/1.1\r\nHost: {zone}\r\nUpgrade: websocket\r\n"
                             f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                             f"Sec-WebSocket-Key: {key.decode()}\r\n\r\n".encode())
                first, fields = await asyncio.wait_for(read_head(reader), PATIENCE)
                if b" 101 " not in first or fields.get(b"sec-websocket-accept") != accept_key(key):
                    raise Wrong(f"no WebSocket: {first.decode()}")
            self.tally.notes["WebSockets opened"] += 1
            await self.pause(random.random() * 3)
            turn = 0
            while not self.over.is_set():
                begin, turn = time.monotonic(), turn + 1
                text = (f"{number} {turn} " + "x" * (2000 if turn % 10 == 0 else 20)).encode()
                writer.write(frame(0x81, text, os.urandom(4)))
                opcode, got = await asyncio.wait_for(read_frame(reader), PATIENCE)
                if (opcode, got) != (0x81, text):
                    raise Wrong(f"echo of {text[:30]} was {opcode:#x} {got[:30]}")
                self.tally.well(kind, begin)
                await self.pause(2 + 2 * random.random())
            writer.write(frame(0x88, b"\x03\xe8", os.urandom(4)))
            opcode, _ = await asyncio.wait_for(read_frame(reader), PATIENCE)
            if opcode != 0x88:
                raise Wrong(f"closing was answered by {opcode:#x}")
            self.tally.notes["WebSockets closed in order"] += 1
        except Exception as why:
            self.tally.fail(kind, why)
        if writer:
            writer.close()

    async def events(self, number):
        kind, zone = "server-sent event", ZONES[number % 3]
        await self.pause(random.random() * 2)
        while not self.over.is_set():
            writer, count = None, random.choice((5, 10, 20))
            try:
                reader, writer = await self.open(zone, number % 2 == 1)
                writer.write(f"GET /events/{count} HTTP/1.1\r\nHost: {zone}\r\n\r\n".encode())
                _, fields = await asyncio.wait_for(read_head(reader), PATIENCE)
                events, got = read_events(reader, fields), 0
                while True:
                    try:
                        event = await asyncio.wait_for(anext(events), PATIENCE)
                    except StopAsyncIteration:
                        break
                    number, sent = parse_event(event)
                    if number != got:
                        raise Wrong(f"event {got} was {event!r}")
                    got += 1
                    self.tally.well(kind, sent)
                if got != count:
                    raise Wrong(f"the stream ended after {got} of {count} events")
            except Exception as why:
                self.tally.fail(kind, why)
            if writer:
                writer.close()

    async def http2(self, number, rate):
        """Requests on one connection as old as the run, several at once."""
        kind, zone = "HTTP/2, one long connection", ZONES[number % 3]
        while not self.over.is_set():
            writer, reading = None, None
            waiting = {}
            try:
                reader, writer = await self.open(zone, True, self.trust_h2)
                config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
                connection = h2.connection.H2Connection(config=config)
                connection.initiate_connection()
                connection.increment_flow_control_window(1 << 20)
                writer.write(connection.data_to_send())
                reading = asyncio.create_task(self.read_http2(reader, writer, connection, waiting))
                asking = set()
                while not self.over.is_set() and not reading.done():
                    asking.add(asyncio.create_task(self.ask_http2(kind, zone, connection, writer, waiting)))
                    asking = {task for task in asking if not task.done()}
                    await self.pause(1 / rate)
                if asking:
                    await asyncio.wait(asking, timeout=PATIENCE)
                if not self.over.is_set():
                    why = reading.exception() if reading.done() else "?"
                    self.tally.fail(kind, f"the connection ended: {why}")
                connection.close_connection()
                writer.write(connection.data_to_send())
            except Exception as why:
                self.tally.fail(kind, why)
                await self.pause(1)
            if reading:
                reading.cancel()
            if writer:
                writer.close()

    async def read_http2(self, reader, writer, connection, waiting):
        try:
            while received := await reader.read(65536):
                for event in connection.receive_data(received):
                    stream = waiting.get(getattr(event, "stream_id", None))
                    if isinstance(event, h2.events.ConnectionTerminated):
                        raise Wrong(f"GOAWAY {event.error_code}")
                    if isinstance(event, h2.events.DataReceived):
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    if stream is None:
                        continue
                    if isinstance(event, h2.events.ResponseReceived):
                        stream["status"] = dict(event.headers)[":status"]
                    elif isinstance(event, h2.events.DataReceived):
                        stream["body"] += event.data
                    elif isinstance(event, h2.events.StreamReset):
                        stream["done"].set_exception(Wrong(f"reset with {event.error_code}"))
                        del waiting[event.stream_id]
                    elif isinstance(event, h2.events.StreamEnded):
                        stream["done"].set_result(None)
                        del waiting[event.stream_id]
                writer.write(connection.data_to_send())
            raise Wrong("closed by the node")
        finally:
            for stream in waiting.values():
                if not stream["done"].done():
                    stream["done"].set_exception(Wrong("the connection ended"))

    async def ask_http2(self, kind, zone, connection, writer, waiting):
        begin = time.monotonic()
        try:
            path, body, _, expected = self.a_get() if random.random() < 0.8 else self.an_upload()
            # A larger upload than the window at the start would need waiting for updates.
            while body is not None and len(body) > 30_000:
                path, body, _, expected = self.an_upload()
            head = [(":method", "GET" if body is None else "POST"), (":scheme", "https"),
                    (":authority", zone), (":path", path), ("user-agent", "soak")]
            number = connection.get_next_available_stream_id()
            connection.send_headers(number, head, end_stream=body is None)
            stream = waiting[number] = {"status": None, "body": bytearray(),
                                        "done": asyncio.get_running_loop().create_future()}
            writer.write(connection.data_to_send())
            left = body
            while left is not None:
                room = min(connection.local_flow_control_window(number), connection.max_outbound_frame_size)
                if not room and left:
                    await asyncio.sleep(0.01)
                    if time.monotonic() - begin > PATIENCE:
                        raise Wrong("no window to send")
                    continue
                connection.send_data(number, left[:room], end_stream=len(left) <= room)
                left = left[room:] or None
                writer.write(connection.data_to_send())
            await asyncio.wait_for(stream["done"], PATIENCE)
            if stream["status"] != "200" or stream["body"] != expected:
                raise Wrong(f"{path}: {stream['status']}, {len(stream['body'])} of {len(expected)} bytes")
            self.tally.well(kind, begin)
        except Exception as why:
            self.tally.fail(kind, why)

    # Generators from outside, in rounds of ten seconds.

    async def rounds(self, kind, command, judge):
        while not self.over.is_set():
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
            out = (await process.communicate())[0].decode()
            good, failed = judge(out)
            self.tally.well(kind, count=good)
            if failed or process.returncode:
                self.tally.fail(kind, out[-600:], max(failed, 1))

    def http2_rounds(self, rate):
        clients, seconds = 6, 10
        count = int(rate * seconds)
        # What each client may send a second is a whole number.
        command = ["h2load", "-n", str(count), "-c", str(clients), "-m", "4", "-t", "1",
                   "--rps", str(max(1, round(rate / clients))), "--connect-to", f"127.0.0.1:{self.node.tls}",
                   f"https://{ZONES[1]}:{self.node.tls}/bytes/1024"]

        def judge(out):
            done = re.search(r"status codes: (\d+) 2xx", out)
            traffic = re.search(r"\((\d+)\) data", out)
            good = int(done.group(1)) if done else 0
            whole = traffic and int(traffic.group(1)) == good * 1024
            return good, count - good + (0 if whole else 1)

        return self.rounds("HTTP/2, h2load in rounds", command, judge)

    def h3_load(self, zone):
        return [str(BINARIES / "h3-load"), f"https://{zone}:{self.node.tls}/bytes/1024", "--connect",
                f"127.0.0.1:{self.node.tls}", "--ca", str(self.node.folder / "ca.pem")]

    def http3_rounds(self, rate):
        command = [*self.h3_load(ZONES[1]), "--connections", "6", "--streams", "4", "--seconds", "10",
                   "--rate", str(rate)]

        def judge(out):
            done = re.search(r"requests (\d+) 2xx (\d+) failed (\d+) bytes (\d+)", out)
            if not done:
                return 0, 1
            requests, good, failed, received = map(int, done.groups())
            return good, max(failed, requests - good, int(received != good * 1024))

        return self.rounds("HTTP/3, h3-load in rounds", command, judge)

    async def http3_idle(self, count):
        """QUIC connections as old as the run, with a request every 20 s: below the node's keep-alive."""
        kind = "HTTP/3, idle connection kept"
        process = await asyncio.create_subprocess_exec(
            *self.h3_load(ZONES[2]), "--idle", str(count), "--again", "20",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        if await process.stdout.readline() == b"ready\n":
            await self.over.wait()
        out = (await process.communicate(b""))[0].decode()
        done = re.search(r"kept (\d+) lost (\d+) failed (\d+)", out)
        kept, lost, failed = map(int, done.groups()) if done else (0, count, 0)
        self.tally.well(kind, count=kept)
        if lost or failed:
            self.tally.fail(kind, out or "they did not open", max(lost, failed))

    # What the operator does.

    async def shown_number(self, stream):
        got, _ = await asyncio.wait_for(self.ask(stream, CHANGING, "/number"), PATIENCE)
        return got.decode()

    async def reload(self):
        kind, turn, stream = "reload", 0, None
        while not self.over.is_set():
            begin, turn = time.monotonic(), turn + 1
            broken = turn % BROKEN_EVERY == 0
            try:
                stream = stream or await self.open(CHANGING, False)
                if broken:
                    kind = "broken reload refused"
                    before = await asyncio.to_thread(self.node.metrics)
                    self.node.expected_refusals += 1
                    self.node.write_zone(CHANGING, turn, broken=True)
                    self.node.signal(signal.SIGHUP)
                    await self.until_refused(before)
                    shown = await self.shown_number(stream)
                    if shown != str(self.number):
                        raise Wrong(f"after a broken file {shown} was shown, not {self.number}")
                else:
                    kind = "reload took effect"
                    old, self.number = str(self.number), turn
                    self.node.write_zone(CHANGING, turn)
                    self.node.signal(signal.SIGHUP)
                    while (shown := await self.shown_number(stream)) != str(turn):
                        if shown != old:
                            raise Wrong(f"{shown} was shown, neither {old} nor {turn}")
                        if time.monotonic() - begin > PATIENCE:
                            raise Wrong(f"{turn} did not show in {PATIENCE} s")
                        await asyncio.sleep(0.02)
                    fresh = await self.open(CHANGING, True)
                    shown = await self.shown_number(fresh)
                    fresh[1].close()
                    if shown != str(turn):
                        raise Wrong(f"a new connection saw {shown} after {turn} had been shown")
                    self.publish_times.append(time.monotonic() - begin)
                self.tally.well(kind, begin)
            except Exception as why:
                self.tally.fail(kind, why)
                if stream:
                    stream[1].close()
                stream = None
            await self.pause(RELOAD_EVERY - (time.monotonic() - begin))
        if stream:
            stream[1].close()

    async def until_refused(self, before):
        begin = time.monotonic()

        def count(metrics):
            return metrics.get('rempart_reloads_total{result="failed"}', 0)

        while time.monotonic() - begin < PATIENCE:
            if count(await asyncio.to_thread(self.node.metrics)) > count(before):
                return
            await asyncio.sleep(0.1)
        raise Wrong("a broken file was not refused")

    async def watch(self):
        await self.pause(5)  # everything is open by then
        while not self.over.is_set():
            edge = self.node.find_edge()
            if edge != self.node.edge:
                self.tally.fail("edge", f"process {self.node.edge} became {edge}")
                self.node.edge = edge
            try:
                sample = Sample(self.node, time.monotonic() - self.tally.begin)
                self.samples.append(sample)
                print(f"{sample.at:7.0f} s  RSS {sample.rss} PSS {sample.pss} KiB, "
                      f"{sample.descriptors} descriptors, {sample.threads} threads, "
                      f"good {sum(self.tally.good.values())}, "
                      f"failed {sum(self.tally.failed.values())}", flush=True)
            except OSError as why:
                self.tally.fail("edge", why)
            await self.pause(SAMPLE_EVERY)

    async def rotate(self):
        while not self.over.is_set():
            await self.pause(ROTATE_EVERY)
            if not self.over.is_set():
                self.node.rotate()

    async def run(self):
        rate, only = self.arguments.rate, [word for word in self.arguments.only.split(",") if word]
        opening = asyncio.Semaphore(50)
        kinds = {
            "http1": [self.keep_asking("HTTP/1.1 GET", ZONES[n % 3], n % 2 == 1, 5 * rate, self.a_get)
                      for n in range(20)],
            "uploads": [self.keep_asking("HTTP/1.1 POST", ZONES[n % 3], n % 2 == 1, 5 * rate, self.an_upload)
                        for n in range(4)],
            "http2": [self.http2(n, 15 * rate) for n in range(3)] + [self.http2_rounds(60 * rate)],
            "http3": [self.http3_rounds(80 * rate), self.http3_idle(20)],
            "websockets": [self.websocket(n, opening) for n in range(self.arguments.websockets)],
            "events": [self.events(n) for n in range(12)],
            "handshakes": [self.shake_hands(5 * rate)],
        }
        chosen = [work for kind, works in kinds.items() for work in works if not only or kind in only]
        for work in (w for kind, works in kinds.items() for w in works if only and kind not in only):
            work.close()
        tasks = [asyncio.create_task(work) for work in [*chosen, self.reload(), self.watch(), self.rotate()]]
        await asyncio.sleep(self.arguments.minutes * 60)
        self.over.set()
        _, late = await asyncio.wait(tasks, timeout=PATIENCE + 30)
        for task in late:
            self.tally.fail("visitor", f"did not end: {task.get_coro().__qualname__}")
            task.cancel()
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception():
                self.tally.fail("soak itself", task.exception())


def is_flat(values, spare):
    """Whether the last third's median is at most 10 % and `spare` above the second third's; both medians."""
    third = len(values) // 3
    if not third:
        return False, 0, 0
    second, last = statistics.median(values[third:2 * third]), statistics.median(values[2 * third:])
    return last <= second * 1.1 + spare, second, last


def report(soak, arguments, closing):
    tally, samples = soak.tally, soak.samples
    seconds = time.monotonic() - tally.begin
    flat, second, last = is_flat([s.pss for s in samples], 2048)
    kept, second_open, last_open = is_flat([s.descriptors for s in samples], 20)
    kinds = sorted({*tally.good, *tally.failed})
    failed = sum(tally.failed.values())
    lines = [
        f"# Soak of {datetime.date.today().isoformat()}", "",
        f"{arguments.minutes:g} minutes, {arguments.only or 'all kinds'}, {arguments.websockets} WebSockets, "
        f"a reload each second; {os.cpu_count()} cores, shared with load, origin and whatever else ran; "
        f"Linux {os.uname().release}. {closing['version']}, threads = 2. {arguments.note}", "",
        "| kind | good | failed | median ms | 99 % ms | longest ms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind in kinds:
        times = sorted(tally.latencies.get(kind, []))
        shown = ["–"] * 3
        if times:
            places = (len(times) // 2, len(times) * 99 // 100, -1)
            shown = [f"{1000 * times[place]:.1f}" for place in places]
        lines.append(f"| {kind} | {tally.good[kind]} | {tally.failed[kind]} | {' | '.join(shown)} |")
    lines += ["", f"{sum(tally.good.values()) / seconds:.0f} answers a second. "
              + "; ".join(f"{what}: {count}" for what, count in sorted(tally.notes.items())) + ".", ""]
    lines += ["| edge at | RSS KiB | PSS KiB | tree PSS KiB | descriptors | threads | CPU s |",
              "| --- | --- | --- | --- | --- | --- | --- |"]
    for sample in samples[::max(1, len(samples) // 30)]:
        lines.append(f"| {sample.at:.0f} s | {sample.rss} | {sample.pss} | {sample.tree_pss} "
                     f"| {sample.descriptors} | {sample.threads} | {sample.cpu:.1f} |")
    checks = [
        (failed == 0, f"{failed} failed"),
        (flat, f"memory of the edge: median PSS {second:.0f} KiB in the second third, then {last:.0f} KiB"),
        (kept, f"descriptors of the edge: {second_open:.0f} and {last_open:.0f}"),
        (not closing["unexpected"], f"unexpected in the log: {closing['unexpected'] or 'nothing'}"),
        (closing["lines"] == closing["requests"],
         f"{closing['lines']} lines in the access log for {closing['requests']:.0f} requests, "
         f"{closing['dropped']:.0f} dropped"),
        (closing["panics"] == 0, f"{closing['panics']:.0f} panics"),
        (closing["exit"] == 0, f"after SIGTERM exit {closing['exit']} in {closing['drain']:.1f} s"),
    ]
    lines += ["", *(f"- {'ok' if well else '**WRONG**'}: {what}" for well, what in checks)]
    lines += [f"- {what}" for what in closing["notes"]]
    good = all(well for well, _ in checks)
    lines += ["", f"Verdict: **{'passed' if good else 'FAILED'}**."]
    if tally.reasons:
        lines += ["", "First failures:", "", "```", *tally.reasons[:40], "```"]
    text = "\n".join(lines) + "\n"
    print(text, flush=True)
    results = ROOT / "bench" / "results"
    out = pathlib.Path(arguments.out or results / f"soak-{datetime.date.today().isoformat()}.md")
    out.parent.mkdir(exist_ok=True)
    out.write_text(text)
    return good


def close(node):
    """The last counts, then SIGTERM."""
    time.sleep(1)
    metrics = node.metrics()

    def total(prefix):
        return sum(value for name, value in metrics.items() if name.split("{")[0] == prefix)

    version = subprocess.check_output([str(BINARIES / "rempart"), "--version"], text=True).strip()
    notes = [f"`{name}` {value:.0f}" for name, value in sorted(metrics.items()) if value and name.startswith((
        "rempart_refusals_total", "rempart_faults_total", "rempart_origin_retries", "rempart_reloads_total",
        "rempart_origin_connections_total", "rempart_connections_open", "rempart_events_suppressed"))]
    kept = list((node.folder / "data" / "generations").glob("*"))
    notes.append(f"{len(kept)} generations kept on disk")
    begin = time.monotonic()
    node.signal(signal.SIGTERM)
    try:
        code = node.process.wait(30)
    except subprocess.TimeoutExpired:
        code = "never"
    drain = time.monotonic() - begin
    node.count_rotated()
    (node.folder / "access.log").rename(node.folder / "access.log.1")
    node.count_rotated()
    return {"version": version, "requests": total("rempart_requests_total"), "lines": node.log_lines,
            "dropped": total("rempart_access_log_dropped_total"), "panics": total("rempart_panics_total"),
            "unexpected": node.unexpected_lines(), "exit": code, "drain": drain, "notes": notes}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=1.0, help="factor on all rates; 1 is some 400 a second")
    parser.add_argument("--websockets", type=int, default=210)
    parser.add_argument("--only", default="",
                        help="http1, uploads, http2, http3, websockets, events, handshakes")
    parser.add_argument("--out", default="")
    parser.add_argument("--note", default="", help="what to say of the build in the result")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs")
    arguments = parser.parse_args()
    raise_descriptor_limit()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rempart-soak-"))
    origin = subprocess.Popen([sys.executable, str(ROOT / "bench" / "soak_origin.py"), "127.0.0.1:0"],
                              stdout=subprocess.PIPE, text=True)
    node = None
    try:
        node = Node(folder, origin.stdout.readline().strip())
        node.start()

        async def go():
            soak = Soak(node, arguments)
            await soak.run()
            return soak

        soak = asyncio.run(go())
        good = report(soak, arguments, close(node))
    finally:
        if node and node.edge and node.process.poll() is None:
            os.killpg(node.process.pid, signal.SIGKILL)
        origin.kill()
        if arguments.keep:
            print(f"kept {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
