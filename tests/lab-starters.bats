#!/usr/bin/env bats
# The starters of the lab: they compile, and differ from their stages in the gaps only.
load support/output
load support/lab

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
        ! grep -L . "work/$stage"/*.c | grep . || return 1 # no file is empty
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
        [ $((SECONDS - begin)) -le 8 ] # about 2; the machine may be busy
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
