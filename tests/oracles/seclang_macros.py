"""Compares Rempart's WAF engine with libmodsecurity 3 on macros in patterns: the same requests, which rules match?

Rules keep texts in `TX` and name them, and what visitors send, in `@rx`, plain and turned round; requests bring values
and patterns of every kind, good and broken. Fails at a difference that `reason` does not explain. Not part of
`make test`, as the other comparisons.

    cargo build -p seclang --example verdicts
    python tests/oracles/seclang_macros.py [--requests 2000] [--seed 1]

Needs the package `libmodsecurity` (tests/requirements.txt). Read next: seclang_engine.py.
"""

import argparse
import pathlib
import random
import re
import sys
import tempfile
import urllib.parse

from seclang_engine import SETUP, ModSecurity, Request, played

RULES = r"""
SecAction "id:1,phase:1,pass,nolog,setvar:'tx.methods=GET|HEAD',setvar:tx.digits=[0-9]+,setvar:tx.dot=a.c"
SecRule REQUEST_METHOD "!@rx ^(?:%{tx.methods})$" "id:10,phase:1,pass,log"
SecRule ARGS:v "@rx ^%{tx.digits}$" "id:11,phase:2,pass,log"
SecRule ARGS:v "@rx %{tx.dot}" "id:12,phase:2,pass,log"
SecRule ARGS:v "@rx ^(%{args.p})$" "id:13,phase:2,pass,log"
SecRule ARGS:v "!@rx %{args.p}" "id:14,phase:2,pass,log"
SecRule ARGS:v "@rx %{tx.none}x" "id:15,phase:2,pass,log"
SecRule ARGS:v "@rx ^(\w)%{args.p}(\w)$" "id:16,phase:2,pass,log,capture,chain"
  SecRule TX:2 "@streq z" "t:none"
SecRule ARGS:v "@rx ^%{request_method}" "id:17,phase:2,pass,log"
"""

VALUES = ["", "a", "abc", "axc", "a.c", "12", "12a", "x", "GET", "zabcz", "aaz", "a\tc", "(", "%", "aa", "{2}", "é"]
PATTERNS = [
    "", "a", "b*", "[a-c]+", "a{2}", "a{2", "(", ")", "[", "[a", "*", "a|b", "\\d+", "\\w", ".", "(?i)ABC", "^a", "c$", "\\",
    "(a)(b)?", "[[:alpha:]]", "a?", "(?:a", "x{1,2}", "\\x61", "é",
]


def reason(pattern):
    """Why a pattern may mean different things; none where it means the same."""
    if re.search(r"[$^]", pattern):
        return "libmodsecurity reads ^ and $ at each line end"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", default="target/debug/examples/verdicts")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    requests = []
    for number in range(options.requests):
        pairs = {"v": chance.choice(VALUES), "p": chance.choice(PATTERNS)}
        target = f"/?{urllib.parse.urlencode(pairs)}".encode()
        method = chance.choice([b"GET", b"HEAD", b"PUT"])
        one = Request(f"{number}: {method.decode()} {pairs}", method, target, b"HTTP/1.1", [(b"Host", b"localhost")], b"")
        one.pattern = pairs["p"]
        requests.append(one)
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "rules").mkdir()
        pathlib.Path(folder, "crs-setup.conf.example").write_text("")
        pathlib.Path(folder, "rules", "own.conf").write_text(RULES)
        ours = played(options.ours, folder, SETUP, requests)
        theirs = ModSecurity(folder, SETUP)
        left, same = [], 0
        for request, found in zip(requests, ours, strict=True):
            expected = theirs.play(request)
            same += set(found) == expected
            if set(found) != expected and not reason(request.pattern):
                left.append(f"{request.name}: {sorted(found)}, libmodsecurity {sorted(expected)}")
    print("\n".join(left[:20]))
    print(f"{same} of {len(requests)} requests have the same rules; without a reason: {len(left)}")
    if left:
        sys.exit("there are differences that nobody has explained")


if __name__ == "__main__":
    main()
