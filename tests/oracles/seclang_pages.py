"""Compares Rempart's WAF engine with libmodsecurity 3 on code pages: which byte does `t:urlDecodeUni` make of `%uHHHH`?

Makes maps of several pages from a seed, and asks both for every byte that a character may become, with pages that
map it and that do not. Fails at any difference. Not part of `make test`, as the other comparisons.

    cargo build -p seclang --example verdicts
    python tests/oracles/seclang_pages.py [--characters 3000] [--seed 1]

Needs the package `libmodsecurity` (tests/requirements.txt). Read next: seclang_engine.py.
"""

import argparse
import os
import pathlib
import random
import sys
import tempfile

from seclang_engine import SETUP, ModSecurity, Request, played

# One rule for each byte; a NUL, a line feed and the like are bytes as others.
RULES = "".join(
    f'SecRule ARGS:v "@rx ^\\x{byte:02x}$" "id:{1000 + byte},phase:2,pass,log,t:urlDecodeUni"\n' for byte in range(256)
)
SPECIAL = [0x2E, 0x3002, 0xFF0E, 0xFF61, 0xFF01, 0xFF5E, 0xFF00, 0xFF5F, 0, 0x0A, 0x41, 0x2032, 0xFFFF]


def pages(chance):
    """A file of pages, and the numbers of those that have pairs."""
    numbers, lines = chance.sample(range(1, 70000), 5), ["(a name alone)", ""]
    for number in numbers:
        # ModSecurity takes a pair whose digits begin with the number for the page's beginning.
        lines.append(f"{number}  (page {number})")
        points = set(chance.sample(range(65536), 2000)) | set(chance.sample(SPECIAL, 6))
        points = [point for point in points if not f"{point:04x}".isdigit()] or [0xFF01]
        pairs = [f"{point:04x}:{chance.randrange(256):02x}" for point in points]
        lines += [" ".join(pairs), ""]
    return "\n".join(lines), numbers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", default=os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "debug/examples/verdicts"))
    parser.add_argument("--characters", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    text, numbers = pages(chance)
    differences, mapped = 0, 0
    for number in numbers[:2]:
        points = SPECIAL + [chance.randrange(65536) for _ in range(options.characters // 4)]
        pairs = text.split("\n")[3::3][numbers.index(number)].split()
        points += [int(pair[:4], 16) for pair in chance.sample(pairs, min(len(pairs), options.characters // 4))]
        requests = []
        for point in points:
            written = f"%25{chance.choice('uU')}{point:04{chance.choice('xX')}}"
            requests.append(Request(written, b"GET", f"/?v={written}".encode(), b"HTTP/1.1", [(b"Host", b"localhost")], b""))
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "rules").mkdir()
            (folder / "crs-setup.conf.example").write_text("")
            (folder / "rules/all.map").write_text(text)
            (folder / "rules/own.conf").write_text(f"SecUnicodeMapFile all.map {number}\n" + RULES)
            ours = played(options.ours, folder, SETUP, requests)
            theirs = ModSecurity(folder, SETUP)
            for request, found in zip(requests, ours, strict=True):
                expected = theirs.play(request)
                found = {one for one in found if 1000 <= one < 1256}
                mapped += bool(found)
                if found != {one for one in expected if 1000 <= one < 1256}:
                    differences += 1
                    print(f"page {number} {request.name}: {sorted(found)}, libmodsecurity {sorted(expected)}")
    print(f"{mapped} characters made a byte, {differences} differences")
    if differences or not mapped:
        sys.exit("there are differences that nobody has explained")


if __name__ == "__main__":
    main()
