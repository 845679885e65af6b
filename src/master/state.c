/* SPDX-License-Identifier: MIT */
/* Folders that the master keeps for others, and the first keyring. */
#include "master/state.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_SIZE = 32, KEY_LINE_SIZE = sodium_base64_ENCODED_LEN(KEY_SIZE, sodium_base64_VARIANT_ORIGINAL) };

static int owner_find(const char *user, uid_t *owner, gid_t *group, struct error *error)
{
    *owner = geteuid();
    *group = getegid();
    if (user == NULL || geteuid() != 0)
        return 0;
    const struct passwd *entry = getpwnam(user);
    if (entry == NULL)
        return error_set(error, "there is no user \"%s\"", user);
    *owner = entry->pw_uid;
    *group = entry->pw_gid;
    return 0;
}

static int directory_check(const char *path, uid_t owner, struct error *error)
{
    struct stat folder;
    if (stat(path, &folder) != 0)
        return error_set(error, "cannot use the folder %s: %s", path, strerror(errno));
    if (!S_ISDIR(folder.st_mode))
        return error_set(error, "%s is not a folder", path);
    if (folder.st_uid != owner)
        return error_set(error, "the folder %s belongs to user id %lu and must belong to %lu", path,
                         (unsigned long)folder.st_uid, (unsigned long)owner);
    if ((folder.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return error_set(error, "the folder %s can be written by others; try: chmod go-w %s", path, path);
    return 0;
}

int state_directory_ready(const char *path, const char *user, bool make, struct error *error)
{
    uid_t owner;
    gid_t group;
    if (owner_find(user, &owner, &group, error) != 0)
        return -1;
    if (make && mkdir(path, 0700) == 0) {
        if (owner != geteuid() && lchown(path, owner, group) != 0)
            return error_set(error, "cannot give the folder %s to its user: %s", path, strerror(errno));
    } else if (make && errno != EEXIST) {
        return error_set(error, "cannot make the folder %s: %s", path, strerror(errno));
    }
    if (!make && access(path, F_OK) != 0 && errno == ENOENT)
        return 0;
    return directory_check(path, owner, error);
}

static int write_synced(int fd, const char *line, size_t size)
{
    const ssize_t n = write(fd, line, size);
    if (n >= 0 && (size_t)n < size)
        errno = ENOSPC;
    return n == (ssize_t)size && fsync(fd) == 0 ? 0 : -1;
}

static int key_line_write(int fd)
{
    unsigned char key[KEY_SIZE];
    char line[KEY_LINE_SIZE + 1];
    randombytes_buf(key, sizeof key);
    sodium_bin2base64(line, KEY_LINE_SIZE, key, sizeof key, sodium_base64_VARIANT_ORIGINAL);
    line[KEY_LINE_SIZE - 1] = '\n';
    const int result = write_synced(fd, line, KEY_LINE_SIZE);
    sodium_memzero(key, sizeof key);
    sodium_memzero(line, sizeof line);
    return result;
}

static void directory_sync(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fsync(fd) != 0)
        log_warning("cannot sync the folder %s: %s", path, strerror(errno));
    close(fd);
}

/* Written beside, then linked: link() never replaces, and a crash leaves no half keyring. */
static int keyring_make(const char *path, const char *beside, struct error *error)
{
    if (unlink(beside) != 0 && errno != ENOENT)
        return error_set(error, "cannot remove %s: %s", beside, strerror(errno));
    const int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(error, "cannot make %s: %s", beside, strerror(errno));
    int result = key_line_write(fd);
    if (result == 0)
        result = link(beside, path);
    if (result != 0)
        error_set(error, "cannot make the keyring %s: %s", path, strerror(errno));
    close(fd);
    unlink(beside);
    return result;
}

int state_keyring_ready(const char *path, const char *directory, struct error *error)
{
    char beside[PATH_MAX], stored[PATH_MAX];
    struct stat file;
    if (lstat(path, &file) == 0)
        return 0;
    if (errno != ENOENT)
        return error_set(error, "cannot use the keyring %s: %s", path, strerror(errno));
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside ||
        snprintf(stored, sizeof stored, "%s/appendonlydir", directory) >= (int)sizeof stored)
        return error_set(error, "the path %s is too long", path);
    if (lstat(stored, &file) == 0)
        return error_set(
            error, "%s holds stored tokens, but their keyring %s is gone: put it back, or remove %s to start anew",
            directory, path, stored);
    if (keyring_make(path, beside, error) != 0)
        return -1;
    directory_sync(directory);
    log_info("made the keyring %s", path);
    return 0;
}
