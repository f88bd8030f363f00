/* How journeys are shown: on a terminal, as a drawing, and as a trace for Perfetto. */
#ifndef SHOW_H
#define SHOW_H

#include "stitch.h"

#include <stdio.h>

/* ---- show_words.c: the words that all forms share ---- */

/* The values of this hop's event that say the most about it, on one short line. */
void show_fields(const struct journey *journey, enum hop hop, char *text, size_t size);
/* A hop without an event: "not seen", "not needed" and so on; and the reason for it. */
const char *show_state(enum hop_state state);
const char *show_absence(const struct journey *journey, enum hop hop);
/* What is special about this hop in this journey, or NULL. */
const char *show_remark(const struct journey *journey, enum hop hop);
const char *show_box(const struct journey *journey, enum box box);
const char *show_path(enum via via);
const char *show_share(const struct recording *recording, enum share share);
void show_title(const struct recording *recording, const struct journey *journey, char *text,
                size_t size);
static inline double show_us(uint64_t ns)
{
    return (double)ns / 1000;
}

/* ---- show_terminal.c: colours and line breaks ---- */

struct colours {
    const char *bold, *blue, *dim, *off;
};
struct colours show_colours(FILE *stream); /* empty strings if it cannot show colours */
/* The width of the lines: that of the terminal, from 40 to 80 columns.  A table needs 80. */
size_t show_width(FILE *stream);
bool show_is_narrow(FILE *stream);
/* Print words on lines of this width, each with this indent. */
void show_wrapped(FILE *stream, const char *text, size_t indent);
void show_box_title(FILE *stream, const struct colours *colour, const char *title);
/* The first line of a replayed recording, and the last lines of any. */
void show_origin(FILE *stream, const struct recording *recording);
void show_notes(FILE *stream, const struct recording *recording);

/* ---- one file each ---- */

/* `whys`: with the reasons; otherwise one line for each hop. */
void show_journey(FILE *stream, const struct recording *recording, const struct journey *journey,
                  bool whys);
void show_many(FILE *stream, const struct recording *recording, const struct journeys *journeys);
bool show_explain(FILE *stream, const char *hop); /* NULL: all hops; false: there is no such hop */
bool show_svg(FILE *stream, const struct recording *recording, const struct journey *journey);
bool show_json(FILE *stream, const struct recording *recording, const struct journeys *journeys);

#endif
