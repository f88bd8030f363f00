# shellcheck shell=bash disable=SC2154 # bats sets output, lines and status
# What foreign.bats and foreign-mistakes.bats share: they run `make test SERVER=` as a reader would.

setup_file() {
    ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
    BUILT=$BATS_FILE_TMPDIR
    # bats puts its own folder into PATH, where another bats would be found that cannot run by itself.
    CLEAN_PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -v bats | paste -sd :)
    export ROOT BUILT CLEAN_PATH
    "$ROOT/tests/foreign/build" "$BUILT/other"
}

setup() {
    cd "$ROOT" || return 1
    T=$(mktemp -d "${TMPDIR:-/tmp}/echo-tests.XXXXXX")
    RUNNING=''
}
teardown() {
    [ -z "$RUNNING" ] || kill "$RUNNING" 2>/dev/null || :
    rm -rf "$T"
}

# test_server VARIABLE=VALUE...: make test with these variables, which reach the script in its
# environment.  It must not see the variables of the bats and the make that run this file.
test_server() {
    run env -i PATH="$CLEAN_PATH" HOME="$HOME" TERM=dumb TMPDIR="${TMPDIR:-/tmp}" "$@" sh "$ROOT/tests/commands/targets" test
    printf '%s\n' "$output"
}
header() { sed -n "s/^$2: *//p" "tests/foreign/$1.patch"; }
# The whole output as one line, in which a sentence is not broken.
joined() { printf '%s\n' "$output" | tr -s ' \n' ' '; }
names() { joined | grep -qF -e "$1" || { echo "expected: $1"; return 1; }; }
# No line is longer than a terminal, except for a command that is to be copied; there are few lines, and
# no text of the shell.
is_readable() {
    [ "${#lines[@]}" -le 60 ] || { echo "${#lines[@]} lines"; return 1; }
    printf '%s\n' "$output" | LC_ALL=C.UTF-8 awk 'length($0) > 82 && !/^Testing|SERVER=/ { print "too long: " $0; bad = 1 } END { exit bad }' || return 1
    ! printf '%s\n' "$output" | grep -E 'line [0-9]+|No such process|timed out while|\.(out|err|bash|bats)\>'
}
passes() {
    [ "$status" = 0 ]
    names ' 0 failed'
}
