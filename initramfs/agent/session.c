/* TCP connections to the page server. */
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Time limits in milliseconds. A LAN answers a SYN in one; TCP repeats it after 1 and 3 s, so a new
 * try after 2 finds a host that is back sooner than a patient one. The handshake's steps (send, one
 * whole message received) may meet a server that is stopped or has a whole room to answer. */
#define CONNECT_MS 2000
#define STEP_MS 10000

/* What is not yet on the wire lies in kernel memory, of which there is little when swap is needed.
 * TCP would take up to 4 MiB a connection; the kernel doubles this value for its own use. It also
 * bounds the time that a request waits there, which counts towards its time limit. */
#define SEND_BUFFER (256 << 10)

/* Keepalive probes when nothing is on its way, in seconds. */
#define PROBE_INTERVAL 2

int64_t sessions_end = FOREVER;

static int wait_for(int fd, short events, int64_t until)
{
    struct pollfd waits[2] = {{.fd = fd, .events = events}};

    return await(waits, 1, until < sessions_end ? until : sessions_end);
}

int receive(int fd, void *buffer, size_t length, const char *what)
{
    int64_t until = now_ms() + STEP_MS;
    size_t got = 0;

    while (got < length) {
        ssize_t more = recv(fd, (char *)buffer + got, length - got, MSG_DONTWAIT);

        if (more > 0)
            got += (size_t)more;
        else if (more == 0)
            return complain(CANNOT_CONNECT, "the server closed the connection before %s", what);
        else if (errno != EAGAIN && errno != EINTR)
            return complain(CANNOT_CONNECT, "waiting for %s: %s", what, strerror(errno));
        else if (!wait_for(fd, POLLIN, until))
            return complain(CANNOT_CONNECT, "no %s within %d s", what, STEP_MS / 1000);
    }
    return OK;
}

int transmit(int fd, const void *buffer, size_t length)
{
    int64_t until = now_ms() + STEP_MS;
    size_t sent = 0;

    while (sent < length) {
        ssize_t more = send(fd, (const char *)buffer + sent, length - sent, MSG_DONTWAIT);

        if (more >= 0)
            sent += (size_t)more;
        else if (errno != EAGAIN && errno != EINTR)
            return complain(CANNOT_CONNECT, "sending: %s", strerror(errno));
        else if (!wait_for(fd, POLLOUT, until))
            return complain(CANNOT_CONNECT, "the server takes no bytes for %d s", STEP_MS / 1000);
    }
    return OK;
}

static void set_option(int fd, int level, int name, int value)
{
    setsockopt(fd, level, name, &value, sizeof value);
}

/* The kernel's swap traffic inherits these. A server that is silent is given up after `timeout`
 * seconds, whether requests are on their way or not: the user timeout overrides the count of
 * keepalive probes (tcp_keepalive_timer). */
static void prepare(int fd, unsigned timeout)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)timeout);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, PROBE_INTERVAL);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)timeout * 1000);
}

static int dial(const struct target *target, int *out)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(target->port))};
    socklen_t length = sizeof(int);
    int failure = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return complain(KERNEL_REFUSED, "socket: %s", strerror(errno));
    inet_pton(AF_INET, target->host, &address.sin_addr);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        failure = errno;
        if (failure == EINPROGRESS) {
            failure = ETIMEDOUT;
            if (wait_for(fd, POLLOUT, now_ms() + CONNECT_MS))
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length);
        }
    }
    if (failure) {
        close(fd);
        return complain(CANNOT_CONNECT, "%s port %s: %s", target->host, target->port,
                        strerror(failure));
    }
    prepare(fd, target->timeout);
    *out = fd;
    return OK;
}

/* Connects and shakes hands. */
static int open_session(const struct target *target, uint64_t set, int *fd, struct export *export)
{
    int code = dial(target, fd);

    if (code != OK)
        return code;
    code = shake_hands(*fd, target, set, export);
    if (code != OK)
        close(*fd);
    else
        fcntl(*fd, F_SETFL, 0); /* the kernel's NBD driver wants a blocking socket */
    return code;
}

int open_sessions(const struct target *target, uint64_t set, int *fds, unsigned *count,
                  struct export *export)
{
    struct export again;
    int code = open_session(target, set, &fds[0], export);

    if (code != OK)
        return code;
    if (*count > 1 && !(export->flags & FLAG_CAN_MULTI_CONN)) {
        complain(OK, "the server allows one connection only (no CAN_MULTI_CONN)");
        *count = 1;
    }
    for (unsigned at = 1; at < *count; at++) {
        code = open_session(target, set, &fds[at], &again);
        if (code != OK) {
            close_sessions(fds, at);
            return code;
        }
        if (memcmp(&again, export, sizeof again) != 0) {
            close_sessions(fds, at + 1);
            return complain(BAD_PROTOCOL, "connection %u was offered another export", at + 1);
        }
    }
    return OK;
}

void close_sessions(const int *fds, unsigned count)
{
    for (unsigned at = 0; at < count; at++) {
        say_goodbye(fds[at]);
        close(fds[at]);
    }
}
