"""A visitor that notices stateless resets, and the processes of a node, for the scripts beside it."""

import asyncio

from quic import Visitor


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
        for number in range(60 * 20):
            if self.is_told:
                return
            self._quic.send_ping(number)
            self.transmit()
            await asyncio.sleep(0.05)


def edges(pid):
    """The edges of a supervisor that serve or drain."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        children = [int(child) for child in file.read().split()]
    named = []
    for child in children:
        with open(f"/proc/{child}/cmdline", "rb") as file:
            if file.read().startswith((b"rempart-edge\0", b"rempart-successor\0")):
                named.append(child)
    return named
