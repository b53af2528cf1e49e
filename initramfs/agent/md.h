/* The kernel's md: two NBD devices as one. */
#ifndef MD_H
#define MD_H

#include <stdint.h>

#define MD_DEVICE "md%u" /* area 1 has md0 */

struct area;

/* Open what an array needs. Return an exit code. */
int md_open(void);

/* Connect the legs that have an export, and make an array of `size` bytes of them. Return OK, or
 * an exit code with everything undone. */
int md_start(struct area *legs, uint64_t size);

/* Wait until no leg is getting or losing its device, and keep it so. */
void md_lock(void);

/* Disconnect the legs and stop the array. */
void md_stop(void);

/* Return the server of a leg, which its own process may have changed. */
const char *md_host(const struct area *leg);

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

/* Give a leg's new connections to the kernel and the device to the array; md begins to copy. Return OK,
 * or an exit code with everything undone. */
int md_join(struct area *leg);

/* Report the end of the copy. Return the time of the next call, FOREVER if the area is no leg or
 * nothing is being copied. */
int64_t md_look(const struct area *leg);

#endif
