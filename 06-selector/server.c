/* Stage 06: one interface over all of them.
 *
 * What is new: selector.h.  A descriptor is registered with the function that is to be called when
 * it is ready, and the loop calls.  Which mechanism waits is decided when the program runs.
 * What it cannot do: undo what a mechanism cannot.  Over select, FD_SETSIZE is still the end.
 *
 * Try it: make tour STAGE=06.  By hand: make run-06 V=1 ARGS="-s poll", and in another terminal
 * nc 127.0.0.1 5566.
 * From the line "toolbox" on, this file is what stages 02 to 06 share, byte for byte. */
#define _POSIX_C_SOURCE 200809L
#define _NETBSD_SOURCE /* NetBSD hides sockaddr_storage without it */

#include "selector.h"

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
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* What this stage has to bring: the mechanism.  False: it could not be done, errno says why. */
// ANCHOR: verbs
enum interest { NOTHING, READ, WRITE };
static bool watch(int fd);                        /* begin, by waiting to read */
static bool want(int fd, enum interest interest); /* wait for something else from now on */
static void forget(int fd);                       /* end; close() comes next */
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

/* What it lends to a loop. */
static int listener;                        /* the socket that clients connect to */
static int stop_pipe[2];                    /* [0] is readable once SIGINT or SIGTERM has come */
static void prepare(int argc, char **argv); /* options, signals, stop pipe, listener */
static void announce(int fd);               /* print "listening on ...": clients may come */
static int patience(void);                  /* how long a wait may last, in ms; -1: for ever */
static void wait_failed(const char *call);  /* why, from errno; rest if it is a shortage */

// ANCHOR: client
/* What we owe one client: the bytes that send() did not take; NULL when nothing is owed.
 * One rule holds between two events.  Nothing pending: we wait to read from the client.
 * Something pending: we wait to write to it, and read nothing.  So an idle client costs its
 * entry in the table, and one that never reads costs one buffer and harms nobody else. */
struct client {
    char *pending;
    size_t length; /* of pending */
    size_t sent;   /* of length */
    bool open;
};
// ANCHOR_END: client
static struct client *clients;    /* by descriptor; an entry counts where it is .open */
static void client_accept(void);  /* let in who waits */
static bool client_ready(int fd); /* read or write; true: there may be more to do at once */
/* want(), and if that fails the client goes; always false: nothing more to do now */
static bool client_wait(int fd, enum interest interest);
static void clients_close(void); /* the end: of the clients, the listener, the pipe */

static char help[120]; /* made by main(): which back ends there are differs */
static const struct own_option own_option = {":hvb:p:s:", " [-s BACKEND]", help};
static void bad_usage(const char *what, const char *why); /* this stage borrows it, too */

static const struct flag flag_names[] = {
    {EVENT_READ, "EVENT_READ"}, {EVENT_WRITE, "EVENT_WRITE"}, {0, NULL}};

// ANCHOR: callbacks
static struct selector *selector;
static bool stopped;

static void tell_about(const struct selector_key *key, int events)
{
    heard("%s calls back", selector_backend(selector));
    about(key->fd, (unsigned)events);
}

static void on_listener(const struct selector_key *key, int events)
{
    tell_about(key, events);
    client_accept();
}

static void on_client(const struct selector_key *key, int events)
{
    tell_about(key, events);
    client_ready(key->fd);
}

static void on_stop(const struct selector_key *key, int events)
{
    tell_about(key, events);
    stopped = true;
}
// ANCHOR_END: callbacks

// ANCHOR: limit
/* What an interface cannot hide.  poll() fails if the limit of descriptors was lowered below those
 * that we hold, poll(2).  And select() has no bit for a descriptor of FD_SETSIZE or above: with
 * that limit, those who do not fit wait in the backlog. */
static void limit_descriptors(void)
{
    bool with_select = strcmp(selector_backend(selector), "select") == 0;
    const struct selector_key *key = selector_next_key(selector, 0);
    struct rlimit limit;
    rlim_t held = 0;

    for (; key != NULL; key = selector_next_key(selector, key->fd + 1))
        held = (rlim_t)key->fd + 1;
    if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
        return;
    rlim_t before = limit.rlim_cur;
    if (limit.rlim_cur < held)
        limit.rlim_cur = held;
    if (with_select && limit.rlim_cur > FD_SETSIZE)
        limit.rlim_cur = FD_SETSIZE;
    if (limit.rlim_cur != before && setrlimit(RLIMIT_NOFILE, &limit) == -1)
        did("setrlimit: %s", strerror(errno));
}
// ANCHOR_END: limit

// ANCHOR: adapt
static bool watch(int fd)
{
    selector_callback *callback = fd == listener ? on_listener : on_client;

    if (fd == stop_pipe[0])
        callback = on_stop;
    if (selector_register(selector, fd, EVENT_READ, callback, NULL) == 0)
        return true;
    if (errno == ERANGE) /* somebody has raised the limit */
        limit_descriptors();
    return false;
}

/* A key always waits for something.  So who waits for nothing has none. */
static bool want(int fd, enum interest interest)
{
    const struct selector_key *key = selector_get_key(selector, fd);
    int events = interest == READ ? EVENT_READ : EVENT_WRITE;

    if (interest == NOTHING)
        return selector_unregister(selector, fd) == 0;
    if (key == NULL) /* the listener has rested; a client never waits for nothing */
        return watch(fd);
    return selector_modify(selector, fd, events, key->callback, NULL) == 0;
}

static void forget(int fd)
{
    selector_unregister(selector, fd);
}
// ANCHOR_END: adapt

// ANCHOR: loop
static void serve(void)
{
    while (!stopped) {
        int wait_ms = patience();
        struct timespec limit = {.tv_nsec = wait_ms * 1000000L};
        if (selector_dispatch(selector, wait_ms < 0 ? NULL : &limit) != -1)
            continue;
        /* EINVAL: poll's word for a limit that was lowered below its list, poll(2). */
        bool lowered = errno == EINVAL;
        wait_failed("selector_dispatch");
        if (lowered)
            limit_descriptors();
    }
}
// ANCHOR_END: loop

static void list_backends(void)
{
    char list[64] = "";

    for (const char *const *name = selector_backends(); *name != NULL; name++) {
        size_t length = strlen(list);
        snprintf(list + length, sizeof list - length, " %s", *name);
    }
    snprintf(help, sizeof help, "  -s BACKEND  wait by one of:%s (else $SELECTOR, or the first)\n",
             list);
}

int main(int argc, char **argv)
{
    list_backends();
    prepare(argc, argv);
    const char *name = options.own ? options.own_value : getenv("SELECTOR");
    if (!options.own && name != NULL && name[0] == '\0')
        name = NULL;
    selector = selector_open(name);
    if (selector == NULL && errno == EINVAL)
        bad_usage(name, "not a back end that is compiled in; -h lists them");
    if (selector == NULL || !watch(listener) || !watch(stop_pipe[0]))
        die("selector");
    limit_descriptors();
    announce(listener);
    serve();
    clients_close();
    selector_close(selector);
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

/* ---- toolbox, third part: the clients.  In every stage where the loop itself serves them ---- */

#define BUFFER_SIZE 65536 /* for one recv(): large messages then cost few calls */
#define ACCEPT_BATCH 64   /* newcomers at a time: a crowd must not keep the others waiting */

static int capacity;         /* of clients[] */
static long long rest_until; /* in now_ms(); 0: the listener is watched */

// ANCHOR: rest
/* Out of descriptors, as a rule: accept() would fail again at once while the shortage lasts.  So
 * we look away from the listener.  Who comes now waits in its backlog and loses nothing. */
static void accept_rest(void)
{
    did("accept: %s; rest", strerror(errno));
    if (want(listener, NOTHING))
        rest_until = now_ms() + REST_MS;
    else
        rest();
}

static void accept_again(void)
{
    did("accept again");
    rest_until = want(listener, READ) ? 0 : now_ms() + REST_MS;
}

/* How long the next wait may last, in milliseconds: -1, for ever, unless the listener rests.
 * The shortage may be the whole system's and none of our clients may ever leave, so time is a
 * reason to look again too. */
static int patience(void)
{
    if (rest_until != 0 && now_ms() >= rest_until)
        accept_again();
    return rest_until == 0 ? -1 : REST_MS;
}
// ANCHOR_END: rest

/* Make the table reach as far as fd.  False: no memory, and the table is as it was. */
static bool make_room(int fd)
{
    if (fd < capacity)
        return true;
    int larger = fd + fd / 2 + 16;
    struct client *table = realloc(clients, (size_t)larger * sizeof *table);
    if (table == NULL)
        return false;
    memset(table + capacity, 0, (size_t)(larger - capacity) * sizeof *table);
    clients = table;
    capacity = larger;
    return true;
}

/* The client goes, with all that it cost.  Its descriptor is free for one who waits. */
static void client_close(int fd)
{
    forget(fd);
    free(clients[fd].pending);
    clients[fd] = (struct client){0};
    close(fd);
    if (rest_until != 0)
        accept_again();
}

/* One client's error: that client goes, the server stays.  Always false, see client_ready(). */
static bool client_gone(int fd, const char *call)
{
    did("%s: %s; close", call, strerror(errno));
    client_close(fd);
    return false;
}

static void client_open(int fd)
{
    did("accept: fd %d", fd);
    if (!set_nonblocking(fd) || !make_room(fd) || !watch(fd)) {
        did("%s; close fd %d", strerror(errno), fd);
        close(fd);
        return;
    }
    no_delay(fd);
    clients[fd].open = true;
}

// ANCHOR: accept
/* Let in who waits.  ECONNABORTED: it left before its turn.  EAGAIN: nobody waits now. */
static void client_accept(void)
{
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept(listener, NULL, NULL);
        if (fd != -1) {
            client_open(fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno == EINTR || errno == ECONNABORTED) {
            did("accept: %s; next", strerror(errno));
        } else {
            accept_rest();
            return;
        }
    }
}
// ANCHOR_END: accept

// ANCHOR: keep
/* Send what the socket takes now.  The bytes taken; 0: none, try later; -1: the client is gone. */
static ssize_t send_some(int fd, const char *data, size_t length)
{
    ssize_t sent = send(fd, data, length, 0);

    return sent == -1 && try_again(errno) ? 0 : sent;
}

/* Wait for something else from now on.  A client for whom that fails would hang for ever, so it
 * goes.  Always false: there is nothing more to do until the kernel says so. */
static bool client_wait(int fd, enum interest interest)
{
    if (!want(fd, interest))
        client_gone(fd, "wait");
    return false;
}

/* The socket is full: keep what is left, and wait for room instead of for bytes. */
static bool client_keep(int fd, const char *rest, size_t length)
{
    char *copy = malloc(length);

    if (copy == NULL)
        return client_gone(fd, "malloc");
    memcpy(copy, rest, length);
    clients[fd].pending = copy;
    clients[fd].length = length;
    clients[fd].sent = 0;
    return client_wait(fd, WRITE);
}
// ANCHOR_END: keep

// ANCHOR: read
/* Read once and send it back at once: in the usual case the socket takes it all. */
static bool client_read(int fd)
{
    static char buffer[BUFFER_SIZE]; /* one for all clients: it is empty between two events */
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);

    if (got == -1 && errno == EAGAIN) {
        did("recv: EAGAIN, nothing left");
        return false;
    }
    if (got == -1 && try_again(errno)) {
        did("recv: %s; again", strerror(errno));
        return true;
    }
    if (got == -1)
        return client_gone(fd, "recv");
    if (got == 0) {
        did("recv 0: client done; close");
        client_close(fd);
        return false;
    }
    ssize_t sent = send_some(fd, buffer, (size_t)got);
    if (sent == -1)
        return client_gone(fd, "send");
    did("recv %zd, send %zd", got, sent);
    return sent == got || client_keep(fd, buffer + sent, (size_t)(got - sent));
}
// ANCHOR_END: read

// ANCHOR: write
/* Send on where we stopped.  When all is paid, wait for bytes again. */
static bool client_write(int fd)
{
    struct client *client = &clients[fd];
    ssize_t sent = send_some(fd, client->pending + client->sent, client->length - client->sent);

    if (sent == -1)
        return client_gone(fd, "send");
    client->sent += (size_t)sent;
    did("send %zd, %zu wait", sent, client->length - client->sent);
    if (sent == 0) /* what kept the socket from taking any may be no news later: ask anew (04 -e) */
        return client_wait(fd, WRITE);
    if (client->sent < client->length)
        return true;
    free(client->pending);
    client->pending = NULL;
    return client_wait(fd, READ);
}

/* The kernel named fd.  Whatever it said (bytes, room, an error, a hang-up) the one call that this
 * client was waiting for finds out.  True: there may be more to do at once.  False: there is not,
 * or the client is gone. */
static bool client_ready(int fd)
{
    return clients[fd].pending != NULL ? client_write(fd) : client_read(fd);
}
// ANCHOR_END: write

/* The server stops: whoever is still here goes. */
static void clients_close(void)
{
    did("told to stop; close all");
    for (int fd = 0; fd < capacity; fd++)
        if (clients[fd].open)
            client_close(fd);
    free(clients);
    close(listener);
    close(stop_pipe[0]);
    close(stop_pipe[1]);
}
