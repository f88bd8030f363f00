/* The test client: it checks every byte that comes back, and it can misbehave in every way that a
 * real client might.
 *
 * Usage: client [-b ADDRESS] [-t SECONDS] [-s SECONDS] PORT VERB [VALUE]...
 * (`client -h` lists the verbs)
 * Exit code: 0 if the server did everything that the verbs expect; 1 if it broke a rule, with one
 * line on stderr; 2 if the command line is wrong.  The client gives up after -t SECONDS (default
 * 20), or when the server has not answered for -s SECONDS, and exits with 1.
 *
 * Pseudo-random bytes are a function of their position in the stream, so the client detects a byte
 * that is lost, duplicated or out of order, and can name its position.
 *
 * Every connection has O_NONBLOCK, and where a verb has to wait, it calls poll().  MSG_DONTWAIT
 * would not do: on NetBSD, send() blocks in spite of it. */
#define _DEFAULT_SOURCE /* NetBSD hides parts of POSIX from a program that asks for POSIX only */

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
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "stream.h"

#define CHUNK 65536
#define STALL_MS 300       /* fill: after this long without progress, the socket is full */
#define BRIEF_STALL_MS 50  /* the same for try-fill, which does not have to be certain */
#define SMALL_RCVBUF 16384 /* bytes, for small-rcvbuf */
#define TICK_MS 500        /* how often the timer fires that ends the program */

static const char usage[] =
    "usage: client [-b ADDRESS] [-t SECONDS] [-s SECONDS] PORT VERB [VALUE]...\n"
    "\n"
    "Carries out the verbs in order.  The exit code is 0 if the server did what they\n"
    "expect, and 1 if it did not.  ADDRESS is 127.0.0.1 unless you name another.\n"
    "After -t SECONDS (20) the client gives up, also with 1; with -s, it gives up when\n"
    "the server has not answered for so long.\n"
    "\n"
    "Verbs for one connection.  The first verb opens it; after reset or close, the\n"
    "next verb opens another:\n"
    "  connect            connect, and send nothing\n"
    "  small-rcvbuf       connect with a small receive buffer, so that the server\n"
    "                     soon gets short writes\n"
    "  send TEXT          send TEXT and do not wait for an answer\n"
    "  send-oob BYTE      send one byte of out-of-band data\n"
    "  expect TEXT        read, and check that the next bytes are TEXT\n"
    "  echo TEXT          send TEXT, then expect it\n"
    "  byte-by-byte TEXT  echo TEXT one byte at a time; wait for each byte before\n"
    "                     sending the next\n"
    "  all-bytes          echo all 256 byte values\n"
    "  random N           send N pseudo-random bytes and read them back at the same\n"
    "                     time\n"
    "  slow-read N MS     like random, but read only one byte every MS milliseconds\n"
    "  fill MAX           send without reading until the socket is full, at most MAX\n"
    "                     bytes; print how many were sent\n"
    "  try-fill MAX       like fill, but the server may close or reset the connection\n"
    "                     meanwhile\n"
    "  drain              read back everything that fill sent\n"
    "  expect-stream N    read N bytes, and check that they are the first N bytes that\n"
    "                     fill or random sends, on this connection or another\n"
    "  shutdown           half-close: send FIN and keep reading\n"
    "  expect-eof         check that the server's FIN comes next: no byte and no\n"
    "                     reset before it\n"
    "  expect-closed      read and discard until the server closes or resets the\n"
    "                     connection\n"
    "  reset              close the connection with a reset (RST)\n"
    "  close              close the connection\n"
    "  print TEXT         print TEXT as a line, to notify whoever reads the output\n"
    "  wait               wait for a line on standard input\n"
    "\n"
    "Verbs for many connections:\n"
    "  load C N SIZE      make N echoes of SIZE bytes over C connections at once;\n"
    "                     print statistics\n"
    "  hold C             open C connections with one echo on each; print \"holding\n"
    "                     C\"; wait for a line on standard input; close them\n"
    "  idle C             like hold, but send nothing\n"
    "  crowd C K          open C connections and send on each; when K are answered,\n"
    "                     close those K; wait for the other answers\n"
    "  close-alternate C  open C connections, close every second one, and check that\n"
    "                     the server still serves the others\n"
    "  churn N            N connections in turn: echo, shutdown, expect-eof\n";

static const char *address = "127.0.0.1", *port;
static char step[200] = "start"; /* the current verb and its first value, for error messages */
static int connection = -1;      /* used by the verbs for one connection; -1: not open */
static int receive_buffer;       /* SO_RCVBUF for the next connection; 0: the system's default */
static uint64_t filled;          /* bytes that fill has sent and drain has not read back */

/* For -t and -s, counted in ticks of the timer; a limit of 0 means that there is none. */
static int tick_limit, quiet_tick_limit;
static volatile sig_atomic_t ticks, quiet_ticks; /* since the start; since the last progress */
static volatile sig_atomic_t is_told_to_wait;    /* by a verb: then the server owes nothing */

/* Print one line that names the current verb, and exit with 1. */
static void fail(const char *format, ...)
{
    va_list values;

    fprintf(stderr, "client: %s: ", step);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    exit(1);
}

/* The server has answered, or taken something. */
static void note_progress(void)
{
    quiet_ticks = 0;
}

static const char *silence; /* what on_tick() prints; set by start_timer() */

/* The SIGALRM handler: it may call async-signal-safe functions only. */
static void on_tick(int signal_number)
{
    (void)signal_number;
    ticks++;
    quiet_ticks++;
    bool quiet = quiet_tick_limit > 0 && quiet_ticks >= quiet_tick_limit && !is_told_to_wait;
    if (!quiet && (tick_limit == 0 || ticks < tick_limit))
        return;
    const char *text = quiet ? silence : "client: timed out in: ";
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    written += write(STDERR_FILENO, step, strlen(step));
    written += write(STDERR_FILENO, "\n", 1);
    _exit(written > 0 ? 1 : 1); /* The compiler wants the result of write() to be used. */
}

/* Start the timer for these limits in seconds; 0 means no limit. */
static void start_timer(unsigned total, unsigned quiet)
{
    static char text[100];
    struct itimerval every = {.it_interval.tv_usec = TICK_MS * 1000,
                              .it_value.tv_usec = TICK_MS * 1000};

    tick_limit = (int)(total * 1000 / TICK_MS);
    quiet_tick_limit = (int)(quiet * 1000 / TICK_MS);
    snprintf(text, sizeof text, "client: the server did not answer for %u second%s in: ", quiet,
             quiet == 1 ? "" : "s");
    silence = text;
    signal(SIGALRM, on_tick);
    setitimer(ITIMER_REAL, &every, NULL);
}

/* Print the message and the usage, and exit with 2. */
static void bad_usage(const char *what)
{
    fprintf(stderr, "client: %s\n%s", what, usage);
    exit(2);
}

/* Monotonic time, in seconds. */
static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Fail if `got` is not what the stream has at this position.  `length` is at most CHUNK. */
static void check_stream(const unsigned char *got, uint64_t position, size_t length)
{
    unsigned char expected[CHUNK];

    make_stream(expected, position, length);
    if (memcmp(got, expected, length) == 0)
        return;
    size_t i = 0;
    while (got[i] == expected[i])
        i++;
    uint64_t wrong = position + i, found;
    char what[100] = "";
    if (find_in_stream(got + i, length - i, &found) && found > wrong)
        snprintf(what, sizeof what, ": the %llu bytes before it are missing",
                 (unsigned long long)(found - wrong));
    else if (find_in_stream(got + i, length - i, &found))
        snprintf(what, sizeof what, ": byte %llu came back a second time",
                 (unsigned long long)found);
    fail("byte %llu of the stream came back as 0x%02x, but 0x%02x was sent%s",
         (unsigned long long)wrong, got[i], expected[i], what);
}

/* Connect to the server and return the descriptor. */
static int open_connection(void)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int on = 1;
    int error = getaddrinfo(address, port, &hints, &found);

    if (error != 0)
        fail("%s port %s: %s", address, port, gai_strerror(error));
    int fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (fd == -1)
        fail("socket(): %s", strerror(errno));
    if (receive_buffer > 0) /* before connect(), where the TCP window is negotiated: tcp(7) */
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    receive_buffer = 0;
    if (connect(fd, found->ai_addr, found->ai_addrlen) == -1)
        fail("connect to %s port %s: %s", address, port, strerror(errno));
    note_progress();
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) == -1) /* after connect(), which has to wait */
        fail("fcntl(): %s", strerror(errno));
    freeaddrinfo(found);
    return fd;
}

/* Close with RST instead of FIN: a linger time of zero discards unsent data, socket(7). */
static void reset_connection(int fd)
{
    struct linger no_linger = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &no_linger, sizeof no_linger);
    close(fd);
}

/* Wait up to `ms` milliseconds (-1: without limit) and return the events, or 0.  The timer must not
 * end a wait that has a limit of its own. */
static int poll_one(int fd, int events, int ms)
{
    struct pollfd one = {.fd = fd, .events = (short)events};
    sigset_t alarm_only, before;

    sigemptyset(&alarm_only);
    if (ms >= 0)
        sigaddset(&alarm_only, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarm_only, &before);
    int n = poll(&one, 1, ms);
    sigprocmask(SIG_SETMASK, &before, NULL);

    if (n == -1 && errno != EINTR)
        fail("poll(): %s", strerror(errno));
    return n > 0 ? one.revents : 0;
}

/* Send as much as the socket accepts now; -1 is an error, and 0 means that the socket is full. */
static ssize_t send_some(int fd, const void *data, size_t length)
{
    ssize_t n = send(fd, data, length, 0);

    return n == -1 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
}

/* Send all bytes, however many calls it takes; fail on an error. */
static void send_all(int fd, const void *data, size_t length)
{
    for (size_t sent = 0; sent < length;) {
        ssize_t n = send_some(fd, (const char *)data + sent, length - sent);
        if (n == -1)
            fail("send() failed after %zu of %zu bytes: %s", sent, length, strerror(errno));
        if (n == 0)
            poll_one(fd, POLLOUT, -1);
        sent += (size_t)n;
        note_progress();
    }
}

/* Wait for bytes and return what recv() returns: their number, or 0 at end-of-file.  A client of a
 * correct echo server never sees an error, so this function fails on one. */
static size_t receive_some(int fd, void *buffer, size_t size)
{
    for (;;) {
        ssize_t n = recv(fd, buffer, size, 0);
        if (n >= 0) {
            note_progress();
            return (size_t)n;
        }
        if (errno == ECONNRESET)
            fail("the server reset the connection");
        if (errno == EAGAIN)
            poll_one(fd, POLLIN, -1);
        else if (errno != EINTR)
            fail("recv(): %s", strerror(errno));
    }
}

/* Read exactly `length` bytes, and fail if they are not the expected ones. */
static void expect_bytes(int fd, const void *expected, size_t length)
{
    unsigned char buffer[CHUNK];

    for (size_t got = 0; got < length;) {
        size_t room = length - got < sizeof buffer ? length - got : sizeof buffer;
        size_t n = receive_some(fd, buffer, room);
        if (n == 0)
            fail("the server closed the connection after %zu of %zu bytes", got, length);
        if (memcmp(buffer, (const char *)expected + got, n) != 0)
            fail("bytes %zu to %zu of %zu differ from what was sent", got, got + n - 1, length);
        got += n;
    }
}

/* Fail unless the next thing that the server sends is its FIN. */
static void expect_eof(int fd)
{
    unsigned char byte;

    if (receive_some(fd, &byte, 1) != 0)
        fail("received a byte (0x%02x) instead of end-of-file", byte);
}

/* Read and discard until end-of-file or an error. */
static void expect_closed(int fd)
{
    unsigned char buffer[CHUNK];
    ssize_t n;

    do {
        poll_one(fd, POLLIN, -1);
        n = recv(fd, buffer, sizeof buffer, 0);
        if (n > 0)
            note_progress();
    } while (n > 0 || (n == -1 && (errno == EAGAIN || errno == EINTR)));
}

static void echo(int fd, const void *data, size_t length)
{
    send_all(fd, data, length);
    expect_bytes(fd, data, length);
}

/* Bytes of the stream on their way out: [sent, made) have been generated and not yet sent. */
struct outgoing {
    unsigned char bytes[CHUNK];
    uint64_t sent, made;
};

/* Send as much of a stream of `length` bytes as the socket accepts now. */
static void send_stream(int fd, struct outgoing *out, uint64_t length)
{
    if (out->made == out->sent) {
        out->made += length - out->sent < CHUNK ? length - out->sent : CHUNK;
        make_stream(out->bytes, out->sent, (size_t)(out->made - out->sent));
    }
    size_t unsent = (size_t)(out->made - out->sent);
    size_t chunk = (size_t)((out->made - 1) % CHUNK) + 1; /* its length; only the last is shorter */
    ssize_t n = send_some(fd, out->bytes + chunk - unsent, unsent);
    if (n == -1)
        fail("send() failed after %llu bytes: %s", (unsigned long long)out->sent, strerror(errno));
    out->sent += (uint64_t)n;
    if (n > 0)
        note_progress();
}

/* The echo of a stream has stopped.  If everything has been sent, send one more byte: a server that
 * has bytes in its receive buffer and waits for a new event then sends some of them back. */
static void fail_stalled(int fd, uint64_t got, const struct outgoing *out, uint64_t length)
{
    unsigned char in[CHUNK];
    unsigned long long back = got, sent = out->sent;
    ssize_t n = 0;

    if (out->sent == length && send_some(fd, "", 1) == 1 && poll_one(fd, POLLIN, 500) != 0)
        n = recv(fd, in, sizeof in, 0);
    if (n > 1)
        fail("no answer for %d seconds after %llu of %llu bytes; one more byte was sent, and %zd "
             "older bytes came back",
             quiet_tick_limit * TICK_MS / 1000, back, sent, n);
    fail("no answer for %d seconds: %llu bytes were sent, and %llu came back",
         quiet_tick_limit * TICK_MS / 1000, sent, back);
}

/* Send `length` bytes of the stream and read them back at the same time.  If read_ms > 0, read
 * slowly: one byte every read_ms milliseconds. */
static void echo_stream(int fd, uint64_t length, int read_ms)
{
    struct outgoing out = {.sent = 0};
    unsigned char in[CHUNK];
    uint64_t got = 0;

    while (got < length) {
        int events = poll_one(fd, POLLIN | (out.sent < length ? POLLOUT : 0),
                              quiet_tick_limit > 0 ? quiet_tick_limit * TICK_MS : -1);
        if (events == 0 && quiet_tick_limit > 0)
            fail_stalled(fd, got, &out, length);
        if ((events & POLLOUT) != 0)
            send_stream(fd, &out, length);
        if ((events & (POLLIN | POLLHUP | POLLERR)) == 0)
            continue;
        size_t n = receive_some(fd, in, read_ms > 0 ? 1 : sizeof in);
        if (n == 0)
            fail("the server closed the connection after %llu of %llu bytes",
                 (unsigned long long)got, (unsigned long long)length);
        check_stream(in, got, n);
        got += n;
        if (read_ms > 0)
            poll(NULL, 0, read_ms);
    }
}

/* Send without reading until `most` bytes are sent or the socket has been full for a while, and
 * print the number of bytes sent.  If may_close is true, the server may close the connection. */
static void fill(int fd, uint64_t most, bool may_close)
{
    unsigned char out[CHUNK];
    int stall_ms = may_close ? BRIEF_STALL_MS : STALL_MS;

    while (filled < most && (poll_one(fd, POLLOUT, stall_ms) & POLLOUT) != 0) {
        size_t length = most - filled < CHUNK ? (size_t)(most - filled) : CHUNK;
        make_stream(out, filled, length);
        ssize_t n = send_some(fd, out, length);
        if (n == -1 && may_close && (errno == ECONNRESET || errno == EPIPE))
            break;
        if (n == -1)
            fail("send() failed after %llu bytes: %s", (unsigned long long)filled, strerror(errno));
        filled += (uint64_t)n;
        note_progress();
    }
    printf("filled %llu\n", (unsigned long long)filled);
    fflush(stdout);
}

/* Read back and check the bytes that fill() sent. */
static void drain(int fd)
{
    unsigned char in[CHUNK];

    for (uint64_t got = 0; got < filled;) {
        size_t n = receive_some(fd, in, filled - got < CHUNK ? (size_t)(filled - got) : CHUNK);
        if (n == 0)
            fail("the server closed the connection after %llu of %llu bytes",
                 (unsigned long long)got, (unsigned long long)filled);
        check_stream(in, got, n);
        got += n;
    }
    filled = 0;
}

/* ---- many connections ---- */

/* Open `count` connections and return their descriptors, which the caller frees. */
static int *open_many(size_t count)
{
    int *fds = malloc(count * sizeof *fds);

    if (fds == NULL)
        fail("out of memory");
    for (size_t i = 0; i < count; i++)
        fds[i] = open_connection();
    return fds;
}

/* Wait for a line, or end-of-file, on standard input. */
static void wait_for_line(void)
{
    is_told_to_wait = true;
    for (int c = getchar(); c != '\n' && c != EOF;)
        c = getchar();
    note_progress();
    is_told_to_wait = false;
}

/* Open `count` connections, make an echo on each unless they are idle, announce it, and keep them
 * open until a line arrives on standard input. */
static void hold(size_t count, bool idle)
{
    int *fds = open_many(count);

    for (size_t i = 0; i < count && !idle; i++)
        echo(fds[i], "hold", 4);
    printf("holding %zu\n", count);
    fflush(stdout);
    wait_for_line();
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    free(fds);
}

/* Each connection was sent its own index.  Wait until one of those still in `pollfds` has an
 * answer, check the answer, and return the index. */
static size_t next_answer(struct pollfd *pollfds, size_t count)
{
    uint32_t got;

    while (poll(pollfds, (nfds_t)count, -1) == -1)
        if (errno != EINTR)
            fail("poll(): %s", strerror(errno));
    for (size_t i = 0; i < count; i++) {
        if (pollfds[i].revents == 0)
            continue;
        for (size_t have = 0; have < sizeof got;) {
            size_t n = receive_some(pollfds[i].fd, (char *)&got + have, sizeof got - have);
            if (n == 0)
                fail("the server closed connection %zu without answering", i);
            have += n;
        }
        if (got != (uint32_t)i)
            fail("connection %zu received the answer for connection %u", i, (unsigned)got);
        return i;
    }
    fail("poll() reported no connection");
    return 0;
}

/* Print, at once, how many connections have been answered. */
static void print_answered(size_t answered, size_t count)
{
    printf("answered %zu of %zu\n", answered, count);
    fflush(stdout);
}

/* Send on `count` connections at once.  When `first` have been answered, close those, so that the
 * server has descriptors for connections that are still in the backlog; then await the others. */
static void crowd(size_t count, size_t first)
{
    int *fds = open_many(count);
    struct pollfd *pollfds = calloc(count, sizeof *pollfds);
    size_t answered = 0;

    if (pollfds == NULL)
        fail("out of memory");
    for (size_t i = 0; i < count; i++) {
        uint32_t index = (uint32_t)i;
        pollfds[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
        send_all(fds[i], &index, sizeof index);
    }
    for (; answered < first; answered++)
        pollfds[next_answer(pollfds, count)].fd = -1;
    print_answered(answered, count);
    for (size_t i = 0; i < count; i++)
        if (pollfds[i].fd == -1)
            close(fds[i]);
    for (; answered < count; answered++) {
        size_t i = next_answer(pollfds, count);
        close(fds[i]);
        pollfds[i].fd = -1;
    }
    print_answered(answered, count);
    free(fds);
    free(pollfds);
}

/* Close every second connection, which leaves gaps all over the server's list of clients, and check
 * that the remaining connections still get their own answers. */
static void close_alternate(size_t count)
{
    int *fds = open_many(count);

    for (size_t i = 0; i < count; i++)
        echo(fds[i], "hello", 5);
    for (size_t i = 0; i < count; i += 2) {
        close(fds[i]);
        fds[i] = -1;
    }
    for (size_t i = 1; i < count; i += 2) {
        uint32_t index = (uint32_t)i;
        echo(fds[i], &index, sizeof index);
    }
    for (size_t i = 1; i < count; i += 2) {
        shutdown(fds[i], SHUT_WR);
        expect_eof(fds[i]);
        close(fds[i]);
    }
    free(fds);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* What `load` sends, and how far it is. */
struct load {
    unsigned char *message, *in; /* `size` bytes each */
    size_t size;
    size_t echoes, started, done;
    double *seconds; /* the duration of each finished echo */
};

struct load_connection {
    struct pollfd *pollfd;
    size_t sent, got; /* bytes of the current echo */
    double begin;     /* when it began */
};

/* Ask poll() for writability if there is another echo to make on this connection. */
static void load_next(struct load *load, struct load_connection *c)
{
    c->sent = c->got = 0;
    c->pollfd->events = load->started < load->echoes ? POLLOUT : 0;
    load->started += load->started < load->echoes;
}

static void load_send(struct load *load, struct load_connection *c)
{
    if (c->sent == 0)
        c->begin = now();
    ssize_t n = send_some(c->pollfd->fd, load->message + c->sent, load->size - c->sent);
    if (n == -1)
        fail("send(): %s", strerror(errno));
    c->sent += (size_t)n;
    if (n > 0)
        note_progress();
    c->pollfd->events = c->sent < load->size ? POLLIN | POLLOUT : POLLIN;
}

static void load_receive(struct load *load, struct load_connection *c)
{
    size_t n = receive_some(c->pollfd->fd, load->in, load->size - c->got);

    if (n == 0)
        fail("the server closed the connection in the middle of an echo");
    if (memcmp(load->in, load->message + c->got, n) != 0)
        fail("the echo differs from what was sent");
    c->got += n;
    if (c->got < load->size)
        return;
    load->seconds[load->done++] = now() - c->begin;
    load_next(load, c);
}

static void load_report(struct load *load, size_t connections, double seconds)
{
    double echoes = (double)load->echoes, *took = load->seconds;

    qsort(took, load->echoes, sizeof *took, compare);
    printf("echoes=%zu connections=%zu bytes=%zu seconds=%.3f per_second=%.0f median_us=%.0f "
           "p99_us=%.0f megabytes_per_second=%.1f\n",
           load->echoes, connections, load->size, seconds, echoes / seconds,
           took[load->echoes / 2] * 1e6, took[load->echoes * 99 / 100] * 1e6,
           echoes * (double)load->size / seconds / 1e6);
}

/* A closed loop: each connection sends `size` bytes, waits until all are back, and starts again. */
static void run_load(size_t count, size_t echoes, size_t size)
{
    int *fds = open_many(count);
    struct pollfd *pollfds = calloc(count, sizeof *pollfds);
    struct load_connection *connections = calloc(count, sizeof *connections);
    struct load load = {.message = malloc(size),
                        .in = malloc(size),
                        .size = size,
                        .echoes = echoes,
                        .seconds = calloc(echoes, sizeof(double))};

    if (pollfds == NULL || connections == NULL || load.message == NULL || load.in == NULL ||
        load.seconds == NULL)
        fail("out of memory");
    make_stream(load.message, 0, size);
    double begin = now();
    for (size_t i = 0; i < count; i++) {
        pollfds[i].fd = fds[i];
        connections[i].pollfd = &pollfds[i];
        load_next(&load, &connections[i]);
    }
    while (load.done < echoes) {
        if (poll(pollfds, (nfds_t)count, -1) == -1) {
            if (errno != EINTR)
                fail("poll(): %s", strerror(errno));
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            if ((pollfds[i].revents & POLLOUT) != 0)
                load_send(&load, &connections[i]);
            if ((pollfds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
                load_receive(&load, &connections[i]);
        }
    }
    load_report(&load, count, now() - begin);
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    free(fds);
    free(pollfds);
    free(connections);
    free(load.message);
    free(load.in);
    free(load.seconds);
}

/* Open and close `count` connections in turn, with one echo on each. */
static void churn(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        int fd = open_connection();
        echo(fd, &i, sizeof i);
        shutdown(fd, SHUT_WR);
        expect_eof(fd);
        close(fd);
    }
}

/* ---- the verbs: each function gets the values that follow the verb ---- */

/* The connection of the verbs for one connection; opens it if it is not open. */
static int connected(void)
{
    if (connection == -1)
        connection = open_connection();
    return connection;
}

static uint64_t number(const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0')
        bad_usage("a value has to be a number");
    return value;
}

static size_t count_of(const char *text)
{
    return (size_t)number(text);
}

static void verb_connect(char **v)
{
    (void)v;
    connected();
}

static void verb_small_rcvbuf(char **v)
{
    receive_buffer = SMALL_RCVBUF;
    verb_connect(v);
}

static void verb_send(char **v)
{
    send_all(connected(), v[0], strlen(v[0]));
}

static void verb_send_oob(char **v)
{
    poll_one(connected(), POLLOUT, -1);
    if (send(connected(), v[0], 1, MSG_OOB) == -1)
        fail("send() of out-of-band data: %s", strerror(errno));
}

static void verb_expect(char **v)
{
    expect_bytes(connected(), v[0], strlen(v[0]));
}

static void verb_echo(char **v)
{
    echo(connected(), v[0], strlen(v[0]));
}

static void verb_byte_by_byte(char **v)
{
    for (const char *byte = v[0]; *byte != '\0'; byte++)
        echo(connected(), byte, 1);
}

static void verb_all_bytes(char **v)
{
    unsigned char values[256];

    (void)v;
    for (int i = 0; i < 256; i++)
        values[i] = (unsigned char)i;
    echo(connected(), values, sizeof values);
}

static void verb_random(char **v)
{
    echo_stream(connected(), number(v[0]), 0);
}

static void verb_slow_read(char **v)
{
    echo_stream(connected(), number(v[0]), (int)number(v[1]));
}

static void verb_fill(char **v)
{
    fill(connected(), number(v[0]), false);
}

static void verb_try_fill(char **v)
{
    fill(connected(), number(v[0]), true);
}

static void verb_drain(char **v)
{
    (void)v;
    drain(connected());
}

static void verb_expect_stream(char **v)
{
    filled = count_of(v[0]);
    drain(connected());
}

static void verb_shutdown(char **v)
{
    (void)v;
    if (shutdown(connected(), SHUT_WR) == -1 && errno != ENOTCONN)
        fail("shutdown(): %s", strerror(errno));
}

static void verb_expect_eof(char **v)
{
    (void)v;
    expect_eof(connected());
}

static void verb_expect_closed(char **v)
{
    (void)v;
    expect_closed(connected());
}

static void verb_reset(char **v)
{
    (void)v;
    reset_connection(connected());
    connection = -1;
}

static void verb_close(char **v)
{
    (void)v;
    close(connected());
    connection = -1;
}

static void verb_print(char **v)
{
    puts(v[0]);
}

static void verb_wait(char **v)
{
    (void)v;
    wait_for_line();
}

static void verb_load(char **v)
{
    run_load(count_of(v[0]), count_of(v[1]), count_of(v[2]));
}

static void verb_hold(char **v)
{
    hold(count_of(v[0]), false);
}

static void verb_idle(char **v)
{
    hold(count_of(v[0]), true);
}

static void verb_crowd(char **v)
{
    crowd(count_of(v[0]), count_of(v[1]));
}

static void verb_close_alternate(char **v)
{
    close_alternate(count_of(v[0]));
}

static void verb_churn(char **v)
{
    churn(number(v[0]));
}

/* ---- the command line ---- */

static const struct verb {
    const char *name;
    int values; /* how many values follow it */
    void (*run)(char **values);
} verbs[] = {{"connect", 0, verb_connect},
             {"small-rcvbuf", 0, verb_small_rcvbuf},
             {"send", 1, verb_send},
             {"send-oob", 1, verb_send_oob},
             {"expect", 1, verb_expect},
             {"echo", 1, verb_echo},
             {"byte-by-byte", 1, verb_byte_by_byte},
             {"all-bytes", 0, verb_all_bytes},
             {"random", 1, verb_random},
             {"slow-read", 2, verb_slow_read},
             {"fill", 1, verb_fill},
             {"try-fill", 1, verb_try_fill},
             {"drain", 0, verb_drain},
             {"expect-stream", 1, verb_expect_stream},
             {"shutdown", 0, verb_shutdown},
             {"expect-eof", 0, verb_expect_eof},
             {"expect-closed", 0, verb_expect_closed},
             {"reset", 0, verb_reset},
             {"close", 0, verb_close},
             {"print", 1, verb_print},
             {"wait", 0, verb_wait},
             {"load", 3, verb_load},
             {"hold", 1, verb_hold},
             {"idle", 1, verb_idle},
             {"crowd", 2, verb_crowd},
             {"close-alternate", 1, verb_close_alternate},
             {"churn", 1, verb_churn}};

/* Find the verb that argv[0] names, and check that its values follow it. */
static const struct verb *find_verb(char **argv, int argc)
{
    char message[100];

    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(argv[0], verbs[i].name) != 0)
            continue;
        if (argc <= verbs[i].values) {
            snprintf(message, sizeof message, "%s: a value is missing", argv[0]);
            bad_usage(message);
        }
        return &verbs[i];
    }
    snprintf(message, sizeof message, "unknown verb: %.60s", argv[0]);
    bad_usage(message);
    return NULL;
}

/* Each connection needs a descriptor, and some verbs open thousands. */
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
    unsigned seconds = 20, quiet = 0;
    int option;

    while ((option = getopt(argc, argv, "+hb:s:t:")) != -1) {
        if (option == 'b') {
            address = optarg;
        } else if (option == 't') {
            seconds = (unsigned)number(optarg);
        } else if (option == 's') {
            quiet = (unsigned)number(optarg);
        } else {
            fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 2;
        }
    }
    if (argc - optind < 2)
        bad_usage("a port and at least one verb are required");
    port = argv[optind++];
    signal(SIGPIPE, SIG_IGN);
    start_timer(seconds, quiet);
    raise_descriptor_limit();
    while (optind < argc) {
        const struct verb *verb = find_verb(argv + optind, argc - optind);
        const char *value = verb->values > 0 ? argv[optind + 1] : "";
        snprintf(step, sizeof step, "%s%s%.60s", verb->name, *value != '\0' ? " " : "", value);
        verb->run(argv + optind + 1);
        fflush(stdout);
        optind += 1 + verb->values;
    }
    return 0;
}
