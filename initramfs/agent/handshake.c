/* The NBD handshake (proto.md): fixed newstyle, NBD_OPT_GO.
 *
 * The token of a boot stands where users of the PC may read it. So before the first GO the agent asks
 * with NBD_OPT_INFO for a key, which it has in its locked memory alone. The server takes the token
 * until it has taken the key. Until the agent knows that, it asks again, and the answer decides: a key
 * (the same one), none (an older server, which knows the token alone), or a refusal (the server took
 * the key and its answer was lost).
 */
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
#define OPT_INFO 6
#define OPT_GO 7
#define INFO_EXPORT 0
#define INFO_DESCRIPTION 2
#define INFO_BLOCK_SIZE 3
#define REP_ACK 1
#define REP_INFO 3
#define REP_IS_ERROR (1u << 31)
#define REP_ERR_UNSUP (REP_IS_ERROR | 1)
#define REP_ERR_UNKNOWN (REP_IS_ERROR | 6)
#define REP_ERR_SHUTDOWN (REP_IS_ERROR | 7)
#define CMD_DISC 2

/* The longest reply that the agent reads: an error's text or a description. proto.md caps strings at
 * 4096 bytes; the agent does not trust a server that sends longer replies. */
#define MAX_REPLY (4096 + 64)
#define MAX_SHOWN 300 /* of a server's text, on a console */

/* These precede the generation and the key, 32 hexadecimal digits each, in the export's description. */
static const char generation_mark[] = "generation ", key_mark[] = ", key ";

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

/* Receive the server's greeting and send the client's flags, in one packet with the option that
 * follows. */
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
    return transmit(stream, flags, sizeof flags, MSG_MORE);
}

static const char *option_name(uint32_t number)
{
    return number == OPT_GO ? "NBD_OPT_GO" : "NBD_OPT_INFO";
}

/* Send option `number` for EXPORT, or for EXPORT@SECRET.SET with the set's number in hexadecimal. */
static int send_option(const struct stream *stream, uint32_t number, const struct target *target,
                       const char *secret, uint64_t set)
{
    static unsigned char option[16 + 4 + MAX_WIRE_NAME + 1 + 6];
    char *name = (char *)option + 16 + 4;
    int length = snprintf(name, MAX_WIRE_NAME + 1, *secret ? "%s@%s.%llx" : "%s", target->export,
                          secret, (unsigned long long)set);
    unsigned char *end = option;

    end = put(end, IHAVEOPT, 8);
    end = put(end, number, 4);
    end = put(end, 4 + (unsigned)length + 6, 4);
    end = put(end, (unsigned)length, 4) + length;
    /* A client that asks for block sizes promises to keep to them. Without the promise a server may
     * refuse (NBD_REP_ERR_BLOCK_SIZE_REQD). */
    end = put(end, 2, 2);
    end = put(end, INFO_BLOCK_SIZE, 2);
    end = put(end, INFO_DESCRIPTION, 2);
    return transmit(stream, option, (size_t)(end - option), 0);
}

static void mask(char *text, const char *secret)
{
    for (char *at = text; *secret && (at = strstr(at, secret)); at += strlen(secret))
        memset(at, '*', strlen(secret));
}

/* Complain with the server's words, made safe for a console. Some servers repeat the requested name,
 * and with it the token or the key. `text` has room for a byte more than `length`. */
static int refused(uint32_t number, uint32_t type, char *text, uint32_t length,
                   struct target *target)
{
    target->unknown = type == REP_ERR_UNKNOWN;
    for (uint32_t at = 0; at < length; at++)
        if (text[at] < ' ' || text[at] > '~')
            text[at] = '?';
    text[length] = '\0';
    mask(text, target->token);
    mask(text, target->key);
    if (type == REP_ERR_UNSUP)
        return complain(BAD_PROTOCOL, "the server does not know %s", option_name(number));
    if (type == REP_ERR_SHUTDOWN)
        return complain(CANNOT_CONNECT, "the server is shutting down");
    if (length == 0)
        return complain(REFUSED, "refused without a reason (NBD error %u)", type & ~REP_IS_ERROR);
    return complain(REFUSED, "%.*s", MAX_SHOWN, text);
}

/* Copy the 32 hexadecimal digits that follow `mark`, if there are any. `to` has room for a byte more,
 * which is zero already. */
static void take_digits(const char *text, const char *mark, char *to)
{
    const char *found = strstr(text, mark);

    if (found && strspn(found + strlen(mark), "0123456789abcdef") == GENERATION_DIGITS)
        memcpy(to, found + strlen(mark), GENERATION_DIGITS);
}

/* Read one NBD_REP_INFO. A zero byte follows the `length` bytes of `info`. */
static int take_info(const unsigned char *info, uint32_t length, struct export *export, char *key,
                     int *known)
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
        take_digits((const char *)info + 2, generation_mark, export->generation);
        take_digits((const char *)info + 2, key_mark, key);
    } else if (type == INFO_EXPORT || type == INFO_BLOCK_SIZE || length < 2) {
        return complain(BAD_PROTOCOL, "information %u has the wrong length, %u bytes", type, length);
    }
    return OK;
}

/* Receive the replies to option `number` up to the last one. NBD_OPT_INFO sets the target's key. */
static int await_reply(const struct stream *stream, uint32_t number, struct target *target,
                       struct export *export)
{
    static unsigned char body[MAX_REPLY + 1];
    char key[KEY_DIGITS + 1] = "";
    unsigned char head[20];
    int known = 0;

    memset(export, 0, sizeof *export);
    for (;;) {
        uint32_t type, length;
        int code = receive(stream, head, sizeof head, "an answer to the handshake");

        if (code != OK)
            return code;
        type = (uint32_t)take(head + 12, 4);
        length = (uint32_t)take(head + 16, 4);
        if (take(head, 8) != REPLY_MAGIC || take(head + 8, 4) != number)
            return complain(BAD_PROTOCOL, "the answer is not a reply to %s", option_name(number));
        if (length > MAX_REPLY)
            return complain(BAD_PROTOCOL, "the reply is too long: %u bytes", length);
        code = receive(stream, body, length, "the rest of a reply");
        if (code != OK)
            return code;
        body[length] = '\0';
        /* GO follows in any case if the server does not know INFO, or has told a key before. */
        if (number == OPT_INFO && (type == REP_ERR_UNSUP || (type & REP_IS_ERROR && *target->key)))
            return OK;
        if (type & REP_IS_ERROR)
            return refused(number, type, (char *)body, length, target);
        if (type == REP_ACK)
            break;
        if (type != REP_INFO)
            return complain(BAD_PROTOCOL, "unexpected reply to %s: type %u", option_name(number),
                            type);
        code = take_info(body, length, export, key, &known);
        if (code != OK)
            return code;
    }
    if (!known || !(export->flags & FLAG_HAS_FLAGS))
        return complain(BAD_PROTOCOL, "the server did not tell the export's size");
    if (number == OPT_INFO)
        memcpy(target->key, key, sizeof target->key);
    explicit_bzero(key, sizeof key);
    return OK;
}

static int negotiate(const struct stream *stream, uint32_t number, struct target *target,
                     const char *secret, uint64_t set, struct export *export)
{
    int code = send_option(stream, number, target, secret, set);

    return code == OK ? await_reply(stream, number, target, export) : code;
}

int shake_hands(const struct stream *stream, struct target *target, uint64_t set,
                struct export *export)
{
    int code = greet(stream);

    target->unknown = 0;
    if (code == OK && target->trades && *target->token && !target->proven)
        code = negotiate(stream, OPT_INFO, target, target->token, set, export);
    if (code == OK)
        code = negotiate(stream, OPT_GO, target, *target->key ? target->key : target->token, set,
                         export);
    if (code == OK && *target->key)
        target->proven = 1;
    return code;
}

void send_disconnect(int fd)
{
    unsigned char request[28] = {0};

    put(request, REQUEST_MAGIC, 4);
    put(request + 6, CMD_DISC, 2);
    send(fd, request, sizeof request, MSG_DONTWAIT); /* may fail: the connection ends anyway */
}
