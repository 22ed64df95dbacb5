"""A candidate of a supervisor that dies keeps its QUIC connections while it drains, and the candidate of the next
supervisor leaves the UDP sockets to it: two that read one socket would each take half of the other's packets."""

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack

from orphaned import Supervisor, kill_supervisor
from quic import visit
from stage import FACTS, check, equal, finish
from strays_of import Watching

PATIENCE = 60
ZONE = os.path.join(FACTS["folder"], "zones", "clients.toml")


def write_zone(whole, who):
    with open(ZONE, "w", encoding="utf-8") as file:
        file.write(f'{whole}\n[[route]]\npath = "/who"\nanswer = {{ status = 200, body = "{who}" }}\n')


async def who_answers(visitor):
    return bytes((await visitor.ask("GET", "/who")).body).decode()


async def visitor_of(stack, who):
    """A visitor with a QUIC connection to whoever says that; a candidate has half of the visitors."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with AsyncExitStack() as tried:
                visitor = await tried.enter_async_context(visit(create=Watching))
                if await who_answers(visitor) == who:
                    stack.push_async_exit(tried.pop_all())
                    return visitor
            await asyncio.sleep(0.02)


async def main():
    with open(ZONE, encoding="utf-8") as file:
        whole = file.read()
    async with AsyncExitStack() as stack:
        write_zone(whole, "second")
        os.kill(FACTS["pid"], signal.SIGHUP)
        at_candidate = await visitor_of(stack, "second")
        upload = at_candidate.begin("POST", "/echo", is_ended=False)
        at_candidate.send(upload, b"12345")

        await kill_supervisor()
        supervisor = Supervisor()
        await supervisor.until_said("ready")
        check(not at_candidate.is_told, "the candidate keeps its connection")
        write_zone(whole, "third")
        os.kill(supervisor.process.pid, signal.SIGHUP)
        await supervisor.until_status(lambda now: now["publishing"]["stage"] == "canary")
        # Packets of the first candidate's visitor: each would be reset by whoever else reads its socket.
        for _ in range(40):
            at_candidate.send(upload, b"67890")
            await at_candidate.ping()
        at_candidate.send(upload, b"", is_ended=True)
        answer = await at_candidate.ended(upload, PATIENCE)
        equal((answer.status, json.loads(answer.body)["length"]), ("200", 5 + 40 * 5), "an upload at the first candidate")
        check(not at_candidate.is_reset, "nobody else reads its socket")
        supervisor.end()


asyncio.run(main())
finish(at_least=4)
