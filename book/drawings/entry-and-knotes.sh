#!/bin/sh
# sh entry-and-knotes.sh >../src/images/entry-and-knotes.svg
# Bytes wait at fd 7, and there is room to send: what each list holds, and what each wait returns.
# 360 units wide, so that on a narrow screen the letters keep their size.
exec awk 'BEGIN {
    ink = "#222"; paper = "#fff"; shade = "#e8e8e8"
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 360 486\" width=\"480\" role=\"img\" aria-labelledby=\"title\" font-family=\"sans-serif\" font-size=\"14\">"
    print "<title id=\"title\">epoll keeps one entry for fd 7 and reports one event with two flags; kqueue keeps two knotes and reports two events</title>"
    print "<rect width=\"360\" height=\"486\" fill=\"" paper "\"/>"
    text(10, 22, ink, "epoll: one entry for each descriptor", 1)
    list(34, 3, "the kernel")
    row(62, 0, "fd 5", "EPOLLIN"); row(90, 1, "fd 7", "EPOLLIN | EPOLLOUT"); row(118, 0, "fd 8", "EPOLLIN")
    arrow(180, 154, 176)
    text(198, 171, ink, "one event", 0)
    row(180, 1, "fd 7", "EPOLLIN | EPOLLOUT")
    printf "<path d=\"M10 220H350\" stroke=\"%s\" stroke-width=\"1.5\"/>\n", ink
    text(10, 248, ink, "kqueue: one knote for each filter", 1)
    list(260, 4, "the kernel")
    row(288, 0, "fd 5", "EVFILT_READ"); row(316, 1, "fd 7", "EVFILT_READ")
    row(344, 1, "fd 7", "EVFILT_WRITE"); row(372, 0, "fd 8", "EVFILT_READ")
    arrow(180, 408, 428)
    text(198, 424, ink, "two events", 0)
    row(432, 1, "fd 7", "EVFILT_READ, how many bytes"); row(458, 1, "fd 7", "EVFILT_WRITE, how much room")
    print "</svg>"
}
function text(x, y, colour, s, bold) {
    printf "<text x=\"%d\" y=\"%d\" fill=\"%s\"%s>%s</text>\n", x, y, colour, bold ? " font-weight=\"bold\"" : "", s
}
function list(y, rows, name) {
    printf "<rect x=\"10\" y=\"%d\" width=\"340\" height=\"%d\" rx=\"4\" fill=\"%s\" stroke=\"%s\"/>\n", y, rows * 28 + 34, shade, ink
    text(18, y + 19, ink, name, 0)
}
function row(y, dark, fd, what) {
    printf "<rect x=\"18\" y=\"%d\" width=\"324\" height=\"24\" fill=\"%s\" stroke=\"%s\"/>\n", y, dark ? ink : paper, ink
    text(26, y + 17, dark ? paper : ink, fd, 0)
    text(76, y + 17, dark ? paper : ink, what, 0)
}
function arrow(x, y1, y2) {
    printf "<path d=\"M%d %dV%d\" stroke=\"%s\" stroke-width=\"1.5\"/>\n", x, y1, y2 - 4, ink
    printf "<path d=\"M%d %dl-5 -8h10z\" fill=\"%s\"/>\n", x, y2, ink
}'
