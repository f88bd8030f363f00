/* Compare all back ends: given the same operations, they must report the same events.
 *
 * selector-compare SEED STEPS [LEAVE_OUT]...
 *
 * Each step is a random operation on a few descriptors (both ends of socket pairs, TCP connections
 * and pipes, and duplicates of them) or on their keys, which are registered with a selector of each
 * back end.  After each step, every selector must report what poll() reports for the same
 * descriptors: at once if there is room for all of them, and after a bounded number of calls if
 * there is room for one to three.  The functions must return the same result and the same errno,
 * and the keys must be equal.
 *
 * SEED and the number of a step determine the step.  After a difference the steps are printed.  To
 * find out which of them are needed for it, leave steps out by their numbers.
 * Exit code: 0 if there is no difference, 1 if there is one, 2 if the command line is wrong. */
#define _DEFAULT_SOURCE

#include "selector.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKENDS 8
#define SLOTS 16
#define ALL (2 * SLOTS) /* room for all; kqueue needs two for each descriptor */
#define FIRST_FD 50     /* the lower descriptors are for the selectors themselves */
#define LAST_FD 250
#define LIMIT_S 300
#define MAX_STEPS 1000000

/* An open descriptor, or the number of a closed one that still has a key. */
static struct slot {
    int fd;   /* 0: the slot is free */
    int file; /* equal for duplicates */
    bool open, socket, has_key;
    int events; /* of its key; 0: none */
} slots[SLOTS];

static struct selector *selectors[BACKENDS];
static const char *const *names;
static int backends;
static long step;
static int last_file, cursor = FIRST_FD;
static char (*history)[64];
static char difference[256]; /* empty if there is none */
static const struct timespec no_time;

/* Remember the first difference of this step. */
static void differ(const char *format, ...)
{
    va_list arguments;

    if (difference[0] != '\0')
        return;
    va_start(arguments, format);
    vsnprintf(difference, sizeof difference, format, arguments);
    va_end(arguments);
}

static void tell_difference(void)
{
    for (long i = 0; i <= step; i++)
        if (history[i][0] != '\0')
            printf("%6ld %s\n", i, history[i]);
    printf("difference after step %ld: %s\n", step, difference);
    exit(1);
}

static void note(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(history[step], sizeof history[step], format, arguments);
    va_end(arguments);
}

static unsigned long long state;

/* A generator that is the same on every system: splitmix64. */
static int dice(int sides)
{
    unsigned long long z = state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (int)((z ^ z >> 31) % (unsigned)sides);
}

/* ---- expected and reported events ---- */

static bool has_copy(const struct slot *slot)
{
    for (int i = 0; i < SLOTS; i++)
        if (&slots[i] != slot && slots[i].open && slots[i].file == slot->file)
            return true;
    return false;
}

static struct slot *slot_of(int fd)
{
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].fd == fd)
            return &slots[i];
    return NULL;
}

/* Ask poll() about each slot that has a key. */
static void ask(short flags[SLOTS])
{
    for (int i = 0; i < SLOTS; i++) {
        struct pollfd one = {.fd = slots[i].fd, .events = POLLIN | POLLOUT};
        flags[i] = 0;
        if (slots[i].open && slots[i].has_key && poll(&one, 1, 0) == 1)
            flags[i] = one.revents;
    }
}

/* Turn the flags into events.  A hang-up counts as both, but select() does not report it as
 * writable if there is no room to write. */
static void expect(int which, const short flags[SLOTS], int expected[SLOTS])
{
    bool is_select = strcmp(names[which], "select") == 0;

    for (int i = 0; i < SLOTS; i++) {
        int writable = flags[i] & (is_select ? ~(POLLIN | POLLHUP) : ~POLLIN);
        expected[i] = (flags[i] & ~POLLOUT) != 0 ? EVENT_READ : 0;
        expected[i] |= writable != 0 ? EVENT_WRITE : 0;
        expected[i] &= slots[i].events;
    }
}

/* Make one call.  It must report only expected events, each once; mark them in seen[]. */
static void select_once(int which, int max, const int expected[SLOTS], bool seen[SLOTS])
{
    struct selector_ready ready[ALL];
    bool now[SLOTS] = {false};
    int count = selector_select(selectors[which], ready, max, &no_time);

    if (count < 0 || count > max)
        differ("%s: selector_select(%d) returns %d: %s", names[which], max, count, strerror(errno));
    for (int i = 0; i < count; i++) {
        const struct selector_key *key = &ready[i].key;
        const struct slot *slot = slot_of(key->fd);
        if (slot == NULL || slot->events == 0) {
            differ("%s: %d is reported but has no events", names[which], key->fd);
            continue;
        }
        int at = (int)(slot - slots);
        if (now[at])
            differ("%s: %d is reported twice", names[which], key->fd);
        now[at] = seen[at] = true;
        if (ready[i].events != expected[at])
            differ("%s: events of %d are %d, not %d", names[which], key->fd, ready[i].events,
                   expected[at]);
        if (key->events != slot->events || key->data != slot)
            differ("%s: the key of %d is wrong", names[which], key->fd);
    }
}

/* The number of calls in which each ready descriptor must be reported.  kqueue has two events for a
 * descriptor; epoll starts again after it has removed a stale registration. */
static int turns(const char *name, int ready, int max)
{
    if (strcmp(name, "kqueue") == 0)
        return 2 * ready;
    return (strcmp(name, "epoll") == 0 ? 2 : 1) * ((ready + max - 1) / max);
}

static void select_all(int which, int max, const int expected[SLOTS])
{
    bool seen[SLOTS] = {false};
    int ready = 0;

    for (int i = 0; i < SLOTS; i++)
        ready += expected[i] != 0;
    int calls = max >= ALL ? 1 : turns(names[which], ready, max) + 1;
    for (int i = 0; i < calls; i++)
        select_once(which, max, expected, seen);
    for (int i = 0; i < SLOTS; i++)
        if (expected[i] != 0 && !seen[i])
            differ("%s: %d is not reported (events %d) in %d calls, room for %d", names[which],
                   slots[i].fd, expected[i], calls, max);
}

/* The selector must have exactly our keys, in order. */
static void compare_keys(int which)
{
    const struct selector *s = selectors[which];
    int keys = 0, last = -1;

    for (int i = 0; i < SLOTS; i++) {
        const struct selector_key *key = slots[i].fd > 0 ? selector_get_key(s, slots[i].fd) : NULL;
        keys += slots[i].has_key;
        if ((key != NULL) != slots[i].has_key || (key != NULL && key->events != slots[i].events))
            differ("%s: the key of %d has other events", names[which], slots[i].fd);
    }
    const struct selector_key *key = selector_next_key(s, 0);
    for (; key != NULL; key = selector_next_key(s, key->fd + 1)) {
        if (key->fd <= last || slot_of(key->fd) == NULL)
            differ("%s: %d has a key", names[which], key->fd);
        last = key->fd;
        keys--;
    }
    if (keys != 0)
        differ("%s: %d keys too few", names[which], keys);
}

static void compare_one(int which, const short flags[SLOTS])
{
    int expected[SLOTS], max = 1 + (int)(step % 3);

    compare_keys(which);
    expect(which, flags, expected);
    if (step % 4 == 3) /* a repair may be needed while there is little room */
        select_all(which, max, expected);
    select_all(which, ALL, expected);
    if (step % 4 == 1)
        select_all(which, max, expected);
}

/* The kernel may deliver data during the comparison.  If the answer of poll() has changed, compare
 * again. */
static void compare(void)
{
    short before[SLOTS], after[SLOTS];

    if (difference[0] != '\0')
        tell_difference();
    do {
        difference[0] = '\0';
        ask(before);
        for (int which = 0; which < backends; which++)
            compare_one(which, before);
        ask(after);
    } while (memcmp(before, after, sizeof before) != 0);
    if (difference[0] != '\0')
        tell_difference();
}

/* ---- keys ---- */

static int call(struct selector *s, char verb, int fd, int events, struct slot *slot)
{
    if (verb == 'r')
        return selector_register(s, fd, events, NULL, slot);
    if (verb == 'm')
        return selector_modify(s, fd, events, NULL, slot);
    return selector_unregister(s, fd);
}

/* Call the function of each selector.  They must agree.  The slot gets the result. */
static int change(char verb, struct slot *slot, int events)
{
    int result = 0, error = 0;

    for (int which = 0; which < backends; which++) {
        errno = 0;
        int one = call(selectors[which], verb, slot->fd, events, slot);
        int its_error = one == -1 ? errno : 0;
        if (which > 0 && (one != result || its_error != error))
            differ("%s: '%c' of %d returns %d, %s; before %d, %s", names[which], verb, slot->fd,
                   one, strerror(its_error), result, strerror(error));
        result = one;
        error = its_error;
    }
    if (result == 0) {
        slot->has_key = verb != 'u';
        slot->events = events;
    }
    return result;
}

/* Mostly events that the function accepts.  Only selector_modify() accepts 0. */
static int some_events(char verb)
{
    if (verb == 'u' || (verb == 'm' && dice(5) == 0))
        return 0;
    return dice(20) == 0 ? dice(8) : 1 + dice(3);
}

static void change_key(char verb, struct slot *slot)
{
    if (slot->fd == 0 || (verb == 'r' && !slot->open && !slot->has_key))
        return;
    int events = some_events(verb);
    int result = change(verb, slot, events);
    note("%s %d %d = %d",
         verb == 'r'   ? "register"
         : verb == 'm' ? "modify"
                       : "unregister",
         slot->fd, events, result);
    if (!slot->open && !slot->has_key)
        slot->fd = 0;
}

static void after_fork(void)
{
    note("after_fork");
    for (int which = 0; which < backends; which++)
        if (selector_after_fork(selectors[which]) != 0)
            differ("%s: selector_after_fork() fails: %s", names[which], strerror(errno));
}

/* ---- descriptors ---- */

static struct slot *free_slot(void)
{
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].fd == 0)
            return &slots[i];
    return NULL;
}

/* Move fd to a number that no slot has, often one that was closed recently. */
static int place(int fd, bool keeps)
{
    cursor = dice(2) == 0 || cursor > LAST_FD ? FIRST_FD : cursor + 1;
    int number = fcntl(fd, F_DUPFD, cursor);

    while (number != -1 && slot_of(number) != NULL) { /* closed, but still has a key */
        int next = fcntl(fd, F_DUPFD, number + 1);
        close(number);
        number = next;
    }
    if (number == -1) {
        perror("fcntl");
        exit(1);
    }
    if (!keeps)
        close(fd);
    fcntl(number, F_SETFL, O_NONBLOCK);
    return number;
}

static void take(int fd, bool is_socket)
{
    struct slot *slot = free_slot();

    *slot = (struct slot){.open = true, .socket = is_socket};
    slot->file = ++last_file;
    slot->fd = place(fd, false);
}

static bool connection(int pair[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct sockaddr *name = (struct sockaddr *)&address;
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), small = 8192;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, name, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, name, &size) != 0)
        return false;
    pair[0] = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    if (connect(pair[0], name, size) != 0)
        return false;
    pair[1] = accept(listener, NULL, NULL);
    close(listener);
    return pair[1] != -1;
}

static void open_pair(void)
{
    static const char *const kinds[] = {"socketpair", "connection", "pipe"};
    int pair[2], kind = dice(3), room = 0;

    for (int i = 0; i < SLOTS; i++)
        room += slots[i].fd == 0;
    if (room < 2)
        return;
    bool done = kind == 0   ? socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0
                : kind == 1 ? connection(pair)
                            : pipe(pair) == 0;
    if (!done) {
        perror(kinds[kind]);
        exit(1);
    }
    take(pair[0], kind != 2);
    take(pair[1], kind != 2);
    note("%s", kinds[kind]);
}

static void copy(const struct slot *original)
{
    struct slot *slot = free_slot();

    if (!original->open || slot == NULL)
        return;
    *slot = *original;
    slot->fd = 0;
    slot->events = 0;
    slot->has_key = false;
    slot->fd = place(original->fd, true);
    note("dup %d = %d", original->fd, slot->fd);
}

/* Close a descriptor, and unregister it before, after or, if it has no duplicate, later.  With a
 * duplicate it must be unregistered before epoll waits again, as the header says. */
static void close_slot(struct slot *slot, bool resets)
{
    const struct linger linger = {.l_onoff = 1};
    int order = dice(3), had_key = slot->has_key;

    if (!slot->open)
        return;
    if (order == 2 && has_copy(slot))
        order = 1;
    if (resets && slot->socket)
        setsockopt(slot->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    note("%s %d%s", resets ? "reset" : "close", slot->fd,
         !had_key     ? ""
         : order == 0 ? ", unregistered before"
         : order == 1 ? ", unregistered after"
                      : ", forgotten");
    if (had_key && order == 0)
        change('u', slot, 0);
    close(slot->fd);
    slot->open = false;
    if (had_key && order == 1)
        change('u', slot, 0);
    if (!slot->has_key)
        slot->fd = 0;
}

/* Write up to this many bytes; with 0, read everything. */
static void move_bytes(const struct slot *slot, int bytes)
{
    static char text[65536];

    if (!slot->open)
        return;
    note(bytes == 0 ? "drain %d" : "write %d, %d bytes", slot->fd, bytes);
    if (bytes > 0)
        while (bytes > 0) {
            ssize_t n = write(slot->fd, text, bytes < 65536 ? (size_t)bytes : sizeof text);
            bytes = n > 0 ? bytes - (int)n : 0;
        }
    else
        while (read(slot->fd, text, sizeof text) > 0)
            continue;
}

static void half_close(const struct slot *slot)
{
    if (!slot->open || !slot->socket)
        return;
    int how = dice(4) == 0 ? SHUT_RDWR : SHUT_WR;
    note("shutdown %d, %s", slot->fd, how == SHUT_WR ? "write" : "both");
    shutdown(slot->fd, how);
}

/* ---- the steps ---- */

static void do_step(void)
{
    struct slot *slot = &slots[dice(SLOTS)];
    int what = dice(100);

    if (what < 10)
        open_pair();
    else if (what < 30)
        change_key('r', slot);
    else if (what < 42)
        change_key('m', slot);
    else if (what < 50)
        change_key('u', slot);
    else if (what < 62)
        move_bytes(slot, 1 + dice(1000));
    else if (what < 67)
        move_bytes(slot, 10000000);
    else if (what < 77)
        move_bytes(slot, 0);
    else if (what < 80)
        half_close(slot);
    else if (what < 90)
        copy(slot);
    else if (what < 92)
        after_fork();
    else
        close_slot(slot, what < 95);
}

static void end(void)
{
    for (int which = 0; which < backends; which++)
        selector_close(selectors[which]);
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].open)
            close(slots[i].fd);
    free(history);
}

static bool left_out(int argc, char **argv)
{
    for (int i = 3; i < argc; i++)
        if (atol(argv[i]) == step)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    if (argc < 3 || atol(argv[2]) < 1 || atol(argv[2]) > MAX_STEPS) {
        fprintf(stderr, "usage: selector-compare SEED STEPS [LEAVE_OUT]...\n");
        return 2;
    }
    unsigned long long seed = strtoull(argv[1], NULL, 10);
    long steps = atol(argv[2]);
    alarm(LIMIT_S);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    names = selector_backends();
    history = calloc((size_t)steps, sizeof *history);
    for (; history != NULL && names[backends] != NULL && backends < BACKENDS; backends++) {
        selectors[backends] = selector_open(names[backends]);
        if (selectors[backends] == NULL) {
            perror(names[backends]);
            return 1;
        }
    }
    printf("selector-compare %llu %ld\n", seed, steps);
    for (step = 0; step < steps; step++) {
        state = seed * 1000003 + (unsigned long long)step * 2654435761;
        if (left_out(argc, argv))
            continue;
        do_step();
        compare();
    }
    printf("no difference between %d back ends\n", backends);
    end();
    return 0;
}
