/* DHCP messages of a client (RFC 2131), written and read. Strangers write what is read here: of each
 * option the first value of the right length counts, and nothing else matters. */
#include "dhcp.h"

#include <arpa/inet.h>
#include <string.h>

enum { TO_SERVER = 1, TO_CLIENT = 2, ETHERNET = 1 };
/* The places of fields. */
enum { ID = 4, SECS = 8, FLAGS = 10, CIADDR = 12, YIADDR = 16, CHADDR = 28 };
enum { SNAME = 44, FILE_NAME = 108, COOKIE = 236, OPTIONS = 240 };
/* Options (RFC 2132). */
enum { PAD = 0, WANTED = 50, SECONDS = 51, OVERLOAD = 52, KIND = 53, SERVER = 54, PARAMETERS = 55 };
enum { RENEW = 58, REBIND = 59, CLIENT = 61, END = 255 };
enum { IN_FILE = 1, IN_SNAME = 2 }; /* bits of OVERLOAD: more options are there */

static const uint8_t cookie[4] = {99, 130, 83, 99};
static const uint8_t asked_for[] = {SECONDS, SERVER, RENEW, REBIND};

static uint8_t *put(uint8_t *at, uint8_t code, const void *value, uint8_t length)
{
    at[0] = code;
    at[1] = length;
    memcpy(at + 2, value, length);
    return at + 2 + length;
}

size_t dhcp_write(const struct question *question, uint8_t *message)
{
    uint8_t *at = message + OPTIONS, kind = (uint8_t)question->kind;
    uint8_t client[1 + MAC_BYTES] = {ETHERNET};

    memset(message, 0, DHCP_BYTES);
    message[0] = TO_SERVER;
    message[1] = ETHERNET;
    message[2] = MAC_BYTES;
    memcpy(message + ID, &question->id, 4);
    message[SECS] = (uint8_t)(question->seconds >> 8);
    message[SECS + 1] = (uint8_t)question->seconds;
    /* An offer of another address would not reach this PC unless it is broadcast. */
    if (!question->address)
        message[FLAGS] = 0x80;
    memcpy(message + CIADDR, &question->address, 4);
    memcpy(message + CHADDR, question->mac, MAC_BYTES);
    memcpy(message + COOKIE, cookie, sizeof cookie);
    at = put(at, KIND, &kind, 1);
    memcpy(client + 1, question->mac, MAC_BYTES);
    if (question->named)
        at = put(at, CLIENT, client, sizeof client);
    if (question->wanted)
        at = put(at, WANTED, &question->wanted, 4);
    if (question->server)
        at = put(at, SERVER, &question->server, 4);
    at = put(at, PARAMETERS, asked_for, sizeof asked_for);
    *at = END;
    return DHCP_BYTES;
}

static void read_number(const uint8_t *value, uint32_t *number)
{
    uint32_t found;

    memcpy(&found, value, 4);
    if (!*number)
        *number = ntohl(found);
}

/* Read the options in `field`. A last option that is cut off does not count. */
static void read_options(const uint8_t *field, size_t length, struct answer *answer, uint8_t *overload)
{
    size_t at = 0;

    while (at < length && field[at] != END) {
        const uint8_t *value = field + at + 2;
        unsigned size;

        if (field[at] == PAD) {
            at++;
            continue;
        }
        if (length - at < 2 || field[at + 1] > length - at - 2)
            return;
        size = field[at + 1];
        if (size == 1 && field[at] == KIND && !answer->kind)
            answer->kind = value[0];
        if (size == 1 && field[at] == OVERLOAD && !*overload)
            *overload = value[0];
        if (size == 4 && field[at] == SERVER && !answer->server)
            memcpy(&answer->server, value, 4);
        if (size == 4 && field[at] == SECONDS)
            read_number(value, &answer->seconds);
        if (size == 4 && field[at] == RENEW)
            read_number(value, &answer->renew);
        if (size == 4 && field[at] == REBIND)
            read_number(value, &answer->rebind);
        at += 2 + size;
    }
}

int dhcp_read(const uint8_t *message, size_t length, struct answer *answer)
{
    uint8_t overload = 0, ignored = 0;

    memset(answer, 0, sizeof *answer);
    if (length < OPTIONS || message[0] != TO_CLIENT || message[1] != ETHERNET ||
        message[2] != MAC_BYTES || memcmp(message + COOKIE, cookie, sizeof cookie) != 0)
        return 0;
    memcpy(&answer->id, message + ID, 4);
    memcpy(answer->mac, message + CHADDR, MAC_BYTES);
    memcpy(&answer->address, message + YIADDR, 4);
    read_options(message + OPTIONS, length - OPTIONS, answer, &overload);
    if (overload & IN_FILE)
        read_options(message + FILE_NAME, COOKIE - FILE_NAME, answer, &ignored);
    if (overload & IN_SNAME)
        read_options(message + SNAME, FILE_NAME - SNAME, answer, &ignored);
    return answer->kind == OFFER || answer->kind == ACK || answer->kind == NAK;
}
