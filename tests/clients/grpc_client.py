"""grpcio through the node over TLS and HTTP/2 to a grpcio server: all four forms, messages of 4 MB, metadata, status
and its message, deadlines and cancellation seen by the origin, many calls at once."""

import json
import os
import queue
from concurrent.futures import ThreadPoolExecutor

import grpc
from stage import FACTS, HOST, check, equal, finish

LARGE = 4 << 20
credentials = grpc.ssl_channel_credentials(open(FACTS["ca"], "rb").read())
options = [("grpc.ssl_target_name_override", HOST), ("grpc.default_authority", HOST), ("grpc.enable_http_proxy", 0),
           ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
channel = grpc.secure_channel(f"127.0.0.1:{FACTS['https']}", credentials, options)


def code_of(call):
    try:
        call()
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


unary = channel.unary_unary("/clients.Echo/Unary")
collect = channel.stream_unary("/clients.Echo/Collect")
count = channel.unary_stream("/clients.Echo/Count")
talk = channel.stream_stream("/clients.Echo/Talk")
tell = channel.unary_unary("/clients.Echo/Tell")

equal(unary(b"hello", timeout=20), b"hello", "one to one")
equal(unary(b"", timeout=20), b"", "an empty message")
large = os.urandom(LARGE)
check(unary(large, timeout=60) == large, "4 MB there and back")
reply, call = unary.with_call(b"x", timeout=20, metadata=(("x-asked", "a"),))
equal(dict(call.initial_metadata()).get("x-initial"), "a", "metadata there and back")
trailing = dict(call.trailing_metadata())
equal((trailing.get("x-trailer"), trailing.get("x-blob-bin")), ("t", b"\x00\xff"), "trailing metadata")
equal(call.code(), grpc.StatusCode.OK, "the status in trailers")

equal(collect(iter([b"a", b"b", b"c"]), timeout=20), b"abc", "many to one")
equal(collect(iter([]), timeout=20), b"", "none to one")
equal(len(collect(iter([large] * 4), timeout=60)), 4 * LARGE, "four of 4 MB to one")
equal(list(count(b"1000", timeout=20)), [str(number).encode() for number in range(1000)], "one to many")
equal(list(count(b"0", timeout=20)), [], "one to none")

# Each message comes back before the next is sent: nothing on the way waits for more.
waiting = queue.Queue()
replies = talk(iter(waiting.get, None), timeout=60)
for index in range(100):
    waiting.put(str(index).encode())
    equal(next(replies), str(index).encode(), f"message {index} of a talk")
waiting.put(large)
check(next(replies) == large, "4 MB in a talk")
waiting.put(None)
equal(list(replies), [], "the end of a talk")

try:
    channel.unary_unary("/clients.Echo/Fail")(b"why", timeout=20)
    check(False, "a failure fails")
except grpc.RpcError as error:
    equal((error.code().name, error.details()), ("FAILED_PRECONDITION", "no: why ünïcode %"), "a failure's status and words")
late = channel.unary_stream("/clients.Echo/FailLate")(b"", timeout=20)
equal(next(late), b"one", "a message before a failure")
equal(code_of(lambda: next(late)), "DATA_LOSS", "a failure after a message")
equal(code_of(lambda: channel.unary_unary("/clients.Echo/None")(b"", timeout=20)), "UNIMPLEMENTED", "an unknown method")

# Deadline and cancellation end the call at the origin too.
wait = channel.unary_unary("/clients.Echo/Wait")
equal(code_of(lambda: wait(b"late", timeout=0.5)), "DEADLINE_EXCEEDED", "a deadline")
told = json.loads(tell(b"late", timeout=30))
check(told and told[0]["deadline"] and not told[0]["active"], "the origin knew the deadline", told)
begun = channel.unary_stream("/clients.Echo/StreamThenWait")(b"cancelled", timeout=60)
equal(next(begun), b"begun", "a stream begins")
begun.cancel()
told = json.loads(tell(b"cancelled", timeout=30))
check(told and not told[0]["active"], "the origin saw the cancellation", told)
future = wait.future(b"cancelled early")
with ThreadPoolExecutor(16) as threads:
    results = [threads.submit(unary, str(index).encode(), timeout=60) for index in range(500)]
    check(all(result.result() == str(index).encode() for index, result in enumerate(results)), "500 calls at once")
future.cancel()
told = json.loads(tell(b"cancelled early", timeout=30))
check(told and not told[0]["active"], "the origin saw the cancellation of a call without an answer", told)
channel.close()
finish(at_least=115)
