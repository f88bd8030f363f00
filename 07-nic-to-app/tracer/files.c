/* Small files and folders, of /proc and tracefs. */
#include "trace.h"

#define PATH_SIZE 600

/* Declare `path`, which is filled in as by printf(). */
#define FILL_PATH(format)                                                                          \
    char path[PATH_SIZE];                                                                          \
    va_list values;                                                                                \
    va_start(values, format);                                                                      \
    vsnprintf(path, sizeof path, format, values);                                                  \
    va_end(values)

void file_close(int fd)
{
    int error = errno;

    if (fd != -1)
        close(fd);
    errno = error;
}

bool file_read(char *text, size_t size, const char *format, ...)
{
    FILL_PATH(format);
    size_t length = 0;
    ssize_t got = 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    while (fd != -1 && got > 0 && length < size - 1) {
        got = read(fd, text + length, size - 1 - length);
        length += got > 0 ? (size_t)got : 0;
    }
    text[length] = '\0';
    file_close(fd);
    return fd != -1 && got >= 0;
}

/* With O_TRUNC, a write to kprobe_events would remove all existing probes. */
bool file_write(const char *text, const char *format, ...)
{
    FILL_PATH(format);
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    bool done = fd != -1 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    file_close(fd);
    return done;
}

DIR *folder_open(const char *format, ...)
{
    FILL_PATH(format);
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
