#!/usr/bin/env bats
# Faults that were found in the field: somebody shuts the listener down, lowers a limit, closes a
# descriptor by debugger, holds a copy of a socket, or does not read the log.  After each fault, the
# server serves as much as it can, says once what it cannot, uses no CPU, and SIGTERM ends it.
load support/helpers

FIELD=$TESTS/build/field
need_field() {
    need_linux "for pidfd_getfd, pseudo-terminals and /proc"
    [ -x "$FIELD" ] || skip "needs tests/build/field; to run it: make -C tests/programs field"
}
need_copies() { # of another process's descriptors
    need_field
    need_root "to copy the server's descriptors"
}

# check WHAT EXPECTED CAUSE COMMAND...: run the command; if it fails, say what was done, what was
# expected, and why it usually fails.
check() {
    local what=$1 expected=$2 cause=$3
    shift 3
    "$@" && return
    echo "done:          $what"
    echo "expected:      $expected"
    echo "likely cause:  $cause"
    return 1
}

# Lines in which the server reports something, whether or not -v was given.
reports() { grep -c '^server: ' "$TMP/server.err"; }
reported_once() {
    wait_until 3 has_text "$TMP/server.err" '^server: ' && [ "$(reports)" = 1 ] && return
    echo "$(reports) lines begin with \"server: \"; the last lines on stderr are:"
    tail -n 5 "$TMP/server.err"
    return 1
}
uses_no_cpu() { does_not_spin; }

# SIGTERM ends the server within a second.  The server may be a child of strace or of `field`.
now_ms() { local t; read -r t _ </proc/uptime; echo $((10#${t/./} * 10)); }
ends_within_a_second() {
    local begin
    begin=$(now_ms)
    kill -TERM "$SERVER_PID"
    wait_until 3 has_exited "$SERVER_PID" || return 1
    [ $(($(now_ms) - begin)) -lt 1500 ] || { echo "it took $(($(now_ms) - begin)) ms"; return 1; }
}
sigterm_ends_it() {
    check "SIGTERM after: $1" "the server ends within a second" \
        "stopping depends on the call that fails" ends_within_a_second
}

# The client asks for the end of its connection, and gets it.
to_its_end() { resume_client one && client_succeeded one; }

# ---- The listener fails ----

shut_listener_down() {
    start_server "$@"
    start_client one echo a print here wait echo b shutdown expect-eof
    client_printed one here
    "$FIELD" shutdown-listener "$SERVER_PID"
    listener_has_failed "a process with a copy of the listening socket called shutdown(), options: $*"
}
listener_has_failed() { # WHAT
    # -1 of stage 01 accepts again only when its client has left
    [ "$VARIANT" != "01-blocking -1" ] || check "$1" "the connected client is served to its end" \
        "the server ends with its listener" to_its_end
    check "$1" "one line on stderr says that no more clients are accepted" \
        "an error of accept() that is taken for a shortage, and tried again for ever" \
        wait_until 3 has_text "$TMP/server.err" 'no more clients are accepted$'
    check "$1" "it is one line" "each event reports it again" reported_once
    check "$1" "no CPU is used" "the listener is still watched: it reports HUP for ever" uses_no_cpu
    [ "$VARIANT" = "01-blocking -1" ] || check "$1" "the connected client is served to its end" \
        "the server ends with its listener" to_its_end
    check "$1" "still one line, and no CPU" "each event reports it again" reported_once
    check "$1" "no CPU is used once the client has left" "the listener is watched again" uses_no_cpu
    sigterm_ends_it "$1"
}

@test "the listener is shut down through a copy of it" {
    rule "a failed listener is reported once, and the connected clients are served to their end" "EINVAL from accept() treated as a shortage" "chapter 2"
    need_ours
    need_copies
    shut_listener_down
}

@test "the listener is shut down through a copy of it, with -v" {
    rule "a failed listener is reported once, with and without -v" "a message that only the log has" "chapter 2"
    need_ours
    need_copies
    shut_listener_down -v
}

@test "the listener is destroyed by ss -K" {
    rule "a failed listener is reported once, and the connected clients are served to their end" "EINVAL from accept() treated as a shortage" "chapter 2"
    need_ours
    need_copies
    need ss "to destroy the listening socket" "install iproute2"
    start_server
    start_client one echo a print here wait echo b shutdown expect-eof
    client_printed one here
    ss -K -H -l -t -n "sport = :$PORT" >"$TMP/killed" 2>&1 || :
    [ -s "$TMP/killed" ] || skip "ss -K destroys nothing here; to run it: a kernel with CONFIG_INET_DIAG_DESTROY"
    listener_has_failed "ss -K -l -t sport = :$PORT"
}

@test "accept says that its descriptor is no listening socket" {
    rule "a failed listener is reported once, and is not watched any more" "EBADF or ENOTSOCK from accept() treated as a shortage" "chapter 2"
    need_ours
    need_strace
    local error
    for error in EBADF ENOTSOCK EINVAL; do # a debugger has closed or replaced it
        WRAP=(strace -f -qq -o "$TMP/trace" -e trace=accept,accept4 -e "inject=accept,accept4:error=$error")
        start_server
        server_under_strace
        "$CLIENT" -t 5 "$PORT" connect || [ "${VARIANT%% *}" = 01-blocking ] # whose accept() has failed before
        check "strace: accept() fails with $error" "one line on stderr says that no more clients are accepted" \
            "an error of accept() that is taken for a shortage, and tried again for ever" \
            wait_until 3 has_text "$TMP/server.err" 'no more clients are accepted$'
        check "strace: accept() fails with $error" "no CPU is used" "the listener is still watched" uses_no_cpu
        check "strace: accept() fails with $error" "it is one line" "each event reports it again" reported_once
        sigterm_ends_it "accept() fails with $error"
    done
}

# ---- The wait fails ----

@test "the hard limit is lowered below what is open" {
    rule "with too low a limit the server serves those that fit, says so once, and can be stopped" "a recovery that raises the limit, which is not permitted any more" "chapter 3"
    need_ours
    need_linux "for prlimit"
    need prlimit "to lower the server's limit" "install util-linux"
    need_concurrent_clients
    local option
    for option in '' -v; do
        # shellcheck disable=SC2086
        start_server $option
        start_client one echo a print here wait echo b echo c print served wait shutdown expect-eof
        client_printed one here
        start_client two hold 20
        client_printed two holding
        prlimit --pid "$SERVER_PID" --nofile=8:8
        local what="prlimit --nofile=8:8 with 21 clients, server options: $option"
        resume_client one
        case $VARIANT in
        *" -s poll") ;; # poll() takes no part of the array there: nobody is served
        *) check "$what" "the first client, whose descriptor is low, is still served" \
            "the wait fails, and only the whole array is tried again" client_printed one served ;;
        esac
        case $VARIANT in
        03-poll | *" -s poll")
            check "$what" "one line says that nobody, or only some, are served" \
                "the failure of poll() is not reported, or each time" reported_once
            ;;
        esac
        check "$what" "no CPU is used" "poll() is repeated at once, or accept()" uses_no_cpu
        sigterm_ends_it "$what"
        kill "$PID_one" "$PID_two" 2>/dev/null || :
        rm -f "$TMP/one.in" "$TMP/two.in" "$TMP/one.out" "$TMP/two.out"
    done
}

wait_call() {
    case $VARIANT in
    *epoll* | *kqueue* | 07*) echo epoll_wait,epoll_pwait ;; # kqueue: the emulation
    *poll*) echo poll,ppoll ;;
    *select*) echo select,pselect6 ;;
    esac
}
# fail_wait ERROR [OPTION...]: from its second call on, the wait fails with this error.
fail_wait() {
    local error=$1
    shift
    case $(wait_call) in # poll(), with a timeout of 0, also asks whether there is room for output
    poll*) WRAP=(strace -f -qq -o "$TMP/trace" -e trace=poll,ppoll -e "inject=poll,ppoll:error=$error:when=2+") ;;
    *) WRAP=(strace -f -qq -o "$TMP/trace" -e "trace=$(wait_call)" -e "inject=$(wait_call):error=$error:when=2+") ;;
    esac
    start_server "$@"
    wait_until 3 find_child
    SERVER_PID=$CHILD
    PIDS="$SERVER_PID $PIDS"
    "$CLIENT" -t 5 "$PORT" connect # ends the first wait
    wait_until 3 has_text "$TMP/trace" INJECTED
}

@test "the wait fails for ever" {
    rule "a server that can serve nobody says so once, uses no CPU, and can be stopped" "the stop flag is looked at only after a wait that succeeds" "chapter 2"
    need_ours
    need_strace
    [ -n "$(wait_call)" ] || skip "expected: a blocking server has no wait of its own"
    local error
    for error in EBADF EINVAL ENOMEM; do
        fail_wait "$error"
        check "strace: each wait fails with $error" "one line on stderr says so, without -v" \
            "the error is only logged" reported_once
        check "strace: each wait fails with $error" "no CPU is used" "the wait is repeated at once" uses_no_cpu
        check "strace: each wait fails with $error" "the server pauses after each, longer than after EINTR" \
            "each error is treated as EINTR" waits_at_most_every_ms 20
        sigterm_ends_it "each wait fails with $error"
        [ "$(reports)" = 1 ]
        sed '1,/--- SIGTERM/d' "$TMP/trace" >"$TMP/afterwards"
        check "SIGTERM after: each wait fails with $error" "the server does not wait again" \
            "the stop flag is not looked at after a wait that failed" lacks_text "$TMP/afterwards" INJECTED
    done
    fail_wait EBADF -v
    check "strace: each wait fails with EBADF" "one line on stderr says so, with -v" "reported each time" reported_once
    sigterm_ends_it "each wait fails with EBADF, with -v"
}

# The number of calls of the wait in a moment, and the milliseconds that passed.  strace slows the server
# down, so its CPU time says less.
count_waits() {
    local begin
    begin=$(now_ms) calls=$(grep -c INJECTED "$TMP/trace")
    short_sleep 0.3
    passed=$(($(now_ms) - begin)) calls=$(($(grep -c INJECTED "$TMP/trace") - calls))
    echo "the wait was called $calls times in $passed ms"
}
# The wait is called at most twice in a millisecond.
waits_seldom() {
    local calls passed
    count_waits
    [ "$calls" -le $((2 * passed)) ]
}
waits_at_most_every_ms() { # MS
    local calls passed
    count_waits
    [ $(((calls - 1) * $1)) -le "$passed" ]
}

accepts_again() {
    case $VARIANT in
    07*) [ "$(grep -c 'resume coroutine [0-9]*$' "$TMP/server.err")" -ge 2 ] ;; # the listener's; first for its event
    *) has_text "$TMP/server.err" 'accept again$' ;;
    esac
}

@test "-v: a wait that failed is not logged as one that returned" {
    rule "the columns of a line tell what the wait returned" "the loop goes on although the wait has failed" "chapter 2"
    need_ours
    need_strace
    case $VARIANT in 01*) skip "expected: a blocking server has no wait of its own" ;; esac
    # While accepting is paused, the server logs each attempt to accept again, also after a failed wait.
    WRAP=(strace -f -qq -o "$TMP/trace" -e "trace=accept,accept4,$(wait_call)" -e inject=accept,accept4:error=EMFILE -e "inject=$(wait_call):error=ENOMEM:when=2+")
    start_server -v
    server_under_strace
    "$CLIENT" -t 5 "$PORT" connect
    wait_until 3 accepts_again
    cat "$TMP/server.err"
    lacks_text "$TMP/server.err" '-1 ready'
    sigterm_ends_it "accept() and the wait fail"
}

@test "each wait is interrupted" {
    rule "EINTR or EAGAIN for ever costs little CPU, and SIGTERM ends the server" "EINTR repeated without looking at the stop flag" "chapter 2"
    need_ours
    need_strace
    [ -n "$(wait_call)" ] || skip "expected: a blocking server has no wait of its own"
    local error
    for error in EINTR EAGAIN; do # some systems report a shortage of memory in poll() by EAGAIN
        fail_wait "$error"
        check "strace: each wait fails with $error" "little CPU is used" "the wait is repeated at once" uses_no_cpu
        check "strace: each wait fails with $error" "the server sleeps for a moment after each" "the wait is repeated at once" waits_seldom
        sigterm_ends_it "each wait fails with $error"
        [ "$error" = EAGAIN ] || check "strace: each wait fails with EINTR" "nothing is reported" \
            "a signal is taken for a failure of the server" lacks_text "$TMP/server.err" '^server: '
    done
}

@test "each write is interrupted" {
    rule "no error of write() can stop the server or keep it from being stopped" "a write that fails with EINTR is repeated without a limit; or the signal handler relies on its write()" "chapter 2"
    need_ours
    need_strace
    WRAP=(strace -f -qq -o "$TMP/trace" -P "$TMP/server.err" -e trace=write -e inject=write:error=EINTR)
    start_server -v
    wait_until 3 find_child
    PIDS="$CHILD $PIDS"
    check "strace: each write to stderr fails with EINTR" "a client is served" "the line is written again until it succeeds" \
        client echo a shutdown expect-eof
    kill -KILL "$CHILD"
    WRAP=(strace -f -qq -o "$TMP/trace" -P "$TMP/server.err" -e trace=write -e inject=write:error=EINTR:when=1+2)
    start_server -v
    wait_until 3 find_child
    PIDS="$CHILD $PIDS"
    client echo a shutdown expect-eof
    check "strace: every second write to stderr fails with EINTR" "no line is dropped" "EINTR taken for an output that nobody reads" \
        wait_until 3 has_text "$TMP/server.err" 'recv 1\|send 1'
    lacks_text "$TMP/server.err" 'dropped'
    kill -KILL "$CHILD"
    case $VARIANT in *kqueue*) return 0 ;; esac # the emulation writes a notice first
    # Without -v the server writes twice: where it listens, and into the pipe that ends its wait.
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=write -e inject=write:error=EINTR:when=2+)
    start_server
    wait_until 3 find_child
    SERVER_PID=$CHILD
    PIDS="$SERVER_PID $PIDS"
    sigterm_ends_it "strace: the write in the signal handler fails with EINTR"
}

@test "a debugger closes the epoll descriptor" {
    rule "a server that can serve nobody says so once, uses no CPU, and can be stopped" "the stop flag is looked at only after a wait that succeeds" "chapter 4"
    need_ours
    need_linux "for epoll"
    need gdb "to close a descriptor of the server" "install gdb"
    need_ptrace
    start_server
    local link fd=''
    for link in "/proc/$SERVER_PID/fd/"*; do
        [ "$(readlink "$link")" != 'anon_inode:[eventpoll]' ] || fd=${link##*/}
    done
    [ -n "$fd" ] || skip "expected: no epoll in this stage"
    next_client_works
    gdb -p "$SERVER_PID" -batch -nx -ex "call (int)close($fd)" >"$TMP/gdb" 2>&1 3>&-
    [ ! -e "/proc/$SERVER_PID/fd/$fd" ] || skip "gdb could not close a descriptor here; to run it: a gdb that can call functions"
    check "gdb: close($fd), the epoll descriptor" "one line on stderr says so" "the error is only logged" reported_once
    check "gdb: close($fd), the epoll descriptor" "no CPU is used" "the wait is repeated at once" uses_no_cpu
    sigterm_ends_it "gdb closed the epoll descriptor"
    [ "$(reports)" = 1 ]
}

# ---- Nobody reads the log ----

ECHOES=2000 # their log lines fill a pipe, a socket or a pseudo-terminal

# start_with_output KIND USER [OPTION...]: start the server with this as its stderr; nobody reads.
start_with_output() {
    local kind=$1 user=$2
    shift 2
    rm -rf "$TMP/output"
    mkdir "$TMP/output"
    WRAP=(${PRELOAD[@]+"${PRELOAD[@]}"} "$FIELD" output "$kind" "$user" "$TMP/output")
    start_server "$@"
    wait_until 3 find_child
    SERVER_PID=$CHILD
    PIDS="$SERVER_PID $PIDS"
    FDS_AT_START=$(fd_count)
}
command_output() { printf '%s' "$1" >"$TMP/output/commands"; }
pace() { "$FIELD" pace "$PORT" "$SERVER_PID" "$1"; }
all_left() { wait_until 3 fd_count_is "$FDS_AT_START"; }

# How many lines the server logs in the test: the same clients, and a file that takes them all.
# Sets COUNTS to a file with two numbers, without the last client and for that client, and COMPLETE to
# one with each line once.  The first test that needs them leaves them for the others of this run.
lines_to_a_file() {
    local first kept=${BATS_FILE_TMPDIR:-$TMP}
    COUNTS=$kept/counts COMPLETE=$kept/complete-lines
    [ ! -e "$COUNTS" ] || return 0
    WRAP=()
    start_server -v
    pace "$ECHOES"
    all_left
    first=$(wc -l <"$TMP/server.err")
    pace 1
    all_left
    tr '0-9' 0 <"$TMP/server.err" | tr -s 0 | tr -s ' ' | sort -u >"$COMPLETE"
    echo "$first" $(($(wc -l <"$TMP/server.err") - first)) >"$COUNTS"
    kill -KILL "$SERVER_PID"
}
# The lines that were read and those that were reported as dropped are all lines.  Edge-triggered, the
# number of lines itself varies: if a FIN arrives before recv() finds nothing left, there is no line
# with EAGAIN.
number_is_right() { # WRITTEN
    local got dropped difference tolerance=0
    case $VARIANT in *' -e') tolerance=5 ;; esac
    got=$(tr -d '\r' <"$TMP/output/log" | tr '0-9' 0 | tr -s 0 | tr -s ' ' | grep -c -x -F -f "$COMPLETE")
    dropped=$(tr -d '\r' <"$TMP/output/log" | awk '/^server: [0-9]+ log lines? dropped$/ { n += $2 } END { print n + 0 }')
    echo "$1 lines were written; $got were read and $dropped reported as dropped"
    difference=$((got + dropped - $1))
    [ "$dropped" -gt 0 ] && [ "${difference#-}" -le "$tolerance" ]
}
# The reader may still be behind when the next client comes.  Then another one tells the number.
a_client_tells() { # WRITTEN EACH
    local i written=$1
    for i in 1 2 3 4 5 6 7 8 9 10; do
        pace 1 && all_left || return 1
        written=$((written + $2))
        ! wait_until 1 number_is_right "$written" >"$TMP/numbers" || return 0
    done
    tail -n 1 "$TMP/numbers"
    sort <"$TMP/output/log" | uniq -c | sort -n | tail -n 20
    return 1
}
stderr_is_open_once() {
    local link stderr others=0
    stderr=$(readlink "/proc/$SERVER_PID/fd/2")
    for link in "/proc/$SERVER_PID/fd/"*; do
        [ "${link##*/}" -le 2 ] || [ "$(readlink "$link")" != "$stderr" ] || others=$((others + 1))
    done
    [ -n "$stderr" ] && [ "$others" = 0 ] && return
    echo "$others descriptors other than stderr refer to $stderr"
    return 1
}
answered_f_twice() { [ "$(grep -c '^blocking$' "$TMP/output/said")" = 2 ]; }

# unread KIND USER [stopped]: the whole story.
unread() {
    local what written each
    [ -n "${OURS:-}" ] || skip "is about our own log; to run it: make test without SERVER="
    need_field
    [ "$(id -u)" = 0 ] || [ "$2" = 0 ] || skip "needs root (to start the server as another user); to run it: sudo make test"
    [ "$2" = 0 ] || setpriv --reuid="$2" --regid="$2" --clear-groups test -x "$SERVER" ||
        skip "user $2 may not enter the folder of the server; to run it: a checkout that other users may read"
    what="-v with a $1 that nobody reads as stderr, ${3:-as user $2}"
    lines_to_a_file
    read -r written each <"$COUNTS"
    [ "$written" -gt "$ECHOES" ]
    start_with_output "$1" "$2" -v
    check "$what" "of the descriptors, only stderr refers to it" \
        "the server opens it once more and forgets one of the descriptors" stderr_is_open_once
    [ "${3:-}" != stopped ] || command_output s
    check "$what" "$ECHOES echoes are served" "write() to stderr blocks" pace "$ECHOES"
    check "$what" "no CPU is used" "the write is repeated at once" uses_no_cpu
    command_output f
    check "$what" "the open file that others share stays blocking" \
        "O_NONBLOCK set on an inherited descriptor; it belongs to the open file" wait_until 3 has_text "$TMP/output/said" '^blocking$'
    all_left
    if [ "${3:-}" = stopped ]; then
        command_output qrf # the second answer to f says that Ctrl-Q has been typed
        wait_until 3 answered_f_twice
    else
        command_output r
        wait_until 5 has_text "$TMP/output/said" drained
    fi
    check "$what; then all was read" "the next line says how many were dropped, and the number is right" \
        "a dropped line that is not counted, or counted twice" a_client_tells "$written" "$each"
    sigterm_ends_it "$what"
    check "$what" "exit code 0" "a signal that reports a failed write is not ignored" wait_until 3 has_text "$TMP/output/said" '^exit 0$'
}
unread_rule() { rule "nothing that reads the server's output can stop the server; dropped lines are counted" "a write() to stderr that blocks" "chapter 1"; }

@test "a pipe that nobody reads" {
    unread_rule
    unread pipe 0
}

@test "a FIFO that nobody reads" {
    unread_rule
    unread fifo 0
}

@test "a stream socket that nobody reads" {
    unread_rule
    unread stream 0
}

@test "a datagram socket that nobody reads" {
    unread_rule
    unread dgram 0
}

@test "a terminal that nobody reads" {
    unread_rule
    unread pty 0
}

@test "a terminal that nobody reads, and that the server may not open" {
    unread_rule
    unread pty 65534
}

@test "a pipe that nobody reads, and that the server may not open" {
    unread_rule
    unread pipe 65534
}

@test "a terminal stopped with Ctrl-S" {
    unread_rule
    unread pty 0 stopped
}

@test "a terminal stopped with Ctrl-S, and that the server may not open" {
    unread_rule
    unread pty 65534 stopped
}

@test "a background job of a terminal with stty tostop" {
    rule "SIGTTOU does not stop the server" "the default action of SIGTTOU, which stops the process" "chapter 1"
    need_ours
    need_field
    start_with_output tostop 0 -v
    check "-v in the background of a terminal with tostop" "100 echoes are served" "SIGTTOU is not ignored: the server is stopped" pace 100
    command_output r
    check "-v in the background of a terminal with tostop" "the log is written" "SIGTTOU is blocked, and write() returns EIO" wait_until 3 has_text "$TMP/output/log" '^accept\|accept: '
    sigterm_ends_it "a background job of a terminal with tostop"
}

@test "the log reaches the file-size limit" {
    rule "a file that has reached RLIMIT_FSIZE costs log lines only" "the default action of SIGXFSZ, which ends the process" "chapter 1"
    need_ours
    need_field
    WRAP=(bash -c 'ulimit -f 4; exec "$@"' -)
    start_server -v
    check "ulimit -f 4, then 300 echoes with -v" "all are served" "SIGXFSZ is not ignored" pace 300
    check "ulimit -f 4, then 300 echoes with -v" "the next client is served" "SIGXFSZ is not ignored" next_client_works
    [ "$(wc -c <"$TMP/server.err")" -ge 4000 ] || { echo "the limit was never reached: this test tested nothing"; return 1; }
    check "ulimit -f 4, then 300 echoes with -v" "no CPU is used" "the write is repeated at once" uses_no_cpu
    sigterm_ends_it "a log file at its limit"
}

@test "the disk of the log is full" {
    rule "ENOSPC costs log lines only" "a failed write taken as fatal, or repeated for ever" "chapter 1"
    need_ours
    need_field
    WRAP=(bash -c 'exec "$@" 2>/dev/full' -)
    start_server -v
    check "-v 2>/dev/full" "300 echoes are served" "a failed write taken as fatal" pace 300
    check "-v 2>/dev/full" "no CPU is used" "the write is repeated at once" uses_no_cpu
    sigterm_ends_it "stderr is /dev/full"
}

@test "stdout is full: stderr says where the server listens" {
    rule "a server whose stdout takes no output tells its address on stderr" "the port that -p 0 chose is lost" "chapter 1"
    need_ours
    need_linux "for /dev/full"
    local port
    # shellcheck disable=SC2086
    (
        close_inherited
        exec "$SERVER" ${VARIANT_ARGS:-} -p 0
    ) >/dev/full 2>"$TMP/server.err" &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    check "-p 0 >/dev/full" "stderr has: listening on 127.0.0.1:PORT" "the failed write is ignored" wait_until 3 has_text "$TMP/server.err" 'listening on 127.0.0.1:[0-9]'
    cat "$TMP/server.err"
    grep -q 'No space left on device' "$TMP/server.err"
    PORT=$(sed -n 's/.*listening on 127.0.0.1:\([0-9]*\).*/\1/p' "$TMP/server.err")
    next_client_works
    stop_server
}

@test "stdout is a full pipe: stderr says where the server listens, and why" {
    rule "a server whose stdout takes no output tells its address on stderr" "the message names another error, or none" "chapter 1"
    need_ours
    need_linux "for the size of a pipe"
    need_root "to start the server as another user, who may not open the pipe"
    need setpriv "to run the server as another user" "install util-linux"
    cp "$SERVER" "$TMP/server"
    chmod 755 "$TMP" "$TMP/server"
    local user
    for user in root nobody; do
        test_case "the server runs as $user"
        WRAP=()
        [ "$user" = root ] || WRAP=(setpriv --reuid=65534 --regid=65534 --clear-groups)
        mkfifo -m 600 "$TMP/full.$user"
        exec 9<>"$TMP/full.$user"
        head -c 65536 /dev/zero >&9 # all that a pipe holds
        # shellcheck disable=SC2086
        (
            exec >&9
            close_inherited
            exec ${WRAP[@]+"${WRAP[@]}"} "$TMP/server" ${VARIANT_ARGS:-} -p 0
        ) 2>"$TMP/server.err" &
        SERVER_PID=$!
        PIDS="$SERVER_PID $PIDS"
        check "-p 0 into a full pipe" "stderr has: cannot write to stdout (Resource temporarily unavailable)" \
            "errno is that of another call" wait_until 3 has_text "$TMP/server.err" 'stdout (Resource temporarily unavailable); listening on 127.0.0.1:[0-9]'
        PORT=$(sed -n 's/.*listening on 127.0.0.1:\([0-9]*\).*/\1/p' "$TMP/server.err")
        next_client_works
        stop_server
        exec 9>&-
    done
}

# ---- Accepting is paused; nothing happens; no memory ----

# The server is a child of strace.
server_under_strace() {
    wait_until 3 find_child
    SERVER_PID=$CHILD
    PIDS="$SERVER_PID $PIDS"
}

@test "the listener cannot be watched again after a shortage: the server tries once more" {
    rule "accepting resumes, even if the first attempt to watch the listener again fails" "the result of the call is ignored, so no event ever arrives for the listener" "chapter 2"
    need_strace
    need_ours
    case $VARIANT in 04* | *epoll | 07*) ;; *) skip "expected: this stage makes no epoll_ctl call for the listener" ;; esac
    # accept() fails once; epoll_ctl() succeeds for its removal, and fails when the listener is added again
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=accept,accept4,epoll_ctl -e inject=accept,accept4:error=EMFILE:when=1 -e inject=epoll_ctl:error=ENOMEM:when=4)
    start_server
    server_under_strace
    client echo a shutdown expect-eof
    cat "$TMP/trace"
    [ "$(grep -c INJECTED "$TMP/trace")" = 2 ]
    grep -q 'EPOLL_CTL_ADD.*INJECTED' "$TMP/trace"
    next_client_works
    local lines
    lines=$(wc -l <"$TMP/trace")
    short_sleep 0.35 # the listener is watched again, so the attempts have ended
    tail -n +"$((lines + 1))" "$TMP/trace" >"$TMP/afterwards"
    lacks_text "$TMP/afterwards" 'EPOLL_CTL_ADD\|accept'
}

@test "an idle server does not wake up" {
    rule "while nothing happens, the wait has no timeout" "a timeout that is only needed during a pause is used always" "chapter 2"
    need_linux "to read how often the server sleeps"
    need_ours
    start_server
    start_client one echo a print here wait shutdown expect-eof
    client_printed one here
    "$PROBE" -p "$SERVER_PID" 0 asleep
    local before
    before=$(sleep_count)
    short_sleep 0.45
    echo "the server has gone to sleep $(($(sleep_count) - before)) times during 450 ms without traffic"
    [ $(($(sleep_count) - before)) -le 1 ]
    resume_client one
    client_succeeded one
}

@test "after a shortage, a client that leaves ends the pause at once" {
    rule "accepting resumes as soon as a descriptor is free, and not only after a pause" "closing a client does not resume accepting" "chapter 2"
    need_strace
    need_ours
    case $VARIANT in 04* | *epoll | 07*) ;; *) skip "expected: this stage makes no epoll_ctl call for the listener" ;; esac
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=accept,accept4,epoll_ctl,epoll_wait,epoll_pwait,recvfrom -e inject=accept,accept4:error=EMFILE:when=3+)
    start_server
    server_under_strace
    start_client one echo a print here wait shutdown expect-eof # accept() is called twice: once more, for EAGAIN
    client_printed one here
    start_client two connect
    wait_until 3 has_text "$TMP/trace" INJECTED
    resume_client one
    client_succeeded one
    wait_until 3 waits_after_the_end
    sed -n '/recvfrom(.* = 0$/,/epoll_p*wait(/p' "$TMP/trace"
    sed -n '/recvfrom(.* = 0$/,/epoll_p*wait(/p' "$TMP/trace" | grep -q EPOLL_CTL_ADD
    lacks_text "$TMP/trace" 'epoll_ctl(.* = -1' # nothing is removed twice
}
# The trace has a wait after the client's end of input.
waits_after_the_end() { sed '1,/recvfrom(.* = 0$/d' "$TMP/trace" | grep -q 'epoll_p*wait('; }

@test "each allocation fails in turn: the server says why it cannot start, or closes one client" {
    rule "ENOMEM ends one client, not the server" "the result of malloc(), calloc() or realloc() is not checked" "chapter 2"
    need_ours
    need_shim
    local n long
    long=$(printf '%01000d' 0)
    for n in 1 2 3 4 5 6 7 8 9 10; do
        WRAP=(env "SHIM_FAULTS=send:short=1+1,allocation:enomem=$n" "LD_PRELOAD=$SHIM")
        test_case "allocation $n fails"
        if start_server >"$TMP/why"; then
            client send "$long" shutdown expect-closed || client echo "$long" shutdown expect-eof
            next_client_works || next_client_works
            stop_server
        else
            cat "$TMP/why"
            wait "$SERVER_PID" || [ $? = 1 ]
            grep -q '^server: ' "$TMP/server.err"
        fi
    done
    WRAP=()
}

# ---- Threads: stage 01 ----

@test "1,000 refused threads, and nobody reads stderr" {
    rule "a client for whom there is no thread is closed, whether or not anybody reads the message" "a write() to stderr that blocks in the accepting thread" "chapter 1"
    [ "$VARIANT" = 01-blocking ] || skip "expected: this stage makes no threads"
    need_field
    need_root "to run the server as another user, whom the limit applies to"
    need setpriv "to limit the server's threads with prlimit" "install util-linux"
    local user=$((60000 + RANDOM % 4000)) kind what
    for kind in pipe pty; do
        what="stderr is a $kind that nobody reads; prlimit --nproc=1, then 1,000 clients"
        start_with_output "$kind" "$user"
        next_client_works
        limit_threads "$user" 1
        check "$what" "each client is closed" "the accepting thread blocks in write()" refused 1000
        limit_threads "$user" 1000
        check "$what; then --nproc=1000" "the next client is served" "the accepting thread blocks in write()" next_client_works
        server_unaffected
        command_output r
        check "$what" "stderr names the error" "no message" wait_until 3 has_text "$TMP/output/log" 'no thread for fd [0-9]*: Resource temporarily unavailable'
        sigterm_ends_it "$what"
    done
}
limit_threads() { # USER NUMBER
    setpriv --reuid="$1" --regid="$1" --clear-groups prlimit --pid "$SERVER_PID" --nproc="$2":
}
refused() { # NUMBER, a multiple of 100
    local i steps=()
    for ((i = 0; i < 100; i++)); do steps+=(connect expect-closed close); done
    for ((i = 0; i < $1; i += 100)); do client "${steps[@]}" || return 1; done
}

@test "a preloaded library with much thread-local storage" {
    rule "a thread's stack has room for the buffer, whatever thread-local storage takes" "glibc takes the storage out of the stack: EINVAL, or a stack overflow" "chapter 1"
    [ "$VARIANT" = 01-blocking ] || skip "expected: this stage makes no threads"
    need_shim
    need_field
    local size
    for size in 49000 60000 1000000; do
        [ -e "$TESTS/build/tls-$size.so" ] || skip "needs tests/build/tls-$size.so; to run it: make -C tests/programs field"
        WRAP=(env "LD_PRELOAD=$TESTS/build/tls-$size.so")
        start_server
        check "LD_PRELOAD with $size bytes of thread-local storage" "a thread echoes 300,000 bytes" \
            "a stack of a fixed size: the storage takes it" client random 300000 shutdown expect-eof
        start_client one hold 50
        check "LD_PRELOAD with $size bytes of thread-local storage" "50 threads at once" "no memory" client_printed one holding
        kill "$PID_one"
        check "LD_PRELOAD with $size bytes of thread-local storage" "the server is well" "a thread that crashed" next_client_works
        server_unaffected
        [ ! -s "$TMP/server.err" ]
        stop_server
    done
}

# ---- Copies of a client's socket ----

@test "another process holds a copy of a client's socket" {
    rule "a client that has left is forgotten, even if its socket lives on in another process" "close() alone does not remove a socket from epoll while there is a copy of it" "chapter 4"
    need_copies
    local before fd copies
    start_server
    before=$(cd "/proc/$SERVER_PID/fd" && echo *)
    for copies in 1 2 3; do
        start_client one echo a print here wait echo b shutdown
        client_printed one here
        fd=$(cd "/proc/$SERVER_PID/fd" && for i in *; do [[ " $before " == *" $i "* ]] || echo "$i"; done)
        copy_descriptor "$fd"
        resume_client one
        check "a copy of fd $fd is held, its client leaves" "the server closes its descriptor" "the server waits for the copy" all_left
        check "a copy of fd $fd is held, its client has left" "no CPU is used" "epoll reports the copy for ever" uses_no_cpu
        wait "$PID_one" || :
        start_client two echo c print here wait echo d shutdown expect-eof
        check "a copy of fd $fd is held, a new client gets the same number" "it is served" \
            "an event of the old socket is taken for the new client's" client_printed two here
        # a blocking accept() reserves the next number before it waits
        [ "${VARIANT%% *}" = 01-blocking ] || [ -e "/proc/$SERVER_PID/fd/$fd" ] || { echo "the new client did not get $fd: this test tested nothing"; return 1; }
        check "a copy of fd $fd is held, its client has left" "no CPU is used for the new one either" "epoll reports the copy for ever" uses_no_cpu
        resume_client two
        client_succeeded two
        exec 4>&- 5>&-
        rm -f "$TMP/one."* "$TMP/two."*
    done
    server_unaffected
}
copy_descriptor() {
    mkfifo "$TMP/copy.$copies"
    "$FIELD" copy "$SERVER_PID" "$1" <>"$TMP/copy.$copies" >"$TMP/copied.$copies" 2>&1 3>&- &
    PIDS="$! $PIDS"
    wait_until 3 has_text "$TMP/copied.$copies" copied
}

# ---- Errors of accept() ----

@test "accept returns the network errors of a new connection" {
    rule "an error of one new connection: accept the next one at once" "every error of accept() treated as a shortage: a pause for each" "chapter 2"
    need_strace
    local error
    for error in ENETDOWN EPROTO ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH EOPNOTSUPP ENETUNREACH \
        ECONNABORTED EPERM ETIMEDOUT ${OURS:+EINTR}; do # EINTR is treated in the same way
        WRAP=(strace -f -qq -o "$TMP/trace" -e trace=accept,accept4 -e "inject=accept,accept4:error=$error:when=1..20")
        start_server
        NEXT_SECONDS=1 check "strace: accept() fails 20 times with $error" "a client is served within a second" \
            "a pause after each error, or the server's end" next_client_works
        [ "$(grep -c INJECTED "$TMP/trace")" = 20 ] || { echo "the fault was not injected 20 times"; return 1; }
        is_foreign || check "strace: accept() fails 20 times with $error" "nothing is reported" \
            "every error of accept() treated as a shortage" lacks_text "$TMP/server.err" '^server: '
    done
}

@test "accept finds no descriptor or memory for good: no CPU is used" {
    rule "a shortage at accept(): pause, and accept again after a moment" "accept() repeated at once" "chapter 2"
    need_strace
    need_concurrent_clients
    local error
    for error in EMFILE ENFILE ENOBUFS ENOMEM; do
        WRAP=(strace -f -qq -o "$TMP/trace" -e trace=accept,accept4 -e "inject=accept,accept4:error=$error:when=2+")
        start_server
        wait_until 3 find_child
        SERVER_PID=$CHILD
        PIDS="$SERVER_PID $PIDS"
        "$CLIENT" -t 5 "$PORT" echo a
        "$CLIENT" -t 5 "$PORT" connect # it stays in the backlog
        wait_until 3 has_text "$TMP/trace" INJECTED
        check "strace: accept() fails with $error for ever" "no CPU is used" "accept() is repeated at once" uses_no_cpu
        [ -z "${OURS:-}" ] || sigterm_ends_it "accept() fails with $error for ever"
    done
}

# ---- Start-up ----

# refuses_to_listen ADDRESS: one clear line that names it, exit code 1, within 5 seconds.
refuses_to_listen() {
    local status=0
    # shellcheck disable=SC2086
    (close_inherited; exec timeout 5 ${WITHIN:-} "$SERVER" ${VARIANT_ARGS:-} -p 0 -b "$1") >"$TMP/out" 2>"$TMP/err" || status=$?
    cat "$TMP/out" "$TMP/err"
    [ "$status" = 1 ] && [ ! -s "$TMP/out" ] && [ "$(grep -c '^server: ' "$TMP/err")" = 1 ] &&
        grep -qF -e "$1" "$TMP/err" && grep -q "nobody can connect to it\|not an address of this machine" "$TMP/err"
}
multicast_rule() { rule "an address that nobody can connect to is refused: one clear line, exit 1" "bind() and listen() accept multicast and broadcast addresses" "chapter 1"; }

@test "a multicast or broadcast address: one line, exit 1" {
    multicast_rule
    need_ours
    local address
    for address in 255.255.255.255 127.255.255.255 224.0.0.1 239.1.2.3 ff02::1 ff05::2 ::ffff:224.0.0.1 ::ffff:127.255.255.255; do
        check "-b $address" "one line that names it, exit 1" "bind() accepts it" refuses_to_listen "$address"
    done
}

@test "the broadcast address of a subnet: one line, exit 1" {
    multicast_rule
    need_ours
    need_linux "for network namespaces"
    need_root "for a network namespace of its own"
    need ip "to set up an interface" "install iproute2"
    unshare -n true 2>/dev/null || skip "no network namespaces here; to run it: CAP_SYS_ADMIN"
    cat >"$TMP/within" <<'END'
ip link set lo up
ip link add veth0 type veth peer name veth1 && ip address add 10.9.8.1/24 brd + dev veth0 && ip link set veth0 up && ip link set veth1 up
exec "$@"
END
    WITHIN="unshare -n sh $TMP/within" check "-b 10.9.8.255, the broadcast address of a veth" \
        "one line that names it, exit 1" "bind() accepts it" refuses_to_listen 10.9.8.255
    WITHIN="unshare -n" check "-b 255.255.255.255, without a route to it" \
        "one line that names it, exit 1" "bind() accepts it, and connect() fails with ENETUNREACH" refuses_to_listen 255.255.255.255
}

@test "no memory to look up the address" {
    rule "an error message names the error that happened" "every failure of getaddrinfo() explained as a wrong address" "chapter 1"
    need_ours
    need_shim
    local status=0
    # shellcheck disable=SC2086
    env SHIM_FAULTS=getaddrinfo:eai_memory=1 LD_PRELOAD="$SHIM" "$SERVER" ${VARIANT_ARGS:-} -p 0 >"$TMP/out" 2>"$TMP/err" 3>&- || status=$?
    cat "$TMP/err"
    [ "$status" = 1 ]
    [ "$(grep -c '^server: ' "$TMP/err")" = 1 ]
    ! grep -q 'numeric address' "$TMP/err" || return 1
    grep -qi 'memory' "$TMP/err"
}

@test "getaddrinfo and getnameinfo fail: one line names the error" {
    rule "an error message names the error that happened" "the error of getaddrinfo() taken for a wrong address, or that of getnameinfo() ignored" "chapter 1"
    need_ours
    need_shim
    # shellcheck disable=SC2086
    {
        check "getaddrinfo() fails with EAI_SYSTEM and EMFILE" "one line with the text of EMFILE, exit 1" "only EAI_SYSTEM itself is printed" \
            fails '^server: getaddrinfo: Too many open files$' env SHIM_FAULTS=getaddrinfo:eai_system=1 LD_PRELOAD="$SHIM" "$SERVER" ${VARIANT_ARGS:-} -p 0
        check "getnameinfo() fails" "one line that names it, exit 1" "the result of getnameinfo() is ignored" \
            fails '^server: getnameinfo: .*[Mm]emory' env SHIM_FAULTS=getnameinfo:eai_memory=1 LD_PRELOAD="$SHIM" "$SERVER" ${VARIANT_ARGS:-} -p 0
        need_strace
        check "getsockname() fails" "one line that names it, exit 1" "the result of getsockname() is ignored" \
            fails '^server: getsockname: No buffer space available$' strace -qq -o "$TMP/trace" -e trace=getsockname -e inject=getsockname:error=ENOBUFS "$SERVER" ${VARIANT_ARGS:-} -p 0
    }
}

@test "too many inherited descriptors for select()" {
    rule "a server that cannot start says why: too many open files" "the selector's own error, which names no cause" "chapter 2"
    need_ours
    need_linux "to look at the descriptors"
    case $VARIANT in 02-select | *" -s select") ;; *) skip "expected: only select() has this limit" ;; esac
    [ "$(ulimit -Hn)" -ge 1200 ] || skip "needs 1,200 descriptors; to run it: ulimit -Hn 1200"
    # shellcheck disable=SC2016 # the other shell expands them
    local status=0 within='ulimit -n 1200; for ((fd = 3; fd < 1100; fd++)); do eval "exec $fd</dev/null"; done; exec "$@"'
    # shellcheck disable=SC2086
    bash -c "$within" - timeout 5 "$SERVER" ${VARIANT_ARGS:-} -p 0 >"$TMP/out" 2>"$TMP/err" || status=$?
    cat "$TMP/out" "$TMP/err"
    [ "$status" = 1 ]
    grep -q '^server: .*: Too many open files$' "$TMP/err"
}

# ---- The machine is set up differently ----

# in_namespace COMMANDS: set NS to the words that run a command in a network namespace of its own,
# where these commands have been run before.
in_namespace() { NS=(unshare -n sh -c "ip link set lo up; $1"$'\nexec "$@"' -); }
# fails PATTERN COMMAND...: the command prints one line, which has the pattern, on stderr, and exits
# with 1.
fails() {
    local status=0
    (close_inherited; exec timeout 5 "${@:2}") >"$TMP/out" 2>"$TMP/err" || status=$?
    cat "$TMP/out" "$TMP/err"
    [ "$status" = 1 ] && [ ! -s "$TMP/out" ] && [ "$(grep -c '^server: ' "$TMP/err")" = 1 ] && grep -q -e "$1" "$TMP/err"
}
need_namespace() {
    need_linux "for network namespaces"
    need_root "to create a network namespace"
    need ip "to set up the network" "install iproute2"
    unshare -n true 2>/dev/null || skip "cannot create a network namespace; to run it: CAP_SYS_ADMIN"
}

@test "a connect() that fails once is not taken for a sign of a broadcast address" {
    rule "an address is refused only if SO_BROADCAST makes the difference" "each error of connect() is taken for EACCES" "chapter 1"
    need_ours
    need_strace
    WRAP=(strace -f -qq -o "$TMP/trace" -e trace=connect -e inject=connect:error=EAGAIN:when=1) # connect(2): no port is free
    check "strace: the first connect() fails with EAGAIN" "the server listens on 127.0.0.1" \
        "each error of connect() is taken for EACCES" start_server
    server_under_strace
    grep -q INJECTED "$TMP/trace"
    next_client_works
}

@test "a routing rule that refuses UDP is not taken for a broadcast address" {
    rule "the server starts, whatever else causes EACCES" "connect() failed with EACCES: \"a broadcast address\"" "chapter 1"
    need_ours
    need_namespace
    local what="ip rule add prohibit to 127.0.0.0/8 ipproto udp"
    in_namespace 'ip rule add pref 1 lookup local && ip rule del pref 0 && ip rule add pref 0 prohibit to 127.0.0.0/8 ipproto udp || exit 77'
    "${NS[@]}" true || skip "no such rules here; to run it: a kernel with CONFIG_IP_MULTIPLE_TABLES"
    WRAP=("${NS[@]}")
    check "$what" "the server listens on 127.0.0.1" \
        "EACCES taken for the sign of a broadcast address, which the kernel gives for other reasons too" start_server
    check "$what" "a client is served" "" nsenter "--net=/proc/$SERVER_PID/ns/net" "$CLIENT" "$PORT" echo a shutdown expect-eof
    stop_server
}

@test "the advice of a start-up error fits the error" {
    rule "the message names what to do, and not what was done already" "one errno has several causes, and the message knows only one" "chapter 1"
    need_ours
    need_namespace
    need setpriv "to run the server as another user" "install util-linux"
    in_namespace 'echo 40000 40000 >/proc/sys/net/ipv4/ip_local_port_range'
    WRAP=("${NS[@]}")
    start_server
    check "-p 0, and all ports that the kernel may choose are in use" "the line says that no port is free" \
        "EADDRINUSE taken for: another program uses this port" \
        fails 'every port that the kernel may choose is in use' nsenter "--net=/proc/$SERVER_PID/ns/net" "$SERVER" -p 0
    stop_server
    cp "$SERVER" "$TMP/server"
    chmod 755 "$TMP" "$TMP/server"
    in_namespace 'echo 9000 >/proc/sys/net/ipv4/ip_unprivileged_port_start'
    check "-p 5566 as nobody; ip_unprivileged_port_start=9000" "the line does not advise -p 5566" \
        "EACCES taken for: a port below 1024" fails 'Permission denied (.*; try -p 0)' \
        "${NS[@]}" setpriv --reuid=65534 --regid=65534 --clear-groups "$TMP/server" -p 5566
    in_namespace 'ip link add cable0 type veth peer name cable1 && ip link set cable0 up && ip link set cable1 up
        echo 10 >/proc/sys/net/ipv6/conf/cable0/dad_transmits
        ip -6 address add 2001:db8::1/64 dev cable0'
    check "-b 2001:db8::1 while the kernel looks for a duplicate" "the line says that the address may not be ready" \
        "EADDRNOTAVAIL taken for: not an address of this machine" fails 'or not ready yet' "${NS[@]}" "$SERVER" -p 0 -b 2001:db8::1
    in_namespace 'ip -6 address add fe80::1/64 dev lo nodad'
    check "-b fe80::1" "the line says that the interface is missing" "EINVAL has no advice" \
        fails 'add its interface' "${NS[@]}" "$SERVER" -p 0 -b fe80::1
    WRAP=("${NS[@]}")
    ADDRESS=fe80::1%lo start_server
    check "-b fe80::1%lo" "a client is served" "the interface is lost: sin6_scope_id is 0" \
        nsenter "--net=/proc/$SERVER_PID/ns/net" "$CLIENT" -b fe80::1%lo "$PORT" echo a shutdown expect-eof
    grep -qxF "listening on [fe80::1%lo]:$PORT" "$TMP/server.out"
    stop_server
}

@test "the clock is set back while accepting is paused" {
    rule "accepting resumes, whatever happens to the clock" "the end of the pause is far away on the new clock" "chapter 2"
    need_ours
    need_shim
    need_linux "for prlimit"
    need prlimit "to lower the server's limit" "install util-linux"
    case $VARIANT in 01-blocking*) skip "expected: this stage does not look at the clock" ;; esac
    local call what
    for call in 2 3 4 5; do
        what="all descriptors are in use; from the clock_gettime() number $call on, it is an hour earlier"
        WRAP=(env "SHIM_FAULTS=clock_gettime:back=$call+1" "LD_PRELOAD=$SHIM")
        start_server
        start_client one echo a print here wait echo b shutdown expect-eof
        client_printed one here
        prlimit --pid "$SERVER_PID" --nofile="$(fd_count):"
        start_client two echo c shutdown expect-eof
        wait_until 3 has_text "$TMP/server.err" 'new clients wait$'
        wait_until 3 has_text "$TMP/server.err" '^shim: the clock is set back$'
        prlimit --pid "$SERVER_PID" --nofile=1000:
        check "$what" "the client that waits is served within 3 seconds" \
            "the server waits until the old time has come again" wait_until 3 has_exited "$PID_two"
        client_succeeded two
        resume_client one
        client_succeeded one
        check "$what" "no CPU is used" "a negative or zero timeout, for ever" uses_no_cpu
        stop_server
        rm -f "$TMP/one."* "$TMP/two."*
    done
}

@test "a debugger closes a client's descriptor" {
    rule "a descriptor that was closed by somebody else affects one client only" "select() fails with EBADF for all descriptors" "chapter 2"
    need_linux "to look at the descriptors"
    need gdb "to close a descriptor of the server" "install gdb"
    need_ptrace
    local before fd what
    start_server
    before=$(cd "/proc/$SERVER_PID/fd" && echo *)
    start_client one echo a print here wait
    client_printed one here
    fd=$(cd "/proc/$SERVER_PID/fd" && for i in *; do [[ " $before " == *" $i "* ]] || echo "$i"; done)
    what="gdb: close($fd), a client's descriptor"
    if [ "$VARIANT" != "01-blocking -1" ]; then
        start_client two echo a print here wait echo b shutdown expect-eof
        client_printed two here
    fi
    gdb -p "$SERVER_PID" -batch -nx -ex "call (int)close($fd)" >"$TMP/gdb" 2>&1 3>&-
    case $VARIANT in 01-*) kill "$PID_one" ;; *) # there, recv() has its own reference to the socket
        [ ! -e "/proc/$SERVER_PID/fd/$fd" ] || skip "gdb could not close a descriptor here; to run it: a gdb that can call functions" ;;
    esac
    if [ "$VARIANT" != "01-blocking -1" ]; then
        resume_client two
        check "$what" "the other client is served" "the wait fails for all of them" client_succeeded two
    fi
    check "$what" "a new client, which gets the same number, is served" \
        "something about the old client is still stored under that number" next_client_works
    check "$what" "no CPU is used" "the closed descriptor is reported for ever" uses_no_cpu
    stop_server
}

# ---- A client that vanishes ----

# Two network namespaces that a cable connects: the server's, 10.9.8.1, and the client's, 10.9.8.2.
# In the server's, keep-alive gives up an idle client after 3 seconds instead of 2 hours.  Sets
# NEAR and FAR, the commands that run another command in each of them.
connect_two_namespaces() {
    need_namespace
    mkfifo "$TMP/open"
    hold_namespace
    NEAR=(nsenter "--net=/proc/$HOLDER/ns/net")
    "${NEAR[@]}" ip link set lo up
    "${NEAR[@]}" ip link add cable0 type veth peer name cable1 2>/dev/null ||
        skip "no virtual Ethernet here; to run it: a kernel with CONFIG_VETH"
    hold_namespace
    FAR=(nsenter "--net=/proc/$HOLDER/ns/net")
    "${NEAR[@]}" ip link set cable1 netns "$HOLDER"
    "${NEAR[@]}" ip address add 10.9.8.1/24 dev cable0
    "${NEAR[@]}" ip link set cable0 up
    "${FAR[@]}" ip address add 10.9.8.2/24 dev cable1
    "${FAR[@]}" ip link set cable1 up
    "${NEAR[@]}" sh -c 'cd /proc/sys/net/ipv4 && echo 1 >tcp_keepalive_time && echo 1 >tcp_keepalive_intvl && echo 2 >tcp_keepalive_probes'
}
hold_namespace() { # it exists as long as this process
    unshare -n cat <>"$TMP/open" 3>&- &
    HOLDER=$!
    PIDS="$HOLDER $PIDS"
    wait_until 3 has_own_namespace
}
has_own_namespace() { [ "$(readlink "/proc/$HOLDER/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
# use_client NAME WORD...: write a program that runs the test client after these words.
use_client() {
    printf '#!/bin/sh\nexec' >"$TMP/$1"
    printf " '%s'" "${@:2}" "$TESTS/build/client" >>"$TMP/$1"
    printf ' "$@"\n' >>"$TMP/$1"
    chmod +x "$TMP/$1"
}

@test "a client that vanishes is noticed, and an idle client is kept" {
    rule "a client that vanishes does not occupy a descriptor for ever" "SO_KEEPALIVE is not set: an idle connection waits for ever" "chapter 1"
    local what="keep-alive after 1 second; the client's link goes down" fds
    connect_two_namespaces
    use_client near "${NEAR[@]}"
    use_client far "${FAR[@]}"
    WRAP=("${NEAR[@]}")
    ADDRESS=10.9.8.1 start_server
    CLIENT=$TMP/near
    ADDRESS=10.9.8.1
    if [ "$VARIANT" != "01-blocking -1" ]; then
        start_client one echo a print here wait echo b shutdown expect-eof
        client_printed one here
    fi
    fds=$(fd_count)
    CLIENT=$TMP/far start_client two echo a print here wait
    client_printed two here
    "${FAR[@]}" ip link set cable1 down
    check "$what" "the server closes its descriptor" "SO_KEEPALIVE is not set" wait_until 20 fd_count_is "$fds"
    if [ "$VARIANT" != "01-blocking -1" ]; then
        resume_client one
        check "$what" "a client that was idle as long, but lives, is served" \
            "the server closes idle clients" client_succeeded one
    fi
    CLIENT=$TMP/near server_unaffected
    stop_server
}

@test "keep-alive is enabled on a client's socket" {
    rule "a client that vanishes does not occupy a descriptor for ever" "SO_KEEPALIVE is not set: an idle connection waits for ever" "chapter 1"
    need_ours
    need_linux "for the timers that ss shows"
    need ss "to show the timer of a socket" "install iproute2"
    start_server
    start_client one echo a print here wait
    client_printed one here
    check "ss -o, with one idle client" "the timer of its socket is the keep-alive timer" "SO_KEEPALIVE is not set" \
        wait_until 3 has_keepalive_timer
}
has_keepalive_timer() { ss -H -t -n -o state established "sport = :$PORT" | grep 'timer:(keepalive,'; }

@test "ss -K destroys a client's connection" {
    rule "an error of one client is no shortage, and the next client is served" "ECONNABORTED from recv() is not among the errors of one client" "chapter 1"
    need_ours
    need_root "to destroy a socket"
    need ss "to destroy a socket" "install iproute2"
    start_server
    start_client one echo a print here wait
    client_printed one here
    ss -K -H -t -n state established "sport = :$PORT" >"$TMP/killed" 2>&1 || :
    [ -s "$TMP/killed" ] || skip "ss -K destroys nothing here; to run it: a kernel with CONFIG_INET_DIAG_DESTROY"
    check "ss -K state established sport = :$PORT" "the server closes its descriptor, and serves the next client" \
        "EPOLLERR and EPOLLHUP without a branch" server_unaffected
    lacks_text "$TMP/server.err" '^server: '
    stop_server
}
