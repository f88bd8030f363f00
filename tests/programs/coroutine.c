/* What a coroutine has to keep: its place, its variables, its registers, its stack to itself.
 *
 * Interface: coroutine TEST...   (`coroutine` alone names the tests)
 * Exit code: 0, all held; 1, one did not, said on stderr in one line; 2, no such test. */
#define _DEFAULT_SOURCE /* setrlimit's RLIMIT_AS is not in POSIX.1-2001's base */

#include "coroutine.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 10000
#define TURNS 5

static const char *testing;

static void need(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "coroutine: %s: not so: %s (errno: %s)\n", testing, what, strerror(errno));
    exit(1);
}

static struct coroutine *begin(void (*body)(int), int number)
{
    struct coroutine *coroutine = coroutine_new(body, number);

    need(coroutine != NULL, "there is memory for a coroutine");
    return coroutine;
}

/* Every body leaves a trace here. */
static char story[200];

static void tell(const char *format, int a, int b)
{
    size_t length = strlen(story);

    snprintf(story + length, sizeof story - length, format, a, b);
}

/* ---- order ---- */

static void three_steps(int number)
{
    for (int step = 1; step <= 3; step++) {
        tell("%d.%d ", number, step);
        coroutine_wait();
    }
    tell("%d.end ", number, 0);
}

static void test_order(void)
{
    struct coroutine *a = begin(three_steps, 1), *b = begin(three_steps, 2);

    need(story[0] == '\0', "a body begins with the first resume, not before");
    need(coroutine_resume(a), "a waits");
    need(coroutine_resume(b), "b waits");
    need(coroutine_resume(b), "b waits again");
    need(coroutine_resume(a), "a waits again");
    need(coroutine_resume(a) && !coroutine_resume(a), "after the third wait a ends");
    need(coroutine_resume(b) && !coroutine_resume(b), "after the third wait b ends");
    need(strcmp(story, "1.1 2.1 2.2 1.2 1.3 1.end 2.3 2.end ") == 0, "each goes on where it was");
}

/* ---- variables and registers: more of them than there are registers, of both kinds ---- */

static int unspoiled;

static void hold_values(int number)
{
    volatile uint64_t seed = (uint64_t)number * 0x9e3779b97f4a7c15u;
    uint64_t w[12];
    double d[12];
    char text[300];

    for (unsigned i = 0; i < 12; i++) {
        w[i] = seed + i;
        d[i] = (double)number + i / 16.0;
    }
    memset(text, number, sizeof text);
    uint64_t sum = 0;
    double real = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        coroutine_wait();
        for (unsigned i = 0; i < 12; i++) {
            sum += w[i] - seed - i;
            real += d[i] - (double)number - i / 16.0;
        }
    }
    for (size_t i = 0; i < sizeof text; i++)
        sum += text[i] != (char)number;
    unspoiled += sum == 0 && real == 0;
}

/* The values live in registers across the wait if anywhere: no loop, no array. */
static void hold_registers(int number)
{
    volatile long source = number;
    volatile double fraction = number / 3.0;
    long a = source, b = source + 1, c = source + 2, d = source + 3, e = source + 4, f = source + 5;
    double p = fraction, q = fraction * 2, r = fraction * 3, s = fraction * 4;

    for (int turn = 0; turn < TURNS; turn++)
        coroutine_wait();
    unspoiled += a == source && b == a + 1 && c == a + 2 && d == a + 3 && e == a + 4 &&
                 f == a + 5 && p == fraction && q == fraction * 2 && r == fraction * 3 &&
                 s == fraction * 4;
}

static void many(void (*body)(int), int count)
{
    struct coroutine **all = calloc((size_t)count, sizeof(struct coroutine *));
    volatile double ours = 0.5; /* the loop has registers too */

    need(all != NULL, "there is memory for the list");
    unspoiled = 0;
    for (int i = 0; i < count; i++)
        all[i] = begin(body, i + 1);
    for (int turn = 0; turn <= TURNS; turn++)
        for (int i = 0; i < count; i++) {
            ours += 1;
            need(coroutine_resume(all[i]) == (turn < TURNS),
                 "it waits, and ends after its last turn");
        }
    free(all);
    need(unspoiled == count, "every variable is as it was before the wait");
    need(ours == 0.5 + (TURNS + 1.0) * count, "the loop's variables too");
}

static void test_variables(void)
{
    many(hold_values, 200);
}

static void test_registers(void)
{
    many(hold_registers, 200);
}

/* As many as a server has clients: their stacks come and go, MAX_SPARE of them stay. */
static void test_many(void)
{
    many(hold_values, MANY);
    many(hold_registers, 3);
}

/* ---- the stack ---- */

static void print_numbers(int number)
{
    _Alignas(16) char aligned[16];
    char text[100];

    need((uintptr_t)aligned % 16 == 0, "the stack is aligned as the compiler expects");
    coroutine_wait();
    snprintf(text, sizeof text, "%.3f %.3Lf %d", number / 8.0, (long double)number / 4, number);
    need(strcmp(text, "0.875 1.750 7") == 0, "printf() works there, floating point and all");
}

static void test_alignment(void)
{
    struct coroutine *coroutine = begin(print_numbers, 7);

    need(coroutine_resume(coroutine) && !coroutine_resume(coroutine), "one wait, then the end");
}

/* Not a tail call, so every turn takes a piece of the stack: in all more than one stack, and less
 * than the neighbours have. */
#define PIECES 200

static int sink(int level)
{
    volatile char piece[512];

    piece[0] = (char)level;
    return level == PIECES ? piece[0] : sink(level + 1) + piece[0];
}

static void overflow(int number)
{
    tell("%d came back with %d", number, sink(0));
}

/* A stack that grows too far ends the process at once.  Without the guard it would come back, and
 * the bytes of the neighbours below would be its own. */
static void test_guard(void)
{
    pid_t child = fork();
    int status;

    need(child != -1, "fork");
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        struct coroutine *coroutine = begin(overflow, 0);
        for (int i = 0; i < 8; i++) /* the kernel maps each below the one before */
            begin(three_steps, i);
        coroutine_resume(coroutine);
        _exit(0);
    }
    need(waitpid(child, &status, 0) == child, "waitpid");
    need(WIFSIGNALED(status), "the process was ended by a signal");
    need(WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS, "and the signal was SIGSEGV");
}

static volatile sig_atomic_t signals;

static void count_signal(int signal_number)
{
    char room[2000]; /* a handler uses the stack that it interrupts */

    memset(room, signal_number, sizeof room);
    signals += room[sizeof room - 1] == signal_number;
}

static void raise_often(int number)
{
    for (int i = 0; i < number; i++) {
        raise(SIGUSR1);
        coroutine_wait();
    }
}

static void test_signals(void)
{
    struct coroutine *coroutine = begin(raise_often, 50);

    signal(SIGUSR1, count_signal);
    while (coroutine_resume(coroutine))
        raise(SIGUSR1);
    need(signals == 100, "a handler runs on whichever stack it interrupts");
}

/* ---- shortage: NULL, and then it works again ---- */

static void nothing(int number)
{
    tell("%d", number, 0);
}

static void test_shortage(void)
{
    struct rlimit limit, none;
    struct coroutine *kept[200];
    int count = 0;

    getrlimit(RLIMIT_AS, &limit);
    none = limit;
    none.rlim_cur = 1; /* not a byte more than there is */
    need(setrlimit(RLIMIT_AS, &none) == 0, "setrlimit");
    while (count < 200 && (kept[count] = coroutine_new(nothing, 0)) != NULL)
        count++;
    int error = errno;
    setrlimit(RLIMIT_AS, &limit);
    need(count < 200, "without memory there is no coroutine");
    need(error == ENOMEM, "and errno says ENOMEM");
    while (count > 0)
        need(!coroutine_resume(kept[--count]), "those that were made can run");
    need(!coroutine_resume(begin(nothing, 0)), "and with memory there is one again");
}

/* ---- for strace: switches, and between two marks nothing else ---- */

static void go_round(int number)
{
    while (number-- > 0)
        coroutine_wait();
}

static void test_switch(void)
{
    struct coroutine *coroutine = begin(go_round, 1000);

    coroutine_resume(coroutine);
    ssize_t written = write(STDOUT_FILENO, "begin\n", 6);
    while (coroutine_resume(coroutine))
        ;
    written += write(STDOUT_FILENO, "end\n", 4);
    need(written == 10, "write");
}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {{"order", test_order},         {"variables", test_variables}, {"many", test_many},
             {"registers", test_registers}, {"alignment", test_alignment}, {"guard", test_guard},
             {"signals", test_signals},     {"shortage", test_shortage},   {"switch", test_switch}};

static bool run(const char *name)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (strcmp(tests[i].name, name) != 0)
            continue;
        testing = name;
        story[0] = '\0';
        tests[i].run();
        coroutine_tidy();
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
            puts(tests[i].name);
    for (int i = 1; i < argc; i++)
        if (!run(argv[i])) {
            fprintf(stderr, "coroutine: no such test: %s\n", argv[i]);
            return 2;
        }
    return 0;
}
