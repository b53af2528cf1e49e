/* The verb `address`: keeps the address that a DHCP server has lent to this PC. */
#ifndef ADDRESS_H
#define ADDRESS_H

/* Keep the IPv4 address `text` of the network card `card` until the PC goes off. The DHCP server knows
 * the PC by `mac`; NULL: by the card's. `name` is argv[0]. Return an exit code if that cannot begin. */
int keep_address(const char *card, const char *text, const char *mac, char *name);

#endif
