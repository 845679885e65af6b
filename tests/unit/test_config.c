/* SPDX-License-Identifier: MIT */
/* The configuration: defaults, every option, what it warns of, the sample, and serving without a file. */
#include "config_files.h"

#include "base/config_text.h"

#include <fcntl.h>
#include <sys/stat.h>

static void defaults(void **state)
{
    (void)state;
    struct config *config = load_good(LISTENER);
    assert_string_equal(config->file, FILE_NAME);
    assert_int_equal(config->workers, sysconf(_SC_NPROCESSORS_ONLN));
    assert_null(config->user);
    assert_string_equal(config->keyring, SYSCONFDIR "/tokenkeep/keyring");
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    assert_int_equal(config->log_format, LOG_FORMAT_TEXT);
    assert_int_equal(config->max_line, 65536);
    assert_int_equal(config->max_inflight, 16384);
    assert_true(config->idle_timeout == 600 && config->request_timeout == 10);
    assert_true(config->write_timeout == 30 && config->drain_timeout == 30);
    assert_int_equal(config->n_listeners, 1);
    assert_int_equal(config->listeners[0].role, ROLE_VERIFY);
    assert_int_equal(config->listeners[0].mode, 0660);
    assert_null(config->listeners[0].owner);
    assert_null(config->listeners[0].group);
    assert_int_equal(config->listeners[0].max_connections, 20000);
    assert_int_equal(config->redis.kind, CONFIG_REDIS_TCP);
    assert_string_equal(config->redis.url, "redis://127.0.0.1:6379/0");
    assert_string_equal(config->redis.host, "127.0.0.1");
    assert_int_equal(config->redis.port, 6379);
    assert_int_equal(config->redis.database, 0);
    assert_string_equal(config->redis.prefix, "token:");
    assert_null(config->redis.username);
    assert_null(config->redis.password_file);
    assert_null(config->redis.tls.ca);
    assert_int_equal(config->redis.tls.minimum_version, CONFIG_TLS_1_2);
    assert_true(config->redis.connect_timeout == 1 && config->redis.command_timeout == 2);
    assert_int_equal(config->cache_bytes, 67108864);
    assert_int_equal(config->cache_entries, 100000);
    assert_int_equal(config->cache_negative_entries, 16384);
    assert_true(config->cache_ttl == 5 && config->cache_negative_ttl == 1);
    assert_true(config->cache_stale_on_error == 0);
    assert_null(config->audit_file);
    assert_int_equal(config->audit_mode, AUDIT_BEST_EFFORT);
    assert_false(config->audit_reads);
    assert_null(config->slack_webhook_file);
    assert_string_equal(config->slack_application, "tokenkeep");
    assert_true(config->slack_group_interval == 300);
    assert_int_equal(config->n_hooks, 0);
    assert_int_equal(config->n_policies, 0);
    config_free(&config);
    assert_null(config);
}

static void assert_listeners(const struct config *config)
{
    assert_int_equal(config->n_listeners, 3);
    const struct config_listener *first = &config->listeners[0], *second = first + 1, *third = first + 2;
    assert_string_equal(first->name, "first");
    assert_string_equal(first->address, "*:1");
    assert_int_equal(first->role, ROLE_VERIFY);
    assert_int_equal(first->max_connections, 1);
    assert_int_equal(first->line, 11);
    assert_string_equal(second->name, "second");
    assert_string_equal(second->address, "unix:/run/a.sock");
    assert_int_equal(second->role, ROLE_MANAGE);
    assert_int_equal(second->mode, 0600);
    assert_string_equal(second->owner, "root");
    assert_string_equal(second->group, "www-data");
    assert_int_equal(second->line, 13);
    assert_string_equal(third->address, "[::1]:2");
    assert_int_equal(third->role, ROLE_MANAGE);
}

static void assert_setting(const struct config_script *script, size_t place, const char *name, const char *value)
{
    assert_true(place < script->n_settings);
    assert_string_equal(script->settings[place].name, name);
    assert_string_equal(script->settings[place].value, value);
}

static void assert_hooks(const struct config *config)
{
    assert_int_equal(config->n_hooks, 2);
    const struct config_script *first = &config->hooks[0], *second = first + 1;
    assert_string_equal(first->name, "audit.lua");
    assert_string_equal(first->path, in_folder("lua/audit.lua"));
    assert_int_equal(first->line, 32);
    assert_int_equal(first->n_settings, 3);
    assert_setting(first, 0, "anything", "goes here");
    assert_setting(first, 1, "url", "x");
    assert_setting(first, 2, "anything-else", "4");
    assert_string_equal(second->name, "other.lua");
    assert_string_equal(second->path, in_folder("other.lua"));
    assert_int_equal(second->line, 33);
    assert_int_equal(second->n_settings, 1);
    assert_setting(second, 0, "anything", "\"quoted\" $\\");
}

static void assert_policies(const struct config *config)
{
    assert_int_equal(config->n_policies, 2);
    const struct config_script *first = &config->policies[0], *second = first + 1;
    assert_string_equal(first->name, "other.lua");
    assert_string_equal(first->path, in_folder("other.lua"));
    assert_true(first->shadow);
    assert_int_equal(first->line, 34);
    assert_int_equal(first->n_settings, 2);
    assert_setting(first, 0, "window", "60");
    assert_setting(first, 1, "Mode", "x");
    assert_string_equal(second->name, "policy.lua");
    assert_string_equal(second->path, in_folder("policy.lua"));
    assert_false(second->shadow);
    assert_int_equal(second->line, 36);
    assert_int_equal(second->n_settings, 0);
}

static void every_option(void **state)
{
    (void)state;
    struct config *config = load_good(everything);
    assert_int_equal(config->workers, 3);
    assert_string_equal(config->user, "nobody");
    assert_string_equal(config->keyring, in_folder("keys/ring"));
    assert_int_equal(config->max_line, 256);
    assert_int_equal(config->max_inflight, 1);
    assert_true(config->idle_timeout == 0.001 && config->request_timeout == 2.5);
    assert_true(config->write_timeout == 31536000 && config->drain_timeout == 7);
    assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(config->log_format, LOG_FORMAT_JSON);
    assert_listeners(config);
    assert_string_equal(config->redis.host, "h.example.org");
    assert_int_equal(config->redis.port, 7);
    assert_int_equal(config->redis.database, 9);
    assert_string_equal(config->redis.prefix, "a%{}'~");
    assert_string_equal(config->redis.username, "b@b");
    assert_string_equal(config->redis.password_file, "/etc/password");
    assert_true(config->redis.connect_timeout == 0.25 && config->redis.command_timeout == 0.5);
    assert_int_equal(config->cache_bytes, 0);
    assert_int_equal(config->cache_entries, 7);
    assert_int_equal(config->cache_negative_entries, 0);
    assert_true(config->cache_ttl == 0 && config->cache_negative_ttl == 0);
    assert_true(config->cache_stale_on_error == 300);
    assert_string_equal(config->audit_file, in_folder("a.log"));
    assert_true(config->audit_reads);
    assert_string_equal(config->slack_webhook_file, in_folder("hook"));
    assert_string_equal(config->slack_application, "o'k");
    assert_true(config->slack_group_interval == 1.5);
    assert_hooks(config);
    assert_policies(config);
    config_free(&config);
}

static void variables(void **state)
{
    (void)state;
    struct config *config =
        load_good(LISTENER "workers = ${TK_TEST_WORKERS} keyring = \"/${TK_TEST_UNSET:-a b}/\\${x}\"\n"
                           "user = 'a' # ${TK_TEST_UNSET}\nredis { prefix = '${TK_TEST_UNSET}' }");
    assert_int_equal(config->workers, 7);
    assert_string_equal(config->keyring, "/a b/${x}");
    assert_string_equal(config->redis.prefix, "${TK_TEST_UNSET}");
    config_free(&config);
}

/* A user in the URL, a URL without one after a default with a host, an empty prefix. */
static void redis_variants(void **state)
{
    (void)state;
    struct config *config = load_good(LISTENER "redis { password-file = pw url = \"redis://bob@h\" prefix = \"\" }");
    assert_string_equal(config->redis.username, "bob");
    assert_string_equal(config->redis.password_file, in_folder("pw"));
    assert_string_equal(config->redis.prefix, "");
    assert_false(config->redis.encrypted);
    config_free(&config);
    config = load_good(LISTENER "redis { tls-ca = ca tls-certificate-file = c tls-key-file = /k tls-server-name = r\n"
                                "tls-minimum-version = 1.3 url = rediss://h }");
    assert_true(config->redis.encrypted);
    assert_string_equal(config->redis.tls.ca, in_folder("ca"));
    assert_string_equal(config->redis.tls.certificate_file, in_folder("c"));
    assert_string_equal(config->redis.tls.key_file, "/k");
    assert_string_equal(config->redis.tls.server_name, "r");
    assert_int_equal(config->redis.tls.minimum_version, CONFIG_TLS_1_3);
    config_free(&config);
    config = load_good(LISTENER "redis { url = private:/srv/tk }");
    assert_int_equal(config->redis.kind, CONFIG_REDIS_PRIVATE);
    assert_null(config->redis.host);
    assert_string_equal(config->redis.directory, "/srv/tk");
    assert_string_equal(config->redis.path, "/srv/tk/redis.sock");
    config_free(&config);
}

/* Relative paths are taken from the folder of the file, however that is named. */
static void folders(void **state)
{
    (void)state;
    static const char text[] = LISTENER "keyring = ring redis { password-file = ../pw }";
    assert_int_equal(mkdir("sub", 0700), 0);
    write_file("sub/s.conf", text, sizeof text - 1);
    char absolute[PATH_MAX + 300];
    snprintf(absolute, sizeof absolute, "%s/sub/s.conf", here);
    const char *paths[] = {"sub/s.conf", absolute};
    for (size_t i = 0; i < 2; i++) {
        struct config *config = config_load(paths[i], false, NULL);
        assert_non_null(config);
        assert_string_equal(config->keyring, in_folder("sub/ring"));
        assert_string_equal(config->redis.password_file, in_folder("sub/../pw"));
        config_free(&config);
    }
}

/* Loads with warnings and returns what was logged, without the times. */
static void logged(const char *text, bool warn, char *out, size_t size)
{
    struct error error;
    write_file(FILE_NAME, text, strlen(text));
    int saved = dup(STDERR_FILENO), captured = open("stderr", O_RDWR | O_CREAT | O_TRUNC, 0600);
    dup2(captured, STDERR_FILENO);
    struct config *config = config_load(FILE_NAME, warn, &error);
    dup2(saved, STDERR_FILENO);
    close(saved);
    config_free(&config);
    ssize_t n = pread(captured, out, size - 1, 0);
    close(captured);
    out[n < 0 ? 0 : n] = '\0';
}

/* The order of hooks is that of the file, wherever the options stand that they need. */
static void hooks(void **state)
{
    (void)state;
    struct config *config = load_good("hook slack.lua { channel = a b = \"${TK_TEST_WORKERS}\" }\n" LISTENER
                                      "hook \"./other.lua\"\n{\n}\nhook other.lua { a = '' }\nhook audit.lua { }\n"
                                      "slack { webhook-file = /w }\naudit { file = /l reads = false }\n");
    static const char *const names[] = {"slack.lua", "./other.lua", "other.lua", "audit.lua"};
    static const char *const paths[] = {"lua/slack.lua", "./other.lua", "other.lua", "lua/audit.lua"};
    static const unsigned lines[] = {1, 4, 6, 7};
    assert_int_equal(config->n_hooks, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(config->hooks[i].name, names[i]);
        assert_string_equal(config->hooks[i].path, in_folder(paths[i]));
        assert_int_equal(config->hooks[i].line, lines[i]);
    }
    assert_int_equal(config->hooks[0].n_settings, 2);
    assert_setting(&config->hooks[0], 0, "channel", "a");
    assert_setting(&config->hooks[0], 1, "b", "7");
    assert_int_equal(config->hooks[1].n_settings, 0);
    assert_setting(&config->hooks[2], 0, "a", "");
    config_free(&config);
}

/* Only the two titles exactly, and only what names a file, make options belong together. */
static void hooks_without_options(void **state)
{
    (void)state;
    char text[PATH_MAX + 300];
    snprintf(text, sizeof text, LISTENER "hook \"%s/audit.lua\" { }\nhook \"lua/slack.lua\" { }\n", installed);
    struct config *config = load_good(text);
    assert_int_equal(config->n_hooks, 2);
    assert_string_equal(config->hooks[0].path, in_folder("lua/audit.lua"));
    config_free(&config);
}

/* Policies are found as hooks are, may have the title of one, and enforce what they say unless told otherwise. What
 * hooks cannot call a setting they can. */
static void policies(void **state)
{
    (void)state;
    struct config *config = load_good("policy ./other.lua { mode = \"${TK_TEST_UNSET:-shadow}\" }\n" LISTENER
                                      "policy slack.lua { audit = 1\nslack = ${TK_TEST_WORKERS} }\n"
                                      "hook other.lua { mode = m }\npolicy other.lua { }\n");
    static const char *const paths[] = {"./other.lua", "lua/slack.lua", "other.lua"};
    static const unsigned lines[] = {1, 3, 6};
    static const bool shadow[] = {true, false, false};
    assert_int_equal(config->n_policies, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(config->policies[i].path, in_folder(paths[i]));
        assert_int_equal(config->policies[i].line, lines[i]);
        assert_int_equal(config->policies[i].shadow, shadow[i]);
    }
    assert_string_equal(config->policies[0].name, "./other.lua");
    assert_int_equal(config->policies[0].n_settings, 0);
    assert_int_equal(config->policies[1].n_settings, 2);
    assert_setting(&config->policies[1], 0, "audit", "1");
    assert_setting(&config->policies[1], 1, "slack", "7");
    assert_int_equal(config->n_hooks, 1);
    assert_int_equal(config->hooks[0].n_settings, 1);
    assert_setting(&config->hooks[0], 0, "mode", "m");
    assert_false(config->hooks[0].shadow);
    config_free(&config);
}

static void missing_script(void **state)
{
    (void)state;
    static const char *const sections[] = {"hook", "policy"};
    struct error error;
    char text[200], expected[3 * PATH_MAX];
    for (size_t i = 0; i < 2; i++) {
        snprintf(text, sizeof text, LISTENER "audit { file = a }\n%s\n\"none.lua\" {\n}\n", sections[i]);
        struct config *config = load(text, &error);
        snprintf(expected, sizeof expected,
                 FILE_NAME
                 ":4: %s: there is no script \"none.lua\" in %s nor in %s; put it into one of them, or correct "
                 "the title",
                 sections[i], here, installed);
        assert_error(config, &error, expected);
    }
}

static void warnings(void **state)
{
    (void)state;
    static const char text[] = LISTENER "slack { webhook-file = /a }\naudit\n{\nfile = a\n}\n";
    static const char *const expected[] = {
        FILE_NAME ":4: audit.file: there is no hook, so nothing writes it; add hook \"audit.lua\" { }\n",
        FILE_NAME ":2: slack.webhook-file: there is no hook, so nothing posts to it; add hook \"slack.lua\" { }\n",
    };
    char lines[2048], *at = lines;
    logged(text, true, lines, sizeof lines);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char *found = strstr(at, expected[i]);
        assert_non_null(found);
        assert_null(memchr(at, '\n', (size_t)(found - at)));
        at = found + strlen(expected[i]);
    }
    assert_string_equal(at, "");
    logged(text, false, lines, sizeof lines);
    assert_string_equal(lines, "");
}

static void no_warnings(void **state)
{
    (void)state;
    static const char *const texts[] = {
        LISTENER "slack { webhook-file = /a }\naudit { file = a }\nhook other.lua { }\n",
        LISTENER "slack { application = a }\naudit { reads = true }\n",
        "audit { file = a }\n", /* an error, which is the caller's to log */
    };
    char lines[2048];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        logged(texts[i], true, lines, sizeof lines);
        assert_string_equal(lines, "");
    }
}

/* Whether a line of the sample is an option or a brace that is commented out. */
static bool is_commented_out(const char *line)
{
    char name[32];
    int used = 0;
    if (sscanf(line, "# %31[a-z-] =%n", name, &used) == 1 && used > 0)
        return true;
    if (sscanf(line, "#%31[a-z]", name) != 1)
        return strncmp(line, "#}", 2) == 0;
    return strchr(line, '{') != NULL;
}

static char *uncomment(char *text)
{
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        char *hash = line + strspn(line, " ");
        *end = '\0';
        if (is_commented_out(hash))
            *hash = ' ';
        *end = '\n';
    }
    return text;
}

static void sample_loads(void **state)
{
    (void)state;
    char *text = calloc(1, CONFIG_TEXT_MAX);
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/conf/tokenkeepd.conf", source);
    FILE *file = fopen(path, "r");
    assert_non_null(text);
    assert_non_null(file);
    assert_true(fread(text, 1, CONFIG_TEXT_MAX - 1, file) > 1000);
    fclose(file);

    struct config *config = load_good(text);
    assert_int_equal(config->n_listeners, 2);
    assert_null(config->user);
    config_free(&config);

    /* All options at once want a URL of TLS. */
    char *url = strstr(uncomment(text), "url = \"redis://");
    assert_non_null(url);
    memcpy(url, "url =\"rediss://", strlen("url =\"rediss://"));
    config = load_good(text);
    free(text);
    assert_int_equal(config->n_hooks, 2);
    assert_int_equal(config->n_policies, 1);
    assert_int_equal(config->policies[0].n_settings, 0);
    assert_false(config->policies[0].shadow);
    assert_string_equal(config->audit_file, "/var/log/tokenkeep/audit.log");
    assert_string_equal(config->slack_webhook_file, "/etc/tokenkeep/slack-webhook");
    assert_int_equal(config->workers, 4);
    assert_string_equal(config->user, "tokenkeep");
    assert_string_equal(config->redis.username, "tokenkeep");
    assert_string_equal(config->listeners[1].owner, "root");
    assert_true(config->cache_negative_ttl == 1);
    config_free(&config);
}

static void assert_state_config(const char *directory, const char *name)
{
    struct error error = {""};
    char expected[PATH_MAX + 300];
    struct config *config = config_for_state(directory, NULL, &error);
    assert_string_equal(error.text, "");
    assert_non_null(config);
    assert_null(config->file);
    assert_int_equal(config->max_line, 65536);
    assert_string_equal(config->redis.prefix, "token:");
    assert_int_equal(config->redis.kind, CONFIG_REDIS_PRIVATE);
    assert_string_equal(config->redis.directory, in_folder(name));
    snprintf(expected, sizeof expected, "%s/keyring", in_folder(name));
    assert_string_equal(config->keyring, expected);
    snprintf(expected, sizeof expected, "%s/redis.sock", in_folder(name));
    assert_string_equal(config->redis.path, expected);
    snprintf(expected, sizeof expected, "unix:%s/admin.sock", in_folder(name));
    assert_int_equal(config->n_listeners, 2);
    assert_string_equal(config->listeners[0].name, "admin");
    assert_string_equal(config->listeners[0].address, expected);
    assert_int_equal(config->listeners[0].role, ROLE_MANAGE);
    assert_int_equal(config->listeners[0].mode, 0600);
    assert_string_equal(config->listeners[1].name, "public");
    assert_string_equal(config->listeners[1].address, "127.0.0.1:7117");
    assert_int_equal(config->listeners[1].role, ROLE_VERIFY);
    snprintf(expected, sizeof expected, "%s/audit.log", in_folder(name));
    assert_string_equal(config->audit_file, expected);
    assert_int_equal(config->audit_mode, AUDIT_BEST_EFFORT);
    assert_false(config->audit_reads);
    assert_null(config->slack_webhook_file);
    assert_int_equal(config->n_hooks, 1);
    assert_string_equal(config->hooks[0].name, "audit.lua");
    assert_string_equal(config->hooks[0].path, in_folder("lua/audit.lua"));
    assert_int_equal(config->hooks[0].n_settings, 0);
    assert_int_equal(config->hooks[0].line, 0);
    config_free(&config);
}

static void state_folder(void **state)
{
    (void)state;
    struct error error;
    assert_state_config("not yet", "not yet");
    assert_int_equal(access("not yet", F_OK), -1);
    assert_int_equal(mkdir("there", 0700), 0);
    assert_state_config("there/../there/", "there");

    struct config *config = config_for_state("there", "*:9", &error);
    assert_non_null(config);
    assert_string_equal(config->listeners[1].address, "*:9");
    config_free(&config);

    assert_error(config_for_state("there", "9", &error), &error,
                 "--listen: this is no address; give HOST:PORT, [IPV6]:PORT, *:PORT or unix:/PATH");
    char admin[PATH_MAX + 300];
    snprintf(admin, sizeof admin, "unix:%s/there/admin.sock", here);
    assert_error(config_for_state("there", admin, &error), &error,
                 "--listen: the address is taken by listener \"admin\"; give each its own");
    assert_error(config_for_state("", NULL, &error), &error,
                 "--state: the path is empty; give one, or leave the option out");
    write_file("file", "", 0);
    assert_error(config_for_state("file/x", NULL, &error), &error,
                 "--state: the folder cannot be used: Not a directory");
    assert_null(config_for_state("a23456789b123456789c123456789d123456789e123456789f123456789g123456789h123456789i1234",
                                 NULL, &error));
    assert_non_null(strstr(error.text, "--state: the path of the Redis socket has "));
}

/* An audit.lua in the folder is not the server's own. */
static void state_without_script(void **state)
{
    (void)state;
    struct error error;
    char expected[3 * PATH_MAX];
    assert_int_equal(rename("lua/audit.lua", "audit.lua"), 0);
    struct config *config = config_for_state(".", NULL, &error);
    assert_int_equal(rename("audit.lua", "lua/audit.lua"), 0);
    snprintf(
        expected, sizeof expected,
        "--state: the script audit.lua, which is installed with tokenkeep, is missing in %s; install tokenkeep again",
        installed);
    assert_error(config, &error, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(every_option),
        cmocka_unit_test(variables),
        cmocka_unit_test(redis_variants),
        cmocka_unit_test(folders),
        cmocka_unit_test(hooks),
        cmocka_unit_test(hooks_without_options),
        cmocka_unit_test(policies),
        cmocka_unit_test(missing_script),
        cmocka_unit_test(warnings),
        cmocka_unit_test(no_warnings),
        cmocka_unit_test(sample_loads),
        cmocka_unit_test(state_folder),
        cmocka_unit_test(state_without_script),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
