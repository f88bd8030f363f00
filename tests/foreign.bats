#!/usr/bin/env bats
# make test SERVER=: what a reader sees who tests a server of their own.  FILES=foreign make test
# runs this file; the gate does (about two minutes).
#
# tests/foreign has the servers: other.c keeps the contract and is written differently from ours, and
# each patch adds one mistake.  Its header says which text the failure must contain (First), and which
# test finds it, if it is not one of the first look (Only).

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
# No line is longer than a terminal, except for a command that is to be copied; no shell text.
is_readable() {
    [ "${#lines[@]}" -le 60 ] || { echo "${#lines[@]} lines"; return 1; }
    printf '%s\n' "$output" | LC_ALL=C.UTF-8 awk 'length($0) > 82 && !/^Testing/ && !/SERVER=|ONLY=/ { print "too long: " $0; bad = 1 } END { exit bad }'
    ! printf '%s\n' "$output" | grep -E 'line [0-9]+|No such process|timed out while|echo-tests\.'
}
passes() {
    [ "$status" = 0 ]
    names ' 0 failed'
}

# ---- servers that keep the contract ----

stage_passes() {
    local stage=$1
    test_server SERVER="./$stage/server" SERVER_ARGS='-p PORT' STAGE="${stage%%-*}"
    passes
}
@test "01-blocking passes as a foreign server" { stage_passes 01-blocking; }
@test "02-select passes as a foreign server" { stage_passes 02-select; }
@test "03-poll passes as a foreign server" { stage_passes 03-poll; }
@test "04-epoll passes as a foreign server" { stage_passes 04-epoll; }
@test "05-kqueue passes as a foreign server" { stage_passes 05-kqueue; }
@test "06-selector passes as a foreign server" { stage_passes 06-selector; }
@test "07-nic-to-app passes as a foreign server" { stage_passes 07-nic-to-app; }

@test "a server that is written differently passes, and its path and arguments may contain blanks and quotes" {
    mkdir "$T/it's mine"
    cp "$BUILT/other" "$T/it's mine/server"
    cat >"$T/it's mine/wrapper" <<'EOF'
#!/bin/sh
[ "$1" = "two words" ] && [ "$2" = "it's" ] && [ $# = 3 ] || exit 9
exec "$(dirname "$0")/server" "$3"
EOF
    chmod +x "$T/it's mine/wrapper"
    test_server SERVER="$T/it's mine/wrapper" SERVER_ARGS="'two words' \"it's\" PORT" STAGE=4
    passes
}

# ---- classic mistakes ----

# The first failure of a server with this mistake names the mistake.
mistake_is_named() {
    local name=$1 only
    "tests/foreign/build" "$T/$name" "$name"
    only=$(header "$name" Only)
    SECONDS=0
    test_server SERVER="$T/$name" STAGE=04 ${only:+ONLY="$only"}
    [ "$status" != 0 ]
    [ "$SECONDS" -lt 30 ]
    is_readable
    output=$(printf '%s\n' "$output" | awk '/✗/ { n++ } n == 1') # only the first failure
    names "$(header "$name" First)"
}

@test "every mistake of tests/foreign is named by the first failure" {
    local patch failed=''
    for patch in tests/foreign/*.patch; do
        patch=${patch##*/}
        ! [ "${patch%.patch}" = daemonizes ] || [ -d /proc/self ] || continue
        (mistake_is_named "${patch%.patch}") >"$T/log" 2>&1 || {
            echo "== ${patch%.patch}"
            cat "$T/log"
            failed=yes
        }
    done
    [ -z "$failed" ]
}

@test "a server that serves one client at a time: the run ends by itself, in few lines" {
    command -v python3 >/dev/null || skip "needs python3 (for the server); to run it: install python3"
    SECONDS=0
    test_server SERVER="$ROOT/tests/foreign/naive.py" STAGE=04
    [ "$status" != 0 ]
    [ "$SECONDS" -lt 30 ]
    is_readable
    names 'Cause: the server serves one client at a time: it waits in recv() for the first client'
    names 'it serves two clients at the same time'
}

# ---- servers that do not start ----

@test "a server that does not listen: one failure, and the run ends" {
    printf '#!/bin/sh\nexec sleep 60\n' >"$T/sleeps"
    printf '#!/bin/sh\necho "cannot do it" >&2\nexit 3\n' >"$T/exits"
    printf '#!/bin/sh\n"%s" "$1"\n' "$BUILT/other" >"$T/wraps"
    chmod +x "$T/sleeps" "$T/exits" "$T/wraps"
    test_server SERVER="$T/sleeps" STAGE=04
    names 'it does not listen on any port'
    is_readable
    names '0 passed, 1 failed'
    test_server SERVER="$T/exits" STAGE=04
    names 'it exited with code 3 before it listened'
    names 'cannot do it'
    names '0 passed, 1 failed'
    test_server SERVER="$T/wraps" STAGE=04
    names 'Start it with exec'
    names '0 passed, 1 failed'
    test_server SERVER="$T/none" STAGE=04
    [ "$status" = 2 ]
    names 'there is no such file'
    test_server SERVER="$T/exits" SERVER_ARGS="it's" STAGE=04
    [ "$status" = 2 ]
    names 'a quote is not closed'
}

@test "no process of a foreign server is left" {
    "tests/foreign/build" "$T/daemonizes" daemonizes
    test_server SERVER="$T/daemonizes" STAGE=04
    ! pgrep -f "^$T/daemonizes" || return 1
}

# ---- how it reports ----

@test "a failure is printed when it happens" {
    "tests/foreign/build" "$T/edge" edge-one-read
    env -i PATH="$CLEAN_PATH" HOME="$HOME" SERVER="$T/edge" STAGE=04 bash tests/commands/run-foreign >"$T/out" 2>&1 3>&- &
    RUNNING=$!
    for ((i = 0; i < 200; i++)); do
        ! grep -q 'Repeat:' "$T/out" || break
        sleep 0.1
    done
    grep -q 'Repeat:' "$T/out"
    ! grep -q ' passed, ' "$T/out" || return 1
    kill -0 "$RUNNING"
    wait "$RUNNING" || :
    grep -q '^[0-9]* passed, [1-9][0-9]* failed' "$T/out"
}

@test "the command that repeats a test selects this test, whatever the name of the server" {
    "tests/foreign/build" "$T/it's \$mine" closes-at-rdhup
    test_server SERVER="$T/it's \$mine" STAGE=04
    printf '%s\n' "$output" | sed -n '/Repeat:/,/ONLY=/{ s/.*Repeat://; p; }' >"$T/again"
    cat "$T/again"
    run env -i PATH="$CLEAN_PATH" HOME="$HOME" sh "$T/again"
    printf '%s\n' "$output"
    names '0 passed, 1 failed'
    names 'first sign of the end'
}

@test "the page with the rules names every test, and no other" {
    grep -h '^>' book/src/contract.md | grep -o '`[^`]*`' | tr -d '`' | sort >"$T/page"
    sed -n 's/^@test "\(.*\)" {$/\1/p' tests/{first-look,contract,faults}.bats | sort >"$T/tests"
    diff "$T/page" "$T/tests"
}
