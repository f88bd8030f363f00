#!/usr/bin/env bats
# What kqueue does: one test for each fact.  On Linux the answers come from the kqueue emulation in
# 05-kqueue/linux; on macOS and the BSDs the same program asks the kernel.
# KQUEUE_CASES names another build of the program, for example one with sanitizers.
load support/helpers
PROGRAM=${KQUEUE_CASES:-$TESTS/build/kqueue-emulation}
# shellcheck disable=SC2034 # helpers.bash prints them in the command that repeats a test
VARIANT=05-kqueue OURS=1

setup_file() {
    [ -n "${KQUEUE_CASES:-}" ] || make -s -C "${TESTS:-$BATS_TEST_DIRNAME}/programs" kqueue-emulation
}

# holds CASE: the fact holds on this system.
holds() { "$PROGRAM" "$1" 2>"$TMP/server.err"; }
# holds_here CASE: the same for a case about the emulation itself.
holds_here() {
    need_linux "because only Linux uses the emulation"
    holds "$1"
}
# answers CASE: like `holds`, for a case in which systems differ.  The program knows the answer of
# each; if it does not know the answer of this system, it prints the one that it got.
answers() {
    holds "$1" >"$TMP/answer" || { cat "$TMP/answer"; return 1; }
    ! grep -q 'is not known' "$TMP/answer" || skip "$(cat "$TMP/answer"); to check it: add it to the table in kqueue-emulation.c"
}

@test "a listener's data is the number of clients in its backlog" {
    rule "EVFILT_READ of a listener: data is the length of its backlog; EVFILT_WRITE is never reported" "epoll has no such number; TCP_INFO of the listener has it" "chapter 5"
    holds listener-data
}

@test "data is the number of unread bytes" {
    rule "EVFILT_READ: data is the number of all unread bytes" "no FIONREAD" "chapter 5"
    holds read-data
}

@test "an event is reported again until the bytes are read" {
    rule "without EV_CLEAR a filter is level-triggered" "EPOLLET without EV_CLEAR" "chapter 5"
    holds read-level
}

@test "EV_ADD reports bytes that arrived before it" {
    rule "EV_ADD checks the state at once" "only new arrivals are reported" "chapter 5"
    holds ready-before
}

@test "the peer's FIN is EV_EOF, with the unread bytes in data" {
    rule "EV_EOF with data > 0: read everything before closing; it is reported until you do" "EPOLLRDHUP not requested, or not translated" "chapter 5"
    holds end-with-data
}

@test "a reset with unread bytes: EV_EOF, data, fflags ECONNRESET; then the bytes, then the error" {
    rule "fflags has the error, and recv() still returns it" "getsockopt(SO_ERROR), which clears the error" "chapter 5"
    holds reset-with-data
}

@test "a reset while waiting to write: EV_EOF, fflags ECONNRESET" {
    rule "EVFILT_WRITE is reported when the socket has an error" "EPOLLERR and EPOLLHUP come without EPOLLOUT" "chapter 5"
    holds reset-while-writing
}

@test "the peer's FIN is not EV_EOF on EVFILT_WRITE" {
    rule "a half-closed connection can still be written to" "EPOLLRDHUP applied to both filters" "chapter 5"
    holds half-close-write
}

@test "your own shutdown(SHUT_WR) is EV_EOF on EVFILT_WRITE" {
    rule "a socket that was shut down for sending cannot be written to" "epoll has no flag for it; the state of the connection has to be read" "chapter 5"
    holds own-shutdown-write
}

@test "your own shutdown(SHUT_WR) does not affect EVFILT_READ" {
    rule "only the peer's FIN ends reading" "the two directions confused" "chapter 5"
    holds own-shutdown-read
}

@test "EVFILT_WRITE: data is the free space" {
    rule "data shrinks by the bytes that are not sent yet" "the size of the whole buffer reported" "chapter 5"
    holds write-room
}

@test "a full socket is not reported, and is reported again when it has free space" {
    rule "EVFILT_WRITE is reported when there is free space" "EPOLLOUT not requested, or reported unasked" "chapter 5"
    holds write-full
}

@test "a completed connect() is EVFILT_WRITE without EV_EOF" {
    rule "a new connection can be written to" "its state taken for a closed one" "chapter 5"
    holds connecting
}

@test "the read end of a pipe: data, and EV_EOF when no writer is left" {
    rule "a pipe can be watched like a socket" "EPOLLHUP not translated" "chapter 5"
    holds pipe-read-end
}

@test "the write end of a pipe: free space, full, and EV_EOF when no reader is left" {
    rule "a pipe can be watched like a socket" "the free space computed as for a socket" "chapter 5"
    holds pipe-write-end
}

@test "Unix sockets: data, free space, full, EV_EOF" {
    rule "a Unix socket can be watched like a TCP connection" "only TCP considered" "chapter 5"
    holds unix-sockets
}

@test "Unix sockets: your own shutdown(SHUT_WR) is EV_EOF on EVFILT_WRITE" {
    rule "a socket that was shut down for sending cannot be written to" "only TCP considered" "chapter 5"
    holds unix-own-shutdown
}

@test "udata comes back in events and in answers; one call changes and waits" {
    rule "udata belongs to the caller" "one udata for both filters" "chapter 5"
    holds udata
}

@test "a second EV_ADD replaces udata and adds nothing" {
    rule "a descriptor and a filter have one knote" "a second EPOLL_CTL_ADD, which fails with EEXIST" "chapter 5"
    holds add-twice
}

@test "a second EV_ADD neither sets nor clears EV_CLEAR" {
    rule "EV_ADD of an existing knote replaces udata only" "the flags of the second EV_ADD applied" "chapter 5"
    holds add-keeps-clear
}

@test "EV_DISABLE keeps the knote and reports nothing; EV_ENABLE reports the current state" {
    rule "a disabled knote is not lost" "deleted instead of disabled" "chapter 5"
    holds disable
}

@test "EV_ADD alone does not enable a disabled knote" {
    rule "EV_ADD|EV_ENABLE re-arms" "enabled by every EV_ADD" "chapter 5"
    holds add-does-not-enable
}

@test "a disabled knote does not report a reset" {
    rule "epoll reports EPOLLERR and EPOLLHUP unasked" "an epoll entry that no enabled knote needs" "chapter 5"
    holds disabled-reset
}

@test "deleting or disabling one filter leaves the other unchanged" {
    rule "the two filters of a descriptor are two knotes" "EPOLL_CTL_DEL for one of two" "chapter 5"
    holds one-filter-goes
}

@test "EV_DELETE also removes an event that was not fetched yet" {
    rule "a deleted knote reports nothing" "an event kept for later" "chapter 5"
    holds delete-before-taken
}

@test "a change to a missing knote is ENOENT, to a closed descriptor EBADF, to an unknown filter EINVAL" {
    rule "each invalid change has its errno" "ENOENT for everything" "chapter 5"
    holds bad-changes
}

@test "an event can be used as a change: EV_EOF in it has no effect" {
    rule "flags that the system sets are ignored in a change" "EV_EOF refused as an unknown flag" "chapter 5"
    holds system-flags
}

@test "EV_RECEIPT answers each change with 0 or an errno, and returns no event" {
    rule "one answer for each change, in order" "events mixed with answers" "chapter 5"
    holds receipt
}

@test "EV_RECEIPT without room for the answer: returns 0, and later changes are not made" {
    rule "the call ends where an answer does not fit" "the rest of the list is processed, or errno is set to 0" "chapter 5"
    holds receipt-without-room
}

@test "a bad change with room for the answer: EV_ERROR, and later changes are made" {
    rule "the answer is an event with EV_ERROR, and no other event is returned" "stopping at the first bad change" "chapter 5"
    holds bad-change-with-room
}

@test "a bad change without room for the answer: -1, earlier changes are made, later ones are not" {
    rule "-1 and errno, and the call ends there" "the rest of the list is processed" "chapter 5"
    holds bad-change-without-room
}

@test "changes and events may be the same array" {
    rule "an answer does not overwrite a change that is still to be read" "the change read after its answer was written" "chapter 5"
    holds same-array
}

@test "with nevents 0 the call returns at once and fetches no event" {
    rule "nevents 0 is for changes only" "the timeout is waited for" "chapter 5"
    holds no-room
}

@test "both filters of a descriptor are two events in one batch" {
    rule "do not free the client in mid-batch" "one event for both, as in epoll" "chapter 5"
    holds both-filters
}

@test "both filters and room for one event: they take turns" {
    rule "no filter starves" "the same filter every time" "chapter 5"
    holds both-filters-room-for-one
}

@test "both filters and room for one event: the second is reported only if it is still true" {
    rule "an event that is no longer true is not reported" "an event kept unchanged" "chapter 5"
    holds both-filters-one-no-more
}

@test "both filters of several descriptors and little room: all are reported in turn" {
    rule "no filter of any descriptor starves" "one turn counted for all descriptors" "chapter 5"
    holds both-filters-of-several
}

@test "both filters with EV_CLEAR and room for one event: the second is not lost" {
    rule "an event that did not fit comes with the next call" "epoll reported it once, and it was dropped" "chapter 5"
    holds both-filters-clear-room-for-one
}

@test "more descriptors are ready than there is room for: all are reported in turn" {
    rule "no descriptor starves" "the same descriptors every time" "chapter 5"
    holds more-than-room
}

@test "more than there is room for, with EV_CLEAR: each is reported once" {
    rule "an event that did not fit comes with the next call" "events fetched from epoll and dropped" "chapter 5"
    holds more-than-room-clear
}

@test "EV_CLEAR reports each arrival once, with the number of all unread bytes" {
    rule "EV_CLEAR: one event for each arrival; data is the total" "data counted since the last event" "chapter 5"
    holds clear-once
}

@test "EV_CLEAR reports FIN once, even if unread bytes are left" {
    rule "EV_CLEAR: after an event, read until nothing is left" "FIN reported repeatedly" "chapter 5"
    holds clear-end-once
}

@test "EV_ADD checks the state again, with EV_CLEAR too" {
    rule "after a bounded number of reads, EV_ADD requests the rest" "an EV_ADD that changes nothing is skipped" "chapter 5"
    holds clear-add-looks
}

@test "EV_CLEAR on EVFILT_WRITE: once, and again when a full socket has free space" {
    rule "free space is reported when there was none before" "level-triggered" "chapter 5"
    holds clear-write
}

@test "EV_CLEAR on both filters: new bytes are reported once" {
    rule "deleting one filter leaves the other unchanged" "the other filter's event lost" "chapter 5"
    holds clear-both
}

@test "close() removes the knotes of a descriptor, even if it has a copy" {
    rule "after close() nothing is reported, and EV_DELETE is EBADF" "epoll keeps the entry while a copy is open: EPOLL_CTL_DEL before close()" "chapter 5"
    holds close-forgets
}

@test "close() removes an event that was not fetched yet" {
    rule "a closed descriptor has no event" "epoll keeps the entry while a copy is open" "chapter 5"
    holds close-with-event-waiting
}

@test "closing a descriptor leaves its watched copy watched" {
    rule "a knote belongs to a descriptor, not to the open file" "the copy deleted with it" "chapter 5"
    holds copy-stays-watched
}

@test "closing a descriptor with both filters: later batches are still full" {
    rule "the count of such descriptors goes down" "the count not updated by close()" "chapter 5"
    holds close-pair-then-batch
}

@test "closing a descriptor in mid-batch: the next batch has no event for it" {
    rule "close() removes events of this descriptor only" "an event kept for later" "chapter 5"
    holds close-in-batch
}

@test "close() removes the knotes even if another process has a copy of the descriptor" {
    rule "a child that still runs must not keep its parent's clients alive" "no EPOLL_CTL_DEL: epoll forgets an entry when the last copy is closed" "chapter 5"
    holds copy-in-other-process
}

@test "dup2() onto a watched descriptor removes its knotes" {
    rule "dup2() closes the descriptor that it replaces" "EPOLL_CTL_MOD of an entry that epoll has dropped: ENOENT" "chapter 5"
    holds dup2-forgets
}

@test "close() leaves errno alone if it succeeds, and sets it if it fails" {
    rule "the program's errno survives a close()" "the errno of a failed EPOLL_CTL_DEL" "chapter 5"
    holds close-keeps-errno
}

@test "a descriptor number that is used again starts without knotes" {
    rule "neither EV_DISABLE nor udata is inherited from the closed file" "the table entry not cleared" "chapter 5"
    holds descriptor-reused
}

@test "queues are independent, and close() removes a descriptor from all of them" {
    rule "each queue has its own knotes" "one table for all queues" "chapter 5"
    holds several-queues
}

@test "a queue can be watched itself, and close() removes it" {
    rule "a queue is readable when it has events" "the search ends at the queue that is closed" "chapter 5"
    holds queue-in-queue
}

@test "kevent() on a closed queue, or on another descriptor, is EBADF" {
    rule "kevent() needs a queue; a new queue has no knotes of a closed one" "the old table found by its number" "chapter 5"
    holds not-a-queue
}

@test "a child does not inherit its parent's queue; it can create its own" {
    rule "fork() does not copy a queue" "the child fetches its parent's events" "chapter 5"
    holds fork
}

@test "a child that closes its copy does not affect the parent" {
    rule "each process has its own descriptors" "EPOLL_CTL_DEL in the child, on the parent's epoll instance" "chapter 5"
    holds child-closes
}

@test "a timeout does not end early" {
    rule "timeouts are rounded up" "rounded down to milliseconds" "chapter 5"
    holds timeout-not-early
}

@test "timeout 0 returns at once" {
    rule "no wait at all" "rounded up to a millisecond" "chapter 5"
    holds timeout-zero
}

@test "timeout NULL waits until an event is reported; so does a long timeout" {
    rule "no timeout, no end" "milliseconds in an int overflow" "chapter 5"
    holds timeout-null
}

@test "a negative timeout is EINVAL, after the changes were made" {
    rule "the timeout is checked when the wait begins" "a negative timeout means no limit, as in epoll_wait()" "chapter 5"
    holds timeout-bad
}

@test "a tv_nsec of a whole second is EINVAL" {
    rule "tv_nsec is below 1000000000" "tv_nsec not checked" "chapter 5"
    holds timeout-whole-second
}

@test "the longest timeout is accepted" {
    rule "a number of seconds may not fit into milliseconds" "seconds times 1000 overflows" "chapter 5"
    holds timeout-huge
}

@test "a signal ends the wait with EINTR, with or without SA_RESTART" {
    rule "kevent() is not restarted" "the wait is continued" "chapter 5"
    holds interrupted
}

@test "many descriptors, with large numbers" {
    rule "the table grows and keeps its entries" "new entries not cleared" "chapter 5"
    holds many-descriptors
}

@test "a very large descriptor can be watched" {
    rule "memory is allocated for the descriptors that are watched" "a table of fixed size" "chapter 5"
    holds large-descriptor
}

@test "a closed queue leaves no open descriptor" {
    rule "a queue is one descriptor" "epoll descriptor not closed" "chapter 5"
    holds no-leak
}

# ---- where systems differ ----

@test "close() with unread bytes: the peer receives FIN on the BSDs, RST on Linux" {
    rule "a client of a hasty server reads 0 on a BSD and ECONNRESET on Linux" "Linux sends RST if bytes are unread" "chapter 5"
    answers recv-after-close
}

@test "a client that resets in the backlog: accept() is ECONNABORTED on the BSDs, succeeds on Linux" {
    rule "a server must expect either" "the connection was reset before accept()" "chapter 5"
    answers accept-of-reset
}

@test "send() after a reset: EPIPE on the BSDs, ECONNRESET on Linux" {
    rule "both mean that the client is gone" "only one of the two handled" "chapter 5"
    answers send-after-reset
}

@test "EV_ADD of EVFILT_WRITE on a pipe without a reader: EPIPE on FreeBSD, EBADF on NetBSD" {
    rule "the emulation accepts it and reports EV_EOF" "the errno taken for a wrong descriptor" "chapter 5"
    answers add-without-reader
}

@test "a full pipe whose reader closes is reported with EV_EOF and no fflags, except on NetBSD" {
    rule "NetBSD notifies before it marks the end, so the event is lost" "a wait for EVFILT_WRITE that never ends" "chapter 5"
    answers full-pipe-reports-eof
}

@test "EVFILT_WRITE on the read end of a pipe: never reported while a writer is open" {
    rule "NetBSD does not report it even when the writer closes" "a wait for EVFILT_WRITE that never ends" "chapter 5"
    answers read-end-reports-eof
}

@test "EV_ADD of a regular file: accepted on the BSDs, EPERM with the emulation" {
    rule "epoll refuses regular files" "a log or a standard stream redirected to a file" "chapter 5"
    answers add-file
}

@test "accept() inherits O_NONBLOCK on the BSDs, not on Linux" {
    rule "set or clear it yourself" "a server that blocks on Linux only" "chapter 5"
    answers accept-nonblocking
}

@test "kqueue() does not set FD_CLOEXEC on the BSDs; the emulation does" {
    rule "set it yourself" "a queue leaked by exec()" "chapter 5"
    answers kqueue-cloexec
}

@test "SIGCONT interrupts kevent() with the emulation, not on NetBSD" {
    rule "a wait may return EINTR without a signal handler" "only signals with a handler expected" "chapter 5"
    answers cont-interrupts
}

@test "FD_SETSIZE is 256 on NetBSD, 1024 on FreeBSD and Linux" {
    rule "select() is limited by the system's FD_SETSIZE" "1024 written as a number" "chapter 5"
    answers fd-setsize
}

@test "the program checks the answers of FreeBSD and NetBSD, which are simulated" {
    rule "the answer of each system is in the table" "a row that no system can pass" "chapter 5"
    need_linux "to simulate the answers of other systems"
    [ -z "${KQUEUE_CASES:-}" ] || skip "KQUEUE_CASES has its own checks; to run it: without KQUEUE_CASES"
    local system name
    make -s -C "$TESTS/programs" bsd
    for system in FreeBSD NetBSD; do
        answers_of $system
        # not add-file, cont-interrupts and fd-setsize, which cannot be simulated
        for name in recv-after-close accept-of-reset send-after-reset add-without-reader full-pipe-reports-eof \
            read-end-reports-eof accept-nonblocking kqueue-cloexec; do
            test_case "$name on $system"
            LD_PRELOAD=$BSD "$PROGRAM" $name 2>"$TMP/server.err"
        done
    done
    ! "$PROGRAM" send-after-reset # the answers of Linux are not those of NetBSD
}

# ---- the emulation ----

@test "the kqueue emulation names itself on stderr, exactly once" {
    rule "printed by the first kqueue() of the program, not by a child" "printed for each queue" "chapter 5"
    holds_here message-once
}

@test "what the emulation cannot do fails with EINVAL and changes nothing" {
    rule "EINVAL for EV_ONESHOT, EV_DISPATCH, and EV_CLEAR on one of two filters" "accepted, but not done" "chapter 5"
    holds_here refused-here
}

@test "the limit of dup2(): an open copy is still reported, and a disabled knote remains" {
    rule "only close() removes all knotes of a descriptor, as linux/kqueue.c says" "a limit that is not documented any more" "chapter 5"
    holds_here limit-of-dup2
}

@test "every case of the program is run here" {
    rule "a case without a test checks nothing" "a new case without its test" "CONTRIBUTING.md"
    "$PROGRAM" | sort >"$TMP/there"
    sed -n -E 's/^ *(holds|holds_here|answers) ([a-z0-9-]*)$/\2/p' "$BATS_TEST_FILENAME" | sort >"$TMP/run"
    [ -s "$TMP/there" ]
    if [ "$(uname -s)" = Linux ]; then
        diff "$TMP/there" "$TMP/run"
    else
        [ -z "$(comm -23 "$TMP/there" "$TMP/run" | tee /dev/stderr)" ]
    fi
    run "$PROGRAM" no-such-case
    [ "$status" = 2 ]
}

# bats test_tags=long
@test "every case under valgrind: no wrong access, no leak" {
    rule "the table and the queues are freed, and no uninitialised byte is read" "a block or a queue that close() does not free" "chapter 5"
    [ -n "${LONG:-}" ] || skip "takes half a minute; to run it: make test-05 LONG=1"
    need valgrind "to watch every access" "install valgrind"
    [ -z "${KQUEUE_CASES:-}" ] || skip "KQUEUE_CASES has its own checks; to run it: without KQUEUE_CASES"
    valgrind -q "$PROGRAM" >/dev/null 2>&1 || skip "this valgrind cannot run this build; to run it: build with gcc, or a newer valgrind"
    local name failed=0
    for name in $("$PROGRAM"); do
        valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,possible \
            "$PROGRAM" "$name" >"$TMP/out" 2>&1 || { echo "$name"; cat "$TMP/out"; failed=1; }
    done
    return $failed
}
