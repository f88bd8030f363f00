/* The network that a packet takes: created for one run, and removed with it.
 *
 * The devices are created in network namespaces without a name.  Such a namespace exists as long as
 * a process is in it or a descriptor refers to it, and its devices end with it.  So there is
 * nothing to clean up, even if the tracer is killed. */
#include "trace.h"

#ifndef CANNOT_TRACE

#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>

/* Addresses that RFC 5737 reserves for documentation: no real network uses them. */
#define SERVER_ADDRESS "192.0.2.1"
#define CLIENT_ADDRESS "192.0.2.2"
#define NETMASK "255.255.255.0"
#define OWN_NETNS "/proc/self/ns/net"

/* A card's driver says on which bus the card is.  Other drivers leave that empty, except the TUN
 * driver, whose "bus" is tun or tap. */
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
    for (int i = 0; address != NULL && i < 2; i++) {
        inet_pton(AF_INET, i == 0 ? address : NETMASK, &name.sin_addr);
        memcpy(&request.ifr_addr, &name, sizeof name);
        done = done && ioctl(fd, i == 0 ? SIOCSIFADDR : SIOCSIFNETMASK, &request) == 0;
    }
    done = done && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    done = done && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    file_close(fd);
    return done;
}

/* ---- rtnetlink ---- */

/* The request `ip link add client0 type veth peer name server0 netns NETNS`.  An attribute's length
 * includes the attributes in it.  The sizes are multiples of 4, so nothing is padded. */
struct veth_request {
    struct nlmsghdr head;
    struct ifinfomsg link;
    struct rtattr name_is;
    char name[8];
    struct veth_info {
        struct rtattr is, kind_is;
        char kind[4];
        struct veth_data {
            struct rtattr is;
            struct veth_peer {
                struct rtattr is;
                struct ifinfomsg link;
                struct rtattr name_is;
                char name[8];
                struct rtattr netns_is;
                int netns;
            } peer;
        } data;
    } info;
};

/* Send the request and wait for its acknowledgement.  False: errno says why it failed. */
static bool create_veth(int netns)
{
    struct veth_request request = {
        .head = {.nlmsg_len = sizeof request,
                 .nlmsg_type = RTM_NEWLINK,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK},
        .name_is = {sizeof(struct rtattr) + 8, IFLA_IFNAME},
        .name = "client0",
        .info = {
            .is = {sizeof(struct veth_info), IFLA_LINKINFO},
            .kind_is = {sizeof(struct rtattr) + 4, IFLA_INFO_KIND},
            .kind = {'v', 'e', 't', 'h'},
            .data = {.is = {sizeof(struct veth_data), IFLA_INFO_DATA},
                     .peer = {.is = {sizeof(struct veth_peer), VETH_INFO_PEER},
                              .name_is = {sizeof(struct rtattr) + 8, IFLA_IFNAME},
                              .name = "server0",
                              .netns_is = {sizeof(struct rtattr) + sizeof netns, IFLA_NET_NS_FD},
                              .netns = netns}}}};
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char rest[512];
    } answer = {.error.error = -EPROTO};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd == -1)
        return false;
    if (send(fd, &request, sizeof request, 0) != -1 && recv(fd, &answer, sizeof answer, 0) != -1)
        errno = -answer.error.error;
    close(fd);
    return errno == 0;
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

static bool open_veth(struct path *path)
{
    path->server_netns = enter_new_netns();
    path->client_netns = enter_new_netns();
    strcpy(path->server_address, SERVER_ADDRESS);
    strcpy(path->devices[0], "client0");
    strcpy(path->devices[1], "server0");
    return path->server_netns != -1 && path->client_netns != -1 &&
           create_veth(path->server_netns) && device_up("client0", CLIENT_ADDRESS) &&
           setns(path->server_netns, CLONE_NEWNET) == 0 && device_up("server0", SERVER_ADDRESS);
}

/* RPS moves what lo receives to CPU 1.  So the client must stay on CPU 0. */
static bool open_rps(struct path *path)
{
    path->server_netns = path->client_netns = enter_new_netns();
    path->cpu = 0;
    strcpy(path->devices[0], "lo");
    /* This folder exists while the CPU is online. */
    if (access("/sys/devices/system/cpu/cpu1/topology", F_OK) == -1) {
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
           ioctl(path->tap, TUNSETIFF, &request) == 0 && device_up("tap0", SERVER_ADDRESS) &&
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
bool path_open(struct path *path, enum via via, int cpu, char why[WHY_SIZE])
{
    *path =
        (struct path){.via = via, .server_netns = -1, .client_netns = -1, .tap = -1, .cpu = cpu};
    strcpy(path->server_address, "127.0.0.1");
    strcpy(path->devices[0], "lo");
    if (via == VIA_LO)
        return true; /* It exists already, and any user may use it. */
    int home = open(OWN_NETNS, O_RDONLY | O_CLOEXEC);
    bool done = home != -1 && (via == VIA_VETH  ? open_veth(path)
                               : via == VIA_RPS ? open_rps(path)
                                                : open_tap(path));
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
    if (path->client_netns != path->server_netns)
        file_close(path->client_netns);
    file_close(path->server_netns);
}

/* Best effort: if the CPU is not allowed, the scheduler chooses one. */
bool path_enter(const struct path *path, int netns)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    if (path->cpu != -1) {
        CPU_SET((size_t)path->cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
    }
    return netns == -1 || setns(netns, CLONE_NEWNET) == 0;
}

#endif
