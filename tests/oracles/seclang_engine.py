"""Compares Rempart's WAF engine with libmodsecurity 3: the same requests, the same rules, which rules log a match?

Plays the regression requests of OWASP CRS, and seeded mutations of them, to both engines in detection mode at
paranoia level 4, and lists the differences by rule. Each has its reason below: of a rule as a whole, of a rule in one
request of CRS, or of what a request is (`reason`); one that has none fails. Not part of `make test`, since
libmodsecurity takes some 5 ms for a request.

    cargo build -p seclang --example verdicts
    python tests/oracles/seclang_engine.py --crs FOLDER [--mutations 1000] [--seed 1] [--only 942]

Needs the packages `libmodsecurity` and `PyYAML` (tests/requirements.txt) and a copy of CRS (the folder that
REMPART_CRS names). Read next: crates/seclang/examples/verdicts.rs.
"""

import argparse
import base64
import collections
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import libmodsecurity
import yaml

SETUP = r"""
SecRuleEngine DetectionOnly
SecRequestBodyAccess On
SecResponseBodyAccess On
SecResponseBodyMimeType text/plain text/html text/xml application/json
SecRequestBodyLimit 13107200
SecRequestBodyNoFilesLimit 13107200
SecArgumentsLimit 10000
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\+|/)|text/)xml" \
  "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/json" \
  "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "^application/[a-z0-9.-]+[+]json" \
  "id:200006,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecAction "id:900500,phase:1,pass,nolog,\
  setvar:tx.blocking_paranoia_level=4,\
  setvar:tx.crs_validate_utf8_encoding=1,\
  setvar:tx.arg_name_length=100,\
  setvar:tx.arg_length=400,\
  setvar:tx.total_arg_length=64000,\
  setvar:tx.max_num_args=255,\
  setvar:tx.max_file_size=64100,\
  setvar:tx.combined_file_sizes=65535"
"""

# Reads every scalar as the text it is.
LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

# Pieces that mean something to one rule or another.
SPICE = [
    b"'", b'"', b"`", b"<", b">", b"=", b";", b"(", b")", b"--", b"/*", b"*/", b"#", b"%00", b"%27", b"%u0027", b"\\u0027",
    b"&#39;", b"\\x27", b"../", b"..\\", b"$(", b"${", b"|", b"&", b"&&", b"\n", b"\r\n", b"\0", b"\xff", b"\xc0\xaf", b"+",
    b"%", b"%%", b"%zz", b"@", b"{", b"}", b"[", b"]", b"?", b"*", b"~", b"^", b"select", b"union", b"or 1=1", b"onload=",
    b"script", b"java", b"eval(", b"system(", b"/etc/passwd", b"cmd", b"wget ", b"A" * 60, b"\xc2\xa0", b"\t", b",", b":", b".",
]


# What an engine says of a body itself; not compared.
FACTS = r"""
SecRule REQBODY_ERROR "!@eq 0" "id:200002,phase:2,t:none,pass,log"
"""
BODY_ERROR = 200002

RAW = "libmodsecurity has the raw body in REQUEST_BODY whatever reads it; here, as in ModSecurity 2, of forms alone"
LINES = "libmodsecurity reads ^ and $ at each line end (PCRE2_MULTILINE); here $ is the end, as in ModSecurity 2"
SUM = "a score, and so the sum of other differences"
TARGET = "its target is `http://localhost` without a path"
BROKEN = "a form or name that is broken is read as far as it goes, so that more of it is seen"
CAPTURES = "libmodsecurity matches whatever the two captures are"
HASH = "libmodsecurity ends the query, and the path, at a #; here it is a byte as any, as for the origin"
UNREAD = "libmodsecurity says itself that the body is broken, and reads no more of it; here it is read as far as it goes"
JOINED = "libmodsecurity leaves out line ends of LF alone within a part, so that lines are joined"
SEVERAL = "libmodsecurity goes over several fields of one name in no order, and the rule keeps the last"
NULS = "with multiMatch, libmodsecurity does not try the value that utf8toUnicode left without its NULs"

# Rules that libmodsecurity alone matches; `rule@case` for one request alone. Those that look at REQUEST_BODY are read
# from the rules themselves.
FEWER = {
    **dict.fromkeys([949110, 959100], SUM),
    **dict.fromkeys([932340, 932350, "942200@932175-7", "942330@942480-12"], LINES),
    942131: CAPTURES,
    "931131@920100-16": TARGET,
    "934110@920100-16": TARGET,
    "934210@934210-13": "the name of an array in JSON does not end the names of its elements",
}

# Rules that Rempart alone matches.
MORE = {
    980170: "libmodsecurity logs no rule with `noauditlog`; CRS's own cases want this one logged",
    922130: "libmodsecurity ends a part at a broken name of a field; CRS's own cases want this one",
    **dict.fromkeys([922110, 942430, 942431, 942432, 942440, 942460], BROKEN),
    "930130@930140-13": "libmodsecurity misses a phrase (`.env`) that begins within another (`secrets.json`)",
}


def rules_as_text(crs):
    """Each rule of CRS in one line, by its id: what it looks at, and the whole of it."""
    text = "".join(path.read_text() for path in sorted(pathlib.Path(crs, "rules").glob("*.conf")))
    text = re.sub(r"\\\n\s*", "", text)
    return {int(rule[2]): (rule[1], rule[0]) for rule in re.finditer(r"^\s*SecRule\s+(\S+)\s.*?id:(\d+).*$", text, re.M)}


def rules_on_raw_bodies(crs):
    """Ids of the rules that look at REQUEST_BODY."""
    return {rule for rule, (targets, _) in rules_as_text(crs).items() if re.search(r"(^|\|)REQUEST_BODY(\||$)", targets)}


def has(request, *spellings):
    """Whether a byte is in a request, in one of the ways to write it."""
    whole = b" ".join([request.target, request.body, *(value for _, value in request.headers)]).lower()
    return any(spelling in whole for spelling in spellings)


def reason(rule, text, is_ours, request, facts):
    """Why a rule matches in one engine alone, by what the request is; none where nothing explains it.

    `text` is the rule, `is_ours` whether Rempart matches, `facts` what libmodsecurity says of the body."""
    kind = (request.header(b"content-type") or b"").lower()
    if b"#" in request.target:
        return HASH
    if is_ours and BODY_ERROR in facts:
        return UNREAD
    if kind.startswith(b"multipart/") and re.search(rb"(?<!\r)\n", request.body):
        return JOINED
    if rule == 920420 and sum(known.lower() == b"content-type" for known, _ in request.headers) > 1:
        return SEVERAL
    if is_ours and "multiMatch" in text and has(request, b"\0", b"%00", b"&#0", b"\\u0000", b"\\x00"):
        return NULS
    if not is_ours and request.target.startswith(b"http"):
        return TARGET
    pattern = re.search(r'"!?@rx (.*?[^\\])"', text)
    anchored = pattern and re.search(r"(?<![\\\[])[$^]", pattern[1])
    if not is_ours and anchored and has(request, b"\n", b"%0a", b"\\n", b"&#10;", b"&#xa;"):
        return LINES
    return None


def unknown(known, differences, is_ours, texts):
    """Of differences by rule, the requests whose difference has no reason."""
    found = []
    for rule, requests in differences.items():
        for request, facts in requests:
            is_listed = rule in known or f"{rule}@{request.name}" in known
            if not is_listed and not reason(rule, texts.get(rule, ("", ""))[1], is_ours, request, facts):
                found.append(f"{rule} in {request.name}")
    return found


class Request:
    def __init__(self, name, method, target, version, headers, body):
        self.name, self.method, self.target, self.version = name, method, target, version
        self.headers, self.body = headers, body
        self.status, self.answer_headers, self.answer = answer(self)

    def header(self, name):
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)

    def as_json(self):
        pairs = lambda fields: [[name.hex(), value.hex()] for name, value in fields]
        return json.dumps({
            "method": self.method.hex(), "target": self.target.hex(), "version": self.version.hex(),
            "headers": pairs(self.headers), "body": self.body.hex(), "status": self.status,
            "answer_headers": pairs(self.answer_headers), "answer": self.answer.hex(),
        })


def answer(request):
    """What CRS's test origin answers: `/reflect` is told what in the request's body."""
    if request.target.split(b"?")[0] != b"/reflect":
        return 200, [(b"Content-Length", b"0")], b""
    try:
        told = json.loads(request.body)
    except ValueError:
        return 200, [(b"Content-Length", b"0")], b""
    if not isinstance(told, dict):
        return 200, [(b"Content-Length", b"0")], b""
    headers = [(str(n).encode(), str(v).encode()) for n, v in (told.get("headers") or {}).items()]
    body = told["body"].encode() if "body" in told else base64.b64decode(told.get("encodedBody", ""))
    if body and not any(name.lower() == b"content-type" for name, _ in headers):
        headers.append((b"Content-Type", b"text/html; charset=utf-8" if b"<" in body[:64] else b"text/plain"))
    return int(told.get("status", 200)), headers + [(b"Content-Length", str(len(body)).encode())], body


def filled(text):
    return re.sub(r'\{\{\s*"(.*?)"\s*\|\s*repeat\s+(\d+)\s*\}\}', lambda m: m[1] * int(m[2]), text)


def text_of(value):
    return filled(value if isinstance(value, str) else "" if value is None else str(value)).encode()


def framed(name, method, target, version, headers, body):
    """Leaves of the body what a server reads."""
    lower = {known.lower(): value for known, value in headers}
    if lower.get(b"transfer-encoding", b"").lower() == b"chunked":
        headers = [(known, value) for known, value in headers if known.lower() != b"content-length"]
        body = unchunked(body)
    else:
        length = lower.get(b"content-length", b"0").strip()
        body = body[: int(length) if length.isdigit() else 0]
    return Request(name, method, target, version or b"HTTP/0.9", headers, body)


def unchunked(rest):
    out = b""
    while b"\r\n" in rest:
        size, rest = rest.split(b"\r\n", 1)
        try:
            size = int(size.split(b";")[0], 16)
        except ValueError:
            break
        if size == 0:
            break
        out, rest = out + rest[:size], rest[size + 2 :]
    return out


def read_cases(crs, only):
    for path in sorted(pathlib.Path(crs, "tests/regression/tests").glob("*/*.yaml")):
        if only and only not in path.name:
            continue
        for document in filter(None, yaml.load_all(path.read_text(), Loader=LOADER)):
            for test in document["tests"]:
                for place, stage in enumerate(test["stages"]):
                    name = f"{document['rule_id']}-{test['test_id']}" + (f".{place}" if place else "")
                    yield read_case(name, stage["input"])


def read_case(name, given):
    if "encoded_request" in given:
        raw = base64.b64decode(given["encoded_request"])
        head, _, body = raw.partition(b"\r\n\r\n") if b"\r\n\r\n" in raw else raw.partition(b"\n\n")
        first, *lines = head.replace(b"\r\n", b"\n").split(b"\n")
        parts = first.split(b" ", 2) + [b"", b""]
        fields = [line.partition(b":") for line in lines if line]
        headers = [(known, value.strip()) for known, _, value in fields]
        return framed(name, parts[0], parts[1], parts[2], headers, body)
    fields = given.get("headers") or {}
    pairs = fields.items() if isinstance(fields, dict) else [(one["name"], one["value"]) for one in fields]
    headers = [(text_of(known), text_of(value)) for known, value in pairs]
    body = text_of(given.get("data"))
    method = text_of(given.get("method") or "GET")
    if given.get("autocomplete_headers") != "false":
        added = [(b"Connection", b"close")]
        if body:
            added.append((b"Content-Type", b"application/x-www-form-urlencoded"))
        if body or method == b"POST":
            added.append((b"Content-Length", str(len(body)).encode()))
        present = {known.lower() for known, _ in headers}
        headers += [(known, value) for known, value in added if known.lower() not in present]
    return framed(name, method, text_of(given.get("uri") or "/"), text_of(given.get("version") or "HTTP/1.1"), headers, body)


def mutated(request, number, chance):
    """A copy of a request with one to three small changes in target, body or a field."""
    target, body, headers = request.target, request.body, list(request.headers)

    def change(text):
        at = chance.randrange(len(text) + 1)
        kind = chance.randrange(3)
        if kind == 0:
            return text[:at] + chance.choice(SPICE) + text[at:]
        if kind == 1:
            return text[:at] + text[at + chance.randrange(1, 6) :]
        return text[:at] + bytes([chance.randrange(33, 127)]) + text[at + 1 :]

    for _ in range(chance.randrange(1, 4)):
        places = ["target"] + ["body"] * (3 if body else 0) + ["header"] * bool(headers)
        place = chance.choice(places)
        if place == "target":
            changed = change(target[1:])
            target = target[:1] + bytes(byte for byte in changed if 32 < byte < 127)
        elif place == "body":
            body = change(body)
        else:
            at = chance.randrange(len(headers))
            known, value = headers[at]
            if known.lower() not in (b"content-length", b"transfer-encoding"):
                headers[at] = (known, bytes(byte for byte in change(value) if 31 < byte < 127))
    headers = [
        (known, str(len(body)).encode() if known.lower() == b"content-length" else value) for known, value in headers
    ]
    return Request(f"{request.name}~{number}", request.method, target, request.version, headers, body)


class ModSecurity:
    """libmodsecurity with CRS loaded."""

    def __init__(self, crs, setup=SETUP):
        self.engine, self.rules, self.ids = libmodsecurity.ModSecurity(), libmodsecurity.RulesSet(), set()
        self.engine.set_rule_message_callback(lambda message: self.ids.add(message.rule_id))
        if self.rules.load(setup) < 0:
            sys.exit(self.rules.get_parser_error())
        for path in [pathlib.Path(crs, "crs-setup.conf.example"), *sorted(pathlib.Path(crs, "rules").glob("*.conf"))]:
            if self.rules.load_from_uri(str(path)) < 0:
                sys.exit(self.rules.get_parser_error())

    def play(self, request):
        """Ids of the rules that logged a match; None where the binding cannot carry the request's bytes."""
        self.ids.clear()
        try:
            version = request.version.decode().removeprefix("HTTP/")
            fields = [(name.decode(), value.decode()) for name, value in request.headers]
            answered = [(name.decode(), value.decode()) for name, value in request.answer_headers]
            target, method = request.target.decode(), request.method.decode()
        except UnicodeDecodeError:
            return None
        if any("\0" in text for text in [target, method, version, *(part for field in fields for part in field)]):
            return None
        transaction = libmodsecurity.Transaction(self.engine, self.rules)
        transaction.process_connection("192.0.2.7", 50000, "127.0.0.1", 80)
        transaction.process_uri(target, method, version)
        for name, value in fields:
            transaction.add_request_header(name, value)
        transaction.process_request_headers()
        if request.body:
            transaction.append_request_body(request.body)
        transaction.process_request_body()
        for name, value in answered:
            transaction.add_response_header(name, value)
        transaction.process_response_headers(request.status, "HTTP/1.1")
        if request.answer:
            transaction.append_response_body(request.answer)
        transaction.process_response_body()
        transaction.process_logging()
        return set(self.ids)


def played(ours, crs, text, requests):
    """What Rempart's engine says of each request: the ids of the rules that logged a match, or why there are none."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as setup:
        setup.write(text)
        setup.flush()
        lines = "".join(request.as_json() + "\n" for request in requests)
        done = subprocess.run([ours, crs, setup.name], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crs", default=os.environ.get("REMPART_CRS"), help="a folder of OWASP CRS")
    parser.add_argument("--ours", default="target/debug/examples/verdicts")
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="a part of a case file's name")
    parser.add_argument("--ignore", default="", help="ids of rules to leave out, divided by commas")
    parser.add_argument("--show", type=int, default=3, help="cases to show of each difference")
    options = parser.parse_args()
    if not options.crs:
        sys.exit("not run: neither --crs nor REMPART_CRS names a copy of OWASP CRS")
    requests = list(read_cases(options.crs, options.only))
    chance = random.Random(options.seed)
    requests += [mutated(chance.choice(requests), number, chance) for number in range(options.mutations)]
    ignored = {int(rule) for rule in options.ignore.split(",") if rule}
    ours = played(options.ours, options.crs, SETUP + FACTS, requests)
    known_fewer = {**dict.fromkeys(rules_on_raw_bodies(options.crs), RAW), **FEWER}
    theirs, same, alike, skipped = ModSecurity(options.crs, SETUP + FACTS), 0, 0, 0
    ignored.add(BODY_ERROR)
    more, fewer = collections.defaultdict(list), collections.defaultdict(list)
    for request, found in zip(requests, ours, strict=True):
        expected = theirs.play(request)
        if expected is None or not isinstance(found, list):
            skipped += 1
            continue
        facts = expected & {BODY_ERROR}
        found, expected = set(found) - ignored, expected - ignored
        same += found == expected
        alike += found - MORE.keys() == expected - MORE.keys() - known_fewer.keys()
        for rule in found - expected:
            more[rule].append((request, facts))
        for rule in expected - found:
            fewer[rule].append((request, facts))
    for title, rules in (("matched by Rempart alone", more), ("matched by libmodsecurity alone", fewer)):
        print(f"\n{title}: {sum(map(len, rules.values()))} matches of {len(rules)} rules")
        for rule, cases in sorted(rules.items(), key=lambda one: -len(one[1])):
            print(f"  {rule}: {len(cases)}  {', '.join(case.name for case, _ in cases[: options.show])}")
    texts = rules_as_text(options.crs)
    left = unknown(MORE, more, True, texts) + unknown(known_fewer, fewer, False, texts)
    print(f"\nwithout a reason: {len(left)} {left}")
    total = len(requests) - skipped
    print(f"\n{same} of {total} requests have the same rules ({skipped} of other bytes not played), "
          f"{alike} but for the rules that are listed as a whole")
    if left:
        sys.exit("there are differences that nobody has explained")


if __name__ == "__main__":
    main()
