#!/usr/bin/env bats
# Every system call that the server makes fails once, the nth call of it for n = 1, 2, 3 … until none
# is hit any more.  Whatever fails: it never hangs, spins, crashes or sends a wrong byte.  At
# start-up it may end with exit code 1 and a line; later the next client works.
load support/helpers

# errors CALL: those that its manual page documents and that can happen to us.  strace counts the
# calls of each thread by itself, so in 01 "the first recv" is every client's first: there only what
# passes can be asked of it; with -1 it is one thread, and all the others are tried.
errors() {
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

# One life of the server with one fault.  Sets HIT when the fault was injected.
live_with() {
    local call=$1 error=$2 n=$3 tracer server code=0
    PORT=$(free_port)
    : >"$TMP/server.out" # what the last one said is not to be taken for this one's word
    # shellcheck disable=SC2086
    strace -f -qq -o "$TMP/trace" -e "trace=$call" -e "inject=$call:error=$error:when=$n" \
        "$SERVER" -v -p "$PORT" ${VARIANT_ARGS:-} >"$TMP/server.out" 2>"$TMP/server.err" 3>&- &
    tracer=$!
    PIDS="$tracer $PIDS"
    SERVER_PID=$tracer
    if wait_until 5 up_or_ended && ! has_exited "$tracer"; then
        server=$(cat "/proc/$tracer/task/$tracer/children")
        server=${server%% *}
        PIDS="$server $PIDS"
        # two victims: each gets right bytes, or is told that it is alone
        "$CLIENT" -t 5 "$PORT" send "$LONG" shutdown expect-closed || { echo "a client hangs"; return 1; }
        "$CLIENT" -t 5 "$PORT" small-rcvbuf try-fill 5000000 shutdown expect-closed || { echo "a client hangs"; return 1; }
        "$CLIENT" -t 5 "$PORT" echo "next" shutdown expect-eof ||
            "$CLIENT" -t 5 "$PORT" echo "the one after" shutdown expect-eof ||
            { echo "the next client is not served"; return 1; }
        kill -TERM "$server"
    fi
    wait_until 5 has_exited "$tracer" || {
        echo "it does not end"
        grep -e State -e SigPnd -e ShdPnd -e SigBlk -e TracerPid "/proc/$server/status"
        tail -n 3 "$TMP/trace"
        return 1
    }
    wait "$tracer" || code=$?
    HIT=''
    grep -q INJECTED "$TMP/trace" && HIT=1
    [ "$code" -le 1 ] || { echo "exit code $code"; return 1; }
    [ "$code" = 0 ] || [ -n "$HIT" ] || { echo "exit code $code without a fault"; return 1; }
    [ "$code" = 0 ] || grep -q '^server: ' "$TMP/server.err" || { echo "it ended without a word"; return 1; }
    PIDS=''
}
# That clients can connect is not enough: a call may fail after listen(), and the server ends.  But
# where write() is what fails, the line that says that it is ready may never come.
up_or_ended() {
    has_exited "$SERVER_PID" && return
    case ${call:-} in
    write | '') (exec 9<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null ;;
    *) has_text "$TMP/server.out" listening ;;
    esac
}

@test "each system call fails, the first, the second, the third …" {
    rule "never hang, spin, crash or send a wrong byte, whichever call fails" "a result that nobody looks at" "chapters 1 to 4"
    need_strace
    LONG=$(printf '%02000d' 7)
    # what calls does it make at all?
    PORT=$(free_port)
    # shellcheck disable=SC2086
    strace -f -qq -o "$TMP/all" "$SERVER" -v -p "$PORT" ${VARIANT_ARGS:-} >/dev/null 2>&1 3>&- &
    SERVER_PID=$!
    PIDS=$SERVER_PID
    wait_until 5 up_or_ended
    client echo a shutdown expect-eof
    client small-rcvbuf fill 8000000 drain shutdown expect-eof
    kill -TERM "$(cat "/proc/$SERVER_PID/task/$SERVER_PID/children")"
    wait_until 3 has_exited "$SERVER_PID"
    local call error n lives=0 calls
    # from the first call of our own on: what is before it is the dynamic loader's
    calls=$(sed 's/^[0-9]* *//; s/[( ].*//' "$TMP/all" | sort -u)
    for call in $calls; do
        for error in $(errors "$call"); do
            for ((n = 1; n <= ${MOST:-12}; n++)); do
                live_with "$call" "$error" "$n" || { echo "broken by: $call, $error, call $n"; return 1; }
                lives=$((lives + 1))
                [ -n "$HIT" ] || break
            done
        done
    done
    echo "# $VARIANT: $lives lives" >&3
    [ "$lives" -gt 50 ]
}
