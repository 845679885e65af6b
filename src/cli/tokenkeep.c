/* SPDX-License-Identifier: MIT */
/* tokenkeep, the command-line client: its options, its help, and which command is run. */
#include "base/error.h"
#include "cli/argument.h"
#include "cli/commands.h"
#include "cli/output.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SOCKET "/run/tokenkeep/admin.sock"
#define TIMEOUT_MAX    86400.0

enum {
    OPTION_SOCKET = 256,
    OPTION_SERVER,
    OPTION_JSON,
    OPTION_TIMEOUT,
    OPTION_FIX,
    OPTION_YES,
    OPTION_KEYS,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_POLICY,                                 /* and those of enum policy_option behind it */
    OPTION_BENCH = OPTION_POLICY + POLICY_OPTIONS, /* and those of enum bench_option */
};

#define COMMON_OPTIONS                                                                                      \
    {"socket", required_argument, NULL, OPTION_SOCKET}, {"server", required_argument, NULL, OPTION_SERVER}, \
        {"json", no_argument, NULL, OPTION_JSON}, {"timeout", required_argument, NULL, OPTION_TIMEOUT},     \
        {"fix", no_argument, NULL, OPTION_FIX}, {"yes", no_argument, NULL, OPTION_YES},                     \
        {"help", no_argument, NULL, OPTION_HELP},                                                           \
    {                                                                                                       \
        "version", no_argument, NULL, OPTION_VERSION                                                        \
    }

static const struct option long_options[] = {
    COMMON_OPTIONS,
#define X(constant, name) {name, required_argument, NULL, OPTION_POLICY + POLICY_OPTION_##constant},
    POLICY_OPTIONS_LIST(X)
#undef X
#define X(constant, name, takes, help) \
    {name, sizeof(takes) > 1 ? required_argument : no_argument, NULL, OPTION_BENCH + BENCH_OPTION_##constant},
        BENCH_OPTIONS_LIST(X)
#undef X
            {NULL, 0, NULL, 0},
};

/* Behind `stats`, whose --keys takes no value as that of `bench` does. */
static const struct option stats_options[] = {
    COMMON_OPTIONS,
    {"keys", no_argument, NULL, OPTION_KEYS},
    {NULL, 0, NULL, 0},
};

/* What the command line says; its first word is the command. */
struct invocation {
    struct options options;
    bool help;
    bool version;
    char **words;
    size_t n_words;
};

static void print_usage(FILE *out)
{
    fputs("usage: tokenkeep [--socket PATH | --server HOST:PORT] [--json] [--timeout SECONDS] COMMAND [ARGUMENT ...]\n",
          out);
}

static void print_commands(FILE *out)
{
    fputs("commands:\n", out);
    for (const struct command *command = commands; command->name != NULL; command++)
        fprintf(out, "  %-13s%s\n", command->name, command->help);
}

static int help_show(void)
{
    print_usage(stdout);
    fputs("\n"
          "  --socket PATH        the server's unix socket; else $TOKENKEEP_SOCKET, else " DEFAULT_SOCKET "\n"
          "  --server HOST:PORT   the server's address instead\n"
          "  --json               print one JSON value\n"
          "  --timeout SECONDS    how long to wait for an answer (30; 600 of silence where much is to be done)\n"
          "  --help, --version    print this, or what a COMMAND takes; or the version\n"
          "\n",
          stdout);
    print_commands(stdout);
    fputs("\n"
          "A TOKEN, KEY or JSON of - is read from standard input, which keeps it out of process lists.\n"
          "Exit status: 0 yes or done, 1 no, 2 no verdict, 64 usage. The manual is tokenkeep(1).\n",
          stdout);
    return STATUS_YES;
}

static int help_show_command(const struct command *command)
{
    printf("usage: tokenkeep [OPTION ...] %s", command->name);
    if ((command->flags & COMMAND_FIX) != 0)
        printf(" [--fix]");
    if ((command->flags & COMMAND_YES) != 0)
        printf(" [--yes]");
    if ((command->flags & COMMAND_KEYS) != 0)
        printf(" [--keys]");
    if ((command->flags & COMMAND_POLICY) != 0)
        printf(" --command NAME [QUESTION ...]");
    if ((command->flags & COMMAND_BENCH) != 0)
        printf(" [OPTION ...]");
    if (command->first != NULL)
        printf(" %s", command->first);
    if (command->rest != NULL)
        printf(" [%s ...]", command->rest);
    printf("\n\n%s\n", command->help);
    if ((command->flags & COMMAND_POLICY) != 0)
        policy_options_show();
    else if ((command->flags & COMMAND_BENCH) != 0)
        bench_options_show();
    else if (command->verb != NULL && command->first != NULL)
        printf("A %s of - is read from standard input.\n", command->first);
    return STATUS_YES;
}

static int usage_fail(bool json, const struct error *error)
{
    output_failure(json, "usage", error->text, NULL);
    return STATUS_USAGE;
}

static int timeout_parse(const char *text, double *timeout, struct error *error)
{
    char *end;
    *timeout = strtod(text, &end);
    if (end == text || *end != '\0' || !(*timeout >= 0.001 && *timeout <= TIMEOUT_MAX))
        return error_set(error, "--timeout takes a number of seconds from 0.001 to %g", TIMEOUT_MAX);
    return 0;
}

/* What was given may be a secret in the wrong place: only an option's name is repeated. */
static int option_bad(int option, const char *given, struct error *error)
{
    if (option == ':')
        return error_set(error, "option %s needs a value", given);
    if (optopt > 0 && optopt < OPTION_SOCKET)
        return error_set(error, "there are no options of one letter; tokenkeep --help lists those there are");
    return error_set(error, "option %.*s is unknown or not used like this; tokenkeep --help lists those there are",
                     (int)(strchrnul(given, '=') - given), given);
}

static int option_take(struct invocation *invocation, int option, char **argv, struct error *error)
{
    struct options *options = &invocation->options;
    switch (option) {
    case 1: invocation->words[invocation->n_words++] = optarg; return 0;
    case OPTION_SOCKET: options->target.socket = optarg; return 0;
    case OPTION_SERVER: options->target.server = optarg; return 0;
    case OPTION_JSON: options->json = true; return 0;
    case OPTION_TIMEOUT: return timeout_parse(optarg, &options->timeout, error);
    case OPTION_FIX: options->fix = true; return 0;
    case OPTION_YES: options->yes = true; return 0;
    case OPTION_KEYS: options->keys = true; return 0;
    case OPTION_HELP: invocation->help = true; return 0;
    case OPTION_VERSION: invocation->version = true; return 0;
    }
    if (option >= OPTION_BENCH)
        return bench_option_take(&options->bench, (enum bench_option)(option - OPTION_BENCH), optarg, error);
    if (option >= OPTION_POLICY)
        return policy_option_take(&options->policy, (enum policy_option)(option - OPTION_POLICY), optarg, error);
    return option_bad(option, argv[optind - 1], error);
}

/* Options may stand anywhere. One key in 64 begins with a hyphen: what has the form of a key is never taken for an
 * option. The first mistake is told, but not before it is known whether --json follows. */
static int invocation_parse(struct invocation *invocation, int argc, char **argv, struct error *error)
{
    int bad = 0;
    opterr = 0;
    for (;;) {
        if (optind < argc && argument_is_key(argv[optind])) {
            invocation->words[invocation->n_words++] = argv[optind++];
            continue;
        }
        const bool stats = invocation->n_words > 0 && strcmp(invocation->words[0], "stats") == 0;
        int option = getopt_long(argc, argv, "-:", stats ? stats_options : long_options, NULL);
        if (option == -1)
            break;
        if (option_take(invocation, option, argv, bad == 0 ? error : NULL) != 0)
            bad = -1;
    }
    while (optind < argc)
        invocation->words[invocation->n_words++] = argv[optind++];
    return bad;
}

static int target_choose(struct session_target *target, struct error *error)
{
    if (target->socket != NULL && target->server != NULL)
        return error_set(error, "--socket and --server exclude each other");
    const char *preset = getenv("TOKENKEEP_SOCKET");
    if (target->socket == NULL && target->server == NULL)
        target->socket = preset != NULL && *preset != '\0' ? preset : DEFAULT_SOCKET;
    return 0;
}

/* The options that one command has alone. */
static int own_options_check(const struct command *command, const struct options *options, struct error *error)
{
    for (enum policy_option option = 0; option < POLICY_OPTIONS; option++)
        if (options->policy.value[option] != NULL && (command->flags & COMMAND_POLICY) == 0)
            return error_set(error, "%s takes no --%s", command->name, policy_option_name(option));
    if (options->bench.given != NULL && (command->flags & COMMAND_BENCH) == 0)
        return error_set(error, "%s takes no --%s", command->name, options->bench.given);
    return 0;
}

static int command_check(const struct command *command, const struct invocation *invocation, size_t n,
                         struct error *error)
{
    if (invocation->options.fix && (command->flags & COMMAND_FIX) == 0)
        return error_set(error, "%s takes no --fix", command->name);
    if (invocation->options.yes && (command->flags & COMMAND_YES) == 0)
        return error_set(error, "%s takes no --yes", command->name);
    if (own_options_check(command, &invocation->options, error) != 0)
        return -1;
    if (n < command->min)
        return error_set(error, "%s needs a %s; see tokenkeep %s --help", command->name, command->first, command->name);
    if (n > command->max)
        return error_set(error, "%s takes no more than %zu argument%s; see tokenkeep %s --help", command->name,
                         command->max, command->max == 1 ? "" : "s", command->name);
    return 0;
}

static int invocation_run(struct invocation *invocation)
{
    struct options *options = &invocation->options;
    struct error error;
    if (invocation->version)
        return puts("tokenkeep " PACKAGE_VERSION) < 0 ? STATUS_NO_VERDICT : STATUS_YES;
    size_t n_used = 0;
    const struct command *command = command_find(invocation->words, invocation->n_words, &n_used);
    if (invocation->help && invocation->n_words == 0)
        return help_show();
    if (command == NULL) {
        error_set(&error, invocation->n_words == 0 ? "a command is missing" : "there is no such command");
        int status = usage_fail(options->json, &error);
        print_usage(stderr);
        print_commands(stderr);
        return status;
    }
    if (invocation->help)
        return help_show_command(command);
    if (target_choose(&options->target, &error) != 0 ||
        command_check(command, invocation, invocation->n_words - n_used, &error) != 0)
        return usage_fail(options->json, &error);
    return command_run(command, options, invocation->words + n_used, invocation->n_words - n_used);
}

int main(int argc, char **argv)
{
    struct invocation invocation = {.words = calloc((size_t)argc + 1, sizeof(char *))};
    if (invocation.words == NULL)
        return STATUS_NO_VERDICT;
    bench_options_init(&invocation.options.bench);
    struct error error;
    int status = invocation_parse(&invocation, argc, argv, &error) != 0 ? usage_fail(invocation.options.json, &error)
                                                                        : invocation_run(&invocation);
    free(invocation.words);
    /* A full disk must not pass for an answer given. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("tokenkeep: cannot write to standard output");
        return STATUS_NO_VERDICT;
    }
    return status;
}
