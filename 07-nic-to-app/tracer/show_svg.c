/* A journey as a drawing: one SVG file, without scripts and without anything that must be loaded.
 * Its width of 360 units suits a phone; on paper it is scaled up. */
#define _POSIX_C_SOURCE 200809L

#include "show.h"

#include <inttypes.h>
#include <string.h>

#define WIDTH 360
#define LINE_X 84  /* the time line */
#define TEXT_X 100 /* the text beside it */
#define ROW 34     /* the least distance from one hop to the next */
#define TOP 96     /* the top of the first box */

/* A dark colour for lines and words and a light one behind them, which also differ in grey. */
static const struct {
    const char *dark, *light;
} colours[BOXES] = {[BOX_SENDER] = {"#475569", "#f1f5f9"}, [BOX_CARD] = {"#92400e", "#fef3c7"},
                    [BOX_STACK] = {"#1e40af", "#e0ecff"},  [BOX_BUFFER] = {"#115e59", "#d8f5ee"},
                    [BOX_WATCH] = {"#6b21a8", "#f3e8ff"},  [BOX_WAKE] = {"#9d174d", "#fde7f1"},
                    [BOX_LOOP] = {"#3f6212", "#ecf7d5"},   [BOX_CODE] = {"#111827", "#e5e7eb"}};
/* The parts of one bar: light and dark alternate, for those who print in grey. */
static const char *const share_colours[SHARES] = {"#64748b", "#1e40af", "#a855f7", "#9d174d",
                                                  "#111827"};

struct drawing {
    FILE *stream;
    const struct recording *recording;
    const struct journey *journey;
    double y;
};

/* Write text for XML: escape the characters that have a meaning there, leave out control
 * characters. */
static void write_text(FILE *stream, const char *words)
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

static void put_text(const struct drawing *drawing, const char *style, double x, double y,
                     const char *words)
{
    fprintf(drawing->stream, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", style, x, y);
    write_text(drawing->stream, words);
    fputs("</text>\n", drawing->stream);
}

/* The square root, by Newton's method: accurate enough for a drawing, and it needs no libm. */
static double square_root(double number)
{
    double guess = number > 1 ? number : 1;

    for (int i = 0; i < 40; i++)
        guess = (guess + number / guess) / 2;
    return guess;
}

/* The extra distance before a hop, for the time that passed.  It grows with the square root of the
 * time: on a linear scale, one slow hop would need a long page. */
static double gap(const struct journey *journey, enum hop hop)
{
    const struct event *before = journey_before(journey, hop), *last = journey_last(journey);

    if (before == NULL || !journey_is_step(journey, (int)hop) ||
        journey->at[hop]->ns <= before->ns || last->ns <= before->ns)
        return 0;
    uint64_t whole = last->ns - journey_first(journey)->ns;
    double more = square_root((double)(journey->at[hop]->ns - before->ns) / (double)whole) * 44;
    return more < 44 ? more : 44;
}

/* The acknowledgement is not drawn: it travels back. */
static bool is_drawn(const struct journey *journey, int hop)
{
    return hop != HOP_ACK && journey->state[hop] != NOT_ON_PATH;
}

static bool box_begins(const struct journey *journey, int hop)
{
    for (int before = hop - 1; before >= 0; before--)
        if (is_drawn(journey, before))
            return hops[before].box != hops[hop].box;
    return true;
}

#define BOX_HEAD 26
#define BOX_FOOT 10 /* between two boxes */
#define BOX_END 8   /* in a box, below its last hop */

static double row_height(const struct journey *journey, int hop)
{
    return ROW + gap(journey, (enum hop)hop) +
           (box_begins(journey, hop) ? BOX_HEAD + BOX_FOOT + BOX_END : 0);
}

/* The height of the box that begins with this hop. */
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
    write_text(drawing->stream, show_box(drawing->journey, box));
    fputs("</text>\n", drawing->stream);
    drawing->y += BOX_HEAD;
}

static void draw_times(const struct drawing *drawing, enum hop hop)
{
    const struct event *event = drawing->journey->at[hop];
    const struct event *before = journey_before(drawing->journey, hop);
    char words[32];

    double since = show_us(event->ns - journey_first(drawing->journey)->ns);
    snprintf(words, sizeof words, "%.*f µs", since < 1000 ? 1 : 0, since);
    put_text(drawing, "time", LINE_X - 12, drawing->y + 4, words);
    if (before == NULL)
        return;
    snprintf(words, sizeof words, "+%.1f", show_us(event->ns - before->ns));
    put_text(drawing, "since", LINE_X - 12, drawing->y + 17, words);
}

static void draw_event(const struct drawing *drawing, enum hop hop)
{
    const struct event *event = drawing->journey->at[hop];
    char fields[64], words[112];

    show_fields(drawing->journey, hop, fields, sizeof fields);
    put_text(drawing, "event", TEXT_X, drawing->y + 4, event_label(event));
    if (event->cpu >= 0)
        snprintf(words, sizeof words, "cpu%d%s%s", event->cpu, fields[0] != '\0' ? " · " : "",
                 fields);
    else
        snprintf(words, sizeof words, "%s", fields);
    put_text(drawing, "fields", TEXT_X, drawing->y + 17, words);
    if (drawing->journey->state[hop] == BEGAN_BEFORE)
        put_text(drawing, "since", LINE_X - 12, drawing->y + 4, "before");
    else
        draw_times(drawing, hop);
}

static void draw_absence(const struct drawing *drawing, enum hop hop)
{
    char words[64];

    snprintf(words, sizeof words, "%s: %s", hops[hop].name,
             show_state(drawing->journey->state[hop]));
    put_text(drawing, "absent", TEXT_X, drawing->y + 4, words);
}

static void draw_hop(struct drawing *drawing, enum hop hop)
{
    const struct journey *journey = drawing->journey;
    bool has_event = journey->at[hop] != NULL;
    const char *dark = colours[hops[hop].box].dark;
    double from = drawing->y;

    drawing->y += gap(journey, hop) + 12;
    fputs("<g><title>", drawing->stream);
    write_text(drawing->stream,
               has_event ? hop_why(hop, journey->waiting) : show_absence(journey, hop));
    fprintf(drawing->stream,
            "</title>\n<path d=\"M%d %.1fV%.1f\" stroke=\"%s\" stroke-width=\"3\"/>\n", LINE_X,
            from, drawing->y + ROW - 12, dark);
    fprintf(
        drawing->stream,
        "<circle cx=\"%d\" cy=\"%.1f\" r=\"5\" fill=\"%s\" stroke=\"%s\" stroke-width=\"2\"/>\n",
        LINE_X, drawing->y, has_event ? dark : "#fff", dark);
    if (has_event)
        draw_event(drawing, hop);
    else
        draw_absence(drawing, hop);
    fputs("</g>\n", drawing->stream);
    drawing->y += ROW - 12;
}

/* The total time as one bar, and a list of its parts. */
static void draw_shares(struct drawing *drawing)
{
    uint64_t ns[SHARES], total = 0;
    double x = 18;
    char words[64];

    journey_shares(drawing->journey, ns);
    for (int i = 0; i < SHARES; i++)
        total += ns[i];
    snprintf(words, sizeof words, "%.1f µs in all, and where they went", show_us(total));
    drawing->y += 34;
    put_text(drawing, "box", 18, drawing->y, words);
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
        put_text(drawing, "event", 36, drawing->y, show_share(drawing->recording, (enum share)i));
        snprintf(words, sizeof words, "%.1f µs", show_us(ns[i]));
        put_text(drawing, "figure", WIDTH - 64, drawing->y, words);
        snprintf(words, sizeof words, "%.0f %%", 100 * (double)ns[i] / (double)total);
        put_text(drawing, "figure", WIDTH - 18, drawing->y, words);
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
    write_text(drawing->stream, words);
    fprintf(drawing->stream, "</title>\n<rect width=\"%d\" height=\"%.0f\" fill=\"#fff\"/>\n%s",
            WIDTH, height, style);
    put_text(drawing, "title", 14, 30, "The journey of one packet");
    snprintf(words, sizeof words, "over %s to %s", show_path(drawing->recording->via),
             drawing->recording->server);
    put_text(drawing, "about", 14, 50, words);
    snprintf(words, sizeof words, "%s Linux %s",
             drawing->recording->replayed ? "Recorded on" : "Measured on",
             drawing->recording->kernel);
    put_text(drawing, "about", 14, 66, words);
    put_text(drawing, "about", 14, 82, "A longer gap means more time (square-root scale).");
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
