/* The kernel's device mapper, by ioctl (uapi/linux/dm-ioctl.h): a device in front of another one. */
#include "mapper.h"
#include "agent.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SECTOR 512 /* the device mapper's unit */

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
#define READ_ONLY (1 << 0)
#define WIPE_AFTER_USE (1 << 15) /* the kernel's copy of the message, which may contain a key */

static struct {
    struct dm_ioctl head;
    struct dm_target target;
    char parameters[MAX_PARAMETERS];
} message;

static void begin(const char *name)
{
    memset(&message, 0, sizeof message);
    snprintf(message.head.name, sizeof message.head.name, "%s", name);
}

/* The kernel wipes the message, also its name. */
static int control(int fd, unsigned long request, const char *name, const char *what)
{
    message.head.version[0] = 4;
    message.head.data_size = sizeof message;
    message.head.data_start = sizeof message.head;
    if (ioctl(fd, request, &message) < 0)
        return complain(KERNEL_REFUSED, "%s: %s: %s", name, what, strerror(errno));
    return OK;
}

static int load(int fd, const struct mapping *mapping)
{
    int code;

    begin(mapping->name);
    message.head.flags = WIPE_AFTER_USE | (mapping->read_only ? READ_ONLY : 0);
    message.head.target_count = 1;
    message.target.length = mapping->bytes / SECTOR;
    strcpy(message.target.type, mapping->type);
    memcpy(message.parameters, mapping->parameters, sizeof message.parameters);
    code = control(fd, DM_LOAD, mapping->name, mapping->type);
    explicit_bzero(&message, sizeof message);
    if (code != OK)
        return code;
    begin(mapping->name);
    return control(fd, DM_RESUME, mapping->name, "starting the device");
}

static int open_control(const char *name)
{
    int fd = open("mapper/control", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        complain(KERNEL_REFUSED, "%s: /dev/mapper/control: %s", name, strerror(errno));
    return fd;
}

static void remove_mapping(int fd, const char *name)
{
    begin(name);
    control(fd, DM_REMOVE, name, "removing the device");
}

int mapper_start(const struct mapping *mapping, char *device, size_t size)
{
    int fd = open_control(mapping->name), code;
    unsigned number;

    if (fd < 0)
        return KERNEL_REFUSED;
    begin(mapping->name);
    code = control(fd, DM_CREATE, mapping->name, "making a device");
    if (code == OK) {
        number = minor(message.head.device);
        code = load(fd, mapping);
        if (code == OK) {
            snprintf(device, size, "dm-%u", number);
        } else {
            remove_mapping(fd, mapping->name);
        }
    }
    close(fd);
    return code;
}

void mapper_stop(const char *name)
{
    int fd = open_control(name);

    if (fd < 0)
        return;
    remove_mapping(fd, name);
    close(fd);
}

int mapper_number(const char *device, char *text, size_t size)
{
    struct stat found;

    if (stat(device, &found) < 0)
        return complain(KERNEL_REFUSED, "/dev/%s: %s", device, strerror(errno));
    snprintf(text, size, "%u:%u", major(found.st_rdev), minor(found.st_rdev));
    return OK;
}
