/* SPDX-License-Identifier: MIT */
/* Makes keys for the server's keyring; tokenkeepd(8), "STORED VALUES", has the file's format. */
#ifndef TK_CLI_KEYGEN_H
#define TK_CLI_KEYGEN_H

enum { KEYGEN_LINE_SIZE = 44 }; /* 32 bytes in padded base64 */

/* Writes a keyring line, KEYGEN_LINE_SIZE characters and a terminating NUL: 32 random bytes of libsodium's generator in
 * padded standard base64. Returns 0, or -1 when libsodium cannot start. */
int keygen_line(char out[KEYGEN_LINE_SIZE + 1]) __attribute__((warn_unused_result));

#endif
