/* The events of one run, with what is needed to interpret them.  recording.c describes their text
 * form. */
#ifndef RECORDING_H
#define RECORDING_H

#include "hops.h"

#include <stdio.h>

#define MAX_EVENTS 20000000 /* a recording that claims more is damaged */
#define NOTES 8
#define NOTE_SIZE 120

struct recording {
    struct event *events; /* in order of time, after recording_finish() */
    size_t count, room;
    uint64_t start;         /* CLOCK_MONOTONIC at what the text form calls time 0 */
    uint64_t asked;         /* a bit for each event type that the tracer asked for */
    uint64_t unavailable;   /* a bit for each that this kernel or this server does not have */
    bool lists_unavailable; /* false: an older recording, which does not say what was missing */
    uint32_t kinds;         /* a bit for each kind of event that the recording contains */
    uint64_t lost;          /* how many events the kernel had no room for */
    enum via via;
    unsigned port;
    unsigned skip; /* how many packets at the beginning only prepared the server */
    bool replayed;
    char server[64], kernel[64];
    char note[NOTES][NOTE_SIZE]; /* other findings, a sentence each */
};

bool recording_add(struct recording *recording, const struct event *event); /* false: no memory */
void recording_drop_events(struct recording *recording);
void recording_drop_before(struct recording *recording, uint64_t ns);
/* Sort the events, and replace addresses by small numbers.  False: no memory. */
bool recording_finish(struct recording *recording);
/* Add a sentence, unless there are NOTES of them already. */
void recording_note(struct recording *recording, const char *format, ...);
void recording_free(struct recording *recording);
bool recording_write(const struct recording *recording, FILE *stream);
/* False: the text is not a recording, or a damaged one; `problem` names the line and the reason. */
bool recording_read(struct recording *recording, FILE *stream, char *problem, size_t size);

static inline bool recording_asked(const struct recording *recording, size_t type)
{
    return (recording->asked >> type & 1U) != 0;
}

static inline bool recording_lacks(const struct recording *recording, size_t type)
{
    return (recording->unavailable >> type & 1U) != 0;
}

#endif
