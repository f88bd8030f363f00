# draw.awk: the visual language of the book's drawings.  Each drawing loads it: awk -f draw.awk -f ITS-OWN.awk
#
# A drawing is 360 units wide, so that on a narrow screen the letters keep their size.  It has its own
# background, because an image does not follow the theme of the page; wide.css inverts it on the dark themes.
# A style is a string of words; style() looks for them:
#   text   bold, middle, end, small, and a colour: muted, new, light, bytes, or none
#   boxes  panel (an area), plain, cell (less rounded), new (what the drawing is about), dark (ready, or running), ghost (not there)
#   lines  muted, new, bytes, thick, dashed
function style(words, word) { return index(" " words " ", " " word " ") > 0 }
function palette() {
    INK = "#222"; PAPER = "#fff"; SHADE = "#eef1f4"; MUTED = "#57606a"; EDGE = "#8c959f"
    NEW = "#a63d00"; NEW_FILL = "#ffe8cc"; BYTES = "#1f5fbf"
}
function colour(words) {
    if (style(words, "new")) return NEW
    if (style(words, "muted")) return MUTED
    if (style(words, "light")) return PAPER
    return style(words, "bytes") ? BYTES : INK
}
function escape(s) { gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); gsub(/>/, "\\&gt;", s); return s }

# The first line of the file, the title that is read aloud, and the background.
function start(height, title) {
    palette()
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 360 %d\" width=\"480\" role=\"img\"", height
    print " aria-labelledby=\"title\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\">"
    printf "<title id=\"title\">%s</title>\n", escape(title)
    printf "<rect width=\"360\" height=\"%d\" fill=\"%s\"/>\n", height, PAPER
}
function finish() { print "</svg>" }

function text(x, y, s, words, more) {
    if (style(words, "bold")) more = more " font-weight=\"bold\""
    if (style(words, "small")) more = more " font-size=\"12\""
    if (style(words, "middle")) more = more " text-anchor=\"middle\""
    if (style(words, "end")) more = more " text-anchor=\"end\""
    printf "<text x=\"%g\" y=\"%g\" fill=\"%s\"%s>%s</text>\n", x, y, colour(words), more, escape(s)
}
function box(x, y, width, height, words, fill, edge, more) {
    fill = PAPER; edge = EDGE; more = "1"
    if (style(words, "panel")) { fill = SHADE; edge = SHADE }
    if (style(words, "new")) { fill = NEW_FILL; edge = NEW; more = "2" }
    if (style(words, "dark")) { fill = INK; edge = INK }
    if (style(words, "dark") && style(words, "new")) { fill = NEW; edge = NEW }
    if (style(words, "ghost")) { fill = "none"; more = more "\" stroke-dasharray=\"4 3" }
    printf "<rect x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" rx=\"%d\"", x, y, width, height, style(words, "cell") ? 2 : 4
    printf " fill=\"%s\" stroke=\"%s\" stroke-width=\"%s\"/>\n", fill, edge, more
}
# A box with one line of text in its middle.
function cell(x, y, width, height, s, words) {
    box(x, y, width, height, "cell " words)
    if (s != "")
        text(x + width / 2, y + height / 2 + 4.5, s, "middle small " (style(words, "dark") ? "light" : style(words, "muted") ? "muted" : ""))
}
function path(d, words, more) {
    more = style(words, "thick") ? "2.5" : "1.5"
    if (style(words, "dashed")) more = more "\" stroke-dasharray=\"4 3"
    printf "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"%s\"/>\n", d, style(words, "muted") ? EDGE : colour(words), more
}
function line(x1, y1, x2, y2, words) { path(sprintf("M%g %gL%g %g", x1, y1, x2, y2), words) }
function head(x, y, dx, dy, words) { # the tip of an arrow; dx and dy, of length 1, say where it points
    printf "<path d=\"M%.1f %.1fL%.1f %.1fL%.1f %.1fz\" fill=\"%s\"/>\n", x, y,
        x - 8 * dx - 4.5 * dy, y - 8 * dy + 4.5 * dx, x - 8 * dx + 4.5 * dy, y - 8 * dy - 4.5 * dx,
        style(words, "muted") ? EDGE : colour(words)
}
function arrow(x1, y1, x2, y2, words, length_, dx, dy) {
    length_ = sqrt((x2 - x1) ^ 2 + (y2 - y1) ^ 2); dx = (x2 - x1) / length_; dy = (y2 - y1) / length_
    path(sprintf("M%.1f %.1fL%.1f %.1f", x1, y1, x2 - 6 * dx, y2 - 6 * dy), words)
    head(x2, y2, dx, dy, words)
}
# A vertical arrow as wide as what it carries.
function wide_arrow(x, y1, y2, width, words, d, half) {
    d = y2 > y1 ? 1 : -1; half = width / 2
    printf "<path d=\"M%g %gV%gH%gL%g %gL%g %gH%gV%gz\" fill=\"%s\" stroke=\"%s\" stroke-width=\"1.5\"/>\n",
        x - half, y1, y2 - 12 * d, x - half - 7, x, y2, x + half + 7, y2 - 12 * d, x + half, y1,
        style(words, "new") ? NEW_FILL : PAPER, style(words, "new") ? NEW : EDGE
}
# `count` bytes, of at most `most`, in a bar.
function bytes(x, y, width, height, count, most, i) {
    box(x, y, width, height, "cell")
    for (i = 0; i < count; i++)
        printf "<rect x=\"%.1f\" y=\"%g\" width=\"%.1f\" height=\"%g\" fill=\"%s\"/>\n",
            x + 2.5 + i * (width - 4) / most, y + 2.5, (width - 4) / most - 1.5, height - 5, BYTES
}
