/* SPDX-License-Identifier: MIT */
/* What the client prints. */
#include "cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool progress_shown;

int output_json(json_t *value)
{
    if (value == NULL)
        return -1;
    int result = json_dumpf(value, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
    putchar('\n');
    json_decref(value);
    return result;
}

json_t *output_json_text(const char *text)
{
    json_t *value = json_string(text);
    char *ascii = value == NULL ? strdup(text) : NULL;
    if (ascii == NULL)
        return value;
    for (char *c = ascii; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    value = json_string(ascii);
    free(ascii);
    return value;
}

void output_failure(bool json, const char *code, const char *message, const char *hint)
{
    output_progress_clear();
    fflush(stdout);
    fprintf(stderr, "tokenkeep: %s%s%s\n", message, hint == NULL ? "" : "; ", hint == NULL ? "" : hint);
    if (json)
        output_json(
            json_pack("{s:{s:o,s:o}}", "error", "code", output_json_text(code), "message", output_json_text(message)));
}

void output_progress_text(const char *text)
{
    if (!isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r%s \033[K", text);
    progress_shown = true;
}

void output_progress(int64_t seconds)
{
    char text[64];
    snprintf(text, sizeof text, "working for %" PRId64 " s", seconds);
    output_progress_text(text);
}

void output_progress_clear(void)
{
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = false;
}
