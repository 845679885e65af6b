/* SPDX-License-Identifier: MIT */
/* A Lua state within limits. */
#include "base/lua_sandbox.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/lua_library.h"
#include "base/utf8.h"

#include <assert.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Instructions from one look at the clock, a system call, to the next: one that goes over a text of a megabyte
     * takes up to 9 ms, one that looks for the next key of an emptied table 1 ms. */
    PERIOD = 1000,
    PERIOD_LARGE = 100,        /* in a large state */
    PERIOD_TEXTS = 4194304,    /* while there are large texts, divided by their bytes */
    STATE_LARGE = 1024 * 1024, /* bytes */
    TEXT_LARGE = 16 * 1024,    /* bytes */
    PIECE = 512,               /* bytes of a text from one look to the next while it is compiled */
    TEXTS_MAX = 4096,          /* large ones */
    CLOCK_WORK = 100000,       /* steps of work in C from one look to the next */
    WORK_LARGE = 10,           /* steps that one counts as in a large state */
    BLOCK_LARGE = 64 * 1024,   /* bytes that take longer to fill than a look at the clock */
    FAILURE_SIZE = 1001,
    MESSAGE_MAX = 512, /* bytes of an error's own text; the traceback has the rest */
    EXPLAIN = 1,       /* index of the message handler, which never leaves the stack */
};

/* What a call has passed. */
enum limit { LIMIT_NONE, LIMIT_INSTRUCTIONS, LIMIT_CPU, LIMIT_MEMORY };

struct sandbox {
    lua_State *lua; /* NULL while it is being made */
    struct sandbox_settings settings;
    size_t memory;
    struct sandbox_limits limits; /* of the call that runs */
    bool inside;                  /* a call runs */
    enum limit passed;            /* by it */
    bool refused;                 /* it was refused memory */
    size_t refused_size;          /* what was, and was not granted since; 0: nothing */
    bool noted;                   /* `began` is set */
    int64_t began;                /* CPU time at the first look */
    size_t work;                  /* in C since the clock was looked at for it */
    unsigned period;              /* instructions until the next are counted */
    uint64_t instructions;        /* counted in the call */
    size_t failure_size;
    char failure[FAILURE_SIZE];
    size_t texts_size; /* bytes, as the next */
    size_t n_texts;
    const void *texts[TEXTS_MAX]; /* the large ones, in no order */
};

static struct sandbox *sandbox_of(lua_State *lua)
{
    return *(struct sandbox **)lua_getextraspace(lua);
}

lua_State *sandbox_lua(const struct sandbox *sandbox)
{
    return sandbox->lua;
}

void *sandbox_owner(lua_State *lua)
{
    return sandbox_of(lua)->settings.owner;
}

const char *sandbox_failure(const struct sandbox *sandbox)
{
    return sandbox->failure;
}

size_t sandbox_memory(const struct sandbox *sandbox)
{
    return sandbox->memory;
}

uint64_t sandbox_instructions(const struct sandbox *sandbox)
{
    return sandbox->instructions + sandbox->period;
}

bool sandbox_was_full(const struct sandbox *sandbox)
{
    return sandbox->refused;
}

bool sandbox_stopped(lua_State *lua)
{
    return sandbox_of(lua)->passed != LIMIT_NONE;
}

/* Limits. */

static void on_count(lua_State *lua, lua_Debug *where);

/* Moves settings.lua_call: to the next odd value, or the next even one. */
static void calls_move(const struct sandbox *sandbox, bool odd)
{
    _Atomic uint64_t *calls = sandbox->settings.lua_call;
    if (calls == NULL)
        return;
    const uint64_t now = atomic_load_explicit(calls, memory_order_relaxed);
    atomic_store_explicit(calls, now + 1 + (now % 2 == odd), memory_order_relaxed);
}

static bool time_is_up(struct sandbox *sandbox)
{
    const int64_t now = clock_cpu();
    if (!sandbox->noted) {
        sandbox->noted = true;
        sandbox->began = now;
    }
    calls_move(sandbox, true);
    return now - sandbox->began > sandbox->limits.cpu;
}

static void limit_name(const struct sandbox *sandbox, char *text, size_t size)
{
    if (sandbox->passed == LIMIT_MEMORY)
        snprintf(text, size, "not enough memory");
    else if (sandbox->passed == LIMIT_INSTRUCTIONS)
        snprintf(text, size, "took over %" PRIu64 " instructions", sandbox->limits.instructions);
    else
        snprintf(text, size, "took over %" PRId64 " ms of CPU time", sandbox->limits.cpu / (CLOCK_SECOND / 1000));
}

/* From now on every instruction throws. */
static void stop(struct sandbox *sandbox, enum limit limit)
{
    sandbox->passed = limit;
    lua_sethook(sandbox->lua, on_count, LUA_MASKCOUNT, 1);
}

/* Whether the call may go on; looks at the clock. */
static bool time_is_left(struct sandbox *sandbox)
{
    if (sandbox->passed == LIMIT_NONE && time_is_up(sandbox))
        stop(sandbox, LIMIT_CPU);
    return sandbox->passed == LIMIT_NONE;
}

static unsigned period_of(const struct sandbox *sandbox)
{
    const unsigned period = sandbox->memory > STATE_LARGE ? PERIOD_LARGE : PERIOD;
    if (sandbox->texts_size <= PERIOD_TEXTS / period)
        return period;
    return sandbox->texts_size < PERIOD_TEXTS ? (unsigned)(PERIOD_TEXTS / sandbox->texts_size) : 1;
}

/* Counts in shorter steps, from now on to the end of the call, when what the state holds now asks for it. */
static void shorten_period(struct sandbox *sandbox)
{
    const unsigned period = period_of(sandbox);
    if (!sandbox->inside || sandbox->passed != LIMIT_NONE || period >= sandbox->period)
        return;
    sandbox->period = period;
    lua_sethook(sandbox->lua, on_count, LUA_MASKCOUNT, (int)period);
}

static void throw_limit(lua_State *lua, int level)
{
    char name[64];
    limit_name(sandbox_of(lua), name, sizeof name);
    luaL_where(lua, level);
    lua_pushstring(lua, name);
    lua_concat(lua, 2);
    lua_error(lua);
}

static void on_count(lua_State *lua, lua_Debug *where)
{
    struct sandbox *sandbox = sandbox_of(lua);
    (void)where;
    if (!sandbox->inside)
        return;
    if (sandbox->passed == LIMIT_NONE) {
        sandbox->instructions += sandbox->period;
        if (sandbox->limits.instructions != 0 && sandbox->instructions > sandbox->limits.instructions)
            stop(sandbox, LIMIT_INSTRUCTIONS);
        else if (time_is_left(sandbox))
            return;
    }
    throw_limit(lua, 0);
}

bool sandbox_may_work(lua_State *lua, size_t steps)
{
    struct sandbox *sandbox = sandbox_of(lua);
    if (!sandbox->inside)
        return true;
    sandbox->work += steps * (sandbox->memory > STATE_LARGE ? WORK_LARGE : 1);
    if (sandbox->work < CLOCK_WORK)
        return sandbox->passed == LIMIT_NONE;
    sandbox->work = 0;
    return time_is_left(sandbox);
}

void sandbox_work(lua_State *lua, size_t steps)
{
    if (!sandbox_may_work(lua, steps))
        throw_limit(lua, 1);
}

/* A text that is being compiled, a piece at a time: the parser can take long about little. */
struct source {
    const char *text;
    size_t size;
};

static const char *read_piece(lua_State *lua, void *data, size_t *size)
{
    struct source *source = data;
    const char *piece = source->text;
    sandbox_work(lua, CLOCK_WORK);
    *size = source->size < PIECE ? source->size : PIECE;
    source->text += *size;
    source->size -= *size;
    return piece;
}

void sandbox_compile(lua_State *lua, const char *text, size_t size, const char *name)
{
    struct source source = {text, size};
    if (lua_load(lua, read_piece, &source, name, "t") != LUA_OK)
        lua_error(lua);
}

int sandbox_pcall(lua_State *lua, int n_arguments, int handler)
{
    struct sandbox *sandbox = sandbox_of(lua);
    const int status = lua_pcall(lua, n_arguments, LUA_MULTRET, handler);
    if (sandbox->passed != LIMIT_NONE)
        throw_limit(lua, 1);
    return status;
}

/* Whether a block may not grow to `size`, by `growth` bytes. Filling large blocks is what one instruction can spend
 * much time on, and so is the full collection that follows each refusal; when Lua asks again after it and is refused
 * again, memory is used up, whatever the script is told. */
static bool is_refused(struct sandbox *sandbox, size_t size, size_t growth)
{
    const size_t most = sandbox->settings.memory_max;
    const bool full = growth > most || sandbox->memory > most - growth;
    if (!full && size < BLOCK_LARGE) {
        sandbox->refused_size = 0;
        return false;
    }
    sandbox->refused = sandbox->refused || full;
    if (full && sandbox->refused_size == size && sandbox->passed == LIMIT_NONE)
        stop(sandbox, LIMIT_MEMORY);
    sandbox->refused_size = full ? size : 0;
    return !time_is_left(sandbox) || full;
}

/* Texts never grow nor move, so a block that is made as a text is one until it is freed. */
static void text_add(struct sandbox *sandbox, const void *text, size_t size)
{
    sandbox->texts[sandbox->n_texts++] = text;
    sandbox->texts_size += size;
    shorten_period(sandbox);
}

static void text_remove(struct sandbox *sandbox, const void *block, size_t size)
{
    size_t i = 0;
    while (i < sandbox->n_texts && sandbox->texts[i] != block)
        i++;
    if (i == sandbox->n_texts)
        return;
    sandbox->texts[i] = sandbox->texts[--sandbox->n_texts];
    sandbox->texts_size -= size;
}

static void *release(struct sandbox *sandbox, void *block, size_t size)
{
    if (size >= TEXT_LARGE)
        text_remove(sandbox, block, size);
    free(block);
    sandbox->memory -= size;
    return NULL;
}

static void *allocate(void *owner, void *block, size_t old_size, size_t size)
{
    struct sandbox *sandbox = owner;
    const bool text = block == NULL && old_size == LUA_TSTRING && size >= TEXT_LARGE;
    if (block == NULL)
        old_size = 0; /* Lua puts the kind of object here */
    if (size == 0)
        return release(sandbox, block, old_size);
    if (size > old_size && sandbox->inside && is_refused(sandbox, size, size - old_size))
        return NULL;
    if (text && sandbox->n_texts == TEXTS_MAX)
        return NULL;
    void *moved = realloc(block, size);
    if (moved == NULL && size > old_size)
        return NULL;
    const bool was_large = sandbox->memory > STATE_LARGE;
    sandbox->memory += size - old_size;
    if (text)
        text_add(sandbox, moved, size);
    else if (sandbox->memory > STATE_LARGE && !was_large)
        shorten_period(sandbox);
    return moved != NULL ? moved : block; /* Lua relies on it that blocks can shrink */
}

/* Failures. */

/* Adds text to the failure, on one line, and fit for a log. */
static void failure_add(struct sandbox *sandbox, const char *text, size_t size)
{
    char *out = sandbox->failure;
    const size_t begin = sandbox->failure_size;
    size_t used = begin;
    for (size_t i = 0; i < size && used + 4 < FAILURE_SIZE; i++)
        if (text[i] == '\n')
            used += (size_t)snprintf(out + used, FAILURE_SIZE - used, " | ");
        else if (text[i] != '\t')
            out[used++] = text[i];
    utf8_make_text(out + begin, used - begin);
    out[used] = '\0';
    sandbox->failure_size = used;
}

static void failure_add_value(struct sandbox *sandbox, lua_State *lua, int index)
{
    size_t size;
    char text[64];
    if (lua_type(lua, index) == LUA_TSTRING) {
        const char *string = lua_tolstring(lua, index, &size);
        failure_add(sandbox, string, size < MESSAGE_MAX ? size : MESSAGE_MAX);
        return;
    }
    snprintf(text, sizeof text, "threw a %s, not a text", luaL_typename(lua, index));
    failure_add(sandbox, text, strlen(text));
}

/* The message handler of every call. It may find the memory gone: the message is noted before anything is made; and it
 * may be asked again about the same error, which a function in C has passed on. */
static int explain(lua_State *lua)
{
    size_t size;
    struct sandbox *sandbox = sandbox_of(lua);
    sandbox->failure_size = 0;
    failure_add_value(sandbox, lua, 1);
    luaL_traceback(lua, lua, "", 1);
    const char *trace = lua_tolstring(lua, -1, &size);
    failure_add(sandbox, trace, size);
    lua_settop(lua, 1);
    return 1;
}

/* Says what explain was not asked for: memory errors have no handler, and a limit can pass in a call's last moment. */
static void failure_complete(struct sandbox *sandbox, int status)
{
    char name[64];
    if (sandbox->failure_size > 0)
        return;
    if (sandbox->passed != LIMIT_NONE)
        limit_name(sandbox, name, sizeof name);
    else
        snprintf(name, sizeof name, "%s", status == LUA_ERRMEM ? "not enough memory" : "an error in an error");
    failure_add(sandbox, name, strlen(name));
}

/* Calls. */

static void enter(struct sandbox *sandbox, const struct sandbox_limits *limits)
{
    assert(!sandbox->inside);
    sandbox->limits = *limits;
    sandbox->inside = true;
    sandbox->refused = false;
    sandbox->refused_size = 0;
    sandbox->noted = false;
    sandbox->period = period_of(sandbox);
    sandbox->instructions = 0;
    sandbox->work = 0;
    sandbox->failure_size = 0;
    sandbox->failure[0] = '\0';
    lua_sethook(sandbox->lua, on_count, LUA_MASKCOUNT, (int)sandbox->period); /* begins to count anew */
    calls_move(sandbox, true);
}

/* Where the clock was looked at, it is once more: much can have been done since. */
static void leave(struct sandbox *sandbox)
{
    if (sandbox->noted)
        (void)time_is_left(sandbox);
    calls_move(sandbox, false);
    sandbox->inside = false;
}

int sandbox_call(struct sandbox *sandbox, int n_arguments, int n_results, const struct sandbox_limits *limits)
{
    lua_State *lua = sandbox->lua;
    const int top = lua_gettop(lua) - n_arguments - 1;
    enter(sandbox, limits);
    const int status = lua_pcall(lua, n_arguments, n_results, EXPLAIN);
    leave(sandbox);
    if (status == LUA_OK && sandbox->passed == LIMIT_NONE)
        return 0;
    failure_complete(sandbox, status);
    sandbox->passed = LIMIT_NONE;
    lua_settop(lua, top);
    return -1;
}

/* Making and closing. */

/* Lua calls it for an error outside any call: only without memory for what the owner pushes. */
static int on_panic(lua_State *lua)
{
    const char *message = lua_type(lua, -1) == LUA_TSTRING ? lua_tostring(lua, -1) : "an error";
    log_error("Lua: %s, outside of any call", message);
    abort();
}

static int open_libraries(lua_State *lua)
{
    lua_library_open(lua, sandbox_of(lua)->settings.os);
    return 0;
}

struct sandbox *sandbox_new(const struct sandbox_settings *settings, struct error *error)
{
    struct sandbox *sandbox = calloc(1, sizeof *sandbox);
    if (sandbox != NULL) {
        sandbox->settings = *settings;
        sandbox->lua = lua_newstate(allocate, sandbox);
    }
    if (sandbox == NULL || sandbox->lua == NULL) {
        free(sandbox);
        error_set(error, "no memory");
        return NULL;
    }
    lua_State *lua = sandbox->lua;
    *(struct sandbox **)lua_getextraspace(lua) = sandbox;
    lua_atpanic(lua, on_panic);
    lua_pushcfunction(lua, explain);
    lua_pushcfunction(lua, open_libraries);
    if (lua_pcall(lua, 0, 0, 0) != LUA_OK) {
        error_set(error, "no memory");
        sandbox_free(&sandbox);
        return NULL;
    }
    return sandbox;
}

void sandbox_free(struct sandbox **sandbox)
{
    if (*sandbox == NULL)
        return;
    assert(!(*sandbox)->inside);
    lua_close((*sandbox)->lua);
    free(*sandbox);
    *sandbox = NULL;
}
