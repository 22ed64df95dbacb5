"""Packets of QUIC connections whose process is gone: the visitor is told at once, by a stateless reset that only the
node can make (RFC 9000 §10.3)."""

import asyncio
import os
import signal

from quic import Visitor, visit
from stage import FACTS, check, equal, finish

PATIENCE = 60


class Watching(Visitor):
    """Notes a stateless reset, which this client does not act on by itself."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.is_reset = False

    def datagram_received(self, data, address):
        token = self._quic._peer_cid.stateless_reset_token
        self.is_reset = self.is_reset or len(token) == 16 and data[-16:] == token
        super().datagram_received(data, address)

    @property
    def is_told(self):
        return self.is_reset or self.terminated is not None

    async def until_told(self):
        """Asks whether anybody is there, as a visitor that waits for an answer does."""
        for number in range(PATIENCE * 20):
            if self.is_told:
                return
            self._quic.send_ping(number)
            self.transmit()
            await asyncio.sleep(0.05)


def edges():
    pid = FACTS["pid"]
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        children = [int(child) for child in file.read().split()]
    named = []
    for child in children:
        with open(f"/proc/{child}/cmdline", "rb") as file:
            if file.read().startswith((b"rempart-edge\0", b"rempart-successor\0")):
                named.append(child)
    return named


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
    [older] = edges()
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
