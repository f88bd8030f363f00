/* Playing the network card: Ethernet frames, built by this program.
 *
 * A TAP device has two ends.  One is a network device like any other.  The other is a descriptor:
 * the kernel treats each frame written to it as received by the card, and each frame that it sends
 * can be read from it.  So this program is the card, the cable and the machine at the other end,
 * with as much of ARP, IP and TCP as one connection without losses needs. */
#include "trace.h"

#ifndef CANNOT_TRACE

#define ETHERNET 14
#define IPV4 20
#define TCP 20
#define HEADERS (ETHERNET + IPV4 + TCP)
#define ARP 28
#define DATA 64 /* bytes in one frame */
#define FRAME_SIZE 2048
#define ANSWER_MS 2000 /* then there is no answer */
#define MAX_FRAMES 256 /* to read while waiting for one of them */

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

static const unsigned char our_mac[6] = {2, 0, 0, 0, 0, 2}; /* 02: locally administered */
static const unsigned char our_ip[4] = {192, 0, 2, 2};
static const unsigned char server_ip[4] = {192, 0, 2, 1};
static const unsigned char everybody[6] = {255, 255, 255, 255, 255, 255};
/* What our SYN offers: segments of 1,460 bytes, SACK, and a window in bytes.  Each 1 is padding. */
static const unsigned char syn_options[] = {2, 4, 1460 >> 8, 1460 & 255, 1, 1, 4, 2, 1, 3, 3, 0};

struct tap_host {
    int fd;
    unsigned port;
    bool stamp, quiet;
    FILE *out; /* into `text`, because printing takes longer than sending; NULL: print nothing */
    char *text;
    size_t size;
    struct recording *recording;
    unsigned char server_mac[6];
    uint32_t next, expected; /* sequence numbers: of our next byte and of the server's */
    unsigned char frame[FRAME_SIZE];
    size_t length;
};

/* ---- numbers in a frame, in network byte order: the most significant byte first ---- */

static void put16(unsigned char *at, unsigned value)
{
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
}

static void put32(unsigned char *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static unsigned get16(const unsigned char *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static uint32_t get32(const unsigned char *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* The checksum of IP and TCP, RFC 1071: the complement of the sum of its 16-bit words. */
static unsigned checksum(const unsigned char *data, size_t length, uint32_t sum)
{
    for (size_t i = 0; i < length; i++)
        sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

/* ---- printing frames ---- */

static void print_bytes(FILE *out, const char *name, const unsigned char *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (i % 20 == 0)
            fprintf(out, "%s  %-8s", i > 0 ? "\n" : "", i == 0 ? name : "");
        fprintf(out, " %02x", data[i]);
    }
    fputc('\n', out);
}

static void print_arp(FILE *out, const unsigned char *arp)
{
    bool asks = get16(arp + 6) == 1;
    const unsigned char *ip = arp + (asks ? 24 : 14);

    print_bytes(out, "ARP", arp, ARP);
    fprintf(out, "           %s %u.%u.%u.%u\n", asks ? "who has" : "here is", ip[0], ip[1], ip[2],
            ip[3]);
}

static void print_tcp(FILE *out, const unsigned char *ip, size_t length)
{
    const unsigned char *tcp = ip + IPV4;
    size_t header = (size_t)(tcp[12] >> 4) * 4;
    unsigned flags = tcp[13];

    print_bytes(out, "IPv4", ip, IPV4);
    fprintf(out, "           %u bytes, TTL %u, protocol %u (TCP), %u.%u.%u.%u to %u.%u.%u.%u\n",
            get16(ip + 2), ip[8], ip[9], ip[12], ip[13], ip[14], ip[15], ip[16], ip[17], ip[18],
            ip[19]);
    print_bytes(out, "TCP", tcp, header);
    fprintf(out, "           port %u to %u, byte %u", get16(tcp), get16(tcp + 2), get32(tcp + 4));
    if ((flags & ACK) != 0)
        fprintf(out, ", acknowledges %u", get32(tcp + 8));
    fprintf(out, ";%s%s%s%s%s\n", (flags & SYN) != 0 ? " SYN" : "",
            (flags & PSH) != 0 ? " PSH" : "", (flags & ACK) != 0 ? " ACK" : "",
            (flags & FIN) != 0 ? " FIN" : "", (flags & RST) != 0 ? " RST" : "");
    if (length > IPV4 + header)
        print_bytes(out, "data", tcp + header, length - IPV4 - header);
}

/* Whether the frame that was read holds a whole TCP segment of our connection. */
static bool is_ours(const struct tap_host *host)
{
    const unsigned char *ip = host->frame + ETHERNET;

    return host->length >= HEADERS && get16(host->frame + 12) == 0x0800 && ip[0] == 0x45 &&
           ip[9] == 6 && get16(ip + IPV4) == host->port && get16(ip + IPV4 + 2) == TAP_PORT &&
           host->length >= ETHERNET + get16(ip + 2) &&
           get16(ip + 2) >= IPV4 + (unsigned)(ip[IPV4 + 12] >> 4) * 4;
}

/* What a frame means, in words. */
static const char *meaning(const unsigned char *frame)
{
    const unsigned char *ip = frame + ETHERNET, *tcp = ip + IPV4;

    if (get16(frame + 12) == 0x0806)
        return get16(ip + 6) == 1 ? "Who has this IP address?" : "I have it.";
    if ((tcp[13] & SYN) != 0)
        return (tcp[13] & ACK) != 0 ? "I accept, and open my direction too."
                                    : "Open a connection. (SYN counts as one byte.)";
    return get16(ip + 2) > IPV4 + (unsigned)(tcp[12] >> 4) * 4 ? "Here is data."
                                                               : "I have received your data.";
}

static void print_frame(const struct tap_host *host, const char *who, const unsigned char *frame,
                        size_t length)
{
    FILE *out = host->out;

    if (out == NULL || host->quiet)
        return;
    fprintf(out, "%s, %zu bytes: %s\n", who, length, meaning(frame));
    print_bytes(out, "Ethernet", frame, ETHERNET);
    fprintf(out, "           destination, source, and the type of the contents: %04x\n",
            get16(frame + 12));
    if (get16(frame + 12) == 0x0806)
        print_arp(out, frame + ETHERNET);
    else
        print_tcp(out, frame + ETHERNET, get16(frame + ETHERNET + 2));
    fputc('\n', out);
}

/* ---- writing frames ---- */

static void add_stamp(struct tap_host *host, const char *name, size_t length)
{
    struct event event =
        recording_stamp(host->recording, name, run_now_ns(), getpid(), sched_getcpu());

    event_set(&event, SLOT_LEN, length);
    if (host->stamp)
        recording_add(host->recording, &event);
}

static bool write_frame(struct tap_host *host, const unsigned char *frame, size_t length)
{
    add_stamp(host, "frame_written", length);
    if (write(host->fd, frame, length) != (ssize_t)length)
        return false;
    add_stamp(host, "frame_taken", length);
    print_frame(host, "trace writes a frame", frame, length);
    return true;
}

static void fill_ethernet(unsigned char *frame, const unsigned char *to, unsigned type)
{
    memcpy(frame, to, 6);
    memcpy(frame + 6, our_mac, 6);
    put16(frame + 12, type);
}

/* ARP, RFC 826: ask for the Ethernet address of an IP address, or answer. */
static bool write_arp(struct tap_host *host, unsigned operation)
{
    unsigned char frame[ETHERNET + ARP] = {0}, *arp = frame + ETHERNET;

    fill_ethernet(frame, operation == 1 ? everybody : host->server_mac, 0x0806);
    put32(arp, 1 << 16 | 0x0800); /* Ethernet, and IPv4 */
    put16(arp + 4, 6 << 8 | 4);   /* the lengths of their addresses */
    put16(arp + 6, operation);
    memcpy(arp + 8, our_mac, 6);
    memcpy(arp + 14, our_ip, 4);
    memcpy(arp + 18, host->server_mac, 6);
    memcpy(arp + 24, server_ip, 4);
    return write_frame(host, frame, sizeof frame);
}

static void fill_ipv4(unsigned char *ip, size_t length)
{
    ip[0] = 0x45; /* version 4, a header of 5 words */
    put16(ip + 2, (unsigned)length);
    put16(ip + 6, 0x4000); /* do not fragment */
    ip[8] = 64;            /* TTL */
    ip[9] = 6;             /* the protocol: TCP */
    memcpy(ip + 12, our_ip, 4);
    memcpy(ip + 16, server_ip, 4);
    put16(ip + 10, checksum(ip, IPV4, 0));
}

/* Write a TCP segment.  A SYN has its options in place of data. */
static bool write_tcp(struct tap_host *host, unsigned flags, const void *data, size_t length)
{
    unsigned char frame[HEADERS + DATA] = {0}, *ip = frame + ETHERNET, *tcp = ip + IPV4;

    fill_ethernet(frame, host->server_mac, 0x0800);
    fill_ipv4(ip, IPV4 + TCP + length);
    put16(tcp, TAP_PORT);
    put16(tcp + 2, host->port);
    put32(tcp + 4, host->next);
    put32(tcp + 8, host->expected);
    tcp[12] = (unsigned char)(((flags & SYN) != 0 ? TCP + length : TCP) / 4 << 4);
    tcp[13] = (unsigned char)flags;
    put16(tcp + 14, 65535); /* the receive window */
    if (length > 0)
        memcpy(tcp + TCP, data, length);
    /* TCP's checksum also covers the addresses before its header, the protocol and the length. */
    put16(tcp + 16, checksum(ip + 12, 8 + TCP + length, 6 + TCP + (uint32_t)length));
    host->next += (flags & SYN) != 0 ? 1 : (uint32_t)length;
    return write_frame(host, frame, HEADERS + length);
}

/* ---- reading frames ---- */

/* Read the next TCP segment of our connection or, if there is none yet, the answer to our ARP
 * request.  Answer ARP requests on the way: from time to time the kernel checks that our
 * Ethernet address is still the same.  Drop other frames. */
static bool read_wanted(struct tap_host *host, bool want_arp)
{
    struct pollfd readable = {.fd = host->fd, .events = POLLIN};
    const unsigned char *arp = host->frame + ETHERNET;

    for (int i = 0; i < MAX_FRAMES && poll(&readable, 1, ANSWER_MS) == 1; i++) {
        ssize_t got = read(host->fd, host->frame, sizeof host->frame);
        if (got <= 0)
            return false;
        host->length = (size_t)got;
        bool is_arp = host->length >= ETHERNET + ARP && get16(host->frame + 12) == 0x0806;
        bool is_request = is_arp && get16(arp + 6) == 1 && memcmp(arp + 24, our_ip, 4) == 0;
        bool is_wanted = want_arp ? is_arp && get16(arp + 6) == 2 : is_ours(host);
        if (is_request || is_wanted)
            print_frame(host, "trace reads a frame", host->frame, host->length);
        if (is_wanted)
            return true;
        if (is_request && !write_arp(host, 2))
            return false;
    }
    return false;
}

/* How many new bytes of data the segment holds. */
static size_t take_data(struct tap_host *host)
{
    const unsigned char *ip = host->frame + ETHERNET, *tcp = ip + IPV4;
    size_t length = get16(ip + 2) - IPV4 - (size_t)(tcp[12] >> 4) * 4;

    if (get32(tcp + 4) != host->expected)
        return 0; /* sent again; it has been counted */
    host->expected += (uint32_t)length;
    return length;
}

/* ---- a connection ---- */

struct tap_host *tap_open(int fd, unsigned port, bool print, struct recording *recording)
{
    static struct tap_host only; /* one at a time */
    struct tap_host *host = &only;

    *host = (struct tap_host){.fd = fd, .port = port, .recording = recording, .next = 1000};
    if (print)
        host->out = open_memstream(&host->text, &host->size);
    if (host->out != NULL)
        fputs("On this path, trace is the network card and the machine at the other end of its\n"
              "wire. The kernel receives the frames that trace writes, and trace reads the\n"
              "frames that the kernel sends.\n\n",
              host->out);
    return host;
}

bool tap_connect(struct tap_host *host)
{
    const unsigned char *arp = host->frame + ETHERNET, *tcp = host->frame + ETHERNET + IPV4;

    if (!write_arp(host, 1) || !read_wanted(host, true))
        return false;
    memcpy(host->server_mac, arp + 8, 6);
    if (!write_tcp(host, SYN, syn_options, sizeof syn_options) || !read_wanted(host, false) ||
        (tcp[13] & (SYN | ACK | RST)) != (SYN | ACK))
        return false;
    host->expected = get32(tcp + 4) + 1;
    bool done = write_tcp(host, ACK, NULL, 0);
    if (host->out != NULL)
        fputs("(Some echoes of 15 bytes to warm up are not shown.)\n\n", host->out);
    return done;
}

/* GRO merges segments of the same size, and passes them on when one has the flag PSH. */
bool tap_echo(struct tap_host *host, unsigned frames, bool traced)
{
    static const char line[DATA + 1] =
        "one small step, and one more; then one more step, and one more\n ";
    size_t length = frames > 1 ? DATA : MESSAGE_SIZE, have = 0;

    host->stamp = traced;
    host->quiet = !traced;
    for (unsigned i = 0; i < frames; i++)
        if (!write_tcp(host, i + 1 == frames ? PSH | ACK : ACK, line, length))
            return false;
    for (int i = 0; i < MAX_FRAMES && have < length * frames; i++) {
        if (!read_wanted(host, false))
            return false;
        have += take_data(host);
    }
    host->stamp = false; /* An acknowledgement without data is not a packet to follow. */
    bool done = have == length * frames && write_tcp(host, ACK, NULL, 0);
    client_pause();
    return done;
}

void tap_close(struct tap_host *host)
{
    if (host == NULL)
        return;
    if (host->out != NULL && fclose(host->out) == 0)
        fputs(host->text, stdout);
    free(host->text);
}

#endif
