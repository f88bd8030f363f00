#!/usr/bin/env bats
# What only stage 01 does, and its limits, from which chapter 2 starts.
load support/helpers

@test "expected limit: with -1 the second client waits until the first has left" {
    rule "one thread that blocks for one client cannot serve another" "this is the limit of stage 01; a change that removes it belongs in stage 02" "chapter 1"
    start_server -1 -v
    start_client one echo first print here wait echo still print again wait shutdown expect-eof
    client_printed one here
    start_client two send second print sent expect second shutdown expect-eof print served
    client_printed two sent
    resume_client one
    client_printed one again # client one has had another echo, and client two is still waiting
    lacks_text "$TMP/two.out" served
    [ "$(grep -c '^accept' "$TMP/server.err")" = 1 ]
    resume_client one
    client_succeeded one
    client_succeeded two
    [ "$(grep -c '^accept' "$TMP/server.err")" = 2 ]
}

@test "expected limit: with -1 a client that never reads blocks the server for all" {
    rule "one thread that blocks for one client cannot serve another" "this is the limit of stage 01; a change that removes it belongs in stage 02" "chapter 1"
    start_server -1
    start_client one small-rcvbuf fill 50000000 wait
    client_printed one filled
    CLIENT_SECONDS=1 run client echo "hello"
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *"timed out"* ]]
    kill "$PID_one"
    next_client_works
}

@test "each client has a thread, which ends when the client leaves" {
    rule "the server has one thread for each connected client, and no other" "threads are neither joined nor detached" "chapter 1"
    need_linux "to count threads"
    start_server
    start_client one idle 50
    client_printed one "holding 50"
    wait_until 5 has_threads 51
    resume_client one
    client_succeeded one
    wait_until 5 has_threads 1
}
has_threads() { [ "$(find "/proc/$SERVER_PID/task" -mindepth 1 -maxdepth 1 | wc -l)" = "$1" ]; }

# bats test_tags=long
@test "a thread costs at most 48 KiB of user and kernel memory" {
    rule "threads have small stacks of an explicit size" "a buffer on the stack touches too many pages, or the stack has the default size" "chapter 1"
    need_plain_memory
    local threads=${THREADS:-500} before after
    start_server
    next_client_works
    before=$(memory_kib)
    start_client one idle "$threads"
    client_printed one holding
    wait_until "${EVENT_SECONDS:-20}" has_threads $((threads + 1))
    after=$(memory_kib)
    local user=$(((after - before) * 1024 / threads)) kernel_stack=16384
    # the kernel needs a stack of 16 KiB for each thread (x86-64, arm64), and about 10 KiB of other data
    echo "each of $threads threads: $user bytes of user memory, $kernel_stack of kernel stack; at most 49152 in total are allowed"
    [ $((user + kernel_stack)) -le $((48 * 1024)) ]
    resume_client one
    client_succeeded one
}

@test "while a client is served, the server calls recv and send once for each echo" {
    rule "an echo needs two system calls, recv() and send()" "a call is made for each message although one call for each connection is enough" "chapter 1"
    need_strace
    WRAP=(strace -f -qq -o "$TMP/trace")
    start_server
    client echo a echo b echo c echo d shutdown expect-eof
    wait_until 5 has_text "$TMP/trace" 'recvfrom.*= 0$'
    local fd calls
    fd=$(sed -n 's/.*accept.*) *= \([0-9]*\).*/\1/p' "$TMP/trace" | head -n 1)
    wait_until 5 has_text "$TMP/trace" "close($fd)"
    calls=$(sed -n "/accept.*= $fd/,/close($fd)/p" "$TMP/trace" | sed '/resumed/d; s/^[0-9]* *//; s/[( ].*//' | sort | uniq -c)
    echo "$calls"
    echo "expected 4 sendto and at most 6 recvfrom"
    echo "$calls" | grep -q ' 4 sendto$'
    echo "$calls" | grep -q ' [56] recvfrom$'
}
