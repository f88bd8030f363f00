# Functions for the scripts `see` and `check` of a task, which begin with
#   . "$LAB/task.sh"
# They run in the folder of the copy, after its server has been built.
# shellcheck shell=sh disable=SC2034 # a script uses what it needs

: "${LADDER:?}" "${CLIENT:?}" "${STAGE_DIGIT:?}" "${KIND:?}" "${STATE:?}"
OPTIONS=$(cat .options 2>/dev/null) # of the server, for this task: "-s poll"
TMP=$(mktemp -d "${TMPDIR:-/tmp}/lab.XXXXXX") || exit 2
PIDS=
finish()
{
    for pid in $PIDS; do kill -KILL "$pid" 2>/dev/null; done
    rm -rf "$TMP"
}
trap finish EXIT
trap 'exit 130' INT TERM

# serve [OPTION...]: start the copy's server.  Sets PORT and SERVER_PID; its stderr is $TMP/log, and
# its stdin is the file $INPUT, or /dev/null.
serve() { serve_limited '' '' "$@"; }

# serve_limited LIMIT N [OPTION...]: the same after `ulimit LIMIT N`.  With -n 64, for example, the
# server may open 64 descriptors.
serve_limited()
{
    rm -f "$TMP/out"
    mkfifo "$TMP/out"
    (
        [ -z "$1" ] || ulimit "$1" "$2" || exit
        shift 2
        # shellcheck disable=SC2086 # words
        exec ./server -p 0 $OPTIONS "$@"
    ) <"${INPUT:-/dev/null}" >"$TMP/out" 2>"$TMP/log" &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    exec 7<"$TMP/out"
    if ! read -r line <&7; then
        echo "The server ended before it was listening:"
        cat "$TMP/log"
        exit 1
    fi
    PORT=${line##*:}
}

# client VERB...: run the test client (tests/build/client -h lists its verbs).
client() { "$CLIENT" -t 5 "$PORT" "$@"; }

# background VERB...: run the test client beside the script.  It gives up if the server does not
# answer for 2 seconds.  Its verb `wait` ends when the script writes a line to descriptor 8, or
# closes it; the script reads the lines that the client prints, messages too, from descriptor 9.
background() { background_on 8 9 "$@"; }

# background_on IN OUT VERB...: the same with other descriptors, from 3 to 9.  `serve` uses 7.
background_on()
{
    in=$1 out=$2
    shift 2
    mkfifo "$TMP/in" "$TMP/said"
    "$CLIENT" -s $((2 * ${LAB_PATIENCE:-1})) -t 20 "$PORT" "$@" \
        <"$TMP/in" >"$TMP/said" 2>&1 3>&- 4>&- 5>&- 6>&- 8>&- 9>&- &
    CLIENT_PID=$!
    PIDS="$CLIENT_PID $PIDS"
    eval "exec $in>\"\$TMP/in\" $out<\"\$TMP/said\""
    rm "$TMP/in" "$TMP/said"
}

# next_line N: set LINE to the next line from descriptor N.
next_line() { read -r LINE <&"$1" || LINE="The client has ended."; }

# client_as N VERB...: run the test client in the background, as number N, which is 3 to 6.  Its output
# is the file $TMP/N, so the script can look at it without waiting.  tell N: send the client a line, for
# its verb `wait`.
client_as()
{
    number=$1
    shift
    rm -f "$TMP/in$number" "$TMP/$number"
    mkfifo "$TMP/in$number"
    "$CLIENT" -t $((20 * ${LAB_PATIENCE:-1})) "$PORT" "$@" <"$TMP/in$number" >"$TMP/$number" 2>&1 &
    PIDS="$! $PIDS"
    eval "PID$number=\$! && exec $number>\"\$TMP/in$number\""
}
tell() { (trap '' PIPE && echo >&"$1") 2>/dev/null || :; }

# said N TEXT: client N has printed this line, now or within a few seconds.
said() { soon grep -qsx -e "$2" "$TMP/$1"; }

# soon COMMAND...: repeat it until it succeeds, for a few seconds.
soon()
{
    tries=$((20 * ${LAB_PATIENCE:-1}))
    until "$@"; do
        [ $((tries -= 1)) -gt 0 ] || return 1
        moment
    done
}

# A tenth of a second: POSIX has whole seconds only.
moment() { sleep 0.1 2>/dev/null || sleep 1; }

# stop_server: send SIGTERM, and end the check if the server does not end with exit code 0.  Sets
# CPU_MS, how many milliseconds of CPU time it has used in its life.
stop_server()
{
    times >"$TMP/before"
    stops || fails "The server received SIGTERM. $END"
    times >"$TMP/after"
    cpu_ms
}

# cpu_ms: set CPU_MS to the CPU time of the processes that have ended between $TMP/before and $TMP/after.
cpu_ms()
{
    # The second line of `times` is about processes that have ended: "0m0.52s 0m0.10s".
    CPU_MS=$(cat "$TMP/before" "$TMP/after" | tr , . | awk -F '[ms ]+' '
        NR % 2 == 0 { sum = $1 * 60 + $2 + $3 * 60 + $4 - sum }
        END { printf "%.0f", sum * 1000 }')
}

# end_server: end the server, and set CPU_MS to the milliseconds of CPU time that it has used.
# shellcheck disable=SC2034 # CPU_MS is for the scripts
end_server()
{
    times >"$TMP/before"
    kill -KILL "$SERVER_PID"
    wait "$SERVER_PID" 2>/dev/null
    times >"$TMP/after"
    cpu_ms
}

# log_has PATTERN: a line of the server's stderr matches, now or within a few seconds.
log_has() { soon grep -q -e "$1" "$TMP/log"; }

# feed N TEXT: write the text, as in printf, to the pipe that is descriptor N.  A reader that has ended
# does not end the script.
feed() { (trap '' PIPE && printf '%b' "$2" >&"$1") 2>/dev/null || :; }

# sleeps: true if the server uses hardly any CPU time while a second passes.
sleeps()
{
    before=$(cpu_time)
    sleep 1
    after=$(cpu_time)
    [ $((${after:-0} - ${before:-0})) -lt 10 ] # empty: the server has ended, which is not our question
}

# cpu_time: what the server has used, in hundredths of a second.  Only Linux's ps has no hundredths.
cpu_time()
{
    awk '{ print $14 + $15 }' "/proc/$SERVER_PID/stat" 2>/dev/null ||
        ps -o time= -p "$SERVER_PID" | awk -F: '{ print int(($(NF - 1) * 60 + $NF) * 100) }'
}

# stops: SIGTERM ends the server with exit code 0, within a few seconds.  Sets END to what it did.
stops()
{
    kill -TERM "$SERVER_PID" 2>/dev/null # it may have ended
    ends
}

# ends: the same for a server that has been told to stop.
ends()
{
    (
        sleep $((3 * ${LAB_PATIENCE:-1})) &
        trap 'kill $!; exit' TERM
        wait
        kill -KILL "$SERVER_PID"
    ) 2>/dev/null &
    { wait "$SERVER_PID"; } 2>/dev/null
    code=$?
    kill $! 2>/dev/null
    END="It ended with exit code $code."
    [ $code -ne 137 ] || END="It did not end."
    return $code
}

# show_log: print lines of the server's log, from stdin, in narrower columns that fit in 80.
show_log()
{
    awk '/^(epoll_wait|kevent|poll|select|accept|recv|send|       )/ {
            rest = substr($0, 22)
            match(rest, /^fd [0-9]+( [^ ]+)?/)
            before = sprintf("%-21s%-23s", substr($0, 1, 21), RLENGTH > 0 ? substr(rest, 1, RLENGTH) : "")
            action = RLENGTH > 0 ? substr(rest, RLENGTH + 1) : rest
            sub(/^ */, "", action)
            if (length(before " " action) > 80) {
                print before
                indent = length(action) < 36 ? 44 : 79 - length(action)
                before = sprintf("%" (indent > 0 ? indent : 0) "s", "")
            }
            $0 = before " " action
        }
        { print }'
}

# suspend_server, resume_server: while the server is suspended, events gather; it then gets them in one batch.
suspend_server()
{
    kill -STOP "$SERVER_PID"
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        case $(ps -o stat= -p "$SERVER_PID" 2>/dev/null) in T*) return ;; esac
    done
}
resume_server() { kill -CONT "$SERVER_PID"; }

# climb: the whole ladder.  show_rung NAME: one rung, with each step and the server's log.
climb() { ladder -s "$STATE" -e 'make see'; }
show_rung() { ladder -v -r "$1" 2>&1; }

# ladder OPTION...: run the ladder.  In a `find` task it does not say what the cause may be.
ladder()
{
    [ "$KIND" != find ] || set -- -q "$@"
    "$LADDER" -x -g "$STAGE_DIGIT" -o "$OPTIONS" "$@" ./server -p PORT
}

# rung NAME [OPTION...]: the check ends if this rung fails; the server has these options.  Before
# `climb`, it spares the participant the wait.  Without the likely cause, which is not that of an
# extension.
rung()
{
    name=$1
    shift
    result=$(ladder -r "$name" -o "$OPTIONS $*" 2>&1) ||
        fails "${*:+With $*: }$(printf '%s\n' "$result" | sed '/^  likely cause/,$d')"
}

# build_program: build ./program in the folder of the copy, from program.c in the task's folder and the
# selector of the copy (stage 06).
build_program()
{
    # shellcheck disable=SC2086 # CC may contain options
    ${CC:-cc} -std=c11 -g -I. -o program "${0%/*}/program.c" selector.c select.c poll.c epoll.c kqueue.c ||
        fails "The program of this task does not build with your selector."
}

# fails WHAT_IS_WRONG...: print what is wrong, and end the check.
fails()
{
    printf '%s\n' "$@" | sed '/^$/d' | fold -s -w 80
    exit 1
}
