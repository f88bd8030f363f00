#!/usr/bin/env bats
# What only stage 04 does: each flag that epoll reports, seen in the log; no epoll_ctl for an ordinary
# echo; and the edge-triggered mode.
load support/helpers

@test "EPOLLIN is reported for new bytes, EPOLLRDHUP for the client's FIN" {
    rule "the log shows the flags that epoll_wait() returned" "the server does not ask for EPOLLRDHUP, or logs other flags than those it received" "chapter 4"
    start_server -v
    client echo hello shutdown expect-eof
    log_has 'epoll_wait  1 ready .*EPOLLIN  *recv 5, send 5'
    log_has 'EPOLLIN|EPOLLRDHUP .*recv 0: end of input; close'
}

@test "EPOLLOUT is watched only after a short write, until everything is sent" {
    rule "the server watches EPOLLOUT after a short write, and no longer than that" "EPOLLOUT stays armed, so every wait returns at once and the server spins" "chapter 4"
    start_server -v
    client echo hello shutdown expect-eof
    lacks_text "$TMP/server.err" EPOLLOUT
    client small-rcvbuf fill 30000000 drain shutdown expect-eof
    log_has 'EPOLLOUT .*epoll_ctl MOD'
    log_has 'epoll_wait  1 ready .*EPOLLOUT .*send [0-9]*, [0-9]* left'
    log_has 'EPOLLIN|EPOLLRDHUP .*epoll_ctl MOD'
}

@test "EPOLLERR and EPOLLHUP are reported for a reset without being requested" {
    rule "after an error flag the server calls recv(), which returns the errno" "no branch handles the flag, so the server spins or never closes the client" "chapter 4"
    start_server -v
    start_client one echo hello wait reset
    log_has 'recv 5, send 5'
    resume_client one
    log_has 'EPOLLIN|EPOLLERR|EPOLLHUP|EPOLLRDHUP.*recv: Connection reset by peer; close'
    next_client_works
}

@test "EPOLLERR and EPOLLHUP are reported while the server waits to write" {
    rule "after an error flag the server calls send(), which returns the errno" "no branch handles the flag, so the server spins or never closes the client" "chapter 4"
    start_server -v
    client small-rcvbuf fill 30000000 reset
    log_has 'EPOLLOUT|EPOLLERR|EPOLLHUP.*send: Connection reset by peer; close'
    next_client_works
    does_not_spin
}

@test "a FIN does not end the wait while the server waits to write" {
    rule "the server does not watch EPOLLRDHUP while bytes are pending" "EPOLLRDHUP is level-triggered and stays true, so every wait reports it and the server spins" "chapter 4"
    start_server -v
    start_client one small-rcvbuf fill 6000000 shutdown print done wait drain expect-eof
    client_printed one "done"
    log_has 'EPOLLOUT .*epoll_ctl MOD'
    does_not_spin
    resume_client one
    client_succeeded one
}

# An event can arrive for a client that the server has closed already.
@test "an event for a descriptor that no client has is ignored" {
    rule "an event without a client is ignored" "the NULL of client_by_fd() is not checked" "chapter 4"
    need python3 "to add a descriptor to the server's epoll instance" "install python3"
    ignores_foreign_events 200 900 # within the table of clients, and beyond it
}

@test "no room for another watch: that client is closed, and stderr says once that there is a shortage" {
    rule "stderr names a failure that may affect every client" "ENOSPC, which epoll_ctl() returns at fs.epoll.max_user_watches, is not taken for a shortage" "chapter 4"
    need_strace
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=epoll_ctl -e inject=epoll_ctl:error=ENOSPC:when=3..5+2) # EPOLL_CTL_DEL is between the two
    start_server
    wait_until 3 find_child
    PIDS="$CHILD $PIDS"
    client connect expect-closed
    client connect expect-closed
    client echo hello shutdown expect-eof
    [ "$(grep -c '^server: watch: No space left on device; not every client can be served$' "$TMP/server.err")" = 1 ]
    kill -KILL "$CHILD"
}

@test "with -e the server sets EPOLLET and reads until EAGAIN" {
    rule "an edge-triggered wait reports each arrival once, so the server reads until EAGAIN" "$ONE_READ" "chapter 4"
    start_server -v -e
    start_client one echo hello print here wait random 3000000 shutdown expect-eof
    client_printed one here # its echo is back, so nothing is left to read
    log_has 'EPOLLIN|EPOLLRDHUP|EPOLLET .*epoll_ctl ADD'
    log_has 'recv: EAGAIN, nothing left'
    resume_client one
    client_succeeded one
}

@test "edge-triggered: a FIN that arrives together with bytes is noticed" {
    rule "an edge-triggered wait reports each arrival once, so the server reads until EAGAIN or 0" "$ONE_READ or 0, even after a recv() that did not fill the buffer" "chapter 4"
    start_server -e
    local i
    for i in 1 2 3 4 5; do
        kill -STOP "$SERVER_PID"
        start_client one send "bytes and FIN" shutdown print sent expect "bytes and FIN" expect-eof
        client_printed one sent
        kill -CONT "$SERVER_PID"
        client_succeeded one
    done
}

@test "edge-triggered: a client with much unread data does not delay another client" {
    rule "the server limits the reads for one event, and re-arms the descriptor with EPOLL_CTL_MOD" "the server reads from one client until EAGAIN, however much arrives" "chapter 4"
    start_server -v -e
    start_client one echo a print here wait fill 5000000 print full wait
    client_printed one here
    start_client two echo b print here wait send hello print sent expect hello shutdown expect-eof
    client_printed two here
    local before
    kill -STOP "$SERVER_PID"
    resume_client one
    wait_until 5 unread_bytes_wait
    client_printed one full
    resume_client two
    client_printed two sent
    kill -CONT "$SERVER_PID"
    client_succeeded two
    before=$(sed '/recv 5, send 5/q' "$TMP/server.err" | grep -c 'recv 65536')
    echo "the server read $before times from one client before it served the other; at most 16 are allowed"
    [ "$before" -le 16 ]
    resume_client one
}
# The receive buffer of the stopped server contains bytes from the client.
unread_bytes_wait() { awk -v port="$(printf ':%04X' "$PORT")" '$2 ~ port "$" && $4 == "01" { split($5, q, ":"); if (q[2] != "00000000") found = 1 } END { exit !found }' /proc/net/tcp; }

@test "an echo costs two system calls and a share of the wait, and no epoll_ctl" {
    rule "the server reads and sends at once; it watches EPOLLOUT only after a short write" "two epoll_ctl() calls for each message" "chapter 4"
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
@test "an idle client costs at most 96 bytes" {
    rule "an idle client costs its table entry and no buffer" "a buffer is allocated for each client" "chapter 4"
    idle_client_costs_at_most 96
}
