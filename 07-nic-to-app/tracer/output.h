/* What the user gets to see of a recording: text on standard output, and the files asked for. */
#ifndef OUTPUT_H
#define OUTPUT_H

#include "recording.h"

#include <stdio.h>

struct output {
    bool brief;    /* one line for each hop, without the reasons */
    bool only_one; /* show one journey; false: a summary, if the recording has several */
    const char *json, *svg, *record; /* files to write; "-": standard output; NULL: none */
    FILE *piped;                     /* standard output, if one of these files is "-" */
};

/* If a file is "-", reserve standard output for it and send all other text to standard error. */
void output_begin(struct output *output);
/* Show the recording and write the files.  Ends the program with 1 if that fails. */
void output_show(const struct output *output, const struct recording *recording);
/* Print "trace: WHAT: WHY" and end the program with 1. */
_Noreturn void output_fail(const char *what, const char *why);
/* The exit code: `code`, or 1 if standard output could not be written. */
int output_end(int code);

#endif
