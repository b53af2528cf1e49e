/* Beacons to the boot server, and the only place where the agent waits. */
#ifndef REPORT_H
#define REPORT_H

#include <poll.h>
#include <stdint.h>

#define FOREVER INT64_MAX

/* Return the milliseconds of CLOCK_MONOTONIC. */
int64_t now_ms(void);

/* Wait until one of `waits` is ready (return 1) or until the time `until` (return 0). Reports are
 * sent meanwhile, so the agent waits nowhere else. `waits` has room for `count` + 1 entries. */
int await(struct pollfd *waits, unsigned count, int64_t until);

/* Wait until the time `until`. */
void wait_until(int64_t until);

/* Return a number below `below`, by chance. */
unsigned chance(unsigned below);

/* Wait for a random time between `length` / 2 and `length` ms. Otherwise all PCs of a room would come
 * in the same instant. */
void pause_for(unsigned length);

/* Send reports to `url`/STAGE from now on. Return an exit code. */
int report_to(const char *url);

/* Forget the reports that wait: in a child they are its parent's. */
void forget_reports(void);

/* Queue a report: a line for people, then key=value lines. Never waits and never fails. */
void report(const char *stage, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Send figures of this PC, KEY=VALUE&KEY=VALUE, unless a report waits. They are tried once. */
void report_figures(const char *text);

#endif
