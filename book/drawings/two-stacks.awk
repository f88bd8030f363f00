# The switch of stage 07, from the loop to the coroutine of a client: coroutine.c on x86-64.
BEGIN {
    split("main()|serve()|resume_coroutine()|coroutine_resume()|context_switch()", LOOP, "|")
    split("coroutine_entry()|serve_client()|receive()|wait_ready()|coroutine_yield()|context_switch()", CLIENT, "|")
    start(400, "Two stacks: the switch saves six registers on the loop's stack, points the stack pointer at the coroutine's stack, and loads its six registers")
    stack(10, "the loop's stack", LOOP, 5)
    stack(190, "the coroutine's stack", CLIENT, 6)
    cell(116, 254, 128, 24, "stack pointer", "")
    path("M116 266H90V196", "muted dashed"); head(90, 190, 0, -1, "muted"); text(82, 252, "before", "small muted end")
    path("M244 266H270V222", "new thick"); head(270, 216, 0, -1, "new"); text(280, 252, "after", "small new")
    box(10, 294, 340, 98, "panel")
    text(20, 315, "the switch", "bold")
    step(1, 334, "save six registers on the loop's stack")
    step(2, 354, "point the stack pointer at the other stack")
    step(3, 374, "load six registers from there, and return")
    finish()
}
function stack(x, name, frames, n, k) {
    text(x, 22, name, "bold")
    for (k = 1; k <= n; k++)
        cell(x, 32 + (k - 1) * 26, 160, 26, frames[k], "")
    cell(x, 32 + n * 26, 160, 26, "six registers", "new")
}
function step(n, y, s) { text(20, y, n ".", "small bold new"); text(40, y, s, "small") }
