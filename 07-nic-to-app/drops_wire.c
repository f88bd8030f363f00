/* The network of drops: two network namespaces, each with a TAP device, and this program between
 * them.  The namespaces have no name, so they and their devices end with this program, even if it
 * is killed. */
#define _GNU_SOURCE

#include "drops.h"

#ifndef CANNOT_TRACE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FIN_FLAG = 1, SYN_FLAG = 2, RST_FLAG = 4, ACK_FLAG = 16 };

char server_device[NAME_SIZE];
struct frame held;
struct sight seen[2][PACKETS];
static int netns[2] = {-1, -1}, tap[2] = {-1, -1};
static enum packet wanted; /* OTHER: no frame is to be held */
static struct timespec begin;

/* ---- frames ---- */

unsigned frame_get16(size_t at)
{
    return (unsigned)held.bytes[at] << 8 | held.bytes[at + 1];
}

static void put16(size_t at, unsigned value)
{
    held.bytes[at] = (unsigned char)(value >> 8);
    held.bytes[at + 1] = (unsigned char)value;
}

/* Adjust a checksum for 16 bits that have changed: RFC 1624. */
static void adjust(size_t checksum, unsigned before, unsigned after)
{
    unsigned sum = (~frame_get16(checksum) & 0xffff) + (~before & 0xffff) + after;

    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    put16(checksum, ~sum & 0xffff);
}

void frame_set16(size_t at, unsigned value)
{
    unsigned before = frame_get16(at);

    put16(at, value);
    adjust(TCP_AT + 16, before, value);
    if (at < TCP_AT)
        adjust(IP_AT + 10, before, value);
}

static enum packet packet_of(const struct frame *frame)
{
    const unsigned char *ip = frame->bytes + IP_AT, *tcp = frame->bytes + TCP_AT;

    if (frame->length < TCP_AT + 8 || frame->bytes[12] != 8 || frame->bytes[13] != 0)
        return OTHER;
    if (ip[9] == IPPROTO_UDP)
        return DATAGRAM;
    if (ip[9] != IPPROTO_TCP || frame->length < TCP_AT + 20)
        return OTHER;
    if ((tcp[13] & RST_FLAG) != 0)
        return RESET;
    if ((tcp[13] & SYN_FLAG) != 0)
        return (tcp[13] & ACK_FLAG) != 0 ? SYN_ACK : SYN;
    size_t length = (size_t)(ip[2] << 8 | ip[3]) - 20, header = (size_t)(tcp[12] >> 4) * 4;
    return length > header ? DATA : (tcp[13] & FIN_FLAG) != 0 ? OTHER : ACK;
}

/* ---- carrying frames ---- */

void wire_forget(void)
{
    memset(seen, 0, sizeof seen);
    clock_gettime(CLOCK_MONOTONIC, &begin);
}

double wire_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - begin.tv_sec) * 1e3 + (double)(now.tv_nsec - begin.tv_nsec) / 1e6;
}

void wire_hold(enum packet packet)
{
    held.length = 0;
    wanted = packet;
}

bool wire_deliver(void)
{
    return held.length > 0 &&
           write(tap[SERVER], held.bytes, held.length) == (ssize_t)held.length;
}

/* Carry one frame.  IPv6 stays out: the kernel would announce its addresses. */
static void carry_from(enum side side)
{
    static struct frame frame;
    ssize_t got = read(tap[side], frame.bytes, sizeof frame.bytes);

    if (got < IP_AT || (frame.bytes[12] == 0x86 && frame.bytes[13] == 0xdd))
        return;
    frame.length = (size_t)got;
    enum packet packet = packet_of(&frame);
    struct sight *sight = &seen[side][packet];
    if (sight->count++ == 0)
        sight->ms = wire_ms();
    if (side == CLIENT && wanted != OTHER && packet == wanted) {
        held = frame;
        wanted = OTHER;
    } else if (write(tap[side == CLIENT ? SERVER : CLIENT], frame.bytes, frame.length) == -1) {
        return; /* as on a wire, nobody is told */
    }
}

void wire_carry(int ms, bool (*done)(void))
{
    struct pollfd ends[2] = {{tap[CLIENT], POLLIN, 0}, {tap[SERVER], POLLIN, 0}};
    double until = wire_ms() + ms;

    while (!stopped && (done == NULL || !done()) && wire_ms() < until) {
        if (poll(ends, 2, 5) <= 0)
            continue;
        for (int side = CLIENT; side <= SERVER; side++)
            if (ends[side].revents != 0)
                carry_from((enum side)side);
    }
}

/* ---- the two namespaces ---- */

static bool set_up(const char *device, const char *address)
{
    struct ifreq request = {.ifr_flags = 0};
    struct sockaddr_in name = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = fd != -1;

    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    for (int i = 0; i < 2; i++) {
        inet_pton(AF_INET, i == 0 ? address : "255.255.255.0", &name.sin_addr);
        memcpy(&request.ifr_addr, &name, sizeof name);
        done = done && ioctl(fd, i == 0 ? SIOCSIFADDR : SIOCSIFNETMASK, &request) == 0;
    }
    done = done && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    done = done && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    file_close(fd);
    return done;
}

static bool open_side(enum side side, const char *device)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};

    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    if (unshare(CLONE_NEWNET) == -1 ||
        (netns[side] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) == -1 ||
        (tap[side] = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)) == -1)
        return false;
    return ioctl(tap[side], TUNSETIFF, &request) == 0 &&
           set_up(device, side == CLIENT ? CLIENT_IP : SERVER_IP);
}

bool wire_open(char why[WHY_SIZE])
{
    snprintf(server_device, sizeof server_device, "drops%ld", (long)getpid());
    if (open_side(CLIENT, "client0") && open_side(SERVER, server_device))
        return true;
    snprintf(why, WHY_SIZE, "the network for this cannot be made: %s%s.",
             errno == ENOENT ? "there is no /dev/net/tun" : strerror(errno),
             errno == ENOENT ? " (as root: modprobe tun)" : "");
    wire_close();
    return false;
}

void wire_close(void)
{
    for (int side = CLIENT; side <= SERVER; side++) {
        file_close(tap[side]);
        file_close(netns[side]);
        tap[side] = netns[side] = -1;
    }
}

/* The process stays in the server's namespace, whose counters it reads. */
int wire_socket(enum side side, int type)
{
    int fd = -1;

    if (setns(netns[side], CLONE_NEWNET) == 0)
        fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return setns(netns[SERVER], CLONE_NEWNET) == 0 ? fd : -1;
}

#endif
