/* The kernel's md (uapi/linux/raid/md_u.h, drivers/md/md.c): RAID level 1 over two NBD devices. Without
 * a superblock: like all of swap the array ends with the PC's memory.
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "md.h"
#include "agent.h"
#include "device.h"
#include "report.h"
#include "say.h"
#include "types.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NBD_MAJOR 43
#define LOOK_MS 500       /* between two looks at a copy under way */
#define BIO_PAGES 2048    /* 8 MiB */
#define RETRY_MS 100      /* until md has let a leg go */
#define LET_GO_MS 30000   /* the longest that takes */

#ifndef BLKDISCARD
#define BLKDISCARD _IO(0x12, 119)
#endif

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

/* musl's own function does nothing. */
static void set_policy(int policy, int priority)
{
    if (syscall(SYS_sched_setscheduler, 0, policy, &priority) < 0)
        complain(OK, "mirror: sched_setscheduler: %s", strerror(errno));
}

/* For each page md takes two bios, from a pool of two if there is no memory for more, and sends the
 * first one off only when it has the second (raid1_submit_write in drivers/md/raid1-10.c, Linux 6.5,
 * and 6.1 as Debian has it). Two processes that page out at once, without memory, would each have
 * one and wait for ever. So there have to be more than processes can be in that place, before memory
 * is short: as many as it takes to write a few MiB, each page by itself. They are kept (swap.sh). */
static void make_bios(void)
{
    static char zeros[PAGE];
    uint64_t range[2] = {0, BIO_PAGES * PAGE};
    int fd = open(MD_DEVICE, O_RDWR | O_CLOEXEC);

    for (unsigned at = 0; at < BIO_PAGES; at++)
        pwrite(fd, zeros, PAGE, (off_t)at * PAGE);
    /* All of them at the same time: nobody sends anything before the last one is there. */
    set_policy(SCHED_FIFO, 1);
    fsync(fd);
    set_policy(SCHED_OTHER, 0);
    ioctl(fd, BLKDISCARD, range);
    close(fd);
}

int md_start(struct area *legs, uint64_t size)
{
    int code;

    md = open(MD_DEVICE, O_RDWR | O_CLOEXEC);
    if (md < 0)
        return complain(KERNEL_REFUSED, "mirror: /dev/" MD_DEVICE ": %s", strerror(errno));
    shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return complain(KERNEL_REFUSED, "mirror: no memory");
    code = assemble(legs, size);
    if (code == OK)
        make_bios();
    return code;
}

void md_stop(const struct area *legs)
{
    for (int at = 0; at < LEGS; at++) {
        ioctl(md, STOP_ARRAY);
        if (legs[at].index != NO_DEVICE)
            device_disconnect(legs[at].index);
    }
}

void md_note(const struct area *leg, int lost)
{
    if (leg->leg)
        __atomic_store_n(&shared->lost[leg->leg - 1], lost, __ATOMIC_SEQ_CST);
}

int md_may_drop(const struct area *leg)
{
    int missing = 0;

    if (!leg->leg || __atomic_load_n(&shared->lost[LEGS - leg->leg], __ATOMIC_SEQ_CST))
        return 0;
    return __atomic_compare_exchange_n(&shared->missing, &missing, leg->leg, 0, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST) ||
           missing == leg->leg;
}

int md_drop(const struct area *leg)
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

int md_join(const struct area *leg)
{
    return control(HOT_ADD_DISK, device_of(leg), "adding the leg again");
}

int64_t md_look(const struct area *leg)
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
