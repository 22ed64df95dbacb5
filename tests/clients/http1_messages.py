"""A table of HTTP/1 messages and what the running node must make of each: what the origin was told, or which
status refuses it; and whether a second, pipelined request on the same connection is still served.

Each message goes once in one write, and if short once byte by byte, since no outcome may depend on packets. The word is the listener: http or https.
"""

import json
from concurrent.futures import ThreadPoolExecutor

from stage import HOST, WORD, check, connect, equal, fields_of, finish

HOST_FIELD = f"Host: {HOST}\r\n".encode()
SECOND = b"GET /second HTTP/1.1\r\n" + HOST_FIELD + b"Connection: close\r\n\r\n"

# name, message, statuses, whether the second request is served, what /echo must say
CASES = []


def passes(name, message, second=True, **told):
    CASES.append((name, message, {200}, second, told))


def refuses(name, message, *statuses):
    """Refused with one of the statuses (400 if none is given) and a closed connection."""
    CASES.append((name, message, set(statuses or (400,)), False, {}))


def either(name, message, *statuses):
    """Where the RFC leaves a choice: passed whole with the second request served, or refused and closed."""
    CASES.append((name, message, {200} | set(statuses or (400,)), None, {}))


def head(line=b"GET /echo HTTP/1.1", fields=b"", host=HOST_FIELD):
    return line + b"\r\n" + host + fields + b"\r\n"


def post(fields, body=b""):
    return head(b"POST /echo HTTP/1.1", fields, HOST_FIELD) + body


def our_loop_token():
    """What the node writes into CDN-Loop; it is new with each start."""
    with connect(WORD) as connection:
        connection.sendall(head(fields=b"Connection: close\r\n"))
        whole = b""
        while more := connection.recv(65536):
            whole += more
        return fields_of(json.loads(whole.split(b"\r\n\r\n", 1)[1]), "cdn-loop")[0]


CHUNKED = b"Transfer-Encoding: chunked\r\n"


def chunked(body):
    return post(CHUNKED, body)


# Request lines (RFC 9112 section 3).
for method in (b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND", b"M-SEARCH", b"get", b"QUERY",
               b"X" * 30):
    passes(f"method {method[:10]!r}", head(method + b" /echo HTTP/1.1", b"Content-Length: 0\r\n"),
           method=method.decode())
passes("OPTIONS *", head(b"OPTIONS * HTTP/1.1"))
refuses("CONNECT", head(f"CONNECT {HOST}:80 HTTP/1.1".encode()), 400, 405, 501)
either("TRACE", head(b"TRACE /echo HTTP/1.1"), 405, 501)
passes("an empty line before", b"\r\n" + head())
refuses("a bare LF after the request line", head().replace(b"\r\n", b"\n", 1))
refuses("bare LFs everywhere", head().replace(b"\r\n", b"\n"))
refuses("a bare CR after the request line", head().replace(b"\r\n", b"\r", 1))
for version, statuses in [(b"HTTP/2.0", (400, 505)), (b"HTTP/3", (400, 505)), (b"HTTP/1.10", (400, 505)),
                          (b"HTTP/0.9", (400, 505)), (b"http/1.1", (400,)), (b"HTTP/1,1", (400,)),
                          (b"HTTP/1.", (400,)), (b"HTTP/", (400,)), (b"HTTP/1.1x", (400,)), (b"ICAP/1.0", (400,)),
                          (b"HTTP /1.1", (400,)), (b"HTTP/+1.1", (400,))]:
    refuses(f"version {version!r}", head(b"GET /echo " + version), *statuses)
passes("version HTTP/1.2", head(b"GET /echo HTTP/1.2"))
refuses("no version", head(b"GET /echo"))
refuses("no target", head(b"GET HTTP/1.1"))
refuses("two spaces before the target", head(b"GET  /echo HTTP/1.1"))
refuses("two spaces before the version", head(b"GET /echo  HTTP/1.1"))
refuses("a space after the version", head(b"GET /echo HTTP/1.1 "))
refuses("tabs between", head(b"GET\t/echo\tHTTP/1.1"))
refuses("a space before the method", head(b" GET /echo HTTP/1.1"))
refuses("a space in the target", head(b"GET /echo /x HTTP/1.1"))
for bad in (b"(", b"{", b"@", b'"', b"\x00", b"\x7f", b"\xe9", b":"):
    refuses(f"method with {bad!r}", head(b"G" + bad + b"T /echo HTTP/1.1"))
for bad in (b"\x00", b"\x01", b"\x0b", b"\x7f", b"\r"):
    refuses(f"target with {bad!r}", head(b"GET /echo" + bad + b"x HTTP/1.1"))
either("target with bytes above 127", head(b"GET /echo?\xc3\xa9 HTTP/1.1"))
either("target with a fragment", head(b"GET /echo#x HTTP/1.1"))
refuses("target without a slash", head(b"GET echo HTTP/1.1"))
refuses("target *, not OPTIONS", head(b"GET * HTTP/1.1"))
for target in ("/echo?a=%zz", "/echo?a=|&b={}", "/echo?", "/echo?a=../..", "/echo?%00", "/echo??", "/echo?" + "x" * 8000):
    passes(f"target {target[:20]}", head(f"GET {target} HTTP/1.1".encode()), target=target)
passes("target with dots, unchanged", head(b"GET /a/../echo HTTP/1.1"))
passes("absolute form", head(f"GET http://{HOST}/echo HTTP/1.1".encode()), target="/echo")
passes("absolute form in capitals", head(f"GET HTTP://{HOST.upper()}/echo HTTP/1.1".encode()), target="/echo")
refuses("absolute form that differs from Host", head(b"GET http://localhost/echo HTTP/1.1"))
refuses("absolute form with userinfo", head(f"GET http://a@{HOST}/echo HTTP/1.1".encode()))
refuses("absolute form of another scheme", head(f"GET ftp://{HOST}/echo HTTP/1.1".encode()), 400, 421)
refuses("absolute form without a host", head(b"GET http:///echo HTTP/1.1"))
refuses("authority form, not CONNECT", head(f"GET {HOST}:80 HTTP/1.1".encode()))
refuses("a target of 70,000 bytes", head(b"GET /" + b"x" * 70000 + b" HTTP/1.1"), 400, 414, 431)

# Host (RFC 9112 section 3.2).
refuses("no Host", head(host=b""))
refuses("two different Hosts", head(fields=b"Host: localhost\r\n"))
refuses("the same Host twice", head(fields=HOST_FIELD))
refuses("an empty Host", head(host=b"Host:\r\n"), 400, 421)
for bad in ("/x", "@x", " x", ",x", "?x", "#x", ":x", ":99999", ":80:80", "\\x", "%00", "\tx"):
    refuses(f"Host with {bad!r} after it", head(host=f"Host: {HOST}{bad}\r\n".encode()), 400, 421)
refuses("Host with userinfo", head(host=f"Host: a@{HOST}\r\n".encode()))
passes("Host in capitals", head(host=f"HOST: {HOST.upper()}\r\n".encode()))
passes("Host with a port", head(host=f"Host: {HOST}:8080\r\n".encode()))
either("Host with a dot after it", head(host=f"Host: {HOST}.\r\n".encode()), 400, 421)
CASES.append(("Host that no zone has", head(host=b"Host: nobody.example\r\n"), {421}, None, {}))
refuses("HTTP/1.0 without Host", b"GET /echo HTTP/1.0\r\n\r\n", 400, 421)

# Field lines (RFC 9112 section 5).
refuses("a space before the colon", head(fields=b"X-A : 1\r\n"))
refuses("a tab before the colon", head(fields=b"X-A\t: 1\r\n"))
refuses("a continued line", head(fields=b"X-A: 1\r\n 2\r\n"))
refuses("a line continued by a tab", head(fields=b"X-A: 1\r\n\t2\r\n"))
refuses("a first field line that begins with a space", head(host=b" " + HOST_FIELD))
refuses("a line of a space", head(fields=b" \r\n"))
refuses("a line without a colon", head(fields=b"X-A\r\n"))
refuses("an empty name", head(fields=b": 1\r\n"))
for bad in b'()<>@,;\\"/[]?={} \x00\x01\x7f\x80\xff\r':
    refuses(f"a name with {bytes([bad])!r}", head(fields=b"X-" + bytes([bad]) + b"A: 1\r\n"))
for bad in (b"\x00", b"\x01", b"\x08", b"\x0b", b"\x1f", b"\x7f", b"\r", b"\n", b"\rX-B: 2", b"\nX-B: 2"):
    refuses(f"a value with {bad!r}", head(fields=b"X-A: 1" + bad + b"1\r\n"))
passes("a name of all other characters", head(fields=b"!#$%&'*+-.^_`|~09aZ: 1\r\n"))
passes("a value with a tab", head(fields=b"X-A: 1\t2\r\n"), fields={"x-a": ["1\t2"]})
passes("a value with bytes above 127", head(fields=b"X-A: \xe9\xff\r\n"), fields={"x-a": ["\xe9\xff"]})
passes("an empty value", head(fields=b"X-A:\r\nX-B: \r\n"), fields={"x-a": [""], "x-b": [""]})
passes("spaces around a value", head(fields=b"X-A: \t 1 2 \t \r\n"), fields={"x-a": ["1 2"]})
passes("no space after the colon", head(fields=b"X-A:1\r\n"), fields={"x-a": ["1"]})
passes("a colon in a value", head(fields=b"X-A::\r\n"), fields={"x-a": [":"]})
passes("the order of equal names", head(fields=b"X-A: 1\r\nX-B: 2\r\nx-a: 3\r\n"), fields={"x-a": ["1", "3"]})
passes("100 fields", head(fields=b"".join(b"X-%d: 1\r\n" % index for index in range(100))))
either("200 fields, more than the zone takes", head(fields=b"".join(b"X-%d: 1\r\n" % index for index in range(200))), 431)
refuses("1,000 fields, more than the parser takes", head(fields=b"".join(b"X-%d: 1\r\n" % index for index in range(1000))),
        431)
passes("a value of 16,000 bytes", head(fields=b"X-A: " + b"x" * 16000 + b"\r\n"), fields={"x-a": ["x" * 16000]})
refuses("a value of 70,000 bytes", head(fields=b"X-A: " + b"x" * 70000 + b"\r\n"), 431)
refuses("a name of 70,000 bytes", head(fields=b"x" * 70000 + b": 1\r\n"), 431)

# Content-Length (RFC 9110 section 8.6, RFC 9112 section 6.3).
passes("a length", post(b"Content-Length: 5\r\n", b"12345"), length=5)
passes("a length of 0", post(b"Content-Length: 0\r\n"), length=0)
passes("a length with spaces around", post(b"Content-Length: \t5 \r\n", b"12345"), length=5)
passes("POST without a body", post(b""), length=0)
passes("GET with a body", head(fields=b"Content-Length: 5\r\n") + b"12345", length=5)
for bad in (b"+5", b"-5", b"5,5", b"5, 5", b"5,6", b"5 5", b"0x5", b"", b"5.0", b"5e0", b"five", b"5;", b'"5"', b"5\x00",
            b"\xd9\xa5", b"99999999999999999999", b"18446744073709551621", b"5\x0b", b"5_0", b",5", b"5,", b"0 5", b"5\xa0"):
    refuses(f"length {bad!r}", post(b"Content-Length: " + bad + b"\r\n", b"12345"), 400, 413)
refuses("two lengths", post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"12345"))
refuses("the same length twice", post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"12345"))
refuses("two lengths in other case", post(b"Content-Length: 5\r\ncontent-length: 0\r\n", b"12345"))
either("a length with zeros before", post(b"Content-Length: 0005\r\n", b"12345"))
refuses("a continued length", post(b"Content-Length:\r\n 5\r\n", b"12345"))
refuses("a length with a space before the colon", post(b"Content-Length : 5\r\n", b"12345"))
passes("a body that looks like a request", post(b"Content-Length: %d\r\n" % len(SECOND), SECOND), length=len(SECOND))

# Transfer-Encoding (RFC 9112 sections 6.1, 6.3).
WHOLE = b"5\r\n12345\r\n0\r\n\r\n"
passes("chunked", chunked(WHOLE), length=5)
passes("chunked in other case", post(b"transfer-encoding: ChUnKeD\r\n", WHOLE), length=5)
passes("GET with a chunked body", head(fields=CHUNKED) + WHOLE, length=5)
refuses("chunked and a length", post(CHUNKED + b"Content-Length: 15\r\n", WHOLE))
refuses("a length and chunked", post(b"Content-Length: 15\r\n" + CHUNKED, WHOLE))
refuses("chunked twice", post(CHUNKED + CHUNKED, WHOLE))
for bad in (b"chunked, chunked", b"gzip, chunked", b"identity", b"chunked, identity", b"chunked;q=1", b"xchunked",
            b"chunkedx", b"\x0bchunked", b"chunked\x00", b"", b"gzip", b'"chunked"', b"chunked,", b",chunked", b"chun ked",
            b"x, chunked", b"chunked\x0c", b"trailers", b"cow"):
    refuses(f"coding {bad!r}", post(b"Transfer-Encoding: " + bad + b"\r\n", WHOLE), 400, 501)
refuses("identity and a length", post(b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n", b"12345"), 400, 501)
refuses("chunked, a space before the colon", post(b"Transfer-Encoding : chunked\r\n", WHOLE))
refuses("chunked, continued", post(b"Transfer-Encoding:\r\n chunked\r\n", WHOLE))
refuses("chunked on a line that begins with a space", post(b"X: 1\r\n Transfer-Encoding: chunked\r\n", WHOLE))
refuses("chunked in HTTP/1.0", head(b"POST /echo HTTP/1.0", CHUNKED) + WHOLE)
refuses("chunked after a bare CR", post(b"X: 1\rTransfer-Encoding: chunked\r\n", WHOLE))
refuses("chunked after a bare LF", post(b"X: 1\nTransfer-Encoding: chunked\r\n", WHOLE))

# Chunks (RFC 9112 section 7.1).
passes("two chunks", chunked(b"3\r\n123\r\n2\r\n45\r\n0\r\n\r\n"), length=5)
passes("a chunk size in capitals", chunked(b"A\r\n1234567890\r\n0\r\n\r\n"), length=10)
passes("a chunk size in small letters", chunked(b"a\r\n1234567890\r\n0\r\n\r\n"), length=10)
either("zeros before a chunk size", chunked(b"0005\r\n12345\r\n000\r\n\r\n"))
passes("no chunks", chunked(b"0\r\n\r\n"), length=0)
passes("a chunk extension", chunked(b"5;a\r\n12345\r\n0;b=c\r\n\r\n"), length=5)
passes("a chunk extension in quotes", chunked(b'5;a="b;c"\r\n12345\r\n0\r\n\r\n'), length=5)
passes("trailers", chunked(b"5\r\n12345\r\n0\r\nX-T: 1\r\n\r\n"), length=5)
for bad in (b"0x5", b"+5", b"-5", b"", b"g", b" 5", b"5g", b"5,", b"\x005", b"5\x00", b"5\xa0", b"10000000000000005", b"fffffffffffffffff",
            b"5\x0b", b"5.", b"5_"):
    refuses(f"chunk size {bad!r}", chunked(bad + b"\r\n12345\r\n0\r\n\r\n"))
either("a space after a chunk size", chunked(b"5 \r\n12345\r\n0\r\n\r\n"))
refuses("a bare LF after a chunk size", chunked(b"5\n12345\r\n0\r\n\r\n"))
refuses("a bare CR after a chunk size", chunked(b"5\r12345\r\n0\r\n\r\n"))
refuses("a bare LF after a chunk", chunked(b"5\r\n12345\n0\r\n\r\n"))
refuses("a bare LF after the last chunk", chunked(b"5\r\n12345\r\n0\n\r\n"))
refuses("a bare LF at the very end", chunked(b"5\r\n12345\r\n0\r\n\n") + b"\r\n")
refuses("a bare LF in a chunk extension", chunked(b"5;a\nb\r\n12345\r\n0\r\n\r\n"))
refuses("a bare CR in a chunk extension", chunked(b"5;a\rb\r\n12345\r\n0\r\n\r\n"))
refuses("a NUL in a chunk extension", chunked(b"5;a\x00b\r\n12345\r\n0\r\n\r\n"))
refuses("a chunk longer than its size", chunked(b"5\r\n123456\r\n0\r\n\r\n"))
refuses("a chunk shorter than its size", chunked(b"5\r\n1234\r\n0\r\n\r\n"))
refuses("no line end after a chunk", chunked(b"5\r\n123450\r\n\r\n"))
refuses("a chunk extension of 100,000 bytes", chunked(b"5;" + b"a" * 100000 + b"\r\n12345\r\n0\r\n\r\n"), 400, 413, 431)
refuses("many chunk extensions", chunked(b"1;" + b"a" * 4000 + b"\r\n1\r\n") + (b"1;" + b"a" * 4000 + b"\r\n1\r\n") * 40 +
        b"0\r\n\r\n", 400, 413, 431)
for bad in (b"X T: 1\r\n", b"X-T : 1\r\n", b": 1\r\n", b"X-T\r\n", b"X-T: \x001\r\n", b"X-T: 1\nX-U: 2\r\n", b"X-T: 1\r\n 2\r\n"):
    refuses(f"trailer {bad!r}", chunked(b"5\r\n12345\r\n0\r\n" + bad + b"\r\n"))
refuses("trailers of 100,000 bytes", chunked(b"5\r\n12345\r\n0\r\nX-T: " + b"x" * 100000 + b"\r\n\r\n"), 400, 431)
either("a length among the trailers", chunked(b"5\r\n12345\r\n0\r\nContent-Length: 9\r\n\r\n"))
either("a coding among the trailers", chunked(b"5\r\n12345\r\n0\r\nTransfer-Encoding: x\r\n\r\n"))

# Connection and hop-by-hop fields (RFC 9110 section 7.6.1, RFC 9112 section 9).
passes("close", head(fields=b"Connection: close\r\n"), second=False)
passes("Close in capitals, in a list", head(fields=b"Connection: x, CLOSE\r\n"), second=False)
passes("keep-alive", head(fields=b"Connection: keep-alive\r\n"))
passes("HTTP/1.0", head(b"GET /echo HTTP/1.0"), second=False)
passes("HTTP/1.0 with keep-alive", head(b"GET /echo HTTP/1.0", b"Connection: keep-alive\r\n"), second=None)
passes("a nominated field", head(fields=b"Connection: x-a\r\nX-A: 1\r\nX-B: 2\r\n"), fields={"x-a": [], "x-b": ["2"]})
passes("Keep-Alive, Proxy-Connection", head(fields=b"Keep-Alive: x=1\r\nProxy-Connection: y\r\n"),
       fields={"keep-alive": [], "proxy-connection": []})
passes("TE: gzip", head(fields=b"TE: gzip\r\nConnection: TE\r\n"), fields_without=["gzip"])
passes("Upgrade: h2c is ignored", head(fields=b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                                       b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n"), fields={"http2-settings": []})
either("Content-Length nominated as hop by hop", post(b"Connection: content-length\r\nContent-Length: 5\r\n", b"12345"))
either("Host nominated as hop by hop", head(fields=b"Connection: host\r\n"))
passes("X-Forwarded-For of a stranger", head(fields=b"X-Forwarded-For: 192.0.2.1\r\n"),
       fields={"x-forwarded-for": ["127.0.0.1"]})
passes("X-Forwarded-Proto of a stranger", head(fields=b"X-Forwarded-Proto: ftp\r\n"),
       fields={"x-forwarded-proto": [WORD]})
CASES.append(("CDN-Loop with our name", head(fields=f"CDN-Loop: other, {our_loop_token()}; a=b\r\n".encode()), {508}, None,
              {}))
passes("CDN-Loop with another's name", head(fields=b"CDN-Loop: other\r\n"))

# Expect (RFC 9110 section 10.1.1).
passes("Expect: 100-continue", post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"12345"), length=5)
passes("Expect: 100-Continue, chunked", post(b"Expect: 100-Continue\r\n" + CHUNKED, WHOLE), length=5)
passes("Expect without a body", head(fields=b"Expect: 100-continue\r\n"))
CASES.append(("another expectation", head(fields=b"Expect: the-unexpected\r\n"), {417}, None, {}))

# What is not HTTP at all.
for name, bytes_ in [("a TLS hello", bytes.fromhex("16030100a5010000a10303") + b"\x00" * 160), ("zeros", b"\x00" * 100),
                     ("an SSH banner", b"SSH-2.0-OpenSSH_9.2\r\n"), ("a bare request", b"GET /\r\n"),
                     ("a PROXY header where none is wanted", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + head()),
                     ("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
                     ("a broken HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")]:
    CASES.append((name, bytes_, {None, 400, 505}, False, {}))


class Answers:
    """Reads answers to GET or POST from a connection, strictly, until it ends."""

    def __init__(self, connection):
        self.connection, self.buffer, self.is_ended = connection, b"", False

    def fill(self):
        try:
            more = self.connection.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            more = b""
        self.buffer += more
        self.is_ended = not more
        return bool(more)

    def take(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                raise EOFError(f"ended within a body: {self.buffer[:200]!r}")
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def line(self):
        while b"\r\n" not in self.buffer:
            if not self.fill():
                raise EOFError(f"ended within a line: {self.buffer[:200]!r}")
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def next(self):
        """Status, body and fields of the next final answer; None at a clean end."""
        while True:
            if not self.buffer and not self.fill():
                return None
            status = int(self.line().split(b" ")[1])
            fields = {}
            while line := self.line():
                name, value = line.split(b":", 1)
                fields[name.lower()] = value.strip()
            if status >= 200:
                break
        if fields.get(b"transfer-encoding") == b"chunked":
            body = b""
            while size := int(self.line(), 16):
                body += self.take(size)
                self.line()
            while self.line():
                pass
        elif b"content-length" in fields:
            body = self.take(int(fields[b"content-length"]))
        else:
            while self.fill():
                pass
            body, self.buffer = self.buffer, b""
        return status, body, fields


def outcome(message, in_bytes):
    with connect(WORD) as connection:
        try:
            if in_bytes:
                for index in range(len(message)):
                    connection.sendall(message[index : index + 1])
                connection.sendall(SECOND)
            else:
                connection.sendall(message + SECOND)
        except (ConnectionResetError, BrokenPipeError):
            pass
        answers, found = Answers(connection), []
        try:
            while len(found) < 5 and (answer := answers.next()):
                found.append(answer)
        except (EOFError, ValueError, IndexError, TimeoutError) as error:
            found.append((f"{type(error).__name__}: {error}", b"", {}))
        return found


def judge(case, in_bytes):
    name, message, statuses, second, told = case
    name = f"{name}{', byte by byte' if in_bytes else ''}"
    found = outcome(message, in_bytes)
    seen = [answer[0] for answer in found]
    context = {"sent": message[:300], "answers": seen, "expected": [sorted(statuses, key=str), second]}
    first = seen[0] if seen else None
    if not check(first in statuses, f"{name}: the status", context):
        return
    if first != 200 and first is not None:
        body = found[0][1]
        check(len(body) > 0, f"{name}: a page that says why", context)
    if second is True or (second is None and len(seen) > 1):
        if check(len(seen) == 2 and seen[1] == 200, f"{name}: the second request is served", context):
            check(found[1][1] == b"hello\n", f"{name}: the second answer is that of the second request", found[1][1])
    else:
        check(len(seen) <= 1, f"{name}: the second request is not served", context)
        if first is not None:
            check(found[0][2].get(b"connection") == b"close", f"{name}: the answer says close", found[0][2])
    if not told or first != 200:
        return
    echo = json.loads(found[0][1])
    for key in ("method", "target", "length"):
        if key in told:
            equal(echo[key], told[key], f"{name}: the {key} at the origin")
    for field, values in told.get("fields", {}).items():
        equal(fields_of(echo, field), values, f"{name}: the field {field} at the origin")
    for word in told.get("fields_without", []):
        check(word not in json.dumps(echo["fields"]), f"{name}: {word} does not reach the origin", echo["fields"])


def pipelined():
    """Many requests in one write are answered in order, bodies included."""
    count = 50
    with connect(WORD) as connection:
        whole = b""
        for index in range(count):
            body = b"x" * index
            whole += post(b"Content-Length: %d\r\n" % index, body).replace(b"/echo", b"/echo?%d" % index)
        connection.sendall(whole + SECOND)
        answers = Answers(connection)
        for index in range(count):
            answer = answers.next()
            if not check(answer is not None and answer[0] == 200, f"pipelined request {index}", answer):
                return
            echo = json.loads(answer[1])
            equal((echo["target"], echo["length"]), (f"/echo?{index}", index), f"pipelined request {index}")
        equal(answers.next()[1], b"hello\n", "the last of the pipelined requests")
        equal(answers.next(), None, "the end after pipelined requests")


with ThreadPoolExecutor(16) as threads:
    runs = [(case, False) for case in CASES] + [(case, True) for case in CASES if len(case[1]) < 400]
    for done in [threads.submit(judge, *run) for run in runs]:
        done.result()
pipelined()
print(f"{len(CASES)} messages")
check(len(CASES) >= 150, "at least 150 messages", len(CASES))
finish(at_least=500)
