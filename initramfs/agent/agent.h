/* The swap agent: attaches an NBD export as swap, or as the device of a root file system, holds it,
 * and attaches it again when it was lost, with nothing but a Linux kernel below it.
 *
 *   agent.c      verbs, arguments
 *   settle.c     what makes it unswappable and hard to kill
 *   hold.c       the resident part: watches the connections, attaches again
 *   grow.c       whether there is enough swap: further areas come and go
 *   area.c       an export from its first connection to its end
 *   session.c    TCP connections to the page server
 *   handshake.c  the NBD handshake (proto.md of the NBD project)
 *   device.c     the kernel's NBD driver, over generic netlink
 *   mirror.c     two of them as one, by the kernel's md
 *   crypt.c      encryption over it, by the kernel's device mapper
 *   swap.c       the swap header and swapon(2)
 *   http.c       questions to the boot server
 *   report.c     beacons to the boot server, over HTTP, and the one place that waits
 *   status.c     what `agent status` shows
 *   say.c        messages
 *   text.c       numbers and words put into text
 *
 * No function allocates memory: what holds swap up must not wait for memory that only swap can
 * free. Every buffer is static or on the stack.
 */
#ifndef AGENT_H
#define AGENT_H

#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Exit codes; the initramfs tries again after CANNOT_CONNECT only. */
enum {
    OK = 0,
    NOT_ATTACHED = 1, /* `status`: there is an agent, and its swap is not attached now */
    USAGE = 2,
    CANNOT_CONNECT = 3, /* nobody there, or gone in the middle of a handshake */
    REFUSED = 4,        /* the server understood and said no, or has not what we left there */
    KERNEL_REFUSED = 5, /* netlink, the device or swapon(2) failed */
    BAD_PROTOCOL = 6,   /* the peer does not speak NBD as we need it */
};

#define PAGE 4096          /* bytes; the block size of the device too: swap moves whole pages */
#define MAX_CONNECTIONS 16 /* the profile's limit as well */
#define MAX_AREAS 4        /* of a PC: 1 + the profile's limit for swap.grow */
#define LEGS 2             /* of a mirror */
#define NO_DEVICE UINT32_MAX
#define MAX_WIRE_NAME 256  /* bytes; shorter than the 4096 that proto.md allows: ours are short */
#define MAX_TOKEN 64
#define GENERATION_DIGITS 32
#define MAX_TEXT 320 /* of a message; a server's words are cut at 300 */

/* Transmission flags that the agent looks at (proto.md, "Transmission flags"). */
#define FLAG_HAS_FLAGS (1 << 0)
#define FLAG_READ_ONLY (1 << 1)
#define FLAG_ROTATIONAL (1 << 4)
#define FLAG_SEND_TRIM (1 << 5)
#define FLAG_CAN_MULTI_CONN (1 << 8)

/* http://ADDRESS:PORT/PATH */
struct url {
    struct sockaddr_in server;
    char path[160];
};

/* Where the pages are, and what opens the door. */
struct target {
    const char *host; /* dotted IPv4 */
    const char *port;
    const char *export;
    const char *token; /* secret, never printed; "" if there is none */
    unsigned timeout;  /* seconds in which the server has to answer, or the connection is lost */
};

/* What the server said of the export. */
struct export {
    uint64_t size;  /* bytes */
    uint16_t flags; /* FLAG_... */
    /* Names these very pages: a server that lost them says another one, or refuses. "" if it
     * says none. */
    char generation[GENERATION_DIGITS + 1];
};

/* An attached export. The kernel has the sockets too; ours are for watching and ending them. */
struct area {
    struct target target;
    struct export export;
    unsigned connections;
    unsigned patience; /* seconds that the kernel waits for a lost server before it fails */
    struct url lease;  /* where to ask for a fresh one when the pages are lost; path "": nowhere */
    char fresh[MAX_TOKEN + 1]; /* that lease's token */
    int root;        /* a file system's device, which is read; else it is swap */
    int encrypted;
    int keeps;       /* freed pages: nothing is discarded */
    int waits;       /* until its standard input says that it may begin */
    unsigned number; /* 1 is there from the start; those of higher numbers are used later */
    int leaving;     /* hangs up when swapoff(2), which is under way, has ended; -1 if none is */
    int swapoff;     /* its process */
    int leg;         /* of a mirror, 1 or 2; 0: it is none */
    uint32_t index;  /* N of /dev/nbdN */
    char device[16]; /* below /dev, what is swapped to: that, or what mirrors or encrypts it */
    dev_t node;      /* of that: it has no name in /dev while it is swap */
    int fds[MAX_CONNECTIONS];
};

/* One line on standard error, or once resident on the kernel's log, there without repetitions.
 * Returns `code` so that callers can `return complain(...)`. */
int complain(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The last complaint. */
const char *last_complaint(void);

/* From now on complaints go to the kernel's log, which never blocks and survives, as those of `whom`. */
void complain_to_kernel(const char *whom);

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t now_ms(void);

#define FOREVER INT64_MAX

/* Waits until one of `waits` is ready (1) or the time `until` has come (0). The agent waits nowhere
 * else: reports move on meanwhile. `waits` has room for one entry more than `count`. */
int await(struct pollfd *waits, unsigned count, int64_t until);

/* Reads `text`; `name` is for the complaint. */
int parse_url(const char *name, const char *text, struct url *url);

/* Has the server do `method` with `url`; its body goes into `answer`, ended by a zero byte. Takes a
 * bounded time. */
int http_ask(const char *method, const struct url *url, char *answer, size_t room);

/* Where reports go: a URL below which each stage has its name. */
int report_to(const char *url);

/* Queues a report: a line for people, then key=value lines. Never waits and never fails. */
void report(const char *stage, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Opens up to `*count` connections, fewer if the server allows one only, as set `set`: the server
 * ends those of lower sets. Returns OK with sockets in `fds` (in transmission mode, blocking), or an
 * exit code with everything closed. */
int open_sessions(const struct target *target, uint64_t set, int *fds, unsigned *count,
                  struct export *export);

/* Ends sessions that were not handed to the kernel, as proto.md asks (NBD_CMD_DISC). */
void close_sessions(const int *fds, unsigned count);

/* Exactly `length` bytes, each in bounded time; `what` is for the complaint. */
int receive(int fd, void *buffer, size_t length, const char *what);
int transmit(int fd, const void *buffer, size_t length);

/* The client's half of the handshake on a fresh connection. */
int shake_hands(int fd, const struct target *target, uint64_t set, struct export *export);

/* NBD_CMD_DISC. */
void say_goodbye(int fd);

/* Until when the steps of a handshake may take, if that is sooner than they may by themselves. */
extern int64_t sessions_end;

/* Opens what the kernel's driver is told through. A process that forks does so anew. */
int device_open(void);

/* Hands the area's sockets to the kernel. Returns OK with the N of /dev/nbdN in `area->index`. */
int device_connect(struct area *area);

/* Gives the kernel the area's new sockets in place of the old ones, which are shut down. */
int device_reconnect(const struct area *area);

/* Takes a device away from the kernel again, after a failure. */
void device_disconnect(uint32_t index);

/* Puts a device that encrypts in front of the area's. Returns OK with its path in `area->device`, or
 * an exit code with nothing left. */
int start_encryption(struct area *area);

/* Takes it away again, after a failure. */
void stop_encryption(void);

/* Writes a swap header to the area's device, turns swap on and takes the device's name away. Returns
 * OK or an exit code. */
int swap_on(struct area *area);

/* Asks for a fresh lease; its token is the area's from then on. */
int fresh_lease(struct area *area);

/* Makes the area's connections, with a fresh lease if it has no token. */
int area_open(struct area *area);

/* Makes `area->device` swap, encrypted if it is to be. */
int make_swap(struct area *area);

/* Makes a device of them and, unless it is a root, swap or a leg of its mirror. Returns OK, or an exit
 * code with everything undone. */
int area_start(struct area *area);

/* Begins to read back what is out there, in a process of its own: see `area->leaving`. */
int area_leave(struct area *area);

/* Takes the area away from the kernel. What is out there and cannot be read any more is marked, and
 * whoever needs it ends with SIGBUS. */
int area_stop(struct area *area);

/* Makes the connections of both legs; one of them may fail. */
int mirror_open(struct area *legs);

/* Makes one swap area of them. Returns OK, or an exit code with everything undone. */
int mirror_start(struct area *legs);

/* From here on there is a process for each leg; returns the caller's. `name` is argv[0]. */
struct area *mirror_divide(struct area *legs, char *name);

/* Notes whether a leg has lost its server. For what is no leg all of these do nothing. */
void mirror_note(const struct area *leg, int lost);

/* Whether the mirror can do without this leg; from then on it does until it is whole again. */
int mirror_gives_up(const struct area *leg);

/* Takes a leg out of the mirror, and its device from the kernel. What waits for it goes on. */
int mirror_leave(struct area *leg);

/* Adds a leg's new device to the mirror, which begins to copy. */
int mirror_join(const struct area *leg);

/* Tells when that is done; returns when to ask again. */
int64_t mirror_look(const struct area *leg);

/* A number for a set of connections, higher than any before in this boot. */
uint64_t next_set(void);

/* Makes this process one that reclaim can rely on; `name` is argv[0]. What the kernel does not grant
 * is said and done without. */
void settle(char *name);

/* Whether the kernel is older than `major`.`minor`. */
int older_than(unsigned long major, unsigned long minor);

/* Watches the area, the first one for as long as the machine is on; returns when another one was not
 * needed any more and is gone. */
void hold(struct area *area);

#define LONGEST_PAUSE_MS 1000
#define REFUSED_PAUSE_MS 10000 /* only the operator can change that, and each try is logged */

/* Between half of `length` and all of it, by chance: a room of PCs does not come in one instant. */
void pause_for(unsigned length);

/* Opens what tells how much memory and swap there is. */
void watch_memory(void);

/* Has the area attached whenever swap runs short without it. */
_Noreturn void stand_by(struct area *area);

/* Looked at from time to time: begins to let the area go when it has not been needed for a while. */
void leave_if_idle(struct area *area);

enum state { ATTACHED, LOST, FAILED, STANDBY };

/* Begins to show `area` to whoever asks. */
void status_open(const struct area *area, enum state state);

/* Whether area `number` is there, even if its server is lost now. */
int status_in_use(unsigned number);

/* Shows a new state, or the old one for another reason. */
void status_set(const struct area *area, enum state state, const char *reason);

/* `agent status`. Returns an exit code. */
int status_show(void);

#endif
