/* SPDX-License-Identifier: MIT */
/* The values of options. */
#include "base/config_value.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { QUOTED_MAX = 64, ACCOUNT_MAX = 32 };

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS  "0123456789"

/* The value in quotes, or "this" for one that may be something else than a slip of the pen, such as a password. */
static const char *quote(const char *text, char (*buffer)[QUOTED_MAX + 3])
{
    if (text[0] == '\0' || text[strspn(text, LETTERS DIGITS ".+_-")] != '\0')
        return "this";
    snprintf(*buffer, sizeof *buffer, "\"%.*s", QUOTED_MAX, text);
    strcat(*buffer, "\"");
    return *buffer;
}

int value_number(const char *text, double minimum, double maximum, size_t *number, struct error *error)
{
    char quoted[QUOTED_MAX + 3];
    size_t size = strlen(text);
    if (size == 0 || strspn(text, DIGITS) != size)
        return error_set(error, "%s is not a whole number; give %.0f to %.0f", quote(text, &quoted), minimum, maximum);
    /* Every bound is exact as a double, and no number beyond them can round to one within. */
    double value = strtod(text, NULL);
    if (value < minimum || value > maximum)
        return error_set(error, "%s is out of range; give %.0f to %.0f", quote(text, &quoted), minimum, maximum);
    *number = (size_t)value;
    return 0;
}

int value_seconds(const char *text, double minimum, double maximum, double *seconds, struct error *error)
{
    char quoted[QUOTED_MAX + 3];
    size_t whole = strspn(text, DIGITS);
    size_t fraction = text[whole] == '.' ? strspn(text + whole + 1, DIGITS) : 0;
    const char *end = text + whole + (fraction > 0 ? fraction + 1 : 0);
    if (whole == 0 || *end != '\0')
        return error_set(error, "%s is not a time; give seconds from %.15g to %.15g, such as 2 or 0.5",
                         quote(text, &quoted), minimum, maximum);
    double value = strtod(text, NULL);
    if (value < minimum || value > maximum)
        return error_set(error, "%s is out of range; give seconds from %.15g to %.15g", quote(text, &quoted), minimum,
                         maximum);
    *seconds = value;
    return 0;
}

int value_mode(const char *text, mode_t *mode, struct error *error)
{
    char quoted[QUOTED_MAX + 3];
    size_t size = strlen(text);
    if (size == 0 || size > 4 || strspn(text, "01234567") != size || strtoul(text, NULL, 8) > 0777)
        return error_set(error, "%s are no permissions; give octal digits up to 0777, such as 0660",
                         quote(text, &quoted));
    *mode = (mode_t)strtoul(text, NULL, 8);
    return 0;
}

int value_boolean(const char *text, bool *boolean, struct error *error)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *boolean = i % 2 == 1;
            return 0;
        }
    }
    char quoted[QUOTED_MAX + 3];
    return error_set(error, "%s is neither true nor false; give one of them", quote(text, &quoted));
}

int value_choice(const char *text, const char *choices, unsigned *choice, struct error *error)
{
    unsigned index = 0;
    size_t size = strlen(text);
    for (const char *at = choices;; at++, index++) {
        size_t length = strcspn(at, "|");
        if (length == size && memcmp(at, text, size) == 0) {
            *choice = index;
            return 0;
        }
        at += length;
        if (*at == '\0')
            break;
    }
    char quoted[QUOTED_MAX + 3];
    return error_set(error, "%s is none of %s; give one of them", quote(text, &quoted), choices);
}

int value_check_printable(const char *text, size_t minimum, size_t maximum, struct error *error)
{
    size_t size = strlen(text);
    for (const char *c = text; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~')
            return error_set(error, "there is a space, a control character or one beyond ASCII in it; leave that out");
    if (size < minimum || size > maximum)
        return error_set(error, "it has %zu bytes; give %zu to %zu", size, minimum, maximum);
    return 0;
}

int value_check_account(const char *text, struct error *error)
{
    size_t size = strlen(text);
    if (size == 0 || size > ACCOUNT_MAX || strspn(text, LETTERS DIGITS "._-") != size || text[0] == '-')
        return error_set(error, "this is no name of a user or group; give 1 to %d letters, digits, '.', '_' and '-'",
                         ACCOUNT_MAX);
    return 0;
}

bool value_has_control(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return true;
    return false;
}

int value_path(const char *text, const char *folder, char **path, struct error *error)
{
    if (text[0] == '\0')
        return error_set(error, "the path is empty; give one, or leave the option out");
    if (value_has_control(text))
        return error_set(error, "there is a control character in the path");
    const char *slash = folder[0] != '\0' && folder[strlen(folder) - 1] == '/' ? "" : "/";
    char *result;
    if ((text[0] == '/' ? asprintf(&result, "%s", text) : asprintf(&result, "%s%s%s", folder, slash, text)) < 0)
        return error_set(error, "out of memory");
    if (strlen(result) >= PATH_MAX) {
        free(result);
        return error_set(error, "the path has %d bytes or more", PATH_MAX);
    }
    *path = result;
    return 0;
}
