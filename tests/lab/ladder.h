/* ladder.h: what the files of the ladder share.
 *
 *   ladder.c   the command line, the order of the rungs, and the report
 *   rungs.c    two tables, of rungs and of causes, and one function for each rung
 *   peer.c     the client's side of a connection: connect, send, read and check every byte
 *   process.c  the server under test: start, suspend, measure and end it */
#ifndef LADDER_H
#define LADDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- rungs.c ---- */

/* The likely cause of a failure.  causes[] in rungs.c has the text of each. */
enum cause {
    USUAL,
    BUILD_ERROR,
    GAP_EMPTY,
    NOT_EDGE,
    EDGE_STARVES,
    EDGE_FORGETS,
    EVENT_OF_NOBODY,
    ALREADY_LISTED,
    EXITS_AT_START,
    NO_EXEC,
    NOT_LISTENING,
    NO_ADDRESS,
    LOOP_RETURNS,
    CRASHES,
    KILLED_BY_SIGPIPE,
    NO_BRANCH,
    STILL_WATCHED,
    LOOP_SPINS,
    CLOSES_TOO_SOON,
    CLOSES_AFTER_ONE,
    ARMED_ONCE,
    ONE_CLIENT_AT_A_TIME,
    WAITS_FOR_A_LINE,
    WAITS_FOR_A_BUFFER,
    STRING_FUNCTIONS,
    WRONG_BYTES,
    WRONG_CLIENT,
    SWALLOWS,
    SLOW,
    INTERRUPTED,
    SENT_TWICE,
    REST_DROPPED,
    REST_OVERWRITTEN,
    SHARED_BUFFER,
    ONE_READ_PER_EVENT,
    NOT_WRITABLE,
    BLOCKS_IN_RECV,
    BLOCKS_IN_SEND,
    SPINS_WHEN_IDLE,
    FIN_IGNORED,
    FIN_SPINS,
    CLOSES_AT_FIN,
    CLOSES_PENDING,
    RESET_FOR_FIN,
    RESET_IS_FATAL,
    HANGUP_IGNORED,
    WRONG_ENTRY,
    READS_WITHOUT_BOUND,
    PENDING_SPINS,
    WRITE_LEFT_ARMED,
    TOO_FEW_CLIENTS,
    BACKLOG_SHORT,
    ONE_ACCEPT,
    DESCRIPTOR_LEAK,
    SHORTAGE_IS_FATAL,
    SHORTAGE_SPINS,
    SHORTAGE_CLOSES,
    SHORTAGE_LASTS,
    NEVER_RETRIED,
    STOP_IGNORED,
    STOP_BY_DEFAULT,
    PORT_IN_USE,
    CAUSE_COUNT
};

struct cause_text {
    const char *text;
    const char *book; /* the section that explains it */
};
extern const struct cause_text causes[CAUSE_COUNT];

/* One rung of the ladder.  The four causes are reported if the rung's function knows nothing more
 * precise.  The usual ones are LOOP_RETURNS, CLOSES_TOO_SOON, NO_BRANCH and WRONG_BYTES. */
struct rung {
    const char *name;     /* one word, for the state file and the command line */
    const char *title;    /* in the report: "7 of 18: a large message" */
    const char *test;     /* what the clients do, */
    const char *expected; /* and what has to happen */
    void (*run)(void);
    enum cause ends;    /* the server has ended */
    enum cause closes;  /* it has closed or reset the connection */
    enum cause silent;  /* it does not answer */
    enum cause differs; /* other bytes came back */
    const char *stages; /* the digits of the stages that have this rung; NULL: every stage */
    const char *option; /* an additional option for the server, or NULL */
    int nofile;         /* the server's RLIMIT_NOFILE, hard too; 0: as many as the ladder has */
    int nofile_later;   /* 0, or what the rung raises it to: the hard limit is this one */
};
extern const struct rung rungs[]; /* ends with an entry whose name is NULL */
#define BASIC_RUNGS 6 /* it compiles, starts, and echoes for two clients, also in pieces */

/* Find out with new connections whether the server calls recv() only once per event. */
bool reads_once_per_event(void);

/* ---- ladder.c ---- */

extern const struct rung *rung; /* the one that runs now */
extern char stage_digit;        /* of the stage; '0' for a server that is none of ours */
extern int patience_ms;         /* a server that makes no progress for so long has failed */
extern bool verbose;            /* print each step of the client, and the server's log */
extern const char *build_command;
extern char build_warning[180]; /* the compiler's first warning; empty if there is none */

/* End the rung: this is what happened instead, and its likely cause.  If the server has ended, that
 * is reported instead. */
_Noreturn void fail(enum cause cause, const char *format, ...);

/* With verbose, print a line about what the client does. */
void note(const char *format, ...);

/* ---- process.c ---- */

extern char **server_words;      /* the command line; the words PORT and ADDRESS are replaced */
extern bool server_is_ours;      /* it prints "listening on ADDRESS:PORT", and takes -p 0 and -v */
extern const char *stage_option; /* selects a variant of the stage, such as "-s poll"; or NULL */

/* Start the server.  `port` is a number, or 0 for any.  Our servers say when they listen; with any
 * other server, the first connection is tried until it succeeds. */
void server_start(int port);
int server_port(void);
extern bool server_is_new; /* it may not listen yet */
void server_listens(void); /* the first connection has succeeded */

/* True if the next rung should use the same server, because it takes long to start. */
bool server_keep(void);
#define START_PATIENCE 4 /* times patience_ms: a program may take a while to start */

/* True if the server has been started and does nothing any more, so that it is no use to wait until
 * it listens.  False if this system does not show what it does. */
bool server_is_stuck(void);

/* False if the server that listens is another process than the one that was started.  True if this
 * system does not show that. */
bool server_has_socket(void);

/* How the server ended, as a clause: "with exit code 1".  NULL while it runs.  *by_signal becomes the
 * signal that ended it, or 0. */
const char *server_end(int *by_signal);

/* The last line that the server wrote on stderr, for messages; "" if there is none. */
const char *server_complaint(void);

/* A server of ours with -v logs each call on stderr.  With server_logs, every server of ours has
 * this option.  server_log_count() counts the lines with a text, from the number `from` on, and up
 * to the one that has `until` too (NULL: all).  server_log_line() finds the last line with any of
 * the texts; NULL if there is none. */
extern bool server_logs;
long server_log_count(const char *text, long from, const char *until);
const char *server_log_line(const char *const texts[]);

/* True if the entries of all clients in the server's epoll instance have EPOLLET, or if this system
 * does not show them. */
bool server_clients_are_edge_triggered(void);

void server_suspend(void); /* returns when it is suspended */
void server_resume(void);
void server_signal(int signal_number);
void server_set_nofile(int limit); /* Linux only */

/* Wait until the server has ended.  Returns false if it still runs after so many milliseconds. */
bool server_wait_end(int ms);

/* CPU time that the server has used, in microseconds; -1 if this system does not say. */
long server_cpu_us(void);

/* True if the server uses a CPU although nothing happens for so many milliseconds, times the
 * patience in seconds. */
bool server_spins(int ms);

/* Kill the server, if it runs.  Async-signal-safe. */
void server_kill(void);
void server_forget(void); /* after server_kill(): wait for it and remove its output */

/* ---- peer.c ---- */

/* The client's end of a connection.  `sent` and `got` count bytes of its stream: pseudo-random
 * bytes that are different for each connection, so that a wrong byte can be traced. */
struct peer {
    int fd;
    char name; /* 'A' for the first */
    uint64_t sent, got;
};

long long now_us(void);
long long now_ms(void);

/* Connect; with a small receive buffer, the server soon has short writes. */
struct peer *peer_connect(void);
struct peer *peer_connect_small(void);
/* On Linux, wait until the server's kernel has everything that was sent.  On a busy machine, even the
 * loopback interface takes a moment. */
void peer_wait_acknowledged(const struct peer *peer);
void peer_close(struct peer *peer); /* with FIN */
void peer_reset(struct peer *peer); /* with RST */
void peer_shutdown(struct peer *peer);
void peers_forget(void); /* close all of them */

/* The verbs for short texts.  expect_echo() sends a text and reads it back. */
void peer_send(struct peer *peer, const char *text);
void peer_expect(struct peer *peer, const char *text);
void expect_echo(struct peer *peer, const char *text);

/* Read exactly these bytes; a function that diagnoses a failure uses the results.  GOT_OTHER means
 * that the bytes differ. */
enum got { GOT_IT, GOT_NOTHING, GOT_EOF, GOT_RESET, GOT_OTHER };
enum got peer_read(struct peer *peer, const void *bytes, size_t length, int ms);

/* What the last peer_read() received: how many of the bytes that it wanted, and, after GOT_OTHER,
 * everything as a text for messages. */
extern size_t read_right;
extern char read_text[60];

/* End the rung with the rung's own cause for this result. */
_Noreturn void fail_as(enum got got, const struct peer *peer, const char *wanted);

/* Read the server's FIN.  Fails if something else comes first. */
void expect_fin(struct peer *peer);

/* The verbs for the stream.  stream_fill() sends without reading until nothing more is taken, and
 * returns false if the server took `most` bytes; stream_echo() sends so many bytes and reads
 * everything back at the same time; stream_drain() reads until got == sent. */
bool stream_fill(struct peer *peer, uint64_t most);
void stream_send(struct peer *peer, uint64_t length); /* into the socket's buffer, at once */
void stream_echo(struct peer *peer, uint64_t length);
void stream_read_available(struct peer *peer); /* until nothing more comes for a moment */
void stream_drain(struct peer *peer);

#endif
