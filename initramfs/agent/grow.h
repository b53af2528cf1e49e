/* Further areas, attached while swap is short. */
#ifndef GROW_H
#define GROW_H

struct area;

/* Attach the area whenever swap is short without it. */
_Noreturn void stand_by(struct area *area);

#endif
