#!/usr/bin/env bats
# `make sync` copies a changed shared file from one stage folder to the others, and `make diff-NN`
# says whether the shared files are identical.  Each test works on a small copy with made-up files.

setup() {
    set +T # bats traces no command inside functions
    ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
    unset MAKEFLAGS MFLAGS MAKELEVEL MAKE FROM CDPATH
    T=$(mktemp -d "${TMPDIR:-/tmp}/sync.XXXXXX")
    cd "$T" || return 1
    cp "$ROOT/Makefile" .
    script=$(sed -n 's/^TARGET = .* sh \(tests[^ ]*\)$/\1/p' Makefile)
    mkdir -p "${script%/*}"
    cp "$ROOT/$script" "$ROOT/${script%/*}/names" "$ROOT/${script%/*}/terminal" "${script%/*}"
    mkdir -p tests/support
    cp "$ROOT/tests/support/environment" tests/support
    for stage in 01-blocking 02-select 03-poll 04-epoll 05-kqueue 06-selector 07-nic-to-app; do
        mkdir $stage
        echo "serve() of $stage" >$stage/server.c
        echo 'common, first version' | tee $stage/common.c >$stage/common.h
        case $stage in
        0[2-6]-*) echo 'clients, first version' | tee $stage/clients.c >$stage/clients.h ;;
        esac
    done
}
teardown() { cd / && rm -rf "$T"; }

makes() {
    echo make
    if command -v bmake >/dev/null; then echo bmake; fi
}
# The version of a shared file in each folder that has it: "1 1 4 1 1 1 1".
versions() { cat 0*/"$1" | sed 's/.*, \(.\).*/\1/' | tr '\n' ' ' | sed 's/ $//'; }
all_have() { # FILE VERSION: every folder that has the file has this version
    versions "$1" | tr ' ' '\n' | sort -u | grep -qx "$2" && [ "$(versions "$1" | tr ' ' '\n' | sort -u | wc -l)" -eq 1 ]
}
says() { printf '%s\n' "$output" | tr '\n' ' ' | grep -qF -e "$1"; }
within_80_columns() { printf '%s\n' "$output" | awk 'length > 80 { print "over 80 columns: " $0; bad = 1 } END { exit bad }'; }

@test "make sync: identical files are left alone, and the message says so" {
    touch -t 202001010000 0*/*.[ch]
    for make in $(makes); do
        for from in '' FROM=04; do
            run $make sync $from
            echo "$output"
            [ "$status" -eq 0 ]
            says 'identical'
            [ -z "$(find . -name '*.[ch]' -newermt 2021-01-01)" ]
        done
    done
}

@test "make sync FROM=04 copies what changed in 04 to every folder that has the file" {
    for make in $(makes); do
        echo 'common, 4' >04-epoll/common.c
        echo 'clients, 4' >04-epoll/clients.h
        for stage in 01-blocking 02-select 03-poll 05-kqueue 06-selector 07-nic-to-app; do
            echo 'common, first' >$stage/common.c
            [ ! -e $stage/clients.h ] || echo 'clients, first' >$stage/clients.h
        done
        run $make sync FROM=04
        echo "$output"
        [ "$status" -eq 0 ]
        within_80_columns
        all_have common.c 4
        all_have clients.h 4
        [ ! -e 01-blocking/clients.h ]
        [ ! -e 07-nic-to-app/clients.h ]
        says 'Copied 04-epoll/common.c over the copies in 01-blocking, 02-select, 03-poll, 05-kqueue, 06-selector, 07-nic-to-app.'
        says 'Copied 04-epoll/clients.h over the copies in 02-select, 03-poll, 05-kqueue, 06-selector.'
        run grep -l 'serve() of 04' 0*/server.c
        [ "$output" = 04-epoll/server.c ]
    done
}

@test "make sync accepts every form of a stage's name, and refuses what is no stage" {
    for from in 4 04 epoll 04-epoll 04-epoll/; do
        echo "common, $from" >04-epoll/common.h
        run make sync FROM=$from
        echo "$output"
        [ "$status" -eq 0 ]
        cmp 04-epoll/common.h 07-nic-to-app/common.h
    done
    run make sync FROM=99
    [ "$status" -ne 0 ]
    says 'There is no stage "99".'
}

@test "make sync without FROM finds the one folder that has changes" {
    echo 'common, 3' >03-poll/common.c
    echo 'clients, 3' >03-poll/clients.c
    run make sync
    echo "$output"
    [ "$status" -eq 0 ]
    all_have common.c 3
    all_have clients.c 3
    says 'Copied 03-poll/common.c over'
}

@test "make sync without FROM refuses when two folders have changes, and lists both" {
    echo 'common, 3' >03-poll/common.c
    echo 'clients, 5' >05-kqueue/clients.c
    run make sync
    echo "$output"
    [ "$status" -ne 0 ]
    [ "$(versions common.c)" = 'f f 3 f f f f' ]
    [ "$(versions clients.c)" = 'f f f 5 f' ]
    says '03-poll: common.c'
    says '05-kqueue: clients.c'
    says 'make sync FROM=03'
}

@test "make sync FROM=03 copies its own change, and reports the change of another file elsewhere" {
    echo 'common, 3' >03-poll/common.c
    echo 'clients, 5' >05-kqueue/clients.c
    run make sync FROM=03
    echo "$output"
    [ "$status" -eq 0 ]
    all_have common.c 3
    [ "$(versions clients.c)" = 'f f f 5 f' ]
    says 'clients.c has changes in 05-kqueue, not in 03-poll'
    says 'make sync FROM=05'
}

@test "make sync refuses when two folders have different changes of one file, and copies nothing" {
    echo 'common, 3' >03-poll/common.c
    echo 'common, 5' >05-kqueue/common.c
    echo 'clients, 3' >03-poll/clients.c
    for from in FROM=03 ''; do
        run make sync $from
        echo "$output"
        [ "$status" -ne 0 ]
        within_80_columns
        [ "$(versions common.c)" = 'f f 3 f 5 f f' ]
        [ "$(versions clients.c)" = 'f 3 f f f' ]
        says 03-poll
        says 05-kqueue
    done
    run make sync FROM=03
    says 'Both 03-poll and 05-kqueue have changes of their own in common.c.'
    says 'cp 03-poll/common.c 05-kqueue/common.c && make sync FROM=03'
    # What it advises works.
    echo 'common, 8' >03-poll/common.c
    cp 03-poll/common.c 05-kqueue/common.c
    run make sync FROM=03
    echo "$output"
    [ "$status" -eq 0 ]
    all_have common.c 8
    all_have clients.c 3
}

@test "make sync FROM= a folder without changes does not overwrite the changes of another" {
    echo 'common, 3' >03-poll/common.c
    run make sync FROM=04
    echo "$output"
    [ "$status" -ne 0 ]
    [ "$(versions common.c)" = 'f f 3 f f f f' ]
    says 'common.c has changes in 03-poll, not in 04-epoll'
    says 'make sync FROM=03'
}

@test "make sync with two folders only: FROM decides, and without FROM it refuses" {
    rm -rf 01-blocking 04-epoll 05-kqueue 06-selector 07-nic-to-app
    echo 'common, 3' >03-poll/common.c
    run make sync
    echo "$output"
    [ "$status" -ne 0 ]
    [ "$(versions common.c)" = 'f 3' ]
    run make sync FROM=03
    echo "$output"
    [ "$status" -eq 0 ]
    all_have common.c 3
}

@test "make sync says which file it could not write, and fails" {
    [ "$(id -u)" != 0 ] || skip "root may write everywhere; to run it: an ordinary user"
    echo 'common, 3' >03-poll/common.c
    chmod 444 04-epoll/common.c
    run make sync FROM=03
    echo "$output"
    [ "$status" -ne 0 ]
    says '04-epoll/common.c could not be written'
}

@test "make diff-NN compares server.c, then says whether the shared files are identical and what is new" {
    echo 'int selector;' >06-selector/selector.c
    mkdir 06-selector/tools && echo 'int tool;' >06-selector/tools/tool.c
    for make in $(makes); do
        run $make diff-02
        echo "$output"
        [ "$status" -eq 0 ]
        [ "${lines[0]}" = '--- 01-blocking/server.c' ]
        [ "${lines[1]}" = '+++ 02-select/server.c' ]
        says '-serve() of 01-blocking +serve() of 02-select'
        says 'Shared files, identical in both: common.c common.h'
        says 'New in 02-select: clients.c clients.h'
        run $make diff-03
        [ "${lines[${#lines[@]} - 1]}" = 'Shared files, identical in both: common.c common.h clients.c clients.h' ]
        run $make diff-06
        says 'New in 06-selector: selector.c tools/'
        within_80_columns
    done
    echo 'common, 3' >03-poll/common.c
    run make diff-03
    echo "$output"
    [ "$status" -eq 0 ]
    says 'Shared files that differ: common.c ("make sync" copies what changed)'
    if says '+common, 3'; then false; fi
}
