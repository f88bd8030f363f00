/* A supervisor reads what a child writes into a pipe, until the end of the input.  The child is
 * this process itself, which writes a line and then closes its end, as exit() would. */
#define _POSIX_C_SOURCE 200809L

#include "selector.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static bool has_ended; /* read() has returned 0 */

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static void on_output(const struct selector_key *key, int events)
{
    char bytes[40];
    ssize_t n = read(key->fd, bytes, sizeof bytes);

    (void)events;
    printf("  Callback: read() returns %zd.\n", n);
    has_ended = n == 0;
}

static double now(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void dispatch(struct selector *selector, const char *what)
{
    double start = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);

    printf("%s\n", what);
    int count = selector_dispatch(selector, &(struct timespec){.tv_nsec = 500000000});
    check(count != -1, "selector_dispatch");
    printf("  %d ready after %.0f ms, CPU %.0f ms\n", count, (now(CLOCK_MONOTONIC) - start) * 1e3,
           (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e3);
}

/* program BACKEND */
int main(int argc, char **argv)
{
    int ends[2];

    alarm(10);
    struct selector *selector = selector_open(argc > 1 ? argv[1] : NULL);
    check(selector != NULL, "selector_open");
    check(pipe(ends) == 0, "pipe");
    check(selector_register(selector, ends[0], EVENT_READ, on_output, NULL) == 0, "register");
    check(write(ends[1], "ready\n", 6) == 6, "write");
    dispatch(selector, "The child has written 6 bytes.");
    close(ends[1]);
    dispatch(selector, "The child has ended.");
    selector_close(selector);
    if (!has_ended)
        printf("Wrong: the callback has to run once more, so that read() returns 0.\n");
    return has_ended ? 0 : 1;
}
