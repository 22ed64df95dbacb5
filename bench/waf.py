#!/usr/bin/env python3
"""What a firewall costs: Rempart without one, with OWASP CRS at level 1 in block mode, and with 1,000 custom rules.

CPU microseconds per request of the whole process tree, the threads that inspect bodies among them, as
`compare.py` measures it (read its head for what the figure is and is not): a GET as a browser sends it, a short
form, JSON of 2 KiB (P7 of the goals), and POSTs of 1, 8 and 64 KiB as a form and as JSON; and the GET with 1,000
rules of the rule language of which none matches (P8). A KiB of body costs what two sizes differ by.

Then what others on the same thread notice: the time of a GET every five milliseconds while nothing else happens, while
large forms are posted as fast as two connections can (probe), and while they are posted at given rates (uploads), without
and with the firewall. One core serves and inspects, so what a rate means for it is told beside: the share of the core that
is busy. Then what rules cost once: CPU time of `rempart check` without and with CRS, and memory of nodes with one zone and
with many that share CRS. Every answer must be 2xx.

Rounds are interleaved: each plays everything once, so that what the machine does meanwhile falls on all alike.
Medians are quoted with minimum and maximum.

Usage: waf.py --crs FOLDER [--rounds 5] [--seconds 3] [--works WORD,...] [--parts work,probe,uploads,load]
               [--rates 10,50,150] [--out FILE.md]
Needs: rempart and bench-origin in target/release (or target/$BENCH_PROFILE), wrk. With the defaults it takes
about 15 minutes; a look at uploads alone takes 30 s: --parts uploads --rounds 1 --seconds 2 --rates 50
"""

import argparse
import datetime
import multiprocessing
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from compare import (
    LOAD_CORE, PROXY_CORE, RELEASE, cpu_us, free_port, measured, pss_kib, said, sh, summary, tree, wait_port
)

KINDS = {"form": "application/x-www-form-urlencoded", "JSON": "application/json"}
SIZES = [1, 8, 64]
PROBE_S = 0.005
WORDS = "the lamp on the desk is warm and bright and fits the catalogue of autumn".split()


BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Referer": "https://bench.example/products/category",
    "Cookie": "session=0a1b2c3d4e5f60718293a4b5c6d7e8f9; theme=dark",
}
QUERY = "?color=red&size=42&sort=price&page=3"
RULES = 1_000
ZONES = 100


def rules():
    """Rules of five kinds of which none matches, as crates/rules/examples/thousand_rules.rs has them."""
    kinds = [
        lambda n: f'http.host eq "bench.example" and http.request.uri.path contains "/admin{n}/"',
        lambda n: f"ip.src in {{10.{n // 256}.{n % 256}.0/24 198.51.{n % 256}.0/24}} and not cf.client.bot",
        lambda n: f'lower(http.user_agent) contains "badbot{n}" or http.user_agent eq "scanner {n}"',
        lambda n: f'any(http.request.headers["x-tag-{n}"][*] eq "bad")',
        lambda n: f'http.request.uri.path matches "^/old-{n}/[0-9]+$"',
    ]
    each = "[[rule]]\nname = \"rule {0}\"\nexpression = '{1}'\naction = \"block\"\n"
    return "".join(each.format(n, kinds[n % len(kinds)](n)) for n in range(RULES))


class Node:
    """A node with some zones; `plain` is the port, as the load generator of compare.py wants it."""

    def __init__(self, name, folder, origin_port, waf, zones=1, more=""):
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
        for number in range(zones):
            names = '"bench.example", "127.0.0.1"' if number == 0 else f'"bench{number}.example"'
            (self.home / "zones" / f"z{number}.toml").write_text(f"""
name = "bench{number}"
hostnames = [{names}]
{waf}
[[pool]]
name = "app"
origins = [{{ url = "http://127.0.0.1:{origin_port}" }}]
{more}
""")

    def check_ms(self):
        """CPU time of reading and compiling its files, in milliseconds."""
        command = [str(RELEASE / "rempart"), "check", "--config", str(self.home / "rempart.toml")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"{self.name}: {said}")
        return (usage.ru_utime + usage.ru_stime) * 1000

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
             "-H", "Host: bench.example", *(part for pair in BROWSER.items() for part in ("-H", ": ".join(pair))),
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


def uploads(port, data, rate, seconds, results):
    """Posts a body at a rate, each due at its own time, over as many connections as are needed; run as a process of its own.
    Puts the times of those that were answered, in milliseconds, from when each was due, and how many were not answered 2xx."""
    head = (f"POST /in HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n"
            f"Content-Type: {KINDS['form']}\r\nContent-Length: {len(data)}\r\n\r\n").encode()
    times, failed, lock, idle = [], [0], threading.Lock(), []

    def one(due):
        with lock:
            connection = idle.pop() if idle else None
        try:
            if connection is None:
                connection = socket.create_connection(("127.0.0.1", port))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(head + data)
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = connection.recv(65536)
                if not piece:
                    raise OSError("the connection ended")
                answer += piece
            length = re.search(rb"(?i)content-length: (\d+)", answer)
            left = int(length.group(1) if length else 0) - (len(answer) - answer.index(b"\r\n\r\n") - 4)
            while left > 0:
                left -= len(connection.recv(65536))
            is_well = answer.startswith(b"HTTP/1.1 2")
        except OSError:
            is_well, connection = False, None
        with lock:
            if is_well:
                times.append((time.perf_counter() - due) * 1000)
                idle.append(connection)
            else:
                failed[0] += 1

    threads, start = [], time.perf_counter()
    for number in range(int(rate * seconds)):
        due = start + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        thread = threading.Thread(target=one, args=(due,))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join(30)
    results.put((times, failed[0]))


def beside_uploads(node, rate, seconds, data):
    """Times of probes while bodies are posted at a rate, times of these, and the share of the node's core that is busy."""
    results, poster = multiprocessing.Queue(), None
    if rate:
        poster = multiprocessing.Process(target=uploads, args=(node.plain, data, rate, seconds + 1, results))
        poster.start()
        time.sleep(0.5)
    before, began = cpu_us(node.process.pid), time.perf_counter()
    times = probe(node, seconds)
    busy = (cpu_us(node.process.pid) - before) / 1e6 / (time.perf_counter() - began)
    posted, failed = results.get(timeout=60) if poster else ([], 0)
    if poster:
        poster.join()
    if failed:
        sys.exit(f"{node.name}: {failed} of {failed + len(posted)} uploads at {rate}/s were not answered 2xx: a lower --rates")
    return times, posted, busy


def quantile(times, share):
    return sorted(times)[min(int(len(times) * share), len(times) - 1)]


def scripts(folder):
    """wrk's scripts by work."""
    made = {"GET": folder / "get.lua"}
    made["GET"].write_text("")
    short = {"POST, a short form": ("form", "name=Ann+Smith&email=ann%40example.org&message=Is+the+lamp+still+there%3F"),
             "POST 2 KiB, JSON": ("JSON", body("JSON", 2))}
    for work, (kind, data) in short.items():
        script = folder / f"{kind}-short.lua"
        text = data.replace("\\", "\\\\").replace("'", "\\'")
        script.write_text(f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{KINDS[kind]}"\nwrk.body = \'{text}\'\n')
        made[work] = script
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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--parts", default="work,probe,uploads,load", help="what to measure")
    parser.add_argument("--rates", default="10,50,150", help="large forms a second, for uploads")
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
    ruled = Node("1,000 rules", folder, port, "", more=rules())
    shared = [Node("1 zone without", folder, port, ""), Node("1 zone", folder, port, waf),
              Node(f"{ZONES} zones without", folder, port, "", ZONES), Node(f"{ZONES} zones", folder, port, waf, ZONES)]
    parts = args.parts.split(",")
    wanted = [word for word in args.works.split(",") if word]
    works = {name: script for name, script in scripts(folder).items() if not wanted or any(w in name for w in wanted)}
    if "work" not in parts:
        works = {}
    costs = {(work, node.name): [] for work in works for node in [*nodes, ruled]}
    probes, beside, checks, memory = {}, {}, {}, {}
    rates = [int(rate) for rate in args.rates.split(",")]
    calm = [(nodes[1], 0)] + [(node, rate) for rate in rates for node in nodes]
    try:
        for number in range(args.rounds):
            for work, script in works.items():
                for node in [*nodes, ruled] if work == "GET" else nodes:
                    node.start()
                    path = f"/1k{QUERY}" if work == "GET" else "/in"
                    try:
                        figure = measured(node, lambda: wrk(node, args.seconds, script, path))
                    finally:
                        node.stop()
                    costs[(work, node.name)].append(figure.value)
                    print(f"round {number + 1}  {work:20} {node.name:15} {figure.value:10.1f} µs {figure.busy:5.0%} busy",
                          file=sys.stderr, flush=True)
            large = folder / "form-64.lua"
            for node, is_loaded in [(nodes[1], False), (nodes[0], True), (nodes[1], True)] if "probe" in parts else []:
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
                print(f"round {number + 1}  {name:36} {probes[name][-1][0]:8.2f} ms {probes[name][-1][1]:8.2f} ms",
                      file=sys.stderr, flush=True)
            for node, rate in calm if "uploads" in parts else []:
                node.start()
                try:
                    times, posted, busy = beside_uploads(node, rate, args.seconds, body("form", 64).encode())
                finally:
                    node.stop()
                name = f"{rate} a second, {node.name}" if rate else "none"
                posts = (quantile(posted, 0.5), quantile(posted, 0.99)) if posted else (None, None)
                beside.setdefault(name, []).append((quantile(times, 0.5), quantile(times, 0.99), *posts, busy))
                print(f"round {number + 1}  uploads {name:28} GET {beside[name][-1][0]:8.2f} ms {beside[name][-1][1]:8.2f} ms, "
                      f"{busy:4.0%} busy", file=sys.stderr, flush=True)
            for node in shared if "load" in parts else []:
                checks.setdefault(node.name, []).append(node.check_ms())
                node.start()
                memory.setdefault(node.name, []).append(pss_kib(node.process.pid) / 1024)
                node.stop()
                print(f"round {number + 1}  {node.name:20} {checks[node.name][-1]:8.0f} ms {memory[node.name][-1]:8.1f} MiB",
                      file=sys.stderr, flush=True)
        text = report(args, nodes, ruled, works, costs, (probes, beside), checks, memory)
    finally:
        for node in [*nodes, ruled, *shared]:
            node.stop()
        origin.kill()
        shutil.rmtree(folder, ignore_errors=True)
    print(text)
    if args.out:
        pathlib.Path(args.out).write_text(text)


def report(args, nodes, ruled, works, costs, noticed, checks, memory):
    probes, beside = noticed
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    lines = [
        f"# What a firewall costs, {datetime.date.today().isoformat()}",
        "",
        f"Machine: {model}, {os.cpu_count()} cores, Linux {os.uname().release}. {args.rounds} interleaved rounds of "
        f"{args.seconds} s; median (minimum to maximum). Built with the profile `{RELEASE.name}`.",
        "",
        "Method: one serving thread and one that inspects bodies, pinned to one core, load and origin to the other; HTTP/1.1, "
        "32 connections; access log to a file on. CPU microseconds per request, user and system, of the whole process tree.",
    ]
    if works:
        lines += ["", "| work | " + " | ".join(node.name for node in nodes) + " | the firewall's share |",
                  "| --- | " + " | ".join("---" for _ in nodes) + " | --- |"]
    shares = {}
    for work in works:
        values = [costs[(work, node.name)] for node in nodes]
        shares[work] = statistics.median(values[1]) - statistics.median(values[0])
        lines.append(f"| {work} | " + " | ".join(summary(value) for value in values) + f" | {shares[work]:.1f} |")
    lines.append("")
    if costs.get(("GET", ruled.name)):
        share = statistics.median(costs[("GET", ruled.name)]) - statistics.median(costs[("GET", nodes[0].name)])
        lines.append(f"The GET with {RULES:,} custom rules of which none matches: "
                     f"{summary(costs[('GET', ruled.name)])}, the rules' share {share:.1f} µs.")
    for kind in KINDS:
        names = [f"POST {kib} KiB, {kind}" for kib in (SIZES[-2], SIZES[-1])]
        if all(name in shares for name in names):
            each = (shares[names[1]] - shares[names[0]]) / (SIZES[-1] - SIZES[-2])
            lines.append(f"A further KiB of {kind}: {each:.1f} µs.")
    if probes:
        lines += ["", "Others on the same thread: a GET every five milliseconds, in milliseconds.", "",
                  "| while | median | 99th percentile |", "| --- | --- | --- |"]
    for name, found in probes.items():
        lines.append(f"| {name} | {summary([f[0] for f in found], 2)} | {summary([f[1] for f in found], 2)} |")
    if beside:
        lines += ["", "The same while forms of 64 KiB are posted at a rate, and the times of these from when each was due; busy "
                  "is the node's one core.", "",
                  "| forms of 64 KiB | GET, median | GET, 99th percentile | form, median | form, 99th percentile | busy |",
                  "| --- | --- | --- | --- | --- | --- |"]
    for name, found in beside.items():
        columns = [[f[at] for f in found if f[at] is not None] for at in range(4)]
        cells = [summary(column, 2) if column else "" for column in columns]
        busy = f"{statistics.median(f[4] for f in found):.0%}"
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {busy} |")
    if checks:
        lines += ["", "Rules once: CPU time of `rempart check`, and memory (proportional set) of the process tree of a node "
                  "just started, no spare.", "", "| node | check, ms | memory, MiB |", "| --- | --- | --- |"]
        for name, found in checks.items():
            lines.append(f"| {name} | {summary(found, 0)} | {summary(memory[name])} |")
        middle = {name: statistics.median(found) for name, found in memory.items()}
        one_without, one, many_without, many = middle.values()
        each = ((many - many_without) - (one - one_without)) * 1024 / (ZONES - 1)
        lines += ["", f"Loading CRS: {statistics.median(checks['1 zone']) - statistics.median(checks['1 zone without']):.0f} "
                  f"ms. Memory for it: {one - one_without:.1f} MiB, and {each:.0f} KiB for each further zone that shares it."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
