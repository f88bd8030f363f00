/* Stage 01: blocking.  One thread for each client.
 *
 * accept(), recv() and send() wait until there is something to do, and the thread waits with them.
 * So one thread can serve one client (-1), and many clients need many threads.
 * What it cannot do: be cheap.  A client that says nothing holds a whole thread: its stack, its
 * kernel stack, its place in the scheduler.
 *
 * Try it: make tour STAGE=01.  By hand: make run-01 V=1, and in another terminal nc 127.0.0.1 5566.
 * From the line "toolbox" on, this file is what every stage shares, byte for byte. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* What the toolbox at the end of this file lends to every stage. */
struct flag { /* a bit that the kernel sets, and its name for -v */
    unsigned bit;
    const char *name;
};
struct own_option { /* what this stage adds to the command line: for getopt(3), for the usage */
    const char *letters, *synopsis, *help;
};
static struct options {
    const char *address, *port;
    bool verbose;
    bool own;              /* the stage's own option was given, */
    const char *own_value; /* with this value, if it takes one */
} options;
static void heard(const char *format, ...); /* -v tells what the kernel said, */
static void about(int fd, unsigned bits);   /* about whom, */
static void did(const char *format, ...);   /* and what we did: with this the line is printed */
static void die(const char *what);          /* an error at start-up: say what failed, and end */
static bool try_again(int error);           /* this error passes by itself */
static void rest(void);                     /* let a shortage pass */
static void no_delay(int fd);               /* send small answers at once */
static void hold_standard_descriptors(void);
static void read_options(int argc, char **argv);
static void catch_signals(void (*stop)(int));
static int listen_on(const char *address, const char *port);
static void announce(int fd); /* print "listening on ...": clients may come */

static const struct own_option own_option = {
    ":hvb:p:1", " [-1]", "  -1          one client at a time; the others wait\n"};

#define BUFFER_SIZE 16384 /* on each thread's stack */
#define STACK_SIZE 65536  /* room for the buffer, and for the calls below it */

static const struct flag flag_names[] = {{0, NULL}};

// ANCHOR: client
/* Wait for bytes.  Returns what recv() does: 0 after the last byte, -1 if the client is gone. */
static ssize_t receive(int fd, char *buffer, size_t size)
{
    ssize_t got;

    do
        got = recv(fd, buffer, size, 0);
    while (got == -1 && try_again(errno));
    heard("recv %zd", got);
    about(fd, 0);
    if (got == 0)
        did("client done; close");
    if (got == -1)
        did("%s; close", strerror(errno));
    return got;
}

/* Send it all: send() may take a part, and waits while the client does not read. */
static bool send_all(int fd, const char *data, size_t length)
{
    for (size_t sent = 0; sent < length;) {
        ssize_t n = send(fd, data + sent, length - sent, 0);
        if (n == -1 && try_again(errno))
            continue;
        if (n == -1) {
            did("send: %s; close", strerror(errno));
            return false;
        }
        sent += (size_t)n;
    }
    did("send %zu", length);
    return true;
}

/* A client's whole life. */
static void client_serve(int fd)
{
    char buffer[BUFFER_SIZE];
    ssize_t got;

    while ((got = receive(fd, buffer, sizeof buffer)) > 0)
        if (!send_all(fd, buffer, (size_t)got))
            break;
    close(fd);
}
// ANCHOR_END: client

// ANCHOR: thread
/* A thread's stack is 8 MiB of addresses as a rule (Linux); memory is used only where it is
 * touched. With stacks this small thousands fit, and what one really costs can be counted. */
static pthread_attr_t small_stack;

static void choose_small_stacks(void)
{
    size_t size = STACK_SIZE > PTHREAD_STACK_MIN ? STACK_SIZE : PTHREAD_STACK_MIN;

    errno = pthread_attr_init(&small_stack);
    if (errno == 0)
        errno = pthread_attr_setstacksize(&small_stack, size);
    if (errno == 0)
        errno = pthread_attr_setdetachstate(&small_stack, PTHREAD_CREATE_DETACHED);
    if (errno != 0)
        die("thread attributes");
}

static void *client_thread(void *fd)
{
    client_serve((int)(intptr_t)fd);
    return NULL;
}

/* Serve the client in a thread of its own.  No thread to be had: this client goes, the server
 * stays. */
static void client_start(int fd)
{
    pthread_t thread;
    int problem = pthread_create(&thread, &small_stack, client_thread, (void *)(intptr_t)fd);

    if (problem == 0)
        return;
    fprintf(stderr, "server: no thread for fd %d: %s; close\n", fd, strerror(problem));
    close(fd);
}
// ANCHOR_END: thread

/* EINTR: a signal came.  ECONNABORTED: the client left before its turn.  Anything else is a
 * shortage as a rule, and accept() would fail again at once: rest.  Who comes now waits in the
 * backlog. */
static void accept_failed(void)
{
    bool shortage = errno != EINTR && errno != ECONNABORTED;

    did(shortage ? "%s; rest" : "%s; next", strerror(errno));
    if (shortage)
        rest();
}

// ANCHOR: loop
static void serve(int listener)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        heard("accept");
        about(fd, 0);
        if (fd == -1) {
            accept_failed();
            continue;
        }
        no_delay(fd);
        if (options.own) {
            did("serve it to its end");
            client_serve(fd);
        } else {
            did("a thread for it");
            client_start(fd);
        }
    }
}
// ANCHOR_END: loop

/* SIGINT or SIGTERM.  Every thread waits in some call and none would look at a flag, so end here;
 * the kernel closes what is open. */
static void leave(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

int main(int argc, char **argv)
{
    hold_standard_descriptors();
    read_options(argc, argv);
    catch_signals(leave);
    choose_small_stacks();
    int listener = listen_on(options.address, options.port);
    announce(listener);
    serve(listener);
}

/* ---- toolbox: the same in every stage ---- */

#define REST_MS 100 /* a shortage is worth another look after so long, */
#define BRIEF_MS 1  /* and one of buffers sooner */

static struct options options = {.address = "127.0.0.1", .port = "5566"};

/* -v tells in three columns: what the kernel said, about whom, what we did.  The first two wait
 * here until the third makes the line complete.  Each thread has its own. */
static _Thread_local char kernel_said[40], about_whom[100];

// ANCHOR: tell
/* What the kernel said. */
static void heard(const char *format, ...)
{
    int error = errno; /* the caller may still want it */
    va_list values;

    if (!options.verbose)
        return;
    va_start(values, format);
    vsnprintf(kernel_said, sizeof kernel_said, format, values);
    va_end(values);
    errno = error;
}

/* About whom: a descriptor, and the names of the bits that are set for it. */
static void about(int fd, unsigned bits)
{
    int error = errno;

    if (!options.verbose)
        return;
    int length = snprintf(about_whom, sizeof about_whom, "fd %d", fd);
    const char *mark = " ";
    for (const struct flag *flag = flag_names; flag->name != NULL; flag++) {
        if ((bits & flag->bit) == 0)
            continue;
        length += snprintf(about_whom + length, sizeof about_whom - (size_t)length, "%s%s", mark,
                           flag->name);
        mark = "|";
    }
    errno = error;
}

/* What we did.  One write() for a line, so that the lines of two threads do not mix.  Where nobody
 * reads we serve all the same: write() would wait for room in a full pipe, so then the line is
 * dropped; on a closed one it fails. */
static void did(const char *format, ...)
{
    char deed[100], line[sizeof kernel_said + sizeof about_whom + sizeof deed];
    struct timeval no_time = {0};
    fd_set has_room;
    int error = errno;
    va_list values;

    if (!options.verbose)
        return;
    va_start(values, format);
    vsnprintf(deed, sizeof deed, format, values);
    va_end(values);
    int length = snprintf(line, sizeof line, "%-20s %-31s %s\n", kernel_said, about_whom, deed);
    FD_ZERO(&has_room);
    FD_SET(STDERR_FILENO, &has_room);
    if (select(STDERR_FILENO + 1, NULL, &has_room, NULL, &no_time) != 0) {
        ssize_t written = write(STDERR_FILENO, line, (size_t)length);
        (void)written;
    }
    kernel_said[0] = about_whom[0] = '\0';
    errno = error;
}
// ANCHOR_END: tell

// ANCHOR: errors
/* An error at start-up: say it in one line, and end. */
static void die(const char *what)
{
    fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Let a shortage pass, instead of asking again and again while it lasts. */
static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = REST_MS * 1000000L}, NULL);
}

/* An error while serving passes by itself if a signal came, if there is nothing just now, or if
 * the system has no buffer just now.  Any other is one client's: it goes, the server stays. */
static bool try_again(int error)
{
    if (error == ENOBUFS)
        nanosleep(&(struct timespec){.tv_nsec = BRIEF_MS * 1000000L}, NULL);
    return error == EINTR || error == EAGAIN || error == ENOBUFS;
}
// ANCHOR_END: errors

// ANCHOR: no_delay
/* Send small answers at once.  Else the kernel may hold one back until the one before it is
 * acknowledged, and the client acknowledges late, tcp(7).  If it fails, only time is lost. */
static void no_delay(int fd)
{
    int on = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == -1)
        did("TCP_NODELAY: %s", strerror(errno));
}
// ANCHOR_END: no_delay

static void usage(FILE *stream)
{
    fprintf(stream,
            "usage: server [-v] [-b ADDRESS] [-p PORT]%s\n"
            "  -v          tell on stderr what the kernel says and what the server does\n"
            "  -b ADDRESS  listen on this address, in numbers (127.0.0.1)\n"
            "  -p PORT     listen on this port; 0 takes any that is free (5566)\n"
            "%s"
            "  -h          print this\n",
            own_option.synopsis, own_option.help);
}

static void bad_usage(const char *what, const char *why)
{
    fprintf(stderr, "server: \"%s\": %s\n", what, why);
    usage(stderr);
    exit(2);
}

static bool is_port(const char *text)
{
    size_t digits = strspn(text, "0123456789");

    return digits > 0 && digits <= 5 && text[digits] == '\0' && strtol(text, NULL, 10) <= 65535;
}

static void read_options(int argc, char **argv)
{
    int option;
    char name[] = "-?";

    opterr = 0; /* getopt() keeps silent; we say more */
    while ((option = getopt(argc, argv, own_option.letters)) != -1) {
        name[1] = (char)optopt;
        if (option == 'h') {
            usage(stdout);
            exit(0);
        }
        if (option == '?')
            bad_usage(name, "no such option");
        if (option == ':')
            bad_usage(name, "needs a value");
        if (option == 'v') {
            options.verbose = true;
        } else if (option == 'b') {
            options.address = optarg;
        } else if (option == 'p') {
            options.port = optarg;
        } else {
            options.own = true;
            options.own_value = optarg;
        }
    }
    if (optind < argc)
        bad_usage(argv[optind], "a server takes options only");
    if (!is_port(options.port))
        bad_usage(options.port, "not a port; a port is a number from 0 to 65535");
}

/* Started with descriptors 0 to 2 closed, the next sockets would get these numbers, and a printf()
 * would reach a client. */
static void hold_standard_descriptors(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDWR) == -1)
            die("/dev/null");
}

// ANCHOR: signals
/* Let `stop` handle the two signals that end us.  SIGPIPE would be a third: a client that leaves
 * early must not end the server, and send() tells us anyway, EPIPE. */
static void catch_signals(void (*stop)(int))
{
    struct sigaction action = {.sa_handler = stop};
    sigset_t ending;

    sigemptyset(&action.sa_mask);
    sigemptyset(&ending);
    if (sigaction(SIGINT, &action, NULL) == -1 || sigaction(SIGTERM, &action, NULL) == -1)
        die("sigaction");
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    if (sigprocmask(SIG_UNBLOCK, &ending, NULL) == -1) /* who started us may have blocked them */
        die("sigprocmask");
    action.sa_handler = SIG_IGN;
    if (sigaction(SIGPIPE, &action, NULL) == -1)
        die("sigaction");
}
// ANCHOR_END: signals

static const char *advice(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "try -p 0: any free port";
    case EACCES:
        return "try -p 5566: below 1024 is for root";
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return "try -b 127.0.0.1: that is not here";
    default:
        return "try -b 127.0.0.1 -p 0";
    }
}

static void cannot_listen(const char *reason, const char *what_to_try)
{
    fprintf(stderr, "server: cannot listen on %s port %s: %s (%s)\n", options.address, options.port,
            reason, what_to_try);
    exit(1);
}

// ANCHOR: listen
/* A socket that clients can connect to.  SO_REUSEADDR: connections that a server closed first keep
 * its address for a while, ip(7), and must not keep the next server from starting. */
static int listen_on(const char *address, const char *port)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int on = 1;
    int problem = getaddrinfo(address, port, &hints, &found);
    if (problem != 0)
        cannot_listen(gai_strerror(problem), "try numbers, as 127.0.0.1 or ::1");
    int fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1 ||
        bind(fd, found->ai_addr, found->ai_addrlen) == -1 || listen(fd, SOMAXCONN) == -1)
        cannot_listen(strerror(errno), advice(errno));
    freeaddrinfo(found);
    return fd;
}
// ANCHOR_END: listen

/* Ready: say where, with the port that the kernel chose if it was to choose. */
static void announce(int fd)
{
    bool v6 = strchr(options.address, ':') != NULL;
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    char port[6];

    if (getsockname(fd, (struct sockaddr *)&name, &size) == -1 ||
        getnameinfo((struct sockaddr *)&name, size, NULL, 0, port, sizeof port, NI_NUMERICSERV) !=
            0)
        die("getsockname");
    printf(v6 ? "listening on [%s]:%s\n" : "listening on %s:%s\n", options.address, port);
    fflush(stdout);
}
