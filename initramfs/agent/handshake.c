/* The NBD handshake (proto.md): fixed newstyle, NBD_OPT_GO. */
#include "handshake.h"
#include "agent.h"
#include "say.h"
#include "stream.h"
#include "types.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* proto.md: magic numbers, option and reply types. */
#define NBDMAGIC 0x4e42444d41474943ull
#define IHAVEOPT 0x49484156454f5054ull
#define REPLY_MAGIC 0x0003e889045565a9ull
#define REQUEST_MAGIC 0x25609513u
#define HANDSHAKE_FIXED_NEWSTYLE 1
#define HANDSHAKE_NO_ZEROES 2
#define OPT_GO 7
#define INFO_EXPORT 0
#define INFO_DESCRIPTION 2
#define INFO_BLOCK_SIZE 3
#define REP_ACK 1
#define REP_INFO 3
#define REP_IS_ERROR (1u << 31)
#define REP_ERR_UNSUP (REP_IS_ERROR | 1)
#define REP_ERR_SHUTDOWN (REP_IS_ERROR | 7)
#define CMD_DISC 2

/* The longest reply that the agent reads: an error's text or a description. proto.md caps strings at
 * 4096 bytes; the agent does not trust a server that sends longer replies. */
#define MAX_REPLY (4096 + 64)
#define MAX_SHOWN 300 /* of a server's text, on a console */

/* Precedes the generation, 32 hexadecimal digits, in the export's description. */
static const char generation_mark[] = "generation ";

/* Read a big-endian number. */
static uint64_t take(const unsigned char *bytes, unsigned length)
{
    uint64_t value = 0;

    while (length--)
        value = value << 8 | *bytes++;
    return value;
}

/* Write a big-endian number. Return the place after it. */
static unsigned char *put(unsigned char *to, uint64_t value, unsigned length)
{
    for (unsigned at = length; at-- > 0; value >>= 8)
        to[at] = (unsigned char)value;
    return to + length;
}

/* Receive the server's greeting and send the client's flags. */
static int greet(const struct stream *stream)
{
    unsigned char hello[18], flags[4];
    unsigned server_flags;
    int code = receive(stream, hello, sizeof hello, "the server's greeting");

    if (code != OK)
        return code;
    server_flags = (unsigned)take(hello + 16, 2);
    if (take(hello, 8) != NBDMAGIC || take(hello + 8, 8) != IHAVEOPT)
        return complain(BAD_PROTOCOL, "not an NBD server, or an NBD server that only speaks oldstyle");
    if (!(server_flags & HANDSHAKE_FIXED_NEWSTYLE))
        return complain(BAD_PROTOCOL, "the server does not speak fixed newstyle");
    put(flags, server_flags & (HANDSHAKE_FIXED_NEWSTYLE | HANDSHAKE_NO_ZEROES), 4);
    return transmit(stream, flags, sizeof flags);
}

/* Send NBD_OPT_GO for EXPORT, or for EXPORT@TOKEN.SET with the set's number in hexadecimal. */
static int send_go(const struct stream *stream, const struct target *target, uint64_t set)
{
    static unsigned char option[16 + 4 + MAX_WIRE_NAME + 1 + 6];
    char *name = (char *)option + 16 + 4;
    int length = snprintf(name, MAX_WIRE_NAME + 1, *target->token ? "%s@%s.%llx" : "%s",
                          target->export, target->token, (unsigned long long)set);
    unsigned char *end = option;

    end = put(end, IHAVEOPT, 8);
    end = put(end, OPT_GO, 4);
    end = put(end, 4 + (unsigned)length + 6, 4);
    end = put(end, (unsigned)length, 4) + length;
    /* A client that asks for block sizes promises to keep to them. Without the promise a server may
     * refuse (NBD_REP_ERR_BLOCK_SIZE_REQD). */
    end = put(end, 2, 2);
    end = put(end, INFO_BLOCK_SIZE, 2);
    end = put(end, INFO_DESCRIPTION, 2);
    return transmit(stream, option, (size_t)(end - option));
}

/* Complain with the server's words, made safe for a console. Some servers repeat the requested name,
 * and with it the token. `text` has room for a byte more than `length`. */
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

static void take_description(const char *text, struct export *export)
{
    const char *found = strstr(text, generation_mark);

    if (found && strspn(found + sizeof generation_mark - 1, "0123456789abcdef") == GENERATION_DIGITS)
        memcpy(export->generation, found + sizeof generation_mark - 1, GENERATION_DIGITS);
}

/* Read one NBD_REP_INFO. A zero byte follows the `length` bytes of `info`. */
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
    } else if (type == INFO_DESCRIPTION) {
        take_description((const char *)info + 2, export);
    } else if (type == INFO_EXPORT || type == INFO_BLOCK_SIZE || length < 2) {
        return complain(BAD_PROTOCOL, "information %u has the wrong length, %u bytes", type, length);
    }
    return OK;
}

/* Receive the replies to NBD_OPT_GO up to the last one. */
static int await_go(const struct stream *stream, const char *token, struct export *export)
{
    static unsigned char body[MAX_REPLY + 1];
    unsigned char head[20];
    int known = 0;

    memset(export, 0, sizeof *export);
    for (;;) {
        uint32_t type, length;
        int code = receive(stream, head, sizeof head, "an answer to NBD_OPT_GO");

        if (code != OK)
            return code;
        type = (uint32_t)take(head + 12, 4);
        length = (uint32_t)take(head + 16, 4);
        if (take(head, 8) != REPLY_MAGIC || take(head + 8, 4) != OPT_GO)
            return complain(BAD_PROTOCOL, "the answer is not a reply to NBD_OPT_GO");
        if (length > MAX_REPLY)
            return complain(BAD_PROTOCOL, "the reply is too long: %u bytes", length);
        code = receive(stream, body, length, "the rest of a reply");
        if (code != OK)
            return code;
        body[length] = '\0';
        if (type & REP_IS_ERROR)
            return refused(type, (char *)body, length, token);
        if (type == REP_ACK)
            break;
        if (type != REP_INFO)
            return complain(BAD_PROTOCOL, "unexpected reply to NBD_OPT_GO: type %u", type);
        code = take_info(body, length, export, &known);
        if (code != OK)
            return code;
    }
    if (!known || !(export->flags & FLAG_HAS_FLAGS))
        return complain(BAD_PROTOCOL, "the server did not tell the export's size");
    return OK;
}

int shake_hands(const struct stream *stream, const struct target *target, uint64_t set,
                struct export *export)
{
    int code = greet(stream);

    if (code == OK)
        code = send_go(stream, target, set);
    if (code == OK)
        code = await_go(stream, target->token, export);
    return code;
}

void send_disconnect(int fd)
{
    unsigned char request[28] = {0};

    put(request, REQUEST_MAGIC, 4);
    put(request + 6, CMD_DISC, 2);
    send(fd, request, sizeof request, MSG_DONTWAIT); /* may fail: the connection ends anyway */
}
