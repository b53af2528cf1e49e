/* The state that `agent status` shows: one page of a file for each agent of this PC, mapped by the
 * agent and by `agent status`.
 *
 * The agent writes to the mapping, because it must never wait for a file: a page of a tmpfs can be
 * swapped out, a locked page cannot.
 */
#include "status.h"
#include "agent.h"
#include "report.h"
#include "say.h"
#include "types.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef STATUS_FILE /* tests have one of their own */
#define STATUS_FILE "/run/agent.status"
#endif
#define AGENTS 8 /* the most that are shown */

struct status {
    uint32_t sequence; /* odd while it changes */
    int32_t pid;
    enum state state;
    uint32_t connections, losses;
    uint64_t size;
    int64_t since, longest; /* ms; `longest` is of the losses that ended */
    char device[24], server[24], export[MAX_WIRE_NAME + 1], generation[GENERATION_DIGITS + 1];
    char reason[MAX_TEXT];
};

union page {
    struct status status;
    char bytes[PAGE];
};

_Static_assert(sizeof(union page) == PAGE, "the status is one page");

static const char *const names[] = {"attached", "lost", "failed", "standby"};

static struct status nobody; /* the agent's own, if the file cannot be made */
static struct status *status = &nobody;
static union page *all; /* of all agents; NULL without the file */

static void describe(const struct area *area)
{
    snprintf(status->device, sizeof status->device, "%s", area->device);
    snprintf(status->server, sizeof status->server, "%s:%s", area->target.host, area->target.port);
    snprintf(status->export, sizeof status->export, "%s", area->target.export);
    memcpy(status->generation, area->export.generation, sizeof status->generation);
    status->connections = area->connections;
    status->size = area->export.size;
}

/* Return the area's page in the file. Further areas have the last pages, and the second legs of their
 * mirrors those before. Device numbers differ, but a leg of a mirror may not have a device yet. */
static unsigned place_of(const struct area *area)
{
    if (area->number > 1)
        return area->leg == LEGS ? area->number : AGENTS + 1 - area->number;
    return area->leg ? (unsigned)area->leg - 1 : area->index % AGENTS;
}

void status_watch(void)
{
    int fd = open(STATUS_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0 || ftruncate(fd, AGENTS * PAGE) < 0 ||
        (all = mmap(NULL, AGENTS * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
        complain(OK, "%s: %s; 'agent status' shows nothing", STATUS_FILE, strerror(errno));
        all = NULL;
    }
    if (fd >= 0)
        close(fd);
}

void status_open(const struct area *area, enum state state)
{
    if (!all)
        status_watch();
    if (all)
        status = &all[place_of(area)].status;
    status->state = state;
    status->pid = getpid();
    status->since = now_ms();
    describe(area);
}

void status_close(const struct area *area)
{
    struct status *other = all ? &all[place_of(area)].status : &nobody;

    other->pid = 0;
    other->sequence &= ~1u; /* it may have been killed while it wrote */
}

int status_in_use(unsigned number)
{
    const struct status *other = all ? &all[AGENTS + 1 - number].status : &nobody;

    return number == 1 || (other->pid && other->state != STANDBY);
}

void status_set(const struct area *area, enum state state, const char *reason)
{
    int64_t now = now_ms();
    int changed = state != status->state;

    __atomic_fetch_add(&status->sequence, 1, __ATOMIC_SEQ_CST);
    if (state == LOST && changed)
        status->losses++;
    if (state == ATTACHED && status->state != STANDBY && now - status->since > status->longest)
        status->longest = now - status->since;
    if (changed && state != FAILED) /* `since` stays the time of the loss */
        status->since = now;
    status->state = state;
    snprintf(status->reason, sizeof status->reason, "%s", reason);
    describe(area);
    __atomic_fetch_add(&status->sequence, 1, __ATOMIC_SEQ_CST);
}

/* One more agent writes meanwhile. Each number is read at once: no loss lasts for 2^32 ms. */
void status_losses(unsigned *losses, unsigned *longest)
{
    *losses = *longest = 0;
    for (unsigned place = 0; place < AGENTS && all; place++) {
        const struct status *other = &all[place].status;
        int lost = other->state == LOST || other->state == FAILED;
        unsigned lasts = (unsigned)(lost ? now_ms() - other->since : 0);

        lasts = lasts > (unsigned)other->longest ? lasts : (unsigned)other->longest;
        *losses += other->losses;
        *longest = lasts > *longest ? lasts : *longest;
    }
}

static int read_status(int fd, unsigned place, struct status *copy)
{
    const struct status *page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, place * PAGE);

    if (page == MAP_FAILED)
        return 0;
    do {
        memcpy(copy, page, sizeof *copy);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    } while (copy->sequence % 2 || copy->sequence != page->sequence);
    return copy->pid != 0;
}

static int show(const struct status *copy)
{
    double since = (double)(now_ms() - copy->since) / 1000;
    double longest = (double)copy->longest / 1000;

    if (kill(copy->pid, 0) < 0 && errno == ESRCH) {
        dprintf(1, "the agent has ended: swap works until its server is lost\nstate=gone\n");
        return NOT_ATTACHED;
    }
    if (copy->state == STANDBY) {
        dprintf(1, "a further area stands by for %.1f s%s%s\n", since, *copy->reason ? "; " : "",
                copy->reason);
        dprintf(1, "state=standby\nseconds=%.1f\nexport=%s\npid=%d\n", since, copy->export,
                copy->pid);
        return OK;
    }
    dprintf(1, "swap %s for %.1f s: /dev/%s, %llu MiB of %s%s%s\n", names[copy->state], since,
            copy->device, (unsigned long long)(copy->size >> 20), copy->server, *copy->reason ? "; " : "",
            copy->reason);
    dprintf(1, "state=%s\nseconds=%.1f\ndevice=/dev/%s\nsize=%llu\nconnections=%u\n",
            names[copy->state], since, copy->device, (unsigned long long)copy->size, copy->connections);
    dprintf(1, "server=%s\nexport=%s\ngeneration=%s\nlosses=%u\nlongest_loss=%.1f\npid=%d\n",
            copy->server, copy->export, copy->generation, copy->losses, longest, copy->pid);
    return copy->state == ATTACHED ? OK : NOT_ATTACHED;
}

int status_show(void)
{
    int fd = open(STATUS_FILE, O_RDONLY | O_CLOEXEC);
    struct status copy;
    int code = USAGE;

    for (unsigned place = 0; place < AGENTS && fd >= 0; place++)
        if (read_status(fd, place, &copy)) {
            int shown = show(&copy);

            code = code == NOT_ATTACHED ? code : shown;
        }
    if (code == USAGE)
        dprintf(2, "no agent holds swap on this PC\n");
    return code;
}
