/* Stage 01: blocking calls, and one thread for each client.
 *
 * accept(), recv() and send() block until they can do something, and the thread blocks with them.
 * So one thread serves only one client at a time (option -1), and many clients need many threads.
 * Try it: make tour STAGE=01, and then make run-01 V=1.
 * Limit: every idle client occupies a thread, with a stack and the kernel's data for a thread. */
#define _GNU_SOURCE /* dl_iterate_phdr() */

#include "common.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// ANCHOR: client
/* Block until bytes arrive.  Returns what recv() returns: 0 at the end of input, -1 for errors. */
static ssize_t receive(int fd, char *buffer, size_t size)
{
    ssize_t received;

    while ((received = recv(fd, buffer, size, 0)) == -1 && is_transient(errno))
        back_off(errno);
    log_call("recv %zd", received);
    log_fd(fd, 0);
    if (received == 0)
        log_action("end of input; close");
    if (received == -1)
        log_client_error("recv");
    return received;
}

/* Send all of the data.  send() may take only part of it, and blocks when the socket's buffer is
 * full because the client does not read. */
static bool send_all(int fd, const char *data, size_t length)
{
    for (size_t sent = 0; sent < length;) {
        ssize_t n = send(fd, data + sent, length - sent, 0);
        if (n == -1 && is_transient(errno)) {
            back_off(errno);
            continue;
        }
        if (n == -1) {
            log_client_error("send");
            return false;
        }
        sent += (size_t)n;
    }
    log_action("send %zu", length);
    return true;
}

#define BUFFER_SIZE 16384 /* on each thread's stack */

/* Serve one client from its first byte to its last. */
static void serve_client(int fd)
{
    char buffer[BUFFER_SIZE];
    ssize_t received;

    while ((received = receive(fd, buffer, sizeof buffer)) > 0)
        if (!send_all(fd, buffer, (size_t)received))
            break;
    close(fd);
}
// ANCHOR_END: client

// ANCHOR: thread
#define STACK_SIZE 65536 /* for the buffer and for the calls below it */
static pthread_attr_t small_stack_attr;
#ifdef __GLIBC__ /* It takes thread-local storage, even that of libraries, out of the stack. */
#include <link.h>
static int add_thread_local_size(struct dl_phdr_info *object, size_t unused, void *sum)
{
    (void)unused;
    for (int i = 0; i < object->dlpi_phnum; i++)
        if (object->dlpi_phdr[i].p_type == PT_TLS)
            *(size_t *)sum += object->dlpi_phdr[i].p_memsz + object->dlpi_phdr[i].p_align;
    return 0;
}
#endif

/* By default a thread's stack is 8 MiB of address space on Linux; memory is used only for the pages
 * that are touched.  With small stacks, thousands of threads fit into the address space. */
static void choose_stack_size(void)
{
    size_t least = (size_t)PTHREAD_STACK_MIN, size = STACK_SIZE > least ? STACK_SIZE : least;

#ifdef __GLIBC__
    dl_iterate_phdr(add_thread_local_size, &size);
#endif
    size = (size + 4095) / 4096 * 4096; /* a stack of whole pages touches one page less */
    if ((errno = pthread_attr_init(&small_stack_attr)) != 0 ||
        (errno = pthread_attr_setstacksize(&small_stack_attr, size)) != 0 ||
        (errno = pthread_attr_setdetachstate(&small_stack_attr, PTHREAD_CREATE_DETACHED)) != 0)
        die("thread attributes");
}

static void *client_thread(void *fd)
{
    serve_client((int)(intptr_t)fd);
    return NULL;
}

/* Serve the client in a new thread.  If the system cannot create another thread, close this client
 * and continue. */
static void start_client_thread(int fd)
{
    pthread_t thread;
    int error = pthread_create(&thread, &small_stack_attr, client_thread, (void *)(intptr_t)fd);

    if (error == 0)
        return;
    report_error("no thread for fd %d: %s; close", fd, strerror(error));
    close(fd);
}
// ANCHOR_END: thread

static unsigned accept_errors; /* since the last connection was accepted */

/* Handle an error of accept().  Returns false if accept() will never succeed again. */
static bool handle_accept_error(int error)
{
    enum accept_error kind = log_accept_error(error);

    if (kind == ACCEPT_NEXT && ++accept_errors >= 64) { /* so many are not of one connection */
        report_shortage("accept");
        kind = ACCEPT_SHORTAGE;
    }
    if (kind == ACCEPT_SHORTAGE)
        back_off(ENOMEM);
    return kind != ACCEPT_BROKEN;
}

// ANCHOR: loop
static void serve(void)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        log_call("accept");
        log_fd(fd, 0);
        if (fd == -1 && !handle_accept_error(errno))
            return;
        if (fd == -1)
            continue;
        accept_errors = 0;
        set_nodelay(fd);
        if (options.stage_flag) {
            log_action("serve this client");
            serve_client(fd);
        } else {
            log_action("start a thread for it");
            start_client_thread(fd);
        }
    }
}
// ANCHOR_END: loop

/* Every thread is blocked in some call and none would look at a flag, so the handler ends the
 * process; the kernel closes what is open. */
static void on_stop_signal(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

const struct stage_option stage_option = {
    "1", " [-1]", "  -1          serve one client at a time; the others wait\n"};
const struct flag_name flag_names[] = {{0, NULL}}; /* blocking calls report no flags */

int main(int argc, char **argv)
{
    reserve_std_fds();
    read_options(argc, argv);
    install_signal_handlers(on_stop_signal);
    choose_stack_size();
    listener = listen_on(options.address, options.port);
    print_listening_address(listener);
    serve();
    for (;;)
        pause(); /* the connected clients still have their threads */
}
