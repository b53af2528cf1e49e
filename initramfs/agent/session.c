/* TCP connections and the NBD handshake: fixed newstyle, NBD_OPT_GO. */
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Time limit of each step (connect, send, one whole message received), in milliseconds. A LAN
 * answers in one; a busy room in hundreds; TCP's own third SYN goes out after 3 s. */
#define STEP_MS 10000

/* proto.md: magic numbers, option and reply types. */
#define NBDMAGIC 0x4e42444d41474943ull
#define IHAVEOPT 0x49484156454f5054ull
#define REPLY_MAGIC 0x0003e889045565a9ull
#define REQUEST_MAGIC 0x25609513u
#define HANDSHAKE_FIXED_NEWSTYLE 1
#define HANDSHAKE_NO_ZEROES 2
#define OPT_GO 7
#define INFO_EXPORT 0
#define INFO_BLOCK_SIZE 3
#define REP_ACK 1
#define REP_INFO 3
#define REP_IS_ERROR (1u << 31)
#define REP_ERR_UNSUP (REP_IS_ERROR | 1)
#define REP_ERR_SHUTDOWN (REP_IS_ERROR | 7)
#define CMD_DISC 2

/* Longest reply that is looked at: an error's text or a description; proto.md caps strings
 * at 4096 bytes. A server that sends longer ones is not one to trust with memory. */
#define MAX_REPLY (4096 + 64)
#define MAX_SHOWN 300 /* of a server's text, on a console */

struct deadline {
    int64_t at; /* milliseconds of CLOCK_MONOTONIC */
};

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct deadline in_one_step(void)
{
    return (struct deadline){now_ms() + STEP_MS};
}

/* Waits until `fd` is ready for `events`; false when the time is up. */
static int wait_for(int fd, short events, struct deadline deadline)
{
    struct pollfd wait = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline.at - now_ms();

        if (left <= 0)
            return 0;
        if (poll(&wait, 1, (int)left) > 0)
            return 1;
    }
}

static int receive(int fd, void *buffer, size_t length, const char *what)
{
    struct deadline deadline = in_one_step();
    size_t got = 0;

    while (got < length) {
        ssize_t more = recv(fd, (char *)buffer + got, length - got, MSG_DONTWAIT);

        if (more > 0)
            got += (size_t)more;
        else if (more == 0)
            return complain(CANNOT_CONNECT, "the server closed the connection before %s", what);
        else if (errno != EAGAIN && errno != EINTR)
            return complain(CANNOT_CONNECT, "waiting for %s: %s", what, strerror(errno));
        else if (!wait_for(fd, POLLIN, deadline))
            return complain(CANNOT_CONNECT, "no %s within %d s", what, STEP_MS / 1000);
    }
    return OK;
}

static int transmit(int fd, const void *buffer, size_t length)
{
    struct deadline deadline = in_one_step();
    size_t sent = 0;

    while (sent < length) {
        ssize_t more = send(fd, (const char *)buffer + sent, length - sent, MSG_DONTWAIT);

        if (more >= 0)
            sent += (size_t)more;
        else if (errno != EAGAIN && errno != EINTR)
            return complain(CANNOT_CONNECT, "sending: %s", strerror(errno));
        else if (!wait_for(fd, POLLOUT, deadline))
            return complain(CANNOT_CONNECT, "the server takes no bytes for %d s", STEP_MS / 1000);
    }
    return OK;
}

/* Big-endian numbers of the wire. */
static uint64_t take(const unsigned char *bytes, unsigned length)
{
    uint64_t value = 0;

    while (length--)
        value = value << 8 | *bytes++;
    return value;
}

static unsigned char *put(unsigned char *to, uint64_t value, unsigned length)
{
    for (unsigned at = length; at-- > 0; value >>= 8)
        to[at] = (unsigned char)value;
    return to + length;
}

static void set_option(int fd, int level, int name, int value)
{
    setsockopt(fd, level, name, &value, sizeof value);
}

/* The kernel's swap traffic inherits these. Nothing re-attaches a dead connection, so TCP must
 * not give one up sooner than swap itself would: the user timeout (which on Linux overrides the
 * count of keepalive probes too, tcp_keepalive_timer) is the whole patience. A cable pulled for a
 * minute then costs a minute, not the processes. */
static void prepare(int fd, unsigned patience)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)patience * 1000);
}

static int dial(const struct target *target, unsigned patience, int *out)
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
            if (wait_for(fd, POLLOUT, in_one_step()))
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length);
        }
    }
    if (failure) {
        close(fd);
        return complain(CANNOT_CONNECT, "%s port %s: %s", target->host, target->port,
                        strerror(failure));
    }
    prepare(fd, patience);
    *out = fd;
    return OK;
}

/* The server's greeting and our flags. */
static int greet(int fd)
{
    unsigned char hello[18], flags[4];
    unsigned server_flags;
    int code = receive(fd, hello, sizeof hello, "the server's greeting");

    if (code != OK)
        return code;
    server_flags = (unsigned)take(hello + 16, 2);
    if (take(hello, 8) != NBDMAGIC || take(hello + 8, 8) != IHAVEOPT)
        return complain(BAD_PROTOCOL, "not an NBD server, or one that only speaks oldstyle");
    if (!(server_flags & HANDSHAKE_FIXED_NEWSTYLE))
        return complain(BAD_PROTOCOL, "the server does not speak fixed newstyle");
    put(flags, server_flags & (HANDSHAKE_FIXED_NEWSTYLE | HANDSHAKE_NO_ZEROES), 4);
    return transmit(fd, flags, sizeof flags);
}

static int send_go(int fd, const char *name)
{
    static unsigned char option[16 + 4 + MAX_WIRE_NAME + 4];
    size_t name_length = strlen(name);
    unsigned char *end = option;

    end = put(end, IHAVEOPT, 8);
    end = put(end, OPT_GO, 4);
    end = put(end, 4 + name_length + 4, 4);
    end = put(end, name_length, 4);
    memcpy(end, name, name_length);
    end += name_length;
    /* One information request: it promises that we keep to the server's block sizes, without
     * which a server may refuse us (NBD_REP_ERR_BLOCK_SIZE_REQD). */
    end = put(end, 1, 2);
    end = put(end, INFO_BLOCK_SIZE, 2);
    return transmit(fd, option, (size_t)(end - option));
}

/* Prints the server's words, made fit for a console: some servers repeat the name they were asked
 * for, and with it the token. `text` has room for a byte more than `length`. */
static int refused(uint32_t type, char *text, uint32_t length, const char *token)
{
    for (uint32_t at = 0; at < length; at++)
        if (text[at] < ' ' || text[at] > '~')
            text[at] = '?';
    text[length] = '\0';
    for (char *at = text; *token && (at = strstr(at, token)); at += strlen(token))
        memset(at, '*', strlen(token));
    if (type == REP_ERR_UNSUP)
        return complain(BAD_PROTOCOL, "the server does not know NBD_OPT_GO");
    if (type == REP_ERR_SHUTDOWN)
        return complain(CANNOT_CONNECT, "the server is shutting down");
    if (length == 0)
        return complain(REFUSED, "refused without a reason (NBD error %u)", type & ~REP_IS_ERROR);
    return complain(REFUSED, "%.*s", MAX_SHOWN, text);
}

static int take_info(const unsigned char *info, uint32_t length, struct export *export, int *known)
{
    unsigned type = length >= 2 ? (unsigned)take(info, 2) : 0xffff;

    if (type == INFO_EXPORT && length == 12) {
        export->size = take(info + 2, 8);
        export->flags = (uint16_t)take(info + 10, 2);
        *known = 1;
    } else if (type == INFO_BLOCK_SIZE && length == 14) {
        if (take(info + 2, 4) > PAGE)
            return complain(BAD_PROTOCOL, "the server's smallest block is %u bytes, a page %d",
                            (unsigned)take(info + 2, 4), PAGE);
    } else if (type == INFO_EXPORT || type == INFO_BLOCK_SIZE || length < 2) {
        return complain(BAD_PROTOCOL, "information %u of the wrong length, %u", type, length);
    }
    return OK;
}

/* Reads the replies to NBD_OPT_GO up to the last one. */
static int await_go(int fd, const char *token, struct export *export)
{
    static unsigned char body[MAX_REPLY + 1];
    unsigned char head[20];
    int known = 0;

    for (;;) {
        uint32_t type, length;
        int code = receive(fd, head, sizeof head, "an answer to NBD_OPT_GO");

        if (code != OK)
            return code;
        type = (uint32_t)take(head + 12, 4);
        length = (uint32_t)take(head + 16, 4);
        if (take(head, 8) != REPLY_MAGIC || take(head + 8, 4) != OPT_GO)
            return complain(BAD_PROTOCOL, "not a reply to NBD_OPT_GO");
        if (length > MAX_REPLY)
            return complain(BAD_PROTOCOL, "a reply of %u bytes", length);
        code = receive(fd, body, length, "the rest of a reply");
        if (code != OK)
            return code;
        if (type & REP_IS_ERROR)
            return refused(type, (char *)body, length, token);
        if (type == REP_ACK)
            break;
        if (type != REP_INFO)
            return complain(BAD_PROTOCOL, "reply type %u to NBD_OPT_GO", type);
        code = take_info(body, length, export, &known);
        if (code != OK)
            return code;
    }
    if (!known || !(export->flags & FLAG_HAS_FLAGS))
        return complain(BAD_PROTOCOL, "the server never said how large the export is");
    return OK;
}

int session_open(const struct target *target, unsigned patience, int *fd, struct export *export)
{
    int code = dial(target, patience, fd);

    if (code != OK)
        return code;
    code = greet(*fd);
    if (code == OK)
        code = send_go(*fd, target->wire_name);
    if (code == OK)
        code = await_go(*fd, target->token, export);
    if (code != OK)
        close(*fd);
    else
        fcntl(*fd, F_SETFL, 0); /* the kernel's NBD driver wants a blocking socket */
    return code;
}

void session_close(int fd)
{
    unsigned char request[28] = {0};

    put(request, REQUEST_MAGIC, 4);
    put(request + 6, CMD_DISC, 2);
    send(fd, request, sizeof request, MSG_DONTWAIT); /* a courtesy: its failure changes nothing */
    close(fd);
}
