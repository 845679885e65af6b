/* SPDX-License-Identifier: MIT */
/* What is counted. */
#include "base/metrics.h"

const char *metric_name(enum metric metric)
{
    static const char *const names[METRICS] = {
#define X(constant, name, help) [METRIC_##constant] = name,
        METRICS_LIST(X)
#undef X
    };
    return names[metric];
}
