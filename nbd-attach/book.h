/* The book of what is attached: /run/nbd-attach/nbdN. */
#ifndef BOOK_H
#define BOOK_H

/* Return whether this process's area has failed: its patience is over. */
int book_failed(void);

/* Take this process's page out of the book. */
void book_close(void);

/* Show all pages, or that of `device`, nbdN. Return an exit code. */
int book_show(const char *device, int json);

/* Ask the process that holds `device` to detach it, and wait for that. Return an exit code. */
int book_detach(const char *device);

#endif
