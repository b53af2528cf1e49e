/* Messages on standard error or in the kernel's log. */
#ifndef SAY_H
#define SAY_H

#define MAX_TEXT 320 /* bytes of a message; a server's words are cut at 300 */

/* Write one line: on standard error, or to the kernel's log once resident. The log never gets the same
 * line twice in a row. Return `code`, so that callers can `return complain(...)`. */
int complain(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* With 1 write nothing, and keep the last complaint, until -1 ends that: another try follows. May nest. */
void hush(int more);

/* Return the last complaint. */
const char *last_complaint(void);

/* Write complaints to the kernel's log from now on, as those of `name`. The log never blocks, and it
 * outlives the console. */
void complain_to_kernel(const char *name);

#endif
