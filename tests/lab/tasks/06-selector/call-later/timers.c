/* The check of the task call-later: a program that uses selector_call_later().  It is built with
 * the selector of the participant's copy.  Exit code 0: every rule holds. */
#define _POSIX_C_SOURCE 200809L

#include "selector.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MANY 200000

static const char *backend, *step;
static struct selector *selector;
static int ends[2]; /* a pipe with a byte in it: it is always readable */
static int pipe_calls, timer_calls;

static void fail(const char *format, ...)
{
    va_list values;

    printf("With the back end %s:\n%s\nInstead: ", backend, step);
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    puts("");
    exit(1);
}

static void on_alarm(int signal_number)
{
    static const char text[] = "The program that uses the timers is not done after 7 seconds:\n";
    ssize_t written = write(STDOUT_FILENO, text, sizeof text - 1);

    (void)signal_number;
    written += write(STDOUT_FILENO, step, strlen(step));
    written += write(STDOUT_FILENO, "\n", 1);
    _exit(written > 0 ? 1 : 2);
}

static double now(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1000 + (double)time.tv_nsec / 1e6;
}

static int dispatch(const struct timespec *timeout)
{
    int result = selector_dispatch(selector, timeout);

    if (result == -1 && errno != EINTR)
        fail("selector_dispatch() failed: %s.", strerror(errno));
    return result;
}

static void call_later(int ms, void (*callback)(void *), void *data)
{
    if (selector_call_later(selector, ms, callback, data) == -1)
        fail("selector_call_later() failed: %s.", strerror(errno));
}

static void on_pipe(const struct selector_key *key, int events)
{
    (void)key;
    (void)events;
    pipe_calls++;
}

/* ---- a few timers ---- */

struct timer {
    int ms;
    int place;     /* the first one called is 1; 0: not called yet */
    double called; /* when */
};

static void on_timer(void *data)
{
    struct timer *timer = data;

    if (timer->place != 0)
        fail("the timer of %d ms was called twice.", timer->ms);
    timer->place = ++timer_calls;
    timer->called = now(CLOCK_MONOTONIC);
}

static void expect_order(struct timer timers[], int count, double start)
{
    for (int i = 0; i < count; i++) {
        double after = timers[i].called - start;
        if (timers[i].place != i + 1)
            fail("the timer of %d ms was number %d of %d.", timers[i].ms, timers[i].place, count);
        if (after < timers[i].ms - 1)
            fail("the timer of %d ms was called after %.1f ms.", timers[i].ms, after);
        if (after > timers[i].ms + 1000)
            fail("the timer of %d ms was called after %.0f ms.", timers[i].ms, after);
    }
}

static void set_timers(struct timer timers[])
{
    static const int order[] = {3, 0, 4, 1, 2};

    timer_calls = 0;
    for (int i = 0; i < 5; i++)
        call_later(timers[order[i]].ms, on_timer, &timers[order[i]]);
}

static void check_order(void)
{
    struct timer timers[] = {{.ms = 0}, {.ms = 20}, {.ms = 40}, {.ms = 90}, {.ms = 150}};
    double start = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);

    step = "timers of 90, 0, 150, 20 and 40 ms, and no descriptor is ready.";
    set_timers(timers);
    for (int i = 0; timer_calls < 5; i++) {
        int ready = dispatch(NULL);
        if (ready > 0)
            fail("selector_dispatch() returned %d, but no descriptor is ready.", ready);
        if (i > 1000)
            fail("selector_dispatch() returned 1,000 times, and %d timers ran.", timer_calls);
    }
    expect_order(timers, 5, start);
    cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    if (cpu > 50)
        fail("the CPU was used for %.0f ms, so it does not sleep.", cpu);
}

static void check_busy(void)
{
    struct timer timers[] = {{.ms = 0}, {.ms = 20}, {.ms = 40}, {.ms = 60}, {.ms = 80}};
    double start = now(CLOCK_MONOTONIC);

    step = "timers of 0 to 80 ms, while a descriptor is always ready.";
    set_timers(timers);
    while (timer_calls < 5) {
        dispatch(NULL);
        if (now(CLOCK_MONOTONIC) - start > 1500)
            fail("only %d of 5 timers were called in 1.5 s.", timer_calls);
    }
    expect_order(timers, 5, start);
}

static void check_timeout(void)
{
    struct timer timer = {.ms = 300};
    struct timespec short_time = {.tv_nsec = 30000000}, none = {0};
    double start = now(CLOCK_MONOTONIC);

    step = "a timer of 300 ms; selector_dispatch() has a timeout of 0, then of 30 ms.";
    call_later(timer.ms, on_timer, &timer);
    dispatch(&none);
    dispatch(&short_time);
    double after = now(CLOCK_MONOTONIC) - start;
    if (timer.place != 0 && after < 299)
        fail("the timer was called after %.0f ms.", after);
    if (timer.place != 0 || after < 29)
        fail("selector_dispatch() returned after %.0f ms.", after);
    while (timer.place == 0)
        dispatch(NULL);
}

/* ---- timers that dispatch, and timers that set timers ---- */

static void on_timer_dispatch(void *data)
{
    struct timespec none = {0};

    on_timer(data);
    dispatch(&none);
}

static void check_nested(void)
{
    struct timer timers[] = {{.ms = 0}, {.ms = 10}};

    step = "the callback of a timer calls selector_dispatch().";
    timer_calls = 0;
    for (int i = 0; i < 2; i++)
        call_later(timers[i].ms, on_timer_dispatch, &timers[i]);
    while (timer_calls < 2)
        dispatch(NULL);
}

static void on_chain(void *data)
{
    int *left = data;

    timer_calls++;
    if (--*left > 0)
        call_later(0, on_chain, data);
}

/* Each dispatch calls the pipe's callback, so the timers must not run for ever in between. */
static void check_chain(void)
{
    int left = 1000000000;
    double start = now(CLOCK_MONOTONIC);

    step = "a timer of 0 ms that sets itself again, and a descriptor that is always ready.";
    pipe_calls = timer_calls = 0;
    call_later(0, on_chain, &left);
    for (int i = 0; i < 50; i++) {
        dispatch(NULL);
        if (now(CLOCK_MONOTONIC) - start > 2000)
            fail("in 2 s, the timer was called %d times, the other callback %d times.", timer_calls,
                 pipe_calls);
    }
    if (pipe_calls < 25 || timer_calls < 25)
        fail("in 50 calls of selector_dispatch(), the timer was called %d times, the other "
             "callback %d times.",
             timer_calls, pipe_calls);
    left = 1;
    while (left > 0)
        dispatch(NULL);
}

/* ---- many timers ---- */

static int latest, out_of_order;

static void on_many(void *data)
{
    int ms = *(int *)data;

    out_of_order += ms < latest - 100; /* timers are set while the clock runs */
    latest = ms;
    timer_calls++;
}

static void check_many(void)
{
    static int times[MANY];
    unsigned random = 1;
    double start = now(CLOCK_MONOTONIC);

    step = "200,000 timers of 300 to 800 ms, in any order.";
    timer_calls = latest = 0;
    for (int i = 0; i < MANY; i++) {
        random = random * 1103515245 + 12345;
        times[i] = 300 + (int)(random >> 16) % 500;
        call_later(times[i], on_many, &times[i]);
        if (i % 1000 == 0 && now(CLOCK_MONOTONIC) - start > 2500)
            fail("after 2.5 s, only %d are set.", i);
    }
    while (timer_calls < MANY) {
        dispatch(NULL);
        if (now(CLOCK_MONOTONIC) - start > 4000)
            fail("after 4 s, only %d have been called.", timer_calls);
    }
    if (out_of_order > 0 && now(CLOCK_MONOTONIC) - start < 1000)
        fail("%d were called in the wrong order.", out_of_order);
}

/* ---- main ---- */

static void check_backend(void)
{
    selector = selector_open(backend);
    if (selector == NULL)
        return;
    check_order();
    check_timeout();
    check_nested();
    selector_register(selector, ends[0], EVENT_READ, on_pipe, NULL);
    check_busy();
    check_chain();
    selector_unregister(selector, ends[0]);
    if (backend == selector_backends()[0])
        check_many();
    selector_close(selector);
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    signal(SIGALRM, on_alarm);
    alarm(7);
    if (pipe(ends) == -1 || write(ends[1], "x", 1) != 1)
        return 2;
    for (const char *const *name = selector_backends(); *name != NULL; name++) {
        backend = *name;
        check_backend();
    }
    return 0;
}
