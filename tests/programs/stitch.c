/* Unit tests of the stitcher: events in, journeys out.  One for each trap that a tracer of packets
 * falls into, each on a recording that is as small as it can be; then every recording that we ship,
 * cut off and damaged in many ways.
 *
 *     tests/build/stitch [RECORDING...]      prints TAP, as bats does
 *
 * The recordings are text, see 07-nic-to-app/tracer/recording.c: ns CPU thread context event
 * key=value ... */
#define _POSIX_C_SOURCE 200809L

#include "journey.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void recording_free(struct recording *recording)
{
    free(recording->events);
    *recording = (struct recording){0};
}

#define EVERYTHING                                                                                 \
    "asked sys_enter_sendto sys_exit_sendto net_dev_queue net_dev_start_xmit irq_handler_entry "   \
    "irq_handler_exit netif_rx softirq_raise softirq_entry softirq_exit napi_gro_receive_entry "   \
    "netif_receive_skb tcp_probe sk_data_ready sched_waking sched_wakeup sched_switch "            \
    "sys_enter_write sys_exit_write sys_exit_epoll_wait sys_exit_poll sys_enter_recvfrom "         \
    "skb_copy_datagram_iovec "                                                                     \
    "sock_recv_length sys_exit_recvfrom kfree_skb frame_written frame_taken\n"

static int tests, failures;
static bool good;

/* ---- a test is a recording and what has to come of it ---- */

struct scene {
    struct recording recording;
    struct journeys journeys;
};

static void complain(const char *format, ...)
{
    va_list values;

    good = false;
    va_start(values, format);
    fputs("# ", stdout);
    vprintf(format, values);
    putchar('\n');
    va_end(values);
}

/* The lines that begin with a digit. */
static int count_events(const char *text)
{
    int events = 0;

    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1)
        events += *line >= '0' && *line <= '9';
    return events;
}

static bool read_text(struct recording *recording, const char *text, size_t length, char *problem,
                      size_t size)
{
    FILE *stream = fmemopen((void *)(size_t)text, length, "r");

    if (stream == NULL) {
        snprintf(problem, size, "fmemopen");
        return false;
    }
    bool read = recording_read(recording, stream, problem, size);
    fclose(stream);
    return read;
}

/* `lost`: how many events the kernel lost.  Lines "thread NUMBER NAME" may come before the events. */
static struct scene stage(const char *via, unsigned lost, const char *events)
{
    struct scene scene;
    char text[8192], problem[160];

    snprintf(text, sizeof text, "echo-journey 1\nvia %s\nport 5566\nlost %u\n%s%send %d\n", via,
             lost, EVERYTHING, events, count_events(events));
    if (!read_text(&scene.recording, text, strlen(text), problem, sizeof problem))
        complain("the recording of this test is not one: %s", problem);
    if (!stitch(&scene.recording, WAYS, &scene.journeys))
        complain("no memory");
    return scene;
}

static void strike(struct scene *scene)
{
    free(scene->journeys.list);
    free(scene->journeys.other);
    recording_free(&scene->recording);
}

static void begin(void)
{
    good = true;
}

static void end(const char *name)
{
    tests++;
    failures += !good;
    printf("%sok %d - %s\n", good ? "" : "not ", tests, name);
}

static const struct journey *only(const struct scene *scene)
{
    static const struct journey none;

    if (scene->journeys.count != 1)
        complain("%zu journeys, and not 1", scene->journeys.count);
    return scene->journeys.count > 0 ? &scene->journeys.list[scene->journeys.count - 1] : &none;
}

static void state_is(const struct journey *journey, enum hop hop, enum hop_state state)
{
    if (journey->state[hop] != state)
        complain("%s is %s, but must be %s", hops[hop].name, show_state(journey->state[hop]),
                 show_state(state));
}

static void time_is(const struct journey *journey, enum hop hop, uint64_t ns)
{
    if (journey->at[hop] == NULL)
        complain("%s has no event", hops[hop].name);
    else if (journey->at[hop]->ns != ns)
        complain("%s is of time %llu, and has to be of %llu", hops[hop].name,
                 (unsigned long long)journey->at[hop]->ns, (unsigned long long)ns);
}

static void outcome_is(const struct journey *journey, enum outcome outcome)
{
    static const char *const names[] = {"complete", "batched", "incomplete"};

    if (journey->outcome != outcome)
        complain("the journey is %s, and has to be %s", names[journey->outcome], names[outcome]);
}

static void raised_by(const struct journey *journey, int raised)
{
    if ((int)journey->raised != raised)
        complain("what raised NET_RX is %d, and has to be %d", (int)journey->raised, raised);
}

/* ---- the parts that many recordings have ---- */

#define SENT                                                                                       \
    "100 0 10 t sys_enter_sendto fd=4 len=5\n"                                                     \
    "110 0 10 t net_dev_queue skb=1 len=71 name=lo\n"                                              \
    "120 0 10 t net_dev_start_xmit skb=1 len=71 name=lo\n"
#define TAKEN_IN                                                                                   \
    "130 0 10 t netif_rx skb=1 len=57 name=lo\n"                                                   \
    "140 0 10 s softirq_entry vec=3\n"                                                             \
    "150 0 10 s netif_receive_skb skb=1 len=57 name=lo\n"
#define FOR_SOCKET                                                                                 \
    "160 0 10 s tcp_probe skb=1 sock=7 cookie=1 len=5 port=5566\n"                                 \
    "170 0 10 s sk_data_ready sock=7\n"
#define WOKEN                                                                                      \
    "180 0 10 s sched_waking task=20 to_cpu=0 name=server\n"                                       \
    "190 0 10 s sched_wakeup task=20 to_cpu=0 name=server\n"                                       \
    "195 0 10 s softirq_exit vec=3\n"                                                              \
    "200 0 10 t sched_switch task=20 from=10 name=client\n"
#define RETURNED "210 0 20 t sys_exit_epoll_wait ret=1\n"
#define READ                                                                                       \
    "220 0 20 t sys_enter_recvfrom fd=9\n"                                                         \
    "230 0 20 t skb_copy_datagram_iovec skb=1 len=5\n"                                             \
    "240 0 20 t sock_recv_length sock=7 ret=5\n"                                                   \
    "250 0 20 t sys_exit_recvfrom ret=5\n"

static void test_plain(void)
{
    begin();
    struct scene scene = stage("lo", 0, SENT TAKEN_IN FOR_SOCKET WOKEN RETURNED READ);
    const struct journey *journey = only(&scene);
    outcome_is(journey, COMPLETE);
    time_is(journey, HOP_SEND, 100);
    time_is(journey, HOP_SOFTIRQ, 140);
    time_is(journey, HOP_SWITCH, 200);
    time_is(journey, HOP_RETURN, 250);
    uint64_t ns[SHARES];
    journey_shares(journey, ns);
    if (ns[SHARE_SENDER] != 20 || ns[SHARE_STACK] != 50 || ns[SHARE_WAKE] != 20 ||
        ns[SHARE_SCHEDULER] != 20 || ns[SHARE_CODE] != 40)
        complain("the shares are wrong");
    strike(&scene);
    end("a packet is followed from send to recv, and its time is shared out");
}

static void test_reuse(void)
{
    begin(); /* 43 ms before, another packet had the same address, and was copied */
    struct scene scene = stage("lo", 0,
                               "50 0 10 t netif_rx skb=1 len=57 name=lo\n"
                               "60 0 20 t skb_copy_datagram_iovec skb=1 len=5\n"
                               "43000140 0 10 s softirq_entry vec=3\n"
                               "43000150 0 10 s netif_receive_skb skb=1 len=57 name=lo\n"
                               "43000160 0 10 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    state_is(only(&scene), HOP_BACKLOG, NOT_SEEN);
    strike(&scene);
    scene = stage("lo", 0, /* the same, and it was freed without a copy */
                  "50 0 10 t netif_rx skb=1 len=57 name=lo\n"
                  "60 0 10 s kfree_skb skb=1\n"
                  "43000150 0 10 s netif_receive_skb skb=1 len=57 name=lo\n"
                  "43000160 0 10 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    state_is(only(&scene), HOP_BACKLOG, NOT_SEEN);
    strike(&scene);
    scene = stage("lo", 0, /* and here nobody says so; but it was received twice */
                  "50 0 10 t netif_rx skb=1 len=57 name=lo\n"
                  "60 0 10 s netif_receive_skb skb=1 len=57 name=lo\n"
                  "43000150 0 10 s netif_receive_skb skb=1 len=57 name=lo\n"
                  "43000160 0 10 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    state_is(only(&scene), HOP_BACKLOG, NOT_SEEN);
    time_is(only(&scene), HOP_RECEIVE, 43000150);
    strike(&scene);
    end("trap 1: the address of an skb is used again, the trail of the old one ends");
}

static void test_softirq(void)
{
    begin(); /* a plain TAP takes the packet in by the thread's own call */
    struct scene scene = stage("tap", 0,
                               "100 0 10 s softirq_entry vec=3\n"
                               "110 0 10 s softirq_exit vec=3\n"
                               "120 0 10 t frame_written len=69\n"
                               "150 0 10 t netif_receive_skb skb=1 len=57 name=tap0\n"
                               "160 0 10 t tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    state_is(only(&scene), HOP_SOFTIRQ, NOT_ON_PATH);
    time_is(only(&scene), HOP_FRAME, 120);
    strike(&scene);
    scene = stage("lo", 0, /* an entry that an exit ended is not this packet's */
                  "100 0 10 s softirq_entry vec=3\n"
                  "110 0 10 s softirq_exit vec=3\n"
                  "150 0 10 s netif_receive_skb skb=1 len=57 name=lo\n"
                  "160 0 10 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    state_is(only(&scene), HOP_SOFTIRQ, NOT_SEEN);
    strike(&scene);
    scene =
        stage("tap", 0, /* a thread's own call is in no softirq, even if an exit was not written */
              "100 0 10 s softirq_entry vec=3\n"
              "120 0 10 t frame_written len=69\n"
              "150 0 10 t netif_receive_skb skb=1 len=57 name=tap0\n"
              "160 0 10 t tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    state_is(only(&scene), HOP_SOFTIRQ, NOT_ON_PATH);
    strike(&scene);
    end("trap 2: a softirq that has ended is nobody's, and a TAP has none");
}

static void test_nesting(void)
{
    begin(); /* cpu1 has an interrupt too; on cpu0 one has ended without asking for NET_RX */
    struct scene scene = stage("card", 0,
                               "10 0 0 h irq_handler_entry irq=9 name=disk\n"
                               "20 0 0 h irq_handler_exit irq=9\n"
                               "30 0 0 h irq_handler_entry irq=24 name=eth0\n"
                               "32 0 0 h softirq_raise vec=3\n"
                               "35 1 0 h irq_handler_entry irq=25 name=eth1\n"
                               "36 1 0 h softirq_raise vec=3\n"
                               "40 0 0 h irq_handler_exit irq=24\n"
                               "45 1 0 s softirq_entry vec=3\n"
                               "50 0 0 s softirq_entry vec=3\n"
                               "60 0 0 s napi_gro_receive_entry skb=1 len=57 name=eth0\n"
                               "70 0 0 s netif_receive_skb skb=1 len=57 name=eth0\n"
                               "160 0 0 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    time_is(only(&scene), HOP_IRQ, 30);
    time_is(only(&scene), HOP_SOFTIRQ, 50);
    time_is(only(&scene), HOP_GRO, 60);
    strike(&scene);
    scene = stage("card", 0, /* a driver that gives GRO pages instead of an skb */
                  "50 0 0 s softirq_entry vec=3\n"
                  "60 0 0 s napi_gro_frags_entry skb=1 len=57 name=eth0\n"
                  "70 0 0 s netif_receive_skb skb=1 len=57 name=eth0\n"
                  "160 0 0 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    time_is(only(&scene), HOP_GRO, 60);
    strike(&scene);
    scene = stage("card", 0, /* the card has interrupted NET_RX, which so ran once more */
                  "13 0 0 s softirq_entry vec=3\n"
                  "20 0 0 h irq_handler_entry irq=24 name=eth0\n"
                  "21 0 0 h softirq_raise vec=3\n"
                  "22 0 0 h irq_handler_exit irq=24\n"
                  "30 0 0 s softirq_exit vec=3\n"
                  "40 0 0 s softirq_entry vec=3\n"
                  "70 0 0 s netif_receive_skb skb=1 len=57 name=eth0\n"
                  "160 0 0 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    time_is(only(&scene), HOP_IRQ, 20);
    time_is(only(&scene), HOP_SOFTIRQ, 40);
    strike(&scene);
    scene = stage(
        "lo", 0, /* NET_RX was at work before this packet was in the backlog */
        SENT "125 0 10 s softirq_entry vec=3\n"
             "130 0 10 t netif_rx skb=1 len=57 name=lo\n"
             "150 0 10 s netif_receive_skb skb=1 len=57 name=lo\n" FOR_SOCKET WOKEN RETURNED READ);
    state_is(only(&scene), HOP_SOFTIRQ, NOT_NEEDED);
    outcome_is(only(&scene), BATCHED);
    strike(&scene);
    end("trap 3: interrupts belong to a CPU, and are matched by nesting");
}

/* What the kernel's threads and the timer do; the threads have names in these recordings. */
static void worker_is(const struct journey *journey, const char *fields, bool is_ksoftirqd)
{
    char text[64] = "";
    const char *remark = "";

    if (journey->at[HOP_SOFTIRQ] != NULL) {
        show_fields(journey, HOP_SOFTIRQ, text, sizeof text);
        remark = show_remark(journey, HOP_SOFTIRQ);
    }
    if (strcmp(text, fields) != 0)
        complain("the softirq is \"%s\", and not \"%s\"", text, fields);
    if ((remark != NULL && strstr(remark, "the thread ksoftirqd") != NULL) != is_ksoftirqd)
        complain("it is said to run %s ksoftirqd", is_ksoftirqd ? "outside of" : "in");
}

static void test_raised(void)
{
    begin(); /* the softirq was asked for by a timer, and no card */
    struct scene scene = stage("card", 0,
                               "10 0 0 h irq_handler_entry irq=9 name=disk\n"
                               "20 0 0 h irq_handler_exit irq=9\n"
                               "32 0 0 h softirq_raise vec=3\n"
                               "50 0 0 s softirq_entry vec=3\n"
                               "70 0 0 s netif_receive_skb skb=1 len=57 name=eth0\n"
                               "160 0 0 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    state_is(only(&scene), HOP_IRQ, NOT_ON_PATH);
    raised_by(only(&scene), BY_TIMER);
    strike(&scene);
    scene = stage("card", 0, /* a thread has asked for it; the card's own handler is older */
                  "10 0 0 h irq_handler_entry irq=24 name=eth0\n"
                  "20 0 0 h irq_handler_exit irq=24\n"
                  "32 0 17 t softirq_raise vec=3\n"
                  "50 0 17 s softirq_entry vec=3\n"
                  "70 0 17 s netif_receive_skb skb=1 len=57 name=eth0\n"
                  "160 0 17 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    state_is(only(&scene), HOP_IRQ, NOT_ON_PATH);
    raised_by(only(&scene), BY_THREAD);
    strike(&scene);
    scene = stage("card", 0, /* NAPI's thread is in no softirq */
                  "10 0 17 t napi_gro_receive_entry skb=1 len=57 name=eth0\n"
                  "70 0 17 t netif_receive_skb skb=1 len=57 name=eth0\n"
                  "160 0 17 t tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    state_is(only(&scene), HOP_SOFTIRQ, NOT_ON_PATH);
    state_is(only(&scene), HOP_IRQ, NOT_ON_PATH);
    time_is(only(&scene), HOP_GRO, 10);
    strike(&scene);
    end("what scheduled NET_RX, if no card's handler did: a timer, a thread; NAPI's thread");
}

static void test_workers(void)
{
    begin(); /* the timer interrupts ksoftirqd, which has not asked for anything */
    struct scene scene = stage("card", 0,
                               "thread 17 ksoftirqd/0\n"
                               "32 0 17 h softirq_raise vec=3\n"
                               "50 0 0 s softirq_entry vec=3\n"
                               "70 0 0 s netif_receive_skb skb=1 len=57 name=eth0\n"
                               "160 0 0 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    raised_by(only(&scene), BY_TIMER);
    worker_is(only(&scene), "NET_RX", false);
    strike(&scene);
    scene = stage("lo", 0,
                  "thread 17 ksoftirqd/0\n"
                  "50 0 17 s softirq_entry vec=3\n"
                  "70 0 17 s netif_receive_skb skb=1 len=57 name=lo\n"
                  "160 0 17 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    worker_is(only(&scene), "NET_RX in ksoftirqd/0", true);
    strike(&scene);
    scene = stage("lo", 0, /* NET_RX interrupts a thread of NAPI */
                  "thread 17 napi/eth0-1\n"
                  "50 0 17 s softirq_entry vec=3\n"
                  "70 0 17 s netif_receive_skb skb=1 len=57 name=lo\n"
                  "160 0 17 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    worker_is(only(&scene), "NET_RX in napi/eth0-1", false);
    strike(&scene);
    end("a thread that NET_RX runs in is named, and only ksoftirqd is called ksoftirqd");
}

/* Receive an skb of this length, of which tcp_probe, in this context, reports `data` bytes. */
static struct scene sized(unsigned length, char context, unsigned data)
{
    char events[400];

    snprintf(events, sizeof events,
             "130 0 10 s softirq_entry vec=3\n"
             "150 0 10 s netif_receive_skb skb=1 len=%u name=lo\n"
             "155 0 10 s softirq_exit vec=3\n"
             "160 0 20 %c tcp_probe skb=1 sock=7 cookie=1 len=%u\n",
             length, context, data);
    if (context == 's')
        snprintf(events, sizeof events,
                 "150 0 10 s netif_receive_skb skb=1 len=%u name=lo\n"
                 "160 0 10 s tcp_probe skb=1 sock=7 cookie=1 len=%u\n",
                 length, data);
    return stage("lo", 0, events);
}

static void size_is(unsigned length, char context, unsigned data, uint64_t size, bool wraps)
{
    struct scene scene = sized(length, context, data);
    const struct journey *journey = only(&scene);

    time_is(journey, HOP_RECEIVE, 150);
    if (journey->size != size || journey->size_wraps != wraps ||
        journey->backlogged != (context == 't'))
        complain("%u bytes of an skb of %u: %llu%s, backlogged %d", data, length,
                 (unsigned long long)journey->size, journey->size_wraps ? " or more" : "",
                 journey->backlogged);
    strike(&scene);
}

static void test_backlog(void)
{
    begin();
    size_is(83, 's', 31, 31, false);
    size_is(67636, 's', 2048, 67584, false);
    size_is(65588, 's', 0, 65536, false);
    size_is(83, 't', 31, 31, false);
    size_is(67636, 't', 2048, 67584, false);
    size_is(33844, 't', 2048, 2048, true); /* joined, after the first part had been received */
    size_is(32820, 't', 0, 65536, true);
    struct scene scene = sized(52, 's', 0); /* an acknowledgement */
    if (scene.journeys.count != 0)
        complain("an acknowledgement has a journey");
    strike(&scene);
    scene = stage("card", 0, /* a thread of NAPI received it, and the server's thread took it */
                  "150 0 17 t netif_receive_skb skb=1 len=57 name=eth0\n"
                  "160 0 20 t tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    time_is(only(&scene), HOP_RECEIVE, 150);
    if (!only(&scene)->backlogged)
        complain("it is said to have come without waiting");
    strike(&scene);
    scene = stage("card", 0, /* the same on two CPUs */
                  "150 1 17 t netif_receive_skb skb=1 len=57 name=eth0\n"
                  "160 0 20 t tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    time_is(only(&scene), HOP_RECEIVE, 150);
    strike(&scene);
    end("a packet from the socket's backlog; a size of more than 16 bits");
}

static void test_awake(void)
{
    begin();
    struct scene scene =
        stage("lo", 0, SENT TAKEN_IN FOR_SOCKET "195 0 10 s softirq_exit vec=3\n" RETURNED READ);
    state_is(only(&scene), HOP_WAKING, NOT_NEEDED);
    state_is(only(&scene), HOP_SWITCH, NOT_NEEDED);
    outcome_is(only(&scene), BATCHED);
    strike(&scene);
    scene = stage("lo", 3, /* events were lost: then we do not know */
                  SENT TAKEN_IN FOR_SOCKET "195 0 10 s softirq_exit vec=3\n" RETURNED READ);
    state_is(only(&scene), HOP_WAKING, NOT_SEEN);
    outcome_is(only(&scene), INCOMPLETE);
    strike(&scene);
    scene =
        stage("lo", 0, /* the waking after the softirq's end is somebody else's */
              SENT TAKEN_IN FOR_SOCKET "195 0 10 s softirq_exit vec=3\n"
                                       "197 0 10 t sched_waking task=20 to_cpu=0\n" RETURNED READ);
    state_is(only(&scene), HOP_WAKING, NOT_NEEDED);
    strike(&scene);
    scene = stage("lo", 0, /* two packets, one wait */
                  "205 0 10 s tcp_probe skb=2 sock=8 cookie=2 len=5\n" RETURNED
                  "215 0 10 s tcp_probe skb=1 sock=7 cookie=1 len=5\n" READ);
    if (scene.journeys.count == 2)
        state_is(&scene.journeys.list[1], HOP_WAIT, NOT_NEEDED);
    else
        complain("%zu journeys, and not 2", scene.journeys.count);
    strike(&scene);
    scene = stage("lo", 0, /* a timer wakes another thread before the server is woken */
                  SENT TAKEN_IN FOR_SOCKET
                  "175 0 10 h sched_waking task=30 to_cpu=0 name=client\n" WOKEN RETURNED READ);
    time_is(only(&scene), HOP_WAKING, 180);
    outcome_is(only(&scene), COMPLETE);
    strike(&scene);
    end("trap 4: a server that is awake is not woken: batched, and no error");
}

static void test_switch(void)
{
    begin(); /* it was woken before it had left its CPU */
    struct scene scene =
        stage("lo", 0,
              "50 1 30 t sched_switch task=20 from=30\n" SENT TAKEN_IN FOR_SOCKET
              "180 0 10 s sched_waking task=20 to_cpu=1 name=server\n"
              "190 0 10 s sched_wakeup task=20 to_cpu=1 name=server\n" RETURNED READ);
    state_is(only(&scene), HOP_SWITCH, NOT_NEEDED);
    outcome_is(only(&scene), BATCHED);
    strike(&scene);
    scene = stage("lo", 0, /* it had left it: there was a switch, and no event of it */
                  "50 1 20 t sched_switch task=0 from=20\n" SENT TAKEN_IN FOR_SOCKET
                  "180 0 10 s sched_waking task=20 to_cpu=1 name=server\n"
                  "190 0 10 s sched_wakeup task=20 to_cpu=1 name=server\n" RETURNED READ);
    state_is(only(&scene), HOP_SWITCH, NOT_SEEN);
    outcome_is(only(&scene), INCOMPLETE);
    strike(&scene);
    end("a switch without an event: kept its CPU, or not seen; never guessed");
}

static void test_gro(void)
{
    begin();
    struct scene scene = stage("gro", 0,
                               "100 0 10 t frame_written len=118\n"
                               "110 0 10 s softirq_entry vec=3\n"
                               "120 0 10 s napi_gro_receive_entry skb=1 len=104 name=tap0\n"
                               "130 0 10 s softirq_exit vec=3\n"
                               "200 0 10 t frame_written len=118\n"
                               "210 0 10 s softirq_entry vec=3\n"
                               "220 0 10 s napi_gro_receive_entry skb=2 len=104 name=tap0\n"
                               "300 0 10 s netif_receive_skb skb=1 len=168 name=tap0\n"
                               "310 0 10 s tcp_probe skb=1 sock=7 cookie=1 len=128\n");
    if (only(&scene)->frames != 2)
        complain("%u frames, and not 2", only(&scene)->frames);
    time_is(only(&scene), HOP_FRAME, 100);
    time_is(only(&scene), HOP_GRO, 120);
    time_is(only(&scene), HOP_SOFTIRQ, 110);
    strike(&scene);
    end("trap 5: GRO makes one skb of many frames, and the first frame counts");
}

static void test_merged(void)
{
    begin(); /* TCP appends skb 2 to skb 1, which waits; both are read by one call */
    struct scene scene = stage("lo", 0,
                               "160 0 10 s tcp_probe skb=1 sock=7 cookie=1 len=5\n"
                               "165 0 10 s tcp_probe skb=2 sock=7 cookie=1 len=5\n"
                               "220 0 20 t sys_enter_recvfrom fd=9\n"
                               "230 0 20 t skb_copy_datagram_iovec skb=1 len=10\n"
                               "240 0 20 t sock_recv_length sock=7 ret=10\n"
                               "250 0 20 t sys_exit_recvfrom ret=10\n");
    if (scene.journeys.count == 2) {
        state_is(&scene.journeys.list[0], HOP_COPY, SEEN);
        state_is(&scene.journeys.list[1], HOP_COPY, MERGED);
        time_is(&scene.journeys.list[1], HOP_COPY, 230);
    } else {
        complain("%zu journeys, and not 2", scene.journeys.count);
    }
    strike(&scene);
    scene = stage("lo", 0, /* another socket is read; ours is not */
                  "165 0 10 s tcp_probe skb=2 sock=7 cookie=1 len=5\n"
                  "220 0 20 t sys_enter_recvfrom fd=9\n"
                  "230 0 20 t skb_copy_datagram_iovec skb=1 len=10\n"
                  "240 0 20 t sock_recv_length sock=8 ret=10\n"
                  "250 0 20 t sys_exit_recvfrom ret=10\n");
    state_is(only(&scene), HOP_COPY, NOT_SEEN);
    outcome_is(only(&scene), INCOMPLETE);
    strike(&scene);
    end("trap 5: TCP may append the bytes to another skb");
}

static void test_eintr(void)
{
    begin();
    struct scene scene = stage("lo", 0,
                               SENT TAKEN_IN FOR_SOCKET WOKEN RETURNED
                               "215 0 20 t sys_exit_epoll_wait ret=-4\n" READ);
    time_is(only(&scene), HOP_WAIT, 210);
    strike(&scene);
    end("trap 6: epoll_wait returns EINTR when a tracer attaches: that is no wake-up");
}

static void test_send(void)
{
    begin(); /* an acknowledgement came in, and the next segment went out from there */
    struct scene scene =
        stage("lo", 0,
              "100 0 10 t sys_enter_sendto fd=4 len=5\n"
              "110 0 10 s net_dev_queue skb=1 len=71 name=lo\n" TAKEN_IN FOR_SOCKET);
    state_is(only(&scene), HOP_SEND, NOT_SEEN);
    strike(&scene);
    scene = stage("lo", 0, /* that call is over */
                  "100 0 10 t sys_enter_sendto fd=4 len=5\n"
                  "105 0 10 t sys_exit_sendto ret=5\n"
                  "110 0 10 t net_dev_queue skb=1 len=71 name=lo\n" TAKEN_IN FOR_SOCKET);
    state_is(only(&scene), HOP_SEND, NOT_SEEN);
    strike(&scene);
    end("a packet that a software interrupt queued belongs to no send()");
}

static void inside_is(const struct scene *scene, bool inside)
{
    if (only(scene)->inside_send != inside)
        complain("it is said to be taken in %s the sender's call", inside ? "after" : "inside");
}

static void test_inside(void)
{
    begin();
    struct scene scene =
        stage("lo", 0, SENT TAKEN_IN FOR_SOCKET "196 0 10 t sys_exit_sendto ret=5\n");
    inside_is(&scene, true);
    strike(&scene);
    scene = stage("lo", 0, /* another CPU took it in, when the call was over */
                  SENT "131 0 10 t sys_exit_sendto ret=5\n"
                       "150 1 0 s netif_receive_skb skb=1 len=57 name=lo\n" FOR_SOCKET);
    inside_is(&scene, false);
    strike(&scene);
    scene = stage("lo", 0, SENT TAKEN_IN FOR_SOCKET); /* the end of the call was not written */
    inside_is(&scene, false);
    strike(&scene);
    end("what is received inside the sender's send(), and what is not");
}

/* Each event carries the number of its packet.  Another packet's may stand between them. */
static void test_sockets(void)
{
    begin();
    struct scene scene = stage("sockets", 0,
                               "10 0 0 t send len=5 packet=1\n"
                               "20 -1 0 t TX_ACK_stamp len=5 packet=0\n"
                               "30 0 0 t recvmsg_returned ret=5 packet=1\n"
                               "40 0 0 t send len=5 packet=2\n"
                               "50 0 0 t recvmsg_returned ret=5 packet=2\n"
                               "60 -1 0 t TX_ACK_stamp len=5 packet=2\n");
    if (scene.journeys.count != 2)
        complain("%zu journeys, and not 2", scene.journeys.count);
    else {
        time_is(&scene.journeys.list[0], HOP_SEND, 10);
        state_is(&scene.journeys.list[0], HOP_ACK, UNKNOWN); /* that stamp is of another packet */
        time_is(&scene.journeys.list[1], HOP_SEND, 40);
        time_is(&scene.journeys.list[1], HOP_ACK, 60);
    }
    strike(&scene);
    end("what sockets tell: the events of a packet, and of no other");
}

/* Its NET_RX is over: the address is used again, by a packet of a device that we do not watch. */
static void test_other_device(void)
{
    begin();
    struct scene scene = stage("lo", 0,
                               "100 0 10 s softirq_entry vec=3\n"
                               "110 0 10 s netif_receive_skb skb=1 len=57 name=lo\n"
                               "120 0 10 s softirq_exit vec=3\n"
                               "150 0 10 s softirq_entry vec=3\n"
                               "160 0 10 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    state_is(only(&scene), HOP_RECEIVE, NOT_SEEN);
    strike(&scene);
    scene = stage("lo", 0, /* on another CPU */
                  "110 1 10 s netif_receive_skb skb=1 len=57 name=lo\n"
                  "160 0 10 s tcp_probe skb=1 sock=7 cookie=1 len=5\n");
    state_is(only(&scene), HOP_RECEIVE, NOT_SEEN);
    strike(&scene);
    end("an skb's address without its packet: it came by another device");
}

static void frames_are(const struct scene *scene, unsigned frames)
{
    if (only(scene)->frames != frames)
        complain("%u frames, and not %u", only(scene)->frames, frames);
}

static void test_frames(void)
{
    begin();
    struct scene scene = stage("card", 0,
                               "50 0 0 s napi_gro_receive_entry skb=1 len=104 name=eth0\n"
                               "55 1 0 s napi_gro_receive_entry skb=9 len=104 name=eth0\n"
                               "60 0 0 s napi_gro_receive_entry skb=2 len=104 name=eth0\n"
                               "70 0 0 s netif_receive_skb skb=1 len=168 name=eth0\n"
                               "160 0 0 s tcp_probe skb=1 sock=7 cookie=1 len=128\n");
    frames_are(&scene, 2); /* the other CPU's is not ours */
    strike(&scene);
    scene = stage("card", 0, /* one of another connection is among them: no number is shown */
                  "50 0 0 s napi_gro_receive_entry skb=1 len=104 name=eth0\n"
                  "55 0 0 s napi_gro_receive_entry skb=9 len=1500 name=eth0\n"
                  "60 0 0 s napi_gro_receive_entry skb=2 len=104 name=eth0\n"
                  "70 0 0 s netif_receive_skb skb=1 len=168 name=eth0\n"
                  "160 0 0 s tcp_probe skb=1 sock=7 cookie=1 len=128\n");
    frames_are(&scene, 1);
    strike(&scene);
    end("frames that GRO made one of: on this CPU, and their lengths add up");
}

static void test_disorder(void)
{
    begin(); /* sockets: a wall clock that was set between two stamps */
    struct scene scene = stage("sockets", 0,
                               "10 0 0 t RX_SOFTWARE_stamp len=5 packet=1\n"
                               "20 0 0 t send len=5 packet=1\n"
                               "30 0 0 t recvmsg_returned ret=5 packet=1\n");
    state_is(only(&scene), HOP_RECEIVE, NOT_SEEN);
    outcome_is(only(&scene), INCOMPLETE);
    strike(&scene);
    end("a hop that is out of order is not shown");
}

static void test_poll_then_recv(void)
{
    begin();
    struct scene scene = stage("lo", 0,
                               "40 0 20 t sys_exit_poll ret=1\n"
                               "50 0 20 t sys_enter_recvfrom fd=9\n" SENT TAKEN_IN FOR_SOCKET WOKEN
                               "230 0 20 t skb_copy_datagram_iovec skb=1 len=5\n"
                               "250 0 20 t sys_exit_recvfrom ret=5\n");
    state_is(only(&scene), HOP_WAIT, NOT_ON_PATH);
    outcome_is(only(&scene), COMPLETE);
    strike(&scene);
    scene = stage("lo", 1, /* the wait's event may be the one that was lost */
                  "40 0 20 t sys_exit_epoll_wait ret=1\n" SENT TAKEN_IN FOR_SOCKET WOKEN READ);
    state_is(only(&scene), HOP_WAIT, NOT_SEEN);
    strike(&scene);
    end("a thread that polled once and then slept in recv(); an event that was lost");
}

static void title_is(const struct journey *journey, enum box box, const char *title)
{
    if (strcmp(show_box(journey, box), title) != 0)
        complain("box %d is called \"%s\"", (int)box, show_box(journey, box));
}

static void test_titles(void)
{
    struct journey journey = {.waiting = WAITS_EPOLL, .state = {[HOP_RESUME] = SEEN}};

    begin();
    title_is(&journey, BOX_WAKE, "the kernel wakes epoll_wait");
    title_is(&journey, BOX_LOOP, "the event loop resumes a coroutine");
    journey.state[HOP_RESUME] = UNKNOWN;
    title_is(&journey, BOX_LOOP, "the event loop takes it from the list");
    for (journey.waiting = WAITS_SCAN; journey.waiting < WAYS_TO_WAIT; journey.waiting++)
        for (int box = 0; box < BOXES; box++)
            if (strstr(show_box(&journey, (enum box)box), "epoll") != NULL)
                complain("box %d speaks of epoll where none is", box);
    end("the boxes of a server without epoll do not speak of it");
}

static void test_blocked(void)
{
    begin();
    struct scene scene = stage("lo", 0,
                               "50 0 20 t sys_enter_recvfrom fd=9\n" SENT TAKEN_IN FOR_SOCKET WOKEN
                               "230 0 20 t skb_copy_datagram_iovec skb=1 len=5\n"
                               "250 0 20 t sys_exit_recvfrom ret=5\n");
    state_is(only(&scene), HOP_RECV, BEGAN_BEFORE);
    state_is(only(&scene), HOP_WAIT, NOT_ON_PATH);
    if (only(&scene)->waiting != WAITS_BLOCKED)
        complain("the server is not said to be blocked");
    if (journey_first(only(&scene))->ns != 100)
        complain("the blocked call is counted as the first hop");
    outcome_is(only(&scene), COMPLETE);
    strike(&scene);
    scene = stage("lo", 0, SENT TAKEN_IN FOR_SOCKET WOKEN "210 0 20 t sys_exit_poll ret=1\n" READ);
    if (only(&scene)->waiting != WAITS_SCAN)
        complain("poll() is taken for something else");
    strike(&scene);
    end("a server that waits in recv(), and one that waits in poll()");
}

static void waits(const struct scene *scene, enum waiting waiting)
{
    if (only(scene)->waiting != waiting)
        complain("the way of waiting is %d, and not %d", (int)only(scene)->waiting, (int)waiting);
}

/* It asks, is told that there is nothing, and asks again; then the packet comes. */
#define ASKS_AGAIN                                                                                 \
    "40 1 20 t sys_enter_recvfrom fd=9\n"                                                          \
    "45 1 20 t sys_exit_recvfrom ret=-11\n"                                                        \
    "50 1 20 t sys_enter_recvfrom fd=9\n"
#define GETS_IT                                                                                    \
    "230 1 20 t skb_copy_datagram_iovec skb=1 len=5\n"                                             \
    "250 1 20 t sys_exit_recvfrom ret=5\n"

static void test_spin(void)
{
    begin(); /* the packet is there before the second call looks for it */
    struct scene scene = stage("lo", 0, ASKS_AGAIN SENT TAKEN_IN FOR_SOCKET GETS_IT);
    waits(&scene, WAITS_NOT);
    state_is(only(&scene), HOP_RECV, BEGAN_BEFORE);
    state_is(only(&scene), HOP_WAKING, NOT_NEEDED);
    state_is(only(&scene), HOP_WAIT, NOT_ON_PATH);
    outcome_is(only(&scene), BATCHED);
    strike(&scene);
    scene = stage("lo", 0, /* the second call began after it had come */
                  "40 1 20 t sys_enter_recvfrom fd=9\n"
                  "45 1 20 t sys_exit_recvfrom ret=-11\n" SENT TAKEN_IN FOR_SOCKET
                  "220 1 20 t sys_enter_recvfrom fd=9\n" GETS_IT);
    waits(&scene, WAITS_NOT);
    state_is(only(&scene), HOP_RECV, SEEN);
    strike(&scene);
    scene = stage("lo", 0, /* the second call may block, and was woken */
                  ASKS_AGAIN SENT TAKEN_IN FOR_SOCKET
                  "180 0 10 s sched_waking task=20 to_cpu=1 name=server\n"
                  "190 0 10 s sched_wakeup task=20 to_cpu=1 name=server\n"
                  "200 1 0 t sched_switch task=20 from=0\n" GETS_IT);
    waits(&scene, WAITS_BLOCKED);
    outcome_is(only(&scene), COMPLETE);
    strike(&scene);
    end("a server that asks again and again, and one that asks once and then blocks");
}

/* Nobody was woken, so a later call may be the one that got the bytes. */
static void test_splice(void)
{
    static const enum hop unknown[] = {HOP_RECV, HOP_COPY, HOP_RETURN};

    begin();
    struct scene scene = stage("lo", 0,
                               SENT TAKEN_IN FOR_SOCKET "175 0 10 s ep_poll_callback\n"
                                                        "220 1 20 t sys_enter_splice fd=9\n"
                                                        "250 1 20 t sys_exit_splice ret=5\n");
    waits(&scene, WAITS_EPOLL);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        state_is(only(&scene), unknown[i], UNKNOWN);
        if (strstr(show_absence(only(&scene), unknown[i]), "splice") == NULL)
            complain("the reason is not given");
    }
    strike(&scene);
    end("a server that splices: it is unknown which call got the bytes, and why");
}

static void test_old_kernel(void)
{
    begin(); /* Linux 6.1: no address in tcp_probe, and no sk_data_ready */
    struct scene scene =
        stage("card", 0,
              "40 1 0 s netif_receive_skb skb=5 len=57 name=eth0\n"
              "50 0 0 s netif_receive_skb skb=1 len=57 name=eth0\n"
              "60 0 0 s tcp_probe cookie=1 len=5 port=5566\n"
              "70 0 0 s sched_waking task=20 to_cpu=0 name=server\n" RETURNED READ);
    time_is(only(&scene), HOP_RECEIVE, 50);
    time_is(only(&scene), HOP_WAKING, 70);
    time_is(only(&scene), HOP_COPY, 230);
    strike(&scene);
    scene = stage("card", 0, /* two that may be it: then neither is */
                  "50 0 0 s netif_receive_skb skb=1 len=57 name=eth0\n"
                  "55 0 0 s netif_receive_skb skb=2 len=57 name=eth0\n"
                  "60 0 0 s tcp_probe cookie=1 len=5 port=5566\n" RETURNED READ);
    state_is(only(&scene), HOP_RECEIVE, NOT_SEEN);
    outcome_is(only(&scene), INCOMPLETE);
    strike(&scene);
    scene = stage("card", 0, /* an acknowledgement is no candidate: it carries nothing */
                  "50 0 0 s netif_receive_skb skb=1 len=57 name=eth0\n"
                  "55 0 0 s netif_receive_skb skb=2 len=40 name=eth0\n"
                  "60 0 0 s tcp_probe cookie=1 len=5 port=5566\n" RETURNED READ);
    time_is(only(&scene), HOP_RECEIVE, 50);
    strike(&scene);
    scene = stage("card", 0, /* the first software interrupt had more to do than it may at once */
                  "10 0 0 h irq_handler_entry irq=24 name=eth0\n"
                  "11 0 0 h softirq_raise vec=3\n"
                  "12 0 0 h irq_handler_exit irq=24\n"
                  "13 0 0 s softirq_entry vec=3\n"
                  "14 0 0 s softirq_raise vec=3\n"
                  "15 0 0 s softirq_exit vec=3\n"
                  "40 0 14 s softirq_entry vec=3\n"
                  "50 0 14 s netif_receive_skb skb=1 len=57 name=eth0\n"
                  "60 0 14 s tcp_probe cookie=1 len=5 port=5566\n" RETURNED READ);
    state_is(only(&scene), HOP_IRQ, NOT_NEEDED);
    strike(&scene);
    scene = stage("lo", 0, /* and back from there to the one who sent it */
                  SENT "140 0 10 s softirq_entry vec=3\n"
                       "150 0 10 s netif_receive_skb skb=1 len=57 name=lo\n"
                       "160 0 10 s tcp_probe cookie=1 len=5 port=5566\n");
    time_is(only(&scene), HOP_SEND, 100);
    strike(&scene);
    scene = stage("card", 0, /* the answer to an earlier packet had an skb of this address */
                  "10 0 20 t net_dev_queue skb=1 len=71 name=eth0\n"
                  "20 0 20 t net_dev_start_xmit skb=1 len=71 name=eth0\n"
                  "40 0 0 s softirq_entry vec=3\n"
                  "45 0 0 s napi_gro_receive_entry skb=1 len=57 name=eth0\n"
                  "50 0 0 s netif_receive_skb skb=1 len=57 name=eth0\n"
                  "60 0 0 s tcp_probe cookie=1 len=5 port=5566\n" RETURNED READ);
    state_is(only(&scene), HOP_QUEUE, NOT_ON_PATH);
    time_is(only(&scene), HOP_GRO, 45);
    strike(&scene);
    end("Linux 6.1: the skb that this CPU took in, if it can be only one");
}

static void test_stamps(void)
{
    begin();
    struct scene scene = stage("lo", 0,
                               SENT TAKEN_IN FOR_SOCKET WOKEN
                               "205 -1 20 t coroutine_resumed fd=9 coroutine=3\n" RETURNED
                               "212 -1 20 t loop_picks fd=8\n"
                               "214 -1 20 t loop_picks fd=9\n"
                               "216 -1 20 t coroutine_resumed fd=9 coroutine=3\n" READ);
    time_is(only(&scene), HOP_LOOP, 214);
    time_is(only(&scene), HOP_RESUME, 216);
    strike(&scene);
    scene = stage("lo", 0, /* an old stamp, of the same descriptor */
                  "90 -1 20 t coroutine_resumed fd=9 coroutine=3\n" SENT TAKEN_IN FOR_SOCKET WOKEN
                      RETURNED READ);
    if (only(&scene)->at[HOP_RESUME] != NULL)
        complain("a stamp from before the wait is taken");
    strike(&scene);
    scene = stage("lo", 0, SENT TAKEN_IN FOR_SOCKET WOKEN RETURNED READ);
    state_is(only(&scene), HOP_RESUME, UNKNOWN);
    strike(&scene);
    end("the server's stamps: of this descriptor, after the wait; none: not seen");
}

/* How the hop `loop` is known, with this header. */
static void loop_is(const char *header, enum hop_state state)
{
    struct scene scene;
    char text[1024], problem[160];

    snprintf(
        text, sizeof text,
        "echo-journey 1\nvia lo\nport 5566\n%s160 0 10 s tcp_probe skb=1 sock=7 len=5\nend 1\n",
        header);
    if (!read_text(&scene.recording, text, strlen(text), problem, sizeof problem))
        complain("the recording of this test is not one: %s", problem);
    if (!stitch(&scene.recording, WAYS, &scene.journeys))
        complain("no memory");
    state_is(only(&scene), HOP_LOOP, state);
    if (show_absence(only(&scene), HOP_LOOP) == NULL)
        complain("no reason is given");
    strike(&scene);
}

static void test_states(void)
{
    begin();
    loop_is("asked tcp_probe loop_picks\nunavailable none\n", NOT_SEEN);
    loop_is("asked tcp_probe\nunavailable none\n", NOT_ASKED);
    loop_is("asked tcp_probe\nunavailable netif_rx loop_picks\n", NOT_AVAILABLE);
    loop_is("asked tcp_probe\n", UNKNOWN); /* an older recording */
    end("not seen, not asked for, not available and unknown are four states");
}

/* ---- there and back ---- */

/* The request, up to the server's recv().  The client blocks in its own before it loses the CPU. */
#define REQUEST                                                                                    \
    "90 0 10 t client_starts\n" SENT TAKEN_IN                                                      \
    "160 0 10 s tcp_probe skb=1 sock=7 cookie=1 len=5 port=5566\n"                                 \
    "170 0 10 s sk_data_ready sock=7\n"                                                            \
    "180 0 10 s sched_waking task=20 to_cpu=0 name=server\n"                                       \
    "190 0 10 s sched_wakeup task=20 to_cpu=0 name=server\n"                                       \
    "195 0 10 s softirq_exit vec=3\n"                                                              \
    "196 0 10 t sys_exit_sendto ret=5\n"                                                           \
    "197 0 10 t sys_enter_recvfrom fd=4\n"                                                         \
    "200 0 10 t sched_switch task=20 from=10 name=client\n" RETURNED READ
#define REPLY                                                                                      \
    "260 0 20 t sys_enter_sendto fd=9 len=5\n"                                                     \
    "270 0 20 t net_dev_queue skb=2 len=71 name=lo\n"                                              \
    "275 0 20 t net_dev_start_xmit skb=2 len=71 name=lo\n"                                         \
    "280 0 20 t netif_rx skb=2 len=57 name=lo\n"                                                   \
    "290 0 20 s softirq_entry vec=3\n"                                                             \
    "300 0 20 s netif_receive_skb skb=2 len=57 name=lo\n"                                          \
    "310 0 20 s tcp_probe skb=2 sock=8 cookie=2 len=5 port=40000\n"                                \
    "320 0 20 s sk_data_ready sock=8\n"                                                            \
    "330 0 20 s sched_waking task=10 to_cpu=0 name=client\n"                                       \
    "335 0 20 s sched_wakeup task=10 to_cpu=0 name=client\n"                                       \
    "340 0 20 s softirq_exit vec=3\n"                                                              \
    "345 0 20 t sys_exit_sendto ret=5\n"                                                           \
    "350 0 20 t sched_switch task=10 from=20 name=server\n"
#define TAKEN_HOME                                                                                 \
    "360 0 10 t skb_copy_datagram_iovec skb=2 len=5\n"                                             \
    "365 0 10 t sock_recv_length sock=8 ret=5\n"                                                   \
    "370 0 10 t sys_exit_recvfrom ret=5\n"                                                         \
    "380 0 10 t client_is_done\n"
#define ACKNOWLEDGED "40000300 0 0 s tcp_probe skb=3 sock=7 cookie=1 len=0 port=5566\n"

/* A round trip without the line that begins with this. */
static struct scene round_trip(const char *missing)
{
    static char text[8192];
    static const char whole[] = REQUEST REPLY TAKEN_HOME ACKNOWLEDGED;
    const char *line = missing != NULL ? strstr(whole, missing) : NULL;

    if (missing != NULL && line == NULL)
        complain("there is no line \"%s\"", missing);
    if (line == NULL)
        return stage("lo\npeer 40000", 0, whole);
    snprintf(text, sizeof text, "%.*s%s", (int)(line - whole), whole, strchr(line, '\n') + 1);
    return stage("lo\npeer 40000", 0, text);
}

static const struct journey *reply_of(const struct scene *scene)
{
    static const struct journey none;
    const struct journey *request = only(scene);

    if (request->reply == NULL)
        complain("there is no reply");
    return request->reply != NULL ? request->reply : &none;
}

static void remark_is(const struct journey *journey, enum hop hop, const char *words)
{
    const char *remark = journey->at[hop] != NULL ? show_remark(journey, hop) : NULL;

    if (remark == NULL || strstr(remark, words) == NULL)
        complain("the remark on %s is \"%s\", and not \"%s\"", hops[hop].name,
                 remark != NULL ? remark : "", words);
}

static void test_round_trip(void)
{
    begin();
    struct scene scene = round_trip(NULL);
    const struct journey *request = only(&scene), *reply = reply_of(&scene);
    uint64_t ns[SHARES];
    outcome_is(request, COMPLETE);
    time_is(request, HOP_START, 90);
    time_is(request, HOP_RETURN, 250);
    time_is(reply, HOP_SEND, 260);
    time_is(reply, HOP_BACKLOG, 280);
    time_is(reply, HOP_TCP, 310);
    time_is(reply, HOP_WAKING, 330);
    state_is(reply, HOP_RECV, BEGAN_BEFORE);
    time_is(reply, HOP_RETURN, 370);
    time_is(reply, HOP_DONE, 380);
    state_is(reply, HOP_LOOP, NOT_ON_PATH);
    if (reply->waiting != WAITS_BLOCKED)
        complain("the journey does not say that the client blocks in recv()");
    /* the shares of both ways are what the client measures: 380 - 90 */
    if (journey_shares(request, ns) + journey_shares(reply, ns) != 290)
        complain("the shares do not add up to the client's time");
    time_is(request, HOP_ACK, 310);
    remark_is(request, HOP_ACK, "with the reply");
    time_is(reply, HOP_ACK, 40000300);
    remark_is(reply, HOP_ACK, "has no data");
    strike(&scene);
    scene = stage("lo", 0, REQUEST REPLY TAKEN_HOME); /* without the client's port: as it was */
    if (only(&scene)->reply != NULL)
        complain("a reply in a recording that does not say which");
    state_is(only(&scene), HOP_ACK, NOT_ON_PATH);
    strike(&scene);
    end("a round trip: both ways, as long as the client's clock says, and acknowledged");
}

static void test_acknowledged(void)
{
    begin(); /* the server's kernel acknowledges at once, and the next request, the reply */
    struct scene scene =
        stage("lo\npeer 40000", 0,
              REQUEST "255 0 20 s tcp_probe skb=5 sock=8 len=0 port=40000\n" REPLY TAKEN_HOME
                      "700 0 10 t netif_rx skb=6 len=57 name=lo\n"
                      "710 0 10 s tcp_probe skb=6 sock=7 len=5 port=5566\n");
    const struct journey *request = &scene.journeys.list[0];
    if (scene.journeys.count != 2)
        complain("%zu round trips, and not 2", scene.journeys.count);
    time_is(request, HOP_ACK, 255);
    remark_is(request, HOP_ACK, "has no data");
    time_is(request->reply, HOP_ACK, 710);
    remark_is(request->reply, HOP_ACK, "next request");
    state_is(request + 1, HOP_ACK, NOT_SEEN);
    outcome_is(request, COMPLETE);
    strike(&scene);
    scene = round_trip("40000300 "); /* the trace ended before */
    state_is(reply_of(&scene), HOP_ACK, NOT_SEEN);
    outcome_is(only(&scene), COMPLETE);
    strike(&scene);
    end("an acknowledgement: with data, in a segment of its own, or not seen");
}

static void test_reply_in_two(void)
{
    begin(); /* the client copies both segments in one call, or the first one before */
    struct scene scene =
        stage("lo\npeer 40000", 0,
              REQUEST "252 0 20 t sys_enter_write fd=9\n"
                      "253 0 20 t net_dev_queue skb=4 len=69 name=lo\n"
                      "254 0 20 s tcp_probe skb=4 sock=8 cookie=2 len=3 port=40000\n"
                      "255 0 20 s sk_data_ready sock=8\n"
                      "256 0 20 t sys_exit_write ret=3\n" REPLY
                      "355 0 10 t skb_copy_datagram_iovec skb=4 len=3\n" TAKEN_HOME);
    const struct journey *reply = reply_of(&scene);
    time_is(reply, HOP_SEND, 260);
    time_is(reply, HOP_COPY, 360);
    time_is(reply, HOP_DONE, 380);
    remark_is(reply, HOP_TCP, "several segments");
    time_is(only(&scene), HOP_ACK, 254);
    strike(&scene);
    end("a reply in two segments: the last one, for which the client waits");
}

/* What is not there is named, and nothing else is. */
static void test_missing_on_way_back(void)
{
    static const struct {
        const char *line;
        enum hop hop;
    } lines[] = {{"260 ", HOP_SEND},    {"270 ", HOP_QUEUE},   {"280 ", HOP_BACKLOG},
                 {"290 ", HOP_SOFTIRQ}, {"300 ", HOP_RECEIVE}, {"320 ", HOP_READY},
                 {"335 ", HOP_WAKEUP},  {"370 ", HOP_RETURN},  {"380 ", HOP_DONE}};

    begin();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct scene scene = round_trip(lines[i].line);
        state_is(reply_of(&scene), lines[i].hop, NOT_SEEN);
        outcome_is(only(&scene), INCOMPLETE);
        time_is(only(&scene), HOP_RETURN, 250);
        time_is(reply_of(&scene), HOP_COPY, 360);
        strike(&scene);
    }
    struct scene scene = round_trip("310 "); /* without its middle, nothing is linked */
    state_is(reply_of(&scene), HOP_SEND, NOT_SEEN);
    state_is(reply_of(&scene), HOP_RETURN, NOT_SEEN);
    outcome_is(only(&scene), INCOMPLETE);
    strike(&scene);
    scene = round_trip("90 "); /* the client's clock */
    state_is(only(&scene), HOP_START, NOT_SEEN);
    outcome_is(only(&scene), INCOMPLETE);
    strike(&scene);
    scene = round_trip("330 "); /* it came before the client slept */
    state_is(reply_of(&scene), HOP_WAKING, NOT_NEEDED);
    state_is(reply_of(&scene), HOP_CALLBACK, NOT_ON_PATH);
    state_is(reply_of(&scene), HOP_LOOP, NOT_ON_PATH);
    if (strstr(show_absence(reply_of(&scene), HOP_WAKING), "the client was awake") == NULL)
        complain("the client is not said to have been awake");
    outcome_is(only(&scene), BATCHED);
    strike(&scene);
    end("a missing event on the way back is named, and no other");
}

/* ---- bad recordings ---- */

static void refused(const char *text, const char *what)
{
    struct recording recording;
    char problem[160] = "";

    if (read_text(&recording, text, strlen(text), problem, sizeof problem))
        complain("taken for a recording: %s", text);
    else if (strstr(problem, what) == NULL)
        complain("\"%s\" does not say \"%s\"", problem, what);
    recording_free(&recording);
}

#define HEAD "echo-journey 1\nvia lo\n"

static void test_refusals(void)
{
    begin();
    refused("\n", "begins with");
    refused("GIF89a\n", "begins with");
    refused("echo-journey 2\nend 0\n", "begins with");
    refused("echo-journey 1", "cut off");
    refused(HEAD, "\"end\" is missing");
    refused(HEAD "100 0 1 t netif_rx skb=1\nend 2\n", "number of events");
    refused(HEAD "100 0 1 t netif_rx skb=1\nend -1\n", "number of events");
    refused(HEAD "100 0 1 t netif_sx skb=1\nend 1\n", "unknown event");
    refused(HEAD "100 0 1 x netif_rx skb=1\nend 1\n", "context");
    refused(HEAD "100 0 1 t netif_rx skb\nend 1\n", "no such value");
    refused(HEAD "100 0 1 t netif_rx sky=1\nend 1\n", "no such value");
    refused(HEAD "100 999999 1 t netif_rx\nend 1\n", "CPU");
    refused(HEAD "100 0 1 t netif_rx\n90 0 1 t netif_rx\nend 2\n", "earlier");
    refused(HEAD "99999999999999999999999 0 1 t netif_rx\nend 1\n", "begin with a time");
    refused("echo-journey 1\nvia moon\nend 0\n", "unknown path");
    refused(HEAD "asked netif_rx moon\nend 0\n", "unknown event");
    refused(HEAD "port 70000\nend 0\n", "unknown line");
    refused(HEAD "end 0\nend 0\n", "after the end");
    refused(HEAD "note \033[2J\nend 0\n", "not text");
    end("what is no recording is refused, with the line and the reason");
}

/* A recording that was read can be stitched and shown, whatever is in it. */
static void use(const struct recording *recording, FILE *nowhere)
{
    struct journeys journeys;

    if (!stitch(recording, WAYS, &journeys))
        return;
    fflush(stdout);
    int out = dup(STDOUT_FILENO);
    dup2(fileno(nowhere), STDOUT_FILENO);
    if (journeys.count > 0) {
        show_journey(&journeys.list[0], true);
        show_svg(nowhere, &(const struct journey *){&journeys.list[0]}, 1);
        show_many(&journeys);
        show_json(nowhere, &journeys);
    }
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    close(out);
    recording_write(recording, nowhere);
    free(journeys.list);
    free(journeys.other);
}

static bool try_text(const char *text, size_t length, FILE *nowhere)
{
    struct recording recording;
    char problem[160] = "";
    bool read = read_text(&recording, text, length, problem, sizeof problem);

    if (read)
        use(&recording, nowhere);
    else if (problem[0] == '\0')
        complain("refused without a word");
    recording_free(&recording);
    return read;
}

static char *load(const char *file, size_t *length)
{
    FILE *stream = fopen(file, "r");
    size_t room = 1 << 20;
    char *text = malloc(room);

    *length = stream != NULL && text != NULL ? fread(text, 1, room, stream) : 0;
    if (stream != NULL)
        fclose(stream);
    return text;
}

/* xorshift: the same damage in every run. */
static uint32_t next_random(void)
{
    static uint32_t state = 2463534242U;

    state ^= state << 13;
    state ^= state >> 17;
    return state ^= state << 5;
}

static void damage(char *copy, size_t length)
{
    static const char likely[] = "0123456789 =-\nabcdefghijklmnopqrstuvwxyz";
    unsigned changes = 1 + next_random() % 4;

    for (unsigned i = 0; i < changes; i++) {
        char byte = (char)next_random();
        if (next_random() % 4 != 0)
            byte = likely[next_random() % (sizeof likely - 1)];
        copy[next_random() % length] = byte;
    }
}

#define CUTS 100
#define DAMAGES 600

static void test_file(const char *file, FILE *nowhere)
{
    size_t length;
    char *text = load(file, &length), *copy = malloc(length + 1), name[200];
    const char *base = strrchr(file, '/') != NULL ? strrchr(file, '/') + 1 : file;

    begin();
    if (copy == NULL || length == 0 || !try_text(text, length, nowhere))
        complain("it cannot be read whole");
    for (size_t i = 0; i < CUTS && length > 1; i++)
        if (try_text(text, 1 + (length - 2) * i / CUTS, nowhere))
            complain("cut off, and taken for whole");
    for (int i = 0; i < DAMAGES && copy != NULL && length > 0; i++) {
        memcpy(copy, text, length);
        damage(copy, length);
        try_text(copy, length, nowhere);
    }
    free(copy);
    free(text);
    snprintf(name, sizeof name, "%s: whole, cut off, damaged", base);
    end(name);
}

/* What is written is what was read. */
static void test_round(const char *file)
{
    size_t length, size = 0;
    char *text = load(file, &length), *written = NULL, problem[160];
    struct recording recording;
    FILE *stream = open_memstream(&written, &size);

    begin();
    if (stream == NULL || !read_text(&recording, text, length, problem, sizeof problem)) {
        complain("it cannot be read");
    } else {
        recording_write(&recording, stream);
        fclose(stream);
        if (size != length || memcmp(text, written, size) != 0)
            complain("what is written is not what was read");
        recording_free(&recording);
    }
    free(written);
    free(text);
    end("a recording that is read and written is the same");
}

int main(int argc, char **argv)
{
    static void (*const all[])(void) = {test_raised,
                                        test_workers,
                                        test_spin,
                                        test_splice,
                                        test_plain,
                                        test_reuse,
                                        test_softirq,
                                        test_nesting,
                                        test_awake,
                                        test_backlog,
                                        test_switch,
                                        test_gro,
                                        test_merged,
                                        test_eintr,
                                        test_send,
                                        test_blocked,
                                        test_old_kernel,
                                        test_other_device,
                                        test_frames,
                                        test_disorder,
                                        test_poll_then_recv,
                                        test_inside,
                                        test_sockets,
                                        test_titles,
                                        test_stamps,
                                        test_states,
                                        test_refusals,
                                        test_round_trip,
                                        test_acknowledged,
                                        test_reply_in_two,
                                        test_missing_on_way_back};
    FILE *nowhere = fopen("/dev/null", "w");

    if (nowhere == NULL)
        return 2;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        all[i]();
    for (int i = 1; i < argc; i++)
        test_file(argv[i], nowhere);
    if (argc > 1)
        test_round(argv[1]);
    fclose(nowhere);
    printf("1..%d\n", tests);
    return failures > 0;
}
