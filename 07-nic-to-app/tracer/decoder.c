/* A page of a ring buffer in, events out: a pure function, which reads the page and the formats and
 * nothing else.
 *
 * A page begins with a time (8 bytes) and the number of bytes that are used.  The data are records,
 * whose first 32 bits are a type (5 bits) and the time since the last record (27 bits).
 *
 *     type 1 to 28    an event of so many words (4 bytes each)
 *     type 0          an event whose length, with that of the length word, is in the next word
 *     type 29         padding: the next word gives its length; with a time of 0, the page ends here
 *     type 30         a longer time since the last record: the next word holds the upper bits
 *     type 31         an absolute time, of which the two words hold the lower 59 bits
 *
 * See include/linux/ring_buffer.h in the kernel. */
#include "trace.h"

#define COMMON_FIELDS 8 /* bytes: the event's id, flags, preemption count and thread */
#define FLAG_HARDIRQ 0x08
#define FLAG_SOFTIRQ 0x10
/* Of the number of used bytes.  The upper bits flag lost events, and a count of them may follow the
 * data; the tracer reads that count from the file `stats` instead. */
#define USED_MASK 0xfffffU
#define BIG_END (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)

bool decoder_learn(struct decoder *decoder, size_t type, const struct event_format *format)
{
    if (format->id >= MAX_EVENT_IDS)
        return false;
    decoder->event[type] = *format;
    decoder->type_of[format->id] = (uint8_t)(type + 1);
    return true;
}

/* An unsigned number of 1, 2, 4 or 8 bytes, in this machine's byte order. */
static uint64_t number_at(const unsigned char *bytes, unsigned size)
{
    uint64_t value = 0;

    if (size > sizeof value)
        return 0;
    memcpy((unsigned char *)&value + (BIG_END ? sizeof value - size : 0), bytes, size);
    return value;
}

/* Read a name: from its place, or, for a __data_loc field, from where the value of that field
 * points (the size and the offset, 16 bits each). */
static void decode_name(struct event *event, const struct place *place, const unsigned char *data,
                        unsigned length)
{
    unsigned offset = place->offset, size = place->size;

    if (place->is_data_loc && size == 4) {
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
    for (char *at = event->name; *at != '\0'; at++) /* users may give threads any name */
        if (*at < ' ' || *at > '~')
            *at = '?';
}

uint64_t address_key(const unsigned char *bytes, size_t size)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    uint64_t half[2];

    if (size == 4)
        return number_at(bytes, 4);
    if (memcmp(bytes, mapped, sizeof mapped) == 0)
        return number_at(bytes + 12, 4);
    memcpy(half, bytes, sizeof half);
    if (half[0] == 0 && half[1] == 0)
        return 0;
    return (half[0] ^ half[1] * 0x9e3779b97f4a7c15U) | UINT64_C(1) << 63;
}

uint64_t address_of(const char *text)
{
    unsigned char bytes[16];
    char plain[INET6_ADDRSTRLEN];
    bool is_v6 = strchr(text, ':') != NULL;

    snprintf(plain, sizeof plain, "%.*s", (int)strcspn(text, is_v6 ? "%" : ""), text);
    if (inet_pton(is_v6 ? AF_INET6 : AF_INET, plain, bytes) != 1)
        return NO_ADDRESS;
    return address_key(bytes, is_v6 ? 16 : 4);
}

/* The size of a socket address: the family (2 bytes), the port (2), and the address, which in IPv6
 * comes after four more bytes.  Linux has the same number for each family on every machine. */
#define SOCKET_ADDRESS 28

static void decode_places(const struct event_format *format, struct event *event,
                          const unsigned char *data, unsigned length)
{
    for (unsigned i = 0; i < format->places; i++) {
        const struct place *place = &format->place[i];
        if (place->offset > length || place->size > length - place->offset)
            continue;
        if (place->slot == SLOT_NAME) {
            decode_name(event, place, data, length);
            continue;
        }
        const unsigned char *at = data + place->offset;
        uint64_t value = place->size != SOCKET_ADDRESS ? number_at(at, place->size)
                         : number_at(at, 2) == 10      ? address_key(at + 8, 16)
                                                       : address_key(at + 4, 4);
        if (place->is_signed && place->size < 8 && (value >> (place->size * 8 - 1) & 1) != 0)
            value |= UINT64_MAX << (place->size * 8);
        event_set(event, place->slot, value);
    }
}

/* The common fields have been the same eight bytes for many years. */
static void decode_event(const struct decoder *decoder, int cpu, uint64_t ns,
                         const unsigned char *data, unsigned length, struct recording *recording)
{
    struct event event = {.ns = ns, .cpu = (int16_t)cpu, .context = 't'};

    unsigned id = length < COMMON_FIELDS ? 0 : (unsigned)number_at(data, 2);
    if (id >= MAX_EVENT_IDS || decoder->type_of[id] == 0)
        return;
    event.type = (uint8_t)(decoder->type_of[id] - 1);
    if ((data[2] & FLAG_SOFTIRQ) != 0)
        event.context = 's';
    if ((data[2] & FLAG_HARDIRQ) != 0)
        event.context = 'h';
    event.pid = (int32_t)number_at(data + 4, 4);
    decode_places(&decoder->event[event.type], &event, data, length);
    recording_add(recording, &event);
}

struct record {
    unsigned length, data; /* of the whole record; where the event's data begin in it */
    bool is_event, is_end; /* is_end: nothing after this can be decoded */
};

/* Parse the record at `at`, of which `left` bytes are in the page, and advance the time. */
static struct record parse_record(const unsigned char *at, unsigned left, uint64_t *time)
{
    struct record record = {.length = 8, .data = 4};
    uint32_t head = (uint32_t)number_at(at, 4);
    uint32_t type = BIG_END ? head >> 27 : head & 31, delta = BIG_END ? head << 5 >> 5 : head >> 5;
    uint64_t word = left >= 8 ? number_at(at + 4, 4) : 0;

    if (type == 30) {
        *time += delta + (word << 27);
    } else if (type == 31) {
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
    }
    if (record.length < record.data || record.length > left)
        record.is_end = true;
    return record;
}

void decoder_page(const struct decoder *decoder, int cpu, const unsigned char *page, size_t length,
                  struct recording *recording)
{
    const struct page_format *format = &decoder->page;

    if (length <= format->data_offset)
        return;
    const unsigned char *data = page + format->data_offset;
    size_t left = length - format->data_offset;
    uint64_t time = number_at(page, 8);
    unsigned used = (unsigned)number_at(page + 8, format->commit_size) & USED_MASK;
    if (used > left)
        used = (unsigned)left;
    for (unsigned at = 0; at + 4 <= used;) {
        struct record record = parse_record(data + at, used - at, &time);
        if (record.is_end)
            break;
        if (record.is_event)
            decode_event(decoder, cpu, time, data + at + record.data, record.length - record.data,
                         recording);
        at += record.length;
    }
}
