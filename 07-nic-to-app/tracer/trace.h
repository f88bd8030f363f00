/* From the kernel to a recording, which needs Linux and mostly root.  A section for each file. */
#ifndef TRACE_H
#define TRACE_H

#include "journey.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

/* Whether this is Linux, and the compiler finds the kernel's header files.  On Alpine they are a
 * package of their own, and musl-gcc on Debian does not look where they are.  Without them, trace
 * only replays recordings. */
#ifndef __linux__
#define CANNOT_TRACE "Tracepoints exist only on Linux, and this is another system."
#elif defined __has_include /* gcc before version 5 does not have it: assume that they are there */
#if !__has_include(<linux/errqueue.h>)
#define CANNOT_TRACE                                                                               \
    "trace was built without the kernel's header files (Alpine: apk add linux-headers; Debian: "   \
    "apt-get install linux-libc-dev): install them and build it again."
#endif
#endif

#define WHY_SIZE 300 /* of a sentence that says why something is not possible */

/* ---- files.c: files of /proc and tracefs, with paths as for printf() ---- */

/* Read the beginning of a file.  False: errno says why not. */
bool file_read(char *text, size_t size, const char *path, ...)
    __attribute__((format(printf, 3, 4)));
/* Append to a file.  False: errno says why not. */
bool file_write(const char *text, const char *path, ...) __attribute__((format(printf, 2, 3)));
void file_close(int fd); /* -1: there is nothing to close.  errno remains as it is. */
/* The names in a folder that do not begin with a dot, one after the other; after the last one NULL,
 * and the folder is closed.  If it cannot be opened, it has no names. */
DIR *folder_open(const char *path, ...) __attribute__((format(printf, 1, 2)));
const char *folder_next(DIR *folder);

/* ---- format.c: where the kernel says that each value of an event is ---- */

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

/* Find the fields that `type` names in a format file, whose text is changed.  False: it is none. */
bool format_parse_event(char *text, const struct event_type *type, struct event_format *format);
/* Parse events/header_page. */
bool format_parse_page(const char *text, struct page_format *format);
/* The number after a label in a text, or 0. */
unsigned format_number(const char *text, const char *label);

/* ---- decoder.c: a page of a ring buffer in, events out ---- */

#define MAX_EVENT_IDS 16384 /* the kernel numbers its events from 1; there are a few thousand */
#define MAX_EVENT_TYPES 64

struct decoder {
    struct page_format page;
    struct event_format event[MAX_EVENT_TYPES]; /* for each row of event_types[] */
    uint8_t type_of[MAX_EVENT_IDS];             /* the row + 1; 0: an event that is not wanted */
};

/* Recognize events of this type from now on.  False: the number is out of range. */
bool decoder_learn(struct decoder *decoder, size_t type, const struct event_format *format);
/* A number for an IP address of 4 or 16 bytes.  An IPv4 address and the IPv6 address to which it is
 * mapped have the same number; the wildcard addresses have 0. */
uint64_t address_key(const unsigned char *bytes, size_t size);
#define NO_ADDRESS UINT64_MAX
uint64_t address_of(const char *text); /* the same for its text; a scope, %eth0, does not count */
/* Append the events of a page, of which `length` bytes were read, to the recording.  Nothing in the
 * page is trusted: at the first record that does not fit, the rest of the page is skipped. */
void decoder_page(const struct decoder *decoder, int cpu, const unsigned char *page, size_t length,
                  struct recording *recording);

/* ---- instance.c: a folder in tracefs with rings, filters and switches of its own ---- */

#define TRACEFS "/sys/kernel/tracing"
#define INSTANCE_PATH 128

/* Create an instance, and remove those of killed runs.  False: `why` says what is missing. */
bool instance_create(char path[INSTANCE_PATH], char why[WHY_SIZE]);
void instance_remove(const char *path);

/* ---- paths.c: the network that a packet takes: created for one run, and removed with it ---- */

struct path {
    enum via via;
    char server_address[INET6_ADDRSTRLEN + NAME_SIZE]; /* its scope may follow: %eth0 */
    char device[NAME_SIZE];
    int netns; /* a network namespace; -1: that of the tracer */
    int tap;   /* the card's end of a TAP device, or -1 */
    int cpu;   /* for the server and the client; -1: any */
};

/* Create the network.  `one_cpu`: client and server share CPU 0, if this process may use it.
 * False: this is not possible here, and `why` says so in one sentence. */
bool path_open(struct path *path, enum via via, bool one_cpu, char why[WHY_SIZE]);
void path_close(const struct path *path);
/* What kind of device this is. */
enum via device_kind(const char *device);
/* To be called in a child process, before it opens a socket, for the path's namespace. */
bool path_enter(const struct path *path);

/* ---- tracer.c: the kernel's tracepoints: enable them for one run, and read their events ---- */

#define MAX_TASKS 24 /* threads that a filter can name by number */
#define MAX_NAMES 24 /* and by name */

/* What a run traces.  Events of other programs are not written. */
struct scope {
    unsigned port, peer_port; /* peer_port: that of the tracer's own client; 0: of any client */
    int client;               /* the thread of the tracer's own client; 0: there is none */
    bool both_ways;           /* the reply is traced, too */
    const struct path *path;  /* with its device */
    int tasks[MAX_TASKS];     /* the server's threads; none: they are recognized by their names */
    char names[MAX_NAMES][NAME_SIZE];
    bool too_many_tasks, too_many_names; /* of them, no number or no further name is kept */
};

struct tracer;

/* Get ready, without enabling any event.  NULL: not possible; `why` is a sentence that says why. */
struct tracer *tracer_open(unsigned packets, char why[WHY_SIZE]);
/* Enable the events of this scope, and note in the recording which were asked for and which are not
 * available.  False: no event is enabled. */
bool tracer_enable(struct tracer *tracer, const struct scope *scope, struct recording *recording);
bool tracer_switch(const struct tracer *tracer, bool on);
/* Move the events from the kernel's rings to the recording. */
void tracer_drain(struct tracer *tracer, struct recording *recording);
/* How many events the kernel had no room for. */
uint64_t tracer_lost(const struct tracer *tracer);
void tracer_close(struct tracer *tracer);

/* ---- connections.c: those on the server's port, and which of them are the server's ---- */

enum tcp_state { ESTABLISHED = 1, LISTENING = 10 }; /* as in /proc/net/tcp */

/* A line of /proc/net/tcp or tcp6.  For the addresses, see address_key(). */
struct socket_line {
    uint64_t local, peer;
    unsigned port, peer_port, state;
    unsigned long inode;
};
struct socket_table {
    FILE *file; /* NULL at first */
    size_t next;
};
/* Read the next TCP socket of this network namespace.  False: there is none. */
bool next_socket(struct socket_table *table, struct socket_line *line);

/* Sockets in other network namespaces, and at other addresses, may use the same port.  A connection
 * is the server's if its addresses and ports are in the table of this namespace, which is also the
 * server's, or if a thread in this namespace read from it. */
struct connection {
    uint64_t cookie, local, peer;
    unsigned peer_port;
    pid_t reader; /* the thread that read the first bytes; 0: not known */
    enum { UNDECIDED, OURS, NOT_OURS } owner;
    size_t packets;
};
#define MAX_CONNECTIONS 4096 /* the last ones: then the oldest is forgotten */
#define MAX_REASONS 512
#define SHOWN_DROPS 10 /* of each reason, at once */
struct connections {
    unsigned port;
    uint64_t address; /* at which the server listens; 0: at all of them */
    struct connection list[MAX_CONNECTIONS];
    size_t count, added;
    uint64_t learned;          /* the events before this time have been taken note of */
    size_t drops[MAX_REASONS]; /* for each of the kernel's reasons to drop a packet */
    bool names_skbs;           /* tcp_probe does; without that (6.1), drops cannot be found */
};

/* Sort the recording, and take note of the events since the last call and before the time `until`,
 * up to which it must be complete. */
void connections_learn(struct connections *connections, struct recording *recording,
                       uint64_t until);
/* A sentence about the packets for the server that the kernel has dropped. */
void connections_drops(const struct connections *connections, char *text, size_t size);
/* How many packets with data have come for the server. */
size_t connections_packets(const struct connections *connections);
/* Set the port of the packets of other connections, and of all after this many, to 0.  They remain
 * in the recording, because they end searches.  To be called after recording_finish(). */
void connections_mark(struct connections *connections, struct recording *recording, size_t packets);
/* Name the state of a connection to the server that is open and not established, or NULL. */
const char *connections_other_state(const struct connections *connections);

/* ---- target.c: the server that is traced: started by the tracer, or found by its port ---- */

struct target {
    pid_t pid;        /* 0: not found */
    bool ours;        /* the tracer started it, and stops it */
    bool hidden;      /* a server listens there, but it is not visible which process it is */
    uint64_t address; /* where it listens, see address_key(); 0: at all addresses */
    unsigned port;
    int stamps; /* the file into which it may write stamps, or -1 */
};

/* Start the program, and wait until it listens.  False: `why` says what is wrong. */
bool target_start(struct target *target, const char *program, const struct path *path,
                  unsigned port, char why[WHY_SIZE]);
/* Find the server that listens there.  False: none does; or it is hidden, and `why` says why. */
bool target_find(struct target *target, const char *address, unsigned port, char why[WHY_SIZE]);
/* Add the server's threads: by number; by name if more may start.  For both ways: the client's. */
void target_threads(struct target *target, bool more_may_start, struct scope *scope);
/* The greatest low-water mark (SO_RCVLOWAT) of the server's sockets, and how many packets those
 * that listen on its port have dropped since they exist. */
void target_options(const struct target *target, int *low_water, unsigned *dropped);
/* Add the server's stamps to the recording. */
void target_stamps(const struct target *target, struct recording *recording);
void target_stop(const struct target *target);

/* ---- client.c: the client that sends the packets, in a process of its own ---- */

#define MESSAGE "one small step\n" /* what is sent and must come back */
#define MESSAGE_SIZE (sizeof MESSAGE - 1)
#define WARM_UP 20 /* echoes before the first traced one: caches, page faults, slow start */
#define SKIPPED 1  /* traced packets that do not count, so that a blocked call is traced, too */
#define PAUSE_NS 300000 /* between two looks at whether the server sleeps again */

/* A round trip by the client's own clock: just before its send() and just after its last recv(). */
struct turn {
    uint64_t start;
    _Atomic uint64_t done;           /* 0: not yet */
    int start_cpu, done_cpu, reader; /* reader: the thread that called recv() */
};
struct client {
    pid_t pid;
    int fd; /* for its reports, and for the byte that lets it continue */
    size_t turns;
    struct turn *turn; /* in memory that the client shares */
};

int client_connect(const char *address, unsigned port); /* -1: errno says why not */
bool client_send(int fd, struct turn *turn);
bool client_receive(int fd); /* a whole message; recv() blocks, so the thread sleeps in it */
bool client_start(struct client *client, const struct path *path, struct target *target,
                  unsigned packets);
/* Wait for a report: 'r' ready, with the client's port; 'd' done; 'c' cannot connect, with an
 * errno; 'n' no answer.  0: there was none within this time, or a signal came. */
struct client_report {
    char word;
    int number;
};
struct client_report client_wait_report(const struct client *client, int milliseconds);
void client_go(const struct client *client);
/* Add the client's stamps to the recording. */
void client_stamps(const struct client *client, struct recording *recording);
void client_end(const struct client *client);
/* Like fork(), for a process that ends with this one, however this one ends; and its end. */
pid_t child_start(void);
void child_end(pid_t child);
void client_pause(void); /* for PAUSE_NS */

/* ---- tap.c: playing the network card: Ethernet frames, built by this program ---- */

#define TAP_PORT 40000 /* of the machine that the tracer plays */

struct tap_host;

/* Use `fd`, the card's end of a TAP device.  `print`: at the end, print each frame that matters. */
struct tap_host *tap_open(int fd, unsigned port, bool print, struct recording *recording);
bool tap_connect(struct tap_host *host);
/* Send a message in this many frames, and receive the echo.  `traced`: stamp and print frames. */
bool tap_echo(struct tap_host *host, unsigned frames, bool traced);
void tap_close(struct tap_host *host);

/* ---- run.c and sockets.c: one run: a server, a client, N packets, and their events ---- */

struct plan {
    enum via via;
    unsigned packets;
    const char *server;  /* the program to start; NULL: it is already running, on this port */
    const char *address; /* of a server that runs or is to serve others; NULL: loopback */
    unsigned port;       /* the same; 0: any free port */
    const char *device;  /* of the packets, if others send them or the server is running */
    bool watch;          /* send nothing: follow what others send */
    bool both_ways;      /* follow the replies, too */
};

enum run_result {
    RUN_DONE,        /* the recording holds the events */
    RUN_UNAVAILABLE, /* this machine or this user lacks what is needed; `why` says what */
    RUN_FAILED,      /* it should have worked; `why` says what went wrong */
    RUN_STOPPED      /* by a signal */
};

/* With tracepoints, as root.  The recording is empty at first. */
enum run_result run_traced(const struct plan *plan, struct recording *recording,
                           char why[WHY_SIZE]);
/* With the timestamps of sockets, as any user.  See sockets.c. */
enum run_result run_sockets(unsigned packets, struct recording *recording, char why[WHY_SIZE]);
#ifdef CANNOT_TRACE
#define run_traced(plan, recording, why)                                                           \
    (snprintf(why, WHY_SIZE, "%s", CANNOT_TRACE), (void)(plan), (void)(recording), RUN_UNAVAILABLE)
#define run_sockets(packets, recording, why)                                                       \
    (snprintf(why, WHY_SIZE, "The timestamps of sockets need the same."), RUN_UNAVAILABLE)
#endif
/* CLOCK_MONOTONIC as the kernel's events have it; and how far that of this process is ahead of it,
 * which is 0 unless this process is in a time namespace. */
uint64_t run_now_ns(void);
int64_t run_clock_offset(void);
void run_catch_signals(void);
bool run_stopped(void); /* a signal asked this program to end */

/* ---- output.c: what the user gets to see: text on standard output, and files ---- */

enum { FILE_JSON, FILE_SVG, FILE_RECORD, FILES };

struct output {
    bool brief;              /* one line for each hop, without the reasons */
    enum way way;            /* WAYS: as much as there is */
    bool only_one;           /* show one journey; false: a summary, if the recording has several */
    const char *show;        /* which of several journeys, see journeys_pick(); NULL: none */
    const char *file[FILES]; /* to write; NULL: none */
    int fd[FILES];           /* the same, open */
};

/* Print "trace: WHAT: WHY" and end the program with 1. */
_Noreturn void output_fail(const char *what, const char *why);
/* The exit code: `code`, or 1 if standard output could not be written. */
int output_end(int code);

/* Use tracepoints or, without them, sockets or the recording.  Returns the exit code. */
int trace_with_best_source(const struct plan *plan, const char *last_resort,
                           const struct output *output);
/* Show a recording, or several, at most MAX_COLUMNS, side by side.  Returns the exit code. */
int replay(const char *const *files, size_t count, const struct output *output);
/* The same with packets to the seven servers.  `folder`: this one, with a slash, or empty. */
int trace_all(struct plan *plan, const char *folder, const struct output *output);

#endif
