/* Further swap areas: attached when swap is short, detached when they are not needed any more.
 *
 * An active area cannot grow, so each further area has an agent of its own. The agent acquires all
 * resources for attaching in advance, because memory is short when its turn comes. The agents of a PC
 * watch the same figures, and each waits until the area before its own is attached.
 *
 * A further area has a lower priority than those before it. The kernel uses it while they are full, and
 * it empties as programs free memory.
 */
#include "grow.h"
#include "agent.h"
#include "area.h"
#include "hold.h"
#include "http.h"
#include "mirror.h"
#include "need.h"
#include "report.h"
#include "say.h"
#include "session.h"
#include "status.h"
#include "types.h"

#include <string.h>

#define LEASE_TRIES 3 /* to end it, although swap is short */

/* Attach the area on two servers, or not at all. Each try begins with the first two. Return an exit code. */
static int attach_mirror(struct area *legs, int silent)
{
    static struct area given[LEGS];
    int code;

    if (!given->number)
        memcpy(given, legs, sizeof given);
    memcpy(legs, given, sizeof given);
    hush(silent);
    code = mirror_open(legs);
    if (code == OK)
        code = mirror_start(legs);
    hush(-silent);
    return code;
}

/* Attach the area on the first server that answers and has room. The one that had it last comes first:
 * most likely it answers. Of all refusals only the last one is told. Return an exit code. */
static int attach(struct area *area)
{
    unsigned connections = area->connections; /* area_open lowers it if the server allows fewer */
    const char *first = area->target.host, *next = first;
    int code, more;

    do {
        area_move(area, next); /* makes area_open ask for a fresh lease */
        next = next_host(area, next);
        more = next != first;
        hush(more);
        code = area_open(area);
        if (code == OK)
            code = area_start(area);
        hush(-more);
        if (code == OK)
            return code;
        area->connections = connections;
    } while (more);
    area_move(area, first);
    return code;
}

/* End the leases that the area or its legs have, so that the servers free the pages. Return an exit code. */
static int end_leases(struct area *areas)
{
    char answer[512];
    int result = OK;

    for (int at = 0; at <= areas->mirror; at++) {
        if (!areas[at].export.size)
            continue;
        if (http_ask("DELETE", &areas[at].lease, answer, sizeof answer) == OK &&
            strncmp(answer, "ended", 5) == 0)
            areas[at].export.size = 0;
        else
            result = REFUSED;
    }
    return result;
}

static void note_refusal(const struct area *area)
{
    status_set(area, STANDBY, last_complaint());
    report("agent:refused", "area %u: %s\narea=%u", area->number, last_complaint(), area->number);
}

void stand_by(struct area *area)
{
    struct area *areas = area;
    int told = 0; /* a refusal is reported once */

    for (;;) {
        uint64_t total, unused, left;
        int64_t begin;
        int code, tries = areas->mirror ? LEASE_TRIES : 0;

        wait_for_need(area);
        begin = now_ms();
        read_swap(&total, &unused);
        code = areas->mirror ? attach_mirror(areas, told) : attach(area);
        if (code != OK) {
            if (!told)
                note_refusal(area);
            told = 1;
        } else {
            double seconds = (double)(now_ms() - begin) / 1000;

            told = 0;
            read_swap(&total, &left);
            left = left > area->export.size ? left - area->export.size : 0;
            status_set(area, ATTACHED, "");
            if (areas->mirror) {
                area = mirror_divide(areas);
                if (area->leg) {
                    status_open(area, ATTACHED);
                    hold(area);
                }
            }
            complain(OK, "/dev/%s, area %u, attached after %.2f s", area->device, area->number,
                     seconds);
            report("agent:grown",
                   "area %u, %llu MiB, attached in %.2f s: %llu MiB of swap were free, then %llu\n"
                   "device=/dev/%s\narea=%u\nsize=%llu\nseconds=%.2f\nfree=%llu\nleft=%llu",
                   area->number, (unsigned long long)(area->export.size >> 20), seconds,
                   (unsigned long long)(unused >> 20), (unsigned long long)(left >> 20),
                   area->device, area->number, (unsigned long long)area->export.size, seconds,
                   (unsigned long long)unused, (unsigned long long)left);
            hold(area);
            if (areas->mirror) {
                mirror_end(areas);
                status_close(&areas[1]);
                status_close(area);
                area = areas;
                status_open(area, STANDBY);
            }
            status_set(area, STANDBY, "");
            complain(OK, "/dev/%s, area %u, is not needed any more", area->device, area->number);
            report("agent:returned", "area %u is not needed any more\ndevice=/dev/%s\narea=%u",
                   area->number, area->device, area->number);
        }
        /* A failure needs no report: a later lease ends this one. A leg alone takes room from others, and
         * its connections have ended in a moment. */
        while ((tries-- > 0 || !is_needed(area)) && end_leases(areas) != OK)
            pause_for(LONGEST_PAUSE_MS);
        if (code != OK)
            pause_for(code == CANNOT_CONNECT ? LONGEST_PAUSE_MS : REFUSED_PAUSE_MS);
    }
}
