/* The connections on the server's port, and which of them are the server's. */
#include "trace.h"

#ifndef CANNOT_TRACE

/* ---- /proc/net/tcp ---- */

/* An address in hex: one or four words of 32 bits, in this machine's byte order. */
static uint64_t key_of_hex(const char *hex)
{
    unsigned char bytes[16];
    char word[9] = "";
    size_t words = strlen(hex) / 8;

    for (size_t i = 0; i < words && i < 4; i++) {
        memcpy(word, hex + i * 8, 8);
        uint32_t number = (uint32_t)strtoul(word, NULL, 16);
        memcpy(bytes + i * 4, &number, sizeof number);
    }
    return words == 1 || words == 4 ? address_key(bytes, words * 4) : 0;
}

/* A line is "12: 0100007F:15BE 0200007F:9C40 01 ...": two addresses, the state, queues, times. */
bool next_socket(struct socket_table *table, struct socket_line *line)
{
    static const char *const names[] = {"/proc/net/tcp", "/proc/net/tcp6"};
    char text[512], local[33], peer[33];

    while (table->file != NULL || table->next < sizeof names / sizeof *names) {
        if (table->file == NULL) {
            table->file = fopen(names[table->next++], "re");
        } else if (fgets(text, sizeof text, table->file) == NULL) {
            fclose(table->file);
            table->file = NULL;
        } else if (sscanf(text, "%*d: %32[^:]:%x %32[^:]:%x %x %*s %*s %*s %*s %*s %lu", local,
                          &line->port, peer, &line->peer_port, &line->state, &line->inode) == 6) {
            line->local = key_of_hex(local);
            line->peer = key_of_hex(peer);
            return true;
        }
    }
    return false;
}

/* ---- learning ---- */

static struct connection *find(struct connections *connections, uint64_t cookie)
{
    for (size_t i = connections->count; i-- > 0;)
        if (connections->list[i].cookie == cookie)
            return &connections->list[i];
    return NULL;
}

static struct connection *add(struct connections *connections, const struct event *tcp)
{
    struct connection *connection = &connections->list[connections->added++ % MAX_CONNECTIONS];

    if (connections->count < MAX_CONNECTIONS)
        connections->count++;
    *connection = (struct connection){.cookie = tcp->value[SLOT_COOKIE],
                                      .local = tcp->value[SLOT_LOCAL],
                                      .peer = tcp->value[SLOT_PEER],
                                      .peer_port = (unsigned)tcp->value[SLOT_PEER_PORT]};
    if (connections->address != 0 && connection->local != connections->address)
        connection->owner = NOT_OURS;
    return connection;
}

/* The table has the server's socket or, after its end, that of a client on this machine.  If ours
 * listens at all addresses, another server at one of them has the connections to that one. */
static void compare(struct connections *connections, const struct socket_line *line)
{
    for (size_t i = 0; i < connections->count; i++) {
        struct connection *connection = &connections->list[i];
        if (connection->owner == NOT_OURS)
            continue;
        bool here = line->local == connection->local && line->port == connections->port;
        bool there = line->peer == connection->local && line->peer_port == connections->port;
        if (here && line->state == LISTENING && connections->address == 0)
            connection->owner = NOT_OURS;
        else if ((here && line->peer == connection->peer &&
                  line->peer_port == connection->peer_port) ||
                 (there && line->local == connection->peer && line->port == connection->peer_port))
            connection->owner = OURS;
    }
}

/* Decide by the network namespace of the thread that read from this connection. */
static void decide_by_reader(struct connection *connection)
{
    char path[64];
    struct stat ours, theirs;

    snprintf(path, sizeof path, "/proc/%ld/ns/net", (long)connection->reader);
    if (connection->reader == 0 || stat("/proc/self/ns/net", &ours) == -1)
        return;
    bool ended = stat(path, &theirs) == -1; /* a process for one connection; of ours, presumably */
    connection->owner = ended || theirs.st_ino == ours.st_ino ? OURS : NOT_OURS;
}

static void decide(struct connections *connections)
{
    struct socket_table table = {0};
    struct socket_line line;
    bool undecided = false;

    for (size_t i = 0; i < connections->count; i++)
        undecided |= connections->list[i].owner == UNDECIDED;
    if (!undecided)
        return;
    while (next_socket(&table, &line))
        compare(connections, &line);
    for (size_t i = 0; i < connections->count; i++)
        if (connections->list[i].owner == UNDECIDED)
            decide_by_reader(&connections->list[i]);
}

/* ---- packets that the kernel dropped ---- */

/* The kernel's own name is in the event's print format: { 40, "TCP_LISTEN_OVERFLOW" }. */
static const char *reason_name(size_t reason)
{
    static char format[16384];
    char before[32];

    snprintf(before, sizeof before, "{ %zu, \"", reason);
    bool read = file_read(format, sizeof format, TRACEFS "/events/skb/kfree_skb/format");
    char *name = read ? strstr(format, before) : NULL;
    return name != NULL ? strtok(name + strlen(before), "\"") : "(a reason without a name)";
}

/* A packet was the server's if TCP got it for one of its connections, and nobody read it since. */
static void learn_drop(struct connections *connections, const struct recording *recording,
                       const struct event *drop)
{
    const struct event *tcp = search(recording, drop, BACK, HOP_TCP, SKB_REUSED | BIT(HOP_COPY),
                                     BIT(SLOT_SKB) | (drop->has & BIT(SLOT_SOCK)));
    const struct connection *of = tcp != NULL ? find(connections, tcp->value[SLOT_COOKIE]) : NULL;
    uint64_t reason = drop->value[SLOT_RET];

    if (of == NULL || of->owner != OURS || reason >= MAX_REASONS ||
        connections->drops[reason]++ >= SHOWN_DROPS)
        return;
    printf("dropped: a packet for port %u, %s\n", connections->port, reason_name(reason));
    fflush(stdout);
}

void connections_drops(const struct connections *connections, char *text, size_t size)
{
    size_t length = 0;

    snprintf(text, size,
             connections->names_skbs ? "none" : "not known: tcp_probe names no skb here");
    for (size_t i = 0; i < MAX_REASONS && length < size; i++)
        if (connections->drops[i] > 0)
            length +=
                (size_t)snprintf(text + length, size - length, "%s%zu %s", length > 0 ? ", " : "",
                                 connections->drops[i], reason_name(i));
}

/* The thread that copies the bytes of a connection's skb reads from that connection.  A call that
 * names only the socket's address proves nothing: once a connection has ended, the kernel uses its
 * memory again, and the next socket there may be a client's. */
void connections_learn(struct connections *connections, struct recording *recording, uint64_t until)
{
    recording_sort(recording);
    size_t i = recording->count;
    while (i > 0 && recording->events[i - 1].ns >= connections->learned)
        i--;
    size_t first = i;
    for (; i < recording->count && recording->events[i].ns < until; i++) {
        const struct event *event = &recording->events[i], *tcp = event;
        if (event_kind(event) == HOP_COPY)
            tcp = search(recording, event, BACK, HOP_TCP, SKB_REUSED, BIT(SLOT_SKB));
        else if (event_kind(event) != HOP_TCP)
            continue;
        struct connection *connection =
            tcp != NULL ? find(connections, tcp->value[SLOT_COOKIE]) : NULL;
        if (connection == NULL && event_kind(event) == HOP_TCP)
            connection = add(connections, event);
        if (connection == NULL)
            continue;
        connections->names_skbs |= event_kind(event) == HOP_TCP && event_has(event, SLOT_SKB);
        if (event_kind(event) == HOP_TCP)
            connection->packets += event->value[SLOT_LEN] > 0;
        else if (connection->reader == 0)
            connection->reader = event->pid;
    }
    connections->learned = until;
    decide(connections);
    for (; first < i; first++)
        if (event_kind(&recording->events[first]) == KIND_FREE)
            learn_drop(connections, recording, &recording->events[first]);
}

size_t connections_packets(const struct connections *connections)
{
    size_t packets = 0;

    for (size_t i = 0; i < connections->count; i++)
        if (connections->list[i].owner == OURS)
            packets += connections->list[i].packets;
    return packets;
}

/* ---- marking ---- */

void connections_mark(struct connections *connections, struct recording *recording, size_t packets)
{
    for (size_t i = 0; i < recording->count; i++) {
        struct event *event = &recording->events[i];
        if (event_kind(event) != HOP_TCP)
            continue;
        const struct connection *connection = find(connections, event->value[SLOT_COOKIE]);
        if (packets > 0 && connection != NULL && connection->owner == OURS)
            packets -= event->value[SLOT_LEN] > 0;
        else
            event_set(event, SLOT_PORT, 0);
    }
}

const char *connections_other_state(const struct connections *connections)
{
    static const char *const names[] = {NULL,         NULL,        "SYN_SENT",  "SYN_RECV",
                                        "FIN_WAIT1",  "FIN_WAIT2", "TIME_WAIT", "CLOSE",
                                        "CLOSE_WAIT", "LAST_ACK",  NULL,        "CLOSING"};
    struct socket_table table = {0};
    struct socket_line line;
    const char *state = NULL;

    while (next_socket(&table, &line))
        if (line.port == connections->port && line.inode != 0 &&
            line.state < sizeof names / sizeof *names && names[line.state] != NULL &&
            (connections->address == 0 || line.local == connections->address))
            state = names[line.state];
    return state;
}

#endif
