/* Pages of an export, read before the kernel has the connection. */
#ifndef PAGE_H
#define PAGE_H

#include <stdint.h>

/* Read page `number` of the export over a connection in transmission mode. No step takes longer than
 * until the time `end`. Return an exit code. */
int read_page(int fd, uint64_t number, void *page, int64_t end);

#endif
