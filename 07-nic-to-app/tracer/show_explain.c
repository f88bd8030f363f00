/* `trace explain`: what each hop is, what reports it, and what links it to its neighbours. */
#define _POSIX_C_SOURCE 200809L

#include "show.h"

#include <string.h>

static struct colours colour;

static void show_events(FILE *stream, enum hop hop)
{
    char text[400] = "Reported by: ";

    for (size_t i = 0; i < event_type_count; i++) {
        size_t length = strlen(text);
        if (event_types[i].kind == hop)
            snprintf(text + length, sizeof text - length, "%s%s", length > 13 ? ", " : "",
                     event_types[i].event);
    }
    show_wrapped(stream, text, 4);
}

static void show_paths(FILE *stream, enum hop hop)
{
    char text[200] = "On the paths: ";

    for (size_t i = 0; i < VIAS; i++) {
        size_t length = strlen(text);
        if ((vias[i].hops >> hop & 1U) != 0)
            snprintf(text + length, sizeof text - length, "%s%s", length > 14 ? ", " : "",
                     vias[i].name);
    }
    show_wrapped(stream, text, 4);
}

/* The usual event of a hop; the others are for other kernels and other servers. */
static const char *usual_event(int hop)
{
    for (size_t i = 0; i < event_type_count; i++)
        if ((int)event_types[i].kind == hop)
            return event_type_name(i);
    return "no event";
}

static void explain_hop(FILE *stream, enum hop hop)
{
    static const char *const with[] = {"", "With poll or select: ", "With a blocking recv(): "};
    char text[400];

    fprintf(stream, "%s%s%s,%s", colour.bold, hops[hop].name, colour.off,
            show_is_narrow(stream) ? "\n" : " ");
    snprintf(text, sizeof text, "in [%s]", box_title(hops[hop].box, WAITS_EPOLL));
    show_wrapped(stream, text, 0);
    for (int way = 0; way < WAYS_TO_WAIT; way++) {
        if (hops[hop].why[way] == NULL)
            continue;
        snprintf(text, sizeof text, "%s%s", with[way], hops[hop].why[way]);
        show_wrapped(stream, text, 4);
    }
    show_events(stream, hop);
    snprintf(text, sizeof text, "Linked to its neighbours by: %s", hops[hop].link);
    show_wrapped(stream, text, 4);
    show_paths(stream, hop);
}

/* Find a hop by its own name or by the name of one of its events. */
static int find_hop(const char *name)
{
    int type = event_type_find(name);

    for (int hop = 0; hop < HOPS; hop++)
        if (strcmp(hops[hop].name, name) == 0)
            return hop;
    return type != -1 && event_types[type].kind < HOPS ? (int)event_types[type].kind : -1;
}

bool show_explain(FILE *stream, const char *name)
{
    int box = -1;

    colour = show_colours(stream);
    if (name != NULL) {
        int hop = find_hop(name);
        if (hop != -1)
            explain_hop(stream, (enum hop)hop);
        return hop != -1;
    }
    for (int hop = 0; hop < HOPS; hop++) {
        if ((int)hops[hop].box != box) {
            box = (int)hops[hop].box;
            fputs(hop > 0 ? "\n" : "", stream);
            show_box_title(stream, &colour, box_title(hops[hop].box, WAITS_EPOLL));
        }
        fprintf(stream, "  %s%s%s,%s", colour.blue, hops[hop].name, colour.off,
                show_is_narrow(stream) ? "\n    " : " ");
        fprintf(stream, "reported by %s\n", usual_event(hop));
        show_wrapped(stream, hops[hop].why[WAITS_EPOLL], 8);
    }
    return true;
}
