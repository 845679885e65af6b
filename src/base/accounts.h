/* SPDX-License-Identifier: MIT */
/* Names of users, from /etc/passwd alone: NSS may ask a network and wait for it. */
#ifndef TK_BASE_ACCOUNTS_H
#define TK_BASE_ACCOUNTS_H

#include <stdbool.h>
#include <sys/types.h>

/* The name of user `uid`, NULL when /etc/passwd has none. Valid until the next call. What was found, a name or none, is
 * remembered for a minute. Not for use by several threads. */
const char *account_name(uid_t uid);

/* Finds the user of that name in /etc/passwd. False when there is none. */
bool account_find(const char *name, uid_t *uid);

/* Lets the user have this name, which is copied, whatever /etc/passwd says, until others are asked for; a NULL name
 * ends that. For trying out what concerns users of another machine. False when the name is none that a user can have.
 */
bool account_assume(uid_t uid, const char *name);

#endif
