/* The network cards of this PC. */
#ifndef CARDS_H
#define CARDS_H

#include <stdint.h>

/* Return whether a card of this PC has the address `mac`. Linux answers ARP on each card for all of its
 * addresses. */
int card_is_own(const uint8_t *mac);

#endif
