/* The server under test: start it, find its port, suspend it, measure its CPU time, end it. */
#define _GNU_SOURCE /* prlimit(), on Linux */

#include "ladder.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <ctype.h>
#include <dirent.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#endif

#define MAX_WORDS 32
#define SLOW_START_MS 150  /* a server that takes longer is used for several rungs */
#define IDLE_START_MS 2000 /* a server that does nothing at all for so long will not listen later */
#define LOOK_MS 100        /* how often to look whether it does something */
#define RUN_MS 10          /* an idle server may run this often, for example to look at a flag */
#define SPIN_PERCENT 2     /* a loop that spins gets at least this share, even of a busy CPU */

char **server_words;
bool server_logs;
bool server_is_ours;
bool server_is_new;
const char *stage_option;

static pid_t server_pid; /* also the server's process group; 0: there is none */
static bool ended;       /* it has ended, with this status from waitpid() */
static int end_status;
static int port_number;
static long long started; /* on the clock of now_ms() */
static bool starts_slowly;
static FILE *output, *errors; /* files, so that a server that prints much never blocks */

static void short_sleep(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

int server_port(void)
{
    return port_number;
}

/* ---- start ---- */

/* Ask the kernel for a port that is free now. */
static int free_port(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd == -1 || bind(fd, (struct sockaddr *)&name, size) == -1 ||
        getsockname(fd, (struct sockaddr *)&name, &size) == -1) {
        perror("ladder: no free port");
        exit(2);
    }
    close(fd);
    return ntohs(name.sin_port);
}

/* Append the words of a string of options, such as "-s poll". */
static int add_words(char *words[], int count, const char *text)
{
    static char copies[4][64];
    static int used;
    char *copy = copies[used++ % 4], *word;

    if (text == NULL)
        return count;
    snprintf(copy, sizeof copies[0], "%s", text);
    for (word = strtok(copy, " "); word != NULL && count < MAX_WORDS; word = strtok(NULL, " "))
        words[count++] = word;
    return count;
}

static void fill_in_words(char *words[], int port)
{
    static char port_text[16];
    static char address[] = "127.0.0.1", verbose_option[] = "-v";
    int count = 0;

    snprintf(port_text, sizeof port_text, "%d", port);
    for (char **word = server_words; *word != NULL && count < MAX_WORDS; word++) {
        words[count] = *word;
        if (strcmp(*word, "PORT") == 0)
            words[count] = port_text;
        if (strcmp(*word, "ADDRESS") == 0)
            words[count] = address;
        count++;
    }
    count = add_words(words, count, stage_option);
    count = add_words(words, count, rung->option);
    if ((verbose || server_logs) && server_is_ours && count < MAX_WORDS)
        words[count++] = verbose_option;
    words[count] = NULL;
}

/* The rung reads the server's log, so the reader cannot have it. */
static bool log_is_read(void)
{
    return server_logs || (rung->option != NULL && strstr(rung->option, "-v") != NULL);
}

/* In the child: become the server.  It gets a process group of its own, so that a script and what
 * the script starts can be ended together, and none of our descriptors. */
_Noreturn static void become_server(char *words[])
{
    struct rlimit limit;

    setpgid(0, 0);
    dup2(fileno(output), STDOUT_FILENO);
    if (!verbose || log_is_read())
        dup2(fileno(errors), STDERR_FILENO);
    for (int fd = STDERR_FILENO + 1; fd < 256; fd++)
        close(fd);
    if (rung->nofile > 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = (rlim_t)rung->nofile;
        limit.rlim_max = (rlim_t)(rung->nofile_later > 0 ? rung->nofile_later : rung->nofile);
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    execv(words[0], words);
    fprintf(stderr, "%s: %s\n", words[0], strerror(errno));
    _exit(127);
}

/* Read the first line of a file from its beginning, without its newline. */
static bool first_line(FILE *file, char *line, size_t size)
{
    ssize_t n = pread(fileno(file), line, size - 1, 0);

    line[n > 0 ? n : 0] = '\0';
    char *end = strchr(line, '\n');
    if (end != NULL)
        *end = '\0';
    return end != NULL;
}

/* Our servers print the port that they listen on. */
static bool has_printed_port(void)
{
    char line[200];
    char *port = first_line(output, line, sizeof line) ? strrchr(line, ':') : NULL;

    if (port != NULL && strncmp(line, "listening on ", 13) == 0)
        port_number = atoi(port + 1);
    return port_number != 0;
}

#ifdef __linux__
/* Call visit() for each entry of a folder of /proc whose name is a number. */
static void for_each_number(const char *folder, void (*visit)(const char *path, void *data),
                            void *data)
{
    char path[64];
    struct dirent *entry;
    DIR *list = opendir(folder);

    while (list != NULL && (entry = readdir(list)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snprintf(path, sizeof path, "%.30s/%.20s", folder, entry->d_name);
        visit(path, data);
    }
    if (list != NULL)
        closedir(list);
}

struct activity {
    unsigned long long sum; /* changes when a thread runs, starts or ends */
    bool can_run;           /* a thread runs, waits for a CPU or waits for a disk */
};

/* Each time that a thread stops to run, the kernel counts a context switch. */
static void add_thread(const char *path, void *data)
{
    struct activity *activity = data;
    unsigned long long switches;
    char name[80], line[256], state;

    snprintf(name, sizeof name, "%.60s/status", path);
    FILE *file = fopen(name, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "State: %c", &state) == 1)
            activity->can_run |= strchr("RD", state) != NULL;
        if (sscanf(line, "voluntary_ctxt_switches: %llu", &switches) == 1 ||
            sscanf(line, "nonvoluntary_ctxt_switches: %llu", &switches) == 1)
            activity->sum += switches;
    }
    if (file != NULL)
        fclose(file);
    activity->sum += 1ULL << 40;
}

/* Add a process if it is one of the server's: the server may be a script that starts another. */
static void add_process(const char *path, void *data)
{
    char name[80], line[512] = "";
    int parent = 0, group = 0;

    snprintf(name, sizeof name, "%.60s/stat", path);
    FILE *file = fopen(name, "r");
    const char *text = file != NULL ? fgets(line, sizeof line, file) : NULL;
    if (file != NULL)
        fclose(file);
    if (text == NULL || (text = strrchr(line, ')')) == NULL ||
        sscanf(text, ") %*c %d %d", &parent, &group) != 2)
        return;
    if (group != (int)server_pid && parent != (int)server_pid)
        return;
    snprintf(name, sizeof name, "%.60s/task", path);
    for_each_number(name, add_thread, data);
}

/* A program that starts slowly, on a busy machine too, runs now and then, or waits for a CPU or a
 * disk.  This one does not: none of its threads has run for IDLE_START_MS. */
bool server_is_stuck(void)
{
    static struct activity before;
    static long long looked, changed;
    long long now = now_ms();
    struct activity activity = {0, false};

    if (now - looked < LOOK_MS)
        return false;
    looked = now;
    for_each_number("/proc", add_process, &activity);
    if (activity.can_run || activity.sum == 0 || activity.sum != before.sum || changed < started)
        changed = now;
    before = activity;
    return now - changed >= IDLE_START_MS * (long long)patience_ms / 1000;
}

struct sockets {
    int descriptors, count;
};

static void add_socket(const char *path, void *data)
{
    struct sockets *sockets = data;
    char target[16] = "";

    sockets->descriptors++;
    sockets->count +=
        readlink(path, target, sizeof target - 1) > 0 && strncmp(target, "socket:", 7) == 0;
}

/* A script that starts the server without exec has no socket, and neither has `go run`. */
bool server_has_socket(void)
{
    struct sockets sockets = {0, 0};
    char path[64];

    snprintf(path, sizeof path, "/proc/%ld/fd", (long)server_pid);
    for_each_number(path, add_socket, &sockets);
    return sockets.descriptors == 0 || sockets.count > 0; /* 0: we may not look */
}
/* A server that goes into the background leaves its process group.  Its processes become children of
 * this one when their parents have ended, and so none of them stays. */
static void adopt_orphans(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static void end_if_child(const char *path, void *data)
{
    char name[80], line[512] = "";
    int parent = 0;

    (void)data;
    snprintf(name, sizeof name, "%.60s/stat", path);
    FILE *file = fopen(name, "r");
    const char *text = file != NULL ? fgets(line, sizeof line, file) : NULL;
    if (file != NULL)
        fclose(file);
    if (text != NULL && (text = strrchr(line, ')')) != NULL &&
        sscanf(text, ") %*c %d", &parent) == 1 && parent == (int)getpid())
        kill((pid_t)atoi(line), SIGKILL);
}

static void end_orphans(void)
{
    for (int tries = 0; tries < 100 && waitpid(-1, NULL, WNOHANG) != -1; tries++) {
        for_each_number("/proc", end_if_child, NULL);
        short_sleep();
    }
}
#else
static void adopt_orphans(void)
{
}

static void end_orphans(void)
{
}

bool server_is_stuck(void)
{
    return false;
}

bool server_has_socket(void)
{
    return true;
}
#endif

static void wait_for_port(void)
{
    char line[100];

    for (int tries = START_PATIENCE * patience_ms / 2; !has_printed_port(); short_sleep()) {
        if (server_end(NULL) == NULL && !server_is_stuck() && tries-- > 0)
            continue;
        if (first_line(output, line, sizeof line))
            fail(NO_ADDRESS, "The server's first line is \"%s\".", line);
        fail(NOT_LISTENING, "The server runs, but prints nothing.");
    }
    note("the server listens on port %d", port_number);
}

/* A rung with special conditions needs a server of its own. */
static bool is_plain(void)
{
    return rung->option == NULL && rung->nofile == 0;
}

void server_start(int port)
{
    char *words[MAX_WORDS + 1];

    if (server_pid > 0 && is_plain() && port == 0)
        return; /* server_keep() has kept it */
    server_kill();
    server_forget();
    if (port == 0 && !server_is_ours)
        port = free_port();
    fill_in_words(words, port);
    output = tmpfile();
    errors = tmpfile();
    port_number = server_is_ours ? 0 : port;
    ended = false;
    server_pid = output != NULL && errors != NULL ? fork() : -1;
    if (server_pid == -1) {
        perror("ladder: cannot start the server");
        exit(2);
    }
    started = now_ms();
    if (server_pid == 0)
        become_server(words);
    adopt_orphans();
    setpgid(server_pid, server_pid); /* whichever of the two processes is first */
    server_is_new = !server_is_ours;
    if (server_is_ours)
        wait_for_port();
}

void server_listens(void)
{
    starts_slowly = now_ms() - started > SLOW_START_MS;
    server_is_new = false;
}

bool server_keep(void)
{
    return starts_slowly && is_plain() && server_end(NULL) == NULL;
}

/* ---- its end ---- */

const char *server_end(int *by_signal)
{
    static char text[60];

    if (!ended && (server_pid == 0 || waitpid(server_pid, &end_status, WNOHANG) != server_pid))
        return NULL;
    ended = true;
    bool killed = WIFSIGNALED(end_status);
    if (by_signal != NULL)
        *by_signal = killed ? WTERMSIG(end_status) : 0;
    if (killed)
        snprintf(text, sizeof text, "by signal %d (%s)", WTERMSIG(end_status),
                 strsignal(WTERMSIG(end_status)));
    else
        snprintf(text, sizeof text, "with exit code %d", WEXITSTATUS(end_status));
    return text;
}

bool server_wait_end(int ms)
{
    for (long long end = now_ms() + ms; server_end(NULL) == NULL; short_sleep())
        if (now_ms() > end)
            return false;
    return true;
}

const char *server_complaint(void)
{
    static char line[120];
    char text[4096];
    struct stat status;

    line[0] = '\0';
    if (errors == NULL || fstat(fileno(errors), &status) == -1)
        return line;
    off_t begin = status.st_size > (off_t)sizeof text ? status.st_size - (off_t)sizeof text : 0;
    ssize_t n = pread(fileno(errors), text, sizeof text - 1, begin);
    while (n > 0 && text[n - 1] == '\n')
        n--;
    text[n > 0 ? n : 0] = '\0';
    const char *newline = strrchr(text, '\n');
    snprintf(line, sizeof line, "%.*s", (int)sizeof line - 1, newline != NULL ? newline + 1 : text);
    return line;
}

/* Call visit() for each line of the server's log.  The server writes at the file's offset, so this
 * must not move it. */
static void read_log(void (*visit)(const char *line, void *data), void *data)
{
    char text[65536];
    off_t at = 0;
    ssize_t n;

    while (errors != NULL && (n = pread(fileno(errors), text, sizeof text - 1, at)) > 0) {
        text[n] = '\0';
        char *line = text, *end;
        for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            visit(line, data);
        }
        at += line > text ? line - text : n; /* the rest of a line comes with the next block */
    }
}

struct search {
    const char *const *texts;
    const char *until; /* stop counting at a line with this text, but not before the line `from` */
    long count, from;
    bool stopped;
    char last[120];
};

static void search_line(const char *line, void *data)
{
    struct search *search = data;

    for (const char *const *text = search->texts; *text != NULL; text++) {
        if (strstr(line, *text) == NULL || search->stopped)
            continue;
        if (search->until != NULL && search->count >= search->from)
            search->stopped = strstr(line, search->until) != NULL;
        search->count += !search->stopped;
        snprintf(search->last, sizeof search->last, "%s", line);
        return;
    }
}

long server_log_count(const char *text, long from, const char *until)
{
    const char *const texts[] = {text, NULL};
    struct search search = {.texts = texts, .from = from, .until = until};

    read_log(search_line, &search);
    return search.count - from;
}

const char *server_log_line(const char *const texts[])
{
    static struct search search;

    search = (struct search){.texts = texts};
    read_log(search_line, &search);
    return search.count > 0 ? search.last : NULL;
}

#ifdef __linux__
static bool is_socket(int fd)
{
    char path[64], target[16] = "";

    snprintf(path, sizeof path, "/proc/%ld/fd/%d", (long)server_pid, fd);
    return readlink(path, target, sizeof target - 1) > 0 && strncmp(target, "socket:", 7) == 0;
}

/* /proc/PID/fdinfo/FD of an epoll descriptor has a line for each entry of its interest list: "tfd:
 * 8 events: 80002019 data: ...".  Count the sockets with and without EPOLLET. */
static void count_entries(int epoll_fd, int *with, int *without)
{
    char line[300];
    unsigned events;
    int fd;

    snprintf(line, sizeof line, "/proc/%ld/fdinfo/%d", (long)server_pid, epoll_fd);
    FILE *file = fopen(line, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "tfd: %d events: %x", &fd, &events) == 2 && is_socket(fd))
            ++*((events & EPOLLET) != 0 ? with : without);
    if (file != NULL)
        fclose(file);
}

bool server_clients_are_edge_triggered(void)
{
    char path[64];
    int with = 0, without = 0;

    snprintf(path, sizeof path, "/proc/%ld/fdinfo/0", (long)server_pid);
    if (access(path, R_OK) == -1)
        return true;
    for (int fd = 0; fd < 32; fd++)
        count_entries(fd, &with, &without);
    /* One socket is the listener.  Without any, this process is not the one that waits. */
    return with + without == 0 || (with > 0 && without <= 1);
}
#else
bool server_clients_are_edge_triggered(void)
{
    return true;
}
#endif

void server_signal(int signal_number)
{
    if (!ended && server_pid > 0)
        kill(server_pid, signal_number);
}

void server_suspend(void)
{
    int status;

    server_signal(SIGSTOP);
    if (ended || waitpid(server_pid, &status, WUNTRACED) != server_pid || WIFSTOPPED(status))
        return;
    ended = true;
    end_status = status;
}

void server_resume(void)
{
    server_signal(SIGCONT);
}

#ifdef __linux__
void server_set_nofile(int limit)
{
    struct rlimit both;

    if (prlimit(server_pid, RLIMIT_NOFILE, NULL, &both) == -1)
        return;
    both.rlim_cur = (rlim_t)limit;
    prlimit(server_pid, RLIMIT_NOFILE, &both, NULL);
}
#endif

void server_kill(void)
{
    if (server_pid > 0)
        kill(-server_pid, SIGKILL);
}

void server_forget(void)
{
    if (server_pid > 0 && !ended)
        waitpid(server_pid, &end_status, 0);
    end_orphans();
    if (output != NULL)
        fclose(output);
    if (errors != NULL)
        fclose(errors);
    output = errors = NULL;
    server_pid = 0;
}

/* ---- its CPU time ---- */

/* ps prints [[days-]hours:]minutes:seconds, with hundredths on macOS and the BSDs. */
static long cpu_us_from_ps(void)
{
    char command[60], text[40] = "";
    double seconds = 0;

    snprintf(command, sizeof command, "ps -o time= -p %ld", (long)server_pid);
    FILE *ps = popen(command, "r");
    if (ps == NULL)
        return -1;
    bool read = fgets(text, sizeof text, ps) != NULL;
    pclose(ps);
    for (char *part = strtok(text, ":-"); read && part != NULL; part = strtok(NULL, ":-"))
        seconds = seconds * 60 + atof(part);
    return read ? (long)(seconds * 1e6) : -1;
}

long server_cpu_us(void)
{
#if defined(_POSIX_CPUTIME) && _POSIX_CPUTIME >= 0
    clockid_t cpu_clock;
    struct timespec time;

    if (clock_getcpuclockid(server_pid, &cpu_clock) == 0 && clock_gettime(cpu_clock, &time) == 0)
        return (long)time.tv_sec * 1000000 + time.tv_nsec / 1000;
#endif
    return cpu_us_from_ps();
}

/* How often the server's first thread has stopped to run; 0 if this system does not say. */
static unsigned long long server_stops(void)
{
#ifdef __linux__
    struct activity activity = {0, false};
    char path[40];

    snprintf(path, sizeof path, "/proc/%ld", (long)server_pid);
    add_thread(path, &activity);
    return activity.sum;
#else
    return 0;
#endif
}

/* A spinning loop uses the CPU in both halves of the time.  A server that still has work to do when
 * the measurement begins uses it in the first half only.  With a short sleep in the loop it hardly
 * uses the CPU, but runs every few milliseconds. */
bool server_spins(int ms)
{
    ms = ms * (patience_ms / 1000); /* on a busy machine, a spinning loop may have to wait too */
    for (int half = 1; half <= 2; half++) {
        unsigned long long stops = server_stops();
        long before = server_cpu_us();
        nanosleep(&(struct timespec){.tv_sec = ms / 2000, .tv_nsec = ms % 2000 * 500000L}, NULL);
        long used = server_cpu_us() - before;
        note("in %d ms without any event, the server used %ld us of CPU time", ms / 2, used);
        bool runs = server_stops() - stops >= (unsigned)ms / 2 / RUN_MS;
        if (before < 0 || (used < ms * 500L / 100 * SPIN_PERCENT && !runs))
            return false;
    }
    return true;
}
