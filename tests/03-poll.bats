#!/usr/bin/env bats
# What only stage 03 does: it serves more clients than FD_SETSIZE, and the list of descriptors has gaps to fill.
load support/helpers

@test "the server serves more clients than FD_SETSIZE" {
    rule "the list of descriptors grows with the number of clients" "the list has a fixed size" "chapter 3"
    [ "$(ulimit -Hn)" -ge 3100 ] || skip "needs 3100 descriptors; to run it: ulimit -Hn 4096"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    client crowd 3000 3000
    next_client_works
}

@test "clients come and go in the middle of the list, and each is served" {
    rule "an entry that moves into a gap of the list is neither skipped nor handled twice" "the loop skips the entry, or applies old revents to a new client" "chapter 3"
    start_server
    client crowd 200 100
    start_client one hold 50
    client_printed one holding
    client crowd 200 7
    resume_client one
    client_succeeded one
    next_client_works
}

@test "no memory for a longer array: one client is closed, and the others are served" {
    rule "ENOMEM ends one client, not the server" "the result of realloc() is not checked" "chapter 3"
    need_shim
    # The array has 16 entries at first.  The first large allocation is the table of clients, and the second a
    # longer array.
    WRAP=(env SHIM_FAULTS=malloc:enomem=2 "LD_PRELOAD=$SHIM")
    start_server -v
    start_client one hold 14
    client_printed one holding
    client connect expect-closed
    log_has 'watch: Cannot allocate memory; close'
    next_client_works
    resume_client one
    client_succeeded one
}

@test "a soft limit below the length of the array is raised, and nothing is reported" {
    rule "the server serves all its clients, and reports only what it cannot do" "the message comes although the limit has been raised" "chapter 3"
    need prlimit "to lower a running process's limit" "install util-linux"
    start_server
    start_client one echo a print here wait echo b echo c shutdown expect-eof
    client_printed one here
    start_client two idle 50
    client_printed two holding
    wait_until 5 fd_count_is $((FDS_AT_START + 51))
    prlimit --pid "$SERVER_PID" --nofile=20:
    resume_client one
    client_succeeded one
    lacks_text "$TMP/server.err" '^server: '
    next_client_works
}

# bats test_tags=long
@test "an idle client costs at most 96 bytes" {
    rule "an idle client costs its table entries and no buffer" "a buffer is allocated for each client" "chapter 3"
    idle_client_costs_at_most 96
}

@test "a recv() that fails with EINVAL does not make the server call poll() twice for one event" {
    rule "the result of a wait is looked at before its errno" "errno is that of an earlier call" "chapter 3"
    need_strace
    WRAP=(strace -qq -o "$TMP/trace" -e signal=none -e trace=poll,accept,recvfrom,sendto -e inject=recvfrom:error=EINVAL:when=1)
    start_server
    client send a expect-closed
    next_client_works
    grep -A 20 INJECTED "$TMP/trace"
    awk '/^poll\(/ && last ~ /^poll\(.* = [1-9]/ { twice = 1 } { last = $0 } END { exit twice }' "$TMP/trace"
}

@test "an echo costs two system calls and a share of the wait" {
    rule "the server reads and sends at once; it waits for writability only after a short write" "the server waits for writability before every send" "chapter 2"
    need_strace
    syscalls_per_echo_at_most 2.10
}
