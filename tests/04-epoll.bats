#!/usr/bin/env bats
# What only stage 04 does: the five flags of the second document's table, each made to occur; no
# epoll_ctl in the steady state; edge-triggered.
load support/helpers

told() { wait_until 5 has_text "$TMP/server.err" "$1" || { tail -n 20 "$TMP/server.err"; return 1; }; }

@test "EPOLLIN: bytes are there; EPOLLRDHUP: the client's FIN" {
    rule "the narration names what the kernel said" "" "chapter 4"
    start_server -v
    client echo hello shutdown expect-eof
    told 'epoll_wait  1 ready .*EPOLLIN  *recv 5, send 5'
    told 'EPOLLIN|EPOLLRDHUP .*recv 0: end of input; close'
}

@test "EPOLLOUT: there is room again, asked for only when a send was short" {
    rule "writability is asked for when a send was short, and no longer when all is sent" "EPOLLOUT left armed: a spin" "chapter 4"
    start_server -v
    client echo hello shutdown expect-eof
    ! grep -q EPOLLOUT "$TMP/server.err"
    client small-rcvbuf fill 30000000 drain shutdown expect-eof
    told 'EPOLLOUT .*epoll_ctl MOD'
    told 'epoll_wait  1 ready .*EPOLLOUT .*send [0-9]*, [0-9]* wait'
    told 'EPOLLIN|EPOLLRDHUP .*epoll_ctl MOD'
}

@test "EPOLLERR and EPOLLHUP: unasked, when the client resets" {
    rule "error flags lead to a read that finds the errno" "a flag without a branch: a spin, or a client for ever" "chapter 4"
    start_server -v
    start_client one echo hello wait reset
    told 'recv 5, send 5'
    resume_client one
    told 'EPOLLIN|EPOLLERR|EPOLLHUP|EPOLLRDHUP.*recv: Connection reset by peer; close'
    next_client_works
}

@test "EPOLLERR and EPOLLHUP while waiting to write" {
    rule "error flags lead to a write that finds the errno" "a flag without a branch: a spin, or a client for ever" "chapter 4"
    start_server -v
    client small-rcvbuf fill 30000000 reset
    told 'EPOLLOUT|EPOLLERR|EPOLLHUP.*send: Connection reset by peer; close'
    next_client_works
    does_not_spin
}

@test "a client that sends FIN while the server waits to write does not wake it" {
    rule "EPOLLRDHUP is not asked for while bytes are pending" "EPOLLRDHUP, level-triggered, reported over and over" "chapter 4"
    start_server -v
    start_client one small-rcvbuf fill 6000000 shutdown print done wait drain expect-eof
    client_printed one "done"
    told 'EPOLLOUT .*epoll_ctl MOD'
    does_not_spin
    resume_client one
    client_succeeded one
}

# An event can arrive for a client that the server has closed already.  To make one, another process
# adds a pipe of its own to the server's epoll instance, under a number that no client has.
@test "an event for a descriptor that no client has is ignored" {
    rule "an event without a client is ignored" "the NULL of client_by_fd() is not checked" "chapter 4"
    need python3 "to add a descriptor to the server's epoll instance" "install python3"
    local fd
    for fd in 200 900; do # within the table of clients and beyond it
        start_server
        client echo hello shutdown expect-eof
        run python3 - "$SERVER_PID" "$fd" <<'END'
import ctypes, os, select, sys, time
pid, number = int(sys.argv[1]), int(sys.argv[2])
link = "/proc/%d/fd/" % pid
epoll = next(int(fd) for fd in os.listdir(link) if "[eventpoll]" in os.readlink(link + fd))
libc = ctypes.CDLL(None)
copy = libc.syscall(438, libc.syscall(434, pid, 0), epoll, 0)  # pidfd_getfd(pidfd_open())
if copy == -1:
    sys.exit(77)
reading, writing = os.pipe()
os.dup2(reading, number)
instance = select.epoll.fromfd(copy)
instance.register(number, select.EPOLLIN | select.EPOLLONESHOT)
os.write(writing, b"x")
for _ in range(500):  # EPOLLONESHOT: once the server has the event, EPOLLIN is not set any more
    time.sleep(0.01)
    entries = [line.split() for line in open("/proc/self/fdinfo/%d" % copy)]
    if [1 for e in entries if e[:2] == ["tfd:", str(number)] and int(e[3], 16) & select.EPOLLIN == 0]:
        sys.exit(0)
sys.exit("the server did not take the event")
END
        echo "$output"
        [ "$status" != 77 ] || skip "no descriptor of the server can be copied here; to run it: Linux 5.6 or later, as root"
        [ "$status" = 0 ]
        next_client_works
        stop_server
    done
}

@test "EPOLLET: with -e, and then it reads until EAGAIN" {
    rule "edge-triggered: once for each arrival, so read until there is no more" "one read for each event: the rest is never told of" "chapter 4"
    start_server -v -e
    start_client one echo hello print here wait random 3000000 shutdown expect-eof
    client_printed one here # it waits, so there is nothing left to read
    told 'EPOLLIN|EPOLLRDHUP|EPOLLET .*epoll_ctl ADD'
    told 'recv: EAGAIN, nothing left'
    resume_client one
    client_succeeded one
}

@test "edge-triggered, FIN that arrives together with the last bytes is not missed" {
    rule "edge-triggered: read until EAGAIN or the end" "stopping at a short read" "chapter 4"
    start_server -e
    local i
    for i in 1 2 3 4 5; do
        kill -STOP "$SERVER_PID"
        start_client one send "bytes and FIN" shutdown print sent expect "bytes and FIN" expect-eof
        client_printed one sent
        kill -CONT "$SERVER_PID"
        client_succeeded one
        rm "$TMP/one.in" "$TMP/one.out"
    done
}

@test "edge-triggered, a client that has much to read does not keep another waiting" {
    rule "edge-triggered: the reading has a bound, and then the kernel is asked anew" "reading one client until there is no more, however much comes" "chapter 4"
    start_server -v -e
    start_client one echo a print here wait fill 5000000 print full wait
    client_printed one here
    start_client two echo b print here wait send hello print sent expect hello shutdown expect-eof
    client_printed two here
    local before
    kill -STOP "$SERVER_PID"
    resume_client one
    wait_until 5 sends_wait
    resume_client two
    client_printed two sent
    kill -CONT "$SERVER_PID"
    client_succeeded two
    before=$(sed '/recv 5, send 5/q' "$TMP/server.err" | grep -c 'recv 65536')
    echo "reads of one client before the other had its turn: $before"
    [ "$before" -le 16 ]
    resume_client one
}
# the client's bytes have filled the receive buffer of the server, which is stopped
sends_wait() { awk -v port="$(printf ':%04X' "$PORT")" '$2 ~ port "$" && $4 == "01" { split($5, q, ":"); if (q[2] != "00000000") found = 1 } END { exit !found }' /proc/net/tcp; }

@test "an echo costs two system calls and a share of the wait, and no epoll_ctl" {
    rule "read, send at once, ask for writability only after a short send" "two epoll_ctl for each message, as the Python document does" "chapter 4"
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

@test "an idle client costs at most 96 bytes" {
    rule "an idle client costs its entry in the table and no buffer" "a buffer for each client" "chapter 4"
    idle_client_costs_at_most 96
}
