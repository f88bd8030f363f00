#!/usr/bin/env bats
# The benchmark itself: it measures, detects a wrong echo, explains bad input, and leaves no process
# running.  The runs are as short as possible; tests/prove.bats checks what the figures say.

ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)

setup() {
    unset LEVELS QUICK ROUNDS PEERS OUT STAGES ONLY CHARTS MAKEFLAGS MFLAGS MAKELEVEL CDPATH
    T=$(mktemp -d "${TMPDIR:-/tmp}/bench-test.XXXXXX")
    mkdir "$T/tmp"
    export TMPDIR=$T/tmp NO_COLOR=1
    cd "$ROOT" || return 1
    PIDS=''
}
teardown() {
    for pid in $PIDS; do kill -KILL "$pid" 2>/dev/null || :; done
    cd / && rm -rf "$T"
}

need() { command -v "$1" >/dev/null || skip "needs $1; to run it: install $1"; }
wait_until() { # SECONDS COMMAND...
    local tries=$(($1 * 50))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "timed out while waiting for: $*"; return 1; }
        sleep 0.02
    done
}
has_text() { grep -q -e "$2" "$1" 2>/dev/null; }
has_status() { has_text "$T/status" .; }
fits_80_columns() {
    # Some versions of awk count bytes, so keep only the first byte of each UTF-8 character.
    printf '%s\n' "$output" | LC_ALL=C tr -d '\200-\277' | awk 'length > 80 { print "over 80 columns: " $0; bad = 1 } END { exit bad }'
}
# No process of the run is left, and none of its files.  Its processes have $T/tmp in their environment.
leaves_nothing() {
    [ -z "$(ls -A "$T/tmp")" ] || { ls "$T/tmp"; return 1; }
    local file words
    for file in /proc/[0-9]*/environ; do
        belongs_to_run "$file" || continue
        words=$( (tr '\0' ' ' <"${file%/environ}/cmdline") 2>/dev/null)
        case $words in
        '' | *bats* | tr* | grep*) ;;
        *)
            echo "this process is still running: $words"
            return 1
            ;;
        esac
    done
}
belongs_to_run() { (tr '\0' '\n' <"$1" | grep -q "^TMPDIR=$T/tmp\$") 2>/dev/null; }
write_peer() { # EXPRESSION: write an echo server in Python, which sends this for the bytes in `data`
    need python3
    cat >"$T/peer.py" <<END
import socket, sys, threading
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(64)
def serve(client):
    seen = 0
    while data := client.recv(65536):
        seen += len(data)
        client.sendall($1)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
END
}

@test "a quick run prints tables in 80 columns, writes a TSV and charts, and leaves nothing running" {
    LEVELS='0 200 1200' STAGES='02-select 03-poll 04-epoll' OUT=$T/out QUICK=1 ROUNDS=2 ONLY='idle peers' run tests/bench/run
    echo "$output"
    [ "$status" -eq 0 ]
    fits_80_columns
    printf '%s\n' "$output" | grep -q '^  03-poll  *[0-9.]*  *[0-9.]*'
    printf '%s\n' "$output" | grep -q 'has gaps: it gets at most [0-9]* connections'
    [ "$(awk -F '\t' '$1 == "sample" && NF != 15' "$T/out/bench.tsv" | wc -l)" -eq 0 ]
    [ "$(grep -c '^sample	idle	03-poll	50	0	64	' "$T/out/bench.tsv")" -eq 2 ]
    bash tests/bench/figures "$T/out/bench.tsv" | grep -q '^own:idle:50	[01]\.'
    printf '%s\n' "$output" | grep -q 'One program under two names'
    # 50 active and no idle connections are in both tables, and their figures differ.
    printf '%s\n' "$output" | grep -q '^Why one condition has several figures$'
    printf '%s\n' "$output" | paste -s -d ' ' - | tr -s ' ' | grep -q '04-epoll with 50 active connections and none idle: [0-9.]* us in the table of idle connections, [0-9.]* us in the table of other servers\.'
    if command -v gnuplot >/dev/null; then
        for chart in idle peers memory; do
            grep -q 'role="img"' "$T/out/$chart.svg"
            grep -q '<title id="title">..*</title>' "$T/out/$chart.svg"
        done
    fi
    leaves_nothing
}

@test "without gnuplot the charts are drawn in characters" {
    LEVELS='0 200' STAGES='03-poll' OUT=$T/out QUICK=1 ROUNDS=1 ONLY=idle CHARTS=text run tests/bench/run
    echo "$output"
    [ "$status" -eq 0 ]
    fits_80_columns
    printf '%s\n' "$output" | grep -q '^  *[0-9.]* |.*a'
    printf '%s\n' "$output" | grep -q 'a: 03-poll'
}

@test "an interrupted run prints and keeps what it has measured, and leaves nothing running" {
    [ -d /proc/self ] || skip "needs /proc to find processes that are left; to run it: Linux"
    for signal in INT TERM; do
        rm -rf "$T/out" "$T/status"
        # bats or the shell may have set SIGINT to be ignored; python3 restores the default
        need python3
        (
            code=0
            OUT=$T/out ROUNDS=50 STAGES='03-poll 04-epoll' ONLY=idle python3 -c '
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
open(sys.argv[1], "w").write(str(os.getpid()))
os.execvp("bash", ["bash", "tests/bench/run"])' "$T/pid" >"$T/output" 2>&1 3>&- || code=$?
            echo "$code" >"$T/status"
        ) 3>&- &
        wait_until 20 has_text "$T/out/bench.tsv" '^sample'
        PIDS=$(cat "$T/pid")
        kill "-$signal" "$PIDS"
        wait_until 20 has_status
        cat "$T/output"
        [ "$(cat "$T/status")" = 130 ]
        has_text "$T/output" '^Interrupted'
        has_text "$T/output" '^  03-poll '
        has_text "$T/out/bench.tsv" '^sample'
        leaves_nothing
    done
}

@test "a server that sends a wrong echo is named and no longer measured, and the exit code is 1" {
    write_peer 'data if seen < 300 else bytes([data[0] ^ 1]) + data[1:]'
    PEERS="wrong=python3 $T/peer.py {port}" OUT=$T/out QUICK=1 ROUNDS=3 STAGES=03-poll ONLY=peers run tests/bench/run
    echo "$output"
    [ "$status" -eq 1 ]
    printf '%s\n' "$output" | grep -q 'wrong: .*wrong echo'
    leaves_nothing
}

@test "a server that drops bytes or exits is reported as wrong" {
    write_peer 'data[1:] if seen > 2000 else data'
    PEERS="short=python3 $T/peer.py {port}; gone=python3 -c 'x' {port}" OUT=$T/out QUICK=1 ROUNDS=2 STAGES=03-poll ONLY=peers run tests/bench/run
    echo "$output"
    [ "$status" -ne 0 ]
    PEERS="short=python3 $T/peer.py {port}" OUT=$T/out QUICK=1 ROUNDS=2 STAGES=03-poll ONLY=peers run tests/bench/run
    echo "$output"
    [ "$status" -eq 1 ]
    printf '%s\n' "$output" | grep -q 'wrong: short: '
    leaves_nothing
}

@test "PEERS adds other servers to the run" {
    write_peer data
    PEERS="one=python3 $T/peer.py {port}; two=python3 $T/peer.py {port}" OUT=$T/out QUICK=1 ROUNDS=1 STAGES=03-poll ONLY=churn run tests/bench/run
    echo "$output"
    [ "$status" -eq 0 ]
    PEERS="one=python3 $T/peer.py {port} two=python3 $T/peer.py {port}" OUT=$T/out QUICK=1 ROUNDS=1 STAGES=03-poll ONLY=churn run tests/bench/run
    echo "$output"
    [ "$status" -eq 0 ]
    printf '%s\n' "$output" | grep -q '^  one  *[0-9]'
    printf '%s\n' "$output" | grep -q '^  two  *[0-9]'
    printf '%s\n' "$output" | grep -q '^  03-again  *[0-9]'
}

@test "bad input is explained, with exit code 2, before anything is measured" {
    while IFS='|' read -r peers words; do
        PEERS=$peers OUT=$T/out QUICK=1 STAGES=03-poll ONLY=churn run tests/bench/run
        echo "PEERS=$peers: $output"
        [ "$status" -eq 2 ]
        printf '%s\n' "$output" | grep -qF -e "$words"
        leaves_nothing
    done <<'END'
mine|"mine" is not name=command {port}
mine=./no-such-program {port}|"./no-such-program" is not a program that can be run
mine=cat|the command has no {port}
03-poll=cat {port}|the name "03-poll" is already in use
a/b=cat {port}|PEERS: "a/b" is not a name
mine=false {port}|it does not listen
END
    ROUNDS=many OUT=$T/out run tests/bench/run
    echo "$output"
    [ "$status" -eq 2 ]
    [ "$output" = 'ROUNDS=many: not a number of rounds, such as ROUNDS=9.' ]
    LEVELS='0 x' OUT=$T/out run tests/bench/run
    [ "$status" -eq 2 ]
    LEVELS='100 950' OUT=$T/out run tests/bench/run
    [ "$status" -eq 2 ]
    STAGES=09-none OUT=$T/out run tests/bench/run
    [ "$status" -eq 2 ]
    [ "$output" = 'STAGES="09-none": none of these stages has been built. Use the names of the folders, such as 04-epoll.' ]
    ONLY='idle nosuch' OUT=$T/out run tests/bench/run
    [ "$status" -eq 2 ]
    [ "$output" = 'ONLY: "nosuch" is not one of: idle active peers sizes close churn bulk calls' ]
}

@test "compare: equal runs agree, and a server whose cost has doubled is found" {
    local tsv=book/drawings/bench.tsv
    run tests/bench/compare $tsv $tsv
    echo "$output"
    [ "$status" -eq 0 ]
    fits_80_columns
    printf '%s\n' "$output" | grep -q '^  \([0-9]*\) of \1 agree'
    awk -F '\t' -v OFS='\t' '$1 == "sample" && $3 == "06-epoll" { $10 *= 2 } 1' $tsv >"$T/changed.tsv"
    run tests/bench/compare $tsv "$T/changed.tsv"
    echo "$output"
    [ "$status" -eq 1 ]
    run tests/bench/compare $tsv
    [ "$status" -eq 2 ]
}

@test "the load generator prints its usage for -h, and exits with 2 for a bad command line" {
    cc -std=c11 -O1 -o "$T/load" tests/bench/load.c
    run "$T/load" -h
    [ "$status" -eq 0 ]
    fits_80_columns
    for words in '' '-n 0 a:1:1:0:1' '-s 65537 a:1:1:0:1' 'a:1' '-x a:1:1:0:1' '-P 1,2 a:1:1:0:1'; do
        # shellcheck disable=SC2086
        run "$T/load" $words
        echo "$words: $output"
        [ "$status" -eq 2 ]
    done
}

@test "the load generator: several messages in transit, an open loop, and a histogram" {
    cc -std=c11 -O1 -o "$T/load" tests/bench/load.c
    ./03-poll/server -p 0 >"$T/port" 3>&- &
    PIDS=$!
    wait_until 5 has_text "$T/port" listening
    server=load:$PIDS:$(sed 's/.*://' "$T/port"):0:50
    run "$T/load" -n 10 -d 8 -s 3000 -r 2 -w 30 "$server"
    echo "$output"
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 2 ]
    run "$T/load" -n 10 -R 2000 -r 1 -w 500 "$server"
    echo "$output"
    [ "$status" -eq 0 ]
    echo "$output" | awk -F '\t' '{ exit !($8 > 900 && $8 <= 1000) }'
    run "$T/load" -n 2 -e 100 -r 1 -w 5000 -H "$server"
    echo "$output"
    [ "$(printf '%s\n' "$output" | awk -F '\t' '$1 == "histogram" { n += $4 } END { print n }')" = 100 ]
}

@test "the C code of the benchmark has no function over 40 lines and no line over 100 columns" {
    local long
    long=$(awk 'FNR == 1 { start = 0 } /^\{/ { start = FNR }
        /^\}/ { if (start && FNR - start > 40) print FILENAME ":" start; start = 0 }
        length > 100 { print FILENAME ":" FNR ": " length " columns" }' tests/bench/*.c tests/bench/peers/*.[ch])
    echo "$long"
    [ -z "$long" ]
}
