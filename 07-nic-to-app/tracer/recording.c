/* Recordings: a run of the tracer as text, which can be replayed without root and without Linux.
 *
 *     echo-journey 1                       the format and its version
 *     kernel 6.18.44 x86_64                the kernel of the recorded run
 *     server 04-epoll/server               the program that was traced
 *     via lo
 *     port 5566
 *     peer 40000                           the client's port, if the replies were traced, too
 *     skip 0                               how many packets at the beginning do not count
 *     start 12170156193000                 CLOCK_MONOTONIC in ns at time 0 below
 *     note the kernel held 768 bytes       a sentence for the reader; there may be several
 *     lost 0                               how many events the kernel had no room for
 *     thread 17 ksoftirqd/0                a thread of the kernel that received packets
 *     asked sys_enter_sendto net_dev_queue the events that the tracer asked for
 *     unavailable ep_poll_callback         those that this kernel or server lacks, or: none
 *     0 1 29765 t sys_enter_sendto fd=3 len=12
 *     25 1 29765 t net_dev_queue skb=1 len=78 name=lo
 *     end 2                                the number of events; without it, the file is cut off
 *
 * A line that begins with a digit is an event: ns since time 0, CPU (-1: not known), thread,
 * context (t: thread, s: software interrupt, h: hardware interrupt), event, and its values.  In
 * skb=1 the number is not an address: kernel addresses are confidential, so each is replaced by a
 * number, in order of appearance.  A recording without the line "unavailable" is an older one. */
#include "journey.h"

#include <sys/utsname.h>

#define HEADER "echo-journey 1"
#define LINE_SIZE 2048

void recording_add(struct recording *recording, const struct event *event)
{
    if (recording->count == recording->room) {
        size_t larger = recording->room * 2 + 1024;
        if (larger > KEPT_EVENTS && recording->room < KEPT_EVENTS)
            larger = KEPT_EVENTS + 4096; /* the last page may exceed the limit */
        struct event *events = realloc(recording->events, larger * sizeof *events);
        if (events == NULL) {
            recording->lost++;
            return;
        }
        recording->events = events;
        recording->room = larger;
    }
    recording->events[recording->count] = *event;
    recording->events[recording->count].order = (uint32_t)recording->count;
    recording->kinds |= 1U << event_kind(event);
    recording->count++;
}

struct event recording_stamp(struct recording *recording, const char *name, uint64_t ns, int pid,
                             int cpu)
{
    int type = event_type_find(name);

    recording->asked |= (uint64_t)1 << type;
    return (struct event){
        .ns = ns, .pid = pid, .cpu = (int16_t)cpu, .type = (uint8_t)type, .context = 't'};
}

void recording_drop_before(struct recording *recording, uint64_t ns)
{
    size_t kept = 0;

    for (size_t i = 0; i < recording->count; i++)
        if (recording->events[i].ns >= ns) {
            recording->events[kept] = recording->events[i];
            recording->events[kept].order = (uint32_t)kept;
            kept++;
        }
    recording->count = recording->sorted = kept;
}

const char *recording_note(struct recording *recording, const char *format, ...)
{
    va_list values;
    size_t i = 0;

    while (i < NOTES - 1 && recording->note[i][0] != '\0')
        i++;
    va_start(values, format);
    vsnprintf(recording->note[i], NOTE_SIZE, format, values);
    va_end(values);
    return recording->note[i];
}

void recording_add_thread(struct recording *recording, int pid, const char *name)
{
    size_t i = 0;

    while (i < MAX_THREADS && recording->thread[i].pid != 0 && recording->thread[i].pid != pid)
        i++;
    if (i == MAX_THREADS)
        return;
    recording->thread[i].pid = pid;
    snprintf(recording->thread[i].name, NAME_SIZE, "%.15s", name);
}

const char *recording_thread(const struct recording *recording, int pid)
{
    for (size_t i = 0; i < MAX_THREADS && recording->thread[i].pid != 0; i++)
        if (recording->thread[i].pid == pid)
            return recording->thread[i].name;
    return NULL;
}

static int earlier(const void *left, const void *right)
{
    const struct event *a = left, *b = right;

    if (a->ns != b->ns)
        return a->ns < b->ns ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

/* The CPUs' rings are read one by one, so what is new may be older than what was sorted. */
void recording_sort(struct recording *recording)
{
    size_t from = recording->sorted;
    uint64_t first = UINT64_MAX;

    for (size_t i = from; i < recording->count; i++)
        first = recording->events[i].ns < first ? recording->events[i].ns : first;
    while (from > 0 && recording->events[from - 1].ns >= first)
        from--;
    if (from < recording->count)
        qsort(recording->events + from, recording->count - from, sizeof *recording->events,
              earlier);
    recording->sorted = recording->count;
}

/* Replace the addresses in this slot by numbers, in order of first appearance.  The hash table is
 * at most half full; in it, address 0 means that an entry is free. */
static bool number_addresses(struct recording *recording, enum slot slot)
{
    size_t size = recording->count * 2 + 1;
    uint64_t last = 0, (*table)[2] = calloc(size, sizeof *table); /* address, number */

    for (size_t i = 0; table != NULL && i < recording->count; i++) {
        struct event *event = &recording->events[i];
        uint64_t address = event->value[slot];
        size_t at = (size_t)((address >> 4) * 0x9e3779b97f4a7c15U) % size;
        if (!event_has(event, slot) || address == 0)
            continue;
        while (table[at][0] != 0 && table[at][0] != address)
            at = (at + 1) % size;
        if (table[at][0] == 0) {
            table[at][0] = address;
            table[at][1] = ++last;
        }
        event->value[slot] = table[at][1];
    }
    free(table);
    return table != NULL;
}

void recording_lacks_rest(struct recording *recording, enum provider provider)
{
    for (size_t i = 0; i < event_type_count; i++)
        if (event_types[i].provider == provider && (recording->asked >> i & 1U) == 0)
            recording->unavailable |= (uint64_t)1 << i;
}

bool recording_finish(struct recording *recording)
{
    struct utsname system;

    uname(&system); /* fails only for a bad address */
    snprintf(recording->kernel, sizeof recording->kernel, "%.40s %.20s", system.release,
             system.machine);
    recording->lists_unavailable = true;
    if (recording->count == 0)
        return true;
    recording_sort(recording);
    for (size_t i = 0; i < recording->count; i++)
        recording->events[i].order = (uint32_t)i;
    recording->start = recording->events[0].ns;
    return number_addresses(recording, SLOT_SKB) && number_addresses(recording, SLOT_SOCK);
}

/* ---- writing ---- */

static void write_event(const struct event *event, uint64_t start, FILE *stream)
{
    fprintf(stream, "%" PRIu64 " %d %d %c %s", event->ns - start, event->cpu, (int)event->pid,
            event->context, event_label(event));
    for (unsigned slot = 0; slot < SLOTS_RECORDED; slot++)
        if (event_has(event, (enum slot)slot))
            fprintf(stream, " %s=%" PRId64, slot_names[slot], (int64_t)event->value[slot]);
    if (event->name[0] != '\0')
        fputs(" name=", stream);
    for (const char *at = event->name; *at != '\0'; at++) /* one word: a space would end it */
        fputc(*at > ' ' && *at < 127 ? *at : '_', stream);
    fputc('\n', stream);
}

static void write_types(uint64_t types, FILE *stream)
{
    for (size_t i = 0; i < event_type_count; i++)
        if ((types >> i & 1U) != 0)
            fprintf(stream, " %s", event_type_name(i));
}

bool recording_write(const struct recording *recording, FILE *stream)
{
    fprintf(stream,
            "%s\nkernel %s\nserver %s\nvia %s\nport %u\nskip %u\nstart %" PRIu64 "\nlost %" PRIu64,
            HEADER, recording->kernel, recording->server, vias[recording->via].name,
            recording->port, recording->skip, recording->start, recording->lost);
    if (recording->peer != 0)
        fprintf(stream, "\npeer %u", recording->peer);
    for (size_t i = 0; i < NOTES && recording->note[i][0] != '\0'; i++)
        fprintf(stream, "\nnote %s", recording->note[i]);
    for (size_t i = 0; i < MAX_THREADS && recording->thread[i].pid != 0; i++)
        fprintf(stream, "\nthread %d %s", recording->thread[i].pid, recording->thread[i].name);
    fputs("\nasked", stream);
    write_types(recording->asked, stream);
    if (recording->lists_unavailable) {
        fputs(recording->unavailable == 0 ? "\nunavailable none" : "\nunavailable", stream);
        write_types(recording->unavailable, stream);
    }
    fputc('\n', stream);
    for (size_t i = 0; i < recording->count; i++)
        write_event(&recording->events[i], recording->start, stream);
    fprintf(stream, "end %zu\n", recording->count);
    return fflush(stream) == 0 && !ferror(stream);
}

/* ---- reading; nothing in the file is trusted ---- */

struct reader {
    struct recording *recording;
    char *problem;
    size_t size;
    unsigned line;
    bool ended;
    char *rest; /* of the line */
};

static char *next_word(struct reader *reader)
{
    return strtok_r(NULL, " ", &reader->rest);
}

static bool reject(struct reader *reader, const char *what, const char *text)
{
    snprintf(reader->problem, reader->size, "line %u: %s%s%.40s%s", reader->line, what,
             text != NULL ? " \"" : "", text != NULL ? text : "", text != NULL ? "\"" : "");
    return false;
}

static bool to_number(const char *text, int64_t least, int64_t most, int64_t *number)
{
    char *end;

    if (text == NULL || *text == '\0')
        return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < least || value > most)
        return false;
    *number = value;
    return true;
}

/* A word such as skb=1 sets a slot, name=lo sets the event's name.  False: it is neither. */
static bool read_value(struct event *event, char *word)
{
    char *value = strchr(word, '=');
    int64_t number;

    if (value == NULL)
        return false;
    *value++ = '\0';
    if (strcmp(word, "name") == 0) {
        snprintf(event->name, sizeof event->name, "%s", value);
        return true;
    }
    for (unsigned slot = 0; slot < SLOTS_RECORDED; slot++)
        if (strcmp(word, slot_names[slot]) == 0 &&
            to_number(value, INT64_MIN, INT64_MAX, &number)) {
            event_set(event, (enum slot)slot, (uint64_t)number);
            return true;
        }
    return false;
}

static bool read_event(struct reader *reader)
{
    struct recording *recording = reader->recording;
    int64_t ns, cpu, pid;
    const char *word = next_word(reader);

    if (!to_number(word, 0, INT64_MAX / 4, &ns))
        return reject(reader, "it does not begin with a time:", word);
    if (!to_number(next_word(reader), -1, INT16_MAX, &cpu) ||
        !to_number(next_word(reader), 0, INT32_MAX, &pid))
        return reject(reader, "the CPU and the thread must be numbers", NULL);
    const char *context = next_word(reader);
    if (context == NULL || context[1] != '\0' || strchr("tsh", context[0]) == NULL)
        return reject(reader, "the context must be t, s or h, not", context);
    word = next_word(reader);
    int type = word != NULL ? event_type_find(word) : -1;
    if (type == -1)
        return reject(reader, "unknown event:", word);
    struct event event = {.ns = (uint64_t)ns + recording->start,
                          .cpu = (int16_t)cpu,
                          .pid = (int32_t)pid,
                          .type = (uint8_t)type,
                          .context = context[0]};
    for (char *value; (value = next_word(reader)) != NULL;)
        if (!read_value(&event, value))
            return reject(reader, "an event has no such value:", value);
    if (recording->count > 0 && event.ns < recording->events[recording->count - 1].ns)
        return reject(reader, "its time is earlier than that of the line before", NULL);
    recording_add(recording, &event);
    return recording->count <= MAX_EVENTS || reject(reader, "too many events", NULL);
}

/* Set the bit of each event type that is named. */
static bool read_types(struct reader *reader, uint64_t *types)
{
    for (const char *name; (name = next_word(reader)) != NULL;) {
        int type = event_type_find(name);
        if (type == -1)
            return reject(reader, "unknown event:", name);
        *types |= (uint64_t)1 << type;
    }
    return true;
}

static bool read_thread(struct reader *reader)
{
    int64_t pid;

    if (!to_number(next_word(reader), 1, INT32_MAX, &pid) || *reader->rest == '\0')
        return reject(reader, "a thread needs a number and a name", NULL);
    recording_add_thread(reader->recording, (int)pid, reader->rest);
    return true;
}

static bool read_number(struct reader *reader, const char *key, const char *value)
{
    struct recording *recording = reader->recording;
    int64_t number;
    bool is_number = to_number(value, 0, INT64_MAX / 4, &number);

    if (strcmp(key, "end") == 0) {
        reader->ended = is_number && (size_t)number == recording->count;
        return reader->ended || reject(reader, "the number of events is not", value);
    }
    if (!is_number)
        return reject(reader, "not a number:", value);
    if (strcmp(key, "port") == 0 && number <= 65535)
        recording->port = (unsigned)number;
    else if (strcmp(key, "peer") == 0 && number <= 65535)
        recording->peer = (unsigned)number;
    else if (strcmp(key, "skip") == 0 && number <= MAX_EVENTS)
        recording->skip = (unsigned)number;
    else if (strcmp(key, "start") == 0 && recording->count == 0)
        recording->start = (uint64_t)number;
    else if (strcmp(key, "lost") == 0)
        recording->lost = (uint64_t)number;
    else
        return reject(reader, "unknown line:", key);
    return true;
}

/* A header line, "key value", or the last line, "end NUMBER". */
static bool read_header(struct reader *reader, char *line)
{
    struct recording *recording = reader->recording;
    char *value = strchr(line, ' ');

    if (value == NULL)
        return reject(reader, "unknown line:", line);
    *value++ = '\0';
    reader->rest = value;
    if (strcmp(line, "asked") == 0)
        return read_types(reader, &recording->asked);
    if (strcmp(line, "unavailable") == 0) {
        recording->lists_unavailable = true;
        return strcmp(value, "none") == 0 || read_types(reader, &recording->unavailable);
    }
    if (strcmp(line, "via") == 0) {
        int via = via_find(value);
        recording->via = via != -1 ? (enum via)via : VIA_LO;
        return via != -1 || reject(reader, "unknown path:", value);
    }
    if (strcmp(line, "thread") == 0)
        return read_thread(reader);
    if (strcmp(line, "kernel") == 0)
        snprintf(recording->kernel, sizeof recording->kernel, "%s", value);
    else if (strcmp(line, "note") == 0)
        recording_note(recording, "%s", value);
    else if (strcmp(line, "server") == 0)
        snprintf(recording->server, sizeof recording->server, "%s", value);
    else
        return read_number(reader, line, value);
    return true;
}

/* No control characters, which a terminal would obey; events in ASCII, for JSON and SVG. */
static bool is_text(const char *line)
{
    bool event = line[0] >= '0' && line[0] <= '9';

    for (; *line != '\0'; line++)
        if ((unsigned char)*line < ' ' || *line == 127 || (event && (unsigned char)*line > 127))
            return false;
    return true;
}

static bool read_line(struct reader *reader, char *line)
{
    if (!is_text(line))
        return reject(reader, "it is not text", NULL);
    if (reader->line == 1)
        return strcmp(line, HEADER) == 0 ||
               reject(reader, "a recording begins with \"" HEADER "\", not with", line);
    if (reader->ended)
        return reject(reader, "there is text after the end:", line);
    if (line[0] == '\0' || line[0] == '#')
        return true;
    reader->rest = line;
    return line[0] >= '0' && line[0] <= '9' ? read_event(reader) : read_header(reader, line);
}

bool recording_read(struct recording *recording, FILE *stream, char *problem, size_t size)
{
    struct reader reader = {.recording = recording, .problem = problem, .size = size};
    char line[LINE_SIZE];

    *recording = (struct recording){.replayed = true};
    while (fgets(line, sizeof line, stream) != NULL) {
        reader.line++;
        size_t length = strlen(line);
        if (length == 0 || line[length - 1] != '\n')
            return reject(&reader, "it is cut off, too long, or not text", NULL);
        line[length - 1] = '\0';
        if (length > 1 && line[length - 2] == '\r')
            return reject(&reader, "it ends in CR LF, as lines do on Windows; remove each CR",
                          NULL);
        if (!read_line(&reader, line))
            return false;
    }
    if (ferror(stream))
        return reject(&reader, strerror(errno), NULL);
    if (reader.line == 0)
        return reject(&reader, "it is empty", NULL);
    return reader.ended ||
           reject(&reader, "the recording is cut off: the line \"end\" is missing", NULL);
}
