/* Packets around DHCP messages, and ARP. Addresses are in network byte order. */
#ifndef FRAME_H
#define FRAME_H

#include "dhcp.h"

#include <stddef.h>
#include <stdint.h>

#define FRAME_BYTES (28 + DHCP_BYTES)
#define ARP_BYTES 28
#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68

/* Write an IPv4 packet to everybody with a DHCP client's message, of at most DHCP_BYTES, into `packet`,
 * which has room for FRAME_BYTES. Return its length. */
size_t frame_write(uint32_t source, const uint8_t *message, size_t length, uint8_t *packet);

/* Return the message in an IPv4 packet to a DHCP client, and set its length; NULL if there is none. */
const uint8_t *frame_read(const uint8_t *packet, size_t length, size_t *message_length);

/* Write the ARP request of the card `mac` for the holder of `address`: a probe if `sender` is 0, an
 * announcement if it is `address` (RFC 5227, 1.1). */
void arp_write(const uint8_t *mac, uint32_t sender, uint32_t address, uint8_t *packet);

/* Return whether an ARP packet says that a card other than `mac` has `address`, and copy that card's
 * address to `other`. */
int arp_read(const uint8_t *packet, size_t length, const uint8_t *mac, uint32_t address,
             uint8_t *other);

#endif
