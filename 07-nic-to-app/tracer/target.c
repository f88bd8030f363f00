/* The server that is target: started by the tracer, or found by its port. */
#define _GNU_SOURCE

#include "target.h"

#ifdef __linux__

#include "../stamp.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS 5000 /* until it listens */
#define END_MS 2000   /* until it ends, after SIGTERM */
#define PATH_SIZE 600
#define LINE_SIZE 128
#define MAX_SOCKETS 256 /* of one server */

/* ---- a server that the tracer starts ---- */

/* A file without a name, which cannot be left behind.  -1: it cannot be created. */
static int unnamed_file(off_t size)
{
    int fd = memfd_create("trace", MFD_CLOEXEC);

    if (fd != -1 && ftruncate(fd, size) == -1) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void become_server(const char *program, const struct path *path, unsigned port, int out,
                          int stamps, pid_t parent)
{
    char address[INET_ADDRSTRLEN], file[64], number[16];

    prctl(PR_SET_PDEATHSIG, SIGKILL); /* the server ends even if the tracer is killed */
    if (getppid() != parent)          /* the tracer ended before prctl() took effect */
        _exit(1);
    snprintf(file, sizeof file, "/proc/%ld/fd/%d", (long)parent, stamps);
    snprintf(address, sizeof address, "%s", path->server_address);
    snprintf(number, sizeof number, "%u", port);
    if (stamps != -1)
        setenv("ECHO_STAMPS", file, 1);
    setpgid(0, 0);           /* a group of its own, so that its children end with it */
    signal(SIGINT, SIG_IGN); /* the tracer stops the server */
    if (path_enter_as_server(path) && dup2(out, STDOUT_FILENO) != -1)
        execl(program, program, "-b", address, "-p", number, (char *)NULL);
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

/* Wait for the first line of the server's output.  False: there is none. */
static bool read_first_line(pid_t server, int out, char line[LINE_SIZE])
{
    for (int waited = 0; waited < START_MS; waited++) {
        ssize_t got = pread(out, line, LINE_SIZE - 1, 0);
        line[got > 0 ? got : 0] = '\0';
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end = '\0';
            return true;
        }
        if (ended_within(server, 1) && pread(out, line, 1, 0) <= 0)
            return false;
    }
    return false;
}

/* The port in the line "listening on 127.0.0.1:5566".  0: this is another line. */
static unsigned port_in(const char *line)
{
    const char *colon = strrchr(line, ':');

    return strncmp(line, "listening on ", 13) == 0 && colon != NULL
               ? (unsigned)strtoul(colon + 1, NULL, 10)
               : 0;
}

/* The server's standard output is a file and not a pipe, so that it can print any amount without
 * waiting for the tracer to read. */
bool target_start(struct target *target, const char *program, const struct path *path,
                  unsigned port, char *why, size_t size)
{
    char line[LINE_SIZE] = "";
    int out = unnamed_file(0);

    *target = (struct target){.ours = true, .stamps = unnamed_file(sizeof(struct stamp_ring))};
    if (access(program, X_OK) == -1 || out == -1) {
        snprintf(why, size, "The server %s cannot be started: %s. (To build it, run make.)",
                 program, strerror(errno));
        if (out != -1)
            close(out);
        return false;
    }
    pid_t parent = getpid();
    target->pid = fork();
    if (target->pid == 0)
        become_server(program, path, port, out, target->stamps, parent);
    if (target->pid > 0)
        setpgid(target->pid, target->pid);
    if (target->pid != -1 && read_first_line(target->pid, out, line))
        target->port = port_in(line);
    close(out);
    if (target->port == 0)
        snprintf(why, size, "The server %s does not print \"listening on ADDRESS:PORT\"%s%.60s.",
                 program, line[0] != '\0' ? ", but: " : "", line);
    return target->port != 0;
}

void target_stop(struct target *target)
{
    if (target->ours && target->pid > 0) {
        kill(-target->pid, SIGTERM);
        bool ended = ended_within(target->pid, END_MS);
        kill(-target->pid, SIGKILL); /* children that have not ended */
        if (!ended)
            ended_within(target->pid, END_MS);
    }
    if (target->stamps != -1)
        close(target->stamps);
    *target = (struct target){.stamps = -1};
}

/* ---- a server that is found by its port ---- */

/* The inodes of the server's sockets. */
struct sockets {
    unsigned long inode[MAX_SOCKETS];
    size_t count;
};

enum state { ESTABLISHED = 1, LISTENING = 10 }; /* as in /proc/net/tcp */

/* Whether an address in the hex form of /proc/net/tcp, in this machine's byte order, is the wanted
 * one, or contains it (IPv4 in IPv6).  NULL stands for the wildcard address, which is all zeros. */
static bool is_address(const char *hex, const char *wanted)
{
    char ours[16];
    struct in_addr number;

    if (wanted == NULL)
        return strspn(hex, "0") == strlen(hex);
    if (inet_pton(AF_INET, wanted, &number) != 1 || strlen(hex) < 8)
        return false;
    snprintf(ours, sizeof ours, "%08X", (unsigned)number.s_addr);
    return strcmp(hex + strlen(hex) - 8, ours) == 0;
}

/* Add the sockets of a table such as /proc/net/tcp that have this address, port and state. */
static void add_sockets(struct sockets *sockets, const char *table, const char *address,
                        unsigned port, enum state state)
{
    char line[512], hex[40];
    unsigned here, is;
    unsigned long inode;
    FILE *file = fopen(table, "re");

    while (file != NULL && sockets->count < MAX_SOCKETS && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line,
                   " %*d: %39[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*d %lu",
                   hex, &here, &is, &inode) == 4 &&
            here == port && is == state && is_address(hex, address))
            sockets->inode[sockets->count++] = inode;
    if (file != NULL)
        fclose(file);
}

static void add_ipv4_and_ipv6(struct sockets *sockets, const char *address, unsigned port,
                              enum state state)
{
    add_sockets(sockets, "/proc/net/tcp", address, port, state);
    add_sockets(sockets, "/proc/net/tcp6", address, port, state);
}

/* The listeners, of which there may be several (SO_REUSEPORT): one on this address takes precedence
 * over one on the wildcard address.  Also the connections, because a server that forks may close
 * the listener in its children. */
static struct sockets find_sockets(const char *address, unsigned port)
{
    struct sockets sockets = {.count = 0};

    add_ipv4_and_ipv6(&sockets, address, port, LISTENING);
    if (sockets.count == 0)
        add_ipv4_and_ipv6(&sockets, NULL, port, LISTENING);
    if (sockets.count > 0)
        add_ipv4_and_ipv6(&sockets, address, port, ESTABLISHED);
    return sockets;
}

static bool is_one_of(const struct sockets *sockets, const char *target)
{
    unsigned long inode;

    if (sscanf(target, "socket:[%lu]", &inode) != 1)
        return false;
    for (size_t i = 0; i < sockets->count; i++)
        if (sockets->inode[i] == inode)
            return true;
    return false;
}

static bool holds(const char *process, const struct sockets *sockets)
{
    char path[PATH_SIZE], target[64];
    bool found = false;

    snprintf(path, sizeof path, "/proc/%s/fd", process);
    DIR *folder = opendir(path);
    while (folder != NULL && !found) {
        const struct dirent *entry = readdir(folder);
        if (entry == NULL)
            break;
        snprintf(path, sizeof path, "/proc/%s/fd/%s", process, entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length > 0) {
            target[length] = '\0';
            found = is_one_of(sockets, target);
        }
    }
    if (folder != NULL)
        closedir(folder);
    return found;
}

/* Call `work` for every process of the server: each that holds one of these sockets, or that is in
 * this process group. */
static void for_each_process(const struct sockets *sockets, pid_t group,
                             void (*work)(void *, pid_t), void *argument)
{
    DIR *folder = opendir("/proc");

    while (folder != NULL) {
        const struct dirent *entry = readdir(folder);
        if (entry == NULL)
            break;
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && ((sockets != NULL && holds(entry->d_name, sockets)) ||
                        (group > 0 && getpgid(pid) == group)))
            work(argument, pid);
    }
    if (folder != NULL)
        closedir(folder);
}

static void remember_first(void *argument, pid_t pid)
{
    struct target *first = argument;

    if (first->pid == 0)
        first->pid = pid;
}

bool target_find(struct target *target, const char *address, unsigned port, char *why, size_t size)
{
    struct sockets sockets = find_sockets(address, port);

    *target = (struct target){.address = address, .port = port, .stamps = -1};
    target->hidden = sockets.count > 0;
    if (sockets.count > 0)
        for_each_process(&sockets, 0, remember_first, target);
    if (target->pid == 0 && target->hidden)
        snprintf(why, size, "A server listens on port %u, but %s.", port,
                 getuid() != 0
                     ? "only root may see which process it is"
                     : "its process cannot be seen from here: it is in another container");
    else if (target->pid == 0)
        snprintf(why, size, "No server listens on %s, port %u, here. (Use -b for another address.)",
                 address, port);
    return target->pid != 0;
}

/* ---- its threads and its stamps ---- */

static void add_task(struct scope *scope, int task)
{
    if (scope->too_many_tasks)
        return;
    for (size_t i = 0; i < MAX_TASKS; i++) {
        if (scope->tasks[i] != 0)
            continue;
        scope->tasks[i] = task;
        return;
    }
    scope->too_many_tasks = true; /* They are then recognized by name. */
    scope->tasks[0] = 0;
}

static void add_name(struct scope *scope, const char *name)
{
    for (size_t i = 0; i < MAX_NAMES; i++) {
        if (strcmp(scope->names[i], name) == 0)
            return;
        if (scope->names[i][0] != '\0')
            continue;
        snprintf(scope->names[i], sizeof scope->names[i], "%.15s", name);
        return;
    }
    scope->too_many_names = true;
}

static void add_threads_of(void *argument, pid_t pid)
{
    char path[PATH_SIZE], name[NAME_SIZE + 1];

    snprintf(path, sizeof path, "/proc/%ld/task", (long)pid);
    DIR *folder = opendir(path);
    while (folder != NULL) {
        const struct dirent *entry = readdir(folder);
        if (entry == NULL)
            break;
        snprintf(path, sizeof path, "/proc/%ld/task/%s/comm", (long)pid, entry->d_name);
        FILE *file = entry->d_name[0] != '.' ? fopen(path, "re") : NULL;
        if (file == NULL)
            continue;
        add_task(argument, (int)strtol(entry->d_name, NULL, 10));
        if (fgets(name, sizeof name, file) != NULL) {
            name[strcspn(name, "\n")] = '\0';
            add_name(argument, name);
        }
        fclose(file);
    }
    if (folder != NULL)
        closedir(folder);
}

/* A new thread inherits its name from the thread that creates it, so the names of the present
 * threads also match later ones. */
void target_threads(const struct target *target, bool more_may_start, struct scope *scope)
{
    struct sockets sockets = {.count = 0};

    if (!target->ours)
        sockets = find_sockets(target->address, target->port);
    for_each_process(&sockets, target->ours ? target->pid : 0, add_threads_of, scope);
    if (more_may_start)
        scope->tasks[0] = 0;
}

static bool add_stamp(const struct stamp *stamp, pid_t pid, struct recording *recording)
{
    const char *name = stamp->kind == STAMP_LOOP ? "loop_picks" : "coroutine_resumed";
    struct event event = {.ns = stamp->ns, .pid = pid, .cpu = -1, .context = 't'};

    event.type = (uint8_t)event_type_find(name);
    event_set(&event, SLOT_FD, (uint64_t)stamp->fd);
    if (stamp->kind == STAMP_RESUMED)
        event_set(&event, SLOT_COROUTINE, stamp->coroutine);
    recording->asked |= (uint64_t)1 << event.type;
    return recording_add(recording, &event);
}

/* Stamps that the server could have written and did not are recorded as not available. */
static void mark_unavailable(struct recording *recording)
{
    for (size_t i = 0; i < event_type_count; i++)
        if (event_types[i].provider == SERVER_STAMP && !recording_asked(recording, i))
            recording->unavailable |= (uint64_t)1 << i;
}

/* Only the stamps of the time that the recording covers are added. */
bool target_stamps(const struct target *target, struct recording *recording)
{
    bool room = true;

    if (target->stamps == -1 || recording->count == 0)
        return true;
    struct stamp_ring *ring =
        mmap(NULL, sizeof *ring, PROT_READ | PROT_WRITE, MAP_SHARED, target->stamps, 0);
    if (ring == MAP_FAILED)
        return true;
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_acquire);
    uint64_t first = written > STAMPS ? written - STAMPS : 0;
    for (uint64_t i = first; room && i < written; i++)
        if (ring->stamp[i % STAMPS].ns >= recording->start)
            room = add_stamp(&ring->stamp[i % STAMPS], target->pid, recording);
    munmap(ring, sizeof *ring);
    mark_unavailable(recording);
    return room;
}

#endif
