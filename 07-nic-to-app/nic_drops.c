/* The counters of lost packets, layer by layer, roughly in the order in which a packet gets there.
 *
 * The names of IP's and TCP's counters are those of the tool nstat: TcpExtListenDrops is
 * ListenDrops in the lines TcpExt of /proc/net/netstat.  They belong to the network namespace;
 * softnet_stat is the whole machine's. */
#define _POSIX_C_SOURCE 200809L

#include "nic.h"

#ifdef __linux__

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long counter;

/* ---- functions that read a counter; they return false if this machine does not have it ---- */

static bool read_statistic(const char *name, counter *value)
{
    char path[VALUE_SIZE], line[VALUE_SIZE];

    snprintf(path, sizeof path, "statistics/%s", name);
    if (!read_device_file(path, line))
        return false;
    *value = strtoull(line, NULL, 10);
    return true;
}

static bool read_backlog(const char *name, counter *value)
{
    static counter per_cpu[MAX_CPUS];

    memset(per_cpu, 0, sizeof per_cpu);
    if (!read_softnet(strcmp(name, "dropped") == 0 ? DROPPED : FLOW_LIMITED, per_cpu))
        return false;
    *value = 0;
    for (int cpu = 0; cpu < MAX_CPUS; cpu++)
        *value += per_cpu[cpu];
    return true;
}

/* Add up a column of a file of which the first line has the names of the columns, and the others,
 * for one CPU each, their values. */
static bool read_conntrack(const char *name, counter *value)
{
    FILE *file = fopen("/proc/net/stat/nf_conntrack", "re");
    char line[4 * VALUE_SIZE], *rest;
    int column = -1, i;

    if (file == NULL)
        return false;
    if (fgets(line, sizeof line, file) != NULL)
        for (char *word = strtok_r((i = 0, line), " \n", &rest); word != NULL;
             word = strtok_r(NULL, " \n", &rest), i++)
            if (strcmp(word, name) == 0)
                column = i;
    *value = 0;
    while (column >= 0 && fgets(line, sizeof line, file) != NULL) {
        char *at = line;
        for (i = 0; i < column; i++)
            strtoull(at, &at, 16);
        *value += strtoull(at, NULL, 16);
    }
    fclose(file);
    return column >= 0;
}

/* Find a counter in one of the files in which a line of names is followed by a line of values.
 * Both begin with the same prefix, such as "TcpExt:". */
static bool find_in_pairs(const char *path, const char *name, counter *value)
{
    FILE *file = fopen(path, "re");
    char *names = NULL, *values = NULL, *word, *number, *rest, *other;
    size_t names_size = 0, values_size = 0, prefix;
    bool found = false;

    if (file == NULL)
        return false;
    while (!found && getline(&names, &names_size, file) != -1 &&
           getline(&values, &values_size, file) != -1) {
        prefix = strcspn(names, ":");
        if (strncmp(name, names, prefix) != 0)
            continue;
        word = strtok_r(names, " \n", &rest);
        number = strtok_r(values, " \n", &other);
        while (word != NULL && number != NULL && strcmp(word, name + prefix) != 0) {
            word = strtok_r(NULL, " \n", &rest);
            number = strtok_r(NULL, " \n", &other);
        }
        found = word != NULL && number != NULL;
        if (found)
            *value = strtoull(number, NULL, 10);
    }
    free(names);
    free(values);
    fclose(file);
    return found;
}

static bool read_protocol(const char *name, counter *value)
{
    return find_in_pairs("/proc/net/snmp", name, value) ||
           find_in_pairs("/proc/net/netstat", name, value);
}

/* ---- the layers ---- */

struct drop {
    const char *name, *meaning;
};
struct layer {
    const char *heading, *source; /* with DEV for the device */
    bool (*read)(const char *name, counter *value);
    const struct drop *drops;
};

static const struct drop card[] = {
    {"rx_missed_errors", "The ring was full: frames came faster than the kernel took them."},
    {"rx_over_errors", "The card's own memory was full, or a buffer was too small for the frame."},
    {"rx_fifo_errors", "The card's own memory was full: the name that other drivers use."},
    {"rx_crc_errors", "A bit was wrong: look at the cable and the plugs."},
    {"rx_length_errors", "The frame was too short, or longer than the card accepts."},
    {"rx_frame_errors", "The frame was not aligned to bytes."},
    {"rx_dropped", "No memory, a full backlog, or a frame of a protocol unknown here."},
    {"rx_nohandler", "The device is an inactive member of a bond, team or failover pair."},
    {"tx_dropped", "A frame to be sent: the driver had no room or no memory."},
    {"tx_errors", "A frame to be sent: the card could not send it."},
    {NULL, NULL}};
static const struct drop backlog[] = {
    {"dropped", "The backlog of a CPU was full: lo, veth and RPS use it."},
    {"flow_limit_count", "Those dropped when it was half full, by flow_limit_cpu_bitmap."},
    {NULL, NULL}};
static const struct drop conntrack[] = {
    {"invalid", "The packet fits no connection; a rule decides whether to drop it."},
    {"drop", "It was refused, for example because the table of connections was full."},
    {"early_drop", "The table was full: a connection not yet established was forgotten."},
    {"insert_failed", "A new entry clashed with another: for example, two packets came at once."},
    {NULL, NULL}};
static const struct drop ip[] = {
    {"IpInHdrErrors", "The header is wrong (version, length, checksum), or the TTL ran out."},
    {"IpExtInCsumErrors", "How many of these errors were wrong checksums."},
    {"IpExtInTruncatedPkts", "The packet is shorter than its header says."},
    {"IpInAddrErrors", "It is for another machine, and this one does not forward."},
    {"IpExtInNoRoutes", "There is no route to its destination."},
    {"TcpExtIPReversePathFilter", "rp_filter: the answer would not leave by this device."},
    {"IpInUnknownProtos", "No protocol here has its number: TCP is 6, UDP 17."},
    {"IpReasmFails", "A fragment was missing, or there was no memory for it."},
    {"IpInDiscards", "The packet was correct, but there was no memory for it."},
    {"IpOutNoRoutes", "To be sent, but there is no route."},
    {"IpOutDiscards", "To be sent, not by TCP: no memory, a full queue, or a rule forbade it."},
    {NULL, NULL}};
static const struct drop tcp[] = {
    {"TcpInErrs", "The TCP header or checksum is wrong, or a SYN came on an open connection."},
    {"TcpInCsumErrors", "How many of these errors were wrong checksums."},
    {"TcpExtTCPMinTTLDrop", "It came from further away than IP_MINTTL permits."},
    {"TcpExtTCPReqQFullDrop", "A SYN: too many half-open connections, and no SYN cookies."},
    {"TcpExtSyncookiesFailed", "An ACK with a wrong or old SYN cookie."},
    {"TcpExtListenOverflows", "The accept queue was full: the server calls accept() too rarely."},
    {"TcpExtListenDrops", "Connections that a listening socket dropped, including overflows."},
    {"TcpExtTCPDeferAcceptDrop", "An ACK without data, which TCP_DEFER_ACCEPT ignores."},
    {"TcpExtPAWSActive", "A SYN-ACK that returns a timestamp that this machine did not send."},
    {"TcpExtPAWSEstab", "A segment whose timestamp is too old."},
    {"TcpExtTCPDSACKOldSent", "A segment that came a second time: perhaps its ACK was lost."},
    {NULL, NULL}};
static const struct drop sockets[] = {
    {"TcpExtTCPBacklogDrop", "A call held the socket's lock, and too much arrived meanwhile."},
    {"TcpExtTCPZeroWindowDrop", "The window was closed, and the other side sent anyway."},
    {"TcpExtTCPRcvQDrop", "The receive buffer, or the memory for all TCP (tcp_mem), was full."},
    {"TcpExtRcvPruned", "The receive buffer was still full after it had been compacted."},
    {"TcpExtTCPOFODrop", "A segment out of order, and no room for it."},
    {"TcpExtOfoPruned", "Segments out of order were thrown away to make room."},
    {"TcpExtPFMemallocDrop", "It was in reserve memory, which only swapping may use."},
    {"TcpExtTCPAbortOnMemory", "A closed connection was reset: no memory, or too many orphans."},
    {NULL, NULL}};
static const struct drop signs[] = {
    {"TcpRetransSegs", "Segments sent again, because they seemed to be lost."},
    {"TcpExtTCPTimeouts", "Retransmission timers that expired."},
    {"TcpOutRsts", "Resets sent, for example because nothing listens on a port."},
    {"TcpEstabResets", "Connections that ended at once, by a reset or a timeout."},
    {NULL, NULL}};

static const struct layer layers[] = {
    {"The card and its driver", "/sys/class/net/DEV/statistics", read_statistic, card},
    {"The softirq", "/proc/net/softnet_stat, columns 2 and 11, of all devices", read_backlog,
     backlog},
    {"The firewall's connections", "/proc/net/stat/nf_conntrack", read_conntrack, conntrack},
    {"IP (version 4)", "/proc/net/snmp and netstat, or nstat -az", read_protocol, ip},
    {"TCP", "/proc/net/snmp and netstat, or nstat -az", read_protocol, tcp},
    {"The socket", "/proc/net/netstat, or nstat -az", read_protocol, sockets},
    {"No drops, but signs of them", "/proc/net/snmp and netstat, or nstat -az", read_protocol,
     signs},
};

/* ---- printing ---- */

static void print_drop(const char *name, const counter *value, const char *meaning)
{
    if (value != NULL)
        printf("  %-28s  %llu\n", name, *value);
    else
        printf("  %-28s  not here\n", name);
    if (meaning != NULL)
        printf("    %s\n", meaning);
}

static void print_layer(const struct layer *layer)
{
    printf("\n%s: ", layer->heading);
    print_for_device(layer->source);
    puts("\n");
    for (const struct drop *drop = layer->drops; drop->name != NULL; drop++) {
        counter value;
        print_drop(drop->name, layer->read(drop->name, &value) ? &value : NULL, drop->meaning);
    }
}

/* Whether the name of a driver's counter sounds like lost frames.  Each driver has names of its
 * own. */
static bool sounds_like_loss(const char *name)
{
    static const char *const parts[] = {"drop",  "miss",    "discard",   "no_buf",
                                        "nobuf", "overrun", "overflow",  "out_of",
                                        "fifo",  "no_dma",  "alloc_fail"};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i]) != NULL)
            return true;
    return false;
}

static void print_driver_counters(const struct names *names, const struct counters *counters)
{
    int zeros = 0, others = 0;

    printf("\nThe driver's own names: ethtool -S %s\n\n", device);
    for (uint32_t i = 0; i < names->count && i < counters->count; i++) {
        char name[NAME_SIZE + 1] = "";
        memcpy(name, names->names[i], NAME_SIZE);
        if (!sounds_like_loss(name))
            continue;
        counter value = counters->values[i];
        if (value != 0)
            print_drop(name, &value, NULL);
        *(value == 0 ? &zeros : &others) += 1;
    }
    printf("  Of its counters whose names sound like losses, %d are 0, and %d are not.\n", zeros,
           others);
}

/* The number of counters may grow between two questions, so there is room for more of them. */
static void print_driver(void)
{
    struct driver driver = {0};

    if (!ethtool_get(DRIVER, &driver) || driver.counters == 0)
        return;
    size_t room = 2 * (size_t)driver.counters + 1024;
    struct names *names = calloc(1, sizeof *names + room * NAME_SIZE);
    struct counters *counters = calloc(1, sizeof *counters + room * sizeof counters->values[0]);
    if (names != NULL && counters != NULL) {
        names->set = COUNTER_SET;
        names->count = counters->count = driver.counters;
        if (ethtool_get(NAMES, names) && ethtool_get(COUNTERS, counters))
            print_driver_counters(names, counters);
    }
    free(names);
    free(counters);
}

void print_drops(void)
{
    puts("Lost since boot, or since the device or the network namespace was made. A packet\n"
         "reaches these layers roughly in this order.");
    print_layer(&layers[0]);
    print_driver();
    for (size_t i = 1; i < sizeof layers / sizeof *layers; i++)
        print_layer(&layers[i]);
    puts("\nElsewhere\n");
    printf("  tc -s qdisc show dev %s\n"
           "    Frames that the device's send queue (qdisc) dropped.\n"
           "  nft list ruleset\n"
           "    Packets that the firewall's rules counted.\n"
           "  ss -tamn\n"
           "    The drops of each socket: the number after d, at the end of skmem.\n",
           device);
}

#endif
