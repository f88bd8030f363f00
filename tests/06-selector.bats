#!/usr/bin/env bats
# What only stage 06 does: the choice of a back end, and the cost of the interface.  selector.bats
# tests the selector itself.
load support/helpers

FD_SETSIZE=$(fd_setsize)

compiled_backends() { "$SERVER" -h | sed -n 's/.*one of: \(.*\) (.*/\1/p'; }

@test "-h lists the back ends that are compiled in, and -s selects each of them" {
    rule "-s BACKEND selects how the server waits" "the option is ignored" "chapter 6"
    [ -n "$(compiled_backends)" ]
    local name
    for name in $(compiled_backends); do
        test_case "-s $name"
        start_server -v -s "$name"
        client echo hello shutdown expect-eof
        log_has "^$name calls back .*recv 5, send 5"
        [ "$(sed -n 's/ calls back .*//p' "$TMP/server.err" | sort -u)" = "$name" ]
        stop_server
    done
}

@test "-s selects the system call by which the server waits" {
    rule "-s BACKEND selects how the server waits" "the server logs one back end and uses another" "chapter 6"
    need_strace
    local name
    for name in epoll poll select; do
        test_case "-s $name"
        WRAP=(strace -f -qq -o "$TMP/trace" -e trace=epoll_wait,epoll_pwait,poll,ppoll,select,pselect6)
        start_server -s "$name"
        client echo hello shutdown expect-eof
        case $name in
        epoll) lacks_text "$TMP/trace" ' p*\(poll\|select[0-9]*\)(' ;;
        poll) lacks_text "$TMP/trace" 'epoll_\|select' ;;
        select) lacks_text "$TMP/trace" 'poll' ;;
        esac
        [ -s "$TMP/trace" ]
    done
}

@test "SELECTOR in the environment selects a back end, -s overrides it, and an empty SELECTOR selects none" {
    rule "-s takes precedence over SELECTOR, and SELECTOR over the default" "the environment is read after the options" "chapter 6"
    SELECTOR=poll start_server -v
    client echo hello shutdown expect-eof
    log_has '^poll calls back'
    SELECTOR=poll start_server -v -s select
    client echo hello shutdown expect-eof
    log_has '^select calls back'
    SELECTOR='' start_server -v
    client echo hello shutdown expect-eof
    log_has "^$(compiled_backends | cut -d' ' -f1) calls back"
}

@test "the default is the best back end that the kernel supports" {
    rule "if the kernel refuses the best back end, the server uses the next one" "the server ends, or never tries the next back end" "chapter 6"
    need_strace
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=epoll_create1 -e inject=epoll_create1:error=ENOSYS)
    start_server -v
    client echo hello shutdown expect-eof
    log_has '^poll calls back'
    grep -q INJECTED "$TMP/trace"
}

# refuses NAME COMMAND...: the server exits at once, because there is no back end of this name.
refuses() {
    local code=0
    "${@:2}" >"$TMP/out" 2>"$TMP/err" 3>&- &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    wait_until 5 has_exited "$SERVER_PID"
    wait "$SERVER_PID" || code=$?
    [ "$code" = 2 ]
    [ ! -s "$TMP/out" ]
    head -n 1 "$TMP/err" | grep -qF "\"$1\": not one of the back ends"
    grep -q '^usage: server ' "$TMP/err"
}

@test "an unknown back end: one line and the usage on stderr, exit code 2" {
    rule "a wrong command line is explained, with exit code 2" "an unknown name selects the default without a message" "chapter 6"
    local name
    for name in nonsense '' EPOLL; do
        refuses "$name" "$SERVER" -p 0 -s "$name"
    done
    refuses nonsense env SELECTOR=nonsense "$SERVER" -p 0
}

@test "with select, clients beyond FD_SETSIZE wait in the backlog until others leave" {
    rule "the limit of a mechanism remains behind the interface, but a client waits in the backlog instead of being closed" "selector_register() fails with ERANGE, and the server closes the client" "chapter 6"
    need_linux "to count descriptors"
    [ "$(ulimit -Hn)" -ge 1200 ] || skip "needs 1200 descriptors; to run it: ulimit -Hn 2048"
    ulimit -Sn "$(ulimit -Hn)"
    start_server -s select
    start_client one idle $((FD_SETSIZE - $(fd_count)))
    client_printed one holding
    wait_until 15 fd_count_is "$FD_SETSIZE"
    start_client two crowd 100 50
    does_not_spin
    resume_client one
    client_succeeded one
    client_succeeded two
    if command -v prlimit >/dev/null; then # when the limit is raised from outside, the server lowers it again
        wait_until 15 fd_count_is "$FDS_AT_START"
        start_client three idle $((FD_SETSIZE - $(fd_count)))
        client_printed three holding
        wait_until 15 fd_count_is "$FD_SETSIZE"
        prlimit --pid "$SERVER_PID" --nofile=1200:
        client connect expect-closed
        awk -v size="$FD_SETSIZE" '/^Max open files/ { print; exit $4 != size }' "/proc/$SERVER_PID/limits"
        resume_client three
        client_succeeded three
        next_client_works
    fi
}

@test "with select, a limit below FD_SETSIZE is not raised" {
    rule "the server lowers a limit that is too high for select, and leaves a lower one as it is" "the limit is set to FD_SETSIZE in any case" "chapter 6"
    need_linux "to read the limit"
    [ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge "$FD_SETSIZE" ] || skip "needs $FD_SETSIZE descriptors; to run it: ulimit -Hn $FD_SETSIZE"
    ulimit -Sn 200
    start_server -s select
    awk '/^Max open files/ { print; exit $4 != 200 }' "/proc/$SERVER_PID/limits"
    next_client_works
}

@test "a selector that cannot be opened, or that cannot watch the listener or the shutdown pipe: the server says so and exits" {
    rule "a server that cannot start says why, and does not listen without an answer" "the result of one of three calls is not checked" "chapter 6"
    need_strace
    local call status
    for call in epoll_create1:error=ENOSPC:when=1 epoll_ctl:error=ENOSPC:when=1 epoll_ctl:error=ENOSPC:when=2; do
        test_case "$call"
        status=0
        timeout -k 1 5 strace -f -qq -o "$TMP/trace" -e "trace=${call%%:*}" -e "inject=$call" "$SERVER" -p 0 -s epoll >"$TMP/out" 2>"$TMP/err" 3>&- || status=$?
        grep -q INJECTED "$TMP/trace"
        cat "$TMP/err"
        [ "$status" = 1 ]
        [ ! -s "$TMP/out" ]
        grep -qx 'server: selector: No space left on device' "$TMP/err"
    done
}

@test "with poll, the server serves its clients and stops on SIGTERM although the limit is below its list" {
    rule "the server receives the events of its clients, and SIGTERM" "poll() fails with EINVAL as long as it has more entries than RLIMIT_NOFILE, poll(2)" "chapter 6"
    need prlimit "to lower a running process's limit" "install util-linux"
    start_server -s poll
    start_client one idle 50
    client_printed one holding
    start_client two echo a print here wait echo b echo c shutdown expect-eof
    client_printed two here
    wait_until 5 fd_count_is $((FDS_AT_START + 51))
    prlimit --pid "$SERVER_PID" --nofile=20:
    does_not_spin
    resume_client two # the wait for c is the first with the lower limit
    client_succeeded two
    lacks_text "$TMP/server.err" '^server: '
    resume_client one
    client_succeeded one
    stop_server
}

# limit_calls BACKEND: write to $TMP/limits how the C library and the server ask for limits, and set them, when the
# server starts.
LIMIT_CALLS='?prlimit64,?getrlimit,?ugetrlimit,?setrlimit'
limit_calls() {
    WRAP=(strace -f -qq -o "$TMP/limits" -e "trace=$LIMIT_CALLS")
    start_server -s "$1"
    wait_until 3 find_child
    kill -KILL "$CHILD"
    wait_until 3 has_exited "$SERVER_PID"
    sed -i '/^[0-9]* *+++/d' "$TMP/limits"
    cat "$TMP/limits"
}
# fail_limit_call WHEN BACKEND: start the server; this call fails.
fail_limit_call() {
    WRAP=(strace -f -qq -o "$TMP/trace" -e "trace=$LIMIT_CALLS" -e "inject=$LIMIT_CALLS:error=EPERM:when=$1")
    start_server -s "$2"
    wait_until 3 find_child
    PIDS="$CHILD $PIDS"
}

@test "with poll, and a limit that cannot be raised, the message names the error of poll()" {
    rule "an error message names the error that happened" "errno is that of setrlimit()" "chapter 6"
    need_strace
    need prlimit "to lower a running process's limit" "install util-linux"
    limit_calls poll
    fail_limit_call $(($(wc -l <"$TMP/limits") + 2))+2 poll # each time, the limit is read and then set
    start_client one echo a print here wait echo b wait
    client_printed one here
    prlimit --pid "$CHILD" --nofile=2:
    resume_client one
    wait_until 3 has_text "$TMP/server.err" '^server: selector_dispatch'
    cat "$TMP/trace" "$TMP/server.err"
    grep -q 'RLIMIT_NOFILE, {.*INJECTED' "$TMP/trace"
    grep -q '^server: selector_dispatch: Invalid argument; clients wait until it succeeds$' "$TMP/server.err"
}

@test "a limit that cannot be read is not changed" {
    rule "the server changes a limit only if it knows it" "the result of getrlimit() is not checked, so the new limit depends on what is in memory" "chapter 6"
    need_strace
    limit_calls select
    fail_limit_call "$(grep -n -m 1 RLIMIT_NOFILE "$TMP/limits" | cut -d : -f 1)" select
    client echo hello shutdown expect-eof
    cat "$TMP/trace"
    grep -q 'RLIMIT_NOFILE.*INJECTED' "$TMP/trace"
    [ "$(grep -c RLIMIT_NOFILE "$TMP/trace")" = 1 ]
}

# bats test_tags=long
@test "an idle client costs at most 96 bytes" {
    rule "an idle client costs its table entries and no buffer" "a buffer is allocated for each client" "chapter 6"
    idle_client_costs_at_most 96
}

@test "an echo costs two system calls and a share of the wait, with each back end" {
    rule "the interface adds no system call" "the server changes what it watches for each message" "chapter 6"
    need_strace
    local name
    for name in epoll poll select; do
        test_case "SELECTOR=$name"
        SELECTOR=$name syscalls_per_echo_at_most 2.10
    done
}

@test "serve() is shorter than in every other stage" {
    rule "the interface makes the loop shorter" "code that belongs in selector.c is in serve()" "chapter 6"
    local file shortest='' lines ours=0
    for file in "${TESTS%/*}"/0[2-6]*/server.c; do
        lines=$(sed -n '/^static void serve(void)/,/^}/p' "$file" | wc -l)
        echo "$lines $file"
        case $file in
        */06-*) ours=$lines ;;
        *) [ -n "$shortest" ] && [ "$shortest" -le "$lines" ] || shortest=$lines ;;
        esac
    done
    echo "expected: 06-selector has fewer than $shortest lines"
    [ "$ours" -gt 0 ]
    [ "$ours" -lt "$shortest" ]
}
