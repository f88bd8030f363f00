/* The client that sends the packets.  It is a process of its own, because its events must be
 * distinguishable from those of the tracer, which reads the rings. */
#define _GNU_SOURCE

#include "client.h"

#ifdef __linux__

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_SECONDS 5 /* then the server is taken not to answer */

static int connect_to(const char *address, unsigned port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval timeout = {.tv_sec = ANSWER_SECONDS};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd == -1 || inet_pton(AF_INET, address, &name.sin_addr) != 1 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) == -1 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == -1 ||
        connect(fd, (struct sockaddr *)&name, sizeof name) == -1)
        return -1;
    return fd;
}

/* Send one message and wait for its echo. */
static bool echo(int fd)
{
    char answer[MESSAGE_SIZE];
    size_t have = 0;

    if (send(fd, MESSAGE, MESSAGE_SIZE, 0) != (ssize_t)MESSAGE_SIZE)
        return false;
    while (have < MESSAGE_SIZE) {
        ssize_t got = recv(fd, answer + have, MESSAGE_SIZE - have, 0);
        if (got == -1 &&
            errno == EINTR) /* with a timeout, recv() returns when a stopped process continues */
            continue;
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

void client_pause(void)
{
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
}

static void report(int to, char word)
{
    ssize_t written = write(to, &word, 1);

    (void)written; /* If this fails, the tracer has ended, and so will the client. */
}

static char be_client(const struct path *path, unsigned port, unsigned packets, int from, int to)
{
    char byte;
    int fd = path_enter_as_client(path) ? connect_to(path->server_address, port) : -1;

    if (fd == -1) {
        int error = errno;
        report(to, 'c');
        return (char)error; /* there are fewer than 200 of them, so a byte is enough */
    }
    for (unsigned i = 0; i < WARM_UP; i++) {
        if (!echo(fd))
            return 'n';
        client_pause();
    }
    report(to, 'r');
    if (read(from, &byte, 1) != 1)
        return 'n';
    for (unsigned i = 0; i < packets + SKIPPED; i++) {
        if (!echo(fd))
            return 'n';
        client_pause();
    }
    return 'd';
}

bool client_start(struct client *client, const struct path *path, unsigned port, unsigned packets)
{
    int there[2], back[2];

    if (pipe(there) == -1)
        return false;
    if (pipe(back) == -1) {
        close(there[0]);
        close(there[1]);
        return false;
    }
    pid_t parent = getpid();
    client->pid = fork();
    if (client->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "client"); /* events should not call it "trace", like the tracer */
        signal(SIGINT, SIG_IGN);      /* the tracer stops the client */
        if (getppid() != parent)
            _exit(1);
        report(back[1], be_client(path, port, packets, there[0], back[1]));
        _exit(0);
    }
    close(there[0]);
    close(back[1]);
    client->to = there[1];
    client->from = back[0];
    return client->pid != -1;
}

char client_wait_report(const struct client *client, int milliseconds)
{
    struct pollfd from = {.fd = client->from, .events = POLLIN};
    char word = 0;

    if (poll(&from, 1, milliseconds) != 1)
        return 0;
    if (read(client->from, &word, 1) != 1)
        return 'n';
    return word;
}

int client_error(const struct client *client)
{
    unsigned char error = 0;

    return read(client->from, &error, 1) == 1 ? error : 0;
}

void client_go(const struct client *client)
{
    report(client->to, 'g');
}

void client_end(struct client *client)
{
    if (client->pid <= 0)
        return;
    close(client->to);
    close(client->from);
    kill(client->pid, SIGKILL);
    while (waitpid(client->pid, NULL, 0) == -1 && errno == EINTR)
        continue;
    client->pid = 0;
}

#endif
