/* What the files of drops share: drops.c is the command line and the output, drops_kinds.c provokes
 * the drops, drops_wire.c is the network between client and server, and drops_watch.c reads what
 * the kernel says about a frame. */
#ifndef DROPS_H
#define DROPS_H

#include "tracer/trace.h"

/* ---- drops_wire.c: two network namespaces, and this program as the wire between them ---- */

#define SERVER_IP "192.0.2.1" /* RFC 5737: no real network uses these addresses */
#define CLIENT_IP "192.0.2.2"
#define IP_AT 14  /* where a frame's IP header begins */
#define TCP_AT 34 /* and TCP's or UDP's: the kernel sends no IP options here */

enum side { CLIENT, SERVER };
enum packet { OTHER, SYN, SYN_ACK, ACK, DATA, RESET, DATAGRAM, PACKETS };

/* The client's frame that has been taken off the wire, to be delivered later. */
struct frame {
    size_t length; /* 0: there is none */
    unsigned char bytes[2048];
};
extern struct frame held;

/* What was sent on the wire since the last delivery: how often, and when first. */
struct sight {
    unsigned count;
    double ms;
};
extern struct sight seen[2][PACKETS]; /* by sender */

extern char server_device[NAME_SIZE]; /* a name that no other device has */
bool wire_open(char why[WHY_SIZE]);   /* false: `why` says why not */
void wire_close(void);
int wire_socket(enum side side, int type); /* non-blocking; -1: errno says why not */
/* Take the client's next frame of this kind off the wire.  OTHER: none. */
void wire_hold(enum packet packet);
/* Carry frames until `done` is true or the time is over.  NULL: for this time. */
void wire_carry(int ms, bool (*done)(void));
/* Give the held frame to the server's kernel, which handles it within this call. */
void wire_deliver(void);
double wire_ms(void); /* since then */
/* Change 16 bits of the held TCP segment, and its checksums so that they match. */
void wire_change(size_t at, unsigned value);

/* ---- drops_watch.c: the kernel's events and counters ---- */

struct verdict {
    enum { NO_EVENT, NOT_RECEIVED, CONSUMED, DROPPED } end;
    enum hop hop;      /* the last that the frame reached */
    char reason[48];   /* as the kernel prints it */
    char function[64]; /* that freed it; empty: not known */
};

#define MAX_INCREASES 24
struct increases {
    size_t count;
    struct increase {
        char name[48];
        unsigned long long by;
    } list[MAX_INCREASES];
};

bool watch_open(char why[WHY_SIZE]); /* before wire_open(); false: `why` says why not */
void watch_close(void);
/* Deliver the held frame.  `fd`: the server's socket, which has a counter of its own, or -1. */
void watch_deliver(int fd, struct increases *increases);
struct verdict watch_verdict(void); /* of the frame that was delivered last */
void watch_add(struct increases *increases, const char *name, unsigned long long by);

/* ---- drops_kinds.c ---- */

struct result {
    const char *not_tried; /* why not; NULL: it was tried */
    struct verdict verdict;
    struct increases increases;
#define TEXT_SIZE 300
    char client[TEXT_SIZE], server[TEXT_SIZE]; /* what they noticed */
    bool was_seen;                             /* the kernel has dropped it */
};

struct kind {
    const char *name, *sent, *practice;
    const char *counter;                /* for the table, if it has increased */
    enum packet packet;                 /* that is lost */
    bool (*prepare)(void);              /* until it is held; false: errno says why not */
    void (*alter)(void);                /* change it, or something meanwhile; NULL: do not */
    void (*read_more)(struct result *); /* another counter; NULL: there is none */
    enum side sender;                   /* afterwards, wait for a packet from there: */
    enum packet next;                   /* OTHER: for none */
};
#define MAX_KINDS 16
extern const struct kind kinds[];
extern const size_t kind_count;
void kind_run(const struct kind *kind, struct result *result);

extern volatile sig_atomic_t stopped; /* a signal asked this program to end */

#endif
