/* Further swap areas: attached when swap runs short, let go when they are not needed any more.
 *
 * An active area cannot grow, so there is an agent for each one that may be needed. It stands by with
 * all that attaching takes, because memory is short when it is its turn. Those of one PC watch the
 * same figures and come one after the other: each waits until the one before it is there.
 *
 * A further area has a lower priority than those before it, so it is used while they are full, and
 * empties as soon as somebody frees memory.
 */
#include "grow.h"
#include "agent.h"
#include "area.h"
#include "hold.h"
#include "http.h"
#include "need.h"
#include "report.h"
#include "say.h"
#include "status.h"
#include "types.h"

#include <string.h>

static int attach(struct area *area)
{
    unsigned connections = area->connections; /* a server may allow fewer */
    int code;

    area->target.token = ""; /* a fresh lease will have another */
    code = area_open(area);
    if (code == OK)
        code = area_start(area);
    if (code != OK)
        area->connections = connections;
    return code;
}

/* Has the server forget the pages. */
static int end_lease(const struct area *area)
{
    char answer[512];
    int code = http_ask("DELETE", &area->lease, answer, sizeof answer);

    return code != OK || strncmp(answer, "ended", 5) == 0 ? code : REFUSED;
}

static void note_refusal(const struct area *area)
{
    status_set(area, STANDBY, last_complaint());
    report("agent:refused", "area %u: %s\narea=%u", area->number, last_complaint(), area->number);
}

void stand_by(struct area *area)
{
    int told = 0;

    for (;;) {
        uint64_t total, unused, left;
        int64_t begin;
        int code;

        wait_for_need(area);
        begin = now_ms();
        read_swap(&total, &unused);
        code = attach(area);
        if (code != OK) {
            if (!told)
                note_refusal(area);
            told = 1;
            pause_for(code == CANNOT_CONNECT ? LONGEST_PAUSE_MS : REFUSED_PAUSE_MS);
        } else {
            double seconds = (double)(now_ms() - begin) / 1000;

            told = 0;
            read_swap(&total, &left);
            left = left > area->export.size ? left - area->export.size : 0;
            status_set(area, ATTACHED, "");
            complain(OK, "/dev/%s, area %u, attached after %.2f s", area->device, area->number,
                     seconds);
            report("agent:grown",
                   "area %u, %llu MiB, came in %.2f s: %llu MiB of swap were free, then %llu\n"
                   "device=/dev/%s\narea=%u\nsize=%llu\nseconds=%.2f\nfree=%llu\nleft=%llu",
                   area->number, (unsigned long long)(area->export.size >> 20), seconds,
                   (unsigned long long)(unused >> 20), (unsigned long long)(left >> 20),
                   area->device, area->number, (unsigned long long)area->export.size, seconds,
                   (unsigned long long)unused, (unsigned long long)left);
            hold(area);
            status_set(area, STANDBY, "");
            complain(OK, "/dev/%s, area %u, is not needed any more", area->device, area->number);
            report("agent:returned", "area %u is not needed any more\ndevice=/dev/%s\narea=%u",
                   area->number, area->device, area->number);
        }
        /* Nobody is there to tell a failure to, and a later lease ends this one. */
        while (!is_needed(area) && end_lease(area) != OK)
            pause_for(LONGEST_PAUSE_MS);
    }
}
