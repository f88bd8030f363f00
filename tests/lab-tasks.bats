#!/usr/bin/env bats
# Every task of the lab: its check fails before the solution and passes after it, `make see` shows
# something, and both are quick.  The tasks are independent, so several are tried at a time.
load support/output
load support/lab

# solved_copy TASK: put the solution of a find or extend task into its copy.
solved_copy() {
    local folder=work/${1%%-*}-${1#*/}
    case $(header "$1" Kind) in
    find) cp "${1%/*}"/*.[ch] "$folder" ;;
    extend) (cd "$folder" && patch -s -p2 -F0 <"$COPY/tests/lab/tasks/$1/solution.patch") ;;
    esac
    rm -f "$folder"/nic*.[ch] "$folder/cost.c"
}

# build KIND TASK: build its copy.  What we have written ourselves must compile without warnings: the mistake
# of a `find` task and the solution of an `extend` task.  The other copy is the stage itself.
build() {
    local flags='-std=c11 -O0'
    [ "$1" != "$(header "$2" Kind)" ] || flags=$(strict)
    rm -f "work/${2%%-*}-${2#*/}/server"
    make_server "work/${2%%-*}-${2#*/}" CFLAGS="$flags"
}

# within SECONDS COMMAND...: it ends in time.  A busy machine gets three times as long.
within() {
    local begin=$SECONDS limit=$1
    shift
    run "$@"
    echo "$output"
    [ $((SECONDS - begin)) -le $((limit * 3)) ] || { echo "it took $((SECONDS - begin)) s: $*"; return 1; }
}

# The stage of a `find` task is its solution, and lab-ladder.bats tests the whole ladder on every stage,
# so here a check that is nothing but the ladder is not run again.
is_ladder_only() { [ "$(grep -v '^#' "tests/lab/tasks/$1/check" | grep -c .)" = 2 ] && grep -qx climb "tests/lab/tasks/$1/check"; }

# one_task TASK: in a folder of its own, because the current task is a file.  Everything else in it is a link.
one_task() {
    local task=$1 folder="$T/${1//\//-}"
    if [ -f "tests/lab/tasks/$task/bug.patch" ]; then
        patch -s -p1 -F0 --dry-run <"tests/lab/tasks/$task/bug.patch" || return 1
    fi
    mkdir "$folder"
    ln -s "$COPY"/[!l]* "$folder" # not the file log
    cd "$folder" || return 1
    TASK=${task#*/} sh tests/commands/targets "start-${task%/*}" >/dev/null && build find "$task" || return 1
    within 10 sh tests/commands/targets grade || return 1
    [ "$status" -eq 1 ] || { echo "the check passes without a solution, or cannot run ($status)"; return 1; }
    short_report || return 1
    ! [[ $output == *'likely cause'* ]] || [ "$(header "$task" Kind)" != find ] || { echo "the check gives the cause away"; return 1; }
    within 10 sh tests/commands/targets see || return 1
    [ -n "$output" ] && narrow || return 1
    ! is_ladder_only "$task" || return 0
    solved_copy "$task" && build extend "$task" || return 1
    within 25 sh tests/commands/targets grade || return 1
    [ "$status" -eq 0 ] || { echo "the check fails with the solution"; return 1; }
    narrow || return 1
    [[ $output == *"$(head -n 1 "tests/lab/tasks/$task/explanation")"* ]]
}

# Before the first test: try the tasks of all stages that are tested, three for each processor at a time, because
# they mostly wait.  Of each task, RESULTS has a log and, if it failed, a file TASK.failed.
setup_file() {
    make_copy || return 1
    local T=${COPY%/*}/results task n=0 running=() most=$(($(getconf _NPROCESSORS_ONLN) * 3))
    export RESULTS=$T
    mkdir "$T" && cd "$COPY" || return 1
    for task in $(all_tasks); do
        [ "$(header "$task" Kind)" != build ] && is_tested "${task%/*}" && can_run "${task%/*}" || continue
        [ "$n" -lt "$most" ] || wait "${running[n - most]}" || :
        { one_task "$task" >"$T/${task//\//-}.log" 2>&1 || touch "$T/${task//\//-}.failed"; } 3>&- &
        running[n]=$!
        n=$((n + 1))
    done
    wait
    for task in "$T"/*.failed; do # once more, alone: the machine may have been busy
        [ -e "$task" ] || continue
        task=${task##*/} task=${task%.failed}
        echo "once more: $task"
        rm -rf "$T/$task" "$T/$task.failed"
        (one_task "$(task_of "$task")") >"$T/$task.log" 2>&1 || touch "$T/$task.failed"
    done
}
# task_of 04-epoll-hot-server: 04-epoll/hot-server, the task with this name
task_of() { for task in $(all_tasks); do [ "${task//\//-}" != "$1" ] || echo "$task"; done; }
# With ONLY=, bats leaves out the tests whose names do not contain it.
is_tested() { [[ "${1%%-*}: each check fails before the solution and passes after it" == *"${ONLY:-}"* ]]; }

# all_of STAGE: print what failed of the tasks of the stage.
all_of() {
    local task failed=0
    can_run "$1" || skip "$(why_not "$1")"
    ls "$RESULTS/$1"-*.log
    for task in "$RESULTS/$1"-*.failed; do
        [ -e "$task" ] || continue
        failed=1
        echo "== ${task##*/}"
        tail -n 40 "${task%.failed}.log"
    done
    [ "$failed" = 0 ]
}

@test "01: each check fails before the solution and passes after it" { all_of 01-blocking; }
@test "02: each check fails before the solution and passes after it" { all_of 02-select; }
@test "03: each check fails before the solution and passes after it" { all_of 03-poll; }
@test "04: each check fails before the solution and passes after it" { all_of 04-epoll; }
@test "05: each check fails before the solution and passes after it" { all_of 05-kqueue; }
@test "06: each check fails before the solution and passes after it" { all_of 06-selector; }
@test "07: each check fails before the solution and passes after it" { all_of 07-nic-to-app; }
