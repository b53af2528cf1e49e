/* An export from its first connection to its end. */
#define _GNU_SOURCE /* pipe2 */
#include "area.h"
#include "agent.h"
#include "crypt.h"
#include "device.h"
#include "http.h"
#include "md.h"
#include "report.h"
#include "say.h"
#include "session.h"
#include "swap.h"
#include "types.h"
#include "url.h"
#include "verity.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONSOLE_OFF 6 /* klogctl(2) */
#define CONSOLE_ON 7

int fresh_lease(struct area *area)
{
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
    snprintf(area->fresh, sizeof area->fresh, "%.*s", (int)strcspn(found + 7, " \r\n"), found + 7);
    explicit_bzero(answer, sizeof answer);
    area->target.token = area->fresh;
    area->target.proven = 0;
    explicit_bzero(area->target.key, sizeof area->target.key);
    return OK;
}

void area_move(struct area *area, const char *host)
{
    area->target.host = host;
    area->target.token = "";
    inet_pton(AF_INET, host, &area->lease.server.sin_addr);
}

static int connect_area(struct area *area)
{
    return open_sessions(&area->target, next_set(), FOREVER, area->fds, &area->connections,
                         &area->export);
}

int area_open(struct area *area)
{
    int asks = *area->lease.path && !area->use, needed = !*area->target.token, code = OK;

    if (!asks || !needed) {
        code = connect_area(area);
        needed = code == REFUSED && area->target.unknown && area->target.token != area->fresh;
        /* The boot's token is dead. An agent that ended before it made swap took the key along, and may
         * have left its connections to the kernel: then the server takes this swap for one in use. */
        if (asks && needed) {
            complain(REFUSED, "this boot's token is dead: asking for a fresh lease");
            device_release(area->target.export);
        }
    }
    /* A token opens a lease only at the server that granted it. With two servers in front of one pool
     * the other one grants a lease if this one has no room, is drained, or sees that the other one has
     * the boot before. */
    for (int tries = 1 + area->either; asks && needed && tries; tries--) {
        code = fresh_lease(area);
        if (code == OK)
            code = connect_area(area);
        needed = code != OK && other_server(&area->lease);
    }
    if (code == OK && area->use != FOR_ROOT && area->export.flags & FLAG_READ_ONLY) {
        close_sessions(area->fds, area->connections);
        return complain(BAD_PROTOCOL, "the export is read-only: a writable one is needed");
    }
    return code;
}

int make_swap(struct area *area)
{
    int code = area->cipher ? start_encryption(area) : OK;

    if (code != OK)
        return code;
    code = swap_on(area);
    if (code != OK && area->cipher)
        stop_encryption();
    return code;
}

int area_start(struct area *area)
{
    int code = area->leg ? md_join(area) : device_connect(area);

    if (code == OK && !area->leg) {
        snprintf(area->device, sizeof area->device, "nbd%u", area->index);
        code = !area->use ? make_swap(area) : area->blocks ? start_verification(area) : OK;
        if (code != OK)
            device_disconnect(area->index);
    }
    if (code != OK)
        close_sessions(area->fds, area->connections);
    return code;
}

/* swapoff(2) has its own process for two reasons. The OOM killer first kills a process in swapoff(2),
 * whatever its oom_score_adj. And a server that is lost meanwhile has to be attached again. The fork may
 * wait for memory: nothing waits for this swap any more, or enough of it is free. */
int area_leave(struct area *area)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return complain(KERNEL_REFUSED, "pipe: %s", strerror(errno));
    mknod(area->device, S_IFBLK | 0600, area->node);
    area->swapoff = fork();
    if (area->swapoff == 0)
        _exit(swapoff(area->device) < 0 ? errno : 0);
    close(ends[1]);
    if (area->swapoff < 0) {
        close(ends[0]);
        return complain(KERNEL_REFUSED, "fork: %s", strerror(errno));
    }
    area->leaving = ends[0];
    return OK;
}

static int swap_off(struct area *area)
{
    struct pollfd waits[2] = {{.events = POLLIN}};
    int status = 0, code = area->leaving < 0 ? area_leave(area) : OK;

    if (code != OK)
        return code;
    waits[0].fd = area->leaving;
    await(waits, 1, FOREVER);
    waitpid(area->swapoff, &status, 0);
    close(area->leaving);
    area->leaving = -1;
    if (status)
        return complain(KERNEL_REFUSED, "swapoff /dev/%s: %s", area->device,
                        WIFEXITED(status) ? strerror(WEXITSTATUS(status)) : "killed, out of memory");
    return OK;
}

/* Turn swap off and release its devices. Nothing waits for this swap any more. */
static int stop_swap(struct area *area)
{
    int code;

    /* The kernel would log each page that it cannot read to the console. */
    klogctl(CONSOLE_OFF, NULL, 0);
    code = swap_off(area);
    klogctl(CONSOLE_ON, NULL, 0);
    if (code != OK)
        return code;
    if (area->cipher || area->index == NO_DEVICE)
        unlink(area->device); /* made by area_leave; the kernel does not remove it */
    if (area->cipher)
        stop_encryption();
    if (area->index != NO_DEVICE)
        device_disconnect(area->index);
    return OK;
}

int area_stop(struct area *area)
{
    int code = area->leg ? md_drop(area) : stop_swap(area);

    for (unsigned at = 0; at < area->connections && code == OK; at++)
        close(area->fds[at]);
    return code;
}
