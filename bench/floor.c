/* The limit: an NBD server that answers from one fixed buffer. No store, no checks, no error
 * replies. Usage: floor HOST PORT SIZE. It has one process for each connection, receives all bytes
 * that have arrived, and answers all complete requests in one send. It negotiates the options of
 * fio's libnbd: structured replies (READ: one OFFSET_DATA chunk), no meta contexts. The difference
 * to our page server is the cost of a real store and of checks, in any language. Protocol:
 * doc/proto.md of NetworkBlockDevice/nbd. */
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOM (1 << 20)
enum { READ, WRITE, DISC };
enum { OPT_EXPORT = 1, OPT_ABORT = 2, OPT_INFO = 6, OPT_GO = 7, OPT_STRUCTURED = 8 };

struct __attribute__((packed)) request {
    uint32_t magic; uint16_t flags, command; uint64_t cookie, offset; uint32_t length;
};
struct __attribute__((packed)) simple { uint32_t magic, error; uint64_t cookie; };
struct __attribute__((packed)) chunk {
    uint32_t magic; uint16_t flags, type; uint64_t cookie; uint32_t length; uint64_t offset;
};
struct __attribute__((packed)) option { uint64_t magic; uint32_t name, length; };
struct __attribute__((packed)) option_reply { uint64_t magic; uint32_t name, type, length; };
struct __attribute__((packed)) info { uint16_t type; uint64_t size; uint16_t flags; };

static char in[ROOM], out[ROOM + (1 << 17)], fixed[ROOM];

static void push(int fd, const void *data, size_t length) {
    const char *at = data;
    while (length) {
        ssize_t n = send(fd, at, length, MSG_NOSIGNAL);
        if (n <= 0) _exit(0);
        at += n; length -= n;
    }
}

static void pull(int fd, void *data, size_t length) {
    if (length && recv(fd, data, length, MSG_WAITALL) != (ssize_t)length) _exit(0);
}

static void answer_option(int fd, uint32_t name, uint32_t type, const void *data, uint32_t length) {
    struct option_reply reply = { htobe64(0x3e889045565a9ull), htobe32(name), htobe32(type), htobe32(length) };
    push(fd, &reply, sizeof reply);
    push(fd, data, length);
}

/* Returns whether structured replies were negotiated. */
static int handshake(int fd, uint64_t size) {
    struct __attribute__((packed)) { uint64_t magic, ihaveopt; uint16_t flags; } hello =
        { htobe64(0x4e42444d41474943ull), htobe64(0x49484156454f5054ull), htobe16(3) };
    struct info info = { 0, htobe64(size), htobe16(1 | 1 << 2 | 1 << 8) };
    struct option option;
    char data[8192];
    uint32_t flags;
    int structured = 0;
    push(fd, &hello, sizeof hello);
    pull(fd, &flags, 4);
    for (;;) {
        pull(fd, &option, sizeof option);
        uint32_t name = be32toh(option.name), length = be32toh(option.length);
        if (length > sizeof data) _exit(1);
        pull(fd, data, length);
        switch (name) {
        case OPT_STRUCTURED:
            structured = 1;
            answer_option(fd, name, 1, NULL, 0);
            break;
        case OPT_INFO: case OPT_GO:
            answer_option(fd, name, 3, &info, sizeof info);
            answer_option(fd, name, 1, NULL, 0);
            if (name == OPT_GO) return structured;
            break;
        case OPT_EXPORT:
            push(fd, (char *)&info + 2, sizeof info - 2);
            return structured;
        case OPT_ABORT:
            _exit(0);
        default:
            answer_option(fd, name, 0x80000001u, NULL, 0);
        }
    }
}

static size_t reply_to(const struct request *request, char *at, int structured) {
    uint32_t length = be32toh(request->length);
    int reads = request->command == htobe16(READ);
    if (structured && reads) {
        struct chunk chunk = { htobe32(0x668e33efu), htobe16(1), htobe16(1), request->cookie,
                               htobe32(length + 8), request->offset };
        memcpy(at, &chunk, sizeof chunk);
        memcpy(at + sizeof chunk, fixed, length);
        return sizeof chunk + length;
    }
    struct simple simple = { htobe32(0x67446698u), 0, request->cookie };
    memcpy(at, &simple, sizeof simple);
    if (reads) memcpy(at + sizeof simple, fixed, length);
    return sizeof simple + (reads ? length : 0);
}

static void serve(int fd, uint64_t size) {
    int structured = handshake(fd, size);
    size_t have = 0;
    for (;;) {
        ssize_t n = recv(fd, in + have, ROOM - have, 0);
        if (n <= 0) _exit(0);
        have += n;
        size_t position = 0, filled = 0;
        while (have - position >= sizeof(struct request)) {
            struct request *request = (struct request *)(in + position);
            uint16_t command = be16toh(request->command);
            uint32_t length = be32toh(request->length);
            size_t after = position + sizeof *request;
            if (command == DISC) _exit(0);
            if (command == WRITE) {
                if (have - after < length) break;
                memcpy(fixed, in + after, length);
                after += length;
            }
            filled += reply_to(request, out + filled, structured);
            position = after;
            if (filled >= ROOM - (1 << 17)) { push(fd, out, filled); filled = 0; }
        }
        if (filled) push(fd, out, filled);
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
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            serve(fd, strtoull(argv[3], NULL, 10));
        }
        close(fd);
    }
}
