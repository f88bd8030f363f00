#!/usr/bin/env bats
# The files that the stages share are byte-identical, so a fix made in one folder is a fix in all.
TESTS=${TESTS:-$(cd "$BATS_TEST_DIRNAME" && pwd)}
ROOT=${TESTS%/*}

# identical FILE COUNT: this file is the same in every folder that has it, and COUNT folders have it.
identical() {
    local copy first='' count=0
    for copy in "$ROOT"/0?-*/"$1"; do
        count=$((count + 1))
        [ -n "$first" ] || first=$copy
        diff -u "$first" "$copy" || {
            echo "${copy#"$ROOT"/} differs from ${first#"$ROOT"/}. \"make sync FROM=NN\" copies the shared files of stage NN."
            return 1
        }
    done
    [ "$count" = "$2" ] || {
        echo "$1 is in $count folders instead of $2"
        return 1
    }
}

@test "the common code is the same in all seven stages" {
    identical common.c 7
    identical common.h 7
}

@test "the clients' code is the same in stages 02 to 06" {
    identical clients.c 5
    identical clients.h 5
}

@test "between two stages with an event loop, only server.c differs" {
    local before after
    before=$(cd "$ROOT/03-poll" && ls ./*.[ch] Makefile)
    for after in "$ROOT"/0[24]-*; do
        [ "$(cd "$after" && ls ./*.[ch] Makefile)" = "$before" ]
        cmp "$after/Makefile" "$ROOT/03-poll/Makefile"
    done
}

@test "a stage opens with its lesson: the sizes of server.c" {
    local file lines most
    for file in "$ROOT"/0?-*/server.c; do
        case $file in */01-*) most=185 ;; */07-*) most=355 ;; *) most=170 ;; esac
        lines=$(($(wc -l <"$file")))
        echo "${file#"$ROOT"/} has $lines lines; at most $most"
        [ "$lines" -le "$most" ]
        # The first line after the #includes and #defines is the lesson's.
        lines=$(grep -nvE '^(/\*.*| \*.*|#.*|)$' "$file" | head -n 1 | cut -d: -f1)
        echo "${file#"$ROOT"/}: the lesson begins in line $lines; at most 21"
        [ "$lines" -le 21 ]
    done
}

@test "without one of the mechanism's functions, the linker names it" {
    local tmp function output
    tmp=$(mktemp -d)
    cp -R "$ROOT/02-select" "$tmp/stage"
    for function in watch set_interest unwatch; do
        sed "s/^\(bool\|void\) $function(int fd/\1 not_$function(int fd/" "$ROOT/02-select/server.c" >"$tmp/stage/server.c"
        run make -C "$tmp/stage" CFLAGS='-O0 -w'
        [ "$status" != 0 ]
        [[ $output == *"undefined"*"$function"* || $output == *"$function"*"undefined"* || $output == *"Undefined"*"$function"* ]]
    done
    rm -rf "$tmp"
}

# bash ends a test neither for a failed command after "!" nor for one before "&&".  Such a check has an effect only
# in the last line of a function, or with "|| return 1".
without_effect() {
    awk 'FNR == 1 { delimiter = ""; check = "" }
        delimiter != "" { if ($1 == delimiter) delimiter = ""; next }
        check != "" { if ($1 != "}") print check; check = "" }
        match($0, /<<-?.?[A-Z][A-Z]+/) { delimiter = substr($0, RSTART, RLENGTH); gsub(/[^A-Z]/, "", delimiter) }
        { text = $0; gsub(/"[^"]*"/, "", text) }
        !continued && text !~ /\|\|/ && text !~ /(\\|&&|\|)$/ && text !~ /&& (return|skip|continue|break)/ &&
            (text ~ /^ +! / || text ~ /^ +(\[|\[\[|grep|cmp|diff|test|has) .*&& /) { check = FILENAME ":" FNR ": " $0 }
        { continued = text ~ /(\\|&&|\||\|\|)$/ }' "$@"
}
@test "no check in a test is without effect" {
    printf '%s\n' 'f() {' '    ! grep a b' '    [ a ] && [ b ]' '    ! grep a b || return 1' '    ! grep "|| c" b' '    [ "a && b" ]' '    ! grep last b' '}' >"$BATS_TEST_TMPDIR/example"
    [ "$(without_effect "$BATS_TEST_TMPDIR/example" | cut -d : -f 2 | tr '\n' ' ')" = '2 3 5 ' ]
    without_effect "$ROOT"/tests/*.bats "$ROOT"/tests/support/*.bash >"$BATS_TEST_TMPDIR/out"
    cat "$BATS_TEST_TMPDIR/out"
    [ ! -s "$BATS_TEST_TMPDIR/out" ]
}

# Print FILE:LINE of each test that LONG=1 changes, because its body has one of these words, and of each with the
# tag "long", with a + before the second kind.
long_tests() { # FILE...
    awk '
        FNR == 1 { name = tag = "" }
        /^# bats test_tags=long$/ { tag = "+"; next }
        /^@test / { name = FILENAME ":" FNR; if (tag) print "+" name }
        { tag = "" }
        name != "" && /[$][{](LONG|BYTES|CHURN|THREADS|IDLE)[:}]|idle_client_costs_at_most|need_vm|record_journeys/ { print name; name = "" }
        /^}/ { name = "" }' "$@"
}
@test "the tests that LONG=1 changes have the tag by which LONG=only chooses them" {
    local files=("$ROOT"/tests/*.bats)
    printf '%s\n' '# bats test_tags=long' '@test "a" {' '    true' '}' '@test "b" {' '    echo "${CHURN:-20}"' '}' >"$BATS_TEST_TMPDIR/example.bats"
    [ "$(long_tests "$BATS_TEST_TMPDIR/example.bats" | sed 's,[^+].*/,,' | tr '\n' ' ')" = '+example.bats:2 example.bats:5 ' ]
    long_tests "${files[@]}" | grep -v '/\(valgrind\|make-targets\|terminal\|shared-files\)\.bats:' >"$BATS_TEST_TMPDIR/all"
    grep '^+' "$BATS_TEST_TMPDIR/all" | sed 's/^+//' | sort >"$BATS_TEST_TMPDIR/tagged"
    grep -v '^+' "$BATS_TEST_TMPDIR/all" | sort | diff - "$BATS_TEST_TMPDIR/tagged"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/tagged")" -gt 10 ]
}

@test "no function is longer than 40 lines, no line than 100 columns" {
    local long
    long=$(awk 'FNR == 1 { start = 0 } /^\{/ { start = FNR }
        /^\}/ { if (start && FNR - start > 40) print FILENAME ":" start; start = 0 }
        length > 100 { print FILENAME ":" FNR ": " length " columns" }' "$ROOT"/0*/*.[ch] "$ROOT"/0*/linux/*.c "$ROOT"/0*/tracer/*.[ch])
    echo "$long"
    [ -z "$long" ]
}

@test "each folder stands alone: copied away, make builds it, and so does cc *.c for 01 to 05" {
    local folder tmp also
    tmp=$(mktemp -d)
    for folder in "$ROOT"/0*/; do
        folder=${folder%/}
        case ${folder##*/} in 04-* | 07-*) [ "$(uname -s)" = Linux ] || continue ;; esac
        mkdir "$tmp/${folder##*/}"
        cp -R "$folder"/* "$tmp/${folder##*/}"
        (cd "$tmp/${folder##*/}" && rm -f server && make CFLAGS=-O0 >/dev/null && ./server -h >/dev/null && make clean >/dev/null && [ ! -e server ])
        also=''
        case ${folder##*/} in 05-*) [ "$(uname -s)" != Linux ] || also='-Ilinux linux/kqueue.c' ;; esac
        # shellcheck disable=SC2086
        case ${folder##*/} in 0[1-5]-*) (cd "$tmp/${folder##*/}" && ${CC:-cc} -O0 $also ./*.c -o server -pthread && [ -x server ]) ;; esac
    done
    rm -rf "$tmp"
}

# A compiler's a.out is easily added by accident, and so is the file - of "trace --svg -".
@test "the top level has the Makefile, seven stages, tests, book, and the usual files of a repository" {
    cd "$ROOT"
    git ls-files 2>/dev/null | grep . >"$BATS_TEST_TMPDIR/files" || skip "needs git, to list the files; to run it: a clone"
    [ "$(cut -d / -f 1 "$BATS_TEST_TMPDIR/files" | LC_ALL=C sort -u | grep -v '^\.' | tr '\n' ' ')" = "$(echo 0?-*) CONTRIBUTING.md LICENSE Makefile README.md book tests " ]
    [ "$(echo 0?-* | wc -w)" = 7 ]
    run grep -vE '^([A-Za-z0-9._][A-Za-z0-9._-]*/)*[A-Za-z0-9._][A-Za-z0-9._-]*$' "$BATS_TEST_TMPDIR/files"
    echo "unusual names: $output"
    [ "$status" -eq 1 ]
}

# A built program is easily added by accident, and stays in the history.
@test "git tracks text only" {
    cd "$ROOT"
    git ls-files --eol 2>/dev/null | grep . >"$BATS_TEST_TMPDIR/files" || skip "needs git, to list the files; to run it: a clone"
    run grep '^i/-text' "$BATS_TEST_TMPDIR/files"
    echo "$output"
    [ "$status" -eq 1 ]
}
