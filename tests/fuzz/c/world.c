/* See world.h. */
#include "world.h"

#include <errno.h>
#include <string.h>

#undef sysinfo

#define FIRST_FD 1000 /* none of the fuzzer's own */

const char *world_environment[7];
char world_printed[1 << 16], world_sent[1 << 16];
size_t world_printed_bytes, world_sent_bytes;

static const uint8_t *input;
static size_t left;
static unsigned chance;
static int told; /* by poll(2), that bytes are there */
static int64_t now;
static unsigned long swap_total, swap_unused;

void world_begin(const uint8_t *data, size_t size, unsigned seed)
{
    input = data;
    left = size;
    chance = seed;
    now = 1000000;
    told = 0;
    world_printed_bytes = world_sent_bytes = 0;
    world_printed[0] = world_sent[0] = '\0';
}

void expect(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "expected: %s\nprinted: %s\n", what, world_printed);
    abort();
}

void expect_fit_for_a_console(void)
{
    for (size_t at = 0; at < world_printed_bytes; at++)
        expect((world_printed[at] >= ' ' && world_printed[at] <= '~') || world_printed[at] == '\n',
               "printable text");
}

static unsigned next_chance(void)
{
    chance = chance * 1103515245u + 12345u;
    return chance >> 16;
}

static void keep(char *place, size_t *used, size_t room, const void *bytes, size_t length)
{
    size_t more = length < room - 1 - *used ? length : room - 1 - *used;

    memcpy(place + *used, bytes, more);
    *used += more;
    place[*used] = '\0';
}

int world_socket(int family, int type, int protocol)
{
    (void)family, (void)type, (void)protocol;
    return FIRST_FD;
}

int world_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    (void)fd, (void)address, (void)length;
    return 0;
}

ssize_t world_recv(int fd, void *buffer, size_t length, int flags)
{
    size_t more = 1 + next_chance() % (chance & 1 ? 7 : 5000);

    (void)fd;
    if (flags & MSG_DONTWAIT && !told && next_chance() % 4 == 0) {
        errno = EAGAIN;
        return -1;
    }
    told = 0;
    if (!(flags & MSG_DONTWAIT) && left == 0) {
        errno = ENOBUFS; /* the kernel, which never closes */
        return -1;
    }
    more = more < length ? more : length;
    more = more < left ? more : left;
    memcpy(buffer, input, more);
    input += more;
    left -= more;
    return (ssize_t)more;
}

ssize_t world_send(int fd, const void *buffer, size_t length, int flags)
{
    (void)fd, (void)flags;
    keep(world_sent, &world_sent_bytes, sizeof world_sent, buffer, length);
    return (ssize_t)length;
}

/* Everything is ready at once; without something to wait for the time passes. */
int world_poll(struct pollfd *waits, nfds_t count, int milliseconds)
{
    int ready = 0;

    for (nfds_t at = 0; at < count; at++) {
        waits[at].revents = waits[at].fd >= 0 ? waits[at].events & (POLLIN | POLLOUT) : 0;
        ready += waits[at].revents != 0;
    }
    told = ready > 0;
    now += ready || milliseconds < 1 ? 1 : milliseconds;
    return ready;
}

int world_close(int fd)
{
    (void)fd;
    return 0;
}

int world_clock(clockid_t clock, struct timespec *time)
{
    (void)clock;
    time->tv_sec = now / 1000;
    time->tv_nsec = now % 1000 * 1000000;
    return 0;
}

ssize_t world_write(int fd, const void *buffer, size_t length)
{
    if (fd >= FIRST_FD)
        keep(world_sent, &world_sent_bytes, sizeof world_sent, buffer, length);
    else
        keep(world_printed, &world_printed_bytes, sizeof world_printed, buffer, length);
    return (ssize_t)length;
}

ssize_t world_pread(int fd, void *buffer, size_t length, off_t at)
{
    size_t more = left < length ? left : length;

    (void)fd, (void)at;
    memcpy(buffer, input, more);
    return (ssize_t)more;
}

void world_swap(unsigned long total, unsigned long unused)
{
    swap_total = total;
    swap_unused = unused;
}

int world_sysinfo(struct sysinfo *info)
{
    memset(info, 0, sizeof *info);
    info->totalswap = swap_total;
    info->freeswap = swap_unused;
    info->mem_unit = 1;
    return 0;
}

char *world_getenv(const char *name)
{
    for (unsigned at = 0; world_environment[at]; at += 2)
        if (strcmp(world_environment[at], name) == 0)
            return (char *)world_environment[at + 1];
    return NULL;
}
