#!/usr/bin/env bats
# The tasks of the lab, and that nothing of a participant's work is lost.
load support/output
load support/lab

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
        [[ $output == *'> build 40 (1 of '* ]]
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
        [[ $output == *'Next: make start-03 TASK=newest'* ]]
        run $make lab
        [[ $output == *'x build 40 '* ]]
        run $make lab-03
        [[ $output == *'40 min  solved'* ]]
    done
}

@test "make lab and make lab-NN fit on a screen" {
    mkdir -p work/.state
    for task in $(all_tasks); do
        case $task in
        */build)
            mkdir "work/${task%/*}"
            echo 'failed edge-late 28 29' >"work/.state/${task%/*}.build.rung"
            ;;
        esac
    done
    run make lab
    echo "$output"
    narrow
    [[ $output == *'(28 of 29)'* ]]
    [ "$(printf '%s\n' "$output" | wc -l)" -le 23 ] # and the prompt
    for task in $(all_tasks); do touch "work/.state/${task%/*}.${task#*/}.solved"; done
    run make lab
    echo "$output"
    narrow
    [ "$(printf '%s\n' "$output" | wc -l)" -le 23 ]
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

@test "lab, start, grade, see and hint fit on 40 columns" {
    local command
    for command in lab lab-04 start-03 grade-03 see-03 hint-03; do
        COLUMNS=40 run make $command
        printf '%s\n' "$output" | grep -v '^make' >"$T/out"
        COLUMNS=40 run awk 'length > 40' "$T/out"
        cat "$T/out"
        [ -z "$output" ]
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
    ! grep -q mine work/02-select/server.c || return 1
    cmp work/02-select.*/server.c "$T/mine"
    sh tests/commands/targets reset-02 >/dev/null # in the same second, perhaps
    [ "$(ls -d work/02-select.* | wc -l)" -eq 2 ]
    cmp "$(grep -l mine work/02-select.*/server.c)" "$T/mine"
    [ -z "$(ls -d work/.new* 2>/dev/null)" ]
}

@test "a file or a link in the place of the copy is kept, and start says how to go on" {
    mkdir -p work
    echo mine >work/02-select
    ln -s nowhere work/03-poll
    for stage in 02-select 03-poll; do
        run sh tests/commands/targets "start-$stage"
        echo "$output"
        [ "$status" -eq 1 ]
        [[ "${output//$'\n'/ }" == *"is not a folder."*"make reset-${stage%%-*}"* ]]
        narrow
        sh tests/commands/targets "reset-$stage" >/dev/null
        [ -f "work/$stage/server.c" ]
    done
    [ "$(cat work/02-select.*)" = mine ]
    [ -n "$(find work -maxdepth 1 -name '03-poll.*' -type l)" ]
}

@test "a start that fails or is interrupted leaves nothing behind, and the older copy in its place" {
    mkdir "$T/bin"
    sh tests/commands/targets start-02 >/dev/null
    echo '/* mine */' >>work/02-select/server.c
    printf '#!/bin/sh\necho cp: No space left on device >&2\nexit 1\n' >"$T/bin/cp"
    chmod +x "$T/bin/cp"
    PATH=$T/bin:$PATH run sh tests/commands/targets reset-02
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" == *'could not be made'* ]]
    printf '#!/bin/sh\nkill -TERM $PPID\n' >"$T/bin/cp" # SIGINT may be ignored in a process in the background
    PATH=$T/bin:$PATH run sh tests/commands/targets reset-02
    [ "$status" -eq 130 ]
    [ -z "$(ls -d work/.new* work/02-select.* 2>/dev/null)" ]
    grep -q mine work/02-select/server.c
}

@test "a copy whose files are missing or cannot be read is explained" {
    sh tests/commands/targets start-02 >/dev/null
    cp 02-select/server.c work/02-select
    run sh tests/commands/targets solution
    echo "$output"
    [[ "$output" == *'There is no difference'* ]]
    rm work/02-select/server.c
    run sh tests/commands/targets solution
    [[ "$output" == *'+static void serve(void)'* ]]
    [ "$(id -u)" -ne 0 ] || skip 'Root can read every file. Without root, this test runs.'
    chmod 000 work/02-select
    for command in grade see hint solution; do
        run sh tests/commands/targets "$command"
        echo "$output"
        [[ "${output//$'\n'/ }" == *'chmod u+rwx work/02-select' ]]
    done
    chmod 700 work/02-select
    chmod a-w work
    for command in grade hint reset start-03; do
        run sh tests/commands/targets "$command"
        [[ "$output" == 'The lab cannot write to work/'* ]]
    done
    chmod u+w work
}

@test "make watch grades at each save, and a save that changes nothing is one line" {
    sh tests/commands/targets start-03 >/dev/null
    LAB_PATIENCE=3 sh tests/commands/targets watch-03 >"$T/out" 2>&1 3>&- &
    local pid=$!
    wait_for() { wait_until 30 has "$T/out" "$1" || { cat "$T/out"; return 1; }; }
    wait_for '^1 of'
    echo >>work/03-poll/server.c
    wait_for 'no change: 1 of'
    cp 03-poll/server.c work/03-poll/server.c
    wait_for 'every rung passes'
    kill "$pid"
    wait "$pid" || :
    [ "$(grep -c '^1 of' "$T/out")" -eq 1 ]
}

@test "a file whose name is that of a command hides nothing" {
    local make verb
    for make in $(makes); do
        rm -rf work
        run $make start-03
        for verb in lab grade see hint solution; do
            $make $verb >$verb 2>&1 || true
            ! grep "'$verb' is up to date" $verb || return 1
            [ "$(wc -l <$verb)" -ge 2 ]
            rm $verb
        done
    done
}

@test "the command that repeats a failure can be pasted if the server's path has a quote or a dollar sign" {
    cp "$WRONG" "$T/it's \$b"
    SERVER="$T/it's \$b" SERVER_ARGS=upper run sh tests/commands/targets grade-04
    echo "$output"
    again=$(printf '%s\n' "$output" | sed -n 's/.*\(make see SERVER=.*\)/\1/p')
    run sh -c "$again"
    echo "$output"
    [[ $output == *'in place of "hello"'* ]]
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
    [[ $output == *$'\n'"  see it"$'\n'"make see SERVER="* ]]
    SERVER=$WRONG SERVER_ARGS=strlen run sh tests/commands/targets see
    [[ $output == *'client A sends "p"'* ]]
    [[ $output == *'stops at a zero byte'* ]]
    SERVER=$T/nothing run sh tests/commands/targets grade-04
    [ "$status" -eq 2 ]
    [[ $output == *'there is no such file'* ]]
    SERVER='sh mine.sh' run sh tests/commands/targets grade-04
    echo "$output"
    [ "$status" -eq 2 ]
    [[ $output == *"make grade SERVER=sh SERVER_ARGS='mine.sh PORT'" ]]
    cp "$WRONG" "$T/it's mine" # a command with this name can be pasted into a shell
    SERVER="$T/it's mine" SERVER_ARGS=upper run sh tests/commands/targets grade-04
    [[ $output == *'received "HELLO"'* ]]
    # It is long, so it is on a line of its own, and not wrapped.
    command=$(printf '%s\n' "$output" | sed -n '/^  see it$/{ n; p; }')
    echo "$command"
    eval "run $command"
    [[ $output == *'received "HELLO"'* ]]
}

@test "on another system, a task that needs Linux says so" {
    mkdir "$T/bin"
    printf '#!/bin/sh\necho Darwin\n' >"$T/bin/uname"
    chmod +x "$T/bin/uname"
    PATH=$T/bin:$PATH run make lab
    echo "$output"
    narrow
    [[ $output == *'04 - build 45 | - '* ]]
    [[ $output == *'03 . build 40'* ]]
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

@test "a wrong name is answered with the command that was meant" {
    answers() { # COMMAND TEXT
        # shellcheck disable=SC2086 # words
        run make -s $1
        echo "$output"
        [ "$status" -ne 0 ] && [[ "$(printf '%s' "$output" | tr '\n' ' ')" == *"$2"* ]] && narrow
    }
    answers 'start TASK=newest' 'make start-03 TASK=newest'
    answers 'hint-02 TASK=newest' 'make hint-03 TASK=newest'
    answers 'start-newest' 'make start-03 TASK=newest'
    answers 'start-03 TASK=newets' 'Did you mean "newest"?'
    answers 'see SERVER=./README.md' 'is not executable'
    answers 'see SERVER=/bin/true' "make grade SERVER='/bin/true'"
    answers "grade SERVER=/bin/true SERVER_ARGS='" 'a quote is missing'
    : >work/.current # as a full disk leaves it
    answers hint 'make hint-04'
    make -s start-06
    run make -s start-06 BACKEND=epoll
    narrow
    [[ "$output" == *'make reset-06 BACKEND=epoll'* ]]
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
        extend)
            [ -f "$folder/solution.patch" ]
            [ -f "$folder/see" ]
            [ -f "$folder/check" ]
            file=$(header "$task" File) # to start with
            grep -q "^+++ b/${task%/*}/${file:-server.c}\$" "$folder/solution.patch" || { echo "the solution leaves the file to start with unchanged"; return 1; }
            ;;
        *) false ;;
        esac
        # After success: the manual page.
        tr '\n' ' ' <"$folder/explanation" | grep -q '[a-z_]([2-8])' || { echo "the explanation names no manual page"; return 1; }
        for file in task hint1 hint2 hint3 explanation; do
            [ -s "$folder/$file" ]
            awk -v file="$folder/$file" 'length > 80 { print file ": over 80 columns: " $0; bad = 1 } END { exit bad }' "$folder/$file"
        done
    done
}

@test "the solution of each extension has 5 to 40 added lines, none of them over 100 columns" {
    local patch added count=0
    for patch in tests/lab/tasks/*/*/solution.patch; do
        added=$(grep -v '^+++ ' "$patch" | grep -c '^+.')
        echo "$added $patch"
        [ "$added" -ge 5 ] && [ "$added" -le 40 ] || return 1
        ! grep '^+' "$patch" | LC_ALL=C.UTF-8 awk 'length > 101 { print; long = 1 } END { exit !long }' || return 1
        count=$((count + 1))
    done
    [ "$count" -ge 21 ] # three for each stage
}

@test "every section that an explanation names is in the book" {
    local book=$ROOT/book/src
    for file in tests/lab/tasks/*/*/explanation; do
        tr '\n' ' ' <"$file" | grep -o 'hapter [0-9], "[^"]*"' | sed 's/^/c/' || :
    done | sort -u >"$T/sections"
    [ "$(wc -l <"$T/sections")" -gt 15 ]
    while read -r section; do
        title=${section#*\"}
        pages=$book/0${section#chapter }
        pages=${pages%%,*}
        grep -qx -e "##* ${title%\"}" "$pages"*.md || { echo "not in the book: $section"; return 1; }
    done <"$T/sections"
}
