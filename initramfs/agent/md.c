/* The kernel's md (uapi/linux/raid/md_u.h, drivers/md/md.c): RAID level 1 over two NBD devices. The
 * array has no superblock, because it ends with the PC's memory, as all swap does.
 *
 * md would mark the whole array as broken if both legs were dropped. The processes of the two legs
 * therefore share a page, in which only one leg can be missing.
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "md.h"
#include "agent.h"
#include "device.h"
#include "report.h"
#include "say.h"
#include "session.h"
#include "types.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAKER "/sys/module/md_mod/parameters/new_array"
#define NBD_MAJOR 43
#define LOOK_MS 500       /* between two looks at a running copy */
#define BIO_PAGES 2048    /* 8 MiB */
#define RETRY_MS 100      /* while md still uses a dropped leg */
#define DROP_MS 30000     /* the longest that md may use it */

#ifndef BLKDISCARD
#define BLKDISCARD _IO(0x12, 119)
#endif

/* The kernel's ABI, written out because musl's headers lack it. */
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
    int missing;      /* the dropped leg, 1 or 2; 0: none */
    int lost[LEGS];   /* 1 while the leg has no server */
    const char *host[LEGS]; /* of each leg: only the missing one's changes */
    uint32_t index[LEGS];   /* of each leg's NBD device, or NO_DEVICE */
    int locked;             /* while a leg gets or loses its device: its process must not end then */
} *shared;
static int md;
static int maker; /* makes a device of the name that is written to it */

static int control(unsigned long request, const void *argument, const char *what)
{
    if (ioctl(md, request, argument) < 0)
        return complain(KERNEL_REFUSED, "mirror: %s: %s", what, strerror(errno));
    return OK;
}

/* Return the leg's device as md's ioctls take it (new_encode_dev; N is below 256). */
static const void *device_of(const struct area *leg)
{
    return (const void *)(uintptr_t)(NBD_MAJOR << 8 | leg->index);
}

static void disconnect(const struct area *leg)
{
    uint32_t *index = &shared->index[leg->leg - 1];

    if (*index != NO_DEVICE)
        device_disconnect(*index);
    *index = NO_DEVICE;
}

/* Add a leg to an array that begins, or in place of a dropped leg: then md copies all pages. */
static int add_leg(struct area *leg, int begins)
{
    struct disk disk = {leg->leg - 1, NBD_MAJOR, 0, leg->leg - 1, ACTIVE_IN_SYNC};
    int code = device_connect(leg);

    if (code != OK)
        return code;
    shared->index[leg->leg - 1] = leg->index;
    disk.minor = (int)leg->index;
    code = begins ? control(ADD_NEW_DISK, &disk, "adding a leg")
                  : control(HOT_ADD_DISK, device_of(leg), "adding the leg again");
    if (code != OK)
        disconnect(leg);
    return code;
}

static int assemble(struct area *legs, uint64_t size)
{
    struct array array = {.level = 1, .kib = (int)(size >> 10), .disks = LEGS, .raid_disks = LEGS,
                          .not_persistent = 1, .state = CLEAN};
    int code = control(SET_ARRAY_INFO, &array, "making the array");

    for (int at = 0; at < LEGS && code == OK; at++) {
        if (legs[at].export.size)
            code = add_leg(&legs[at], 1);
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

/* Create a stock of bios before memory is short. md takes two bios for each page, and sends the first
 * one only after it has the second. (raid1_submit_write in drivers/md/raid1-10.c, Linux 6.5; Debian's
 * 6.1 has it too.) Without memory md has a pool of two: two processes that page out at once would
 * each take one and wait forever. The stock must exceed the number of processes in that place. Writing
 * a few MiB page by page creates enough; the kernel then keeps them (swap.sh). */
static void make_bios(void)
{
    static char zeros[PAGE];
    uint64_t range[2] = {0, BIO_PAGES * PAGE};
    int fd = open("md0", O_RDWR | O_CLOEXEC);

    for (unsigned at = 0; at < BIO_PAGES; at++)
        pwrite(fd, zeros, PAGE, (off_t)at * PAGE);
    /* Create all bios at the same time: by this policy no write is sent before all are queued. */
    set_policy(SCHED_FIFO, 1);
    fsync(fd);
    set_policy(SCHED_OTHER, 0);
    ioctl(fd, BLKDISCARD, range);
    close(fd);
}

void md_lock(void)
{
    while (__atomic_exchange_n(&shared->locked, 1, __ATOMIC_SEQ_CST))
        wait_until(now_ms() + RETRY_MS);
}

static void unlock(void)
{
    __atomic_store_n(&shared->locked, 0, __ATOMIC_SEQ_CST);
}

/* Repeat a request while md still uses what it is to release. Return an exit code. */
static int release(unsigned long request, const void *argument, const char *what)
{
    int64_t until = now_ms() + DROP_MS;

    while (ioctl(md, request, argument) < 0 && errno != ENXIO) {
        if (now_ms() >= until)
            return complain(KERNEL_REFUSED, "mirror: md does not release %s", what);
        wait_until(now_ms() + RETRY_MS);
    }
    return OK;
}

/* The legs are disconnected first: md may copy to one whose server is lost. Since Linux 6.9 a device that
 * was stopped is not used again: it goes when it is closed, and md_start makes another one. */
void md_stop(void)
{
    struct area leg = {0};

    for (leg.leg = 1; leg.leg <= LEGS; leg.leg++)
        disconnect(&leg);
    release(STOP_ARRAY, NULL, "the legs");
    close(md);
}

int md_open(void)
{
    shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    maker = open(MAKER, O_WRONLY | O_CLOEXEC);
    if (shared == MAP_FAILED || maker < 0)
        return complain(KERNEL_REFUSED, "mirror: " MAKER ": %s", strerror(errno));
    return OK;
}

int md_start(struct area *legs, uint64_t size)
{
    char name[8];
    int length = snprintf(name, sizeof name, MD_DEVICE, legs->number - 1);
    int code = shared ? OK : md_open();

    if (code != OK)
        return code;
    write(maker, name, (size_t)length); /* fails if the device is there */
    md = open(name, O_RDWR | O_CLOEXEC);
    if (md < 0)
        return complain(KERNEL_REFUSED, "mirror: /dev/%s: %s", name, strerror(errno));
    memset(shared, 0, sizeof *shared);
    for (int at = 0; at < LEGS; at++) {
        shared->host[at] = legs[at].target.host;
        shared->index[at] = NO_DEVICE;
    }
    code = assemble(legs, size);
    if (code != OK)
        md_stop();
    else if (legs->number == 1) /* all arrays share them */
        make_bios();
    return code;
}

const char *md_host(const struct area *leg)
{
    return shared->host[leg->leg - 1];
}

/* Two legs on one server would be one: their leases have the same name. */
const char *md_next_host(const struct area *leg)
{
    const char *host = leg->target.host;

    if (!leg->leg)
        return NULL;
    do
        host = next_host(leg, host);
    while (host == shared->host[LEGS - leg->leg]);
    return shared->host[leg->leg - 1] = host;
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

int md_is_whole(const struct area *leg)
{
    return !leg->leg || __atomic_load_n(&shared->missing, __ATOMIC_SEQ_CST) != leg->leg;
}

int md_drop(const struct area *leg)
{
    int code;

    md_lock();
    /* Mark the leg as faulty first, or md would try to repair the sectors that fail now. */
    if (ioctl(md, SET_DISK_FAULTY, device_of(leg)) < 0 && errno != ENODEV) {
        code = complain(KERNEL_REFUSED, "mirror: dropping a leg: %s", strerror(errno));
    } else {
        disconnect(leg);
        code = release(HOT_REMOVE_DISK, device_of(leg), "the dropped leg");
    }
    unlock();
    return code;
}

int md_join(struct area *leg)
{
    int code;

    md_lock();
    code = add_leg(leg, 0);
    unlock();
    return code;
}

int64_t md_look(const struct area *leg)
{
    struct array array = {0};

    if (!leg->leg || shared->missing != leg->leg)
        return FOREVER;
    if (ioctl(md, GET_ARRAY_INFO, &array) < 0 || array.active_disks < LEGS)
        return now_ms() + LOOK_MS;
    report("agent:resynced", "the mirror is complete again: %s:%s has all pages\ndevice=/dev/%s",
           leg->target.host, leg->target.port, leg->device);
    complain(OK, "/dev/%s is complete again", leg->device);
    __atomic_store_n(&shared->missing, 0, __ATOMIC_SEQ_CST);
    return FOREVER;
}
