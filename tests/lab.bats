#!/usr/bin/env bats
# The lab: starters, the ladder, the tasks, and that nothing of a participant's work is lost.  Every
# test works on a copy of the repository.

setup_file() {
    ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
    COPY=$(mktemp -d "${TMPDIR:-/tmp}/lab.XXXXXX")/"a copy"
    export ROOT COPY LAB_PATIENCE=${LAB_PATIENCE:-3}
    unset MAKEFLAGS MFLAGS MAKELEVEL MAKE STAGE SERVER SERVER_ARGS ARGS TASK BACKEND V CC CFLAGS
    copy_to "$COPY"
    (
        cd "$COPY" && make -s -C tests/lab && make -s -C tests/programs client wrong &&
            for stage in 0*-*; do
                [ -n "$(why_not "$stage")" ] || make -s -C "$stage" server || exit 1
            done
    ) >"$COPY/log" 2>&1 || { cat "$COPY/log"; return 1; }
}
teardown_file() { rm -rf "${COPY%/*}"; }

setup() {
    unset MAKEFLAGS MFLAGS MAKELEVEL MAKE STAGE SERVER SERVER_ARGS ARGS TASK BACKEND V CC CFLAGS
    T=$(mktemp -d "${TMPDIR:-/tmp}/lab.XXXXXX")
    LADDER=$COPY/tests/build/ladder WRONG=$COPY/tests/build/wrong
    cd "$COPY" || return 1
    rm -rf work
}
teardown() { rm -rf "$T"; }

copy_to() {
    local stage
    mkdir -p "$1/tests/programs"
    cp "$ROOT/Makefile" "$ROOT/README.md" "$1"
    cp -R "$ROOT/tests/commands" "$ROOT/tests/support" "$1/tests"
    cp "$ROOT"/tests/programs/Makefile "$ROOT"/tests/programs/*.[ch] "$1/tests/programs"
    cp -R "$ROOT/tests/lab" "$ROOT/tests/bugs" "$1/tests"
    for stage in "$ROOT"/0*-*; do
        mkdir "$1/${stage##*/}"
        cp "$stage"/*.[ch] "$stage/Makefile" "$1/${stage##*/}"
        [ ! -d "$stage/linux" ] || cp -R "$stage/linux" "$1/${stage##*/}"
    done
}
why_not() { sh tests/commands/targets stages | sed -n "s/^$1 *//p"; }
can_run() { [ -z "$(why_not "$1")" ]; }
all_tasks() { for file in tests/lab/tasks/*/*/task; do file=${file#tests/lab/tasks/}; echo "${file%/task}"; done; }
header() { sed -n "/^\$/q; s/^$2: *//p" "tests/lab/tasks/$1/task"; }
makes() {
    echo make
    if command -v bmake >/dev/null; then echo bmake; fi
}
narrow() { # no line of the output is over 80 columns
    printf '%s\n' "$output" | awk 'length > 80 { print "over 80 columns: " $0; bad = 1 } END { exit bad }'
}
strict() { echo '-std=c11 -O2 -g -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror'; }

# The lines of the report, which begins with "N of M." or "N of M:".
report() { printf '%s\n' "$output" | sed -n '/^[0-9]* of [0-9]*[.:]/,$p'; }
short_report() {
    narrow
    [ "$(report | grep -vc '^make\|^bmake\|^\*\*\*\|^$\|^Stop')" -le 12 ] || { echo "the report has over 12 lines"; return 1; }
}
# fails_at RUNG WORDS: the ladder's state names the rung, and the report contains the words.
fails_at() {
    read -r result name _ <"$T/state"
    echo "$output"
    [ "$result $name" = "failed $1" ] || { echo "expected the failure of: $1"; return 1; }
    printf '%s\n' "$output" | tr -s ' \n' ' ' | grep -qF -e "$2" || { echo "expected in the report: $2"; return 1; }
    short_report
}

# ---- the ladder against our servers ----

# passes STAGE OPTIONS: the ladder passes in less than 15 seconds.
passes() {
    local begin=$SECONDS digit=${1#0}
    LAB_PATIENCE=3 run "$LADDER" -x -g "${digit%%-*}" -o "$2" "./$1/server" -p PORT
    echo "$1 $2: $output"
    [ "$status" -eq 0 ]
    printf '%s\n' "$output" | grep -q 'every rung passes'
    [ $((SECONDS - begin)) -lt 15 ]
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
closes-after-one again closes the client after its first message
strlen pieces stops at a zero byte
drops-rest late A short write
overwrites late Pending bytes were overwritten
sends-twice late the count of sent bytes is not added
waits-to-read late nothing wakes the server when the socket takes more
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
ignores-stop stop SIGTERM does not end the wait
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
    (cd "$T/bug" && patch -s -p2 <"$COPY/tests/bugs/$name.patch" && make -s server) >"$T/log" 2>&1 || { cat "$T/log"; return 1; }
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
}

@test "the first failure of a server that blocks is reported within 5 seconds" {
    local begin=$SECONDS
    LAB_PATIENCE=1 run "$LADDER" -g 0 "$WRONG" one-by-one PORT
    [ "$status" -eq 1 ]
    [ $((SECONDS - begin)) -lt 5 ]
}

@test "the rung that failed last runs first, and the ones below it after that" {
    echo 'failed never-reads 14 20' >"$T/state"
    run "$LADDER" -g 0 -s "$T/state" "$WRONG" blocks PORT
    [ "${lines[0]}" = 'passed:' ] # nothing below it ran, except what every explanation relies on
    fails_at never-reads 'blocks in send()'
    echo 'failed never-reads 14 20' >"$T/state"
    run "$LADDER" -g 0 -s "$T/state" "$WRONG" closes-after-one PORT
    fails_at again 'closes the client after its first message'
    echo 'failed never-reads 14 20' >"$T/state"
    run "$LADDER" -g 0 -s "$T/state" "$WRONG" line PORT # it breaks every rung; the lowest explains it
    fails_at echoes 'waits for the end of a line'
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

# ---- starters ----

@test "a starter compiles without warnings, with every compiler here" {
    for task in $(all_tasks); do
        [ "$(header "$task" Kind)" = build ] && can_run "${task%/*}" || continue
        for backend in poll epoll; do
            [ "$backend" = poll ] || [ "${task%/*}" = 06-selector ] || continue
            rm -rf work
            BACKEND=$backend sh tests/commands/targets "start-${task%/*}" >/dev/null
            for compiler in gcc clang; do
                command -v $compiler >/dev/null || continue
                make -s -B -C "work/${task%/*}" server CC=$compiler CFLAGS="$(strict)"
            done
        done
    done
}

# Without cut.awk: every line of a starter is in the stage's file, in the same order, or in the gaps' text.
@test "a starter differs from its stage in the gaps only" {
    for task in $(all_tasks); do
        [ -f "tests/lab/tasks/$task/starter" ] || continue
        stage=${task%/*}
        can_run "$stage" || continue
        rm -rf work
        sh tests/commands/targets "start-$stage" >/dev/null
        for file in "work/$stage"/*.[ch]; do
            diff "$stage/${file##*/}" "$file" | sed -n 's/^> //p' >"$T/new"
            while IFS= read -r line; do
                grep -qxF -e "$line" "tests/lab/tasks/$task/starter" || { echo "$file: $line"; return 1; }
            done <"$T/new"
        done
        ! grep -L . "work/$stage"/*.c | grep . # no file is empty
        grep -q 'GAP 1 of' "work/$stage"/*.c
    done
}

@test "a region that a starter names and its stage does not have is an error" {
    printf '=== server.c anchor nowhere\ntext\n' >"$T/starter"
    run awk -f tests/lab/cut.awk -v name=server.c "$T/starter" 04-epoll/server.c
    [ "$status" -eq 1 ]
    [[ $output == *'no anchor "nowhere"'* ]]
    printf '=== server.c function nothing\ntext\n' >"$T/starter"
    run awk -f tests/lab/cut.awk -v name=server.c "$T/starter" 04-epoll/server.c
    [ "$status" -eq 1 ]
}

# Each line: a stage, the first rung that its starter does not pass, and words of the cause.
@test "a starter fails at its first gap, within 3 seconds" {
    local begin
    while read -r stage rung words; do
        can_run "$stage" || continue
        sh tests/commands/targets "start-$stage" >/dev/null
        make -s -C tests/lab
        begin=$SECONDS
        LAB_PATIENCE=1 run sh tests/commands/targets "grade-$stage"
        [ "$status" -eq 1 ]
        [ $((SECONDS - begin)) -le 4 ] # whole seconds, and a busy machine
        cp "work/.state/$stage.build.rung" "$T/state"
        fails_at "$rung" "$words"
    done <<'LINES'
01-blocking echoes The server closes a client that has not sent FIN
02-select starts A gap is still empty
03-poll starts A gap is still empty
04-epoll starts A gap is still empty
05-kqueue starts A gap is still empty
06-selector starts A gap is still empty
07-nic-to-app echoes The loop ended
LINES
}

@test "a compiler error is the first rung, and the report quotes it" {
    sh tests/commands/targets start-02 >/dev/null
    echo 'int x = ;' >>work/02-select/server.c
    run sh tests/commands/targets grade-02
    cp work/.state/02-select.build.rung "$T/state"
    fails_at compiles 'server.c:'
    fails_at compiles 'error'
}

# ---- one task from the beginning to the end ----

@test "from make start to solved, with every make, and the state is on disk" {
    for make in $(makes); do
        rm -rf work
        run $make lab
        echo "$output"
        [[ $output == *'Next: make start-01'* ]]
        run $make start-03
        [[ $output == *"Start at:  work/03-poll/server.c:$(grep -n 'GAP 1 ' work/03-poll/server.c | sed 's/:.*//')"* ]]
        run $make grade-03
        [ "$status" -ne 0 ]
        [[ $output == *'see it       make see-03'* ]]
        run $make lab
        echo "$output"
        [[ $output == *'[>] build 40 (1 of '* ]]
        run $make see
        [[ $output == *'Function not implemented'* ]]
        for hint in 1 2 3; do
            run $make hint
            [ "${lines[1]}" = "$(head -n 1 tests/lab/tasks/03-poll/build/hint$hint)" ]
        done
        run $make hint
        [[ $output == *'no more hints'* ]]
        run $make solution
        [[ $output == *'+static void serve(void)'* ]] || [[ $output == *'+    for (;;) {'* ]]
        cp 03-poll/server.c work/03-poll/server.c
        run $make grade
        echo "$output"
        [ "$status" -eq 0 ]
        [[ $output == *'every rung passes'* ]]
        [[ $output == *"$(head -n 1 tests/lab/tasks/03-poll/build/explanation)"* ]]
        [[ $output == *'Next: make start-03 TASK=count-clients'* ]]
        run $make lab
        [[ $output == *'[x] build 40 '* ]]
        run $make lab-03
        [[ $output == *'40 min  solved'* ]]
    done
}

@test "make lab and make lab-NN fit on a screen" {
    mkdir -p work/.state
    for task in $(all_tasks); do touch "work/.state/${task%/*}.${task#*/}.solved"; done
    run make lab
    echo "$output"
    narrow
    [ "$(printf '%s\n' "$output" | wc -l)" -le 24 ]
    [[ $output == *'Every task is solved.'* ]]
    for stage in 0*-*; do
        run make "lab-$stage"
        narrow
        [ "$(printf '%s\n' "$output" | wc -l)" -le 40 ]
        for task in $(all_tasks); do
            [ "${task%/*}" != "$stage" ] || [[ $output == *"$(header "$task" Minutes) min"* ]]
        done
    done
}

@test "nothing is lost: start, reset and solution keep what the participant wrote" {
    sh tests/commands/targets start-02 >/dev/null
    echo '/* mine */' >>work/02-select/server.c
    cp work/02-select/server.c "$T/mine"
    run sh tests/commands/targets start-02
    echo "$output"
    [ "$status" -eq 0 ]
    cmp work/02-select/server.c "$T/mine"
    run sh tests/commands/targets solution-02
    cmp work/02-select/server.c "$T/mine"
    run sh tests/commands/targets reset-02
    echo "$output"
    [ "$status" -eq 0 ]
    ! grep -q mine work/02-select/server.c
    cmp work/02-select.*/server.c "$T/mine"
    sh tests/commands/targets reset-02 >/dev/null # in the same second, perhaps
    [ "$(ls -d work/02-select.* | wc -l)" -eq 2 ]
    cmp "$(grep -l mine work/02-select.*/server.c)" "$T/mine"
    [ -z "$(ls -d work/.new* 2>/dev/null)" ]
}

@test "make watch grades at each save, and a save that changes nothing is one line" {
    sh tests/commands/targets start-03 >/dev/null
    LAB_PATIENCE=3 sh tests/commands/targets watch-03 >"$T/out" 2>&1 3>&- &
    local pid=$! i
    wait_for() {
        for i in $(seq 300); do
            ! grep -q -e "$1" "$T/out" || return 0
            sleep 0.1
        done
        cat "$T/out"
        return 1
    }
    wait_for '^1 of'
    echo >>work/03-poll/server.c
    wait_for 'no change: 1 of'
    cp 03-poll/server.c work/03-poll/server.c
    wait_for 'every rung passes'
    kill "$pid"
    wait "$pid" || :
    [ "$(grep -c '^1 of' "$T/out")" -eq 1 ]
}

@test "make grade SERVER= takes any server" {
    for words in 'none PORT' 'none {port}' none; do
        SERVER=$WRONG SERVER_ARGS=$words run sh tests/commands/targets grade-04
        echo "$output"
        [ "$status" -eq 0 ]
        [[ $output == *'every rung passes'* ]]
    done
    SERVER=$WRONG SERVER_ARGS=strlen run sh tests/commands/targets grade-04
    [ "$status" -eq 1 ]
    [[ $output == *"see it       make see SERVER="* ]]
    SERVER=$WRONG SERVER_ARGS=strlen run sh tests/commands/targets see
    [[ $output == *'client A sends "p"'* ]]
    [[ $output == *'stops at a zero byte'* ]]
    SERVER=$T/nothing run sh tests/commands/targets grade-04
    [ "$status" -eq 2 ]
    [[ $output == *'there is no such file'* ]]
}

@test "on another system, a task that needs Linux says so" {
    mkdir "$T/bin"
    printf '#!/bin/sh\necho Darwin\n' >"$T/bin/uname"
    chmod +x "$T/bin/uname"
    PATH=$T/bin:$PATH run make lab
    echo "$output"
    narrow
    [[ $output == *'04-epoll      [-] build 45   [-] hot-server 15'*'(needs Linux, and this is Darwin)'* ]]
    [[ $output == *'03-poll       [ ] build 40'* ]]
    PATH=$T/bin:$PATH run make start-04
    [ "$status" -ne 0 ]
    [[ $output == *'needs Linux, and this is Darwin'* ]]
    [ ! -d work/04-epoll ]
}

@test "wrong names are explained in one line" {
    for command in 'start-09' 'start-04 TASK=nothing' 'grade-02' 'hint-02' 'grade' 'start-06 BACKEND=select'; do
        rm -rf work
        # shellcheck disable=SC2086 # words
        run make $command
        echo "$command: $output"
        [ "$status" -ne 0 ]
        [ "$(printf '%s\n' "$output" | grep -vc '^make')" -eq 1 ]
        [ ! -d work/06-selector ]
    done
}

@test "every shell here runs the lab" {
    for shell in dash bash 'bash --posix' ksh mksh yash 'busybox sh'; do
        command -v "${shell%% *}" >/dev/null || continue
        rm -rf work
        $shell tests/commands/lab start 02-select >/dev/null
        run $shell tests/commands/lab grade 02-select
        echo "$shell: $output"
        [[ $output == *'. The next rung'* ]]
        $shell tests/commands/lab list >/dev/null
        $shell tests/commands/lab reset 02-select >/dev/null
    done
}

# sleeping_server: a server of the test below runs.
sleeping_server() {
    local processes
    processes=$(ps -A -o args=)
    printf '%s\n' "$processes" | grep -qF "$WRONG sleeps "
}

@test "an interrupted ladder leaves no server behind" {
    local pid i
    "$LADDER" -g 0 "$WRONG" sleeps PORT >/dev/null 2>&1 3>&- &
    pid=$!
    for i in $(seq 100); do ! sleeping_server || break; sleep 0.05; done
    sleeping_server
    kill -TERM "$pid"
    wait "$pid" || :
    for i in $(seq 100); do sleeping_server || return 0; sleep 0.05; done
    return 1
}

# ---- every task ----

@test "every task has its files, and a header of the right form" {
    for task in $(all_tasks); do
        echo "$task"
        folder=tests/lab/tasks/$task
        [[ $(header "$task" Minutes) =~ ^[0-9]+$ ]]
        [[ $(header "$task" Summary) =~ \.$ ]]
        [ "$(header "$task" Summary | wc -c)" -le 76 ]
        case $(header "$task" Kind) in
        build) [ -f "$folder/starter" ] && [ "${task#*/}" = build ] ;;
        find) [ -f "$folder/bug.patch" ] && [ -f "$folder/see" ] && [ -f "$folder/check" ] ;;
        extend) [ -f "$folder/solution.patch" ] && [ -f "$folder/see" ] && [ -f "$folder/check" ] ;;
        *) false ;;
        esac
        for file in task hint1 hint2 hint3 explanation; do
            [ -s "$folder/$file" ]
            awk -v file="$folder/$file" 'length > 80 { print file ": over 80 columns: " $0; bad = 1 } END { exit bad }' "$folder/$file"
        done
    done
}

# solved_copy TASK: put the solution of a find or extend task into its copy.
solved_copy() {
    local folder=work/${1%%-*}-${1#*/}
    case $(header "$1" Kind) in
    find) cp "${1%/*}"/*.[ch] "$folder" ;;
    extend) (cd "$folder" && patch -s -p2 -F0 <"$COPY/tests/lab/tasks/$1/solution.patch") ;;
    esac
    rm -f "$folder/nic.c" "$folder/cost.c"
}

@test "the check of every task fails before its solution and passes after it" {
    for task in $(all_tasks); do
        [ "$(header "$task" Kind)" != build ] && can_run "${task%/*}" || continue
        echo "$task"
        if [ -f "tests/lab/tasks/$task/bug.patch" ]; then
            patch -s -p1 -F0 --dry-run <"tests/lab/tasks/$task/bug.patch"
        fi
        TASK=${task#*/} sh tests/commands/targets "start-${task%/*}"
        make -s -B -C "work/${task%%-*}-${task#*/}" server CFLAGS="$(strict)"
        run sh tests/commands/targets grade
        echo "$output"
        [ "$status" -ne 0 ]
        short_report
        run sh tests/commands/targets see
        [ -n "$output" ]
        solved_copy "$task"
        make -s -B -C "work/${task%%-*}-${task#*/}" server CFLAGS="$(strict)"
        run sh tests/commands/targets grade
        echo "$output"
        [ "$status" -eq 0 ]
        [[ $output == *"$(head -n 1 "tests/lab/tasks/$task/explanation")"* ]]
    done
}
