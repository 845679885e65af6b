/* SPDX-License-Identifier: MIT */
/* Files of Lua: the hook's own, and the modules that it requires. Text alone is read, bytecode is refused: Lua does not
 * check it, and it can do anything. */
#include "reporter/hook_library.h"

#include "base/script.h"
#include "reporter/hook.h"
#include "reporter/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_SIZE_MAX = 1024 * 1024, NAME_MAX_SIZE = 100 };

/* Reads the whole file. NULL with errno set. */
static char *read_file(int fd, size_t *size)
{
    struct stat file;
    if (fstat(fd, &file) != 0)
        return NULL;
    if (!S_ISREG(file.st_mode) || file.st_size > FILE_SIZE_MAX) {
        errno = S_ISREG(file.st_mode) ? EFBIG : EINVAL;
        return NULL;
    }
    char *text = malloc((size_t)file.st_size + 1);
    ssize_t n = 0;
    *size = 0;
    while (text != NULL && *size < (size_t)file.st_size &&
           (n = read(fd, text + *size, (size_t)file.st_size - *size)) > 0)
        *size += (size_t)n;
    if (n >= 0)
        return text;
    free(text);
    return NULL;
}

bool hook_file_load(lua_State *lua, const char *path, const char *name)
{
    size_t size = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return false;
    char *text = fd < 0 ? NULL : read_file(fd, &size);
    const int failure = errno;
    if (fd >= 0)
        close(fd);
    if (text == NULL)
        luaL_error(lua, "%s: %s", path, strerror(failure));
    const int status = luaL_loadbufferx(lua, text, size, name, "t"); /* raises nothing itself */
    free(text);
    if (status != LUA_OK)
        lua_error(lua);
    return true;
}

/* [A-Za-z0-9_]+(\.[A-Za-z0-9_]+)* */
static bool is_module_name(const char *name, size_t size)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    if (size > NAME_MAX_SIZE || strlen(name) != size)
        return false;
    for (const char *at = name;; at++) {
        const size_t word = strspn(at, letters);
        at += word;
        if (word == 0 || (*at != '.' && *at != '\0'))
            return false;
        if (*at == '\0')
            return true;
    }
}

/* Pushes the module's function when the folder that `path` is in, or is, has it. */
static bool load_from(lua_State *lua, const char *path, size_t size, const char *file)
{
    char whole[PATH_MAX], name[NAME_MAX_SIZE + 8];
    if ((size_t)snprintf(whole, sizeof whole, "%.*s/%s", (int)size, path, file) >= sizeof whole)
        return false;
    snprintf(name, sizeof name, "@%s", file);
    return hook_file_load(lua, whole, name);
}

static bool load_beside(lua_State *lua, const char *path, const char *file)
{
    const char *slash = path == NULL ? NULL : strrchr(path, '/');
    return slash != NULL && load_from(lua, path, (size_t)(slash - path), file);
}

/* Pushes the module's function. */
static void find_module(lua_State *lua, const char *name)
{
    char file[NAME_MAX_SIZE + 8];
    const struct hook *hook = hook_of(lua);
    const char *installed = script_installed_folder;
    const int size = snprintf(file, sizeof file, "%s.lua", name);
    for (char *c = file; c < file + size - strlen(".lua"); c++)
        if (*c == '.')
            *c = '/';
    if (!load_beside(lua, hook_path(hook), file) && !load_beside(lua, hook_settings(hook)->config->file, file) &&
        !load_from(lua, installed, strlen(installed), file))
        luaL_error(lua, "there is no %s beside the hook, beside the configuration, nor in %s", file, installed);
}

/* The upvalue is the table of what was loaded: by name, the value, and false until there is one. */
static int require_lua(lua_State *lua)
{
    size_t size;
    const char *name = luaL_checklstring(lua, 1, &size);
    luaL_argcheck(lua, is_module_name(name, size), 1, "a module's name is letters, digits and _, parted by dots");
    lua_settop(lua, 1);
    if (lua_getfield(lua, lua_upvalueindex(1), name) != LUA_TNIL) {
        if (lua_isboolean(lua, -1) && !lua_toboolean(lua, -1))
            return luaL_error(lua, "the module '%s' requires itself, or has failed", name);
        return 1;
    }
    find_module(lua, name);
    lua_pushboolean(lua, 0);
    lua_setfield(lua, lua_upvalueindex(1), name);
    lua_pushvalue(lua, 1);
    lua_call(lua, 1, 1);
    if (lua_isnil(lua, -1) || (lua_isboolean(lua, -1) && !lua_toboolean(lua, -1))) {
        lua_pop(lua, 1);
        lua_pushboolean(lua, 1);
    }
    lua_pushvalue(lua, -1);
    lua_setfield(lua, lua_upvalueindex(1), name);
    return 1;
}

void hook_require_push(lua_State *lua)
{
    lua_newtable(lua);
    lua_pushcclosure(lua, require_lua, 1);
}
