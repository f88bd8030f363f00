/* A server with one mistake, for the tests of the ladder (tests/lab-ladder.bats).
 *
 * Usage: wrong MISTAKE PORT      the mistakes are the words in calls of wrong(); "none" is correct
 *
 * It is written in the style of a first attempt: one file, one poll() loop, an array of clients. */
#define _GNU_SOURCE /* POLLRDHUP */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CLIENTS 4000
#define BUFFER_SIZE 4096

struct client {
    char own[BUFFER_SIZE]; /* received and not yet sent */
    size_t length, sent, total;
};

static const char *mistake;
static struct pollfd pollfds[MAX_CLIENTS + 1]; /* the listener is the first */
static struct client *clients[MAX_CLIENTS + 1];
static int count = 1;
static char shared[BUFFER_SIZE];
static int reserve;

static bool wrong(const char *name)
{
    return strcmp(mistake, name) == 0;
}

static char *buffer_of(int i)
{
    return wrong("shares-buffer") ? shared : clients[i]->own;
}

/* The last client moves into the gap. */
static void forget(int i)
{
    if (wrong("lingers"))
        setsockopt(pollfds[i].fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                   sizeof(struct linger));
    if (wrong("leaks"))
        shutdown(pollfds[i].fd, SHUT_RDWR);
    else
        close(pollfds[i].fd);
    free(clients[i]);
    count--;
    if (wrong("wrong-entry")) {
        for (int j = 1; j < count; j++)
            pollfds[j].events = j == i ? 0 : pollfds[j].events;
    }
    pollfds[i] = pollfds[count];
    clients[i] = clients[count];
    if (wrong("wrong-entry") && i < count)
        pollfds[i].events = 0;
}

/* Wait for so many milliseconds, or more if the ladder is patient. */
static void pause_for(long ms)
{
    const char *patience = getenv("LAB_PATIENCE");

    ms *= patience != NULL ? atol(patience) : 1;
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static void do_accept(void)
{
    int fd = accept(pollfds[0].fd, NULL, NULL);

    if (fd == -1 && wrong("shortage-exits")) {
        perror("accept");
        exit(1);
    }
    if (fd == -1 && wrong("shortage-closes")) { /* with the descriptor that is kept for this */
        close(reserve);
        close(accept(pollfds[0].fd, NULL, NULL));
        reserve = open("/dev/null", O_RDONLY);
        return;
    }
    if (fd == -1) {
        pollfds[0].events = wrong("shortage-spins") ? POLLIN : 0;
        return;
    }
    if (count > (wrong("table") ? 500 : MAX_CLIENTS)) {
        close(fd);
        return;
    }
    if (wrong("pauses") && count == 60)
        pause_for(1200);
    if (!wrong("blocks"))
        fcntl(fd, F_SETFL, O_NONBLOCK);
    clients[count] = calloc(1, sizeof(struct client));
    pollfds[count] = (struct pollfd){.fd = fd, .events = POLLIN};
    count++;
}

static void listen_again(void)
{
    if (!wrong("never-resumes"))
        pollfds[0].events = POLLIN;
}

/* Send what is pending.  Returns false if the client is gone. */
static bool do_send(int i)
{
    struct client *client = clients[i];
    size_t from = wrong("sends-twice") ? 0 : client->sent;
    size_t left = client->length - client->sent;
    int fd = pollfds[wrong("to-first") ? 1 : i].fd;
    ssize_t n = send(fd, buffer_of(i) + from, left, 0);

    if (n == -1 && errno != EAGAIN && !wrong("sigpipe"))
        return false;
    if (n == -1 && errno != EAGAIN)
        n = (ssize_t)left;
    client->sent += n > 0 ? (size_t)n : 0;
    if (wrong("drops-rest"))
        client->sent = client->length;
    bool pending = client->sent < client->length;
    pollfds[i].events = pending ? POLLOUT : POLLIN;
    if ((pending && (wrong("overwrites") || wrong("spins-pending"))) || wrong("leaves-armed"))
        pollfds[i].events = POLLIN | POLLOUT;
    if (wrong("waits-to-read"))
        pollfds[i].events = POLLIN;
    return true;
}

/* Mistakes in what is sent back.  Returns its length. */
static size_t change(struct client *client, char *data, size_t length)
{
    char *cr = wrong("strips") ? memchr(data, '\r', length) : NULL;

    client->total += length;
    for (size_t i = 0; i < length && wrong("upper"); i++)
        data[i] = (char)toupper((unsigned char)data[i]);
    if (cr != NULL)
        memmove(cr, cr + 1, length - (size_t)(cr + 1 - data));
    if ((wrong("swallows-first") && client->total == length) ||
        (wrong("swallows") && client->total > 65536) ||
        (wrong("whole-lines") && memchr(data, '\n', length) == NULL))
        return 0;
    if (wrong("slow"))
        pause_for(700);
    return length - (cr != NULL);
}

/* How much of what has been received is to be echoed now. */
static size_t wanted(const char *data, size_t length)
{
    if (wrong("strlen"))
        return strnlen(data, length);
    if (wrong("line") && memchr(data, '\n', length) == NULL)
        return 0;
    if (wrong("full-buffer") && length < BUFFER_SIZE)
        return 0;
    return length;
}

/* Returns false if the client is gone. */
static bool do_receive(int i)
{
    struct client *client = clients[i];
    char *buffer = buffer_of(i);
    size_t have = wrong("line") || wrong("full-buffer") ? client->length - client->sent : 0;
    ssize_t n = recv(pollfds[i].fd, buffer + have, BUFFER_SIZE - have, 0);

    if (n == -1 && errno == EAGAIN)
        return true;
    if (n == -1 && wrong("reset-exits")) {
        perror("recv");
        exit(1);
    }
    if (n == 0 && wrong("exits-with-client"))
        exit(0);
    if (n == 0 && wrong("ignores-fin"))
        return true;
    if (n <= 0)
        return false;
    client->length = have + change(client, buffer + have, (size_t)n);
    client->sent = 0;
    if (wanted(buffer, client->length) == 0)
        return true;
    client->length = wanted(buffer, client->length);
    return do_send(i) && !wrong("closes-after-one");
}

static bool serve_client(int i)
{
    short revents = pollfds[i].revents;
    bool pending = clients[i]->sent < clients[i]->length && !wrong("line") && !wrong("full-buffer");

    if (wrong("ignores-hangup") && (revents & (POLLERR | POLLHUP)) != 0)
        return true;
    if (wrong("closes-at-hangup") && (revents & POLLRDHUP) != 0)
        return false;
    if (pending && (revents & POLLIN) != 0 && wrong("overwrites"))
        return do_receive(i);
    if (pending && wrong("waits-to-read"))
        return true;
    if (pending)
        return (revents & (POLLOUT | POLLERR | POLLHUP)) == 0 || do_send(i);
    if (wrong("leaves-armed") && (revents & ~POLLOUT) == 0)
        return true;
    return do_receive(i);
}

/* While accepting is paused, try again after a moment. */
static int timeout_ms(void)
{
    if (wrong("spins"))
        return 0;
    return pollfds[0].events == 0 ? 100 : -1;
}

static void serve(void)
{
    for (;;) {
        for (int i = 1; i < count && wrong("closes-at-hangup"); i++)
            pollfds[i].events |= POLLRDHUP;
        if (wrong("naps")) /* and does not wait */
            pause_for(4);
        int ready = poll(pollfds, (nfds_t)count, wrong("naps") ? 0 : timeout_ms());
        if (ready == 0 && !wrong("never-retries"))
            listen_again();
        if (ready == -1 && wrong("ends-with-eintr")) {
            perror("poll");
            exit(1);
        }
        if (ready <= 0)
            continue;
        for (int i = count - 1; i > 0; i--) {
            if (pollfds[i].revents == 0 || serve_client(i))
                continue;
            forget(i);
            listen_again();
        }
        if (pollfds[0].revents != 0)
            do_accept();
    }
}

/* The server that everybody writes first. */
static void serve_one_by_one(void)
{
    char buffer[BUFFER_SIZE];

    for (;;) {
        int fd = accept(pollfds[0].fd, NULL, NULL);
        ssize_t n;
        while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0)
            send(fd, buffer, (size_t)n, 0);
        close(fd);
    }
}

static void on_stop(int signal_number)
{
    (void)signal_number;
    if (!wrong("ignores-stop") && !wrong("ends-with-eintr"))
        _exit(0);
}

int main(int argc, char **argv)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;

    if (argc != 3)
        return 2;
    mistake = argv[1];
    reserve = open("/dev/null", O_RDONLY);
    name.sin_port = htons((in_port_t)atoi(argv[2]));
    if (!wrong("sigpipe"))
        signal(SIGPIPE, SIG_IGN);
    if (!wrong("no-handler"))
        signal(SIGTERM, on_stop);
    pollfds[0] = (struct pollfd){.fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN};
    if (!wrong("no-reuseaddr"))
        setsockopt(pollfds[0].fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(pollfds[0].fd, (struct sockaddr *)&name, sizeof name) == -1 ||
        listen(pollfds[0].fd, wrong("backlog") ? 1 : 128) == -1) {
        perror("bind");
        return 1;
    }
    if (wrong("one-by-one"))
        serve_one_by_one();
    if (!wrong("sleeps"))
        serve();
    for (;;)
        pause();
}
