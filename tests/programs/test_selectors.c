/* The cases of Python's Lib/test/test_selectors.py in C, for each back end that is compiled in.
 *
 * Each case has the name of its original.  Where Python raises an exception, our functions return
 * -1 and set errno: KeyError is EEXIST from register and ENOENT elsewhere; ValueError is EINVAL, or
 * EBADF for a negative descriptor; OSError is the kernel's errno.  Comments mark the differences.
 *
 * test_selectors                 run all; print "ok", "not ok" or "skip" BACKEND CASE for each
 * test_selectors BACKEND [CASE]  run only these
 * test_selectors -l              list the cases
 * Exit code: 0 if all passed, 1 if a case failed, 2 if there is no such case. */
#define _DEFAULT_SOURCE

#include "selector.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_S 60 /* longer than any case takes */
#define SKIPPED 77
#define UNKNOWN 999999 /* a descriptor that is not registered */
#define BOTH (EVENT_READ | EVENT_WRITE)

static const char *backend; /* of the running case; in Python self.SELECTOR */
static const struct timespec zero, negative = {.tv_sec = -1}, one_second = {.tv_sec = 1};

#define CHECK(what) ((what) ? (void)0 : fail(__LINE__, #what))
#define CHECK_RAISES(error, call) (errno = 0, CHECK((call) == -1 && errno == (error)))

static void fail(int line, const char *what)
{
    printf("test_selectors.c:%d: check failed: %s (errno: %s)\n", line, what, strerror(errno));
    exit(1);
}

static void skip(const char *why)
{
    printf("skipped: %s\n", why);
    exit(SKIPPED);
}

static struct selector *open_selector(void)
{
    struct selector *s = selector_open(backend);

    CHECK(s != NULL);
    return s;
}

static void make_socketpair(int *rd, int *wr)
{
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    *rd = pair[0];
    *wr = pair[1];
}

static void end(struct selector *s, int rd, int wr)
{
    selector_close(s);
    if (rd != -1)
        close(rd);
    if (wr != -1)
        close(wr);
}

static void add(struct selector *s, int fd, int events, void *data)
{
    CHECK(selector_register(s, fd, events, NULL, data) == 0);
}

static bool has_no_key(const struct selector *s, int fd)
{
    errno = 0;
    return selector_get_key(s, fd) == NULL && errno == ENOENT;
}

static int select_now(struct selector *s, const struct timespec *timeout)
{
    struct selector_ready ready[64];

    return selector_select(s, ready, 64, timeout);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- BaseSelectorTestCase ---- */

static void test_register(void)
{
    struct selector *s = open_selector();
    char data[] = "data";
    int rd, wr;

    make_socketpair(&rd, &wr);
    add(s, rd, EVENT_READ, data);
    const struct selector_key *key = selector_get_key(s, rd); /* Python's register() returns it */
    CHECK(key != NULL && key->fd == rd && key->events == EVENT_READ && key->data == data);

    /* register an unknown event */
    CHECK_RAISES(EINVAL, selector_register(s, 0, UNKNOWN, NULL, NULL));

    /* register an invalid FD */
    CHECK_RAISES(EBADF, selector_register(s, -10, EVENT_READ, NULL, NULL));

    /* register twice; C has no second object with the same descriptor */
    CHECK_RAISES(EEXIST, selector_register(s, rd, EVENT_READ, NULL, NULL));
    CHECK_RAISES(EEXIST, selector_register(s, rd, EVENT_WRITE, NULL, NULL));
    end(s, rd, wr);
}

static void test_unregister(void)
{
    struct selector *s = open_selector();
    int rd, wr;

    make_socketpair(&rd, &wr);
    add(s, rd, EVENT_READ, NULL);
    CHECK(selector_unregister(s, rd) == 0);

    /* unregister an unknown file obj */
    CHECK_RAISES(ENOENT, selector_unregister(s, UNKNOWN));

    /* unregister twice */
    CHECK_RAISES(ENOENT, selector_unregister(s, rd));
    end(s, rd, wr);
}

static void test_unregister_after_fd_close(void)
{
    struct selector *s = open_selector();
    int rd, wr;

    make_socketpair(&rd, &wr);
    add(s, rd, EVENT_READ, NULL);
    add(s, wr, EVENT_WRITE, NULL);
    close(rd);
    close(wr);
    CHECK(selector_unregister(s, rd) == 0);
    CHECK(selector_unregister(s, wr) == 0);
    end(s, -1, -1);
}

static void test_unregister_after_fd_close_and_reuse(void)
{
    struct selector *s = open_selector();
    int rd, wr, rd2, wr2;

    make_socketpair(&rd, &wr);
    add(s, rd, EVENT_READ, NULL);
    add(s, wr, EVENT_WRITE, NULL);
    make_socketpair(&rd2, &wr2);
    close(rd);
    close(wr);
    CHECK(dup2(rd2, rd) == rd && dup2(wr2, wr) == wr);
    CHECK(selector_unregister(s, rd) == 0);
    CHECK(selector_unregister(s, wr) == 0);
    close(rd2);
    close(wr2);
    end(s, rd, wr);
}

/* In Python a closed socket no longer knows its number, and this case tests how it is looked up.  C
 * has only the number, so the socket is also shut down, which the case above does not do. */
static void test_unregister_after_socket_close(void)
{
    struct selector *s = open_selector();
    int rd, wr;

    make_socketpair(&rd, &wr);
    add(s, rd, EVENT_READ, NULL);
    add(s, wr, EVENT_WRITE, NULL);
    CHECK(shutdown(rd, SHUT_RDWR) == 0);
    close(rd);
    close(wr);
    CHECK(selector_unregister(s, rd) == 0);
    CHECK(selector_unregister(s, wr) == 0);
    CHECK(selector_count(s) == 0);
    end(s, -1, -1);
}

static void test_modify(void)
{
    struct selector *s = open_selector();
    int rd, wr, d1, d2, d3;

    make_socketpair(&rd, &wr);
    add(s, rd, EVENT_READ, NULL);

    /* modify events */
    CHECK(selector_modify(s, rd, EVENT_WRITE, NULL, NULL) == 0);
    CHECK(selector_get_key(s, rd)->events == EVENT_WRITE);
    CHECK(selector_unregister(s, rd) == 0);

    /* modify data */
    add(s, rd, EVENT_READ, &d1);
    struct selector_key key = *selector_get_key(s, rd);
    CHECK(selector_modify(s, rd, EVENT_READ, NULL, &d2) == 0);
    CHECK(selector_get_key(s, rd)->events == key.events);
    CHECK(selector_get_key(s, rd)->data != key.data && selector_get_key(s, rd)->data == &d2);

    /* modify unknown file obj */
    CHECK_RAISES(ENOENT, selector_modify(s, UNKNOWN, EVENT_READ, NULL, NULL));

    /* modify use a shortcut; selector-unit counts the system calls */
    CHECK(selector_modify(s, rd, EVENT_READ, NULL, &d3) == 0);
    CHECK(selector_get_key(s, rd)->data == &d3);
    end(s, rd, wr);
}

/* Python's case makes the kernel's modify() fail, after which the key is gone; selector-unit tests
 * that as failed-modify-forgets.  After a bad argument Python also removes the key; ours stays. */
static void test_modify_unregister(void)
{
    struct selector *s = open_selector();
    int rd, wr;

    make_socketpair(&rd, &wr);
    add(s, rd, EVENT_READ, NULL);
    add(s, wr, EVENT_READ, NULL);
    CHECK(selector_count(s) == 2);
    CHECK_RAISES(EINVAL, selector_modify(s, wr, UNKNOWN, NULL, NULL));
    close(rd);
    CHECK_RAISES(EBADF, selector_modify(s, rd, EVENT_WRITE, NULL, NULL));
    CHECK(selector_count(s) == 2 && selector_get_key(s, rd)->events == EVENT_READ);
    CHECK(selector_get_key(s, wr)->events == EVENT_READ);
    end(s, -1, wr);
}

/* In C a closed selector must not be used again, as after free().  This remains of the case: the
 * keys are gone, the descriptors stay open, and a new selector is empty. */
static void test_close(void)
{
    struct selector *s = open_selector();
    int rd, wr;

    make_socketpair(&rd, &wr);
    add(s, rd, EVENT_READ, NULL);
    add(s, wr, EVENT_WRITE, NULL);
    selector_close(s);
    s = open_selector();
    CHECK(has_no_key(s, rd) && has_no_key(s, wr) && selector_count(s) == 0);
    CHECK(fcntl(rd, F_GETFD) != -1 && fcntl(wr, F_GETFD) != -1);
    end(s, rd, wr);
}

static void test_get_key(void)
{
    struct selector *s = open_selector();
    char data[] = "data";
    int rd, wr;

    make_socketpair(&rd, &wr);
    add(s, rd, EVENT_READ, data);
    const struct selector_key *key = selector_get_key(s, rd);
    CHECK(key != NULL && key->fd == rd && key->events == EVENT_READ && key->data == data);

    /* unknown file obj */
    CHECK(has_no_key(s, UNKNOWN));
    end(s, rd, wr);
}

/* The map is selector_next_key() and selector_count().  It is read-only: the pointers are to const,
 * and no function deletes from it. */
static void test_get_map(void)
{
    struct selector *s = open_selector();
    char data[] = "data";
    int rd, wr;

    make_socketpair(&rd, &wr);
    CHECK(selector_next_key(s, 0) == NULL && selector_count(s) == 0);
    add(s, rd, EVENT_READ, data);
    const struct selector_key *key = selector_next_key(s, 0);
    CHECK(key != NULL && key == selector_get_key(s, rd) && selector_count(s) == 1);
    CHECK(key->fd == rd && key->data == data);
    CHECK(selector_next_key(s, rd + 1) == NULL);

    /* unknown file obj */
    CHECK(has_no_key(s, UNKNOWN));
    end(s, rd, wr);
}

static void test_select(void)
{
    struct selector *s = open_selector();
    struct selector_ready ready[8];
    int rd, wr;

    make_socketpair(&rd, &wr);
    add(s, rd, EVENT_READ, NULL);
    add(s, wr, EVENT_WRITE, NULL);
    int count = selector_select(s, ready, 8, NULL);
    for (int i = 0; i < count; i++)
        CHECK(ready[i].events != 0 && (ready[i].events & ~BOTH) == 0);
    CHECK(count == 1 && ready[0].events == EVENT_WRITE);
    CHECK(memcmp(&ready[0].key, selector_get_key(s, wr), sizeof ready[0].key) == 0);
    end(s, rd, wr);
}

/* Not in Python's file: both events of one descriptor.  Related test suites use this name. */
static void test_select_read_write(void)
{
    struct selector *s = open_selector();
    struct selector_ready ready[8];
    int rd, wr;

    make_socketpair(&rd, &wr);
    add(s, rd, BOTH, NULL);
    CHECK(write(wr, "x", 1) == 1);
    CHECK(selector_select(s, ready, 8, NULL) == 1);
    CHECK(ready[0].key.fd == rd && ready[0].events == BOTH);
    end(s, rd, wr);
}

/* `with` closes the selector at the end of its block.  C has no such block and needs the call. */
static void test_context_manager(void)
{
    int rd, wr;

    make_socketpair(&rd, &wr);
    {
        struct selector *s = open_selector();
        add(s, rd, EVENT_READ, NULL);
        add(s, wr, EVENT_WRITE, NULL);
        selector_close(s);
    }
    CHECK(fcntl(rd, F_GETFD) != -1 && fcntl(wr, F_GETFD) != -1);
    close(rd);
    close(wr);
}

static void test_fileno(void)
{
    struct selector *s = open_selector();

    if (strcmp(backend, "poll") == 0 || strcmp(backend, "select") == 0)
        CHECK_RAISES(ENOTSUP, selector_fileno(s)); /* Python has no such method here */
    else
        CHECK(selector_fileno(s) >= 0);
    end(s, -1, -1);
}

#define NUM_SOCKETS 12
#define MSG " This is a test."
#define MSG_LEN (sizeof MSG - 1)

/* Store the ready descriptor with this event and this position in *found.  Returns their number. */
static int find_ready_matching(struct selector *s, int flag, int number, int *found)
{
    struct selector_ready ready[2 * NUM_SOCKETS];
    int count = selector_select(s, ready, 2 * NUM_SOCKETS, NULL), matching = 0;

    CHECK(count >= 0);
    for (int i = 0; i < count; i++)
        if ((ready[i].events & flag) != 0 && matching++ == number)
            *found = ready[i].key.fd;
    return matching;
}

static void test_selector(void)
{
    struct selector *s = open_selector();
    int rd[NUM_SOCKETS], wr[NUM_SOCKETS], writer = -1, reader = -1;
    char buf[MSG_LEN];

    for (int i = 0; i < NUM_SOCKETS; i++) {
        make_socketpair(&rd[i], &wr[i]);
        add(s, rd[i], EVENT_READ, &wr[i]);
        add(s, wr[i], EVENT_WRITE, &rd[i]);
    }
    for (int writers = NUM_SOCKETS; writers > 0; writers--) {
        CHECK(find_ready_matching(s, EVENT_WRITE, rand() % writers, &writer) == writers);
        CHECK(write(writer, MSG, MSG_LEN) == (ssize_t)MSG_LEN);
        int expected = *(int *)selector_get_key(s, writer)->data, matching;
        while ((matching = find_ready_matching(s, EVENT_READ, 0, &reader)) == 0)
            continue; /* there may be a delay; alarm() limits it */
        CHECK(matching == 1 && reader == expected);
        CHECK(read(reader, buf, MSG_LEN) == (ssize_t)MSG_LEN && memcmp(buf, MSG, MSG_LEN) == 0);
        CHECK(selector_unregister(s, writer) == 0);
        CHECK(selector_unregister(s, reader) == 0);
    }
    CHECK(selector_count(s) == 0);
    for (int i = 0; i < NUM_SOCKETS; i++) {
        close(rd[i]);
        close(wr[i]);
    }
    end(s, -1, -1);
}

static void test_empty_select(void)
{
    struct selector *s = open_selector();

    CHECK(select_now(s, &zero) == 0);
    end(s, -1, -1);
}

static void test_timeout(void)
{
    struct selector *s = open_selector();
    int rd, wr;

    make_socketpair(&rd, &wr);
    add(s, wr, EVENT_WRITE, NULL);
    double t = now();
    CHECK(select_now(s, &zero) == 1 && select_now(s, &negative) == 1);
    CHECK(now() - t < 0.5);

    CHECK(selector_unregister(s, wr) == 0);
    add(s, rd, EVENT_READ, NULL);
    t = now();
    CHECK(select_now(s, &zero) == 0 && select_now(s, &negative) == 0);
    CHECK(now() - t < 0.5);

    t = now();
    CHECK(select_now(s, &one_second) == 0);
    double dt = now() - t;
    CHECK(1.0 <= dt && dt <= 2.0); /* Python allows 0.8; ours never ends early */
    end(s, rd, wr);
}

static volatile sig_atomic_t signals;

static void handler(int number)
{
    (void)number;
    signals = signals + 1;
    alarm(LIMIT_S); /* a second alarm ends a case that hangs */
    signal(SIGALRM, SIG_DFL);
}

static void alarm_soon(void)
{
    const struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    alarm(1);
}

/* Python's handler raises an exception; in C the caller gets EINTR. */
static void test_select_interrupt_exc(void)
{
    const struct timespec timeout = {.tv_sec = 30};
    struct selector *s = open_selector();
    int rd, wr;

    make_socketpair(&rd, &wr);
    add(s, rd, EVENT_READ, NULL);
    alarm_soon();
    double t = now();
    CHECK_RAISES(EINTR, select_now(s, &timeout));
    CHECK(signals == 1 && now() - t < 5.0);
    end(s, rd, wr);
}

/* Python continues to wait after the handler.  Ours returns EINTR, and the caller waits again for
 * the time that remains. */
static void test_select_interrupt_noraise(void)
{
    struct selector *s = open_selector();
    int rd, wr, result;

    make_socketpair(&rd, &wr);
    add(s, rd, EVENT_READ, NULL);
    alarm_soon();
    double t = now(), left;
    while ((left = 1.5 - (now() - t)) > 0) {
        struct timespec timeout = {.tv_sec = (time_t)left};
        timeout.tv_nsec = (long)((left - (double)timeout.tv_sec) * 1e9);
        result = select_now(s, &timeout);
        CHECK(result == 0 || (result == -1 && errno == EINTR));
    }
    CHECK(signals == 1 && now() - t >= 1.5);
    end(s, rd, wr);
}

/* ---- ScalableSelectorMixIn ---- */

static void register_many(struct selector *s, int *sockets, int count)
{
    for (int i = 0; i < count; i += 2) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == -1)
            skip("needs more descriptors in the whole system; to run it: a machine with a "
                 "higher limit");
        sockets[i] = pair[0];
        sockets[i + 1] = pair[1];
        if (selector_register(s, pair[0], EVENT_READ, NULL, NULL) == -1 ||
            selector_register(s, pair[1], EVENT_WRITE, NULL, NULL) == -1) {
            CHECK(errno == ENOSPC);
            skip("needs more of fs.epoll.max_user_watches; to run it: raise it by sysctl");
        }
    }
}

static void test_above_fd_setsize(void)
{
    struct rlimit limit;

    if (strcmp(backend, "select") == 0)
        skip("expected limit: select() accepts no descriptors above FD_SETSIZE, as in Python");
    struct selector *s = open_selector();
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max > 65536)
        limit.rlim_max = 65536;
    if (limit.rlim_cur < limit.rlim_max)
        limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0 || errno == EINVAL || errno == EPERM);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    int count = limit.rlim_cur > 65536 ? 65536 : (int)limit.rlim_cur;
    for (int fd = 0; fd < 1024; fd++) /* descriptors that are already open */
        count -= fcntl(fd, F_GETFD) != -1;
    count = (count - 32) & ~1;
    int *sockets = calloc((size_t)count, sizeof *sockets);
    struct selector_ready *ready = calloc((size_t)count, sizeof *ready);
    CHECK(sockets != NULL && ready != NULL);
    register_many(s, sockets, count);
    CHECK(selector_select(s, ready, count, NULL) == count / 2);
    for (int i = 0; i < count; i++)
        close(sockets[i]);
    free(sockets);
    free(ready);
    end(s, -1, -1);
}

/* ---- EpollSelectorTestCase; in C for each back end ---- */

static void test_register_file(void)
{
    struct selector *s = open_selector();
    char name[] = "/tmp/test_selectors.XXXXXX";
    int file = mkstemp(name);

    CHECK(file >= 0 && unlink(name) == 0);
    CHECK_RAISES(EPERM, selector_register(s, file, EVENT_READ, NULL, NULL));
    CHECK(has_no_key(s, file)); /* the SelectorKey has been removed */
    end(s, file, -1);
}

/* ---- KqueueSelectorTestCase; in C for each back end ---- */

static void test_register_bad_fd(void)
{
    struct selector *s = open_selector();
    int bad = dup(0);

    CHECK(bad >= 0);
    close(bad);
    CHECK_RAISES(EBADF, selector_register(s, bad, EVENT_READ, NULL, NULL));
    CHECK(has_no_key(s, bad)); /* the SelectorKey has been removed */
    end(s, -1, -1);
}

static void test_empty_select_timeout(void)
{
    struct selector *s = open_selector();
    double t = now();

    CHECK(select_now(s, &one_second) == 0);
    double dt = now() - t;
    CHECK(1.0 <= dt && dt <= 2.0);
    end(s, -1, -1);
}

/* ---- run them ---- */

#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }
static const struct test {
    const char *name;
    void (*run)(void);
} tests[] = {
    CASE(test_register),
    CASE(test_unregister),
    CASE(test_unregister_after_fd_close),
    CASE(test_unregister_after_fd_close_and_reuse),
    CASE(test_unregister_after_socket_close),
    CASE(test_modify),
    CASE(test_modify_unregister),
    CASE(test_close),
    CASE(test_get_key),
    CASE(test_get_map),
    CASE(test_select),
    CASE(test_select_read_write),
    CASE(test_context_manager),
    CASE(test_fileno),
    CASE(test_selector),
    CASE(test_empty_select),
    CASE(test_timeout),
    CASE(test_select_interrupt_exc),
    CASE(test_select_interrupt_noraise),
    CASE(test_above_fd_setsize),
    CASE(test_register_file),
    CASE(test_register_bad_fd),
    CASE(test_empty_select_timeout),
};
#define TESTS (sizeof tests / sizeof tests[0])

/* Run a case in its own process, for at most LIMIT_S.  Returns 1 if it failed. */
static int run(const struct test *test)
{
    int status;

    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(LIMIT_S);
        signal(SIGPIPE, SIG_IGN);
        test->run();
        exit(0);
    }
    if (child == -1 || waitpid(child, &status, 0) != child)
        status = 1;
    bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED;
    printf("%s %s %s\n", status == 0 ? "ok" : skipped ? "skip" : "not ok", backend, test->name);
    if (WIFSIGNALED(status))
        printf("    ended by signal %d\n", WTERMSIG(status));
    return status != 0 && !skipped;
}

int main(int argc, char **argv)
{
    int failed = 0, count = 0;

    if (argc == 2 && strcmp(argv[1], "-l") == 0) {
        for (size_t i = 0; i < TESTS; i++)
            printf("%s\n", tests[i].name);
        return 0;
    }
    for (const char *const *name = selector_backends(); *name != NULL; name++) {
        backend = *name;
        if (argc > 1 && strcmp(argv[1], backend) != 0)
            continue;
        selector_close(selector_open(backend)); /* the kqueue emulation prints its notice */
        for (size_t i = 0; i < TESTS; i++) {
            if (argc > 2 && strcmp(argv[2], tests[i].name) != 0)
                continue;
            failed += run(&tests[i]);
            count++;
        }
    }
    if (count == 0)
        fprintf(stderr, "There is no such back end or case; test_selectors -l names the cases.\n");
    return count == 0 ? 2 : failed > 0;
}
