#!/usr/bin/env bats
# The command line of our own stages: what they say, to which stream, with which exit code.
load support/helpers

# refuses CODE TEXT OPTION...: one clear line with TEXT on stderr, nothing on stdout.
refuses() {
    local code=$1 text=$2 status=0
    shift 2
    # shellcheck disable=SC2086
    "$SERVER" ${VARIANT_ARGS:-} "$@" >"$TMP/out" 2>"$TMP/err" 3>&- || status=$?
    cat "$TMP/err"
    [ "$status" = "$code" ]
    [ ! -s "$TMP/out" ]
    head -n 1 "$TMP/err" | grep -qF -e "$text"
    if [ "$code" = 1 ]; then
        [ "$(wc -l <"$TMP/err")" = 1 ]
    else
        grep -q '^usage: server ' "$TMP/err"
    fi
}

setup_rule() { rule "$1" "$2" "chapter 1"; }

@test "a bad option, value or operand: one line and the usage on stderr, exit 2" {
    setup_rule "a wrong command line is explained, exit 2" "atoi(), which takes anything for a number"
    local word
    for word in x -1 65536 5566x '' ' 5566' +5566 99999999999; do
        refuses 2 "$word" -p "$word"
    done
    refuses 2 -p -p
    refuses 2 -b -b
    refuses 2 -Z -Z
    refuses 2 operand operand
    refuses 2 5566 -p 0 5566
}

@test "-h prints the usage on stdout, exit 0" {
    setup_rule "help is not an error" "usage on stderr, or exit 1"
    "$SERVER" -h >"$TMP/out" 2>"$TMP/err"
    grep -q '^usage: server \[-v\] \[-b ADDRESS\] \[-p PORT\]' "$TMP/out"
    [ ! -s "$TMP/err" ]
    [ "$(awk 'length > 90' "$TMP/out" | wc -l)" = 0 ]
}

@test "ready, it prints exactly one line, with the real port" {
    setup_rule "stdout has one line, flushed when clients can connect" "a buffer that is not flushed into a pipe"
    start_server
    grep -qx "listening on 127.0.0.1:$PORT" "$TMP/server.out"
    [ "$PORT" -gt 0 ]
    next_client_works
    stop_server
    [ "$(wc -l <"$TMP/server.out")" = 1 ]
    grep -v "$EMULATION" "$TMP/server.err" && return 1
    [ "$(wc -l <"$TMP/server.err")" -le 2 ]
}
# What stage 05 prints on Linux, in two lines: it uses the kqueue emulation.
EMULATION="a kqueue emulation over epoll\|proves nothing about a BSD kernel"

@test "a port that is taken: one line, exit 1" {
    setup_rule "the message names the address and what to try" "perror(\"bind\") alone"
    start_server
    refuses 1 "127.0.0.1 port $PORT" -p "$PORT"
    grep -q 'try\|-p 0' "$TMP/err"
    next_client_works
}

@test "a port below 1024, as nobody: one line, exit 1" {
    setup_rule "the message names the address and what to try" "perror(\"bind\") alone"
    need_linux "for setpriv"
    need setpriv "to become nobody" "install util-linux"
    need_root "to become somebody else"
    cp "$SERVER" "$TMP/server"
    chmod 755 "$TMP" "$TMP/server"
    run setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all sh -c '
        [ "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" -gt 99 ] || exit 77
        exec "$0" -p 99 2>&1' "$TMP/server"
    [ "$status" != 77 ] || skip "every port is free for everybody here; to run it: net.ipv4.ip_unprivileged_port_start=1024"
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *"127.0.0.1 port 99"*"root"* ]]
    [ "${#lines[@]}" = 1 ]
}

@test "an address that is not here, or none at all: one line, exit 1" {
    setup_rule "the message names the address and what to try" "perror(\"bind\") alone"
    refuses 1 192.0.2.1 -b 192.0.2.1 -p 0
    refuses 1 nonsense -b nonsense -p 0
}

@test "IPv6" {
    setup_rule "-b ::1 works, and is printed in brackets" "sockaddr_in where sockaddr_storage is due"
    if ! "$SERVER" -b ::1 -p 0 -h >/dev/null || ! grep -q ' lo$' /proc/net/if_inet6 2>/dev/null; then
        [ "$(uname -s)" != Linux ] || skip "this machine has no ::1; to run it: enable IPv6 on lo"
    fi
    ADDRESS=::1 start_server
    grep -qx "listening on \[::1\]:$PORT" "$TMP/server.out"
    ADDRESS=::1 next_client_works
}

@test "no IPv6 at all: one line, exit 1" {
    setup_rule "the message names the address and what to try" "socket() or bind() taken for granted"
    need_linux "for network namespaces"
    need_root "for a network namespace of its own"
    unshare -n true 2>/dev/null || skip "no network namespaces here; to run it: CAP_SYS_ADMIN"
    run unshare -n "$SERVER" -b ::1 -p 0
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *"::1 port 0"*"try"* ]]
}

@test "stdout or stderr closed or full: it serves all the same" {
    setup_rule "nobody reads what the server prints: it serves all the same" "an error of printf() taken as fatal"
    need_linux "for /dev/full"
    local how
    FIXED_PORT=$(free_port)
    for how in '>&-' '2>&-' '>/dev/full' '2>/dev/full'; do
        eval "\"\$SERVER\" -v -p $FIXED_PORT ${VARIANT_ARGS:-} >/dev/null 2>/dev/null 3>&- $how &"
        SERVER_PID=$! PORT=$FIXED_PORT
        PIDS="$SERVER_PID $PIDS"
        wait_until 5 connects
        next_client_works
        stop_server
    done
}
connects() { (exec 9<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }

@test "started with descriptors 0, 1 and 2 closed, no socket gets their numbers" {
    setup_rule "what is printed never reaches a client" "the next socket gets the lowest free number"
    need_linux "for /proc"
    PORT=$(free_port)
    "$SERVER" -v -p "$PORT" ${VARIANT_ARGS:-} <&- >&- 2>&- 3>&- &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    wait_until 5 connects
    client echo "no other bytes than these" shutdown expect-eof
    local fd
    for fd in 0 1 2; do
        echo "$fd: $(readlink "/proc/$SERVER_PID/fd/$fd")"
        [ "$(readlink "/proc/$SERVER_PID/fd/$fd")" = /dev/null ]
    done
}

@test "SIGINT ends it even where the shell had it ignored" {
    setup_rule "a server started by a script's & can be stopped by SIGINT as by SIGTERM" "SIGINT inherited as ignored"
    trap '' INT
    start_server
    trap - INT
    stop_server INT
}

@test "-v tells in three columns, within 80" {
    setup_rule "the narration is one line for each thing that happened" "a line in several writes"
    start_server -v
    client echo hello shutdown expect-eof
    wait_until 5 has_text "$TMP/server.err" 'end of input; close'
    cat "$TMP/server.err"
    grep -q 'fd [0-9].*accept: fd [0-9]*$\|accept  *fd [0-9].* \(thread\|serve\|coroutine\)' "$TMP/server.err"
    grep -q '5.*send 5$' "$TMP/server.err"
    [ "$(awk 'length > 80' "$TMP/server.err" | wc -l)" = 0 ]
    [ -z "$(tr -d '[:print:]\n' <"$TMP/server.err")" ]
}

@test "SIGTERM ends it even where it was blocked" {
    setup_rule "asked to stop, the server stops, whoever started it" "a signal mask that was inherited"
    need python3 "to block a signal, which bash cannot" "install python3"
    WRAP=(python3 -c 'import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
os.execv(sys.argv[1], sys.argv[1:])')
    start_server
    next_client_works
    stop_server TERM
}

@test "-v into a pipe that nobody reads: it serves all the same, and SIGTERM ends it" {
    setup_rule "nobody reads what the server prints: it serves all the same" "a write() that waits for room in the pipe"
    mkfifo "$TMP/pipe"
    exec 7<>"$TMP/pipe" # open, and never read
    PORT=$(free_port)
    # shellcheck disable=SC2086
    "$SERVER" -v -p "$PORT" ${VARIANT_ARGS:-} >/dev/null 2>"$TMP/pipe" 3>&- &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    wait_until 5 connects
    client churn 600
    next_client_works
    stop_server TERM
    exec 7>&-
}
