/* Journeys as a drawing: one SVG file, without scripts and without anything that must be loaded.
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

/* Heights are known at the end, so the boxes and what is in front of them are collected first. */
struct svg {
    FILE *boxes, *front;
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

/* The extra distance before a hop, for the time that passed.  It grows with the square root of the
 * time: on a linear scale, one slow hop would need a long page.  (Newton's method; no libm.) */
static double gap(const struct journey *journey, enum hop hop)
{
    uint64_t since = journey_since(journey, (int)hop);
    double whole = (double)(journey_last(journey)->ns - journey_first(journey)->ns), root = 1;

    for (int i = 0; since > 0 && i < 40; i++)
        root = (root + (double)since / whole / root) / 2;
    return since > 0 ? root * 44 : 0;
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
    put_text(svg, "box", 18, svg->y, "%.1f µs %s, and where the time went", show_us(total),
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
        put_text(svg, "event", 36, svg->y, "%s", show_share(svg->journey, (enum share)i));
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

static void write_head(FILE *stream, const char *title, size_t width, double height)
{
    fprintf(
        stream,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %zu %.0f\" role=\"img\" "
        "width=\"%zu\" aria-labelledby=\"title\" font-size=\"13\" "
        "style=\"max-width:100%%;height:auto;display:block;margin:auto\">\n<title id=\"title\">",
        width, height, width > WIDTH ? width : 480);
    write_text(stream, title);
    fprintf(stream, "</title>\n<rect width=\"%zu\" height=\"%.0f\" fill=\"#fff\"/>\n%s", width,
            height, style);
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
    const struct journey *first = svg->journey;
    const struct recording *recording = first->recording;

    svg->y = TOP;
    put_text(svg, "title", 14, 30, "%s",
             first->reply != NULL ? "A packet and its reply" : "The journey of one packet");
    put_text(svg, "about", 14, 50, "over %s %s %s", vias[recording->via].about,
             first->back ? "from" : "to", recording->server);
    put_text(svg, "about", 14, 66, "%s Linux %s",
             recording->replayed ? "Recorded on" : "Measured on", recording->kernel);
    put_text(svg, "about", 14, 82, "A longer gap means more time (square-root scale).");
    for (; svg->journey != NULL; svg->journey = svg->journey->reply)
        draw_way(svg);
}

/* Several journeys are drawn side by side. */
bool show_svg(FILE *stream, const struct journey *const *journeys, size_t count)
{
    char *boxes = NULL, *front = NULL, title[200];
    size_t size;
    struct svg svg = {.boxes = open_memstream(&boxes, &size),
                      .front = open_memstream(&front, &size)};
    bool done = svg.boxes != NULL && svg.front != NULL;
    double height = 0;

    for (size_t i = 0; done && i < count; i++) {
        svg.journey = journeys[i];
        fprintf(svg.boxes, "<g transform=\"translate(%zu,0)\">\n", i * WIDTH);
        fprintf(svg.front, "<g transform=\"translate(%zu,0)\">\n", i * WIDTH);
        draw(&svg);
        fputs("</g>\n", svg.boxes);
        fputs("</g>\n", svg.front);
        height = svg.y > height ? svg.y : height;
    }
    done = svg.boxes != NULL && fclose(svg.boxes) == 0;
    done = svg.front != NULL && fclose(svg.front) == 0 && done;
    if (done) {
        show_title(journeys[0], 1, title, sizeof title);
        write_head(stream, count > 1 ? "Journeys side by side" : title, count * WIDTH, height);
        fprintf(stream, "%s%s</svg>\n", boxes, front);
    }
    free(boxes);
    free(front);
    return done && fflush(stream) == 0 && !ferror(stream);
}
