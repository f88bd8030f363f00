#!/usr/bin/env bats
# System calls that fail.  strace makes the kernel say no, an LD_PRELOAD shim makes the C library
# say less than was asked for.  After each fault: the victim saw what it should, the next client
# works, nothing spins, no descriptor is left over.
load support/helpers

# inject CALLS:error=E:when=N+S [OPTION...]: start the server under strace with this fault.
# strace is the parent: SERVER_PID becomes the server itself.
inject() {
    local what=$1
    shift
    WRAP=(strace -f -qq -o "$TMP/trace" -e "trace=${what%%:*}" -e "inject=$what")
    start_server "$@"
    find_server_under_strace
}
find_server_under_strace() {
    wait_until 3 find_child
    SERVER_PID=$CHILD
    FDS_AT_START=$(fd_count)
    PIDS="$SERVER_PID $PIDS"
}

# with_shim FAULTS [OPTION...]: start the server with the shim.
with_shim() {
    WRAP=(env "SHIM_FAULTS=$1" "LD_PRELOAD=$SHIM")
    shift
    start_server "$@"
}

# A fault that was never injected has tested nothing: a mistake of the test, or a server of another
# kind, which makes another call.
injected() {
    grep -q INJECTED "$TMP/trace" && return
    [ -n "${OURS:-}" ] || skip "your server makes no such call; to run it: use the call that the test names"
    echo "the fault was never injected: this test tested nothing"
    return 1
}

# The name that the C library's call has in the kernel here.
wait_call() {
    case $VARIANT in
    *epoll* | *kqueue* | 07*) echo epoll_wait,epoll_pwait ;; # kqueue: the emulation
    *poll*) echo poll,ppoll ;;
    *" -s select" | *-select*) echo select,pselect6 ;;
    esac
}

@test "EINTR from recv, send and accept" {
    rule "EINTR: do it again" "EINTR treated as the client's end" "chapter 1"
    need_strace
    local call
    for call in recvfrom sendto accept,accept4; do
        inject "$call:error=EINTR:when=2+3"
        client connect echo a shutdown expect-eof
        client random 300000 echo b shutdown expect-eof
        server_unaffected
        injected
    done
}

@test "EINTR from the wait" {
    rule "EINTR from the wait: wait again" "EINTR taken as fatal: Ctrl-Z and fg, or a debugger, end the server" "chapter 2"
    need_strace
    [ -n "$(wait_call)" ] || skip "expected: a blocking server has no wait of its own"
    inject "$(wait_call):error=EINTR:when=1+2"
    client random 300000 shutdown expect-eof
    server_unaffected
    injected
}

@test "the wait fails for want of memory" {
    rule "the wait fails: rest, and wait again" "a loop that ends, or spins" "chapter 2"
    need_strace
    [ -n "$(wait_call)" ] || skip "expected: a blocking server has no wait of its own"
    inject "$(wait_call):error=ENOMEM:when=2+5"
    client echo a echo b echo c shutdown expect-eof
    server_unaffected
    injected
}

@test "ECONNABORTED from accept" {
    rule "a client that left before its turn is passed over" "ECONNABORTED treated as fatal (it is what BSD says)" "chapter 2"
    need_strace
    inject "accept,accept4:error=ECONNABORTED:when=1+2"
    client echo a shutdown expect-eof
    server_unaffected
    injected
}

@test "EMFILE, ENFILE, ENOBUFS, ENOMEM and EPERM from accept" {
    rule "a shortage at accept(): rest, serve on, look again after a moment" "accept() called over and over, or the server's end" "chapter 2"
    need_strace
    local error
    for error in EMFILE ENFILE ENOBUFS ENOMEM EPERM; do
        inject "accept,accept4:error=$error:when=1..2"
        client echo a shutdown expect-eof
        server_unaffected
        injected
    done
}

@test "ENFILE for good: it does not spin, and serves those it has" {
    rule "the shortage may be the system's and last" "accept() called over and over" "chapter 2"
    need_strace
    need_concurrent_clients
    inject "accept,accept4:error=ENFILE:when=2+1"
    start_client one echo a print here wait echo b shutdown expect-eof
    client_printed one here
    start_client two send x wait
    does_not_spin
    [ "$(grep -c INJECTED "$TMP/trace")" -lt 40 ]
    resume_client one
    client_succeeded one
    injected
}

@test "ENOBUFS, EAGAIN from send" {
    rule "a send that cannot just now is done later; nothing is lost" "bytes dropped when send() fails" "chapter 2"
    need_strace
    local error
    for error in ENOBUFS EAGAIN; do
        inject "sendto:error=$error:when=1+2"
        client echo a random 300000 shutdown expect-eof
        next_client_works
        injected
        inject "sendto:error=$error:when=2..5"
        client echo a random 300000 shutdown expect-eof
        server_unaffected
        injected
    done
}

@test "ENOBUFS for good: it does not spin, and serves the others when it ends" {
    rule "a shortage of buffers is waited for, not asked for without pause" "send() repeated at once" "chapter 2"
    need_shim
    with_shim "send:enobufs=2+1"
    start_client one echo a print here wait send b wait
    client_printed one here
    resume_client one
    does_not_spin
    kill "$PID_one"
    stop_server
}

@test "ECONNRESET, ETIMEDOUT, ENOMEM from recv; EPIPE, ECONNRESET from send" {
    rule "an error of one client ends that client only" "an error treated as the server's own" "chapter 1"
    need_strace
    local fault
    for fault in recvfrom:error=ECONNRESET recvfrom:error=ETIMEDOUT recvfrom:error=ENOMEM \
        sendto:error=EPIPE:signal=SIGPIPE sendto:error=ECONNRESET sendto:error=ENOMEM; do
        inject "$fault:when=2"
        client echo a send b expect-closed
        server_unaffected
        injected
    done
}

@test "epoll_ctl fails: the client goes, and does not hang for ever" {
    rule "a client that cannot be watched is closed" "the result of epoll_ctl() ignored" "chapter 4"
    need_strace
    case $VARIANT in *epoll* | *kqueue* | 07*) ;; *) skip "expected: no epoll_ctl in this stage" ;; esac
    local error
    for error in ENOSPC ENOMEM; do
        inject "epoll_ctl:error=$error:when=3" # 1 and 2 are the listener and the stop pipe
        client send a expect-closed
        next_client_works
        injected
    done
    inject "epoll_ctl:error=ENOMEM:when=4+2" # changes of mind
    client small-rcvbuf try-fill 30000000 expect-closed
    client small-rcvbuf try-fill 30000000 expect-closed
    injected
    does_not_spin
}

@test "fcntl and setsockopt fail for a client" {
    rule "no client is served that could block the others" "the result of fcntl() ignored" "chapter 2"
    need_strace
    case $VARIANT in 01*) skip "expected: nothing is made non-blocking in this stage" ;; esac
    WRAP=(strace -f -qq -o "$TMP/count" -e trace=fcntl)
    start_server
    find_server_under_strace
    local startup
    startup=$(grep -c '^[0-9]* *fcntl' "$TMP/count")
    inject "fcntl:error=EINVAL:when=$((startup + 1))..$((startup + 2))"
    client connect expect-closed
    client connect expect-closed
    next_client_works
    injected
    inject "setsockopt:error=ENOMEM:when=2" # 1 is SO_REUSEADDR
    client echo "slower, perhaps" shutdown expect-eof
    server_unaffected
    injected
}

@test "close says EINTR, and is not called again" {
    rule "close() is called once: the number may be somebody else's by then, close(2)" "close() repeated after EINTR" "chapter 1"
    need_shim
    with_shim "close:eintr=1+1"
    client churn 30
    next_client_works
    ! grep 'which is not open' "$TMP/server.err"
}

@test "short reads" {
    rule "recv() may give less than was asked for" "a message taken to be one recv()" "chapter 1"
    need_shim
    with_shim "recv:short=1+1"
    client random 50000 all-bytes shutdown expect-eof
    with_shim "recv:short=2+3"
    client random 3000000 shutdown expect-eof
    server_unaffected
}

@test "short writes: the rest is sent later, and then reading goes on" {
    rule "send() may take less than was given" "the result of send() ignored" "chapter 2"
    need_shim
    with_shim "send:short=1+1"
    client random 50000 all-bytes shutdown expect-eof
    with_shim "send:short=2+3"
    client random 3000000 echo "reading again" shutdown expect-eof
    server_unaffected
}

@test "EAGAIN after each short write" {
    rule "writability is asked for when a send was short, and no longer when all is sent" "write interest that is never armed, or never dropped" "chapter 2"
    need_shim
    with_shim "send:short=1+1,send:eagain=2+2"
    client random 20000 echo "reading again" shutdown expect-eof
    start_client one random 20000 print done wait
    client_printed one "done"
    does_not_spin # while a client is here for whom a send was short once
    resume_client one
    client_succeeded one
    server_unaffected
}

@test "no memory for a client: it goes, the next is served" {
    rule "ENOMEM ends one client, not the server" "the result of malloc() not looked at" "chapter 2"
    need_shim
    case $VARIANT in 01*) skip "expected: this stage asks for no memory while it serves" ;; esac
    local n long
    long=$(printf '%01000d' 0)
    for n in 1 2 3; do
        with_shim "send:short=1+1,malloc:enomem=$n+0"
        client send "$long" shutdown expect-closed
        client echo "$long" shutdown expect-eof || client echo "$long" shutdown expect-eof
        does_not_spin
    done
    with_shim "send:short=1+1,malloc:enomem=1+1"
    client send "$long" expect-closed
    client send "$long" expect-closed
    wait_until 3 fd_count_is "$(fd_count)"
}

@test "no thread for a client: it goes with a clear line, the server stays" {
    rule "a thread that cannot be had costs one client" "the result of pthread_create() ignored: the descriptor leaks" "chapter 1"
    need_shim
    [ "$VARIANT" = 01-blocking ] || skip "expected: this stage makes no threads"
    with_shim "pthread_create:eagain=2+2"
    client echo a shutdown expect-eof
    local fds
    wait_until 3 fd_count_is "$(fd_count)"
    fds=$(fd_count)
    client connect expect-closed
    grep -q 'no thread for fd [0-9]*: .*; close$' "$TMP/server.err"
    client echo b shutdown expect-eof
    wait_until 3 fd_count_is "$fds"
}

@test "10,000 handled signals lose nothing" {
    rule "signals have no effect on what the clients see" "EINTR treated as fatal, or as the end of a client" "chapter 2"
    need_shim
    with_shim "sigusr1"
    start_client one random 100000000 shutdown expect-eof
    send_10000_signals
    client_succeeded one
    server_unaffected
}

@test "SIGTERM between the check and the wait ends it all the same" {
    rule "a signal is not lost between the check and the wait" "a flag that is checked before the wait: set a moment later, the wait lasts for ever" "chapter 2"
    need_shim
    with_shim "wait:sigterm=2+0"
    client echo a shutdown expect-eof || true # brings the server to its second wait
    wait_until 2 has_exited "$SERVER_PID"
    wait "$SERVER_PID"
}

@test "every client's socket has TCP_NODELAY" {
    rule "an answer leaves at once" "no TCP_NODELAY: about 40 ms until the client's delayed ACK" "chapter 1"
    need_ours
    need_strace
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=setsockopt,accept,accept4)
    start_server
    client churn 5
    wait_until 3 five_nodelays
}
five_nodelays() { [ "$(grep -c 'TCP_NODELAY, \[1\].*= 0' "$TMP/trace")" = 5 ]; }

@test "a tracer attaches and leaves" {
    rule "a debugger has no effect on what the clients see" "EINTR from epoll_wait(), which no handler restarts, treated as fatal" "chapter 4"
    need_strace
    start_server
    start_client one echo a print here wait echo b shutdown expect-eof
    client_printed one here
    local i
    for i in 1 2 3; do
        strace -f -qq -o "$TMP/trace.$i" -p "$SERVER_PID" 3>&- &
        PIDS="$! $PIDS"
        local tracer=$!
        wait_until 5 traced
        kill "$tracer"
        wait_until 5 untraced
    done
    resume_client one
    client_succeeded one
    server_unaffected
}
traced() { ! untraced; }
untraced() { grep -q '^TracerPid:[[:space:]]*0$' "/proc/$SERVER_PID/status"; }

@test "a backlog of 8 that overflows recovers" {
    rule "clients that found the backlog full come in when there is room" "connections forgotten after a burst" "chapter 2"
    need_linux "for network namespaces"
    need_root "for a network namespace of its own"
    need_concurrent_clients
    need ip "to set up the namespace's loopback" "install iproute2"
    unshare -n true 2>/dev/null || skip "no network namespaces here; to run it: CAP_SYS_ADMIN"
    cat >"$TMP/inside" <<'END'
ip link set lo up
echo 8 >/proc/sys/net/core/somaxconn
"$SERVER" $ARGS >"$TMP/out" 2>&1 &
server=$!
trap 'kill -CONT $server; kill -KILL $server' EXIT
for ((i = 0; i < 100; i++)); do
    (exec 9<>/dev/tcp/127.0.0.1/5566) 2>/dev/null && break
    read -t 0.05 -r <>"$TMP/never"
done
kill -STOP $server
"$CLIENT" -t 15 5566 crowd 20 20 &
client=$!
read -t 0.3 -r <>"$TMP/never"
kill -CONT $server
wait $client
END
    short_sleep # creates $TMP/never
    local args=${SERVER_ARGS//ADDRESS/127.0.0.1}
    ARGS="${args//PORT/5566} ${VARIANT_ARGS:-}" SERVER=$SERVER TMP=$TMP CLIENT=$CLIENT run unshare -n bash "$TMP/inside"
    echo "$output"
    [ "$status" = 0 ]
    [[ $output == *"answered 20 of 20"* ]]
}
