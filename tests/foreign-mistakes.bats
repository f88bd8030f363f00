#!/usr/bin/env bats
# make test SERVER= for servers with a classic mistake: the first failure names the mistake.
#
# tests/foreign has the servers: other.c keeps the contract and is written differently from ours, and
# each patch adds one mistake.  Its header says which text the failure must contain (First), and which
# test finds it, if it is not one of the first look (Only).
load support/foreign-tests

# The first failure of a server with this mistake names the mistake.
mistake_is_named() {
    local name=$1 only
    "tests/foreign/build" "$T/$name" "$name" || return 1
    only=$(header "$name" Only)
    test_server SERVER="$T/$name" STAGE=04 ${only:+ONLY="$only"}
    [ "$status" = 1 ] || return 1
    is_readable || return 1
    output=$(printf '%s\n' "$output" | awk '/✗/ { n++ } n == 1') # only the first failure
    names "$(header "$name" First)"
}

# The mistakes are tried three at a time, because the tests mostly wait.
@test "every mistake of tests/foreign is named by the first failure" {
    local patch name i=0 running=()
    for patch in tests/foreign/*.patch; do
        name=${patch##*/} name=${name%.patch}
        (mistake_is_named "$name" >"$T/$name.log" 2>&1 || touch "$T/$name.failed") 3>&- &
        running[i]=$!
        i=$((i + 1))
        [ "$i" -lt 3 ] || wait "${running[i - 3]}"
    done
    wait
    for name in "$T"/*.failed; do
        [ ! -e "$name" ] || cat "${name%.failed}.log"
    done
    ! ls "$T"/*.failed 2>/dev/null || return 1
}

@test "a server that serves one client at a time: the run ends by itself, in few lines" {
    command -v python3 >/dev/null || skip "needs python3 (for the server); to run it: install python3"
    SECONDS=0
    test_server SERVER="$ROOT/tests/foreign/naive.py" STAGE=04
    [ "$status" = 1 ]
    [ "$SECONDS" -lt 60 ] # about 10 seconds; the machine may be busy
    is_readable
    names 'Likely: the server serves one client at a time: it waits in recv() for the first client'
    names 'it serves two clients at the same time'
}
