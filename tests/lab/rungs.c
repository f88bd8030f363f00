/* The rungs, in the order in which one would build a server; the likely causes; and the code. */
#define _DEFAULT_SOURCE

#include "ladder.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 1000          /* idle clients */
#define FEW_DESCRIPTORS 64 /* the server's limit, for the rungs about descriptors */
#define IDLE_MS 300        /* how long the CPU time of an idle server is measured */
#define LATE_BYTES 4000000
#define MOST_BYTES 48000000 /* more than the buffers of two sockets hold */

/* ---- the likely causes ---- */

const struct cause_text causes[CAUSE_COUNT] = {
    [BUILD_ERROR] = {"The compiler's first message is above.", "setting up"},
    [EXITS_AT_START] = {"If the message says \"Function not implemented\", a gap is still empty: "
                        "watch() has to add the descriptor. Otherwise, a call in main() failed.",
                        "chapter 2, \"Three functions and a wait\""},
    [NOT_LISTENING] = {"The server has to call listen() and, if it is one of our stages, to print "
                       "its address before it waits.",
                       "chapter 1, \"Sockets in six calls\""},
    [NO_ADDRESS] = {"The first line on stdout has to be \"listening on ADDRESS:PORT\". Print your "
                    "own messages on stderr.",
                    "chapter 1, \"Sockets in six calls\""},
    [LOOP_RETURNS] = {"The loop ended. serve() has to wait again after each event, until the "
                      "shutdown pipe is readable.",
                      "chapter 2, \"How it stops\""},
    [CRASHES] = {"An invalid pointer or index. An event may arrive for a client that is gone: "
                 "client_by_fd() then returns NULL. To find the line: CFLAGS='-g "
                 "-fsanitize=address'.",
                 "chapter 2, \"Three functions and a wait\""},
    [KILLED_BY_SIGPIPE] = {"send() on a connection that the client has reset raises SIGPIPE, which "
                           "ends a process that does not ignore it.",
                           "chapter 1, \"Three kinds of errors\""},
    [NO_BRANCH] = {"The loop does not act on the event. When the listener is ready, accept; when a "
                   "client is ready, read, and send what was read.",
                   "chapter 2, \"Three functions and a wait\""},
    [LOOP_SPINS] = {"The wait returns again and again, and no branch of the loop handles what it "
                    "reports.",
                    "chapter 2, \"Three functions and a wait\""},
    [CLOSES_TOO_SOON] = {"The server closes a client that has not sent FIN. Close it only when "
                         "recv() returns 0 or an error that is not transient.",
                         "chapter 1, \"How a conversation ends\""},
    [CLOSES_AFTER_ONE] = {"The server closes the client after its first message. A message is not "
                          "a conversation: read until recv() returns 0.",
                          "chapter 1, \"How a conversation ends\""},
    [ARMED_ONCE] = {"The client is not watched any more after its first event: the set, the array "
                    "or the interest was overwritten, or was armed for one event.",
                    "chapter 2, \"Three functions and a wait\""},
    [ONE_CLIENT_AT_A_TIME] = {"The server blocks in recv() of one client and accepts the next only "
                              "when that one has left.",
                              "chapter 2, \"Guess first\""},
    [WAITS_FOR_A_LINE] = {"The server waits for the end of a line. TCP is a stream of bytes: echo "
                          "whatever recv() returns.",
                          "chapter 1, \"Sockets in six calls\""},
    [WAITS_FOR_A_BUFFER] = {"The server waits until its buffer is full. recv() returns what has "
                            "arrived; echo that.",
                            "chapter 1, \"Sockets in six calls\""},
    [STRING_FUNCTIONS] = {"A string function such as strlen() stops at a zero byte. The length is "
                          "what recv() returned.",
                          "chapter 1, \"Sockets in six calls\""},
    [WRONG_BYTES] = {"More or other bytes are sent than recv() returned: send exactly that many.",
                     "chapter 1, \"Sockets in six calls\""},
    [SENT_TWICE] = {"After a short write, the next send() starts again at the beginning: the count "
                    "of sent bytes is not added to the address.",
                    "chapter 2, \"Never wait elsewhere\""},
    [REST_DROPPED] = {"A short write: send() took only a part, or failed with EAGAIN, and the rest "
                      "was forgotten. Keep it until the socket is writable.",
                      "chapter 2, \"Never wait elsewhere\""},
    [REST_OVERWRITTEN] = {"Pending bytes were overwritten: the server reads from a client for "
                          "which bytes still wait, and the next recv() replaces them.",
                          "chapter 2, \"Never wait elsewhere\""},
    [SHARED_BUFFER] = {"Pending bytes of one client are kept in a buffer that other clients use "
                       "too. Copy them to a buffer of the client's own.",
                       "chapter 2, \"Never wait elsewhere\""},
    [ONE_READ_PER_EVENT] = {"Edge-triggered, and only one recv() per event: an arrival is reported "
                            "once, so read until EAGAIN.",
                            "chapter 4, \"Level and edge\""},
    [NOT_WRITABLE] = {"While bytes are pending, nothing wakes the server when the socket takes "
                      "more: set_interest() has to wait for writing, and then for reading again.",
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
                     "chapter 1, \"How a conversation ends\""},
    [FIN_SPINS] = {"A flag that stays set after FIN (readable, RDHUP, EV_EOF) ends every wait. "
                   "While bytes are pending, wait for writing only.",
                   "chapter 4, \"The flags\""},
    [CLOSES_AT_FIN] = {"The server closes at the first sign of the end (EPOLLRDHUP, POLLHUP, "
                       "EV_EOF), although bytes from before the FIN are unread.",
                       "chapter 4, \"The flags\""},
    [CLOSES_PENDING] = {"The server closes a client for which bytes are still pending. Send them "
                        "first; recv() returns 0 after that too.",
                        "chapter 2, \"Never wait elsewhere\""},
    [RESET_FOR_FIN] = {"close() on a socket with unread bytes sends RST. Read until recv() returns "
                       "0 before you close.",
                       "chapter 1, \"How a conversation ends\""},
    [RESET_IS_FATAL] = {"ECONNRESET or EPIPE is an error of one client, and the server ends "
                        "because of it. Close that client and go on.",
                        "chapter 1, \"Three kinds of errors\""},
    [WRONG_ENTRY] = {"When a client leaves, the server forgets another one: unwatch() removes or "
                     "skips the wrong entry.",
                     "chapter 3, \"The array\""},
    [READS_WITHOUT_BOUND] = {"The server reads on while bytes are pending, so its memory grows "
                             "with what the client sends. Wait for writing only.",
                             "chapter 2, \"Never wait elsewhere\""},
    [PENDING_SPINS] = {"While bytes are pending, the server still waits for reading, and unread "
                       "bytes end every wait. Wait for writing only.",
                       "chapter 2, \"Never wait elsewhere\""},
    [WRITE_LEFT_ARMED] = {"All pending bytes are sent, and the server still waits for writing: an "
                          "idle socket is always writable.",
                          "chapter 2, \"Never wait elsewhere\""},
    [TOO_FEW_CLIENTS] = {"A table or an array has a fixed size, or only some of the new clients "
                         "are accepted: accept until EAGAIN.",
                         "chapter 3, \"The array\""},
    [DESCRIPTOR_LEAK] = {"A client that has left keeps its descriptor: close() is missing in one "
                         "of the ways in which a client leaves.",
                         "chapter 1, \"How a conversation ends\""},
    [SHORTAGE_IS_FATAL] = {"accept() failed with EMFILE, and the server ended. A shortage is not "
                           "an error of the server: serve those who are connected.",
                           "chapter 2, \"When there is no descriptor left\""},
    [SHORTAGE_SPINS] = {"The listener stays readable while accept() fails with EMFILE. Stop "
                        "watching the listener until a descriptor is free.",
                        "chapter 2, \"When there is no descriptor left\""},
    [SHORTAGE_CLOSES] = {"The server closes the clients that do not fit. Leave them in the "
                         "backlog; they wait there.",
                         "chapter 2, \"When there is no descriptor left\""},
    [SHORTAGE_LASTS] = {"Accepting was paused after EMFILE and never resumed; or unwatch() and "
                        "watch() do not undo each other for the listener.",
                        "chapter 2, \"When there is no descriptor left\""},
    [STOP_IGNORED] = {"SIGTERM does not end the wait. The handler writes to the shutdown pipe; "
                      "the loop has to watch that pipe and return when it is readable.",
                      "chapter 2, \"How it stops\""},
    [STOP_BY_DEFAULT] = {"There is no handler for SIGTERM, or the program returns another status "
                         "than 0 after it.",
                         "chapter 2, \"How it stops\""},
    [PORT_IN_USE] = {"SO_REUSEADDR is not set on the listener: connections in TIME_WAIT keep the "
                     "port in use.",
                     "chapter 1, \"Sockets in six calls\""},
};

/* ---- it compiles, it starts, it echoes ---- */

/* Keep the line of the compiler's output that says most: the first error, or else the first line. */
static void keep_message(char *message, size_t size, const char *line)
{
    bool error = strstr(line, "error") != NULL || strstr(line, "undefined reference") != NULL;

    if (message[0] == '\0' || (error && strstr(message, "error") == NULL &&
                               strstr(message, "undefined reference") == NULL))
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
    while (build != NULL && fgets(line, sizeof line, build) != NULL)
        keep_message(message, sizeof message, line);
    int status = build != NULL ? pclose(build) : -1;
    if (status != 0)
        fail(BUILD_ERROR, "%s", message);
}

static void run_start(void)
{
    server_start(0);
}

/* If the server uses a CPU while a client waits for an answer, its loop runs without doing
 * anything. */
static void run_echo(void)
{
    server_start(0);
    struct peer *a = peer_connect();
    peer_send(a, "hello");
    long before = server_cpu_ms();
    enum got got = peer_read(a, "hello", 5, patience_ms);
    if (got == GOT_NOTHING && server_end(NULL) == NULL &&
        server_cpu_ms() - before > patience_ms / 5)
        fail(LOOP_SPINS, "Client A received nothing for %.1f s, in which the server used the CPU.",
             patience_ms / 1000.0);
    if (got != GOT_IT)
        fail_as(got, a, "\"hello\"");
}

static void run_second(void)
{
    server_start(0);
    struct peer *a = peer_connect();
    expect_echo(a, "hello");
    expect_echo(a, "again");
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
    if (got == GOT_NOTHING)
        blame_if_freed(a, b, "second", ONE_CLIENT_AT_A_TIME);
    if (got != GOT_IT)
        fail_as(got, b, "\"second\"");
    expect_echo(a, "third");
    expect_echo(b, "fourth");
}

/* One byte has no answer.  What is the server waiting for? */
static void ask_what_is_missing(struct peer *a, const char *byte)
{
    char text[3];

    snprintf(text, sizeof text, "%s\n", byte);
    peer_send(a, "\n");
    if (peer_read(a, text, 2, patience_ms / 2) == GOT_IT)
        fail(WAITS_FOR_A_LINE, "The byte \"%s\" came back only after a newline was sent.", byte);
    stream_send(a, 60000);
    if (peer_read(a, text, 2, patience_ms / 2) == GOT_IT)
        fail(WAITS_FOR_A_BUFFER, "The byte \"%s\" came back only after 60000 more were sent.",
             byte);
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
            fail_as(got, a, letters[i]);
    }
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    note("client A sends each of the 256 byte values");
    send(a->fd, all, sizeof all, 0);
    enum got got = peer_read(a, all, sizeof all, patience_ms / 2);
    if (got == GOT_NOTHING || got == GOT_OTHER)
        fail(STRING_FUNCTIONS, "The 256 byte values did not all come back.");
    if (got != GOT_IT)
        fail_as(got, a, "the 256 byte values");
}

/* While the server is suspended, the bytes gather, so a buffer that is smaller needs several
 * reads. */
static void run_large(void)
{
    server_start(0);
    struct peer *a = peer_connect();
    expect_echo(a, "first");
    server_suspend();
    stream_send(a, 60000);
    server_resume();
    stream_drain(a);
    stream_echo(a, LATE_BYTES);
}

static void run_late(void)
{
    server_start(0);
    struct peer *a = peer_connect_small();
    stream_fill(a, LATE_BYTES);
    stream_drain(a);
    stream_echo(a, LATE_BYTES);
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
    char byte;

    (void)byte;
    if (server_end(NULL) == NULL && server_spins(IDLE_MS / 3))
        fail(FIN_SPINS, "The server's FIN did not come, and the server uses the CPU.");
    fail(cause, "Every byte came back to client %c, but no FIN for %.1f s.", a->name,
         patience_ms / 1000.0);
}

/* Send the text and FIN.  While the server is suspended, both arrive before it looks: one event
 * reports them together. */
static void check_fin(bool together)
{
    static const char words[] = "last words";
    struct peer *a = peer_connect();

    expect_echo(a, "first words");
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

static void run_half_close(void)
{
    server_start(0);
    check_fin(false);
    check_fin(true);
    struct peer *a = peer_connect();
    peer_shutdown(a);
    expect_fin(a);
}

/* FIN on a connection for which the server has pending bytes. */
static void run_full_close(void)
{
    server_start(0);
    struct peer *a = peer_connect_small();
    stream_fill(a, LATE_BYTES);
    peer_shutdown(a);
    if (server_spins(IDLE_MS / 2))
        fail(FIN_SPINS, "The server used the CPU while the client did not read.");
    stream_drain(a);
    expect_fin(a);
}

static void run_reset(void)
{
    server_start(0);
    struct peer *a = peer_connect(), *b = peer_connect();
    expect_echo(a, "a");
    peer_reset(a);
    for (int i = 0; i < 5; i++) {
        struct peer *c = peer_connect();
        peer_send(c, "nobody reads the answer");
        peer_reset(c);
        struct peer *d = peer_connect_small();
        stream_fill(d, 300000);
        peer_close(d);
    }
    server_suspend();
    peer_reset(peer_connect());
    server_resume();
    expect_echo(b, "b");
    expect_echo(peer_connect(), "next");
    if (server_spins(IDLE_MS / 2))
        fail(SPINS_WHEN_IDLE, "After the resets, the server used the CPU while nothing happened.");
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

static void check_pending_spin(void)
{
    if (server_spins(IDLE_MS))
        fail(PENDING_SPINS, "While client A did not read, the server used the CPU.");
}

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
    check_pending_spin();
    stream_drain(a);
    if (server_spins(IDLE_MS / 2))
        fail(WRITE_LEFT_ARMED, "After client A had read everything, the server used the CPU.");
    stream_echo(a, 1000);
}

/* ---- many clients, few descriptors ---- */

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
            fail(SHORTAGE_CLOSES, "Client %d was closed; %d are connected.", i + 1, i);
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
        fail(SHORTAGE_SPINS, "With %d clients, client %d waits, and the server uses the CPU.",
             count, count + 1);
    for (int i = 1; i < count; i++)
        peer_close(served[i]);
    enum got got = peer_read(waiting, "in", 2, patience_ms);
    if (got == GOT_EOF || got == GOT_RESET)
        fail(SHORTAGE_CLOSES, "The client that did not fit was closed.");
    if (got != GOT_IT)
        fail(SHORTAGE_LASTS, "%d clients left, and the one that waited is still not served.",
             count - 1);
    expect_echo(served[0], "and still");
}

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
        fail(STOP_IGNORED, "The server still runs, %.1f s later.", patience_ms / 1000.0);
    const char *end = server_end(&by_signal);
    if (strcmp(end, "exit code 0") != 0)
        fail(STOP_BY_DEFAULT, "The server ended with %s.", end);
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
        fail(STOP_IGNORED, "The server still runs, %.1f s after SIGTERM.", patience_ms / 1000.0);
    peer_read(a, "?", 1, patience_ms); /* its FIN, or RST */
    peer_close(a);
    server_forget();
    server_start(port);
    expect_echo(peer_connect(), "again");
}

/* ---- the ladder ---- */

#define EDGE .stages = "45", .option = "-e"

const struct rung rungs[] = {
    {"compiles", "it compiles", "nothing yet", "The compiler reports no error.", run_build,
     BUILD_ERROR, BUILD_ERROR, BUILD_ERROR, BUILD_ERROR, 0, 0, 0},
    {"starts", "it starts", "nothing yet", "The server listens, and says where.", run_start,
     EXITS_AT_START, EXITS_AT_START, NOT_LISTENING, NO_ADDRESS, 0, 0, 0},
    {"echoes", "one message", "connects and sends \"hello\".", "It receives \"hello\".", run_echo,
     LOOP_RETURNS, CLOSES_TOO_SOON, NO_BRANCH, WRONG_BYTES, 0, 0, 0},
    {"again", "a second message", "sends \"hello\", receives it, and sends \"again\".",
     "It receives \"again\" too.", run_second, LOOP_RETURNS, CLOSES_AFTER_ONE, ARMED_ONCE,
     WRONG_BYTES, 0, 0, 0},
    {"two", "two clients at once", "A stays connected. B connects and sends \"second\".",
     "B receives its bytes, then A receives more.", run_two, LOOP_RETURNS, CLOSES_TOO_SOON,
     ARMED_ONCE, WRONG_BYTES, 0, 0, 0},
    {"pieces", "a message in pieces",
     "sends one byte, waits for it, and sends the next; then all 256 byte values.",
     "Each byte comes back before the next is sent.", run_pieces, LOOP_RETURNS, CLOSES_TOO_SOON,
     ARMED_ONCE, WRONG_BYTES, 0, 0, 0},
    {"large", "a large message", "sends 60,000 bytes at once, then 4 MB, and reads meanwhile.",
     "Every byte comes back, in order.", run_large, LOOP_RETURNS, CLOSES_TOO_SOON, NOT_WRITABLE,
     WRONG_BYTES, 0, 0, 0},
    {"late", "a client that reads late",
     "sends until nothing more is taken, and only then begins to read.",
     "Every byte comes back, in order.", run_late, LOOP_RETURNS, CLOSES_PENDING, NOT_WRITABLE,
     WRONG_BYTES, 0, 0, 0},
    {"silent", "a client that sends nothing",
     "A connects and sends nothing. B connects after it and sends \"served\".",
     "B receives its bytes.", run_silent, LOOP_RETURNS, CLOSES_TOO_SOON, NO_BRANCH, WRONG_BYTES, 0,
     0, 0},
    {"idle", "no CPU time when idle", "Two clients are connected, and neither sends anything.",
     "The server sleeps in its wait.", run_idle, LOOP_RETURNS, CLOSES_TOO_SOON, NO_BRANCH,
     WRONG_BYTES, 0, 0, 0},
    {"half-close", "a half-close", "sends \"last words\" and FIN, and goes on reading.",
     "It receives \"last words\" and then the server's FIN.", run_half_close, LOOP_RETURNS,
     CLOSES_TOO_SOON, FIN_IGNORED, WRONG_BYTES, 0, 0, 0},
    {"full-close", "a half-close with pending bytes",
     "sends until nothing more is taken, sends FIN, and only then reads.",
     "It receives every byte and then the server's FIN.", run_full_close, LOOP_RETURNS,
     CLOSES_PENDING, FIN_IGNORED, WRONG_BYTES, 0, 0, 0},
    {"reset", "a reset", "Several clients reset their connections, some with bytes in flight.",
     "Another client is served, and the server sleeps after that.", run_reset, RESET_IS_FATAL,
     CLOSES_TOO_SOON, RESET_IS_FATAL, WRONG_BYTES, 0, 0, 0},
    {"leave", "some clients leave", "Of 20 clients, every second one leaves; the others send.",
     "Each of them receives its own bytes.", run_leave, LOOP_RETURNS, WRONG_ENTRY, WRONG_ENTRY,
     WRONG_ENTRY, 0, 0, 0},
    {"never-reads", "a client that never reads",
     "A sends and never reads. B sends \"served\" and more. Then A reads.",
     "B is served meanwhile, and A receives every byte.", run_never_reads, LOOP_RETURNS,
     CLOSES_PENDING, BLOCKS_IN_SEND, SHARED_BUFFER, 0, 0, 0},
    {"many", "1,000 idle clients", "1,000 clients connect; a few of them send a message.",
     "Those are served, and the server sleeps after that.", run_many, LOOP_RETURNS, CLOSES_TOO_SOON,
     TOO_FEW_CLIENTS, WRONG_BYTES, 0, 0, 0},
    {"leak", "clients come and go",
     "With room for 64 descriptors, 128 clients connect, send and leave in turn.",
     "Each of them is served.", run_leak, LOOP_RETURNS, DESCRIPTOR_LEAK, DESCRIPTOR_LEAK,
     WRONG_BYTES, 0, 0, FEW_DESCRIPTORS},
    {"shortage", "no descriptor left",
     "With room for 64 descriptors, clients connect until one is not served.",
     "It waits in the backlog, without CPU time, and is served later.", run_shortage,
     SHORTAGE_IS_FATAL, SHORTAGE_CLOSES, SHORTAGE_LASTS, WRONG_BYTES, 0, 0, FEW_DESCRIPTORS},
    {"stop", "SIGTERM", "Two clients are connected when SIGTERM arrives.",
     "The server ends within a second, with exit code 0.", run_stop, STOP_BY_DEFAULT,
     CLOSES_TOO_SOON, NO_BRANCH, WRONG_BYTES, 0, 0, 0},
    {"restart", "the same port again", "is connected while the server stops and starts again.",
     "The new server listens on the same port.", run_again, PORT_IN_USE, CLOSES_TOO_SOON,
     NO_BRANCH, WRONG_BYTES, 0, 0, 0},
    {"edge-large", "with -e, a large message",
     "sends 60,000 bytes at once, then 4 MB, and reads meanwhile.",
     "Every byte comes back, in order.", run_large, LOOP_RETURNS, CLOSES_TOO_SOON,
     ONE_READ_PER_EVENT, WRONG_BYTES, EDGE, 0},
    {"edge-late", "with -e, a client that reads late",
     "sends until nothing more is taken, and only then begins to read.",
     "Every byte comes back, in order.", run_late, LOOP_RETURNS, CLOSES_PENDING, NOT_WRITABLE,
     WRONG_BYTES, EDGE, 0},
    {"edge-close", "with -e, a half-close",
     "sends \"last words\" and FIN, which one event reports together.",
     "It receives \"last words\" and then the server's FIN.", run_half_close, LOOP_RETURNS,
     CLOSES_TOO_SOON, ONE_READ_PER_EVENT, WRONG_BYTES, EDGE, 0},
    {NULL, NULL, NULL, NULL, NULL, BUILD_ERROR, BUILD_ERROR, BUILD_ERROR, BUILD_ERROR, 0, 0, 0}};
