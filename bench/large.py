"""Bodies far larger than memory, both ways, and ten thousand certificates: what they cost the node in memory.

    python3 bench/large.py [--binary PATH] [--gigabytes 10] [--names 10000] [--out FILE]

Large bodies: an origin that sends a sparse file and reads uploads away, curl as visitor, over HTTP/1.1 on cleartext and
HTTP/2 over TLS, one transfer after the other; the PSS of the whole process tree is sampled all the while. Names: as many
zones with a certificate each (ECDSA P-256, made here), then handshakes with names in random order against handshakes
with one name; the edge's CPU time is read before and after. Needs curl and, for the names, the Python of `.venv`.
Not part of `make test`: it takes minutes and moves forty gigabytes.
"""

import argparse
import json
import os
import random
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def origin(size, sparse):
    """Serves GET with the sparse file and reads everything else away; its port and what uploads it saw."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    uploads = []

    def serve(connection):
        buffer = bytearray(1 << 20)
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                part = connection.recv(65536)
                if not part:
                    return
                head += part
            head, _, rest = head.partition(b"\r\n\r\n")
            if head.startswith(b"GET"):
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
                with open(sparse, "rb") as file:
                    connection.sendfile(file)
                return
            lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            wanted, got = int(lengths[0].split(b":")[1]), len(rest)
            while got < wanted:
                read = connection.recv_into(buffer)
                if not read:
                    break
                got += read
            uploads.append(got)
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1], uploads


def tree(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid] + [one for child in children for one in tree(int(child))]


def pss_kib(pid):
    total = 0
    for one in tree(pid):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def cpu_s(pid):
    total = 0
    for one in tree(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


class Node:
    def __init__(self, binary, folder):
        (folder / "rempart.toml").write_text(
            '[node]\ndata_dir = "data"\n[[listener]]\naddress = "127.0.0.1:0"\nprotocol = "http"\n'
            '[[listener]]\naddress = "127.0.0.1:0"\nprotocol = "https"\nhttp3 = false\n[log]\naccess = "off"\n')
        began = time.monotonic()
        self.process = subprocess.Popen([binary, "serve", "--config", folder / "rempart.toml"], stderr=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, text=True)
        for line in self.process.stderr:
            if '"event":"ready"' in line:
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.start_s = time.monotonic() - began
        addresses = folder / "data/addresses.json"
        while not addresses.exists():
            time.sleep(0.05)
        listeners = json.loads(addresses.read_text())["listeners"]
        self.http, self.https = (int(one["address"].rsplit(":", 1)[1]) for one in listeners)

    def end(self):
        self.process.terminate()
        self.process.wait()


def certificates(folder, names):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from datetime import datetime, timedelta, timezone
    now = datetime.now(timezone.utc)
    for name in names:
        key = ec.generate_private_key(ec.SECP256R1())
        title = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (x509.CertificateBuilder().subject_name(title).issuer_name(title).public_key(key.public_key())
                       .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
                       .not_valid_after(now + timedelta(days=30))
                       .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False).sign(key, hashes.SHA256()))
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def zone(name, port):
    return (f'name = "{name}"\nhostnames = ["{name}"]\n[tls]\ncertificate = "../{name}.pem"\nprivate_key = "../{name}.key"\n'
            f'[[pool]]\nname = "app"\norigins = [{{ url = "http://127.0.0.1:{port}" }}]\n')


def large(binary, gigabytes):
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "zones").mkdir()
        size, sparse = gigabytes * 10**9, folder / "sparse"
        with open(sparse, "wb") as file:
            file.truncate(size)
        port, uploads = origin(size, sparse)
        certificates(folder, ["large.example"])
        (folder / "zones/large.toml").write_text(zone("large.example", port))
        node = Node(binary, folder)
        ways = [("HTTP/1.1", ["--http1.1"], f"http://large.example:{node.http}/"),
                ("HTTP/2 over TLS", ["--http2", "--insecure"], f"https://large.example:{node.https}/")]
        for way, flags, url in ways:
            for direction in ("down", "up"):
                what = ["--output", "/dev/null"] if direction == "down" else ["--upload-file", str(sparse), "--output", "/dev/null"]
                before, peak, cpu, began = pss_kib(node.process.pid), 0, cpu_s(node.process.pid), time.monotonic()
                curl = subprocess.Popen(["curl", "--silent", "--show-error", "--fail", "--expect100-timeout", "1", *flags, "--connect-to",
                                         "large.example::127.0.0.1:", *what, "--write-out", "%{size_download} %{size_upload}",
                                         url], stdout=subprocess.PIPE, text=True)
                while curl.poll() is None:
                    peak = max(peak, pss_kib(node.process.pid))
                    time.sleep(0.2)
                took = time.monotonic() - began
                moved = [int(part) for part in curl.stdout.read().split()]
                if curl.returncode or size not in moved or (direction == "up" and uploads[-1] != size):
                    sys.exit(f"{way} {direction}: {curl.returncode} {moved} {uploads}")
                rows.append(f"| {gigabytes} GB {direction}, {way} | {before / 1024:.1f} | {peak / 1024:.1f} | {took:.0f} | "
                            f"{(cpu_s(node.process.pid) - cpu) / gigabytes:.2f} |")
        node.end()
    return ["| transfer | MiB before | MiB at most | seconds | CPU s/GB |", "| --- | --- | --- | --- | --- |", *rows]


def shake(port, names, seconds):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        name = random.choice(names)
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname=name) as tls:
            count += 1
            if count % 50 == 0 and f"DNS:{name}".encode()[4:] not in tls.getpeercert(True):
                sys.exit(f"{name} got another certificate")
    return count


def many(binary, count):
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "zones").mkdir()
        names = [f"n{number}.example" for number in range(count)]
        certificates(folder, names)
        for amount in (1, count):
            for name in names[:amount]:
                (folder / f"zones/{name}.toml").write_text(zone(name, 9))
            node = Node(binary, folder)
            shake(node.https, names[:amount], 1)
            idle, before = pss_kib(node.process.pid), cpu_s(node.process.pid)
            shaken = shake(node.https, names[:amount], 8)
            cpu = (cpu_s(node.process.pid) - before) / shaken * 1e6
            rows.append(f"| {amount} | {idle / 1024:.1f} | {node.start_s:.2f} | {shaken} | {cpu:.0f} |")
            node.end()
    return ["| certificates | MiB, whole tree | s to ready | handshakes | CPU µs each |", "| --- | --- | --- | --- | --- |", *rows]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=str(ROOT / "target/release/rempart"))
    parser.add_argument("--gigabytes", type=int, default=10)
    parser.add_argument("--names", type=int, default=10_000)
    parser.add_argument("--out")
    wanted = parser.parse_args()
    lines = large(wanted.binary, wanted.gigabytes) + [""] + many(wanted.binary, wanted.names)
    text = "\n".join(lines) + "\n"
    print(text)
    if wanted.out:
        Path(wanted.out).write_text(text)


main()
