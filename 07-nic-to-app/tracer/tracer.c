/* The kernel's tracepoints: enable them in a trace instance, and read their events from its rings.
 *
 * The events are read in binary form, a page at a time.  Reading the text of trace_pipe takes 15 to
 * 40 times as much CPU time, and loses events under full load. */
#include "trace.h"

#ifndef CANNOT_TRACE

#define FILTER_SIZE 2048
#define MAX_CPUS 8192   /* the maximum of Linux */
#define RINGS_MIB 32    /* of the kernel's memory, for the rings of all CPUs together */
#define MAX_PAGES 4096  /* of one ring, in one go: 16 MiB */
#define PAGE_ROOM 65536 /* the largest page of the usual architectures */

struct tracer {
    char path[INSTANCE_PATH]; /* of its instance */
    int cpus;
    int ring[MAX_CPUS]; /* trace_pipe_raw of each CPU; -1: there is no such CPU */
    struct decoder decoder;
    unsigned char page[PAGE_ROOM];
};

/* ---- filters: expressions that the kernel evaluates before it writes an event ---- */

/* Events that cannot occur in this run are not asked for: each one slows the traced program. */
static bool filter_applies(const struct scope *scope, enum filter filter)
{
    if (filter == FILTER_CLIENT)
        return scope->client != 0;
    if (filter == FILTER_REPLY)
        return scope->both_ways;
    return (filter != FILTER_IRQ && filter != FILTER_IRQ_RX) || scope->path->via == VIA_CARD;
}

/* Add "the field matches the name" as an alternative.  A quote would end the string, so it becomes
 * a ?, which stands for any character. */
static void add_term(char *filter, const char *field, const char *name)
{
    char safe[NAME_SIZE];
    size_t length = strlen(filter);

    if (name[0] == '\0')
        return;
    snprintf(safe, sizeof safe, "%s", name);
    for (char *at = safe; *at != '\0'; at++)
        if (strchr("\"\\*[", *at) != NULL)
            *at = '?';
    snprintf(filter + length, FILTER_SIZE - length, "%s%s~\"%s\"", length > 0 ? "||" : "", field,
             safe);
}

/* Match the server's threads, by the field `task` (a number) or the field `name`. */
static void add_thread_terms(const struct scope *scope, char *filter, const char *task,
                             const char *name)
{
    for (size_t i = 0; i < MAX_TASKS && scope->tasks[i] != 0; i++) {
        size_t length = strlen(filter);
        snprintf(filter + length, FILTER_SIZE - length, "%s%s==%d", length > 0 ? "||" : "", task,
                 scope->tasks[i]);
    }
    for (size_t i = 0; i < MAX_NAMES && scope->tasks[0] == 0; i++)
        add_term(filter, name, scope->names[i]);
}

/* But not the tracer, whose reads would be events to read. */
static void add_running(const struct scope *scope, enum filter filter, char *text)
{
    char threads[FILTER_SIZE - 64] = "";

    add_thread_terms(scope, threads, "common_pid", "comm");
    if (threads[0] != '\0')
        snprintf(text, FILTER_SIZE, "(%s)&&common_pid!=%ld%s", threads, (long)getpid(),
                 filter == FILTER_SIGNAL ? "&&(sig==29||sig>=32)"
                                         : ""); /* 29: SIGIO on most processors */
}

/* The text for the event's `filter` file in tracefs.  Empty: there is nothing to filter by. */
static void filter_text(const struct scope *scope, enum filter filter, char text[FILTER_SIZE])
{
    text[0] = '\0';
    if (filter == FILTER_IRQ_RX || filter == FILTER_NET_RX)
        snprintf(text, FILTER_SIZE, "vec==3");
    else if (filter == FILTER_TCP)
        snprintf(text, FILTER_SIZE, "protocol==6");
    else if (filter == FILTER_PORT && scope->peer_port == 0)
        snprintf(text, FILTER_SIZE, "sport==%u", scope->port);
    else if (filter == FILTER_PORT)
        snprintf(text, FILTER_SIZE, "(sport==%u&&dport==%u)||(sport==%u&&dport==%u)", scope->port,
                 scope->peer_port, scope->both_ways ? scope->peer_port : 0, scope->port);
    else if (filter == FILTER_CLIENT && !scope->both_ways)
        snprintf(text, FILTER_SIZE, "common_pid==%d", scope->client);
    else if (filter == FILTER_WOKEN)
        add_thread_terms(scope, text, "pid", "comm");
    else if (filter == FILTER_DEVICE)
        add_term(text, "name", scope->path->device);
    else if (filter != FILTER_SWITCHED)
        add_running(scope, filter, text);
    if (filter == FILTER_SWITCHED) {
        add_thread_terms(scope, text, "next_pid", "next_comm");
        add_thread_terms(scope, text, "prev_pid", "prev_comm");
    }
}

/* ---- enabling events ---- */

/* Teach the decoder this event.  False: this kernel does not have it. */
static bool learn_format(struct tracer *tracer, size_t type)
{
    struct event_format format;
    char text[16384];

    return file_read(text, sizeof text, "%s/events/%s/format", tracer->path,
                     event_types[type].event) &&
           format_parse_event(text, &event_types[type], &format) &&
           decoder_learn(&tracer->decoder, type, &format);
}

/* Without its filter, an event would be written for the whole machine, so it is not enabled. */
static bool enable(const struct tracer *tracer, const struct event_type *type,
                   const struct scope *scope)
{
    char filter[FILTER_SIZE];

    filter_text(scope, type->filter, filter);
    if (type->filter != FILTER_NONE && type->filter != FILTER_IRQ &&
        (filter[0] == '\0' ||
         !file_write(filter, "%s/events/%s/filter", tracer->path, type->event)))
        return false;
    return file_write("1", "%s/events/%s/enable", tracer->path, type->event);
}

/* A probe replaces a tracepoint that this kernel does not have. */
bool tracer_enable(struct tracer *tracer, const struct scope *scope, struct recording *recording)
{
    uint32_t kinds = 0; /* those of the events that are enabled */
    char text[128];

    for (size_t i = 0; i < event_type_count; i++) {
        const struct event_type *type = &event_types[i];
        bool probe = type->provider == KPROBE;
        if ((type->provider != TRACEPOINT && !probe) || !filter_applies(scope, type->filter) ||
            (probe && (kinds >> type->kind & 1U) != 0))
            continue;
        snprintf(text, sizeof text, "p:%s %s", type->event, probe ? type->probe : "");
        if ((!probe || file_write(text, TRACEFS "/kprobe_events") || errno == EEXIST) &&
            learn_format(tracer, i) && enable(tracer, type, scope)) {
            recording->asked |= (uint64_t)1 << i;
            kinds |= BIT(type->kind);
        } else {
            recording->unavailable |= (uint64_t)1 << i;
        }
    }
    return kinds != 0;
}

/* ---- opening and closing ---- */

/* Every CPU has a ring of this size: room for the events of the packets, about 4 KiB for each with
 * its echo, twice that to be safe, and 8 MiB for what others send meanwhile.  All rings together
 * have a limit, because a large machine has hundreds of CPUs. */
static void size_rings(const struct tracer *tracer, unsigned packets)
{
    char text[32];
    unsigned kib = 8192 + packets * 8, rings = 0;

    for (int cpu = 0; cpu < tracer->cpus; cpu++)
        rings += tracer->ring[cpu] != -1;
    if (rings > 0 && kib > RINGS_MIB * 1024 / rings)
        kib = RINGS_MIB * 1024 / rings;
    snprintf(text, sizeof text, "%u", kib);
    file_write(text, "%s/buffer_size_kb", tracer->path);
}

/* Open the ring of each CPU that has a folder.  (Some C libraries count only the allowed CPUs.) */
static void open_rings(struct tracer *tracer)
{
    char path[INSTANCE_PATH * 2];
    int cpu;
    DIR *folder = folder_open("%s/per_cpu", tracer->path);

    for (const char *name; (name = folder_next(folder)) != NULL;) {
        if (sscanf(name, "cpu%d", &cpu) != 1 || cpu < 0 || cpu >= MAX_CPUS)
            continue;
        while (tracer->cpus <= cpu)
            tracer->ring[tracer->cpus++] = -1;
        snprintf(path, sizeof path, "%s/per_cpu/cpu%d/trace_pipe_raw", tracer->path, cpu);
        tracer->ring[cpu] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
}

#define FIRST_PID_NAMESPACE 0xeffffffcU /* PROC_PID_INIT_INO, unchanged since Linux 3.8 */
/* In a PID namespace (a container, WSL) this process knows threads by other numbers than the events
 * do, and would take the instances of other runs for leftovers. */
struct tracer *tracer_open(unsigned packets, char why[WHY_SIZE])
{
    static struct tracer only; /* one at a time */
    struct tracer *tracer = memset(&only, 0, sizeof only);
    struct stat space;
    char text[4096];
    bool inside = stat("/proc/self/ns/pid", &space) == 0 && space.st_ino != FIRST_PID_NAMESPACE;

    if (inside)
        snprintf(
            why, WHY_SIZE,
            "This is a PID namespace, as in a container: its thread numbers are not the kernel's.");
    if (inside || !instance_create(tracer->path, why))
        return NULL;
    tracer_switch(tracer, false);
    open_rings(tracer);
    size_rings(tracer, packets);
    if (file_write("mono", "%s/trace_clock", tracer->path) &&
        file_read(text, sizeof text, "%s/events/header_page", tracer->path) &&
        format_parse_page(text, &tracer->decoder.page) &&
        tracer->decoder.page.page_size <= PAGE_ROOM)
        return tracer;
    snprintf(why, WHY_SIZE, "The kernel's trace instance has a form that trace does not know.");
    tracer_close(tracer);
    return NULL;
}

bool tracer_switch(const struct tracer *tracer, bool on)
{
    return file_write(on ? "1" : "0", "%s/tracing_on", tracer->path);
}

void tracer_close(struct tracer *tracer)
{
    if (tracer == NULL)
        return;
    for (int cpu = 0; cpu < tracer->cpus; cpu++)
        file_close(tracer->ring[cpu]);
    instance_remove(tracer->path);
}

/* ---- reading events ---- */

/* Decode the pages of each ring.  Others may write as fast as this reads, so there is a limit.
 * There is one for the recording, too; the kernel then counts the events that find no room. */
void tracer_drain(struct tracer *tracer, struct recording *recording)
{
    const struct page_format *format = &tracer->decoder.page;

    for (int cpu = 0; cpu < tracer->cpus; cpu++)
        for (unsigned pages = 0; pages < MAX_PAGES && recording->count < KEPT_EVENTS; pages++) {
            ssize_t got = read(tracer->ring[cpu], tracer->page, format->page_size);
            if (got <= (ssize_t)format->data_offset) /* also -1: there is no such CPU */
                break;
            decoder_page(&tracer->decoder, cpu, tracer->page, (size_t)got, recording);
        }
}

uint64_t tracer_lost(const struct tracer *tracer)
{
    static const char *const counts[] = {"\noverrun: ", "\ncommit overrun: ", "\ndropped events: "};
    char text[1024];
    uint64_t lost = 0;

    for (int cpu = 0; cpu < tracer->cpus; cpu++)
        if (file_read(text, sizeof text, "%s/per_cpu/cpu%d/stats", tracer->path, cpu))
            for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
                lost += format_number(text, counts[i]);
    return lost;
}

#endif
