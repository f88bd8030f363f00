/* The client's side of a connection: connect, send, read, and check every byte. */
#define _DEFAULT_SOURCE

#include "ladder.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_PEERS 1200
#define CHUNK 65536
#define SMALL_RCVBUF 16384                /* bytes */
#define FULL_MS (patience_ms * 60 / 1000) /* a socket that takes nothing for so long is full */
#define LONGEST_READ 200000               /* bytes; no server's recv() returns more */
#define MORE_THAN_BUFFERS 64000000        /* bytes; the buffers of two sockets never hold so many */
#define PROBE 6 /* bytes that tell one stream, and one position in it, from another */

static struct peer peers[MAX_PEERS];
static int peer_count;

long long now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

long long now_ms(void)
{
    return now_us() / 1000;
}

/* ---- connections ---- */

/* Wait for `events`.  Returns false if none of them comes in time. */
static bool wait_for(const struct peer *peer, int events, int ms)
{
    struct pollfd one = {.fd = peer->fd, .events = (short)events};
    long long end = now_ms() + ms;
    int ready;

    while ((ready = poll(&one, 1, ms)) == -1 && errno == EINTR)
        ms = end > now_ms() ? (int)(end - now_ms()) : 0;
    return ready > 0;
}

static struct peer *new_peer(void)
{
    struct peer *peer = &peers[peer_count];

    *peer = (struct peer){.fd = -1, .name = (char)('A' + peer_count % 26)};
    if (++peer_count == MAX_PEERS) {
        fprintf(stderr, "ladder: more than %d connections\n", MAX_PEERS);
        exit(2);
    }
    if (peer_count <= 26)
        note("client %c connects", peer->name);
    return peer;
}

/* Returns 0, or what is wrong as an errno value. */
static int try_to_connect(struct peer *peer, int receive_buffer)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons((in_port_t)server_port())};
    int on = 1, error = 0;
    socklen_t size = sizeof error;

    peer->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (peer->fd == -1) {
        perror("ladder: socket");
        exit(2);
    }
    fcntl(peer->fd, F_SETFL, O_NONBLOCK);
    fcntl(peer->fd, F_SETFD, FD_CLOEXEC);
    if (receive_buffer > 0) /* before connect(), where the TCP window is negotiated: tcp(7) */
        setsockopt(peer->fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(peer->fd, (struct sockaddr *)&name, sizeof name) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    if (!wait_for(peer, POLLOUT, 2 * patience_ms))
        return ETIMEDOUT;
    getsockopt(peer->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

static struct peer *connect_peer(int receive_buffer)
{
    struct peer *peer = new_peer();
    int tries = server_is_new ? START_PATIENCE * patience_ms / 2 : 0;
    int error;

    while ((error = try_to_connect(peer, receive_buffer)) != 0) {
        if (tries-- == 0 || server_end(NULL) != NULL || (server_is_new && server_is_stuck()))
            fail(rung->silent, "Client %d could not connect: %s.", peer_count, strerror(error));
        close(peer->fd);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    if (server_is_new)
        server_listens();
    return peer;
}

struct peer *peer_connect(void)
{
    return connect_peer(0);
}

struct peer *peer_connect_small(void)
{
    return connect_peer(SMALL_RCVBUF);
}

void peer_wait_acknowledged(const struct peer *peer)
{
#ifdef __linux__
    int left = 0;

    for (int tries = 100; tries > 0 && ioctl(peer->fd, TIOCOUTQ, &left) == 0 && left > 0; tries--)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
#else
    (void)peer;
#endif
}

void peer_close(struct peer *peer)
{
    note("client %c closes", peer->name);
    close(peer->fd);
    peer->fd = -1;
}

/* A linger time of zero discards unsent data and sends RST instead of FIN: socket(7). */
void peer_reset(struct peer *peer)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};

    note("client %c resets the connection", peer->name);
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(peer->fd);
    peer->fd = -1;
}

void peer_shutdown(struct peer *peer)
{
    note("client %c sends FIN", peer->name);
    shutdown(peer->fd, SHUT_WR);
}

void peers_forget(void)
{
    for (int i = 0; i < peer_count; i++)
        if (peers[i].fd != -1)
            close(peers[i].fd);
    peer_count = 0;
}

/* ---- short texts ---- */

void peer_send(struct peer *peer, const char *text)
{
    note("client %c sends \"%s\"", peer->name, text);
    send(peer->fd, text, strlen(text), 0); /* an error shows in what comes back */
}

/* Wait for bytes.  Returns their number, 0 at the end of input, or -1 with *got. */
static ssize_t receive(struct peer *peer, void *buffer, size_t size, int ms, enum got *got)
{
    if (!wait_for(peer, POLLIN, ms)) {
        *got = GOT_NOTHING;
        return -1;
    }
    ssize_t n = recv(peer->fd, buffer, size, 0);
    if (n == -1)
        *got = GOT_RESET;
    if (n == 0)
        *got = GOT_EOF;
    return n;
}

size_t read_right;
char read_text[60];

/* Append bytes to read_text, as in a string of C. */
static void add_to_text(const char *bytes, size_t length)
{
    size_t used = strlen(read_text);

    for (size_t i = 0; i < length && used + 5 < sizeof read_text; i++) {
        bool plain = bytes[i] >= ' ' && bytes[i] <= '~';
        used +=
            (size_t)sprintf(read_text + used, plain ? "%c" : "\\x%02x", (unsigned char)bytes[i]);
    }
}

enum got peer_read(struct peer *peer, const void *bytes, size_t length, int ms)
{
    char buffer[512];
    enum got got = GOT_IT;
    const char *wanted = bytes;

    for (read_right = 0; read_right < length;) {
        size_t room = length - read_right < sizeof buffer ? length - read_right : sizeof buffer;
        ssize_t n = receive(peer, buffer, room, ms, &got);
        if (n <= 0)
            return got;
        size_t before = read_right, end = read_right + (size_t)n;
        while (read_right < end && buffer[read_right - before] == wanted[read_right])
            read_right++;
        if (read_right == end)
            continue;
        read_text[0] = '\0';
        add_to_text(wanted, read_right);
        add_to_text(buffer + (read_right - before), end - read_right);
        return GOT_OTHER;
    }
    return GOT_IT;
}

void fail_as(enum got got, const struct peer *peer, const char *wanted)
{
    switch (got) {
    case GOT_EOF:
        fail(rung->closes, "The server closed the connection before client %c received %s.",
             peer->name, wanted);
    case GOT_RESET:
        fail(rung->closes, "The server reset the connection before client %c received %s.",
             peer->name, wanted);
    case GOT_OTHER:
        fail(rung->differs, "Client %c received \"%s\" in place of %s.", peer->name, read_text,
             wanted);
    default:
        fail(rung->silent, "Client %c received nothing for %.1f s; %s did not come.", peer->name,
             patience_ms / 1000.0, wanted);
    }
}

void peer_expect(struct peer *peer, const char *text)
{
    char wanted[40];
    enum got got = peer_read(peer, text, strlen(text), patience_ms);

    snprintf(wanted, sizeof wanted, "\"%s\"", text);
    if (got != GOT_IT)
        fail_as(got, peer, wanted);
    note("client %c receives \"%s\"", peer->name, text);
}

void expect_echo(struct peer *peer, const char *text)
{
    peer_send(peer, text);
    peer_expect(peer, text);
}

void expect_fin(struct peer *peer)
{
    char byte;
    enum got got;
    ssize_t n = receive(peer, &byte, 1, patience_ms, &got);

    if (n == 0) {
        note("client %c receives FIN", peer->name);
        return;
    }
    if (n == 1)
        fail(rung->differs, "Client %c received one byte too many before the server's FIN.",
             peer->name);
    if (got == GOT_RESET)
        fail(RESET_FOR_FIN, "Every byte came back, and then the server sent RST instead of FIN.");
    fail_as(got, peer, "the server's FIN");
}

/* ---- the stream: byte number `position` of a peer is a function of the two ---- */

static uint64_t stream_word(uint64_t seed, uint64_t index)
{
    uint64_t word = (index + 1) * 0x9e3779b97f4a7c15u + seed * 0xd1342543de82ef95u;

    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
    return word ^ (word >> 31);
}

static void make_stream(const struct peer *peer, unsigned char *buffer, uint64_t position,
                        size_t length)
{
    while (length > 0) {
        uint64_t word = stream_word((uint64_t)(peer - peers), position / 8);
        size_t skip = (size_t)(position % 8), take = 8 - skip < length ? 8 - skip : length;
        if (take == 8)
            memcpy(buffer, &word, 8); /* a constant length needs no call */
        else
            memcpy(buffer, (unsigned char *)&word + skip, take);
        buffer += take;
        position += take;
        length -= take;
    }
}

/* Send what the socket takes now, up to the position `end`. */
static bool send_some(struct peer *peer, uint64_t end)
{
    static unsigned char chunk[CHUNK];
    uint64_t left = end - peer->sent;
    size_t length = left < CHUNK ? (size_t)left : CHUNK;

    make_stream(peer, chunk, peer->sent, length);
    ssize_t n = send(peer->fd, chunk, length, 0);
    peer->sent += n > 0 ? (uint64_t)n : 0;
    return n > 0;
}

bool stream_fill(struct peer *peer, uint64_t most)
{
    uint64_t begin = peer->sent;

    while (peer->sent < most && wait_for(peer, POLLOUT, FULL_MS) && send_some(peer, most))
        ;
    if (peer->sent == most) /* the server may still be busy with the last of them */
        poll(NULL, 0, FULL_MS);
    note("client %c sends %llu bytes and reads none", peer->name,
         (unsigned long long)(peer->sent - begin));
    return peer->sent < most;
}

void stream_send(struct peer *peer, uint64_t length)
{
    uint64_t end = peer->sent + length;

    while (peer->sent < end && send_some(peer, end))
        ;
    note("client %c sends %llu bytes at once", peer->name, (unsigned long long)peer->sent);
}

/* ---- what is wrong with the stream? ---- */

/* Find the bytes in the stream of `owner`, between two positions.  Returns the position, or -1. */
static int64_t find_in_stream(const struct peer *owner, const unsigned char *bytes, size_t length,
                              uint64_t from, uint64_t to)
{
    unsigned char chunk[4096 + PROBE];

    for (; from + length <= to; from += 4096) {
        uint64_t room = to - from;
        size_t n = room < sizeof chunk ? (size_t)room : sizeof chunk;
        make_stream(owner, chunk, from, n);
        for (size_t i = 0; i + length <= n; i++)
            if (chunk[i] == bytes[0] && memcmp(chunk + i, bytes, length) == 0)
                return (int64_t)(from + i);
    }
    return -1;
}

/* Append bytes to the last PROBE bytes that have arrived. */
static void keep_last(unsigned char last[PROBE], const unsigned char *bytes, size_t length)
{
    size_t keep = length < PROBE ? PROBE - length : 0;

    memmove(last, last + PROBE - keep, keep);
    memcpy(last + keep, bytes + length - (PROBE - keep), PROBE - keep);
}

/* Bytes are missing.  If they are many, and the last bytes that arrive are the last that were sent,
 * the server has read on while bytes were pending, and each recv() has overwritten them.  The rest
 * of one short write is shorter. */
_Noreturn static void fail_with_gap(struct peer *peer, uint64_t missing, const unsigned char *bytes,
                                    size_t length)
{
    unsigned char last[PROBE] = {0}, sent[PROBE], buffer[CHUNK];
    enum got got;
    ssize_t n;

    keep_last(last, bytes, length);
    while ((n = receive(peer, buffer, sizeof buffer, 4 * FULL_MS, &got)) > 0)
        keep_last(last, buffer, (size_t)n);
    make_stream(peer, sent, peer->sent - PROBE, PROBE);
    bool has_end = memcmp(last, sent, PROBE) == 0;
    fail(has_end && missing > LONGEST_READ ? REST_OVERWRITTEN : REST_DROPPED,
         "After byte %llu, the next %llu bytes are missing; %s.", (unsigned long long)peer->got,
         (unsigned long long)missing,
         has_end ? "the last bytes that were sent did come back"
                 : "the last bytes that were sent are missing too");
}

/* Say what these bytes are, which came instead of those at peer->got. */
_Noreturn static void fail_with_stream(struct peer *peer, const unsigned char *received,
                                       size_t length)
{
    unsigned char right[CHUNK], bytes[CHUNK + PROBE];
    size_t same = 0;
    enum got got;
    ssize_t n;

    make_stream(peer, right, peer->got, length);
    while (same < length && received[same] == right[same])
        same++;
    peer->got += same;
    length -= same;
    memcpy(bytes, received + same, length);
    while (length < PROBE && /* too few to find them in a stream */
           (n = receive(peer, bytes + length, PROBE - length, FULL_MS, &got)) > 0)
        length += (size_t)n;
    size_t probe = length < PROBE ? length : PROBE;
    int64_t later = find_in_stream(peer, bytes, probe, peer->got, peer->sent);
    if (probe == PROBE && later > 0)
        fail_with_gap(peer, (uint64_t)later - peer->got, bytes, length);
    int64_t earlier = find_in_stream(peer, bytes, probe, 0, peer->got);
    if (probe == PROBE && earlier >= 0)
        fail(SENT_TWICE, "After byte %llu, bytes from position %lld came a second time.",
             (unsigned long long)peer->got, (long long)earlier);
    for (struct peer *other = peers; probe == PROBE && other < peers + peer_count; other++)
        if (find_in_stream(other, bytes, probe, 0, other->sent) >= 0)
            fail(SHARED_BUFFER, "After byte %llu, client %c received bytes of client %c.",
                 (unsigned long long)peer->got, peer->name, other->name);
    fail(rung->differs, "Byte %llu came back as 0x%02x; 0x%02x was sent.",
         (unsigned long long)peer->got, bytes[0], right[same]);
}

/* Does the server read on, more than any buffers hold, although it sends nothing back? */
static bool swallows(struct peer *peer)
{
    return !stream_fill(peer, peer->sent + MORE_THAN_BUFFERS) && server_end(NULL) == NULL &&
           !wait_for(peer, POLLIN, 0);
}

/* Nothing more comes.  Send a few more bytes and see whether they bring the rest. */
_Noreturn static void fail_with_stall(struct peer *peer)
{
    unsigned char buffer[PROBE], next[PROBE];
    unsigned long long got = peer->got, sent = peer->sent;
    enum got result;

    bool taken = send_some(peer, peer->sent + PROBE);
    ssize_t n = receive(peer, buffer, sizeof buffer, patience_ms / 2, &result);
    make_stream(peer, next, peer->got, PROBE);
    if (n > 0 && memcmp(buffer, next, (size_t)n) == 0 && peer->got != sent)
        fail(reads_once_per_event() ? ONE_READ_PER_EVENT : EDGE_FORGETS,
             "%llu of %llu bytes came back, then none. After %d more were sent, the next ones "
             "came back.",
             got, sent, PROBE);
    if (n > 0)
        fail(REST_DROPPED,
             "%llu of %llu bytes came back, then none. Bytes sent after that came back, so the "
             "server has lost %llu.",
             got, sent, sent - got);
    if (!taken && reads_once_per_event())
        fail(ONE_READ_PER_EVENT, "%llu of %llu bytes came back, then none for %.1f s.", got, sent,
             patience_ms / 1000.0);
    if (taken && swallows(peer))
        fail(SWALLOWS, "%llu of %llu bytes came back, and the server took %d MB more.", got, sent,
             MORE_THAN_BUFFERS / 1000000);
    fail(taken ? rung->silent : NOT_WRITABLE, "%llu of %llu bytes came back, then none for %.1f s.",
         got, sent, patience_ms / 1000.0);
}

/* Read what is there now, or wait for it, and check it. */
static void read_some(struct peer *peer, int ms)
{
    unsigned char buffer[CHUNK], right[CHUNK];
    uint64_t left = peer->sent - peer->got;
    enum got got = GOT_IT;
    ssize_t n = receive(peer, buffer, left < CHUNK ? (size_t)left : CHUNK, ms, &got);

    if (n > 0) {
        make_stream(peer, right, peer->got, (size_t)n);
        if (memcmp(buffer, right, (size_t)n) != 0)
            fail_with_stream(peer, buffer, (size_t)n);
        peer->got += (uint64_t)n;
        return;
    }
    if (got == GOT_NOTHING)
        fail_with_stall(peer);
    fail(rung->closes, "The server %s the connection after %llu of %llu bytes.",
         got == GOT_EOF ? "closed" : "reset", (unsigned long long)peer->got,
         (unsigned long long)peer->sent);
}

void stream_read_available(struct peer *peer)
{
    while (peer->got < peer->sent && wait_for(peer, POLLIN, FULL_MS))
        read_some(peer, patience_ms);
    note("client %c has received %llu of %llu bytes", peer->name, (unsigned long long)peer->got,
         (unsigned long long)peer->sent);
}

void stream_drain(struct peer *peer)
{
    while (peer->got < peer->sent)
        read_some(peer, patience_ms);
    note("client %c has received all %llu bytes", peer->name, (unsigned long long)peer->got);
}

void stream_echo(struct peer *peer, uint64_t length)
{
    uint64_t end = peer->sent + length;

    while (peer->sent < end) {
        if (!wait_for(peer, POLLIN | POLLOUT, patience_ms))
            fail_with_stall(peer);
        send_some(peer, end);
        if (wait_for(peer, POLLIN, 0) && peer->got < peer->sent)
            read_some(peer, patience_ms);
    }
    stream_drain(peer);
}
