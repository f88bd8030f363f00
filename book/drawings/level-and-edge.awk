# Three bytes arrive, and later three more; the server reads one byte each time epoll_wait() returns.
# The two curves follow from that, and are computed here.
BEGIN {
    FIRST = 4; SECOND = 12; LAST = 19 # moments; a wait takes one
    start(318, "Level-triggered, the server gets six reports and reads all; edge-triggered, it gets two, and four bytes are never read")
    text(10, 22, "3 bytes arrive, then 3 more. After each", "small")
    text(10, 39, "report, the server reads 1 byte.", "small")
    panel(60, "level-triggered", 0)
    panel(176, "edge-triggered, the same server", 1)
    finish()
}
function x_of(t) { return 14 + t * 16.5 }
function panel(y, name, edge, t, unread, base, d, dots, arrived) {
    text(10, y + 10, name, "bold")
    base = y + (edge ? 100 : 72) # the edge climbs higher
    d = sprintf("M%g %g", x_of(0), base)
    for (t = 0; t <= LAST; t++) {
        arrived = (t == FIRST || t == SECOND)
        if (arrived) {
            d = d sprintf("L%g %gL%g %g", x_of(t), base - unread * 14, x_of(t), base - (unread + 3) * 14)
            unread += 3
        }
        if (unread > 0 && (!edge || arrived)) {
            dots = dots sprintf("<circle cx=\"%g\" cy=\"%g\" r=\"5\" fill=\"%s\"/>\n", x_of(t + 0.7), base + 22, NEW)
            d = d sprintf("L%g %gL%g %g", x_of(t + 0.7), base - unread * 14, x_of(t + 0.7), base - (unread - 1) * 14)
            unread--
        }
    }
    d = d sprintf("L%g %g", x_of(LAST + 1), base - unread * 14)
    printf "<path d=\"%sV%gz\" fill=\"%s\" fill-opacity=\"0.25\"/>\n", d, base, BYTES
    path(d, "bytes thick")
    line(x_of(0), base, x_of(LAST + 1), base, "")
    printf "%s", dots
    text(x_of(0), base - 10, "unread", "small")
    text(x_of(0), base + 26.5, "reports", "small")
    if (unread > 0)
        text(x_of(LAST + 1), base - unread * 14 - 8, unread " never read", "small end new")
}
