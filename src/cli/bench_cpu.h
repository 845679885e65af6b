/* SPDX-License-Identifier: MIT */
/* The CPU time of processes and of their children, in nanoseconds, from /proc. */
#ifndef TK_CLI_BENCH_CPU_H
#define TK_CLI_BENCH_CPU_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { BENCH_CPU_MAX = 256 }; /* processes */

struct bench_process {
    pid_t pid;
    char command[16];    /* as the kernel knows it, control characters replaced */
    int64_t nanoseconds; /* user and system time of its threads; those that have ended are not counted */
};

struct bench_cpu {
    size_t n;
    struct bench_process processes[BENCH_CPU_MAX];
};

/* Reads what the processes and all their descendants have used so far, each once. Returns 0, or -1 with `error` when
 * one of `pids` is not there or cannot be read. */
int bench_cpu_read(struct bench_cpu *cpu, const pid_t *pids, size_t n_pids, struct error *error)
    __attribute__((warn_unused_result));

/* Makes of `cpu` what its processes have used since `before`: all they have for those that were not there then. */
void bench_cpu_subtract(struct bench_cpu *cpu, const struct bench_cpu *before);

#endif
