"""A supervisor that dies and is started again: QUIC visitors of edges that it knows from hearsay alone are told, too,
when these end or have to let go of their sockets."""

import asyncio
import os
import signal
import subprocess
from contextlib import AsyncExitStack

from quic import visit
from stage import FACTS, check, equal, finish
from strays_of import Watching, edges

PATIENCE = 60


class Supervisor:
    """`rempart serve` on the node's own folder."""

    def __init__(self):
        self.log = open(os.path.join(FACTS["folder"], "second.log"), "w+", encoding="utf-8")
        command = [FACTS["binary"], "serve", "--config", FACTS["config"]]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def said(self):
        with open(self.log.name, encoding="utf-8") as file:
            return file.read()

    async def until_said(self, what, count=1):
        async with asyncio.timeout(PATIENCE):
            while self.said().count(f'"event":"{what}"') < count:
                check(self.process.poll() is None, "the second supervisor runs", self.said())
                await asyncio.sleep(0.02)

    def end(self):
        self.process.terminate()
        equal(self.process.wait(PATIENCE), 0, "the second supervisor ends well")


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

        os.kill(FACTS["pid"], signal.SIGKILL)
        supervisor = Supervisor()
        await supervisor.until_said("ready")
        # The third edge reads the sockets of the first, which is no child of anybody who knows it.
        await at_oldest.until_told()
        # By the edge itself, or by whoever reads its socket next and was asked sooner.
        code = at_oldest.terminated and at_oldest.terminated.error_code
        check(code == 0x100 or at_oldest.is_reset, "the first edge lets go, and its visitor is told", code)
        await serves("third edge")
        check(not at_orphan.is_told, "the second edge keeps its connection")
        os.kill(orphan, signal.SIGKILL)
        await at_orphan.until_told()
        check(at_orphan.is_reset, "a visitor of the second edge, which was killed, is told", at_orphan.terminated)
        await serves("after the kill")
        supervisor.end()


asyncio.run(main())
finish(at_least=18)
