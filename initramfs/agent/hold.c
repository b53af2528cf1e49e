/* The resident part: what reclaim waits for while a server is away.
 *
 * Of a connection's end the agent learns by poll(2) on its own descriptor of the socket, whoever
 * ended it: the driver shuts down sockets that it gives up, too. (It also multicasts
 * NBD_CMD_LINK_DEAD, later and not always: nothing that poll(2) would not have said.)
 *
 * Connections are made anew all together, as a new set: the server ends those of an older set, with
 * what it had not read from them, before it answers. So nothing late can overwrite what the kernel
 * sends again, and that is why one lost connection is the end of all: on those that are left the
 * kernel would send it again before the server knows that the lost one does not count any more.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57 /* uapi/linux/prctl.h, Linux 5.6 */
#endif

#define STACK_BYTES (64 << 10) /* more than the agent ever uses; a page fault can wait for swap */

/* Pauses between tries, in milliseconds, doubled each time. A room of 60 PCs loses its server in one
 * moment: each pause is between half of its length and the whole, by chance. */
#define FIRST_PAUSE_MS 100
#define LONGEST_PAUSE_MS 1000
#define REFUSED_PAUSE_MS 10000 /* only the operator can change that, and each try is logged */

static uint64_t random_state;

/* xorshift64 */
static unsigned chance(unsigned below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state % below);
}

uint64_t next_set(void)
{
    static uint64_t last;
    uint64_t now = (uint64_t)now_ms();

    last = now > last ? now : last + 1;
    return last;
}

static void touch_stack(void)
{
    volatile char room[STACK_BYTES];

    for (unsigned at = 0; at < sizeof room; at += PAGE / 2)
        room[at] = 0;
}

static void check_kernel(void)
{
    struct utsname system;
    unsigned long major, minor;
    char *rest;

    uname(&system);
    major = strtoul(system.release, &rest, 10);
    minor = strtoul(rest + (*rest == '.'), NULL, 10);
    if (major < 5 || (major == 5 && minor < 7))
        complain(OK, "Linux %s fails what is under way on a lost connection if it was the only one",
                 system.release);
    if (major < 5 || (major == 5 && minor < 14))
        complain(OK, "Linux %s knows no backend identifier: it takes any server's connections",
                 system.release);
}

void settle(char *name)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "-1000", 5) != 5)
        complain(OK, "oom_score_adj: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    touch_stack();
    if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
        complain(OK, "mlockall: %s", strerror(errno));
    /* What the kernel allocates for us may then not wait for swap, which may wait for us. */
    if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
        complain(OK, "PR_SET_IO_FLUSHER (Linux 5.6): %s", strerror(errno));
    check_kernel();
    name[0] = '@'; /* systemd's sign for what it must not kill at shutdown */
    setsid();
    /* All but those that mean a bug in here. */
    for (int number = 1; number < NSIG; number++)
        if (number != SIGSEGV && number != SIGBUS && number != SIGILL && number != SIGFPE)
            signal(number, SIG_IGN);
    memcpy(&random_state, (const void *)getauxval(AT_RANDOM), sizeof random_state);
    random_state |= 1;
}

/* Waits until a connection has ended; says which and why. */
static void watch(const struct area *area, char *why, size_t room)
{
    struct pollfd waits[MAX_CONNECTIONS + 1];

    for (unsigned at = 0; at < area->connections; at++)
        waits[at] = (struct pollfd){.fd = area->fds[at], .events = POLLRDHUP};
    while (!await(waits, area->connections, FOREVER))
        ;
    for (unsigned at = 0; at < area->connections; at++) {
        int error = 0;
        socklen_t length = sizeof error;

        if (!waits[at].revents)
            continue;
        getsockopt(area->fds[at], SOL_SOCKET, SO_ERROR, &error, &length);
        snprintf(why, room, "connection %u of %u: %s", at + 1, area->connections,
                 error ? strerror(error) : "closed, or no answer in time");
        return;
    }
}

static void shut_down(const struct area *area)
{
    for (unsigned at = 0; at < area->connections; at++)
        shutdown(area->fds[at], SHUT_RDWR);
}

/* Whether `found` is what was attached. A newer server may offer more than the older one. */
static int check_same(const struct export *was, const struct export *found)
{
    if (!*was->generation)
        return complain(REFUSED, "the server does not say which generation of pages it has");
    if (found->size != was->size || (found->flags & was->flags) != was->flags)
        return complain(REFUSED, "the server offers another export than before");
    if (strcmp(found->generation, was->generation) != 0)
        return complain(REFUSED, "the server has not the pages that were left there (generation %s)",
                        *found->generation ? found->generation : "unknown");
    return OK;
}

static int attach_again(struct area *area)
{
    struct export found;
    int fds[MAX_CONNECTIONS];
    unsigned count = area->connections;
    int code = open_sessions(&area->target, next_set(), fds, &count, &found);

    if (code != OK)
        return code;
    code = check_same(&area->export, &found);
    if (code == OK && count != area->connections)
        code = complain(REFUSED, "the server allows one connection only");
    if (code != OK) {
        close_sessions(fds, count);
        return code;
    }
    for (unsigned at = 0; at < count; at++) {
        close(area->fds[at]);
        area->fds[at] = fds[at];
    }
    code = device_reconnect(area);
    if (code != OK)
        shut_down(area); /* the kernel may have taken some */
    return code;
}

/* MiB of this PC's memory that are out on swap. */
static unsigned long swapped_mib(void)
{
    struct sysinfo info;

    sysinfo(&info);
    return (unsigned long)((uint64_t)(info.totalswap - info.freeswap) * info.mem_unit >> 20);
}

static void fail(const struct area *area)
{
    status_set(FAILED, last_complaint());
    report("failed:swap",
           "/dev/nbd%u has failed after %u s without its server: programs whose pages are there end\n"
           "device=/dev/nbd%u\nswapped_mib=%lu\nreason=%s",
           area->index, area->patience, area->index, swapped_mib(), last_complaint());
    complain(OK, "/dev/nbd%u has failed after %u s: %lu MiB are out there; programs that need them end",
             area->index, area->patience, swapped_mib());
}

/* Tries until it succeeds: the kernel takes connections even after it has given the area up. */
static void recover(struct area *area, int64_t lost)
{
    int64_t end = lost + (int64_t)area->patience * 1000; /* FOREVER once it has failed */
    unsigned pause = FIRST_PAUSE_MS;
    int refused = 0, code;

    while ((code = attach_again(area)) != OK) {
        struct pollfd nothing[1];
        unsigned length = code == CANNOT_CONNECT ? pause : REFUSED_PAUSE_MS;
        int64_t next;

        if (code != CANNOT_CONNECT && !refused) {
            status_set(end == FOREVER ? FAILED : LOST, last_complaint());
            report("agent:refused", "%s\ndevice=/dev/nbd%u", last_complaint(), area->index);
            refused = 1;
        }
        next = now_ms() + length / 2 + chance(length / 2);
        if (next >= end) {
            await(nothing, 0, end);
            fail(area);
            end = FOREVER;
        }
        await(nothing, 0, next);
        pause = pause * 2 > LONGEST_PAUSE_MS ? LONGEST_PAUSE_MS : pause * 2;
    }
}

void hold(struct area *area)
{
    status_open(area);
    report("agent:attached", "holds /dev/nbd%u, %u connections\ndevice=/dev/nbd%u\ntimeout=%u\npatience=%u",
           area->index, area->connections, area->index, area->target.timeout, area->patience);
    for (;;) {
        char why[MAX_TEXT];
        int64_t lost;
        double seconds;

        watch(area, why, sizeof why);
        lost = now_ms();
        shut_down(area);
        status_set(LOST, why);
        complain(OK, "/dev/nbd%u lost its server, %s", area->index, why);
        report("agent:lost", "%s\ndevice=/dev/nbd%u", why, area->index);
        recover(area, lost);
        seconds = (double)(now_ms() - lost) / 1000;
        status_set(ATTACHED, "");
        complain(OK, "/dev/nbd%u attached again after %.2f s", area->index, seconds);
        report("agent:reattached", "after %.2f s\ndevice=/dev/nbd%u\nseconds=%.2f", seconds,
               area->index, seconds);
    }
}
