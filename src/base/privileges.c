/* SPDX-License-Identifier: MIT */
/* What a child process gives up. */
#include "base/privileges.h"

#include "base/log.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static int change_user(const char *user, struct error *error)
{
    errno = 0;
    const struct passwd *entry = getpwnam(user);
    if (entry == NULL)
        return error_set(error, "cannot change to user \"%s\": %s", user,
                         errno != 0 ? strerror(errno) : "no such user");
    if (initgroups(user, entry->pw_gid) != 0 || setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) != 0 ||
        setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) != 0)
        return error_set(error, "cannot change to user \"%s\": %s", user, strerror(errno));
    if (entry->pw_uid != 0 && setuid(0) == 0)
        return error_set(error, "root could be had back after the change to user \"%s\"", user);
    return 0;
}

int privileges_drop(const char *user, struct error *error)
{
    const struct rlimit none = {0, 0}, unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    const pid_t parent = getppid();
    struct rlimit lock;
    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return error_set(error, "cannot forbid core dumps: %s", strerror(errno));
    if (geteuid() == 0 && setrlimit(RLIMIT_MEMLOCK, &unlimited) != 0)
        log_debug("cannot raise the limit of locked memory: %s", strerror(errno));
    if (geteuid() == 0 && user != NULL && change_user(user, error) != 0)
        return -1;
    /* After the change of user: it makes a process dumpable again and forgets the parent's death signal. */
    if (prctl(PR_SET_DUMPABLE, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_PDEATHSIG, SIGTERM) != 0)
        return error_set(error, "cannot protect the process: %s", strerror(errno));
    if (getppid() != parent)
        return error_set(error, "the parent has ended");
    /* Under a limit, MCL_FUTURE would turn the limit into failing allocations; the keys are locked by the vault anyway.
     */
    if (getrlimit(RLIMIT_MEMLOCK, &lock) == 0 && lock.rlim_cur == RLIM_INFINITY &&
        mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        log_debug("memory is not locked: %s", strerror(errno));
    return 0;
}
