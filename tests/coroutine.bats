#!/usr/bin/env bats
# coroutine.c by itself: tests/programs/coroutine.c, built in each way that there is.
TESTS=${TESTS:-$(cd "$BATS_TEST_DIRNAME" && pwd)}
ALL='order variables registers many alignment guard signals shortage switch'

setup() { TMP=$(mktemp -d "${TMPDIR:-/tmp}/echo-tests.XXXXXX"); }
teardown() { rm -rf "$TMP"; }

need() { command -v "$1" >/dev/null 2>&1 || skip "needs $1 ($2); to run it: install $3"; }
build() { # COMPILER AND FLAGS..., which may take back the Makefile's own
    local compiler=$1
    shift
    "$compiler" -fcf-protection=none "$@" -std=c11 -Wall -Wextra -I"$TESTS/../07-nic-to-app" -o "$TMP/coroutine" \
        "$TESTS/programs/coroutine.c" "$TESTS/../07-nic-to-app/coroutine.c"
}
all() { # [EMULATOR]
    local test
    for test in $ALL; do
        "$@" "$TMP/coroutine" "$test" >"$TMP/out" 2>&1 || { cat "$TMP/out"; return 1; }
    done
}
calls_of_1000_switches() {
    strace -o "$TMP/trace" "$TMP/coroutine" switch >/dev/null
    sed '1,/"begin/d; /"end/,$d' "$TMP/trace" | wc -l
}

@test "each coroutine keeps its place, its variables, its registers and its stack" {
    build "${CC:-cc}" -O2
    [ "$("$TMP/coroutine" | wc -l)" = "$(echo "$ALL" | wc -w)" ]
    all
    build "${CC:-cc}" -O0
    all
}

@test "a switch is no system call" {
    need strace "to count system calls" strace
    strace -qq -o /dev/null true 2>/dev/null || skip "strace may not trace here; to run it: a container with --cap-add=SYS_PTRACE"
    case $(uname -m) in x86_64 | aarch64) ;; *) skip "expected: on this processor it is ucontext" ;; esac
    build "${CC:-cc}" -O2
    [ "$(calls_of_1000_switches)" = 0 ]
}

@test "the way for other processors, ucontext: the same, with two calls for each wake-up" {
    build "${CC:-cc}" -O2 -DCOROUTINE_UCONTEXT 2>"$TMP/why" || {
        grep -q 'needs ucontext, so glibc' "$TMP/why" || { cat "$TMP/why"; return 1; }
        skip "expected: this C library has no ucontext"
    }
    all
    command -v strace >/dev/null && strace -qq -o /dev/null true 2>/dev/null || return 0
    [ "$(calls_of_1000_switches)" -ge 1990 ]
}

@test "a shadow stack: our switch is not marked as fit for it, the C library's is" {
    [ "$(uname -m)" = x86_64 ] || skip "expected: -fcf-protection is for x86-64"
    need readelf "to read the mark" binutils
    local cet="${CC:-cc} -fcf-protection=full" # a default of Ubuntu's gcc
    mkdir "$TMP/stage"
    cp "$TESTS"/../07-nic-to-app/*.[ch] "$TESTS/../07-nic-to-app/Makefile" "$TMP/stage"
    # what make builds, without the C library's objects, which may lack the mark
    make -s -C "$TMP/stage" server CC="$cet" LDFLAGS='-r -nostdlib'
    [ "$(nm "$TMP/stage/server" | grep -c ' T coroutine_switch$')" = 1 ]
    [ "$(readelf -n "$TMP/stage/server" | grep -c SHSTK)" = 0 ]
    # compiled by hand
    $cet -O2 -c -o "$TMP/coroutine.o" "$TMP/stage/coroutine.c" 2>"$TMP/why" || {
        grep -q 'needs ucontext, so glibc' "$TMP/why" || { cat "$TMP/why"; return 1; }
        skip "expected: this C library has no ucontext"
    }
    readelf -n "$TMP/coroutine.o"
    [ "$(readelf -n "$TMP/coroutine.o" | grep -c SHSTK)" = 1 ]
    [ "$(nm "$TMP/coroutine.o" | grep -c ' U swapcontext$')" = 1 ]
    build "${CC:-cc}" -O2 -fcf-protection=full
    all
}

@test "address and undefined-behaviour sanitizers know the stacks" {
    echo 'int main(void) { return 0; }' >"$TMP/x.c"
    "${CC:-cc}" -fsanitize=address,undefined -o "$TMP/x" "$TMP/x.c" 2>/dev/null && "$TMP/x" || skip "needs the sanitizers; to run it: install libasan and libubsan"
    build "${CC:-cc}" -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all
    ALL=${ALL/guard/} all
    ASAN_OPTIONS=detect_stack_use_after_return=1 ALL=${ALL/guard/} all
    ! "$TMP/coroutine" guard 2>"$TMP/out" # its own report in place of the signal
    grep -q 'AddressSanitizer: stack-overflow' "$TMP/out"
}

@test "valgrind finds nothing" {
    need valgrind "to watch every access" valgrind
    build "${CC:-cc}" -O1 -g
    local test
    for test in order variables registers alignment; do
        valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=all "$TMP/coroutine" "$test"
    done
}

@test "with musl" {
    need musl-gcc "for the C library musl" musl-tools
    build musl-gcc -O2 -static
    all
    ! build musl-gcc -DCOROUTINE_UCONTEXT 2>"$TMP/why"
    grep -q 'it needs ucontext, so glibc' "$TMP/why"
}

@test "on arm64, under qemu" {
    need aarch64-linux-gnu-gcc "to compile for arm64" gcc-aarch64-linux-gnu
    need qemu-aarch64 "to run what is for arm64" qemu-user
    build aarch64-linux-gnu-gcc -O2 -static
    ALL=${ALL/shortage/} all qemu-aarch64 # it does not limit the addresses of what it runs
    build aarch64-linux-gnu-gcc -O2 -static -DCOROUTINE_UCONTEXT
    ALL=${ALL/shortage/} all qemu-aarch64
}
