#!/usr/bin/env bats
# The appendices and the page for instructors agree with the sources from which their tables are made, and
# with the chapters.  Two tests give a copy of the sources one name more, or one less, and see that it is noticed.

ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
SRC=$ROOT/book/src

setup() {
    set +T # bats traces no command inside functions
    [ "$(uname -s)" = Linux ] || skip 'the tables and transcripts are made on Linux; to run it: a Linux machine'
    TMP=$(mktemp -d "${TMPDIR:-/tmp}/appendices.XXXXXX")
    PIDS=''
}
teardown() {
    local pid
    for pid in ${PIDS:-}; do kill -KILL "$pid" 2>/dev/null || :; done
    [ -z "${TMP:-}" ] || rm -rf "$TMP"
}
without() { ! "$@"; }

# ---- errors.md ----

@test "every errno and flag of the servers is on the page, with its functions, and no other" {
    "$ROOT/book/tools/errors" --check
    [ "$(grep -ohE '^\| `E[A-Z0-9]+`' "$SRC/tables/errors-errno.md" | wc -l)" -ge 25 ]
    local table
    for table in "$SRC"/tables/errors-*.md; do # each table is shown, and each row has a meaning and a place
        grep -qF "{{#include tables/${table##*/}}}" "$SRC/errors.md"
        without grep -nE '\|  *\||\|\|' <(tail -n +3 "$table")
    done
}

# The sources that the script reads, in a folder of their own.
copy_sources() {
    (cd "$ROOT" && cp --parents 0?-*/*.[ch] 05-kqueue/linux/*.c "$TMP")
}

@test "a name that a server uses and the page lacks is noticed, and so is one that no server uses" {
    copy_sources
    sed -i 's/errno == ENOENT/errno == EXDEV/' "$TMP/05-kqueue/server.c" # not in the table of meanings
    SOURCES=$TMP run "$ROOT/book/tools/errors" --check
    [ "$status" = 1 ]
    [[ "$output" == *"server.c uses EXDEV, and book/data/errors.tsv has no line for it."* ]]
    cp "$ROOT/05-kqueue/server.c" "$TMP/05-kqueue"
    sed -i 's/ECANCELED/EINTR/' "$TMP/07-nic-to-app/server.c" # the only use
    SOURCES=$TMP run "$ROOT/book/tools/errors" --check
    [ "$status" = 1 ]
    [[ "$output" == *"explains ECANCELED, and no server uses it."* ]]
}

@test "a function that begins to handle an errno is noticed" {
    copy_sources
    sed -i 's/error == EINTR || error == EAGAIN || stop_requested/error == EINTR || error == EAGAIN || error == EPROTO || stop_requested/' "$TMP"/0?-*/common.c
    SOURCES=$TMP run "$ROOT/book/tools/errors" --check
    [ "$status" = 1 ]
    [[ "$output" == *'+| `EPROTO`'*'`back_off()`, `classify_accept_error()`'* ]]
}

# ---- system-calls.md ----

calls() { # STAGE STEP: the calls that the page shows
    sed -n "/^$1\$/,/^[^ ]/s/^  $2  *//p" "$SRC/transcripts/calls.txt"
}

@test "the page shows what the servers call: the list, and each stage's calls" {
    local name
    run "$ROOT/book/tools/transcripts" --check calls calls-01 calls-02 calls-03 calls-04 calls-05 calls-06 calls-07 calls-edge
    echo "$output"
    [ "$status" = 0 ]
    [[ "$output" != *'not compared'* ]] || skip "needs strace and the permission to trace; to run it: $(sh "$ROOT/tests/commands/doctor" how strace)"
    for name in calls calls-01 calls-02 calls-03 calls-04 calls-05 calls-06 calls-07 calls-edge; do
        grep -qF "transcripts/$name.txt}}" "$SRC/system-calls.md" || { echo "not shown: $name"; return 1; }
    done
}

@test "what the page says of the list of calls" {
    local stage
    for stage in 01-blocking '01-blocking -1' 02-select 03-poll 04-epoll 05-kqueue '06-selector -s epoll' 07-nic-to-app; do
        [[ "$(calls "$stage" echo)" == *'recvfrom sendto' ]]      # "takes two calls"
        [[ "$(calls "$stage" echo)" != *epoll_ctl* ]]              # "An echo needs no registration"
    done
    [ "$(calls 01-blocking echo)" = 'recvfrom sendto' ]
    [ "$(calls '04-epoll -e' echo)" = 'epoll_wait recvfrom sendto recvfrom' ] # "a second recvfrom"
    tail -n 6 "$SRC/transcripts/calls-edge.txt" | head -n 1 | grep -q 'recvfrom.*= -1 EAGAIN' # "returns EAGAIN"
    for stage in 02-select 03-poll 04-epoll 05-kqueue 07-nic-to-app; do
        [[ "$(calls "$stage" connect)" == *' accept' ]]            # "The second `accept`"
    done
    [[ "$(calls 01-blocking connect)" == *clone ]]
    [ "$(calls 05-kqueue echo)" = 'epoll_wait ioctl recvfrom sendto' ]
    [[ "$(calls '06-selector -s epoll' connect)" == *'fcntl x3'* ]] # "reads the flags once more"
    without grep EPOLLRDHUP "$SRC/transcripts/calls-06.txt"        # "without `EPOLLRDHUP`"
    grep -q 'EPOLLIN|EPOLLRDHUP' "$SRC/transcripts/calls-04.txt"
    grep -q 'ioctl(5, FIONREAD.*= -1 EINVAL' "$SRC/transcripts/calls-05.txt" # "on the listener fails"
}

# ---- glossary.md ----

@test "each term of the glossary has two sentences, and the chapter that it links to uses it" {
    awk '
        /^: / { defined = 1; text = substr($0, 3); if (term == "") { print "no term: " text; bad = 1 }
                if (text !~ / \(\[chapter [1-7]\]\(0[1-7]-[a-z-]*\.md\)\)\.$/) { print term ": no link to a chapter"; bad = 1 }
                page = text; sub(/.*\(\[chapter [1-7]\]\(/, "", page); sub(/\)\)\.$/, "", page)
                print "uses\t" page "\t" term
                gsub(/[0-9][0-9.]*[0-9]/, "", text); gsub(/\.md/, "", text); gsub(/`[^`]*`/, "X", text)
                sentences = gsub(/[.?]( |$)/, "", text)
                if (sentences != 2) { print term ": " sentences " sentences"; bad = 1 }
                if (tolower(term) < last) { print term ": not in alphabetical order"; bad = 1 }
                last = tolower(term); term = ""; count++; next }
        /^# / { next }
        /^Two sentences explain each term/ { next } # the introduction
        NF { if (term != "") { print term ": no definition"; bad = 1 } term = $0 }
        END { if (term != "") { print term ": no definition"; bad = 1 } if (count < 40) { print count " terms"; bad = 1 } exit bad }
    ' "$SRC/glossary.md" >"$TMP/terms" || { grep -v '^uses' "$TMP/terms"; return 1; }
    local page term
    while IFS=$'\t' read -r _ page term; do
        grep -qiF -e "$term" "$SRC/${page%%-*}"-*.md || { echo "the glossary says that $page uses \"$term\""; return 1; }
    done < <(grep '^uses' "$TMP/terms")
}

# ---- instructors.md ----

@test "the schedules add up, from the minutes in the headers of the tasks" {
    "$ROOT/book/tools/schedules" --check
    local table
    for table in "$SRC"/tables/{schedule-*,minutes,tasks}.md; do
        grep -qF "{{#include tables/${table##*/}}}" "$SRC/instructors.md" || { echo "not shown: ${table##*/}"; return 1; }
    done
}

@test "a sum that does not fit, a task that does not exist, and other minutes are noticed" {
    cp -R "$ROOT/book" "$TMP/book"
    mkdir "$TMP/tests" && cp -R "$ROOT/tests/lab" "$TMP/tests/lab"
    (cd "$ROOT" && for stage in 0?-*; do mkdir "$TMP/$stage"; done)
    "$TMP/book/tools/schedules" --check
    sed -i 's/^Minutes: .*/Minutes: 40/' "$TMP/tests/lab/tasks/02-select/build/task"
    run "$TMP/book/tools/schedules" --check
    echo "$output"
    [ "$status" = 1 ]
    [[ "$output" == *'| 40 | Lab: `make start-02`'* ]]
    sed -i 's/^Minutes: .*/Minutes: 90/' "$TMP/tests/lab/tasks/02-select/build/task"
    run "$TMP/book/tools/schedules" --check
    [ "$status" = 1 ]
    [[ "$output" == *'half-day: 285 minutes, and it has 240'* ]]
    sed -i 's#02-select/build#02-select/bild#' "$TMP/book/data/schedules"
    run "$TMP/book/tools/schedules" --check
    [ "$status" = 1 ]
    [[ "$output" == *'there is no task 02-select/bild'* ]]
    sed -i 's#page=07-way-in#page=07-way-out#' "$TMP/book/data/schedules"
    run "$TMP/book/tools/schedules" --check
    [ "$status" = 1 ]
    [[ "$output" == *'there is no page 07-way-out.md'* ]]
}

@test "the page for instructors names tasks, transcripts and recordings that exist, and each chapter has a fallback" {
    local name count=0
    for name in $(grep -oE '`0[1-7]-[a-z-]+/[a-z0-9-]+`' "$SRC/instructors.md" | tr -d '`'); do
        count=$((count + 1))
        [ -f "$ROOT/tests/lab/tasks/$name/task" ] || [ -e "$ROOT/$name" ] || { echo "no such task: $name"; return 1; }
    done
    [ "$count" -ge 10 ]
    # The task that shows the commands of the lab gives nothing away.
    name=$(sed -n 's/^\$ make start-01 TASK=//p' "$SRC/instructors.md")
    [ -f "$ROOT/tests/lab/tasks/01-blocking/$name/task" ]
    without grep "01-blocking/$name" "$ROOT/book/data/schedules"
    for name in $(grep '^Fallback: ' "$SRC/instructors.md" | grep -oE '`[a-z]+-0[1-7]\.txt`' | tr -d '`'); do
        [ -f "$SRC/transcripts/$name" ] || { echo "no such transcript: $name"; return 1; }
    done
    [ "$(grep -c '^Fallback: ' "$SRC/instructors.md")" = 7 ]
    [ "$(grep -c '^### Chapter [1-7]: ' "$SRC/instructors.md")" = 7 ]
    for name in $(grep -oE 'recordings/[a-z0-9-]+\.txt' "$SRC/instructors.md"); do
        [ -f "$ROOT/07-nic-to-app/$name" ] || { echo "no such recording: $name"; return 1; }
    done
    # The tasks that replace those that need Linux need none.
    for name in 05-kqueue/build 05-kqueue/hot-after 05-kqueue/then-mute; do
        grep -q "$name" "$SRC/instructors.md"
        without grep '^Needs:' "$ROOT/tests/lab/tasks/$name/task"
    done
}

@test "the commands of these pages that no transcript and no other test runs do what the page says" {
    local command count=0
    make -s -C "$ROOT/07-nic-to-app" trace
    cd "$ROOT"
    while IFS= read -r command; do
        count=$((count + 1))
        (eval "$command") >"$TMP/replayed" || { cat "$TMP/replayed"; return 1; }
        grep -q '^RECORDED' "$TMP/replayed" # "its first line says that it was recorded"
    done < <(sed -n 's/^\$ \(07-nic-to-app\/trace replay .*\)/\1/p' "$SRC/instructors.md")
    [ "$count" = 2 ]
    command=$(grep -o '`echo EAGAIN [^`]*`' "$SRC/errors.md" | tr -d '`')
    [ "$(eval "$command")" = 11 ]
}

@test "make doctor ends with a line that says Ready, or what to do" {
    run sh "$ROOT/tests/commands/doctor"
    case ${lines[${#lines[@]} - 1]} in
    Ready:*) [ "$status" = 0 ] ;;
    *) [ "$status" = 1 ] && [[ "$output" == *'Not ready: '* ]] ;;
    esac
    # A PATH without a compiler: the last sentence names it.
    mkdir "$TMP/bin"
    local program
    for program in sh bash awk cat cmp cut diff find grep head id mkfifo mktemp paste ps sed sleep sort tail tr uname uniq wc rm make getconf dirname ls; do
        ln -s "$(command -v "$program")" "$TMP/bin/$program"
    done
    run env PATH="$TMP/bin" CC=cc sh "$ROOT/tests/commands/doctor"
    echo "$output"
    [ "$status" = 1 ]
    [[ "$output" == *'Not ready: missing: a C compiler'* ]]
    without grep -q '^Ready' <<<"$output"
}

# ---- beyond.md ----

@test "what the page says of SO_REUSEPORT: two servers share a port, and both get clients" {
    "$ROOT/book/tools/transcripts" --check share-04 ready
}

@test "what the page says of asyncio: level-triggered, registered once, and a second wait for each echo" {
    command -v python3 >/dev/null || skip "needs python3; to run it: $(sh "$ROOT/tests/commands/doctor" how python3)"
    strace -D -qq -o /dev/null true 2>/dev/null || skip "needs strace and the permission to trace; to run it: $(sh "$ROOT/tests/commands/doctor" how strace)"
    make -s -C "$ROOT/tests/programs" client
    # A program that chooses a port, prints it, and becomes the server.
    python3 - "$TMP" <<'END'
import socket, sys
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    open(sys.argv[1] + "/port", "w").write(str(s.getsockname()[1]))
END
    local port i server
    port=$(cat "$TMP/port")
    strace -qq -e trace=epoll_wait,epoll_ctl,recvfrom,sendto -o "$TMP/log" python3 "$ROOT/tests/bench/peers/streams.py" "$port" 3>&- 4>&- &
    PIDS=$!
    for ((i = 0; i < 500; i++)); do
        ! grep -q "$(printf ':%04X 00000000:0000 0A' "$port")" /proc/net/tcp || break
        sleep 0.02
    done
    server=$(cat "/proc/$PIDS/task/$PIDS/children") && server=${server%% *}
    PIDS="$server $PIDS"
    "$ROOT/tests/build/client" "$port" echo first echo second shutdown expect-eof
    for ((i = 0; i < 500; i++)); do
        ! grep -q 'recvfrom.* = 0$' "$TMP/log" || break
        sleep 0.02
    done
    sed -n '/recvfrom.*"first"/,/recvfrom.*"second"/p' "$TMP/log" >"$TMP/echo"
    cat "$TMP/echo"
    grep -A 1 'recvfrom.*"first"' "$TMP/echo" | grep -q 'epoll_wait(.*, 0) *= 0' # before the send
    grep -q 'sendto(.*"first"' "$TMP/echo"
    without grep epoll_ctl "$TMP/echo"                                            # "registered once"
    grep -q 'EPOLL_CTL_ADD, [0-9]*, {events=EPOLLIN,' "$TMP/log"                  # "with EPOLLIN only"
    without grep EPOLLET "$TMP/log"
}
