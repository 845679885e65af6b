/* SPDX-License-Identifier: MIT */
/* Where the files of scripts are. */
#include "base/script.h"

#include "base/config_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *script_installed_folder = LUADIR;

/* All but FOUND come with an error. */
enum found { FOUND, NOT_THERE, UNUSABLE };

static enum found check_file(const char *path, struct error *error)
{
    struct stat file;
    const int status = stat(path, &file);
    if (status != 0 && errno == ENOENT) {
        error_set(error, "there is no file %s; put the script there, or correct the title", path);
        return NOT_THERE;
    }
    if (status != 0 || access(path, R_OK) != 0) {
        error_set(error, "the script %s cannot be read: %s", path, strerror(errno));
        return UNUSABLE;
    }
    /* A pipe would keep its reader waiting, a device might never end. */
    if (!S_ISREG(file.st_mode)) {
        error_set(error, "%s is not a file but a folder or a device; give the file of a script", path);
        return UNUSABLE;
    }
    return FOUND;
}

static enum found look(const char *title, const char *folder, char **path, struct error *error)
{
    struct error reason;
    char *candidate = NULL;
    if (value_path(title, folder, &candidate, &reason) != 0) {
        error_set(error, "the title is not the file of a script: %s", reason.text);
        return UNUSABLE;
    }
    const enum found found = check_file(candidate, error);
    if (found == FOUND)
        *path = candidate;
    else
        free(candidate);
    return found;
}

int script_find(const char *title, const char *folder, char **path, struct error *error)
{
    enum found found = look(title, folder, path, error);
    if (found == NOT_THERE && strchr(title, '/') == NULL) {
        found = look(title, script_installed_folder, path, error);
        if (found == NOT_THERE)
            error_set(error, "there is no script \"%s\" in %s nor in %s; put it into one of them, or correct the title",
                      title, folder, script_installed_folder);
    }
    return found == FOUND ? 0 : -1;
}

int script_find_installed(const char *name, char **path, struct error *error)
{
    const enum found found = look(name, script_installed_folder, path, error);
    if (found == NOT_THERE)
        error_set(error, "the script %s, which is installed with tokenkeep, is missing in %s; install tokenkeep again",
                  name, script_installed_folder);
    return found == FOUND ? 0 : -1;
}
