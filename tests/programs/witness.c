/* An independent check of the tracer's times.  This program sends packets to itself and notes when
 * each was sent, received, reported by epoll and read: by its own clock and by the kernel's receive
 * timestamps (SO_TIMESTAMPING), without any tracepoint.  The times that the tracer records for the
 * same packets have to lie between them.
 *
 * witness run N              listen and print "port P"; after a line on stdin, send N packets and
 *                            print a row of six times for each
 * witness pace PORT PAUSE N  make N echoes with the server at PORT, PAUSE microseconds apart; print
 *                            their rate and the median duration
 * witness compare FILE ROWS  compare a recording of the tracer with the rows of `run` */
#define _GNU_SOURCE

#include "journey.h"

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

#define SLACK 1000 /* ns; the timestamp uses the wall clock, and the conversion is not exact */

/* The times of one packet, in nanoseconds of CLOCK_MONOTONIC. */
struct row {
    uint64_t before, after; /* before and after send() */
    uint64_t stamp;         /* the kernel's timestamp: when the device handed the packet over */
    uint64_t woken;         /* after epoll_wait() */
    uint64_t called, read;  /* before and after recvmsg() */
};

static uint64_t now(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

/* CLOCK_REALTIME minus CLOCK_MONOTONIC.  Of ten readings, use the one that took the least time. */
static uint64_t realtime_offset(void)
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

/* Print errno, and exit with 1. */
static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* The kernel's timestamp (CLOCK_REALTIME) in the control data of a message, or 0 if it has none. */
static uint64_t timestamp_of(struct msghdr *message)
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

/* The child process: read the packets, and write a row for each into the pipe. */
static void read_packets(int fd, unsigned packets, int pipe_fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);

    if (epoll == -1 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == -1)
        fail("epoll");
    for (unsigned i = 0; i < packets; i++) {
        char bytes[64], control[256];
        struct iovec iov = {bytes, sizeof bytes};
        struct msghdr message = {.msg_iov = &iov,
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
        row.stamp = timestamp_of(&message) - realtime_offset();
        if (write(pipe_fd, &row, sizeof row) != (ssize_t)sizeof row)
            fail("pipe");
    }
    _exit(0);
}

/* `witness run`: send packets over loopback to a child process, one at a time. */
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
        read_packets(fd, packets, rows[1]);
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

static int compare_uint64(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

/* `witness pace`: a client that waits for each answer before it pauses and sends again.  Whatever
 * slows the server therefore lowers the rate. */
static int pace(unsigned port, unsigned pause_us, unsigned count)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timespec pause = {.tv_nsec = (long)pause_us * 1000};
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
        nanosleep(&pause, NULL);
    }
    uint64_t total = now(CLOCK_MONOTONIC) - start;
    qsort(ns, count, sizeof *ns, compare_uint64);
    printf("rate=%" PRIu64 " median_ns=%" PRIu64 "\n", (uint64_t)count * 1000000000U / total,
           ns[count / 2]);
    free(ns);
    return 0;
}

static int wrong; /* checks that have failed */

/* Check that `early` is not later than `late`; a and b name them. */
static void check_order(size_t packet, const char *a, uint64_t early, const char *b, uint64_t late)
{
    if (early <= late)
        return;
    printf("packet %zu: %s is %" PRIu64 " ns later than %s\n", packet, a, early - late, b);
    wrong++;
}

/* The time of this hop in the tracer's recording; counts as a failed check if it is missing. */
static uint64_t time_of(const struct journey *journey, enum hop hop, size_t packet)
{
    if (journey->at[hop] != NULL)
        return journey->at[hop]->ns;
    printf("packet %zu: the tracer has no event for %s\n", packet, hops[hop].name);
    wrong++;
    return 0;
}

/* Check that the tracer's times of one packet lie between this program's own. */
static void check(const struct journey *journey, const struct row *row, size_t packet)
{
    uint64_t queue = time_of(journey, HOP_QUEUE, packet),
             driver = time_of(journey, HOP_DRIVER, packet);
    uint64_t wait = time_of(journey, HOP_WAIT, packet), ready = time_of(journey, HOP_READY, packet);
    uint64_t call = time_of(journey, HOP_RECV, packet), back = time_of(journey, HOP_RETURN, packet);

    check_order(packet, "our clock before send()", row->before, "queue", queue);
    check_order(packet, "driver", driver, "the kernel's timestamp", row->stamp + SLACK);
    check_order(packet, "the kernel's timestamp", row->stamp, "ready", ready + SLACK);
    check_order(packet, "ready", ready, "our clock after epoll_wait()", row->woken);
    check_order(packet, "wait", wait, "our clock after epoll_wait()", row->woken);
    check_order(packet, "our clock before recvmsg()", row->called, "recv", call);
    check_order(packet, "copy", time_of(journey, HOP_COPY, packet), "our clock after recvmsg()",
                row->read);
    check_order(packet, "return", back, "our clock after recvmsg()", row->read);
}

/* `witness compare`: 0 if every packet has been compared and all checks hold, else 1. */
static int compare(const char *file, const char *rows)
{
    struct recording recording;
    struct journeys journeys;
    char problem[160] = "cannot be opened", line[256];
    FILE *stream = fopen(file, "r"), *table = fopen(rows, "r");
    size_t packet = 0, complete;

    if (stream == NULL || table == NULL ||
        !recording_read(&recording, stream, problem, sizeof problem) ||
        !stitch(&recording, WAYS, &journeys)) {
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
