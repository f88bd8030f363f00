/* A trace instance: a folder in tracefs with rings, filters and switches of its own, so that the
 * global trace buffer is never touched.  It is created with mkdir and removed with rmdir. */
#include "trace.h"

#ifndef CANNOT_TRACE

#include <sys/mount.h>

#define INSTANCES TRACEFS "/instances/"
#define NAME "echo-trace-%ld-%llu" /* the process's number and when it began */

/* When a process began, in clock ticks since boot.  Together with the process's number, this is a
 * name that no later process has.  0: there is no such process. */
static unsigned long long start_time(long pid)
{
    char text[1024];

    if (!file_read(text, sizeof text, "/proc/%ld/stat", pid))
        return 0;
    const char *field = strrchr(text, ')'); /* The second field; the start time is the 22nd. */
    for (int i = 2; field != NULL && i < 22; i++)
        field = strchr(field + 1, ' ');
    return field != NULL ? strtoull(field + 1, NULL, 10) : 0;
}

/* Probes belong to the whole kernel and not to an instance, so they must be removed by name.  This
 * fails while another run uses them, which will remove them. */
static void remove_probes(void)
{
    char text[64];

    for (size_t i = 0; i < event_type_count; i++) {
        snprintf(text, sizeof text, "-:%s", event_types[i].event);
        if (event_types[i].probe != NULL)
            file_write(text, TRACEFS "/kprobe_events");
    }
}

/* A killed run could not clean up.  Remove the instances of processes that no longer exist. */
static void remove_leftovers(void)
{
    char path[INSTANCE_PATH];
    long pid;
    unsigned long long ticks;
    DIR *folder = folder_open(INSTANCES);

    for (const char *name; (name = folder_next(folder)) != NULL;) {
        if (sscanf(name, NAME, &pid, &ticks) != 2 || start_time(pid) == ticks)
            continue;
        snprintf(path, sizeof path, INSTANCES NAME, pid, ticks);
        if (rmdir(path) == 0)
            remove_probes();
    }
}

#define NOT_MOUNTED "tracefs, where the kernel's tracepoints are, cannot be mounted: "

static const char *reason(int error, bool mounted)
{
    bool denied = error == EACCES || error == EPERM;

    if (getuid() != 0 && (denied || !mounted))
        return "The kernel's tracepoints are for root, and you are not root.";
    if (denied)
        return "You are root, and still may not use the kernel's tracepoints: this looks like a "
               "container.";
    if (!mounted && error == ENODEV)
        return NOT_MOUNTED "this kernel was built without it.";
    if (!mounted && (error == ENOENT || error == ENOTDIR))
        return NOT_MOUNTED "there is no directory " TRACEFS ". Is sysfs mounted on /sys?";
    if (mounted && error == ENOENT)
        return "tracefs is mounted and holds no events: the kernel is locked down "
               "(lockdown=confidentiality), or was built without them.";
    return mounted ? "tracefs is mounted, but no instance can be created in it: " : NOT_MOUNTED;
}

/* Root may mount tracefs.  The tracer does so in a mount namespace of its own: nobody else sees the
 * mount, and it ends with the tracer.  MS_SLAVE: later mounts by others appear here, but not this
 * one there.  EBUSY: it is mounted, without instances.  False: errno says why not. */
static bool has_tracefs(void)
{
    if (access(INSTANCES, F_OK) == 0 || errno == EACCES)
        return true;
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) == 0 &&
           (mount("tracefs", TRACEFS, "tracefs", 0, NULL) == 0 || errno == EBUSY);
}

bool instance_create(char path[INSTANCE_PATH], char why[WHY_SIZE])
{
    bool mounted = has_tracefs();

    snprintf(path, INSTANCE_PATH, INSTANCES NAME, (long)getpid(), start_time(getpid()));
    if (mounted) {
        remove_leftovers();
        if (mkdir(path, 0700) == 0)
            return true;
    }
    const char *other = strerror(errno), *text = reason(errno, mounted);
    snprintf(why, WHY_SIZE, "%s%s", text, text[strlen(text) - 1] == ' ' ? other : "");
    return false;
}

void instance_remove(const char *path)
{
    file_write("0", "%s/events/enable", path);
    rmdir(path);
    remove_probes();
}

#endif
