/* The network of drops: two network namespaces, each with a TAP device, and this program between
 * them, so that it can delay, change or repeat each frame.  The namespaces have no name.  They and
 * their devices end with this program, even if it is killed. */
#include "drops.h"

#ifndef CANNOT_TRACE

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

enum { FIN_FLAG = 1, SYN_FLAG = 2, RST_FLAG = 4, ACK_FLAG = 16 };

char server_device[NAME_SIZE];
struct frame held;
struct sight seen[2][PACKETS];
static int netns[2] = {-1, -1}, tap[2] = {-1, -1};
static enum packet wanted;
static struct timespec delivered;

/* ---- frames ---- */

static unsigned get16(const unsigned char *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static void put16(unsigned char *at, unsigned value)
{
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
}

/* Adjust a checksum for 16 bits that have changed: RFC 1624. */
static void adjust(unsigned char *checksum, unsigned before, unsigned after)
{
    unsigned sum = (~get16(checksum) & 0xffff) + (~before & 0xffff) + after;

    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    put16(checksum, ~sum & 0xffff);
}

void wire_change(size_t at, unsigned value)
{
    unsigned before = get16(held.bytes + at);

    put16(held.bytes + at, value);
    adjust(held.bytes + TCP_AT + 16, before, value);
    if (at < TCP_AT)
        adjust(held.bytes + IP_AT + 10, before, value);
}

static enum packet packet_of(const struct frame *frame)
{
    const unsigned char *ip = frame->bytes + IP_AT, *tcp = frame->bytes + TCP_AT;

    if (frame->length < TCP_AT + 8 || get16(frame->bytes + 12) != 0x0800)
        return OTHER;
    if (ip[9] != IPPROTO_TCP || frame->length < TCP_AT + 20)
        return ip[9] == IPPROTO_UDP ? DATAGRAM : OTHER;
    unsigned flags = tcp[13], length = get16(ip + 2) - 20, header = (tcp[12] >> 4) * 4U;
    if ((flags & RST_FLAG) != 0)
        return RESET;
    if ((flags & SYN_FLAG) != 0)
        return (flags & ACK_FLAG) != 0 ? SYN_ACK : SYN;
    return length > header ? DATA : (flags & FIN_FLAG) != 0 ? OTHER : ACK;
}

/* ---- carrying frames ---- */

double wire_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - delivered.tv_sec) * 1e3 +
           (double)(now.tv_nsec - delivered.tv_nsec) / 1e6;
}

void wire_hold(enum packet packet)
{
    held.length = 0;
    wanted = packet;
}

/* As on any wire, nobody learns that a frame could not be written. */
static void write_frame(enum side to, const struct frame *frame)
{
    ssize_t written = write(tap[to], frame->bytes, frame->length);

    (void)written;
}

void wire_deliver(void)
{
    memset(seen, 0, sizeof seen);
    clock_gettime(CLOCK_MONOTONIC, &delivered);
    write_frame(SERVER, &held);
}

/* IPv6 stays out: both kernels would announce their addresses. */
static void carry_from(enum side side)
{
    static struct frame frame;
    ssize_t got = read(tap[side], frame.bytes, sizeof frame.bytes);

    if (got < IP_AT || get16(frame.bytes + 12) == 0x86dd)
        return;
    frame.length = (size_t)got;
    enum packet packet = packet_of(&frame);
    struct sight *sight = &seen[side][packet];
    if (sight->count++ == 0)
        sight->ms = wire_ms();
    if (side == CLIENT && wanted != OTHER && packet == wanted) {
        held = frame;
        wanted = OTHER;
    } else {
        write_frame(side == CLIENT ? SERVER : CLIENT, &frame);
    }
}

void wire_carry(int ms, bool (*done)(void))
{
    struct pollfd ends[2] = {{tap[CLIENT], POLLIN, 0}, {tap[SERVER], POLLIN, 0}};
    double until = wire_ms() + ms;

    while (!stopped && (done == NULL || !done()) && wire_ms() < until) {
        if (poll(ends, 2, 2) <= 0)
            continue;
        for (int side = CLIENT; side <= SERVER; side++)
            if (ends[side].revents != 0)
                carry_from((enum side)side);
    }
}

/* ---- the two namespaces ---- */

/* Set the device up, with this address and a netmask of 24 bits. */
static bool set_up(struct ifreq *device, const char *address)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, address, &name.sin_addr);
    memcpy(&device->ifr_addr, &name, sizeof name);
    bool done = ioctl(fd, SIOCSIFADDR, device) == 0;
    inet_pton(AF_INET, "255.255.255.0", &name.sin_addr);
    memcpy(&device->ifr_addr, &name, sizeof name);
    done = done && ioctl(fd, SIOCSIFNETMASK, device) == 0;
    device->ifr_flags = IFF_UP;
    done = done && ioctl(fd, SIOCSIFFLAGS, device) == 0;
    file_close(fd);
    return done;
}

static bool open_side(enum side side, const char *device, const char *address)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};

    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    if (unshare(CLONE_NEWNET) == -1)
        return false;
    file_write("0", "/proc/sys/net/ipv4/ip_forward"); /* a new namespace copies the first one's */
    netns[side] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    tap[side] = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    return tap[side] != -1 && ioctl(tap[side], TUNSETIFF, &request) == 0 &&
           set_up(&request, address);
}

bool wire_open(char why[WHY_SIZE])
{
    bool done =
        open_side(CLIENT, "client0", CLIENT_IP) && open_side(SERVER, server_device, SERVER_IP);

    if (!done)
        snprintf(why, WHY_SIZE, "The network for it cannot be made: %s.",
                 errno == ENOENT || errno == ENODEV
                     ? "there is no /dev/net/tun (as root: modprobe tun)"
                     : strerror(errno));
    return done;
}

void wire_close(void)
{
    for (int side = CLIENT; side <= SERVER; side++) {
        file_close(tap[side]);
        file_close(netns[side]);
    }
}

/* The process stays in the server's namespace, whose counters it reads. */
int wire_socket(enum side side, int type)
{
    int fd = setns(netns[side], CLONE_NEWNET) == 0
                 ? socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
                 : -1;
    return setns(netns[SERVER], CLONE_NEWNET) == 0 ? fd : -1;
}

#endif
