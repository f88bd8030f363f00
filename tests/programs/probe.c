/* The probe: it finds out which common mistake a reader's own server makes.
 *
 * The test client says which rule was broken.  The probe goes further: when a server stays silent
 * or returns the wrong bytes, it makes one more experiment, whose result tells one cause from another.
 *
 * Usage: probe [-b ADDRESS] [-p PID] PORT NAME     (NAME: an entry of `probes`, below)
 * With the PID of the server, the probe can stop it, so that it finds several events at once, and
 * can read its CPU time (Linux).
 * NAME may also be free-port (print a port that no socket uses), started (wait until the server
 * listens) or asleep (wait until it sleeps).
 * Exit code: 0 if the server passed.  1 if not; then three lines say what the probe saw, the cause
 * and the chapter that explains it: "saw: ...", "cause: ...", "chapter: ...".  2: bad usage. */
#define _DEFAULT_SOURCE /* MSG_DONTWAIT is not in POSIX. */

#include <dirent.h>
#include <errno.h>
#include <netdb.h>
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
#include <sys/time.h>
#include <unistd.h>

#include "stream.h"

#define CHUNK 65536
#define QUIET_MS 1900             /* a server that is silent for so long does not answer */
#define BRIEF_MS 500              /* the same for an experiment after that */
#define STALL_MS 300              /* after this long without progress, a socket is full */
#define BURST 60000               /* bytes that a receive buffer holds, and a read buffer may not */
#define LARGE_BURST 1000000       /* the same, after much traffic */
#define LARGE 3000000             /* bytes that no socket buffer holds */
#define MOST 30000000             /* more than all socket buffers of a connection can hold */
#define OTHER (UINT64_C(1) << 40) /* where the bytes of the second client are in the stream */
#define MAX_IDLE_TICKS 5          /* of CPU time in IDLE_MS; a loop that spins uses 25 */
#define IDLE_MS 250               /* how long the CPU time is measured */
#define SAMPLES 25                /* of its state in that time */

static const char *address = "127.0.0.1", *port;
static pid_t server; /* 0: not known */

/* Causes that more than one probe can find. */
static const char short_write[] =
    "a short write: send() took only part of the bytes, and the rest was dropped or overwritten. "
    "Keep the rest, send it when the socket is writable, and read from this client only then.";
static const char one_read[] =
    "the server is edge-triggered (EPOLLET, EV_CLEAR), but reads only once per event. Read until "
    "recv() fails "
    "with EAGAIN, because data that you leave unread is not reported again.";
static const char one_accept[] =
    "the listening socket is edge-triggered, but the server accepts only once per event. Accept "
    "until accept() fails with EAGAIN.";
static const char gone[] = "the server has exited, or has closed its listening socket";

/* Print what was found, and exit with 1. */
static _Noreturn void found(const char *chapter, const char *cause, const char *format, ...)
{
    va_list values;

    printf("cause: %s\nchapter: %s\nsaw: ", cause, chapter);
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    putchar('\n');
    exit(1);
}

static void pause_ms(int ms)
{
    poll(NULL, 0, ms);
}

/* The field `index` of /proc/PID/stat after the name of the program, or 0 if it cannot be read.
 * Field 0 is the state, a letter; 11 and 12 are the CPU time in ticks, proc(5). */
static long stat_field(int index)
{
    char path[40], line[1000], *field;
    size_t length = 0;

    snprintf(path, sizeof path, "/proc/%ld/stat", (long)server);
    FILE *file = server != 0 ? fopen(path, "r") : NULL;
    if (file == NULL)
        return 0;
    length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = '\0';
    field = strrchr(line, ')');
    field = field != NULL ? strtok(field + 1, " ") : NULL;
    for (; field != NULL && index > 0; index--)
        field = strtok(NULL, " ");
    if (field == NULL)
        return 0;
    return *field >= 'A' ? *field : atol(field);
}

static void stop_server(void)
{
    if (server == 0)
        return;
    kill(server, SIGSTOP);
    for (int i = 0; i < 200 && stat_field(0) != 'T' && stat_field(0) != 0; i++)
        pause_ms(1);
}

static void continue_server(void)
{
    if (server != 0)
        kill(server, SIGCONT);
}

/* Whether the server uses the CPU although nothing happens.  On a busy machine it may get little
 * CPU time, but then it is nearly always in the state R: it runs, or it could run. */
static bool spins(void)
{
    int running = 0;

    pause_ms(20);
    long before = stat_field(11) + stat_field(12);
    for (int i = 0; i < SAMPLES; i++) {
        pause_ms(IDLE_MS / SAMPLES);
        running += stat_field(0) == 'R';
    }
    return stat_field(11) + stat_field(12) - before > MAX_IDLE_TICKS || running > SAMPLES * 3 / 4;
}

/* Connect, and return the descriptor or -1.  A positive buffer size is for SO_RCVBUF. */
static int try_connect(int buffer_size)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found_address;
    struct timeval limit = {.tv_sec = 2};
    int on = 1;

    if (getaddrinfo(address, port, &hints, &found_address) != 0)
        return -1;
    int fd = socket(found_address->ai_family, SOCK_STREAM, 0);
    if (buffer_size > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_size, sizeof buffer_size);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int result = connect(fd, found_address->ai_addr, found_address->ai_addrlen);
    freeaddrinfo(found_address);
    if (result == 0)
        return fd;
    close(fd);
    return -1;
}

/* The same, for a connection that has to succeed. */
static int connect_or_find(const char *who)
{
    int fd = try_connect(0);

    if (fd == -1)
        found("chapter 1", gone, "%s could not connect: %s", who, strerror(errno));
    return fd;
}

/* Send as many of the bytes as the socket accepts without waiting, and return their number. */
static size_t send_now(int fd, const void *data, size_t length)
{
    ssize_t n = send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);

    return n > 0 ? (size_t)n : 0;
}

/* How reading from the server ended. */
enum ending { COMPLETE, SILENT, CLOSED, RESET };

static const char *const ending_names[] = {
    [SILENT] = "nothing more came", [CLOSED] = "the server closed", [RESET] = "the server reset"};

/* Wait up to `ms` for bytes, and read them.  Returns their number, and says in *ending why none
 * came. */
static size_t receive(int fd, void *buffer, size_t size, int ms, enum ending *ending)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};

    if (poll(&one, 1, ms) <= 0) {
        *ending = SILENT;
        return 0;
    }
    ssize_t n = recv(fd, buffer, size, 0);
    *ending = n > 0 ? COMPLETE : n == 0 ? CLOSED : RESET;
    return n > 0 ? (size_t)n : 0;
}

/* Read `length` bytes.  Returns how many came; *ending is COMPLETE if it was all of them. */
static size_t receive_all(int fd, void *buffer, size_t length, int ms, enum ending *ending)
{
    size_t got = 0, n;

    do {
        n = receive(fd, (char *)buffer + got, length - got, ms, ending);
        got += n;
    } while (n > 0 && got < length);
    return got;
}

/* Send a text, and return whether it comes back; *ending and *got say how far it came. */
static bool is_echoed(int fd, const char *text, char *answer, size_t *got, enum ending *ending)
{
    size_t length = strlen(text);

    send_now(fd, text, length);
    *got = receive_all(fd, answer, length, QUIET_MS, ending);
    return *ending == COMPLETE && memcmp(answer, text, length) == 0;
}

/* ---- simple messages ---- */

/* The server does not answer "hello": what else would make it answer? */
static _Noreturn void explain_silence(int fd)
{
    char answer[100];
    enum ending ending;

    send_now(fd, "\n", 1);
    if (receive(fd, answer, sizeof answer, BRIEF_MS, &ending) > 0)
        found("chapter 1",
              "the server waits for a whole line (fgets, getline, readline). Use recv(), which "
              "returns what has arrived.",
              "\"hello\" was not answered until a newline followed");
    shutdown(fd, SHUT_WR);
    if (receive(fd, answer, sizeof answer, BRIEF_MS, &ending) > 0)
        found("chapter 1",
              "the server waits for a full buffer or for the end of the input, or does not flush "
              "its output. Use recv(), which returns what has arrived, and send() it at once.",
              "\"hello\" was not answered until the client sent FIN");
    found("chapter 1",
          "the server never calls accept(), or does not call recv() and send() for a new client",
          "the client connected and sent \"hello\"; no answer came within 2 seconds");
}

static void probe_message(void)
{
    int fd = connect_or_find("the first client");
    char answer[100];
    size_t got;
    enum ending ending;

    if (is_echoed(fd, "hello", answer, &got, &ending))
        return;
    if (ending == SILENT && got == 0)
        explain_silence(fd);
    if (ending == COMPLETE)
        found("chapter 1", "the server changes what it received, or adds text of its own",
              "\"hello\" came back as \"%.5s\"", answer);
    found("chapter 1", "the server closes the connection before it has sent the whole reply",
          "the client sent \"hello\"; %zu bytes came back, then %s", got, ending_names[ending]);
}

/* In which way a message was not echoed. */
static const char *not_echoed(enum ending ending)
{
    static const char *const texts[] = {[COMPLETE] = "came back with other bytes",
                                        [SILENT] = "was not answered",
                                        [CLOSED] = "was not answered: the server closed",
                                        [RESET] = "was not answered: the server reset"};

    return texts[ending];
}

static void probe_again(void)
{
    int fd = connect_or_find("the first client");
    char answer[100];
    size_t got;
    enum ending ending;

    if (!is_echoed(fd, "hello", answer, &got, &ending))
        found("chapter 1", "the server answers only some messages", "the first message %s",
              not_echoed(ending));
    if (!is_echoed(fd, "again", answer, &got, &ending)) {
        static const char *const causes[] = {
            [COMPLETE] = "the buffer still holds the first message. Send the bytes of this recv().",
            [SILENT] = "the server reads only once from each client, or waits for another client "
                       "first",
            [CLOSED] = "the server closes each client after one answer. Close when recv() returns "
                       "0."};
        found("chapter 1", causes[ending == COMPLETE || ending == SILENT ? ending : CLOSED],
              "the first message came back; the second one %s", not_echoed(ending));
    }
    close(fd);
    fd = try_connect(0);
    if (fd == -1 || !is_echoed(fd, "next", answer, &got, &ending))
        found("chapter 1", "the server ends, or stops accepting, when a client leaves",
              "the first client was served and left; the second one was not served");
}

static void probe_binary(void)
{
    int fd = connect_or_find("the client");
    unsigned char values[256], answer[256];
    enum ending ending;

    for (int i = 0; i < 256; i++)
        values[i] = (unsigned char)(i + 'a'); /* the zero byte is in the middle */
    send_now(fd, values, sizeof values);
    size_t got = receive_all(fd, answer, sizeof answer, QUIET_MS, &ending);
    for (size_t i = 0; i < got; i++)
        if (answer[i] != values[i])
            found("chapter 1", "the server treats the data as text; it is binary",
                  "byte 0x%02x came back as 0x%02x", values[i], answer[i]);
    if (got < sizeof values)
        found("chapter 1",
              values[got] == 0 ? "the server uses string functions such as strlen(), which stop at "
                                 "a zero byte. Use the length "
                                 "that recv() returned."
                               : "the server reads only part of what has arrived, and then waits",
              "all 256 byte values were sent; byte 0x%02x and those after it did not come back",
              values[got]);
}

/* ---- several clients ---- */

/* A second client gets no answer while the first is idle. */
static _Noreturn void explain_idle_blocks(int idle, int waiting)
{
    char answer[100];
    enum ending ending;

    close(idle);
    if (receive(waiting, answer, sizeof answer, BRIEF_MS, &ending) > 0)
        found("chapter 2",
              "the server serves one client at a time: it waits in recv() for the first client. "
              "Wait for all clients at once, or start a thread for each.",
              "while the first client was idle, the second was not answered until the first one "
              "had left");
    if (try_connect(0) != -1 && receive(waiting, answer, sizeof answer, BRIEF_MS, &ending) > 0)
        found("chapter 4", one_accept,
              "while the first client was idle, the second was not answered until a third one "
              "had "
              "connected");
    found("chapter 2", "the server serves only the first client",
          "the second client was not answered while the first was idle, nor after it had left");
}

#define TOGETHER 5

/* Connect several clients while the server is stopped, so that it finds them all at once. */
static void accept_together(void)
{
    char answer[100];
    int fds[TOGETHER], answered = 0;
    size_t got;
    enum ending ending;

    stop_server();
    for (int i = 0; i < TOGETHER; i++) {
        fds[i] = connect_or_find("a client");
        send_now(fds[i], "hello", 5);
    }
    continue_server();
    for (int i = 0; i < TOGETHER; i++)
        answered += receive(fds[i], answer, 5, answered < i ? 20 : QUIET_MS, &ending) > 0;
    if (answered == TOGETHER)
        return;
    int more = connect_or_find("one more client");
    is_echoed(more, "hello", answer, &got, &ending);
    for (int i = 0; i < TOGETHER; i++)
        if (receive(fds[i], answer, 5, i == 0 ? BRIEF_MS : 20, &ending) > 0)
            found(
                "chapter 4", one_accept,
                "of %d clients that connected together, %d were answered; when one more connected,"
                " one more of the first group was answered",
                TOGETHER, answered);
    found("chapter 2",
          "the server does not accept, or does not serve, several clients that connect at once",
          "of %d clients that connected together, %d were answered", TOGETHER, answered);
}

static void probe_together(void)
{
    int idle = connect_or_find("the first client"), fd = connect_or_find("the second client");
    char answer[100];
    size_t got;
    enum ending ending;

    pause_ms(50);
    if (!is_echoed(fd, "hello", answer, &got, &ending))
        explain_idle_blocks(idle, fd);
    accept_together();
}

/* ---- long messages ---- */

/* The index of the first byte that is not the stream's at this position, or `length`. */
static size_t first_wrong(const unsigned char *bytes, uint64_t position, size_t length)
{
    unsigned char expected[CHUNK];
    size_t i = 0;

    make_stream(expected, position, length);
    while (i < length && bytes[i] == expected[i])
        i++;
    return i;
}

/* The first of these bytes is wrong.  Find out where in the stream they belong. */
static _Noreturn void explain_wrong(const unsigned char *bytes, uint64_t position, size_t length)
{
    unsigned long long wrong = position;
    uint64_t belongs;

    if (!find_in_stream(bytes, length, &belongs))
        found("chapter 2", short_write, "from byte %llu on, the bytes differ from what was sent",
              wrong);
    if (belongs >= OTHER)
        found("chapter 2",
              "two clients share one buffer: bytes that still had to be sent to one client were "
              "overwritten by the next read from another. Give each client its own buffer.",
              "from byte %llu on, a client received the bytes of another client", wrong);
    if (belongs > position)
        found("chapter 2", short_write, "after byte %llu, %llu bytes are missing", wrong,
              (unsigned long long)belongs - wrong);
    found("chapter 2",
          "after a short write, the server sends bytes again that send() had already taken. "
          "Continue at buffer + sent.",
          "at byte %llu, byte %llu came back a second time", wrong, (unsigned long long)belongs);
}

/* Bytes of a stream that were sent, [0, sent), and those that came back, [0, got). */
struct flow {
    int fd;
    uint64_t sent, got;
};

/* Send as much of the stream as the socket accepts, up to `length` bytes in all. */
static void flow_send(struct flow *flow, uint64_t length)
{
    unsigned char out[CHUNK];
    size_t n = length - flow->sent < CHUNK ? (size_t)(length - flow->sent) : CHUNK;

    make_stream(out, flow->sent, n);
    flow->sent += send_now(flow->fd, out, n);
}

/* Read and check what has come back.  Returns false if nothing did, and says why in *ending. */
static bool flow_receive(struct flow *flow, int ms, enum ending *ending)
{
    unsigned char in[CHUNK + 100];
    size_t n = receive(flow->fd, in, CHUNK, ms, ending);
    size_t wrong = first_wrong(in, flow->got, n);

    if (wrong < n) {
        n += receive_all(flow->fd, in + n, 100, BRIEF_MS, ending);
        explain_wrong(in + wrong, flow->got + wrong, n - wrong);
    }
    flow->got += n;
    return n > 0;
}

/* Bytes are missing and the server is silent.  Would one more byte bring some of them, or FIN? */
static _Noreturn void explain_stall(struct flow *flow, const char *if_one_more, const char *chapter)
{
    unsigned long long sent = flow->sent, got = flow->got;
    enum ending ending;

    flow_send(flow, flow->sent + 1);
    if (flow_receive(flow, BRIEF_MS, &ending))
        found(chapter, if_one_more,
              "%llu bytes were sent, and only %llu came back; when one more byte was sent, %llu "
              "more came back",
              sent, got, (unsigned long long)flow->got - got);
    shutdown(flow->fd, SHUT_WR);
    if (flow_receive(flow, BRIEF_MS, &ending))
        found(chapter, if_one_more,
              "%llu bytes were sent, and only %llu came back; after FIN, %llu more came back", sent,
              got, (unsigned long long)flow->got - got);
    if (ending == SILENT)
        found("chapter 2",
              "the server stopped in the middle of the stream: after a short write it never waits "
              "for writability, or never reads again",
              "%llu bytes were sent, and only %llu came back; FIN was not answered either", sent,
              got);
    found("chapter 2", short_write, "%llu bytes were sent, and only %llu came back; then %s", sent,
          got, ending_names[ending]);
}

/* Send `length` bytes and read them back at the same time. */
static void flow_echo(struct flow *flow, uint64_t length)
{
    enum ending ending = COMPLETE;

    while (flow->got < length) {
        if (flow->sent < length)
            flow_send(flow, length);
        if (flow_receive(flow, flow->sent < length ? 1 : QUIET_MS, &ending))
            continue;
        struct pollfd one = {.fd = flow->fd, .events = POLLIN | POLLOUT};
        if (ending == SILENT && flow->sent < length && poll(&one, 1, QUIET_MS) > 0)
            continue;
        if (ending == SILENT)
            explain_stall(flow, one_read, "chapter 4");
        found("chapter 2",
              "the server treats EAGAIN or a short write as a failure of the connection",
              "after %llu of %llu bytes %s the connection", (unsigned long long)flow->got,
              (unsigned long long)length, ending_names[ending]);
    }
}

/* Send until `length` bytes are sent while the server is stopped, so that it finds many bytes in
 * one event; then read them back. */
static void burst(struct flow *flow, uint64_t length)
{
    uint64_t before;

    stop_server();
    do {
        before = flow->sent;
        flow_send(flow, length);
    } while (flow->sent > before && flow->sent < length);
    continue_server();
    flow_echo(flow, flow->sent);
}

static void probe_large(void)
{
    struct flow flow = {.fd = connect_or_find("the client")};
    char answer[100];
    size_t got;
    enum ending ending;

    is_echoed(flow.fd, "hello", answer, &got, &ending); /* then the server waits for an event */
    burst(&flow, BURST);
    flow_echo(&flow, LARGE);
    burst(&flow, LARGE + LARGE_BURST); /* the receive buffer has grown */
}

/* ---- the end of a client's input ---- */

static void probe_half_close(void)
{
    struct flow flow = {.fd = connect_or_find("the client")};
    char answer[100];
    size_t got;
    enum ending ending;

    is_echoed(flow.fd, "hello", answer, &got, &ending);
    stop_server();
    flow_send(&flow, BURST); /* the server finds the bytes and FIN in one event */
    shutdown(flow.fd, SHUT_WR);
    continue_server();
    while (flow_receive(&flow, QUIET_MS, &ending))
        continue;
    if (flow.got == flow.sent && ending == CLOSED)
        return;
    if (ending != SILENT)
        found("chapter 1",
              "the server closes at the first sign of the end (EPOLLRDHUP, EPOLLHUP, POLLHUP, "
              "EV_EOF), although bytes are still unread or unsent. Read until recv() returns 0.",
              "the client sent %llu bytes and FIN; %llu bytes came back, then %s the connection",
              (unsigned long long)flow.sent, (unsigned long long)flow.got, ending_names[ending]);
    if (flow.got < flow.sent)
        found("chapter 4", one_read,
              "the client sent %llu bytes and FIN; only %llu bytes and no FIN came back",
              (unsigned long long)flow.sent, (unsigned long long)flow.got);
    found("chapter 1", "the server does not close the client when recv() returns 0",
          "the client sent FIN; all bytes came back, but no FIN within 2 seconds%s",
          spins() ? ", while the server used the CPU without pause" : "");
}

/* ---- a client that reads late ---- */

/* Send without reading, until the socket has been full for a while. */
static void flow_fill(struct flow *flow)
{
    struct pollfd one = {.fd = flow->fd, .events = POLLOUT};

    while (flow->sent < MOST && poll(&one, 1, STALL_MS) > 0 &&
           (one.revents & (POLLERR | POLLHUP)) == 0)
        flow_send(flow, MOST);
}

/* While one client does not read, the second gets no answer. */
static _Noreturn void explain_late_reader_blocks(struct flow *late, int waiting)
{
    unsigned char answer[CHUNK];
    enum ending ending;

    while (late->got < late->sent && flow_receive(late, BRIEF_MS, &ending))
        if (receive(waiting, answer, sizeof answer, 0, &ending) > 0)
            break;
    if (ending == COMPLETE || receive(waiting, answer, sizeof answer, BRIEF_MS, &ending) > 0)
        found(
            "chapter 2",
            "send() blocks, because the client's socket is blocking (or a loop repeats send() "
            "until everything is sent). Make it non-blocking, and keep what was not sent.",
            "while one client did not read its echo, another was not answered; when the first one "
            "read, the other one was");
    close(late->fd);
    if (receive(waiting, answer, sizeof answer, BRIEF_MS, &ending) > 0)
        found(
            "chapter 2", "the server serves one client at a time",
            "while one client did not read its echo, another was not answered; when the first one "
            "had left, the other one was");
    found("chapter 2", "the server blocks or repeats one call forever when send() takes no more",
          "while one client did not read its echo, another was not answered");
}

/* The second client sends bytes of its own while the first has bytes pending. */
static void check_other_client(struct flow *late)
{
    unsigned char out[50000], in[50000]; /* more than most servers read at once */
    int fd = connect_or_find("while one client did not read, a second client");
    enum ending ending;

    make_stream(out, OTHER, sizeof out);
    send_now(fd, out, sizeof out);
    size_t got = receive_all(fd, in, sizeof in, QUIET_MS, &ending);
    if (ending == COMPLETE && memcmp(in, out, sizeof in) == 0)
        return;
    if (ending == SILENT && got == 0)
        explain_late_reader_blocks(late, fd);
    if (ending == SILENT)
        found("chapter 4", one_read,
              "while one client did not read, another sent %zu bytes; only %zu came back",
              sizeof out, got);
    found("chapter 2", "two clients share one buffer or one table entry",
          "while one client did not read, another did not receive the bytes that it had sent");
}

static void probe_late_reader(void)
{
    static const char never_armed[] =
        "after a short write the server does not wait for writability (EPOLLOUT, POLLOUT), so the "
        "rest is sent only after the client's next message";
    struct flow late = {.fd = try_connect(16384)};
    enum ending ending = COMPLETE;

    if (late.fd == -1)
        found("chapter 1", gone, "the client could not connect: %s", strerror(errno));
    flow_fill(&late);
    check_other_client(&late);
    while (late.got < late.sent && flow_receive(&late, QUIET_MS, &ending))
        continue;
    if (late.got < late.sent && ending == SILENT)
        explain_stall(&late, never_armed, "chapter 2");
    if (late.got < late.sent)
        found("chapter 2",
              "the server closes a client when send() fails with EAGAIN or takes only part of the "
              "bytes. Keep the rest, and wait until the socket is writable.",
              "a client sent %llu bytes before it read any; after %llu bytes had come back, %s the "
              "connection",
              (unsigned long long)late.sent, (unsigned long long)late.got, ending_names[ending]);
    flow_send(&late, late.sent + 100);
    if (!flow_receive(&late, QUIET_MS, &ending))
        found("chapter 2",
              "when everything is sent, the server does not wait for input again: set the interest "
              "back to reading",
              "a client that had read its whole echo sent 100 more bytes; no answer came");
    if (spins())
        found("chapter 2",
              "write interest (EPOLLOUT, POLLOUT) is left on after everything was sent, so every "
              "wait returns at once. Remove it when nothing is pending.",
              "after a slow client had read everything, the server used the CPU without pause");
}

static void probe_idle(void)
{
    char answer[100];
    size_t got;
    enum ending ending;

    if (spins())
        found("chapter 2",
              "the loop does not wait: a timeout of 0, or a non-blocking accept() that is repeated",
              "before any client had connected, the server used the CPU without pause");
    int fd = connect_or_find("the client");
    if (is_echoed(fd, "hello", answer, &got, &ending) && spins())
        found("chapter 2",
              "the wait returns at once again and again: write interest (EPOLLOUT, POLLOUT) is "
              "set although nothing has to be sent, or recv() is repeated after EAGAIN",
              "while its only client was idle, the server used the CPU without pause");
    close(fd);
    if (spins())
        found("chapter 1",
              "the server still waits for a client that has left: close it when recv() returns 0, "
              "and remove it from the list",
              "after its only client had left, the server used the CPU without pause");
}

/* ---- has the server started? ---- */

#define START_MS 5000

/* Whether an address of /proc/net/tcp is 127.0.0.1, or includes it. */
static bool includes_loopback(const char *hex)
{
    return strcmp(hex, "0100007F") == 0 || strspn(hex, "0") == strlen(hex) ||
           strcmp(hex, "0000000000000000FFFF00000100007F") == 0;
}

/* The inode of the socket that listens on our port, or 0.  The kernel lists the listening sockets
 * (state 0A) before all others, of which there may be thousands. */
static unsigned long listening_inode(const char *path)
{
    FILE *file = fopen(path, "r");
    char line[300], local[33];
    unsigned number, state;
    unsigned long inode, result = 0;

    if (file == NULL || fgets(line, sizeof line, file) == NULL)
        return 0;
    while (result == 0 && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%*d: %32[0-9A-F]:%x %*[0-9A-F]:%*x %x %*s %*s %*s %*u %*u %lu", local,
                   &number, &state, &inode) < 4 ||
            state != 0x0A)
            break;
        if (number == (unsigned)atoi(port) && includes_loopback(local))
            result = inode;
    }
    fclose(file);
    return result;
}

/* Whether the server's process has this socket open. */
static bool holds_socket(unsigned long inode)
{
    char path[300], wanted[40], target[40];
    struct dirent *entry;
    bool holds = false;

    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    snprintf(path, sizeof path, "/proc/%ld/fd", (long)server);
    DIR *folder = opendir(path);
    while (folder != NULL && !holds && (entry = readdir(folder)) != NULL) {
        snprintf(path, sizeof path, "/proc/%ld/fd/%.20s", (long)server, entry->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        holds = strcmp(target, wanted) == 0;
    }
    if (folder != NULL)
        closedir(folder);
    return holds;
}

/* Wait until the process sleeps, so that its start is complete.  A server that spins never does. */
static void wait_until_asleep(void)
{
    for (int i = 0, asleep = 0; i < 50 && asleep < 2; i++) {
        asleep = stat_field(0) == 'S' ? asleep + 1 : 0;
        pause_ms(5);
    }
}

/* Wait until a socket listens on our port.  The server does not notice that, except where there is
 * no /proc.  The exit code is 0 if it is the server's socket, 3 if it is another process's, 4 if the
 * server has ended, and 5 if it does not listen within START_MS. */
static void wait_for_start(void)
{
    bool has_proc = access("/proc/net/tcp", R_OK) == 0;

    for (int i = 0; i < START_MS / 5; i++) {
        unsigned long inode = listening_inode("/proc/net/tcp");
        if (inode == 0)
            inode = listening_inode("/proc/net/tcp6");
        if (inode != 0 && !holds_socket(inode))
            exit(3);
        if (inode != 0)
            wait_until_asleep();
        if (inode != 0 || (!has_proc && try_connect(0) != -1))
            return;
        if (kill(server, 0) == -1 || stat_field(0) == 'Z')
            exit(4);
        pause_ms(5);
    }
    exit(5);
}

/* Print a port that a server can bind.  A connection in TIME_WAIT counts as a use of its port,
 * because a server without SO_REUSEADDR cannot bind it.  From 10000 to 32767 the kernel takes few or no ports
 * for clients. */
static void print_free_port(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    int fd, result;

    srand((unsigned)getpid());
    do {
        any.sin_port = htons((unsigned short)(10000 + rand() % 22768));
        fd = socket(AF_INET, SOCK_STREAM, 0);
        result = bind(fd, (struct sockaddr *)&any, sizeof any);
        close(fd);
    } while (result == -1 && errno == EADDRINUSE);
    printf("%d\n", ntohs(any.sin_port));
}

static const struct probe {
    const char *name;
    void (*run)(void);
} probes[] = {{"message", probe_message},
              {"again", probe_again},
              {"binary", probe_binary},
              {"together", probe_together},
              {"large", probe_large},
              {"half-close", probe_half_close},
              {"late-reader", probe_late_reader},
              {"idle", probe_idle},
              {"free-port", print_free_port},
              {"started", wait_for_start},
              {"asleep", wait_until_asleep}};

int main(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "b:p:")) != -1) {
        if (option == 'b')
            address = optarg;
        if (option == 'p')
            server = (pid_t)atol(optarg);
    }
    alarm(30); /* whatever the server does, the probe ends */
    if (argc - optind == 2) {
        port = argv[optind];
        for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++) {
            if (strcmp(argv[optind + 1], probes[i].name) != 0)
                continue;
            probes[i].run();
            return 0;
        }
    }
    fprintf(stderr, "usage: probe [-b ADDRESS] [-p PID] PORT NAME\n");
    return 2;
}
