# Entry 4 of seven is removed: the last one moves into its place.  In a loop that runs up, and in one that runs down.
BEGIN {
    start(426, "A loop that runs upwards removes entry 4, the last entry moves to 4, and the loop continues at 5: G is skipped. Downwards, G has been served")
    text(10, 22, "the loop runs upwards", "bold")
    row(30, "ABCDEFG", 4, 1, "E is removed; the last entry moves to 4"); moved(30)
    row(124, "ABCDGF", 5, 1, "the loop continues at 5: G is skipped")
    text(10, 224, "the loop runs downwards", "bold")
    row(232, "ABCDEFG", 4, -1, "E is removed; the last entry moves to 4"); moved(232)
    row(326, "ABCDGF", 3, -1, "the loop continues at 3: nothing is skipped")
    box(10, 404, 14, 12, "cell panel"); text(30, 414.5, "served", "small")
    box(92, 404, 14, 12, "cell dark"); text(112, 414.5, "being served", "small")
    box(212, 404, 14, 12, "cell new"); text(232, 414.5, "skipped", "small")
    finish()
}
function x_of(k) { return 10 + k * 49 }
function row(y, names, i, way, s, k, name, served) {
    for (k = 0; k < length(names); k++) {
        name = substr(names, k + 1, 1)
        served = name == "G" ? way < 0 : (k - i) * way < 0
        text(x_of(k) + 20, y + 12, k, "middle small muted")
        cell(x_of(k), y + 17, 40, 26, name, k == i ? "dark" : served ? "panel" : name == "G" && length(names) == 6 ? "new" : "")
    }
    text(10, y + (length(names) == 7 ? 80 : 62), s, "small " (way > 0 && i == 5 ? "new" : ""))
}
# The way of the last entry to place 4.
function moved(y) {
    path(sprintf("M%g %gv8q0 8 -8 8H%gq-8 0 -8 -8v-2", x_of(6) + 20, y + 44, x_of(4) + 28), "thick")
    head(x_of(4) + 20, y + 44, 0, -1, "")
}
