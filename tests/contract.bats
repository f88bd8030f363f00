#!/usr/bin/env bats
# The contract: what every echo server here does (RFC 862), for any client, well-behaved or not.
# tests/commands/run runs this file against each stage and each of its modes, and against a server of yours.
load support/helpers

# ---- every byte comes back ----

@test "a line comes back" {
    rule "what a client sends comes back" "the reply is not sent, or not flushed" "chapter 1"
    start_server
    client echo "hello" echo "again" shutdown expect-eof
}

@test "every byte value comes back" {
    rule "bytes are not text: all 256 values come back" "string functions that stop at a zero byte" "chapter 1"
    start_server
    client all-bytes shutdown expect-eof
}

@test "one byte at a time comes back" {
    rule "pieces of any size come back" "waiting for a whole line or a full buffer" "chapter 1"
    start_server
    client byte-by-byte "slowly, byte by byte" shutdown expect-eof
}

@test "20 MB come back, each byte in its place" {
    rule "nothing is lost, doubled or out of order in a long stream" "a short send() whose rest is forgotten, or a pending reply overwritten by the next read" "chapter 2"
    start_server
    client random "${BYTES:-20000000}" shutdown expect-eof
}

@test "50 connections at once each get their own bytes" {
    rule "each client gets its own bytes" "a buffer or a table entry shared by two clients" "chapter 2"
    need_concurrent_clients
    start_server
    client load 50 5000 64 load 20 400 65536
}

@test "small answers do not wait for an acknowledgement" {
    rule "an answer leaves at once" "no TCP_NODELAY on the client's socket: Nagle's algorithm waits for the client's delayed ACK, about 40 ms" "chapter 1"
    start_server
    run client load 1 200 65536
    [ "$status" = 0 ]
    local median
    median=$(printf '%s\n' "$output" | sed -n 's/.*median_us=\([0-9]*\).*/\1/p')
    echo "median: $median us"
    [ "$median" -lt 10000 ]
}

# ---- ends ----

@test "after the client's FIN all it sent still comes back, then the server's FIN" {
    rule "half-close: the rest comes back, then FIN, never RST" "closing at the first sign of the end (EPOLLRDHUP, EV_EOF, POLLHUP) with bytes unread" "chapter 1"
    start_server
    client send "last words" shutdown expect "last words" expect-eof
}

@test "after FIN with a full socket the rest still comes back" {
    rule "half-close: the rest comes back, even when the client reads late" "closing a client that still has bytes pending" "chapter 2"
    start_server
    client small-rcvbuf fill 30000000 drain shutdown expect-eof
    client small-rcvbuf fill 2000000 shutdown drain expect-eof
}

@test "a connection without a byte ends cleanly" {
    rule "FIN is answered by FIN" "recv() returning 0 taken for an error, or for nothing" "chapter 1"
    start_server
    client connect shutdown expect-eof
    client connect shutdown expect-eof
    server_unaffected
}

@test "a client that resets costs only itself" {
    rule "ECONNRESET ends one client, not the server" "an error of recv() treated as the server's own" "chapter 1"
    start_server
    client echo one reset
    client send two reset
    client small-rcvbuf fill 1000000 reset
    server_unaffected
}

@test "a client that leaves without reading costs only itself" {
    rule "EPIPE and SIGPIPE end one client, not the server" "SIGPIPE, whose default is to end the process" "chapter 1"
    start_server
    local i
    for i in 1 2 3 4 5; do
        client send "you will not" send "be able to answer" close
        client small-rcvbuf fill 3000000 close
        client small-rcvbuf fill 3000000 shutdown close
    done
    server_unaffected
}

@test "a client that was reset before it was accepted costs only itself" {
    rule "accept() may meet a connection that is gone already" "ECONNABORTED, or the first recv()'s ECONNRESET, treated as fatal" "chapter 2"
    start_server
    kill -STOP "$SERVER_PID"
    client connect reset connect reset send x reset connect
    kill -CONT "$SERVER_PID"
    server_unaffected
}

@test "a byte out of band does no harm" {
    rule "in-band bytes come back around an urgent byte, and nothing spins" "an exceptional condition that is reported for ever" "chapter 2"
    start_server
    client send ab send-oob '!' send cd expect abcd shutdown expect-eof
    server_unaffected
}

# ---- no client harms another ----

@test "a silent client does not keep the others waiting" {
    rule "a client that says nothing is no hindrance" "a read that blocks the one thread" "chapter 2"
    need_concurrent_clients
    start_server
    start_client one idle 20
    client_printed one "holding 20"
    next_client_works
    resume_client one
    client_succeeded one
}

@test "1000 silent clients cost no CPU" {
    rule "who is silent costs nothing but memory" "a loop that looks at every client without waiting" "chapter 3"
    need_concurrent_clients
    start_server
    start_client one idle 1000
    client_printed one "holding 1000"
    next_client_works
    does_not_spin
    resume_client one
    client_succeeded one
    server_unaffected
}

@test "a client that never reads harms nobody and costs one buffer" {
    rule "while bytes are pending for a client the server does not read from it" "a blocking send, or a queue that grows with what the client sends" "chapter 2"
    need_concurrent_clients
    need_plain_memory
    start_server
    next_client_works
    local before i
    before=$(memory_kib)
    start_client one small-rcvbuf fill 50000000 print full wait
    client_printed one full
    next_client_works
    CLIENT_SECONDS=60
    # 19 more, in one process each, all held open by their wait
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do
        "$CLIENT" -t 60 "$PORT" small-rcvbuf fill 50000000 wait <"$TMP/one.in" >"$TMP/fill.$i" 2>&1 3>&- &
        PIDS="$! $PIDS"
    done
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do
        wait_until 20 has_text "$TMP/fill.$i" filled
    done
    next_client_works
    does_not_spin
    local after
    after=$(memory_kib)
    echo "memory: $before KiB before, $after KiB with 20 clients that never read"
    [ $((after - before)) -lt 2048 ]
}

@test "a slow reader does not slow the others" {
    rule "a client that reads slowly is no hindrance" "a send that waits for room" "chapter 2"
    need_concurrent_clients
    start_server
    start_client one slow-read 100 10 shutdown expect-eof print done
    client load 10 2000 64
    client_succeeded one
}

@test "a client that sends without pause does not keep the others waiting" {
    rule "one busy client does not own the loop" "reading one client until it has no more, without a bound" "chapter 4"
    need_concurrent_clients
    start_server
    start_client one random 400000000
    client load 5 200 64
    next_client_works
    kill "$PID_one"
}

@test "those who stay are served when others have left" {
    rule "a client that leaves changes nothing for the others" "an entry of the list that is lost, or skipped, when another goes" "chapter 3"
    need_concurrent_clients
    start_server
    client close-alternate 100
    client close-alternate 7 close-alternate 2 close-alternate 1
}

@test "a descriptor number used again is not taken for the client that had it" {
    rule "events are for the client of now, not for the one that had its number" "an event of the same batch for a closed and reused descriptor" "chapter 3"
    need_concurrent_clients
    start_server
    start_client one echo a print here wait close connect send "new" print sent wait expect "new" shutdown expect-eof
    client_printed one here
    start_client two echo b print here wait send "bb" print sent expect "bb" shutdown expect-eof
    client_printed two here
    kill -STOP "$SERVER_PID"
    resume_client one
    resume_client two
    client_printed one sent
    client_printed two sent
    kill -CONT "$SERVER_PID"
    resume_client one
    client_succeeded one
    client_succeeded two
    client crowd 60 30
}

# ---- shortage ----

@test "out of descriptors, nobody is turned away and nothing spins" {
    rule "with no descriptor left the server rests from accept(), serves on, and takes the waiting in when one is freed" "accept() failing with EMFILE over and over, or taken as fatal" "chapter 2"
    need_concurrent_clients
    need_linux "to count descriptors"
    ulimit -Sn 32
    start_server
    local free=$((32 - $(fd_count)))
    echo "descriptors left for clients: $free"
    start_client one hold $free
    client_printed one holding
    start_client two crowd 20 0 # all of them wait
    ulimit -Sn "$(ulimit -Hn)"
    does_not_spin
    resume_client one
    client_succeeded one
    client_succeeded two
    server_unaffected
}

@test "the limit lowered under a running server: it rests, and recovers when the limit is raised" {
    rule "the shortage may end without a client of ours leaving: look again after a moment" "waiting for one's own client to leave before accepting again" "chapter 2"
    need_concurrent_clients
    need prlimit "to change a running process's limit" "install util-linux"
    start_server
    start_client one echo one print here wait echo still shutdown expect-eof
    client_printed one here
    prlimit --pid "$SERVER_PID" --nofile="$(fd_count)":
    start_client two echo "at last" shutdown expect-eof
    does_not_spin
    prlimit --pid "$SERVER_PID" --nofile=256:
    client_succeeded two # while one is here still
    resume_client one
    client_succeeded one
}

@test "the limit lowered below what is in use: those who are here are served, and SIGTERM ends it" {
    rule "a lower limit keeps newcomers out, and takes nothing from those who are in" "poll() with more entries than RLIMIT_NOFILE: EINVAL, for ever" "chapter 3"
    need_concurrent_clients
    need prlimit "to change a running process's limit" "install util-linux"
    start_server
    start_client one hold 20 print still wait
    start_client two echo a print here wait echo b shutdown expect-eof
    client_printed one holding
    client_printed two here
    prlimit --pid "$SERVER_PID" --nofile=8:
    resume_client two
    client_succeeded two
    does_not_spin
    stop_server TERM
}

@test "a full backlog recovers, and all are served" {
    rule "clients that found the backlog full come in when there is room" "connections forgotten after a burst" "chapter 2"
    need_concurrent_clients
    start_server
    kill -STOP "$SERVER_PID"
    start_client one crowd 300 150
    tick_until_connected
    kill -CONT "$SERVER_PID"
    client_succeeded one
    server_unaffected
}
tick_until_connected() { # 300 connections, or as many as the backlog takes: none of it is visible
    short_sleep 0.2
}

@test "nothing leaks over 2000 connections" {
    rule "after many connections the same descriptors and the same memory" "a client's descriptor or buffer that is not given back" "chapter 1"
    need_plain_memory
    start_server
    client churn 200
    wait_until 5 fd_count_is "$(fd_count)"
    local fds kib
    fds=$(fd_count) kib=$(memory_kib)
    client churn "${CHURN:-2000}"
    client small-rcvbuf fill 500000 reset
    next_client_works
    wait_until 5 fd_count_is "$fds"
    echo "memory: $kib KiB, then $(memory_kib) KiB"
    [ $(($(memory_kib) - kib)) -lt 512 ]
}

# ---- signals ----

@test "SIGTERM and SIGINT end it with exit code 0, clients or not, and the port is free at once" {
    rule "asked to stop, the server stops within a second, exit code 0" "a flag that is checked before the wait, and not during it" "chapter 2"
    start_server
    local port=$PORT
    stop_server TERM
    FIXED_PORT=$port start_server
    start_client one echo a print here wait
    client_printed one here
    stop_server INT
    FIXED_PORT=$port start_server
    server_unaffected
}

@test "SIGTERM with bytes in flight ends it" {
    rule "asked to stop, the server stops, whatever it was doing" "a loop that finishes its work first" "chapter 2"
    start_server
    start_client one small-rcvbuf fill 50000000 wait
    client_printed one filled
    stop_server TERM
    start_server
    start_client two random 500000000
    wait_until 5 busy
    stop_server TERM
}
busy() { [ "$(cpu_ticks 2>/dev/null || echo 9)" -gt 2 ]; }

@test "SIGTERM right after the start ends it, 20 times" {
    rule "a signal is not lost between the check and the wait" "the flag is set after it was checked; the wait then lasts for ever" "chapter 2"
    local i
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        start_server
        stop_server TERM
    done
}

@test "killed and started again at once, it binds" {
    rule "the port can be bound again at once" "no SO_REUSEADDR: old connections in TIME_WAIT hold the port" "chapter 1"
    start_server
    local port=$PORT
    start_client one echo a print here wait expect-closed
    client_printed one here
    kill -KILL "$SERVER_PID"
    wait_until 2 has_exited "$SERVER_PID"
    FIXED_PORT=$port start_server
    [ "$PORT" = "$port" ]
    server_unaffected
}

@test "stopped and continued, it goes on where it was" {
    rule "SIGSTOP and SIGCONT have no effect on what the clients see" "EINTR from the wait treated as fatal" "chapter 2"
    start_server
    start_client one random 60000000 shutdown expect-eof
    local i
    for i in 1 2 3 4 5; do
        kill -STOP "$SERVER_PID"
        kill -CONT "$SERVER_PID"
        short_sleep 0.02
    done
    client_succeeded one
    server_unaffected
}

@test "an ignored signal, 10,000 times, loses nothing" {
    rule "signals have no effect on what the clients see" "EINTR treated as fatal, or as the end of a client" "chapter 2"
    trap '' USR1
    start_server
    start_client one random 60000000 shutdown expect-eof
    send_10000_signals
    client_succeeded one
    server_unaffected
    trap - USR1
}
