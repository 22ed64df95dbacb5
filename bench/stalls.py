#!/usr/bin/env python3
"""When this machine stood still: one process on each processor sleeps 10 ms at a time, and says when that took long.

A line for each sleep that was over LONG_S late: processor, monotonic seconds at its end, how late, and what the host
took from all processors meanwhile (steal, in seconds; man 5 proc). A process that waits for its turn behind
others counts too: those get milliseconds at a time, so hundreds mean the host. Usage: stalls.py, until it is ended;
called by faults.py.
"""

import os
import time

STEP_S = 0.01
LONG_S = 0.1


def steal():
    with open("/proc/stat", "rb") as stat:
        return int(stat.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def watch(processor):
    os.sched_setaffinity(0, {processor})
    taken, parent = steal(), os.getppid()
    while os.getppid() == parent:
        begun = time.monotonic()
        time.sleep(STEP_S)
        now = time.monotonic()
        if now - begun - STEP_S > LONG_S:
            print(f"{processor} {now:.3f} {now - begun - STEP_S:.3f} {steal() - taken:.2f}", flush=True)
        taken = steal()


def main():
    *others, last = sorted(os.sched_getaffinity(0))
    for processor in others:
        if os.fork() == 0:
            watch(processor)
            return
    watch(last)


if __name__ == "__main__":
    main()
