/* Where the kernel says that each value of an event is. */
#ifndef FORMAT_H
#define FORMAT_H

#include "hops.h"

/* Where one value of an event is. */
struct place {
    unsigned offset, size;
    enum slot slot;
    bool is_signed, is_data_loc;
};

struct event_format {
    unsigned id; /* the kernel's number for this event */
    struct place place[MAX_FIELDS];
    unsigned places;
};

/* How a page of a ring buffer begins. */
struct page_format {
    unsigned commit_size; /* of the number of bytes that are used */
    unsigned data_offset, page_size;
};

/* Parse an event's format file, and find the fields that `type` names.  The text is changed. False:
 * this is not a format file. */
bool format_parse_event(char *text, const struct event_type *type, struct event_format *format);
/* Parse events/header_page in the same way. */
bool format_parse_page(char *text, struct page_format *format);
/* The number after a label in a text, or 0. */
unsigned format_number(const char *text, const char *label);

#endif
