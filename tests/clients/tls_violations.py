"""TLS records that do not decrypt, alerts, garbage and half a handshake: the connection ends, with an alert where
there is one to give, and others are served. The records are written beside the TLS library, into its socket."""

import socket
import ssl

from stage import FACTS, HOST, check, connect, finish, tls_context


class Beside:
    """A TLS connection through memory, so that bytes of any kind can go out between its records."""

    def __init__(self, alpn=("http/1.1",), **settings):
        self.raw = socket.create_connection(("127.0.0.1", FACTS["https"]), timeout=10)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = tls_context(list(alpn))
        for name, value in settings.items():
            setattr(context, name, value)
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=HOST)
        self.pump(self.tls.do_handshake)

    def pump(self, step):
        while True:
            try:
                result = step()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                more = self.raw.recv(65536)
                if not more:
                    self.incoming.write_eof()
                else:
                    self.incoming.write(more)

    def flush(self):
        if bytes_ := self.outgoing.read():
            self.raw.sendall(bytes_)

    def ask(self):
        self.tls.write(f"GET /hello HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        self.flush()
        return self.pump(lambda: self.tls.read(65536))

    def ends(self):
        """What comes until the node closes: an alert's name, or nothing."""
        try:
            while True:
                self.pump(lambda: self.tls.read(65536) or self.stop())
        except ssl.SSLError as error:
            return error.reason or type(error).__name__
        except OSError as error:
            return type(error).__name__

    def stop(self):
        raise ConnectionAbortedError


RECORDS = [
    ("a record that does not decrypt", bytes.fromhex("1703030020") + bytes(32)),
    ("an empty record", bytes.fromhex("1703030000")),
    ("a record larger than allowed", bytes.fromhex("170303ffff") + bytes(65535)),
    ("a record of an unknown type", bytes.fromhex("6303030004") + bytes(4)),
    ("a handshake record in clear", bytes.fromhex("160303000401000000")),
    ("an alert in clear", bytes.fromhex("15030300020228")),
    ("a warning in clear", bytes.fromhex("15030300020164")),
    ("HTTP in clear", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("zeros", bytes(100)),
]
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    for alpn in ("http/1.1", "h2"):
        for name, record in RECORDS:
            name = f"{version.name}, {alpn}: {name}"
            peer = Beside(alpn=(alpn,), minimum_version=version, maximum_version=version)
            if alpn == "http/1.1":
                check(peer.ask().startswith(b"HTTP/1.1 200"), f"{name}: served before")
            peer.raw.sendall(record * 3)
            end = peer.ends()
            check(end is not None, f"{name}: the connection ends", end)
            peer.raw.close()

# Records that are good, then one that is not, in one write: the answer to the first may come or not.
peer = Beside()
peer.tls.write(f"GET /hello HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
peer.raw.sendall(peer.outgoing.read() + RECORDS[0][1])
check(peer.ends() is not None, "a good record, then a bad one")

# Beginnings of handshakes.
for name, bytes_ in [
    ("zeros", bytes(1000)), ("HTTP in clear", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ("an alert", bytes.fromhex("15030100020228")),
    ("a hello of a wrong length", bytes.fromhex("160301000801ffffff0303") + bytes(100)),
    ("an empty record", bytes.fromhex("1603010000") * 100), ("a hello that never ends", bytes.fromhex("1603014000") + bytes(20000)),
]:
    with socket.create_connection(("127.0.0.1", FACTS["https"]), timeout=30) as raw:
        try:
            raw.sendall(bytes_)
            while raw.recv(65536):
                pass
            end = "closed"
        except OSError as error:
            end = type(error).__name__
        check(end in ("closed", "ConnectionResetError", "BrokenPipeError"), f"{name} instead of a hello: the connection ends", end)

with connect("https") as good:
    good.sendall(f"GET /hello HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    check(good.recv(65536).startswith(b"HTTP/1.1 200"), "another visitor is served after all")
finish(at_least=40)
