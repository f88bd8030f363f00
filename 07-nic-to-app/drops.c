/* trace drops [KIND...]: provoke lost packets, and show where and why the kernel dropped each of
 * them, which counter increased, and what client and server noticed.
 *
 * Client and server are in two network namespaces, and this program is the wire between them.  So
 * nothing is lost but what it sends, and nothing is left behind.  drops_kinds.c has the kinds. */
#define _GNU_SOURCE

#include "drops.h"

#include <stdio.h>

#ifdef CANNOT_TRACE
int main(void)
{
    fputs("trace drops: " CANNOT_TRACE "\n", stderr);
    return 1;
}
#else

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define COLUMNS 80
#define LABEL 14 /* columns before a text, in the details */

volatile sig_atomic_t stopped;
static int output_error; /* an errno, or 0 */

static void stop(int number)
{
    stopped = number;
}

static void usage(FILE *stream)
{
    fputs("usage: trace drops           lose packets of each kind, and list where and why\n"
          "       trace drops KIND...   show these kinds in detail\n"
          "       trace drops -v        show all kinds in detail\n"
          "It needs root, and loses only its own packets, in a network of its own.  Kinds:\n",
          stream);
    for (size_t i = 0; i < kind_count; i++)
        fprintf(stream, "  %-18s%s\n", kinds[i].name, kinds[i].sent);
}

/* ---- output ---- */

static const char *reason_of(const struct result *result)
{
    static const char *const without[] = {"not seen", "not seen: not received",
                                          "none (consume_skb)", "none"};
    const struct verdict *verdict = &result->verdict;

    if (verdict->end == CONSUMED && !result->was_seen)
        return without[NO_EVENT];
    return verdict->reason[0] != '\0' ? verdict->reason : without[verdict->end];
}

/* The kind's own counter if it has increased, otherwise the first that has. */
static const char *counter_of(const struct kind *kind, const struct increases *increases)
{
    for (size_t i = 0; i < increases->count; i++)
        if (strcmp(increases->list[i].name, kind->counter) == 0)
            return kind->counter;
    return increases->count > 0 ? increases->list[0].name : "none";
}

static void print_line(const struct kind *kind, const struct result *result)
{
    if (result->not_tried != NULL)
        printf("%-17s not tried: %s\n", kind->name, result->not_tried);
    else
        printf("%-17s %-9s %-26s %s\n", kind->name,
               result->verdict.end == NOT_RECEIVED ? "-" : hops[result->verdict.hop].name,
               reason_of(result), counter_of(kind, &result->increases));
}

/* Print a label and a text, broken into lines between words. */
static void print_text(const char *label, const char *text)
{
    size_t column = (size_t)printf("  %-*s", LABEL - 2, label);

    while (*(text += strspn(text, " ")) != '\0') {
        size_t length = strcspn(text, " ");
        if (column > LABEL && column + 1 + length > COLUMNS)
            column = (size_t)printf("\n%*s", LABEL, "") - 1;
        column += (size_t)printf("%s%.*s", column > LABEL ? " " : "", (int)length, text);
        text += length;
    }
    putchar('\n');
}

static void print_details(const struct kind *kind, const struct result *result)
{
    const struct verdict *verdict = &result->verdict;
    char text[MAX_INCREASES * 64] = "none", *at = text;

    printf("%s\n", kind->name);
    print_text("sent", kind->sent);
    if (result->not_tried != NULL) {
        print_text("not tried", result->not_tried);
        return;
    }
    for (size_t i = 0; i < result->increases.count; i++)
        at += sprintf(at, "%s%s +%llu", i > 0 ? ", " : "", result->increases.list[i].name,
                      result->increases.list[i].by);
    print_text("last hop", verdict->end == NOT_RECEIVED ? "none: the server's device did not "
                                                          "receive it"
                                                        : hops[verdict->hop].name);
    print_text(verdict->end == CONSUMED ? "consumed by" : "dropped by",
               verdict->function[0] != '\0' ? verdict->function : "not known");
    print_text("reason", reason_of(result));
    print_text("counters", text);
    print_text("client", result->client);
    print_text("server", result->server);
    if (result->was_seen && verdict->end == CONSUMED)
        print_text("notice",
                   "This kernel frees the packet with consume_skb, as if it had been "
                   "used, and so gives no reason. Only the counter says that it was lost.");
    print_text("in practice", kind->practice);
}

/* ---- the command ---- */

static const struct kind *find_kind(const char *name)
{
    for (size_t i = 0; i < kind_count; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    fprintf(stderr, "trace drops: \"%s\": there is no such %s\n", name,
            name[0] == '-' ? "option" : "kind");
    usage(stderr);
    exit(2);
}

/* Return how many drops were not seen.  One that could not be tried counts if it was asked for. */
static int run(const struct kind *kind, bool in_detail, bool was_asked_for)
{
    struct result result;

    kind_run(kind, &result);
    if (stopped)
        return 0;
    if (in_detail)
        print_details(kind, &result);
    else
        print_line(kind, &result);
    if (fflush(stdout) != 0)
        output_error = errno;
    return result.not_tried != NULL ? was_asked_for : !result.was_seen;
}

static int run_all(char **names, bool in_detail)
{
    struct utsname system;
    int missing = 0;

    uname(&system);
    printf("Linux %s: packets lost on purpose, and the kernel's reasons\n\n", system.release);
    if (!in_detail)
        printf("%-17s %-9s %-26s %s\n", "KIND", "LAST HOP", "REASON", "COUNTER");
    for (size_t i = 0; *names == NULL && i < kind_count && !stopped && output_error == 0; i++) {
        missing += run(&kinds[i], in_detail, false);
        if (in_detail && i + 1 < kind_count)
            putchar('\n');
    }
    for (; *names != NULL && !stopped && output_error == 0; names++) {
        missing += run(find_kind(*names), in_detail, true);
        if (names[1] != NULL)
            putchar('\n');
    }
    if (!in_detail && !stopped)
        puts("\nThe last hop is the last that the packet reached (trace explain HOP). In detail:\n"
             "trace drops KIND, or trace drops -v.");
    return missing;
}

/* Return the exit code. */
static int finish(int missing)
{
    if (stopped) {
        fputs("trace drops: stopped; nothing is left behind\n", stderr);
        return 130;
    }
    if (fflush(stdout) != 0)
        output_error = errno;
    if (output_error != 0 && output_error != EPIPE) { /* EPIPE: the reader has seen enough */
        fprintf(stderr, "trace drops: standard output: %s\n", strerror(output_error));
        return 1;
    }
    if (missing > 0 && output_error == 0)
        fprintf(stderr, "trace drops: %d of these drops %s not seen\n", missing,
                missing == 1 ? "was" : "were");
    return missing > 0;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = stop};
    bool all_details = argc == 2 && strcmp(argv[1], "-v") == 0;
    char **names = argv + 1 + all_details, why[WHY_SIZE];
    int missing = 0;

    if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
        usage(stdout);
        return finish(0);
    }
    for (char **name = names; *name != NULL; name++)
        find_kind(*name);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    bool ready = watch_open(why) && wire_open(why);
    if (ready)
        missing = run_all(names, all_details || *names != NULL);
    watch_close();
    wire_close();
    if (!ready)
        fprintf(stderr, "trace drops: %s\n", why);
    return ready ? finish(missing) : 1;
}
#endif
