/* SPDX-License-Identifier: MIT */
/* tokenkeepd: its options, and which role this process takes. */
#include "base/exit_status.h"
#include "master/master.h"

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static const char default_config[] = SYSCONFDIR "/tokenkeep/tokenkeepd.conf";

static const char usage[] = "usage: tokenkeepd --config FILE | --state DIR [--listen ADDRESS] [--check]\n";

static const char help[] =
    "\n"
    "  --config FILE     serve as FILE says; see tokenkeepd.conf(5)\n"
    "  --state DIR       serve from a private Redis in DIR, with nothing else configured\n"
    "  --listen ADDRESS  with --state, take tokens to verify here instead of 127.0.0.1:7117\n"
    "  --check           say whether a start would succeed, and do not serve\n"
    "  --version         print the version\n"
    "  --help            print this\n"
    "\n"
    "Without --config and --state, " SYSCONFDIR
    "/tokenkeep/tokenkeepd.conf is read. It runs in the foreground and logs to\n"
    "standard error. SIGTERM stops it, SIGHUP makes it read its configuration again; see tokenkeepd(8).\n";

enum action { ACTION_RUN, ACTION_CHECK, ACTION_DONE, ACTION_REFUSED };

static enum action refuse(const char *reason)
{
    fprintf(stderr, "tokenkeepd: %s\n%s", reason, usage);
    return ACTION_REFUSED;
}

static enum action options_complete(struct master_options *options, enum action action)
{
    if (options->config_file != NULL && options->state_directory != NULL)
        return refuse("--config and --state exclude each other");
    if (options->listen != NULL && options->state_directory == NULL)
        return refuse("--listen goes with --state");
    if (options->config_file != NULL || options->state_directory != NULL)
        return action;
    if (access(default_config, F_OK) != 0)
        return refuse("say --config FILE, or --state DIR to start with nothing configured");
    options->config_file = default_config;
    return action;
}

static enum action options_parse(int argc, char **argv, struct master_options *options)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},
        {"state", required_argument, NULL, 's'},
        {"listen", required_argument, NULL, 'l'},
        {"check", no_argument, NULL, 'k'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    enum action action = ACTION_RUN;
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'c': options->config_file = optarg; break;
        case 's': options->state_directory = optarg; break;
        case 'l': options->listen = optarg; break;
        case 'k': action = ACTION_CHECK; break;
        case 'v': puts("tokenkeepd " PACKAGE_VERSION); return ACTION_DONE;
        case 'h': printf("%s%s", usage, help); return ACTION_DONE;
        default: fputs(usage, stderr); return ACTION_REFUSED;
        }
    }
    if (optind < argc)
        return refuse("there are words behind the options");
    return options_complete(options, action);
}

/* Descriptors 0 to 2 are open afterwards, so that no socket becomes one of them, and no other is. */
static void descriptors_tidy(void)
{
    int fd = 0;
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = open("/dev/null", O_RDWR);
    close_range(STDERR_FILENO + 1, UINT_MAX, 0);
}

int main(int argc, char **argv)
{
    struct master_options options = {.config_file = NULL};
    descriptors_tidy();
    switch (options_parse(argc, argv, &options)) {
    case ACTION_RUN: return master_run(&options);
    case ACTION_CHECK: return master_check(&options);
    case ACTION_DONE: return EXIT_STATUS_OK;
    case ACTION_REFUSED: return EXIT_STATUS_USAGE;
    }
    return EXIT_STATUS_USAGE;
}
