/* An echo server that writes down which of its calls fail, for a test of torture.c: a fault that
 * torture.c counts must have happened here.  It has a thread for each client.
 *
 * Usage: torture-witness PORT   ($WITNESS: the file; a line is a call and its error, or SHORT if
 *                                recv() or send() transferred one byte of several) */
#define _DEFAULT_SOURCE /* usleep() */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int witness;

static void note(const char *call, const char *error)
{
    char line[64];
    int length = snprintf(line, sizeof line, "%s %s\n", call, error);

    if (write(witness, line, (size_t)length) == -1)
        _exit(3);
}

/* Only the errors that the test injects have names here. */
static void note_errno(const char *call)
{
    const char *name = errno == EMFILE    ? "EMFILE"
                       : errno == ENFILE  ? "ENFILE"
                       : errno == ENOMEM  ? "ENOMEM"
                       : errno == ENOBUFS ? "ENOBUFS"
                       : errno == EINTR   ? "EINTR"
                       : errno == EIO     ? "EIO"
                                          : "another error";

    note(call, name);
}

/* The client has sent `available` bytes, or nothing yet. */
static ssize_t receive(int fd, char *buffer, size_t size)
{
    int available = 0;
    char byte;

    while (recv(fd, &byte, 1, MSG_PEEK) == -1 && errno == EINTR)
        note_errno("recvfrom");
    ioctl(fd, FIONREAD, &available);
    ssize_t n = recv(fd, buffer, size, 0);
    if (n == -1)
        note_errno("recvfrom");
    if (n == 1 && available > 1)
        note("recv", "SHORT");
    return n;
}

static void send_all(int fd, const char *data, size_t length)
{
    for (size_t sent = 0; sent < length;) {
        ssize_t n = send(fd, data + sent, length - sent, 0);
        if (n == -1)
            note_errno("sendto");
        if (n == -1 && errno != EINTR && errno != ENOBUFS)
            return;
        if (n == 1 && length - sent > 1)
            note("send", "SHORT");
        sent += n > 0 ? (size_t)n : 0;
    }
}

static void *serve(void *argument)
{
    int fd = (int)(intptr_t)argument;
    ssize_t n = -1;
    char *buffer;

    while ((buffer = malloc(65536)) == NULL)
        note_errno("malloc");
    while ((n = receive(fd, buffer, 65536)) > 0 || (n == -1 && errno == EINTR))
        if (n > 0)
            send_all(fd, buffer, (size_t)n);
    free(buffer);
    if (close(fd) == -1)
        note_errno("close");
    return NULL;
}

static void end(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

int main(int argc, char **argv)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    pthread_t thread;

    name.sin_port = htons((uint16_t)atoi(argc > 1 ? argv[1] : "0"));
    witness = open(getenv("WITNESS"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    if (witness == -1 || bind(listener, (struct sockaddr *)&name, sizeof name) == -1 ||
        listen(listener, 100) == -1)
        return 1;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd == -1) {
            note_errno("accept");
            usleep(1000);
        } else if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0) {
            pthread_detach(thread);
        }
    }
}
