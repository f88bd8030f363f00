# A client sends all the time and reads nothing until READS_FROM.  The curves are computed from the rules of clients.c,
# with small buffers of SPACE units: in each moment the client acts, and then the server handles one event.
BEGIN {
    LAST = 52; SPACE = 24; PIECE = 10; READS_FROM = 23; SENDS_UNTIL = 24
    start(476, "A short write: the echo fills the send buffer, the server keeps the rest and stops reading, " \
        "the receive buffer fills, and the client cannot send more. When the client reads, all of it drains")
    for (t = 1; t <= LAST; t++) moment(t)
    text(10, 22, "A client sends, and reads only from 3 on", "bold")
    guide(SHORT_AT, 1); guide(FULL_AT, 2); guide(READS_FROM, 3); guide(AGAIN_AT, 4)
    curve(66, "the echo, in the send buffer", ECHO)
    curve(146, "what the server keeps: pending", PENDING)
    curve(226, "the receive buffer", SENT)
    bar(306, "the server reads", READS, 1)
    bar(340, "the client cannot send more", BLOCKED, 0)
    say(1, 396, "a short write: the server keeps the rest,"); text(36, 413, "and stops reading from this client", "small")
    say(2, 431, "the receive buffer is full: the client stops")
    say(3, 449, "the client reads: there is room again")
    say(4, 467, "nothing is pending: the server reads again")
    finish()
}
function moment(t, n, took) {
    if (t >= READS_FROM) echo_ -= least(echo_, 2)
    if (unsent > 0 || (t <= SENDS_UNTIL && t % 3 == 1)) {
        if (unsent == 0) unsent = PIECE
        took = least(unsent, SPACE - sent); sent += took; unsent -= took
        if (unsent > 0) { BLOCKED[t] = 1; if (!FULL_AT) FULL_AT = t }
    }
    if (pending > 0) {
        if (SPACE - echo_ >= SPACE / 3) { # then the kernel reports the socket as writable
            took = least(pending, SPACE - echo_); pending -= took; echo_ += took
        }
        if (pending == 0 && !AGAIN_AT) AGAIN_AT = t
    } else if (sent > 0) {
        READS[t] = 1
        n = least(sent, PIECE); sent -= n
        took = least(n, SPACE - echo_); echo_ += took; pending = n - took
        if (pending > 0 && !SHORT_AT) SHORT_AT = t
    }
    ECHO[t] = echo_; PENDING[t] = pending; SENT[t] = sent
}
function least(a, b) { return a < b ? a : b }
function x_of(t) { return 14 + t * 332 / LAST }
function curve(y, name, level, t, d) {
    for (t = 1; t <= LAST; t++) d = d sprintf("L%.1f %.1f", x_of(t), y + 56 - level[t] * 44 / SPACE)
    line(14, y + 12, 346, y + 12, "muted dashed")
    printf "<path d=\"M14 %g%sV%gz\" fill=\"%s\" fill-opacity=\"0.25\"/>\n", y + 56, d, y + 56, BYTES
    path(sprintf("M14 %g%s", y + 56, d), "bytes thick")
    line(14, y + 56, 346, y + 56, "")
    text(14, y + 6, name, "small", " stroke=\"" PAPER "\" stroke-width=\"4\" paint-order=\"stroke\"")
}
# The moments in which it is so; `before`: up to that moment, not from it on.
function bar(y, name, on, before, t) {
    text(14, y, name, "small", " stroke=\"" PAPER "\" stroke-width=\"4\" paint-order=\"stroke\"")
    box(14, y + 6, 332, 10, "cell")
    for (t = 1; t <= LAST; t++)
        if (on[t])
            printf "<rect x=\"%.1f\" y=\"%g\" width=\"6.8\" height=\"10\" fill=\"%s\"/>\n",
                x_of(t - before), y + 6, INK
}
function dot(x, y, n) {
    printf "<circle cx=\"%g\" cy=\"%g\" r=\"8.5\" fill=\"%s\"/>\n", x, y, NEW
    text(x, y + 4.3, n, "small middle light bold")
}
function guide(t, n) { line(x_of(t), 48, x_of(t), 358, "new dashed"); dot(x_of(t), 42, n) }
function say(n, y, s) { dot(20, y - 4, n); text(36, y, s, "small") }
