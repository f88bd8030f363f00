/* What the sockets of an unprivileged user show of a packet: six hops without root.
 *
 * With SO_TIMESTAMPING, the kernel records three times of an outgoing packet (it was handed to the
 * device's queue, to the driver, and it was acknowledged) and one of an incoming packet.  Over lo,
 * the latter is when IP has found that the packet is for this machine: after netif_receive_skb and
 * before tcp_probe.  The clock at the return of epoll_wait() and recvmsg() gives two more. */
#define _GNU_SOURCE

#include "kernel_headers.h"
#include "run.h"

#include <stdio.h>

#ifndef HAVE_KERNEL_HEADERS

enum run_result run_sockets(unsigned packets, struct recording *recording, char *why, size_t size)
{
    (void)packets;
    *recording = (struct recording){0};
#ifdef __linux__
    snprintf(why, size, "%s", NO_KERNEL_HEADERS);
#else
    snprintf(why, size, "Socket time stamps of this kind exist only on Linux, too.");
#endif
    return RUN_UNAVAILABLE;
}

#else

#include "client.h"

#include <time.h> /* errqueue.h needs it but does not include it */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 2000 /* for an echo or a report */

static uint64_t nanoseconds(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * 1000000000U + (uint64_t)time->tv_nsec;
}

static uint64_t clock_now(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return nanoseconds(&now);
}

/* How far the wall clock, which the stamps use, is ahead of CLOCK_MONOTONIC, which cannot be set.
 * The quickest of several readings is the most accurate. */
static uint64_t wall_clock_offset(void)
{
    uint64_t best = UINT64_MAX, ahead = 0;

    for (int i = 0; i < 10; i++) {
        uint64_t before = clock_now(CLOCK_MONOTONIC), wall = clock_now(CLOCK_REALTIME);
        uint64_t after = clock_now(CLOCK_MONOTONIC);
        if (after - before >= best)
            continue;
        best = after - before;
        ahead = wall - before - best / 2;
    }
    return ahead;
}

/* ---- the receiver: a process of its own, so that the kernel has a thread to wake ---- */

/* What the receiver reports of a packet. */
struct report {
    uint64_t stamp, woken, read; /* the first is of the wall clock */
    int cpu, stamp_cpu;
    int waiting;      /* SIOCINQ: the bytes in the receive queue */
    unsigned charged; /* SO_MEMINFO: the kernel memory that they occupy */
    uint64_t cookie;
};

static uint64_t stamp_in(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPING) {
            struct scm_timestamping times;
            memcpy(&times, CMSG_DATA(c), sizeof times);
            return nanoseconds(&times.ts[0]);
        }
    return 0;
}

/* Query the socket while the message is in its receive queue. */
static void query(int fd, struct report *report)
{
    unsigned memory[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof memory;

    if (ioctl(fd, SIOCINQ, &report->waiting) == -1)
        report->waiting = -1;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0)
        report->charged = memory[SK_MEMINFO_RMEM_ALLOC];
    size = sizeof report->cookie;
    if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &report->cookie, &size) == -1)
        report->cookie = 0;
}

/* Wait for a message, read it, echo it and report it.  The queries would disturb the measurement,
 * so they are made for a message that does not count. */
static bool echo_and_report(int fd, int epoll, int to, bool with_query)
{
    char bytes[MESSAGE_SIZE], control[256];
    struct iovec place = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &place,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct epoll_event event;
    struct report report = {.stamp_cpu = -1};
    socklen_t size = sizeof report.stamp_cpu;

    int ready;
    do
        ready = epoll_wait(epoll, &event, 1, WAIT_MS);
    while (ready == -1 && errno == EINTR); /* the process was stopped and continued */
    if (ready != 1)
        return false;
    report.woken = clock_now(CLOCK_MONOTONIC);
    if (with_query)
        query(fd, &report);
    ssize_t got = recvmsg(fd, &message, 0);
    report.read = clock_now(CLOCK_MONOTONIC);
    report.cpu = sched_getcpu();
    if (got != (ssize_t)MESSAGE_SIZE)
        return false;
    report.stamp = stamp_in(&message);
    getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &report.stamp_cpu, &size);
    return send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) == (ssize_t)sizeof bytes &&
           write(to, &report, sizeof report) == (ssize_t)sizeof report;
}

static void run_receiver(int fd, int to)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN); /* the tracer stops the receiver */
    if (epoll == -1 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == -1)
        _exit(1);
    for (unsigned i = 0; echo_and_report(fd, epoll, to, i + 1 == WARM_UP); i++)
        continue;
    _exit(0);
}

/* ---- the sender ---- */

struct pair {
    int client, server, from; /* from: the receiver's reports */
    pid_t receiver;
    uint64_t clock_offset;
    unsigned port;
    int cpu;
};

static bool enable_stamps(int fd, unsigned which)
{
    return setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &which, sizeof which) == 0;
}

static bool connect_pair(struct pair *pair)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    socklen_t size = sizeof name;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    pair->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool done = listener != -1 && pair->client != -1 &&
                bind(listener, (struct sockaddr *)&name, sizeof name) == 0 &&
                listen(listener, 1) == 0 &&
                getsockname(listener, (struct sockaddr *)&name, &size) == 0 &&
                connect(pair->client, (struct sockaddr *)&name, sizeof name) == 0 &&
                (pair->server = accept(listener, NULL, NULL)) != -1 &&
                setsockopt(pair->client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0;
    if (listener != -1)
        close(listener);
    pair->port = ntohs(name.sin_port);
    return done &&
           enable_stamps(pair->server, SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE) &&
           enable_stamps(pair->client, SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_SOFTWARE |
                                           SOF_TIMESTAMPING_TX_ACK | SOF_TIMESTAMPING_SOFTWARE |
                                           SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY);
}

static bool start_receiver(struct pair *pair)
{
    int ends[2];

    if (pipe(ends) == -1)
        return false;
    pair->receiver = fork();
    if (pair->receiver == 0) {
        close(pair->client);
        close(ends[0]);
        run_receiver(pair->server, ends[1]);
    }
    close(ends[1]);
    close(pair->server);
    pair->from = ends[0];
    return pair->receiver != -1;
}

static void close_pair(const struct pair *pair)
{
    if (pair->client != -1)
        close(pair->client);
    if (pair->from != -1)
        close(pair->from);
    if (pair->receiver <= 0)
        return;
    kill(pair->receiver, SIGKILL);
    while (waitpid(pair->receiver, NULL, 0) == -1 && errno == EINTR)
        continue;
}

static bool wait_for(int fd, short events)
{
    struct pollfd poller = {.fd = fd, .events = events};
    int ready;

    do
        ready = poll(&poller, 1, WAIT_MS);
    while (ready == -1 && errno == EINTR && !run_stopped());
    return ready == 1;
}

static bool read_echo(int fd)
{
    char bytes[MESSAGE_SIZE];

    for (size_t have = 0; have < sizeof bytes;) {
        ssize_t got = wait_for(fd, POLLIN) ? recv(fd, bytes + have, sizeof bytes - have, 0) : -1;
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

/* ---- events ---- */

struct packet {
    struct recording *recording;
    uint64_t number;
};

/* thread 0: a stamp of the kernel; cpu -1: the stamp does not name the CPU. */
static bool add(const struct packet *packet, const char *name, uint64_t ns, pid_t thread, int cpu,
                enum slot slot, uint64_t value)
{
    struct event event = {.ns = ns, .pid = thread, .cpu = (int16_t)cpu, .context = 't'};

    event.type = (uint8_t)event_type_find(name);
    event_set(&event, SLOT_PACKET, packet->number);
    event_set(&event, slot, value);
    packet->recording->asked |= (uint64_t)1 << event.type;
    return recording_add(packet->recording, &event);
}

/* Read one stamp of a sent packet from the error queue.  It names the byte of the stream, and so
 * the packet.  False: there is none. */
static bool read_stamp(const struct packet *packet, const struct pair *pair)
{
    static const char *const names[] = {[SCM_TSTAMP_SND] = "TX_SOFTWARE_stamp",
                                        [SCM_TSTAMP_SCHED] = "TX_SCHED_stamp",
                                        [SCM_TSTAMP_ACK] = "TX_ACK_stamp"};
    char control[512];
    struct msghdr message = {.msg_control = control, .msg_controllen = sizeof control};

    if (recvmsg(pair->client, &message, MSG_ERRQUEUE | MSG_DONTWAIT) == -1)
        return false;
    uint64_t stamp = stamp_in(&message);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
        struct sock_extended_err error;
        if (c->cmsg_level != SOL_IP || c->cmsg_type != IP_RECVERR)
            continue;
        memcpy(&error, CMSG_DATA(c), sizeof error);
        if (stamp != 0 && error.ee_origin == SO_EE_ORIGIN_TIMESTAMPING &&
            error.ee_info < sizeof names / sizeof *names) {
            struct packet of = {packet->recording, error.ee_data / MESSAGE_SIZE};
            add(&of, names[error.ee_info], stamp - pair->clock_offset, 0, -1, SLOT_LEN,
                MESSAGE_SIZE);
        }
    }
    return true;
}

/* Send one message, receive its echo, and record all stamps and reports. */
static bool exchange(struct pair *pair, const struct packet *packet, struct report *report)
{
    uint64_t sent = clock_now(CLOCK_MONOTONIC);
    int cpu = sched_getcpu();

    if (send(pair->client, MESSAGE, MESSAGE_SIZE, MSG_NOSIGNAL) != (ssize_t)MESSAGE_SIZE ||
        !read_echo(pair->client) || !wait_for(pair->from, POLLIN) ||
        read(pair->from, report, sizeof *report) != (ssize_t)sizeof *report)
        return false;
    if (!add(packet, "send", sent, getpid(), cpu, SLOT_LEN, MESSAGE_SIZE))
        return false;
    while (read_stamp(packet, pair))
        continue;
    if (report->stamp != 0 && !add(packet, "RX_SOFTWARE_stamp", report->stamp - pair->clock_offset,
                                   0, report->stamp_cpu, SLOT_LEN, MESSAGE_SIZE))
        return false;
    return add(packet, "epoll_wait_returned", report->woken, pair->receiver, report->cpu, SLOT_RET,
               1) &&
           add(packet, "recvmsg_returned", report->read, pair->receiver, report->cpu, SLOT_RET,
               MESSAGE_SIZE);
}

static void note_queries(const struct pair *pair, const struct report *report,
                         struct recording *recording)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;

    if (report->waiting >= 0)
        recording_note(recording,
                       "While a packet waited, there were %d bytes in the receive queue (SIOCINQ).",
                       report->waiting);
    if (report->charged > 0)
        recording_note(
            recording,
            "They occupied %u bytes of kernel memory, the skb and its data (SO_MEMINFO).",
            report->charged);
    if (report->cookie != 0)
        recording_note(recording, "The kernel's number for this socket is %llu (SO_COOKIE).",
                       (unsigned long long)report->cookie);
    if (getsockopt(pair->client, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        recording_note(recording,
                       "TCP's estimate of the round-trip time, from all packets: "
                       "%u µs (TCP_INFO).",
                       info.tcpi_rtt);
}

/* The kernel wrote no stamp of these types. */
static uint64_t missing_stamps(const struct recording *recording)
{
    uint64_t missing = 0;

    for (size_t i = 0; i < event_type_count; i++)
        if (event_types[i].provider == SOCKET_STAMP && !recording_asked(recording, i))
            missing |= (uint64_t)1 << i;
    return missing;
}

static bool exchange_all(struct pair *pair, unsigned packets, struct recording *recording)
{
    struct report report, queried = {0};

    for (unsigned i = 0; i < WARM_UP + packets && !run_stopped(); i++) {
        struct packet packet = {recording, i};
        pair->clock_offset = wall_clock_offset();
        if (i == WARM_UP)
            recording_drop_events(recording);
        if (!exchange(pair, &packet, &report))
            return false;
        if (i + 1 == WARM_UP)
            queried = report;
        client_pause();
    }
    note_queries(pair, &queried, recording);
    return true;
}

enum run_result run_sockets(unsigned packets, struct recording *recording, char *why, size_t size)
{
    struct pair pair = {.client = -1, .server = -1, .from = -1};
    struct utsname system;

    *recording = (struct recording){.via = VIA_SOCKETS, .server = "a receiver of our own"};
    bool done = connect_pair(&pair) && start_receiver(&pair) &&
                exchange_all(&pair, packets, recording) && recording_finish(recording);
    recording->lists_unavailable = true;
    recording->unavailable = missing_stamps(recording);
    int error = errno;
    recording->port = pair.port;
    close_pair(&pair);
    if (uname(&system) == 0)
        snprintf(recording->kernel, sizeof recording->kernel, "%.40s %.20s", system.release,
                 system.machine);
    if (run_stopped())
        return RUN_STOPPED;
    if (!done)
        snprintf(why, size, "Sockets do not provide time stamps here: %s.", strerror(error));
    return done ? RUN_DONE : RUN_UNAVAILABLE;
}

#endif
