/* Follow a packet from the one who sends it to the code that reads it, and show every hop.
 *
 * This file is the command line and nothing more.  What can be seen is in hops.c; the events come
 * from tracefs.c (root) or sockets.c (anybody); stitch.c makes journeys of them; show_*.c show
 * them. Try it: ./trace, as root.  Without root it shows what an ordinary user may see. */
#define _GNU_SOURCE

#include "run.h"
#include "show.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_PACKETS 20000 /* about 150 MB of events */
#define PATH_SIZE 4096

static struct options {
    struct plan plan;
    bool brief;     /* one journey without its whys */
    unsigned given; /* which options, a bit for each */
    const char *json, *svg, *record;
    FILE *piped; /* standard output, if one of these has it for itself */
    const char *replay;
    char server[PATH_SIZE], fallback[PATH_SIZE];
} options = {.plan = {.via = VIA_LO, .packets = 1, .address = "127.0.0.1", .device = "lo"}};

static void usage(FILE *stream)
{
    fputs("usage: trace [OPTION...]              follow one packet to ./server\n"
          "       trace attach PORT [OPTION...]  to a server that runs already\n"
          "       trace replay FILE [OPTION...]  show a recorded run; no root, any system\n"
          "       trace explain [HOP]            what a hop is; without HOP: the whole map\n"
          "  -n N             follow N packets, and show how long each hop takes\n"
          "  --via WAY        lo, veth, tap, gro or rps: the network that it takes (lo)\n"
          "  --server PROGRAM start this one instead, as: PROGRAM -b ADDRESS -p 0\n"
          "  --cpu N          the CPU for client and server, or: any (if not given: 0)\n"
          "  --json FILE      write what Perfetto and Chrome's tracing page can load\n"
          "  --svg FILE       draw the first journey\n"
          "  --record FILE    keep the events, for replay\n"
          "                   of these three, one FILE may be -: standard output, and\n"
          "                   then the words that would be there go to standard error\n"
          "  --brief          of one packet, a line for each hop, without the reasons\n"
          "  --watch          send nothing: follow the next N packets that others send\n"
          "  --device DEV     with attach or --watch: over which device they come (lo)\n"
          "  -b ADDRESS       with attach or --watch: where the server listens (127.0.0.1)\n"
          "  -p PORT          with --watch: the same for ./server (any that is free)\n"
          "  -h               print this\n",
          stream);
}

_Noreturn static void bad_usage(const char *what, const char *why)
{
    fprintf(stderr, "trace: \"%s\": %s\n", what, why);
    usage(stderr);
    exit(2);
}

_Noreturn static void fail(const char *what, const char *why)
{
    fprintf(stderr, "trace: %s: %s\n", what, why);
    exit(1);
}

static int number(const char *text, const char *what, int least, int most)
{
    char *end;

    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || value < least ||
        value > most)
        bad_usage(text, what);
    return (int)value;
}

/* What could not be written was not shown.  Who closed the pipe has seen what he wanted. */
static int flushed(int code)
{
    errno = 0;
    if ((fflush(stdout) == 0 && !ferror(stdout)) || errno == EPIPE)
        return code;
    fprintf(stderr, "trace: standard output: %s\n", strerror(errno != 0 ? errno : EIO));
    return 1;
}

/* A file that stands beside this program: where it really is, and not where it was called. */
static void beside(const char *program, const char *name, char *path, size_t size)
{
    char real[PATH_SIZE];
    ssize_t length = readlink("/proc/self/exe", real, sizeof real - 1);

    if (length > 0) {
        real[length] = '\0';
        program = real;
    }
    const char *slash = strrchr(program, '/');
    if (slash == NULL)
        snprintf(path, size, "%s", name); /* not to be found: we cannot tell where we are */
    else
        snprintf(path, size, "%.*s/%s", (int)(slash - program), program, name);
}

/* ---- the command line ---- */

enum { VIA = 256, SERVER, CPU, JSON, SVG, RECORD, WATCH, DEVICE, BRIEF };
enum given {
    COUNT = 1,
    FILES = 2,
    SHORT = 4,
    WAY = 8,
    PROGRAM = 16,
    PROCESSOR = 32,
    WATCHING = 64,
    OTHER_DEVICE = 128,
    ADDRESS = 256,
    PORT = 512
};
static const struct {
    int option;
    enum given bit;
    const char *name;
    const char **value; /* where it goes as it is; else it is looked at first */
} names[] = {{'n', COUNT, "-n", NULL},
             {JSON, FILES, "--json", &options.json},
             {SVG, FILES, "--svg", &options.svg},
             {RECORD, FILES, "--record", &options.record},
             {BRIEF, SHORT, "--brief", NULL},
             {VIA, WAY, "--via", NULL},
             {SERVER, PROGRAM, "--server", &options.plan.server},
             {CPU, PROCESSOR, "--cpu", NULL},
             {WATCH, WATCHING, "--watch", NULL},
             {DEVICE, OTHER_DEVICE, "--device", &options.plan.device},
             {'b', ADDRESS, "-b", &options.plan.address},
             {'p', PORT, "-p", NULL}};
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

static void take_way(const char *name)
{
    int via = via_find(name);

    if (via == -1 || via >= VIA_CARD)
        bad_usage(name, "no such way; there are lo, veth, tap, gro and rps");
    options.plan.via = (enum via)via;
}

static void take_address(const char *text)
{
    struct in_addr address;

    if (inet_pton(AF_INET, text, &address) != 1)
        bad_usage(text, "-b takes an IPv4 address");
}

static void take_cpu(const char *text)
{
    options.plan.cpu = strcmp(text, "any") == 0 ? -1 : number(text, "not a CPU", 0, 1023);
}

/* Whether it was given, and its value where that needs no look. */
static void note_option(int option)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].option != option)
            continue;
        options.given |= names[i].bit;
        if (names[i].value != NULL)
            *names[i].value = optarg;
    }
}

static void take_option(int option, const char *word)
{
    note_option(option);
    switch (option) {
    case 'h':
        usage(stdout);
        exit(0);
    case 'n':
        options.plan.packets =
            (unsigned)number(optarg, "not a number of packets, 1 to 20000", 1, MOST_PACKETS);
        break;
    case 'b':
        take_address(optarg);
        break;
    case 'p':
        options.plan.port = (unsigned)number(optarg, "not a port", 1, 65535);
        break;
    case VIA:
        take_way(optarg);
        break;
    case CPU:
        take_cpu(optarg);
        break;
    case BRIEF:
        options.brief = true;
        break;
    case WATCH:
        options.plan.watch = true;
        break;
    case ':':
        bad_usage(word, "needs a value");
    case '?':
        bad_usage(word, "no such option");
    }
}

/* Options may stand anywhere; what is left are at most two words. */
static int read_words(int argc, char **argv, const char *word[2])
{
    int words = 0;

    opterr = 0;
    while (optind < argc) {
        int at = optind;
        int option = getopt_long(argc, argv, "+:n:b:p:h", long_options, NULL);
        if (option != -1)
            take_option(option, argv[at]);
        else if (optind < argc && words < 2)
            word[words++] = argv[optind++];
        else if (optind < argc)
            bad_usage(argv[optind], "one word too many");
    }
    return words;
}

static void explain(const char *hop)
{
    if (!show_explain(stdout, hop))
        bad_usage(hop, "no such hop; trace explain lists them");
    exit(flushed(0));
}

/* What would be ignored in silence is refused, so that nobody takes it for done. */
#define TO_RUN (COUNT | FILES | SHORT)
static const struct command {
    const char *name; /* NULL: none, so run ./server */
    unsigned may_have;
    const char *without; /* why not more */
} commands[] = {
    {NULL, TO_RUN | WAY | PROGRAM | PROCESSOR | WATCHING, "only with attach or --watch"},
    {"attach", TO_RUN | WATCHING | OTHER_DEVICE | ADDRESS,
     "not with attach: the server runs already"},
    {"replay", TO_RUN, "not with replay: that run is over"},
    {"explain", 0, "not with explain"},
};

static const struct command *find_command(const char *word)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (commands[i].name == word ||
            (commands[i].name != NULL && word != NULL && strcmp(commands[i].name, word) == 0))
            return &commands[i];
    bad_usage(word, "no such command");
}

static void refuse(unsigned which, const char *why)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if ((options.given & names[i].bit & which) != 0)
            bad_usage(names[i].name, why);
}

static void check_options(const struct command *command)
{
    const char *device = options.plan.device;
    unsigned may_have = command->may_have;

    if (command->name == NULL && options.plan.watch)
        may_have = (may_have & ~(unsigned)WAY) | OTHER_DEVICE | ADDRESS | PORT;
    refuse(~may_have & ~(unsigned)WAY, command->without);
    refuse(~may_have & WAY, command->name == NULL
                                ? "not with --watch: others send, and choose the way"
                                : command->without);
    if (options.plan.via == VIA_RPS && options.plan.cpu != 0)
        bad_usage("--cpu", "--via rps keeps the client on CPU 0, to move the packet to CPU 1");
    if (!options.plan.watch && strcmp(device, "lo") != 0)
        bad_usage(device, "with a device other than lo comes --watch: our own packets go over lo");
    if (strcmp(device, "lo") != 0 && if_nametoindex(device) == 0)
        bad_usage(device, "no such device");
    if (strcmp(device, "lo") != 0 && (options.given & ADDRESS) == 0)
        options.plan.address = "0.0.0.0"; /* what comes over it is for another address */
}

static bool is_stdout(const char *file)
{
    return file != NULL && strcmp(file, "-") == 0;
}

static void check_files(void)
{
    const char *const files[] = {options.json, options.svg, options.record};

    for (int i = 0; i < 3; i++)
        for (int j = 0; j < i; j++)
            if (files[i] != NULL && files[j] != NULL && strcmp(files[i], files[j]) == 0)
                bad_usage(files[i], "this file can have one of --json, --svg and --record");
}

/* What a program reads from our standard output must have it for itself.  So it gets a descriptor
 * of its own, and whatever else we say goes to standard error. */
static void share_stdout(void)
{
    if (!is_stdout(options.json) && !is_stdout(options.svg) && !is_stdout(options.record))
        return;
    int copy = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    options.piped = copy != -1 ? fdopen(copy, "w") : NULL;
    if (options.piped == NULL || dup2(STDERR_FILENO, STDOUT_FILENO) == -1)
        fail("standard output", strerror(errno));
}

/* We may be kept away from some CPUs.  Of the one that we take unasked nobody is told. */
static void check_cpu(void)
{
#ifdef __linux__
    cpu_set_t ours;

    if (options.plan.cpu == -1 || sched_getaffinity(0, sizeof ours, &ours) == -1 ||
        CPU_ISSET((size_t)options.plan.cpu, &ours))
        return;
    if ((options.given & PROCESSOR) != 0)
        bad_usage("--cpu", "not a CPU that we may use");
    options.plan.cpu = -1;
#endif
}

static void read_command(int argc, char **argv)
{
    const char *word[2] = {NULL, NULL};
    int words = read_words(argc, argv, word);

    beside(argv[0], "server", options.server, sizeof options.server);
    beside(argv[0], "recordings/lo.txt", options.fallback, sizeof options.fallback);
    check_options(find_command(words > 0 ? word[0] : NULL));
    check_files();
    check_cpu();
    share_stdout();
    if (options.plan.server == NULL)
        options.plan.server = options.server;
    if (words == 0)
        return;
    if (strcmp(word[0], "explain") == 0)
        explain(word[1]);
    bool attach = strcmp(word[0], "attach") == 0;
    if (words == 1)
        bad_usage(word[0], attach ? "needs a port" : "needs a file");
    if (attach) {
        options.plan.port = (unsigned)number(word[1], "not a port", 1, 65535);
        options.plan.server = NULL;
    } else {
        options.replay = word[1];
    }
}

/* ---- what to do with what was seen ---- */

static FILE *create(const char *file)
{
    FILE *stream = is_stdout(file) ? options.piped : fopen(file, "w");

    if (stream == NULL)
        fail(file, strerror(errno));
    return stream;
}

static void finish(FILE *stream, const char *file, bool written)
{
    if (fclose(stream) != 0 || !written)
        fail(file, "could not be written in full");
    if (!is_stdout(file))
        printf("written: %s\n", file);
}

static void write_files(const struct recording *recording, const struct journeys *journeys)
{
    if (options.json != NULL) {
        FILE *stream = create(options.json);
        finish(stream, options.json, show_json(stream, recording, journeys));
    }
    if (options.svg != NULL) {
        FILE *stream = create(options.svg);
        finish(stream, options.svg, show_svg(stream, recording, journeys_typical(journeys)));
    }
    if (options.record != NULL) {
        FILE *stream = create(options.record);
        finish(stream, options.record, recording_write(recording, stream));
    }
}

static int show(const struct recording *recording)
{
    struct journeys journeys;

    if (!stitch(recording, &journeys))
        fail("stitching", strerror(ENOMEM));
    if (journeys.count == 0)
        fail("nothing to show", "no packet for this port was seen");
    if (journeys.count == 1 ||
        (options.plan.packets == 1 && ((options.given & COUNT) != 0 || !recording->replayed)))
        show_journey(stdout, recording, journeys_typical(&journeys), !options.brief);
    else
        show_many(stdout, recording, &journeys);
    write_files(recording, &journeys);
    journeys_free(&journeys);
    return 0;
}

static int replay(const char *file)
{
    struct recording recording = {0};
    char problem[160];
    FILE *stream = fopen(file, "r");

    if (stream == NULL)
        fail(file, strerror(errno));
    bool good = recording_read(&recording, stream, problem, sizeof problem);
    fclose(stream);
    if (!good)
        fail(file, problem);
    int code = show(&recording);
    recording_free(&recording);
    return code;
}

/* What is missing, in a sentence; then the next rung of the ladder. */
static int climb_down(const char *why)
{
    struct recording recording;
    char next[200];

    show_wrapped(stdout, why);
    puts("Next best: what the sockets of an ordinary user tell.\n");
    if ((options.given & (WAY | PROCESSOR | PROGRAM)) != 0 || options.plan.server == NULL)
        show_wrapped(stdout, "So the packets go over lo, to a receiver of our own, on any CPU: not "
                             "as you asked for.\n");
    fflush(stdout); /* many packets take their time */
    enum run run = run_sockets(options.plan.packets, &recording, next, sizeof next);
    if (run == RAN) {
        int code = show(&recording);
        recording_free(&recording);
        return code;
    }
    if (run == STOPPED) {
        recording_free(&recording);
        fputs("trace: stopped; nothing is left behind\n", stderr);
        return 130;
    }
    show_wrapped(stdout, next);
    puts("Next best: a recorded run. Nothing below was measured here.\n");
    recording_free(&recording);
    return replay(options.fallback);
}

int main(int argc, char **argv)
{
    struct recording recording;
    char why[300];
    int code;

    read_command(argc, argv);
    if (options.replay != NULL)
        return flushed(replay(options.replay));
    options.plan.frames = options.plan.packets == 1;
    run_catch_signals();
    enum run run = run_traced(&options.plan, &recording, why, sizeof why);
    if (run != CANNOT) { /* all that had to be undone is undone */
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
    }
    switch (run) {
    case RAN:
        code = show(&recording);
        break;
    case CANNOT:
        code = climb_down(why);
        break;
    case STOPPED:
        fputs("trace: stopped; nothing is left behind\n", stderr);
        code = 130;
        break;
    default:
        fprintf(stderr, "trace: %s\n", why);
        code = 1;
    }
    recording_free(&recording);
    return flushed(code);
}
