/* What field-faults.bats needs and no command offers: copies of the server's sockets, an output
 * that nobody reads, and a client that waits for the server to be idle (Linux).
 *
 *   field shutdown-listener PID    take a copy of the listening socket of PID, and shut it down
 *   field copy PID FD              hold a copy of this descriptor of PID until standard input ends
 *   field pace PORT PID N          one connection and N echoes of one byte; before each step, wait
 *                                  until PID sleeps, so that the server logs the same lines each
 * time field output KIND USER DIRECTORY COMMAND... run the command as USER, with this as its
 * stderr: pipe, fifo, stream, dgram, pty, or tostop.  See output() below.
 *
 * Exit code: 0; 1, a call or the server failed, in one line on stderr; 2, a wrong command line. */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS 5000 /* a server that takes longer for one byte has stopped */
#define IDLE_MS 5000
#define CTRL_S '\023'
#define CTRL_Q '\021'

static void fail(const char *format, ...)
{
    va_list values;

    fputs("field: ", stderr);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    exit(1);
}

static void must(bool ok, const char *call)
{
    if (!ok)
        fail("%s: %s", call, strerror(errno));
}

/* ---- Copies of another process's descriptors ---- */

static int copy_of(int pidfd, int fd)
{
    return (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
}

static int open_process(const char *pid)
{
    int pidfd = (int)syscall(SYS_pidfd_open, atoi(pid), 0);

    must(pidfd != -1, "pidfd_open");
    return pidfd;
}

static void shutdown_listener(const char *pid)
{
    int pidfd = open_process(pid);

    for (int fd = 0; fd < 1024; fd++) {
        int copy = copy_of(pidfd, fd), listens = 0;
        socklen_t size = sizeof listens;
        if (copy == -1 && errno == EPERM)
            fail("pidfd_getfd: %s", strerror(errno));
        if (copy == -1)
            continue;
        if (getsockopt(copy, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens) {
            must(shutdown(copy, SHUT_RDWR) == 0, "shutdown");
            return;
        }
        close(copy);
    }
    fail("process %s has no listening socket", pid);
}

static void hold_copy(const char *pid, const char *fd)
{
    char line[16];

    must(copy_of(open_process(pid), atoi(fd)) != -1, "pidfd_getfd");
    puts("copied");
    fflush(stdout);
    while (read(STDIN_FILENO, line, sizeof line) > 0)
        ;
}

/* ---- The paced client ---- */

static long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Wait until the process sleeps: it has done all that the last step caused. */
static void wait_idle(const char *pid)
{
    char path[64], text[512];
    long long deadline = now_ms() + IDLE_MS;

    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    while (now_ms() < deadline) {
        int fd = open(path, O_RDONLY);
        must(fd != -1, path);
        ssize_t n = read(fd, text, sizeof text - 1);
        close(fd);
        text[n > 0 ? n : 0] = '\0';
        char *state = strrchr(text, ')');
        if (state != NULL && state[1] == ' ' && state[2] == 'S')
            return;
    }
    fail("the server was never idle within %d ms", IDLE_MS);
}

static void expect_byte(int fd, int number)
{
    struct pollfd answer = {.fd = fd, .events = POLLIN};
    char byte;

    if (poll(&answer, 1, ANSWER_MS) != 1)
        fail("echo %d did not come back within %d ms: the server has stopped", number, ANSWER_MS);
    if (recv(fd, &byte, 1, 0) != 1)
        fail("echo %d: the server closed the connection", number);
}

static void pace(const char *port, const char *pid, int count)
{
    struct sockaddr_in server = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)atoi(port)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    wait_idle(pid);
    must(connect(fd, (struct sockaddr *)&server, sizeof server) == 0, "connect");
    for (int i = 1; i <= count; i++) {
        wait_idle(pid);
        must(send(fd, "x", 1, MSG_NOSIGNAL) == 1, "send");
        expect_byte(fd, i);
    }
    wait_idle(pid);
    shutdown(fd, SHUT_WR);
    struct pollfd end = {.fd = fd, .events = POLLIN};
    char byte;
    if (poll(&end, 1, ANSWER_MS) != 1 || recv(fd, &byte, 1, 0) != 0)
        fail("the server did not close the connection within %d ms", ANSWER_MS);
    wait_idle(pid);
}

/* ---- An output that nobody reads ---- */

static struct {
    int ours;   /* what the server writes is read here */
    int theirs; /* the server's stderr: the same open file */
} channel;

static void open_pty(void)
{
    channel.ours = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    must(channel.ours != -1 && grantpt(channel.ours) == 0 && unlockpt(channel.ours) == 0, "pty");
    channel.theirs = open(ptsname(channel.ours), O_RDWR | O_NOCTTY | O_CLOEXEC);
    must(channel.theirs != -1, "pty");
}

/* A terminal of a session of ours, in which the server will be a background job. */
static void open_tostop(void)
{
    struct termios settings;

    open_pty();
    must(setsid() != -1, "setsid");
    must(ioctl(channel.theirs, TIOCSCTTY, 0) == 0, "TIOCSCTTY");
    must(tcgetattr(channel.theirs, &settings) == 0, "tcgetattr");
    settings.c_lflag |= TOSTOP;
    must(tcsetattr(channel.theirs, TCSANOW, &settings) == 0, "tcsetattr");
}

static void open_fifo(const char *directory)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/unread", directory);
    must(mkfifo(path, 0600) == 0, "mkfifo");
    channel.ours = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    channel.theirs = open(path, O_WRONLY | O_CLOEXEC);
    must(channel.ours != -1 && channel.theirs != -1, "fifo");
}

static void open_channel(const char *kind, const char *directory)
{
    int pair[2];

    if (strcmp(kind, "pty") == 0) {
        open_pty();
        return;
    }
    if (strcmp(kind, "tostop") == 0) {
        open_tostop();
        return;
    }
    if (strcmp(kind, "fifo") == 0) {
        open_fifo(directory);
        return;
    }
    if (strcmp(kind, "pipe") == 0)
        must(pipe2(pair, O_CLOEXEC) == 0, "pipe");
    else
        must(socketpair(AF_UNIX,
                        (strcmp(kind, "dgram") == 0 ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0,
                        pair) == 0,
             "socketpair");
    channel.ours = pair[0];
    channel.theirs = pair[1];
    fcntl(channel.theirs, F_SETPIPE_SZ, 4096); /* a small pipe is soon full; fails for a socket */
}

static pid_t run(uid_t user, char **command)
{
    pid_t child = fork();

    must(child != -1, "fork");
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    must(dup2(channel.theirs, STDERR_FILENO) != -1, "dup2");
    if (user != 0)
        must(setgroups(0, NULL) == 0 && setgid(user) == 0 && setuid(user) == 0, "setuid");
    execv(command[0], command);
    _exit(127);
}

static void say(FILE *said, const char *text)
{
    fprintf(said, "%s\n", text);
    fflush(said);
}

static bool reading;

/* The terminal obeys the key a moment after it was typed: wait until it has stopped or started. */
static void type_key(char key)
{
    struct pollfd terminal = {.fd = channel.theirs, .events = POLLOUT};
    long long deadline = now_ms() + IDLE_MS;

    must(write(channel.ours, &key, 1) == 1, "write");
    while ((poll(&terminal, 1, 0) == 1) != (key == CTRL_Q) && now_ms() < deadline)
        sched_yield();
}

static void obey(char command, FILE *said)
{
    if (command == 's' || command == 'q')
        type_key(command == 's' ? CTRL_S : CTRL_Q);
    if (command == 'r') { /* a full-size pipe has room for all lines of a client */
        reading = true;
        fcntl(channel.theirs, F_SETPIPE_SZ, 65536);
    }
    if (command == 'f')
        say(said, (fcntl(channel.theirs, F_GETFL) & O_NONBLOCK) != 0 ? "non-blocking" : "blocking");
}

/* Copy what is there.  Once there was something and now is nothing, say so. */
static void copy_output(int log, FILE *said)
{
    static bool something;
    char buffer[65536];
    struct pollfd output = {.fd = channel.ours, .events = POLLIN};

    while (poll(&output, 1, 0) == 1) {
        ssize_t n = read(channel.ours, buffer, sizeof buffer);
        if (n <= 0 || write(log, buffer, (size_t)n) != n)
            return;
        something = true;
    }
    if (something)
        say(said, "drained");
    something = false;
}

/* Nothing is read until the command r arrives in DIRECTORY/commands; then all goes to
 * DIRECTORY/log. The other commands, each one letter: s and q type Ctrl-S and Ctrl-Q at a terminal,
 * f asks whether the open file that the server inherited is non-blocking.  DIRECTORY/said has the
 * answers, and how the server ended. */
static int output(const char *kind, const char *user, const char *directory, char **command)
{
    char path[4096], text[64], letter;
    int status;

    open_channel(kind, directory);
    snprintf(path, sizeof path, "%s/commands", directory);
    must(mkfifo(path, 0600) == 0, "mkfifo");
    int commands = open(path, O_RDWR | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/log", directory);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    snprintf(path, sizeof path, "%s/said", directory);
    FILE *said = fopen(path, "ae");
    must(commands != -1 && log != -1 && said != NULL, path);
    pid_t server = run((uid_t)atoi(user), command);
    while (waitpid(server, &status, WNOHANG) == 0) {
        struct pollfd wait[] = {{.fd = commands, .events = POLLIN},
                                {.fd = reading ? channel.ours : -1, .events = POLLIN}};
        poll(wait, 2, 20); /* and look after the server */
        if ((wait[0].revents & POLLIN) != 0 && read(commands, &letter, 1) == 1)
            obey(letter, said);
        if (reading)
            copy_output(log, said);
    }
    if (reading)
        copy_output(log, said);
    snprintf(text, sizeof text, "%s %d", WIFEXITED(status) ? "exit" : "signal",
             WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    say(said, text);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "shutdown-listener") == 0)
        shutdown_listener(argv[2]);
    else if (argc == 4 && strcmp(argv[1], "copy") == 0)
        hold_copy(argv[2], argv[3]);
    else if (argc == 5 && strcmp(argv[1], "pace") == 0)
        pace(argv[2], argv[3], atoi(argv[4]));
    else if (argc > 5 && strcmp(argv[1], "output") == 0)
        return output(argv[2], argv[3], argv[4], &argv[5]);
    else {
        fputs("usage: see the head of tests/programs/field.c\n", stderr);
        return 2;
    }
    return 0;
}
