/* The end of an area, by SIGTERM: swap is read back, and the device is disconnected. hold() looks once a
 * second whether the area may go (need.h), which here means: whether the signal has come. */
#define _GNU_SOURCE /* O_CLOEXEC, pipe2 */
#include "leave.h"
#include "agent.h"
#include "area.h"
#include "book.h"
#include "need.h"
#include "say.h"
#include "settle.h"
#include "status.h"
#include "types.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

static struct area *held;
static volatile sig_atomic_t asked;
static int tried;

void read_swap(uint64_t *total, uint64_t *unused)
{
    struct sysinfo info;

    sysinfo(&info);
    *total = (uint64_t)info.totalswap * info.mem_unit;
    *unused = (uint64_t)info.freeswap * info.mem_unit;
}

/* Begin to leave a disk: nobody must use it. A pipe that has hung up tells hold() to go on. */
static int leave_disk(struct area *area)
{
    int ends[2], fd = open(area->device, O_RDONLY | O_EXCL | O_CLOEXEC);

    if (fd < 0)
        return complain(KERNEL_REFUSED, "/dev/%s is in use: %s; unmount it first", area->device,
                        strerror(errno));
    close(fd);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return complain(KERNEL_REFUSED, "pipe: %s", strerror(errno));
    close(ends[1]);
    area->swapoff = -1; /* no process */
    area->leaving = ends[0];
    return OK;
}

void leave_if_idle(struct area *area)
{
    int code = OK;

    if (area->leaving >= 0)
        return;
    if (tried) {
        tried = 0; /* swapoff(2) has failed: too little RAM */
        status_set(area, ATTACHED, last_complaint());
    } else if (asked) {
        asked = 0;
        code = area->use == FOR_SWAP ? area_leave(area) : leave_disk(area);
        if (code != OK)
            status_set(area, ATTACHED, last_complaint());
        tried = code == OK;
    }
}

/* After the patience is over hold() only waits for the server. Reading fails at once now, so swapoff(2)
 * ends soon; nothing else of this process runs meanwhile. */
static void ask(int number)
{
    (void)number;
    asked = 1;
    if (!book_failed())
        return;
    if (held->use == FOR_SWAP && older_than(6, 0)) { /* agent/hold.c says why */
        complain(OK, "Linux before 6.0 cannot turn a lost area off safely: boot again");
        status_set(held, FAILED, last_complaint());
        return;
    }
    if ((held->use == FOR_SWAP || leave_disk(held) == OK) && area_stop(held) == OK) {
        book_close();
        _exit(OK);
    }
    status_set(held, FAILED, last_complaint());
}

void leave_on_signal(struct area *area)
{
    struct sigaction action = {.sa_handler = ask, .sa_flags = SA_RESTART};

    held = area;
    sigaction(SIGTERM, &action, NULL);
}
