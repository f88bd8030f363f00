/* cost [N] [-- COMMAND...]: what one idle connection costs, in bytes, and where they are.
 *
 * It starts a server, holds N connections to it, and looks at the memory before and after.  Both
 * ends of every connection are on this machine, so the kernel holds two of many things.  What is
 * the clients' is found by holding as many connections to a listener that never accepts: there the
 * other end is a TCP socket and nothing more.
 * A process of its own holds the clients, so that they are in no figure of the server. */
#define _DEFAULT_SOURCE /* SO_MEMINFO is not in POSIX.1-2008 */

#include <stdio.h>

#ifndef __linux__
int main(void)
{
    puts("cost: it reads Linux's /proc, and this system has none.");
    return 0;
}
#else

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 20000          /* connections: from one address there are about 28,000 ports */
#define WARM_UP 64L         /* before we look: what is allocated once is no connection's cost */
#define ANSWER_SECONDS 5    /* for one echo, and for a server to listen */
#define ALL_SECONDS 120     /* for everything */
#define MORE_DESCRIPTORS 64 /* than connections, for the server and for us */
#define NAME 32             /* of a kind of slab */
#define FEW 500             /* connections: a page of objects for one kind is a part of each */
#define KINDS 512
#define SIZES 512

static const char message[64] = "sixty-four bytes, of which most are zero";

/* ---- our children: whatever happens, they are gone after us ---- */

static pid_t server, holder;

static void end_child(pid_t *child)
{
    pid_t pid = *child;

    *child = 0;
    if (pid <= 0)
        return;
    kill(-pid, SIGKILL); /* its group: a command may have started others */
    while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
        ;
}

static void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void fail(const char *format, ...)
{
    va_list values;

    va_start(values, format);
    fputs("cost: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    end_child(&holder);
    end_child(&server);
    exit(1);
}

/* SIGINT, SIGTERM, or the time is up.  All that is called here may be called in a handler. */
static void leave(int signal_number)
{
    static const char late[] = "cost: this took too long\n";

    if (signal_number == SIGALRM) {
        ssize_t written = write(STDERR_FILENO, late, sizeof late - 1);
        (void)written;
    }
    end_child(&holder);
    end_child(&server);
    _exit(signal_number == SIGALRM ? 1 : 128 + signal_number);
}

static void catch_signals(void)
{
    static const int all[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM};
    struct sigaction action = {.sa_handler = leave};

    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sigaction(all[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    alarm(ALL_SECONDS);
}

/* Like fork(); the child has a group of its own, and ends with us even if we are killed, prctl(2).
 * No signal comes between fork() and the note of what it returned: that child would stay. */
static bool in_child(pid_t *child)
{
    sigset_t all, before;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid_t parent = getpid();
    *child = fork();
    int error = errno;
    bool inside = *child == 0;
    if (inside) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        server = holder = 0; /* these are not its to end */
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
        signal(SIGPIPE, SIG_DFL);
    } else if (*child > 0) {
        setpgid(*child, *child); /* here too: it may not have come so far */
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (*child == -1)
        fail("fork: %s", strerror(error));
    return inside;
}

/* ---- the clients, in a process of their own ---- */

struct order {
    enum { OPEN, OPEN_AND_ECHO, SEND } what;
    long count;
    in_port_t port; /* in network order */
};
struct report {
    long count; /* of the connections for which it was done */
    int error;  /* why it was done for no more */
    unsigned long long buffers;
};

static int connect_to(in_port_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* One message and its echo: after it the server has accepted us, and has all that we cost it. */
static bool echo(int fd)
{
    char answer[sizeof message];

    errno = ECONNRESET; /* what an end without an answer comes to */
    return send(fd, message, sizeof message, 0) == (ssize_t)sizeof message &&
           recv(fd, answer, sizeof answer, MSG_WAITALL) == (ssize_t)sizeof answer;
}

/* What the kernel charges this socket for bytes that came in and bytes that go out.  The numbers
 * and their order are those of <linux/sock_diag.h>, socket(7). */
static unsigned long long buffers(int fd)
{
    enum { CAME_IN = 0, GOES_OUT = 5, NUMBERS = 9 };
    uint32_t numbers[NUMBERS] = {0};
    socklen_t size = sizeof numbers;

    getsockopt(fd, SOL_SOCKET, SO_MEMINFO, numbers, &size);
    return numbers[CAME_IN] + numbers[GOES_OUT];
}

/* A message is sent, and its echo is left where it is: in our socket's buffer. */
static bool let_wait(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};

    errno = ETIMEDOUT;
    return send(fd, message, sizeof message, 0) == (ssize_t)sizeof message &&
           poll(&entry, 1, ANSWER_SECONDS * 1000) == 1;
}

static bool obey(const struct order *order, int *fd)
{
    if (order->what == SEND)
        return let_wait(*fd);
    *fd = connect_to(order->port);
    return *fd != -1 && (order->what == OPEN || echo(*fd));
}

/* The holder's whole life: an order, a report, until nobody orders any more.  An order is about
 * the connections that were opened last; fds[] has room for all that are ordered. */
static void hold(int orders, int *fds)
{
    struct order order;
    struct report report;
    long begin = 0, end = 0; /* those that were opened last */

    while (recv(orders, &order, sizeof order, 0) == (ssize_t)sizeof order) {
        report = (struct report){0};
        if (order.what == OPEN || order.what == OPEN_AND_ECHO)
            begin = end;
        while (report.count < order.count && obey(&order, &fds[begin + report.count]))
            report.count++;
        if (report.count < order.count)
            report.error = errno;
        end = begin + report.count;
        for (long i = begin; i < end; i++)
            report.buffers += buffers(fds[i]);
        if (send(orders, &report, sizeof report, 0) == -1)
            break;
    }
    free(fds);
    exit(0);
}

static int line_to_holder;

static void start_holder(long most)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == -1)
        fail("socketpair: %s", strerror(errno));
    if (in_child(&holder)) {
        int *fds = calloc((size_t)most, sizeof *fds);
        close(ends[0]);
        if (fds != NULL)
            hold(ends[1], fds);
        exit(1);
    }
    close(ends[1]);
    line_to_holder = ends[0];
}

/* Have it done for `count` connections; the bytes of their buffers, for each. */
static unsigned long long have_done(struct order order)
{
    struct report report;

    if (send(line_to_holder, &order, sizeof order, 0) == -1 ||
        recv(line_to_holder, &report, sizeof report, 0) != (ssize_t)sizeof report)
        fail("the process that holds the clients has ended");
    if (report.count < order.count && order.what == SEND)
        fail("%ld of %ld messages came back: %s", report.count, order.count,
             strerror(report.error));
    if (report.count < order.count && report.error == EAGAIN)
        fail("the server answered %ld of %ld clients; try cost %ld", report.count, order.count,
             report.count > 0 ? report.count : 1);
    if (report.count < order.count)
        fail("connection %ld of %ld: %s", report.count + 1, order.count, strerror(report.error));
    return order.count > 0 ? report.buffers / (unsigned long long)order.count : 0;
}

/* ---- looking ---- */

struct kind { /* of slab: objects of one size that the kernel allocates for one purpose */
    char name[NAME];
    long count, size;
};
struct stacks { /* anonymous mappings of one size: a stack each, if there are many */
    long size, count, touched;
};
struct look {
    long user, page_tables, threads; /* the server's; bytes, but for the threads */
    long kernel_stacks, slab;        /* the whole machine's */
    struct kind kinds[KINDS];        /* none unless root */
    struct stacks stacks[SIZES];
    int kind_count, stacks_count;
};

/* The number after `name` in a file of lines such as "VmPTE:   48 kB"; 0: there is none. */
static long number_in(const char *path, const char *name)
{
    FILE *file = fopen(path, "re");
    char line[200];
    long found = 0;

    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            found = strtol(line + strlen(name), NULL, 10);
    fclose(file);
    return found;
}

static void add_mapping(struct look *look, long size, long touched)
{
    int i = 0;

    while (i < look->stacks_count && look->stacks[i].size != size)
        i++;
    if (i == SIZES)
        return;
    if (i == look->stacks_count)
        look->stacks[look->stacks_count++] = (struct stacks){.size = size};
    look->stacks[i].count++;
    look->stacks[i].touched += touched;
}

/* /proc/PID/smaps, proc(5): a line for each mapping, and then lines such as "Anonymous:  4 kB".
 * Stacks are writable and private, and no file is behind them: the sixth word is missing. */
static void look_at_mappings(struct look *look)
{
    char path[PATH_MAX], line[PATH_MAX];
    unsigned long begin, end;
    char may[5];
    long size = 0;

    snprintf(path, sizeof path, "/proc/%ld/smaps", (long)server);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL) {
        int words = 0;
        if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &begin, &end, may, &words) == 3) {
            bool plain = words > 0 && line[words] == '\0' && strcmp(may, "rw-p") == 0;
            size = plain ? (long)(end - begin) : 0;
        } else if (size > 0 && strncmp(line, "Anonymous:", 10) == 0) {
            add_mapping(look, size, strtol(line + 10, NULL, 10) * 1024);
        }
    }
    fclose(file);
}

static void look_at_slab(struct look *look)
{
    FILE *file = fopen("/proc/slabinfo", "re");
    char line[400];

    if (file == NULL)
        return;
    while (look->kind_count < KINDS && fgets(line, sizeof line, file) != NULL) {
        struct kind *kind = &look->kinds[look->kind_count];
        look->kind_count +=
            sscanf(line, "%31s %ld %*d %ld", kind->name, &kind->count, &kind->size) == 3;
    }
    fclose(file);
}

static void look_at(struct look *look)
{
    char path[PATH_MAX];

    *look = (struct look){0};
    look_at_slab(look); /* first: what we do next allocates too */
    snprintf(path, sizeof path, "/proc/%ld/status", (long)server);
    look->user = number_in(path, "RssAnon:") * 1024;
    look->page_tables = number_in(path, "VmPTE:") * 1024;
    look->threads = number_in(path, "Threads:");
    look->kernel_stacks = number_in("/proc/meminfo", "KernelStack:") * 1024;
    look->slab = number_in("/proc/meminfo", "Slab:") * 1024;
    look_at_mappings(look);
}

/* How many sockets the server has: /proc/PID/fd has a link such as "socket:[4711]" for each. */
static long sockets(void)
{
    static const char kind[] = "socket:";
    char path[PATH_MAX], target[sizeof kind - 1];
    long count = 0;

    snprintf(path, sizeof path, "/proc/%ld/fd", (long)server);
    DIR *folder = opendir(path);
    if (folder == NULL)
        fail("%s: %s", path, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        count += readlinkat(dirfd(folder), entry->d_name, target, sizeof target) ==
                     (ssize_t)sizeof target &&
                 memcmp(target, kind, sizeof target) == 0;
    closedir(folder);
    return count;
}

/* ---- starting ---- */

/* A socket with a port of its own, which the kernel chooses. */
static int socket_with_port(in_port_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd == -1 || bind(fd, (struct sockaddr *)&address, size) == -1 ||
        getsockname(fd, (struct sockaddr *)&address, &size) == -1)
        fail("no free port: %s", strerror(errno));
    *port = address.sin_port;
    return fd;
}

/* `word`, with the port in place of {port}. */
static char *with_port(char *word, in_port_t port)
{
    static const char mark[] = "{port}";
    const char *place = strstr(word, mark);
    size_t size = strlen(word) + sizeof "65535";

    if (place == NULL)
        return word;
    char *text = malloc(size);
    if (text == NULL)
        fail("no memory");
    snprintf(text, size, "%.*s%u%s", (int)(place - word), word, (unsigned)ntohs(port),
             place + strlen(mark));
    return text;
}

static void start_server(char **command, in_port_t *port)
{
    close(socket_with_port(port)); /* free now, and as a rule still when the server asks for it */
    if (in_child(&server)) {
        for (char **word = command; *word != NULL; word++)
            *word = with_port(*word, *port);
        if (freopen("/dev/null", "w", stdout) == NULL)
            _exit(127);
        execvp(command[0], command);
        fprintf(stderr, "cost: %s: %s\n", command[0], strerror(errno));
        _exit(127);
    }
    for (int tries = 0; tries < ANSWER_SECONDS * 100; tries++) {
        int fd = connect_to(*port);
        if (fd != -1) {
            close(fd);
            return;
        }
        poll(NULL, 0, 10);
        siginfo_t ended = {0}; /* WNOWAIT: what it has left in its group is still ours to end */
        if (waitid(P_PID, (id_t)server, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            ended.si_pid == server)
            fail("%s has ended, and does not listen", command[0]);
    }
    fail("%s does not listen on port %u of 127.0.0.1", command[0], (unsigned)ntohs(*port));
}

/* As many descriptors as the connections need, in the server too, for it inherits the limit. */
static void need_descriptors(long count)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
        fail("getrlimit: %s", strerror(errno));
    if (limit.rlim_max < (rlim_t)count)
        fail("this needs %ld descriptors, and there may be %llu; try a smaller number, or ulimit "
             "-Hn",
             count, (unsigned long long)limit.rlim_max);
    if (limit.rlim_cur < (rlim_t)count) {
        limit.rlim_cur = (rlim_t)count;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* ---- telling ---- */

static double together; /* of all rows so far */

static void row(const char *what, double bytes, const char *where)
{
    printf("  %-44s %8.0f%s%s\n", what, bytes, where[0] != '\0' ? "   " : "", where);
    together += bytes;
}

static const struct kind *same_kind(const struct look *look, const char *name)
{
    for (int i = 0; i < look->kind_count; i++)
        if (strcmp(look->kinds[i].name, name) == 0)
            return &look->kinds[i];
    return NULL;
}

/* How many objects of this kind came for each of `count` connections. */
static double came(const struct look *before, const struct look *after, const char *name,
                   long count)
{
    const struct kind *first = same_kind(before, name), *last = same_kind(after, name);

    return first != NULL && last != NULL ? (double)(last->count - first->count) / (double)count : 0;
}

struct looks {
    struct look start, bare,
        open; /* before; with clients of the bare listener; of the server too */
    long bare_count, count;
    unsigned long long idle, waiting; /* bytes in the buffers of a socket */
};

/* Others look at /proc; and what a connection needs while it opens or after its end is no cost of
 * one that is there. */
static bool is_not_a_connection(const char *kind)
{
    return strcmp(kind, "proc_inode_cache") == 0 || strncmp(kind, "tw_sock_", 8) == 0 ||
           strncmp(kind, "request_sock_", 13) == 0;
}

/* What the kernel keeps in the more usual kinds. */
static const char *meaning(const char *kind)
{
    static const char *const words[][2] = {{"TCP", "the socket"},
                                           {"sock_inode_cache", "its inode"},
                                           {"filp", "an open file"},
                                           {"dentry", "its name"},
                                           {"eventpoll_epi", "epoll's entry"},
                                           {"eventpoll_pwq", "in the wait queue"},
                                           {"ep_head", "who watches it"},
                                           {"task_struct", "a thread"},
                                           {"vm_area_struct", "a mapping"},
                                           {"anon_vma", "its pages"},
                                           {"anon_vma_chain", "its pages"},
                                           {"maple_node", "of the map's tree"}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i][0], kind) == 0)
            return words[i][1];
    return "";
}

/* What the server's end of a connection has in the kernel.  The TCP socket itself is there for a
 * client of the bare listener too, at both ends: so it is half of what came.  Of everything else
 * the server's share is what did not come with the bare listener. */
static void tell_slab(const struct looks *looks)
{
    const char *source = "/proc/slabinfo";

    for (int i = 0; i < looks->open.kind_count; i++) {
        const struct kind *kind = &looks->open.kinds[i];
        char what[NAME + 60];
        bool tcp = strcmp(kind->name, "TCP") == 0;
        double objects = came(&looks->bare, &looks->open, kind->name, looks->count);
        objects -=
            tcp ? objects / 2 : came(&looks->start, &looks->bare, kind->name, looks->bare_count);
        if (objects < 0.5 || is_not_a_connection(kind->name))
            continue;
        snprintf(what, sizeof what, "  %-16.16s  %-17s %5ld", kind->name, meaning(kind->name),
                 kind->size);
        row(what, objects * (double)kind->size, source);
        source = "";
    }
}

/* The mappings of which the most have come, if it was about one for each connection. */
static struct stacks new_stacks(const struct looks *looks)
{
    struct stacks most = {0};

    for (int i = 0; i < looks->open.stacks_count; i++) {
        struct stacks now = looks->open.stacks[i];
        for (int j = 0; j < looks->bare.stacks_count; j++)
            if (looks->bare.stacks[j].size == now.size) {
                now.count -= looks->bare.stacks[j].count;
                now.touched -= looks->bare.stacks[j].touched;
            }
        if (now.count > most.count)
            most = now;
    }
    return most.count * 2 > looks->count ? most : (struct stacks){0};
}

static void tell_user(const struct looks *looks, const struct stacks *stacks)
{
    double count = (double)looks->count;
    long user = looks->open.user - looks->bare.user;
    long tables = looks->open.page_tables - looks->bare.page_tables;
    char what[80];

    puts("The server's memory");
    if (stacks->count > 0) {
        snprintf(what, sizeof what, "  a stack, of %ld KiB of addresses", stacks->size / 1024);
        row(what, (double)stacks->touched / count, "/proc/PID/smaps");
    }
    row(stacks->count > 0 ? "  all else" : "  heap and tables",
        (double)(user - stacks->touched) / count, "/proc/PID/status");
    if (tables > 0)
        row("  page tables", (double)tables / count, "");
}

/* The counts are the whole machine's.  Each connection has two TCP sockets: if another number came,
 * then somebody else was at work too, and every row of slab may be wrong. */
static bool others_were_busy(const struct looks *looks)
{
    double ours = came(&looks->bare, &looks->open, "TCP", looks->count);
    double bare = came(&looks->start, &looks->bare, "TCP", looks->bare_count);

    return ours < 1.8 || ours > 2.2 || bare < 1.8 || bare > 2.2;
}

/* One for each client? */
static bool has_threads(const struct looks *looks)
{
    return (looks->open.threads - looks->bare.threads) * 2 > looks->count;
}

static void tell_kernel(const struct looks *looks)
{
    long stacks = looks->open.kernel_stacks - looks->bare.kernel_stacks;

    printf("%-42s%s\n", "The kernel's memory, for the server's end",
           looks->open.kind_count > 0 ? "one" : "");
    if (has_threads(looks))
        row("  a stack of the thread's in the kernel", (double)stacks / (double)looks->count,
            "/proc/meminfo");
    if (looks->open.kind_count > 0) {
        tell_slab(looks);
        if (looks->count < FEW)
            puts("    The kernel counts whole pages of objects: with so few, these are rough.");
        if (others_were_busy(looks))
            puts("    Other programs opened or closed sockets meanwhile: not to be trusted.");
        return;
    }
    puts("    its kinds are not seen: only root may read /proc/slabinfo");
    printf("  %-44s %8.0f   %s\n", "  for both ends, all kinds together",
           (double)(looks->open.slab - looks->bare.slab) / (double)looks->count, "/proc/meminfo");
}

static void tell_moral(const struct looks *looks, const struct stacks *stacks)
{
    double count = (double)looks->count, stack = (double)stacks->touched / count;
    double kernel_stack = (double)(looks->open.kernel_stacks - looks->bare.kernel_stacks) / count;

    if (has_threads(looks))
        printf("A client has a thread, so two stacks: %.0f bytes here, %.0f in the kernel.\n",
               stack, kernel_stack);
    else if (stacks->count > 0)
        printf("Each client has a coroutine with a stack, and that has touched %.0f bytes of it.\n",
               stack);
    else if ((double)(looks->open.user - looks->bare.user) / count < 1024)
        puts("To this program a client is almost nothing: what it costs, it costs the kernel.");
    else
        puts("This program keeps memory of its own for a client that says nothing.");
}

static void tell(const struct looks *looks, const char *name)
{
    struct stacks stacks = new_stacks(looks);

    printf("%ld connections to %s, idle after one echo.  For each:\n\n", looks->count, name);
    printf("  %-44s %8s   %s\n", "", "bytes", "seen in");
    tell_user(looks, &stacks);
    tell_kernel(looks);
    const char *all = "together";
    if (looks->open.kind_count == 0)
        all = has_threads(looks) ? "together, what is seen" : "together, without the kernel's";
    printf("  %-44s %8.0f\n\n", all, together);
    puts("A socket's buffers come on top, when there is something in them");
    printf("  %-44s %8llu   %s\n", "  nothing waits", looks->idle, "SO_MEMINFO");
    printf("  %-44s %8llu\n\n", "  a message of 64 bytes waits", looks->waiting);
    tell_moral(looks, &stacks);
}

/* ---- all of it ---- */

static void usage(FILE *stream)
{
    fputs("usage: cost [N] [-- COMMAND...]\n"
          "  opens N connections to a server (1000) and tells what each costs, in bytes\n"
          "  COMMAND  a server; {port} in it becomes the port.  Without it: the server here\n"
          "           cost 1000 -- ../04-epoll/server -p {port}\n",
          stream);
}

static void bad_usage(const char *what)
{
    fprintf(stderr, "cost: %s\n", what);
    usage(stderr);
    exit(2);
}

static long read_number(const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);

    if (*end != '\0' || end == text || number < 1 || number > MOST)
        bad_usage("N is a number from 1 to 20000");
    return number;
}

/* As many as a listener keeps waiting: the kernel takes no more for one that never accepts. */
static long bare_most(long count)
{
    long most = number_in("/proc/sys/net/core/somaxconn", "");

    return most > 0 && most < count ? most : count;
}

/* We look at the process that we have started, and a shell or a master with workers would cost next
 * to nothing.  Who serves has a socket for each client, and one that listens. */
static void need_clients(long count, const char *name)
{
    if (sockets() <= count)
        fail(
            "%s does not hold the clients, another process does; if it is a shell, put exec before "
            "the server",
            name);
}

static void measure(struct looks *looks, char **command)
{
    long warm_up = looks->count < WARM_UP ? looks->count : WARM_UP;
    in_port_t port, bare_port;
    int bare = socket_with_port(&bare_port);

    if (listen(bare, SOMAXCONN) == -1)
        fail("listen: %s", strerror(errno));
    looks->bare_count = bare_most(looks->count);
    long all = looks->count + looks->bare_count + 2 * WARM_UP;
    need_descriptors(all + MORE_DESCRIPTORS);
    start_holder(all);
    start_server(command, &port);
    have_done((struct order){OPEN_AND_ECHO, warm_up, port});
    need_clients(warm_up, command[0]);
    look_at(&looks->start); /* twice: the first look allocates as well */
    look_at(&looks->start);
    have_done((struct order){OPEN, looks->bare_count, bare_port});
    look_at(&looks->bare);
    looks->idle = have_done((struct order){OPEN_AND_ECHO, looks->count, port});
    look_at(&looks->open);
    looks->waiting = have_done((struct order){SEND, looks->count, port});
    close(bare);
    end_child(&holder);
    end_child(&server);
}

/* The last two parts of a path: 04-epoll/server. */
static const char *short_name(const char *path)
{
    const char *name = path + strlen(path);

    for (int slashes = 0; name > path; name--)
        if (name[-1] == '/' && ++slashes == 2)
            break;
    return name;
}

/* The server beside us.  Where we are is asked of the kernel, proc(5): argv[0] is only "cost" when
 * the shell found us in PATH, and ./server would then be whatever lies in the current folder. */
static char *own_server(void)
{
    static const char self[] = "/proc/self/exe";
    static char path[PATH_MAX + sizeof "server"];
    ssize_t length = readlink(self, path, PATH_MAX - 1);

    if (length == -1)
        fail("%s: %s", self, strerror(errno));
    path[length] = '\0';
    memcpy(strrchr(path, '/') + 1, "server", sizeof "server");
    return path;
}

int main(int argc, char **argv)
{
    static struct looks looks = {.count = 1000};
    static char option[] = "-p", port[] = "{port}";
    char *own[] = {NULL, option, port, NULL}, **command = own;
    int next = 1;

    if (argc == 2 && strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return 0;
    }
    if (next < argc && strcmp(argv[next], "--") != 0)
        looks.count = read_number(argv[next++]);
    if (next < argc) {
        command = &argv[next + 1];
        if (strcmp(argv[next], "--") != 0 || *command == NULL)
            bad_usage("after N comes --, and then a server's command");
        bool has_port = false;
        for (char **word = command; *word != NULL; word++)
            has_port = has_port || strstr(*word, "{port}") != NULL;
        if (!has_port)
            bad_usage("say in the command where the port goes: {port}");
    } else {
        own[0] = own_server();
    }
    catch_signals();
    measure(&looks, command);
    tell(&looks, short_name(command[0]));
    errno = 0;
    if (fflush(stdout) != 0 && errno != EPIPE)
        fail("standard output: %s", strerror(errno));
    return 0;
}
#endif
