/* trace drops [KIND...]: provoke lost packets, and show where and why the kernel dropped each of
 * them, which counter increased, and what client and server noticed.
 *
 * Client and server are in two network namespaces, and this program is the wire between them.  So
 * no other program's packet is lost, and nothing is left behind.  drops_kinds.c has the kinds. */
#include "drops.h"

#ifdef CANNOT_TRACE
int main(void)
{
    fputs("trace drops: " CANNOT_TRACE "\n", stderr);
    return 1;
}
#else

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
    fputs("usage: trace drops           lose a packet of each kind, and list where and why\n"
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
    static const char *const without[] = {"not seen", "not seen (never received)",
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

static void print_head(void)
{
    printf("%-17s %-9s %-26s %s\n", "KIND", "LAST HOP", "REASON", "COUNTER");
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
        putchar('\n');
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
                   "This kernel frees the packet with consume_skb, as if it had been processed "
                   "normally, and therefore gives no reason. Only counters show the loss.");
    print_text("in practice", kind->practice);
    putchar('\n');
}

/* ---- the command ---- */

/* Whether the words name this kind.  Without words, all kinds are wanted. */
static bool is_wanted(char **words, const char *name)
{
    bool none = *words == NULL;

    while (*words != NULL && strcmp(*words, name) != 0)
        words++;
    return none || *words != NULL;
}

static bool is_kind(const char *word)
{
    for (size_t i = 0; i < kind_count; i++)
        if (strcmp(kinds[i].name, word) == 0)
            return true;
    return false;
}

static bool goes_on(void)
{
    if (output_error == 0 && fflush(stdout) != 0)
        output_error = errno;
    return !stopped && output_error == 0;
}

/* Return how many drops were not seen.  One that could not be tried counts if it was asked for. */
static int run(char **words, bool in_detail)
{
    static struct result results[MAX_KINDS];
    bool all = *words == NULL;
    int missing = 0;

    if (!in_detail)
        print_head();
    for (size_t i = 0; i < kind_count && goes_on(); i++) {
        if (!is_wanted(words, kinds[i].name))
            continue;
        kind_run(&kinds[i], &results[i]);
        missing += results[i].not_tried != NULL ? !all : !results[i].was_seen;
        if (!stopped && in_detail)
            print_details(&kinds[i], &results[i]);
        else if (!stopped)
            print_line(&kinds[i], &results[i]);
    }
    if (!all || !goes_on())
        return missing;
    if (in_detail)
        print_head();
    for (size_t i = 0; in_detail && i < kind_count; i++)
        print_line(&kinds[i], &results[i]);
    puts("\nA hop is one step of a packet's journey. LAST HOP is the last one that the lost\n"
         "packet reached: receive (the network stack got it) or tcp (TCP began to process\n"
         "it for its connection). trace explain has more about hops, trace drops KIND\n"
         "about one kind of loss, and trace drops -v about all of them.");
    return missing;
}

/* Return the exit code. */
static int finish(int missing)
{
    if (stopped) {
        fputs("trace drops: stopped; nothing is left behind\n", stderr);
        return 130;
    }
    goes_on();
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
    char **words = argv + 1 + all_details, why[WHY_SIZE];
    struct utsname system;
    int missing = 0;

    if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
        usage(stdout);
        return finish(0);
    }
    for (char **word = words; *word != NULL; word++)
        if (!is_kind(*word)) {
            fprintf(stderr, "trace drops: \"%s\": there is no such %s\n", *word,
                    (*word)[0] == '-' ? "option" : "kind");
            usage(stderr);
            return 2;
        }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    bool ready = watch_open(why) && wire_open(why);
    if (ready) {
        uname(&system);
        printf("Linux %s: packets lost on purpose, and the kernel's reasons\n\n", system.release);
        missing = run(words, all_details || *words != NULL);
    }
    watch_close();
    wire_close();
    if (!ready)
        fprintf(stderr, "trace drops: %s\n", why);
    return ready ? finish(missing) : 1;
}
#endif
