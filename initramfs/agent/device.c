/* The kernel's NBD driver over generic netlink (drivers/block/nbd.c, uapi/linux/nbd-netlink.h).
 *
 * The numbers are the kernel's ABI, written out here because musl's headers do not have them and
 * a build should need nothing but musl-gcc.
 */
#include "device.h"
#include "agent.h"
#include "report.h"
#include "say.h"
#include "types.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
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
#define NBD_RECONFIGURE 3
#define ATTR_INDEX 1
#define ATTR_SIZE_BYTES 2
#define ATTR_BLOCK_SIZE_BYTES 3
#define ATTR_TIMEOUT 4
#define ATTR_SERVER_FLAGS 5
#define ATTR_SOCKETS 7
#define ATTR_DEAD_CONN_TIMEOUT 8
#define ATTR_BACKEND_IDENTIFIER 10
#define SOCK_ITEM 1
#define SOCK_FD 1
#define ATTR_NESTED 0x8000

#define RECONNECT_MS 5000 /* for the driver to find that the old connections are dead */
#define RETRY_MS 10

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

/* Opened once: re-attaching should need as little as it can. */
static int netlink = -1;
static uint16_t family; /* the number that the kernel gave to "nbd" */

static void begin(struct message *message, uint16_t type, uint8_t command)
{
    memset(message, 0, sizeof *message);
    message->head.length = sizeof message->head;
    message->head.type = type;
    message->head.flags = FLAG_REQUEST | FLAG_ACK;
    message->head.command = command;
    message->head.version = NBD_VERSION; /* the controller ignores it */
}

/* Appends an attribute; returns where it begins, for a nest to be closed. The largest message
 * (16 sockets, the longest name) takes 712 of the 1024 bytes. */
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
static int ask(const struct message *request, uint16_t type, void *answer, size_t wanted)
{
    static struct message reply;
    int found = 0;

    if (send(netlink, request, request->head.length, 0) < 0)
        return errno;
    for (;;) {
        ssize_t length = recv(netlink, &reply, sizeof reply, 0);
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
int device_open(void)
{
    struct sockaddr_netlink kernel = {.family = AF_NETLINK};
    struct message message;
    int error;

    close(netlink);
    netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
    if (connect(netlink, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        return complain(KERNEL_REFUSED, "netlink: %s", strerror(errno));
    begin(&message, CONTROLLER_FAMILY, CONTROLLER_GET_FAMILY);
    add(&message, CONTROLLER_ATTR_NAME, "nbd", sizeof "nbd");
    error = ask(&message, CONTROLLER_ATTR_ID, &family, sizeof family);
    if (error)
        return complain(KERNEL_REFUSED, "the kernel has no NBD driver (is nbd.ko loaded?): %s",
                        strerror(error));
    return OK;
}

static void add_sockets(struct message *message, const int *fds, unsigned count)
{
    struct attribute_head *sockets = open_nest(message, ATTR_SOCKETS), *item;

    for (unsigned at = 0; at < count; at++) {
        item = open_nest(message, SOCK_ITEM);
        add_u32(message, SOCK_FD, (uint32_t)fds[at]);
        close_nest(message, item);
    }
    close_nest(message, sockets);
}

/* With an identifier the kernel refuses sockets that come with another one. It names lease and
 * generation, for whoever looks at /sys/block/nbdN/backend. */
static void add_identifier(struct message *message, const struct area *area)
{
    char text[MAX_WIRE_NAME + 1 + GENERATION_DIGITS + 1];
    int length =
        snprintf(text, sizeof text, "%s:%s", area->target.export, area->export.generation);

    add(message, ATTR_BACKEND_IDENTIFIER, text, (size_t)length + 1);
}

int device_connect(struct area *area)
{
    struct message message;
    int error, code = netlink < 0 ? device_open() : OK;

    if (code != OK)
        return code;
    begin(&message, family, NBD_CONNECT);
    add_u64(&message, ATTR_SIZE_BYTES, area->export.size);
    add_u64(&message, ATTR_BLOCK_SIZE_BYTES, PAGE); /* the driver's default is 1024 */
    /* The driver's timer is also all that sends requests again which a lost connection took with it:
     * it looks at them this long after they were sent. */
    add_u64(&message, ATTR_TIMEOUT, area->target.timeout);
    /* Without this the first lost connection is an I/O error, and that a dead process. */
    add_u64(&message, ATTR_DEAD_CONN_TIMEOUT, area->patience);
    /* A "rotational" device would turn off VMA readahead for all swap (mm/swap_state.c). */
    add_u64(&message, ATTR_SERVER_FLAGS, area->export.flags & ~FLAG_ROTATIONAL);
    add_identifier(&message, area);
    add_sockets(&message, area->fds, area->connections);
    error = ask(&message, ATTR_INDEX, &area->index, sizeof area->index);
    if (error)
        return complain(KERNEL_REFUSED, "NBD_CMD_CONNECT: %s", strerror(error));
    return OK;
}

/* Whether the kernel works with this socket: it then has set its send timeout. NBD_CMD_RECONFIGURE
 * says nothing of the sockets that it did not take. */
static int is_taken(int fd)
{
    struct timeval limit = {0, 0};
    socklen_t length = sizeof limit;

    getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &length);
    return limit.tv_sec != 0;
}

/* Those of the area's sockets that the kernel has not taken. */
static unsigned not_taken(const struct area *area, int *left)
{
    unsigned count = 0;

    for (unsigned at = 0; at < area->connections; at++)
        if (!is_taken(area->fds[at]))
            left[count++] = area->fds[at];
    return count;
}

int device_reconnect(const struct area *area)
{
    int64_t until = now_ms() + RECONNECT_MS;
    int left[MAX_CONNECTIONS];
    unsigned count;

    while ((count = not_taken(area, left)) > 0) {
        struct message message;
        struct pollfd nothing[1];
        int error;

        if (now_ms() >= until)
            return complain(KERNEL_REFUSED, "the kernel does not let %u old connections go", count);
        begin(&message, family, NBD_RECONFIGURE);
        add_u32(&message, ATTR_INDEX, area->index);
        add_identifier(&message, area);
        add_sockets(&message, left, count);
        error = ask(&message, 0, NULL, 0);
        if (error)
            return complain(KERNEL_REFUSED, "NBD_CMD_RECONFIGURE: %s", strerror(error));
        /* Sockets are taken for connections that are dead, which a kernel thread notes a moment
         * after they are. */
        if (not_taken(area, left) > 0)
            await(nothing, 0, now_ms() + RETRY_MS);
    }
    return OK;
}

void device_disconnect(uint32_t index)
{
    struct message message;

    begin(&message, family, NBD_DISCONNECT);
    add_u32(&message, ATTR_INDEX, index);
    if (ask(&message, 0, NULL, 0) != 0)
        complain(KERNEL_REFUSED, "/dev/nbd%u cannot be disconnected", index);
}
