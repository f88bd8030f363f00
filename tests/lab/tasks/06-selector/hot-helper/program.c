/* A worker hands a connection to a helper: a duplicate of its descriptor, as the helper would
 * inherit it with fork().  Then the worker closes its own descriptor and unregisters it.  What the
 * client sends from now on is the helper's business. */
#define _DEFAULT_SOURCE

#include "selector.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct selector *selector;

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static double now(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* How many times this process has given up the CPU to wait for something. */
static long sleep_count(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
}

/* Wait for half a second.  Returns true if the worker has slept and nothing was reported. */
static bool sleeps(const char *when)
{
    double start = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    long before = sleep_count();
    struct selector_ready ready;
    int count = selector_select(selector, &ready, 1, &(struct timespec){.tv_nsec = 500000000});

    bool slept = sleep_count() > before;
    cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("  %-32s %d ready, CPU %3.0f %%%s\n", when, count,
           100 * cpu / (now(CLOCK_MONOTONIC) - start), slept ? "" : ", it does not sleep");
    return count == 0 && slept;
}

int main(void)
{
    int pair[2], other[2];
    struct selector_ready ready;

    alarm(10);
    selector = selector_open(NULL);
    check(selector != NULL, "selector_open");
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, other) == 0, "socketpair");
    check(selector_register(selector, pair[0], EVENT_READ, NULL, NULL) == 0, "register");
    check(selector_register(selector, other[0], EVENT_READ, NULL, NULL) == 0, "register");
    bool good = sleeps("Two clients are connected:");
    check(dup(pair[0]) != -1, "dup");
    close(pair[0]);
    check(selector_unregister(selector, pair[0]) == 0, "unregister");
    good &= sleeps("The helper has the first client:");
    check(write(pair[1], "for the helper", 14) == 14, "write");
    good &= sleeps("The first client has sent bytes:");
    check(write(other[1], "for the worker", 14) == 14, "write");
    bool served = selector_select(selector, &ready, 1, &(struct timespec){1, 0}) == 1 &&
                  ready.key.fd == other[0];
    printf("  %-32s %s\n", "The second client sends bytes:", served ? "1 ready" : "not reported");
    selector_close(selector);
    if (!good)
        printf("Wrong: the worker's only client sends nothing, so the worker has to sleep.\n");
    return good && served ? 0 : 1;
}
