/* Events of one run, and what has to be known to read them.  The text form is told in record.c. */
#ifndef RECORDING_H
#define RECORDING_H

#include "hops.h"

#include <stdio.h>

#define MOST_EVENTS 20000000 /* a recording that names more is damaged */
#define NOTES 8
#define NOTE_SIZE 120

struct recording {
    struct event *events; /* in the order of their time, once recording_finish() was called */
    size_t count, room;
    uint64_t start; /* of the clock: what a recording in a file calls time 0 */
    uint64_t can;   /* a bit for each source that was asked; of the others we cannot say */
    uint32_t kinds; /* a bit for each kind of event that is in it */
    uint64_t lost;  /* events that the kernel had no room for */
    enum via via;
    unsigned port;
    unsigned skip; /* the first packets, which only brought the server to where it waits */
    bool replayed;
    char server[64], kernel[64];
    char note[NOTES][NOTE_SIZE]; /* what else was learned, a sentence each */
};

bool recording_add(struct recording *recording, const struct event *event); /* false: no memory */
void recording_forget(struct recording *recording); /* the events; the rest stays */
void recording_forget_before(struct recording *recording, uint64_t ns);
bool recording_finish(struct recording *recording); /* sort, and give addresses small numbers */
/* One sentence more; what has no room is dropped. */
void recording_note(struct recording *recording, const char *format, ...);
void recording_free(struct recording *recording);
bool recording_write(const struct recording *recording, FILE *stream);
/* False: it is not one, or a damaged one, and `problem` says so with the number of the line. */
bool recording_read(struct recording *recording, FILE *stream, char *problem, size_t size);

static inline bool recording_can(const struct recording *recording, size_t source)
{
    return (recording->can >> source & 1U) != 0;
}

#endif
