/* Verbs, arguments and messages of the swap agent; see agent.h. */
#include "agent.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
    "usage: agent attach HOST PORT EXPORT CONNECTIONS PATIENCE\n"
    "       agent handshake HOST PORT EXPORT\n"
    "\n"
    "attach: makes EXPORT of the NBD server at HOST (dotted IPv4) a swap area.\n"
    "  CONNECTIONS  1 to 16\n"
    "  PATIENCE     seconds that swap waits for a lost server before it fails\n"
    "handshake: only asks the server for the export's size and flags.\n"
    "If NETBOOT_TOKEN is in the environment, EXPORT@TOKEN is what the server is asked for.\n"
    "Exit: 0 done, 3 cannot connect, 4 refused by the server, 5 refused by the kernel,\n"
    "6 the server does not speak NBD as it should.\n";

int complain(int code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vdprintf(2, format, arguments);
    va_end(arguments);
    dprintf(2, "\n");
    return code;
}

static int usage(void)
{
    dprintf(2, "%s", usage_text);
    return USAGE;
}

/* Reads a decimal number between `low` and `high`; false if `text` is anything else. */
static int number(const char *text, unsigned low, unsigned high, unsigned *value)
{
    unsigned long found = 0;

    if (*text == '\0')
        return 0;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || found > high)
            return 0;
        found = found * 10 + (unsigned long)(*text - '0');
    }
    *value = (unsigned)found;
    return found >= low && found <= high;
}

static int read_target(char **arguments, struct target *target)
{
    const char *token = getenv("NETBOOT_TOKEN");
    struct in_addr address;
    unsigned port;
    int length;

    target->host = arguments[0];
    target->port = arguments[1];
    if (inet_pton(AF_INET, target->host, &address) != 1)
        return complain(USAGE, "HOST: expected an IPv4 address, found '%s'", target->host);
    if (!number(target->port, 1, 65535, &port))
        return complain(USAGE, "PORT: expected 1 to 65535, found '%s'", target->port);
    target->token = token ? token : "";
    if (*target->token)
        length = snprintf(target->wire_name, sizeof target->wire_name, "%s@%s", arguments[2],
                          target->token);
    else
        length = snprintf(target->wire_name, sizeof target->wire_name, "%s", arguments[2]);
    if (length > MAX_WIRE_NAME)
        return complain(USAGE, "EXPORT: at most %d bytes with its token", MAX_WIRE_NAME);
    return OK;
}

static void close_sessions(const int *fds, unsigned count)
{
    for (unsigned at = 0; at < count; at++)
        session_close(fds[at]);
}

/* Opens up to `*count` sessions, fewer if the server allows one only. */
static int open_sessions(const struct target *target, unsigned patience, int *fds, unsigned *count,
                         struct export *export)
{
    struct export again;
    int code = session_open(target, patience, &fds[0], export);

    if (code != OK)
        return code;
    if (*count > 1 && !(export->flags & FLAG_CAN_MULTI_CONN)) {
        complain(OK, "the server allows one connection only (no CAN_MULTI_CONN)");
        *count = 1;
    }
    for (unsigned at = 1; at < *count; at++) {
        code = session_open(target, patience, &fds[at], &again);
        if (code != OK) {
            close_sessions(fds, at);
            return code;
        }
        if (again.size != export->size || again.flags != export->flags) {
            close_sessions(fds, at + 1);
            return complain(BAD_PROTOCOL, "connection %u was offered another export", at + 1);
        }
    }
    return OK;
}

static int attach(const struct target *target, unsigned connections, unsigned patience)
{
    struct export export;
    int fds[MAX_CONNECTIONS];
    uint32_t index;
    int code = open_sessions(target, patience, fds, &connections, &export);

    if (code != OK)
        return code;
    if (export.flags & FLAG_READ_ONLY) {
        close_sessions(fds, connections);
        return complain(BAD_PROTOCOL, "the export is read-only: of no use as swap");
    }
    code = device_connect(&export, fds, connections, patience, &index);
    if (code != OK) {
        close_sessions(fds, connections);
        return code;
    }
    /* From here on the kernel holds the sockets itself; they live on when this process ends. */
    code = swap_on(index, &export);
    if (code != OK) {
        device_disconnect(index);
        return code;
    }
    dprintf(1, "device=/dev/nbd%u size=%llu connections=%u\n", index,
            (unsigned long long)export.size, connections);
    return OK;
}

static int handshake(const struct target *target)
{
    struct export export;
    int fd;
    int code = session_open(target, 30, &fd, &export);

    if (code != OK)
        return code;
    session_close(fd);
    dprintf(1, "size=%llu flags=0x%x\n", (unsigned long long)export.size, export.flags);
    return OK;
}

int main(int count, char **arguments)
{
    struct target target;
    unsigned connections, patience;
    int code;

    signal(SIGPIPE, SIG_IGN); /* a server that went away is a return value, not a death */
    if (count == 7 && strcmp(arguments[1], "attach") == 0) {
        if (!number(arguments[5], 1, MAX_CONNECTIONS, &connections))
            return complain(USAGE, "CONNECTIONS: expected 1 to %d, found '%s'", MAX_CONNECTIONS,
                            arguments[5]);
        if (!number(arguments[6], 1, 1000000, &patience))
            return complain(USAGE, "PATIENCE: expected seconds, 1 to 1000000, found '%s'",
                            arguments[6]);
        code = read_target(arguments + 2, &target);
        return code == OK ? attach(&target, connections, patience) : code;
    }
    if (count == 5 && strcmp(arguments[1], "handshake") == 0) {
        code = read_target(arguments + 2, &target);
        return code == OK ? handshake(&target) : code;
    }
    return usage();
}
