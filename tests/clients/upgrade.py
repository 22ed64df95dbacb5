"""SIGUSR2 twice while exchanges are open on HTTP/3: what is in flight on connections to the older edge is answered
whole, since their packets still go to it, and new connections are served by the newer one."""

import asyncio
import json
import os
import signal

from quic import visit
from stage import FACTS, check, equal, finish


async def upgrade(number):
    async with visit() as before:
        equal((await before.ask("GET", "/hello")).status, "200", f"{number}: HTTP/3 before the upgrade")
        upload = before.begin("POST", "/echo", is_ended=False)
        before.send(upload, b"12345")
        download = before.begin("GET", "/bytes/5000000")
        await before.until(download, lambda answer: answer.length > 0)

        os.kill(FACTS["pid"], signal.SIGUSR2)

        try:
            async with asyncio.timeout(60):
                await before.goaway_came.wait()
        except TimeoutError:
            check(False, f"{number}: the older edge says GOAWAY")
        before.send(upload, b"67890", is_ended=True)
        answer = await before.ended(upload)
        equal((answer.status, json.loads(answer.body)["length"]), ("200", 10), f"{number}: the upload goes on")
        answer = await before.ended(download)
        equal((answer.status, answer.length), ("200", 5000000), f"{number}: the download goes on")
    for again in range(8):
        async with visit() as after:
            equal((await after.ask("GET", "/hello")).status, "200", f"{number}: a new connection, {again}")


async def main():
    # Twice, so that both generations of sockets have their turn.
    for number in (1, 2):
        await upgrade(number)


asyncio.run(main())
finish(at_least=22)
