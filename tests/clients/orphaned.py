"""A second supervisor on a node's own folder, for the scripts beside it that have killed the first."""

import asyncio
import json
import os
import signal
import subprocess

from stage import FACTS, check, equal

PATIENCE = 60


async def kill_supervisor():
    """Kills the first one, and waits until the system has taken back what it had: the data folder's lock too."""
    os.kill(FACTS["pid"], signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        while not has_ended(FACTS["pid"]):
            await asyncio.sleep(0.01)


def has_ended(pid):
    """Whether a process is gone, or waits for nothing but to be asked how it ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


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

    async def until_status(self, is_so):
        """Waits until `rempart status` says so."""
        command = [FACTS["binary"], "status", "--json", "--config", FACTS["config"]]
        async with asyncio.timeout(PATIENCE):
            while True:
                output = subprocess.run(command, capture_output=True, check=False)
                if output.returncode == 0 and is_so(json.loads(output.stdout)):
                    return
                check(self.process.poll() is None, "the second supervisor runs", self.said())
                await asyncio.sleep(0.05)
