/* The ladder: check a server one rung at a time, stop at the first rung that fails, and explain it.
 *
 * The rung that failed last time runs first, so a participant who works on it has the answer at
 * once.  If it passes, every rung runs, because a rung counts only while those below it pass.
 * Exit code: 0 if every rung passed; 1 if one failed; 2 if the ladder could not run. */
#define _DEFAULT_SOURCE

#include "ladder.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PATIENCE_MS 1000
#define WIDTH 79
#define LABEL_WIDTH 15
#define MOST_DESCRIPTORS 4096 /* enough for each rung, and below the limit of every system */
#define LOWER_RUNGS_MS 1500
#define LAST_BREATH_MS 100 /* a server that has closed a connection may be about to end */

static const char usage[] =
    "usage: ladder [-lqv] [-g STAGE] [-r RUNG] [-s FILE] [-b COMMAND] [-e COMMAND]\n"
    "              [-o OPTIONS] [-x] SERVER [WORD]...\n"
    "  -l          list the rungs and the causes instead\n"
    "  -q          do not name the likely cause, which a `find` task must not give away\n"
    "  -v          print each step of the clients, and the server's log\n"
    "  -g STAGE    the stage's digit: some stages have rungs of their own\n"
    "  -r RUNG     run this rung only\n"
    "  -s FILE     remember in this file which rung failed\n"
    "  -b COMMAND  builds the server; the first rung runs it\n"
    "  -e COMMAND  shows the failure to the reader; it is printed, not run\n"
    "  -o OPTIONS  additional options for the server, such as \"-s poll\"\n"
    "  -x          the server is one of our stages: it prints its address, and accepts -p 0\n"
    "In SERVER and WORD, PORT and ADDRESS are replaced by the real ones.\n";

const struct rung *rung;
int patience_ms = PATIENCE_MS;
bool verbose;
const char *build_command;

char stage_digit = '4';
static const char *state_file, *example;
static bool without_cause;

static jmp_buf rung_failed;
static enum cause failed_cause;
static char instead[600];
static const char server_ended[] = "The server ended";

void note(const char *format, ...)
{
    va_list values;

    if (!verbose)
        return;
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    putchar('\n');
    fflush(stdout);
}

/* ---- one rung ---- */

static enum cause cause_of_end(int by_signal)
{
    if (by_signal == SIGPIPE)
        return KILLED_BY_SIGPIPE;
    if (by_signal == SIGSEGV || by_signal == SIGBUS || by_signal == SIGABRT || by_signal == SIGFPE)
        return CRASHES;
    if (strstr(server_complaint(), strerror(EINTR)) != NULL)
        return INTERRUPTED;
    return strstr(server_complaint(), strerror(ENOSYS)) != NULL ? GAP_EMPTY : rung->ends;
}

void fail(enum cause cause, const char *format, ...)
{
    va_list values;
    int by_signal;
    size_t length;

    va_start(values, format);
    vsnprintf(instead, sizeof instead, format, values);
    va_end(values);
    failed_cause = cause;
    /* Is the server waiting, or busy with an event that it does not handle? */
    if (cause == NOT_WRITABLE && server_end(NULL) == NULL && server_spins(LAST_BREATH_MS))
        failed_cause = EVENT_OF_NOBODY;
    server_wait_end(LAST_BREATH_MS);
    const char *end = server_end(&by_signal);
    if (end != NULL) {
        failed_cause = cause_of_end(by_signal);
        const char *complaint = server_complaint();
        snprintf(instead, sizeof instead, "%s %s.", server_ended, end);
        length = strlen(instead);
        if (complaint[0] != '\0')
            snprintf(instead + length, sizeof instead - length, " It wrote: %s", complaint);
    }
    longjmp(rung_failed, 1);
}

/* The rung with its usual causes filled in. */
static struct rung complete(const struct rung *each)
{
    struct rung full = *each;

    full.ends = full.ends == USUAL ? LOOP_RETURNS : full.ends;
    full.closes = full.closes == USUAL ? CLOSES_TOO_SOON : full.closes;
    full.silent = full.silent == USUAL ? NO_BRANCH : full.silent;
    full.differs = full.differs == USUAL ? WRONG_BYTES : full.differs;
    return full;
}

/* What the log says if watch() or set_interest() fails; clients.c answers that by closing the client. */
static const char *const failed_functions[] = {"watch: ", "set_interest: ", NULL};
static char log_line[120];

/* Run one rung, with a server of its own unless that takes long.  Returns true if it passed. */
static bool passes(const struct rung *next)
{
    static struct rung full;
    volatile bool passed = false;

    full = complete(next);
    rung = &full;
    if (setjmp(rung_failed) == 0) {
        rung->run();
        passed = true;
    }
    peers_forget();
    if (passed && server_keep())
        return true;
    const char *line = server_logs ? server_log_line(failed_functions) : NULL;
    snprintf(log_line, sizeof log_line, "%s", line != NULL ? line : "");
    server_kill();
    server_forget();
    return passed;
}

/* ---- the report: at most 12 lines of 80 columns ---- */

/* Print a label and a text, in as many lines as the text needs. */
static void print_wrapped(const char *label, const char *text)
{
    const int width = WIDTH - LABEL_WIDTH;

    while (*text != '\0') {
        int length = (int)strlen(text);
        if (length > width) {
            for (length = width; length > 0 && text[length] != ' '; length--)
                ;
            if (length == 0)
                length = width;
        }
        printf("%-*s%.*s\n", LABEL_WIDTH, label, length, text);
        text += length;
        text += strspn(text, " ");
        label = "";
    }
}

/* A command that is too long for its line is on the next one, and is not wrapped, so that it can be
 * copied. */
static void print_command(const char *label, const char *command)
{
    bool fits = (int)strlen(command) <= WIDTH - LABEL_WIDTH;

    if (fits)
        printf("%-*s%s\n", LABEL_WIDTH, label, command);
    else
        printf("%s\n%s\n", label, command);
}

static void report(const struct rung *failed, int passed, int total)
{
    printf("%d of %d. The next rung, \"%s\", fails:\n", passed, total, failed->title);
    print_wrapped("  test", failed->test);
    print_wrapped("  expected", failed->expected);
    print_wrapped("  instead", instead);
    if (!without_cause) {
        print_wrapped("  likely cause", causes[failed_cause].text);
        print_wrapped("  in the book", causes[failed_cause].book);
    }
    if (example != NULL)
        print_command("  see it", example);
}

/* For instructors: the whole table. */
static void list_rungs(void)
{
    for (const struct rung *each = rungs; each->name != NULL; each++) {
        printf("%s (%s)\n", each->title, each->name);
        print_wrapped("  test", each->test);
        print_wrapped("  expected", each->expected);
        if (each->stages != NULL)
            print_wrapped("  in stages", each->stages);
    }
    printf("\nThe likely causes\n");
    for (int i = USUAL + 1; i < CAUSE_COUNT; i++) {
        print_wrapped("  cause", causes[i].text);
        print_wrapped("  in the book", causes[i].book);
    }
}

/* ---- the order ---- */

static bool applies(const struct rung *each)
{
    return each->stages == NULL || strchr(each->stages, stage_digit) != NULL;
}

static const struct rung *find_rung(const char *name)
{
    for (const struct rung *each = rungs; each->name != NULL; each++)
        if (strcmp(each->name, name) == 0 && applies(each))
            return each;
    return NULL;
}

/* The rung that failed last time, or NULL. */
static const struct rung *failed_before(void)
{
    char name[40] = "";
    FILE *file = state_file != NULL ? fopen(state_file, "r") : NULL;

    if (file == NULL)
        return NULL;
    bool read = fscanf(file, "failed %39s", name) == 1;
    fclose(file);
    return read ? find_rung(name) : NULL;
}

static void remember(const struct rung *failed, int passed, int total)
{
    FILE *file = state_file != NULL ? fopen(state_file, "w") : NULL;

    if (state_file == NULL)
        return;
    bool written =
        file != NULL && fprintf(file, "%s %s %d %d\n", failed != NULL ? "failed" : "passed",
                                failed != NULL ? failed->name : "all", passed, total) > 0;
    if ((file != NULL && fclose(file) == EOF) || !written)
        printf("This result was not saved (%s).\n", strerror(errno));
}

/* Print the names of the rungs as they pass, in lines of at most WIDTH columns. */
static int column; /* of the list of rungs that have passed */

static void print_passed(const struct rung *passed)
{
    int length = (int)strlen(passed->name) + 2;

    if (verbose)
        return;
    if (column > 0)
        printf(",");
    if (column + length > WIDTH - 7) {
        printf("\n       ");
        column = 0;
    }
    printf(" %s", passed->name);
    fflush(stdout);
    column += length;
}

/* Run the rungs in their order.  `before` has passed already.  Returns the first that fails. */
static const struct rung *climb(const struct rung *before)
{
    for (const struct rung *each = rungs; each->name != NULL; each++) {
        if (!applies(each))
            continue;
        if (each != before && !passes(each))
            return each;
        print_passed(each);
    }
    return NULL;
}

/* Does a function of the participant's fail, so that clients.c closes the client?  Only the server's
 * log says so: run the rung once more with the log. */
static void blame_failed_function(const struct rung *failed)
{
    enum cause cause = failed_cause;
    char text[sizeof instead];

    if (!server_is_ours || cause == GAP_EMPTY || cause == BUILD_ERROR)
        return;
    memcpy(text, instead, sizeof text);
    server_logs = true;
    passes(failed);
    server_logs = false;
    failed_cause = cause;
    if (strstr(log_line, strerror(ENOSYS)) != NULL)
        failed_cause = GAP_EMPTY;
    else if (strstr(log_line, strerror(EEXIST)) != NULL)
        failed_cause = ALREADY_LISTED;
    memcpy(instead, text, sizeof text);
    size_t length = strlen(instead);
    if (log_line[0] != '\0')
        snprintf(instead + length, sizeof instead - length, " The log says: %s",
                 log_line + strspn(log_line, " "));
}

static bool has_option_of(const struct rung *each, const struct rung *other)
{
    return other->option != NULL && each->option != NULL &&
           strcmp(each->option, other->option) == 0;
}

/* The first rung below `before` that fails now.  Those with the same option and the basic ones always
 * run, the others as long as there is time. */
static const struct rung *lower_failure(const struct rung *before)
{
    for (const struct rung *each = rungs + 1; each < before; each++)
        if (applies(each) && has_option_of(each, before) && !passes(each))
            return each;
    long long end = now_ms() + LOWER_RUNGS_MS;
    for (const struct rung *each = rungs + 1; each < before; each++) {
        if (!applies(each) || has_option_of(each, before))
            continue;
        if (each >= rungs + BASIC_RUNGS && now_ms() >= end)
            break;
        if (!passes(each))
            return each;
    }
    return NULL;
}

/* If a higher rung fails again, those below it run again, as many as there is time for: if one of
 * them fails now, too, its cause is the true one. */
static const struct rung *first_failure(void)
{
    const struct rung *before = failed_before();

    if (before == NULL || before < rungs + BASIC_RUNGS)
        return climb(NULL);
    if (!passes(&rungs[0]))
        return &rungs[0];
    if (passes(before))
        return climb(before);
    enum cause cause = failed_cause;
    char text[sizeof instead];
    memcpy(text, instead, sizeof text);
    const struct rung *lower = lower_failure(before);
    if (lower != NULL)
        return lower;
    failed_cause = cause;
    memcpy(instead, text, sizeof text);
    return before;
}

static int run_ladder(void)
{
    int passed = 0, total = 0;

    if (!verbose)
        printf("passed:");
    const struct rung *failed = first_failure();
    if (failed != NULL)
        blame_failed_function(failed);
    server_kill();
    server_forget();
    for (const struct rung *each = rungs; each->name != NULL; each++) {
        total += applies(each);
        passed += applies(each) && (failed == NULL || each < failed);
    }
    if (column == 0 && !verbose)
        printf(passed == 0 ? " none" : " the earlier rungs, last time");
    printf("\n");
    if (failed != rungs && build_warning[0] != '\0')
        print_wrapped("warning:", build_warning);
    remember(failed, passed, total);
    if (failed != NULL)
        report(failed, passed, total);
    else
        printf("%d of %d: every rung passes.\n", passed, total);
    return failed != NULL;
}

/* With verbose, a server writes to the terminal.  If it has ended, run the rung once more to find out
 * what it wrote, because the cause may depend on that. */
static void read_last_words(const struct rung *failed)
{
    enum cause cause = failed_cause;
    char text[sizeof instead];

    if (strncmp(instead, server_ended, strlen(server_ended)) != 0)
        return;
    memcpy(text, instead, sizeof text);
    if (!passes(failed))
        return;
    failed_cause = cause;
    memcpy(instead, text, sizeof text);
}

static int run_one(const char *name)
{
    const struct rung *only = find_rung(name);

    if (only == NULL) {
        fprintf(stderr, "ladder: there is no rung \"%s\"; -l lists them\n", name);
        return 2;
    }
    printf("Rung \"%s\"\n", only->title);
    print_wrapped("  test", only->test);
    print_wrapped("  expected", only->expected);
    bool passed = passes(only);
    verbose = false; /* the steps have been shown */
    if (!passed)
        read_last_words(only);
    if (!passed)
        blame_failed_function(only);
    server_kill();
    server_forget();
    print_wrapped(passed ? "  result" : "  instead", passed ? "It passes." : instead);
    if (!passed && !without_cause)
        print_wrapped("  likely cause", causes[failed_cause].text);
    return !passed;
}

/* ---- the command line ---- */

static void on_signal(int signal_number)
{
    server_kill();
    _exit(128 + signal_number);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == -1 || limit.rlim_cur >= MOST_DESCRIPTORS)
        return;
    limit.rlim_cur = limit.rlim_max < MOST_DESCRIPTORS ? limit.rlim_max : MOST_DESCRIPTORS;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static const char *only; /* the rung of -r */

static bool read_option(int letter)
{
    switch (letter) {
    case 'q':
        without_cause = true;
        break;
    case 'v':
        verbose = true;
        break;
    case 'g':
        stage_digit = optarg[0];
        break;
    case 'r':
        only = optarg;
        break;
    case 's':
        state_file = optarg;
        break;
    case 'b':
        build_command = optarg;
        break;
    case 'e':
        example = optarg;
        break;
    case 'o':
        stage_option = optarg;
        break;
    case 'x':
        server_is_ours = true;
        break;
    default:
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    const char *patience = getenv("LAB_PATIENCE");
    int letter;
    bool good = true;

    while (good && (letter = getopt(argc, argv, "+lqvg:r:s:b:e:o:x")) != -1) {
        if (letter == 'l') {
            list_rungs();
            return 0;
        }
        good = read_option(letter);
    }
    if (!good || optind == argc) {
        fputs(usage, stderr);
        return 2;
    }
    server_words = argv + optind;
    if (patience != NULL && atoi(patience) > 0)
        patience_ms *= atoi(patience);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGHUP, on_signal);
    raise_descriptor_limit();
    return only != NULL ? run_one(only) : run_ladder();
}
