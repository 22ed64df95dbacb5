"""A WebSocket server (websockets) as origin: echoes, chooses among subprotocols, compresses if asked, closes as told.

It prints its port as JSON and serves until it is killed."""

import json

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve


def echo(connection):
    try:
        for message in connection:
            if isinstance(message, str) and message.startswith("close "):
                _, code, reason = message.split(" ", 2)
                connection.close(int(code), reason)
            elif message == "facts":
                connection.send(json.dumps({
                    "subprotocol": connection.subprotocol, "path": connection.request.path,
                    "extensions": connection.request.headers.get("Sec-WebSocket-Extensions"),
                    "origin": connection.request.headers.get("Origin"), "cookie": connection.request.headers.get("Cookie"),
                    "for": connection.request.headers.get("X-Forwarded-For")}))
            elif message == "pieces":
                connection.send(iter(["pi", "ec", "es"]))
            elif message == "ping":
                connection.ping("from the origin").wait(10)
                connection.send("ponged")
            elif message == "vanish":
                connection.socket.shutdown(2)
            else:
                connection.send(message)
    except ConnectionClosed:
        pass


with serve(echo, "127.0.0.1", 0, subprotocols=["chat.v2", "chat.v1"], max_size=None) as server:
    print(json.dumps({"port": server.socket.getsockname()[1]}), flush=True)
    server.serve_forever()
