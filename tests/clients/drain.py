"""SIGTERM while exchanges are open on HTTP/1.1, HTTP/2 and HTTP/3: each protocol tells its visitors to go, what is in
flight is answered whole, idle HTTP/1.1 connections get a last answer that says close, and the node ends with 0."""

import asyncio
import json
import os
import signal

from http2 import DATA, END_STREAM, GOAWAY, HEADERS, WINDOW, Peer, frame, get, post
from quic import visit
from stage import FACTS, HOST, check, connect, equal, finish


def read_answer(connection):
    whole = b""
    while b"\r\n\r\n" not in whole:
        more = connection.recv(65536)
        if not more:
            return None, b""
        whole += more
    head, body = whole.split(b"\r\n\r\n", 1)
    lines = head.lower().split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return head.lower(), body


def ask_until_close(connection):
    """Asks until an answer says close, and returns its head. Threads hear of a drain one after the other, so the first
    answers may come from before it; an end without such an answer is a bare close: None."""
    for _ in range(1000):
        try:
            connection.sendall(f"GET /hello HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            head, body = read_answer(connection)
        except OSError:
            return None
        if head is None or body != b"hello\n":
            return None
        if b"connection: close" in head:
            return head
    return None


def ended(peer):
    """The streams that ended well."""
    return {stream for kind, flags, stream, _ in peer.frames if kind in (HEADERS, DATA) and flags & END_STREAM}


async def main():
    # One idle HTTP/1.1 connection, one in the middle of an upload; the same for HTTP/2 and HTTP/3.
    idle, busy = connect("https", timeout=15), connect("http", timeout=15)
    idle.sendall(f"GET /hello HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    head, body = read_answer(idle)
    check(body == b"hello\n" and b"connection: close" not in head, "HTTP/1.1 stays open before", head)
    busy.sendall(f"POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\n12345".encode())

    second = Peer(settings=b"\0\x04\x7f\xff\xff\xff", timeout=15).settled()
    second.send(frame(WINDOW, 0, 0, b"\x7f\x00\x00\x00") + get(1))
    second.status(1)
    second.send(post(3) + frame(DATA, 0, 3, b"12345") + get(5, path="/bytes/3000000"))
    second.until(lambda kind, flags, stream, payload: kind == DATA and stream == 5)

    async with visit() as third:
        await third.ask("GET", "/hello")
        third_upload = third.begin("POST", "/echo", is_ended=False)
        third.send(third_upload, b"12345")
        third_download = third.begin("GET", "/bytes/5000000")
        await third.until(third_download, lambda answer: answer.length > 0)

        os.kill(FACTS["pid"], signal.SIGTERM)

        goaway = await asyncio.to_thread(second.until, lambda kind, *_: kind == GOAWAY)
        check(goaway and int.from_bytes(goaway[3][4:8], "big") == 0, "HTTP/2: GOAWAY with NO_ERROR", goaway)
        try:
            async with asyncio.timeout(15):
                await third.goaway_came.wait()
            check(third.goaway > third_download or third.goaway == (1 << 62) - 4,
                  "HTTP/3: GOAWAY spares what is in flight", (third.goaway, third_download))
        except TimeoutError:
            check(False, "HTTP/3: GOAWAY", third.terminated)

        # An idle connection's next request is answered, with close.
        head = await asyncio.to_thread(ask_until_close, idle)
        check(head, "HTTP/1.1: a last answer that says close", head)
        equal(await asyncio.to_thread(idle.recv, 1), b"", "HTTP/1.1: then the end")

        # A request after GOAWAY is rejected, so that the visitor may repeat it elsewhere (RFC 9114 section 5.2).
        late = third.begin("GET", "/hello")
        answer = await third.ended(late, 15)
        equal((answer.status, answer.reset), (None, 0x10B), "HTTP/3: a request after GOAWAY is rejected")

        # What was in flight ends whole.
        busy.sendall(b"67890")
        head, body = await asyncio.to_thread(read_answer, busy)
        check(head and json.loads(body)["length"] == 10, "HTTP/1.1: the upload is answered", head)
        if b"connection: close" not in head:
            # Then it is an idle connection like the other: a request more is answered, and that answer says close.
            head = await asyncio.to_thread(ask_until_close, busy)
        check(head and b"connection: close" in head, "HTTP/1.1: never a bare close after an answer", head)

        third.send(third_upload, b"67890", is_ended=True)
        answer = await third.ended(third_upload, 15)
        equal((answer.status, json.loads(answer.body)["length"]), ("200", 10), "HTTP/3: the upload is answered")
        answer = await third.ended(third_download, 15)
        equal((answer.status, answer.length), ("200", 5000000), "HTTP/3: the download ends whole")

        second.send(frame(DATA, END_STREAM, 3, b"67890"))
        await asyncio.to_thread(second.until, lambda *_: {3, 5} <= ended(second))
        equal({3, 5} & ended(second), {3, 5}, "HTTP/2: what is in flight ends")
        length = sum(len(payload) for kind, _, stream, payload in second.frames if kind == DATA and stream == 5)
        equal(length, 3000000, "HTTP/2: the bytes of the download")
        body = b"".join(payload for kind, _, stream, payload in second.frames if kind == DATA and stream == 3)
        equal(json.loads(body)["length"], 10, "HTTP/2: the upload is answered")
        last = [payload for kind, _, _, payload in second.frames if kind == GOAWAY][-1]
        check(int.from_bytes(last[:4], "big") >= 5, "HTTP/2: GOAWAY spares what is in flight", last)

    try:
        late = connect("http", timeout=5)
        late.sendall(f"GET /hello HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        equal(late.recv(1), b"", "no new connections")
    except OSError:
        check(True, "no new connections")


asyncio.run(main())
finish(at_least=11)
