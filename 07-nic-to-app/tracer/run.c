/* One run: a server, a client, N packets between them, and the events that they cause. */
#define _GNU_SOURCE

#include "run.h"

#include <signal.h>
#include <stdio.h>

static volatile sig_atomic_t stop_signal;

static void on_stop_signal(int number)
{
    stop_signal = number;
}

void run_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_stop_signal};

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

#ifndef __linux__

enum run_result run_traced(const struct plan *plan, struct recording *recording, char *why,
                           size_t size)
{
    (void)plan;
    *recording = (struct recording){0};
    snprintf(why, size, "Tracepoints exist only on Linux, and this is another system.");
    return RUN_UNAVAILABLE;
}

#else

#include "client.h"
#include "tap.h"
#include "target.h"
#include "tracer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define DRAIN_MS 100        /* how often the rings are emptied */
#define READY_MS 10000      /* for the client to warm up */
#define WATCH_MS 60000      /* for others to send the packets */
#define DROP_NS 1000000000U /* a packet's journey takes less */
#define STALL_MS 6000       /* without a report or an event, something hangs */

/* Everything that one run holds, so that one function can release it. */
struct session {
    const struct plan *plan;
    struct path path;
    struct target target;
    struct client client;
    struct tracer *tracer;
    struct tap_host *tap;
    struct recording *recording;
    char *why;
    size_t size;
};

static enum run_result fail(struct session *session, const char *why)
{
    snprintf(session->why, session->size, "%s", why);
    return RUN_FAILED;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* ---- the steps ---- */

static bool is_tap(const struct session *session)
{
    return session->path.tap != -1;
}

/* Use the address and the device of a server that is already running or that serves others. */
static void use_given_address(struct session *session)
{
    const struct plan *plan = session->plan;

    snprintf(session->path.server_address, sizeof session->path.server_address, "%s",
             plan->address);
    snprintf(session->path.devices[0], NAME_SIZE, "%s", plan->device);
    if (strcmp(plan->device, "lo") != 0)
        session->path.via = VIA_CARD;
}

static enum run_result find_server(struct session *session)
{
    const struct plan *plan = session->plan;

    if (plan->server == NULL || plan->watch)
        use_given_address(session);
    if (plan->server != NULL)
        return target_start(&session->target, plan->server, &session->path, plan->port,
                            session->why, session->size)
                   ? RUN_DONE
                   : RUN_FAILED;
    if (target_find(&session->target, plan->address, plan->port, session->why, session->size))
        return RUN_DONE;
    return getuid() == 0 || !session->target.hidden ? RUN_FAILED : RUN_UNAVAILABLE;
}

static enum run_result start_client(struct session *session)
{
    char report = 0;

    if (session->plan->watch)
        return RUN_DONE;
    if (is_tap(session)) {
        session->tap = tap_open(session->path.tap, session->target.port, session->plan->show_frames,
                                session->recording);
        if (session->tap == NULL || !tap_connect(session->tap) ||
            !tap_warm_up(session->tap, WARM_UP))
            return fail(session, "The frames that trace wrote did not open a connection.");
        return RUN_DONE;
    }
    if (!client_start(&session->client, &session->path, session->target.port,
                      session->plan->packets))
        return fail(session, strerror(errno));
    for (int waited = 0; report == 0 && waited < READY_MS && !run_stopped(); waited += DRAIN_MS)
        report = client_wait_report(&session->client, DRAIN_MS);
    if (report == 'r' || run_stopped())
        return RUN_DONE;
    if (report != 'c')
        return fail(session, "The server does not echo what it receives.");
    int error = client_error(&session->client);
    snprintf(session->why, session->size, "trace cannot connect to the server on %s (IPv4): %s%s.",
             session->path.server_address, strerror(error),
             error == ENETUNREACH ? " (is lo down? ip link set lo up)" : "");
    return RUN_FAILED;
}

/* This comes before anything is sent: without a tracer, the run ends here. */
static enum run_result open_tracer(struct session *session)
{
    session->tracer = tracer_open(session->plan->packets, session->why, session->size);
    return session->tracer != NULL ? RUN_DONE : RUN_UNAVAILABLE;
}

static enum run_result enable_events(struct session *session)
{
    struct scope scope = {.port = session->target.port,
                          .client = session->client.pid,
                          .can_interrupt = session->path.via == VIA_CARD};

    memcpy(scope.devices, session->path.devices, sizeof scope.devices);
    target_threads(&session->target, session->plan->watch, &scope);
    if (scope.too_many_names)
        recording_note(session->recording,
                       "The server's threads have more than %d names; the others were not traced.",
                       MAX_NAMES);
    if (tracer_enable(session->tracer, &scope))
        return RUN_DONE;
    snprintf(session->why, session->size, "No event could be enabled in the trace instance.");
    return RUN_UNAVAILABLE;
}

/* Count the packets for the server that were recorded since the last call. */
static size_t count_new_packets(const struct recording *recording, size_t *next)
{
    size_t count = 0;

    for (; *next < recording->count; (*next)++)
        count += event_kind(&recording->events[*next]) == HOP_TCP;
    return count;
}

static void sleep_between_drains(void)
{
    nanosleep(&(struct timespec){.tv_nsec = DRAIN_MS * 1000000L}, NULL);
}

/* Others send.  Drain the rings until there are enough packets, and a moment longer, so that the
 * server can read the last one.  Events from long before the first packet are dropped, because a
 * busy machine produces many. */
static enum run_result watch(struct session *session)
{
    size_t next = 0, packets = 0;

    for (int waited = 0; waited < WATCH_MS && packets < session->plan->packets;
         waited += DRAIN_MS) {
        sleep_between_drains();
        if (!tracer_drain(session->tracer, session->recording))
            return fail(session, "There is not enough memory.");
        packets += count_new_packets(session->recording, &next);
        if (packets == 0) {
            recording_drop_before(session->recording, now_ns() - DROP_NS);
            next = session->recording->count;
        }
        if (session->recording->count > MAX_EVENTS / 2)
            break;
        if (run_stopped())
            return RUN_DONE; /* The packets so far are shown. */
    }
    sleep_between_drains();
    return RUN_DONE;
}

/* The tracer's client sends.  Drain the rings until it is done. */
static enum run_result wait_for_client(struct session *session)
{
    size_t before, stalled = 0;
    char report = 0;

    while (report == 0 && stalled < STALL_MS) {
        if (run_stopped())
            return RUN_STOPPED;
        before = session->recording->count;
        report = client_wait_report(&session->client, DRAIN_MS);
        if (!tracer_drain(session->tracer, session->recording))
            return fail(session, "There is not enough memory.");
        stalled = session->recording->count > before ? 0 : stalled + DRAIN_MS;
    }
    return report == 'd' ? RUN_DONE : fail(session, "The server does not echo what it receives.");
}

static enum run_result send_frames(struct session *session)
{
    unsigned frames = session->path.via == VIA_GRO ? 4 : 1;

    if (!tap_warm_up(session->tap, SKIPPED))
        return fail(session, "The server does not echo what the frames carried.");
    for (unsigned i = 0; i < session->plan->packets; i++) {
        if (run_stopped())
            return RUN_STOPPED;
        if (!tap_echo(session->tap, frames))
            return fail(session, "The server does not echo what the frames carried.");
        if (i % 64 == 63 && !tracer_drain(session->tracer, session->recording))
            return fail(session, "There is not enough memory.");
    }
    return RUN_DONE;
}

/* Nothing happens until somebody sends a packet, so tell a user at a terminal how. */
static void say_watching(const char *address, unsigned port)
{
    printf("watching port %u\n", port);
    fflush(stdout);
    if (isatty(STDERR_FILENO) != 1)
        return;
    if (strcmp(address, "0.0.0.0") == 0)
        fputs("What next: let another machine send\npackets to this port.\n", stderr);
    else
        fprintf(stderr, "What next, in another terminal:\n  nc %s %u\n", address, port);
    fputs("Ctrl-C here ends the trace.\n", stderr);
}

static enum run_result follow_packets(struct session *session)
{
    session->recording->start = now_ns();
    if (!tracer_start(session->tracer))
        return fail(session, "The trace instance cannot be started.");
    if (session->plan->watch)
        say_watching(session->plan->address, session->target.port);
    if (!session->plan->watch && !is_tap(session))
        client_go(&session->client);
    enum run_result result = RUN_DONE;
    if (session->plan->watch)
        result = watch(session);
    else
        result = is_tap(session) ? send_frames(session) : wait_for_client(session);
    tracer_stop(session->tracer);
    if (result == RUN_DONE && !tracer_drain(session->tracer, session->recording))
        return fail(session, "There is not enough memory.");
    return result;
}

/* The last part of the program's path, with the folder that contains it. */
static void name_server(struct session *session, char *name, size_t size)
{
    char path[4096], link[64];
    const char *program = session->plan->server;

    snprintf(link, sizeof link, "/proc/%ld/exe", (long)session->target.pid);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = '\0';
        program = path;
    }
    const char *last = program != NULL ? strrchr(program, '/') : NULL;
    while (last != NULL && last > program && last[-1] != '/')
        last--;
    snprintf(name, size, "%s", last != NULL ? last : "a server");
    for (char *at = name; *at != '\0'; at++) /* A path may contain any byte; a recording may not. */
        if (*at < ' ' || *at > '~')
            *at = '?';
}

static enum run_result finish(struct session *session)
{
    struct recording *recording = session->recording;
    struct utsname system;

    tracer_account(session->tracer, recording);
    recording->via = session->path.via;
    recording->port = session->target.port;
    recording->skip = session->plan->watch ? 0 : SKIPPED;
    if (uname(&system) == 0)
        snprintf(recording->kernel, sizeof recording->kernel, "%.40s %.20s", system.release,
                 system.machine);
    if (session->path.cpu != -1 && !is_tap(session))
        recording_note(recording,
                       "The client and the server were kept on cpu%d (--cpu any allows all CPUs).",
                       session->path.cpu);
    name_server(session, recording->server, sizeof recording->server);
    if (!target_stamps(&session->target, recording) || !recording_finish(recording))
        return fail(session, "There is not enough memory.");
    return RUN_DONE;
}

static void release(struct session *session)
{
    tap_close(session->tap);
    client_end(&session->client);
    target_stop(&session->target);
    tracer_close(session->tracer);
    path_close(&session->path);
}

enum run_result run_traced(const struct plan *plan, struct recording *recording, char *why,
                           size_t size)
{
    static enum run_result (*const steps[])(struct session *) = {
        find_server, open_tracer, start_client, enable_events, follow_packets, finish};
    struct session session = {
        .plan = plan, .target.stamps = -1, .recording = recording, .why = why, .size = size};
    enum run_result result = RUN_DONE;

    *recording = (struct recording){0};
    if (!path_open(&session.path, plan->server != NULL ? plan->via : VIA_LO,
                   plan->server != NULL && !plan->watch ? plan->cpu : -1, why, size))
        return RUN_UNAVAILABLE;
    for (size_t i = 0; result == RUN_DONE && i < sizeof steps / sizeof *steps; i++) {
        result = steps[i](&session);
        /* With --watch, a signal only ends the waiting: the packets so far are shown. */
        bool may_finish = plan->watch && (steps[i] == follow_packets || steps[i] == finish);
        if (run_stopped() && !may_finish)
            result = RUN_STOPPED;
    }
    release(&session);
    return result;
}

#endif
