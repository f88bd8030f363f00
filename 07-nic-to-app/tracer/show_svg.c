/* A journey as a drawing: one file, no script, nothing that it loads.  360 wide is what a page
 * on a phone has room for; a page of paper is wider and only makes it larger. */
#define _POSIX_C_SOURCE 200809L

#include "show.h"

#include <inttypes.h>
#include <string.h>

#define WIDTH 360
#define LINE_X 84  /* the line of time */
#define TEXT_X 100 /* what is beside it */
#define ROW 34     /* from one hop to the next, at least */
#define TOP 96     /* where the first box begins */

/* A dark colour for lines and words, a light one behind them; told apart by their lightness too. */
static const struct {
    const char *dark, *light;
} colours[BOXES] = {[BOX_SENDER] = {"#475569", "#f1f5f9"}, [BOX_CARD] = {"#92400e", "#fef3c7"},
                    [BOX_STACK] = {"#1e40af", "#e0ecff"},  [BOX_BUFFER] = {"#115e59", "#d8f5ee"},
                    [BOX_WATCH] = {"#6b21a8", "#f3e8ff"},  [BOX_WAKE] = {"#9d174d", "#fde7f1"},
                    [BOX_LOOP] = {"#3f6212", "#ecf7d5"},   [BOX_CODE] = {"#111827", "#e5e7eb"}};
/* The parts of one bar: a light one stands beside a dark one, for those who print in grey. */
static const char *const share_colours[SHARES] = {"#64748b", "#1e40af", "#a855f7", "#9d174d",
                                                  "#111827"};

struct drawing {
    FILE *stream;
    const struct recording *recording;
    const struct journey *journey;
    double y;
};

/* The three characters that mean something in XML, and those that may not be in it. */
static void text(FILE *stream, const char *words)
{
    for (; *words != '\0'; words++) {
        if (*words == '<')
            fputs("&lt;", stream);
        else if (*words == '>')
            fputs("&gt;", stream);
        else if (*words == '&')
            fputs("&amp;", stream);
        else if (*words == '"')
            fputs("&quot;", stream);
        else if ((unsigned char)*words >= ' ')
            fputc(*words, stream);
    }
}

static double us(uint64_t ns)
{
    return (double)ns / 1000;
}

static void put(const struct drawing *drawing, const char *style, double x, double y,
                const char *words)
{
    fprintf(drawing->stream, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", style, x, y);
    text(drawing->stream, words);
    fputs("</text>\n", drawing->stream);
}

/* The square root, near enough for a drawing, and without the library for it. */
static double root(double number)
{
    double guess = number > 1 ? number : 1;

    for (int i = 0; i < 40; i++)
        guess = (guess + number / guess) / 2;
    return guess;
}

/* Where more of the whole time passes, the hops stand further apart: by the square root, for a true
 * scale would need a long page for one slow hop. */
static double gap(const struct journey *journey, enum hop hop)
{
    const struct event *before = journey_before(journey, hop), *last = journey_last(journey);

    if (before == NULL || journey->at[hop] == NULL || journey->sight[hop] == BEFORE ||
        journey->at[hop]->ns <= before->ns || last->ns <= before->ns)
        return 0;
    uint64_t whole = last->ns - journey_first(journey)->ns;
    double more = root((double)(journey->at[hop]->ns - before->ns) / (double)whole) * 44;
    return more < 44 ? more : 44;
}

/* The acknowledgement goes another way, back; and what was not asked for has no place in time. */
static bool is_drawn(const struct journey *journey, int hop)
{
    return hop != HOP_ACK && journey->sight[hop] != ELSEWHERE;
}

static bool box_begins(const struct journey *journey, int hop)
{
    for (int before = hop - 1; before >= 0; before--)
        if (is_drawn(journey, before))
            return hops[before].box != hops[hop].box;
    return true;
}

#define BOX_HEAD 26
#define BOX_FOOT 10 /* between two boxes, */
#define BOX_END 8   /* and in one, below its last hop */

static double row_height(const struct journey *journey, int hop)
{
    return ROW + gap(journey, (enum hop)hop) +
           (box_begins(journey, hop) ? BOX_HEAD + BOX_FOOT + BOX_END : 0);
}

/* How high the box is that begins with this hop. */
static double box_height(const struct journey *journey, int first)
{
    double height = BOX_HEAD + BOX_END;

    for (int hop = first; hop < HOPS && hops[hop].box == hops[first].box; hop++)
        if (is_drawn(journey, hop))
            height += ROW + gap(journey, (enum hop)hop);
    return height;
}

static void draw_box(struct drawing *drawing, int hop)
{
    enum box box = hops[hop].box;
    double height = box_height(drawing->journey, hop);

    drawing->y += BOX_FOOT;
    fprintf(drawing->stream,
            "<rect x=\"8\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" rx=\"8\" fill=\"%s\"/>\n",
            drawing->y, WIDTH - 16, height, colours[box].light);
    fprintf(drawing->stream, "<text class=\"box\" x=\"18\" y=\"%.1f\" style=\"fill:%s\">",
            drawing->y + 18, colours[box].dark);
    text(drawing->stream, show_box(drawing->journey, box));
    fputs("</text>\n", drawing->stream);
    drawing->y += BOX_HEAD;
}

static void draw_times(const struct drawing *drawing, enum hop hop)
{
    const struct event *event = drawing->journey->at[hop];
    const struct event *before = journey_before(drawing->journey, hop);
    char words[32];

    double since = us(event->ns - journey_first(drawing->journey)->ns);
    snprintf(words, sizeof words, "%.*f µs", since < 1000 ? 1 : 0, since);
    put(drawing, "time", LINE_X - 12, drawing->y + 4, words);
    if (before == NULL)
        return;
    snprintf(words, sizeof words, "+%.1f", us(event->ns - before->ns));
    put(drawing, "since", LINE_X - 12, drawing->y + 17, words);
}

static void draw_hop(struct drawing *drawing, enum hop hop)
{
    const struct journey *journey = drawing->journey;
    const struct event *event = journey->at[hop];
    const char *dark = colours[hops[hop].box].dark;
    char fields[64], words[112];
    double from = drawing->y;

    drawing->y += gap(journey, hop) + 12;
    fputs("<g><title>", drawing->stream);
    text(drawing->stream,
         event != NULL ? hop_why(hop, journey->waiting) : show_absence(journey, hop));
    fprintf(drawing->stream,
            "</title>\n<path d=\"M%d %.1fV%.1f\" stroke=\"%s\" stroke-width=\"3\"/>\n", LINE_X,
            from, drawing->y + ROW - 12, dark);
    fprintf(
        drawing->stream,
        "<circle cx=\"%d\" cy=\"%.1f\" r=\"5\" fill=\"%s\" stroke=\"%s\" stroke-width=\"2\"/>\n",
        LINE_X, drawing->y, event != NULL ? dark : "#fff", dark);
    if (event == NULL) {
        snprintf(words, sizeof words, "%s: %s", hops[hop].name,
                 journey->sight[hop] == AWAKE ? "not needed" : "not seen");
        put(drawing, "absent", TEXT_X, drawing->y + 4, words);
    } else {
        show_fields(journey, hop, fields, sizeof fields);
        put(drawing, "event", TEXT_X, drawing->y + 4, source_label(event));
        if (event->cpu >= 0)
            snprintf(words, sizeof words, "cpu%d%s%s", event->cpu, fields[0] != '\0' ? " · " : "",
                     fields);
        else
            snprintf(words, sizeof words, "%s", fields);
        put(drawing, "fields", TEXT_X, drawing->y + 17, words);
        if (journey->sight[hop] == BEFORE)
            put(drawing, "since", LINE_X - 12, drawing->y + 4, "before");
        else
            draw_times(drawing, hop);
    }
    fputs("</g>\n", drawing->stream);
    drawing->y += ROW - 12;
}

/* The whole time as one bar, and what its parts are. */
static void draw_shares(struct drawing *drawing)
{
    uint64_t ns[SHARES], total = 0;
    double x = 18;
    char words[64];

    journey_shares(drawing->journey, ns);
    for (int i = 0; i < SHARES; i++)
        total += ns[i];
    snprintf(words, sizeof words, "%.1f µs in all, and where they went", us(total));
    drawing->y += 34;
    put(drawing, "box", 18, drawing->y, words);
    drawing->y += 12;
    for (int i = 0; total > 0 && i < SHARES; i++) {
        double width = (double)ns[i] / (double)total * (WIDTH - 36);
        fprintf(drawing->stream,
                "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"18\" fill=\"%s\" "
                "stroke=\"#fff\"/>\n",
                x, drawing->y, width, share_colours[i]);
        x += width;
    }
    drawing->y += 22;
    for (int i = 0; total > 0 && i < SHARES; i++) {
        if (ns[i] == 0)
            continue;
        drawing->y += 17;
        fprintf(drawing->stream,
                "<rect x=\"18\" y=\"%.1f\" width=\"11\" height=\"11\" fill=\"%s\"/>\n",
                drawing->y - 10, share_colours[i]);
        put(drawing, "event", 36, drawing->y, share_name(drawing->recording, (enum share)i));
        snprintf(words, sizeof words, "%.1f µs", us(ns[i]));
        put(drawing, "figure", WIDTH - 64, drawing->y, words);
        snprintf(words, sizeof words, "%.0f %%", 100 * (double)ns[i] / (double)total);
        put(drawing, "figure", WIDTH - 18, drawing->y, words);
    }
}

static double whole_height(const struct journey *journey)
{
    uint64_t ns[SHARES];
    double height = TOP + 34 + 34 + 30;

    journey_shares(journey, ns);
    for (int i = 0; i < SHARES; i++)
        height += ns[i] > 0 ? 17 : 0;
    for (int hop = 0; hop < HOPS; hop++)
        if (is_drawn(journey, hop))
            height += row_height(journey, hop);
    return height;
}

static const char style[] =
    "<style>text{font-family:system-ui,-apple-system,'DejaVu Sans',sans-serif;fill:#1f2937}"
    ".title{font-size:17px;font-weight:700}.about{font-size:12px;fill:#4b5563}"
    ".box{font-size:13px;font-weight:700}.event{font-size:13px;font-weight:600}"
    ".fields{font-size:12px;fill:#374151}.absent{font-size:12px;fill:#4b5563;font-style:italic}"
    ".time,.since,.figure{text-anchor:end;font-variant-numeric:tabular-nums}"
    ".time{font-size:12px;font-weight:600}.since{font-size:12px;fill:#4b5563}"
    ".figure{font-size:13px}@media print{svg{max-height:270mm}}</style>\n";

static void draw_head(const struct drawing *drawing, double height)
{
    char words[200];

    fprintf(
        drawing->stream,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" role=\"img\" "
        "width=\"480\" aria-labelledby=\"title\" font-size=\"13\" "
        "style=\"max-width:100%%;height:auto;display:block;margin:auto\">\n<title id=\"title\">",
        WIDTH, height);
    show_title(drawing->recording, drawing->journey, words, sizeof words);
    text(drawing->stream, words);
    fprintf(drawing->stream, "</title>\n<rect width=\"%d\" height=\"%.0f\" fill=\"#fff\"/>\n%s",
            WIDTH, height, style);
    put(drawing, "title", 14, 30, "The journey of one packet");
    snprintf(words, sizeof words, "over %s, to %s", via_words(drawing->recording->via),
             drawing->recording->server);
    put(drawing, "about", 14, 50, words);
    snprintf(words, sizeof words, "%s Linux %s",
             drawing->recording->replayed ? "Recorded on" : "Measured on",
             drawing->recording->kernel);
    put(drawing, "about", 14, 66, words);
    put(drawing, "about", 14, 82, "Longer gaps: more time (by its square root).");
}

bool show_svg(FILE *stream, const struct recording *recording, const struct journey *journey)
{
    struct drawing drawing = {stream, recording, journey, TOP};

    draw_head(&drawing, whole_height(journey));
    for (int hop = 0; hop < HOPS; hop++) {
        if (!is_drawn(journey, hop))
            continue;
        if (box_begins(journey, hop)) {
            drawing.y += hop > 0 && journey_before(journey, (enum hop)hop) != NULL ? BOX_END : 0;
            draw_box(&drawing, hop);
        }
        draw_hop(&drawing, (enum hop)hop);
    }
    draw_shares(&drawing);
    fputs("</svg>\n", stream);
    return fflush(stream) == 0 && !ferror(stream);
}
