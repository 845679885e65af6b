/* SPDX-License-Identifier: MIT */
/* What tests of the configuration share: a temporary folder that they run in, and loading a text as a file there. */
#ifndef TK_TESTS_CONFIG_FILES_H
#define TK_TESTS_CONFIG_FILES_H

#include "base/config.h"
#include "base/script.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FILE_NAME "t.conf"
#define LISTENER  "listener a { address = 127.0.0.1:7117 }\n"

/* Every option, none at its default. */
static const char everything[] =
    "workers = 3 user = \"nobody\"  // two on a line\n"
    "keyring = 'keys/ring'\n"
    "max-line = 256\r\n"
    "max-inflight=1\n"
    "idle-timeout = 0.001\n"
    "request-timeout = 2.5\n"
    "write-timeout = 31536000\n"
    "drain-timeout = \"7\"\n"
    "/* a comment\n over lines */ log { level = debug format = json }\n"
    "listener \"first\" { address = \"*:1\" max-connections = 1 }\n"
    "listener second\n"
    "{\n"
    "    # socket\n"
    "    address = unix:/run/a.sock\n"
    "    role = \"manage\" mode = 600\n"
    "    owner = root\n"
    "    group = www-data\n"
    "}\n"
    "listener third { address = \"[::1]:2\" role = manage }\n"
    "redis {\n"
    "    url = redis://h.example.org:7/9\n"
    "    prefix = \"a%{}'~\"\n"
    "    username = \"b@b\"\n"
    "    password-file = /etc/password\n"
    "    connect-timeout = 0.25\n"
    "    command-timeout = 00.50\n"
    "}\n"
    "cache { bytes = 0 entries = 7 negative-entries = 0 ttl = 0 negative-ttl = 0.0 stale-on-error = 300 }\n"
    "audit { file = a.log mode = best-effort reads = On }\n"
    "slack { webhook-file = hook application = \"o'k\" group-interval = 1.5 }\n"
    "hook \"audit.lua\" { anything = \"goes here\" url = 'x' anything-else = 4 }\n"
    "hook other.lua { anything = \"\\\"quoted\\\" \\$\\\\\" }\n"
    "policy other.lua { window = 60 mode = shadow Mode = 'x' }\n"
    "policy \"policy.lua\"\n{ mode = \"enforce\" }\n";

static char here[PATH_MAX];          /* the temporary folder that the tests run in */
static char installed[PATH_MAX + 4]; /* the folder lua in it */
static char source[PATH_MAX];        /* the folder of the source */

/* Writes a file in the temporary folder. */
static inline void write_file(const char *name, const char *bytes, size_t size)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline void write_script(const char *name)
{
    static const char script[] = "return {}\n";
    write_file(name, script, sizeof script - 1);
}

/* Loads a text as FILE_NAME. */
static inline struct config *load(const char *text, struct error *error)
{
    write_file(FILE_NAME, text, strlen(text));
    error->text[0] = '\0';
    return config_load(FILE_NAME, false, error);
}

static inline struct config *load_good(const char *text)
{
    struct error error;
    struct config *config = load(text, &error);
    assert_string_equal(error.text, "");
    assert_non_null(config);
    return config;
}

/* The absolute path of a name in the temporary folder. */
static inline const char *in_folder(const char *name)
{
    static char path[PATH_MAX + 256];
    snprintf(path, sizeof path, "%s/%s", here, name);
    return path;
}

/* Asserts that loading failed with this error. */
static inline void assert_error(struct config *config, const struct error *error, const char *expected)
{
    if (config != NULL || strcmp(error->text, expected) != 0)
        print_error("expected: %s\n     got: %s\n", expected, config != NULL ? "(it loads)" : error->text);
    config_free(&config);
    assert_string_equal(error->text, expected);
}

/* For cmocka: the folder, with a script and a folder lua of installed ones, and the environment. */
static inline int set_up(void **state)
{
    (void)state;
    const char *srcdir = getenv("srcdir"), *temporary = getenv("TMPDIR");
    if (realpath(srcdir != NULL ? srcdir : ".", source) == NULL)
        return -1;
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s/tokenkeep-config-XXXXXX", temporary != NULL ? temporary : "/tmp");
    if (mkdtemp(folder) == NULL || chdir(folder) != 0 || getcwd(here, sizeof here) == NULL)
        return -1;
    snprintf(installed, sizeof installed, "%s/lua", here);
    script_installed_folder = installed;
    if (mkdir(installed, 0700) != 0)
        return -1;
    write_script("lua/audit.lua");
    write_script("lua/slack.lua");
    write_script("other.lua");
    write_script("policy.lua");
    setenv("TK_TEST_WORKERS", "7", 1);
    setenv("TK_TEST_CONTROL", "a\nb", 1);
    unsetenv("TK_TEST_UNSET");
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    static const char *const left[] = {FILE_NAME, "stderr",        "fifo",          "secret.conf", "sub/s.conf",
                                       "file",    "lua/audit.lua", "lua/slack.lua", "other.lua",   "policy.lua"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        if (unlink(left[i]) != 0 && errno != ENOENT)
            return -1;
    rmdir("sub");
    rmdir("there");
    rmdir("lua");
    return rmdir(here);
}

#endif
