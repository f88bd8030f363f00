/* How a server tells the tracer what happens in its own memory, where no tracepoint is.
 *
 * The environment variable ECHO_STAMPS names a file that the tracer made.  Both map it; the server
 * writes a stamp, which is a clock and a store (35 ns, and no system call: writing to the kernel's
 * trace_marker would cost ten times that), and the tracer reads the stamps afterwards.  Without the
 * variable stamp() is one comparison.
 *
 *     stamps_open();                              once, at the start
 *     stamp(STAMP_LOOP, fd, 0);                   the loop has taken fd from the list
 *     stamp(STAMP_RESUMED, fd, coroutine_number); its coroutine runs again
 */
#ifndef STAMP_H
#define STAMP_H

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum stamp_kind { STAMP_LOOP = 1, STAMP_RESUMED = 2 };

struct stamp {
    uint64_t ns; /* CLOCK_MONOTONIC */
    uint32_t kind;
    int32_t fd;
    uint64_t coroutine;
};

/* A ring: of more than these, the last are kept.  `trace -n` takes 20,000 packets at most, and each
 * has two stamps.  They take 1.5 MiB. */
#define STAMPS 65536

struct stamp_ring {
    _Atomic uint64_t written; /* in all, by one thread */
    struct stamp stamp[STAMPS];
};

static struct stamp_ring *stamp_ring;

/* Best effort: a server serves without it.  A file that is too small could be mapped anyway, and
 * the first stamp in a page behind its end would raise SIGBUS, mmap(2).  So would a stamp in a page
 * for which a full disk has no room, so posix_fallocate() reserves all of them now. */
static inline void stamps_open(void)
{
    const char *file = getenv("ECHO_STAMPS");
    int fd = file != NULL ? open(file, O_RDWR | O_CLOEXEC) : -1;
    void *memory = MAP_FAILED;
    struct stat about;

    if (fd == -1)
        return;
    if (fstat(fd, &about) == 0 && about.st_size >= (off_t)sizeof *stamp_ring &&
        posix_fallocate(fd, 0, (off_t)sizeof *stamp_ring) == 0)
        memory = mmap(NULL, sizeof *stamp_ring, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory != MAP_FAILED)
        stamp_ring = memory;
}

static inline void stamp(enum stamp_kind kind, int fd, uint64_t coroutine)
{
    struct timespec now;

    if (stamp_ring == NULL)
        return;
    uint64_t n = atomic_load_explicit(&stamp_ring->written, memory_order_relaxed);
    clock_gettime(CLOCK_MONOTONIC, &now);
    stamp_ring->stamp[n % STAMPS] = (struct stamp){
        (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec, (uint32_t)kind, fd, coroutine};
    atomic_store_explicit(&stamp_ring->written, n + 1, memory_order_release);
}

#endif
