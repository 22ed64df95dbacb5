"""Packets of QUIC connections whose process is gone: the visitor is told at once, by a stateless reset that only the
node can make (RFC 9000 §10.3)."""

import asyncio
import os
import signal

from quic import visit
from stage import FACTS, check, equal, finish
from strays_of import Watching, edges

PATIENCE = 60


async def upgrade(before):
    os.kill(FACTS["pid"], signal.SIGUSR2)
    async with asyncio.timeout(PATIENCE):
        await before.goaway_came.wait()


async def serves(when):
    for again in range(8):
        async with visit() as after:
            equal((await after.ask("GET", "/hello")).status, "200", f"{when}: a new connection, {again}")


async def killed():
    """The edge that drains after an upgrade is killed: nobody reads its sockets, but for the one that took over."""
    [older] = edges(FACTS["pid"])
    async with visit(create=Watching) as before:
        equal((await before.ask("GET", "/hello")).status, "200", "before the upgrade")
        upload = before.begin("POST", "/echo", is_ended=False)
        before.send(upload, b"12345")
        await upgrade(before)
        check(not before.is_told, "the older edge has the connection yet")
        os.kill(older, signal.SIGKILL)
        await before.until_told()
        check(before.is_reset, "a visitor of the edge that was killed is told", before.terminated)
    await serves("after the kill")


async def main():
    await killed()


asyncio.run(main())
finish(at_least=11)
