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
#define _GNU_SOURCE /* POLLRDHUP */
#include "hold.h"
#include "agent.h"
#include "area.h"
#include "device.h"
#include "md.h"
#include "need.h"
#include "report.h"
#include "say.h"
#include "session.h"
#include "settle.h"
#include "status.h"
#include "types.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Pauses between tries are doubled from here each time, up to LONGEST_PAUSE_MS. */
#define FIRST_PAUSE_MS 100
#define LOOK_MS 1000 /* at an area that might not be needed any more */

/* Whether a connection has ended; says which and why. */
static int has_ended(const struct area *area, const struct pollfd *waits, char *why, size_t room)
{
    for (unsigned at = 0; at < area->connections; at++) {
        int error = 0;
        socklen_t length = sizeof error;

        if (!waits[at].revents)
            continue;
        getsockopt(area->fds[at], SOL_SOCKET, SO_ERROR, &error, &length);
        snprintf(why, room, "connection %u of %u: %s", at + 1, area->connections,
                 error ? strerror(error) : "closed, or no answer in time");
        return 1;
    }
    return 0;
}

/* Waits until a connection has ended (1), or the area was let go (0). */
static int watch(struct area *area, char *why, size_t room)
{
    struct pollfd waits[MAX_CONNECTIONS + 2];
    unsigned count = area->connections;

    for (;;) {
        int64_t look = area->number > 1 ? now_ms() + LOOK_MS : md_look(area);

        for (unsigned at = 0; at < count; at++)
            waits[at] = (struct pollfd){.fd = area->fds[at], .events = POLLRDHUP};
        waits[count] = (struct pollfd){.fd = area->leaving, .events = POLLIN};
        if (!await(waits, count + 1, look)) {
            if (area->number > 1)
                leave_if_idle(area);
        } else if (waits[count].revents && area_stop(area) == OK) {
            return 0;
        } else if (has_ended(area, waits, why, room)) {
            return 1;
        }
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

static int attach_again(struct area *area, int64_t end)
{
    struct export found;
    int fds[MAX_CONNECTIONS];
    unsigned count = area->connections;
    int code = open_sessions(&area->target, next_set(), end, fds, &count, &found);

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
    uint64_t total, unused;

    read_swap(&total, &unused);
    return (unsigned long)((total - unused) >> 20);
}

static void fail(const struct area *area)
{
    unsigned long out = swapped_mib();

    if (area->root) {
        report("failed:root", "no server for %u s: reading programs and files fails\n"
               "device=/dev/%s\nreason=%s", area->patience, area->device, last_complaint());
        return;
    }
    report("failed:swap",
           "no server for %u s: %lu MiB that were out are lost, programs that need them end\n"
           "device=/dev/%s\nswapped_mib=%lu\nreason=%s",
           area->patience, out, area->device, out, last_complaint());
    status_set(area, FAILED, last_complaint());
    complain(OK, "/dev/%s: no server for %u s: %lu MiB that were out are lost", area->device,
             area->patience, out);
}

/* Tries until there is a new area. */
static void begin_anew(struct area *area)
{
    for (;;) {
        int code = area_open(area);

        if (code == OK)
            code = area_start(area);
        if (code == OK)
            return;
        pause_for(REFUSED_PAUSE_MS);
        if (code == REFUSED && *area->lease.path)
            area->target.token = ""; /* a fresh lease will have another */
    }
}

/* Once the area has failed and its server says that the pages are not there: a new one in its
 * place. What was out is lost in any case; everything else can be swapped again. */
static int renew(struct area *area)
{
    int code;

    if (older_than(6, 0)) /* "mm/swapfile: unuse_pte can map random data if swap read fails" */
        return complain(REFUSED, "this kernel cannot turn a lost area off: boot again");
    code = fresh_lease(area);
    if (code == OK)
        code = area_stop(area);
    if (code == OK)
        begin_anew(area);
    return code;
}

/* A leg that the mirror goes on without: its pages are on the other one, and those here grow old. */
static int replace(struct area *leg)
{
    int code = area_stop(leg);

    if (code != OK)
        return code;
    complain(OK, "/dev/%s goes on without %s", leg->device, leg->target.host);
    report("agent:degraded", "the mirror goes on without %s:%s\ndevice=/dev/%s", leg->target.host,
           leg->target.port, leg->device);
    leg->target.token = "";
    begin_anew(leg);
    return OK;
}

/* Tells a refusal once. */
static void note_refusal(const struct area *area, enum state state)
{
    status_set(area, state, last_complaint());
    report("agent:refused", "%s\ndevice=/dev/%s", last_complaint(), area->device);
}

/* Tries until there is swap again: the kernel takes connections even after it has given the area
 * up. Returns whether it is the same swap. */
static int recover(struct area *area, int64_t lost)
{
    int64_t end = lost + (int64_t)area->patience * 1000, leg_end = lost + area->target.timeout * 1000;
    unsigned pause = FIRST_PAUSE_MS;
    int refused = 0, failed = 0, code;

    for (;;) {
        unsigned length;

        /* A leg is not given up later because its server is slow to refuse. */
        code = attach_again(area, area->leg && now_ms() < leg_end ? leg_end : FOREVER);
        if (code == OK)
            return 1;
        length = code == CANNOT_CONNECT ? pause : REFUSED_PAUSE_MS;
        if ((code == REFUSED || now_ms() >= leg_end) && md_may_drop(area) && replace(area) == OK)
            return 0;
        if (code != CANNOT_CONNECT && !refused) {
            note_refusal(area, failed ? FAILED : LOST);
            refused = 1;
        }
        if (failed && code == REFUSED && !area->leg && *area->lease.path && renew(area) == OK)
            return 0;
        if (!failed && now_ms() + length >= end) {
            struct pollfd nothing[1];

            await(nothing, 0, end);
            fail(area);
            failed = 1;
            continue;
        }
        pause_for(length);
        pause = pause * 2 > LONGEST_PAUSE_MS ? LONGEST_PAUSE_MS : pause * 2;
    }
}

void hold(struct area *area)
{
    char why[MAX_TEXT];

    if (area->index != NO_DEVICE)
        report("agent:attached",
               "holds /dev/%s of %s, %u connections\ndevice=/dev/%s\narea=%u\ntimeout=%u\npatience=%u",
               area->device, area->target.host, area->connections, area->device, area->number,
               area->target.timeout, area->patience);
    for (;;) {
        int64_t lost;
        double seconds;
        int same = 0, absent = area->index == NO_DEVICE;

        if (absent)
            snprintf(why, sizeof why, "it was not there when the PC started");
        else if (!watch(area, why, sizeof why))
            return;
        lost = now_ms();
        md_note(area, 1);
        shut_down(area);
        status_set(area, LOST, why);
        complain(OK, "/dev/%s lost %s, %s", area->device, area->target.host, why);
        report("agent:lost", "%s: %s\ndevice=/dev/%s", area->target.host, why, area->device);
        if (absent)
            begin_anew(area);
        else
            same = recover(area, lost);
        md_note(area, 0);
        seconds = (double)(now_ms() - lost) / 1000;
        status_set(area, ATTACHED, "");
        complain(OK, "/dev/%s %s after %.2f s", area->device, same ? "attached again" : "begun anew", seconds);
        report(same ? "agent:reattached" : "agent:renewed", "after %.2f s\ndevice=/dev/%s\nseconds=%.2f",
               seconds, area->device, seconds);
    }
}
