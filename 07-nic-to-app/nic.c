/* nic [DEV]: what a network card and its kernel offer for the journey of a packet.
 *
 * For each thing: what it is, its value here, what a 10 Gbit/s card has, and why it matters.  All
 * of it is asked in ways that are open to every user, and nothing is changed. Without DEV: the
 * device of the default route, or the first that is not lo, or lo. */
#define _DEFAULT_SOURCE /* struct ifreq is not in POSIX.1-2008 */

#include <stdio.h>

#ifndef __linux__
int main(void)
{
    puts("nic: it reads Linux's /proc and /sys, and this system has neither.");
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

#define LINE 80        /* columns */
#define VALUE 200      /* bytes of the longest value */
#define CPUS 1024      /* more are not told one by one */
#define QUEUES 1024    /* of one direction */

static char device[IF_NAMESIZE];

/* ---- reading ---- */

/* The first line of a file, without its end.  False: there is none, or it may not be read. */
static bool read_line(const char *path, char line[VALUE])
{
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return false;
    bool found = fgets(line, VALUE, file) != NULL;
    fclose(file);
    if (found)
        line[strcspn(line, "\n")] = '\0';
    return found;
}

/* The same of a file in the device's folder. */
static bool read_device(const char *name, char line[VALUE])
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "/sys/class/net/%s/%s", device, name);
    return read_line(path, line);
}

/* Is there such a folder?  A container may have no /sys, and then we know little. */
static bool has_folder(void)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "/sys/class/net/%s", device);
    return access(path, F_OK) == 0;
}

/* And of one of the kernel's settings for all devices. */
static bool read_setting(const char *name, char line[VALUE])
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "/proc/sys/net/core/%s", name);
    return read_line(path, line);
}

/* The questions that a driver answers, by ioctl(SIOCETHTOOL).  The structs are those of
 * <linux/ethtool.h>, which is not everywhere where a C compiler is: words of 32 bits, the first of
 * them the question. */
#define ETHTOOL 0x8946 /* SIOCETHTOOL */
enum question {
    COALESCING = 0x0e,
    RING = 0x10,
    RECEIVE_CHECKSUM = 0x14,
    SEND_CHECKSUM = 0x16,
    SCATTER_GATHER = 0x18,
    TSO = 0x1e,
    GSO = 0x23,
    FLAGS = 0x25, /* and among them LRO */
    GRO = 0x2b,
    RSS_TABLE = 0x38,
    CHANNELS = 0x3c,
    TIMESTAMPS = 0x41
};
struct on_or_off {
    uint32_t question, value;
};
struct channels {
    uint32_t question, most_rx, most_tx, most_other, most_combined, rx, tx, other, combined;
};
struct ring {
    uint32_t question, most_rx, most_mini, most_jumbo, most_tx, rx, mini, jumbo, tx;
};
struct coalescing {
    uint32_t question, rx_usecs, rx_frames, not_ours[7], adaptive_rx, nor_these[12];
};
struct rss_table {
    uint32_t question, size;
};
struct timestamps {
    uint32_t question, abilities;
    int32_t clock;
    uint32_t tx[4], rx[4];
};
#define LRO_FLAG (1u << 15)
#define HARDWARE_RECEIVE (1u << 2) /* SOF_TIMESTAMPING_RX_HARDWARE */

/* Ask the driver.  False: it does not know the question, as a rule because there is no hardware. */
static bool ask(enum question question, void *answer)
{
    struct ifreq request = {.ifr_data = answer};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return false;
    *(uint32_t *)answer = (uint32_t)question;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    bool answered = ioctl(fd, ETHTOOL, &request) == 0;
    close(fd);
    return answered;
}

/* ---- one value each: write it into text; left empty, it is "not on this device" ---- */

static void speed(char *text)
{
    char line[VALUE];

    if (read_device("speed", line) && line[0] != '-')
        snprintf(text, VALUE, "%.12s Mbit/s", line);
}

/* How many queues have this file, in folders rx-0, rx-1 and so on, and in how many it says more
 * than 0. */
static int queues(const char *direction, const char *file, int *set)
{
    char name[VALUE], line[VALUE];
    int count = 0;

    for (*set = 0; count < QUEUES; count++) {
        snprintf(name, sizeof name, "queues/%s-%d/%s", direction, count, file);
        if (!read_device(name, line))
            break;
        *set += strpbrk(line, "123456789abcdef") != NULL;
    }
    return count;
}

static void receive_queues(char *text)
{
    struct channels channels = {0};
    int set, count = queues("rx", "rps_cpus", &set);

    if (ask(CHANNELS, &channels) && channels.rx + channels.combined > 0)
        snprintf(text, VALUE, "%u, of at most %u", channels.rx + channels.combined,
                 channels.most_rx + channels.most_combined);
    else if (count > 0)
        snprintf(text, VALUE, "%d, in software", count);
}

static void rss_table(char *text)
{
    struct rss_table table = {0}; /* size 0 asks for the size alone */

    if (ask(RSS_TABLE, &table) && table.size > 0)
        snprintf(text, VALUE, "%u entries", table.size);
}

static void receive_ring(char *text)
{
    struct ring ring = {0};

    if (ask(RING, &ring) && ring.rx > 0)
        snprintf(text, VALUE, "%u frames, of at most %u", ring.rx, ring.most_rx);
}

static void coalescing(char *text)
{
    struct coalescing delay = {0};

    if (!ask(COALESCING, &delay))
        return;
    if (delay.adaptive_rx != 0)
        snprintf(text, VALUE, "adaptive");
    else if (delay.rx_usecs == 0 && delay.rx_frames <= 1)
        snprintf(text, VALUE, "none");
    else
        snprintf(text, VALUE, "%u µs, or %u frames", delay.rx_usecs, delay.rx_frames);
}

static void timestamps(char *text)
{
    struct timestamps stamps = {0};

    if (ask(TIMESTAMPS, &stamps) && (stamps.abilities & HARDWARE_RECEIVE) != 0)
        snprintf(text, VALUE, stamps.clock >= 0 ? "yes, by /dev/ptp%d" : "yes", stamps.clock);
}

static void on_off(enum question question, uint32_t bit, char *text)
{
    struct on_or_off answer = {0};

    if (ask(question, &answer))
        snprintf(text, VALUE, (answer.value & bit) != 0 ? "on" : "off");
}

static void lro(char *text)
{
    on_off(FLAGS, LRO_FLAG, text);
}

static void queues_set(const char *direction, const char *file, char *text)
{
    int set, count = queues(direction, file, &set);

    if (set > 0)
        snprintf(text, VALUE, "on, for %d of %d queues", set, count);
    else if (count > 0)
        snprintf(text, VALUE, "off");
}

static void rps(char *text)
{
    queues_set("rx", "rps_cpus", text);
}

static void rfs(char *text)
{
    char entries[VALUE];

    if (read_setting("rps_sock_flow_entries", entries) && strcmp(entries, "0") == 0)
        snprintf(text, VALUE, "off"); /* whatever the queues say: its table has no room */
    else
        queues_set("rx", "rps_flow_cnt", text);
}

static void xps(char *text)
{
    queues_set("tx", "xps_cpus", text);
}

static void budget(char *text)
{
    char packets[VALUE], usecs[VALUE];

    if (read_setting("netdev_budget", packets) && read_setting("netdev_budget_usecs", usecs))
        snprintf(text, VALUE, "%.12s packets, %.12s µs", packets, usecs);
}

static void flush_timeout(char *text)
{
    char times[VALUE], timeout[VALUE];

    if (read_device("napi_defer_hard_irqs", times) && read_device("gro_flush_timeout", timeout))
        snprintf(text, VALUE, "%.12s times, %.12s ns", times, timeout);
}

static void polling_thread(char *text)
{
    char line[VALUE];

    if (read_device("threaded", line))
        snprintf(text, VALUE, line[0] == '1' ? "on" : "off");
}

static void busy_polling(char *text)
{
    char read[VALUE], poll[VALUE];

    if (read_setting("busy_read", read) && read_setting("busy_poll", poll))
        snprintf(text, VALUE, "recv %.12s µs, poll %.12s µs", read, poll);
}

/* ---- what is counted for each CPU: the value is the sum, the shares are told below it ---- */

static unsigned long long share[CPUS];

static void sum_up(const char *unit, char *text)
{
    unsigned long long sum = 0;

    for (int cpu = 0; cpu < CPUS; cpu++)
        sum += share[cpu];
    snprintf(text, VALUE, "%llu%s", sum, unit);
}

/* Is the device named in this text?  As a whole word: floppy is not lo's, and eth10-rx-0 not
 * eth1's, but eth10's. */
static bool is_named(const char *text)
{
    size_t length = strlen(device);

    for (const char *at = text; (at = strstr(at, device)) != NULL; at++)
        if ((at == text || !isalnum((unsigned char)at[-1])) && !isalnum((unsigned char)at[length]))
            return true;
    return false;
}

/* Does this interrupt belong to the device?  The bus lists the numbers of a PCI card's; for a
 * virtio card the PCI device is one step up.  Else the driver has put the device's name into the
 * name of the interrupt. */
static bool is_ours(const char *number, const char *name)
{
    static const char *const folders[] = {"device/msi_irqs", "device/../msi_irqs"};
    char path[PATH_MAX];

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/sys/class/net/%s/%s", device, folders[i]);
        if (access(path, F_OK) == -1)
            continue;
        snprintf(path, sizeof path, "/sys/class/net/%s/%s/%s", device, folders[i], number);
        return access(path, F_OK) == 0;
    }
    return is_named(name);
}

/* A line of /proc/interrupts: "36:", a count for each CPU, the name.  The first line of the file
 * names the CPUs. */
static bool add_interrupt(char *line, const int *cpus, int count)
{
    unsigned long long counts[CPUS];
    char *number = line + strspn(line, " "), *colon = strchr(line, ':');

    if (colon == NULL || strspn(number, "0123456789") != (size_t)(colon - number))
        return false;
    *colon = '\0';
    char *rest = colon + 1;
    for (int i = 0; i < count; i++)
        counts[i] = strtoull(rest, &rest, 10);
    if (!is_ours(number, rest))
        return false;
    for (int i = 0; i < count; i++)
        share[cpus[i]] += counts[i];
    return true;
}

static void interrupts(char *text)
{
    FILE *file = fopen("/proc/interrupts", "re");
    char *line = NULL;
    size_t size = 0;
    int cpus[CPUS], count = 0, vectors = 0;

    if (file == NULL)
        return;
    if (getline(&line, &size, file) != -1)
        for (char *at = line; (at = strstr(at, "CPU")) != NULL && count < CPUS; at += 3) {
            cpus[count] = (int)strtol(at + 3, NULL, 10);
            count += cpus[count] < CPUS;
        }
    while (getline(&line, &size, file) != -1)
        vectors += add_interrupt(line, cpus, count);
    free(line);
    fclose(file);
    if (vectors > 0)
        sum_up(", by all its vectors", text);
}

/* /proc/net/softnet_stat: a line of hexadecimal numbers for each CPU.  The thirteenth is the number
 * of the CPU; kernels before 5.10 have none, and leave no CPU out as a rule. */
enum { PROCESSED, DROPPED, SQUEEZED, SOFTNET_CPU = 12 };

static void softnet(int column, const char *unit, char *text)
{
    FILE *file = fopen("/proc/net/softnet_stat", "re");
    char line[VALUE];
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
        if (count > column && cpu < CPUS)
            share[cpu] = numbers[column];
    }
    fclose(file);
    sum_up(unit, text);
}

static void processed(char *text)
{
    softnet(PROCESSED, " packets", text);
}

static void dropped(char *text)
{
    softnet(DROPPED, " packets", text);
}

static void squeezed(char *text)
{
    softnet(SQUEEZED, " times", text);
}

/* ---- what is told ---- */

struct fact {
    const char *what; /* alone, it is a heading */
    void (*here)(char *text);
    enum question on_off; /* or a question with this answer, */
    const char *setting;  /* or one of the kernel's settings */
    const char *card, *why;
};

static const struct fact facts[] = {
    {.what = "The card"},
    {"speed", speed, 0, NULL, "10000 Mbit/s",
     "A full frame then takes 1.2 µs on the wire, the smallest 0.07."},
    {"receive queues", receive_queues, 0, NULL, "one for each CPU, to 63",
     "A connection has its queue, and a queue its CPU: several receive at once."},
    {"RSS table", rss_table, 0, NULL, "128 entries",
     "Receive-side scaling: a hash of addresses and ports chooses the queue."},
    {"receive ring", receive_ring, 0, NULL, "512, of at most 4096",
     "Frames wait here for the kernel. When it is full, the card drops them."},
    {"interrupt delay", coalescing, 0, NULL, "adaptive",
     "One interrupt for several frames: less CPU for each, a little later."},
    {"hardware timestamps", timestamps, 0, NULL, "yes, of PTP frames",
     "When a frame came by the clock of the card, before anything could delay it."},
    {"its interrupts", interrupts, 0, NULL, "a vector for each queue",
     "The first that the kernel hears of a packet; in a trace irq_handler_entry."},

    {.what = "Work that the card takes over, or that is done once for many packets"},
    {"checksum, receive", NULL, RECEIVE_CHECKSUM, NULL, "on",
     "The card has checked the sum, so the kernel need not read the bytes."},
    {"checksum, send", NULL, SEND_CHECKSUM, NULL, "on",
     "The card computes it on the way out, and not the CPU."},
    {"scatter-gather", NULL, SCATTER_GATHER, NULL, "on",
     "A frame is fetched in pieces from where they lie: zero-copy needs that."},
    {"TSO", NULL, TSO, NULL, "on",
     "TCP segmentation offload: it is given 64 KiB, and cuts them into frames."},
    {"GSO", NULL, GSO, NULL, "on",
     "The same by the kernel, as late as it can: one way down for many."},
    {"GRO", NULL, GRO, NULL, "on",
     "The other way: the kernel joins segments that follow. One way up for many."},
    {"LRO", lro, 0, NULL, "can; off in a router",
     "GRO by the card. It forgets where the segments ended; a router needs that."},

    {.what = "The kernel's part"},
    {"RPS", rps, 0, NULL, "off: it has RSS",
     "RSS by the kernel: a hash chooses the CPU, which is told by an interrupt."},
    {"RFS", rfs, 0, NULL, "off",
     "As RPS, but to the CPU where a program last read from this connection."},
    {"XPS", xps, 0, NULL, "a CPU for each queue",
     "Which CPU sends by which queue, so that they do not wait for one lock."},
    {"backlog weight", NULL, 0, "dev_weight", "its own: 64",
     "So many packets of lo, veth and RPS in a row, then another queue has a turn."},
    {"NAPI budget", budget, 0, NULL, "300 packets, 8000 µs",
     "NET_RX ends after so much, and what is left waits: it was squeezed, below."},
    {"backlog", NULL, 0, "netdev_max_backlog", "not used: it has rings",
     "So many packets of lo, veth and RPS may wait for a CPU. It drops the rest."},
    {"interrupts deferred", flush_timeout, 0, NULL, "0 times, 0 ns",
     "An empty queue is asked so often again, so late, before interrupts go on."},
    {"polling thread", polling_thread, 0, NULL, "off",
     "NAPI in a thread, which the scheduler can place, and not in a softirq."},
    {"busy polling", busy_polling, 0, NULL, "recv 0 µs, poll 0 µs",
     "Who waits asks the card's driver for so long, and only then sleeps."},

    {.what = "What happened since the start, on all devices together"},
    {"softirq: received", processed, 0, NULL, "",
     "If one CPU has them all, it is the limit of all."},
    {"softirq: dropped", dropped, 0, NULL, "",
     "The backlog was full. TCP sends again, and that costs time."},
    {"softirq: squeezed", squeezed, 0, NULL, "",
     "The budget was spent, with packets left. Often: the CPU is too busy."},
};

static void value_of(const struct fact *fact, char *text)
{
    text[0] = '\0';
    memset(share, 0, sizeof share);
    if (fact->here != NULL)
        fact->here(text);
    else if (fact->on_off != 0)
        on_off(fact->on_off, UINT32_MAX, text);
    else if (!read_setting(fact->setting, text))
        text[0] = '\0';
    if (text[0] == '\0')
        snprintf(text, VALUE, has_folder() ? "not on this device" : "not seen");
}

/* The shares of the CPUs that have one, in lines that fit. */
static void print_shares(void)
{
    int column = 0;

    for (int cpu = 0; cpu < CPUS; cpu++) {
        char piece[VALUE];
        if (share[cpu] == 0)
            continue;
        int length = snprintf(piece, sizeof piece, "cpu%d %llu", cpu, share[cpu]);
        bool fits = column > 0 && column + 2 + length <= LINE;
        printf("%s%s", column == 0 ? "    " : fits ? "  " : "\n    ", piece);
        column = (fits ? column + 2 : 4) + length;
    }
    if (column > 0)
        putchar('\n');
}

/* printf() pads bytes, and a character such as µ has two. */
static int extra_bytes(const char *text)
{
    int extra = 0;

    for (; *text != '\0'; text++)
        extra += ((unsigned char)*text & 0xc0) == 0x80;
    return extra;
}

static void print_fact(const struct fact *fact)
{
    char text[VALUE];

    if (fact->why == NULL) {
        printf("\n%s\n", fact->what);
        return;
    }
    value_of(fact, text);
    if (fact->card[0] == '\0')
        printf("\n  %-19s  %s\n", fact->what, text);
    else
        printf("\n  %-19s  %-*s  %s\n", fact->what, 30 + extra_bytes(text), text, fact->card);
    printf("    %s\n", fact->why);
    print_shares();
}

/* ---- which device ---- */

/* /proc/net/route: the name first, then the destination; the default's is 0, and so is its mask.  A
 * route that leads nowhere ("unreachable") has "*" for a device. */
static bool default_route(void)
{
    FILE *file = fopen("/proc/net/route", "re");
    char line[VALUE], name[IF_NAMESIZE];
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
    if (default_route())
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
    char path[PATH_MAX], driver[PATH_MAX], mtu[VALUE];

    snprintf(path, sizeof path, "/sys/class/net/%s/device/driver", device);
    ssize_t length = readlink(path, driver, sizeof driver - 1);
    if (length > 0) {
        driver[length] = '\0';
        char *name = strrchr(driver, '/');
        printf("%s: a card, driver %s", device, name != NULL ? name + 1 : driver);
    } else if (has_folder()) {
        printf("%s: the kernel's own device, without a card", device);
    } else {
        printf("%s: without /sys it is not seen whether this is a card", device);
    }
    if (read_device("mtu", mtu))
        printf(", MTU %s", mtu);
    puts(".");
    if (strcmp(device, "lo") == 0)
        puts("Nothing crosses a wire. Where a card's work is \"on\", nobody does it, or has to.");
    printf("\n  %-19s  %-30s  %s\n", "", "HERE", "A 10 GBIT/S CARD");
    printf("  %-19s  %-30s  %s\n", "", "", "(Intel 82599)");
}

static void usage(FILE *stream)
{
    fputs("usage: nic [DEV]\n"
          "  tells what the network device DEV and the kernel do for a packet's journey;\n"
          "  without DEV it is the device of the default route\n",
          stream);
}

/* What could not be written was not told.  Who closed the pipe has read what he wanted. */
static int flushed(void)
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
        fprintf(stderr, "nic: there is no network device \"%s\"; /sys/class/net lists them\n",
                argc == 2 ? argv[1] : device);
        return 1;
    }
    print_device();
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        print_fact(&facts[i]);
    return flushed();
}
#endif
