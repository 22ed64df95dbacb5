"""h2load over HTTP/1.1 and HTTP/2, cleartext and TLS, and wrk: short loads without one failure. No rates are judged."""

import re
import subprocess

from stage import FACTS, HOST, check, equal, finish

for name, protocol, path, flags, count in [
    ("HTTP/2 over TLS", "https", "/hello", ["-c", "10", "-m", "10"], 4000),
    ("HTTP/2 over TLS, one connection, many streams", "https", "/hello", ["-c", "1", "-m", "100"], 2000),
    ("HTTP/2 on cleartext", "http", "/hello", ["-c", "10", "-m", "10"], 4000),
    ("HTTP/2 with bodies of 1 MB", "https", "/bytes/1000000", ["-c", "4", "-m", "4"], 200),
    ("HTTP/2, many connections", "https", "/hello", ["-c", "200", "-m", "1"], 2000),
    ("HTTP/2 uploads", "https", "/echo", ["-c", "4", "-m", "8", "-d", "load-upload.bin"], 400),
    ("HTTP/1.1 over TLS", "https", "/hello", ["-c", "20", "--h1"], 4000),
    ("HTTP/1.1 on cleartext, pipelined", "http", "/hello", ["-c", "10", "-m", "8", "--h1"], 4000),
]:
    with open("load-upload.bin", "wb") as file:
        file.write(b"x" * 100_000)
    command = ["h2load", "-t", "1", "-n", str(count), *flags, f"--connect-to=127.0.0.1:{FACTS[protocol]}",
               f"{protocol}://{HOST}:{FACTS[protocol]}{path}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = re.search(r"requests: (\d+) total, .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", ran.stdout)
    statuses = re.search(r"status codes: (\d+) 2xx", ran.stdout)
    if check(found and statuses, f"{name}: h2load ran", ran.stdout + ran.stderr):
        total, done, succeeded, *bad = (int(number) for number in found.groups())
        equal((total, done, succeeded, bad), (count, count, count, [0, 0, 0]), name)
        equal(int(statuses[1]), count, f"{name}: answers with 2xx")

for name, protocol, path in [("wrk on cleartext", "http", "/hello"), ("wrk over TLS", "https", "/bytes/10000")]:
    command = ["wrk", "-t", "1", "-c", "20", "-d", "2s", "-H", f"Host: {HOST}", f"{protocol}://127.0.0.1:{FACTS[protocol]}{path}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = re.search(r"(\d+) requests in", ran.stdout)
    check(found and int(found[1]) > 100, f"{name}: requests", ran.stdout + ran.stderr)
    check("Socket errors" not in ran.stdout and "Non-2xx" not in ran.stdout, f"{name}: no failures", ran.stdout)
finish(at_least=28)
