#!/usr/bin/env python3
"""Random faults and attacks on a real node under mixed traffic, one after the other, for hours.

Four kinds of site, each before an origin of its own: `chat` (WebSockets that echo, server-sent events),
`timeline` (HTTP/2 on long connections, several streams at once, and HTTP/3 in rounds), `forum` (stored pages
and posts over kept HTTP/1.1), `store` (large answers and uploads), and a fifth that the node answers itself, asked
on a new connection each time. Every --every seconds one fault of `faults_kinds.py`, drawn from --seed: each kind comes
once before any comes again. What a visitor may lose by a fault is part of the fault (the pass mark of its drill), and a
failure that no fault at its time allows fails the run, as does an answer that is slow while no fault is at work. At the
end, as at the beginning, there is a calm: memory and descriptors of every role, and how many processes there are, must
be what they were. Beside it `stalls.py` notes when the machine itself stood still.

Usage: faults.py [--minutes 120] [--every 30] [--seed N] [--only NAME,...] [--calm S] [--rate 1.0] [--out FILE.md]
       [--note TEXT] [--keep]
Needs: rempart (a build with fault points) and h3-load in target/drill or $SOAK_BINARIES, openssl, and `h2` from
tests/requirements.txt (.venv is used if it is there). Read next: faults_kinds.py, faults_visitors.py.
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv" / "bin" / "python"
if VENV.exists() and pathlib.Path(sys.prefix) != VENV.parent.parent:
    os.execv(VENV, [str(VENV), *sys.argv])
os.environ.setdefault("BENCH_PROFILE", "drill")

import argparse  # noqa: E402
import asyncio
import collections
import datetime
import http.client
import random
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

from faults_kinds import KINDS
from faults_node import SITES, Node
from faults_visitors import SLOW_S, Visitors
from soak_origin import raise_descriptor_limit
from stalls import steal

SAMPLE_EVERY = 2
GRACE = 4  # seconds in which a visitor that is silent for up to three notices that its connection has ended


class Run:
    """The faults in their order, what came of each, and samples of what the node holds."""

    def __init__(self, node, arguments):
        self.node, self.arguments = node, arguments
        self.random = random.Random(arguments.seed)
        self.visitors = Visitors(node, arguments.rate)
        self.done, self.samples, self.troubles = [], [], []
        self.calm_s = arguments.calm or min(120, arguments.minutes * 60 / 5)

    def order(self):
        """Kinds without end: each once, shuffled, before any comes again."""
        only = [name for name in self.arguments.only.split(",") if name]
        kinds = [kind for kind in KINDS if not only or kind.name in only]
        while True:
            yield from self.random.sample(kinds, len(kinds))

    async def go(self):
        tasks = self.visitors.start()
        sampling = asyncio.create_task(self.sample())
        await asyncio.sleep(self.calm_s)
        first = self.mark = len(self.samples)
        until = time.monotonic() + self.arguments.minutes * 60 - 2 * self.calm_s
        for kind in self.order():
            if time.monotonic() + self.arguments.every > until:
                break
            await self.one(kind(self.node, self.random))
        last = len(self.samples)
        await asyncio.sleep(self.calm_s)
        self.begin, self.end = self.samples[first // 2:first], self.samples[last + (len(self.samples) - last) // 2:]
        sampling.cancel()
        await self.visitors.stop(tasks)

    async def one(self, fault):
        begun = time.monotonic()
        fault.begun = begun
        print(f"{self.visitors.at():7.1f} s  {fault.name}: {fault.what}", flush=True)
        try:
            await asyncio.wait_for(fault.run(), 25)
        except Exception as why:
            self.troubles.append(f"{fault.name}: {type(why).__name__} {why}")
            print("   " + self.troubles[-1], flush=True)
        fault.ended = time.monotonic()
        try:
            fault.recovered_s = await self.recovered(fault)
        except Exception as why:
            self.troubles.append(f"after {fault.name}: {why}")
            print("   " + self.troubles[-1], flush=True)
        self.done.append(fault)
        await asyncio.sleep(max(0, begun + self.arguments.every - time.monotonic()))

    async def recovered(self, fault):
        """Waits until one edge serves and one is spare, and every site answers; how long after the fault that was."""
        missing = "nothing looked"
        while time.monotonic() - fault.ended < 30:
            try:
                status = await asyncio.to_thread(self.node.status)
                roles = self.node.roles()
                missing = f"processes are {sorted(roles)}" if len(roles) != 3 else ""
                if not missing and roles.get("edge") != status["edge_pid"]:
                    missing = "status names another edge"
                if not missing and (why := await self.visitors.every_site()):
                    missing = why
            except Exception as why:
                missing = f"{type(why).__name__} {why}"
            if not missing:
                return time.monotonic() - fault.ended
            await asyncio.sleep(0.3)
        raise RuntimeError(f"30 s later {missing}")

    async def sample(self):
        rotated = time.monotonic()
        while True:
            try:
                self.samples.append(await asyncio.to_thread(self.node.sample, self.visitors.at()))
            except (OSError, AttributeError, ValueError, KeyError, http.client.HTTPException):
                pass  # a process died while it was looked at, which is what this is about
            if time.monotonic() - rotated > 60:
                rotated = time.monotonic()
                self.node.rotate()
            await asyncio.sleep(SAMPLE_EVERY)

    def attribute(self):
        """Gives each failure to a fault that allows it; those that none allows. Any fault may make slow."""
        unexplained = []
        for failure in [*self.visitors.failures, *self.visitors.slow_by_others()]:
            near = [f for f in self.done
                    if failure.ended >= f.begun and failure.begun <= f.ended + (f.recovered_s or 0) + GRACE]
            allowing = [f for f in near if failure.what == "slow" or f.allows(failure)]
            if allowing:
                allowing[-1].allowed[failure.what] += 1
            else:
                failure.near = ", ".join(f.name for f in near) or "no fault"
                unexplained.append(failure)
        return unexplained


def medians(samples, role, what):
    values = [sample[role][what] for sample in samples if role in sample]
    return statistics.median(values) if values else None


def compare(run):
    """Rows of role, figure, begin, end, and whether the end is where it began."""
    # A tenth and what one run differs from the next by: an edge's allocator keeps a few MiB more or less.
    for role in ("supervisor", "edge", "spare"):
        for what, share, spare in (("pss_kib", 0.2, 16 * 1024), ("descriptors", 0.1, 20), ("threads", 0, 2)):
            begin, end = medians(run.begin, role, what), medians(run.end, role, what)
            holds = begin is not None and end is not None and end <= begin * (1 + share) + spare
            yield role, what, begin, end, holds
    begin, end = (statistics.median([len(s) - 2 for s in part]) if part else None for part in (run.begin, run.end))
    yield "node", "processes", begin, end, begin == end


def report(run, arguments, closing):
    attributed = run.attribute()
    unexplained, slow = ([f for f in attributed if (f.what == "slow") == is_slow] for is_slow in (False, True))
    visitors = run.visitors
    lines = [
        f"# Random faults of {datetime.date.today().isoformat()}", "",
        f"{arguments.minutes:g} minutes, seed {arguments.seed}, a fault every {arguments.every:g} s and a calm of "
        f"{run.calm_s:.0f} s before and after; {os.cpu_count()} cores, shared with load, origins and whatever else "
        f"ran; Linux {os.uname().release}; {closing['version']}. {arguments.note}", "",
        "| visitor | good | failed | median ms | 99 % ms | longest ms |", "| --- | --- | --- | --- | --- | --- |",
    ]
    for what in sorted({*visitors.good, *visitors.failed}):
        times = sorted(visitors.times[what])
        shown = [f"{1000 * times[place]:.1f}" for place in (len(times) // 2, len(times) * 99 // 100, -1)] \
            if times else ["–"] * 3
        lines.append(f"| {what} | {visitors.good[what]} | {visitors.failed[what]} | {' | '.join(shown)} |")
    lines += ["", "| fault | times | allowed failures | recovered after at most s | done |",
              "| --- | --- | --- | --- | --- |"]
    by_kind = collections.defaultdict(list)
    for fault in run.done:
        by_kind[fault.name].append(fault)
    for name, faults in sorted(by_kind.items()):
        allowed = sum((fault.allowed for fault in faults), collections.Counter())
        told = ", ".join(f"{what} {count}" for what, count in sorted(allowed.items())) or "0"
        longest = max((fault.recovered_s for fault in faults if fault.recovered_s is not None), default=None)
        shown = "never" if longest is None else f"{longest:.1f}"
        lines.append(f"| {name} | {len(faults)} | {told} | {shown} | {faults[0].about} |")
    lines += ["", "| role | figure | at the beginning | at the end | |", "| --- | --- | --- | --- | --- |"]
    rows = list(compare(run))
    for role, what, begin, end, holds in rows:
        lines.append(f"| {role} | {what} | {begin} | {end} | {'ok' if holds else '**more**'} |")
    held = all(row[-1] for row in rows)
    checks = [
        (bool(run.done), f"{len(run.done)} faults of {len(by_kind)} kinds"),
        (not unexplained, f"{len(unexplained)} failures that no fault's mark allows, "
         f"of {sum(visitors.failed.values())} failed and {sum(visitors.good.values())} good"),
        (not slow, f"{len(slow)} answers later than {SLOW_S:g} s while no fault was at work"),
        (not run.troubles, f"faults that did not go as they must, or that the node did not recover from: "
         f"{len(run.troubles)}"),
        (held, "memory, descriptors, threads and processes end where they began"),
        (closing["exit"] == 0, f"after SIGTERM exit {closing['exit']} in {closing['drain']:.1f} s"),
    ]
    lines += ["", *(f"- {'ok' if well else '**WRONG**'}: {what}" for well, what in checks)]
    told = ", ".join(f"{name} {count}" for name, count in sorted(closing["events"].items()))
    lines += [f"- warnings and errors in the log, by event: {told or 'none'}"]
    stood = "; ".join([f"{len(run.stalls)} times one stood still for over 100 ms", *run.stalls[:20]])
    delay = max((sample["delay_s"] for sample in run.samples), default=0)
    lines += [f"- the host took {closing['steal_s']:.1f} s from the processors; {stood}",
              f"- `rempart_thread_delay_seconds`, looked at every {SAMPLE_EVERY} s: at most {delay:g}"]
    good = all(well for well, _ in checks)
    lines += ["", f"Verdict: **{'passed' if good else 'FAILED'}**."]
    wrong = [f"{failure}  (near: {failure.near})" for failure in unexplained + slow] + run.troubles
    if wrong:
        lines += ["", "What is wrong:", "", "```", *wrong[:60], "```"]
    text = "\n".join(lines) + "\n"
    print(text, flush=True)
    day = datetime.date.today().isoformat()
    out = pathlib.Path(arguments.out or ROOT / "bench" / "results" / f"faults-{day}.md")
    out.parent.mkdir(exist_ok=True)
    out.write_text(text)
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", default="", help=", ".join(kind.name for kind in KINDS))
    parser.add_argument("--calm", type=float, default=0, help="seconds before and after; default a fifth, at most 120")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on all rates; 1 is some 150 a second")
    parser.add_argument("--out", default="")
    parser.add_argument("--note", default="", help="what to say of the build in the result")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs")
    arguments = parser.parse_args()
    raise_descriptor_limit()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rempart-faults-"))
    origins = subprocess.Popen(
        [sys.executable, str(ROOT / "bench" / "faults_origin.py"), *SITES],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with open(folder / "stalls", "w") as told:
        stalls = subprocess.Popen([sys.executable, str(ROOT / "bench" / "stalls.py")], stdout=told)
    node, taken_before = None, steal()
    try:
        node = Node(folder, origins)
        node.start()

        async def go():
            run = Run(node, arguments)
            await run.go()
            return run

        run = asyncio.run(go())
        stalls.kill()
        begun = run.visitors.start_at
        run.stalls = [f"{float(late):.2f} s at {float(at) - begun:.1f} s of processor {processor} (steal {taken} s)"
                      for processor, at, late, taken in map(str.split, (folder / "stalls").read_text().splitlines())]
        good = report(run, arguments, node.close() | {"steal_s": steal() - taken_before})
    finally:
        if node:
            node.kill()
        origins.send_signal(signal.SIGKILL)
        stalls.kill()
        if arguments.keep:
            print(f"kept {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
