/* SPDX-License-Identifier: MIT */
/* What a bench prints in the end. */
#include "cli/bench_report.h"

#include "base/clock.h"
#include "cli/output.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static const struct {
    const char *name;
    double percent;
} percentiles[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"max", 100}};

enum { PERCENTILES = sizeof percentiles / sizeof percentiles[0] };

static double microseconds(int64_t nanoseconds)
{
    return (double)nanoseconds / 1000;
}

static double per_request(const struct bench_result *result, int64_t nanoseconds)
{
    return result->tally.answered == 0 ? 0 : microseconds(nanoseconds) / (double)result->tally.answered;
}

static double rate(const struct bench_result *result)
{
    return result->seconds > 0 ? (double)result->tally.answered / result->seconds : 0;
}

static int64_t percentile(const struct bench_result *result, size_t i)
{
    const struct bench_latency *latency = &result->tally.latency;
    return percentiles[i].percent >= 100 ? latency->max : bench_latency_percentile(latency, percentiles[i].percent);
}

static int64_t cpu_total(const struct bench_result *result)
{
    int64_t total = 0;
    for (size_t i = 0; i < result->cpu.n; i++)
        total += result->cpu.processes[i].nanoseconds;
    return total;
}

static void keys_write(const struct bench_options *options, char *out, size_t size)
{
    if (options->exponent > 0)
        snprintf(out, size, "zipf:%g", options->exponent);
    else
        snprintf(out, size, "uniform");
}

static void plan_print(const struct bench_options *options, const char *server)
{
    char keys[32];
    keys_write(options, keys, sizeof keys);
    printf("%s to %s: %" PRIu32 " connections, %" PRIu32 " in flight on each, %" PRIu32 " thread%s",
           bench_protocol_name(options->protocol), server, options->connections, options->pipeline, options->threads,
           options->threads == 1 ? "" : "s");
    if (options->idle > 0)
        printf(", %" PRIu32 " idle connections", options->idle);
    if (options->rate > 0)
        printf(", %g requests a second", options->rate);
    printf("\n%" PRIu32 " tokens (%s)", options->tokens, keys);
    if (options->protocol == BENCH_LINE || options->protocol == BENCH_RESP)
        printf(" of %" PRIu32 " user%s", options->users, options->users == 1 ? "" : "s");
    printf(", values of %" PRIu32 " bytes, mix", options->value_size);
    for (enum bench_kind kind = BENCH_HIT; kind < BENCH_MIX_KINDS; kind++)
        if (options->weight[kind] > 0)
            printf(" %s=%u", bench_kind_name(kind), options->weight[kind]);
    printf(", seed %" PRIu64 "\n\n", options->seed);
}

static void errors_print(const struct bench_tally *tally)
{
    printf("errors    %" PRIu64 "\n", bench_tally_errors(tally));
    for (enum bench_error error = 0; error < BENCH_ERRORS; error++)
        if (tally->errors[error] > 0)
            printf("          %s: %" PRIu64 "\n", bench_error_name(error), tally->errors[error]);
    for (size_t i = 0; i < tally->n_examples; i++)
        printf("          %s\n", tally->examples[i]);
}

static void cpu_print(const struct bench_result *result)
{
    for (size_t i = 0; i < result->cpu.n; i++)
        printf("cpu       %.3f us a request: %s, process %d\n",
               per_request(result, result->cpu.processes[i].nanoseconds), result->cpu.processes[i].command,
               (int)result->cpu.processes[i].pid);
    if (result->cpu.n > 1)
        printf("cpu       %.3f us a request: all of them\n", per_request(result, cpu_total(result)));
    printf("cpu       %.3f us a request: this bench itself\n", per_request(result, result->own_cpu));
}

static void text_print(const struct bench_options *options, const struct bench_result *result)
{
    plan_print(options, result->server);
    printf("requests  %" PRIu64 " in %.3f s%s\n", result->tally.answered, result->seconds,
           result->interrupted ? ", ended early" : "");
    printf("rate      %.1f requests a second\n", rate(result));
    errors_print(&result->tally);
    printf("latency  ");
    for (size_t i = 0; i < PERCENTILES; i++)
        printf(" %s %.1f us%s", percentiles[i].name, microseconds(percentile(result, i)),
               i + 1 < PERCENTILES ? "," : "\n");
    cpu_print(result);
}

/* To a thousandth: what follows would be noise. */
static json_t *rounded(double number)
{
    return json_real(round(number * 1000) / 1000);
}

static json_t *mix_json(const struct bench_options *options)
{
    json_t *mix = json_object();
    for (enum bench_kind kind = BENCH_HIT; kind < BENCH_MIX_KINDS; kind++)
        if (options->weight[kind] > 0)
            json_object_set_new(mix, bench_kind_name(kind), json_integer(options->weight[kind]));
    return mix;
}

static json_t *errors_json(const struct bench_tally *tally)
{
    json_t *errors = json_object();
    for (enum bench_error error = 0; error < BENCH_ERRORS; error++)
        json_object_set_new(errors, bench_error_name(error), json_integer((json_int_t)tally->errors[error]));
    return errors;
}

static json_t *examples_json(const struct bench_tally *tally)
{
    json_t *examples = json_array();
    for (size_t i = 0; i < tally->n_examples; i++)
        json_array_append_new(examples, output_json_text(tally->examples[i]));
    return examples;
}

static json_t *latency_json(const struct bench_result *result)
{
    json_t *latency = json_object();
    for (size_t i = 0; i < PERCENTILES; i++)
        json_object_set_new(latency, percentiles[i].name, rounded(microseconds(percentile(result, i))));
    return latency;
}

static json_t *cpu_json(const struct bench_result *result)
{
    json_t *cpu = json_array();
    for (size_t i = 0; i < result->cpu.n; i++) {
        const struct bench_process *process = &result->cpu.processes[i];
        json_array_append_new(cpu, json_pack("{s:i,s:s,s:o}", "pid", (int)process->pid, "command", process->command,
                                             "us_per_request", rounded(per_request(result, process->nanoseconds))));
    }
    return cpu;
}

static int json_print(const struct bench_options *options, const struct bench_result *result)
{
    const struct bench_tally *tally = &result->tally;
    char keys[32];
    keys_write(options, keys, sizeof keys);
    json_t *json =
        json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:I, s:o, s:I}", "protocol",
                  bench_protocol_name(options->protocol), "server", output_json_text(result->server), "connections",
                  (json_int_t)options->connections, "pipeline", (json_int_t)options->pipeline, "threads",
                  (json_int_t)options->threads, "idle", (json_int_t)options->idle, "tokens",
                  (json_int_t)options->tokens, "users", (json_int_t)options->users, "keys", keys, "mix",
                  mix_json(options), "value_size", (json_int_t)options->value_size, "rate",
                  options->rate > 0 ? json_real(options->rate) : json_null(), "seed", (json_int_t)options->seed);
    json_t *measured = json_pack(
        "{s:I, s:o, s:o, s:b, s:I, s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "requests", (json_int_t)tally->answered,
        "seconds", json_real(round(result->seconds * 1e6) / 1e6), "requests_per_second", rounded(rate(result)),
        "interrupted", (int)result->interrupted, "errors", (json_int_t)bench_tally_errors(tally), "errors_by_kind",
        errors_json(tally), "wrong", (json_int_t)tally->errors[BENCH_ERROR_WRONG], "wrong_examples",
        examples_json(tally), "latency_us", latency_json(result), "cpu", cpu_json(result), "cpu_us_per_request",
        result->cpu.n > 0 ? rounded(per_request(result, cpu_total(result))) : json_null(), "generator_us_per_request",
        rounded(per_request(result, result->own_cpu)));
    if (json == NULL || json_object_update(json, measured) != 0) {
        json_decref(json);
        json = NULL;
    }
    json_decref(measured);
    return output_json(json);
}

int bench_report(const struct bench_options *options, const struct bench_result *result, bool json)
{
    if (json)
        return json_print(options, result);
    text_print(options, result);
    return 0;
}
