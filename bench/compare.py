#!/usr/bin/env python3
"""Compares Rempart with nginx and HAProxy, side by side in one run on one machine.

The main figure is CPU microseconds per request of a proxy's whole process tree (user and system time from
/proc/PID/stat, divided by requests served): it does not count the time in which others had the core, as
requests per second do. It swings all the same where others share caches and clock. Proxies are pinned to one
core, load generator and origin to another; rounds are interleaved; medians are quoted with minimum and maximum.
A run with an answer that is not 2xx is refused. Beside each figure stands how busy the proxy's core was: far
below 100 %, the load generator was the limit, and the figure is what a request costs a proxy that is not full.

Who is ahead is said of a work only if the medians differ by 15 % or more and no round of one side lies among
the rounds of the other (`verdict`); all else is a tie, or not told.

Works that the peers cannot do (HTTP/3 with Debian's packages) are measured for Rempart alone. With --hits every
proxy keeps answers in its cache, and all but the first request of a round are answered from there; Varnish takes
part if it is installed.

With --stored N all proxies run through: hits are measured with nothing else stored, then each is asked for N answers of
1 KiB under URLs of their own, then the same hits are measured again, and what can purge by tag does. That the answers
are kept is seen with the origin stopped: a sample of them must come all the same, and after the purge none may. Memory
for all of them: some 3 KiB each, times four. A million take under 15 minutes.

Usage: compare.py [--hits | --stored N] [--rounds 3] [--seconds 4] [--only NAME,...] [--works WORD,...] [--out FILE.md]
Needs: rempart, bench-origin and h3-load in target/release (or target/$BENCH_PROFILE), nginx, haproxy, wrk,
h2load, openssl. With the defaults it takes under 6 minutes.
"""

import argparse
import datetime
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = ROOT / "target" / os.environ.get("BENCH_PROFILE", "release")
PROXY_CORE, LOAD_CORE = "0", "1"
TICK = os.sysconf("SC_CLK_TCK")
TIE = 1.15  # a ratio of medians below it, either way, is called a tie


def sh(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def free_port():
    # Below the range of outgoing connections: a connect to a port of that range can meet itself.
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def tree(pid):
    """The process and all its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()
                children.setdefault(int(stat[1]), []).append(int(entry))
            except OSError:
                pass
    found, left = [], [pid]
    while left:
        at = left.pop()
        found.append(at)
        left += children.get(at, [])
    return found


def cpu_us(pid):
    total = 0
    for p in tree(pid):
        try:
            stat = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
            total += int(stat[11]) + int(stat[12])
        except OSError:
            pass
    return total * 1_000_000 / TICK


def pss_kib(pid):
    total = 0
    for p in tree(pid):
        try:
            for line in open(f"/proc/{p}/smaps_rollup"):
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            pass
    return total


def said(process):
    peer_log = getattr(process, "log", None)
    if not peer_log:
        return ""
    peer_log.seek(0)
    return peer_log.read()[-2000:]


def wait_port(port, process, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        if process.poll() is not None:
            sys.exit(f"{process.args} ended with {process.returncode}: {said(process)}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on {port}")


class Peer:
    def __init__(self, name, version, command, plain, tls, stop=signal.SIGTERM):
        self.name, self.version, self.command, self.stop_signal = name, version, command, stop
        self.plain, self.tls, self.process = plain, tls, None

    def start(self):
        log = tempfile.TemporaryFile("w+")
        self.log = log
        self.process = subprocess.Popen(
            ["taskset", "-c", PROXY_CORE, *self.command], stdout=log, stderr=log, start_new_session=True
        )
        self.process.log = log
        wait_port(self.plain, self.process)
        wait_port(self.tls, self.process)
        end = time.time() + 20
        while time.time() < end:  # a port that is open is not yet a proxy that answers
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.plain}/1k", timeout=2).read()
                return
            except OSError:
                time.sleep(0.05)
        sys.exit(f"{self.name} does not answer: {said(self.process)}")

    def stop(self):
        if not self.process or self.process.poll() is not None:
            return
        # All of the tree: an edge that outlives its supervisor would serve the next round's first visitors.
        for pid in tree(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        self.process.wait()


def make_peers(folder, origin_port, wanted, hits, stored=0):
    cert, key = folder / "cert.pem", folder / "key.pem"
    sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
       "-keyout", str(key), "-out", str(cert), "-days", "30", "-subj", "/CN=bench.example",
       "-addext", "subjectAltName=DNS:bench.example")
    (folder / "both.pem").write_text(cert.read_text() + key.read_text())
    peers = []

    plain, tls = free_port(), free_port()
    home = folder / "rempart"
    (home / "zones").mkdir(parents=True)
    (home / "rempart.toml").write_text(f"""
[node]
data_dir = "{home}/data"
threads = 1
[[listener]]
address = "127.0.0.1:{plain}"
protocol = "http"
[[listener]]
address = "127.0.0.1:{tls}"
protocol = "https"
[log]
access = "{home}/access.log"
{'[cache]' if stored else ''}
{f'memory_bytes = {max(stored * 4096, 1 << 28)}' if stored else ''}
{'disk_bytes = 0' if stored else ''}
""")
    (home / "zones" / "bench.toml").write_text(f"""
name = "bench.example"
hostnames = ["bench.example", "127.0.0.1"]
[tls]
certificate = "{cert}"
private_key = "{key}"
[[pool]]
name = "app"
origins = [{{ url = "http://127.0.0.1:{origin_port}" }}]
{"[cache]" if hits else ""}
{"enabled = true" if hits else ""}
""")
    binary = RELEASE / "rempart"
    peers.append(Peer("Rempart", sh(str(binary), "--version").split()[-1],
                      [str(binary), "serve", "--config", str(home / "rempart.toml")], plain, tls))

    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    plain, tls = free_port(), free_port()
    (folder / "nginx.conf").write_text(f"""
{"user root;" if os.geteuid() == 0 else ""} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 9000; }}
http {{
  log_format long '$time_iso8601 $remote_addr $request_id $host "$request" $status $bytes_sent $request_time '
                  '$upstream_addr $upstream_response_time "$http_user_agent" "$http_referer"';
  access_log {folder}/nginx.log long; keepalive_requests 1000000000; keepalive_timeout 300s;
  ssl_session_cache off; ssl_session_tickets off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {f"proxy_cache_path {folder}/cache keys_zone=c:64m;" if hits and not stored else ""}
  {f"proxy_cache_path {folder}/cache levels=1:2 keys_zone=c:256m max_size=64g inactive=600m;" if stored else ""}
  upstream app {{ server 127.0.0.1:{origin_port}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{plain} backlog=1024; listen 127.0.0.1:{tls} ssl http2 backlog=1024;
    http2_max_requests 1000000000; ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id;
      {"proxy_cache c;" if hits else ""}
    }}
  }}
}}
""".replace("http2_max_requests 1000000000; ", ""))
    version = subprocess.run([nginx, "-v"], capture_output=True, text=True).stderr.strip().split("/")[-1]
    peers.append(Peer("nginx", version, [nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)], plain, tls))

    haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
    plain, tls = free_port(), free_port()
    (folder / "haproxy.cfg").write_text(f"""
global
  nbthread 1
  maxconn 9000
  log stdout format raw local0
  tune.ssl.cachesize 0
defaults
  mode http
  option httplog
  log global
  option forwardfor
  timeout client 300s
  timeout server 60s
  timeout connect 5s
  timeout http-keep-alive 300s
{"cache c" if hits else ""}
  {f"total-max-size {4095 if stored else 256}" if hits else ""}
  {"max-object-size 1000000" if hits else ""}
frontend f
  bind 127.0.0.1:{plain}
  bind 127.0.0.1:{tls} ssl crt {folder}/both.pem alpn h2,http/1.1 no-tls-tickets
  unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
  unique-id-header X-Request-Id
  default_backend b
backend b
  http-reuse always
  {"http-request cache-use c" if hits else ""}
  {"http-response cache-store c" if hits else ""}
  server s 127.0.0.1:{origin_port}
""")
    version = sh(haproxy, "-v").split()[2]
    peers.append(Peer("HAProxy", version, [haproxy, "-db", "-f", str(folder / "haproxy.cfg")], plain, tls))

    varnishd = shutil.which("varnishd") or "/usr/sbin/varnishd"
    if hits and os.path.exists(varnishd):
        plain = free_port()  # it speaks no TLS
        version = subprocess.run([varnishd, "-V"], capture_output=True, text=True).stderr.split("varnish-")[1]
        command = [varnishd, "-F", "-a", f"127.0.0.1:{plain}", "-b", f"127.0.0.1:{origin_port}", "-n",
                   str(folder / "varnish"), "-s", f"malloc,{max(256, stored * 6 // 1024)}m"]
        peers.append(Peer("Varnish", version.split()[0], command, plain, plain))
    return [p for p in peers if not wanted or p.name.lower() in wanted]


class Figure(typing.NamedTuple):
    """One measurement: the value in the work's unit; under load, the core's busy share and the rate."""

    value: float
    busy: float | None = None
    rate: float | None = None


def measured(peer, run):
    before = cpu_us(peer.process.pid)
    requests, rate = run()
    each = (cpu_us(peer.process.pid) - before) / requests
    return Figure(each, each * rate / 1e6, rate)


def wrk(peer, seconds, path, connections=64):
    out = sh("taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
             "-H", "Host: bench.example", f"http://127.0.0.1:{peer.plain}{path}")
    if "Non-2xx" in out or re.search(r"Socket errors: .*(read|connect) [1-9]", out):
        sys.exit(f"{peer.name}: {out}")
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    return requests, float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))


def h2load(peer, seconds, path):
    out = sh("taskset", "-c", LOAD_CORE, "h2load", "-c32", "-m16", "-t1", f"-D{seconds}", "--warm-up-time=0",
             f"https://127.0.0.1:{peer.tls}{path}")
    done = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
    if not done or any(int(done.group(i)) for i in (2, 3, 4)):
        sys.exit(f"{peer.name}: {out}")
    count = int(done.group(1))
    rate = float(re.search(r"finished in .*?, ([\d.]+) req/s", out).group(1))
    return count, rate


def h3load(peer, seconds, path):
    out = subprocess.run(
        ["taskset", "-c", LOAD_CORE, str(RELEASE / "h3-load"), f"https://bench.example{path}", "--insecure",
         "--connect", f"127.0.0.1:{peer.tls}", "--connections", "32", "--streams", "16",
         "--seconds", str(seconds)], capture_output=True, text=True)
    done = re.search(r"requests (\d+) 2xx (\d+) failed 0 bytes (\d+) rate ([\d.]+)", out.stdout)
    if out.returncode or not done or int(done.group(3)) != 1024 * int(done.group(1)):
        sys.exit(f"{peer.name}: {out.stdout}{out.stderr}")
    return int(done.group(1)), float(done.group(4))


def idle_quic(peer, count=500):
    """PSS per idle QUIC connection, each after one request, kept alive by the visitor."""
    visitors = []

    def open_more(connections):
        visitors.append(subprocess.Popen(
            ["taskset", "-c", LOAD_CORE, str(RELEASE / "h3-load"), "https://bench.example/1k", "--insecure",
             "--connect", f"127.0.0.1:{peer.tls}", "--idle", str(connections)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        if visitors[-1].stdout.readline() != "ready\n":
            sys.exit(f"{peer.name}: {connections} QUIC connections did not open")
        time.sleep(1)

    try:
        open_more(100)  # what the first connections make the process allocate once is not theirs
        before = pss_kib(peer.process.pid)
        open_more(count)
        each = (pss_kib(peer.process.pid) - before) / count
        for visitor in visitors:
            if "lost 0" not in visitor.communicate()[0]:
                sys.exit(f"{peer.name}: idle QUIC connections were lost")
    finally:
        for visitor in visitors:
            visitor.kill()
    return Figure(each)


def handshakes(peer, seconds):
    out = sh("taskset", "-c", LOAD_CORE, "openssl", "s_time", "-connect", f"127.0.0.1:{peer.tls}", "-new",
             "-time", str(seconds))
    count = int(re.search(r"(\d+) connections in \d+ real", out).group(1))
    return count, count / seconds


def settled_kib(peer, one):
    """PSS once what was freed at the start has been given back: allocators do that late, when something moves."""
    last = 0
    for _ in range(15):
        one()
        time.sleep(1)
        now = pss_kib(peer.process.pid)
        if abs(now - last) < 64:
            break
        last = now
    return now


def idle(peer, over_tls, count=5000):
    """PSS per idle connection, each after one request."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opened = []

    def one(requests=1):
        s = socket.create_connection(("127.0.0.1", peer.tls if over_tls else peer.plain))
        if over_tls:
            s = context.wrap_socket(s, server_hostname="bench.example")
        for _ in range(requests):
            s.sendall(b"GET /1k HTTP/1.1\r\nHost: bench.example\r\n\r\n")
            got = b""
            while not got.endswith(b"x" * 1024):
                got += s.recv(65536)
        opened.append(s)

    for _ in range(1000):
        one(2)  # what the first connections make the process allocate once is not theirs
    before = settled_kib(peer, one)
    for _ in range(count):
        one()
    time.sleep(1)
    each = (pss_kib(peer.process.pid) - before) / count
    for s in opened:
        s.close()
    return Figure(each)


def idle_tree(peer):
    """PSS of all processes of a node that has served nothing."""
    time.sleep(1)
    return Figure(pss_kib(peer.process.pid))


def stored_url(number):
    return f"/1k?tagged&n={number}"


def ask_for(peer, numbers, seconds=30):
    """Asks for stored answers on one connection, in runs of 100; gives how many bodies came whole in time."""
    came = 0
    with socket.create_connection(("127.0.0.1", peer.plain), seconds) as s:
        s.settimeout(seconds)
        for at in range(0, len(numbers), 100):
            run = numbers[at : at + 100]
            s.sendall(b"".join(f"GET {stored_url(n)} HTTP/1.1\r\nHost: bench.example\r\n\r\n".encode() for n in run))
            got, left = b"", len(run)
            try:
                while left:
                    piece = s.recv(1 << 18)
                    if not piece:
                        return came
                    got += piece
                    while (end := got.find(b"x" * 1024)) >= 0:
                        got, left, came = got[end + 1024 :], left - 1, came + 1
            except TimeoutError:
                return came
    return came


def fill(peer, count):
    """Has a peer store so many answers."""
    for first in range(0, count, 10_000):
        wanted = range(first, min(first + 10_000, count))
        if ask_for(peer, wanted) != len(wanted):
            sys.exit(f"{peer.name} did not answer while it was filled: {said(peer.process)}")


def held(peer, origin, count):
    """How many of a sample of the stored answers come while the origin stands still; and of how many."""
    sample = random.sample(range(count), min(count, 200))
    origin.send_signal(signal.SIGSTOP)
    try:
        # One by one, since one that does not come holds up all behind it.
        return sum(ask_for(peer, [n], 0.2) for n in sample), len(sample)
    finally:
        origin.send_signal(signal.SIGCONT)


def purge_by_tag(peer, folder):
    """Milliseconds of the program that purges what has the tag of all stored answers; none for who cannot."""
    commands = {
        "Rempart": [str(RELEASE / "rempart"), "purge", "--tag", "bench", "--config",
                    str(folder / "rempart" / "rempart.toml")],
        "Varnish": ["varnishadm", "-n", str(folder / "varnish"), "ban obj.http.Cache-Tag == bench"],
    }
    if peer.name not in commands:
        return None
    began = time.monotonic()
    sh(*commands[peer.name])
    return (time.monotonic() - began) * 1000


def with_stored(peers, works, origin, folder, args):
    """Measures hits with nothing stored and with so much, in one run of each proxy; gives figures and lines."""
    figures, lines = {}, []
    for peer in peers:
        peer.start()

    def rounds(suffix):
        named = [work._replace(name=f"{work.name}{suffix}") for work in works]
        for number in range(args.rounds):
            for work in named:
                for peer in (p for p in peers if p.name in work.peers):
                    figure = work.run(peer)
                    figures.setdefault((work.name, peer.name), []).append(figure)
                    print(f"round {number + 1}  {work.name:50} {peer.name:8} {figure.value:10.2f}",
                          file=sys.stderr, flush=True)
        return named

    before = rounds(", nothing else stored")
    lines += ["", f"| proxy | seconds to store {args.stored:,} | PSS of the tree, MiB | of a sample, the origin stopped "
              "| purge by tag, program and all, ms | of the sample after it |", "| --- | --- | --- | --- | --- | --- |"]
    rows = {}
    for peer in peers:
        began = time.monotonic()
        fill(peer, args.stored)
        took = time.monotonic() - began
        came, of = held(peer, origin, args.stored)
        rows[peer.name] = [f"{took:.0f}", f"{pss_kib(peer.process.pid) / 1024:.0f}", f"{came} of {of}"]
        print(f"filled    {peer.name:8} {rows[peer.name]}", file=sys.stderr, flush=True)
    after = rounds(f", {args.stored:,} stored")
    for peer in peers:
        took = purge_by_tag(peer, folder)
        if took is None:
            rows[peer.name] += ["–", "–"]
        else:
            came, of = held(peer, origin, args.stored)
            rows[peer.name] += [f"{took:.1f}", f"{came} of {of}"]
        lines.append(f"| {peer.name} | {' | '.join(rows[peer.name])} |")
    lines += ["", "What a hit costs with all of them stored, of what it costs without (P12):", ""]
    for empty, full in zip(before, after):
        medians = {p.name: [statistics.median(f.value for f in figures[(w.name, p.name)]) for w in (empty, full)]
                   for p in peers if p.name in empty.peers}
        ratios = ", ".join(f"{name} {full_us / empty_us:.2f}" for name, (empty_us, full_us) in medians.items())
        lines.append(f"- {empty.name.split(', nothing')[0]}: {ratios}.")
    return [*before, *after], figures, lines


EVERYBODY = ("Rempart", "nginx", "HAProxy", "Varnish")
WITH_TLS = ("Rempart", "nginx", "HAProxy")
ALONE = ("Rempart",)


class Work(typing.NamedTuple):
    """Something to measure: its name and unit, how, and which peers can do it."""

    name: str
    unit: str
    run: typing.Callable
    peers: tuple = EVERYBODY


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hits", action="store_true", help="answers out of the caches")
    parser.add_argument("--stored", type=int, default=0, help="hits with so many answers stored, and without")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--only", default="", help="peers, comma-separated")
    parser.add_argument("--works", default="", help="works, comma-separated words")
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    args.hits = args.hits or args.stored > 0
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rempart-bench-"))
    origin = subprocess.Popen(["taskset", "-c", LOAD_CORE, str(RELEASE / "bench-origin"), "127.0.0.1:0"],
                              stdout=subprocess.PIPE, text=True)
    origin_port = int(origin.stdout.readline().rsplit(":", 1)[1])
    def loaded(generator, *rest):
        return lambda peer: measured(peer, lambda: generator(peer, args.seconds, *rest))

    works = [
        Work("proxied 1 KiB, HTTP/1.1", "µs", loaded(wrk, "/1k")),
        Work("proxied 100 KiB, HTTP/1.1", "µs", loaded(wrk, "/100k")),
        Work("proxied 1 KiB, TLS + HTTP/2", "µs", loaded(h2load, "/1k")),
        Work("proxied 1 KiB, HTTP/3", "µs", loaded(h3load, "/1k"), ALONE),
        Work("full TLS 1.3 handshake and close", "µs", loaded(handshakes)),
        Work("idle HTTP/1.1 connection", "KiB", lambda p: idle(p, False)),
        Work("idle TLS connection", "KiB", lambda p: idle(p, True)),
        Work("idle QUIC connection", "KiB", idle_quic, ALONE),
        Work("whole process tree, idle", "KiB", idle_tree),
    ]
    if args.hits:
        works = [
            Work("hit 1 KiB, HTTP/1.1", "µs", loaded(wrk, "/1k")),
            Work("hit 100 KiB, HTTP/1.1", "µs", loaded(wrk, "/100k")),
            Work("hit 1 KiB, TLS + HTTP/2", "µs", loaded(h2load, "/1k"), WITH_TLS),
            Work("hit 1 KiB, HTTP/3", "µs", loaded(h3load, "/1k"), ALONE),
        ]
    wanted_works = [w for w in args.works.split(",") if w]
    works = [w for w in works if not wanted_works or any(x in w.name for x in wanted_works)]
    peers, more = [], []
    try:
        peers = make_peers(folder, origin_port, [w for w in args.only.lower().split(",") if w],
                           args.hits, args.stored)
        figures = {(w.name, p.name): [] for w in works for p in peers if p.name in w.peers}
        if args.stored:
            works, figures, more = with_stored(peers, works, origin, folder, args)
        for number in range(0 if args.stored else args.rounds):
            for work in works:
                for peer in peers:
                    if peer.name not in work.peers:
                        continue
                    peer.start()
                    try:
                        figure = work.run(peer)
                    finally:
                        peer.stop()
                    figures[(work.name, peer.name)].append(figure)
                    busy = f"{figure.busy:6.0%} busy {figure.rate:8.0f}/s" if figure.busy else ""
                    print(f"round {number + 1}  {work.name:40} {peer.name:8} {figure.value:10.2f} {busy}",
                          file=sys.stderr, flush=True)
        write(peers, works, figures, args, more)
    finally:
        for peer in peers:
            peer.stop()
        origin.kill()
        shutil.rmtree(folder, ignore_errors=True)


def summary(values, digits=1):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(peers, works, figures, head, cell, last):
    """Lines of a table with a column for each peer; `last` makes the last cell of a row."""
    lines = [
        f"| work | unit | {' | '.join(p.name for p in peers)} | {head} |",
        f"| --- | --- | {' | '.join('---' for _ in peers)} | --- |",
    ]
    for work in works:
        of = {p.name: figures.get((work.name, p.name)) for p in peers}
        cells = [cell(of[p.name]) if of[p.name] else "–" for p in peers]
        lines.append(f"| {work.name} | {work.unit} | {' | '.join(cells)} | {last(of)} |")
    return lines


def ratio(of):
    medians = {name: statistics.median(f.value for f in found) for name, found in of.items() if found}
    others = [value for name, value in medians.items() if name != "Rempart"]
    return f"{medians['Rempart'] / min(others):.2f}" if others and "Rempart" in medians else "–"


def verdict(of):
    """Where Rempart stands beside its peers in one work, by the rounds of each: `of` has a list of values a name."""
    mine = of.get("Rempart")
    others = [values for name, values in of.items() if name != "Rempart" and values]
    if not mine or not others:
        return "alone"
    best = min(others, key=statistics.median)
    ratio = statistics.median(mine) / statistics.median(best)
    if 1 / TIE < ratio < TIE:
        return "tie"
    if ratio < 1 and max(mine) < min(value for values in others for value in values):
        return "ahead"
    if ratio > 1 and min(mine) > max(best):
        return "behind"
    return "not told"


def verdicts(by_work):
    """The sentences about who is ahead, from pairs of a work's name and its values by peer."""
    found = {}
    for name, of in by_work:
        found.setdefault(verdict(of), []).append(name)
    words = [("ahead", "Rempart is ahead of each peer"), ("behind", "Rempart is behind the best peer"),
             ("tie", "Tie with the best peer (medians within 15 %)"),
             ("not told", "Not told (medians differ by 15 % or more, but the rounds overlap)")]
    return [f"- {text}: {'; '.join(found[word])}." for word, text in words if word in found]


def write(peers, works, figures, args, more):
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    lines = [
        f"# Comparison of {datetime.date.today().isoformat()}",
        "",
        f"Machine: {model}, {os.cpu_count()} cores, Linux {os.uname().release}. "
        f"{args.rounds} interleaved rounds of {args.seconds} s; median (minimum to maximum). "
        f"Built with the profile `{RELEASE.name}`.",
        "",
        "Method: proxy pinned to one core, load and origin to the other; access log to a file on; TLS 1.3, ECDSA P-256, no resumption; 64 connections over HTTP/1.1, 32 × 16 streams over "
        "HTTP/2 and HTTP/3; CPU is user and system time of the whole process tree per request, every answer "
        "2xx; memory is the PSS that 5,000 (QUIC: 500) further idle connections add, each after one request. "
        "Rempart's process tree is a supervisor, the edge and a spare edge; nginx's and HAProxy's have no spare.",
        "",
        *(["Answers come out of the proxies' caches, each warmed by one request; Varnish writes no log.", ""]
          if args.hits else []),
        "Versions: " + ", ".join(f"{p.name} {p.version}" for p in peers) + ".",
        "",
    ]
    lines += table(peers, works, figures, "ratio to the best peer",
                   lambda found: summary([f.value for f in found]), ratio)
    by_work = [(w.name, {p.name: [f.value for f in figures.get((w.name, p.name), [])] for p in peers}) for w in works]
    lines += ["", *verdicts(by_work)]
    loaded = [w._replace(unit="requests/s, share") for w in works
              if any(f.busy for p in peers for f in figures.get((w.name, p.name), []))]
    if loaded:
        lines += ["", "Under load: requests (or handshakes) per second, and how busy the proxy's core was, "
                  "medians. Both tables swing with the machine: see the minimum and maximum. Far below 100 % "
                  "the load generator was the limit.", ""]
        lines += table(
            peers, loaded, figures, "spread of Rempart's rate",
            lambda found: f"{statistics.median(f.rate for f in found):.0f}, "
                          f"{statistics.median(f.busy for f in found):.0%}",
            lambda of: summary([f.rate for f in of["Rempart"]], 0) if of.get("Rempart") else "–")
    text = "\n".join([*lines, *more]) + "\n"
    print(text)
    if args.out:
        pathlib.Path(args.out).write_text(text)


if __name__ == "__main__":
    main()
