/* SPDX-License-Identifier: MIT */
/* The CPU time of processes and of their children. */
#include "cli/bench_cpu.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_known(const struct bench_cpu *cpu, pid_t pid)
{
    for (size_t i = 0; i < cpu->n; i++)
        if (cpu->processes[i].pid == pid)
            return true;
    return false;
}

static void process_add(struct bench_cpu *cpu, pid_t pid)
{
    if (cpu->n < BENCH_CPU_MAX && !is_known(cpu, pid))
        cpu->processes[cpu->n++] = (struct bench_process){.pid = pid, .command = "?"};
}

static FILE *thread_open(pid_t pid, const char *thread, const char *file)
{
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task/%s/%s", (int)pid, thread, file);
    return fopen(path, "re");
}

static bool thread_read(struct bench_process *process, const char *thread)
{
    FILE *file = thread_open(process->pid, thread, "schedstat");
    if (file == NULL)
        return false;
    int64_t nanoseconds;
    bool read = fscanf(file, "%" SCNd64, &nanoseconds) == 1;
    if (read)
        process->nanoseconds += nanoseconds;
    fclose(file);
    return read;
}

/* A thread's children are those that it has forked. */
static void children_read(struct bench_cpu *cpu, pid_t pid, const char *thread)
{
    FILE *file = thread_open(pid, thread, "children");
    int child;
    while (file != NULL && fscanf(file, "%d", &child) == 1)
        process_add(cpu, child);
    if (file != NULL)
        fclose(file);
}

static void command_read(struct bench_process *process)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)process->pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    size_t size = fread(process->command, 1, sizeof process->command - 1, file);
    fclose(file);
    process->command[size] = '\0';
    process->command[strcspn(process->command, "\n")] = '\0';
    for (char *c = process->command; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
}

/* Reads a process; its children come behind those that are known. */
static bool process_read(struct bench_cpu *cpu, size_t i)
{
    struct bench_process *process = &cpu->processes[i];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)process->pid);
    DIR *threads = opendir(path);
    bool read = false;
    for (struct dirent *entry; threads != NULL && (entry = readdir(threads)) != NULL;)
        if (entry->d_name[0] != '.' && thread_read(process, entry->d_name)) {
            read = true;
            children_read(cpu, process->pid, entry->d_name);
        }
    if (threads != NULL)
        closedir(threads);
    command_read(process);
    return read;
}

int bench_cpu_read(struct bench_cpu *cpu, const pid_t *pids, size_t n_pids, struct error *error)
{
    cpu->n = 0;
    for (size_t i = 0; i < n_pids; i++)
        process_add(cpu, pids[i]);
    const size_t given = cpu->n;
    for (size_t i = 0; i < cpu->n; i++)
        if (!process_read(cpu, i) && i < given)
            return error_set(error, "cannot read the CPU time of process %d from /proc: is there such a process?",
                             (int)cpu->processes[i].pid);
    return 0;
}

void bench_cpu_subtract(struct bench_cpu *cpu, const struct bench_cpu *before)
{
    for (size_t i = 0; i < cpu->n; i++)
        for (size_t k = 0; k < before->n; k++)
            if (before->processes[k].pid == cpu->processes[i].pid)
                cpu->processes[i].nanoseconds -= before->processes[k].nanoseconds;
}
