#!/usr/bin/env bats
# The library of stage 06 without a server: a case for each sentence of selector.h, the cases of
# Python's test_selectors.py, and a comparison of all back ends with each other and with poll().  On
# Linux the back end kqueue uses the kqueue emulation of stage 05.
load support/helpers

BUILT=$TESTS/build/selector-tests
HEADER=$TESTS/../06-selector/selector.h
STRICT='-std=c11 -O2 -g -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror'
SANITIZERS='-std=c11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all'
SEEDS=${SEEDS:-10} STEPS=${STEPS:-3000}

# Without optimization, unless LONG=1: it would take longer than the tests.
setup_file() { make -s -C "$BATS_TEST_DIRNAME/programs" selector-tests CFLAGS="-std=c11 ${LONG:+-O2} -g -Wall -Wextra"; }

# build FOLDER CC CFLAGS: compile the same programs with another compiler or other flags.
build() {
    mkdir -p "$1"
    make -s -C "$TESTS/programs" selector-tests SELECTOR_TESTS="$1" CC="$2" CFLAGS="$3" >"$TMP/make" 2>&1 || {
        cat "$TMP/make"
        return 1
    }
}
# backends FILE: the back ends that appear in the output of a test program.
backends() { awk '$1 == "ok" || $1 == "not" || $1 == "skip" { print $1 == "not" ? $3 : $2 }' "$1" | sort -u; }

# all_cases PROGRAM...: run all cases, print those that fail, and check that every case that the
# program lists was run exactly once for each back end.
all_cases() {
    local program=${*: -1} code=0 cases count
    "$@" >"$TMP/out" 2>"$TMP/err" || code=$?
    awk '/^(ok|skip) / { text = ""; next } { text = text $0 "\n" } /^not ok/ { shown = 1 }
        /^    / && shown { printf "%s", text; text = "" } END { printf "%s", text }' "$TMP/out"
    grep -v 'Linux has no kqueue\|nothing about a BSD' "$TMP/err" | tail -n 40
    cases=$("$program" -l | wc -l)
    for backend in $(backends "$TMP/out"); do
        count=$(grep -c -E "^(ok|not ok|skip) $backend " "$TMP/out")
        echo "$backend: $((count)) of $((cases)) cases"
        [ "$count" -eq "$cases" ] || return 1
        diff <("$program" -l | cut -f 1 | sort) <(sed -nE "s/^(ok|skip|not ok) $backend //p" "$TMP/out" | sort) || return 1
    done
    [ "$(backends "$TMP/out" | wc -l)" -ge 2 ] # poll and select are everywhere
    ! grep '^not ok' "$TMP/out" || return 1
    [ "$code" = 0 ]
}

# words FILE...: the text without comment marks and line breaks.
words() { sed -e 's,^ *\(/\*\|\*/\|\*\),,' -e 's, \*/$,,' -e 's,/\* , ,' -e 's, \*/, ,' "$@" | tr -s ' \n' '  '; }

@test "each sentence of selector.h holds for each back end" {
    rule "selector.h describes everything that a program may rely on, and every back end behaves as described" "see the sentence printed with the failed case" "chapter 6"
    all_cases "$BUILT/selector-unit"
}

@test "the cases of Python's test_selectors.py pass for each back end" {
    rule "the functions behave as in Python" "a different errno, or no error at all" "chapter 6"
    all_cases "$BUILT/test_selectors"
}

@test "all back ends report the same events after random operations" {
    rule "a program cannot distinguish the back ends" "a flag that only one mechanism reports, a stale registration, a descriptor that starves" "chapter 6"
    local seed
    for ((seed = 1; seed <= SEEDS; seed++)); do
        "$BUILT/selector-compare" "$seed" "$STEPS" >"$TMP/out" 2>/dev/null || { tail -n 60 "$TMP/out"; return 1; }
        grep -q 'no difference between [2-9]' "$TMP/out"
    done
}

@test "on Linux all four back ends are tested" {
    need_linux "for epoll, and for the kqueue emulation"
    rule "every back end is compiled in and tested" "a system header that was not found" "chapter 6"
    local backend
    for backend in epoll kqueue poll select; do
        "$BUILT/test_selectors" "$backend" test_fileno
        "$BUILT/selector-unit" "$backend" name-of-the-back-end
    done
}

@test "every test function is in the list of its program" {
    rule "a case that is not in the list never runs" "a function that was written but not added to the list" "chapter 6"
    local written listed
    written=$(grep -c '^static void test_[a-z_]*(void)$' "$TESTS/programs/test_selectors.c")
    listed=$("$BUILT/test_selectors" -l | sort -u | wc -l)
    [ "$written" -eq "$listed" ]
    [ "$listed" -ge 23 ]
    sed -nE 's/^static void (test_[a-z_]*)\(void\)$/\1/p' "$TESTS/programs/test_selectors.c" | sort | diff - <("$BUILT/test_selectors" -l | sort)
    # In selector.c a case is a function from void to void; the compiler warns about an unused one.
    written=$(grep -c '^static void [a-z_]*(void)$' "$TESTS/programs/selector.c")
    written=$((written - $(grep -c '^static void allow_descriptors(void)$' "$TESTS/programs/selector.c")))
    listed=$("$BUILT/selector-unit" -l | cut -f 1 | sort -u | wc -l)
    echo "selector.c: $written written, $listed listed"
    [ "$written" -eq "$listed" ]
}

@test "each case quotes a sentence of selector.h" {
    rule "every case tests a sentence of the header" "the sentence was changed, but not its quotation in the case" "chapter 6"
    local header name sentence code=0
    header=$(words "$HEADER")
    while IFS=$'\t' read -r name sentence; do
        case $header in *"$sentence"*) ;; *) echo "$name: the header does not say: $sentence"; code=1 ;; esac
    done < <("$BUILT/selector-unit" -l)
    return $code
}

# The example of selector.h, between the declarations that it needs.
example() {
    cat <<'END'
#include "selector.h"
#include <errno.h>
struct client { int fd; struct selector *selector; };
extern int client_receive(struct client *client);
extern void client_close(struct client *client);
extern struct client *client_accept(int listener, struct selector *selector);
extern void log_events(const char *name, int events);
int main(void);
END
    sed -n '/^ \* A callback that needs/q; s/^ \*     //p' "$HEADER"
    echo 'int main(void) { return serve(selector_open(NULL), 3); }'
}

@test "the example in selector.h compiles without a warning" {
    rule "a reader can copy the example" "a callback or a function that has changed, but not the example" "chapter 6"
    example >"$TMP/example.c"
    cat "$TMP/example.c"
    local cc
    for cc in gcc clang; do
        # shellcheck disable=SC2086 # the words of a command line
        ! command -v "$cc" >/dev/null || "$cc" $STRICT -I"${HEADER%/*}" -c "$TMP/example.c" -o "$TMP/example.o"
    done
}

@test "the tests compile without a warning, with each compiler that is installed" {
    rule "no warnings, in the tests either" "" "CONTRIBUTING.md"
    local cc
    for cc in gcc clang; do
        ! command -v "$cc" >/dev/null || build "$TMP/$cc" "$cc" "$STRICT -O0" # the gate compiles them with -O2
    done
}

@test "the library works with the answers of FreeBSD and NetBSD, which are simulated" {
    rule "where systems differ, the header says so, and the tests know the answer of each" "an answer that only Linux gives is expected" "chapter 6"
    make -s -C "$TESTS/programs" bsd
    local system backend
    for system in FreeBSD NetBSD; do
        answers_of $system
        for backend in kqueue poll select; do
            test_case "$backend on $system"
            LD_PRELOAD=$BSD "$BUILT/selector-unit" $backend >"$TMP/out" 2>/dev/null || { grep -v '^ok' "$TMP/out"; return 1; }
            has_text "$TMP/out" "^ok $backend pipe-that-nobody-reads"
        done
    done
}

@test "the tests also work with headers like NetBSD's: functions with other symbols, FD_SETSIZE 256" {
    rule "the library calls the test doubles, whatever symbol a header gives to a function" "a macro that is in force when the header is read, such as -Dkevent=unit_kevent" "CONTRIBUTING.md"
    need_linux "because the headers of other systems cannot be changed"
    ${CC:-cc} -std=c11 -I"$TESTS/../05-kqueue/linux" -c -o "$TMP/symbols.o" "$TESTS/programs/netbsd-symbols.c"
    CPPFLAGS='-I../../05-kqueue/linux -include netbsd-headers.h' LDLIBS="$TMP/symbols.o" build "$TMP/netbsd" "${CC:-cc}" '-std=c11 -O2 -g'
    all_cases "$TMP/netbsd/selector-unit"
    all_cases "$TMP/netbsd/test_selectors"
}

# bats test_tags=long
@test "valgrind finds no invalid access and no leak" {
    [ -n "${LONG:-}" ] || skip "takes half a minute; to run it: make test-06 LONG=1"
    rule "nothing leaks, and no byte is read before it is written" "a pointer into a table that realloc() has moved" "chapter 6"
    need valgrind "to watch every access" "install valgrind"
    local watch=(valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all)
    all_cases "${watch[@]}" "$BUILT/selector-unit"
    "${watch[@]}" "$BUILT/selector-compare" 1 600 >"$TMP/out" 2>"$TMP/err" || { tail -n 40 "$TMP/out" "$TMP/err"; return 1; }
    [ -z "${LONG:-}" ] || all_cases "${watch[@]}" "$BUILT/test_selectors"
}

# bats test_tags=long
@test "the sanitizers for addresses and undefined behaviour find nothing" {
    [ -n "${LONG:-}" ] || skip "takes half a minute; to run it: make test-06 LONG=1"
    rule "no access outside an array, and no overflow" "a timeout that is too long for its type" "chapter 6"
    echo 'int main(void) { return 0; }' >"$TMP/try.c"
    # shellcheck disable=SC2086 # the words of a command line
    ${CC:-cc} $SANITIZERS "$TMP/try.c" -o "$TMP/try" 2>/dev/null && "$TMP/try" || skip "needs the sanitizers; to run it: install libasan and libubsan"
    build "$TMP/sanitized" "${CC:-cc}" "$SANITIZERS"
    all_cases "$TMP/sanitized/selector-unit"
    "$TMP/sanitized/selector-compare" 2 "$STEPS" >"$TMP/out" 2>"$TMP/err" || { tail -n 60 "$TMP/out" "$TMP/err"; return 1; }
    [ -z "${LONG:-}" ] || all_cases "$TMP/sanitized/test_selectors"
}
