/* Follow a packet from its sender to the code that reads it, and show every hop.  Try it: ./trace,
 * as root. Without root it shows what an unprivileged user may see.
 *
 * This file is the command line and nothing more.  output.c chooses where the events come from:
 * run.c and tracer.c (root), sockets.c (any user), or a recording.  stitch.c turns events into
 * journeys, show_*.c show them.  hops.c is the table that all of them read. */
#include "trace.h"

#include <getopt.h>
#include <net/if.h>

#define MAX_PACKETS 20000 /* about 150 MB of events */
#define PATH_SIZE 4096

static struct {
    struct plan plan;
    struct output output;
    const char *value[128]; /* by an option's letter; NULL: it was not given */
} options = {.plan = {.via = VIA_LO, .packets = 1, .device = "lo"}};

static void usage(FILE *stream)
{
    fputs("usage: trace [OPTION...]              follow one packet to ./server\n"
          "       trace attach PORT [OPTION...]  follow one to a server that is already running\n"
          "       trace replay FILE [OPTION...]  show a recorded run, without root, on any system\n"
          "       trace compare FILE FILE...     show two to seven recorded runs side by side\n"
          "       trace all [OPTION...]          the same for packets to the seven servers\n"
          "       trace explain [HOP]            explain a hop, or list all of them\n"
          "       trace drops [-v | KIND...]     lose packets, and show where and why\n"
          "  -n N             follow N packets, and show how long each hop takes\n"
          "  --via PATH       the packet's path: lo, tap, gro or rps (default: lo)\n"
          "  --way WAY        follow the request (in), its echo (back) or both (default: in)\n"
          "  --server PROGRAM start this server instead, as: PROGRAM -b ADDRESS -p 0\n"
          "  --json FILE      write a trace that Perfetto and Chrome's tracing page can load\n"
          "  --svg FILE       draw the journey of the first packet\n"
          "  --record FILE    store the events for trace replay\n"
          "  --brief          for one packet, print one line for each hop, without reasons\n"
          "  --show WHICH     of several journeys, show this one hop by hop: slowest, fastest,\n"
          "                   median, or its number\n"
          "  --watch          send nothing; follow the next N packets that others send\n"
          "  --device DEV     with attach or --watch: the device that packets use (default: lo)\n"
          "  -b ADDRESS       with attach or --watch: the server's address, IPv4 or IPv6\n"
          "                   (default: 127.0.0.1, and with attach also ::1)\n"
          "  -p PORT          with --watch: the port for ./server (default: any free port)\n"
          "  -h               print this help\n"
          "Memory: at most 256 MiB for the events, and 32 MiB in the kernel.\n",
          stream);
}

_Noreturn static void bad_usage(const char *what, const char *why)
{
    fprintf(stderr, "trace: \"%s\": %s\n", what, why);
    usage(stderr);
    exit(2);
}

static unsigned parse_number(const char *text, const char *what, int least, int most)
{
    char *end;

    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || value < least ||
        value > most)
        bad_usage(text, what);
    return (unsigned)value;
}

/* The path of a file beside this program.  If its folder is not known, no file will be found. */
static const char *path_beside(const char *program, const char *name, char path[PATH_SIZE])
{
    char real[PATH_SIZE];
    ssize_t length = readlink("/proc/self/exe", real, sizeof real - 1);

    if (length > 0) {
        real[length] = '\0';
        program = real;
    }
    const char *slash = strrchr(program, '/');
    snprintf(path, PATH_SIZE, "%.*s%s", slash != NULL ? (int)(slash - program) + 1 : 0, program,
             name);
    return path;
}

/* Each option has a letter, even those without a short form. */
// clang-format off
static const struct option known[] = {
    {"n", 1, NULL, 'n'},     {"json", 1, NULL, 'j'},   {"svg", 1, NULL, 's'},
    {"record", 1, NULL, 'r'}, {"brief", 0, NULL, 'q'}, {"via", 1, NULL, 'v'},
    {"way", 1, NULL, 'w'},   {"server", 1, NULL, 'S'},
    {"watch", 0, NULL, 'W'}, {"device", 1, NULL, 'd'}, {"b", 1, NULL, 'b'},
    {"p", 1, NULL, 'p'},     {"show", 1, NULL, 'o'},   {"help", 0, NULL, 'h'},  {NULL, 0, NULL, 0}};
// clang-format on

#define MAX_WORDS (1 + MAX_COLUMNS)

/* Collect the options, which may be anywhere, and the other words. */
static int parse_words(int argc, char **argv, const char *word[MAX_WORDS])
{
    int words = 0, option;

    while ((option = getopt_long(argc, argv, "-:n:b:p:h", known, NULL)) != -1) {
        if (option == 'h') {
            usage(stdout);
            exit(0);
        }
        if (option == '?' || option == ':')
            bad_usage(argv[optind - 1],
                      option == ':' ? "needs a value" : "there is no such option");
        if (option == 1 && words == MAX_WORDS)
            bad_usage(optarg, "too many words");
        if (option == 1) /* a word that is no option and no value */
            word[words++] = optarg;
        else
            options.value[option] = optarg != NULL ? optarg : "";
    }
    return words;
}

static void parse_values(void)
{
    const char *const *value = options.value;
    struct plan *plan = &options.plan;
    enum way way = value['w'] != NULL ? WAY_IN : WAYS;
    int via = value['v'] != NULL ? via_find(value['v']) : VIA_LO;

    if (via == -1 || via >= VIA_CARD)
        bad_usage(value['v'], "there is no such path; there are lo, tap, gro and rps");
    plan->via = (enum via)via;
    while (way < WAYS && strcmp(value['w'], way_names[way]) != 0)
        way++;
    if (value['w'] != NULL && way == WAYS)
        bad_usage(value['w'], "there is no such way; there are in, back and both");
    plan->address = value['b'];
    if (plan->address != NULL && (address_of(plan->address) == NO_ADDRESS ||
                                  (strchr(plan->address, '%') != NULL &&
                                   if_nametoindex(strchr(plan->address, '%') + 1) == 0)))
        bad_usage(plan->address, "-b needs an IPv4 or IPv6 address");
    if (value['n'] != NULL)
        plan->packets =
            parse_number(value['n'], "not a number of packets, 1 to 20000", 1, MAX_PACKETS);
    if (value['p'] != NULL)
        plan->port = parse_number(value['p'], "not a port", 1, 65535);
    if (value['d'] != NULL)
        plan->device = value['d'];
    if (value['o'] != NULL && pick_percent(value['o']) == -1)
        parse_number(value['o'], "not slowest, fastest, median or a number", 1, MAX_PACKETS);
    plan->watch = value['W'] != NULL;
    plan->both_ways = value['w'] != NULL && way != WAY_IN;
    options.output = (struct output){.brief = value['q'] != NULL,
                                     .show = value['o'],
                                     .file = {value['j'], value['s'], value['r']},
                                     .way = way};
}

/* An option that would have no effect is refused, so that nobody relies on it. */
#define ANY_COMMAND "njsrqwo"
enum { START, ATTACH, REPLAY, EXPLAIN, COMPARE, ALL };
static const struct command {
    const char *name;    /* NULL: without a command, ./server is started */
    const char *allowed; /* the letters of options */
    const char *reason;  /* why others are not allowed */
    const char *needs;   /* the words after it */
    int least, most;     /* how many words there may be */
} commands[] = {
    {NULL, ANY_COMMAND "vSW", "works only with attach or --watch", NULL, 0, 0},
    {"attach", ANY_COMMAND "Wdb", "does not work with attach: the server is already running",
     "needs a port", 1, 1},
    {"replay", ANY_COMMAND, "does not work with replay: that run is over", "needs a file", 1, 1},
    {"explain", "", "does not work with explain", NULL, 0, 1},
    {"compare", "sw", "does not work with compare: those runs are over", "needs two recordings", 2,
     MAX_COLUMNS},
    {"all", "nswv", "does not work with all, which starts seven servers", NULL, 0, 0},
};

static const struct command *find_command(const char *word)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (commands[i].name == word ||
            (commands[i].name != NULL && word != NULL && strcmp(commands[i].name, word) == 0))
            return &commands[i];
    bad_usage(word, "there is no such command");
}

static void check_options(const struct command *command)
{
    struct plan *plan = &options.plan;
    bool is_lo = strcmp(plan->device, "lo") == 0, starts = command->name == NULL;
    const char *allowed = starts && plan->watch ? ANY_COMMAND "SWdbp" : command->allowed;

    for (const struct option *option = known; option->name != NULL; option++)
        if (options.value[option->val] != NULL && strchr(allowed, option->val) == NULL)
            bad_usage(option->name,
                      option->val == 'v' && starts
                          ? "does not work with --watch: the senders of the packets choose the path"
                          : command->reason);
    if (plan->both_ways && (plan->watch || plan->via == VIA_TAP || plan->via == VIA_GRO))
        bad_usage("--way", "only over lo and rps has trace a client that can be followed");
    if (!plan->watch && !is_lo)
        bad_usage(plan->device, "a device other than lo needs --watch, because trace sends its own "
                                "packets over lo");
    if (!is_lo && if_nametoindex(plan->device) == 0)
        bad_usage(plan->device, "there is no such device");
    if (!is_lo && plan->address == NULL)
        plan->address = "0.0.0.0"; /* its packets are for another address */
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return S_ISREG(a->st_mode) && a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

/* Open the files before the run, so that no run is in vain.  Existing ones keep their content.  The
 * words may name recordings that are to be read: these must not be overwritten. */
static void open_files(const char *const *word)
{
    struct output *output = &options.output;
    struct stat status[FILES + 1];

    for (int i = 0; i < FILES; i++) {
        if (output->file[i] == NULL)
            continue;
        output->fd[i] = open(output->file[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (output->fd[i] == -1 || fstat(output->fd[i], &status[i]) == -1)
            output_fail(output->file[i], strerror(errno));
        for (int j = 0; j < i; j++)
            if (output->file[j] != NULL && is_same_file(&status[j], &status[i]))
                bad_usage(output->file[i], "only one of --json, --svg and --record can use this");
        for (int j = 0; j < MAX_COLUMNS && word[j] != NULL; j++)
            if (stat(word[j], &status[FILES]) == 0 && is_same_file(&status[FILES], &status[i]))
                bad_usage(output->file[i], "this is the recording that is to be read");
    }
}

/* Parse the command line: the command, and the words after it, whose number is returned. */
static int parse_command(int argc, char **argv, const char *word[MAX_WORDS],
                         const struct command **command)
{
    int words = parse_words(argc, argv, word);

    words -= words > 0;
    parse_values();
    *command = find_command(word[0]);
    check_options(*command);
    if (words > (*command)->most)
        bad_usage(word[(*command)->most + 1], "too many words");
    if (words < (*command)->least)
        bad_usage(word[0], (*command)->needs);
    open_files(word + 1);
    return words;
}

int main(int argc, char **argv)
{
    static char server[PATH_SIZE], last_resort[PATH_SIZE];
    const struct command *command;
    const char *const *value = options.value, *word[MAX_WORDS] = {NULL};
    struct plan *plan = &options.plan;

    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1) /* closed: no file may take its place and get the output */
            open("/dev/null", O_RDONLY);
    if (argc > 1 && strcmp(argv[1], "drops") == 0) { /* a program of its own, beside this one */
        execv(path_beside(argv[0], "drops", server), argv + 1);
        output_fail(server, strerror(errno));
    }
    int words = parse_command(argc, argv, word, &command);
    options.output.only_one =
        plan->packets == 1 && (value['n'] != NULL || command != &commands[REPLAY]);
    if (command == &commands[EXPLAIN]) {
        if (!show_explain(word[1]))
            bad_usage(word[1], "there is no such hop; trace explain lists all hops");
        return output_end(0);
    }
    if (command == &commands[REPLAY] || command == &commands[COMPARE])
        return output_end(replay(word + 1, (size_t)words, &options.output));
    if (command == &commands[ALL])
        return output_end(trace_all(plan, path_beside(argv[0], "", server), &options.output));
    if (command == &commands[ATTACH])
        plan->port = parse_number(words == 1 ? word[1] : "", "not a port", 1, 65535);
    else
        plan->server = value['S'] != NULL ? value['S'] : path_beside(argv[0], "server", server);
    path_beside(argv[0], "recordings/lo.txt", last_resort);
    return output_end(trace_with_best_source(plan, last_resort, &options.output));
}
