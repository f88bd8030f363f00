/* Reading /proc, /sys and the driver of the device. */
#define _DEFAULT_SOURCE /* struct ifreq is not in POSIX.1-2008 */

#include "nic.h"

#ifdef __linux__

#include <ctype.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

bool read_first_line(const char *path, char line[VALUE_SIZE])
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

bool read_device_file(const char *name, char line[VALUE_SIZE])
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "/sys/class/net/%s/%s", device, name);
    return read_first_line(path, line);
}

bool has_sysfs_directory(void)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "/sys/class/net/%s", device);
    return access(path, F_OK) == 0;
}

bool read_sysctl(const char *name, char line[VALUE_SIZE])
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "/proc/sys/net/core/%s", name);
    return read_first_line(path, line);
}

bool ethtool_get(enum ethtool_command command, void *answer)
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

/* Parse a line of /proc/interrupts ("36:", one count per CPU, the name) and add it if the
 * interrupt belongs to the device.  cpus[] has the number of the CPU in each column, from the
 * first line of the file. */
static void add_interrupt(char *line, const int *cpus, int count, struct interrupts *interrupts)
{
    unsigned long long counts[MAX_CPUS];
    char *number = line + strspn(line, " "), *colon = strchr(line, ':');

    if (colon == NULL || strspn(number, "0123456789") != (size_t)(colon - number))
        return;
    *colon = '\0';
    char *rest = colon + 1;
    for (int i = 0; i < count; i++)
        counts[i] = strtoull(rest, &rest, 10);
    if (!is_device_interrupt(number, rest))
        return;
    for (int i = 0; i < count; i++)
        interrupts->per_cpu[cpus[i]] += counts[i];
    if (interrupts->count < MAX_VECTORS)
        interrupts->numbers[interrupts->count] = (int)strtol(number, NULL, 10);
    interrupts->count++;
}

void read_interrupts(struct interrupts *interrupts)
{
    FILE *file = fopen("/proc/interrupts", "re");
    char *line = NULL;
    size_t size = 0;
    int cpus[MAX_CPUS], count = 0;

    memset(interrupts, 0, sizeof *interrupts);
    if (file == NULL)
        return;
    if (getline(&line, &size, file) != -1)
        for (char *at = line; (at = strstr(at, "CPU")) != NULL && count < MAX_CPUS; at += 3) {
            cpus[count] = (int)strtol(at + 3, NULL, 10);
            count += cpus[count] < MAX_CPUS;
        }
    while (getline(&line, &size, file) != -1)
        add_interrupt(line, cpus, count, interrupts);
    free(line);
    fclose(file);
}

/* The thirteenth number of a line is that of the CPU.  Kernels before 5.10 do not print it; there
 * the number of the line stands for the CPU. */
bool read_softnet(enum softnet_column column, unsigned long long counts[MAX_CPUS])
{
    FILE *file = fopen("/proc/net/softnet_stat", "re");
    char line[VALUE_SIZE];
    unsigned long numbers[SOFTNET_CPU + 1];
    bool found = false;

    if (file == NULL)
        return false;
    for (unsigned long row = 0; fgets(line, sizeof line, file) != NULL; row++) {
        char *at = line, *end;
        int count = 0;
        for (; count <= SOFTNET_CPU; count++, at = end) {
            numbers[count] = strtoul(at, &end, 16);
            if (end == at)
                break;
        }
        unsigned long cpu = count > SOFTNET_CPU ? numbers[SOFTNET_CPU] : row;
        if (count <= (int)column || cpu >= MAX_CPUS)
            continue;
        counts[cpu] = numbers[column];
        found = true;
    }
    fclose(file);
    return found;
}

void print_for_device(const char *text)
{
    const char *name;

    for (; (name = strstr(text, "DEV")) != NULL; text = name + 3)
        printf("%.*s%s", (int)(name - text), text, device);
    fputs(text, stdout);
}

#endif
