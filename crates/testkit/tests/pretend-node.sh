#!/bin/sh
# Stands for the binary in the tests of testkit::node: `serve --config FILE` becomes ready and waits for
# signals, with a child of its own, as the supervisor has; `publish --config FILE` prints its arguments.
set -eu
if [ "$1" = publish ]; then echo "$@"; exit 0; fi
folder=$(dirname "$3")
[ "${PRETEND:-}" = fails ] && { echo '{"level":"ERROR","message":"no"}' >&2; exit 3; }
sleep 1000 &
child=$!
on_hup() { echo '{"level":"INFO","message":"reloaded"}' >&2; }
on_term() { [ "${PRETEND:-}" = leaves ] || { kill $child; wait $child || true; }; exit 0; }
trap on_hup HUP
trap on_term TERM
echo '{"level":"INFO","message":"started"}' >&2
[ "${PRETEND:-}" = warns ] && echo '{"level":"WARN","message":"careful"}' >&2
echo '{"status":200,"path":"/a"}' > "$folder/access.log"
mkdir -p "$folder/data"
echo "{\"pid\":$$,\"listeners\":[{\"protocol\":\"http\",\"address\":\"127.0.0.1:1\"}],\"admin\":null,\
\"socket\":\"$folder/data/rempart.sock\"}" > "$folder/data/new"
mv "$folder/data/new" "$folder/data/addresses.json"
while :; do wait $child || true; done
