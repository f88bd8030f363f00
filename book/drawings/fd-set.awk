# The bit set of stage 02 with the descriptors of its tour, before a call of select() and after it.
BEGIN {
    split("pipe|-|listener|A|B|C", WHAT, "|") # of the descriptors 3 to 8
    start(346, "An fd_set before select(): bits 3, 5, 6, 7 and 8 are set. After it: only bit 7. There is no bit 1,024")
    text(10, 22, "before: wait for these five", "bold")
    set(32, "101111")
    line(14, 106, 298, 106, "new"); line(14, 102, 14, 110, "new"); line(298, 102, 298, 110, "new")
    text(156, 124, "the kernel looks at 9 bits: highest + 1", "middle small new")
    arrow(36, 136, 36, 172, ""); text(50, 159, "select(9, &set, NULL, NULL, NULL)", "small")
    text(10, 196, "after: B is readable", "bold")
    set(206, "000010")
    text(10, 294, "and the end of the set:", "small")
    for (i = 0; i < 4; i++) { text(34 + i * 44, 312, 1020 + i, "middle small muted"); cell(14 + i * 44, 317, 40, 18, "0", "muted") }
    text(210, 312, "1024", "middle small new"); box(190, 317, 40, 18, "new ghost")
    text(238, 330.5, "no such bit", "small new")
    finish()
}
# Bits 0 to 9; `bits` are those of the descriptors 3 to 8.
function set(y, bits, fd, on) {
    for (fd = 0; fd < 10; fd++) {
        on = fd >= 3 && substr(bits, fd - 2, 1) == 1
        text(28 + fd * 32, y + 11, fd, "middle small muted")
        cell(14 + fd * 32, y + 16, 28, 24, on ? 1 : 0, on ? (fd == 7 ? "new dark" : "new") : "muted")
        if (on && bits == "101111" && fd == 5) text(28 + fd * 32 + 13, y + 56, "listener", "small end")
        else if (on) text(28 + fd * 32, y + 56, WHAT[fd - 2], "middle small")
    }
    text(334, y + 33, "...", "small")
}
