"""curl_cffi (curl with HTTP/3 as browsers greet): GET, POST, PUT, ranges, HEAD, many on one connection, and from
HTTP/2 to HTTP/3 by Alt-Svc."""

import hashlib
import json
import os

from curl_cffi import CurlHttpVersion, CurlOpt, requests
from stage import FACTS, HOST, check, equal, fields_of, finish, pattern, url

RESOLVE = {CurlOpt.RESOLVE: [f"{HOST}:{FACTS['https']}:127.0.0.1"]}
HTTP3 = 30


def session(**more):
    return requests.Session(verify=FACTS["ca"], curl_options={**RESOLVE, **more.pop("curl_options", {})}, timeout=30, **more)


with session(http_version=CurlHttpVersion.V3ONLY) as visitor:
    answer = visitor.get(url("/hello"))
    equal((answer.http_version, answer.status_code, answer.content), (HTTP3, 200, b"hello\n"), "a small answer")
    check(answer.headers.get("x-request-id"), "a request id", dict(answer.headers))

    answer = visitor.get(url("/bytes/20000000"))
    equal((answer.http_version, len(answer.content)), (HTTP3, 20000000), "a large answer")
    check(answer.content[:4096] == pattern(0, 4096), "its first bytes")
    check(answer.content[-4096:] == pattern(20000000 - 4096, 4096), "its last bytes")

    answer = visitor.get(url("/stream/3000000"))
    equal(len(answer.content), 3000000, "an answer without a length")

    answer = visitor.get(url("/bytes/100000"), headers={"Range": "bytes=1000-2999"})
    equal((answer.status_code, answer.content == pattern(1000, 2000)), (206, True), "a range")
    answer = visitor.head(url("/bytes/100000"))
    equal((answer.status_code, answer.headers.get("content-length"), answer.content), (200, "100000", b""), "HEAD")
    for status in (204, 304, 404, 500):
        equal(visitor.get(url(f"/status/{status}")).status_code, status, f"status {status}")

    upload = os.urandom(10 << 20)
    for method in ("POST", "PUT"):
        answer = visitor.request(method, url("/echo"), data=upload)
        echo = json.loads(answer.content)
        equal((answer.http_version, echo["method"], echo["length"]), (HTTP3, method, len(upload)), f"{method} of 10 MiB")
        equal(echo["sha256"], hashlib.sha256(upload).hexdigest(), f"the hash of {method}")

    echo = json.loads(visitor.get(url("/echo?q=%20x"), headers={"X-A": "1"}).content)
    equal(echo["target"], "/echo?q=%20x", "the target unchanged")
    equal(fields_of(echo, "host"), [f"{HOST}:{FACTS['https']}"], "the host")
    equal(fields_of(echo, "x-forwarded-proto"), ["https"], "X-Forwarded-Proto")
    equal(fields_of(echo, "x-forwarded-for"), ["127.0.0.1"], "X-Forwarded-For")
    equal(visitor.get(url("/gzip")).content, b"hello\n", "a compressed answer")
    equal(visitor.get(url("/trailers")).content, b"body\n", "an answer with trailers")
    equal(visitor.get(url("/hints")).content, b"hints\n", "an answer after a 103")
    for index in range(200):
        if not equal(visitor.get(url("/hello")).content, b"hello\n", f"request {index} in a row"):
            break

# Without being told: HTTP/2 first, HTTP/3 once Alt-Svc was seen.
CURLALTSVC_H1_H2_H3 = 1 << 3 | 1 << 4 | 1 << 5
with session(curl_options={CurlOpt.ALTSVC: b"altsvc.txt", CurlOpt.ALTSVC_CTRL: CURLALTSVC_H1_H2_H3}) as visitor:
    answer = visitor.get(url("/hello"))
    check(answer.http_version in (20, 2, 3), "HTTP/2 comes first", answer.http_version)
    check(f'h3=":{FACTS["https"]}"' in answer.headers.get("alt-svc", ""), "Alt-Svc", answer.headers.get("alt-svc"))
    print("first", answer.http_version, "then", [visitor.get(url("/hello")).http_version for _ in range(3)])

# A new session with the stored Alt-Svc goes to HTTP/3 at once.
with session(curl_options={CurlOpt.ALTSVC: b"altsvc.txt", CurlOpt.ALTSVC_CTRL: CURLALTSVC_H1_H2_H3}) as visitor:
    equal(visitor.get(url("/hello")).http_version, HTTP3, "HTTP/3 by a remembered Alt-Svc")

finish(at_least=30)
