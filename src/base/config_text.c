/* SPDX-License-Identifier: MIT */
/* A configuration file as text. The scanner below knows words, strings, comments and braces; libConfuse, which comes
 * after it, knows what they mean. */
#include "base/config_text.h"

#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct slice {
    const char *start;
    size_t size;
};

struct name {
    struct slice text;
    unsigned line;
};

/* Names given so far at one depth: top level or the open section. */
struct names {
    size_t n;
    struct name list[CONFIG_NAMES_MAX];
};

struct scanner {
    const char *path;
    struct config_text *text;
    struct error *error;
    char *at;
    unsigned line;
    struct name statement; /* first word of the statement; its size is 0 when it is quoted */
    unsigned words;        /* of the statement, before any "=" */
    bool value_follows;    /* "=" was read */
    struct name section;   /* the open section; its size is 0 outside of one */
    struct names names[2]; /* [1]: of the open section */
};

/* For "%.*s": no more of a name than a line of log can bear. */
#define SHOWN(slice) (int)((slice).size < 64 ? (slice).size : 64), (slice).start

#define FAIL(scanner, line, format, ...) \
    error_set((scanner)->error, "%s:%u: " format, (scanner)->path, (line), ##__VA_ARGS__)

static int read_all(int fd, struct config_text *text)
{
    ssize_t n;
    do {
        n = read(fd, text->bytes + text->size, CONFIG_TEXT_MAX + 1 - text->size);
        if (n > 0)
            text->size += (size_t)n;
    } while (n > 0 || (n < 0 && errno == EINTR));
    return n == 0 ? 0 : -1;
}

static int read_file(struct scanner *scanner)
{
    struct config_text *text = scanner->text;
    struct stat status;
    /* Not to wait for ever when it is a named pipe. */
    int fd = open(scanner->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return FAIL(scanner, 1U, "the file cannot be opened: %s", strerror(errno));
    int result = -1;
    text->bytes = malloc(CONFIG_TEXT_MAX + 2);
    if (text->bytes == NULL)
        FAIL(scanner, 1U, "out of memory");
    else if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        FAIL(scanner, 1U, "this is not a file but a folder or a device; give the path of a file");
    else if (read_all(fd, text) != 0)
        FAIL(scanner, 1U, "the file cannot be read: %s", strerror(errno));
    else if (text->size > CONFIG_TEXT_MAX)
        FAIL(scanner, 1U, "the file is larger than %d bytes; this cannot be a configuration", CONFIG_TEXT_MAX);
    else
        result = 0;
    close(fd);
    if (result == 0)
        text->bytes[text->size] = '\0';
    return result;
}

/* Whether a line is text; CRLF becomes LF. */
static int check_line(struct scanner *scanner, char *line, size_t size, unsigned number)
{
    if (size > 0 && line[size - 1] == '\r')
        line[size - 1] = ' ';
    for (size_t i = 0; i < size; i++)
        if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
            return FAIL(scanner, number, "there is a control character (byte %d) here; a configuration is text",
                        line[i]);
    if (!utf8_valid(line, size, NULL))
        return FAIL(scanner, number, "there is a byte here that is not UTF-8; a configuration is text");
    return 0;
}

static int check_lines(struct scanner *scanner)
{
    struct config_text *text = scanner->text;
    char *line = text->bytes, *end = text->bytes + text->size;
    for (unsigned number = 1; line < end; number++) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        char *line_end = newline != NULL ? newline : end;
        if (check_line(scanner, line, (size_t)(line_end - line), number) != 0)
            return -1;
        text->lines = number;
        line = line_end + 1;
    }
    return 0;
}

static int add_name(struct scanner *scanner)
{
    struct name *section = &scanner->section, *name = &scanner->statement;
    struct names *names = &scanner->names[section->text.size > 0];
    const char *dot = section->text.size > 0 ? "." : "";
    for (size_t i = 0; i < names->n; i++) {
        const struct name *known = &names->list[i];
        if (known->text.size == name->text.size && memcmp(known->text.start, name->text.start, name->text.size) == 0)
            return FAIL(scanner, name->line,
                        "%.*s%s%.*s: it stands here for the second time, the first is on line %u; keep one",
                        SHOWN(section->text), dot, SHOWN(name->text), known->line);
    }
    if (names->n == CONFIG_NAMES_MAX)
        return FAIL(scanner, name->line, "there are more than %d options in one section", CONFIG_NAMES_MAX);
    names->list[names->n++] = *name;
    return 0;
}

static void end_statement(struct scanner *scanner)
{
    scanner->words = 0;
    scanner->value_follows = false;
}

/* A word or string was read: part of a statement, or the value that ends it. */
static void take_word(struct scanner *scanner, const char *start, bool quoted)
{
    if (scanner->value_follows) {
        end_statement(scanner);
        return;
    }
    if (scanner->words++ == 0)
        scanner->statement = (struct name){{start, quoted ? 0 : (size_t)(scanner->at - start)}, scanner->line};
}

static int check_name(struct scanner *scanner)
{
    if (scanner->words > 0 && scanner->statement.text.size == 0)
        return FAIL(scanner, scanner->statement.line,
                    "the name of an option or section stands in quotes; write it without");
    return 0;
}

static int take_equals(struct scanner *scanner)
{
    if (check_name(scanner) != 0 || (scanner->words == 1 && add_name(scanner) != 0))
        return -1;
    scanner->value_follows = true;
    return 0;
}

static int take_open(struct scanner *scanner)
{
    struct config_text *text = scanner->text;
    if (scanner->section.text.size > 0)
        return FAIL(scanner, scanner->line,
                    "a section opens inside of section %.*s, which opens on line %u; close that first with }",
                    SHOWN(scanner->section.text), scanner->section.line);
    if (scanner->words == 0 || scanner->value_follows)
        return FAIL(scanner, scanner->line, "an opening brace stands here without the name of a section");
    /* Titles that repeat are libConfuse's to see. */
    if (check_name(scanner) != 0 || (scanner->words == 1 && add_name(scanner) != 0))
        return -1;
    if (text->sections == CONFIG_SECTIONS_MAX)
        return FAIL(scanner, scanner->line, "there are more than %d sections", CONFIG_SECTIONS_MAX);
    text->section_lines[text->sections++] = scanner->line;
    scanner->section = scanner->statement;
    scanner->names[1].n = 0;
    end_statement(scanner);
    return 0;
}

static int take_close(struct scanner *scanner)
{
    if (scanner->section.text.size == 0)
        return FAIL(scanner, scanner->line, "a closing brace stands here and no section is open");
    scanner->section.text.size = 0;
    end_statement(scanner);
    return 0;
}

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS  "0123456789"

/* ${NAME} or ${NAME:-DEFAULT}, at "$". */
static int skip_variable(struct scanner *scanner)
{
    char *name = scanner->at + 2;
    size_t size = strspn(name, LETTERS DIGITS "_");
    char *end = name + size;
    bool has_default = end[0] == ':' && end[1] == '-';
    if (has_default)
        end += strcspn(end, "}\n\"\\");
    if (size == 0 || *end != '}')
        return FAIL(scanner, scanner->line, "this is no variable; write ${NAME} or ${NAME:-DEFAULT}");
    char saved = name[size];
    name[size] = '\0';
    bool is_set = getenv(name) != NULL;
    int result = 0;
    if (!is_set && !has_default)
        result = FAIL(scanner, scanner->line,
                      "the variable %.64s is not set in the environment; set it, or give ${NAME:-DEFAULT}", name);
    name[size] = saved;
    scanner->at = end + 1;
    return result;
}

static int take_string(struct scanner *scanner)
{
    const char *start = scanner->at;
    char quote = *scanner->at++;
    while (*scanner->at != quote) {
        if (*scanner->at == '\0' || *scanner->at == '\n')
            return FAIL(scanner, scanner->line,
                        "the string that begins on this line does not end on it; add the closing quote");
        if (*scanner->at == '\\') {
            if (scanner->at[1] == '\0' || strchr(quote == '"' ? "\\\"$" : "\\'", scanner->at[1]) == NULL)
                return FAIL(scanner, scanner->line,
                            "a backslash in a string stands before %s only; write \\\\ for a backslash",
                            quote == '"' ? "\", $ and \\" : "' and \\");
            scanner->at += 2;
        } else if (quote == '"' && scanner->at[0] == '$' && scanner->at[1] == '{') {
            if (skip_variable(scanner) != 0)
                return -1;
        } else {
            scanner->at++;
        }
    }
    scanner->at++;
    take_word(scanner, start, true);
    return 0;
}

static void blank_line_comment(struct scanner *scanner)
{
    while (*scanner->at != '\0' && *scanner->at != '\n')
        *scanner->at++ = ' ';
}

static int blank_block_comment(struct scanner *scanner)
{
    const char *end = strstr(scanner->at + 2, "*/");
    if (end == NULL)
        return FAIL(scanner, scanner->line, "the comment that begins here with /* does not end; close it with */");
    for (; scanner->at < end + 2; scanner->at++) {
        if (*scanner->at == '\n')
            scanner->line++;
        else
            *scanner->at = ' ';
    }
    return 0;
}

static int take_plain_word(struct scanner *scanner)
{
    const char *start = scanner->at;
    size_t size = strspn(start, LETTERS DIGITS "_.:/-");
    if (size == 0)
        return FAIL(scanner, scanner->line, "there is a character here that cannot stand outside of quotes");
    scanner->at += size;
    take_word(scanner, start, false);
    return 0;
}

static int take_token(struct scanner *scanner)
{
    const char *start = scanner->at;
    switch (*start) {
    case '\n':
        scanner->line++;
        /* fall through */
    case ' ':
    case '\t': scanner->at++; return 0;
    case '=': scanner->at++; return take_equals(scanner);
    case '{': scanner->at++; return take_open(scanner);
    case '}': scanner->at++; return take_close(scanner);
    case '"':
    case '\'': return take_string(scanner);
    case '#': blank_line_comment(scanner); return 0;
    default: break;
    }
    if (start[0] == '/' && start[1] == '/') {
        blank_line_comment(scanner);
        return 0;
    }
    if (start[0] == '/' && start[1] == '*')
        return blank_block_comment(scanner);
    if (start[0] == '$' && start[1] == '{') {
        if (skip_variable(scanner) != 0)
            return -1;
        take_word(scanner, start, true);
        return 0;
    }
    return take_plain_word(scanner);
}

static int scan(struct scanner *scanner)
{
    while (*scanner->at != '\0')
        if (take_token(scanner) != 0)
            return -1;
    if (scanner->section.text.size > 0)
        return FAIL(scanner, scanner->text->lines,
                    "the file ends inside of section %.*s, which opens on line %u; close it with }",
                    SHOWN(scanner->section.text), scanner->section.line);
    return 0;
}

int config_text_read(const char *path, struct config_text *text, struct error *error)
{
    *text = (struct config_text){.lines = 1};
    struct scanner scanner = {.path = path, .text = text, .error = error, .line = 1};
    if (read_file(&scanner) != 0 || check_lines(&scanner) != 0)
        return -1;
    scanner.at = text->bytes;
    return scan(&scanner);
}

void config_text_clear(struct config_text *text)
{
    free(text->bytes);
    text->bytes = NULL;
}
