/* Verification of a root image. */
#ifndef VERITY_H
#define VERITY_H

struct area;

/* Put a device in front of the area's device that compares each block with the hash tree behind the
 * image. Return OK with its name in `area->device`, or an exit code with everything undone. */
int start_verification(struct area *area);

#endif
