/* The errors that torture.c injects: for each system call, all that section ERRORS of its Linux
 * manual page lists (man-pages 6, and the pages to which it refers: socket(7), ip(7), tcp(7)), even
 * those of options that the server does not use.  Left out is ERESTARTNOINTR of clone(2): only a
 * tracer can see it. */
#ifndef TORTURE_H
#define TORTURE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>

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
    /* The kernel injects all others. */
    {"accept", SYS_accept, ACCEPT_ERRORS, "EMFILE ENFILE ENOBUFS ENOMEM ENETDOWN EPERM EBADF"},
    {"accept4", SYS_accept4, ACCEPT_ERRORS, "EMFILE ENFILE ENOBUFS ENOMEM ENETDOWN EPERM EBADF"},
    {"bind", SYS_bind,
     "EACCES EADDRINUSE EADDRNOTAVAIL ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR "
     "EROFS " SOCKET_ERRORS,
     NULL},
    {"brk", SYS_brk, "ENOMEM", "ENOMEM"},
    {"clock_nanosleep", SYS_clock_nanosleep, "EFAULT EINTR EINVAL ENOTSUP", NULL},
    {"clone", SYS_clone, CLONE_ERRORS, "EAGAIN"},
    {"clone3", SYS_clone3, CLONE_ERRORS, "EAGAIN"},
    {"connect", SYS_connect,
     "EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY ECONNREFUSED EINPROGRESS EINTR "
     "EISCONN ENETUNREACH EPROTOTYPE ETIMEDOUT " SOCKET_ERRORS,
     NULL},
    {"dup3", SYS_dup3, "EBADF EBUSY EINTR EINVAL EMFILE", NULL},
    {"epoll_create1", SYS_epoll_create1, "EINVAL EMFILE ENFILE ENOMEM", NULL},
    {"epoll_ctl", SYS_epoll_ctl, "EBADF EEXIST EINVAL ELOOP ENOENT ENOMEM ENOSPC EPERM",
     "ENOMEM ENOSPC"},
    {"epoll_pwait", SYS_epoll_pwait, WAIT_ERRORS, "ENOMEM EBADF"},
    {"fcntl", SYS_fcntl,
     "EACCES EAGAIN EBADF EBUSY EDEADLK EFAULT EINTR EINVAL EMFILE ENOLCK ENOTDIR EPERM", NULL},
    {"fstat", SYS_fstat, PATH_ERRORS " EOVERFLOW", NULL},
    /* The errors of FUTEX_WAIT without a timeout and of FUTEX_WAKE, of which the C library makes its
     * locks.  The other errors in futex(2) belong to operations that it does not use for them. */
    {"futex", SYS_futex, "EAGAIN EINTR", NULL},
    {"getrandom", SYS_getrandom, "EAGAIN EFAULT EINTR EINVAL ENOSYS", NULL},
    {"getsockname", SYS_getsockname, "ENOBUFS " SOCKET_ERRORS, NULL},
    {"getsockopt", SYS_getsockopt, "ENOPROTOOPT " SOCKET_ERRORS, NULL},
    {"ioctl", SYS_ioctl, "EBADF EFAULT EINVAL ENOTTY", NULL},
    {"listen", SYS_listen, "EADDRINUSE EBADF ENOTSOCK EOPNOTSUPP", NULL},
    {"madvise", SYS_madvise, "EACCES EAGAIN EBADF EINVAL EIO ENOMEM EPERM", NULL},
    {"mmap", SYS_mmap, MMAP_ERRORS, "ENOMEM"},
    {"mprotect", SYS_mprotect, "EACCES EINVAL ENOMEM", "ENOMEM"},
    {"munmap", SYS_munmap, MMAP_ERRORS, NULL},
    {"nanosleep", SYS_nanosleep, "EFAULT EINTR EINVAL", NULL},
    {"newfstatat", SYS_newfstatat, PATH_ERRORS " EOVERFLOW", NULL},
    {"openat", SYS_openat, OPEN_ERRORS, NULL},
    {"pipe2", SYS_pipe2, "EFAULT EINVAL EMFILE ENFILE ENOPKG", NULL},
    {"ppoll", SYS_ppoll, WAIT_ERRORS, "ENOMEM"},
    {"pread64", SYS_pread64, READ_ERRORS " ENXIO EOVERFLOW ESPIPE", NULL},
    {"prlimit64", SYS_prlimit64, "EFAULT EINVAL EPERM ESRCH", NULL},
    {"pselect6", SYS_pselect6, WAIT_ERRORS, "ENOMEM EBADF"},
    {"read", SYS_read, READ_ERRORS, NULL},
    {"readlinkat", SYS_readlinkat, PATH_ERRORS " EIO", NULL},
    {"readv", SYS_readv, READ_ERRORS, NULL},
    {"recvfrom", SYS_recvfrom, RECV_ERRORS, "ENOMEM"},
    {"recvmsg", SYS_recvmsg, RECV_ERRORS, "ENOMEM"},
    {"rt_sigaction", SYS_rt_sigaction, "EFAULT EINVAL", NULL},
    {"rt_sigprocmask", SYS_rt_sigprocmask, "EFAULT EINVAL", NULL},
    {"sendmsg", SYS_sendmsg, SEND_ERRORS, "ENOBUFS ENOMEM"},
    {"sendto", SYS_sendto, SEND_ERRORS, "ENOBUFS ENOMEM"},
    {"setsockopt", SYS_setsockopt, "ENOPROTOOPT " SOCKET_ERRORS, NULL},
    {"shutdown", SYS_shutdown, "EBADF EINVAL ENOTCONN ENOTSOCK", NULL},
    {"socket", SYS_socket,
     "EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOBUFS ENOMEM EPROTONOSUPPORT", NULL},
    {"write", SYS_write, WRITE_ERRORS, "EIO ENOSPC"},
    {"writev", SYS_writev, WRITE_ERRORS " EOPNOTSUPP", "EIO ENOSPC"},
#ifdef SYS_poll /* newer architectures, such as arm64, do not have these */
    {"access", SYS_access, "EIO EPERM EROFS ETXTBSY " PATH_ERRORS, NULL},
    {"arch_prctl", SYS_arch_prctl, "EFAULT EINVAL EPERM", NULL},
    {"dup2", SYS_dup2, "EBADF EBUSY EINTR EINVAL EMFILE", NULL},
    {"epoll_create", SYS_epoll_create, "EINVAL EMFILE ENFILE ENOMEM", NULL},
    {"epoll_wait", SYS_epoll_wait, WAIT_ERRORS, "ENOMEM EBADF"},
    {"open", SYS_open, OPEN_ERRORS, NULL},
    {"pipe", SYS_pipe, "EFAULT EINVAL EMFILE ENFILE ENOPKG", NULL},
    {"poll", SYS_poll, WAIT_ERRORS, "ENOMEM"},
    {"readlink", SYS_readlink, PATH_ERRORS " EIO", NULL},
    {"select", SYS_select, WAIT_ERRORS, "ENOMEM EBADF"},
    {"stat", SYS_stat, PATH_ERRORS " EOVERFLOW", NULL},
#endif
    /* Their manual pages list no error that a call of a running program could meet. */
    {"clock_gettime", SYS_clock_gettime, NULL, NULL},
    {"execve", SYS_execve, NULL, NULL}, /* starts the server */
    {"exit", SYS_exit, NULL, NULL},
    {"exit_group", SYS_exit_group, NULL, NULL},
    {"getpid", SYS_getpid, NULL, NULL},
    {"gettid", SYS_gettid, NULL, NULL},
    {"rseq", SYS_rseq, NULL, NULL},
    {"rt_sigreturn", SYS_rt_sigreturn, NULL, NULL},
    {"set_robust_list", SYS_set_robust_list, NULL, NULL},
    {"set_tid_address", SYS_set_tid_address, NULL, NULL},
    {"close", SYS_close, NULL, NULL}, /* see the first entry */
};
#define CALL_COUNT ((int)(sizeof calls / sizeof calls[0]))

/* Faults that a server may fail to survive, and why they cannot happen to a correct one. */
#define EAGAIN_MISSED_EDGE                                                                         \
    "The server waits edge-triggered.  The kernel returns EAGAIN only if no byte is left, and "    \
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
    {"epoll_ctl", "ENOENT", "waits in vain", false,
     "ENOENT means that the descriptor is not registered, and so the server forgets it.  The "
     "kernel returns ENOENT in no other case."},
    {"recvfrom recvmsg read", "EAGAIN", "waits in vain", false, EAGAIN_MISSED_EDGE},
    {"recvfrom recvmsg read", "EAGAIN", "open descriptors", false, EAGAIN_MISSED_EDGE},
};
#endif
