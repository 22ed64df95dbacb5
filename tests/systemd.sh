#!/bin/bash
# Rempart under a real systemd, by hand: `tests/systemd.sh PROGRAM` as root, on a machine with systemd's program, cgroup2
# and curl. The manager runs as a user's, with the unit of deploy/, in namespaces and a control group of its own, so that
# nothing of the machine is touched; those of the unit's protections that need more than that are left out. A visitor
# after the other asks, each on a connection of its own, while processes are killed and the service is restarted,
# reloaded and upgraded: none of them may fail. Ends with 0 when everything held. What the protocol itself asks for is
# checked without systemd by `crates/rempart/tests/it/process/service.rs`.
set -u
here=$(dirname "$(readlink -f "$0")")

if [ "${2:-}" != inside ]; then
    program=$(readlink -f "${1:?the program: target/debug/rempart}")
    folder=$(mktemp -d /opt/rempart-systemd-XXXXXX)
    group=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/$(basename "$folder")
    trap 'rm -rf "$folder"; find "$group" -depth -type d -exec rmdir {} +' EXIT
    mkdir "$group"
    cp "$program" "$folder/rempart"
    (
        echo $BASHPID > "$group/cgroup.procs"
        exec timeout 300 unshare --mount --cgroup --pid --fork --mount-proc --kill-child \
            bash "$here/systemd.sh" "$folder" inside
    )
    code=$?
    sleep 1 # the group is empty a moment after its last process
    exit $code
fi

folder=$1
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system "$folder"/{settings/systemd/user,zones}
export HOME=$folder XDG_CONFIG_HOME=$folder/settings XDG_RUNTIME_DIR=/run
ip link set lo up 2>/dev/null
failed=0

check() { # WHAT, then a command that must hold
    local what=$1
    shift
    if "$@"; then echo "ok    $what"; else
        echo "FAILED $what"
        failed=1
    fi
}

cat > "$folder/rempart.toml" <<END
[node]
data_dir = "$folder/data"
threads = 2
drain_ms = 2000
[[listener]]
address = "127.0.0.1:28080"
protocol = "http"
[[listener]]
address = "127.0.0.1:28443"
protocol = "https"
[log]
access = "off"
END
printf 'name = "a"\nhostnames = ["example.org"]\n[[route]]\nanswer = { status = 200, body = "one" }\n' \
    > "$folder/zones/a.toml"
printf '[Unit]\nDescription=nothing\n' > "$folder/settings/systemd/user/nothing.target"
sed -E -e "s#/usr/bin/rempart#$folder/rempart#; s#/etc/rempart/rempart.toml#$folder/rempart.toml#" \
    -e '/^(User|Group|After|Wants|StateDirectory|StateDirectoryMode|LogsDirectory)=/d' \
    -e '/^(Private|Protect(Proc|Home|System|Kernel))[A-Za-z]*=/d' \
    -e "s#^\[Service\]#&\nStandardError=append:$folder/events#" \
    "$here/../deploy/rempart.service" > "$folder/settings/systemd/user/rempart.service"

/lib/systemd/systemd --user --unit=nothing.target > /dev/null 2>&1 &
manager=$!
for _ in $(seq 200); do [ -S /run/systemd/private ] && break; sleep 0.1; done
ctl() { systemctl --user --no-pager "$@" 2>/dev/null; }
shown() { ctl show rempart -p "$1" --value; }
is() { [ "$(shown "$1")" = "$2" ]; }
events() { grep -c "\"event\":\"$1\"" "$folder/events"; }
becomes() { # the unit is active again, with so many of these events
    for _ in $(seq 600); do
        is ActiveState active && [ "$(events "$1")" -ge "$2" ] && return 0
        sleep 0.1
    done
    return 1
}
ask() { curl -s -m 30 -H 'Host: example.org' http://127.0.0.1:28080/; }

check "it starts, and systemd knows when it serves" ctl start rempart
check "systemd keeps every socket: 3 over TCP twice, 5 over UDP" is NFileDescriptorStore 11
check "under the unit's filter of system calls" grep -q '^Seccomp:[[:space:]]*2' "/proc/$(shown MainPID)/status"
check "it answers" test "$(ask)" = one
(
    served=0
    while [ ! -e "$folder/enough" ]; do
        if [ "$(ask)" = one ]; then served=$((served + 1)); else echo "a visitor failed" >> "$folder/failed"; fi
    done
    echo "$served" > "$folder/served"
) &
crowd=$!
sleep 1
kill -9 "$(shown MainPID)"
check "its supervisor is killed: the next one takes the edge's sockets over" becomes sockets_taken_over 1
before=$(events sockets_restored)
ctl kill -s KILL rempart
check "every process is killed: the sockets come back" becomes sockets_restored $((before + 1))
before=$(events sockets_restored)
check "it is restarted" ctl restart rempart
check "and the sockets come back" becomes sockets_restored $((before + 1))
check "a reload publishes" ctl reload rempart
echo broken > "$folder/zones/b.toml"
check "a reload of broken files fails" eval '! ctl reload rempart'
rm "$folder/zones/b.toml"
check "and it serves on" is ActiveState active
main=$(shown MainPID)
check "it is upgraded" "$folder/rempart" upgrade --socket "$folder/data/rempart.sock"
check "and the supervisor becomes the new binary" becomes resumed 1
check "under the same process id" is MainPID "$main"
touch "$folder/enough"
wait "$crowd"
check "visitors were served all the time: $(cat "$folder/served")" test "$(cat "$folder/served")" -gt 20
check "and none of them failed" test ! -e "$folder/failed"
check "it stops" ctl stop rempart
check "and systemd lets go of the sockets" is NFileDescriptorStore 0
check "no process is left" eval '! pgrep -f "^rempart-" > /dev/null'
kill "$manager"
wait "$manager"
exit $failed
