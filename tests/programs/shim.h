/* How the preload library takes the place of functions of the C library.  Its files are shim.c and
 * shim-calls.c. */
#ifndef SHIM_H
#define SHIM_H

#undef _FORTIFY_SOURCE /* it would define some of these functions itself */
#define _GNU_SOURCE
#define _DEFAULT_SOURCE /* on NetBSD */

#include <stdbool.h>

/* DEFINE(int, listen, (int fd, int backlog)) begins the definition of a function that the server
 * calls in place of the C library's, which is REAL(listen).  dyld(1) on macOS is told of both in a
 * table; ELF systems take the first function of this name that they find, and LD_PRELOAD comes
 * first. */
#ifdef __APPLE__
#define DEFINE(result, name, parameters)                                                           \
    static result shim_##name parameters;                                                          \
    __attribute__((used, section("__DATA,__interpose"))) static const struct {                     \
        const void *ours, *real;                                                                   \
    } interpose_##name = {(const void *)&shim_##name, (const void *)&name};                        \
    static result shim_##name parameters
#define REAL(name) name
#else
#define DEFINE(result, name, parameters) result name parameters
#define REAL(name) ((__typeof__(&name))real_function(#name))
#endif

#pragma GCC visibility push(hidden) /* the server may have functions of these names */

/* The C library's own function of this name. */
void *real_function(const char *name);

/* Whether torture.c wants this call to fail; sets errno.  `names` are those of torture.h for this
 * call, of which this system has at least one: the first is used.  Counts the call. */
bool tortured(const char *names);

/* Called by each function that may wait. */
void before_wait(void);

#pragma GCC visibility pop

/* Linux's name for a call, and the name elsewhere. */
#ifdef __linux__
#define ON_LINUX(name, elsewhere) name
#else
#define ON_LINUX(name, elsewhere) elsewhere
#endif

#endif
