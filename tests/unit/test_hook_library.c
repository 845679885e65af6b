/* SPDX-License-Identifier: MIT */
/* keep.file and keep.http as a hook's Lua code sees them, in a state whose host is played here: what they do, what they
 * refuse and how, and what is left of them when the state is closed. */
#include "reporter/hook_library.h"

#include "reporter/hook.h"
#include "reporter/hooks.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include <cmocka.h>

struct hook {
    lua_State *lua;
    uint64_t life;
    struct hooks_settings settings;
};

static struct hook hook;
static struct error error;
static char folder[] = "/tmp/tk-library-XXXXXX";

struct hook *hook_of(lua_State *lua)
{
    assert_true(lua == hook.lua);
    return &hook;
}

const struct hooks_settings *hook_settings(const struct hook *which)
{
    return &which->settings;
}

struct hook_callback hook_callback_new(lua_State *lua, int index)
{
    struct hook_callback callback = {.hook = &hook, .life = hook.life};
    luaL_checktype(lua, index, LUA_TFUNCTION);
    lua_pushvalue(lua, index);
    callback.reference = luaL_ref(lua, LUA_REGISTRYINDEX);
    return callback;
}

lua_State *hook_callback_begin(struct hook_callback *callback)
{
    if (callback->life != hook.life)
        return NULL;
    lua_rawgeti(hook.lua, LUA_REGISTRYINDEX, callback->reference);
    hook_callback_drop(callback);
    return hook.lua;
}

void hook_callback_drop(struct hook_callback *callback)
{
    luaL_unref(hook.lua, LUA_REGISTRYINDEX, callback->reference);
}

void hook_call(struct hook *which, int n)
{
    if (lua_pcall(which->lua, n, 0, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(which->lua, -1));
}

static void state_open(void)
{
    hook.life++;
    hook.lua = luaL_newstate();
    luaL_openlibs(hook.lua);
    lua_createtable(hook.lua, 0, 2);
    hook_file_push(hook.lua);
    lua_setfield(hook.lua, -2, "file");
    hook_http_push(hook.lua);
    lua_setfield(hook.lua, -2, "http");
    lua_setglobal(hook.lua, "keep");
    hook_webhook_push(hook.lua);
    lua_setglobal(hook.lua, "webhook");
    lua_pushstring(hook.lua, folder);
    lua_setglobal(hook.lua, "folder");
}

static void state_close(void)
{
    lua_close(hook.lua);
    hook.lua = NULL;
}

static int begin(void **state)
{
    (void)state;
    hook.settings.base = event_base_new();
    hook.settings.http = http_new(hook.settings.base);
    hook.settings.files = files_new();
    hook.settings.webhook = "http://127.0.0.1:9/secret";
    state_open();
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (hook.lua != NULL)
        state_close();
    http_free(&hook.settings.http);
    files_free(&hook.settings.files);
    event_base_free(hook.settings.base);
    return 0;
}

static int folder_make(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int folder_remove(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void run(const char *code)
{
    if (luaL_dostring(hook.lua, code) != LUA_OK)
        fail_msg("%s", lua_tostring(hook.lua, -1));
}

static void expect(const char *path, const char *text)
{
    char found[256];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    found[fread(found, 1, sizeof found - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(found, text);
}

static const char *log_path(void)
{
    static char path[64];
    snprintf(path, sizeof path, "%s/log", folder);
    return path;
}

static void test_file(void **state)
{
    (void)state;
    run("file = assert(keep.file.open(folder .. '/log'))\n"
        "assert(file:append('one') == true and file:append('') == true)\n"
        "assert(file:sync() == true and file:failure() == nil and math.type(file:dropped()) == 'integer')\n"
        "assert(file:append('three') and file:reopen() == true)\n"
        "local other, reason = keep.file.open(folder .. '/log')\n"
        "assert(other == nil and reason:find('open already'), reason)\n"
        "other, reason = keep.file.open('/nonexistent/log')\n"
        "assert(other == nil and reason:find('No such file'), reason)\n"
        "file:append('four')\n"
        "file:close()\n"
        "file:close()\n"
        "file = assert(keep.file.open(folder .. '/log'))\n"
        "file:append('five')");
    expect(log_path(), "one\n\nthree\nfour\n");
    state_close(); /* closes the file, which writes what waits */
    expect(log_path(), "one\n\nthree\nfour\nfive\n");
    struct file *file = file_open(hook.settings.files, log_path(), &error);
    assert_non_null(file);
    file_close(&file);
    unlink(log_path());
}

static void test_file_without_room(void **state)
{
    (void)state;
    run("file = assert(keep.file.open(folder .. '/log'))");
    unlink(log_path());
    assert_int_equal(rmdir(folder), 0);
    run("local done, reason = file:reopen()\n"
        "assert(done == nil and reason:find('cannot be opened again') and file:failure() == reason)\n"
        "local line, n = ('x'):rep(65536), 0\n"
        "while file:append(line) do n = n + 1 end\n"
        "assert(n == 63, n)\n"
        "assert(file:dropped() == 1 and file:dropped() == 0)\n"
        "file:close()");
    assert_non_null(mkdtemp(strcpy(folder, "/tmp/tk-library-XXXXXX")));
}

/* What is wrong is said with the number of the argument. */
static void test_misuse(void **state)
{
    static const char *const cases[][2] = {
        {"keep.file.open()", "#1 to 'open'"},
        {"keep.file.open({})", "#1 to 'open'"},
        {"keep.file.open('log')", "#1 to 'open' (the path must be absolute)"},
        {"keep.file.open('/log\\0')", "#1 to 'open' (the path must be absolute)"},
        {"file:append()", "#1 to 'append'"},
        {"file:append({})", "#1 to 'append'"},
        {"file:append(('x'):rep(65537))", "#1 to 'append' (the line is too long)"},
        {"file:append('a\\nb')", "#1 to 'append' (the line holds a line feed)"},
        {"file.append('x', 'y')", "#1 to 'append'"},
        {"file.append(webhook, 'y')", "#1 to 'append'"},
        {"file.close()", "#1 to 'close'"},
        {"closed:append('x')", "the file is closed"},
        {"closed:sync()", "the file is closed"},
        {"closed:reopen()", "the file is closed"},
        {"closed:failure()", "the file is closed"},
        {"closed:dropped()", "the file is closed"},
        {"file.path = 1", "attempt to index"},
        {"file.sync = print", "attempt to index"},
        {"setmetatable(file, {})", "table expected"},
        {"post()", "#1 to 'post'"},
        {"post({}, '', f)", "#1 to 'post'"},
        {"post(file, '', f)", "#1 to 'post'"},
        {"post('http://127.0.0.1/\\0', '', f)", "#1 to 'post' (no address)"},
        {"post('http://127.0.0.1/' .. ('x'):rep(4096), '', f)", "#1 to 'post' (no address)"},
        {"post(webhook)", "#2 to 'post'"},
        {"post(webhook, f)", "#2 to 'post'"},
        {"post(webhook, ('x'):rep(1024 * 1024 + 1), f)", "#2 to 'post' (the body is too long)"},
        {"post(webhook, '', 1, f)", "#3 to 'post'"},
        {"post(webhook, '', { [1] = 2 }, f)", "#3 to 'post' (options have names)"},
        {"post(webhook, '', { 'type' }, f)", "#3 to 'post' (options have names)"},
        {"post(webhook, '', { [webhook] = 1 }, f)", "#3 to 'post' (options have names)"},
        {"post(webhook, '', { typ = 'a' }, f)", "#3 to 'post' (the option 'typ' is unknown or of the wrong type)"},
        {"post(webhook, '', { type = 1 }, f)", "#3 to 'post' (the option 'type' is unknown or of the wrong type)"},
        {"post(webhook, '', { timeout = '1' }, f)", "#3 to 'post' (the option 'timeout' is unknown"},
        {"post(webhook, '', { timeout = 0 }, f)", "#3 to 'post' (the timeout is more than 0"},
        {"post(webhook, '', { timeout = -1 }, f)", "#3 to 'post' (the timeout is more than 0"},
        {"post(webhook, '', { timeout = 301 }, f)", "#3 to 'post' (the timeout is more than 0"},
        {"post(webhook, '', { timeout = 0/0 }, f)", "#3 to 'post' (the timeout is more than 0"},
        {"post(webhook, '', {})", "#4 to 'post'"},
        {"post(webhook, '', {}, {})", "#4 to 'post'"},
        {"post(webhook, '')", "#4 to 'post'"},
    };
    (void)state;
    run("post, f = keep.http.post, function() end\n"
        "file = assert(keep.file.open(folder .. '/log'))\n"
        "closed = assert(keep.file.open(folder .. '/closed'))\n"
        "closed:close()");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (luaL_dostring(hook.lua, cases[i][0]) == LUA_OK)
            fail_msg("%s: no error", cases[i][0]);
        const char *text = lua_tostring(hook.lua, -1);
        if (strstr(text, cases[i][1]) == NULL || strstr(text, "secret") != NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i][0], text, cases[i][1]);
        lua_settop(hook.lua, 0);
    }
    assert_int_equal(http_waiting(hook.settings.http), 0);
    run("os.remove(folder .. '/log') os.remove(folder .. '/closed')");
}

static void test_webhook(void **state)
{
    (void)state;
    run("assert(type(webhook) == 'userdata' and tostring(webhook) == 'webhook')\n"
        "assert(getmetatable(webhook) == false and not pcall(setmetatable, webhook, {}))\n"
        "assert(not pcall(function() return webhook.address end))\n"
        "assert(not pcall(function() return webhook .. '' end))\n"
        "assert(not pcall(function() return #webhook end))");
    state_close();
    hook.settings.webhook = NULL;
    state_open();
    run("assert(webhook == nil)");
}

/* Turns the loop until nothing is under way. */
static void turn(void)
{
    for (int i = 0; i < 2000 && http_waiting(hook.settings.http) > 0; i++)
        event_base_loop(hook.settings.base, EVLOOP_ONCE);
    assert_int_equal(http_waiting(hook.settings.http), 0);
}

static void test_post(void **state)
{
    (void)state;
    /* Nobody listens on the port "discard". */
    run("answers = {}\n"
        "local function note(answer) answers[#answers + 1] = answer end\n"
        "assert(keep.http.post(webhook, '{}', note) == true)\n"
        "assert(keep.http.post('http://[::1]:9/', '{}', { timeout = 5, type = 'text/plain' }, note) == true)\n"
        "assert(keep.http.post('http://localhost:9/', '{}', nil, note) == true)\n"
        "for _, address in ipairs { 'http://secret.example/', 'secret', '', 'https://u:secret@h/' } do\n"
        "    local begun, reason = keep.http.post(address, '{}', note)\n"
        "    assert(begun == nil and #reason > 0 and not reason:find('secret'), reason)\n"
        "end\n"
        "local begun, reason = keep.http.post(webhook, '{}', { type = 'a\\nb' }, note)\n"
        "assert(begun == nil and reason:find('the type'))\n"
        "assert(#answers == 0)");
    turn();
    run("assert(#answers == 3)\n"
        "for _, answer in ipairs(answers) do\n"
        "    assert(answer.status == nil and answer.retry_after == nil and answer.body == '')\n"
        "    assert(answer.error == \"Couldn't connect to server\", answer.error)\n"
        "end");
}

static void test_too_many(void **state)
{
    (void)state;
    run("local n, reason = 0\n"
        "while true do\n"
        "    local begun\n"
        "    begun, reason = keep.http.post(webhook, '{}', function() n = n - 1; rest = n end)\n"
        "    if not begun then break end\n"
        "    n = n + 1\n"
        "end\n"
        "assert(n == 64 and reason:find('64 posts'))\n"
        "collectgarbage()");
    turn();
    run("assert(rest == 0)");
}

/* What was under way outlasts the state, and nothing is called afterwards. */
static void test_closed_while_under_way(void **state)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    (void)state;
    int silent = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(silent, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(silent, 8), 0);
    assert_int_equal(getsockname(silent, (struct sockaddr *)&name, &size), 0);
    lua_pushinteger(hook.lua, ntohs(name.sin_port));
    lua_setglobal(hook.lua, "port");
    run("for i = 1, 5 do\n"
        "    assert(keep.http.post('http://127.0.0.1:' .. port, '{}', function() error('called') end))\n"
        "end");
    for (int i = 0; i < 10; i++)
        event_base_loop(hook.settings.base, EVLOOP_NONBLOCK);
    assert_int_equal(http_waiting(hook.settings.http), 5);
    state_close();
    assert_int_equal(http_waiting(hook.settings.http), 5);
    close(silent);
    turn();
    state_open();
    run("keep.http.post(webhook, '{}', function() again = true end)");
    turn();
    run("assert(again)");
}

/* Where a configuration is only looked at, there is nothing to call. */
static void test_without_the_world(void **state)
{
    (void)state;
    http_free(&hook.settings.http);
    files_free(&hook.settings.files);
    run("local done, reason = keep.file.open('/log')\n"
        "assert(done == nil and #reason > 0)\n"
        "done, reason = keep.http.post(webhook, '{}', function() end)\n"
        "assert(done == nil and #reason > 0)");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_file),
        TEST(test_file_without_room),
        TEST(test_misuse),
        TEST(test_webhook),
        TEST(test_post),
        TEST(test_too_many),
        TEST(test_closed_while_under_way),
        TEST(test_without_the_world),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
