/* Free swap and memory pressure: is a further area needed? */
#ifndef NEED_H
#define NEED_H

#include <stdint.h>

struct area;

/* Open the kernel's figures about memory pressure and swap. */
void watch_memory(void);

/* Read the bytes of all swap areas, and those of them that are unused. */
void read_swap(uint64_t *total, uint64_t *unused);

/* Return whether swap is short without the area. */
int is_needed(const struct area *area);

/* Wait until swap is short without the area. */
void wait_for_need(const struct area *area);

/* Call from time to time: begin to detach the area after it was not needed for a while. */
void leave_if_idle(struct area *area);

#endif
