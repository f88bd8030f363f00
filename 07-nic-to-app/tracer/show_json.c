/* Journeys as Chrome trace events (JSON for Perfetto): CPUs are tracks, arrows follow packets. */
#include "journey.h"

#define CPU_TRACK 100  /* of cpu0; readers of this format take 0 for the idle thread */
#define STAMP_TRACK 99 /* of stamps that do not name a CPU */
#define SHORTEST 300   /* ns: the length of the last slice, which has no next event */

/* A hop as a slice of a track: from its event to the next event of the packet or of the track. */
struct slice {
    const struct journey *journey;
    size_t number; /* of the journey, from 0 */
    enum hop hop;
    int track;
    uint64_t begin, end;
};

static struct slice slice_of(const struct journey *journey, size_t number, int hop)
{
    const struct event *event = journey->at[hop];
    struct slice slice = {journey, number, (enum hop)hop, STAMP_TRACK, event->ns, 0};

    slice.end = event->ns + SHORTEST;
    for (int next = HOPS - 1; next > hop; next--)
        if (journey_is_step(journey, next))
            slice.end = journey->at[next]->ns;
    if (event->cpu >= 0)
        slice.track = CPU_TRACK + event->cpu;
    return slice;
}

static int by_track(const void *left, const void *right)
{
    const struct slice *a = left, *b = right;

    if (a->track != b->track)
        return (a->track > b->track) - (a->track < b->track);
    return (a->begin > b->begin) - (a->begin < b->begin);
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
    fprintf(stream, ",\"pid\":1,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f", slice->track,
            (double)(slice->begin - start) / 1000, (double)(slice->end - slice->begin) / 1000);
    fprintf(stream, ",\"args\":{\"packet\":%zu,\"hop\":", slice->number + 1);
    write_string(stream, hops[slice->hop].name);
    fputs(",\"carries\":", stream);
    write_string(stream, fields);
    fputs(",\"why\":", stream);
    write_string(stream, show_why(slice->journey, slice->hop));
    fputs("}}", stream);
}

/* An arrow leads from slice to slice of one packet: s begins it, t continues it, f ends it. */
static void write_arrow(FILE *stream, const struct slice *slice, uint64_t start)
{
    const struct event *event = slice->journey->at[slice->hop];
    const char *phase = "t";

    if (event == journey_first(slice->journey))
        phase = "s";
    if (event == journey_last(slice->journey))
        phase = "f";
    fprintf(stream,
            ",\n{\"ph\":\"%s\",\"name\":\"packet\",\"cat\":\"packet\",\"id\":%zu,\"pid\":1,"
            "\"tid\":%d,\"ts\":%.3f%s}",
            phase, slice->number + 1, slice->track, (double)(slice->begin - start) / 1000,
            phase[0] == 'f' ? ",\"bp\":\"e\"" : "");
}

/* Name a track.  The viewer prints its number after the name. */
static void write_track(FILE *stream, int track)
{
    fputs(",\n{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":1,", stream);
    fprintf(stream, "\"tid\":%d,\"args\":{\"name\":", track);
    if (track == STAMP_TRACK)
        fputs("\"stamps without a CPU\"}}", stream);
    else
        fprintf(stream, "\"cpu%d\"}}", track - CPU_TRACK);
}

static void write_head(FILE *stream, const struct recording *recording, uint64_t start)
{
    fprintf(stream,
            "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"clock\":\"CLOCK_MONOTONIC\","
            "\"start_ns\":\"%" PRIu64 "\",\"recorded\":%s,\"kernel\":",
            start, recording->replayed ? "true" : "false");
    write_string(stream, recording->kernel);
    fputs("},\"traceEvents\":[\n", stream);
    fputs("{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":1,\"args\":{\"name\":\"CPUs\"}}",
          stream);
}

bool show_json(FILE *stream, const struct journeys *journeys)
{
    const struct recording *recording = journeys->list->recording;
    struct slice *list = calloc(journeys->count * HOPS * 2 + 1, sizeof *list), *end = list;
    uint64_t start = recording->count > 0 ? recording->events[0].ns : 0;

    if (list == NULL)
        return false;
    for (size_t i = 0; i < journeys->count; i++)
        for (const struct journey *leg = &journeys->list[i]; leg != NULL; leg = leg->reply)
            for (int hop = 0; hop < HOPS; hop++)
                if (journey_is_step(leg, hop))
                    *end++ = slice_of(leg, i, hop);
    qsort(list, (size_t)(end - list), sizeof *list, by_track);
    write_head(stream, recording, start);
    for (struct slice *slice = list, *next; slice < end; slice = next) {
        next = slice + 1;
        /* Slices of one track must not overlap, but the packets of a batch do. */
        if (next < end && slice->track == next->track && slice->end > next->begin)
            slice->end = next->begin;
        if (slice == list || slice[-1].track != slice->track)
            write_track(stream, slice->track);
        write_slice(stream, slice, start);
        write_arrow(stream, slice, start);
    }
    fputs("\n]}\n", stream);
    free(list);
    return fflush(stream) == 0 && !ferror(stream);
}
