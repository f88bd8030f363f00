#!/usr/bin/env bats
# What the stages share is byte-identical: a fix made in one is a fix in all.
TESTS=${TESTS:-$(cd "$BATS_TEST_DIRNAME" && pwd)}
ROOT=${TESTS%/*}

# part FILE FIRST: from the line that begins with FIRST to the end, or to the next part.
part() { awk -v first="$2" 'index($0, first) == 1 { on = 1; print; next } /^\/\* ---- toolbox/ { on = 0 }
    on && /^$/ { blank = blank "\n"; next } on { printf "%s", blank; blank = ""; print }' "$1"; }

identical() { # FIRST: this part is the same wherever it stands, and stands in at least two files
    local file one='' count=0
    for file in "$ROOT"/0*/server.c; do
        [ -n "$(part "$file" "$1")" ] || continue
        count=$((count + 1))
        [ -n "$one" ] || one=$file
        diff -u <(part "$one" "$1") <(part "$file" "$1") || {
            echo "differs: ${file#"$ROOT"/} from ${one#"$ROOT"/}.  Make the same change in all."
            return 1
        }
    done
    [ "$count" -ge 2 ]
}

@test "the toolbox is the same in every stage, part by part" {
    identical '/* ---- toolbox: the same in every stage'
    identical '/* ---- toolbox, second part'
    identical '/* ---- toolbox, third part'
}

@test "every stage has the first part; 02 to 06 have all three; 07 has two" {
    local file
    for file in "$ROOT"/0*/server.c; do
        grep -q '^/\* ---- toolbox: the same in every stage ---- \*/$' "$file"
    done
    for file in "$ROOT"/0[2-6]-*/server.c; do
        [ "$(grep -c '^/\* ---- toolbox' "$file")" = 3 ]
    done
    [ "$(grep -c '^/\* ---- toolbox' "$ROOT/07-nic-to-app/server.c")" = 2 ]
}

@test "what a stage asks of the toolbox, and brings to it, is the same text too" {
    local file
    head_of() { sed -n '/^\/\* What this stage has to bring/,/^static void clients_close/p' "$1"; }
    for file in "$ROOT"/0[3-6]-*/server.c; do
        diff -u <(head_of "$ROOT/02-select/server.c") <(head_of "$file")
    done
    [ "$(head_of "$ROOT/02-select/server.c" | wc -l)" -gt 20 ]
}

@test "no function is longer than 40 lines, no line than 100 columns" {
    local long
    long=$(awk 'FNR == 1 { start = 0 } /^\{/ { start = FNR }
        /^\}/ { if (start && FNR - start > 40) print FILENAME ":" start; start = 0 }
        length > 100 { print FILENAME ":" FNR ": " length " columns" }' "$ROOT"/0*/*.[ch] "$ROOT"/0*/linux/*.c)
    echo "$long"
    [ -z "$long" ]
}

@test "each folder stands alone: copied away, make builds it, and so does cc server.c" {
    local folder tmp also
    tmp=$(mktemp -d)
    for folder in "$ROOT"/0*/; do
        folder=${folder%/}
        case ${folder##*/} in 04-* | 07-*) [ "$(uname -s)" = Linux ] || continue ;; esac
        mkdir "$tmp/${folder##*/}"
        cp -R "$folder"/* "$tmp/${folder##*/}"
        (cd "$tmp/${folder##*/}" && rm -f server && make >/dev/null && [ -x server ] && make clean >/dev/null && [ ! -e server ])
        also=''
        case ${folder##*/} in 05-*) [ "$(uname -s)" != Linux ] || also='-Ilinux linux/kqueue.c' ;; esac
        # shellcheck disable=SC2086
        case ${folder##*/} in 0[1-5]-*) (cd "$tmp/${folder##*/}" && ${CC:-cc} $also server.c -o server -pthread && [ -x server ]) ;; esac
    done
    rm -rf "$tmp"
}
