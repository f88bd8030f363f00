/* Records a run of a server for the book's player: each system call that matters, the log lines, and
 * after each step what /proc/net/tcp says of every socket.
 *
 * Usage: record SCENE COMMAND [ARGUMENT]...      book/tools/record calls it
 * Prints JSON with one step per line.  Exit code: 0; 1 if the server does something unexpected; 2 if
 * this machine does not let a program trace another one.
 *
 * The server runs under ptrace(2), so it stops at the beginning and at the end of each system call.
 * The clients act only while it sleeps in a call, or while the recorder holds it at the beginning of
 * one.  Before a step is written, its bytes and FINs have arrived; nothing depends on time.  If the
 * server has several threads, the recorder runs one after the other until each of them sleeps. */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS 3
#define TRIES 10000 /* with 1 ms between them: how long something may take */
#define MAX_FD 64
#define TEXT 600

/* ---- the scenes ---- */

enum verb { CONNECT, SEND, READ, CLOSE };
struct action {
    int client; /* 0 is A */
    enum verb verb;
    const char *data;
    bool hold; /* afterwards, hold the server just before its next wait */
};

static const struct action one_at_a_time[] = {
    {0, CONNECT, "", false}, {1, CONNECT, "", false},   {1, SEND, "hel", false},
    {1, SEND, "lo", false},  {2, CONNECT, "", false},   {2, SEND, "hi", false},
    {0, CLOSE, "", false},   {1, READ, "hello", false}, {1, CLOSE, "", false},
    {2, READ, "hi", false},  {2, CLOSE, "", false},     {-1, CLOSE, "", false},
};
static const struct action three[] = {
    {0, CONNECT, "", false}, {1, CONNECT, "", false}, {1, SEND, "hel", false},
    {1, READ, "hel", false}, {2, CONNECT, "", true},  {1, SEND, "lo", true},
    {2, SEND, "hi", false},  {1, READ, "lo", false},  {2, READ, "hi", false},
    {1, CLOSE, "", false},   {2, CLOSE, "", false},   {-1, CLOSE, "", false},
};
/* Each action wakes up one thread only. */
static const struct action with_threads[] = {
    {0, CONNECT, "", false}, {1, CONNECT, "", false}, {1, SEND, "hel", false},
    {1, READ, "hel", false}, {2, CONNECT, "", false}, {1, SEND, "lo", false},
    {1, READ, "lo", false},  {2, SEND, "hi", false},  {2, READ, "hi", false},
    {1, CLOSE, "", false},   {2, CLOSE, "", false},   {-1, CLOSE, "", false},
};

/* ---- what is known of the run ---- */

/* The names of TCP_ESTABLISHED = 1 to TCP_CLOSING = 11, which are the numbers in /proc/net/tcp. */
static const char *const state_names[] = {"",           "ESTABLISHED", "SYN_SENT",  "SYN_RECV",
                                          "FIN_WAIT1",  "FIN_WAIT2",   "TIME_WAIT", "CLOSED",
                                          "CLOSE_WAIT", "LAST_ACK",    "LISTEN",    "CLOSING"};

/* One end of a connection; state 0 means that the kernel does not list it. */
struct end {
    unsigned state, receive, send;
    unsigned long inode; /* 0: no descriptor refers to it */
};
static struct client {
    int fd; /* -1: not connected, or closed */
    unsigned port;
    int server_fd; /* -1: not accepted, or closed */
    bool was_accepted;
    struct end near, far; /* the client's socket and the server's */
} clients[CLIENTS] = {
    {-1, 0, -1, false, {0}, {0}}, {-1, 0, -1, false, {0}, {0}}, {-1, 0, -1, false, {0}, {0}}};

static pid_t server;
static int log_pipe, said_pipe;
static unsigned server_port, backlog;
static int listener_fd = -1;

/* The threads of the server, and the call that each is in or has made last.  The first is the main
 * thread; the others serve A, B and C.  Only the server of stage 01 has more than one. */
static struct thread {
    pid_t id;        /* 0: it has not been created, or has ended */
    bool running;    /* not stopped by ptrace */
    bool inside;     /* between the beginning and the end of a call */
    bool asleep;     /* sleeps in that call */
    bool is_new;     /* it has stopped, and run_to_stop() has not reported that yet */
    uint64_t number; /* of the call */
    uint64_t args[6];
    long result;
    uint64_t stack; /* the stack pointer in that call */
    long held;      /* bytes received and not yet sent */
    char now[40];   /* what it is doing, for the picture */
} threads[1 + CLIENTS];
static struct thread *thread = threads; /* the one that the recorder runs now */
static bool follows_threads;            /* show each thread, and not the server as a whole */
static struct client *last_accepted;

static _Noreturn void fail(const char *format, ...)
{
    va_list values;

    fputs("record: ", stderr);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    if (server > 0)
        kill(server, SIGKILL);
    exit(1);
}

static void pause_ms(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* ---- ask the kernel about the sockets ---- */

static void read_line_of_tcp(const char *line)
{
    unsigned local, remote, state, send, receive;
    unsigned long inode;

    if (sscanf(line, "%*u: %*x:%x %*x:%x %x %x:%x %*s %*x %*u %*u %lu", &local, &remote, &state,
               &send, &receive, &inode) != 6)
        return;
    if (local == server_port && state == TCP_LISTEN)
        backlog = receive;
    for (int i = 0; i < CLIENTS; i++) {
        struct end end = {state, receive, send, inode};
        if (clients[i].port == 0)
            continue;
        if (local == server_port && remote == clients[i].port)
            clients[i].far = end;
        if (local == clients[i].port && remote == server_port)
            clients[i].near = end;
    }
}

static void ask_kernel(void)
{
    char line[512];
    FILE *file = fopen("/proc/net/tcp", "r");

    if (file == NULL)
        fail("/proc/net/tcp: %s", strerror(errno));
    for (int i = 0; i < CLIENTS; i++)
        clients[i].near = clients[i].far = (struct end){0};
    backlog = 0;
    while (server_port != 0 && fgets(line, sizeof line, file) != NULL)
        read_line_of_tcp(line);
    fclose(file);
}

/* Has everything that was sent arrived? */
static bool is_settled(const struct client *client)
{
    const unsigned moving = 1U << TCP_SYN_SENT | 1U << TCP_SYN_RECV | 1U << TCP_FIN_WAIT1 |
                            1U << TCP_LAST_ACK | 1U << TCP_CLOSING;

    if (client->near.send > 0 || client->far.send > 0)
        return false;
    if ((moving >> client->near.state | moving >> client->far.state) & 1U)
        return false;
    return client->near.state != TCP_ESTABLISHED || client->far.state != 0;
}

/* Ask until nothing is on its way any more. */
static void settle(void)
{
    for (int tries = 0; tries < TRIES; tries++) {
        bool settled = true;
        ask_kernel();
        for (int i = 0; i < CLIENTS; i++)
            settled = settled && is_settled(&clients[i]);
        if (settled)
            return;
        pause_ms();
    }
    fail("after %d s, something is still on its way", TRIES / 1000);
}

static bool has_unread_fin(const struct end *end)
{
    return end->state == TCP_CLOSE_WAIT && end->receive > 0;
}

/* In /proc/net/tcp, a FIN that was not read counts as one byte. */
static unsigned unread_bytes(const struct end *end)
{
    return end->receive - has_unread_fin(end);
}

static bool is_in_backlog(const struct client *client)
{
    return client->far.inode == 0 &&
           (client->far.state == TCP_ESTABLISHED || client->far.state == TCP_CLOSE_WAIT);
}

/* What a descriptor of the server refers to, such as "socket:[1234]". */
static void describe_fd(int fd, char *text, size_t size)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)server, fd);
    ssize_t n = readlink(path, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
}

static struct client *client_with_fd(int fd)
{
    for (int i = 0; i < CLIENTS; i++)
        if (fd >= 0 && clients[i].server_fd == fd)
            return &clients[i];
    return NULL;
}

/* Give the descriptor that accept() has returned to the client that it belongs to. */
static struct client *note_accepted(int fd)
{
    char target[64];
    unsigned long inode;

    settle();
    describe_fd(fd, target, sizeof target);
    if (sscanf(target, "socket:[%lu]", &inode) != 1)
        fail("descriptor %d is %s", fd, target);
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i].far.inode == inode) {
            clients[i].server_fd = fd;
            clients[i].was_accepted = true;
            last_accepted = &clients[i];
            return &clients[i];
        }
    fail("descriptor %d belongs to no client", fd);
    return NULL;
}

static char letter(const struct client *client)
{
    return (char)('A' + (client - clients));
}

static const char *name_of_fd(int fd)
{
    static char name[64];
    char target[64];
    const struct client *client = client_with_fd(fd);

    describe_fd(fd, target, sizeof target);
    if (client != NULL)
        snprintf(name, sizeof name, "%c's socket (fd %d)", letter(client), fd);
    else if (fd == listener_fd)
        snprintf(name, sizeof name, "the listening socket (fd %d)", fd);
    else if (strncmp(target, "pipe:", 5) == 0)
        snprintf(name, sizeof name, "the pipe that reports signals (fd %d)", fd);
    else
        snprintf(name, sizeof name, "fd %d", fd);
    return name;
}

/* ---- ask the kernel about the threads ---- */

static const char *name_of_thread(const struct thread *one)
{
    static const char *const names[1 + CLIENTS] = {"main thread", "A's thread", "B's thread",
                                                   "C's thread"};

    return names[one - threads];
}

/* How many threads the kernel counts in the server. */
static unsigned count_threads(void)
{
    char path[64], line[256];
    unsigned count = 0;

    snprintf(path, sizeof path, "/proc/%d/status", (int)server);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail("%s: %s", path, strerror(errno));
    while (count == 0 && fgets(line, sizeof line, file) != NULL)
        sscanf(line, "Threads: %u", &count);
    fclose(file);
    return count;
}

/* Find the part of the server's memory that contains ADDRESS: from LOW up to, but without, HIGH. */
static void find_memory(uint64_t address, uint64_t *low, uint64_t *high)
{
    char path[64], line[512];
    bool found = false;

    snprintf(path, sizeof path, "/proc/%d/maps", (int)server);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail("%s: %s", path, strerror(errno));
    while (!found && fgets(line, sizeof line, file) != NULL)
        found = sscanf(line, "%" SCNx64 "-%" SCNx64, low, high) == 2 && *low <= address &&
                address < *high;
    fclose(file);
    if (!found)
        fail("a stack is not in %s", path);
}

/* A client's thread waits in recv().  The picture shows it with a stack of its own, which contains
 * the buffer; fail if that is not so. */
static void check_stack(void)
{
    uint64_t low, high;

    find_memory(thread->stack, &low, &high);
    if (thread->args[1] < low || thread->args[1] >= high)
        fail("the buffer of %s is not on its stack", name_of_thread(thread));
    for (struct thread *other = threads; other <= &threads[CLIENTS]; other++)
        if (other != thread && other->id != 0 && other->stack >= low && other->stack < high)
            fail("two threads have the same stack");
}

/* ---- write the steps ---- */

static int steps;

static void write_string(const char *words)
{
    putchar('"');
    for (; *words != '\0'; words++) {
        if (*words == '"' || *words == '\\')
            putchar('\\');
        putchar(*words);
    }
    putchar('"');
}

static void write_end(const char *name, const struct end *end)
{
    printf(",\"%s\":{\"state\":\"%s\",\"receive\":%u,\"send\":%u,\"fin\":%s}", name,
           state_names[end->state < 12 ? end->state : 0], unread_bytes(end), end->send,
           has_unread_fin(end) ? "true" : "false");
}

static void write_client(const struct client *client)
{
    char at[16] = "";

    if (is_in_backlog(client))
        snprintf(at, sizeof at, "backlog");
    else if (client->server_fd >= 0)
        snprintf(at, sizeof at, "fd %d", client->server_fd);
    printf("%s{\"name\":\"%c\",\"at\":\"%s\"", client == clients ? "" : ",", letter(client), at);
    write_end("client", &client->near);
    write_end("server", &client->far);
    putchar('}');
}

static void write_threads(void)
{
    printf(",\"count\":%u,\"threads\":[", count_threads());
    for (const struct thread *one = threads; one <= &threads[CLIENTS]; one++)
        printf("%s{\"name\":\"%s\",\"now\":\"%s\",\"held\":%ld}", one == threads ? "" : ",",
               name_of_thread(one), one->now, one->held);
    putchar(']');
}

/* The threads in words, without those that do not exist. */
static void write_thread_levels(void)
{
    printf("%u thread%s; ", count_threads(), count_threads() == 1 ? "" : "s");
    for (const struct thread *one = threads; one <= &threads[CLIENTS]; one++)
        if (one->id != 0)
            printf("%s: %s; ", name_of_thread(one), one->now);
}

/* The same in words, without the buffers that are empty. */
static void write_levels(void)
{
    printf(",\"levels\":\"");
    if (follows_threads)
        write_thread_levels();
    printf("backlog %u", backlog);
    for (int i = 0; i < CLIENTS; i++) {
        const struct client *client = &clients[i];
        const char *fin = has_unread_fin(&client->far) ? " and a FIN" : "";
        if (unread_bytes(&client->far) > 0 || *fin != '\0')
            printf("; %c's receive buffer at the server: %u B%s", letter(client),
                   unread_bytes(&client->far), fin);
        if (unread_bytes(&client->near) > 0)
            printf("; %c's own receive buffer: %u B", letter(client), unread_bytes(&client->near));
    }
    printf("\"");
}

static void end_step(void)
{
    if (steps > 0)
        printf("]}");
}

/* Write a step of the client BY, or of the server if BY is 0: its sentence, what the server's call is,
 * and the levels.  Log lines are added as they come, up to the next step. */
static void begin_step(char by, const char *now, const char *text)
{
    long held_bytes = 0;

    for (int i = 0; i <= CLIENTS; i++)
        held_bytes += threads[i].held;
    settle();
    end_step();
    printf("%s\n{\"by\":\"%.1s\",\"now\":", steps++ == 0 ? "" : ",", by == 0 ? "" : &by);
    write_string(now);
    printf(",\"text\":");
    write_string(text);
    printf(",\"backlog\":%u,\"held\":%ld", backlog, held_bytes);
    write_levels();
    if (follows_threads)
        write_threads();
    printf(",\"clients\":[");
    for (int i = 0; i < CLIENTS; i++)
        write_client(&clients[i]);
    printf("],\"log\":[");
}

static void add_log_lines(void)
{
    static char text[4096];
    static size_t length;
    static int at_step, lines;
    char *end;
    ssize_t n = read(log_pipe, text + length, sizeof text - 1 - length);

    if (n > 0)
        length += (size_t)n;
    text[length] = '\0';
    while ((end = strchr(text, '\n')) != NULL) {
        *end = '\0';
        lines = at_step == steps ? lines + 1 : 1;
        at_step = steps;
        if (steps > 0) {
            printf("%s", lines == 1 ? "" : ",");
            write_string(text);
        }
        length -= (size_t)(end + 1 - text);
        memmove(text, end + 1, length + 1);
    }
}

/* ---- what each call of the server means ---- */

static bool emulates_kqueue; /* then server.c calls kevent(), and kevent() calls epoll_wait() */

/* The name of a call in which a server waits for many descriptors; NULL: it is another call. */
static const char *name_of_wait(uint64_t number)
{
    switch (number) {
#ifdef SYS_select
    case SYS_select:
#endif
    case SYS_pselect6:
        return "select()";
#ifdef SYS_poll
    case SYS_poll:
#endif
    case SYS_ppoll:
        return "poll()";
#ifdef SYS_epoll_wait
    case SYS_epoll_wait:
#endif
    case SYS_epoll_pwait:
        return "epoll_wait()";
    }
    return NULL;
}

static bool is_accept(uint64_t number)
{
#ifdef SYS_accept
    if (number == SYS_accept)
        return true;
#endif
    return number == SYS_accept4;
}

/* Is this the call in which the server waits for many descriptors?  A poll() of one descriptor is
 * not: before the server writes a log line, it may ask whether there is room. */
static bool is_wait(void)
{
    const char *name = name_of_wait(thread->number);

    return name != NULL && !(strcmp(name, "poll()") == 0 && thread->args[1] == 1);
}

static const char *name_of_call(void)
{
    const char *wait = name_of_wait(thread->number);

    if (wait != NULL)
        return wait;
    if (is_accept(thread->number))
        return "accept()";
    if (thread->number == SYS_epoll_ctl)
        return "epoll_ctl()";
    return thread->number == SYS_recvfrom ? "recv()" : "";
}

/* What the server is doing while a client acts. */
static const char *what_server_does(void)
{
    static char text[80];

    if (follows_threads)
        return "each thread waits in its own call";
    snprintf(text, sizeof text, "%s %s%s", thread->asleep ? "waits in" : "is about to call",
             name_of_call(),
             emulates_kqueue && name_of_wait(thread->number) != NULL ? " for kevent()" : "");
    return text;
}

static void after_wait(char *text, size_t size)
{
    snprintf(text, size, "%s returns %ld%s: %ld %s ready.", name_of_call(), thread->result,
             emulates_kqueue ? " to the emulation of kevent()" : "", thread->result,
             thread->result == 1 ? "descriptor is" : "descriptors are");
}

static void after_accept(char *text, size_t size)
{
    const struct client *client = note_accepted((int)thread->result);

    snprintf(text, size, "accept() takes %c's connection from the backlog and returns %ld.",
             letter(client), thread->result);
}

static void after_control(char *text, size_t size)
{
    const char *name = name_of_fd((int)thread->args[2]);
    const char *how =
        emulates_kqueue ? "The kqueue emulation calls epoll_ctl(), which" : "epoll_ctl()";

    if (thread->args[1] == EPOLL_CTL_DEL)
        snprintf(text, size, "%s removes %s from the interest list.", how, name);
    else
        snprintf(text, size, "%s %s %s %s the interest list.", how,
                 thread->args[1] == EPOLL_CTL_ADD ? "adds" : "changes", name,
                 thread->args[1] == EPOLL_CTL_ADD ? "to" : "in");
}

static void after_recv(char *text, size_t size)
{
    const char *name = name_of_fd((int)thread->args[0]);

    if (thread->result > 0)
        snprintf(text, size, "recv() copies %ld bytes from the receive buffer of %s%s.",
                 thread->result, name, follows_threads ? " to the stack of the thread" : "");
    else if (thread->result == 0)
        snprintf(text, size, "recv() returns 0 for %s: no more bytes will come.", name);
    else if (thread->result == -EAGAIN)
        snprintf(text, size, "recv() fails with EAGAIN: the receive buffer of %s is empty.", name);
    else
        fail("recv() fails for %s: %s", name, strerror((int)-thread->result));
    thread->held += thread->result > 0 ? thread->result : 0;
}

static void after_send(char *text, size_t size)
{
    const char *name = name_of_fd((int)thread->args[0]);
    const struct client *client = client_with_fd((int)thread->args[0]);

    if (thread->result < 0)
        fail("send() fails for %s: %s", name, strerror((int)-thread->result));
    snprintf(text, size, "send() hands %ld bytes to %s, and the kernel delivers them to %c.",
             thread->result, name, client == NULL ? '?' : letter(client));
    thread->held -= thread->result;
}

/* After close(), perhaps of a descriptor that is not a client's. */
static void after_close(char *text, size_t size)
{
    struct client *client = client_with_fd((int)thread->args[0]);

    if (client == NULL)
        return;
    snprintf(text, size, "close() ends the connection of %c and frees descriptor %d.",
             letter(client), client->server_fd);
    client->server_fd = -1;
}

static void after_listen(char *text, size_t size)
{
    listener_fd = (int)thread->args[0];
    snprintf(
        text, size,
        "listen() opens the server's port. From now on, the kernel completes handshakes by itself "
        "and keeps the connections in the backlog of fd %d.",
        listener_fd);
}

static bool is_clone(uint64_t number)
{
#ifdef SYS_clone3
    if (number == SYS_clone3)
        return true;
#endif
    return number == SYS_clone;
}

/* Say in TEXT what the call that has returned means.  TEXT stays empty if it does not matter. */
static void explain_call(char *text, size_t size)
{
    if (is_wait())
        after_wait(text, size);
    else if (is_accept(thread->number) && thread->result >= 0)
        after_accept(text, size);
    else if (thread->number == SYS_epoll_ctl && thread->result == 0)
        after_control(text, size);
    else if (thread->number == SYS_recvfrom)
        after_recv(text, size);
    else if (thread->number == SYS_sendto)
        after_send(text, size);
    else if (thread->number == SYS_listen)
        after_listen(text, size);
    else if (thread->number == SYS_close)
        after_close(text, size);
    else if (is_clone(thread->number) && thread->result > 0)
        snprintf(text, size, "pthread_create() creates %s, with a stack of its own.",
                 name_of_thread(&threads[1 + (last_accepted - clients)]));
    else if (thread->number == SYS_exit)
        snprintf(text, size, "exit() ends the thread. Its stack is no longer in use.");
}

/* The call in a few words.  TEXT begins with its name, if it has a descriptor. */
static void shorten_call(const char *text, char *now, size_t size)
{
    const int length = (int)strcspn(text, "(");

    if (is_wait() || thread->number == SYS_epoll_ctl)
        snprintf(now, size, "%s = %ld", name_of_call(), thread->result);
    else if (is_clone(thread->number) || thread->number == SYS_exit)
        snprintf(now, size, "%.*s()", length, text);
    else
        snprintf(now, size, "%.*s(%d) = %ld", length, text, (int)thread->args[0], thread->result);
}

/* The server has returned from a call: write a step if a reader wants to see it. */
static void show_call(void)
{
    char text[TEXT] = "", long_text[TEXT + 40], now[40], long_now[80];
    const char *name = name_of_thread(thread);

    explain_call(text, sizeof text);
    if (*text == '\0')
        return;
    shorten_call(text, now, sizeof now);
    if (!follows_threads) {
        begin_step(0, now, text);
        return;
    }
    snprintf(thread->now, sizeof thread->now, "%s", thread->id == 0 ? "has ended" : now);
    snprintf(long_now, sizeof long_now, "%s: %s", name, now);
    snprintf(long_text, sizeof long_text, "In %s%s, %s", thread == threads ? "the " : "", name,
             text);
    begin_step(0, long_now, long_text);
}

/* ---- run the server ---- */

static void resume_thread(void)
{
    if (ptrace(PTRACE_SYSCALL, thread->id, NULL, NULL) == -1)
        fail("PTRACE_SYSCALL: %s", strerror(errno));
    thread->running = true;
}

/* The server has created a thread, and pthread_create() has not returned yet.  The new thread stays
 * stopped until the main thread sleeps. */
static void add_thread(void)
{
    struct thread *new = &threads[last_accepted == NULL ? 0 : 1 + (last_accepted - clients)];
    unsigned long id;
    int status;

    if (!follows_threads || new == threads || new->id != 0)
        fail("the server creates a thread, and not for a new client");
    if (ptrace(PTRACE_GETEVENTMSG, thread->id, NULL, &id) == -1 ||
        waitpid((pid_t)id, &status, __WALL) != (pid_t)id || !WIFSTOPPED(status))
        fail("the new thread does not stop");
    new->id = (pid_t)id;
    snprintf(new->now, sizeof new->now, "has not run yet");
}

/* The thread has stopped at the beginning or at the end of a call. */
static void note_call(void)
{
    struct __ptrace_syscall_info info;

    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread->id, sizeof info, &info) <= 0)
        fail("PTRACE_GET_SYSCALL_INFO: %s", strerror(errno));
    thread->stack = info.stack_pointer;
    thread->inside = info.op == PTRACE_SYSCALL_INFO_ENTRY;
    if (thread->inside) {
        thread->number = info.entry.nr;
        for (int i = 0; i < 6; i++)
            thread->args[i] = info.entry.args[i];
    } else {
        thread->result = (long)info.exit.rval;
    }
}

/* Ask whether the thread has stopped or ended; if so, note where.  Returns false if it runs or
 * sleeps. */
static bool has_stopped(void)
{
    int status = 0;
    pid_t pid = waitpid(thread->id, &status, WNOHANG | __WALL);

    if (pid == 0)
        return false;
    if (pid == thread->id && status >> 8 == (SIGTRAP | PTRACE_EVENT_CLONE << 8)) {
        add_thread();
        resume_thread();
        return false;
    }
    thread->running = thread->asleep = false;
    if (pid == thread->id && thread != threads && WIFEXITED(status) && thread->number == SYS_exit) {
        thread->id = 0;
        thread->inside = false;
        return true;
    }
    if (pid != thread->id || !WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80))
        fail("the server ended, or was stopped by a signal (status %#x)", (unsigned)status);
    note_call();
    return true;
}

/* Can the call that the server is in block? */
static bool may_sleep(void)
{
    return thread->inside && thread->number != SYS_epoll_ctl && *name_of_call() != '\0';
}

static bool kernel_says_asleep(void)
{
    char path[64], state = '?';

    snprintf(path, sizeof path, "/proc/%d/stat", (int)thread->id);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        fail("%s: %s", path, strerror(errno));
    fclose(file);
    return state == 'S';
}

/* The thread sleeps in a call. */
static void note_sleep(void)
{
    const char *name = name_of_call();

    thread->asleep = true;
    snprintf(thread->now, sizeof thread->now, "waits in %.*s(%d)", (int)strcspn(name, "("), name,
             (int)thread->args[0]);
    if (thread != threads && thread->number == SYS_recvfrom)
        check_stack();
}

/* Let the thread run until it stops or falls asleep.  Returns false if it sleeps. */
static bool run_to_stop(void)
{
    if (!thread->running && !thread->is_new)
        resume_thread();
    for (int tries = 0; tries < TRIES && !thread->is_new; tries++) {
        bool asleep = may_sleep() && kernel_says_asleep();
        thread->is_new = has_stopped();
        if (asleep && !thread->is_new) {
            note_sleep();
            return false;
        }
        if (!thread->is_new)
            pause_ms();
    }
    if (!thread->is_new)
        fail("a thread neither calls the kernel nor sleeps");
    thread->is_new = false;
    return true;
}

static void note_write(void)
{
    char line[200];
    ssize_t n;

    if (thread->args[0] == STDERR_FILENO)
        add_log_lines();
    if (thread->args[0] != STDOUT_FILENO || (n = read(said_pipe, line, sizeof line - 1)) <= 0)
        return;
    line[n] = '\0';
    if (sscanf(line, "listening on 127.0.0.1:%u", &server_port) != 1)
        fail("the server printed: %s", line);
}

/* A client has done something.  If that wakes the thread, let it run to the end of its call. */
static void finish_call(void)
{
    for (int tries = 0; tries < TRIES && thread->running && !kernel_says_asleep(); tries++) {
        thread->is_new = has_stopped();
        if (!thread->is_new)
            pause_ms();
    }
}

/* Run the thread until it sleeps or ends, or with HOLD until it is about to wait. */
static void run_thread(bool hold)
{
    if (hold && !thread->running && thread->inside)
        return; /* It is held already. */
    for (int stops = 0; thread->id != 0 && run_to_stop(); stops++) {
        if (stops > 1000)
            fail("the server makes too many calls; does it spin?");
        if (!thread->inside && thread->number == SYS_write)
            note_write();
        else if (!thread->inside)
            show_call();
        if (hold && thread->inside && is_wait())
            return;
    }
}

/* Stop the thread, which sleeps in a call, so that this call cannot end before the step is written.
 * The kernel interrupts the call, and starts it again when the thread continues. */
static void hold_thread(void)
{
    const int signals[] = {SIGTRAP | 0x80, SIGSTOP}; /* the end of the call, and the signal */
    int status;

    if (syscall(SYS_tgkill, server, thread->id, SIGSTOP) == -1)
        fail("tgkill: %s", strerror(errno));
    for (int i = 0; i < 2; i++) {
        if (waitpid(thread->id, &status, __WALL) != thread->id || !WIFSTOPPED(status) ||
            WSTOPSIG(status) != signals[i])
            fail("%s cannot be held (status %#x)", name_of_thread(thread), (unsigned)status);
        if (i == 0)
            resume_thread();
    }
    thread->running = thread->asleep = false;
}

/* Hold the thread that the action will wake up.  If a client only reads, that is none. */
static void hold_for(const struct action *action)
{
    if (!follows_threads || action->verb == READ)
        return;
    thread = action->verb == CONNECT ? threads : &threads[1 + action->client];
    if (!thread->asleep)
        fail("%s does not wait", name_of_thread(thread));
    hold_thread();
    thread = threads;
}

/* Run each thread in turn, even one that the main thread creates meanwhile. */
static void run_server(bool hold)
{
    for (thread = threads; thread <= &threads[CLIENTS]; thread++)
        if (thread->id != 0)
            run_thread(hold);
    thread = threads;
}

static void finish_calls(void)
{
    for (thread = threads; thread <= &threads[CLIENTS]; thread++)
        if (thread->id != 0)
            finish_call();
    thread = threads;
}

/* Use a network namespace of our own, so that /proc/net/tcp is short.  Without one the recorder works,
 * too, but may be slow. */
static void leave_network(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};

    if (unshare(CLONE_NEWNET) == -1 && unshare(CLONE_NEWUSER | CLONE_NEWNET) == -1)
        return;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd == -1 || ioctl(fd, SIOCSIFFLAGS, &request) == -1)
        fail("the new network has no loopback interface: %s", strerror(errno));
    close(fd);
}

/* In the child: run the server, with the three standard descriptors only, so that its others have the
 * same numbers in every run. */
static _Noreturn void become_server(char **command, int output, int log)
{
    int null = open("/dev/null", O_RDONLY);

    if (null == -1 || dup2(null, STDIN_FILENO) == -1 || dup2(output, STDOUT_FILENO) == -1 ||
        dup2(log, STDERR_FILENO) == -1)
        _exit(127);
    for (int fd = 3; fd < MAX_FD; fd++)
        close(fd);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == -1)
        _exit(2);
    execv(command[0], command);
    _exit(127);
}

static void start_server(char **command)
{
    int said[2], told[2], status;

    if (pipe2(said, O_CLOEXEC) == -1 || pipe2(told, O_CLOEXEC) == -1 ||
        fcntl(told[0], F_SETFL, O_NONBLOCK) == -1)
        fail("pipe2: %s", strerror(errno));
    said_pipe = said[0];
    log_pipe = told[0];
    server = fork();
    if (server == 0)
        become_server(command, said[1], told[1]);
    if (server == -1 || waitpid(server, &status, 0) != server)
        fail("fork: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
        exit(2);
    if (!WIFSTOPPED(status))
        fail("%s does not run", command[0]);
    if (ptrace(PTRACE_SETOPTIONS, server, NULL,
               PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE) == -1)
        fail("PTRACE_SETOPTIONS: %s", strerror(errno));
    threads[0].id = server;
}

/* The server ends, and so does this thread of it; before that, the signal may stop the thread. */
static void wait_for_end(pid_t id)
{
    int status;

    do {
        if (waitpid(id, &status, __WALL) != id)
            fail("a thread does not end: %s", strerror(errno));
    } while (WIFSTOPPED(status));
}

static void stop_server(void)
{
    int status;

    kill(server, SIGTERM);
    if (ptrace(PTRACE_DETACH, server, NULL, NULL) == -1) {
        /* It sleeps: only a stopped process can be detached. */
        if (waitpid(server, &status, 0) != server || !WIFSTOPPED(status) ||
            ptrace(PTRACE_DETACH, server, NULL, SIGTERM) == -1)
            fail("the server does not stop");
    }
    for (int i = 1; i <= CLIENTS; i++)
        if (threads[i].id != 0)
            wait_for_end(threads[i].id);
    if (waitpid(server, &status, 0) != server || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail("after SIGTERM the server ended with the status %#x", (unsigned)status);
    server = 0;
}

/* ---- the clients ---- */

static void connect_client(struct client *client)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server_port)}, own;
    socklen_t length = sizeof own;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd == -1 || connect(client->fd, (struct sockaddr *)&to, sizeof to) == -1 ||
        getsockname(client->fd, (struct sockaddr *)&own, &length) == -1)
        fail("%c cannot connect: %s", letter(client), strerror(errno));
    client->port = ntohs(own.sin_port);
}

static void send_data(const struct client *client, const char *data)
{
    if (send(client->fd, data, strlen(data), MSG_NOSIGNAL) != (ssize_t)strlen(data))
        fail("%c cannot send", letter(client));
}

static void read_data(const struct client *client, const char *data)
{
    char buffer[64];
    ssize_t n = recv(client->fd, buffer, sizeof buffer, MSG_DONTWAIT);

    if (n != (ssize_t)strlen(data) || memcmp(buffer, data, (size_t)n) != 0)
        fail("%c did not receive \"%s\"", letter(client), data);
}

static void connect_words(const struct client *client, char *text, size_t size)
{
    if (thread->asleep && is_accept(thread->number))
        snprintf(text, size,
                 "%c connects. The kernel completes the handshake, and accept() can take the "
                 "connection at once.",
                 letter(client));
    else
        snprintf(text, size,
                 "%c connects. The kernel completes the handshake and puts the connection into the "
                 "backlog.",
                 letter(client));
}

static void send_words(const struct client *client, const char *data, char *text, size_t size)
{
    const char *where = client->was_accepted ? "the server's socket"
                                             : "a connection that the server has not accepted yet";

    snprintf(text, size, "%c sends \u201c%s\u201d, which waits in the receive buffer of %s.%s",
             letter(client), data, where,
             thread->asleep ? "" : " Meanwhile the recorder holds the server.");
}

static void act(const struct action *action)
{
    struct client *client = &clients[action->client];
    const char name = letter(client);
    const char *now = what_server_does(); /* before the action changes it */
    char text[TEXT];

    hold_for(action);
    switch (action->verb) {
    case CONNECT:
        connect_client(client);
        connect_words(client, text, sizeof text);
        break;
    case SEND:
        send_data(client, action->data);
        send_words(client, action->data, text, sizeof text);
        break;
    case READ:
        read_data(client, action->data);
        snprintf(text, sizeof text, "%c reads \u201c%s\u201d from its own receive buffer.", name,
                 action->data);
        break;
    case CLOSE:
        close(client->fd);
        client->fd = -1;
        snprintf(text, sizeof text, "%c closes its connection, and the kernel sends a FIN.", name);
    }
    settle();
    finish_calls();
    begin_step(name, now, text);
}

/* Returns NULL if there is no such scene. */
static const struct action *find_scene(const char *name)
{
    follows_threads = strcmp(name, "threads") == 0;
    if (follows_threads)
        return with_threads;
    if (strcmp(name, "one") == 0)
        return one_at_a_time;
    return strcmp(name, "three") == 0 ? three : NULL;
}

int main(int argc, char **argv)
{
    const struct action *scene = argc < 3 ? NULL : find_scene(argv[1]);

    if (scene == NULL)
        fail("usage: record one|three|threads COMMAND [ARGUMENT]...");
    emulates_kqueue = strstr(argv[2], "kqueue") != NULL;
    leave_network();
    start_server(argv + 2);
    printf("{\"steps\":[");
    run_server(false);
    for (; scene->client >= 0; scene++) {
        act(scene);
        run_server(scene->hold);
    }
    end_step();
    printf("\n]}\n");
    stop_server();
    return fflush(stdout) == 0 ? 0 : 1;
}
