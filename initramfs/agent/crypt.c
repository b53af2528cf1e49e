/* Encryption in front of the NBD device: the kernel's dm-crypt, by ioctl (uapi/linux/dm-ioctl.h,
 * Documentation/admin-guide/device-mapper/dm-crypt.rst). The server then sees noise.
 *
 * The agent generates the key and gives it to the kernel. The key never leaves this PC and ends with its
 * memory. The device has no header, because no later boot opens it again.
 */
#include "crypt.h"
#include "agent.h"
#include "say.h"
#include "types.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define KEY_BYTES 64 /* AES-256 in XTS mode takes two keys */
#define SECTOR 512   /* the device mapper's unit */

/* The kernel's ABI, written out because musl's headers lack it. */
struct dm_ioctl {
    uint32_t version[3], data_size, data_start, target_count;
    int32_t open_count;
    uint32_t flags, event, padding;
    uint64_t device;
    char name[128], uuid[129], padding2[7];
};

struct dm_target {
    uint64_t start, length;
    int32_t status;
    uint32_t next;
    char type[16];
};

_Static_assert(sizeof(struct dm_ioctl) == 312, "the kernel's size");
_Static_assert(sizeof(struct dm_target) == 40, "the kernel's size");

#define DM_CREATE _IOWR(0xfd, 3, struct dm_ioctl)
#define DM_REMOVE _IOWR(0xfd, 4, struct dm_ioctl)
#define DM_RESUME _IOWR(0xfd, 6, struct dm_ioctl) /* DM_DEV_SUSPEND without its flag */
#define DM_LOAD _IOWR(0xfd, 9, struct dm_ioctl)
#define WIPE_AFTER_USE (1 << 15) /* the kernel's copy of the message, which contains the key */

static struct {
    struct dm_ioctl head;
    struct dm_target target;
    char parameters[2 * KEY_BYTES + 160];
} message;

static char name[24]; /* of this area's device; each agent of the PC has another one */

static int control(int fd, unsigned long request, const char *what)
{
    message.head.version[0] = 4;
    message.head.data_size = sizeof message;
    message.head.data_start = sizeof message.head;
    strcpy(message.head.name, name);
    if (ioctl(fd, request, &message) < 0)
        return complain(KERNEL_REFUSED, "encryption: %s: %s", what, strerror(errno));
    return OK;
}

static void remove_mapping(int fd)
{
    memset(&message, 0, sizeof message);
    control(fd, DM_REMOVE, "removing the device");
}

/* Describe one crypt target over the whole device in `message`, with a new key. */
static int describe(const struct area *area)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char key[KEY_BYTES];
    char hex[2 * KEY_BYTES + 1] = "";
    struct stat below;

    if (stat(area->device, &below) < 0)
        return complain(KERNEL_REFUSED, "/dev/%s: %s", area->device, strerror(errno));
    if (getrandom(key, sizeof key, 0) != (ssize_t)sizeof key)
        return complain(KERNEL_REFUSED, "encryption: no random key: %s", strerror(errno));
    for (unsigned at = 0; at < sizeof key; at++) {
        hex[2 * at] = digits[key[at] >> 4];
        hex[2 * at + 1] = digits[key[at] & 15];
    }
    memset(&message, 0, sizeof message);
    message.head.flags = WIPE_AFTER_USE;
    message.head.target_count = 1;
    message.target.length = area->export.size / SECTOR;
    strcpy(message.target.type, "crypt");
    /* Without discards the server could never free memory. Discards tell the server which pages are
     * in use; so do the writes. */
    snprintf(message.parameters, sizeof message.parameters,
             "aes-xts-plain64 %s 0 %u:%u 0 2 allow_discards sector_size:%d", hex,
             major(below.st_rdev), minor(below.st_rdev), PAGE);
    explicit_bzero(key, sizeof key);
    explicit_bzero(hex, sizeof hex);
    return OK;
}

static int load(int fd, const struct area *area)
{
    int code = describe(area);

    if (code == OK)
        code = control(fd, DM_LOAD, "AES in XTS mode");
    explicit_bzero(&message, sizeof message);
    return code == OK ? control(fd, DM_RESUME, "starting the device") : code;
}

int start_encryption(struct area *area)
{
    int fd = open("mapper/control", O_RDWR | O_CLOEXEC);
    int code;

    if (fd < 0)
        return complain(KERNEL_REFUSED, "encryption: /dev/mapper/control: %s", strerror(errno));
    snprintf(name, sizeof name, "netboot-swap%u", area->index);
    memset(&message, 0, sizeof message);
    code = control(fd, DM_CREATE, "making a device");
    if (code == OK) {
        unsigned number = minor(message.head.device);

        code = load(fd, area);
        if (code == OK)
            snprintf(area->device, sizeof area->device, "dm-%u", number);
        else
            remove_mapping(fd);
    }
    close(fd);
    return code;
}

void stop_encryption(void)
{
    int fd = open("mapper/control", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return;
    remove_mapping(fd);
    close(fd);
}
