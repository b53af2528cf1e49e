/* One area on two of the servers that its seat was given. */
#ifndef MIRROR_H
#define MIRROR_H

struct area;

/* Open the connections of both legs, after the further servers were asked. One of them may fail, unless it
 * is a further area. Return an exit code, after a failure with all connections closed; a leg without a
 * lease has size 0 then. */
int mirror_open(struct area *legs);

/* Make one swap area of both legs. Return OK, or an exit code with everything undone but the leases. */
int mirror_start(struct area *legs);

/* Fork a process for the second leg; for each leg of a further area, whose own process has the whole
 * mirror, `legs[LEGS]`. Return the calling process's leg, or the mirror. */
struct area *mirror_divide(struct area *legs);

/* End the processes of a further area's legs, and take the legs away from the kernel. Put the servers that
 * have their leases into `legs`. */
void mirror_end(struct area *legs);

#endif
