/* The check of the task chat: clients of a chat server.  Usage: chat PORT
 * It prints "pending" when bytes are pending for a client, and "done" at the end, and waits for a
 * line on standard input each time.  Exit code 0: every rule holds. */
#define _DEFAULT_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 16384
#define MOST 40000000  /* bytes: more than the buffers of two sockets, and 1 MB */
#define PENDING 300000 /* bytes that are kept for a client: less than 1 MB */
#define SOME 200000    /* bytes that D reads before A sends as many again */
#define SMALL_RCVBUF 16384
#define LEAVING 100 /* clients that come and go */

static int port, patience_ms = 2000;
static const char *step;

struct client {
    char name;
    int fd;
};
static struct client present[8]; /* all who are in the chat */
static int present_count;

static void fail(const char *format, ...)
{
    va_list values;

    printf("%s\nInstead: ", step);
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    puts("");
    exit(1);
}

/* A byte of the stream that client A sends. */
static unsigned char stream_byte(uint64_t position)
{
    return (unsigned char)((position * 2654435761U) >> 13);
}

static void make_chunk(unsigned char *chunk, uint64_t position, size_t length)
{
    for (size_t i = 0; i < length; i++)
        chunk[i] = stream_byte(position + i);
}

/* ---- one client ---- */

static void send_all(struct client client, const void *data, size_t length)
{
    struct pollfd pollfd = {.fd = client.fd, .events = POLLOUT};

    for (size_t sent = 0; sent < length;) {
        if (poll(&pollfd, 1, patience_ms) == 0)
            fail("for %d s, the server has read nothing from %c.", patience_ms / 1000, client.name);
        ssize_t n = send(client.fd, (const char *)data + sent, length - sent, MSG_DONTWAIT);
        if (n == -1 && errno != EAGAIN)
            fail("%c was disconnected (%s).", client.name, strerror(errno));
        sent += n > 0 ? (size_t)n : 0;
    }
}

/* Returns what recv() returns, after a wait of at most patience_ms. */
static ssize_t receive(struct client client, void *buffer, size_t size)
{
    struct pollfd pollfd = {.fd = client.fd, .events = POLLIN};

    errno = ETIMEDOUT;
    return poll(&pollfd, 1, patience_ms) == 1 ? recv(client.fd, buffer, size, 0) : -1;
}

static void expect(struct client client, const void *data, size_t length)
{
    unsigned char got[CHUNK];

    for (size_t have = 0; have < length;) {
        ssize_t n = receive(client, got, length - have);
        if (n == -1 && errno == ETIMEDOUT)
            fail("%c received %zu of %zu bytes, and then nothing for %d s.", client.name, have,
                 length, patience_ms / 1000);
        if (n <= 0)
            fail("%c was disconnected after %zu of %zu bytes.", client.name, have, length);
        if (memcmp(got, (const unsigned char *)data + have, (size_t)n) != 0)
            fail("%c received other bytes.", client.name);
        have += (size_t)n;
    }
}

/* ---- who is present ---- */

/* Connect, and send one byte if others are present: when they have it, the server has accepted this
 * client. */
static struct client join(char name, bool small)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct client client = {name, socket(AF_INET, SOCK_STREAM, 0)};
    int size = SMALL_RCVBUF, on = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (small)
        setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(client.fd, (struct sockaddr *)&address, sizeof address) == -1)
        fail("%c could not connect: %s.", name, strerror(errno));
    if (present_count > 0)
        send_all(client, "+", 1);
    for (int i = 0; i < present_count; i++)
        expect(present[i], "+", 1);
    present[present_count++] = client;
    return client;
}

/* The client that joined last leaves. */
static void leave(bool with_reset)
{
    struct linger no_linger = {.l_onoff = 1, .l_linger = 0};
    int fd = present[--present_count].fd;

    if (with_reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &no_linger, sizeof no_linger);
    close(fd);
}

/* One client sends a text, and the others receive it. */
static void say(int sender, const char *text)
{
    send_all(present[sender], text, strlen(text));
    for (int i = 0; i < present_count; i++)
        if (i != sender)
            expect(present[i], text, strlen(text));
}

static void wait_for_line(const char *text)
{
    puts(text);
    if (getchar() == EOF)
        exit(0);
}

/* ---- the rules ---- */

static struct client a, b;

/* A sends this part of its stream, and B receives each chunk before A sends the next. */
static void send_part(uint64_t begin, uint64_t end)
{
    unsigned char chunk[CHUNK];

    for (uint64_t position = begin; position < end; position += CHUNK) {
        size_t length = end - position < CHUNK ? (size_t)(end - position) : CHUNK;
        make_chunk(chunk, position, length);
        send_all(a, chunk, length);
        expect(b, chunk, length);
    }
}

/* Read A's stream, up to `end` or until the connection ends.  Returns where it has ended. */
static uint64_t read_part(struct client client, uint64_t begin, uint64_t end, bool *closed)
{
    unsigned char got[CHUNK], chunk[CHUNK];
    uint64_t position = begin;
    ssize_t n = 1;

    while (position < end) {
        size_t room = end - position < CHUNK ? (size_t)(end - position) : CHUNK;
        n = receive(client, got, room);
        if (n <= 0)
            break;
        make_chunk(chunk, position, (size_t)n);
        if (memcmp(got, chunk, (size_t)n) != 0)
            fail("%c reads, and byte %llu or a later one is wrong.", client.name,
                 (unsigned long long)position);
        position += (size_t)n;
    }
    *closed = n == 0 || (n == -1 && errno != ETIMEDOUT);
    return position;
}

static void check_talk(void)
{
    step = "A is connected. B connects and sends \"+\". Expected: A receives it.";
    a = join('A', false);
    b = join('B', false);
    step = "A, B and C are connected, and A sends \"hello\".\n"
           "Expected: B and C receive it, and A does not. Then B answers, and C.";
    join('C', false);
    say(0, "hello");
    say(1, "answer from B");
    say(2, "answer from C");
    say(0, "good bye");
    leave(false);
    step = "C has left. A sends, and B receives.";
    say(0, "still here?");
}

/* Returns how many bytes the sockets hold. */
static uint64_t check_never_reads(void)
{
    bool closed;

    step = "D does not read. A sends 40 MB, and B reads.\n"
           "Expected: B receives all of it, and D is disconnected.";
    struct client d = join('D', true);
    send_part(0, MOST);
    uint64_t held = read_part(d, 0, MOST, &closed);
    if (!closed)
        fail("D reads, and %llu MB were kept for it.", (unsigned long long)held / 1000000);
    leave(false);
    return held;
}

static void check_late(uint64_t held)
{
    bool closed;

    step = "D does not read, and A sends so much that about 300,000 bytes are pending\n"
           "for D. Expected: A and B receive what D sends.";
    struct client d = join('D', true);
    send_part(0, held + PENDING);
    send_all(d, "D speaks", 8);
    expect(a, "D speaks", 8);
    expect(b, "D speaks", 8);
    wait_for_line("pending");
    step = "About 300,000 bytes were pending for D. D reads some, A sends more, and D reads\n"
           "the rest. Expected: D receives all bytes in order, and stays connected.";
    uint64_t got = read_part(d, 0, SOME, &closed), all = held + PENDING + SOME;
    send_part(held + PENDING, all);
    got = read_part(d, got, all, &closed);
    if (got < all)
        fail("D received %llu of %llu bytes, and %s.", (unsigned long long)got,
             (unsigned long long)all, closed ? "was disconnected" : "then nothing");
    say(0, "after it");
    say(2, "from D");
}

static void check_leaving(void)
{
    step = "100 clients join the chat one after the other, and leave with FIN or RST.\n"
           "Expected: the others hear each of them.";
    for (int i = 0; i < LEAVING; i++) {
        join('E', false);
        leave(i % 2 == 1);
    }
    say(1, "B is here");
}

int main(int argc, char **argv)
{
    const char *patience = getenv("LAB_PATIENCE");

    setvbuf(stdout, NULL, _IONBF, 0);
    signal(SIGPIPE, SIG_IGN);
    port = argc == 2 ? atoi(argv[1]) : 0;
    if (patience != NULL && atoi(patience) > 0)
        patience_ms *= atoi(patience);
    check_talk();
    check_late(check_never_reads());
    check_leaving();
    wait_for_line("done");
    return 0;
}
