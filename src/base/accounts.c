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

static void look_up(struct account *account)
{
    char line[LINE_SIZE];
    struct passwd entry, *found;
    account->name[0] = '\0';
    FILE *file = fopen("/etc/passwd", "re");
    if (file == NULL)
        return;
    while (fgetpwent_r(file, &entry, line, sizeof line, &found) == 0) {
        if (entry.pw_uid != account->uid || !name_is_sound(entry.pw_name))
            continue;
        memcpy(account->name, entry.pw_name, strlen(entry.pw_name) + 1);
        break;
    }
    fclose(file);
}

const char *account_name(uid_t uid)
{
    struct account *account = &accounts[uid % ACCOUNTS];
    const int64_t now = clock_boot();
    if (account->uid != uid || now >= account->until) {
        account->uid = uid;
        account->until = now + MEMORY_SECONDS * CLOCK_SECOND;
        look_up(account);
    }
    return account->name[0] != '\0' ? account->name : NULL;
}
