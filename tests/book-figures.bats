#!/usr/bin/env bats
# The page of the book about the claims, and the figures that it rests on: book/drawings/bench.tsv.
# A figure on the page has its key before it, as <!--idle:03-poll:15000-->24 or <!--A / B-->1.5; the
# keys are those of tests/bench/figures.  "make bench && tests/bench/book" makes new figures.

ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
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
