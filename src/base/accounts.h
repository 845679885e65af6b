/* SPDX-License-Identifier: MIT */
/* Names of users, from /etc/passwd alone: NSS may ask a network and wait for it. */
#ifndef TK_BASE_ACCOUNTS_H
#define TK_BASE_ACCOUNTS_H

#include <sys/types.h>

/* The name of user `uid`, NULL when /etc/passwd has none. Valid until the next call. What was found, a name or none, is
 * remembered for a minute. Not for use by several threads. */
const char *account_name(uid_t uid);

#endif
