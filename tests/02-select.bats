#!/usr/bin/env bats
# What only stage 02 does, and its limit: FD_SETSIZE, from which chapter 3 begins.
load support/helpers

FD_SETSIZE=1024

@test "expected limit: of 1100 clients those beyond FD_SETSIZE wait, and are served when there is room" {
    rule "a descriptor of FD_SETSIZE or above is never watched; who does not fit waits in the backlog" "FD_SET beyond the set: silent memory corruption" "chapter 2"
    need_linux "to count descriptors"
    [ "$(ulimit -Hn)" -ge 1200 ] || skip "needs 1200 descriptors; to run it: ulimit -Hn 2048"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    local room=$((FD_SETSIZE - $(fd_count)))
    echo "room for $room clients"
    start_client one idle "$room"
    client_printed one holding
    wait_until 5 fd_count_is "$FD_SETSIZE"
    start_client two crowd 100 50
    does_not_spin
    ! grep -q answered "$TMP/two.out"
    [ "$(fd_count)" = "$FD_SETSIZE" ]
    resume_client one
    client_succeeded one
    client_succeeded two
    client crowd 1100 "$room"
}

@test "it lowers its own descriptor limit, and nothing else" {
    rule "accept() says EMFILE before a descriptor is too large" "a limit that is checked after accept()" "chapter 2"
    need_linux "to read the limit"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    awk -v size=$FD_SETSIZE -v hard="$(ulimit -Hn)" '/^Max open files/ { print; exit !($4 == size && $5 == hard) }' "/proc/$SERVER_PID/limits"
    (
        ulimit -Sn 64
        start_server
        awk '/^Max open files/ { print; exit !($4 == 64) }' "/proc/$SERVER_PID/limits"
        kill "$SERVER_PID"
    )
}

@test "started with high descriptors inherited, it never touches them" {
    rule "a descriptor of FD_SETSIZE or above is never watched" "FD_SET with any number that accept() gives" "chapter 2"
    need_linux "to count descriptors"
    [ "$(ulimit -Hn)" -ge 1200 ] || skip "needs 1200 descriptors; to run it: ulimit -Hn 2048"
    ulimit -Sn "$(ulimit -Hn)"
    # every number from 10 to 1015 is taken, and 1100 too: there is room for a few clients only
    local fd opens=''
    for ((fd = 10; fd < 1016; fd++)); do opens="$opens exec $fd</dev/null;"; done
    cat >"$TMP/run" <<END
$opens exec 1100</dev/null
exec "\$@"
END
    WRAP=(bash "$TMP/run")
    start_server
    client crowd 40 2
    next_client_works
    WRAP=()
}

@test "the limit raised from outside: it is lowered again, and only the first beyond it is refused" {
    rule "a descriptor of FD_SETSIZE or above is never watched" "trust in a limit that anybody may raise" "chapter 2"
    need prlimit "to raise a running process's limit" "install util-linux"
    [ "$(ulimit -Hn)" -ge 1200 ] || skip "needs 1200 descriptors; to run it: ulimit -Hn 2048"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    start_client one idle $((FD_SETSIZE - $(fd_count)))
    client_printed one holding
    wait_until 5 fd_count_is "$FD_SETSIZE"
    prlimit --pid "$SERVER_PID" --nofile=1200:
    client connect expect-closed
    awk -v size=$FD_SETSIZE '/^Max open files/ { print; exit $4 != size }' "/proc/$SERVER_PID/limits"
    start_client two crowd 20 0
    does_not_spin
    resume_client one
    client_succeeded one
    client_succeeded two
    server_unaffected
    stop_server
}

@test "an echo costs two system calls and a share of the wait" {
    rule "read, and send at once; wait for room only after a short send" "waiting for writability before each send" "chapter 2"
    need_strace
    syscalls_per_echo_at_most 2.10
}
