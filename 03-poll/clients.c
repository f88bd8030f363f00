/* The clients of an event loop: accept, read and echo, keep what was not sent, close. */
#define _DEFAULT_SOURCE

#include "clients.h"
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_SIZE 65536        /* bytes per recv(), so that large messages need few calls */
#define MAX_ACCEPTS_PER_EVENT 64 /* then the connected clients get a turn */
#define CLIENTS_PER_BLOCK 256    /* entries in one block of the table below */

/* ---- The table of clients, by descriptor ---- */

/* The table consists of blocks that never move, so a pointer to a client stays valid when the table
 * grows. */
static struct client **client_blocks;
static int client_block_count;

struct client *client_by_fd(int fd)
{
    if (fd / CLIENTS_PER_BLOCK >= client_block_count)
        return NULL;
    struct client *client = &client_blocks[fd / CLIENTS_PER_BLOCK][fd % CLIENTS_PER_BLOCK];
    return client->open ? client : NULL;
}

/* Add blocks until the table has a place for fd.  Returns false if there is no memory. */
static bool grow_client_table(int fd)
{
    while (fd / CLIENTS_PER_BLOCK >= client_block_count) {
        struct client **more =
            realloc(client_blocks, (size_t)(client_block_count + 1) * sizeof *more);
        if (more == NULL)
            return false;
        client_blocks = more;
        client_blocks[client_block_count] = calloc(CLIENTS_PER_BLOCK, sizeof **client_blocks);
        if (client_blocks[client_block_count] == NULL)
            return false;
        client_block_count++;
    }
    return true;
}

/* ---- Pause and resume accepting ---- */

/* When to try accept() again, on the now_ms() clock, after descriptors or memory ran out; 0 if
 * accepting is not paused. */
static long long accept_paused_until;

// ANCHOR: pause
/* Descriptors or memory have run out (ACCEPT_SHORTAGE).  While that lasts, accept()
 * would fail again immediately, so we stop watching the listener.  New connections wait in its
 * backlog. */
static void accept_pause(void)
{
    unwatch(listener);
    accept_paused_until = now_ms() + BACKOFF_MS;
}

static void accept_resume(void)
{
    log_action("accept again");
    accept_paused_until = watch(listener) ? 0 : now_ms() + BACKOFF_MS;
}

/* client_close() resumes accepting, because it frees a descriptor.  But a system-wide shortage can
 * end without any of our clients disconnecting, so we also try again after BACKOFF_MS. */
int wait_timeout_ms(void)
{
    if (accept_paused_until != 0 && pause_is_over(accept_paused_until))
        accept_resume();
    return accept_paused_until != 0 ? BACKOFF_MS : -1;
}
// ANCHOR_END: pause

/* ---- Open and close a client ---- */

static void client_close(struct client *client)
{
    unwatch(client->fd);
    close(client->fd);
    free(client->pending);
    *client = (struct client){0};
    if (accept_paused_until != 0) /* a descriptor is free now */
        accept_resume();
}

/* An error on one connection: close it, and keep serving the other clients.  Always returns false,
 * so that client_ready() can return the result directly. */
static bool client_fail(struct client *client, const char *call)
{
    log_client_error(call);
    client_close(client);
    return false;
}

static void client_open(int fd)
{
    log_action("accept: fd %d", fd);
    if (!set_nonblocking(fd) || !grow_client_table(fd)) {
        log_client_error("accept");
        close(fd);
        return;
    }
    struct client *client = &client_blocks[fd / CLIENTS_PER_BLOCK][fd % CLIENTS_PER_BLOCK];
    *client = (struct client){.fd = fd, .open = true};
    if (watch(fd))
        set_nodelay(fd);
    else
        client_fail(client, "watch");
}

// ANCHOR: accept
void client_accept(void)
{
    int errors = 0;

    for (int i = 0; i < MAX_ACCEPTS_PER_EVENT; i++) {
        int fd = accept(listener, NULL, NULL);
        if (fd != -1) {
            client_open(fd);
            continue;
        }
        if (errno == EAGAIN) /* the backlog is empty */
            return;
        switch (log_accept_error(errno)) {
        case ACCEPT_NEXT:
            errors++;
            break;
        case ACCEPT_SHORTAGE:
            accept_pause();
            return;
        case ACCEPT_BROKEN:
            unwatch(listener);
            return;
        }
    }
    /* If every accept() failed, the fault is not in the connections, so treat it as a shortage. */
    if (errors == MAX_ACCEPTS_PER_EVENT) {
        report_shortage("accept");
        accept_pause();
    }
}
// ANCHOR_END: accept

/* ---- Read and write ---- */

bool client_set_interest(struct client *client, enum interest interest)
{
    if (!set_interest(client->fd, interest))
        client_fail(client, "set_interest");
    return false;
}

// ANCHOR: buffer
/* Returns how many bytes the socket took, 0 if it can take none now, or -1 on an error. */
static ssize_t send_some(struct client *client, const char *data, size_t length)
{
    ssize_t sent = send(client->fd, data, length, 0);

    if (sent == -1 && is_transient(errno)) {
        back_off(errno);
        return 0;
    }
    return sent;
}

/* The socket's send buffer is full: keep the rest of the data, and wait for room instead of
 * input. */
static bool client_buffer_output(struct client *client, const char *rest, size_t length)
{
    client->pending = malloc(length);
    if (client->pending == NULL)
        return client_fail(client, "malloc");
    memcpy(client->pending, rest, length);
    client->length = length;
    client->sent = 0;
    return client_set_interest(client, INTEREST_WRITE);
}
// ANCHOR_END: buffer

// ANCHOR: read
/* Read once, and immediately echo the bytes that were read.  The socket nearly always takes all of
 * them. */
static bool client_read(struct client *client)
{
    static char buffer[BUFFER_SIZE]; /* one for all clients: between two events it holds nothing */
    ssize_t received = recv(client->fd, buffer, sizeof buffer, 0);

    if (received == -1 && errno == EAGAIN) {
        log_action("recv: EAGAIN, nothing left");
        return false;
    }
    if (received == -1 && is_transient(errno)) {
        log_action("recv: %s; retry", strerror(errno));
        back_off(errno);
        return true;
    }
    if (received == -1)
        return client_fail(client, "recv");
    if (received == 0) {
        log_action("recv 0: end of input; close");
        client_close(client);
        return false;
    }
    ssize_t sent = send_some(client, buffer, (size_t)received);
    if (sent == -1)
        return client_fail(client, "send");
    log_action("recv %zd, send %zd", received, sent);
    if (sent < received)
        return client_buffer_output(client, buffer + sent, (size_t)(received - sent));
    return true;
}
// ANCHOR_END: read

// ANCHOR: write
/* Send the next part of what is pending.  When nothing is left, wait for input again. */
static bool client_write(struct client *client)
{
    size_t left = client->length - client->sent;
    ssize_t sent = send_some(client, client->pending + client->sent, left);

    if (sent == -1)
        return client_fail(client, "send");
    client->sent += (size_t)sent;
    log_action("send %zd, %zu left", sent, left - (size_t)sent);
    /* send() took nothing.  If it failed with EINTR or ENOBUFS, the socket may still have room; an
     * edge-triggered wait would then not report it again, so we re-arm it (see chapter 4). */
    if (sent == 0)
        return client_set_interest(client, INTEREST_WRITE);
    if (client->sent < client->length)
        return true;
    free(client->pending);
    client->pending = NULL;
    return client_set_interest(client, INTEREST_READ);
}
// ANCHOR_END: write

// ANCHOR: ready
/* It does not matter which flags the kernel reported.  We make the call that this client needs
 * next: send() if output is pending, and otherwise recv().  That call either makes progress or
 * reports the end of input or an error. */
bool client_ready(struct client *client)
{
    if (client == NULL)
        return false;
    return client->pending != NULL ? client_write(client) : client_read(client);
}
// ANCHOR_END: ready

void clients_close(void)
{
    log_action("told to stop");
    accept_paused_until = 0;
    for (int i = 0; i < client_block_count; i++) {
        for (int j = 0; j < CLIENTS_PER_BLOCK; j++)
            if (client_blocks[i][j].open)
                client_close(&client_blocks[i][j]);
        free(client_blocks[i]);
    }
    free(client_blocks);
    close(listener);
    close(shutdown_pipe[0]);
    close(shutdown_pipe[1]);
}
