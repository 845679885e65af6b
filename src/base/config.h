/* SPDX-License-Identifier: MIT */
/* The configuration: read once into a struct that is constant afterwards. One table in config.c is the whole truth
 * about the options; tokenkeepd.conf(5) and conf/tokenkeepd.conf are checked against it. Secrets are never in here,
 * only the paths of the files that hold them. */
#ifndef TK_BASE_CONFIG_H
#define TK_BASE_CONFIG_H

#include "base/error.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum role { ROLE_VERIFY, ROLE_MANAGE };

enum audit_mode { AUDIT_BEST_EFFORT, AUDIT_REQUIRED };

enum {
    CONFIG_LISTENERS_MAX = 16,
    CONFIG_HOOKS_MAX = 16,
    CONFIG_POLICIES_MAX = 16,
    CONFIG_SETTINGS_MAX = 64, /* of one hook */
    CONFIG_WORKERS_MAX = 256,
    CONFIG_PREFIX_MAX = 64, /* bytes of redis.prefix */
    CONFIG_SENTINELS_MAX = 16,
    CONFIG_HOST_MAX = 253,       /* bytes of a machine's name */
    CONFIG_APPLICATION_MAX = 64, /* bytes of slack.application */
};

struct config_listener {
    char *name;    /* the section's title */
    char *address; /* "127.0.0.1:7117", "[::1]:7117", "*:7117", "unix:/path"; syntax checked, not resolved */
    enum role role;
    mode_t mode; /* of a unix socket; default 0660 */
    char *owner; /* of a unix socket: user and group names; NULL: left alone */
    char *group;
    unsigned max_connections; /* over all workers */
    unsigned line;            /* of the configuration, for messages */
};

enum config_tls_version { CONFIG_TLS_1_2, CONFIG_TLS_1_3 };

/* How to be sure of a server, and show it who we are. */
struct config_tls {
    char *ca;               /* the file or folder with the CAs that are trusted; NULL: the system's */
    char *certificate_file; /* ours, with what lies between it and the CA; NULL: none, and no key_file either */
    char *key_file;
    char *server_name; /* that the server's certificate must be for; NULL: the one that we connect to */
    enum config_tls_version minimum_version;
};

enum config_redis_kind { CONFIG_REDIS_TCP, CONFIG_REDIS_UNIX, CONFIG_REDIS_PRIVATE, CONFIG_REDIS_SENTINEL };

/* A machine's name or address, without brackets, and a TCP port. */
struct config_host {
    char *name;
    uint16_t port;
};

struct config_redis {
    enum config_redis_kind kind;
    char *url;  /* as written; carries no password, that is refused */
    char *host; /* CONFIG_REDIS_TCP: name or address, without brackets */
    uint16_t port;
    size_t n_sentinels; /* CONFIG_REDIS_SENTINEL: at least one */
    struct config_host sentinels[CONFIG_SENTINELS_MAX];
    char *master_name; /* what Sentinel calls the master */
    char *path;        /* CONFIG_REDIS_UNIX and _PRIVATE: the socket's path */
    char *directory;   /* CONFIG_REDIS_PRIVATE: the folder the server lives in */
    unsigned database;
    bool encrypted; /* CONFIG_REDIS_TCP: over TLS, as `tls` says */
    struct config_tls tls;
    char *prefix;                /* of token keys */
    char *username;              /* NULL: the default user */
    char *password_file;         /* NULL: no AUTH */
    double connect_timeout;      /* seconds, names, connection, AUTH and all */
    double command_timeout;      /* seconds from sending to the answer */
    unsigned min_replicas_acked; /* a change is made when so many replicas have it; 0: when the master has */
};

struct config_setting {
    char *name;
    char *value;
};

/* A script with its settings, which mean nothing to the server. */
struct config_script {
    char *name; /* the section's title */
    char *path; /* where the file was found, absolute */
    size_t n_settings;
    struct config_setting *settings;
    bool shadow;   /* a policy whose verdicts have no effect */
    unsigned line; /* of the configuration, for messages; 0: not from a file */
};

struct config {
    char *file; /* where it was read, NULL with --state */
    unsigned workers;
    char *user;    /* NULL: nobody changes user */
    char *keyring; /* path */
    enum log_level log_level;
    enum log_format log_format;
    size_t max_line;       /* bytes, without the line's end */
    unsigned max_inflight; /* requests of one worker that wait on Redis */
    double idle_timeout;   /* seconds, as are all that follow */
    double request_timeout;
    double write_timeout;
    double drain_timeout; /* how long a worker that is being replaced keeps its busy connections */
    size_t n_listeners;
    struct config_listener listeners[CONFIG_LISTENERS_MAX];
    struct config_redis redis;
    size_t cache_bytes; /* a worker's */
    size_t cache_entries;
    size_t cache_negative_entries;
    double cache_ttl;
    double cache_negative_ttl;
    double cache_stale_on_error;
    char *audit_file; /* NULL: none */
    enum audit_mode audit_mode;
    bool audit_reads;
    char *slack_webhook_file;    /* path; NULL: none */
    char *slack_application;     /* what messages call this server */
    double slack_group_interval; /* seconds */
    size_t n_hooks;              /* in the order of the file */
    struct config_script hooks[CONFIG_HOOKS_MAX];
    size_t n_policies; /* in the order of the file */
    struct config_script policies[CONFIG_POLICIES_MAX];
};

/* Reads and checks the file at `path`, and finds the scripts that it names. NULL on failure; `error` then reads
 * "FILE:LINE: what is wrong". What is right and of no effect is logged as warnings when `warn` is true. The caller owns
 * the result. */
struct config *config_load(const char *path, bool warn, struct error *error) __attribute__((warn_unused_result));

/* What `tokenkeepd --state DIR` serves, with no file: a private Redis in `directory`, DIR/keyring, DIR/admin.sock
 * (manage), `listen` (verify; NULL: 127.0.0.1:7117) and the installed hook audit.lua, which writes DIR/audit.log.
 * `directory` is made absolute. NULL on failure, with `error` set. */
struct config *config_for_state(const char *directory, const char *listen, struct error *error)
    __attribute__((warn_unused_result));

/* Frees *config and sets it to NULL; a NULL *config is left alone. */
void config_free(struct config **config);

#endif
