"""Headless Chromium loads a page with a style sheet, a script, a fetch and an upload, over HTTP/2 and over HTTP/3, and
tells by which protocol each came."""

import base64
import hashlib
import json
import re
import subprocess
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from stage import FACTS, HOST, check, equal, finish, url

PARTS = {"/page", "/page/style.css", "/page/script.js", "/page/data.json", "/echo"}

with open(FACTS["certificate"], "rb") as file:
    key = x509.load_pem_x509_certificate(file.read()).public_key()
pin = base64.b64encode(hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()).decode()


def load(*flags):
    """What the page wrote into itself."""
    with tempfile.TemporaryDirectory() as profile:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync",
                   "--disable-domain-reliability", "--disable-features=OptimizationHints,MediaRouter", "--no-proxy-server",
                   f"--user-data-dir={profile}", f"--ignore-certificate-errors-spki-list={pin}",
                   f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                   "--virtual-time-budget=10000", "--dump-dom", *flags, url("/page")]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=50)
    found = re.search(r"TOLD(.*?)END</pre>", ran.stdout)
    if not check(found, f"the page is loaded {flags}", ran.stdout[-2000:] + ran.stderr[-2000:]):
        return None
    return json.loads(found[1].replace("&amp;", "&"))


for name, flags, protocol in [
    ("HTTP/2", ["--disable-quic"], "h2"),
    ("HTTP/3", [f"--origin-to-force-quic-on={HOST}:{FACTS['https']}"], "h3"),
    ("HTTP/1.1", ["--disable-quic", "--disable-http2"], "http/1.1"),
]:
    told = load(*flags)
    if told is None:
        continue
    equal((told["ok"], told["loaded"], told["length"], told["color"]), (True, True, 100000, "rgb(18, 52, 86)"), f"{name}: all parts work")
    protocols = {path: used for path, used in told["protocols"].items() if path in PARTS}
    equal(protocols, dict.fromkeys(PARTS, protocol), f"{name}: the protocol of each part")
finish(at_least=9)
