"""Upgrades one right after the other, then the end of the node, with exchanges open on HTTP/3: what can end in time is
answered whole, what cannot is told by H3_NO_ERROR; nobody is left waiting, and no connection to a newer edge is cut by
the older one whose sockets it has."""

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack

from quic import visit
from stage import FACTS, check, equal, finish

PATIENCE = 60
NO_ERROR = 0x100


async def until(is_so, what):
    try:
        async with asyncio.timeout(PATIENCE):
            while not is_so():
                await asyncio.sleep(0.02)
    except TimeoutError:
        check(False, what)


async def opened(stack, when):
    """A visitor with an upload that has begun."""
    visitor = await stack.enter_async_context(visit())
    equal((await visitor.ask("GET", "/hello")).status, "200", f"{when}: HTTP/3")
    upload = visitor.begin("POST", "/echo", is_ended=False)
    visitor.send(upload, b"12345")
    return visitor, upload


async def ends_whole(visitor, upload, what):
    visitor.send(upload, b"67890", is_ended=True)
    answer = await visitor.ended(upload, PATIENCE)
    equal((answer.status, json.loads(answer.body)["length"]), ("200", 10), what)


async def is_closed(visitor, what):
    await until(lambda: visitor.terminated is not None, f"{what}: it is told")
    equal(visitor.terminated and visitor.terminated.error_code, NO_ERROR, what)


async def upgrade(serving):
    """Orders one, and waits until the edge that served says GOAWAY."""
    os.kill(FACTS["pid"], signal.SIGUSR2)
    async with asyncio.timeout(PATIENCE):
        await serving.goaway_came.wait()


async def main():
    async with AsyncExitStack() as stack:
        short, short_upload = await opened(stack, "first edge")
        endless, _ = await opened(stack, "first edge")
        await upgrade(endless)
        check(short.terminated is None and endless.terminated is None, "the first edge keeps its connections")
        second, second_upload = await opened(stack, "second edge")
        waiting = asyncio.create_task(upgrade(second))
        # The first edge is told to let go now: what ends within drain_ms does so in order.
        await ends_whole(short, short_upload, "an upload at the first edge")
        await waiting
        await is_closed(endless, "an upload without end at the first edge")
        # The third edge reads the sockets that were the first one's.
        thirds = [await opened(stack, f"third edge, {number}") for number in range(6)]
        check(second.terminated is None, "the second edge keeps its connections")
        await ends_whole(second, second_upload, "an upload at the second edge")
        for number, (third, upload) in enumerate(thirds[1:]):
            await ends_whole(third, upload, f"an upload at the third edge, {number}")
        last, _ = thirds[0]
        os.kill(FACTS["pid"], signal.SIGTERM)
        await is_closed(last, "an upload without end when the node ends")


asyncio.run(main())
finish(at_least=20)
