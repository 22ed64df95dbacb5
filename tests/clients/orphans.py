"""A supervisor that dies and is started again: QUIC visitors of edges that it knows from hearsay alone are told, too,
when these end or have to let go of their sockets."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack

from orphaned import Supervisor, kill_supervisor
from quic import visit
from stage import FACTS, check, equal, finish
from strays_of import Watching, edges

PATIENCE = 60


async def opened(stack, when):
    visitor = await stack.enter_async_context(visit(create=Watching))
    equal((await visitor.ask("GET", "/hello")).status, "200", f"{when}: HTTP/3")
    upload = visitor.begin("POST", "/echo", is_ended=False)
    visitor.send(upload, b"12345")
    return visitor


async def serves(when):
    for again in range(6):
        async with visit() as after:
            equal((await after.ask("GET", "/hello")).status, "200", f"{when}: a new connection, {again}")


async def main():
    async with AsyncExitStack() as stack:
        [oldest] = edges(FACTS["pid"])
        at_oldest = await opened(stack, "first edge")
        os.kill(FACTS["pid"], signal.SIGUSR2)
        async with asyncio.timeout(PATIENCE):
            await at_oldest.goaway_came.wait()
        async with asyncio.timeout(PATIENCE):
            while not (newer := [edge for edge in edges(FACTS["pid"]) if edge != oldest]):
                await asyncio.sleep(0.02)
        [orphan] = newer
        at_orphan = await opened(stack, "second edge")
        check(at_oldest.terminated is None, "the first edge keeps its connection")

        await kill_supervisor()
        supervisor = Supervisor()
        await supervisor.until_said("ready")
        # The third edge reads the sockets of the first, which is no child of anybody who knows it.
        await at_oldest.until_told()
        equal(at_oldest.terminated and at_oldest.terminated.error_code, 0x100, "the first edge lets go, and says so")
        await serves("third edge")
        check(not at_orphan.is_told, "the second edge keeps its connection")
        os.kill(orphan, signal.SIGKILL)
        await at_orphan.until_told()
        check(at_orphan.is_reset, "a visitor of the second edge, which was killed, is told", at_orphan.terminated)
        await serves("after the kill")
        supervisor.end()


asyncio.run(main())
finish(at_least=18)
