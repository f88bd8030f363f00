# The switch of stage 07, from the loop to the coroutine of a client: coroutine.c on x86-64.
BEGIN {
    split("main()|serve()|resume_coroutine()|coroutine_resume()|switch_stacks()", LOOP, "|")
    split("coroutine_entry()|serve_client()|receive()|wait_ready()|coroutine_yield()|switch_stacks()", CLIENT, "|")
    start(414, "Two stacks: the switch saves six registers on the loop's stack, points the stack pointer at the coroutine's stack, and loads its six registers")
    stack(10, "the loop's stack", LOOP, 5)
    stack(190, "the coroutine's stack", CLIENT, 6)
    cell(116, 266, 128, 24, "stack pointer", "")
    path("M116 278H90V210", "muted dashed"); head(90, 204, 0, -1, "muted"); text(82, 254, "before", "small muted end")
    path("M244 278H270V234", "new thick"); head(270, 228, 0, -1, "new"); text(280, 258, "after", "small new")
    box(10, 306, 340, 98, "panel")
    text(20, 327, "the switch", "bold")
    step(1, 346, "save six registers on the loop's stack")
    step(2, 366, "point the stack pointer at the other stack")
    step(3, 386, "load six registers from there, and return")
    finish()
}
# The frames of the functions that have not returned, and below them what the switch has saved.
function stack(x, name, frames, n, k) {
    text(x, 22, name, "bold")
    for (k = 1; k <= n; k++)
        cell(x, 32 + (k - 1) * 24, 160, 24, frames[k], "")
    cell(x, 32 + n * 24, 160, 24, "return address", "new")
    cell(x, 56 + n * 24, 160, 24, "six registers", "new")
}
function step(n, y, s) { text(20, y, n ".", "small bold new"); text(40, y, s, "small") }
