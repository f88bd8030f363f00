/* Makes each call of a server fail: the first call, in another run the second, and so on, with each
 * error that its manual page lists (torture.h).  After each fault the server must serve the next
 * client, and stop when it is told to.
 *
 * Usage: torture [OPTION]... SERVER [ARGUMENT]...   (in an argument, PORT becomes the port)
 *   -f FAULT   inject only this fault: CALL:N:ERROR, or CALL:N+:ERROR: the Nth and all later calls
 *   -j JOBS    servers at a time (default: 8 per processor)
 *   -n NAME    the server's name in messages
 *   -m TEXT    how each of the server's own messages begins
 *   -r TEXT    the command that repeats a fault; "FAULT" and its value are appended
 *   -s         a small sample: one error for each call
 *   -a         show all faults that the server does not survive, not only the first
 *   -1         the server serves one client at a time
 *   -S SHIM    the preload library (shim.so)
 *   -i seccomp, -i preload   how to inject the faults (default: seccomp if that is possible)
 * Exit code: 0 if the server survived every fault, 1 if not, 2 if nothing could be tested.
 *
 * On Linux the faults come from the kernel: seccomp(2) reports each call of the server to this
 * program, which lets it continue or returns an error in its place.  This is much faster than
 * strace, needs neither strace nor permission to trace, and also works with static programs.  What
 * the kernel cannot do (a short read, a failed allocation) the preload library does.
 *
 * Where seccomp(2) is missing or not permitted, the preload library injects all faults.  It takes
 * the place of functions of the C library, so it does not see the calls that the library makes
 * itself. */
#define _GNU_SOURCE
#define _DEFAULT_SOURCE /* on NetBSD */

#include "torture.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#endif

#define PATIENCE_MS 4000      /* how long a client waits for an answer */
#define SHORT_PATIENCE_MS 300 /* the same if the server is allowed not to serve */
#define STOP_MS 1000          /* how long the server may take to stop */
#define IDLE_MS 10            /* how long to watch an idle server */
#define SUSPECT_MS 100        /* the same if it used CPU time meanwhile */
#define BIG_EXCHANGE 90000    /* bytes: more than the buffers of a small connection */
#define SMALL_EXCHANGE 3000   /* the same if each byte needs a call */
#ifdef __linux__              /* a range outside that of the ports of clients */
#define FIRST_PORT 61000
#else
#define FIRST_PORT 5600
#endif
#define PORTS 4400
#define CANNOT_LOAD 127 /* exit code of the dynamic loader, which also prints a message */
#define SAMPLE_CALLS 12 /* of one kind, in a sample */

/* ---- Options and faults ---- */

static struct {
    const char *name, *message, *repeat;
    const char *injector; /* "seccomp", "preload"; "": what is possible */
    const char *shim;     /* the path of the preload library */
    char **command;
    bool one_at_a_time, sample, show_all;
    int jobs;
} options = {.name = "the server", .message = "", .repeat = "torture", .injector = ""};

static bool preload; /* the preload library injects all faults, not only those of BY_SHIM */

struct fault {
    const struct call *call; /* NULL: none */
    long n;
    bool permanent; /* every call from the nth on */
    char error[20]; /* "ENOMEM", or "SHORT" */
};

static const struct {
    const char *name;
    int number;
} errors[] = {
// clang-format off
#define E(name) {#name, name}
    E(EACCES), E(EADDRINUSE), E(EADDRNOTAVAIL), E(EAFNOSUPPORT), E(EAGAIN), E(EALREADY), E(EBADF),
    E(EBUSY), E(ECONNABORTED), E(ECONNREFUSED), E(ECONNRESET), E(EDESTADDRREQ), E(EDEADLK),
    E(EDQUOT), E(EEXIST), E(EFAULT), E(EFBIG), E(EHOSTDOWN), E(EHOSTUNREACH), E(EINPROGRESS),
    E(EINTR), E(EINVAL), E(EIO), E(EISCONN), E(EISDIR), E(ELOOP), E(EMFILE), E(EMSGSIZE),
    E(ENAMETOOLONG), E(ENETDOWN), E(ENETUNREACH), E(ENFILE), E(ENOBUFS), E(ENOLCK), E(ENODEV),
    E(ENOENT), E(ENOMEM), E(ENOPROTOOPT), E(ENOSPC), E(ENOSYS), E(ENOTCONN), E(ENOTDIR),
    E(ENOTSOCK), E(ENOTSUP), E(ENOTTY), E(ENXIO), E(EOPNOTSUPP), E(EOVERFLOW), E(EPERM), E(EPIPE),
    E(EPROTO), E(EPROTONOSUPPORT), E(EPROTOTYPE), E(EROFS), E(ESOCKTNOSUPPORT), E(ESPIPE), E(ESRCH),
    E(ETIMEDOUT), E(ETXTBSY), E(EUSERS), E(EWOULDBLOCK),
#ifdef __linux__
    E(ENONET), E(ENOPKG), E(ENOSR),
#endif
    {"SHORT", 0}, /* not an error: one byte is transferred */
    // clang-format on
};

static void give_up(const char *what)
{
    fprintf(stderr, "torture: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* The number of an error, or -1. */
static int error_number(const char *name)
{
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (strcmp(errors[i].name, name) == 0)
            return errors[i].number;
    return -1;
}

static const struct call *call_by_name(const char *name)
{
    for (int i = 0; i < CALL_COUNT; i++)
        if (strcmp(calls[i].name, name) == 0 && calls[i].errors != NULL)
            return &calls[i];
    return NULL;
}

/* After these errors the same call succeeds when it is made again, so no client may be closed. */
static bool is_transient(const struct fault *fault)
{
    return is_one_of(fault->error, "EINTR EAGAIN ENOBUFS SHORT") &&
           (is_wait(fault->call) || is_one_of(fault->call->name, "recvfrom sendto recv send poll"));
}

static bool parse_fault(const char *text, struct fault *fault)
{
    char name[32], plus[2] = "";

    if (sscanf(text, "%31[a-z0-9_]:%ld:%19s", name, &fault->n, fault->error) != 3 &&
        sscanf(text, "%31[a-z0-9_]:%ld%1[+]:%19s", name, &fault->n, plus, fault->error) != 4)
        return false;
    fault->call = call_by_name(name);
    fault->permanent = plus[0] != '\0';
    return fault->call != NULL && error_number(fault->error) != -1 && fault->n > 0;
}

static const char *fault_text(const struct fault *fault)
{
    static char text[80];

    snprintf(text, sizeof text, "%s:%ld%s:%s", fault->call->name, fault->n,
             fault->permanent ? "+" : "", fault->error);
    return text;
}

/* ---- The server, and the thread that injects the fault ---- */

/* One run.  The owner thread starts the server and waits for its end.  If seccomp(2) injects the
 * faults, the server and that thread have the filter, and the supervisor thread answers its
 * notifications. */
static struct {
    struct fault fault;
    struct page *page;
    int page_file;
    bool count_all; /* notify of every call, and count them */
    int port;
    int output;   /* a pipe that the server's stdout is connected to; nobody has to read it */
    int messages; /* a file: the server's stderr */
    _Atomic pid_t server; /* -1: fork() failed */
    int status;           /* of wait(), when `ended` is set */
    int ended_pipe[2];    /* readable when the server has ended */
    pthread_t owner, supervisor;
    _Atomic int notify_fd; /* -1: not yet; -2: seccomp() failed */
    _Atomic pid_t owner_tid;
    atomic_bool ended;
    bool executed; /* the server's program has replaced this one */
} run;

/* By number: the server made this call, which torture.h does not have. */
static bool unknown_calls[512];

static long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void sleep_us(long us)
{
    nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

#ifdef __linux__
/* The system calls that the supervisor has to see. */
static int install_filter(void)
{
    long fault = run.fault.call != NULL ? run.fault.call->number : BY_SHIM;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)fault, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_accept, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_accept4, 0, run.count_all ? 0 : 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
        return -2;
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                          &program);
    return fd == -1 ? -2 : fd;
}

/* The index of a call that the kernel reports, or -1. */
static int call_by_number(long number)
{
    for (int i = 0; i < CALL_COUNT; i++)
        if (calls[i].number == number)
            return i;
    return -1;
}

/* What to answer: 0 to let the call continue, or the errno that it fails with. */
static int judge_call(const struct seccomp_notif *call)
{
    int known = call_by_number(call->data.nr);

    if ((pid_t)call->pid == run.owner_tid)
        return 0;
    if (call->data.nr == SYS_execve) {
        run.executed = true;
        return 0;
    }
    if (!run.executed)
        return 0;
    if (known == -1 && call->data.nr >= 0 && call->data.nr < 512)
        unknown_calls[call->data.nr] = true;
    return known != -1 && count_call(run.page, known) ? run.page->error : 0;
}

static void *supervise(void *unused)
{
    struct seccomp_notif call;

    (void)unused;
    while (run.notify_fd == -1)
        sleep_us(10);
    struct pollfd pollfd = {.fd = run.notify_fd, .events = POLLIN};
    while (run.notify_fd != -2) {
        poll(&pollfd, 1, -1);
        if ((pollfd.revents & POLLIN) == 0)
            return NULL; /* POLLHUP: no process has the filter any more */
        memset(&call, 0, sizeof call);
        if (ioctl(run.notify_fd, SECCOMP_IOCTL_NOTIF_RECV, &call) == -1)
            continue;
        int error = judge_call(&call);
        struct seccomp_notif_resp answer = {
            .id = call.id,
            .error = call.data.nr == SYS_brk ? 0 : -error, /* brk() then returns 0, no error */
            .flags = error == 0 ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0};
        ioctl(run.notify_fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    return NULL;
}

/* Whether seccomp(2) can be used here.  If not, errno says why. */
static bool seccomp_works(void)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        run.notify_fd = install_filter();
        _exit(run.notify_fd < 0 ? errno : 0);
    }
    waitpid(child, &status, 0);
    errno = WEXITSTATUS(status);
    return child != -1 && status == 0;
}
#else
static int install_filter(void)
{
    return -2;
}

static void *supervise(void *unused)
{
    return unused;
}

static bool seccomp_works(void)
{
    errno = ENOSYS;
    return false;
}
#endif

static void end_with_parent(void)
{
#ifdef __linux__ /* elsewhere, Ctrl-C ends all of them */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
}

static void become_server(void)
{
    int nothing = open("/dev/null", O_RDONLY);

    end_with_parent();
    run.page->server = getpid();
    signal(SIGPIPE, SIG_DFL);
    dup2(nothing, 0);
    dup2(run.output, 1);
    dup2(run.messages, 2);
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    execv(options.command[0], options.command);
    _exit(126);
}

static void *own_server(void *unused)
{
    (void)unused;
    if (!preload) {
#ifdef __linux__
        atomic_store(&run.owner_tid, gettid());
#endif
        int fd = install_filter();
        run.status = errno; /* if it has failed */
        atomic_store(&run.notify_fd, fd);
        if (run.notify_fd == -2)
            return NULL;
    }
    run.server = fork();
    if (run.server == 0)
        become_server();
    while (run.server > 0 && waitpid(run.server, &run.status, 0) == -1 && errno == EINTR)
        continue;
    atomic_store(&run.ended, true);
    close(run.ended_pipe[1]);
    return NULL;
}

/* A new file.  Until forget_file(), `path` is a name by which the server can open it. */
static int new_file(char *path, size_t size)
{
#ifdef __linux__
    int fd = memfd_create("torture", MFD_CLOEXEC);
    snprintf(path, size, "/proc/%d/fd/%d", (int)getpid(), fd);
#else
    snprintf(path, size, "%s.%d", options.shim, (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
#endif
    if (fd == -1)
        give_up(path);
    return fd;
}

static void forget_file(const char *path)
{
#ifndef __linux__
    unlink(path);
#else
    (void)path; /* the file ends when it is closed */
#endif
}

static char page_path[1000];

static void make_page(void)
{
    struct page page = {.call = -1};

    if (run.fault.call != NULL) {
        page.call = (int)(run.fault.call - calls);
        page.n = run.fault.n;
        page.permanent = run.fault.permanent;
        page.error = error_number(run.fault.error);
    }
    run.page_file = new_file(page_path, sizeof page_path);
    if (write(run.page_file, &page, sizeof page) != sizeof page)
        give_up(page_path);
    run.page = mmap(NULL, sizeof page, PROT_READ | PROT_WRITE, MAP_SHARED, run.page_file, 0);
    if (run.page == MAP_FAILED)
        give_up("mmap");
}

/* The variables that make the server load the preload library.  They do not contain the name of
 * this folder, because they are lists, and their separators cannot be escaped. */
static void set_environment(void)
{
#ifdef __APPLE__
    const char *variable = "DYLD_INSERT_LIBRARIES";
#else
    const char *variable = "LD_PRELOAD";
#endif
    char path[1000];

    unsetenv(variable);
    if (!preload && (run.fault.call == NULL || run.fault.call->number != BY_SHIM))
        return;
    snprintf(path, sizeof path, "%s", options.shim);
#ifdef __linux__
    static int shim;
    if (shim == 0)
        shim = open(options.shim, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), shim);
#endif
    setenv(variable, path, 1);
    setenv("SHIM_PAGE", page_path, 1);
}

/* A port that nobody uses, above the usual range of the ports of clients.  The lock, a socket of
 * UDP with the same number, keeps other runs of this program away from it.  Our own servers can use
 * a port whose last connections are in TIME_WAIT. */
static int free_port(int *lock)
{
    static int port;
    int ours = options.message[0] != '\0';

    if (port == 0)
        port = getpid() * 37 % PORTS;
    for (;; port++) {
        struct sockaddr_in address = {.sin_family = AF_INET}, name = address;
        int candidate = FIRST_PORT + port % PORTS;
        address.sin_port = name.sin_port = htons((uint16_t)candidate);
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        *lock = socket(AF_INET, SOCK_DGRAM, 0);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &ours, sizeof ours);
        bool free = bind(*lock, (void *)&name, sizeof name) == 0 &&
                    bind(fd, (void *)&address, sizeof address) == 0;
        close(fd);
        if (free) {
            port++;
            return candidate;
        }
        close(*lock);
    }
}

/* Put the port into the server's arguments. */
static void set_arguments(int port)
{
    static char *arguments[64], texts[64][200];
    static char **given;
    int i;

    if (given == NULL)
        given = options.command;
    for (i = 0; given[i] != NULL && i < 63; i++) {
        const char *place = strstr(given[i], "PORT");
        if (i == 0 || place == NULL)
            snprintf(texts[i], sizeof texts[i], "%s", given[i]);
        else
            snprintf(texts[i], sizeof texts[i], "%.*s%d%s", (int)(place - given[i]), given[i], port,
                     place + strlen("PORT"));
        arguments[i] = texts[i];
    }
    arguments[i] = NULL;
    options.command = arguments;
}

static int port_lock, output_reader;

static void start_server(const struct fault *fault, bool count_all)
{
    int output[2];

    if (run.page != NULL)
        munmap(run.page, sizeof *run.page);
    memset(&run, 0, sizeof run);
    if (fault != NULL)
        run.fault = *fault;
    run.count_all = count_all;
    run.notify_fd = -1;
    run.messages = new_file(page_path, sizeof page_path);
    forget_file(page_path);
    make_page();
    if (pipe(run.ended_pipe) == -1 || pipe(output) == -1)
        give_up("pipe");
    run.output = output[1];
    output_reader = output[0];
    run.port = free_port(&port_lock);
    set_arguments(run.port);
    set_environment();
    /* The supervisor comes first: when a call of the owner waits, it may hold a C library lock. */
    if ((!preload && (errno = pthread_create(&run.supervisor, NULL, supervise, NULL)) != 0) ||
        (errno = pthread_create(&run.owner, NULL, own_server, NULL)) != 0)
        give_up("pthread_create");
    while (run.server == 0 && run.notify_fd != -2)
        sleep_us(10);
    if (run.server == -1)
        give_up("fork");
    errno = run.notify_fd == -2 ? run.status : 0;
    if (run.notify_fd == -2)
        give_up("seccomp() failed");
}

/* Never a signal to process 0 or -1, which would mean many processes. */
static void signal_server(int signal_number)
{
    if (run.server > 0)
        kill(run.server, signal_number);
}

/* Wait until the server has ended.  Returns false if the time is up. */
static bool wait_for_end(int ms)
{
    struct pollfd pollfd = {.fd = run.ended_pipe[0], .events = POLLIN};

    return poll(&pollfd, 1, ms) == 1;
}

static void clean_up(void)
{
    if (!run.ended)
        signal_server(SIGKILL);
    pthread_join(run.owner, NULL);
    if (!preload) {
        pthread_join(run.supervisor, NULL);
        close(run.notify_fd);
    }
    forget_file(page_path);
    close(run.page_file);
    close(run.messages);
    close(run.output);
    close(output_reader);
    close(run.ended_pipe[0]);
    close(port_lock);
}

/* The number of open descriptors of the server; 0 if it has ended. */
static int fd_count(void)
{
    char path[40];
    int count = 0;

    if (preload)
        return run.page->descriptors;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)run.server);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return 0;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count - 2;
}

/* The CPU time that the server has used, in microseconds.  The preload library knows it only when
 * the server makes a call, so it does not notice a loop without calls. */
static long long cpu_us(void)
{
    long long result = run.page->cpu_us;
#ifdef __linux__
    clockid_t clock;
    struct timespec used;

    if (!preload && clock_getcpuclockid(run.server, &clock) == 0 &&
        clock_gettime(clock, &used) == 0)
        result = used.tv_sec * 1000000LL + used.tv_nsec / 1000;
#endif
    return result;
}

/* The number of lines that begin like the server's own messages. */
static int message_count(void)
{
    static char text[1 << 20];
    size_t length = strlen(options.message);
    ssize_t n = pread(run.messages, text, sizeof text - 1, 0);
    int count = 0;

    text[n > 0 ? n : 0] = '\0';
    for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        count += *line != '\0' && strncmp(line, options.message, length) == 0;
    }
    return count;
}

/* ---- The clients ---- */

static char problem[160]; /* what the server did wrong; "" for nothing */
static int lost;          /* clients that the server has closed too early */
static bool unserved;     /* a client got no answer, and that is allowed */
static bool doubtful;     /* the problem may be that this machine is busy */

__attribute__((format(printf, 1, 2))) static void note_problem(const char *format, ...)
{
    va_list values;

    if (problem[0] != '\0')
        return;
    va_start(values, format);
    vsnprintf(problem, sizeof problem, format, values);
    va_end(values);
}

/* May the server stop serving because of this fault?  Then it has to say so, and stay idle.
 * Transfers of one byte are no reason, and neither is a log that cannot be written: our servers
 * call write() only for that. */
static bool may_stop_serving(void)
{
    bool ours = options.message[0] != '\0';

    if (run.fault.call == NULL)
        return false;
    if (run.fault.permanent)
        return !is_one_of(run.fault.call->name, ours ? "write recv send" : "recv send");
    return is_one_of(run.fault.call->name, "accept accept4") &&
           is_one_of(run.fault.error, "EBADF EINVAL ENOTSOCK EFAULT");
}

struct peer {
    int fd; /* -1: lost */
    uint64_t sent, received;
};

static void lose(struct peer *peer)
{
    if (peer->fd == -1)
        return;
    close(peer->fd);
    peer->fd = -1;
    lost++;
}

static unsigned char stream_byte(uint64_t position)
{
    return (unsigned char)(position * 131 + (position >> 8) * 7);
}

/* Connect.  If nobody listens yet, try again until somebody does or the server has ended. */
static struct peer open_peer(bool small)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)run.port)};
    int size = 4096, segment = 1000;
    long long end = now_ms() + PATIENCE_MS;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    while (!run.ended && now_ms() < end) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (small) {
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
            setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
        }
        if (connect(fd, (void *)&address, sizeof address) == 0)
            return (struct peer){.fd = fd};
        close(fd);
        sleep_us(200);
    }
    if (!run.ended)
        note_problem("nothing is listening on the server's port");
    lost++;
    return (struct peer){.fd = -1};
}

/* Send what fits of the bytes up to `end`. */
static void peer_send(struct peer *peer, uint64_t end)
{
    unsigned char buffer[8192];
    size_t length = end - peer->sent < sizeof buffer ? end - peer->sent : sizeof buffer;

    for (size_t i = 0; i < length; i++)
        buffer[i] = stream_byte(peer->sent + i);
    ssize_t n = send(peer->fd, buffer, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n == -1 && errno != EAGAIN)
        lose(peer);
    peer->sent += n > 0 ? (uint64_t)n : 0;
}

/* Receive, and compare.  Returns false at the end of the stream. */
static bool peer_receive(struct peer *peer)
{
    unsigned char buffer[65536];
    ssize_t n = recv(peer->fd, buffer, sizeof buffer, MSG_DONTWAIT);

    if (n == -1 && errno != EAGAIN)
        lose(peer);
    for (ssize_t i = 0; i < n; i++, peer->received++)
        if (peer->received >= peer->sent || buffer[i] != stream_byte(peer->received)) {
            note_problem("a client got a wrong byte at position %llu",
                         (unsigned long long)peer->received);
            lose(peer);
            break;
        }
    return n != 0;
}

/* A client that waits for more than its patience. */
static void peer_waits(struct peer *peer, const char *what)
{
    if (may_stop_serving())
        unserved = true;
    else
        note_problem("a client never received %s", what);
    lose(peer);
}

static int patience_ms(void)
{
    return may_stop_serving() ? SHORT_PATIENCE_MS : PATIENCE_MS;
}

/* Send so many bytes and read them back.  If they are many, first send without reading until
 * nothing more fits, so that the server has to wait as well. */
static void exchange(struct peer *peer, size_t length)
{
    uint64_t end = peer->sent + length;
    bool reading = length < 8192;

    while (peer->fd != -1 && peer->received < end) {
        struct pollfd pollfd = {.fd = peer->fd, .events = reading ? POLLIN : 0};
        pollfd.events |= peer->sent < end ? POLLOUT : 0;
        int ready = poll(&pollfd, 1, reading ? patience_ms() : 3);
        if (ready == 0 && reading)
            peer_waits(peer, "its echo");
        if (ready == 1 && (pollfd.revents & POLLOUT) != 0)
            peer_send(peer, end);
        if (peer->fd != -1 && reading && (pollfd.revents & (POLLIN | POLLERR | POLLHUP)) != 0 &&
            !peer_receive(peer))
            lose(peer);
        reading = reading || ready == 0 || peer->sent == end || (pollfd.revents & POLLHUP) != 0;
    }
}

/* Half-close, and wait for the server's FIN. */
static void finish(struct peer *peer)
{
    struct pollfd pollfd = {.fd = peer->fd, .events = POLLIN};

    if (peer->fd == -1)
        return;
    shutdown(peer->fd, SHUT_WR);
    do {
        if (poll(&pollfd, 1, patience_ms()) == 0) {
            peer_waits(peer, "the end of its connection");
            return;
        }
    } while (peer_receive(peer) && peer->fd != -1);
    if (peer->fd != -1)
        close(peer->fd);
    peer->fd = -1;
}

static void reset(struct peer *peer)
{
    struct linger linger = {.l_onoff = 1};

    if (peer->fd == -1)
        return;
    peer_send(peer, peer->sent + 10);
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(peer->fd);
    peer->fd = -1;
}

/* Every call transfers one byte, so that large messages would take long. */
static bool is_always_short(void)
{
    return run.fault.permanent && strcmp(run.fault.error, "SHORT") == 0;
}

/* What the clients do.  Returns the one that is still connected at the end. */
static struct peer talk(void)
{
    struct peer one = open_peer(false), two = {.fd = -1}, big, rude, next;

    exchange(&one, 20);
    if (options.one_at_a_time) {
        finish(&one);
    } else {
        two = open_peer(false);
        exchange(&two, 2000);
    }
    big = open_peer(true);
    exchange(&big, is_always_short() ? SMALL_EXCHANGE : BIG_EXCHANGE);
    finish(&big);
    rude = open_peer(false);
    reset(&rude);
    exchange(&one, one.fd == -1 ? 0 : 20);
    finish(&one);
    exchange(&two, two.fd == -1 ? 0 : 20);
    finish(&two);
    for (int i = 0; i < 2; i++) { /* the fault may affect the first of them */
        next = open_peer(false);
        exchange(&next, 20);
        if (next.fd != -1)
            break;
    }
    if (next.fd == -1 && !may_stop_serving())
        note_problem("the next client is not served");
    return next;
}

/* ---- One run ---- */

static int healthy_fd_count, healthy_status; /* of the runs without a fault */

/* The server has ended before it was told to.  That is allowed at start-up. */
static void judge_early_end(void)
{
    int code = WEXITSTATUS(run.status);

    problem[0] = '\0'; /* this explains what the clients saw */
    if (WIFSIGNALED(run.status))
        note_problem("the server was killed by signal %d (%s)", WTERMSIG(run.status),
                     strsignal(WTERMSIG(run.status)));
    else if (run.page->injected == 0 || !run.page->at_start)
        note_problem("the server exited with code %d", code);
    else if (code != 1 && code != CANNOT_LOAD)
        note_problem("the server exited with code %d instead of 1", code);
    else if (code == 1 && message_count() != 1)
        note_problem("the server printed %d messages instead of one before it exited",
                     message_count());
}

static void check_idle(void)
{
    long before_count = run.page->injected;
    long long before = cpu_us();

    sleep_us(run.fault.permanent ? SUSPECT_MS * 1000 : IDLE_MS * 1000);
    if (!run.fault.permanent && cpu_us() - before > IDLE_MS * 250) {
        before = cpu_us();
        sleep_us(SUSPECT_MS * 1000);
    } else if (!run.fault.permanent) {
        return;
    }
    long long used = cpu_us() - before;
    if (used <= SUSPECT_MS * 250 && run.page->injected - before_count <= 10 * SUSPECT_MS)
        return;
    doubtful = problem[0] == '\0';
    note_problem("the server spins: %lld%% of a CPU and %ld failing calls in %d ms",
                 used / (SUSPECT_MS * 10), run.page->injected - before_count, SUSPECT_MS);
}

static void check_descriptors(void)
{
    long long end = now_ms() + STOP_MS;

    while (fd_count() > healthy_fd_count) {
        if (now_ms() > end) {
            note_problem("the server has %d open descriptors instead of %d", fd_count(),
                         healthy_fd_count);
            return;
        }
        sleep_us(1000);
    }
}

static void check_messages(void)
{
    int count = message_count();

    if ((unserved || lost > 1) && count == 0) {
        doubtful = problem[0] == '\0'; /* a client had little patience */
        note_problem("the server does not serve every client, and does not say why");
    }
    if (options.message[0] != '\0' && count > lost + 2) /* one may be about each closed client */
        note_problem("the server has printed %d messages instead of one", count);
}

static void stop_server(void)
{
    long long begin = now_ms();

    signal_server(SIGTERM);
    if (!wait_for_end(3 * STOP_MS)) {
        note_problem("the server does not stop on SIGTERM");
        return;
    }
    if (run.status != healthy_status)
        note_problem("the server ended on SIGTERM with status %#x instead of %#x", run.status,
                     healthy_status);
    doubtful = problem[0] == '\0' && now_ms() - begin > STOP_MS;
    if (doubtful)
        note_problem("the server took %lld ms to stop on SIGTERM", now_ms() - begin);
}

/* The clients have talked to the server, and it is still running. */
static void judge_server(void)
{
    if (run.page->injected > 0 && lost > 0 && !run.fault.permanent && is_transient(&run.fault))
        note_problem("the server closed a client because of %s, which is transient",
                     run.fault.error);
    if (lost > 1 && !may_stop_serving())
        note_problem("the server closed %d clients because of one failed call", lost);
    check_idle();
    if (run.fault.call == NULL && (healthy_fd_count == 0 || fd_count() < healthy_fd_count))
        healthy_fd_count = fd_count();
    if (may_stop_serving())
        check_messages();
    else
        check_descriptors();
    stop_server();
}

/* Run the server once.  Returns true if it did nothing wrong; otherwise `problem` says what. */
static bool run_server(const struct fault *fault, bool count_all)
{
    problem[0] = '\0';
    lost = 0;
    unserved = doubtful = false;
    start_server(fault, count_all);
    struct peer last = talk();
    if (run.ended || (lost > 0 && wait_for_end(run.page->at_start ? 100 : 0)))
        judge_early_end();
    else
        judge_server();
    if (last.fd != -1)
        close(last.fd);
    clean_up();
    return problem[0] == '\0';
}

/* ---- All runs ---- */

/* Print words, in lines of at most 80 columns; each line after the first begins with `indent`
 * blanks. */
static void print_wrapped(const char *text, int column, int indent)
{
    while (*text != '\0') {
        int length = (int)strcspn(text, " ");
        if (column > indent && column + 1 + length > 80)
            column = printf("\n%*s", indent, "") - 1;
        column += printf("%s%.*s", column > indent ? " " : "", length, text);
        text += length;
        text += strspn(text, " ");
    }
    printf("\n");
}

/* A job: one error of one call, for n = 1, 2, 3 ... until the server makes no more such calls. */
static struct job {
    struct fault fault; /* without n */
    long calls;         /* how many the server makes without a fault */
    int reached, survived, excepted;
    const struct exception *exception;
    long first_n; /* of the first fault that was not survived */
    char problem[sizeof problem];
} * jobs; /* shared by the workers */
static int job_count;
static _Atomic int *next_job;

static void *share(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        give_up("mmap");
    return memory;
}

static long healthy_counts[CALL_COUNT];

/* Two runs without a fault: the first finds out which calls the server makes, the second what a
 * healthy server looks like. */
static void learn(void)
{
    for (int i = 0; i < 2; i++) {
        healthy_status = -1;
        run_server(NULL, i == 0);
        if (!run.ended || strncmp(problem, "the server ended on SIGTERM", 27) != 0) {
            fprintf(stderr,
                    "%s fails without any fault: %s.\n"
                    "To find out why, first run: make test\n",
                    options.name, problem[0] != '\0' ? problem : "it does not end");
            exit(2);
        }
        healthy_status = run.status;
        /* A server without a handler for SIGTERM is killed by it; ours have one. */
        if (run.status != 0 && (run.status != SIGTERM || options.message[0] != '\0')) {
            fprintf(stderr, "%s ends on SIGTERM with wait status %#x instead of 0.\n", options.name,
                    (unsigned)run.status);
            exit(2);
        }
        for (int call = 0; i == 0 && call < CALL_COUNT; call++)
            healthy_counts[call] = run.page->counts[call];
    }
}

/* The preload library has to see what the server does: accept(), which each server calls. */
static void require_preload(void)
{
    if (!preload || run.page->accepted)
        return;
    print_wrapped(
        run.page->loaded
            ? "no accept() was seen: the server, or the script that starts it, loads the "
              "preload library, but the server does not call the accept() of the C library."
            : "no call was seen: the server does not load the preload library.",
        printf("  "), 2);
    print_wrapped("The library reaches only programs that call a dynamically linked C library. It "
                  "does not reach a static program, or one that makes its own system calls, as "
                  "Go programs do. macOS does not let its own programs, such as /usr/bin/python3, "
                  "load it.",
                  printf("  "), 2);
    print_wrapped(
        "What to do: link the server dynamically (without -static), or use an interpreter "
        "that you have installed. On Linux, TORTURE=seccomp reaches every program; in a "
        "container it needs --security-opt seccomp=unconfined.",
        printf("  "), 2);
    exit(2);
}

static void add_jobs(const struct call *call, const char *list, bool permanent, long count)
{
    char word[20];
    int length;

    for (; list != NULL && sscanf(list, " %19s%n", word, &length) == 1; list += length) {
        struct fault fault = {.call = call, .permanent = permanent};
        if (error_number(word) == -1) /* this system does not have it */
            continue;
        strcpy(fault.error, word);
        jobs[job_count++] = (struct job){.fault = fault, .calls = count};
    }
}

static void make_jobs(void)
{
    jobs = share(4000 * sizeof *jobs);
    next_job = share(sizeof *next_job);
    for (int i = 0; i < CALL_COUNT; i++) {
        bool by_shim = calls[i].number == BY_SHIM;
        long count = by_shim ? 1 : healthy_counts[i];
        if (count == 0)
            continue;
        add_jobs(&calls[i], calls[i].errors, false, count);
        add_jobs(&calls[i], calls[i].permanent, true, count);
    }
}

static const struct exception *find_exception(const struct fault *fault)
{
    for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++)
        if (is_one_of(fault->call->name, exceptions[i].calls) &&
            is_one_of(fault->error, exceptions[i].errors) &&
            strstr(problem, exceptions[i].problem) != NULL &&
            (run.page->at_start || !exceptions[i].at_start))
            return &exceptions[i];
    return NULL;
}

/* One fault, for a job.  Returns false if the server did not make that call. */
static bool torture_once(struct job *job)
{
    bool survived = run_server(&job->fault, false);

    if (run.page->injected == 0)
        return false;
    if (!survived && doubtful)
        survived = run_server(&job->fault, false);
    job->reached++;
    if (survived)
        job->survived++;
    else if (find_exception(&job->fault) != NULL) {
        job->exception = find_exception(&job->fault);
        job->excepted++;
    } else if (job->first_n == 0) {
        job->first_n = job->fault.n;
        strcpy(job->problem, problem);
    }
    return true;
}

static void work(void)
{
    int i;

    end_with_parent();
    while ((i = atomic_fetch_add(next_job, 1)) < job_count) {
        struct fault *fault = &jobs[i].fault;
        long most = jobs[i].calls < SAMPLE_CALLS ? jobs[i].calls : SAMPLE_CALLS;
        fault->n = options.sample ? 1 + i % most : 1;
        while (torture_once(&jobs[i]) && !options.sample)
            fault->n += fault->permanent && fault->n > 3 ? fault->n / 2 : 1;
    }
    _exit(0);
}

static void show_progress(void)
{
    if (!isatty(STDOUT_FILENO))
        return;
    int done = *next_job < job_count ? *next_job : job_count;
    printf("\r  %d of %d errors\033[K%s", done, job_count, done == job_count ? "\r\033[K" : "");
    fflush(stdout);
}

static void run_all(void)
{
    int running = 0, status = 0;

    fflush(stdout);
    while (running < options.jobs) {
        if (fork() == 0)
            work();
        running++;
    }
    while (running > 0) {
        if (waitpid(-1, &status, WNOHANG) > 0)
            running--;
        else
            sleep_us(50000);
        if (status != 0) { /* its message is above; the other workers end with this process */
            fprintf(stderr, "torture: a worker has ended with status %#x\n", (unsigned)status);
            exit(2);
        }
        show_progress();
    }
}

/* ---- The report ---- */

static void print_scores(int *survived, int *counted, int *preloaded)
{
    int column = 0;

    for (int i = 0; i < job_count;) {
        const struct call *call = jobs[i].fault.call;
        int good = 0, all = 0;
        for (; i < job_count && jobs[i].fault.call == call; i++) {
            good += jobs[i].survived;
            all += jobs[i].reached - jobs[i].excepted;
        }
        if (all == 0)
            continue;
        *preloaded += call->number == BY_SHIM ? all : 0;
        char score[24];
        snprintf(score, sizeof score, "%d/%d", good, all);
        printf("  %-15s %8s%s", call->name, score, ++column % 3 == 0 ? "\n" : "");
        *survived += good;
        *counted += all;
    }
    if (column % 3 != 0)
        printf("\n");
}

static void print_exceptions(void)
{
    for (size_t e = 0; e < sizeof exceptions / sizeof exceptions[0]; e++) {
        const struct job *first = NULL;
        int count = 0;
        for (int i = 0; i < job_count; i++) {
            if (jobs[i].exception != &exceptions[e])
                continue;
            first = first != NULL ? first : &jobs[i];
            count += jobs[i].excepted;
        }
        if (count == 0)
            continue;
        bool many = strlen(exceptions[e].errors) > 20;
        int column = printf("  not counted: %d × %s%s%s.", count, first->fault.call->name,
                            many ? "" : " ", many ? "" : exceptions[e].errors);
        print_wrapped(exceptions[e].why, column - 1, 4);
    }
}

/* strace injects the same fault: the participant can watch what the server does.  It counts calls
 * as seccomp(2) does. */
static void print_repeat(const struct fault *fault)
{
    printf("  to repeat it:\n    %s%s FAULT='%s'\n", options.repeat,
           preload ? " TORTURE=preload" : "", fault_text(fault));
    if (!preload && fault->call->number != BY_SHIM && strcmp(fault->call->name, "brk") != 0)
        printf("  to watch it: strace -f -e inject=%s:error=%s:when=%ld%s SERVER\n",
               fault->call->name, fault->error, fault->n, fault->permanent ? "+" : "");
}

static void print_fault(const struct fault *fault)
{
    printf("%s, call number %ld%s: %s", fault->call->name, fault->n,
           fault->permanent ? " and all later ones" : "",
           strcmp(fault->error, "SHORT") == 0 ? "one byte" : fault->error);
}

static void print_failures(void)
{
    for (int i = 0; i < job_count; i++) {
        if (jobs[i].first_n == 0)
            continue;
        jobs[i].fault.n = jobs[i].first_n;
        printf("  not survived: ");
        print_fault(&jobs[i].fault);
        printf("\n    ");
        print_wrapped(jobs[i].problem, 4, 4);
        print_repeat(&jobs[i].fault);
        if (!options.show_all)
            return;
    }
}

static int report(void)
{
    int survived = 0, counted = 0, preloaded = 0;

    print_scores(&survived, &counted, &preloaded);
    if (counted == 0) {
        printf("  no fault could be injected\n");
        return 2;
    }
    printf("  survived %d of %d faults: %.*f %%\n", survived, counted, survived == counted ? 0 : 2,
           survived == counted ? 100.0 : 100.0 * survived / counted - 0.005);
    print_failures();
    print_exceptions();
    if (preload)
        print_wrapped("left out: the calls that the C library and the dynamic loader make "
                      "themselves, which the preload library does not see",
                      printf("  "), 2);
    else if (preloaded == 0)
        print_wrapped("left out: close, malloc, and short reads and writes, because the server "
                      "does not load the preload library (a static program cannot)",
                      printf("  "), 2);
    return survived == counted ? 0 : 1;
}

/* Calls that torture.h does not know were not made to fail, so the score would be incomplete. */
static bool knows_every_call(void)
{
    bool result = true;

    for (int number = 0; number < 512; number++)
        if (unknown_calls[number]) {
            printf("  torture.h has no entry for system call number %d\n", number);
            result = false;
        }
    return result;
}

static int run_one(const struct fault *fault)
{
    bool survived = run_server(fault, false);

    print_fault(fault);
    printf("\n");
    if (run.page->injected == 0)
        printf("  The server does not make that many calls.\n");
    else
        printf("  %s%s%s\n", survived ? "survived" : "not survived: ", problem,
               lost == 1 && survived ? "; one client was closed" : "");
    return run.page->injected == 0 ? 2 : !survived;
}

static const char *only; /* option -f */

static void parse_option(int letter)
{
    switch (letter) {
    case 'a':
        options.show_all = true;
        break;
    case 'f':
        only = optarg;
        break;
    case 'j':
        options.jobs = atoi(optarg);
        break;
    case 'n':
        options.name = optarg;
        break;
    case 'm':
        options.message = optarg;
        break;
    case 'r':
        options.repeat = optarg;
        break;
    case 's':
        options.sample = true;
        break;
    case '1':
        options.one_at_a_time = true;
        break;
    case 'S':
        options.shim = optarg;
        break;
    case 'i':
        options.injector = optarg;
        break;
    default:
        exit(2);
    }
}

static void choose_injector(void)
{
    bool works = seccomp_works();

    preload = strcmp(options.injector, "preload") == 0 ||
              (!works && strcmp(options.injector, "seccomp") != 0);
    if (!preload && !works)
        give_up("seccomp(2) cannot be used here, but TORTURE=preload can");
    if (!preload || options.injector[0] != '\0')
        return;
    if (errno == ENOSYS)
        printf("  The preload library injects the faults, because there is no seccomp(2).\n");
    else
        printf("  The preload library injects the faults, because seccomp(2) fails:\n  %s.\n",
               strerror(errno));
}

int main(int argc, char **argv)
{
    struct fault fault = {0};
    int letter;

    while ((letter = getopt(argc, argv, "+ai:f:j:n:m:r:s1S:")) != -1)
        parse_option(letter);
    options.command = argv + optind;
    if (options.command[0] == NULL || options.shim == NULL)
        return 2;
    signal(SIGPIPE, SIG_IGN); /* macOS may not have MSG_NOSIGNAL */
    if (options.jobs == 0)
        options.jobs = 8 * (int)sysconf(_SC_NPROCESSORS_ONLN);
    for (int fd = 3; fd < 256; fd++) /* what this program inherited, the server must not inherit */
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (only != NULL && !parse_fault(only, &fault)) {
        fprintf(stderr,
                "FAULT='%s': expected CALL:NUMBER:ERROR, such as recvfrom:3:ENOMEM.\n"
                "The calls and errors are in tests/programs/torture.h.\n",
                only);
        return 2;
    }
    printf("%s\n", options.name);
    choose_injector();
    learn();
    require_preload();
    if (only != NULL)
        return run_one(&fault);
    bool complete = knows_every_call();
    make_jobs();
    run_all();
    int result = report();
    return result == 0 && !complete ? 1 : result;
}
