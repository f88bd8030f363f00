/* The report of nic: the features of the device and of the kernel, one after the other. */
#define _POSIX_C_SOURCE 200809L

#include "nic.h"

#ifdef __linux__

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_QUEUES 1024 /* in one direction */

/* Some values have details, which are printed below them: one for each CPU or interrupt. */
static char details[MAX_CPUS * 40];
static size_t details_length;

/* Add one, with the arguments of printf(), and with a newline at its end.  One that does not fit
 * is left out. */
static void add_detail(const char *format, ...)
{
    char text[VALUE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text ||
        details_length + (size_t)length + 1 > sizeof details)
        return;
    memcpy(details + details_length, text, (size_t)length + 1);
    details_length += (size_t)length + 1;
}

/* ---- functions that write one value into text; an empty text means "not on this device" ---- */

static void speed(char *text)
{
    char line[VALUE_SIZE];

    if (read_device_file("speed", line) && line[0] != '-')
        snprintf(text, VALUE_SIZE, "%.12s Mbit/s", line);
}

/* Count the queues that have this file, in the directories rx-0, rx-1 and so on.  In *set, count
 * those whose file contains a value other than 0. */
static int count_queues(const char *direction, const char *file, int *set)
{
    char name[VALUE_SIZE], line[VALUE_SIZE];
    int count = 0;

    for (*set = 0; count < MAX_QUEUES; count++) {
        snprintf(name, sizeof name, "queues/%s-%d/%s", direction, count, file);
        if (!read_device_file(name, line))
            break;
        *set += strpbrk(line, "123456789abcdef") != NULL;
    }
    return count;
}

static void receive_queues(char *text)
{
    struct channels channels = {0};
    int set, count = count_queues("rx", "rps_cpus", &set);

    if (ethtool_get(CHANNELS, &channels) && channels.rx + channels.combined > 0)
        snprintf(text, VALUE_SIZE, "%u (maximum %u)", channels.rx + channels.combined,
                 channels.max_rx + channels.max_combined);
    else if (count > 0)
        snprintf(text, VALUE_SIZE, "%d (software only)", count);
}

static void rss_table(char *text)
{
    struct rss_table table = {0}; /* size 0 requests only the size */

    if (ethtool_get(RSS_TABLE, &table) && table.size > 0)
        snprintf(text, VALUE_SIZE, "%u entries", table.size);
}

static void receive_ring(char *text)
{
    struct ring ring = {0};

    if (ethtool_get(RING, &ring) && ring.rx > 0)
        snprintf(text, VALUE_SIZE, "%u frames (maximum %u)", ring.rx, ring.max_rx);
}

static void coalescing(char *text)
{
    struct coalescing delay = {0};

    if (!ethtool_get(COALESCING, &delay))
        return;
    if (delay.adaptive_rx != 0)
        snprintf(text, VALUE_SIZE, "adaptive");
    else if (delay.rx_usecs == 0 && delay.rx_frames <= 1)
        snprintf(text, VALUE_SIZE, "none");
    else if (delay.rx_frames > 0)
        snprintf(text, VALUE_SIZE, "%u µs or %u frames", delay.rx_usecs, delay.rx_frames);
    else if (delay.rx_usecs < 5) /* drivers of Intel cards number their adaptive modes 1 to 4 */
        snprintf(text, VALUE_SIZE, "%u µs, or adaptive", delay.rx_usecs);
    else
        snprintf(text, VALUE_SIZE, "%u µs", delay.rx_usecs);
}

static void timestamps(char *text)
{
    struct timestamps stamps = {0};

    if (ethtool_get(TIMESTAMPS, &stamps) && (stamps.capabilities & RX_HARDWARE) != 0)
        snprintf(text, VALUE_SIZE, stamps.clock >= 0 ? "yes (/dev/ptp%d)" : "yes", stamps.clock);
}

static void write_on_off(enum ethtool_command command, uint32_t bit, char *text)
{
    struct switch_state answer = {0};

    if (ethtool_get(command, &answer))
        snprintf(text, VALUE_SIZE, (answer.value & bit) != 0 ? "on" : "off");
}

static void lro(char *text)
{
    write_on_off(FLAGS, LRO_FLAG, text);
}

static void queue_setting(const char *direction, const char *file, char *text)
{
    int set, count = count_queues(direction, file, &set);

    if (set > 0)
        snprintf(text, VALUE_SIZE, "on for %d of %d queues", set, count);
    else if (count > 0)
        snprintf(text, VALUE_SIZE, "off");
}

static void rps(char *text)
{
    queue_setting("rx", "rps_cpus", text);
}

static void rfs(char *text)
{
    char entries[VALUE_SIZE];

    if (read_sysctl("rps_sock_flow_entries", entries) && strcmp(entries, "0") == 0)
        snprintf(text, VALUE_SIZE, "off"); /* the queues' settings have no effect then */
    else
        queue_setting("rx", "rps_flow_cnt", text);
}

static void xps(char *text)
{
    queue_setting("tx", "xps_cpus", text);
}

static void budget(char *text)
{
    char packets[VALUE_SIZE], usecs[VALUE_SIZE];

    if (read_sysctl("netdev_budget", packets) && read_sysctl("netdev_budget_usecs", usecs))
        snprintf(text, VALUE_SIZE, "%.12s packets, %.12s µs", packets, usecs);
}

static void flush_timeout(char *text)
{
    char times[VALUE_SIZE], timeout[VALUE_SIZE];

    if (read_device_file("napi_defer_hard_irqs", times) &&
        read_device_file("gro_flush_timeout", timeout))
        snprintf(text, VALUE_SIZE, "%.12s times, %.12s ns", times, timeout);
}

static void polling_thread(char *text)
{
    char line[VALUE_SIZE];

    if (read_device_file("threaded", line))
        snprintf(text, VALUE_SIZE, line[0] == '1' ? "on" : "off");
}

static void busy_polling(char *text)
{
    char read[VALUE_SIZE], poll[VALUE_SIZE];

    if (read_sysctl("busy_read", read) && read_sysctl("busy_poll", poll))
        snprintf(text, VALUE_SIZE, "recv %.12s µs, poll %.12s µs", read, poll);
}

/* ---- values with details ---- */

static void write_total(const unsigned long long per_cpu[MAX_CPUS], const char *unit, char *text)
{
    unsigned long long sum = 0;

    for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
        sum += per_cpu[cpu];
        if (per_cpu[cpu] > 0)
            add_detail("cpu%d %llu", cpu, per_cpu[cpu]);
    }
    snprintf(text, VALUE_SIZE, "%llu%s", sum, unit);
}

static struct interrupts interrupts; /* of the device */

static void interrupt_counts(char *text)
{
    if (interrupts.count > 0)
        write_total(interrupts.per_cpu, " (all vectors)", text);
}

/* The kernel may use fewer CPUs than it is allowed to.  The first file says which, if it exists. */
static bool read_affinity(int number, char cpus[VALUE_SIZE])
{
    static const char *const files[] = {"effective_affinity_list", "smp_affinity_list"};
    char path[PATH_MAX];

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/proc/irq/%d/%s", number, files[i]);
        if (read_first_line(path, cpus) && cpus[0] != '\0')
            return true;
    }
    return false;
}

static void interrupt_cpus(char *text)
{
    char cpus[VALUE_SIZE];

    for (int i = 0; i < interrupts.count && i < MAX_VECTORS; i++)
        if (read_affinity(interrupts.numbers[i], cpus))
            add_detail("irq %d: cpu %.60s", interrupts.numbers[i], cpus);
    if (interrupts.count > 0)
        snprintf(text, VALUE_SIZE, "%d vector%s", interrupts.count,
                 interrupts.count == 1 ? "" : "s");
}

/* Whether a process is the thread of one of the interrupts: the kernel calls it irq/NUMBER-NAME. */
static bool is_interrupt_thread(const char *name)
{
    int number, length = 0;

    if (sscanf(name, "irq/%d-%n", &number, &length) != 1 || length == 0)
        return false;
    for (int i = 0; i < interrupts.count && i < MAX_VECTORS; i++)
        if (interrupts.numbers[i] == number)
            return true;
    return false;
}

/* Count the threads of the kernel that serve interrupts of the device.  In a container, /proc
 * shows no threads of the kernel: process 2 is not kthreadd there. */
static void interrupt_threads(char *text)
{
    char path[PATH_MAX], name[VALUE_SIZE];
    int count = 0;
    DIR *processes;

    if (interrupts.count == 0)
        return;
    if (!read_first_line("/proc/2/comm", name) || strcmp(name, "kthreadd") != 0 ||
        (processes = opendir("/proc")) == NULL) {
        snprintf(text, VALUE_SIZE, "not visible here");
        return;
    }
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
        if (!isdigit((unsigned char)entry->d_name[0]) || !read_first_line(path, name) ||
            !is_interrupt_thread(name))
            continue;
        add_detail("process %s: %s", entry->d_name, name);
        count++;
    }
    closedir(processes);
    snprintf(text, VALUE_SIZE, count > 0 ? "%d" : "none", count);
}

static void frames_lost(char *text)
{
    char missed[VALUE_SIZE], dropped[VALUE_SIZE];

    if (read_device_file("statistics/rx_missed_errors", missed) &&
        read_device_file("statistics/rx_dropped", dropped))
        snprintf(text, VALUE_SIZE, "%.12s missed, %.12s dropped", missed, dropped);
}

static void softnet_total(enum softnet_column column, const char *unit, char *text)
{
    static unsigned long long counts[MAX_CPUS];

    memset(counts, 0, sizeof counts);
    if (read_softnet(column, counts))
        write_total(counts, unit, text);
}

static void processed(char *text)
{
    softnet_total(PROCESSED, " packets", text);
}

static void dropped(char *text)
{
    softnet_total(DROPPED, " packets", text);
}

static void squeezed(char *text)
{
    softnet_total(SQUEEZED, " times", text);
}

/* One line of the report.  An entry with a label only is a heading.  The value comes from
 * read_value(), from a driver's command that answers on or off, or from a sysctl.  The source is
 * where readers can look for themselves: a file, or the command that asks the driver. */
struct feature {
    const char *label;
    void (*read_value)(char *text);
    enum ethtool_command on_off;
    const char *sysctl;
    const char *card, *purpose; /* the value of the 10 Gbit/s card, and what the feature does */
    const char *source;
};

static const struct feature features[] = {
    {.label = "The card"},
    {"speed", speed, 0, NULL, "10000 Mbit/s",
     "At 10 Gbit/s a full frame takes 1.2 µs on the wire, the smallest 0.07 µs.",
     "/sys/class/net/DEV/speed"},
    {"receive queues", receive_queues, 0, NULL, "one per CPU, up to 63",
     "Each connection uses one queue, each queue one CPU: CPUs work in parallel.",
     "ethtool -l DEV"},
    {"RSS table", rss_table, 0, NULL, "128 entries",
     "Receive-side scaling: a hash of addresses and ports selects the queue.", "ethtool -x DEV"},
    {"receive ring", receive_ring, 0, NULL, "512 (up to 4096 or 8192)",
     "Frames wait in it for the kernel. When it is full, the card drops frames.", "ethtool -g DEV"},
    {"interrupt delay", coalescing, 0, NULL, "adaptive",
     "Coalescing: one interrupt for several frames saves CPU, adds latency.", "ethtool -c DEV"},
    {"hardware timestamps", timestamps, 0, NULL, "yes, for PTP frames",
     "The card's clock records when a frame arrives, before software delays it.", "ethtool -T DEV"},
    {"device interrupts", interrupt_counts, 0, NULL, "one vector per queue",
     "They signal packets received or sent, in a trace as irq_handler_entry.", "/proc/interrupts"},
    {"interrupt CPUs", interrupt_cpus, 0, NULL, "one CPU per vector",
     "Affinity: the CPUs on which the kernel handles each of these interrupts.",
     "/proc/irq/N/effective_affinity_list, smp_affinity_list"},
    {"frames lost", frames_lost, 0, NULL, "",
     "Missed: the ring was full. Dropped: no memory, and more; see `nic drops`.",
     "/sys/class/net/DEV/statistics/rx_missed_errors, rx_dropped"},

    {.label = "Offloads: work done by the card, or done once for many packets"},
    {"checksum, receive", NULL, RECEIVE_CHECKSUM, NULL, "on",
     "The card verifies the checksum, so the kernel need not read the bytes.",
     "ethtool -k DEV: rx-checksumming"},
    {"checksum, send", NULL, SEND_CHECKSUM, NULL, "on",
     "The card computes the checksum, not the CPU.", "ethtool -k DEV: tx-checksumming"},
    {"scatter-gather", NULL, SCATTER_GATHER, NULL, "on",
     "The card assembles a frame from several buffers. Zero-copy needs this.",
     "ethtool -k DEV: scatter-gather"},
    {"TSO", NULL, TSO, NULL, "on",
     "TCP segmentation offload: the card splits up to 64 KiB into frames.",
     "ethtool -k DEV: tcp-segmentation-offload"},
    {"GSO", NULL, GSO, NULL, "on",
     "Generic segmentation offload: the kernel splits data as late as possible.",
     "ethtool -k DEV: generic-segmentation-offload"},
    {"GRO", NULL, GRO, NULL, "on",
     "Generic receive offload: the kernel merges consecutive segments into one.",
     "ethtool -k DEV: generic-receive-offload"},
    {"LRO", lro, 0, NULL, "supported, but off",
     "Large receive offload: the card merges. Unlike GRO's, this is irreversible.",
     "ethtool -k DEV: large-receive-offload"},

    {.label = "The kernel"},
    {"RPS", rps, 0, NULL, "off: RSS replaces it",
     "Receive packet steering: a hash selects the CPU, in software.",
     "/sys/class/net/DEV/queues/rx-*/rps_cpus"},
    {"RFS", rfs, 0, NULL, "off",
     "Receive flow steering: RPS to the CPU that last used the connection.",
     "/proc/sys/net/core/rps_sock_flow_entries, queues/rx-*/rps_flow_cnt"},
    {"XPS", xps, 0, NULL, "one CPU per queue",
     "Transmit packet steering: a queue per CPU, so that CPUs share no lock.",
     "/sys/class/net/DEV/queues/tx-*/xps_cpus"},
    {"backlog weight", NULL, 0, "dev_weight", "the driver's weight: 64",
     "Packets of lo, veth and RPS processed before other queues get their turn.",
     "/proc/sys/net/core/dev_weight"},
    {"NAPI budget", budget, 0, NULL, "the kernel's own limit",
     "The receive softirq stops after this much; the rest waits (\"squeezed\").",
     "/proc/sys/net/core/netdev_budget, netdev_budget_usecs"},
    {"backlog", NULL, 0, "netdev_max_backlog", "not used: it has rings",
     "Packets from lo, veth, RPS that may wait for a CPU; any more are dropped.",
     "/proc/sys/net/core/netdev_max_backlog"},
    {"interrupts deferred", flush_timeout, 0, NULL, "0 times, 0 ns",
     "Polls of an empty queue before its interrupts are enabled again.",
     "/sys/class/net/DEV/napi_defer_hard_irqs, gro_flush_timeout"},
    {"polling thread", polling_thread, 0, NULL, "off",
     "NAPI runs in a thread, not a softirq, so the scheduler can place it.",
     "/sys/class/net/DEV/threaded"},
    {"interrupt threads", interrupt_threads, 0, NULL, "none",
     "With threadirqs, a thread handles an interrupt: the scheduler decides when.",
     "/proc/PROCESS/comm: irq/N-NAME"},
    {"busy polling", busy_polling, 0, NULL, "recv 0 µs, poll 0 µs",
     "A thread that waits polls the driver for this long before it sleeps.",
     "/proc/sys/net/core/busy_read, busy_poll"},

    {.label = "Since boot, on all devices together"},
    {"softirq: received", processed, 0, NULL, "",
     "If one CPU receives all packets, it limits the whole machine.",
     "/proc/net/softnet_stat, column 1"},
    {"softirq: dropped", dropped, 0, NULL, "",
     "The backlog was full. TCP retransmits, which costs time.",
     "/proc/net/softnet_stat, column 2"},
    {"softirq: squeezed", squeezed, 0, NULL, "",
     "The budget ran out before the packets. If frequent, the CPU is too busy.",
     "/proc/net/softnet_stat, column 3"},
};

static void read_feature(const struct feature *feature, char *text)
{
    text[0] = '\0';
    details_length = 0;
    if (feature->read_value != NULL)
        feature->read_value(text);
    else if (feature->on_off != 0)
        write_on_off(feature->on_off, UINT32_MAX, text);
    else if (!read_sysctl(feature->sysctl, text))
        text[0] = '\0';
    if (text[0] == '\0')
        snprintf(text, VALUE_SIZE, has_sysfs_directory() ? "not on this device" : "not readable");
}

/* Print the details in lines of at most MAX_COLUMNS. */
static void print_details(void)
{
    int column = 0;

    for (const char *detail = details; detail < details + details_length;
         detail += strlen(detail) + 1) {
        int length = (int)strlen(detail);
        bool fits = column > 0 && column + 2 + length <= MAX_COLUMNS;
        printf("%s%s", column == 0 ? "    " : fits ? "  " : "\n    ", detail);
        column = (fits ? column + 2 : 4) + length;
    }
    if (column > 0)
        putchar('\n');
}

/* printf() pads to a number of bytes, but a UTF-8 character such as µ has more than one. */
static int utf8_extra_bytes(const char *text)
{
    int extra = 0;

    for (; *text != '\0'; text++)
        extra += ((unsigned char)*text & 0xc0) == 0x80;
    return extra;
}

static void print_feature(const struct feature *feature)
{
    char text[VALUE_SIZE];

    if (feature->purpose == NULL) {
        printf("\n%s\n", feature->label);
        return;
    }
    read_feature(feature, text);
    if (feature->card[0] == '\0')
        printf("\n  %-19s  %s\n", feature->label, text);
    else
        printf("\n  %-19s  %-*s  %s\n", feature->label, 30 + utf8_extra_bytes(text), text,
               feature->card);
    for (const char *const *line = (const char *const[]){feature->purpose, feature->source, NULL};
         *line != NULL; line++) {
        fputs("    ", stdout);
        print_for_device(*line);
        putchar('\n');
    }
    print_details();
}

void print_report(void)
{
    read_interrupts(&interrupts);
    if (strcmp(device, "lo") == 0)
        puts("No packet leaves the machine: the work of an offload that is \"on\" is left out.");
    printf("\n  %-19s  %-30s  %s\n", "", "HERE", "A 10 GBIT/S CARD");
    printf("  %-19s  %-30s  %s\n", "", "", "(Intel 82599)");
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        print_feature(&features[i]);
}

#endif
