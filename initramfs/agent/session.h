/* TCP connections to the page server. */
#ifndef SESSION_H
#define SESSION_H

#include <stdint.h>

struct area;
struct export;
struct target;

/* Return a number for a set of connections, higher than any before in this boot. */
uint64_t next_set(void);

/* Open up to `*count` connections as set `set` to the target's host, else to its other one, fewer if the server allows one only. The server ends
 * the connections of lower sets. No step takes longer than until the time `end`. Return OK with
 * blocking sockets in transmission mode in `fds`, or an exit code with everything closed. */
int open_sessions(struct target *target, uint64_t set, int64_t end, int *fds, unsigned *count,
                  struct export *export);

/* Exchange the target's two hosts. */
void begin_with_other(struct target *target);

/* How a connection ended, as far as TCP shows it. */
enum ending {
    SILENT,     /* no packet came within the timeout; or it was reset */
    CLOSED,     /* by the server */
    EITHER,     /* both sides have closed it, and nothing tells who was first */
    UNANSWERED, /* the server's TCP is there, and a request had no answer within the timeout */
};

/* Tell how a connection ended whose `timeout`, in seconds, the kernel's driver has. */
enum ending ending_of(int fd, unsigned timeout);

/* Return the bytes that the server has sent over a connection. */
uint64_t received_bytes(int fd);

/* Return the server after `host` in the area's list, which begins again after its last one. */
const char *next_host(const struct area *area, const char *host);

/* End sessions that the kernel does not have, as proto.md asks (NBD_CMD_DISC). */
void close_sessions(const int *fds, unsigned count);

#endif
