"""The node of `faults.py`: its files, its processes by role, what they hold, and the commands to it."""

import collections
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import soak

SITES = ("chat", "timeline", "forum", "store")
OWN = "own"  # answered by the node itself
ALL = (*SITES, OWN)
LINGER = 5  # seconds that a replaced edge keeps the connections it has


def host(site):
    return f"{site}.example"


class Node(soak.Node):
    """A node with a spare, a cache on disk, stages, and a calendar and disk that can be made wrong."""

    def __init__(self, folder, origins):
        self.folder, self.origins, self.where, self.number = folder, origins, {}, 0
        for _ in SITES:
            site, address = origins.stdout.readline().split()
            self.where[site] = address
        (folder / "zones").mkdir()
        names, soak.ZONES = soak.ZONES, tuple(host(site) for site in ALL)
        self.make_certificates()
        soak.ZONES = names
        for site in ALL:
            self.write_site(site)
        self.log_lines, self.process = 0, None
        (folder / "rempart.toml").write_text(f"""
[node]
data_dir = "data"
threads = 2
spare = true
drain_ms = {LINGER * 1000}
linger_ms = {LINGER * 1000}
[[listener]]
address = "127.0.0.1:0"
protocol = "http"
[[listener]]
address = "127.0.0.1:0"
protocol = "https"
[admin]
address = "127.0.0.1:0"
[cache]
memory_bytes = "16MiB"
disk_bytes = "64MiB"
[log]
access = "access.log"
[publish]
compare_ms = 200
canary_percent = 20
canary_ms = 1500
soak_ms = 1000
""")

    def zone_path(self, site):
        return self.folder / "zones" / f"{site}.toml"

    def zone_text(self, site, also=()):
        names = ", ".join(f'"{name}"' for name in (host(site), *also))
        text = f'name = "{site}"\nhostnames = [{names}]\n'
        text += '[tls]\ncertificate = "../zone.pem"\nprivate_key = "../zone.key"\n'
        if site == OWN:
            return text + f'[[route]]\nanswer = {{ body = "own {self.number}" }}\n'
        text += (f'[[pool]]\nname = "app"\norigins = [{{ url = "http://{self.where[site]}" }}]\n'
                 'timeouts = { connect_ms = 2000, first_byte_ms = 3000 }\n'
                 # Idle ones are gone before the calm at the end is measured.
                 'keepalive_ms = 5000\n')
        if site == "forum":
            text += ("[cache]\nenabled = true\nalways_online = true\n"
                     "[[cache.lifetime]]\nstatus = 200\nseconds = 3\n")
        return text

    def write_site(self, site, also=()):
        self.zone_path(site).write_text(self.zone_text(site, also))

    def start(self):
        """Starts `serve`, and waits until it is this process that serves."""
        with open(self.folder / "node.log", "a") as log:
            self.process = subprocess.Popen(
                [str(soak.BINARIES / "rempart"), "serve", "--config", str(self.folder / "rempart.toml")],
                stdout=log, stderr=log, start_new_session=True, cwd=self.folder,
                env={**os.environ, "REMPART_FAULT_CLOCK": str(self.folder / "clock")})
        addresses, end, where = self.folder / "data" / "addresses.json", time.monotonic() + 30, {}
        while where.get("pid") != self.process.pid:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the node did not start:\n" + (self.folder / "node.log").read_text()[-3000:])
            time.sleep(0.05)
            try:
                where = json.loads(addresses.read_text())
            except (OSError, ValueError):
                pass
        ports = {l["protocol"]: int(l["address"].rsplit(":", 1)[1]) for l in where["listeners"]}
        self.plain, self.tls, self.admin = ports["http"], ports["https"], where["admin"]

    def command(self, *words, patience=25):
        """Runs a command of the binary against the node: whether it went well, and what was said."""
        done = subprocess.run(
            [str(soak.BINARIES / "rempart"), *words, "--config", str(self.folder / "rempart.toml")],
            capture_output=True, text=True, timeout=patience, stdin=subprocess.DEVNULL)
        return done.returncode == 0, done.stdout + done.stderr

    def status(self):
        well, said = self.command("status", "--json")
        if not well:
            raise RuntimeError(said.strip())
        return json.loads(said)

    def origin(self, site, mode):
        self.origins.stdin.write(f"{site} {mode}\n")
        self.origins.stdin.flush()
        self.origins.stdout.readline()

    def roles(self):
        """Processes by role: the supervisor, the edge that serves, and every other by its number."""
        edge, found = self.status()["edge_pid"], {"supervisor": self.process.pid, }
        others = [pid for pid in self.tree() if pid not in (self.process.pid, edge)]
        found["edge"] = edge
        for count, pid in enumerate(others):
            found["spare" if count == 0 else f"other {count}"] = pid
        return found

    def sample(self, at):
        """What each role holds at one moment."""
        found = {"at": at, "delay_s": self.metrics().get("rempart_thread_delay_seconds", 0)}
        for role, pid in self.roles().items():
            folder = pathlib.Path(f"/proc/{pid}")
            rollup = (folder / "smaps_rollup").read_text()
            found[role] = {
                "pss_kib": int(re.search(r"\nPss:\s+(\d+)", rollup).group(1)),
                "descriptors": len(os.listdir(folder / "fd")),
                "threads": int(re.search(r"Threads:\s+(\d+)", (folder / "status").read_text()).group(1)),
            }
        return found

    def rotate(self):
        path = self.folder / "access.log"
        if path.is_file():
            path.rename(self.folder / "access.log.1")
            self.signal(signal.SIGUSR1)
            (self.folder / "access.log.1").unlink()

    def events(self):
        found = collections.Counter()
        for line in (self.folder / "node.log").read_text().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                found["not JSON: " + line[:80]] += 1
                continue
            if event.get("level") in ("warn", "error"):
                found[event["event"]] += 1
        return dict(found)

    def close(self):
        version = subprocess.check_output([str(soak.BINARIES / "rempart"), "--version"], text=True).strip()
        begin = time.monotonic()
        self.signal(signal.SIGTERM)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            code = "never"
        return {"version": version, "exit": code, "drain": time.monotonic() - begin, "events": self.events()}

    def kill(self):
        """Ends whatever works in this folder."""
        for path in pathlib.Path("/proc").iterdir():
            try:
                if path.name.isdigit() and os.readlink(path / "cwd") == str(self.folder):
                    os.kill(int(path.name), signal.SIGKILL)
            except OSError:
                pass
