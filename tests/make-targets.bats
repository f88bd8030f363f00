#!/usr/bin/env bats
# The Makefile with every make on this system, the tour, the doctor, the READMEs and the picture.
# Every test works on a copy, so that tests which run at the same time do not disturb each other.
load support/output

setup_file() {
    ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
    BUILT=$(mktemp -d "${TMPDIR:-/tmp}/make-targets.XXXXXX")
    export ROOT BUILT
    clean_environment
    copy_to "$BUILT"
    (cd "$BUILT" && make) >"$BUILT/build.log" 2>&1 || { cat "$BUILT/build.log"; return 1; }
    # SIGINT or SIGHUP may be ignored when the tests start, and a shell cannot undo that for its children.
    printf '%s\n' '#include <signal.h>' '#include <unistd.h>' 'int main(int n, char **args)' \
        '{ signal(SIGINT, SIG_DFL); signal(SIGHUP, SIG_DFL); execvp(args[1], args + 1); return n; }' >"$BUILT/interruptible.c"
    cc -o "$BUILT/interruptible" "$BUILT/interruptible.c"
}
teardown_file() { rm -rf "$BUILT"; }

setup() {
    set +T # bats traces no command inside functions
    clean_environment
    T=$(mktemp -d "${TMPDIR:-/tmp}/make-targets.XXXXXX")
    mkdir "$T/tmp"
    cd "$BUILT" || return 1
    PIDS=
}
teardown() {
    for pid in $PIDS; do kill -KILL "$pid" 2>/dev/null || :; done
    cd / && rm -rf "$T"
}

# `make test` may have started us; its variables must not reach the commands that we test.
clean_environment() {
    unset MAKEFLAGS MFLAGS MAKELEVEL MAKE V PORT ARGS ALL STAGE SERVER SERVER_ARGS ONLY LONG NO_COLOR \
        CC CPPFLAGS LDFLAGS LDLIBS TOUR_DEADLINE CDPATH COLUMNS PAGER LESS MDBOOK
    export CFLAGS=-O0 # we build often
}

# copy_to FOLDER: the files that these tests need, without binaries.
copy_to() {
    local stage file
    mkdir -p "$1/tests/commands" "$1/tests/support" "$1/book/src" "$1/book/tools"
    cp "$ROOT/Makefile" "$ROOT/README.md" "$1"
    for file in targets names terminal tour doctor; do cp "$ROOT/tests/commands/$file" "$1/tests/commands"; done
    cp "$ROOT/tests/support/environment" "$1/tests/support"
    cp "$ROOT/book/tools/picture" "$1/book/tools"
    cp -R "$ROOT/book/src/images" "$1/book/src"
    for stage in "$ROOT"/0*-*; do
        [ -f "$stage/server.c" ] || continue
        cp -R "$stage" "$1"
        rm -f "$1/${stage##*/}/server" "$1/${stage##*/}/nic" "$1/${stage##*/}/cost" "$1/${stage##*/}/trace" "$1/${stage##*/}/drops"
    done
}
# A built copy, for tests that change a file.
own_copy() {
    cp -pR "$BUILT" "$T/copy"
    cd "$T/copy" || return 1
}

stages() { sh tests/commands/targets stages; } # lines of "04-epoll", with a reason if it cannot run
runnable() { stages | sed -n 's/^\([^ ]*\) *$/\1/p'; }

# The output that `run` captured, without the lines that make adds when a recipe fails.
ours() { printf '%s\n' "$output" | grep -v -e '^b*make.*: ' -e '^\*\*\* ' -e '^Stop\.$' -e '^$'; }
one_line() { # that contains $1
    ours
    [ "$(ours | wc -l)" -eq 1 ] && ours | grep -qF -e "$1"
}
narrow() { # no line over 80 columns, nothing for a terminal only
    # Some awks count bytes, so leave one byte of each UTF-8 character.
    printf '%s\n' "$output" | LC_ALL=C tr -d '\200-\277' | awk 'length > 80 { print "over 80 columns: " $0; bad = 1 } END { exit bad }' &&
        lacks "$(printf '\033')"
}
has_exited() { ! kill -0 "$1" 2>/dev/null; }

# Replace each server by a script that appends its pid to $T/pids and then becomes the server.
note_pids() {
    local stage
    for stage in $(runnable); do
        mv "$stage/server" "$stage/real"
        printf '#!/bin/sh\necho $$ >>"%s/pids"\nexec "%s/real" "$@"\n' "$T" "$PWD/$stage" >"$stage/server"
        chmod +x "$stage/server"
    done
    export TMPDIR=$T/tmp
}
nothing_left() {
    local pid directory
    while read -r pid; do
        wait_until 2 has_exited "$pid" || return 1
    done <"$T/pids"
    for directory in "$T"/tmp/tour.*; do
        if [ -e "$directory" ]; then
            echo "left behind: $directory"
            return 1
        fi
    done
}
# Replace a server by a script; make does not rebuild it, because it is newer than server.c.
fake_server() { # STAGE, and the script on stdin
    cat >"$1/server"
    chmod +x "$1/server"
}

# ---- make ----

@test "BSD make is installed, so that the tests below run with both" {
    command -v bmake >/dev/null || make -V MAKE_VERSION 2>/dev/null | grep -q . ||
        skip "needs bmake; to run it: sh tests/commands/doctor how bmake"
}

@test "make help lists every target, on one screen" {
    for make in $(makes); do
        run $make help
        echo "$output"
        [ "$status" -eq 0 ]
        narrow
        [ "$(printf '%s\n' "$output" | wc -l)" -le 32 ]
        for target in tour test test-NN torture-NN NN run-NN diff-NN limit-NN bench prove lab grade-NN doctor sync check book clean; do
            printf '%s\n' "$output" | grep -q "^  make $target "
        done
        printf '%s\n' "$output" | grep -q 'STAGE=all: every variant'
        printf '%s\n' "$output" | grep -q '(FROM=NN)$'
    done
}

@test "every target that make help shows exists" {
    own_copy
    mkdir .ci bin tests/bench
    for file in tests/commands/run tests/commands/limit tests/commands/torture tests/commands/lab tests/commands/pack tests/bench/run tests/commands/prove tests/commands/tour tests/commands/doctor .ci/run bin/mdbook; do
        printf '#!/bin/sh\necho replaced\n' >$file
        chmod +x $file
    done
    # clean is last, so that the others find the servers built
    for target in $(make help | sed -n 's/^  make \([a-zN-]*\).*/\1/p' | sed 's/NN/03/; /^clean$/d' | sort -u) clean; do
        for make in $(makes); do
            PATH=$PWD/bin:$PATH run $make "$target" ARGS=-h
            echo "$make $target: $output"
            [ "$status" -eq 0 ]
            [ "$target" = clean ] || [ "$target" = diff-03 ] || [ -n "$output" ]
        done
    done
}

@test "make builds what this system can run, lists what it skips, and builds once" {
    for make in $(makes); do
        if [ $make = make ]; then # setup_file has built with it
            cd "$BUILT"
            run cat build.log
        else
            copy_to "$T/$make"
            cd "$T/$make"
            run $make
        fi
        echo "$output"
        [ "$status" -eq 0 ]
        narrow
        [ "$(printf '%s\n' "$output" | sed 's/ .*//' | uniq | wc -l)" -eq 7 ] # 07 builds more than one
        stages | while read -r stage reason; do
            if [ -n "$reason" ]; then
                printf '%s\n' "$output" | grep -qx "$stage *skipped: $reason"
            else
                [ -x "$stage/server" ]
                printf '%s\n' "$output" | grep -q "^$stage .*-o server "
            fi
        done
        run $make
        [ "$status" -eq 0 ]
        [ "$(printf '%s\n' "$output" | grep -c ' up to date$')" -eq "$(runnable | wc -l)" ]
    done
}

@test "make 03, make 03-poll, make 03-poll/ and make 3 build one stage" {
    own_copy
    for make in $(makes); do
        for target in 03 03-poll 03-poll/ 3; do
            rm -f 0*/server
            run $make $target
            echo "$make $target: $output"
            [ "$status" -eq 0 ]
            [ "$(echo 0*/server)" = 03-poll/server ]
        done
    done
}

@test "CC and CFLAGS reach the compiler with their quotes" {
    own_copy
    for make in $(makes); do
        rm -f 03-poll/server
        run $make 03 CC=cc CFLAGS='-O0 -DMARK=\"one\"'
        echo "$output"
        [ "$status" -eq 0 ]
        printf '%s\n' "$output" | grep -qF -e 'cc -O0 -DMARK=\"one\" -o server'
    done
}

@test "on a system other than Linux, 04 is skipped with a reason, and can still be read" {
    own_copy
    mkdir bin
    # shellcheck disable=SC2016
    printf '#!/bin/sh\n[ "$1" = -s ] && echo Darwin || exec "%s" "$@"\n' "$(command -v uname)" >bin/uname
    chmod +x bin/uname
    PATH=$PWD/bin:$PATH
    run make
    echo "$output"
    [ "$status" -eq 0 ]
    printf '%s\n' "$output" | grep -qx '04-epoll  *skipped: needs Linux, and this is Darwin'
    run make run-04
    [ "$status" -ne 0 ]
    one_line '04-epoll: needs Linux, and this is Darwin.'
    run make diff-04
    [ "$status" -eq 0 ]
    run make tour
    echo "$output"
    [ "$status" -eq 0 ]
    printf '%s\n' "$output" | grep -qx '04-epoll  *needs Linux, and this is Darwin'
}

@test "if a stage does not build, the message says what to do" {
    own_copy
    echo 'not C' >>03-poll/server.c
    run make 03
    echo "$output"
    [ "$status" -ne 0 ]
    ours | tail -n 1 | grep -q '^03-poll does not build'
    rm -f 03-poll/server
    run make 03 CC=no-such-compiler
    [ "$status" -ne 0 ]
    one_line 'No C compiler found (no-such-compiler). "make doctor"'
}

# Each of these servers exits by itself, even if one of the three variables were lost.
@test "make run-NN runs the server in the foreground, with PORT, V and ARGS" {
    for make in $(makes); do
        for name in 03 03-poll; do
            run $make run-$name PORT=70000 ARGS=-h
            echo "$output"
            [ "$status" -eq 0 ]
            [ "${lines[0]}" = 'usage: server [-v] [-b ADDRESS] [-p PORT]' ]
        done
        run $make run-03 PORT=70000 ARGS='-b 300'
        [ "$status" -ne 0 ]
        [ "${lines[0]}" = 'PORT=70000: not a port; a port is a number from 0 to 65535. To use the default' ]
        run $make run-03 V=1 PORT=0 ARGS='-b 300'
        [ "$status" -ne 0 ]
        ours | grep -q '^server: cannot listen on 300 port 0'
    done
}

@test "make run-NN becomes the server: Ctrl-C ends it with exit code 0 and no further output" {
    V=1 PORT=0 sh tests/commands/targets run-03 >"$T/out" 2>"$T/err" 3>&- &
    PIDS=$!
    wait_until 5 has "$T/out" 'listening on 127.0.0.1:'
    kill -INT "$PIDS"
    wait_until 5 has_exited "$PIDS"
    wait "$PIDS"
    cat "$T/out" "$T/err"
    [ "$(wc -l <"$T/out")" -eq 1 ]
    tail -n 1 "$T/err" | grep -q 'told to stop'
}

@test "make test passes its variables on, whatever they contain" {
    own_copy
    # shellcheck disable=SC2016
    echo 'printf "%s|" "$STAGE" "${SERVER-}" "${SERVER_ARGS-}" "${ONLY-}"' >tests/commands/run
    for make in $(makes); do
        run $make test
        [ "$output" = '||||' ]
        run $make tests
        [ "$output" = '||||' ]
        for target in test-03 test-03-poll; do
            run $make $target
            [ "$output" = '03-poll||||' ]
        done
        run $make test STAGE=03
        [ "$output" = '03-poll||||' ]
        run $make test STAGE='03-poll -e'
        [ "$output" = '03-poll -e||||' ]
        run $make test SERVER="./it's mine" STAGE=3 SERVER_ARGS='-p  PORT "a b" *' ONLY="one 'x' \"y\""
        echo "$output"
        [ "$output" = "03-poll|./it's mine|-p  PORT \"a b\" *|one 'x' \"y\"|" ]
        run $make test STAGE=99
        [ "$status" -ne 0 ]
        one_line 'There is no stage "99".'
    done
}

@test "make test builds before it tests" {
    own_copy
    echo 'ls 0*/server' >tests/commands/run
    rm -f 0*/server
    run make test-03
    echo "$output"
    [ "${lines[1]}" = 03-poll/server ]
    run make test
    [ "$status" -eq 0 ]
    for stage in $(runnable); do [ -x "$stage/server" ]; done
}

@test "make diff-NN compares server.c with that of the stage before" {
    for make in $(makes); do
        for name in 03 03-poll; do
            run $make diff-$name
            [ "$status" -eq 0 ]
            [ "${lines[0]}" = '--- 02-select/server.c' ]
            [ "${lines[1]}" = '+++ 03-poll/server.c' ]
            printf '%s\n' "$output" | grep -q '^+.*[ (]poll('
            lacks "$(printf '\033')"
        done
        run $make diff-01
        echo "$output"
        [ "$status" -eq 0 ]
        [ "$output" = '01-blocking is the first stage, so there is nothing to compare it with.' ]
    done
}

@test "make run-NN on a taken port suggests PORT=0, in the words of the command" {
    ./03-poll/server -p 0 >"$T/out" 3>&- &
    PIDS=$!
    wait_until 5 has "$T/out" listening
    port=$(sed 's/.*://' "$T/out")
    for make in $(makes); do
        run $make run-02 PORT="$port" V=1
        echo "$output"
        [ "$status" -ne 0 ]
        ours | paste -s -d ' ' - | grep -q "port $port: Address already in use .*\. To let the system choose a free port: "
        ours | grep -qx '  make run-02 V=1 PORT=0'
        lacks '-p 0'
    done
    run make run-04-epoll PORT="$port" ARGS='-e -v'
    echo "$output"
    ours | grep -qx "  make run-04-epoll ARGS='-e -v' PORT=0"
}

@test "make limit-NN, make check and make book run their scripts, or say what is missing" {
    own_copy
    mkdir bin
    for make in $(makes); do
        for target in limit-03 bench prove check; do
            run $make $target
            [ "$status" -ne 0 ]
            one_line 'is not in this checkout.'
        done
    done
    mkdir .ci
    # shellcheck disable=SC2016
    echo 'echo limit "$1"' >tests/commands/limit
    printf '#!/bin/sh\necho checked\n' >.ci/run
    # shellcheck disable=SC2016
    printf '#!/bin/sh\necho mdbook "$@"\n' >bin/mdbook
    chmod +x .ci/run bin/mdbook
    for make in $(makes); do
        run $make limit-03-poll
        [ "$output" = 'limit 03' ]
        run $make check
        [ "$output" = checked ]
        PATH=$PWD/bin:$PATH run $make book
        [ "${lines[0]}" = 'mdbook build book' ]
    done
    if command -v mdbook; then return; fi
    run make book
    echo "$output"
    [ "$status" -ne 0 ]
    [ "${lines[1]}" = "  $(sh tests/commands/doctor how mdbook)" ]
}

@test "make clean leaves only the files that git tracks" {
    for make in $(makes); do
        own_copy
        mkdir -p tests/build/x book/book
        run $make clean
        [ "$status" -eq 0 ]
        [ -z "$output" ]
        copy_to "$T/fresh"
        rm -f build.log interruptible*
        diff -r "$T/fresh" .
        cd / && rm -rf "$T/fresh" "$T/copy"
    done
}

@test "an unknown name gets one clear line, and a failing exit code" {
    own_copy
    rm -rf 03-poll
    for make in $(makes); do
        for target in 99-foo nonsense tset-09 0x; do
            run $make $target
            [ "$status" -ne 0 ]
            one_line "There is no target \"$target\". \"make help\" lists the targets."
        done
        for target in 8 99 run-9 diff-99 test-0 limit-x; do
            run $make $target
            [ "$status" -ne 0 ]
            one_line "There is no stage \"${target#*-}\". \"make help\" lists them: 01 to 07."
        done
        for target in run diff limit; do
            run $make $target
            [ "$status" -ne 0 ]
            one_line "Which stage? For example: make $target-04"
        done
        for target in 03 03-poll run-03 diff-03-poll limit-03 test-03; do
            run $make $target
            [ "$status" -ne 0 ]
            one_line '03-poll: not in this checkout yet.'
        done
        run $make tour STAGE=9
        [ "$status" -ne 0 ]
        one_line 'There is no stage "9".'
    done
}

@test "it works in a path with spaces, and with an empty environment" {
    copy_to "$T/a path with spaces"
    cd "$T/a path with spaces"
    for make in $(makes); do
        run env -i PATH=/usr/local/bin:/usr/bin:/bin $make 03
        echo "$output"
        [ "$status" -eq 0 ]
        [ -x 03-poll/server ]
        run env -i PATH=/usr/local/bin:/usr/bin:/bin $make tour STAGE=03
        echo "$output"
        [ "$status" -eq 0 ]
        run env -i PATH=/usr/local/bin:/usr/bin:/bin $make diff-03
        [ "$status" -eq 0 ]
        rm -f 03-poll/server
    done
}

# ---- the tour ----

# The names of the scenes, on one line.
scenes() { printf '%s\n' "$output" | sed -n 's/^---- \([^:]*\):.*/\1/p' | paste -s -d , -; }
notices_and_limits() { # as many as there are scenes
    [ "$(printf '%s\n' "$output" | grep -c '^Notice: ')" -eq "$1" ]
    [ "$(printf '%s\n' "$output" | grep -c '^Limit: ')" -eq "$1" ]
}

@test "make tour: the stages that differ most, in 80 columns, with nothing left over" {
    own_copy
    note_pids
    SECONDS=0
    run make tour
    echo "$output"
    [ "$status" -eq 0 ]
    [ $SECONDS -lt 20 ]
    narrow
    nothing_left
    case $(uname -s) in
    Linux) expected='01-blocking -1,02-select,03-poll,04-epoll,07-nic-to-app,trace' ;;
    *) expected='01-blocking -1,02-select,03-poll,05-kqueue' ;;
    esac
    [ "$(scenes)" = "$expected" ]
    notices_and_limits "$(scenes | tr ',' '\n' | wc -l)"
    stages | while read -r stage reason; do
        [ -z "$reason" ] || printf '%s\n' "$output" | grep -qx "$stage *$reason"
    done
    printf '%s\n' "$output" | grep -q '^  make tour STAGE=all '
    printf '%s\n' "$output" | grep -q '^  make test '
    printf '%s\n' "$output" | grep -q '^  make run-01 V=1 '
}

@test "make tour STAGE=all: every variant of every stage, in order" {
    own_copy
    note_pids
    SECONDS=0
    run make tour STAGE=all
    echo "$output"
    [ "$status" -eq 0 ]
    [ $SECONDS -lt 30 ]
    narrow
    nothing_left
    expected='01-blocking -1,01-blocking,02-select,03-poll'
    if runnable | grep -q 04; then expected="$expected,04-epoll,04-epoll -e"; fi
    if runnable | grep -q 05; then expected="$expected,05-kqueue,05-kqueue -e"; fi
    expected="$expected,06-selector,06-selector -s poll"
    if runnable | grep -q 07; then expected="$expected,07-nic-to-app,trace"; fi
    [ "$(scenes)" = "$expected" ]
    notices_and_limits "$(scenes | tr ',' '\n' | wc -l)"
    # One server for each scene but the packet's; the tracer starts one more where it may see it.
    servers=$(wc -l <"$T/pids")
    count=$(scenes | tr ',' '\n' | grep -vc trace)
    [ "$servers" -eq "$count" ] || [ "$servers" -eq $((count + 1)) ]
}

@test "the tour shows a client that waits, and one call that reports two ready clients" {
    run make tour STAGE=all
    printf '%s\n' "$output" | grep -q '^> B waits .* gets no reply$'
    printf '%s\n' "$output" | grep -q '^recv 5  *fd 4  *send 5$'
    printf '%s\n' "$output" | grep -A 1 '^select  2 ready ' | grep -c 'recv 2, send 2$' | grep -qx 2
    printf '%s\n' "$output" | grep -A 1 '^poll  2 ready ' | grep -c 'recv 2, send 2$' | grep -qx 2
    lacks 'wait again'
    runnable | grep -q 04 || skip "scenes of 04; to run it: Linux"
    [ "$(printf '%s\n' "$output" | grep -c 'epoll_ctl ADD$')" -eq 15 ]
    [ "$(printf '%s\n' "$output" | sed -n '/^---- 04-epoll -e/,/^Limit/p' | grep -c 'recv: EAGAIN, nothing left$')" -eq 3 ]
}

@test "no colour on a terminal that cannot show it" {
    script -qec true /dev/null >/dev/null 2>&1 </dev/null || skip "needs script of util-linux; to run it: apt-get install bsdutils"
    for target in 'tour STAGE=03' diff-03 doctor; do
        TERM=dumb run script -qec "make $target" /dev/null </dev/null
        [ "$status" -eq 0 ]
        lacks "$(printf '\033')\\["
    done
}

@test "two runs of the tour differ only in their numbers" {
    # Two packets do not take the same time, and may not pass the same hops.
    masked() { sed -e '/^---- trace:/,/^To explain each hop/d' -e 's/[0-9][0-9]*/N/g'; }
    make tour | masked >"$T/one"
    for make in $(makes); do
        $make tour | masked | diff "$T/one" -
    done
}

@test "make tour ends with the journey of a packet, as far as this user can see it" {
    runnable | grep -q 07 || skip "the journey of stage 07; to run it: Linux"
    run make tour STAGE=07
    echo "$output"
    [ "$status" -eq 0 ]
    narrow
    journey=$(printf '%s\n' "$output" | sed -n '/^---- trace:/,/^To explain each hop/p')
    echo "$journey" | grep -q '^\[your code reads\]$'
    echo "$journey" | grep -q ' µs in all, and where the time went$'
    if echo "$journey" | grep -q '^        [A-Z]'; then false; fi # no reasons: they are for trace itself
    # The same as an ordinary user, who cannot see the kernel's tracepoints.
    if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
        chmod -R a+rX "$BUILT" # whatever the umask is
        run env TMPDIR=/tmp setpriv --reuid=65534 --regid=65534 --clear-groups bash tests/commands/tour 07
        echo "$output"
        [ "$status" -eq 0 ]
        narrow
        printf '%s\n' "$output" | grep -q '^Next best: '
        printf '%s\n' "$output" | grep -q '^\[your code reads\]$'
    fi
}

@test "make tour STAGE=03 shows one stage, by its number or its name" {
    for make in $(makes); do
        for name in 03 03-poll 3; do
            run $make tour STAGE=$name
            [ "$status" -eq 0 ]
            [ "$(printf '%s\n' "$output" | grep '^---- ' | cut -c 1-13)" = '---- 03-poll:' ]
        done
    done
}

@test "a tour that is interrupted leaves nothing running" {
    own_copy
    note_pids
    while read -r signal moment; do
        : >"$T/pids"
        : >"$T/out"
        "$BUILT/interruptible" bash tests/commands/tour >"$T/out" 2>&1 </dev/null 3>&- &
        PIDS=$!
        wait_until 10 has "$T/out" "$moment"
        kill "-$signal" "$PIDS"
        wait_until 5 has_exited "$PIDS"
        status=0
        wait "$PIDS" || status=$?
        echo "$signal at \"$moment\": $status"
        [ "$status" -gt 128 ]
        nothing_left
    done <<'END'
INT A connects
TERM B connects
HUP one thread, many
INT suspends the server
TERM Limit: select
END
}

@test "the tour leaves nothing running when its reader closes the pipe" {
    own_copy
    note_pids
    for length in 1 9 12; do
        : >"$T/pids"
        run bash -c "bash tests/commands/tour 2>&1 | head -n $length"
        echo "$output"
        [ "$(printf '%s\n' "$output" | wc -l)" -eq $length ]
        nothing_left
    done
}

@test "the doctor and make diff-NN leave no temporary files" {
    export TMPDIR=$T/tmp
    for target in doctor diff-02; do
        for length in 1 99999; do
            run bash -c "sh tests/commands/targets $target 2>&1 | head -n $length"
            [ -n "$output" ]
            lacks 'I/O error'
            lacks 'write error'
            run ls "$TMPDIR"
            echo "$output"
            lacks '^\(doctor\|diff\)\.'
        done
    done
}

@test "the tour fails and says why when a server changes a byte" {
    own_copy
    # shellcheck disable=SC2016
    sed 's/^    ssize_t sent = send_some(client, buffer, (size_t)received);/    if (received > 1) buffer[1] ^= 32;\n&/' \
        "$ROOT/03-poll/clients.c" >03-poll/clients.c
    run cmp -s "$ROOT/03-poll/clients.c" 03-poll/clients.c
    [ "$status" -eq 1 ]
    make 03
    note_pids
    run make tour
    echo "$output"
    [ "$status" -ne 0 ]
    printf '%s\n' "$output" | grep -qx 'The tour stops in 03-poll: client B sent "hel" and received "hEl".'
    printf '%s\n' "$output" | grep -q 'make test STAGE=03$'
    nothing_left
}

@test "the tour fails and says why when a server does not listen, ends or logs nothing" {
    own_copy
    export TMPDIR=$T/tmp TOUR_DEADLINE=1
    : >"$T/pids"
    printf '#!/bin/sh\necho $$ >>"%s/pids"\nexec sleep 30\n' "$T" | fake_server 03-poll
    run make tour STAGE=03
    echo "$output"
    [ "$status" -ne 0 ]
    printf '%s\n' "$output" | grep -qx 'The tour stops in 03-poll: the server is not listening after 1 s.'
    printf '%s\n' "$output" | grep -qx 'To run the server yourself: make run-03 V=1'
    printf '#!/bin/sh\necho "server: no luck today" >&2\nexit 3\n' | fake_server 03-poll
    run make tour STAGE=03
    echo "$output"
    [ "$status" -ne 0 ]
    printf '%s\n' "$output" | grep -qx 'The tour stops in 03-poll: the server exited with status 3.'
    printf '%s\n' "$output" | grep -qx '    server: no luck today'
    printf '#!/bin/sh\necho $$ >>"%s/pids"\nshift\nexec "%s/02-select/server" "$@"\n' "$T" "$PWD" | fake_server 03-poll
    run make tour STAGE=03
    echo "$output"
    [ "$status" -ne 0 ]
    printf '%s\n' "$output" | grep -qx 'The tour stops in 03-poll: no log line with "accept: fd" after 1 s.'
    nothing_left
}

@test "the tour without a compiler says what to do" {
    copy_to "$T/copy"
    cd "$T/copy"
    run make tour CC=no-such-compiler
    echo "$output"
    [ "$status" -ne 0 ]
    printf '%s\n' "$output" | grep -qx 'The tour stops in 01-blocking: the server could not be built.'
    printf '%s\n' "$output" | grep -q 'make doctor$'
}

@test "colour on a terminal, unless NO_COLOR is set" {
    script -qec true /dev/null >/dev/null 2>&1 </dev/null || skip "needs script of util-linux; to run it: apt-get install bsdutils"
    escape=$(printf '\033')
    export TERM=xterm PAGER=cat
    for target in 'tour STAGE=03' diff-03 doctor; do
        run script -qec "make $target" /dev/null </dev/null
        [ "$status" -eq 0 ]
        printf '%s\n' "$output" | grep -q "$escape\\["
        NO_COLOR=1 run script -qec "make $target" /dev/null </dev/null
        [ "$status" -eq 0 ]
        lacks "$escape\\["
    done
}

# ---- the doctor ----

doctor_line() { printf '%s\n' "$output" | grep -e "^.. $1 "; }

@test "make doctor: one aligned line for each item, and exit code 0 if the tests can run" {
    for make in $(makes); do
        run $make doctor
        echo "$output"
        [ "$status" -eq 0 ]
        narrow
        for thing in compiler make bash bats 'open files' 'port 5566' kernel FD_SETSIZE events tracefs QEMU mdBook gnuplot strace; do
            doctor_line "$thing"
        done
        if [ $make = bmake ]; then doctor_line make | grep -q 'BSD make'; fi
        # The second and third column begin at the same place in every line.
        output=$(printf '%s\n' "$output" | sed '/^$/,$d' | grep -v '^.. .\{10\} .\{22\} [^ ]') || :
        [ -z "$output" ]
    done
}

@test "the doctor prints a command for each item that is missing" {
    mkdir "$T/bin"
    for tool in sh bash cc as ld make awk cat cmp cut diff dirname env find grep head id kill mkfifo mktemp paste ps rm sed sleep sort \
        tail tr uname uniq wc; do
        ln -s "$(command -v $tool)" "$T/bin/$tool"
    done
    run env -i PATH="$T/bin" make doctor
    echo "$output"
    [ "$status" -ne 0 ]
    narrow
    for thing in nc QEMU mdBook gnuplot strace; do
        doctor_line "$thing" | grep -q '^-- '
    done
    doctor_line bats | grep -q '^no '
    ours | tail -n 2 | paste -s -d ' ' - | grep -q 'Not ready: the tour can run, but the tests need bats'
    printf '#!/bin/sh\necho Bats 1.8.2\n' >"$T/bin/bats"
    chmod +x "$T/bin/bats"
    run env -i PATH="$T/bin" make doctor
    echo "$output"
    [ "$status" -eq 0 ]
    ours | tail -n 1 | grep -qx 'Ready: the tour and the tests can run. Start with: make tour'
    rm "$T/bin/cc"
    run env -i PATH="$T/bin" make doctor
    echo "$output"
    [ "$status" -ne 0 ]
    narrow
    doctor_line compiler | grep -q '^no '
    doctor_line FD_SETSIZE | grep -q 'unknown without a compiler'
    printf '%s\n' "$output" | grep -q '^Not ready: missing: a C compiler\. To fix it: '
    rm "$T/bin/bash"
    run env -i PATH="$T/bin" sh tests/commands/doctor
    [ "$status" -eq 1 ]
    doctor_line bash | grep -q '^no '
    run env -i PATH="$T/bin" make tour
    [ "$status" -ne 0 ]
    one_line 'This needs bash. To install it: '
}

@test "the doctor reports whether the port is taken" {
    ./03-poll/server -p 0 >"$T/out" 3>&- &
    PIDS=$!
    wait_until 5 has "$T/out" listening
    port=$(sed 's/.*://' "$T/out")
    run make doctor PORT="$port"
    doctor_line "port $port" | grep -q '^-- .* taken'
    [ "$status" -eq 0 ]
    kill "$PIDS"
    wait_until 5 has_exited "$PIDS"
    run make doctor PORT="$port"
    doctor_line "port $port" | grep -q '^ok .* free$'
}

# ---- machines that lack something; tests/commands/machines tries more of them, and needs root ----

@test "a TMPDIR that is missing gets one clear sentence" {
    touch 03-poll/server.c # it has to be built
    for target in tour run-03 03 doctor; do
        run env TMPDIR="$T/none" make $target
        echo "$output"
        [ "$status" -ne 0 ]
        output=$(ours | tr '\n' ' ') # the sentence is longer than a line
        one_line "TMPDIR ($T/none) is not a directory that you can write to: create it, or set TMPDIR to another one."
    done
}

@test "a TMPDIR with a blank or a relative TMPDIR is no obstacle" {
    mkdir -p "$T/a folder" relative
    TMPDIR="$T/a folder" make -s tour STAGE=03 | grep -q '^Every client received'
    TMPDIR=relative make -s tour STAGE=03 | grep -q '^Every client received'
    rmdir "$T/a folder" relative # nothing is left in them
}

@test "a checkout that cannot be written to is built in a copy, which is removed" {
    local as=()
    own_copy
    rm -f 03-poll/server
    chmod -R a+rX,a-w . && chmod 755 "$T" && chmod 777 "$T/tmp"
    [ "$(id -u)" != 0 ] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    [ "$(id -u)" != 0 ] || command -v setpriv || skip "needs setpriv (root may write everywhere); to run it: install util-linux"
    run ${as[@]+"${as[@]}"} env TMPDIR="$T/tmp" make tour STAGE=03
    chmod -R u+w .
    echo "$output"
    [ "$status" -eq 0 ]
    printf '%s\n' "$output" | tr '\n' ' ' | grep -q 'This checkout cannot be written to, so a copy of it is built and used, and then removed\. '
    printf '%s\n' "$output" | grep -q '^Every client received'
    [ -z "$(ls "$T/tmp")" ]
    [ ! -e 03-poll/server ]
}

@test "with the loopback interface down, each command says how to start it" {
    unshare -n true 2>/dev/null || skip "needs a new network namespace; to run it: sudo make test, on Linux"
    for target in tour run-03; do
        run unshare -n make $target
        echo "$output"
        [ "$status" -ne 0 ]
        output=$(ours | tr '\n' ' ') # the sentence is longer than a line
        one_line 'The loopback interface is down, and all traffic here is on 127.0.0.1: ip link set lo up (as root)'
    done
}

# ---- the READMEs and the picture ----

@test "README.md starts with two commands, and everything that it names exists" {
    run awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' "$ROOT/README.md"
    echo "$output"
    [ "${lines[0]}" = 'make tour' ]
    [ "${lines[1]}" = 'make test' ]
    # Commands are in a code block, or between backquotes.
    sed -n -e '/^```sh$/,/^```$/p' -e 's/`/\
`/gp' "$ROOT/README.md" "$ROOT"/0*/README.md | sed -n 's/^`*make \([a-z0-9-]*\).*/\1/p' |
        sed 's/-0[0-9]$/-NN/' | sort -u >"$T/targets"
    cat "$T/targets"
    [ "$(wc -l <"$T/targets")" -ge 9 ]
    make help >"$T/help"
    while read -r target; do
        echo "README: make $target"
        [ "$target" = help ] || grep -q "^  make $target " "$T/help"
    done <"$T/targets"
    for link in $(grep -o -e '](\([^)#]*\))' -e 'srcset="[^"]*"' -e 'src="[^"]*"' "$ROOT/README.md" | sed 's/^](//; s/)$//; s/.*="//; s/"$//'); do
        case $link in http*) continue ;; esac
        echo "link: $link"
        [ -e "$ROOT/$link" ]
    done
}

@test "every stage has a short README with its commands and its limit" {
    for stage in $(stages | cut -d ' ' -f 1); do
        [ -d "$stage" ] || continue
        number=${stage%%-*}
        length=$(wc -l <"$stage/README.md")
        echo "$stage: $length lines"
        [ "$length" -ge 12 ]
        [ "$length" -le 40 ]
        grep -qx "make tour STAGE=$number" "$stage/README.md"
        grep -q "^make run-$number" "$stage/README.md"
        grep -q '^\*\*Limit:\*\* ' "$stage/README.md"
        grep -q "^| \[$stage\]($stage) |" "$ROOT/README.md"
        [ "$number" = 01 ] || grep -q "make diff-$number" "$stage/README.md"
    done
}

@test "the picture in README.md is a run of the tour" {
    runnable | grep -q 04 || skip "a picture of stage 04; to run it: Linux"
    bash book/tools/picture "$T"
    for name in tour-04 tour-04-narrow; do
        grep -q "book/src/images/$name.svg" "$ROOT/README.md"
        diff <(sed "s/[0-9][0-9]*/N/g" "$ROOT/book/src/images/$name.svg") <(sed "s/[0-9][0-9]*/N/g" "$T/$name.svg") ||
            { echo "To draw it again: book/tools/picture"; return 1; }
    done
    grep -q 'role="img"' "$T/tour-04.svg"
    grep -q '<title id="title">' "$T/tour-04.svg"
}
