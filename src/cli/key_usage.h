/* SPDX-License-Identifier: MIT */
/* Which keys of the server's keyring are in use: the answer to STATS KEYS, for people and as JSON. */
#ifndef TK_CLI_KEY_USAGE_H
#define TK_CLI_KEY_USAGE_H

#include <jansson.h>
#include <stdbool.h>

enum { KEY_USAGE_ID_SIZE = 16 }; /* hexadecimal digits */

/* Adds a key to the array: its id, its place in the keyring, 0 when it is not there, and the number of values that it
 * has sealed. False when there is no memory. */
bool key_usage_add(json_t *keys, const char id[KEY_USAGE_ID_SIZE], json_int_t place, json_int_t values);

/* Says of each key in the array whether it may go, as its member "use". `unindexed` is the number of tokens that the
 * index by user lacks under the first key. */
void key_usage_judge(json_t *keys, json_int_t unindexed);

/* Prints the keys, one a line. */
void key_usage_print(const json_t *keys);

#endif
