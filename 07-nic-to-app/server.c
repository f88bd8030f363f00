/* Stage 07: coroutines.  The loop of stage 04 below, the code of stage 01 above.
 *
 * What is new: each client has a coroutine, and client_serve() is stage 01's, but for one word.
 * Where a thread would block, a coroutine goes back to the loop; its stack stays as it is, and when
 * epoll names its descriptor the loop resumes it.  coroutine.c is how.
 * What it cannot do: cost an idle client nothing.  Each holds the page of its stack that it uses.
 *
 * Try it: make tour STAGE=07.  By hand: make run-07 V=1, and in another terminal nc 127.0.0.1 5566.
 * From the line "toolbox" on, this file is what other stages share, byte for byte. */
#define _POSIX_C_SOURCE 200809L

#include "coroutine.h"
#include "stamp.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* What this stage has to bring: the mechanism.  False: it could not be done, errno says why. */
// ANCHOR: verbs
enum interest { NOTHING, READ, WRITE };
static bool watch(int fd);                        /* begin, by waiting to read */
static bool want(int fd, enum interest interest); /* wait for something else from now on */
static bool wait_ready(void);                     /* in a coroutine: until then */
// ANCHOR_END: verbs

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

/* What it lends to a loop. */
static int listener;                        /* the socket that clients connect to */
static int stop_pipe[2];                    /* [0] is readable once SIGINT or SIGTERM has come */
static void prepare(int argc, char **argv); /* options, signals, stop pipe, listener */
static void announce(int fd);               /* print "listening on ...": clients may come */
static bool set_nonblocking(int fd);
static long long now_ms(void);             /* on a clock that nobody sets back */
static void wait_failed(const char *call); /* why, from errno; rest if it is a shortage */

// ANCHOR: waiting
/* Who waits at each descriptor: the listener has a coroutine, and so has each client.
 * One rule holds between two events: every coroutine waits, in wait_ready() or in a rest.  What the
 * other stages keep in struct client (is anything pending, how much of it is sent) is here a local
 * variable of a function that has not returned yet. */
static struct coroutine **coroutines; /* by descriptor; NULL: nobody */
static int capacity;                  /* of coroutines[] */
// ANCHOR_END: waiting

static const struct own_option own_option = {":hvb:p:", "", ""}; /* none */

#define BUFFER_SIZE 65536    /* for one recv(): large messages then cost few calls */
#define MAX_EVENTS 256       /* of one epoll_wait(); the others come with the next */
#define MAX_NEWCOMERS 64     /* at a time: a crowd must not keep the others waiting */
#define LISTENER_REST_MS 100 /* a shortage keeps newcomers out: look again after so long */

static const struct flag flag_names[] = {{EPOLLIN, "EPOLLIN"},       {EPOLLOUT, "EPOLLOUT"},
                                         {EPOLLERR, "EPOLLERR"},     {EPOLLHUP, "EPOLLHUP"},
                                         {EPOLLRDHUP, "EPOLLRDHUP"}, {0, NULL}};

static int epoll_fd;
static bool named;           /* the kernel has named the descriptor of the coroutine that runs */
static bool stopping;        /* every coroutine is to end */
static long long rest_until; /* in now_ms(); 0: the listener does not rest */

// ANCHOR: kernel
/* Tell the kernel what we wait for at fd.  There is no forget(): close() makes the kernel forget,
 * as long as the descriptor has no copy, epoll(7), and we make none. */
static bool tell_kernel(int operation, int fd, enum interest interest)
{
    static const unsigned bits[] = {
        [NOTHING] = 0, [READ] = EPOLLIN | EPOLLRDHUP, [WRITE] = EPOLLOUT};
    struct epoll_event event = {.events = bits[interest], .data.fd = fd};
    int result = epoll_ctl(epoll_fd, operation, fd, &event);

    about(fd, event.events);
    did("epoll_ctl %s%s", operation == EPOLL_CTL_ADD ? "ADD" : "MOD",
        result == 0 ? "" : ": failed");
    return result == 0;
}

static bool watch(int fd)
{
    return tell_kernel(EPOLL_CTL_ADD, fd, READ);
}

static bool want(int fd, enum interest interest)
{
    return tell_kernel(EPOLL_CTL_MOD, fd, interest);
}
// ANCHOR_END: kernel

// ANCHOR: wait
/* Here a coroutine stops, and here it goes on when the kernel has named its descriptor.  A
 * coroutine begins because it was named, so its first wait is over at once.
 * False: the server stops, ECANCELED. */
static bool wait_ready(void)
{
    if (!named && !stopping)
        coroutine_yield();
    named = false;
    if (stopping)
        errno = ECANCELED;
    return !stopping;
}

/* The other half: let the coroutine at fd go on, until it waits again or ends. */
static void resume(int fd)
{
    did("resume coroutine %d", fd);
    stamp(STAMP_RESUMED, fd, (uint64_t)fd);
    named = true;
    if (coroutine_resume(coroutines[fd]))
        return;
    coroutines[fd] = NULL;
    if (rest_until != 0)
        rest_until = now_ms(); /* a descriptor is free for one who waits */
}
// ANCHOR_END: wait

// ANCHOR: client
/* Wait for bytes.  Returns what recv() does: 0 after the last byte, -1 if the client is gone. */
static ssize_t receive(int fd, char *buffer, size_t size)
{
    ssize_t got;

    do
        got = wait_ready() ? recv(fd, buffer, size, 0) : -1;
    while (got == -1 && try_again(errno));
    heard("recv %zd", got);
    about(fd, 0);
    if (got == 0)
        did("client done; close");
    if (got == -1)
        did("%s; close", strerror(errno));
    return got;
}

/* Send what the socket takes now.  The bytes taken; 0: none, try later; -1: the client is gone. */
static ssize_t send_some(int fd, const char *data, size_t length)
{
    ssize_t sent = send(fd, data, length, 0);

    if (sent == -1 && try_again(errno))
        sent = 0;
    about(fd, 0);
    if (sent != -1)
        did("send %zd", sent);
    return sent;
}

/* The socket is full.  While we wait for room other clients use the buffer, so the rest moves to
 * memory of its own; a piece of it leaves each time we are resumed.  False: errno says why. */
static bool send_rest(int fd, const char *data, size_t length)
{
    char *rest = malloc(length);
    size_t sent = 0;

    if (rest == NULL)
        return false;
    memcpy(rest, data, length);
    bool well = want(fd, WRITE);
    while (well && sent < length) {
        ssize_t n = wait_ready() ? send_some(fd, rest + sent, length - sent) : -1;
        well = n != -1;
        sent += well ? (size_t)n : 0;
    }
    well = well && want(fd, READ);
    int error = errno; /* free() may change it */
    free(rest);
    errno = error;
    return well;
}

/* Send it all: as a rule the socket takes it at once. */
static bool send_all(int fd, const char *data, size_t length)
{
    ssize_t sent = send_some(fd, data, length);
    bool gone = sent == -1;

    if (!gone && (size_t)sent < length)
        gone = !send_rest(fd, data + sent, length - (size_t)sent);
    if (gone)
        did("%s; close", strerror(errno));
    return !gone;
}

// ANCHOR_END: client

// ANCHOR: life
/* A client's whole life. */
static void client_serve(int fd)
{
    static char buffer[BUFFER_SIZE]; /* one for all: it is empty while a coroutine waits */
    ssize_t got;

    while ((got = receive(fd, buffer, sizeof buffer)) > 0)
        if (!send_all(fd, buffer, (size_t)got))
            break;
    close(fd);
}
// ANCHOR_END: life

/* Make the table reach as far as fd.  False: no memory, and the table is as it was. */
static bool make_room(int fd)
{
    int larger = fd + fd / 2 + 16;

    if (fd < capacity)
        return true;
    struct coroutine **table = realloc(coroutines, (size_t)larger * sizeof(struct coroutine *));
    if (table == NULL)
        return false;
    coroutines = table;
    while (capacity < larger)
        coroutines[capacity++] = NULL;
    return true;
}

// ANCHOR: spawn
/* A coroutine that will run body(fd), the first time that the kernel names fd. */
static bool spawn(void (*body)(int), int fd)
{
    if (!make_room(fd) || !watch(fd))
        return false;
    coroutines[fd] = coroutine_new(body, fd);
    return coroutines[fd] != NULL;
}

static void client_start(int fd)
{
    heard("accept");
    about(fd, 0);
    did("a coroutine for it");
    if (set_nonblocking(fd) && spawn(client_serve, fd)) {
        no_delay(fd);
        return;
    }
    did("%s; close fd %d", strerror(errno), fd);
    close(fd);
}
// ANCHOR_END: spawn

// ANCHOR: accept
/* Let in who waits.  ECONNABORTED: it left before its turn.  EAGAIN: nobody waits now.
 * False: a shortage, of descriptors as a rule. */
static bool accept_some(int fd)
{
    for (int i = 0; i < MAX_NEWCOMERS; i++) {
        int client = accept(fd, NULL, NULL);
        if (client != -1)
            client_start(client);
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR && errno != ECONNABORTED)
            return false;
    }
    return true;
}

/* accept() would fail again at once while the shortage lasts, so look away from the listener: who
 * comes now waits in its backlog and loses nothing.  The loop resumes us when a client has left, or
 * after a moment, for the shortage may be the whole system's and none of our clients may leave. */
static void listener_rest(int fd)
{
    did("accept: %s; rest", strerror(errno));
    if (!want(fd, NOTHING)) {
        rest();
        return;
    }
    do {
        rest_until = now_ms() + LISTENER_REST_MS;
        coroutine_yield();
    } while (!stopping && !want(fd, READ));
    rest_until = 0;
}

/* The listener's whole life.  The loop is stage 01's again: accept, and start what serves it. */
static void listener_serve(int fd)
{
    while (wait_ready())
        if (!accept_some(fd))
            listener_rest(fd);
}
// ANCHOR_END: accept

/* How long the next wait may last, in milliseconds: -1, for ever, unless the listener rests. */
static int patience(void)
{
    if (rest_until != 0 && now_ms() >= rest_until)
        resume(listener);
    return rest_until != 0 ? LISTENER_REST_MS : -1;
}

/* The server stops: every coroutine hears it where it waits, closes what is its own, and ends. */
static void coroutines_end(void)
{
    did("told to stop; end all");
    stopping = true;
    for (int fd = 0; fd < capacity; fd++)
        if (coroutines[fd] != NULL)
            resume(fd);
    free(coroutines);
    coroutine_cleanup();
}

// ANCHOR: loop
static void serve(void)
{
    struct epoll_event events[MAX_EVENTS];

    for (;;) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, patience());
        if (ready == -1) {
            wait_failed("epoll_wait");
            continue;
        }
        heard("epoll_wait  %d ready", ready);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            about(fd, events[i].events);
            stamp(STAMP_LOOP, fd, 0);
            if (fd == stop_pipe[0])
                return;
            resume(fd);
        }
    }
}
// ANCHOR_END: loop

int main(int argc, char **argv)
{
    prepare(argc, argv);
    stamps_open(); /* for trace, if it asks for them */
    epoll_fd = epoll_create1(0);
    if (epoll_fd == -1 || !watch(stop_pipe[0]) || !spawn(listener_serve, listener))
        die("epoll");
    announce(listener);
    serve();
    coroutines_end();
    close(epoll_fd);
    close(listener);
    close(stop_pipe[0]);
    close(stop_pipe[1]);
    return 0;
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

/* ---- toolbox, second part: one thread that must not block.  In every stage with a loop ---- */

static bool set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags != -1 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

/* Milliseconds on a clock that nobody sets back. */
static long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

// ANCHOR: stop
/* A flag that the loop checks before it waits could be set between the check and the wait, and the
 * loop would sleep on.  A byte in a pipe stays until it is read: the wait itself returns. */
static void note_stop(int signal_number)
{
    int error = errno;
    ssize_t written = write(stop_pipe[1], "", 1);

    (void)written; /* a full pipe is readable, and that is all we need */
    (void)signal_number;
    errno = error;
}
// ANCHOR_END: stop

/* The wait itself failed.  EINTR: a signal came, or a debugger; look again at once.  Anything else
 * is a shortage that may pass: rest, so that we do not spin while it lasts. */
static void wait_failed(const char *call)
{
    heard("%s", call);
    did("%s; wait again", strerror(errno));
    if (errno != EINTR)
        rest();
}

/* All that a loop needs before it can watch anything.  The handler must not wait for room in the
 * pipe; and accept() must not wait when a client has given up since the listener was ready. */
static void prepare(int argc, char **argv)
{
    hold_standard_descriptors();
    read_options(argc, argv);
    if (pipe(stop_pipe) == -1 || !set_nonblocking(stop_pipe[1]))
        die("pipe");
    catch_signals(note_stop);
    listener = listen_on(options.address, options.port);
    if (!set_nonblocking(listener))
        die("fcntl");
}
