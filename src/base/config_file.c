/* SPDX-License-Identifier: MIT */
/* Reading a configuration file. libConfuse gets its options from the table in config.c, all as strings, and hands each
 * value that it reads to value_read(), so that every error has a file, a line and an option. */
#include "base/config_options.h"
#include "base/config_text.h"
#include "base/config_value.h"
#include "base/script.h"

#include <confuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPTIONS_MAX = 64 }; /* of one section, and of the top level with the sections */

/* Where a value was given that only a unix socket has use for. */
struct unix_only {
    const char *option; /* NULL: nowhere */
    unsigned line;
};

/* What is known while a file is read. */
struct loading {
    const char *path;
    char *folder; /* of the file, absolute */
    struct error *error;
    bool failed; /* `error` is set: what libConfuse says after that is of no interest */
    struct config_text text;
    struct config *config;
    cfg_t *root;
    unsigned sections_ended;
    struct unix_only unix_only[CONFIG_LISTENERS_MAX];
    unsigned audit_line; /* where the sections open, 0: nowhere */
    unsigned slack_line;
};

/* libConfuse calls back without an argument of ours, and its parser has global state anyway. */
static struct loading *current;

#define FAIL(loading, line, format, ...) \
    ((loading)->failed = true,           \
     error_set((loading)->error, "%s:%u: " format, (loading)->path, (unsigned)(line), ##__VA_ARGS__))

static int option_failed(struct loading *loading, unsigned line, const char *section, const char *name,
                         const char *reason)
{
    return FAIL(loading, line, "%s%s%s: %s", section, section[0] != '\0' ? "." : "", name, reason);
}

static const struct config_option *option_find(const char *section, const char *name)
{
    for (const struct config_option *option = config_options; option->section != NULL; option++)
        if (strcmp(option->section, section) == 0 && strcmp(option->name, name) == 0)
            return option;
    return NULL;
}

/* The line that the section opens on which is being read, or has just been. */
static unsigned section_line(const struct loading *loading)
{
    return loading->text.section_lines[loading->sections_ended];
}

/* The listener that a section of the file is about, made at its first option. */
static struct config_listener *listener_of(struct loading *loading, const char *title)
{
    struct config_listener *listener = config_listener_find(loading->config, title);
    if (listener != NULL)
        return listener;
    struct error reason;
    if (value_check_printable(title, 1, 64, &reason) != 0) {
        FAIL(loading, section_line(loading), "listener: the title is not a name: %s", reason.text);
        return NULL;
    }
    listener = config_listener_add(loading->config, title, section_line(loading), &reason);
    if (listener == NULL)
        FAIL(loading, section_line(loading), "listener: %s", reason.text);
    return listener;
}

static int listener_ended(struct loading *loading, cfg_t *section)
{
    struct error reason;
    struct config_listener *listener = listener_of(loading, cfg_title(section));
    if (listener == NULL)
        return -1;
    if (listener->address == NULL)
        return FAIL(loading, listener->line, "listener.address: it is missing; give HOST:PORT or unix:/PATH");
    const struct unix_only *given = &loading->unix_only[listener - loading->config->listeners];
    if (given->option != NULL && strncmp(listener->address, "unix:", 5) != 0)
        return FAIL(loading, given->line,
                    "listener.%s: a TCP listener has none; take it away, or give unix:/PATH as the address",
                    given->option);
    if (config_listener_check(loading->config, listener, &reason) != 0)
        return FAIL(loading, listener->line, "listener.address: %s", reason.text);
    return 0;
}

static int redis_tls_check(struct loading *loading)
{
    const struct config_redis *redis = &loading->config->redis;
    const struct config_tls *tls = &redis->tls;
    const char *given = tls->ca != NULL                 ? "tls-ca"
                        : tls->certificate_file != NULL ? "tls-certificate-file"
                        : tls->key_file != NULL         ? "tls-key-file"
                        : tls->server_name != NULL      ? "tls-server-name"
                                                        : NULL;
    if (!redis->encrypted && given != NULL)
        return FAIL(loading, section_line(loading),
                    "redis.%s: the URL is none of TLS, so it has no effect; let the URL begin with rediss://", given);
    if ((tls->certificate_file == NULL) != (tls->key_file == NULL))
        return FAIL(loading, section_line(loading), "redis.%s: it is missing; a certificate and its key go together",
                    tls->key_file == NULL ? "tls-key-file" : "tls-certificate-file");
    return 0;
}

static int redis_ended(struct loading *loading, cfg_t *section)
{
    (void)section;
    const struct config_redis *redis = &loading->config->redis;
    if (redis->kind == CONFIG_REDIS_PRIVATE && (redis->username != NULL || redis->password_file != NULL))
        return FAIL(loading, section_line(loading),
                    "redis: a private Redis has no users; take username and password-file away");
    if (redis->username != NULL && redis->password_file == NULL)
        return FAIL(loading, section_line(loading),
                    "redis.password-file: it is missing; a user logs in with a password");
    return redis_tls_check(loading);
}

static int audit_ended(struct loading *loading, cfg_t *section)
{
    (void)section;
    loading->audit_line = section_line(loading);
    return 0;
}

static int slack_ended(struct loading *loading, cfg_t *section)
{
    (void)section;
    loading->slack_line = section_line(loading);
    return 0;
}

typedef struct config_script *script_add(struct config *config, const char *title, const char *path, unsigned line,
                                         struct error *reason);

/* Finds the script that the section being read is about, and adds it. */
static struct config_script *script_of(struct loading *loading, const cfg_t *section, script_add *add)
{
    struct error reason;
    struct config_script *script = NULL;
    char *path = NULL;
    if (script_find(section->title, loading->folder, &path, &reason) == 0)
        script = add(loading->config, section->title, path, section_line(loading), &reason);
    free(path);
    if (script == NULL)
        FAIL(loading, section_line(loading), "%s: %s", section->name, reason.text);
    return script;
}

/* The settings of a script can have any name. The scanner has kept control characters out, but not those of an
 * environment variable. */
static int read_setting(struct loading *loading, struct config_script *script, const char *section, cfg_opt_t *setting)
{
    struct error reason;
    const char *name = cfg_opt_name(setting), *value = cfg_opt_getstr(setting);
    if (value_has_control(value))
        return FAIL(loading, script->line, "%s.%s: there is a control character in the value", section, name);
    if (config_setting_add(script, name, value, &reason) != 0)
        return FAIL(loading, script->line, "%s: %s", section, reason.text);
    return 0;
}

static int hook_ended(struct loading *loading, cfg_t *section)
{
    struct config_script *hook = script_of(loading, section, config_hook_add);
    if (hook == NULL)
        return -1;
    for (unsigned i = 0; i < cfg_num(section); i++) {
        cfg_opt_t *setting = cfg_getnopt(section, i);
        const char *name = cfg_opt_name(setting);
        if (strcmp(name, "audit") == 0 || strcmp(name, "slack") == 0)
            return FAIL(loading, hook->line, "hook.%s: scripts find the section %s under this name; give another", name,
                        name);
        if (read_setting(loading, hook, "hook", setting) != 0)
            return -1;
    }
    return 0;
}

/* The policy that the section being read is about, made at its option or its end. */
static struct config_script *policy_of(struct loading *loading, const cfg_t *section)
{
    struct config *config = loading->config;
    struct config_script *last = config->n_policies > 0 ? &config->policies[config->n_policies - 1] : NULL;
    return last != NULL && strcmp(last->name, section->title) == 0 ? last
                                                                   : script_of(loading, section, config_policy_add);
}

static int policy_ended(struct loading *loading, cfg_t *section)
{
    struct config_script *policy = policy_of(loading, section);
    if (policy == NULL)
        return -1;
    for (unsigned i = 0; i < cfg_num(section); i++) {
        cfg_opt_t *setting = cfg_getnopt(section, i);
        /* What the table of options has is ours, not the script's. */
        if (option_find("policy", cfg_opt_name(setting)) == NULL &&
            read_setting(loading, policy, "policy", setting) != 0)
            return -1;
    }
    return 0;
}

static const struct section {
    const char *name;
    cfg_flag_t flags;
    int (*ended)(struct loading *loading, cfg_t *section); /* after its closing brace */
} sections[] = {
    {"log", 0, NULL},
    {"listener", CFGF_TITLE | CFGF_NO_TITLE_DUPES, listener_ended},
    {"redis", 0, redis_ended},
    {"cache", 0, NULL},
    {"audit", 0, audit_ended},
    {"slack", 0, slack_ended},
    {"policy", CFGF_TITLE | CFGF_NO_TITLE_DUPES | CFGF_KEYSTRVAL, policy_ended},
    {"hook", CFGF_TITLE | CFGF_NO_TITLE_DUPES | CFGF_KEYSTRVAL, hook_ended},
};

enum { SECTIONS = sizeof sections / sizeof *sections };

/* What libConfuse calls */

static const char *section_name(cfg_t *section)
{
    return section == current->root ? "" : cfg_name(section);
}

static int set_listener_option(struct loading *loading, const struct config_option *option, cfg_t *section,
                               const char *value, struct error *reason)
{
    struct config_listener *listener = listener_of(loading, cfg_title(section));
    if (listener == NULL)
        return -1;
    if (option->type == TYPE_MODE || option->type == TYPE_ACCOUNT)
        loading->unix_only[listener - loading->config->listeners] =
            (struct unix_only){option->name, (unsigned)section->line};
    return config_option_store(option, listener, value, loading->folder, reason);
}

static int set_policy_option(struct loading *loading, const struct config_option *option, const cfg_t *section,
                             const char *value, struct error *reason)
{
    struct config_script *policy = policy_of(loading, section);
    return policy != NULL ? config_option_store(option, policy, value, loading->folder, reason) : -1;
}

static int set_option(struct loading *loading, const struct config_option *option, cfg_t *section, const char *value,
                      struct error *reason)
{
    if (strcmp(option->section, "listener") == 0)
        return set_listener_option(loading, option, section, value, reason);
    if (strcmp(option->section, "policy") == 0)
        return set_policy_option(loading, option, section, value, reason);
    return config_option_store(option, loading->config, value, loading->folder, reason);
}

static int value_read(cfg_t *section, cfg_opt_t *opt, const char *value, void *result)
{
    struct error reason;
    const struct config_option *option = option_find(section_name(section), opt->name);
    if (option == NULL)
        return FAIL(current, section->line, "%s: it belongs into a section", opt->name);
    if (set_option(current, option, section, value, &reason) != 0) {
        if (!current->failed)
            option_failed(current, (unsigned)section->line, option->section, option->name, reason.text);
        return -1;
    }
    /* libConfuse wants a string to keep; nobody reads it again. */
    *(const char **)result = "";
    return 0;
}

static int section_ended(cfg_t *root, cfg_opt_t *opt)
{
    (void)root;
    cfg_t *section = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
    int result = 0;
    for (const struct section *known = sections; known < sections + SECTIONS; known++)
        if (known->ended != NULL && strcmp(known->name, opt->name) == 0)
            result = known->ended(current, section);
    current->sections_ended++;
    return result;
}

static void append(char *list, size_t size, const char *word)
{
    size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%s", used > 0 ? ", " : "", word);
}

static void unknown_option(struct loading *loading, unsigned line, const char *section, const char *name)
{
    char known[384] = "", shown[65];
    for (const struct config_option *option = config_options; option->section != NULL; option++)
        if (strcmp(option->section, section) == 0)
            append(known, sizeof known, option->name);
    for (size_t i = 0; section[0] == '\0' && i < SECTIONS; i++)
        append(known, sizeof known, sections[i].name);
    /* What is no name may have been a value once, and so a secret. */
    bool is_name = name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")] == '\0';
    snprintf(shown, sizeof shown, "%s", is_name ? name : "(not a name)");
    char reason[512];
    snprintf(reason, sizeof reason, "there is no such option%s; known are %s", section[0] != '\0' ? "" : " or section",
             known);
    option_failed(loading, line, section, shown, reason);
}

static void libconfuse_failed(cfg_t *section, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
static void libconfuse_failed(cfg_t *section, const char *format, va_list arguments)
{
    struct loading *loading = current;
    unsigned line = (unsigned)section->line;
    if (loading == NULL || loading->failed)
        return;
    if (strcmp(format, "no such option '%s'") == 0) {
        /* libConfuse 3.3 says it of the free options of hooks and policies too, and takes them all the same. */
        if ((section->flags & CFGF_KEYSTRVAL) == 0)
            unknown_option(loading, line, section_name(section), va_arg(arguments, const char *));
        return;
    }
    if (strcmp(format, "found duplicate title '%s'") == 0) {
        const char *title = va_arg(arguments, const char *);
        FAIL(loading, line, "a second section has the title \"%.64s\"; give each its own", title);
        return;
    }
    char text[128];
    vsnprintf(text, sizeof text, format, arguments);
    FAIL(loading, line, "%s; options read NAME = VALUE, sections NAME { ... } or NAME \"TITLE\" { ... }", text);
}

/* Reading a file */

/* The options of the table as libConfuse wants them, the section's or those of the top level with all sections. */
static void make_options(const char *section, cfg_opt_t *list)
{
    size_t n = 0;
    for (const struct config_option *option = config_options; option->section != NULL; option++)
        if (strcmp(option->section, section) == 0)
            list[n++] = (cfg_opt_t)CFG_STR_CB(option->name, NULL, CFGF_NODEFAULT, value_read);
    list[n] = (cfg_opt_t)CFG_END();
}

static int parse(struct loading *loading)
{
    cfg_opt_t top[OPTIONS_MAX], inner[SECTIONS][OPTIONS_MAX];
    make_options("", top);
    cfg_opt_t *end = top + cfg_numopts(top);
    for (size_t i = 0; i < SECTIONS; i++) {
        make_options(sections[i].name, inner[i]);
        *end = (cfg_opt_t)CFG_SEC(sections[i].name, inner[i], sections[i].flags | CFGF_MULTI);
        end++->validcb = section_ended;
    }
    *end = (cfg_opt_t)CFG_END();

    loading->root = cfg_init(top, CFGF_NONE);
    if (loading->root == NULL)
        return FAIL(loading, 1, "out of memory");
    cfg_set_error_function(loading->root, libconfuse_failed);
    current = loading;
    int result = cfg_parse_buf(loading->root, loading->text.bytes);
    current = NULL;
    cfg_free(loading->root);
    if (result != CFG_SUCCESS && !loading->failed)
        return FAIL(loading, 1, "out of memory");
    return result == CFG_SUCCESS ? 0 : -1;
}

/* The absolute folder of the file. */
static int find_folder(struct loading *loading)
{
    const char *path = loading->path, *slash = strrchr(path, '/');
    char *folder = strndup(path, slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path));
    char *here = path[0] == '/' ? strdup("/") : getcwd(NULL, 0);
    if (folder != NULL && here != NULL && folder[0] == '\0')
        loading->folder = strdup(here);
    else if (folder != NULL && here != NULL && value_path(folder, here, &loading->folder, NULL) != 0)
        loading->folder = NULL;
    free(folder);
    free(here);
    return loading->folder != NULL ? 0 : FAIL(loading, 1, "the folder of the file cannot be found");
}

/* The file as a whole */

/* The two hooks that come with tokenkeep do nothing without these options, which stand in another section. */
static int check_hook(struct loading *loading, const struct config_script *hook)
{
    if (strcmp(hook->name, "audit.lua") == 0 && loading->config->audit_file == NULL)
        return FAIL(loading, hook->line,
                    "hook: audit.lua has no file to write; give both lines: "
                    "audit { file = \"/var/log/tokenkeep/audit.log\" } and hook \"audit.lua\" { }");
    if (strcmp(hook->name, "slack.lua") == 0 && loading->config->slack_webhook_file == NULL)
        return FAIL(loading, hook->line,
                    "hook: slack.lua has no webhook to post to; give both lines: "
                    "slack { webhook-file = \"" SYSCONFDIR "/tokenkeep/slack-webhook\" } and hook \"slack.lua\" { }");
    return 0;
}

static int check_whole(struct loading *loading)
{
    const struct config *config = loading->config;
    if (config->n_listeners == 0)
        return FAIL(loading, loading->text.lines,
                    "listener: there is none; add listener \"NAME\" { address = \"127.0.0.1:7117\" }");
    if (config->audit_mode == AUDIT_REQUIRED && (config->audit_file == NULL || config->n_hooks == 0))
        return FAIL(loading, loading->audit_line,
                    "audit.mode: nothing writes the audit log that is required; give both lines: "
                    "audit { file = \"/var/log/tokenkeep/audit.log\"  mode = required } and hook \"audit.lua\" { }");
    for (size_t i = 0; i < config->n_hooks; i++)
        if (check_hook(loading, &config->hooks[i]) != 0)
            return -1;
    return 0;
}

static void warn_of_no_effect(const struct loading *loading)
{
    const struct config *config = loading->config;
    if (config->n_hooks > 0)
        return;
    if (config->audit_file != NULL)
        log_warning("%s:%u: audit.file: there is no hook, so nothing writes it; add hook \"audit.lua\" { }",
                    loading->path, loading->audit_line);
    if (config->slack_webhook_file != NULL)
        log_warning("%s:%u: slack.webhook-file: there is no hook, so nothing posts to it; add hook \"slack.lua\" { }",
                    loading->path, loading->slack_line);
}

static int read_config(struct loading *loading)
{
    struct error reason;
    if (config_text_read(loading->path, &loading->text, loading->error) != 0 || find_folder(loading) != 0)
        return -1;
    loading->config = config_new(&reason);
    if (loading->config == NULL)
        return FAIL(loading, 1, "%s", reason.text);
    loading->config->file = strdup(loading->path);
    if (loading->config->file == NULL)
        return FAIL(loading, 1, "out of memory");
    return parse(loading) == 0 ? check_whole(loading) : -1;
}

struct config *config_load(const char *path, bool warn, struct error *error)
{
    struct loading loading = {.path = path, .error = error};
    if (read_config(&loading) != 0)
        config_free(&loading.config);
    else if (warn)
        warn_of_no_effect(&loading);
    config_text_clear(&loading.text);
    free(loading.folder);
    return loading.config;
}
