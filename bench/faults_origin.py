#!/usr/bin/env python3
"""The origins behind `faults.py`: one for each site, each of which can be told to fail in one of five ways.

They answer as soak_origin.py does. A line on standard input, `SITE MODE`, changes one of them until the next:
`well`; `refuse` (the port is closed, and so is what was open); `hang` (connections are taken and never
answered); `slow` (two seconds before each answer); `garbage` (bytes that are no HTTP); `cut` (half an answer,
then the end). Each change is answered by a line. It judges nothing. Usage: faults_origin.py SITE ...; prints
`SITE ADDRESS` for each. Called by faults.py.
"""

import asyncio
import hashlib
import random
import sys

from soak_origin import answer, echo, raise_descriptor_limit, read_body, read_head

SLOW = 2


class Site:
    """One origin: its port, its mode, and who is connected."""

    def __init__(self, name):
        self.name, self.mode, self.port, self.server, self.open = name, "well", 0, None, set()

    async def listen(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]

    async def turn(self, mode):
        self.mode = mode
        if mode == "refuse":
            self.server.close()
            self.server = None
            for writer in list(self.open):
                writer.transport.abort()
        elif self.server is None:
            await self.listen()
        if mode == "well":
            # What was kept waiting is let go: who waits longer than the node has left.
            for writer in list(self.open):
                if getattr(writer, "is_stuck", False):
                    writer.transport.abort()

    async def serve(self, reader, writer):
        self.open.add(writer)
        try:
            while head := await read_head(reader):
                first, fields = head
                if self.mode == "slow":
                    await asyncio.sleep(SLOW)
                if self.mode == "hang":
                    writer.is_stuck = True
                    await asyncio.sleep(3600)
                if self.mode == "garbage":
                    writer.write(random.randbytes(400))
                    await writer.drain()
                    return
                if self.mode == "cut":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
                    await writer.drain()
                    return
                if fields.get(b"upgrade", b"").lower() == b"websocket":
                    return await echo(reader, writer, fields)
                digest, length = hashlib.sha256(), 0
                async for piece in read_body(reader, fields):
                    digest.update(piece)
                    length += len(piece)
                path = first.split(b" ")[1].decode().partition("?")[0]
                await answer(writer, path, f"{length} {digest.hexdigest()}".encode())
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever left is missed by the client, if it mattered
        finally:
            self.open.discard(writer)
            writer.close()


async def main():
    raise_descriptor_limit()
    sites = {name: Site(name) for name in sys.argv[1:]}
    for site in sites.values():
        await site.listen()
        print(f"{site.name} 127.0.0.1:{site.port}", flush=True)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().split():
        await sites[line[0]].turn(line[1])
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
