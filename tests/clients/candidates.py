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


class Upload:
    """A body that is sent piece by piece, and is never so slow that anybody gives it up."""

    def __init__(self, visitor):
        self.visitor, self.length = visitor, 0
        self.stream = visitor.begin("POST", "/echo", is_ended=False)
        self.send()

    def send(self):
        self.visitor.send(self.stream, b"12345")
        self.length += 5

    async def go_on(self):
        while True:
            await asyncio.sleep(0.2)
            self.send()

    async def end(self):
        """Ends it, and gives the status and the length that the origin saw."""
        self.visitor.send(self.stream, b"", is_ended=True)
        answer = await self.visitor.ended(self.stream, PATIENCE)
        return answer.status, json.loads(answer.body)["length"]


async def main():
    with open(ZONE, encoding="utf-8") as file:
        whole = file.read()
    async with AsyncExitStack() as stack:
        write_zone(whole, "second")
        os.kill(FACTS["pid"], signal.SIGHUP)
        at_candidate = await visitor_of(stack, "second")
        upload = Upload(at_candidate)
        goes_on = asyncio.create_task(upload.go_on())

        await kill_supervisor()
        supervisor = Supervisor()
        await supervisor.until_said("ready")
        check(not at_candidate.is_told, "the candidate keeps its connection")
        write_zone(whole, "third")
        os.kill(supervisor.process.pid, signal.SIGHUP)
        await supervisor.until_status(lambda now: now["publishing"]["stage"] == "canary")
        # Packets of the first candidate's visitor: each would be reset by whoever else reads its socket.
        goes_on.cancel()
        for _ in range(40):
            upload.send()
            await at_candidate.ping()
        equal(await upload.end(), ("200", upload.length), "an upload at the first candidate")
        check(not at_candidate.is_reset, "nobody else reads its socket")
        supervisor.end()


asyncio.run(main())
finish(at_least=4)
