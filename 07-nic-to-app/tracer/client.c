/* The client that sends the packets.  It is a process of its own, because its events must be
 * distinguishable from those of the tracer, which reads the rings.
 *
 * One thread sends, and another one sleeps in recv() before anything is sent.  A single thread may
 * lose the CPU between send() and recv().  It then finds the reply there, and nothing wakes it. */
#include "trace.h"

#ifndef CANNOT_TRACE

#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#define ANSWER_SECONDS 5 /* then the server is taken not to answer */
#define MAX_LOOKS 14000  /* in about this time: then it is taken never to sleep */

int client_connect(const char *address, unsigned port)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *to;
    struct timeval timeout = {.tv_sec = ANSWER_SECONDS};

    if (getaddrinfo(address, NULL, &hints, &to) != 0)
        return -1;
    ((struct sockaddr_in *)to->ai_addr)->sin_port = htons((uint16_t)port); /* IPv6: same place */
    int on = 1, fd = socket(to->ai_family, SOCK_STREAM, 0);
    bool done = fd != -1 &&
                setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == 0 &&
                setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) == 0 &&
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
                connect(fd, to->ai_addr, to->ai_addrlen) == 0;
    freeaddrinfo(to);
    return done ? fd : -1;
}

bool client_send(int fd, struct turn *turn)
{
    turn->start_cpu = sched_getcpu();
    turn->start = run_now_ns();
    return send(fd, MESSAGE, MESSAGE_SIZE, 0) == (ssize_t)MESSAGE_SIZE;
}

bool client_receive(int fd)
{
    char answer[MESSAGE_SIZE];
    size_t have = 0;

    while (have < MESSAGE_SIZE) {
        ssize_t got = recv(fd, answer + have, MESSAGE_SIZE - have, 0);
        /* With a timeout, recv() returns EINTR when a stopped process continues. */
        if (got == 0 || (got == -1 && errno != EINTR))
            return false;
        have += got > 0 ? (size_t)got : 0;
    }
    return true;
}

void client_pause(void)
{
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
}

static void report(int to, char word, int number)
{
    struct client_report report = {word, number};

    if (write(to, &report, sizeof report) == -1)
        return; /* The other process has ended; the client then ends, too. */
}

/* What the two threads share. */
static struct {
    int fd, answered[2];       /* the connection; a pipe, with a byte for each answer */
    struct turn *_Atomic turn; /* the present one */
    struct scope scope;        /* its tasks are the thread that reads, and the server's threads */
} exchange;

static void *read_answers(void *unused)
{
    (void)unused;
    exchange.scope.tasks[0] = (int)syscall(SYS_gettid);
    while (client_receive(exchange.fd)) {
        struct turn *turn = exchange.turn;
        turn->reader = exchange.scope.tasks[0];
        turn->done_cpu = sched_getcpu();
        turn->done = run_now_ns();
        if (write(exchange.answered[1], "", 1) != 1)
            break;
    }
    _exit(1); /* The tracer takes this for a server that does not answer. */
}

static bool all_asleep(void)
{
    const int *task = exchange.scope.tasks;
    char text[256];

    for (size_t i = 0; i < MAX_TASKS && task[i] != 0; i++) {
        bool exists = file_read(text, sizeof text, "/proc/%d/status", task[i]);
        if (exists && strstr(text, "\nState:\tS") == NULL)
            return false;
    }
    return true;
}

/* Wait for the answer, and until every thread sleeps again: one that is awake is not woken.  The
 * first wait uses no short timer: programming one costs 10 microseconds in some virtual machines,
 * and the server would wait that long for this CPU. */
static bool wait_for_answer(void)
{
    struct pollfd poller = {.fd = exchange.answered[0], .events = POLLIN};
    int looks = 0;
    char byte;

    if (poll(&poller, 1, ANSWER_SECONDS * 1000) != 1 || read(poller.fd, &byte, 1) != 1)
        return false;
    while (looks++ < MAX_LOOKS && !all_asleep())
        client_pause();
    if (looks > MAX_LOOKS)
        exchange.scope.tasks[1] = 0;
    return true;
}

static bool echo_all(size_t packets, struct turn *turn)
{
    for (size_t i = 0; i < packets; i++) {
        exchange.turn = &turn[i];
        if (!client_send(exchange.fd, &turn[i]) || !wait_for_answer())
            return false;
    }
    return true;
}

/* The threads of the server are known after the first echoes: one may have started for this
 * connection.  recv() has no timeout, because the tracer takes its time between two echoes. */
static bool warm_up(struct target *target)
{
    static struct turn turn[WARM_UP];
    struct timeval none = {0};
    pthread_t reader;

    exchange.turn = turn;
    if (pipe(exchange.answered) == -1 ||
        setsockopt(exchange.fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none) == -1 ||
        pthread_create(&reader, NULL, read_answers, NULL) != 0 || !echo_all(WARM_UP - 1, turn))
        return false;
    target_threads(target, false, &exchange.scope);
    return echo_all(1, turn + WARM_UP - 1);
}

/* The connection stays open until the tracer ends the client: a FIN would acknowledge the reply. */
static void be_client(const struct client *client, const struct path *path, struct target *target,
                      int tracer)
{
    struct sockaddr_in6 name = {0}; /* the port is in the same place for IPv4 */
    socklen_t size = sizeof name;
    bool inside = path_enter(path);
    char byte;

    exchange.fd = inside ? client_connect(path->server_address, target->port) : -1;
    if (exchange.fd == -1) {
        report(tracer, 'c', errno);
    } else if (!warm_up(target)) {
        report(tracer, 'n', 0);
    } else {
        getsockname(exchange.fd, (struct sockaddr *)&name, &size);
        report(tracer, 'r', ntohs(name.sin6_port));
        bool done = read(tracer, &byte, 1) == 1 && echo_all(client->turns, client->turn);
        report(tracer, done ? 'd' : 'n', 0);
        pause();
    }
}

pid_t child_start(void)
{
    pid_t parent = getpid(), child = fork();

    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN);
    if (getppid() != parent) /* it ended before prctl() took effect */
        _exit(1);
    return 0;
}

void child_end(pid_t child)
{
    if (child <= 0)
        return;
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) == -1 && errno == EINTR)
        continue;
}

bool client_start(struct client *client, const struct path *path, struct target *target,
                  unsigned packets)
{
    int ends[2];

    client->turns = packets + SKIPPED;
    client->turn = mmap(NULL, client->turns * sizeof *client->turn, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (client->turn == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == -1)
        return false;
    client->fd = ends[0];
    client->pid = child_start();
    if (client->pid == 0) {
        prctl(PR_SET_NAME, "client"); /* events should not call it "trace", like the tracer */
        close(ends[0]);
        be_client(client, path, target, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    return client->pid != -1;
}

struct client_report client_wait_report(const struct client *client, int milliseconds)
{
    struct pollfd poller = {.fd = client->fd, .events = POLLIN};
    struct client_report report = {0, 0};

    if (poll(&poller, 1, milliseconds) == 1 &&
        read(client->fd, &report, sizeof report) != (ssize_t)sizeof report)
        report.word = 'n';
    return report;
}

void client_go(const struct client *client)
{
    report(client->fd, 'g', 0);
}

void client_stamps(const struct client *client, struct recording *recording)
{
    for (const struct turn *turn = client->turn; turn < client->turn + client->turns; turn++) {
        struct event event =
            recording_stamp(recording, "client_starts", turn->start, client->pid, turn->start_cpu);
        recording_add(recording, &event);
        event =
            recording_stamp(recording, "client_is_done", turn->done, turn->reader, turn->done_cpu);
        recording_add(recording, &event);
    }
}

void client_end(const struct client *client)
{
    if (client->pid > 0)
        close(client->fd);
    child_end(client->pid);
}

#endif
