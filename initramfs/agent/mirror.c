/* One area on two servers: a mirror by the kernel's md. Further servers stand in for those that do not
 * answer or refuse, in the seat's own order.
 *
 * Each leg has a process of its own, so that a silent server never delays the other leg. Both legs wait
 * for a lost server for up to swap.patience. A leg is dropped much earlier if the other leg has its
 * server: md then continues with one leg.
 *
 * A dropped leg has old pages and never returns with them. Its server, or one of the further ones, is
 * asked for a fresh lease, and md copies all pages.
 */
#include "mirror.h"
#include "agent.h"
#include "area.h"
#include "device.h"
#include "md.h"
#include "say.h"
#include "settle.h"
#include "types.h"

#include <string.h>
#include <unistd.h>

int mirror_open(struct area *legs)
{
    const char *spare = legs[1].target.host;
    int codes[LEGS];

    for (int at = 0; at < LEGS; at++) {
        legs[at].leg = at + 1;
        legs[at].index = NO_DEVICE;
        codes[at] = area_open(&legs[at]);
        while (codes[at] != OK && spare + strlen(spare) + 1 < legs->hosts_end) {
            spare += strlen(spare) + 1;
            area_move(&legs[at], spare);
            codes[at] = area_open(&legs[at]);
        }
        if (codes[at] != OK) {
            memset(legs[at].fds, -1, sizeof legs[at].fds);
            legs[at].export.size = 0;
        }
    }
    if (codes[0] != OK && codes[1] != OK)
        return codes[1] == CANNOT_CONNECT ? codes[1] : codes[0];
    if (codes[0] == OK && codes[1] == OK && legs[0].export.size != legs[1].export.size)
        return complain(REFUSED, "mirror: the two servers grant different sizes");
    return OK;
}

int mirror_start(struct area *legs)
{
    struct area *there = legs[0].export.size ? &legs[0] : &legs[1];
    int code = md_start(legs, there->export.size);

    strcpy(there->device, MD_DEVICE);
    if (code == OK)
        code = make_swap(there);
    if (code != OK)
        md_stop(legs);
    for (int at = 0; at < LEGS; at++) {
        strcpy(legs[at].device, there->device);
        legs[at].export.size = there->export.size;
    }
    return code;
}

struct area *mirror_divide(struct area *legs, char *name)
{
    int ours = fork() == 0;
    const struct area *other = &legs[!ours];

    for (unsigned at = 0; at < other->connections; at++)
        close(other->fds[at]);
    if (ours) { /* a child inherits no locked memory */
        settle(name);
        device_open();
    }
    return &legs[ours];
}
