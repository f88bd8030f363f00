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
