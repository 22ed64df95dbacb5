#!/usr/bin/env python3
"""What it costs a node to send a request away under overload, beside what it costs to serve one.

One node sheds: it may be late by 2 ms, and has 1,500 visitors at once, each of whom asks again as soon as it has its
answer, so that its only serving thread is late by what sending them away takes, for as long as they come. Nothing
is slow, and nothing is broken on purpose. Another node with the same files never sheds, and serves the same visitors
from its cache, and with a fixed answer. Slices of a few seconds are interleaved, so that a noisy machine is as noisy
to each. Each is done on connections that are kept, and with a connection for each request.

The figure is CPU time of the node's whole process tree (all its threads, from schedstat) divided by requests; the
shares of user and kernel are from utime and stime. Over loopback a node's own system calls do the work of the
visitors' side as well: it is more than over a network card. While a node sheds it lets some in: what these took, at
the cost of a fixed answer in the same round, is taken off before what is left is divided by those sent away. All
requests have their line in the access log, and those sent away the page for browsers.

With several binaries each is measured in each round, and each has its table. With --peers the nginx and the HAProxy
that are installed send everybody away in the same rounds, with the page that Rempart sends, a line in a log, and one
worker: nginx by `limit_req`, HAProxy by `http-request return`. They need not find out whom to send away, and do not.

Usage: shed.py [--binary rempart]... [--peers] [--rounds 6] [--seconds 3] [--out FILE.md]
Needs: wrk, and some four minutes with the defaults, six with peers.
"""

import argparse
import datetime
import http.server
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from compare import free_port, tree

TICK = os.sysconf("SC_CLK_TCK")
KEPT, FRESH = 1500, 1500
SETTLING = 1.5  # seconds until all are connected, and a node that is to shed does
ROOT = pathlib.Path(__file__).resolve().parent.parent
BROWSER = ["-H", "Accept: text/html,application/xhtml+xml,*/*;q=0.8", "-H", "Accept-Language: en",
           "-H", "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0.0.0"]


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"x" * 800
        self.send_response(200)
        self.send_header("Cache-Control", "public, max-age=86400")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


NODE = """[node]
threads = 1
spare = false
data_dir = "data"
[log]
access = "access.log"
[[listener]]
address = "127.0.0.1:{port}"
protocol = "http"
[admin]
address = "127.0.0.1:{admin}"
[overload]
delay_ms = {delay_ms}
"""
ZONE = """name = "{name}"
hostnames = ["{name}.example"]
[[pool]]
name = "app"
origins = [{{ url = "http://127.0.0.1:{origin}" }}]
"""
FIXED = '[[route]]\npath_prefix = "/"\nanswer = { status = 200, body = "served" }\n'


class Measured:
    """A process tree that answers on a port, and counts its requests and those it sends away."""

    def spent(self):
        """CPU time in microseconds, and of that user and system time in ticks."""
        ns = user = system = 0
        for pid in self.pids:
            for task in os.listdir(f"/proc/{pid}/task"):
                ns += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
            stat = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            user, system = user + int(stat[11]), system + int(stat[12])
        return ns / 1000, user, system

    def visited(self, host, seconds, is_fresh):
        """Requests, those of them sent away, CPU microseconds, and the share of user time."""
        more = ["-H", "Connection: close"] if is_fresh else []
        count = FRESH if is_fresh else KEPT
        command = ["wrk", "-t1", "-c", str(count), "-d", f"{seconds + SETTLING + 0.5:.0f}s", *BROWSER, *more,
                   "-H", f"Host: {host}.example", f"http://127.0.0.1:{self.port}/page"]
        load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(SETTLING)
        before, spent = self.counts(), self.spent()
        time.sleep(seconds)
        after, now = self.counts(), self.spent()
        load.wait()
        user, system = now[1] - spent[1], now[2] - spent[2]
        return after[0] - before[0], after[1] - before[1], now[0] - spent[0], user / max(user + system, 1)

    def begun(self):
        """Waits until it answers, and notes its processes."""
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        time.sleep(1)
        self.pids = tree(self.process.pid)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


NGINX = """
{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err crit;
events {{ worker_connections 9000; }}
http {{
  access_log {folder}/nginx.log; keepalive_requests 1000000000; keepalive_timeout 300s; open_file_cache max=10;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  limit_req_zone $server_addr zone=all:1m rate=1r/m;
  server {{
    listen 127.0.0.1:{port} backlog=4096; root {folder}; error_page 503 /busy.html;
    location / {{ limit_req zone=all; limit_req_status 503; }}
    location = /busy.html {{ internal; add_header Retry-After 10 always; add_header Cache-Control no-store always; }}
  }}
  server {{ listen 127.0.0.1:{admin}; access_log off; location / {{ stub_status; }} }}
}}
"""
HAPROXY = """
global
  nbthread 1
  maxconn 9000
  log stdout format raw local0
defaults
  mode http
  option httplog
  log global
  timeout client 300s
  timeout http-keep-alive 300s
frontend busy
  bind 127.0.0.1:{port} backlog 4096
  http-request return status 503 content-type text/html file {folder}/busy.html hdr Retry-After 10 hdr Cache-Control no-store
frontend counts
  bind 127.0.0.1:{admin}
  no log
  http-request use-service prometheus-exporter
"""


class Peer(Measured):
    """A peer that sends everybody away with this page."""

    def __init__(self, name, folder, page):
        self.name, self.port, self.admin = name, free_port(), free_port()
        folder.mkdir(parents=True)
        os.chmod(folder, 0o755)
        (folder / "busy.html").write_bytes(page)
        user = "user root;" if os.geteuid() == 0 else ""
        text, flags = (NGINX, ["-p", str(folder)]) if name == "nginx" else (HAPROXY, ["-db"])
        conf = folder / "conf"
        conf.write_text(text.format(user=user, folder=folder, port=self.port, admin=self.admin))
        program = shutil.which(name) or f"/usr/sbin/{name}"
        flags += ["-c" if name == "nginx" else "-f", str(conf)]
        with open(folder / "log", "w") as log, open(folder / "err", "w") as errors:
            self.process = subprocess.Popen([program, *flags], stdout=log, stderr=errors)
        self.begun()

    def counts(self):
        path = "" if self.name == "nginx" else "metrics"
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/{path}").read().decode()
        if self.name == "nginx":
            count = int(text.splitlines()[2].split()[2])
        else:
            line = next(line for line in text.splitlines()
                        if line.startswith("haproxy_frontend_http_requests_total") and 'proxy="busy"' in line)
            count = float(line.rsplit(" ", 1)[1])
        return count, count


class Node(Measured):
    def __init__(self, binary, folder, delay_ms, origin):
        self.port, self.admin = free_port(), free_port()
        (folder / "zones").mkdir(parents=True)
        (folder / "rempart.toml").write_text(NODE.format(port=self.port, admin=self.admin, delay_ms=delay_ms))
        (folder / "zones/fixed.toml").write_text(ZONE.format(name="fixed", origin=origin) + FIXED)
        stored = ZONE.format(name="stored", origin=origin) + "[cache]\nenabled = true\n"
        (folder / "zones/stored.toml").write_text(stored)
        command = [binary, "serve", "--config", str(folder / "rempart.toml")]
        self.process = subprocess.Popen(command, stderr=open(folder / "events", "w"))
        self.begun()

    def counts(self):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics").read().decode()
        total = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                total[name.split("{")[0]] = total.get(name.split("{")[0], 0) + float(value)
        return total["rempart_requests_total"], total["rempart_shed_total"]

    def page(self):
        """The page that it sends to browsers that it sends away."""
        load = subprocess.Popen(["wrk", "-t1", "-c", str(KEPT), "-d", "20s", "-H", "Host: fixed.example",
                                 f"http://127.0.0.1:{self.port}/page"], stdout=subprocess.DEVNULL)
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/page",
                                         headers={"Host": "fixed.example", "Accept": "text/html"})
        try:
            for _ in range(1000):
                try:
                    urllib.request.urlopen(request, timeout=10).read()
                except urllib.error.HTTPError as error:
                    return error.read()
            sys.exit("the node sends nobody away")
        finally:
            load.kill()
            load.wait()


def spread(values):
    low, high = min(values), max(values)
    return f"{statistics.median(values):.1f} ({low:.1f}–{high:.1f})"


def measure(node, cost, key, seconds, is_fresh):
    """One slice: notes its cost by its key; what share was sent away, and of the time in user space."""
    what = key[-1]
    of = node["shedding" if what == "shed" else "serving"]
    count, shed, us, user = of.visited("stored" if what == "stored" else "fixed", seconds, is_fresh)
    all_of_it = count
    if what == "shed":
        us, count = us - (count - shed) * cost["fixed"], shed
    cost[what] = us / max(count, 1)
    return count > 0, 100 * shed / max(all_of_it, 1), 100 * user


def table(name, rows):
    words = {"shed": "sent away", "fixed": "served a fixed answer", "stored": "served from the cache, 800 bytes"}
    out = [f"**{name}**", "",
           "| connections | request | CPU µs each, whole tree | of it in user space, % | of all, sent away, % |",
           "| --- | --- | --- | --- | --- |"]
    for (how, what), slices in rows.items():
        costs, shares, users = zip(*slices)
        share = spread(shares) if what == "shed" else "–"
        out.append(f"| {how} | {words[what]} | {spread(costs)} | {spread(users)} | {share} |")
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", action="append")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    binaries = arguments.binary or [str(ROOT / "target/release/rempart")]
    origin = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    nodes, peers = {}, []
    rows = {of: {} for of in [*binaries, *(("nginx", "haproxy") if arguments.peers else ())]}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for number, binary in enumerate(binaries):
                under = pathlib.Path(folder) / str(number)
                nodes[binary] = {name: Node(binary, under / name, delay_ms, origin.server_address[1])
                                 for name, delay_ms in (("shedding", 2), ("serving", 0))}
            if arguments.peers:
                page = nodes[binaries[0]]["shedding"].page()
                peers += [Peer(name, pathlib.Path(folder) / name, page) for name in ("nginx", "haproxy")]
            for _ in range(arguments.rounds):
                for is_fresh in (False, True):
                    costs = {binary: {} for binary in binaries}
                    for what in ("fixed", "shed", "stored"):
                        for binary in binaries:
                            key = ("a connection each" if is_fresh else "kept", what)
                            node, cost = nodes[binary], costs[binary]
                            is_one, share, user = measure(node, cost, key, arguments.seconds, is_fresh)
                            if is_one:
                                rows[binary].setdefault(key, []).append((cost[what], share, user))
                    for peer in peers:
                        count, _, us, user = peer.visited("fixed", arguments.seconds, is_fresh)
                        key = ("a connection each" if is_fresh else "kept", "shed")
                        rows[peer.name].setdefault(key, []).append((us / max(count, 1), 100, 100 * user))
        finally:
            for peer in peers:
                peer.end()
            for node in nodes.values():
                node["shedding"].end()
                node["serving"].end()
    text = f"{datetime.datetime.now():%d %B %Y, %H:%M}; {arguments.rounds} rounds of {arguments.seconds} s each; " \
           "median (least–most).\n\n" + "\n".join(table(of, its) for of, its in rows.items())
    print(text)
    if arguments.out:
        pathlib.Path(arguments.out).write_text(text)


if __name__ == "__main__":
    main()
