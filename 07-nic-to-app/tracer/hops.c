/* The tables: every event that the tracer knows, every hop, and every path of a packet. */
#include "hops.h"

#include <string.h>

const char *const slot_names[SLOTS] = {"skb",    "sock", "cookie",    "fd",    "len",
                                       "ret",    "vec",  "irq",       "task",  "from",
                                       "to_cpu", "port", "coroutine", "packet"};

/* The titles are those of the drawing.  A server without epoll has other titles for some boxes. */
static const char *const box_titles[BOXES][WAYS_TO_WAIT] = {
    [BOX_SENDER] = {"the sender", NULL, NULL},
    [BOX_CARD] = {"NIC hardware", NULL, NULL},
    [BOX_STACK] = {"kernel network stack: IP, TCP", NULL, NULL},
    [BOX_BUFFER] = {"socket receive buffer, linked to a descriptor", NULL, NULL},
    [BOX_WATCH] = {"epoll watches the descriptor", "the loop waits on every socket",
                   "the thread waits on this socket"},
    [BOX_WAKE] = {"the kernel wakes epoll_wait", "the kernel wakes the loop",
                  "the kernel wakes the thread"},
    [BOX_LOOP] = {"the event loop resumes a coroutine",
                  "the event loop looks for ready descriptors", NULL},
    [BOX_CODE] = {"your code reads", NULL, NULL}};

const char *const share_names[SHARES] = {"sending", "stack", "wake-up", "scheduler", "your code"};

/* Several event types may report the same hop: a server may read with recv() or read(), and kernels
 * for arm64 have epoll_pwait but no epoll_wait.  The event's format file in tracefs shows whether a
 * kernel has it. */
// clang-format off
#define SENDING       {{"fd", SLOT_FD}, {"len", SLOT_LEN}}, NULL
#define CALL_EXIT     {{"ret", SLOT_RET}}, NULL
#define READ_CALL     {{"fd", SLOT_FD}}, NULL
#define DEVICE_SKB    {{"skbaddr", SLOT_SKB}, {"len", SLOT_LEN}, {"name", SLOT_NAME}}, NULL
#define SKB_COPIED    {{"skbaddr", SLOT_SKB}, {"len", SLOT_LEN}}, NULL
#define SKB_FREED     {{"skbaddr", SLOT_SKB}}, NULL
#define IRQ           {{"irq", SLOT_IRQ}, {"name", SLOT_NAME}}, NULL
#define IRQ_END       {{"irq", SLOT_IRQ}}, NULL
#define VECTOR        {{"vec", SLOT_VEC}}, NULL
#define SEGMENT       {{"skbaddr", SLOT_SKB}, {"skaddr", SLOT_SOCK}, {"sock_cookie", SLOT_COOKIE}, \
                       {"data_len", SLOT_LEN}, {"sport", SLOT_PORT}}, NULL
#define SOCKET        {{"skaddr", SLOT_SOCK}}, NULL
#define READ          {{"sk", SLOT_SOCK}, {"ret", SLOT_RET}}, NULL
#define WOKEN         {{"pid", SLOT_TASK}, {"target_cpu", SLOT_TO_CPU}, {"comm", SLOT_NAME}}, NULL
#define SWITCHED      {{"next_pid", SLOT_TASK}, {"prev_pid", SLOT_FROM}, \
                       {"prev_comm", SLOT_NAME}}, NULL
#define NO_FIELDS     {{NULL, SLOTS}}, NULL

const struct event_type event_types[] = {
    {"syscalls/sys_enter_sendto",      HOP_SEND,         TRACEPOINT, FILTER_CLIENT,   SENDING},
    {"syscalls/sys_exit_sendto",       KIND_SEND_END,    TRACEPOINT, FILTER_CLIENT,   CALL_EXIT},
    {"net/net_dev_queue",              HOP_QUEUE,        TRACEPOINT, FILTER_DEVICE,   DEVICE_SKB},
    {"net/net_dev_start_xmit",         HOP_DRIVER,       TRACEPOINT, FILTER_DEVICE,   DEVICE_SKB},
    {"irq/irq_handler_entry",          HOP_IRQ,          TRACEPOINT, FILTER_IRQ,      IRQ},
    {"irq/irq_handler_exit",           KIND_IRQ_END,     TRACEPOINT, FILTER_IRQ,      IRQ_END},
    {"net/netif_rx",                   HOP_BACKLOG,      TRACEPOINT, FILTER_DEVICE,   DEVICE_SKB},
    {"irq/softirq_raise",              KIND_RAISE,       TRACEPOINT, FILTER_IRQ_RX,   VECTOR},
    {"irq/softirq_entry",              HOP_SOFTIRQ,      TRACEPOINT, FILTER_NET_RX,   VECTOR},
    {"irq/softirq_exit",               KIND_SOFTIRQ_END, TRACEPOINT, FILTER_NET_RX,   VECTOR},
    {"net/napi_gro_receive_entry",     HOP_GRO,          TRACEPOINT, FILTER_DEVICE,   DEVICE_SKB},
    {"net/napi_gro_frags_entry",       HOP_GRO,          TRACEPOINT, FILTER_DEVICE,   DEVICE_SKB},
    {"net/netif_receive_skb",          HOP_RECEIVE,      TRACEPOINT, FILTER_DEVICE,   DEVICE_SKB},
    {"tcp/tcp_probe",                  HOP_TCP,          TRACEPOINT, FILTER_PORT,     SEGMENT},
    {"sock/sk_data_ready",             HOP_READY,        TRACEPOINT, FILTER_TCP,      SOCKET},
    /* where the kernel allows probes; the first only if it has no sk_data_ready tracepoint */
    {PROBE_GROUP "/sock_def_readable", HOP_READY, KPROBE, FILTER_NONE, {{"sk", SLOT_SOCK}},
     "sock_def_readable sk=$arg1"},
    {PROBE_GROUP "/ep_poll_callback", HOP_CALLBACK, KPROBE, FILTER_NONE, {{NULL, SLOTS}},
     "ep_poll_callback"},
    {"sched/sched_waking",             HOP_WAKING,       TRACEPOINT, FILTER_WOKEN,    WOKEN},
    {"sched/sched_wakeup",             HOP_WAKEUP,       TRACEPOINT, FILTER_WOKEN,    WOKEN},
    {"sched/sched_switch",             HOP_SWITCH,       TRACEPOINT, FILTER_SWITCHED, SWITCHED},
    {"syscalls/sys_exit_epoll_wait",   HOP_WAIT,         TRACEPOINT, FILTER_RUNNING,  CALL_EXIT},
    {"syscalls/sys_exit_epoll_pwait",  HOP_WAIT,         TRACEPOINT, FILTER_RUNNING,  CALL_EXIT},
    {"syscalls/sys_exit_epoll_pwait2", HOP_WAIT,         TRACEPOINT, FILTER_RUNNING,  CALL_EXIT},
    {"syscalls/sys_exit_poll",         HOP_WAIT,         TRACEPOINT, FILTER_RUNNING,  CALL_EXIT},
    {"syscalls/sys_exit_ppoll",        HOP_WAIT,         TRACEPOINT, FILTER_RUNNING,  CALL_EXIT},
    {"syscalls/sys_exit_select",       HOP_WAIT,         TRACEPOINT, FILTER_RUNNING,  CALL_EXIT},
    {"syscalls/sys_exit_pselect6",     HOP_WAIT,         TRACEPOINT, FILTER_RUNNING,  CALL_EXIT},
    {"syscalls/sys_enter_recvfrom",    HOP_RECV,         TRACEPOINT, FILTER_RUNNING,  READ_CALL},
    {"syscalls/sys_enter_read",        HOP_RECV,         TRACEPOINT, FILTER_RUNNING,  READ_CALL},
    {"syscalls/sys_enter_recvmsg",     HOP_RECV,         TRACEPOINT, FILTER_RUNNING,  READ_CALL},
    {"syscalls/sys_enter_readv",       HOP_RECV,         TRACEPOINT, FILTER_RUNNING,  READ_CALL},
    {"skb/skb_copy_datagram_iovec",    HOP_COPY,         TRACEPOINT, FILTER_RUNNING,  SKB_COPIED},
    {"sock/sock_recv_length",          KIND_LENGTH,      TRACEPOINT, FILTER_RUNNING,  READ},
    {"syscalls/sys_exit_recvfrom",     HOP_RETURN,       TRACEPOINT, FILTER_RUNNING,  CALL_EXIT},
    {"syscalls/sys_exit_read",         HOP_RETURN,       TRACEPOINT, FILTER_RUNNING,  CALL_EXIT},
    {"syscalls/sys_exit_recvmsg",      HOP_RETURN,       TRACEPOINT, FILTER_RUNNING,  CALL_EXIT},
    {"syscalls/sys_exit_readv",        HOP_RETURN,       TRACEPOINT, FILTER_RUNNING,  CALL_EXIT},
    {"skb/kfree_skb",                  KIND_FREE,        TRACEPOINT, FILTER_NONE,     SKB_FREED},
    /* the server's own stamps */
    {"loop_picks",                     HOP_LOOP,         SERVER_STAMP, FILTER_NONE,   NO_FIELDS},
    {"coroutine_resumed",              HOP_RESUME,       SERVER_STAMP, FILTER_NONE,   NO_FIELDS},
    /* the tracer's own stamps, where it plays the network card */
    {"frame_written",                  HOP_FRAME,        FRAME_STAMP,  FILTER_NONE,   NO_FIELDS},
    {"frame_taken",                    KIND_FRAME_END,   FRAME_STAMP,  FILTER_NONE,   NO_FIELDS},
    /* what the sockets of an unprivileged user show */
    {"send",                           HOP_SEND,         SOCKET_STAMP, FILTER_NONE,   NO_FIELDS},
    {"TX_SCHED_stamp",                 HOP_QUEUE,        SOCKET_STAMP, FILTER_NONE,   NO_FIELDS},
    {"TX_SOFTWARE_stamp",              HOP_DRIVER,       SOCKET_STAMP, FILTER_NONE,   NO_FIELDS},
    {"RX_SOFTWARE_stamp",              HOP_RECEIVE,      SOCKET_STAMP, FILTER_NONE,   NO_FIELDS},
    {"epoll_wait_returned",            HOP_WAIT,         SOCKET_STAMP, FILTER_NONE,   NO_FIELDS},
    {"recvmsg_returned",               HOP_RETURN,       SOCKET_STAMP, FILTER_NONE,   NO_FIELDS},
    {"TX_ACK_stamp",                   HOP_ACK,          SOCKET_STAMP, FILTER_NONE,   NO_FIELDS},
};
const size_t event_type_count = sizeof event_types / sizeof *event_types;

const struct hop_info hops[HOPS] = {
    [HOP_SEND] = {.name = "send", .box = BOX_SENDER, .share = SHARE_SENDER,
        .link = "the calling thread: packets queued before the call returns belong to this call",
        .why[WAITS_EPOLL] = "A client hands its bytes to its own kernel. When the call returns, "
                            "the kernel has a copy of them. That does not mean that they have "
                            "arrived.",
        .not_seen = "the sender is not on this machine, or its calls were not traced",
        .not_asked = "the sender's calls were not traced"},
    [HOP_QUEUE] = {.name = "queue", .box = BOX_SENDER, .share = SHARE_SENDER,
        .link = "the skb's address; back to send, the thread",
        .why[WAITS_EPOLL] = "The packet now consists of the bytes and three headers in front of "
                            "them: TCP's (20 to 60 bytes), IP's (20) and Ethernet's (14). It goes "
                            "to the device in an skb, the kernel's record of one packet. It may "
                            "have to queue for a card; lo (loopback) and veth (a virtual Ethernet "
                            "pair) have no queue.",
        .not_seen = "the packet was sent from another machine"},
    [HOP_DRIVER] = {.name = "driver", .box = BOX_SENDER, .share = SHARE_SENDER,
        .link = "the skb's address",
        .why[WAITS_EPOLL] = "The device's driver gets the skb. A card's driver would tell the "
                            "card where the bytes are, so that it can fetch and send them. lo and "
                            "veth have no wire: their drivers pass the skb to the receiving side, "
                            "as if it had just arrived.",
        .not_seen = "the packet was sent from another machine"},
    [HOP_FRAME] = {.name = "frame", .box = BOX_CARD, .share = SHARE_SENDER,
        .link = "time: the last frame written before the kernel took one",
        .why[WAITS_EPOLL] = "Here the tracer itself takes the place of the network card. It writes "
                            "an Ethernet frame, which it has built itself, into a TAP device: a "
                            "network device whose wire is a file descriptor. The kernel treats the "
                            "frame as received.",
        .not_seen = "only --via tap and gro write frames"},
    [HOP_IRQ] = {.name = "irq", .box = BOX_CARD, .share = SHARE_STACK,
        .link = "CPU and nesting: its handler raised NET_RX, which ran next",
        .why[WAITS_EPOLL] = "The card has written frames into memory by itself (DMA) and "
                            "interrupts this CPU. The driver's handler touches no packet. It "
                            "schedules NET_RX, the softirq that receives packets (see below), and "
                            "turns the card's interrupts off until NET_RX has caught up.",
        .not_seen = "there is no event of a handler that scheduled this work",
        .not_needed = "no hardware interrupt scheduled this work: NET_RX had rescheduled itself"},
    [HOP_BACKLOG] = {.name = "backlog", .box = BOX_CARD, .share = SHARE_STACK,
        .link = "the skb's address",
        .why[WAITS_EPOLL] = "This path has no card. The driver is still running inside send(), so "
                            "it only puts the skb into a CPU's backlog, a queue in memory, and "
                            "schedules NET_RX, which will empty the queue. The Ethernet header "
                            "has been read, and the length shown from here on does not include it.",
        .not_seen = "this device does not use the CPU's backlog"},
    [HOP_SOFTIRQ] = {.name = "softirq", .box = BOX_STACK, .share = SHARE_STACK,
        .link = "CPU and nesting: it has begun and not ended when the skb is received",
        .why[WAITS_EPOLL] = "NET_RX (network receive) begins on this CPU. It is a softirq: kernel "
                            "code for work that an interrupt or a driver has deferred, run with "
                            "interrupts enabled. It takes packets from the card or the backlog in "
                            "a loop (NAPI), until none is left, or until it has used up its "
                            "budget and must continue later.",
        .not_seen = "no NET_RX was seen around it on this CPU",
        .not_needed = "NET_RX was already running, for another packet"},
    [HOP_GRO] = {.name = "gro", .box = BOX_STACK, .share = SHARE_STACK,
        .link = "the skb's address; its device",
        .why[WAITS_EPOLL] = "The driver has put the frame into an skb, the kernel's record of one "
                            "packet. GRO (generic receive offload) may hold an skb back for a "
                            "moment. If the next skb holds the bytes that follow in the same "
                            "connection, GRO merges the two, and the IP and TCP code runs once for "
                            "both.",
        .not_seen = "there is no event for this skb"},
    [HOP_RECEIVE] = {.name = "receive", .box = BOX_STACK, .share = SHARE_STACK,
        .link = "the skb's address; in NET_RX, nesting",
        .why[WAITS_EPOLL] = "The skb enters the network stack. The type in the Ethernet header "
                            "selects the code for IP, which checks the IP header, sees that the "
                            "address belongs to this machine, and selects the code for TCP.",
        .not_seen = "there is no event for this skb"},
    [HOP_TCP] = {.name = "tcp", .box = BOX_STACK, .share = SHARE_STACK,
        .link = "back, the skb's address; on, the socket (its cookie is the kernel's number for "
                "it)",
        .why[WAITS_EPOLL] = "TCP has found the socket by the two addresses and the two ports. "
                            "Next it looks at the sequence number, the position of these bytes in "
                            "the stream: are they the next ones?",
        .not_seen = "there is no event for this skb"},
    [HOP_READY] = {.name = "ready", .box = BOX_BUFFER, .share = SHARE_STACK,
        .link = "the socket",
        .why[WAITS_EPOLL] = "These bytes were the next in order. The skb is linked into the "
                            "socket's receive queue. The socket also has a wait queue, the list of "
                            "everything that waits for it. Each entry names a callback function, "
                            "and the kernel now calls it. The server has not run at all so far.",
        .not_seen = "there is no event for this socket; the bytes may have come out of order"},
    [HOP_CALLBACK] = {.name = "callback", .box = BOX_WATCH, .share = SHARE_WAKE,
        .link = "CPU and time: the first one after ready",
        .why[WAITS_EPOLL] = "epoll_ctl() put an entry into the socket's wait queue. The kernel "
                            "calls the entry's callback with the events that have happened. If "
                            "the server registered one of them, the callback puts the descriptor "
                            "on epoll's ready list. Until the callback runs, no epoll code looks "
                            "at the socket.",
        .not_seen = "there is no event after this socket became ready",
        .not_needed = "epoll did not watch this socket yet: the bytes came before the connection "
                      "was accepted",
        .not_available = "this event needs a kprobe, a breakpoint in the kernel, and none could "
                         "be created"},
    [HOP_WAKING] = {.name = "waking", .box = BOX_WATCH, .share = SHARE_WAKE,
        .link = "CPU and time: the first one after ready; it names the thread",
        .why[WAITS_EPOLL] = "epoll has a wait queue of its own, for the threads that sleep in "
                            "epoll_wait. The callback finds one there and asks the scheduler to "
                            "wake it.",
        .why[WAITS_SCAN] = "The thread slept in poll or select: none of its descriptors was "
                           "ready, and the call had put an entry into the wait queue of each. "
                           "This socket's entry wakes the thread, but does not tell the loop "
                           "which descriptor is ready.",
        .why[WAITS_BLOCKED] = "The thread put itself into the socket's wait queue: it waits for "
                              "this socket and no other. No epoll is involved.",
        .not_seen = "the kernel wrote no event",
        .not_needed = "no thread had to be woken: the server was awake"},
    [HOP_WAKEUP] = {.name = "wakeup", .box = BOX_WAKE, .share = SHARE_WAKE,
        .link = "the thread",
        .why[WAITS_EPOLL] = "The thread is in a CPU's run queue, with the other threads that are "
                            "ready to run there. It runs when that CPU's scheduler next picks it.",
        .not_seen = "the kernel wrote no event",
        .not_needed = "no thread had to be woken: the server was awake"},
    [HOP_SWITCH] = {.name = "switch", .box = BOX_WAKE, .share = SHARE_SCHEDULER,
        .link = "the thread",
        .why[WAITS_EPOLL] = "The scheduler gives this CPU to the thread, which continues inside "
                            "the call in which it slept.",
        .not_seen = "there is no event of a switch to the thread",
        .not_needed = "the server was still on its CPU"},
    [HOP_WAIT] = {.name = "wait", .box = BOX_WAKE, .share = SHARE_SCHEDULER,
        .link = "the thread",
        .why[WAITS_EPOLL] = "An entry on the ready list is only a hint, so the call has checked "
                            "the current state of every socket on the list. It returns the "
                            "descriptors that are ready. It has not read a byte from them.",
        .why[WAITS_SCAN] = "Once awake, the kernel has checked the whole list again. The call "
                           "returns how many descriptors are ready. The loop must search the list "
                           "to find out which.",
        .not_seen = "the call did not return while the tracer was running",
        .not_needed = "it had returned earlier, for other clients, and the loop came to this one "
                      "later"},
    [HOP_LOOP] = {.name = "loop", .box = BOX_LOOP, .share = SHARE_CODE,
        .link = "the descriptor; stamped by the server",
        .why[WAITS_EPOLL] = "The event loop has taken this descriptor from the array that "
                            "epoll_wait() filled, and looks up its client.",
        .not_seen = "the server wrote no stamp between its wait and this call",
        .not_available = "this server does not record the time here",
        .not_asked = "only a server that trace itself starts can record the time here"},
    [HOP_RESUME] = {.name = "resume", .box = BOX_LOOP, .share = SHARE_CODE,
        .link = "the descriptor; stamped by the server",
        .why[WAITS_EPOLL] = "The server's code for this client is a coroutine, a function with a "
                            "call stack of its own. The loop switches to that stack, and the "
                            "function continues from the point where it yielded. The kernel is not "
                            "involved.",
        .not_seen = "the server wrote no stamp between its wait and this call",
        .not_available = "this server does not record the time here",
        .not_asked = "only a server that trace itself starts can record the time here"},
    [HOP_RECV] = {.name = "recv", .box = BOX_CODE, .share = SHARE_CODE,
        .link = "the thread: the call during which the bytes are copied",
        .why[WAITS_EPOLL] = "Your code asks to read from this descriptor. The number is an index "
                            "into the process's file descriptor table, where the kernel finds the "
                            "socket.",
        .why[WAITS_BLOCKED] = "The thread has been waiting inside this call since before the "
                              "packet came.",
        .not_seen = "there is no event of the call"},
    [HOP_COPY] = {.name = "copy", .box = BOX_CODE, .share = SHARE_CODE,
        .link = "the skb's address, until the skb is freed or copied",
        .why[WAITS_EPOLL] = "The kernel begins to copy the bytes from the skb into your buffer. "
                            "When the whole skb has been read, the kernel frees it.",
        .not_seen = "the bytes were not read while the tracer was running"},
    [HOP_RETURN] = {.name = "return", .box = BOX_CODE, .share = SHARE_CODE,
        .link = "the thread",
        .why[WAITS_EPOLL] = "The call returns the number of bytes, which are now in your buffer.",
        .not_seen = "the call did not return while the tracer was running"},
    [HOP_ACK] = {.name = "ack", .box = BOX_SENDER, .share = SHARE_SENDER,
        .link = "the position of the bytes in the stream",
        .why[WAITS_EPOLL] = "The sender's TCP has received the acknowledgement, so it no longer "
                            "has to keep a copy of the bytes. The acknowledgement means that the "
                            "receiving kernel has the bytes, not that a program has read them. The "
                            "acknowledgement is therefore not part of the packet's path to the "
                            "reader, and the total does not include it.",
        .not_seen = "there is no stamp of an acknowledgement"},
};
// clang-format on

#define BIT(hop) (1U << (hop))
#define FROM_STACK                                                                                 \
    (BIT(HOP_RECEIVE) | BIT(HOP_TCP) | BIT(HOP_READY) | BIT(HOP_CALLBACK) | BIT(HOP_WAKING) |      \
     BIT(HOP_WAKEUP) | BIT(HOP_SWITCH) | BIT(HOP_WAIT) | BIT(HOP_LOOP) | BIT(HOP_RESUME) |         \
     BIT(HOP_RECV) | BIT(HOP_COPY) | BIT(HOP_RETURN))
#define FROM_HERE                                                                                  \
    (BIT(HOP_SEND) | BIT(HOP_QUEUE) | BIT(HOP_DRIVER) | BIT(HOP_BACKLOG) | BIT(HOP_SOFTIRQ))

const struct via_info vias[VIAS] = {
    [VIA_LO] = {"lo", "the loopback device", FROM_HERE | FROM_STACK,
                "irq (lo has no card that could interrupt), gro (lo does not merge packets)"},
    [VIA_VETH] = {"veth", "a veth pair between two network namespaces", FROM_HERE | FROM_STACK,
                  "irq (a virtual device raises no interrupt), gro (off on this device)"},
    [VIA_TAP] = {"tap", "a TAP device: this program is the card", BIT(HOP_FRAME) | FROM_STACK,
                 "irq and softirq (the write() of the frame receives the packet itself)"},
    [VIA_GRO] = {"gro", "a TAP device with NAPI: four frames become one",
                 BIT(HOP_FRAME) | BIT(HOP_SOFTIRQ) | BIT(HOP_GRO) | FROM_STACK,
                 "irq (a TAP device has no card that could interrupt)"},
    [VIA_RPS] = {"rps", "the loopback device; RPS moves the packet to another CPU",
                 FROM_HERE | FROM_STACK,
                 "irq (lo has no card that could interrupt), gro (lo does not merge packets)"},
    [VIA_CARD] =
        {"card", "a network card", BIT(HOP_IRQ) | BIT(HOP_SOFTIRQ) | BIT(HOP_GRO) | FROM_STACK,
         "send, queue and driver (the sender is another machine), backlog (a card has a ring)"},
    [VIA_SOCKETS] = {"sockets", "the loopback device, as an unprivileged user's sockets see it",
                     BIT(HOP_SEND) | BIT(HOP_QUEUE) | BIT(HOP_DRIVER) | BIT(HOP_RECEIVE) |
                         BIT(HOP_WAIT) | BIT(HOP_RETURN) | BIT(HOP_ACK),
                     "TCP, the receive queue, epoll's ready list, the wake-up"},
};

int event_type_find(const char *event)
{
    for (size_t i = 0; i < event_type_count; i++) {
        const char *slash = strchr(event_types[i].event, '/');
        if (strcmp(event_types[i].event, event) == 0 ||
            (slash != NULL && strcmp(slash + 1, event) == 0))
            return (int)i;
    }
    return -1;
}

const char *event_type_name(size_t type)
{
    const char *slash = strchr(event_types[type].event, '/');

    return slash != NULL ? slash + 1 : event_types[type].event;
}

const char *event_label(const struct event *event)
{
    return event_type_name(event->type);
}

const char *box_title(enum box box, enum waiting waiting)
{
    return box_titles[box][waiting] != NULL ? box_titles[box][waiting]
                                            : box_titles[box][WAITS_EPOLL];
}

const char *hop_why(enum hop hop, enum waiting waiting)
{
    return hops[hop].why[waiting] != NULL ? hops[hop].why[waiting] : hops[hop].why[WAITS_EPOLL];
}

int via_find(const char *name)
{
    for (int i = 0; i < VIAS; i++)
        if (strcmp(vias[i].name, name) == 0)
            return i;
    return -1;
}
