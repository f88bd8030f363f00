#!/usr/bin/env bats
# What kqueue does, a test for each point.  On Linux the answers are those of the stand-in in
# 05-kqueue/linux; on macOS and the BSDs the same program asks the real kqueue.
# KQUEUE_CASES names another build of the program, one with sanitizers for example.
load support/helpers
PROGRAM=${KQUEUE_CASES:-$TESTS/build/kqueue-emulation}
# shellcheck disable=SC2034 # the helpers say by them how to repeat a test
VARIANT=05-kqueue OURS=1

setup_file() {
    [ -n "${KQUEUE_CASES:-}" ] || make -s -C "${TESTS:-$BATS_TEST_DIRNAME}/programs" kqueue-emulation
}

# holds CASE: the program has found it so.
holds() { "$PROGRAM" "$1" 2>"$TMP/server.err"; }
holds_here() {
    need_linux "it is about the stand-in"
    holds "$1"
}

@test "a listener's data is how many clients wait" {
    rule "EVFILT_READ of a listener: data is its backlog, and it is never ready to write" "what epoll has no number for: TCP_INFO of a listener" "chapter 5"
    holds listener-data
}

@test "data is the bytes that wait" {
    rule "EVFILT_READ: data is all that is unread" "FIONREAD not asked" "chapter 5"
    holds read-data
}

@test "an event comes again until the bytes are read" {
    rule "without EV_CLEAR a filter reports as long as it is true" "EPOLLET where nobody asked for EV_CLEAR" "chapter 5"
    holds read-level
}

@test "EV_ADD reports what was ready before it" {
    rule "EV_ADD looks at once" "waiting for news only" "chapter 5"
    holds ready-before
}

@test "the other side's FIN is EV_EOF, with the unread bytes in data" {
    rule "EV_EOF with data > 0: drain before closing; it repeats until you act" "EPOLLRDHUP not asked for, or not translated" "chapter 5"
    holds end-with-data
}

@test "a reset with unread bytes: EV_EOF, data, fflags ECONNRESET; then the bytes, then the error" {
    rule "fflags has the error, and recv() still finds it" "SO_ERROR asked: that takes the error away" "chapter 5"
    holds reset-with-data
}

@test "a reset ends a wait to write: EV_EOF, fflags ECONNRESET" {
    rule "an error makes EVFILT_WRITE true" "EPOLLERR and EPOLLHUP come without EPOLLOUT" "chapter 5"
    holds reset-while-writing
}

@test "the other side's FIN is no EV_EOF on EVFILT_WRITE" {
    rule "a half-closed connection can still be written to" "EPOLLRDHUP taken for both filters" "chapter 5"
    holds half-close-write
}

@test "your own shutdown(SHUT_WR) is EV_EOF on EVFILT_WRITE" {
    rule "who has said the end cannot send" "epoll has no flag for it: the state of the connection has to be asked" "chapter 5"
    holds own-shutdown-write
}

@test "your own shutdown(SHUT_WR) says nothing to EVFILT_READ" {
    rule "only the other side's FIN ends the reading" "one end taken for the other" "chapter 5"
    holds own-shutdown-read
}

@test "EVFILT_WRITE: data is the room that there is" {
    rule "data shrinks by what waits to be sent" "the whole buffer given, whatever is in it" "chapter 5"
    holds write-room
}

@test "a full socket is not ready to write, and is again when there is room" {
    rule "EVFILT_WRITE is reported when there is room" "EPOLLOUT not asked for, or given when it was not said" "chapter 5"
    holds write-full
}

@test "a connect() that is done is EVFILT_WRITE, without EV_EOF" {
    rule "a fresh connection is one that can be written to" "its state taken for a closed one" "chapter 5"
    holds connecting
}

@test "a pipe, where it is read: data, and EV_EOF when nobody writes any more" {
    rule "a pipe is watched like a socket" "EPOLLHUP not translated" "chapter 5"
    holds pipe-read-end
}

@test "a pipe, where it is written: room, full, and EV_EOF when nobody reads" {
    rule "a pipe is watched like a socket" "the room asked as for a socket" "chapter 5"
    holds pipe-write-end
}

@test "a pipe that nobody reads has EV_EOF, and no error in fflags" {
    rule "fflags is a socket's error" "EPOLLERR taken for an error that waits" "chapter 5"
    holds pipe-no-error
}

@test "local sockets: data, room, full, EV_EOF" {
    rule "a local socket is watched like a connection" "only TCP was thought of" "chapter 5"
    holds unix-sockets
}

@test "local sockets: your own shutdown(SHUT_WR) is EV_EOF on EVFILT_WRITE" {
    rule "who has said the end cannot send" "only TCP was thought of" "chapter 5"
    holds unix-own-shutdown
}

@test "udata comes back, in events and in answers; one call changes and waits" {
    rule "udata is the caller's" "one udata for both filters" "chapter 5"
    holds udata
}

@test "a second EV_ADD changes udata and adds nothing" {
    rule "one knote for a descriptor and filter" "EPOLL_CTL_ADD a second time: EEXIST" "chapter 5"
    holds add-twice
}

@test "a second EV_ADD does not change EV_CLEAR, either way" {
    rule "EV_ADD of what is there changes udata only" "the flags of the second EV_ADD taken" "chapter 5"
    holds add-keeps-clear
}

@test "EV_DISABLE keeps it and reports nothing, EV_ENABLE reports what is there" {
    rule "a disabled filter is not lost" "deleted instead of disabled" "chapter 5"
    holds disable
}

@test "EV_ADD alone does not enable what was disabled" {
    rule "EV_ADD|EV_ENABLE is what re-arms" "enabled by any EV_ADD" "chapter 5"
    holds add-does-not-enable
}

@test "disabled, even a reset is not reported" {
    rule "EPOLLERR and EPOLLHUP come unasked" "an entry left in epoll of which nothing is wanted" "chapter 5"
    holds disabled-reset
}

@test "one filter deleted or disabled leaves the other as it was" {
    rule "the two filters of a descriptor are two knotes" "EPOLL_CTL_DEL for one of two" "chapter 5"
    holds one-filter-goes
}

@test "an event that was not taken yet goes with EV_DELETE" {
    rule "what is deleted is not reported" "an event kept for later" "chapter 5"
    holds delete-before-taken
}

@test "EV_DELETE of what is not there is ENOENT, of a closed descriptor EBADF, an unknown filter EINVAL" {
    rule "each wrong change has its errno" "ENOENT for everything" "chapter 5"
    holds bad-changes
}

@test "an event handed back as a change: EV_EOF in it means nothing" {
    rule "the flags of the system are not looked at in a change" "EV_EOF refused as an unknown flag" "chapter 5"
    holds system-flags
}

@test "EV_RECEIPT answers each change, 0 or errno, and gives out no event" {
    rule "an answer for each change, in order" "events mixed with answers" "chapter 5"
    holds receipt
}

@test "EV_RECEIPT without room for the answer: 0, and the later changes are not made" {
    rule "the call ends where an answer finds no room" "going on with the list; errno set to 0" "chapter 5"
    holds receipt-without-room
}

@test "a bad change with room for the answer: EV_ERROR, and the later changes are made" {
    rule "the answer is an event with EV_ERROR, alone" "stopping at the first" "chapter 5"
    holds bad-change-with-room
}

@test "a bad change without room for the answer: -1, the earlier changes are made, the later are not" {
    rule "-1 and errno, and the call ends there" "going on with the list" "chapter 5"
    holds bad-change-without-room
}

@test "changes and events may be the same array" {
    rule "an answer does not overwrite a change that is still to come" "the change read after its answer was written" "chapter 5"
    holds same-array
}

@test "with nevents 0 it returns at once, and takes no event" {
    rule "nevents 0 is for changes" "waiting all the same" "chapter 5"
    holds no-room
}

@test "both filters of a descriptor are two events of one batch" {
    rule "do not free the client in mid-batch" "one event for both, as epoll has it" "chapter 5"
    holds both-filters
}

@test "both filters and room for one event: they take turns" {
    rule "no filter starves" "always the same one of two" "chapter 5"
    holds both-filters-room-for-one
}

@test "both filters and room for one event: the other is looked at again when it comes" {
    rule "what is no longer true is not reported" "an event kept as it was" "chapter 5"
    holds both-filters-one-no-more
}

@test "both filters of several descriptors and little room: each has its turn" {
    rule "no filter of any descriptor starves" "the turns counted for all together" "chapter 5"
    holds both-filters-of-several
}

@test "both filters with EV_CLEAR and room for one event: the other is not lost" {
    rule "what found no room comes with the next call" "epoll told it once, and it was dropped" "chapter 5"
    holds both-filters-clear-room-for-one
}

@test "more are ready than there is room for: each has its turn" {
    rule "no descriptor starves" "the same ones each time" "chapter 5"
    holds more-than-room
}

@test "the same with EV_CLEAR: each comes once" {
    rule "what found no room comes with the next call" "events taken from epoll and dropped" "chapter 5"
    holds more-than-room-clear
}

@test "EV_CLEAR reports once, and new bytes with all that is unread" {
    rule "EV_CLEAR: once for each arrival; data is the total" "data counted since the last event" "chapter 5"
    holds clear-once
}

@test "EV_CLEAR reports FIN once, and is silent with bytes left" {
    rule "EV_CLEAR: read until there is no more, when it speaks" "FIN reported over and over" "chapter 5"
    holds clear-end-once
}

@test "EV_ADD looks anew, with EV_CLEAR too" {
    rule "after a bounded number of reads EV_ADD asks for the rest" "an EV_ADD that changes nothing left out" "chapter 5"
    holds clear-add-looks
}

@test "EV_CLEAR on EVFILT_WRITE: once, and once more when a full socket has room" {
    rule "room is news when there was none" "level-triggered" "chapter 5"
    holds clear-write
}

@test "EV_CLEAR on both filters: new bytes are reported, and then silence" {
    rule "one filter deleted takes its part with it" "the other filter's event lost" "chapter 5"
    holds clear-both
}

@test "close() takes a descriptor off the queue, even if it has a copy" {
    rule "after close() nothing comes, and EV_DELETE is EBADF" "epoll keeps what has a copy: EPOLL_CTL_DEL before close()" "chapter 5"
    holds close-forgets
}

@test "close() takes away an event that was not taken yet" {
    rule "no event for a closed descriptor" "epoll keeps what has a copy" "chapter 5"
    holds close-with-event-waiting
}

@test "close() of a descriptor leaves its watched copy watched" {
    rule "knotes belong to descriptors, not to what they name" "the copy deleted with it" "chapter 5"
    holds copy-stays-watched
}

@test "close() of a descriptor with both filters: the others still come in full" {
    rule "what was counted for it is no longer" "the number of pairs not brought up to date" "chapter 5"
    holds close-pair-then-batch
}

@test "a descriptor that is used again starts afresh" {
    rule "nothing of the old one is left: not disabled, no udata" "the entry of the table not cleared" "chapter 5"
    holds descriptor-reused
}

@test "several queues do not know of each other, and close() takes a descriptor off all" {
    rule "each queue has its own knotes" "one table for all" "chapter 5"
    holds several-queues
}

@test "a queue can be watched itself, and close() takes it off" {
    rule "a queue is ready to read when it has events" "the search ended at the queue that was closed" "chapter 5"
    holds queue-in-queue
}

@test "a queue that was closed is EBADF, and so is what never was one" {
    rule "kevent() wants a queue; a new one has nothing of the old" "the old table found by its number" "chapter 5"
    holds not-a-queue
}

@test "a child has no queue of its parent; it can have its own" {
    rule "a queue is not inherited by fork()" "the child takes the parent's events" "chapter 5"
    holds fork
}

@test "a child that closes its copy takes nothing from the parent" {
    rule "each process has its own descriptors" "EPOLL_CTL_DEL in the child: the epoll is the parent's" "chapter 5"
    holds child-closes
}

@test "a wait does not end early" {
    rule "timeouts are rounded up" "rounded down to milliseconds" "chapter 5"
    holds timeout-not-early
}

@test "timeout 0 looks and returns" {
    rule "no wait at all" "rounded up to a millisecond" "chapter 5"
    holds timeout-zero
}

@test "timeout NULL waits until something comes; a long one too" {
    rule "no timeout, no end" "milliseconds in an int: it overflows" "chapter 5"
    holds timeout-null
}

@test "a negative timeout is EINVAL, after the changes were made" {
    rule "the timeout is looked at when it is time to wait" "negative means for ever, in epoll" "chapter 5"
    holds timeout-bad
}

@test "nanoseconds that make a whole second are EINVAL" {
    rule "tv_nsec is below 1000000000" "not looked at" "chapter 5"
    holds timeout-whole-second
}

@test "the longest timeout is none too long" {
    rule "a number of seconds that does not fit in milliseconds" "seconds times 1000 overflows" "chapter 5"
    holds timeout-huge
}

@test "a signal ends the wait with EINTR, SA_RESTART or not" {
    rule "kevent() is not restarted" "waiting on" "chapter 5"
    holds interrupted
}

@test "many descriptors, with large numbers" {
    rule "the table grows and keeps what it had" "new entries not cleared" "chapter 5"
    holds many-descriptors
}

@test "a closed queue leaves no descriptor behind" {
    rule "one descriptor for a queue" "epoll not closed" "chapter 5"
    holds no-leak
}

@test "the stand-in says on stderr that it is one, exactly once" {
    rule "said by the first kqueue(), not by a child" "said for each queue" "chapter 5"
    holds_here message-once
}

@test "what the stand-in cannot do it refuses, and nothing has changed" {
    rule "EINVAL for EV_ONESHOT, EV_DISPATCH and EV_CLEAR on one of two filters; EPERM for a file" "accepted and not done" "chapter 5"
    holds_here refused-here
}

@test "every case of the program is run here" {
    rule "a case that nobody runs checks nothing" "a new case without its test" "CONTRIBUTING.md"
    "$PROGRAM" | sort >"$TMP/there"
    sed -n 's/^ *holds[_a-z]* \([a-z-]*\)$/\1/p' "$BATS_TEST_FILENAME" | sort >"$TMP/run"
    [ -s "$TMP/there" ]
    if [ "$(uname -s)" = Linux ]; then
        diff "$TMP/there" "$TMP/run"
    else
        [ -z "$(comm -23 "$TMP/there" "$TMP/run" | tee /dev/stderr)" ]
    fi
    run "$PROGRAM" no-such-case
    [ "$status" = 2 ]
}

@test "every case under valgrind: no wrong access, no leak" {
    rule "the table and the queues are freed, no byte is read that was not written" "a table that grew, or a queue that was closed" "chapter 5"
    [ -n "${LONG:-}" ] || skip "takes half a minute; to run it: make test-05 LONG=1"
    need valgrind "to watch every access" "install valgrind"
    [ -z "${KQUEUE_CASES:-}" ] || skip "this build is watched already; to run it: without KQUEUE_CASES"
    valgrind -q "$PROGRAM" >/dev/null 2>&1 || skip "this valgrind cannot run this build; to run it: build with gcc, or a newer valgrind"
    local name failed=0
    for name in $("$PROGRAM"); do
        valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,possible \
            "$PROGRAM" "$name" >"$TMP/out" 2>&1 || { echo "$name"; cat "$TMP/out"; failed=1; }
    done
    return $failed
}
