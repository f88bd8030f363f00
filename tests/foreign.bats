#!/usr/bin/env bats
# make test SERVER=: what a reader sees who tests a server of their own.  FILES=foreign make test
# runs this file and foreign-mistakes.bats; the gate does.
load support/output
load support/foreign-tests

# ---- servers that keep the contract ----

# stage_passes STAGE [FILES]: only these test files, or all.  Every stage keeps every rule: `make test` has
# checked that, with the same tests.  Here the question is whether they work as they are run for a reader's
# own server.  One server with threads, one with a loop and one with coroutines run all of them, and the
# others, which differ from 04 only in how they wait, those that decide whether the rest is run.
# The machine may be busy, so a server has longer to answer.
stage_passes() {
    local stage=$1
    test_server QUIET_SECONDS=6 SERVER="./$stage/server" SERVER_ARGS='-p PORT' STAGE="${stage%%-*}" FILES="${2:-}"
    passes
}
@test "01-blocking passes as a foreign server" { stage_passes 01-blocking; }
@test "02-select passes as a foreign server" { stage_passes 02-select first-look; }
@test "03-poll passes as a foreign server" { stage_passes 03-poll first-look; }
@test "04-epoll passes as a foreign server" { stage_passes 04-epoll; }
@test "05-kqueue passes as a foreign server" { stage_passes 05-kqueue first-look; }
@test "06-selector passes as a foreign server" { stage_passes 06-selector first-look; }
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
    wait_until 20 has "$T/out" 'Repeat:'
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

@test "RETRY=1 runs the tests that failed once more, alone, and counts what passes then" {
    (cd "$ROOT" && git ls-files -z | xargs -0 cp --parents -t "$T") && cd "$T"
    # (bats would change a line here that begins with @test.)
    sed 's/^test/@&/' >tests/04-epoll.bats <<EOF
test "fails (once) | and then passes" {
    if [ ! -e "$T/once" ]; then touch "$T/once" && false; fi
}
test "always fails" {
    false
}
test "fails, and is skipped the second time" {
    [ ! -e "$T/skip" ] || skip
    touch "$T/skip" && false
}
EOF
    local clean=(env -i PATH="$CLEAN_PATH" HOME="$HOME" STAGE=04 FILES=04-epoll)
    make -s 04-epoll
    run "${clean[@]}" RETRY=1 bash tests/commands/run
    printf '%s\n' "$output"
    [ "$status" = 1 ]
    names 'passed when it ran alone: fails (once) | and then passes'
    names 'failed again: always fails'
    names 'failed again: fails, and is skipped the second time'
    names '1 passed, 2 failed'
    rm "$T/once"
    run "${clean[@]}" bash tests/commands/run
    printf '%s\n' "$output"
    names '0 passed, 2 failed, 1 skipped'
    lacks 'ran alone'
}

@test "the page with the rules names every test, and no other" {
    grep -h '^>' book/src/contract.md | grep -o '`[^`]*`' | tr -d '`' | sort >"$T/page"
    sed -n 's/^@test "\(.*\)" {$/\1/p' tests/{first-look,contract,faults}.bats | sort >"$T/tests"
    diff "$T/page" "$T/tests"
}
