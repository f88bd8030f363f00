#!/usr/bin/env bats
# What only stage 05 does: an event reports how many bytes are unread, and EV_EOF comes together with
# the last bytes.  On Linux these tests run on the kqueue emulation, which kqueue-emulation.bats
# tests; elsewhere they run on the kernel's kqueue.
load support/helpers

logged() { wait_until 5 has_text "$TMP/server.err" "$1" || { tail -n 20 "$TMP/server.err"; return 1; }; }

@test "EVFILT_READ reports the number of unread bytes" {
    rule "the log shows what kevent() reported" "" "chapter 5"
    start_server -v
    client echo hello shutdown expect-eof
    logged 'kevent  1 ready .*EVFILT_READ|data=5  *recv 5, send 5'
    logged 'EVFILT_READ|EV_EOF|data=0  *recv 0: end of input; close'
    lacks_text "$TMP/server.err" 'nothing left' # without -e, one recv() for each event
}

@test "EVFILT_READ reports the length of the listener's backlog" {
    rule "the log shows what kevent() reported" "" "chapter 5"
    start_server -v
    kill -STOP "$SERVER_PID"
    start_client one idle 3
    client_printed one holding
    kill -CONT "$SERVER_PID"
    logged 'EVFILT_READ|data=3  *accept: fd'
    resume_client one
    client_succeeded one
}

@test "EV_EOF comes with the bytes that were sent before the FIN, and they are echoed" {
    rule "at EV_EOF there may be unread bytes, so it is no reason to close" "the client closed at EV_EOF" "chapter 5"
    start_server -v
    start_client one connect wait send "last words" shutdown expect "last words" expect-eof
    logged 'accept: fd'
    kill -STOP "$SERVER_PID"
    resume_client one
    wait_until 5 fin_has_arrived
    kill -CONT "$SERVER_PID"
    client_succeeded one
    logged 'EVFILT_READ|EV_EOF|data=10  *recv 10, send 10'
}
# The bytes and the FIN have arrived: the server's side of the connection is in CLOSE_WAIT.
fin_has_arrived() {
    if [ -r /proc/net/tcp ]; then
        grep -q "$(printf ':%04X [0-9A-F]*:[0-9A-F]* 08' "$PORT")" /proc/net/tcp
    else
        netstat -an -p tcp | grep -q "[.:]$PORT .*CLOSE_WAIT"
    fi
}

@test "EVFILT_WRITE is added after a short send only, and reports free space" {
    rule "the server watches for writability while output is pending, and not otherwise" "EVFILT_WRITE never deleted: the server spins" "chapter 5"
    start_server -v
    client echo hello shutdown expect-eof
    logged 'recv 0: end of input; close'
    has_text "$TMP/server.err" EVFILT_WRITE && return 1
    client small-rcvbuf fill 30000000 drain shutdown expect-eof
    logged 'EVFILT_WRITE  *kevent EV_ADD'
    logged 'EVFILT_WRITE|data=[1-9][0-9]*  *send [0-9]*, [0-9]* left'
}

@test "a reset: EV_EOF, with its errno in fflags" {
    rule "EV_EOF leads to a recv() that returns the errno" "EV_EOF is ignored: the server spins, or keeps the client for ever" "chapter 5"
    start_server -v
    start_client one echo hello wait reset
    logged 'recv 5, send 5'
    resume_client one
    logged 'EVFILT_READ|EV_EOF|data=0|fflags=[1-9][0-9]*  *recv: Connection reset by peer; close'
    next_client_works
}

@test "a reset while the server waits to write: ECONNRESET on Linux, EPIPE on the BSDs" {
    rule "EV_EOF leads to a send() that returns the errno" "EV_EOF is ignored: the server spins, or keeps the client for ever" "chapter 5"
    reset_while_writing
    does_not_spin
}
reset_while_writing() {
    start_server -v
    client small-rcvbuf fill 30000000 reset
    logged "EVFILT_WRITE|EV_EOF|data=[0-9]*|fflags=[1-9][0-9]*  *send: $(send_after_reset); close"
    next_client_works
}

@test "a reset in the backlog: accept() succeeds on Linux, and fails with ECONNABORTED on the BSDs" {
    rule "a connection that was reset does not affect the connections after it" "ECONNABORTED ends the server, or stops it from accepting" "chapter 5"
    reset_in_backlog
    does_not_spin
}
reset_in_backlog() {
    start_server -v
    kill -STOP "$SERVER_PID"
    client send hello reset
    start_client one idle 2
    client_printed one holding
    kill -CONT "$SERVER_PID"
    logged "EVFILT_READ|data=3  *$(accept_of_reset)"
    resume_client one
    client_succeeded one
    next_client_works
}

@test "with the answers of FreeBSD and NetBSD, simulated: resets, O_NONBLOCK inherited, send() that blocks" {
    rule "the server works with the answers of each system" "an errno that only Linux returns is expected" "chapter 5"
    local system
    for system in FreeBSD NetBSD; do
        answers_of $system
        reset_in_backlog
        reset_while_writing
        client small-rcvbuf fill 30000000 drain shutdown expect-eof
        client random 1000000 shutdown expect-eof
        stop_server
    done
}

@test "a client that sends FIN while the server waits to write does not wake the server" {
    rule "one filter at a time: while output is pending, EVFILT_READ is not watched" "EVFILT_READ not deleted: EV_EOF is reported repeatedly" "chapter 5"
    start_server -v
    start_client one small-rcvbuf fill 6000000 shutdown print sent wait drain expect-eof
    client_printed one sent
    logged 'EVFILT_WRITE  *kevent EV_ADD'
    does_not_spin
    resume_client one
    client_succeeded one
}

@test "with -e the server sets EV_CLEAR and reads until EAGAIN" {
    rule "edge-triggered: each arrival is reported once, so read until nothing is left" "one read for each event: the remaining bytes are never reported" "chapter 5"
    start_server -v -e
    start_client one echo hello print here wait random 3000000 shutdown expect-eof
    client_printed one here
    logged 'EVFILT_READ|EV_CLEAR  *kevent EV_ADD'
    logged 'recv: EAGAIN, nothing left'
    resume_client one
    client_succeeded one
}

@test "while every send() takes all bytes, no filter is changed" {
    rule "recv() is followed by send(); filters change only after a short send" "two changes for each message" "chapter 5"
    start_server -v
    client load 1 100 64
    logged 'recv 0: end of input; close'
    [ "$(grep -c 'kevent EV_ADD' "$TMP/server.err")" = 3 ] # the listener, the shutdown pipe, the client
}

# bats test_tags=long
@test "an idle client costs at most 96 bytes" {
    rule "an idle client occupies table entries and no buffer" "a buffer for each client" "chapter 5"
    idle_client_costs_at_most 96
}

@test "it starts with 20,000 KiB of address space, as stage 04 does" {
    rule "the emulation allocates memory for the descriptors that are watched" "a table for every possible descriptor" "chapter 5"
    need_plain_memory
    # shellcheck disable=SC2016,SC2034 # bash -c expands it; start_server uses WRAP
    WRAP=(bash -c 'ulimit -v 20000 && exec "$@"' -)
    start_server
    next_client_works
    stop_server
}

@test "on Linux it says on stderr that it uses the kqueue emulation, once" {
    rule "the reader must not mistake the emulation for kqueue" "no message, or one for each call of kqueue()" "chapter 5"
    need_linux "because other systems have kqueue"
    start_server
    [ "$(grep -c "kqueue emulation over epoll" "$TMP/server.err")" = 1 ]
    next_client_works
    [ "$(wc -l <"$TMP/server.err")" = 2 ]
}
