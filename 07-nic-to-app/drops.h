/* What the files of drops share: drops.c is the command line and the output, drops_kinds.c provokes
 * the drops, drops_wire.c is the network between client and server, and drops_watch.c reads what the
 * kernel says about a frame and which counters increased. */
#ifndef DROPS_H
#define DROPS_H

#include "tracer/trace.h"

#include <signal.h>
#include <stdio.h>

#ifndef CANNOT_TRACE

/* ---- drops_wire.c ----
 * Two network namespaces, each with a TAP device.  This program carries the frames between them, so
 * it is the wire and can delay, change or repeat each of them. */

#define SERVER_IP "192.0.2.1" /* RFC 5737: no real network uses these addresses */
#define CLIENT_IP "192.0.2.2"

enum side { CLIENT, SERVER };

/* The frames that drops tells apart. */
enum packet { OTHER, SYN, SYN_ACK, ACK, DATA, RESET, DATAGRAM, PACKETS };

struct frame {
    size_t length;
    unsigned char bytes[2048];
};

extern char server_device[NAME_SIZE]; /* a name that no other device has */
extern struct frame held; /* the client's frame that has been taken off the wire; length 0: none */

/* What was sent since the frame was delivered: how often, and when first. */
struct sight {
    unsigned count;
    double ms;
};
extern struct sight seen[2][PACKETS]; /* by sender */

/* False: this is not possible here, and `why` says so. */
bool wire_open(char why[WHY_SIZE]);
void wire_close(void);
int wire_socket(enum side side, int type); /* a non-blocking socket on this side */
/* Take the next frame of this kind from the client off the wire, into `held`. */
void wire_hold(enum packet packet);
/* Carry frames, until `done` is true or the time is over.  NULL: for this time. */
void wire_carry(int ms, bool (*done)(void));
/* Write the frame that is held into the server's device.  The kernel handles it within this call. */
bool wire_deliver(void);
void wire_forget(void); /* begin with `seen` */
double wire_ms(void);   /* since then */

/* Change 16 bits of the held frame, and the TCP checksum so that it still matches. */
void frame_set16(size_t at, unsigned value);
unsigned frame_get16(size_t at);
void frame_fix_ip_checksum(void);
#define IP_AT 14  /* where the IPv4 header begins */
#define TCP_AT 34 /* and TCP's, because the kernel's segments have no IP options */

/* ---- drops_watch.c ---- */

struct verdict {
    enum { NO_EVENT, NOT_RECEIVED, CONSUMED, DROPPED } end;
    enum hop hop;      /* the last hop that the frame reached */
    char reason[48];   /* as the kernel prints it; empty: this kernel has no reasons */
    char function[64]; /* that dropped it; empty: not known */
};

struct increase {
    char name[48];
    unsigned long long by;
};
#define MAX_INCREASES 24
struct increases {
    size_t count;
    struct increase list[MAX_INCREASES];
};

bool watch_open(char why[WHY_SIZE]);
void watch_close(void);
/* Deliver the frame that is held.  `socket`: the server's, whose own counter is read, or -1. */
struct verdict watch_deliver(int socket, struct increases *increases);
void watch_add(struct increases *increases, const char *name, unsigned long long by);
/* How much the client's kernel, which has the same counters, has sent again since `begin`. */
bool watch_has_reasons(void);

/* ---- drops_kinds.c ---- */

struct result {
    const char *not_tried; /* why not; NULL: it was tried */
    struct verdict verdict;
    struct increases increases;
    char client[400], server[300];
    bool was_seen; /* the kernel dropped it */
};

struct kind {
    const char *name, *sent, *production;
    const char *counter; /* the one for the table, if it has increased */
    enum packet packet;
    bool (*prepare)(void); /* until the frame is held; false: errno says why not */
    void (*alter)(void);                      /* change the frame that is held; NULL: do not */
    void (*afterwards)(struct result *result);
    enum side answer_from; /* then wait for this frame from there */
    enum packet answer;
    const char *needs; /* a program; NULL: none */
};
extern const struct kind kinds[];
extern const size_t kind_count;

void kind_run(const struct kind *kind, struct result *result);
extern volatile sig_atomic_t stopped;

#endif
#endif
