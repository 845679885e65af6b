/* SPDX-License-Identifier: MIT */
/* The tables `request` and `token` of a policy's call. */
#include "keep/policy_tables.h"

#include "base/accounts.h"
#include "base/lua_json.h"
#include "keep/token_data.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

/* X(constant, name), the likely ones first */
#define REQUEST_FIELDS_LIST(X) \
    X(ADDRESS, "address")      \
    X(COMMAND, "command")      \
    X(TIME, "time")            \
    X(LISTENER, "listener")    \
    X(ROLE, "role")            \
    X(USER, "user")            \
    X(UID, "uid")              \
    X(PORT, "port")            \
    X(TAG, "tag")              \
    X(SCOPES, "scopes")        \
    X(USERNAME, "username")    \
    X(FIX, "fix")

#define TOKEN_FIELDS_LIST(X)    \
    X(HAS_SCOPE, "has_scope")   \
    X(USERNAME, "username")     \
    X(TOKEN_TYPE, "token_type") \
    X(SCOPES, "scopes")         \
    X(KEY, "key")               \
    X(EXPIRES, "expires")       \
    X(CREATED, "created")       \
    X(SERVICE, "service")       \
    X(NAME, "name")             \
    X(EMAIL, "email")           \
    X(UID, "uid")               \
    X(GID, "gid")               \
    X(GROUPS, "groups")

enum request_field {
#define X(constant, name) REQUEST_##constant,
    REQUEST_FIELDS_LIST(X)
#undef X
};

enum token_field {
#define X(constant, name) TOKEN_##constant,
    TOKEN_FIELDS_LIST(X)
#undef X
};

static const char *const request_names[] = {
#define X(constant, name) name,
    REQUEST_FIELDS_LIST(X)
#undef X
        NULL,
};

static const char *const token_names[] = {
#define X(constant, name) name,
    TOKEN_FIELDS_LIST(X)
#undef X
        NULL,
};

static void push_text(lua_State *lua, struct event_text text)
{
    lua_pushlstring(lua, text.text, text.size);
}

/* Pushes the integer, or nil where there is none. */
static void push_integer(lua_State *lua, bool is_there, lua_Integer integer)
{
    if (is_there)
        lua_pushinteger(lua, integer);
    else
        lua_pushnil(lua);
}

/* Of a request. */

static bool has_address(const struct event_peer *peer)
{
    return peer->kind == PEER_INET || peer->kind == PEER_INET6;
}

static bool has_address_of(const struct event_peer *peer, const struct event_peer *other)
{
    return peer->kind == other->kind && memcmp(peer->address, other->address, sizeof peer->address) == 0;
}

/* Requests come in rows from one address, so its text is kept. */
static void push_address(lua_State *lua, struct policy_tables *tables)
{
    char text[INET6_ADDRSTRLEN];
    const struct event_peer *peer = &tables->call->request->peer;
    if (!has_address(peer)) {
        lua_pushnil(lua);
        return;
    }
    if (has_address_of(peer, &tables->peer)) {
        lua_rawgeti(lua, LUA_REGISTRYINDEX, tables->address);
        return;
    }
    lua_pushstring(lua, inet_ntop(peer->kind == PEER_INET ? AF_INET : AF_INET6, peer->address, text, sizeof text));
    lua_pushvalue(lua, -1);
    lua_rawseti(lua, LUA_REGISTRYINDEX, tables->address);
    tables->peer = *peer;
}

/* What CHECK asks for. */
static void push_wanted_scopes(lua_State *lua, const struct policy_request *request)
{
    if (request->point != POLICY_CHECK) {
        lua_pushnil(lua);
        return;
    }
    lua_json_push_array(lua, request->n_scopes);
    for (size_t i = 0; i < request->n_scopes; i++) {
        push_text(lua, request->scopes[i]);
        lua_rawseti(lua, -2, (lua_Integer)i + 1);
    }
}

static void push_fix(lua_State *lua, const struct policy_request *request)
{
    if (request->point == POLICY_VERIFYALL)
        lua_pushboolean(lua, request->fix);
    else
        lua_pushnil(lua);
}

/* A NULL string is pushed as nil. */
static void push_request_field(lua_State *lua, struct policy_tables *tables, int field)
{
    const struct policy_request *request = tables->call->request;
    const struct event_peer *peer = &request->peer;
    switch ((enum request_field)field) {
    case REQUEST_ADDRESS: push_address(lua, tables); break;
    case REQUEST_COMMAND: lua_pushstring(lua, policy_point_name(request->point)); break;
    case REQUEST_TIME: lua_pushinteger(lua, request->time); break;
    case REQUEST_LISTENER: lua_pushstring(lua, request->listener); break;
    case REQUEST_ROLE: lua_pushstring(lua, request->role == ROLE_MANAGE ? "manage" : "verify"); break;
    case REQUEST_USER: lua_pushstring(lua, peer->kind == PEER_UNIX ? account_name(peer->uid) : NULL); break;
    case REQUEST_UID: push_integer(lua, peer->kind == PEER_UNIX, peer->uid); break;
    case REQUEST_PORT: push_integer(lua, has_address(peer), peer->port); break;
    case REQUEST_TAG: lua_pushstring(lua, request->tag); break;
    case REQUEST_SCOPES: push_wanted_scopes(lua, request); break;
    case REQUEST_USERNAME: lua_pushstring(lua, request->username); break;
    case REQUEST_FIX: push_fix(lua, request); break;
    }
}

/* Of a token. */

static void push_scopes(lua_State *lua, const struct policy_token *token)
{
    const char *scope = token->scopes;
    lua_json_push_array(lua, token->n_scopes);
    for (size_t i = 0; i < token->n_scopes; i++, scope += strlen(scope) + 1) {
        lua_pushstring(lua, scope);
        lua_rawseti(lua, -2, (lua_Integer)i + 1);
    }
}

/* What only the JSON has, which is parsed for the first of them. */
static void push_json_field(lua_State *lua, struct policy_call *call, const char *name)
{
    if (call->fields == NULL)
        call->fields = token_data_tree(call->token->json.text, call->token->json.size);
    if (call->fields == NULL)
        luaL_error(lua, "the token's data cannot be read");
    const json_t *field = json_object_get(call->fields, name);
    if (field != NULL)
        lua_json_push_tree(lua, field);
    else
        lua_pushnil(lua);
}

/* token.has_scope(scope). The call that it is of is its second upvalue: it may have been kept. */
static int has_scope(lua_State *lua)
{
    size_t size;
    const struct policy_tables *tables = lua_touserdata(lua, lua_upvalueindex(1));
    const char *wanted = luaL_checklstring(lua, 1, &size);
    if (tables->call == NULL || (lua_Integer)tables->calls != lua_tointeger(lua, lua_upvalueindex(2)))
        return luaL_error(lua, "has_scope of a token whose call is over");
    const struct policy_token *token = tables->call->token;
    const char *scope = token->scopes;
    bool has = false;
    for (size_t i = 0; i < token->n_scopes && !has; i++) {
        const size_t length = strlen(scope);
        has = length == size && memcmp(scope, wanted, size) == 0;
        scope += length + 1;
    }
    lua_pushboolean(lua, has);
    return 1;
}

static void push_has_scope(lua_State *lua, struct policy_tables *tables)
{
    lua_pushlightuserdata(lua, tables);
    lua_pushinteger(lua, (lua_Integer)tables->calls);
    lua_pushcclosure(lua, has_scope, 2);
}

static void push_token_field(lua_State *lua, struct policy_tables *tables, int field)
{
    const struct policy_token *token = tables->call->token;
    switch ((enum token_field)field) {
    case TOKEN_HAS_SCOPE: push_has_scope(lua, tables); break;
    case TOKEN_USERNAME: push_text(lua, token->username); break;
    case TOKEN_TOKEN_TYPE: lua_pushstring(lua, token->token_type); break;
    case TOKEN_SCOPES: push_scopes(lua, token); break;
    case TOKEN_KEY: push_text(lua, token->key); break;
    case TOKEN_EXPIRES: push_integer(lua, token->expires != 0, token->expires); break;
    case TOKEN_CREATED:
    case TOKEN_SERVICE:
    case TOKEN_NAME:
    case TOKEN_EMAIL:
    case TOKEN_UID:
    case TOKEN_GID:
    case TOKEN_GROUPS: push_json_field(lua, tables->call, token_names[field]); break;
    }
}

/* The tables. */

/* What a table has. */
struct shape {
    const char *const *names; /* a NULL behind the last */
    void (*push)(lua_State *lua, struct policy_tables *tables, int field);
};

static const struct shape request_shape = {request_names, push_request_field},
                          token_shape = {token_names, push_token_field};

/* Of the table at index 1 when it is of the call that runs, else NULL. A table that was kept is at another address than
 * those of this call. */
static const struct shape *shape_of(lua_State *lua, const struct policy_tables *tables)
{
    const void *table = lua_topointer(lua, 1);
    if (tables->call == NULL)
        return NULL;
    if (table == tables->request)
        return &request_shape;
    return table == tables->token ? &token_shape : NULL;
}

/* Pushes the field, whose name is on top of the stack, and keeps it in the table at index 1: who looks twice finds the
 * same. */
static void make_field(lua_State *lua, struct policy_tables *tables, const struct shape *shape, int field)
{
    shape->push(lua, tables, field);
    if (lua_isnil(lua, -1))
        return;
    lua_pushvalue(lua, -2);
    lua_pushvalue(lua, -2);
    lua_rawset(lua, 1);
}

/* __index: the table has no such field yet. */
static int look(lua_State *lua)
{
    struct policy_tables *tables = lua_touserdata(lua, lua_upvalueindex(1));
    const struct shape *shape = shape_of(lua, tables);
    const char *name = lua_type(lua, 2) == LUA_TSTRING ? lua_tostring(lua, 2) : NULL;
    int field = 0;
    if (shape == NULL || name == NULL)
        return 0;
    while (shape->names[field] != NULL && strcmp(shape->names[field], name) != 0)
        field++;
    if (shape->names[field] == NULL)
        return 0;
    make_field(lua, tables, shape, field);
    return 1;
}

static int next(lua_State *lua)
{
    luaL_checktype(lua, 1, LUA_TTABLE);
    lua_settop(lua, 2);
    return lua_next(lua, 1) != 0 ? 2 : 0;
}

/* __pairs: makes all that are missing. */
static int look_at_all(lua_State *lua)
{
    struct policy_tables *tables = lua_touserdata(lua, lua_upvalueindex(1));
    const struct shape *shape = shape_of(lua, tables);
    lua_settop(lua, 1);
    for (int field = 0; shape != NULL && shape->names[field] != NULL; field++, lua_settop(lua, 1)) {
        lua_pushstring(lua, shape->names[field]);
        lua_pushvalue(lua, -1);
        if (lua_rawget(lua, 1) != LUA_TNIL)
            continue;
        lua_pop(lua, 1);
        make_field(lua, tables, shape, field);
    }
    lua_pushcfunction(lua, next);
    lua_pushvalue(lua, 1);
    return 2;
}

void policy_tables_open(lua_State *lua, struct policy_tables *tables)
{
    lua_createtable(lua, 0, 2);
    lua_pushlightuserdata(lua, tables);
    lua_pushcclosure(lua, look, 1);
    lua_setfield(lua, -2, "__index");
    lua_pushlightuserdata(lua, tables);
    lua_pushcclosure(lua, look_at_all, 1);
    lua_setfield(lua, -2, "__pairs");
    tables->metatable = luaL_ref(lua, LUA_REGISTRYINDEX);
    lua_pushliteral(lua, ""); /* so that there is a reference */
    tables->address = luaL_ref(lua, LUA_REGISTRYINDEX);
    tables->peer = (struct event_peer){.kind = PEER_NONE};
}

/* Pushes a table and returns its address. */
static const void *push_table(lua_State *lua, const struct policy_tables *tables)
{
    lua_createtable(lua, 0, 1);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, tables->metatable);
    lua_setmetatable(lua, -2);
    return lua_topointer(lua, -1);
}

void policy_tables_begin(lua_State *lua, struct policy_tables *tables, struct policy_call *call)
{
    tables->call = call;
    tables->calls++;
    tables->request = push_table(lua, tables);
    tables->token = NULL;
    if (call->token != NULL)
        tables->token = push_table(lua, tables);
    else
        lua_pushnil(lua);
}

void policy_tables_end(struct policy_tables *tables)
{
    tables->call = NULL;
}
