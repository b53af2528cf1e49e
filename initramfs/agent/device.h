/* The kernel's NBD driver. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdint.h>

struct area;

/* Open the netlink socket of the kernel's driver. A process that forks opens its own. Return an exit
 * code. */
int device_open(void);

/* Give the area's sockets to the kernel. Return OK with the N of /dev/nbdN in `area->index`, or an
 * exit code. */
int device_connect(struct area *area);

/* Give the area's new sockets to the kernel in place of the old ones, which are shut down. Return an
 * exit code. */
int device_reconnect(const struct area *area);

/* Take a device away from the kernel. */
void device_disconnect(uint32_t index);

/* Release all devices of `export`. For a PC that has no swap of it: no other agent must hold one. */
void device_release(const char *export);

#endif
