/* The server that is traced: started by the tracer, or found by its port. */
#include "trace.h"

#ifndef CANNOT_TRACE

#include "../stamp.h"

#include <linux/sock_diag.h>
#include <sys/wait.h>

#define START_MS 5000 /* until it listens */
#define END_MS 2000   /* until it ends, after SIGTERM */
#define LINE_SIZE 128
#define PIDFD_OPEN 434 /* system calls that older C libraries do not name */
#define PIDFD_GETFD 438
#define MAX_SOCKETS 256 /* of one server */

/* ---- a server that the tracer starts ---- */

static void become_server(const char *program, const struct path *path, unsigned port, int out,
                          int stamps, pid_t parent)
{
    char file[64], number[16];

    snprintf(file, sizeof file, "/proc/%ld/fd/%d", (long)parent, stamps);
    snprintf(number, sizeof number, "%u", port);
    if (stamps != -1)
        setenv("ECHO_STAMPS", file, 1);
    setpgid(0, 0); /* a group of its own, so that its children end with it */
    if (path_enter(path) && dup2(out, STDOUT_FILENO) != -1)
        execl(program, program, "-b", path->server_address, "-p", number, (char *)NULL);
    dprintf(out, "%s\n", strerror(errno)); /* in place of the line that the tracer waits for */
    _exit(127);
}

static bool ended_within(pid_t pid, int milliseconds)
{
    for (int waited = 0; waited < milliseconds; waited++) {
        pid_t ended = waitpid(pid, NULL, WNOHANG);
        if (ended == pid || (ended == -1 && errno != EINTR))
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

/* Wait for the first line of the server's output, "listening on 127.0.0.1:5566", and return the
 * port.  0: the server has ended, or the line is another one. */
static unsigned read_port(pid_t server, int out, char line[LINE_SIZE])
{
    bool ended = server == -1;
    char *end = NULL;

    for (int waited = 0; end == NULL && !ended && waited < START_MS; waited++) {
        ended = ended_within(server, 1);
        ssize_t got = pread(out, line, LINE_SIZE - 1, 0);
        line[got > 0 ? got : 0] = '\0';
        end = strchr(line, '\n');
    }
    if (end != NULL)
        *end = '\0';
    const char *colon = strrchr(line, ':');
    return strncmp(line, "listening on ", 13) == 0 && colon != NULL
               ? (unsigned)strtoul(colon + 1, NULL, 10)
               : 0;
}

/* The server's standard output is a file: with a pipe, it might have to wait for this reader. */
bool target_start(struct target *target, const char *program, const struct path *path,
                  unsigned port, char why[WHY_SIZE])
{
    char line[LINE_SIZE] = "";
    int out = memfd_create("trace", MFD_CLOEXEC); /* without a name: it is never left behind */

    *target = (struct target){.ours = true,
                              .address = address_of(path->server_address),
                              .stamps = memfd_create("stamps", MFD_CLOEXEC)};
    if (target->stamps != -1 && ftruncate(target->stamps, sizeof(struct stamp_ring)) == -1) {
        close(target->stamps);
        target->stamps = -1;
    }
    if (access(program, X_OK) == -1 || out == -1) {
        snprintf(why, WHY_SIZE, "The server %s cannot be started: %s. (To build it, run make.)",
                 program, strerror(errno));
        file_close(out);
        return false;
    }
    pid_t parent = getpid();
    target->pid = child_start();
    if (target->pid == 0)
        become_server(program, path, port, out, target->stamps, parent);
    if (target->pid > 0)
        setpgid(target->pid, target->pid);
    target->port = read_port(target->pid, out, line);
    close(out);
    if (target->port == 0)
        snprintf(why, WHY_SIZE,
                 "The server %s does not print \"listening on ADDRESS:PORT\"%s%.60s.", program,
                 line[0] != '\0' ? ", but: " : "", line);
    return target->port != 0;
}

void target_stop(const struct target *target)
{
    if (target->ours && target->pid > 0) {
        kill(-target->pid, SIGTERM);
        bool ended = ended_within(target->pid, END_MS);
        kill(-target->pid, SIGKILL); /* children that have not ended */
        if (!ended)
            ended_within(target->pid, END_MS);
    }
    file_close(target->stamps);
}

/* ---- a server that is found by its port ---- */

/* The inodes of the sockets on this port and at this address: listeners (several: SO_REUSEPORT),
 * and connections, because a server that forks may close the listener in its children. */
struct sockets {
    bool found; /* a listener */
    unsigned long inode[MAX_SOCKETS];
    size_t count;
};

/* A listener on this address comes first.  Without one, the wildcard becomes the target's. */
static struct sockets find_sockets(struct target *target)
{
    struct sockets sockets = {.found = false};
    struct socket_table table = {0};
    struct socket_line line;

    while (next_socket(&table, &line)) {
        bool listens = line.state == LISTENING;
        if (line.port != target->port || (!listens && line.state != ESTABLISHED) ||
            (line.local != target->address && (listens || target->address != 0)))
            continue;
        sockets.found |= listens;
        if (sockets.count < MAX_SOCKETS)
            sockets.inode[sockets.count++] = line.inode;
    }
    if (sockets.found || target->address == 0)
        return sockets;
    target->address = 0;
    return find_sockets(target);
}

static bool holds(pid_t pid, const struct sockets *sockets)
{
    char path[64], link[64];
    unsigned long inode;
    bool found = false;
    DIR *folder = folder_open("/proc/%ld/fd", (long)pid);

    for (const char *name; (name = folder_next(folder)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%ld/fd/%.16s", (long)pid, name);
        ssize_t length = found ? 0 : readlink(path, link, sizeof link - 1);
        link[length > 0 ? length : 0] = '\0';
        if (sscanf(link, "socket:[%lu]", &inode) != 1)
            continue;
        for (size_t i = 0; i < sockets->count; i++)
            found |= sockets->inode[i] == inode;
    }
    return found;
}

static void add_task(struct scope *scope, int task)
{
    size_t i = 0;

    while (i < MAX_TASKS && scope->tasks[i] != 0)
        i++;
    scope->too_many_tasks |= i == MAX_TASKS;
    if (scope->too_many_tasks)
        scope->tasks[0] = 0; /* They are then recognized by name. */
    else
        scope->tasks[i] = task;
}

static void add_name(struct scope *scope, const char *name)
{
    size_t i = 0;

    while (i < MAX_NAMES && scope->names[i][0] != '\0' && strcmp(scope->names[i], name) != 0)
        i++;
    if (i < MAX_NAMES)
        snprintf(scope->names[i], sizeof scope->names[i], "%.15s", name);
    scope->too_many_names |= i == MAX_NAMES;
}

static void add_threads_of(struct scope *scope, pid_t pid)
{
    char name[NAME_SIZE + 1];
    DIR *folder = folder_open("/proc/%ld/task", (long)pid);

    for (const char *number; (number = folder_next(folder)) != NULL;) {
        if (!file_read(name, sizeof name, "/proc/%ld/task/%s/comm", (long)pid, number))
            continue;
        name[strcspn(name, "\n")] = '\0';
        add_task(scope, (int)strtol(number, NULL, 10));
        add_name(scope, name);
    }
}

/* Find the processes that hold one of the server's sockets or, if the tracer started it, those of
 * its process group.  The first is the target's.  Add the threads of all to any scope. */
static void find_processes(struct target *target, struct scope *scope)
{
    struct sockets sockets = {.found = false};

    if (!target->ours)
        sockets = find_sockets(target);
    target->hidden = sockets.found;
    DIR *folder = target->ours || sockets.found ? folder_open("/proc") : NULL;
    for (const char *name; (name = folder_next(folder)) != NULL;) {
        pid_t pid = (pid_t)strtol(name, NULL, 10);
        if (pid <= 0 || (target->ours ? getpgid(pid) != target->pid : !holds(pid, &sockets)))
            continue;
        if (target->pid == 0)
            target->pid = pid;
        if (scope != NULL)
            add_threads_of(scope, pid);
    }
}

bool target_find(struct target *target, const char *address, unsigned port, char why[WHY_SIZE])
{
    *target = (struct target){.address = address_of(address), .port = port, .stamps = -1};
    find_processes(target, NULL);
    if (target->pid == 0 && target->hidden)
        snprintf(why, WHY_SIZE, "A server listens on port %u, but %s.", port,
                 getuid() != 0
                     ? "only root may see which process it is"
                     : "its process cannot be seen from here: it is in another container");
    return target->pid != 0;
}

/* ---- its threads and its stamps ---- */

/* A new thread inherits the name of the one that creates it, so these names match later threads. */
void target_threads(struct target *target, bool more_may_start, struct scope *scope)
{
    find_processes(target, scope);
    if (scope->both_ways)
        add_threads_of(scope, scope->client);
    if (more_may_start)
        scope->tasks[0] = 0;
}

static bool listens_on(int fd, unsigned port)
{
    int listens = 0;
    struct sockaddr_in name = {0}; /* in IPv6 the port is at the same place */
    socklen_t size = sizeof listens, name_size = sizeof name;

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0 &&
           getsockname(fd, (struct sockaddr *)&name, &name_size) == 0 &&
           ntohs(name.sin_port) == port;
}

/* To ask for the option of another process's socket, we need a descriptor of our own for it. */
void target_options(const struct target *target, int *low_water, unsigned *dropped)
{
    int process = (int)syscall(PIDFD_OPEN, target->pid, 0);
    DIR *folder = folder_open("/proc/%ld/fd", (long)target->pid);

    *low_water = 0;
    *dropped = 0;
    for (const char *name; (name = folder_next(folder)) != NULL;) {
        int least, fd = (int)syscall(PIDFD_GETFD, process, (int)strtol(name, NULL, 10), 0);
        uint32_t memory[SK_MEMINFO_VARS] = {0};
        socklen_t size = sizeof least, memory_size = sizeof memory;
        if (fd == -1)
            continue;
        if (getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &least, &size) == 0 && least > *low_water)
            *low_water = least;
        if (listens_on(fd, target->port) &&
            getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &memory_size) == 0)
            *dropped += memory[SK_MEMINFO_DROPS];
        close(fd);
    }
    file_close(process);
}

/* Only the stamps of the time that the recording covers are added. */
void target_stamps(const struct target *target, struct recording *recording)
{
    uint64_t ahead = (uint64_t)run_clock_offset();

    if (target->stamps == -1 || recording->count == 0)
        return;
    struct stamp_ring *ring =
        mmap(NULL, sizeof *ring, PROT_READ | PROT_WRITE, MAP_SHARED, target->stamps, 0);
    if (ring == MAP_FAILED)
        return;
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_acquire);
    for (uint64_t i = written > STAMPS ? written - STAMPS : 0; i < written; i++) {
        const struct stamp *stamp = &ring->stamp[i % STAMPS];
        bool loop = stamp->kind == STAMP_LOOP;
        if (stamp->ns < recording->start + ahead)
            continue;
        struct event event = recording_stamp(recording, loop ? "loop_picks" : "coroutine_resumed",
                                             stamp->ns - ahead, target->pid, -1);
        event_set(&event, SLOT_FD, (uint64_t)stamp->fd);
        if (!loop)
            event_set(&event, SLOT_COROUTINE, stamp->coroutine);
        recording_add(recording, &event);
    }
    munmap(ring, sizeof *ring);
    recording_lacks_rest(recording, SERVER_STAMP);
}

#endif
