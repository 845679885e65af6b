/* SPDX-License-Identifier: MIT */
/* A real redis-server of a test's own. */
#include "redis_server.h"

#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

void redis_server_create(struct redis_server *server)
{
    const char *parent = getenv("TMPDIR");
    memset(server, 0, sizeof *server);
    /* The path of a socket has little room. */
    if (parent == NULL || strlen(parent) > 40)
        parent = "/tmp";
    snprintf(server->directory, sizeof server->directory, "%s/test-redis-XXXXXX", parent);
    assert_non_null(mkdtemp(server->directory));
    snprintf(server->path, sizeof server->path, "%s/redis.sock", server->directory);
}

static void run(const struct redis_server *server, pid_t parent)
{
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)server->port);
    const char *argv[32] = {
        "redis-server",    "--port", port, "--bind",      "127.0.0.1", "--unixsocket", server->path, "--dir",
        server->directory, "--save", "",   "--daemonize", "no"};
    size_t n = 13;
    for (size_t i = 0; server->options[i] != NULL; i++)
        argv[n++] = server->options[i];
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

redisContext *redis_server_connect(const struct redis_server *server)
{
    redisContext *context = redisConnectUnix(server->path);
    if (context != NULL && context->err != 0) {
        redisFree(context);
        context = NULL;
    }
    return context;
}

void redis_server_start(struct redis_server *server)
{
    pid_t parent = getpid();
    unlink(server->path);
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0)
        run(server, parent);
    for (unsigned i = 0; i < 500; i++) {
        redisContext *context = redis_server_connect(server);
        if (context != NULL) {
            redisFree(context);
            return;
        }
        usleep(10000);
    }
    fail_msg("redis-server does not start");
}

void redis_server_signal(struct redis_server *server, int number)
{
    assert_int_equal(kill(server->pid, number), 0);
    if (number != SIGKILL)
        return;
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

void redis_server_remove(struct redis_server *server)
{
    if (server->pid > 0)
        redis_server_signal(server, SIGKILL);
    nftw(server->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

uint16_t redis_server_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}
