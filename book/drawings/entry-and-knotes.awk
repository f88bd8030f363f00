# Bytes wait at fd 7, and there is room to send: what each list holds, and what each wait returns.
BEGIN {
    start(492, "epoll keeps one entry for fd 7 and reports one event with two flags; kqueue keeps two knotes and reports two events")
    text(10, 22, "epoll: one entry for each descriptor", "bold")
    list(32, 3)
    row(60, "new", 5, "EPOLLIN"); row(88, "new dark", 7, "EPOLLIN | EPOLLOUT"); row(116, "new", 8, "EPOLLIN")
    arrow(180, 152, 180, 176, "new thick"); text(194, 168, "one event", "small")
    row(178, "new dark", 7, "EPOLLIN | EPOLLOUT")
    line(10, 220, 350, 220, "muted")
    text(10, 246, "kqueue: one knote for each filter", "bold")
    list(256, 4)
    row(284, "new", 5, "EVFILT_READ"); row(312, "new dark", 7, "EVFILT_READ")
    row(340, "new dark", 7, "EVFILT_WRITE"); row(368, "new", 8, "EVFILT_READ")
    arrow(180, 404, 180, 428, "new thick"); text(194, 420, "two events", "small")
    row(430, "new dark", 7, "EVFILT_READ, how many bytes"); row(458, "new dark", 7, "EVFILT_WRITE, how much room")
    finish()
}
function list(y, rows) { box(10, y, 340, rows * 28 + 34, "panel"); text(18, y + 19, "the kernel", "small") }
function row(y, words, fd, what, light) {
    light = style(words, "dark") ? " light" : ""
    box(18, y, 324, 24, "cell " words)
    text(28, y + 16.5, "fd " fd, "small" light)
    text(80, y + 16.5, what, "small" light)
}
