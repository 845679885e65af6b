/* SPDX-License-Identifier: MIT */
/* Files that hold secrets. */
#include "base/secret_file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_checked(const char *path, const char *what, struct error *error)
{
    /* A FIFO would wait for its writer; O_NONBLOCK, which a regular file ignores, lets fstat see what it is. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return error_set(error, "%s: cannot open the %s: %s", path, what, strerror(errno));
    struct stat status;
    if (fstat(fd, &status) != 0)
        error_set(error, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(status.st_mode))
        error_set(error, "%s: the %s must be a regular file", path, what);
    else if ((status.st_mode & 0027) != 0)
        error_set(error, "%s: others can use the %s or its group can write it (mode %04o): chmod 0640 %s", path, what,
                  (unsigned)(status.st_mode & 07777), path);
    else
        return fd;
    close(fd);
    return -1;
}

ssize_t secret_file_read(const char *path, const char *what, char *text, size_t size, struct error *error)
{
    int fd = open_checked(path, what, error);
    if (fd < 0)
        return -1;
    size_t held = 0;
    ssize_t got;
    do {
        got = read(fd, text + held, size + 1 - held);
        if (got > 0)
            held += (size_t)got;
    } while (got > 0 || (got < 0 && errno == EINTR));
    if (got < 0)
        error_set(error, "%s: cannot read the %s: %s", path, what, strerror(errno));
    close(fd);
    if (got < 0)
        return -1;
    if (held > size)
        return error_set(error, "%s: a %s is at most %zu bytes", path, what, size);
    return (ssize_t)held;
}

char *secret_file_line(const char *path, const char *what, size_t size, struct error *error)
{
    char *line = sodium_malloc(size + 1);
    if (line == NULL)
        memory_exhausted();
    const ssize_t read = secret_file_read(path, what, line, size, error);
    if (read >= 0) {
        line[read] = '\0';
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] != '\0')
            return line;
        error_set(error, "%s: the %s is the first line, and that is empty", path, what);
    }
    sodium_free(line);
    return NULL;
}
