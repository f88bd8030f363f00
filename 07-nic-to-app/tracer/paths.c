/* The network that a packet takes: created for one run, and removed with it.
 *
 * The devices are created in network namespaces without a name.  Such a namespace exists as long as
 * a process is in it or a descriptor refers to it, and its devices end with it.  So there is
 * nothing to clean up, even if the tracer is killed. */
#include "trace.h"

#ifndef CANNOT_TRACE

#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>

/* An address that RFC 5737 reserves for documentation: no real network uses it. */
#define SERVER_ADDRESS "192.0.2.1"
#define OWN_NETNS "/proc/self/ns/net"

/* A card's driver says on which bus the card is.  Others say nothing or N/A, except the TUN driver,
 * whose "bus" is tun or tap. */
enum via device_kind(const char *device)
{
    static const struct {
        const char *driver;
        enum via via;
    } kinds[] = {{"veth", VIA_VETH_END}, {"tun", VIA_TAP_END}, {"bridge", VIA_BRIDGE}};
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq request = {.ifr_data = (void *)&info};

    if (strcmp(device, "lo") == 0)
        return VIA_LO;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool known = fd != -1 && ioctl(fd, SIOCETHTOOL, &request) == 0;
    file_close(fd);
    for (size_t i = 0; known && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(info.driver, kinds[i].driver) == 0)
            return kinds[i].via;
    return known && info.bus_info[0] != '\0' && strcmp(info.bus_info, "N/A") != 0 ? VIA_CARD
                                                                                  : VIA_VIRTUAL;
}

/* ---- devices ---- */

/* Set the device up and, if there is an address, give it this one. */
static bool device_up(const char *device, const char *address)
{
    struct ifreq request = {.ifr_flags = 0};
    struct sockaddr_in name = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = fd != -1;

    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    if (address != NULL) { /* By its class, it gets the netmask 255.255.255.0. */
        inet_pton(AF_INET, address, &name.sin_addr);
        memcpy(&request.ifr_addr, &name, sizeof name);
        done = done && ioctl(fd, SIOCSIFADDR, &request) == 0;
    }
    done = done && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    done = done && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    file_close(fd);
    return done;
}

/* ---- namespaces ---- */

/* Enter a new network namespace, whose lo is up.  -1: this is not possible. */
static int enter_new_netns(void)
{
    if (unshare(CLONE_NEWNET) == -1 || !device_up("lo", NULL))
        return -1;
    return open(OWN_NETNS, O_RDONLY | O_CLOEXEC);
}

/* Write a file in /sys/class/net.  That folder shows the devices of the namespace in which it was
 * mounted, so a child process mounts it again, in a mount namespace of its own. */
static bool write_sysfs(const char *file, const char *text)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        if (unshare(CLONE_NEWNS) == -1 ||
            mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1 ||
            mount("sysfs", "/sys", "sysfs", 0, NULL) == -1)
            _exit(errno);
        _exit(file_write(text, "%s", file) ? 0 : errno);
    }
    while (child != -1 && waitpid(child, &status, 0) == -1 && errno == EINTR)
        continue;
    if (child != -1)
        errno = WEXITSTATUS(status); /* an errno fits: there are fewer than 200 */
    return child != -1 && status == 0;
}

/* ---- the paths ---- */

/* RPS moves what lo receives to CPU 1.  So the client must stay on CPU 0. */
static bool open_rps(struct path *path)
{
    path->netns = enter_new_netns();
    path->cpu = 0;
    strcpy(path->device, "lo");
    /* This folder exists while the CPU is online. */
    if (access("/sys/devices/system/cpu/cpu1/topology", F_OK) == -1) {
        errno = ENODEV;
        return false;
    }
    return path->netns != -1 && write_sysfs("/sys/class/net/lo/queues/rx-0/rps_cpus", "2");
}

/* With NAPI, the device polls, and GRO may hold segments for up to a millisecond to merge them. */
static bool open_tap(struct path *path)
{
    struct ifreq request = {.ifr_name = "tap0", .ifr_flags = IFF_TAP | IFF_NO_PI};

    path->netns = enter_new_netns();
    strcpy(path->server_address, SERVER_ADDRESS);
    strcpy(path->device, "tap0");
    if (path->via == VIA_GRO)
        request.ifr_flags |= IFF_NAPI;
    path->tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    return path->netns != -1 && path->tap != -1 && ioctl(path->tap, TUNSETIFF, &request) == 0 &&
           device_up("tap0", SERVER_ADDRESS) &&
           (path->via != VIA_GRO ||
            (write_sysfs("/sys/class/net/tap0/gro_flush_timeout", "500000") &&
             write_sysfs("/sys/class/net/tap0/napi_defer_hard_irqs", "2")));
}

static const char *reason(int error, enum via via)
{
    if (error == EPERM || error == EACCES)
        return "this needs root";
    if (error == EOPNOTSUPP || error == ENODEV)
        return via == VIA_RPS ? "this needs two CPUs" : "this kernel has no such device";
    if (error == ENOENT)
        return via == VIA_RPS ? "this kernel has no RPS" : "there is no /dev/net/tun";
    return strerror(error);
}

/* The tracer returns to its own namespace.  Descriptors keep the new ones reachable. */
bool path_open(struct path *path, enum via via, bool one_cpu, char why[WHY_SIZE])
{
    cpu_set_t allowed;

    one_cpu =
        one_cpu && sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_ISSET(0, &allowed);
    *path = (struct path){.via = via, .netns = -1, .tap = -1, .cpu = one_cpu ? 0 : -1};
    strcpy(path->server_address, "127.0.0.1");
    strcpy(path->device, "lo");
    if (via == VIA_LO)
        return true; /* It exists already, and any user may use it. */
    int home = open(OWN_NETNS, O_RDONLY | O_CLOEXEC);
    bool done = home != -1 && (via == VIA_RPS ? open_rps(path) : open_tap(path));
    if (home != -1 && setns(home, CLONE_NEWNET) == -1)
        done = false;
    file_close(home);
    if (!done) {
        snprintf(why, WHY_SIZE, "The path %s cannot be created: %s.", vias[via].name,
                 reason(errno, via));
        path_close(path);
    }
    return done;
}

void path_close(const struct path *path)
{
    file_close(path->tap);
    file_close(path->netns);
}

/* Best effort: if the CPU is not allowed, the scheduler chooses one. */
bool path_enter(const struct path *path)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    if (path->cpu != -1) {
        CPU_SET((size_t)path->cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
    }
    return path->netns == -1 || setns(path->netns, CLONE_NEWNET) == 0;
}

#endif
