# Helper functions that most .bats files load.  They need bash 3.2 (the version of macOS) and
# nothing else; a test that needs more calls one of the need functions, which skip the test with
# a reason.
#
# A test starts one server (start_server), connects to it with the test client (client,
# start_client) and states in `rule` what it checks.  If the test fails, teardown prints the rule,
# the usual cause and the command that repeats the test.  It also ends every process that the
# test started.
#
# tests/commands/run describes the server under test in the environment:
#   SERVER        path of the program
#   SERVER_ARGS   its arguments, in which the words PORT and ADDRESS are replaced; the default,
#                 "-b ADDRESS -p PORT", fits our own servers
#   VARIANT       its name in messages, such as "04-epoll -e"
#   VARIANT_ARGS  options that select the variant, such as "-e"
#   OURS          1 if the server is one of our stages, with our options and messages; else empty
#   ANSWERS       FreeBSD or NetBSD: the system whose answers are simulated (tests/programs/bsd.c)
#   SERVER_KIND   how it was built, if not as usual: static, sanitized, or emulated (another CPU)
# Time limits in seconds: CLIENT_SECONDS for a client, NEXT_SECONDS for the client of
# next_client_works, EVENT_SECONDS for an event that a client prints.
#
# Functions that check something return 0 if it holds.  If not, they print why and return 1, which
# makes bats fail the test.

TESTS=${TESTS:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
CLIENT=$TESTS/build/client
PROBE=$TESTS/build/probe
SHIM=$TESTS/build/shim.so
BSD=$TESTS/build/bsd.so
: "${SERVER_ARGS:=-b ADDRESS -p PORT}"
: "${VARIANT:=${SERVER:-none}}"
# shellcheck source=foreign.bash
. "$TESTS/support/foreign.bash"

setup() {
    trace_failures_only
    TMP='' # never one from the environment, because teardown removes it
    # When a run has seen enough failures, the other tests are left out.
    ! is_foreign || [ ! -e "${RUN_STATE:-/none}/stop" ] || skip "not run: $(cat "$RUN_STATE/stop")"
    TMP=$(mktemp -d "${TMPDIR:-/tmp}/echo-tests.XXXXXX")
    RUN_STATE=${RUN_STATE:-${BATS_FILE_TMPDIR:-$TMP}}
    PIDS='' # the processes that teardown has to end, most recent first
    SERVER_PID='' PORT='' ADDRESS=127.0.0.1 FDS_AT_START=''
    RULE='' CAUSE='' CHAPTER='' CASE='' SAW='' STOPPED=''
}

# bats runs a handler before each command, in order to say which one failed.  Inside functions and
# loops, this takes most of the CPU time of a test.  With +T, bash calls it for the commands of the
# test itself only; FAILED_IN names the functions in which a command failed.
trace_failures_only() {
    FAILED_IN=''
    set +T
    ! declare -F bats_error_trap >/dev/null || trap 'bats_error_trap; name_failed_functions' ERR
}
name_failed_functions() {
    local i file
    for ((i = 1; i < ${#FUNCNAME[@]}; i++)); do
        [ "${FUNCNAME[i]}" != "${BATS_TEST_NAME:-}" ] || return 0
        file=${BASH_SOURCE[i]:-}
        [ "$file" != "${BATS_TEST_SOURCE:-}" ] || file=$BATS_TEST_FILENAME
        FAILED_IN="$FAILED_IN${FAILED_IN:+, from }${FUNCNAME[i]} (${file##*/}:${BASH_LINENO[i - 1]})"
    done
}

teardown() {
    local pid child children result=0
    [ -n "${TMP:-}" ] || return 0 # setup has skipped the test
    if [ -z "${BATS_TEST_COMPLETED:-}" ] && [ -z "${BATS_TEST_SKIPPED:-}" ]; then
        print_failure
    fi
    if [ "${SERVER_KIND:-}" = sanitized ] && [ -n "$SERVER_PID" ]; then
        sanitizer_reports_nothing || result=1
    fi
    for pid in $PIDS; do # Children first: a killed strace would leave its server running.
        children=''
        { read -r children <"/proc/$pid/task/$pid/children"; } 2>/dev/null || :
        for child in $children; do
            kill -KILL "$child" 2>/dev/null
        done
        kill -CONT "$pid" 2>/dev/null
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    ! is_foreign || kill_server_processes
    rm -rf "$TMP"
    return $result
}

# End a server that was built with sanitizers by SIGTERM, because the leak check runs at exit.
# Fails if a sanitizer reported anything.
sanitizer_reports_nothing() {
    kill -CONT "$SERVER_PID" 2>/dev/null
    kill -TERM "$SERVER_PID" 2>/dev/null
    wait_until 5 has_exited "$SERVER_PID"
    ! grep -h -A 20 -e 'ERROR: .*Sanitizer' -e 'WARNING: ThreadSanitizer' -e 'runtime error:' "$TMP/server.err"
}

# rule TEXT CAUSE CHAPTER: record what this test checks, the usual cause of a failure, and the
# chapter that explains it.  They are printed if the test fails.
rule() {
    RULE=$1 CAUSE=$2 CHAPTER=$3
}

# test_case NAME: the test makes several attempts in a loop, and this is the current one, such as the
# errno that is injected.  It is printed if the test fails.
test_case() {
    CASE=$1
}

print_failure() {
    [ -z "$FAILED_IN" ] || is_foreign || echo "failed in:     $FAILED_IN"
    [ -n "$RULE" ] || return 0
    if is_foreign; then
        print_foreign_failure
        return
    fi
    local only="'$BATS_TEST_DESCRIPTION'"
    case $BATS_TEST_DESCRIPTION in *\'*) only="\"$BATS_TEST_DESCRIPTION\"" ;; esac
    echo "broken rule:   $RULE"
    [ -z "$CASE" ] || echo "failed with:   $CASE"
    echo "server:        $VARIANT"
    echo "usual cause:   ${CAUSE//; /;$'\n'               }"
    echo "in the book:   $CHAPTER"
    echo "to repeat it:  make test STAGE='$VARIANT' ${LONG:+LONG=1 }ONLY=$only"
    if [ -s "$TMP/server.err" ]; then
        echo "the server's last lines on stderr:"
        tail -n 5 "$TMP/server.err"
    fi
}

# The need functions skip the test if this machine or this server cannot run it.  The message says
# what is missing and what would make the test run.
#
# need COMMAND PURPOSE HOW: the command has to be installed; HOW says how to get it.
need() {
    command -v "$1" >/dev/null 2>&1 || skip "needs $1 ($2); to run it: $3"
}
need_strace() { need strace "to make system calls fail" "install strace (Linux)"; need_ptrace; }
need_ptrace() {
    strace -qq -o /dev/null true 2>/dev/null || skip "strace is not allowed to trace here; to run it: a container with --cap-add=SYS_PTRACE, or a real machine"
}
# need_linux PURPOSE, need_root PURPOSE
need_linux() { [ "$(uname -s)" = Linux ] || skip "needs Linux ($1); to run it: a Linux machine"; }
# The memory use of the server has to be that of an ordinary build.
need_plain_memory() {
    need_linux "to read the server's memory use"
    case ${SERVER_KIND:-} in sanitized | emulated) skip "the memory use of a $SERVER_KIND build is not comparable; to run it: an ordinary build" ;; esac
}
need_root() { [ "$(id -u)" = 0 ] || skip "needs root ($1); to run it: sudo make test"; }
# The server has to be one of our stages, because the test uses its options or messages.
need_ours() { [ -n "${OURS:-}" ] || skip "tests the options or messages of our own servers; to run it: make test without SERVER="; }
# The fault shim has to be built, and the server has to load it.  May change SHIM to a copy.
need_shim() {
    need_preload "$SHIM"
    case $SHIM in *[[:space:]:]*) # LD_PRELOAD is a list, and its separators cannot be escaped
        case $TMP in *[[:space:]:]*) skip "LD_PRELOAD cannot have a path with a blank or a colon; to run it: TMPDIR=/tmp" ;; esac
        cp "$SHIM" "$TMP/shim.so"
        SHIM=$TMP/shim.so
        ;;
    esac
}
# need_preload LIBRARY: the LD_PRELOAD library has to be built, and the server has to load it.
need_preload() {
    local name=${1##*/}
    { [ -e "$1" ] && [ "$(uname -s)" = Linux ]; } || skip "needs the LD_PRELOAD library $name; to run it: make -C tests/programs ${name%.so} (Linux)"
    case ${SERVER_KIND:-} in static | sanitized | emulated) skip "LD_PRELOAD has no effect on a $SERVER_KIND build; to run it: an ordinary build" ;; esac
}
# The server has to serve several clients at once.
need_concurrent_clients() {
    [ "$VARIANT" != "01-blocking -1" ] || skip "expected limit: 01 -1 serves one client at a time (01-blocking.bats tests this)"
}

# ---- what systems answer differently ----

# The BSDs' answers were observed on kernels of FreeBSD 13 and NetBSD 7.99.  A pattern for a system
# that is not listed matches each known answer.

# answers_of SYSTEM: from now on, servers and clients get the answers of this system.
answers_of() {
    need_linux "to simulate the answers of other systems"
    need_preload "$BSD"
    case $BSD in *[[:space:]:]*) # see need_shim
        cp "$BSD" "$TMP/bsd.so"
        BSD=$TMP/bsd.so
        ;;
    esac
    test_case "the answers of $1"
    export ANSWERS=$1
}
system_name() { echo "${ANSWERS:-$(uname -s)}"; }
# The highest number of descriptors in an fd_set.  NetBSD's cannot be simulated at run time.
fd_setsize() { case $(uname -s) in NetBSD) echo 256 ;; *) echo 1024 ;; esac; }
# A pattern for the error of the first send() after a reset.
send_after_reset() {
    case $(system_name) in
    Linux) echo 'Connection reset by peer' ;;
    FreeBSD | NetBSD) echo 'Broken pipe' ;;
    *) echo '\(Connection reset by peer\|Broken pipe\)' ;;
    esac
}
# A pattern for the log of accept() if the client has reset the connection in the backlog.
accept_of_reset() {
    case $(system_name) in
    Linux) echo 'accept: fd [0-9]' ;;
    FreeBSD | NetBSD) echo 'accept: Software caused connection abort; next' ;;
    *) echo 'accept: \(fd [0-9]\|Software caused connection abort; next\)' ;;
    esac
}

# short_sleep [SECONDS]: sleep 0.02 seconds, or as long as given, without starting a process.  Tests
# use it inside a bounded wait for an event, or to let time pass in which nothing may happen.
short_sleep() {
    [ -p "$TMP/never" ] || mkfifo "$TMP/never"
    if [ "${BASH_VERSINFO[0]}" -lt 4 ]; then # its read -t takes whole seconds only
        sleep "${1:-0.02}"
        return
    fi
    read -r -t "${1:-0.02}" <>"$TMP/never" || :
}
# wait_until SECONDS COMMAND...: repeat the command until it succeeds.  Fails if it has not
# succeeded after so many seconds.
wait_until() {
    local deadline=$((SECONDS + $1 + 1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || { echo "timed out while waiting for: $*"; return 1; }
        short_sleep
    done
}
# has_text FILE PATTERN: the file exists and a line of it matches.
has_text() { grep -q -e "$2" "$1" 2>/dev/null; }
# lacks_text FILE PATTERN: no line of the file matches.  Unlike "! grep", which bats does not notice
# in the middle of a test, this fails the test, and prints the lines that match.
lacks_text() {
    ! grep -e "$2" "$1" || { echo "expected no line with: $2"; return 1; }
}
# log_has PATTERN: a line of the server's log (stderr, -v) matches, now or within 5 seconds.  If
# not, prints the pattern and the end of the log.
log_has() {
    wait_until 5 has_text "$TMP/server.err" "$1" && return
    echo "expected a line of the log that matches: $1"
    echo "the log ends:"
    tail -n 20 "$TMP/server.err"
    return 1
}
# Causes that many tests share, for `rule`.
# shellcheck disable=SC2034 # the files that load this use them
{
    ONE_READ="edge-triggered, but reads only once per event: read until EAGAIN"
    ONE_ACCEPT="edge-triggered, but accepts only once per event: accept until EAGAIN"
    SHORT_WRITE="a short write: send() took only a part, and the rest was forgotten"
}
# has_exited PID: the process has exited.  A zombie, which this shell has not waited for, counts, but not
# while other threads of it are still exiting: until then its sockets are open.
has_exited() {
    kill -0 "$1" 2>/dev/null || return 0
    local stat='' threads
    read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
    stat=${stat##*) }
    [ "${stat%% *}" = Z ] || return 1
    threads=("/proc/$1/task"/*)
    [ ${#threads[@]} -le 1 ]
}

# start_server [OPTION...]: start the server under test with these additional options, and wait
# until clients can connect.  Sets SERVER_PID, PORT, and FDS_AT_START (its number of open
# descriptors).  Its output goes to $TMP/server.out and $TMP/server.err.  Fails if the server does
# not listen.
#   WRAP        an array of words that are put before the command, for strace or env
#   ADDRESS     the address that the server listens on (127.0.0.1)
#   FIXED_PORT  the port; without it, one of our servers is started with -p 0
WRAP=()

# shellcheck disable=SC2120 # the files that load this pass options
start_server() {
    : >"$TMP/server.out"
    if [ -n "${OURS:-}" ]; then
        PORT=${FIXED_PORT:-0}
    else
        PORT=${FIXED_PORT:-$(free_port)}
    fi
    split_words "$SERVER_ARGS"
    WORDS=(${WORDS[@]+"${WORDS[@]//ADDRESS/$ADDRESS}"})
    WORDS=(${WORDS[@]+"${WORDS[@]//PORT/$PORT}"})
    # shellcheck disable=SC2086 # the words of a command line
    (
        close_inherited
        ! is_foreign || export ECHO_TEST="$TMP"
        [ -z "${ANSWERS:-}" ] || export LD_PRELOAD=$BSD
        exec ${WRAP[@]+"${WRAP[@]}"} "$SERVER" ${WORDS[@]+"${WORDS[@]}"} ${VARIANT_ARGS:-} "$@"
    ) >"$TMP/server.out" 2>"$TMP/server.err" &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    STOPPED=''
    if is_foreign; then
        local code=0
        foreign_server_listens || code=$?
        if [ "$code" = 6 ] && [ -z "${FIXED_PORT:-}" ]; then
            start_server "$@" # with another port
            return
        fi
        [ "$code" = 0 ] || return 1
        FDS_AT_START=$(fd_count 2>/dev/null) || FDS_AT_START=''
        return
    fi
    if wait_until "${START_SECONDS:-5}" listening_or_exited && server_is_listening; then
        FDS_AT_START=$(fd_count 2>/dev/null) || FDS_AT_START=''
        return
    fi
    echo "the server does not listen on $ADDRESS"
    cat "$TMP/server.err"
    return 1
}
listening_or_exited() { has_exited "$SERVER_PID" || server_is_listening; }
# bats and whatever started it have descriptors open.  The server starts without them, so that a test
# can count on the numbers that are free.  Runs in a subshell.
# It is one eval, because bats does some work before each command of a loop.
close_inherited() {
    local high=(/proc/self/fd/[1-9][0-9][0-9]*) # 100 and above
    [ -e "${high[0]}" ] || high=()
    eval "exec$(printf ' %d>&-' {3..255} ${high[@]+"${high[@]##*/}"})"
}
# Sets PORT from the line that our servers print when they are ready.
server_is_listening() {
    has_exited "$SERVER_PID" && { echo "the server exited at once"; return 1; }
    local line=''
    read -r line <"$TMP/server.out" || return 1
    PORT=${line##*:}
}
# Print a port that no socket uses now.
free_port() { "$PROBE" 0 free-port; }

# client VERB...: run the test client against the server and wait for it, at most 20 seconds.  With
# QUIET_SECONDS, it gives up when the server has not answered for so long.
# Returns the client's exit code.  A client in the background (start_client) has 60 seconds: a
# server that is blocked by it must fail the test, and not be unblocked because that client gives
# up first.
client() { ${ANSWERS:+env "LD_PRELOAD=$BSD"} "$CLIENT" -b "$ADDRESS" -t "${CLIENT_SECONDS:-20}" -s "${QUIET_SECONDS:-0}" "$PORT" "$@"; }

# start_client NAME VERB...: run the test client in the background.  NAME is one, two or three.  Its
# output goes to $TMP/NAME.out, and PID_NAME is its process ID.
#   client_printed NAME PATTERN   wait until its output matches; fails after EVENT_SECONDS (15)
#   resume_client NAME            send the line for which its `wait`, `hold` or `idle` waits
#   client_succeeded NAME         wait until it exits; fails if its exit code is not 0
start_client() {
    local name=$1
    shift
    rm -f "$TMP/$name.in" "$TMP/$name.out" # of an earlier client, whose lines must not be taken for this one's
    mkfifo "$TMP/$name.in"
    ${ANSWERS:+env "LD_PRELOAD=$BSD"} "$CLIENT" -b "$ADDRESS" -t "${CLIENT_SECONDS:-60}" -s "${QUIET_SECONDS:-0}" "$PORT" "$@" <"$TMP/$name.in" >"$TMP/$name.out" 2>&1 3>&- &
    eval "PID_$name=$!"
    PIDS="$! $PIDS"
    eval "exec $(client_fd "$name")>\"\$TMP/$name.in\""
}
# client_fd NAME: print the descriptor that is connected to its standard input.
client_fd() { case $1 in one) echo 4 ;; two) echo 5 ;; three) echo 6 ;; esac; }
resume_client() { eval "echo go >&$(client_fd "$1")"; }
client_succeeded() {
    eval "wait \$PID_$1" || { cat "$TMP/$1.out"; return 1; }
}
client_printed() {
    if wait_until "${EVENT_SECONDS:-15}" client_printed_or_exited "$1" "$2" && has_text "$TMP/$1.out" "$2"; then
        return
    fi
    cat "$TMP/$1.out"
    return 1
}
client_printed_or_exited() {
    ! has_text "$TMP/$1.out" "$2" || return 0
    eval "has_exited \$PID_$1"
}

# The server is running and serves a new client.  Every test that injects a fault ends with this.
next_client_works() {
    has_exited "$SERVER_PID" && { is_foreign || echo "the server has exited"; return 1; }
    CLIENT_SECONDS=${NEXT_SECONDS:-5} client connect echo "next" shutdown expect-eof
}

# After a fault: the server serves a new client, has as many open descriptors as at the start, and
# uses no CPU time while it is idle.
server_unaffected() {
    next_client_works
    [ -n "$FDS_AT_START" ] || return 0
    wait_until 3 fd_count_is "$FDS_AT_START" || has_only_lazy_descriptors || {
        echo "descriptors: $FDS_AT_START at the start, $(fd_count) now"
        return 1
    }
    wait_until 2 uses_little_cpu 100 # not at once: a thousand threads take a moment to exit
}

has_only_lazy_descriptors() { is_foreign && fd_count_is $((FDS_AT_START + $(lazy_descriptors))); }

# Send SIGUSR1 to the server 10,000 times.  Another shell does it, because bats traces each command
# in this one, which is slow.
send_10000_signals() {
    # shellcheck disable=SC2016 # the other shell expands them
    bash -c 'for ((i = 0; i < 10000; i++)); do kill -USR1 "$1" || exit 1; done' - "$SERVER_PID"
}

# stop_server [SIGNAL]: send SIGTERM, or the given signal.  Fails unless the server exits with
# code 0 within about a second.
# shellcheck disable=SC2034 # foreign.bash uses STOPPED
stop_server() {
    local code=0 begin=$SECONDS
    kill "-${1:-TERM}" "$SERVER_PID"
    wait_until 2 has_exited "$SERVER_PID" || { echo "the server was still running 2 seconds after SIG${1:-TERM}"; return 1; }
    STOPPED=yes # print_foreign_failure reads it
    wait "$SERVER_PID" || code=$?
    [ "$code" = 0 ] || { explain_exit_code "$code" "${1:-TERM}"; return 1; }
    [ $((SECONDS - begin)) -le 2 ]
}

# Print what an exit code says, after SIGTERM or SIGINT.
explain_exit_code() {
    if [ "$1" = $((128 + $(kill -l "$2"))) ]; then
        found "SIG$2 itself ended the server: its exit code was $1, not 0" \
            "there is no handler for SIG$2. Install one, let it end the wait, and exit with 0" "chapter 2"
        is_foreign || echo "$SAW"
    else
        echo "the server's exit code after SIG$2 was $1, not 0"
    fi
    is_foreign || cat "$TMP/server.err"
}

# Print the server's number of open descriptors, its private memory (RssAnon) in KiB, and its CPU
# time in clock ticks.  They need Linux.
fd_count() {
    local fds=("/proc/$SERVER_PID/fd/"*)
    [ -L "${fds[0]}" ] && echo "${#fds[@]}"
}
memory_kib() { awk '/^(RssAnon|VmRSS):/ { kib = $2 } /^RssAnon:/ { print $2; found = 1; exit } END { if (!found) print kib }' "/proc/$SERVER_PID/status"; }
cpu_ticks() { sed 's/.*) //' "/proc/$SERVER_PID/stat" | awk '{ print $12 + $13 }'; }
# fd_count_is N: the server has N open descriptors.
fd_count_is() { [ "$(fd_count)" = "$1" ]; }

# does_not_spin: while nothing happens, the server uses hardly any CPU time.  A server that spins uses
# all that it gets, so it fails the second and longer measurement too.
does_not_spin() {
    need_linux "to read the CPU time"
    uses_little_cpu 150 || uses_little_cpu 500
}
# uses_little_cpu MS: for so many milliseconds, the server runs for at most a tenth of the time, and
# is ready to run for at most eight tenths.  On a busy machine, a server that spins is always ready,
# although it seldom runs.  One that sleeps between short turns may be ready for as long, because it
# waits for a processor after each sleep; but it sleeps, and a server that spins does not.
uses_little_cpu() {
    local before=() after=() ran ready passed sleeps
    sleeps=$(sleep_count)
    read -ra before < <(cpu_time)
    short_sleep "0.$(printf '%03d' "$1")"
    read -ra after < <(cpu_time)
    ran=$((after[0] - before[0])) ready=$((after[1] - before[1])) passed=$((after[2] - before[2]))
    sleeps=$(($(sleep_count) - sleeps))
    [ $((ran * 10)) -le "$passed" ] && { [ $((ready * 10)) -le $((passed * 8)) ] || [ "$sleeps" -ge 5 ]; } && return
    echo "during $passed ms without traffic, the server ran for $ran ms and was ready to run for $ready ms"
    return 1
}
# Print how often the server's threads have gone to sleep.
sleep_count() {
    cat "/proc/$SERVER_PID/task/"*/status 2>/dev/null | awk '/^voluntary_ctxt_switches:/ { n += $2 } END { print n + 0 }'
}
# Print three numbers of milliseconds: for how long the server's threads have run, for how long they
# have run or been ready to run, and the time.
cpu_time() {
    local ticks now
    read -r now _ </proc/uptime
    now=$((10#${now/./} * 10))
    if [ -r "/proc/$SERVER_PID/schedstat" ]; then # nanoseconds
        cat "/proc/$SERVER_PID/task/"*/schedstat 2>/dev/null |
            awk -v now="$now" '{ ran += $1; waited += $2 } END { printf "%d %d %d\n", ran / 1e6, (ran + waited) / 1e6, now }'
    else
        ticks=$(cpu_ticks)
        echo "$((ticks * 10)) $((ticks * 10)) $now"
    fi
}

# idle_client_costs_at_most BYTES: start a server, connect IDLE (2,000) idle clients, and compare
# the growth of its private memory for each of them with BYTES.
idle_client_costs_at_most() {
    need_plain_memory
    local count=${IDLE:-2000} before after each
    [ "$(ulimit -Hn)" -ge $((count + 100)) ] || skip "needs $((count + 100)) descriptors; to run it: ulimit -Hn $((count + 100))"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    client crowd 64 64
    before=$(memory_kib)
    start_client one idle "$count" # not hold: so many echoes would take minutes with poll()
    client_printed one holding
    wait_until "${EVENT_SECONDS:-20}" fd_count_is $((FDS_AT_START + count))
    after=$(memory_kib)
    each=$(((after - before) * 1024 / count))
    echo "$count idle clients: $each bytes each"
    [ "$each" -le "$1" ]
    resume_client one
    client_succeeded one
}

# syscalls_per_echo_at_most NUMBER: strace counts the server's system calls while 50 clients make
# 5,000 echoes.  The start and the end may take 120 calls, and a client 12, two of which are
# epoll_ctl.  Apart from those, epoll_ctl may be called at most once for 100 echoes.
syscalls_per_echo_at_most() {
    WRAP=(strace -f -qq -c -U "calls,name" -o "$TMP/count")
    start_server
    client load 50 5000 64
    wait_until 3 find_child
    kill -TERM "$CHILD"
    wait_until 5 has_exited "$SERVER_PID"
    cat "$TMP/count"
    awk -v most="$1" '$1 ~ /^[0-9]+$/ && $2 != "total" { all += $1 } $2 == "epoll_ctl" { ctl = $1 }
         END { seen = all > 5000; all = (all - 120 - 12 * 50) / 5000; ctl = (ctl - 2 * 50) / 5000
               printf "%.3f system calls for each echo, %.4f of them epoll_ctl\n", all, ctl
               exit !(seen && all <= most && ctl <= 0.01) }' "$TMP/count"
}
# Set CHILD to the first child of SERVER_PID: the server, if SERVER_PID is strace.  Fails if there
# is none yet.
find_child() {
    CHILD=$(cat "/proc/$SERVER_PID/task/$SERVER_PID/children" 2>/dev/null)
    CHILD=${CHILD%% *}
    [ -n "$CHILD" ]
}

# ignores_foreign_events NUMBER...: an event for a descriptor with this number, which no client has, does no
# harm.  The process that makes it adds a pipe of its own to the server's epoll instance.
ignores_foreign_events() {
    local fd code
    for fd; do
        test_case "descriptor $fd"
        start_server
        client echo hello shutdown expect-eof
        code=0
        python3 "$TESTS/programs/foreign-event.py" "$SERVER_PID" "$fd" || code=$?
        [ "$code" != 77 ] || skip "no descriptor of the server can be copied here; to run it: Linux 5.6 or later, as root"
        [ "$code" = 0 ] || return 1
        next_client_works || return 1
        stop_server TERM || return 1
    done
}
