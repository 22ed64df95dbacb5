#!/usr/bin/env python3
"""What the adaptive limit of an origin does to a real node and a real origin.

The origin has so many workers, each of which takes so long for a request, and a line without end before them:
its answers come later the more wait, as those of any server do. Visitors come in an open loop: when a request is
due it is sent on a connection of its own, whatever became of the others; who has no whole answer within its
patience leaves. One node has three zones before it, each with its own origin: the one that is overloaded, one that
is quick and far from full, and one that is quick and asked for as much as all of that.

Phases: a calm one at half of the capacity, three times the capacity, the origin gets twice as many workers while as
many visitors come, and a calm one again. Before them, with `--without`, the same without a limit.

Goodput is whole answers of 200 a second that came within a visitor's patience, in the second half of a phase, beside
what the origin's workers can do. The limit is what the origin saw: how many requests waited there at once. Times are
wall times of this machine: say what else it did.

Usage: origin_limit.py [--binary rempart] [--workers 16] [--service-ms 100] [--seconds 20] [--without] [--out FILE.md]
"""

import argparse
import asyncio
import datetime
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 5.0
BUSY, QUIET, QUICK = "busy.example", "quiet.example", "quick.example"
QUIET_PER_S = 10


class Origin:
    """Workers behind a line; it counts what waits, being served included."""

    def __init__(self, workers, service_s):
        self.service_s, self.waiting, self.most, self.served = service_s, 0, 0, 0
        self.places = asyncio.Semaphore(workers)
        self.workers = workers

    def add_workers(self, count):
        self.workers += count
        for _ in range(count):
            self.places.release()

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=4096)
        self.address = "%s:%d" % self.server.sockets[0].getsockname()[:2]

    async def serve(self, reader, writer):
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.waiting += 1
                self.most = max(self.most, self.waiting)
                try:
                    if self.service_s:
                        async with self.places:
                            # A worker works on what it began, whether anybody still waits for it or not.
                            await asyncio.sleep(self.service_s)
                    self.served += 1
                finally:
                    self.waiting -= 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: no-store\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


class Visit:
    __slots__ = ("at", "took", "status", "retry")


async def visit(address, host, log):
    one = Visit()
    one.at, one.status, one.retry = time.monotonic(), 0, False
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(*address)
            try:
                writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                answer = await reader.read()
                one.status = int(answer.split(b" ", 2)[1])
                one.retry = b"\r\nretry-after:" in answer.lower()
            finally:
                writer.close()
    except (TimeoutError, OSError, IndexError, ValueError):
        pass
    one.took = time.monotonic() - one.at
    log.append(one)


async def load(address, host, per_s, seconds, log):
    """So many visitors a second, each when it is due."""
    began, sent, tasks = time.monotonic(), 0, set()
    while (passed := time.monotonic() - began) < seconds:
        while sent < passed * per_s:
            task = asyncio.create_task(visit(address, host, log))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(0.002)
    return tasks


def start_node(binary, folder, zones, lines):
    (folder / "zones").mkdir()
    for host, origin in zones.items():
        name = host.split(".")[0]
        (folder / "zones" / f"{name}.toml").write_text(
            f'name = "{name}"\nhostnames = ["{host}"]\n[[pool]]\nname = "app"\n'
            f'origins = [{{ url = "http://{origin.address}" }}]\n{lines}\n')
    (folder / "rempart.toml").write_text(
        '[node]\ndata_dir = "data"\nthreads = 2\nspare = false\n[publish]\ncompare_ms = 0\ncanary_percent = 0\n'
        'soak_ms = 0\n[[listener]]\naddress = "127.0.0.1:0"\nprotocol = "http"\n'
        '[admin]\naddress = "127.0.0.1:0"\n[log]\naccess = "off"\n')
    events = open(folder / "events", "wb")
    node = subprocess.Popen([binary, "serve", "--config", folder / "rempart.toml"], stderr=events, stdout=events)
    found = folder / "data" / "addresses.json"
    for _ in range(2000):
        if found.exists():
            break
        time.sleep(0.01)
    ports = re.findall(r'127\.0\.0\.1:(\d+)', found.read_text())
    return node, ("127.0.0.1", int(ports[0]))


def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


class Table:
    def __init__(self):
        self.rows = []

    def add(self, name, offered, capacity, log, seconds, origin_most):
        """`log` has the visits that ended in the phase's second half."""
        good = [one for one in log if one.status == 200]
        away = [one for one in log if one.status == 503]
        left = [one for one in log if one.status not in (200, 503)]
        ms = lambda part, some: f"{1000 * percentile([one.took for one in some], part):.0f}" if some else "–"
        retry = f"{sum(one.retry for one in away)} of {len(away)}" if away else "–"
        self.rows.append([
            name, f"{offered:.0f}", f"{len(good) / seconds:.0f}", f"{100 * len(good) / seconds / capacity:.0f} %",
            f"{ms(.5, good)} / {ms(.99, good)}", f"{len(away) / seconds:.0f}", f"{ms(.5, away)} / {ms(.99, away)}", retry,
            f"{len(left) / seconds:.0f}", str(origin_most)])

    def text(self):
        head = ["phase", "offered/s", "goodput/s", "of capacity", "p50 / p99 of 200, ms", "503/s", "p50 / p99 of 503, ms",
                "with Retry-After", "left or broken/s", "waited at the origin, at most"]
        lines = [head, ["---"] * len(head), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def told(folder, began):
    """When an origin was limited and was not any more, in seconds after the load on it grew."""
    for line in (folder / "events").read_text().splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") in ("origin_limited", "origin_unlimited"):
            at = datetime.datetime.fromisoformat(event["time"]).timestamp()
            yield f"{event['event']} {event['origin']} after {at - began:.1f} s"


async def run(arguments, lines, table, word):
    service_s, workers = arguments.service_ms / 1000, arguments.workers
    capacity, seconds = workers / service_s, arguments.seconds
    origins = {BUSY: Origin(workers, service_s), QUIET: Origin(1000, 0.02), QUICK: Origin(1000, 0)}
    for origin in origins.values():
        await origin.start()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        node, address = start_node(arguments.binary, folder, origins, lines)
        try:
            busy, others = origins[BUSY], {QUIET: [], QUICK: []}
            beside = [
                asyncio.create_task(load(address, QUIET, QUIET_PER_S, 4 * seconds, others[QUIET])),
                asyncio.create_task(load(address, QUICK, capacity, 4 * seconds, others[QUICK]))]
            log, phases, grew = [], [], 0
            for phase, times, more in (("calm", .5, 0), ("three times its capacity", 3, 0),
                                       ("as many, with twice the workers", 3, workers), ("calm again", 1, 0)):
                busy.add_workers(more)
                grew = time.time() if times == 3 and not more else grew
                offered = capacity * times
                await load(address, BUSY, offered, seconds / 2, log)
                busy.most, half = busy.waiting, time.monotonic()
                await load(address, BUSY, offered, seconds / 2, log)
                phases.append((phase, offered, busy.workers / service_s, (half, time.monotonic()), busy.most))
            await asyncio.gather(*beside)
            await asyncio.sleep(PATIENCE if word == "without" else 1)
            for phase, offered, now, (begins, ends), most in phases:
                ended = [one for one in log if begins <= one.at + one.took < ends]
                table.add(f"{word}: {phase}", offered, min(now, offered), ended, ends - begins, most)
            for host, log in others.items():
                offered = QUIET_PER_S if host == QUIET else capacity
                table.add(f"{word}: {host.split('.')[0]} zone, all the while", offered, offered, log, 4 * seconds,
                          origins[host].most)
            return list(told(folder, grew))
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait(20)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "rempart"))
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--service-ms", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--without", action="store_true")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    table, events = Table(), {}
    for word, lines in [("without", "adaptive = false")] * arguments.without + [("limited", "")]:
        events[word] = asyncio.run(run(arguments, lines, table, word))
    text = (f"{arguments.workers} workers of {arguments.service_ms:.0f} ms, phases of {arguments.seconds:.0f} s, "
            f"patience {PATIENCE:.0f} s\n\n{table.text()}\n")
    text += "".join(f"Events {word}: {', '.join(names) or 'none'}\n" for word, names in events.items())
    print(text)
    if arguments.out:
        pathlib.Path(arguments.out).write_text(text)


if __name__ == "__main__":
    main()
