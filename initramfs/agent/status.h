/* The state that `agent status` shows. */
#ifndef STATUS_H
#define STATUS_H

struct area;

enum state { ATTACHED, LOST, FAILED, STANDBY };

/* Begin to show `area` to `agent status`. */
void status_open(const struct area *area, enum state state);

/* Show `area`, whose process has ended, no longer. */
void status_close(const struct area *area);

/* Return whether area `number` is attached, even if its server is lost now. */
int status_in_use(unsigned number);

/* Watch the agents of this PC without being one of them. */
void status_watch(void);

/* Count how often the agents lost their servers. `longest`: ms, a loss that lasts included. */
void status_losses(unsigned *losses, unsigned *longest);

/* Show a new state, or another reason for the old state. */
void status_set(const struct area *area, enum state state, const char *reason);

/* Run `agent status`. Return an exit code. */
int status_show(void);

#endif
