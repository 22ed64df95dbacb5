"""Compares the pure parts of Rempart's WAF with libmodsecurity 3: transformations, injection, bodies.

Makes values and bodies from a seed, asks both, and lists what differs. It judges nothing: the modules list the
differences that are meant. Not part of `make test`.

    cargo build -p seclang --example pure
    python tests/oracles/seclang_pure.py [transform | injection | body] [--count 2000] [--seed 1]

Needs the package `libmodsecurity` (tests/requirements.txt). Read next: crates/seclang/examples/pure.rs.
"""

import argparse
import collections
import random
import re
import subprocess

import libmodsecurity

TRANSFORMATIONS = """base64Decode base64DecodeExt base64Encode cmdLine compressWhitespace cssDecode escapeSeqDecode
hexDecode hexEncode htmlEntityDecode jsDecode length lowercase md5 none normalizePath normalizePathWin parityEven7bit
parityOdd7bit parityZero7bit removeComments removeCommentsChar removeNulls removeWhitespace replaceComments replaceNulls
sha1 sqlHexDecode trim trimLeft trimRight uppercase urlDecode urlDecodeUni urlEncode utf8toUnicode""".split()

PIECES = [
    b"%", b"u", b"+", b"\\", b"x", b"X", b"0", b"1", b"3", b"f", b"F", b"&", b"#", b";", b"/", b".", b"*", b"-", b"<", b">",
    b"!", b" ", b'"', b"'", b"^", b"(", b",", b"=", b"\0", b"\t", b"\n", b"\r", b"\x0b", b"\xa0", b"\xc2", b"\x80", b"\xe0",
    b"\xed", b"\xf0", b"\xf5", b"\xff", b"a", b"B", b"9", b"&lt", b"&quot", b"%u00", b"%uff1c", b"\\uff", b"\\x4", b"\\12",
    b"../", b"/./", b"//", b"/*", b"*/", b"-->", b"<!--", b"0x41", b"&#x", b"&#6", b"YW==", b"YWJj", b"=9",
]
INJECTIONS = [
    b"'", b'"', b"`", b" ", b"1", b"0x1", b"1.e", b".", b"union", b" all ", b"select ", b" or ", b" and ", b"--", b"#", b"/*",
    b"*/", b"/*!", b"(", b")", b"{", b"}", b"[", b",", b";", b"::", b"=", b"<=>", b"not ", b"in ", b"like ", b"+", b"@", b"$$",
    b"q'(", b"n'", b"\\", b"int ", b"user", b"sleep", b"if", b"into outfile", b"%", b"\n", b"\0", b"||", b"foo", b"<", b">", b"/",
    b"script", b"svg", b" on", b"error", b"src=", b"href=", b"java", b"&#x6a;", b"style", b"<!", b"?", b"]]>", b"doctype",
]

BASE = """SecRuleEngine DetectionOnly
SecRequestBodyAccess On
SecRequestBodyLimit 100000000
SecRequestBodyNoFilesLimit 10000000
"""
FORCED = 'SecAction "id:1,phase:1,pass,nolog,ctl:forceRequestBodyVariable=On"\n'


class Oracle:
    """libmodsecurity with some rules; answers with what they logged, by id."""

    def __init__(self, rules):
        self.engine, self.rules, self.data = libmodsecurity.ModSecurity(), libmodsecurity.RulesSet(), {}
        self.engine.set_rule_message_callback(lambda message: self.data.update({message.rule_id: message.data}))
        if self.rules.load(BASE + rules) < 0:
            raise SystemExit(self.rules.get_parser_error())

    def ask(self, body, content_type="application/octet-stream"):
        self.data.clear()
        transaction = libmodsecurity.Transaction(self.engine, self.rules)
        transaction.process_connection("192.0.2.7", 1, "127.0.0.1", 80)
        transaction.process_uri("/", "POST", "1.1")
        for name, value in (("Host", "x"), ("Content-Type", content_type), ("Content-Length", str(len(body)))):
            transaction.add_request_header(name, value)
        transaction.process_request_headers()
        transaction.append_request_body(body)
        transaction.process_request_body()
        return dict(self.data)


class Differences:
    def __init__(self, show):
        self.counts, self.show = collections.Counter(), show

    def note(self, kind, *what):
        self.counts[kind] += 1
        if self.counts[kind] <= self.show:
            print(kind, *(repr(part)[:600] for part in what))


def made_of(pieces, chance, length):
    some = chance.sample(pieces, chance.choice([4, 8, len(pieces)]))
    return b"".join(chance.choice(some) for _ in range(chance.randrange(2, length)))


def ours(program, questions):
    done = subprocess.run([program], input="\n".join(questions).encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().splitlines()


def compare_transformations(options, chance, differences):
    rules = "".join(
        f'SecRule REQUEST_BODY "@unconditionalMatch" "id:{100 + at},phase:2,pass,log,t:none,t:{name},t:hexEncode,'
        f"logdata:'%{{MATCHED_VAR}}'\"\n"
        for at, name in enumerate(TRANSFORMATIONS)
    )
    oracle = Oracle(FORCED + rules)
    # One byte alone makes its hexDecode read outside its buffer.
    values = [value for value in (made_of(PIECES, chance, 25) for _ in range(options.count)) if len(value) > 1]
    questions = [f"transform {name} {value.hex()}" for value in values for name in TRANSFORMATIONS]
    answers = iter(ours(options.ours, questions))
    for value in values:
        theirs = oracle.ask(value)
        for at, name in enumerate(TRANSFORMATIONS):
            found = next(answers)
            if theirs.get(100 + at) != found:
                differences.note(name, value, "theirs", theirs.get(100 + at), "ours", found)


def compare_injections(options, chance, differences):
    oracle = Oracle(
        FORCED
        + 'SecRule REQUEST_BODY "@detectSQLi" "id:2,phase:2,pass,log,capture,t:none,logdata:\'%{TX.0}\'"\n'
        + 'SecRule REQUEST_BODY "@detectXSS" "id:3,phase:2,pass,log,t:none"\n'
    )
    values = [made_of(INJECTIONS, chance, 14) for _ in range(options.count)]
    answers = ours(options.ours, [f"{word} {value.hex()}" for value in values for word in ("sqli", "xss")])
    for at, value in enumerate(values):
        theirs = oracle.ask(value)
        found = {"sqli": theirs.get(2, "-"), "xss": "1" if 3 in theirs else "0"}
        for place, word in enumerate(found):
            if found[word] != answers[2 * at + place]:
                differences.note(word, value, "theirs", found[word], "ours", answers[2 * at + place])


def json_body(chance, depth=0):
    kind = chance.random()
    if depth > 3 or kind < 0.5:
        return chance.choice(['1', '-0.5e+3', '"x"', '"\\u0041\\n"', "null", "true", '""', '"é"', "01", "1.", '"\\x"', '"a'])
    inner = [json_body(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind < 0.75:
        return "[" + ",".join(inner) + chance.choice(["", "", "", ","]) + "]"
    names = ['"a"', '"b"', '""', '"a.b"', "'x'"]
    return "{" + ",".join(f"{chance.choice(names)}:{value}" for value in inner) + "}"


def xml_body(chance, depth=0):
    name, pairs = chance.choice(["a", "b", "é", "_x"]), ['x="1"', "y='&lt;'", "z='a\tb'", "xmlns='u'", "w='&#65;'"]
    head = name + "".join(" " + pair for pair in chance.sample(pairs, chance.randrange(3)))
    if depth > 3 or chance.random() < 0.2:
        return f"<{head}/>"
    texts = ["t", "\n", "&amp;", "&#x41;", "]]", "<!-- c -->", "<![CDATA[<x>]]>", "<?p x?>", None]
    inner = [chance.choice(texts) for _ in range(chance.randrange(4))]
    return f"<{head}>" + "".join(xml_body(chance, depth + 1) if one is None else one for one in inner) + f"</{name}>"


def multipart_body(chance):
    out, end = b"", chance.choice([b"\r\n"] * 6 + [b"\n"])
    for _ in range(chance.randrange(1, 4)):
        out += chance.choice([b"--xx"] * 9 + [b"--xy", b"-- xx", b"--xxx"]) + end
        for _ in range(chance.randrange(2)):
            out += chance.choice([b"Content-Type: text/plain", b"X-A: b", b" folded", b"nocolon", b"a b: c"]) + end
        out += b"Content-Disposition: form-data"
        for _ in range(chance.randrange(1, 3)):
            out += chance.choice([b"; ", b";", b" ; ", b","]) + chance.choice([b"name", b"filename", b"filename*", b"x"])
            out += b"=" + chance.choice([b'"a"', b"a", b"'a'", b'"a\\"b"', b"utf-8''a%20b", b'"a"b', b""])
        out += end + end + chance.choice([b"v1", b"", b"--xy", b"a--xxb", b"z" * 4095, b"l1" + end + b"l2"]) + end
    out += chance.choice([b"--xx--" + end] * 6 + [b"--xx--", b"--xx-", b""])
    return out


def compare_bodies(options, chance, differences):
    collections_of = {"ARGS": ("Args", "ArgsPost"), "FILES": ("Files",), "FILES_SIZES": ("FilesSizes",)}
    rules = "".join(
        f'SecRule {name} "@unconditionalMatch" "id:{100 + at},phase:2,pass,nolog,t:none,t:hexEncode,'
        f"setvar:'tx.{letter}=%{{tx.{letter}}}|%{{MATCHED_VAR_NAME}}~%{{MATCHED_VAR}}~'\"\n"
        f'SecRule TX:{letter} "@unconditionalMatch" "id:{200 + at},phase:2,pass,log,t:none,t:hexEncode,'
        f"logdata:'%{{MATCHED_VAR}}'\"\n"
        for at, (name, letter) in enumerate(zip([*collections_of, "XML:/*", "XML://@*"], "abcde"))
    ) + 'SecRule REQBODY_ERROR "@eq 1" "id:300,phase:2,pass,log"\n'
    for kind, content_type in (
        ("URLENCODED", "application/x-www-form-urlencoded"),
        ("JSON", "application/json"),
        ("XML", "text/xml"),
        ("MULTIPART", "multipart/form-data; boundary=xx"),
    ):
        chosen = "" if kind == "MULTIPART" else f'SecAction "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor={kind}"\n'
        oracle = Oracle("SecParseXmlIntoArgs On\n" + chosen + rules)
        bodies = []
        for _ in range(options.count):
            body = {
                "URLENCODED": lambda: made_of([b"a", b"b", b"=", b"&", b"%41", b"%", b"+", b"\0", b"\xff"], chance, 15),
                "JSON": lambda: json_body(chance).encode(),
                "XML": lambda: xml_body(chance).encode(),
                "MULTIPART": lambda: multipart_body(chance),
            }[kind]()
            if chance.random() < 0.15:
                at = chance.randrange(len(body) + 1)
                body = body[:at] + chance.choice([b"", b"\0", b"\xff", b'"', b"<", b"\r", b"]"]) + body[at + 1 :]
            bodies.append(body)
        questions = [f"body {kind} {content_type.encode().hex()} {body.hex()}" for body in bodies]
        for body, answer in zip(bodies, ours(options.ours, questions), strict=True):
            taken, _, _, error = answer.split(" ")
            theirs = oracle.ask(body, content_type)
            if (300 in theirs) != (error != "-"):
                differences.note(f"{kind}: error of one alone", body, "ours", error)
            if 300 in theirs or error != "-":
                continue
            values = [re.split("[:=]", one) for one in taken.split(";") if one]
            for at, (name, ours_of) in enumerate(
                [*collections_of.items(), ("XML:/*", ("XmlText",)), ("XML://@*", ("XmlAttributes",))]
            ):
                pairs = re.findall(rb"\|(.*?)~([0-9a-f]*)~(?=\||$)", bytes.fromhex(theirs.get(200 + at, "")), re.S)
                expected = sorted(value.decode() for _, value in pairs)
                found = sorted(value for collection, _, value in values if collection in ours_of)
                if kind == "MULTIPART":
                    # It loses line ends inside fields.
                    found = [re.sub("(0d)?0a", "", value) for value in found]
                if expected != found:
                    differences.note(f"{kind}: {name}", body, "theirs", expected, "ours", found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["transform", "injection", "body"])
    parser.add_argument("--ours", default="target/debug/examples/pure")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=3, help="cases to show of each difference")
    options = parser.parse_args()
    compare = {"transform": compare_transformations, "injection": compare_injections, "body": compare_bodies}
    for part in options.parts:
        differences = Differences(options.show)
        compare[part](options, random.Random(options.seed), differences)
        print(f"{part}: {dict(differences.counts) or 'no difference'}")


if __name__ == "__main__":
    main()
