/* The kinds of drops: how each is provoked, and what client and server notice of it. */
#include "drops.h"

#ifndef CANNOT_TRACE

#include <linux/filter.h>

#define FIRST_PORT 7001 /* each kind has a port of its own */
#define SETUP_MS 3000   /* for what comes before the drop */
#define NEXT_MS 2500    /* for what comes after it: a SYN is sent again after 1 s */
#define SETTLE_MS 30    /* until a frame that was carried has had its effect */
#define TOO_MANY 20     /* datagrams: the smallest receive buffer has no room for them */

static int listener, client, server, other; /* the sockets of this kind; -1: there is none */
static unsigned port;
static ssize_t sent;
static const struct kind *current;

/* ---- conditions to wait for ---- */

static bool is_ready(int fd, short events)
{
    struct pollfd socket = {fd, events, 0};

    return poll(&socket, 1, 0) == 1;
}

static bool is_held(void)
{
    return held.length > 0;
}

static bool can_accept(void)
{
    return is_ready(listener, POLLIN);
}

static bool was_acknowledged(void)
{
    return seen[SERVER][ACK].count > 0;
}

static bool next_was_seen(void)
{
    return current->next != OTHER && seen[current->sender][current->next].count > 0;
}

/* ---- sockets on both sides ---- */

/* Bind a socket of the server, or begin to connect one of the client. */
static int new_socket(enum side side, int type)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = wire_socket(side, type);

    inet_pton(AF_INET, SERVER_IP, &name.sin_addr);
    if (side == SERVER && bind(fd, (struct sockaddr *)&name, sizeof name) == 0)
        return fd;
    if (side == CLIENT &&
        (connect(fd, (struct sockaddr *)&name, sizeof name) == 0 || errno == EINPROGRESS))
        return fd;
    file_close(fd);
    return -1;
}

static bool open_listener(int backlog)
{
    listener = new_socket(SERVER, SOCK_STREAM);
    return listener != -1 && listen(listener, backlog) == 0;
}

static bool open_client(void)
{
    client = new_socket(CLIENT, SOCK_STREAM);
    return client != -1;
}

/* Carry frames until the one that is wanted is held. */
static bool take(void)
{
    wire_carry(SETUP_MS, is_held);
    return is_held();
}

static bool connect_until_held(enum packet packet)
{
    wire_hold(packet);
    return open_client() && take();
}

static bool send_until_held(const void *bytes, size_t length)
{
    wire_hold(current->packet);
    sent = send(client, bytes, length, 0);
    return sent != -1 && take();
}

static bool establish(void)
{
    if (!open_listener(8) || !open_client())
        return false;
    wire_carry(SETUP_MS, can_accept);
    server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return server != -1;
}

/* ---- what comes before the drop, until the packet is on the wire ---- */

static bool nobody_listens(void)
{
    return connect_until_held(SYN);
}

/* With a backlog of 0, the accept queue has room for one connection. */
static bool fill_queue(void)
{
    other = new_socket(CLIENT, SOCK_STREAM);
    wire_carry(SETUP_MS, can_accept);
    return can_accept();
}

static bool queue_is_full(void)
{
    return open_listener(0) && fill_queue() && connect_until_held(SYN);
}

static bool queue_fills_meanwhile(void)
{
    return open_listener(0) && connect_until_held(ACK) && fill_queue();
}

static bool data_on_the_wire(void)
{
    return establish() && send_until_held(MESSAGE, MESSAGE_SIZE);
}

static bool shrink_buffer(void)
{
    return setsockopt(server, SOL_SOCKET, SO_RCVBUF, &(int){1}, sizeof(int)) == 0;
}

/* The smallest receive buffer has room for two of these segments.  The window that the server has
 * announced before is larger, so the client may send a third one. */
static bool buffer_is_full(void)
{
    static const char bytes[1000];

    if (!establish() || !shrink_buffer())
        return false;
    for (int i = 0; i < 2; i++) {
        sent = send(client, bytes, sizeof bytes, 0);
        wire_carry(SETTLE_MS, NULL);
    }
    return send_until_held(bytes, sizeof bytes);
}

static bool udp_buffer_is_full(void)
{
    server = new_socket(SERVER, SOCK_DGRAM);
    client = new_socket(CLIENT, SOCK_DGRAM);
    if (server == -1 || client == -1 || !shrink_buffer())
        return false;
    for (int i = 0; i < TOO_MANY; i++)
        sent = send(client, MESSAGE, MESSAGE_SIZE, 0);
    wire_carry(SETTLE_MS, NULL);
    return send_until_held(MESSAGE, MESSAGE_SIZE);
}

static bool socket_has_filter(void)
{
    struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0); /* keep 0 bytes of each packet */
    struct sock_fprog program = {1, &drop};

    return establish() &&
           setsockopt(server, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0 &&
           send_until_held(MESSAGE, MESSAGE_SIZE);
}

/* Users who have become root may lack its folder in their PATH. */
#define NFT "PATH=$PATH:/usr/sbin:/sbin; exec 2>/dev/null; nft "

/* errno is ENOPKG if there is no nft, and ENOPROTOOPT if it fails. */
static bool firewall_has_rule(void)
{
    FILE *rules = popen(NFT "-f -", "w");

    if (rules == NULL)
        return false;
    fprintf(rules,
            "add table ip drops; add chain ip drops in { type filter hook input priority 0; };"
            "add rule ip drops in tcp dport %u counter drop\n",
            port);
    int status = pclose(rules);
    if (status != 0) {
        errno = status == 127 << 8 ? ENOPKG : ENOPROTOOPT;
        return false;
    }
    return open_listener(8) && connect_until_held(SYN);
}

static void read_rule(struct result *result)
{
    char text[2048];
    FILE *rules = popen(NFT "list table ip drops", "r");

    if (rules == NULL)
        return;
    text[fread(text, 1, sizeof text - 1, rules)] = '\0';
    pclose(rules);
    watch_add(&result->increases, "the rule's counter", format_number(text, "counter packets "));
}

/* ---- what happens to the packet on the wire ---- */

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
    wire_change(IP_AT + 16, 198 << 8 | 51);
    wire_change(IP_AT + 18, 100 << 8 | 1);
}

static void change_sequence(void) /* by 16 MiB */
{
    unsigned upper = (unsigned)held.bytes[TCP_AT + 4] << 8 | held.bytes[TCP_AT + 5];

    wire_change(TCP_AT + 4, (upper + 256) & 0xffff);
}

static void deliver_and_repeat(void)
{
    char bytes[MESSAGE_SIZE];

    wire_deliver();
    wire_carry(SETUP_MS, was_acknowledged);
    while (recv(server, bytes, sizeof bytes, 0) > 0)
        continue;
}

/* With SO_LINGER and a time of 0, close() sends an RST and no FIN. */
static void reset_connection(void)
{
    setsockopt(server, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    file_close(server);
    server = -1;
}

/* ---- what client and server notice ---- */

static void add(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(char *text, const char *format, ...)
{
    size_t length = strlen(text);
    va_list values;

    va_start(values, format);
    vsnprintf(text + length, TEXT_SIZE - length, format, values);
    va_end(values);
}

static const char *error_name(int error)
{
    return error == ECONNREFUSED ? "ECONNREFUSED"
           : error == ECONNRESET ? "ECONNRESET"
                                 : strerror(error);
}

/* What the wire has carried since the drop. */
static void note_wire(char *text)
{
    const struct sight *again = &seen[CLIENT][current->packet], *answers = seen[SERVER];
    bool repeated = again->count > 0 && current->packet != ACK;

    if (answers[RESET].count > 0)
        add(text, " An RST came back after %.1f ms.", answers[RESET].ms);
    else if (answers[SYN_ACK].count > 0)
        add(text, " The server's kernel sent its SYN-ACK again after %.0f ms.",
            answers[SYN_ACK].ms);
    else if (answers[ACK].count > 0 && (!repeated || answers[ACK].ms < again->ms))
        add(text, " An acknowledgement of earlier bytes came back after %.1f ms.", answers[ACK].ms);
    else
        add(text, " No answer came.");
    if (repeated)
        add(text, " The client's kernel sent the packet again after %.0f ms.", again->ms);
}

static void note_client(char *text)
{
    char bytes[64];
    int error = 0;
    socklen_t size = sizeof error;

    getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &size);
    if (current->packet == DATA || current->packet == DATAGRAM) {
        add(text, "send() returned %zd.", sent);
        if (error != 0 || (recv(client, bytes, sizeof bytes, 0) == -1 && errno != EAGAIN))
            add(text, " The next call failed: %s.", error_name(error != 0 ? error : errno));
    } else if (error != 0) {
        add(text, "connect() failed: %s.", error_name(error));
    } else if (is_ready(client, POLLOUT)) {
        add(text, "connect() succeeded: as far as this client knows, it is connected.");
    } else {
        add(text, "connect() is still waiting after %.0f ms.", wire_ms());
    }
    note_wire(text);
}

static void note_server(char *text)
{
    char bytes[4096];
    ssize_t got, all = 0;
    int fd, connections = 0;

    if (current->packet == DATA || current->packet == DATAGRAM) {
        while (server != -1 && (got = recv(server, bytes, sizeof bytes, 0)) > 0)
            all += got;
        add(text,
            server == -1 ? "Nothing: it has closed the socket."
            : all == 0   ? "Nothing: recv() finds no bytes."
                         : "recv() finds %zd bytes%s.",
            all,
            seen[CLIENT][current->packet].count > 0 && all == sent
                ? ", from the second transmission"
                : "");
        return;
    }
    while (listener != -1 && (fd = accept(listener, NULL, NULL)) != -1) {
        connections++;
        close(fd);
    }
    add(text,
        listener == -1     ? "Nothing: there is no socket."
        : connections == 0 ? "Nothing: accept() finds no connection."
                           : "accept() returns %d connection, but not this one.",
        connections);
}

/* ---- one kind ---- */

static const char *why_not(int error)
{
    if (error == ENOPKG)
        return "nft is not installed (Debian: nftables)";
    if (error == ENOPROTOOPT)
        return "nft cannot add a rule in this kernel";
    return error != 0 ? strerror(error) : "an earlier packet was not seen";
}

/* A frame that was consumed was lost if the counter says so. */
static bool was_lost(const struct result *result)
{
    for (size_t i = 0; i < result->increases.count; i++)
        if (strcmp(result->increases.list[i].name, current->counter) == 0)
            return result->verdict.end >= CONSUMED;
    return result->verdict.end == DROPPED;
}

void kind_run(const struct kind *kind, struct result *result)
{
    *result = (struct result){0};
    current = kind;
    port = FIRST_PORT + (unsigned)(kind - kinds);
    listener = client = server = other = -1;
    errno = 0;
    if (!kind->prepare()) {
        result->not_tried = why_not(errno);
    } else {
        if (kind->alter != NULL)
            kind->alter();
        watch_deliver(server, &result->increases);
        if (kind->read_more != NULL)
            kind->read_more(result);
        wire_carry(kind->next != OTHER ? NEXT_MS : SETTLE_MS, next_was_seen);
        result->verdict = watch_verdict();
        wire_carry(SETTLE_MS, NULL);
        note_client(result->client);
        note_server(result->server);
        result->was_seen = was_lost(result);
    }
    wire_hold(OTHER);
    file_close(client);
    file_close(other);
    file_close(server);
    file_close(listener);
    wire_carry(SETTLE_MS, NULL);
}

/* Name, what is sent, what it means in practice; the counter; the lost packet, how to get it onto
 * the wire, and what to do to it; another counter; what to wait for afterwards. */
const struct kind kinds[] = {
    {"no-listener", "a SYN to a port on which nobody listens",
     "The client fails at once. The server is not running, or it listens on another address or "
     "port: check with ss -ltn.",
     "TcpOutRsts", SYN, nobody_listens, NULL, NULL, SERVER, RESET},
    {"accept-queue", "a SYN to a server whose accept queue is full",
     "New connections take one or more seconds longer, or time out, even if the server's CPU is "
     "idle. The server calls accept() too rarely, or its backlog is too small: in ss -ltn, Recv-Q "
     "is greater than Send-Q.",
     "TcpExtListenOverflows", SYN, queue_is_full, NULL, NULL, CLIENT, SYN},
    {"handshake-ack", "a handshake's last ACK, after the accept queue has filled",
     "The client can send, but accept() does not return its connection. If the server is to send "
     "first, both wait until the queue has room, and after about a minute in vain. The cause is "
     "the "
     "same as for accept-queue.",
     "TcpExtListenOverflows", ACK, queue_fills_meanwhile, NULL, NULL, SERVER, SYN_ACK},
    {"receive-buffer", "a third TCP segment, after two have filled the buffer",
     "Usually TCP prevents this: it advertises a window of 0, and the client waits. Here the "
     "server has made the buffer smaller than the window that it had advertised. A shortage of "
     "memory for all TCP sockets (net.ipv4.tcp_mem) has the same effect: losses and delays "
     "on a healthy network.",
     "TcpExtTCPRcvQDrop", DATA, buffer_is_full, NULL, NULL, CLIENT, DATA},
    {"udp-buffer", "a UDP datagram to a socket whose receive buffer is full",
     "Datagrams are missing, and no call fails. The receiver reads too slowly, or its buffer "
     "(SO_RCVBUF, at most net.core.rmem_max) is too small for a burst. ss -uamn shows the drops of "
     "each socket: the number after d in skmem.",
     "UdpRcvbufErrors", DATAGRAM, udp_buffer_is_full, NULL, NULL, CLIENT, OTHER},
    {"old-sequence", "a second copy of a TCP segment that the server has received",
     "Harmless by itself: the server already had the bytes. If it happens often, acknowledgements "
     "are lost or "
     "late, and the sender repeats segments unnecessarily.",
     "TcpExtTCPDSACKOldSent", DATA, data_on_the_wire, deliver_and_repeat, NULL, SERVER, ACK},
    {"beyond-window", "a TCP segment whose sequence number is 16 MiB too high",
     "The server's kernel answers with the sequence number that it expects, and no call fails. A "
     "device "
     "on the path that rewrites sequence numbers may be faulty, or somebody is forging packets.",
     "TcpExtBeyondWindow", DATA, data_on_the_wire, change_sequence, NULL, CLIENT, DATA},
    {"bad-checksum", "a TCP segment with a byte corrupted in transit",
     "Some requests take longer than others, by 200 ms or more if no other packet follows, and no "
     "call fails. Memory, a card or a device on the path is corrupting packets.",
     "TcpInCsumErrors", DATA, data_on_the_wire, damage, NULL, CLIENT, DATA},
    {"wrong-mac", "a TCP segment in a frame for another machine's MAC address",
     "A card discards such frames itself, except in promiscuous mode, which tcpdump switches on. "
     "They "
     "come from a switch that floods, or from a sender with an outdated ARP entry. nstat does not "
     "count them; ip -s -s link does (otherhost).",
     "rx_otherhost_dropped", DATA, data_on_the_wire, change_mac, NULL, CLIENT, DATA},
    {"wrong-address", "a TCP segment to another machine's IP address",
     "A wrong route, a misconfigured load balancer or a moved address sends packets to the wrong "
     "machine. "
     "With net.ipv4.ip_forward=1, that machine would try to forward them.",
     "IpInAddrErrors", DATA, data_on_the_wire, change_address, NULL, CLIENT, DATA},
    {"filter-rule", "a SYN that a firewall rule (nft) drops",
     "connect() waits about two minutes and then fails with ETIMEDOUT. A rule with reject would "
     "make it fail at once. nft list ruleset shows how many packets each rule with a counter "
     "matched.",
     "the rule's counter", SYN, firewall_has_rule, NULL, read_rule, CLIENT, SYN},
    {"socket-filter", "a TCP segment to a socket whose filter drops everything",
     "A filter that a program attached to its own socket (SO_ATTACH_FILTER) discards the packets. "
     "No firewall shows this. ss -tamn shows the drops (the number after d).",
     "drops of the socket", DATA, socket_has_filter, NULL, NULL, CLIENT, DATA},
    {"reset", "a TCP segment to a connection that the server has just reset",
     "A server that closes a connection with unread data, or with SO_LINGER and a time of 0, "
     "resets "
     "it. Segments still in transit no longer find their connection's socket. If the "
     "server "
     "still listens, the kernel passes them to the listener, which expects a SYN.",
     "TcpOutRsts", DATA, data_on_the_wire, reset_connection, NULL, SERVER, RESET},
};
const size_t kind_count = sizeof kinds / sizeof *kinds;

#endif
