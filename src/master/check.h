/* SPDX-License-Identifier: MIT */
/* What a start reads, tried without serving: for --check, before the first start and before a reload. */
#ifndef TK_MASTER_CHECK_H
#define TK_MASTER_CHECK_H

#include "base/config.h"
#include "base/error.h"
#include "master/master.h"

#include <stdbool.h>

/* Reads the configuration that `options` name. NULL with `error` set. The caller frees it with config_free. */
struct config *check_config(const struct master_options *options, bool warn, struct error *error)
    __attribute__((warn_unused_result));

/* Opens what a worker opens before it serves, as a worker would, in a child; with `redis`, makes a Redis round trip
 * too. What is wrong is logged. Returns 0 or the exit status for it: 78 configuration, 1 when only Redis does not
 * answer. */
int check_as_worker(const struct config *config, bool redis) __attribute__((warn_unused_result));

/* The same of what the reporter opens: the Slack webhook and the scripts of all hooks. With no hooks there is no
 * reporter, and nothing to open. */
int check_as_reporter(const struct config *config) __attribute__((warn_unused_result));

#endif
