/* What an ordinary user's sockets tell of a packet: six hops, no root.
 *
 * SO_TIMESTAMPING makes the kernel note three times on the way out (the queue has the packet, the
 * driver has it, it is acknowledged) and one on the way in (over lo that is when IP has found that
 * the packet is for this machine: after netif_receive_skb, before tcp_probe).
 * The clock at the return of epoll_wait() and of recvmsg() gives two more. */
#define _GNU_SOURCE

#include "run.h"

#include <stdio.h>

#ifndef __linux__

enum run run_sockets(unsigned packets, struct recording *recording, char *why, size_t size)
{
    (void)packets;
    *recording = (struct recording){0};
    snprintf(why, size, "Sockets that stamp their packets are a thing of Linux, too.");
    return CANNOT;
}

#else

#include <time.h> /* before errqueue.h, which needs it and does not say so */

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

#define MESSAGE "one small step\n"
#define MESSAGE_SIZE (sizeof MESSAGE - 1)
#define WARM_UP 20
#define PAUSE_NS 300000
#define WAIT_MS 2000 /* for an echo; for its stamps */

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

/* Stamps are of the wall clock; what we show is of the clock that nobody sets.  The difference is
 * taken from the quickest of some readings. */
static uint64_t wall_ahead(void)
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

/* ---- the one who receives: a process of its own, so that there is somebody to wake ---- */

struct told {
    uint64_t stamp, woken, read; /* the first of the wall clock */
    int cpu, stamp_cpu;
    int waiting;      /* SIOCINQ: bytes in the receive queue */
    unsigned charged; /* SO_MEMINFO: what they cost in the kernel */
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

/* What the socket says of itself while the message waits in it. */
static void query(int fd, struct told *told)
{
    unsigned memory[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof memory;

    if (ioctl(fd, SIOCINQ, &told->waiting) == -1)
        told->waiting = -1;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0)
        told->charged = memory[SK_MEMINFO_RMEM_ALLOC];
    size = sizeof told->cookie;
    if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &told->cookie, &size) == -1)
        told->cookie = 0;
}

/* Wait, read, send back, tell.  The queries would take time from what is measured, so they are made
 * for a message that does not count. */
static bool receive(int fd, int epoll, int to, bool with_query)
{
    char bytes[MESSAGE_SIZE], control[256];
    struct iovec place = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &place,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct epoll_event event;
    struct told told = {.stamp_cpu = -1};
    socklen_t size = sizeof told.stamp_cpu;

    int ready;
    do
        ready = epoll_wait(epoll, &event, 1, WAIT_MS);
    while (ready == -1 && errno == EINTR); /* stopped and continued */
    if (ready != 1)
        return false;
    told.woken = clock_now(CLOCK_MONOTONIC);
    if (with_query)
        query(fd, &told);
    ssize_t got = recvmsg(fd, &message, 0);
    told.read = clock_now(CLOCK_MONOTONIC);
    told.cpu = sched_getcpu();
    if (got != (ssize_t)MESSAGE_SIZE)
        return false;
    told.stamp = stamp_in(&message);
    getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &told.stamp_cpu, &size);
    return send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) == (ssize_t)sizeof bytes &&
           write(to, &told, sizeof told) == (ssize_t)sizeof told;
}

static void be_receiver(int fd, int to)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN); /* the parent ends us */
    if (epoll == -1 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == -1)
        _exit(1);
    for (unsigned i = 0; receive(fd, epoll, to, i + 1 == WARM_UP); i++)
        continue;
    _exit(0);
}

/* ---- the one who sends ---- */

struct pair {
    int client, server, from; /* from: what the receiver tells */
    pid_t receiver;
    uint64_t ahead;
    unsigned port;
    int cpu;
};

static bool ask_for_stamps(int fd, unsigned which)
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
           ask_for_stamps(pair->server, SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE) &&
           ask_for_stamps(pair->client, SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_SOFTWARE |
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
        be_receiver(pair->server, ends[1]);
    }
    close(ends[1]);
    close(pair->server);
    pair->from = ends[0];
    return pair->receiver != -1;
}

static void end_pair(const struct pair *pair)
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

static bool readable(int fd, short events)
{
    struct pollfd poller = {.fd = fd, .events = events};
    int ready;

    do
        ready = poll(&poller, 1, WAIT_MS);
    while (ready == -1 && errno == EINTR && !run_stopped());
    return ready == 1;
}

static bool take_echo(int fd)
{
    char bytes[MESSAGE_SIZE];

    for (size_t have = 0; have < sizeof bytes;) {
        ssize_t got = readable(fd, POLLIN) ? recv(fd, bytes + have, sizeof bytes - have, 0) : -1;
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

/* thread 0: the kernel has stamped it; cpu -1: it does not say where. */
static bool add(const struct packet *packet, const char *name, uint64_t ns, pid_t thread, int cpu,
                enum slot slot, uint64_t value)
{
    struct event event = {.ns = ns, .pid = thread, .cpu = (int16_t)cpu, .context = 't'};

    event.source = (uint8_t)source_find(name);
    event_set(&event, SLOT_PACKET, packet->number);
    event_set(&event, slot, value);
    packet->recording->can |= (uint64_t)1 << event.source;
    return recording_add(packet->recording, &event);
}

/* One stamp from the error queue, where what was sent is told of: of which byte of the stream, and
 * so of which packet.  False: there is none. */
static bool take_stamp(const struct packet *packet, const struct pair *pair)
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
            add(&of, names[error.ee_info], stamp - pair->ahead, 0, -1, SLOT_LEN, MESSAGE_SIZE);
        }
    }
    return true;
}

/* One message there and back, and all that is told of it. */
static bool exchange(struct pair *pair, const struct packet *packet, struct told *told)
{
    uint64_t sent = clock_now(CLOCK_MONOTONIC);
    int cpu = sched_getcpu();

    if (send(pair->client, MESSAGE, MESSAGE_SIZE, MSG_NOSIGNAL) != (ssize_t)MESSAGE_SIZE ||
        !take_echo(pair->client) || !readable(pair->from, POLLIN) ||
        read(pair->from, told, sizeof *told) != (ssize_t)sizeof *told)
        return false;
    if (!add(packet, "send", sent, getpid(), cpu, SLOT_LEN, MESSAGE_SIZE))
        return false;
    while (take_stamp(packet, pair))
        continue;
    if (told->stamp != 0 && !add(packet, "RX_SOFTWARE_stamp", told->stamp - pair->ahead, 0,
                                 told->stamp_cpu, SLOT_LEN, MESSAGE_SIZE))
        return false;
    return add(packet, "epoll_wait_returned", told->woken, pair->receiver, told->cpu, SLOT_RET,
               1) &&
           add(packet, "recvmsg_returned", told->read, pair->receiver, told->cpu, SLOT_RET,
               MESSAGE_SIZE);
}

static void note_queries(const struct pair *pair, const struct told *told,
                         struct recording *recording)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;

    if (told->waiting >= 0)
        recording_note(recording, "While a packet waited: %d bytes in the receive queue (SIOCINQ).",
                       told->waiting);
    if (told->charged > 0)
        recording_note(recording,
                       "For them the kernel charged %u bytes: the skb and its memory (SO_MEMINFO).",
                       told->charged);
    if (told->cookie != 0)
        recording_note(recording, "The socket's number in this kernel is %llu (SO_COOKIE).",
                       (unsigned long long)told->cookie);
    if (getsockopt(pair->client, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        recording_note(recording,
                       "There and back, as TCP estimates from all of them: %u µs (TCP_INFO).",
                       info.tcpi_rtt);
}

static bool exchange_all(struct pair *pair, unsigned packets, struct recording *recording)
{
    struct told told, queried = {0};

    for (unsigned i = 0; i < WARM_UP + packets && !run_stopped(); i++) {
        struct packet packet = {recording, i};
        pair->ahead = wall_ahead();
        if (i == WARM_UP)
            recording_forget(recording);
        if (!exchange(pair, &packet, &told))
            return false;
        if (i + 1 == WARM_UP)
            queried = told;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
    note_queries(pair, &queried, recording);
    return true;
}

enum run run_sockets(unsigned packets, struct recording *recording, char *why, size_t size)
{
    struct pair pair = {.client = -1, .server = -1, .from = -1};
    struct utsname system;

    *recording = (struct recording){.via = VIA_SOCKETS, .server = "a receiver of our own"};
    bool done = connect_pair(&pair) && start_receiver(&pair) &&
                exchange_all(&pair, packets, recording) && recording_finish(recording);
    int error = errno;
    recording->port = pair.port;
    end_pair(&pair);
    if (uname(&system) == 0)
        snprintf(recording->kernel, sizeof recording->kernel, "%.40s %.20s", system.release,
                 system.machine);
    if (run_stopped())
        return STOPPED;
    if (!done)
        snprintf(why, size, "Sockets do not stamp their packets here: %s.", strerror(error));
    return done ? RAN : CANNOT;
}

#endif
