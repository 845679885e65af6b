/* SPDX-License-Identifier: MIT */
/* The handlers of the commands: what each does with arguments whose number is right. Each answers its request once. */
#ifndef TK_WORKER_HANDLERS_H
#define TK_WORKER_HANDLERS_H

#include "worker/command.h"

/* Tokens: handlers.c. */
command_handler handle_get, handle_check, handle_getkey, handle_store, handle_issue, handle_delete, handle_deleteall,
    handle_list, handle_verifyall, handle_delete_user, handle_list_user, handle_rekey, handle_stats_keys;

/* The server and the connection: handlers_server.c. */
command_handler handle_ping, handle_help, handle_quit, handle_stats;

/* What Redis clients say on connecting: handlers_server.c. */
command_handler handle_hello, handle_client, handle_select, handle_command, handle_echo;

#endif
