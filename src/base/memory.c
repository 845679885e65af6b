/* SPDX-License-Identifier: MIT */
/* Memory for small things of fixed size. */
#include "base/memory.h"

#include "base/log.h"

#include <stdlib.h>

void *memory_zeroed(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        memory_exhausted();
    return memory;
}

void memory_exhausted(void)
{
    log_error("out of memory");
    abort();
}
