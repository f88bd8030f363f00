/* From a recording to what the user sees: pure functions, which need neither the kernel nor root.
 * A section for each source file, in the order in which data flow. */
#ifndef JOURNEY_H
#define JOURNEY_H

#include "hops.h"

/* ---- recording.c: the events of one run, and what is needed to interpret them ---- */

#define MAX_EVENTS 20000000 /* a recording that claims more is damaged */
#define KEPT_MIB 256        /* of memory for the events of one run */
#define KEPT_EVENTS ((size_t)KEPT_MIB * 1024 * 1024 / sizeof(struct event))
#define NOTES 8
#define NOTE_SIZE 120

/* A thread of the kernel that receives packets: ksoftirqd, NAPI's, or an interrupt's. */
struct kernel_thread {
    int pid;
    char name[NAME_SIZE];
};
#define MAX_THREADS 16

struct recording {
    struct event *events;       /* in order of time, after recording_sort() or recording_finish() */
    size_t count, room, sorted; /* sorted: how many of them recording_sort() has put in order */
    uint64_t start;             /* CLOCK_MONOTONIC at what the text form calls time 0 */
    uint64_t asked;             /* a bit for each event type that the tracer asked for */
    uint64_t unavailable;       /* a bit for each that this kernel or this server does not have */
    bool lists_unavailable;     /* false: an older recording, which does not say what was missing */
    uint32_t kinds;             /* a bit for each kind of event that the recording contains */
    uint64_t lost;              /* how many events there was no room for */
    enum via via;
    unsigned port;
    unsigned peer; /* the client's port, if the replies were traced; otherwise 0 */
    unsigned skip; /* how many packets at the beginning only prepared the server */
    bool replayed;
    char server[64], kernel[64];
    struct kernel_thread thread[MAX_THREADS]; /* those that took part, until number 0 */
    char note[NOTES][NOTE_SIZE];              /* other findings, a sentence each */
};

/* Add an event.  Without memory for it, it is lost, and counted as such. */
void recording_add(struct recording *recording, const struct event *event);
/* An event that this program or the server reports itself, to be completed and added. */
struct event recording_stamp(struct recording *recording, const char *name, uint64_t ns, int pid,
                             int cpu);
void recording_drop_before(struct recording *recording, uint64_t ns);
void recording_sort(struct recording *recording);
/* Mark the events of this provider that there are not as not available. */
void recording_lacks_rest(struct recording *recording, enum provider provider);
/* Name the kernel, sort the events, and replace addresses by small numbers.  False: no memory. */
bool recording_finish(struct recording *recording);
/* Add a sentence, which is returned.  There is room for NOTES of them. */
const char *recording_note(struct recording *recording, const char *format, ...);
/* Add a thread, if there is room; and its name, or NULL. */
void recording_add_thread(struct recording *recording, int pid, const char *name);
const char *recording_thread(const struct recording *recording, int pid);
bool recording_write(const struct recording *recording, FILE *stream);
/* False: the text is not a recording, or a damaged one; `problem` names the line and the reason. */
bool recording_read(struct recording *recording, FILE *stream, char *problem, size_t size);

/* ---- stitch.c: searching a recording for the event that continues a trail ---- */

#define MAX_DISTANCE_NS 10000000000U /* an event further away belongs to something else */
/* After one of these events, the skb's address is another packet's. */
#define SKB_REUSED                                                                                 \
    (BIT(KIND_FREE) | BIT(HOP_QUEUE) | BIT(HOP_BACKLOG) | BIT(HOP_GRO) | BIT(HOP_RECEIVE))

enum direction { BACK = -1, FORWARD = 1 };

/* What the event has in common with the one at which the search starts: any of these two, and
 * BIT(slot) for the value of a slot. */
enum { SAME_THREAD = 1 << 30, SAME_CPU = 1 << 29 };

/* Find the event of this kind that is nearest to `from`, unless an event of one of the kinds in
 * `end` comes first.  Only events that are the `same` are considered.  NULL: there is none, or
 * `from` is NULL or does not have one of the slots. */
const struct event *search(const struct recording *recording, const struct event *from,
                           enum direction direction, enum hop kind, uint32_t end, uint32_t same);

/* ---- stitch.c: one packet's journey: for each hop whether it was seen, and its event ---- */

enum outcome { COMPLETE, BATCHED, INCOMPLETE, OUTCOMES };

struct journey {
    const struct recording *recording;
    const struct event *at[HOPS];
    enum hop_state state[HOPS];
    enum waiting waiting;
    enum outcome outcome;
    unsigned frames; /* how many frames GRO merged into this skb */
    bool backlogged; /* it waited in the socket's backlog until a call released the socket */
    uint64_t size;   /* the bytes of data */
    bool size_wraps; /* ... to which a multiple of 65,536 may have to be added */
    enum { BY_INTERRUPT, BY_THREAD, BY_TIMER } raised; /* what scheduled NET_RX */
    const char *worker;    /* the kernel's thread in which the packet was received; or NULL */
    const char *raiser;    /* without one: the kernel's thread that scheduled NET_RX; or NULL */
    bool inside_send;      /* the packet was received before the sender's call returned */
    bool back;             /* this is a reply: the server sends and the client receives */
    unsigned segments;     /* in how many segments the reply came; this is the last of them */
    struct journey *reply; /* that of the reply, if both ways are wanted */
    const struct journey *request; /* in a reply: that of the request, if both ways are wanted */
};

/* The steps of a journey are the hops in order of time: no calls that began before, and no ACK. */
static inline bool journey_is_step(const struct journey *journey, int hop)
{
    return hop != HOP_ACK && journey->at[hop] != NULL && journey->state[hop] != BEGAN_BEFORE;
}
/* This reply also brought the acknowledgement of its request. */
static inline bool journey_acknowledges(const struct journey *reply)
{
    return reply->request != NULL && reply->request->at[HOP_ACK] == reply->at[HOP_TCP];
}
/* With both ways, the first step is the request's, and the last one is the reply's. */
const struct event *journey_first(const struct journey *journey);
const struct event *journey_last(const struct journey *journey);
const struct event *journey_before(const struct journey *journey, enum hop hop);
/* The time from the step before to this one; 0 if the hop is none, or the first one. */
uint64_t journey_since(const struct journey *journey, int hop);
/* How much of the time up to the last step belongs to each share; and the total.  The time of a
 * reply begins with the last step of its request. */
uint64_t journey_shares(const struct journey *journey, uint64_t ns[SHARES]);

/* ---- stitch.c: events in, journeys out ---- */

struct journeys {
    struct journey *list, *other; /* other: the replies, or with WAY_BACK the requests */
    size_t count;
    size_t outcomes[OUTCOMES];
};

enum way { WAY_IN, WAY_BACK, WAY_BOTH, WAYS };
extern const char *const way_names[WAYS];

/* WAYS: as much as there is.  The way back needs a recording with a `peer`.  False: no memory. */
bool stitch(const struct recording *recording, enum way way, struct journeys *journeys);
/* The one journey that is shown if only one is wanted: the first that is complete; if none is, the
 * first of all.  `back`: its other way.  The recording must have at least one. */
const struct journey *journeys_typical(const struct journeys *journeys, bool back);

/* ---- stitch.c: a journey while the stitcher assembles it ---- */

#define MIN_HEADERS 40  /* of IP and TCP together */
#define MAX_HEADERS 120 /* the same; so a longer skb carries data */

/* Set the hop's event and, unless it is NULL, the hop's state to SEEN. */
void journey_set(struct journey *journey, enum hop hop, const struct event *event);
/* Find the hop's event by a search that starts at the event of the hop `from`, as search() does. */
void journey_find(struct journey *journey, enum hop hop, enum hop from, enum direction direction,
                  uint32_t end, uint32_t same);
/* The hop has no event in this journey, for the reason that `state` gives. */
void journey_clear(struct journey *journey, enum hop hop, enum hop_state state);

/* back.c: from tcp_probe back to where the packet came from. */
void trace_back(struct journey *journey);
/* forward.c: from tcp_probe to the thread that reads the bytes. */
void trace_forward(struct journey *journey);
/* verdict.c: explain the hops that have no event, and judge the journey as a whole. */
void explain_missing(struct journey *journey);
void drop_disorder(struct journey *journey);
enum outcome journey_outcome(const struct journey *journey);

/* ---- show_many.c: the times of many journeys ---- */

/* What has a time of its own: a hop, since the one before; a share; the whole, with a reply. */
enum { ROW_SHARES = HOPS, ROW_WHOLE = ROW_SHARES + SHARES, ROWS };
#define MAX_COLUMNS 7 /* fit into 80 characters; and there are seven servers */
#define CELL_SIZE 24

/* A table: a line for each row, in the order of the journey, with each share before its hops. */
struct column {
    const char *file; /* of the recording, or the folder of the server that was traced */
    struct recording recording;
    struct journeys journeys; /* at least one */
    unsigned percent;         /* that its times do not exceed: 50 for the median */
    char name[3];             /* A, B, ... or the number of one of the seven servers */
};
struct line { /* a hop, a share, or the whole; `back`: of journeys.other */
    int row;
    bool back, same; /* same: all have the same event, or have none for the same reason */
    const char *name;
    struct entry {            /* what one column has of it */
        size_t seen;          /* in how many journeys */
        int64_t ns;           /* the percentile; -1: there is none */
        const char *event;    /* of a hop; NULL: none was seen */
        const char *words;    /* the same, or why there is none */
        char cell[CELL_SIZE]; /* the time in µs */
    } at[MAX_COLUMNS];
};
struct table {
    size_t count, lines; /* count: of columns */
    struct column column[MAX_COLUMNS];
    struct line line[2 * ROWS];
};
/* Fill in the lines, from the columns' journeys and percentages. */
void table_fill(struct table *table);
/* The journey with one of these names or a number from 1; and its number.  NULL: there is none. */
int pick_percent(const char *which); /* 0: the fastest; 50, 100; -1: it is no name */
const struct journey *journeys_pick(const struct journeys *journeys, const char *which, size_t *k);
void show_histograms(const struct table *table);

/* ---- show_compare.c: several recordings side by side ---- */

void show_comparison(struct table *table);

/* ---- show_*.c: on a terminal, as a drawing, and as a trace for Perfetto ---- */

/* ---- show_words.c: the words that all forms share ---- */

/* The values of this hop's event that say the most about it, on one short line. */
void show_fields(const struct journey *journey, enum hop hop, char *text, size_t size);
/* A hop without an event: "not seen", "not needed" and so on; and the reason for it. */
const char *show_state(enum hop_state state);
const char *show_absence(const struct journey *journey, enum hop hop);
/* What is special about this hop in this journey, or NULL. */
const char *show_remark(const struct journey *journey, enum hop hop);
const char *show_box(const struct journey *journey, enum box box);
const char *show_share(const struct journey *journey, enum share share);
/* What the hop means in this journey. */
const char *show_why(const struct journey *journey, enum hop hop);
/* `count`: the journey is the first of so many. */
void show_title(const struct journey *journey, size_t count, char *text, size_t size);
/* Write text, with an escape in place of each special character, and without control characters. */
void show_escaped(FILE *stream, const char *words, const char *special, const char *const *escape);
static inline double show_us(uint64_t ns)
{
    return (double)ns / 1000;
}

/* ---- show_table.c, show_svg.c, show_json.c ---- */

/* Print like printf(), on lines of the terminal's width, from 40 to 80 columns, each with this
 * indent.  Newlines may only come first. */
void show_text(size_t indent, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Whether this hop is in another box than the one before it, which is `*box` (at first -1). */
bool show_begins_box(int hop, int *box);
/* `whys`: with the reasons; otherwise one line for each hop. */
void show_journey(const struct journey *journey, bool whys);
void show_many(const struct journeys *journeys);
bool show_explain(const char *hop); /* NULL: all hops; false: there is no such hop */
bool show_svg(FILE *stream, const struct journey *const *journeys, size_t count);
bool show_json(FILE *stream, const struct journeys *journeys);

#endif
