/* The end of an area, by SIGTERM. */
#ifndef LEAVE_H
#define LEAVE_H

struct area;

/* Have SIGTERM detach the area from now on. */
void leave_on_signal(struct area *area);

#endif
