/* Parsing the format files of tracefs, which say where each value of this kernel's events is. */
#include "trace.h"

unsigned format_number(const char *text, const char *label)
{
    const char *found = strstr(text, label);

    return found != NULL ? (unsigned)strtoul(found + strlen(label), NULL, 10) : 0;
}

/* Whether a line such as "	field:int fd;	offset:16; ..." declares this field.  The name is
 * the last word before the semicolon or before the size of an array. */
static bool declares(const char *line, const char *name)
{
    const char *end = strchr(line, ';');
    size_t length = strlen(name);

    if (strncmp(line, "\tfield:", 7) != 0 || end == NULL)
        return false;
    const char *bracket = memchr(line, '[', (size_t)(end - line));
    if (bracket != NULL && bracket[1] != ']')
        end = bracket;
    return (size_t)(end - line) > length && strncmp(end - length, name, length) == 0 &&
           *(end - length - 1) == ' ';
}

bool format_parse_event(char *text, const struct event_type *type, struct event_format *format)
{
    char *rest = NULL;

    *format = (struct event_format){0};
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "ID: ", 4) == 0)
            format->id = (unsigned)strtoul(line + 4, NULL, 10);
        for (unsigned i = 0; i < MAX_FIELDS && type->field[i].name != NULL; i++)
            if (declares(line, type->field[i].name) && format->places < MAX_FIELDS)
                format->place[format->places++] =
                    (struct place){.offset = format_number(line, "offset:"),
                                   .size = format_number(line, "size:"),
                                   .slot = type->field[i].slot,
                                   .is_signed = format_number(line, "signed:") == 1,
                                   .is_data_loc = strncmp(line, "\tfield:__data_loc", 17) == 0};
    }
    return format->id != 0;
}

bool format_parse_page(const char *text, struct page_format *format)
{
    const char *commit = strstr(text, " commit;"), *data = strstr(text, " data;");

    *format = (struct page_format){0};
    if (commit == NULL || data == NULL)
        return false;
    format->commit_size = format_number(commit, "size:");
    format->data_offset = format_number(data, "offset:");
    format->page_size = format->data_offset + format_number(data, "size:");
    return (format->commit_size == 4 || format->commit_size == 8) && format->data_offset >= 12 &&
           format->page_size > format->data_offset;
}
