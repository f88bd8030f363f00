#!/usr/bin/env bats
# What only stage 03 does: no limit but the system's, at a price that grows with the list.
load support/helpers

@test "more clients than FD_SETSIZE" {
    rule "the list is as long as it needs to be" "a table of fixed size" "chapter 3"
    [ "$(ulimit -Hn)" -ge 3100 ] || skip "needs 3100 descriptors; to run it: ulimit -Hn 4096"
    ulimit -Sn "$(ulimit -Hn)"
    start_server
    client crowd 3000 3000
    next_client_works
}

@test "clients that come and go in the middle of the list" {
    rule "an entry that moves into a gap is neither lost nor served twice" "an entry skipped, or an old revents taken for a new client" "chapter 3"
    start_server
    client crowd 200 100
    start_client one hold 50
    client_printed one holding
    client crowd 200 7
    resume_client one
    client_succeeded one
    next_client_works
}

@test "an idle client costs at most 96 bytes" {
    rule "an idle client costs its entries and no buffer" "a buffer for each client" "chapter 3"
    idle_client_costs_at_most 96
}

@test "an echo costs two system calls and a share of the wait" {
    rule "read, and send at once; wait for room only after a short send" "waiting for writability before each send" "chapter 2"
    need_strace
    syscalls_per_echo_at_most 2.10
}
