# machine.awk: the machine of a stage, after draw.awk.  -v stage=1 to 7; 0 is the whole picture, for the introduction.
#
# All eight show the same moment: A and C are idle, and B has sent five bytes, which wait in its socket.
# Clients, card and sockets are drawn alike in all of them; what a stage keeps and where, is not.
BEGIN {
    TOP = 46        # of the kernel
    KEEPS = 152     # where the kernel's part of the mechanism begins
    CALLS = 240     # between the kernel and the program
    PROGRAM = 296   # of the program
    BOTTOM = 452
    split("L A B C", NAME, " ")
    for (i = 1; i <= 4; i++) { LEFT[i] = i == 1 ? 18 : 98 + (i - 2) * 84; WIDTH[i] = i == 1 ? 70 : 76; MIDDLE[i] = LEFT[i] + WIDTH[i] / 2 }

    start(482, about(stage))
    clients()
    box(10, TOP, 340, CALLS - TOP, "panel")
    box(10, PROGRAM, 340, BOTTOM - PROGRAM, "panel")
    text(18, BOTTOM - 9, "your program", "bold")
    sockets()
    if (stage == 0) whole()
    if (stage == 1) threads()
    if (stage == 2) bit_sets()
    if (stage == 3) array()
    if (stage == 4) lists(1)
    if (stage == 5) knotes()
    if (stage == 6) { selector(); lists(0) }
    if (stage == 7) { lists(0); coroutines() }
    legend()
    finish()
}
function about(stage) {
    if (stage == 0) return "The machine: clients, the kernel with its buffers and its list, and the program with its wait"
    if (stage == 1) return "Stage 01: a thread waits for each client, and the kernel keeps no list"
    if (stage == 2) return "Stage 02: one thread; a bit set is copied to the kernel with each call, and the result overwrites the copy"
    if (stage == 3) return "Stage 03: one thread; an array is copied to the kernel with each call, and copied back"
    if (stage == 4) return "Stage 04: the kernel keeps an interest list and a ready list, and a wait returns only what is ready"
    if (stage == 5) return "Stage 05: the kernel keeps a knote for each descriptor and filter, and an event says how many bytes wait"
    if (stage == 6) return "Stage 06: the program has a selector, with a key for each descriptor, over one of four back ends"
    return "Stage 07: a coroutine for each client, with a stack of its own, all in one thread"
}
function clients(i) {
    text(18, 27, "clients", "bold")
    for (i = 2; i <= 4; i++)
        cell(LEFT[i], 10, WIDTH[i], 24, NAME[i] (i == 3 ? " sends" : " is idle"), i == 3 ? "dark" : "")
}
function sockets(i) {
    text(18, TOP + 21, "kernel", "bold")
    for (i = 2; i <= 4; i++) {
        if (i == 3) arrow(MIDDLE[i], 34, MIDDLE[i], 56, "bytes thick")
        else line(MIDDLE[i], 34, MIDDLE[i], 56, "muted")
        if (i == 3) arrow(MIDDLE[i], 76, MIDDLE[i], 90, "bytes thick")
        else line(MIDDLE[i], 76, MIDDLE[i], 90, "muted")
    }
    cell(98, 54, 244, 22, "network card, IP, TCP", stage == 7 ? "new" : "")
    box(LEFT[1], 90, WIDTH[1], 56, "plain")
    text(MIDDLE[1], 105, "listener L", "middle small")
    text(MIDDLE[1], 121, "backlog", "middle small muted")
    for (i = 0; i < 3; i++) box(MIDDLE[1] - 21.5 + i * 15, 127, 13, 13, "cell")
    for (i = 2; i <= 4; i++) {
        box(LEFT[i], 90, WIDTH[i], 56, "plain")
        text(MIDDLE[i], 105, "socket " NAME[i], "middle small")
        text(LEFT[i] + 7, 122, "in", "small muted")
        bytes(LEFT[i] + 32, 112, 38, 12, i == 3 ? 5 : 0, 6)
        text(LEFT[i] + 7, 139, "out", "small muted")
        bytes(LEFT[i] + 32, 129, 38, 12, 0, 6)
    }
}
function legend() {
    box(10, 462, 14, 12, "new cell")
    text(30, 472.5, stage == 0 ? "differs" : "new", "small")
    printf "<rect x=\"84\" y=\"463.5\" width=\"5\" height=\"9\" fill=\"%s\"/>\n", BYTES
    text(94, 472.5, "bytes", "small")
    text(140, 472.5, "in, out: receive and send buffer", "small")
}
function whole() {
    box(18, KEEPS + 8, 324, 72, "new")
    text(180, KEEPS + 39, "the list of what to wait for:", "middle")
    text(180, KEEPS + 57, "here, or in your program", "middle")
    arrow(60, CALLS + 54, 60, CALLS + 2, ""); text(70, CALLS + 24, "wait:", "small"); text(70, CALLS + 40, "what is ready?", "small")
    arrow(180, CALLS + 2, 180, CALLS + 54, ""); text(190, CALLS + 33, "B is ready", "small")
    arrow(262, CALLS + 54, 262, CALLS + 2, ""); arrow(276, CALLS + 2, 276, CALLS + 54, "")
    text(284, CALLS + 24, "accept,", "small"); text(284, CALLS + 40, "recv, send", "small")
    box(18, PROGRAM + 8, 324, 34, "new")
    text(180, PROGRAM + 29.5, "the wait: sleep until a descriptor is ready", "middle")
    box(18, PROGRAM + 52, 324, 34, "plain")
    text(180, PROGRAM + 73.5, "the loop: accept, receive, send, close", "middle")
    box(18, PROGRAM + 96, 324, 30, "plain")
    text(180, PROGRAM + 115.5, "each client: the bytes not yet sent", "middle")
}
function threads(i, y) {
    text(342, BOTTOM - 9, "a thread for each client", "end new")
    for (i = 1; i <= 4; i++) {
        if (i == 3) arrow(MIDDLE[i], 147, MIDDLE[i], PROGRAM + 8, "new thick")
        else line(MIDDLE[i], 147, MIDDLE[i], PROGRAM + 7, "muted dashed")
    }
    for (i = 1; i <= 4; i++) {
        box(LEFT[i], PROGRAM + 8, WIDTH[i], 118, "new")
        text(MIDDLE[i], PROGRAM + 28, i == 1 ? "main" : "thread " NAME[i], "middle small bold")
        cell(LEFT[i] + 6, PROGRAM + 38, WIDTH[i] - 12, 22, i == 1 ? "accept()" : "recv()", i == 3 ? "new dark" : "")
        text(MIDDLE[i], PROGRAM + 78, i == 3 ? "wakes up" : "sleeps", "middle small")
        for (y = 0; y < 3; y++) box(LEFT[i] + 14, PROGRAM + 86 + y * 11, WIDTH[i] - 28, 9, "cell")
    }
}
function one_thread() { text(342, BOTTOM - 9, "one thread", "end" (stage == 2 ? " new" : "")) }
function bits(y, all, i, on) {
    for (i = 0; i < 10; i++) {
        on = i >= 5 && i <= 8 && (all || i == 7)
        cell(18 + i * 25, y, 22, 20, on ? NAME[i - 4] : "", !on ? "" : i == 7 ? "new dark" : "new")
    }
    text(342, y + 14, "... 1023", "small end")
}
# The call carries all of it up, and all of it down again.
function both_ways(up1, up2, down1, down2) {
    wide_arrow(38, PROGRAM - 2, CALLS + 2, 24, "new")
    text(64, CALLS + 25, up1, "small"); text(64, CALLS + 41, up2, "small")
    wide_arrow(208, CALLS + 2, PROGRAM - 2, 24, "new")
    text(234, CALLS + 25, down1, "small"); text(234, CALLS + 41, down2, "small")
}
function loop(s, words) { cell(18, PROGRAM + 98, 324, 26, s, words) }
function bit_sets(i) {
    one_thread()
    bits(KEEPS + 42, 1)
    for (i = 1; i <= 4; i++) arrow(129 + i * 25, KEEPS + 41, MIDDLE[i], 148, "new") # each socket is asked
    text(18, KEEPS + 79, "a copy of the set: each socket is asked", "small")
    both_ways("select():", "the whole set", "the whole set,", "overwritten")
    text(18, PROGRAM + 18, "the bit set, which the program keeps", "small")
    bits(PROGRAM + 24, 1)
    text(18, PROGRAM + 61, "its copy, after the call", "small")
    bits(PROGRAM + 67, 0)
    loop("test every bit; B: recv, send", "new")
}
function entries(y, reported, i) {
    for (i = 1; i <= 4; i++) {
        cell(LEFT[i], y, WIDTH[i], 20, NAME[i] ", IN", i == 3 && reported ? "new dark" : "new")
        cell(LEFT[i], y + 20, WIDTH[i], 20, !reported ? "" : i == 3 ? "IN" : "0", i == 3 && reported ? "new dark" : "new")
    }
}
function array(i) {
    one_thread()
    entries(KEEPS + 22, 0)
    for (i = 1; i <= 4; i++) arrow(MIDDLE[i], KEEPS + 21, MIDDLE[i], 148, "new")
    text(18, KEEPS + 79, "a copy of the array: each socket is asked", "small")
    both_ways("poll(): the", "whole array", "the whole array,", "results filled in")
    text(18, PROGRAM + 22, "the array, of any length", "small")
    entries(PROGRAM + 30, 1)
    text(18, PROGRAM + 85, "above: what to wait for; below: the result", "small")
    loop("test every entry; B: recv, send", "new")
}
# What epoll keeps; in stages 06 and 07 it is nothing new.
function lists(is_new, words) {
    words = is_new ? "new" : ""
    kept("interest list", "", "ready list", "B", words)
    small_calls("epoll_ctl():", "once per client", "epoll_wait():", "only B", words, PROGRAM + (is_new ? 22 : stage == 6 ? 9 : 5))
    if (!is_new) return
    one_thread()
    text(18, PROGRAM + 38, "the result", "small")
    cell(LEFT[3], PROGRAM + 23, WIDTH[3], 24, "B", "new dark")
    arrow(MIDDLE[3], PROGRAM + 48, MIDDLE[3], PROGRAM + 97, "new")
    loop("only B: recv, send", "new")
}
function kept(first, filter, second, ready, words, i) {
    text(18, KEEPS + 13, first, "small")
    for (i = 1; i <= 4; i++) {
        if (i > 1) line(MIDDLE[i], 147, MIDDLE[i], KEEPS + 19, i == 3 ? words " thick" : "muted")
        cell(LEFT[i], KEEPS + 19, WIDTH[i], 20, NAME[i] filter, words)
    }
    arrow(MIDDLE[3], KEEPS + 40, MIDDLE[3], KEEPS + 58, words " thick")
    text(MIDDLE[3] + 10, KEEPS + 53, "it has data", "small")
    text(18, KEEPS + 73, second, "small")
    cell(LEFT[3], KEEPS + 59, WIDTH[3], 20, ready, words " dark")
}
function small_calls(up1, up2, down1, down2, words, end) {
    arrow(34, PROGRAM - 2, 34, CALLS + 2, words)
    text(46, CALLS + 25, up1, "small"); text(46, CALLS + 41, up2, "small")
    arrow(MIDDLE[3], CALLS + 2, MIDDLE[3], end, words " thick")
    text(MIDDLE[3] + 12, CALLS + 25, down1, "small"); text(MIDDLE[3] + 12, CALLS + 41, down2, "small")
}
function knotes() {
    one_thread()
    kept("knotes", ", READ", "ready", "B, READ", "new")
    small_calls("kevent():", "several changes", "kevent():", "only B, 5 bytes", "new", PROGRAM + 22)
    text(18, PROGRAM + 38, "the result", "small")
    cell(LEFT[3], PROGRAM + 23, WIDTH[3], 24, "B, READ, 5", "new dark")
    arrow(MIDDLE[3], PROGRAM + 48, MIDDLE[3], PROGRAM + 97, "muted")
    loop("only B: recv, send", "")
}
function selector(i) {
    one_thread()
    split("select poll epoll kqueue", BACK_END, " ")
    box(14, PROGRAM + 4, 332, 84, "new")
    for (i = 1; i <= 4; i++) {
        cell(LEFT[i], PROGRAM + 10, WIDTH[i], 20, BACK_END[i], i == 3 ? "dark new" : "")
        cell(LEFT[i], PROGRAM + 62, WIDTH[i], 20, NAME[i] ", " (i == 1 ? "accept" : "echo"), i == 3 ? "dark new" : "")
    }
    text(20, PROGRAM + 51, "keys, with callbacks", "small")
    text(340, PROGRAM + 51, "the selector", "small bold end")
    arrow(MIDDLE[3], PROGRAM + 31, MIDDLE[3], PROGRAM + 61, "new thick")
    arrow(MIDDLE[3], PROGRAM + 82, MIDDLE[3], PROGRAM + 98, "new thick")
    loop("the callback of B: recv, send", "new")
}
function coroutines(i) {
    text(342, BOTTOM - 9, "one thread, many stacks", "end new")
    cell(18, PROGRAM + 6, 324, 24, "the loop: epoll_wait(), then resume B", "")
    for (i = 1; i <= 4; i++) {
        box(LEFT[i], PROGRAM + 54, WIDTH[i], 72, "new")
        text(MIDDLE[i], PROGRAM + 71, "stack " NAME[i], "middle small bold")
        cell(LEFT[i] + 6, PROGRAM + 79, WIDTH[i] - 12, 22, i == 1 ? "accept" : "receive", i == 3 ? "new dark" : "")
        box(LEFT[i] + 14, PROGRAM + 109, WIDTH[i] - 28, 9, "cell")
    }
    arrow(MIDDLE[3] - 8, PROGRAM + 31, MIDDLE[3] - 8, PROGRAM + 53, "new thick")
    arrow(MIDDLE[3] + 8, PROGRAM + 53, MIDDLE[3] + 8, PROGRAM + 31, "new thick")
    text(MIDDLE[3] + 20, PROGRAM + 47, "the switch", "small")
}
