/* The kernel's tracepoints, read through an instance of our own: the global buffer is never
 * touched.
 *
 * An instance is a directory that is made under tracing/instances.  It has its own rings, filters
 * and switches, and goes away with rmdir.  The events are read in binary, a page at a time: the
 * text of trace_pipe costs 15 to 40 times the CPU, and at full load loses events.  Where a field
 * stands in an event is said by the event's own format file, so no kernel's version is ever asked
 * for. */
#define _GNU_SOURCE

#include "tracefs.h"

#ifndef __linux__

struct tracer *tracer_open(unsigned packets, char *why, size_t size)
{
    (void)packets;
    snprintf(why, size, "Tracepoints are a thing of Linux, and this is another system.");
    return NULL;
}
bool tracer_ask(struct tracer *tracer, const struct subject *subject)
{
    (void)tracer;
    (void)subject;
    return false;
}
bool tracer_start(struct tracer *tracer)
{
    (void)tracer;
    return false;
}
void tracer_stop(struct tracer *tracer)
{
    (void)tracer;
}
bool tracer_drain(struct tracer *tracer, struct recording *recording)
{
    (void)tracer;
    (void)recording;
    return false;
}
void tracer_account(struct tracer *tracer, struct recording *recording)
{
    (void)tracer;
    (void)recording;
}
void tracer_close(struct tracer *tracer)
{
    (void)tracer;
}

#else

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "echo-trace-"
#define MOST_CPUS 8192    /* the most that Linux has */
#define EVENT_TYPES 16384 /* the kernel numbers its events from 1; a table finds ours at once */
#define PATH_SIZE 256
#define MOST_PAGES 4096 /* of one ring, at a time: 16 MiB */
#define PAGE_ROOM 65536 /* a page of a ring, with room for kernels whose pages are large */

/* Where one slot's value stands in an event. */
struct place {
    unsigned offset, size;
    enum slot slot; /* SLOTS: the name */
    bool is_signed, is_data_loc;
};

struct decoder {
    struct place place[FIELDS];
    unsigned places;
};

struct tracer {
    char instances[PATH_SIZE / 2];
    char path[PATH_SIZE];
    int cpus;
    int ring[MOST_CPUS]; /* trace_pipe_raw; -1: no such CPU */
    int tracing_on;
    uint64_t asked;
    uint8_t source_of[EVENT_TYPES]; /* the row in sources[] + 1; 0: not ours */
    struct decoder decoder[64];
    unsigned commit_size, data_offset, page_size;
    unsigned char page[PAGE_ROOM];
};

/* ---- small files ---- */

/* As one line more: with O_TRUNC, kprobe_events would lose everybody's probes. */
static bool write_file(const char *folder, const char *name, const char *text)
{
    char path[PATH_SIZE * 3];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd == -1)
        return false;
    bool done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

/* The beginning of a file, as a string.  False: it cannot be read. */
static bool read_file(const char *folder, const char *name, char *text, size_t size)
{
    char path[PATH_SIZE * 2];
    size_t length = 0;
    ssize_t got = 1;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return false;
    while (got > 0 && length < size - 1) {
        got = read(fd, text + length, size - 1 - length);
        length += got > 0 ? (size_t)got : 0;
    }
    text[length] = '\0';
    close(fd);
    return got >= 0;
}

/* ---- the instance: made, named after us, and removed ---- */

/* When a process began, in ticks since boot: with its number that is a name which no later process
 * can have.  0: there is no such process. */
static unsigned long long began(long pid)
{
    char folder[64], text[1024];
    unsigned long long ticks = 0;

    snprintf(folder, sizeof folder, "/proc/%ld", pid);
    if (!read_file(folder, "stat", text, sizeof text))
        return 0;
    const char *field = strrchr(text, ')'); /* the second field; the start is the 22nd */
    for (int i = 2; field != NULL && i < 22; i++)
        field = strchr(field + 1, ' ');
    if (field != NULL)
        ticks = strtoull(field + 1, NULL, 10);
    return ticks;
}

/* Probes are made for the whole kernel, beside the instances, and have to be named when they go. */
static void remove_probes(const char *instances)
{
    char folder[PATH_SIZE * 2], text[PATH_SIZE];

    snprintf(folder, sizeof folder, "%s/..", instances);
    for (size_t i = 0; i < source_count; i++) {
        if (sources[i].probe == NULL)
            continue;
        snprintf(text, sizeof text, "-:%s", sources[i].event);
        write_file(folder, "kprobe_events", text); /* in use by another run: then it removes it */
    }
}

/* A run that was killed by SIGKILL could not clean up.  We do it for all whose process is gone. */
static void remove_leftovers(const char *instances)
{
    char path[PATH_SIZE * 2];
    long pid;
    unsigned long long ticks;
    DIR *folder = opendir(instances);

    if (folder == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (sscanf(entry->d_name, PREFIX "%ld-%llu", &pid, &ticks) != 2 || began(pid) == ticks)
            continue;
        snprintf(path, sizeof path, "%s/%s", instances, entry->d_name);
        if (rmdir(path) == 0)
            remove_probes(instances);
    }
    closedir(folder);
}

static const char *missing(int error, bool mounted)
{
    bool denied = error == EACCES || error == EPERM;

    if (getuid() != 0 && (denied || !mounted))
        return "The kernel's tracepoints are for root, and you are not root.";
    if (denied)
        return "You are root, and still may not use the kernel's tracepoints: this looks like a "
               "container.";
    if (!mounted)
        return "tracefs, where the kernel's tracepoints are, cannot be mounted: this kernel was "
               "built without it.";
    if (error == ENOENT)
        return "tracefs is mounted and holds no events: the kernel is locked down "
               "(lockdown=confidentiality), or was built without them.";
    return "The kernel does not let us make a trace instance.";
}

#define TRACEFS "/sys/kernel/tracing"

/* Root may mount it.  We do that in a mount namespace of our own: nobody else sees it, and it goes
 * when we do.  A slave: what others mount still reaches us, and nothing of ours reaches them. */
static bool mount_for_us(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) == 0 &&
           mount("tracefs", TRACEFS, "tracefs", 0, NULL) == 0;
}

/* Where tracefs is.  A folder that exists and is on its parent's file system is a place for it,
 * without it.  NULL: it is not mounted, and we may not, errno says why. */
static const char *find_tracefs(void)
{
    static const char *const paths[] = {TRACEFS, "/sys/kernel/debug/tracing"};
    struct stat in, above;

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char parent[PATH_SIZE];
        snprintf(parent, sizeof parent, "%s/..", paths[i]);
        if (stat(paths[i], &in) == -1)
            continue;
        if (i == 1 || stat(parent, &above) == -1 || in.st_dev != above.st_dev)
            return paths[i];
    }
    return mount_for_us() ? TRACEFS : NULL;
}

static bool make_instance(struct tracer *tracer, char *why, size_t size)
{
    const char *tracefs = find_tracefs();
    int error = errno;

    snprintf(tracer->instances, sizeof tracer->instances, "%s/instances",
             tracefs != NULL ? tracefs : "");
    if (tracefs != NULL)
        remove_leftovers(tracer->instances);
    snprintf(tracer->path, sizeof tracer->path, "%s/" PREFIX "%ld-%llu", tracer->instances,
             (long)getpid(), began(getpid()));
    if (tracefs != NULL && mkdir(tracer->path, 0700) == 0)
        return true;
    snprintf(why, size, "%s", missing(tracefs != NULL ? errno : error, tracefs != NULL));
    tracer->path[0] = '\0';
    return false;
}

/* ---- what stands where ---- */

/* A number after "label:" in a line. */
static unsigned number_after(const char *line, const char *label)
{
    const char *found = strstr(line, label);

    return found != NULL ? (unsigned)strtoul(found + strlen(label), NULL, 10) : 0;
}

/* Does a line "	field:int fd;	offset:16; ..." declare this field?  The name is the last
 * word, before the semicolon or the size of an array. */
static bool declares(const char *line, const char *name)
{
    const char *end = strchr(line, ';');
    size_t length = strlen(name);

    if (strncmp(line, "\tfield:", 7) != 0 || end == NULL)
        return false;
    const char *bracket = memchr(line, '[', (size_t)(end - line));
    if (bracket != NULL && bracket[1] != ']')
        end = bracket;
    return (size_t)(end - line) > length && strncmp(end - length, name, length) == 0 &&
           end[-(ptrdiff_t)length - 1] == ' ';
}

static void add_place(struct decoder *decoder, const char *line, enum slot slot)
{
    struct place place = {.offset = number_after(line, "offset:"),
                          .size = number_after(line, "size:"),
                          .slot = slot,
                          .is_signed = number_after(line, "signed:") == 1,
                          .is_data_loc = strncmp(line, "\tfield:__data_loc", 17) == 0};

    if (decoder->places < FIELDS)
        decoder->place[decoder->places++] = place;
}

/* Learn one event's number and fields.  False: this kernel has no such event. */
static bool learn(struct tracer *tracer, size_t source)
{
    char name[PATH_SIZE], text[16384], *rest = NULL;
    unsigned id = 0;

    snprintf(name, sizeof name, "events/%s/format", sources[source].event);
    if (!read_file(tracer->path, name, text, sizeof text))
        return false;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "ID: ", 4) == 0)
            id = (unsigned)strtoul(line + 4, NULL, 10);
        for (unsigned i = 0; i < FIELDS && sources[source].field[i].name != NULL; i++)
            if (declares(line, sources[source].field[i].name))
                add_place(&tracer->decoder[source], line, sources[source].field[i].slot);
    }
    if (id == 0 || id >= EVENT_TYPES)
        return false;
    tracer->source_of[id] = (uint8_t)(source + 1);
    return true;
}

/* How a page of a ring begins. */
static bool learn_page(struct tracer *tracer)
{
    char text[4096], *rest = NULL;

    if (!read_file(tracer->path, "events/header_page", text, sizeof text))
        return false;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strstr(line, " commit;") != NULL)
            tracer->commit_size = number_after(line, "size:");
        if (strstr(line, " data;") != NULL) {
            tracer->data_offset = number_after(line, "offset:");
            tracer->page_size = tracer->data_offset + number_after(line, "size:");
        }
    }
    return (tracer->commit_size == 4 || tracer->commit_size == 8) && tracer->data_offset >= 12 &&
           tracer->page_size > tracer->data_offset && tracer->page_size <= PAGE_ROOM;
}

/* ---- what to ask for ---- */

#define FILTER_SIZE 2048

/* A filter is a string in the kernel's own small language.  A quote in a name would end it, so such
 * a name becomes a pattern, in which ? is any character. */
static void add_term(char *filter, const char *field, const char *name)
{
    char safe[NAME_SIZE];
    size_t length = strlen(filter);
    bool pattern = strpbrk(name, "\"\\") != NULL;

    if (name[0] == '\0')
        return;
    snprintf(safe, sizeof safe, "%s", name);
    for (char *at = safe; pattern && *at != '\0'; at++)
        if (strchr("\"\\*[", *at) != NULL)
            *at = '?';
    snprintf(filter + length, FILTER_SIZE - length, "%s%s%s\"%s\"", length > 0 ? "||" : "", field,
             pattern ? "~" : "==", safe);
}

/* The server's threads: `task` is the field with a thread's number, `name` the one with its name.
 */
static void add_threads(const struct subject *subject, char *filter, const char *task,
                        const char *name)
{
    for (size_t i = 0; i < MOST_TASKS && subject->tasks[i] != 0; i++) {
        size_t length = strlen(filter);
        snprintf(filter + length, FILTER_SIZE - length, "%s%s==%d", length > 0 ? "||" : "", task,
                 subject->tasks[i]);
    }
    for (size_t i = 0; i < MOST_NAMES && subject->tasks[0] == 0; i++)
        add_term(filter, name, subject->names[i]);
}

static void build_filter(const struct subject *subject, enum filter kind, char *filter)
{
    char threads[FILTER_SIZE - 64] = "";

    filter[0] = '\0';
    switch (kind) {
    case FOR_ALL:
    case FOR_CARD:
        break;
    case FOR_CARD_RX:
    case FOR_NET_RX:
        snprintf(filter, FILTER_SIZE, "vec==3");
        break;
    case FOR_PORT:
        snprintf(filter, FILTER_SIZE, "sport==%u&&data_len>0", subject->port);
        break;
    case FOR_TCP:
        snprintf(filter, FILTER_SIZE, "protocol==6");
        break;
    case FOR_CLIENT:
        snprintf(filter, FILTER_SIZE, "common_pid==%d", subject->client);
        break;
    case FOR_DEVICE:
        for (size_t i = 0; i < DEVICES; i++)
            add_term(filter, "name", subject->devices[i]);
        break;
    case FOR_SERVER: /* and not us: what we read would bring us more to read */
        add_threads(subject, threads, "common_pid", "comm");
        if (threads[0] != '\0')
            snprintf(filter, FILTER_SIZE, "(%s)&&common_pid!=%ld", threads, (long)getpid());
        break;
    case FOR_WOKEN:
        add_threads(subject, filter, "pid", "comm");
        break;
    case FOR_SWITCHED:
        add_threads(subject, filter, "next_pid", "next_comm");
        add_threads(subject, filter, "prev_pid", "prev_comm");
        break;
    }
}

/* Let the events of one kind be written, of our subject only.  Without its filter an event would be
 * written for the whole machine, our own reading included: then we do without it. */
static bool enable(const struct tracer *tracer, const struct source *source,
                   const struct subject *subject)
{
    char folder[PATH_SIZE * 2], filter[FILTER_SIZE];
    bool for_all = source->filter == FOR_ALL || source->filter == FOR_CARD;

    snprintf(folder, sizeof folder, "%s/events/%s", tracer->path, source->event);
    build_filter(subject, source->filter, filter);
    if (!for_all && (filter[0] == '\0' || !write_file(folder, "filter", filter)))
        return false;
    return write_file(folder, "enable", "1");
}

/* An event that cannot tell us anything is not asked for: each costs the one who is traced. */
static bool concerns(const struct subject *subject, enum filter filter)
{
    if (filter == FOR_CLIENT)
        return subject->client != 0;
    return (filter != FOR_CARD && filter != FOR_CARD_RX) || subject->card;
}

static bool make_probe(const struct tracer *tracer, size_t source)
{
    char folder[PATH_SIZE * 2], text[PATH_SIZE];

    snprintf(folder, sizeof folder, "%s/../..", tracer->path);
    snprintf(text, sizeof text, "p:%s %s", sources[source].event, sources[source].probe);
    return write_file(folder, "kprobe_events", text) || errno == EEXIST;
}

/* A probe stands in for a tracepoint that is missing. */
static bool has_tracepoint(const struct tracer *tracer, enum hop kind)
{
    for (size_t i = 0; i < source_count; i++)
        if (sources[i].kind == kind && (tracer->asked >> i & 1) != 0)
            return true;
    return false;
}

bool tracer_ask(struct tracer *tracer, const struct subject *subject)
{
    for (size_t i = 0; i < source_count; i++) {
        if (sources[i].probe != NULL &&
            (has_tracepoint(tracer, sources[i].kind) || !make_probe(tracer, i)))
            continue;
        if (strchr(sources[i].event, '/') == NULL || !learn(tracer, i))
            continue;
        if (!concerns(subject, sources[i].filter))
            continue;
        if (enable(tracer, &sources[i], subject))
            tracer->asked |= (uint64_t)1 << i;
    }
    return tracer->asked != 0;
}

/* Room for what the packets will cause, about 4 KiB each with their echo, and as much again; and
 * for what others send meanwhile. */
static void size_rings(const struct tracer *tracer, unsigned packets)
{
    char text[32];
    unsigned kib = 2048 + packets * 8;

    snprintf(text, sizeof text, "%u", kib < 16384 ? kib : 16384);
    write_file(tracer->path, "buffer_size_kb", text);
}

/* One for each CPU that has a folder: some C libraries count only those that we may run on. */
static void open_rings(struct tracer *tracer)
{
    char path[PATH_SIZE * 2];
    int cpu;

    snprintf(path, sizeof path, "%s/per_cpu", tracer->path);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (sscanf(entry->d_name, "cpu%d", &cpu) != 1 || cpu < 0 || cpu >= MOST_CPUS)
            continue;
        while (tracer->cpus <= cpu)
            tracer->ring[tracer->cpus++] = -1;
        snprintf(path, sizeof path, "%s/per_cpu/cpu%d/trace_pipe_raw", tracer->path, cpu);
        tracer->ring[cpu] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
    closedir(folder);
}

/* In a PID namespace (a container, WSL) we know threads by other numbers than the events do, and
 * would take the instances of others for left behind. */
#define FIRST_PID_SPACE 0xeffffffcU /* PROC_PID_INIT_INO, the same in every kernel since 3.8 */
static bool numbers_are_ours(void)
{
    struct stat space;

    return stat("/proc/self/ns/pid", &space) == -1 || space.st_ino == FIRST_PID_SPACE;
}

struct tracer *tracer_open(unsigned packets, char *why, size_t size)
{
    if (!numbers_are_ours()) {
        snprintf(why, size,
                 "This is a PID namespace, as in a container: the kernel's events name threads by "
                 "numbers that are not known here.");
        return NULL;
    }
    struct tracer *tracer = calloc(1, sizeof *tracer);

    if (tracer == NULL) {
        snprintf(why, size, "There is no memory.");
        return NULL;
    }
    tracer->tracing_on = -1;
    if (!make_instance(tracer, why, size)) {
        free(tracer);
        return NULL;
    }
    write_file(tracer->path, "tracing_on", "0");
    bool usable = write_file(tracer->path, "trace_clock", "mono") && learn_page(tracer);
    size_rings(tracer, packets);
    open_rings(tracer);
    if (!usable) {
        snprintf(why, size, "The kernel's trace instance is not as we know it.");
        tracer_close(tracer);
        return NULL;
    }
    return tracer;
}

bool tracer_start(struct tracer *tracer)
{
    return write_file(tracer->path, "tracing_on", "1");
}

void tracer_stop(struct tracer *tracer)
{
    write_file(tracer->path, "tracing_on", "0");
}

void tracer_close(struct tracer *tracer)
{
    if (tracer == NULL)
        return;
    for (int cpu = 0; cpu < tracer->cpus; cpu++)
        if (tracer->ring[cpu] != -1)
            close(tracer->ring[cpu]);
    write_file(tracer->path, "events/enable", "0");
    rmdir(tracer->path);
    remove_probes(tracer->instances);
    free(tracer);
}

/* ---- reading ---- */

/* An unsigned number of 1, 2, 4 or 8 bytes, in this machine's order. */
static uint64_t number_at(const unsigned char *bytes, unsigned size)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;

    switch (size) {
    case 1:
        return bytes[0];
    case 2:
        memcpy(&two, bytes, sizeof two);
        return two;
    case 4:
        memcpy(&four, bytes, sizeof four);
        return four;
    case 8:
        memcpy(&eight, bytes, sizeof eight);
        return eight;
    default:
        return 0;
    }
}

static uint64_t signed_number(uint64_t value, unsigned size)
{
    if (size >= 8 || (value >> (size * 8 - 1) & 1) == 0)
        return value;
    return value | UINT64_MAX << (size * 8);
}

/* A name: in its place, or where its place says ("__data_loc": size and offset, 16 bits each). */
static void decode_name(struct event *event, const struct place *place, const unsigned char *data,
                        unsigned length)
{
    unsigned offset = place->offset, size = place->size;

    if (place->is_data_loc) {
        uint64_t where = number_at(data + offset, 4);
        offset = (unsigned)(where & 0xffff);
        size = (unsigned)(where >> 16 & 0xffff);
    }
    if (offset > length || size > length - offset)
        return;
    if (size > sizeof event->name - 1)
        size = sizeof event->name - 1;
    memcpy(event->name, data + offset, size);
    event->name[size] = '\0';
    for (char *at = event->name; *at != '\0'; at++) /* any user may name his threads as he likes */
        if (*at < ' ' || *at > '~')
            *at = '?';
}

static void decode_places(const struct tracer *tracer, struct event *event,
                          const unsigned char *data, unsigned length)
{
    const struct decoder *decoder = &tracer->decoder[event->source];

    for (unsigned i = 0; i < decoder->places; i++) {
        const struct place *place = &decoder->place[i];
        if (place->offset + place->size > length)
            continue;
        if (place->slot == SLOTS) {
            decode_name(event, place, data, length);
            continue;
        }
        uint64_t value = number_at(data + place->offset, place->size);
        if (place->is_signed)
            value = signed_number(value, place->size);
        event_set(event, place->slot, value);
    }
}

/* An event begins with its number, its flags, and who was on the CPU: the common fields, which have
 * stood in these eight bytes in every kernel. */
static bool decode(const struct tracer *tracer, int cpu, uint64_t ns, const unsigned char *data,
                   unsigned length, struct recording *recording)
{
    struct event event = {.ns = ns, .cpu = (int16_t)cpu, .context = 't'};

    if (length < 8)
        return true;
    unsigned id = (unsigned)number_at(data, 2);
    if (id >= EVENT_TYPES || tracer->source_of[id] == 0)
        return true;
    event.source = (uint8_t)(tracer->source_of[id] - 1);
    if ((data[2] & 0x10) != 0) /* TRACE_FLAG_SOFTIRQ */
        event.context = 's';
    if ((data[2] & 0x08) != 0) /* TRACE_FLAG_HARDIRQ */
        event.context = 'h';
    event.pid = (int32_t)number_at(data + 4, 4);
    decode_places(tracer, &event, data, length);
    return recording_add(recording, &event);
}

/* One record of a page: its length in all, and where its data are.  The first 32 bits are a type of
 * 5 bits and the time since the last record, 27 bits.  Types 1 to 28 are the length in words; 0: it
 * stands in the next word; 29: nothing, skip it; 30 and 31: a time that needs more bits. */
struct record {
    unsigned length, data, data_length;
    bool is_event, is_end;
};

static struct record parse_record(const unsigned char *at, unsigned left, uint64_t *time)
{
    struct record record = {.length = 8, .data = 4};
    uint32_t head = (uint32_t)number_at(at, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    uint32_t type = head >> 27, delta = head & 0x7ffffff;
#else
    uint32_t type = head & 31, delta = head >> 5;
#endif
    uint64_t word = left >= 8 ? number_at(at + 4, 4) : 0;

    if (type == 30) {
        *time += delta + (word << 27);
    } else if (type == 31) { /* 59 bits of it; the rest is as it was */
        *time = (*time & ~((UINT64_C(1) << 59) - 1)) | (delta + (word << 27));
    } else if (type == 29) {
        record.is_end = delta == 0;
        *time += delta;
        record.length = 4 + (unsigned)word;
    } else {
        *time += delta;
        record.is_event = true;
        record.data = type == 0 ? 8 : 4;
        record.length = 4 + (type == 0 ? (unsigned)word : (unsigned)type * 4);
        record.data_length = record.length - record.data;
    }
    if (record.length < record.data || record.length > left)
        record.is_end = true;
    return record;
}

static bool decode_page(const struct tracer *tracer, int cpu, unsigned got,
                        struct recording *recording)
{
    const unsigned char *page = tracer->page;
    uint64_t time = number_at(page, 8);
    /* the upper bits tell of lost events, which the kernel counts in `stats` as well */
    unsigned used = (unsigned)(number_at(page + 8, tracer->commit_size) & 0xfffff);

    if (tracer->data_offset + used > got)
        used = got - tracer->data_offset;
    for (unsigned at = 0; at + 4 <= used;) {
        const unsigned char *bytes = page + tracer->data_offset + at;
        struct record record = parse_record(bytes, used - at, &time);
        if (record.is_end)
            break;
        if (record.is_event &&
            !decode(tracer, cpu, time, bytes + record.data, record.data_length, recording))
            return false;
        at += record.length;
    }
    return true;
}

bool tracer_drain(struct tracer *tracer, struct recording *recording)
{
    for (int cpu = 0; cpu < tracer->cpus; cpu++) {
        ssize_t got;
        unsigned left = MOST_PAGES; /* others may write as fast as we read */
        while (tracer->ring[cpu] != -1 && left-- > 0 &&
               (got = read(tracer->ring[cpu], tracer->page, tracer->page_size)) >
                   (ssize_t)tracer->data_offset)
            if (!decode_page(tracer, cpu, (unsigned)got, recording))
                return false;
    }
    return true;
}

void tracer_account(struct tracer *tracer, struct recording *recording)
{
    static const char *const counts[] = {"\noverrun: ", "\ncommit overrun: ", "\ndropped events: "};
    char name[64], text[1024];

    recording->can |= tracer->asked;
    for (int cpu = 0; cpu < tracer->cpus; cpu++) {
        snprintf(name, sizeof name, "per_cpu/cpu%d/stats", cpu);
        if (!read_file(tracer->path, name, text, sizeof text))
            continue;
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            recording->lost += number_after(text, counts[i]);
    }
}

#endif
