/* The load generator of `make bench`: many clients, which check every byte, and the CPU time that
 * they cost the server.  Several servers are measured in turn, round by round, so that other work
 * on this machine affects all of them equally.
 *
 * Interface: load [OPTION]... NAME:PID:PORT:MOST:PACE...   (`load -h` lists the options)
 * MOST is the number of connections that the server can hold; 0 means no limit.  PACE is how many
 * connections may wait in its backlog; 0 marks the control, which never gets an idle connection.
 * Lines of tab-separated values go to stdout, see print_sample().  Exit code: 0 if everything was
 * measured; 1 if a server sent a wrong echo or none; 2 if the command line is wrong.
 *
 * Each server has two helper processes: one for the active connections and one for the idle ones,
 * so that the idle connections do not slow the active ones.  The helpers end with this process. */
#define _DEFAULT_SOURCE /* NetBSD hides parts of POSIX from a program that asks for POSIX only */

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PERIOD 65521 /* of the bytes on a connection; a prime, so no message size divides it */
#define SIZE_MOST 65536
#define DEPTH_MOST 64     /* messages in transit on one connection */
#define LEVELS_MOST 16    /* numbers of idle connections in one run */
#define TIMEOUT_MS 5000   /* a server that is silent for so long has failed */
#define HELPER_SECONDS 90 /* no single order takes longer; then the helper is killed */
#define CONTROL_PACE 100  /* the control is one of our servers, which have a long backlog */
#define CHURN_MOST 400    /* connections in one window; each leaves a port in TIME_WAIT */

static const char usage[] =
    "usage: load [OPTION]... NAME:PID:PORT:MOST:PACE...\n"
    "  -q WORD       the first column of what is printed (echo)\n"
    "  -n ACTIVE     number of active connections (50)\n"
    "  -i IDLE,...   numbers of idle connections, ascending (0)\n"
    "  -s BYTES      size of a message, at most 65536 (64)\n"
    "  -d DEPTH      messages in transit on each connection, at most 64 (1)\n"
    "  -R RATE       open loop: send RATE messages a second (0: closed loop)\n"
    "  -r ROUNDS     number of windows for each server (7)\n"
    "  -f ROUND      number of the first round (0)\n"
    "  -w MS         length of a window (100)\n"
    "  -e ECHOES     end a window after so many echoes (0: by time only)\n"
    "  -c            open and close connections one after the other, with one echo\n"
    "                each, instead\n"
    "  -H            also print a histogram of the latencies\n"
    "  -P FROM,TO,BEGIN,TEXT   show progress on stderr, from FROM to TO thousandths\n";

static struct options {
    const char *question;
    long active, size, depth, rate, rounds, first, window_ms, echoes;
    long levels[LEVELS_MOST];
    int level_count;
    bool churn, histogram;
    long from, to, begin; /* of the progress; if to is 0, none is shown */
    const char *text;
} options = {.question = "echo",
             .active = 50,
             .size = 64,
             .depth = 1,
             .rounds = 7,
             .window_ms = 100,
             .level_count = 1};

struct order { /* to a helper */
    char what; /* 'a': open `value` active connections; 'h': hold `value` idle ones; 'm': measure */
    long value;
};

struct sample {
    uint64_t echoes, cpu_ns, p50_ns, p99_ns, p999_ns;
    double seconds;
    long switches; /* of context; -1 if they were not counted */
};

struct answer { /* from a helper; `why` is empty if the order was carried out */
    char why[120];
    struct sample sample;
};

struct helper {
    pid_t pid;
    int to, from;
};

struct target {
    const char *name, *port;
    pid_t pid;
    long most, pace;
    bool out; /* it has failed and is not measured any more */
    long idle;
    long long user_before;  /* its user memory without idle connections */
    long long kernel_added; /* kernel memory for its idle connections */
    struct helper active_helper, idle_helper;
};

static struct target *targets;
static int target_count;
static struct target *served; /* in a helper: the server that it connects to */
static bool any_wrong;
static volatile sig_atomic_t stopped;

/* ---- small helpers ---- */

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void bad_usage(const char *what, const char *why)
{
    fprintf(stderr, "load: \"%s\": %s\n%s", what, why, usage);
    exit(2);
}

/* In a helper: report why the order was not carried out, and exit.  The parent drops the server. */
static void give_up(const char *format, ...)
{
    struct answer answer = {.why = ""};
    va_list values;

    va_start(values, format);
    vsnprintf(answer.why, sizeof answer.why, format, values);
    va_end(values);
    ssize_t written = write(STDOUT_FILENO, &answer, sizeof answer);
    (void)written; /* if this fails, the parent has exited */
    _exit(1);
}

/* Read exactly this many bytes from a pipe.  False: its other end is closed. */
static bool read_all(int fd, void *data, size_t length)
{
    for (size_t got = 0; got < length;) {
        ssize_t n = read(fd, (char *)data + got, length - got);
        if (n == -1 && errno == EINTR && !stopped)
            continue;
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

/* ---- CPU time and memory of a server ---- */

/* The number after this word at the start of a line in a file of /proc, or -1. */
static long long proc_figure(const char *path, const char *word)
{
    char line[256];
    long long found = -1;
    FILE *file = fopen(path, "r");

    if (file == NULL)
        return -1;
    while (found == -1 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, word, strlen(word)) == 0)
            found = strtoll(line + strlen(word), NULL, 10);
    fclose(file);
    return found;
}

/* A column of `ps`, for systems without a more precise source; "1:02.03" is 62.03. */
static double ps_figure(pid_t pid, const char *column)
{
    char command[80], words[80] = "";
    double figure = 0;

    snprintf(command, sizeof command, "ps -o %s= -p %ld", column, (long)pid);
    FILE *ps = popen(command, "r");
    if (ps == NULL)
        return 0;
    if (fgets(words, sizeof words, ps) != NULL)
        for (char *part = strtok(words, ":"); part != NULL; part = strtok(NULL, ":"))
            figure = figure * 60 + strtod(part, NULL);
    pclose(ps);
    return figure;
}

/* The CPU time of a process with all its threads, as precisely as the system reports it. */
static uint64_t cpu_ns(pid_t pid)
{
#ifndef __APPLE__ /* which has no clock_getcpuclockid() */
    struct timespec used;
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &used) == 0)
        return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
#endif
    return (uint64_t)(ps_figure(pid, "time") * 1e9);
}

/* The voluntary and involuntary context switches of its threads; -1 if they are unknown. */
static long switches(pid_t pid)
{
    char path[300];
    long sum = 0;
    struct dirent *entry;

    snprintf(path, sizeof path, "/proc/%ld/task", (long)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return -1;
    while ((entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%ld/task/%.20s/status", (long)pid, entry->d_name);
        sum += (long)proc_figure(path, "voluntary_ctxt_switches:");
        sum += (long)proc_figure(path, "nonvoluntary_ctxt_switches:");
    }
    closedir(tasks);
    return sum;
}

/* The private memory of the server in bytes.  smaps_rollup counts the pages; RssAnon is cheaper to
 * read, but may be wrong by some dozen pages for each processor. */
static long long user_memory(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", (long)pid);
    long long kib = proc_figure(path, "Anonymous:");
    if (kib == -1)
        kib = (long long)ps_figure(pid, "rss");
    return kib * 1024;
}

/* Bytes that the kernel uses for its objects, stacks and page tables, for the whole system. */
static long long kernel_memory(void)
{
    static const char *const words[] = {"Slab:", "KernelStack:", "PageTables:"};
    long long sum = 0;

    for (int i = 0; i < 3; i++) {
        long long kib = proc_figure("/proc/meminfo", words[i]);
        if (kib == -1)
            return -1;
        sum += kib * 1024;
    }
    return sum;
}

/* ---- connections, in a helper ---- */

static unsigned char pattern[PERIOD + SIZE_MOST];

/* A byte of splitmix64 of each position.  The start is repeated at the end, so that a message is
 * always contiguous. */
static void make_pattern(void)
{
    for (uint64_t i = 0; i < PERIOD; i++) {
        uint64_t word = (i + 1) * 0x9e3779b97f4a7c15u;
        word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
        word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
        pattern[i] = (unsigned char)(word ^ (word >> 31));
    }
    for (size_t i = PERIOD; i < sizeof pattern; i++)
        pattern[i] = pattern[i - PERIOD];
}

static int open_connection(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(served->port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval timeout = {.tv_sec = TIMEOUT_MS / 1000};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd == -1)
        give_up("socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout); /* also for connect() */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == -1)
        give_up("connect: %s", errno == EINPROGRESS ? "no answer for 5 s" : strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

/* Echo one byte.  Then the server has accepted this connection and all earlier ones. */
static void one_echo(int fd)
{
    unsigned char byte = 0x5a, back = 0;

    ssize_t n = send(fd, &byte, 1, 0);
    if (n == 1)
        n = recv(fd, &back, 1, 0);
    if (n == -1)
        give_up("%s", errno == EAGAIN ? "a new connection had no answer for 5 s" : strerror(errno));
    if (n != 1 || back != byte)
        give_up(n == 1 ? "wrong echo of a single byte" : "the server closed a new connection");
}

/* Open connections until there are `count`, in groups that fit into the backlog.  The server is
 * stopped meanwhile, because poll() would otherwise scan its whole list for every few new
 * connections.  When the last one of a group gets an answer, all of them have been accepted. */
static void open_many(int *fds, long have, long count)
{
    long pace = served->pace > 0 ? served->pace : CONTROL_PACE;

    while (have < count) {
        long piece = count - have < pace ? count - have : pace;
        kill(served->pid, SIGSTOP);
        for (long i = 0; i < piece; i++)
            fds[have + i] = open_connection();
        kill(served->pid, SIGCONT);
        have += piece;
        one_echo(fds[have - 1]);
    }
}

static int *room_for(int *fds, long count)
{
    int *larger = realloc(fds, (size_t)count * sizeof *larger);

    if (larger == NULL)
        give_up("out of memory");
    return larger;
}

/* ---- latencies ---- */

/* Sixteen buckets for each power of two, so a latency is known within 6 percent. */
#define STEPS 16
static uint32_t histogram[64 * STEPS];

static size_t bucket_of(uint64_t ns)
{
    unsigned doubling = 0;

    while (ns >> doubling >= 2 * STEPS)
        doubling++;
    return doubling * STEPS + (size_t)(ns >> doubling);
}

static uint64_t bucket_ends(size_t bucket)
{
    size_t doubling = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;

    return (uint64_t)(bucket - doubling * STEPS + 1) << doubling;
}

static uint64_t percentile(uint64_t count, double share)
{
    uint64_t seen = 0;
    size_t bucket = 0;

    while (bucket < 64 * STEPS - 1 && (double)(seen += histogram[bucket]) < share * (double)count)
        bucket++;
    return bucket_ends(bucket);
}

/* ---- active connections ---- */

struct stream { /* one connection: `asked` messages were started, `answered` are back completely */
    uint64_t sent, got, asked, answered;
    uint64_t since[DEPTH_MOST]; /* when each message in transit was started */
};
static struct stream *streams;
static struct pollfd *list;
static long connections;
static uint64_t window_start;    /* when this window began */
static uint64_t asked, answered; /* messages of all connections in this window */

static void ask(struct stream *stream, uint64_t when)
{
    stream->since[stream->asked++ % DEPTH_MOST] = when;
    asked++;
}

/* Whether one more message may be started in this window. */
static bool may_ask(uint64_t now)
{
    return now < window_start + (uint64_t)options.window_ms * 1000000u &&
           (options.echoes == 0 || asked < (uint64_t)options.echoes);
}

/* Each connection starts at its own position of the pattern, so that a byte which reaches the wrong
 * client is detected. */
static const unsigned char *stream_at(long i, uint64_t position)
{
    return pattern + ((uint64_t)i * 131 + position) % PERIOD;
}

static void send_some(long i)
{
    struct stream *stream = &streams[i];
    uint64_t size = (uint64_t)options.size;

    while (stream->sent < stream->asked * size) {
        uint64_t left = stream->asked * size - stream->sent;
        size_t most = left < SIZE_MOST ? (size_t)left : SIZE_MOST;
        ssize_t n = send(list[i].fd, stream_at(i, stream->sent), most, 0);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1 && errno != EAGAIN)
            give_up("send: %s", strerror(errno));
        stream->sent += n > 0 ? (uint64_t)n : 0;
        if (n == -1)
            break;
    }
    list[i].events = stream->sent < stream->asked * size ? POLLIN | POLLOUT : POLLIN;
}

static void receive_some(long i)
{
    static unsigned char buffer[SIZE_MOST];
    struct stream *stream = &streams[i];
    ssize_t n = recv(list[i].fd, buffer, sizeof buffer, 0);

    if (n == -1 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == -1)
        give_up("recv: %s", strerror(errno));
    if (n == 0)
        give_up("the server closed a connection in the middle of an echo");
    if (memcmp(buffer, stream_at(i, stream->got), (size_t)n) != 0)
        give_up("wrong echo: byte %llu or later, connection %ld", (unsigned long long)stream->got,
                i);
    stream->got += (uint64_t)n;
    if (stream->got > stream->sent)
        give_up("wrong echo: more bytes came back than were sent, connection %ld", i);
    uint64_t now = now_ns();
    while ((stream->answered + 1) * (uint64_t)options.size <= stream->got) {
        histogram[bucket_of(now - stream->since[stream->answered++ % DEPTH_MOST])]++;
        answered++;
        if (options.rate == 0 && may_ask(now))
            ask(stream, now);
    }
}

/* Open loop: start the messages that are due.  A latency counts from the time when it was due. */
static void ask_what_is_due(uint64_t now)
{
    uint64_t due = (now - window_start) * (uint64_t)options.rate / 1000000000u;

    while (asked < due && may_ask(now)) {
        long i = (long)(asked % (uint64_t)connections);
        if (streams[i].asked - streams[i].answered == DEPTH_MOST)
            return;
        ask(&streams[i], window_start + asked * 1000000000u / (uint64_t)options.rate);
        send_some(i);
    }
}

/* Measure one window.  No message is in transit at its start and at its end. */
static void measure_echoes(void)
{
    window_start = now_ns();
    asked = answered = 0;
    for (long i = 0; i < connections && options.rate == 0; i++) {
        for (long j = 0; j < options.depth && may_ask(window_start); j++)
            ask(&streams[i], window_start);
        send_some(i);
    }
    for (;;) {
        uint64_t now = now_ns();
        if (options.rate > 0)
            ask_what_is_due(now);
        if (answered == asked && !(options.rate > 0 && may_ask(now)))
            return;
        int ready = poll(list, (nfds_t)connections, answered == asked ? 1 : TIMEOUT_MS);
        if (ready == -1 && errno != EINTR)
            give_up("poll: %s", strerror(errno));
        if (ready == 0 && answered < asked)
            give_up("no echo for 5 s, with %llu messages in transit",
                    (unsigned long long)(asked - answered));
        for (long i = 0; i < connections && ready > 0; i++) {
            if (list[i].revents == 0)
                continue;
            if ((list[i].revents & ~POLLOUT) != 0)
                receive_some(i);
            send_some(i);
        }
    }
}

/* Open and close connections one after the other, with one echo each. */
static void measure_churn(void)
{
    window_start = now_ns();
    asked = answered = 0;
    while (may_ask(now_ns()) && answered < CHURN_MOST) {
        char byte;
        uint64_t since = now_ns();
        int fd = open_connection();
        one_echo(fd);
        shutdown(fd, SHUT_WR);
        if (recv(fd, &byte, 1, 0) != 0)
            give_up("the server did not close the connection after the client's FIN");
        close(fd);
        histogram[bucket_of(now_ns() - since)]++;
        asked++;
        answered++;
    }
}

static struct sample measure(void)
{
    bool count = served->idle == 0 && options.active <= 500; /* few threads, which are read fast */
    long before = count ? switches(served->pid) : -1;
    struct sample sample = {.switches = -1};

    memset(histogram, 0, sizeof histogram);
    uint64_t cpu = cpu_ns(served->pid);
    if (options.churn)
        measure_churn();
    else
        measure_echoes();
    sample.cpu_ns = cpu_ns(served->pid) - cpu;
    sample.seconds = (double)(now_ns() - window_start) / 1e9;
    if (before != -1)
        sample.switches = switches(served->pid) - before;
    sample.echoes = answered;
    sample.p50_ns = percentile(answered, 0.5);
    sample.p99_ns = percentile(answered, 0.99);
    sample.p999_ns = percentile(answered, 0.999);
    return sample;
}

/* Active connections have O_NONBLOCK, because send() on NetBSD blocks in spite of MSG_DONTWAIT. */
static void open_active(long count)
{
    int *fds = room_for(NULL, count);

    streams = calloc((size_t)count, sizeof *streams);
    list = calloc((size_t)count, sizeof *list);
    if (streams == NULL || list == NULL)
        give_up("out of memory");
    open_many(fds, 0, count);
    for (long i = 0; i < count; i++) {
        list[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
        if (fcntl(fds[i], F_SETFL, O_NONBLOCK) == -1)
            give_up("fcntl: %s", strerror(errno));
    }
    connections = count;
    free(fds);
}

/* ---- helpers ---- */

static void print_histogram(void)
{
    for (size_t i = 0; i < 64 * STEPS; i++)
        if (histogram[i] > 0)
            fprintf(stderr, "histogram\t%s\t%llu\t%u\n", served->name,
                    (unsigned long long)bucket_ends(i), histogram[i]);
}

/* Carry out the orders of the parent until it closes the pipe or exits. */
static void help(struct target *target)
{
    struct order order;
    int *fds = NULL;

    served = target;
    while (read_all(STDIN_FILENO, &order, sizeof order)) {
        struct answer answer = {.why = ""};
        alarm(HELPER_SECONDS);
        if (order.what == 'a') {
            open_active(order.value);
        } else if (order.what == 'h') {
            fds = room_for(fds, order.value);
            open_many(fds, served->idle, order.value);
            served->idle = order.value;
        } else {
            served->idle = order.value;
            answer.sample = measure();
            if (options.histogram)
                print_histogram();
        }
        if (write(STDOUT_FILENO, &answer, sizeof answer) != sizeof answer)
            break;
        alarm(0); /* the next order may come much later */
    }
    free(fds);
    _exit(0);
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Start a helper process.  It closes the parent's ends of all other pipes, because otherwise the
 * helpers would keep each other's pipes open, and none would end with the parent. */
static void start_helper(struct helper *helper, struct target *target)
{
    int to[2], from[2];

    if (pipe(to) == -1 || pipe(from) == -1)
        die("pipe");
    helper->pid = fork();
    if (helper->pid == -1)
        die("fork");
    if (helper->pid == 0) {
        signal(SIGTERM, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        for (int fd = 3; fd < 64 + 4 * target_count; fd++)
            close(fd);
        help(target);
    }
    close(to[0]);
    close(from[1]);
    helper->to = to[1];
    helper->from = from[0];
}

static void stop_helper(struct helper *helper)
{
    if (helper->pid <= 0)
        return;
    kill(helper->pid, SIGKILL);
    waitpid(helper->pid, NULL, 0);
    helper->pid = 0;
}

/* End all helpers, and let every server continue that may have been stopped. */
static void stop_all(void)
{
    for (int i = 0; i < target_count; i++) {
        stop_helper(&targets[i].active_helper);
        stop_helper(&targets[i].idle_helper);
        kill(targets[i].pid, SIGCONT);
    }
}

static void end_if_stopped(void)
{
    if (!stopped)
        return;
    fflush(stdout);
    stop_all();
    _exit(130);
}

/* ---- the parent ---- */

/* `kind` is "limit" if the server cannot hold so many connections, "wrong" if it broke a rule. */
static void print_reason(const char *kind, const struct target *target, long idle, const char *why)
{
    printf("%s\t%s\t%s\t%ld\t%ld\t%s\n", kind, options.question, target->name, options.active, idle,
           why);
    fflush(stdout);
}

/* The last column is the number of idle connections of the other servers, because the control is
 * measured in the same rounds without any. */
static void print_sample(const struct target *target, long round, const struct sample *sample,
                         long level)
{
    printf("sample\t%s\t%s\t%ld\t%ld\t%ld\t%ld\t%llu\t%.6f\t%llu\t%ld\t%llu\t%llu\t%llu\t%ld\n",
           options.question, target->name, options.active, target->idle, options.size, round,
           (unsigned long long)sample->echoes, sample->seconds, (unsigned long long)sample->cpu_ns,
           sample->switches, (unsigned long long)sample->p50_ns, (unsigned long long)sample->p99_ns,
           (unsigned long long)sample->p999_ns, level);
    fflush(stdout);
}

static void print_memory(const struct target *target, long idle)
{
    printf("memory\t%s\t%s\t%ld\t%ld\t%lld\t%lld\n", options.question, target->name, options.active,
           idle, user_memory(target->pid) - target->user_before,
           kernel_memory() == -1 ? -1 : target->kernel_added);
    fflush(stdout);
}

/* Stop measuring this server.  The figures so far remain. */
static void drop(struct target *target, const char *kind, long idle, const char *why)
{
    target->out = true;
    any_wrong = any_wrong || strcmp(kind, "wrong") == 0;
    print_reason(kind, target, idle, why);
    stop_helper(&target->active_helper);
    stop_helper(&target->idle_helper);
    kill(target->pid, SIGCONT);
}

/* Give an order and wait for the answer.  False: it was not done, and the server is dropped. */
static bool carry_out(struct target *target, struct helper *helper, struct order order,
                      struct answer *answer)
{
    bool done = write(helper->to, &order, sizeof order) == sizeof order &&
                read_all(helper->from, answer, sizeof *answer);

    end_if_stopped();
    if (!done)
        snprintf(answer->why, sizeof answer->why, "the helper process exited");
    if (answer->why[0] == '\0')
        return true;
    const char *kind =
        order.what == 'm' || strstr(answer->why, "wrong") != NULL ? "wrong" : "limit";
    drop(target, kind, order.what == 'h' ? order.value : target->idle, answer->why);
    return false;
}

static void progress(long step, long steps)
{
    static long last_shown = -1; /* the second of the last line; -1: none yet */
    const char *term = getenv("TERM");
    bool terminal =
        isatty(STDERR_FILENO) && term != NULL && term[0] != '\0' && strcmp(term, "dumb") != 0;
    double share = (double)options.from / 1000.0;

    if (options.to == 0)
        return;
    share += (double)(options.to - options.from) / 1000.0 * (double)step / (double)steps;
    long spent = (long)time(NULL) - options.begin;
    if (last_shown != -1 && (!terminal || spent == last_shown))
        return; /* in a file, one line for each question is enough */
    last_shown = spent;
    fprintf(stderr, "%s%3.0f %%  %-34.34s", terminal ? "\r" : "", share * 100, options.text);
    if (share > 0.05) {
        long left = (long)((double)spent * (1 - share) / share);
        fprintf(stderr, " about %ld:%02ld left ", left / 60, left % 60);
    }
    fputs(terminal ? "\033[K" : "\n", stderr);
}

static bool fits(const struct target *target, long idle)
{
    return target->most == 0 || target->pace == 0 || options.active + idle <= target->most;
}

/* Open idle connections to this server until there are `idle`, and print the memory that they use.
 * False: the server cannot hold them. */
static bool bring_to(struct target *target, long idle)
{
    struct answer answer;
    struct order order = {.what = 'h', .value = idle};
    char why[80];

    if (target->out)
        return false;
    if (!fits(target, idle)) {
        snprintf(why, sizeof why, "it gets at most %ld connections", target->most);
        drop(target, "limit", idle, why);
        return false;
    }
    if (idle <= target->idle || target->pace == 0)
        return true;
    if (target->idle == 0)
        target->user_before = user_memory(target->pid);
    long long kernel = kernel_memory(); /* read again after it; other servers add to it */
    if (!carry_out(target, &target->idle_helper, order, &answer))
        return false;
    target->kernel_added += kernel_memory() - kernel;
    print_memory(target, idle);
    target->idle = idle;
    return true;
}

static void measure_level(int level)
{
    long idle = options.levels[level], steps = options.rounds * options.level_count;
    struct answer answer;

    for (int i = 0; i < target_count; i++) {
        progress(level * options.rounds, steps);
        bring_to(&targets[i], idle);
    }
    for (long round = 0; round < options.rounds; round++) {
        progress(level * options.rounds + round, steps);
        for (int i = 0; i < target_count; i++) { /* each round starts with another server */
            struct target *target = &targets[(i + round) % target_count];
            struct order order = {.what = 'm', .value = target->idle};
            if (!target->out && carry_out(target, &target->active_helper, order, &answer))
                print_sample(target, options.first + round, &answer.sample, idle);
        }
    }
}

/* ---- the command line ---- */

static long number(const char *text, long least, long most)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || value < least || value > most)
        bad_usage(text, "not a number in the allowed range");
    return value;
}

static void read_levels(char *text)
{
    options.level_count = 0;
    for (char *part = strtok(text, ","); part != NULL; part = strtok(NULL, ",")) {
        if (options.level_count == LEVELS_MOST)
            bad_usage(part, "too many numbers of idle connections");
        options.levels[options.level_count++] = number(part, 0, 1000000);
    }
}

static void read_progress(char *text)
{
    char *from = strtok(text, ","), *to = strtok(NULL, ","), *begin = strtok(NULL, ",");

    options.text = strtok(NULL, "");
    if (options.text == NULL)
        bad_usage("-P", "needs FROM,TO,BEGIN,TEXT");
    options.from = number(from, 0, 1000);
    options.to = number(to, 1, 1000);
    options.begin = number(begin, 0, INT32_MAX);
}

static bool read_option(int option)
{
    switch (option) {
    case 'q':
        options.question = optarg;
        return true;
    case 'i':
        read_levels(optarg);
        return true;
    case 'P':
        read_progress(optarg);
        return true;
    case 'c':
        options.churn = true;
        return true;
    case 'H':
        options.histogram = true;
        return true;
    default:
        return false;
    }
}

static bool read_number_option(int option)
{
    static const char letters[] = "nsdRrfwe";
    long *const values[] = {&options.active, &options.size,  &options.depth,     &options.rate,
                            &options.rounds, &options.first, &options.window_ms, &options.echoes};
    static const long most[] = {100000, SIZE_MOST, DEPTH_MOST, 10000000,
                                1000,   1000,      60000,      100000000};
    const char *found = strchr(letters, option);

    if (found == NULL)
        return false;
    long least = strchr("Rfe", option) != NULL ? 0 : 1;
    *values[found - letters] = number(optarg, least, most[found - letters]);
    return true;
}

static struct target read_target(char *text)
{
    struct target target = {.name = strtok(text, ":")};
    const char *pid = strtok(NULL, ":"), *most, *pace;

    target.port = strtok(NULL, ":");
    most = strtok(NULL, ":");
    pace = strtok(NULL, ":");
    if (pace == NULL)
        bad_usage(text, "a server has the form NAME:PID:PORT:MOST:PACE");
    target.pid = (pid_t)number(pid, 1, INT32_MAX);
    number(target.port, 1, 65535);
    target.most = number(most, 0, 10000000);
    target.pace = number(pace, 0, 100000);
    return target;
}

static void on_stop_signal(int signal_number)
{
    (void)signal_number;
    stopped = 1;
}

/* Each connection needs a descriptor. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void set_up(char **names)
{
    struct sigaction action = {.sa_handler = on_stop_signal};

    sigemptyset(&action.sa_mask); /* no SA_RESTART, so that a wait ends */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    make_pattern();
    targets = calloc((size_t)target_count, sizeof *targets);
    if (targets == NULL)
        die("calloc");
    for (int i = 0; i < target_count; i++)
        targets[i] = read_target(names[i]);
    for (int i = 0; i < target_count; i++) {
        start_helper(&targets[i].active_helper, &targets[i]);
        start_helper(&targets[i].idle_helper, &targets[i]);
    }
}

int main(int argc, char **argv)
{
    struct answer answer;
    int option;

    while ((option = getopt(argc, argv, "hq:n:i:s:d:R:r:f:w:e:cHP:")) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (!read_option(option) && !read_number_option(option)) {
            fputs(usage, stderr);
            return 2;
        }
    }
    target_count = argc - optind;
    if (target_count == 0)
        bad_usage("SERVER", "at least one server is required");
    set_up(argv + optind);
    for (int i = 0; i < target_count && !options.churn; i++) {
        struct order order = {.what = 'a', .value = options.active};
        if (bring_to(&targets[i], 0))
            carry_out(&targets[i], &targets[i].active_helper, order, &answer);
    }
    for (int level = 0; level < options.level_count; level++)
        measure_level(level);
    stop_all();
    free(targets);
    return any_wrong ? 1 : 0;
}
