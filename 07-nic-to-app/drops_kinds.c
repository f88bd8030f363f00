/* The kinds of drops: how each is provoked, and what client and server notice of it. */
#define _GNU_SOURCE

#include "drops.h"

#ifndef CANNOT_TRACE

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_PORT 7001 /* each kind has a port of its own */
#define SETUP_MS 3000   /* for what comes before the drop */
#define ANSWER_MS 2500  /* for what comes after it; a SYN is sent again after 1 s */
#define DIGEST_MS 30    /* until an answer that was carried has had its effect */
#define TOO_MANY 20     /* datagrams: more than the smallest receive buffer has room for */

static int listener, client, server, other; /* the sockets of this kind; -1: there is none */
static unsigned port;
static ssize_t sent;

/* ---- sockets on both sides ---- */

static struct sockaddr_in name_of_server(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    inet_pton(AF_INET, SERVER_IP, &name.sin_addr);
    return name;
}

static int bound_socket(int type)
{
    struct sockaddr_in name = name_of_server();
    int fd = wire_socket(SERVER, type);

    if (fd != -1 && bind(fd, (struct sockaddr *)&name, sizeof name) == -1) {
        file_close(fd);
        return -1;
    }
    return fd;
}

static bool listens(int backlog)
{
    listener = bound_socket(SOCK_STREAM);
    return listener != -1 && listen(listener, backlog) == 0;
}

/* Begin to connect, and return the socket. */
static int connecting_socket(int type)
{
    struct sockaddr_in name = name_of_server();
    int fd = wire_socket(CLIENT, type);

    if (fd != -1 && connect(fd, (struct sockaddr *)&name, sizeof name) == -1 &&
        errno != EINPROGRESS) {
        file_close(fd);
        return -1;
    }
    return fd;
}

static short events_of(int fd, short events)
{
    struct pollfd socket = {fd, events, 0};

    return poll(&socket, 1, 0) == 1 ? socket.revents : 0;
}

static bool is_held(void)
{
    return held.length > 0;
}

static bool someone_waits(void)
{
    return events_of(listener, POLLIN) != 0;
}

/* Carry frames until the one that is wanted is held. */
static bool take(void)
{
    wire_carry(SETUP_MS, is_held);
    return is_held();
}

static bool send_syn(void)
{
    wire_hold(SYN);
    client = connecting_socket(SOCK_STREAM);
    return client != -1 && take();
}

static bool send_data(void)
{
    wire_hold(DATA);
    sent = send(client, MESSAGE, MESSAGE_SIZE, 0);
    return sent != -1 && take();
}

static bool establish(void)
{
    if (!listens(8) || (client = connecting_socket(SOCK_STREAM)) == -1)
        return false;
    wire_carry(SETUP_MS, someone_waits);
    server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return server != -1;
}

/* With a backlog of 0, the accept queue has room for one connection, which is now in it. */
static bool fill_queue(void)
{
    other = connecting_socket(SOCK_STREAM);
    wire_carry(SETUP_MS, someone_waits);
    return other != -1 && someone_waits();
}

/* ---- what comes before the drop ---- */

static bool queue_is_full(void)
{
    return listens(0) && fill_queue() && send_syn();
}

static bool queue_fills_meanwhile(void)
{
    wire_hold(ACK);
    if (!listens(0) || (client = connecting_socket(SOCK_STREAM)) == -1 || !take())
        return false;
    return fill_queue();
}

static bool server_listens(void)
{
    return listens(8) && send_syn();
}

static bool data_on_the_way(void)
{
    return establish() && send_data();
}

static bool shrink_buffer(int fd)
{
    return setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){1}, sizeof(int)) == 0;
}

/* The smallest receive buffer has room for two of these segments.  The window that the server has
 * announced before is larger, so the client may send a third one. */
static bool buffer_is_full(void)
{
    static const char bytes[1000];

    if (!establish() || !shrink_buffer(server))
        return false;
    for (int i = 0; i < 3; i++) {
        wire_hold(i < 2 ? OTHER : DATA);
        sent = send(client, bytes, sizeof bytes, 0);
        wire_carry(i < 2 ? DIGEST_MS : 0, NULL);
    }
    return take();
}

static bool datagram_buffer_is_full(void)
{
    server = bound_socket(SOCK_DGRAM);
    client = connecting_socket(SOCK_DGRAM);
    if (server == -1 || client == -1 || !shrink_buffer(server))
        return false;
    for (int i = 0; i < TOO_MANY; i++)
        if (send(client, MESSAGE, MESSAGE_SIZE, 0) == -1)
            return false;
    wire_carry(DIGEST_MS, NULL);
    wire_hold(DATAGRAM);
    sent = send(client, MESSAGE, MESSAGE_SIZE, 0);
    return take();
}

static bool socket_has_filter(void)
{
    struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0); /* keep 0 bytes */
    struct sock_fprog program = {1, &nothing};

    return establish() &&
           setsockopt(server, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0 &&
           send_data();
}

/* nft is in a folder that the PATH of a user who has become root may lack. */
#define NFT "PATH=$PATH:/usr/sbin:/sbin; nft "

static bool firewall_has_rule(void)
{
    FILE *rules = popen(NFT "-f - 2>/dev/null", "w");

    if (rules == NULL)
        return false;
    fprintf(rules,
            "table ip drops {\n chain in {\n  type filter hook input priority 0;\n"
            "  tcp dport %u counter drop\n }\n}\n",
            port);
    int status = pclose(rules);
    errno = 0;
    return status == 0 && server_listens();
}

static void read_rule(struct result *result)
{
    char text[2048] = "";
    FILE *rules = popen(NFT "list table ip drops 2>/dev/null", "r");

    if (rules == NULL)
        return;
    size_t length = fread(text, 1, sizeof text - 1, rules);
    text[length] = '\0';
    pclose(rules);
    if (format_number(text, "counter packets ") > 0)
        watch_add(&result->increases, "the rule's counter", 1);
}

/* ---- what happens to the frame on the way ---- */

static void damage(void)
{
    held.bytes[held.length - 1] ^= 1;
}

static void change_mac(void)
{
    held.bytes[5] ^= 1;
}

static void change_address(void) /* to 198.51.100.1, which RFC 5737 reserves, too */
{
    frame_set16(IP_AT + 16, 198 << 8 | 51);
    frame_set16(IP_AT + 18, 100 << 8 | 1);
}

static void change_sequence(void) /* 16 MiB on, where no window ends */
{
    frame_set16(TCP_AT + 4, (frame_get16(TCP_AT + 4) + 256) & 0xffff);
}

static bool was_acknowledged(void)
{
    return seen[SERVER][ACK].count > 0;
}

static void deliver_and_repeat(void)
{
    char bytes[64];

    wire_forget();
    wire_deliver();
    wire_carry(SETUP_MS, was_acknowledged);
    if (recv(server, bytes, sizeof bytes, 0) == -1)
        return;
}

static void reset_connection(void) /* with SO_LINGER of 0, close() sends an RST and no FIN */
{
    struct linger none = {1, 0};

    setsockopt(server, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    file_close(server);
    server = -1;
}

/* ---- what client and server notice ---- */

static void add(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void add(char *text, size_t size, const char *format, ...)
{
    size_t length = strlen(text);
    va_list values;

    va_start(values, format);
    vsnprintf(text + length, size - length, format, values);
    va_end(values);
}

static const char *errno_name(int error)
{
    static const struct {
        int error;
        const char *name;
    } names[] = {{ECONNREFUSED, "ECONNREFUSED"}, {ECONNRESET, "ECONNRESET"},
                 {ETIMEDOUT, "ETIMEDOUT"},       {EHOSTUNREACH, "EHOSTUNREACH"},
                 {EAGAIN, "EAGAIN"},             {EPIPE, "EPIPE"}};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].error == error)
            return names[i].name;
    return strerror(error);
}

static void note_wire(const struct kind *kind, char *text, size_t size)
{
    static const char *const names[PACKETS] = {
        [SYN] = "SYN", [SYN_ACK] = "SYN-ACK", [ACK] = "last ACK", [DATA] = "segment",
        [DATAGRAM] = "datagram"};
    const struct sight *again = &seen[CLIENT][kind->packet], *answers = seen[SERVER];

    if (answers[RESET].count > 0)
        add(text, size, " An RST came back after %.1f ms.", answers[RESET].ms);
    else if (answers[SYN_ACK].count > 0)
        add(text, size, " The server's SYN-ACK came once more after %.0f ms.",
            answers[SYN_ACK].ms);
    else if (answers[ACK].count > 0 && (again->count == 0 || answers[ACK].ms < again->ms))
        add(text, size, " An acknowledgement came back after %.1f ms.", answers[ACK].ms);
    else
        add(text, size, " No answer came.");
    if (again->count > 0 && kind->packet != ACK)
        add(text, size, " The client's kernel sent the %s again after %.0f ms.",
            names[kind->packet], again->ms);
}

static void note_client(const struct kind *kind, char *text, size_t size)
{
    char bytes[64];
    int error = 0;
    socklen_t length = sizeof error;

    if (kind->packet == SYN || kind->packet == ACK) {
        bool done = events_of(client, POLLOUT) != 0;
        getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &length);
        if (!done)
            add(text, size, "connect() still waits after %.0f ms.", wire_ms());
        else if (error == 0)
            add(text, size, "connect() succeeded, and has taken no notice.");
        else
            add(text, size, "connect() failed: %s.", errno_name(error));
    } else {
        add(text, size, "send() returned %zd.", sent);
        if (recv(client, bytes, sizeof bytes, 0) == -1 && errno != EAGAIN)
            add(text, size, " The next recv() failed: %s.", errno_name(errno));
    }
    note_wire(kind, text, size);
}

static void note_server(const struct kind *kind, char *text, size_t size)
{
    static char bytes[65536];
    int connections = 0, fd;

    if (kind->packet == SYN || kind->packet == ACK) {
        while (listener != -1 && (fd = accept(listener, NULL, NULL)) != -1) {
            connections++;
            close(fd);
        }
        if (listener == -1)
            add(text, size, "Nothing: there is no socket.");
        else if (connections == 0)
            add(text, size, "Nothing: accept() finds no connection.");
        else
            add(text, size, "accept() finds %d connection%s, and not this one.", connections,
                connections == 1 ? "" : "s");
        return;
    }
    if (server == -1) {
        add(text, size, "Nothing: it has closed its socket.");
        return;
    }
    ssize_t got = 0, all = 0;
    while ((got = recv(server, bytes, sizeof bytes, 0)) > 0)
        all += got;
    if (all == 0)
        add(text, size, "Nothing: recv() finds no bytes.");
    else
        add(text, size, "recv() finds %zd bytes.", all);
}

/* ---- one kind ---- */

static const struct kind *current;

static bool was_answered(void)
{
    return seen[current->answer_from][current->answer].count > 0;
}

static const char *why_not(const struct kind *kind)
{
    if (kind->needs != NULL && errno == 0)
        return kind->needs;
    return errno != 0 ? strerror(errno) : "a packet before the drop was not seen";
}

/* A frame that was consumed was dropped if the counter says so. */
static bool was_dropped(const struct kind *kind, const struct result *result)
{
    if (result->verdict.end != CONSUMED)
        return result->verdict.end == DROPPED;
    for (size_t i = 0; i < result->increases.count; i++)
        if (strcmp(result->increases.list[i].name, kind->counter) == 0)
            return true;
    return false;
}

void kind_run(const struct kind *kind, struct result *result)
{
    *result = (struct result){0};
    listener = client = server = other = -1;
    current = kind;
    port = FIRST_PORT + (unsigned)(kind - kinds);
    errno = 0;
    if (!kind->prepare()) {
        result->not_tried = why_not(kind);
    } else {
        if (kind->alter != NULL)
            kind->alter();
        result->verdict = watch_deliver(server, &result->increases);
        wire_carry(ANSWER_MS, kind->answer != OTHER ? was_answered : NULL);
        wire_carry(DIGEST_MS, NULL);
        if (kind->afterwards != NULL)
            kind->afterwards(result);
        note_client(kind, result->client, sizeof result->client);
        note_server(kind, result->server, sizeof result->server);
        result->was_seen = was_dropped(kind, result);
    }
    wire_hold(OTHER);
    file_close(client);
    file_close(other);
    file_close(server);
    file_close(listener);
    wire_carry(DIGEST_MS, NULL);
}

const struct kind kinds[] = {
    {"no-listener", "A SYN to a port on which nobody listens.",
     "The client fails at once with \"Connection refused\": the server is not running, or it "
     "listens on another port or address. The packet was refused, and not lost.",
     "TcpOutRsts", SYN, send_syn, NULL, NULL, SERVER, RESET, NULL},
    {"accept-queue", "A SYN to a server whose accept queue is full.",
     "", "TcpExtListenOverflows", SYN, queue_is_full, NULL, NULL, CLIENT, SYN, NULL},
    {"accept-queue-ack", "The last ACK of a handshake, when the accept queue has become full.",
     "", "TcpExtListenOverflows", ACK, queue_fills_meanwhile, NULL, NULL, SERVER, SYN_ACK, NULL},
    {"receive-buffer", "A TCP segment to a socket whose receive buffer is full.",
     "", "TcpExtTCPRcvQDrop", DATA, buffer_is_full, NULL, NULL, CLIENT, DATA, NULL},
    {"datagram", "A UDP datagram to a socket whose receive buffer is full.",
     "", "UdpRcvbufErrors", DATAGRAM, datagram_buffer_is_full, NULL, NULL, CLIENT, OTHER, NULL},
    {"old-sequence", "A TCP segment for the second time.",
     "", "", DATA, data_on_the_way, deliver_and_repeat, NULL, SERVER, ACK, NULL},
    {"beyond-window", "A TCP segment whose sequence number is 16 MiB ahead.",
     "", "", DATA, data_on_the_way, change_sequence, NULL, CLIENT, DATA, NULL},
    {"bad-checksum", "A TCP segment in which a byte has changed on the way.",
     "", "TcpInCsumErrors", DATA, data_on_the_way, damage, NULL, CLIENT, DATA, NULL},
    {"wrong-mac", "A TCP segment in a frame with another machine's MAC address.",
     "", "rx_otherhost_dropped", DATA, data_on_the_way, change_mac, NULL, CLIENT, DATA, NULL},
    {"wrong-address", "A TCP segment with another machine's IP address.",
     "", "IpInAddrErrors", DATA, data_on_the_way, change_address, NULL, CLIENT, DATA, NULL},
    {"filter-rule", "A SYN that a rule of the firewall drops.",
     "", "the rule's counter", SYN, firewall_has_rule, NULL, read_rule, CLIENT, SYN, "nft"},
    {"socket-filter", "A TCP segment to a socket with a filter.",
     "", "drops of the socket", DATA, socket_has_filter, NULL, NULL, CLIENT, DATA, NULL},
    {"reset", "A TCP segment to a connection that the server has just reset.",
     "", "TcpOutRsts", DATA, data_on_the_way, reset_connection, NULL, SERVER, RESET, NULL},
};
const size_t kind_count = sizeof kinds / sizeof *kinds;

#endif
