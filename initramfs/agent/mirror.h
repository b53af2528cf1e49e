/* One area on two of the servers that its seat was given. */
#ifndef MIRROR_H
#define MIRROR_H

struct area;

/* Open the connections of both legs; one of them may fail, after the further servers were asked. Return an exit code. */
int mirror_open(struct area *legs);

/* Make one swap area of both legs. Return OK, or an exit code with everything undone. */
int mirror_start(struct area *legs);

/* Fork a process for the second leg. Return the calling process's leg; `name` is argv[0]. */
struct area *mirror_divide(struct area *legs, char *name);

#endif
