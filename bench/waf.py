#!/usr/bin/env python3
"""What a firewall costs: Rempart without one, and with OWASP CRS at level 1 in block mode.

CPU microseconds per request of the whole process tree, the threads that inspect bodies among them, as
`compare.py` measures it (read its head for what the figure is and is not): a plain GET, and POSTs of 1, 8 and 64
KiB as a form and as JSON. A KiB of body costs what two sizes differ by. Then what others on the same thread notice:
the time of a GET every five milliseconds while nothing else happens, and while large forms are posted without and
with the firewall. Every answer must be 2xx.

Usage: waf.py --crs FOLDER [--rounds 3] [--seconds 4] [--works WORD,...] [--out FILE.md]
Needs: rempart and bench-origin in target/release (or target/$BENCH_PROFILE), wrk. With the defaults it takes
under 5 minutes.
"""

import argparse
import datetime
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from compare import LOAD_CORE, PROXY_CORE, RELEASE, free_port, measured, said, sh, summary, tree, wait_port

KINDS = {"form": "application/x-www-form-urlencoded", "JSON": "application/json"}
SIZES = [1, 8, 64]
PROBE_S = 0.005
WORDS = "the lamp on the desk is warm and bright and fits the catalogue of autumn".split()


class Node:
    """A node with one zone; `plain` is the port, as the load generator of compare.py wants it."""

    def __init__(self, name, folder, origin_port, waf):
        self.name, self.plain, self.process = name, free_port(), None
        self.home = folder / name.replace(" ", "-")
        (self.home / "zones").mkdir(parents=True)
        (self.home / "rempart.toml").write_text(f"""
[node]
data_dir = "{self.home}/data"
threads = 1
spare = false
[[listener]]
address = "127.0.0.1:{self.plain}"
protocol = "http"
[log]
access = "{self.home}/access.log"
""")
        (self.home / "zones" / "a.toml").write_text(f"""
name = "bench"
hostnames = ["bench.example", "127.0.0.1"]
{waf}
[[pool]]
name = "app"
origins = [{{ url = "http://127.0.0.1:{origin_port}" }}]
""")

    def start(self):
        log = tempfile.TemporaryFile("w+")
        command = [str(RELEASE / "rempart"), "serve", "--config", str(self.home / "rempart.toml")]
        self.process = subprocess.Popen(
            ["taskset", "-c", PROXY_CORE, *command], stdout=log, stderr=log, start_new_session=True
        )
        self.process.log = log
        wait_port(self.plain, self.process, 60)
        end = time.time() + 20
        while time.time() < end:  # a port that is open is not yet a node that answers
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{self.plain}/1k",
                                                 headers={"Host": "bench.example", "User-Agent": "bench", "Accept": "*/*"})
                return urllib.request.urlopen(request, timeout=2).read()
            except OSError:
                time.sleep(0.05)
        sys.exit(f"{self.name} does not answer: {said(self.process)}")

    def stop(self):
        for pid in tree(self.process.pid) if self.process and self.process.poll() is None else []:
            try:
                os.kill(pid, 9)
            except OSError:
                pass
        if self.process:
            self.process.wait()


def body(kind, kib):
    """Words as people write them, under names as programs make them; fewer than the 1,000 arguments that a
    firewall reads unless told otherwise."""
    parts, size, number = [], 0, 0
    while size < kib * 1024 - 120:
        text = " ".join(WORDS[(number + at) % len(WORDS)] for at in range(16))
        parts.append(f"field{number}={text.replace(' ', '+')}" if kind == "form" else f'"field{number}":"{text}"')
        size += len(parts[-1]) + 1
        number += 1
    return "&".join(parts) if kind == "form" else "{" + ",".join(parts) + "}"


def wrk(node, seconds, script, path="/1k", connections=32):
    out = sh("taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script),
             "-H", "Host: bench.example", "-H", "User-Agent: bench", "-H", "Accept: */*",
             f"http://127.0.0.1:{node.plain}{path}")
    if "Non-2xx" in out or re.search(r"Socket errors: .*(read|connect) [1-9]", out):
        sys.exit(f"{node.name}: {out}")
    return int(re.search(r"(\d+) requests in", out).group(1)), float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))


def probe(node, seconds):
    """Times of GETs on one connection, in milliseconds, each due five milliseconds after the one before."""
    head = b"GET /probe HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
    times, due = [], time.perf_counter()
    with socket.create_connection(("127.0.0.1", node.plain)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = due + seconds
        while due < end:
            time.sleep(max(0.0, due - time.perf_counter()))
            connection.sendall(head)
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = connection.recv(65536)
                if not piece:
                    sys.exit(f"{node.name}: a probe's connection ended")
                answer += piece
            if not answer.startswith(b"HTTP/1.1 200"):
                sys.exit(f"{node.name}: {answer[:200]!r}")
            length = int(re.search(rb"(?i)content-length: (\d+)", answer).group(1))
            left = length - (len(answer) - answer.index(b"\r\n\r\n") - 4)
            while left > 0:
                left -= len(connection.recv(65536))
            times.append((time.perf_counter() - due) * 1000)
            due += PROBE_S
    return times


def quantile(times, share):
    return sorted(times)[min(int(len(times) * share), len(times) - 1)]


def scripts(folder):
    """wrk's scripts by work."""
    made = {"GET": folder / "get.lua"}
    made["GET"].write_text("")
    for kind, name in KINDS.items():
        for kib in SIZES:
            data, script = folder / f"{kind}-{kib}.txt", folder / f"{kind}-{kib}.lua"
            data.write_text(body(kind, kib))
            script.write_text(f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{name}"\n'
                              f'local file = io.open("{data}", "rb")\nwrk.body = file:read("*a")\nfile:close()\n')
            made[f"POST {kib} KiB, {kind}"] = script
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crs", default=os.environ.get("REMPART_CRS"), help="the folder of OWASP CRS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--works", default="", help="works, comma-separated words")
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    if not args.crs:
        sys.exit("neither --crs nor REMPART_CRS names a copy of OWASP CRS")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rempart-bench-"))
    origin = subprocess.Popen(["taskset", "-c", LOAD_CORE, str(RELEASE / "bench-origin"), "127.0.0.1:0"],
                              stdout=subprocess.PIPE, text=True)
    port = int(origin.stdout.readline().rsplit(":", 1)[1])
    waf = f'[waf]\nmode = "block"\nrules = ["{pathlib.Path(args.crs).resolve()}"]\n'
    nodes = [Node("without", folder, port, ""), Node("CRS at level 1", folder, port, waf)]
    wanted = [word for word in args.works.split(",") if word]
    works = {name: script for name, script in scripts(folder).items() if not wanted or any(w in name for w in wanted)}
    costs = {(work, node.name): [] for work in works for node in nodes}
    probes = {}
    try:
        for number in range(args.rounds):
            for work, script in works.items():
                for node in nodes:
                    node.start()
                    try:
                        figure = measured(node, lambda: wrk(node, args.seconds, script, "/1k" if work == "GET" else "/in"))
                    finally:
                        node.stop()
                    costs[(work, node.name)].append(figure.value)
                    print(f"round {number + 1}  {work:20} {node.name:15} {figure.value:10.1f} µs {figure.busy:5.0%} busy",
                          file=sys.stderr, flush=True)
            large = folder / "form-64.lua"
            for node, is_loaded in [(nodes[1], False), (nodes[0], True), (nodes[1], True)]:
                node.start()
                load = None
                if is_loaded:
                    load = subprocess.Popen(
                        ["taskset", "-c", LOAD_CORE, "wrk", "-t1", "-c2", f"-d{args.seconds + 1}s", "-s", str(large), "-H",
                         "Host: bench.example", "-H", "User-Agent: bench", f"http://127.0.0.1:{node.plain}/in"],
                        stdout=subprocess.DEVNULL)
                    time.sleep(0.5)
                try:
                    times = probe(node, args.seconds)
                finally:
                    if load:
                        load.kill()
                        load.wait()
                    node.stop()
                name = f"64 KiB forms, {node.name}" if is_loaded else "nothing else"
                probes.setdefault(name, []).append((quantile(times, 0.5), quantile(times, 0.99)))
        text = report(args, nodes, works, costs, probes)
    finally:
        for node in nodes:
            node.stop()
        origin.kill()
        shutil.rmtree(folder, ignore_errors=True)
    print(text)
    if args.out:
        pathlib.Path(args.out).write_text(text)


def report(args, nodes, works, costs, probes):
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    lines = [
        f"# What a firewall costs, {datetime.date.today().isoformat()}",
        "",
        f"Machine: {model}, {os.cpu_count()} cores, Linux {os.uname().release}. {args.rounds} interleaved rounds of "
        f"{args.seconds} s; median (minimum to maximum). Built with the profile `{RELEASE.name}`.",
        "",
        "Method: one serving thread and one that inspects bodies, pinned to one core, load and origin to the other; HTTP/1.1, "
        "32 connections; access log to a file on. CPU microseconds per request, user and system, of the whole process tree.",
        "",
        "| work | " + " | ".join(node.name for node in nodes) + " | the firewall's share |",
        "| --- | " + " | ".join("---" for _ in nodes) + " | --- |",
    ]
    shares = {}
    for work in works:
        values = [costs[(work, node.name)] for node in nodes]
        shares[work] = statistics.median(values[1]) - statistics.median(values[0])
        lines.append(f"| {work} | " + " | ".join(summary(value) for value in values) + f" | {shares[work]:.1f} |")
    lines.append("")
    for kind in KINDS:
        names = [f"POST {kib} KiB, {kind}" for kib in (SIZES[-2], SIZES[-1])]
        if all(name in shares for name in names):
            each = (shares[names[1]] - shares[names[0]]) / (SIZES[-1] - SIZES[-2])
            lines.append(f"A further KiB of {kind}: {each:.1f} µs.")
    lines += ["", "Others on the same thread: a GET every five milliseconds, in milliseconds.", "",
              "| while | median | 99th percentile |", "| --- | --- | --- |"]
    for name, found in probes.items():
        lines.append(f"| {name} | {summary([f[0] for f in found], 2)} | {summary([f[1] for f in found], 2)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
