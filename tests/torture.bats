#!/usr/bin/env bats
# Each error of each system call that the server makes is injected once (tests/commands/torture); the
# number of the call varies.  `make torture` injects every error into every call.
load support/helpers

# torture [NAME=VALUE]...: run the sample; its report is in $TMP/report, and its exit code in $code.
torture() {
    code=0
    env -u SERVER -u SERVER_ARGS -u TORTURE -u FAULT SAMPLE=1 JOBS=8 "$@" "$TESTS/commands/torture" -x "$VARIANT" >"$TMP/report" 2>&1 3>&- || code=$?
    cat "$TMP/report"
}

@test "each system call fails with each error of its manual page, once" {
    rule "whichever call fails, the server does not hang, spin, crash or send a wrong byte" "the result of the call is not checked" "chapters 1 to 4"
    need_ours
    need_linux "it has been tried only there"
    torture TORTURE=seccomp
    ! grep -q 'seccomp(2) cannot be used' "$TMP/report" || skip "the kernel or the container does not allow seccomp(2) with user notification; to run it: Linux 5.5 or later, not in a restricted container"
    [ "$code" = 0 ]
}

# The calls that each stage makes, by the names of x86-64 and of arm64.
calls_of_stage() {
    echo 'accept bind close fcntl getsockname listen malloc recv recvfrom rt_sigaction send sendto setsockopt socket write'
    case $VARIANT in
    01-*) echo 'clone3?' ;;
    02-*) echo 'p?select6?' ;;
    03-*) echo 'p?poll' ;;
    *) echo 'epoll_ctl epoll_p?wait' ;;
    esac
    case $VARIANT in 07-*) echo 'mmap mprotect' ;; esac
}

@test "the preload library makes the same calls fail, where seccomp(2) cannot be used" {
    rule "whichever call fails, the server does not hang, spin, crash or send a wrong byte" "the result of the call is not checked" "chapters 1 to 4"
    need_ours
    need_linux "it has been tried only there"
    need_preload "$SHIM"
    case $VARIANT in *' -1' | *' -e' | "06-selector -s "[!e]*)
        skip "to save time, because the stage's main variant makes the same calls; to run it: make torture TORTURE=preload" ;;
    esac
    torture TORTURE=preload
    [ "$code" = 0 ]
    for call in $(calls_of_stage); do
        case $VARIANT/$call in 05-*/close) continue ;; esac # the emulation defines close()
        test_case "faults of $call"
        grep -qE "(^|[0-9])  +$call +[0-9]+/" "$TMP/report"
    done
}

# faults_happen INJECTOR: torture.c counts these faults as injected; a server that writes down which of its
# calls fail must have met each of them.
faults_happen() {
    local fault call
    "${CC:-cc}" -std=c11 -O2 -pthread -o "$TMP/witness" "$TESTS/programs/torture-witness.c"
    for fault in accept:2:EMFILE accept:3+:ENFILE recvfrom:1:EINTR recvfrom:2:ENOMEM sendto:1:ENOBUFS \
        malloc:3:ENOMEM recv:2:SHORT send:1:SHORT close:1:EIO; do
        test_case "$1: $fault"
        rm -f "$TMP/happened"
        code=0
        env -u SERVER_ARGS TORTURE="$1" WITNESS="$TMP/happened" FAULT="$fault" SERVER="$TMP/witness" \
            "$TESTS/commands/torture" >"$TMP/report" 2>&1 3>&- || code=$?
        cat "$TMP/report"
        [ "$code" != 2 ] || return 1 # the server does not make so many calls
        call=${fault%%:*}
        grep -qx "$call ${fault##*:}" "$TMP/happened" || { cat "$TMP/happened"; echo "counted, but it has not happened: $fault"; return 1; }
    done
}

@test "a fault that is counted has happened, as the server itself says" {
    rule "what the torture run counts as injected, a call of the server has returned" "the fault is counted before it is injected, or in another process" "chapters 1 to 4"
    need_ours
    need_linux "it has been tried only there"
    need_preload "$SHIM"
    [ "$VARIANT" = 04-epoll ] || skip "to save time, because this test has a server of its own; to run it: make test STAGE=04 FILES=torture"
    torture TORTURE=seccomp FAULT=accept:1:EMFILE >/dev/null # does seccomp(2) work here?
    grep -q 'seccomp(2) cannot be used' "$TMP/report" || faults_happen seccomp || return 1
    faults_happen preload
}
