/* The tables: every event that the tracer knows, every hop, and every path of a packet. */
#include "hops.h"

const char *const slot_names[SLOTS_RECORDED] = {"skb",    "sock", "cookie",    "fd",    "len",
                                                "ret",    "vec",  "irq",       "task",  "from",
                                                "to_cpu", "port", "coroutine", "packet"};

/* The titles are those of the drawing.  A server without epoll has other titles for some boxes. */
// clang-format off
static const char *const box_titles[BOXES] = {
    [BOX_SENDER] = "the sender",
    [BOX_CARD] = "NIC hardware",
    [BOX_STACK] = "kernel network stack: IP, TCP",
    [BOX_BUFFER] = "socket receive buffer, linked to a descriptor",
    [BOX_LOOP] = "the event loop resumes a coroutine",
    [BOX_CODE] = "your code reads"};
static const char *const watch_titles[WAYS_TO_WAIT] = {
    [WAITS_EPOLL] = "epoll watches the descriptor",
    [WAITS_SCAN] = "the loop waits on every socket",
    [WAITS_BLOCKED] = "the thread waits on this socket",
    [WAITS_RING] = "the thread waits for an io_uring",
    [WAITS_SIGNAL] = "the thread waits for a signal",
    [WAITS_NOT] = "the thread does not wait, but reads again and again",
    [WAITS_UNKNOWN] = "how the server waits is not known"};

const char *const share_names[SHARES] = {"sending", "stack", "wake-up", "scheduler", "your code"};

/* Several event types may report the same hop: a server may read with recv() or read(), and kernels
 * for arm64 have no epoll_wait.  If a kernel has an event, tracefs has its format file. */
#define SENDING       {{"fd", SLOT_FD}, {"len", SLOT_LEN}}, NULL
#define CALL_EXIT     {{"ret", SLOT_RET}}, NULL
#define READS(ROW) ROW("recvfrom", "fd"), ROW("read", "fd"), ROW("recvmsg", "fd"), \
    ROW("readv", "fd"), ROW("recvmmsg", "fd"), ROW("splice", "fd_in"), ROW("io_uring_enter", "fd")
#define ENTER(call, fd) \
    {"syscalls/sys_enter_" call, HOP_RECV, TRACEPOINT, FILTER_RUNNING, {{fd, SLOT_FD}}, NULL}
#define SENDS(call, filter) \
    {"syscalls/sys_enter_" call, HOP_SEND, TRACEPOINT, filter, SENDING}, \
    {"syscalls/sys_exit_" call, KIND_SEND_END, TRACEPOINT, filter, CALL_EXIT}
#define EXIT(call, fd) \
    {"syscalls/sys_exit_" call, HOP_RETURN, TRACEPOINT, FILTER_RUNNING, CALL_EXIT}
#define WAITS(call) {"syscalls/sys_exit_" call, HOP_WAIT, TRACEPOINT, FILTER_RUNNING, CALL_EXIT}
#define SIGNALLED     {{"sig", SLOT_RET}}, NULL
#define DEVICE_SKB    {{"skbaddr", SLOT_SKB}, {"len", SLOT_LEN}, {"name", SLOT_NAME}}, NULL
#define SKB_COPIED    {{"skbaddr", SLOT_SKB}, {"len", SLOT_LEN}}, NULL
#define SKB_FREED     {{"skbaddr", SLOT_SKB}, {"rx_sk", SLOT_SOCK}, {"reason", SLOT_RET}}, NULL
#define IRQ           {{"irq", SLOT_IRQ}, {"name", SLOT_NAME}}, NULL
#define IRQ_END       {{"irq", SLOT_IRQ}}, NULL
#define VECTOR        {{"vec", SLOT_VEC}}, NULL
#define SEGMENT       {{"skbaddr", SLOT_SKB}, {"skaddr", SLOT_SOCK}, {"sock_cookie", SLOT_COOKIE}, \
                       {"data_len", SLOT_LEN}, {"sport", SLOT_PORT}, {"saddr", SLOT_LOCAL}, \
                       {"daddr", SLOT_PEER}, {"dport", SLOT_PEER_PORT}}, NULL
#define SOCKET        {{"skaddr", SLOT_SOCK}}, NULL
#define READ          {{"sk", SLOT_SOCK}, {"ret", SLOT_RET}}, NULL
#define WOKEN         {{"pid", SLOT_TASK}, {"target_cpu", SLOT_TO_CPU}, {"comm", SLOT_NAME}}, NULL
#define SWITCHED      {{"next_pid", SLOT_TASK}, {"prev_pid", SLOT_FROM}, \
                       {"prev_comm", SLOT_NAME}}, NULL
#define NO_FIELDS     {{NULL, SLOTS}}, NULL

const struct event_type event_types[] = {
    SENDS("sendto", FILTER_CLIENT), SENDS("sendmsg", FILTER_REPLY), SENDS("write", FILTER_REPLY),
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
    WAITS("epoll_wait"), WAITS("epoll_pwait"), WAITS("epoll_pwait2"), WAITS("poll"),
    WAITS("ppoll"), WAITS("select"), WAITS("pselect6"), WAITS("rt_sigtimedwait"),
    {"signal/signal_deliver",          HOP_WAIT,         TRACEPOINT, FILTER_SIGNAL,   SIGNALLED},
    READS(ENTER),
    {"skb/skb_copy_datagram_iovec",    HOP_COPY,         TRACEPOINT, FILTER_RUNNING,  SKB_COPIED},
    {"sock/sock_recv_length",          KIND_LENGTH,      TRACEPOINT, FILTER_RUNNING,  READ},
    READS(EXIT),
    {"skb/kfree_skb",                  KIND_FREE,        TRACEPOINT, FILTER_NONE,     SKB_FREED},
    /* the server's own stamps */
    {"loop_picks",                     HOP_LOOP,         SERVER_STAMP, FILTER_NONE,   NO_FIELDS},
    {"coroutine_resumed",              HOP_RESUME,       SERVER_STAMP, FILTER_NONE,   NO_FIELDS},
    /* the tracer's own stamps, where it plays the network card */
    {"frame_written",                  HOP_FRAME,        FRAME_STAMP,  FILTER_NONE,   NO_FIELDS},
    {"frame_taken",                    KIND_FRAME_END,   FRAME_STAMP,  FILTER_NONE,   NO_FIELDS},
    /* the tracer's client reads its clock before its send() and after its last recv() */
    {"client_starts",                  HOP_START,        CLIENT_STAMP, FILTER_NONE,   NO_FIELDS},
    {"client_is_done",                 HOP_DONE,         CLIENT_STAMP, FILTER_NONE,   NO_FIELDS},
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

#define NO_STAMP \
    .absent[NOT_SEEN] = "the server wrote no stamp between its wait and this call", \
    .absent[NOT_AVAILABLE] = "this server does not record the time here", \
    .absent[NOT_ASKED] = "only a server that trace itself starts can record the time here"
#define CALL_UNKNOWN \
    "this server reads by splice(), which names no socket, or by a call that trace does not know"

const struct hop_info hops[HOPS] = {
    [HOP_START] = {.name = "start", .box = BOX_SENDER, .share = SHARE_SENDER,
        .link = "the calling thread; stamped by the client",
        .why[WAITS_EPOLL] = "The tracer's client reads its clock right before it calls send(): its "
            "measurement of the round trip begins. This is traced only with --way."},
    [HOP_SEND] = {.name = "send", .box = BOX_SENDER, .share = SHARE_SENDER,
        .link = "the calling thread: packets queued before the call returns belong to this call",
        .why[WAITS_EPOLL] = "A client hands its bytes to its own kernel. When the call returns, "
            "the kernel has a copy of them. That does not mean that they have arrived.",
        .why_back = "The server's code calls send() with its reply. The segment that results also "
            "has a field for an acknowledgement, so it acknowledges the request, too, unless a "
            "segment of its own has done so (\"trace explain ack\" says more).",
        .absent[NOT_SEEN] = ("the sender is not on this machine, its calls were not traced, or TCP "
            "sent this later, outside of any call"),
        .absent[NOT_ASKED] = "the sender's calls were not traced"},
    [HOP_QUEUE] = {.name = "queue", .box = BOX_SENDER, .share = SHARE_SENDER,
        .link = "the skb's address; back to send, the thread",
        .why[WAITS_EPOLL] = "The packet now consists of the bytes and three headers in front of "
            "them: TCP's (20 to 60 bytes), IP's (the same; IPv6: from 40) and Ethernet's (14). It "
            "goes to the device in an skb, the kernel's record of one packet. It may have to queue "
            "for a card; lo and veth (a virtual Ethernet pair) have a queue only if tc added one.",
        .absent[NOT_SEEN] = ("the packet was sent from another machine, or the kernel made it and "
            "others of a larger skb (GSO)")},
    [HOP_DRIVER] = {.name = "driver", .box = BOX_SENDER, .share = SHARE_SENDER,
        .link = "the skb's address",
        .why[WAITS_EPOLL] = "The device's driver gets the skb. A card's driver would tell the card "
            "where the bytes are, so that it can fetch and send them. lo and veth have no wire: "
            "their drivers pass the skb to the receiving side, as if it had just arrived.",
        .absent[NOT_SEEN] = "the packet was sent from another machine"},
    [HOP_FRAME] = {.name = "frame", .box = BOX_CARD, .share = SHARE_SENDER,
        .link = "time: the last frame written before the kernel took one",
        .why[WAITS_EPOLL] = "Here the tracer itself takes the place of the network card. It writes "
            "an Ethernet frame, which it has built itself, into a TAP device: a network device "
            "whose wire is a file descriptor. The kernel treats the frame as received.",
        .absent[NOT_SEEN] = "only --via tap and gro write frames"},
    [HOP_IRQ] = {.name = "irq", .box = BOX_CARD, .share = SHARE_STACK,
        .link = "CPU and nesting: its handler raised NET_RX, which ran next",
        .why[WAITS_EPOLL] = "The card has written frames into memory by itself (DMA) and "
            "interrupts this CPU. With NAPI, which almost all drivers use, the handler touches no "
            "packet. It schedules NET_RX, the softirq that receives packets (see below). This "
            "interrupt then stays off until NET_RX has caught up.",
        .absent[NOT_SEEN] = "there is no event of a handler that scheduled this work",
        .absent[NOT_NEEDED] = "no handler raised NET_RX for this: NET_RX was running, and goes on"},
    [HOP_BACKLOG] = {.name = "backlog", .box = BOX_CARD, .share = SHARE_STACK,
        .link = "the skb's address",
        .why[WAITS_EPOLL] = "The driver only puts the skb into a CPU's backlog, a queue in memory, "
            "and schedules NET_RX, which will empty the queue. The drivers of lo and veth do so "
            "because they run for the sender, most often inside send(). The Ethernet header has "
            "been read, and the length shown from here on does not include it.",
        .absent[NOT_SEEN] = "this device does not use the CPU's backlog"},
    [HOP_SOFTIRQ] = {.name = "softirq", .box = BOX_STACK, .share = SHARE_STACK,
        .link = "CPU and nesting: it has begun and not ended when the skb is received",
        .why[WAITS_EPOLL] = "NET_RX (network receive) begins on this CPU. It is a softirq: kernel "
            "code for work that an interrupt or a driver has deferred, run with interrupts "
            "enabled. It takes packets from the card or the backlog in a loop (NAPI), until none "
            "is left, or until it has used up its budget and must continue later.",
        .absent[NOT_SEEN] = "no NET_RX was seen around it on this CPU",
        .absent[NOT_NEEDED] = "NET_RX was already running, for another packet"},
    [HOP_GRO] = {.name = "gro", .box = BOX_STACK, .share = SHARE_STACK,
        .link = "the skb's address; its device",
        .why[WAITS_EPOLL] = "The driver has put the frame into an skb, the kernel's record of one "
            "packet. GRO (generic receive offload) may hold an skb back for a moment. If a later "
            "skb holds the bytes that follow in the same connection, and its headers are otherwise "
            "the same, GRO merges the two, and the IP and TCP code runs once for both."},
    [HOP_RECEIVE] = {.name = "receive", .box = BOX_STACK, .share = SHARE_STACK,
        .link = "the skb's address; in NET_RX, nesting",
        .why[WAITS_EPOLL] = "The skb enters the network stack. Its type, mostly from the Ethernet "
            "header, selects the code for IP, which checks the IP header, has or finds a route "
            "that ends on this machine, and selects the code for TCP."},
    [HOP_TCP] = {.name = "tcp", .box = BOX_STACK, .share = SHARE_STACK,
        .link = "back, the skb's address; on, the socket (its cookie is the kernel's number for "
            "it); in Linux 6.1, the CPU and the time",
        .why[WAITS_EPOLL] = "TCP has found the socket by the two addresses and the two ports. Next "
            "it looks at the sequence number: are these bytes the next ones in the stream?"},
    [HOP_READY] = {.name = "ready", .box = BOX_BUFFER, .share = SHARE_STACK,
        .link = "the socket",
        .why[WAITS_EPOLL] = "These bytes were the next in order. They are now at the end of the "
            "socket's receive queue. The socket also has a wait queue, a list of those that wait "
            "for it. Each entry names a callback function. The kernel now calls the callbacks. The "
            "server's own code takes no part in this.",
        .why_back = "These bytes were the next in order. They are now at the end of the receive "
            "queue of the client's socket. The kernel now calls the callbacks in the socket's wait "
            "queue. The client's own code takes no part in this.",
        .absent[NOT_SEEN] = ("there is no event for this socket: the bytes came out of order or a "
            "second time, TCP dropped them, or fewer wait than the low-water mark (SO_RCVLOWAT)")},
    [HOP_CALLBACK] = {.name = "callback", .box = BOX_WATCH, .share = SHARE_WAKE,
        .link = "CPU and time: the first one after ready",
        .why[WAITS_EPOLL] = "epoll_ctl() put an entry into the socket's wait queue. The kernel "
            "calls the entry's callback with the events that have happened. If the server "
            "registered one of them, the callback puts the descriptor on epoll's ready list. Until "
            "then, a sleeping thread looks at no socket.",
        .absent[NOT_SEEN] = "there is no event after this socket became ready",
        .absent[NOT_NEEDED] = ("epoll did not watch this socket then: perhaps the connection had "
            "not been accepted yet"),
        .absent[NOT_AVAILABLE] = ("this event needs a kprobe, a probe set in the running kernel, "
            "and none could be created"),
        .absent[UNKNOWN] = "whether epoll watches this socket is not known"},
    [HOP_WAKING] = {.name = "waking", .box = BOX_WATCH, .share = SHARE_WAKE,
        .link = "CPU and time: the first one after ready; it names the thread",
        .why[WAITS_EPOLL] = "epoll has a wait queue of its own, for the threads that sleep in "
            "epoll_wait. The callback finds one there and asks the scheduler to wake it.",
        .why[WAITS_SCAN] = "The thread slept in poll or select: none of its descriptors was ready, "
            "and the call had put an entry into the wait queue of each. This socket's entry wakes "
            "the thread, but does not tell the loop which descriptor is ready.",
        .why[WAITS_BLOCKED] = "The thread put itself into the socket's wait queue: it waits for "
            "this socket and no other. No epoll is involved.",
        .why[WAITS_UNKNOWN] = "The callback of an entry in the wait queue asks the scheduler to "
            "wake a thread. What the thread slept in decides which entry it is: poll, io_uring and "
            "a blocking read each have one of their own.",
        .why[WAITS_SIGNAL] = "This socket's owner asked for signals (O_ASYNC). The kernel sends "
            "one, which wakes the thread. The wait queue has no part in this.",
        .absent[NOT_SEEN] = "the kernel wrote no event",
        .absent[NOT_NEEDED] = "no thread had to be woken: the server was awake"},
    [HOP_WAKEUP] = {.name = "wakeup", .box = BOX_WAKE, .share = SHARE_WAKE,
        .link = "the thread",
        .why[WAITS_EPOLL] = "The scheduler has done what it was asked for: the thread is in a "
            "CPU's run queue, with the other threads that are ready to run there. It runs when "
            "that CPU's scheduler next picks it.",
        .absent[NOT_SEEN] = "the kernel wrote no event",
        .absent[NOT_NEEDED] = "no thread had to be woken: the server was awake"},
    [HOP_SWITCH] = {.name = "switch", .box = BOX_WAKE, .share = SHARE_SCHEDULER,
        .link = "the thread",
        .why[WAITS_EPOLL] = "The thread gets this CPU and continues in the call in which it slept.",
        .absent[NOT_SEEN] = "there is no event of a switch to the thread",
        .absent[NOT_NEEDED] = "the server was still on its CPU"},
    [HOP_WAIT] = {.name = "wait", .box = BOX_WAKE, .share = SHARE_SCHEDULER,
        .link = "the thread",
        .why[WAITS_EPOLL] = "An entry on the ready list is only a hint, so the call has checked "
            "the current state of each socket that it took from the list. It returns those that "
            "are ready. It has not read a byte from them.",
        .why[WAITS_SCAN] = "Once awake, the kernel has checked the whole list again. The call "
            "returns a number. The loop must search the list for the ready descriptors.",
        .why[WAITS_SIGNAL] = "A signal told the server that something has changed. The kernel "
            "sends it when something happens to a descriptor that asked for it (O_ASYNC).",
        .absent[NOT_SEEN] = "the call did not return while the tracer was running",
        .absent[NOT_NEEDED] = "it had returned earlier, for other clients, or the server was busy",
        .absent[NOT_ASKED] = "the tracer did not ask for the calls in which servers wait",
        .absent[UNKNOWN] = ("none of the calls in which servers wait returned before these bytes "
            "were read. The server waits in a way that trace does not know, or not at all")},
    [HOP_LOOP] = {.name = "loop", .box = BOX_LOOP, .share = SHARE_CODE,
        .link = "the descriptor; stamped by the server",
        .why[WAITS_EPOLL] = "The event loop has taken this descriptor from the array that "
            "epoll_wait() filled, and looks up its client.",
        NO_STAMP},
    [HOP_RESUME] = {.name = "resume", .box = BOX_LOOP, .share = SHARE_CODE,
        .link = "the descriptor; stamped by the server",
        .why[WAITS_EPOLL] = "The server's code for this client is a coroutine, a function with a "
            "call stack of its own. The loop switches to that stack, and the function continues "
            "from the point where it yielded. The kernel is not involved.",
        NO_STAMP},
    [HOP_RECV] = {.name = "recv", .box = BOX_CODE, .share = SHARE_CODE,
        .link = "the thread: the call during which the bytes are copied",
        .why[WAITS_EPOLL] = "Your code asks to read from this descriptor. The number is an index "
            "into the process's file descriptor table, where the kernel finds the socket.",
        .why[WAITS_BLOCKED] = "The thread has been inside this call since before the packet came.",
        .why[WAITS_RING] = "In this call, the thread hands requests to the kernel by a ring, a "
            "queue in shared memory, or waits for results, or both. One of them was to read.",
        .absent[NOT_SEEN] = "there is no event of the call", .absent[UNKNOWN] = CALL_UNKNOWN,
        .absent[NOT_ASKED] = "the thread had called long before, and has slept in this call since"},
    [HOP_COPY] = {.name = "copy", .box = BOX_CODE, .share = SHARE_CODE,
        .link = "the skb's address, until the skb is freed or copied",
        .why[WAITS_EPOLL] = "The kernel begins to copy the bytes from the skb into your buffer. "
            "When the whole skb has been read, the kernel frees it.",
        .absent[NOT_SEEN] = ("the bytes were not copied to a program while the tracer was running "
            "(splice() copies none)"), .absent[UNKNOWN] = CALL_UNKNOWN},
    [HOP_RETURN] = {.name = "return", .box = BOX_CODE, .share = SHARE_CODE,
        .link = "the thread",
        .why[WAITS_EPOLL] = "The call returns how much it has read. Your program now has it.",
        .why[WAITS_RING] = "The call returns. The result, the number of bytes, is in the ring.",
        .absent[NOT_SEEN] = "the call did not return while the tracer was running",
        .absent[UNKNOWN] = CALL_UNKNOWN},
    [HOP_DONE] = {.name = "done", .box = BOX_CODE, .share = SHARE_CODE,
        .link = "the calling thread; stamped by the client",
        .why[WAITS_EPOLL] = "The tracer's client has all bytes of the reply and reads its clock "
            "again. The time since it did so before send() is the round trip that it measures."},
    [HOP_ACK] = {.name = "ack", .box = BOX_SENDER, .share = SHARE_SENDER,
        .link = "the bytes' position in the stream; with --way, the sender's next segment",
        .why[WAITS_EPOLL] = "The sender's TCP has received the acknowledgement, so it no longer "
            "has to keep a copy of the bytes. The acknowledgement means that the receiving kernel "
            "has the bytes, not that a program has read them. The acknowledgement is therefore not "
            "part of the packet's path to the reader, and the total does not include it.",
        .absent[NOT_SEEN] = "no acknowledgement was seen before the trace ended"},
};
// clang-format on

#define FROM_STACK (BIT(HOP_DONE) - BIT(HOP_RECEIVE)) /* all hops from receive to return */
#define FROM_HERE                                                                                  \
    (BIT(HOP_START) | BIT(HOP_DONE) | BIT(HOP_SEND) | BIT(HOP_QUEUE) | BIT(HOP_DRIVER) |           \
     BIT(HOP_BACKLOG) | BIT(HOP_SOFTIRQ))

#define NO_IRQ "irq (a virtual device raises no interrupt)"

const struct via_info vias[VIAS] = {
    [VIA_LO] = {"lo", "lo", FROM_HERE | FROM_STACK, 0,
                "irq (lo has no card that could interrupt), gro (lo does not merge packets)"},
    [VIA_VETH] = {"veth", "veth", FROM_HERE | FROM_STACK, 0, NO_IRQ ", gro (off on this device)"},
    [VIA_TAP] = {"tap", "tap", BIT(HOP_FRAME) | FROM_STACK, 0,
                 "irq and softirq (the write() of the frame receives the packet itself)"},
    [VIA_GRO] = {"gro", "gro", BIT(HOP_FRAME) | BIT(HOP_SOFTIRQ) | BIT(HOP_GRO) | FROM_STACK, 0,
                 "irq (a TAP device has no card that could interrupt)"},
    [VIA_RPS] = {"rps", "rps", FROM_HERE | FROM_STACK, 0,
                 "irq (lo has no card that could interrupt), gro (lo does not merge packets)"},
    [VIA_CARD] = {"card", "a network card",
                  BIT(HOP_IRQ) | BIT(HOP_BACKLOG) | BIT(HOP_SOFTIRQ) | BIT(HOP_GRO) | FROM_STACK,
                  BIT(HOP_BACKLOG) | BIT(HOP_GRO),
                  "send, queue and driver (the sender is another machine)"},
    [VIA_VETH_END] = {"veth-end", "a veth device",
                      BIT(HOP_BACKLOG) | BIT(HOP_SOFTIRQ) | BIT(HOP_GRO) | FROM_STACK, BIT(HOP_GRO),
                      "send, queue and driver (their events name the other end of the pair, which "
                      "is not traced), " NO_IRQ},
    [VIA_TAP_END] =
        {"tap-end", "a TAP or TUN device", BIT(HOP_SOFTIRQ) | BIT(HOP_GRO) | FROM_STACK,
         BIT(HOP_GRO),
         "send, queue and driver (a program, or vhost for it, has written the packet), " NO_IRQ},
    [VIA_BRIDGE] = {"bridge", "a bridge", BIT(HOP_SOFTIRQ) | FROM_STACK, 0,
                    "what comes before (the port of the bridge by which the packet came is not "
                    "traced)"},
    [VIA_VIRTUAL] = {"virtual", "a virtual device", BIT(HOP_SOFTIRQ) | FROM_STACK,
                     BIT(HOP_SOFTIRQ) | BIT(HOP_RECEIVE),
                     "what comes before (the device below this one is not traced)"},
    [VIA_SOCKETS] = {"sockets", "sockets",
                     BIT(HOP_SEND) | BIT(HOP_QUEUE) | BIT(HOP_DRIVER) | BIT(HOP_RECEIVE) |
                         BIT(HOP_WAIT) | BIT(HOP_RETURN) | BIT(HOP_ACK),
                     0, "TCP, the receive queue, epoll's ready list, the wake-up"},
};

const char *event_type_name(size_t type)
{
    const char *slash = strchr(event_types[type].event, '/');

    return slash != NULL ? slash + 1 : event_types[type].event;
}

int event_type_find(const char *event)
{
    for (size_t i = 0; i < event_type_count; i++)
        if (strcmp(event_types[i].event, event) == 0 || strcmp(event_type_name(i), event) == 0)
            return (int)i;
    return -1;
}

const char *box_title(enum box box, enum waiting waiting)
{
    if (box == BOX_WATCH)
        return watch_titles[waiting];
    if (box == BOX_WAKE)
        return waiting == WAITS_EPOLL  ? "the kernel wakes epoll_wait"
               : waiting == WAITS_SCAN ? "the kernel wakes the loop"
                                       : "the kernel wakes the thread";
    if (box == BOX_LOOP && waiting != WAITS_EPOLL)
        return waiting == WAITS_SCAN ? "the event loop looks for ready descriptors"
                                     : "the server comes to this descriptor";
    return box_titles[box];
}

const char *hop_why(enum hop hop, enum waiting waiting)
{
    const char *const *why = hops[hop].why;

    if (why[waiting] != NULL)
        return why[waiting];
    return waiting > WAITS_BLOCKED && why[WAITS_UNKNOWN] != NULL ? why[WAITS_UNKNOWN]
                                                                 : why[WAITS_EPOLL];
}

int via_find(const char *name)
{
    for (int i = 0; i < VIAS; i++)
        if (strcmp(vias[i].name, name) == 0)
            return i;
    return -1;
}
