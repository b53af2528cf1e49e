/* TCP connections to the page server. */
#include "session.h"
#include "agent.h"
#include "handshake.h"
#include "report.h"
#include "say.h"
#include "stream.h"
#include "types.h"

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

/* A LAN answers a SYN in one millisecond. TCP retransmits a SYN after 1 and 3 s; a new try after 2 s
 * reaches a host that is back earlier than the retransmission would. */
#define CONNECT_MS 2000

/* Unsent bytes take kernel memory, which is short when swap is needed. TCP would take up to 4 MiB for a
 * connection; the kernel doubles this value for its own use. The limit also bounds the time that a
 * request waits unsent, which counts towards the request's timeout. */
#define SEND_BUFFER (256 << 10)

/* Seconds between keepalive probes on an idle connection. */
#define PROBE_INTERVAL 2

/* struct tcp_info (uapi/linux/tcp.h), written out because musl's and glibc's headers differ. `MS` are
 * the milliseconds since then. */
#define INFO_BYTES 136
#define INFO_SENT_MS 44
#define INFO_RECEIVED_MS 52
#define INFO_ACK_MS 56
#define INFO_RECEIVED 128 /* tcpi_bytes_received, 8 bytes, since Linux 4.1 */
#define FIN_WAIT1 4       /* tcpi_state: this side closed first */
#define FIN_WAIT2 5
#define CLOSE_WAIT 8 /* the other side did */
#define LAST_ACK 9
#define CLOSING 11
#define BLUR_MS 200 /* between the driver's clock and TCP's */

static void read_info(int fd, unsigned char *info)
{
    socklen_t length = INFO_BYTES;

    memset(info, 0, INFO_BYTES);
    getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &length);
}

static uint32_t take_ms(const unsigned char *info, unsigned at)
{
    uint32_t value;

    memcpy(&value, info + at, sizeof value);
    return value;
}

/* The driver closes a connection whose request was not answered in time. If the server has closed its
 * side as well by now, the state tells no more who was first: then a request that is younger than the
 * last answer does, if that answer is as old as the timeout. */
enum ending ending_of(int fd, unsigned timeout)
{
    unsigned char info[INFO_BYTES];
    uint32_t sent, received, ack, limit = timeout * 1000 - BLUR_MS;
    int is_there, waited;

    read_info(fd, info);
    sent = take_ms(info, INFO_SENT_MS);
    received = take_ms(info, INFO_RECEIVED_MS);
    ack = take_ms(info, INFO_ACK_MS);
    is_there = ack <= sent || ack < limit;
    waited = sent < received && received >= limit;
    switch (info[0]) {
    case CLOSE_WAIT:
    case LAST_ACK:
        return CLOSED;
    case FIN_WAIT1:
    case FIN_WAIT2:
    case CLOSING:
        waited = 1;
        break;
    }
    if (!is_there)
        return SILENT;
    return waited ? UNANSWERED : EITHER;
}

uint64_t received_bytes(int fd)
{
    unsigned char info[INFO_BYTES];
    uint64_t received;

    read_info(fd, info);
    memcpy(&received, info + INFO_RECEIVED, sizeof received);
    return received;
}

uint64_t next_set(void)
{
    static uint64_t last;
    uint64_t now = (uint64_t)now_ms();

    last = now > last ? now : last + 1;
    return last;
}

static void set_option(int fd, int level, int name, int value)
{
    setsockopt(fd, level, name, &value, sizeof value);
}

/* Set the options of a socket that the kernel's swap traffic will use. A silent server counts as lost
 * after `timeout` seconds, with or without requests in flight: the user timeout overrides the count
 * of keepalive probes (tcp_keepalive_timer). */
static void prepare(int fd, unsigned timeout)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)timeout);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, PROBE_INTERVAL);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)timeout * 1000);
}

static int dial(const struct target *target, struct stream *stream)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(target->port))};
    socklen_t length = sizeof(int);
    int failure = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return complain(KERNEL_REFUSED, "socket: %s", strerror(errno));
    stream->fd = fd;
    inet_pton(AF_INET, target->host, &address.sin_addr);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        failure = errno;
        if (failure == EINPROGRESS) {
            failure = ETIMEDOUT;
            if (wait_for(stream, POLLOUT, now_ms() + CONNECT_MS))
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length);
        }
    }
    if (failure) {
        close(fd);
        return complain(CANNOT_CONNECT, "%s port %s: %s", target->host, target->port,
                        strerror(failure));
    }
    prepare(fd, target->timeout);
    return OK;
}

/* Connect and do the handshake. */
static int open_session(struct target *target, uint64_t set, int64_t end, int *fd,
                        struct export *export)
{
    struct stream stream = {.end = end};
    int code = dial(target, &stream);

    if (code != OK)
        return code;
    *fd = stream.fd;
    code = shake_hands(&stream, target, set, export);
    if (code != OK)
        close(*fd);
    else
        fcntl(*fd, F_SETFL, 0); /* the kernel's NBD driver wants a blocking socket */
    return code;
}

static int open_set(struct target *target, uint64_t set, int64_t end, int *fds, unsigned *count,
                    struct export *export)
{
    struct export again;
    int code = open_session(target, set, end, &fds[0], export);

    if (code != OK)
        return code;
    if (*count > 1 && !(export->flags & FLAG_CAN_MULTI_CONN)) {
        complain(OK, "the server allows one connection only (no CAN_MULTI_CONN)");
        *count = 1;
    }
    for (unsigned at = 1; at < *count; at++) {
        code = open_session(target, set, end, &fds[at], &again);
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

void begin_with_other(struct target *target)
{
    const char *host = target->host;

    target->host = target->other;
    target->other = host;
}

/* Each host is tried once. Only the last failure is told: else two lines would take turns in the
 * kernel's log for as long as both servers are away. */
int open_sessions(struct target *target, uint64_t set, int64_t end, int *fds, unsigned *count,
                  struct export *export)
{
    int code, two = target->other != NULL;

    hush(two);
    code = open_set(target, set, end, fds, count, export);
    hush(-two);
    if (code == OK || !two)
        return code;
    begin_with_other(target);
    /* The first one may have taken this set, and answer too late. */
    return open_set(target, next_set(), end, fds, count, export);
}

const char *next_host(const struct area *area, const char *host)
{
    host += strlen(host) + 1;
    return host == area->hosts_end ? area->hosts : host;
}

void close_sessions(const int *fds, unsigned count)
{
    for (unsigned at = 0; at < count; at++) {
        send_disconnect(fds[at]);
        close(fds[at]);
    }
}
