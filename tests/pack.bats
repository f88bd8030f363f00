#!/usr/bin/env bats
# The archive of `make pack`: everything is in it, and it works without a network and without bats.

setup_file() {
    ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
    T=$(mktemp -d "${TMPDIR:-/tmp}/pack.XXXXXX")
    OUTSIDE=${PATH#"$BATS_LIBEXEC:"} # without what bats has put in front
    export ROOT T OUTSIDE
    unset MAKEFLAGS MFLAGS MAKELEVEL STAGE SERVER ONLY FILES
    mkdir "$T/ein Ordner"
    cd "$ROOT" || return 1
    . tests/support/environment
    if ! find_mdbook; then # the test is about the archive, and book.bats tests mdBook
        # shellcheck disable=SC2016
        printf '%s\n' '#!/bin/sh' 'mkdir -p "$4" && echo book >"$4/index.html"' >"$T/mdbook"
        chmod +x "$T/mdbook"
        mdbook=$T/mdbook
    fi
    export MDBOOK_PROGRAM=$mdbook
    PATH=$OUTSIDE make pack OUT="$T/w.tar.gz" MDBOOK="$mdbook" >"$T/said" 2>&1 && tar -xzf "$T/w.tar.gz" -C "$T/ein Ordner" || { cat "$T/said"; return 1; }
}
teardown_file() { rm -rf "$T"; }

@test "the archive has every file of the repository, and nothing that was built but the book" {
    cat "$T/said"
    cd "$ROOT"
    git ls-files 2>/dev/null | grep . >"$T/files" || skip "needs git, to list the files; to run it: a clone"
    while IFS= read -r file; do
        cmp "$file" "$T/ein Ordner/io-multiplexing/$file"
    done <"$T/files"
    cd "$T/ein Ordner/io-multiplexing"
    [ -s book/book/index.html ]
    find . -type f ! -path './book/book/*' ! -path './tests/bats/*' | sed 's|^\./||' | sort >"$T/packed"
    sort "$T/files" | diff - "$T/packed"
}

@test "without git, too, the archive has only what is not built" {
    cp -R "$T/ein Ordner/io-multiplexing" "$T/no-git"
    cd "$T/no-git"
    make -s 02-select >/dev/null
    mkdir -p work/02-select tests/build && touch work/02-select/server.c tests/build/client
    PATH=$OUTSIDE run make pack OUT="$T/again.tar.gz" MDBOOK="$MDBOOK_PROGRAM"
    echo "$output"
    [ "$status" -eq 0 ]
    tar -tzf "$T/again.tar.gz" >"$T/list"
    grep -q '/02-select/server.c$' "$T/list"
    ! grep -e '/02-select/server$' -e /work/ -e tests/build/ "$T/list"
}

@test "the unpacked archive is ready, and its tests run with its own bats" {
    mkdir "$T/bin"
    for file in /usr/local/bin/* /usr/bin/* /bin/* /usr/sbin/*; do
        case ${file##*/} in bats*) ;; *) ln -sf "$file" "$T/bin/" ;; esac
    done
    cd "$T/ein Ordner/io-multiplexing"
    run env PATH="$T/bin" make doctor
    echo "$output"
    printf '%s\n' "$output" | grep -q '^ok bats'
    run env -i HOME="$HOME" PATH="$T/bin" make test STAGE=02 FILES=contract ONLY='SIGTERM stops the server while'
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *'1 passed, 0 failed'* ]]
}

@test "an archive that cannot be complete is not written" {
    cd "$ROOT"
    run env HOME="$T" PATH="$T/bin" make pack OUT="$T/none.tar.gz"
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *'bats, which is not installed. To install it: '* ]]
    [ ! -e "$T/none.tar.gz" ]
    PATH=$OUTSIDE run make pack OUT="$T/none.tar.gz" MDBOOK=false
    [ "$status" -ne 0 ]
    [ ! -e "$T/none.tar.gz" ]
}
