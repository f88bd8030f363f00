/* nic [DEV]: report which features of the network card and the kernel affect a packet.
 * nic drops [DEV]: list the counters of lost packets, from the card to the socket.
 *
 * For each feature it prints the value on this machine, the value of a 10 Gbit/s card, a line that
 * says what the feature does, and the file or command that the value comes from.  Every user may
 * run it, and it changes nothing.  Without DEV it uses the device of the default route.  If there
 * is none, it uses the first device that is not lo, and if there is only lo, that one. */
#define _DEFAULT_SOURCE /* if_nameindex() is not in POSIX.1-2008 */

#include "nic.h"

#include <stdio.h>

#ifndef __linux__
int main(void)
{
    puts("nic needs Linux: it reads /proc and /sys.");
    return 0;
}
#else

#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

char device[DEVICE_SIZE];

/* ---- the choice of the device ---- */

/* Find the device of the default route.  A line of /proc/net/route starts with the device and the
 * destination.  For the default route, destination and mask are 0.  A route without a device
 * ("unreachable") has "*" instead of a name. */
static bool find_default_route(void)
{
    FILE *file = fopen("/proc/net/route", "re");
    char line[VALUE_SIZE], name[DEVICE_SIZE];
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
}

static void usage(FILE *stream)
{
    fputs("usage: nic [DEV]\n"
          "         reports which features of the network device DEV and of the kernel\n"
          "         affect a packet\n"
          "       nic drops [DEV]\n"
          "         lists the counters of lost packets, from the card to the socket\n"
          "  Without DEV, it uses the device of the default route.\n",
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
    bool drops = argc > 1 && strcmp(argv[1], "drops") == 0;
    const char *name = argv[drops ? 2 : 1]; /* NULL if there is none */

    if (argc == 2 && strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return 0;
    }
    if (argc > (drops ? 3 : 2) || (name != NULL && name[0] == '-')) {
        usage(stderr);
        return 2;
    }
    if (name != NULL)
        snprintf(device, sizeof device, "%s", name);
    else
        choose_device();
    if (if_nametoindex(device) == 0 || (name != NULL && strcmp(device, name) != 0)) {
        fprintf(stderr, "nic: there is no network device \"%s\"; see /sys/class/net\n",
                name != NULL ? name : device);
        return 1;
    }
    print_device();
    if (drops)
        print_drops();
    else
        print_report();
    return flush_stdout();
}
#endif
