/* SPDX-License-Identifier: MIT */
/* Files that hooks append lines to. */
#include "reporter/file.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_MODE = 0640,
    WRITE_AT = 256 * 1024, /* bytes of waiting lines that leave before their batch is done */
    KEPT_MAX = 1024 * 1024 /* bytes of a buffer that is kept once nothing waits */
};

/* Waiting lines are buffer[begin, end), whole ones, each with its LF; buffer[begin, next) of the first was written. */
struct file {
    TAILQ_ENTRY(file) link;
    struct files *files;
    char *path;
    int fd; /* -1: could not be opened again */
    dev_t device;
    ino_t inode;
    off_t size;      /* of the file after a line was written in part */
    bool opened;     /* anew, and nothing written since: its last line may be torn */
    bool unsynced;   /* written, but not known to be on the disk */
    bool unlisted;   /* made, but not known to be in its folder on the disk */
    int64_t checked; /* boot-time clock: when the path was last looked at */
    char *buffer;
    size_t capacity, begin, next, end;
    unsigned long dropped;
    bool missed; /* a line was dropped since writing last succeeded */
    bool failing;
    struct error failure;
};

struct files {
    TAILQ_HEAD(, file) list;
    unsigned count;
};

struct files *files_new(void)
{
    struct files *files = memory_zeroed(sizeof *files);
    TAILQ_INIT(&files->list);
    signal(SIGXFSZ, SIG_IGN);
    return files;
}

void files_free(struct files **files)
{
    free(*files);
    *files = NULL;
}

static int fail(struct file *file, const char *what, int error)
{
    file->failing = true;
    return error_set(&file->failure, "%s%s", what, strerror(error));
}

/* Opens the file, or makes it; O_EXCL tells which, and so whose mode is ours to set. Another may make or delete it
 * between the two. */
static int open_or_make(const char *path, bool *made)
{
    const int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    for (int tries = 0; tries < 3; tries++) {
        int fd = open(path, flags);
        *made = false;
        if (fd >= 0 || errno != ENOENT)
            return fd;
        fd = open(path, flags | O_CREAT | O_EXCL, FILE_MODE);
        *made = true;
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

/* Opens `path` and says in *status what it is. -1 with `error`, which does not name it. */
static int open_checked(const char *path, bool *made, struct stat *status, struct error *error)
{
    int fd = open_or_make(path, made);
    if (fd < 0)
        return error_set(error, "%s", errno == ELOOP ? "it is a symbolic link" : strerror(errno));
    if (fstat(fd, status) != 0 || (*made && fchmod(fd, FILE_MODE) != 0))
        error_set(error, "%s", strerror(errno));
    else if (!S_ISREG(status->st_mode))
        error_set(error, "it is not a regular file");
    else
        return fd;
    close(fd);
    return -1;
}

static int open_path(struct file *file, struct error *error)
{
    struct stat status;
    bool made;
    file->checked = clock_boot();
    file->fd = open_checked(file->path, &made, &status, error);
    if (file->fd < 0)
        return -1;
    /* The same file again: what was written in part is still its end, and goes on there. */
    if (status.st_dev != file->device || status.st_ino != file->inode)
        file->size = -1;
    file->device = status.st_dev;
    file->inode = status.st_ino;
    file->opened = true;
    file->unlisted = file->unlisted || made;
    return 0;
}

static int reopen(struct file *file)
{
    struct error error;
    int old = file->fd;
    int result = open_path(file, &error);
    /* What was written counts as kept, so the disk must have it, wherever the file has been moved to. */
    if (old >= 0 && file->unsynced)
        (void)fdatasync(old);
    /* Not before: while it is open, no new file can have its inode number. */
    if (old >= 0)
        close(old);
    file->unsynced = false;
    if (result == 0)
        return 0;
    file->failing = true;
    return error_set(&file->failure, "cannot be opened again: %s", error.text);
}

/* Once a second, and not again before that when it fails; or at once. */
static int look_at_path(struct file *file, bool at_once, int64_t now)
{
    struct stat status;
    if (!at_once && now - file->checked < CLOCK_SECOND)
        return file->fd >= 0 ? 0 : -1;
    file->checked = now;
    if (file->fd >= 0 && lstat(file->path, &status) == 0 && status.st_dev == file->device &&
        status.st_ino == file->inode)
        return 0;
    return reopen(file);
}

/* Before the first write to an opened file, and before one that goes on with a line: unless the file ends with what we
 * wrote of that line, the line begins anew, behind an LF where another's is torn. */
static int resume(struct file *file)
{
    struct stat status;
    char last = '\n';
    if (!file->opened && file->next == file->begin)
        return 0;
    if (fstat(file->fd, &status) != 0)
        return fail(file, "", errno);
    if (file->next > file->begin && status.st_size == file->size)
        return 0;
    file->next = file->begin;
    if (status.st_size > 0 && pread(file->fd, &last, 1, status.st_size - 1) < 0)
        return fail(file, "", errno);
    if (last != '\n' && write(file->fd, "\n", 1) != 1)
        return fail(file, "", errno);
    return 0;
}

/* Counts `n` bytes as written, and notes where the first line begins that is not whole in the file. */
static void written(struct file *file, size_t n)
{
    file->opened = false;
    file->unsynced = true;
    char *from = file->buffer + file->next;
    char *line_end = memrchr(from, '\n', n);
    file->next += n;
    if (line_end != NULL)
        file->begin = (size_t)(line_end + 1 - file->buffer);
    if (file->begin < file->end)
        return;
    file->begin = file->next = file->end = 0;
    if (file->capacity > KEPT_MAX) {
        free(file->buffer);
        file->buffer = NULL;
        file->capacity = 0;
    }
}

static int write_waiting(struct file *file)
{
    struct stat status;
    if (file->end > 0 && resume(file) != 0)
        return -1;
    while (file->next < file->end) {
        ssize_t n = write(file->fd, file->buffer + file->next, file->end - file->next);
        if (n > 0)
            written(file, (size_t)n);
        else if (n == 0 || errno != EINTR)
            break;
    }
    if (file->next == file->end)
        return 0;
    int error = errno;
    if (file->next > file->begin)
        file->size = fstat(file->fd, &status) == 0 ? status.st_size : -1;
    return fail(file, "", error);
}

/* A file that is on the disk but in no folder there is lost with the power. */
static int sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    int fd = folder != NULL ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int result = fd >= 0 ? fsync(fd) : -1;
    int error = errno;
    free(folder);
    if (fd >= 0)
        close(fd);
    errno = error;
    return result;
}

static int sync_file(struct file *file)
{
    if (file->unsynced && fdatasync(file->fd) != 0)
        return fail(file, "", errno);
    file->unsynced = false;
    if (file->unlisted && sync_folder(file->path) != 0)
        return fail(file, "", errno);
    file->unlisted = false;
    return 0;
}

static int flush(struct file *file, bool sync, int64_t now)
{
    if (look_at_path(file, sync, now) != 0 || write_waiting(file) != 0 || (sync && sync_file(file) != 0))
        return -1;
    file->failing = file->missed = false;
    return 0;
}

int file_flush(struct file *file, bool sync, struct error *error)
{
    if (flush(file, sync, clock_boot()) == 0)
        return 0;
    return error_set(error, "%s", file->failure.text);
}

void files_flush(struct files *files)
{
    struct file *file;
    int64_t now = clock_boot();
    TAILQ_FOREACH(file, &files->list, link)
        (void)flush(file, false, now);
}

static bool file_takes(struct file *file)
{
    const bool missed = file->missed;
    return flush(file, true, clock_boot()) == 0 && !missed;
}

bool files_take(struct files *files, const char *path, bool sync)
{
    struct file *file;
    TAILQ_FOREACH(file, &files->list, link)
        if (strcmp(file->path, path) == 0)
            return sync ? file_takes(file) : !file->failing;
    return false;
}

static int flush_and_reopen(struct file *file)
{
    (void)flush(file, false, clock_boot());
    return reopen(file) == 0 ? flush(file, false, clock_boot()) : -1;
}

int file_reopen(struct file *file, struct error *error)
{
    if (flush_and_reopen(file) == 0)
        return 0;
    return error_set(error, "%s", file->failure.text);
}

void files_reopen(struct files *files)
{
    struct file *file;
    TAILQ_FOREACH(file, &files->list, link)
        (void)flush_and_reopen(file);
}

static bool already_open(const struct files *files, const struct file *file)
{
    const struct file *other;
    TAILQ_FOREACH(other, &files->list, link)
        if (strcmp(other->path, file->path) == 0 ||
            (other->fd >= 0 && file->fd >= 0 && other->device == file->device && other->inode == file->inode))
            return true;
    return false;
}

static int open_first(struct files *files, struct file *file, struct error *error)
{
    struct error why;
    if (file->path[0] != '/')
        return error_set(error, "%s: the path must be absolute", file->path);
    if (files->count >= FILES_MAX)
        return error_set(error, "%s: %d files are open already", file->path, FILES_MAX);
    if (already_open(files, file))
        return error_set(error, "%s: it is open already", file->path);
    if (open_path(file, &why) != 0)
        return error_set(error, "%s: %s", file->path, why.text);
    if (already_open(files, file))
        return error_set(error, "%s: it is open already, under another name", file->path);
    return 0;
}

static void destroy(struct file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    free(file->buffer);
    free(file->path);
    free(file);
}

struct file *file_open(struct files *files, const char *path, struct error *error)
{
    struct file *file = memory_zeroed(sizeof *file);
    file->files = files;
    file->fd = -1;
    file->size = -1;
    file->path = strdup(path);
    if (file->path == NULL)
        memory_exhausted();
    if (open_first(files, file, error) != 0) {
        destroy(file);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&files->list, file, link);
    files->count++;
    return file;
}

/* Makes room for `size` bytes behind the waiting lines. */
static int reserve(struct file *file, size_t size)
{
    if (file->capacity - file->end >= size)
        return 0;
    if (file->begin > 0) {
        memmove(file->buffer, file->buffer + file->begin, file->end - file->begin);
        file->next -= file->begin;
        file->end -= file->begin;
        file->begin = 0;
    }
    size_t capacity = file->capacity > 0 ? file->capacity : FILE_LINE_MAX;
    while (capacity - file->end < size)
        capacity *= 2;
    char *buffer = realloc(file->buffer, capacity);
    if (buffer == NULL)
        return -1;
    file->buffer = buffer;
    file->capacity = capacity;
    return 0;
}

int file_append(struct file *file, const char *line, size_t size, struct error *error)
{
    if (size > FILE_LINE_MAX)
        return error_set(error, "a line is at most %d bytes", FILE_LINE_MAX);
    if (memchr(line, '\n', size) != NULL)
        return error_set(error, "a line holds no line feed");
    if (file->end - file->begin + size + 1 > FILE_WAITING_MAX || reserve(file, size + 1) != 0) {
        file->dropped++;
        file->missed = true;
        return error_set(error, "%s", file->failing ? file->failure.text : "too much waits to be written");
    }
    memcpy(file->buffer + file->end, line, size);
    file->buffer[file->end + size] = '\n';
    file->end += size + 1;
    if (file->end - file->begin >= WRITE_AT && !file->failing)
        (void)flush(file, false, clock_boot());
    return 0;
}

const char *file_failure(const struct file *file)
{
    return file->failing ? file->failure.text : NULL;
}

unsigned long file_dropped(struct file *file)
{
    unsigned long dropped = file->dropped;
    file->dropped = 0;
    return dropped;
}

void file_close(struct file **file)
{
    if (*file == NULL)
        return;
    (void)flush(*file, false, clock_boot());
    TAILQ_REMOVE(&(*file)->files->list, *file, link);
    (*file)->files->count--;
    destroy(*file);
    *file = NULL;
}
