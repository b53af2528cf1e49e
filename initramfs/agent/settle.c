/* Locked into RAM, hard to kill: memory reclaim depends on the agent. */
#include "settle.h"
#include "agent.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57 /* uapi/linux/prctl.h, Linux 5.6 */
#endif

#define STACK_BYTES (64 << 10) /* more than the agent uses */

/* Fault the stack in now: a page fault later could wait for swap. */
static void touch_stack(void)
{
    volatile char room[STACK_BYTES];

    for (unsigned at = 0; at < sizeof room; at += PAGE / 2)
        room[at] = 0;
}

int older_than(unsigned long major, unsigned long minor)
{
    struct utsname system;
    unsigned long found;
    char *rest;

    uname(&system);
    found = strtoul(system.release, &rest, 10);
    return found < major || (found == major && strtoul(rest + (*rest == '.'), NULL, 10) < minor);
}

void check_kernel(void)
{
    if (older_than(5, 7))
        complain(OK, "Linux before 5.7: requests in flight fail when the only connection is lost");
    if (older_than(5, 14))
        complain(OK, "Linux before 5.14: no backend identifier, new connections go unchecked");
}

void keep_in_ram(void)
{
    touch_stack();
    if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
        complain(OK, "mlockall: %s", strerror(errno));
}

void settle(char *name)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "-1000", 5) != 5)
        complain(OK, "oom_score_adj: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    keep_in_ram();
    /* The kernel's allocations for the agent must not wait for swap, which may wait for the agent. */
    if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
        complain(OK, "PR_SET_IO_FLUSHER (Linux 5.6): %s", strerror(errno));
    /* The initramfs moves /dev to the new root, and with it each process whose directory it is. */
    if (chdir("/dev") < 0)
        complain(OK, "/dev: %s", strerror(errno));
    name[0] = '@'; /* marks a process that systemd must not kill at shutdown */
    setsid();
    /* Ignore all signals except those of a bug in the agent. */
    for (int number = 1; number < NSIG; number++)
        if (number != SIGSEGV && number != SIGBUS && number != SIGILL && number != SIGFPE &&
            number != SIGCHLD)
            signal(number, SIG_IGN);
}
