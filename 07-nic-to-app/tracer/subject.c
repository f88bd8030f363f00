/* The server that is traced: started by us, or found by its port. */
#define _GNU_SOURCE

#include "subject.h"

#include "../stamp.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#define START_MS 5000 /* to begin to listen */
#define END_MS 2000   /* to end, after SIGTERM */
#define PATH_SIZE 600
#define LINE_SIZE 128
#define MOST_SOCKETS 256 /* of one server */

/* ---- started by us ---- */

/* A file that has no name: nothing of it can be left behind. */
static int nameless_file(off_t size)
{
#ifdef __linux__
    int fd = memfd_create("trace", MFD_CLOEXEC);
#else
    FILE *file = tmpfile();
    int fd = file != NULL ? fcntl(fileno(file), F_DUPFD_CLOEXEC, 0) : -1;
    if (file != NULL)
        fclose(file);
#endif
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

#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* should we be killed, it goes too */
#endif
    if (getppid() != parent) /* it was killed before we said so */
        _exit(1);
    snprintf(file, sizeof file, "/proc/%ld/fd/%d", (long)parent, stamps);
    snprintf(address, sizeof address, "%s", path->server_address);
    snprintf(number, sizeof number, "%u", port);
    if (stamps != -1)
        setenv("ECHO_STAMPS", file, 1);
    setpgid(0, 0);           /* a group of its own: whatever it starts ends with it */
    signal(SIGINT, SIG_IGN); /* the parent ends us */
    if (path_enter_as_server(path) && dup2(out, STDOUT_FILENO) != -1)
        execl(program, program, "-b", address, "-p", number, (char *)NULL);
    dprintf(out, "%s\n", strerror(errno)); /* instead of the line that is waited for */
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

/* The first line that it writes.  False: none came. */
static bool first_line(pid_t server, int out, char line[LINE_SIZE])
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

/* "listening on 127.0.0.1:5566" has the port.  0: it is another line. */
static unsigned port_in(const char *line)
{
    const char *colon = strrchr(line, ':');

    return strncmp(line, "listening on ", 13) == 0 && colon != NULL
               ? (unsigned)strtoul(colon + 1, NULL, 10)
               : 0;
}

/* Its standard output is a file, and no pipe: so it may say more than we read, and cannot be kept
 * waiting by us.  Its process group is its own: what it starts ends with it. */
bool traced_start(struct traced *traced, const char *program, const struct path *path,
                  unsigned port, char *why, size_t size)
{
    char line[LINE_SIZE] = "";
    int out = nameless_file(0);

    *traced = (struct traced){.ours = true, .stamps = nameless_file(sizeof(struct stamp_ring))};
    if (access(program, X_OK) == -1 || out == -1) {
        snprintf(why, size, "The server %s cannot be started: %s. (make builds it.)", program,
                 strerror(errno));
        if (out != -1)
            close(out);
        return false;
    }
    pid_t parent = getpid();
    traced->pid = fork();
    if (traced->pid == 0)
        become_server(program, path, port, out, traced->stamps, parent);
    if (traced->pid > 0)
        setpgid(traced->pid, traced->pid);
    if (traced->pid != -1 && first_line(traced->pid, out, line))
        traced->port = port_in(line);
    close(out);
    if (traced->port == 0)
        snprintf(why, size, "The server %s does not say \"listening on ADDRESS:PORT\"%s%.60s.",
                 program, line[0] != '\0' ? ", but: " : "", line);
    return traced->port != 0;
}

void traced_end(struct traced *traced)
{
    if (traced->ours && traced->pid > 0) {
        kill(-traced->pid, SIGTERM);
        bool ended = ended_within(traced->pid, END_MS);
        kill(-traced->pid, SIGKILL); /* those that it started, if they are there still */
        if (!ended)
            ended_within(traced->pid, END_MS);
    }
    if (traced->stamps != -1)
        close(traced->stamps);
    *traced = (struct traced){.stamps = -1};
}

/* ---- found by its port ---- */

/* The server's sockets, each by its inode. */
struct sockets {
    unsigned long inode[MOST_SOCKETS];
    size_t count;
};

enum state { ESTABLISHED = 1, LISTENING = 10 }; /* as /proc/net/tcp has them */

/* Is this address, in hex as /proc/net/tcp writes it, the wanted one: itself, or within IPv6? NULL:
 * any address, which is all zeros.  The order of the bytes is this machine's. */
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

/* Add those in this state with this address and port, from a table such as /proc/net/tcp. */
static void add_sockets(struct sockets *sockets, const char *table, const char *address,
                        unsigned port, enum state state)
{
    char line[512], hex[40];
    unsigned here, is;
    unsigned long inode;
    FILE *file = fopen(table, "re");

    while (file != NULL && sockets->count < MOST_SOCKETS && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line,
                   " %*d: %39[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*d %lu",
                   hex, &here, &is, &inode) == 4 &&
            here == port && is == state && is_address(hex, address))
            sockets->inode[sockets->count++] = inode;
    if (file != NULL)
        fclose(file);
}

static void add_both(struct sockets *sockets, const char *address, unsigned port, enum state state)
{
    add_sockets(sockets, "/proc/net/tcp", address, port, state);
    add_sockets(sockets, "/proc/net/tcp6", address, port, state);
}

/* The listener, of which there may be several (SO_REUSEPORT): one that names the address goes
 * before one that takes any.  And the connections, for a server that forks closes the listener in
 * the child that serves. */
static struct sockets find_sockets(const char *address, unsigned port)
{
    struct sockets sockets = {.count = 0};

    add_both(&sockets, address, port, LISTENING);
    if (sockets.count == 0)
        add_both(&sockets, NULL, port, LISTENING);
    if (sockets.count > 0)
        add_both(&sockets, address, port, ESTABLISHED);
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

/* Do this for every process that belongs to the server: it holds one of these sockets, or, if we
 * have started it, is in its process group. */
static void for_each_process(const struct sockets *sockets, pid_t group,
                             void (*work)(void *, pid_t), void *with)
{
    DIR *folder = opendir("/proc");

    while (folder != NULL) {
        const struct dirent *entry = readdir(folder);
        if (entry == NULL)
            break;
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && ((sockets != NULL && holds(entry->d_name, sockets)) ||
                        (group > 0 && getpgid(pid) == group)))
            work(with, pid);
    }
    if (folder != NULL)
        closedir(folder);
}

static void take_first(void *traced, pid_t pid)
{
    struct traced *first = traced;

    if (first->pid == 0)
        first->pid = pid;
}

bool traced_find(struct traced *traced, const char *address, unsigned port, char *why, size_t size)
{
    struct sockets sockets = find_sockets(address, port);

    *traced = (struct traced){.address = address, .port = port, .stamps = -1};
    traced->hidden = sockets.count > 0;
    if (sockets.count > 0)
        for_each_process(&sockets, 0, take_first, traced);
    if (traced->pid == 0 && traced->hidden)
        snprintf(why, size, "Whose server listens on port %u %s.", port,
                 getuid() != 0 ? "is not yours to know: only root is told"
                               : "cannot be seen from here: it is in another container");
    else if (traced->pid == 0)
        snprintf(why, size, "Nobody listens on %s, port %u, here. (-b says another address.)",
                 address, port);
    return traced->pid != 0;
}

/* ---- its threads and its stamps ---- */

static void add_task(struct subject *subject, int task)
{
    if (subject->many_tasks)
        return;
    for (size_t i = 0; i < MOST_TASKS; i++) {
        if (subject->tasks[i] != 0)
            continue;
        subject->tasks[i] = task;
        return;
    }
    subject->many_tasks = true; /* then by name */
    subject->tasks[0] = 0;
}

static void add_name(struct subject *subject, const char *name)
{
    for (size_t i = 0; i < MOST_NAMES; i++) {
        if (strcmp(subject->names[i], name) == 0)
            return;
        if (subject->names[i][0] != '\0')
            continue;
        snprintf(subject->names[i], sizeof subject->names[i], "%.15s", name);
        return;
    }
    subject->many_names = true;
}

static void add_threads(void *with, pid_t pid)
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
        add_task(with, (int)strtol(entry->d_name, NULL, 10));
        if (fgets(name, sizeof name, file) != NULL) {
            name[strcspn(name, "\n")] = '\0';
            add_name(with, name);
        }
        fclose(file);
    }
    if (folder != NULL)
        closedir(folder);
}

/* A thread has the name of the one that made it, unless it takes another: so the names of those
 * that are there now will do for those that come. */
void traced_threads(const struct traced *traced, bool more_may_come, struct subject *subject)
{
    struct sockets sockets = {.count = 0};

    if (!traced->ours)
        sockets = find_sockets(traced->address, traced->port);
    for_each_process(&sockets, traced->ours ? traced->pid : 0, add_threads, subject);
    if (more_may_come)
        subject->tasks[0] = 0;
}

static bool add_stamp(const struct stamp *stamp, pid_t pid, struct recording *recording)
{
    const char *name = stamp->kind == STAMP_LOOP ? "loop_picks" : "coroutine_resumed";
    struct event event = {.ns = stamp->ns, .pid = pid, .cpu = -1, .context = 't'};

    event.source = (uint8_t)source_find(name);
    event_set(&event, SLOT_FD, (uint64_t)stamp->fd);
    if (stamp->kind == STAMP_RESUMED)
        event_set(&event, SLOT_COROUTINE, stamp->coroutine);
    recording->can |= (uint64_t)1 << event.source;
    return recording_add(recording, &event);
}

/* What the server stamped, of the time that the recording covers.  A server that stamps nothing is
 * never said to have been asked. */
bool traced_stamps(const struct traced *traced, struct recording *recording)
{
    bool room = true;

    if (traced->stamps == -1 || recording->count == 0)
        return true;
    struct stamp_ring *ring =
        mmap(NULL, sizeof *ring, PROT_READ | PROT_WRITE, MAP_SHARED, traced->stamps, 0);
    if (ring == MAP_FAILED)
        return true;
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_acquire);
    uint64_t first = written > STAMPS ? written - STAMPS : 0;
    for (uint64_t i = first; room && i < written; i++)
        if (ring->stamp[i % STAMPS].ns >= recording->start)
            room = add_stamp(&ring->stamp[i % STAMPS], traced->pid, recording);
    munmap(ring, sizeof *ring);
    return room;
}
