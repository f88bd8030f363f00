/* common.h: the code that every stage needs and that no stage is about.  Chapter 1 explains it.
 *
 * This file, common.c, clients.h and clients.c are the same in every folder that has them.  To
 * change one, edit it in one folder and run `make sync FROM=that-folder`. */
#ifndef COMMON_H
#define COMMON_H

#include <stdbool.h>
#include <stddef.h>

/* ---- What server.c provides ---- */

/* A bit that describes the events of a descriptor, and its name for the log. */
struct flag_name {
    unsigned bit;
    const char *name;
};
extern const struct flag_name flag_names[]; /* ends with an entry whose name is NULL */

/* The one command-line option that a stage adds to the common ones; empty strings for none. */
struct stage_option {
    const char *letter;   /* for getopt(3): "e", or "s:" for an option that takes a value */
    const char *synopsis; /* " [-e]" */
    const char *help;     /* its line in the usage text, with the newline */
};
extern const struct stage_option stage_option;

/* ---- Start-up.  A failure prints one line on stderr and ends the program with exit code 1 ---- */

extern struct options {
    const char *address, *port;
    bool verbose;
    bool stage_flag;         /* the stage's own option was given, */
    const char *stage_value; /* with this value, if it takes one */
} options;

/* Open descriptors 0 to 2 if they are closed, so that no socket gets these numbers. */
void reserve_std_fds(void);

/* Fill in `options`.  -h prints the usage text and exits with 0, bad usage exits with 2. */
void read_options(int argc, char **argv);
_Noreturn void bad_usage(const char *what, const char *why);

/* SIGINT and SIGTERM call on_stop; the signals that report a failed write are ignored. */
void install_signal_handlers(void (*on_stop)(int));

extern int listener; /* the socket that clients connect to */

/* Returns a listening TCP socket. */
int listen_on(const char *address, const char *port);

/* Print "listening on ADDRESS:PORT" on stdout. */
void print_listening_address(int listening_fd);

/* Send small replies immediately instead of waiting for an acknowledgement (see tcp(7)). */
void set_nodelay(int fd);

/* Print what failed and why, from errno, and exit with 1. */
_Noreturn void die(const char *what);

/* ---- Errors while serving.  Each function takes an errno value ---- */

/* True if the same call may succeed when it is made again. */
bool is_transient(int error);

/* A call for one client has failed, and errno says why.  Log that the client is closed. */
void log_client_error(const char *call);

/* Report on stderr, the first time, that a call failed for a reason that may affect every client.
 * log_client_error() and back_off() do so if memory or buffers have run out. */
void report_shortage(const char *call);

/* Sleep as long as the error deserves before another attempt: not at all for EINTR and EAGAIN, a
 * moment for ENOBUFS, BACKOFF_MS for any other. */
void back_off(int error);
#define BACKOFF_MS 100

/* What a failed accept() means for the listener. */
enum accept_error {
    ACCEPT_NEXT,     /* the error of one new connection: accept the next one */
    ACCEPT_SHORTAGE, /* no descriptor or memory left: pause, then accept again */
    ACCEPT_BROKEN    /* the listener itself has failed and will never accept again */
};
/* Say so on stderr if the listener has failed, and once if there is a shortage; log any other
 * error. */
enum accept_error log_accept_error(int error);

/* ---- Logging never blocks the server: if nobody reads the output, lines are dropped ---- */

#ifdef __GNUC__
#define PRINTF_LIKE __attribute__((format(printf, 1, 2)))
#else
#define PRINTF_LIKE
#endif

/* With -v, each log line has three columns: what a call returned, for which descriptor, and what
 * the server did.  The first two functions fill in columns; log_action() completes the line and
 * prints it.  Each thread builds its line separately.  None of the functions changes errno. */
void log_call(const char *format, ...) PRINTF_LIKE;
void log_fd(int fd, unsigned flags); /* the flags are named by flag_names[] */
void log_action(const char *format, ...) PRINTF_LIKE;

/* Print "server: " and one line, with or without -v. */
void report_error(const char *format, ...) PRINTF_LIKE;

/* ---- Single-threaded servers: stages 02 to 07 ---- */

extern int shutdown_pipe[2]; /* [0] becomes readable when SIGINT or SIGTERM arrives */

/* All of the start-up above, except print_listening_address(). */
void start_up(int argc, char **argv);

bool set_nonblocking(int fd); /* false: errno says why */
long long now_ms(void);       /* milliseconds on a clock that is never set back */

/* True if a pause of BACKOFF_MS that ends at `until`, on the now_ms() clock, is over. */
bool pause_is_over(long long until);

/* Call this when the wait itself has failed.  It backs off.  Returns true if the loop should wait
 * again, and false if the server was told to stop. */
bool handle_wait_error(const char *call);

#endif
