#!/usr/bin/env bats
# Every system call that the server makes is made to fail: the first call, in another run the second
# one, and so on, until a run has fewer calls than that.  Whichever call fails, the server must not
# hang, spin, crash or send a wrong byte.  At start-up it may exit with code 1 and a message; after
# that it must serve the next client.
load support/helpers

# errors_of CALL: print the errors that its manual page documents and that a server can meet.  strace
# counts the calls of each thread separately, so with threads (01-blocking) "the first recv" fails for
# every client, and only transient errors leave a client that can be served.  With -1 there is one thread, and
# all errors are tried.
errors_of() {
    case $VARIANT:$1 in
    01-blocking:recvfrom) echo EINTR && return ;;
    01-blocking:sendto) echo EINTR EAGAIN ENOBUFS && return ;;
    esac
    case $1 in
    socket | pipe | pipe2 | epoll_create1) echo EMFILE ENOMEM ;;
    setsockopt) echo ENOMEM ;;
    bind) echo EADDRINUSE EACCES ;;
    listen) echo EADDRINUSE ;;
    getsockname) echo ENOBUFS ;;
    fcntl) echo EINVAL ;;
    rt_sigaction) echo EINVAL ;;
    prlimit64) echo EPERM ;;
    openat) echo ENOENT EMFILE ;;
    accept) echo EINTR ECONNABORTED EMFILE ENOMEM EPROTO ;;
    recvfrom) echo EINTR ECONNRESET ENOMEM ETIMEDOUT ;;
    sendto) echo EINTR EAGAIN EPIPE ENOBUFS ECONNRESET ;;
    epoll_ctl) echo ENOSPC ENOMEM ;;
    epoll_wait | poll | select | pselect6) echo EINTR ENOMEM ;;
    clone3 | clone) echo EAGAIN ;;
    write) echo EIO EPIPE ;;
    esac
}

# run_with_fault CALL ERROR N: start the server, let the Nth CALL fail with ERROR, connect clients,
# and stop the server.  Sets FAULT_INJECTED if the server made that call.
run_with_fault() {
    local call=$1 error=$2 n=$3 tracer server code=0
    PORT=$(free_port)
    : >"$TMP/server.out" # The line of the run before must not count for this one.
    # shellcheck disable=SC2086
    strace -f -qq -o "$TMP/trace" -e "trace=$call" -e "inject=$call:error=$error:when=$n" \
        "$SERVER" -v -p "$PORT" ${VARIANT_ARGS:-} >"$TMP/server.out" 2>"$TMP/server.err" 3>&- &
    tracer=$!
    PIDS="$tracer $PIDS"
    SERVER_PID=$tracer
    if wait_until 5 ready_or_exited && ! has_exited "$tracer"; then
        server=$(cat "/proc/$tracer/task/$tracer/children")
        server=${server%% *}
        PIDS="$server $PIDS"
        # The fault may affect the first two clients: the server may close them, but not leave them waiting.
        "$CLIENT" -t 5 "$PORT" send "$LONG" shutdown expect-closed || { echo "a client waits, and the server neither answers nor closes the connection"; return 1; }
        "$CLIENT" -t 5 "$PORT" small-rcvbuf try-fill 5000000 shutdown expect-closed || { echo "a client waits, and the server neither answers nor closes the connection"; return 1; }
        "$CLIENT" -t 5 "$PORT" echo "next" shutdown expect-eof ||
            "$CLIENT" -t 5 "$PORT" echo "next but one" shutdown expect-eof ||
            { echo "the next client is not served"; return 1; }
        kill -TERM "$server"
    fi
    wait_until 5 has_exited "$tracer" || {
        echo "the server does not stop on SIGTERM"
        grep -e State -e SigPnd -e ShdPnd -e SigBlk -e TracerPid "/proc/$server/status"
        tail -n 3 "$TMP/trace"
        return 1
    }
    wait "$tracer" || code=$?
    FAULT_INJECTED=''
    grep -q INJECTED "$TMP/trace" && FAULT_INJECTED=1
    [ "$code" -le 1 ] || { echo "the server exited with code $code; expected 0, or 1 with a message"; return 1; }
    [ "$code" = 0 ] || [ -n "$FAULT_INJECTED" ] || { echo "the server exited with code $code although no call failed"; return 1; }
    [ "$code" = 0 ] || grep -q '^server: ' "$TMP/server.err" || { echo "the server exited without a message on stderr"; return 1; }
    PIDS=''
}
# The server is ready or has exited.  It is not enough that clients can connect, because a call may
# still fail after listen(), and then the server exits.  But if write() fails, the line that announces
# the port may be missing.
ready_or_exited() {
    has_exited "$SERVER_PID" && return
    case ${call:-} in
    write | '') (exec 9<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null ;;
    *) has_text "$TMP/server.out" listening ;;
    esac
}

@test "each system call fails once: the first call, the second call, and so on" {
    rule "whichever call fails, the server does not hang, spin, crash or send a wrong byte" "the result of the call is not checked" "chapters 1 to 4"
    need_strace
    LONG=$(printf '%02000d' 7)
    # Find out which calls the server makes.
    PORT=$(free_port)
    # shellcheck disable=SC2086
    strace -f -qq -o "$TMP/all" "$SERVER" -v -p "$PORT" ${VARIANT_ARGS:-} >/dev/null 2>&1 3>&- &
    SERVER_PID=$!
    PIDS=$SERVER_PID
    wait_until 5 ready_or_exited
    client echo a shutdown expect-eof
    client small-rcvbuf fill 8000000 drain shutdown expect-eof
    kill -TERM "$(cat "/proc/$SERVER_PID/task/$SERVER_PID/children")"
    wait_until 3 has_exited "$SERVER_PID"
    local call error n runs=0 calls
    calls=$(sed 's/^[0-9]* *//; s/[( ].*//' "$TMP/all" | sort -u)
    for call in $calls; do
        for error in $(errors_of "$call"); do
            for ((n = 1; n <= ${MOST:-12}; n++)); do
                test_case "$call, call number $n, fails with $error"
                run_with_fault "$call" "$error" "$n" || return 1
                runs=$((runs + 1))
                [ -n "$FAULT_INJECTED" ] || break
            done
        done
    done
    test_case ''
    echo "$runs calls were made to fail; more than 50 are expected"
    echo "# $VARIANT: $runs runs, each with one fault" >&3
    [ "$runs" -gt 50 ]
}
