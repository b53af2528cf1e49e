/* Pages of an export, read over its connection: NBD_CMD_READ with simple replies (proto.md). */
#include "page.h"
#include "agent.h"
#include "say.h"
#include "stream.h"

#include <string.h>

#define REQUEST_MAGIC 0x25609513u
#define REPLY_MAGIC 0x67446698u
#define CMD_READ 0

/* Write a big-endian number. Return the place after it. */
static unsigned char *put(unsigned char *to, uint64_t value, unsigned length)
{
    for (unsigned at = length; at-- > 0; value >>= 8)
        to[at] = (unsigned char)value;
    return to + length;
}

int read_page(int fd, uint64_t number, void *page, int64_t end)
{
    struct stream stream = {.fd = fd, .end = end};
    unsigned char request[28], reply[16], wanted[16], *at = request;
    int code;

    at = put(at, REQUEST_MAGIC, 4);
    at = put(at, CMD_READ, 4); /* its flags, none, and its type */
    at = put(at, number, 8);   /* the cookie: the server sends it back */
    at = put(at, number * PAGE, 8);
    put(at, PAGE, 4);
    put(put(put(wanted, REPLY_MAGIC, 4), 0, 4), number, 8);
    code = transmit(&stream, request, sizeof request, 0);
    if (code == OK)
        code = receive(&stream, reply, sizeof reply, "an answer to a read");
    if (code == OK && memcmp(reply, wanted, 4) == 0 && memcmp(reply + 4, wanted + 4, 4) != 0)
        code = complain(REFUSED, "the server cannot read page %u of the export", (unsigned)number);
    else if (code == OK && memcmp(reply, wanted, sizeof reply) != 0)
        code = complain(BAD_PROTOCOL, "the answer is no reply to a read");
    return code == OK ? receive(&stream, page, PAGE, "the page") : code;
}
