/* The kernel's tracepoints: enable them in a trace instance, and read their events from its rings.
 *
 * The events are read in binary form, a page at a time.  Reading the text of trace_pipe takes 15 to
 * 40 times as much CPU time, and loses events under full load. */
#define _GNU_SOURCE

#include "tracer.h"

#ifdef __linux__

#include "decoder.h"
#include "instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_CPUS 8192   /* the maximum of Linux */
#define MAX_PAGES 4096  /* of one ring, in one go: 16 MiB */
#define PAGE_ROOM 65536 /* the largest page of any architecture */
#define NAME_ROOM 256   /* for the name of a file in the instance */

struct tracer {
    struct instance instance;
    int cpus;
    int ring[MAX_CPUS]; /* trace_pipe_raw of each CPU; -1: there is no such CPU */
    uint64_t asked, unavailable;
    struct decoder decoder;
    unsigned char page[PAGE_ROOM];
};

/* ---- enabling events ---- */

/* A probe replaces a tracepoint that this kernel does not have. */
static bool has_tracepoint(const struct tracer *tracer, enum hop kind)
{
    for (size_t i = 0; i < event_type_count; i++)
        if (event_types[i].kind == kind && (tracer->asked >> i & 1) != 0)
            return true;
    return false;
}

static bool create_probe(const struct tracer *tracer, const struct event_type *type)
{
    char text[NAME_ROOM];

    snprintf(text, sizeof text, "p:%s %s", type->event, type->probe);
    return instance_write(&tracer->instance, "../../kprobe_events", text) || errno == EEXIST;
}

/* Teach the decoder this event.  False: this kernel does not have it. */
static bool learn_format(struct tracer *tracer, size_t type)
{
    struct event_format format;
    char name[NAME_ROOM], text[16384];

    snprintf(name, sizeof name, "events/%s/format", event_types[type].event);
    return instance_read(&tracer->instance, name, text, sizeof text) &&
           format_parse_event(text, &event_types[type], &format) &&
           decoder_learn(&tracer->decoder, type, &format);
}

/* Without its filter, an event would be written for the whole machine, including the tracer's own
 * reads.  It is then not enabled. */
static bool enable(const struct tracer *tracer, const struct event_type *type,
                   const struct scope *scope)
{
    char name[NAME_ROOM], filter[FILTER_SIZE];

    snprintf(name, sizeof name, "events/%s/filter", type->event);
    filter_text(scope, type->filter, filter);
    if (filter_is_needed(type->filter) &&
        (filter[0] == '\0' || !instance_write(&tracer->instance, name, filter)))
        return false;
    snprintf(name, sizeof name, "events/%s/enable", type->event);
    return instance_write(&tracer->instance, name, "1");
}

static void enable_if_available(struct tracer *tracer, size_t i, const struct scope *scope)
{
    const struct event_type *type = &event_types[i];

    if (!filter_applies(scope, type->filter))
        return;
    bool exists = type->provider == TRACEPOINT || create_probe(tracer, type);
    if (exists && learn_format(tracer, i) && enable(tracer, type, scope))
        tracer->asked |= (uint64_t)1 << i;
    else
        tracer->unavailable |= (uint64_t)1 << i;
}

bool tracer_enable(struct tracer *tracer, const struct scope *scope)
{
    for (size_t i = 0; i < event_type_count; i++) {
        enum provider provider = event_types[i].provider;
        if (provider == TRACEPOINT ||
            (provider == KPROBE && !has_tracepoint(tracer, event_types[i].kind)))
            enable_if_available(tracer, i, scope);
    }
    return tracer->asked != 0;
}

/* ---- opening and closing ---- */

/* Room for the events of the packets, about 4 KiB for each with its echo, twice that to be safe,
 * and 2 MiB for what others send meanwhile. */
static void size_rings(const struct tracer *tracer, unsigned packets)
{
    char text[32];
    unsigned kib = 2048 + packets * 8;

    snprintf(text, sizeof text, "%u", kib < 16384 ? kib : 16384);
    instance_write(&tracer->instance, "buffer_size_kb", text);
}

/* Open the ring of each CPU that has a folder.  (Some C libraries count only the CPUs that this
 * process may run on.) */
static void open_rings(struct tracer *tracer)
{
    char path[TRACEFS_PATH * 2];
    int cpu;

    snprintf(path, sizeof path, "%s/per_cpu", tracer->instance.path);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (sscanf(entry->d_name, "cpu%d", &cpu) != 1 || cpu < 0 || cpu >= MAX_CPUS)
            continue;
        while (tracer->cpus <= cpu)
            tracer->ring[tracer->cpus++] = -1;
        snprintf(path, sizeof path, "%s/per_cpu/cpu%d/trace_pipe_raw", tracer->instance.path, cpu);
        tracer->ring[cpu] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
    closedir(folder);
}

static bool learn_page_format(struct tracer *tracer)
{
    char text[4096];

    return instance_read(&tracer->instance, "events/header_page", text, sizeof text) &&
           format_parse_page(text, &tracer->decoder.page) &&
           tracer->decoder.page.page_size <= PAGE_ROOM;
}

/* In a PID namespace (a container, WSL) this process knows threads by other numbers than the events
 * do, and would take the instances of other runs for leftovers. */
#define FIRST_PID_NAMESPACE 0xeffffffcU /* PROC_PID_INIT_INO, unchanged since Linux 3.8 */
static bool in_first_pid_namespace(void)
{
    struct stat space;

    return stat("/proc/self/ns/pid", &space) == -1 || space.st_ino == FIRST_PID_NAMESPACE;
}

struct tracer *tracer_open(unsigned packets, char *why, size_t size)
{
    if (!in_first_pid_namespace()) {
        snprintf(why, size,
                 "This is a PID namespace, as in a container: the kernel's events name threads by "
                 "numbers that are not known here.");
        return NULL;
    }
    struct tracer *tracer = calloc(1, sizeof *tracer);
    if (tracer == NULL) {
        snprintf(why, size, "There is not enough memory.");
        return NULL;
    }
    if (!instance_create(&tracer->instance, why, size)) {
        free(tracer);
        return NULL;
    }
    instance_write(&tracer->instance, "tracing_on", "0");
    bool usable =
        instance_write(&tracer->instance, "trace_clock", "mono") && learn_page_format(tracer);
    size_rings(tracer, packets);
    open_rings(tracer);
    if (!usable) {
        snprintf(why, size, "The kernel's trace instance has a form that trace does not know.");
        tracer_close(tracer);
        return NULL;
    }
    return tracer;
}

bool tracer_start(struct tracer *tracer)
{
    return instance_write(&tracer->instance, "tracing_on", "1");
}

void tracer_stop(struct tracer *tracer)
{
    instance_write(&tracer->instance, "tracing_on", "0");
}

void tracer_close(struct tracer *tracer)
{
    if (tracer == NULL)
        return;
    for (int cpu = 0; cpu < tracer->cpus; cpu++)
        if (tracer->ring[cpu] != -1)
            close(tracer->ring[cpu]);
    instance_remove(&tracer->instance);
    free(tracer);
}

/* ---- reading events ---- */

/* Decode the pages of one ring.  Others may write as fast as this reads, so there is a limit. */
static bool drain_ring(struct tracer *tracer, int cpu, struct recording *recording)
{
    const struct page_format *format = &tracer->decoder.page;

    for (unsigned pages = 0; pages < MAX_PAGES; pages++) {
        ssize_t got = read(tracer->ring[cpu], tracer->page, format->page_size);
        if (got <= (ssize_t)format->data_offset)
            return true;
        if (!decoder_page(&tracer->decoder, cpu, tracer->page, (size_t)got, recording))
            return false;
    }
    return true;
}

bool tracer_drain(struct tracer *tracer, struct recording *recording)
{
    for (int cpu = 0; cpu < tracer->cpus; cpu++)
        if (tracer->ring[cpu] != -1 && !drain_ring(tracer, cpu, recording))
            return false;
    return true;
}

void tracer_account(struct tracer *tracer, struct recording *recording)
{
    static const char *const counts[] = {"\noverrun: ", "\ncommit overrun: ", "\ndropped events: "};
    char name[64], text[1024];

    recording->asked |= tracer->asked;
    recording->unavailable |= tracer->unavailable;
    recording->lists_unavailable = true;
    for (int cpu = 0; cpu < tracer->cpus; cpu++) {
        snprintf(name, sizeof name, "per_cpu/cpu%d/stats", cpu);
        if (!instance_read(&tracer->instance, name, text, sizeof text))
            continue;
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            recording->lost += format_number(text, counts[i]);
    }
}

#endif
