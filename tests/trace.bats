#!/usr/bin/env bats
# The tracer of stage 07: what it shows, that it shows no more than it saw, and that it leaves
# nothing behind.  What needs root says so; the rest runs anywhere.
load support/helpers
load support/tracefs

ROOM=$TESTS/../07-nic-to-app
TRACER=$ROOM/tracer
TRACE=$ROOM/trace
unset COLUMNS

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
pure() { for file in hops recording stitch back forward verdict; do echo "$TRACER/$file.c"; done; }
# Runs as an ordinary user, from a folder that it may read.
as_nobody() {
    need setpriv "to be an ordinary user" "install util-linux"
    mkdir -p "$TMP/room/recordings"
    cp "$TRACE" "$TMP/room/"
    cp -R "$ROOM"/recordings/. "$TMP/room/recordings"
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
    # what the kernel's source says
    trace explain callback | tr -s '\n ' ' ' | grep -q "calls the entry's callback with the events that have happened"
    trace explain gro | grep -q napi_gro_frags_entry
    trace explain waking | tr -s '\n ' ' ' | grep -q 'none of its descriptors was ready, and the call had put an entry'
    trace replay "$ROOM/recordings/rps.txt" -n 1 | tr -s '\n ' ' ' | grep -q 'with RFS, it is the CPU on which a program last used'
    trace replay "$ROOM/recordings/sockets.txt" -n 1 | grep -q ' %  backlog, NET_RX, some IP '
    local file
    for file in "$ROOM"/recordings/*.txt; do
        trace replay "$file" --json "$TMP/${file##*/}.json" --svg "$TMP/${file##*/}.svg" >"$TMP/out"
        grep -q '^RECORDED, not measured now' "$TMP/out"
        narrow "$TMP/out"
        grep -q '</svg>' "$TMP/${file##*/}.svg"
    done
    ! command -v python3 >/dev/null || python3 -c 'import glob, json, sys, xml.dom.minidom
for name in glob.glob(sys.argv[1] + "/*.json"): json.load(open(name))
for name in glob.glob(sys.argv[1] + "/*.svg"): xml.dom.minidom.parse(name)' "$TMP"
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
    # a thread that was put into another CPU's run queue, and then taken by this CPU, which was idle
    sed 's/^\([0-9]*\) 0 \(.* sched_wakeup .*\)/\1 1 \2/' "$ROOM/recordings/lo.txt" >"$TMP/put"
    sed 's/\(sched_wakeup .*\)to_cpu=0/\1to_cpu=1/' "$TMP/put" >"$TMP/taken"
    trace replay "$TMP/put" | grep -q 'Another CPU put the thread'
    if trace replay "$TMP/taken" | grep -q 'Another CPU put the thread'; then false; fi
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
    ln -s "$TMP/target" "$TMP/link"
    if trace replay "$ROOM/recordings/lo.txt" --json "$TMP/new" --svg "$TMP/link" --record "$TMP/none/file" 2>"$TMP/err"; then false; fi
    [ -L "$TMP/link" ]
    echo kept >"$TMP/old"
    for option in "--json $TMP/x --svg $TMP/./x" "--record $TMP/old --json $TMP/../${TMP##*/}/old"; do
        code=0
        # shellcheck disable=SC2086
        trace replay "$ROOM/recordings/lo.txt" $option >"$TMP/out" 2>"$TMP/err" || code=$?
        [ $code = 2 ]
        grep -q 'only one of --json, --svg and --record' "$TMP/err"
    done
    [ "$(cat "$TMP/old")" = kept ]
    cp "$ROOM/recordings/lo.txt" "$TMP/read"
    for option in json svg record; do # what is to be read is not overwritten
        code=0
        trace replay "$TMP/read" --$option "$TMP/./read" >"$TMP/out" 2>"$TMP/err" || code=$?
        [ $code = 2 ]
        grep -q 'this is the recording that is to be read' "$TMP/err"
    done
    if trace compare "$ROOM/recordings/lo.txt" "$TMP/read" --svg "$TMP/read" 2>"$TMP/err"; then false; fi
    cmp "$TMP/read" "$ROOM/recordings/lo.txt"
    [ "$(trace replay "$ROOM/recordings/lo.txt" --json >(wc -c) | tail -n 1)" -gt 1000 ] # a pipe
}

@test "standard output is closed: no file gets what was meant for it" {
    need_trace
    rule "a file that is opened does not take the place of a closed stream" "descriptor 1 for the first file" "chapter 7"
    local code=0
    trace replay "$ROOM/recordings/lo.txt" --svg "$TMP/drawing" >&- 2>"$TMP/err" || code=$?
    [ $code = 1 ]
    grep -q 'standard output: Bad file descriptor' "$TMP/err"
    trace replay "$ROOM/recordings/lo.txt" --svg "$TMP/right" >"$TMP/out"
    cmp "$TMP/drawing" "$TMP/right"
}

@test "wrong command lines: one line and the usage, exit 2" {
    need_trace
    rule "a bad option, port or word ends with 2" "" "chapter 7"
    local words code lo=$ROOM/recordings/lo.txt
    for words in "-n 0" "-n x" "--via moon" "attach" "attach 70000" "moon 1" "replay" "--svg" "-q" "a b c" \
        "-b 127.0.0.1" "--device lo" "--watch --device moon0" "attach 1 --via tap" \
        "attach 1 --server x" "attach 1 --device eth0" "attach 1 -b ::g" "-p 9" \
        "--via veth" "--watch --via tap" "replay $ROOM/recordings/lo.txt --via tap" "replay $ROOM/recordings/lo.txt --watch" \
        "explain send --json $TMP/x" "--json $TMP/x --svg $TMP/x" "attach 1 --brief -p 2" \
        "--way" "--way moon" "--way both --via tap" "--way back --via gro" "--way both --watch" \
        "attach 1 --way back --watch" "explain send --way in" \
        "--show moon" "-n 5 --show 0" "explain send --show 1" \
        "compare" "compare $lo" "compare $lo $lo -n 2" "compare $lo $lo --json $TMP/x" "compare $lo $lo $lo $lo $lo $lo $lo $lo" \
        "all 1" "all --server x" "all --record $TMP/x" "all --show 1" "all --via moon"; do
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

# The numbers of journeys in each histogram of this output, added up.
histogram_sums() {
    LC_ALL=C awk '/: median .* 99th percentile/ { if (n++) print sum; sum = 0; next } / to .* µs / { sum += $5 } END { print sum }' "$1"
}

@test "-n: the counts of each histogram add up to the number of journeys, and --show opens the one that it names" {
    need_trace
    rule "no journey is lost between the recording and its histograms" "a time at the limit of two ranges" "chapter 7"
    local file total k slowest
    for file in many card-e1000; do
        trace replay "$ROOM/recordings/$file.txt" >"$TMP/$file"
        narrow "$TMP/$file"
        total=$(figure "$TMP/$file" complete)
        [ "$(histogram_sums "$TMP/$file" | sort -u)" = "$total" ] || { cat "$TMP/$file"; return 1; }
    done
    [ "$(histogram_sums "$TMP/many" | wc -l)" = 6 ] # five shares, and in all
    for k in $(seq 20); do
        trace replay "$ROOM/recordings/many.txt" --show "$k" --brief | sed -n 's/ µs in all.*//p'
    done | LC_ALL=C sort -n >"$TMP/totals"
    [ "$(wc -l <"$TMP/totals")" = 20 ]
    shown() { trace replay "$ROOM/recordings/many.txt" --show "$1" --brief | sed -n 's/ µs in all.*//p'; }
    [ "$(shown slowest)" = "$(tail -n 1 "$TMP/totals")" ]
    [ "$(shown fastest)" = "$(head -n 1 "$TMP/totals")" ]
    [ "$(shown median)" = "$(sed -n 10p "$TMP/totals")" ]
    grep -q "^in all: median $(sed -n 10p "$TMP/totals") µs, 99th percentile $(tail -n 1 "$TMP/totals") µs" "$TMP/many"
    LC_ALL=C awk '$1 >= 10 && $1 < 20 { n++ } END { print n }' "$TMP/totals" >"$TMP/n"
    sed '1,/^in all: /d' "$TMP/many" | grep -q "^ *10 to *20 µs *$(cat "$TMP/n")  #"
    slowest=$(sed -n 's/^The slowest is number \([0-9]*\) of 20.*/\1/p' "$TMP/many")
    trace replay "$ROOM/recordings/many.txt" --show slowest --svg "$TMP/svg" | head -n 1 | grep -qx "Journey $slowest of 20, the slowest"
    grep -qF ">$(tail -n 1 "$TMP/totals") µs in all" "$TMP/svg" # the drawing is of the same journey
    k=0
    trace replay "$ROOM/recordings/many.txt" --show 21 >"$TMP/out" 2>"$TMP/err" || k=$?
    [ $k = 1 ]
    grep -q '^trace: 21: there are not so many journeys' "$TMP/err"
}

@test "compare: no difference to itself, an inserted one is found, and what only one of them has" {
    need_trace
    rule "recordings side by side, hop by hop" "a median of other hops" "chapter 7"
    local recordings=$ROOM/recordings code=0
    trace compare "$recordings/many.txt" "$recordings/many.txt" >"$TMP/same"
    narrow "$TMP/same"
    grep -qx '  nothing: all have the same hops, with the same events' "$TMP/same"
    if grep -q '[+-][1-9]\|[+-]0\.[1-9]' "$TMP/same"; then false; fi
    # From each switch to the server on, 100 µs are inserted.
    awk '/^[0-9]/ { if (/ sched_switch .*from=6093 /) more += 100000; $1 += more } { print }' "$recordings/many.txt" >"$TMP/later"
    trace compare "$recordings/many.txt" "$TMP/later" >"$TMP/out"
    cat "$TMP/out"
    narrow "$TMP/out"
    grep -q '^  switch  .* +100\.0$' "$TMP/out"
    grep -q '^scheduler  .* +100\.0$' "$TMP/out"
    grep -q '^in all  .* +100\.0$' "$TMP/out"
    [ "$(grep -c '[+]100\.0$' "$TMP/out")" = 3 ]
    trace compare "$recordings/lo.txt" "$recordings/card-e1000.txt" --svg "$TMP/svg" >"$TMP/out"
    narrow "$TMP/out"
    grep -qx '  gro: A not on this path; B napi_gro_receive_entry' "$TMP/out"
    grep -qx '  backlog: A netif_rx; B not on this path' "$TMP/out"
    grep -q '^  ready: A sk_data_ready; B sock_def_readable' "$TMP/out"
    grep -q '^  irq  .* -      0\.0$' "$TMP/out"
    grep -q '^  Linux: A 6\.18.*; B 6\.1\.' "$TMP/out"
    [ "$(grep -c '>over .* to .*</text>' "$TMP/svg")" = 2 ]
    trace compare "$recordings/both.txt" "$recordings/both.txt" | grep -qx 'the way back:'
    trace compare "$recordings/both.txt" "$recordings/lo.txt" >"$TMP/out"
    if grep -q '^the way back' "$TMP/out"; then false; fi # only one of them has it
    trace compare "$recordings/sockets.txt" "$recordings/sockets.txt" | grep -q '^backlog, NET_RX, some IP  '
    trace compare "$recordings/lo.txt" "$recordings/sockets.txt" >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code = 1 ]
    grep -q 'sockets.txt: what sockets see can only be compared' "$TMP/err"
    code=0
    trace compare "$recordings/both.txt" "$recordings/lo.txt" --way back >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code = 1 ]
    grep -q 'lo.txt: only the way in was recorded' "$TMP/err"
}

# seven FILE SVG: this is what the seven servers have in common, and what not.
seven() {
    cat "$1"
    narrow "$1"
    [ "$(grep -c '^0[1-7]: [0-9]* packets ' "$1")" = 7 ] || return 1
    grep -q '^05: .* to 05-kqueue/server$' "$1" || return 1
    for hop in send queue driver backlog softirq receive tcp ready waking wakeup copy return; do
        grep -q "^  $hop .* same\$" "$1" || { echo "$hop is not the same in all"; return 1; }
    done
    if grep '^  \(wait\|recv\) .* same$' "$1"; then return 1; fi
    tr -s '\n ' ' ' <"$1" >"$1.words"
    grep -q ' recv: 01 called before the packet; 02, 03, 04, 05, 06, 07 sys_enter_recvfrom ' "$1.words" || return 1
    grep -qE ' wait: 01 not on this path; 02 sys_exit_p?select6?; 03 sys_exit_p?poll; 04, 05, 06, 07 sys_exit_epoll_p?wait2? ' "$1.words" || return 1
    grep -q ' resume: 01 .*; 07 coroutine_resumed ' "$1.words" || return 1
    grep -q ' how the server waits: 01 the thread waits on this socket; 02, 03 the loop waits on every socket; 04, 05, 06, 07 epoll watches' "$1.words" || return 1
    [ "$(grep -c '>over lo to 0[1-7]-.*</text>' "$2")" = 7 ]
}

@test "the seven servers side by side, recorded: what is the same, and what differs" {
    need_trace
    rule "the seven journeys side by side" "" "chapter 7"
    trace compare "$ROOM"/recordings/stages/0?-*.txt --svg "$TMP/svg" >"$TMP/out"
    seven "$TMP/out" "$TMP/svg"
}

@test "all: one packet to each of the seven servers; without root, recorded ones" {
    need_tracefs
    rule "the seven journeys side by side" "" "chapter 7"
    local stage
    for stage in "$TESTS"/../0?-*; do
        [ -x "$stage/server" ] || skip "needs all seven servers; to run it: make"
    done
    trace all -n 5 --svg "$TMP/svg" >"$TMP/out" 2>"$TMP/err"
    seven "$TMP/out" "$TMP/svg"
    nothing_left
    mkdir "$TMP/seven"
    cp -R "$ROOM" "$TESTS/../04-epoll" "$TMP/seven"
    NO_COLOR=1 "$TMP/seven/07-nic-to-app/trace" all -n 2 >"$TMP/two" 2>"$TMP/err" # five are not there
    cat "$TMP/two"
    grep -qx '06-selector/server is missing. To build it: make 06' "$TMP/two"
    [ "$(grep -c ' is missing. To build it: make 0[12356]$' "$TMP/two")" = 5 ]
    grep -q '^04: 2 packets' "$TMP/two"
    chmod -R a+rX "$TMP"
    NO_COLOR=1 setpriv --reuid=65534 --regid=65534 --clear-groups "$TMP/seven/07-nic-to-app/trace" all >"$TMP/nobody"
    grep -q '^The kernel.s tracepoints are for root' "$TMP/nobody"
    grep -q '^RECORDED, not measured now' "$TMP/nobody"
    [ "$(grep -c '^0[1-7]: 20 packets ' "$TMP/nobody")" = 7 ]
}

# The median of the scheduler's share is greater beside a program that always runs, on the same processor.
scheduler_waits_longer_when_busy() {
    local busy code=0
    trace_server -n 200 --record "$TMP/idle" >"$TMP/out"
    taskset -c 0 yes >/dev/null 3>&- &
    busy=$!
    trace_server -n 200 --record "$TMP/busy" >"$TMP/out" || code=1
    kill $busy
    trace compare "$TMP/idle" "$TMP/busy" >"$TMP/out"
    cat "$TMP/out"
    narrow "$TMP/out"
    [ $code = 0 ] && LC_ALL=C awk '$1 == "scheduler" { exit !($3 > 1.15 * $2) }' "$TMP/out"
}
@test "an idle machine and a busy one: the server waits longer for the scheduler" {
    need_tracefs
    rule "recordings side by side, hop by hop" "" "chapter 7"
    scheduler_waits_longer_when_busy || scheduler_waits_longer_when_busy || scheduler_waits_longer_when_busy # other work may have made the first run slow
    nothing_left
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

@test "-n 1000: every packet wakes the server, no event lost" {
    need_tracefs
    rule "nothing is lost and nothing is guessed" "rings that are too small" "chapter 7"
    trace_server -n 1000 >"$TMP/out"
    cat "$TMP/out"
    narrow "$TMP/out"
    grep -q '^1000 journeys: .*, 0 batched, .*; 0 events lost' "$TMP/out"
    [ "$(figure "$TMP/out" complete)" -ge 990 ] # some kernels do not write each switch; see the test for both ways
    [ "$(histogram_sums "$TMP/out" | sort -u)" = "$(figure "$TMP/out" complete)" ]
    nothing_left
}

# round_trips FILE: of each packet in a recording, in the order of time: the client's clock, its send(), the
# server's TCP, its recv() and its send(), the client's TCP, the end of its recv() and its clock.  Prints how
# many there are, and how long the last one took by the client's clock, in ns.  It does not use the stitcher.
round_trips() {
    awk '
        $1 == "port" { port = $2 }
        $1 == "peer" { peer = $2 }
        $5 == "client_starts" { client = $3; began = $1; at = 1; split("", got) }
        $5 ~ /^sys_enter_send/ && $3 == client && at == 1 { at = 2 }
        $5 == "tcp_probe" && $0 ~ " port=" port && !/ len=0 / && at == 2 { at = 3 }
        $5 ~ /^sys_exit_(recv|read)/ && $3 != client && at == 3 { at = 4 }
        $5 ~ /^sys_enter_(send|write)/ && $3 != client && at == 4 { at = 5 }
        $5 == "tcp_probe" && $0 ~ " port=" peer && !/ len=0 / && at == 5 { at = 6 }
        $5 ~ /^sys_exit_recv/ && at == 6 { got[$3] = 1 }
        $5 == "client_is_done" { trips += at == 6 && $3 in got; took = $1 - began; at = 0 }
        END { print trips + 0, took }' "$1"
}
# adds_up FILE NS: the shares in this output, and its total, are this time, except for rounding.
adds_up() {
    LC_ALL=C awk -v took="$2" '
        / µs by the client/ { total = $1 }
        / µs +[0-9]+ %  / { sum += $1; percent += $3 }
        END {
            printf "shares: %.1f µs, %d %%; total: %.1f µs; the clock: %.1f µs\n", sum, percent, total, took / 1000
            exit !(sum - total < 0.6 && total - sum < 0.6 && total - took / 1000 < 0.06 && took / 1000 - total < 0.06 && percent > 94 && percent < 106)
        }' "$1"
}

@test "there and back: both ways, hop by hop, as long as the client's own clock says" {
    need_tracefs
    rule "the round trip that a client measures is followed whole" "the reply taken for another packet" "chapter 7"
    local way
    trace_server --way both --record "$TMP/recorded" --json "$TMP/json" --svg "$TMP/svg" >"$TMP/out"
    cat "$TMP/out"
    narrow "$TMP/out"
    [ "$(round_trips "$TMP/recorded" | cut -d' ' -f1)" -ge 1 ] # of two, of which the second one is shown
    adds_up "$TMP/out" "$(round_trips "$TMP/recorded" | cut -d' ' -f2)"
    # The hops are in the order of their times.  Acknowledgements, which have no second time, are left out.
    LC_ALL=C awk '$1 ~ /^[0-9]+\.[0-9]$/ && $2 ~ /^\+/ { if ($1 < last) bad = 1; last = $1; n++ } END { exit bad || n < 28 }' "$TMP/out"
    grep -q '^\[the client reads\]' "$TMP/out"
    grep -q '^  before .* sys_enter_recvfrom .* = socket ' "$TMP/out" # the client sleeps in its recv()
    # The reply acknowledges the request, and is shown once, in the order of time.
    grep -q ' tcp_probe  *15 bytes, ack, ' "$TMP/out"
    tr -s '\n ' ' ' <"$TMP/out" | grep -q ' This segment also acknowledges the request (a piggybacked acknowledgement)'
    [ "$(grep -c ' tcp_probe ' "$TMP/out")" = 3 ]
    grep -q ' tcp_probe  *acknowledged, .* 0 bytes' "$TMP/out" # that of the reply, 40 ms later
    trace replay "$TMP/recorded" | sed 1d | diff <(grep -v '^written' "$TMP/out") -
    for way in in back; do
        trace replay "$TMP/recorded" --way $way >"$TMP/$way"
        narrow "$TMP/$way"
    done
    if grep -q '^\[the client' "$TMP/in"; then false; fi
    tr -s '\n ' ' ' <"$TMP/in" | grep -q ' It came with the reply (a piggybacked acknowledgement)'
    grep -q '^One packet with 15 bytes of data over lo to ' "$TMP/in"
    grep -q '^One reply with 15 bytes of data over lo from ' "$TMP/back"
    if grep -q '_epoll\|^\[.*epoll\|^\[your code' "$TMP/back"; then false; fi
    grep -q 'The server.s code calls send() with its reply' "$TMP/back"
    ! command -v python3 >/dev/null || python3 -c 'import json, sys, xml.dom.minidom
arrows = [event["ph"] for event in json.load(open(sys.argv[1]))["traceEvents"] if event["ph"] in "stf"]
assert arrows.count("s") == arrows.count("f") == 1 and len(arrows) > 28, arrows
xml.dom.minidom.parse(sys.argv[2])' "$TMP/json" "$TMP/svg"
    grep -q '>the client reads<' "$TMP/svg"
    nothing_left
}

# While "$@" runs, write down every switch of each CPU in $TMP/switches, in a trace instance without any filter.
with_all_switches() {
    local raw=$TRACEFS/instances/echo-test-$$ code=0
    mkdir "$raw"
    echo mono >"$raw/trace_clock"
    echo $((65536 / $(getconf _NPROCESSORS_CONF))) >"$raw/buffer_size_kb"
    echo 1 >"$raw/events/sched/sched_switch/enable"
    "$@" || code=$?
    echo 0 >"$raw/tracing_on"
    if "$TMP/trips" <"$TMP/recorded" | grep -q '^missing'; then # otherwise nobody needs them
        cat "$raw/trace" >"$TMP/switches"
    fi
    rmdir "$raw"
    return $code
}
# unwritten TRIPS: how many of the switches that trips.c misses the kernel has not written to $TMP/switches either.
# There, the thread that gets a CPU is the one that loses it next.  If another one loses it, a switch is missing
# between these two lines; it is the one in question if the thread ran on this CPU between them.
unwritten() {
    LC_ALL=C awk '
        NR == FNR { if (/^missing switch not-seen/) { pid[++n] = $4; cpu[n] = $5; ran[n] = $6 / 1e9 } next }
        / sched_switch: / {
            match($0, /\[[0-9]+\]/); at = substr($0, RSTART + 1, RLENGTH - 2) + 0
            match($0, / [0-9]+\.[0-9]+: /); time = substr($0, RSTART + 1, RLENGTH - 3) + 0
            match($0, /prev_pid=[0-9]+/); loses = substr($0, RSTART + 9, RLENGTH - 9)
            match($0, /next_pid=[0-9]+/); gets = substr($0, RSTART + 9, RLENGTH - 9)
            for (i = 1; i <= n; i++)
                if (pid[i] == loses && cpu[i] == at && has[at] != "" && has[at] != loses && since[at] < ran[i] && ran[i] < time) found++
            has[at] = gets; since[at] = time
        }
        END { print found + 0 }' "$1" "$TMP/switches"
}
# all_of_them: the 1,000 round trips in $TMP/recorded and $TMP/out are all there, whole and in order.
all_of_them() {
    local missing
    cat "$TMP/out"
    "$TMP/trips" <"$TMP/recorded" | tee "$TMP/trips.out"
    missing=$(grep -c '^missing' "$TMP/trips.out") || :
    [ "$missing" = 0 ] || [ "$(unwritten "$TMP/trips.out")" = "$missing" ] || return 1
    grep -q "^1000 trips, $((1000 - missing)) complete, 1000 add up\$" "$TMP/trips.out" || return 1
    grep -q '^1000 round trips: .*, 0 batched, .*; 0 events lost' "$TMP/out" || return 1
    [ "$(round_trips "$TMP/recorded" | cut -d' ' -f1)" -ge 1000 ] # or 1001: with the one that prepares the server
}

@test "there and back, -n 1000: 1,000 complete in causal order, as long as the client's clock says, also on busy CPUs" {
    need_tracefs
    rule "nothing is lost on the way back either, and nothing is left out" "a client that is not asleep when the reply comes" "chapter 7"
    local busy=''
    # shellcheck disable=SC2046 # words
    "${CC:-cc}" -std=c11 -O2 -I"$TRACER" -o "$TMP/trips" "$TESTS/programs/trips.c" $(pure)
    with_all_switches trace_server --way both -n 1000 --record "$TMP/recorded" >"$TMP/out"
    narrow "$TMP/out"
    all_of_them
    [ "$(sed -n 's/^Requests: \([0-9]*\) acknowledged with the reply.*/\1/p' "$TMP/out")" -ge 900 ] # unless it took 40 ms
    [ "$(awk '$1 == "client_is_done" { print $2 }' "$TMP/out")" = 1000 ]
    for _ in $(seq "$(nproc)"); do
        yes >/dev/null 3>&- &
        busy="$! $busy"
    done
    PIDS="$busy$PIDS"
    with_all_switches trace_server --way both -n 1000 --record "$TMP/recorded" >"$TMP/out"
    # shellcheck disable=SC2086 # words
    kill $busy
    all_of_them
    nothing_left
}

@test "there and back over rps, and to servers that send in other ways" {
    need_tracefs
    rule "the way back of any server is followed" "send() taken for the only call that sends" "chapter 7"
    local mode
    for mode in write sendmsg halves late; do
        odd $mode
        trace --server "$TMP/odd" --way both >"$TMP/$mode"
        cat "$TMP/$mode"
        narrow "$TMP/$mode"
        tr -s '\n ' ' ' <"$TMP/$mode" >"$TMP/$mode.words"
        if sed '/^The way back/,$!d' "$TMP/$mode" | grep -v 'sched_switch\|switch$' | grep -q 'Not seen: '; then false; fi
    done
    grep -q ' sys_enter_write ' "$TMP/write"
    grep -q ' sys_enter_sendmsg ' "$TMP/sendmsg"
    grep -q 'The reply came in several segments' "$TMP/halves.words"
    sed '/^The way back/,$d' "$TMP/late" | grep -q ' tcp_probe  *acknowledged, .* 0 bytes' # it was acknowledged before the reply
    if [ "$(nproc)" -ge 2 ]; then
        trace_server --way both --via rps >"$TMP/rps"
        cat "$TMP/rps"
        grep -q '^\(Next best\|.*cannot be created\)' "$TMP/rps" && skip "the path rps cannot be created here; to run it: root on a machine of your own"
        grep -q ' by the client.s own clock' "$TMP/rps"
        [ "$(grep -c ' netif_rx ' "$TMP/rps")" = 2 ]
    fi
    SERVER=$(traced) OURS=1 VARIANT_ARGS='' start_server
    trace attach "$PORT" --way back >"$TMP/out"
    stop_server
    cat "$TMP/out"
    grep -q '^\[the client reads\]' "$TMP/out"
    nothing_left
}

@test "only the way in was recorded, or can be seen: --way says so" {
    need_trace
    rule "an option that has no effect is not ignored" "" "chapter 7"
    local code=0
    trace replay "$ROOM/recordings/lo.txt" --way in >"$TMP/in"
    trace replay "$ROOM/recordings/lo.txt" | diff - "$TMP/in"
    trace replay "$ROOM/recordings/lo.txt" --way both >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code = 1 ]
    [ ! -s "$TMP/out" ]
    grep -q 'lo.txt: only the way in was recorded' "$TMP/err"
    [ "$(wc -l <"$TMP/err")" = 1 ]
    [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] || return 0
    as_nobody --way both >"$TMP/out"
    tr -s '\n ' ' ' <"$TMP/out" | grep -q 'and only their way in is shown'
    grep -q ' recvmsg_returned ' "$TMP/out"
}

@test "the ways: tap, gro, rps" {
    need_tracefs
    rule "the path is made, followed and gone" "" "chapter 7"
    local way devices
    devices=$(ls /sys/class/net)
    for way in tap gro rps; do
        [ $way != rps ] || [ "$(nproc)" -ge 2 ] || continue
        trace_server --via $way -n 50 >"$TMP/$way"
        cat "$TMP/$way"
        grep -q '^\(Next best\|.*cannot be created\)' "$TMP/$way" && skip "the path $way cannot be created here; to run it: root on a machine of your own"
        # All but the switch: some kernels write no event for one from the idle task.
        awk '/^  [a-z_]/ && $2 < 45 && $1 != "callback" && $1 !~ /switch|softirq_entry/ && NF == 5 { print "too few: " $0; few = 1 } END { exit few }' "$TMP/$way"
    done
    for _ in 1 2 3; do # another task may delay the writing of the four frames
        trace_server --via gro >"$TMP/one"
        ! grep -q 'netif_receive_skb .* of 4 frames' "$TMP/one" || break
    done
    grep -q 'netif_receive_skb .* of 4 frames' "$TMP/one" || { cat "$TMP/one"; false; }
    trace_server --via tap >"$TMP/one"
    grep -q 'who has 192.0.2.1' "$TMP/one"
    grep -q ' 08 06$' "$TMP/one" # the type of ARP, in hex
    narrow "$TMP/one"
    [ "$(grep -c 'to warm up' "$TMP/one")" = 1 ]
    [ "$(grep -c '^\[the sender\]\|^\[your code reads\]' "$TMP/one")" -le 2 ]
    # only the tracer's own: other programs may add devices meanwhile
    [ -z "$(ls /sys/class/net | grep -vxF -e "$devices" | grep -x tap0)" ]
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
        if MODE == "late":  # later than the kernel waits before it acknowledges: 40 ms
            time.sleep(0.1)
        if MODE == "halves":
            client.sendall(data[:5])
            data = data[5:]
        if MODE == "write":
            os.write(client.fileno(), data)
        elif MODE == "sendmsg":
            client.sendmsg([data])
        else:
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
# none_incomplete N FILE: in each of the N journeys, no hop is missing except the switch to the server.  Some
# kernels write no event for some switches from the idle task.
none_incomplete() {
    awk -v n="$1" '
        $1 ~ /^(sched_)?switch$/ { without = n - $2 }
        $2 == "journeys:" && $1 == n { sub(/.* batched, /, ""); found = 1; incomplete = $1 }
        END { exit !(found && incomplete <= without + 0) }' "$2" || { cat "$2"; return 1; }
}

@test "other people's servers: one that forks, a script, many threads, one that talks" {
    need_tracefs
    rule "a hop is not seen only where the kernel has no event of it" "threads that were not found" "chapter 7"
    local mode port
    for mode in fork threads25 threads27 chatty; do
        odd $mode
        trace --server "$TMP/odd" -n 5 >"$TMP/out"
        echo "$mode:"
        none_incomplete 5 "$TMP/out"
    done
    # a script that does not exec: the server is its child, and ends with it
    printf '#!/bin/sh\n"%s" "$@"\n' "$(traced)" >"$TMP/script"
    chmod +x "$TMP/script"
    trace --server "$TMP/script" -n 5 >"$TMP/out" 3>&-
    PIDS="$(pgrep -f "^$(traced) -b" || :) $PIDS" # none, if all is well
    none_incomplete 5 "$TMP/out"
    wait_until 5 no_process_of "$(traced) -b"
    # attach: the one that forks has closed the listener where it serves
    odd fork
    "$TMP/odd" -b 127.0.0.1 -p 0 >"$TMP/said" 3>&- &
    PIDS="$! $PIDS"
    wait_until 5 has_text "$TMP/said" listening
    trace attach "$(sed 's/.*://' "$TMP/said")" -n 5 >"$TMP/out"
    none_incomplete 5 "$TMP/out"
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
    none_incomplete 3 "$TMP/first"
    none_incomplete 3 "$TMP/second"
    grep -q 'to 04-epoll/server on' "$TMP/first"
    if grep -q 'to 04-epoll/server on' "$TMP/second"; then false; fi
    if trace attach "$port" -b 127.0.0.3 2>"$TMP/err"; then false; fi
    grep -q 'No server listens on 127.0.0.3' "$TMP/err"
}

# tracee MODE ADDRESS PORT [COMMAND...]: start tests/programs/tracee as a server, by COMMAND if there is
# one, and set TRACEE_PID and PORT.
tracee() {
    local mode=$1 address=$2 port=$3 said
    shift 3
    build_tracee
    said=$(mktemp "$TMP/said.XXXXXX")
    "$@" "$TMP/tracee" "$mode" "$address" "$port" >"$said" 3>&- &
    TRACEE_PID=$!
    PIDS="$TRACEE_PID $PIDS"
    wait_until 20 has_text "$said" listening
    PORT=$(sed 's/.*://' "$said")
}
build_tracee() { # once, for all tests of this file
    [ -x "$BATS_FILE_TMPDIR/tracee" ] || "${CC:-cc}" -std=c11 -o "$BATS_FILE_TMPDIR/tracee" "$TESTS/programs/tracee.c"
    [ -e "$TMP/tracee" ] || ln -s "$BATS_FILE_TMPDIR/tracee" "$TMP/tracee"
}
# watch_begin FILE ARGUMENT...: trace --watch in the background, until it watches.
watch_begin() {
    local file=$1
    shift
    : >"$file"
    NO_COLOR=1 ${HERE:+nsenter -t "$HERE" -n} "$TRACE" "$@" --watch >"$file" 2>&1 3>&- &
    WATCHER=$!
    PIDS="$WATCHER $PIDS"
    wait_until 30 has_text "$file" '^watching'
}
watch_end() { wait_until 60 has_exited "$WATCHER" && wait "$WATCHER"; }

@test "--watch: of one port at several addresses and in several namespaces, only the server's packets" {
    need_tracefs
    unshare -n true 2>/dev/null || skip "needs network namespaces; to run it: root on a machine of your own"
    need ip "to set lo up in a namespace" "install iproute2"
    need nsenter "to enter a namespace" "install util-linux"
    rule "a packet is the server's by its addresses, its port and its namespace" "a port alone" "chapter 7"
    local address away ours
    for address in 127.0.0.1 0.0.0.0; do # a server at every address has less to be told by
        tracee block $address 0
        ours=$TRACEE_PID
        tracee block 127.0.0.1 "$PORT" unshare -n sh -c 'ip link set lo up && exec "$@"' sh
        away=$TRACEE_PID
        [ $address = 0.0.0.0 ] || tracee block 127.0.0.2 "$PORT"
        watch_begin "$TMP/out" attach "$PORT" -n 3 --record "$TMP/recorded"
        nsenter -t "$away" -n "$TMP/tracee" send 127.0.0.1 "$PORT" 20 31
        [ $address = 0.0.0.0 ] || "$TMP/tracee" send 127.0.0.2 "$PORT" 20 32
        "$TMP/tracee" send 127.0.0.1 "$PORT" 20 33
        watch_end
        cat "$TMP/out"
        grep -q '^3 journeys' "$TMP/out"
        grep 'tcp_probe .* len=3' "$TMP/recorded"
        [ "$(grep -c "tcp_probe .* len=33 port=$PORT" "$TMP/recorded")" = 3 ]
        if grep -q "tcp_probe .* len=3[12] port=$PORT" "$TMP/recorded"; then false; fi
        kill "$ours"
    done
    nothing_left
}

@test "--watch -b: of a server at every address, only the packets to this one" {
    need_tracefs
    rule "-b is the address of the packets that are followed" "a wildcard listener, which makes -b void" "chapter 7"
    tracee block 0.0.0.0 0
    watch_begin "$TMP/out" attach "$PORT" -b 127.0.0.2 -n 3 --record "$TMP/recorded"
    "$TMP/tracee" send 127.0.0.1 "$PORT" 5 31
    "$TMP/tracee" send 127.0.0.2 "$PORT" 5 33
    watch_end
    cat "$TMP/out"
    [ "$(grep -c "tcp_probe .* len=33 port=$PORT" "$TMP/recorded")" = 3 ]
    if grep -q "tcp_probe .* len=31 port=$PORT" "$TMP/recorded"; then false; fi
    nothing_left
}

@test "--watch: what the kernel drops on the server's port, with the kernel's reason, and nothing that is another's" {
    need_tracefs
    need python3 "for a client with keepalive" "install python3"
    need ip "to set lo up in a namespace" "install iproute2"
    unshare -n true 2>/dev/null || skip "needs network namespaces; to run it: root on a machine of your own"
    grep -q ' reason;' "$TRACEFS/events/skb/kfree_skb/format" || skip "this kernel gives no reason for a drop; to run it: Linux 5.17 or later"
    rule "a drop is the server's by its connection" "a port alone" "chapter 7"
    local away
    cat >"$TMP/keepalive" <<'END'
import socket, sys
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
print("idle", flush=True)
client.recv(1)
END
    SERVER=$(traced) OURS=1 VARIANT_ARGS='' start_server
    tracee block 127.0.0.1 "$PORT" unshare -n sh -c 'ip link set lo up && exec "$@"' sh
    away=$TRACEE_PID
    tracee block 127.0.0.2 "$PORT"
    watch_begin "$TMP/out" attach "$PORT" -n 1
    # A probe for a connection that is idle has an old sequence number, so that it is answered.
    nsenter -t "$away" -n python3 "$TMP/keepalive" 127.0.0.1 "$PORT" >/dev/null 3>&- &
    PIDS="$! $PIDS"
    wait_until 20 has_probed "$away" 2 # a second after the first one, which has been looked at by then
    if grep '^dropped' "$TMP/out"; then false; fi
    python3 "$TMP/keepalive" 127.0.0.1 "$PORT" >/dev/null 3>&- &
    PIDS="$! $PIDS"
    wait_until 20 has_text "$TMP/out" "^dropped: a packet for port $PORT, TCP_OLD_SEQUENCE\$"
    "$TMP/tracee" send 127.0.0.1 "$PORT" 1 31
    watch_end
    cat "$TMP/out"
    narrow "$TMP/out"
    tr -s '\n ' ' ' <"$TMP/out" | grep -q 'Packets for this server that the kernel dropped: [1-9][0-9]* TCP_OLD_SEQUENCE\.'
    nothing_left
}
has_probed() { # PID NUMBER: in its network namespace
    [ "$(nsenter -t "$1" -n awk '/^TcpExt:/ && !at { for (i = 1; i <= NF; i++) if ($i == "TCPKeepAlive") at = i; next }
        /^TcpExt:/ { print $at }' /proc/net/netstat)" -ge "$2" ]
}

@test "--watch: what the listening socket drops, because its accept queue is full, as ss counts it" {
    need_tracefs
    need python3 "for a server that never accepts" "install python3"
    need ss "to read the socket's own counter" "install iproute2"
    rule "a SYN at a full accept queue is counted" "only skb:kfree_skb, which does not report it" "chapter 7"
    local said drops
    cat >"$TMP/full" <<'END'
import socket, sys, time
server = socket.create_server(("127.0.0.1", 0), backlog=0)
print("listening on 127.0.0.1:%d" % server.getsockname()[1], flush=True)
time.sleep(100)
END
    cat >"$TMP/clients" <<'END'
import socket, sys
def client():
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("127.0.0.1", int(sys.argv[1])))
    return s
one = client()
others = [client() for _ in range(3)]
if sys.argv[2] == "send":
    one.setblocking(True)
    one.send(b"31 bytes that no program reads\n")
END
    for said in none send; do
        : >"$TMP/listening" # before the server is there: the line of the last one must not count
        python3 "$TMP/full" >"$TMP/listening" 3>&- &
        PIDS="$! $PIDS"
        wait_until 20 has_text "$TMP/listening" listening
        PORT=$(sed 's/.*://' "$TMP/listening")
        watch_begin "$TMP/out" attach "$PORT" -n 1
        python3 "$TMP/clients" "$PORT" $said
        [ $said = send ] || kill -TERM "$WATCHER"
        watch_end || [ $said = none ]
        cat "$TMP/out"
        [ $said = none ] || narrow "$TMP/out"
        drops=$(ss -ltmH "sport = :$PORT" | sed -n 's/.*,d\([0-9]*\)).*/\1/p')
        [ "$drops" -ge 3 ]
        tr -s '\n ' ' ' <"$TMP/out" >"$TMP/line"
        grep -q "The listening socket dropped $drops packets (ss -ltm, after \"d\"): was its accept queue full?" "$TMP/line"
        [ $said = send ] || grep -q "^watching .* trace: no packet for this port was seen: The listening socket dropped" "$TMP/line"
    done
    nothing_left
}

@test "how the server waits: known, unknown, and never taken for epoll" {
    need_tracefs
    rule "unknown is not no, and not epoll" "epoll as the default" "chapter 7"
    local mode
    for mode in signal handler recvmmsg splice uring spin; do # block: see the other tests
        tracee $mode 127.0.0.1 0
        for _ in 1 2 3; do # on a busy machine, the server may not be waiting when a packet comes
            watch_begin "$TMP/$mode" attach "$PORT" -n 4 --record "$TMP/$mode.txt"
            "$TMP/tracee" send 127.0.0.1 "$PORT" 8 31
            watch_end
            ! grep -q ' [1-9][0-9]* complete' "$TMP/$mode" || break
        done
        echo "$mode:"
        cat "$TMP/$mode"
        none_incomplete 4 "$TMP/$mode"
        trace replay "$TMP/$mode.txt" -n 1 >"$TMP/$mode.one"
        if grep -q 'epoll has a wait queue\|\[epoll\|did not return' "$TMP/$mode.one"; then false; fi
    done
    grep -q '^\[the thread waits on this socket' "$TMP/recvmmsg.one"
    grep -q '^\[the thread waits on this socket' "$TMP/splice.one"
    grep -q '^\[the thread waits for a signal' "$TMP/signal.one"
    grep -q '^\[the thread waits for a signal' "$TMP/handler.one"
    grep -q '^\[the thread waits for an io_uring' "$TMP/uring.one"
    grep -q '^\[how the server waits is not known\|^\[the thread does not wait' "$TMP/spin.one"
    # what was not asked is not unknown: three states, three sentences
    sed -e '/^[0-9].* signal_deliver /d' -e '/^asked/s/ sys_exit_[a-z0-9_]*wait[0-9]*//g' \
        -e '/^asked/s/ sys_exit_p*\(poll\|select\)6*//g' -e '/^asked/s/ signal_deliver//' "$TMP/handler.txt" |
        awk '/^[0-9]/ { n++ } /^end/ { $2 = n } { print }' >"$TMP/not-asked"
    trace replay "$TMP/not-asked" -n 1 >"$TMP/out"
    cat "$TMP/out"
    grep -q '^\[trace did not ask how the server waits' "$TMP/out"
    nothing_left
}

@test "a server that reads by a call that is not traced, or in another thread than the one that waits" {
    need_tracefs
    need python3 "for such servers" "install python3"
    rule "unknown is not \"did not return\", and a wait is found in the thread that was woken" "the reader's own calls only" "chapter 7"
    local mode
    cat >"$TMP/reader" <<'END'
import os, queue, select, socket, sys, threading
server = socket.create_server(("127.0.0.1", 0))
print("listening on 127.0.0.1:%d" % server.getsockname()[1], flush=True)
client, _ = server.accept()
ready, once = queue.SimpleQueue(), select.EPOLLIN | select.EPOLLONESHOT
def work():
    while True:
        ready.get()
        data = client.recv(100)
        client.send(data)
        poller.modify(client, once)
if sys.argv[1] == "other":
    poller = select.epoll()
    poller.register(client, once)
    threading.Thread(target=work, daemon=True).start()
    while True:
        poller.poll()
        ready.put(1)
data = bytearray(100)
while (length := os.preadv(client.fileno(), [data], -1)) > 0:  # preadv2()
    client.send(data[:length])
END
    for mode in other preadv2; do
        python3 "$TMP/reader" $mode >"$TMP/said.$mode" 3>&- &
        PIDS="$! $PIDS"
        wait_until 20 has_text "$TMP/said.$mode" listening
        PORT=$(sed 's/.*://' "$TMP/said.$mode")
        trace attach "$PORT" -n 8 --record "$TMP/$mode.txt" >"$TMP/out"
        none_incomplete 8 "$TMP/out"
        trace replay "$TMP/$mode.txt" -n 1 >"$TMP/$mode"
        cat "$TMP/$mode"
    done
    grep -q '^\[epoll watches the descriptor' "$TMP/other"
    grep -q 'sys_exit_epoll_p*wait' "$TMP/other"
    tr -s '\n ' ' ' <"$TMP/preadv2" >"$TMP/line"
    if grep -q 'did not return\|there is no event of the call' "$TMP/line"; then false; fi
    grep -q 'or by a call that trace does not know' "$TMP/line"
    nothing_left
}

@test "--watch: a thread that has slept in recv() since before the attach, or for long" {
    need_tracefs
    need python3 "for a client that is idle" "install python3"
    rule "a call that began before the trace is not one that is missing" "a recv() that must begin within the trace" "chapter 7"
    local moment
    cat >"$TMP/idle" <<'END'
import socket, sys, time
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("connected", flush=True)
time.sleep(3)
for _ in range(2):
    client.send(b"15 bytes of data")
    client.recv(100)
END
    for moment in before after; do
        tracee block 127.0.0.1 0
        [ $moment = before ] || watch_begin "$TMP/out" attach "$PORT" -n 1
        : >"$TMP/connected"
        python3 "$TMP/idle" "$PORT" >"$TMP/connected" 3>&- &
        PIDS="$! $PIDS"
        wait_until 20 has_text "$TMP/connected" connected
        [ $moment = after ] || watch_begin "$TMP/out" attach "$PORT" -n 1
        watch_end
        cat "$TMP/out"
        grep -q '^\[the thread waits on this socket' "$TMP/out"
        if grep -q 'there is no event of the call\|^\[how the server waits is not' "$TMP/out"; then false; fi
        tr -s '\n ' ' ' <"$TMP/out" | grep -q 'has slept in this call since'
    done
    nothing_left
}

@test "packets from a socket's backlog, which a call's thread works on, are followed and explained" {
    need_tracefs
    rule "the backlog is a path of its own" "a packet expected in NET_RX only" "chapter 7"
    tracee sink 127.0.0.1 0
    for _ in 1 2 3 4 5 6; do # until some packets come while the server's calls hold the lock
        watch_begin "$TMP/out" attach "$PORT" -n 200 --record "$TMP/recorded"
        "$TMP/tracee" flood 127.0.0.1 "$PORT" 40 500000
        watch_end
        ! grep -q ' t tcp_probe .*len=[1-9]' "$TMP/recorded" || break
    done
    cat "$TMP/out"
    grep -q ' 0 events lost' "$TMP/out" || skip "others send so much that events were lost; to run it: an otherwise idle machine"
    local packets
    packets=$(sed -n 's/^\([0-9]*\) packets over .*/\1/p' "$TMP/out") # fewer if some carried more bytes
    [ "$packets" -ge 100 ]
    grep -q "^  netif_receive_skb  *$packets " "$TMP/out"
    grep -q "^  tcp_probe  *$packets " "$TMP/out"
    # Show the first of them: the others become packets of another connection.
    awk '/ tcp_probe .* port=/ { if (!seen && / t tcp_probe .*len=[1-9]/) seen = 1; else sub(/ port=[0-9]*/, " port=0") } { print }' \
        "$TMP/recorded" >"$TMP/first"
    trace replay "$TMP/first" -n 1 >"$TMP/one"
    cat "$TMP/one"
    tr -s '\n ' ' ' <"$TMP/one" | grep -q "had waited in the socket's backlog"
    nothing_left
}

@test "in a time namespace, the clock of the kernel's events is used for everything" {
    need_tracefs
    unshare -T --monotonic 1000 true 2>/dev/null || skip "needs time namespaces; to run it: Linux 5.6 or newer, and util-linux 2.36 or newer"
    rule "stamps and events have one clock" "CLOCK_MONOTONIC of a time namespace" "chapter 7"
    local via
    for via in lo tap; do
        NO_COLOR=1 unshare -T --monotonic 1000 "$TRACE" --server "$(traced)" --via $via -n 20 >"$TMP/out"
        cat "$TMP/out"
        none_incomplete 20 "$TMP/out"
        awk '/^  first to last/ { found = $4 == 20 && $5 < 100000 } END { exit !found }' "$TMP/out"
    done
    grep -q '^  frame_written  *20 ' "$TMP/out"
    nothing_left
}

@test "a low-water mark and a connection of which one end is closed: the causes are named" {
    need_tracefs
    rule "where an event is missing, the reason is the real one" "this kernel has no such event" "chapter 7"
    local code=0
    tracee lowat 127.0.0.1 0
    watch_begin "$TMP/out" attach "$PORT" -n 60
    "$TMP/tracee" flood 127.0.0.1 "$PORT" 300 15 3>&- & # two of these make one of LOW_WATER
    PIDS="$! $PIDS"
    watch_end
    cat "$TMP/out"
    grep -q '^This server asked not to be told of fewer than 30 bytes (SO_RCVLOWAT)' "$TMP/out"
    trace explain ready >"$TMP/explained"
    tracee half 127.0.0.1 0
    watch_begin "$TMP/out" attach "$PORT" -n 3
    "$TMP/tracee" flood 127.0.0.1 "$PORT" 300 15 3>&- &
    PIDS="$! $PIDS"
    wait_until 5 is_half_closed
    kill -INT "$WATCHER"
    wait "$WATCHER" || code=$?
    cat "$TMP/out"
    [ $code -le 1 ] # 0: the first packet was quicker than the server's shutdown()
    tr -s '\n ' ' ' <"$TMP/out" | grep -q 'tcp_probe reports established connections.* in state FIN_WAIT2'
    nothing_left
}
is_half_closed() { awk -v port="$(printf ':%04X' "$PORT")" '$2 ~ port && $4 == "05" { found = 1 } END { exit !found }' /proc/net/tcp; }

@test "--watch: data that comes with the handshake is not reported by tcp_probe, and trace says so" {
    need_tracefs
    need python3 "for a client whose first data end the handshake" "install python3"
    rule "where no packet is seen, the reason is the real one" "no packet was seen" "chapter 7"
    tracee block 127.0.0.1 0
    watch_begin "$TMP/out" attach "$PORT" -n 1
    python3 - "$PORT" <<'END'
import socket, sys
for _ in range(3):
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 2)
    client.connect(("127.0.0.1", int(sys.argv[1])))
    client.send(b"31 bytes that end the handshake")
    assert len(client.recv(31)) == 31
    client.close()
END
    kill -INT "$WATCHER"
    watch_end || :
    cat "$TMP/out"
    tr -s '\n ' ' ' <"$TMP/out" | grep -q 'no packet for this port was seen: none came after a handshake, and tcp_probe does not report data that comes with it'
    nothing_left
}

@test "memory has a stated limit, while others send as much as they can" {
    need_tracefs
    [ -n "${ONLY:-}" ] || skip "sends for ten seconds as fast as it can; to run it: make test-07 ONLY='memory has a stated limit'"
    rule "at most 256 MiB for the events and 32 MiB for all rings" "events kept until enough packets have come" "chapter 7"
    local port flooder peak=0 now
    trace -h | grep -q '^Memory: at most 256 MiB for the events, and 32 MiB in the kernel'
    tracee sink 127.0.0.1 0
    port=$PORT
    tracee block 127.0.0.1 0
    watch_begin "$TMP/out" attach "$PORT" -n 50
    [ "$(cat "$(instances | head -n 1)/buffer_total_size_kb")" -le 33000 ]
    "$TMP/tracee" flood 127.0.0.1 "$port" 1000000000 1000 3>&- &
    flooder=$!
    PIDS="$flooder $PIDS"
    "$TMP/tracee" send 127.0.0.1 "$PORT" 1 31
    until has_exited "$WATCHER"; do # it ends by itself, when the limit is reached or after a minute
        now=$(awk '/^VmHWM/ { print $2 }' "/proc/$WATCHER/status" 2>/dev/null) || :
        [ -z "$now" ] || peak=$now
        sleep 0.1
    done
    kill -KILL "$flooder"
    echo "peak: $peak KiB"
    [ "$peak" -gt 1000 ]
    [ "$peak" -lt 340000 ]
    cat "$TMP/out"
    nothing_left
}

# Two network namespaces, each held by a process: HERE and AWAY.  With $1 devices of a veth pair in the
# first, va and vb, and their other ends, pa and pb, in the second.
two_namespaces() {
    need ip "to create devices" "install iproute2"
    need nsenter "to enter namespaces" "install util-linux"
    unshare -n true 2>/dev/null || skip "needs network namespaces; to run it: root on a machine of your own"
    build_tracee
    unshare -n sleep 3600 3>&- &
    HERE=$!
    unshare -n sleep 3600 3>&- &
    AWAY=$!
    PIDS="$HERE $AWAY $PIDS"
    wait_until 5 has_own_namespace "$HERE"
    wait_until 5 has_own_namespace "$AWAY"
    here ip link add va type veth peer name pa netns "$AWAY" || skip "needs veth; to run it: a kernel with veth"
    here ip link set va up
    away ip link set pa up
    away ip address add 192.0.2.2/24 dev pa
}
has_own_namespace() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
here() { nsenter -t "$HERE" -n "$@"; }
away() { nsenter -t "$AWAY" -n "$@"; }

@test "--device: a veth device and a bridge are named, and no card is expected of them" {
    need_tracefs
    two_namespaces
    rule "each kind of device has its own hops" "every device but lo taken for a card" "chapter 7"
    local device=va
    here ip address add 192.0.2.1/24 dev va
    tracee block 0.0.0.0 0 nsenter -t "$HERE" -n
    for device in va br0; do
        if [ $device = br0 ]; then
            here ip address del 192.0.2.1/24 dev va
            here ip link add br0 type bridge || skip "needs bridges; to run it: a kernel with CONFIG_BRIDGE"
            here ip address add 192.0.2.1/24 dev br0
            here ip link set va master br0
            here ip link set br0 up
        fi
        watch_begin "$TMP/$device" attach "$PORT" --device $device -n 3
        away "$TMP/tracee" send 192.0.2.1 "$PORT" 3 31
        watch_end
        cat "$TMP/$device"
        none_incomplete 3 "$TMP/$device"
        if grep -q 'card\|irq_handler\|another machine' "$TMP/$device"; then false; fi
    done
    grep -q '^3 packets over a veth device' "$TMP/va"
    grep -q 'netif_rx  *3 ' "$TMP/va"
    grep -q '^3 packets over a bridge' "$TMP/br0"
    nothing_left
}

@test "--watch: packets that others lose, in memory where the server's packets were, are not counted" {
    need_tracefs
    need python3 "to lose packets" "install python3"
    grep -q ' reason;' "$TRACEFS/events/skb/kfree_skb/format" || skip "this kernel gives no reason for a drop; to run it: Linux 5.17 or later"
    two_namespaces
    rule "a drop is the server's by its socket" "an skb's address alone, which the kernel uses again" "chapter 7"
    local others
    here ip address add 192.0.2.1/24 dev va
    away ip link set lo up
    tracee block 0.0.0.0 0 nsenter -t "$HERE" -n
    watch_begin "$TMP/out" attach "$PORT" --device va -n 300
    away python3 -c 'import socket, time
for _ in range(20000):
    socket.socket().connect_ex(("127.0.0.1", 1))
    time.sleep(0.0005)' 3>&- &
    others=$!
    PIDS="$others $PIDS"
    away "$TMP/tracee" send 192.0.2.1 "$PORT" 300 31
    watch_end
    kill "$others"
    cat "$TMP/out"
    if grep '^dropped' "$TMP/out"; then false; fi
    grep -q '^Packets for this server that the kernel dropped: none' "$TMP/out"
    nothing_left
}

@test "threaded NAPI: the thread that receives is named, and no softirq is missed" {
    need_tracefs
    two_namespaces
    rule "a packet may be received by a thread" "NET_RX expected around every packet" "chapter 7"
    here ip address add 192.0.2.1/24 dev va
    here "$TMP/tracee" gro va || skip "needs GRO on veth; to run it: Linux 5.13 or newer"
    away "$TMP/tracee" no-tso pa # without it, veth hands over large segments, and no use of NAPI
    here unshare -m sh -c 'mount -t sysfs none /sys && echo 1 >/sys/class/net/va/threaded' ||
        skip "needs threaded NAPI; to run it: Linux 5.12 or newer"
    tracee block 0.0.0.0 0 nsenter -t "$HERE" -n
    watch_begin "$TMP/out" attach "$PORT" --device va -n 3 --record "$TMP/recorded"
    away "$TMP/tracee" send 192.0.2.1 "$PORT" 3 31
    watch_end
    cat "$TMP/out"
    none_incomplete 3 "$TMP/out"
    if grep -q softirq "$TMP/out"; then false; fi
    grep -q 'napi_gro_receive_entry  *3 ' "$TMP/out"
    trace replay "$TMP/recorded" -n 1 | tr -s '\n ' ' ' | grep -q 'A thread of NAPI received this packet'
    nothing_left
}

@test "a server at ::1 or at :: is found, and packets to it are followed" {
    need_tracefs
    [ -e /proc/net/if_inet6 ] || skip "needs IPv6; to run it: a kernel with IPv6"
    rule "IPv6 is traced as IPv4 is" "an address of 4 bytes" "chapter 7"
    local address
    for address in ::1 ::; do
        tracee block $address 0
        trace attach "$PORT" -n 5 >"$TMP/out" # without -b
        none_incomplete 5 "$TMP/out"
        trace attach "$PORT" -b ::1 -n 5 >"$TMP/out"
        none_incomplete 5 "$TMP/out"
        watch_begin "$TMP/out" attach "$PORT" -b ::1 -n 3
        "$TMP/tracee" send ::1 "$PORT" 10 31
        watch_end
        none_incomplete 3 "$TMP/out"
    done
    trace attach "$PORT" -n 5 -b 127.0.0.1 >"$TMP/out" # of the one at ::, by a mapped address
    none_incomplete 5 "$TMP/out"
    if command -v python3 >/dev/null; then # one at :: that refuses IPv4
        python3 -c 'import socket
server = socket.socket(socket.AF_INET6)
server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
server.bind(("::", 0))
server.listen()
print("listening on [::]:%d" % server.getsockname()[1], flush=True)
client, _ = server.accept()
while data := client.recv(100):
    client.send(data)' >"$TMP/said" 3>&- &
        PIDS="$! $PIDS"
        wait_until 20 has_text "$TMP/said" listening
        trace attach "$(sed 's/.*://' "$TMP/said")" -n 5 >"$TMP/out"
        none_incomplete 5 "$TMP/out"
    fi
    tracee block ::1 0
    if trace attach "$PORT" -b 127.0.0.1 2>"$TMP/err"; then false; fi
    grep -q 'No server listens on 127.0.0.1' "$TMP/err"
    nothing_left
}

@test "a server at a link-local address, with its scope" {
    need_tracefs
    [ -e /proc/net/if_inet6 ] || skip "needs IPv6; to run it: a kernel with IPv6"
    need python3 "for a client that knows scopes" "install python3"
    two_namespaces
    rule "an address is written as ss writes it" "an address without its scope" "chapter 7"
    local address
    here ip link set lo up
    here ip -6 address add fe80::15/64 dev va nodad
    away ip -6 address add fe80::16/64 dev pa nodad
    tracee block :: 0 nsenter -t "$HERE" -n
    here env NO_COLOR=1 "$TRACE" attach "$PORT" -b fe80::15%va -n 3 >"$TMP/out"
    none_incomplete 3 "$TMP/out"
    watch_begin "$TMP/out" attach "$PORT" -b fe80::15%va --device va -n 3
    away python3 -c 'import socket, sys
client = socket.create_connection(("fe80::15%pa", int(sys.argv[1])))
for _ in range(3):
    client.send(b"15 bytes of data")
    client.recv(100)' "$PORT"
    watch_end
    none_incomplete 3 "$TMP/out"
    for address in fe80::15%moon0 127.0.0.1%lo; do
        if trace attach "$PORT" -b $address 2>"$TMP/err"; then false; fi
        grep -q 'needs an IPv4 or IPv6 address' "$TMP/err"
    done
    nothing_left
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
    as_nobody --via tap | grep -q '^Next best'
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

@test "tracefs is mounted read-only: it is not said that it cannot be mounted" {
    need_tracefs
    unshare -m true 2>/dev/null || skip "needs mount namespaces; to run it: root on a machine of your own"
    rule "the reason is the one that the errno gives" "a mount that was not tried" "chapter 7"
    # shellcheck disable=SC2016
    NO_COLOR=1 unshare -m sh -c 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" --brief' sh \
        "$TRACEFS" "$TRACE" >"$TMP/out"
    cat "$TMP/out"
    tr -s '\n ' ' ' <"$TMP/out" | grep -q '^tracefs is mounted, but no instance can be created in it: Read-only file system'
}

@test "attach without /proc: it is not said that nobody listens" {
    need_tracefs
    unshare -m true 2>/dev/null || skip "needs mount namespaces; to run it: root on a machine of your own"
    rule "the reason is the one that the errno gives" "a file that is missing taken for an empty one" "chapter 7"
    tracee block 127.0.0.1 0
    # shellcheck disable=SC2016
    if NO_COLOR=1 unshare -m sh -c 'mount -t tmpfs none /proc && exec "$@"' sh "$TRACE" attach "$PORT" 2>"$TMP/err"; then false; fi
    cat "$TMP/err"
    grep -q '^trace: Who listens is in /proc/net/tcp, which cannot be read: No such file or directory' "$TMP/err"
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
