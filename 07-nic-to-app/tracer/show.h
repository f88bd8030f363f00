/* How journeys are shown: on a terminal, to a browser, to Perfetto. */
#ifndef SHOW_H
#define SHOW_H

#include "stitch.h"

#include <stdio.h>

/* What an event carries that tells the most about this hop, in one short line. */
void show_fields(const struct journey *journey, enum hop hop, char *text, size_t size);
/* Why a hop has no time, in a few words; NULL: it has one, or does not belong here. */
const char *show_absence(const struct journey *journey, enum hop hop);
/* The title of a box, for the way in which this server waits. */
const char *show_box(const struct journey *journey, enum box box);
const char *via_words(enum via via);
const char *share_name(const struct recording *recording, enum share share);
void show_wrapped(FILE *stream, const char *text); /* words, within 80 columns */
void show_title(const struct recording *recording, const struct journey *journey, char *text,
                size_t size);

void show_journey(FILE *stream, const struct recording *recording, const struct journey *journey,
                  bool whys); /* false: a line for each hop, and no more */
void show_many(FILE *stream, const struct recording *recording, const struct journeys *journeys);
bool show_explain(FILE *stream, const char *hop); /* NULL: the whole map; false: no such hop */

bool show_svg(FILE *stream, const struct recording *recording, const struct journey *journey);
bool show_json(FILE *stream, const struct recording *recording, const struct journeys *journeys);

#endif
