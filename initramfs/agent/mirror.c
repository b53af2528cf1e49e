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
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEVICE "md0"
#define NBD_MAJOR 43
#define LOOK_MS 500       /* between two looks at a copy under way */
#define RETRY_MS 100      /* until md has let a leg go */
#define LET_GO_MS 30000   /* the longest that takes */

/* The kernel's ABI, written out: musl's headers do not have it. */
struct array {
    int version[3];
    unsigned made;
    int level, kib, disks, raid_disks, minor, not_persistent;
    unsigned updated;
    int state, active_disks, working_disks, failed_disks, spare_disks, layout, chunk;
};

struct disk {
    int number, major, minor, raid_disk, state;
};

#define GET_ARRAY_INFO _IOR(9, 0x11, struct array)
#define ADD_NEW_DISK _IOW(9, 0x21, struct disk)
#define HOT_REMOVE_DISK _IO(9, 0x22)
#define SET_ARRAY_INFO _IOW(9, 0x23, struct array)
#define HOT_ADD_DISK _IO(9, 0x28)
#define SET_DISK_FAULTY _IO(9, 0x29)
#define RUN_ARRAY _IOW(9, 0x30, int[3])
#define STOP_ARRAY _IO(9, 0x32)
#define CLEAN (1 << 0)                    /* nothing to copy: both read as zeros */
#define ACTIVE_IN_SYNC (1 << 1 | 1 << 2)

static struct {
    int missing;      /* the leg that was given up, 1 or 2; 0: none */
    int lost[LEGS];   /* whether it has no server now */
} *shared;
static int md;

static int control(unsigned long request, const void *argument, const char *what)
{
    if (ioctl(md, request, argument) < 0)
        return complain(KERNEL_REFUSED, "mirror: %s: %s", what, strerror(errno));
    return OK;
}

/* The leg's device as md's ioctls want it (new_encode_dev; there are fewer than 256). */
static const void *device_of(const struct area *leg)
{
    return (const void *)(uintptr_t)(NBD_MAJOR << 8 | leg->index);
}

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

static int add_leg(struct area *leg)
{
    struct disk disk = {leg->leg - 1, NBD_MAJOR, 0, leg->leg - 1, ACTIVE_IN_SYNC};
    int code = device_connect(leg);

    disk.minor = (int)leg->index;
    return code == OK ? control(ADD_NEW_DISK, &disk, "adding a leg") : code;
}

static int assemble(struct area *legs, uint64_t size)
{
    struct array array = {.level = 1, .kib = (int)(size >> 10), .disks = LEGS, .raid_disks = LEGS,
                          .not_persistent = 1, .state = CLEAN};
    int code = control(SET_ARRAY_INFO, &array, "making the array");

    for (int at = 0; at < LEGS && code == OK; at++) {
        if (legs[at].export.size)
            code = add_leg(&legs[at]);
        else
            shared->missing = legs[at].leg;
    }
    return code == OK ? control(RUN_ARRAY, NULL, "starting the array") : code;
}

int mirror_start(struct area *legs)
{
    struct area *there = legs[0].export.size ? &legs[0] : &legs[1];
    int code;

    md = open(DEVICE, O_RDWR | O_CLOEXEC);
    if (md < 0)
        return complain(KERNEL_REFUSED, "mirror: /dev/" DEVICE ": %s", strerror(errno));
    shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return complain(KERNEL_REFUSED, "mirror: no memory");
    code = assemble(legs, there->export.size);
    strcpy(there->device, DEVICE);
    if (code == OK)
        code = make_swap(there);
    for (int at = 0; at < LEGS && code != OK; at++) {
        ioctl(md, STOP_ARRAY);
        if (legs[at].index != NO_DEVICE)
            device_disconnect(legs[at].index);
    }
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

void mirror_note(const struct area *leg, int lost)
{
    if (leg->leg)
        __atomic_store_n(&shared->lost[leg->leg - 1], lost, __ATOMIC_SEQ_CST);
}

int mirror_gives_up(const struct area *leg)
{
    int missing = 0;

    if (!leg->leg || __atomic_load_n(&shared->lost[LEGS - leg->leg], __ATOMIC_SEQ_CST))
        return 0;
    return __atomic_compare_exchange_n(&shared->missing, &missing, leg->leg, 0, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST) ||
           missing == leg->leg;
}

int mirror_leave(struct area *leg)
{
    int64_t until = now_ms() + LET_GO_MS;
    struct pollfd nothing[1];

    /* Faulty first, or md would take the errors that come now for a medium to be repaired. */
    if (ioctl(md, SET_DISK_FAULTY, device_of(leg)) < 0 && errno != ENODEV)
        return complain(KERNEL_REFUSED, "mirror: giving a leg up: %s", strerror(errno));
    device_disconnect(leg->index);
    while (ioctl(md, HOT_REMOVE_DISK, device_of(leg)) < 0 && errno != ENXIO) {
        if (now_ms() >= until)
            return complain(KERNEL_REFUSED, "mirror: md does not let the leg go");
        await(nothing, 0, now_ms() + RETRY_MS);
    }
    return OK;
}

int mirror_join(const struct area *leg)
{
    return control(HOT_ADD_DISK, device_of(leg), "adding the leg again");
}

int64_t mirror_look(const struct area *leg)
{
    struct array array = {0};

    if (!leg->leg || shared->missing != leg->leg)
        return FOREVER;
    if (ioctl(md, GET_ARRAY_INFO, &array) < 0 || array.active_disks < LEGS)
        return now_ms() + LOOK_MS;
    report("agent:resynced", "the mirror is whole again: %s:%s has all pages\ndevice=/dev/%s",
           leg->target.host, leg->target.port, leg->device);
    complain(OK, "/dev/%s is whole again", leg->device);
    __atomic_store_n(&shared->missing, 0, __ATOMIC_SEQ_CST);
    return FOREVER;
}
