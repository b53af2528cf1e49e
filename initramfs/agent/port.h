/* The boot port's sockets for DHCP and ARP. */
#ifndef PORT_H
#define PORT_H

#include "dhcp.h"

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#define PORT_SOCKETS 2 /* that hear answers */

struct port {
    const char *name;
    uint32_t address;
    int index;
    uint8_t mac[MAC_BYTES];
    int dhcp, arp;
    int udp; /* -1: another program has the port on all cards, and does not share it */
};

/* Open the sockets of the network card `name`, on which this PC has `address`. Return an exit code. */
int port_open(struct port *port, const char *name, uint32_t address);

/* Set `waits`, which has room for PORT_SOCKETS, to wait for packets. */
void port_waits(const struct port *port, struct pollfd *waits);

/* Send a message to the DHCP server `server`, or from `source` to everybody if `server` is 0 or cannot be
 * reached. Open the sockets again if the card was removed and is back. */
void port_send(struct port *port, const uint8_t *message, size_t length, uint32_t server,
               uint32_t source);

/* Ask by ARP for another holder of the address. */
void port_probe(const struct port *port);

/* Tell all by ARP that this PC has the address. */
void port_announce(const struct port *port);

/* Receive a packet from one of the sockets. Return its length, 0 if there is none. */
size_t port_receive(int fd, uint8_t *packet, size_t room);

#endif
