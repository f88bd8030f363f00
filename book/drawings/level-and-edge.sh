#!/bin/sh
# sh level-and-edge.sh >../src/images/level-and-edge.svg
# Three bytes arrive, and later three more; the server reads one byte each time epoll_wait() returns.
# The two curves follow from that, and are computed here.
exec awk 'BEGIN {
    ink = "#222"; paper = "#fff"; shade = "#d0d0d0"
    first = 4; second = 12; last = 19 # moments; a wait takes one
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 360 370\" width=\"480\" role=\"img\" aria-labelledby=\"title\" font-family=\"sans-serif\" font-size=\"14\">"
    print "<title id=\"title\">Level-triggered, the server gets six reports and reads all; edge-triggered, it gets two, and four bytes are never read</title>"
    print "<rect width=\"360\" height=\"370\" fill=\"" paper "\"/>"
    text(10, 22, "3 bytes arrive, then 3 more. After each report", 0)
    text(10, 40, "the server reads 1 byte.", 0)
    panel(64, "level-triggered", 0)
    panel(214, "edge-triggered, the same server", 1)
    print "</svg>"
}
function text(x, y, s, bold) {
    printf "<text x=\"%d\" y=\"%d\" fill=\"%s\"%s>%s</text>\n", x, y, ink, bold ? " font-weight=\"bold\"" : "", s
}
function x_of(t) { return 10 + t * 17 }
function panel(y, name, edge, t, unread, base, d, dots, arrived) {
    text(10, y + 6, name, 1)
    base = y + (edge ? 98 : 84) # the edge climbs higher
    d = sprintf("M%d %d", x_of(0), base)
    for (t = 0; t <= last; t++) {
        arrived = (t == first || t == second)
        if (arrived) {
            d = d sprintf("L%d %dL%d %d", x_of(t), base - unread * 14, x_of(t), base - (unread + 3) * 14)
            unread += 3
        }
        if (unread > 0 && (!edge || arrived)) {
            dots = dots sprintf("<circle cx=\"%d\" cy=\"%d\" r=\"5\" fill=\"%s\"/>\n", x_of(t + 0.7), base + 20, ink)
            d = d sprintf("L%d %dL%d %d", x_of(t + 0.7), base - unread * 14, x_of(t + 0.7), base - (unread - 1) * 14)
            unread--
        }
    }
    d = d sprintf("L%d %d", x_of(last + 1), base - unread * 14)
    printf "<path d=\"%sL%d %dz\" fill=\"%s\"/>\n", d, x_of(last + 1), base, shade
    printf "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", d, ink
    printf "%s", dots
    text(10, base - 10, "unread", 0)
    text(10, base + 25, "reports", 0)
    if (unread > 0)
        text(x_of(last) - 98, base - unread * 14 - 8, unread " never read", 0)
}'
