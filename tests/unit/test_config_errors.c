/* SPDX-License-Identifier: MIT */
/* The configuration: every kind of error to the letter, and files that are cut, mangled or none. */
#include "config_files.h"

#include "base/config_text.h"

#include <fcntl.h>
#include <sys/stat.h>

/* Every text is t.conf; the error begins with "t.conf:" too. */
static const struct {
    const char *text, *error;
} mistakes[] = {
    /* Values */
    {"workers = 0", "1: workers: \"0\" is out of range; give 1 to 256"},
    {"workers = 257", "1: workers: \"257\" is out of range; give 1 to 256"},
    {"workers = 18446744073709551617", "1: workers: \"18446744073709551617\" is out of range; give 1 to 256"},
    {"workers = -1", "1: workers: \"-1\" is not a whole number; give 1 to 256"},
    {"workers = 1.5", "1: workers: \"1.5\" is not a whole number; give 1 to 256"},
    {"workers = 0x2", "1: workers: \"0x2\" is not a whole number; give 1 to 256"},
    {"workers = \"\"", "1: workers: this is not a whole number; give 1 to 256"},
    {"workers = \" 1\"", "1: workers: this is not a whole number; give 1 to 256"},
    {"workers = \"redis://bob:hunter2@h\"", "1: workers: this is not a whole number; give 1 to 256"},
    {"workers = a23456789b123456789c123456789d123456789e123456789f123456789g1234zzzz",
     "1: workers: \"a23456789b123456789c123456789d123456789e123456789f123456789g1234\" is not a whole number; give 1 "
     "to 256"},
    {"max-line = 255", "1: max-line: \"255\" is out of range; give 256 to 1048576"},
    {"max-line = 1048577", "1: max-line: \"1048577\" is out of range; give 256 to 1048576"},
    {"max-inflight = 1000001", "1: max-inflight: \"1000001\" is out of range; give 1 to 1000000"},
    {"idle-timeout = 0", "1: idle-timeout: \"0\" is out of range; give seconds from 0.001 to 31536000"},
    {"request-timeout = 31536000.1",
     "1: request-timeout: \"31536000.1\" is out of range; give seconds from 0.001 to 31536000"},
    {"write-timeout = 1e3",
     "1: write-timeout: \"1e3\" is not a time; give seconds from 0.001 to 31536000, such as 2 or 0.5"},
    {"drain-timeout = 10s",
     "1: drain-timeout: \"10s\" is not a time; give seconds from 0.001 to 31536000, such as 2 or 0.5"},
    {"drain-timeout = .5",
     "1: drain-timeout: \".5\" is not a time; give seconds from 0.001 to 31536000, such as 2 or 0.5"},
    {"drain-timeout = 5.",
     "1: drain-timeout: \"5.\" is not a time; give seconds from 0.001 to 31536000, such as 2 or 0.5"},
    {"drain-timeout = nan",
     "1: drain-timeout: \"nan\" is not a time; give seconds from 0.001 to 31536000, such as 2 or 0.5"},
    {"user = \"\"", "1: user: this is no name of a user or group; give 1 to 32 letters, digits, '.', '_' and '-'"},
    {"user = \"a b\"", "1: user: this is no name of a user or group; give 1 to 32 letters, digits, '.', '_' and '-'"},
    {"keyring = \"\"", "1: keyring: the path is empty; give one, or leave the option out"},
    {"log { level = loud }", "1: log.level: \"loud\" is none of error|warning|info|debug; give one of them"},
    {"log { level = inf }", "1: log.level: \"inf\" is none of error|warning|info|debug; give one of them"},
    {"log { level = \"error|warning\" }", "1: log.level: this is none of error|warning|info|debug; give one of them"},
    {"log {\n level = info\n format = xml }", "3: log.format: \"xml\" is none of text|json; give one of them"},
    {"cache { stale-on-error = 301 }", "1: cache.stale-on-error: \"301\" is out of range; give seconds from 0 to 300"},
    {"redis { connect-timeout = 21 }",
     "1: redis.connect-timeout: \"21\" is out of range; give seconds from 0.001 to 20"},
    {"redis { command-timeout = 21 }",
     "1: redis.command-timeout: \"21\" is out of range; give seconds from 0.001 to 20"},
    {"cache { ttl = -1 }", "1: cache.ttl: \"-1\" is not a time; give seconds from 0 to 31536000, such as 2 or 0.5"},
    {"cache { bytes = 1099511627777 }", "1: cache.bytes: \"1099511627777\" is out of range; give 0 to 1099511627776"},
    {"cache { entries = 100000001 }", "1: cache.entries: \"100000001\" is out of range; give 0 to 100000000"},
    {"audit { reads = maybe }", "1: audit.reads: \"maybe\" is neither true nor false; give one of them"},

    /* Listeners */
    {"", "1: listener: there is none; add listener \"NAME\" { address = \"127.0.0.1:7117\" }"},
    {"workers = 1\n\n", "2: listener: there is none; add listener \"NAME\" { address = \"127.0.0.1:7117\" }"},
    {"\nlistener a {\n}\n", "2: listener.address: it is missing; give HOST:PORT or unix:/PATH"},
    {"listener a { role = verify }", "1: listener.address: it is missing; give HOST:PORT or unix:/PATH"},
    {"listener a { address = 7117 }",
     "1: listener.address: this is no address; give HOST:PORT, [IPV6]:PORT, *:PORT or unix:/PATH"},
    {"listener a { address = 127.0.0.1:0 }",
     "1: listener.address: there is no port from 1 to 65535; end the address in one, such as :7117"},
    {"listener a { address = example.org:1 }",
     "1: listener.address: the host is neither a numeric address (IPv6 in brackets), nor * for all, nor localhost; "
     "names are not looked up here"},
    {LISTENER "listener b { address = localhost:7117 }",
     "2: listener.address: the address is taken by listener \"a\"; give each its own"},
    {LISTENER "listener b { address = \"*:7117\" }",
     "2: listener.address: the address is taken by listener \"a\"; give each its own"},
    {LISTENER "listener \"a\" { address = 127.0.0.1:1 }", "2: a second section has the title \"a\"; give each its own"},
    {"\nlistener a { role = manage\n address = 10.0.0.1:7117 }",
     "2: listener.address: role = manage beyond loopback lets everybody who reaches the port issue and revoke tokens, "
     "since clients cannot authenticate; give unix:/PATH or 127.0.0.1, or the role verify"},
    {"listener a {\n address = 127.0.0.1:1\n mode = 0600\n}",
     "3: listener.mode: a TCP listener has none; take it away, or give unix:/PATH as the address"},
    {"listener a {\n owner = root\n address = 127.0.0.1:1\n}",
     "2: listener.owner: a TCP listener has none; take it away, or give unix:/PATH as the address"},
    {"listener a { group = adm address = 127.0.0.1:1 }",
     "1: listener.group: a TCP listener has none; take it away, or give unix:/PATH as the address"},
    {"listener a { mode = 0800 }",
     "1: listener.mode: \"0800\" are no permissions; give octal digits up to 0777, such as 0660"},
    {"listener a { mode = 1777 }",
     "1: listener.mode: \"1777\" are no permissions; give octal digits up to 0777, such as 0660"},
    {"listener a { role = admin }", "1: listener.role: \"admin\" is none of verify|manage; give one of them"},
    {"listener a { max-connections = 0 }", "1: listener.max-connections: \"0\" is out of range; give 1 to 1000000"},
    {"listener \"\" { }", "1: listener: the title is not a name: it has 0 bytes; give 1 to 64"},
    {"listener \"a b\" { }", "1: listener: the title is not a name: there is a space, a control character or one "
                             "beyond ASCII in it; leave that "
                             "out"},
    {"listener { }", "1: missing title for section 'listener'; options read NAME = VALUE, sections NAME { ... } or "
                     "NAME \"TITLE\" { ... }"},

    /* Redis */
    {"redis { url = \"redis://bob:hunter2@h\" }",
     "1: redis.url: there is a password in the URL, where others may see it; give the user in redis.username and the "
     "password in a file of its own, redis.password-file"},
    {"redis { url = redis://h/hunter2 }", "1: redis.url: the database is not a number from 0 to 65535"},
    {"redis { url = cluster://h }",
     "1: redis.url: cluster is not in this version; give redis://, rediss://, sentinel://, unix: or private:"},
    {"redis {\n tls-ca = /a }",
     "1: redis.tls-ca: the URL is none of TLS, so it has no effect; let the URL begin with rediss://"},
    {"redis { url = redis://h tls-server-name = h }",
     "1: redis.tls-server-name: the URL is none of TLS, so it has no effect; let the URL begin with rediss://"},
    {"redis { url = rediss://h tls-certificate-file = a }",
     "1: redis.tls-key-file: it is missing; a certificate and its key go together"},
    {"redis { url = rediss://h tls-key-file = a }",
     "1: redis.tls-certificate-file: it is missing; a certificate and its key go together"},
    {"redis { url = rediss://h tls-server-name = \"a b\" }",
     "1: redis.tls-server-name: this is neither the name nor the address of a machine"},
    {"redis { tls-minimum-version = 1.1 }",
     "1: redis.tls-minimum-version: \"1.1\" is none of 1.2|1.3; give one of them"},
    {"redis { url = private:here }",
     "1: redis.url: the folder of the private Redis is not absolute; give private:/FOLDER"},
    {"redis {\n url = \"redis://bob@h\"\n username = bob }",
     "3: redis.username: the user stands here and in redis.url; keep one of them"},
    {"redis {\n username = bob\n url = \"redis://bob@h\" }",
     "3: redis.url: the user stands in the URL and in redis.username; keep one of them"},
    {"\nredis {\n username = bob }", "2: redis.password-file: it is missing; a user logs in with a password"},
    {"redis { url = \"redis://bob@h\" }", "1: redis.password-file: it is missing; a user logs in with a password"},
    {"redis { url = private:/a password-file = b }",
     "1: redis: a private Redis has no users; take username and password-file away"},
    {"redis { prefix = \"a b\" }",
     "1: redis.prefix: there is a space, a control character or one beyond ASCII in it; leave that out"},
    {"redis { prefix = \"\xc3\xa9\" }",
     "1: redis.prefix: there is a space, a control character or one beyond ASCII in it; leave that out"},
    {"redis { prefix = a23456789b123456789c123456789d123456789e123456789f123456789g12345 }",
     "1: redis.prefix: it has 65 bytes; give 0 to 64"},
    {"redis { username = \"\" }", "1: redis.username: it has 0 bytes; give 1 to 128"},
    {"redis { password-file = \"\" }", "1: redis.password-file: the path is empty; give one, or leave the option out"},

    /* Names that there are not */
    {"worker = 3", "1: worker: there is no such option or section; known are workers, user, keyring, max-line, "
                   "max-inflight, idle-timeout, request-timeout, write-timeout, drain-timeout, log, listener, redis, "
                   "cache, audit, slack, policy, hook"},
    {"cache {\n stale = 5 }", "2: cache.stale: there is no such option; known are bytes, entries, negative-entries, "
                              "ttl, negative-ttl, stale-on-error"},
    {"redis { min-replicas-acked = 17 }", "1: redis.min-replicas-acked: \"17\" is out of range; give 0 to 16"},
    {"redis { replicas-acked = 1 }", "1: redis.replicas-acked: there is no such option; known are url, prefix, "
                                     "username, password-file, tls-ca, tls-certificate-file, tls-key-file, "
                                     "tls-server-name, tls-minimum-version, connect-timeout, command-timeout, "
                                     "min-replicas-acked"},
    {"log { ../hunter2 = 1 }", "1: log.(not a name): there is no such option; known are level, format"},
    {"\nprefix = a", "2: prefix: there is no such option or section; known are workers, user, keyring, max-line, "
                     "max-inflight, idle-timeout, request-timeout, write-timeout, drain-timeout, log, listener, redis, "
                     "cache, audit, slack, policy, hook"},
    {"log { workers = 1 }", "1: log.workers: there is no such option; known are level, format"},
    {"/* one */ /* two\n */\nlog { a = 1 }", "3: log.a: there is no such option; known are level, format"},

    /* Audit log, Slack and hooks */
    {"audit { file = \"\" }", "1: audit.file: the path is empty; give one, or leave the option out"},
    {LISTENER "audit {\n mode = required }",
     "2: audit.mode: nothing writes the audit log that is required; give both lines: audit { file = "
     "\"/var/log/tokenkeep/audit.log\"  mode = required } and hook \"audit.lua\" { }"},
    {LISTENER "audit { mode = required file = /tmp/audit.log }",
     "2: audit.mode: nothing writes the audit log that is required; give both lines: audit { file = "
     "\"/var/log/tokenkeep/audit.log\"  mode = required } and hook \"audit.lua\" { }"},
    {"audit { mode = never }", "1: audit.mode: \"never\" is none of best-effort|required; give one of them"},
    {"slack {\n application = \"\" }", "2: slack.application: it has 0 bytes; give 1 to 64"},
    {"slack { application = a23456789b123456789c123456789d123456789e123456789f123456789g12345 }",
     "1: slack.application: it has 65 bytes; give 1 to 64"},
    {"slack { application = \"a b\" }",
     "1: slack.application: there is a space, a control character or one beyond ASCII in it; leave that out"},
    {"slack { group-interval = 0.999 }",
     "1: slack.group-interval: \"0.999\" is out of range; give seconds from 1 to 86400"},
    {"slack { group-interval = 86400.1 }",
     "1: slack.group-interval: \"86400.1\" is out of range; give seconds from 1 to 86400"},
    {"slack { webhook = a }",
     "1: slack.webhook: there is no such option; known are webhook-file, application, group-interval"},
    {"hook \"\" { }",
     "1: hook: the title is not the file of a script: the path is empty; give one, or leave the option out"},
    {"\nhook \"/none/a.lua\" {\n}",
     "2: hook: there is no file /none/a.lua; put the script there, or correct the title"},
    {"hook \"/\" { }", "1: hook: / is not a file but a folder or a device; give the file of a script"},
    {"hook other.lua { Audit = 1 audit = 1 }",
     "1: hook.audit: scripts find the section audit under this name; give another"},
    {"\nhook other.lua {\n slack = 1 }", "2: hook.slack: scripts find the section slack under this name; give another"},
    {LISTENER "\nhook\n\"audit.lua\"\n{ }\nslack { }",
     "5: hook: audit.lua has no file to write; give both lines: audit { file = \"/var/log/tokenkeep/audit.log\" } and "
     "hook \"audit.lua\" { }"},
    {LISTENER "hook other.lua { }\nhook slack.lua { }\nslack { application = a }",
     "3: hook: slack.lua has no webhook to post to; give both lines: slack { webhook-file = \"" SYSCONFDIR
     "/tokenkeep/slack-webhook\" } and hook \"slack.lua\" { }"},

    /* Policies */
    {"policy \"\" { }",
     "1: policy: the title is not the file of a script: the path is empty; give one, or leave the option out"},
    {"\npolicy \"/none/a.lua\" {\n\nmode = shadow }",
     "2: policy: there is no file /none/a.lua; put the script there, or correct the title"},
    {"policy \"/\" { }", "1: policy: / is not a file but a folder or a device; give the file of a script"},
    {"policy other.lua {\nmode = off }", "2: policy.mode: \"off\" is none of enforce|shadow; give one of them"},
    {"policy other.lua { mode = \"\" }", "1: policy.mode: this is none of enforce|shadow; give one of them"},
    {"policy other.lua { mode = shadow\nmode = shadow }",
     "2: policy.mode: it stands here for the second time, the first is on line 1; keep one"},
    {"policy other.lua { a = 1\na = 1 }",
     "2: policy.a: it stands here for the second time, the first is on line 1; keep "
     "one"},
    {"policy other.lua { mode = shadow }\npolicy other.lua { }",
     "2: a second section has the title \"other.lua\"; give each its own"},
    {"policy other.lua { a = b\nb = \"${TK_TEST_CONTROL}\" }",
     "1: policy.b: there is a control character in the value"},
    {"policy { }", "1: missing title for section 'policy'; options read NAME = VALUE, sections NAME { ... } or NAME "
                   "\"TITLE\" { ... }"},
    {"mode = shadow",
     "1: mode: there is no such option or section; known are workers, user, keyring, max-line, "
     "max-inflight, idle-timeout, request-timeout, write-timeout, drain-timeout, log, listener, redis, "
     "cache, audit, slack, policy, hook"},

    /* What libConfuse would take without a word */
    {"workers = 1\nworkers = 1", "2: workers: it stands here for the second time, the first is on line 1; keep one"},
    {"log { level = info\nformat = text\nlevel = info }",
     "3: log.level: it stands here for the second time, the first is on line 1; keep one"},
    {"listener a { address = 127.0.0.1:1 address = 127.0.0.1:2 }",
     "1: listener.address: it stands here for the second time, the first is on line 1; keep one"},
    {"hook a { k = 1\nk = 2 }", "2: hook.k: it stands here for the second time, the first is on line 1; keep one"},
    {"log { }\n\nlog { }", "3: log: it stands here for the second time, the first is on line 1; keep one"},
    {"hook other.lua { }\nhook other.lua { }", "2: a second section has the title \"other.lua\"; give each its own"},
    {LISTENER "log {\n", "2: the file ends inside of section log, which opens on line 2; close it with }"},
    {LISTENER "log {\n level = info\n",
     "3: the file ends inside of section log, which opens on line 2; close it with }"},
    {LISTENER "/* } \n\n", "2: the comment that begins here with /* does not end; close it with */"},
    {LISTENER "user = \"a\nworkers = 1",
     "2: the string that begins on this line does not end on it; add the closing quote"},
    {"user = \"a\nb\"", "1: the string that begins on this line does not end on it; add the closing quote"},
    {"user = 'a", "1: the string that begins on this line does not end on it; add the closing quote"},
    {"\nuser = ${TK_TEST_UNSET}",
     "2: the variable TK_TEST_UNSET is not set in the environment; set it, or give ${NAME:-DEFAULT}"},
    {"\nuser = \"a${TK_TEST_UNSET}\"",
     "2: the variable TK_TEST_UNSET is not set in the environment; set it, or give ${NAME:-DEFAULT}"},
    {"user = \"${}\"", "1: this is no variable; write ${NAME} or ${NAME:-DEFAULT}"},
    {"user = \"${TK\n}\"", "1: this is no variable; write ${NAME} or ${NAME:-DEFAULT}"},
    {"user = ${TK_TEST:+a}", "1: this is no variable; write ${NAME} or ${NAME:-DEFAULT}"},
    {"hook other.lua { a = b\nb = \"${TK_TEST_CONTROL}\" }", "1: hook.b: there is a control character in the value"},
    {"keyring = ${TK_TEST_CONTROL}", "1: keyring: there is a control character in the path"},
    {"user = \"a\\x41\"", "1: a backslash in a string stands before \", $ and \\ only; write \\\\ for a backslash"},
    {"user = \"a\\0\"", "1: a backslash in a string stands before \", $ and \\ only; write \\\\ for a backslash"},
    {"user = 'a\\\"'", "1: a backslash in a string stands before ' and \\ only; write \\\\ for a backslash"},
    {"workers = 4 + 5", "1: there is a character here that cannot stand outside of quotes"},
    {"redis|url = a", "1: there is a character here that cannot stand outside of quotes"},
    {"\"redis|url\" = a", "1: the name of an option or section stands in quotes; write it without"},
    {"\"log\" { }", "1: the name of an option or section stands in quotes; write it without"},
    {"user = a\rworkers = 1", "1: there is a control character (byte 13) here; a configuration is text"},
    {"\n# \x1b[31m", "2: there is a control character (byte 27) here; a configuration is text"},
    {"\n\n# \xff", "3: there is a byte here that is not UTF-8; a configuration is text"},

    /* Grammar */
    {"log {\n cache { } }", "2: a section opens inside of section log, which opens on line 1; close that first with }"},
    {"\n}", "2: a closing brace stands here and no section is open"},
    {"{ }", "1: an opening brace stands here without the name of a section"},
    {"user = { a }", "1: an opening brace stands here without the name of a section"},
    {"\nworkers 4", "2: missing equal sign after option 'workers'; options read NAME = VALUE, sections NAME { ... } or "
                    "NAME \"TITLE\" { ... }"},
    {"workers =",
     "1: premature end of file; options read NAME = VALUE, sections NAME { ... } or NAME \"TITLE\" { ... }"},
    {"= 4", "1: unexpected token '='; options read NAME = VALUE, sections NAME { ... } or NAME \"TITLE\" { ... }"},
    {"log = 4", "1: missing opening brace for section 'log'; options read NAME = VALUE, sections NAME { ... } or NAME "
                "\"TITLE\" { ... }"},
    {"log a { }", "1: missing opening brace for section 'log'; options read NAME = VALUE, sections NAME { ... } or "
                  "NAME \"TITLE\" { ... }"},
};

/* Standard error stays empty meanwhile: what libConfuse has to say comes through the error. */
static void every_mistake(void **state)
{
    (void)state;
    int saved = dup(STDERR_FILENO), captured = open("stderr", O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(saved >= 0 && captured >= 0);
    dup2(captured, STDERR_FILENO);
    struct error errors[sizeof mistakes / sizeof *mistakes];
    struct config *configs[sizeof mistakes / sizeof *mistakes];
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        configs[i] = load(mistakes[i].text, &errors[i]);
    dup2(saved, STDERR_FILENO);
    close(saved);
    struct stat status;
    assert_int_equal(fstat(captured, &status), 0);
    close(captured);
    assert_int_equal(status.st_size, 0);

    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        char expected[ERROR_TEXT_SIZE];
        snprintf(expected, sizeof expected, FILE_NAME ":%s", mistakes[i].error);
        assert_error(configs[i], &errors[i], expected);
    }
}

/* `before`, the pattern `times` times with the number of the time in place of each %, `after`. */
static char *repeat(const char *before, const char *pattern, int times, const char *after)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    fputs(before, out);
    for (int i = 1; i <= times; i++)
        for (const char *c = pattern; *c != '\0'; c++)
            *c == '%' ? fprintf(out, "%d", i) : fputc(*c, out);
    fputs(after, out);
    fclose(out);
    return text;
}

static void assert_bound(const char *before, const char *pattern, int most, const char *after, const char *expected)
{
    struct error error;
    char *text = repeat(before, pattern, most, after);
    struct config *config = load_good(text);
    config_free(&config);
    free(text);
    text = repeat(before, pattern, most + 1, after);
    config = load(text, &error);
    free(text);
    assert_error(config, &error, expected);
}

/* More than a text may hold, though there is nothing it could hold that many of. */
static void assert_too_much(const char *before, const char *pattern, int times, const char *after, const char *expected)
{
    struct error error;
    char *text = repeat(before, pattern, times, after);
    struct config *config = load(text, &error);
    free(text);
    assert_error(config, &error, expected);
}

static void bounds(void **state)
{
    (void)state;
    assert_bound("", "listener l% { address = 127.0.0.1:% }\n", 16, "",
                 FILE_NAME ":17: listener: there are more than 16 listeners");
    _Static_assert(CONFIG_HOOKS_MAX == CONFIG_POLICIES_MAX, "the same files do for both");
    char names[CONFIG_HOOKS_MAX + 1][16];
    for (int i = 0; i <= CONFIG_HOOKS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "h%d", i + 1);
        write_script(names[i]);
    }
    assert_bound(LISTENER, "hook h% { }\n", CONFIG_HOOKS_MAX, "", FILE_NAME ":18: hook: there are more than 16 hooks");
    assert_bound(LISTENER, "policy h% { mode = shadow }\n", CONFIG_POLICIES_MAX, "",
                 FILE_NAME ":18: policy: there are more than 16 policies");
    for (int i = 0; i <= CONFIG_HOOKS_MAX; i++)
        assert_int_equal(unlink(names[i]), 0);
    assert_bound(LISTENER "hook other.lua {\n", "o% = 1\n", CONFIG_SETTINGS_MAX, "}",
                 FILE_NAME ":2: hook: there are more than 64 settings");
    assert_bound(LISTENER "policy other.lua {\nmode = shadow\n", "o% = 1\n", CONFIG_SETTINGS_MAX, "}",
                 FILE_NAME ":2: policy: there are more than 64 settings");
    assert_too_much(LISTENER, "hook h% { }\n", CONFIG_SECTIONS_MAX, "",
                    FILE_NAME ":129: there are more than 128 sections");
    assert_too_much(LISTENER "hook h {\n", "o% = 1\n", CONFIG_NAMES_MAX + 1, "}",
                    FILE_NAME ":259: there are more than 256 options in one section");
}

static void file_of_size(size_t size, struct error *error, bool loads)
{
    char *bytes = malloc(size);
    assert_non_null(bytes);
    memset(bytes, ' ', size);
    memcpy(bytes, LISTENER, strlen(LISTENER));
    write_file(FILE_NAME, bytes, size);
    free(bytes);
    struct config *config = config_load(FILE_NAME, false, error);
    assert_int_equal(config != NULL, loads);
    config_free(&config);
}

static void strange_files(void **state)
{
    (void)state;
    struct error error;
    assert_error(config_load("none.conf", false, &error), &error,
                 "none.conf:1: the file cannot be opened: No such file or directory");
    assert_error(config_load(".", false, &error), &error,
                 ".:1: this is not a file but a folder or a device; give the path of a file");
    assert_error(config_load("/dev/null", false, &error), &error,
                 "/dev/null:1: this is not a file but a folder or a device; give the path of a file");
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_error(config_load("fifo", false, &error), &error,
                 "fifo:1: this is not a file but a folder or a device; give the path of a file");
    write_file(FILE_NAME, LISTENER "\n#\0\n", sizeof LISTENER "\n#\0\n" - 1);
    assert_error(config_load(FILE_NAME, false, &error), &error,
                 FILE_NAME ":3: there is a control character (byte 0) here; a configuration is text");
    write_file(FILE_NAME, "\177ELF\2\1", 6);
    assert_error(config_load(FILE_NAME, false, &error), &error,
                 FILE_NAME ":1: there is a control character (byte 127) here; a configuration is text");
    file_of_size(CONFIG_TEXT_MAX, &error, true);
    file_of_size(CONFIG_TEXT_MAX + 1, &error, false);
    assert_string_equal(error.text,
                        FILE_NAME ":1: the file is larger than 1048576 bytes; this cannot be a configuration");
}

static void unreadable_file(void **state)
{
    (void)state;
    if (geteuid() == 0)
        skip(); /* root reads everything */
    struct error error;
    write_file("secret.conf", "", 0);
    assert_int_equal(chmod("secret.conf", 0), 0);
    assert_error(config_load("secret.conf", false, &error), &error,
                 "secret.conf:1: the file cannot be opened: Permission denied");
}

/* No brace in here but those of sections, so that counting them says where a cut is. */
static const char whole[] = "workers = 3\n" LISTENER "log { level = \"debug\" } # comment\n"
                            "listener \"admin\" {\n"
                            "    address = \"unix:/run/a.sock\"\n"
                            "    role = \"manage\" /* all of it */\n"
                            "}\n"
                            "redis { url = \"redis://bob@127.0.0.1\" password-file = 'pw' }\n"
                            "hook other.lua { a = \"${TK_TEST_WORKERS:-b}\" }\n"
                            "policy other.lua { a = b mode = 'shadow' }\n"
                            "cache { ttl = 0.5 }\n";

static int depth(const char *text, size_t size)
{
    int open = 0;
    for (size_t i = 0; i < size; i++) {
        bool of_variable = text[i] == '{' && text[i - 1] == '$';
        if (text[i] == '{' && !of_variable)
            open++;
        if (text[i] == '}' && (i < 10 || memcmp(text + i - 3, ":-b", 3) != 0))
            open--;
    }
    return open;
}

static void every_cut(void **state)
{
    (void)state;
    size_t loaded = 0, inside = 0;
    assert_int_equal(depth(whole, sizeof whole - 1), 0);
    for (size_t size = 0; size < sizeof whole; size++) {
        struct error error = {""};
        write_file(FILE_NAME, whole, size);
        struct config *config = config_load(FILE_NAME, false, &error);
        bool is_inside = depth(whole, size) != 0;
        inside += is_inside;
        loaded += config != NULL;
        assert_false(is_inside && config != NULL);
        assert_int_equal(error.text[0] == '\0', config != NULL);
        config_free(&config);
    }
    assert_true(inside > 100 && loaded > 20);
}

/* Bytes changed at random, the same ones each time. */
static void random_flips(void **state)
{
    (void)state;
    unsigned seed = 20261123;
    size_t loaded = 0;
    for (int round = 0; round < 2000; round++) {
        char text[sizeof everything];
        memcpy(text, everything, sizeof text);
        for (int flips = rand_r(&seed) % 4; flips >= 0; flips--)
            text[(size_t)rand_r(&seed) % (sizeof text - 1)] = (char)(rand_r(&seed) % 256);
        struct error error = {""};
        write_file(FILE_NAME, text, sizeof text - 1);
        struct config *config = config_load(FILE_NAME, false, &error);
        loaded += config != NULL;
        if (config == NULL)
            assert_memory_equal(error.text, FILE_NAME ":", sizeof FILE_NAME);
        config_free(&config);
    }
    assert_true(loaded > 0 && loaded < 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mistake),   cmocka_unit_test(bounds),    cmocka_unit_test(strange_files),
        cmocka_unit_test(unreadable_file), cmocka_unit_test(every_cut), cmocka_unit_test(random_flips),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
