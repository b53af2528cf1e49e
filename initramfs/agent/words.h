/* The command line: key=value words, and the environment that goes with them. */
#ifndef WORDS_H
#define WORDS_H

struct area;

/* The verbs that take key=value words. */
enum verb { FOR_ATTACH = 1, FOR_STANDBY = 2, FOR_HANDSHAKE = 4 };

/* Read the words of a verb, up to NULL, into `areas`, which has room for LEGS; host=HOST,HOST fills both
 * and sets `*mirror`. Return OK, or USAGE after one complaint. */
int read_words(enum verb verb, char **words, struct area *areas, int *mirror);

#endif
