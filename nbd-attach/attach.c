/* nbd-attach: an export of any NBD server as swap or disk, attached again after each loss.
 *
 * The swap agent's modules (initramfs/agent) do it. This folder has what differs on a computer that no
 * boot server knows. Modules in order: each uses only modules above it, and the agent's.
 *
 *   settings.c  the command line
 *   page.c      pages read before the kernel has the connection
 *   same.c      are these the pages that were attached? In place of the agent's
 *   book.c      what `--status` shows. In place of the agent's status.c
 *   leave.c     SIGTERM. In place of the agent's need.c
 *   attach.c    the program
 */
#include "agent.h"
#include "area.h"
#include "book.h"
#include "device.h"
#include "hold.h"
#include "leave.h"
#include "page.h"
#include "report.h"
#include "say.h"
#include "session.h"
#include "settings.h"
#include "settle.h"
#include "status.h"
#include "swap.h"
#include "types.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef BLKROSET
#define BLKROSET _IO(0x12, 93) /* uapi/linux/fs.h, which musl lacks */
#endif

#define LOOK_MS 5000 /* for one page */
#define BTRFS_PAGE 16 /* its superblock is 64 KiB from the beginning */
#define MAGIC_AT (PAGE - 10)

static const char help[] =
    "usage: nbd-attach --swap|--disk|--read-only [OPTION...] HOST[:PORT][,HOST[:PORT]...]/EXPORT\n"
    "       nbd-attach --check HOST[:PORT]/EXPORT\n"
    "       nbd-attach --status [--json] [/dev/nbdN]\n"
    "       nbd-attach --detach /dev/nbdN\n"
    "\n"
    "Attach an export of an NBD server, print its device, and stay behind: after each loss of the\n"
    "server the export is attached again, and no request fails meanwhile.\n"
    "\n"
    "  --swap           make it a swap area and turn it on; of several servers the first that answers\n"
    "  --disk           a disk to write\n"
    "  --read-only      a disk to read; of two servers with the same bytes, one that answers\n"
    "  --device DEVICE  /dev/nbdN; without it the first that is free\n"
    "  --connections N  1 to 16, if the server allows more than one (2)\n"
    "  --timeout S      seconds without an answer until the connection counts as lost (10)\n"
    "  --patience S     seconds that requests wait for a lost server, then they fail (600)\n"
    "  --no-discard     swap: do not tell the server which pages are free again\n"
    "  --force          swap: replace other data that the export begins with\n"
    "  --check          ask the server for the export's size, flags and generation; needs no root\n"
    "  --status         what is attached here; --json: for programs\n"
    "  --detach         turn the swap off or give the disk back\n"
    "  --version        print the version\n"
    "\n"
    "Examples:\n"
    "  nbd-attach --check 192.0.2.7/pages\n"
    "  nbd-attach --swap 192.0.2.7,192.0.2.8:10810/pages\n"
    "  nbd-attach --disk --device /dev/nbd3 --timeout 30 nbd://files.example/data\n"
    "\n"
    "Exit: 0 done, 1 not attached (--status) or still attached (--detach), 2 usage, 3 nobody answers,\n"
    "4 refused by the server, 5 by the kernel, 6 the server does not speak NBD as needed.\n";

/* Return the code of a failure whose cause was told already, after its remedy. */
static int with_hint(int code, const struct target *target)
{
    if (code == CANNOT_CONNECT)
        dprintf(2, "hint: is the server running, and does a firewall let this computer pass?\n");
    else if (code == REFUSED && target->unknown)
        dprintf(2, "hint: ask the server for its exports: nbdinfo --list nbd://%s:%s\n", target->host,
                target->port);
    return code;
}

static int is_zero(const unsigned char *page)
{
    return !*page && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* Refuse to make swap of an export that begins with other data. */
static int check_empty(const struct area *area)
{
    static unsigned char page[PAGE];
    int fd = area->fds[0], code = read_page(fd, 0, page, now_ms() + LOOK_MS), other;

    other = !is_zero(page) && memcmp(page + MAGIC_AT, "SWAPSPACE2", 10) != 0;
    if (code == OK && !other && area->export.size > (BTRFS_PAGE + 1) * PAGE && is_zero(page)) {
        code = read_page(fd, BTRFS_PAGE, page, now_ms() + LOOK_MS);
        other = !is_zero(page);
    }
    if (code == OK && other)
        code = complain(REFUSED, "the export begins with data that is no swap; --force replaces it");
    return code;
}

/* Open the area at the first server that answers. */
static int open_area(struct settings *settings)
{
    struct area *area = &settings->area;
    unsigned connections = area->connections;
    int code = OK;

    for (unsigned at = 0; at < settings->servers; at++) {
        area->target.host = settings->hosts[at];
        area->target.port = settings->ports[at];
        area->connections = connections;
        code = area_open(area);
        if (code == OK && area->use == FOR_SWAP && !settings->force) {
            code = check_empty(area);
            if (code != OK)
                close_sessions(area->fds, area->connections);
        }
        if (code == OK || area->target.other)
            break;
    }
    return code;
}

/* Some servers give each connection pages of its own (nbd-server: `temporary`, `copyonwrite`). Then a
 * second connection has other pages than the first one, and a later one none. */
static int check_shared(const struct area *area)
{
    static unsigned char page[PAGE];
    struct target target = area->target;
    struct export export;
    unsigned count = 1;
    int fd, code;

    if (area->use != FOR_SWAP || !(area->export.flags & FLAG_CAN_MULTI_CONN))
        return OK;
    hush(1); /* a server may have had enough connections */
    code = open_sessions(&target, next_set(), now_ms() + LOOK_MS, &fd, &count, &export);
    if (code == OK) {
        code = read_page(fd, 0, page, now_ms() + LOOK_MS);
        close_sessions(&fd, 1);
    }
    hush(-1);
    if (code == OK && memcmp(page, swap_page(), PAGE) != 0)
        return complain(REFUSED, "each connection has pages of its own: the export is of no use "
                                 "(nbd-server: `temporary` or `copyonwrite`?)");
    return OK;
}

/* The kernel takes the flag from the server, but a server may offer to write what is only to be read. */
static int make_read_only(const struct area *area)
{
    int fd = area->use == FOR_ROOT ? open(area->device, O_RDONLY | O_CLOEXEC) : -1, yes = 1;

    if (area->use == FOR_ROOT && (fd < 0 || ioctl(fd, BLKROSET, &yes) < 0))
        return complain(KERNEL_REFUSED, "/dev/%s: %s", area->device, strerror(errno));
    if (fd >= 0)
        close(fd);
    return OK;
}

/* Attach the area and hold it. Does not return before the area is detached, unless it fails. `told` is
 * closed after a byte when the area is there. */
static int attach(struct settings *settings, char *name, int told)
{
    struct area *area = &settings->area;
    char luck;
    int code = device_open();

    if (code != OK)
        dprintf(2, "hint: load the driver: modprobe nbd\n");
    if (code == OK)
        code = open_area(settings);
    if (code != OK)
        return code;
    getrandom(&luck, 1, 0); /* wait for entropy: the swap header's UUID tells whose pages these are */
    settle(name);
    check_kernel();
    code = area_start(area);
    if (code != OK)
        return code;
    code = make_read_only(area);
    if (code == OK)
        code = check_shared(area);
    if (code != OK) {
        if (area->use)
            device_disconnect(area->index);
        else
            area_stop(area);
        return code;
    }
    status_open(area, ATTACHED);
    leave_on_signal(area);
    dprintf(1, "device=/dev/%s size=%llu connections=%u server=%s:%s\n", area->device,
            (unsigned long long)area->export.size, area->connections, area->target.host,
            area->target.port);
    complain_to_kernel(area->device);
    write(told, "", 1);
    close(told);
    hold(area);
    book_close();
    return OK;
}

/* Attach in a process of its own, and return when the area is there or cannot be. */
static int start(struct settings *settings, char *name)
{
    int ends[2], status, code;
    char byte;
    pid_t child;

    if (geteuid() != 0)
        return complain(KERNEL_REFUSED, "attaching needs root: the kernel's NBD driver refuses others");
    if (pipe(ends) < 0 || (child = fork()) < 0)
        return complain(KERNEL_REFUSED, "no process: %s", strerror(errno));
    if (child == 0) {
        close(ends[0]);
        code = attach(settings, name, ends[1]);
        _exit(with_hint(code, &settings->area.target));
    }
    close(ends[1]);
    if (read(ends[0], &byte, 1) == 1)
        return OK;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status)
                             : complain(KERNEL_REFUSED, "ended by signal %d", WTERMSIG(status));
}

static int check(struct settings *settings)
{
    struct export export;
    unsigned count = 1;
    int fd, code = open_sessions(&settings->area.target, next_set(), FOREVER, &fd, &count, &export);

    if (code != OK)
        return with_hint(code, &settings->area.target);
    close_sessions(&fd, 1);
    dprintf(1, "size=%llu flags=0x%x read_only=%s connections=%s generation=%s\n",
            (unsigned long long)export.size, export.flags,
            export.flags & FLAG_READ_ONLY ? "yes" : "no",
            export.flags & FLAG_CAN_MULTI_CONN ? "many" : "1",
            *export.generation ? export.generation : "none");
    return OK;
}

int main(int count, char **arguments)
{
    static struct settings settings;
    int code = read_settings(arguments + (count > 0), &settings);

    signal(SIGPIPE, SIG_IGN); /* writing to a lost server returns an error instead */
    if (code != OK)
        return with_hint(code, &settings.area.target);
    switch (settings.order) {
    case CHECK:
        return check(&settings);
    case SHOW:
        return book_show(settings.device, settings.json);
    case DETACH:
        return book_detach(settings.device);
    case HELP:
        dprintf(1, "%s", help);
        return OK;
    case VERSION:
        dprintf(1, "nbd-attach " NBD_ATTACH_VERSION "\n");
        return OK;
    case ATTACH:
        break;
    }
    return start(&settings, arguments[0]);
}
