"""Compressed answers as others undo them: curl over HTTP/1.0, 1.1 and 2, curl_cffi over HTTP/3; streamed and out of the
cache, first and second time, whole and by length."""

import os
import subprocess

from curl_cffi import CurlHttpVersion, CurlOpt, requests
from stage import FACTS, HOST, check, equal, finish, pattern, url

ANSWER = "answer.bin"
HEAD = "head.txt"
HTTP3 = 30
RESOLVE = {CurlOpt.RESOLVE: [f"{HOST}:{FACTS['https']}:127.0.0.1"]}


def curl(*arguments):
    """Runs curl, which undoes what it says it takes; returns its exit code, status, head and body."""
    for name in (ANSWER, HEAD):
        if os.path.exists(name):
            os.remove(name)
    command = ["curl", "--silent", "--show-error", "--cacert", FACTS["ca"], "--max-time", "60", "--noproxy", "*"]
    for protocol in ("http", "https"):
        command += ["--resolve", f"{HOST}:{FACTS[protocol]}:127.0.0.1"]
    command += ["--output", ANSWER, "--dump-header", HEAD, "--write-out", "%{http_code}", "--compressed"]
    ran = subprocess.run(command + list(arguments), capture_output=True, text=True)
    body = open(ANSWER, "rb").read() if os.path.exists(ANSWER) else b""
    head = open(HEAD).read().lower() if os.path.exists(HEAD) else ""
    if ran.returncode:
        print(arguments, ran.returncode, ran.stderr)
    return ran.returncode, ran.stdout, head, body


WAYS = [
    ("HTTP/1.0", "http", ["--http1.0"]),
    ("HTTP/1.1", "http", ["--http1.1"]),
    ("HTTP/1.1 TLS", "https", ["--http1.1"]),
    ("HTTP/2 TLS", "https", ["--http2"]),
    ("HTTP/2 cleartext", "http", ["--http2-prior-knowledge"]),
]
PATHS = [("/text/300000", 300_000), ("/text/chunked/3000000", 3_000_000), ("/kept/200000", 200_000),
         ("/kept/chunked/100000", 100_000)]

for name, protocol, flags in WAYS:
    for path, length in PATHS:
        for coding in ("gzip", "br", "zstd"):
            for turn in ("first", "second"):
                what = f"{name}: {path} in {coding}, the {turn} time"
                code, status, head, body = curl(*flags, "--header", f"Accept-Encoding: {coding}", url(path, protocol))
                equal((code, status, len(body)), (0, "200", length), what)
                check(body == pattern(0, length), f"{what}: its bytes")
                check(f"content-encoding: {coding}" in head, f"{what}: its coding", head)
                check("vary: accept-encoding" in head, f"{what}: Vary", head)
        code, status, head, body = curl(*flags, "--header", "Accept-Encoding: identity", url(path, protocol))
        equal((code, status, body == pattern(0, length)), (0, "200", True), f"{name}: {path} as it is")
        check("content-encoding" not in head, f"{name}: {path} without a coding", head)

session = requests.Session(verify=FACTS["ca"], curl_options=RESOLVE, timeout=60, http_version=CurlHttpVersion.V3ONLY)
with session as visitor:
    for path, length in PATHS:
        for coding in ("gzip", "br", "zstd"):
            for turn in ("first", "second"):
                what = f"HTTP/3: {path} in {coding}, the {turn} time"
                answer = visitor.get(url(path), headers={"Accept-Encoding": coding})
                equal((answer.http_version, answer.status_code, len(answer.content)), (HTTP3, 200, length), what)
                check(answer.content == pattern(0, length), f"{what}: its bytes")
                equal(answer.headers.get("content-encoding"), coding, f"{what}: its coding")
        head = visitor.head(url(path), headers={"Accept-Encoding": "gzip"})
        equal((head.status_code, head.headers.get("content-encoding")), (200, "gzip"), f"HTTP/3: HEAD of {path}")

finish(at_least=500)
