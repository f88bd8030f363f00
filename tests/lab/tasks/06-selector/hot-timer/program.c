/* A program that has nothing to do but to wait for timeouts: of 0.9 ms, as a player of audio might
 * need them, and of 20.9 ms.  Waiting costs no CPU time. */
#define _DEFAULT_SOURCE

#include "selector.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MOST_PERCENT                                                                               \
    20 /* of a CPU: far more than a wait costs, and far less than a loop that spins */

static struct selector *selector;

static double seconds(struct timespec time)
{
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double now(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return seconds(time);
}

/* Wait so many times.  Returns true if no wait was early and all of them together were cheap. */
static bool wait_often(int times, struct timespec timeout)
{
    double cpu_before = now(CLOCK_PROCESS_CPUTIME_ID), start = now(CLOCK_MONOTONIC);
    int early = 0;

    for (int i = 0; i < times; i++) {
        double before = now(CLOCK_MONOTONIC);
        if (selector_select(selector, &(struct selector_ready){0}, 1, &timeout) != 0) {
            perror("selector_select");
            exit(1);
        }
        early += now(CLOCK_MONOTONIC) - before < seconds(timeout) - 1e-6;
    }
    double elapsed = now(CLOCK_MONOTONIC) - start, cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu_before;
    printf("%3d waits of %4.1f ms took %4.0f ms, of which the CPU worked %4.0f ms: %3.0f %%\n",
           times, seconds(timeout) * 1e3, elapsed * 1e3, cpu * 1e3, 100 * cpu / elapsed);
    if (early > 0)
        printf("Wrong: %d of these waits returned before their time.\n", early);
    if (cpu * 100 > elapsed * MOST_PERCENT)
        printf("Wrong: a wait has to sleep, and this one used the CPU.\n");
    return early == 0 && cpu * 100 <= elapsed * MOST_PERCENT;
}

int main(void)
{
    alarm(10);
    selector = selector_open(NULL);
    if (selector == NULL) {
        perror("selector_open");
        return 1;
    }
    bool long_ones = wait_often(20, (struct timespec){.tv_nsec = 20900000});
    bool short_ones = wait_often(500, (struct timespec){.tv_nsec = 900000});
    selector_close(selector);
    return long_ones && short_ones ? 0 : 1;
}
