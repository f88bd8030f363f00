/* What the kernel says about one frame: the events that it causes while the server's device
 * receives it, and the counters that increase meanwhile.
 *
 * A TAP device without NAPI receives a frame within the write() that hands it over.  So tracing is
 * switched on just before that write() and off just after it.  The events are read as text, in
 * which the kernel itself writes the name of the reason. */
#include "drops.h"

#ifndef CANNOT_TRACE

#include <linux/rtnetlink.h>
#include <net/if.h>

static char instance[INSTANCE_PATH];
#define DEVICE "drops" /* and the number of this process */

/* ---- the instance ---- */

static bool enable(void)
{
    static const char *const names[] = {"net/netif_receive_skb", "skb/kfree_skb", "skb/consume_skb",
                                        "tcp/tcp_probe"};
    char text[64];
    bool done = file_write("0", "%s/tracing_on", instance);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(text, sizeof text, i == 0 ? "name==\"%s\"" : "common_pid==%s",
                 i == 0 ? server_device : server_device + strlen(DEVICE));
        done = file_write(text, "%s/events/%s/filter", instance, names[i]) &&
               file_write("1", "%s/events/%s/enable", instance, names[i]) && done;
    }
    return done;
}

#define FIRST_PID_NAMESPACE 0xeffffffcU /* see tracer.c */
bool watch_open(char why[WHY_SIZE])
{
    char format[16384] = "";
    struct stat space;

    snprintf(server_device, sizeof server_device, DEVICE "%d", getpid() % 10000000);
    if (stat("/proc/self/ns/pid", &space) == 0 && space.st_ino != FIRST_PID_NAMESPACE) {
        snprintf(why, WHY_SIZE,
                 "This is a PID namespace, as in a container: the kernel's events name threads by "
                 "numbers that are not known here.");
        return false;
    }
    if (!instance_create(instance, why)) {
        instance[0] = '\0';
        return false;
    }
    bool enabled = enable();
    file_read(format, sizeof format, "%s/events/skb/kfree_skb/format", instance);
    if (enabled && strstr(format, " reason;") != NULL)
        return true;
    snprintf(why, WHY_SIZE, "%s",
             enabled ? "This kernel's event skb:kfree_skb has no reason. Linux has it since 5.17."
                     : "This kernel lacks one of the events net:netif_receive_skb, skb:kfree_skb, "
                       "skb:consume_skb and tcp:tcp_probe.");
    return false;
}

void watch_close(void)
{
    if (instance[0] != '\0')
        instance_remove(instance);
}

/* ---- events ---- */

/* Copy the word that follows the label.  Without the label, the word is empty. */
static void word_after(const char *line, const char *label, char *word, size_t size)
{
    const char *at = strstr(line, label);

    word[0] = '\0';
    if (at != NULL) {
        at += strlen(label);
        at += strspn(at, " ");
        snprintf(word, size, "%.*s", (int)strcspn(at, " \t\n"), at);
    }
}

/* Name the function at this address: the last one in /proc/kallsyms that begins before it.  A line
 * is "ADDRESS TYPE NAME". */
static void name_function(unsigned long long address, char *function, size_t size)
{
    FILE *file = fopen("/proc/kallsyms", "re");
    unsigned long long start, best = 0;
    char line[512], *end;

    function[0] = '\0';
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        start = strtoull(line, &end, 16);
        if (start <= best || start > address || strchr("tTwW", end[1]) == NULL)
            continue;
        best = start;
        snprintf(function, size, "%.*s", (int)strcspn(end + 3, " \t\n"), end + 3);
    }
    if (file != NULL)
        fclose(file);
}

static char *read_events(void)
{
    static char text[1 << 18];

    file_read(text, sizeof text, "%s/trace", instance);
    return text;
}

static void remove_events(void)
{
    char path[INSTANCE_PATH + 8];

    snprintf(path, sizeof path, "%s/trace", instance);
    file_close(open(path, O_WRONLY | O_TRUNC | O_CLOEXEC));
}

/* Newer kernels print a location as "tcp_v4_rcv+0x5a/0xc0".  Older ones print an address, which is
 * a hash until hash-ptr is off.  But then they leave out names, so this needs a second reading. */
static void learn_function(size_t line, struct verdict *verdict)
{
    char *function = verdict->function, *at;
    size_t digits = strspn(function, "0123456789abcdef");

    if (digits > 0 && function[digits] == '\0') {
        file_write("0", "%s/options/hash-ptr", instance);
        for (at = read_events(); line > 0 && (at = strchr(at, '\n')) != NULL; line--)
            at++;
        file_write("1", "%s/options/hash-ptr", instance);
        if (at != NULL)
            word_after(at, " location=", function, sizeof verdict->function);
        name_function(strtoull(function, NULL, 16), function, sizeof verdict->function);
    }
    function[strcspn(function, "+")] = '\0';
}

/* A line is "TASK-PID [CPU] FLAGS TIME: EVENT: VALUES".  The frame is ours from the event that
 * names our device to the first one that frees its skb on the same CPU. */
struct verdict watch_verdict(void)
{
    struct verdict verdict = {.end = NOT_RECEIVED};
    char device[32], skb[32] = "", cpu[16] = "", line_skb[32], line_cpu[16], *line;
    char *rest = read_events();
    size_t number = 0;

    snprintf(device, sizeof device, " dev=%s ", server_device);
    for (; verdict.end < CONSUMED && (line = strsep(&rest, "\n")) != NULL; number++) {
        word_after(line, " [", line_cpu, sizeof line_cpu);
        word_after(line, " skbaddr=", line_skb, sizeof line_skb);
        if (verdict.end == NOT_RECEIVED && strstr(line, device) != NULL) {
            verdict = (struct verdict){.end = NO_EVENT, .hop = HOP_RECEIVE};
            memcpy(skb, line_skb, sizeof skb);
            memcpy(cpu, line_cpu, sizeof cpu);
        }
        bool is_ours = strcmp(skb, line_skb) == 0, freed = strstr(line, " kfree_skb: ") != NULL;
        if (verdict.end == NOT_RECEIVED || strcmp(cpu, line_cpu) != 0)
            continue;
        /* In Linux 6.1, tcp_probe does not name its skb. */
        if ((is_ours || line_skb[0] == '\0') && strstr(line, " tcp_probe: ") != NULL)
            verdict.hop = HOP_TCP;
        if (!is_ours || (!freed && strstr(line, " consume_skb: ") == NULL))
            continue;
        verdict.end = freed ? DROPPED : CONSUMED;
        word_after(line, " reason:", verdict.reason, sizeof verdict.reason);
        word_after(line, " location=", verdict.function, sizeof verdict.function);
        learn_function(number, &verdict);
    }
    remove_events();
    return verdict;
}

/* ---- counters ---- */

#define MAX_COUNTERS 512
struct counters {
    size_t count;
    struct increase list[MAX_COUNTERS];
};

static void add(struct counters *counters, const char *group, const char *name,
                unsigned long long value)
{
    if (counters->count == MAX_COUNTERS)
        return;
    struct increase *one = &counters->list[counters->count++];
    snprintf(one->name, sizeof one->name, "%s%s", group, name);
    one->by = value;
}

/* A line of names is followed by a line of values, and both begin with the same word, such as
 * "TcpExt:".  nstat writes the word and the name together. */
static void read_pairs(const char *path, struct counters *counters)
{
    char text[16384], *lines = NULL, *names, *values, *line, *group, *name, *value;

    file_read(text, sizeof text, "%s", path);
    for (line = strtok_r(text, "\n", &lines); line != NULL; line = strtok_r(NULL, "\n", &lines)) {
        group = strtok_r(line, ":", &names);
        values = strtok_r(NULL, "\n", &lines);
        if (group == NULL || values == NULL || strtok_r(values, " ", &values) == NULL)
            return;
        while ((name = strtok_r(NULL, " ", &names)) != NULL &&
               (value = strtok_r(NULL, " ", &values)) != NULL)
            add(counters, group, name, strtoull(value, NULL, 10));
    }
}

/* The device's counters, as `ip -s -s link` shows them: struct rtnl_link_stats64, of which old
 * header files do not have the last members. */
static void read_device(struct counters *counters)
{
    static const char *const names[25] = {[4] = "rx_errors",
                                          [6] = "rx_dropped",
                                          [15] = "rx_missed_errors",
                                          [23] = "rx_nohandler",
                                          [24] = "rx_otherhost_dropped"};
    struct {
        struct nlmsghdr head;
        struct if_stats_msg link;
        struct rtattr attribute;
        char values[1000];
    } message = {.head = {.nlmsg_len = NLMSG_LENGTH(sizeof message.link),
                          .nlmsg_type = RTM_GETSTATS,
                          .nlmsg_flags = NLM_F_REQUEST},
                 .link = {.ifindex = if_nametoindex(server_device), .filter_mask = 1}};
    uint64_t value;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd != -1 && send(fd, &message, message.head.nlmsg_len, 0) != -1 &&
        recv(fd, &message, sizeof message, 0) != -1 && message.head.nlmsg_type == RTM_NEWSTATS)
        for (size_t i = 0; i < 25; i++)
            if (names[i] != NULL && message.attribute.rta_len >= 4 + (i + 1) * sizeof value) {
                memcpy(&value, message.values + i * sizeof value, sizeof value);
                add(counters, "", names[i], value);
            }
    file_close(fd);
}

static void read_counters(int fd, struct counters *counters)
{
    uint32_t memory[16] = {0}; /* its ninth number is that of the drops, SK_MEMINFO_DROPS */
    socklen_t size = sizeof memory;

    counters->count = 0;
    read_pairs("/proc/net/netstat", counters);
    read_pairs("/proc/net/snmp", counters);
    read_device(counters);
    if (fd != -1 && getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0)
        add(counters, "", "drops of the socket", memory[8]);
}

void watch_add(struct increases *increases, const char *name, unsigned long long by)
{
    /* Packets that are not lost increase these, too. */
    static const char ordinary[] =
        " IpInReceives IpInDelivers IpOutRequests IpOutTransmits IpExtInOctets IpExtOutOctets "
        "IpExtInNoECTPkts TcpInSegs TcpOutSegs TcpExtTCPHPHits TcpExtTCPPureAcks UdpInDatagrams ";
    char word[64];

    snprintf(word, sizeof word, " %s ", name);
    if (by == 0 || increases->count == MAX_INCREASES || strstr(ordinary, word) != NULL)
        return;
    struct increase *one = &increases->list[increases->count++];
    snprintf(one->name, sizeof one->name, "%s", name);
    one->by = by;
}

void watch_deliver(int fd, struct increases *increases)
{
    static struct counters before, after;

    read_counters(fd, &before);
    file_write("1", "%s/tracing_on", instance);
    wire_deliver();
    file_write("0", "%s/tracing_on", instance);
    read_counters(fd, &after);
    for (size_t i = 0; i < after.count && i < before.count; i++)
        watch_add(increases, after.list[i].name, after.list[i].by - before.list[i].by);
}

#endif
