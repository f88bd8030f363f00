/* The network that a packet takes: created for one run, and removed with it.
 *
 * The devices are created in network namespaces without a name.  Such a namespace exists as long as
 * a process is in it or a descriptor refers to it, and its devices end with it.  So there is
 * nothing to clean up, even if the tracer is killed. */
#define _GNU_SOURCE

#include "paths.h"

#include "kernel_headers.h"

#include <stdio.h>
#include <string.h>

#ifdef __linux__

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#ifdef HAVE_KERNEL_HEADERS
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#endif
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Addresses that RFC 5737 reserves for documentation: no real network uses them. */
#define SERVER_ADDRESS "192.0.2.1"
#define CLIENT_ADDRESS "192.0.2.2"
#define NETMASK "255.255.255.0"

#ifndef HAVE_KERNEL_HEADERS

/* Only lo, which exists already. */
bool path_open(struct path *path, enum via via, int cpu, char *why, size_t size)
{
    *path =
        (struct path){.via = via, .server_netns = -1, .client_netns = -1, .tap = -1, .cpu = cpu};
    strcpy(path->server_address, "127.0.0.1");
    strcpy(path->devices[0], "lo");
    snprintf(why, size, "%s", NO_KERNEL_HEADERS);
    return via == VIA_LO;
}

void path_close(struct path *path)
{
    (void)path;
}

#else

/* ---- devices ---- */

static bool device_up(const char *device)
{
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return false;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    bool done = ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    done = done && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    close(fd);
    return done;
}

static bool set_address(int fd, const char *device, unsigned long request_number,
                        const char *address)
{
    struct ifreq request = {0};
    struct sockaddr_in name = {.sin_family = AF_INET};

    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    inet_pton(AF_INET, address, &name.sin_addr);
    memcpy(&request.ifr_addr, &name, sizeof name);
    return ioctl(fd, request_number, &request) == 0;
}

static bool device_address(const char *device, const char *address)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return false;
    bool done = set_address(fd, device, SIOCSIFADDR, address) &&
                set_address(fd, device, SIOCSIFNETMASK, NETMASK);
    close(fd);
    return done && device_up(device);
}

/* ---- rtnetlink: a veth pair ---- */

struct message {
    struct nlmsghdr head;
    struct ifinfomsg link;
    char attributes[256];
};

/* Append an attribute.  An attribute that contains others must be closed with end_nested(). */
static struct rtattr *add_attribute(struct message *message, unsigned short type, const void *data,
                                    size_t size)
{
    struct rtattr *place = (void *)((char *)message + NLMSG_ALIGN(message->head.nlmsg_len));

    place->rta_type = type;
    place->rta_len = (unsigned short)RTA_LENGTH(size);
    if (size > 0)
        memcpy(RTA_DATA(place), data, size);
    message->head.nlmsg_len =
        (unsigned)(NLMSG_ALIGN(message->head.nlmsg_len) + RTA_ALIGN(place->rta_len));
    return place;
}

static void end_nested(const struct message *message, struct rtattr *nest)
{
    const char *end = (const char *)message + NLMSG_ALIGN(message->head.nlmsg_len);

    nest->rta_len = (unsigned short)(end - (const char *)nest);
}

/* Send a request and wait for its acknowledgement.  False: errno says why it failed. */
static bool send_request(struct message *message)
{
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char rest[512];
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd == -1)
        return false;
    bool done =
        send(fd, message, message->head.nlmsg_len, 0) != -1 &&
        recv(fd, &answer, sizeof answer, 0) >= (ssize_t)(sizeof answer - sizeof answer.rest);
    close(fd);
    if (done && answer.head.nlmsg_type == NLMSG_ERROR && answer.error.error != 0) {
        errno = -answer.error.error;
        return false;
    }
    return done;
}

/* Like `ip link add HERE type veth peer name THERE netns NETNS`. */
static bool create_veth(const char *here, const char *there, int netns)
{
    struct message message = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                 .nlmsg_type = RTM_NEWLINK,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK}};
    struct ifinfomsg peer_link = {0};

    add_attribute(&message, IFLA_IFNAME, here, strlen(here) + 1);
    struct rtattr *info = add_attribute(&message, IFLA_LINKINFO, NULL, 0);
    add_attribute(&message, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = add_attribute(&message, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *peer = add_attribute(&message, VETH_INFO_PEER, &peer_link, sizeof peer_link);
    add_attribute(&message, IFLA_IFNAME, there, strlen(there) + 1);
    add_attribute(&message, IFLA_NET_NS_FD, &netns, sizeof netns);
    end_nested(&message, peer);
    end_nested(&message, data);
    end_nested(&message, info);
    return send_request(&message);
}

/* ---- namespaces ---- */

static int open_current_netns(void)
{
    return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* Enter a new network namespace, whose lo is up.  -1: this is not possible. */
static int enter_new_netns(void)
{
    if (unshare(CLONE_NEWNET) == -1 || !device_up("lo"))
        return -1;
    return open_current_netns();
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
        int fd = open(file, O_WRONLY | O_CLOEXEC);
        bool done = fd != -1 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
        _exit(done ? 0 : errno);
    }
    while (child != -1 && waitpid(child, &status, 0) == -1 && errno == EINTR)
        continue;
    if (child != -1)
        errno = WEXITSTATUS(status); /* an errno fits: there are fewer than 200 */
    return child != -1 && status == 0;
}

/* ---- the paths ---- */

static bool open_veth(struct path *path)
{
    path->server_netns = enter_new_netns();
    path->client_netns = enter_new_netns();
    strcpy(path->server_address, SERVER_ADDRESS);
    strcpy(path->devices[0], "client0");
    strcpy(path->devices[1], "server0");
    return path->server_netns != -1 && path->client_netns != -1 &&
           create_veth("client0", "server0", path->server_netns) &&
           device_address("client0", CLIENT_ADDRESS) &&
           setns(path->server_netns, CLONE_NEWNET) == 0 &&
           device_address("server0", SERVER_ADDRESS);
}

/* RPS moves what lo receives to CPU 1.  So the client must stay on CPU 0. */
static bool open_rps(struct path *path)
{
    path->server_netns = path->client_netns = enter_new_netns();
    path->cpu = 0;
    strcpy(path->devices[0], "lo");
    if (access("/sys/devices/system/cpu/cpu1/topology", F_OK) ==
        -1) { /* this folder exists while the CPU is online */
        errno = ENODEV;
        return false;
    }
    return path->server_netns != -1 && write_sysfs("/sys/class/net/lo/queues/rx-0/rps_cpus", "2");
}

/* With NAPI, the device polls, and GRO may hold segments for half a millisecond to merge them. */
static bool open_tap(struct path *path)
{
    struct ifreq request = {.ifr_name = "tap0", .ifr_flags = IFF_TAP | IFF_NO_PI};

    path->server_netns = enter_new_netns();
    strcpy(path->server_address, SERVER_ADDRESS);
    strcpy(path->devices[0], "tap0");
    if (path->via == VIA_GRO)
        request.ifr_flags |= IFF_NAPI;
    path->tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    return path->server_netns != -1 && path->tap != -1 &&
           ioctl(path->tap, TUNSETIFF, &request) == 0 && device_address("tap0", SERVER_ADDRESS) &&
           (path->via != VIA_GRO ||
            (write_sysfs("/sys/class/net/tap0/gro_flush_timeout", "500000") &&
             write_sysfs("/sys/class/net/tap0/napi_defer_hard_irqs", "2")));
}

static bool create_path(struct path *path)
{
    switch (path->via) {
    case VIA_VETH:
        return open_veth(path);
    case VIA_RPS:
        return open_rps(path);
    case VIA_TAP:
    case VIA_GRO:
        return open_tap(path);
    default:
        errno = EOPNOTSUPP;
        return false;
    }
}

static const char *reason(int error, enum via via)
{
    switch (error) {
    case EPERM:
    case EACCES:
        return "this needs root";
    case ENODEV:
        return via == VIA_RPS ? "this needs two CPUs" : "this kernel has no such device";
    case EOPNOTSUPP:
        return "this kernel has no such device";
    case ENOENT:
        return via == VIA_RPS ? "this kernel has no RPS" : "there is no /dev/net/tun";
    default:
        return strerror(error);
    }
}

/* The tracer returns to its own namespace.  Descriptors keep the new ones reachable. */
bool path_open(struct path *path, enum via via, int cpu, char *why, size_t size)
{
    *path =
        (struct path){.via = via, .server_netns = -1, .client_netns = -1, .tap = -1, .cpu = cpu};
    strcpy(path->server_address, "127.0.0.1");
    strcpy(path->devices[0], "lo");
    if (via == VIA_LO)
        return true; /* It exists already, and any user may use it. */
    int home = open_current_netns();
    bool done = home != -1 && create_path(path);
    int error = errno;
    if (home != -1 && setns(home, CLONE_NEWNET) == -1 && done) {
        done = false;
        error = errno;
    }
    if (home != -1)
        close(home);
    if (!done) {
        snprintf(why, size, "The path %s cannot be created: %s.", vias[via].name,
                 reason(error, via));
        path_close(path);
    }
    return done;
}

void path_close(struct path *path)
{
    if (path->tap != -1)
        close(path->tap);
    if (path->client_netns != -1 && path->client_netns != path->server_netns)
        close(path->client_netns);
    if (path->server_netns != -1)
        close(path->server_netns);
    path->tap = path->client_netns = path->server_netns = -1;
}

#endif

/* ---- in the processes that use the path ---- */

/* Best effort: if this is not allowed, the scheduler chooses the CPU. */
static void stay_on(int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

static bool enter(const struct path *path, int netns)
{
    if (path->cpu != -1)
        stay_on(path->cpu);
    return netns == -1 || setns(netns, CLONE_NEWNET) == 0;
}

bool path_enter_as_server(const struct path *path)
{
    return enter(path, path->server_netns);
}

bool path_enter_as_client(const struct path *path)
{
    return enter(path, path->client_netns);
}

#endif
