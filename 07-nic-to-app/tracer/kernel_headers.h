/* Whether the compiler finds the kernel's header files.  On Alpine they are a package of their own,
 * and musl-gcc on Debian does not look where they are.  Without them, trace builds and does
 * less. */
#ifndef KERNEL_HEADERS_H
#define KERNEL_HEADERS_H

#ifdef __linux__
#ifndef __has_include /* gcc before version 5: assume that they are there */
#define HAVE_KERNEL_HEADERS 1
#elif __has_include(<linux/errqueue.h>) && __has_include(<linux/rtnetlink.h>)
#define HAVE_KERNEL_HEADERS 1
#endif
#endif

#define NO_KERNEL_HEADERS                                                                          \
    "trace was built without the kernel's header files (Alpine: apk add linux-headers; Debian: "   \
    "apt-get install linux-libc-dev): install them and build it again."

#endif
