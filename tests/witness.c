/* A witness for the tracer: it sends packets to itself, and notes by its own clock and by the
 * kernel's stamps (SO_TIMESTAMPING) when each was sent, taken in, told of and read.  Neither uses a
 * tracepoint.  Then the tracer's hops of the same packets have to lie between these times.
 *
 *     witness run N               listens, says where; sends N packets at a line on stdin; a row
 * each witness compare FILE ROWS   FILE: what the tracer recorded of them; ROWS: what it printed */
#define _GNU_SOURCE

#include "stitch.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLACK 1000 /* ns: the stamp is of the wall clock, which we convert */

struct row {
    uint64_t before, after; /* send() was called, and had returned */
    uint64_t stamp;         /* the kernel's, as it took the packet from the device */
    uint64_t woken;         /* epoll_wait() had returned */
    uint64_t called, read;  /* recvmsg() was called, and had returned */
};

static uint64_t now(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

/* How far the wall clock is ahead: from the quickest of some readings. */
static uint64_t wall_ahead(void)
{
    uint64_t best = UINT64_MAX, ahead = 0;

    for (int i = 0; i < 10; i++) {
        uint64_t early = now(CLOCK_MONOTONIC), wall = now(CLOCK_REALTIME);
        uint64_t late = now(CLOCK_MONOTONIC);
        if (late - early < best) {
            best = late - early;
            ahead = wall - early - best / 2;
        }
    }
    return ahead;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t stamp_of(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        struct scm_timestamping times;
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPING)
            continue;
        memcpy(&times, CMSG_DATA(c), sizeof times);
        return (uint64_t)times.ts[0].tv_sec * 1000000000U + (uint64_t)times.ts[0].tv_nsec;
    }
    return 0;
}

/* The one who reads: a child, whose rows go up the pipe. */
static void reader(int fd, unsigned packets, int to)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);

    if (epoll == -1 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == -1)
        fail("epoll");
    for (unsigned i = 0; i < packets; i++) {
        char bytes[64], control[256];
        struct iovec place = {bytes, sizeof bytes};
        struct msghdr message = {.msg_iov = &place,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof control};
        struct row row = {0};
        if (epoll_wait(epoll, &event, 1, 10000) != 1)
            fail("epoll_wait");
        row.woken = now(CLOCK_MONOTONIC);
        row.called = now(CLOCK_MONOTONIC);
        if (recvmsg(fd, &message, 0) <= 0)
            fail("recvmsg");
        row.read = now(CLOCK_MONOTONIC);
        row.stamp = stamp_of(&message) - wall_ahead();
        if (write(to, &row, sizeof row) != (ssize_t)sizeof row)
            fail("pipe");
    }
    _exit(0);
}

static int run(unsigned packets)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    socklen_t size = sizeof name;
    int rows[2], on = 1, flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    char line[16];

    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (pipe(rows) == -1 || bind(listener, (struct sockaddr *)&name, sizeof name) == -1 ||
        listen(listener, 1) == -1 || getsockname(listener, (struct sockaddr *)&name, &size) == -1 ||
        connect(client, (struct sockaddr *)&name, sizeof name) == -1)
        fail("socket");
    int fd = accept(listener, NULL, NULL);
    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags) == -1 ||
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == -1)
        fail("socket");
    printf("port %u\n", ntohs(name.sin_port));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        reader(fd, packets, rows[1]);
    if (fgets(line, sizeof line, stdin) == NULL)
        fail("stdin");
    for (unsigned i = 0; i < packets; i++) {
        struct row row;
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
        uint64_t before = now(CLOCK_MONOTONIC);
        if (send(client, "one small step\n", 15, 0) != 15)
            fail("send");
        uint64_t after = now(CLOCK_MONOTONIC);
        if (read(rows[0], &row, sizeof row) != (ssize_t)sizeof row)
            fail("pipe");
        printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", before,
               after, row.stamp, row.woken, row.called, row.read);
    }
    waitpid(child, NULL, 0);
    return 0;
}

static int by_size(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

/* A client that waits for each answer, and then pauses: what slows the server slows it. */
static int pace(unsigned port, unsigned pause, unsigned count)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timespec rest = {.tv_nsec = (long)pause * 1000};
    uint64_t *ns = calloc(count, sizeof *ns);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    char bytes[64] = "one small step\n";

    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (ns == NULL || connect(fd, (struct sockaddr *)&name, sizeof name) == -1 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == -1)
        fail("connect");
    uint64_t start = now(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < count; i++) {
        uint64_t begin = now(CLOCK_MONOTONIC);
        if (send(fd, bytes, sizeof bytes, 0) != sizeof bytes ||
            recv(fd, bytes, sizeof bytes, MSG_WAITALL) != sizeof bytes)
            fail("echo");
        ns[i] = now(CLOCK_MONOTONIC) - begin;
        nanosleep(&rest, NULL);
    }
    uint64_t whole = now(CLOCK_MONOTONIC) - start;
    qsort(ns, count, sizeof *ns, by_size);
    printf("rate=%" PRIu64 " median_ns=%" PRIu64 "\n", (uint64_t)count * 1000000000U / whole,
           ns[count / 2]);
    free(ns);
    return 0;
}

static int wrong;

static void not_after(size_t packet, const char *a, uint64_t early, const char *b, uint64_t late)
{
    if (early <= late)
        return;
    printf("packet %zu: %s is %" PRIu64 " ns later than %s\n", packet, a, early - late, b);
    wrong++;
}

static uint64_t at(const struct journey *journey, enum hop hop, size_t packet)
{
    if (journey->at[hop] != NULL)
        return journey->at[hop]->ns;
    printf("packet %zu: %s was not seen\n", packet, hops[hop].name);
    wrong++;
    return 0;
}

static void check(const struct journey *journey, const struct row *row, size_t packet)
{
    uint64_t queue = at(journey, HOP_QUEUE, packet), driver = at(journey, HOP_DRIVER, packet);
    uint64_t wait = at(journey, HOP_WAIT, packet), ready = at(journey, HOP_READY, packet);
    uint64_t call = at(journey, HOP_RECV, packet), back = at(journey, HOP_RETURN, packet);

    not_after(packet, "send() by our clock", row->before, "queue", queue);
    not_after(packet, "driver", driver, "the kernel's stamp", row->stamp + SLACK);
    not_after(packet, "the kernel's stamp", row->stamp, "ready", ready + SLACK);
    not_after(packet, "ready", ready, "epoll_wait by our clock", row->woken);
    not_after(packet, "wait", wait, "epoll_wait by our clock", row->woken);
    not_after(packet, "recvmsg by our clock", row->called, "recv", call);
    not_after(packet, "copy", at(journey, HOP_COPY, packet), "the bytes by our clock", row->read);
    not_after(packet, "return", back, "the bytes by our clock", row->read);
}

static int compare(const char *file, const char *rows)
{
    struct recording recording;
    struct journeys journeys;
    char problem[160] = "it cannot be opened", line[256];
    FILE *stream = fopen(file, "r"), *table = fopen(rows, "r");
    size_t packet = 0, complete;

    if (stream == NULL || table == NULL ||
        !recording_read(&recording, stream, problem, sizeof problem) ||
        !stitch(&recording, &journeys)) {
        printf("%s: %s\n", file, problem);
        return 1;
    }
    while (fgets(line, sizeof line, table) != NULL && packet < journeys.count) {
        struct row row;
        if (sscanf(line, "%" SCNu64 "%" SCNu64 "%" SCNu64 "%" SCNu64 "%" SCNu64 "%" SCNu64,
                   &row.before, &row.after, &row.stamp, &row.woken, &row.called, &row.read) == 6) {
            check(&journeys.list[packet], &row, packet + 1);
            packet++;
        }
    }
    complete = journeys.outcomes[COMPLETE];
    printf("%zu packets compared, %zu complete, %d wrong\n", packet, complete, wrong);
    return packet == 0 || packet != journeys.count || wrong > 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "run") == 0)
        return run((unsigned)strtoul(argv[2], NULL, 10));
    if (argc == 5 && strcmp(argv[1], "pace") == 0)
        return pace((unsigned)strtoul(argv[2], NULL, 10), (unsigned)strtoul(argv[3], NULL, 10),
                    (unsigned)strtoul(argv[4], NULL, 10));
    if (argc == 4 && strcmp(argv[1], "compare") == 0)
        return compare(argv[2], argv[3]);
    fputs("usage: witness run N | witness pace PORT PAUSE N | witness compare FILE ROWS\n", stderr);
    return 2;
}
