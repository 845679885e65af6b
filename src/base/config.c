/* SPDX-License-Identifier: MIT */
/* The configuration: the table of options, their values and defaults, what listeners may be, hooks and policies. */
#include "base/config.h"

#include "base/address.h"
#include "base/config_options.h"
#include "base/config_value.h"
#include "base/redis_url.h"
#include "base/script.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The place of a member, which must be of the type. */
#define PLACE(structure, member, type) \
    (offsetof(struct structure, member) + 0 * sizeof(_Generic(((struct structure *)NULL)->member, type : 0)))
#define IN_CONFIG(member, type)   PLACE(config, member, type)
#define IN_LISTENER(member, type) PLACE(config_listener, member, type)
#define IN_SCRIPT(member, type)   PLACE(config_script, member, type)

#define SHORTEST  0.001
#define DAY       86400.0
#define YEAR      31536000.0
#define STALE_MAX 300.0
#define REDIS_MAX 20.0 /* a change that waits for Redis as long as may be is still young in the index by user */
#define TERABYTE  1099511627776.0

/* The whole truth about options. Whoever adds a row describes it in docs/tokenkeepd.conf.5 and conf/tokenkeepd.conf,
 * and tests/lint/options, which reads these rows, sees to it. */
/* Where a row breaks has a meaning: its default begins the second line. */
/* clang-format off */
const struct config_option config_options[] = {
    {"", "workers", TYPE_COUNT, IN_CONFIG(workers, unsigned), 1, CONFIG_WORKERS_MAX, NULL,
     "(the number of processors online)", "how many worker processes answer requests"},
    {"", "user", TYPE_ACCOUNT, IN_CONFIG(user, char *), 0, 0, NULL,
     "(none)", "the user that workers and reporter become when the server is started as root"},
    {"", "keyring", TYPE_PATH, IN_CONFIG(keyring, char *), 0, 0, NULL,
     SYSCONFDIR "/tokenkeep/keyring", "the file with the keys that stored values are encrypted with"},
    {"", "max-line", TYPE_SIZE, IN_CONFIG(max_line, size_t), 256, 1048576, NULL,
     "65536", "the longest request, in bytes without the end of the line"},
    {"", "max-inflight", TYPE_COUNT, IN_CONFIG(max_inflight, unsigned), 1, 1000000, NULL,
     "16384", "how many requests of one worker may wait on Redis"},
    {"", "idle-timeout", TYPE_SECONDS, IN_CONFIG(idle_timeout, double), SHORTEST, YEAR, NULL,
     "600", "seconds that a client may be silent between requests"},
    {"", "request-timeout", TYPE_SECONDS, IN_CONFIG(request_timeout, double), SHORTEST, YEAR, NULL,
     "10", "seconds from the first byte of a request to its last"},
    {"", "write-timeout", TYPE_SECONDS, IN_CONFIG(write_timeout, double), SHORTEST, YEAR, NULL,
     "30", "seconds that answers may wait for a client to read them"},
    {"", "drain-timeout", TYPE_SECONDS, IN_CONFIG(drain_timeout, double), SHORTEST, YEAR, NULL,
     "30", "seconds that a worker being replaced keeps busy connections"},

    {"log", "level", TYPE_CHOICE, IN_CONFIG(log_level, unsigned), 0, 0, "error|warning|info|debug",
     "info", "the least grave lines that are logged"},
    {"log", "format", TYPE_CHOICE, IN_CONFIG(log_format, unsigned), 0, 0, "text|json",
     "text", "how a line of the log is written"},

    {"listener", "address", TYPE_ADDRESS, IN_LISTENER(address, char *), 0, 0, NULL,
     "(none, it is required)", "where clients connect"},
    {"listener", "role", TYPE_CHOICE, IN_LISTENER(role, unsigned), 0, 0, "verify|manage",
     "verify", "what clients of this listener may do"},
    {"listener", "mode", TYPE_MODE, IN_LISTENER(mode, mode_t), 0, 0777, NULL,
     "0660", "permissions of a unix socket, in octal"},
    {"listener", "owner", TYPE_ACCOUNT, IN_LISTENER(owner, char *), 0, 0, NULL,
     "(unchanged)", "the user that owns a unix socket"},
    {"listener", "group", TYPE_ACCOUNT, IN_LISTENER(group, char *), 0, 0, NULL,
     "(unchanged)", "the group of a unix socket"},
    {"listener", "max-connections", TYPE_COUNT, IN_LISTENER(max_connections, unsigned), 1, 1000000, NULL,
     "20000", "how many clients may be connected at once, over all workers"},

    {"redis", "url", TYPE_URL, offsetof(struct config, redis), 0, 0, NULL,
     "redis://127.0.0.1:6379/0", "where Redis is"},
    {"redis", "prefix", TYPE_PRINTABLE, IN_CONFIG(redis.prefix, char *), 0, CONFIG_PREFIX_MAX, NULL,
     "token:", "what the name of every Redis key begins with"},
    {"redis", "username", TYPE_USER, IN_CONFIG(redis.username, char *), 1, 128, NULL,
     "(the default user)", "the Redis user to log in as"},
    {"redis", "password-file", TYPE_PATH, IN_CONFIG(redis.password_file, char *), 0, 0, NULL,
     "(no login)", "the file with the Redis password"},
    {"redis", "tls-ca", TYPE_PATH, IN_CONFIG(redis.tls.ca, char *), 0, 0, NULL,
     "(the system's)", "the file or folder with the CAs that may issue the certificate of Redis"},
    {"redis", "tls-certificate-file", TYPE_PATH, IN_CONFIG(redis.tls.certificate_file, char *), 0, 0, NULL,
     "(none)", "the file with the certificate that is shown to Redis"},
    {"redis", "tls-key-file", TYPE_PATH, IN_CONFIG(redis.tls.key_file, char *), 0, 0, NULL,
     "(none)", "the file with the private key of that certificate"},
    {"redis", "tls-server-name", TYPE_HOST, IN_CONFIG(redis.tls.server_name, char *), 0, 0, NULL,
     "(the host of the URL)", "the name that the certificate of Redis must be for"},
    {"redis", "tls-minimum-version", TYPE_CHOICE, IN_CONFIG(redis.tls.minimum_version, unsigned), 0, 0, "1.2|1.3",
     "1.2", "the oldest version of TLS that may be spoken with Redis"},
    {"redis", "connect-timeout", TYPE_SECONDS, IN_CONFIG(redis.connect_timeout, double), SHORTEST, REDIS_MAX, NULL,
     "1", "seconds to connect to Redis and log in"},
    {"redis", "command-timeout", TYPE_SECONDS, IN_CONFIG(redis.command_timeout, double), SHORTEST, REDIS_MAX, NULL,
     "2", "seconds to wait for the answer of Redis to a command"},
    {"redis", "min-replicas-acked", TYPE_COUNT, IN_CONFIG(redis.min_replicas_acked, unsigned), 0, 16, NULL,
     "0", "replicas of Redis that must have a change before it is answered"},

    {"cache", "bytes", TYPE_SIZE, IN_CONFIG(cache_bytes, size_t), 0, TERABYTE, NULL,
     "67108864", "memory for cached tokens, in bytes a worker"},
    {"cache", "entries", TYPE_SIZE, IN_CONFIG(cache_entries, size_t), 0, 100000000, NULL,
     "100000", "how many tokens a worker caches"},
    {"cache", "negative-entries", TYPE_SIZE, IN_CONFIG(cache_negative_entries, size_t), 0, 100000000, NULL,
     "16384", "how many unknown keys a worker remembers"},
    {"cache", "ttl", TYPE_SECONDS, IN_CONFIG(cache_ttl, double), 0, YEAR, NULL,
     "5", "seconds that a cached token is served"},
    {"cache", "negative-ttl", TYPE_SECONDS, IN_CONFIG(cache_negative_ttl, double), 0, YEAR, NULL,
     "1", "seconds that an unknown key is remembered"},
    {"cache", "stale-on-error", TYPE_SECONDS, IN_CONFIG(cache_stale_on_error, double), 0, STALE_MAX, NULL,
     "0", "seconds past ttl that a token is served while Redis is away"},

    {"audit", "file", TYPE_PATH, IN_CONFIG(audit_file, char *), 0, 0, NULL,
     "(none)", "the audit log"},
    {"audit", "mode", TYPE_CHOICE, IN_CONFIG(audit_mode, unsigned), 0, 0, "best-effort|required",
     "best-effort", "whether a change is answered only once its record is on disk"},
    {"audit", "reads", TYPE_BOOLEAN, IN_CONFIG(audit_reads, bool), 0, 0, NULL,
     "false", "whether look-ups are recorded, not changes alone"},

    {"slack", "webhook-file", TYPE_PATH, IN_CONFIG(slack_webhook_file, char *), 0, 0, NULL,
     "(none)", "the file with the address of the Slack webhook"},
    {"slack", "application", TYPE_PRINTABLE, IN_CONFIG(slack_application, char *), 1, CONFIG_APPLICATION_MAX, NULL,
     "tokenkeep", "what messages call this server"},
    {"slack", "group-interval", TYPE_SECONDS, IN_CONFIG(slack_group_interval, double), 1, DAY, NULL,
     "300", "seconds that further problems of a kind are gathered into one message"},

    {"policy", "mode", TYPE_EITHER, IN_SCRIPT(shadow, bool), 0, 0, "enforce|shadow",
     "enforce", "whether what the policy says has an effect, or is counted and logged alone"},

    {.section = NULL},
};
/* clang-format on */

/* Values */

static int store_string(char **place, const char *value, struct error *reason)
{
    char *copy = strdup(value);
    if (copy == NULL)
        return error_set(reason, "out of memory");
    free(*place);
    *place = copy;
    return 0;
}

static int store_path(char **place, const char *value, const char *folder, struct error *reason)
{
    char *path = NULL;
    if (value_path(value, folder, &path, reason) != 0)
        return -1;
    free(*place);
    *place = path;
    return 0;
}

static int store_either(bool *place, const struct config_option *option, const char *value, struct error *reason)
{
    unsigned choice = 0;
    if (value_choice(value, option->choices, &choice, reason) != 0)
        return -1;
    *place = choice == 1;
    return 0;
}

static int store_count(unsigned *place, const struct config_option *option, const char *value, struct error *reason)
{
    size_t number = 0;
    if (value_number(value, option->minimum, option->maximum, &number, reason) != 0)
        return -1;
    *place = (unsigned)number;
    return 0;
}

static int store_printable(char **place, const struct config_option *option, const char *value, struct error *reason)
{
    if (value_check_printable(value, (size_t)option->minimum, (size_t)option->maximum, reason) != 0)
        return -1;
    return store_string(place, value, reason);
}

static int store_user(char **place, const struct config_option *option, const char *value, struct error *reason)
{
    if (*place != NULL)
        return error_set(reason, "the user stands here and in redis.url; keep one of them");
    return store_printable(place, option, value, reason);
}

static int store_account(char **place, const char *value, struct error *reason)
{
    return value_check_account(value, reason) == 0 ? store_string(place, value, reason) : -1;
}

static int store_address(char **place, const char *value, struct error *reason)
{
    struct address address;
    return address_parse(value, &address, reason) == 0 ? store_string(place, value, reason) : -1;
}

int config_option_store(const struct config_option *option, void *base, const char *value, const char *folder,
                        struct error *reason)
{
    void *place = (char *)base + option->place;
    switch (option->type) {
    case TYPE_COUNT: return store_count(place, option, value, reason);
    case TYPE_SIZE: return value_number(value, option->minimum, option->maximum, place, reason);
    case TYPE_SECONDS: return value_seconds(value, option->minimum, option->maximum, place, reason);
    case TYPE_MODE: return value_mode(value, place, reason);
    case TYPE_BOOLEAN: return value_boolean(value, place, reason);
    case TYPE_CHOICE: return value_choice(value, option->choices, place, reason);
    case TYPE_EITHER: return store_either(place, option, value, reason);
    case TYPE_PRINTABLE: return store_printable(place, option, value, reason);
    case TYPE_USER: return store_user(place, option, value, reason);
    case TYPE_ACCOUNT: return store_account(place, value, reason);
    case TYPE_PATH: return store_path(place, value, folder, reason);
    case TYPE_ADDRESS: return store_address(place, value, reason);
    case TYPE_HOST: return redis_url_check_host(value, reason) == 0 ? store_string(place, value, reason) : -1;
    case TYPE_URL: return redis_url_parse(value, place, reason);
    }
    return -1;
}

/* What an option is about, and so the struct that its place is in. */
enum base { BASE_CONFIG, BASE_LISTENER, BASE_SCRIPT };

static enum base option_base(const struct config_option *option)
{
    if (strcmp(option->section, "listener") == 0)
        return BASE_LISTENER;
    return strcmp(option->section, "policy") == 0 ? BASE_SCRIPT : BASE_CONFIG;
}

static int store_defaults(enum base kind, void *base, struct error *reason)
{
    for (const struct config_option *option = config_options; option->section != NULL; option++) {
        bool is_value = option->fallback[0] != '(';
        if (is_value && option_base(option) == kind &&
            config_option_store(option, base, option->fallback, "/", reason) != 0)
            return -1;
    }
    return 0;
}

static unsigned processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > CONFIG_WORKERS_MAX ? CONFIG_WORKERS_MAX : (unsigned)n;
}

struct config *config_new(struct error *error)
{
    struct config *config = calloc(1, sizeof *config);
    if (config == NULL) {
        error_set(error, "out of memory");
        return NULL;
    }
    config->workers = processors();
    if (store_defaults(BASE_CONFIG, config, error) != 0)
        config_free(&config);
    return config;
}

/* Listeners */

struct config_listener *config_listener_add(struct config *config, const char *name, unsigned line,
                                            struct error *reason)
{
    if (config->n_listeners == CONFIG_LISTENERS_MAX) {
        error_set(reason, "there are more than %d listeners", CONFIG_LISTENERS_MAX);
        return NULL;
    }
    struct config_listener *listener = &config->listeners[config->n_listeners++];
    listener->line = line;
    if (store_string(&listener->name, name, reason) != 0 || store_defaults(BASE_LISTENER, listener, reason) != 0)
        return NULL;
    return listener;
}

struct config_listener *config_listener_find(struct config *config, const char *name)
{
    for (size_t i = 0; i < config->n_listeners; i++)
        if (strcmp(config->listeners[i].name, name) == 0)
            return &config->listeners[i];
    return NULL;
}

int config_listener_check(const struct config *config, const struct config_listener *listener, struct error *reason)
{
    struct address address, other;
    if (address_parse(listener->address, &address, reason) != 0)
        return -1;
    if (listener->role == ROLE_MANAGE && !address_is_local(&address))
        return error_set(reason, "role = manage beyond loopback lets everybody who reaches the port issue and revoke "
                                 "tokens, since clients cannot authenticate; give unix:/PATH or 127.0.0.1, or the role "
                                 "verify");
    for (const struct config_listener *earlier = config->listeners; earlier < listener; earlier++)
        if (address_parse(earlier->address, &other, NULL) == 0 && address_overlaps(&address, &other))
            return error_set(reason, "the address is taken by listener \"%s\"; give each its own", earlier->name);
    return 0;
}

/* Hooks and policies */

static struct config_script *script_set(struct config_script *script, const char *title, const char *path,
                                        unsigned line, struct error *reason)
{
    script->line = line;
    if (store_string(&script->name, title, reason) != 0 || store_string(&script->path, path, reason) != 0)
        return NULL;
    return script;
}

struct config_script *config_hook_add(struct config *config, const char *title, const char *path, unsigned line,
                                      struct error *reason)
{
    if (config->n_hooks == CONFIG_HOOKS_MAX) {
        error_set(reason, "there are more than %d hooks", CONFIG_HOOKS_MAX);
        return NULL;
    }
    return script_set(&config->hooks[config->n_hooks++], title, path, line, reason);
}

struct config_script *config_policy_add(struct config *config, const char *title, const char *path, unsigned line,
                                        struct error *reason)
{
    if (config->n_policies == CONFIG_POLICIES_MAX) {
        error_set(reason, "there are more than %d policies", CONFIG_POLICIES_MAX);
        return NULL;
    }
    struct config_script *policy = &config->policies[config->n_policies++];
    if (store_defaults(BASE_SCRIPT, policy, reason) != 0)
        return NULL;
    return script_set(policy, title, path, line, reason);
}

int config_setting_add(struct config_script *script, const char *name, const char *value, struct error *reason)
{
    if (script->n_settings == CONFIG_SETTINGS_MAX)
        return error_set(reason, "there are more than %d settings", CONFIG_SETTINGS_MAX);
    if (script->settings == NULL)
        script->settings = calloc(CONFIG_SETTINGS_MAX, sizeof *script->settings);
    if (script->settings == NULL)
        return error_set(reason, "out of memory");
    struct config_setting *setting = &script->settings[script->n_settings++];
    return store_string(&setting->name, name, reason) == 0 ? store_string(&setting->value, value, reason) : -1;
}

/* Serving without a file */

/* Made absolute whether the folder is there or not. NULL when that cannot be done. */
static char *absolute_folder(const char *directory, struct error *reason)
{
    char *result = realpath(directory, NULL);
    if (result == NULL && errno == ENOENT) {
        char *here = getcwd(NULL, 0);
        if (here != NULL && value_path(directory, here, &result, reason) != 0)
            result = NULL;
        else if (here == NULL)
            error_set(reason, "the current folder cannot be found: %s", strerror(errno));
        free(here);
    } else if (result == NULL) {
        error_set(reason, "the folder cannot be used: %s", strerror(errno));
    }
    return result;
}

static int add_listener(struct config *config, const char *name, const char *address, enum role role, mode_t mode,
                        struct error *error)
{
    struct config_listener *listener = config_listener_add(config, name, 0, error);
    if (listener == NULL || store_address(&listener->address, address, error) != 0)
        return -1;
    listener->role = role;
    listener->mode = mode;
    return config_listener_check(config, listener, error);
}

static int add_audit(struct config *config, struct error *reason)
{
    static const char script[] = "audit.lua";
    char *path = NULL;
    if (script_find_installed(script, &path, reason) != 0)
        return -1;
    const struct config_script *hook = config_hook_add(config, script, path, 0, reason);
    free(path);
    return hook != NULL ? 0 : -1;
}

static int set_state(struct config *config, const char *folder, struct error *reason)
{
    char *socket_path = NULL, *address = NULL;
    int result = -1;
    if (redis_url_private(folder, &config->redis, reason) != 0 ||
        store_path(&config->keyring, "keyring", folder, reason) != 0 ||
        store_path(&config->audit_file, "audit.log", folder, reason) != 0 || add_audit(config, reason) != 0)
        return -1;
    if (value_path("admin.sock", folder, &socket_path, reason) == 0) {
        if (asprintf(&address, "unix:%s", socket_path) >= 0)
            result = add_listener(config, "admin", address, ROLE_MANAGE, 0600, reason);
    }
    free(socket_path);
    free(address);
    return result;
}

struct config *config_for_state(const char *directory, const char *listen, struct error *error)
{
    struct error reason = {"out of memory"};
    const char *address = listen != NULL ? listen : "127.0.0.1:7117";
    char *folder = absolute_folder(directory, &reason);
    struct config *config = folder != NULL ? config_new(&reason) : NULL;
    if (config == NULL || set_state(config, folder, &reason) != 0) {
        error_set(error, "--state: %s", reason.text);
        config_free(&config);
    } else if (add_listener(config, "public", address, ROLE_VERIFY, 0660, &reason) != 0) {
        error_set(error, "--listen: %s", reason.text);
        config_free(&config);
    }
    free(folder);
    return config;
}

static void free_script(struct config_script *script)
{
    for (size_t i = 0; i < script->n_settings; i++) {
        free(script->settings[i].name);
        free(script->settings[i].value);
    }
    free(script->settings);
    free(script->name);
    free(script->path);
}

void config_free(struct config **config)
{
    struct config *old = *config;
    if (old == NULL)
        return;
    for (size_t i = 0; i < old->n_listeners; i++) {
        free(old->listeners[i].name);
        free(old->listeners[i].address);
        free(old->listeners[i].owner);
        free(old->listeners[i].group);
    }
    for (size_t i = 0; i < old->n_hooks; i++)
        free_script(&old->hooks[i]);
    for (size_t i = 0; i < old->n_policies; i++)
        free_script(&old->policies[i]);
    redis_url_clear(&old->redis);
    free(old->redis.prefix);
    free(old->redis.username);
    free(old->redis.password_file);
    free(old->redis.tls.ca);
    free(old->redis.tls.certificate_file);
    free(old->redis.tls.key_file);
    free(old->redis.tls.server_name);
    free(old->file);
    free(old->user);
    free(old->keyring);
    free(old->audit_file);
    free(old->slack_webhook_file);
    free(old->slack_application);
    free(old);
    *config = NULL;
}
