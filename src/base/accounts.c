/* SPDX-License-Identifier: MIT */
/* Names of users. */
#include "base/accounts.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    ACCOUNTS = 64,    /* remembered; a user's place is its id modulo this */
    NAME_SIZE = 64,   /* longer names count as none */
    LINE_SIZE = 4096, /* of /etc/passwd; what follows a longer line is not seen */
    MEMORY_SECONDS = 60,
};

static struct account {
    int64_t until; /* boot-time clock, 0: nothing is remembered here */
    uid_t uid;
    char name[NAME_SIZE]; /* empty: the user has none */
} accounts[ACCOUNTS];

/* Whether the name may be shown. With + and - begin entries that stand for those of NIS. */
static bool name_is_sound(const char *name)
{
    size_t size = strlen(name);
    return size > 0 && size < NAME_SIZE && name[0] != '+' && name[0] != '-' && utf8_is_text(name, size);
}

/* The first user of that name or, with a NULL name, that id; both are set then, and `name` has NAME_SIZE bytes. */
static bool find(const char *wanted, uid_t *uid, char *name)
{
    char line[LINE_SIZE];
    struct passwd entry, *found;
    bool is_found = false;
    FILE *file = fopen("/etc/passwd", "re");
    while (file != NULL && !is_found && fgetpwent_r(file, &entry, line, sizeof line, &found) == 0)
        is_found = name_is_sound(entry.pw_name) &&
                   (wanted != NULL ? strcmp(entry.pw_name, wanted) == 0 : entry.pw_uid == *uid);
    if (is_found) {
        *uid = entry.pw_uid;
        memcpy(name, entry.pw_name, strlen(entry.pw_name) + 1);
    }
    if (file != NULL)
        fclose(file);
    return is_found;
}

const char *account_name(uid_t uid)
{
    struct account *account = &accounts[uid % ACCOUNTS];
    const int64_t now = clock_boot();
    if (account->uid != uid || now >= account->until) {
        account->uid = uid;
        account->until = now + MEMORY_SECONDS * CLOCK_SECOND;
        if (!find(NULL, &uid, account->name))
            account->name[0] = '\0';
    }
    return account->name[0] != '\0' ? account->name : NULL;
}

bool account_find(const char *name, uid_t *uid)
{
    char found[NAME_SIZE];
    return find(name, uid, found);
}

bool account_assume(uid_t uid, const char *name)
{
    struct account *account = &accounts[uid % ACCOUNTS];
    if (name != NULL && !name_is_sound(name))
        return false;
    account->uid = uid;
    account->until = name != NULL ? INT64_MAX : 0;
    snprintf(account->name, sizeof account->name, "%s", name != NULL ? name : "");
    return true;
}
