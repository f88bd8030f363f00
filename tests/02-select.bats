#!/usr/bin/env bats
# What only stage 02 does, and its limit, FD_SETSIZE, from which chapter 3 starts.
load support/helpers

FD_SETSIZE=$(fd_setsize)

@test "expected limit: of 1100 clients, those beyond FD_SETSIZE wait in the backlog until others leave" {
    rule "the server never watches a descriptor of FD_SETSIZE or above; clients beyond it wait in the backlog" "FD_SET() with a descriptor outside the set, which overwrites other memory without an error" "chapter 2"
    need_linux "to count descriptors"
    [ "$(ulimit -Hn)" -ge 1200 ] || skip "needs 1200 descriptors; to run it: ulimit -Hn 2048"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    local room=$((FD_SETSIZE - $(fd_count)))
    echo "the server has descriptors for $room clients"
    start_client one idle "$room"
    client_printed one holding
    wait_until 5 fd_count_is "$FD_SETSIZE"
    start_client two crowd 100 50
    does_not_spin
    lacks_text "$TMP/two.out" answered
    [ "$(fd_count)" = "$FD_SETSIZE" ]
    resume_client one
    client_succeeded one
    client_succeeded two
    client crowd 1100 "$room"
}

@test "the server lowers its own soft descriptor limit to FD_SETSIZE, and changes no other limit" {
    rule "accept() fails with EMFILE before a descriptor reaches FD_SETSIZE" "the server checks the limit only after accept()" "chapter 2"
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

@test "the server does not watch inherited descriptors above FD_SETSIZE" {
    rule "the server never watches a descriptor of FD_SETSIZE or above" "FD_SET() with any number that accept() returns" "chapter 2"
    need_linux "to count descriptors"
    [ "$(ulimit -Hn)" -ge 1200 ] || skip "needs 1200 descriptors; to run it: ulimit -Hn 2048"
    ulimit -Sn "$(ulimit -Hn)"
    # The server inherits every descriptor from 10 to 1015, and 1100.  It has numbers for a few clients.
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

@test "when the limit is raised from outside, the server closes one client and lowers the limit again" {
    rule "the server never watches a descriptor of FD_SETSIZE or above" "the server assumes that nobody else changes its limit" "chapter 2"
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

@test "the client that gets a descriptor of FD_SETSIZE is closed with the reason" {
    rule "the log names the error that closed a client" "errno is that of an earlier call" "chapter 2"
    need prlimit "to raise a running process's limit" "install util-linux"
    [ "$(ulimit -Hn)" -ge 1200 ] || skip "needs 1200 descriptors; to run it: ulimit -Hn 2048"
    ulimit -Sn "$(ulimit -Hn)"
    start_server -v
    prlimit --pid "$SERVER_PID" --nofile=1200: # before any call has failed with EMFILE
    start_client one idle $((FD_SETSIZE - $(fd_count)))
    client_printed one holding
    wait_until 5 fd_count_is "$FD_SETSIZE"
    client connect expect-closed
    log_has 'watch: Too many open files; close'
    resume_client one
    client_succeeded one
}

@test "a server that cannot learn its descriptor limit does not start" {
    rule "the server never watches a descriptor of FD_SETSIZE or above" "the result of getrlimit() is not checked" "chapter 2"
    need_strace
    [ "${SERVER_KIND:-}" != sanitized ] || skip "LeakSanitizer does not work under strace; to run it: an ordinary build"
    local number status=0
    # The C library may ask for other limits first, so count the calls before the one for this limit.
    strace -qq -o "$TMP/trace" -e trace='?prlimit64,?getrlimit,?ugetrlimit' "$SERVER" -h >/dev/null
    cat "$TMP/trace"
    number=$(grep -n -m 1 RLIMIT_NOFILE "$TMP/trace" | cut -d : -f 1)
    timeout 5 strace -qq -o "$TMP/trace" -e trace='?prlimit64,?getrlimit,?ugetrlimit' -e "inject=?prlimit64,?getrlimit,?ugetrlimit:error=EPERM:when=$number" "$SERVER" -p 0 >"$TMP/out" 2>"$TMP/err" 3>&- || status=$?
    cat "$TMP/trace" "$TMP/err"
    grep -q 'RLIMIT_NOFILE.*INJECTED' "$TMP/trace"
    [ "$status" = 1 ]
    grep -q '^server: RLIMIT_NOFILE: Operation not permitted$' "$TMP/err"
}

# FD_CLR() with 1,030 changes the bit 6 of whatever follows the set, which may be the other set.
@test "closing a client whose descriptor is FD_SETSIZE or above does not affect those below" {
    rule "the server never touches the bit of a descriptor of FD_SETSIZE or above" "FD_CLR() with a descriptor outside the set, which overwrites other memory without an error" "chapter 2"
    need_linux "to count descriptors"
    need prlimit "to raise a running process's limit" "install util-linux"
    [ "$(ulimit -Hn)" -ge 1200 ] || skip "needs 1200 descriptors; to run it: ulimit -Hn 2048"
    ulimit -Sn "$(ulimit -Hn)"
    # The server gets 3, 4 and 5.  It inherits the numbers up to FD_SETSIZE + 5, except 6 and 7, so its first two
    # clients have those, and the third, once the limit is raised, has FD_SETSIZE + 6.
    # shellcheck disable=SC2016 # the other shell expands them
    WRAP=(bash -c 'for ((fd = 8; fd < $1 + 6; fd++)); do eval "exec $fd</dev/null"; done; shift; exec "$@"' - "$FD_SETSIZE")
    local verbs
    for verbs in 'fill 30000000 print here wait drain' 'echo a print here wait echo b'; do
        test_case "the client on descriptor 6: $verbs"
        start_server -v
        # shellcheck disable=SC2086
        start_client one small-rcvbuf $verbs shutdown expect-eof
        client_printed one here
        start_client two echo a print here wait
        client_printed two here
        start_client three connect expect-closed
        log_has 'new clients wait'
        prlimit --pid "$SERVER_PID" --nofile=1200:
        client_succeeded three
        has_text "$TMP/server.err" "accept: fd $((FD_SETSIZE + 6))\$"
        resume_client one
        client_succeeded one
        stop_server
        rm -f "$TMP/"{one,two,three}.*
    done
}

@test "a client that the server waits to write to is served after clients with higher descriptors have left" {
    rule "select() looks at every descriptor in either set" "the highest descriptor is searched in the set for reading only" "chapter 2"
    start_server
    start_client one small-rcvbuf fill 30000000 print full wait drain shutdown expect-eof
    client_printed one full
    next_client_works
    resume_client one
    client_succeeded one
    server_unaffected
}

@test "EBADF from select() while every watched descriptor is open: one line says so" {
    rule "a wait that keeps failing is reported once, and the server does not spin" "a number that no client has is taken for a descriptor that was closed by somebody else" "chapter 2"
    need_strace
    start_server
    start_client one echo a print here wait shutdown expect-eof
    client_printed one here
    start_client two echo a print here wait
    client_printed two here
    resume_client one # its number, which is below that of the other client, is free now
    client_succeeded one
    wait_until 3 fd_count_is $((FDS_AT_START + 1))
    strace -f -qq -o "$TMP/trace" -p "$SERVER_PID" -e trace=select,pselect6 -e inject=select,pselect6:error=EBADF 3>&- &
    PIDS="$! $PIDS"
    wait_until 5 has_text "$TMP/trace" INJECTED
    wait_until 3 has_text "$TMP/server.err" '^server: select: Bad file descriptor; clients wait until it succeeds$'
    does_not_spin
    cat "$TMP/server.err"
    [ "$(wc -l <"$TMP/server.err")" = 1 ]
}

@test "a debugger closes the descriptor of a client that the server waits to write to" {
    rule "a descriptor that was closed by somebody else affects one client only" "only the set for reading is searched for closed descriptors, so select() fails for ever" "chapter 2"
    need_linux "to look at the descriptors"
    need gdb "to close a descriptor of the server" "install gdb"
    need_ptrace
    start_server
    local fd=$(($(fd_count))) # the next number, because those below are in use
    start_client one small-rcvbuf fill 30000000 print full wait
    client_printed one full
    [ -e "/proc/$SERVER_PID/fd/$fd" ]
    gdb -p "$SERVER_PID" -batch -nx -ex "call (int)close($fd)" >"$TMP/gdb" 2>&1 3>&-
    [ ! -e "/proc/$SERVER_PID/fd/$fd" ] || skip "gdb could not close a descriptor here; to run it: a gdb that can call functions"
    next_client_works
    does_not_spin
    cat "$TMP/server.err"
    [ ! -s "$TMP/server.err" ]
    stop_server
}

@test "an echo costs two system calls and a share of the wait" {
    rule "the server reads and sends at once; it waits for writability only after a short write" "the server waits for writability before every send" "chapter 2"
    need_strace
    syscalls_per_echo_at_most 2.10
}
