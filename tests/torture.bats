#!/usr/bin/env bats
# Each error of each system call that the server makes is injected once (tests/commands/torture); the
# number of the call varies.  `make torture` injects every error into every call.
load support/helpers

@test "each system call fails with each error of its manual page, once" {
    rule "whichever call fails, the server does not hang, spin, crash or send a wrong byte" "the result of the call is not checked" "chapters 1 to 4"
    need_ours
    need_linux "seccomp(2) makes the calls fail"
    local code=0
    env -u SERVER -u SERVER_ARGS SAMPLE=1 JOBS=8 "$TESTS/commands/torture" -x "$VARIANT" >"$TMP/report" 2>&1 3>&- || code=$?
    cat "$TMP/report"
    ! grep -q 'seccomp() refuses' "$TMP/report" || skip "the kernel or the container does not allow seccomp(2) with user notification; to run it: Linux 5.5 or later, not in a restricted container"
    [ "$code" = 0 ]
}
