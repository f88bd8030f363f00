/* One run: a server, a client, N packets between them, and the events that they cause. */
#include "trace.h"

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

#ifndef CANNOT_TRACE

#define DRAIN_MS 100        /* how often the rings are emptied */
#define READY_MS 10000      /* for the client to warm up */
#define WATCH_MS 60000      /* for others to send the packets */
#define DROP_NS 1000000000U /* a packet's journey takes less */
#define STALL_MS 6000       /* without a report or an event, something hangs */

/* Everything that one run holds, so that one function can release it. */
struct run {
    const struct plan *plan;
    struct path path;
    struct target target;
    struct client client;
    struct connections connections; /* of those who send, with --watch */
    int low_water;                  /* of the server's sockets, with --watch */
    unsigned dropped;               /* by its listening socket, before that */
    unsigned client_port;           /* otherwise: of the tracer's client */
    struct tracer *tracer;
    struct tap_host *tap;
    struct recording *recording;
    char *why;
};

static enum run_result fail(struct run *run, const char *why)
{
    snprintf(run->why, WHY_SIZE, "%s", why);
    return RUN_FAILED;
}

int64_t run_clock_offset(void)
{
    static bool known;
    static long long seconds, ns;
    char text[256];

    if (!known && file_read(text, sizeof text, "/proc/self/timens_offsets"))
        sscanf(text, "monotonic %lld %lld", &seconds, &ns); /* this line is the first one */
    known = true;
    return seconds * 1000000000 + ns;
}

uint64_t run_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)(now.tv_sec * 1000000000 + now.tv_nsec - run_clock_offset());
}

/* ---- the steps ---- */

static enum run_result find_server(struct run *run)
{
    const struct plan *plan = run->plan;
    struct path *path = &run->path;
    const char *const v4_and_v6[] = {"127.0.0.1", "::1"};
    const char *const *address = plan->address != NULL ? &plan->address : v4_and_v6;

    if (plan->server == NULL || plan->watch) { /* the device and the address are given */
        snprintf(path->device, NAME_SIZE, "%s", plan->device);
        path->via = device_kind(plan->device);
        if (plan->address != NULL)
            snprintf(path->server_address, sizeof path->server_address, "%s", plan->address);
    }
    if (plan->server != NULL)
        return target_start(&run->target, plan->server, path, plan->port, run->why) ? RUN_DONE
                                                                                    : RUN_FAILED;
    for (int i = 0; i < (plan->address != NULL ? 1 : 2) && !run->target.hidden; i++) {
        snprintf(path->server_address, sizeof path->server_address, "%s", address[i]);
        if (target_find(&run->target, address[i], plan->port, run->why))
            return RUN_DONE;
    }
    if (access("/proc/net/tcp", R_OK) == -1)
        snprintf(run->why, WHY_SIZE, "Who listens is in /proc/net/tcp, which cannot be read: %s.",
                 strerror(errno));
    else if (!run->target.hidden)
        snprintf(run->why, WHY_SIZE,
                 "No server listens on %s%s, port %u, here. (Use -b for another address.)",
                 address[0], plan->address == NULL ? " or ::1" : "", plan->port);
    return getuid() == 0 || !run->target.hidden ? RUN_FAILED : RUN_UNAVAILABLE;
}

static enum run_result start_frames(struct run *run)
{
    run->tap = tap_open(run->path.tap, run->target.port, run->plan->packets == 1, run->recording);
    run->client_port = TAP_PORT;
    bool done = tap_connect(run->tap);
    for (int i = 0; done && i < WARM_UP; i++)
        done = tap_echo(run->tap, 1, false);
    return done ? RUN_DONE : fail(run, "The frames that trace wrote did not open a connection.");
}

static enum run_result start_client(struct run *run)
{
    if (run->plan->watch)
        return RUN_DONE;
    if (run->path.tap != -1)
        return start_frames(run);
    if (!client_start(&run->client, &run->path, &run->target, run->plan->packets))
        return fail(run, strerror(errno));
    struct client_report report = client_wait_report(&run->client, READY_MS);
    run->client_port = (unsigned)report.number;
    if (report.word == 'r' || run_stopped())
        return RUN_DONE;
    if (report.word != 'c')
        return fail(run, "The server does not echo what it receives.");
    if (run->plan->address == NULL && run->target.address == 0 && !run->target.ours &&
        strcmp(run->path.server_address, "::1") != 0) { /* one at :: may refuse IPv4 */
        client_end(&run->client);
        strcpy(run->path.server_address, "::1");
        return start_client(run);
    }
    snprintf(run->why, WHY_SIZE, "trace cannot connect to the server on %s: %s%s.",
             run->path.server_address, strerror(report.number),
             report.number == ENETUNREACH ? " (is lo down? ip link set lo up)" : "");
    return RUN_FAILED;
}

/* This comes before anything is sent: without a tracer, the run ends here. */
static enum run_result open_tracer(struct run *run)
{
    run->tracer = tracer_open(run->plan->packets, run->why);
    return run->tracer != NULL ? RUN_DONE : RUN_UNAVAILABLE;
}

static enum run_result enable_events(struct run *run)
{
    struct scope scope = {.port = run->target.port,
                          .peer_port = run->client_port,
                          .client = run->client.pid,
                          .both_ways = run->plan->both_ways,
                          .path = &run->path};

    target_threads(&run->target, run->plan->watch, &scope);
    if (scope.too_many_names)
        recording_note(run->recording,
                       "The server's threads have more than %d names; the others were not traced.",
                       MAX_NAMES);
    if (tracer_enable(run->tracer, &scope, run->recording))
        return RUN_DONE;
    snprintf(run->why, WHY_SIZE, "No event could be enabled in the trace instance.");
    return RUN_UNAVAILABLE;
}

/* Others send.  Drain the rings until there are enough packets, and a moment longer, so that the
 * server can read the last one.  Drop events from long before the first packet: there are many. */
static enum run_result watch(struct run *run)
{
    struct connections *connections = &run->connections;
    size_t packets = 0;
    unsigned ignored;
    int looks = 5;

    target_options(&run->target, &run->low_water, &run->dropped);
    for (int waited = 0; waited < WATCH_MS && packets < run->plan->packets; waited += DRAIN_MS) {
        poll(NULL, 0, DRAIN_MS);
        uint64_t complete = run_now_ns(); /* what happened before is in the rings */
        tracer_drain(run->tracer, run->recording);
        connections_learn(connections, run->recording, complete);
        packets = connections_packets(connections);
        if (packets > 0 && run->low_water <= 1 && looks-- > 0) /* the connection must exist */
            target_options(&run->target, &run->low_water, &ignored);
        if (packets == 0)
            recording_drop_before(run->recording, complete - DROP_NS);
        if (run->recording->count >= KEPT_EVENTS) {
            recording_note(run->recording,
                           "Others sent so much that the events filled %d MiB: the end.", KEPT_MIB);
            break;
        }
        if (run_stopped())
            return RUN_DONE; /* The packets so far are shown. */
    }
    poll(NULL, 0, DRAIN_MS);
    return RUN_DONE;
}

/* The tracer's client sends.  Drain the rings until it is done. */
static enum run_result wait_for_client(struct run *run)
{
    size_t before, stalled = 0;
    struct client_report report = {0, 0};

    client_go(&run->client);
    while (report.word == 0 && stalled < STALL_MS) {
        if (run_stopped())
            return RUN_STOPPED;
        before = run->recording->count;
        report = client_wait_report(&run->client, DRAIN_MS);
        tracer_drain(run->tracer, run->recording);
        stalled = run->recording->count > before ? 0 : stalled + DRAIN_MS;
    }
    if (run->plan->both_ways)
        poll(NULL, 0, 60); /* A delayed acknowledgement takes 40 ms. */
    return report.word == 'd' ? RUN_DONE : fail(run, "The server does not echo what it receives.");
}

static enum run_result send_frames(struct run *run)
{
    unsigned frames = run->path.via == VIA_GRO ? 4 : 1;

    for (unsigned i = 0; i < SKIPPED + run->plan->packets; i++) {
        if (run_stopped())
            return RUN_STOPPED;
        if (!tap_echo(run->tap, i < SKIPPED ? 1 : frames, i >= SKIPPED))
            return fail(run, "The server does not echo what the frames carried.");
        if (i % 64 == 63)
            tracer_drain(run->tracer, run->recording);
    }
    return RUN_DONE;
}

static enum run_result follow_packets(struct run *run)
{
    bool watches = run->plan->watch;

    run->recording->start = run_now_ns();
    if (!tracer_switch(run->tracer, true))
        return fail(run, "The trace instance cannot be started.");
    if (watches)
        printf("watching port %u\n", run->target.port);
    fflush(stdout);
    run->connections.port = run->target.port;
    run->connections.address =
        run->plan->address != NULL ? address_of(run->plan->address) : run->target.address;
    enum run_result result = watches            ? watch(run)
                             : run->tap != NULL ? send_frames(run)
                                                : wait_for_client(run);
    tracer_switch(run->tracer, false);
    tracer_drain(run->tracer, run->recording);
    return result;
}

/* The last part of the program's path, with the folder that contains it. */
static void name_server(struct run *run, char *name, size_t size)
{
    char path[4096], link[64];
    const char *program = run->plan->server;

    snprintf(link, sizeof link, "/proc/%ld/exe", (long)run->target.pid);
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

/* Name the threads of the kernel in which packets were received or NET_RX was scheduled. */
static void name_kernel_threads(struct recording *recording)
{
    static const char *const names[] = {"ksoftirqd/", "napi/", "backlog_napi/", "irq/"};
    char name[NAME_SIZE + 1];
    int last = 0;

    for (size_t i = 0; i < recording->count; i++) {
        const struct event *event = &recording->events[i];
        enum hop kind = event_kind(event);
        bool works = kind == HOP_SOFTIRQ || kind == HOP_RECEIVE || kind == HOP_GRO ||
                     (kind == KIND_RAISE && event->context == 't');
        if (!works || event->pid == last)
            continue;
        last = event->pid;
        if (!file_read(name, sizeof name, "/proc/%d/comm", last))
            continue;
        for (size_t j = 0; j < sizeof names / sizeof *names; j++)
            if (strncmp(name, names[j], strlen(names[j])) == 0)
                recording_add_thread(recording, last, strtok(name, "\n"));
    }
}

/* What the server's sockets say about packets and events that are missing. */
static enum run_result explain_sockets(struct run *run)
{
    const char *state = connections_other_state(&run->connections), *cause = NULL;
    unsigned dropped;
    int low_water;

    target_options(&run->target, &low_water, &dropped);
    if (run->low_water > 1)
        recording_note(run->recording,
                       "This server asked not to be told of fewer than %d bytes (SO_RCVLOWAT).",
                       run->low_water);
    if (dropped > run->dropped)
        cause = recording_note(run->recording,
                               "The listening socket dropped %u packets (ss -ltm, after \"d\"): "
                               "was its accept queue full?",
                               dropped - run->dropped);
    if (state != NULL)
        cause = recording_note(
            run->recording, "tcp_probe reports established connections; one here is in state %s.",
            state);
    snprintf(run->why, WHY_SIZE, "no packet for this port was seen: %s",
             cause != NULL ? cause
                           : "none came after a handshake, and tcp_probe does not report data that "
                             "comes with it (TCP_DEFER_ACCEPT, Fast Open).");
    return connections_packets(&run->connections) == 0 ? RUN_FAILED : RUN_DONE;
}

static enum run_result finish(struct run *run)
{
    struct recording *recording = run->recording;
    char drops[NOTE_SIZE - 50];

    recording->lost += tracer_lost(run->tracer);
    name_kernel_threads(recording);
    recording->via = run->path.via;
    recording->port = run->target.port;
    recording->skip = run->plan->watch ? 0 : SKIPPED;
    recording->peer = run->plan->both_ways ? run->client_port : 0;
    if (run->plan->both_ways)
        recording_note(recording,
                       "The client has two threads: one sends, and one already waits in recv().");
    if (run->path.cpu != -1 && run->tap == NULL)
        recording_note(recording, "The client and the server were pinned to cpu%d.", run->path.cpu);
    name_server(run, recording->server, sizeof recording->server);
    target_stamps(&run->target, recording);
    if (run->plan->both_ways)
        client_stamps(&run->client, recording);
    if (run->plan->watch)
        connections_learn(&run->connections, recording, UINT64_MAX);
    if (!recording_finish(recording))
        return fail(run, "There is not enough memory.");
    if (!run->plan->watch)
        return RUN_DONE;
    connections_drops(&run->connections, drops, sizeof drops);
    recording_note(recording, "Packets for this server that the kernel dropped: %s.", drops);
    connections_mark(&run->connections, recording, run->plan->packets);
    return explain_sockets(run);
}

static void release(struct run *run)
{
    tap_close(run->tap);
    client_end(&run->client);
    target_stop(&run->target);
    tracer_close(run->tracer);
    path_close(&run->path);
}

enum run_result run_traced(const struct plan *plan, struct recording *recording, char why[WHY_SIZE])
{
    static enum run_result (*const steps[])(struct run *) = {
        find_server, open_tracer, start_client, enable_events, follow_packets, finish};
    struct run run = {.plan = plan, .target.stamps = -1, .recording = recording, .why = why};
    enum run_result result = RUN_DONE;

    if (!path_open(&run.path, plan->server != NULL ? plan->via : VIA_LO,
                   plan->server != NULL && !plan->watch, why))
        return RUN_UNAVAILABLE;
    for (size_t i = 0; result == RUN_DONE && i < sizeof steps / sizeof *steps; i++) {
        result = steps[i](&run);
        /* With --watch, a signal only ends the waiting: the packets so far are shown. */
        bool may_finish = plan->watch && (steps[i] == follow_packets || steps[i] == finish);
        if (run_stopped() && !may_finish)
            result = RUN_STOPPED;
    }
    release(&run);
    return result;
}

#endif
