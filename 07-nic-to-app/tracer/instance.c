/* A trace instance: a folder in tracefs with rings, filters and switches of its own, so that the
 * global trace buffer is never touched.  It is created with mkdir and removed with rmdir. */
#define _GNU_SOURCE

#include "instance.h"

#ifdef __linux__

#include "hops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "echo-trace-"
#define TRACEFS "/sys/kernel/tracing"

/* ---- small files ---- */

/* Append to a file.  With O_TRUNC, a write to kprobe_events would remove all existing probes. */
static bool write_file(const char *folder, const char *name, const char *text)
{
    char path[TRACEFS_PATH * 3];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd == -1)
        return false;
    bool done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

static bool read_file(const char *folder, const char *name, char *text, size_t size)
{
    char path[TRACEFS_PATH * 2];
    size_t length = 0;
    ssize_t got = 1;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return false;
    while (got > 0 && length < size - 1) {
        got = read(fd, text + length, size - 1 - length);
        length += got > 0 ? (size_t)got : 0;
    }
    text[length] = '\0';
    close(fd);
    return got >= 0;
}

bool instance_read(const struct instance *instance, const char *name, char *text, size_t size)
{
    return read_file(instance->path, name, text, size);
}

bool instance_write(const struct instance *instance, const char *name, const char *text)
{
    return write_file(instance->path, name, text);
}

/* ---- instances and probes that killed runs have left behind ---- */

/* When a process began, in clock ticks since boot.  Together with the process's number, this is a
 * name that no later process has.  0: there is no such process. */
static unsigned long long start_time(long pid)
{
    char folder[64], text[1024];
    unsigned long long ticks = 0;

    snprintf(folder, sizeof folder, "/proc/%ld", pid);
    if (!read_file(folder, "stat", text, sizeof text))
        return 0;
    const char *field = strrchr(text, ')'); /* The second field; the start time is the 22nd. */
    for (int i = 2; field != NULL && i < 22; i++)
        field = strchr(field + 1, ' ');
    if (field != NULL)
        ticks = strtoull(field + 1, NULL, 10);
    return ticks;
}

/* Probes belong to the whole kernel and not to an instance, so they must be removed by name. */
static void remove_probes(const char *instances)
{
    char folder[TRACEFS_PATH * 2], text[TRACEFS_PATH];

    snprintf(folder, sizeof folder, "%s/..", instances);
    for (size_t i = 0; i < event_type_count; i++) {
        if (event_types[i].probe == NULL)
            continue;
        snprintf(text, sizeof text, "-:%s", event_types[i].event);
        write_file(folder, "kprobe_events",
                   text); /* fails while another run uses it, which will remove it */
    }
}

/* A run that was killed with SIGKILL could not clean up.  Remove the instances of all processes
 * that no longer exist. */
static void remove_leftovers(const char *instances)
{
    char path[TRACEFS_PATH * 2];
    long pid;
    unsigned long long ticks;
    DIR *folder = opendir(instances);

    if (folder == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (sscanf(entry->d_name, PREFIX "%ld-%llu", &pid, &ticks) != 2 || start_time(pid) == ticks)
            continue;
        snprintf(path, sizeof path, "%s/%s", instances, entry->d_name);
        if (rmdir(path) == 0)
            remove_probes(instances);
    }
    closedir(folder);
}

/* ---- the instance ---- */

static const char *reason(int error, bool mounted)
{
    bool denied = error == EACCES || error == EPERM;

    if (getuid() != 0 && (denied || !mounted))
        return "The kernel's tracepoints are for root, and you are not root.";
    if (denied)
        return "You are root, and still may not use the kernel's tracepoints: this looks like a "
               "container.";
    if (!mounted && error == ENODEV)
        return "tracefs, where the kernel's tracepoints are, cannot be mounted: this kernel was "
               "built without it.";
    if (!mounted && (error == ENOENT || error == ENOTDIR))
        return "tracefs, where the kernel's tracepoints are, cannot be mounted: there is no "
               "directory " TRACEFS ". Is sysfs mounted on /sys?";
    if (!mounted)
        return "tracefs, where the kernel's tracepoints are, cannot be mounted.";
    if (error == ENOENT)
        return "tracefs is mounted and holds no events: the kernel is locked down "
               "(lockdown=confidentiality), or was built without them.";
    return "The kernel does not allow this program to create a trace instance.";
}

/* Root may mount tracefs.  The tracer does so in a mount namespace of its own, so that no other
 * process sees the mount, and it ends with the tracer.  MS_SLAVE: later mounts by others still
 * appear here, and this one does not appear there. */
static bool mount_privately(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) == 0 &&
           mount("tracefs", TRACEFS, "tracefs", 0, NULL) == 0;
}

/* The folder where tracefs is mounted.  A folder on the same file system as its parent is only an
 * empty mount point.  NULL: tracefs is not mounted and cannot be; errno says why. */
static const char *find_tracefs(void)
{
    static const char *const paths[] = {TRACEFS, "/sys/kernel/debug/tracing"};
    struct stat in, above;

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char parent[TRACEFS_PATH];
        snprintf(parent, sizeof parent, "%s/..", paths[i]);
        if (stat(paths[i], &in) == -1)
            continue;
        if (i == 1 || stat(parent, &above) == -1 || in.st_dev != above.st_dev)
            return paths[i];
    }
    return mount_privately() ? TRACEFS : NULL;
}

bool instance_create(struct instance *instance, char *why, size_t size)
{
    const char *tracefs = find_tracefs();
    int error = errno;

    snprintf(instance->parent, sizeof instance->parent, "%s/instances",
             tracefs != NULL ? tracefs : "");
    if (tracefs != NULL)
        remove_leftovers(instance->parent);
    snprintf(instance->path, sizeof instance->path, "%s/" PREFIX "%ld-%llu", instance->parent,
             (long)getpid(), start_time(getpid()));
    if (tracefs != NULL && mkdir(instance->path, 0700) == 0)
        return true;
    snprintf(why, size, "%s", reason(tracefs != NULL ? errno : error, tracefs != NULL));
    return false;
}

void instance_remove(const struct instance *instance)
{
    write_file(instance->path, "events/enable", "0");
    rmdir(instance->path);
    remove_probes(instance->parent);
}

#endif
