"""A gRPC server (grpcio) as origin: echo in all four forms, failures, and what it saw of deadlines and cancellation.

Messages are plain bytes. It prints its port as JSON and serves until it is killed."""

import json
import threading
from concurrent import futures

import grpc

seen = []
changed = threading.Condition()


def saw(event):
    with changed:
        seen.append(event)
        changed.notify_all()


def remember(context, name):
    """Tells how the call ended, once it has."""
    begun = context.time_remaining()

    def ended():
        saw({"call": name, "deadline": begun is not None and begun < 1e6, "active": context.is_active()})

    context.add_callback(ended)


def unary(message, context):
    context.set_trailing_metadata((("x-trailer", "t"), ("x-blob-bin", b"\x00\xff")))
    context.send_initial_metadata((("x-initial", dict(context.invocation_metadata()).get("x-asked", "")),))
    return message


def collect(messages, context):
    return b"".join(messages)


def count(message, context):
    for number in range(int(message)):
        yield str(number).encode()


def talk(messages, context):
    yield from messages


def fail(message, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"no: {message.decode()} ünïcode %")


def fail_late(message, context):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "after one")


def wait(message, context):
    """Answers nothing until the call ends."""
    remember(context, message.decode())
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(60)
    return b""


def stream_then_wait(message, context):
    remember(context, message.decode())
    over = threading.Event()
    context.add_callback(over.set)
    yield b"begun"
    over.wait(60)


def tell(message, context):
    """Waits for the event of the call named, and tells all about it."""
    name = message.decode()
    with changed:
        changed.wait_for(lambda: any(event["call"] == name for event in seen), 20)
        return json.dumps([event for event in seen if event["call"] == name]).encode()


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Talk": grpc.stream_stream_rpc_method_handler(talk),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "StreamThenWait": grpc.unary_stream_rpc_method_handler(stream_then_wait),
    "Tell": grpc.unary_unary_rpc_method_handler(tell),
}
server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1),
                                                             ("grpc.max_send_message_length", -1)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("clients.Echo", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(json.dumps({"port": port}), flush=True)
server.wait_for_termination()
