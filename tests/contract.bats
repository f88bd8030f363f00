#!/usr/bin/env bats
# The contract: what every echo server here does (RFC 862), for any client, well-behaved or not.
# tests/commands/run runs this file against each stage in each of its modes, and against your own
# server (make test SERVER=).
load support/helpers

# ---- every byte comes back ----

@test "a line is echoed" {
    rule "the server sends back what a client sends" "the reply is not sent or not flushed" "chapter 1"
    start_server
    client echo "hello" echo "again" shutdown expect-eof
}

@test "every byte value is echoed" {
    rule "the data is binary: all 256 byte values come back" "string functions, which stop at a zero byte" "chapter 1"
    start_server
    client all-bytes shutdown expect-eof
}

@test "bytes that arrive one at a time are echoed one at a time" {
    rule "the server echoes what has arrived, however short it is" "the server waits for a whole line or a full buffer" "chapter 1"
    start_server
    client byte-by-byte "slowly, byte by byte" shutdown expect-eof
}

# bats test_tags=long
@test "20 MB are echoed, every byte in its place" {
    rule "no byte of a long stream is lost, duplicated or out of order" "$SHORT_WRITE; or the next read overwrites bytes that are still to be sent; if the client times out: $ONE_READ" "chapter 2"
    start_server
    client random "${BYTES:-20000000}" shutdown expect-eof
}

@test "50 connections at once each receive their own bytes" {
    rule "each client receives its own bytes" "two clients share a buffer or a table entry; if bytes differ or are missing: $SHORT_WRITE; if the client times out: $ONE_READ" "chapter 2"
    need_concurrent_clients
    start_server
    client load 50 5000 64 load 20 400 65536
}

@test "a reply does not wait for the client's acknowledgement" {
    rule "a reply leaves at once" "TCP_NODELAY is not set on the client's socket: Nagle's algorithm waits for the client's delayed ACK, about 40 ms; if the client times out: $ONE_READ" "chapter 1"
    start_server
    run client load 1 60 65536
    [ "$status" = 0 ] || { echo "$output"; return 1; }
    local median
    median=$(printf '%s\n' "$output" | sed -n 's/.*median_us=\([0-9]*\).*/\1/p')
    echo "median time of an echo: $median us; at most 10000 are allowed"
    [ "$median" -lt 10000 ]
}

# ---- how a connection ends ----

@test "after the client's FIN, everything it sent is echoed, followed by the server's FIN" {
    rule "after a half-close the server echoes the rest and then sends FIN, never RST" "the server closes at the first sign of the end (EPOLLRDHUP, EV_EOF, POLLHUP) while bytes are unread; or $ONE_READ (or 0)" "chapter 1"
    start_server
    client send "last words" shutdown expect "last words" expect-eof
}

@test "after FIN on a full connection, everything is still echoed" {
    rule "after a half-close the server echoes the rest, even if the client reads late" "the server closes a client that still has pending bytes; if bytes differ or are missing: $SHORT_WRITE; if the client times out: $ONE_READ" "chapter 2"
    start_server
    client small-rcvbuf fill 30000000 drain shutdown expect-eof
    client small-rcvbuf fill 2000000 shutdown drain expect-eof
}

@test "a client that connects, sends nothing and sends FIN receives FIN" {
    rule "the server answers FIN with FIN" "the server treats a recv() that returns 0 as an error, or ignores it" "chapter 1"
    start_server
    client connect shutdown expect-eof
    client connect shutdown expect-eof
    server_unaffected
}

@test "a client that resets affects only itself" {
    rule "ECONNRESET ends one client, not the server" "an error of recv() ends the server" "chapter 1"
    start_server
    client echo one reset
    client send two reset
    client small-rcvbuf fill 1000000 reset
    server_unaffected
}

@test "a client that leaves without reading affects only itself" {
    rule "EPIPE and SIGPIPE end one client, not the server" "SIGPIPE is not ignored, and its default action ends the process; or EPIPE or ECONNRESET from send() ends the server" "chapter 1"
    start_server
    # The server finds a byte to echo, FIN and RST at once; then its first send() fails with EPIPE.
    start_client one echo a print here wait send b shutdown reset print gone
    client_printed one here
    kill -STOP "$SERVER_PID"
    resume_client one
    client_printed one gone
    kill -CONT "$SERVER_PID"
    client_succeeded one
    local i
    for i in 1 2 3 4 5; do
        client send "nobody will" send "read the answer" close
        client small-rcvbuf fill 3000000 close
        client small-rcvbuf fill 3000000 shutdown close
    done
    server_unaffected
}

@test "a client that resets before it is accepted affects only itself" {
    rule "accept() may return a connection that no longer exists" "ECONNABORTED from accept(), or ECONNRESET from the first recv(), ends the server" "chapter 2"
    start_server
    kill -STOP "$SERVER_PID"
    client connect reset connect reset send x reset connect
    kill -CONT "$SERVER_PID"
    server_unaffected
}

@test "out-of-band data does no harm" {
    rule "the bytes around an urgent byte are echoed, and the server does not spin" "the server waits for an exceptional condition that it never handles, so every wait reports it again; if the client times out: $ONE_READ" "chapter 2"
    start_server
    client send ab send-oob '!' send cd expect abcd shutdown expect-eof
    server_unaffected
}

# ---- no client affects another ----

@test "an idle client does not delay the others" {
    rule "a client that sends nothing does not block the server" "a blocking read in the only thread" "chapter 2"
    need_concurrent_clients
    start_server
    start_client one idle 20
    client_printed one "holding 20"
    next_client_works
    resume_client one
    client_succeeded one
}

@test "1000 idle clients use no CPU time" {
    rule "an idle client costs memory and no CPU time" "a loop that checks every client without waiting" "chapter 3"
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

@test "1,100 clients are served at the same time" {
    rule "the number of clients is limited by the descriptors and the memory, and not by a table" "a table of fixed size, which descriptor 1,024 or 1,025 does not fit into" "chapter 3"
    need_concurrent_clients
    case $VARIANT in 02* | *"-s select") skip "expected limit: select() cannot watch descriptor 1024 (02-select.bats tests this)" ;; esac
    [ "$(ulimit -Hn)" -ge 1200 ] || skip "needs 1200 descriptors; to run it: ulimit -Hn 1200"
    ulimit -Sn 1200
    start_server
    start_client one hold 1100
    client_printed one "holding 1100"
    next_client_works
    resume_client one
    client_succeeded one
    server_unaffected
}

@test "a client that never reads affects no other and costs one buffer" {
    rule "while bytes are pending for a client, the server does not read from it" "a send() that blocks, or a queue that grows with what the client sends" "chapter 2"
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
    # 19 more, each in a process of its own, which keeps its connection open
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do
        "$CLIENT" -t 60 "$PORT" small-rcvbuf fill 50000000 wait <"$TMP/one.in" >"$TMP/fill.$i" 2>&1 3>&- &
        PIDS="$! $PIDS"
    done
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do
        wait_until "${CLIENT_SECONDS:-20}" has_text "$TMP/fill.$i" 'filled\|client:'
    done
    next_client_works
    does_not_spin
    local after
    after=$(memory_kib)
    echo "memory: $before KiB before, $after KiB with 20 clients that never read; at most 2048 KiB more are allowed"
    [ $((after - before)) -lt 2048 ]
}

@test "a client that reads slowly does not delay the others" {
    rule "a client that reads slowly does not block the server" "a send() that blocks until the client reads; if the client's bytes differ: $SHORT_WRITE" "chapter 2"
    need_concurrent_clients
    start_server
    start_client one slow-read 100 10 shutdown expect-eof print done
    client load 10 2000 64
    client_succeeded one
}

@test "a client that sends without pause does not delay the others" {
    rule "one busy client does not starve the others" "the server reads from one client until it has no more, without a limit" "chapter 4"
    need_concurrent_clients
    start_server
    start_client one random 400000000
    client load 5 200 64
    next_client_works
    kill "$PID_one"
}

@test "the other clients are served after some have left" {
    rule "a client that leaves does not affect the others" "the server loses or skips an entry of its list when it removes another" "chapter 3"
    need_concurrent_clients
    start_server
    client close-alternate 100
    client close-alternate 7 close-alternate 2 close-alternate 1
}

@test "an event is not delivered to a later client with the same descriptor number" {
    rule "an event belongs to the client that caused it, not to a later client with the same descriptor number" "the server handles an event of the same batch for a descriptor that it has closed and reused" "chapter 3"
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

# ---- shortages ----

@test "when descriptors run out, clients wait in the backlog and the server does not spin" {
    rule "with no descriptor left, the server pauses accepting, serves its clients, and accepts again when a descriptor is freed" "accept() fails with EMFILE again and again, or ends the server; or $ONE_ACCEPT" "chapter 2"
    need_concurrent_clients
    need_linux "to count descriptors"
    ulimit -Sn 32
    start_server
    local free=$((32 - $(fd_count)))
    ! is_foreign || free=$((free - $(lazy_descriptors)))
    echo "descriptors left for clients: $free"
    start_client one hold $free
    client_printed one holding
    start_client two connect print connected crowd 20 0 # all of them wait in the backlog
    client_printed two connected
    ulimit -Sn "$(ulimit -Hn)"
    does_not_spin
    resume_client one
    client_succeeded one
    client_succeeded two
    server_unaffected
}

@test "when the descriptor limit is lowered, the server pauses accepting, and resumes when it is raised" {
    rule "a shortage may end although no client has left, so the server tries again after a short time" "the server accepts again only when one of its own clients leaves" "chapter 2"
    need_concurrent_clients
    need prlimit "to change a running process's limit" "install util-linux"
    start_server
    start_client one echo one print here wait echo still shutdown expect-eof
    client_printed one here
    prlimit --pid "$SERVER_PID" --nofile="$(fd_count)":
    start_client two connect print connected echo "at last" shutdown expect-eof
    client_printed two connected
    does_not_spin
    prlimit --pid "$SERVER_PID" --nofile=256:
    client_succeeded two # client one is still connected
    resume_client one
    client_succeeded one
}

@test "with the descriptor limit below its open descriptors, the server serves its clients and stops on SIGTERM" {
    rule "a lower limit keeps new clients out and does not affect connected ones" "poll() fails with EINVAL as long as it has more entries than RLIMIT_NOFILE" "chapter 3"
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

@test "after a full backlog, all clients are served" {
    rule "clients that found the backlog full are accepted when there is room" "the server forgets connections after a burst; or $ONE_ACCEPT" "chapter 2"
    need_concurrent_clients
    start_server
    kill -STOP "$SERVER_PID"
    start_client one crowd 300 150
    wait_for_connections
    kill -CONT "$SERVER_PID"
    client_succeeded one
    server_unaffected
}
wait_for_connections() { # 300 connections, or as many as the backlog takes: no event shows when
    short_sleep 0.2
}

# bats test_tags=long
@test "2000 connections leak no descriptor and no memory" {
    rule "after many connections the server has as many descriptors and as much memory as before" "the server does not release a client's descriptor or buffer" "chapter 1"
    need_plain_memory
    start_server
    client churn "$(if is_foreign; then echo 2000; else echo 200; fi)" # an interpreter grows at first
    wait_until 5 fd_count_is "$(fd_count)"
    local fds kib
    fds=$(fd_count) kib=$(memory_kib)
    client churn "${CHURN:-2000}"
    client small-rcvbuf fill 500000 reset
    next_client_works
    wait_until 5 fd_count_is "$fds"
    echo "memory: $kib KiB, then $(memory_kib) KiB; at most 512 KiB more are allowed"
    [ $(($(memory_kib) - kib)) -lt 512 ]
}

# ---- signals ----

@test "SIGTERM and SIGINT stop the server with exit code 0, with and without clients, and free its port" {
    rule "on SIGTERM or SIGINT the server stops within a second, with exit code 0" "the server checks a flag before the wait, and a signal does not end the wait" "chapter 2"
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

@test "SIGTERM stops the server while bytes are in transit" {
    rule "on SIGTERM the server stops, whatever it is doing" "the loop finishes its work first; if the server is idle although the client sends: $ONE_READ" "chapter 2"
    start_server
    start_client one small-rcvbuf fill 50000000 wait
    client_printed one filled
    stop_server TERM
    start_server
    start_client two random 500000000
    wait_until 15 busy
    stop_server TERM
}
busy() { [ "$(cpu_ticks 2>/dev/null || echo 9)" -gt 2 ]; }

@test "SIGTERM right after the start stops the server, 20 times" {
    rule "a signal between the check and the wait is not lost" "the handler sets a flag after the loop has checked it, and then the wait never ends" "chapter 2"
    local i
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        start_server
        stop_server TERM
    done
}

@test "a killed server can be started again at once on the same port" {
    rule "the port can be bound again at once" "SO_REUSEADDR is not set, and old connections in TIME_WAIT occupy the port" "chapter 1"
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

@test "SIGSTOP and SIGCONT do not affect the clients" {
    rule "SIGSTOP and SIGCONT have no effect on what the clients see" "EINTR from the wait ends the server; if bytes differ: $SHORT_WRITE; if the client times out: $ONE_READ" "chapter 2"
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

@test "a signal that the server ignores, sent 10,000 times, does not affect the clients" {
    rule "signals have no effect on what the clients see" "EINTR ends the server or a client; if bytes differ: $SHORT_WRITE; if the client times out: $ONE_READ" "chapter 2"
    trap '' USR1
    start_server
    start_client one random 60000000 shutdown expect-eof
    send_10000_signals
    client_succeeded one
    server_unaffected
    trap - USR1
}
