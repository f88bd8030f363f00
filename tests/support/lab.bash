# What the tests of the lab share: each file of tests works on a copy of the repository.
# shellcheck shell=bash disable=SC2034,SC2154 # the tests use these variables, and bats sets $output

# A file of tests that has more to prepare calls this in a setup_file of its own.
make_copy() {
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
setup_file() { make_copy; }
teardown_file() { rm -rf "${COPY%/*}"; }

setup() {
    unset MAKEFLAGS MFLAGS MAKELEVEL MAKE STAGE SERVER SERVER_ARGS ARGS TASK BACKEND V CC CFLAGS
    T=$(mktemp -d "${TMPDIR:-/tmp}/lab.XXXXXX")
    LADDER=$COPY/tests/build/ladder WRONG=$COPY/tests/build/wrong
    cd "$COPY" || return 1
    rm -rf work
}
teardown() { rm -rf "$T"; }

# Every copy keeps the times of the files (-p), so that make does not build again what is built already: the
# servers and the tools are copied too.
copy_to() {
    local stage file
    mkdir -p "$1/tests/programs" "$1/tests/build"
    cp -p "$ROOT/Makefile" "$ROOT/README.md" "$1"
    cp -Rp "$ROOT/tests/commands" "$ROOT/tests/support" "$1/tests"
    cp -p "$ROOT"/tests/programs/Makefile "$ROOT"/tests/programs/*.[ch] "$1/tests/programs"
    cp -Rp "$ROOT/tests/lab" "$ROOT/tests/bugs" "$1/tests"
    for file in client probe wrong ladder; do
        [ ! -x "$ROOT/tests/build/$file" ] || cp -p "$ROOT/tests/build/$file" "$1/tests/build"
    done
    for stage in "$ROOT"/0*-*; do
        mkdir "$1/${stage##*/}"
        cp -p "$stage"/*.[ch] "$stage/Makefile" "$1/${stage##*/}"
        [ ! -d "$stage/linux" ] || cp -Rp "$stage/linux" "$1/${stage##*/}"
        [ ! -x "$stage/server" ] || cp -p "$stage/server" "$1/${stage##*/}"
    done
}
# make_server FOLDER [VARIABLE=VALUE]...: build its server.
make_server() { make -s -C "$1" server "${@:2}"; }
why_not() { sh tests/commands/targets stages | sed -n "s/^$1 *//p"; }
can_run() { [ -z "$(why_not "$1")" ]; }
all_tasks() { for file in tests/lab/tasks/*/*/task; do file=${file#tests/lab/tasks/}; echo "${file%/task}"; done; }
header() { sed -n "/^\$/q; s/^$2: *//p" "tests/lab/tasks/$1/task"; }
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
