#!/usr/bin/env bats
# Unit tests of coroutine.c and context.c (the program tests/programs/coroutine.c), for each way to switch.
TESTS=${TESTS:-$(cd "$BATS_TEST_DIRNAME" && pwd)}
ALL='order variables registers many alignment guard signals shortage switch'

setup() { TMP=$(mktemp -d "${TMPDIR:-/tmp}/echo-tests.XXXXXX"); }
teardown() { rm -rf "$TMP"; }

need() { command -v "$1" >/dev/null 2>&1 || skip "needs $1 ($2); to run it: install $3"; }
build() { # COMPILER FLAGS..., which override the Makefile's flags
    local compiler=$1
    shift
    "$compiler" -fcf-protection=none "$@" -std=c11 -Wall -Wextra -I"$TESTS/../07-nic-to-app" -o "$TMP/coroutine" \
        "$TESTS/programs/coroutine.c" "$TESTS"/../07-nic-to-app/{coroutine,context}.c
}
run_all() { # [EMULATOR]
    local test
    for test in $ALL; do
        "$@" "$TMP/coroutine" "$test" >"$TMP/out" 2>&1 || { cat "$TMP/out"; return 1; }
    done
}
is_glibc() { getconf GNU_LIBC_VERSION >/dev/null 2>&1; } # musl's getconf does not know this name
calls_of_1000_switches() {
    strace -o "$TMP/trace" "$TMP/coroutine" switch >/dev/null
    sed '1,/"begin/d; /"end/,$d' "$TMP/trace" | wc -l
}

@test "each coroutine keeps its place, its variables, its registers and its stack" {
    build "${CC:-cc}" -O2
    [ "$("$TMP/coroutine" | wc -l)" = "$(echo "$ALL" | wc -w)" ]
    run_all
    build "${CC:-cc}" -O0
    run_all
}

@test "a switch makes no system call" {
    need strace "to count system calls" strace
    strace -qq -o /dev/null true 2>/dev/null || skip "strace has no permission to trace; to run it: a container with --cap-add=SYS_PTRACE"
    case $(uname -m) in x86_64 | aarch64) ;; *) skip "expected: this processor uses ucontext" ;; esac
    build "${CC:-cc}" -O2
    [ "$(calls_of_1000_switches)" = 0 ]
}

@test "ucontext, for other processors: the same behaviour, with two system calls per wake-up" {
    build "${CC:-cc}" -O2 -DCOROUTINE_UCONTEXT 2>"$TMP/why" || {
        grep -q 'needs ucontext, so glibc' "$TMP/why" && ! is_glibc || { cat "$TMP/why"; return 1; }
        skip "expected: this C library has no ucontext"
    }
    run_all
    command -v strace >/dev/null && strace -qq -o /dev/null true 2>/dev/null || return 0
    [ "$(calls_of_1000_switches)" -ge 1990 ]
}

@test "shadow stack: our own switch is not marked as compatible, the C library's is" {
    [ "$(uname -m)" = x86_64 ] || skip "expected: -fcf-protection is for x86-64"
    need readelf "to read the mark" binutils
    local cet="${CC:-cc} -fcf-protection=full" # a default of Ubuntu's gcc
    mkdir "$TMP/stage"
    cp "$TESTS"/../07-nic-to-app/*.[ch] "$TESTS/../07-nic-to-app/Makefile" "$TMP/stage"
    # What make builds.  The C library's objects are left out, because they may lack the mark.
    make -s -C "$TMP/stage" server CC="$cet" LDFLAGS='-r -nostdlib'
    [ "$(nm "$TMP/stage/server" | grep -c ' T context_switch$')" = 1 ]
    [ "$(readelf -n "$TMP/stage/server" | grep -c SHSTK)" = 0 ]
    # Compiled without the Makefile's flag: context.c uses the C library.
    $cet -O2 -c -o "$TMP/context.o" "$TMP/stage/context.c" 2>"$TMP/why" || {
        grep -q 'needs ucontext, so glibc' "$TMP/why" && ! is_glibc || { cat "$TMP/why"; return 1; }
        skip "expected: this C library has no ucontext"
    }
    readelf -n "$TMP/context.o"
    [ "$(readelf -n "$TMP/context.o" | grep -c SHSTK)" = 1 ]
    [ "$(nm "$TMP/context.o" | grep -c ' U swapcontext$')" = 1 ]
    build "${CC:-cc}" -O2 -fcf-protection=full
    run_all
}

@test "AddressSanitizer and UndefinedBehaviorSanitizer find nothing, and know the stacks" {
    echo 'int main(void) { return 0; }' >"$TMP/x.c"
    "${CC:-cc}" -fsanitize=address,undefined -o "$TMP/x" "$TMP/x.c" 2>/dev/null && "$TMP/x" || skip "needs the sanitizers; to run it: install libasan and libubsan"
    build "${CC:-cc}" -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all
    run_all
    ASAN_OPTIONS=detect_stack_use_after_return=1 run_all
    ! ASAN_OPTIONS=allow_user_segv_handler=0 "$TMP/coroutine" guard 2>"$TMP/out" || return 1 # the sanitizer reports the overflow itself
    grep -q 'AddressSanitizer: stack-overflow' "$TMP/out"
}

@test "valgrind finds nothing" {
    need valgrind "to check every memory access" valgrind
    build "${CC:-cc}" -O1 -g
    local test
    for test in order variables registers alignment; do
        valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=all "$TMP/coroutine" "$test"
    done
}

@test "musl" {
    need musl-gcc "for the C library musl" musl-tools
    build musl-gcc -O2 -static
    run_all
    ! build musl-gcc -DCOROUTINE_UCONTEXT 2>"$TMP/why" || return 1
    grep -q 'needs ucontext, so glibc' "$TMP/why"
}

@test "arm64, in QEMU" {
    need aarch64-linux-gnu-gcc "to compile for arm64" gcc-aarch64-linux-gnu
    need qemu-aarch64 "to run arm64 programs" qemu-user
    build aarch64-linux-gnu-gcc -O2 -static
    ALL=${ALL/shortage/} run_all qemu-aarch64 # qemu does not enforce RLIMIT_AS
    build aarch64-linux-gnu-gcc -O2 -static -DCOROUTINE_UCONTEXT
    ALL=${ALL/shortage/} run_all qemu-aarch64
}
