/* The kernel's md: two NBD devices as one. */
#ifndef MD_H
#define MD_H

#include <stdint.h>

#define MD_DEVICE "md0"

struct area;

/* Connect the legs that have an export, and make an array of `size` bytes of them. Return an exit
 * code; after a failure call md_stop. */
int md_start(struct area *legs, uint64_t size);

/* Stop the array and disconnect its legs. */
void md_stop(const struct area *legs);

/* Return the next of the mirror's servers for a leg that is dropped or not there yet, and note it as the
 * leg's. It is not the other leg's. Return NULL if the area is no leg. */
const char *md_next_host(const struct area *leg);

/* Note for the other leg's process that this leg has lost its server, or has one again. Does
 * nothing if the area is no leg. */
void md_note(const struct area *leg, int lost);

/* Return 1 if the mirror may do without this leg. From then on the mirror does, until both legs have
 * all pages again. Return 0 if the area is no leg. */
int md_may_drop(const struct area *leg);

/* Return whether the leg has all pages, or the area is no leg. */
int md_is_whole(const struct area *leg);

/* Drop a leg: take the leg out of the array and its device from the kernel. Requests that wait for the
 * leg go on with the other one. Return an exit code. */
int md_drop(const struct area *leg);

/* Add a leg's new device to the array; md begins to copy. Return an exit code. */
int md_join(const struct area *leg);

/* Report the end of the copy. Return the time of the next call, FOREVER if the area is no leg or
 * nothing is being copied. */
int64_t md_look(const struct area *leg);

#endif
