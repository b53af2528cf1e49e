/* The NBD handshake. */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stdint.h>

struct export;
struct stream;
struct target;

/* Do the client's half of the handshake on a fresh connection. Exchange the target's token for its key
 * if this has to be done yet. Return an exit code. */
int shake_hands(const struct stream *stream, struct target *target, uint64_t set,
                struct export *export);

/* Send NBD_CMD_DISC. */
void send_disconnect(int fd);

#endif
