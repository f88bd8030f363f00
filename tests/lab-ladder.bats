#!/usr/bin/env bats
# The ladder of the lab: our servers pass it, and each common mistake fails at its rung.
load support/output
load support/lab

# ---- the ladder against our servers ----

# passes STAGE OPTIONS: the ladder passes in less than 15 seconds.
passes() { climbs "$@" || { echo "once more: the machine may have been busy" && climbs "$@"; }; }
climbs() {
    local begin=$SECONDS digit=${1#0}
    LAB_PATIENCE=3 run "$LADDER" -x -g "${digit%%-*}" -o "$2" "./$1/server" -p PORT
    echo "$1 $2: $output"
    [ "$status" -eq 0 ] && printf '%s\n' "$output" | grep -q 'every rung passes' && [ $((SECONDS - begin)) -lt 15 ]
}

@test "the server of each stage, with each of its options, passes the ladder within 15 seconds" {
    local stage backend
    for stage in 0*-*; do
        can_run "$stage" || continue
        case $stage in
        04-epoll | 05-kqueue) passes "$stage" '' && passes "$stage" -e ;;
        06-selector)
            for backend in $(./06-selector/server -h | sed -n 's/.*one of: \([a-z ]*\) (.*/\1/p'); do
                passes "$stage" "-s $backend"
            done
            ;;
        *) passes "$stage" '' ;;
        esac
    done
}

@test "01 -1 fails at the second client, which is its limit" {
    run "$LADDER" -x -g 1 -o -1 -s "$T/state" ./01-blocking/server -p PORT
    fails_at two 'blocks in recv() of one client'
}

# ---- the ladder against servers with one mistake ----

# Each line: the mistake of tests/programs/wrong.c, the rung that must fail, and words of the cause.
mistakes() {
    cat <<'LINES'
one-by-one two The server blocks in recv() of one client
exits-with-client half-close exit code 0
line echoes waits for the end of a line
full-buffer echoes waits until its buffer is full
sleeps echoes The wait does not include the listener
upper echoes Client A received "HELLO"
whole-lines echoes waits for the end of a line
swallows-first echoes does not send them back
slow echoes Something else takes the time
to-first two The answer goes to another client
strips pieces In place of the byte 0x0d
swallows large does not send them back
lingers half-close SO_LINGER sets a timeout of zero
pauses burst Something else takes the time
naps again Something else takes the time
closes-after-one again closes the client after its first message
strlen pieces stops at a zero byte
drops-rest late A short write
overwrites late Pending bytes were overwritten
sends-twice late the count of sent bytes is not added
waits-to-read late Wait for writing only
spins idle The loop does not sleep in the wait
leaves-armed idle waits for writing although nothing is pending
ignores-fin half-close recv() returned 0
closes-at-hangup half-close closes at the first sign of the end
spins-pending full-close the server still waits for reading
wrong-entry leave removes or skips the wrong entry
reset-exits reset ECONNRESET or EPIPE is an error of one client
sigpipe reset raises SIGPIPE
blocks never-reads The server blocks in send()
shares-buffer never-reads a buffer that other clients use
ignores-hangup reset Call recv() for these flags too
backlog burst The backlog of listen() is short
table many has a fixed size
shortage-closes shortage closes new clients when descriptors run out
leaks leak close() is missing
shortage-exits shortage accept() failed with EMFILE, and the server ended
shortage-spins shortage The listener stays readable
never-resumes shortage never resumed
never-retries retry A shortage may end although no client
ignores-stop stop The loop goes on after SIGTERM
ends-with-eintr stop EINTR is not an error
no-handler stop There is no handler for SIGTERM
no-reuseaddr restart SO_REUSEADDR is not set
LINES
}

@test "a server without a mistake, which is not one of ours, passes the ladder" {
    run "$LADDER" -g 0 "$WRONG" none PORT
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "each mistake of a first server fails at its rung, with its cause" {
    local mistake rung words count=0
    while read -r mistake rung words; do # three at a time, because some of them spin
        "$LADDER" -g 0 -s "$T/$mistake" "$WRONG" "$mistake" PORT >"$T/$mistake.out" 2>&1 3>&- &
        count=$((count + 1))
        [ $((count % 3)) -ne 0 ] || wait
    done < <(mistakes)
    wait
    while read -r mistake rung words; do
        echo "$mistake:"
        output=$(cat "$T/$mistake.out")
        cp "$T/$mistake" "$T/state"
        fails_at "$rung" "$words"
    done < <(mistakes)
}

# As the runtimes of Go, Node and Java do when they start.
@test "a server that raises its own limit of descriptors gets no more, so a leak and a shortage show" {
    printf '#!/bin/sh\nulimit -S -n "$(ulimit -H -n)"\nexec "%s" "$@"\n' "$WRONG" >"$T/raises"
    chmod +x "$T/raises"
    run "$LADDER" -g 0 -s "$T/state" "$T/raises" leaks PORT
    fails_at leak 'close() is missing'
    run "$LADDER" -g 0 -s "$T/state" "$T/raises" shortage-spins PORT
    fails_at shortage 'The listener stays readable'
    run "$LADDER" -g 0 "$T/raises" none PORT
    [ "$status" -eq 0 ]
}

@test "a server that a script starts as its child is not measured, and one in the background is ended" {
    [ -r /proc/self/status ] || skip "needs /proc, which says what a process has opened; to run it: Linux"
    printf '#!/bin/sh\n"%s" none "$1" &\ntrap "kill $!; wait; exit 0" TERM\nwait\n' "$WRONG" >"$T/child"
    printf '#!/bin/sh\nsetsid "%s" none "$1" "$2" &\nsleep 1\n' "$WRONG" >"$T/background"
    chmod +x "$T/child" "$T/background"
    run "$LADDER" -g 0 -s "$T/state" "$T/child" PORT
    fails_at starts 'Use exec'
    run "$LADDER" -g 0 -r silent "$T/background" PORT "$T/mine"
    ! pgrep -f "$T/mine" || return 1
}

@test "every mistake that wrong.c can make is in the table above" {
    for mistake in $(sed -n 's/.*wrong("\([a-z-]*\)").*/\1/p' tests/programs/wrong.c | sort -u); do
        mistakes | grep -q "^$mistake " || { echo "not in the table: $mistake"; return 1; }
    done
}

# try_bug NAME RUNG WORDS...: a patch of tests/bugs, in a copy of its stage.
try_bug() {
    local name=$1 rung=$2 stage digit options=''
    shift 2
    stage=$(sed -n 's/^Server: *\([^ ]*\).*/\1/p' "tests/bugs/$name.patch")
    can_run "$stage" || return 0
    digit=${stage#0}
    rm -rf "$T/bug"
    cp -R "$stage" "$T/bug"
    rm -f "$T/bug/server"
    (cd "$T/bug" && patch -s -p2 <"$COPY/tests/bugs/$name.patch" && make_server .) >"$T/log" 2>&1 || { cat "$T/log"; return 1; }
    [ "$stage" != 06-selector ] || options='-s poll'
    run "$LADDER" -x -g "${digit%%-*}" -o "$options" -s "$T/state" "$T/bug/server" -p PORT
    echo "$name:"
    fails_at "$rung" "$*"
}

@test "mistakes in our own servers fail at their rung, with their cause" {
    try_bug one-read-per-edge edge-large only one recv'()' per event
    try_bug short-write-ignored late A short write
    try_bug pending-in-shared-buffer never-reads a buffer that other clients use
    try_bug rdhup-closes half-close closes at the first sign of the end
    try_bug ev-eof-closes half-close closes at the first sign of the end
    try_bug rdhup-spin full-close A flag that stays set after FIN
    try_bug pollfd-gap-not-filled leave removes or skips the wrong entry
    try_bug reset-fatal reset is an error of one client
    try_bug client-socket-blocks never-reads The server blocks in send'()'
    try_bug epollout-left-armed never-reads still waits for writing
    try_bug descriptor-leak leak close'()' is missing
    try_bug emfile-spin shortage The listener stays readable
    try_bug coroutine-accept-never-resumed shortage never resumed
    try_bug reuseaddr-missing restart SO_REUSEADDR is not set
    try_bug edge-triggered-starvation edge-greedy Stop after a few reads
}

# try_change SED RUNG WORDS...: stage 04 with one change to its server.c.
try_change() {
    local change=$1 rung=$2
    shift 2
    can_run 04-epoll || return 0
    rm -rf "$T/bug"
    cp -R 04-epoll "$T/bug"
    rm -f "$T/bug/server"
    sed "$change" 04-epoll/server.c >"$T/bug/server.c"
    ! cmp -s 04-epoll/server.c "$T/bug/server.c" || return 1
    make_server "$T/bug"
    run "$LADDER" -x -g 4 -s "$T/state" "$T/bug/server" -p PORT
    echo "$change:"
    fails_at "$rung" "$*"
}

@test "what participants have written into stage 04 fails at its rung, with its cause" {
    try_change 's/events |= EPOLLET;/(void)0;/' edge-set The option has no effect
    try_change 's/update_epoll(EPOLL_CTL_MOD/update_epoll(EPOLL_CTL_ADD/' late Change its entry instead
    try_change 's/update_epoll(EPOLL_CTL_MOD, fd, epoll_events_for(fd, interest))/((void)fd, (void)interest, errno = ENOSYS) == 0/; s/#include <unistd.h>/&\n#include <errno.h>/' late A gap is still empty
    try_change 's/\.data\.fd = fd}/.data.fd = operation == EPOLL_CTL_MOD ? -1 : fd}/' late EPOLL_CTL_MOD replaces \`data\`
}

# Which of the rungs of -e fails, and in which attempt, depends on how much arrives at once.
@test "an edge-triggered server that stops before EAGAIN and does not re-arm fails at a rung of -e" {
    local attempt
    can_run 04-epoll || skip "$(why_not 04-epoll)"
    cp -R 04-epoll "$T/bug"
    rm -f "$T/bug/server"
    sed 's/^    client_set_interest(client, client->pending.*/    if (client->pending != NULL)\n        client_set_interest(client, INTEREST_WRITE);/' 04-epoll/server.c >"$T/bug/server.c"
    ! cmp -s 04-epoll/server.c "$T/bug/server.c" || return 1
    make_server "$T/bug"
    for attempt in 1 2 3 4 5 6 7 8; do
        run "$LADDER" -x -g 4 -s "$T/state" "$T/bug/server" -p PORT
        [ "$status" -eq 0 ] || break
    done
    fails_at "$(sed -n 's/^failed \(edge-[a-z]*\) .*/\1/p' "$T/state")" 'The server stopped before EAGAIN'
}

@test "the first failure of a server that blocks is reported within 5 seconds" {
    local begin=$SECONDS
    LAB_PATIENCE=1 run "$LADDER" -g 0 "$WRONG" one-by-one PORT
    [ "$status" -eq 1 ]
    [ $((SECONDS - begin)) -lt 5 ]
}

# It takes a third of the time after which a server is given up that does something meanwhile.
@test "a server that never listens is reported early, and one that starts slowly is not given up" {
    [ -r /proc/self/status ] || skip "needs /proc, which says whether a process does something; to run it: Linux"
    local begin=$SECONDS
    printf '#!/bin/sh\nexec sleep 600\n' >"$T/sleeps"
    printf '#!/bin/sh\nsh -c "while [ \\$(date +%%s) -lt %s ]; do :; done"\nexec "%s" none "$1"\n' "$(($(date +%s) + 7))" "$WRONG" >"$T/slow"
    chmod +x "$T/sleeps" "$T/slow"
    LAB_PATIENCE=2 run "$LADDER" -g 0 -r starts "$T/slow" PORT
    echo "$output"
    [ "$status" -eq 0 ]
    [ $((SECONDS - begin)) -ge 5 ] # longer than it may do nothing, which is 4 s
    begin=$SECONDS
    LAB_PATIENCE=10 run "$LADDER" -g 0 -s "$T/state" "$T/sleeps" PORT
    fails_at starts 'Connection refused'
    [ $((SECONDS - begin)) -lt 32 ] # about 20; 40 is the limit of a server that does something
}

@test "the rung that failed last runs first, and the ones below it after that" {
    echo 'failed never-reads 14 20' >"$T/state"
    run "$LADDER" -g 0 -s "$T/state" "$WRONG" blocks PORT
    [ "${lines[0]}" = 'passed: the earlier rungs, last time' ] # nothing below it ran, except what every explanation relies on
    fails_at never-reads 'blocks in send()'
    echo 'failed never-reads 14 20' >"$T/state"
    run "$LADDER" -g 0 -s "$T/state" "$WRONG" closes-after-one PORT
    fails_at again 'closes the client after its first message'
    echo 'failed never-reads 14 20' >"$T/state"
    run "$LADDER" -g 0 -s "$T/state" "$WRONG" line PORT # it breaks every rung; the lowest explains it
    fails_at echoes 'waits for the end of a line'
}

@test "one rung, with each step, names the cause that the ladder named, when the server has ended too" {
    run "$LADDER" -g 0 -v -r stop "$WRONG" ends-with-eintr PORT
    echo "$output"
    [[ $output == *'It wrote: poll: Interrupted'* ]]
    [[ $output == *'EINTR is not'* ]]
    cp -R 03-poll "$T/starter"
    awk -f tests/lab/cut.awk -v name=server.c tests/lab/tasks/03-poll/build/starter 03-poll/server.c >"$T/starter/server.c"
    make_server "$T/starter"
    run "$LADDER" -x -g 3 -v -r starts "$T/starter/server" -p PORT
    echo "$output"
    [[ $output == *'A gap is still empty'* ]]
}

@test "the texts of the tables fit into a report of 12 lines" {
    run "$LADDER" -l
    narrow
    printf '%s\n' "$output" | awk '
        /^  [a-z]/ { label = $1; n = 0 }
        /^  / { n++ }
        n > (label == "test" ? 2 : label == "cause" ? 3 : 1) { print "too long: " $0; bad = 1 }
        END { exit bad }'
}

@test "each rung of the ladder says where the book explains its causes" {
    "$LADDER" -l | sed -n 's/^  in the book *chapter \([0-9]\), "\(.*\)"$/\1 \2/p' | sort -u | while read -r chapter section; do
        grep -qxF "## $section" "$ROOT"/book/src/0"$chapter"-*.md || { echo "chapter $chapter has no section \"$section\""; exit 1; }
    done
}
