/* The limit: an NBD server without a store and without checks, which answers from one fixed buffer. It
 * receives all requests that have arrived in one call and answers them in one, as our page server does,
 * and gives way to a client on its CPU (SCHED_BATCH). It has one process for each connection. The
 * difference to our page server is the cost of a real store and of checks, in any language.
 * Usage: floor HOST PORT SIZE. It negotiates the options of fio's libnbd: structured replies (READ: one
 * OFFSET_DATA chunk), no meta contexts. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nbd_wire.h"

#define ROOM (1 << 20)
#define MOST_REPLIES 512 /* two parts for each: IOV_MAX is 1024 */

union header { struct simple simple; struct chunk chunk; };

static char in[ROOM], fixed[ROOM];
static union header headers[MOST_REPLIES];
static struct iovec parts[2 * MOST_REPLIES];

static void push(int fd, const void *data, size_t length) {
    if (send(fd, data, length, MSG_NOSIGNAL) != (ssize_t)length) _exit(0);
}

static void pull(int fd, void *data, size_t length) {
    if (length && recv(fd, data, length, MSG_WAITALL) != (ssize_t)length) _exit(0);
}

static void answer_option(int fd, uint32_t option, uint32_t type, const void *data, uint32_t length) {
    struct answered reply = { htobe64(OPTION_REPLY_MAGIC), htobe32(option), htobe32(type), htobe32(length) };
    push(fd, &reply, sizeof reply);
    if (length) push(fd, data, length);
}

/* Returns whether structured replies were negotiated. */
static int handshake(int fd, uint64_t size) {
    struct hello hello = { htobe64(NBD_MAGIC), htobe64(OPTION_MAGIC), htobe16(3) };
    struct info info = { INFO_EXPORT, htobe64(size), htobe16(HAS_FLAGS | SEND_FLUSH | CAN_MULTI_CONN) };
    struct asked asked;
    char data[8192];
    uint32_t flags;
    int structured = 0;
    push(fd, &hello, sizeof hello);
    pull(fd, &flags, 4);
    for (;;) {
        pull(fd, &asked, sizeof asked);
        uint32_t option = be32toh(asked.option), length = be32toh(asked.length);
        if (length > sizeof data) _exit(1);
        pull(fd, data, length);
        switch (option) {
        case OPT_STRUCTURED:
            structured = 1;
            answer_option(fd, option, REP_ACK, NULL, 0);
            break;
        case OPT_INFO: case OPT_GO:
            answer_option(fd, option, REP_INFO, &info, sizeof info);
            answer_option(fd, option, REP_ACK, NULL, 0);
            if (option == OPT_GO) return structured;
            break;
        case OPT_EXPORT:
            push(fd, (char *)&info + 2, sizeof info - 2);
            return structured;
        case OPT_ABORT:
            _exit(0);
        default:
            answer_option(fd, option, REP_ERR_UNSUP, NULL, 0);
        }
    }
}

/* Adds the parts of a reply after the first `count` ones; returns their new number. */
static int reply_to(const struct request *request, union header *header, int count, int structured) {
    uint32_t length = be32toh(request->length);
    int reads = request->command == htobe16(READ);
    size_t size;
    if (structured && reads) {
        header->chunk = (struct chunk){ htobe32(STRUCTURED_MAGIC), htobe16(1), htobe16(1), request->cookie,
                                        htobe32(length + 8), request->offset };
        size = sizeof header->chunk;
    } else {
        header->simple = (struct simple){ htobe32(SIMPLE_MAGIC), 0, request->cookie };
        size = sizeof header->simple;
    }
    parts[count++] = (struct iovec){ header, size };
    if (reads) parts[count++] = (struct iovec){ fixed, length };
    return count;
}

static void send_all(int fd, int count) {
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };
    while (message.msg_iovlen) {
        ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (n <= 0) _exit(0);
        for (; message.msg_iovlen && (size_t)n >= message.msg_iov->iov_len; message.msg_iovlen--)
            n -= message.msg_iov++->iov_len;
        if (message.msg_iovlen) {
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + n;
            message.msg_iov->iov_len -= n;
        }
    }
}

static void serve(int fd, uint64_t size) {
    int structured = handshake(fd, size);
    size_t have = 0;
    for (;;) {
        ssize_t n = recv(fd, in + have, ROOM - have, 0);
        if (n <= 0) _exit(0);
        have += n;
        size_t position = 0;
        int replies = 0, count = 0;
        while (have - position >= sizeof(struct request)) {
            struct request *request = (struct request *)(in + position);
            uint16_t command = be16toh(request->command);
            uint32_t length = be32toh(request->length);
            size_t after = position + sizeof *request;
            if (command == DISC || length > ROOM / 2) _exit(0);
            if (command == WRITE) {
                if (have - after < length) break;
                after += length;
            }
            count = reply_to(request, &headers[replies++], count, structured);
            position = after;
            if (replies == MOST_REPLIES) { send_all(fd, count); replies = count = 0; }
        }
        send_all(fd, count);
        memmove(in, in + position, have -= position);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = { .sin_family = AF_INET };
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    if (argc != 4 || !inet_pton(AF_INET, argv[1], &address.sin_addr)) return 2;
    address.sin_port = htons(atoi(argv[2]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 64)) return perror("floor"), 1;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        while (waitpid(-1, NULL, WNOHANG) > 0) { }
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (!fork()) {
            struct sched_param none = { 0 };
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            sched_setscheduler(0, SCHED_BATCH, &none);
            serve(fd, strtoull(argv[3], NULL, 10));
        }
        close(fd);
    }
}
