/* An export from its first connection to its end. */
#ifndef AREA_H
#define AREA_H

struct area;

/* Get a fresh lease; the area uses its token from then on. Return an exit code. */
int fresh_lease(struct area *area);

/* Have the next area_open ask the server `host` for a lease, in place of the one before. */
void area_move(struct area *area, const char *host);

/* Open the area's connections, with a fresh lease if the area has no token. Return an exit code. */
int area_open(struct area *area);

/* Turn `area->device` into swap, encrypted if the area is to be. Return an exit code. */
int make_swap(struct area *area);

/* Give the connections to the kernel, and turn the device into what the area is for: swap, the
 * device of a root or a leg of a mirror. Return OK, or an exit code with everything undone. */
int area_start(struct area *area);

/* Start swapoff(2) in a process of its own, which reads the pages back: see `area->leaving`. Return
 * an exit code. */
int area_leave(struct area *area);

/* Take the area away from the kernel. Pages that cannot be read back are marked as lost, and a program
 * that needs such a page ends with SIGBUS. Return an exit code. */
int area_stop(struct area *area);

#endif
