#!/usr/bin/env bats
# What only stage 07's server does: a coroutine for each client, and code that reads as stage 01's.
load support/helpers

told() { wait_until 5 has_text "$TMP/server.err" "$1" || { tail -n 20 "$TMP/server.err"; return 1; }; }

# start_injected CALL ERROR MORE: the server under strace; CALL fails once, MORE calls after those
# that it makes before it listens.
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

@test "a client's whole life reads as in stage 01, but for one word" {
    rule "the book begins and ends with the same lines" "" "chapter 7"
    need_ours
    life() { sed -n '/^static void client_serve(int fd)$/,/^}$/p' "$TESTS/../$1/server.c" | sed 's|  */\*.*||'; }
    [ "$(life 01-blocking | wc -l)" -ge 9 ]
    diff <(life 01-blocking) <(life 07-nic-to-app | sed 's/    static char buffer/    char buffer/')
}

@test "a wake-up names the coroutine, and the next line is what it did" {
    rule "the narration shows who was resumed, and why" "" "chapter 7"
    start_server -v
    client echo hello shutdown expect-eof
    told 'recv 0 .*end of input; close'
    grep -A 1 'epoll_wait  1 ready .*EPOLLIN  *resume coroutine [0-9]*$' "$TMP/server.err" |
        grep -q '^recv 5  *fd [0-9]*  *send 5$'
    local fd
    fd=$(sed -n 's/^accept  *fd \([0-9]*\)  *a coroutine for it$/\1/p' "$TMP/server.err")
    grep -q "EPOLLIN|EPOLLRDHUP  *resume coroutine $fd\$" "$TMP/server.err"
}

@test "EPOLLOUT: there is room again, asked for only when a send was short" {
    rule "writability is asked for when a send was short, and no longer when all is sent" "EPOLLOUT left armed: a spin" "chapter 4"
    start_server -v
    client echo hello shutdown expect-eof
    ! grep -q EPOLLOUT "$TMP/server.err"
    client small-rcvbuf fill 30000000 drain shutdown expect-eof
    told 'EPOLLOUT  *epoll_ctl MOD'
    told 'epoll_wait  1 ready .*EPOLLOUT  *resume coroutine'
    told 'EPOLLIN|EPOLLRDHUP  *epoll_ctl MOD'
    client echo "reading again" shutdown expect-eof
    does_not_spin
}

@test "a client that resets ends its coroutine, whether it waits to read or to write" {
    rule "error flags resume the coroutine, and its own call finds the errno" "a flag without a branch: a spin, or a client for ever" "chapter 4"
    start_server -v
    client echo hello reset
    told '^recv -1 .*Connection reset by peer; close'
    client small-rcvbuf fill 30000000 reset
    told 'EPOLLOUT|EPOLLERR|EPOLLHUP  *resume coroutine'
    [ "$(grep -c 'reset by peer; close' "$TMP/server.err")" = 2 ]
    server_unaffected
}

@test "a client that sends FIN while its coroutine waits to write does not wake it" {
    rule "EPOLLRDHUP is not asked for while bytes are pending" "EPOLLRDHUP, level-triggered, reported over and over" "chapter 4"
    start_server -v
    start_client one small-rcvbuf fill 6000000 shutdown print done wait drain expect-eof
    client_printed one "done"
    told 'EPOLLOUT  *epoll_ctl MOD'
    does_not_spin
    resume_client one
    client_succeeded one
}

@test "what one client is owed stays its own while others use the buffer" {
    rule "the buffer is shared, so what waits is a copy" "a rest that still points into the buffer of all" "chapter 7"
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

@test "no memory for a stack: that client goes, the next is served" {
    rule "ENOMEM ends one client, not the server" "the result of mmap() or mprotect() not looked at" "chapter 7"
    need_strace
    local call calls='mmap mprotect'
    [ "${SERVER_KIND:-}" != sanitized ] || calls=mprotect # the sanitizer needs its mmap()
    for call in $calls; do
        start_injected "$call" ENOMEM 1
        client connect expect-closed
        server_unaffected
        grep -q INJECTED "$TMP/trace"
    done
}

@test "no address left for stacks: those who are here are served, and others again when there is" {
    rule "a shortage costs newcomers only, and passes" "an error of mmap() treated as fatal" "chapter 7"
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
    client_succeeded two # and leaves a stack that is kept
    client echo "on the stack that was kept" shutdown expect-eof
    prlimit --pid "$SERVER_PID" --as=unlimited:
    client crowd 20 20
    resume_client one
    does_not_spin
}

@test "stacks that were used are kept for the next, and not all of them" {
    rule "after many clients the same memory" "stacks that are never given back" "chapter 7"
    need_plain_memory
    [ "$(ulimit -Hn)" -ge 1100 ] || skip "needs 1100 descriptors; to run it: ulimit -Hn 1100"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    local before kept
    before=$(mappings)
    start_client one hold 1000
    client_printed one holding
    [ "$(mappings)" -ge $((before + 1900)) ] # a stack and its guard, for each
    resume_client one
    client_succeeded one
    wait_until 5 fd_count_is "$FDS_AT_START"
    kept=$(($(mappings) - before))
    echo "mappings kept: $kept"
    [ "$kept" -le 140 ]
    client churn 200
    wait_until 5 fd_count_is "$FDS_AT_START"
    [ $(($(mappings) - before)) -le 140 ]
    stop_server # and none of those who left is resumed once more
}

@test "stamps: a file that is too small is left alone, and the server serves" {
    rule "ECHO_STAMPS is best effort: whatever it names, the server serves" "a file mapped beyond its end: SIGBUS at the first stamp" "chapter 7"
    need_linux "for stamps"
    local size
    for size in 0 8 100000; do
        truncate -s $size "$TMP/small"
        WRAP=(env "ECHO_STAMPS=$TMP/small")
        start_server
        client echo hello shutdown expect-eof
        server_unaffected
        stop_server
        [ "$(tr -d '\0' <"$TMP/small" | wc -c)" = 0 ]
    done
}

@test "stamps: the ring has room for two of each packet that trace may follow, 20,000" {
    rule "trace -n 20000 sees every turn of the loop" "a ring that is too small: the first stamps are overwritten" "chapter 7"
    need_linux "for stamps"
    local written
    truncate -s 16M "$TMP/stamps"
    WRAP=(env "ECHO_STAMPS=$TMP/stamps")
    start_server
    client load 1 20000 64
    written=$(od -A n -t u8 -N 8 "$TMP/stamps" | tr -d ' ')
    echo "$written stamps"
    [ "$written" -ge 40000 ]
    # the last stands in a place of its own: 8 bytes, then 24 for each before it
    [ "$(tail -c +$((9 + 24 * (written - 1))) "$TMP/stamps" | head -c 24 | tr -d '\0' | wc -c)" -gt 0 ]
}

@test "an echo costs two system calls and a share of the wait, and no epoll_ctl" {
    rule "a switch between coroutines is no system call" "swapcontext(), which sets the signal mask" "chapter 7"
    need_strace
    syscalls_per_echo_at_most 2.10
}

@test "more clients than FD_SETSIZE" {
    rule "there is no limit but the system's" "a table of fixed size" "chapter 4"
    [ "$(ulimit -Hn)" -ge 3100 ] || skip "needs 3100 descriptors; to run it: ulimit -Hn 4096"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    client crowd 3000 3000
    next_client_works
}

@test "an idle client costs at most the pages of its stack that are in use, two" {
    rule "an idle client costs its stack's used pages and no buffer" "a buffer on each stack" "chapter 7"
    idle_client_costs_at_most $((2 * $(getconf PAGESIZE)))
}

# Two servers in turn, five times: the least of each, for what is more is the machine's noise.
@test "an echo costs at most 1.10 times the CPU of stage 04" {
    rule "a coroutine costs a few nanoseconds for each wake-up" "swapcontext(), or a call of epoll_ctl for each wait" "chapter 7"
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
    echo "ns for each echo: $((least04 / 100000)) in 04, $((least07 / 100000)) in 07"
    [ $((least07 * 100)) -le $((least04 * 110)) ]
}
