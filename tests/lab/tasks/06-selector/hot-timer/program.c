/* A program that does nothing but wait for timeouts: of 20.9 ms, and of 0.9 ms, as an audio player
 * might.  It has to sleep in each wait. */
#define _DEFAULT_SOURCE

#include "selector.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MOST_PERCENT 20 /* of a CPU: a wait that sleeps uses far less */

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

/* How many times this process has given up the CPU to wait for something. */
static long sleep_count(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
}

/* Wait this many times.  Returns the number of waits that were too short. */
static int wait_often(int times, struct timespec timeout)
{
    struct selector_ready ready;
    int early = 0;

    for (int i = 0; i < times; i++) {
        double start = now(CLOCK_MONOTONIC);
        if (selector_select(selector, &ready, 1, &timeout) != 0) {
            perror("selector_select");
            exit(1);
        }
        early += now(CLOCK_MONOTONIC) - start < seconds(timeout) - 1e-6;
    }
    return early;
}

/* Returns true if the process slept in each wait, and none was too short. */
static bool measure(int times, struct timespec timeout)
{
    double start = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    long sleeps = sleep_count();
    int early = wait_often(times, timeout);

    sleeps = sleep_count() - sleeps;
    double elapsed = now(CLOCK_MONOTONIC) - start;
    double percent = 100 * (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) / elapsed;
    printf("%3d waits of %4.1f ms: %4.0f ms in all, CPU %3.0f %%, the process slept %ld times\n",
           times, seconds(timeout) * 1e3, elapsed * 1e3, percent, sleeps);
    if (early > 0)
        printf("Wrong: %d of these waits returned too early.\n", early);
    bool slept = percent <= MOST_PERCENT && sleeps >= times / 2;
    if (!slept)
        printf("Wrong: a wait has to sleep, and these used the CPU.\n");
    return early == 0 && slept;
}

int main(void)
{
    alarm(10);
    selector = selector_open(NULL);
    if (selector == NULL) {
        perror("selector_open");
        return 1;
    }
    bool good = measure(20, (struct timespec){.tv_nsec = 20900000});
    good &= measure(300, (struct timespec){.tv_nsec = 900000});
    selector_close(selector);
    return good ? 0 : 1;
}
