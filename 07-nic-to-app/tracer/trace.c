/* Follow a packet from its sender to the code that reads it, and show every hop.  Try it: ./trace,
 * as root. Without root it shows what an unprivileged user may see.
 *
 * This file is the command line and nothing more.  fallback.c chooses where the events come from:
 * run.c and tracer.c (root), sockets.c (any user), or a recording.  stitch.c turns events into
 * journeys, output.c and show_*.c show them.  hops.c is the table that all of them read. */
#define _GNU_SOURCE

#include "fallback.h"
#include "show.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_PACKETS 20000 /* about 150 MB of events */
#define PATH_SIZE 4096

static struct options {
    struct plan plan;
    struct output output;
    unsigned given; /* a bit for each option that was given */
    const char *replay;
    char server[PATH_SIZE], last_resort[PATH_SIZE];
} options = {.plan = {.via = VIA_LO, .packets = 1, .address = "127.0.0.1", .device = "lo"}};

static void usage(FILE *stream)
{
    fputs("usage: trace [OPTION...]              follow one packet to ./server\n"
          "       trace attach PORT [OPTION...]  follow one to a server that is already running\n"
          "       trace replay FILE [OPTION...]  show a recorded run, without root, on any system\n"
          "       trace explain [HOP]            explain a hop, or list all of them\n"
          "  -n N             follow N packets, and show how long each hop takes\n"
          "  --via PATH       the packet's path: lo, veth, tap, gro or rps (default: lo)\n"
          "  --server PROGRAM start this server instead, as: PROGRAM -b ADDRESS -p 0\n"
          "  --cpu N          the CPU for client and server, or: any (default: 0)\n"
          "  --json FILE      write a trace that Perfetto and Chrome's tracing page can load\n"
          "  --svg FILE       draw the journey of the first packet\n"
          "  --record FILE    store the events for trace replay\n"
          "                   One of these three files may be -, which means standard output.\n"
          "                   The text that normally goes there then goes to standard error.\n"
          "  --brief          for one packet, print one line for each hop, without reasons\n"
          "  --watch          send nothing; follow the next N packets that others send\n"
          "  --device DEV     with attach or --watch: the device that packets use (default: lo)\n"
          "  -b ADDRESS       with attach or --watch: the server's address (default: 127.0.0.1)\n"
          "  -p PORT          with --watch: the port for ./server (default: any free port)\n"
          "  -h               print this help\n",
          stream);
}

_Noreturn static void bad_usage(const char *what, const char *why)
{
    fprintf(stderr, "trace: \"%s\": %s\n", what, why);
    usage(stderr);
    exit(2);
}

static int parse_number(const char *text, const char *what, int least, int most)
{
    char *end;

    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || value < least ||
        value > most)
        bad_usage(text, what);
    return (int)value;
}

/* The path of a file beside this program, wherever the program was called from. */
static void path_beside(const char *program, const char *name, char *path, size_t size)
{
    char real[PATH_SIZE];
    ssize_t length = readlink("/proc/self/exe", real, sizeof real - 1);

    if (length > 0) {
        real[length] = '\0';
        program = real;
    }
    const char *slash = strrchr(program, '/');
    if (slash == NULL)
        snprintf(path, size, "%s",
                 name); /* the folder is not known, so the file will not be found */
    else
        snprintf(path, size, "%.*s/%s", (int)(slash - program), program, name);
}

enum { VIA = 256, SERVER, CPU, JSON, SVG, RECORD, WATCH, DEVICE, BRIEF };
enum given {
    OPT_COUNT = 1,
    OPT_FILE = 2,
    OPT_BRIEF = 4,
    OPT_VIA = 8,
    OPT_SERVER = 16,
    OPT_CPU = 32,
    OPT_WATCH = 64,
    OPT_DEVICE = 128,
    OPT_ADDRESS = 256,
    OPT_PORT = 512
};
static const struct {
    int option;
    enum given bit;
    const char *name;
    const char **value; /* where the value is stored unchanged; NULL: it must be parsed */
} known_options[] = {{'n', OPT_COUNT, "-n", NULL},
                     {JSON, OPT_FILE, "--json", &options.output.json},
                     {SVG, OPT_FILE, "--svg", &options.output.svg},
                     {RECORD, OPT_FILE, "--record", &options.output.record},
                     {BRIEF, OPT_BRIEF, "--brief", NULL},
                     {VIA, OPT_VIA, "--via", NULL},
                     {SERVER, OPT_SERVER, "--server", &options.plan.server},
                     {CPU, OPT_CPU, "--cpu", NULL},
                     {WATCH, OPT_WATCH, "--watch", NULL},
                     {DEVICE, OPT_DEVICE, "--device", &options.plan.device},
                     {'b', OPT_ADDRESS, "-b", &options.plan.address},
                     {'p', OPT_PORT, "-p", NULL}};
static const struct option long_options[] = {{"via", required_argument, NULL, VIA},
                                             {"server", required_argument, NULL, SERVER},
                                             {"json", required_argument, NULL, JSON},
                                             {"svg", required_argument, NULL, SVG},
                                             {"record", required_argument, NULL, RECORD},
                                             {"watch", no_argument, NULL, WATCH},
                                             {"device", required_argument, NULL, DEVICE},
                                             {"help", no_argument, NULL, 'h'},
                                             {"brief", no_argument, NULL, BRIEF},
                                             {"cpu", required_argument, NULL, CPU},
                                             {NULL, 0, NULL, 0}};

static void parse_path(const char *name)
{
    int via = via_find(name);

    if (via == -1 || via >= VIA_CARD)
        bad_usage(name, "there is no such path; there are lo, veth, tap, gro and rps");
    options.plan.via = (enum via)via;
}

static void parse_address(const char *text)
{
    struct in_addr address;

    if (inet_pton(AF_INET, text, &address) != 1)
        bad_usage(text, "-b needs an IPv4 address");
}

static void parse_cpu(const char *text)
{
    options.plan.cpu = strcmp(text, "any") == 0 ? -1 : parse_number(text, "not a CPU", 0, 1023);
}

/* Note that the option was given, and store its value if it needs no parsing. */
static void note_option(int option)
{
    for (size_t i = 0; i < sizeof known_options / sizeof *known_options; i++) {
        if (known_options[i].option != option)
            continue;
        options.given |= known_options[i].bit;
        if (known_options[i].value != NULL)
            *known_options[i].value = optarg;
    }
}

static void parse_option(int option, const char *word)
{
    note_option(option);
    switch (option) {
    case 'h':
        usage(stdout);
        exit(0);
    case 'n':
        options.plan.packets =
            (unsigned)parse_number(optarg, "not a number of packets, 1 to 20000", 1, MAX_PACKETS);
        break;
    case 'b':
        parse_address(optarg);
        break;
    case 'p':
        options.plan.port = (unsigned)parse_number(optarg, "not a port", 1, 65535);
        break;
    case VIA:
        parse_path(optarg);
        break;
    case CPU:
        parse_cpu(optarg);
        break;
    case BRIEF:
        options.output.brief = true;
        break;
    case WATCH:
        options.plan.watch = true;
        break;
    case ':':
        bad_usage(word, "needs a value");
    case '?':
        bad_usage(word, "there is no such option");
    }
}

/* Parse the options, which may be anywhere, and collect at most two other words. */
static int parse_words(int argc, char **argv, const char *word[2])
{
    int words = 0;

    opterr = 0;
    while (optind < argc) {
        int at = optind;
        int option = getopt_long(argc, argv, "+:n:b:p:h", long_options, NULL);
        if (option != -1)
            parse_option(option, argv[at]);
        else if (optind < argc && words < 2)
            word[words++] = argv[optind++];
        else if (optind < argc)
            bad_usage(argv[optind], "too many words");
    }
    return words;
}

static void explain(const char *hop)
{
    if (!show_explain(stdout, hop))
        bad_usage(hop, "there is no such hop; trace explain lists all hops");
    exit(output_end(0));
}

/* An option that would have no effect is refused, so that nobody relies on it. */
#define ANY_COMMAND (OPT_COUNT | OPT_FILE | OPT_BRIEF)
static const struct command {
    const char *name;   /* NULL: without a command, ./server is started */
    unsigned allowed;   /* options */
    const char *reason; /* why others are not allowed */
} commands[] = {
    {NULL, ANY_COMMAND | OPT_VIA | OPT_SERVER | OPT_CPU | OPT_WATCH,
     "works only with attach or --watch"},
    {"attach", ANY_COMMAND | OPT_WATCH | OPT_DEVICE | OPT_ADDRESS,
     "does not work with attach: the server is already running"},
    {"replay", ANY_COMMAND, "does not work with replay: that run is over"},
    {"explain", 0, "does not work with explain"},
};

static const struct command *find_command(const char *word)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (commands[i].name == word ||
            (commands[i].name != NULL && word != NULL && strcmp(commands[i].name, word) == 0))
            return &commands[i];
    bad_usage(word, "there is no such command");
}

static void refuse(unsigned which, const char *why)
{
    for (size_t i = 0; i < sizeof known_options / sizeof *known_options; i++)
        if ((options.given & known_options[i].bit & which) != 0)
            bad_usage(known_options[i].name, why);
}

static void check_options(const struct command *command)
{
    const char *device = options.plan.device;
    unsigned allowed = command->allowed;

    if (command->name == NULL && options.plan.watch)
        allowed = (allowed & ~(unsigned)OPT_VIA) | OPT_DEVICE | OPT_ADDRESS | OPT_PORT;
    refuse(~allowed & ~(unsigned)OPT_VIA, command->reason);
    refuse(~allowed & OPT_VIA,
           command->name == NULL
               ? "does not work with --watch: the senders of the packets choose the path"
               : command->reason);
    if (options.plan.via == VIA_RPS && options.plan.cpu != 0)
        bad_usage("--cpu", "--via rps needs the client on CPU 0, to move the packet to CPU 1");
    if (!options.plan.watch && strcmp(device, "lo") != 0)
        bad_usage(
            device,
            "a device other than lo needs --watch, because trace sends its own packets over lo");
    if (strcmp(device, "lo") != 0 && if_nametoindex(device) == 0)
        bad_usage(device, "there is no such device");
    if (strcmp(device, "lo") != 0 && (options.given & OPT_ADDRESS) == 0)
        options.plan.address = "0.0.0.0"; /* its packets are for another address */
}

/* Check before the run that a file can be written.  An existing file keeps its content. */
static void check_file(const char *file, struct stat *status, bool *created)
{
    *status = (struct stat){0};
    *created = false;
    if (file == NULL || strcmp(file, "-") == 0 ||
        (stat(file, status) == 0 && (S_ISFIFO(status->st_mode) || S_ISCHR(status->st_mode))))
        return;
    *created = status->st_nlink == 0;
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd == -1 || fstat(fd, status) == -1)
        output_fail(file, strerror(errno));
    close(fd);
}

static bool same_file(const char *a, const struct stat *of_a, const char *b,
                      const struct stat *of_b)
{
    if (a == NULL || b == NULL)
        return false;
    return strcmp(a, b) == 0 ||
           (S_ISREG(of_a->st_mode) && of_a->st_dev == of_b->st_dev && of_a->st_ino == of_b->st_ino);
}

static void check_files(void)
{
    const char *const files[] = {options.output.json, options.output.svg, options.output.record};
    struct stat status[3];
    bool created[3];

    for (int i = 0; i < 3; i++)
        check_file(files[i], &status[i], &created[i]);
    for (int i = 0; i < 3; i++)
        if (created[i])
            unlink(files[i]);
    for (int i = 0; i < 3; i++)
        if (same_file(files[i], &status[i], files[(i + 1) % 3], &status[(i + 1) % 3]))
            bad_usage(files[i], "only one of --json, --svg and --record can use this file");
}

/* This process may be restricted to some CPUs.  Only a CPU that the user asked for is an error. */
static void check_cpu(void)
{
#ifdef __linux__
    cpu_set_t allowed;

    if (options.plan.cpu == -1 || sched_getaffinity(0, sizeof allowed, &allowed) == -1 ||
        CPU_ISSET((size_t)options.plan.cpu, &allowed))
        return;
    if ((options.given & OPT_CPU) != 0)
        bad_usage("--cpu", "not a CPU that this process may use");
    options.plan.cpu = -1;
#endif
}

static void parse_command(int argc, char **argv)
{
    const char *word[2] = {NULL, NULL};
    int words = parse_words(argc, argv, word);

    path_beside(argv[0], "server", options.server, sizeof options.server);
    path_beside(argv[0], "recordings/lo.txt", options.last_resort, sizeof options.last_resort);
    check_options(find_command(words > 0 ? word[0] : NULL));
    check_files();
    check_cpu();
    output_begin(&options.output);
    if (options.plan.server == NULL)
        options.plan.server = options.server;
    options.plan.show_frames = options.plan.packets == 1;
    bool one_given = options.plan.packets == 1 && (options.given & OPT_COUNT) != 0;
    bool is_replay = words > 0 && strcmp(word[0], "replay") == 0;
    options.output.only_one = one_given || (options.plan.packets == 1 && !is_replay);
    if (words == 0)
        return;
    if (strcmp(word[0], "explain") == 0)
        explain(word[1]);
    bool attach = strcmp(word[0], "attach") == 0;
    if (words == 1)
        bad_usage(word[0], attach ? "needs a port" : "needs a file");
    if (attach) {
        options.plan.port = (unsigned)parse_number(word[1], "not a port", 1, 65535);
        options.plan.server = NULL;
    } else {
        options.replay = word[1];
    }
}

int main(int argc, char **argv)
{
    parse_command(argc, argv);
    if (options.replay != NULL)
        return output_end(replay(options.replay, &options.output));
    bool was_specific = (options.given & (OPT_VIA | OPT_CPU | OPT_SERVER)) != 0;
    return output_end(
        trace_with_best_source(&options.plan, was_specific, options.last_resort, &options.output));
}
