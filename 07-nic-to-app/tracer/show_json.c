/* Journeys as Chrome trace events, the JSON that Perfetto and Chrome's tracing page load: a track
 * for each CPU, a track for each thread, and arrows along each packet. */
#include "journey.h"

#define CPUS 1         /* the number of the group of tracks for CPUs, */
#define TASKS 2        /* and of that for threads */
#define CPU_TRACK 100  /* of cpu0; readers of this format take 0 for the idle thread */
#define STAMP_TRACK 99 /* of stamps for which the kernel does not name a CPU */
#define SHORTEST 300   /* ns: the length of the last slice, which has no next event */

/* A hop as a slice of a track: from its event to the next event of the packet or of the track. */
struct slice {
    const struct journey *journey;
    size_t number; /* of the journey, from 0 */
    enum hop hop;
    int group, track;
    uint64_t begin, end;
};

struct slices {
    struct slice *list;
    size_t count;
};

/* A slice on the track of the CPU and, in a thread's context, one on the track of the thread. */
static void add_hop(struct slices *slices, const struct journey *journey, size_t number, int hop)
{
    const struct event *event = journey->at[hop];
    struct slice slice = {journey, number, (enum hop)hop, CPUS, STAMP_TRACK, event->ns, 0};

    slice.end = event->ns + SHORTEST;
    for (int next = HOPS - 1; next > hop; next--)
        if (journey_is_step(journey, next))
            slice.end = journey->at[next]->ns;
    if (event->cpu >= 0)
        slice.track = CPU_TRACK + event->cpu;
    if (event->cpu >= 0 || event->pid == 0)
        slices->list[slices->count++] = slice;
    slice.group = TASKS;
    slice.track = hop == HOP_SWITCH ? (int)event->value[SLOT_TASK] : event->pid;
    if (event->context == 't' && slice.track != 0)
        slices->list[slices->count++] = slice;
}

static int by_track(const void *left, const void *right)
{
    const struct slice *a = left, *b = right;

    if (a->group != b->group)
        return a->group - b->group;
    if (a->track != b->track)
        return (a->track > b->track) - (a->track < b->track);
    return (a->begin > b->begin) - (a->begin < b->begin);
}

static bool same_track(const struct slice *a, const struct slice *b)
{
    return a->group == b->group && a->track == b->track;
}

/* ---- JSON ---- */

static void write_string(FILE *stream, const char *words)
{
    static const char *const escape[] = {"\\\"", "\\\\"};

    fputc('"', stream);
    show_escaped(stream, words, "\"\\", escape);
    fputc('"', stream);
}

static void write_slice(FILE *stream, const struct slice *slice, uint64_t start)
{
    char fields[64];

    show_fields(slice->journey, slice->hop, fields, sizeof fields);
    fputs(",\n{\"ph\":\"X\",\"name\":", stream);
    write_string(stream, event_label(slice->journey->at[slice->hop]));
    fputs(",\"cat\":", stream);
    write_string(stream, show_box(slice->journey, hops[slice->hop].box));
    fprintf(stream, ",\"pid\":%d,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f", slice->group, slice->track,
            (double)(slice->begin - start) / 1000, (double)(slice->end - slice->begin) / 1000);
    fprintf(stream, ",\"args\":{\"packet\":%zu,\"hop\":", slice->number + 1);
    write_string(stream, hops[slice->hop].name);
    fputs(",\"carries\":", stream);
    write_string(stream, fields);
    fputs(",\"why\":", stream);
    write_string(stream, show_why(slice->journey, slice->hop));
    fputs("}}", stream);
}

/* An arrow leads from slice to slice of one packet, along the CPUs: s begins it, t continues it, f
 * ends it. */
static void write_arrow(FILE *stream, const struct slice *slice, uint64_t start)
{
    const struct event *event = slice->journey->at[slice->hop];
    const char *phase = "t";

    if (slice->group != CPUS)
        return;
    if (event == journey_first(slice->journey))
        phase = "s";
    if (event == journey_last(slice->journey))
        phase = "f";
    fprintf(stream,
            ",\n{\"ph\":\"%s\",\"name\":\"packet\",\"cat\":\"packet\",\"id\":%zu,\"pid\":%d,"
            "\"tid\":%d,\"ts\":%.3f%s}",
            phase, slice->number + 1, slice->group, slice->track,
            (double)(slice->begin - start) / 1000, phase[0] == 'f' ? ",\"bp\":\"e\"" : "");
}

/* Name a track.  The viewer prints its number after the name. */
static void write_track(FILE *stream, const struct slice *slice)
{
    const struct event *waking = slice->journey->at[HOP_WAKING];
    char name[24] = "thread";

    if (slice->group == CPUS && slice->track == STAMP_TRACK)
        snprintf(name, sizeof name, "the kernel's stamps");
    else if (slice->group == CPUS)
        snprintf(name, sizeof name, "cpu%d", slice->track - CPU_TRACK);
    else if (slice->hop < HOP_DRIVER)
        snprintf(name, sizeof name, slice->journey->back ? "the server" : "the client");
    else if (waking != NULL && (int)waking->value[SLOT_TASK] == slice->track)
        snprintf(name, sizeof name, "%s", waking->name);
    fprintf(stream,
            ",\n{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%d,\"tid\":%d,\"args\":{\"name\":",
            slice->group, slice->track);
    write_string(stream, name);
    fputs("}}", stream);
}

#define GROUP "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,\"args\":{\"name\":\"%s\"}}"
static void write_head(FILE *stream, const struct recording *recording, uint64_t start)
{
    fprintf(stream,
            "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"clock\":\"CLOCK_MONOTONIC\","
            "\"start_ns\":\"%" PRIu64 "\",\"recorded\":%s,\"kernel\":",
            start, recording->replayed ? "true" : "false");
    write_string(stream, recording->kernel);
    fputs("},\"traceEvents\":[\n", stream);
    fprintf(stream, GROUP ",\n" GROUP, CPUS, "CPUs", TASKS, "threads");
}

bool show_json(FILE *stream, const struct journeys *journeys)
{
    const struct recording *recording = journeys->list->recording;
    struct slices slices = {calloc(journeys->count * HOPS * 4 + 1, sizeof *slices.list), 0};
    uint64_t start = recording->count > 0 ? recording->events[0].ns : 0;

    if (slices.list == NULL)
        return false;
    for (size_t i = 0; i < journeys->count; i++)
        for (const struct journey *leg = &journeys->list[i]; leg != NULL; leg = leg->reply)
            for (int hop = 0; hop < HOPS; hop++)
                if (journey_is_step(leg, hop))
                    add_hop(&slices, leg, i, hop);
    qsort(slices.list, slices.count, sizeof *slices.list, by_track);
    write_head(stream, recording, start);
    for (size_t i = 0; i < slices.count; i++) {
        struct slice *slice = &slices.list[i], *next = slice + 1;
        /* Slices of one track must not overlap, but the packets of a batch do. */
        if (i + 1 < slices.count && same_track(slice, next) && slice->end > next->begin)
            slice->end = next->begin;
        if (i == 0 || !same_track(slice - 1, slice))
            write_track(stream, slice);
        write_slice(stream, slice, start);
        write_arrow(stream, slice, start);
    }
    fputs("\n]}\n", stream);
    free(slices.list);
    return fflush(stream) == 0 && !ferror(stream);
}
