"""What `faults.py` does to a node: each kind is a fault with the failures that it allows, which are the pass mark of
its drill (docs/drills.md). Blocking work runs in threads; visitors go on meanwhile.

Read next: `Fault`, then one of the kinds, then `KINDS`.
"""

import asyncio
import collections
import contextlib
import os
import random
import signal
import socket
import ssl
import struct
import time

import hpack

from faults_node import LINGER, OWN, SITES, host

SLACK = 0.3  # seconds between a signal and the moment at which the process is gone


def in_thread(work, *arguments):
    return asyncio.to_thread(work, *arguments)


class Fault:
    """One fault: `run` does it and takes it back, `allows` says which failures are its own."""

    name = about = ""

    def __init__(self, node, chance):
        self.node, self.chance = node, chance
        self.begun = self.ended = self.recovered_s = None
        self.strikes, self.deaths, self.what = [], [], self.about
        self.allowed = collections.Counter()

    async def run(self):
        raise NotImplementedError

    def allows(self, failure):
        return False

    def is_lost(self, failure):
        """Whether a connection ended that a process held which died: it was open at that death.

        A death that this script did not cause came between two looks, `self.deaths`: however late the second one
        is, the connection was begun before it, and its end is noted after the first.
        """
        over_quic = failure.visitor.startswith("HTTP/3")
        is_gone = failure.what == "broken" or over_quic and failure.what == "late"
        deaths = [(at, at) for at in self.strikes] + self.deaths
        return is_gone and any(failure.opened <= last + SLACK and failure.ended >= first for first, last in deaths)

    def is_lingered(self, failure):
        """Whether a connection ended because the edge that it was at is replaced and has kept it for long enough.

        That is a WebSocket, or h3-load, which goes on asking after a GOAWAY: it is told that its request was not
        begun (H3_REQUEST_REJECTED, 267), then that there is no error (H3_NO_ERROR, 256; RFC 9114 §5.2).
        """
        is_told = failure.visitor.startswith("HTTP/3") and ("error 267" in failure.text or "peer: 256" in failure.text)
        return failure.what == "broken" and (failure.visitor == "WebSocket message" or is_told)

    def strike(self, pid):
        self.strikes.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)

    async def until(self, is_so, patience, what):
        end = time.monotonic() + patience
        while True:
            with contextlib.suppress(RuntimeError, OSError):
                if await in_thread(is_so):
                    return
            if time.monotonic() > end:
                raise RuntimeError(f"in {patience} s it did not come to be that {what}")
            await asyncio.sleep(0.1)


class EdgeKilled(Fault):
    name, about = "edge killed", "kill -9 of the edge: what it held breaks, nothing else, nobody is refused"

    async def run(self):
        self.strike(self.node.status()["edge_pid"])

    def allows(self, failure):
        return self.is_lost(failure)


class SpareKilled(Fault):
    name, about = "spare killed", "kill -9 of the spare: nothing fails"

    async def run(self):
        os.kill(self.node.roles()["spare"], signal.SIGKILL)


class SupervisorKilled(Fault):
    name = "supervisor killed"
    about = "kill -9 of the supervisor, then `serve`: nothing fails but WebSockets that outlast linger_ms"

    async def run(self):
        self.strike(self.node.process.pid)
        await in_thread(self.node.process.wait)
        await asyncio.sleep(1)
        await in_thread(self.node.start)
        await asyncio.sleep(LINGER)

    def allows(self, failure):
        return self.is_lingered(failure)


class CandidateKilled(Fault):
    name = "candidate killed"
    about = "kill -9 of a candidate that serves its share: what it held breaks, the change is not taken"

    async def run(self):
        before = set(self.node.tree())
        snapshot = self.node.status()["snapshot"]
        text = self.node.zone_path(OWN).read_text()
        self.node.number += 1
        self.node.write_site(OWN)
        publishing = asyncio.create_task(in_thread(self.node.command, "publish", "--wait"))
        await self.until(lambda: self.node.status()["publishing"].get("stage") == "canary", 15, "it served a share")
        for pid in set(self.node.tree()) - before:
            self.strike(pid)
        well, said = await publishing
        # Or the next publish takes it.
        self.node.zone_path(OWN).write_text(text)
        after = self.node.status()["snapshot"]
        if well or after != snapshot:
            raise RuntimeError(f"a change whose candidate died was taken: {said}")

    def allows(self, failure):
        return self.is_lost(failure)


class Upgraded(Fault):
    name = "upgraded"
    about = "the binary is replaced by itself: nothing fails but WebSockets that outlast linger_ms"

    async def run(self):
        edge = self.node.status()["edge_pid"]
        well, said = await in_thread(self.node.command, "upgrade")
        if not well:
            raise RuntimeError(said)
        await self.until(lambda: self.node.status()["edge_pid"] != edge, 15, "another edge serves")
        await asyncio.sleep(LINGER)

    def allows(self, failure):
        return self.is_lingered(failure)


class SuccessorKilled(Fault):
    name, about = "successor killed", "kill -9 of the newer edge of an upgrade before it has taken over"

    async def run(self):
        before = set(self.node.tree())
        upgrading = asyncio.create_task(in_thread(self.node.command, "upgrade"))
        await self.until(lambda: set(self.node.tree()) - before, 10, "there is a successor")
        for pid in set(self.node.tree()) - before:
            with contextlib.suppress(ProcessLookupError):
                self.strike(pid)
        await upgrading
        await asyncio.sleep(LINGER)

    def allows(self, failure):
        return self.is_lost(failure) or self.is_lingered(failure)


class PhaseBroken(Fault):
    name, about = "phase broken", "a request whose phase fails, panics, or spends its fuel or memory: it alone"

    async def run(self):
        for _ in range(20):
            phase = self.chance.choice(("admission", "shield", "route", "cache", "origin", "response", "record"))
            kind = self.chance.choice(("error", "panic", "fuel", "memory", "slow"))
            await in_thread(attack_with, self.node, f"{phase}={kind}", f"/broken/{self.chance.random()}")


class RequestKills(Fault):
    name, about = "request kills", "a request that aborts the edge: what that held breaks, and nothing else"

    async def run(self):
        self.strikes.append(time.monotonic())
        await in_thread(attack_with, self.node, "route=abort", f"/killer/{self.chance.random()}")
        self.strikes.append(time.monotonic())

    def allows(self, failure):
        return self.is_lost(failure)


class RequestHangs(Fault):
    name, about = "request hangs", "a request that takes its thread for good: what that edge held breaks"

    async def run(self):
        edge = self.node.status()["edge_pid"]
        await in_thread(attack_with, self.node, "route=hang", f"/hang/{self.chance.random()}")
        await self.until(lambda: self.node.status()["edge_pid"] != edge, 15, "the edge is replaced")
        await asyncio.sleep(LINGER)
        self.strikes.append(time.monotonic() - LINGER)

    def allows(self, failure):
        # What waited on the thread that hangs is late before it breaks.
        late = failure.what == "late" and failure.opened <= self.strikes[-1] if self.strikes else False
        return self.is_lost(failure) or self.is_lingered(failure) or late


class LateCrash(Fault):
    name = "late crash"
    about = "a change that becomes the last good one, then crashes each edge: walked back from; what these held breaks"

    async def run(self):
        before = self.node.status()["snapshot"]
        text = self.node.zone_path(OWN).read_text()
        self.node.number += 1
        self.node.write_site(OWN, also=("crash-after-3000ms.fault.invalid",))
        asked = time.monotonic()
        well, said = await in_thread(self.node.command, "publish")
        if not well:
            raise RuntimeError(f"the change should pass: {said}")
        # The candidate has had its share until now, and dies as late as an edge while the last of these leave it.
        self.deaths.append((asked + 3, time.monotonic()))
        self.node.zone_path(OWN).write_text(text)
        await self.until(lambda: self.node.status()["snapshot"] != before, 15, "it is live")
        looked = time.monotonic()
        edge = self.node.status()["edge_pid"]

        def has_walked_back():
            nonlocal edge, looked
            begun = time.monotonic()
            status = self.node.status()
            if status["edge_pid"] != edge:
                edge = status["edge_pid"]
                self.deaths.append((looked, time.monotonic()))
            looked = begun
            return status["snapshot"] == before

        await self.until(has_walked_back, 20, "the node walked back")

    def allows(self, failure):
        return self.is_lost(failure) or self.is_lingered(failure)


class OriginFails(Fault):
    name = "origin fails"
    about = "one origin refuses, hangs, is slow, sends garbage or half: that site alone, and no stored page of it"

    async def run(self):
        self.site = self.chance.choice(SITES)
        self.mode = self.chance.choice(("refuse", "hang", "slow", "garbage", "cut"))
        self.what = f"{self.site} {self.mode}"
        await in_thread(self.node.origin, self.site, self.mode)
        await asyncio.sleep(10)
        await in_thread(self.node.origin, self.site, "well")

    def allows(self, failure):
        # What is cut has begun to be passed on by then, stored before or not.
        return failure.site == self.site and failure.what != "refused" and (not failure.stored or self.mode == "cut")


class DiskFails(Fault):
    name, about = "cache disk fails", "the cache's disk is full, or hangs: nothing fails"

    async def run(self):
        self.what = word = self.chance.choice(("full", "stall"))
        fault = self.node.folder / "data" / "cache" / "fault"
        fault.write_text(word)
        await asyncio.sleep(10)
        fault.unlink()


class LogStalls(Fault):
    name, about = "log stalls", "the access log is a pipe that nobody reads: nothing fails, lines are lost and counted"

    async def run(self):
        path = self.node.folder / "access.log"
        path.unlink()
        os.mkfifo(path)
        self.node.signal(signal.SIGUSR1)
        await asyncio.sleep(10)
        path.unlink()
        self.node.signal(signal.SIGUSR1)
        await self.until(path.is_file, 10, "the log is a file again")


class ClockSteps(Fault):
    name, about = "clock steps", "the calendar goes back, ahead, or stands still: nothing fails"

    async def run(self):
        hour = 3_600_000_000
        self.what = self.chance.choice(("-1000000", f"+{hour}", f"-{hour}", f"={time.time_ns() // 1000}"))
        clock = self.node.folder / "clock"
        clock.write_text(self.what)
        await asyncio.sleep(8)
        clock.write_text("")


class Poisoned(Fault):
    name, about = "poisoned", "files that are cut, nested, doubled, unknown, emptied: refused, and nothing fails"

    async def run(self):
        before = self.node.status()["snapshot"]
        site = self.chance.choice((*SITES, OWN))
        path = self.node.zone_path(site)
        text = path.read_text()
        other = self.node.zone_text(next(other for other in SITES if other != site)).split("\n")[1]
        ways = {
            "cut": text[:self.chance.randrange(20, len(text) - 20)].rstrip() + '\nx = "',
            "nested": text + "\nx = " + "[" * 100_000,
            "doubled": text + "\n" + text,
            "unknown": "unknwon = 1\n" + text,
            "another's hostname": text.replace(text.split("\n")[1], other),
            "nothing but noise": self.chance.randbytes(5000),
            "empty": "",
        }
        self.what = self.chance.choice(sorted(ways))
        path.write_bytes(ways[self.what] if isinstance(ways[self.what], bytes) else ways[self.what].encode())
        try:
            await in_thread(self.node.command, "publish", "--wait")
            # A zone with problems is put back to what serves: nothing of it may be live.
            status = self.node.status()
            if status["snapshot"] != before:
                raise RuntimeError(f"{self.what} was taken: snapshot {before} became {status['snapshot']}")
        finally:
            path.write_text(text)

    def allows(self, failure):
        return self.is_lingered(failure)


class ReloadStorm(Fault):
    name, about = "reload storm", "thirty changes by SIGHUP in six seconds, the last of which shows: nothing fails"

    async def run(self):
        for _ in range(30):
            self.node.number += 1
            self.node.write_site(OWN)
            self.node.signal(signal.SIGHUP)
            await asyncio.sleep(0.2)
        await in_thread(self.node.command, "publish", "--wait")
        await asyncio.sleep(LINGER)

    def allows(self, failure):
        return self.is_lingered(failure)


class PurgeStorm(Fault):
    name, about = "purge storm", "a hundred purges of everything stored, one after the other: nothing fails"

    async def run(self):
        for _ in range(100):
            well, said = await in_thread(self.node.command, "purge", "--zone", "forum")
            if not well:
                raise RuntimeError(said)


class Flood(Fault):
    """Attackers of addresses of their own for some seconds; whatever they get, others notice nothing."""

    seconds, width = 8, 4

    async def run(self):
        self.over_at = time.monotonic() + self.seconds
        await asyncio.gather(*(in_thread(self.attack, n) for n in range(self.width)))

    def attack(self, number):
        while time.monotonic() < self.over_at:
            with contextlib.suppress(OSError, ValueError):
                self.once(number)

    def connect(self, number, over_tls=False, alpn=()):
        raw = socket.socket()
        raw.bind((f"127.2.{number}.1", 0))
        raw.settimeout(3)
        raw.connect(("127.0.0.1", self.node.tls if over_tls else self.node.plain))
        if not over_tls:
            return raw
        context = ssl.create_default_context(cafile=str(self.node.folder / "ca.pem"))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context.wrap_socket(raw, server_hostname=host(OWN))


class SlowHeads(Flood):
    name, about = "slow heads", "visitors who send a head byte by byte, 400 at a time"

    def once(self, number):
        held = [self.connect(number) for _ in range(100)]
        for one in held:
            one.sendall(b"GET / HTTP/1.1\r\nHost: own.example\r\nX: ")
        while time.monotonic() < self.over_at:
            for one in held:
                with contextlib.suppress(OSError):
                    one.sendall(b"x")
            time.sleep(1)
        for one in held:
            one.close()


class SlowReaders(Flood):
    name, about = "slow readers", "visitors who ask for a megabyte and read nothing, 120 at a time"

    def once(self, number):
        held = [self.connect(number) for _ in range(30)]
        for one in held:
            one.sendall(f"GET /bytes/1048576 HTTP/1.1\r\nHost: {host('store')}\r\n\r\n".encode())
        time.sleep(max(0, self.over_at - time.monotonic()))
        for one in held:
            one.close()


class ConnectionFlood(Flood):
    name, about = "connection flood", "connections that come, say nonsense to TLS, and go"

    def once(self, number):
        for _ in range(20):
            with self.connect(number) as one:
                one.sendall(random.randbytes(50))
        with self.connect(number, over_tls=False) as one, socket.socket() as other:
            other.connect(("127.0.0.1", self.node.tls))
            other.sendall(b"\x16\x03\x01\x02\x00" + random.randbytes(512))
            one.sendall(b"\r\n\r\n\r\n")
        time.sleep(0.02)


def h2_frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class RapidReset(Flood):
    name, about = "rapid reset", "HTTP/2 streams that are reset as soon as they are open (CVE-2023-44487)"
    width = 2

    def once(self, number):
        head = hpack.Encoder().encode([
            (":method", "GET"), (":scheme", "https"), (":authority", host("store")), (":path", "/bytes/50000")])
        with self.connect(number, over_tls=True, alpn=("h2",)) as one:
            one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2_frame(4, 0, 0) + h2_frame(4, 1, 0))
            for stream in range(1, 20_000, 2):
                one.sendall(h2_frame(1, 5, stream, head) + h2_frame(3, 0, stream, b"\0\0\0\x08"))
                if time.monotonic() > self.over_at:
                    return


class Datagrams(Flood):
    name, about = "QUIC noise", "datagrams of noise, many of which look like first packets of QUIC"
    width = 1

    def once(self, number):
        with socket.socket(type=socket.SOCK_DGRAM) as one:
            for _ in range(200):
                noise = random.randbytes(1200)
                one.sendto(b"\xc3\x00\x00\x00\x01\x08" + noise[6:], ("127.0.0.1", self.node.tls))
                one.sendto(noise, ("127.0.0.1", self.node.tls))
            time.sleep(0.05)


def attack_with(node, fault, path):
    """Sends one request with a fault point; whatever comes of it."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", node.plain), timeout=3) as one:
        one.sendall(f"GET {path} HTTP/1.1\r\nHost: {host(OWN)}\r\nRempart-Fault: {fault}\r\n"
                    f"Connection: close\r\n\r\n".encode())
        while one.recv(65536):
            pass


KINDS = (EdgeKilled, SpareKilled, SupervisorKilled, CandidateKilled, Upgraded, SuccessorKilled, PhaseBroken,
         RequestKills, RequestHangs, LateCrash, OriginFails, DiskFails, LogStalls, ClockSteps, Poisoned, ReloadStorm,
         PurgeStorm, SlowHeads, SlowReaders, ConnectionFlood, RapidReset, Datagrams)
