/* The swap header and swapon(2). */
#ifndef SWAP_H
#define SWAP_H

struct area;

/* Write a swap header to the area's device, turn swap on and remove the device's name from /dev.
 * Return an exit code. */
int swap_on(struct area *area);

/* Return the page that swap_on wrote. The kernel never writes there: whatever has this page has all. */
const void *swap_page(void);

#endif
