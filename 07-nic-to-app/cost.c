/* cost [N] [-- COMMAND...]: report how many bytes one idle connection to a server costs, and where.
 *
 * It starts a server, opens N connections to it, and compares memory use before and after.  Both
 * ends of each connection are on this machine, so the kernel's figures contain the clients' ends
 * too.  To separate the two, cost also opens connections to a listener that never accepts: there,
 * the server's end is only a TCP socket, and a request that accept() would free.  A separate
 * process holds the clients, so that they are not part of the server's figures. */
#define _DEFAULT_SOURCE /* SO_MEMINFO is not in POSIX.1-2008 */

#include <stdio.h>

#ifndef __linux__
int main(void)
{
    puts("cost needs Linux: it reads /proc.");
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

#define MAX_CONNECTIONS 20000 /* one address has about 28,000 ports for clients */
#define WARM_UP 64L           /* connections before the first snapshot, for one-time allocations */
#define REPLY_TIMEOUT_S 5     /* for one echo, and for the server to listen */
#define TOTAL_TIMEOUT_S 120   /* for the whole run */
#define EXTRA_DESCRIPTORS 64  /* in addition to the connections, in each process */
#define CACHE_NAME_SIZE 32    /* bytes of a slab cache's name */
#define MAX_SLAB_CACHES 512
#define MAX_SIZES 512 /* different sizes of mappings */

/* With fewer connections, partly filled pages of objects distort the figures too much. */
#define RELIABLE_COUNT 500

static const char message[64] = "sixty-four bytes, most of them zero";

/* ---- child processes, which always end before this one or with it ---- */

static pid_t server, holder;

static void kill_child(pid_t *child)
{
    pid_t pid = *child;

    *child = 0;
    if (pid <= 0)
        return;
    kill(-pid, SIGKILL); /* the process group, because a command may have started more processes */
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
    kill_child(&holder);
    kill_child(&server);
    exit(1);
}

/* Handle a signal that ends the program, or SIGALRM when the time is up.  All functions called here
 * are async-signal-safe. */
static void on_signal(int signal_number)
{
    static const char late[] = "cost: the measurement took too long\n";

    if (signal_number == SIGALRM) {
        ssize_t written = write(STDERR_FILENO, late, sizeof late - 1);
        (void)written;
    }
    kill_child(&holder);
    kill_child(&server);
    _exit(signal_number == SIGALRM ? 1 : 128 + signal_number);
}

static void catch_signals(void)
{
    static const int all[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM};
    struct sigaction action = {.sa_handler = on_signal};

    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sigaction(all[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    alarm(TOTAL_TIMEOUT_S);
}

/* Call fork() and store the result in *child.  Returns true in the child.  The child has its own
 * process group and is killed when this process ends, even by SIGKILL, prctl(2).  Signals are
 * blocked meanwhile: a handler that runs before *child is set would leave the child behind. */
static bool fork_child(pid_t *child)
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
        server = holder = 0; /* the child must not kill these */
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
        signal(SIGPIPE, SIG_DFL);
    } else if (*child > 0) {
        setpgid(*child, *child); /* also here, because the child may not have done it yet */
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (*child == -1)
        fail("fork: %s", strerror(error));
    return inside;
}

/* ---- the clients, in a separate process called the holder ---- */

struct request {
    enum { OPEN, OPEN_AND_ECHO, SEND } what;
    long count;
    in_port_t port; /* in network byte order */
};
struct reply {
    long count;                      /* the connections that succeeded */
    int error;                       /* why the next one failed */
    unsigned long long buffer_bytes; /* of all these connections */
};

static int connect_to(in_port_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval timeout = {.tv_sec = REPLY_TIMEOUT_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* Exchange one message.  Afterwards the server has accepted the connection and allocated all that
 * it needs for it. */
static bool echo(int fd)
{
    char answer[sizeof message];

    errno = ECONNRESET; /* for recv() that returns 0, which sets no errno */
    return send(fd, message, sizeof message, 0) == (ssize_t)sizeof message &&
           recv(fd, answer, sizeof answer, MSG_WAITALL) == (ssize_t)sizeof answer;
}

/* The bytes that the kernel charges to this socket for its receive and send queues.  The indices
 * are those of SK_MEMINFO_RMEM_ALLOC and SK_MEMINFO_WMEM_QUEUED in <linux/sock_diag.h>. */
static unsigned long long buffer_bytes(int fd)
{
    enum { RECEIVE_QUEUE = 0, SEND_QUEUE = 5, VALUE_COUNT = 9 };
    uint32_t values[VALUE_COUNT] = {0};
    socklen_t size = sizeof values;

    getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values, &size);
    return values[RECEIVE_QUEUE] + values[SEND_QUEUE];
}

/* Send a message and leave its echo in the socket's receive buffer. */
static bool send_only(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};

    errno = ETIMEDOUT;
    return send(fd, message, sizeof message, 0) == (ssize_t)sizeof message &&
           poll(&entry, 1, REPLY_TIMEOUT_S * 1000) == 1;
}

static bool perform(const struct request *request, int *fd)
{
    if (request->what == SEND)
        return send_only(*fd);
    *fd = connect_to(request->port);
    return *fd != -1 && (request->what == OPEN || echo(*fd));
}

/* The holder's main loop: carry out requests and reply, until the parent closes the socket.  SEND
 * is for the connections that were opened last.  fds[] has room for all connections. */
static void serve_requests(int parent, int *fds)
{
    struct request request;
    struct reply reply;
    long begin = 0, end = 0; /* the range of connections opened last */

    while (recv(parent, &request, sizeof request, 0) == (ssize_t)sizeof request) {
        reply = (struct reply){0};
        if (request.what == OPEN || request.what == OPEN_AND_ECHO)
            begin = end;
        while (reply.count < request.count && perform(&request, &fds[begin + reply.count]))
            reply.count++;
        if (reply.count < request.count)
            reply.error = errno;
        end = begin + reply.count;
        for (long i = begin; i < end; i++)
            reply.buffer_bytes += buffer_bytes(fds[i]);
        if (send(parent, &reply, sizeof reply, 0) == -1)
            break;
    }
    free(fds);
    exit(0);
}

static int holder_socket;

static void start_holder(long count)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == -1)
        fail("socketpair: %s", strerror(errno));
    if (fork_child(&holder)) {
        int *fds = calloc((size_t)count, sizeof *fds);
        close(ends[0]);
        if (fds != NULL)
            serve_requests(ends[1], fds);
        exit(1);
    }
    close(ends[1]);
    holder_socket = ends[0];
}

/* Send the holder a request and wait for its reply.  Returns the bytes in the buffers of one
 * socket, on average.  Ends the program if the request did not succeed for all connections. */
static unsigned long long request_clients(struct request request)
{
    struct reply reply;

    if (send(holder_socket, &request, sizeof request, 0) == -1 ||
        recv(holder_socket, &reply, sizeof reply, 0) != (ssize_t)sizeof reply)
        fail("the process that holds the clients has ended");
    if (reply.count < request.count && request.what == SEND)
        fail("%ld of %ld messages were echoed: %s", reply.count, request.count,
             strerror(reply.error));
    if (reply.count < request.count && reply.error == EAGAIN)
        fail("the server answered %ld of %ld clients; try cost %ld", reply.count, request.count,
             reply.count > 0 ? reply.count : 1);
    if (reply.count < request.count)
        fail("connection %ld of %ld: %s", reply.count + 1, request.count, strerror(reply.error));
    return request.count > 0 ? reply.buffer_bytes / (unsigned long long)request.count : 0;
}

/* ---- snapshots of memory use ---- */

struct slab_cache { /* objects of one size that the kernel allocates for one purpose */
    char name[CACHE_NAME_SIZE];
    long count, size;
};
struct stacks { /* anonymous mappings of one size: if there are many, these are stacks */
    long size, count, touched;
};
struct snapshot {
    long user, page_tables; /* bytes, of the server */
    long threads;
    long kernel_stacks, slab;                  /* bytes, of the whole machine */
    struct slab_cache caches[MAX_SLAB_CACHES]; /* empty unless root */
    struct stacks stacks[MAX_SIZES];
    int cache_count, stacks_count;
};

/* Find the number after `name` in a file with lines such as "VmPTE:   48 kB".  Returns 0 if there
 * is none. */
static long read_number_after(const char *path, const char *name)
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

static void add_mapping(struct snapshot *snapshot, long size, long touched)
{
    int i = 0;

    while (i < snapshot->stacks_count && snapshot->stacks[i].size != size)
        i++;
    if (i == MAX_SIZES)
        return;
    if (i == snapshot->stacks_count)
        snapshot->stacks[snapshot->stacks_count++] = (struct stacks){.size = size};
    snapshot->stacks[i].count++;
    snapshot->stacks[i].touched += touched;
}

/* /proc/PID/smaps has a line for each mapping, followed by lines such as "Anonymous:  4 kB",
 * proc(5).  Stacks are the writable private mappings without a file; their line has five words. */
static void read_mappings(struct snapshot *snapshot)
{
    char path[PATH_MAX], line[PATH_MAX];
    unsigned long begin, end;
    char access_mode[5];
    long size = 0;

    snprintf(path, sizeof path, "/proc/%ld/smaps", (long)server);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL) {
        int words = 0;
        if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &begin, &end, access_mode, &words) == 3) {
            bool anonymous = words > 0 && line[words] == '\0' && strcmp(access_mode, "rw-p") == 0;
            size = anonymous ? (long)(end - begin) : 0;
        } else if (size > 0 && strncmp(line, "Anonymous:", 10) == 0) {
            add_mapping(snapshot, size, strtol(line + 10, NULL, 10) * 1024);
        }
    }
    fclose(file);
}

static void read_slab(struct snapshot *snapshot)
{
    FILE *file = fopen("/proc/slabinfo", "re");
    char line[400];

    if (file == NULL)
        return;
    while (snapshot->cache_count < MAX_SLAB_CACHES && fgets(line, sizeof line, file) != NULL) {
        struct slab_cache *cache = &snapshot->caches[snapshot->cache_count];
        snapshot->cache_count +=
            sscanf(line, "%31s %ld %*d %ld", cache->name, &cache->count, &cache->size) == 3;
    }
    fclose(file);
}

static void take_snapshot(struct snapshot *snapshot)
{
    char path[PATH_MAX];

    *snapshot = (struct snapshot){0};
    read_slab(snapshot); /* first, because the following calls allocate slab objects too */
    snprintf(path, sizeof path, "/proc/%ld/status", (long)server);
    snapshot->user = read_number_after(path, "RssAnon:") * 1024;
    snapshot->page_tables = read_number_after(path, "VmPTE:") * 1024;
    snapshot->threads = read_number_after(path, "Threads:");
    snapshot->kernel_stacks = read_number_after("/proc/meminfo", "KernelStack:") * 1024;
    snapshot->slab = read_number_after("/proc/meminfo", "Slab:") * 1024;
    read_mappings(snapshot);
}

/* Count the server's sockets: /proc/PID/fd has a link such as "socket:[4711]" for each. */
static long count_sockets(void)
{
    static const char prefix[] = "socket:";
    char path[PATH_MAX], target[sizeof prefix - 1];
    long count = 0;

    snprintf(path, sizeof path, "/proc/%ld/fd", (long)server);
    DIR *directory = opendir(path);
    if (directory == NULL)
        fail("%s: %s", path, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += readlinkat(dirfd(directory), entry->d_name, target, sizeof target) ==
                     (ssize_t)sizeof target &&
                 memcmp(target, prefix, sizeof target) == 0;
    closedir(directory);
    return count;
}

/* ---- starting the server ---- */

/* Create a socket that is bound to a free port, which the kernel chooses. */
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

/* Return `word` with {port} replaced by the number of the port. */
static char *replace_port(char *word, in_port_t port)
{
    static const char placeholder[] = "{port}";
    const char *place = strstr(word, placeholder);
    size_t size = strlen(word) + sizeof "65535";

    if (place == NULL)
        return word;
    char *text = malloc(size);
    if (text == NULL)
        fail("no memory");
    snprintf(text, size, "%.*s%u%s", (int)(place - word), word, (unsigned)ntohs(port),
             place + strlen(placeholder));
    return text;
}

static void start_server(char **command, in_port_t *port)
{
    close(socket_with_port(
        port)); /* the port is free, and very likely still is when the server binds */
    if (fork_child(&server)) {
        for (char **word = command; *word != NULL; word++)
            *word = replace_port(*word, *port);
        if (freopen("/dev/null", "w", stdout) == NULL)
            _exit(127);
        execvp(command[0], command);
        fprintf(stderr, "cost: %s: %s\n", command[0], strerror(errno));
        _exit(127);
    }
    for (int tries = 0; tries < REPLY_TIMEOUT_S * 100; tries++) {
        int fd = connect_to(*port);
        if (fd != -1) {
            close(fd);
            return;
        }
        if (errno == ENETUNREACH)
            fail("the loopback interface is down: ip link set lo up (as root)");
        poll(NULL, 0, 10);
        siginfo_t ended = {0}; /* WNOWAIT keeps the zombie, and with it the process group */
        if (waitid(P_PID, (id_t)server, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            ended.si_pid == server)
            fail("%s ended without listening", command[0]);
    }
    fail("%s does not listen on port %u of 127.0.0.1", command[0], (unsigned)ntohs(*port));
}

/* Raise the limit of open files to `count`.  The server inherits it. */
static void raise_descriptor_limit(long count)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
        fail("getrlimit: %s", strerror(errno));
    if (limit.rlim_max < (rlim_t)count)
        fail("this needs %ld descriptors, but the hard limit is %llu; try a smaller N or raise "
             "ulimit -Hn",
             count, (unsigned long long)limit.rlim_max);
    if (limit.rlim_cur < (rlim_t)count) {
        limit.rlim_cur = (rlim_t)count;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* ---- the report ---- */

static double total; /* of all rows printed so far */

static void print_row(const char *what, double bytes, const char *where)
{
    printf("  %-44s %8.0f%s%s\n", what, bytes, where[0] != '\0' ? "   " : "", where);
    total += bytes;
}

static const struct slab_cache *find_cache(const struct snapshot *snapshot, const char *name)
{
    for (int i = 0; i < snapshot->cache_count; i++)
        if (strcmp(snapshot->caches[i].name, name) == 0)
            return &snapshot->caches[i];
    return NULL;
}

/* How many objects of a slab cache were added for each of `count` connections. */
static double added_per_connection(const struct snapshot *before, const struct snapshot *after,
                                   const char *name, long count)
{
    const struct slab_cache *first = find_cache(before, name), *last = find_cache(after, name);

    return first != NULL && last != NULL ? (double)(last->count - first->count) / (double)count : 0;
}

struct measurement {
    struct snapshot start; /* before the measured connections */
    struct snapshot bare;  /* after `bare_count` connections that are never accepted */
    struct snapshot open;  /* after `count` connections to the server as well */
    long bare_count, count;
    unsigned long long idle, waiting; /* bytes in the buffers of one socket */
};

/* Other programs use /proc, and the other two caches are for connections that are being opened or
 * have ended: none of them is a cost of an open connection. */
static bool is_unrelated(const char *cache)
{
    return strcmp(cache, "proc_inode_cache") == 0 || strncmp(cache, "tw_sock_", 8) == 0 ||
           strncmp(cache, "request_sock_", 13) == 0;
}

/* What the kernel stores in the most common slab caches. */
static const char *describe_cache(const char *cache)
{
    static const char *const descriptions[][2] = {{"TCP", "socket"},
                                                  {"sock_inode_cache", "socket inode"},
                                                  {"filp", "open file"},
                                                  {"dentry", "directory entry"},
                                                  {"eventpoll_epi", "epoll entry"},
                                                  {"eventpoll_pwq", "wait-queue entry"},
                                                  {"ep_head", "epoll list head"},
                                                  {"task_struct", "thread"},
                                                  {"vm_area_struct", "mapping"},
                                                  {"anon_vma", "mapping's pages"},
                                                  {"anon_vma_chain", "mapping's pages"},
                                                  {"maple_node", "tree of mappings"}};

    for (size_t i = 0; i < sizeof descriptions / sizeof *descriptions; i++)
        if (strcmp(descriptions[i][0], cache) == 0)
            return descriptions[i][1];
    return "";
}

/* Print what the server's end of a connection costs in the kernel.  A connection to the bare
 * listener also has a TCP socket at both ends, so the server's share is half of the TCP sockets
 * added.  For all other objects, subtract what a connection to the bare listener adds. */
static void print_slab(const struct measurement *m)
{
    const char *source = "/proc/slabinfo";

    for (int i = 0; i < m->open.cache_count; i++) {
        const struct slab_cache *cache = &m->open.caches[i];
        char what[CACHE_NAME_SIZE + 60];
        bool tcp = strcmp(cache->name, "TCP") == 0;
        double objects = added_per_connection(&m->bare, &m->open, cache->name, m->count);
        objects -= tcp ? objects / 2
                       : added_per_connection(&m->start, &m->bare, cache->name, m->bare_count);
        if (objects < 0.5 || is_unrelated(cache->name))
            continue;
        snprintf(what, sizeof what, "  %-16.16s  %-17s %5ld", cache->name,
                 describe_cache(cache->name), cache->size);
        print_row(what, objects * (double)cache->size, source);
        source = "";
    }
}

/* The size of mapping that was added most frequently, if there is about one per connection. */
static struct stacks find_stacks(const struct measurement *m)
{
    struct stacks most = {0};

    for (int i = 0; i < m->open.stacks_count; i++) {
        struct stacks now = m->open.stacks[i];
        for (int j = 0; j < m->bare.stacks_count; j++)
            if (m->bare.stacks[j].size == now.size) {
                now.count -= m->bare.stacks[j].count;
                now.touched -= m->bare.stacks[j].touched;
            }
        if (now.count > most.count)
            most = now;
    }
    return most.count * 2 > m->count ? most : (struct stacks){0};
}

static void print_user_memory(const struct measurement *m, const struct stacks *stacks)
{
    double count = (double)m->count;
    long user = m->open.user - m->bare.user;
    long tables = m->open.page_tables - m->bare.page_tables;
    char what[80];

    puts("The server's memory");
    if (stacks->count > 0) {
        snprintf(what, sizeof what, "  a stack (%ld KiB of address space)", stacks->size / 1024);
        print_row(what, (double)stacks->touched / count, "/proc/PID/smaps");
    }
    print_row(stacks->count > 0 ? "  everything else" : "  heap and tables",
              (double)(user - stacks->touched) / count, "/proc/PID/status");
    if (tables > 0)
        print_row("  page tables", (double)tables / count, "");
}

/* The slab counts are for the whole machine.  Each connection has two TCP sockets, so a different
 * number means that other programs opened or closed sockets, and the slab figures may be wrong. */
static bool others_used_sockets(const struct measurement *m)
{
    double ours = added_per_connection(&m->bare, &m->open, "TCP", m->count);
    double bare = added_per_connection(&m->start, &m->bare, "TCP", m->bare_count);

    return ours < 1.8 || ours > 2.2 || bare < 1.8 || bare > 2.2;
}

/* Whether the server has a thread for each client. */
static bool has_threads(const struct measurement *m)
{
    return (m->open.threads - m->bare.threads) * 2 > m->count;
}

static void print_kernel_memory(const struct measurement *m)
{
    long stacks = m->open.kernel_stacks - m->bare.kernel_stacks;

    printf("%-39s%s\n", "The kernel's memory, server's end",
           m->open.cache_count > 0 ? "object" : "");
    if (has_threads(m))
        print_row("  the thread's kernel stack", (double)stacks / (double)m->count,
                  "/proc/meminfo");
    if (m->open.cache_count > 0) {
        print_slab(m);
        if (m->count < RELIABLE_COUNT)
            puts("    These are rough: the kernel counts whole pages of objects.");
        if (others_used_sockets(m))
            puts("    Unreliable: other programs opened or closed sockets meanwhile.");
        return;
    }
    puts("    no details: only root may read /proc/slabinfo");
    printf("  %-44s %8.0f   %s\n", "  all slab objects of both ends",
           (double)(m->open.slab - m->bare.slab) / (double)m->count, "/proc/meminfo");
}

static void print_conclusion(const struct measurement *m, const struct stacks *stacks)
{
    double count = (double)m->count, stack = (double)stacks->touched / count;
    double kernel_stack = (double)(m->open.kernel_stacks - m->bare.kernel_stacks) / count;

    if (has_threads(m))
        printf("Each client has a thread and so two stacks: %.0f bytes, and %.0f in the kernel.\n",
               stack, kernel_stack);
    else if (stacks->count > 0)
        printf("Each client has a coroutine, which has used %.0f bytes of its stack.\n", stack);
    else if ((double)(m->open.user - m->bare.user) / count < 1024)
        puts("A client costs the server almost nothing; its cost is in the kernel.");
    else
        puts("The server keeps memory of its own for an idle client.");
}

static void print_report(const struct measurement *m, const char *name)
{
    struct stacks stacks = find_stacks(m);

    printf("%ld connections to %s, idle after one echo.  Each costs:\n\n", m->count, name);
    printf("  %-44s %8s   %s\n", "", "bytes", "source");
    print_user_memory(m, &stacks);
    print_kernel_memory(m);
    const char *label = "total";
    if (m->open.cache_count == 0)
        label = has_threads(m) ? "total, as far as visible" : "total, without the kernel's memory";
    printf("  %-44s %8.0f\n\n", label, total);
    puts("A socket's buffers cost extra while they hold data");
    printf("  %-44s %8llu   %s\n", "  empty", m->idle, "SO_MEMINFO");
    printf("  %-44s %8llu\n\n", "  with one message of 64 bytes", m->waiting);
    print_conclusion(m, &stacks);
}

/* ---- the command line and the measurement ---- */

static void usage(FILE *stream)
{
    fputs("usage: cost [N] [-- COMMAND...]\n"
          "  opens N connections (1000) to a server and reports what each costs, in bytes\n"
          "  COMMAND  starts the server; {port} in it is replaced by a port number.  The\n"
          "           default is the server of stage 07.  Example:\n"
          "           cost 1000 -- ../04-epoll/server -p {port}\n",
          stream);
}

static void bad_usage(const char *what)
{
    fprintf(stderr, "cost: %s\n", what);
    usage(stderr);
    exit(2);
}

static long parse_count(const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);

    if (*end != '\0' || end == text || number < 1 || number > MAX_CONNECTIONS)
        bad_usage("N must be a number from 1 to 20000");
    return number;
}

/* At most `count` connections, but no more than the backlog of a listener that never accepts. */
static long max_unaccepted(long count)
{
    long backlog = read_number_after("/proc/sys/net/core/somaxconn", "");

    return backlog > 0 && backlog < count ? backlog : count;
}

/* Only the process that cost started is measured.  If that is a shell, or the parent of worker
 * processes, it does not have a socket for each client and one that listens. */
static void check_server_has_clients(long count, const char *name)
{
    if (count_sockets() <= count)
        fail("the clients are not connected to %s but to another process; if it is a shell, put "
             "exec before the server",
             name);
}

/* All figures come from /proc. */
static void check_proc(void)
{
    if (access("/proc/self/stat", R_OK) == -1)
        fail("/proc is not mounted, and it has all figures: mount -t proc proc /proc (as root)");
}

static void measure(struct measurement *m, char **command)
{
    long warm_up = m->count < WARM_UP ? m->count : WARM_UP;
    in_port_t port, bare_port;
    int bare = socket_with_port(&bare_port);

    if (listen(bare, MAX_CONNECTIONS) == -1) /* the kernel lowers it; musl's SOMAXCONN is 128 */
        fail("listen: %s", strerror(errno));
    m->bare_count = max_unaccepted(m->count);
    long all = m->count + m->bare_count + 2 * WARM_UP;
    raise_descriptor_limit(all + EXTRA_DESCRIPTORS);
    start_holder(all);
    start_server(command, &port);
    request_clients((struct request){OPEN_AND_ECHO, warm_up, port});
    check_server_has_clients(warm_up, command[0]);
    take_snapshot(&m->start); /* twice, because the first one allocates too */
    take_snapshot(&m->start);
    request_clients((struct request){OPEN, m->bare_count, bare_port});
    take_snapshot(&m->bare);
    m->idle = request_clients((struct request){OPEN_AND_ECHO, m->count, port});
    take_snapshot(&m->open);
    m->waiting = request_clients((struct request){SEND, m->count, port});
    close(bare);
    kill_child(&holder);
    kill_child(&server);
}

/* Return the last two components of a path, such as 04-epoll/server. */
static const char *short_name(const char *path)
{
    const char *name = path + strlen(path);

    for (int slashes = 0; name > path; name--)
        if (name[-1] == '/' && ++slashes == 2)
            break;
    return name;
}

/* The path of the server in the directory of this program.  The kernel knows that directory,
 * proc(5).  argv[0] is only "cost" if the shell found the program through PATH. */
static char *path_of_own_server(void)
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

/* Check the command after "--", and return it. */
static char **parse_command(char **words)
{
    if (strcmp(words[0], "--") != 0 || words[1] == NULL)
        bad_usage("after N, write -- and the command that starts the server");
    for (char **word = &words[1]; *word != NULL; word++)
        if (strstr(*word, "{port}") != NULL)
            return &words[1];
    bad_usage("the command must contain {port} where the port belongs");
    return NULL;
}

int main(int argc, char **argv)
{
    static struct measurement m = {.count = 1000};
    static char option[] = "-p", port[] = "{port}";
    char *own[] = {NULL, option, port, NULL}, **command = own;
    int next = 1;

    if (argc == 2 && strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return 0;
    }
    check_proc();
    if (next < argc && strcmp(argv[next], "--") != 0)
        m.count = parse_count(argv[next++]);
    if (next < argc)
        command = parse_command(&argv[next]);
    else
        own[0] = path_of_own_server();
    catch_signals();
    measure(&m, command);
    print_report(&m, short_name(command[0]));
    errno = 0;
    if (fflush(stdout) != 0 && errno != EPIPE)
        fail("standard output: %s", strerror(errno));
    return 0;
}
#endif
