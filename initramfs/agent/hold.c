/* The resident part. Memory reclaim waits for it while a server is away.
 *
 * The agent learns of a connection's end by poll(2) on its own descriptor of the socket. The driver
 * shuts down the sockets that it drops, so poll(2) notices those too. (The driver also multicasts
 * NBD_CMD_LINK_DEAD, later and not always: poll(2) has noticed before.)
 *
 * Fencing: all connections are replaced together, as a new set. The server ends those of an older set,
 * with the requests that it had not read from them, before it answers. So no late request can
 * overwrite a page that the kernel sends again. This is why one lost connection ends all of them: the
 * kernel would send its requests again over the others before the server knows of the loss.
 */
#define _GNU_SOURCE /* POLLRDHUP */
#include "hold.h"
#include "agent.h"
#include "area.h"
#include "device.h"
#include "md.h"
#include "need.h"
#include "report.h"
#include "same.h"
#include "say.h"
#include "session.h"
#include "settle.h"
#include "status.h"
#include "types.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The pause between tries doubles from here up to LONGEST_PAUSE_MS. */
#define FIRST_PAUSE_MS 100
#define LOOK_MS 1000 /* between two checks whether a further area is still needed */

/* A set of connections has settled if it lives for longer than the timeout. The driver's timer looks
 * once a second, and the kernel sends at once all requests that waited. */
#define SETTLE_MS 2000

/* Without one answer the next try waits, doubled up to the second value. A server that is healthy again
 * should not be kept waiting for longer than a few seconds. */
#define UNANSWERED_PAUSE_MS 1000
#define LONGEST_UNANSWERED_MS 4000

/* A leg whose server leaves requests unanswered is dropped after this time: the other one may have the
 * same fault in this moment. It is tried again after 10 s, then after 20 s, and so on. */
#define GRACE_MS 500
#define REPLACE_MS 10000
#define LONGEST_REPLACE_MS 320000

/* The losses since the area had settled last. */
static struct {
    int64_t since;         /* the first loss */
    int64_t attached;      /* the last time that it was attached again */
    unsigned losses;
    enum ending ending;    /* of the last loss */
    unsigned pause;        /* ms before the next try */
    unsigned replace;      /* ms before a dropped leg is tried again */
    uint64_t handshake[MAX_CONNECTIONS]; /* bytes; whatever follows are answers */
} trouble;

static const char *const endings[] = {"no packet in time, or reset", "closed by the server",
                                      "closed, or no answer to a request in time",
                                      "no answer to a request in time"};

/* Return whether a connection has ended, and put its number and the reason into `why`. */
static int has_ended(const struct area *area, const struct pollfd *waits, char *why, size_t room)
{
    for (unsigned at = 0; at < area->connections; at++) {
        int error = 0;
        socklen_t length = sizeof error;

        if (!waits[at].revents)
            continue;
        trouble.ending = ending_of(area->fds[at], area->target.timeout);
        getsockopt(area->fds[at], SOL_SOCKET, SO_ERROR, &error, &length);
        snprintf(why, room, "connection %u of %u: %s", at + 1, area->connections,
                 error ? strerror(error) : endings[trouble.ending]);
        return 1;
    }
    return 0;
}

enum watched { DETACHED, ENDED, SETTLED };

/* Wait until a connection has ended, the area is detached, or the time `settles` has come. */
static enum watched watch(struct area *area, int64_t settles, char *why, size_t room)
{
    struct pollfd waits[MAX_CONNECTIONS + 2];
    unsigned count = area->connections;
    int may_leave = area->number > 1 && !area->leg;

    for (;;) {
        int64_t look = may_leave ? now_ms() + LOOK_MS : md_look(area);

        if (settles < look)
            look = settles;
        for (unsigned at = 0; at < count; at++)
            waits[at] = (struct pollfd){.fd = area->fds[at], .events = POLLRDHUP};
        waits[count] = (struct pollfd){.fd = area->leaving, .events = POLLIN};
        if (!await(waits, count + 1, look)) {
            if (now_ms() >= settles)
                return SETTLED;
            if (may_leave)
                leave_if_idle(area);
        } else if (waits[count].revents && area_stop(area) == OK) {
            return DETACHED;
        } else if (has_ended(area, waits, why, room)) {
            return ENDED;
        }
    }
}

static void shut_down(const struct area *area)
{
    for (unsigned at = 0; at < area->connections; at++)
        shutdown(area->fds[at], SHUT_RDWR);
}

static int attach_again(struct area *area, int64_t end)
{
    struct export found;
    int fds[MAX_CONNECTIONS];
    unsigned count = area->connections;
    int code = open_sessions(&area->target, next_set(), end, fds, &count, &found);

    if (code != OK)
        return code;
    code = check_same(area, &found, fds);
    if (code == OK && count != area->connections)
        code = complain(REFUSED, "the server allows one connection only");
    if (code != OK) {
        close_sessions(fds, count);
        return code;
    }
    for (unsigned at = 0; at < count; at++) {
        close(area->fds[at]);
        area->fds[at] = fds[at];
        trouble.handshake[at] = received_bytes(fds[at]);
    }
    code = device_reconnect(area);
    if (code != OK)
        shut_down(area); /* the kernel may have taken some of the sockets */
    return code;
}

/* Return the MiB of this PC's pages that are on swap. */
static unsigned long swapped_mib(void)
{
    uint64_t total, unused;

    read_swap(&total, &unused);
    return (unsigned long)((total - unused) >> 20);
}

/* Report that the patience is over and that requests fail now. */
static void fail(const struct area *area)
{
    unsigned long out = swapped_mib();

    if (area->use) {
        report(area->use == FOR_ROOT ? "failed:root" : "failed:keep",
               "not attached for %u s, %s: reading and writing files fails\n"
               "device=/dev/%s\nreason=%s", area->patience, last_complaint(), area->device,
               last_complaint());
        return;
    }
    report("failed:swap",
           "not attached for %u s, %s: %lu MiB of swapped pages are lost, programs that need them end\n"
           "device=/dev/%s\nswapped_mib=%lu\nreason=%s",
           area->patience, last_complaint(), out, area->device, out, last_complaint());
    status_set(area, FAILED, last_complaint());
    complain(OK, "/dev/%s: not attached for %u s: %lu MiB of swapped pages are lost", area->device,
             area->patience, out);
}

/* Have a leg that is not there ask the next of the mirror's servers. */
static void move_on(struct area *area)
{
    const char *host = md_next_host(area);

    if (host)
        area_move(area, host);
}

/* Try until a new area is attached: at the same server, or a leg at one server after the other. */
static void start_fresh(struct area *area)
{
    for (;;) {
        int code = area_open(area);

        if (code == OK)
            code = area_start(area);
        if (code == OK)
            return;
        pause_for(REFUSED_PAUSE_MS);
        move_on(area);
        if (code == REFUSED && *area->lease.path)
            area->target.token = ""; /* makes area_open ask for a fresh lease */
    }
}

/* Replace the area by a new one, after it failed and the server no longer has the pages. The swapped
 * pages are lost in any case; everything else can be swapped again. Return an exit code. */
static int renew(struct area *area)
{
    int code;

    if (older_than(6, 0)) /* "mm/swapfile: unuse_pte can map random data if swap read fails" */
        return complain(REFUSED, "Linux before 6.0 cannot turn a lost area off safely: boot again");
    code = fresh_lease(area);
    if (code == OK)
        code = area_stop(area);
    if (code == OK)
        start_fresh(area);
    return code;
}

/* Drop a leg, whose pages are on the other one too, and attach a new area in its place, after a pause if
 * the server does not `serve`. Return an exit code. */
static int replace(struct area *leg, int serves)
{
    int code = area_stop(leg);

    if (code != OK)
        return code;
    complain(OK, "/dev/%s continues without %s", leg->device, leg->target.host);
    report("agent:degraded", "the mirror continues without %s:%s\ndevice=/dev/%s", leg->target.host,
           leg->target.port, leg->device);
    leg->target.token = "";
    if (!serves) {
        trouble.replace = trouble.replace ? trouble.replace * 2 : REPLACE_MS;
        if (trouble.replace > LONGEST_REPLACE_MS)
            trouble.replace = LONGEST_REPLACE_MS;
        pause_for(trouble.replace);
        move_on(leg);
    }
    start_fresh(leg);
    return OK;
}

/* Report a refusal; the caller does so once. */
static void note_refusal(const struct area *area, enum state state)
{
    status_set(area, state, last_complaint());
    report("agent:refused", "%s\ndevice=/dev/%s", last_complaint(), area->device);
}

/* Try until swap works again: the kernel takes connections even after it failed requests. Return whether
 * the pages are the same. */
static int recover(struct area *area)
{
    int serves = trouble.losses == 1 && trouble.ending != UNANSWERED; /* it is only away */
    int64_t lost = now_ms(), end = lost + (int64_t)area->patience * 1000;
    int64_t leg_end = lost + area->target.timeout * 1000;
    unsigned pause = FIRST_PAUSE_MS;
    int refused = 0, failed = 0, code;

    if (!serves && area->leg) {
        wait_until(lost + GRACE_MS);
        if (md_may_drop(area) && replace(area, 0) == OK)
            return 0;
    }
    if (trouble.pause)
        pause_for(trouble.pause);
    /* A server that stands still takes connections, and would not say a word for STEP_MS. */
    if (area->target.other && trouble.ending != CLOSED)
        begin_with_other(&area->target);
    for (;;) {
        unsigned length, longest;

        /* A server that is slow to refuse must not delay the dropping of its leg. */
        code = attach_again(area, area->leg && now_ms() < leg_end ? leg_end : FOREVER);
        if (code == OK)
            return 1;
        /* A server that is drained refuses a leg for a moment, and takes it back if it was not dropped. */
        length = code == CANNOT_CONNECT || area->leg ? pause : REFUSED_PAUSE_MS;
        if ((code == REFUSED || now_ms() >= leg_end) && md_may_drop(area) && replace(area, 1) == OK)
            return 0;
        if (code != CANNOT_CONNECT && !refused) {
            note_refusal(area, failed ? FAILED : LOST);
            refused = 1;
        }
        if (failed && code == REFUSED && !area->leg && *area->lease.path && renew(area) == OK)
            return 0;
        if (!failed && now_ms() + length >= end) {
            wait_until(end);
            fail(area);
            failed = 1;
            continue;
        }
        pause_for(length);
        longest = code == CANNOT_CONNECT ? LONGEST_PAUSE_MS : REFUSED_PAUSE_MS;
        pause = pause * 2 > longest ? longest : pause * 2;
    }
}

/* Return whether the server has answered a request since the area was attached again. Linux counts the
 * end of the server's bytes (FIN) as one of them. */
static int has_answered(const struct area *area)
{
    for (unsigned at = 0; at < area->connections; at++)
        if (received_bytes(area->fds[at]) > trouble.handshake[at] + 1)
            return 1;
    return 0;
}

/* Count a loss. Repeated losses are told twice, and then when they are over. */
static void note_loss(const struct area *area, const char *why, int absent)
{
    double seconds = (double)(now_ms() - trouble.attached) / 1000;

    if (++trouble.losses == 1)
        trouble.since = now_ms();
    if (trouble.losses == 1 || absent || has_answered(area))
        trouble.pause = 0;
    else if (trouble.pause < LONGEST_UNANSWERED_MS)
        trouble.pause = trouble.pause ? trouble.pause * 2 : UNANSWERED_PAUSE_MS;
    status_set(area, LOST, why);
    if (trouble.losses == 1) {
        complain(OK, "/dev/%s lost %s, %s", area->device, area->target.host, why);
        report("agent:lost", "%s: %s\ndevice=/dev/%s", area->target.host, why, area->device);
    } else if (trouble.losses == 2) {
        complain(OK, "/dev/%s lost %s again, %.1f s after it was attached, %s", area->device,
                 area->target.host, seconds, why);
        report("agent:lost",
               "%s again, %.1f s after it was attached: %s; trying on, told when it lasts\n"
               "device=/dev/%s",
               area->target.host, seconds, why, area->device);
    }
}

/* Tell that the area is attached again, at the time `attached`. */
static void note_return(const struct area *area, int same)
{
    double seconds = (double)(trouble.attached - trouble.since) / 1000;
    const char *host = area->either ? area->target.host : "";

    status_set(area, ATTACHED, "");
    complain(OK, trouble.losses > 1 ? "/dev/%s %s after %.2f s, lost %u times"
                                    : "/dev/%s %s after %.2f s",
             area->device, same ? "attached again" : "attached as a new area", seconds,
             trouble.losses);
    report(same ? "agent:reattached" : "agent:renewed",
           "after %.2f s%s%s\ndevice=/dev/%s\nseconds=%.2f\nlosses=%u%s%s", seconds,
           *host ? ", by " : "", host, area->device, seconds, trouble.losses,
           *host ? "\nserver=" : "", host);
}

void hold(struct area *area)
{
    int64_t settles = FOREVER;
    char why[MAX_TEXT];

    memset(&trouble, 0, sizeof trouble); /* a further area was held before */
    if (area->index != NO_DEVICE)
        report("agent:attached",
               "holds /dev/%s of %s, %u connections\ndevice=/dev/%s\narea=%u\ntimeout=%u\npatience=%u",
               area->device, area->target.host, area->connections, area->device, area->number,
               area->target.timeout, area->patience);
    for (;;) {
        int same = 0, absent = area->connections && area->index == NO_DEVICE;
        enum watched now = ENDED;

        if (absent)
            snprintf(why, sizeof why, "it did not answer when the PC started");
        else
            now = watch(area, settles, why, sizeof why);
        if (now == DETACHED)
            return;
        if (now == SETTLED) {
            /* Only now: the other leg must not be dropped because of a server that takes connections
             * and serves nothing. */
            md_note(area, 0);
            if (trouble.losses > 1)
                note_return(area, 1);
            trouble.losses = 0;
            settles = FOREVER;
            continue;
        }
        if (md_is_whole(area))
            trouble.replace = 0;
        note_loss(area, why, absent);
        md_note(area, 1);
        shut_down(area);
        if (absent)
            start_fresh(area);
        else
            same = recover(area);
        trouble.attached = now_ms();
        settles = trouble.attached + area->target.timeout * 1000 + SETTLE_MS;
        if (trouble.losses == 1 || !same) {
            note_return(area, same);
            trouble.losses = same ? trouble.losses : 0;
        }
    }
}
