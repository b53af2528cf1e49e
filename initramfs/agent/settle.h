/* Locked into RAM, hard to kill. */
#ifndef SETTLE_H
#define SETTLE_H

/* Prepare this process for memory reclaim, which depends on it; `name` is argv[0]. Complain about each
 * thing that the kernel does not grant, and go on. */
void settle(char *name);

/* Lock the memory of this process: a child inherits all of `settle` but that. */
void keep_in_ram(void);

/* Complain about each thing that this kernel lacks for network block devices. */
void check_kernel(void);

/* Return whether the kernel is older than `major`.`minor`. */
int older_than(unsigned long major, unsigned long minor);

#endif
