"""Says what another implementation of fuzzy hashes makes of values: the judge of `@fuzzyHash`.

Reads values in hexadecimal, one a line, and writes for each its hash and how alike it and the value before it are.
Played by `make test` (crates/seclang/src/check/fuzzy/judged.rs), and alone:

    printf '00\\n0001\\n' | .venv/bin/python tests/oracles/fuzzy_hashes.py

The package `ppdeep` hashes as `ssdeep` does, and compares so too but for one thing: a letter in place of another costs 1
there, and since ssdeep 2.14 as much as one taken out and one put in. Read next: `distance`.
"""

import sys

import ppdeep


def distance(one, other):
    """Letters to take out and put in to make one text of the other: both texts, but for what they share in order."""
    shared = [0] * (len(other) + 1)
    for letter in one:
        corner = 0
        for at, theirs in enumerate(other, 1):
            corner, shared[at] = shared[at], corner + 1 if letter == theirs else max(shared[at], shared[at - 1])
    return len(one) + len(other) - 2 * shared[-1]


def main():
    ppdeep._levenshtein = distance
    before = ppdeep.hash(b"")
    for line in sys.stdin:
        made = ppdeep.hash(bytes.fromhex(line))
        print(made, ppdeep.compare(before, made))
        before = made


if __name__ == "__main__":
    main()
