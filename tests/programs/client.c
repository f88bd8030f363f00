/* The test client: it checks every byte that comes back, and can be as rude as a client can be.
 *
 * Interface: client [-b ADDRESS] [-t SECONDS] PORT VERB [VALUE]...   (`client -h` lists the verbs)
 * Exit code: 0, all was as it should be; 1, the server broke a rule, said on stderr in one line;
 * 2, a wrong command line.  Everything ends by itself after SECONDS (default 20), with code 1.
 * Pseudo-random bytes are a function of their position in the stream, so that a byte that is lost,
 * doubled or out of place is found and its position named. */
#define _DEFAULT_SOURCE /* MSG_DONTWAIT is not POSIX */

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 65536
#define STUCK_MS 300 /* a socket without room for so long is taken to be full: fill */
#define BRIEF_MS 50  /* the same for flood, which need not be sure */

static const char usage[] =
    "usage: client [-b ADDRESS] [-t SECONDS] PORT VERB [VALUE]...\n"
    "\n"
    "One connection, step by step (it is opened by the first verb, and again after reset or "
    "close):\n"
    "  open             connect\n"
    "  narrow           connect, with a small receive buffer: the server's sends are soon short\n"
    "  send TEXT        send these bytes, and do not wait\n"
    "  expect TEXT      the next bytes from the server are these\n"
    "  echo TEXT        send, then expect\n"
    "  dribble TEXT     echo, one byte at a time, each waited for\n"
    "  bytes            echo of the 256 byte values\n"
    "  random N         N pseudo-random bytes, sent and read back at once\n"
    "  slow N MS        the same, but read one byte each MS milliseconds\n"
    "  oob BYTE         send one byte out of band\n"
    "  fill MAX         send without reading until nothing moves, at most MAX bytes; print how "
    "many\n"
    "  drain            read back what fill sent\n"
    "  flood MAX        as fill, but the server may end the connection meanwhile\n"
    "  finish           shut down our side, as a client does that has said all\n"
    "  expect-end       the server's FIN is next: no byte, no reset\n"
    "  expect-gone      the server has closed or reset the connection, after whatever bytes\n"
    "  reset            end the connection by a reset\n"
    "  close            end it\n"
    "  say TEXT         print a line, flushed: an event for whoever reads our output\n"
    "  wait             wait for a line on standard input: an event from there\n"
    "\n"
    "Many connections:\n"
    "  load C N SIZE    C connections together make N echoes of SIZE bytes; print the figures\n"
    "  hold C           open C connections, each with one echo; say so; wait for a line; go on\n"
    "  silent C         open C connections and send nothing; say so; wait for a line; go on\n"
    "  crowd C K        C connections send; K are answered; these leave, and so are the others\n"
    "  gaps C           C connections; every other one leaves; those that stay are served on\n"
    "  churn N          N connections, one after the other: echo, finish, expect-end\n";

static const char *address = "127.0.0.1", *port;
static char where[200] = "start"; /* the step that we are in, for the alarm */
static int server = -1;           /* the one connection of the step-by-step verbs */
static uint64_t filled;           /* bytes that fill has sent and drain has not read */

static void fail(const char *format, ...)
{
    va_list values;

    fprintf(stderr, "client: %s: ", where);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    exit(1);
}

static void time_is_up(int signal_number)
{
    ssize_t written = write(STDERR_FILENO, "client: timed out in: ", 22);

    (void)signal_number;
    written += write(STDERR_FILENO, where, strlen(where));
    written += write(STDERR_FILENO, "\n", 1);
    _exit(written > 0 ? 1 : 1);
}

static void bad_usage(const char *what)
{
    fprintf(stderr, "client: %s\n%s", what, usage);
    exit(2);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The stream is a row of words, eight bytes each: splitmix64 of the word's place. */
static uint64_t stream_word(uint64_t place)
{
    uint64_t word = (place + 1) * 0x9e3779b97f4a7c15u;

    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
    return word ^ (word >> 31);
}

/* Its bytes from `position` on. */
static void make_stream(unsigned char *buffer, uint64_t position, size_t length)
{
    while (length > 0) {
        uint64_t word = stream_word(position / 8);
        size_t skip = (size_t)(position % 8), take = 8 - skip < length ? 8 - skip : length;
        memcpy(buffer, (unsigned char *)&word + skip, take);
        buffer += take;
        position += take;
        length -= take;
    }
}

static void check_stream(const unsigned char *got, uint64_t position, size_t length)
{
    unsigned char right[CHUNK];

    make_stream(right, position, length);
    if (memcmp(got, right, length) == 0)
        return;
    for (size_t i = 0; i < length; i++)
        if (got[i] != right[i])
            fail("byte %llu of the stream came back as 0x%02x, and was 0x%02x",
                 (unsigned long long)(position + i), got[i], right[i]);
}

static int narrow; /* the next connection's receive buffer, in bytes; 0: as the system likes */

static int open_connection(void)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int on = 1;
    int problem = getaddrinfo(address, port, &hints, &found);

    if (problem != 0)
        fail("%s port %s: %s", address, port, gai_strerror(problem));
    int fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (fd == -1)
        fail("socket: %s", strerror(errno));
    if (narrow > 0) /* before connect(): it decides the window that is offered, tcp(7) */
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &narrow, sizeof narrow);
    narrow = 0;
    if (connect(fd, found->ai_addr, found->ai_addrlen) == -1)
        fail("connect to %s port %s: %s", address, port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    freeaddrinfo(found);
    return fd;
}

static void reset_connection(int fd)
{
    struct linger now_and_hard = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now_and_hard, sizeof now_and_hard);
    close(fd);
}

static void send_all(int fd, const void *data, size_t length)
{
    for (size_t sent = 0; sent < length;) {
        ssize_t n = send(fd, (const char *)data + sent, length - sent, 0);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            fail("send after %zu of %zu bytes: %s", sent, length, strerror(errno));
        sent += (size_t)n;
    }
}

/* What recv() returns, with the errors that no client of an echo server should see made fatal. */
static size_t receive_some(int fd, void *buffer, size_t size)
{
    for (;;) {
        ssize_t n = recv(fd, buffer, size, 0);
        if (n >= 0)
            return (size_t)n;
        if (errno == ECONNRESET)
            fail("the server reset the connection");
        if (errno != EINTR)
            fail("recv: %s", strerror(errno));
    }
}

static void expect_bytes(int fd, const void *expected, size_t length)
{
    unsigned char buffer[CHUNK];

    for (size_t got = 0; got < length;) {
        size_t room = length - got < sizeof buffer ? length - got : sizeof buffer;
        size_t n = receive_some(fd, buffer, room);
        if (n == 0)
            fail("the server closed after %zu of %zu bytes", got, length);
        if (memcmp(buffer, (const char *)expected + got, n) != 0)
            fail("wrong bytes between %zu and %zu of %zu", got, got + n, length);
        got += n;
    }
}

static void expect_end(int fd)
{
    unsigned char byte;

    if (receive_some(fd, &byte, 1) != 0)
        fail("a byte (0x%02x) where the end was due", byte);
}

static void expect_gone(int fd)
{
    unsigned char buffer[CHUNK];
    ssize_t n;

    do
        n = recv(fd, buffer, sizeof buffer, 0);
    while (n > 0 || (n == -1 && errno == EINTR));
}

static void echo(int fd, const void *data, size_t length)
{
    send_all(fd, data, length);
    expect_bytes(fd, data, length);
}

static int poll_one(int fd, int events, int ms)
{
    struct pollfd one = {.fd = fd, .events = (short)events};
    int n = poll(&one, 1, ms);

    if (n == -1 && errno != EINTR)
        fail("poll: %s", strerror(errno));
    return n > 0 ? one.revents : 0;
}

/* Send `length` bytes of the stream and read them back at the same time.  read_ms > 0: a slow
 * reader, one byte each read_ms milliseconds. */
static void stream(int fd, uint64_t length, int read_ms)
{
    unsigned char out[CHUNK], in[CHUNK];
    uint64_t sent = 0, made = 0, got = 0;

    while (got < length) {
        int events = poll_one(fd, POLLIN | (sent < length ? POLLOUT : 0), -1);
        if ((events & POLLOUT) != 0) {
            if (made == sent) {
                made += length - sent < CHUNK ? length - sent : CHUNK;
                make_stream(out, sent, (size_t)(made - sent));
            }
            size_t left = (size_t)(made - sent);
            size_t first = made % CHUNK == 0 ? CHUNK - left : (size_t)(made % CHUNK) - left;
            ssize_t n = send(fd, out + first, left, MSG_DONTWAIT);
            if (n == -1 && errno != EAGAIN && errno != EINTR)
                fail("send after %llu bytes: %s", (unsigned long long)sent, strerror(errno));
            sent += n > 0 ? (uint64_t)n : 0;
        }
        if ((events & (POLLIN | POLLHUP | POLLERR)) == 0)
            continue;
        size_t n = receive_some(fd, in, read_ms > 0 ? 1 : sizeof in);
        if (n == 0)
            fail("the server closed after %llu of %llu bytes", (unsigned long long)got,
                 (unsigned long long)length);
        check_stream(in, got, n);
        got += n;
        if (read_ms > 0)
            poll(NULL, 0, read_ms);
    }
}

/* Send and never read, until no byte has moved for STUCK_MS or `most` are sent. */
static void fill(int fd, uint64_t most, bool may_end)
{
    unsigned char out[CHUNK];

    while (filled < most && (poll_one(fd, POLLOUT, may_end ? BRIEF_MS : STUCK_MS) & POLLOUT) != 0) {
        size_t length = most - filled < CHUNK ? (size_t)(most - filled) : CHUNK;
        make_stream(out, filled, length);
        ssize_t n = send(fd, out, length, MSG_DONTWAIT);
        if (n == -1 && may_end && (errno == ECONNRESET || errno == EPIPE))
            break;
        if (n == -1 && errno != EAGAIN && errno != EINTR)
            fail("send after %llu bytes: %s", (unsigned long long)filled, strerror(errno));
        filled += n > 0 ? (uint64_t)n : 0;
    }
    printf("filled %llu\n", (unsigned long long)filled);
    fflush(stdout);
}

static void drain(int fd)
{
    unsigned char in[CHUNK];

    for (uint64_t got = 0; got < filled;) {
        size_t n = receive_some(fd, in, filled - got < CHUNK ? (size_t)(filled - got) : CHUNK);
        if (n == 0)
            fail("the server closed after %llu of %llu bytes", (unsigned long long)got,
                 (unsigned long long)filled);
        check_stream(in, got, n);
        got += n;
    }
    filled = 0;
}

/* ---- many connections ---- */

static int *open_many(size_t count)
{
    int *fds = malloc(count * sizeof *fds);

    if (fds == NULL)
        fail("no memory");
    for (size_t i = 0; i < count; i++)
        fds[i] = open_connection();
    return fds;
}

static void wait_for_line(void)
{
    for (int c = getchar(); c != '\n' && c != EOF;)
        c = getchar();
}

static void hold(size_t count, bool silent)
{
    int *fds = open_many(count);

    for (size_t i = 0; i < count && !silent; i++)
        echo(fds[i], "hold", 4);
    printf("holding %zu\n", count);
    fflush(stdout);
    wait_for_line();
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    free(fds);
}

/* Read an answer from whichever of the connections that are still in `list` has one; each was sent
 * its own number.  The place in the list. */
static size_t next_answer(struct pollfd *list, size_t count)
{
    uint32_t got;

    while (poll(list, (nfds_t)count, -1) == -1)
        if (errno != EINTR)
            fail("poll: %s", strerror(errno));
    for (size_t i = 0; i < count; i++) {
        if (list[i].revents == 0)
            continue;
        for (size_t have = 0; have < sizeof got;) {
            size_t n = receive_some(list[i].fd, (char *)&got + have, sizeof got - have);
            if (n == 0)
                fail("connection %zu was closed without an answer", i);
            have += n;
        }
        if (got != (uint32_t)i)
            fail("connection %zu got the answer of %u", i, (unsigned)got);
        return i;
    }
    fail("poll named no connection");
    return 0;
}

static void crowd(size_t count, size_t first)
{
    int *fds = open_many(count);
    struct pollfd *list = calloc(count, sizeof *list);
    size_t answered = 0;

    if (list == NULL)
        fail("no memory");
    for (size_t i = 0; i < count; i++) {
        uint32_t number = (uint32_t)i;
        list[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
        send_all(fds[i], &number, sizeof number);
    }
    for (; answered < first; answered++) {
        size_t i = next_answer(list, count);
        list[i].fd = -1;
    }
    printf("answered %zu of %zu\n", answered, count);
    fflush(stdout);
    for (size_t i = 0; i < count; i++)
        if (list[i].fd == -1)
            close(fds[i]);
    for (; answered < count; answered++) {
        size_t i = next_answer(list, count);
        close(list[i].fd);
        list[i].fd = -1;
    }
    printf("answered %zu of %zu\n", answered, count);
    free(fds);
    free(list);
}

/* The gaps are made one by one, from either end of what the server may keep as a list. */
static void gaps(size_t count)
{
    int *fds = open_many(count);

    for (size_t i = 0; i < count; i++)
        echo(fds[i], "hello", 5);
    for (size_t i = 0; i < count; i += 2) {
        close(fds[i]);
        fds[i] = -1;
    }
    for (size_t i = 1; i < count; i += 2) {
        uint32_t number = (uint32_t)i;
        echo(fds[i], &number, sizeof number);
    }
    for (size_t i = 1; i < count; i += 2) {
        shutdown(fds[i], SHUT_WR);
        expect_end(fds[i]);
        close(fds[i]);
    }
    free(fds);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

struct talk { /* one connection of `load` */
    size_t sent, got;
    double since;
};

/* Closed loop: each connection sends SIZE bytes, waits until all are back, and starts again. */
static void load(size_t connections, size_t echoes, size_t size)
{
    int *fds = open_many(connections);
    struct pollfd *list = calloc(connections, sizeof *list);
    struct talk *talks = calloc(connections, sizeof *talks);
    double *took = calloc(echoes, sizeof *took);
    unsigned char *message = malloc(size), *in = malloc(size);
    size_t started = 0, done = 0;

    if (list == NULL || talks == NULL || took == NULL || message == NULL || in == NULL)
        fail("no memory");
    make_stream(message, 0, size);
    for (size_t i = 0; i < connections; i++) {
        list[i] = (struct pollfd){.fd = fds[i], .events = started < echoes ? POLLOUT : 0};
        started += started < echoes;
        talks[i].since = now();
    }
    double begin = now();
    for (size_t i = 0; i < connections; i++)
        talks[i].since = begin;
    while (done < echoes) {
        if (poll(list, (nfds_t)connections, -1) == -1 && errno != EINTR)
            fail("poll: %s", strerror(errno));
        for (size_t i = 0; i < connections; i++) {
            struct talk *talk = &talks[i];
            if ((list[i].revents & POLLOUT) != 0) {
                if (talk->sent == 0)
                    talk->since = now();
                ssize_t n = send(fds[i], message + talk->sent, size - talk->sent, MSG_DONTWAIT);
                if (n == -1 && errno != EAGAIN && errno != EINTR)
                    fail("send: %s", strerror(errno));
                talk->sent += n > 0 ? (size_t)n : 0;
                list[i].events = talk->sent < size ? POLLIN | POLLOUT : POLLIN;
            }
            if ((list[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0)
                continue;
            size_t n = receive_some(fds[i], in, size - talk->got);
            if (n == 0)
                fail("the server closed in the middle of an echo");
            if (memcmp(in, message + talk->got, n) != 0)
                fail("wrong bytes");
            talk->got += n;
            if (talk->got < size)
                continue;
            took[done++] = now() - talk->since;
            *talk = (struct talk){0};
            list[i].events = started < echoes ? POLLOUT : 0;
            started += started < echoes;
        }
    }
    double seconds = now() - begin;
    qsort(took, echoes, sizeof *took, compare);
    printf("echoes=%zu connections=%zu bytes=%zu seconds=%.3f per_second=%.0f median_us=%.0f "
           "p99_us=%.0f megabytes_per_second=%.1f\n",
           echoes, connections, size, seconds, (double)echoes / seconds, took[echoes / 2] * 1e6,
           took[echoes * 99 / 100] * 1e6, (double)echoes * (double)size / seconds / 1e6);
    for (size_t i = 0; i < connections; i++)
        close(fds[i]);
    free(fds);
    free(list);
    free(talks);
    free(took);
    free(message);
    free(in);
}

static void churn(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        int fd = open_connection();
        echo(fd, &i, sizeof i);
        shutdown(fd, SHUT_WR);
        expect_end(fd);
        close(fd);
    }
}

/* ---- the command line ---- */

static int the_server(void)
{
    if (server == -1)
        server = open_connection();
    return server;
}

static uint64_t number(const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0')
        bad_usage("a verb needs a number");
    return value;
}

static void dribble(const char *text)
{
    for (; *text != '\0'; text++)
        echo(the_server(), text, 1);
}

static void all_bytes(void)
{
    unsigned char values[256];

    for (int i = 0; i < 256; i++)
        values[i] = (unsigned char)i;
    echo(the_server(), values, sizeof values);
}

static void finish(void)
{
    if (shutdown(the_server(), SHUT_WR) == -1 && errno != ENOTCONN)
        fail("shutdown: %s", strerror(errno));
}

static void end_connection(bool by_reset)
{
    if (by_reset)
        reset_connection(the_server());
    else
        close(the_server());
    server = -1;
}

/* Carry out one verb.  v[0] is its name, v[1] and so on its values, checked to be there. */
static void perform(char **v)
{
    const char *verb = v[0], *text = v[1];

    if (strcmp(verb, "open") == 0)
        the_server();
    else if (strcmp(verb, "narrow") == 0) {
        narrow = 16384;
        the_server();
    } else if (strcmp(verb, "send") == 0)
        send_all(the_server(), text, strlen(text));
    else if (strcmp(verb, "expect") == 0)
        expect_bytes(the_server(), text, strlen(text));
    else if (strcmp(verb, "echo") == 0)
        echo(the_server(), text, strlen(text));
    else if (strcmp(verb, "dribble") == 0)
        dribble(text);
    else if (strcmp(verb, "bytes") == 0)
        all_bytes();
    else if (strcmp(verb, "random") == 0)
        stream(the_server(), number(text), 0);
    else if (strcmp(verb, "slow") == 0)
        stream(the_server(), number(text), (int)number(v[2]));
    else if (strcmp(verb, "oob") == 0)
        send(the_server(), text, 1, MSG_OOB);
    else if (strcmp(verb, "fill") == 0 || strcmp(verb, "flood") == 0)
        fill(the_server(), number(text), verb[1] == 'l');
    else if (strcmp(verb, "drain") == 0)
        drain(the_server());
    else if (strcmp(verb, "finish") == 0)
        finish();
    else if (strcmp(verb, "expect-end") == 0)
        expect_end(the_server());
    else if (strcmp(verb, "expect-gone") == 0)
        expect_gone(the_server());
    else if (strcmp(verb, "reset") == 0 || strcmp(verb, "close") == 0)
        end_connection(verb[0] == 'r');
    else if (strcmp(verb, "say") == 0)
        puts(text);
    else if (strcmp(verb, "wait") == 0)
        wait_for_line();
    else if (strcmp(verb, "load") == 0)
        load((size_t)number(text), (size_t)number(v[2]), (size_t)number(v[3]));
    else if (strcmp(verb, "hold") == 0 || strcmp(verb, "silent") == 0)
        hold((size_t)number(text), verb[0] == 's');
    else if (strcmp(verb, "crowd") == 0)
        crowd((size_t)number(text), (size_t)number(v[2]));
    else if (strcmp(verb, "gaps") == 0)
        gaps((size_t)number(text));
    else
        churn(number(text));
    fflush(stdout);
}

/* How many values the verb takes; -1: no such verb. */
static int values_of(const char *verb)
{
    static const struct {
        const char *names;
        int values;
    } verbs[] = {{" open narrow bytes drain finish expect-end expect-gone reset close wait ", 0},
                 {" send expect echo dribble random oob fill flood say hold silent gaps churn ", 1},
                 {" slow crowd ", 2},
                 {" load ", 3}};
    char name[32];

    snprintf(name, sizeof name, " %.20s ", verb);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strstr(verbs[i].names, name) != NULL)
            return verbs[i].values;
    return -1;
}

/* Thousands of connections are thousands of descriptors. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    unsigned seconds = 20;
    int option;

    while ((option = getopt(argc, argv, "+hb:t:")) != -1) {
        if (option == 'b') {
            address = optarg;
        } else if (option == 't') {
            seconds = (unsigned)number(optarg);
        } else {
            fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 2;
        }
    }
    if (argc - optind < 2)
        bad_usage("a port and a verb are needed");
    port = argv[optind++];
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, time_is_up);
    alarm(seconds);
    raise_descriptor_limit();
    while (optind < argc) {
        int values = values_of(argv[optind]);
        if (values == -1 || optind + values >= argc)
            bad_usage(argv[optind]);
        snprintf(where, sizeof where, "%s %.60s", argv[optind], values > 0 ? argv[optind + 1] : "");
        perform(argv + optind);
        optind += 1 + values;
    }
    return 0;
}
