"""Performs the calls of a site over HTTP/3 for testkit::compare, on aioquic, which nobody here wrote.

A command is a line of JSON on standard input, followed by the request's body; each call has a connection of its own.
Answered are lines of JSON: `{"event": true}` for each block that ended with an empty line, `{"frame": HEX}` for each
WebSocket frame, and at the end the outcome, or `{"error": WORDS}`. It judges nothing. Ends with its input.
"""

import asyncio
import hashlib
import json
import signal
import sys

from quic import Visitor, visit
from stage import SECONDS_MAX


class SiteVisitor(Visitor):
    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        # aioquic takes the length that HEAD or 304 declares for that of a body, and ends the connection.
        self.http._check_content_length = lambda stream: None


def tell(what):
    print(json.dumps(what), flush=True)


def pairs(head):
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in head if not name.startswith(b":")]


def frame_length(buffer):
    """Bytes of the first frame, which is not masked; None if it is not all there."""
    if len(buffer) < 2:
        return None
    length, at = buffer[1] & 127, 2
    if length > 125:
        size = 2 if length == 126 else 8
        length, at = int.from_bytes(buffer[2 : 2 + size], "big"), 2 + size
    return at + length if len(buffer) >= at + length else None


async def next_frame(visitor, stream):
    answer = await visitor.until(stream, lambda answer: answer.is_ended or frame_length(answer.body))
    length = frame_length(answer.body)
    if length is None:
        return False
    tell({"frame": bytes(answer.body[:length]).hex()})
    del answer.body[:length]
    return True


async def converse(visitor, stream, call):
    answer = await visitor.until(stream, lambda answer: answer.status or answer.is_ended)
    if answer.status == "200":
        for _ in range(call["pushed"]):
            await next_frame(visitor, stream)
        *frames, close = call["frames"]
        for frame in frames:
            visitor.send(stream, bytes.fromhex(frame))
            await next_frame(visitor, stream)
        visitor.send(stream, bytes.fromhex(close), is_ended=True)
        while await next_frame(visitor, stream):
            pass
    return answer


async def fetch(visitor, stream):
    digest, length, last = hashlib.sha256(), 0, b""
    while True:
        answer = await visitor.until(stream, lambda answer: answer.is_ended or answer.body)
        part = bytes(answer.body)
        answer.body.clear()
        digest.update(part)
        length += len(part)
        for _ in range((last + part).count(b"\n\n")):
            tell({"event": True})
        last = b"\n" if part.endswith(b"\n") and not part.endswith(b"\n\n") else b"" if part else last
        if answer.is_ended and not answer.body:
            return answer, length, digest.hexdigest()


async def perform(call, body):
    async with visit(call["port"], create=SiteVisitor) as visitor:
        is_websocket = call["frames"] is not None
        method = "CONNECT" if is_websocket else call["method"]
        stream = visitor.begin(method, call["target"], call["fields"], authority=call["host"],
                               is_ended=not call["has_body"] and not is_websocket,
                               protocol="websocket" if is_websocket else None)
        length, digest = 0, hashlib.sha256(b"").hexdigest()
        if is_websocket:
            answer = await converse(visitor, stream, call)
        else:
            if call["has_body"]:
                visitor.send(stream, body, is_ended=not call["trailers"])
                if call["trailers"]:
                    visitor.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in call["trailers"]],
                                              end_stream=True)
                    visitor.transmit()
            answer, length, digest = await fetch(visitor, stream)
        if answer.reset is not None or not answer.heads:
            raise EOFError(f"reset with {answer.reset}")
        heads = [head for head in answer.heads if b":status" in dict(head)]
        statuses = [int(dict(head)[b":status"]) for head in heads]
        trailers = [] if b":status" in dict(answer.heads[-1]) else answer.heads[-1]
        tell({"status": statuses[-1], "fields": pairs(heads[-1]), "length": length, "sha256": digest,
              "informational": [[status, pairs(head)] for status, head in zip(statuses[:-1], heads)],
              "trailers": pairs(trailers)})


for line in sys.stdin.buffer:
    call = json.loads(line)
    body = sys.stdin.buffer.read(call["body_bytes"])
    signal.alarm(SECONDS_MAX)
    try:
        asyncio.run(perform(call, body))
    except Exception as error:  # whatever it was, the comparison names it
        tell({"error": repr(error)})
