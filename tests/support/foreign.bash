# Helper functions for a server that is not one of our stages (make test SERVER=).  helpers.bash loads
# this file.
#
# Such a server promises only what the contract says (book/src/contract.md): it prints nothing that
# the tests could wait for, and nobody knows which calls it makes.  So the tests look for its
# listening socket in /proc/net/tcp, where it does not see them look, and count its calls up to that
# point before they make one of them fail.
#
# tests/commands/run provides two folders:
#   RUN_STATE    the files of one run: failures, stop, started, calls, lazy
#   TMPDIR       where every test puts its files; a server that is left over is found by it

is_foreign() { [ -z "${OURS:-}" ]; }
# An interpreter allocates memory and closes files for itself, and the shim cannot tell these calls apart.
need_compiled() {
    ! is_foreign || ! is_interpreted || skip "the interpreter itself makes these calls; to run it: a compiled server"
}
is_interpreted() {
    case ${SERVER##*/} in python* | ruby* | perl* | node* | php* | lua* | java | deno | bun) return 0 ;; esac
    [ "$(head -c 2 "$SERVER" 2>/dev/null)" = '#!' ]
}

# split_words TEXT: set WORDS to the words of a command line, in which quotes and backslashes work as
# in a shell, but nothing is expanded.
split_words() {
    local word
    WORDS=()
    case $1 in
    *[\"\'\\]*) ;;
    *)
        set -f
        # shellcheck disable=SC2206 # words
        WORDS=($1)
        set +f
        return
        ;;
    esac
    while IFS= read -r word; do
        WORDS[${#WORDS[@]}]=$word
    done < <(printf '%s\n' "$1" | xargs printf '%s\n')
}

# ---- is it listening? ----

# A socket listens on $PORT and 127.0.0.1, or on an address that includes it.  The server does not
# notice the question.
port_is_open() {
    if [ ! -r /proc/net/tcp ]; then # not Linux
        (exec 9<>"/dev/tcp/$ADDRESS/$PORT") 2>/dev/null
        return
    fi
    listening_sockets | grep -qE "^(0100007F|00000000|0{32}|0{16}FFFF00000100007F) $(printf '%04X' "$PORT") "
}

# Print "ADDRESS PORT INODE" in hexadecimal for each listening socket of the system.  The kernel lists
# them before all others, of which there may be thousands.
listening_sockets() {
    local file
    for file in /proc/net/tcp /proc/net/tcp6; do
        [ ! -r "$file" ] || awk 'NR > 1 && $4 != "0A" { exit }
            NR > 1 { n = length($2); print substr($2, 1, n - 5), substr($2, n - 3), $10 }' "$file"
    done
}

# Print the processes that this test's server has started, and the server itself.  Each has the
# test's folder in its environment, even after daemon().
server_processes() {
    grep -lsF "ECHO_TEST=$TMP" /proc/[0-9]*/environ 2>/dev/null | sed 's|/proc/||; s|/environ||'
}
kill_server_processes() {
    local pid
    for pid in $(server_processes); do
        kill -KILL "$pid" 2>/dev/null
    done
}

# holds_socket PID INODE
holds_socket() {
    find "/proc/$1/fd" -lname "socket:\[$2\]" 2>/dev/null | grep -q .
}

# ---- why did it not start? ----

# found SAW CAUSE: replace the cause of the current rule by what we know better.
found() {
    SAW=$1 CAUSE=$2
    [ -z "${3:-}" ] || CHAPTER=$3
}

# Print how the server ended: "exited with code 1", "was ended by SIGPIPE".
how_it_ended() {
    local code=0
    wait "$SERVER_PID" 2>/dev/null || code=$?
    if [ "$code" = 127 ] && [ ${#WRAP[@]} != 0 ]; then
        echo "has exited" # it is the child of strace, which knows its exit code
    elif [ "$code" -gt 128 ] && [ "$code" -lt 193 ]; then
        echo "was ended by SIG$(kill -l $((code - 128)))"
    else
        echo "exited with code $code"
    fi
}

readable_address() { # the hexadecimal address of /proc/net/tcp
    case $1 in
    00000000000000000000000001000000) echo ::1 ;;
    ????????????????????????????????) echo "another IPv6 address" ;;
    *) printf '%d.%d.%d.%d\n' "0x${1:6:2}" "0x${1:4:2}" "0x${1:2:2}" "0x${1:0:2}" ;;
    esac
}

# Find out why the server does not listen on $PORT.
explain_start() {
    local address port inode pid how words
    words="Its argument was the port, $PORT."
    [ "$SERVER_ARGS" = PORT ] || words="Its arguments were: ${SERVER_ARGS//PORT/$PORT}."
    if [ -n "${FIXED_PORT:-}" ]; then
        found "the server was started again on port $PORT and did not listen there" \
            "SO_REUSEADDR is not set, and old connections in TIME_WAIT occupy the port" "chapter 1"
        return
    fi
    for pid in $(server_processes); do
        while read -r address port inode; do
            holds_socket "$pid" "$inode" || continue
            if [ "$((0x$port))" = "$PORT" ]; then
                found "it listens on $(readable_address "$address") only, port $PORT; the tests connect to 127.0.0.1" \
                    "the address that is given to bind()"
            else
                found "it listens on port $((0x$port)), not on $PORT. $words" \
                    "it ignores the port, or does not convert it with htons(). If it takes the port differently, set SERVER_ARGS, such as SERVER_ARGS='-p PORT'."
            fi
            return
        done < <(listening_sockets)
    done
    if ! has_exited "$SERVER_PID"; then
        found "5 seconds after its start it does not listen on any port. $words" \
            "it does not call listen(), or waits for something before it does"
        return
    fi
    how=$(how_it_ended) STOPPED=yes
    found "it $how before it listened. $words" "its start failed; its own message, if it printed one, follows"
    case $how in *12[67]) found "it could not be executed" "the file, or the interpreter in its first line, cannot be run" ;; esac
}

# Another process listens than the one that we started.  The tests cannot work with that, because they
# send signals to the process that they started and read its memory and CPU time.
explain_other_process() {
    if has_exited "$SERVER_PID"; then
        STOPPED=yes
        found "the process that the tests started has exited, and another one listens on port $PORT" \
            "the server becomes a daemon. Let it run in the foreground." "chapter 2"
    else
        found "another process than the one that the tests started listens on port $PORT" \
            "a script starts the server. Start it with exec, so that signals reach the server." "chapter 2"
    fi
}

# One of the processes of this test listens on $PORT.
own_process_listens() {
    local pid address port inode
    while read -r address port inode; do
        [ "$((0x$port))" = "$PORT" ] || continue
        for pid in $(server_processes); do
            ! holds_socket "$pid" "$inode" || return 0
        done
    done < <(listening_sockets)
    return 1
}

# A foreign server has been started: wait until it listens.  Returns 6 if the port is not free any more.
foreign_server_listens() {
    local code=0
    "$PROBE" -p "$SERVER_PID" "$PORT" started || code=$?
    if [ "$code" = 4 ]; then # it may have become a daemon, which is still starting
        short_sleep 0.3
        ! port_is_open || code=3
    fi
    if [ "$code" = 3 ]; then
        [ ${#WRAP[@]} = 0 ] || code=0 # the process that we started is strace
        own_process_listens || code=6
    fi
    if [ "$code" = 0 ]; then
        : >"$RUN_STATE/started"
        return
    fi
    case $code in
    3) explain_other_process ;;
    6) return 6 ;; # somebody else has taken the port meanwhile
    *) explain_start ;;
    esac
    # If it has never started, no other test has a chance.
    [ -e "$RUN_STATE/started" ] || echo "it does not start" >"$RUN_STATE/stop"
    return 1
}

# ---- descriptors that the server opens with its first client and keeps ----

# Print their number.  A second client must not add to them; otherwise they are a leak.
lazy_descriptors() {
    if [ ! -e "$RUN_STATE/lazy" ]; then
        local pid=$SERVER_PID port=$PORT wrap=(${WRAP[@]+"${WRAP[@]}"}) counts=()
        WRAP=()
        if start_server >/dev/null; then
            counts[0]=$(fd_count)
            for i in 1 2; do
                client echo lazy shutdown expect-eof >/dev/null 2>&1 || :
                short_sleep 0.2
                counts[i]=$(fd_count)
            done
        fi
        if [ "${counts[1]:-1}" = "${counts[2]:-2}" ]; then
            echo $((counts[1] - counts[0]))
        else
            echo 0
        fi >"$RUN_STATE/lazy"
        kill -KILL "$SERVER_PID" 2>/dev/null
        SERVER_PID=$pid PORT=$port WRAP=(${wrap[@]+"${wrap[@]}"})
    fi
    cat "$RUN_STATE/lazy"
}

# ---- the probe ----

# look NAME: let the probe examine the server.  It fails with the cause that the probe has found.
look() {
    local text
    text=$("$PROBE" -b "$ADDRESS" -p "$SERVER_PID" "$PORT" "$1" 2>&1) && return
    found "$(sed -n 's/^saw: //p' <<<"$text")" "$(sed -n 's/^cause: //p' <<<"$text")" "$(sed -n 's/^chapter: //p' <<<"$text")"
    [ -n "$SAW" ] || SAW="the probe did not come to an end within 30 seconds${text:+: $text}"
    return 1
}

# ---- a failure, for tests/commands/run to print ----

# Each line begins with "::" and the kind of the text.
print_foreign_failure() {
    echo "::rule $RULE"
    [ -z "$CASE" ] || echo "::case $CASE"
    [ -z "$SAW" ] || echo "::saw $SAW"
    local how='' i
    # A server that has closed its socket is about to exit.
    for ((i = 0; i < 10; i++)); do
        [ -n "$SERVER_PID" ] && [ -n "$PORT" ] && ! has_exited "$SERVER_PID" && ! port_is_open || break
        short_sleep
    done
    if [ -n "$SERVER_PID" ] && has_exited "$SERVER_PID" && [ "$STOPPED" != yes ]; then
        how=$(how_it_ended)
        case $SAW in *" it $how"* | "it $how"*) ;; *) echo "::exit $how" ;; esac
    fi
    echo "::cause $CAUSE"
    echo "::book $CHAPTER"
    [ ! -s "$TMP/server.err" ] || grep . "$TMP/server.err" | tail -n 1 | LC_ALL=C tr -cd '\t\n -~' | cut -c 1-200 | sed 's/^/::err /'
    echo "::end"
}
