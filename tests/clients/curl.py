"""Debian's curl over HTTP/1.0, 1.1 and 2, cleartext and TLS, IPv4 and IPv6: transfers, ranges, trailers,
Expect, informational answers, compressed bodies passed as they came."""

import hashlib
import json
import os
import subprocess

from stage import FACTS, HOST, check, equal, fields_of, finish, pattern, url

ANSWER = "answer.bin"
HEAD = "head.txt"


def curl(*arguments, address="127.0.0.1", port=None):
    """Runs curl; returns its exit code, HTTP version, status, head and body."""
    for name in (ANSWER, HEAD):
        if os.path.exists(name):
            os.remove(name)
    command = ["curl", "--silent", "--show-error", "--cacert", FACTS["ca"], "--max-time", "30", "--noproxy", "*"]
    for protocol in ("http", "https"):
        known = FACTS[protocol if address == "127.0.0.1" else f"{protocol}_v6"]
        command += ["--resolve", f"{HOST}:{known}:{address}"]
    command += ["--output", ANSWER, "--dump-header", HEAD, "--write-out", "%{http_version} %{http_code}"]
    ran = subprocess.run(command + list(arguments), capture_output=True, text=True)
    version, status = (ran.stdout.split() + ["", ""])[:2]
    body = open(ANSWER, "rb").read() if os.path.exists(ANSWER) else b""
    head = open(HEAD).read() if os.path.exists(HEAD) else ""
    if ran.returncode:
        print(arguments, ran.returncode, ran.stderr)
    return ran.returncode, version, status, head, body


upload = os.urandom(10 << 20)
with open("upload.bin", "wb") as file:
    file.write(upload)
upload_sha256 = hashlib.sha256(upload).hexdigest()
first_kib = pattern(0, 4096)

WAYS = [
    ("HTTP/1.0", "http", ["--http1.0"], "1.1"),
    ("HTTP/1.1", "http", ["--http1.1"], "1.1"),
    ("HTTP/1.1 TLS", "https", ["--http1.1"], "1.1"),
    ("HTTP/2 TLS", "https", ["--http2"], "2"),
    ("HTTP/2 cleartext", "http", ["--http2-prior-knowledge"], "2"),
]

for name, protocol, flags, version in WAYS:
    code, used, status, head, body = curl(*flags, url("/hello", protocol))
    equal((code, used, status, body), (0, version, "200", b"hello\n"), f"{name}: a small answer")
    check("x-request-id:" in head.lower(), f"{name}: a request id", head)

    code, _, status, head, body = curl(*flags, url("/bytes/20000000", protocol))
    equal((code, status, len(body)), (0, "200", 20000000), f"{name}: a large answer")
    check(body[:4096] == first_kib, f"{name}: its first bytes")
    check(body[-4096:] == pattern(20000000 - 4096, 4096), f"{name}: its last bytes")

    code, _, status, _, body = curl(*flags, url("/stream/3000000", protocol))
    equal((code, status, len(body)), (0, "200", 3000000), f"{name}: an answer without a length")

    code, _, status, head, body = curl(*flags, "--range", "1000-2999", url("/bytes/100000", protocol))
    equal((code, status), (0, "206"), f"{name}: a range")
    check(body == pattern(1000, 2000), f"{name}: the bytes of the range")
    check("content-range: bytes 1000-2999/100000" in head.lower(), f"{name}: Content-Range", head)

    code, _, status, head, _ = curl(*flags, "--range", "200000-", url("/bytes/100000", protocol))
    equal(status, "416", f"{name}: a range past the end")

    code, _, status, head, body = curl(*flags, "--head", url("/bytes/100000", protocol))
    equal((code, status), (0, "200"), f"{name}: HEAD")
    check("content-length: 100000" in head.lower(), f"{name}: the length in an answer to HEAD", head)

    for code_asked in ("204", "304", "404", "500"):
        code, _, status, _, body = curl(*flags, url(f"/status/{code_asked}", protocol))
        equal((code, status), (0, code_asked), f"{name}: status {code_asked}")

    code, _, status, _, body = curl(*flags, "--data-binary", "@upload.bin", url("/echo", protocol))
    if equal((code, status), (0, "200"), f"{name}: an upload of 10 MiB"):
        echo = json.loads(body)
        equal((echo["method"], echo["length"]), ("POST", len(upload)), f"{name}: what came of it")
        equal(echo["sha256"], upload_sha256, f"{name}: its hash")

    code, _, status, _, body = curl(*flags, "--upload-file", "upload.bin", url("/echo", protocol))
    if equal((code, status), (0, "200"), f"{name}: PUT"):
        equal(json.loads(body)["sha256"], upload_sha256, f"{name}: the hash of PUT")

    code, _, status, _, body = curl(*flags, "--compressed", url("/gzip", protocol))
    equal((code, status, body), (0, "200", b"hello\n"), f"{name}: a compressed answer, unpacked by curl")
    code, _, status, head, body = curl(*flags, url("/gzip", protocol))
    check(body[:2] == b"\x1f\x8b" and "content-encoding: gzip" in head.lower(), f"{name}: passed as it came", head)

    code, _, status, _, body = curl(*flags, "--header", "X-A: 1", "--header", "x-a: 2", "--header",
                                    "Cookie: a=1; b=2", url("/echo?q=%20x&r=", protocol))
    echo = json.loads(body)
    equal(fields_of(echo, "x-a"), ["1", "2"], f"{name}: a field twice")
    equal(fields_of(echo, "cookie"), ["a=1; b=2"], f"{name}: cookies")
    equal(echo["target"], "/echo?q=%20x&r=", f"{name}: the target unchanged")
    port = FACTS[protocol]
    equal(fields_of(echo, "host"), [f"{HOST}:{port}"], f"{name}: the host unchanged")
    equal(fields_of(echo, "x-forwarded-proto"), [protocol], f"{name}: X-Forwarded-Proto")
    equal(fields_of(echo, "x-forwarded-for"), ["127.0.0.1"], f"{name}: X-Forwarded-For")

    if version != "1.1" or "--http1.1" in flags:
        code, _, status, head, body = curl(*flags, url("/hints", protocol))
        equal((code, status, body), (0, "200", b"hints\n"), f"{name}: after a 103")
        check(" 103" in head and "rel=preload" in head, f"{name}: the 103 itself", head)
        code, _, status, head, body = curl(*flags, url("/trailers", protocol))
        equal((code, status, body), (0, "200", b"body\n"), f"{name}: an answer with trailers")
        check("x-count: 5" in head.lower(), f"{name}: the trailers", head)
        code, _, status, head, body = curl(*flags, "--header", "Expect: 100-continue", "--expect100-timeout", "20",
                                           "--data-binary", "@upload.bin", url("/echo", protocol))
        equal((code, status), (0, "200"), f"{name}: an upload that waits for 100")
        check(" 100" in head, f"{name}: the 100 itself", head)
    if "--http1.1" in flags:
        code, _, status, _, body = curl(*flags, "--header", "Transfer-Encoding: chunked", "--data-binary",
                                        "@upload.bin", url("/echo", protocol))
        equal((code, status), (0, "200"), f"{name}: a chunked upload")
        equal(json.loads(body)["sha256"], upload_sha256, f"{name}: the hash of a chunked upload")

# IPv6 listeners.
for protocol, flags in [("http", ["--http1.1"]), ("https", ["--http2"])]:
    target = f"{protocol}://{HOST}:{FACTS[protocol + '_v6']}/echo"
    code, _, status, _, body = curl(*flags, target, address="[::1]")
    equal((code, status), (0, "200"), f"{protocol} over IPv6")
    equal(fields_of(json.loads(body), "x-forwarded-for"), ["::1"], f"{protocol} over IPv6: the visitor's address")

# A name that no zone has; TLS floors; Alt-Svc.
code, _, status, _, body = curl("--http1.1", "--header", "Host: nobody.example", url("/", "http"))
equal((code, status), (0, "421"), "a name without a zone")
for floor in ("1.2", "1.3"):
    flags = [f"--tlsv{floor}", "--tls-max", floor]
    code, _, status, _, _ = curl(*flags, url("/hello"))
    equal((code, status), (0, "200"), f"TLS {floor}")
code, _, _, _, _ = curl("--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", url("/hello"))
check(code != 0, "TLS 1.1 is refused", code)
_, _, _, head, _ = curl("--http2", url("/hello"))
check(f'alt-svc: h3=":{FACTS["https"]}"' in head.lower(), "Alt-Svc announces HTTP/3", head)

# Twenty transfers at once on one connection, and many in a row on one.
many = []
for index in range(20):
    many += [url(f"/bytes/{200000 + index}"), "--output", f"many{index}"]
command = ["curl", "--silent", "--show-error", "--cacert", FACTS["ca"], "--noproxy", "*", "--parallel", "--http2",
           "--max-time", "30", "--resolve", f"{HOST}:{FACTS['https']}:127.0.0.1"]
ran = subprocess.run(command + many, capture_output=True, text=True)
equal(ran.returncode, 0, f"twenty transfers at once {ran.stderr}")
for index in range(20):
    equal(os.path.getsize(f"many{index}"), 200000 + index, f"transfer {index} of twenty")

finish(at_least=120)
