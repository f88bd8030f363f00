/* The tables: every event that is asked for, every hop, every way. */
#include "hops.h"

#include <string.h>

const char *const slot_names[SLOTS] = {"skb",    "sock", "cookie",    "fd",    "len",
                                       "ret",    "vec",  "irq",       "task",  "from",
                                       "to_cpu", "port", "coroutine", "packet"};

/* As the drawing has them; and what stands there instead where no epoll is. */
static const char *const box_titles[BOXES][WAYS_TO_WAIT] = {
    [BOX_SENDER] = {"the sender", NULL, NULL},
    [BOX_CARD] = {"NIC hardware", NULL, NULL},
    [BOX_STACK] = {"kernel network stack: IP, TCP", NULL, NULL},
    [BOX_BUFFER] = {"socket receive buffer, linked to a descriptor", NULL, NULL},
    [BOX_WATCH] = {"epoll watches the descriptor", "the loop waits at every socket",
                   "the thread waits at this socket"},
    [BOX_WAKE] = {"the kernel wakes epoll_wait", "the kernel wakes the loop",
                  "the kernel wakes the thread"},
    [BOX_LOOP] = {"the event loop resumes a coroutine", "the event loop looks who it is", NULL},
    [BOX_CODE] = {"your code reads", NULL, NULL}};

const char *const share_names[SHARES] = {"sending", "stack", "wake-up", "scheduler", "your code"};

/* Several events may be the same hop: a server may read by recv() or by read(), and the kernels for
 * arm64 have no epoll_wait but epoll_pwait.  What a kernel lacks is found out from its format
 * files. */
// clang-format off
#define SENDING       {{"fd", SLOT_FD}, {"len", SLOT_LEN}}
#define CALL_EXIT     {{"ret", SLOT_RET}}
#define READ_CALL     {{"fd", SLOT_FD}}
#define SKB_ON_DEVICE {{"skbaddr", SLOT_SKB}, {"len", SLOT_LEN}, {"name", SLOTS}}
#define SKB_COPIED    {{"skbaddr", SLOT_SKB}, {"len", SLOT_LEN}}
#define SKB_FREED     {{"skbaddr", SLOT_SKB}}
#define INTERRUPT     {{"irq", SLOT_IRQ}, {"name", SLOTS}}
#define INTERRUPT_END {{"irq", SLOT_IRQ}}
#define VECTOR        {{"vec", SLOT_VEC}}
#define SEGMENT       {{"skbaddr", SLOT_SKB}, {"skaddr", SLOT_SOCK}, {"sock_cookie", SLOT_COOKIE}, \
                       {"data_len", SLOT_LEN}, {"sport", SLOT_PORT}}
#define SOCKET        {{"skaddr", SLOT_SOCK}}
#define READ          {{"sk", SLOT_SOCK}, {"ret", SLOT_RET}}
#define WOKEN         {{"pid", SLOT_TASK}, {"target_cpu", SLOT_TO_CPU}, {"comm", SLOTS}}
#define SWITCHED      {{"next_pid", SLOT_TASK}, {"prev_pid", SLOT_FROM}, {"prev_comm", SLOTS}}
#define STAMPED(slot) {{NULL, slot}}

const struct source sources[] = {
    {"syscalls/sys_enter_sendto",       HOP_SEND,         FOR_CLIENT,   SENDING, NULL},
    {"syscalls/sys_exit_sendto",        KIND_SEND_END,    FOR_CLIENT,   CALL_EXIT, NULL},
    {"net/net_dev_queue",               HOP_QUEUE,        FOR_DEVICE,   SKB_ON_DEVICE, NULL},
    {"net/net_dev_start_xmit",          HOP_DRIVER,       FOR_DEVICE,   SKB_ON_DEVICE, NULL},
    {"irq/irq_handler_entry",           HOP_IRQ,          FOR_CARD,     INTERRUPT, NULL},
    {"irq/irq_handler_exit",            KIND_IRQ_END,     FOR_CARD,     INTERRUPT_END, NULL},
    {"net/netif_rx",                    HOP_BACKLOG,      FOR_DEVICE,   SKB_ON_DEVICE, NULL},
    {"irq/softirq_raise",               KIND_RAISE,       FOR_CARD_RX,  VECTOR, NULL},
    {"irq/softirq_entry",               HOP_SOFTIRQ,      FOR_NET_RX,   VECTOR, NULL},
    {"irq/softirq_exit",                KIND_SOFTIRQ_END, FOR_NET_RX,   VECTOR, NULL},
    {"net/napi_gro_receive_entry",      HOP_GRO,          FOR_DEVICE,   SKB_ON_DEVICE, NULL},
    {"net/netif_receive_skb",           HOP_RECEIVE,      FOR_DEVICE,   SKB_ON_DEVICE, NULL},
    {"tcp/tcp_probe",                   HOP_TCP,          FOR_PORT,     SEGMENT, NULL},
    {"sock/sk_data_ready",              HOP_READY,        FOR_TCP,      SOCKET, NULL},
    /* where the kernel allows probes (CONFIG_KPROBES); the first, if it lacks sk_data_ready */
    {PROBE_GROUP "/sock_def_readable",  HOP_READY,        FOR_ALL,      {{"sk", SLOT_SOCK}},
                                                                      "sock_def_readable sk=$arg1"},
    {PROBE_GROUP "/ep_poll_callback",   HOP_CALLBACK,     FOR_ALL,      STAMPED(SLOTS),
                                                                      "ep_poll_callback"},
    {"sched/sched_waking",              HOP_WAKING,       FOR_WOKEN,    WOKEN, NULL},
    {"sched/sched_wakeup",              HOP_WAKEUP,       FOR_WOKEN,    WOKEN, NULL},
    {"sched/sched_switch",              HOP_SWITCH,       FOR_SWITCHED, SWITCHED, NULL},
    {"syscalls/sys_exit_epoll_wait",    HOP_WAIT,         FOR_SERVER,   CALL_EXIT, NULL},
    {"syscalls/sys_exit_epoll_pwait",   HOP_WAIT,         FOR_SERVER,   CALL_EXIT, NULL},
    {"syscalls/sys_exit_epoll_pwait2",  HOP_WAIT,         FOR_SERVER,   CALL_EXIT, NULL},
    {"syscalls/sys_exit_poll",          HOP_WAIT,         FOR_SERVER,   CALL_EXIT, NULL},
    {"syscalls/sys_exit_ppoll",         HOP_WAIT,         FOR_SERVER,   CALL_EXIT, NULL},
    {"syscalls/sys_exit_select",        HOP_WAIT,         FOR_SERVER,   CALL_EXIT, NULL},
    {"syscalls/sys_exit_pselect6",      HOP_WAIT,         FOR_SERVER,   CALL_EXIT, NULL},
    {"syscalls/sys_enter_recvfrom",     HOP_RECV,         FOR_SERVER,   READ_CALL, NULL},
    {"syscalls/sys_enter_read",         HOP_RECV,         FOR_SERVER,   READ_CALL, NULL},
    {"syscalls/sys_enter_recvmsg",      HOP_RECV,         FOR_SERVER,   READ_CALL, NULL},
    {"syscalls/sys_enter_readv",        HOP_RECV,         FOR_SERVER,   READ_CALL, NULL},
    {"skb/skb_copy_datagram_iovec",     HOP_COPY,         FOR_SERVER,   SKB_COPIED, NULL},
    {"sock/sock_recv_length",           KIND_LENGTH,      FOR_SERVER,   READ, NULL},
    {"syscalls/sys_exit_recvfrom",      HOP_RETURN,       FOR_SERVER,   CALL_EXIT, NULL},
    {"syscalls/sys_exit_read",          HOP_RETURN,       FOR_SERVER,   CALL_EXIT, NULL},
    {"syscalls/sys_exit_recvmsg",       HOP_RETURN,       FOR_SERVER,   CALL_EXIT, NULL},
    {"syscalls/sys_exit_readv",         HOP_RETURN,       FOR_SERVER,   CALL_EXIT, NULL},
    {"skb/kfree_skb",                   KIND_FREE,        FOR_ALL,      SKB_FREED, NULL},
    /* stamped by the server itself, see stamp.h */
    {"loop_picks",                      HOP_LOOP,         FOR_ALL,      STAMPED(SLOT_FD), NULL},
    {"coroutine_resumed",               HOP_RESUME,       FOR_ALL,      STAMPED(SLOT_FD), NULL},
    /* stamped by us, where we are the card */
    {"frame_written",                   HOP_FRAME,        FOR_ALL,      STAMPED(SLOT_LEN), NULL},
    {"frame_taken",                     KIND_FRAME_END,   FOR_ALL,      STAMPED(SLOT_LEN), NULL},
    /* what an ordinary user's sockets tell, see sockets.c */
    {"send",                            HOP_SEND,         FOR_ALL,      STAMPED(SLOT_LEN), NULL},
    {"TX_SCHED_stamp",                  HOP_QUEUE,        FOR_ALL,      STAMPED(SLOT_LEN), NULL},
    {"TX_SOFTWARE_stamp",               HOP_DRIVER,       FOR_ALL,      STAMPED(SLOT_LEN), NULL},
    {"RX_SOFTWARE_stamp",               HOP_RECEIVE,      FOR_ALL,      STAMPED(SLOT_LEN), NULL},
    {"epoll_wait_returned",             HOP_WAIT,         FOR_ALL,      STAMPED(SLOT_RET), NULL},
    {"recvmsg_returned",                HOP_RETURN,       FOR_ALL,      STAMPED(SLOT_RET), NULL},
    {"TX_ACK_stamp",                    HOP_ACK,          FOR_ALL,      STAMPED(SLOT_LEN), NULL},
};
// clang-format on
const size_t source_count = sizeof sources / sizeof *sources;

const struct hop_row hops[HOPS] = {
    [HOP_SEND] =
        {"send",
         BOX_SENDER,
         SHARE_SENDER,
         "the thread that called: what it queues before the call ends is this call's",
         {"A client hands its bytes to its own kernel. When the call returns, the kernel has "
          "them. Whether they have arrived it does not say.",
          NULL, NULL},
         "the one who sends is not on this machine, or was not followed",
         NULL},
    [HOP_QUEUE] =
        {"queue",
         BOX_SENDER,
         SHARE_SENDER,
         "the skb's address; the thread, back to send",
         {"The packet is now the bytes and, before them, three headers: TCP's (20 to 60 bytes), "
          "IP's (20) and Ethernet's (14). It goes to the device in an skb, the kernel's record of "
          "one packet. For a card it may have to queue here; lo and veth have no queue.",
          NULL, NULL},
         "it was sent from another machine",
         NULL},
    [HOP_DRIVER] = {"driver",
                    BOX_SENDER,
                    SHARE_SENDER,
                    "the skb's address",
                    {"The device's driver gets it. A card's would tell the card where the bytes "
                     "are, to fetch and send them. lo and veth have no wire: theirs pass the skb "
                     "to the receiving side, as if it had just come in.",
                     NULL, NULL},
                    "it was sent from another machine",
                    NULL},
    [HOP_FRAME] =
        {"frame",
         BOX_CARD,
         SHARE_SENDER,
         "time: the last frame written before the kernel took one",
         {"Here this program is the network card. It writes an Ethernet frame, built by hand, into "
          "a TAP device: one whose wire is a descriptor. The kernel takes it as received.",
          NULL, NULL},
         "only --via tap and gro write frames by hand",
         NULL},
    [HOP_IRQ] = {"irq",
                 BOX_CARD,
                 SHARE_STACK,
                 "CPU and nesting: in its handler NET_RX was asked for, and that one ran next",
                 {"The card has written frames into memory by itself (DMA), and interrupts this "
                  "CPU. The driver's handler touches no packet. It asks for NET_RX, and turns the "
                  "card's interrupts off until NET_RX has caught up.",
                  NULL, NULL},
                 "no event of a handler that asked for this work",
                 "no hardware interrupt asked for this work: NET_RX had asked for itself"},
    [HOP_BACKLOG] = {"backlog",
                     BOX_CARD,
                     SHARE_STACK,
                     "the skb's address",
                     {"No card is on this way. The driver is still inside a send, so it only puts "
                      "the skb into a CPU's backlog, a queue in memory, and asks for NET_RX, which "
                      "will empty it. The Ethernet header has been read, and is no longer counted.",
                      NULL, NULL},
                     "this device does not use the CPU's backlog",
                     NULL},
    [HOP_SOFTIRQ] = {"softirq",
                     BOX_STACK,
                     SHARE_STACK,
                     "CPU and nesting: it has begun and not ended when the skb is received",
                     {"NET_RX (network receive) begins on this CPU. It is a softirq: code of the "
                      "kernel for what an interrupt or a driver put off, run with interrupts on. "
                      "It takes packets from the card or the backlog in a loop (NAPI), until none "
                      "is left, or until it has had its share (its budget) and must go on later.",
                      NULL, NULL},
                     "no NET_RX was seen around it on this CPU",
                     "it was at work already, for another packet"},
    [HOP_GRO] = {"gro",
                 BOX_STACK,
                 SHARE_STACK,
                 "the skb's address; its device",
                 {"The driver has made an skb of the frame: the kernel's record of one packet. GRO "
                  "(generic receive offload) may hold an skb back for a moment. If this one "
                  "continues one that is held, of the same connection, the two become one, and the "
                  "protocols run once for both.",
                  NULL, NULL},
                 "no event for this skb",
                 NULL},
    [HOP_RECEIVE] =
        {"receive",
         BOX_STACK,
         SHARE_STACK,
         "the skb's address; in NET_RX by nesting",
         {"The network stack takes the skb in. The type in the Ethernet header picks the "
          "code for IP. That checks its header, sees that the address is one of this "
          "machine's, and picks the code for TCP.",
          NULL, NULL},
         "no event for this skb",
         NULL},
    [HOP_TCP] =
        {"tcp",
         BOX_STACK,
         SHARE_STACK,
         "back, the skb's address; on, the socket (its cookie is the kernel's number for it)",
         {"By two addresses and two ports TCP has found the socket. Next it looks at the sequence "
          "number, the place of these bytes in the stream: are they the ones that are due?",
          NULL, NULL},
         "no event for this skb",
         NULL},
    [HOP_READY] =
        {"ready",
         BOX_BUFFER,
         SHARE_STACK,
         "the socket",
         {"These bytes were the next in order. The skb is linked into the socket's receive queue. "
          "Each entry of the socket's wait queue, left by somebody who wants to know, names a "
          "function, and the kernel calls it. The server has not run for it yet.",
          NULL, NULL},
         "this kernel has no such event, or the bytes came out of order",
         NULL},
    [HOP_CALLBACK] =
        {"callback",
         BOX_WATCH,
         SHARE_WAKE,
         "CPU and time: the first after ready",
         {"epoll_ctl() left an entry in the socket's wait queue, and this is its function. It puts "
          "this descriptor on epoll's ready list. That is all the watching there is: nobody looks "
          "at a socket that has not called.",
          NULL, NULL},
         "that takes a kprobe, a breakpoint in the kernel, and none can be had",
         "epoll did not watch this socket yet: the bytes came before it was accepted"},
    [HOP_WAKING] =
        {"waking",
         BOX_WATCH,
         SHARE_WAKE,
         "CPU and time: the first waking after ready; gives the thread",
         {"epoll has a wait queue of its own, for the threads that sleep in epoll_wait. The "
          "entry's "
          "function finds one there, and asks the scheduler to wake it.",
          "Each call of poll or select leaves an entry in the wait queue of everything that it is "
          "given. This socket's entry wakes the thread, but the loop is not told which one woke "
          "it.",
          "The thread left itself in the socket's wait queue: it waits for this socket and no "
          "other. There is no epoll here."},
         "the kernel wrote no event",
         "nobody had to be woken: the server was awake"},
    [HOP_WAKEUP] = {"wakeup",
                    BOX_WAKE,
                    SHARE_WAKE,
                    "the thread",
                    {"The thread is in a CPU's run queue, among those who wait for their turn "
                     "there. It runs when that CPU's scheduler next chooses it.",
                     NULL, NULL},
                    "the kernel wrote no event",
                    "nobody had to be woken: the server was awake"},
    [HOP_SWITCH] =
        {"switch",
         BOX_WAKE,
         SHARE_SCHEDULER,
         "the thread",
         {"The scheduler gives this CPU to the thread, and it goes on inside the call in "
          "which it slept.",
          NULL, NULL},
         "no event of a switch to the thread",
         "the server had its CPU still"},
    [HOP_WAIT] =
        {"wait",
         BOX_WAKE,
         SHARE_SCHEDULER,
         "the thread",
         {"To be on the ready list is a hint: the call has asked each what it is ready for now. It "
          "returns, and names those that are. It has not read a byte of them.",
          "Woken, the kernel has looked through the whole list once more. The call returns "
          "and says how many are ready. The loop looks through it again: which ones?",
          NULL},
         "the call did not return while the tracer looked",
         "it had returned before, for others, and the loop came to this one later"},
    [HOP_LOOP] =
        {"loop",
         BOX_LOOP,
         SHARE_CODE,
         "the descriptor; stamped by the server",
         {"The event loop has taken this descriptor from what epoll_wait() wrote, and looks up "
          "whose it is.",
          NULL, NULL},
         "this server does not note the time here",
         NULL},
    [HOP_RESUME] = {"resume",
                    BOX_LOOP,
                    SHARE_CODE,
                    "the descriptor; stamped by the server",
                    {"The server's code for this client is a coroutine, a function with a call "
                     "stack of its own. The loop changes to that stack, and the function goes on "
                     "where it waited. The kernel takes no part in that.",
                     NULL, NULL},
                    "this server does not note the time here",
                    NULL},
    [HOP_RECV] = {"recv",
                  BOX_CODE,
                  SHARE_CODE,
                  "the thread: the call in which the bytes are copied",
                  {"Your code asks for the bytes of this descriptor. It is an index into the "
                   "process's table of open files, and there the kernel finds the socket.",
                   NULL, "The thread has waited inside this call since before the packet came."},
                  "no event of the call",
                  NULL},
    [HOP_COPY] = {"copy",
                  BOX_CODE,
                  SHARE_CODE,
                  "the skb's address, until it is free or copied",
                  {"The kernel begins to copy the bytes from the skb into your buffer. When the "
                   "whole skb has been read, the kernel frees it.",
                   NULL, NULL},
                  "the bytes were not read while the tracer looked",
                  NULL},
    [HOP_RETURN] = {"return",
                    BOX_CODE,
                    SHARE_CODE,
                    "the thread",
                    {"The call returns with the number of bytes. Your code has them.", NULL, NULL},
                    "the call did not return while the tracer looked",
                    NULL},
    [HOP_ACK] = {"ack",
                 BOX_SENDER,
                 SHARE_SENDER,
                 "the byte number of the stream",
                 {"The sender's TCP has the acknowledgement, and need not keep a copy any longer. "
                  "It says that the kernel has the bytes, and not that a program read them. So it "
                  "is no part of the way to the reader, and not counted.",
                  NULL, NULL},
                 "no acknowledgement was stamped",
                 NULL},
};

#define BIT(hop) (1U << (hop))
#define FROM_STACK                                                                                 \
    (BIT(HOP_RECEIVE) | BIT(HOP_TCP) | BIT(HOP_READY) | BIT(HOP_CALLBACK) | BIT(HOP_WAKING) |      \
     BIT(HOP_WAKEUP) | BIT(HOP_SWITCH) | BIT(HOP_WAIT) | BIT(HOP_LOOP) | BIT(HOP_RESUME) |         \
     BIT(HOP_RECV) | BIT(HOP_COPY) | BIT(HOP_RETURN))
#define FROM_HERE                                                                                  \
    (BIT(HOP_SEND) | BIT(HOP_QUEUE) | BIT(HOP_DRIVER) | BIT(HOP_BACKLOG) | BIT(HOP_SOFTIRQ))

const struct via_row vias[VIAS] = {
    [VIA_LO] = {"lo", "the loopback device", FROM_HERE | FROM_STACK,
                "irq (lo has no card that could interrupt), gro (lo does not merge)"},
    [VIA_VETH] = {"veth", "a pair of virtual cards between two namespaces", FROM_HERE | FROM_STACK,
                  "irq (a virtual card interrupts nobody), gro (off on this device)"},
    [VIA_TAP] = {"tap", "a TAP device: this program is the card", BIT(HOP_FRAME) | FROM_STACK,
                 "irq and softirq (the write() of the frame takes the packet in itself)"},
    [VIA_GRO] = {"gro", "a TAP device with NAPI: four frames become one",
                 BIT(HOP_FRAME) | BIT(HOP_SOFTIRQ) | BIT(HOP_GRO) | FROM_STACK,
                 "irq (a TAP device has no card that could interrupt)"},
    [VIA_RPS] = {"rps", "the loopback device, and RPS moves the packet to another CPU",
                 FROM_HERE | FROM_STACK,
                 "irq (lo has no card that could interrupt), gro (lo does not merge)"},
    [VIA_CARD] =
        {"card", "a network card", BIT(HOP_IRQ) | BIT(HOP_SOFTIRQ) | BIT(HOP_GRO) | FROM_STACK,
         "send, queue and driver (the sender is another machine), backlog (a card has a ring)"},
    [VIA_SOCKETS] = {"sockets", "the loopback device, seen by an ordinary user's sockets",
                     BIT(HOP_SEND) | BIT(HOP_QUEUE) | BIT(HOP_DRIVER) | BIT(HOP_RECEIVE) |
                         BIT(HOP_WAIT) | BIT(HOP_RETURN) | BIT(HOP_ACK),
                     "TCP, the receive queue, epoll's list, the wake-up"},
};

int source_find(const char *event)
{
    for (size_t i = 0; i < source_count; i++) {
        const char *slash = strchr(sources[i].event, '/');
        if (strcmp(sources[i].event, event) == 0 ||
            (slash != NULL && strcmp(slash + 1, event) == 0))
            return (int)i;
    }
    return -1;
}

const char *source_name(size_t source)
{
    const char *slash = strchr(sources[source].event, '/');

    return slash != NULL ? slash + 1 : sources[source].event;
}

const char *source_label(const struct event *event)
{
    return source_name(event->source);
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
