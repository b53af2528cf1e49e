/* The swap agent: attaches an NBD export as swap, with nothing but a Linux kernel below it.
 *
 *   agent.c      verbs, arguments, messages
 *   session.c    TCP connections and the NBD handshake (proto.md of the NBD project)
 *   device.c     the kernel's NBD driver, over generic netlink
 *   swap.c       the swap header and swapon(2)
 *
 * No function allocates memory: what holds swap up must not wait for memory that only swap can
 * free. Every buffer is static or on the stack.
 */
#ifndef AGENT_H
#define AGENT_H

#include <stdint.h>

/* Exit codes; the initramfs tries again after CANNOT_CONNECT only. */
enum {
    OK = 0,
    USAGE = 2,
    CANNOT_CONNECT = 3, /* nobody there, or gone in the middle of a handshake */
    REFUSED = 4,        /* the server understood and said no */
    KERNEL_REFUSED = 5, /* netlink, the device or swapon(2) failed */
    BAD_PROTOCOL = 6,   /* the peer does not speak NBD as we need it */
};

#define PAGE 4096          /* bytes; the block size of the device too: swap moves whole pages */
#define MAX_CONNECTIONS 16 /* the profile's limit as well */
#define MAX_WIRE_NAME 256  /* bytes; shorter than the 4096 that proto.md allows: ours are short */

/* Transmission flags that the agent looks at (proto.md, "Transmission flags"). */
#define FLAG_HAS_FLAGS (1 << 0)
#define FLAG_READ_ONLY (1 << 1)
#define FLAG_ROTATIONAL (1 << 4)
#define FLAG_SEND_TRIM (1 << 5)
#define FLAG_CAN_MULTI_CONN (1 << 8)

/* Where the pages are, and what opens the door. */
struct target {
    const char *host;  /* dotted IPv4 */
    const char *port;
    const char *token; /* secret, never printed; "" if there is none */
    char wire_name[MAX_WIRE_NAME + 1]; /* EXPORT@TOKEN */
};

/* What the server said of the export. */
struct export {
    uint64_t size;  /* bytes */
    uint16_t flags; /* FLAG_... */
};

/* One line on standard error; returns `code` so that callers can `return complain(...)`. */
int complain(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Connects and shakes hands. Returns OK with the socket in `*fd` (in transmission mode, in
 * blocking mode, without time limits of its own), or an exit code with everything closed.
 * `patience`: seconds an established connection may go unanswered before TCP gives it up. */
int session_open(const struct target *target, unsigned patience, int *fd, struct export *export);

/* Ends a session that was not handed to the kernel, as proto.md asks (NBD_CMD_DISC). */
void session_close(int fd);

/* Hands `count` sessions to the kernel. Returns OK with the N of /dev/nbdN in `*index`. */
int device_connect(const struct export *export, const int *fds, unsigned count, unsigned patience,
                   uint32_t *index);

/* Takes a device away from the kernel again, after a failure. */
void device_disconnect(uint32_t index);

/* Writes a swap header to the device and turns swap on. Returns OK or an exit code. */
int swap_on(uint32_t index, const struct export *export);

#endif
