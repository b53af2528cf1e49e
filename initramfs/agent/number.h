/* Decimal numbers of a command line. */
#ifndef NUMBER_H
#define NUMBER_H

/* Read a decimal number between `low` and `high`. Return whether `text` is one. */
int parse_number(const char *text, unsigned low, unsigned high, unsigned *value);

#endif
