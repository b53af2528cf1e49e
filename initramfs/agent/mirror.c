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
#include "report.h"
#include "say.h"
#include "session.h"
#include "settle.h"
#include "types.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t processes[LEGS]; /* of a further area's legs */

static void close_legs(const struct area *legs, int code)
{
    for (int at = 0; at < LEGS && code != OK; at++)
        close_sessions(legs[at].fds, legs[at].connections);
}

int mirror_open(struct area *legs)
{
    const char *spare = legs[1].target.host;
    int codes[LEGS], code;

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
    code = codes[0] == OK || codes[1] == CANNOT_CONNECT ? codes[1] : codes[0];
    if (code == OK && legs[0].export.size != legs[1].export.size)
        code = complain(REFUSED, "mirror: the two servers grant different sizes");
    else if (legs->number == 1 && (codes[0] == OK || codes[1] == OK))
        code = OK;
    close_legs(legs, code);
    return code;
}

int mirror_start(struct area *legs)
{
    struct area *there = &legs[!legs[0].export.size], *other = &legs[there == legs];
    int code = md_start(legs, there->export.size);

    snprintf(there->device, sizeof there->device, MD_DEVICE, there->number - 1);
    if (code == OK) {
        code = make_swap(there);
        if (code != OK)
            md_stop();
    }
    close_legs(legs, code);
    strcpy(other->device, there->device);
    other->export.size = there->export.size;
    return code;
}

struct area *mirror_divide(struct area *legs)
{
    int mine = LEGS, parent = 1; /* the number of this process's area */

    if (legs->number == 1) {
        mine = 0;
    } else {
        legs[LEGS] = legs[0];
        legs[LEGS].leg = 0;
        legs[LEGS].index = NO_DEVICE;
        legs[LEGS].connections = 0;
    }
    for (int at = mine ? 0 : 1; at < LEGS && parent; at++) {
        processes[at] = fork();
        if (processes[at] == 0) {
            parent = 0;
            mine = at;
        } else if (processes[at] < 0 && mine) {
            area_leave(&legs[LEGS]); /* a leg without a process would not come back */
        }
    }
    for (int at = 0; at < LEGS; at++)
        for (unsigned fd = 0; fd < legs[at].connections && at != mine; fd++)
            close(legs[at].fds[fd]);
    if (!parent) {
        forget_reports();
        keep_in_ram();
        device_open();
    }
    return &legs[mine];
}

void mirror_end(struct area *legs)
{
    md_lock();
    for (int at = 0; at < LEGS; at++) {
        if (processes[at] > 0) {
            kill(processes[at], SIGKILL);
            waitpid(processes[at], NULL, 0);
        }
        area_move(&legs[at], md_host(&legs[at]));
    }
    md_stop();
}
