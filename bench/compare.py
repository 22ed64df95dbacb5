#!/usr/bin/env python3
"""Compares Rempart with nginx and HAProxy, side by side in one run on one machine.

The main figure is CPU microseconds per request of a proxy's whole process tree (user and system time from
/proc/PID/stat, divided by requests served), because requests per second swing on shared machines. Proxies are
pinned to one core, load generator and origin to another; rounds are interleaved; medians are quoted with minimum
and maximum. A run with an answer that is not 2xx is refused.

Usage: compare.py [--rounds 3] [--seconds 4] [--only NAME,...] [--out FILE.md]
Needs: target/release/rempart and bench-origin, nginx, haproxy, wrk, h2load, openssl.
"""

import argparse
import datetime
import os
import pathlib
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

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = ROOT / "target" / os.environ.get("BENCH_PROFILE", "release")
PROXY_CORE, LOAD_CORE = "0", "1"
TICK = os.sysconf("SC_CLK_TCK")


def sh(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def make_peers(folder, origin_port, wanted):
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
""")
    binary = RELEASE / "rempart"
    peers.append(Peer("Rempart", sh(str(binary), "--version").split()[-1],
                      [str(binary), "serve", "--config", str(home / "rempart.toml")], plain, tls))

    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    plain, tls = free_port(), free_port()
    (folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 9000; }}
http {{
  log_format long '$time_iso8601 $remote_addr $request_id $host "$request" $status $bytes_sent $request_time '
                  '$upstream_addr $upstream_response_time "$http_user_agent" "$http_referer"';
  access_log {folder}/nginx.log long; keepalive_requests 1000000000; keepalive_timeout 300s;
  ssl_session_cache off; ssl_session_tickets off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream app {{ server 127.0.0.1:{origin_port}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{plain} backlog=1024; listen 127.0.0.1:{tls} ssl http2 backlog=1024;
    http2_max_requests 1000000000; ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id;
    }}
  }}
}}
""".replace("http2_max_requests 1000000000; ", ""))
    version = subprocess.run([nginx, "-v"], capture_output=True, text=True).stderr.strip().split("/")[-1]
    peers.append(Peer("nginx", version, [nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)], plain, tls))

    haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
    plain, tls = free_port(), free_port()
    sink = folder / "haproxy.log.sock"
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
frontend f
  bind 127.0.0.1:{plain}
  bind 127.0.0.1:{tls} ssl crt {folder}/both.pem alpn h2,http/1.1 no-tls-tickets
  unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
  unique-id-header X-Request-Id
  default_backend b
backend b
  http-reuse always
  server s 127.0.0.1:{origin_port}
""")
    version = sh(haproxy, "-v").split()[2]
    peers.append(Peer("HAProxy", version, [haproxy, "-db", "-f", str(folder / "haproxy.cfg")], plain, tls))
    return [p for p in peers if not wanted or p.name.lower() in wanted]


def measured(peer, run):
    before = cpu_us(peer.process.pid)
    requests, rate = run()
    used = cpu_us(peer.process.pid) - before
    return used / requests, rate


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


def handshakes(peer, seconds):
    out = sh("taskset", "-c", LOAD_CORE, "openssl", "s_time", "-connect", f"127.0.0.1:{peer.tls}", "-new",
             "-time", str(seconds))
    count = int(re.search(r"(\d+) connections in \d+ real", out).group(1))
    return count, count / seconds


def idle(peer, over_tls, count=2000):
    """PSS per idle connection, each after one request."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opened = []

    def one():
        s = socket.create_connection(("127.0.0.1", peer.tls if over_tls else peer.plain))
        if over_tls:
            s = context.wrap_socket(s, server_hostname="bench.example")
        s.sendall(b"GET /1k HTTP/1.1\r\nHost: bench.example\r\n\r\n")
        got = b""
        while not got.endswith(b"x" * 1024):
            got += s.recv(65536)
        opened.append(s)

    for _ in range(200):
        one()  # what the first connections make the process allocate once is not theirs
    time.sleep(1)
    before = pss_kib(peer.process.pid)
    for _ in range(count):
        one()
    time.sleep(1)
    each = (pss_kib(peer.process.pid) - before) / count
    for s in opened:
        s.close()
    return each


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--only", default="", help="peers, comma-separated")
    parser.add_argument("--works", default="", help="works, comma-separated words")
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rempart-bench-"))
    origin = subprocess.Popen(["taskset", "-c", LOAD_CORE, str(RELEASE / "bench-origin"), "127.0.0.1:0"],
                              stdout=subprocess.PIPE, text=True)
    origin_port = int(origin.stdout.readline().rsplit(":", 1)[1])
    works = [
        ("proxied 1 KiB, HTTP/1.1 (P3)", "µs", lambda p: measured(p, lambda: wrk(p, args.seconds, "/1k"))[0]),
        ("proxied 100 KiB, HTTP/1.1", "µs", lambda p: measured(p, lambda: wrk(p, args.seconds, "/100k"))[0]),
        ("proxied 1 KiB, TLS + HTTP/2 (P4)", "µs",
         lambda p: measured(p, lambda: h2load(p, args.seconds, "/1k"))[0]),
        ("full TLS 1.3 handshake and close (P5)", "µs",
         lambda p: measured(p, lambda: handshakes(p, args.seconds))[0]),
        ("idle HTTP/1.1 connection (P6)", "KiB", lambda p: idle(p, False)),
        ("idle TLS connection (P6)", "KiB", lambda p: idle(p, True)),
        ("whole process tree, idle", "KiB", None),
    ]
    wanted_works = [w for w in args.works.split(",") if w]
    works = [w for w in works if not wanted_works or any(x in w[0] for x in wanted_works)]
    peers = []
    try:
        peers = make_peers(folder, origin_port, [w for w in args.only.lower().split(",") if w])
        figures = {(w[0], p.name): [] for w in works for p in peers}
        for number in range(args.rounds):
            for name, _unit, run in works:
                for peer in peers:
                    peer.start()
                    try:
                        if run is None:
                            time.sleep(1)
                            value = pss_kib(peer.process.pid)
                        else:
                            value = run(peer)
                        figures[(name, peer.name)].append(value)
                        print(f"round {number + 1}  {name:40} {peer.name:8} {value:10.2f}", file=sys.stderr)
                    finally:
                        peer.stop()
        write(peers, works, figures, args)
    finally:
        for peer in peers:
            peer.stop()
        origin.kill()
        shutil.rmtree(folder, ignore_errors=True)


def write(peers, works, figures, args):
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    lines = [
        f"# Comparison of {datetime.date.today().isoformat()}",
        "",
        f"Machine: {model}, {os.cpu_count()} cores, Linux {os.uname().release}. "
        f"{args.rounds} interleaved rounds of {args.seconds} s; median (minimum to maximum). "
        "Proxy pinned to one core, load and origin to the other; access log to a file on (HAProxy: to a pipe); "
        "TLS 1.3, ECDSA P-256, no resumption; 64 connections over HTTP/1.1, 32 × 16 streams over HTTP/2. "
        "CPU is user and system time of the whole process tree per request. Under 15 % is a tie.",
        "",
        "Versions: " + ", ".join(f"{p.name} {p.version}" for p in peers) + ".",
        "",
        "| work | unit | " + " | ".join(p.name for p in peers) + " | ratio to the best peer |",
        "| --- | --- | " + " | ".join("---" for _ in peers) + " | --- |",
    ]
    for name, unit, _run in works:
        cells, medians = [], {}
        for peer in peers:
            values = figures[(name, peer.name)]
            medians[peer.name] = statistics.median(values)
            cells.append(f"{medians[peer.name]:.1f} ({min(values):.1f} to {max(values):.1f})")
        others = [v for k, v in medians.items() if k != "Rempart"]
        ratio = f"{medians['Rempart'] / min(others):.2f}" if others and "Rempart" in medians else "–"
        lines.append(f"| {name} | {unit} | " + " | ".join(cells) + f" | {ratio} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        pathlib.Path(args.out).write_text(text)


if __name__ == "__main__":
    main()
