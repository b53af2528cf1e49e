/* Two areas as one: the kernel's md, RAID level 1, over their NBD devices (uapi/linux/raid/md_u.h,
 * drivers/md/md.c). Without a superblock: like all of swap the array ends with the PC's memory.
 *
 * Each leg has a process of its own, so that a server that does not answer holds nothing up for the
 * other one. Both wait for a lost server as long as swap may (swap.patience), but a leg is given up
 * much sooner if the other has its server: then md goes on with that one alone. What they must agree
 * about is in a page that they share: only one leg may be missing. md would take the array for broken
 * for good if it was asked to do without the last one.
 *
 * A leg that was given up is behind. It never comes back with the pages that it had: its server is
 * asked for a fresh lease, and md copies everything.
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
    int codes[LEGS];

    for (int at = 0; at < LEGS; at++) {
        legs[at].leg = at + 1;
        legs[at].index = NO_DEVICE;
        codes[at] = area_open(&legs[at]);
        if (codes[at] != OK) {
            memset(legs[at].fds, -1, sizeof legs[at].fds);
            legs[at].export.size = 0;
        }
    }
    if (codes[0] != OK && codes[1] != OK)
        return codes[1] == CANNOT_CONNECT ? codes[1] : codes[0];
    if (codes[0] == OK && codes[1] == OK && legs[0].export.size != legs[1].export.size)
        return complain(REFUSED, "the two servers of the mirror grant different sizes");
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
    if (ours) { /* what is locked is not inherited */
        settle(name);
        device_open();
    }
    return &legs[ours];
}
