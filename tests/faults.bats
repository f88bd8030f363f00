#!/usr/bin/env bats
# System calls that fail or do less than they were asked for.  strace makes a call fail with an errno;
# an LD_PRELOAD library (the fault shim) shortens reads and writes.  After each fault the affected client has
# seen what it should, the next client is served, the server does not spin, and it leaks no
# descriptor.
load support/helpers

# inject CALLS:error=E:when=N+S [OPTION...]: start the server under strace with this fault: call N of
# CALLS after the server's start fails, and every S-th call after it.  SERVER_PID becomes the server,
# which is strace's child.
inject() {
    local what=$1 calls first
    shift
    calls=${what%%:*}
    if is_foreign; then
        calls=$(calls_of_foreign_server "$calls")
        [ -n "$calls" ] || skip "your server does not make the call that the test makes fail; to run it: a server that makes this call (${what%%:*})"
    fi
    first=${what##*when=}
    case $first in
    *..*) first=$(($(calls_at_start "$calls") + ${first%%.*}))..$(($(calls_at_start "$calls") + ${first##*.})) ;;
    *) first=$(($(calls_at_start "$calls") + ${first%%+*}))${first#"${first%%+*}"} ;;
    esac
    what=${what#*:}
    test_case "${calls//,/ or } fails with $(sed 's/error=//; s/:.*//' <<<"$what")"
    what=$calls:${what%when=*}when=$first
    WRAP=(strace -f -qq -o "$TMP/trace" -e "trace=$calls" -e "inject=$what")
    start_server "$@"
    find_server_under_strace
}
find_server_under_strace() {
    wait_until 3 find_child
    SERVER_PID=$CHILD
    FDS_AT_START=$(fd_count)
    PIDS="$SERVER_PID $PIDS"
}

# ---- the calls that the server makes before it waits for its first client ----

# The system calls that the tests make fail, and those that do the same in other servers.  A question
# mark: not every processor has this call.
COUNTED='?accept,?accept4,recvfrom,read,readv,recvmsg,sendto,write,writev,sendmsg,?epoll_ctl,?epoll_wait,?epoll_pwait,?epoll_pwait2,?poll,?ppoll,?select,?pselect6,fcntl,setsockopt'

# Start the server under strace, and kill it when it waits, or when it has served a client, if the
# second argument is "client".  The trace, one line for each call, goes to the file.
trace_calls() { # FILE [client]
    WRAP=(strace -f -qq -o "$1" -e "trace=$COUNTED")
    start_server
    find_server_under_strace
    "$PROBE" -p "$SERVER_PID" 0 asleep
    [ -z "${2:-}" ] || client echo "count my calls" shutdown expect-eof >/dev/null || :
    kill -KILL "$SERVER_PID"
    wait_until 3 has_exited "$SERVER_PID"
    wait_until 3 has_text "$1" 'killed by SIGKILL' || :
    wait
    WRAP=()
}
# The folder with the two traces, which are made once for a run or for this file.
counted_calls() {
    if mkdir "$RUN_STATE/calls" 2>/dev/null; then
        trace_calls "$TMP/start" >&2
        trace_calls "$TMP/served" client >&2
        mv "$TMP/start" "$TMP/served" "$RUN_STATE/calls/"
        : >"$RUN_STATE/calls/complete"
    fi
    wait_until 30 test -e "$RUN_STATE/calls/complete" >&2
    echo "$RUN_STATE/calls"
}
# calls_at_start CALLS: how often one thread makes one of these calls before the first client.
calls_at_start() {
    awk -v calls=",$1," '{ name = $2; sub(/\(.*/, "", name) }
        index($0, "resumed>") == 0 && index(calls, "," name ",") { if (++count[$1 name] > most) most = count[$1 name] }
        END { print most + 0 }' "$(counted_calls)/start"
}
# calls_of_foreign_server CALLS: the calls with which this server does the same.  Skips the test if it
# never does.
calls_of_foreign_server() {
    local served message name=''
    served=$(counted_calls)/served
    message=$(sed -n '/count my calls/s/^[0-9]* *\(<\.\.\. \)*\([a-z0-9_]*\).*/\2/p' "$served")
    case $1 in
    recvfrom) name=$(grep -m 1 '^re' <<<"$message") || : ;;
    sendto)
        name=$(grep -m 1 -E '^(se|wr)' <<<"$message") || :
        ! grep -q "$name([12], " "$served" || name='' # its messages use the same call
        ;;
    wait) name=$(sed -n 's/^[0-9]* *\([a-z0-9_]*\)(.*/\1/p' "$served" | grep -E '^(epoll_p*wait|p*poll|p*select)' | tail -n 1) || : ;;
    *) [ "$(calls_in "$1" "$served")" -le "$(calls_in "$1" "$RUN_STATE/calls/start")" ] || name=$1 ;;
    esac
    echo "$name"
}

calls_in() { grep -cE "^[0-9]* *(${1//,/|})\\(" "$2" || :; }

# with_shim FAULTS [OPTION...]: start the server with these faults of the shim; tests/programs/shim.c
# lists them.
with_shim() {
    test_case "$1"
    rm -f "$TMP/shim.hit"
    WRAP=(env "SHIM_FAULTS=$1" "SHIM_HIT=$TMP/shim.hit" "LD_PRELOAD=$SHIM")
    shift
    start_server "$@"
}

# The fault has been injected.  If it has not, the test has checked nothing: the test is wrong, or
# somebody else's server makes a different call.
fault_was_injected() {
    grep -q INJECTED "$TMP/trace" && return
    is_foreign && skip "your server does not make the call that the test makes fail; to run it: a server that makes this call ($CASE)"
    echo "no call failed, so this test has checked nothing: $CASE"
    return 1
}
# The same for the shim, which has no effect on a server without a C library.
shim_had_effect() {
    [ -n "${OURS:-}" ] || [ -e "$TMP/shim.hit" ] ||
        skip "your server does not call the C library's function that the test makes fail; to run it: a server that calls it"
}

# Print the system call by which the server under test waits; a C library may use either name.
wait_call() {
    if is_foreign; then
        calls_of_foreign_server wait
        return
    fi
    case $VARIANT in
    *epoll* | *kqueue* | 07*) echo epoll_wait,epoll_pwait ;; # kqueue is emulated on top of epoll
    *poll*) echo poll,ppoll ;;
    *" -s select" | *-select*) echo select,pselect6 ;;
    esac
}

@test "EINTR from recv, send and accept" {
    rule "a call that fails with EINTR is repeated" "EINTR ends the client; if bytes differ: $SHORT_WRITE; if the client times out: $ONE_READ" "chapter 1"
    need_strace
    local call
    for call in recvfrom sendto accept,accept4; do
        inject "$call:error=EINTR:when=2+3"
        client connect echo a shutdown expect-eof
        client random 300000 echo b shutdown expect-eof
        server_unaffected
        fault_was_injected
    done
}

@test "EINTR from the wait" {
    rule "a wait that fails with EINTR is repeated" "EINTR ends the server, so Ctrl-Z and fg, or a debugger, end it; if the client times out: $ONE_READ" "chapter 2"
    need_strace
    local calls
    calls=$(wait_call)
    [ -n "$calls" ] || skip "expected: a blocking server does not wait for several descriptors"
    inject "$calls:error=EINTR:when=1+2"
    client random 300000 shutdown expect-eof
    server_unaffected
    fault_was_injected
}

@test "ENOMEM from the wait" {
    rule "if the wait fails, the server pauses briefly and waits again" "the loop ends, or spins" "chapter 2"
    need_strace
    local calls
    calls=$(wait_call)
    [ -n "$calls" ] || skip "expected: a blocking server does not wait for several descriptors"
    inject "$calls:error=ENOMEM:when=2+5"
    client echo a echo b echo c shutdown expect-eof
    server_unaffected
    fault_was_injected
    ! is_foreign || return 0
    [ "$(grep -c -E ': (Cannot allocate|Out of) memory; clients wait until it succeeds$' "$TMP/server.err")" = 1 ]
}

@test "ECONNABORTED from accept" {
    rule "the server skips a connection that ended before it was accepted" "ECONNABORTED from accept() ends the server (BSD reports it for such a connection)" "chapter 2"
    need_strace
    inject "accept,accept4:error=ECONNABORTED:when=1+2"
    client echo a shutdown expect-eof
    server_unaffected
    fault_was_injected
}

@test "EMFILE, ENFILE, ENOBUFS, ENOMEM and EPERM from accept" {
    rule "after a shortage at accept(), the server serves its clients, and accepts again after a short time" "the server calls accept() again and again, or ends" "chapter 2"
    need_strace
    local error
    for error in EMFILE ENFILE ENOBUFS ENOMEM EPERM; do
        inject "accept,accept4:error=$error:when=1..2"
        client echo a shutdown expect-eof
        server_unaffected
        fault_was_injected
    done
}

@test "errors of accept with connections between them are not a shortage" {
    rule "only accept() calls that fail in a row are treated as a shortage" "the errors are counted, and the count is never set back" "chapter 1"
    need_strace
    inject "accept,accept4:error=EPROTO:when=1+2"
    client churn 200
    server_unaffected
    fault_was_injected
    lacks_text "$TMP/server.err" 'not every client can be served'
}

@test "a hundred times no descriptor for accept(): one line, which names this error" {
    rule "a shortage is reported once, by its own name" "shortages are counted among the errors of single connections" "chapter 1"
    need_strace
    need_ours
    [ "${SERVER_KIND:-}" != sanitized ] || skip "a thread of the sanitizer sleeps, too; to run it: an ordinary build"
    case $VARIANT in 01*) ;; *) skip "expected: this stage does not sleep while accepting is paused" ;; esac
    # The pauses after the shortages take no time.
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=accept,accept4,nanosleep,clock_nanosleep -e inject=accept,accept4:error=EMFILE:when=1..100 -e inject=nanosleep,clock_nanosleep:retval=0)
    start_server
    find_server_under_strace
    next_client_works
    [ "$(grep -c 'accept.*INJECTED' "$TMP/trace")" = 100 ]
    cat "$TMP/server.err"
    [ "$(grep -c '^server: ' "$TMP/server.err")" = 1 ]
    has_text "$TMP/server.err" '^server: accept: Too many open files; new clients wait$'
}

@test "ENFILE from every further accept: the server does not spin and serves its clients" {
    rule "a shortage may be system-wide and permanent" "the server calls accept() again and again" "chapter 2"
    need_strace
    need_concurrent_clients
    inject "accept,accept4:error=ENFILE:when=2+1"
    start_client one echo a print here wait echo b shutdown expect-eof
    client_printed one here
    start_client two send x print sent wait
    client_printed two sent
    does_not_spin
    local calls
     calls=$(grep -c INJECTED "$TMP/trace")
     echo "accept() failed $calls times; fewer than 40 are expected"
     [ "$calls" -lt 40 ]
    resume_client one
    client_succeeded one
    fault_was_injected
}

@test "while accepting is paused, the events of a client do not end the pause" {
    rule "accept() is tried again after a pause or when a client has left, and not after each event" "the wait returns for another event, and the server accepts at once" "chapter 2"
    need_strace
    need_ours
    need_linux "to read the time"
    case $VARIANT in 01*) skip "expected: in this stage no event ends a pause" ;; esac
    inject "accept,accept4:error=ENFILE:when=3+1"
    local i echoes=()
    for ((i = 0; i < 300; i++)); do echoes+=(echo "$i"); done
    start_client one echo a print here wait "${echoes[@]}" print "done" wait
    client_printed one here
    local before after first calls
    "$CLIENT" -t 5 "$PORT" connect # it stays in the backlog
    wait_until 3 has_text "$TMP/trace" INJECTED
    first=$(grep -c INJECTED "$TMP/trace")
    read -r before _ </proc/uptime
    resume_client one
    client_printed one "done"
    read -r after _ </proc/uptime
    calls=$(($(grep -c INJECTED "$TMP/trace") - first))
    echo "during 300 echoes in $((10#${after/./} - 10#${before/./})) hundredths of a second, accept() was called $calls times"
    [ "$calls" -le $(((10#${after/./} - 10#${before/./}) / 10 + 3)) ]
}

@test "ENOBUFS and EAGAIN from send" {
    rule "if send() cannot take bytes now, the server sends them later; no byte is lost" "the bytes are dropped when send() fails; if bytes differ: $SHORT_WRITE; if the client times out: edge-triggered, but not re-armed after a send() that took nothing; or $ONE_READ" "chapter 2"
    need_strace
    local error
    for error in ENOBUFS EAGAIN; do
        inject "sendto:error=$error:when=1+2"
        client echo a random 300000 shutdown expect-eof
        next_client_works
        fault_was_injected
        inject "sendto:error=$error:when=2..5"
        client echo a random 300000 shutdown expect-eof
        server_unaffected
        fault_was_injected
    done
}

@test "the server sleeps for a millisecond after ENOBUFS, and not at all after EINTR" {
    rule "a pause is as short as its cause" "a pause as long as after a shortage of descriptors, so one client delays the others" "chapter 2"
    need_strace
    need_ours
    [ "${SERVER_KIND:-}" != sanitized ] || skip "a thread of the sanitizer sleeps, too; to run it: an ordinary build"
    local fault naps=trace=nanosleep,clock_nanosleep
    for fault in sendto:error=ENOBUFS recvfrom:error=EINTR sendto:error=EINTR; do
        test_case "$fault"
        WRAP=(strace -f -qq -o "$TMP/trace" -e "$naps,${fault%%:*}" -e "inject=$fault:when=1..3")
        start_server
        find_server_under_strace
        client echo a echo b shutdown expect-eof
        server_unaffected
        fault_was_injected
        grep -e INJECTED -e nanosleep "$TMP/trace"
        lacks_text "$TMP/trace" 'nanosleep(.*tv_nsec=[0-9]\{8\}' # 10 ms or more
        case $fault in
        *ENOBUFS) has_text "$TMP/trace" 'nanosleep(.*tv_nsec=1000000[^0-9]' ;;
        *EINTR) lacks_text "$TMP/trace" nanosleep ;;
        esac
    done
}

@test "a server that has been told to stop does not pause after ENOBUFS" {
    rule "the server stops within a second, although many clients have a pause each" "the server pauses for each client whose send() fails, and looks at the stop flag only afterwards" "chapter 2"
    need_strace
    need_ours
    need_concurrent_clients
    [ "${SERVER_KIND:-}" != sanitized ] || skip "a thread of the sanitizer sleeps, too; to run it: an ordinary build"
    case $VARIANT in 01*) skip "expected: the signal handler of this stage ends the process" ;; esac
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=nanosleep,clock_nanosleep,sendto -e inject=sendto:error=ENOBUFS)
    start_server
    find_server_under_strace
    start_client one connect print here wait send b print sent wait
    client_printed one here
    "$PROBE" -p "$SERVER_PID" 0 asleep
    kill -STOP "$SERVER_PID"
    resume_client one
    client_printed one sent
    kill -TERM "$SERVER_PID"
    kill -CONT "$SERVER_PID"
    STOPPED=yes
    wait_until 3 has_exited "$SERVER_PID"
    cat "$TMP/trace"
    # select() and the selector may report the shutdown pipe before the client
    case $VARIANT in 03* | 04* | 05* | 07*) fault_was_injected ;; esac
    sed '1,/INJECTED/d' "$TMP/trace" >"$TMP/afterwards"
    lacks_text "$TMP/afterwards" nanosleep
}

@test "ENOBUFS from every further send: the server does not spin, and stops on SIGTERM" {
    rule "after ENOBUFS the server pauses before it sends again" "send() is repeated at once" "chapter 2"
    need_shim
    with_shim "send:enobufs=2+1"
    start_client one echo a print here wait send b print sent wait
    client_printed one here
    resume_client one
    client_printed one sent
    does_not_spin
    kill "$PID_one"
    stop_server
    shim_had_effect
}

@test "ECONNRESET, ETIMEDOUT, ENOMEM from recv; EPIPE, ECONNRESET from send" {
    rule "an error of one client's connection ends only that client" "the error ends the server, or SIGPIPE is not ignored" "chapter 1"
    need_strace
    local fault
    for fault in recvfrom:error=ECONNRESET recvfrom:error=ETIMEDOUT recvfrom:error=ENOMEM \
        sendto:error=EPIPE:signal=SIGPIPE sendto:error=ECONNRESET sendto:error=ENOMEM; do
        # A server that uses MSG_NOSIGNAL need not ignore the signal; contract.bats tests it.
        ! is_foreign || fault=${fault%:signal=*}
        ! is_foreign || [ "$fault" != sendto:error=ENOMEM ] || continue # it may also try again
        inject "$fault:when=2"
        client echo a send b expect-closed
        server_unaffected
        fault_was_injected
    done
}

@test "only a shortage is reported as one: not the errors of one client's network" {
    rule "stderr names a failure that may affect every client, once, and no other" "an errno that a router or a firewall causes is taken for a lack of memory" "chapter 1"
    need_strace
    local error
    for error in ECONNREFUSED EHOSTDOWN EACCES EHOSTUNREACH ECONNABORTED; do
        inject "recvfrom:error=$error:when=2"
        client echo a send b expect-closed
        server_unaffected
        fault_was_injected
        lacks_text "$TMP/server.err" 'not every client can be served'
    done
    ! is_foreign || return 0
    inject "recvfrom:error=ENOMEM:when=2"
    client echo a send b expect-closed
    server_unaffected
    # the second text of ENOMEM is musl's
    [ "$(grep -c -E 'recv: (Cannot allocate|Out of) memory; not every client can be served' "$TMP/server.err")" = 1 ]
}

@test "an epoll_ctl that fails closes the client" {
    rule "a client whose descriptor cannot be watched is closed" "the result of epoll_ctl() is ignored, so no event ever arrives for the client; if the client times out: $ONE_READ" "chapter 4"
    need_strace
    case $VARIANT in *epoll* | *kqueue* | 07*) ;; *) skip "expected: this stage makes no epoll_ctl call" ;; esac
    local error
    for error in ENOSPC ENOMEM; do
        inject "epoll_ctl:error=$error:when=1"
        client send a expect-closed
        next_client_works
        fault_was_injected
    done
    inject "epoll_ctl:error=ENOMEM:when=2+2" # the calls that change the interest
    client small-rcvbuf try-fill 30000000 expect-closed
    client small-rcvbuf try-fill 30000000 expect-closed
    fault_was_injected
    does_not_spin
    if ! is_foreign; then # the calls that wait for input again
        inject "epoll_ctl:error=ENOMEM:when=3"
        run client small-rcvbuf try-fill 30000000 drain
        echo "$output"
        [ "$status" != 0 ] # the server closes the connection before everything has come back
        fault_was_injected
        next_client_works
    fi
    inject "epoll_ctl:error=EEXIST:when=1+" # for ever: an attempt to repair this must end
    client send a expect-closed
    fault_was_injected
    kill -TERM "$SERVER_PID"
    STOPPED=yes
    wait_until 3 has_exited "$SERVER_PID"
}

@test "fcntl and setsockopt that fail for a client" {
    rule "a client whose socket cannot be made non-blocking is closed, because it could block the others" "the result of fcntl() is ignored" "chapter 2"
    need_strace
    case $VARIANT in 01*) skip "expected: the sockets of this stage are blocking" ;; esac
    inject "fcntl:error=EINVAL:when=1..2"
    client connect expect-closed
    client connect expect-closed
    next_client_works
    fault_was_injected
    if ! is_foreign; then
        inject "fcntl:error=ENOBUFS:when=1" # reported like every shortage of memory or buffers
        client connect expect-closed
        [ "$(grep -c 'No buffer space available; not every client can be served' "$TMP/server.err")" = 1 ]
    fi
    local verbose=-v
    ! is_foreign || verbose=''
    inject "setsockopt:error=ENOMEM:when=1" ${verbose:+"$verbose"}
    client echo "slower, perhaps" shutdown expect-eof
    server_unaffected
    fault_was_injected
    is_foreign || grep -q 'TCP_NODELAY: \(Cannot allocate\|Out of\) memory$' "$TMP/server.err"
}

@test "close fails with EINTR and is not repeated" {
    rule "close() is called once, because the number may belong to another client after it, close(2)" "close() is repeated after EINTR" "chapter 1"
    need_compiled
    need_shim
    with_shim "close:eintr=1+1"
    client churn 30
    next_client_works
    lacks_text "$TMP/server.err" 'which is not open'
}

@test "short reads" {
    rule "recv() may return fewer bytes than were asked for" "the server takes one recv() for a whole message; if the client times out: $ONE_READ" "chapter 1"
    need_shim
    with_shim "recv:short=1+1"
    client random 50000 all-bytes shutdown expect-eof
    with_shim "recv:short=2+3"
    client random 3000000 shutdown expect-eof
    server_unaffected
    shim_had_effect
}

@test "short writes: the server sends the rest later and then reads again" {
    rule "send() may take fewer bytes than it was given" "the result of send() is ignored; if bytes differ or are missing: $SHORT_WRITE; if the client times out: $ONE_READ" "chapter 2"
    need_shim
    with_shim "send:short=1+1"
    client random 50000 all-bytes shutdown expect-eof
    with_shim "send:short=2+3"
    client random 3000000 echo "reading again" shutdown expect-eof
    server_unaffected
    shim_had_effect
}

@test "EAGAIN after each short write" {
    rule "the server waits for writability after a short write, and stops when everything is sent" "write interest is never set, or never removed; if bytes differ or are missing: $SHORT_WRITE; if the client times out: $ONE_READ" "chapter 2"
    need_shim
    with_shim "send:short=1+1,send:eagain=2+2"
    client random 20000 echo "reading again" shutdown expect-eof
    start_client one random 20000 print done wait
    client_printed one "done"
    does_not_spin # a short write to this client is over
    resume_client one
    client_succeeded one
    server_unaffected
    shim_had_effect
}

@test "when malloc fails, that client is closed and the next one is served" {
    rule "ENOMEM ends one client, not the server" "the result of malloc() is not checked; if the client times out: $ONE_READ" "chapter 2"
    need_compiled
    need_shim
    case $VARIANT in 01*) skip "expected: this stage does not allocate memory while it serves" ;; esac
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
    shim_had_effect
}

@test "when pthread_create fails, that client is closed with a clear message and the next one is served" {
    rule "a failed pthread_create() costs one client" "the result of pthread_create() is ignored, so the descriptor leaks" "chapter 1"
    need_shim
    [ "$VARIANT" = 01-blocking ] || skip "expected: this stage creates no threads"
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

@test "a signal that has a handler, sent 10,000 times, does not affect the clients" {
    rule "signals have no effect on what the clients see" "EINTR ends the server or a client; if bytes differ: $SHORT_WRITE; if the client times out: $ONE_READ" "chapter 2"
    need_shim
    with_shim "sigusr1"
    start_client one random 100000000 shutdown expect-eof
    send_10000_signals
    client_succeeded one
    server_unaffected
    shim_had_effect
}

@test "SIGTERM between the check and the wait stops the server" {
    rule "a signal between the check and the wait is not lost" "the loop checks a flag before the wait; the signal sets it afterwards, and the wait never ends" "chapter 2"
    need_shim
    with_shim "wait:sigterm=1+0"
    # The server waits again after its first client: no other event may end this wait.
    case $VARIANT in
    '01-blocking -1') client echo a shutdown expect-eof || true ;;
    *) start_client one connect wait ;;
    esac
    wait_until 2 test -e "$TMP/shim.hit" || shim_had_effect
    STOPPED=yes
    wait_until 2 has_exited "$SERVER_PID"
    wait "$SERVER_PID"
}

@test "TCP_NODELAY is set on the socket of every client" {
    rule "a reply leaves at once" "without TCP_NODELAY it waits about 40 ms, for the client's delayed ACK" "chapter 1"
    need_ours
    need_strace
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=setsockopt,accept,accept4)
    start_server
    client churn 5
    wait_until 3 each_socket_has_nodelay
}
each_socket_has_nodelay() { [ "$(grep -c 'TCP_NODELAY, \[1\].*= 0' "$TMP/trace")" = 5 ]; }

@test "a tracer that attaches and detaches does not affect the clients" {
    rule "a debugger has no effect on what the clients see" "EINTR from epoll_wait(), which SA_RESTART does not restart, ends the server" "chapter 4"
    need_strace
    start_server
    start_client one echo a print here wait echo b shutdown expect-eof
    client_printed one here
    local i
    for i in 1 2 3; do
        strace -f -qq -o "$TMP/trace.$i" -p "$SERVER_PID" 3>&- &
        PIDS="$! $PIDS"
        local tracer=$!
        wait_until 5 is_traced
        kill "$tracer"
        wait_until 5 is_untraced
    done
    resume_client one
    client_succeeded one
    server_unaffected
}
is_traced() { ! is_untraced; }
is_untraced() { grep -q '^TracerPid:[[:space:]]*0$' "/proc/$SERVER_PID/status"; }

@test "after a backlog of 8 has overflowed, all clients are served" {
    rule "clients that found the backlog full are accepted when there is room" "the server forgets connections after a burst; or $ONE_ACCEPT" "chapter 2"
    need_linux "for network namespaces"
    need_root "to create a network namespace"
    need_concurrent_clients
    need ip "to set up the namespace's loopback" "install iproute2"
    unshare -n true 2>/dev/null || skip "cannot create a network namespace; to run it: CAP_SYS_ADMIN"
    cat >"$TMP/in-namespace" <<'END'
ip link set lo up
echo 8 >/proc/sys/net/core/somaxconn
"$SERVER" "$@" >"$TMP/out" 2>&1 &
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
    short_sleep # which creates the FIFO $TMP/never
    split_words "$SERVER_ARGS ${VARIANT_ARGS:-}"
    WORDS=("${WORDS[@]//ADDRESS/127.0.0.1}")
    WORDS=("${WORDS[@]//PORT/5566}")
    SERVER=$SERVER TMP=$TMP CLIENT=$CLIENT run unshare -n bash "$TMP/in-namespace" "${WORDS[@]}"
    echo "$output"
    [ "$status" = 0 ]
    [[ $output == *"answered 20 of 20"* ]]
}
