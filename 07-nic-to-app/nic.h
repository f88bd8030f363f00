/* What the files of nic share: nic.c chooses the device, nic_report.c prints the report,
 * nic_drops.c the counters of lost packets, and nic_read.c reads /proc, /sys and the driver for
 * them. */
#ifndef NIC_H
#define NIC_H

#include <stdbool.h>
#include <stdint.h>

#define MAX_COLUMNS 80  /* of a line of output */
#define VALUE_SIZE 200  /* bytes of the longest value */
#define MAX_CPUS 1024   /* CPUs with higher numbers are ignored */
#define MAX_VECTORS 256 /* interrupts of one device; any more are counted, but not listed */

#define DEVICE_SIZE 16 /* IF_NAMESIZE, in a header that macOS cannot read on its own */
extern char device[DEVICE_SIZE];

/* ---- nic_read.c ---- */

/* These read the first line of a file, without its newline.  They return false if the file does
 * not exist, is empty or cannot be read.  The second reads a file in the device's directory in
 * sysfs, the third one of the sysctls that apply to all devices. */
bool read_first_line(const char *path, char line[VALUE_SIZE]);
bool read_device_file(const char *name, char line[VALUE_SIZE]);
bool read_sysctl(const char *name, char line[VALUE_SIZE]);

/* Whether sysfs has the device.  A container may have no /sys; most values are then unknown. */
bool has_sysfs_directory(void);

/* /proc/net/softnet_stat has a line of hexadecimal numbers for each CPU.  Put the numbers of a
 * column into counts[], by CPU.  Returns false if there is no such file or column. */
enum softnet_column { PROCESSED, DROPPED, SQUEEZED, FLOW_LIMITED = 10, SOFTNET_CPU = 12 };
bool read_softnet(enum softnet_column column, unsigned long long counts[MAX_CPUS]);

/* The interrupts of the device, from /proc/interrupts: how many there are, the numbers of the first
 * MAX_VECTORS of them, and how often each CPU has served them. */
struct interrupts {
    int count, numbers[MAX_VECTORS];
    unsigned long long per_cpu[MAX_CPUS];
};
void read_interrupts(struct interrupts *interrupts);

/* The driver or the kernel answers ioctl(SIOCETHTOOL) with these.  The numbers and the structs are
 * those of <linux/ethtool.h>, a header that not every machine with a C compiler has.  The first
 * member is the command; most have 32 bits. */
#define IOCTL_ETHTOOL 0x8946 /* SIOCETHTOOL */
enum ethtool_command {
    DRIVER = 0x03,
    COALESCING = 0x0e,
    RING = 0x10,
    RECEIVE_CHECKSUM = 0x14,
    SEND_CHECKSUM = 0x16,
    SCATTER_GATHER = 0x18,
    NAMES = 0x1b,
    COUNTERS = 0x1d,
    TSO = 0x1e,
    GSO = 0x23,
    FLAGS = 0x25, /* LRO is one of them */
    GRO = 0x2b,
    RSS_TABLE = 0x38,
    CHANNELS = 0x3c,
    TIMESTAMPS = 0x41
};
struct driver {
    uint32_t command;
    char skipped[176];
    uint32_t counters, also_skipped[3];
};
#define NAME_SIZE 32   /* bytes of a counter's name */
#define COUNTER_SET 1u /* ETH_SS_STATS */
struct names {
    uint32_t command, set, count;
    char names[][NAME_SIZE];
};
struct counters {
    uint32_t command, count;
    uint64_t values[];
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

/* Ask the driver: answer is one of the structs above.  Returns false if the driver does not
 * support the command, usually because the device is not hardware. */
bool ethtool_get(enum ethtool_command command, void *answer);

/* ---- the reports ---- */

void print_report(void); /* nic_report.c */
void print_drops(void);  /* nic_drops.c */

/* Print a text in which DEV stands for the device. */
void print_for_device(const char *text);

#endif
