#!/usr/bin/env bats
# What only stage 06 does: the choice of a back end, and the price of the interface.  selector.bats
# tests the selector itself.
load support/helpers

told() { wait_until 5 has_text "$TMP/server.err" "$1" || { tail -n 20 "$TMP/server.err"; return 1; }; }
backends() { "$SERVER" -h | sed -n 's/.*BACKEND  one of: \(.*\) (.*/\1/p'; }

@test "-h lists the back ends that are compiled in, and -s takes each of them" {
    rule "-s BACKEND waits by that back end" "a choice that is ignored" "chapter 6"
    [ -n "$(backends)" ]
    local name
    for name in $(backends); do
        start_server -v -s "$name"
        client echo hello shutdown expect-eof
        told "^$name calls back .*recv 5, send 5"
        [ "$(sed -n 's/ calls back .*//p' "$TMP/server.err" | sort -u)" = "$name" ]
        stop_server
    done
}

@test "the kernel really waits by that back end" {
    rule "-s BACKEND waits by that back end" "a name that is printed, and another call that is made" "chapter 6"
    need_strace
    local name
    for name in epoll poll select; do
        WRAP=(strace -f -qq -o "$TMP/trace" -e trace=epoll_wait,epoll_pwait,poll,ppoll,select,pselect6)
        start_server -s "$name"
        client echo hello shutdown expect-eof
        case $name in
        epoll) ! grep -qv epoll "$TMP/trace" ;;
        poll) ! grep -v ' p\{0,1\}poll(' "$TMP/trace" ;;
        select) ! grep -v 'select' "$TMP/trace" ;;
        esac
        [ -s "$TMP/trace" ]
    done
}

@test "SELECTOR in the environment chooses, -s overrules it, an empty one chooses nothing" {
    rule "-s before SELECTOR before the best" "" "chapter 6"
    SELECTOR=poll start_server -v
    client echo hello shutdown expect-eof
    told '^poll calls back'
    SELECTOR=poll start_server -v -s select
    client echo hello shutdown expect-eof
    told '^select calls back'
    SELECTOR='' start_server -v
    client echo hello shutdown expect-eof
    told "^$(backends | cut -d' ' -f1) calls back"
}

@test "the best that the kernel accepts is the default" {
    rule "a kernel that refuses the best gets the next" "the best, or nothing" "chapter 6"
    need_strace
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=epoll_create1 -e inject=epoll_create1:error=ENOSYS)
    start_server -v
    client echo hello shutdown expect-eof
    told '^poll calls back'
    grep -q INJECTED "$TMP/trace"
}

@test "a back end that is not there: one line and the usage on stderr, exit 2" {
    rule "a wrong command line is explained, exit 2" "a default that is taken in silence" "chapter 6"
    local name code
    for name in nonsense '' EPOLL; do
        code=0
        "$SERVER" -p 0 -s "$name" >"$TMP/out" 2>"$TMP/err" || code=$?
        [ "$code" = 2 ]
        [ ! -s "$TMP/out" ]
        head -n 1 "$TMP/err" | grep -qF "\"$name\": not one of the back ends"
        grep -q '^usage: server ' "$TMP/err"
    done
    code=0
    SELECTOR=nonsense "$SERVER" -p 0 2>"$TMP/err" || code=$?
    [ "$code" = 2 ]
    grep -qF '"nonsense": not one of the back ends' "$TMP/err"
}

@test "over select, clients beyond FD_SETSIZE wait and are served when there is room" {
    rule "what a mechanism cannot, no interface can; but nobody is turned away" "selector_register() fails with ERANGE, and the client is gone" "chapter 6"
    need_linux "to count descriptors"
    [ "$(ulimit -Hn)" -ge 1200 ] || skip "needs 1200 descriptors; to run it: ulimit -Hn 2048"
    ulimit -Sn "$(ulimit -Hn)"
    start_server -s select
    start_client one idle $((1024 - $(fd_count)))
    client_printed one holding
    wait_until 15 fd_count_is 1024
    start_client two crowd 100 50
    does_not_spin
    resume_client one
    client_succeeded one
    client_succeeded two
    if command -v prlimit >/dev/null; then # raised from outside: lowered again
        wait_until 15 fd_count_is "$FDS_AT_START"
        start_client three idle $((1024 - $(fd_count)))
        client_printed three holding
        wait_until 15 fd_count_is 1024
        prlimit --pid "$SERVER_PID" --nofile=1200:
        client connect expect-closed
        awk '/^Max open files/ { print; exit $4 != 1024 }' "/proc/$SERVER_PID/limits"
        resume_client three
        client_succeeded three
        next_client_works
    fi
}

@test "over poll, a limit that is lowered below the list does not make it deaf" {
    rule "the server still hears its clients, and SIGTERM" "poll() fails with EINVAL for ever, poll(2)" "chapter 6"
    need prlimit "to lower a running process's limit" "install util-linux"
    start_server -s poll
    start_client one idle 50
    client_printed one holding
    wait_until 5 fd_count_is $((FDS_AT_START + 50))
    prlimit --pid "$SERVER_PID" --nofile=20:
    does_not_spin
    resume_client one
    client_succeeded one
    stop_server
}

@test "an idle client costs at most 96 bytes" {
    rule "an idle client costs its entries and no buffer" "a buffer for each client" "chapter 6"
    idle_client_costs_at_most 96
}

@test "an echo costs two system calls and a share of the wait, over each back end" {
    rule "the interface adds no system call" "a change of the set for each message" "chapter 6"
    need_strace
    local name
    for name in epoll poll select; do
        echo "$name:"
        SELECTOR=$name syscalls_per_echo_at_most 2.10
    done
}

@test "the shortest serve() of all stages" {
    rule "the abstraction pays for itself where one can see it" "" "chapter 6"
    local file shortest='' lines
    for file in "${TESTS%/*}"/0[2-6]*/server.c; do
        lines=$(sed -n '/^static void serve(void)/,/^}/p' "$file" | wc -l)
        echo "$lines $file"
        case $file in */06-*) [ "$lines" -lt "$shortest" ] ;; *) [ -n "$shortest" ] && [ "$shortest" -lt "$lines" ] || shortest=$lines ;; esac
    done
}
