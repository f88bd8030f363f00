/* The code that all stages share: options, signals, the listening socket, errors and the log. */
#define _DEFAULT_SOURCE /* POSIX, and the errno values that some systems add to it */

#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SHORT_BACKOFF_MS 1
#define MAX_LOG_LINE 320 /* bytes in a line of output */
#define BACKLOG 4096     /* the kernel lowers it to its own maximum */
#define MAX_WRITES (2 * MAX_LOG_LINE)

static volatile sig_atomic_t stop_requested; /* set by on_stop_signal() */

struct options options = {.address = "127.0.0.1", .port = "5566"};

/* ---- Output that cannot block ---- */

/* Whether write() to stdout or stderr could block: see reopen_output(). */
static bool output_may_block[STDERR_FILENO + 1];

/* Output that stderr has not accepted yet.  A partly written line is always completed; lines that
 * arrive while stderr accepts nothing are dropped and counted. */
static struct {
    unsigned long dropped;   /* lines that were dropped since the last one that was written */
    char rest[MAX_LOG_LINE]; /* the end of a line whose beginning was written; it goes out first */
    size_t rest_length;
} unwritten;

/* Open the terminal or pipe behind fd once more.  O_NONBLOCK belongs to the open file
 * description, which we share with the shell that started us, so we may set it only on one that we
 * opened ourselves. */
static void reopen_output(int fd)
{
    char path[64];
    struct stat status;

    output_may_block[fd] = fstat(fd, &status) == -1 || !S_ISREG(status.st_mode);
    if (!output_may_block[fd])
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd); /* Linux */
    int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY);
    if (own == -1 && ttyname_r(fd, path, sizeof path) == 0)
        own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY);
    if (own == -1)
        return;
    output_may_block[fd] = dup2(own, fd) == -1;
    close(own);
}

/* Write as much as fits now, and return the number of bytes written.  If that is less than
 * `length`, errno holds the reason.  Where write() could block, we call poll() first:  POLLOUT
 * guarantees room for a line in a pipe or socket, but for only one byte in a terminal, so we write
 * to a terminal byte by byte.  The number of calls is limited, so the loop ends even if every call
 * is interrupted. */
static size_t write_without_blocking(int fd, const char *text, size_t length)
{
    struct pollfd output = {.fd = fd, .events = POLLOUT};
    bool in_bytes = output_may_block[fd] && isatty(fd);
    size_t written = 0;

    errno = 0;
    for (int i = 0; written < length && i < MAX_WRITES; i++) {
        int room = output_may_block[fd] ? poll(&output, 1, 0) : 1;
        if (room == 0)
            errno = EAGAIN;
        if (room != 1)
            break;
        ssize_t n = write(fd, text + written, in_bytes ? 1 : length - written);
        if (n == -1 && errno != EINTR)
            break;
        written += n > 0 ? (size_t)n : 0;
    }
    return written;
}

/* Write a line, or write a part of it and keep the rest.  Returns false if nothing was written. */
static bool write_or_keep(const char *line, size_t length)
{
    size_t written = write_without_blocking(STDERR_FILENO, line, length);

    if (written == 0)
        return false;
    unwritten.rest_length = length - written;
    memmove(unwritten.rest, line + written, unwritten.rest_length);
    return true;
}

/* Print a line on stderr, preceded by the number of lines that were dropped before it. */
static void print_line(const char *line, size_t length)
{
    char note[64];
    int error = errno;

    flockfile(stderr); /* one thread at a time */
    if (unwritten.rest_length > 0)
        write_or_keep(unwritten.rest, unwritten.rest_length);
    if (unwritten.rest_length == 0 && unwritten.dropped > 0) {
        int n = snprintf(note, sizeof note, "server: %lu log line%s dropped\n", unwritten.dropped,
                         unwritten.dropped == 1 ? "" : "s");
        if (write_or_keep(note, (size_t)n))
            unwritten.dropped = 0;
    }
    if (unwritten.rest_length > 0 || unwritten.dropped > 0 || !write_or_keep(line, length))
        unwritten.dropped++;
    funlockfile(stderr);
    errno = error;
}

void report_error(const char *format, ...)
{
    char text[MAX_LOG_LINE - 16], line[MAX_LOG_LINE];
    va_list values;

    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    int length = snprintf(line, sizeof line, "server: %s\n", text);
    print_line(line, (size_t)length);
}

/* ---- Logging ---- */

// ANCHOR: log
/* The first two columns of this thread's next line.  log_action() adds the third. */
static _Thread_local struct {
    char call[40];
    char fd[100];
} columns;

void log_call(const char *format, ...)
{
    va_list values;

    if (!options.verbose)
        return;
    va_start(values, format);
    vsnprintf(columns.call, sizeof columns.call, format, values);
    va_end(values);
}

void log_fd(int fd, unsigned flags)
{
    const char *separator = " ";

    if (!options.verbose)
        return;
    size_t length = (size_t)snprintf(columns.fd, sizeof columns.fd, "fd %d", fd);
    for (const struct flag_name *flag = flag_names; flag->name != NULL; flag++) {
        size_t room = sizeof columns.fd - length;
        if ((flags & flag->bit) == 0 || strlen(flag->name) + 1 >= room)
            continue;
        length += (size_t)snprintf(columns.fd + length, room, "%s%s", separator, flag->name);
        separator = "|";
    }
}

void log_action(const char *format, ...)
{
    char action[120], line[MAX_LOG_LINE];
    va_list values;

    if (!options.verbose)
        return;
    va_start(values, format);
    vsnprintf(action, sizeof action, format, values);
    va_end(values);
    int length = snprintf(line, sizeof line, "%-20s %-31s %s\n", columns.call, columns.fd, action);
    print_line(line, (size_t)length);
    columns.call[0] = columns.fd[0] = '\0';
}
// ANCHOR_END: log

/* ---- Errors ---- */

// ANCHOR: errors
void die(const char *what)
{
    report_error("%s: %s", what, strerror(errno));
    exit(1);
}

bool is_transient(int error)
{
    return error == EINTR || error == EAGAIN || error == ENOBUFS;
}

void report_shortage(const char *call)
{
    static atomic_flag reported = ATOMIC_FLAG_INIT;

    if (!atomic_flag_test_and_set(&reported))
        report_error("%s: %s; not every client can be served", call, strerror(errno));
}

void log_client_error(const char *call)
{
    log_action("%s: %s; close", call, strerror(errno));
    if (errno == ENOMEM || errno == ENOBUFS || errno == ENOSPC)
        report_shortage(call);
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

void back_off(int error)
{
    if (error == EINTR || error == EAGAIN || stop_requested)
        return;
    if (error == ENOBUFS)
        report_shortage("send or recv");
    sleep_ms(error == ENOBUFS ? SHORT_BACKOFF_MS : BACKOFF_MS);
}
// ANCHOR_END: errors

// ANCHOR: accept_error
/* According to accept(2), "Error handling", accept() can also fail because of an error on the
 * connection that it was about to return.  Such an error does not affect the other connections in
 * the backlog, so the server accepts the next one. */
static enum accept_error classify_accept_error(int error)
{
    switch (error) {
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
        return ACCEPT_BROKEN;
    case EINTR:
    case ECONNABORTED: /* a BSD: the connection was reset before we accepted it */
    case EPERM:        /* a security module */
    case EPROTO:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ETIMEDOUT:
#ifdef ENONET /* Linux */
    case ENONET:
#endif
        return ACCEPT_NEXT;
    default: /* EMFILE, ENFILE, ENOBUFS, ENOMEM */
        return ACCEPT_SHORTAGE;
    }
}

enum accept_error log_accept_error(int error)
{
    static bool reported;
    enum accept_error kind = classify_accept_error(error);

    if (kind == ACCEPT_BROKEN) {
        report_error("accept: %s; no more clients are accepted", strerror(error));
        return kind;
    }
    if (kind == ACCEPT_SHORTAGE && !reported) {
        report_error("accept: %s; new clients wait", strerror(error));
        reported = true;
    }
    log_action("accept: %s; %s", strerror(error), kind == ACCEPT_NEXT ? "next" : "pause");
    return kind;
}
// ANCHOR_END: accept_error

// ANCHOR: nodelay
/* Nagle's algorithm holds a small segment back until the one before it is acknowledged, and the
 * client's kernel delays that acknowledgement.  TCP_NODELAY turns the algorithm off.  If this call
 * fails, the only effect is that replies may arrive later. */
void set_nodelay(int fd)
{
    int on = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == -1)
        log_action("TCP_NODELAY: %s", strerror(errno));
}
// ANCHOR_END: nodelay

/* ---- Start-up ---- */

static void usage(FILE *stream)
{
    fprintf(stream,
            "usage: server [-v] [-b ADDRESS] [-p PORT]%s\n"
            "  -v          log to stderr what each call returned and what the server did\n"
            "  -b ADDRESS  listen on this numeric address (default: 127.0.0.1)\n"
            "  -p PORT     listen on this port (default: 5566); 0 picks any free port\n"
            "%s"
            "  -h          print this text\n",
            stage_option.synopsis, stage_option.help);
}

void bad_usage(const char *what, const char *why)
{
    report_error("\"%s\": %s", what, why);
    usage(stderr);
    exit(2);
}

static bool is_port(const char *text)
{
    size_t digits = strspn(text, "0123456789");

    return digits > 0 && text[digits] == '\0' && strtol(text, NULL, 10) <= 65535;
}

static void parse_option(int letter)
{
    char name[] = {'-', (char)optopt, '\0'};

    switch (letter) {
    case 'h':
        usage(stdout);
        exit(0);
    case '?':
        bad_usage(name, "no such option");
    case ':':
        bad_usage(name, "needs a value");
    case 'v':
        options.verbose = true;
        break;
    case 'b':
        options.address = optarg;
        break;
    case 'p':
        options.port = optarg;
        break;
    default:
        options.stage_flag = true;
        options.stage_value = optarg;
    }
}

void read_options(int argc, char **argv)
{
    char letters[16];
    int letter;

    /* The colon at the beginning turns getopt()'s own messages off. */
    snprintf(letters, sizeof letters, ":hvb:p:%s", stage_option.letter);
    while ((letter = getopt(argc, argv, letters)) != -1)
        parse_option(letter);
    if (optind < argc)
        bad_usage(argv[optind], "the server takes options only");
    if (!is_port(options.port))
        bad_usage(options.port, "not a port; a port is a number from 0 to 65535");
}

/* If descriptor 0, 1 or 2 were closed at start-up, a socket would get its number, and the output of
 * printf() could reach a client.  So we open /dev/null in its place. */
void reserve_std_fds(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", O_RDWR) == -1)
            die("/dev/null");
    reopen_output(STDOUT_FILENO);
    reopen_output(STDERR_FILENO);
}

// ANCHOR: signals
/* The default action of three signals would terminate or suspend the server when it writes:
 * SIGPIPE (the read end of the pipe is closed, or the peer has closed the connection), SIGXFSZ (the
 * file has reached its size limit) and SIGTTOU (a background job writes to a terminal with "stty
 * tostop").  We ignore them.  In the first two cases write() then fails with EPIPE or EFBIG; in the
 * third it succeeds. */
void install_signal_handlers(void (*on_stop)(int))
{
    static const int stopping[] = {SIGINT, SIGTERM}, failed_write[] = {SIGPIPE, SIGXFSZ, SIGTTOU};
    struct sigaction stop = {.sa_handler = on_stop}, ignore = {.sa_handler = SIG_IGN};
    sigset_t unblocked;

    sigemptyset(&stop.sa_mask);
    sigemptyset(&ignore.sa_mask);
    sigemptyset(&unblocked);
    for (int i = 0; i < 2; i++) {
        sigaddset(&unblocked, stopping[i]);
        if (sigaction(stopping[i], &stop, NULL) == -1)
            die("sigaction");
    }
    for (int i = 0; i < 3; i++)
        if (sigaction(failed_write[i], &ignore, NULL) == -1)
            die("sigaction");
    if (sigprocmask(SIG_UNBLOCK, &unblocked, NULL) == -1) /* our parent may have blocked them */
        die("sigprocmask");
}
// ANCHOR_END: signals

_Noreturn static void die_cannot_listen(const char *reason, const char *advice)
{
    report_error("cannot listen on %.80s port %s: %s (%s)", options.address, options.port, reason,
                 advice);
    exit(1);
}

static const char *bind_advice(int error)
{
    switch (error) {
    case EADDRINUSE:
        if (strtol(options.port, NULL, 10) == 0)
            return "every port that the kernel may choose is in use; try -p 5566";
        return "another program is using this port; try -p 0 for any free port";
    case EACCES:
        return "low ports, usually those below 1024, need root; try -p 0";
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return "not an address of this machine, or not ready yet; try -b 127.0.0.1";
    case EINVAL:
        return "if it is link-local, add its interface, as in -b fe80::1%eth0";
    default:
        return "try -b 127.0.0.1 -p 0";
    }
}

/* bind() accepts multicast and broadcast addresses, to which nobody can connect.  A subnet's
 * broadcast address depends on its netmask, so we ask the kernel: connect() on a UDP socket sends
 * nothing, and fails with EACCES for a broadcast address unless SO_BROADCAST is set (see ip(7);
 * on other systems it may succeed).  A routing rule or a security module can cause EACCES
 * for any address, but then SO_BROADCAST does not help. */
static bool is_multicast_or_broadcast(const struct sockaddr *address, socklen_t size)
{
    const struct sockaddr_in *v4 = (const void *)address;
    const struct sockaddr_in6 *v6 = (const void *)address;
    struct in_addr inner; /* the IPv4 address, perhaps inside an IPv6 one: ::ffff:1.2.3.4 */
    int on = 1;

    if (address->sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        return IN6_IS_ADDR_MULTICAST(&v6->sin6_addr);
    if (address->sa_family == AF_INET6)
        memcpy(&inner, &v6->sin6_addr.s6_addr[12], sizeof inner);
    else
        inner = v4->sin_addr;
    if (IN_MULTICAST(ntohl(inner.s_addr)) || inner.s_addr == INADDR_BROADCAST)
        return true;
    int fd = socket(address->sa_family, SOCK_DGRAM, 0);
    if (fd == -1)
        return false;
    bool broadcast = connect(fd, address, size) == -1 && errno == EACCES &&
                     setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on) == 0 &&
                     connect(fd, address, size) == 0;
    close(fd);
    return broadcast;
}

// ANCHOR: listen
/* When a server is the first to close a connection, that connection stays in TIME_WAIT and keeps
 * the address in use for a while.  SO_REUSEADDR lets the next server start anyway.
 * SO_KEEPALIVE makes the kernel probe a connection that has been idle for long (two hours by
 * default) and end it if the client has vanished.  Client sockets inherit this option. */
int listen_on(const char *address, const char *port)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int on = 1;
    int problem = getaddrinfo(address, port, &hints, &found);

    if (problem == EAI_SYSTEM)
        die("getaddrinfo");
    if (problem == EAI_MEMORY)
        die_cannot_listen(gai_strerror(problem), "close another program and try again");
    if (problem != 0)
        die_cannot_listen(gai_strerror(problem), "try a numeric address such as 127.0.0.1 or ::1");
    if (is_multicast_or_broadcast(found->ai_addr, found->ai_addrlen))
        die_cannot_listen("a multicast or broadcast address",
                          "nobody can connect to it; try -b 0.0.0.0");
    int fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == -1 ||
        bind(fd, found->ai_addr, found->ai_addrlen) == -1 || listen(fd, BACKLOG) == -1)
        die_cannot_listen(strerror(errno), bind_advice(errno));
    freeaddrinfo(found);
    return fd;
}
// ANCHOR_END: listen

/* With -p 0, the port is the one that the kernel chose.  A server that cannot write to stdout is
 * still usable, so this function only reports the failure. */
void print_listening_address(int listening_fd)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    char address[80], port[8], line[MAX_LOG_LINE];

    if (getsockname(listening_fd, (struct sockaddr *)&name, &size) == -1)
        die("getsockname");
    int problem = getnameinfo((struct sockaddr *)&name, size, address, sizeof address, port,
                              sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    if (problem != 0) {
        report_error("getnameinfo: %s", gai_strerror(problem));
        exit(1);
    }
    bool v6 = name.ss_family == AF_INET6;
    int length = snprintf(line, sizeof line, v6 ? "listening on [%s]:%s\n" : "listening on %s:%s\n",
                          address, port);
    if (write_without_blocking(STDOUT_FILENO, line, (size_t)length) < (size_t)length)
        report_error("cannot write to stdout (%s); %.*s", strerror(errno), length - 1, line);
}

/* ---- Single-threaded servers: the shutdown pipe, non-blocking sockets, failed waits ---- */

int listener;
int shutdown_pipe[2];

bool set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags != -1 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* If more than BACKOFF_MS is left, the clock has gone back.  This happens when a checkpointed
 * process is restored on a machine that has been running for a shorter time. */
bool pause_is_over(long long until)
{
    long long left = until - now_ms();

    return left <= 0 || left > BACKOFF_MS;
}

// ANCHOR: stop
/* A handler that only sets a flag creates a race condition: a signal that arrives after the loop
 * has checked the flag and before it waits would not end the wait.  So the handler also writes a
 * byte into a pipe that the loop watches.  The byte stays there until it is read, so the next wait
 * returns immediately.  This is the self-pipe trick.  The flag covers the case in which the wait
 * keeps failing and so never reports the pipe. */
static void on_stop_signal(int signal_number)
{
    int error = errno;

    (void)signal_number;
    if (write(shutdown_pipe[1], "", 1) == -1)
        _exit(0); /* the loop might never learn of the signal */
    stop_requested = 1;
    errno = error;
}

bool handle_wait_error(const char *call)
{
    static bool reported, last_chance;
    int error = errno;

    log_call("%s", call);
    log_action("%s; wait again", strerror(error));
    if (error != EINTR && !reported) {
        report_error("%s: %s; clients wait until it succeeds", call, strerror(error));
        reported = true;
    }
    /* back_off() does not sleep after EINTR or EAGAIN, but a wait that kept failing would use a
     * whole CPU. */
    if (error == EINTR || error == EAGAIN)
        sleep_ms(SHORT_BACKOFF_MS);
    else
        back_off(error);
    if (!stop_requested)
        return true;
    if (error != EINTR || last_chance)
        return false;
    last_chance = true; /* the signal itself ended this wait; the next one reports the pipe */
    return true;
}
// ANCHOR_END: stop

void start_up(int argc, char **argv)
{
    reserve_std_fds();
    read_options(argc, argv);
    if (pipe(shutdown_pipe) == -1 || !set_nonblocking(shutdown_pipe[1]))
        die("pipe");
    install_signal_handlers(on_stop_signal);
    listener = listen_on(options.address, options.port);
    /* On some systems, a connection that is reset after the wait has reported it is gone.  A
     * blocking accept() would then wait for another one. */
    if (!set_nonblocking(listener))
        die("fcntl");
}
