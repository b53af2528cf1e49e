/* Encryption of the area. `area->cipher` is a row of crypt.c's table. */
#ifndef CRYPT_H
#define CRYPT_H

struct area;

/* Put a device that encrypts in front of the area's device. Return OK with its name in
 * `area->device`, or an exit code with everything undone. */
int start_encryption(struct area *area);

/* Remove that device. */
void stop_encryption(void);

#endif
