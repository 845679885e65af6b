/* SPDX-License-Identifier: MIT */
/* The table of options, and the steps that a configuration is built in: for config.c, config_file.c, and the client,
 * which makes one to try a policy. */
#ifndef TK_BASE_CONFIG_OPTIONS_H
#define TK_BASE_CONFIG_OPTIONS_H

#include "base/config.h"
#include "base/error.h"

#include <stddef.h>

enum config_type {
    TYPE_COUNT,     /* unsigned; a whole number within the bounds */
    TYPE_SIZE,      /* size_t; the same */
    TYPE_SECONDS,   /* double; within the bounds */
    TYPE_MODE,      /* mode_t; octal */
    TYPE_BOOLEAN,   /* bool */
    TYPE_CHOICE,    /* unsigned; the place of the word in `choices` */
    TYPE_EITHER,    /* bool; whether it is the second of the two words in `choices` */
    TYPE_PRINTABLE, /* char *; its size in bytes within the bounds */
    TYPE_USER,      /* char *; the same, for redis.username, which the URL may have set */
    TYPE_ACCOUNT,   /* char *; a user or group of this system */
    TYPE_PATH,      /* char *; made absolute */
    TYPE_ADDRESS,   /* char *; of a listener */
    TYPE_HOST,      /* char *; the name or address of a machine */
    TYPE_URL,       /* struct config_redis */
};

struct config_option {
    const char *section; /* "": top level */
    const char *name;
    enum config_type type;
    size_t place; /* in struct config; of section "listener" in struct config_listener, of "policy" in config_script */
    double minimum, maximum;
    const char *choices;  /* of TYPE_CHOICE and TYPE_EITHER: words between bars, in the order of the enum */
    const char *fallback; /* the value when it is not given; in parentheses: no value but what that means */
    const char *help;
};

/* All options, section by section; the last has no section. */
extern const struct config_option config_options[];

/* Reads a value into its place in the struct config, config_listener or config_script at `base`; relative paths are
 * taken from `folder`. Returns 0, or -1 with `reason` saying what is wrong with the value, without file, line and name.
 */
int config_option_store(const struct config_option *option, void *base, const char *value, const char *folder,
                        struct error *reason) __attribute__((warn_unused_result));

/* A configuration of defaults, without listeners. NULL with `error` set when there is no memory; the caller owns it. */
struct config *config_new(struct error *error) __attribute__((warn_unused_result));

/* A further listener with defaults and no address; `config` owns it. NULL with `reason` set when it has too many. */
struct config_listener *config_listener_add(struct config *config, const char *name, unsigned line,
                                            struct error *reason) __attribute__((warn_unused_result));

/* The listener of that name, or NULL. */
struct config_listener *config_listener_find(struct config *config, const char *name);

/* Checks what concerns a listener as a whole and those before it; its address has been read. Returns 0, or -1 with
 * `reason`. */
int config_listener_check(const struct config *config, const struct config_listener *listener, struct error *reason)
    __attribute__((warn_unused_result));

/* A further hook, `title` in the file and found at `path`, without settings; `config` owns it and copies what it is
 * given. NULL with `reason` set when there are too many. */
struct config_script *config_hook_add(struct config *config, const char *title, const char *path, unsigned line,
                                      struct error *reason) __attribute__((warn_unused_result));

/* The same of a policy, which enforces what it says. */
struct config_script *config_policy_add(struct config *config, const char *title, const char *path, unsigned line,
                                        struct error *reason) __attribute__((warn_unused_result));

/* A further setting of a script, copied. Returns 0, or -1 with `reason` set when it has too many. */
int config_setting_add(struct config_script *script, const char *name, const char *value, struct error *reason)
    __attribute__((warn_unused_result));

#endif
