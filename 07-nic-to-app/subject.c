/* The server that is traced: started by us, or found by its port. */
#define _GNU_SOURCE

#include "subject.h"

#include "stamp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
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

/* ---- started by us ---- */

#ifdef __linux__
/* A file that has no name, for the server to stamp: nothing of it can be left behind. */
static int make_stamps(void)
{
    int fd = memfd_create("stamps", MFD_CLOEXEC);

    if (fd != -1 && ftruncate(fd, sizeof(struct stamp_ring)) == -1) {
        close(fd);
        fd = -1;
    }
    return fd;
}
#else
static int make_stamps(void)
{
    return -1;
}
#endif

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
    signal(SIGINT, SIG_IGN); /* the parent ends us */
    if (path_enter_as_server(path) && dup2(out, STDOUT_FILENO) != -1)
        execl(program, program, "-b", address, "-p", number, (char *)NULL);
    _exit(127);
}

/* Its first line, "listening on 127.0.0.1:5566".  0: it did not come. */
static unsigned port_announced(int from)
{
    char line[128];
    size_t length = 0;
    struct pollfd readable = {.fd = from, .events = POLLIN};

    while (length < sizeof line - 1 && poll(&readable, 1, START_MS) == 1) {
        ssize_t got = read(from, line + length, sizeof line - 1 - length);
        if (got <= 0)
            return 0;
        length += (size_t)got;
        line[length] = '\0';
        if (strchr(line, '\n') == NULL)
            continue;
        const char *colon = strrchr(line, ':');
        return colon != NULL ? (unsigned)strtoul(colon + 1, NULL, 10) : 0;
    }
    return 0;
}

/* A pipe that no program inherits: the server's standard output is a copy of its end. */
static bool private_pipe(int ends[2])
{
    return pipe(ends) == 0 && fcntl(ends[0], F_SETFD, FD_CLOEXEC) != -1 &&
           fcntl(ends[1], F_SETFD, FD_CLOEXEC) != -1;
}

bool traced_start(struct traced *traced, const char *program, const struct path *path,
                  unsigned port, char *why, size_t size)
{
    int out[2];

    *traced = (struct traced){.ours = true, .stamps = make_stamps()};
    if (access(program, X_OK) == -1 || !private_pipe(out)) {
        snprintf(why, size, "The server %s cannot be started: %s. (make builds it.)", program,
                 strerror(errno));
        return false;
    }
    pid_t parent = getpid();
    traced->pid = fork();
    if (traced->pid == 0)
        become_server(program, path, port, out[1], traced->stamps, parent);
    close(out[1]);
    traced->port = traced->pid != -1 ? port_announced(out[0]) : 0;
    close(out[0]);
    if (traced->port == 0)
        snprintf(why, size, "The server %s does not say \"listening on ADDRESS:PORT\".", program);
    return traced->port != 0;
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

void traced_end(struct traced *traced)
{
    if (traced->ours && traced->pid > 0) {
        kill(traced->pid, SIGTERM);
        if (!ended_within(traced->pid, END_MS)) {
            kill(traced->pid, SIGKILL);
            ended_within(traced->pid, END_MS);
        }
    }
    if (traced->stamps != -1)
        close(traced->stamps);
    *traced = (struct traced){.stamps = -1};
}

/* ---- found by its port ---- */

/* The inode of the socket that listens on this port, from a table such as /proc/net/tcp; 0: none.
 */
static unsigned long listening_inode(const char *table, unsigned port)
{
    char line[512];
    unsigned here, state;
    unsigned long inode, found = 0;
    FILE *file = fopen(table, "re");

    while (file != NULL && found == 0 && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line,
                   " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*d %lu",
                   &here, &state, &inode) == 3 &&
            here == port && state == 10) /* TCP_LISTEN */
            found = inode;
    if (file != NULL)
        fclose(file);
    return found;
}

static bool holds(const char *process, const char *socket)
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
            found = strcmp(target, socket) == 0;
        }
    }
    if (folder != NULL)
        closedir(folder);
    return found;
}

/* Do this for every process that holds the listening socket: a server may have forked. */
static void for_each_holder(unsigned long inode, void (*work)(void *, pid_t), void *with)
{
    char socket[64];
    DIR *folder = opendir("/proc");

    snprintf(socket, sizeof socket, "socket:[%lu]", inode);
    while (folder != NULL) {
        const struct dirent *entry = readdir(folder);
        if (entry == NULL)
            break;
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && holds(entry->d_name, socket))
            work(with, (pid_t)strtol(entry->d_name, NULL, 10));
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

bool traced_find(struct traced *traced, unsigned port, char *why, size_t size)
{
    unsigned long inode = listening_inode("/proc/net/tcp", port);

    if (inode == 0)
        inode = listening_inode("/proc/net/tcp6", port);
    *traced = (struct traced){.port = port, .stamps = -1, .inode = inode};
    if (inode != 0)
        for_each_holder(inode, take_first, traced);
    if (traced->pid == 0)
        snprintf(why, size,
                 inode == 0 ? "Nobody listens on port %u here."
                            : "Whose server listens on port %u is not yours to know: only root is "
                              "told.",
                 port);
    return traced->pid != 0;
}

/* ---- its threads and its stamps ---- */

static void add_task(struct subject *subject, int task)
{
    for (size_t i = 0; i < MOST_TASKS; i++) {
        if (subject->tasks[i] != 0)
            continue;
        subject->tasks[i] = task;
        return;
    }
    subject->tasks[0] = 0; /* too many: by name */
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
    if (traced->inode != 0)
        for_each_holder(traced->inode, add_threads, subject);
    else
        add_threads(subject, traced->pid);
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
