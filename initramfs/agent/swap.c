/* The swap header (union swap_header of include/linux/swap.h, version 1) and swapon(2).
 *
 * mkswap is not needed: the header is one page, and a fresh export reads as zeros. The header stays in
 * the page cache while the device is open. swapon(2) reads it there and sends it to the server
 * (inode_drain_writes), so the agent neither flushes the page nor reads it back.
 */
#include "swap.h"
#include "agent.h"
#include "say.h"
#include "types.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <unistd.h>

/* Not in musl's header; uapi value from swapon(2). Discards each freed cluster, which frees the
 * server's memory. DISCARD_ONCE would discard the whole device first. */
#define DISCARD_PAGES 0x40000

#define PRIORITY 10 /* above the -2 of areas without one, with room on both sides */
_Static_assert(PRIORITY - MAX_AREAS >= 0, "each further area has a lower priority");
#define MIN_PAGES 10 /* mkswap's smallest area */

struct swap_header {
    unsigned char boot_block[1024];
    uint32_t version, last_page, bad_pages;
    unsigned char uuid[16], label[16];
    unsigned char unused[PAGE - 1024 - 12 - 32 - 10];
    unsigned char magic[10];
};

_Static_assert(sizeof(struct swap_header) == PAGE, "the swap header is one page");

static struct swap_header header; /* a constant would add a page to the program */

const void *swap_page(void)
{
    return &header;
}

/* Write the header. Return the device's descriptor, or -1 after a complaint. */
static int write_header(const char *name, uint64_t pages)
{
    int fd;

    header.version = 1;
    memcpy(header.label, "netboot", sizeof "netboot");
    memcpy(header.magic, "SWAPSPACE2", sizeof header.magic);
    header.last_page = (uint32_t)(pages - 1);
    /* Never block the boot: without entropy the UUID stays zero. */
    if (getrandom(header.uuid, sizeof header.uuid, GRND_NONBLOCK) == (ssize_t)sizeof header.uuid) {
        header.uuid[6] = (header.uuid[6] & 0x0f) | 0x40; /* RFC 4122, random */
        header.uuid[8] = (header.uuid[8] & 0x3f) | 0x80;
    }
    fd = open(name, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && pwrite(fd, &header, sizeof header, 0) == (ssize_t)sizeof header)
        return fd;
    complain(KERNEL_REFUSED, "/dev/%s: writing the swap header: %s", name, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

int swap_on(struct area *area)
{
    int flags = SWAP_FLAG_PREFER | (PRIORITY + 1 - (int)area->number);
    uint64_t pages = area->export.size / PAGE;
    struct stat found;
    int fd, code = OK;

    if (pages < MIN_PAGES || pages > UINT32_MAX)
        return complain(KERNEL_REFUSED, "an export of %llu bytes has the wrong size for swap",
                        (unsigned long long)area->export.size);
    fd = write_header(area->device, pages);
    if (fd < 0)
        return KERNEL_REFUSED;
    if (area->export.flags & FLAG_SEND_TRIM && !area->keeps)
        flags |= SWAP_FLAG_DISCARD | DISCARD_PAGES;
    if (swapon(area->device, flags) < 0)
        code = complain(KERNEL_REFUSED, "swapon /dev/%s: %s", area->device, strerror(errno));
    close(fd);
    /* Every init calls swapoff(2) at shutdown, with the paths of /proc/swaps. That would read all
     * pages back into RAM that is too small for them. Without its name the area stays on. */
    if (code == OK && stat(area->device, &found) == 0) {
        area->node = found.st_rdev;
        unlink(area->device);
    }
    return code;
}
