/* SPDX-License-Identifier: MIT */
/* Where the files of scripts are: beside the configuration that names them, or where tokenkeep installs its own. */
#ifndef TK_BASE_SCRIPT_H
#define TK_BASE_SCRIPT_H

#include "base/error.h"

/* The folder of the installed scripts, LUADIR; unit tests, which run before anything is installed, set another. */
extern const char *script_installed_folder;

/* Finds the file of a script that a configuration in `folder`, which is absolute, names: a title without a slash in
 * that folder, then among the installed scripts; one with a slash is a path, a relative one taken from `folder`. The
 * first that is there must be a regular file that the caller can read. Returns 0, and the caller owns *path, which is
 * absolute; or -1 with `error` saying where was looked and what to do. */
int script_find(const char *title, const char *folder, char **path, struct error *error)
    __attribute__((warn_unused_result));

/* The same, of an installed script alone: `name` has no slash. */
int script_find_installed(const char *name, char **path, struct error *error) __attribute__((warn_unused_result));

#endif
