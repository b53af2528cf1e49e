/* The resident part: watches the connections, attaches again. */
#ifndef HOLD_H
#define HOLD_H

struct area;

#define LONGEST_PAUSE_MS 1000
#define REFUSED_PAUSE_MS 10000 /* only the operator can cure a refusal, and the server logs each try */

/* Watch the area and attach it again after each loss. The first area is held until the PC goes off.
 * Return after a further area was not needed any more and is detached. */
void hold(struct area *area);

#endif
