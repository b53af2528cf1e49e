/* Are these the pages that the area had? */
#ifndef SAME_H
#define SAME_H

struct area;
struct export;

/* Check that `found`, offered over the fresh connections `fds`, is the area's export with the area's
 * pages. Return an exit code. */
int check_same(const struct area *area, const struct export *found, const int *fds);

#endif
