/* A trace instance: a folder in tracefs with rings, filters and switches of its own. */
#ifndef INSTANCE_H
#define INSTANCE_H

#include <stdbool.h>
#include <stddef.h>

#define TRACEFS_PATH 256

struct instance {
    char parent[TRACEFS_PATH / 2]; /* the folder in tracefs that holds all instances */
    char path[TRACEFS_PATH];
};

/* Create an instance, and remove those that killed runs have left behind.  False: `why` says in one
 * sentence what is missing. */
bool instance_create(struct instance *instance, char *why, size_t size);
void instance_remove(const struct instance *instance);
/* Read the beginning of a file of the instance, or write one.  False: errno says why not. */
bool instance_read(const struct instance *instance, const char *name, char *text, size_t size);
bool instance_write(const struct instance *instance, const char *name, const char *text);

#endif
