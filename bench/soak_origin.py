#!/usr/bin/env python3
"""The origin behind the soak: answers whose content the client can check.

GET /bytes/N answers with the first N bytes of CONTENT; POST /digest with length and SHA-256 of the body;
GET /events/N with N server-sent events, one a second, each with its number and when it was sent; an upgrade becomes a WebSocket that echoes. It prints
its address. It judges nothing: that is the client's part. Usage: soak_origin.py ADDRESS; called by soak.py.
"""

import asyncio
import base64
import hashlib
import random
import resource
import sys
import time

CONTENT = random.Random(7).randbytes(1 << 20)
WEBSOCKET_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def accept_key(key):
    return base64.b64encode(hashlib.sha1(key + WEBSOCKET_KEY).digest())


async def read_head(reader):
    """First line and fields in lower case, or None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as why:
        if why.partial:
            raise
        return None
    first, *lines = head[:-4].split(b"\r\n")
    fields = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields[name.strip().lower()] = value.strip()
    return first, fields


async def read_body(reader, fields):
    """Pieces of a body framed by length or chunks."""
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        while size := int((await reader.readline()).split(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        while (await reader.readline()).strip():
            pass
        return
    left = int(fields.get(b"content-length", b"0"))
    while left:
        piece = await reader.read(min(left, 65536))
        if not piece:
            raise ConnectionError(f"the body ended {left} bytes early")
        left -= len(piece)
        yield piece


async def read_events(reader, fields):
    """Server-sent events of a body. Chunks may be joined and split on the way (RFC 9112 section 7.1)."""
    text = b""
    async for piece in read_body(reader, fields):
        *events, text = (text + piece).split(b"\n\n")
        for event in events:
            yield event + b"\n\n"
    if text:
        raise ConnectionError(f"the stream ended within {text!r}")


def parse_event(event):
    """Number of an event, and when it was sent: seconds of the machine's monotonic clock, that of every process."""
    number, sent = event.removeprefix(b"data: ").split()
    return int(number), float(sent)


async def read_frame(reader):
    """First byte and payload of a WebSocket frame, unmasked."""
    first, second = await reader.readexactly(2)
    length = second & 127
    if length > 125:
        length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
    mask = await reader.readexactly(4) if second & 128 else None
    payload = await reader.readexactly(length)
    return first, masked(payload, mask) if mask else payload


def masked(payload, mask):
    whole = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big")


def frame(first, payload, mask=None):
    length = len(payload)
    bit = 128 if mask else 0
    if length < 126:
        head = bytes([first, bit | length])
    else:
        head = bytes([first, bit | 126]) + length.to_bytes(2, "big")
    return head + (mask + masked(payload, mask) if mask else payload)


async def echo(reader, writer, fields):
    accept = accept_key(fields[b"sec-websocket-key"])
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    while True:
        first, payload = await read_frame(reader)
        writer.write(frame(first, payload))
        if first & 15 == 8:
            return await writer.drain()


async def answer(writer, path, body_digest):
    word, _, number = path.strip("/").partition("/")
    if word == "bytes":
        body = CONTENT[: int(number)]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    elif word == "digest":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body_digest) + body_digest)
    elif word == "events":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n")
        for count in range(int(number)):
            event = b"data: %d %.6f\n\n" % (count, time.monotonic())
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(1)
        writer.write(b"0\r\n\r\n")
    else:
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def serve(reader, writer):
    try:
        while head := await read_head(reader):
            first, fields = head
            if fields.get(b"upgrade", b"").lower() == b"websocket":
                return await echo(reader, writer, fields)
            digest, length = hashlib.sha256(), 0
            async for piece in read_body(reader, fields):
                digest.update(piece)
                length += len(piece)
            path = first.split(b" ")[1].decode()
            await answer(writer, path, f"{length} {digest.hexdigest()}".encode())
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # whoever left is missed by the client, if it mattered
    finally:
        writer.close()


async def main():
    raise_descriptor_limit()
    host, _, port = sys.argv[1].rpartition(":")
    server = await asyncio.start_server(serve, host, int(port), backlog=1024)
    print("%s:%d" % server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
