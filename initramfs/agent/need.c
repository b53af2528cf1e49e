/* Free swap and memory pressure: is a further area needed? */
#include "need.h"
#include "agent.h"
#include "area.h"
#include "report.h"
#include "say.h"
#include "status.h"
#include "types.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* Swap is short below a quarter of an area. Attaching takes 0.1 s on an emulated PC, in which 1 Gbit/s
 * carries 12 MB. With encryption attaching takes 2 to 4 s, because the kernel has to find the memory
 * for dm-crypt (a pool of 1 MiB). An area is detached only if twice as much is free without it. */
#define MARK 4
#define LEAST_MARK (32u << 20)
#define QUIET_MS 30000 /* unneeded for so long, or each short-lived program would move areas */
#define ALL_BUT_EMPTY 64 /* at most 1/64 of an area is read back: unused pages stay out for long */

/* Milliseconds between two looks at free swap: normally, and for BUSY_MS after the kernel reported
 * that programs wait for memory. A kernel without PSI reports nothing, so one pace must do. */
#define IDLE_LOOK_MS 1000
#define BUSY_LOOK_MS 50
#define BLIND_LOOK_MS 100
#define BUSY_MS 2000

/* Documentation/accounting/psi.rst: programs waited for 50 of 500 ms, its shortest window. */
static const char trigger[] = "some 50000 500000";

static int pressure = -1; /* has POLLPRI after the trigger fired; -1 if the kernel has no PSI */
static int swaps = -1;

void watch_memory(void)
{
    pressure = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (pressure >= 0 && write(pressure, trigger, sizeof trigger) < 0) {
        close(pressure);
        pressure = -1;
    }
    if (pressure < 0)
        complain(OK, "no memory pressure from this kernel (psi=1 turns it on): polling free swap");
    swaps = open("/proc/swaps", O_RDONLY | O_CLOEXEC);
}

void read_swap(uint64_t *total, uint64_t *unused)
{
    struct sysinfo info;

    sysinfo(&info);
    *total = (uint64_t)info.totalswap * info.mem_unit;
    *unused = (uint64_t)info.freeswap * info.mem_unit;
}

/* Return the bytes that should be free in `count` areas of `total` bytes. */
static uint64_t mark(uint64_t total, unsigned count)
{
    uint64_t part = total / count / MARK;

    return part > LEAST_MARK ? part : LEAST_MARK;
}

int is_needed(const struct area *area)
{
    uint64_t total, unused;

    read_swap(&total, &unused);
    return status_in_use(area->number - 1) && unused < mark(total, area->number - 1);
}

void wait_for_need(const struct area *area)
{
    struct pollfd waits[2];
    int64_t busy = 0;

    while (!is_needed(area)) {
        int64_t now = now_ms();

        waits[0] = (struct pollfd){.fd = pressure, .events = POLLPRI};
        if (await(waits, 1, now + (pressure < 0 ? BLIND_LOOK_MS
                                   : now < busy ? BUSY_LOOK_MS
                                                : IDLE_LOOK_MS)))
            busy = now_ms() + BUSY_MS;
        if (waits[0].revents & POLLERR)
            pressure = -1;
    }
}

/* Return the bytes in use on the area: the second number of its line in /proc/swaps, in KiB. The path
 * there ends with "\040(deleted)", because swap.c removed the name. */
static uint64_t used_bytes(const struct area *area)
{
    char text[1024], name[24], *at;
    ssize_t length = pread(swaps, text, sizeof text - 1, 0);

    text[length > 0 ? length : 0] = '\0';
    snprintf(name, sizeof name, "/dev/%s\\", area->device);
    at = strstr(text, name);
    at = at ? strstr(at, "partition") : NULL;
    if (!at)
        return UINT64_MAX;
    strtoul(at + sizeof "partition" - 1, &at, 10);
    return (uint64_t)strtoul(at, NULL, 10) << 10;
}

/* Return whether the other areas have room for all pages, and this one is almost empty. */
static int is_idle(const struct area *area)
{
    uint64_t own = area->export.size, total, unused;

    read_swap(&total, &unused);
    return unused >= own && unused - own >= 2 * mark(total - own, area->number - 1) &&
           used_bytes(area) <= own / ALL_BUT_EMPTY;
}

/* Return whether no area of a higher number is attached: the last area leaves first. */
static int is_last(const struct area *area)
{
    return area->number == MAX_AREAS || !status_in_use(area->number + 1);
}

void leave_if_idle(struct area *area)
{
    static int64_t since = FOREVER;

    if (area->leaving >= 0 || !is_idle(area)) {
        since = FOREVER;
    } else if (since == FOREVER) {
        since = now_ms();
    } else if (now_ms() - since >= QUIET_MS && is_last(area)) {
        since = FOREVER;
        area_leave(area);
    }
}
