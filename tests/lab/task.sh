# Functions for the scripts `see` and `check` of a task, which begin with
#   . "$LAB/task.sh"
# They run in the folder of the copy, after its server has been built.
# shellcheck shell=sh

: "${LADDER:?}" "${CLIENT:?}" "${STAGE_DIGIT:?}" "${KIND:?}" "${STATE:?}"
OPTIONS=$(cat .options 2>/dev/null) # of the server, for this task: "-s poll"
TMP=$(mktemp -d "${TMPDIR:-/tmp}/lab.XXXXXX") || exit 2
PIDS=
finish()
{
    for pid in $PIDS; do kill "$pid" 2>/dev/null; done
    rm -rf "$TMP"
}
trap finish EXIT
trap 'exit 130' INT TERM

# serve [OPTION...]: start the copy's server.  Sets PORT and SERVER_PID; its stderr is $TMP/log, and
# its stdin is the file $INPUT, or /dev/null.
serve()
{
    rm -f "$TMP/out" # of an earlier server
    mkfifo "$TMP/out"
    # shellcheck disable=SC2086 # words
    ./server -p 0 $OPTIONS "$@" <"${INPUT:-/dev/null}" >"$TMP/out" 2>"$TMP/log" &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    exec 7<"$TMP/out"
    if ! read -r line <&7; then
        echo "The server ended before it listened:"
        cat "$TMP/log"
        exit 1
    fi
    PORT=${line##*:}
}

# client VERB...: run the test client (tests/build/client -h lists its verbs).
client() { "$CLIENT" -t 5 "$PORT" "$@"; }

# log_has PATTERN: a line of the server's stderr matches, now or within a few seconds.
log_has()
{
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        ! grep -q -e "$1" "$TMP/log" || return 0
        sleep 0.1 2>/dev/null || sleep 1 # POSIX has whole seconds only
    done
    return 1
}

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
    kill -TERM "$SERVER_PID"
    ends
}

# ends: the same for a server that has been told to stop.
# shellcheck disable=SC2034 # the scripts print END
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

# climb: the whole ladder.  show_rung NAME: one rung, with each step and the server's log.
climb() { ladder -s "$STATE" -e 'make see'; }
show_rung() { ladder -v -r "$1" 2>&1; }

# ladder OPTION...: run the ladder.  In a `find` task it does not say what the cause may be.
ladder()
{
    [ "$KIND" != find ] || set -- -q "$@"
    "$LADDER" -x -g "$STAGE_DIGIT" -o "$OPTIONS" "$@" ./server -p PORT
}

# fails WHAT_IS_WRONG...: print what is wrong, and end the check.
fails()
{
    printf '%s\n' "$@"
    exit 1
}
