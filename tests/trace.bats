#!/usr/bin/env bats
# The tracer of stage 07: what it shows, that it shows no more than it saw, and that it leaves
# nothing behind.  What needs root says so; the rest runs anywhere.
load support/helpers

ROOM=$TESTS/../07-nic-to-app
TRACER=$ROOM/tracer
TRACE=$ROOM/trace
MOUNT=/sys/kernel/tracing
unset COLUMNS

# These tests look into tracefs.  Where nobody has mounted it, root mounts it as the tracer does: in a mount
# namespace of its own, so that no other process sees the mount and it ends with the process that has it.
# Through /proc, the tests see what that process sees.
setup_file() {
    export TRACEFS=$MOUNT TRACEFS_HOLDER=''
    [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] && [ ! -d "$MOUNT/instances" ] || return 0
    local ready
    ready=$(mktemp -u "${TMPDIR:-/tmp}/tracefs.XXXXXX")
    mkfifo "$ready" || return 0
    unshare -m sh -c "mount -t tracefs none $MOUNT; echo done >'$ready'; exec sleep 3600" >/dev/null 2>&1 3>&- &
    TRACEFS_HOLDER=$!
    read -r -t 10 _ <>"$ready" || :
    rm -f "$ready"
    TRACEFS=/proc/$TRACEFS_HOLDER/root$MOUNT
}
teardown_file() { [ -z "$TRACEFS_HOLDER" ] || kill "$TRACEFS_HOLDER" 2>/dev/null || :; }

# The server that is traced: this stage's own, or the one that has been there before it.
traced() { if [ -x "$ROOM/server" ]; then echo "$ROOM/server"; else echo "$TESTS/../04-epoll/server"; fi; }
trace() { NO_COLOR=1 "$TRACE" "$@"; }
trace_server() { trace --server "$(traced)" "$@"; }

need_trace() {
    [ -x "$TRACE" ] || skip "needs the tracer; to run it: make 07"
    [ -x "$(traced)" ] || skip "needs a server to trace; to run it: make"
}
need_tracefs() {
    need_trace
    need_linux "for its tracepoints"
    need_root "to read tracepoints"
    [ -d "$TRACEFS/instances" ] || skip "tracefs cannot be mounted here; to run it: root on a machine of your own, or a container with --privileged"
    OTHERS=$(all_instances) # of another tracer that runs, or left behind by one whose PID is in use again
}
# The tracer's files that need neither the kernel nor root: events in, journeys out.
pure() { for file in hops recording stitch search back forward verdict shares; do echo "$TRACER/$file.c"; done; }
# Runs as an ordinary user, from a folder that it may read.
as_nobody() {
    need setpriv "to be an ordinary user" "install util-linux"
    mkdir -p "$TMP/room/recordings"
    cp "$TRACE" "$TMP/room/"
    cp "$ROOM"/recordings/* "$TMP/room/recordings/"
    cp "$(traced)" "$TMP/room/server"
    chmod 755 "$TMP"
    chmod -R a+rX "$TMP/room" # whatever the umask is
    NO_COLOR=1 setpriv --reuid=65534 --regid=65534 --clear-groups "$TMP/room/trace" "$@"
}
all_instances() { find "$TRACEFS/instances" -mindepth 1 -maxdepth 1 -name 'echo-trace-*'; }
instances() { all_instances | grep -vxF -e "${OTHERS:-none}" || :; }
has_instance() { [ -n "$(instances)" ]; }
no_instance() { [ -z "$(instances)" ]; }
narrow() { # no line is wider than 80 columns
    # Some awks count bytes, so leave one byte of each UTF-8 character.
    LC_ALL=C tr -d '\200-\277' <"$1" | awk 'length($0) > 80 { print "too wide: " $0; wide = 1 } END { exit wide }'
}
figure() { sed -n "s/.*[^0-9]\([0-9]*\) $2.*/\1/p" "$1"; }
nothing_left() { wait_until 5 no_instance || { echo "an instance is left:"; instances; return 1; }; }

# sanitized PROGRAM SOURCE...: build it with the address sanitizer, where the compiler has one.
sanitized() {
    local cc=${CC:-cc} flags='-std=c11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all'
    # shellcheck disable=SC2086
    $cc $flags -o "$TMP/probe" -x c - <<<'int main(void) { return 0; }' 2>/dev/null && "$TMP/probe" || flags='-std=c11 -O1 -g'
    # shellcheck disable=SC2086
    $cc $flags -I"$TRACER" -o "$TMP/$1" "${@:2}"
}

@test "the ring-buffer decoder: pages made by hand, damaged pages, address sanitizer" {
    rule "a page of a ring buffer in, events out" "a record whose length is not checked" "chapter 7"
    sanitized decoder "$TESTS/programs/decoder.c" "$TRACER/decoder.c" "$TRACER/format.c" "$TRACER/recording.c" "$TRACER/hops.c"
    timeout 60 "$TMP/decoder" >"$TMP/tap" || { cat "$TMP/tap"; false; }
}

@test "the stitcher: one test for each trap, damaged recordings, address sanitizer" {
    rule "events in, journeys out: nothing is guessed" "an skb's address that is used again" "chapter 7"
    # shellcheck disable=SC2046 # words
    sanitized stitch "$TESTS/programs/stitch.c" $(pure) "$TRACER"/show_*.c
    "$TMP/stitch" "$ROOM"/recordings/*.txt >"$TMP/tap" || { cat "$TMP/tap"; false; }
}

@test "explain and replay: no root, no Linux" {
    need_trace
    rule "what was recorded is shown as recorded" "" "chapter 7"
    trace explain >"$TMP/map"
    narrow "$TMP/map"
    grep -q '\[your code reads\]' "$TMP/map"
    trace explain tcp_probe | grep -q 'Linked to its neighbours by'
    local file
    for file in "$ROOM"/recordings/*.txt; do
        trace replay "$file" --json "$TMP/json" --svg "$TMP/svg" >"$TMP/out"
        grep -q '^RECORDED, not measured now' "$TMP/out"
        narrow "$TMP/out"
        grep -q '</svg>' "$TMP/svg"
        ! command -v python3 >/dev/null || python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$TMP/json"
        ! command -v python3 >/dev/null || python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$TMP/svg"
    done
    # --brief: the same hops in the same order, each in one line, without its reason
    for file in lo card-e1000 blocked sockets; do
        hop_lines() { awk 'substr($0, 1, 9) ~ /^ *([0-9.]+|before|-) $/ && !/µs in all/ && !/ %  / { print $1, $2, $3, $4 }'; }
        trace replay "$ROOM/recordings/$file.txt" -n 1 | hop_lines | sed 's/ *$//' >"$TMP/whole"
        trace replay "$ROOM/recordings/$file.txt" -n 1 --brief >"$TMP/brief"
        narrow "$TMP/brief"
        if grep -q '^        [A-Z]' "$TMP/brief"; then false; fi
        diff <(sed 's/ .*//' "$TMP/whole") <(hop_lines <"$TMP/brief" | sed 's/ .*//')
    done
    # what is so this time only is said then
    trace replay "$ROOM/recordings/rps.txt" -n 1 | grep -q 'RPS chose this CPU'
    trace replay "$ROOM/recordings/card-e1000.txt" -n 1 | grep -q 'Another CPU asked for this'
    if trace replay "$ROOM/recordings/lo.txt" | grep -q 'RPS chose\|Another CPU'; then false; fi
    if trace explain moon 2>"$TMP/err"; then false; fi
    grep -q 'there is no such hop' "$TMP/err"
}

@test "a bad or cut recording: one line that says where and why, exit 1" {
    need_trace
    rule "nothing in a file is trusted" "" "chapter 7"
    local code=0
    head -n 30 "$ROOM/recordings/lo.txt" >"$TMP/cut"
    trace replay "$TMP/cut" >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code = 1 ]
    [ "$(wc -l <"$TMP/err")" = 1 ]
    grep -q 'line 30: the recording is cut off' "$TMP/err"
    if [ -c /dev/full ]; then # where nothing can be written, nothing was shown
        code=0
        trace replay "$ROOM/recordings/lo.txt" >/dev/full 2>"$TMP/err" || code=$?
        [ $code = 1 ]
        [ "$(wc -l <"$TMP/err")" = 1 ]
    fi
    sed "s/\$/$(printf '\r')/" "$ROOM/recordings/lo.txt" >"$TMP/crlf"
    code=0
    trace replay "$TMP/crlf" >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code = 1 ]
    grep -q 'line 1: it ends in CR LF, as lines do on Windows' "$TMP/err"
    trace replay "$ROOM/recordings/many.txt" | head -n 1 | grep -q '^RECORDED'
    code=0
    trace replay "$TMP/none" 2>"$TMP/err" || code=$?
    [ $code = 1 ]
    grep -q 'No such file' "$TMP/err"
}

@test "a file that cannot be written is refused before the run, and an existing one keeps its content" {
    need_trace
    rule "nothing is recorded in vain, and nothing is overwritten twice" "a file that is opened after the run" "chapter 7"
    local code=0 option
    for option in json svg record; do
        code=0
        trace replay "$ROOM/recordings/lo.txt" --$option "$TMP/none/file" >"$TMP/out" 2>"$TMP/err" || code=$?
        [ $code = 1 ]
        [ ! -s "$TMP/out" ]
        grep -q 'none/file: No such file or directory' "$TMP/err"
    done
    echo kept >"$TMP/old"
    for option in "--json $TMP/x --svg $TMP/./x" "--record $TMP/old --json $TMP/../${TMP##*/}/old"; do
        code=0
        # shellcheck disable=SC2086
        trace replay "$ROOM/recordings/lo.txt" $option >"$TMP/out" 2>"$TMP/err" || code=$?
        [ $code = 2 ]
        grep -q 'only one of --json, --svg and --record' "$TMP/err"
    done
    [ ! -e "$TMP/x" ]
    [ "$(cat "$TMP/old")" = kept ]
    [ "$(trace replay "$ROOM/recordings/lo.txt" --json >(wc -c) | tail -n 1)" -gt 1000 ] # a pipe
}

@test "wrong command lines: one line and the usage, exit 2" {
    need_trace
    rule "a bad option, port or word ends with 2" "" "chapter 7"
    local words code
    for words in "-n 0" "-n x" "--via moon" "attach" "attach 70000" "moon 1" "replay" "--svg" "-q" "a b c" \
        "-b 127.0.0.1" "--device lo" "--watch --device moon0" "attach 1 --via veth" "attach 1 --cpu 0" \
        "attach 1 --server x" "attach 1 --device eth0" "attach 1 -b ::1" "--cpu 1023" "-p 9" "--via rps --cpu 1" \
        "--watch --via veth" "replay $ROOM/recordings/lo.txt --via tap" "replay $ROOM/recordings/lo.txt --watch" \
        "explain send --json $TMP/x" "--json $TMP/x --svg $TMP/x" "attach 1 --brief -p 2"; do
        code=0
        # shellcheck disable=SC2086
        trace $words >"$TMP/out" 2>"$TMP/err" || code=$?
        [ $code = 2 ] || { echo "trace $words: exit $code"; cat "$TMP/err"; false; }
        grep -q '^usage:' "$TMP/err"
    done
    trace -h | grep -q '^usage:'
    code=0
    trace attach 1 >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code = 1 ]
}

@test "one packet: every box of the drawing, every hop in causal order" {
    need_tracefs
    rule "each arrow is seen, with its time" "" "chapter 7"
    local box
    trace_server --record "$TMP/recorded" >"$TMP/out"
    cat "$TMP/out"
    narrow "$TMP/out"
    for box in "the sender" "NIC hardware" "kernel network stack" "socket receive buffer" \
        "epoll watches" "the kernel wakes epoll_wait" "the event loop" "your code reads"; do
        grep -q "^\[$box" "$TMP/out"
    done
    awk '$1 ~ /^[0-9]+\.[0-9]$/ && $2 !~ /µs/ { if ($1 < last) bad = 1; last = $1; n++ } END { exit bad || n < 14 }' "$TMP/out"
    trace replay "$TMP/recorded" | sed 1d >"$TMP/again"
    grep -v '^written' "$TMP/out" | diff - "$TMP/again"
    nothing_left
}

@test "-n 1000: at least 990 complete journeys, no event lost" {
    need_tracefs
    rule "nothing is lost and nothing is guessed" "rings that are too small" "chapter 7"
    trace_server -n 1000 >"$TMP/out"
    cat "$TMP/out"
    narrow "$TMP/out"
    grep -q '^1000 journeys: .*; 0 events lost' "$TMP/out"
    [ "$(figure "$TMP/out" complete)" -ge 990 ]
    nothing_left
}

@test "the ways: veth, tap, gro, rps" {
    need_tracefs
    rule "the path is made, followed and gone" "" "chapter 7"
    local way devices
    devices=$(ls /sys/class/net)
    for way in veth tap gro rps; do
        [ $way != rps ] || [ "$(nproc)" -ge 2 ] || continue
        trace_server --via $way -n 50 >"$TMP/$way"
        cat "$TMP/$way"
        grep -q '^\(Next best\|.*cannot be created\)' "$TMP/$way" && skip "the path $way cannot be created here; to run it: root on a machine of your own"
        # All but the switch: some kernels write no event for one from the idle task.
        awk '/^  [a-z_]/ && $2 < 45 && $1 != "callback" && $1 !~ /switch|softirq_entry/ && NF == 5 { print "too few: " $0; few = 1 } END { exit few }' "$TMP/$way"
    done
    trace_server --via gro >"$TMP/one"
    grep -q 'netif_receive_skb .* of 4 frames' "$TMP/one"
    trace_server --via tap >"$TMP/one"
    grep -q 'who has 192.0.2.1' "$TMP/one"
    grep -q ' 08 06$' "$TMP/one" # the type of ARP, in hex
    narrow "$TMP/one"
    [ "$(grep -c 'to warm up' "$TMP/one")" = 1 ]
    [ "$(grep -c '^\[the sender\]\|^\[your code reads\]' "$TMP/one")" -le 2 ]
    # only the tracer's own: other programs may add devices meanwhile
    [ -z "$(ls /sys/class/net | grep -vxF -e "$devices" | grep -x 'client0\|server0\|tap0')" ]
    nothing_left
}

@test "attach: a blocked recv(), poll() and epoll" {
    need_tracefs
    rule "any server can be traced" "" "chapter 7"
    local stage
    for stage in 01-blocking 03-poll 04-epoll; do
        [ -x "$TESTS/../$stage/server" ] || skip "needs stages 01, 03 and 04; to run it: make"
        SERVER=$TESTS/../$stage/server OURS=1 VARIANT_ARGS='' start_server
        trace attach "$PORT" >"$TMP/$stage"
        cat "$TMP/$stage"
        stop_server
    done
    grep -q 'before .*sys_enter_recvfrom' "$TMP/01-blocking"
    if grep -q '\[the event loop\|\[.*epoll' "$TMP/01-blocking"; then false; fi
    if grep -q '\[.*epoll' "$TMP/03-poll"; then false; fi
    grep -q 'sys_exit_p*poll' "$TMP/03-poll"
    grep -q 'sys_exit_epoll_p*wait' "$TMP/04-epoll"
    nothing_left
}

# odd MODE [NAME]: an echo server in Python, $TMP/odd, with the ways of other people's servers.
odd() {
    need python3 "for servers of another kind" "install python3"
    {
        echo "#!$(command -v python3)"
        echo "MODE, NAME = '$1', b'${2:-odd}'"
        cat <<'END'
import ctypes, os, socket, sys, threading, time
ctypes.CDLL(None).prctl(15, NAME)  # PR_SET_NAME
listener = socket.socket()
listener.bind((sys.argv[2], int(sys.argv[4])))
listener.listen(16)
if MODE.startswith("threads"):
    for _ in range(int(MODE[7:])):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("listening on %s:%d" % listener.getsockname(), flush=True)
def serve(client):
    while data := client.recv(4096):
        client.sendall(data)
        if MODE == "chatty":
            print(data, flush=True)
while True:
    client, _ = listener.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if MODE == "fork":
        if os.fork() == 0:
            listener.close()
            serve(client)
            os._exit(0)
        client.close()
    else:
        serve(client)
END
    } >"$TMP/odd"
    chmod +x "$TMP/odd"
}
all_complete() { grep -q "^$1 journeys: $1 complete" "$2" || { cat "$2"; return 1; }; }

@test "other people's servers: one that forks, a script, many threads, one that talks" {
    need_tracefs
    rule "a hop is not seen only where the kernel has no event of it" "threads that were not found" "chapter 7"
    local mode port
    for mode in fork threads25 threads27 chatty; do
        odd $mode
        trace --server "$TMP/odd" -n 5 >"$TMP/out"
        echo "$mode:"
        all_complete 5 "$TMP/out"
    done
    # a script that does not exec: the server is its child, and ends with it
    printf '#!/bin/sh\n"%s" "$@"\n' "$(traced)" >"$TMP/script"
    chmod +x "$TMP/script"
    trace --server "$TMP/script" -n 5 >"$TMP/out" 3>&-
    PIDS="$(pgrep -f "^$(traced) -b" || :) $PIDS" # none, if all is well
    all_complete 5 "$TMP/out"
    wait_until 5 no_process_of "$(traced) -b"
    # attach: the one that forks has closed the listener where it serves
    odd fork
    "$TMP/odd" -b 127.0.0.1 -p 0 >"$TMP/said" 3>&- &
    PIDS="$! $PIDS"
    wait_until 5 has_text "$TMP/said" listening
    trace attach "$(sed 's/.*://' "$TMP/said")" -n 5 >"$TMP/out"
    all_complete 5 "$TMP/out"
    printf '#!/bin/sh\necho good morning\n' >"$TMP/script"
    if trace --server "$TMP/script" 2>"$TMP/err"; then false; fi
    grep -q 'does not print "listening on ADDRESS:PORT", but: good morning' "$TMP/err"
}
no_process_of() { ! ps -A -o args= | grep -F -e "$1" | grep -v grep; }

@test "a thread may have any name: no terminal obeys it, and no file is broken by it" {
    need_tracefs
    rule "nothing that another user chooses is trusted" "a name with a control character" "chapter 7"
    odd plain '\033[31mX\xe9\x07'
    trace --server "$TMP/odd" --json "$TMP/json" --svg "$TMP/svg" --record "$TMP/recorded" >"$TMP/out"
    if LC_ALL=C grep -q $'[\x01-\x08\x0e-\x1f\xe9]' "$TMP/out"; then false; fi
    grep -q 'sched_waking  *?\[31mX??' "$TMP/out"
    python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$TMP/json"
    python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$TMP/svg"
    trace replay "$TMP/recorded" >/dev/null
    odd plain 'a"b\\\\'
    trace --watch --server "$TMP/odd" -n 3 >"$TMP/out" 3>&- &
    local tracer=$!
    PIDS="$tracer $PIDS"
    wait_until 5 has_text "$TMP/out" '^watching'
    PORT=$(sed -n 's/watching port //p' "$TMP/out")
    client echo one echo two echo three
    wait_until 10 has_exited $tracer
    wait $tracer
    cat "$TMP/out"
    grep -q '^  sys_exit_recvfrom  *3 ' "$TMP/out"
    nothing_left
}

@test "attach: of two servers on one port, the one at this address" {
    need_tracefs
    rule "the server that is named is the one that is traced" "a port, and not the address" "chapter 7"
    local port server=$TESTS/../04-epoll/server
    [ -x "$server" ] || skip "needs stage 04; to run it: make 04"
    SERVER=$server OURS=1 VARIANT_ARGS='' start_server
    port=$PORT
    odd plain
    "$TMP/odd" -b 127.0.0.2 -p "$port" >"$TMP/said" 3>&- &
    PIDS="$! $PIDS"
    wait_until 5 has_text "$TMP/said" listening
    trace attach "$port" -n 3 >"$TMP/first"
    trace attach "$port" -b 127.0.0.2 -n 3 >"$TMP/second"
    all_complete 3 "$TMP/first"
    all_complete 3 "$TMP/second"
    grep -q 'to 04-epoll/server on' "$TMP/first"
    if grep -q 'to 04-epoll/server on' "$TMP/second"; then false; fi
    if trace attach "$port" -b 127.0.0.3 2>"$TMP/err"; then false; fi
    grep -q 'No server listens on 127.0.0.3' "$TMP/err"
}

@test "called by its name alone, it starts the server that stands beside it" {
    need_trace
    need_linux "for /proc/self/exe"
    rule "no program of the current folder is run" "argv[0] without a slash" "chapter 7"
    mkdir "$TMP/here"
    printf '#!/bin/sh\ntouch "%s"\n' "$TMP/was-run" >"$TMP/here/server"
    chmod +x "$TMP/here/server"
    (cd "$TMP/here" && PATH=$ROOM:$PATH NO_COLOR=1 env trace --brief >"$TMP/out") || { cat "$TMP/out"; false; }
    [ ! -e "$TMP/was-run" ]
}

@test "without root: what is missing, and six hops by sockets; exit 0" {
    need_trace
    need_linux "for SO_TIMESTAMPING"
    need_root "to become nobody"
    rule "the best rung that works, and exit 0" "" "chapter 7"
    as_nobody >"$TMP/out"
    cat "$TMP/out"
    narrow "$TMP/out"
    grep -q '^The kernel.s tracepoints are for root' "$TMP/out"
    local hop
    for hop in TX_SCHED_stamp TX_SOFTWARE_stamp RX_SOFTWARE_stamp epoll_wait_returned recvmsg_returned TX_ACK_stamp; do
        grep -q " $hop " "$TMP/out"
    done
    as_nobody --via veth | grep -q '^Next best'
    as_nobody replay "$TMP/room/recordings/lo.txt" | grep -q '^RECORDED'
}

@test "without root: Ctrl-C ends it, with one line and 130" {
    need_trace
    need_linux "for SO_TIMESTAMPING"
    need_root "to become nobody"
    rule "a signal ends every rung" "" "chapter 7"
    local code=0 tracer
    as_nobody explain >/dev/null
    setpriv --reuid=65534 --regid=65534 --clear-groups "$TMP/room/trace" -n 20000 >"$TMP/out" 2>"$TMP/err" 3>&- &
    tracer=$!
    PIDS="$tracer $PIDS"
    wait_until 10 has_text "$TMP/out" '^Next best'
    kill -INT $tracer
    wait $tracer || code=$?
    [ $code = 130 ]
    [ "$(cat "$TMP/err")" = "trace: stopped; nothing is left behind" ]
    [ "$(wc -l <"$TMP/out")" -le 4 ]
}

@test "without root: stopped and continued, it goes on" {
    need_trace
    need_linux "for SO_TIMESTAMPING"
    need_root "to become nobody"
    rule "a wait that returns EINTR is no answer" "a call with a timeout, after SIGCONT" "chapter 7"
    local tracer i
    as_nobody explain >/dev/null
    setpriv --reuid=65534 --regid=65534 --clear-groups "$TMP/room/trace" -n 3000 >"$TMP/out" 2>&1 3>&- &
    tracer=$!
    PIDS="$tracer $PIDS"
    wait_until 10 has_text "$TMP/out" '^Next best'
    for i in 1 2 3 4 5 6; do
        pkill -STOP -P $tracer || :
        kill -STOP $tracer
        pkill -CONT -P $tracer || :
        kill -CONT $tracer
    done
    wait_until 20 has_exited $tracer
    cat "$TMP/out"
    grep -q '^3000 journeys: ' "$TMP/out"
}

@test "in a PID namespace: the events' numbers are not ours, so the next rung" {
    need_tracefs
    rule "nothing is tied by a number that means another" "threads known by the wrong numbers" "chapter 7"
    unshare -p -f --mount-proc true 2>/dev/null || skip "needs PID namespaces; to run it: root on a machine of your own"
    mkdir "$TRACEFS/instances/echo-trace-99999-0" # another's, whose number nobody has in there
    NO_COLOR=1 unshare -p -f --mount-proc "$TRACE" --server "$(traced)" >"$TMP/out" || { rmdir "$TRACEFS/instances/echo-trace-99999-0"; false; }
    rmdir "$TRACEFS/instances/echo-trace-99999-0"
    cat "$TMP/out"
    narrow "$TMP/out"
    grep -q '^This is a PID namespace' "$TMP/out"
    grep -q ' recvmsg_returned ' "$TMP/out"
}

@test "tracefs is not mounted: root's tracer mounts it where nobody else sees it" {
    need_trace
    need_linux "for its tracepoints"
    need_root "to mount tracefs"
    unshare -m true 2>/dev/null || skip "needs mount namespaces; to run it: root on a machine of your own"
    [ -d "$MOUNT" ] || skip "this kernel was built without tracefs; to run it: another kernel"
    rule "the first command works on a bare machine" "tracefs that somebody mounted by hand" "chapter 7"
    unshare -m sh -c "! mountpoint -q $MOUNT || umount -l $MOUNT || exit 3
        NO_COLOR=1 '$TRACE' --server '$(traced)' --brief || exit 4; ! mountpoint -q $MOUNT" >"$TMP/out"
    cat "$TMP/out"
    grep -q ' sys_exit_epoll_p*wait ' "$TMP/out"
    [ ! -d "$TRACEFS/instances" ] || nothing_left
}

@test "one of its files may be standard output, and then has it alone" {
    need_trace
    rule "what another program reads is not mixed with words" "a JSON with a sentence in it" "chapter 7"
    local option code=0
    for option in json svg record; do
        trace replay "$ROOM/recordings/lo.txt" --$option "$TMP/$option" >"$TMP/words"
        trace replay "$ROOM/recordings/lo.txt" --$option - >"$TMP/out" 2>"$TMP/err"
        cmp "$TMP/$option" "$TMP/out"
        diff <(grep -v '^written' "$TMP/words") "$TMP/err"
    done
    trace replay "$ROOM/recordings/lo.txt" --json - --svg - >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code = 2 ]
}

@test "without tracefs: one sentence, the next rung, exit 0" {
    need_tracefs
    rule "the best rung that works, and exit 0" "" "chapter 7"
    unshare -m true 2>/dev/null || skip "needs mount namespaces; to run it: root on a machine of your own"
    unshare -m sh -c "mount -t tmpfs none /sys/kernel && NO_COLOR=1 '$TRACE' --server '$(traced)'" >"$TMP/out"
    cat "$TMP/out"
    grep -q 'cannot be mounted' "$TMP/out"
    grep -q ' recvmsg_returned ' "$TMP/out"
    grep -q 'Is sysfs mounted on /sys?' "$TMP/out" # not: "this kernel was built without it"
}

@test "SIGINT, SIGTERM: nothing is left; after SIGKILL the next run removes it" {
    need_tracefs
    rule "instance, children and namespaces go, whatever ends the run" "" "chapter 7"
    local signal pid
    for signal in INT TERM HUP KILL; do
        trace_server -n 20000 >"$TMP/out" 2>&1 3>&- &
        pid=$!
        PIDS="$pid $PIDS"
        wait_until 10 has_child_instance
        pid=$(instances | sed 's/.*echo-trace-\([0-9]*\)-.*/\1/')
        kill "-$signal" "$pid"
        wait_until 5 has_exited "$pid"
        [ $signal = KILL ] || wait_until 5 no_instance
        wait_until 5 no_children_of "$pid"
    done
    has_instance # what SIGKILL left
    trace_server >/dev/null
    no_instance
}
has_child_instance() { has_instance && [ "$(cat "$(instances | head -n 1)/tracing_on")" = 1 ]; }
no_children_of() { [ -z "$(ps -A -o ppid= | awk -v us="$1" '$1 == us')" ]; }

@test "the global trace buffer is not touched" {
    need_tracefs
    rule "a private instance, never the global buffer" "" "chapter 7"
    local before after
    before=$(cd $TRACEFS && cat tracing_on trace_clock buffer_size_kb set_event events/net/enable events/syscalls/enable 2>/dev/null)
    trace_server >/dev/null
    after=$(cd $TRACEFS && cat tracing_on trace_clock buffer_size_kb set_event events/net/enable events/syscalls/enable 2>/dev/null)
    [ "$before" = "$after" ]
}

@test "a witness that uses no tracepoint: the hops lie between its times" {
    need_tracefs
    rule "what is shown is when it happened" "" "chapter 7"
    build_witness
    for _ in 1 2 3; do # where others send so much that events are lost, it is no test
        bear_witness
        ! grep -qx 'lost 0' "$TMP/recorded" || break
    done
    grep -qx 'lost 0' "$TMP/recorded"
    "$TMP/witness" compare "$TMP/recorded" "$TMP/rows"
}
bear_witness() {
    local tracer
    rm -f "$TMP/go" "$TMP/rows" "$TMP/out"
    touch "$TMP/rows" "$TMP/out"
    mkfifo "$TMP/go"
    "$TMP/witness" run 50 <"$TMP/go" >"$TMP/rows" 3>&- &
    PIDS="$! $PIDS"
    exec 4>"$TMP/go"
    wait_until 5 has_text "$TMP/rows" '^port'
    trace attach "$(sed -n 's/port //p' "$TMP/rows")" --watch -n 50 --record "$TMP/recorded" >"$TMP/out" 3>&- 4>&- &
    tracer=$!
    PIDS="$tracer $PIDS"
    wait_until 5 has_text "$TMP/out" '^watching'
    echo go >&4
    wait $tracer
    exec 4>&-
}
build_witness() {
    "${CC:-cc}" -std=c11 -O2 -I"$TRACER" -o "$TMP/witness" "$TESTS/programs/witness.c" $(pure)
}

# A client that rests 100 µs between an echo and the next: what slows the server slows it.  What
# disturbs a measurement only slows it more, so the best of each counts; and it may be tried again.
@test "a server at 5,000 echoes a second is slowed by less than 10 %" {
    need_tracefs
    [ -n "${ONLY:-}" ] || skip "measures, and has to be alone; to run it: make test-07 ONLY='5,000 echoes'"
    rule "the tracer does not disturb what it looks at" "events that nobody needs" "chapter 7"
    build_witness
    SERVER=$(traced) OURS=1 VARIANT_ARGS='' start_server
    local plain=0 traced=0 rate tracer
    for _ in 1 2 3 4 5 6 7 8; do
        rate=$(paced)
        [ "$rate" -le "$plain" ] || plain=$rate
        : >"$TMP/out"
        trace attach "$PORT" --watch -n 4000 >"$TMP/out" 3>&- &
        tracer=$!
        PIDS="$tracer $PIDS"
        wait_until 5 has_text "$TMP/out" '^watching'
        rate=$(paced)
        [ "$rate" -le "$traced" ] || traced=$rate
        wait $tracer
        grep -q '; 0 events lost' "$TMP/out"
        echo "echoes a second: $plain, traced $traced"
        [ $((traced * 10)) -le $((plain * 9)) ] || return 0
    done
    false
}
paced() { "$TMP/witness" pace "$PORT" 100 4000 | sed 's/rate=\([0-9]*\) .*/\1/'; }
