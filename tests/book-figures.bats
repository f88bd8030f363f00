#!/usr/bin/env bats
# The drawings of the book; and its page about the claims, with the measured figures that it rests on:
# book/drawings/bench.tsv.  A figure on that page has its key before it, as <!--idle:03-poll:15000-->24 or <!--A / B-->1.5; the
# keys are those of tests/bench/figures.  "make bench && tests/bench/book" makes new figures.

ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
SRC=$ROOT/book/src
DRAWINGS=$ROOT/book/drawings
PAGE=$ROOT/book/src/claims.md
TSV=$ROOT/book/drawings/bench.tsv

setup() {
    T=$(mktemp -d "${TMPDIR:-/tmp}/book-figures.XXXXXX")
    bash "$ROOT/tests/bench/figures" "$TSV" >"$T/figures"
}
teardown() { rm -rf "$T"; }

# Lines of "KEY<tab>NUMBER": what a page says.
page_says() { grep -o '<!--[^>]*-->[0-9.]*' "$1" | sed 's/^<!--//; s/-->/	/'; }
# agree PAGE LEAST: a page has so many figures, and says what was measured, to three percent or half of its last digit.
agree() {
    page_says "$1" | awk -F '\t' -v least="${2:-15}" '
        FNR == NR { value[$1] = $2; next }
        function get(key) { if (key ~ /^[0-9.]+$/) return key; if (!(key in value)) { print "no such figure: " key; bad = 1; return 1 } return value[key] }
        {
            count++
            n = split($1, part, " / ")
            measured = n == 2 ? get(part[1]) / get(part[2]) : get($1)
            half = $2 ~ /\./ ? 0.5 / 10 ^ (length($2) - index($2, ".")) : 0.5
            if (half < $2 * 0.03) half = $2 * 0.03
            if (measured - $2 > half + 1e-9 || $2 - measured > half + 1e-9) {
                printf "the page says %s, and measured was %.3f: %s\n", $2, measured, $1; bad = 1
            }
        }
        END { if (count < least) { print "only " count + 0 " figures have a key"; bad = 1 } exit bad }' "$T/figures" -
}

@test "each figure on the page about the claims, and in the introduction, is what was measured" {
    agree "$PAGE"
    agree "$ROOT/book/src/introduction.md" 2
}

@test "and a page that says something else is found" {
    local page
    for page in "$PAGE" "$ROOT/book/src/introduction.md"; do
        sed 's/<!--idle:03-poll:15000-->[0-9]*/<!--idle:03-poll:15000-->2/' "$page" >"$T/page"
        run agree "$T/page" 2
        [ "$status" -ne 0 ]
        [[ "$output" == *'the page says 2, and measured was '* ]]
    done
    sed 's/<!--idle:03-poll:15000-->/<!--idle:03-pool:15000-->/' "$PAGE" >"$T/page"
    run agree "$T/page"
    [ "$status" -ne 0 ]
}

@test "what the page says in words about the run is so" {
    grep -q '^about:rounds	9$' "$T/figures"  # "nine short windows"
    grep -q '^about:window	100$' "$T/figures"
    [ "$(grep -c '^wrong:' "$T/figures")" = 0 ]
    awk -F '\t' '$1 == "speed:idle:04-epoll:50:0" { seen = 1; exit !($2 < 100000) } END { if (!seen) exit 1 }' "$T/figures" # "fewer than a hundred thousand"
}

@test "the tables of the page come from the same figures" {
    local section
    for section in about idle memory active peers sizes close churn bulk calls; do
        bash "$ROOT/tests/bench/report" "$TSV" $section | diff "$ROOT/book/drawings/bench-$section.txt" - ||
            { echo "tests/bench/book book/drawings/bench.tsv regenerates them"; return 1; }
    done
    awk 'length > 80 { print FILENAME ": over 80 columns: " $0; bad = 1 } END { exit bad }' "$ROOT"/book/drawings/bench-*.txt
}

@test "the charts of the page come from the same figures, and can be read on any screen and in any theme" {
    local chart
    for chart in idle active peers memory; do
        chart=$ROOT/book/src/images/bench-$chart.svg
        head -n 4 "$chart" | grep -q 'role="img"'
        grep -q '<title id="title">..*</title>' "$chart"
        grep -q 'viewBox="0 0 400 [0-9]*"' "$chart"
        grep -q '<rect .*fill="#ffffff"' "$chart"
    done
    command -v gnuplot >/dev/null || skip "needs gnuplot to draw them again; to run it: apt-get install gnuplot-nox"
    bash "$ROOT/tests/bench/chart" "$TSV" "$T" bench- >/dev/null
    # Another version of gnuplot draws the same data in its own way.
    [ "$(grep -o 'GNUPLOT [0-9.]* patchlevel [0-9]*' "$T/bench-idle.svg")" = "$(grep -o 'GNUPLOT [0-9.]* patchlevel [0-9]*' "$ROOT/book/src/images/bench-idle.svg")" ] ||
        skip "the book's charts were drawn by another gnuplot; to compare them: that version"
    for chart in idle active peers memory; do
        cmp "$T/bench-$chart.svg" "$ROOT/book/src/images/bench-$chart.svg" || { echo "tests/bench/book book/drawings/bench.tsv draws it again"; return 1; }
    done
}

# ---- the drawings ----

@test "one command draws every drawing again, identical to the committed one" {
    local drawing
    "$ROOT/book/tools/drawings" "$T/drawn"
    for drawing in "$SRC"/images/*.svg; do
        case ${drawing##*/} in
        bench-* | tour-*) continue ;; # drawn by tests/bench/book, and from a run of `make tour`
        esac
        cmp "$T/drawn/${drawing##*/}" "$drawing" || { echo "book/tools/drawings draws it again"; return 1; }
    done
    [ "$(ls "$T/drawn" | wc -l)" -ge 17 ]
    for drawing in "$T"/drawn/*.svg; do [ -f "$SRC/images/${drawing##*/}" ]; done
}

@test "every awk draws the same" {
    local awk seen=0
    mkdir "$T/bin"
    for awk in mawk gawk original-awk; do
        command -v $awk >/dev/null || continue
        printf '#!/bin/sh\nexec %s "$@"\n' $awk >"$T/bin/awk"
        chmod +x "$T/bin/awk"
        PATH=$T/bin:$PATH "$ROOT/book/tools/drawings" "$T/$seen"
        diff -rq "$T/0" "$T/$seen" || { echo "$awk draws differently"; return 1; }
        seen=$((seen + 1))
    done
    [ "$seen" -ge 2 ] || skip "needs two kinds of awk; to run it: apt-get install mawk gawk"
}

@test "a drawing can be read on any screen, in any theme, and by a screen reader" {
    local drawing theme
    "$ROOT/book/tools/drawings" "$T/drawn"
    for drawing in "$T"/drawn/*.svg; do
        echo "${drawing##*/}"
        sed -n 1p "$drawing" | grep -q 'viewBox="0 0 360 [0-9]*".* role="img".* font-size="1[2-9]"' # 390 px: the letters stay as they are
        grep -q '<title id="title">..*</title>' "$drawing"
        sed -n 3p "$drawing" | grep -q '^<rect width="360".*fill="#fff"'
        [ -z "$(grep -o 'font-size="[0-9.]*"' "$drawing" | grep -v '"1[2-9]"')" ]
    done
    # The dark themes of mdBook invert the white background.
    for theme in coal navy ayu; do grep -q "^\..*\.$theme .*img.*{ filter: invert\|^\.$theme .*img.*{ filter: invert" "$ROOT/book/wide.css"; done
}

@test "the text of a drawing has enough contrast with what is behind it" {
    # WCAG's ratio, for each pair of a text's colour and a background that draw.awk can put below it.
    awk '
        function channel(hex, v) { v = (index("0123456789abcdef", substr(hex, 1, 1)) - 1) * 16 + index("0123456789abcdef", substr(hex, 2, 1)) - 1
            v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ^ 2.4 }
        function light(c) { c = substr(c, 2); if (length(c) == 3) c = substr(c, 1, 1) substr(c, 1, 1) substr(c, 2, 1) substr(c, 2, 1) substr(c, 3, 1) substr(c, 3, 1)
            return 0.2126 * channel(substr(c, 1, 2)) + 0.7152 * channel(substr(c, 3, 2)) + 0.0722 * channel(substr(c, 5, 2)) }
        function pair(a, b, x, y) { x = light(C[a]); y = light(C[b]); x = x > y ? (x + 0.05) / (y + 0.05) : (y + 0.05) / (x + 0.05)
            seen++; if (x < 4.5) { printf "%s on %s: %.2f\n", a, b, x; bad = 1 } }
        { while (match($0, /[A-Z_]+ = "#[0-9a-f]+"/)) { split(substr($0, RSTART, RLENGTH), part, / = /); gsub(/"/, "", part[2]); C[part[1]] = part[2]; $0 = substr($0, RSTART + RLENGTH) } }
        END {
            split("INK MUTED NEW BYTES", TEXT, " "); split("PAPER SHADE", BACK, " ")
            for (i in TEXT) for (k in BACK) pair(TEXT[i], BACK[k])
            pair("INK", "NEW_FILL"); pair("NEW", "NEW_FILL"); pair("PAPER", "INK"); pair("PAPER", "NEW")
            exit bad || seen != 12
        }' "$DRAWINGS/draw.awk"
}

@test "every picture of the book has a text that says what it shows, and every drawing is in the book" {
    local page alt drawing stage count=0
    for page in "$SRC"/*.md; do
        while read -r alt; do
            count=$((count + 1))
            [ "${#alt}" -ge 100 ] || { echo "${page##*/}: too short: $alt"; return 1; }
        done < <(sed -n 's/^!\[\([^]]*\)\](images.*/\1/p' "$page")
        [ "$(grep -c '](images/' "$page")" = "$(grep -c '^!\[[^]]*\](images/[a-z0-9-]*\.svg)$' "$page")" ] || { echo "${page##*/}: a picture is not in a line of its own"; return 1; }
    done
    [ "$count" -ge 20 ]
    for drawing in "$SRC"/images/*.svg; do
        case ${drawing##*/} in tour-*) continue ;; esac # in the README
        grep -qF "](images/${drawing##*/})" "$SRC"/*.md || { echo "no page shows ${drawing##*/}"; return 1; }
    done
    # Each chapter has the machine of its stage before its first heading.
    for page in "$SRC"/0[1-7]-[a-z]*.md; do
        stage=${page##*/}; stage=${stage%%-*}
        [ -d "$ROOT/$(basename "$page" .md)" ] || continue # a page of chapter 7 that is no chapter
        sed '/^## /,$d' "$page" | grep -q "](images/machine-$stage.svg)$" || { echo "${page##*/} does not begin with its machine"; return 1; }
    done
    sed '/^## /,$d' "$SRC/introduction.md" | grep -q '](images/machine.svg)$'
}

# ---- what the drawings say of the code ----

@test "two stacks: the functions and the registers are those of stage 07" {
    local name count=0
    for name in $(grep 'split("' "$DRAWINGS/two-stacks.awk" | grep -o '[a-z_]*()' | tr -d '()' | sort -u); do
        count=$((count + 1))
        grep -q "[ *]$name(\|globl $name" "$ROOT"/07-nic-to-app/server.c "$ROOT"/07-nic-to-app/coroutine.c || { echo "no function $name()"; return 1; }
    done
    [ "$count" -ge 10 ]
    [ "$(grep -c '"    pushq ' "$ROOT/07-nic-to-app/coroutine.c")" = 6 ]
    [ "$(grep -c '"    popq ' "$ROOT/07-nic-to-app/coroutine.c")" = 6 ]
}

@test "an fd_set: the descriptors are those of the tour of stage 02" {
    grep -q 'fd 5 readable  *accept: fd 6$' "$SRC/transcripts/tour-02.txt"
    grep -q 'fd 5 readable  *accept: fd 8$' "$SRC/transcripts/tour-02.txt"
    awk -f "$DRAWINGS/draw.awk" -f "$DRAWINGS/fd-set.awk" | awk -F '[<>]' '
        $3 == "after: B is readable" { after = 1 }
        # the bits that are 1; the numbers above the cells are grey
        /font-size="12" text-anchor="middle">1</ && !/#57606a/ { split($2, part, "\""); set[after + 0] = set[after + 0] (part[2] - 28) / 32 }
        END { print set[0], set[1]; exit !(set[0] == "35678" && set[1] == "7") }'
}

@test "a short write: the model does what the text below it says" {
    awk -f "$DRAWINGS/draw.awk" -f "$DRAWINGS/short-write.awk" -f <(echo '
        END {
            if (!(SHORT_AT < FULL_AT && FULL_AT < READS_FROM && READS_FROM < AGAIN_AT)) bad = bad " order"
            if (ECHO[SHORT_AT] != SPACE) bad = bad " the-send-buffer-is-not-full-at-1"
            if (SENT[FULL_AT] != SPACE) bad = bad " the-receive-buffer-is-not-full-at-2"
            for (t = SHORT_AT + 1; t < AGAIN_AT; t++) if (READS[t]) bad = bad " the-server-reads-between-1-and-4"
            for (t = 1; t <= LAST; t++) if (PENDING[t] > 0 && READS[t] && PENDING[t - 1] > 0) bad = bad " it-reads-while-something-is-pending"
            if (ECHO[LAST] + SENT[LAST] + PENDING[LAST] > 0) bad = bad " something-is-left"
            if (bad) print bad >"/dev/stderr"
            exit bad != ""
        }') </dev/null >/dev/null
}

# ---- the frames, byte by byte ----

frames() { "$ROOT/book/tools/frames" "$@"; }

@test "the page of the frames is what its recording gives, and shows each byte of the recording twice: in the picture and in the list" {
    local table awk
    frames --check
    for table in "$SRC"/tables/frame-*.html; do
        grep -qxF "{{#include tables/${table##*/}}}" "$SRC/07-frames.md" || { echo "the page does not show ${table##*/}"; return 1; }
    done
    # The bytes alone, one frame in a line.
    awk 'function flush() { if (bytes != "") print bytes; bytes = "" }
        /^trace (writes|reads) a frame/ { flush() }
        substr($0, 11) ~ /^( [0-9a-f][0-9a-f])+$/ { bytes = bytes substr($0, 11) }
        END { flush() }' "$ROOT/book/data/frames.txt" | sort >"$T/recorded"
    [ "$(wc -l <"$T/recorded")" = 8 ]
    for table in "$SRC"/tables/frame-*.html; do
        case $table in */frame-pointer-*) continue ;; esac
        grep '^<a ' "$table" | grep -o '<b>[0-9a-f]*' | sed 's/<b>/ /' | tr -d '\n' >>"$T/picture"
        echo >>"$T/picture"
        grep '^<div id' "$table" | sed 's/.*<dt><code>/ /; s/<.*//' | tr -d '\n' >>"$T/list"
        echo >>"$T/list"
    done
    sort "$T/picture" | diff "$T/recorded" -
    sort "$T/list" | diff "$T/recorded" -
    # On the way out, the program has recorded the length of the whole frame.
    grep -q ' net_dev_queue skb=2 len=69 name=tap0$' "$ROOT/07-nic-to-app/recordings/tap.txt"
    grep 'eth_header' "$SRC/tables/frame-pointer-out.html" | grep -q 'at byte 0, .* is 69<'
    mkdir "$T/bin"
    for awk in mawk gawk original-awk; do
        command -v $awk >/dev/null || continue
        printf '#!/bin/sh\nexec %s "$@"\n' $awk >"$T/bin/awk"
        chmod +x "$T/bin/awk"
        PATH=$T/bin:$PATH frames --check
    done
}

# refused FILE EDIT MESSAGE: with this edit of the recording or of the meanings, no page is made.
refused() {
    local name=RECORDING
    [ "${1##*.}" = txt ] || name=MEANINGS
    sed "$2" "$ROOT/book/data/$1" >"$T/$1"
    ! cmp -s "$T/$1" "$ROOT/book/data/$1" || { echo "this edit changes nothing: $2"; return 1; }
    run env $name="$T/$1" "$ROOT/book/tools/frames" --check
    [ "$status" -ne 0 ] && [[ "$output" == *"$3"* ]] || { echo "$2: exit code $status, $output"; return 1; }
}

@test "a byte that is explained never or twice, a wrong checksum, and a wrong length are refused" {
    local tab=$'\t'
    refused frames.tsv "/^\*${tab}ip${tab}8${tab}/d" 'the frame syn: no line explains byte 22, 40.'
    refused frames.tsv "s/^\*${tab}ip${tab}8${tab}1/*${tab}ip${tab}8${tab}2/" 'the frame syn: byte 23 is explained twice, as time to live and as protocol.'
    refused frames.tsv "/^\*${tab}option${tab}4${tab}/d" 'the frame syn: no line explains the option of kind 4 at byte 60.'
    refused frames.tsv "s/^\*${tab}data${tab}0/*${tab}data${tab}1/" 'the frame request: data would be after the last byte.'
    refused frames.tsv "s/^last-ack${tab}tcp${tab}13/last-ack${tab}tcp${tab}15/" 'explains nothing'
    refused frames.txt 's/40 00 40 06 b6 c0 c0/40 00 41 06 b6 c0 c0/' 'the frame syn: the checksum of the IP header is wrong'
    refused frames.txt 's/ 6f 6e 65 20 73 6d / 6f 6e 65 20 73 6e /' 'the frame request: the checksum of TCP is wrong'
    refused frames.txt 's/ 6c 6c 20 73 74 65 70 2c$/ 6c 6c 20 73 74 65 70/' 'it has 68 bytes, and the program says 69.'
    refused frames.txt 's/tap0, 55 bytes/tap0, 56 bytes/' 'at netif_receive_skb the program says 56 bytes'
    refused frames.txt 's/^  TCP      9c/           9c/' 'the program begins its headers at the bytes 0 14.'
    refused frames.txt '/^trace reads a frame, 42/,/^$/d' 'there is no ARP reply.'
}

@test "a new run has the same frames, with the same fields in the same order" {
    [ "$(uname -s)" = Linux ] || skip "needs a TAP device; to run it: root on Linux"
    make -s -C "$ROOT/07-nic-to-app" server trace
    frames --fields "$ROOT/book/data/frames.txt" >"$T/recorded"
    [ "$(wc -l <"$T/recorded")" -ge 150 ]
    for _ in 1 2 3; do # on a busy machine, a frame may be sent twice
        "$ROOT/07-nic-to-app/trace" --via tap --brief >"$T/fresh" 2>&1 || true
        ! grep -q '^\(Next best\|.*cannot be created\)' "$T/fresh" || skip "trace cannot create the path tap here; to run it: root on a machine of your own"
        frames --fields "$T/fresh" >"$T/fields" || continue
        ! cmp -s "$T/recorded" "$T/fields" || return 0
    done
    diff "$T/recorded" "$T/fields" || { cat "$T/fresh"; return 1; }
}
