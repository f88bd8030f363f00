#!/usr/bin/env bats
# What the two texts claim: the Python page (Async Socket I/O), and Scaling Async Python.  `make prove`
# runs this; book/src/claims.md is the page about it.  "holds" and "false" in a name are about the
# claim; a test that passes has shown it.  The margins are wide: noise must not cross them.
# Figures come from one quick run of the bench, which is repeated once if a figure is out of bounds.

load support/helpers
ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)

setup_file() {
    FRESH=$(mktemp -d "${TMPDIR:-/tmp}/prove.XXXXXX")
    export FRESH
    run_bench
    [ "$(uname -s)" != Linux ] || cc -std=c11 -O2 -o "$FRESH/readiness" "$BATS_TEST_DIRNAME/bench/readiness.c"
    [ ! -x "$FRESH/readiness" ] || "$FRESH/readiness" >"$FRESH/facts"
}
teardown_file() { rm -rf "$FRESH"; }

run_bench() {
    LEVELS= QUICK=1 ONLY='idle peers sizes close calls' OUT=$FRESH PEERS= STAGES= ROUNDS= "$BATS_TEST_DIRNAME/bench/run" >"$FRESH/out" 2>&1 3>&- || :
    bash "$BATS_TEST_DIRNAME/bench/figures" "$FRESH/bench.tsv" >"$FRESH/figures"
}

# ---- what a test says ----

seen() { echo "# seen: $*" | tr '\n' ' ' | sed 's/ $//' >&3 && echo >&3; }
figure() { awk -F '\t' -v key="$1" '$1 == key { print $2 }' "$FRESH/figures"; }
# The largest number of idle connections for which there is a figure of it.
furthest() { awk -F '\t' -v name="$1" 'index($1, "idle:" name ":") == 1 { split($1, f, ":"); if (f[3] + 0 > most) most = f[3] + 0 } END { print most + 0 }' "$FRESH/figures"; }
compare() { awk -v a="$1" -v op="$2" -v b="$3" 'BEGIN { exit !(a != "" && (op == "<=" ? a + 0 <= b + 0 : a + 0 >= b + 0)) }'; }
# expect KEY OPERATOR VALUE, for a figure; what disturbed it may be gone in a second run.
expect() {
    if compare "$(figure "$1")" "$2" "$3"; then return; fi
    echo "$1 is $(figure "$1"), not $2 $3; measured again"
    run_bench
    echo "now it is $(figure "$1")"
    compare "$(figure "$1")" "$2" "$3"
}
has_figure() { [ -n "$(figure "$1")" ] || skip "not measured here ($1); to run it: $2"; }
fact() { sed -n "s/^$1 //p" "$FRESH/facts"; }
need_facts() { [ -s "$FRESH/facts" ] || skip "needs epoll; to run it: Linux"; }

# stage NAME: the server that start_server starts.
stage() {
    SERVER=$ROOT/$1/server VARIANT=$1 OURS=1 SERVER_ARGS='-b ADDRESS -p PORT'
    [ -x "$SERVER" ] || skip "$1 is not built here; to run it: make $1, where it can run"
}
python() {
    need python3 "the page's server is Python" "install python3"
    SERVER=$(command -v python3) VARIANT="page.py $1" SERVER_ARGS="$ROOT/tests/bench/peers/page.py $1 PORT"
    unset OURS
}
# Bytes that the kernel keeps for the server's end of its one connection, unread.
waiting_bytes() {
    awk -v port="$(printf ':%04X' "$PORT")" '$4 == "01" && index($2, port) { split($5, queue, ":"); print queue[2] }' /proc/net/tcp |
        { read -r hex && echo $((16#$hex)); }
}
bytes_wait() { [ "$(waiting_bytes)" = "$1" ]; }
cpu_ns() { awk '{ print $1 }' "/proc/$SERVER_PID/schedstat"; }

# ---- the Python page ----

@test "holds: a thread for each connection costs memory, at least 5 times a descriptor" {
    local idle thread other
    idle=$(furthest 01-blocking)
    has_figure "user:01-blocking:$idle" "make 01-blocking"
    thread=$(figure "user:01-blocking:$idle") other=$(figure "user:04-epoll:950")
    seen "bytes of its own for each idle connection: 01 $thread, 04 $other"
    expect "user:01-blocking:$idle" '>=' $((5 * (${other:-0} + 1)))
    if [ -n "$(figure "kernel:01-blocking:$idle")" ]; then
        seen "with the kernel's: $(figure "kernel:01-blocking:$idle") more, and $(figure "kernel:04-epoll:$(furthest 04-epoll)")"
    fi
}

@test "holds: a thread for each connection costs context switches, at least 5 times as many" {
    has_figure switches:idle:01-blocking:50:0 "Linux"
    has_figure switches:idle:04-epoll:50:0 "Linux"
    seen "switches for each echo, 50 connections: 01 $(figure switches:idle:01-blocking:50:0), 04 $(figure switches:idle:04-epoll:50:0)"
    expect switches:idle:01-blocking:50:0 '>=' 0.5
    expect switches:idle:04-epoll:50:0 '<=' 0.2
}

@test "holds: select() watches descriptors below FD_SETSIZE (1024), and no other" {
    stage 02-select
    local size
    size=$(printf '#include <sys/select.h>\nFD_SETSIZE\n' | cc -E -x c - | tail -n 1 | tr -dc 0-9)
    [ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -gt $((size + 100)) ] || skip "needs $((size + 100)) descriptors; to run it: ulimit -Hn $((size + 100))"
    ulimit -Sn "$(ulimit -Hn)"
    start_server -v
    start_client one idle $((size + 10))
    client_printed one holding
    wait_until 10 has_text "$TMP/server.err" '; rest$'
    seen "$((size + 10)) connect, and it accepts $(grep -c 'accept: fd' "$TMP/server.err"); its highest descriptor is $(sed -n 's/.*accept: fd //p' "$TMP/server.err" | sort -n | tail -n 1)"
    [ "$(grep -c 'accept: fd' "$TMP/server.err")" = $((size - 6)) ]
    resume_client one
}

@test "holds: poll() has no such limit" {
    stage 03-poll
    [ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 3100 ] || skip "needs 3,100 descriptors; to run it: ulimit -Hn 3100"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    start_client one idle 3000
    client_printed one holding
    next_client_works
    seen "3,000 connections are there, and the next one has its echo"
    resume_client one
}

@test "holds: select() is O(n): beside 950 idle connections an echo costs it at least 1.3 times as much" {
    has_figure idle:02-select:950 "make, and ulimit -Hn 1100"
    seen "$(figure idle:02-select:950) times what it costs at none"
    expect idle:02-select:950 '>=' 1.3
}

@test "holds: poll() is O(n): at 950 idle at least 1.3 times, at 15,000 at least 8 times" {
    local idle
    idle=$(furthest 03-poll)
    has_figure idle:03-poll:950 "make, and ulimit -Hn 1100"
    seen "$(figure idle:03-poll:950) times at 950, $(figure "idle:03-poll:$idle") times at $idle"
    expect idle:03-poll:950 '>=' 1.3
    [ "$idle" -lt 15000 ] || expect idle:03-poll:15000 '>=' 8
}

@test "false: poll() is more efficient than select(): with as many descriptors it costs the same" {
    has_figure than:03-poll:02-select:950 "make"
    seen "at 950 idle poll costs $(figure than:03-poll:02-select:950) times what select costs"
    expect than:03-poll:02-select:950 '>=' 0.8
    expect than:03-poll:02-select:950 '<=' 1.25
}

@test "holds: epoll is O(1): beside 15,000 idle connections at most 1.25 times as much" {
    local idle
    idle=$(furthest 04-epoll)
    has_figure "idle:04-epoll:$idle" "Linux"
    seen "$(figure "idle:04-epoll:$idle") times at $idle idle; the same program under two names, both at none: $(figure own:idle:50)"
    expect "idle:04-epoll:$idle" '<=' 1.25
}

@test "and its limit: with 50 connections, none idle, select and poll cost no more than epoll" {
    has_figure than:03-poll:04-epoll:0 "Linux"
    seen "50 connections, none idle: poll costs $(figure than:03-poll:04-epoll:0) times what epoll costs, select $(figure than:02-select:04-epoll:0) times"
    expect than:03-poll:04-epoll:0 '<=' 1.15
    expect than:02-select:04-epoll:0 '<=' 1.15
}

@test "holds: its selectors module takes the best mechanism by itself" {
    need python3 "to ask it" "install python3"
    local name
    name=$(python3 -c 'import selectors; print(selectors.DefaultSelector.__name__)')
    seen "python3 here takes $name"
    case $(uname -s) in Linux) [ "$name" = EpollSelector ] ;; *BSD | Darwin) [ "$name" = KqueueSelector ] ;; esac
}

@test "holds: one interface over all of them is as good: 06 costs at most 1.1 times 04" {
    has_figure close:06-epoll "make 06-selector"
    seen "06 costs $(figure close:06-epoll) times 04"
    expect close:06-epoll '<=' 1.1
}

@test "beside the text: a bare loop over epoll is no worse than libevent, within 10 %" {
    has_figure close:libevent "its headers (Debian: apt-get install libevent-dev)"
    seen "libevent costs $(figure close:libevent) times 04"
    expect close:libevent '>=' 0.91
}

@test "beside the text: a silent connection costs 02, 03, 04 and 06 at most 150 bytes of their own" {
    local name idle
    for name in 02-select 03-poll 04-epoll 06-epoll; do
        idle=$(furthest $name)
        [ "$idle" -gt 0 ] && [ -n "$(figure "user:$name:$idle")" ] || continue
        seen "$name: $(figure "user:$name:$idle") at $idle"
        expect "user:$name:$idle" '<=' 150
    done
    has_figure user:03-poll:950 "Linux"
}

@test "its habit: two epoll_ctl() for each message double the system calls, and cost 6 % or more" {
    has_figure close:04-modify "Linux"
    seen "04 with that habit costs $(figure close:04-modify) times 04; the same program under two names: $(figure close:04-again); calls for each echo: $(figure calls:04-modify:all), without it $(figure calls:04-epoll:all)"
    expect close:04-modify '>=' 1.06
    [ -z "$(figure calls:04-modify:epoll_ctl)" ] || expect calls:04-modify:epoll_ctl '>=' 1.9
}

@test "its habit: in Python the same server costs more than in C, at least 1.1 times" {
    has_figure peer:page-epoll "python3"
    seen "04 costs $(figure peer:page-epoll) times what the page's epoll server costs"
    expect peer:page-epoll '<=' 0.9
}

@test "its habit: one recv(1024) for each event: with 4 KiB in a message 04 costs at most 0.45 times as much" {
    has_figure size:page-epoll:4096 "python3"
    seen "04 costs $(figure size:page-epoll:4096) times the page's epoll server at 4 KiB, $(figure size:page-epoll:16384) times at 16 KiB, and $(figure peer:page-epoll) times at 64 bytes"
    expect size:page-epoll:4096 '<=' 0.45
    expect size:page-epoll:16384 '<=' 0.25
}

# share_of_kernel: of the CPU time that the server needs for some seconds of echoes, in percent.
share_of_kernel() {
    local before after
    before=$(cut -d' ' -f14,15 "/proc/$SERVER_PID/stat")
    "$FRESH/load" -n 50 -r 1 -w 2000 "x:$SERVER_PID:$PORT:0:4" >/dev/null
    after=$(cut -d' ' -f14,15 "/proc/$SERVER_PID/stat")
    echo "$before $after" | awk '{ print int(($4 - $2) * 100 / ($4 - $2 + $3 - $1) + 0.5) }'
}

@test "beside the text: why C gains so little: most of an echo is the kernel's, in any language" {
    need_linux "to ask whose time it was"
    cc -std=c11 -O2 -o "$FRESH/load" "$BATS_TEST_DIRNAME/bench/load.c"
    local ours pages
    stage 04-epoll
    start_server
    ours=$(share_of_kernel)
    stop_server
    python epoll
    start_server
    pages=$(share_of_kernel)
    seen "of the server's CPU time the kernel has $ours % in 04, and $pages % in the page's epoll server"
    [ "$ours" -ge 85 ]
    [ "$pages" -ge 60 ]
    [ "$pages" -lt "$ours" ]
}

@test "its habit: one reset ends the page's epoll server, and not ours" {
    need_linux "the page's server uses epoll"
    python epoll
    start_server
    client echo hello reset
    wait_until 5 has_exited "$SERVER_PID"
    seen "its last words: $(tail -n 1 "$TMP/server.err")"
    grep -q ConnectionResetError "$TMP/server.err"
    stage 04-epoll
    start_server
    client echo hello reset
    next_client_works
}

@test "its habit: one client that does not read stops the page's selectors server for all" {
    need_linux "the same calls everywhere, but only Linux was looked at"
    python selectors
    start_server
    start_client one fill 20000000 wait
    client_printed one filled
    CLIENT_SECONDS=2 run client echo hello
    seen "the next client: ${lines[0]}"
    [ "$status" -eq 1 ]
}

@test "its merit: the page's epoll server waits for room, so such a client loses nothing" {
    need_linux "the page's server uses epoll"
    python epoll
    start_server
    client fill 20000000 drain shutdown expect-eof >"$TMP/words"
    seen "sent before the client read: $(sed -n 's/filled //p' "$TMP/words") bytes, and all came back"
}

# ---- Scaling Async Python ----

@test "holds: the data is in the socket's buffer before the program wakes up" {
    need_linux "to ask the kernel for its queue"
    stage 04-epoll
    start_server
    start_client one echo hi print there wait send "$(printf '%04000d' 0)" send "$(printf '%03000d' 0)" print sent wait
    client_printed one there
    kill -STOP "$SERVER_PID"
    resume_client one
    client_printed one sent
    wait_until 5 bytes_wait 7000
    seen "the server is stopped, and the kernel holds $(waiting_bytes) bytes for it, which came in two pieces"
    kill -CONT "$SERVER_PID"
    wait_until 5 bytes_wait 0
    resume_client one
}

@test "holds: epoll does not touch the bytes: five waits, and all of them are still there" {
    need_facts
    seen "unread before and after the waits: $(fact level-bytes)"
    [ "$(fact level-bytes)" = '1000 1000' ]
}

@test "holds: level-triggered epoll reports again, edge-triggered does not" {
    need_facts
    seen "of five waits over the same unread bytes: level $(fact level-reports), edge $(fact edge-reports); after one byte more: level $(fact level-again), edge $(fact edge-again)"
    [ "$(fact level-reports)" = 5 ]
    [ "$(fact edge-reports)" = 1 ]
    [ "$(fact edge-again)" = 1 ]
}

@test "false: EPOLLHUP means that the other side has closed: it reports EPOLLIN" {
    need_facts
    seen "after a close: $(fact closed); after a reset: $(fact reset)"
    [ "$(fact closed)" = EPOLLIN ]
    [ "$(fact reset)" = 'EPOLLIN EPOLLERR EPOLLHUP' ]
}

@test "false: EPOLLET is an event, as that table has it: no wait reports it" {
    need_facts
    seen "an edge-triggered descriptor reports: $(fact closed-edge)"
    [ "$(fact closed-edge)" = EPOLLIN ]
}

@test "holds: one thread holds 15,000 connections, and waits for them without wasting CPU" {
    need_linux "to count the threads"
    stage 04-epoll
    local count=15000 before after
    [ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -gt 15100 ] || count=$(($(ulimit -Hn) - 100))
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    start_client one idle "$count"
    client_printed one holding
    wait_until 20 fd_count_is $((FDS_AT_START + count))
    next_client_works
    before=$(cpu_ns)
    short_sleep 1
    after=$(cpu_ns)
    seen "$count connections, $(awk '/^Threads:/ { print $2 }' "/proc/$SERVER_PID/status") thread, $(((after - before) / 1000)) us of CPU in a second in which nobody speaks"
    [ "$(awk '/^Threads:/ { print $2 }' "/proc/$SERVER_PID/status")" = 1 ]
    [ $((after - before)) -le 20000000 ]
}

@test "not shown: a single network card handles millions of requests per second" {
    has_figure speed:idle:04-epoll:50:0 "make"
    seen "loopback has no card; here stage 04 and its clients make $(figure speed:idle:04-epoll:50:0) echoes a second on one processor"
    skip "needs a network card, and a second machine; a claim that this book does not test"
}
