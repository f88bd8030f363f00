/* What torture.c shares with the preload library (shim.c): the errors to inject, and a page of
 * memory in which both see what happens to the server.
 *
 * For each system call, the errors are all that section ERRORS of its Linux manual page lists
 * (man-pages 6, and the pages to which it refers: socket(7), ip(7), tcp(7)), even those of options
 * that the server does not use.  Left out are those that this system does not define, and
 * ERESTARTNOINTR of clone(2): only a tracer can see it. */
#ifndef TORTURE_H
#define TORTURE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#ifdef __linux__
#include <sys/syscall.h>
#define NUMBER(name) SYS_##name
#else
#define NUMBER(name) 0 /* only Linux's seccomp(2) needs it */
#endif

#define BY_SHIM (-1)

struct call {
    const char *name;      /* as strace prints it */
    long number;           /* of the system call, or BY_SHIM */
    const char *errors;    /* of the manual page, once; NULL: the call cannot fail */
    const char *permanent; /* of these, what may last: every call fails from the nth on */
};

#define SOCKET_ERRORS "EBADF EFAULT EINVAL ENOTSOCK"
#define NETWORK_ERRORS "ECONNRESET EPIPE ETIMEDOUT EHOSTUNREACH ENETUNREACH ENETDOWN EHOSTDOWN"
#define WAIT_ERRORS "EBADF EFAULT EINTR EINVAL ENOMEM"
#define PATH_ERRORS "EACCES EBADF EFAULT EINVAL ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR"
#define OPEN_ERRORS                                                                                \
    "EBUSY EDQUOT EEXIST EFBIG EINTR EISDIR EMFILE ENFILE ENODEV ENOSPC ENXIO EOPNOTSUPP "         \
    "EOVERFLOW EPERM EROFS ETXTBSY EWOULDBLOCK " PATH_ERRORS
#define READ_ERRORS "EAGAIN EBADF EFAULT EINTR EINVAL EIO EISDIR"
#define WRITE_ERRORS                                                                               \
    "EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM EPIPE"
#define RECV_ERRORS "EAGAIN ECONNREFUSED EINTR ENOMEM ENOTCONN " SOCKET_ERRORS " " NETWORK_ERRORS
#define SEND_ERRORS                                                                                \
    "EACCES EAGAIN EALREADY EDESTADDRREQ EINTR EISCONN EMSGSIZE ENOBUFS ENOMEM ENOTCONN "          \
    "EOPNOTSUPP " SOCKET_ERRORS " " NETWORK_ERRORS
#define ACCEPT_ERRORS                                                                              \
    "EAGAIN ECONNABORTED EINTR EMFILE ENFILE ENOBUFS ENOMEM EOPNOTSUPP EPERM EPROTO ENOSR "        \
    "ESOCKTNOSUPPORT EPROTONOSUPPORT ETIMEDOUT ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET "             \
    "EHOSTUNREACH ENETUNREACH " SOCKET_ERRORS
#define CLONE_ERRORS "EACCES EAGAIN EBUSY EEXIST EINVAL ENOMEM ENOSPC EOPNOTSUPP EPERM EUSERS"
#define MMAP_ERRORS "EACCES EAGAIN EBADF EEXIST EINVAL ENFILE ENODEV ENOMEM EOVERFLOW EPERM ETXTBSY"

static const struct call calls[] = {
    /* The shim injects these: SHORT transfers one byte; close() closes and then fails. */
    {"close", BY_SHIM, "EBADF EDQUOT EINTR EIO ENOSPC", NULL},
    {"malloc", BY_SHIM, "ENOMEM", "ENOMEM"},
    {"recv", BY_SHIM, "SHORT", "SHORT"},
    {"send", BY_SHIM, "SHORT", "SHORT"},
    /* The kernel injects all others; or the shim does, where seccomp(2) cannot be used. */
    {"accept", NUMBER(accept), ACCEPT_ERRORS, "EMFILE ENFILE ENOBUFS ENOMEM ENETDOWN EPERM EBADF"},
    {"accept4", NUMBER(accept4), ACCEPT_ERRORS,
     "EMFILE ENFILE ENOBUFS ENOMEM ENETDOWN EPERM EBADF"},
    {"bind", NUMBER(bind),
     "EACCES EADDRINUSE EADDRNOTAVAIL ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR "
     "EROFS " SOCKET_ERRORS,
     NULL},
    {"brk", NUMBER(brk), "ENOMEM", "ENOMEM"},
    {"clock_nanosleep", NUMBER(clock_nanosleep), "EFAULT EINTR EINVAL ENOTSUP", NULL},
    {"clone", NUMBER(clone), CLONE_ERRORS, "EAGAIN"},
    {"clone3", NUMBER(clone3), CLONE_ERRORS, "EAGAIN"},
    {"connect", NUMBER(connect),
     "EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY ECONNREFUSED EINPROGRESS EINTR "
     "EISCONN ENETUNREACH EPROTOTYPE ETIMEDOUT " SOCKET_ERRORS,
     NULL},
    {"dup3", NUMBER(dup3), "EBADF EBUSY EINTR EINVAL EMFILE", NULL},
    {"epoll_create1", NUMBER(epoll_create1), "EINVAL EMFILE ENFILE ENOMEM", NULL},
    {"epoll_ctl", NUMBER(epoll_ctl), "EBADF EEXIST EINVAL ELOOP ENOENT ENOMEM ENOSPC EPERM",
     "ENOMEM ENOSPC"},
    {"epoll_pwait", NUMBER(epoll_pwait), WAIT_ERRORS, "ENOMEM EBADF"},
    {"fcntl", NUMBER(fcntl),
     "EACCES EAGAIN EBADF EBUSY EDEADLK EFAULT EINTR EINVAL EMFILE ENOLCK ENOTDIR EPERM", NULL},
    {"fstat", NUMBER(fstat), PATH_ERRORS " EOVERFLOW", NULL},
    /* The errors of FUTEX_WAIT without a timeout and of FUTEX_WAKE, of which the C library makes its
     * locks.  The other errors in futex(2) belong to operations that it does not use for them. */
    {"futex", NUMBER(futex), "EAGAIN EINTR", NULL},
    {"getrandom", NUMBER(getrandom), "EAGAIN EFAULT EINTR EINVAL ENOSYS", NULL},
    {"getsockname", NUMBER(getsockname), "ENOBUFS " SOCKET_ERRORS, NULL},
    {"getsockopt", NUMBER(getsockopt), "ENOPROTOOPT " SOCKET_ERRORS, NULL},
    {"ioctl", NUMBER(ioctl), "EBADF EFAULT EINVAL ENOTTY", NULL},
    {"listen", NUMBER(listen), "EADDRINUSE EBADF ENOTSOCK EOPNOTSUPP", NULL},
    {"madvise", NUMBER(madvise), "EACCES EAGAIN EBADF EINVAL EIO ENOMEM EPERM", NULL},
    {"mmap", NUMBER(mmap), MMAP_ERRORS, "ENOMEM"},
    {"mprotect", NUMBER(mprotect), "EACCES EINVAL ENOMEM", "ENOMEM"},
    {"munmap", NUMBER(munmap), MMAP_ERRORS, NULL},
    {"nanosleep", NUMBER(nanosleep), "EFAULT EINTR EINVAL", NULL},
    {"newfstatat", NUMBER(newfstatat), PATH_ERRORS " EOVERFLOW", NULL},
    {"openat", NUMBER(openat), OPEN_ERRORS, NULL},
    {"pipe2", NUMBER(pipe2), "EFAULT EINVAL EMFILE ENFILE ENOPKG", NULL},
    {"ppoll", NUMBER(ppoll), WAIT_ERRORS, "ENOMEM"},
    {"pread64", NUMBER(pread64), READ_ERRORS " ENXIO EOVERFLOW ESPIPE", NULL},
    {"prlimit64", NUMBER(prlimit64), "EFAULT EINVAL EPERM ESRCH", NULL},
    {"pselect6", NUMBER(pselect6), WAIT_ERRORS, "ENOMEM EBADF"},
    {"read", NUMBER(read), READ_ERRORS, NULL},
    {"readlinkat", NUMBER(readlinkat), PATH_ERRORS " EIO", NULL},
    {"readv", NUMBER(readv), READ_ERRORS, NULL},
    {"recvfrom", NUMBER(recvfrom), RECV_ERRORS, "ENOMEM"},
    {"recvmsg", NUMBER(recvmsg), RECV_ERRORS, "ENOMEM"},
    {"rt_sigaction", NUMBER(rt_sigaction), "EFAULT EINVAL", NULL},
    {"rt_sigprocmask", NUMBER(rt_sigprocmask), "EFAULT EINVAL", NULL},
    {"sendmsg", NUMBER(sendmsg), SEND_ERRORS, "ENOBUFS ENOMEM"},
    {"sendto", NUMBER(sendto), SEND_ERRORS, "ENOBUFS ENOMEM"},
    {"setsockopt", NUMBER(setsockopt), "ENOPROTOOPT " SOCKET_ERRORS, NULL},
    {"shutdown", NUMBER(shutdown), "EBADF EINVAL ENOTCONN ENOTSOCK", NULL},
    {"socket", NUMBER(socket),
     "EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOBUFS ENOMEM EPROTONOSUPPORT", NULL},
    {"write", NUMBER(write), WRITE_ERRORS, "EIO ENOSPC"},
    {"writev", NUMBER(writev), WRITE_ERRORS " EOPNOTSUPP", "EIO ENOSPC"},
#if defined SYS_poll || !defined __linux__ /* newer architectures of Linux do not have these */
    {"access", NUMBER(access), "EIO EPERM EROFS ETXTBSY " PATH_ERRORS, NULL},
    {"arch_prctl", NUMBER(arch_prctl), "EFAULT EINVAL EPERM", NULL},
    {"dup2", NUMBER(dup2), "EBADF EBUSY EINTR EINVAL EMFILE", NULL},
    {"epoll_create", NUMBER(epoll_create), "EINVAL EMFILE ENFILE ENOMEM", NULL},
    {"epoll_wait", NUMBER(epoll_wait), WAIT_ERRORS, "ENOMEM EBADF"},
    {"open", NUMBER(open), OPEN_ERRORS, NULL},
    {"pipe", NUMBER(pipe), "EFAULT EINVAL EMFILE ENFILE ENOPKG", NULL},
    {"poll", NUMBER(poll), WAIT_ERRORS, "ENOMEM"},
    {"readlink", NUMBER(readlink), PATH_ERRORS " EIO", NULL},
    {"select", NUMBER(select), WAIT_ERRORS, "ENOMEM EBADF"},
    {"stat", NUMBER(stat), PATH_ERRORS " EOVERFLOW", NULL},
#endif
#ifndef __linux__ /* Linux's calls of the same purpose have other names, and are above */
    {"fork", NUMBER(fork), CLONE_ERRORS, "EAGAIN"},
    {"getrlimit", NUMBER(getrlimit), "EFAULT EINVAL", NULL},
    /* Left out is ENOENT: it means that the filter to delete is not there, and a server ignores
     * it. */
    {"kevent", NUMBER(kevent), "EACCES ESRCH " WAIT_ERRORS, "ENOMEM EBADF"},
    {"kqueue", NUMBER(kqueue), "EMFILE ENFILE ENOMEM", NULL},
    {"pthread_create", NUMBER(pthread_create), "EAGAIN EINVAL EPERM", "EAGAIN"},
    {"sigaction", NUMBER(sigaction), "EFAULT EINVAL", NULL},
    {"sigprocmask", NUMBER(sigprocmask), "EFAULT EINVAL", NULL},
#else
    /* Their manual pages list no error that a call of a running program could meet. */
    {"clock_gettime", NUMBER(clock_gettime), NULL, NULL},
    {"execve", NUMBER(execve), NULL, NULL}, /* starts the server */
    {"exit", NUMBER(exit), NULL, NULL},
    {"exit_group", NUMBER(exit_group), NULL, NULL},
    {"getpid", NUMBER(getpid), NULL, NULL},
    {"gettid", NUMBER(gettid), NULL, NULL},
    {"rseq", NUMBER(rseq), NULL, NULL},
    {"rt_sigreturn", NUMBER(rt_sigreturn), NULL, NULL},
    {"set_robust_list", NUMBER(set_robust_list), NULL, NULL},
    {"set_tid_address", NUMBER(set_tid_address), NULL, NULL},
    {"close", NUMBER(close), NULL, NULL}, /* see the first entry */
#endif
};
#define CALL_COUNT ((int)(sizeof calls / sizeof calls[0]))

/* One run of the server.  torture.c maps this memory, and so does the preload library, in the
 * server. */
struct page {
    int call; /* the index of the call that has to fail; -1: none */
    long n;
    bool permanent;       /* every call from the nth on */
    int error;            /* its errno; 0 to transfer one byte */
    atomic_int server;    /* its process, without its children */
    atomic_bool accepted; /* the server has called accept(), so it has started */
    atomic_bool at_start; /* the fault was injected before that */
    atomic_long injected, counts[CALL_COUNT];
    /* Only the preload library writes these. */
    atomic_bool loaded;
    atomic_int descriptors; /* open after accept(), after close() and before each wait */
    atomic_llong cpu_us;    /* the CPU time used before the last call, in microseconds */
};

static inline bool is_one_of(const char *name, const char *list)
{
    size_t length = strlen(name);

    for (const char *at = list; (at = strstr(at, name)) != NULL; at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

/* The calls in which a server waits for clients.  It makes them only when it has started. */
static inline bool is_wait(const struct call *call)
{
    return is_one_of(call->name, "accept accept4 epoll_wait epoll_pwait pselect6 select ppoll");
}

/* Count a call of the server.  Returns whether it has to fail. */
static inline bool count_call(struct page *page, int call)
{
    bool starting = !page->accepted;
    long n = atomic_fetch_add(&page->counts[call], 1) + 1;

    if (is_one_of(calls[call].name, "accept accept4"))
        page->accepted = true;
    if (call != page->call || n < page->n || (n > page->n && !page->permanent))
        return false;
    if (atomic_fetch_add(&page->injected, 1) == 0)
        page->at_start = starting && !is_wait(&calls[call]);
    return true;
}

/* Faults that a server may fail to survive, and why they cannot happen to a correct one. */
#define EAGAIN_MISSED_EDGE                                                                         \
    "The server uses edge triggering.  The kernel returns EAGAIN only if no byte is left, and "    \
    "then the next byte, or FIN, triggers a new edge.  The injected error comes while bytes or "   \
    "FIN are waiting."
static const struct exception {
    const char *calls, *errors;
    const char *problem; /* only if this is part of what the server did wrong */
    bool at_start;       /* only before the server has called accept() */
    const char *why;
} exceptions[] = {
    {"mmap arch_prctl", MMAP_ERRORS " EFAULT", "killed by signal", true,
     "The dynamic loader or the C library makes these calls before main(), and crashes if one "
     "fails.  No code of the server has run."},
    {"fcntl", "EBADF", "open descriptors", true,
     "The server asks whether descriptors 0 to 2 are open, and the kernel returns EBADF only if "
     "they are not.  After an injected EBADF it opens /dev/null once too often."},
    {"rt_sigprocmask", "EFAULT EINVAL", "does not stop", false,
     "pthread_create() in the C library blocks all signals and unblocks them again, with valid "
     "arguments.  If the second call failed, the thread would never see SIGTERM."},
    {"epoll_ctl", "ENOENT", "never received", false,
     "ENOENT means that the descriptor is not registered, and so the server forgets it.  The "
     "kernel returns ENOENT in no other case."},
    {"recvfrom recvmsg read", "EAGAIN", "never received", false, EAGAIN_MISSED_EDGE},
    {"recvfrom recvmsg read", "EAGAIN", "open descriptors", false, EAGAIN_MISSED_EDGE},
};
#endif
