/* SPDX-License-Identifier: MIT */
/* The tables `request` and `token` of a policy's call. They are empty; what a policy looks at is made when it does, and
 * only while the call lasts. tokenkeep-policy(7) lists their fields. */
#ifndef TK_KEEP_POLICY_TABLES_H
#define TK_KEEP_POLICY_TABLES_H

#include "base/event.h"
#include "keep/policy.h"

#include <lua.h>
#include <stdint.h>

/* What is asked about, the same for all policies that are asked. */
struct policy_call {
    const struct policy_request *request;
    const struct policy_token *token; /* NULL: none */
    struct json_t *fields;            /* of token->json, NULL until one of them is looked at; the caller frees it */
};

/* The tables of one state. Zeroed before policy_tables_open. */
struct policy_tables {
    struct policy_call *call; /* that runs; NULL: none */
    uint64_t calls;           /* how many there were */
    const void *request;      /* the tables of the call that runs */
    const void *token;
    int metatable;          /* of both: a reference in the registry */
    int address;            /* another: the text of the address that was looked at last */
    struct event_peer peer; /* and who has it */
};

/* Prepares a fresh state, which has keep.json. *tables must outlive it. May raise an error of memory. */
void policy_tables_open(lua_State *lua, struct policy_tables *tables);

/* Pushes `request` and `token`, nil where there is none, for a call that begins. *call must live until
 * policy_tables_end. */
void policy_tables_begin(lua_State *lua, struct policy_tables *tables, struct policy_call *call);

/* The call is over: of fields not looked at before, its tables say nil from now on. */
void policy_tables_end(struct policy_tables *tables);

#endif
