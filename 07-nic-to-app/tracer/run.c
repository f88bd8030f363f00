/* One run: a server, a client, N packets between them, and the events that they cause. */
#define _GNU_SOURCE

#include "run.h"

#include "client.h"
#include "subject.h"
#include "tap.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define DRAIN_MS 100          /* how often the rings are emptied */
#define READY_MS 10000        /* for the client to have its warm-up behind it */
#define WATCH_MS 60000        /* for others to send what we want to follow */
#define FORGET_NS 1000000000U /* a packet's journey has begun no longer ago */
#define SILENT_MS 6000        /* without a word or an event: then something hangs */

static volatile sig_atomic_t stop_signal;

static void note_stop(int number)
{
    stop_signal = number;
}

void run_catch_signals(void)
{
    struct sigaction action = {.sa_handler = note_stop};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool run_stopped(void)
{
    return stop_signal != 0;
}

/* What one run holds, so that one function can let it all go. */
struct stage {
    const struct plan *plan;
    struct path path;
    struct traced traced;
    struct client client;
    struct tracer *tracer;
    struct tap_host *tap;
    struct recording *recording;
    char *why;
    size_t size;
};

static enum run fail(struct stage *stage, const char *why)
{
    snprintf(stage->why, stage->size, "%s", why);
    return FAILED;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* ---- the steps ---- */

static bool is_tap(const struct stage *stage)
{
    return stage->path.tap != -1;
}

/* The packets that we follow come from elsewhere, or our client goes where the server is. */
static void meet_server(struct stage *stage)
{
    const struct plan *plan = stage->plan;

    snprintf(stage->path.server_address, sizeof stage->path.server_address, "%s", plan->address);
    snprintf(stage->path.devices[0], NAME_SIZE, "%s", plan->device);
    if (strcmp(plan->device, "lo") != 0)
        stage->path.via = VIA_CARD;
}

static enum run find_server(struct stage *stage)
{
    const struct plan *plan = stage->plan;

    if (plan->server == NULL || plan->watch)
        meet_server(stage);
    if (plan->server != NULL)
        return traced_start(&stage->traced, plan->server, &stage->path, plan->port, stage->why,
                            stage->size)
                   ? RAN
                   : FAILED;
    if (traced_find(&stage->traced, plan->address, plan->port, stage->why, stage->size))
        return RAN;
    return getuid() == 0 || !stage->traced.hidden ? FAILED : CANNOT;
}

static enum run start_client(struct stage *stage)
{
    char word = 0;

    if (stage->plan->watch)
        return RAN;
    if (is_tap(stage)) {
        stage->tap =
            tap_open(stage->path.tap, stage->traced.port, stage->plan->frames, stage->recording);
        if (stage->tap == NULL || !tap_connect(stage->tap) || !tap_warm_up(stage->tap, WARM_UP))
            return fail(stage, "No connection came about by the frames that were written.");
        return RAN;
    }
    if (!client_start(&stage->client, &stage->path, stage->traced.port, stage->plan->packets))
        return fail(stage, strerror(errno));
    for (int waited = 0; word == 0 && waited < READY_MS && !run_stopped(); waited += DRAIN_MS)
        word = client_said(&stage->client, DRAIN_MS);
    if (word == 'r' || run_stopped())
        return RAN;
    if (word != 'c')
        return fail(stage, "The server does not send back what it is sent.");
    snprintf(stage->why, stage->size, "The server does not let us connect to %s (IPv4): %s.",
             stage->path.server_address, strerror(client_error(&stage->client)));
    return FAILED;
}

/* Before anything is sent: without it, another rung sends. */
static enum run open_tracer(struct stage *stage)
{
    stage->tracer = tracer_open(stage->plan->packets, stage->why, stage->size);
    return stage->tracer != NULL ? RAN : CANNOT;
}

static enum run ask_tracer(struct stage *stage)
{
    struct subject subject = {.port = stage->traced.port,
                              .client = stage->client.pid,
                              .card = stage->path.via == VIA_CARD};

    memcpy(subject.devices, stage->path.devices, sizeof subject.devices);
    traced_threads(&stage->traced, stage->plan->watch, &subject);
    if (subject.many_names)
        recording_note(stage->recording,
                       "The server has threads of more than %d names; of the others "
                       "nothing was seen.",
                       MOST_NAMES);
    if (tracer_ask(stage->tracer, &subject))
        return RAN;
    snprintf(stage->why, stage->size, "No event could be switched on in the trace instance.");
    return CANNOT;
}

/* How many packets for the server are in the recording. */
static size_t packets_seen(const struct recording *recording, size_t *looked, size_t seen)
{
    for (; *looked < recording->count; (*looked)++)
        seen += event_kind(&recording->events[*looked]) == HOP_TCP;
    return seen;
}

static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = DRAIN_MS * 1000000L}, NULL);
}

/* Others send: until we have seen enough, and a moment longer, for the last one to be read.  What
 * happens long before the first packet is of no use, and on a busy machine it is much. */
static enum run watch(struct stage *stage)
{
    size_t looked = 0, seen = 0;

    for (int waited = 0; waited < WATCH_MS && seen < stage->plan->packets; waited += DRAIN_MS) {
        rest();
        if (!tracer_drain(stage->tracer, stage->recording))
            return fail(stage, "There is no memory.");
        seen = packets_seen(stage->recording, &looked, seen);
        if (seen == 0) {
            recording_forget_before(stage->recording, now_ns() - FORGET_NS);
            looked = stage->recording->count;
        }
        if (stage->recording->count > MOST_EVENTS / 2)
            break;
        if (run_stopped())
            return RAN; /* what we have seen is shown */
    }
    rest();
    return RAN;
}

/* Our client sends: empty the rings now and then, until it is done. */
static enum run collect(struct stage *stage)
{
    size_t before, silent = 0;
    char word = 0;

    while (word == 0 && silent < SILENT_MS) {
        if (run_stopped())
            return STOPPED;
        before = stage->recording->count;
        word = client_said(&stage->client, DRAIN_MS);
        if (!tracer_drain(stage->tracer, stage->recording))
            return fail(stage, "There is no memory.");
        silent = stage->recording->count > before ? 0 : silent + DRAIN_MS;
    }
    return word == 'd' ? RAN : fail(stage, "The server does not send back what it is sent.");
}

static enum run send_frames(struct stage *stage)
{
    unsigned frames = stage->path.via == VIA_GRO ? 4 : 1;

    if (!tap_warm_up(stage->tap, SKIPPED))
        return fail(stage, "The server does not send back what the frames brought.");
    for (unsigned i = 0; i < stage->plan->packets; i++) {
        if (run_stopped())
            return STOPPED;
        if (!tap_echo(stage->tap, frames))
            return fail(stage, "The server does not send back what the frames brought.");
        if (i % 64 == 63 && !tracer_drain(stage->tracer, stage->recording))
            return fail(stage, "There is no memory.");
    }
    return RAN;
}

static enum run follow_packets(struct stage *stage)
{
    stage->recording->start = now_ns();
    if (!tracer_start(stage->tracer))
        return fail(stage, "The tracer cannot be switched on.");
    if (stage->plan->watch) {
        printf("watching port %u\n", stage->traced.port);
        fflush(stdout);
    }
    if (!stage->plan->watch && !is_tap(stage))
        client_go(&stage->client);
    enum run run = RAN;
    if (stage->plan->watch)
        run = watch(stage);
    else
        run = is_tap(stage) ? send_frames(stage) : collect(stage);
    tracer_stop(stage->tracer);
    if (run == RAN && !tracer_drain(stage->tracer, stage->recording))
        return fail(stage, "There is no memory.");
    return run;
}

/* The end of a program's path, with the folder it is in. */
static void name_server(struct stage *stage, char *name, size_t size)
{
    char path[4096], link[64];
    const char *program = stage->plan->server;

    snprintf(link, sizeof link, "/proc/%ld/exe", (long)stage->traced.pid);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = '\0';
        program = path;
    }
    const char *last = program != NULL ? strrchr(program, '/') : NULL;
    while (last != NULL && last > program && last[-1] != '/')
        last--;
    snprintf(name, size, "%s", last != NULL ? last : "a server");
    for (char *at = name; *at != '\0'; at++) /* a path may have any byte, a recording may not */
        if (*at < ' ' || *at > '~')
            *at = '?';
}

static enum run finish(struct stage *stage)
{
    struct recording *recording = stage->recording;
    struct utsname system;

    tracer_account(stage->tracer, recording);
    recording->via = stage->path.via;
    recording->port = stage->traced.port;
    recording->skip = stage->plan->watch ? 0 : SKIPPED;
    if (uname(&system) == 0)
        snprintf(recording->kernel, sizeof recording->kernel, "%.40s %.20s", system.release,
                 system.machine);
    if (stage->path.cpu != -1 && !is_tap(stage))
        recording_note(recording, "The client and the server were kept on cpu%d (--cpu any: not).",
                       stage->path.cpu);
    name_server(stage, recording->server, sizeof recording->server);
    if (!traced_stamps(&stage->traced, recording) || !recording_finish(recording))
        return fail(stage, "There is no memory.");
    return RAN;
}

static void let_go(struct stage *stage)
{
    tap_close(stage->tap);
    client_end(&stage->client);
    traced_end(&stage->traced);
    tracer_close(stage->tracer);
    path_close(&stage->path);
}

enum run run_traced(const struct plan *plan, struct recording *recording, char *why, size_t size)
{
    static enum run (*const steps[])(struct stage *) = {find_server, open_tracer,    start_client,
                                                        ask_tracer,  follow_packets, finish};
    struct stage stage = {
        .plan = plan, .traced.stamps = -1, .recording = recording, .why = why, .size = size};
    enum run run = RAN;

    *recording = (struct recording){0};
    if (!path_open(&stage.path, plan->server != NULL ? plan->via : VIA_LO,
                   plan->server != NULL && !plan->watch ? plan->cpu : -1, why, size))
        return CANNOT;
    for (size_t i = 0; run == RAN && i < sizeof steps / sizeof *steps; i++) {
        run = steps[i](&stage);
        if (run_stopped() && !(plan->watch && i >= 4))
            run = STOPPED;
    }
    let_go(&stage);
    return run;
}
