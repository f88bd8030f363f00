/* What the sockets of an unprivileged user show of a packet: six hops without root.
 *
 * With SO_TIMESTAMPING, the kernel records three times of an outgoing packet (before it enters the
 * device's queue, when the driver gets it, and when it is acknowledged) and one of an incoming
 * packet: over lo, when IP hands it to TCP, after netif_receive_skb and before tcp_probe.  The
 * clock at the return of epoll_wait() and recvmsg() gives two more. */
#include "trace.h"

#ifndef CANNOT_TRACE

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#define WAIT_MS 2000 /* for an echo or a report */

static uint64_t nanoseconds(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * 1000000000U + (uint64_t)time->tv_nsec;
}

/* How far the wall clock, which the stamps use, is ahead of CLOCK_MONOTONIC, which cannot be set.
 * This process may lose the CPU between two readings, so the quickest of several pairs counts. */
static uint64_t wall_clock_offset(void)
{
    uint64_t ahead = UINT64_MAX;

    for (int i = 0; i < 10; i++) {
        struct timespec wall;
        uint64_t before = run_now_ns();
        clock_gettime(CLOCK_REALTIME, &wall);
        if (nanoseconds(&wall) - before < ahead)
            ahead = nanoseconds(&wall) - before;
    }
    return ahead;
}

/* ---- the receiver: a process of its own, so that the kernel has a thread to wake ---- */

/* What the receiver reports of a packet. */
struct report {
    uint64_t stamp, woken, read; /* the first is of the wall clock */
    int cpu, stamp_cpu;
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

/* Wait for a message, read it, report it and echo it. */
static bool echo_and_report(int fd, int epoll, struct report *report)
{
    char bytes[MESSAGE_SIZE], control[256];
    struct iovec place = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &place,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct epoll_event event;
    socklen_t size = sizeof report->stamp_cpu;

    int ready;
    while ((ready = epoll_wait(epoll, &event, 1, WAIT_MS)) == -1 && errno == EINTR)
        continue; /* the process was stopped and continued */
    report->woken = run_now_ns();
    if (ready != 1 || recvmsg(fd, &message, 0) != (ssize_t)MESSAGE_SIZE)
        return false;
    report->read = run_now_ns();
    report->cpu = sched_getcpu();
    report->stamp = stamp_in(&message);
    report->stamp_cpu = -1;
    getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &report->stamp_cpu, &size);
    return send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) == (ssize_t)sizeof bytes;
}

/* ---- the sender ---- */

struct pair {
    int client, server;
    struct report *report; /* in memory that the receiver shares */
    pid_t receiver;
    uint64_t clock_offset;
    unsigned port;
    struct recording *recording;
};

static bool connect_pair(struct pair *pair)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    socklen_t size = sizeof name;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned incoming = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
    unsigned outgoing = SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_SOFTWARE |
                        SOF_TIMESTAMPING_TX_ACK | SOF_TIMESTAMPING_SOFTWARE |
                        SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY;

    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool done =
        listener != -1 && bind(listener, (struct sockaddr *)&name, sizeof name) == 0 &&
        listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&name, &size) == 0 &&
        (pair->client = client_connect("127.0.0.1", ntohs(name.sin_port))) != -1 &&
        (pair->server = accept(listener, NULL, NULL)) != -1 &&
        setsockopt(pair->server, SOL_SOCKET, SO_TIMESTAMPING, &incoming, sizeof incoming) == 0 &&
        setsockopt(pair->client, SOL_SOCKET, SO_TIMESTAMPING, &outgoing, sizeof outgoing) == 0;
    file_close(listener);
    pair->port = ntohs(name.sin_port);
    return done;
}

/* The child echoes until it fails: when the sender has closed its end. */
static bool start_receiver(struct pair *pair)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    pair->report =
        mmap(NULL, sizeof *pair->report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (epoll == -1 || epoll_ctl(epoll, EPOLL_CTL_ADD, pair->server, &event) == -1 ||
        pair->report == MAP_FAILED)
        return false;
    pair->receiver = child_start();
    if (pair->receiver == 0) {
        close(pair->client);
        while (echo_and_report(pair->server, epoll, pair->report))
            continue;
        _exit(0);
    }
    close(epoll);
    close(pair->server);
    return pair->receiver != -1;
}

/* ---- events ---- */

/* thread 0: a stamp of the kernel; cpu -1: the stamp does not name the CPU. */
static void add(const struct pair *pair, uint64_t packet, const char *name, uint64_t ns,
                pid_t thread, int cpu)
{
    struct event event = recording_stamp(pair->recording, name, ns, thread, cpu);

    event_set(&event, SLOT_PACKET, packet);
    if (event_kind(&event) == HOP_WAIT)
        event_set(&event, SLOT_RET, 1);
    else
        event_set(&event, event_kind(&event) == HOP_RETURN ? SLOT_RET : SLOT_LEN, MESSAGE_SIZE);
    recording_add(pair->recording, &event);
}

/* Read a sent packet's stamp from the error queue.  It names a byte of the stream.  False: none. */
static bool read_stamp(const struct pair *pair)
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
            error.ee_info < sizeof names / sizeof *names)
            add(pair, error.ee_data / MESSAGE_SIZE, names[error.ee_info],
                stamp - pair->clock_offset, 0, -1);
    }
    return true;
}

/* Send one message, receive its echo, and record all stamps and reports. */
static bool exchange(const struct pair *pair, uint64_t packet)
{
    const struct report *report = pair->report;
    struct turn turn;
    int cpu = sched_getcpu();

    if (!client_send(pair->client, &turn) || !client_receive(pair->client))
        return false;
    add(pair, packet, "send", turn.start, getpid(), cpu);
    while (read_stamp(pair))
        continue;
    if (report->stamp != 0)
        add(pair, packet, "RX_SOFTWARE_stamp", report->stamp - pair->clock_offset, 0,
            report->stamp_cpu);
    add(pair, packet, "epoll_wait_returned", report->woken, pair->receiver, report->cpu);
    add(pair, packet, "recvmsg_returned", report->read, pair->receiver, report->cpu);
    return true;
}

enum run_result run_sockets(unsigned packets, struct recording *recording, char why[WHY_SIZE])
{
    struct pair pair = {.client = -1, .server = -1, .recording = recording};

    *recording = (struct recording){.via = VIA_SOCKETS, .server = "a receiver of our own"};
    bool done = connect_pair(&pair) && start_receiver(&pair);
    for (unsigned i = 0; done && i < WARM_UP + packets && !run_stopped(); i++) {
        pair.clock_offset = wall_clock_offset();
        if (i == WARM_UP)
            recording_drop_before(recording, UINT64_MAX);
        done = exchange(&pair, i);
        client_pause();
    }
    done = done && recording_finish(recording);
    int error = errno;
    recording_lacks_rest(recording, SOCKET_STAMP); /* the kernel wrote none */
    recording->port = pair.port;
    file_close(pair.client);
    child_end(pair.receiver);
    if (run_stopped())
        return RUN_STOPPED;
    if (!done)
        snprintf(why, WHY_SIZE, "Sockets do not provide timestamps here: %s.", strerror(error));
    return done ? RUN_DONE : RUN_UNAVAILABLE;
}

#endif
