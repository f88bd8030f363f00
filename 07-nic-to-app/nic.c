/* nic [DEV]: report which features of the network card and the kernel affect a packet.
 *
 * For each feature it prints the value on this machine, the value of a 10 Gbit/s card and one line
 * that says what the feature does.  Every user may run it, and it changes nothing.  Without DEV it
 * uses the device of the default route, or else the first device that is not lo, or else lo. */
#define _DEFAULT_SOURCE /* struct ifreq is not in POSIX.1-2008 */

#include <stdio.h>

#ifndef __linux__
int main(void)
{
    puts("nic needs Linux: it reads /proc and /sys.");
    return 0;
}
#else

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_COLUMNS 80       /* of a line of output */
#define VALUE_SIZE 200       /* bytes of the longest value */
#define MAX_CPUS 1024        /* CPUs with higher numbers are ignored */
#define MAX_QUEUES 1024      /* in one direction */

static char device[IF_NAMESIZE];

/* ---- reading /proc, /sys and the driver ---- */

/* Read the first line of a file, without its newline.  Returns false if the file does not exist, is
 * empty or cannot be read. */
static bool read_first_line(const char *path, char line[VALUE_SIZE])
{
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return false;
    bool found = fgets(line, VALUE_SIZE, file) != NULL;
    fclose(file);
    if (found)
        line[strcspn(line, "\n")] = '\0';
    return found;
}

/* Read a file in the device's directory in sysfs. */
static bool read_device_file(const char *name, char line[VALUE_SIZE])
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "/sys/class/net/%s/%s", device, name);
    return read_first_line(path, line);
}

/* Whether sysfs has the device.  A container may have no /sys; most values are then unknown. */
static bool has_sysfs_directory(void)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "/sys/class/net/%s", device);
    return access(path, F_OK) == 0;
}

/* Read one of the sysctls that apply to all devices. */
static bool read_sysctl(const char *name, char line[VALUE_SIZE])
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "/proc/sys/net/core/%s", name);
    return read_first_line(path, line);
}

/* A driver answers these commands through ioctl(SIOCETHTOOL).  The numbers and the structs are
 * those of <linux/ethtool.h>, a header that not every machine with a C compiler has.  All members
 * are 32 bits wide, and the first is the command. */
#define IOCTL_ETHTOOL 0x8946 /* SIOCETHTOOL */
enum ethtool_command {
    COALESCING = 0x0e,
    RING = 0x10,
    RECEIVE_CHECKSUM = 0x14,
    SEND_CHECKSUM = 0x16,
    SCATTER_GATHER = 0x18,
    TSO = 0x1e,
    GSO = 0x23,
    FLAGS = 0x25, /* LRO is one of them */
    GRO = 0x2b,
    RSS_TABLE = 0x38,
    CHANNELS = 0x3c,
    TIMESTAMPS = 0x41
};
struct switch_state {
    uint32_t command, value;
};
struct channels {
    uint32_t command, max_rx, max_tx, max_other, max_combined, rx, tx, other, combined;
};
struct ring {
    uint32_t command, max_rx, max_mini, max_jumbo, max_tx, rx, mini, jumbo, tx;
};
struct coalescing {
    uint32_t command, rx_usecs, rx_frames, skipped[7], adaptive_rx, also_skipped[12];
};
struct rss_table {
    uint32_t command, size;
};
struct timestamps {
    uint32_t command, capabilities;
    int32_t clock;
    uint32_t tx[4], rx[4];
};
#define LRO_FLAG (1u << 15)
#define RX_HARDWARE (1u << 2) /* SOF_TIMESTAMPING_RX_HARDWARE */

/* Ask the driver.  Returns false if it does not support the command, usually because the device is
 * not hardware. */
static bool ethtool_get(enum ethtool_command command, void *answer)
{
    struct ifreq request = {.ifr_data = answer};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return false;
    *(uint32_t *)answer = (uint32_t)command;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    bool answered = ioctl(fd, IOCTL_ETHTOOL, &request) == 0;
    close(fd);
    return answered;
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

/* ---- per-CPU counters: the value is the total, and print_per_cpu() prints the parts ---- */

static unsigned long long per_cpu[MAX_CPUS];

static void write_total(const char *unit, char *text)
{
    unsigned long long sum = 0;

    for (int cpu = 0; cpu < MAX_CPUS; cpu++)
        sum += per_cpu[cpu];
    snprintf(text, VALUE_SIZE, "%llu%s", sum, unit);
}

/* Whether the text contains the device's name as a whole word: floppy does not belong to lo, and
 * eth10-rx-0 belongs to eth10, not to eth1. */
static bool contains_device_name(const char *text)
{
    size_t length = strlen(device);

    for (const char *at = text; (at = strstr(at, device)) != NULL; at++)
        if ((at == text || !isalnum((unsigned char)at[-1])) && !isalnum((unsigned char)at[length]))
            return true;
    return false;
}

/* Whether an interrupt belongs to the device.  sysfs lists the interrupts of a PCI card; for a
 * virtio card, the PCI device is the parent directory.  Otherwise look for the device's name in the
 * name of the interrupt, where most drivers put it. */
static bool is_device_interrupt(const char *number, const char *name)
{
    static const char *const directories[] = {"device/msi_irqs", "device/../msi_irqs"};
    char path[PATH_MAX];

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/sys/class/net/%s/%s", device, directories[i]);
        if (access(path, F_OK) == -1)
            continue;
        snprintf(path, sizeof path, "/sys/class/net/%s/%s/%s", device, directories[i], number);
        return access(path, F_OK) == 0;
    }
    return contains_device_name(name);
}

/* Parse a line of /proc/interrupts ("36:", one count per CPU, the name) and add its counts if the
 * interrupt belongs to the device.  Returns whether it does.  cpus[] has the number of the CPU in
 * each column, from the first line of the file. */
static bool count_interrupt(char *line, const int *cpus, int count)
{
    unsigned long long counts[MAX_CPUS];
    char *number = line + strspn(line, " "), *colon = strchr(line, ':');

    if (colon == NULL || strspn(number, "0123456789") != (size_t)(colon - number))
        return false;
    *colon = '\0';
    char *rest = colon + 1;
    for (int i = 0; i < count; i++)
        counts[i] = strtoull(rest, &rest, 10);
    if (!is_device_interrupt(number, rest))
        return false;
    for (int i = 0; i < count; i++)
        per_cpu[cpus[i]] += counts[i];
    return true;
}

static void interrupts(char *text)
{
    FILE *file = fopen("/proc/interrupts", "re");
    char *line = NULL;
    size_t size = 0;
    int cpus[MAX_CPUS], count = 0, vectors = 0;

    if (file == NULL)
        return;
    if (getline(&line, &size, file) != -1)
        for (char *at = line; (at = strstr(at, "CPU")) != NULL && count < MAX_CPUS; at += 3) {
            cpus[count] = (int)strtol(at + 3, NULL, 10);
            count += cpus[count] < MAX_CPUS;
        }
    while (getline(&line, &size, file) != -1)
        vectors += count_interrupt(line, cpus, count);
    free(line);
    fclose(file);
    if (vectors > 0)
        write_total(" (all vectors)", text);
}

/* /proc/net/softnet_stat has a line of hexadecimal numbers per CPU.  The thirteenth is the number
 * of the CPU.  Kernels before 5.10 do not print it; there the line number stands for the CPU. */
enum { PROCESSED, DROPPED, SQUEEZED, SOFTNET_CPU = 12 };

static void softnet_total(int column, const char *unit, char *text)
{
    FILE *file = fopen("/proc/net/softnet_stat", "re");
    char line[VALUE_SIZE];
    unsigned long numbers[SOFTNET_CPU + 1];

    if (file == NULL)
        return;
    for (unsigned long row = 0; fgets(line, sizeof line, file) != NULL; row++) {
        char *at = line, *end;
        int count = 0;
        for (; count <= SOFTNET_CPU; count++, at = end) {
            numbers[count] = strtoul(at, &end, 16);
            if (end == at)
                break;
        }
        unsigned long cpu = count > SOFTNET_CPU ? numbers[SOFTNET_CPU] : row;
        if (count > column && cpu < MAX_CPUS)
            per_cpu[cpu] = numbers[column];
    }
    fclose(file);
    write_total(unit, text);
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

/* ---- the features ---- */

/* One line of the report.  An entry with a label only is a heading.  The value comes from
 * read_value(), from a driver's command that answers on or off, or from a sysctl. */
struct feature {
    const char *label;
    void (*read_value)(char *text);
    enum ethtool_command on_off;
    const char *sysctl;
    const char *card, *purpose; /* the value of the 10 Gbit/s card, and what the feature does */
};

static const struct feature features[] = {
    {.label = "The card"},
    {"speed", speed, 0, NULL, "10000 Mbit/s",
     "At 10 Gbit/s a full frame takes 1.2 µs on the wire, the smallest 0.07 µs."},
    {"receive queues", receive_queues, 0, NULL, "one per CPU, up to 63",
     "Each connection uses one queue, each queue one CPU: CPUs work in parallel."},
    {"RSS table", rss_table, 0, NULL, "128 entries",
     "Receive-side scaling: a hash of addresses and ports selects the queue."},
    {"receive ring", receive_ring, 0, NULL, "512 (maximum 4096)",
     "Frames wait in it for the kernel. When it is full, the card drops frames."},
    {"interrupt delay", coalescing, 0, NULL, "adaptive",
     "Coalescing: one interrupt for several frames saves CPU, adds latency."},
    {"hardware timestamps", timestamps, 0, NULL, "yes, for PTP frames",
     "The card's clock records when a frame arrives, before software delays it."},
    {"device interrupts", interrupts, 0, NULL, "one vector per queue",
     "They signal received packets; a trace shows them as irq_handler_entry."},

    {.label = "Offloads: work done by the card, or done once for many packets"},
    {"checksum, receive", NULL, RECEIVE_CHECKSUM, NULL, "on",
     "The card verifies the checksum, so the kernel need not read the bytes."},
    {"checksum, send", NULL, SEND_CHECKSUM, NULL, "on",
     "The card computes the checksum, not the CPU."},
    {"scatter-gather", NULL, SCATTER_GATHER, NULL, "on",
     "The card assembles a frame from several buffers. Zero-copy needs this."},
    {"TSO", NULL, TSO, NULL, "on",
     "TCP segmentation offload: the card splits up to 64 KiB into frames."},
    {"GSO", NULL, GSO, NULL, "on",
     "Generic segmentation offload: the kernel splits data as late as possible."},
    {"GRO", NULL, GRO, NULL, "on",
     "Generic receive offload: the kernel merges consecutive segments into one."},
    {"LRO", lro, 0, NULL, "supported; off on routers",
     "Large receive offload: the card merges. Unlike GRO's, this is irreversible."},

    {.label = "The kernel"},
    {"RPS", rps, 0, NULL, "off: RSS replaces it",
     "Receive packet steering: a hash selects the CPU, in software."},
    {"RFS", rfs, 0, NULL, "off",
     "Receive flow steering: RPS to the CPU that last used the connection."},
    {"XPS", xps, 0, NULL, "one CPU per queue",
     "Transmit packet steering: a queue per CPU, so that CPUs share no lock."},
    {"backlog weight", NULL, 0, "dev_weight", "the driver's weight: 64",
     "Packets of lo, veth and RPS processed before other queues get their turn."},
    {"NAPI budget", budget, 0, NULL, "the kernel's own limit",
     "The receive softirq stops after this much; the rest waits (\"squeezed\")."},
    {"backlog", NULL, 0, "netdev_max_backlog", "not used: it has rings",
     "Packets from lo, veth, RPS that may wait for a CPU; any more are dropped."},
    {"interrupts deferred", flush_timeout, 0, NULL, "0 times, 0 ns",
     "Polls of an empty queue before its interrupts are enabled again."},
    {"polling thread", polling_thread, 0, NULL, "off",
     "NAPI runs in a thread, not a softirq, so the scheduler can place it."},
    {"busy polling", busy_polling, 0, NULL, "recv 0 µs, poll 0 µs",
     "A thread that waits polls the driver for this long before it sleeps."},

    {.label = "Since boot, on all devices together"},
    {"softirq: received", processed, 0, NULL, "",
     "If one CPU receives all packets, it limits the whole machine."},
    {"softirq: dropped", dropped, 0, NULL, "",
     "The backlog was full. TCP retransmits, which costs time."},
    {"softirq: squeezed", squeezed, 0, NULL, "",
     "The budget ran out before the packets. If frequent, the CPU is too busy."},
};

static void read_feature(const struct feature *feature, char *text)
{
    text[0] = '\0';
    memset(per_cpu, 0, sizeof per_cpu);
    if (feature->read_value != NULL)
        feature->read_value(text);
    else if (feature->on_off != 0)
        write_on_off(feature->on_off, UINT32_MAX, text);
    else if (!read_sysctl(feature->sysctl, text))
        text[0] = '\0';
    if (text[0] == '\0')
        snprintf(text, VALUE_SIZE, has_sysfs_directory() ? "not on this device" : "not readable");
}

/* Print the CPUs whose count is not 0, in lines of at most MAX_COLUMNS. */
static void print_per_cpu(void)
{
    int column = 0;

    for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
        char piece[VALUE_SIZE];
        if (per_cpu[cpu] == 0)
            continue;
        int length = snprintf(piece, sizeof piece, "cpu%d %llu", cpu, per_cpu[cpu]);
        bool fits = column > 0 && column + 2 + length <= MAX_COLUMNS;
        printf("%s%s", column == 0 ? "    " : fits ? "  " : "\n    ", piece);
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
    printf("    %s\n", feature->purpose);
    print_per_cpu();
}

/* ---- the choice of the device ---- */

/* Find the device of the default route.  A line of /proc/net/route starts with the device and the
 * destination.  For the default route, destination and mask are 0.  A route without a device
 * ("unreachable") has "*" instead of a name. */
static bool find_default_route(void)
{
    FILE *file = fopen("/proc/net/route", "re");
    char line[VALUE_SIZE], name[IF_NAMESIZE];
    unsigned long destination, mask;
    bool found = false;

    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof line, file) != NULL)
        found = sscanf(line, "%15s %lx %*s %*s %*s %*s %*s %lx", name, &destination, &mask) == 3 &&
                destination == 0 && mask == 0 && if_nametoindex(name) != 0;
    fclose(file);
    if (found)
        memcpy(device, name, sizeof device);
    return found;
}

static void choose_device(void)
{
    if (find_default_route())
        return;
    struct if_nameindex *all = if_nameindex();
    strcpy(device, "lo");
    for (struct if_nameindex *one = all; one != NULL && one->if_index != 0; one++)
        if (strcmp(one->if_name, "lo") != 0) {
            snprintf(device, sizeof device, "%s", one->if_name);
            break;
        }
    if (all != NULL)
        if_freenameindex(all);
}

static void print_device(void)
{
    char path[PATH_MAX], driver[PATH_MAX], mtu[VALUE_SIZE];

    snprintf(path, sizeof path, "/sys/class/net/%s/device/driver", device);
    ssize_t length = readlink(path, driver, sizeof driver - 1);
    if (length > 0) {
        driver[length] = '\0';
        char *name = strrchr(driver, '/');
        printf("%s: network card, driver %s", device, name != NULL ? name + 1 : driver);
    } else if (has_sysfs_directory()) {
        printf("%s: virtual device of the kernel, without a card", device);
    } else {
        printf("%s: without /sys, nic cannot tell whether this is a card", device);
    }
    if (read_device_file("mtu", mtu))
        printf(", MTU %s", mtu);
    puts(".");
    if (strcmp(device, "lo") == 0)
        puts("No packet leaves the machine, so an offload that is \"on\" has nothing to do.");
    printf("\n  %-19s  %-30s  %s\n", "", "HERE", "A 10 GBIT/S CARD");
    printf("  %-19s  %-30s  %s\n", "", "", "(Intel 82599)");
}

static void usage(FILE *stream)
{
    fputs("usage: nic [DEV]\n"
          "  reports which features of the network device DEV and of the kernel affect\n"
          "  a packet; without DEV, it uses the device of the default route\n",
          stream);
}

/* Return the exit code: 1 if the report could not be written.  EPIPE is no error, because the
 * reader has closed the pipe and wants no more. */
static int flush_stdout(void)
{
    errno = 0;
    if ((fflush(stdout) == 0 && !ferror(stdout)) || errno == EPIPE)
        return 0;
    fprintf(stderr, "nic: standard output: %s\n", strerror(errno != 0 ? errno : EIO));
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return 0;
    }
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        usage(stderr);
        return 2;
    }
    if (argc == 2)
        snprintf(device, sizeof device, "%s", argv[1]);
    else
        choose_device();
    if (if_nametoindex(device) == 0 || (argc == 2 && strcmp(device, argv[1]) != 0)) {
        fprintf(stderr, "nic: there is no network device \"%s\"; see /sys/class/net\n",
                argc == 2 ? argv[1] : device);
        return 1;
    }
    print_device();
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        print_feature(&features[i]);
    return flush_stdout();
}
#endif
