/* Three small echo servers that the book shows beside the stages.  They check no error, so that the
 * calls stand out.  Usage: small PORT one|select|threads */
#define _POSIX_C_SOURCE 200809L

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

// ANCHOR: listener
static int open_listener(struct sockaddr_in address)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);              /* a socket, */
    bind(listener, (struct sockaddr *)&address, sizeof address); /* its address: 127.0.0.1:5566, */
    listen(listener, 128);                                       /* and now clients can connect */
    return listener;
}
// ANCHOR_END: listener

// ANCHOR: one
static void serve_one_at_a_time(int listener)
{
    char buffer[4096];
    ssize_t received;

    for (;;) {
        int fd = accept(listener, NULL, NULL); /* the next client's own socket */
        while ((received = recv(fd, buffer, sizeof buffer, 0)) > 0)
            send(fd, buffer, (size_t)received, 0);
        close(fd);
    }
}
// ANCHOR_END: one

/* Returns false when the client has disconnected. */
static bool echo_once(int fd)
{
    char buffer[4096];
    ssize_t received = recv(fd, buffer, sizeof buffer, 0);

    if (received <= 0) {
        close(fd);
        return false;
    }
    send(fd, buffer, (size_t)received, 0);
    return true;
}

// ANCHOR: select
static void serve_with_select(int listener)
{
    fd_set watched; /* a bit for each descriptor */
    int highest = listener;

    FD_ZERO(&watched);
    FD_SET(listener, &watched);
    for (;;) {
        fd_set ready = watched;
        select(highest + 1, &ready, NULL, NULL, NULL); /* sleep until a descriptor is readable */
        for (int fd = 0; fd <= highest; fd++) {
            if (FD_ISSET(fd, &ready) && fd == listener) {
                int client = accept(listener, NULL, NULL);
                FD_SET(client, &watched);
                highest = client > highest ? client : highest;
            } else if (FD_ISSET(fd, &ready) && !echo_once(fd)) {
                FD_CLR(fd, &watched);
            }
        }
    }
}
// ANCHOR_END: select

// ANCHOR: threads
static void *client_thread(void *argument)
{
    int fd = *(int *)argument;

    while (echo_once(fd))
        ;
    return NULL;
}

static void serve_with_threads(int listener)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t thread;
        pthread_create(&thread, NULL, client_thread, &fd);
        pthread_detach(thread);
    }
}
// ANCHOR_END: threads

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: small PORT one|select|threads\n");
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = open_listener(address);
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    if (strcmp(argv[2], "one") == 0)
        serve_one_at_a_time(listener);
    else if (strcmp(argv[2], "select") == 0)
        serve_with_select(listener);
    else
        serve_with_threads(listener);
    return 0;
}
