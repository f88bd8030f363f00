/* Small files and folders, of /proc and tracefs. */
#define _GNU_SOURCE

#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 600

static int open_file(int flags, const char *format, va_list values)
{
    char path[PATH_SIZE];

    vsnprintf(path, sizeof path, format, values);
    return open(path, flags | O_CLOEXEC);
}

bool file_read(char *text, size_t size, const char *format, ...)
{
    va_list values;
    size_t length = 0;
    ssize_t got = 1;

    va_start(values, format);
    int fd = open_file(O_RDONLY, format, values);
    va_end(values);
    while (fd != -1 && got > 0 && length < size - 1) {
        got = read(fd, text + length, size - 1 - length);
        length += got > 0 ? (size_t)got : 0;
    }
    text[length] = '\0';
    if (fd != -1)
        close(fd);
    return fd != -1 && got >= 0;
}

/* With O_TRUNC, a write to kprobe_events would remove all existing probes. */
bool file_write(const char *text, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    int fd = open_file(O_WRONLY | O_APPEND, format, values);
    va_end(values);
    bool done = fd != -1 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    int error = errno;
    if (fd != -1)
        close(fd);
    errno = error;
    return done;
}

DIR *folder_open(const char *format, ...)
{
    char path[PATH_SIZE];
    va_list values;

    va_start(values, format);
    vsnprintf(path, sizeof path, format, values);
    va_end(values);
    return opendir(path);
}

const char *folder_next(DIR *folder)
{
    const struct dirent *entry = NULL;

    while (folder != NULL && (entry = readdir(folder)) != NULL && entry->d_name[0] == '.')
        continue;
    if (folder != NULL && entry == NULL)
        closedir(folder);
    return entry != NULL ? entry->d_name : NULL;
}
