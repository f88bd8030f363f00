# What every .bats file here loads.  Plain bash 3.2, for macOS; where a test needs more of the
# system it says so by `need`, and names what would make it run.
#
# A test starts one server (start_server), talks to it with tests/build/client (client, start_client),
# and says by `rule` what it checks: if it fails, teardown prints the rule, the usual cause and the
# one command that repeats it.  Every process that a test starts is ended by its pid in teardown.
#
# The server under test comes from the environment, as tests/commands/run sets it:
#   SERVER       path of the program
#   SERVER_ARGS  its command line; PORT and ADDRESS in it are replaced.  Ours: -b ADDRESS -p PORT
#   VARIANT      its name in messages, such as "04-epoll -e"
#   OURS         1 when it is one of this repository's stages, with our options and messages

TESTS=${TESTS:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
CLIENT=$TESTS/build/client
SHIM=$TESTS/build/shim.so
: "${SERVER_ARGS:=-b ADDRESS -p PORT}"
: "${VARIANT:=${SERVER:-none}}"

setup() {
    TMP=$(mktemp -d "${TMPDIR:-/tmp}/echo-tests.XXXXXX")
    PIDS=''      # all that teardown has to end
    SERVER_PID='' PORT='' ADDRESS=127.0.0.1 DESCRIPTORS=''
    RULE='' CAUSE='' CHAPTER=''
}

teardown() {
    local pid child
    local clean=0
    if [ -z "${BATS_TEST_COMPLETED:-}" ] && [ -z "${BATS_TEST_SKIPPED:-}" ]; then
        explain
    fi
    if [ "${SERVER_KIND:-}" = sanitized ] && [ -n "$SERVER_PID" ]; then
        sanitizer_is_content || clean=1
    fi
    for pid in $PIDS; do # the children first: strace, killed, would leave the server behind
        for child in $(cat "/proc/$pid/task/$pid/children" 2>/dev/null); do
            kill -KILL "$child" 2>/dev/null
        done
        kill -CONT "$pid" 2>/dev/null
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -rf "$TMP"
    return $clean
}

# A build with sanitizers (SERVER_KIND=sanitized) is let end by itself, for leaks are found then.
sanitizer_is_content() {
    kill -CONT "$SERVER_PID" 2>/dev/null
    kill -TERM "$SERVER_PID" 2>/dev/null
    until_true 5 gone "$SERVER_PID"
    ! grep -h -A 20 -e 'ERROR: .*Sanitizer' -e 'WARNING: ThreadSanitizer' -e 'runtime error:' "$TMP/server.err"
}

# rule TEXT CAUSE CHAPTER: what this test checks, why it usually breaks, where the book explains it.
rule() {
    RULE=$1 CAUSE=$2 CHAPTER=$3
}

explain() {
    [ -n "$RULE" ] || return 0
    echo "broken rule:   $RULE"
    if [ -n "${OURS:-}" ]; then echo "server:        $VARIANT"; else echo "server:        $SERVER $SERVER_ARGS"; fi
    echo "usual cause:   $CAUSE"
    echo "in the book:   $CHAPTER"
    if [ -n "${OURS:-}" ]; then
        echo "repeat it:     make test STAGE='$VARIANT' ONLY='$BATS_TEST_DESCRIPTION'"
    else
        echo "repeat it:     make test SERVER='$SERVER' SERVER_ARGS='$SERVER_ARGS' ONLY='$BATS_TEST_DESCRIPTION'"
    fi
    if [ -s "$TMP/server.err" ]; then
        echo "the server's last words on stderr:"
        tail -n 5 "$TMP/server.err"
    fi
}

# need COMMAND WHY HOW: skip, unless the command is there; say what it is for and how to get it.
need() {
    command -v "$1" >/dev/null 2>&1 || skip "needs $1 ($2); to run it: $3"
}
need_strace() { need strace "to make system calls fail" "install strace (Linux)"; need_ptrace; }
need_ptrace() {
    strace -qq -o /dev/null true 2>/dev/null || skip "strace may not trace here; to run it: a container with --cap-add=SYS_PTRACE, or a real machine"
}
need_linux() { [ "$(uname -s)" = Linux ] || skip "needs Linux ($1); to run it: a Linux machine"; }
need_plain_memory() {
    need_linux "to read the memory"
    case ${SERVER_KIND:-} in sanitized | emulated) skip "the memory of a build that is $SERVER_KIND is another's; to run it: a plain build" ;; esac
}
need_root() { [ "$(id -u)" = 0 ] || skip "needs root ($1); to run it: sudo make test"; }
need_ours() { [ -n "${OURS:-}" ] || skip "is about our own command line; to run it: make test without SERVER="; }
need_shim() {
    [ -e "$SHIM" ] || skip "needs the fault shim, an LD_PRELOAD library; to run it: Linux and make -C tests/programs shim"
    case $SHIM in *[[:space:]:]*) # LD_PRELOAD is a list, and its separators cannot be escaped
        cp "$SHIM" "$TMP/shim.so"
        SHIM=$TMP/shim.so
        ;;
    esac
    case ${SERVER_KIND:-} in static | sanitized | emulated) skip "LD_PRELOAD does not reach a $SERVER_KIND build; to run it: a plain build" ;; esac
}
need_several_clients() {
    [ "$VARIANT" != "01-blocking -1" ] || skip "expected limit: 01 -1 serves one client at a time (01-blocking.bats asserts it)"
}

# A short pause inside a bounded wait for an event; never a synchronisation by itself.
tick() {
    [ -p "$TMP/never" ] || mkfifo "$TMP/never"
    if [ "${BASH_VERSINFO[0]}" -lt 4 ]; then sleep "${1:-0.02}"; return; fi # 3.2: whole seconds only
    read -r -t "${1:-0.02}" <>"$TMP/never" || :
}
# until_true SECONDS COMMAND...: wait for an event, at most so long.  Fails if it does not come.
until_true() {
    local deadline=$((SECONDS + $1 + 1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || { echo "waited in vain for: $*"; return 1; }
        tick
    done
}
has_text() { grep -q -e "$2" "$1" 2>/dev/null; }
# A process that has ended is gone, even if this shell has not noticed yet (a zombie).
gone() {
    kill -0 "$1" 2>/dev/null || return 0
    local stat=''
    read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
    stat=${stat##*) }
    [ "${stat%% *}" = Z ]
}

# start_server [OPTION...]: start the server under test with these options more, wait until clients
# can connect; sets SERVER_PID and PORT.  Its stdout and stderr go to $TMP/server.out and .err.
# WRAP, an array, is put before the command (strace, env).  ADDRESS is what it listens on.
WRAP=()

# shellcheck disable=SC2120 # the files that load this pass options
start_server() {
    : >"$TMP/server.out"
    if [ -n "${OURS:-}" ]; then
        PORT=${FIXED_PORT:-0}
    else
        PORT=$(free_port)
    fi
    local args=${SERVER_ARGS//ADDRESS/$ADDRESS}
    args=${args//PORT/$PORT}
    # shellcheck disable=SC2086 # the words of a command line
    (
        close_inherited
        exec ${WRAP[@]+"${WRAP[@]}"} "$SERVER" $args ${VARIANT_ARGS:-} "$@"
    ) >"$TMP/server.out" 2>"$TMP/server.err" &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    if until_true 5 listens_or_ended && server_listens; then
        DESCRIPTORS=$(descriptors 2>/dev/null) || DESCRIPTORS=''
        return
    fi
    echo "the server does not listen"
    cat "$TMP/server.err"
    return 1
}
listens_or_ended() { gone "$SERVER_PID" || server_listens; }
# bats has descriptors of its own open, up to 255: the server starts without them.
close_inherited() { eval "exec$(printf ' %d>&-' {3..255})"; }
server_listens() {
    gone "$SERVER_PID" && { echo "the server ended at once"; return 1; }
    if [ -n "${OURS:-}" ]; then
        local line=''
        read -r line <"$TMP/server.out" || return 1
        PORT=${line##*:}
    else
        (exec 9<>"/dev/tcp/$ADDRESS/$PORT") 2>/dev/null
    fi
}
# A port that nobody uses just now.
free_port() {
    local port
    for port in 1 2 3 4 5 6 7 8 9; do
        port=$((20000 + (RANDOM % 10000)))
        (exec 9<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# client VERB...: run the test client against the server to its end, for at most 20 seconds.  What
# start_client started may take 60: it must not be the victim's own end that sets the server free.
client() { "$CLIENT" -b "$ADDRESS" -t "${CLIENT_SECONDS:-20}" "$PORT" "$@"; }

# start_client NAME VERB...: run it in the background.  Its output is $TMP/NAME.out; `go NAME` sends
# the line that its `wait`, `hold`, `silent` wait for; `finished NAME` waits for its success.
start_client() {
    local name=$1
    shift
    mkfifo "$TMP/$name.in"
    "$CLIENT" -b "$ADDRESS" -t "${CLIENT_SECONDS:-60}" "$PORT" "$@" <"$TMP/$name.in" >"$TMP/$name.out" 2>&1 3>&- &
    eval "PID_$name=$!"
    PIDS="$! $PIDS"
    eval "exec $(client_fd "$name")>\"\$TMP/$name.in\""
}
client_fd() { case $1 in one) echo 4 ;; two) echo 5 ;; three) echo 6 ;; esac; }
go() { eval "echo go >&$(client_fd "$1")"; }
finished() {
    eval "wait \$PID_$1" || { cat "$TMP/$1.out"; return 1; }
}
# said NAME TEXT: wait until the client in the background has printed it.
said() { until_true "${EVENT_SECONDS:-15}" has_text "$TMP/$1.out" "$2" || { cat "$TMP/$1.out"; return 1; }; }

# The server is alive and serves a newcomer.  Every test of a fault ends with it.
next_client_works() {
    gone "$SERVER_PID" && { echo "the server has ended"; return 1; }
    CLIENT_SECONDS=${NEXT_SECONDS:-5} client connect echo "next" shutdown expect-eof
}

# After a fault: the next client works, the descriptors are as many as at the start, no CPU is used.
as_before() {
    next_client_works
    [ -n "$DESCRIPTORS" ] || return 0
    until_true 3 same_descriptors_as "$DESCRIPTORS" || {
        echo "descriptors: $DESCRIPTORS at the start, $(descriptors) now"
        return 1
    }
    until_true 2 does_not_spin 0.25 # a thousand threads take a moment to end
}

# In a shell of its own: bats looks at every command that it runs itself.
ten_thousand_signals() {
    # shellcheck disable=SC2016 # the other shell expands them
    bash -c 'for ((i = 0; i < 10000; i++)); do kill -USR1 "$1"; done' - "$SERVER_PID"
}

# stop_server [SIGNAL]: it ends within a second, with exit code 0.
stop_server() {
    local code=0 begin=$SECONDS
    kill "-${1:-TERM}" "$SERVER_PID"
    until_true 2 gone "$SERVER_PID" || return 1
    wait "$SERVER_PID" || code=$?
    [ "$code" = 0 ] || { echo "exit code $code after SIG${1:-TERM}"; cat "$TMP/server.err"; return 1; }
    [ $((SECONDS - begin)) -le 2 ]
}

# What the server has: open descriptors, resident memory in KiB, CPU time in clock ticks.
descriptors() { [ -d /proc/self/fd ] && find "/proc/$SERVER_PID/fd" -mindepth 1 | wc -l; }
memory_kib() { awk '/^(RssAnon|VmRSS):/ { kib = $2 } /^RssAnon:/ { print $2; found = 1; exit } END { if (!found) print kib }' "/proc/$SERVER_PID/status"; }
cpu_ticks() { sed 's/.*) //' "/proc/$SERVER_PID/stat" | awk '{ print $12 + $13 }'; }
same_descriptors_as() { [ "$(descriptors)" = "$1" ]; }

# does_not_spin [SECONDS]: over half a second, or as long as it says, in which nothing happens, the
# server uses no CPU: at most 5 ticks, where one that spins uses 100 in a second.
does_not_spin() {
    need_linux "to read the CPU time"
    local before after
    before=$(cpu_ticks)
    tick "${1:-0.5}"
    after=$(cpu_ticks)
    [ $((after - before)) -le 5 ] || { echo "used $((after - before)) ticks of CPU in ${1:-0.5} idle seconds"; return 1; }
}

# Each idle client costs at most so many bytes of user memory.
idle_costs_at_most() {
    need_plain_memory
    local count=${IDLE:-2000} before after each
    [ "$(ulimit -Hn)" -ge $((count + 100)) ] || skip "needs $((count + 100)) descriptors; to run it: ulimit -Hn $((count + 100))"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    client crowd 64 64
    before=$(memory_kib)
    start_client one idle "$count" # an echo for each would take minutes with poll()
    said one holding
    until_true "${EVENT_SECONDS:-20}" same_descriptors_as $((DESCRIPTORS + count))
    after=$(memory_kib)
    each=$(((after - before) * 1024 / count))
    echo "$count idle clients: $each bytes each"
    [ "$each" -le "$1" ]
    go one
    finished one
}

# 50 clients at once: system calls of the server for each echo, counted by strace; of epoll_ctl at
# most one for a hundred echoes.
calls_for_each_echo_at_most() {
    WRAP=(strace -f -qq -c -U "calls,name" -o "$TMP/count")
    start_server
    client load 50 20000 64
    until_true 3 has_child
    kill -TERM "$CHILD"
    until_true 5 gone "$SERVER_PID"
    cat "$TMP/count"
    awk -v most="$1" '$1 ~ /^[0-9]+$/ && $2 != "total" { all += $1 } $2 == "epoll_ctl" { ctl = $1 }
         END { printf "%.3f calls and %.4f epoll_ctl for each echo\n", all / 20000, ctl / 20000
               exit !(all > 0 && all / 20000 <= most && ctl / 20000 <= 0.01) }' "$TMP/count"
}
# The server that strace, SERVER_PID, runs: CHILD.
has_child() {
    CHILD=$(cat "/proc/$SERVER_PID/task/$SERVER_PID/children" 2>/dev/null)
    CHILD=${CHILD%% *}
    [ -n "$CHILD" ]
}
