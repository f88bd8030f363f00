# Find the mutants of a C source file; tests/mutation/mutate explains the kinds.
#
#   awk -f mutate.awk -v prefix=NAME FILE               list the mutants; their names begin with NAME
#   MUTANT=NAME awk -f mutate.awk -v prefix=NAME FILE   print the file with this mutant
#   awk -f mutate.awk -v prefix=NAME -v map=N FILE      print the file with calls of mutant_is() (map.h);
#                                                       the first mutant is number N
#
# This is no parser of C.  It relies on clang-format: the body of a function begins with "{" in the first
# column and ends with "}" there.  `code` is the text with blanks in place of comments and directives, and
# with "s" in place of the characters of strings, so that positions in both are the same.

BEGIN { only = ENVIRON["MUTANT"]; count = 0 } # not -v, which would change backslashes
{ text = text $0 "\n" }

END {
    blank_out()
    end = 1
    while ((start = next_function(end)) > 0) {
        find_ifs(start, end)
        find_choices(start, end)
        find_operands(start, end)
        find_errnos(start, end)
        find_jumps(start, end)
        find_resets(start, end)
    }
    if (only != "" && !found)
        exit 1
    if (map != "")
        print_mapped()
}

# ---- the text ----

function blank_out(    i, n, c, two, state, out) {
    n = length(text)
    for (i = 1; i <= n; i++) {
        c = substr(text, i, 1)
        two = substr(text, i, 2)
        if (state == "" && two == "/*") state = "comment"
        else if (state == "" && two == "//") state = "line"
        else if (state == "" && c == "#" && out ~ /(^|\n) *$/) state = "directive"
        else if (state == "" && (c == "\"" || c == "'")) { state = c; out = out "s"; continue }
        if (state == "") { out = out c; continue }
        out = out (c == "\n" ? "\n" : (state == "\"" || state == "'") ? "s" : " ")
        if (state == "comment" && two == "*/") { out = out " "; i++; state = "" }
        else if ((state == "line" || (state == "directive" && substr(text, i - 1, 1) != "\\")) && c == "\n") state = ""
        else if ((state == "\"" || state == "'") && c == "\\") { out = out "s"; i++ }
        else if (c == state) state = ""
    }
    code = out
}

# Set `end` to the end of the next function's body and `name` to its name; return the body's beginning.
function next_function(from,    start, length_, head) {
    start = index(substr(code, from), "\n{\n")
    if (start == 0)
        return 0
    start += from
    length_ = index(substr(code, start), "\n}\n")
    end = start + length_
    head = substr(code, from, start - from)
    sub(/.*[;}][ \n]*\n/, "", head) # what precedes the declaration
    sub(/ *\(.*/, "", head)
    sub(/.*[ \n*]/, "", head)
    name = head
    return start
}

function at(i) { return substr(code, i, 1) }
function is_word(c) { return c ~ /[A-Za-z0-9_]/ }
# The position behind the parenthesis or brace that closes the one at i.
function close_of(i,    depth, c) {
    depth = 0
    for (; i <= length(code); i++) {
        c = at(i)
        if (c ~ /[([{]/) depth++
        if (c ~ /[])}]/ && --depth == 0) return i + 1
    }
}
function skip_blanks(i) { while (at(i) ~ /[ \n]/) i++; return i }
# The position behind the statement that begins at i.
function statement_end(i,    word) {
    i = skip_blanks(i)
    if (at(i) == "{") return close_of(i)
    word = substr(code, i, 7)
    if (word ~ /^(if|for|while|switch) \(/) {
        i = statement_end(close_of(index(substr(code, i), "(") + i - 1))
        return i
    }
    for (; at(i) != ";"; i++) if (at(i) ~ /[({[]/) i = close_of(i) - 1
    return i + 1
}

# The line that contains position a, with [brackets] around a to b if `mark` is set.
function line_of(a, b, mark,    first, last, line) {
    for (first = a; substr(text, first - 1, 1) != "\n" && first > 1;) first--
    for (last = a; substr(text, last, 1) != "\n";) last++
    line = mark ? substr(text, first, a - first) "[" (b <= last ? substr(text, a, b - a) "]" substr(text, b, last - b) : substr(text, a, last - a)) \
                : substr(text, first, last - first)
    gsub(/ *(\/\*.*|\/\/.*)/, "", line)
    gsub(/^ +| +$/, "", line)
    gsub(/ +/, " ", line)
    return line
}

# One mutant: a to b (exclusive) is replaced.  Those with the same line are numbered.
function mutant(kind, a, b, replacement, mark,    id) {
    id = prefix ": " name ": " kind ": " line_of(a, b, mark)
    if (++seen[id] > 1) id = id " #" seen[id]
    if (map != "") call_in_place(a, b, replacement)
    else if (only == "") print id
    else if (only == id) {
        found = 1
        printf "%s%s%s", substr(text, 1, a - 1), replacement, substr(text, b)
    }
}

# ---- the map ----

# Where the mutant is, call mutant_is() with the value of the source and that of the mutant.
function call_in_place(a, b, replacement,    what, call) {
    what = substr(text, a, b - a)
    call = "mutant_is(" (map + count) ", "
    from[count] = a
    to[count] = b
    if (what ~ /^case /) { # a label: the call follows it
        from[count] = b
        before[count] = call "1, 0);"
        behind[count] = ""
    } else if (replacement != ";") { # a condition
        before[count] = "(" call "!!("
        behind[count] = "), " (replacement ~ /&& 0\)$|^0$|, 0\)$/ ? 0 : 1) "))"
    } else if (what ~ /^[^=]* = (-?[01]|NULL|true|false|E[A-Z]+|error);$/) { # it has no effect if the value is the same
        before[count] = "{ " call "(" substr(what, 1, index(what, " = ") - 1) ") != (" substr(what, index(what, " = ") + 3, length(what) - index(what, " = ") - 3) "), 0); "
        behind[count] = " }"
    } else {
        before[count] = "{ " call "1, 0); "
        behind[count] = " }"
    }
    count++
}
# A place may lie within another one: the outer one is opened first and closed last.
function print_mapped(    i, j, n, best, last) {
    n = length(text)
    for (j = 0; j < count; j++) place[from[j]] = place[to[j]] = 1
    printf "int mutant_is(int, int, int); "
    for (i = 1; i <= n; i++) {
        if (i in place) {
            for (best = i; best > 0; best--) # close the shortest first
                for (j = count - 1; best in place && j >= 0; j--)
                    if (to[j] == i && from[j] == best && from[j] < to[j]) printf "%s", behind[j]
            for (best = n; best >= i; best--) # open the longest first
                for (j = 0; best in place && j < count; j++)
                    if (from[j] == i && to[j] == best) printf "%s", before[j]
        }
        printf "%s", substr(text, i, 1)
    }
    printf "#include \"%s\"\n", header
}

# ---- if: the branch is never taken, or always if the error branch is the one after else ----

function find_ifs(i, end,    p, a, b, body, after, kind, condition) {
    while (i < end && match(substr(code, i, end - i), /[^A-Za-z0-9_]if \(/)) {
        p = i + RSTART
        i = p + 3
        a = i
        b = close_of(a)
        condition = substr(text, a, b - a)
        after = statement_end(b)
        body = substr(code, b, after - b)
        kind = body ~ /[^A-Za-z0-9_](return|continue|break|die|exit|fail|_exit|die_cannot_listen|bad_usage)[^A-Za-z0-9_]/ ? "guard" : "branch"
        mutant(kind, a, b, "(" condition " && 0)", 0)
        if (substr(code, skip_blanks(after), 5) ~ /^else[ \n]/)
            mutant("else", a, b, "(" condition " || 1)", 0)
    }
}

# ---- A ? B : C: either is never chosen, if A tests for a failure ----

function find_choices(i, end,    a, b, condition) {
    for (; i < end; i++) {
        if (at(i) != "?") continue
        a = operand_start(i, "?")
        for (b = i; at(b - 1) ~ /[ \n]/;) b--
        condition = substr(text, a, b - a)
        if (condition !~ /(== -1|!= -1|== NULL|!= NULL|error|errno|accept_paused_until != 0|^watch\()/) continue
        mutant("false", a, b, "((" condition ") && 0)", 1)
        mutant("true", a, b, "((" condition ") || 1)", 1)
    }
}

# ---- A && B, A || B: an operand has no effect; if it has calls, they are still made ----

# The beginning of the expression to the left of the operator at i.
function operand_start(i, operator,    depth, c, j) {
    depth = 0
    for (j = i - 1; ; j--) {
        c = at(j)
        if (c ~ /[])}]/) depth++
        if (c ~ /[([{]/ && --depth < 0) break
        if (depth > 0) continue
        if (c ~ /[;,?:]/) break
        if (c == "=" && at(j - 1) !~ /[=!<>]/ && at(j + 1) != "=") break
        if (c == "n" && substr(code, j - 5, 6) == "return" && !is_word(at(j + 1))) break
        if (operator != "?" && (substr(code, j - 1, 2) == "||" || (operator == "&&" && substr(code, j - 1, 2) == "&&"))) break
    }
    return skip_blanks(j + 1)
}
# The position behind the expression to the right of the operator at i.
function operand_end(i, operator,    depth, c, j) {
    depth = 0
    for (j = i + 2; ; j++) {
        c = at(j)
        if (c ~ /[([{]/) depth++
        if (c ~ /[])}]/ && --depth < 0) break
        if (depth > 0) continue
        if (c ~ /[;,?:]/) break
        if (substr(code, j, 2) == "||" || (operator == "&&" && substr(code, j, 2) == "&&")) break
    }
    while (at(j - 1) ~ /[ \n]/) j--
    return j
}
function operand(a, b, operator,    what, neutral) {
    what = substr(text, a, b - a)
    neutral = operator == "&&" ? "1" : "0"
    if (operator == "||" && is_errno_test(what) && what ~ /==/) return # find_errnos() has it
    if (what ~ /[A-Za-z_]\(| = |\+\+|--/) neutral = "((void)(" what "), " neutral ")"
    mutant("operand", a, b, neutral, 1)
}
function find_operands(i, end,    operator, a, b, before) {
    for (; i < end; i++) {
        operator = substr(code, i, 2)
        if (operator != "&&" && operator != "||") continue
        a = operand_start(i, operator)
        for (b = i; at(b - 1) ~ /[ \n]/;) b--
        for (before = a - 1; at(before) ~ /[ \n]/;) before--
        # An operand that follows the same operator has been found as that one's right side.
        if (substr(code, before - 1, 2) != operator) operand(a, b, operator)
        operand(skip_blanks(i + 2), operand_end(i, operator), operator)
        i++
    }
}

# ---- errno: a value is not recognised ----

function is_errno_test(what) { return what ~ /^(errno|error|problem) (==|!=) (E[A-Z]+|EAI_[A-Z]+)$/ }
function find_errnos(start, end,    i, part, a, b) {
    for (i = start; match(part = substr(code, i, end - i), /(errno|error|problem) (==|!=) E[A-Z_]+/);) {
        a = i + RSTART - 1
        b = a + RLENGTH
        if (is_errno_test(substr(code, a, b - a)))
            mutant("errno", a, b, substr(code, a, b - a) ~ /==/ ? "0" : "1", 1)
        i = b
    }
    for (i = start; match(part = substr(code, i, end - i), /case E[A-Z]+:/);) {
        a = i + RSTART - 1
        b = a + RLENGTH
        mutant("errno", a, b, "", 0)
        i = b
    }
}

# ---- continue, return, break at the end of a block, and assignments of a constant ----

function find_jumps(i, end,    a, before) {
    while (match(substr(code, i, end - i), /[ \n](continue|return|break);/)) {
        a = i + RSTART
        i = a + RLENGTH - 1
        for (before = a - 1; at(before) ~ /[ \n]/;) before--
        if (at(before) ~ /[;}:]/) # and not the whole branch of an `if`, which find_ifs() has
            mutant(substr(code, a, RLENGTH - 2), a, i, ";", 0)
    }
}
function find_resets(i, end,    a, b, before, what) {
    for (a = i; a < end; a++) {
        if (at(a - 1) !~ /[ \n]/ || at(a) !~ /[*A-Za-z]/) continue
        for (before = a - 1; at(before) ~ /[ \n]/;) before--
        if (at(before) !~ /[;{}:)e]/ || (at(before) == "e" && substr(code, before - 3, 4) != "else")) continue
        b = index(substr(code, a, 200), ";") + a
        what = substr(text, a, b - a)
        if (what ~ /^[*A-Za-z_][][A-Za-z0-9_.>*-]*( = [A-Za-z_][][A-Za-z0-9_.>*-]*)* = (-?[01]|NULL|true|false|'.0'|\(struct [a-z_]+\)\{0\});$/ ||
            what ~ /^errno = (E[A-Z]+|error);$/ || what ~ /^FD_(CLR|ZERO)\(/)
            mutant("reset", a, b, ";", 0)
    }
}
