#!/bin/sh
# sh who-keeps-the-list.sh >../src/images/who-keeps-the-list.svg
# 360 units wide, so that on a narrow screen the letters keep their size.
exec awk 'BEGIN {
    ink = "#222"; paper = "#fff"; shade = "#e8e8e8"
    n = 12; ready = 5
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 360 452\" width=\"480\" role=\"img\" aria-labelledby=\"title\" font-family=\"sans-serif\" font-size=\"14\">"
    print "<title id=\"title\">Who keeps the list: with select and poll, your program; with epoll, the kernel</title>"
    print "<rect width=\"360\" height=\"452\" fill=\"" paper "\"/>"
    text(10, 24, "select(), poll(): the list travels", "bold")
    box(36, 62, "your program"); row(64)
    arrow(40, 98, 136); text(52, 122, "the whole list", "")
    arrow(186, 136, 98); text(198, 122, "all of it, marked", "")
    box(136, 62, "the kernel"); row(164)
    line(10, 216, 350, 216)
    text(10, 244, "epoll: the kernel keeps it", "bold")
    box(256, 46, "your program"); cell(216, 266, 1)
    arrow(40, 302, 340); text(52, 326, "a client, once", "")
    arrow(228, 340, 302); text(240, 326, "what is ready", "")
    box(340, 102, "the kernel"); row(368)
    cell(216, 404, 1); text(168, 421, "ready", "")
    arrow(18 + ready * 27 + 12, 391, 402, 1)
    print "</svg>"
}
function text(x, y, s, weight) {
    printf "<text x=\"%d\" y=\"%d\" fill=\"%s\"%s>%s</text>\n", x, y, ink, weight == "" ? "" : " font-weight=\"bold\"", s
}
function box(y, height, name) {
    printf "<rect x=\"10\" y=\"%d\" width=\"340\" height=\"%d\" rx=\"4\" fill=\"%s\" stroke=\"%s\"/>\n", y, height, shade, ink
    text(18, y + 20, name, "")
}
function cell(x, y, dark) {
    printf "<rect x=\"%d\" y=\"%d\" width=\"24\" height=\"22\" fill=\"%s\" stroke=\"%s\"/>\n", x, y, dark ? ink : paper, ink
}
function row(y, i) {
    for (i = 0; i < n; i++)
        cell(18 + i * 27, y, i == ready)
}
function line(x1, y1, x2, y2) {
    printf "<path d=\"M%d %dL%d %d\" stroke=\"%s\" stroke-width=\"1.5\"/>\n", x1, y1, x2, y2, ink
}
function arrow(x, y1, y2, thin, d) {
    d = y2 > y1 ? -1 : 1
    line(x, y1, x, y2 + 4 * d)
    printf "<path d=\"M%d %dl-5 %dh10z\" fill=\"%s\"/>\n", x, y2, 8 * d, ink
}'
