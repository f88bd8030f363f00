/* The filters: expressions in the small language of tracefs, which the kernel evaluates before it
 * writes an event. */
#define _POSIX_C_SOURCE 200809L

#include "filter.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool filter_applies(const struct scope *scope, enum filter filter)
{
    if (filter == FILTER_CLIENT)
        return scope->client != 0;
    return (filter != FILTER_IRQ && filter != FILTER_IRQ_RX) || scope->can_interrupt;
}

bool filter_is_needed(enum filter filter)
{
    return filter != FILTER_NONE && filter != FILTER_IRQ;
}

/* Add "field == name" as an alternative.  A quote in the name would end the string, so such a name
 * becomes a pattern, in which ? stands for any character. */
static void add_term(char *filter, const char *field, const char *name)
{
    char safe[NAME_SIZE];
    size_t length = strlen(filter);
    bool pattern = strpbrk(name, "\"\\") != NULL;

    if (name[0] == '\0')
        return;
    snprintf(safe, sizeof safe, "%s", name);
    for (char *at = safe; pattern && *at != '\0'; at++)
        if (strchr("\"\\*[", *at) != NULL)
            *at = '?';
    snprintf(filter + length, FILTER_SIZE - length, "%s%s%s\"%s\"", length > 0 ? "||" : "", field,
             pattern ? "~" : "==", safe);
}

/* Match the server's threads: `task` is the field with a thread's number, `name` that with its
 * name. */
static void add_thread_terms(const struct scope *scope, char *filter, const char *task,
                             const char *name)
{
    for (size_t i = 0; i < MAX_TASKS && scope->tasks[i] != 0; i++) {
        size_t length = strlen(filter);
        snprintf(filter + length, FILTER_SIZE - length, "%s%s==%d", length > 0 ? "||" : "", task,
                 scope->tasks[i]);
    }
    for (size_t i = 0; i < MAX_NAMES && scope->tasks[0] == 0; i++)
        add_term(filter, name, scope->names[i]);
}

void filter_text(const struct scope *scope, enum filter filter, char text[FILTER_SIZE])
{
    char threads[FILTER_SIZE - 64] = "";

    text[0] = '\0';
    switch (filter) {
    case FILTER_NONE:
    case FILTER_IRQ:
        break;
    case FILTER_IRQ_RX:
    case FILTER_NET_RX:
        snprintf(text, FILTER_SIZE, "vec==3");
        break;
    case FILTER_PORT:
        snprintf(text, FILTER_SIZE, "sport==%u&&data_len>0", scope->port);
        break;
    case FILTER_TCP:
        snprintf(text, FILTER_SIZE, "protocol==6");
        break;
    case FILTER_CLIENT:
        snprintf(text, FILTER_SIZE, "common_pid==%d", scope->client);
        break;
    case FILTER_DEVICE:
        for (size_t i = 0; i < DEVICES; i++)
            add_term(text, "name", scope->devices[i]);
        break;
    case FILTER_RUNNING: /* but not the tracer, whose reads would be events to read */
        add_thread_terms(scope, threads, "common_pid", "comm");
        if (threads[0] != '\0')
            snprintf(text, FILTER_SIZE, "(%s)&&common_pid!=%ld", threads, (long)getpid());
        break;
    case FILTER_WOKEN:
        add_thread_terms(scope, text, "pid", "comm");
        break;
    case FILTER_SWITCHED:
        add_thread_terms(scope, text, "next_pid", "next_comm");
        add_thread_terms(scope, text, "prev_pid", "prev_comm");
        break;
    }
}
