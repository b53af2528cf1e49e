/* The PC's figures for the boot server, every 10 s. */
#ifndef FIGURES_H
#define FIGURES_H

#include <stdint.h>

/* Open all files that the figures come from. Call this once the process is locked into RAM. */
void figures_open(void);

/* Send the figures if it is time, unless another report waits. Return the time of the next call. */
int64_t figures_look(void);

#endif
