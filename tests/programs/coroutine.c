/* Unit tests of coroutines: each continues where it yielded, and keeps its variables, its registers
 * and its own stack.
 *
 * Usage: coroutine TEST...   (without arguments, it lists the tests)
 * Exit code: 0 if all tests passed; 1 if one failed, with one line on stderr; 2 for an unknown
 * test. */
#define _GNU_SOURCE /* MAP_ANONYMOUS, RLIMIT_AS and SA_ONSTACK are not all in POSIX.1-2008 */

#include "coroutine.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 10000
#define YIELDS 5

static const char *test_name;

static void check(bool holds, const char *expected)
{
    if (holds)
        return;
    fprintf(stderr, "coroutine: %s: expected: %s (errno: %s)\n", test_name, expected,
            strerror(errno));
    exit(1);
}

static struct coroutine *create(void (*body)(int), int argument)
{
    struct coroutine *coroutine = coroutine_new(body, argument);

    check(coroutine != NULL, "coroutine_new() finds memory for a stack");
    return coroutine;
}

/* The bodies append what they do to this log. */
static char log_text[200];

static void log_append(const char *format, int a, int b)
{
    size_t length = strlen(log_text);

    snprintf(log_text + length, sizeof log_text - length, format, a, b);
}

static void log_number(int number)
{
    log_append("%d", number, 0);
}

/* ---- order ---- */

static void take_three_steps(int number)
{
    for (int step = 1; step <= 3; step++) {
        log_append("%d.%d ", number, step);
        coroutine_yield();
    }
    log_append("%d.end ", number, 0);
}

static void test_order(void)
{
    struct coroutine *a = create(take_three_steps, 1), *b = create(take_three_steps, 2);

    check(log_text[0] == '\0', "a body starts with the first resume, not before");
    check(coroutine_resume(a), "a yields");
    check(coroutine_resume(b), "b yields");
    check(coroutine_resume(b), "b yields again");
    check(coroutine_resume(a), "a yields again");
    check(coroutine_resume(a) && !coroutine_resume(a), "a returns after its third yield");
    check(coroutine_resume(b) && !coroutine_resume(b), "b returns after its third yield");
    check(strcmp(log_text, "1.1 2.1 2.2 1.2 1.3 1.end 2.3 2.end ") == 0,
          "each coroutine continues where it yielded");
}

/* ---- variables and registers ---- */

static int unchanged; /* how many coroutines found all their values unchanged */

/* More values than the processor has registers, integers and floating-point numbers. */
static void keep_values(int number)
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
    for (int yields = 0; yields < YIELDS; yields++) {
        coroutine_yield();
        for (unsigned i = 0; i < 12; i++) {
            sum += w[i] - seed - i;
            real += d[i] - (double)number - i / 16.0;
        }
    }
    for (size_t i = 0; i < sizeof text; i++)
        sum += text[i] != (char)number;
    unchanged += sum == 0 && real == 0;
}

/* Values that the compiler keeps in registers across the yield if it can: no loop, no array. */
static void keep_registers(int number)
{
    volatile long source = number;
    volatile double fraction = number / 3.0;
    long a = source, b = source + 1, c = source + 2, d = source + 3, e = source + 4, f = source + 5;
    double p = fraction, q = fraction * 2, r = fraction * 3, s = fraction * 4;

    for (int yields = 0; yields < YIELDS; yields++)
        coroutine_yield();
    unchanged += a == source && b == a + 1 && c == a + 2 && d == a + 3 && e == a + 4 &&
                 f == a + 5 && p == fraction && q == fraction * 2 && r == fraction * 3 &&
                 s == fraction * 4;
}

static void run_many(void (*body)(int), int count)
{
    struct coroutine **all = calloc((size_t)count, sizeof(struct coroutine *));
    volatile double own = 0.5; /* the event loop has registers too */

    check(all != NULL, "memory for the list");
    unchanged = 0;
    for (int i = 0; i < count; i++) {
        all[i] = coroutine_new(body, i + 1);
        if (all[i] == NULL && errno == ENOMEM && i >= 1000)
            count = i; /* vm.max_map_count or another limit of this machine */
        else
            check(all[i] != NULL, "coroutine_new() finds memory for a stack");
    }
    for (int yields = 0; yields <= YIELDS; yields++)
        for (int i = 0; i < count; i++) {
            own += 1;
            check(coroutine_resume(all[i]) == (yields < YIELDS),
                  "it yields, and returns after its last yield");
        }
    free(all);
    check(unchanged == count, "no variable changes across a yield");
    check(own == 0.5 + (YIELDS + 1.0) * count, "the event loop's variables do not change either");
}

static void test_variables(void)
{
    run_many(keep_values, 200);
}

static void test_registers(void)
{
    run_many(keep_registers, 200);
}

/* As many as a busy server has clients.  Stacks are mapped and unmapped; MAX_FREE stay cached. */
static void test_many(void)
{
    run_many(keep_values, MANY);
    run_many(keep_registers, 3);
}

/* ---- the stack ---- */

static void print_numbers(int number)
{
    _Alignas(16) char aligned[16];
    char text[100];

    check((uintptr_t)aligned % 16 == 0, "the stack is aligned as the compiler expects");
    coroutine_yield();
    snprintf(text, sizeof text, "%.3f %.3Lf %d", number / 8.0, (long double)number / 4, number);
    check(strcmp(text, "0.875 1.750 7") == 0,
          "snprintf() works on this stack, with floating-point numbers");
}

static void test_alignment(void)
{
    struct coroutine *coroutine = create(print_numbers, 7);

    check(coroutine_resume(coroutine) && !coroutine_resume(coroutine),
          "it yields once and then returns");
}

/* Each level takes more than 512 bytes of the stack and less than a page.  It uses the array of the
 * level above, so the compiler can neither turn the recursion into a loop nor omit the array. */
#define LEVELS 2000

static int overflow_stack(int level, volatile char *above)
{
    volatile char local[512];

    local[0] = (char)level;
    int sum = level == LEVELS ? 0 : overflow_stack(level + 1, local);
    return sum + above[0];
}

static uintptr_t frame_address; /* of a function on the coroutine's stack */

static void overflow(int number)
{
    volatile char local = (char)number;

    frame_address = (uintptr_t)__builtin_frame_address(0); /* &local may be a sanitizer's copy */
    coroutine_yield();
    overflow_stack(0, &local);
}

struct mapping {
    unsigned long start, end;
    char access[5]; /* such as "rw-p" */
    unsigned long inode;
};

/* Find the mapping that contains the address.  Returns false if nothing is mapped there. */
static bool find_mapping(unsigned long address, struct mapping *found)
{
    FILE *file = fopen("/proc/self/maps", "r");
    char line[5000];
    bool contains = false;

    check(file != NULL, "/proc/self/maps can be read");
    while (!contains && fgets(line, sizeof line, file) != NULL)
        contains = sscanf(line, "%lx-%lx %4s %*s %*s %lu", &found->start, &found->end,
                          found->access, &found->inode) == 4 &&
                   found->start <= address && address < found->end;
    fclose(file);
    return contains;
}

static unsigned long guard_start, guard_end;

/* SEGV_ACCERR means that the page is mapped without access; unmapped memory gives SEGV_MAPERR. */
static void on_overflow(int signal_number, siginfo_t *info, void *context)
{
    unsigned long address = (unsigned long)(uintptr_t)info->si_addr;

    (void)signal_number, (void)context;
    _exit(guard_start <= address && address < guard_end && info->si_code == SEGV_ACCERR ? 0 : 2);
}

/* The overflowing stack cannot hold the frame of the handler. */
static void handle_overflow(void)
{
    static char handler_stack[65536];
    stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack};
    struct sigaction action = {.sa_sigaction = on_overflow, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    check(sigaltstack(&stack, NULL) == 0, "sigaltstack() succeeds");
    check(sigaction(SIGSEGV, &action, NULL) == 0, "sigaction() succeeds");
}

/* What lies below a stack depends on where the kernel maps it: the next stack, a library or
 * nothing.  Without the guard page an overflow is silent in the first case only.  So the test
 * establishes each case itself, independently of the kernel's choice. */
enum below_guard { UNMAPPED, WRITABLE };
#define SPACERS 20

/* Find the guard page of the coroutine, which yields before it overflows. */
static void find_guard(struct coroutine *coroutine)
{
    unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
    struct mapping stack, guard;

    check(coroutine_resume(coroutine), "it yields before it overflows");
    check(find_mapping(frame_address, &stack), "the stack is in /proc/self/maps");
    guard_start = stack.start - page;
    guard_end = stack.start;
    check(find_mapping(guard_start, &guard) && strcmp(guard.access, "---p") == 0 &&
              guard.inode == 0,
          "the page below the stack is a guard page: anonymous memory without access");
}

static void map_below_guard(void)
{
    size_t page = guard_end - guard_start;
    void *wanted = (void *)(guard_start - page); /* a free page, so the kernel follows the hint */
    void *mapped = mmap(wanted, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    check(mapped == wanted, "mmap() uses the page below the guard page");
}

/* Create a coroutine with unmapped or writable memory below its guard page.  The kernel may place a
 * new stack below the previous one, above it, or in a hole between other mappings.  So stacks and
 * spacers alternate, and when the spacers are unmapped, they leave holes. */
static struct coroutine *create_above(enum below_guard wanted)
{
    struct coroutine *spacers[SPACERS], *coroutines[SPACERS];
    struct mapping below;

    for (int i = 0; i < SPACERS; i++) {
        spacers[i] = create(log_number, i);
        coroutines[i] = create(overflow, i);
    }
    for (int i = 0; i < SPACERS; i++)
        coroutine_resume(spacers[i]);
    coroutine_cleanup();
    for (int i = 0; i < SPACERS; i++) {
        find_guard(coroutines[i]);
        if (find_mapping(guard_start - 1, &below))
            continue;
        if (wanted == WRITABLE)
            map_below_guard();
        return coroutines[i];
    }
    check(false, "a stack with unmapped memory below it");
    return NULL;
}

/* The child's exit code is 0 if the overflow hit the guard page, 1 if check() failed, 2 if the
 * fault was elsewhere, 3 if there was no fault. */
static void check_guard(enum below_guard below)
{
    pid_t child = fork();
    int status;

    check(child != -1, "fork() succeeds");
    if (child == 0) {
        struct coroutine *coroutine = create_above(below);
        handle_overflow();
        coroutine_resume(coroutine);
        _exit(3);
    }
    check(waitpid(child, &status, 0) == child, "waitpid() succeeds");
    check(WIFEXITED(status), "the child exits");
    if (WEXITSTATUS(status) == 1)
        exit(1); /* the child has printed why */
    check(WEXITSTATUS(status) != 3, "an overflow raises SIGSEGV");
    check(WEXITSTATUS(status) == 0, "the overflow faults in the guard page, not beyond it");
}

static void test_guard(void)
{
    check_guard(UNMAPPED);
    check_guard(WRITABLE);
}

static volatile sig_atomic_t signals;

static void count_signal(int signal_number)
{
    char local[2000]; /* a handler runs on the stack that it interrupts */

    memset(local, signal_number, sizeof local);
    signals += local[sizeof local - 1] == signal_number;
}

static void raise_and_yield(int number)
{
    for (int i = 0; i < number; i++) {
        raise(SIGUSR1);
        coroutine_yield();
    }
}

static void test_signals(void)
{
    struct coroutine *coroutine = create(raise_and_yield, 50);

    signal(SIGUSR1, count_signal);
    while (coroutine_resume(coroutine))
        raise(SIGUSR1);
    check(signals == 100, "a handler runs on whichever stack it interrupts");
}

/* ---- memory shortage: coroutine_new() returns NULL, and works again afterwards ---- */

static void test_shortage(void)
{
    struct rlimit limit, no_more;
    struct coroutine *created[200];
    int count = 0;

    getrlimit(RLIMIT_AS, &limit);
    no_more = limit;
    no_more.rlim_cur = 1; /* no further mapping */
    check(setrlimit(RLIMIT_AS, &no_more) == 0, "setrlimit");
    while (count < 200 && (created[count] = coroutine_new(log_number, 0)) != NULL)
        count++;
    int error = errno;
    setrlimit(RLIMIT_AS, &limit);
    check(count < 200, "coroutine_new() fails without memory");
    check(error == ENOMEM, "errno is ENOMEM");
    while (count > 0)
        check(!coroutine_resume(created[--count]), "coroutines that exist can run");
    check(!coroutine_resume(create(log_number, 0)), "coroutine_new() works again with memory");
}

/* ---- for strace: 1000 switches between two marks in the trace, and nothing else ---- */

static void yield_often(int number)
{
    while (number-- > 0)
        coroutine_yield();
}

static void test_switch(void)
{
    struct coroutine *coroutine = create(yield_often, 1000);

    coroutine_resume(coroutine);
    ssize_t written = write(STDOUT_FILENO, "begin\n", 6);
    while (coroutine_resume(coroutine))
        ;
    written += write(STDOUT_FILENO, "end\n", 4);
    check(written == 10, "write");
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
        test_name = name;
        log_text[0] = '\0';
        tests[i].run();
        coroutine_cleanup();
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
            fprintf(stderr, "coroutine: there is no test \"%s\"\n", argv[i]);
            return 2;
        }
    return 0;
}
