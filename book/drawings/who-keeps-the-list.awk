# Who keeps the list of descriptors: one cell for each, and one of them is ready.
BEGIN {
    N = 12; READY = 5
    start(462, "Who keeps the list: with select and poll, your program; with epoll, the kernel")
    text(10, 22, "select(), poll(): the list travels", "bold")
    area(32, 62, "the kernel"); row(60, "new")
    wide_arrow(44, 148, 97, 24, "new"); text(70, 128, "the whole list", "small")
    wide_arrow(204, 97, 148, 24, "new"); text(230, 128, "all of it, marked", "small")
    area(150, 62, "your program"); row(178, "new")
    line(10, 228, 350, 228, "muted")
    text(10, 254, "epoll: the kernel keeps it", "bold")
    area(264, 96, "the kernel"); row(292, "new")
    arrow(x_of(READY) + 12, 315, x_of(READY) + 12, 331, "new thick")
    cell(x_of(READY), 332, 24, 22, "", "new dark"); text(x_of(READY) - 8, 347.5, "ready", "small end")
    arrow(44, 412, 44, 363, "new"); text(56, 391, "a client, once", "small")
    arrow(x_of(READY) + 12, 363, x_of(READY) + 12, 412, "new thick"); text(x_of(READY) + 24, 391, "only what is ready", "small")
    area(414, 40, "your program"); cell(x_of(READY), 423, 24, 22, "", "new dark")
    finish()
}
function x_of(i) { return 19 + i * 27 }
function area(y, height, name) { box(10, y, 340, height, "panel"); text(18, y + 18, name, "small") }
function row(y, words, i) { for (i = 0; i < N; i++) cell(x_of(i), y, 24, 22, "", i == READY ? "new dark" : words) }
