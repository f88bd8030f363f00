# The two states of a client in stages 02 to 06, and what leads from one to the other.
BEGIN {
    start(372, "A client waits to read, until send() takes only a part. Then it waits to write, until all is sent")
    box(10, 44, 340, 58, "new"); text(24, 68, "waits to read", "bold"); text(24, 89, "pending is NULL", "small")
    loop_(250, 44, -1); text(242, 26, "recv(), and send() takes all", "small end")
    arrow(40, 103, 40, 189, "thick"); text(52, 136, "send() takes", "small"); text(52, 152, "a part: keep", "small"); text(52, 168, "the rest", "small")
    arrow(196, 189, 196, 103, "thick"); text(208, 144, "send() takes", "small"); text(208, 160, "the rest", "small")
    box(10, 190, 296, 58, "new"); text(24, 214, "waits to write", "bold"); text(24, 235, "pending: the rest; it does not read", "small")
    loop_(110, 248, 1); text(180, 274, "send() takes a part", "small")
    box(10, 328, 340, 34, "plain"); text(180, 349.5, "closed", "middle bold")
    arrow(330, 103, 330, 327, "muted"); text(320, 296, "recv() is 0,", "small end"); text(320, 312, "or an error", "small end")
    arrow(40, 249, 40, 327, "muted"); text(52, 306, "an error", "small")
    finish()
}
# From the edge at x, y out (up or down) and back.
function loop_(x, y, down) {
    path(sprintf("M%g %gv%gq0 %g 10 %gh40q10 0 10 %gv%g", x, y, 12 * down, 10 * down, 10 * down, -10 * down, -6 * down), "thick")
    head(x + 60, y + (down > 0 ? 1 : -1), 0, -down, "")
}
