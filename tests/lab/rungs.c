/* The rungs, in the order in which one would build a server; the likely causes; and the code. */
#define _DEFAULT_SOURCE

#include "ladder.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MANY 1000          /* idle clients */
#define BURST 100          /* clients that connect at once */
#define FEW_DESCRIPTORS 64 /* the server's limit, for the rungs about descriptors */
#define ECHOES 20          /* one after the other, */
#define PAUSE_US 2500      /* and few of them take so long, unless the server pauses */
#define IDLE_MS 300        /* how long the CPU time of an idle server is measured */
#define LARGE_BYTES 4000000
#define LATE_BYTES 24000000 /* more than the buffers of two sockets usually hold, */
#define MORE_BYTES 300000   /* than the buffers hold, to be left with the server */
#define MOST_BYTES 64000000 /* and more than they ever hold */
#define WARM_UP_BYTES 24000000
#define GREEDY_BYTES 16000000
#define QUEUED_BYTES 2000000 /* more than 16 full reads */

/* Reads from one client before another is served.  Our stages make 16, or 32 if they are suspended
 * in the middle of a turn and the same client is first in the next one. */
#define MOST_READS 40

/* ---- the likely causes ---- */

const struct cause_text causes[CAUSE_COUNT] = {
    [USUAL] = {"", ""},
    [BUILD_ERROR] = {"The compiler's first error is quoted above.", "\"Setting up\""},
    [GAP_EMPTY] = {"A gap is still empty: it sets errno to ENOSYS and reports a failure. The gaps "
                   "are marked \"GAP\" in the source.",
                   "chapter 2, \"Three functions and a wait\""},
    [NOT_EDGE] = {"The option has no effect on the kernel's list. Set EPOLLET in the events of "
                  "every client, with EPOLL_CTL_ADD and with EPOLL_CTL_MOD.",
                  "chapter 4, \"Level and edge\""},
    [EDGE_STARVES] = {"One client gets too many reads in a row. Stop after a few reads, and re-arm "
                      "the descriptor. Handle events only if the wait returned more than 0.",
                      "chapter 4, \"Level and edge\""},
    [EDGE_FORGETS] =
        {"The server stopped before EAGAIN, and no new edge comes for bytes that have "
         "arrived. Re-arm the descriptor: client_set_interest() calls EPOLL_CTL_MOD or EV_ADD.",
         "chapter 4, \"Level and edge\""},
    [ALREADY_LISTED] = {"The descriptor is in the list already, so adding it fails, and clients.c "
                        "closes the client. Change its entry instead: EPOLL_CTL_MOD.",
                        "chapter 4, \"Three calls\""},
    [EVENT_OF_NOBODY] =
        {"The wait reports an event again and again, and the loop does not act on it. Wait for "
         "writing only; EPOLL_CTL_MOD replaces `data` as well as `events`.",
         "chapter 4, \"Three calls\""},
    [EXITS_AT_START] = {"A call failed before the server could listen, main() returned, or the "
                        "server went into the background, which it must not.",
                        "chapter 1, \"Four calls\""},
    [NO_EXEC] = {"A script or a tool such as `go run` starts the server as a child, and signals, "
                 "limits and CPU times are its own. Use exec, or the program itself.",
                 "\"Setting up\""},
    [NOT_LISTENING] = {"The server has to bind to 127.0.0.1 or 0.0.0.0, and to the port that it "
                       "was given, and to call listen(). A stage then prints its address.",
                       "chapter 1, \"Four calls\""},
    [NO_ADDRESS] = {"The first line on stdout has to be \"listening on ADDRESS:PORT\". Print your "
                    "own messages on stderr.",
                    "chapter 1, \"Bytes, not messages\""},
    [LOOP_RETURNS] = {"The loop ended. serve() has to wait again after each event, until the "
                      "shutdown pipe is readable.",
                      "chapter 2, \"How it stops\""},
    [CRASHES] = {"An invalid pointer or index. An event may arrive for a client that is gone: "
                 "client_by_fd() then returns NULL. To find the line, build with "
                 "CFLAGS='-g -fsanitize=address'.",
                 "chapter 2, \"Three functions and a wait\""},
    [KILLED_BY_SIGPIPE] = {"send() on a connection that the client has reset raises SIGPIPE, which "
                           "ends a process that does not ignore it.",
                           "chapter 1, \"Three kinds of errors\""},
    [NO_BRANCH] = {"The wait does not include the listener or the client; or the loop does not act "
                   "on the event: accept, read, and send what was read.",
                   "chapter 2, \"Three functions and a wait\""},
    [STILL_WATCHED] = {"A client has left, and its descriptor is still watched, so the wait fails "
                       "or ends at once. unwatch() has to remove it.",
                       "chapter 2, \"Three functions and a wait\""},
    [LOOP_SPINS] = {"The server runs without waiting: the wait returns at once, again and again, "
                    "and nothing handles what it reports.",
                    "chapter 2, \"Three functions and a wait\""},
    [CLOSES_TOO_SOON] = {"The server closes a client that has not sent FIN. Close it only when "
                         "recv() returns 0 or an error that is not transient.",
                         "chapter 1, \"How a connection ends\""},
    [CLOSES_AFTER_ONE] = {"The server closes the client after its first message. A message is not "
                          "a conversation: read until recv() returns 0.",
                          "chapter 1, \"How a connection ends\""},
    [ARMED_ONCE] = {"The client is not watched any more after its first event: the set, the array "
                    "or the interest was overwritten, or was armed for one event.",
                    "chapter 2, \"Three functions and a wait\""},
    [ONE_CLIENT_AT_A_TIME] = {"The server blocks in recv() of one client and accepts the next only "
                              "when that one has left.",
                              "chapter 2, \"Guess first\""},
    [WAITS_FOR_A_LINE] = {"The server waits for the end of a line. TCP is a stream of bytes: echo "
                          "whatever recv() returns.",
                          "chapter 1, \"Bytes, not messages\""},
    [WAITS_FOR_A_BUFFER] = {"The server waits until its buffer is full. recv() returns what has "
                            "arrived; echo that.",
                            "chapter 1, \"Bytes, not messages\""},
    [STRING_FUNCTIONS] = {"A string function such as strlen() stops at a zero byte. The length is "
                          "what recv() returned.",
                          "chapter 1, \"Bytes, not messages\""},
    [WRONG_BYTES] =
        {"The server sends too many bytes or wrong ones. Send exactly what recv() returned.",
         "chapter 1, \"Bytes, not messages\""},
    [WRONG_CLIENT] = {"The answer goes to another client: send() uses a descriptor from a global "
                      "variable or a wrong entry. Answer on the descriptor that recv() used.",
                      "chapter 2, \"Three functions and a wait\""},
    [SWALLOWS] = {"The server reads bytes and does not send them back: they are dropped, or kept "
                  "and never sent. Send all that recv() returned.",
                  "chapter 1, \"Bytes, not messages\""},
    [SLOW] = {"Something else takes the time: a sleep(), a timeout, a long computation. While the "
              "server does that, every client waits.",
              "chapter 2, \"Never wait elsewhere\""},
    [INTERRUPTED] = {"A call failed with EINTR, because a signal arrived, and the server ended. "
                     "EINTR is not an error: repeat the call, or see whether to stop.",
                     "chapter 1, \"Three kinds of errors\""},
    [SENT_TWICE] = {"After a short write, the next send() starts again at the beginning: the count "
                    "of sent bytes is not added to the address.",
                    "chapter 2, \"Never wait elsewhere\""},
    [REST_DROPPED] = {"A short write: send() took only a part, or failed with EAGAIN, and the rest "
                      "was forgotten. Keep it until the socket is writable.",
                      "chapter 2, \"Never wait elsewhere\""},
    [REST_OVERWRITTEN] = {"Pending bytes were overwritten: the server reads from a client that "
                          "has pending bytes, and the next recv() replaces them.",
                          "chapter 2, \"Never wait elsewhere\""},
    [SHARED_BUFFER] = {"Pending bytes of one client are kept in a buffer that other clients use "
                       "too. Copy them to a buffer of the client's own.",
                       "chapter 2, \"Never wait elsewhere\""},
    [ONE_READ_PER_EVENT] =
        {"With edge triggering, the server makes only one recv() per event. An arrival is reported "
         "once, so read until EAGAIN.",
         "chapter 4, \"Level and edge\""},
    [NOT_WRITABLE] = {"While bytes are pending, nothing wakes the server when the socket takes "
                      "more: use set_interest() to wait for writing, and for reading afterwards.",
                      "chapter 2, \"Never wait elsewhere\""},
    [BLOCKS_IN_RECV] = {"The server blocks in recv() of a client that sends nothing. Call recv() "
                        "only after the wait has reported that client.",
                        "chapter 2, \"Never wait elsewhere\""},
    [BLOCKS_IN_SEND] = {"The server blocks in send(), because this client does not read. The "
                        "sockets of clients have to be non-blocking.",
                        "chapter 2, \"Never wait elsewhere\""},
    [SPINS_WHEN_IDLE] = {"The loop does not sleep in the wait: its timeout is 0, or it waits for "
                         "writing although nothing is pending.",
                         "chapter 3, \"What an idle client costs\""},
    [FIN_IGNORED] = {"recv() returned 0, the end of input, and the server did not close the "
                     "client; or it never called recv() for the event.",
                     "chapter 1, \"How a connection ends\""},
    [FIN_SPINS] = {"A flag that stays set after FIN (readable, RDHUP, EV_EOF) ends every wait. "
                   "While bytes are pending, wait for writing only.",
                   "chapter 4, \"The flags\""},
    [CLOSES_AT_FIN] = {"The server closes at the first sign of the end (EPOLLRDHUP, POLLHUP, "
                       "EV_EOF), although bytes from before the FIN are unread.",
                       "chapter 4, \"The flags\""},
    [CLOSES_PENDING] = {"The server closes a client for which bytes are still pending. Send them "
                        "first; recv() still returns 0 afterwards.",
                        "chapter 2, \"Never wait elsewhere\""},
    [RESET_FOR_FIN] = {"On Linux, close() sends RST if bytes are unread; everywhere, if SO_LINGER "
                       "sets a timeout of zero. Read until recv() returns 0; leave SO_LINGER off.",
                       "chapter 1, \"How a connection ends\""},
    [RESET_IS_FATAL] = {"ECONNRESET or EPIPE is an error of one client, but the server ends "
                        "because of it. Close that client and go on.",
                        "chapter 1, \"Three kinds of errors\""},
    [HANGUP_IGNORED] = {"A reset sets the flags for an error and for a hang-up, and they stay set. "
                        "Call recv() for these flags too; it returns the error.",
                        "chapter 3, \"What you did not ask for\""},
    [WRONG_ENTRY] = {"When a client leaves, the server forgets another one: unwatch() removes or "
                     "skips the wrong entry.",
                     "chapter 3, \"The array\""},
    [READS_WITHOUT_BOUND] =
        {"The server keeps reading while bytes are pending, so its memory grows "
         "with what the client sends. Wait for writing only.",
         "chapter 2, \"Never wait elsewhere\""},
    [PENDING_SPINS] = {"While bytes are pending, the server still waits for reading, and unread "
                       "bytes end every wait. Wait for writing only.",
                       "chapter 2, \"Never wait elsewhere\""},
    [WRITE_LEFT_ARMED] = {"All pending bytes are sent, but the server still waits for writing: an "
                          "idle socket is always writable, so no wait blocks.",
                          "chapter 2, \"Never wait elsewhere\""},
    [TOO_FEW_CLIENTS] = {"A table or an array has a fixed size, or only some of the new clients "
                         "are accepted: accept until EAGAIN.",
                         "chapter 3, \"The array\""},
    [BACKLOG_SHORT] = {"The backlog of listen() is short, so the SYNs of clients that connect at "
                       "the same time are retransmitted after a second.",
                       "chapter 1, \"When the backlog is full\""},
    [ONE_ACCEPT] = {"Only some of the clients in the backlog are accepted. If the listener is "
                    "edge-triggered, it reports them once: accept until EAGAIN, or leave EPOLLET "
                    "off.",
                    "chapter 4, \"Level and edge\""},
    [DESCRIPTOR_LEAK] = {"A client that has left keeps its descriptor: close() is missing on one "
                         "of the paths that remove a client.",
                         "chapter 1, \"How a connection ends\""},
    [SHORTAGE_IS_FATAL] = {"accept() failed with EMFILE, and the server ended. A shortage is not "
                           "a reason to end: keep serving the clients that are connected.",
                           "chapter 2, \"When there is no descriptor left\""},
    [SHORTAGE_SPINS] =
        {"The listener stays readable while accept() fails with EMFILE. Stop "
         "watching it until a descriptor is free: clients.c calls unwatch(), which has "
         "to work.",
         "chapter 2, \"When there is no descriptor left\""},
    [SHORTAGE_CLOSES] =
        {"The server closes new clients when descriptors run out. Leave them in the "
         "backlog; they wait there.",
         "chapter 2, \"When there is no descriptor left\""},
    [SHORTAGE_LASTS] = {"Accepting was paused after EMFILE and never resumed; or unwatch() and "
                        "watch() do not undo each other for the listener.",
                        "chapter 2, \"When there is no descriptor left\""},
    [NEVER_RETRIED] =
        {"A shortage may end although no client leaves. Pass the timeout from "
         "wait_timeout_ms() to the wait. Call that before you copy any sets for the wait, because "
         "it may watch the listener again.",
         "chapter 2, \"When there is no descriptor left\""},
    [STOP_IGNORED] =
        {"The loop goes on after SIGTERM, or the signal is ignored. The handler writes "
         "to the shutdown pipe; the loop watches it, and returns when it is readable.",
         "chapter 2, \"How it stops\""},
    [STOP_BY_DEFAULT] = {"There is no handler for SIGTERM, or the program returns a status other "
                         "than 0 after it.",
                         "chapter 2, \"How it stops\""},
    [PORT_IN_USE] = {"SO_REUSEADDR is not set on the listener: connections in TIME_WAIT keep the "
                     "port in use.",
                     "chapter 1, \"How a connection ends\""},
};

/* ---- it compiles, it starts, it echoes ---- */

char build_warning[180];

/* True for a line of the compiler or the linker that says what is wrong. */
static bool is_error(const char *line)
{
    return strstr(line, "error") != NULL || strstr(line, "ndefined ") != NULL ||
           strstr(line, "cannot open") != NULL || strstr(line, "cannot find") != NULL ||
           strstr(line, "No space") != NULL;
}

/* Keep the first line that is an error, or the first of all lines if none is. */
static void keep_message(char *message, size_t size, const char *line)
{
    if (message[0] == '\0' || (is_error(line) && !is_error(message)))
        snprintf(message, size, "%.*s", (int)strcspn(line, "\n"), line);
}

static void run_build(void)
{
    char command[1000], line[400], message[180] = "";

    if (build_command == NULL && access(server_words[0], X_OK) == -1)
        fail(BUILD_ERROR, "%s: %s", server_words[0], strerror(errno));
    if (build_command == NULL)
        return;
    snprintf(command, sizeof command, "%s 2>&1", build_command);
    FILE *build = popen(command, "r");
    while (build != NULL && fgets(line, sizeof line, build) != NULL) {
        keep_message(message, sizeof message, line);
        if (build_warning[0] == '\0' && strstr(line, "warning: ") != NULL)
            snprintf(build_warning, sizeof build_warning, "%.*s", (int)strcspn(line, "\n"), line);
    }
    int status = build != NULL ? pclose(build) : -1;
    if (status != 0)
        fail(BUILD_ERROR, "%s", message);
}

static void run_start(void)
{
    server_start(0);
    if (server_is_ours)
        return;
    peer_connect();
    if (!server_has_socket())
        fail(NO_EXEC, "It listens, but not in the process that SERVER started.");
}

/* A text did not come back, and then other bytes than the newline after it did. */
static void ask_what_was_lost(struct peer *a, const char *text)
{
    peer_send(a, "more");
    if (peer_read(a, "more", 4, patience_ms / 2) == GOT_IT)
        fail(SWALLOWS, "\"%s\" did not come back; what was sent later did.", text);
    fail(WAITS_FOR_A_LINE, "\"%s\" did not come back; a newline after it did.", text);
}

/* A text has no answer.  What is the server waiting for? */
static void ask_what_is_missing(struct peer *a, const char *text)
{
    char line[20];

    if (peer_read(a, text, strlen(text), patience_ms / 2) == GOT_IT)
        fail(SLOW, "\"%s\" came back only after more than %.1f s.", text, patience_ms / 2000.0);
    snprintf(line, sizeof line, "%s\n", text);
    peer_send(a, "\n");
    enum got got = peer_read(a, line, strlen(line), patience_ms / 2);
    if (got == GOT_IT)
        fail(WAITS_FOR_A_LINE, "\"%s\" came back only after a newline was sent.", text);
    if (got == GOT_OTHER && strcmp(read_text, "\\x0a") == 0)
        ask_what_was_lost(a, text);
    stream_send(a, 60000);
    if (peer_read(a, line, strlen(line), patience_ms / 2) == GOT_IT)
        fail(WAITS_FOR_A_BUFFER, "\"%s\" came back only after 60000 more bytes were sent.", text);
}

/* If the server uses a CPU while a client waits for an answer, its loop runs without doing
 * anything. */
static void run_echo(void)
{
    server_start(0);
    struct peer *a = peer_connect();
    peer_send(a, "hello");
    long before = server_cpu_us();
    enum got got = peer_read(a, "hello", 5, patience_ms / 2);
    if (got == GOT_NOTHING && server_end(NULL) == NULL &&
        server_cpu_us() - before > patience_ms * 100L)
        fail(LOOP_SPINS, "Client A received nothing for %.1f s, while the server used the CPU.",
             patience_ms / 2000.0);
    if (got == GOT_NOTHING)
        ask_what_is_missing(a, "hello");
    if (got != GOT_IT)
        fail_as(got, a, "\"hello\"");
}

/* A pause in the loop makes a server that spins look idle, and delays every echo.  On a busy machine
 * some echoes are late, too, but not most of them. */
static void run_second(void)
{
    long long limit = PAUSE_US * (patience_ms / 1000);
    int late = 0;

    server_start(0);
    struct peer *a = peer_connect();
    expect_echo(a, "hello");
    for (int i = 0; i < ECHOES; i++) {
        long long begin = now_us();
        expect_echo(a, "again");
        late += now_us() - begin > limit;
    }
    if (late > ECHOES * 3 / 4)
        fail(SLOW, "Of %d echoes in a row, %d took longer than %.1f ms.", ECHOES, late,
             (double)limit / 1000);
}

/* ---- several clients, pieces, a large message ---- */

/* `b` has no answer.  If it comes as soon as `a` leaves, the server was blocked by `a`. */
static void blame_if_freed(struct peer *a, struct peer *b, const char *text, enum cause cause)
{
    peer_close(a);
    if (peer_read(b, text, strlen(text), patience_ms / 2) == GOT_IT)
        fail(cause, "Client B received nothing until client A had left.");
}

static void run_two(void)
{
    server_start(0);
    struct peer *a = peer_connect();
    expect_echo(a, "first");
    struct peer *b = peer_connect();
    peer_send(b, "second");
    enum got got = peer_read(b, "second", 6, patience_ms);
    if (got == GOT_NOTHING && peer_read(a, "second", 6, 0) == GOT_IT)
        fail(WRONG_CLIENT, "Client A received the bytes of client B.");
    if (got == GOT_NOTHING)
        blame_if_freed(a, b, "second", ONE_CLIENT_AT_A_TIME);
    if (got != GOT_IT)
        fail_as(got, b, "\"second\"");
    expect_echo(a, "third");
    expect_echo(b, "fourth");
}

static void run_pieces(void)
{
    static const char *const letters[] = {"p", "i", "e", "c", "e"};
    char all[256];

    server_start(0);
    struct peer *a = peer_connect();
    for (int i = 0; i < 5; i++) {
        peer_send(a, letters[i]);
        enum got got = peer_read(a, letters[i], 1, patience_ms / 2);
        if (got == GOT_NOTHING)
            ask_what_is_missing(a, letters[i]);
        if (got != GOT_IT)
            fail_as(got, a, (const char[]){'"', *letters[i], '"', '\0'});
    }
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    note("client A sends each of the 256 byte values");
    send(a->fd, all, sizeof all, 0);
    enum got got = peer_read(a, all, sizeof all, patience_ms / 2);
    if ((got == GOT_NOTHING || got == GOT_OTHER) && read_right == 0)
        fail(STRING_FUNCTIONS,
             "Of the 256 byte values, the first, which is zero, did not come back.");
    if (got == GOT_OTHER)
        fail(WRONG_BYTES, "In place of the byte 0x%02x, another one came back.",
             (unsigned)read_right);
    if (got == GOT_NOTHING)
        fail(reads_once_per_event() ? ONE_READ_PER_EVENT : SWALLOWS,
             "%zu of the 256 byte values came back, then none.", read_right);
    if (got != GOT_IT)
        fail_as(got, a, "the 256 byte values");
}

/* While the server is suspended, the bytes gather, so a buffer that is smaller needs several
 * reads. */
static struct peer *send_large(void)
{
    server_start(0);
    struct peer *a = peer_connect();
    expect_echo(a, "first");
    server_suspend();
    stream_send(a, 60000);
    server_resume();
    stream_drain(a);
    stream_echo(a, LARGE_BYTES);
    return a;
}

static void run_large(void)
{
    send_large();
}

static void run_late(void)
{
    server_start(0);
    struct peer *a = peer_connect_small();
    stream_fill(a, LATE_BYTES);
    stream_drain(a);
    stream_echo(a, LARGE_BYTES);
}

/* ---- with -e ---- */

/* What the kernel's list says about the client's descriptor. */
static void check_edge_triggered(const char *when)
{
    if (!server_clients_are_edge_triggered())
        fail(NOT_EDGE, "%s, the client's entry in the interest list lacks EPOLLET.", when);
}

static void run_edge_set(void)
{
    server_start(0);
    expect_echo(peer_connect(), "hello");
    check_edge_triggered("After one message");
}

/* A server that reads once for each event is lucky if the next bytes always come after its read. */
static void run_edge_large(void)
{
    struct peer *a = send_large();

    for (int i = 0; i < 9; i++)
        stream_echo(a, LARGE_BYTES);
}

static void run_edge_late(void)
{
    run_late();
    if (stage_digit == '4')
        check_edge_triggered("After a short write");
}

/* The server's log tells how often it reads from A before it serves B. */
static void greedy(struct peer *a, struct peer *b)
{
    uint64_t begin = a->sent;

    server_suspend();
    stream_fill(a, begin + GREEDY_BYTES);
    peer_send(b, "served");
    peer_wait_acknowledged(b);
    long before = server_log_count(" recv ", 0, NULL);
    server_resume();
    peer_expect(b, "served");
    long reads = server_log_count(" recv ", before, " recv 6,");
    note("client A has sent %llu bytes; the server has made %ld reads since",
         (unsigned long long)(a->sent - begin), reads);
    if (reads > MOST_READS)
        fail(EDGE_STARVES, "The server made %ld reads before it served client B.", reads);
    stream_drain(a);
}

/* How much arrives while the server is suspended depends on the size of the receive buffer, which
 * the kernel lets grow.  So this is repeated. */
static void run_edge_greedy(void)
{
    server_start(0);
    struct peer *a = peer_connect(), *b = peer_connect();
    stream_echo(a, WARM_UP_BYTES);
    expect_echo(b, "hello");
    for (long long end = now_ms() + patience_ms; now_ms() < end;)
        greedy(a, b);
}

/* Most bytes have arrived before the server reads, so no new edge comes. */
static void run_edge_queued(void)
{
    server_start(0);
    struct peer *a = peer_connect();
    stream_echo(a, WARM_UP_BYTES);
    for (long long end = now_ms() + patience_ms / 2; now_ms() < end;) {
        server_suspend();
        stream_send(a, QUEUED_BYTES);
        server_resume();
        stream_drain(a);
    }
}

/* ---- clients that send nothing ---- */

static void run_silent(void)
{
    server_start(0);
    struct peer *a = peer_connect(), *b = peer_connect();
    peer_send(b, "served");
    enum got got = peer_read(b, "served", 6, patience_ms);
    if (got == GOT_NOTHING)
        blame_if_freed(a, b, "served", BLOCKS_IN_RECV);
    if (got != GOT_IT)
        fail_as(got, b, "\"served\"");
    expect_echo(a, "at last");
}

static void run_idle(void)
{
    server_start(0);
    struct peer *a = peer_connect();
    expect_echo(a, "hello");
    peer_connect();
    if (server_spins(IDLE_MS))
        fail(SPINS_WHEN_IDLE, "The server used the CPU while no client sent anything.");
}

/* ---- how a connection ends ---- */

static void fail_without_fin(struct peer *a, enum cause cause)
{
    if (server_end(NULL) == NULL && server_spins(IDLE_MS / 3))
        fail(FIN_IGNORED, "The server's FIN did not come, and the server uses the CPU.");
    fail(cause, "Every byte came back to client %c, but no FIN for %.1f s.", a->name,
         patience_ms / 1000.0);
}

/* Send the text and FIN.  While the server is suspended, both arrive before it looks: one event
 * reports them together. */
static void check_fin(bool together)
{
    static const char words[] = "last words";
    struct peer *a = peer_connect();

    peer_send(a, "first");
    if (peer_read(a, "first", 5, patience_ms) == GOT_NOTHING)
        fail(STILL_WATCHED, "A client left, and the next one received nothing.");
    if (together)
        server_suspend();
    peer_send(a, words);
    if (!together)
        peer_expect(a, words);
    peer_shutdown(a);
    if (together) {
        server_resume();
        enum got got = peer_read(a, words, strlen(words), patience_ms);
        if (got == GOT_EOF || got == GOT_RESET)
            fail(CLOSES_AT_FIN, "The server closed the connection and \"%s\" was lost.", words);
        if (got != GOT_IT)
            fail_as(got, a, "\"last words\"");
    }
    if (peer_read(a, "?", 1, patience_ms) == GOT_NOTHING)
        fail_without_fin(a, together ? ONE_READ_PER_EVENT : FIN_IGNORED);
}

/* FIN after the echo, and FIN together with the bytes: does the server's FIN come? */
static bool answers_fin(bool together)
{
    struct peer *a = peer_connect();

    if (together)
        server_suspend();
    peer_send(a, "x");
    if (!together && peer_read(a, "x", 1, patience_ms / 2) != GOT_IT)
        return false;
    peer_shutdown(a);
    if (together)
        server_resume();
    if (together && peer_read(a, "x", 1, patience_ms / 2) != GOT_IT)
        return false;
    return peer_read(a, "?", 1, patience_ms / 2) == GOT_EOF;
}

bool reads_once_per_event(void)
{
    return answers_fin(false) && !answers_fin(true);
}

static void run_half_close(void)
{
    server_start(0);
    check_fin(false);
    check_fin(true);
    struct peer *a = peer_connect();
    peer_shutdown(a);
    expect_fin(a);
    if (server_spins(IDLE_MS / 3))
        fail(STILL_WATCHED, "After the clients had left, the server used the CPU.");
}

/* FIN on a connection for which the server has pending bytes.  Client A finds out how much the
 * buffers between the server and a client hold: what it still receives while the server is
 * suspended.  B sends a little more than that, so its FIN arrives while some bytes are pending. */
static void run_full_close(void)
{
    server_start(0);
    struct peer *a = peer_connect_small();
    stream_fill(a, LATE_BYTES);
    if (server_spins(IDLE_MS / 3))
        fail(PENDING_SPINS, "The server used the CPU while the client did not read.");
    server_suspend();
    stream_read_available(a);
    uint64_t buffered = a->got;
    server_resume();
    peer_shutdown(a);
    stream_drain(a);
    expect_fin(a);
    for (int i = 0; i < 3; i++) { /* on a busy machine, the FIN may wait behind bytes */
        struct peer *b = peer_connect_small();
        stream_fill(b, buffered + MORE_BYTES);
        peer_shutdown(b);
        if (server_spins(IDLE_MS / 3))
            fail(FIN_SPINS, "After FIN, the server used the CPU while the client did not read.");
        stream_drain(b);
        expect_fin(b);
    }
}

/* A client sends and leaves before the server looks.  The bytes are still there, and the first
 * answer to them is refused. */
static void leave_unseen(void (*leave)(struct peer *), uint64_t bytes)
{
    struct peer *a = peer_connect();

    expect_echo(a, "hello");
    server_suspend();
    if (bytes > 0)
        stream_send(a, bytes);
    leave(a);
    server_resume();
}

static void run_reset(void)
{
    server_start(0);
    struct peer *a = peer_connect(), *b = peer_connect();
    expect_echo(a, "a");
    peer_reset(a);
    for (int i = 0; i < 3; i++) {
        struct peer *c = peer_connect();
        peer_send(c, "nobody reads the answer");
        peer_reset(c);
    }
    leave_unseen(peer_reset, 0);
    leave_unseen(peer_reset, 60000);
    leave_unseen(peer_close, 300000);
    expect_echo(b, "b");
    expect_echo(peer_connect(), "next");
    if (server_spins(IDLE_MS / 2))
        fail(HANGUP_IGNORED, "After the resets, the server used the CPU while nothing happened.");
}

static void run_leave(void)
{
    struct peer *all[20];
    char text[20];

    server_start(0);
    for (int i = 0; i < 20; i++) {
        all[i] = peer_connect();
        expect_echo(all[i], "here");
    }
    for (int i = 0; i < 20; i += 2) {
        peer_shutdown(all[i]);
        expect_fin(all[i]);
        peer_close(all[i]);
    }
    for (int i = 1; i < 20; i += 2) {
        snprintf(text, sizeof text, "number %d", i);
        expect_echo(all[i], text);
    }
    expect_echo(peer_connect(), "new");
}

/* ---- a client that never reads ---- */

static void run_never_reads(void)
{
    server_start(0);
    struct peer *a = peer_connect_small(), *b = peer_connect();
    if (!stream_fill(a, MOST_BYTES))
        fail(READS_WITHOUT_BOUND, "The server took %d MB from a client that read nothing.",
             MOST_BYTES / 1000000);
    peer_send(b, "served");
    enum got got = peer_read(b, "served", 6, patience_ms);
    if (got == GOT_NOTHING)
        blame_if_freed(a, b, "served", BLOCKS_IN_SEND);
    if (got != GOT_IT)
        fail_as(got, b, "\"served\"");
    stream_echo(b, 300000);
    stream_drain(a);
    if (server_spins(IDLE_MS / 2))
        fail(WRITE_LEFT_ARMED, "After client A had read everything, the server used the CPU.");
    stream_echo(a, 1000);
}

/* ---- many clients, few descriptors ---- */

/* A client of the burst has no answer.  Does it come at last? */
static void blame_if_late(struct peer *peer, int number)
{
    if (peer_read(peer, "in", 2, 2 * patience_ms) == GOT_IT)
        fail(SLOW, "Client %d of %d was served only after more than %.1f s.", number, BURST,
             patience_ms / 1000.0);
    fail(ONE_ACCEPT, "Client %d of %d was not served.", number, BURST);
}

/* While the server is suspended, the connections gather in its backlog, and one event reports all
 * of them. */
static void run_burst(void)
{
    struct peer *all[BURST];
    enum got got;

    server_start(0);
    expect_echo(peer_connect(), "first");
    server_suspend();
    for (int i = 0; i < BURST; i++) {
        all[i] = peer_connect();
        peer_send(all[i], "in");
    }
    server_resume();
    for (int i = 0; i < BURST; i++)
        if ((got = peer_read(all[i], "in", 2, patience_ms)) == GOT_NOTHING)
            blame_if_late(all[i], i + 1);
        else if (got != GOT_IT)
            fail_as(got, all[i], "\"in\"");
}

/* The echo on every 50th connection shows that the server has accepted all of them so far, so its
 * backlog never fills. */
static void run_many(void)
{
    struct rlimit limit;
    int count = MANY;

    server_start(0);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < MANY + 50)
        count = (int)limit.rlim_cur - 50;
    struct peer *first = peer_connect(), *last = first;
    for (int i = 2; i <= count; i++) {
        last = peer_connect();
        if (i % 50 == 0 || i == count)
            expect_echo(last, "here");
    }
    expect_echo(first, "first");
    if (server_spins(IDLE_MS))
        fail(SPINS_WHEN_IDLE, "The server used the CPU while no client sent anything.");
}

static void run_leak(void)
{
    server_start(0);
    for (int i = 1; i <= 2 * FEW_DESCRIPTORS; i++) {
        struct peer *a = peer_connect();
        peer_send(a, "hello");
        enum got got = peer_read(a, "hello", 5, patience_ms);
        if (got != GOT_IT)
            fail(DESCRIPTOR_LEAK, "Client %d was not served; the %d before it had left.", i, i - 1);
        if (i % 2 == 0)
            peer_reset(a);
        else
            peer_close(a);
    }
}

/* Connect clients until one is not served.  Returns how many are. */
static int use_all_descriptors(struct peer *served[], struct peer **waiting)
{
    for (int i = 0; i < FEW_DESCRIPTORS; i++) {
        served[i] = peer_connect();
        peer_send(served[i], "in");
        enum got got = peer_read(served[i], "in", 2, patience_ms / 3);
        *waiting = served[i];
        if (got == GOT_EOF || got == GOT_RESET)
            fail(SHORTAGE_CLOSES, "Client %d was closed while %d were connected.", i + 1, i);
        if (got != GOT_IT)
            return i;
    }
    return FEW_DESCRIPTORS;
}

static void run_shortage(void)
{
    struct peer *served[FEW_DESCRIPTORS], *waiting;

    server_start(0);
    int count = use_all_descriptors(served, &waiting);
    if (count == FEW_DESCRIPTORS || count == 0) /* the server has raised its own limit */
        return;
    expect_echo(served[0], "still here");
    if (server_spins(IDLE_MS))
        fail(SHORTAGE_SPINS,
             "With %d clients connected, client %d waits, and the server uses the CPU.", count,
             count + 1);
    for (int i = 1; i < count; i++)
        peer_close(served[i]);
    enum got got = peer_read(waiting, "in", 2, patience_ms);
    if (got == GOT_EOF || got == GOT_RESET)
        fail(SHORTAGE_CLOSES, "The client that waited for a descriptor was closed.");
    if (got != GOT_IT)
        fail(SHORTAGE_LASTS, "%d clients left, and the one that waited is still not served.",
             count - 1);
    expect_echo(served[0], "and still");
}

#ifdef __linux__
/* While a client waits, the server's limit is raised from outside, and nobody leaves. */
static void run_retry(void)
{
    struct peer *served[FEW_DESCRIPTORS], *waiting;

    server_start(0);
    int count = use_all_descriptors(served, &waiting);
    if (count == FEW_DESCRIPTORS || count == 0)
        return;
    note("the server's limit is raised to %d descriptors", 2 * FEW_DESCRIPTORS);
    server_set_nofile(2 * FEW_DESCRIPTORS);
    enum got got = peer_read(waiting, "in", 2, patience_ms);
    if (got != GOT_IT)
        fail(NEVER_RETRIED, "%.1f s after descriptors became free, client %d is still not served.",
             patience_ms / 1000.0, count + 1);
}
#endif

/* ---- stop and start again ---- */

static void run_stop(void)
{
    int by_signal;

    server_start(0);
    expect_echo(peer_connect(), "hello");
    stream_fill(peer_connect_small(), LATE_BYTES);
    note("SIGTERM is sent to the server");
    server_signal(SIGTERM);
    if (!server_wait_end(patience_ms))
        fail(STOP_IGNORED, "The server is still running %.1f s later.", patience_ms / 1000.0);
    const char *end = server_end(&by_signal);
    if (strcmp(end, "with exit code 0") != 0)
        fail(STOP_BY_DEFAULT, "The server ended %s.", end);
}

/* The server closes first, so the connection stays in TIME_WAIT on its port. */
static void run_again(void)
{
    server_start(0);
    int port = server_port();
    struct peer *a = peer_connect();
    expect_echo(a, "hello");
    server_signal(SIGTERM);
    if (!server_wait_end(patience_ms))
        fail(STOP_IGNORED, "The server is still running %.1f s after SIGTERM.",
             patience_ms / 1000.0);
    peer_read(a, "?", 1, patience_ms); /* its FIN, or RST */
    peer_close(a);
    server_forget();
    server_start(port);
    expect_echo(peer_connect(), "again");
}

/* ---- the ladder ---- */

/* A cause that is not named is the usual one (see struct rung). */
const struct rung rungs[] = {
    {.name = "compiles",
     .title = "it compiles",
     .test = "No client connects yet.",
     .expected = "The compiler reports no error.",
     .run = run_build},
    {.name = "starts",
     .title = "it starts",
     .test = "No client connects yet.",
     .expected = "The server listens, and says where.",
     .run = run_start,
     .ends = EXITS_AT_START,
     .silent = NOT_LISTENING},
    {.name = "echoes",
     .title = "one message",
     .test = "A client connects and sends \"hello\".",
     .expected = "It receives \"hello\".",
     .run = run_echo},
    {.name = "again",
     .title = "a second message",
     .test = "A client sends \"hello\", receives it, and sends \"again\".",
     .expected = "It receives \"again\" too, without a delay.",
     .run = run_second,
     .closes = CLOSES_AFTER_ONE,
     .silent = ARMED_ONCE},
    {.name = "two",
     .title = "two clients at once",
     .test = "Client A stays connected. B connects and sends \"second\".",
     .expected = "B receives its bytes, then A receives more.",
     .run = run_two,
     .silent = ARMED_ONCE},
    {.name = "pieces",
     .title = "a message in pieces",
     .test =
         "A client sends one byte, waits for the echo, sends the next; then all 256 byte values.",
     .expected = "Each byte comes back before the next is sent.",
     .run = run_pieces,
     .silent = ARMED_ONCE},
    {.name = "large",
     .title = "a large message",
     .test = "A client sends 60,000 bytes at once, then 4 MB while reading.",
     .expected = "Every byte comes back, in order.",
     .run = run_large,
     .silent = NOT_WRITABLE},
    {.name = "late",
     .title = "a client that reads late",
     .test = "A client sends until its socket is full, and only then reads.",
     .expected = "Every byte comes back, in order.",
     .run = run_late,
     .closes = CLOSES_PENDING,
     .silent = NOT_WRITABLE},
    {.name = "silent",
     .title = "a client that sends nothing",
     .test = "Client A connects and sends nothing. B connects and sends \"served\".",
     .expected = "B receives its bytes.",
     .run = run_silent},
    {.name = "idle",
     .title = "no CPU time when idle",
     .test = "Two clients are connected, and neither sends anything.",
     .expected = "The server sleeps in its wait.",
     .run = run_idle},
    {.name = "half-close",
     .title = "a half-close",
     .test = "A client sends \"last words\" and FIN, and goes on reading.",
     .expected = "It receives \"last words\" and then the server's FIN.",
     .run = run_half_close,
     .silent = FIN_IGNORED},
    {.name = "full-close",
     .title = "a half-close with pending bytes",
     .test = "A client sends until its socket is full, sends FIN, and then reads.",
     .expected = "It receives every byte and then the server's FIN.",
     .run = run_full_close,
     .closes = CLOSES_PENDING,
     .silent = FIN_IGNORED},
    {.name = "leave",
     .title = "some clients leave",
     .test = "Of 20 clients, every second one leaves; the others send.",
     .expected = "Each of the others receives its own bytes.",
     .run = run_leave,
     .closes = WRONG_ENTRY,
     .silent = WRONG_ENTRY,
     .differs = WRONG_ENTRY},
    {.name = "reset",
     .title = "a reset",
     .test = "Several clients reset their connections, some with bytes in flight.",
     .expected = "Other clients are served, and then the server sleeps.",
     .run = run_reset,
     .ends = RESET_IS_FATAL,
     .silent = RESET_IS_FATAL},
    {.name = "never-reads",
     .title = "a client that never reads",
     .test = "Client A sends and does not read. B sends \"served\". Then A reads.",
     .expected = "B is served meanwhile, and A receives every byte.",
     .run = run_never_reads,
     .closes = CLOSES_PENDING,
     .silent = BLOCKS_IN_SEND,
     .differs = SHARED_BUFFER},
    {.name = "burst",
     .title = "100 clients at the same time",
     .test = "100 clients connect and send before the server accepts the first.",
     .expected = "Each of them receives its bytes.",
     .run = run_burst,
     .closes = TOO_FEW_CLIENTS,
     .silent = BACKLOG_SHORT},
    {.name = "many",
     .title = "1,000 idle clients",
     .test = "1,000 clients connect; a few of them send a message.",
     .expected = "Those few are served, and then the server sleeps.",
     .run = run_many,
     .closes = TOO_FEW_CLIENTS,
     .silent = TOO_FEW_CLIENTS},
    {.name = "leak",
     .title = "clients come and go",
     .test = "With room for 64 descriptors, 128 clients connect, send and leave in turn.",
     .expected = "Each of them is served.",
     .run = run_leak,
     .closes = DESCRIPTOR_LEAK,
     .silent = DESCRIPTOR_LEAK,
     .nofile = FEW_DESCRIPTORS},
    {.name = "shortage",
     .title = "no descriptor left",
     .test = "With room for 64 descriptors, clients connect until one is not served.",
     .expected = "It waits in the backlog, costs no CPU time, and is served later.",
     .run = run_shortage,
     .ends = SHORTAGE_IS_FATAL,
     .closes = SHORTAGE_CLOSES,
     .silent = SHORTAGE_LASTS,
     .nofile = FEW_DESCRIPTORS},
#ifdef __linux__
    {.name = "retry",
     .title = "a shortage that ends by itself",
     .test = "While a client waits for a descriptor, the limit is raised. Nobody leaves.",
     .expected = "The client that waited is served within a second.",
     .run = run_retry,
     .ends = SHORTAGE_IS_FATAL,
     .closes = SHORTAGE_CLOSES,
     .silent = NEVER_RETRIED,
     .nofile = FEW_DESCRIPTORS,
     .nofile_later = 2 * FEW_DESCRIPTORS},
#endif
    {.name = "stop",
     .title = "SIGTERM",
     .test = "Two clients are connected when SIGTERM arrives.",
     .expected = "The server ends within a second, with exit code 0.",
     .run = run_stop,
     .ends = STOP_BY_DEFAULT},
    {.name = "restart",
     .title = "the same port again",
     .test = "A client is connected while the server stops and starts again.",
     .expected = "The new server listens on the same port.",
     .run = run_again,
     .ends = PORT_IN_USE,
     .silent = PORT_IN_USE},
    {.name = "edge-set",
     .title = "with -e, the kernel's list",
     .test = "A client sends \"hello\" and receives it.",
     .expected = "Its entry in the interest list has EPOLLET.",
     .run = run_edge_set,
     .stages = "4",
     .option = "-e"},
    {.name = "edge-large",
     .title = "with -e, a large message",
     .test = "A client sends 60,000 bytes at once, then 40 MB while reading.",
     .expected = "Every byte comes back, in order.",
     .run = run_edge_large,
     .silent = ONE_READ_PER_EVENT,
     .stages = "45",
     .option = "-e"},
    {.name = "edge-late",
     .title = "with -e, a client that reads late",
     .test = "A client sends until its socket is full, and only then reads.",
     .expected = "Every byte comes back, in order.",
     .run = run_edge_late,
     .closes = CLOSES_PENDING,
     .silent = NOT_WRITABLE,
     .stages = "45",
     .option = "-e"},
    {.name = "edge-close",
     .title = "with -e, a half-close",
     .test = "A client sends \"last words\" and FIN; one event reports both.",
     .expected = "It receives \"last words\" and then the server's FIN.",
     .run = run_half_close,
     .silent = ONE_READ_PER_EVENT,
     .stages = "45",
     .option = "-e"},
    {.name = "edge-burst",
     .title = "with -e, 100 clients at the same time",
     .test = "100 clients connect and send before the server accepts the first.",
     .expected = "Each of them receives its bytes.",
     .run = run_burst,
     .closes = TOO_FEW_CLIENTS,
     .silent = BACKLOG_SHORT,
     .stages = "45",
     .option = "-e"},
    {.name = "edge-queued",
     .title = "with -e, a lot of data at once",
     .test = "While the server is suspended, a client sends 2 MB.",
     .expected = "Every byte comes back, in order.",
     .run = run_edge_queued,
     .silent = EDGE_FORGETS,
     .stages = "45",
     .option = "-e"},
    {.name = "edge-greedy",
     .title = "with -e, a client that sends a lot",
     .test = "While the server is suspended, A sends what fits, and then B sends \"served\".",
     .expected = "At most 40 reads from A come before the first from B.",
     .run = run_edge_greedy,
     .silent = EDGE_STARVES,
     .stages = "45",
     .option = "-e -v"},
    {.name = NULL}};
