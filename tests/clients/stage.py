"""What the scripts beside it share: the facts of the running node, named checks, the origin's byte pattern.

A script is started with two arguments: the facts as JSON (see crates/rempart/tests/clients/stage.rs) and a word
that some use. It runs its checks, prints one line for each that failed, and ends with 0 if none did.
"""

import json
import os
import signal
import socket
import ssl
import sys
import time
import urllib.request

# Ends a script that hangs, with a traceback from the place where it hung.
SECONDS_MAX = 120


def give_up(_signal, _frame):
    raise TimeoutError("the script took too long")


signal.signal(signal.SIGALRM, give_up)
signal.alarm(SECONDS_MAX)

FACTS = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
WORD = sys.argv[2] if len(sys.argv) > 2 else ""
HOST = FACTS.get("host")

_passed = 0
_failed = []


def check(is_so, name, found=None):
    """Records one expectation; found is printed when it does not hold."""
    global _passed
    if is_so:
        _passed += 1
    else:
        _failed.append(name)
        print(f"FAILED {name}: {found!r}", flush=True)
    return bool(is_so)


def equal(found, expected, name):
    return check(found == expected, name, {"found": found, "expected": expected})


def finish(at_least):
    """Ends the script. Fewer checks than at_least mean that the script itself is broken."""
    print(f"{_passed} checks passed, {len(_failed)} failed")
    check(_passed + len(_failed) >= at_least, f"at least {at_least} checks", _passed)
    sys.stdout.flush()
    os._exit(1 if _failed else 0)


def pattern(offset, length, seed=1):
    """The bytes that testkit::digest::pattern makes."""
    first, last = offset // 8, (offset + length + 7) // 8
    mask = (1 << 64) - 1
    out = bytearray()
    for position in range(first, last):
        z = ((seed ^ position) + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        out += (z ^ (z >> 31)).to_bytes(8, "little")
    skip = offset - first * 8
    return bytes(out[skip : skip + length])


def url(path, protocol="https", host=None):
    return f"{protocol}://{host or HOST}:{FACTS[protocol]}{path}"


def tls_context(alpn):
    context = ssl.create_default_context(cafile=FACTS["ca"])
    context.set_alpn_protocols(alpn)
    return context


def connect(protocol="http", alpn=("http/1.1",), timeout=10):
    """A blocking connection to a listener of the node."""
    raw = socket.create_connection(("127.0.0.1", FACTS[protocol]), timeout=timeout)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if protocol == "http":
        return raw
    return tls_context(list(alpn)).wrap_socket(raw, server_hostname=HOST)


def metric(name):
    """The sum of a metric over all its labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{FACTS['admin']}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.split("{")[0].split(" ")[0] == name]
    assert found, f"no metric {name}"
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def abuses():
    """How often each kind of abuse was met, by its word."""
    with urllib.request.urlopen(f"http://127.0.0.1:{FACTS['admin']}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith("rempart_abuse_total{")]
    assert found, "no abuses are counted"
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in found}


def abuse_counted(kinds, before):
    """Whether one more of a kind, or of one of some, is counted than before; it may be so a moment after the visitor was
    ended."""
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    deadline = time.monotonic() + 20
    while (now := abuses()) and all(now[kind] <= before[kind] for kind in kinds):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def resident_bytes():
    return metric("rempart_process_resident_memory_bytes")


def fields_of(echo, name):
    """The values of a field in an answer of /echo."""
    return [value for have, value in echo["fields"] if have.lower() == name.lower()]
