/* The network that a packet takes: made for one run, and gone with it.
 *
 * What we make is made in network namespaces that have no name: a namespace lives as long as a
 * process or a descriptor is in it, and its devices go with it.  So there is nothing to clean up,
 * even if we are killed. */
#define _GNU_SOURCE

#include "paths.h"

#include <stdio.h>
#include <string.h>

#ifndef __linux__

bool path_open(struct path *path, enum via via, int cpu, char *why, size_t size)
{
    *path = (struct path){.via = via, .server_address = "127.0.0.1", .devices = {"lo"}, .tap = -1};
    (void)cpu;
    if (via == VIA_LO)
        return true;
    snprintf(why, size, "Network namespaces are a thing of Linux, and this is another system.");
    return false;
}
void path_close(struct path *path)
{
    (void)path;
}
bool path_enter_as_server(const struct path *path)
{
    return path->via == VIA_LO;
}
bool path_enter_as_client(const struct path *path)
{
    return path->via == VIA_LO;
}

#else

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Addresses that are kept free for examples, RFC 5737: nobody's network has them. */
#define SERVER_ADDRESS "192.0.2.1"
#define CLIENT_ADDRESS "192.0.2.2"
#define NETMASK "255.255.255.0"

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

/* ---- rtnetlink: a pair of virtual cards ---- */

struct message {
    struct nlmsghdr head;
    struct ifinfomsg link;
    char attributes[256];
};

/* An attribute at the end of the message.  One that holds others is closed by nest_end(). */
static struct rtattr *attribute(struct message *message, unsigned short type, const void *data,
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

static void nest_end(const struct message *message, struct rtattr *nest)
{
    const char *end = (const char *)message + NLMSG_ALIGN(message->head.nlmsg_len);

    nest->rta_len = (unsigned short)(end - (const char *)nest);
}

static bool talk(struct message *message)
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

/* Like `ip link add client0 type veth peer name server0 netns SPACE`. */
static bool make_pair(const char *here, const char *there, int space)
{
    struct message message = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                 .nlmsg_type = RTM_NEWLINK,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK}};
    struct ifinfomsg peer_link = {0};

    attribute(&message, IFLA_IFNAME, here, strlen(here) + 1);
    struct rtattr *info = attribute(&message, IFLA_LINKINFO, NULL, 0);
    attribute(&message, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = attribute(&message, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *peer = attribute(&message, VETH_INFO_PEER, &peer_link, sizeof peer_link);
    attribute(&message, IFLA_IFNAME, there, strlen(there) + 1);
    attribute(&message, IFLA_NET_NS_FD, &space, sizeof space);
    nest_end(&message, peer);
    nest_end(&message, data);
    nest_end(&message, info);
    return talk(&message);
}

/* ---- namespaces ---- */

static int this_space(void)
{
    return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* A new network namespace, with its lo up; we are in it afterwards.  -1: it cannot be had. */
static int new_space(void)
{
    if (unshare(CLONE_NEWNET) == -1 || !device_up("lo"))
        return -1;
    return this_space();
}

/* Write a file of /sys/class/net.  That folder shows the devices of the namespace in which it was
 * mounted, so a child process mounts it anew, where nobody else sees it. */
static bool write_sys(const char *file, const char *text)
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
        errno = WEXITSTATUS(status); /* numbers of errors fit: there are less than 200 */
    return child != -1 && status == 0;
}

/* ---- the ways ---- */

static bool open_veth(struct path *path)
{
    path->server_space = new_space();
    path->client_space = new_space();
    strcpy(path->server_address, SERVER_ADDRESS);
    strcpy(path->devices[0], "client0");
    strcpy(path->devices[1], "server0");
    return path->server_space != -1 && path->client_space != -1 &&
           make_pair("client0", "server0", path->server_space) &&
           device_address("client0", CLIENT_ADDRESS) &&
           setns(path->server_space, CLONE_NEWNET) == 0 &&
           device_address("server0", SERVER_ADDRESS);
}

/* RPS: what lo receives is handed to CPU 1.  So the client has to stay on CPU 0. */
static bool open_rps(struct path *path)
{
    path->server_space = path->client_space = new_space();
    path->cpu = 0;
    strcpy(path->devices[0], "lo");
    if (access("/sys/devices/system/cpu/cpu1/topology", F_OK) == -1) { /* there while it runs */
        errno = ENODEV;
        return false;
    }
    return path->server_space != -1 && write_sys("/sys/class/net/lo/queues/rx-0/rps_cpus", "2");
}

/* With NAPI, the device polls; and it may hold segments for half a millisecond to merge them. */
static bool open_tap(struct path *path)
{
    struct ifreq request = {.ifr_name = "tap0", .ifr_flags = IFF_TAP | IFF_NO_PI};

    path->server_space = new_space();
    strcpy(path->server_address, SERVER_ADDRESS);
    strcpy(path->devices[0], "tap0");
    if (path->via == VIA_GRO)
        request.ifr_flags |= IFF_NAPI;
    path->tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    return path->server_space != -1 && path->tap != -1 &&
           ioctl(path->tap, TUNSETIFF, &request) == 0 && device_address("tap0", SERVER_ADDRESS) &&
           (path->via != VIA_GRO || (write_sys("/sys/class/net/tap0/gro_flush_timeout", "500000") &&
                                     write_sys("/sys/class/net/tap0/napi_defer_hard_irqs", "2")));
}

static bool open_way(struct path *path)
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
        return "it takes root";
    case ENODEV:
        return via == VIA_RPS ? "it takes two CPUs" : "the kernel has no such device";
    case EOPNOTSUPP:
        return "the kernel has no such device";
    case ENOENT:
        return via == VIA_RPS ? "the kernel has no RPS" : "there is no /dev/net/tun";
    default:
        return strerror(error);
    }
}

/* We come back to our own namespace; what was made stays reachable by its descriptors. */
bool path_open(struct path *path, enum via via, int cpu, char *why, size_t size)
{
    *path =
        (struct path){.via = via, .server_space = -1, .client_space = -1, .tap = -1, .cpu = cpu};
    strcpy(path->server_address, "127.0.0.1");
    strcpy(path->devices[0], "lo");
    if (via == VIA_LO)
        return true; /* nothing to make, and anybody may use it */
    int home = this_space();
    bool done = home != -1 && open_way(path);
    int error = errno;
    if (home != -1 && setns(home, CLONE_NEWNET) == -1 && done) {
        done = false;
        error = errno;
    }
    if (home != -1)
        close(home);
    if (!done) {
        snprintf(why, size, "The way %s cannot be made: %s.", vias[via].name, reason(error, via));
        path_close(path);
    }
    return done;
}

void path_close(struct path *path)
{
    if (path->tap != -1)
        close(path->tap);
    if (path->client_space != -1 && path->client_space != path->server_space)
        close(path->client_space);
    if (path->server_space != -1)
        close(path->server_space);
    path->tap = path->client_space = path->server_space = -1;
}

/* A hint, and no more: where it is not allowed, the scheduler chooses. */
static void stay_on(int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

static bool enter(const struct path *path, int space)
{
    if (path->cpu != -1)
        stay_on(path->cpu);
    return space == -1 || setns(space, CLONE_NEWNET) == 0;
}

bool path_enter_as_server(const struct path *path)
{
    return enter(path, path->server_space);
}

bool path_enter_as_client(const struct path *path)
{
    return enter(path, path->client_space);
}

#endif
