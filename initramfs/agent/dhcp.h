/* DHCP messages of a client (RFC 2131), written and read. Addresses are in network byte order. */
#ifndef DHCP_H
#define DHCP_H

#include <stddef.h>
#include <stdint.h>

#define MAC_BYTES 6
#define DHCP_BYTES 300 /* of a question; relays drop shorter ones (RFC 1542, section 2.1) */

enum dhcp_kind { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5, NAK = 6 };

/* A message to a DHCP server. An address of 0 is left out. */
struct question {
    enum dhcp_kind kind;
    uint32_t id; /* the answer repeats it */
    uint16_t seconds; /* since the first question that had no answer */
    uint8_t mac[MAC_BYTES];
    int named;        /* option 61 is sent: Ethernet and the MAC address */
    uint32_t address; /* in use, field ciaddr; the answer then goes to it, else to all */
    uint32_t wanted;  /* option 50 */
    uint32_t server;  /* option 54: its offer is taken */
};

/* A server's message. A figure that it lacks is 0. */
struct answer {
    enum dhcp_kind kind;
    uint32_t id;
    uint8_t mac[MAC_BYTES];
    uint32_t address; /* lent or offered, field yiaddr */
    uint32_t server;
    uint32_t seconds, renew, rebind; /* options 51, 58 and 59 */
};

/* Write a question into `message`, which has room for DHCP_BYTES. Return its length. */
size_t dhcp_write(const struct question *question, uint8_t *message);

/* Read a server's OFFER, ACK or NAK. Return whether it is one. */
int dhcp_read(const uint8_t *message, size_t length, struct answer *answer);

#endif
