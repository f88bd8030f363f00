#!/usr/bin/env bats
# The player of the book shows recorded runs.  They are recorded again here and compared; they agree
# with the tour's transcripts; and the pages contain them.  tests/browser/run tests the player itself.

ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
SRC=$ROOT/book/src
DATA=$SRC/player

setup() {
    set +T # bats traces no command inside functions, which would take most of the time
    T=$(mktemp -d "${TMPDIR:-/tmp}/player.XXXXXX")
}
teardown() { rm -rf "$T"; }

runs() { "$ROOT/book/tools/record" --list; }
servers() { runs | grep '^[0-9]'; }
need_linux() { [ "$(uname -s)" = Linux ] || skip "the runs are recorded on Linux; to run it: a Linux machine"; }
# record DIRECTORY ARGUMENT...: book/tools/record of that checkout; its output is in $T/record.
record() {
    local directory=$1 status=0
    shift
    (cd "$directory" && book/tools/record "$@") >"$T/record" 2>&1 3>&- || status=$?
    [ $status -ne 2 ] || skip "$(tail -n 1 "$T/record") To run it: a machine or container that allows strace"
    return $status
}
# The steps of a run, one per line.
steps() { sed -n 's/^\({.*}\),\{0,1\}$/\1/p' "$DATA/$1.json" | grep -v '^{"steps"'; }

@test "each stage has a recorded run, stage 01 also has one with threads, and the chapter includes each once" {
    local name page
    [ "$(servers | grep -v threads | tr '\n' ' ')" = "$(cd "$ROOT" && printf '%.2s ' 0[1-9]-*/)" ]
    [ "$(servers | grep threads)" = 01-threads ]
    for name in $(runs); do
        case $name in
        journey) page=$SRC/journey.md ;;
        *) page=$(cd "$ROOT" && echo "${name%-threads}"-*/) && page=$SRC/${page%/}.md ;;
        esac
        [ "$(grep -cx "{{#include player/$name.html}}" "$page")" = 1 ] || { echo "${page##*/} does not include player/$name.html once"; return 1; }
    done
    # The page for the projector has those of the servers, in order.
    diff <(sed -n 's|^{{#include player/\(.*\)\.html}}$|\1|p' "$SRC/presenter.md") <(servers)
    for page in "$DATA"/*; do
        name=${page##*/}
        runs | grep -qx "${name%.*}" || { echo "nothing makes player/$name"; return 1; }
    done
}

@test "each run is what the server does now, and what the kernel says of its sockets" {
    need_linux
    record "$ROOT" --check || { cat "$T/record"; echo "book/tools/record makes them again"; return 1; }
}

@test "and a server that does something else is noticed" {
    need_linux
    mkdir -p "$T/copy/tests" "$T/copy/book/src"
    cp -R "$ROOT/Makefile" "$ROOT/02-select" "$T/copy/"
    cp -R "$ROOT/tests/commands" "$ROOT/tests/support" "$T/copy/tests/"
    cp -R "$ROOT/book/tools" "$ROOT/book/record.c" "$T/copy/book/"
    cp -R "$DATA" "$T/copy/book/src/"
    rm -f "$T/copy/02-select/server"
    record "$T/copy" --check 02 || { cat "$T/record"; return 1; }
    # This server closes a connection although it has only read a part of what the client sent.
    sed -i.bak 's/BUFFER_SIZE 65536/BUFFER_SIZE 2/' "$T/copy/02-select/clients.c"
    run record "$T/copy" --check 02
    [ "$status" -eq 1 ]
    grep -q '"now":"recv(7) = 2".*receive buffer at the server: 1 B' "$T/record"
}

@test "and a server whose threads have no stacks of their own is noticed" {
    need_linux
    local change
    mkdir -p "$T/copy/tests" "$T/copy/book/src"
    cp -R "$ROOT/Makefile" "$ROOT/01-blocking" "$T/copy/"
    cp -R "$ROOT/tests/commands" "$ROOT/tests/support" "$T/copy/tests/"
    cp -R "$ROOT/book/tools" "$ROOT/book/record.c" "$T/copy/book/"
    cp -R "$DATA" "$T/copy/book/src/"
    # One buffer for all threads; and threads that are created although no client has connected.
    for change in 's/^    char buffer.BUFFER_SIZE.;/    static char buffer[BUFFER_SIZE];/' 's/^    serve();/    start_client_thread(0);\n    serve();/'; do
        cp "$ROOT/01-blocking/server.c" "$T/copy/01-blocking/"
        rm -f "$T/copy/01-blocking/server"
        record "$T/copy" --check 01-threads || { cat "$T/record"; return 1; }
        sed -i.bak "$change" "$T/copy/01-blocking/server.c"
        ! cmp -s "$ROOT/01-blocking/server.c" "$T/copy/01-blocking/server.c" || return 1
        run record "$T/copy" --check 01-threads
        [ "$status" -eq 1 ]
        cat "$T/record" >>"$T/records"
    done
    grep -q "^record: the buffer of A's thread is not on its stack" "$T/records"
    grep -q '^record: the server creates a thread, and not for a new client' "$T/records"
}

@test "the recorder is compiled without a warning" {
    need_linux
    local compiler
    for compiler in gcc clang; do
        command -v $compiler >/dev/null || continue
        $compiler -std=c11 -O1 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -o "$T/record.out" "$ROOT/book/record.c"
    done
    [ -x "$T/record.out" ] || skip "needs gcc or clang; to run it: install one"
}

@test "the list in a page has the same steps as the data, and is well-formed" {
    local name
    for name in $(runs); do
        [ "$(steps "$name" | wc -l)" -ge 15 ]
        sed -n "s/^<li data-step='\([^']*\)'>.*/\1/p" "$DATA/$name.html" |
            sed "s/&lt;/</g; s/&gt;/>/g; s/&#39;/'/g; s/&amp;/\&/g" >"$T/in-the-page"
        steps "$name" | diff - "$T/in-the-page" | cut -c 1-200
        steps "$name" | cmp - "$T/in-the-page"
        # Every tag is closed in order; < and & occur only in tags and entities; Markdown would end at an empty line.
        awk '
            function wrong(what) { print FILENAME ":" FNR ": " what; bad = 1; exit }
            /^[ \t]*$/ { wrong("an empty line") }
            /&/ { rest = $0; gsub(/&(amp|lt|gt|quot|#39);/, "", rest); if (rest ~ /&/) wrong("an & that is no entity") }
            {
                rest = $0
                while (match(rest, /<[^>]*>/)) {
                    tag = substr(rest, RSTART + 1, RLENGTH - 2); rest = substr(rest, RSTART + RLENGTH)
                    if (tag ~ /^\//) { if (open[depth--] != substr(tag, 2)) wrong("</" substr(tag, 2) "> closes another tag"); continue }
                    sub(/[ >].*/, "", tag); open[++depth] = tag; tags++
                }
                if (rest ~ /</) wrong("a tag without an end")
            }
            END { if (!bad && depth) { print FILENAME ": " open[depth] " is not closed"; bad = 1 } if (tags < 15) bad = 1; exit bad }' "$DATA/$name.html"
    done
}

# Lines without their indentation, and with one blank between words.
squeezed() { sed 's/^ *//; s/  */ /g'; }
@test "a run has the log lines of the tour" {
    local name
    for name in $(servers); do
        # the first scene, or the second one with threads, without its heading and what the clients do
        awk -v scene="$([ "$name" = 01-threads ] && echo 2 || echo 1)" '
            /^---- / { scenes++ }
            /^(----|Notice:|Limit:|>|call returned|$)/ || scenes != scene { next }
            { print }' "$SRC/transcripts/tour-${name%-threads}.txt" | squeezed >"$T/tour"
        steps "$name" | sed -n 's/^.*"log":\["\(.*\)"\]}$/\1/p' | awk '{ gsub(/","/, "\n") } 1' | squeezed >"$T/run"
        diff "$T/tour" "$T/run" || { echo "stage $name: <: the tour, >: the run"; return 1; }
        [ "$(wc -l <"$T/run")" -ge 8 ]
    done
}

@test "in each step, the kernel's figures agree with one another" {
    local name
    for name in $(servers); do
        steps "$name" | awk -v name="$name" '
            function wrong(what) { print "stage " name ", step " NR ": " what; bad = 1 }
            function number(field) { match($0, "\"" field "\":[0-9]+"); return substr($0, RSTART + length(field) + 3, RLENGTH - length(field) - 3) + 0 }
            { waiting = gsub(/"at":"backlog"/, "&"); if (waiting != number("backlog")) wrong("the backlog has " number("backlog") ", but " waiting " wait") }
            # Bytes are conserved: what the clients have sent and not read is in a receive buffer or in the server.
            match($0, /^\{"by":"[A-C]".*(sends|reads) “[a-z]+”/) {
                text = substr($0, RSTART, RLENGTH); way = text ~ /sends “/ ? 1 : -1; sub(/.*“/, "", text); sub(/”.*/, "", text)
                under_way += way * length(text); moves++
            }
            { rest = $0; sum = number("held"); while (match(rest, /"receive":[0-9]+/)) { sum += substr(rest, RSTART + 10, RLENGTH - 10); rest = substr(rest, RSTART + RLENGTH) } }
            sum != under_way { wrong(under_way " bytes are under way, but " sum " were found") }
            END { if (moves < 5) { print "only " moves + 0 " transfers"; bad = 1 } exit bad }'
    done
}

@test "with threads: in each step at most one thread runs, and each waits in a call for its own client" {
    steps 01-threads | awk '
        function wrong(what) { print "step " NR ": " what; bad = 1 }
        # what follows "NAME": in the part of the step that begins with START
        function value(start, name) { text = substr($0, index($0, start)); text = substr(text, index(text, "\"" name "\":") + length(name) + 3); sub(/^"/, "", text); sub(/[",}].*/, "", text); return text }
        {
            alive = running = sum = 0
            for (i = 1; i <= 4; i++) {
                name = substr(" ABC", i, 1)
                start = "{\"name\":\"" (i == 1 ? "main thread" : name "\047s thread") "\""
                if (!index($0, start)) { wrong("no " start); continue }
                now = value(start, "now"); held = value(start, "held") + 0; at = i == 1 ? "fd 3" : value("{\"name\":\"" name "\",\"at\"", "at")
                sum += held
                if (now == "" || now == "has ended") { gone[i] += now != ""; if (held) wrong("no thread has " held " bytes"); continue }
                alive++
                if (now ~ /^waits in /) {
                    if (now != "waits in " (i == 1 ? "accept(" : "recv(") substr(at, 4) ")") wrong(name " is at " at ", and its thread " now)
                    waits[i]++
                } else if (now != "has not run yet") running++
            }
            count = value("\"count\":", "count") + 0; total = value("\"held\":", "held") + 0
            by = value("{", "by") # empty for a step of the server; after exit() its thread no longer runs
            if (count != alive) wrong("the kernel counts " count " threads, and the picture has " alive)
            if (running != (by == "" && !/"now":"[BC].s thread: exit\(\)"/)) wrong("running threads: " running "; the step is " (by == "" ? "of the server" : "of " by))
            if (sum != total) wrong("the threads have " sum " bytes, and the server " total)
            most = count > most ? count : most
        }
        # At the end B and C have disconnected, and the thread of A, which has sent nothing, is still there.
        END {
            if (most != 4 || count != 2 || !waits[1] || waits[2] < 20 || !gone[3] || !gone[4]) { print "at most " most " threads, and " count " at the end"; bad = 1 }
            exit bad
        }'
}

@test "the journey has the hops that trace shows" {
    make -s -C "$ROOT/07-nic-to-app" trace >/dev/null 2>&1 3>&-
    (cd "$ROOT/07-nic-to-app" && ./trace replay recordings/card-e1000.txt -n 1) |
        awk '/^ *[0-9]+\.[0-9]  / { $0 = substr($0, 25); print $1 }' >"$T/shown"
    sed -n "s/^<li data-step='.*'><code>\([a-z_]*\)<.code>.*/\1/p" "$DATA/journey.html" >"$T/in-the-page"
    diff "$T/shown" "$T/in-the-page"
    [ "$(wc -l <"$T/shown")" -ge 15 ]
}

@test "the player is small, and asks nobody for anything" {
    grep -q '^additional-css = .*"player.css"' "$ROOT/book/book.toml"
    grep -q '^additional-js = .*"player.js"' "$ROOT/book/book.toml"
    [ "$(wc -l <"$ROOT/book/player.js")" -lt 350 ]
    [ -s "$ROOT/book/player.css" ]
    # From file:// a page may read no other file, and the book needs no network.
    ! grep -nE 'fetch|XMLHttpRequest|import|WebSocket|EventSource|sendBeacon|https?:|innerHTML|eval' "$ROOT/book/player.js" || return 1
    ! grep -nE 'url\(|@import|https?:' "$ROOT/book/player.css" || return 1
}
