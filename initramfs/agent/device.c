/* The kernel's NBD driver over generic netlink (drivers/block/nbd.c, uapi/linux/nbd-netlink.h).
 *
 * The numbers are the kernel's ABI. They are written out here because musl's headers lack them, and a
 * build should need nothing but musl-gcc.
 */
#include "device.h"
#include "agent.h"
#include "report.h"
#include "say.h"
#include "types.h"

#include <errno.h>
#include <fcntl.h>
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
#define MAX_ERRNO 4095 /* include/linux/err.h */
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

#define DEVICES 16 /* the driver's default; the PC has fewer areas */
#define RECONNECT_MS 5000 /* for the driver to notice that the old connections are dead */
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

/* Opened once, because attaching again should need as few resources as possible. */
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

/* Append an attribute and return its beginning, which close_nest needs. The largest message (16
 * sockets, the longest name) takes 712 of the 1024 bytes. */
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

/* Return the value of attribute `type` in a message of `length` bytes, or NULL. */
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

/* Send `request` and receive messages up to the acknowledgement. Put the value of attribute `type`
 * (`wanted` bytes) of the reply before the acknowledgement into `answer`. Return 0 or an errno. */
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
            if (error == 0)
                return wanted && !found ? EPROTO : 0;
            return error < 0 && error >= -MAX_ERRNO ? -error : EPROTO;
        }
        value = find(&reply, (size_t)length, type, wanted);
        if (value && wanted) {
            memcpy(answer, value, wanted);
            found = 1;
        }
    }
}

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

/* Add the backend identifier: the kernel refuses later sockets that come with another one. The
 * identifier names export and generation, readable in /sys/block/nbdN/backend. */
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
    if (area->wish)
        add_u32(&message, ATTR_INDEX, area->wish - 1);
    add_u64(&message, ATTR_SIZE_BYTES, area->export.size);
    add_u64(&message, ATTR_BLOCK_SIZE_BYTES, PAGE); /* the driver's default is 1024 */
    /* Only the driver's timer sends the requests of a lost connection again. The timer checks a
     * request this long after it was sent. */
    add_u64(&message, ATTR_TIMEOUT, area->target.timeout);
    /* Without this the first lost connection is an I/O error, which kills a process. */
    add_u64(&message, ATTR_DEAD_CONN_TIMEOUT, area->patience);
    /* A "rotational" device would turn off VMA readahead for all swap areas (mm/swap_state.c). */
    add_u64(&message, ATTR_SERVER_FLAGS, area->export.flags & ~FLAG_ROTATIONAL);
    add_identifier(&message, area);
    add_sockets(&message, area->fds, area->connections);
    error = ask(&message, ATTR_INDEX, &area->index, sizeof area->index);
    if (error)
        return complain(KERNEL_REFUSED, "NBD_CMD_CONNECT: %s", strerror(error));
    return OK;
}

/* Return whether the kernel took this socket: the driver sets the send timeout of its sockets.
 * NBD_CMD_RECONFIGURE does not report the sockets that it did not take. */
static int is_taken(int fd)
{
    struct timeval limit = {0, 0};
    socklen_t length = sizeof limit;

    getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &length);
    return limit.tv_sec != 0;
}

/* List the area's sockets that the kernel has not taken in `left`. Return their number. */
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
        int error;

        if (now_ms() >= until)
            return complain(KERNEL_REFUSED, "the kernel does not release %u old connections", count);
        begin(&message, family, NBD_RECONFIGURE);
        add_u32(&message, ATTR_INDEX, area->index);
        add_identifier(&message, area);
        add_sockets(&message, left, count);
        error = ask(&message, 0, NULL, 0);
        if (error)
            return complain(KERNEL_REFUSED, "NBD_CMD_RECONFIGURE: %s", strerror(error));
        /* A new socket takes the place of a dead connection. A kernel thread marks the connection as
         * dead a moment after its end. */
        if (not_taken(area, left) > 0)
            wait_until(now_ms() + RETRY_MS);
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

/* The identifier of add_identifier tells whose a device is (Linux 5.14). */
void device_release(const char *export)
{
    size_t length = strlen(export);

    for (uint32_t index = 0; index < DEVICES; index++) {
        char text[MAX_WIRE_NAME + 1 + GENERATION_DIGITS + 1];
        ssize_t found;
        int fd;

        snprintf(text, sizeof text, "/sys/block/nbd%u/backend", index);
        fd = open(text, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        found = read(fd, text, sizeof text);
        close(fd);
        if (found > (ssize_t)length && memcmp(text, export, length) == 0 && text[length] == ':' &&
            (netlink >= 0 || device_open() == OK))
            device_disconnect(index);
    }
}
