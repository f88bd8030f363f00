/* A page of a ring buffer in, events out. */
#ifndef DECODER_H
#define DECODER_H

#include "format.h"
#include "recording.h"

#define MAX_EVENT_IDS 16384 /* the kernel numbers its events from 1; there are a few thousand */
#define MAX_EVENT_TYPES 64

struct decoder {
    struct page_format page;
    struct event_format event[MAX_EVENT_TYPES]; /* for each row of event_types[] */
    uint8_t type_of[MAX_EVENT_IDS];             /* the row + 1; 0: an event that is not wanted */
};

/* Recognize events of this type from now on.  False: the number is out of range. */
bool decoder_learn(struct decoder *decoder, size_t type, const struct event_format *format);
/* Append the events of a page, of which `length` bytes were read, to the recording.  Nothing in the
 * page is trusted: at the first record that does not fit, the rest of the page is skipped.  False:
 * no memory. */
bool decoder_page(const struct decoder *decoder, int cpu, const unsigned char *page, size_t length,
                  struct recording *recording);

#endif
