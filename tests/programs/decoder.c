/* Unit tests of the ring-buffer decoder and of the format parser: pages and format files made by
 * hand.
 *
 *     decoder        prints TAP, as bats does
 *
 * A page is built on the heap with exactly its size, so that the address sanitizer reports each
 * read beyond it. */
#define _POSIX_C_SOURCE 200809L

#include "trace.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void recording_free(struct recording *recording)
{
    free(recording->events);
    *recording = (struct recording){0};
}

#define HEADER 16            /* the time and the number of used bytes */
#define START UINT64_C(1000) /* the time of each page */
#define QUEUE_ID 100         /* the numbers of the two events that the decoder knows here */
#define RETURN_ID 101

enum { PADDING = 29, TIME_EXTEND = 30, TIME_STAMP = 31 };

static int tests, failures;
static bool good;

static void complain(const char *format, ...)
{
    va_list values;

    good = false;
    va_start(values, format);
    fputs("# ", stdout);
    vprintf(format, values);
    putchar('\n');
    va_end(values);
}

static void end(const char *name)
{
    tests++;
    failures += !good;
    printf("%sok %d - %s\n", good ? "" : "not ", tests, name);
    good = true;
}

/* ---- a page ---- */

struct page {
    unsigned char bytes[8192];
    size_t length;
};

static void put(struct page *page, const void *data, size_t size)
{
    memcpy(page->bytes + page->length, data, size);
    page->length += size;
}

static void put32(struct page *page, uint32_t value)
{
    put(page, &value, sizeof value);
}

static void put64(struct page *page, uint64_t value)
{
    put(page, &value, sizeof value);
}

/* The first word of a record. */
static void put_head(struct page *page, uint32_t type, uint32_t delta)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    put32(page, type << 27 | delta);
#else
    put32(page, type | delta << 5);
#endif
}

static struct page new_page(void)
{
    struct page page = {.length = 0};

    put64(&page, START);
    put64(&page, 0);
    return page;
}

/* The number of used bytes, with flags in its upper bits. */
static void commit(struct page *page, uint64_t flags)
{
    uint64_t word = (page->length - HEADER) | flags;

    memcpy(page->bytes + 8, &word, sizeof word);
}

/* The common fields: 8 bytes. */
static void put_common(struct page *page, unsigned id, unsigned char flags, uint32_t pid)
{
    uint16_t short_id = (uint16_t)id;
    unsigned char rest[2] = {flags, 0};

    put(page, &short_id, sizeof short_id);
    put(page, rest, sizeof rest);
    put32(page, pid);
}

/* An event of 16 bytes: the common fields and a 64-bit value. */
static void put_return(struct page *page, uint32_t delta, unsigned id, uint64_t value)
{
    put_head(page, 4, delta);
    put_common(page, id, 0, 7);
    put64(page, value);
}

/* ---- decoding ---- */

static struct decoder new_decoder(unsigned commit_size)
{
    static struct decoder decoder;
    struct event_format queue = {QUEUE_ID,
                                 {{8, 8, SLOT_SKB, false, false},
                                  {16, 4, SLOT_LEN, true, false},
                                  {20, 4, SLOT_NAME, false, true}},
                                 3};
    struct event_format back = {RETURN_ID, {{8, 8, SLOT_RET, true, false}}, 1};

    decoder = (struct decoder){.page = {commit_size, HEADER, 4096}};
    decoder_learn(&decoder, (size_t)event_type_find("net_dev_queue"), &queue);
    decoder_learn(&decoder, (size_t)event_type_find("sys_exit_recvfrom"), &back);
    return decoder;
}

/* Decode the first `length` bytes, from memory that ends there. */
static struct recording decode_part(const struct page *page, size_t length, unsigned commit_size)
{
    struct recording recording = {0};
    struct decoder *decoder = malloc(sizeof *decoder);
    unsigned char *exact = malloc(length > 0 ? length : 1);

    if (decoder == NULL || exact == NULL)
        abort();
    *decoder = new_decoder(commit_size);
    memcpy(exact, page->bytes, length);
    decoder_page(decoder, 3, exact, length, &recording);
    free(exact);
    free(decoder);
    return recording;
}

static struct recording decode(const struct page *page)
{
    return decode_part(page, page->length, 8);
}

/* Check the number of events and, if there are any, the time and the first slot of the last. */
static void expect(struct recording recording, size_t count, uint64_t ns, uint64_t value)
{
    if (recording.count != count)
        complain("%zu events, not %zu", recording.count, count);
    else if (count > 0) {
        const struct event *last = &recording.events[count - 1];
        if (last->ns != ns)
            complain("the time is %llu, not %llu", (unsigned long long)last->ns,
                     (unsigned long long)ns);
        if (last->value[SLOT_RET] != value)
            complain("the value is %llu, not %llu", (unsigned long long)last->value[SLOT_RET],
                     (unsigned long long)value);
    }
    recording_free(&recording);
}

static void test_commit(void)
{
    struct page page = new_page();

    put_return(&page, 10, RETURN_ID, 1);
    put_return(&page, 20, RETURN_ID, 2);
    commit(&page, 0);
    put_return(&page, 30, RETURN_ID, 3); /* left over from an earlier use of the page */
    expect(decode(&page), 2, START + 30, 2);
    uint32_t garbage = 0xffffffff;
    memcpy(page.bytes + 12, &garbage, sizeof garbage); /* not part of a commit word of 4 bytes */
    expect(decode_part(&page, page.length, 4), 2, START + 30, 2);
    page = new_page();
    commit(&page, 0);
    put_return(&page, 10, RETURN_ID, 1);
    expect(decode(&page), 0, 0, 0);
    end("the commit word says how many bytes count; times add up");
}

static void test_lost(void)
{
    struct page page = new_page();

    put_return(&page, 10, RETURN_ID, 1);
    commit(&page, UINT64_C(1) << 31 | UINT64_C(1) << 30);
    put64(&page, 5); /* five events were lost; this looks like a record of five words */
    page.length += 16;
    put_return(&page, 10, RETURN_ID, 2); /* left over from an earlier use of the page */
    expect(decode(&page), 1, START + 10, 1);
    end("flags and a count of lost events are not taken for a length or an event");
}

static void test_time(void)
{
    struct page page = new_page();

    put_head(&page, TIME_EXTEND, 5);
    put32(&page, 2); /* times 2^27 */
    put_return(&page, 10, RETURN_ID, 1);
    commit(&page, 0);
    expect(decode(&page), 1, START + 5 + (UINT64_C(2) << 27) + 10, 1);
    page = new_page();
    uint64_t late = UINT64_C(3) << 59 | 77; /* the upper five bits stay */
    memcpy(page.bytes, &late, sizeof late);
    put_head(&page, TIME_STAMP, 6);
    put32(&page, 4);
    put_return(&page, 10, RETURN_ID, 1);
    commit(&page, 0);
    expect(decode(&page), 1, (UINT64_C(3) << 59) + 6 + (UINT64_C(4) << 27) + 10, 1);
    end("a longer time and an absolute time");
}

static void test_padding(void)
{
    struct page page = new_page();

    put_return(&page, 10, RETURN_ID, 1);
    put_head(&page, PADDING, 1); /* an event that was discarded */
    put32(&page, 12);            /* this word and two more */
    put64(&page, 0xffffffffffffffff);
    put_return(&page, 10, RETURN_ID, 2);
    commit(&page, 0);
    expect(decode(&page), 2, START + 21, 2);
    page = new_page();
    put_return(&page, 10, RETURN_ID, 1);
    put_head(&page, PADDING, 0); /* nothing follows on this page */
    put32(&page, 4);
    put_return(&page, 10, RETURN_ID, 2);
    commit(&page, 0);
    expect(decode(&page), 1, START + 10, 1);
    end("padding is skipped; padding without a time ends the page");
}

static void test_length_word(void)
{
    struct page page = new_page();

    put_head(&page, 0, 10);
    put32(&page, 4 + 16 + 104); /* this word and the event, which is too long for a type */
    put_common(&page, RETURN_ID, 0, 7);
    put64(&page, 5);
    page.length += 104;
    put_return(&page, 10, RETURN_ID, 6);
    commit(&page, 0);
    expect(decode(&page), 2, START + 20, 6);
    static const uint32_t bad[] = {0, 3, 4000, 0xffffffff, 0xfffffffc};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        page = new_page();
        put_return(&page, 10, RETURN_ID, 1);
        put_head(&page, 0, 10);
        put32(&page, bad[i]);
        put_return(&page, 10, RETURN_ID, 2);
        commit(&page, 0);
        expect(decode(&page), 1, START + 10, 1);
    }
    end("an event with a length word; a wrong length ends the page");
}

static void test_unknown(void)
{
    struct page page = new_page();

    put_return(&page, 10, RETURN_ID, 1);
    put_return(&page, 10, RETURN_ID + 1, 2); /* an event that nobody asked for */
    put_return(&page, 10, 65535, 3);         /* a number for which the table has no room */
    put_return(&page, 10, 0, 4);
    put_head(&page, 1, 10); /* an event that is too short for the common fields */
    put32(&page, RETURN_ID);
    put_return(&page, 10, RETURN_ID, 5);
    commit(&page, 0);
    expect(decode(&page), 2, START + 60, 5);
    struct event_format far = {.id = MAX_EVENT_IDS};
    struct decoder *decoder = calloc(1, sizeof *decoder);
    if (decoder != NULL && decoder_learn(decoder, 0, &far))
        complain("a number that is too large is accepted");
    free(decoder);
    end("unknown events are skipped, and their times count");
}

static void test_truncated(void)
{
    struct page page = new_page();

    put_return(&page, 10, RETURN_ID, 1);
    put_return(&page, 10, RETURN_ID, 2);
    commit(&page, 0);
    for (size_t length = 0; length <= page.length; length++) {
        size_t events = length < HEADER + 20 ? 0 : length < HEADER + 40 ? 1 : 2;
        expect(decode_part(&page, length, 8), events, START + 10 * events, events);
    }
    end("a page that is cut off anywhere gives the events that are whole");
}

/* ---- the fields of an event ---- */

static struct recording decode_queue(unsigned char flags, const char *name, uint32_t where)
{
    struct page page = new_page();

    put_head(&page, 10, 1);
    put_common(&page, QUEUE_ID, flags, 42);
    put64(&page, 0xffff888812345678);
    put32(&page, (uint32_t)-3);
    put32(&page, where);
    put(&page, name, 16);
    commit(&page, 0);
    return decode(&page);
}

static void expect_name(uint32_t where, const char *bytes, const char *name)
{
    struct recording recording = decode_queue(0, bytes, where);

    if (recording.count != 1 || strcmp(recording.events[0].name, name) != 0)
        complain("the name is \"%s\", not \"%s\"",
                 recording.count == 1 ? recording.events[0].name : "", name);
    recording_free(&recording);
}

static void test_fields(void)
{
    struct recording recording = decode_queue(0, "eth0\0-----------", 5U << 16 | 24);
    const struct event *event = recording.events;

    if (recording.count != 1 || event->value[SLOT_SKB] != 0xffff888812345678 ||
        (int64_t)event->value[SLOT_LEN] != -3 || event->pid != 42 || event->cpu != 3 ||
        event->has != (1U << SLOT_SKB | 1U << SLOT_LEN))
        complain("the values of the event are wrong");
    recording_free(&recording);
    expect_name(5U << 16 | 24, "eth0\0-----------", "eth0");
    expect_name(16U << 16 | 24, "a-name-too-long-", "a-name-too-long");
    expect_name(5U << 16 | 24, "e\033\377h\0-----------", "e??h");
    expect_name(5U << 16 | 36, "eth0\0-----------", ""); /* it would end behind the event */
    expect_name(0xffffffff, "eth0\0-----------", "");
    end("numbers with and without a sign, names in the event, names outside it");
}

static void test_short_event(void)
{
    struct page page = new_page();

    put_head(&page, 4, 1); /* an older kernel's form, which ends before the length */
    put_common(&page, QUEUE_ID, 0, 42);
    put64(&page, 9);
    commit(&page, 0);
    struct recording recording = decode(&page);
    if (recording.count != 1 || recording.events[0].has != 1U << SLOT_SKB)
        complain("a field behind the end of the event is read");
    recording_free(&recording);
    end("a field that is not in the event has no value");
}

static void test_context(void)
{
    static const struct {
        unsigned char flags;
        char context;
    } rows[] = {{0, 't'}, {0x10, 's'}, {0x08, 'h'}, {0x18, 'h'}, {0xe7, 't'}};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct recording recording = decode_queue(rows[i].flags, "eth0\0-----------", 24);
        if (recording.count != 1 || recording.events[0].context != rows[i].context)
            complain("flags %02x are not context %c", rows[i].flags, rows[i].context);
        recording_free(&recording);
    }
    end("the context: a thread, a software interrupt, a hardware interrupt");
}

/* Whatever is in a page, the decoder reads nothing outside it. */
static void test_damage(void)
{
    uint32_t seed = 1;

    for (int round = 0; round < 3000; round++) {
        struct page page = new_page();
        for (int i = 0; i < 6; i++)
            put_return(&page, 10, i % 2 == 0 ? RETURN_ID : QUEUE_ID, (uint64_t)i);
        commit(&page, 0);
        for (int i = 0; i < 4; i++) {
            seed = seed * 1664525 + 1013904223;
            page.bytes[8 + (seed >> 8) % (page.length - 8)] = (unsigned char)(seed >> 24);
        }
        struct recording recording = decode(&page);
        if (recording.count > 30)
            complain("%zu events in one small page", recording.count);
        recording_free(&recording);
    }
    end("3,000 damaged pages");
}

/* ---- format files ---- */

static void test_formats(void)
{
    static const char file[] =
        "name: net_dev_queue\nID: 1234\nformat:\n"
        "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
        "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
        "\tfield:void * old_skbaddr;\toffset:8;\tsize:8;\tsigned:0;\n"
        "\tfield:void * skbaddr;\toffset:16;\tsize:8;\tsigned:0;\n"
        "\tfield:unsigned int len;\toffset:24;\tsize:4;\tsigned:0;\n"
        "\tfield:__data_loc char[] name;\toffset:28;\tsize:4;\tsigned:0;\n\n"
        "print fmt: \"dev=%s skbaddr=%p len=%u\", __get_str(name), REC->skbaddr, REC->len\n";
    const struct event_type *type = &event_types[event_type_find("net_dev_queue")];
    struct event_format format;
    struct page_format page;
    char text[1024];

    strcpy(text, file);
    if (!format_parse_event(text, type, &format) || format.id != 1234 || format.places != 3 ||
        format.place[0].offset != 16 || format.place[1].size != 4 || format.place[1].is_data_loc ||
        !format.place[2].is_data_loc)
        complain("the fields of the format are wrong");
    strcpy(text, "name: something\nformat:\n");
    if (format_parse_event(text, type, &format))
        complain("a format without a number is accepted");
    strcpy(text, "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
                 "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
                 "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
                 "\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n");
    if (!format_parse_page(text, &page) || page.commit_size != 8 || page.data_offset != 16 ||
        page.page_size != 4096)
        complain("the form of a page is wrong");
    strcpy(text, "\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n");
    if (format_parse_page(text, &page))
        complain("a page without a commit word is accepted");
    end("format files: a field has its whole name; what is incomplete is refused");
}

int main(void)
{
    good = true;
    test_commit();
    test_lost();
    test_time();
    test_padding();
    test_length_word();
    test_unknown();
    test_truncated();
    test_fields();
    test_short_event();
    test_context();
    test_damage();
    test_formats();
    printf("1..%d\n", tests);
    return failures > 0;
}
