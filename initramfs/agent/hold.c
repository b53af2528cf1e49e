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

/* Pauses between tries are doubled from here each time, up to LONGEST_PAUSE_MS. */
#define FIRST_PAUSE_MS 100
#define LOOK_MS 1000 /* at an area that might not be needed any more */

/* xorshift64 */
static unsigned chance(unsigned below)
{
    static uint64_t random_state;

    if (!random_state) {
        memcpy(&random_state, (const void *)getauxval(AT_RANDOM), sizeof random_state);
        random_state |= 1;
    }
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
    int first = area->number == 1;

    for (;;) {
        for (unsigned at = 0; at < count; at++)
            waits[at] = (struct pollfd){.fd = area->fds[at], .events = POLLRDHUP};
        waits[count] = (struct pollfd){.fd = area->leaving, .events = POLLIN};
        if (!await(waits, count + 1, first ? FOREVER : now_ms() + LOOK_MS))
            leave_if_idle(area);
        else if (waits[count].revents && area_stop(area) == OK)
            return 0;
        else if (has_ended(area, waits, why, room))
            return 1;
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

int fresh_lease(struct area *area)
{
    static char token[MAX_TOKEN + 1];
    char answer[512];
    const char *found;
    int code = http_ask("GET", &area->lease, answer, sizeof answer);

    if (code != OK)
        return code;
    found = strstr(answer, " token=");
    if (strncmp(answer, "size=", 5) != 0 || !found) {
        const char *why = strncmp(answer, "refused=", 8) == 0 ? answer + 8 : answer;

        return complain(REFUSED, "no lease: %.*s", (int)strcspn(why, "\r\n"), why);
    }
    snprintf(token, sizeof token, "%.*s", (int)strcspn(found + 7, " \r\n"), found + 7);
    explicit_bzero(answer, sizeof answer);
    area->target.token = token;
    return OK;
}

void pause_for(unsigned length)
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
    char why[MAX_TEXT];

    report("agent:attached",
           "holds /dev/%s, %u connections\ndevice=/dev/%s\narea=%u\ntimeout=%u\npatience=%u",
           area->device, area->connections, area->device, area->number, area->target.timeout,
           area->patience);
    while (watch(area, why, sizeof why)) {
        int64_t lost = now_ms();
        double seconds;
        int same;

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
