/* The kernel's NBD driver over generic netlink (drivers/block/nbd.c, uapi/linux/nbd-netlink.h).
 *
 * The numbers are the kernel's ABI, written out here because musl's headers do not have them and
 * a build should need nothing but musl-gcc.
 */
#include "agent.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NETLINK_GENERIC 16
#define FLAG_REQUEST 1
#define FLAG_ACK 4
#define MESSAGE_ERROR 2 /* also the acknowledgement, with error 0 */

#define CONTROLLER_FAMILY 16
#define CONTROLLER_GET_FAMILY 3
#define CONTROLLER_ATTR_ID 1
#define CONTROLLER_ATTR_NAME 2

#define NBD_VERSION 1
#define NBD_CONNECT 1
#define NBD_DISCONNECT 2
#define ATTR_INDEX 1
#define ATTR_SIZE_BYTES 2
#define ATTR_BLOCK_SIZE_BYTES 3
#define ATTR_TIMEOUT 4
#define ATTR_SERVER_FLAGS 5
#define ATTR_SOCKETS 7
#define ATTR_DEAD_CONN_TIMEOUT 8
#define SOCK_ITEM 1
#define SOCK_FD 1
#define ATTR_NESTED 0x8000

#define ALIGN4(length) (((length) + 3u) & ~3u)

struct sockaddr_netlink {
    unsigned short family, pad;
    uint32_t port, groups;
};

struct message_head {
    uint32_t length;
    uint16_t type, flags;
    uint32_t sequence, port;
    uint8_t command, version;
    uint16_t reserved;
};

struct attribute_head {
    uint16_t length, type;
};

struct message {
    struct message_head head;
    unsigned char attributes[1024];
};

static void begin(struct message *message, uint16_t family, uint8_t command)
{
    memset(message, 0, sizeof *message);
    message->head.length = sizeof message->head;
    message->head.type = family;
    message->head.flags = FLAG_REQUEST | FLAG_ACK;
    message->head.command = command;
    message->head.version = NBD_VERSION; /* the controller ignores it */
}

/* Appends an attribute; returns where it begins, for a nest to be closed. The largest message
 * (16 sockets) takes 396 of the 1024 bytes. */
static struct attribute_head *add(struct message *message, uint16_t type, const void *value,
                                  size_t length)
{
    struct attribute_head *attribute = (void *)((char *)message + message->head.length);

    attribute->type = type;
    attribute->length = (uint16_t)(sizeof *attribute + length);
    memcpy(attribute + 1, value, length);
    message->head.length += ALIGN4(attribute->length);
    return attribute;
}

static void add_u32(struct message *message, uint16_t type, uint32_t value)
{
    add(message, type, &value, sizeof value);
}

static void add_u64(struct message *message, uint16_t type, uint64_t value)
{
    add(message, type, &value, sizeof value);
}

static struct attribute_head *open_nest(struct message *message, uint16_t type)
{
    return add(message, type | ATTR_NESTED, "", 0);
}

static void close_nest(struct message *message, struct attribute_head *nest)
{
    nest->length = (uint16_t)((char *)message + message->head.length - (char *)nest);
}

/* The value of attribute `type` in a message of `length` bytes, or NULL. */
static const void *find(const struct message *message, size_t length, uint16_t type, size_t wanted)
{
    size_t at = sizeof message->head;

    while (at + sizeof(struct attribute_head) <= length) {
        const struct attribute_head *attribute = (const void *)((const char *)message + at);

        if (attribute->length < sizeof *attribute || at + attribute->length > length)
            return NULL;
        if (attribute->type == type && attribute->length == sizeof *attribute + wanted)
            return attribute + 1;
        at += ALIGN4(attribute->length);
    }
    return NULL;
}

/* Sends `request` and reads up to the acknowledgement. `answer` is the value of attribute `type`
 * (`wanted` bytes) in the reply that comes before it. Returns 0 or an errno. */
static int ask(int fd, const struct message *request, uint16_t type, void *answer, size_t wanted)
{
    static struct message reply;
    int found = 0;

    if (send(fd, request, request->head.length, 0) < 0)
        return errno;
    for (;;) {
        ssize_t length = recv(fd, &reply, sizeof reply, 0);
        const void *value;
        int error;

        if (length < 0)
            return errno;
        if (reply.head.type == MESSAGE_ERROR) {
            /* struct nlmsgerr: the error follows the 16 bytes of the plain netlink header */
            memcpy(&error, (const char *)&reply + 16, sizeof error);
            return error ? -error : wanted && !found ? EPROTO : 0;
        }
        value = find(&reply, (size_t)length, type, wanted);
        if (value && wanted) {
            memcpy(answer, value, wanted);
            found = 1;
        }
    }
}

/* Opens a netlink socket and looks up the number of the "nbd" family. */
static int open_netlink(int *out, uint16_t *family)
{
    struct sockaddr_netlink kernel = {.family = AF_NETLINK};
    struct message message;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
    int error;

    if (fd < 0)
        return complain(KERNEL_REFUSED, "netlink: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&kernel, sizeof kernel) < 0) {
        close(fd);
        return complain(KERNEL_REFUSED, "netlink: %s", strerror(errno));
    }
    begin(&message, CONTROLLER_FAMILY, CONTROLLER_GET_FAMILY);
    add(&message, CONTROLLER_ATTR_NAME, "nbd", sizeof "nbd");
    error = ask(fd, &message, CONTROLLER_ATTR_ID, family, sizeof *family);
    if (error) {
        close(fd);
        return complain(KERNEL_REFUSED, "the kernel has no NBD driver (is nbd.ko loaded?): %s",
                        strerror(error));
    }
    *out = fd;
    return OK;
}

int device_connect(const struct export *export, const int *fds, unsigned count, unsigned patience,
                   uint32_t *index)
{
    struct message message;
    struct attribute_head *sockets, *item;
    uint16_t family;
    int fd, error;
    int code = open_netlink(&fd, &family);

    if (code != OK)
        return code;
    begin(&message, family, NBD_CONNECT);
    add_u64(&message, ATTR_SIZE_BYTES, export->size);
    add_u64(&message, ATTR_BLOCK_SIZE_BYTES, PAGE); /* the driver's default is 1024 */
    /* A request that is not answered within TIMEOUT kills its connection, and nothing would
     * re-attach it: so TIMEOUT is the whole patience, too. */
    add_u64(&message, ATTR_TIMEOUT, patience);
    /* Without this the first lost connection is an I/O error, and that a dead process. */
    add_u64(&message, ATTR_DEAD_CONN_TIMEOUT, patience);
    /* A "rotational" device would turn off VMA readahead for all swap (mm/swap_state.c). */
    add_u64(&message, ATTR_SERVER_FLAGS, export->flags & ~FLAG_ROTATIONAL);
    sockets = open_nest(&message, ATTR_SOCKETS);
    for (unsigned at = 0; at < count; at++) {
        item = open_nest(&message, SOCK_ITEM);
        add_u32(&message, SOCK_FD, (uint32_t)fds[at]);
        close_nest(&message, item);
    }
    close_nest(&message, sockets);
    error = ask(fd, &message, ATTR_INDEX, index, sizeof *index);
    close(fd);
    if (error)
        return complain(KERNEL_REFUSED, "NBD_CMD_CONNECT: %s", strerror(error));
    return OK;
}

void device_disconnect(uint32_t index)
{
    struct message message;
    uint16_t family;
    int fd;

    if (open_netlink(&fd, &family) != OK)
        return;
    begin(&message, family, NBD_DISCONNECT);
    add_u32(&message, ATTR_INDEX, index);
    if (ask(fd, &message, 0, NULL, 0) != 0)
        complain(KERNEL_REFUSED, "/dev/nbd%u cannot be disconnected", index);
    close(fd);
}
