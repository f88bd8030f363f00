#!/usr/bin/env bats
# The book agrees with the code.  mdBook does not report an include that finds nothing, so the includes
# are checked here; every output that the book shows, and every ratio that the prose relies on, is
# produced again and compared.  MDBOOK may name the mdbook program.
load support/output

ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
SRC=$ROOT/book/src

setup_file() {
    FRESH=$(mktemp -d "${TMPDIR:-/tmp}/book.XXXXXX")
    export FRESH
    mkdir "$FRESH/now"
    if [ "$(uname -s)" = Linux ]; then
        KEEP=$FRESH/now "$ROOT/book/tools/transcripts" --check >"$FRESH/report" 2>&1 3>&- || echo "$?" >"$FRESH/parted"
    fi
}
teardown_file() { rm -rf "$FRESH"; }
teardown() {
    local pid
    for pid in ${small_pid:-} ${stay_pid:-}; do kill "$pid" 2>/dev/null || true; done
}
setup() { set +T; } # bats traces no command inside functions, which would take most of the time

without() { ! "$@"; } # a bare ! does not make a test fail

# ---- the text and the code ----

# Every include, as "page path part": part is an anchor, a range of lines as from:to, or nothing.
includes() {
    sed -n 's/^.*{{#include *\([^:}]*\):*\([^}]*\)}}.*$/\1 \2/p' "$1"
}

# lines_of FILE PART: what mdBook would show of it.
lines_of() {
    awk -v part="$2" '
        BEGIN { whole = part == ""; if (part ~ /:/) { split(part, n, ":"); from = n[1] + 0; to = n[2] == "" ? 1e9 : n[2] + 0 }
                else if (part ~ /^[0-9]+$/) from = to = part + 0 }
        /ANCHOR(_END)?: *[A-Za-z0-9_-]+ *$/ { name = $NF; if (name == part && !whole) on = !/ANCHOR_END/; next }
        whole || on || (to && NR >= from && NR <= to)' "$1"
}

@test "every include finds a file, and at least one line in it" {
    local page path part count=0
    for page in "$SRC"/*.md; do
        while read -r path part; do
            count=$((count + 1))
            [ -f "$SRC/$path" ] || { echo "${page##*/}: no such file: $path"; return 1; }
            lines_of "$SRC/$path" "$part" | grep -q '[^[:space:]]' ||
                { echo "${page##*/}: nothing in $path between the anchors, or lines, $part"; return 1; }
        done < <(includes "$page")
    done
    [ "$count" -gt 30 ] # else this test no longer sees the includes
}

@test "every anchor in the code has an end, and is shown in the book" {
    local file name used sum seen=''
    used=$(for page in "$SRC"/*.md; do includes "$page"; done | sed "s#^\(\.\./\)*##")
    for file in "$ROOT"/0*/*.[ch] "$ROOT"/tests/programs/*.c; do
        [ -f "$file" ] || continue
        sum=$(md5sum <"$file")
        case $seen in *"$sum"*) continue ;; esac # a copy of a shared file
        seen="$seen $sum"
        for name in $(sed -n 's#^// ANCHOR: ##p' "$file"); do
            [ "$(grep -c "^// ANCHOR: $name\$" "$file")" = 1 ] && [ "$(grep -c "^// ANCHOR_END: $name\$" "$file")" = 1 ] &&
                lines_of "$file" "$name" | grep -q . || { echo "$file: $name: not one beginning, then one end"; return 1; }
            shown "$file" "$name" || { echo "${file#"$ROOT"/}: the book does not show $name"; return 1; }
        done
        [ "$(grep -c '^// ANCHOR: ' "$file")" = "$(grep -c 'ANCHOR_END: ' "$file")" ] || { echo "$file: an end without a beginning"; return 1; }
    done
}
# The book includes it from this file, or the same text by the same name from another one.
shown() {
    local other
    for other in $(echo "$used" | awk -v name="$2" '$2 == name { print $1 }'); do
        [ "$(lines_of "$ROOT/$other" "$2")" != "$(lines_of "$1" "$2")" ] || return 0
    done
    return 1
}

@test "no C and no output is typed by hand" {
    local page
    for page in "$SRC"/*.md; do
        awk -v page="${page##*/}" '
            /^```/ && !open { open = 1; kind = substr($0, 4); marked = before ~ /^<!-- counter-example -->$/; next }
            /^```/ { open = 0; next }
            { before = $0 }
            !open || marked || /^\{\{#include / { next }
            kind ~ /^(console|text)$/ && /^[1-9]?\$ / { next }
            kind ~ /^python$/ { if (!said) said = /not ours/; if (said) next }
            { print page ": in a block of " (kind == "" ? "no kind" : kind) ": " $0; bad = 1 }
            END { if (open) { print page ": a block without an end"; bad = 1 } exit bad }' "$page"
    done
}

@test "no dead link; the table of contents and the pages agree" {
    local page target
    for page in "$SRC"/*.md; do
        for target in $(grep -o '](\([^)]*\))' "$page" | sed 's/^](//; s/)$//; s/#.*//'); do
            case $target in http*) continue ;; esac
            [ -f "$SRC/$target" ] || { echo "${page##*/}: dead link: $target"; return 1; }
        done
        [ "${page##*/}" = SUMMARY.md ] || grep -q "](${page##*/})" "$SRC/SUMMARY.md" || { echo "not in SUMMARY.md: ${page##*/}"; return 1; }
    done
    for target in "$SRC"/transcripts/*.txt; do
        target=${target##*/}
        grep -q "transcripts/${target}[:}]" "$SRC"/*.md || { echo "no page shows transcripts/$target"; return 1; }
        "$ROOT/book/tools/transcripts" --list | grep -qx "${target%.txt}" || { echo "nothing makes transcripts/$target"; return 1; }
    done
}

# The prose of a page: no blocks, no tags, no code spans.
prose() { awk '/^```/ { open = !open; next } !open' "$1" | sed 's/<[^>]*>/ /g; s/`[^`]*`/X/g; s/!\[\([^]]*\)\]([^)]*)/\1/g'; }

# The first page of chapter 7 is the chapter that has the structure of the others; its other pages are short.
further_pages() { find "$SRC" -name '07-*.md' ! -name 07-nic-to-app.md; }
chapters() { find "$SRC" -name '0[1-9]-*.md' ! -name '07-*.md' | sort; printf '%s\n' "$SRC/07-nic-to-app.md"; }
words_of() { sed '/^!\[.*)$/d' "$1" >"$FRESH/without-pictures" && prose "$FRESH/without-pictures" | tr -d '|*#-' | wc -w; }

@test "a chapter has 800 to 2100 words, and each further page of chapter 7 has 400 to 2000" {
    local page words least
    for page in $(chapters) $(further_pages); do
        words=$(words_of "$page")
        least=800
        [ -z "$(further_pages | grep -Fx "$page")" ] || least=400
        [ "$words" -ge $least ] && [ "$words" -le 2100 ] || { echo "${page##*/}: $words words"; return 1; }
    done
}

# section PAGE TITLE: the lines of the section, up to the next heading of the same level.
section() { awk -v title="## $2" '/^```/ { block = !block } /^## / && !block { on = $0 == title; next } on' "$1"; }

@test "all chapters have the same sections, in the same order" {
    local page stage next what line from why
    for page in $(chapters); do
        stage=${page##*/} stage=${stage%%-*}
        from=0
        for what in 'Guess first' 'What changed' 'A common mistake' 'Questions' 'To do' 'What comes next'; do
            [ "$(grep -cx "## $what" "$page")" = 1 ] ||
                case $stage:$what in
                "01:What changed") continue ;; # before stage 01 there is nothing
                *) echo "${page##*/}: not one section named: $what"; return 1 ;;
                esac
            line=$(grep -nx "## $what" "$page" | cut -d: -f1)
            [ "$line" -gt $from ] || { echo "${page##*/}: not in its place: $what"; return 1; }
            from=$line
        done
        next=$stage
        [ "$stage" != 01 ] || next=02
        for what in "make limit-$stage" "make diff-$next"; do
            grep -q "$what" "$page" || { echo "${page##*/}: no $what"; return 1; }
        done
        section "$page" 'Questions' >"$FRESH/section"
        why=$(grep -c '^<details><summary>Why ' "$FRESH/section")
        [ "$why" -ge 3 ] && [ "$why" -le 5 ] || { echo "${page##*/}: $why questions"; return 1; }
        [ "$(grep -c '<details>' "$page")" = "$(grep -c '^</details>$' "$page")" ]
    done
}

@test "each guess has an answer: \"Guess first\" ends with a box that has as many answers as there were questions" {
    local page questions answers
    for page in $(chapters); do
        section "$page" 'Guess first' >"$FRESH/section"
        questions=$(grep -oE '^[0-9]\. ' "$FRESH/section" | tr -d '. ' | tr '\n' ' ')
        [ -n "$questions" ] || { echo "${page##*/}: no question has a number"; return 1; }
        awk '!/^$/ { if (/^>/) box = box $0 " "; else box = "" } END { print box }' "$FRESH/section" >"$FRESH/box"
        grep -q '^> \*\*Answers\.\*\* (1) ' "$FRESH/box" || { echo "${page##*/}: \"Guess first\" does not end with: > **Answers.** (1) ..."; return 1; }
        answers=$(grep -oE '\([1-9]\) ' "$FRESH/box" | tr -d '() ' | tr '\n' ' ')
        [ "$questions" = "$answers" ] || { echo "${page##*/}: questions $questions, and answers $answers"; return 1; }
    done
}

@test "a common mistake stands for itself: the code, and nothing that the reader had to read before" {
    local page
    for page in $(chapters); do
        section "$page" 'A common mistake' >"$FRESH/section"
        grep -q '^```' "$FRESH/section" || { echo "${page##*/}: the mistake has no code"; return 1; }
        without grep -n 'Python page' "$FRESH/section" || { echo "in ${page##*/}"; return 1; }
    done
}

@test "the tasks of a chapter are those of its stage in the lab" {
    local page stage what
    for page in $(chapters); do
        stage=${page##*/} stage=${stage%%-*}
        section "$page" 'To do' >"$FRESH/section"
        for what in "make start-$stage" "make grade-$stage"; do
            grep -q "$what" "$FRESH/section" || { echo "${page##*/}: To do: no $what"; return 1; }
        done
        for what in $(grep -oE 'make [a-z]+-[0-9]+' "$FRESH/section" | grep -o '[0-9]*$' | sort -u); do
            [ "$what" = "$stage" ] || { echo "${page##*/}: To do names stage $what"; return 1; }
        done
        for what in $(grep -oE 'TASK=[a-z0-9-]+' "$FRESH/section" | cut -d= -f2); do
            [ -d "$(echo "$ROOT/tests/lab/tasks/$stage"-*)/$what" ] || { echo "${page##*/}: there is no task $what"; return 1; }
        done
    done
}

@test "the table of contents has the pages in the order in which they are read" {
    local before='' page
    grep -oE '\]\([a-z0-9-]+\.md\)' "$SRC/SUMMARY.md" | tr -d ']()' >"$FRESH/pages"
    for page in introduction setting-up 01-blocking 02-select 03-poll 04-epoll 05-kqueue 06-selector 07-nic-to-app 07-way-in \
        07-way-back 07-being-the-card 07-frames 07-card-and-kernel 07-drops 07-without-root journey contract claims instructors presenter errors system-calls glossary pitfalls \
        emulation bsd nic beyond reading; do
        page=$(grep -nx "$page.md" "$FRESH/pages" | cut -d: -f1)
        [ -n "$page" ] || continue # a page that this edition does not have
        [ "$page" -gt "${before:-0}" ] || { echo "SUMMARY.md: not in its place: $(sed -n "${page}p" "$FRESH/pages")"; return 1; }
        before=$page
    done
    [ "${before:-0}" -ge 9 ]
    for page in $(further_pages); do # below the chapter's first page
        grep -qE "^ +- \[.*\]\(${page##*/}\)" "$SRC/SUMMARY.md" || { echo "SUMMARY.md: ${page##*/} is not below chapter 7"; return 1; }
    done
}

@test "the commands that the book names exist, and so do their stages" {
    local number command
    sh "$ROOT/tests/commands/targets" help >"$FRESH/help"
    printf '  make %s\n' grade see see-NN hint hint-NN solution solution-NN watch-NN reset reset-NN >>"$FRESH/help" # "make lab" ends with them
    for command in $(grep -ohE '(`|^[12]?\$ )make [a-z]+(-[0-9]+)?' "$SRC"/*.md | sed 's/.*make //; s/[0-9][0-9]*$/NN/' | grep -vx help | sort -u); do
        [ "$command" != lab-NN ] || { sh "$ROOT/tests/commands/targets" lab-01 | grep -q '^01-blocking'; continue; }
        grep -qE "make $command( |\$)" "$FRESH/help" || { echo "make help does not know: make $command"; return 1; }
    done
    for number in $(grep -ohE 'make (tour STAGE=|limit-|diff-|test-|run-|start-|lab-|grade-)[0-9]+|STAGE=[0-9]+' "$SRC"/*.md | grep -o '[0-9]*$' | sort -u); do
        ls "$ROOT/$number"-*/server.c >/dev/null || { echo "the book names stage $number"; return 1; }
    done
}

@test "the prose is calm: no exclamation mark, no simply, just, powerful" {
    local page
    for page in "$SRC"/*.md; do
        prose "$page" >"$FRESH/prose"
        without grep -nEi '!|\b(simply|powerful|obviously)\b|\bjust (a|the|one|like|call|use|do)\b' "$FRESH/prose" || { echo "in ${page##*/}"; return 1; }
    done
}

# part FILE NAME: the lines of the file between the anchors.  An anchor that has no lines is an error.
part() {
    lines_of "$ROOT/$1" "$2" >"$FRESH/part"
    [ -s "$FRESH/part" ] || { echo "no lines between the anchors $2 of $1" >&2; return 1; }
    cat "$FRESH/part"
}
# function FILE NAME: the lines of a function, in one line.  A function that is not there is an error.
function_of() {
    local lines
    lines=$(sed -n "/^[a-z_ *]*\\b$2(.*)\$/,/^}/p" "$ROOT/$1" | tr -s ' \n' ' ')
    [ -n "$lines" ] || { echo "no function $2() in $1" >&2; return 1; }
    printf '%s\n' "$lines"
}

@test "what the introduction and chapters 1 to 4 say of the code" {
    local file short=0
    for file in "$ROOT"/0*/server.c; do # "usually fewer than 200 lines"
        [ "$(wc -l <"$file")" -ge 200 ] || short=$((short + 1))
    done
    [ "$short" -ge 6 ]
    for file in common.c common.h clients.c clients.h; do # "the same in every folder that has them"
        [ "$(md5sum "$ROOT"/0*/"$file" | cut -d' ' -f1 | sort -u | wc -l)" = 1 ]
    done
    [ "$(ls "$ROOT"/0*/common.c | wc -l)" = 7 ]
    [ "$(ls "$ROOT"/0[2-6]-*/clients.c "$ROOT"/0*/clients.c | sort -u | wc -l)" = 5 ]
    # Chapter 1.
    grep -q '^#define BUFFER_SIZE 16384 ' "$ROOT/01-blocking/server.c" # "the buffer holds 16,384 bytes"
    function_of 01-blocking/server.c on_stop_signal | grep -q '_exit(0)' # "`_exit()` is allowed in a signal handler"
    function_of 01-blocking/common.c print_line | grep -q 'flockfile(stderr)'    # "takes a lock"
    grep -q '^static _Thread_local struct {' "$ROOT/01-blocking/common.c"        # "Each thread has columns of its own"
    function_of 01-blocking/common.c reopen_output | grep -q 'open(path, O_WRONLY | O_NONBLOCK' # "in non-blocking mode"
    function_of 01-blocking/common.c reserve_std_fds | grep -q 'reopen_output(STDOUT_FILENO); reopen_output(STDERR_FILENO);'
    function_of 01-blocking/common.c print_line | grep -q 'log line%s dropped'    # "dropped and counted"
    part 01-blocking/common.c signals | grep -q 'failed_write\[\] = {SIGPIPE, SIGXFSZ, SIGTTOU}' # "The other two signals"
    function_of 01-blocking/server.c start_client_thread | grep -qF 'client_thread, (void *)(intptr_t)fd);' # "a value, as in"
    part 01-blocking/common.c listen | grep -q 'listen(fd, BACKLOG)' && grep -q '^#define BACKLOG 4096 ' "$ROOT/01-blocking/common.c"
    # Chapter 2.
    function_of 02-select/server.c select_closed | grep -q 'FD_SET(fd, readable);' # "treats it as readable"
    part 02-select/common.c stop | grep -q 'write(shutdown_pipe\[1\]'              # "our handler writes one byte"
    grep -q '^#define BACKOFF_MS 100$' "$ROOT/02-select/common.h"                # "after 100 ms"
    function_of 02-select/clients.c accept_pause | grep -q ' unwatch(listener);' # "`unwatch()` pauses accepting"
    function_of 02-select/clients.c accept_resume | grep -q ' watch(listener) '  # "`watch()` resumes it"
    function_of 02-select/clients.c client_close | grep -q ' accept_resume();'   # "when a client disconnects"
    function_of 02-select/server.c watch | grep -q 'lower_nofile_limit(); errno = EMFILE; return false;' # "lowers it again and refuses"
    part 02-select/common.c stop | tr -s ' \n' ' ' | grep -q 'back_off(error); if (!stop_requested)'    # "backs off, and checks the flag"
    # The mechanism: three functions, which clients.c calls, and no others that differ between the stages.
    [ "$(part 02-select/clients.h mechanism | grep -oE '\b[a-z_]+\(' | tr '\n' ' ')" = 'watch( set_interest( unwatch( ' ]
    without grep -nE '\b(epoll_[a-z0-9]+|kqueue|kevent|poll|select|selector_[a-z_]+)\(' "$ROOT/02-select/clients.c"
    # Chapter 3.
    part 03-poll/server.c loop | grep -q 'for (size_t i = count; i-- > 0;)'      # "from the end to the start"
    function_of 03-poll/server.c unwatch | grep -qF '*gap = pollfds[--pollfd_count]' # "with the last entry"
    without grep -n 'lower_nofile_limit' "$ROOT/03-poll/server.c"                 # "is gone"
    # Chapter 4.
    function_of 04-epoll/server.c unwatch | grep -q 'update_epoll(EPOLL_CTL_DEL, fd, 0);' # "deletes the entry"
    function_of 04-epoll/clients.c client_close | grep -q ' unwatch(client->fd); close(client->fd);' # "before each `close()`"
    without grep -nE '\b(dup|fork)\(' "$ROOT"/04-epoll/*.c                        # "does not duplicate its sockets"
    [ "$(grep -c '\bdup2(' "$ROOT"/04-epoll/*.c | awk -F: '{ n += $2 } END { print n }')" = 1 ] # reopen_output()'s
    part 04-epoll/server.c drain | grep -q 'i < MAX_READS_PER_EVENT'
    part 04-epoll/server.c loop | grep -q 'epoll_wait(epoll_fd, events, MAX_EVENTS,'            # "this server has three such limits"
    part 04-epoll/clients.c accept | grep -q 'i < MAX_ACCEPTS_PER_EVENT'
    function_of 04-epoll/server.c serve | grep -q 'int fd = events\[i\].data.fd;'                 # "`data`, here the descriptor's number"
    function_of 04-epoll/server.c epoll_events_for | grep -qF 'INTEREST_READ ? EPOLLIN | EPOLLRDHUP : EPOLLOUT' # "only after a short write"
    function_of 04-epoll/clients.c client_buffer_output | grep -q 'INTEREST_WRITE'
}

# tasks_of STAGE KIND: print how many tasks of this kind (find or extend) the lab has for the stage.
tasks_of() { grep -lx "Kind: $2" "$ROOT/tests/lab/tasks/$1"-*/*/task | wc -l; }

@test "chapters 4 to 6 count the tasks of the lab" {
    [ "$(tasks_of 04 find) $(tasks_of 04 extend)" = '7 3' ] # "ten more tasks: seven ..., and three"
    [ "$(tasks_of 05 find) $(tasks_of 05 extend)" = '6 3' ] # "nine more tasks: six ..., and three"
    [ "$(($(tasks_of 06 find) + $(tasks_of 06 extend)))" = 10 ]
    grep -q 'lists ten more tasks: seven .*, and three' "$SRC/04-epoll.md"
    grep -q 'lists nine more tasks: six .*, and three' "$SRC/05-kqueue.md"
    grep -q 'lists ten more tasks\.' "$SRC/06-selector.md"
}

@test "every function that the book names is in the code" {
    local name count=0
    for name in $(grep -ohE '(`|<summary>Why [^<]*)[a-z_0-9]+\(\)' "$SRC"/*.md | grep -oE '[a-z_0-9]+\(\)' | sort -u); do
        count=$((count + 1))
        case $name in
        'modify()' | 'control()') continue ;; # Python's
        esac
        grep -qrE "\b${name%??}\(" "$ROOT"/0*/*.[ch] "$ROOT"/05-kqueue/linux "$ROOT"/tests/programs || { echo "no file calls or defines $name"; return 1; }
    done
    [ "$count" -ge 50 ]
}

@test "a test that the book names is there, by its name or its rule" {
    local name count=0
    while IFS= read -r name; do
        count=$((count + 1))
        grep -qF "\"$name\"" "$ROOT"/tests/*.bats || { echo "no such test: $name"; return 1; }
    done < <(grep -ohE '[Tt]he test "[^"]*"' "$SRC"/*.md | sed 's/^.he test "//; s/"$//')
    [ "$count" -ge 2 ]
}

@test "a section of the book that the lab names is there" {
    local file chapter title count=0
    for file in "$ROOT"/tests/lab/rungs.c "$ROOT"/tests/lab/tasks/*/*/*; do
        while IFS='|' read -r chapter title; do
            count=$((count + 1))
            cat "$SRC/0$chapter"-*.md | grep -qFx "## $title" || { echo "${file#"$ROOT"/}: chapter $chapter has no section \"$title\""; return 1; }
        done < <(if [ "${file##*.}" = c ]; then sed 's/^ *"//; s/" *$//; s/\\"/"/g' "$file"; else cat "$file"; fi | tr -s '\n ' ' ' | grep -oE '[Cc]hapter [1-7], "[^"]*"' | sed 's/^.hapter \(.\), "/\1|/; s/"$//')
    done
    [ "$count" -ge 60 ]
}

# small PROGRAM MODE: start one of the small servers, in the background, until end_small; $port is its port
small() {
    mkfifo "$FRESH/small-$2" "$FRESH/stay-$2"
    "$1" 0 "$2" >"$FRESH/small-$2" &
    small_pid=$!
    read -r port <"$FRESH/small-$2"
    port=${port##*:}
}
# A client that connects and sends nothing, until stay is told to go.
stay() {
    "$FRESH/client" "$port" connect print connected wait <"$FRESH/stay-$1" >"$FRESH/stayed-$1" &
    stay_pid=$!
    exec 9>"$FRESH/stay-$1"
    wait_until 10 has "$FRESH/stayed-$1" connected
}
end_small() {
    echo go >&9
    exec 9>&-
    wait "$stay_pid"
    "$FRESH/client" -t 10 "$port" echo after
    kill "$small_pid"
    wait "$small_pid" || true
    rm "$FRESH"/small-* "$FRESH"/stay-*
}

@test "the small servers of chapters 1 and 2: one client at a time, all in one loop, and why it is highest + 1" {
    local i port
    "${CC:-cc}" -std=c11 -o "$FRESH/client" "$ROOT/tests/programs/client.c"
    "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -pthread -o "$FRESH/small" "$ROOT/tests/programs/small.c"
    small "$FRESH/small" one
    stay one
    without "$FRESH/client" -t 1 "$port" echo waits 2>"$FRESH/said" # it is not served before the first one disconnects
    grep -q 'timed out' "$FRESH/said"
    end_small
    small "$FRESH/small" select
    stay select
    "$FRESH/client" -t 10 "$port" echo hello echo again shutdown expect-eof
    end_small
    sed 's/select(highest + 1,/select(highest,/' "$ROOT/tests/programs/small.c" >"$FRESH/wrong.c"
    without cmp -s "$ROOT/tests/programs/small.c" "$FRESH/wrong.c"
    "${CC:-cc}" -std=c11 -pthread -o "$FRESH/wrong" "$FRESH/wrong.c"
    small "$FRESH/wrong" select
    without "$FRESH/client" -t 1 "$port" echo nobody 2>"$FRESH/said" # "no client would ever be accepted"
    kill "$small_pid"
    grep -q 'timed out' "$FRESH/said"
}

@test "what chapter 5 says of its code" {
    local server=$ROOT/05-kqueue/server.c emulation=$ROOT/05-kqueue/linux
    function_of 05-kqueue/server.c set_interest | grep -q 'update_kqueue(changes, true)'              # "One call makes both"
    function_of 05-kqueue/server.c update_kqueue | grep -q 'kevent(kqueue_fd, changes, both ? 2 : 1, NULL, 0, NULL)'
    function_of 05-kqueue/server.c set_interest | grep -q 'interest, EV_ADD), [a-z_]*(fd, other, EV_DELETE)' # "the new filter first"
    function_of 05-kqueue/server.c unwatch | grep -q 'if (fd == listener) update_kqueue('          # "only for the listener"
    [ "$(function_of 05-kqueue/server.c unwatch | grep -o 'update_kqueue(\|kevent(' | wc -l)" = 1 ]
    without grep -nE 'udata|EVFILT_(USER|SIGNAL|TIMER)' "$server"                                  # "does not use it", "a pipe is"
    without grep -n EV_EOF "$ROOT/05-kqueue/clients.c"                                             # "does not look at EV_EOF"
    part 05-kqueue/server.c loop | grep -q 'client_ready('
    without grep 'EV_EOF\|\.data' "$FRESH/part"                                                   # "does not otherwise use it"
    function_of 05-kqueue/clients.c client_open | grep -q '!set_nonblocking(fd)'                   # "sets it for each client"
    grep -q 'ECONNRESET' "$emulation/kqueue.c"                                                     # "always reports ECONNRESET"
    without grep -nE 'getsockopt\([^;]*SO_ERROR' "$emulation/kqueue.c"
    grep -q '^int close(int fd)$' "$emulation/kqueue.c"                                            # "defines `close()` for the whole program"
    grep -q 'ioctl(fd, FIONREAD' "$emulation/kqueue.c"                                             # "one extra system call per event"
    [ "$(wc -l <"$emulation/kqueue.c")" -ge 200 ]
    [ "$(wc -l <"$emulation/kqueue.c")" -lt 600 ]                                                  # "a few hundred lines"
    local system
    for system in macos freebsd netbsd openbsd; do # "`.ci/run cross` compiles this stage"
        grep -q "for target in .*-$system" "$ROOT/.ci/run" || { echo "not compiled for $system"; return 1; }
    done
}

# answer_of SYSTEM FIELD: what tests/programs/kqueue-emulation.c expects of a system, in the words of the book.
answer_of() {
    local found
    found=$(awk -v name="$1" -v field="$2" '
        /\.system = "/ { here = index($0, "\"" name "\"") }
        here && $0 ~ "\\." field " = " { sub(/.* = /, ""); sub(/[,}].*/, ""); print; exit }' "$ROOT/tests/programs/kqueue-emulation.c")
    case $2:$found in
    *:NOT_KNOWN) echo '?' ;;
    *:YES) echo yes ;;
    *:NO) echo no ;;
    *:1024) echo 1,024 ;;
    recv_after_close:0) echo 0 ;;
    *:0) echo succeeds ;;
    *:) echo "no $2 of $1" ;;
    *) echo "$found" ;;
    esac
}

@test "the table of the BSDs is the one that the program checks on each system" {
    local field row
    while read -r field row; do
        grep -qxF "| $row | $(answer_of Linux "$field") | $(answer_of FreeBSD "$field") | $(answer_of NetBSD "$field") |" "$SRC/bsd.md" ||
            { echo "bsd.md: $row: not what $field says: $(answer_of Linux "$field"), $(answer_of FreeBSD "$field"), $(answer_of NetBSD "$field")"; return 1; }
    done <<'END'
recv_after_close `close()` with unread bytes: what the peer reads
accept_of_reset a reset in the backlog: `accept()`
send_after_reset the first `send()` after a reset
accept_nonblocking `accept()` inherits O_NONBLOCK from the listener
kqueue_cloexec `kqueue()` sets FD_CLOEXEC
cont_interrupts SIGSTOP and SIGCONT interrupt `kevent()`
add_file adding EVFILT_READ for a regular file
add_without_reader adding EVFILT_WRITE for a pipe whose read end is closed
full_pipe_reports_eof the reader of a full pipe closes: EVFILT_WRITE reports EV_EOF
read_end_reports_eof the writer of a pipe closes: EVFILT_WRITE of the read end reports EV_EOF
fd_setsize FD_SETSIZE
END
    # All rows but that of MSG_DONTWAIT, and the two of the heading.
    [ "$(grep -c '^|' "$SRC/bsd.md")" = 14 ]
}

@test "what chapter 6 says of its code" {
    local file shortest=1000 lines=0
    [ "$(part 06-selector/backend.h backend | grep -c '(\*')" = 4 ] # "A back end is four functions"
    for file in "$ROOT"/0[1-5]*/server.c "$ROOT/06-selector/server.c"; do # "shorter than in any other stage"
        lines=$(awk '/^static void serve\(/ { on = 1 } on { n++ } on && /^}/ { print n; exit }' "$file")
        [ "$file" = "$ROOT/06-selector/server.c" ] || [ "$lines" -ge "$shortest" ] || shortest=$lines
    done
    [ "$lines" -lt "$shortest" ]
    # "no other mechanism's calls replace them", and "One function still checks the back end's name"
    awk '/^ *\/\*/ { comment = 1 } !comment; /\*\// { comment = 0 }' "$ROOT/06-selector/server.c" >"$FRESH/code"
    grep -q 'selector_dispatch(' "$FRESH/code"
    without grep -nE '\b(epoll_[a-z0-9]+|kqueue|kevent|poll|select)\(' "$FRESH/code"
    [ "$(grep -c 'strcmp(selector_backend' "$ROOT/06-selector/server.c")" = 1 ]
    part 06-selector/server.c limit | grep -q 'strcmp(selector_backend'
    part 06-selector/kqueue.c change | grep -q 'kevent(selector->fd, &change, 1,'                  # "up to two calls there"
    function_of 06-selector/selector.c run_callback | grep -q 'entry->id != id'                    # "compares the `id`"
    part 06-selector/selector.c register | grep -q '!can_wait(fd)'                                 # "`can_wait()` checks first"
    grep -q 'sizeof(struct selector_entry) <= 32' "$ROOT/06-selector/backend.h"                    # "32 bytes per client"
    function_of 06-selector/server.c adjust_nofile_limit | grep -q 'if (limit.rlim_cur < needed) limit.rlim_cur = needed;' # "raises the limit for poll"
    part 06-selector/epoll.c stale | grep -q 'stale && selector_rebuild(selector)'                 # "creates a new epoll instance"
    without grep -rnE 'EPOLLET|EV_CLEAR|EPOLLRDHUP' "$ROOT"/06-selector/*.[ch]                 # "You also lose ..."
    function_of 06-selector/selector.c timeout_ms | grep -q '(ns % NS_PER_MS > 0)'                 # "`timeout_ms()` rounds up"
    part 06-selector/selector.c select | grep -q 'remaining_ns('                                   # "checks the clock before it returns 0"
    part 06-selector/selector.c report | grep -q 'scan_start = fd + 1;'                            # pitfalls: "where the next scan starts"
    function_of 06-selector/select.c wait_select | grep -q 'errno == EBADF ? remove_closed('       # "remove such a descriptor from their set"
}

@test "what chapter 7 says of its code" {
    local room=$ROOT/07-nic-to-app sentence
    cmp <(function_of 07-nic-to-app/server.c serve_client | sed 's/ static char \(buffer[^;]*;\) \/\*[^/]*\*\// char \1/; s/ unwatch(fd);//') \
        <(function_of 01-blocking/server.c serve_client)                                             # "Two lines differ"
    function_of 07-nic-to-app/server.c serve_client | grep -q ' static char buffer.* unwatch(fd); close(fd);'
    [ "$(part 07-nic-to-app/coroutine.c switch | grep -c '^ *"    [a-z]')" = 15 ]                 # "Fifteen instructions"
    [ "$(grep -c '^struct client\|^static struct client' "$room/server.c")" = 0 ]                   # "once again in local variables"
    part 07-nic-to-app/server.c client | grep -q 'wait_ready() ? recv('                            # "they call `wait_ready()`"
    [ ! -e "$room/clients.c" ]                               # "There is no `clients.c`"
    function_of 07-nic-to-app/server.c unwatch | grep -q 'EPOLL_CTL_DEL'                           # "as in stage 04"
    grep -q '^#define STACK_SIZE 65536$' "$room/coroutine.c"
    part 07-nic-to-app/coroutine.c coroutine | grep -q 'guard'                                     # "the guard page below it"
    [ "$(part 07-nic-to-app/coroutine.c switch | grep -c '"    pushq ')" = 6 ]                      # "Six pushes"
    [ "$(part 07-nic-to-app/coroutine.c switch | grep -c '"    popq ')" = 6 ]                       # "Six pops"
    function_of 07-nic-to-app/coroutine.c context_init | grep -q 'uint64_t registers\[6\]; void (\*return_address)(void);' # "six zeros, and the address"
    function_of 07-nic-to-app/server.c send_rest | grep -q 'memcpy(rest, data, length);'           # "copies the rest before it waits"
    grep -q '^#define MAX_ACCEPTS_PER_EVENT 64 ' "$room/server.c"                                  # "after 64 connections"
    while IFS= read -r sentence; do                                                                # "Without root"
        tr -d '\n' <"$room/tracer/instance.c" | sed 's/" *"//g; s/NOT_MOUNTED "/"tracefs, where the kernel'"'"'s tracepoints are, cannot be mounted: /g' | grep -qF "$sentence" || { echo "trace does not say: $sentence"; return 1; }
        grep -qF "$sentence" "$SRC/07-without-root.md"
    done <<'END'
The kernel's tracepoints are for root, and you are not root.
tracefs, where the kernel's tracepoints are, cannot be mounted: this kernel was built without it.
You are root, and still may not use the kernel's tracepoints: this looks like a container.
tracefs is mounted and holds no events: the kernel is locked down
END
    command -v python3 >/dev/null || return 0
    python3 -c 'import asyncio.base_events as b, inspect; print(inspect.getsource(b))' |
        grep -q 'slow_callback_duration = 0\.1$'                                                   # "longer than 100 milliseconds"
    python3 -c 'import asyncio.selector_events as s, inspect; print(inspect.getsource(s._SelectorSocketTransport._read_ready__data_received))' |
        grep -q 'recv('                                                                            # "its loop calls `recv()` itself"
}

# hop FILE EVENT: a hop of the recorded journey: start, since, CPU, event, what it carries
hop() { NO_COLOR=1 "$ROOT/07-nic-to-app/trace" replay "$ROOT/07-nic-to-app/recordings/$1.txt" -n 1 --brief | grep -m 1 " $2 "; }

@test "what chapter 7 says of its recordings" {
    local room=$ROOT/07-nic-to-app share sum
    make -s -C "$room" trace >/dev/null
    hop card-e1000 netif_receive_skb | grep -q '55 bytes'                       # "20 of IP, 20 of TCP and 15 of yours"
    hop card-e1000 sched_waking | grep -q ' cpu0 .*last on cpu1'                # "cpu0, asks for a thread to be woken"
    hop card-e1000 sched_wakeup | grep -q ' cpu1 '                              # "cpu1 is notified"
    NO_COLOR=1 "$room/trace" replay "$room/recordings/card-e1000.txt" >"$FRESH/eight"
    grep -q '^8 packets' "$FRESH/eight"
    grep -q '^  irq_handler_entry  *8 ' "$FRESH/eight" # "eight packets, and eight interrupts"
    for share in 'stack 34' 'wake-up 36' 'scheduler 15' 'your code 15'; do      # the words under the drawing
        grep -q "µs *${share##* } %  ${share% *} .*#" "$SRC/transcripts/card-07.txt"
    done
    sum=$(awk '/ %  (wake-up|scheduler) / { sum += $3 } END { print sum }' "$SRC/transcripts/lo-07.txt")
    [ "$sum" = 34 ]
    grep -q ' 20 %  your code' "$SRC/transcripts/lo-07.txt"
    [ "$(awk '/ %  (sending|stack) / { sum += $3 } END { print sum }' "$SRC/transcripts/lo-07.txt")" = 46 ]
    awk '/µs in all/ { exit !($1 > 17 && $1 < 25) }' "$SRC/transcripts/lo-07.txt" # "About 20 µs"
    hop lo coroutine_resumed | grep -q '+0\.1 '
    [ "$(awk '$3 ~ /^cpu/ && $4 ~ /^sched_(wakeup|switch)$/ { sum += $2 } END { print sum }' "$SRC/transcripts/lo-07.txt")" = 4.8 ] # chapter 7 compares the two
    hop lo sys_exit_recvfrom | grep -q '+1\.4 '                                # the copy lies in it
    NO_COLOR=1 "$room/trace" replay "$room/recordings/lo.txt" | grep -A 2 softirq_entry | grep -q "inside the sender's send()"
    hop lo softirq_entry | grep -q '+0\.6  cpu0 '
    hop rps softirq_entry | grep -q '+15\.2  cpu1 '
    without grep -E ' (irq_handler_entry|napi_gro_receive_entry) ' "$SRC/transcripts/lo-07.txt" # "Two hops are missing"
    # That call ends after sched_wakeup, and before the server runs.
    grep -oE 'sched_wakeup task=|sys_exit_sendto|sched_switch task=[0-9]+ .*name=trace' "$room/recordings/lo.txt" | tail -n 4 | cut -d' ' -f1 |
        tr '\n' ' ' | grep -q 'sched_wakeup sys_exit_sendto sched_switch'
    # Each piece of the card's journey is whole: from the name of a box to the blank line behind it.
    local piece pieces=0
    for piece in $(grep -o 'card-07.txt:[0-9]*:[0-9]*' "$SRC/07-way-in.md" | cut -d: -f2,3); do
        pieces=$((pieces + 1))
        sed -n "${piece%:*}p" "$SRC/transcripts/card-07.txt" | grep -q '^\[\|µs in all' && sed -n "$((${piece#*:} + 1))p" "$SRC/transcripts/card-07.txt" | grep -qx '' ||
            { echo "card-07.txt:$piece is not one box"; return 1; }
    done
    [ $pieces -ge 7 ]
    in_order tree-07 net_rx_action __napi_poll tcp_v4_rcv tcp_rcv_established tcp_queue_rcv sock_def_readable ep_poll_callback try_to_wake_up
    hop rps sched_wakeup | grep -q '+14\.1  cpu0 '
    in_order blocked-07 'sched_waking' 'No epoll is involved' ' before .*sys_enter_recvfrom'
    in_order poll-07 'sys_exit_poll' 'checked the whole list' 'search the list for the ready'
    in_order sockets-07 '+19\.9 .*epoll_wait_returned' 'recvmsg_returned' 'TX_ACK_stamp' # "after the read"
    awk '$1 == "sched_wakeup" { exit !($5 >= 20 * $3) }' "$SRC/transcripts/many-07.txt"         # "twenty times as long"
    in_order gro-07 'frame_written  *118' 'of 4 frames' 'tcp_probe  *256 bytes'
    # The way back: what the client measured, what of it is the way in, and who acknowledges what.
    grep -q '^42\.2 µs by the client.s own clock' "$SRC/transcripts/back-07.txt"
    NO_COLOR=1 "$room/trace" replay "$room/recordings/both.txt" --way in --brief >"$FRESH/both-in"
    grep -q '^28\.1 µs in all' "$FRESH/both-in"
    in_order back-07 '^\[the server\]' ' sys_enter_sendto ' ' skb 3' ' tcp_probe  *15 bytes, ack, ' \
        '^\[the client waits' ' before .*sys_enter_recvfrom' ' client_is_done' '^ 40[0-9]*\.[0-9] .* tcp_probe  *acknowledged, .* 0 bytes'
    awk '$4 == "tcp_probe" && /15 bytes, ack, / { exit !($1 - 28.1 > 4.5 && $1 - 28.1 < 5.5) }' "$SRC/transcripts/back-07.txt" # "5 µs after"
    NO_COLOR=1 "$room/trace" replay "$room/recordings/both.txt" --way back | grep -A 2 softirq_entry | grep -q "inside the sender's send()"
    in_order life-07 '^-  *char buffer' '^+  *static char buffer' '^ .*receive(' '^+  *unwatch(fd);' '^ }'
    [ "$(grep -c '^[-+]' "$SRC/transcripts/life-07.txt")" = 3 ]
    in_order card-07 ' 55 bytes'                                                # 12 bytes of time stamps make the difference
    in_order lo-07 'netif_rx  *lo, 67 bytes'
}

@test "the scenes of chapter 7 show what the text says of them" {
    # A coroutine that computes stops the others, and a thread that computes does not.
    in_order compute-07 '^1\$ /tmp/coroutines' '^2\$ .* send C' '^3\$ .*-t 1 .* echo hi' '^client: timed out in: echo hi' \
        '^1\$ /tmp/threads' '^2\$ .* send C' '^3\$ .*-t 1 .* echo hi' '^hi came back'
    # What the client sent is in the two buffers, and the window was the reason.
    awk '/^filled/ { sent = $2 } / Recv-Q / && $1 ~ /:5566$/ { arrived = $3 } / Recv-Q / && $1 !~ /:5566$/ { waits = $5 }
        /^rwnd_limited/ { split($0, part, /[(%]/); limited = part[2] }
        END { exit !(arrived > 0 && waits > 0 && arrived + waits == sent && limited > 90) }' "$SRC/transcripts/full-07.txt"
    # Stage 04 gives up, and stage 06 takes the next back end.
    in_order forbidden-07 'epoll_create1:error=EPERM' '^server: epoll: Operation not permitted' '^1\$ forbid 06' '^poll calls back'
    # The frames: 55 bytes in the IP header, port 40000, and the two flags.
    in_order tap-07 '66 bytes: Open' ' 02 04 05 b4 01 01 04 02 01 03 03 00$' 'SYN$' '69 bytes: Here is data' '02 08 00$' 'IPv4     45 00 00 37 .* 40 06 .* c0 00 02 02 ' \
        'TCP      9c 40 .* 50 18 ff ff' 'port 40000 .* PSH ACK$' '^  data '
}

@test "the table of nic has each line that nic prints, and the counters of chapter 7 exist" {
    need_linux
    # The label and the source of each line: the first string of an entry, and the last.
    awk '/^static const struct feature features/ { inside = 1 } /^};/ { inside = 0 }
        inside && /^    \{"/ { split($0, part, "\""); label = part[2] }
        inside && label != "" && /"\},?$/ { n = split($0, part, "\""); print label " | `" part[n - 1] "`"; label = "" }' "$ROOT/07-nic-to-app/nic_report.c" >"$FRESH/lines"
    [ "$(wc -l <"$FRESH/lines")" -ge 29 ]
    sed -n '/^|---/,/^$/s/^| \([^|]* | `[^|]*`\) |.*/\1/p' "$SRC/nic.md" | diff "$FRESH/lines" -
    local name found
    found=$(awk '{ for (i = 2; i <= NF; i++) print substr($1, 1, length($1) - 1) $i }' /proc/net/snmp /proc/net/netstat)
    for name in $(grep -oE '`(Ip|Tcp)[A-Za-z]+`' "$SRC/07-card-and-kernel.md" | tr -d '`'); do
        grep -qx "$name" <<<"$found" || { echo "no counter $name in /proc/net/snmp and netstat"; return 1; }
    done
    for name in $(grep -oE '/proc/sys/net/core/[a-z_]+|`(netdev|busy)_[a-z_]+`' "$SRC/nic.md" | tr -d '`' | sed 's#.*/##'); do
        [ -e "/proc/sys/net/core/$name" ] || [ ! -d /proc/sys/net/core ] || { echo "no /proc/sys/net/core/$name"; return 1; }
        grep -q "\"$name\"" "$ROOT/07-nic-to-app/nic_report.c" || { echo "nic does not read $name"; return 1; }
    done
}

@test "chapter 7: a coroutine costs more than a client of 04 and less than a thread" { both limit-07 coroutine_cost; }
coroutine_cost() {
    claim "$1" 3 '/^  01-blocking/ { seen++; thread = $2 } /^  04-epoll/ { seen++; entry = $2 }
        /^  07-nic/ { seen++; if ($2 < page * 0.9 || $2 > 2 * page) wrong("not a page") ; mine = $2 }
        END { if (entry >= mine || mine >= thread) wrong("not between the two") }'
}

@test "mdbook builds it without a warning, and no block is empty" {
    local mdbook
    . "$ROOT/tests/support/environment"
    find_mdbook || skip "needs mdbook; to run it: $(sh "$ROOT/tests/commands/doctor" how mdbook), or MDBOOK=/path/to/mdbook"
    "$mdbook" build -d "$FRESH/html" "$ROOT/book" >"$FRESH/build" 2>&1 || { cat "$FRESH/build"; return 1; }
    without grep -E 'WARN|ERROR' "$FRESH/build"
    without grep -l '{{#' "$FRESH"/html/*.html
    local page
    for page in "$FRESH"/html/0*.html; do
        tr '\n' ' ' <"$page" | without grep -oE '<code class="language-[a-z]+">[[:space:]]*</code>.{60}'
    done
    [ "$(grep -o '<code class="language-c">' "$FRESH/html/02-select.html" | wc -l)" -ge 10 ]
}

# ---- the book and the machine ----

need_linux() { [ "$(uname -s)" = Linux ] || skip "the transcripts are made on Linux; to run it: a Linux machine"; }

@test "every output in the book is what its command prints" {
    need_linux
    cat "$FRESH/report"
    [ ! -e "$FRESH/parted" ]
}

# both NAME CHECK: the claim has to hold for what the book shows and for what was measured now.
# Other load may disturb a measurement, so it has two more chances.
both() {
    need_linux
    "$2" "$SRC/transcripts/$1.txt" || { echo "in the book's transcript $1"; return 1; }
    for _ in 1 2 3; do
        ! grep -qs '^This needs' "$FRESH/now/$1.txt" || skip "$(grep '^This needs' "$FRESH/now/$1.txt")"
        if [ -f "$FRESH/now/$1.txt" ] && "$2" "$FRESH/now/$1.txt"; then return; fi
        "$ROOT/tests/commands/limit" "${1#limit-}" >"$FRESH/now/$1.txt" 2>&1 3>&-
    done
    cat "$FRESH/now/$1.txt"
    return 1
}
# claim FILE ROWS AWK: the program reads the rows as fields, and reports what is wrong.  It has to see at
# least so many rows, because a row that it no longer recognizes would be a check that cannot fail.
claim() {
    awk -v page="$(getconf PAGESIZE)" -v rows="$2" "function wrong(what) { print \"wrong: \" what \": \" \$0; bad = 1 } $3 END { if (seen < rows) { print \"only \" seen + 0 \" of \" rows \" rows were found\"; bad = 1 } exit bad }" "$1"
}

@test "chapter 1: a thread costs three pages and a kernel stack, many times a client of 04" { both limit-01 thread_cost; }
thread_cost() {
    claim "$1" 4 '/^Cost of [0-9]+ idle clients/ { seen++; n = $3 } /^  threads/ { seen++; if ($2 != n + 1 || $3 != 1) wrong("threads") }
        /^  memory of the process/ { seen++; if (page == 4096 && ($5 < 8 * n || $5 > 20 * n)) wrong("not about three pages each"); if ($6 > n) wrong("a client of 04 is not cheap") }
        /^  kernel stacks/ && $3 != "not" && page == 4096 { if ($3 < 14 * n || $3 > 20 * n) wrong("not about 16 KiB each") }
        /^  per client/ { seen++; if ($5 < 20) wrong("not many times") }'
}

@test "chapter 1: without TCP_NODELAY a small answer waits for about 40 ms" { both limit-01 stall; }
stall() {
    claim "$1" 2 '/^  with TCP_NODELAY/ { seen++; if ($3 > 10000) wrong("slow") } /^  without TCP_NODELAY/ { seen++; if ($3 < 30000 || $3 > 60000) wrong("no stall") }'
}

@test "chapter 2: FD_SETSIZE less six are served, the others wait, cost nothing, and come in" { both limit-02 set_size; }
set_size() {
    claim "$1" 6 '/FD_SETSIZE is/ { seen++; size = $NF; total = $2 } /^  accepted/ { seen++; if ($2 != size - 6) wrong("not all except six") ; served = $2 }
        /^  highest descriptor/ { seen++; if ($3 != size - 1) wrong("highest") }
        /^  waiting in the backlog/ && $5 != "not" { if ($5 != total - served) wrong("backlog") }
        /^  CPU while they wait/ { seen++; if ($(NF - 1) > 100000) wrong("it spins") }
        /^  echoes before they disconnect/ { seen++; if ($NF != served) wrong("not as many echoes as accepted clients") }
        /^  echoes after they disconnect/ { seen++; last = $NF } END { if (last != total) wrong("not all are served in the end") }'
}

@test "chapter 3: idle clients cost poll many times an echo, and epoll nothing" { both limit-03 idle; }
idle() {
    claim "$1" 2 '$1 == "0" { seen++; poll = $2; epoll = $3; if ($4 < 0.5 || $4 > 2) wrong("different with no idle clients") }
        $1 == "1000" && $2 < 5 * poll { wrong("poll: less than 5 times") }
        $1 ~ /^[1-9][0-9]*$/ { seen++; if ($2 < 1.2 * before) wrong("poll does not grow"); if ($3 > 1.5 * epoll) wrong("epoll grows") }
        { before = $2 + 0 }'
}

@test "chapter 4: three calls for an echo, none of them epoll_ctl; one recv more with -e" { both limit-04 calls; }
calls() {
    claim "$1" 5 '/^  CPU/ { seen++; if ($4 > 1.5) wrong("epoll grows") }
        /^  (epoll_wait|sendto) / { seen++; if ($2 != "1.0" || $3 != "1.0") wrong("not one") }
        /^  recvfrom/ { seen++; if ($2 != "1.0" || $3 != "2.0") wrong("not one, and two") }
        /^  epoll_ctl/ { seen++; if ($2 != "0.0" || $3 != "0.0") wrong("not none") }
        /not counted/ { seen += 4 }'
}

@test "chapter 5: one ioctl() more for an echo on the kqueue emulation, and the rest as in 04" { both limit-05 emulated; }
emulated() {
    claim "$1" 4 '/^  (epoll_wait|recvfrom|sendto) / { seen++; if ($2 != "1.0" || $3 != "1.0") wrong("not one") }
        /^  ioctl/ { seen++; if ($2 != "0.0" || $3 != "1.0") wrong("not none, and one") }
        /not counted/ { seen += 4 } /error.*sys.event.h/ { header++ } END { if (!header) wrong("the header was found") }'
}

@test "chapter 6: an echo costs about the same with the selector; over select it has the limit of 02" { both limit-06 selector_cost; }
selector_cost() {
    claim "$1" 5 '/^  (epoll|kqueue|poll|select) / { seen++; if ($4 < 0.85 || $4 > 1.15) wrong("not about the same") }
        /FD_SETSIZE is/ { seen++; size = $NF; total = $(NF - 5) + 0 }
        /^  highest descriptor/ { seen++; if ($3 != size - 1) wrong("select has another limit"); if ($4 < total) wrong("the default has the same limit") }'
}

# in_order NAME PATTERN...: the transcript has a matching line for each pattern, in this order.
in_order() {
    local file=$SRC/transcripts/$1.txt from=1 at pattern
    shift
    for pattern; do
        at=$(tail -n "+$from" "$file" | grep -n -m 1 -e "$pattern" | cut -d: -f1)
        [ -n "$at" ] || { echo "${file##*/}: after line $from, no line like: $pattern"; return 1; }
        from=$((from + at))
    done
}

@test "the scenes of chapters 1 to 6 show what the text says of them" {
    in_order flags-05 Ctrl-Z fg 'Interrupted system call' 'fd 5 EVFILT_READ|data=2' 'fd 7 EVFILT_READ|EV_EOF|data=5 *recv 5, send 5' \
        'fd 8 EVFILT_READ|EV_EOF|data=5|fflags=104 send: Connection reset' 'fd 7 EVFILT_READ|EV_EOF|data=0 *recv 0'
    in_order hasty-05 'EV_EOF) close(fd)' fg 'the server reset the connection'
    in_order room-05 'data=[0-9]\{7,\} *recv 65536, send [0-9]\{1,5\}$' 'EVFILT_WRITE  *kevent EV_ADD' 'EVFILT_WRITE|data='
    in_order over-06 'epoll calls back .*accept: fd 7' 'select calls back .*accept: fd 6'
    in_order gone-01 'client has closed.* 1$' 'RST.* EPIPE and SIGPIPE$' 'reset.* ECONNRESET$' 'again: *EPIPE and SIGPIPE$'
    in_order bits-02 'select(21.* 1 ready *highest + 1$' 'select(20.* 0 ready' 'select(1,.* 0 ready *the number'
    in_order close-03 'read everything:.* all of it, then 0$' '1 byte unread:.* a part of it, then ECONNRESET$'
    in_order batch-04 'returns 2 events: fd 4 and fd 6' 'closes fd 6; the next .* is fd 6' 'still says: fd 6, EPOLLIN' 'returns 1 event: fd 4'
    in_order edge-04 'ADD.* EPOLLOUT$' 'again: *-$' 'send 5 bytes.* -$' 'until EAGAIN: *-$' 'reads everything: *EPOLLOUT$' 'again: *-$' 'EPOLLIN EPOLLOUT$'
    in_order stuck-06 'set_nonblocking' filled '^3\$' 'timed out'
}
