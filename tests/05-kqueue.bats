#!/usr/bin/env bats
# What only stage 05 does: an event says how much, and its end comes with the last bytes.  On Linux
# these run against the stand-in (kqueue-emulation.bats tests that), elsewhere against the kernel.
load support/helpers

told() { wait_until 5 has_text "$TMP/server.err" "$1" || { tail -n 20 "$TMP/server.err"; return 1; }; }

@test "EVFILT_READ says how many bytes wait" {
    rule "the narration names what the kernel said" "" "chapter 5"
    start_server -v
    client echo hello shutdown expect-eof
    told 'kevent  1 ready .*EVFILT_READ|data=5  *recv 5, send 5'
    told 'EVFILT_READ|EV_EOF|data=0  *recv 0: end of input; close'
}

@test "EVFILT_READ says how many clients wait in the listener's backlog" {
    rule "the narration names what the kernel said" "" "chapter 5"
    start_server -v
    kill -STOP "$SERVER_PID"
    start_client one idle 3
    client_printed one holding
    kill -CONT "$SERVER_PID"
    told 'EVFILT_READ|data=3  *accept: fd'
    resume_client one
    client_succeeded one
}

@test "EV_EOF comes with the bytes that were sent before it, and they come back" {
    rule "EV_EOF is no reason to close: there may be bytes to read" "closing at EV_EOF" "chapter 5"
    start_server -v
    start_client one connect wait send "last words" shutdown expect "last words" expect-eof
    told 'accept: fd'
    kill -STOP "$SERVER_PID"
    resume_client one
    wait_until 5 client_has_finished
    kill -CONT "$SERVER_PID"
    client_succeeded one
    told 'EVFILT_READ|EV_EOF|data=10  *recv 10, send 10'
}
# The bytes and the FIN have arrived: the connection, at the server's side, is in CLOSE_WAIT.
client_has_finished() {
    if [ -r /proc/net/tcp ]; then
        grep -q "$(printf ':%04X [0-9A-F]*:[0-9A-F]* 08' "$PORT")" /proc/net/tcp
    else
        netstat -an -p tcp | grep -q "[.:]$PORT .*CLOSE_WAIT"
    fi
}

@test "EVFILT_WRITE: there is room again, asked for only when a send was short" {
    rule "writability is asked for when a send was short, and no longer when all is sent" "EVFILT_WRITE left there: a spin" "chapter 5"
    start_server -v
    client echo hello shutdown expect-eof
    ! grep -q EVFILT_WRITE "$TMP/server.err"
    client small-rcvbuf fill 30000000 drain shutdown expect-eof
    told 'EVFILT_WRITE  *kevent EV_ADD'
    told 'EVFILT_WRITE|data=[1-9][0-9]*  *send [0-9]*, [0-9]* wait'
}

@test "a reset: EV_EOF, and fflags is its errno" {
    rule "EV_EOF leads to a read that finds the errno" "a flag without a branch: a spin, or a client for ever" "chapter 5"
    start_server -v
    start_client one echo hello wait reset
    told 'recv 5, send 5'
    resume_client one
    told 'EVFILT_READ|EV_EOF|data=0|fflags=[1-9][0-9]*  *recv: Connection reset by peer; close'
    next_client_works
}

@test "a reset while waiting to write" {
    rule "EV_EOF leads to a write that finds the errno" "a flag without a branch: a spin, or a client for ever" "chapter 5"
    start_server -v
    client small-rcvbuf fill 30000000 reset
    told 'EVFILT_WRITE|EV_EOF|data=[0-9]*|fflags=[1-9][0-9]*  *send: .*; close'
    next_client_works
    does_not_spin
}

@test "a client that sends FIN while the server waits to write does not wake it" {
    rule "one filter at a time: while bytes are pending, no event about reading" "EVFILT_READ left there: EV_EOF over and over" "chapter 5"
    start_server -v
    start_client one small-rcvbuf fill 6000000 shutdown print done wait drain expect-eof
    client_printed one "done"
    told 'EVFILT_WRITE  *kevent EV_ADD'
    does_not_spin
    resume_client one
    client_succeeded one
}

@test "EV_CLEAR: with -e, and then it reads until EAGAIN" {
    rule "edge-triggered: once for each arrival, so read until there is no more" "one read for each event: the rest is never told of" "chapter 5"
    start_server -v -e
    start_client one echo hello print here wait random 3000000 shutdown expect-eof
    client_printed one here
    told 'EVFILT_READ|EV_CLEAR  *kevent EV_ADD'
    told 'recv: EAGAIN, nothing left'
    resume_client one
    client_succeeded one
}

@test "in the steady state, kevent() changes nothing" {
    rule "read, and send at once; the list changes only after a short send" "two changes for each message" "chapter 5"
    start_server -v
    client load 1 100 64
    told 'recv 0: end of input; close'
    [ "$(grep -c 'kevent EV_ADD' "$TMP/server.err")" = 3 ] # the listener, the stop pipe, the client
}

@test "an idle client costs at most 96 bytes" {
    rule "an idle client costs its entry and no buffer" "a buffer for each client" "chapter 5"
    idle_client_costs_at_most 96
}

@test "on Linux it says that this is a stand-in, on stderr, once" {
    rule "nobody takes the stand-in for kqueue" "" "chapter 5"
    need_linux "for elsewhere there is no stand-in"
    start_server
    [ "$(grep -c "stand-in over epoll" "$TMP/server.err")" = 1 ]
    next_client_works
    [ "$(wc -l <"$TMP/server.err")" = 2 ]
}
