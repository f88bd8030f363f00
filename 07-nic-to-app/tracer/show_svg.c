/* A journey as a svg: one SVG file, without scripts and without anything that must be loaded.
 * Its width of 360 units suits a phone; on paper it is scaled up. */
#include "journey.h"

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

/* The height is known at the end, and the size of a box at its end.  So the boxes and what is in
 * front of them are collected first. */
struct svg {
    FILE *boxes, *front;
    char *boxes_text, *front_text;
    size_t size; /* not used */
    const struct recording *recording;
    const struct journey *journey;
    double y, top; /* where the next thing is drawn; and the top of the box */
};

static void write_text(FILE *stream, const char *words)
{
    static const char *const escape[] = {"&lt;", "&gt;", "&amp;", "&quot;"};

    show_escaped(stream, words, "<>&\"", escape);
}

static void put_text(const struct svg *svg, const char *style, double x, double y,
                     const char *format, ...)
{
    char words[200];
    va_list values;

    va_start(values, format);
    vsnprintf(words, sizeof words, format, values);
    va_end(values);
    fprintf(svg->front, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", style, x, y);
    write_text(svg->front, words);
    fputs("</text>\n", svg->front);
}

/* The square root, by Newton's method: accurate enough for a svg, and it needs no libm. */
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
    uint64_t since = journey_since(journey, (int)hop);

    if (since == 0)
        return 0;
    uint64_t whole = journey_last(journey)->ns - journey_first(journey)->ns;
    return square_root((double)since / (double)whole) * 44;
}

#define BOX_HEAD 26
#define BOX_FOOT 10 /* between two boxes */
#define BOX_END 8   /* in a box, below its last hop */

static void begin_box(struct svg *svg, enum box box)
{
    svg->y += BOX_FOOT;
    svg->top = svg->y;
    fprintf(svg->front, "<text class=\"box\" x=\"18\" y=\"%.1f\" style=\"fill:%s\">", svg->y + 18,
            colours[box].dark);
    write_text(svg->front, show_box(svg->journey, box));
    fputs("</text>\n", svg->front);
    svg->y += BOX_HEAD;
}

static void end_box(struct svg *svg, enum box box)
{
    svg->y += BOX_END;
    fprintf(svg->boxes,
            "<rect x=\"8\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" rx=\"8\" fill=\"%s\"/>\n",
            svg->top, WIDTH - 16, svg->y - svg->top, colours[box].light);
}

static void draw_event(const struct svg *svg, enum hop hop)
{
    const struct journey *journey = svg->journey;
    const struct event *event = journey->at[hop], *before = journey_before(journey, hop);
    double since = show_us(event->ns - journey_first(journey)->ns), y = svg->y;
    char fields[64], cpu[16] = "";

    show_fields(journey, hop, fields, sizeof fields);
    if (event->cpu >= 0)
        snprintf(cpu, sizeof cpu, "cpu%d%s", event->cpu, fields[0] != '\0' ? " · " : "");
    put_text(svg, "event", TEXT_X, y + 4, "%s", event_label(event));
    put_text(svg, "fields", TEXT_X, y + 17, "%s%s", cpu, fields);
    if (journey->state[hop] == BEGAN_BEFORE) {
        put_text(svg, "since", LINE_X - 12, y + 4, "before");
        return;
    }
    put_text(svg, "time", LINE_X - 12, y + 4, "%.*f µs", since < 1000 ? 1 : 0, since);
    if (before != NULL)
        put_text(svg, "since", LINE_X - 12, y + 17, "+%.1f", show_us(event->ns - before->ns));
}

static void draw_hop(struct svg *svg, enum hop hop)
{
    const struct journey *journey = svg->journey;
    bool has_event = journey->at[hop] != NULL;
    const char *dark = colours[hops[hop].box].dark;
    double from = svg->y;

    svg->y += gap(journey, hop) + 12;
    fputs("<g><title>", svg->front);
    write_text(svg->front, has_event ? show_why(journey, hop) : show_absence(journey, hop));
    fprintf(svg->front, "</title>\n<path d=\"M%d %.1fV%.1f\" stroke=\"%s\" stroke-width=\"3\"/>\n",
            LINE_X, from, svg->y + ROW - 12, dark);
    fprintf(
        svg->front,
        "<circle cx=\"%d\" cy=\"%.1f\" r=\"5\" fill=\"%s\" stroke=\"%s\" stroke-width=\"2\"/>\n",
        LINE_X, svg->y, has_event ? dark : "#fff", dark);
    if (has_event)
        draw_event(svg, hop);
    else
        put_text(svg, "absent", TEXT_X, svg->y + 4, "%s: %s", hops[hop].name,
                 show_state(journey->state[hop]));
    fputs("</g>\n", svg->front);
    svg->y += ROW - 12;
}

/* The total time as one bar, and a list of its parts. */
static void draw_shares(struct svg *svg)
{
    uint64_t ns[SHARES], total = journey_shares(svg->journey, ns);
    double x = 18;

    svg->y += 34;
    put_text(svg, "box", 18, svg->y, "%.1f µs %s, and where they went", show_us(total),
             svg->journey->request != NULL ? "back"
             : svg->journey->reply != NULL ? "in"
                                           : "in all");
    svg->y += 12;
    for (int i = 0; total > 0 && i < SHARES; i++) {
        double width = (double)ns[i] / (double)total * (WIDTH - 36);
        fprintf(svg->front,
                "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"18\" fill=\"%s\" "
                "stroke=\"#fff\"/>\n",
                x, svg->y, width, share_colours[i]);
        x += width;
    }
    svg->y += 22;
    for (int i = 0; total > 0 && i < SHARES; i++) {
        if (ns[i] == 0)
            continue;
        svg->y += 17;
        fprintf(svg->front, "<rect x=\"18\" y=\"%.1f\" width=\"11\" height=\"11\" fill=\"%s\"/>\n",
                svg->y - 10, share_colours[i]);
        put_text(svg, "event", 36, svg->y, "%s",
                 show_share(svg->recording, svg->journey, (enum share)i));
        put_text(svg, "figure", WIDTH - 64, svg->y, "%.1f µs", show_us(ns[i]));
        put_text(svg, "figure", WIDTH - 18, svg->y, "%.0f %%", 100 * (double)ns[i] / (double)total);
    }
}

static const char style[] =
    "<style>text{font-family:system-ui,-apple-system,'DejaVu Sans',sans-serif;fill:#1f2937}"
    ".title{font-size:17px;font-weight:700}.about{font-size:12px;fill:#4b5563}"
    ".box{font-size:13px;font-weight:700}.event{font-size:13px;font-weight:600}"
    ".fields{font-size:12px;fill:#374151}.absent{font-size:12px;fill:#4b5563;font-style:italic}"
    ".time,.since,.figure{text-anchor:end;font-variant-numeric:tabular-nums}"
    ".time{font-size:12px;font-weight:600}.since{font-size:12px;fill:#4b5563}"
    ".small{font-size:11px}.figure{font-size:13px}@media print{svg{max-height:270mm}}</style>\n";

/* Write what has been drawn, and free it.  False: it could not be written. */
static bool write_svg(FILE *stream, struct svg *svg, double width, const char *title)
{
    bool done = fclose(svg->boxes) == 0;

    done = fclose(svg->front) == 0 && done;
    fprintf(
        stream,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
        "width=\"%.0f\" aria-labelledby=\"title\" font-size=\"13\" "
        "style=\"max-width:100%%;height:auto;display:block;margin:auto\">\n<title id=\"title\">",
        width, svg->y, width > 480 ? width : 480);
    write_text(stream, title);
    fprintf(stream,
            "</title>\n<rect width=\"%.0f\" height=\"%.0f\" fill=\"#fff\"/>\n%s%s%s</svg>\n", width,
            svg->y, style, svg->boxes_text, svg->front_text);
    free(svg->boxes_text);
    free(svg->front_text);
    return done && fflush(stream) == 0 && !ferror(stream);
}

/* The acknowledgement is not drawn: it travels back. */
static void draw_way(struct svg *svg)
{
    int box = -1;

    for (int hop = 0; hop < HOP_ACK; hop++) {
        int above = box;
        if (svg->journey->state[hop] == NOT_ON_PATH)
            continue;
        if (show_begins_box(hop, &box)) {
            if (above != -1)
                end_box(svg, (enum box)above);
            begin_box(svg, hops[hop].box);
        }
        draw_hop(svg, (enum hop)hop);
    }
    end_box(svg, (enum box)box);
    draw_shares(svg);
    svg->y += 30;
}

static void draw(struct svg *svg)
{
    const struct recording *recording = svg->recording;
    const struct journey *first = svg->journey;

    put_text(svg, "title", 14, 30, "%s",
             first->reply != NULL ? "A packet and its reply" : "The journey of one packet");
    put_text(svg, "about", 14, 50, "over %s %s %s", vias[recording->via].about,
             first->back ? "from" : "to", recording->server);
    put_text(svg, "about", 14, 66, "%s Linux %s",
             recording->replayed ? "Recorded on" : "Measured on", recording->kernel);
    put_text(svg, "about", 14, 82, "A longer gap means more time (square-root scale).");
    for (; svg->journey != NULL; svg->journey = svg->journey->reply)
        draw_way(svg);
    svg->journey = first;
}

/* Open the two parts.  False: no memory. */
static bool open_svg(struct svg *svg)
{
    svg->boxes = open_memstream(&svg->boxes_text, &svg->size);
    svg->front = open_memstream(&svg->front_text, &svg->size);
    return svg->boxes != NULL && svg->front != NULL;
}

bool show_svg(FILE *stream, const struct recording *recording, const struct journey *journey)
{
    struct svg svg = {.recording = recording, .journey = journey, .y = TOP};
    char title[200];

    if (!open_svg(&svg))
        return false;
    draw(&svg);
    show_title(recording, journey, 1, title, sizeof title);
    return write_svg(stream, &svg, WIDTH, title);
}

/* ---- several recordings side by side ---- */

#define FIRST_X 108 /* of the first recording's line */
#define BAND 30     /* from one hop to the next */

static double column_x(const struct comparison *all, size_t i)
{
    return FIRST_X + (all->count > 3 ? 86 : 140) * (double)i;
}

/* What one recording has of a hop or a share: on its line, a circle for an event. */
static void draw_entry(const struct svg *svg, double x, const struct line *line, size_t i)
{
    const struct entry *entry = &line->at[i];
    bool is_hop = line->row < HOPS,
         named = !line->same && line->have > 1 && entry->seen && entry->ns >= 0;
    bool is_call = strncmp(entry->words, "sys_", 4) == 0; /* sys_enter_ or sys_exit_ */

    fprintf(svg->boxes, "<path d=\"M%.0f %.0fv%d\" stroke=\"#64748b\"%s/>\n", x, svg->y, BAND,
            is_hop && !entry->seen ? " stroke-dasharray=\"2 4\"" : "");
    if (entry->seen)
        fprintf(svg->boxes, "<circle cx=\"%.0f\" cy=\"%.0f\" r=\"5\" fill=\"%s\"/>\n", x,
                svg->y + 15, colours[hops[line->row].box].dark);
    put_text(svg,
             !is_hop       ? "box"
             : entry->seen ? "event"
                           : "absent",
             x + 10, svg->y + (named ? 13 : 19), "%s", entry->cell);
    if (named)
        put_text(svg, "small", x + 10, svg->y + 25, "%s",
                 is_call ? strchr(entry->words + 4, '_') + 1 : entry->words);
}

static void draw_line(struct svg *svg, const struct comparison *all, const struct line *line)
{
    bool is_hop = line->row < HOPS;
    double end = column_x(all, all->count);

    if (is_hop)
        fprintf(svg->boxes, "<rect x=\"8\" y=\"%.0f\" width=\"%.0f\" height=\"%d\" fill=\"%s\"/>\n",
                svg->y, end + 22, BAND, colours[hops[line->row].box].light);
    put_text(svg, is_hop ? "event" : "box", is_hop ? 24 : 14, svg->y + 19, "%s%s", line->name,
             line->back && !is_hop ? ", back" : "");
    for (size_t i = 0; i < all->count; i++)
        draw_entry(svg, column_x(all, i), line, i);
    if (is_hop)
        put_text(svg, "small", end - 10, svg->y + 19, "%s", line->same ? "same" : "differs");
    svg->y += BAND;
}

bool show_comparison_svg(FILE *stream, const struct comparison *all)
{
    struct svg svg = {.y = 84};

    if (!open_svg(&svg))
        return false;
    put_text(&svg, "title", 14, 30, "%zu journeys side by side", all->count);
    put_text(&svg, "about", 14, 50, "Median µs since the hop before; dashed: no event");
    for (size_t i = 0; i < all->count; i++)
        put_text(&svg, "box", column_x(all, i) - 10, 76, "%s", all->column[i].name);
    for (size_t i = 0; i < all->lines; i++)
        if (all->line[i].percent == 50)
            draw_line(&svg, all, &all->line[i]);
    for (size_t i = 0; i < all->count; i++, svg.y += 16) {
        const struct column *column = &all->column[i];
        put_text(&svg, "about", 14, svg.y + 16, "%s: over %s to %s%s", column->name,
                 vias[column->recording.via].about, column->recording.server,
                 compare_remark(column));
    }
    svg.y += 30;
    return write_svg(stream, &svg, column_x(all, all->count) + 38, "Journeys side by side");
}
