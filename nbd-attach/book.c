/* The book of what is attached: one page of a file for each device, /run/nbd-attach/nbdN.
 *
 * The process that holds the device has the page mapped, and writes to memory alone (agent/status.c says
 * why). It has the file locked too. So nobody takes another process with its number for it.
 */
#include "book.h"
#include "agent.h"
#include "report.h"
#include "say.h"
#include "status.h"
#include "types.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "/run/nbd-attach"
#define LAYOUT 1 /* raise it if `struct record` changes */
#define LOOK_MS 100
#define HOST_AND_PORT 24

struct record {
    uint32_t layout, sequence; /* `sequence` is odd while the record changes */
    int32_t pid;
    enum state state;
    int32_t use;
    uint32_t connections, losses, timeout, patience;
    uint64_t size;
    int64_t since, longest; /* ms; `longest` is of the losses that ended */
    char device[16], server[HOST_AND_PORT], export[MAX_WIRE_NAME + 1];
    char generation[GENERATION_DIGITS + 1], reason[MAX_TEXT];
};

_Static_assert(sizeof(struct record) <= PAGE, "a record is one page");

static const char *const states[] = {"attached", "lost", "failed", "standby"};
static const char *const uses[] = {"swap", "read-only", "disk"};

static struct record nobody; /* this process's own, if the file cannot be made */
static struct record *record = &nobody;

static void path_of(const char *device, char *path, size_t room)
{
    snprintf(path, room, FOLDER "/%s", device);
}

static void describe(const struct area *area)
{
    const struct target *target = &area->target;

    snprintf(record->device, sizeof record->device, "%s", area->device);
    snprintf(record->server, sizeof record->server, "%s:%s", target->host, target->port);
    snprintf(record->export, sizeof record->export, "%s", target->export);
    memcpy(record->generation, area->export.generation, sizeof record->generation);
    record->use = area->use;
    record->connections = area->connections;
    record->timeout = target->timeout;
    record->patience = area->patience;
    record->size = area->export.size;
}

void status_open(const struct area *area, enum state state)
{
    char path[64];
    void *page = MAP_FAILED;
    int fd;

    path_of(area->device, path, sizeof path);
    mkdir(FOLDER, 0755);
    unlink(path); /* of a process that was killed */
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && ftruncate(fd, PAGE) == 0)
        page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        complain(OK, "%s: %s; nbd-attach --status shows nothing", path, strerror(errno));
    else
        record = page;
    record->pid = getpid();
    record->state = state;
    record->since = now_ms();
    describe(area);
    record->layout = LAYOUT;
}

void status_set(const struct area *area, enum state state, const char *reason)
{
    int64_t now = now_ms();
    int changed = state != record->state;

    __atomic_fetch_add(&record->sequence, 1, __ATOMIC_SEQ_CST);
    if (state == LOST && changed)
        record->losses++;
    if (state == ATTACHED && changed && now - record->since > record->longest)
        record->longest = now - record->since;
    if (changed && state != FAILED) /* `since` stays the time of the loss */
        record->since = now;
    record->state = state;
    snprintf(record->reason, sizeof record->reason, "%s", reason);
    describe(area);
    __atomic_fetch_add(&record->sequence, 1, __ATOMIC_SEQ_CST);
}

int book_failed(void)
{
    return record->state == FAILED;
}

void book_close(void)
{
    char path[64];

    path_of(record->device, path, sizeof path);
    unlink(path);
}

/* Copy the page of `device`. Return whether there is one; `*held`: a process holds it. */
static int read_record(const char *device, struct record *copy, int *held)
{
    char path[64];
    const struct record *page = MAP_FAILED;
    struct stat found;
    int fd;

    path_of(device, path, sizeof path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &found) == 0 && found.st_size == PAGE)
        page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    *held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0;
    if (fd >= 0)
        close(fd);
    if (page == MAP_FAILED)
        return 0;
    do {
        memcpy(copy, page, sizeof *copy);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    } while (copy->sequence % 2 || copy->sequence != page->sequence);
    munmap((void *)(uintptr_t)page, PAGE);
    return copy->layout == LAYOUT;
}

/* Print `text` as a string of JSON. */
static void put_json(const char *name, const char *text)
{
    dprintf(1, ", \"%s\": \"", name);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            dprintf(1, "\\%.*s", 1, text);
        else if ((unsigned char)*text < ' ')
            dprintf(1, "\\u00%02x", (unsigned)*text);
        else
            dprintf(1, "%.*s", 1, text);
    }
    dprintf(1, "\"");
}

static void show_json(const struct record *copy, const char *state, double seconds, int first)
{
    dprintf(1, "%s{\"device\": \"/dev/%s\"", first ? "" : ",\n ", copy->device);
    put_json("state", state);
    dprintf(1, ", \"seconds\": %.1f", seconds);
    put_json("use", uses[copy->use]);
    put_json("server", copy->server);
    put_json("export", copy->export);
    put_json("generation", copy->generation);
    dprintf(1, ", \"size\": %llu, \"connections\": %u, \"timeout\": %u, \"patience\": %u",
            (unsigned long long)copy->size, copy->connections, copy->timeout, copy->patience);
    dprintf(1, ", \"losses\": %u, \"longest_loss\": %.1f, \"pid\": %d", copy->losses,
            (double)copy->longest / 1000, copy->pid);
    put_json("reason", copy->reason);
    dprintf(1, "}");
}

static void show_line(const struct record *copy, const char *state, double seconds)
{
    dprintf(1, "/dev/%s %s for %.1f s: %s, %llu MiB of %s/%s, %u losses, longest %.1f s%s%s\n",
            copy->device, state, seconds, uses[copy->use], (unsigned long long)(copy->size >> 20),
            copy->server, copy->export, copy->losses, (double)copy->longest / 1000,
            *copy->reason ? "; " : "", copy->reason);
}

int book_show(const char *device, int json)
{
    DIR *folder = opendir(FOLDER);
    struct dirent *entry;
    unsigned shown = 0;
    int code = OK;

    if (json)
        dprintf(1, "[");
    while (folder && (entry = readdir(folder))) {
        struct record copy;
        int held;

        if (*entry->d_name == '.' || (device && strcmp(device, entry->d_name) != 0) ||
            !read_record(entry->d_name, &copy, &held))
            continue;
        double seconds = (double)(now_ms() - copy.since) / 1000;
        const char *state = held ? states[copy.state] : "gone";

        if (json)
            show_json(&copy, state, seconds, !shown);
        else
            show_line(&copy, state, seconds);
        if (!held || copy.state != ATTACHED)
            code = NOT_ATTACHED;
        shown++;
    }
    if (json)
        dprintf(1, "]\n");
    else if (!shown)
        dprintf(1, "nothing is attached\n");
    return shown || !device ? code : NOT_ATTACHED;
}

int book_detach(const char *device)
{
    struct record before, now;
    int held;

    if (!read_record(device, &before, &held) || !held)
        return complain(NOT_ATTACHED, "/dev/%s is not held by nbd-attach: see nbd-attach --status",
                        device);
    if (kill(before.pid, SIGTERM) < 0)
        return complain(NOT_ATTACHED, "/dev/%s: process %d cannot be told: %s", device, before.pid,
                        strerror(errno));
    for (;;) {
        wait_until(now_ms() + LOOK_MS);
        if (!read_record(device, &now, &held) || !held)
            return OK;
        if (now.sequence != before.sequence && now.state != LOST && *now.reason)
            return complain(NOT_ATTACHED, "/dev/%s stays attached: %s", device, now.reason);
        if (now.state == LOST)
            return complain(NOT_ATTACHED,
                            "/dev/%s has lost its server: %s; it is detached when the server is back, "
                            "or detach it again after %u s", device, now.reason, now.patience);
    }
}
