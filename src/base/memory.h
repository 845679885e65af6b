/* SPDX-License-Identifier: MIT */
/* Memory for small things of fixed size. What a client's bytes decide the size of is allocated with malloc, and its
 * failure handled. */
#ifndef TK_BASE_MEMORY_H
#define TK_BASE_MEMORY_H

#include <stddef.h>

/* `size` zeroed bytes, never NULL: without memory for these a process can do nothing useful, so it ends through
 * memory_exhausted. The caller frees them with free(). */
void *memory_zeroed(size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));

/* Logs that there is no memory and ends the process; the master starts another. */
void memory_exhausted(void) __attribute__((noreturn));

#endif
