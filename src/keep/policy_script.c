/* SPDX-License-Identifier: MIT */
/* The script of one policy. */
#include "keep/policy_script.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/lua_json.h"
#include "base/lua_keep.h"
#include "base/lua_match.h"
#include "base/lua_sandbox.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RESULTS = 2 };

#define MILLISECOND (CLOCK_SECOND / 1000)

static const struct sandbox_limits call_limits = {.cpu = POLICY_CPU_MAX * MILLISECOND,
                                                  .instructions = POLICY_INSTRUCTIONS_MAX},
                                   load_limits = {.cpu = POLICY_LOAD_CPU_MAX * MILLISECOND};

struct policy_script {
    const struct config_script *config;
    _Atomic uint64_t *lua_call;
    const char *file; /* the last part of config->path, as Lua's messages begin */
    char *text;       /* of the file */
    size_t size;
    struct lua_keep keep;
    struct policy_tables tables;
    struct sandbox *sandbox; /* NULL: its memory was used up, it is made anew with the next call */
    int64_t not_before;      /* boot-time clock: until then it is not tried again */
    bool loaded;             /* at least once; then `points` are for good */
    unsigned points;         /* a bit each */
    int functions[POLICY_POINTS];
    uint64_t instructions; /* of the last call */
    json_t *tree;          /* between make_tree and who has called it */
    struct error tree_error;
};

static bool has(unsigned points, unsigned point)
{
    return (points >> point & 1) != 0;
}

bool policy_script_has(const struct policy_script *script, enum policy_point point)
{
    return has(script->points, point);
}

uint64_t policy_script_instructions(const struct policy_script *script)
{
    return script->instructions;
}

/* The file. */

/* Reads up to `size` bytes. Returns how many there were, -1 with errno. */
static ssize_t read_bytes(int fd, char *bytes, size_t size)
{
    size_t used = 0;
    while (used < size) {
        const ssize_t n = read(fd, bytes + used, size - used);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        used += (size_t)n;
    }
    return (ssize_t)used;
}

static int read_text(struct policy_script *script, int fd, struct error *error)
{
    struct stat file;
    const char *path = script->config->path;
    if (fstat(fd, &file) != 0)
        return error_set(error, "%s: %s", path, strerror(errno));
    if (!S_ISREG(file.st_mode))
        return error_set(error, "%s: not a file", path);
    if (file.st_size > POLICY_FILE_MAX)
        return error_set(error, "%s: longer than %d bytes", path, POLICY_FILE_MAX);
    script->text = memory_zeroed((size_t)file.st_size + 1);
    const ssize_t size = read_bytes(fd, script->text, (size_t)file.st_size);
    if (size < 0)
        return error_set(error, "%s: %s", path, strerror(errno));
    script->size = (size_t)size;
    return 0;
}

static int read_file(struct policy_script *script, struct error *error)
{
    const int fd = open(script->config->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set(error, "%s: %s", script->config->path, strerror(errno));
    const int result = read_text(script, fd, error);
    close(fd);
    return result;
}

/* Loading. */

/* Throws what is wrong with the member of the table whose name and value are on top of the stack, with the line where
 * there is one. */
static int throw_member(lua_State *lua, const char *what)
{
    lua_Debug function;
    const char *file = ((const struct policy_script *)sandbox_owner(lua))->file;
    const char *name = luaL_tolstring(lua, -2, NULL), *type = luaL_typename(lua, -2);
    if (!lua_isfunction(lua, -2) || lua_iscfunction(lua, -2))
        return luaL_error(lua, "'%s' in the table is %s", name, what == NULL ? type : what);
    lua_pushvalue(lua, -2);
    lua_getinfo(lua, ">S", &function);
    return luaL_error(lua, "%s:%d: '%s' in the table is %s", file, function.linedefined, name, what);
}

/* The table that the file has returned is on top of the stack. */
static void check_table(lua_State *lua)
{
    if (lua_type(lua, -1) != LUA_TTABLE)
        luaL_error(lua, "the file returns %s, not a table of functions", luaL_typename(lua, -1));
    for (lua_pushnil(lua); lua_next(lua, -2) != 0; lua_pop(lua, 1)) {
        const char *name = lua_type(lua, -2) == LUA_TSTRING ? lua_tostring(lua, -2) : "";
        if (strcmp(name, "load") != 0 && policy_point_parse(name) == POLICY_POINTS)
            throw_member(lua, "unknown; known are load, get, check, getkey, store, issue, delete, deleteall, list and "
                              "verifyall");
        if (lua_type(lua, -1) != LUA_TFUNCTION)
            throw_member(lua, "not a function");
    }
}

static void take_functions(lua_State *lua, struct policy_script *script)
{
    unsigned points = 0;
    for (int point = 0; point < POLICY_POINTS; point++) {
        const bool is_there = lua_getfield(lua, -1, policy_point_name((enum policy_point)point)) != LUA_TNIL;
        points |= (unsigned)is_there << point;
        script->functions[point] = luaL_ref(lua, LUA_REGISTRYINDEX);
    }
    /* Fewer functions than before would permit what was refused. */
    if (script->loaded && points != script->points)
        luaL_error(lua, "the table has other functions than when it was loaded first");
    script->points = points;
}

static void push_settings(lua_State *lua, const struct config_script *config)
{
    lua_createtable(lua, 0, (int)config->n_settings);
    for (size_t i = 0; i < config->n_settings; i++) {
        lua_pushstring(lua, config->settings[i].value);
        lua_setfield(lua, -2, config->settings[i].name);
    }
}

static int load(lua_State *lua)
{
    char name[128];
    struct policy_script *script = sandbox_owner(lua);
    lua_keep_open(lua, &script->keep);
    lua_match_open(lua);
    policy_tables_open(lua, &script->tables);
    snprintf(name, sizeof name, "@%s", script->file);
    sandbox_compile(lua, script->text, script->size, name);
    lua_call(lua, 0, 1);
    check_table(lua);
    take_functions(lua, script);
    if (lua_getfield(lua, -1, "load") == LUA_TNIL)
        return 0;
    push_settings(lua, script->config);
    lua_call(lua, 1, 0);
    return 0;
}

/* Lua says "file.lua:3: why | stack traceback: ...". Where that names the line, the file's whole path goes before it
 * and the traceback is left out, which leads into the loader. */
static int explain_load(const struct policy_script *script, const char *failure, struct error *error)
{
    const char *path = script->config->path, *trace = strstr(failure, " | stack traceback:");
    const size_t file_size = strlen(script->file);
    const int folder_size = (int)(script->file - path);
    if (strncmp(failure, script->file, file_size) == 0 && failure[file_size] == ':')
        error_set(error, "%.*s%.*s", folder_size, path, trace == NULL ? ERROR_TEXT_SIZE : (int)(trace - failure),
                  failure);
    else
        error_set(error, "%s: %s", path, failure);
    utf8_make_text(error->text, strlen(error->text));
    return -1;
}

/* Makes the state. */
static int state_new(struct policy_script *script, struct error *error)
{
    const struct sandbox_settings settings = {
        .memory_max = POLICY_MEMORY_MAX,
        .lua_call = script->lua_call,
        .owner = script,
    };
    script->sandbox = sandbox_new(&settings, error);
    if (script->sandbox == NULL)
        return -1;
    lua_pushcfunction(sandbox_lua(script->sandbox), load);
    if (sandbox_call(script->sandbox, 0, 0, &load_limits) == 0) {
        script->loaded = true;
        return 0;
    }
    explain_load(script, sandbox_failure(script->sandbox), error);
    sandbox_free(&script->sandbox);
    return -1;
}

/* Makes a state in the place of one that is gone. Should this be needed again and again, no more than a fifth of the
 * time is to go into loading. */
static int state_renew(struct policy_script *script, struct error *failure)
{
    struct error reason;
    const int64_t began = clock_boot();
    if (began < script->not_before)
        return error_set(failure, "it used up its memory, and is not loaded again yet");
    const int result = state_new(script, &reason);
    const int64_t ended = clock_boot();
    script->not_before = ended + 4 * (ended - began);
    if (result != 0)
        return error_set(failure, "it used up its memory, and cannot be loaded again: %s", reason.text);
    log_warning("policy %s: loaded again, as its memory was used up", script->file);
    return 0;
}

/* Calls. */

static void explain_call(struct policy_script *script, struct error *failure)
{
    const char *text = sandbox_failure(script->sandbox);
    const size_t size = utf8_cut(text, strlen(text), sizeof failure->text - 1);
    error_set(failure, "%.*s", (int)size, text);
    utf8_make_text(failure->text, size);
}

lua_State *policy_script_call(struct policy_script *script, struct policy_call *call, struct error *failure)
{
    script->instructions = 0;
    if (script->sandbox == NULL && state_renew(script, failure) != 0)
        return NULL;
    lua_State *lua = sandbox_lua(script->sandbox);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, script->functions[call->request->point]);
    policy_tables_begin(lua, &script->tables, call);
    const int result = sandbox_call(script->sandbox, 2, RESULTS, &call_limits);
    policy_tables_end(&script->tables);
    script->instructions = sandbox_instructions(script->sandbox);
    if (result == 0)
        return lua;
    explain_call(script, failure);
    if (sandbox_was_full(script->sandbox))
        sandbox_free(&script->sandbox);
    return NULL;
}

static int make_tree(lua_State *lua)
{
    struct policy_script *script = sandbox_owner(lua);
    script->tree = lua_json_tree(lua, &script->tree_error);
    return 0;
}

json_t *policy_script_changes(struct policy_script *script, struct error *error)
{
    lua_State *lua = sandbox_lua(script->sandbox);
    lua_pushcfunction(lua, make_tree);
    lua_pushvalue(lua, -2);
    const int result = sandbox_call(script->sandbox, 1, 0, &call_limits);
    json_t *tree = script->tree;
    script->tree = NULL;
    if (result == 0 && tree == NULL)
        *error = script->tree_error;
    if (result == 0)
        return tree;
    json_decref(tree);
    explain_call(script, error);
    return NULL;
}

void policy_script_done(struct policy_script *script)
{
    lua_pop(sandbox_lua(script->sandbox), RESULTS);
}

/* Making and freeing. */

struct policy_script *policy_script_new(const struct config_script *config, _Atomic uint64_t *lua_call,
                                        struct error *error)
{
    struct policy_script *script = memory_zeroed(sizeof *script);
    const char *slash = strrchr(config->path, '/');
    script->config = config;
    script->lua_call = lua_call;
    script->file = slash == NULL ? config->path : slash + 1;
    snprintf(script->keep.who, sizeof script->keep.who, "policy %s", script->file);
    if (read_file(script, error) != 0 || state_new(script, error) != 0)
        policy_script_free(&script);
    return script;
}

const char *policy_script_name(const struct policy_script *script)
{
    return script->file;
}

void policy_script_free(struct policy_script **script)
{
    if (*script == NULL)
        return;
    sandbox_free(&(*script)->sandbox);
    free((*script)->text);
    free(*script);
    *script = NULL;
}
