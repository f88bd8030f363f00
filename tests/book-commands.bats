#!/usr/bin/env bats
# Every command that the book and the READMEs tell a reader to type is run by a test, or book/data/commands.tsv says
# why not.  Each kind of failure is provoked, in a copy of the pages or with other entries.

ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
TOOL=$ROOT/book/tools/commands
ENTRIES_FILE=$ROOT/book/data/commands.tsv

setup() {
    set +T # bats traces no command inside functions
    TMP=$(mktemp -d "${TMPDIR:-/tmp}/book-commands.XXXXXX")
    unset BOOK ENTRIES VERBOSE
}
teardown() { rm -rf "$TMP"; }
need_linux() { [ "$(uname -s)" = Linux ] || skip "$1; to run it: a Linux machine"; }

# ---- the list ----

@test "every command of the book and the READMEs is run by a test, or there is a reason why not" {
    "$TOOL" --check
}

# A copy of the pages, to which the text is added at the end of page $1.
copy_of_pages() {
    mkdir -p "$TMP/book"
    (cd "$ROOT" && tar -cf - README.md 0?-*/README.md book/src/*.md book/src/tables/*.md) | tar -xf - -C "$TMP/book"
    printf '%s\n' "$2" >>"$TMP/book/book/src/$1"
}
# complains TEXT: the check of the copy, or of other entries, fails and says this, in one line.
complains() {
    run "$TOOL" --check
    echo "$output"
    [ "$status" = 1 ] && [ "${#lines[@]}" = 1 ] && [[ ${lines[0]} == *"$1"* ]]
}

@test "a command that nothing runs is noticed, in a block and in the text, whatever its program is" {
    copy_of_pages 03-poll.md 'To see it, run `perf stat -p PID` as root.'
    BOOK=$TMP/book complains '03-poll.md: nothing runs this command, and book/data/commands.tsv has no reason: perf stat -p PID'
    copy_of_pages 02-select.md 'Run `make
limit-02 V=7`.'
    BOOK=$TMP/book complains '02-select.md: nothing runs this command, and book/data/commands.tsv has no reason: make limit-02 V=7'
    copy_of_pages beyond.md '```console
2$ make limit-08
```'
    BOOK=$TMP/book complains 'beyond.md: nothing runs this command, and book/data/commands.tsv has no reason: make limit-08'
    copy_of_pages errors.md 'The script is `book/tools/picture`.'
    BOOK=$TMP/book complains 'errors.md: nothing runs this command, and book/data/commands.tsv has no reason: book/tools/picture'
    copy_of_pages contract.md 'Use `SERVRE=./mine`.'
    BOOK=$TMP/book complains 'contract.md: no command reads this variable: SERVRE=./mine'
}

@test "an entry is noticed if the book no longer has its command, or if it is incomplete or superfluous" {
    copy_of_pages errors.md ''
    sed -i.old 's/`nstat -az`/That tool/' "$TMP"/book/book/src/07-card-and-kernel.md "$TMP"/book/book/src/07-drops.md
    BOOK=$TMP/book complains 'commands.tsv: no page has this command: run nstat -az'
    export ENTRIES=$TMP/entries
    local change expected
    while IFS='|' read -r change expected; do
        sed "$change" "$ENTRIES_FILE" >"$ENTRIES"
        run cmp -s "$ENTRIES" "$ENTRIES_FILE"
        [ "$status" = 1 ]
        complains "$expected"
    done <<'END'
s/^test.make pack.*/test	make pack	tests\/pack.bats	make unpack/|commands.tsv: tests/pack.bats has no line with: make unpack
s/^test.make pack.*/test	make pack	tests\/pakc.bats	make pack/|commands.tsv: tests/pakc.bats has no line with: make pack
s/^not.wsl .*/not	wsl */|commands.tsv: no reason: not wsl *
s/^run.ss -ltn.*/run	ss -ltn/|commands.tsv: no output is expected: run ss -ltn
s/^run.ss -ltn/rnu	ss -ltn/|commands.tsv: not known: rnu ss -ltn
s/^client.nc.*/&\nnot	nc *	it stands below another entry/|commands.tsv: no page has this command: not nc *
s/^client.nc.*/&\nnot	make doctor	it is in a transcript/|the transcript doctor runs it already, so it needs no entry: make doctor
END
}

# ---- the commands ----

@test "the commands that can be run do what the book says" {
    need_linux 'the commands are run on Linux'
    run "$TOOL" --run 3>&-
    echo "$output"
    [ "$status" = 0 ]
    [[ $output != *skipped:* ]] || skip "$(printf '%s\n' "$output" | sed -n 's/^skipped: .*: \(needs .*\)/\1/p' | sort -u | paste -sd ' ' -)"
}

@test "a command that fails, prints something else or serves nobody is noticed" {
    need_linux 'the commands are run on Linux'
    export ENTRIES=$TMP/entries
    cat >"$ENTRIES" <<'END'
run	make help	.	false &&
run	make diff-07	^a sandwich is made
fails	make 07	.
serve	make lab
END
    run "$TOOL" --run 3>&-
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *'exit code 1: make help'*'no line of the output matches ^a sandwich is made: make diff-07'* ]]
    [[ $output == *'exit code 0: make 07'*'it does not listen: make lab'* ]]
}

# ---- the packages ----

# doctor_on SYSTEM MANAGER: what the doctor prints there for what a reader needs, as the words of a command.
doctor_on() {
    local bin=$TMP/$1.$2 thing tool
    mkdir "$bin"
    for tool in sh awk cat cut dirname grep head sed sort tail tr; do ln -s "$(command -v "$tool")" "$bin/$tool"; done
    printf '#!/bin/sh\necho %s\n' "$1" >"$bin/uname"
    printf '#!/bin/sh\necho 1000\n' >"$bin/id" # not root
    for tool in "$2" sudo; do [ "$1:$tool" = OpenBSD:sudo ] || printf '#!/bin/sh\n' >"$bin/$tool"; done
    [ "$1" != OpenBSD ] || printf '#!/bin/sh\n' >"$bin/doas"
    chmod +x "$bin"/*
    for thing in compiler make bash bats strace ps; do
        (cd "$ROOT" && env -i PATH="$bin" "$(command -v sh)" tests/commands/doctor how "$thing")
    done
}

@test "the packages in the table of systems are those that make doctor names" {
    local system manager row command word
    while read -r system manager row; do
        doctor_on "$system" "$manager" >"$TMP/says"
        grep "^| $row" "$ROOT/book/src/setting-up.md" | grep -o '`[^`]*`' | tr -d '`' >"$TMP/row"
        [ "$(wc -l <"$TMP/row")" = 2 ]
        while read -r command; do
            for word in $command; do
                tr ' ' '\n' <"$TMP/says" | grep -qxF -e "$word" || { echo "$row: the doctor does not print $word, of: $command"; cat "$TMP/says"; return 1; }
            done
        done <"$TMP/row"
    done <<'END'
Linux apt-get Debian, Ubuntu
Linux dnf Fedora
Linux zypper openSUSE
Linux pacman Arch
Linux apk Alpine
Darwin brew macOS
FreeBSD pkg FreeBSD
OpenBSD pkg_add OpenBSD
NetBSD pkgin NetBSD
END
}
