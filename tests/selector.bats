#!/usr/bin/env bats
# The library of stage 06 by itself: a case for each sentence of selector.h, the cases of Python's
# own test_selectors.py, and all back ends compared with each other and with poll().  On Linux kqueue
# is the stand-in of stage 05.
load support/helpers

BUILT=$TESTS/build/selector-tests
HEADER=$TESTS/../06-selector/selector.h
STRICT='-std=c11 -O2 -g -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror'
SANITIZERS='-std=c11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all'
SEEDS=${SEEDS:-10} STEPS=${STEPS:-3000}

setup_file() { make -s -C "$BATS_TEST_DIRNAME/programs" selector-tests; }

# build FOLDER CC CFLAGS: the same programs in another way.
build() {
    mkdir -p "$1"
    make -s -C "$TESTS/programs" selector-tests SELECTOR_TESTS="$1" CC="$2" CFLAGS="$3" >"$TMP/make" 2>&1 || {
        cat "$TMP/make"
        return 1
    }
}
# The back ends that are compiled in, as the program's own lines name them.
backends() { awk '$1 == "ok" || $1 == "not" || $1 == "skip" { print $1 == "not" ? $3 : $2 }' "$1" | sort -u; }

# all_cases PROGRAM...: run it, name what failed, and see that each case that it lists was run, once
# for each back end.
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

# The words of a text without the marks of a comment and the breaks of lines.
words() { sed -e 's,^ *\(/\*\|\*/\|\*\),,' -e 's, \*/$,,' -e 's,/\* , ,' -e 's, \*/, ,' "$@" | tr -s ' \n' '  '; }

@test "each sentence of selector.h is kept, by each back end" {
    rule "selector.h says all that a program may rely on, and every back end keeps to it" "see the sentence beside the case that failed" "chapter 6"
    all_cases "$BUILT/selector-unit"
}

@test "the cases of Python's test_selectors.py, by each back end" {
    rule "the verbs mean what they mean in Python" "an error that is another, or none; a key that stays after a failed modify" "chapter 6"
    all_cases "$BUILT/test_selectors"
}

@test "all back ends report the same, whatever happens" {
    rule "a program cannot tell the back ends from each other" "a flag that one has and another does not, a stale entry, a turn that never comes" "chapter 6"
    local seed
    for ((seed = 1; seed <= SEEDS; seed++)); do
        "$BUILT/selector-compare" "$seed" "$STEPS" >"$TMP/out" 2>/dev/null || { tail -n 60 "$TMP/out"; return 1; }
        grep -q 'no difference between [2-9]' "$TMP/out"
    done
}

@test "on Linux all four back ends are tested" {
    need_linux "for epoll, and the stand-in for kqueue"
    rule "a back end that is not compiled in is not tested" "a header that was not found" "chapter 6"
    local backend
    for backend in epoll kqueue poll select; do
        "$BUILT/test_selectors" "$backend" test_fileno
        "$BUILT/selector-unit" "$backend" name-of-the-back-end
    done
}

@test "every function that looks like a case is in its program's list" {
    rule "a case that is not in the list is never run" "a function that was written and not entered" "chapter 6"
    local written listed
    written=$(grep -c '^static void test_[a-z_]*(void)$' "$TESTS/programs/test_selectors.c")
    listed=$("$BUILT/test_selectors" -l | sort -u | wc -l)
    [ "$written" -eq "$listed" ] && [ "$listed" -ge 23 ]
    sed -nE 's/^static void (test_[a-z_]*)\(void\)$/\1/p' "$TESTS/programs/test_selectors.c" | sort | diff - <("$BUILT/test_selectors" -l | sort)
    # Those of the other take nothing and return nothing; the compiler complains of one that is not used.
    written=$(grep -c '^static void [a-z_]*(void)$' "$TESTS/programs/selector.c")
    written=$((written - $(grep -c '^static void allow_descriptors(void)$' "$TESTS/programs/selector.c")))
    listed=$("$BUILT/selector-unit" -l | cut -f 1 | sort -u | wc -l)
    echo "selector.c: $written written, $listed listed"
    [ "$written" -eq "$listed" ]
}

@test "each case names a sentence that selector.h has" {
    rule "the cases are those of the header" "a sentence that was changed, and its case was not" "chapter 6"
    local header name sentence code=0
    header=$(words "$HEADER")
    while IFS=$'\t' read -r name sentence; do
        case $header in *"$sentence"*) ;; *) echo "$name: the header does not say: $sentence"; code=1 ;; esac
    done < <("$BUILT/selector-unit" -l)
    return $code
}

@test "the tests compile without a warning, with each compiler that is here" {
    rule "no warning, in the tests neither" "" "CONTRIBUTING.md"
    local cc
    for cc in gcc clang; do
        ! command -v "$cc" >/dev/null || build "$TMP/$cc" "$cc" "$STRICT"
    done
}

@test "under valgrind: no wrong access, no leak" {
    [ -n "${LONG:-}" ] || skip "takes half a minute; to run it: make test-06 LONG=1"
    rule "nothing leaks, no byte is read that was not written" "a table that moved under a pointer" "chapter 6"
    need valgrind "to watch every access" "install valgrind"
    local watch=(valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all)
    all_cases "${watch[@]}" "$BUILT/selector-unit"
    "${watch[@]}" "$BUILT/selector-compare" 1 600 >"$TMP/out" 2>"$TMP/err" || { tail -n 40 "$TMP/out" "$TMP/err"; return 1; }
    [ -z "${LONG:-}" ] || all_cases "${watch[@]}" "$BUILT/test_selectors"
}

@test "with the sanitizers for addresses and undefined behaviour" {
    [ -n "${LONG:-}" ] || skip "takes half a minute; to run it: make test-06 LONG=1"
    rule "no access beyond a table, no overflow" "a timeout that is too long for its type" "chapter 6"
    echo 'int main(void) { return 0; }' >"$TMP/try.c"
    # shellcheck disable=SC2086 # the words of a command line
    ${CC:-cc} $SANITIZERS "$TMP/try.c" -o "$TMP/try" 2>/dev/null && "$TMP/try" || skip "needs the sanitizers; to run it: install libasan and libubsan"
    build "$TMP/sanitized" "${CC:-cc}" "$SANITIZERS"
    all_cases "$TMP/sanitized/selector-unit"
    "$TMP/sanitized/selector-compare" 2 "$STEPS" >"$TMP/out" 2>"$TMP/err" || { tail -n 60 "$TMP/out" "$TMP/err"; return 1; }
    [ -z "${LONG:-}" ] || all_cases "$TMP/sanitized/test_selectors"
}
