# Cut gaps into a source file, to make a starter of it.
#
#   awk -f cut.awk -v name=server.c STARTER SOURCE
#
# STARTER has sections.  The first line of a section names a region of a file, and the lines after it
# replace that region, or remove it if there are none:
#   === server.c anchor epoll       the lines between "// ANCHOR: epoll" and its end
#   === server.c function serve     a function and the comment above it
# Sections for other files than `name` are ignored, and so are the lines before the first section.
# A region that does not exist is an error, so a starter cannot drift away from its source unnoticed.

function fail(message) {
    print "cut.awk: " name ": " message >"/dev/stderr"
    failed = 1
    exit 1
}

FNR == 1 { files++ }

files == 1 && /^=== / {
    section = ""
    if ($2 == name) {
        section = ++sections
        kind[section] = $3
        region[section] = $4
    }
    next
}
files == 1 {
    if (section != "") text[section] = text[section] $0 "\n"
    next
}
{ line[++lines] = $0 }

# Set first and last to the lines of the region between the marks of an anchor.
function find_anchor(anchor,    i) {
    first = last = 0
    for (i = 1; i <= lines; i++) {
        if (line[i] == "// ANCHOR: " anchor) first = i + 1
        if (line[i] == "// ANCHOR_END: " anchor) last = i - 1
    }
}

# Set first and last to the lines of a function's definition, with the comment above it.
function find_function(function_name,    i) {
    first = last = 0
    for (i = 1; i <= lines && first == 0; i++)
        if (line[i] ~ ("^[a-z_].*[ *]" function_name "\\(") && line[i] !~ /;$/) first = i
    for (last = first; last > 0 && last <= lines && line[last] != "}"; last++)
        ;
    if (line[first - 1] ~ /\*\/$/) {
        do first--
        while (first > 1 && line[first] !~ /^\/\*/)
    }
}

END {
    if (failed) exit 1
    for (s = 1; s <= sections; s++) {
        if (kind[s] == "anchor") find_anchor(region[s])
        else if (kind[s] == "function") find_function(region[s])
        else fail("no such kind of region: " kind[s])
        if (first == 0 || last < first) fail("no " kind[s] " \"" region[s] "\"")
        if (!(s in text)) { # removed: its marks and one blank line go with it
            if (kind[s] == "anchor") { first--; last++ }
            if (line[last + 1] == "") last++
        }
        for (i = first; i <= last; i++) {
            if (i in cut) fail("two sections replace line " i)
            cut[i] = s
        }
        begin[first] = s
    }
    for (i = 1; i <= lines; i++) {
        if (i in begin) printf "%s", text[begin[i]]
        if (!(i in cut)) print line[i]
    }
}
