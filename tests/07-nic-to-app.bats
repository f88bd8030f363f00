#!/usr/bin/env bats
# What only stage 07's server does: a coroutine for each client, and client code that reads as in stage 01.
load support/helpers

# start_injected CALL ERROR N: start the server under strace; the Nth CALL after the server has started to
# listen fails with ERROR.
start_injected() {
    local startup
    WRAP=(strace -f -qq -o "$TMP/count" -e "trace=$1")
    start_server
    wait_until 3 find_child
    startup=$(grep -c "$1(" "$TMP/count")
    WRAP=(strace -f -qq -o "$TMP/trace" -e "trace=$1" -e "inject=$1:error=$2:when=$((startup + $3))")
    start_server
    wait_until 3 find_child
    SERVER_PID=$CHILD
    PIDS="$SERVER_PID $PIDS"
    FDS_AT_START=$(fd_count)
}
mappings() { wc -l <"/proc/$SERVER_PID/maps"; }

@test "the function that serves a client is that of stage 01, with two differences" {
    rule "serve_client() in stage 07 differs from stage 01 only by a static buffer and by unwatch(fd) before close(fd)" "a change in one of the two stages only" "chapter 7"
    need_ours
    # Print the function's code without its comments.
    serve_client_of() { sed -n '/^static void serve_client(int fd)$/,/^}$/p' "$TESTS/../$1/server.c" | sed 's|  */\*.*||'; }
    serve_client_of 01-blocking >"$TMP/01.c"
    serve_client_of 07-nic-to-app >"$TMP/07.c"
    [ "$(wc -l <"$TMP/01.c")" -ge 9 ]
    # The two differences are there, each once, and without them the functions are equal.
    [ "$(grep -c '^    static char buffer\[' "$TMP/07.c")" = 1 ]
    [ "$(grep -c -x '    unwatch(fd);' "$TMP/07.c")" = 1 ]
    grep -x -A 1 '    unwatch(fd);' "$TMP/07.c" | tail -n 1 | grep -qx '    close(fd);'
    sed '/^    unwatch(fd);$/d; s/^    static char buffer/    char buffer/' "$TMP/07.c" | diff "$TMP/01.c" -
}

@test "the log shows which coroutine is resumed, and then what the coroutine does" {
    rule "the log shows for each event which coroutine is resumed, and why" "a call of log_action() is missing, or in another order" "chapter 7"
    start_server -v
    client echo hello shutdown expect-eof
    log_has 'recv 0 .*end of input; close'
    grep -A 1 'epoll_wait  1 ready .*EPOLLIN  *resume coroutine [0-9]*$' "$TMP/server.err" |
        grep -q '^recv 5  *fd [0-9]*  *send 5$'
    local fd
    fd=$(sed -n 's/^accept  *fd \([0-9]*\)  *start a coroutine for it$/\1/p' "$TMP/server.err")
    grep -q "EPOLLIN|EPOLLRDHUP  *resume coroutine $fd\$" "$TMP/server.err"
    # Each coroutine begins with its first event: one for the listener, and two for the client.
    [ "$(grep -c 'resume coroutine' "$TMP/server.err")" = 3 ]
}

@test "when the server stops, the coroutine of each client closes it" {
    rule "when the server stops, each coroutine leaves its wait, closes its client and ends" "the coroutines are left in their waits, so only the kernel closes the sockets" "chapter 7"
    start_server -v
    start_client one echo a print here wait
    client_printed one here
    stop_server TERM
    cat "$TMP/server.err"
    sed '1,/told to stop/d' "$TMP/server.err" >"$TMP/afterwards"
    has_text "$TMP/afterwards" 'fd [0-9]*  *recv: [A-Z].*; close$'
    has_text "$TMP/afterwards" 'epoll_ctl DEL$'
}

@test "when accept() fails for good, the listener's coroutine ends" {
    rule "a coroutine that has nothing left to do ends, and its stack is reused" "the coroutine waits for a descriptor that is not watched any more" "chapter 7"
    need_strace
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=accept,accept4 -e inject=accept,accept4:error=EBADF)
    start_server -v
    wait_until 3 find_child
    PIDS="$CHILD $PIDS"
    "$CLIENT" -t 5 "$PORT" connect
    log_has 'no more clients are accepted'
    kill -TERM "$CHILD"
    wait_until 3 has_exited "$SERVER_PID"
    cat "$TMP/server.err"
    grep -q 'told to stop' "$TMP/server.err"
    sed '1,/told to stop/d' "$TMP/server.err" >"$TMP/afterwards"
    lacks_text "$TMP/afterwards" 'resume coroutine'
}

@test "a server that stops while accepting is paused does not watch the listener again" {
    rule "after \"told to stop\", the server only closes what is open" "the pause ends, and the listener's coroutine begins to accept again" "chapter 7"
    need_strace
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=accept,accept4 -e inject=accept,accept4:error=EMFILE)
    start_server -v
    wait_until 3 find_child
    PIDS="$CHILD $PIDS"
    start_client one connect wait
    log_has 'accept: Too many open files; pause'
    kill -TERM "$CHILD"
    wait_until 3 has_exited "$SERVER_PID"
    cat "$TMP/server.err"
    sed '1,/told to stop/d' "$TMP/server.err" >"$TMP/afterwards"
    lacks_text "$TMP/afterwards" 'epoll_ctl ADD'
}

@test "EPOLLOUT is watched only after a short write, until everything is sent" {
    rule "the server watches EPOLLOUT after a short write, and no longer than that" "EPOLLOUT stays armed, so every wait returns at once and the server spins" "chapter 4"
    start_server -v
    client echo hello shutdown expect-eof
    lacks_text "$TMP/server.err" EPOLLOUT
    client small-rcvbuf fill 30000000 drain shutdown expect-eof
    log_has 'EPOLLOUT  *epoll_ctl MOD'
    log_has 'epoll_wait  1 ready .*EPOLLOUT  *resume coroutine'
    log_has 'EPOLLIN|EPOLLRDHUP  *epoll_ctl MOD'
    client echo "reading again" shutdown expect-eof
    does_not_spin
}

@test "a client that resets ends its coroutine, whether the coroutine waits to read or to write" {
    rule "after an error flag the coroutine is resumed, and its recv() or send() returns the errno" "no branch handles the flag, so the server spins or never closes the client" "chapter 4"
    start_server -v
    client echo hello reset
    log_has '^recv -1 .*Connection reset by peer; close'
    client small-rcvbuf fill 30000000 reset
    log_has 'EPOLLOUT|EPOLLERR|EPOLLHUP  *resume coroutine'
    [ "$(grep -c 'reset by peer; close' "$TMP/server.err")" = 2 ]
    server_unaffected
}

@test "a FIN does not end the wait while the coroutine waits to write" {
    rule "the server does not watch EPOLLRDHUP while bytes are pending" "EPOLLRDHUP is level-triggered and stays true, so every wait reports it and the server spins" "chapter 4"
    start_server -v
    start_client one small-rcvbuf fill 6000000 shutdown print done wait drain expect-eof
    client_printed one "done"
    log_has 'EPOLLOUT  *epoll_ctl MOD'
    does_not_spin
    resume_client one
    client_succeeded one
}

@test "unsent bytes of a client are kept while other clients use the shared buffer" {
    rule "all coroutines share one buffer, so a coroutine that waits copies the bytes that it still has to send" "the pointer to the unsent bytes points into the shared buffer" "chapter 7"
    start_server
    start_client one small-rcvbuf fill 6000000 print full wait drain shutdown expect-eof
    client_printed one full
    client random 3000000 shutdown expect-eof
    start_client two small-rcvbuf fill 6000000 print full wait drain shutdown expect-eof
    client_printed two full
    client all-bytes random 3000000 shutdown expect-eof
    resume_client two
    client_succeeded two
    resume_client one
    client_succeeded one
    server_unaffected
}

@test "when there is no memory for a stack, that client is closed and the next one is served" {
    rule "ENOMEM ends one client, not the server" "the result of mmap() or mprotect() is not checked" "chapter 7"
    need_strace
    local call calls='mmap mprotect'
    [ "${SERVER_KIND:-}" != sanitized ] || calls=mprotect # the sanitizer itself needs mmap()
    for call in $calls; do
        test_case "$call fails with ENOMEM"
        start_injected "$call" ENOMEM 1
        client connect expect-closed
        server_unaffected
        grep -q INJECTED "$TMP/trace"
    done
}

@test "without address space for stacks, connected clients are served, and new ones again when there is space" {
    rule "a shortage affects new clients only, and the server recovers from it" "an error of mmap() ends the server" "chapter 7"
    need_plain_memory
    need prlimit "to change a running process's limit" "install util-linux"
    start_server
    start_client one hold 100 print still wait
    client_printed one holding
    start_client two echo a print here wait echo b shutdown expect-eof
    client_printed two here
    prlimit --pid "$SERVER_PID" --as=1000000:
    client connect expect-closed
    client send x expect-closed
    resume_client two
    client_succeeded two # its stack is kept
    client echo "on the kept stack" shutdown expect-eof
    prlimit --pid "$SERVER_PID" --as=unlimited:
    client crowd 20 20
    resume_client one
    does_not_spin
}

@test "the server keeps a limited number of used stacks for new clients" {
    rule "after many clients the server has as much memory as before" "the server never returns a stack to the system" "chapter 7"
    need_plain_memory
    [ "$(ulimit -Hn)" -ge 1100 ] || skip "needs 1100 descriptors; to run it: ulimit -Hn 1100"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    local before kept
    before=$(mappings)
    start_client one hold 1000
    client_printed one holding
    [ "$(mappings)" -ge $((before + 1900)) ] # a stack and a guard page for each client
    resume_client one
    client_succeeded one
    wait_until 5 fd_count_is "$FDS_AT_START"
    kept=$(($(mappings) - before))
    echo "$kept mappings are kept; at most 140 are allowed"
    [ "$kept" -le 140 ]
    client churn 200
    wait_until 5 fd_count_is "$FDS_AT_START"
    [ $(($(mappings) - before)) -le 140 ]
    stop_server # must not resume a coroutine whose client has left
}

@test "stamps: the server ignores a file that is too small" {
    rule "ECHO_STAMPS is optional: whatever file it names, the server serves" "the server maps a file beyond its end, and the first stamp raises SIGBUS" "chapter 7"
    need_linux "to write stamps"
    local size
    for size in 0 8 100000; do
        test_case "a file of $size bytes"
        truncate -s $size "$TMP/small"
        WRAP=(env "ECHO_STAMPS=$TMP/small")
        start_server
        client echo hello shutdown expect-eof
        server_unaffected
        stop_server
        [ "$(tr -d '\0' <"$TMP/small" | wc -c)" = 0 ]
    done
}

@test "stamps: the server ignores a file for which the disk has no room" {
    rule "ECHO_STAMPS is optional: whatever file it names, the server serves" "the file has holes, and a stamp in one of them raises SIGBUS if the disk is full" "chapter 7"
    need_linux "to write stamps"
    need_root "to mount a file system"
    unshare -m true 2>/dev/null || skip "cannot mount here; to run it: CAP_SYS_ADMIN"
    mkdir "$TMP/full"
    # shellcheck disable=SC2016 # the other shell expands them
    WRAP=(env "ECHO_STAMPS=$TMP/full/stamps" unshare -m sh -c 'mount -t tmpfs -o size=64k none "${ECHO_STAMPS%/*}" &&
        truncate -s 16M "$ECHO_STAMPS" && exec "$@"' -)
    start_server
    client load 1 5000 64 # 240,000 bytes of stamps
    server_unaffected
    stop_server
}

@test "stamps: the ring has room for two stamps of each packet that trace may follow (20,000)" {
    rule "trace -n 20000 sees every stamp of the loop" "the ring is too small, so new stamps overwrite the first ones" "chapter 7"
    need_linux "to write stamps"
    local written
    truncate -s 16M "$TMP/stamps"
    WRAP=(env "ECHO_STAMPS=$TMP/stamps")
    start_server
    client load 1 20000 64
    written=$(od -A n -t u8 -N 8 "$TMP/stamps" | tr -d ' ')
    echo "$written stamps were written; at least 40000 are expected"
    [ "$written" -ge 40000 ]
    # The last stamp has a slot of its own: the file starts with 8 bytes, then come 24 for each stamp.
    [ "$(tail -c +$((9 + 24 * (written - 1))) "$TMP/stamps" | head -c 24 | tr -d '\0' | wc -c)" -gt 0 ]
}

@test "an echo costs two system calls and a share of the wait, and no epoll_ctl" {
    rule "switching between coroutines needs no system call" "swapcontext(), which sets the signal mask with a system call" "chapter 7"
    need_strace
    syscalls_per_echo_at_most 2.10
}

@test "the server serves more clients than FD_SETSIZE" {
    rule "only the system limits the number of clients" "a table has a fixed size" "chapter 4"
    [ "$(ulimit -Hn)" -ge 3100 ] || skip "needs 3100 descriptors; to run it: ulimit -Hn 4096"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    client crowd 3000 3000
    next_client_works
}

# bats test_tags=long
@test "an idle client costs at most two pages of its stack" {
    rule "an idle client costs the used pages of its stack and no buffer" "there is a buffer on each stack" "chapter 7"
    idle_client_costs_at_most $((2 * $(getconf PAGESIZE)))
}

# The two servers are measured in turn, five times.  The smallest figure of each counts, because
# other work on the machine only adds to the others.
# bats test_tags=long
@test "an echo costs at most 1.10 times the CPU of stage 04" {
    rule "a coroutine adds a few nanoseconds to each event" "swapcontext(), or an epoll_ctl() call for each wait" "chapter 7"
    need_plain_memory
    [ -n "${LONG:-}" ] || skip "measures for half a minute; to run it: LONG=1"
    local other=$TESTS/../04-epoll/server ours=$SERVER least04='' least07='' i before used
    [ -x "$other" ] || skip "needs stage 04 to compare with; to run it: make 04"
    echo_cpu() { # PROGRAM: nanoseconds of CPU for 100,000 echoes
        SERVER=$1 start_server
        client load 50 2000 64
        read -r before _ <"/proc/$SERVER_PID/schedstat"
        client load 50 100000 64
        read -r used _ <"/proc/$SERVER_PID/schedstat"
        used=$((used - before))
        stop_server
    }
    for i in 1 2 3 4 5; do
        echo_cpu "$other"
        [ -n "$least04" ] && [ "$least04" -le "$used" ] || least04=$used
        echo_cpu "$ours"
        [ -n "$least07" ] && [ "$least07" -le "$used" ] || least07=$used
    done
    echo "CPU time for one echo: $((least04 / 100000)) ns in stage 04, $((least07 / 100000)) ns in stage 07"
    [ $((least07 * 100)) -le $((least04 * 110)) ]
}

@test "an event for a descriptor that has no coroutine is ignored" {
    rule "an event without a coroutine is ignored" "the table of coroutines is read beyond its end" "chapter 7"
    need python3 "to add a descriptor to the server's epoll instance" "install python3"
    [ "$(ulimit -Hn)" -gt 19000 ] || skip "needs 19,001 descriptors; to run it: ulimit -Hn 20000"
    ulimit -Sn 19001
    ignores_foreign_events 20 19000 # within the table of coroutines, and beyond all memory near it
}
