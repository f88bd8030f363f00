/* What the kernel says about one frame: the events that it causes while the server's device
 * receives it, and the counters that increase meanwhile.
 *
 * A TAP device without NAPI receives a frame within the write() that hands it over.  So tracing is
 * switched on just before that write() and off just after it.  The events are read as text, in
 * which the kernel itself writes the name of the reason. */
#define _GNU_SOURCE

#include "drops.h"

#ifndef CANNOT_TRACE

#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef unsigned long long counter;

static char instance[INSTANCE_PATH];
static int pipe_fd = -1; /* the instance's trace_pipe */

/* ---- the instance ---- */

static const char *const events[] = {"skb/kfree_skb", "skb/consume_skb", "tcp/tcp_probe"};

/* With hash-ptr off, an skb has the same address in all events, and `location` is an address that
 * /proc/kallsyms has. */
static bool enable(void)
{
    char filter[64], path[INSTANCE_PATH + 16];
    bool done = file_write("0", "%s/tracing_on", instance);

    file_write("0", "%s/options/hash-ptr", instance);
    snprintf(filter, sizeof filter, "name==\"%s\"", server_device);
    done = done && file_write(filter, "%s/events/net/netif_receive_skb/filter", instance) &&
           file_write("1", "%s/events/net/netif_receive_skb/enable", instance);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        done = file_write("1", "%s/events/%s/enable", instance, events[i]) && done;
    snprintf(path, sizeof path, "%s/trace_pipe", instance);
    pipe_fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    return done && pipe_fd != -1;
}

bool watch_has_reasons(void)
{
    char text[16384];

    return file_read(text, sizeof text, "%s/events/skb/kfree_skb/format", instance) &&
           strstr(text, " reason;") != NULL;
}

bool watch_open(char why[WHY_SIZE])
{
    if (!instance_create(instance, why))
        return false;
    if (!enable())
        snprintf(why, WHY_SIZE, "This kernel does not have the events that trace drops reads.");
    else if (!watch_has_reasons())
        snprintf(why, WHY_SIZE, "This kernel gives no reason in skb:kfree_skb. Linux 5.17 and "
                                "later do; see uname -r.");
    else
        return true;
    watch_close();
    return false;
}

void watch_close(void)
{
    file_close(pipe_fd);
    pipe_fd = -1;
    if (instance[0] != '\0')
        instance_remove(instance);
    instance[0] = '\0';
}

/* ---- events ---- */

/* Copy the word that follows the label.  False: the line does not have the label. */
static bool word_after(const char *line, const char *label, char *word, size_t size)
{
    const char *at = strstr(line, label);

    word[0] = '\0';
    if (at == NULL)
        return false;
    at += strlen(label);
    at += strspn(at, " ");
    snprintf(word, size, "%.*s", (int)strcspn(at, " \n"), at);
    return true;
}

/* Name the function at this address: the last one in /proc/kallsyms that begins before it. */
static void name_function(counter address, char *function, size_t size)
{
    FILE *file = fopen("/proc/kallsyms", "re");
    char line[512], type;
    counter start, best = 0;
    int name;

    function[0] = '\0';
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "%llx %c %n", &start, &type, &name) == 2 && start > best &&
            start <= address && strchr("tTwW", type) != NULL) {
            best = start;
            snprintf(function, size, "%.*s", (int)strcspn(line + name, " \t\n"), line + name);
        }
    if (file != NULL)
        fclose(file);
}

/* Some kernels print "tcp_v4_rcv+0x5a/0xc0", and older ones the address. */
static void learn_function(const char *line, struct verdict *verdict)
{
    char *end;

    if (!word_after(line, " location=", verdict->function, sizeof verdict->function))
        return;
    counter address = strtoull(verdict->function, &end, 16);
    if (*end == '\0')
        name_function(address, verdict->function, sizeof verdict->function);
    verdict->function[strcspn(verdict->function, "+")] = '\0';
}

/* A line is "TASK-PID [CPU] FLAGS TIME: EVENT: VALUES".  The frame is ours from the event that
 * names our device to the first one that frees its skb on the same CPU. */
static struct verdict read_verdict(char *text)
{
    struct verdict verdict = {.end = NOT_RECEIVED};
    char device[32], skb[32] = "", other[32], cpu[16] = "", other_cpu[16], *rest = NULL;
    bool freed;

    snprintf(device, sizeof device, " dev=%s ", server_device);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL && verdict.end < CONSUMED;
         line = strtok_r(NULL, "\n", &rest)) {
        word_after(line, " [", other_cpu, sizeof other_cpu);
        word_after(line, " skbaddr=", other, sizeof other);
        if (skb[0] == '\0' && strstr(line, device) != NULL) {
            verdict = (struct verdict){.end = NO_EVENT, .hop = HOP_RECEIVE};
            memcpy(skb, other, sizeof skb);
            memcpy(cpu, other_cpu, sizeof cpu);
            continue;
        }
        if (skb[0] == '\0' || strcmp(cpu, other_cpu) != 0)
            continue;
        if (strstr(line, " tcp_probe: ") != NULL && (other[0] == '\0' || strcmp(skb, other) == 0))
            verdict.hop = HOP_TCP;
        freed = strstr(line, " kfree_skb: ") != NULL;
        if (strcmp(skb, other) != 0 || (!freed && strstr(line, " consume_skb: ") == NULL))
            continue;
        verdict.end = freed ? DROPPED : CONSUMED;
        word_after(line, " reason:", verdict.reason, sizeof verdict.reason);
        learn_function(line, &verdict);
    }
    return verdict;
}

/* ---- counters ---- */

#define MAX_COUNTERS 512
struct counters {
    size_t count;
    struct increase list[MAX_COUNTERS];
};

static void add_counter(struct counters *counters, const char *prefix, const char *name,
                        counter value)
{
    if (counters->count == MAX_COUNTERS)
        return;
    struct increase *one = &counters->list[counters->count++];
    snprintf(one->name, sizeof one->name, "%s%s", prefix, name);
    one->by = value;
}

/* A line of names is followed by a line of values, and both begin with the same word: "TcpExt:".
 * nstat writes the word and the name together. */
static void read_pairs(const char *path, struct counters *counters)
{
    static char text[32768];
    char *rest = NULL, *name_rest, *value_rest;

    if (!file_read(text, sizeof text, "%s", path))
        return;
    for (char *names = strtok_r(text, "\n", &rest); names != NULL;
         names = strtok_r(NULL, "\n", &rest)) {
        char *values = strtok_r(NULL, "\n", &rest);
        char *prefix = strtok_r(names, ":", &name_rest), *name, *value;
        if (values == NULL || prefix == NULL)
            return;
        strtok_r(values, " ", &value_rest);
        while ((name = strtok_r(NULL, " ", &name_rest)) != NULL &&
               (value = strtok_r(NULL, " ", &value_rest)) != NULL)
            add_counter(counters, prefix, name, strtoull(value, NULL, 10));
    }
}

/* The device's counters: struct rtnl_link_stats64 of <linux/if_link.h>, of which old header files
 * do not have the last ones. */
static const char *const device_counters[25] = {
    [4] = "rx_errors",         [6] = "rx_dropped",    [15] = "rx_missed_errors",
    [23] = "rx_nohandler",     [24] = "rx_otherhost_dropped"};

static void read_device(struct counters *counters)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg link;
    } request = {{.nlmsg_len = sizeof request,
                  .nlmsg_type = RTM_GETLINK,
                  .nlmsg_flags = NLM_F_REQUEST},
                 {.ifi_index = (int)if_nametoindex(server_device)}};
    static union {
        struct nlmsghdr head;
        char room[16384];
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    ssize_t got = -1;

    if (fd != -1 && send(fd, &request, sizeof request, 0) != -1)
        got = recv(fd, &answer, sizeof answer, 0);
    file_close(fd);
    if (got < (ssize_t)sizeof request || answer.head.nlmsg_type != RTM_NEWLINK)
        return;
    int left = (int)(got - (ssize_t)sizeof request);
    struct rtattr *attribute = (struct rtattr *)(void *)(answer.room + sizeof request);
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
        for (size_t i = 0; attribute->rta_type == IFLA_STATS64 && i < 25; i++) {
            uint64_t value;
            if (device_counters[i] == NULL || RTA_PAYLOAD(attribute) < (i + 1) * sizeof value)
                continue;
            memcpy(&value, (char *)RTA_DATA(attribute) + i * sizeof value, sizeof value);
            add_counter(counters, "", device_counters[i], value);
        }
}

static void read_counters(int fd, struct counters *counters)
{
    uint32_t memory[16] = {0}; /* SK_MEMINFO_DROPS is the ninth */
    socklen_t size = sizeof memory;

    counters->count = 0;
    read_pairs("/proc/net/netstat", counters);
    read_pairs("/proc/net/snmp", counters);
    read_device(counters);
    if (fd != -1 && getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0 && size >= 36)
        add_counter(counters, "", "drops of the socket", memory[8]);
}

/* Every packet increases these. */
static bool is_ordinary(const char *name)
{
    static const char *const ordinary[] = {
        "IpInReceives",    "IpInDelivers",        "IpOutRequests",  "IpOutTransmits",
        "IpExtInOctets",   "IpExtOutOctets",      "TcpInSegs",      "TcpOutSegs",
        "TcpPassiveOpens", "IpExtInNoECTPkts",    "TcpExtTCPHPHits", "TcpExtTCPPureAcks",
        "UdpInDatagrams"};

    for (size_t i = 0; i < sizeof ordinary / sizeof *ordinary; i++)
        if (strcmp(name, ordinary[i]) == 0)
            return true;
    return false;
}

void watch_add(struct increases *increases, const char *name, counter by)
{
    if (increases->count == MAX_INCREASES)
        return;
    struct increase *one = &increases->list[increases->count++];
    snprintf(one->name, sizeof one->name, "%s", name);
    one->by = by;
}

static void compare(const struct counters *before, const struct counters *after,
                    struct increases *increases)
{
    for (size_t i = 0; i < after->count && i < before->count; i++)
        if (after->list[i].by > before->list[i].by && !is_ordinary(after->list[i].name))
            watch_add(increases, after->list[i].name, after->list[i].by - before->list[i].by);
}

struct verdict watch_deliver(int fd, struct increases *increases)
{
    static struct counters before, after;
    static char text[1 << 18];
    size_t length = 0;
    ssize_t got;

    while (read(pipe_fd, text, sizeof text) > 0)
        continue; /* of an earlier frame */
    read_counters(fd, &before);
    file_write("1", "%s/tracing_on", instance);
    wire_forget();
    bool done = wire_deliver();
    file_write("0", "%s/tracing_on", instance);
    read_counters(fd, &after);
    compare(&before, &after, increases);
    while (length < sizeof text - 1 &&
           (got = read(pipe_fd, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    return done ? read_verdict(text) : (struct verdict){.end = NOT_RECEIVED};
}

#endif
