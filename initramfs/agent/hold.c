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
#include "agent.h"

#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* Pauses between tries, in milliseconds, doubled each time. A room of 60 PCs loses its server in one
 * moment: each pause is between half of its length and the whole, by chance. */
#define FIRST_PAUSE_MS 100
#define LONGEST_PAUSE_MS 1000
#define REFUSED_PAUSE_MS 10000 /* only the operator can change that, and each try is logged */

static uint64_t random_state;

/* xorshift64 */
static unsigned chance(unsigned below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state % below);
}

uint64_t next_set(void)
{
    static uint64_t last;
    uint64_t now = (uint64_t)now_ms();

    last = now > last ? now : last + 1;
    return last;
}

/* Waits until a connection has ended; says which and why. */
static void watch(const struct area *area, char *why, size_t room)
{
    struct pollfd waits[MAX_CONNECTIONS + 1];

    for (unsigned at = 0; at < area->connections; at++)
        waits[at] = (struct pollfd){.fd = area->fds[at], .events = POLLRDHUP};
    while (!await(waits, area->connections, FOREVER))
        ;
    for (unsigned at = 0; at < area->connections; at++) {
        int error = 0;
        socklen_t length = sizeof error;

        if (!waits[at].revents)
            continue;
        getsockopt(area->fds[at], SOL_SOCKET, SO_ERROR, &error, &length);
        snprintf(why, room, "connection %u of %u: %s", at + 1, area->connections,
                 error ? strerror(error) : "closed, or no answer in time");
        return;
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

static int attach_again(struct area *area)
{
    struct export found;
    int fds[MAX_CONNECTIONS];
    unsigned count = area->connections;
    int code = open_sessions(&area->target, next_set(), fds, &count, &found);

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
    struct sysinfo info;

    sysinfo(&info);
    return (unsigned long)((uint64_t)(info.totalswap - info.freeswap) * info.mem_unit >> 20);
}

static void fail(const struct area *area)
{
    unsigned long out = swapped_mib();

    report("failed:swap",
           "no server for %u s: %lu MiB that were out are lost, programs that need them end\n"
           "device=/dev/%s\nswapped_mib=%lu\nreason=%s",
           area->patience, out, area->device, out, last_complaint());
    status_set(area, FAILED, last_complaint());
    complain(OK, "/dev/%s: no server for %u s: %lu MiB that were out are lost", area->device,
             area->patience, out);
}

/* Asks for a fresh lease; its token is the area's from then on. */
static int fresh_lease(struct area *area)
{
    static char token[MAX_TOKEN + 1];
    char answer[512];
    const char *found;
    int code = http_get(&area->lease, answer, sizeof answer);

    if (code != OK)
        return code;
    found = strstr(answer, " token=");
    if (strncmp(answer, "size=", 5) != 0 || !found)
        return complain(REFUSED, "no fresh lease: %.*s", (int)strcspn(answer, "\r\n"), answer);
    snprintf(token, sizeof token, "%.*s", (int)strcspn(found + 7, " \r\n"), found + 7);
    explicit_bzero(answer, sizeof answer);
    area->target.token = token;
    return OK;
}

/* Between half of `length` and all of it. */
static void pause_for(unsigned length)
{
    struct pollfd nothing[1];

    await(nothing, 0, now_ms() + length / 2 + chance(length / 2));
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
    if (code != OK)
        return code;
    for (;;) {
        code = area_open(area);
        if (code == OK)
            code = area_start(area);
        if (code == OK)
            return OK;
        pause_for(REFUSED_PAUSE_MS);
        if (code == REFUSED)
            fresh_lease(area);
    }
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
    int64_t end = lost + (int64_t)area->patience * 1000;
    unsigned pause = FIRST_PAUSE_MS;
    int refused = 0, failed = 0, code;

    while ((code = attach_again(area)) != OK) {
        unsigned length = code == CANNOT_CONNECT ? pause : REFUSED_PAUSE_MS;

        if (code != CANNOT_CONNECT && !refused) {
            note_refusal(area, failed ? FAILED : LOST);
            refused = 1;
        }
        if (failed && code == REFUSED && *area->lease.path && renew(area) == OK)
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
    return 1;
}

void hold(struct area *area)
{
    memcpy(&random_state, (const void *)getauxval(AT_RANDOM), sizeof random_state);
    random_state |= 1;
    report("agent:attached", "holds /dev/%s, %u connections\ndevice=/dev/%s\ntimeout=%u\npatience=%u",
           area->device, area->connections, area->device, area->target.timeout, area->patience);
    for (;;) {
        char why[MAX_TEXT];
        int64_t lost;
        double seconds;
        int same;

        watch(area, why, sizeof why);
        lost = now_ms();
        shut_down(area);
        status_set(area, LOST, why);
        complain(OK, "/dev/%s lost its server, %s", area->device, why);
        report("agent:lost", "%s\ndevice=/dev/%s", why, area->device);
        same = recover(area, lost);
        seconds = (double)(now_ms() - lost) / 1000;
        status_set(area, ATTACHED, "");
        complain(OK, "/dev/%s %s after %.2f s", area->device, same ? "attached again" : "begun anew", seconds);
        report(same ? "agent:reattached" : "agent:renewed", "after %.2f s\ndevice=/dev/%s\nseconds=%.2f",
               seconds, area->device, seconds);
    }
}
