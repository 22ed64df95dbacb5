"""aioquic over HTTP/3 before a node with a cache: a miss and hits, ranges and validators out of the store, many streams
on one thing that is not stored yet, and what is stale while the origin fails."""

import asyncio
import hashlib

from quic import visit
from stage import check, equal, finish, pattern

SIZE = 100_000
LARGE = 5_000_000


def said(answer):
    return answer.final.get(b"cache-status", b"").decode()


def is_hit(answer):
    return said(answer).startswith("rempart; hit")


async def hits():
    path = f"/fresh/{SIZE}"
    async with visit() as visitor:
        first = await visitor.ask("GET", path)
        equal((first.status, first.body == pattern(0, SIZE)), ("200", True), "what is not stored comes whole")
        check("fwd=uri-miss" in said(first) and "stored" in said(first), "it is stored", said(first))
        for number in range(3):
            hit = await visitor.ask("GET", path)
            equal((hit.status, hit.body == pattern(0, SIZE)), ("200", True), f"hit {number} is the same")
            check(is_hit(hit), f"hit {number} is one", said(hit))
            check(hit.final.get(b"age", b"").isdigit(), f"hit {number} has an age", hit.final)
            equal(hit.final.get(b"content-length"), str(SIZE).encode(), f"hit {number} has its length")
    async with visit() as visitor:
        check(is_hit(await visitor.ask("GET", path)), "a hit on another connection")
        await visitor.ask("GET", f"/fresh/{LARGE}")
        large = await visitor.ask("GET", f"/fresh/{LARGE}")
        check(is_hit(large), "a large one is a hit", said(large))
        equal(hashlib.sha256(large.body).hexdigest(), hashlib.sha256(pattern(0, LARGE)).hexdigest(), "and whole")


async def ranges():
    path = f"/fresh/{SIZE}"
    async with visit() as visitor:
        for asked, first, length in [("10-19", 10, 10), ("0-0", 0, 1), ("-7", SIZE - 7, 7), ("99990-", SIZE - 10, 10),
                                     ("50000-299999", 50_000, 50_000)]:
            part = await visitor.ask("GET", path, [("range", f"bytes={asked}")])
            equal((part.status, bytes(part.body)), ("206", pattern(first, length)), f"bytes={asked}")
            found = part.final.get(b"content-range")
            equal(found, f"bytes {first}-{first + length - 1}/{SIZE}".encode(), f"bytes={asked} says which")
            check(is_hit(part), f"bytes={asked} is out of the store", said(part))
        beyond = await visitor.ask("GET", path, [("range", f"bytes={SIZE}-")])
        equal((beyond.status, beyond.final.get(b"content-range")), ("416", f"bytes */{SIZE}".encode()), "beyond the end")
        several = await visitor.ask("GET", path, [("range", "bytes=0-9,100-109")])
        kind = several.final.get(b"content-type", b"")
        check(several.status == "206" and kind.startswith(b"multipart/byteranges"), "several ranges", (several.status, kind))
        check(pattern(0, 10) in several.body and pattern(100, 10) in several.body, "have the bytes of each")
        other = await visitor.ask("GET", path, [("range", "bytes=0-9"), ("if-range", '"another"')])
        equal((other.status, len(other.body)), ("200", SIZE), "a range of another version is the whole")
        same = await visitor.ask("GET", path, [("range", "bytes=0-9"), ("if-range", '"pattern"')])
        equal((same.status, len(same.body)), ("206", 10), "a range of this version is the range")


async def validators():
    path = f"/fresh/{SIZE}"
    async with visit() as visitor:
        same = await visitor.ask("GET", path, [("if-none-match", '"pattern"')])
        equal((same.status, len(same.body), same.final.get(b"etag")), ("304", 0, b'"pattern"'), "what the visitor has")
        check(is_hit(same), "is said by the store", said(same))
        other = await visitor.ask("GET", path, [("if-none-match", '"another"')])
        equal((other.status, len(other.body)), ("200", SIZE), "what the visitor has not")


async def many():
    path = f"/fresh/{SIZE + 1}"
    async with visit() as visitor:
        streams = [visitor.begin("GET", path) for _ in range(50)]
        answers = [await visitor.ended(stream) for stream in streams]
        whole = pattern(0, SIZE + 1)
        equal(sum(answer.status == "200" and answer.body == whole for answer in answers), 50, "many on one are all whole")
        parts = [said(answer).split("; ") for answer in answers]
        equal(sum("fwd=uri-miss" in part and "collapsed" not in part for part in parts), 1, "and one of them fetched")


async def stale():
    async with visit() as visitor:
        first = await visitor.ask("GET", "/stale")
        check("stored" in said(first), "what is stale at once is stored", said(first))
        for number in range(2):
            again = await visitor.ask("GET", "/stale")
            equal((again.status, bytes(again.body)), ("200", b"stale\n"), f"it bridges the failure, {number}")
            check(int(again.final.get(b"age", b"0")) >= 100, f"with a true age, {number}", again.final)
            check("ttl=-" in said(again), f"and says so, {number}", said(again))


async def main():
    await hits()
    await ranges()
    await validators()
    await many()
    await stale()


asyncio.run(main())
finish(at_least=49)
