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

/* The mark: less free swap than the fourth part of an area. Attaching takes 0.1 s on an emulated PC, in
 * which 1 Gbit/s is 12 MB; with encryption 2 to 4 s, as long as the kernel looks for the memory that
 * dm-crypt wants (a pool of 1 MiB). To let an area go, twice as much must be free without it. */
#define MARK 4
#define LEAST_MARK (32u << 20)
#define QUIET_MS 30000 /* for so long, that a program which comes and goes does not move areas */
#define ALL_BUT_EMPTY 64 /* parts of an area that are read back: pages that nobody asks for stay out */

/* Looks at free swap, in milliseconds: when nothing happens; and for BUSY_MS after the kernel said
 * that programs wait for memory. Without PSI it never says that, so there is one pace for all. */
#define IDLE_LOOK_MS 1000
#define BUSY_LOOK_MS 50
#define BLIND_LOOK_MS 100
#define BUSY_MS 2000

/* Documentation/accounting/psi.rst: programs waited for 50 of 500 ms, its shortest window. */
static const char trigger[] = "some 50000 500000";

static int pressure = -1; /* ready when the trigger was pulled; -1 if this kernel has no PSI */
static int swaps = -1;

void watch_memory(void)
{
    pressure = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (pressure >= 0 && write(pressure, trigger, sizeof trigger) < 0) {
        close(pressure);
        pressure = -1;
    }
    if (pressure < 0)
        complain(OK, "this kernel does not tell of memory pressure (psi=1?): free swap is polled");
    swaps = open("/proc/swaps", O_RDONLY | O_CLOEXEC);
}

/* Bytes of all swap areas. */
void read_swap(uint64_t *total, uint64_t *unused)
{
    struct sysinfo info;

    sysinfo(&info);
    *total = (uint64_t)info.totalswap * info.mem_unit;
    *unused = (uint64_t)info.freeswap * info.mem_unit;
}

/* Bytes that are to be free, if all areas together have `total` and there are `count` of them. */
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

/* Bytes that are out on the area: the last but one number of its line of /proc/swaps, in KiB. There the
 * path has "\040(deleted)" behind it (swap.c). */
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

/* Whether the other areas have room for all that is out, and there is hardly anything on this one. */
static int is_idle(const struct area *area)
{
    uint64_t own = area->export.size, total, unused;

    read_swap(&total, &unused);
    return unused >= own && unused - own >= 2 * mark(total - own, area->number - 1) &&
           used_bytes(area) <= own / ALL_BUT_EMPTY;
}

/* The last that came goes first. */
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
