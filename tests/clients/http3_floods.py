"""Floods over HTTP/3, by aioquic: requests given up, streams of unknown types, frames that carry nothing on a request's
and on the control stream, heads over every limit, QPACK inserts where there is no table, QUIC's own frames by the
thousand. The node must end the abuser, under the name that is its own, and serve another connection all the while."""

import asyncio

from aioquic.h3.connection import encode_frame
from quic import visit
from stage import abuse_counted, abuses, check, equal, finish, resident_bytes

MEMORY_BYTES_MAX = 64 << 20
CALM, ENCODER = 0x107, 0x201


async def until_closed(visitor, seconds=25):
    try:
        async with asyncio.timeout(seconds):
            while visitor.terminated is None:
                visitor.transmit()
                await asyncio.sleep(0.01)
    except TimeoutError:
        return None
    return visitor.terminated.error_code


async def resets(visitor):
    for _ in range(2000):
        if visitor.terminated:
            return
        # aioquic would reset streams that it may not open yet.
        while visitor._quic.get_next_available_stream_id() // 4 >= visitor._quic._remote_max_streams_bidi:
            if visitor.terminated:
                return
            await asyncio.sleep(0.001)
        stream = visitor.begin("GET", "/bytes/1000", is_ended=False)
        visitor._quic.reset_stream(stream, 0x10C)
        visitor.transmit()
        await asyncio.sleep(0)


async def unknown_streams(visitor):
    for _ in range(2000):
        if visitor.terminated:
            return
        stream = visitor._quic.get_next_available_stream_id(is_unidirectional=True)
        visitor._quic.send_stream_data(stream, b"\x21", end_stream=True)
        visitor.transmit()
        await asyncio.sleep(0)


async def unknown_frames(visitor):
    for _ in range(400):
        visitor._quic.send_stream_data(visitor.http._local_control_stream_id, encode_frame(0x21, b"") * 500)
        visitor.transmit()
        await asyncio.sleep(0)


async def priority_updates(visitor):
    for _ in range(400):
        update = encode_frame(0xF0700, b"\x00u=1")
        visitor._quic.send_stream_data(visitor.http._local_control_stream_id, update * 100)
        visitor.transmit()
        await asyncio.sleep(0)


async def empty_data(visitor):
    stream = visitor.begin("POST", "/echo", is_ended=False)
    for _ in range(100):
        visitor._quic.send_stream_data(stream, encode_frame(0, b"") * 100)
        visitor.transmit()
        await asyncio.sleep(0)


async def inserts(visitor):
    # Insert with literal name (RFC 9204 section 4.3.3), where the table's capacity is 0.
    visitor._quic.send_stream_data(visitor.http._local_encoder_stream_id, b"\x43x-a\x01b" * 100)
    visitor.transmit()


async def pings(visitor):
    # aioquic puts all that wait into one frame.
    for number in range(12_000):
        if visitor.terminated:
            return
        visitor._quic.send_ping(number)
        visitor.transmit()
        await asyncio.sleep(0)


FLOODS = [
    # name, flood, the code of the close, the word it is counted under
    ("requests given up", resets, CALM, "resets"),
    ("streams of unknown types", unknown_streams, CALM, "resets"),
    ("unknown frames on the control stream", unknown_frames, CALM, "frame_flood"),
    ("priority updates", priority_updates, CALM, "frame_flood"),
    ("frames without content", empty_data, CALM, "empty_data_flood"),
    ("QPACK inserts", inserts, ENCODER, None),
    ("PINGs", pings, CALM, "frame_flood"),
]


async def heads_too_large():
    async with visit() as visitor:
        for _ in range(50):
            answer = await visitor.ask("GET", "/hello", [(f"x-{number}", "y" * 1000) for number in range(80)])
            check(answer.reset is not None or answer.status == "431", "a head over the limit", (answer.status, answer.reset))


async def main():
    before = resident_bytes()
    is_over = False
    served = 0

    async def witness():
        nonlocal served
        async with visit() as visitor:
            while not is_over:
                answer = await visitor.ask("GET", "/hello")
                if (answer.status, bytes(answer.body)) != ("200", b"hello\n"):
                    return check(False, "another visitor is served", (answer.status, answer.reset))
                served += 1
                await asyncio.sleep(0.01)

    watching = asyncio.ensure_future(witness())
    for name, flood, code, word in FLOODS:
        counted, had = abuses(), served
        async with visit() as visitor:
            await visitor.ask("GET", "/hello")
            try:
                await flood(visitor)
            except (AssertionError, ConnectionError, ValueError):
                pass  # aioquic refuses to send on what is closed
            equal(await until_closed(visitor), code, f"{name}: the connection is closed")
        if word is not None:
            check(abuse_counted(word, counted), f"{name}: it is counted as {word}", (counted, abuses()))
        check(resident_bytes() - before < MEMORY_BYTES_MAX, f"{name}: memory stays", (before, resident_bytes()))
        check(served > had, f"{name}: another visitor is served meanwhile", served)
    counted = abuses()
    await heads_too_large()
    async with visit() as visitor:
        for each in range(400):
            visitor._quic.send_ping(each)
            visitor.transmit()
            await asyncio.sleep(0)
        answer = await visitor.ask("GET", "/hello")
        equal(answer.status, "200", "400 PINGs are fine")
    equal(abuses(), counted, "and nobody is blamed for them")
    is_over = True
    await watching
    print(f"the other visitor had {served} answers")


asyncio.run(main())
finish(at_least=70)
