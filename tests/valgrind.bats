#!/usr/bin/env bats
# Under valgrind: the server makes no invalid access, leaks no memory, and closes every descriptor that it
# opened.
load support/helpers

# bats test_tags=long
@test "valgrind finds no error, and every descriptor is closed at the end" {
    rule "the server frees all memory, and reads no byte that was not written" "a buffer is not freed, or is freed too early" "chapter 2"
    need valgrind "to check every memory access" "install valgrind"
    WRAP=(valgrind --error-exitcode=9 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all
        --track-fds=yes --log-file="$TMP/valgrind.log")
    case $VARIANT in 01*) local ours=1 ;; *) local ours=0 ;; esac # 01 calls _exit() with the listener open
    START_SECONDS=60 start_server -v
    client all-bytes byte-by-byte abc random 300000 shutdown expect-eof
    client echo one reset
    if [ "$VARIANT" != "01-blocking -1" ]; then
        client small-rcvbuf fill 20000000 drain shutdown expect-eof
        client crowd 60 30 close-alternate 20
        start_client one small-rcvbuf fill 20000000 wait
        client_printed one filled
    fi
    client churn 20 || [ "$VARIANT" = "01-blocking -1" ]
    if [ "$VARIANT" = 01-blocking ]; then
        kill "$PID_one"
        next_client_works
        client churn 3
        wait_until 5 has_one_thread
    fi
    stop_server
    cat "$TMP/valgrind.log"
    grep -q 'ERROR SUMMARY: 0 errors' "$TMP/valgrind.log"
    [ "$(grep -c 'Open AF_INET\|Open file descriptor\|Open pipe' "$TMP/valgrind.log")" -le $((3 + ours)) ]
    [ "$(grep -c 'Open AF_INET' "$TMP/valgrind.log")" -le "$ours" ]
}
has_one_thread() { [ "$(find "/proc/$SERVER_PID/task" -mindepth 1 -maxdepth 1 | wc -l)" = 1 ]; }
